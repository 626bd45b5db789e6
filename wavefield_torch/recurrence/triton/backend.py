"""The wave recurrence on a GPU: a backend of `wave_scan` made of the kernels in `kernels`.

Launches do not depend on the number of steps, unless the drive of many inputs is projected in pieces or the backward
computes segments again. The weight gradients are sums of parts in a fixed order: the same numbers give the same bits.

Products are IEEE float32 (or float64) unless another precision is given: "tf32x3" (three products on tensor cores,
about float32) or "tf32" (10 bits of mantissa: a shift repeated a thousand times drifts). The products around the loop
are PyTorch's and follow ``torch.backends.cuda.matmul.allow_tf32``, which is off unless a user sets it. Triton is
imported here and in the kernels only, and these only when they are asked for.
"""

from __future__ import annotations

import math
from contextlib import nullcontext
from functools import partial
from itertools import pairwise

import torch
import triton

from wavefield_torch.recurrence.triton.kernels import adjoint_kernel, forward_kernel, weight_kernel

# One program keeps K taps of (CP, CP) and a few (CP, TILE) blocks in registers: CP · TILE up to 4096 fits without
# spills; more than 32 channels take half of that, and a few hundred bytes of stack.
_BLOCK = 4096
_LARGEST_CHANNELS = 64
_LARGEST_KERNEL = 7
_IN_LOOP_INPUTS = 16  # this many inputs, or more, are projected by a product of matrices before the loop
_PROJECTED_BYTES = 2**28  # size of a piece of projected drive
_PARTS = 512  # programs of the weight kernel; fixed, not read from the device, so that sums keep their order


def refusal(device: str, channels: int, taps: int) -> str | None:
    """Say why the kernels cannot run with so many channels and taps on such a device, or None where they can."""
    if device != "cuda" and not triton.knobs.runtime.interpret:
        return f"Triton runs on GPUs; x is on {device}"
    if channels > _LARGEST_CHANNELS:
        return f"the kernels keep the weights of at most {_LARGEST_CHANNELS} channels in registers, got {channels}"
    if taps > _LARGEST_KERNEL:
        return f"the kernels keep at most {_LARGEST_KERNEL} taps in registers, got {taps}"
    return None


def saved_shape(x, encoder, kernel, checkpoint_every):
    """Shape of what `forward` keeps: every state, the state before each segment but the first, or nothing."""
    steps, batch = x.shape[:2]
    state = (batch, *encoder.shape[:2])
    if checkpoint_every == 0:
        return (0, *state)
    return (steps if checkpoint_every == 1 else math.ceil(steps / checkpoint_every) - 1, *state)


def forward(
    inputs, lengths, resets, nonlinearity, return_sequence, batch_first, checkpoint_every, precision="ieee"
):  # fmt: skip
    """All states (T, B, C, N), (B, T, C, N) if `batch_first`, or none; the last (B, C, N); those of `saved_shape`."""
    x, encoder, kernel, bias, h0 = inputs
    run = partial(_states, encoder=encoder, kernel=kernel, bias=bias, nonlinearity=nonlinearity, precision=precision)
    saved = x.new_empty(saved_shape(x, encoder, kernel, checkpoint_every))
    nothing = x.new_empty(0)
    if return_sequence or checkpoint_every == 1:
        states = run(x, h0, keep=True)
        last = states[-1].clone()
        if not return_sequence:
            return nothing, last, states
        ordered = states.transpose(0, 1).contiguous() if batch_first else states
        if checkpoint_every == 1:  # what is kept shares no memory with what is returned
            return ordered, last, states if batch_first else states.clone()
        if checkpoint_every:
            saved.copy_(states[checkpoint_every - 1 : -1 : checkpoint_every])
        return ordered, last, saved
    h = h0
    for segment, start in enumerate(range(0, len(x), checkpoint_every or len(x))):
        if segment:
            saved[segment - 1] = h
        h = run(x[start : start + (checkpoint_every or len(x))], h, keep=False)
    return nothing, h, saved


def backward(
    grad_states, grad_last, saved, inputs, lengths, resets, nonlinearity, batch_first, checkpoint_every, needs,
    precision="ieee",
):  # fmt: skip
    """Gradients of (x, encoder, kernel, bias, h0), None where not needed."""
    x, encoder, kernel, bias, h0 = inputs
    adjoint = partial(
        _gradients, encoder=encoder, kernel=kernel, needs=needs, nonlinearity=nonlinearity, precision=precision
    )
    if grad_states is not None and batch_first:
        grad_states = grad_states.transpose(0, 1)
    if checkpoint_every == 1:
        return adjoint(grad_states, grad_last, saved, x, h0)
    run = partial(_states, encoder=encoder, kernel=kernel, bias=bias, nonlinearity=nonlinearity, precision=precision)
    grad_x, total = [], [None, None, None]
    for segment in reversed(range(len(saved) + 1)):
        part = slice(segment * checkpoint_every, (segment + 1) * checkpoint_every)
        piece, given = x[part], None if grad_states is None else grad_states[part]
        start = saved[segment - 1] if segment else h0
        found = adjoint(given, grad_last, run(piece, start, keep=True), piece, start, needs=[*needs[:4], True])
        grad_x.insert(0, found[0])
        if any(needs[1:4]):
            total = [a if t is None else t + a for t, a in zip(total, found[1:4], strict=True)]
        grad_last = found[4]
    return torch.cat(grad_x) if needs[0] else None, *total, grad_last


# ---- what the kernels are given ------------------------------------------------------------------------------------


def loop_blocks(channels: int, size: int) -> dict[str, int]:
    """Padded channels CP, positions of a tile TILE, and warps, of the kernels with a loop over time."""
    padded = max(16, triton.next_power_of_2(channels))
    block = _BLOCK if padded <= 32 else _BLOCK // 2
    tile = max(16, min(triton.next_power_of_2(size), block // padded))
    return {"CP": padded, "TILE": tile, "num_warps": 8 if padded * tile > _BLOCK // 2 or padded > 32 else 4}


def weight_blocks(channels: int, size: int, inputs: int) -> dict[str, int]:
    """The same of the weight kernel, with IP, the padded inputs and bias, and whether it sums their gradients."""
    padded = max(16, triton.next_power_of_2(channels))
    few = inputs < _IN_LOOP_INPUTS
    return {
        "CP": padded,
        "TILE": max(16, min(triton.next_power_of_2(size), 1024 // padded)),
        "IP": triton.next_power_of_2(inputs + 1) if few else 1,
        "INPUTS": few,
        "num_warps": 8,
    }


def _states(x, h0, *, encoder, kernel, bias, nonlinearity, precision, keep):
    """All states (T, B, C, N) where they are to be kept, else the last, with two in memory at a time."""
    (steps, batch, inputs), (channels, size, _) = x.shape, encoder.shape
    slots = steps if keep else min(2, steps)
    states = x.new_empty(slots, batch, channels, size)
    if states.numel() == 0:
        return states if keep else h0.clone()
    kernel, bias, previous = kernel.contiguous(), bias.contiguous(), h0.contiguous()
    by_input = encoder.permute(2, 0, 1).contiguous()  # (I, C, N)
    sizes = {"I": inputs, "C": channels, "N": size, "K": kernel.shape[2], **loop_blocks(channels, size)}
    for start, piece, projected in _drives(x, by_input, bias):
        into = states[start:] if keep else torch.empty_like(states)
        turn = len(piece) if keep else slots
        strides = (piece.stride(0) // (channels * size), min(piece.stride(1), 1)) if projected else (0, 0)
        launch(
            forward_kernel, (batch,), piece, by_input, bias, kernel, previous, into,
            len(piece), batch, turn, *strides,
            PROJECTED=projected, NONLINEARITY=nonlinearity, PRECISION=precision, **sizes,
        )  # fmt: skip
        previous = into[(len(piece) - 1) % turn]
    return states if keep else previous.clone()


def _gradients(grad, grad_last, states, x, h0, *, encoder, kernel, needs, nonlinearity, precision):
    """Gradients from those of the sequence (T, B, C, N) or of its last state (B, C, N), in the order of `backward`."""
    (steps, batch, inputs), (channels, size, _) = x.shape, encoder.shape
    if states.numel() == 0:
        like = (x, encoder, kernel, encoder.sum(2), h0)
        return [torch.zeros_like(a) if n else None for a, n in zip(like, needs, strict=True)]
    x, kernel, h0, states = x.contiguous(), kernel.contiguous(), h0.contiguous(), states.contiguous()
    delta, grad_h0 = torch.empty_like(states), torch.empty_like(h0)
    launch(
        adjoint_kernel, (batch,), states,
        states if grad is None else grad.contiguous(), h0 if grad_last is None else grad_last.contiguous(),
        kernel, delta, grad_h0, steps, batch,
        C=channels, N=size, K=kernel.shape[2], SEQUENCE=grad is not None, LAST=grad_last is not None,
        NONLINEARITY=nonlinearity, PRECISION=precision, **loop_blocks(channels, size),
    )  # fmt: skip
    flat = delta.view(steps * batch, channels * size)
    grad_x = (flat @ encoder.reshape(channels * size, inputs)).view_as(x) if needs[0] else None
    weights = _weight_gradients(x, h0, states, delta, kernel, precision) if any(needs[1:4]) else (None, None, None)
    return grad_x, *weights, grad_h0


def _weight_gradients(x, h0, states, delta, kernel, precision):
    """Gradients of encoder, kernel and bias, each the sum of parts in a fixed order."""
    (steps, batch, inputs), (channels, size) = x.shape, h0.shape[1:]
    blocks = weight_blocks(channels, size, inputs)
    rows, tiles = steps * batch, math.ceil(size / blocks["TILE"])
    per_program = math.ceil(rows / max(1, _PARTS // tiles))
    parts = math.ceil(rows / per_program)
    by_tap = x.new_empty(parts * tiles, kernel.shape[2], channels, channels)
    by_input = x.new_empty(parts if blocks["INPUTS"] else 0, inputs + 1, channels, size)
    launch(
        weight_kernel, (tiles, parts), x, h0, states, delta, by_tap, by_input, rows, batch, per_program,
        I=inputs, C=channels, N=size, K=kernel.shape[2], PRECISION=precision, **blocks,
    )  # fmt: skip
    by_input = by_input.sum(0) if blocks["INPUTS"] else _input_products(x, delta)
    return (
        by_input[:-1].permute(1, 2, 0).contiguous(),
        by_tap.sum(0).permute(1, 2, 0).contiguous(),
        by_input[-1].clone(),
    )


def _drives(x, by_input, bias):
    """Yield (first step, tensor, projected): x itself for few inputs, else pieces of the drive V x + b, (t, B, C, N).

    A stretch of x that is the same for the whole batch (noise padding, a shared clock) is projected once.
    """
    batch, inputs, shape = x.shape[1], x.shape[2], by_input.shape[1:]
    if inputs < _IN_LOOP_INPUTS:
        yield 0, x.contiguous(), False
        return
    matrix, offset = by_input.flatten(1), bias.flatten()
    longest = max(1, _PROJECTED_BYTES // (batch * offset.numel() * offset.element_size()))
    for start, stop, shared in _stretches(x):
        if shared:
            drive = torch.addmm(offset, x[start:stop, 0], matrix).view(stop - start, 1, *shape)
            yield start, drive.expand(-1, batch, *shape), True
            continue
        for at in range(start, stop, longest):
            piece = x[at : min(at + longest, stop)]
            drive = torch.addmm(offset, piece.reshape(-1, inputs), matrix)
            yield at, drive.view(len(piece), batch, *shape), True


def _stretches(x):
    """Split the steps of x into runs that differ between samples and runs that do not: [(start, stop, shared)].

    It waits for the GPU once; where a CUDA graph is being captured it may not, and takes all steps as different.
    """
    if x.shape[1] == 1 or (x.is_cuda and torch.cuda.is_current_stream_capturing()):
        return [(0, len(x), False)]
    shared = (x == x[:, :1]).flatten(1).all(1).tolist()
    edges = [0, *(t for t in range(1, len(x)) if shared[t] != shared[t - 1]), len(x)]
    return [(a, b, shared[a]) for a, b in pairwise(edges)]


def _input_products(x, delta):
    """Return ∂V over ∂b, shape (I + 1, C, N), as products over (t, s); over t alone where the batch shares x."""
    total = x.new_zeros(x.shape[2] + 1, delta[0, 0].numel())
    for start, stop, shared in _stretches(x):
        if shared:
            inputs, outputs = x[start:stop, 0], delta[start:stop].sum(1)
        else:
            inputs, outputs = x[start:stop].flatten(0, 1), delta[start:stop].flatten(0, 1)
        inputs = torch.cat([inputs, inputs.new_ones(len(inputs), 1)], dim=1)
        total += inputs.T @ outputs.flatten(1)
    return total.view(-1, *delta.shape[2:])


def launch(kernel, grid, *arguments, num_warps, **constants):
    # Contracting a·b + c to one rounding is asked for by name, as Triton is about to change its default.
    device = arguments[0].device
    with torch.cuda.device(device) if device.type == "cuda" else nullcontext():
        kernel[grid](*arguments, num_warps=num_warps, num_stages=1, enable_fp_fusion=True, **constants)
