"""Many steps at once: the power of a wave operator, applied in the basis of its modes."""

from __future__ import annotations

import numpy as np
from scipy import fft


class Jump:
    """`steps` steps of a linear wave field at once; called with a state (..., C, N) it returns the later state.

    The field is taken to the modes of its boundary (FFT on a ring, DST-I between fixed ends, DCT-I between free
    ones), every mode is multiplied by the power of its symbol, and taken back: O(N log N) whatever the steps.

    The power of a two-way mode is the Chebyshev form of the companion matrix [[a, −q], [1, 0]],

        Mⁿ = S_n M − q S_{n−1} 1,     S_n = q^{(n−1)/2} sin(nθ)/sin θ,     cos θ = a / (2√q),

    never its eigenvectors: they do not exist at k = 0. It is written for the sum and difference of the two levels, so
    that a mode that hardly moves does not lose its digits to n·h[t] − n·h[t−1]. The error grows as steps · eps.
    """

    def __init__(self, operator, steps: int):
        if isinstance(steps, bool) or not isinstance(steps, (int, np.integer)):
            raise TypeError(f"steps must be an integer, got {steps!r}")
        if steps < 0:
            raise ValueError(f"steps must not be negative, got {steps}")
        if not can_jump(operator):
            raise ValueError(
                "power is defined for convolutions on a ring and for symmetric kernels between fixed or free ends; "
                f"step this one: {operator!r}"
            )
        self.operator, self.steps = operator, int(steps)

    def __repr__(self):
        return f"Jump({self.steps} steps of {self.operator!r})"

    def __call__(self, state: np.ndarray) -> np.ndarray:
        state = np.asarray(state)
        if state.dtype.kind not in "biuf":
            raise TypeError(f"state must be an array of real numbers, got dtype {state.dtype}")
        if state.ndim < 2 or state.shape[-2] != self.operator.channels or state.shape[-1] == 0:
            raise ValueError(f"state must have shape (..., {self.operator.channels}, N), got {state.shape}")
        size, dtype = state.shape[-1], np.result_type(state.dtype, np.float32)
        modes = to_modes(state.astype(np.float64), self.operator.boundary)
        moved = advance_modes(self.operator, modes, self.steps, size)
        return from_modes(moved, self.operator.boundary, size).astype(dtype)


def can_jump(operator) -> bool:
    """Whether the operator is diagonal in the modes of its boundary."""
    if operator.profile is not None:
        return False
    return operator.boundary == "periodic" or (operator.boundary in ("fixed", "free") and operator.symmetric)


def to_modes(state, boundary):
    """Amplitudes of the modes of the boundary, along the last axis."""
    if boundary == "periodic":
        return fft.rfft(state)
    if boundary == "fixed":
        return fft.dst(state, type=1)
    # DCT-I has no meaning for one position, whose only mode is itself
    return fft.dct(state, type=1) if state.shape[-1] > 1 else state


def from_modes(modes, boundary, size):
    """Inverse of `to_modes`."""
    if boundary == "periodic":
        return fft.irfft(modes, size)
    if boundary == "fixed":
        return fft.idst(modes, type=1)
    return fft.idct(modes, type=1) if size > 1 else modes


def mode_angles(boundary, size):
    """Half the phase advance per cell, α = π k dx, of each mode, and π/2 − α without loss of digits."""
    if boundary == "periodic":
        mode, modes = np.arange(size // 2 + 1), size
    elif boundary == "fixed":
        mode, modes = np.arange(1, size + 1), 2 * (size + 1)
    else:
        mode, modes = np.arange(size), max(2 * (size - 1), 1)
    return np.pi * mode / modes, np.pi * (modes - 2 * mode) / (2 * modes)


def advance_modes(operator, modes, steps, size):
    """Multiply the modes (..., C, k) by the power of their symbols; what outgrows the numbers comes out not finite."""
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        return _advanced(operator, modes, steps, *mode_angles(operator.boundary, size))


def _advanced(operator, modes, steps, alpha, beta):
    if operator.levels == 2:
        return _advance_pairs(operator, modes, steps, alpha, beta)
    # rfft holds modes e^{+2πi k x}, the conjugates of those of `symbol`
    symbol = operator.symbol_per_cell(-alpha / np.pi)  # (k, C, C)
    if operator.boundary != "periodic":
        symbol = symbol.real
    if operator.diagonal:
        return modes * np.einsum("kcc->ck", symbol) ** steps
    return np.einsum("koi,...ik->...ok", np.linalg.matrix_power(symbol, steps), modes)


def _advance_pairs(operator, modes, steps, alpha, beta):
    """Multiply the pairs (h[t], h[t−1]) of each mode by the power of the companion matrix.

    With τ = ±1, whichever of h[t] ∓ √q h[t−1] is the slow one, and D_n = S_{n+1} − τ√q S_n,

        S_{n+1} h[t] − q S_n h[t−1] = D_n h[t] + τ√q S_n ( h[t] − τ√q h[t−1] ).
    """
    if steps == 0:
        return modes
    square, turn = half_angles(operator, alpha, beta)
    root = turn * np.sqrt(operator.previous_weight)[:, None]
    level, before = modes[..., 0::2, :], modes[..., 1::2, :]
    change = root * (level - root * before)
    moved = np.empty_like(modes)
    for which, n in ((0, steps), (1, steps - 1)):
        ratio = _sine_ratio(n, square, operator.previous_weight[:, None])
        step = _cosine_ratio(n, square, operator.previous_weight[:, None])
        moved[..., which::2, :] = turn**n * step * level + turn ** (n - 1) * ratio * change
    return moved


def half_angles(operator, alpha, beta):
    """sin²(φ/2) and τ = ±1 of every ring and mode, shape (rings, k): the mode turns by φ a step, or by π − φ if τ = −1.

    The angle is taken from sin²(θ/2) or cos²(θ/2), whichever is small, so that modes near k = 0 and near the Nyquist
    wavenumber keep their digits; where a mode is overdamped the square is negative. The sums of the taps are those of
    the very numbers that a stepping loop multiplies by, in extended precision: what they miss of 2√q by rounding makes
    the field drift quadratically in time.
    """
    taps, half = operator.taps, operator.taps.shape[1] // 2
    exact, root = taps.astype(np.longdouble), np.sqrt(operator.previous_weight.astype(np.longdouble))
    parity = (-1.0) ** np.arange(-half, half + 1)
    at_zero = (2 * root - exact.sum(axis=1)).astype(float)[:, None]
    at_pi = (2 * root + (exact * parity).sum(axis=1)).astype(float)[:, None]
    side, sign = taps[:, half + 1 :, None], parity[half + 1 :, None]
    harmonic = np.arange(1, half + 1)[:, None]
    sine = at_zero + 4 * (side * np.sin(harmonic * alpha) ** 2).sum(axis=1)  # 4√q sin²(θ/2)
    cosine = at_pi - 4 * (sign * side * np.sin(harmonic * beta) ** 2).sum(axis=1)  # 4√q cos²(θ/2)
    low = sine <= cosine
    return np.where(low, sine, cosine) / (4 * root.astype(float)[:, None]), np.where(low, 1.0, -1.0)


def _sine_ratio(n, square, q):
    """q^{(n−1)/2} sin(nφ)/sin φ, given sin²(φ/2); φ is imaginary where that is negative, and the ratio n at φ = 0."""
    if n == 0:
        return np.zeros(square.shape)
    decay = np.exp(0.5 * (n - 1) * np.log(q))
    phi = 2 * np.arcsin(np.sqrt(np.maximum(square, 0)))
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(phi > 0, decay * np.sin(n * phi) / np.sin(phi), n * decay)
    over = square < 0
    if over.any():
        eta = 2 * np.arcsinh(np.sqrt(-square[over]))
        decay = np.broadcast_to(0.5 * (n - 1) * np.log(q), square.shape)[over]
        ratio[over] = np.exp(decay + (n - 1) * eta) * np.expm1(-2 * n * eta) / np.expm1(-2 * eta)  # sinh(nη)/sinh η
    return ratio


def _cosine_ratio(n, square, q):
    """q^{n/2} cos((n + ½)φ)/cos(φ/2), which is q^{n/2} (sin((n + 1)φ) − sin(nφ))/sin φ."""
    phi = 2 * np.arcsin(np.sqrt(np.maximum(square, 0)))
    ratio = np.exp(0.5 * n * np.log(q)) * np.cos((n + 0.5) * phi) / np.cos(phi / 2)
    over = square < 0
    if over.any():
        eta = 2 * np.arcsinh(np.sqrt(-square[over]))
        decay = np.broadcast_to(0.5 * n * np.log(q), square.shape)[over]
        ratio[over] = np.exp(decay + n * eta) * (1 + np.exp(-(2 * n + 1) * eta)) / (1 + np.exp(-eta))  # cosh for cos
    return ratio
