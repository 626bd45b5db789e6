"""The linear sheet without a loop over time.

With σ the identity, periodic edges, and ω and α the same in all places, the Fourier modes of the sheet do not know of
each other. With ŷ, ẑ the transforms, A = diag(ω) − Ŵ(k), κ what a step keeps of ẑ (1 − dt α, or 1/(1 + dt α) with the
damping implicit) and g = dt (or dt κ),

    s[t+1] = M s[t] + N x̂[t],    s = (ŷ, ẑ),    M = [ 1 − dt g A   dt κ ]    N = [ dt g ]
                                                    [    − g A        κ ]        [  g   ]

Hence ŷ[t] = E[t] s[0] with E[t] the upper half of Mᵗ, and a readout over time is a convolution of the whole sheet with
F kernels, Σ_t R[f, t] E[t]. All E[t] follow by doubling, E[t + n] = E[t] Mⁿ, in log₂ T products: polynomials of A, whose
gradient is smooth also where eigenvalues coincide. They do not depend on the samples, whose transforms are the cost,
whatever T. An input per step takes an associative scan (`recurrence.parallel`).

Matrices are (…, m, m) over modes: (height, width//2 + 1) of them with m = 2C, or, of channels that do not mix,
(height, width//2 + 1, C) with m = 2. Powers are taken in double precision.
"""

from __future__ import annotations

import torch

from wavefield_torch.recurrence.parallel import prefix


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
    kept = 1 / (1 + dt * damping) if scheme == "damping-implicit" else 1 - dt * damping
    gain = dt * kept if scheme == "damping-implicit" else torch.full_like(kept, dt)
    pulled = gain[..., None] * pull
    one, kept, gain = (torch.diag_embed(d).expand(pull.shape) for d in (torch.ones_like(kept), kept, gain))
    upper = torch.cat([one - dt * pulled, (dt * kept).to(pulled.dtype)], -1)
    lower = torch.cat([-pulled, kept.to(pulled.dtype)], -1)
    first = gain[(0,) * (gain.dim() - damping.dim() - 1)]  # the same for all modes
    return torch.cat([upper, lower], -2), torch.cat([dt * first, first], -2)


def outcomes(matrix, steps):
    """E[1..T], the upper halves of the powers of M (…, m, m): (…, T, m/2, m)."""
    half = matrix.shape[-1] // 2
    rows, power, count = matrix[..., :half, :], matrix, 1
    while count < steps:
        more = min(count, steps - count)
        rows = torch.cat([rows, rows[..., : more * half, :] @ power], -2)
        count += more
        if count < steps:
            power = power @ power
    return rows.unflatten(-2, (steps, half))


def scan(y0, z0, matrix, entry, drive, steps, readout, return_sequence):
    """(output, y, z) as `sheet_scan` returns them, from the matrices of `step_of` in double precision."""
    mixing = matrix.dim() == 4
    if drive is not None:
        return _driven(y0, z0, matrix, entry, drive, steps, readout, return_sequence)
    state = [None if t is None else torch.fft.rfft2(t) for t in (y0, z0)]
    size, dtype = y0.shape[-2:], state[0].dtype

    def applied(response):
        """irfft2 of a response (F, modes, m/2, m) to the first state: (F, B, C, H, W)."""
        response = response.to(dtype if mixing else y0.dtype)
        if not mixing:  # (F, H, M, C, 1, 2)
            to_y, to_z = response[..., 0, 0], response[..., 0, 1]
            parts = [part.movedim(-1, 1)[:, None] for part in (to_y, to_z)]  # (F, 1, C, H, M)
            found = sum(part * now for part, now in zip(parts, state, strict=True) if now is not None)
        else:
            channels = y0.shape[1]
            parts = response[..., :channels], response[..., channels:]
            found = sum(
                torch.einsum("fyxoi,biyx->fboyx", part, now)
                for part, now in zip(parts, state, strict=True)
                if now is not None
            )
        return torch.fft.irfft2(found, s=size)

    half = matrix.shape[-1] // 2
    last = torch.linalg.matrix_power(matrix, steps)
    y, z = applied(torch.stack([last[..., :half, :], last[..., half:, :]]))
    if isinstance(readout, str) and readout == "last":
        return y.clone(), y, z
    if readout is None and not return_sequence:
        return None, y, z
    after = outcomes(matrix, steps)  # (…, T, m/2, m)
    if isinstance(readout, torch.Tensor):
        output = applied(torch.tensordot(readout.to(after.dtype), after, ([1], [after.dim() - 3])))
    elif readout == "mean":
        output = applied(after.mean(-3)[None])[0]
    else:
        output = applied(after.movedim(-3, 0))
        output = output.max(0).values if readout == "max" else output
    return output, y, z


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
