"""How many events a snapshot holds so that all of them can be read, wherever they entered: a phase diagram.

Few events in little noise are read exactly: every place, every onset, none too many. With more events the field is
their sum at every point and the correlation with one is buried under the others; with more noise the faintest is. The
border between is sharp, as in compressed sensing (Donoho and Tanner, Phil. Trans. R. Soc. A 367, 4273, 2009): about
R/(2 log n) events for R values and n places and onsets.
"""

from __future__ import annotations

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from wavefield.checks import finite_vector, grid_shape, positive_int
from wavefield.decoding.anywhere.candidates import Candidates
from wavefield.decoding.anywhere.reader import AnywhereReader
from wavefield.decoding.anywhere.responses import responses_of
from wavefield.operators.operator import WaveOperator
from wavefield.progress import Progress

_SURE = 0.5  # confidence from which a row counts as read


def exact_readout(
    operator: WaveOperator,
    size: int | tuple[int, ...],
    steps: int,
    *,
    events: ArrayLike = (1, 4, 16, 64, 256),
    noise: ArrayLike = (0.01, 0.1, 0.3),
    amplitudes: tuple[float, float] = (0.5, 1.5),
    previous: bool = True,
    source: str = "pulse",
    draws: int = 10,
    seed: int = 0,
) -> xr.Dataset:
    """Share of random snapshots whose events are read exactly, by number of events and noise.

    Events are drawn at places and onsets with equal probability, their amplitudes uniformly. What is read is what
    ``decode(…, sites="anywhere")`` reads with a confidence above 1/2, the noise not told.

    Parameters
    ----------
    operator : WaveOperator
        A two-way sheet or line.
    size : int or pair of ints
        Positions N, of a sheet (Ny, Nx).
    steps : int
        T, the onsets.
    events : array_like of int
    noise : array_like
        Standard deviations, of a value of the snapshot.
    amplitudes : pair of floats
        Least and largest amplitude.
    previous : bool
        Whether the level before is seen.
    source : {"pulse", "force"}
    draws : int
        Snapshots for each number of events and noise.
    seed : int

    Returns
    -------
    xarray.Dataset
        Over (`events`, `noise`): `exact`, the share of draws read without a mistake; `missed`, the share of events
        that are not read; `false`, the number of rows a draw that are no events.

    Examples
    --------
    >>> import wavefield as wf
    >>> limits = exact_readout(wf.wave(0.7, dims=2), (24, 24), 20, events=[2], noise=[0.01], draws=3)
    >>> float(limits.exact[0, 0])
    1.0
    """
    if not isinstance(operator, WaveOperator):
        raise TypeError(f"operator must be a WaveOperator, got {type(operator).__name__}")
    if source not in ("pulse", "force"):
        raise ValueError(f"source must be 'pulse' or 'force', got {source!r}")
    shape, steps = grid_shape(size, "size", operator.dims), positive_int(steps, "steps")
    operator.check_size(size)
    counts = [positive_int(n, "events", 0) for n in np.atleast_1d(events).tolist()]
    levels, draws = finite_vector(noise, "noise"), positive_int(draws, "draws")
    low, high = amplitudes
    if not 0 < low <= high:
        raise ValueError(f"amplitudes must be a pair 0 < least ≤ largest, got {amplitudes!r}")
    inside = np.ones(shape, bool) if operator.mask is None else np.array(operator.mask, bool)
    responses = responses_of(operator, shape, steps, both=previous, pulse=source == "pulse")
    candidates = Candidates(responses)
    reader = AnywhereReader(candidates, True, inside)
    cells, rng = np.flatnonzero(inside), np.random.default_rng(seed)
    result = {name: np.zeros((len(counts), levels.size)) for name in ("exact", "missed", "false")}
    bar = Progress([(i, k) for i in range(len(counts)) for k in range(levels.size)], "readout", unit="point")
    for i, k in bar:
        for _ in range(draws):
            ring, age = rng.integers(operator.rings, size=counts[i]), rng.integers(steps, size=counts[i])
            place = rng.choice(cells, counts[i])
            snapshot = rng.uniform(low, high, counts[i]) @ responses.columns(ring, age, place)
            snapshot = snapshot.reshape(operator.rings, responses.levels, *shape)
            snapshot = snapshot + levels[k] * rng.normal(size=snapshot.shape) * inside
            true = set(zip(ring.tolist(), age.tolist(), place.tolist(), strict=True))
            found = reader.read(snapshot, None)
            sure = found.confidence > _SURE
            read = set(zip(*(of[sure].tolist() for of in (found.ring, found.age, found.place)), strict=True))
            result["exact"][i, k] += (read == true) / draws
            result["missed"][i, k] += len(true - read) / max(len(true), 1) / draws
            result["false"][i, k] += len(read - true) / draws
    about = {
        "exact": "share of snapshots read exactly",
        "missed": "share of events not read",
        "false": "events read that were none, a snapshot",
    }
    return xr.Dataset(
        {
            name: (("events", "noise"), values, {"units": "1", "long_name": about[name]})
            for name, values in result.items()
        },
        coords={
            "events": ("events", counts, {"units": "1", "long_name": "number of events"}),
            "noise": ("noise", levels, {"units": "1", "long_name": "noise"}),
        },
        attrs={
            "method": "decode(sites='anywhere')",
            "steps": steps,
            "values": candidates.values,
            "candidates": candidates.count,
            "draws": draws,
            "seed": seed,
            "source_kind": source,
            "previous": int(previous),
        },
    )
