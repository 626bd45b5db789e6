"""Named history-dependent systems: the four tasks of the paper, Fibonacci, random linear maps, attention."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from wavefield.checks import positive, positive_int, real_array
from wavefield.history.system import HistorySystem

#: x_t[j] = sign · x_{t−lag}[source] of T2, T3 and T4: lags, sources counted from 1, signs
_SELECTIONS = {
    "T2": ((8, 7, 6, 5, 4, 3, 2, 1), (1, 2, 3, 4, 5, 6, 7, 8), (1, 1, 1, 1, 1, 1, 1, 1)),
    "T3": ((4, 5, 6, 8, 7, 3, 1, 2), (5, 4, 3, 1, 2, 6, 8, 7), (-1, 1, -1, -1, -1, -1, 1, -1)),
    "T4": ((3, 2, 8, 7, 6, 5, 4, 1), (6, 7, 1, 2, 3, 4, 5, 8), (-1, 1, 1, 1, -1, 1, 1, -1)),
}


def linear(weights: ArrayLike, *, name: str = "linear") -> HistorySystem:
    """Return x_t = Σ_i weights[i] x_{t−s−1+i}, the system of any linear map, weights (s, d, d), oldest slot first.

    Examples
    --------
    >>> linear([[[1.0]], [[2.0]]]).next([[3.0], [4.0]]).tolist()
    [11.0]
    """
    weights = real_array(weights, "weights")
    shape = weights.shape
    if len(shape) != 3 or shape[1] != shape[2] or 0 in shape:
        raise ValueError(f"weights must have shape (s, d, d): one matrix a slot, oldest first, got {shape}")
    return HistorySystem(shape[1], shape[0], weights=weights, name=name)


def repeat_copy(dimension: int = 8, length: int = 8) -> HistorySystem:
    """Return x_t = x_{t−s}: what is written is repeated for ever. Task T1 at d = s = 8.

    Examples
    --------
    >>> repeat_copy(1, 3).next([[7.0], [8.0], [9.0]]).tolist()
    [7.0]
    """
    weights = np.zeros((positive_int(length, "length"), *[positive_int(dimension, "dimension")] * 2))
    weights[0] = np.eye(dimension)
    return linear(weights, name="repeat_copy")


def signed_permutation(
    lags: Sequence[int],
    sources: Sequence[int] | None = None,
    signs: Sequence[int] | None = None,
    *,
    length: int | None = None,
) -> HistorySystem:
    """Return x_t[j] = signs[j] · x_{t − lags[j]}[sources[j]].

    Φ has Σ lags eigenvalues of modulus 1; the others are 0.

    Parameters
    ----------
    lags : sequence of int
        From 1 (the newest state) to the length; d of them.
    sources : sequence of int, optional
        A permutation of 0…d−1; each entry from itself by default.
    signs : sequence of {1, −1}, optional
    length : int, optional
        s; by default the largest lag.

    Examples
    --------
    >>> swap = signed_permutation([2, 1], [1, 0], [1, -1])
    >>> swap.next([[1.0, 2.0], [3.0, 4.0]]).tolist()
    [2.0, -3.0]
    """
    lags = _integers("lags", lags, None)
    d = lags.size
    sources = np.arange(d) if sources is None else _integers("sources", sources, d)
    signs = np.ones(d) if signs is None else _integers("signs", signs, d)
    s = positive_int(int(lags.max()) if length is None else length, "length")
    if lags.min() < 1 or lags.max() > s:
        raise ValueError(f"lags must lie in 1…{s}, got {lags.tolist()}")
    if sorted(sources.tolist()) != list(range(d)):
        raise ValueError(f"sources must be a permutation of 0…{d - 1}, got {sources.tolist()}")
    if not np.isin(signs, (-1, 1)).all():
        raise ValueError(f"signs must be 1 or −1, got {signs.tolist()}")
    weights = np.zeros((s, d, d))
    weights[s - lags, np.arange(d), sources] = signs
    return linear(weights, name="signed_permutation")


def task(name: str) -> HistorySystem:
    """Return one of the four maps, d = s = 8, on which the networks of the paper are trained.

    ``T1`` is `repeat_copy`. ``T2`` keeps every entry at a lag of its own, x_t[j] = x_{t−9+j}[j] for j = 1…8; ``T3``
    and ``T4`` are signed permutations with the same lags in other orders. Φ has 64 eigenvalues of modulus 1 in T1
    (period 8) and 36 in the others (periods 840, 48 and 70), the rest being 0.

    Parameters
    ----------
    name : {"T1", "T2", "T3", "T4"}
        In the order of the authors' tables; their demonstration notebook counts the last three otherwise.

    References
    ----------
    Karuvally, Sejnowski and Siegelmann, ICML 2024, and its published code.

    Examples
    --------
    >>> abs(task("T3").spectrum()).round(1).sum()
    np.float64(36.0)
    """
    if name == "T1":
        return repeat_copy(8, 8)
    if name not in _SELECTIONS:
        raise ValueError(f"name must be one of T1, {', '.join(_SELECTIONS)}, got {name!r}")
    lags, sources, signs = _SELECTIONS[name]
    weights = signed_permutation(lags, [source - 1 for source in sources], signs).weights
    return HistorySystem(8, 8, weights=weights, name=f"task_{name}")


def fibonacci(dimension: int = 1, length: int = 2) -> HistorySystem:
    """Return x_t = x_{t−1} + … + x_{t−s}, the generalised Fibonacci sequence. It grows without bound for s > 1.

    Examples
    --------
    >>> fibonacci(1, 2).next([[5.0], [8.0]]).tolist()
    [13.0]
    """
    d, s = positive_int(dimension, "dimension"), positive_int(length, "length")
    return linear(np.tile(np.eye(d), (s, 1, 1)), name="fibonacci")


def random_linear(
    dimension: int, length: int, rank: int, *, generator: np.random.Generator, radius: float = 1.0
) -> HistorySystem:
    """Return a random linear system of which `rank` directions of the history live on.

    In a random orthogonal basis of the states every coordinate is a recurrence of its own, of an order ℓ_j drawn so
    that Σ ℓ_j = rank, with characteristic roots at random angles on the circle of `radius`. Φ then has `rank` nonzero
    eigenvalues, all of that modulus; what the orders leave of the history is forgotten.

        x_t = −Σ_{k=1}^{ℓ} c_{ℓ−k} x_{t−k},      Σ_m c_m z^m = Π (z − root)

    Parameters
    ----------
    dimension, length : int
        d and s.
    rank : int
        From 0 to s·d.
    generator : numpy.random.Generator
    radius : float
        1: neither growing nor fading.

    Examples
    --------
    >>> system = random_linear(3, 4, 7, generator=np.random.default_rng(0))
    >>> int((abs(system.spectrum()) > 0.5).sum())
    7
    """
    d, s = positive_int(dimension, "dimension"), positive_int(length, "length")
    rank, radius = positive_int(rank, "rank", least=0), positive(radius, "radius")
    if rank > s * d:
        raise ValueError(f"rank must be at most length · dimension = {s * d}, got {rank}")
    if not isinstance(generator, np.random.Generator):
        raise TypeError(f"generator must be a numpy.random.Generator, got {type(generator).__name__}")
    places = generator.permutation(np.repeat(np.arange(d), s))[:rank]
    orders = np.bincount(places, minlength=d)  # ≤ s each
    own = np.zeros((s, d))
    for j, order in enumerate(orders):
        own[s - order :, j] = -_monic(_roots(order, generator))[:-1] * radius ** np.arange(order, 0, -1)
    turn = np.linalg.qr(generator.normal(size=(d, d)))[0]
    return linear(np.einsum("aj,sj,bj->sab", turn, own, turn), name="random_linear")


def attention(key: ArrayLike, query: ArrayLike, value: ArrayLike, *, length: int, scale: float = 1.0) -> HistorySystem:
    """Return the self-attention boundary condition: one head of an attention-only transformer, run on its own output.

        h_t = Σ_{i=1}^{s} softmax_i( scale · (key h_{t−i}) · (query h_{t−1}) ) value h_{t−i}

    The context window is the wave substrate.

    Parameters
    ----------
    key, query : array_like, shape (m, d)
    value : array_like, shape (d, d)
    length : int
        s, the context.
    scale : float
        1 as in the paper; 1/√m in a transformer.

    References
    ----------
    Karuvally, Sejnowski and Siegelmann, ICML 2024 (K = keyᵀ, Q = query, V = value there).

    Examples
    --------
    >>> head = attention(np.zeros((1, 2)), np.zeros((1, 2)), np.eye(2), length=2)  # attends to all alike
    >>> head.next([[1.0, 0.0], [3.0, 2.0]]).tolist()
    [2.0, 1.0]
    """
    key, query, value = real_array(key, "key"), real_array(query, "query"), real_array(value, "value")
    if key.ndim != 2 or key.shape != query.shape:
        raise ValueError(f"key and query must have one shape (m, d), got {key.shape} and {query.shape}")
    d = key.shape[1]
    if value.shape != (d, d):
        raise ValueError(f"value must have shape {(d, d)}, got {value.shape}")
    scale = positive(scale, "scale")

    def attend(history):  # (…, s, d)
        asked = history[..., -1, :] @ query.T  # (…, m)
        scores = scale * np.einsum("...im,...m->...i", history @ key.T, asked)
        weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
        weights /= weights.sum(axis=-1, keepdims=True)
        return np.einsum("...i,...id->...d", weights, history @ value.T)

    return HistorySystem(d, length, attend, name="attention", batched=True)


def _roots(order, generator):
    """`order` roots on the unit circle, in conjugate pairs, one to each equal part of the half circle; ±1 if odd."""
    pairs = order // 2
    angles = np.pi * (np.arange(pairs) + generator.uniform(0.25, 0.75, pairs)) / max(pairs, 1)
    single = generator.choice([-1.0, 1.0], size=order % 2)
    return np.concatenate([np.exp(1j * angles), np.exp(-1j * angles), single])


def _monic(roots):
    """Real coefficients c_0, c_1, …, 1 of Π (z − root), for roots on the unit circle.

    Interpolated between roots of unity, at which the product is exact to rounding: multiplied out one after the other,
    fifty roots pass through coefficients so large that the last ones keep half their digits.
    """
    points = np.exp(2j * np.pi * np.arange(roots.size + 1) / (roots.size + 1))
    return np.fft.fft(np.prod(points[:, None] - roots, axis=1)).real / points.size


def _integers(name, values, count):
    array = np.asarray(values)
    wanted = "at least one" if count is None else count
    if (
        array.ndim != 1
        or array.size == 0
        or array.dtype.kind not in "iu"
        or (count is not None and array.size != count)
    ):
        raise ValueError(f"{name} must be a sequence of {wanted} integers, got {values!r}")
    return array.astype(int)
