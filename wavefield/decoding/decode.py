"""Decoding: which input arrived when, and how strongly, from a single snapshot of the field."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import xarray as xr
from tqdm import tqdm

from wavefield.decoding.classes import prepare
from wavefield.decoding.dense import decode_tikhonov
from wavefield.decoding.events import Events
from wavefield.decoding.exact import read_one_way, read_two_way, shifts_of, two_way_shifts_of
from wavefield.decoding.request import from_recording, task_of
from wavefield.decoding.sparse import decode_sparse
from wavefield.operators.design import design
from wavefield.operators.operator import WaveOperator

METHODS = ("auto", "exact", "sparse", "tikhonov")


def decode(
    snapshot,
    operator: WaveOperator | None = None,
    *,
    steps: int | None = None,
    encoder=None,
    source: str | None = None,
    previous=None,
    horizon: int | None = None,
    nonnegative: bool = True,
    noise: float | None = None,
    method: str = "auto",
) -> xr.Dataset:
    """Read past inputs from one snapshot of a linear field that was at rest `steps` steps ago.

        y = F x + σ ε,      F x = Σ_t M^{T−1−t} V e[t],      e[t] = x[t],  or x[t] − x[t−2] for a pulse

    Where the field only shifts (one-way at Courant number ±1; two-way on a ring at Courant number 1 without damping,
    both levels seen) every input stands in a cell of its own and is looked up there. Everywhere else an inverse
    problem is solved: non-negative least squares, then the fewest events that explain the snapshot as well, under
    the posterior over supports (see `wavefield.operators.design` for F). No number of events needs to be given.

    What a snapshot cannot tell is said and not guessed. On an undamped ring onsets return after a turn: they are then
    known modulo `period` only, and the amplitude is that of all events of the class together (on a ring that
    fades, the amplitude that an event at the given onset would have). Inputs that leave the same trace are listed
    as alternatives, with one number in `ambiguous` and the probability shared among them.

    Parameters
    ----------
    snapshot : recording or array_like, shape (rings, N), (N,) or (trial, rings, N)
        A recording is decoded from its last state and needs nothing else.
    operator : WaveOperator
        What moved the field. Needed with an array, as are `steps`.
    steps : int
        T, the steps since the field was at rest. Onsets are counted from there, 0…T−1.
    encoder : {"own", "first"} or array_like, shape (rings, N, inputs), optional
        As in `simulate`; ``"own"`` by default.
    source : {"pulse", "force"}, optional
        How a two-way field took its inputs; ``"pulse"`` by default.
    previous : array_like, False, optional
        The level before the snapshot, for a two-way field. That of a recording is used unless this is False.
    horizon : int, optional
        Look back over so many steps only; older events are not listed. By default all steps that can be told apart.
    nonnegative : bool
        Whether amplitudes are known not to be negative, which an inverse problem needs for its best answers.
    noise : float, optional
        Standard deviation σ of the noise on the snapshot; by default it is estimated from what is left unexplained.
    method : {"auto", "exact", "sparse", "tikhonov"}
        ``"exact"`` looks up cells and refuses where there is no such thing. ``"sparse"`` solves for few events.
        ``"tikhonov"`` is for a dense drive of either sign: least squares with a Gaussian prior on every amplitude,
        its strength fitted; amplitudes that stand out by two standard deviations are listed, with the
        probability that their sign is right.

    Returns
    -------
    xarray.Dataset
        One row for each event, dim `event`, by onset:

        - `onset` (steps), `input`, `amplitude`, `amplitude_error` (standard deviation);
        - `confidence`: probability that there was such an event, with this input and this onset (modulo `period`);
        - `period`: 0 if the onset is known, else the steps modulo which it is; the latest is given;
        - `ambiguous`: 0, or a number that marks rows which are alternatives or stand and fall together: classes,
          collisions, events of confidence below 0.9, events that a singular design leaves mostly undetermined;
        - `trial`, where there are trials.

        Attributes: `method`, `steps`, `horizon`, `noise`, `residual` (root mean square), `rank` and `columns` of the
        design, its `conditioning` (NaN where not worked out), and `warnings`.

    Raises
    ------
    ValueError, TypeError
        If an argument does not fit, or the field is one that cannot be decoded (nonlinear, growing).

    Examples
    --------
    >>> import numpy as np, wavefield as wf
    >>> events = decode(np.array([[0.0, 0.0, 2.0, 0.0]]), wf.transport(1.0), steps=4)
    >>> int(events.onset[0]), int(events.input[0]), float(events.amplitude[0])
    (1, 0, 2.0)
    """
    if method not in METHODS:
        raise ValueError(f"method must be one of {', '.join(METHODS)}, got {method!r}")
    if isinstance(snapshot, xr.Dataset):
        snapshot, operator, given = from_recording(snapshot, operator, previous, nonnegative)
        steps = given["steps"] if steps is None else steps
        encoder = given["encoder"] if encoder is None else encoder
        source = given["source"] if source is None else source
        previous, bias = given["previous"], given["bias"]
    else:
        bias = None
    task = task_of(snapshot, operator, steps, encoder, source, previous, horizon, nonnegative, noise, bias)
    read = _reader(task, method)
    shown = tqdm(task.snapshots, desc="decode", unit="trial", delay=2, disable=None)
    return _dataset(task, [_scaled(read, task.noise, *levels).sorted() for levels in shown])


# ---- ways of reading ----------------------------------------------------------------------------------------------


def _reader(task, method):
    """Return a function of (now, before, noise) that gives Events."""
    exact = _exact_reader(task) if method in ("auto", "exact") else None
    inverse = cache(lambda: _inverse_reader(task, "tikhonov" if method == "tikhonov" else "sparse"))

    def read(now, before, noise):
        events = None if exact is None else exact(now, before, noise)
        if events is None and method == "exact":
            raise ValueError(
                "method='exact' needs a field that only shifts, inputs that enter one cell each, and traces that do "
                "not hide each other (without noise for a two-way field); use 'auto' or 'sparse'"
            )
        return _with_remarks(inverse()(now, before, noise) if events is None else events)

    return read


def _scaled(read, noise, now, before):
    """Read a snapshot, brought near 1 by a power of two where its squares would leave the range of the numbers."""
    largest = max(np.abs(now).max(), 0.0 if before is None else np.abs(before).max())
    if largest == 0 or 1e-100 < largest < 1e100:
        return read(now, before, noise)
    unit = 2.0 ** np.floor(np.log2(largest))
    events = read(now / unit, None if before is None else before / unit, None if noise is None else noise / unit)
    facts = events.facts | {name: events.facts[name] * unit for name in ("noise", "residual")}
    return replace(events, amplitude=events.amplitude * unit, error=events.error * unit, facts=facts)


def _exact_reader(task):
    """Return what looks events up in the cells of a field that only shifts; None for any other field."""
    shifts = shifts_of(task.operator, task.encoder)
    if shifts is not None:
        if (np.abs(shifts.gain) > 1).any():
            raise ValueError(f"operator grows: its gain per step is {np.abs(shifts.gain).max():g}, above 1")

        silent = _silent(shifts.entries[0], shifts.inputs)

        def one_way(now, _, noise):
            events = read_one_way(shifts, now, task.steps, task.horizon, noise, task.precision * np.abs(now).max())
            return None if events is None else replace(events, warnings=silent + events.warnings)

        return one_way
    shifts = two_way_shifts_of(task.operator, task.encoder) if task.both else None
    if shifts is None:
        return None

    def two_way(now, before, noise):
        quiet = task.precision * max(np.abs(now).max(), np.abs(before).max())
        return read_two_way(shifts, now, before, task.steps, task.horizon, task.pulse, noise, quiet)

    return two_way


def _inverse_reader(task, method):
    """Return what solves the inverse problem, its design worked out."""
    _refuse_growth(task.operator)
    back, source = min(task.steps, task.horizon), "pulse" if task.pulse else "force"
    forward = design(
        task.operator, task.encoder.shape[1], back, encoder=task.encoder, source=source, previous=task.both
    )
    blocks = prepare(forward, task.steps, signed=not task.nonnegative or method == "tikhonov")
    facts, warnings = _told_of(blocks, back, task.steps)
    warnings = _silent(np.concatenate([inputs for _, _, inputs in blocks] or [[]]), forward.inputs) + warnings

    def inverse(now, before, noise):
        flat = now.ravel() if before is None else np.concatenate([now.ravel(), before.ravel()])
        if method == "tikhonov":
            events = decode_tikhonov(blocks, flat, noise)
        else:
            events = decode_sparse(blocks, flat, noise, task.nonnegative)
        return replace(events, facts={"method": method} | facts | events.facts, warnings=warnings + events.warnings)

    return inverse


def _refuse_growth(op):
    if op.boundary != "periodic" or op.profile is not None:
        return  # growth, if any, shows when inputs are followed
    kernels = [op.kernel]
    if op.diagonal:  # ring by ring, each kind once
        rings = op.kernel.reshape(op.rings, op.levels, op.rings, op.levels, -1)[range(op.rings), :, range(op.rings)]
        kernels = np.unique(rings, axis=0)
    for kernel in kernels:
        stability = WaveOperator(kernel, levels=op.levels).stability(256)
        if stability.kind == "growing":
            raise ValueError(f"operator grows by a factor {stability.growth:g} per step: its past cannot be read")


def _told_of(blocks, back, steps):
    """Facts and warnings about the design itself."""
    parts = [block for block, _, _ in blocks]
    count = sum(block.count for block in parts)
    looked = max((block.design.steps for block in parts), default=0)
    facts, warnings = {"horizon": looked, "columns": count}, []
    if parts and all(block.rank is not None for block in parts):
        facts["rank"] = sum(block.rank for block in parts)
        if facts["rank"] < count:
            facts["conditioning"] = float("inf")
            warnings.append(
                f"the design is singular, rank {facts['rank']} of {count} columns: the snapshot alone does not "
                "determine the inputs, what is given rests on events being few"
            )
        else:
            facts["conditioning"] = max(b.singular[0] for b in parts) / min(b.singular[1] for b in parts)
    faded = [block.design.steps for block in parts if block.faded]
    if faded and max(faded) < back:
        warnings.append(f"inputs older than {max(faded)} steps have left no trace")
    if looked == back < steps and not any(block.period or block.faded for block in parts):
        warnings.append(f"events older than the horizon of {back} steps, if there were any, are taken for others")
    return facts, warnings


def _silent(entering, inputs):
    """Name the inputs that are not among those entering."""
    return [f"input {i} enters nowhere: nothing can be known of it" for i in np.setdiff1d(np.arange(inputs), entering)]


def _with_remarks(events):
    """Say what the periods of the events mean."""
    remarks = []
    if (events.period == 1).any():
        remarks.append("onsets are lost: inputs stay where they entered, an amplitude is the sum of all of its input")
    if (events.period > 1).any():
        remarks.append("more steps have passed than the field holds: onsets are known modulo `period` only")
    return replace(events, warnings=events.warnings + remarks)


# ---- result -------------------------------------------------------------------------------------------------------


def _dataset(task, trials: list[Events]) -> xr.Dataset:
    described = {
        "onset": ("onset", "step of the event, counted from rest"),
        "input": ("input", "number of the input"),
        "amplitude": ("amplitude", "amplitude of the event"),
        "amplitude_error": ("error", "standard deviation of the amplitude"),
        "confidence": ("confidence", "probability that input and onset are right"),
        "period": ("period", "steps modulo which the onset is known, 0 if it is known"),
        "ambiguous": ("ambiguous", "0, or the group of rows that cannot be told apart"),
    }
    table = {
        name: ("event", np.concatenate([getattr(t, field) for t in trials]), {"units": "1", "long_name": text})
        for name, (field, text) in described.items()
    }
    if task.trials:
        which = np.repeat(np.arange(len(trials)), [len(t) for t in trials])
        table["trial"] = ("event", which, {"units": "1", "long_name": "number of the trial"})
    first = trials[0].facts
    every = lambda name: [float(t.facts[name]) for t in trials] if task.trials else float(first[name])  # noqa: E731
    attrs = {
        "method": ", ".join(dict.fromkeys(t.facts["method"] for t in trials)),
        "steps": task.steps,
        "horizon": first["horizon"],
        "noise": every("noise"),
        "residual": every("residual"),
        "columns": first["columns"],
        "rank": first.get("rank", -1),
        "conditioning": first.get("conditioning", float("nan")),
        "warnings": "; ".join(dict.fromkeys(text for t in trials for text in t.warnings)),
    }
    return xr.Dataset(table, attrs=attrs)
