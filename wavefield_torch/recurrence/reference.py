"""The recurrence in plain PyTorch: any device, differentiable any number of times; the definition of correct.

    h[t+1] = σ(u ⋆ h[t] + V x[t] + b),    (u ⋆ h)[o, n] = Σ_{i,k} u[o, i, k] h[i, (n + k − K//2) mod N]

Every other backend is tested against this one.
"""

import torch
from torch.nn import functional

NONLINEARITIES = {"relu": torch.relu, "tanh": torch.tanh, "identity": lambda h: h}


def wrapped(h, reach):
    """The ring (..., N) with `reach` neighbours from the other side at each end: (..., N + 2·reach)."""
    size = h.shape[-1]
    if reach <= size:
        return torch.cat([h[..., size - reach :], h, h[..., :reach]], -1) if reach else h
    turns = -(-reach // size)  # a kernel may reach around a short ring more than once
    around = torch.cat([h] * (2 * turns + 1), -1)
    start = turns * size - reach
    return around[..., start : start + size + 2 * reach]


def convolve(h, kernel, boundary="periodic", boundary_row=None):
    """u ⋆ h for h (B, C, N), on a ring or on an open line whose last unit may be driven by a row (C, C, N)."""
    reach = kernel.shape[-1] // 2
    if boundary == "periodic":
        return functional.conv1d(wrapped(h, reach), kernel)
    moved = functional.conv1d(h, kernel, padding=reach)
    if boundary_row is None:
        return moved
    driven = torch.einsum("oin,bin->bo", boundary_row, h)
    return torch.cat([moved[..., :-1], driven[..., None]], -1)


def scan(
    x, encoder, kernel, bias, h0, nonlinearity, return_sequence, boundary="periodic", boundary_row=None,
    lengths=None, resets=None,
):  # fmt: skip
    """States h[1..T] (T, B, C, N), or None, and the last (B, C, N), step by step.

    A sample of another length (B,) keeps its last state, and its states after it are 0; a step that is reset (T, B)
    starts from 0.
    """
    activation, matrix = NONLINEARITIES[nonlinearity], encoder.flatten(0, 1).t()  # (I, C·N)
    if lengths is not None:
        running = (torch.arange(len(x), device=x.device)[:, None] < lengths)[..., None, None]  # (T, B, 1, 1)
        x = x.where(running[..., 0], 0)
    h, states = h0, []
    for t, x_t in enumerate(x):
        before = h if resets is None else h.masked_fill(resets[t, :, None, None], 0)
        drive = (x_t @ matrix).view(h.shape) + bias
        after = activation(convolve(before, kernel, boundary, boundary_row) + drive)
        h = after if lengths is None else after.where(running[t], h)
        if return_sequence:
            states.append(after if lengths is None else after.where(running[t], 0))
    last = h.clone() if h.requires_grad else h  # autograd keeps what an activation returns
    return torch.stack(states) if return_sequence else None, last
