"""The linear wave network in parallel over time.

Without a nonlinearity the ring diagonalises: with ĥ the Fourier transform over positions, wavenumber by wavenumber

    ĥ[t+1] = A ĥ[t] + d[t],    A[o, i] = Σ_k u[o, i, k] e^{2πi m (k − K//2) / N}

with one C×C matrix A for each wavenumber m. That is an associative scan: neighbouring steps are paired
(A², A d[2j] + d[2j+1]), the half as long scan is solved the same way, and the steps between follow from it. Depth
O(log T), work O(T), exact up to rounding. (Blelloch, "Prefix sums and their applications", 1990.)
"""

import torch


def scan(x, encoder, kernel, bias, h0, return_sequence):
    """States h[1..T] (T, B, C, N), or the last, of h[t+1] = u ⋆ h[t] + V x[t] + b."""
    size = h0.shape[-1]
    matrix = symbol(kernel, size)  # (M, C, C), M = N//2 + 1 wavenumbers
    # the transform of V x is (transform of V) x, so that V x itself is never needed
    response = torch.fft.rfft(encoder, dim=1)  # (C, M, I)
    drive = torch.einsum("tbi,cmi->tmcb", x.to(response.dtype), response)
    drive = drive + torch.fft.rfft(bias).T[None, :, :, None]
    start = torch.fft.rfft(h0).permute(2, 1, 0)  # (M, C, B)
    drive = torch.cat([drive[:1] + matrix @ start, drive[1:]])
    states = prefix(matrix, drive)
    if not return_sequence:
        states = states[-1:]
    h = torch.fft.irfft(states.permute(0, 3, 2, 1), n=size)
    return h if return_sequence else h[0]


def symbol(kernel, size):
    """A (N//2 + 1, C, C) of a kernel (C, C, K) on a ring of N."""
    taps = torch.arange(kernel.shape[-1], device=kernel.device, dtype=kernel.dtype) - kernel.shape[-1] // 2
    wavenumbers = torch.arange(size // 2 + 1, device=kernel.device, dtype=kernel.dtype)
    phase = 2 * torch.pi / size * torch.outer(wavenumbers, taps)  # (M, K)
    return torch.einsum(
        "oik,mk->moi", kernel.to(torch.complex(phase, phase).dtype), torch.polar(torch.ones_like(phase), phase)
    )


def prefix(matrix, drive):
    """All s[t] = A s[t−1] + d[t], s[−1] = 0, for d (T, M, C, B)."""
    steps = drive.shape[0]
    if steps == 1:
        return drive
    odd = prefix(matrix @ matrix, matrix @ drive[: steps - 1 : 2] + drive[1::2])
    even = torch.cat([drive[:1], matrix @ odd[: (steps - 1) // 2] + drive[2::2]])
    states = drive.new_empty(drive.shape)
    states[1::2] = odd
    states[::2] = even
    return states
