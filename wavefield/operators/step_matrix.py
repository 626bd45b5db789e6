"""One step of a wave operator as a sparse matrix: the definition, boundaries included, that fast loops must meet."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse

if TYPE_CHECKING:  # the operator is defined by means of this module
    from wavefield.operators.operator import WaveOperator


def one_step_matrix(op: WaveOperator, size: int) -> sparse.csr_array:
    """Return the step of `op` on `size` positions, shape (C·size, C·size), channel-major."""
    triplets = []
    for o, i in zip(*np.nonzero(op.kernel.any(axis=2)), strict=True):
        rows, columns, values = _block(op, o, i, size)
        triplets.append((rows + o * size, columns + i * size, values))
    shape = (op.channels * size,) * 2
    matrix = _joined(triplets, shape)
    if op.boundary == "absorbing" and op.levels == 2:
        matrix = _with_absorbing_ends(matrix, op, size)
    if op.boundary_row is not None:
        matrix = _with_driven_end(matrix, op, size)
    return matrix


def conductance(op: WaveOperator, size: int) -> np.ndarray:
    """ρr² at the size + 1 faces between positions of a two-way operator, shape (rings, size + 1).

    With it the two-way equation in a medium reads

        h_i[t+1] = s·(m·h_i + (g_{i+1}(h_{i+1} − h_i) − g_i(h_i − h_{i−1}))/ρ_i) − q·h_i[t−1],

    s the local gain, m = 2 unless a force drives the field away from zero, and q the local weight of the level before.
    At a face r² is the mean of both sides and ρ their harmonic mean, as of springs one after the other.
    """
    squared, density = op.local_courant(size) ** 2, op.local_density(size)
    before, after = np.roll(squared, 1, axis=1), squared  # face i lies between positions i − 1 and i
    faces = (before + after) / 2 * (2 / (1 / np.roll(density, 1) + 1 / density))
    around, inner = faces[:, :1], faces[:, 1:]
    squared = squared * density
    if op.boundary == "periodic":
        return np.hstack([around, inner, around])
    if op.boundary == "free":  # the mirror holds for the medium too
        return np.hstack([inner[:, :1], inner, inner[:, -1:]])
    return np.hstack([squared[:, :1], inner, squared[:, -1:]])


def local_taps(op: WaveOperator, size: int) -> np.ndarray:
    """Weights of each position on its neighbours, now to now, shape (rings, K, size)."""
    if op.profile is None:
        return np.repeat(op.taps[:, :, None], size, axis=2)
    if op.levels == 2:
        g = conductance(op, size)
        left, right = g[:, :-1] / op.local_density(size), g[:, 1:] / op.local_density(size)
        taps = np.stack([left, op.local_middle(size) - left - right, right], axis=1)
        return taps * op.local_gain(size)[:, None]
    nu = op.local_courant(size)
    taps = np.stack([np.maximum(nu, 0), 1 - np.abs(nu), np.maximum(-nu, 0)], axis=1)
    return taps * op.taps.sum(axis=1)[:, None, None]


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
    r2 = op.courant**2
    return np.stack([r2, 2 - 2 * r2, r2], axis=1) / (1 + op.halved_damping)[:, None]


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


def _block(op, o, i, size):
    """Return the part of the matrix that takes channel i to channel o: rows, columns, values."""
    on_itself = o == i and o % op.levels == 0
    weights = local_taps(op, size)[o // op.levels] if on_itself else np.repeat(op.kernel[o, i][:, None], size, axis=1)
    half = op.kernel.shape[2] // 2
    if op.levels == 2 and o % 2 == 0 and i == o + 1:
        weights[half] = -op.local_previous_weight(size)[o // 2]
    here, rows, columns, values = np.arange(size), [], [], []
    if op.boundary == "absorbing" and op.levels == 2 and on_itself:
        weights = _low_order_near_ends(weights, near_end_taps(op)[o // 2], half)
    for j, weight in enumerate(weights):
        there, sign = reflect(here + j - half, size, op.boundary)
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
