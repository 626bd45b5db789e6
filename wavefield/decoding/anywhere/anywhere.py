"""`decode` where inputs may enter anywhere: from a request to the table of events."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import xarray as xr

from wavefield.decoding.anywhere.candidates import Candidates
from wavefield.decoding.anywhere.places import Places, as_dataset
from wavefield.decoding.anywhere.reader import AnywhereReader
from wavefield.decoding.anywhere.responses import responses_of
from wavefield.decoding.inverse.problem import refuse_growth
from wavefield.decoding.request import Request
from wavefield.progress import Progress

MOST_CANDIDATES = 2**25  # places and onsets that are looked at by default, 128 MiB for one number each
_TRACE = 1e-6  # of the largest response: what is smaller has left no trace
_GROWN = 1e6  # norm of a response to a unit event that belongs to an operator that grows


def decode_anywhere(request: Request, horizon_given: bool) -> xr.Dataset:
    """Return the events of all snapshots of a request, wherever they entered."""
    operator, positions = request.operator, request.shape
    refuse_growth(operator)
    warnings = []
    ages = min(request.steps, request.horizon)
    room = max(MOST_CANDIDATES // (operator.rings * int(np.prod(positions))), 1)
    if ages > room and not horizon_given:
        ages = room
    responses = responses_of(operator, positions, ages, both=request.both, pulse=request.pulse)
    largest = responses.norms.max(axis=tuple(range(2, 2 + len(positions)))).max(axis=0)  # (ages,)
    if not np.isfinite(largest).all() or largest.max() > _GROWN:
        raise ValueError("operator grows: its past cannot be read")
    alive = int(np.flatnonzero(largest > _TRACE * largest.max())[-1]) + 1
    if alive < ages:
        warnings.append(f"inputs older than {alive} steps have left no trace")
        responses = responses_of(operator, positions, alive, both=request.both, pulse=request.pulse)
    elif ages < request.steps:
        warnings.append(f"events older than the horizon of {ages} steps, if there were any, are taken for others")
    inside = np.ones(positions, bool) if operator.mask is None else np.array(operator.mask, bool)
    candidates = Candidates(responses)
    reader = AnywhereReader(candidates, request.nonnegative, inside, _progress)
    snapshots = Progress(request.snapshots, "decode", unit="trial")
    found = [_read(reader, request, *levels) for levels in snapshots]
    facts = {"horizon": min(ages, alive), "columns": candidates.count}
    return as_dataset(request, found, facts, warnings)


def _read(reader, request, now, before) -> Places:
    """Read one snapshot, brought near 1 by a power of two."""
    snapshot = np.stack([now] if before is None else [now, before], axis=1)  # (rings, levels, N)
    snapshot = snapshot * reader.inside.ravel()
    largest = np.abs(snapshot).max()
    unit = 2.0 ** np.floor(np.log2(largest)) if largest > 0 else 1.0
    found = reader.read(snapshot / unit, None if request.noise is None else request.noise / unit)
    facts = {
        name: float(value * unit) for name, value in found.facts.items() if name in ("noise", "noise_error", "residual")
    }
    return replace(found, amplitude=found.amplitude * unit, error=found.error * unit, facts=found.facts | facts)


def _progress(items, text):
    """Show a bar over what takes longer than two seconds."""
    return Progress(items, f"decode: {text}", leave=False)
