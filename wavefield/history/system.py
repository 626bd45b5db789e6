"""A history-dependent dynamical system, and the two orders in which its history is written as one vector."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from wavefield.checks import positive_int, real_array
from wavefield.operators.operator import WaveOperator
from wavefield.values import read_only, rebuild, set_fields


@dataclass(frozen=True, eq=False, repr=False)
class HistorySystem:
    """A dynamical system whose next state depends on the last s: x_t = f(x_{t−1}, …, x_{t−s}).

    Usually made by one of the functions of `wavefield.history`. The history is an array (slot, dimension), oldest
    first: slot s, the last row, holds the newest state.

    Parameters
    ----------
    dimension : int
        d, numbers in a state.
    length : int
        s, states in the history.
    function : callable, optional
        f, from a history (s, d), which it cannot write to, to the next state (d,).
    weights : array_like, shape (s, d, d), optional
        In place of `function`: a linear f, f(h) = Σ_i weights[i] h_i, oldest slot first.
    name : str
        For messages and recordings.
    batched : bool
        Whether `function` takes leading axes, (…, s, d) to (…, d), so that trials need no loop.

    Raises
    ------
    ValueError, TypeError
        Naming the argument, what was given and what is accepted.

    References
    ----------
    Karuvally, Sejnowski and Siegelmann, "Hidden traveling waves bind working memory variables in recurrent neural
    networks", ICML 2024.

    Examples
    --------
    >>> logistic = HistorySystem(1, 2, lambda h: 3.7 * h[-1] * (1 - h[-2]), name="delayed logistic map")
    >>> logistic.next([[0.5], [0.5]]).tolist()
    [0.925]
    """

    dimension: int
    length: int
    function: Callable[[np.ndarray], np.ndarray] | None = None
    weights: np.ndarray | None = None
    name: str = "system"
    batched: bool = False

    def __post_init__(self):
        set_fields(
            self,
            dimension=positive_int(self.dimension, "dimension"),
            length=positive_int(self.length, "length"),
        )
        if (self.function is None) == (self.weights is None):
            raise ValueError("one of function and weights must be given, and not both")
        if self.weights is not None:
            set_fields(self, weights=_checked_weights(self.weights, self.length, self.dimension))
        elif not callable(self.function):
            raise TypeError(f"function must be callable, got {type(self.function).__name__}")

    def __reduce__(self):
        return rebuild(self)

    def __repr__(self):
        return f"{self.name}(dimension={self.dimension}, length={self.length})"

    @property
    def linear(self) -> bool:
        """Whether f is a linear map."""
        return self.weights is not None

    def next(self, history: ArrayLike) -> np.ndarray:
        """Return f of a history (…, s, d), shape (…, d)."""
        history = _real(history, "history must be real")
        if history.ndim < 2 or history.shape[-2:] != (self.length, self.dimension):
            raise ValueError(f"history must have shape (…, {self.length}, {self.dimension}), got {history.shape}")
        if self.weights is not None:
            return np.einsum("kij,...kj->...i", self.weights, history)
        assert self.function is not None  # one of the two is given
        history = history.view()
        history.flags.writeable = False  # of the caller, whose field it may be
        if self.batched:
            return self._checked(self.function(history), history.shape[:-2])
        flat = history.reshape(-1, self.length, self.dimension)
        rows = [self._checked(self.function(one), ()) for one in flat]
        return np.array(rows).reshape(*history.shape[:-2], self.dimension)

    def matrix(self) -> np.ndarray:
        """Return Φ, one step of the complete history, slot-major, shape (s·d, s·d): a block shift and a boundary row.

            (Φ h)_i = h_{i+1},  i < s;      (Φ h)_s = Σ_k weights[k] h_k

        Raises
        ------
        ValueError
            If the system is not linear.

        Examples
        --------
        >>> from wavefield.history import fibonacci
        >>> fibonacci(1, 3).matrix().tolist()
        [[0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [1.0, 1.0, 1.0]]
        """
        weights = self._linear_weights("a matrix")
        d, s = self.dimension, self.length
        phi = np.eye(s * d, k=d)
        phi[-d:] = weights.swapaxes(0, 1).reshape(d, s * d)
        return phi

    def spectrum(self) -> np.ndarray:
        """Return the eigenvalues of Φ, the largest first, shape (s·d,).

        What f never reads leaves as Jordan blocks of eigenvalue 0, which rounding spreads over a small disc.
        """
        values = np.linalg.eigvals(self.matrix())
        return values[np.argsort(-np.abs(values), kind="stable")]

    def operator(self, *, dx: float = 1.0, dt: float = 1.0) -> WaveOperator:
        """Return the system as a wave: an open line per dimension, running to position 0 from its driven end.

        Slot i of the paper is position i − 1, dimension j is channel j. Fields of it are channel-major (`d` lines of
        `s` positions); `to_channel_major` brings slot-major vectors into that order.

        Raises
        ------
        ValueError
            If the system is not linear, or shorter than the three positions that a kernel spans.
        """
        weights = self._linear_weights("an operator")
        if self.length < 3:
            raise ValueError(f"length must be at least 3, the width of the kernel that shifts, got {self.length}")
        kernel = np.zeros((self.dimension, self.dimension, 3))
        kernel[np.arange(self.dimension), np.arange(self.dimension), 2] = 1.0
        return WaveOperator(kernel, "open", dx, dt, boundary_row=np.moveaxis(weights, 0, 2))

    def _linear_weights(self, what: str) -> np.ndarray:
        if self.weights is None:
            raise ValueError(f"{self!r} is not linear: there is {what} of a linear f only")
        return self.weights

    def _checked(self, state, leading):
        state = _real(state, "function must return real numbers").copy()  # f may use its array again
        if state.shape != (*leading, self.dimension):
            raise ValueError(
                f"function must return a state of shape {(*leading, self.dimension)} for a history of shape "
                f"{(*leading, self.length, self.dimension)}, got {state.shape}"
            )
        return state


def to_channel_major(array: ArrayLike, dimension: int, *, axis: int = -1) -> np.ndarray:
    """Reorder an axis from slot-major (slot, dimension) to channel-major (dimension, slot), as of a `WaveRNN` state.

    A matrix between histories is converted on both its axes, one after the other.

    Examples
    --------
    >>> to_channel_major([11, 12, 21, 22, 31, 32], dimension=2).tolist()  # slots 1, 2, 3
    [11, 21, 31, 12, 22, 32]
    """
    return _reordered(array, dimension, axis, slots_first=True)


def to_slot_major(array: ArrayLike, dimension: int, *, axis: int = -1) -> np.ndarray:
    """Reorder an axis from channel-major (dimension, slot) to slot-major (slot, dimension): `to_channel_major` undone.

    Examples
    --------
    >>> to_slot_major([11, 21, 31, 12, 22, 32], dimension=2).tolist()
    [11, 12, 21, 22, 31, 32]
    """
    return _reordered(array, dimension, axis, slots_first=False)


def _reordered(array, dimension, axis, slots_first):
    array, dimension = np.asarray(array), positive_int(dimension, "dimension")
    if array.ndim == 0 or not -array.ndim <= axis < array.ndim:
        raise ValueError(f"axis {axis} is none of an array of shape {array.shape}")
    moved = np.moveaxis(array, axis, -1)
    if moved.shape[-1] % dimension:
        raise ValueError(f"axis {axis} has {moved.shape[-1]} entries, not a multiple of {dimension}")
    slots = moved.shape[-1] // dimension
    rows = (slots, dimension) if slots_first else (dimension, slots)
    turned = moved.reshape(*moved.shape[:-1], *rows).swapaxes(-1, -2)
    return np.moveaxis(turned.reshape(moved.shape), -1, axis)


def _real(values, rule):
    """As floats; NaN and infinity pass: they are what a sequence that grows ends in."""
    array = np.asarray(values)
    if array.dtype.kind not in "biuf":
        raise TypeError(f"{rule}, got dtype {array.dtype}")
    return array.astype(float, copy=False)


def _checked_weights(weights, length, dimension):
    weights = real_array(weights, "weights")
    if weights.shape != (length, dimension, dimension):
        raise ValueError(f"weights must have shape {(length, dimension, dimension)}, got {weights.shape}")
    return read_only(weights)
