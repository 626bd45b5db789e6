"""Modes of a two-way field by a sparse eigen-solver: frequencies, decay and shapes, on a domain of any shape."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike
from scipy import sparse
from scipy.sparse.linalg import eigsh

from wavefield.checks import grid_shape, plain_array, positive_int
from wavefield.operators.energy import cell_weights
from wavefield.operators.operator import WaveOperator
from wavefield.recordings.schema import space_dims

_DENSE = 600  # positions up to which all modes are worked out
_SHIFT = 1e-7  # below the smallest stiffness, so that a uniform mode does not make it singular


def modes(
    operator: WaveOperator, domain: int | tuple[int, ...] | ArrayLike | None = None, count: int = 20
) -> xr.Dataset:
    """Lowest modes of a two-way field: h(x, t) = u(x)·e^{−γt/2}·cos 2πft.

        A u = 2√q cos θ · u,      θ = 2πf·dt,      h[t+1] = A h[t] − q h[t−1]

    with A what a step takes from the level now. The frequencies are those of the scheme, to which a simulation holds.

    Parameters
    ----------
    operator : WaveOperator
        Two-way, of one ring or sheet, with damping that does not depend on position and no absorbing ends.
    domain : int, pair of ints or array_like of bool, shape (Ny, Nx), optional
        Positions N or (Ny, Nx), or a mask: the drum's shape, with the operator's `edge`. Not needed where the operator
        has a mask or a profile.
    count : int
        How many modes, the lowest first.

    Returns
    -------
    xarray.Dataset
        - `frequency` (mode), cycles per unit of time;
        - `eigenvalue` (mode) of −∇² as the stencil has it, per unit of length squared (NaN in a medium that varies);
        - `shape` (mode, position) or (mode, y, x), with ∫u² = 1 and its largest value positive, zero outside the mask.

        Its attribute `decay` is γ/2, per unit of time.

    Raises
    ------
    ValueError, TypeError
        If the operator has no modes of this kind, or an argument does not fit.

    Examples
    --------
    The fundamental of a square drum, (1/π) asin(√2·C·sin(π/2(L + 1))) cycles a step:

    >>> import wavefield as wf
    >>> found = modes(wf.wave(0.5, dims=2, boundary="fixed"), (15, 15), count=3)
    >>> found.frequency.values.round(6).tolist()
    [0.022079, 0.034818, 0.034818]
    """
    operator, shape = _on_domain(operator, domain)
    weights = (cell_weights(operator, shape) / operator.local_gain(shape)[0]).ravel()
    q = float(operator.local_previous_weight(shape).ravel()[0])
    inside = np.arange(weights.size) if operator.mask is None else np.flatnonzero(operator.mask)
    size = int(np.prod(shape))
    now = operator.matrix(shape)[:size, :size][inside][:, inside]
    root = np.sqrt(weights[inside])
    symmetric = sparse.diags_array(root) @ now @ sparse.diags_array(1 / root)
    stiffness = sparse.csc_array(2 * np.sqrt(q) * sparse.eye_array(inside.size) - (symmetric + symmetric.T) / 2)
    count = min(positive_int(count, "count"), inside.size)
    values, vectors = _lowest(stiffness, count)
    angle = 2 * np.arcsin(np.sqrt(np.clip(values / (4 * np.sqrt(q)), 0, 1)))
    shapes = np.zeros((count, size))
    shapes[:, inside] = (vectors / root[:, None]).T
    return _described(operator, shape, angle, _eigenvalues(operator, values), shapes)


def _on_domain(operator, domain):
    """The operator on its domain, and the positions along each axis."""
    if not isinstance(operator, WaveOperator) or operator.levels != 2 or operator.rings != 1:
        raise ValueError(f"operator must be a two-way wave of one ring or sheet, got {operator!r}")
    if "absorbing" in operator.boundaries:
        raise ValueError("operator has absorbing ends: its waves leave, it has no modes")
    if domain is not None and plain_array(domain, "domain").ndim == 2:
        operator = replace(operator, mask=domain)
        domain = None
    known = [part for part in (operator.mask, operator.profile) if part is not None]
    if domain is None and not known:
        raise ValueError("domain must be given: the size, or the mask of a drum")
    shape = known[0].shape if domain is None else grid_shape(domain, "domain", operator.dims)
    operator.check_size(shape)
    weight = operator.local_previous_weight(shape)
    if np.ptp(weight) > 1e-12:
        raise ValueError("operator has a damping that depends on position: its modes are not standing shapes")
    return operator, shape


def _lowest(stiffness, count):
    """The lowest eigenvalues, not negative, and eigenvectors of a symmetric matrix."""
    size = stiffness.shape[0]
    if size <= max(_DENSE, count + 2):
        values, vectors = np.linalg.eigh(stiffness.toarray())
        return values[:count], vectors[:, :count]
    start = np.random.default_rng(0).standard_normal(size)  # so that the same drum gives the same numbers
    values, vectors = eigsh(stiffness, k=count, sigma=-_SHIFT, v0=start, tol=0)
    order = np.argsort(values)
    return values[order], vectors[:, order]


def _eigenvalues(operator, values):
    """Eigenvalues of −∇² of modes whose stiffness is given, where all positions are alike."""
    uniform = operator.profile is None or (operator.profile == 1).all()
    if not uniform or operator.damping_profile is not None or operator.restoring_profile is not None:
        return np.full(values.shape, np.nan)
    g, force = operator.halved_damping[0], operator.restoring[0] * operator.dt**2
    excess = (2 * np.sqrt(operator.previous_weight[0]) * (1 + g) - 2) + force
    courant = operator.courant.reshape(-1)[-1]
    return ((1 + g) * values - excess) / (courant * operator.spacings[-1]) ** 2


def _described(operator, shape, angle, eigenvalues, shapes):
    area = np.prod(operator.spacings)
    largest = shapes[np.arange(len(shapes)), np.abs(shapes).argmax(axis=1)]
    norm = np.sqrt((shapes**2 * cell_weights(operator, shape).ravel()).sum(axis=1) * area)
    shapes = shapes / (np.where(largest < 0, -1, 1) * norm)[:, None]
    dims = space_dims(operator.dims)
    coords = {
        dim: (dim, np.arange(n) * spacing, {"units": "1", "long_name": dim})
        for dim, n, spacing in zip(dims, shape, operator.spacings, strict=True)
    }
    text = {
        "frequency": "frequency, in cycles per unit of time",
        "eigenvalue": "eigenvalue of −∇², per unit of length squared",
        "shape": "shape of the mode",
    }
    decay = -np.log(operator.local_previous_weight(shape).ravel()[0]) / (2 * operator.dt)
    return xr.Dataset(
        {
            "frequency": ("mode", angle / (2 * np.pi * operator.dt), {"units": "1", "long_name": text["frequency"]}),
            "eigenvalue": ("mode", eigenvalues, {"units": "1", "long_name": text["eigenvalue"]}),
            "shape": (("mode", *dims), shapes.reshape(-1, *shape), {"units": "1", "long_name": text["shape"]}),
        },
        coords=coords,
        attrs={"method": "eigenvalues of the step, shift and invert", "dt": operator.dt, "decay": float(decay)},
    )
