"""Absorbing rims: layers at the edges of a sheet in which waves fade without being thrown back.

A convolutional perfectly matched layer for the equation of second order (Pasalic and McGarry, *SEG Technical Program
Expanded Abstracts* 2010, 2925–2929; Komatitsch and Martin, *Geophysics* 72, SM155, 2007). Along each axis the
derivative is stretched, ∂ → (1 − σ/(σ + α + iω))∂, by two fields that live in the layers of that axis alone,

    ψ[t] = b ψ[t−1] + a ∂h[t]                        at the faces between cells
    ζ[t] = b ζ[t−1] + a (∂∂h[t] + ∂ψ[t])             at the cells,      b = exp(−(σ + α)dt),  a = σ/(σ + α)·(b − 1)
    h[t+1] = … + (c dt/dx)² (∂ψ[t] + ζ[t])

with σ growing towards the edge as the fourth power of the depth and α falling to zero there. α keeps the layer stable
over long times: without it the fields of slow waves do not fade. σ and α are measured in the Courant number, so that a
layer of a given number of cells reflects the same at every time step.

Here are the layers and, for what needs it as a matrix, the step of a sheet with its rim; `wavefield.loops.sheets.rim`
moves them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy import sparse

from wavefield.operators.step_matrix import face_conductances, plain_step, reflect

if TYPE_CHECKING:
    from wavefield.operators.operator import WaveOperator

POWER = 4
SIGMA = 2.5  # σ·dx/c at the edge: least reflection up to 60° from 8 to 40 cells, for 10 to 30 cells a wavelength
ALPHA = 0.05  # α·dx/c inside


class Profile(NamedTuple):
    """a and b of the recursions along one axis: N cells, and N + 1 faces, face i before cell i."""

    width: int
    cell_a: np.ndarray  # (N,)
    cell_b: np.ndarray  # (N,)
    face_a: np.ndarray  # (N + 1,)
    face_b: np.ndarray  # (N + 1,)


class Rim(NamedTuple):
    """Layers along y and along x."""

    y: Profile
    x: Profile


class Filters(NamedTuple):
    """The stencil along each axis as a second difference of a filtered field, Σ_k a_k (S^k − 2 + S^−k) = δ²·filter.

        filter = Σ_m along[m]·(S^m + S^−m) + across·(one cell to either side of the other axis)

    The layers stretch the second difference, and so fit the stencil inside: where they did not, waves too short to be
    resolved would grow.
    """

    along_y: np.ndarray  # (C, reach_y)
    across_y: np.ndarray  # (C,)
    along_x: np.ndarray  # (C, reach_x)
    across_x: np.ndarray  # (C,)


def rim_profile(size: int, width: int, courant: float, dtype=np.float64) -> Profile:
    """Return the layers of `width` cells at both ends of an axis of `size` cells, none where width is 0.

    Parameters
    ----------
    size, width : int
        2·width < size.
    courant : float
        c·dt/dx along the axis, the largest where it varies.
    dtype : dtype
        Of the field.
    """
    if width < 0 or (width and 2 * width >= size):
        raise ValueError(f"rim must be narrower than half of the {size} cells along its axis, got {width} cells")
    if width == 0:
        return Profile(0, *[np.zeros(0, dtype)] * 4)
    cell, face = np.arange(size), np.arange(size + 1) - 0.5
    parts = []
    for place in (cell, face):
        depth = np.maximum(width - place, place - (size - 1 - width)) / width
        sigma = np.where(depth > 0, SIGMA * courant * np.maximum(depth, 0) ** POWER, 0)
        alpha = ALPHA * courant * np.clip(1 - depth, 0, 1)
        b = np.exp(-(sigma + alpha))
        a = np.where(sigma > 0, sigma / np.where(sigma > 0, sigma + alpha, 1) * (b - 1), 0)
        parts += [a.astype(dtype), b.astype(dtype)]
    return Profile(width, *parts)


def make_rim(size, width, courant, dtype=np.float64) -> Rim:
    """Return the rim of a sheet of size (Ny, Nx), `width` cells along each axis, as `rim_profile` makes it."""
    profiles = [rim_profile(n, cells, c, dtype) for n, cells, c in zip(size, width, courant, strict=True)]
    return Rim(*profiles)


def rim_cells(rim: Rim, size: tuple[int, ...]) -> int:
    """Number of values that the fields of a rim take for one channel."""
    (ny, nx), (wide_y, wide_x) = size, (rim.y.width, rim.x.width)
    return (4 * wide_y + 2) * nx * (wide_y > 0) + (4 * wide_x + 2) * ny * (wide_x > 0)


def filters(half: np.ndarray) -> Filters:
    """Return the filters of taps (C, reach_y + 1, reach_x + 1), from the centre outwards, a cross or 3 × 3."""
    corners = half[:, 1:, 1:]
    if corners.any() and half.shape[1:] != (2, 2):
        raise ValueError("a rim needs taps that are a cross or 3 × 3")
    corner = half[:, 1, 1] if half.shape[1:] == (2, 2) else np.zeros(len(half), half.dtype)
    parts = []
    for axis_taps in (half[:, :, 0], half[:, 0, :]):
        reach = axis_taps.shape[1] - 1
        k, m = np.arange(1, reach + 1), np.arange(reach)
        along = axis_taps[:, 1:] @ np.maximum(k[:, None] - m, 0)
        if reach == 1:  # corners are second differences along one axis and smoothing along the other
            along = along + 2 * corner[:, None]
        parts += [np.ascontiguousarray(along, half.dtype), np.ascontiguousarray(corner / 2)]
    return Filters(*parts)


def rim_of(op: WaveOperator, shape: tuple[int, ...], dtype=np.float64) -> Rim:
    """Return the absorbing layers of a two-way sheet, at those ends that are absorbing."""
    width = [op.rim if boundary == "absorbing" else 0 for boundary in op.boundaries]
    return make_rim(shape, width, op.local_courant(shape).max(axis=(0, 2, 3)), dtype)


def step_with_rim(op: WaveOperator, shape: tuple[int, ...]) -> sparse.csr_array:
    """Return the step of a two-way sheet and its rim as one matrix.

    The state is that of `WaveOperator.matrix`, ring by ring the level now and the level before, and after all of them,
    ring by ring, ψ and ζ of the layers along y and ψ and ζ of those along x, where the layers are.
    """
    rim, cells = rim_of(op, shape), int(np.prod(shape))
    half = np.array([[[0.0, 1.0], [1.0, 0.0]]] * op.rings)  # in a medium that varies, whose faces are the gain
    if op.profile is None:
        half = op.taps[:, op.centre[0] :, op.centre[1] :]
    parts, fit = [], filters(half)
    for ring in range(op.rings):
        layers = []
        for axis, (layer, along, across) in enumerate(zip(rim, fit[::2], fit[1::2], strict=True)):
            if layer.width:
                layers.append(
                    _layer(layer, _filtered(axis, shape, op.boundaries, along[ring], across[ring]), axis, shape)
                )
        parts.append(layers)
    gains = _gains(op, shape)
    plain = plain_step(op, shape)
    states = plain.shape[0]
    fields = [sum(layer.fields for layer in layers) for layers in parts]
    first, total = states, states + sum(fields)
    inside = sparse.diags_array(np.ones(cells) if op.mask is None else op.mask.ravel().astype(float))
    rows, columns, values = [], [], []

    def put(block, row, column):
        block = sparse.coo_array(block)
        rows.append(block.row + row)
        columns.append(block.col + column)
        values.append(block.data)

    put(plain, 0, 0)
    for ring, layers in enumerate(parts):
        now = 2 * ring * cells
        for layer, axis in zip(layers, [k for k in (0, 1) if rim[k].width], strict=True):
            gain = inside @ sparse.diags_array(gains[axis][ring])
            put(layer.on_itself, first, first)
            put(layer.from_level, first, now)
            put(gain @ layer.to_level @ layer.on_itself, now, first)
            put(gain @ layer.to_level @ layer.from_level, now, now)
            first += layer.fields
    entries = np.concatenate(values), (np.concatenate(rows), np.concatenate(columns))
    return sparse.csr_array(sparse.coo_array(entries, shape=(total, total)))


class _Layer(NamedTuple):
    """How the fields (ψ, ζ) of the layers along one axis follow from themselves and the level, and what they add."""

    fields: int
    on_itself: sparse.csr_array
    from_level: sparse.csr_array
    to_level: sparse.csr_array  # of the fields when they have been moved


def _layer(layer, filtered, axis, shape):
    """Put a layer together from the field filtered along its axis, at its cells and one more at either end."""
    n, other = shape[axis], shape[1 - axis]

    def spread(matrix):  # from one axis to the sheet
        pair = (matrix, sparse.eye_array(other))
        return sparse.csr_array(sparse.kron(*(pair if axis == 0 else pair[::-1])))

    faces, cells = np.flatnonzero(layer.face_a), np.flatnonzero(layer.cell_a)
    step = sparse.diags_array([-np.ones(n + 1), np.ones(n + 1)], offsets=[0, 1], shape=(n + 1, n + 2)).tocsr()
    bend = sparse.diags_array([np.ones(n), -2 * np.ones(n), np.ones(n)], offsets=[0, 1, 2], shape=(n, n + 2)).tocsr()
    steep = sparse.diags_array([-np.ones(n), np.ones(n)], offsets=[0, 1], shape=(n, n + 1)).tocsr()[:, faces]
    a_face, a_cell = (sparse.diags_array(a) for a in (layer.face_a[faces], layer.cell_a[cells]))
    b_face, b_cell = (sparse.diags_array(b) for b in (layer.face_b[faces], layer.cell_b[cells]))
    psi_level = spread(a_face @ step[faces]) @ filtered
    zeta_psi = spread(a_cell @ steep[cells])
    psi_psi = spread(b_face)
    zeta_level = spread(a_cell @ bend[cells]) @ filtered + zeta_psi @ psi_level
    place = sparse.csr_array((np.ones(cells.size), (cells, np.arange(cells.size))), shape=(n, cells.size))
    return _Layer(
        (faces.size + cells.size) * other,
        sparse.block_array([[psi_psi, None], [zeta_psi @ psi_psi, spread(b_cell)]], format="csr"),
        sparse.vstack([psi_level, zeta_level], format="csr"),
        sparse.hstack([spread(steep), spread(place)], format="csr"),
    )


def _filtered(axis, shape, boundaries, along, across):
    """Matrix of the filter along an axis, of all cells and one more at either end of it."""
    n, other = shape[axis], shape[1 - axis]

    def shift(by, index, size, boundary):
        read, sign = reflect(index + by, size, boundary)
        return sparse.csr_array((sign.astype(float), (np.arange(index.size), read)), shape=(index.size, size))

    def shifted(by, beside):
        pair = (
            shift(by, np.arange(-1, n + 1), n, boundaries[axis]),
            shift(beside, np.arange(other), other, boundaries[1 - axis]),
        )
        return sparse.csr_array(sparse.kron(*(pair if axis == 0 else pair[::-1])))

    filtered = along[0] * shifted(0, 0)
    for m in range(1, along.size):
        filtered = filtered + along[m] * (shifted(m, 0) + shifted(-m, 0))
    if across:
        filtered = filtered + across * (shifted(0, 1) - 2 * shifted(0, 0) + shifted(0, -1))
    return filtered


def _gains(op, shape):
    """What the fields of the layers along y and x are multiplied by in each cell, (2, rings, N)."""
    if op.profile is None:
        return np.ones((2, op.rings, int(np.prod(shape))))
    gain = op.local_gain(shape)
    along_y, along_x = face_conductances(op, shape)
    means = (along_y[:, :-1] + along_y[:, 1:]) / 2, (along_x[:, :, :-1] + along_x[:, :, 1:]) / 2
    return np.stack([(gain * mean).reshape(op.rings, -1) for mean in means])
