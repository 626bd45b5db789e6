"""Similarity of two complete sets of activity: CKA, RSA, DSA. **None of them sees which way a wave travels.**

A wave to the right and its mirror image differ by an exchange of sensors, or by a rotation of the modes they span, and
these measures are made not to see that: they call the two identical. They stand beside a comparison of wave properties
(`analysis.compare`), never in its place.

Rows are times (or conditions) that correspond in both sets; for DSA they need not.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.linalg import expm, expm_frechet
from scipy.optimize import minimize
from scipy.spatial.distance import pdist

WARNING = "CKA, RSA and DSA do not see the direction of travel: a wave and its mirror image are identical to them"

ROUNDS = 2  # of the search for a basis, the second about the first
TIGHT = {"gtol": 1e-10}
ROUNDING = 1e-12  # share of the largest value, or of the first mode, below which a mode is rounding


def cka(a: ArrayLike, b: ArrayLike, *, debiased: bool = True) -> float:
    r"""Linear centred kernel alignment of two sets (time, sensor), 1 for the same up to rotation and scale.

    .. math:: \mathrm{CKA} = \frac{\mathrm{HSIC}(K, L)}{\sqrt{\mathrm{HSIC}(K, K)\,\mathrm{HSIC}(L, L)}},
              \qquad K = A A^T, \; L = B B^T

    The debiased form takes the unbiased estimate of HSIC (Song et al. 2012), so that independent noise gives 0 on
    average, whatever the number of sensors; it may be slightly negative.

    Parameters
    ----------
    a, b : array, (time, sensor)
        At least four rows, as many in both.

    References
    ----------
    Kornblith, Norouzi, Lee and Hinton 2019, ICML; Song, Smola, Gretton, Bedo and Borgwardt 2012, JMLR 13, equation 5.

    Examples
    --------
    >>> x = np.random.default_rng(0).standard_normal((50, 8))
    >>> round(cka(x, 3 * x[:, ::-1]), 6)
    1.0
    """
    a, b = _pair(a, b, rows=4)
    a, b = a - a.mean(axis=0), b - b.mean(axis=0)
    hsic = _unbiased_hsic if debiased else _biased_hsic
    norm = hsic(a, a) * hsic(b, b)
    return float(hsic(a, b) / np.sqrt(norm)) if norm > 0 else np.nan


def rsa(a: ArrayLike, b: ArrayLike) -> float:
    """Correlation of the dissimilarities (Euclidean distance) of all pairs of rows in two sets.

    Parameters
    ----------
    a, b : array, (time, sensor)
        At least three rows, as many in both.

    References
    ----------
    Kriegeskorte, Mur and Bandettini 2008, Front. Syst. Neurosci. 2.
    """
    a, b = _pair(a, b, rows=3)
    one, other = pdist(a), pdist(b)
    if np.ptp(one) == 0 or np.ptp(other) == 0:
        return np.nan
    return float(np.corrcoef(one, other)[0, 1])


def dsa(
    a: ArrayLike,
    b: ArrayLike,
    *,
    delays: int = 10,
    rank: int = 2,
    starts: int = 5,
    seed: int | np.random.Generator = 0,
) -> float:
    r"""Dynamical similarity: the angle between two linear dynamics, the best change of basis taken out.

    Each set is embedded with delays, reduced to its `rank` leading modes (whitened), and its step forwards fitted by
    least squares, z[t+1] = A z[t]. Then

    .. math:: d = \min_{C \in O(r)} \arccos \frac{\langle A, C B C^T \rangle}{\|A\|\,\|B\|}

    is found from several starts on both sheets of O(r). Radians; 0 for the same dynamics, NaN where a set has fewer
    than `rank` modes that are more than rounding: a constant has no dynamics.

    Parameters
    ----------
    a, b : array, (time, sensor)
        Numbers of rows and sensors may differ.
    delays : int
        Samples in the embedding.
    rank : int
        Modes kept.
    starts : int
        Of the search, on each sheet.
    seed : int or numpy.random.Generator
        Of the starts.

    References
    ----------
    Ostrow, Eisen, Kozachkov and Fiete 2023, NeurIPS (dynamical similarity analysis).
    """
    if delays < 1 or rank < 1 or starts < 1:
        raise ValueError(f"delays={delays}, rank={rank}, starts={starts}: positive whole numbers are needed")
    first, second = (_dynamics(_matrix(one, name), delays, rank) for one, name in ((a, "a"), (b, "b")))
    if first is None or second is None:
        return np.nan
    rng = np.random.default_rng(seed)
    size = np.linalg.norm(first) * np.linalg.norm(second)
    if size == 0:
        return np.nan
    rows, columns = np.triu_indices(rank, 1)

    def skewed(angles):
        upper = np.zeros((rank, rank))
        upper[rows, columns] = angles
        return upper - upper.T

    def turned(angles, basis):
        return expm(skewed(angles)) @ basis

    def misfit(angles, basis):
        """−⟨A, C B Cᵀ⟩ / ‖A‖‖B‖ and its gradient, through the adjoint of the derivative of the exponential."""
        skew = skewed(angles)
        c = expm(skew) @ basis
        of_c = first @ c @ second.T + first.T @ c @ second
        slope = expm_frechet(skew.T, of_c @ basis.T, compute_expm=False)
        return -np.sum(first * (c @ second @ c.T)) / size, -(slope - slope.T)[rows, columns] / size

    best = np.inf
    for sheet in (np.eye(rank), np.diag([-1.0, *np.ones(rank - 1)])):
        for start in range(starts):
            basis = turned(rng.uniform(-np.pi, np.pi, rows.size), sheet) if start else sheet
            for _ in range(ROUNDS if rows.size else 0):  # about the last basis, where the angles are well conditioned
                basis = turned(minimize(misfit, np.zeros(rows.size), (basis,), jac=True, options=TIGHT).x, basis)
            best = min(best, misfit(np.zeros(rows.size), basis)[0])
    return float(np.arccos(np.clip(-best, -1.0, 1.0)))


def _matrix(values, name):
    values = np.asarray(values, dtype=float)
    if values.ndim != 2 or 0 in values.shape:
        raise ValueError(f"{name} has shape {values.shape}: (time, sensor) is needed")
    if not np.isfinite(values).all():
        raise ValueError(f"{name} holds NaN or infinite values: leave dead sensors out")
    return values


def _pair(a, b, *, rows):
    a, b = _matrix(a, "a"), _matrix(b, "b")
    if len(a) != len(b) or len(a) < rows:
        raise ValueError(f"a has {len(a)} rows and b {len(b)}: the same number, at least {rows}, is needed")
    return a, b


def _biased_hsic(a, b):
    return np.sum((a.T @ b) ** 2)


def _unbiased_hsic(a, b):
    """HSIC of the kernels a aᵀ and b bᵀ without their diagonals."""
    n = len(a)
    k, l = a @ a.T, b @ b.T
    np.fill_diagonal(k, 0.0)
    np.fill_diagonal(l, 0.0)
    crossed = k.sum(axis=0) @ l.sum(axis=0)
    return (np.sum(k * l) + k.sum() * l.sum() / ((n - 1) * (n - 2)) - 2 * crossed / (n - 2)) / (n * (n - 3))


def _dynamics(values, delays, rank):
    """The step forwards A (rank, rank) of the whitened leading modes of the delay embedding; None: too few modes."""
    largest = np.abs(values).max()
    values = values - values.mean(axis=0)
    count = len(values) - delays + 1
    if count <= rank + 1:
        raise ValueError(f"{len(values)} rows are too few for {delays} delays and rank {rank}")
    embedded = np.concatenate([values[d : d + count] for d in range(delays)], axis=1)
    modes, sizes, _ = np.linalg.svd(embedded, full_matrices=False)
    if sizes.size < rank:
        raise ValueError(f"rank is {rank}: the embedding has only {sizes.size} modes")
    if sizes[rank - 1] <= ROUNDING * max(sizes[0], largest):
        return None
    modes = modes[:, :rank]
    return np.linalg.lstsq(modes[:-1], modes[1:], rcond=None)[0].T
