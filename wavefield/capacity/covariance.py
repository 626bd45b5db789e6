"""Covariance of a linear field under white noise inputs, as a square root that keeps every digit.

An input leaves g_k after k steps, so that the covariance of the state is P = Σ_k g_k g_kᵀ, over as many steps as there
have been inputs or, in the stationary state, over all. The root R, P = R Rᵀ, is accumulated by doubling, twice as many
steps each time (Smith's method for P = M P Mᵀ + V Vᵀ): [R, Mᵐ R] is the root for 2m steps. P itself would lose half of
the digits, and with them every dimension fainter than 10⁻⁸.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from wavefield.operators.design import Design

_DOUBLINGS = 24  # a field that has not forgotten after 2²⁴ steps is taken never to forget
_FADED = 1e-8  # of the amplitude; what comes after as many steps again is the square of it
_GROWN = 1e60  # between the Jordan blocks of a drifting field and the largest number


@dataclass(frozen=True, eq=False)
class Root:
    """R, shape (S, at most S), with P = R Rᵀ, and the norm of the rounding errors in it relative to its own."""

    matrix: np.ndarray
    rounding: float


def covariance_roots(parts, window: int | None) -> list[Root] | None:
    """A root for each part of a field, as `Design.parts` gives them, after `window` inputs or (None) stationary.

    None where a part never forgets and has no stationary state.
    """
    known: dict[str, Root | None] = {}
    roots: list[Root] = []
    for part, _, _ in parts:
        name = part.fingerprint()
        if name not in known:
            known[name] = _root(part, window)
        root = known[name]
        if root is None:
            return None
        roots.append(root)
    return roots


def _root(part: Design, window) -> Root | None:
    step = part.step.toarray()
    if not part.pulse:
        return _summed(step, part.entry, window)
    # an input is taken back after two steps: g_0 = V, g_1 = M V, and g_k = M^{k−2} (M² − 1) V from then on
    once = step @ part.entry
    head = np.hstack([part.entry, once])
    if window is not None and window <= 2:
        return Root(head[:, : window * part.inputs], np.finfo(float).eps)
    tail = _summed(step, step @ once - part.entry, None if window is None else window - 2)
    return None if tail is None else Root(np.hstack([head, tail.matrix]), tail.rounding)


def _summed(step, first, count) -> Root | None:
    """Root of Σ_k M^k V Vᵀ M^kᵀ over `count` terms, or over all; None where the terms do not fade."""
    root, leap, largest = first, step, 1.0  # leap = M^terms
    if count is not None:
        for bit in bin(count)[3:]:
            root, leap = _compressed(np.hstack([root, leap @ root])), leap @ leap
            if bit == "1":
                root, leap = _compressed(np.hstack([first, step @ root])), step @ leap
            largest = max(largest, _norm(leap))
        return Root(root, _rounding(step, largest))
    for _ in range(_DOUBLINGS):
        later = leap @ root
        faded = np.linalg.norm(later) <= _FADED * np.linalg.norm(root)
        root, leap = _compressed(np.hstack([root, later])), leap @ leap
        if faded:
            return Root(root, _rounding(step, largest))
        largest = max(largest, _norm(leap))
    return None


def _compressed(root):
    """The same R Rᵀ from no more columns than rows."""
    return root if root.shape[1] <= root.shape[0] else np.linalg.qr(root.T, mode="r").T


def _rounding(step, largest):
    """Error of the products of powers whose norm was at most `largest`."""
    return len(step) * np.finfo(float).eps * largest


def _norm(leap):
    """Return a bound on the spectral norm of a power of the step, and refuse it where it grows without end."""
    norm = float(np.sqrt(np.linalg.norm(leap, 1) * np.linalg.norm(leap, np.inf)))
    if not norm < _GROWN:
        raise ValueError(
            f"operator: its field grows without bound (a factor {norm:.1g} is reached), it holds no memory"
        )
    return norm
