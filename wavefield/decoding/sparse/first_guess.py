"""The first guess of decoding: least squares over all columns, or over those most correlated with the residual.

Where amplitudes cannot be negative it is `scipy.optimize.nnls` on columns scaled to norm 1; where they may be, least
squares with a small penalty (λ Σ|x|)², which the same routine solves with every column taken twice, once negated.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import lsq_linear, nnls

from wavefield.decoding.inverse.columns import RIVAL

ALL_COLUMNS = 1024  # columns up to which nnls takes the complete matrix
_ROUNDS = 30  # of pursuit
_FADED = 1e-13  # a column smaller than this, relative to the largest, is lost in rounding
_OFFSETS = 2 ** np.arange(11)  # steps at which it is tried how far the columns like one reach


def solve_written(matrix, snapshot, positive, least, *, most=ALL_COLUMNS) -> np.ndarray:
    """Return amplitudes of all columns of a matrix that is written out, by pursuit if there are more than `most`."""
    if matrix.shape[1] <= most:
        return _solve(matrix, snapshot, positive)
    chosen, amplitudes = _pursue(_Written(matrix), snapshot, positive, least)
    x = np.zeros(matrix.shape[1])
    x[chosen] = amplitudes
    return x


def solve_unwritten(design, snapshot, positive, least, room) -> tuple[np.ndarray, np.ndarray, bool]:
    """Return columns of a design that is not written out, their amplitudes, and whether the rivals were cut short.

    The columns are those that pursuit takes in and all that may stand for one of the larger, as far as there is room
    for so many.
    """
    matrix = _Unwritten(design)
    chosen, x = _pursue(matrix, snapshot, positive, least)
    if not chosen.size:
        return chosen, x, False
    large = np.abs(x) > 0.05 * np.abs(x).max()
    wide, cut = _with_rivals(chosen, large, matrix, room)
    amplitudes = np.zeros(wide.size)
    amplitudes[np.searchsorted(wide, chosen)] = x
    return wide, amplitudes, cut


def _solve(matrix, snapshot, positive):
    """Return non-negative least squares; or least squares with the penalty (λ Σ|x|)², both on columns of norm 1."""
    norms = np.linalg.norm(matrix, axis=0)
    unit = matrix / norms
    if len(unit) > 4 * norms.size:  # nnls goes over all rows for every column: they are made few first
        triangle = np.linalg.qr(np.column_stack([unit, snapshot]), mode="r")
        unit, snapshot = triangle[:, :-1], triangle[:, -1]
    if positive:
        return _nonnegative(unit, snapshot) / norms
    penalty = np.full((1, 2 * norms.size), 1e-2)
    x = _nonnegative(np.vstack([np.hstack([unit, -unit]), penalty]), np.append(snapshot, 0.0))
    return (x[: norms.size] - x[norms.size :]) / norms


def _nonnegative(matrix, target):
    """Non-negative least squares.

    Where columns nearly coincide rounding can make the active sets of `nnls` turn in a circle. There the interior
    method of `lsq_linear` answers, which ends at whatever rounding allows: what follows improves on the first guess.
    """
    try:
        return nnls(matrix, target, maxiter=max(10 * matrix.shape[1], 100))[0]
    except RuntimeError:
        x = lsq_linear(matrix, target, bounds=(0, np.inf)).x
        return np.where(x > _FADED * x.max(initial=0), x, 0)


class _Written:
    """A matrix that is written out, as pursuit sees it."""

    def __init__(self, matrix):
        self.matrix, self.norms = matrix, np.linalg.norm(matrix, axis=0)

    def products(self, residual):
        """Adjoint product: scalar products of a residual with all columns."""
        return self.matrix.T @ residual

    def columns(self, chosen):
        """Columns by number."""
        return self.matrix[:, chosen]


class _Unwritten:
    """A design too large to be written out, as pursuit sees it."""

    def __init__(self, design):
        self.design, self.norms = design, design.norms().ravel()

    def products(self, residual):
        """Adjoint product: scalar products of a residual with all columns."""
        return self.design.adjoint(residual).ravel()

    def columns(self, chosen):
        """Columns by number."""
        return self.design.columns(chosen)


def _pursue(matrix, snapshot, positive, least):
    """Solve on a growing set of columns, those most correlated with the residual taken in; return it and amplitudes.

    It ends where no column is more correlated with the residual than noise would make it.
    """
    alive = matrix.norms > _FADED * matrix.norms.max()
    norms = np.where(alive, matrix.norms, 1.0)
    most = max(32, snapshot.size // 16)  # columns taken in at a time
    chosen, columns, x, residual = np.zeros(0, int), np.zeros((snapshot.size, 0)), np.zeros(0), snapshot
    for _ in range(_ROUNDS):
        products = matrix.products(residual) / norms
        products = np.where(alive, products if positive else np.abs(products), 0.0)
        products[chosen] = 0.0
        level = max(2 * np.sqrt(np.mean(residual**2)), least)
        strong = np.flatnonzero(products > max(level, 0.1 * products.max()))
        if not strong.size:
            break
        new = strong[np.argsort(-products[strong])][:most]
        chosen, columns = np.concatenate([chosen, new]), np.hstack([columns, matrix.columns(new)])
        x = _solve(columns, snapshot, positive)
        chosen, columns, x = chosen[x != 0], columns[:, x != 0], x[x != 0]
        residual = snapshot - columns @ x
    order = np.argsort(chosen)
    return chosen[order], x[order]


def _with_rivals(chosen, large, matrix, room):
    """Add to the chosen columns the onsets around each large one whose columns are like it; whether some had to go.

    How far they reach is tried at offsets of 1, 2, 4, … steps.
    """
    design, centre, middle = matrix.design, chosen[large], _OFFSETS.size
    offsets = np.concatenate([-_OFFSETS[::-1], [0], _OFFSETS])
    places = centre[:, None] + design.inputs * offsets  # (centres, offsets)
    inside = (places >= 0) & (places < design.shape[1])
    looked, at = np.unique(np.where(inside, places, centre[:, None]), return_inverse=True)
    columns = design.columns(looked)
    columns /= np.maximum(np.linalg.norm(columns, axis=0), 1e-300)
    columns = columns[:, at.reshape(places.shape)]  # (R, centres, offsets)
    likeness = np.abs(np.einsum("rc,rco->co", columns[:, :, middle], columns))
    reach = 2 * np.where(inside & (likeness > RIVAL), np.abs(offsets), 0).max(axis=1)
    cut = False
    while True:
        rivals = [c + design.inputs * np.arange(-w, w + 1) for c, w in zip(centre, reach, strict=True)]
        wide = np.unique(np.concatenate([chosen, *rivals]))
        wide = wide[(wide >= 0) & (wide < design.shape[1])]
        if wide.size <= room or not reach.any():
            break
        reach, cut = reach // 2, True
    norms = matrix.norms[wide]
    return wide[norms > _FADED * norms.max()], cut
