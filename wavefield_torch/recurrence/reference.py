"""The recurrence in plain PyTorch: any device, differentiable any number of times; the definition of correct.

    h[t+1] = σ(u ⋆ h[t] + V x[t] + b),    (u ⋆ h)[o, n] = Σ_{i,k} u[o, i, k] h[i, (n + k − K//2) mod N]

Every other backend is tested against this one. It alone has a leak α and noise ξ:

    h[t+1] = (1 − α) h[t] + α σ(u ⋆ h[t] + V x[t] + b + ξ[t])
"""

import torch
from torch.nn import functional

NONLINEARITIES = {"relu": torch.relu, "tanh": torch.tanh, "identity": lambda h: h}


def wrapped(h, reach):
    """The ring (..., N) with `reach` neighbours from the other side at each end: (..., N + 2·reach)."""
    size = h.shape[-1]
    if reach <= size:
        return torch.cat([h.narrow(-1, size - reach, reach), h, h.narrow(-1, 0, reach)], -1) if reach else h
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
    lengths=None, resets=None, leak=1.0, noise=None,
):  # fmt: skip
    """States h[1..T] (T, B, C, N), or None, and the last (B, C, N), step by step.

    A sample of another length (B,) keeps its last state, and its states after it are 0; a step that is reset (T, B)
    starts from 0. `noise` is (T, B, C, N).
    """
    activation, matrix = NONLINEARITIES[nonlinearity], encoder.flatten(0, 1).t()  # (I, C·N)
    if lengths is not None:
        running = (torch.arange(len(x), device=x.device)[:, None] < lengths)[..., None, None]  # (T, B, 1, 1)
        x = x.where(running[..., 0], 0)
    h, states = h0, []
    for t, x_t in enumerate(x):
        before = h if resets is None else h.masked_fill(resets[t, :, None, None], 0)
        drive = (x_t @ matrix).view(h.shape) + bias
        if noise is not None:
            drive = drive + noise[t]
        after = activation(convolve(before, kernel, boundary, boundary_row) + drive)
        if leak != 1:
            after = torch.lerp(before, after, leak)
        h = after if lengths is None else after.where(running[t], h)
        if return_sequence:
            states.append(after if lengths is None else after.where(running[t], 0))
    last = h.clone() if h.requires_grad else h  # autograd keeps what an activation returns
    return torch.stack(states) if return_sequence else None, last


def scan_as_loop(x, encoder, kernel, bias, h0, nonlinearity, boundary, boundary_row, leak, noise):
    """The same, (states, last), as one loop of the program that is exported, for sequences of any length; no gradients.

    `torch.onnx.export` makes a Scan of it, where `scan` would be unrolled.
    """
    from torch._higher_order_ops.scan import scan as loop  # brings PyTorch's compiler

    x, encoder, kernel, bias, h0 = (t.detach() for t in (x, encoder, kernel, bias, h0))
    row = None if boundary_row is None else boundary_row.detach()
    drive = (x @ encoder.flatten(0, 1).t()).view(x.shape[0], *h0.shape) + bias
    drive = drive if noise is None else drive + noise

    def after(h, entering):
        moved = convolve(h, kernel, boundary, row).reshape(h.shape)  # which is not inferred
        new = NONLINEARITIES[nonlinearity](moved + entering)
        new = new if leak == 1 else h + leak * (new - h)
        return new, new.clone()

    last, states = loop(after, h0.clone(), drive)
    return states, last


def step(x, encoder, kernel, bias, h, nonlinearity):
    """The state (B, C, N) after one step on rings, for x (B, I) and h (B, C, N), in as few operations as there can be.

    Nothing that autograd keeps is returned.
    """
    channels, size, _ = encoder.shape
    moved = functional.conv1d(wrapped(h, kernel.shape[-1] // 2), kernel)
    moved = (moved if bias is None else moved + bias).view(-1, channels * size)
    after = torch.addmm(moved, x, encoder.flatten(0, 1).t()).view(-1, channels, size)
    if nonlinearity == "relu":
        return torch.threshold(after, 0, 0)  # as relu in value and gradient, which is kept by its argument
    after = NONLINEARITIES[nonlinearity](after)
    return after.clone() if nonlinearity == "tanh" and after.requires_grad else after
