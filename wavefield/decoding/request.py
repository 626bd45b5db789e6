"""What a decoder is asked: a snapshot, or a recording, checked and brought to its usual form."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from wavefield.checks import positive_int
from wavefield.operators.design import design
from wavefield.operators.encoder import resolve_encoder
from wavefield.operators.operator import WaveOperator
from wavefield.simulation.continuation import check_whole, past_of
from wavefield.simulation.simulate import operator_of


@dataclass(frozen=True, eq=False)
class Task:
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


def from_recording(rec, operator, previous, nonnegative):
    """Return the last state of a recording (…, rings, N), its operator, and what else it says."""
    if "activity" not in rec:
        raise ValueError(
            f"snapshot: the dataset has no activity, only {', '.join(map(str, rec.data_vars)) or 'nothing'}"
        )
    activity = rec["activity"]
    if 0 in activity.shape:
        raise ValueError(f"snapshot: the recording holds no state, its activity has sizes {dict(activity.sizes)}")
    activity = activity.isel(time=-1) if "time" in activity.dims else activity
    foreign = set(activity.dims) - {"trial", "channel", "position"}
    if foreign or "position" not in activity.dims:
        raise ValueError(
            f"snapshot: activity must have dims (trial, time, channel, position), got {rec['activity'].dims}"
        )
    operator = operator_of(rec) if operator is None else operator
    check_whole(rec)
    if rec.attrs.get("start", "rest") != "rest":
        raise ValueError(
            "snapshot: the recording, or what continued it under another operator, encoder, source, nonlinearity "
            "or bias, began with a field that was not zero; what that left is not told from inputs"
        )
    elapsed = past = None
    if "time" in rec.coords:
        past = past_of(rec)
        elapsed = past.steps
        if previous is None and past.before is not None:
            previous = past.before if past.before.ndim > 1 else past.before[None]
    encoder = rec["encoder"].transpose("channel", "position", "input").values if "encoder" in rec else None
    kind = rec.attrs.get("source_kind", "direct")
    _refuse_nonlinear(rec.attrs.get("nonlinearity", "identity"), operator, encoder, nonnegative, "bias" in rec)
    if rec.attrs.get("nonlinearity", "identity") == "relu" and "drive" in rec:
        inputs = rec["drive"] if past is None else past.inputs(past.own_steps)
        if (inputs < 0).any():
            raise ValueError(
                "snapshot: a field under relu is linear only while nothing in it is negative, but its drive was"
            )
    return _level(activity), operator, {
        "steps": elapsed,
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
    weights = {"kernel": operator.kernel, "encoder": 0.0 if encoder is None else encoder}
    negative = [name for name, values in weights.items() if np.min(values) < 0]
    if negative or not nonnegative or biased:
        why = (
            f"its {' and '.join(negative)} has negative weights"
            if negative
            else "it has a bias"
            if biased
            else "nonnegative=False"
        )
        raise ValueError(f"snapshot: a field under relu is linear only while nothing in it is negative, but {why}")


def task_of(snapshot, operator, steps, encoder, source, previous, horizon, nonnegative, noise, bias):
    if not isinstance(operator, WaveOperator):
        raise TypeError(f"operator must be a WaveOperator (a recording carries its own), got {type(operator).__name__}")
    if steps is None:
        raise ValueError("steps must be given where no recording tells it: how long ago the field was at rest")
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
    return Task(operator, encoder, steps, horizon, pulse, snapshots, trials, nonnegative, noise, precision)


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
