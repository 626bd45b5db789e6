"""A decoding request: a snapshot or a recording, validated and normalised."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import xarray as xr

from wavefield.checks import plain_array, positive_int
from wavefield.operators.design import design
from wavefield.operators.encoder import EVERYWHERE, resolve_encoder
from wavefield.operators.operator import WaveOperator
from wavefield.simulation.continuation import check_whole, past_of, space_of
from wavefield.simulation.simulate import operator_of
from wavefield.simulation.units import units_of


@dataclass(frozen=True, eq=False)
class Request:
    """Which snapshots are to be decoded, under which law, and what is known beforehand."""

    operator: WaveOperator  # with as many rings as the encoder
    shape: tuple[int, ...]  # positions: (N,) of a ring or line, (Ny, Nx) of a sheet, whose N = Ny·Nx are row by row
    encoder: np.ndarray  # (rings, N, inputs), no inputs where it is not known where they enter
    steps: int
    horizon: int
    pulse: bool
    snapshots: list  # of (now, before or None), each (rings, N)
    trials: bool
    nonnegative: bool
    noise: float | None
    precision: float  # relative rounding of the numbers given
    units: dict  # of time, position and drive, "1" where nothing is said

    @classmethod
    def of(
        cls,
        snapshot,
        operator=None,
        *,
        steps=None,
        encoder=None,
        source=None,
        previous=None,
        horizon=None,
        nonnegative=True,
        noise=None,
        anywhere=False,
        from_rest=True,
    ) -> Request:
        """Validate the arguments of `decode`; what is not given is taken from the recording, if it is one.

        Where inputs may enter anywhere, no encoder is needed and that of a recording says nothing. A recording must
        begin with a field at rest, unless `from_rest` is False.
        """
        given = _Field(snapshot, operator, steps, encoder, source, previous)
        if isinstance(snapshot, xr.Dataset):
            if snapshot.attrs.get("encoder_kind") == EVERYWHERE and encoder is None and not anywhere:
                raise ValueError(
                    "snapshot: every cell of a movie is an input: decode its recording with sites='anywhere'"
                )
            given = _recorded_field(snapshot, given, nonnegative, from_rest)
        if not isinstance(given.operator, WaveOperator):
            raise TypeError(
                f"operator must be a WaveOperator (a recording carries its own), got {type(given.operator).__name__}"
            )
        if given.steps is None:
            raise ValueError("steps must be given where no recording tells it: how long ago the field was at rest")
        steps = positive_int(given.steps, "steps")
        horizon = steps if horizon is None else min(positive_int(horizon, "horizon"), steps)
        if given.source not in (None, "pulse", "force"):
            raise ValueError(f"source must be 'pulse' or 'force', got {given.source!r}")
        if noise is not None and not _is_deviation(noise):
            raise ValueError(f"noise must be a finite number, not negative, got {noise!r}")
        now, trials = _checked_level(given.level, "snapshot", given.operator.dims)
        precision = max(1e-12, 64 * np.finfo(now.dtype).eps)
        encoder, operator = _unknown_law(given, now.shape[1:]) if anywhere else _checked_law(given, now.shape[1:])
        before = _checked_previous(given.previous, operator, now.shape)
        rows = [level if level is None else level.reshape(operator.rings, -1) for level in before]
        snapshots = list(zip(now.astype(float).reshape(len(now), operator.rings, -1), rows, strict=True))
        shape = now.shape[2:]
        if given.bias is not None:
            snapshots = _without_bias(snapshots, operator, shape, given.bias, steps)
        pulse = operator.levels == 2 and given.source != "force"
        encoder = encoder.reshape(operator.rings, int(np.prod(shape)), encoder.shape[-1])
        described = snapshot if isinstance(snapshot, xr.Dataset) else xr.Dataset()
        units = {name: units_of(described, name) for name in ("time", "position", "drive")}
        return cls(
            operator, shape, encoder, steps, horizon, pulse, snapshots, trials, nonnegative, noise, precision, units
        )

    @property
    def both(self) -> bool:
        """Whether the level before is seen."""
        return self.snapshots[0][1] is not None


@dataclass(frozen=True, eq=False)
class _Field:
    """A field as it is given or as a recording describes it; None where nothing is said."""

    level: Any  # the snapshot
    operator: Any = None
    steps: Any = None
    encoder: Any = None
    source: Any = None
    previous: Any = None
    bias: Any = None

    def over(self, other: _Field) -> _Field:
        """Return this field, completed by another where it says nothing."""
        mine = {f.name: getattr(self, f.name) for f in fields(self)}
        return _Field(**{name: getattr(other, name) if value is None else value for name, value in mine.items()})


# ---- recordings ---------------------------------------------------------------------------------------------------


def _recorded_field(rec, given: _Field, nonnegative, from_rest) -> _Field:
    """Return the last state of a recording and the law that moved it, what is `given` taking precedence."""
    activity = _last_activity(rec)
    operator = operator_of(rec) if given.operator is None else given.operator
    check_whole(rec)
    if from_rest and rec.attrs.get("start", "rest") != "rest":
        raise ValueError(
            "snapshot: the recording, or what continued it under another operator, encoder, source, nonlinearity "
            "or bias, began with a field that was not zero; what that left cannot be distinguished from inputs"
        )
    past = past_of(rec) if "time" in rec.coords else None
    before = None if past is None else past.before
    space = space_of(rec)
    encoder = rec["encoder"].transpose("channel", *space, "input").values if "encoder" in rec else None
    kind = rec.attrs.get("source_kind", "direct")
    nonlinearity = rec.attrs.get("nonlinearity", "identity")
    _refuse_nonlinear(nonlinearity, operator, encoder, nonnegative, "bias" in rec)
    if nonlinearity == "relu" and "drive" in rec:
        inputs = rec["drive"] if past is None else past.inputs(past.own_steps)
        if (inputs < 0).any():
            raise ValueError(
                "snapshot: a field under relu is linear only while nothing in it is negative, but its drive was"
            )
    if "channel" not in activity.dims:
        activity = activity.expand_dims("channel")
        before = None if before is None else np.expand_dims(before, -1 - len(space))
    level = activity.transpose(..., "channel", *space).values
    recorded = _Field(
        level,
        operator,
        steps=None if past is None else past.steps,
        encoder=encoder,
        source=None if kind == "direct" else kind,
        previous=before,
        bias=rec["bias"].values if "bias" in rec else None,
    )
    return _Field(level, operator, given.steps, given.encoder, given.source, given.previous).over(recorded)


def _last_activity(rec):
    """Return the activity of the last instant of a recording, dims (trial, channel, position or y, x) or fewer."""
    if "activity" not in rec:
        raise ValueError(
            f"snapshot: the dataset has no activity, only {', '.join(map(str, rec.data_vars)) or 'nothing'}"
        )
    activity = rec["activity"]
    if 0 in activity.shape:
        raise ValueError(f"snapshot: the recording holds no state, its activity has sizes {dict(activity.sizes)}")
    activity = activity.isel(time=-1) if "time" in activity.dims else activity
    space = set(activity.dims) - {"trial", "channel"}
    if space not in ({"position"}, {"y", "x"}):
        raise ValueError(
            "snapshot: activity must have dims (trial, time, channel, position) or (trial, time, channel, y, x), "
            f"got {rec['activity'].dims}"
        )
    return activity


def _refuse_nonlinear(nonlinearity, operator, encoder, nonnegative, biased):
    if nonlinearity == "identity":
        return
    if nonlinearity != "relu":
        raise ValueError(f"snapshot: a field under {nonlinearity} is not linear in its inputs and cannot be decoded")
    weights = {"kernel": operator.kernel, "encoder": 0.0 if encoder is None else encoder}
    negative = [name for name, values in weights.items() if np.min(values) < 0]
    reasons = [f"its {' and '.join(negative)} has negative weights"] if negative else []
    reasons += ["it has a bias"] if biased else []
    reasons += [] if nonnegative else ["nonnegative=False"]
    if reasons:
        raise ValueError(
            f"snapshot: a field under relu is linear only while nothing in it is negative, but {reasons[0]}"
        )


# ---- checks -------------------------------------------------------------------------------------------------------


def _is_deviation(value):
    return np.isscalar(value) and np.isfinite(value) and value >= 0


def _checked_level(values, name, dims):
    """Return a level as (B, rings, N) or (B, rings, Ny, Nx), its dtype of floats kept, and whether there are trials."""
    values = plain_array(values, name)
    if values.dtype.kind not in "fiub":
        raise TypeError(f"{name} must be an array of real numbers, got dtype {values.dtype}")
    if values.ndim not in (dims, dims + 1, dims + 2) or 0 in values.shape:
        n = "N" if dims == 1 else "Ny, Nx"
        accepted = f"(rings, {n}), ({n + (',' if dims == 1 else '')}) or (trial, rings, {n})"
        raise ValueError(f"{name} must have shape {accepted}, got {values.shape}")
    if not np.isfinite(values).all():
        raise ValueError(f"{name} must be finite, it holds NaN or infinity")
    values = values if values.dtype.kind == "f" else values.astype(float)
    return values.reshape((1,) * (2 + dims - values.ndim) + values.shape), values.ndim == 2 + dims


def _checked_law(given: _Field, shape):
    """Return the encoder (rings, N, inputs) and the operator of that many rings, for levels of shape (rings, N)."""
    rings, *size = shape
    size = tuple(size)
    given.operator.check_size(size)
    encoder = "own" if given.encoder is None else given.encoder
    encoder = encoder if isinstance(encoder, str) else plain_array(encoder, "encoder")
    array = np.ndim(encoder) == 2 + given.operator.dims
    inputs = rings if isinstance(encoder, str) else np.shape(encoder)[-1] if array else 0
    encoder, operator = resolve_encoder(encoder, given.operator, size, inputs)
    if operator.rings != rings:
        raise ValueError(
            f"snapshot must have {operator.rings} rings, as operator and encoder have, got shape {tuple(shape)}"
        )
    if inputs == 0:
        raise ValueError("encoder must have at least one input")
    return encoder, operator


def _unknown_law(given: _Field, shape):
    """Return an encoder without inputs and the operator of as many rings as levels of shape (rings, N) have."""
    rings, *size = shape
    given.operator.check_size(tuple(size))
    if given.operator.rings not in (1, rings):
        raise ValueError(f"snapshot must have {given.operator.rings} rings, as operator has, got shape {tuple(shape)}")
    return np.zeros((*shape, 0)), given.operator.with_rings(rings)


def _checked_previous(previous, operator, shape):
    """Return the level before of every trial, (B, rings, N) or B times None."""
    if previous is None or previous is False:
        return [None] * shape[0]
    if operator.levels == 1:
        raise ValueError("previous: the field of this operator has one level, there is none before it")
    before, _ = _checked_level(previous, "previous", operator.dims)
    if before.shape != shape:
        raise ValueError(f"previous must have the shape of the snapshot, {shape}, got {before.shape}")
    return before.astype(float)


def _without_bias(snapshots, operator, size, bias, steps):
    """Subtract from the snapshots what the bias alone has left: a steady drive of every position."""
    bias = np.broadcast_to(np.reshape(bias, (len(bias), -1)), (operator.rings, int(np.prod(size))))
    both = snapshots[0][1] is not None
    encoder = bias.reshape(operator.rings, *size, 1)
    steady = design(operator, size, steps, encoder=encoder, source="force", previous=both).forward(np.ones((steps, 1)))
    levels = steady.reshape(-1, operator.rings, int(np.prod(size)))
    return [(now - levels[0], before - levels[1] if both else None) for now, before in snapshots]
