"""The first support among all places and onsets: what stands out from the residual is taken in, in batches.

Orthogonal matching pursuit with several columns a round: those of the residual's scalar products that are more than
noise makes them and not small beside the largest. Amplitudes are those of least squares on what is taken in, without
the columns whose amplitude turns out negative where it cannot be, or small.
"""

from __future__ import annotations

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from wavefield.decoding.anywhere.candidates import Candidates

_ROUNDS = 80
_SHARE = 0.5  # of the largest scalar product that others need to be taken in with it
_BELOW = 0.6  # how far below the extreme of noise alone a scalar product may stay, in standard deviations
_MOST_AT_ONCE = 64


def pursue(candidates: Candidates, snapshot, positive, least, most) -> tuple[np.ndarray, np.ndarray]:
    """Return candidates and their amplitudes, a generous first support of at most `most` events of a snapshot (R,)."""
    chosen, amplitudes = np.zeros(0, np.int64), np.zeros(0)
    matrix, residual = np.zeros((snapshot.size, 0)), snapshot
    refused: set[int] = set()  # taken in before and found to be nothing
    for _ in range(_ROUNDS):
        level = max(np.sqrt(np.mean(residual**2)), least)
        values = candidates.standing_out(residual)
        if not positive:
            np.abs(values, out=values)
        values.reshape(-1)[[*chosen, *refused]] = 0.0
        largest = float(values.max(initial=0))
        above = max(level * (candidates.extreme - _BELOW), _SHARE * largest)
        if chosen.size >= most:
            break
        new = candidates.peaks(values, above, min(_MOST_AT_ONCE, most - chosen.size))
        if not new.size:
            break
        chosen = np.concatenate([chosen, new])
        matrix = np.hstack([matrix, candidates.columns(new)])
        amplitudes, kept = _fitted(matrix, snapshot, positive)
        refused |= set(chosen[~kept].tolist())
        chosen, matrix, amplitudes = chosen[kept], matrix[:, kept], amplitudes[kept]
        residual = snapshot - matrix @ amplitudes
    return chosen, amplitudes


def _fitted(matrix, snapshot, positive):
    """Amplitudes (n,) of least squares, and which of the columns are kept; those that are not have amplitude 0."""
    kept = np.ones(matrix.shape[1], bool)
    gram, product = matrix.T @ matrix, matrix.T @ snapshot
    amplitudes = np.zeros(kept.size)
    while kept.any():
        factor = cho_factor(gram[np.ix_(kept, kept)] + 1e-12 * np.diag(np.diag(gram)[kept]))
        x = cho_solve(factor, product[kept])
        x += cho_solve(factor, matrix[:, kept].T @ (snapshot - matrix[:, kept] @ x))  # the digits that it lost
        amplitudes[:] = 0.0
        amplitudes[kept] = x
        if not positive or x.min() > 0:
            break
        kept[amplitudes <= 0.5 * x.min()] = False  # the most negative first: others may then be positive
    return amplitudes, kept
