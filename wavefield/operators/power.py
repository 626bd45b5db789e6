"""Many steps at once: the power of a wave operator, applied in the basis of its modes."""

from __future__ import annotations

import functools

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
        dims, channels = self.operator.dims, self.operator.channels
        if state.ndim <= dims or state.shape[-1 - dims] != channels or 0 in state.shape[-dims:]:
            axes = "N" if dims == 1 else "Ny, Nx"
            raise ValueError(f"state must have shape (..., {channels}, {axes}), got {state.shape}")
        shape, dtype = state.shape[-dims:], np.result_type(state.dtype, np.float32)
        modes = to_modes(state.astype(np.float64), self.operator.boundaries)
        moved = advance_modes(self.operator, modes, self.steps, shape)
        return from_modes(moved, self.operator.boundaries, shape).astype(dtype)


def can_jump(operator) -> bool:
    """Whether the operator is diagonal in the modes of its boundary."""
    if not operator.alike:
        return False
    return all(kind == "periodic" or (kind in ("fixed", "free") and operator.symmetric) for kind in operator.boundaries)


def to_modes(state, boundaries):
    """Amplitudes of the modes of the boundaries, along the last axes, the last of them first."""
    real = boundaries[-1] == "periodic"  # of the first transform, which alone has real numbers to begin with
    for axis in range(-1, -1 - len(boundaries), -1):
        kind, size = boundaries[axis], state.shape[axis]
        if kind == "periodic":
            state = fft.rfft(state, axis=axis) if real and axis == -1 else fft.fft(state, axis=axis)
        elif kind == "fixed":
            state = _of_complex(fft.dst, state, axis)
        elif size > 1:  # DCT-I has no meaning for one position, whose only mode is itself
            state = _of_complex(fft.dct, state, axis)
    return state


def from_modes(modes, boundaries, shape):
    """Inverse of `to_modes`."""
    for axis in range(-len(boundaries), 0):
        kind, size = boundaries[axis], shape[axis]
        if kind == "periodic":
            modes = fft.irfft(modes, size, axis=axis) if axis == -1 else fft.ifft(modes, axis=axis)
        elif kind == "fixed":
            modes = _of_complex(fft.idst, modes, axis)
        elif size > 1:
            modes = _of_complex(fft.idct, modes, axis)
    return modes.real if np.iscomplexobj(modes) else modes


def _of_complex(transform, values, axis):
    if np.iscomplexobj(values):
        return transform(values.real, type=1, axis=axis) + 1j * transform(values.imag, type=1, axis=axis)
    return transform(values, type=1, axis=axis)


def mode_angles(boundary, size, *, all_modes=False):
    """Half the phase advance per cell, α = π k dx, of each mode, and π/2 − α without loss of digits.

    On a ring those of `rfft`, or where `all_modes` those of `fft`, for the axes that are not the last.
    """
    if boundary == "periodic":
        mode, modes = (np.rint(np.fft.fftfreq(size) * size) if all_modes else np.arange(size // 2 + 1)), size
    elif boundary == "fixed":
        mode, modes = np.arange(1, size + 1), 2 * (size + 1)
    else:
        mode, modes = np.arange(size), max(2 * (size - 1), 1)
    return np.pi * mode / modes, np.pi * (modes - 2 * np.abs(mode)) / (2 * modes)


def advance_modes(operator, modes, steps, shape):
    """Multiply the modes (..., C, k) by the power of their symbols; what outgrows the numbers comes out not finite."""
    kinds = operator.boundaries
    angles = [
        mode_angles(kind, size, all_modes=i + 1 < len(kinds))
        for i, (kind, size) in enumerate(zip(kinds, shape, strict=True))
    ]
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        return _advanced(operator, modes, steps, angles)


def _advanced(operator, modes, steps, angles):
    if operator.levels == 2:
        return _advance_pairs(operator, modes, steps, angles)
    # rfft holds modes e^{+2πi k x}, the conjugates of those of `symbol`
    cycles = [-alpha / np.pi for alpha, _ in angles]
    grid = cycles[0] if len(cycles) == 1 else np.stack(np.meshgrid(*cycles, indexing="ij"), axis=-1)
    symbol = operator.symbol_per_cell(grid)  # (k, C, C)
    if operator.symmetric:
        symbol = symbol.real
    if operator.diagonal:
        return modes * np.moveaxis(np.einsum("...cc->...c", symbol), -1, 0) ** steps
    powers = np.linalg.matrix_power(symbol, steps)
    if len(cycles) == 1:
        return np.einsum("koi,...ik->...ok", powers, modes)
    return np.einsum("yxoi,...iyx->...oyx", powers, modes)


def _advance_pairs(operator, modes, steps, angles):
    """Multiply the pairs (h[t], h[t−1]) of each mode by the power of the companion matrix.

    With τ = ±1, whichever of h[t] ∓ √q h[t−1] is the slow one, and D_n = S_{n+1} − τ√q S_n,

        S_{n+1} h[t] − q S_n h[t−1] = D_n h[t] + τ√q S_n ( h[t] − τ√q h[t−1] ).
    """
    if steps == 0:
        return modes
    square, turn = half_angles(operator, angles)
    q = operator.previous_weight.reshape(-1, *(1,) * operator.dims)
    root = turn * np.sqrt(q)
    now, then = ((..., slice(level, None, 2), *(slice(None),) * operator.dims) for level in (0, 1))
    level, before = modes[now], modes[then]
    change = root * (level - root * before)
    moved = np.empty_like(modes)
    for which, n in ((now, steps), (then, steps - 1)):
        ratio, step = _sine_ratio(n, square, q), _cosine_ratio(n, square, q)
        moved[which] = turn**n * step * level + turn ** (n - 1) * ratio * change
    return moved


def half_angles(operator, angles):
    """sin²(φ/2) and τ = ±1 of every ring and mode, shape (rings, k): the mode turns by φ a step, or by π − φ if τ = −1.

    The angle is taken from sin²(θ/2) or cos²(θ/2), whichever is small, so that modes near k = 0 and near the Nyquist
    wavenumber keep their digits; where a mode is overdamped the square is negative. The sums of the taps are those of
    the very numbers that a stepping loop multiplies by, in extended precision: what they miss of 2√q by rounding makes
    the field drift quadratically in time.
    """
    taps, rings = operator.taps, operator.rings
    exact, root = taps.astype(np.longdouble), np.sqrt(operator.previous_weight.astype(np.longdouble))
    offsets = np.stack(np.meshgrid(*(np.arange(k) - k // 2 for k in taps.shape[1:]), indexing="ij"), -1)
    parity = (-1.0) ** offsets.sum(axis=-1)
    over = (slice(None), *(None,) * operator.dims)
    at_zero = (2 * root - exact.reshape(rings, -1).sum(axis=1)).astype(float)[over]
    at_pi = (2 * root + (exact * parity).reshape(rings, -1).sum(axis=1)).astype(float)[over]
    sine, cosine = at_zero, at_pi  # 4√q sin²(θ/2) and 4√q cos²(θ/2)
    cells, weights = offsets.reshape(-1, operator.dims), taps.reshape(rings, -1)
    for cell, weight, sign in zip(cells, weights.T, parity.ravel(), strict=True):
        if tuple(cell) <= (0,) * operator.dims or not weight.any():  # each pair of opposite neighbours once
            continue
        low, high = (
            functools.reduce(np.add.outer, [n * part[i] for n, part in zip(cell, angles, strict=True)]) for i in (0, 1)
        )
        sine = sine + 4 * weight[over] * np.sin(low) ** 2
        cosine = cosine - 4 * sign * weight[over] * np.sin(high) ** 2
    low = sine <= cosine
    return np.where(low, sine, cosine) / (4 * root.astype(float)[over]), np.where(low, 1.0, -1.0)


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
