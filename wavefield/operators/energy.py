"""Energy of a two-way field: the discrete energy that leapfrog conserves, on two levels of time."""

from __future__ import annotations

import functools
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike

from wavefield.checks import plain_array
from wavefield.operators.operator import WaveOperator
from wavefield.operators.step_matrix import local_taps, reflect


def energy(operator: WaveOperator, now: ArrayLike, before: ArrayLike) -> np.ndarray:
    """Energy of each ring between two successive levels of a two-way field.

        E^{n+½} = ½ ‖(h^{n+1} − h^n)/dt‖² + ½ ⟨h^{n+1}, −c²L h^n⟩ + ¼ (‖ωh^{n+1}‖² + ‖ωh^n‖²),

    with ⟨a, b⟩ = dx Σ_i ρ_i w_i a_i b_i, ρ the density (1 unless there is a profile of it), and ω² the restoring force,
    if there is a profile of it (where it is negative its energy is ½ ω² h^{n+1} h^n).

    The potential energy is a product of the *two* levels; with it the sum is a constant of the leapfrog scheme, to
    rounding, where there is no damping, whatever the stencil, the speed profile and the ends: w = 1 on a ring and
    between fixed ends, and ½ at the two end cells of a free line, of which half a cell lies inside. With damping it
    falls by exactly what the damping takes,

        E^{n+½} − E^{n−½} = −dt ‖√γ (h^{n+1} − h^{n−1})/(2dt)‖²,

    also where γ depends on position.

    Between absorbing ends it is that of the free line: constant until a wave reaches an end, and gone with it. The
    energy is positive for Courant numbers below the limit of the stencil; at the limit a field of the Nyquist
    wavenumber has none.

    Parameters
    ----------
    operator : WaveOperator
        Of two levels, as `wave` makes it.
    now, before : array_like, shape (..., rings, N), of a sheet (..., rings, Ny, Nx)
        The field at a step and at the step before; leading axes (time, trial) are kept.

    Returns
    -------
    ndarray, shape (..., rings)
        In units of activity² · length / time², of a sheet activity² · area / time².

    Raises
    ------
    ValueError
        If the operator has one level, or a shape does not fit.

    References
    ----------
    S. Bilbao, *Numerical Sound Synthesis* (Wiley, 2009), chapter 6.

    Examples
    --------
    A hump at rest splits into two that move apart:

    >>> import wavefield as wf
    >>> levels = np.array([[[0, 0, 2, 2, 0, 0]], [[0, 1, 1, 1, 1, 0]], [[1, 1, 0, 0, 1, 1]]])
    >>> energy(wf.wave(1.0), levels[1:], levels[:-1])[:, 0].tolist()
    [2.0, 2.0]
    """
    if operator.levels != 2:
        raise ValueError(f"operator must be a two-way wave, whose energy two levels make up, got {operator!r}")
    now, before = (_level(level, name) for level, name in ((now, "now"), (before, "before")))
    for name, level in (("now", now), ("before", before)):
        if level.ndim <= operator.dims or level.shape[-1 - operator.dims] != operator.rings:
            axes = "N" if operator.dims == 1 else "Ny, Nx"
            raise ValueError(f"{name} must have shape (..., rings={operator.rings}, {axes}), got {level.shape}")
    if now.shape != before.shape:
        raise ValueError(f"now and before must have the same shape, got {now.shape} and {before.shape}")
    shape = now.shape[-operator.dims :]
    operator.check_size(shape)
    if operator.rim:
        raise ValueError("the energy of a sheet with an absorbing rim is not defined in the rim")
    weights = cell_weights(operator, shape)
    kinetic = _summed((now - before) ** 2, weights)
    potential = _summed(now * _stiffness(operator, before), weights)
    if operator.restoring_profile is not None:
        pulling = np.maximum(operator.restoring_profile, 0)  # what pushes is in the taps
        potential += 0.5 * operator.dt**2 * _summed(pulling * (now**2 + before**2), weights)
    return 0.5 * (kinetic + potential) * float(np.prod(operator.spacings)) / operator.dt**2


def _level(level, name):
    level = plain_array(level, name)
    if level.dtype.kind not in "biuf":
        raise TypeError(f"{name} must be an array of real numbers, got dtype {level.dtype}")
    return level.astype(float)


def cell_weights(operator: WaveOperator, shape: tuple[int, ...]) -> np.ndarray:
    """The mass of each cell: the part of it that lies inside times the density, shape (N,) or (Ny, Nx)."""
    along = [_inside(size, boundary) for size, boundary in zip(shape, operator.boundaries, strict=True)]
    return functools.reduce(np.multiply.outer, along) * operator.local_density(shape)


def _inside(size, boundary):
    """The part of each cell that lies inside, along one axis: half of the ends that are mirrored."""
    weights = np.ones(size)
    if boundary in ("free", "absorbing"):
        weights[[0, -1]] = 0.5
    return weights


def _summed(values, weights):
    """Weighted sum over the positions: the last axes, those of the weights."""
    return values.reshape(*values.shape[: -weights.ndim], -1) @ weights.ravel()


def _stiffness(operator, field):
    """−(c·dt)²L h, shape (..., rings, N).

    Written in differences h_i − h_{i+j}, so that a large constant in the field costs no digits; what the taps leave
    of 2 in their sum (only rounding, unless the kernel has a restoring force) comes last.
    """
    dims, shape = operator.dims, field.shape[-operator.dims :]
    if operator.boundary == "absorbing":
        operator = replace(operator, boundary="free")
    gain = operator.local_gain(shape)
    taps = local_taps(operator, shape) / gain.reshape(len(gain), *(1,) * dims, *shape)  # (rings, K, N)
    width, centre = taps.shape[1 : 1 + dims], operator.centre
    result = (2 - taps.sum(axis=tuple(range(1, 1 + dims)))) * field
    for tap in np.ndindex(width):
        weights = taps[(slice(None), *tap)]
        if tap == centre or not weights.any():
            continue
        there = field
        for axis, (n, j, c) in enumerate(zip(shape, tap, centre, strict=True)):
            index, sign = reflect(np.arange(n) + j - c, n, operator.boundaries[axis])
            there = np.take(there, index, axis=axis - dims) * sign.reshape(-1, *(1,) * (dims - 1 - axis))
        result += weights * (field - there)
    return result if operator.mask is None else result * operator.mask
