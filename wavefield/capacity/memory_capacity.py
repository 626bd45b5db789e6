"""How much of the past a wave field holds: capacity by lag of a linear readout of one snapshot.

Jaeger's short-term memory capacity at lag k is the squared correlation between an input x[t − k] and its best linear
estimate from the field at time t, the inputs being white noise. A linear field is

    h[t] = Σ_k g_k x[t−k] + (what stood there before),      g_k: what an input has become after k steps

so that for inputs of unit variance, and a readout that sees every unit through noise of variance σ²,

    MC_k = g_kᵀ (P + σ²)⁻¹ g_k,      P = Σ_k g_k g_kᵀ,

exactly, with nothing sampled. Without noise the sum over all lags is the number of dimensions that the inputs reach.

A field that never forgets, as a ring of gain 1 or the static bump, has no stationary state: its variance grows with
every input. Its capacity is that of a field `window` inputs after rest, and depends on the window.

References: H. Jaeger, *Short term memory in echo state networks*, GMD report 152 (2001); J. Dambre, D. Verstraeten,
B. Schrauwen, S. Massar, *Information processing capacity of dynamical systems*, Scientific Reports 2, 514 (2012).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike
from scipy import linalg

from wavefield.capacity.covariance import covariance_roots
from wavefield.checks import finite_vector, positive_int
from wavefield.operators.design import design
from wavefield.operators.equations import transport, wave
from wavefield.operators.operator import WaveOperator


def memory_capacity(
    operator: WaveOperator,
    size: int | tuple[int, ...],
    *,
    max_lag: int,
    noise: float = 0.0,
    encoder: str | ArrayLike = "own",
    inputs: int | None = None,
    source: str = "pulse",
    previous: bool = False,
    window: int | None = None,
) -> xr.Dataset:
    """Capacity of the field for its inputs by lag, exact for white noise inputs: MC_k = g_kᵀ (P + σ²)⁻¹ g_k.

    Parameters
    ----------
    operator : WaveOperator
        Its linear field; see `measured_capacity` for what a nonlinear one or a network holds.
    size : int or pair of ints
        Positions N of each ring, (Ny, Nx) of a sheet. The work grows as the cube of the size of a part whose rings are
        linked.
    max_lag : int
        Largest lag k, in steps; lag 0 is the input that has just arrived.
    noise : float
        Standard deviation σ of the noise at every unit the readout sees, in units of that of an input. With 0 every
        dimension above rounding counts, however faint.
    encoder, inputs, source
        As in `simulate`; one input a ring by default.
    previous : bool
        Whether the readout of a two-way field sees the level before, too.
    window : int, optional
        Inputs that have arrived since rest. By default the field is stationary, and where it has no stationary state
        `window` is max_lag + 1.

    Returns
    -------
    xarray.Dataset
        `capacity` (input, lag); `total`, its sum; `dimensions`, the bound on the total: how many dimensions of what
        the readout sees the inputs reach. The attributes say whether the state is ``stationary`` (1 or 0) and the
        ``window`` (0 where it is stationary).

    Raises
    ------
    ValueError, TypeError
        If an argument is not as above.

    Examples
    --------
    A line with outflow holds its last N inputs, a ring that fades by g a step g^{2Nm}(1 − g^{2N}) of those that went
    round m times:

    >>> import wavefield as wf
    >>> line = memory_capacity(wf.transport(1.0, boundary="absorbing"), 8, max_lag=20)
    >>> line.capacity[0, :10].values.round(9).tolist()
    [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.0, 0.0]
    >>> ring = memory_capacity(wf.transport(1.0, gain=0.95), 8, max_lag=20)
    >>> ring.capacity[0, [0, 7, 8]].values.round(4).tolist(), round(1 - 0.95**16, 4)
    ([0.5599, 0.5599, 0.2464], 0.5599)
    """
    lags, noise = positive_int(max_lag, "max_lag", 0) + 1, _checked_noise(noise)
    if window is not None:
        positive_int(window, "window")
    field = design(operator, size, lags, encoder=encoder, inputs=inputs, source=source, previous=previous)
    parts = field.parts()
    roots = covariance_roots(parts, window)
    stationary = window is None and roots is not None
    if roots is None:
        window = lags
        roots = covariance_roots(parts, window)
    assert roots is not None  # finitely many inputs always have a covariance
    arrived = lags if window is None else min(window, lags)
    capacity, dimensions = np.zeros((field.inputs, lags)), 0
    for (part, _, members), root in zip(parts, roots, strict=True):
        axes, singular, _ = linalg.svd(root.matrix[part.seen], full_matrices=False)
        kept = singular > root.rounding * singular.max()
        responses = part.columns().reshape(part.seen.size, lags, part.inputs)[:, ::-1][:, :arrived]  # (R, lag, i)
        amplitudes = np.tensordot(axes[:, kept].T, responses, 1)  # (dimension, lag, i)
        held = (amplitudes**2 / (singular[kept] ** 2 + noise**2)[:, None, None]).sum(axis=0)
        capacity[members, :arrived] = held.T
        dimensions += int(kept.sum())
    attrs = {
        "method": "covariance of the linear state under white noise inputs",
        "operator": repr(operator),
        "size": list(size) if isinstance(size, tuple) else size,
        "source_kind": "direct" if operator.levels == 1 else source,
        "readout": "displacement and the level before" if previous else "displacement",
        "noise": noise,
        "stationary": int(stationary),
        "window": 0 if stationary else window,
    }
    return _labelled(capacity, dimensions, attrs)


def capacity_against_noise(
    operator: WaveOperator, size: int | tuple[int, ...], *, noise: Sequence[float], **options: Any
) -> xr.Dataset:
    """`memory_capacity` at each standard deviation of the readout noise, along the dim ``noise``."""
    noise = finite_vector(noise, "noise").tolist()
    results = [memory_capacity(operator, size, noise=sigma, **options) for sigma in noise]
    return _along("noise", noise, "standard deviation of the readout noise", results)


def capacity_against_speed(
    speed: Sequence[float],
    size: int | tuple[int, ...],
    *,
    equation: Callable[..., WaveOperator] = transport,
    **options: Any,
) -> xr.Dataset:
    """`memory_capacity` of ``equation(speed=…)`` at each speed, along the dim ``speed``.

    Give other parameters of the equation by ``functools.partial``.

    Examples
    --------
    >>> from functools import partial
    >>> line = partial(transport, boundary="absorbing")
    >>> held = capacity_against_speed([0.7, 0.9, 1.0], 50, equation=line, max_lag=300, noise=0.01)
    >>> held.total.round(1).values.tolist()
    [25.5, 40.2, 50.0]
    """
    speed = finite_vector(speed, "speed").tolist()
    return _along("speed", speed, "speed", [memory_capacity(equation(speed=v), size, **options) for v in speed])


def capacity_against_damping(
    damping: Sequence[float],
    size: int | tuple[int, ...],
    *,
    equation: Callable[..., WaveOperator] = wave,
    **options: Any,
) -> xr.Dataset:
    """`memory_capacity` of ``equation(damping=…)`` at each damping, along the dim ``damping``."""
    damping = finite_vector(damping, "damping").tolist()
    results = [memory_capacity(equation(damping=gamma), size, **options) for gamma in damping]
    return _along("damping", damping, "damping", results)


def capacity_against_channels(
    operator: WaveOperator, size: int | tuple[int, ...], *, channels: Sequence[int], max_lag: int, **options: Any
) -> xr.Dataset:
    """Total and mean capacity with so many rings, each with an input of its own, along the dim ``channels``.

    `capacity` (channels, lag) is here the sum over the inputs: how many of the values that arrived k steps ago are
    held.
    """
    results = []
    for count in channels:
        several = operator.with_rings(positive_int(count, "channels"))
        held = memory_capacity(several, size, max_lag=max_lag, **options)
        results.append(held.assign(capacity=held.capacity.sum("input", keep_attrs=True)).drop_vars("input"))
    return _along("channels", [int(count) for count in channels], "rings, each with an input", results)


def measured_capacity(
    rec: xr.Dataset,
    *,
    max_lag: int,
    noise: float = 0.0,
    skip: int | None = None,
    rng: np.random.Generator | None = None,
) -> xr.Dataset:
    """Capacity by lag from a recording with white noise inputs: of any field, nonlinear ones and networks too.

    The readout is fitted to the n stored states after the first `skip` steps. Its R² is too large by what p regressors
    explain of anything, p/(n − 1) at chance; the adjusted form takes that out (M. Ezekiel, 1930),

        MC_k = 1 − (1 − R²)(n − 1)/(n − p − 1),

    so that it scatters about zero, on both sides, where nothing is held.

    Parameters
    ----------
    rec : recording
        With a drive, and many more states than units.
    max_lag : int
        Largest lag k, in steps; lag 0 is the input that has just arrived.
    noise : float
        Standard deviation of noise added to the states, in units of that of the drive.
    skip : int, optional
        Steps at the beginning that are left out, in which the field becomes stationary; `max_lag` by default, and at
        least that.
    rng : numpy.random.Generator
        For the noise.

    Returns
    -------
    xarray.Dataset
        `capacity` (input, lag), `total`, and `dimensions`, here the number p of regressors.

    Raises
    ------
    ValueError
        If the recording has no drive, an input is constant, or there are too few states.

    Examples
    --------
    >>> import wavefield as wf
    >>> drive = np.random.default_rng(0).standard_normal((2000, 1))
    >>> rec = wf.simulate(wf.transport(1.0, boundary="absorbing"), drive, size=8)
    >>> np.round(measured_capacity(rec, max_lag=9).capacity[0].values, 1).tolist()[:8]
    [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]
    """
    max_lag, noise = positive_int(max_lag, "max_lag", 0), _checked_noise(noise)
    if noise and rng is None:
        raise ValueError("rng, a numpy.random.Generator, is needed for the noise")
    first = max(max_lag, positive_int(skip, "skip", 0) if skip is not None else 0)
    states, targets = _pairs(rec, max_lag, first)  # (n, units), (n, inputs, lags)
    scale = targets[:, :, 0].std(axis=0)
    if (scale == 0).any():
        raise ValueError(f"rec: input {int(np.argmin(scale))} is constant, nothing about it can be remembered")
    if noise and rng is not None:
        states = states + noise * scale.mean() * rng.standard_normal(states.shape)
    count, units = states.shape
    if count < 2 * units + 2:
        raise ValueError(f"rec holds {count} states after the first {first} steps, too few for {units} units")
    left, singular, _ = linalg.svd(states - states.mean(axis=0), full_matrices=False)
    left = left[:, singular > max(states.shape) * np.finfo(float).eps * singular[0]]
    regressors = left.shape[1]
    targets = targets - targets.mean(axis=0)
    explained = (np.tensordot(left.T, targets, 1) ** 2).sum(axis=0) / (targets**2).sum(axis=0)
    adjusted = 1 - (1 - explained) * (count - 1) / (count - regressors - 1)
    attrs = {"method": "adjusted R² of a linear readout", "states": count, "noise": noise, "skip": first}
    return _labelled(adjusted, regressors, attrs)


# ---- labels and checks ----------------------------------------------------------------------------------------------


def _labelled(capacity, dimensions, attrs) -> xr.Dataset:
    inputs, lags = capacity.shape
    unit = {"units": "1"}
    return xr.Dataset(
        {
            "capacity": (("input", "lag"), capacity, unit | {"long_name": "memory capacity"}),
            "total": ((), capacity.sum(), unit | {"long_name": "memory capacity, sum over lags and inputs"}),
            "dimensions": ((), dimensions, unit | {"long_name": "dimensions reached by the inputs"}),
        },
        coords={
            "input": ("input", np.arange(inputs), unit | {"long_name": "input"}),
            "lag": ("lag", np.arange(lags), unit | {"long_name": "steps since the input arrived"}),
        },
        attrs=attrs,
    )


def _along(name, values, long_name, results) -> xr.Dataset:
    if not results:
        raise ValueError(f"{name} must hold at least one value")
    shared = {key: value for key, value in results[0].attrs.items() if all(r.attrs[key] == value for r in results)}
    coordinate = xr.DataArray(values, dims=name, name=name, attrs={"units": "1", "long_name": long_name})
    return xr.concat([r.drop_attrs(deep=False) for r in results], coordinate).assign_attrs(shared)


def _checked_noise(noise) -> float:
    noise = finite_vector(noise, "noise")
    if noise.size != 1 or noise[0] < 0:
        raise ValueError(f"noise must be a standard deviation, not negative, got {noise.tolist()}")
    return float(noise[0])


def _pairs(rec, max_lag, first):
    """States (n, units) stored after step `first`, and the inputs (n, inputs, lags) that had arrived by then."""
    if "drive" not in rec or "activity" not in rec:
        raise ValueError("rec must be a recording with a drive")
    drive = rec["drive"].transpose(..., "step", "input").values
    activity = rec["activity"].transpose(..., "time", *[d for d in rec["activity"].dims if d not in ("trial", "time")])
    states, begins = activity.values, rec["step"].values
    if "trial" not in activity.dims:
        states, drive = states[None], drive[None]
    states = states.reshape(*states.shape[:2], -1).astype(float)
    drive = np.broadcast_to(drive, (len(states), *drive.shape[1:]))
    spacing = np.diff(begins)
    dt = rec.attrs.get("dt", spacing[0] if spacing.size else 1)
    if not begins.size or not np.allclose(spacing, dt):
        raise ValueError(f"rec must hold the inputs of every step, one after another, {dt:g} apart")
    last = np.ceil((rec["time"].values - begins[0]) / dt - 0.5).astype(int) - 1
    if (last >= begins.size).any():
        raise ValueError(
            f"rec has states up to the time {rec['time'].values[-1]}, but inputs up to that of step "
            f"{np.rint(begins[-1] / dt):.0f} only"
        )
    usable = last >= first
    lagged = drive[:, last[usable][:, None] - np.arange(max_lag + 1)]  # (trial, n, lags, inputs)
    targets = np.moveaxis(lagged.reshape(-1, max_lag + 1, drive.shape[2]), 1, 2)
    return states[:, usable].reshape(-1, states.shape[2]), targets
