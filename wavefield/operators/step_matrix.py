"""One step of a wave operator as a sparse matrix: the definition, boundaries included, that fast loops must meet."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse

from wavefield.checks import grid_shape

if TYPE_CHECKING:  # the operator is defined by means of this module
    from wavefield.operators.operator import WaveOperator


def one_step_matrix(op: WaveOperator, shape: tuple[int, ...]) -> sparse.csr_array:
    """Return the step of `op` on a line (N,) or sheet (Ny, Nx), shape (C·N, C·N), channel-major."""
    if op.rim:
        raise ValueError("a sheet with an absorbing rim carries two fields more in it: its step is not one matrix")
    return plain_step(op, shape)


def plain_step(op: WaveOperator, shape: tuple[int, ...]) -> sparse.csr_array:
    """Return the step of `op` without what an absorbing rim adds to it; beyond the rim there is nothing."""
    size = int(np.prod(shape))
    triplets = []
    for o, i in zip(*np.nonzero(op.kernel.reshape(op.channels, op.channels, -1).any(axis=2)), strict=True):
        rows, columns, values = _block(op, o, i, shape)
        triplets.append((rows + o * size, columns + i * size, values))
    matrix = _joined(triplets, (op.channels * size,) * 2)
    if op.boundary == "absorbing" and op.levels == 2 and op.dims == 1:
        matrix = _with_absorbing_ends(matrix, op, size)
    if op.boundary_row is not None:
        matrix = _with_driven_end(matrix, op, size)
    if op.mask is not None:
        here = sparse.diags_array(np.tile(op.mask.ravel(), op.channels).astype(float))
        matrix = sparse.csr_array(here @ matrix @ here)
        matrix.eliminate_zeros()
    return matrix


def conductance(op: WaveOperator, size: int) -> np.ndarray:
    """ρr² at the size + 1 faces between positions of a two-way line, shape (rings, size + 1)."""
    return face_conductances(op, (size,))[0]


def face_conductances(op: WaveOperator, shape: tuple[int, ...]) -> list[np.ndarray]:
    """ρr² at the faces between positions along each axis, (rings, N + 1), of a sheet (rings, Ny + 1, Nx) and so on.

    With it the two-way equation in a medium reads

        h_i[t+1] = s·(m·h_i + (g_{i+1}(h_{i+1} − h_i) − g_i(h_i − h_{i−1}))/ρ_i) − q·h_i[t−1],

    s the local gain, m = 2 unless a force drives the field away from zero, and q the local weight of the level before;
    on a sheet the differences along both axes are summed. At a face r² is the mean of both sides and ρ their harmonic
    mean, as of springs one after the other. Where a mask has free edges no spring crosses them.
    """
    courant, density = op.local_courant(shape), op.local_density(shape)
    faces = []
    for axis, boundary in enumerate(op.boundaries):
        squared = (courant if op.dims == 1 else courant[:, axis]) ** 2
        dense = np.broadcast_to(density, squared.shape)
        g = _faces_along(np.moveaxis(squared, axis - op.dims, -1), np.moveaxis(dense, axis - op.dims, -1), boundary)
        if op.mask is not None and op.edge == "free":
            inside = np.moveaxis(op.mask, axis, -1)
            g = g * _with_ends(inside & np.roll(inside, 1, axis=-1), inside, boundary)
        faces.append(np.moveaxis(g, -1, axis - op.dims))
    return faces


def _faces_along(squared, density, boundary):
    """Conductances (..., N + 1) along the last axis, of r² and ρ (..., N)."""
    before, after = np.roll(squared, 1, axis=-1), squared  # face i lies between positions i − 1 and i
    faces = (before + after) / 2 * (2 / (1 / np.roll(density, 1, axis=-1) + 1 / density))
    return _with_ends(faces, squared * density, boundary)


def _with_ends(faces, cells, boundary):
    """Values at all faces (..., N + 1): from those before each position of a ring (..., N), and those of the cells."""
    around, inner = faces[..., :1], faces[..., 1:]
    if boundary == "periodic":
        ends = around, around
    elif boundary == "free":  # the mirror holds for the medium and the mask too
        ends = (inner[..., :1], inner[..., -1:]) if inner.shape[-1] else (cells, cells)
    else:
        ends = cells[..., :1], cells[..., -1:]
    return np.concatenate([ends[0], inner, ends[1]], axis=-1)


def local_taps(op: WaveOperator, size: int | tuple[int, ...]) -> np.ndarray:
    """Weights of each position on its neighbours, now to now, shape (rings, K, size) or (rings, Ky, Kx, *size)."""
    shape = grid_shape(size, "size", op.dims)
    if op.profile is None:
        over = op.taps.reshape(*op.taps.shape, *(1,) * op.dims)
        return np.broadcast_to(over, (*op.taps.shape, *shape)).copy()
    if op.levels == 2:
        middle = op.local_middle(shape)
        taps = np.zeros((op.rings, *op.kernel.shape[2:], *shape))
        for axis, g in enumerate(face_conductances(op, shape)):
            along = np.moveaxis(g, axis - op.dims, -1)
            sides = (np.moveaxis(part, -1, axis - op.dims) for part in (along[..., :-1], along[..., 1:]))
            left, right = (side / op.local_density(shape) for side in sides)
            middle = middle - left - right
            for offset, weight in ((-1, left), (1, right)):
                tap = list(op.centre)
                tap[axis] += offset
                _of_tap(taps, tap)[:] = weight
        _of_tap(taps, op.centre)[:] = middle
        gain = op.local_gain(shape)
        return taps * gain.reshape(len(gain), *(1,) * op.dims, *shape)
    nu = op.local_courant(shape)
    taps = np.stack([np.maximum(nu, 0), 1 - np.abs(nu), np.maximum(-nu, 0)], axis=1)
    return taps * op.taps.sum(axis=1)[:, None, None]


def _of_tap(taps, tap):
    """View of one tap of all rings, (rings, *size), in taps (rings, K, …)."""
    for index in tap:
        taps = taps[:, index]
    return taps


def absorbing_ends(op: WaveOperator, size: int) -> np.ndarray:
    """Weights of h₁[t], h₁[t+1] and h₀[t] in h₀[t+1] at both absorbing ends, h₁ the next cell, shape (rings, 2, 3).

    Outgoing waves of the damped equation obey c·∂h/∂x = √(∂²/∂t² + γ∂/∂t) h at the left end, and to first order in
    γ over the frequency ∂h/∂t + γ/2·h; centred in space between the two cells and in time between the two steps,

        r (h₁' − h₀' + h₁ − h₀) = (h₁' − h₁ + h₀' − h₀) + g/2·(h₁' + h₀' + h₁ + h₀),      g = γdt/2.
    """
    r, g = (local[:, [0, -1]] for local in (op.local_courant(size), op.local_halved_damping(size)))
    return np.stack([1 + r - g / 2, r - 1 - g / 2, 1 - r - g / 2], axis=2) / (1 + r + g / 2)[:, :, None]


def near_end_taps(op: WaveOperator) -> np.ndarray:
    """Second order taps of a two-level operator at its own Courant number, shape (rings, 3)."""
    r2, force = op.courant**2, op.restoring * op.dt**2
    return np.stack([r2, 2 - 2 * r2 - force, r2], axis=1) / (1 + op.halved_damping)[:, None]


def reflect(index: ArrayLike, size: int, boundary: str) -> tuple[np.ndarray, np.ndarray]:
    """Where a position beyond the ends is read, and with which sign (0: nothing stands there).

    Periodic: modulo N. Fixed: odd about −1 and N. Free: even about 0 and N − 1. Absorbing, open: nothing.
    """
    index = np.asarray(index)
    if boundary == "periodic":
        return index % size, np.ones(index.shape, int)
    if boundary == "fixed":
        turn = (index + 1) % (2 * (size + 1))
        folded = np.where(turn <= size, turn, 2 * (size + 1) - turn)
        sign = np.where(turn <= size, 1, -1) * ((folded != 0) & (folded != size + 1))
        return np.clip(folded - 1, 0, size - 1), sign
    if boundary == "free":
        turn = index % max(2 * (size - 1), 1)
        return np.where(turn < size, turn, 2 * (size - 1) - turn), np.ones(index.shape, int)
    inside = (index >= 0) & (index < size)
    return np.where(inside, index, 0), inside.astype(int)


def _block(op, o, i, shape):
    """Return the part of the matrix that takes channel i to channel o: rows, columns, values."""
    width, size = op.kernel.shape[2:], int(np.prod(shape))
    on_itself = o == i and o % op.levels == 0
    everywhere = np.multiply.outer(op.kernel[o, i], np.ones(shape))
    weights = local_taps(op, shape)[o // op.levels] if on_itself else everywhere  # (K, N) or (Ky, Kx, Ny, Nx)
    if op.levels == 2 and o % 2 == 0 and i == o + 1:
        weights[op.centre] = -op.local_previous_weight(shape)[o // 2]
    if op.boundary == "absorbing" and op.levels == 2 and on_itself and op.dims == 1:
        weights = _low_order_near_ends(weights, near_end_taps(op)[o // 2], op.centre[0])
    here, rows, columns, values = np.arange(size), [], [], []
    for tap in np.ndindex(width):
        read = [
            reflect(np.arange(n) + j - k // 2, n, boundary)
            for n, j, k, boundary in zip(shape, tap, width, op.boundaries, strict=True)
        ]
        there = np.ravel_multi_index(np.meshgrid(*(r[0] for r in read), indexing="ij"), shape).ravel()
        sign = functools.reduce(np.multiply.outer, (r[1] for r in read)).ravel()
        weight = weights[tap].ravel()
        use = (sign != 0) & (weight != 0)
        rows.append(here[use])
        columns.append(there[use])
        values.append((sign * weight)[use])
    return np.concatenate(rows), np.concatenate(columns), np.concatenate(values)


def _low_order_near_ends(weights, near, half):
    """Second order stencil on the cells, short of the ends, whose wide one would reach beyond an absorbing end."""
    weights = weights.copy()
    for n in range(1, half):
        for cell in (n, -1 - n):
            weights[:, cell] = 0
            weights[half - 1 : half + 2, cell] = near
    return weights


def _with_absorbing_ends(matrix, op, size):
    """The rows of both ends as `absorbing_ends` says, h₁[t+1] put in from its own row."""
    first = 2 * size * np.arange(op.rings)[:, None]
    ends, inward = (first + np.array([[0, size - 1], [1, size - 2]])[:, None]).reshape(2, -1)
    inner, newer, own = absorbing_ends(op, size).reshape(-1, 3).T
    taken = _joined([(ends, inward, newer)], matrix.shape)
    added = _joined([(ends, inward, inner), (ends, ends, own)], matrix.shape)
    return _without_rows(matrix, ends) + taken @ matrix + added


def _with_driven_end(matrix, op, size):
    ends = np.arange(op.channels) * size + (size - 1 if op.driven_end == -1 else 0)
    driving = op.boundary_row.reshape(op.channels, -1)
    channel, column = np.nonzero(driving)
    added = _joined([(ends[channel], column, driving[channel, column])], matrix.shape)
    return _without_rows(matrix, ends) + added


def _without_rows(matrix, rows):
    kept = np.delete(np.arange(matrix.shape[0]), rows)
    return _joined([(kept, kept, np.ones(kept.size))], matrix.shape) @ matrix


def _joined(triplets, shape):
    """Sparse array of (rows, columns, values) triplets, without zeros."""
    rows, columns, values = (np.concatenate([*parts, []]) for parts in zip(*triplets, ([], [], []), strict=True))
    use = values != 0
    return sparse.csr_array(sparse.coo_array((values[use], (rows[use].astype(int), columns[use].astype(int))), shape))
