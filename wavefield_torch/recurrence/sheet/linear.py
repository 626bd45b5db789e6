"""The linear sheet without a loop over time.

With σ the identity, periodic edges, and ω and α the same in all places, the Fourier modes of the sheet do not know of
each other. With ŷ, ẑ the transforms, A = diag(ω) − Ŵ(k), κ what a step keeps of ẑ and g with
which forces enter it (`reference.kept_and_gain`),

    s[t+1] = M s[t] + N x̂[t],    s = (ŷ, ẑ),    M = [ 1 − dt g A   dt κ ]    N = [ dt g ]
                                                    [    − g A        κ ]        [  g   ]

Hence ŷ[t] = E[t] s[0] with E[t] the upper half of Mᵗ, and a readout over time is a convolution of the whole sheet with
F kernels, Σ_t R[f, t] E[t]. They do not depend on the samples, whose transforms are the cost, whatever T. The E[t] of
256 steps follow by doubling, E[t + n] = E[t] Mⁿ, and more steps by Horner's scheme in M²⁵⁶: polynomials of A, whose
gradient is smooth also where eigenvalues coincide. An input per step takes an associative scan (`recurrence.parallel`).

Where channels do not mix, E[t] is a polynomial of one number per mode, A, which oscillates with it no faster than
cos(t θ(A)): Σ_t R[f, t] E[t] is computed at a few Chebyshev nodes of A for each channel, some T θ/2 and a few tens,
and interpolated to the modes. (Nakatsukasa, Sète and Trefethen, SIAM J. Sci. Comput. 40, A1494, 2018, and Trefethen,
Approximation Theory and Approximation Practice, on how fast such interpolants converge.)

Matrices are (…, m, m) over modes: (height, width//2 + 1) of them with m = 2C, or, of channels that do not mix,
(height, width//2 + 1, C) with m = 2. Powers are taken in double precision.
"""

from __future__ import annotations

import math

import torch

from wavefield_torch.recurrence.parallel import prefix
from wavefield_torch.recurrence.scan import transformed
from wavefield_torch.recurrence.sheet.reference import kept_and_gain


def symbol(kernel, height, width):
    """Ŵ(k) of a kernel (…, K, K) on the modes of `rfft2`: (height, width//2 + 1, …)."""
    reach = kernel.shape[-1] // 2
    taps = torch.arange(-reach, reach + 1, device=kernel.device, dtype=kernel.dtype)

    def phases(size, count):
        angle = 2 * torch.pi / size * torch.outer(torch.arange(count, device=kernel.device, dtype=kernel.dtype), taps)
        return torch.polar(torch.ones_like(angle), angle)

    rows, columns = phases(height, height), phases(width, width // 2 + 1)
    return torch.einsum("...jk,yj,xk->yx...", kernel.to(rows.dtype), rows, columns)


def step_of(pull, damping, dt, scheme):
    """(M, N) of A and α: of matrices (…, C, C) and (C,) as (…, 2C, 2C) and (2C, C).

    Of numbers for channels that do not mix, (…, C) and (C,), it takes A as (…, C, 1, 1) and α as (C, 1).
    """
    kept, gain = kept_and_gain(damping, dt, scheme)
    pulled = gain[..., None] * pull
    one, kept, gain = (torch.diag_embed(d).expand(pull.shape) for d in (torch.ones_like(kept), kept, gain))
    upper = torch.cat([one - dt * pulled, (dt * kept).to(pulled.dtype)], -1)
    lower = torch.cat([-pulled, kept.to(pulled.dtype)], -1)
    first = gain[(0,) * (gain.dim() - damping.dim() - 1)]  # the same for all modes
    return torch.cat([upper, lower], -2), torch.cat([dt * first, first], -2)


_STEPS_AT_ONCE = 256  # a power of two
_TAIL = {torch.float32: 2e-6, torch.float64: 1e-12}  # of the last coefficients, beside the largest


class _Mixing:
    """Matrices (H, M, 2C, 2C), complex, and their upper halves (H, M, T, C, 2C)."""

    def __init__(self, matrix):
        self.matrix, self.half = matrix, matrix.shape[-1] // 2

    times = staticmethod(torch.matmul)

    def upper(self, matrix):
        return matrix[..., : self.half, :].unsqueeze(-3)

    def after(self, rows, matrix):
        """Rows one after the other in time, each times a matrix."""
        return rows @ matrix.unsqueeze(-3)

    def joined(self, *rows):
        return torch.cat(rows, -3)

    def first(self, rows, count):
        return rows[..., :count, :, :]

    def weighted(self, weights, rows):
        """Σ_t weights[f, t] rows[t]: (H, M, F, C, 2C)."""
        return torch.einsum("ft,yxtoi->yxfoi", weights.to(rows.dtype), rows)

    def applied(self, rows, state, size):
        """From rows to the first state, transforms (B, C, H, M), to (F, B, C, H, W)."""
        parts = rows[..., : self.half], rows[..., self.half :]
        found = [
            torch.einsum("yxfoi,biyx->fboyx", part, s) for part, s in zip(parts, state, strict=True) if s is not None
        ]
        return torch.fft.irfft2(sum(found), s=size)

    def halves(self, matrix):
        return self.joined(self.upper(matrix), matrix[..., self.half :, :].unsqueeze(-3))


class _Apart:
    """The same for channels that do not mix: (2, 2, C, H, M), real, element by element, and (T, 2, C, H, M)."""

    def __init__(self, matrix):
        self.matrix = matrix.permute(3, 4, 2, 0, 1).contiguous()

    @classmethod
    def of(cls, matrix):
        """Of matrices that are in this order."""
        algebra = cls.__new__(cls)
        algebra.matrix = matrix
        return algebra

    @staticmethod
    def times(a, b):
        return a[:, :1] * b[0] + a[:, 1:] * b[1]

    def upper(self, matrix):
        return matrix[:1]

    after = times

    def joined(self, *rows):
        return torch.cat(rows)

    def first(self, rows, count):
        return rows[:count]

    def weighted(self, weights, rows):
        return (weights.to(rows.dtype) @ rows.flatten(1)).unflatten(1, rows.shape[1:])

    def applied(self, rows, state, size):
        found = [rows[:, j, None] * s for j, s in enumerate(state) if s is not None]
        return torch.fft.irfft2(sum(found), s=size)

    def halves(self, matrix):
        return matrix


def power(algebra, steps):
    """M to the number of steps."""
    result, square = None, algebra.matrix
    while steps:
        if steps & 1:
            result = square if result is None else algebra.times(result, square)
        steps >>= 1
        square = algebra.times(square, square) if steps else square
    return result


def outcomes(algebra, steps):
    """E[1..T], the upper halves of the powers of M."""
    rows, square, count = algebra.upper(algebra.matrix), algebra.matrix, 1
    while count < steps:
        more = min(count, steps - count)
        rows = algebra.joined(rows, algebra.after(algebra.first(rows, more), square))
        count += more
        square = algebra.times(square, square) if count < steps else square
    return rows


def responses(algebra, weights, dtype):
    """Σ_t weights[f, t] E[t], summed in the precision of `dtype`."""
    steps, piece = weights.shape[1], min(weights.shape[1], _STEPS_AT_ONCE)
    rows = outcomes(algebra, piece)
    rows = rows.to(dtype.to_complex() if rows.is_complex() else dtype)
    if steps == piece:
        return algebra.weighted(weights, rows)
    far = power(algebra, piece).to(rows.dtype)
    total = None
    for start in reversed(range(0, steps, piece)):
        here = weights[:, start : start + piece]
        part = algebra.weighted(here, algebra.first(rows, here.shape[1]))
        total = part if total is None else part + algebra.after(total, far)
    return total


def responses_by_nodes(algebra, weights, dtype, dt):
    """The same of channels that do not mix, interpolated from Chebyshev nodes of A; None where that saves nothing."""
    matrix = algebra.matrix  # (2, 2, C, H, M); its lower left is a = −g A, and κ its lower right
    a, kept = matrix[1, 0].flatten(1), matrix[1, 1, :, 0, 0]  # (C, modes), (C,)
    with torch.no_grad():
        low, high = a.amin(1), a.amax(1)
        half = ((high - low) / 2).clamp(min=1e-9)
        middle = (high + low) / 2
        cosine = (1 + kept[:, None] + dt * torch.stack([low, high])[..., None].flatten(1).T) / (2 * kept.abs().sqrt())[
            :, None
        ].clamp(min=1e-6)
        turn = float(torch.arccos(cosine.clamp(-1, 1)).amax())
    phase = weights.shape[1] * turn / 2
    count = math.ceil(phase + (6 if dtype == torch.float32 else 12) * (phase ** (1 / 3) + 1.5))
    while 3 * count <= 2 * a.shape[1]:
        nodes = torch.cos(torch.pi * (torch.arange(count, dtype=a.dtype, device=a.device) + 0.5) / count)
        at = middle[:, None] + half[:, None] * nodes  # (C, nodes)
        own = kept[:, None].expand_as(at)
        rows = torch.stack([torch.stack([1 + dt * at, dt * own]), torch.stack([at, own])])[..., None]
        # in double precision: rounding in small coefficients of high order would be a large slope at the edges
        values = responses(_Apart.of(rows), weights.to(a.dtype), a.dtype)  # (F, 2, C, nodes, 1)
        order = torch.arange(count, dtype=a.dtype, device=a.device)
        transform = torch.cos(torch.outer(torch.arccos(nodes), order)) * (2 - (order == 0).to(a.dtype)) / count
        coefficients = values[..., 0].permute(2, 0, 1, 3).flatten(1, 2) @ transform  # (C, 2F, order)
        size = coefficients.detach().abs().amax((0, 1))
        if float(size[-3:].max()) <= _TAIL[dtype] * float(size.max()):
            basis = _Chebyshev.apply((a - middle[:, None]) / half[:, None], count).to(dtype)  # (C, order, modes)
            found = (coefficients.to(dtype) @ basis).unflatten(1, (len(weights), 2))
            return found.permute(1, 2, 0, 3).unflatten(3, matrix.shape[3:])  # (F, 2, C, H, M)
        count *= 2
    return None


class _Chebyshev(torch.autograd.Function):
    """T_n(x) of numbers (C, …) for n below `count`: (C, count, …); the derivative is n U_{n−1}(x)."""

    @staticmethod
    def forward(ctx, x, count):
        ctx.save_for_backward(x)
        ctx.count = count
        return torch.stack(_recurred(x, torch.ones_like(x), x, count), 1)

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        second = _recurred(x, torch.ones_like(x), 2 * x, ctx.count - 1)  # U_0, U_1, …
        found = torch.zeros_like(x)
        for n, u in enumerate(second, start=1):
            found.addcmul_(grad[:, n], u, value=n)
        return found, None


def _recurred(x, first, second, count):
    """p_0, p_1, … of p_{n+1} = 2x p_n − p_{n−1}."""
    found = [first, second]
    while len(found) < count:
        found.append(torch.addcmul(-found[-2], x, found[-1], value=2))
    return found[:count]


def scan(y0, z0, matrix, entry, drive, steps, readout, return_sequence, dt=None):
    """(output, y, z) as `sheet_scan` returns them, from the matrices of `step_of` in double precision.

    With `dt`, and channels that do not mix, a readout is interpolated from nodes where that is less work.
    """
    if drive is not None:
        return _driven(y0, z0, matrix, entry, drive, steps, readout, return_sequence)
    algebra = (_Mixing if matrix.dim() == 4 else _Apart)(matrix)
    state = [None if t is None else torch.fft.rfft2(t) for t in (y0, z0)]

    def applied(rows):
        rows = rows.to(state[0].dtype if rows.is_complex() else y0.dtype)
        return algebra.applied(rows, state, y0.shape[-2:])

    def found(weights):
        interpolable = dt is not None and matrix.dim() == 5 and not (torch.compiler.is_compiling() or transformed())
        rows = responses_by_nodes(algebra, weights, y0.dtype, dt) if interpolable else None
        return responses(algebra, weights, y0.dtype) if rows is None else rows

    y, z = applied(algebra.halves(power(algebra, steps)))
    if isinstance(readout, str) and readout == "last":
        return y.clone(), y, z
    if readout is None and not return_sequence:
        return None, y, z
    if isinstance(readout, torch.Tensor):
        return applied(found(readout)), y, z
    if readout == "mean":
        return applied(found(y0.new_full((1, steps), 1 / steps)))[0], y, z
    output = applied(outcomes(algebra, steps))
    return output.max(0).values if readout == "max" else output, y, z


def _driven(y0, z0, matrix, entry, drive, steps, readout, return_sequence):
    """With an input per step: an associative scan, wavenumber by wavenumber."""
    mixing, size, channels = matrix.dim() == 4, y0.shape[-2:], y0.shape[1]
    wide = torch.complex128

    def by_mode(tensor):
        """The transform of (…, B, C, H, W) as (…, modes, C, B), or (…, modes · C, 1, B)."""
        modes = torch.fft.rfft2(tensor.double()).movedim(-4, -1)  # (…, C, H, M, B)
        modes = modes.movedim(-4, -2) if mixing else modes.movedim(-4, -2)[..., None, :]
        return modes.flatten(-5 if not mixing else -4, -3)

    z0 = torch.zeros_like(y0) if z0 is None else z0
    start = torch.cat([by_mode(y0), by_mode(z0)], -2)
    flat = matrix.to(wide).flatten(0, -3)
    forces = by_mode(drive)  # (T, modes, m/2, B)
    entry = entry.to(wide) if mixing else entry.to(wide).repeat(len(flat) // len(entry), 1, 1)
    forces = entry @ forces
    states = prefix(flat, torch.cat([forces[:1] + flat @ start, forces[1:]]))

    def in_space(half):
        """Back to (…, B, C, H, W)."""
        modes = half.unflatten(-3, (size[0], size[1] // 2 + 1, *(() if mixing else (channels,))))
        modes = modes if mixing else modes.squeeze(-2)
        return torch.fft.irfft2(modes.movedim((-1, -2), (-4, -3)), s=size).to(y0.dtype)

    half = matrix.shape[-1] // 2
    y, z = in_space(states[-1, :, :half]), in_space(states[-1, :, half:])
    after = states[:, :, :half]
    if isinstance(readout, torch.Tensor):
        return in_space(torch.tensordot(readout.to(wide), after, 1)), y, z
    if readout == "mean":
        return in_space(after.mean(0)), y, z
    if readout == "last":
        return y.clone(), y, z
    if readout is None and not return_sequence:
        return None, y, z
    sequence = in_space(after)
    return sequence.max(0).values if readout == "max" else sequence, y, z
