"""Decoding: which input arrived when, and how strongly, from a single snapshot of the field."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import xarray as xr

from wavefield._blocks import prepare
from wavefield._checks import positive_int
from wavefield._events import Events
from wavefield._inverse import decode_sparse
from wavefield._shifts import read_one_way, read_two_way, shifts_of, two_way_shifts_of
from wavefield._tikhonov import decode_tikhonov
from wavefield.design import design
from wavefield.encoder import resolve_encoder
from wavefield.operator import WaveOperator
from wavefield.simulate import operator_of

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
    the posterior over supports (see `wavefield.design` for F). No number of events needs to be given.

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
        snapshot, operator, given = _from_recording(snapshot, operator, previous, nonnegative)
        steps = given["steps"] if steps is None else steps
        encoder = given["encoder"] if encoder is None else encoder
        source = given["source"] if source is None else source
        previous, bias = given["previous"], given["bias"]
    else:
        bias = None
    task = _task(snapshot, operator, steps, encoder, source, previous, horizon, nonnegative, noise, bias)
    read = _reader(task, method)
    trials = [read(now, before).sorted() for now, before in task.snapshots]
    return _dataset(task, trials)


@dataclass(frozen=True, eq=False)
class _Task:
    """What is asked, checked and in its usual form."""

    operator: WaveOperator  # with as many rings as the encoder
    encoder: np.ndarray  # (rings, N, inputs)
    steps: int
    horizon: int
    pulse: bool
    snapshots: list  # of (now, before or None), each (rings, N)
    trials: bool
    nonnegative: bool
    noise: float | None
    precision: float  # rounding of the numbers given, relative

    @property
    def both(self) -> bool:
        """Whether the level before is seen."""
        return self.snapshots[0][1] is not None


# ---- ways of reading ----------------------------------------------------------------------------------------------


def _reader(task, method):
    """Return a function of (now, before) that gives Events."""
    if method in ("auto", "exact"):
        exact = _exact_reader(task)
        if exact is not None and method == "exact":
            return lambda now, before: _or_refuse(exact(now, before))
        if exact is not None:
            inverse = _Later(lambda: _inverse_reader(task, "sparse"))
            return lambda now, before: exact(now, before) or inverse()(now, before)
        if method == "exact":
            _or_refuse(None)
        method = "sparse"
    return _inverse_reader(task, method)


class _Later:
    """A value that is worked out when it is first called for."""

    def __init__(self, make):
        self.make, self.made = make, None

    def __call__(self):
        if self.made is None:
            self.made = self.make()
        return self.made


def _or_refuse(events):
    if events is None:
        raise ValueError(
            "method='exact' needs a field that only shifts, inputs that enter one cell each, and traces that do not "
            "hide each other (without noise for a two-way field); use 'auto' or 'sparse'"
        )
    return events


def _exact_reader(task):
    op = task.operator
    shifts = shifts_of(op, task.encoder)
    if shifts is not None:
        if (np.abs(shifts.gain) > 1).any():
            raise ValueError(f"operator grows: its gain per step is {np.abs(shifts.gain).max():g}, above 1")

        def one_way(now, _):
            quiet = task.precision * np.abs(now).max(initial=0)
            events = read_one_way(shifts, now, task.steps, task.horizon, task.noise, quiet)
            return events and _told(events, "exact")

        return one_way
    shifts = two_way_shifts_of(op, task.encoder) if task.both else None
    if shifts is None:
        return None

    def two_way(now, before):
        quiet = task.precision * max(np.abs(now).max(initial=0), np.abs(before).max(initial=0))
        events = read_two_way(shifts, now, before, task.steps, task.horizon, task.pulse, task.noise, quiet)
        return events and _told(events, "exact")

    return two_way


def _inverse_reader(task, method):
    op = task.operator
    if op.boundary == "periodic" and op.profile is None and op.stability(256).kind == "growing":
        growth = op.stability(256).growth
        raise ValueError(f"operator grows by a factor {growth:g} per step: its past cannot be read")
    back = min(task.steps, task.horizon)
    source = "pulse" if task.pulse else "force"
    forward = design(op, task.encoder.shape[1], back, encoder=task.encoder, source=source, previous=task.both)
    blocks = prepare(forward, task.steps, signed=not task.nonnegative or method == "tikhonov")
    facts, warnings = _blocks_told(blocks, back, task.steps)

    def inverse(now, before):
        flat = now.ravel() if before is None else np.concatenate([now.ravel(), before.ravel()])
        if method == "tikhonov":
            events = decode_tikhonov(blocks, flat, task.noise)
        else:
            events = decode_sparse(blocks, flat, task.noise, task.nonnegative)
        return _told(replace(events, facts=facts | events.facts, warnings=warnings + events.warnings), method)

    return inverse


def _told(events, method):
    """Add the method, and what periods mean, to what is told about all events."""
    remarks = []
    if (events.period == 1).any():
        remarks.append("onsets are lost: inputs stay where they entered, an amplitude is the sum of all of its input")
    if (events.period > 1).any():
        remarks.append("more steps have passed than the field holds: onsets are known modulo `period` only")
    return replace(events, facts={"method": method} | events.facts, warnings=events.warnings + remarks)


def _blocks_told(blocks, back, steps):
    """Facts and warnings about the design itself."""
    parts = [block for block, _, _ in blocks]
    ranks = [block.rank for block in parts]
    count = sum(block.count for block in parts)
    looked = max((block.design.steps for block in parts), default=0)
    facts = {"horizon": looked, "columns": count}
    if None not in ranks:
        facts["rank"] = sum(ranks)
        facts["conditioning"] = max((block.conditioning for block in parts), default=1.0)
    warnings = []
    if None not in ranks and sum(ranks) < count:
        warnings.append(
            f"the design is singular, rank {sum(ranks)} of {count} columns: the snapshot alone does not determine the "
            "inputs, what is given rests on events being few"
        )
    faded = [block.design.steps for block in parts if block.faded]
    if faded and max(faded) < back:
        warnings.append(f"inputs older than {max(faded)} steps have left no trace")
    if looked == back < steps and not any(block.period or block.faded for block in parts):
        warnings.append(f"events older than the horizon of {back} steps, if there were any, are taken for others")
    return facts, warnings


# ---- checks -------------------------------------------------------------------------------------------------------


def _from_recording(rec, operator, previous, nonnegative):
    """Return the last state of a recording (…, rings, N), its operator, and what else it says."""
    if "activity" not in rec:
        raise ValueError(
            f"snapshot: the dataset has no activity, only {', '.join(map(str, rec.data_vars)) or 'nothing'}"
        )
    activity = rec["activity"]
    activity = activity.isel(time=-1) if "time" in activity.dims else activity
    foreign = set(activity.dims) - {"trial", "channel", "position"}
    if foreign or "position" not in activity.dims:
        raise ValueError(
            f"snapshot: activity must have dims (trial, time, channel, position), got {rec['activity'].dims}"
        )
    operator = operator_of(rec) if operator is None else operator
    if previous is None and "previous" in rec:
        previous = _level(rec["previous"])
    encoder = rec["encoder"].transpose("channel", "position", "input").values if "encoder" in rec else None
    kind = rec.attrs.get("source_kind", "direct")
    if "steps" not in rec.attrs:
        raise ValueError("snapshot: the recording does not say how many steps have passed; give `steps`")
    _refuse_nonlinear(rec.attrs.get("nonlinearity", "identity"), operator, encoder, nonnegative, "bias" in rec)
    return _level(activity), operator, {
        "steps": int(rec.attrs["steps"]) + int(rec.attrs.get("first_step", 0)),
        "encoder": encoder,
        "source": None if kind == "direct" else kind,
        "previous": previous,
        "bias": rec["bias"].values if "bias" in rec else None,
    }  # fmt: skip


def _level(array):
    if "channel" not in array.dims:
        array = array.expand_dims("channel")
    return array.transpose(..., "channel", "position").values


def _refuse_nonlinear(nonlinearity, operator, encoder, nonnegative, biased):
    if nonlinearity == "identity":
        return
    if nonlinearity != "relu":
        raise ValueError(f"snapshot: a field under {nonlinearity} is not linear in its inputs and cannot be decoded")
    negative = [name for name, values in (("kernel", operator.kernel), ("encoder", encoder)) if np.min(values) < 0]
    if negative or not nonnegative or biased:
        why = (
            f"its {' and '.join(negative)} has negative weights"
            if negative
            else "it has a bias"
            if biased
            else "nonnegative=False"
        )
        raise ValueError(f"snapshot: a field under relu is linear only while nothing in it is negative, but {why}")


def _task(snapshot, operator, steps, encoder, source, previous, horizon, nonnegative, noise, bias):
    if not isinstance(operator, WaveOperator):
        raise TypeError(f"operator must be a WaveOperator (a recording carries its own), got {type(operator).__name__}")
    if steps is None:
        raise ValueError("steps must be given with an array: how long ago the field was at rest")
    steps = positive_int(steps, "steps")
    horizon = steps if horizon is None else min(positive_int(horizon, "horizon"), steps)
    if source not in (None, "pulse", "force"):
        raise ValueError(f"source must be 'pulse' or 'force', got {source!r}")
    if noise is not None and not (np.isscalar(noise) and np.isfinite(noise) and noise >= 0):
        raise ValueError(f"noise must be a finite number, not negative, got {noise!r}")
    now, trials = _checked_level(snapshot, "snapshot")
    precision = max(1e-12, 64 * np.finfo(now.dtype).eps)
    rings, size = now.shape[1:]
    operator.check_size(size)
    if encoder is None:
        encoder = "own"
    inputs = rings if isinstance(encoder, str) else np.shape(encoder)[-1] if np.ndim(encoder) == 3 else 0
    encoder, operator = resolve_encoder(encoder, operator, size, inputs)
    if operator.rings != rings:
        raise ValueError(
            f"snapshot must have {operator.rings} rings, as operator and encoder have, got shape {now.shape[1:]}"
        )
    if inputs == 0:
        raise ValueError("encoder must have at least one input")
    before = [None] * len(now)
    if previous is not None and previous is not False:
        if operator.levels == 1:
            raise ValueError("previous: the field of this operator has one level, there is none before it")
        before, _ = _checked_level(previous, "previous")
        if before.shape != now.shape:
            raise ValueError(f"previous must have the shape of the snapshot, {now.shape}, got {before.shape}")
        before = before.astype(float)
    snapshots = list(zip(now.astype(float), before, strict=True))
    if bias is not None:
        snapshots = _without_bias(snapshots, operator, size, bias, steps)
    pulse = operator.levels == 2 and source != "force"
    return _Task(operator, encoder, steps, horizon, pulse, snapshots, trials, nonnegative, noise, precision)


def _checked_level(values, name):
    """Return a level as (B, rings, N), its dtype kept if it is of floats, and whether there are trials."""
    values = np.asarray(values)
    if values.dtype.kind not in "fiub":
        raise TypeError(f"{name} must be an array of real numbers, got dtype {values.dtype}")
    if values.ndim not in (1, 2, 3) or 0 in values.shape:
        raise ValueError(f"{name} must have shape (rings, N), (N,) or (trial, rings, N), got {values.shape}")
    if not np.isfinite(values).all():
        raise ValueError(f"{name} must be finite, it holds NaN or infinity")
    values = values if values.dtype.kind == "f" else values.astype(float)
    return values.reshape((1,) * (3 - values.ndim) + values.shape), values.ndim == 3


def _without_bias(snapshots, operator, size, bias, steps):
    """Take out of the snapshots what the bias alone has left: a steady drive of every position."""
    bias = np.broadcast_to(bias if np.ndim(bias) == 2 else np.reshape(bias, (-1, 1)), (operator.rings, size))
    both = snapshots[0][1] is not None
    steady = design(operator, size, steps, encoder=bias[:, :, None], source="force", previous=both).forward(
        np.ones((steps, 1))
    )
    levels = steady.reshape(-1, operator.rings, size)
    return [(now - levels[0], before - levels[1] if both else None) for now, before in snapshots]


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
        "method": first["method"],
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
