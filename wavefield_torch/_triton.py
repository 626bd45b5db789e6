"""The wave recurrence on a GPU: Triton kernels with the loop over time inside, one program per sample.

Layout. Activities and their gradients are (T, B, C, N), contiguous: program s owns rows t·B + s, each a (C, N) block.
Blocks are padded in registers, never in memory: C to a power of two of at least 16 (`tl.dot` needs it), N to tiles of
`TILE` positions.

    forward     h[t] = σ( Σ_k U[:, :, k] @ h[t−1] shifted by k − K//2  +  V x[t] + b )
                per step: K shifted reads of h[t−1], one write of h[t], a barrier. h[t] is written to its output slot
                (the backward needs it there) and read back from the cache: a register has no neighbours to shift from.
    adjoint     δ[t] = ( ∂h[t] + Σ_k U[:, :, k]ᵀ @ δ[t+1] shifted back ) · σ'(h[t]),  the same loop run backwards;
                one more turn, without the slope, leaves the gradient of h0.
    weights     ∂U, ∂V, ∂b follow from δ and h after the loop, as large products over (t, s, n): no accumulator has to
                survive the loop over time (they are what spilled), and every program sums its own rows in order; the
                partial sums are added in a fixed order, so that the same numbers give the same bits.

σ' is read off the activity: h > 0 (relu), 1 − h² (tanh), 1 (identity). Products are IEEE float32 (or float64) unless
`precision` says otherwise: "tf32x3" (three tensor-core products, about float32), "tf32" (10 bits of mantissa: a shift
repeated a thousand times drifts). Triton is imported here and nowhere else, and this module only when it is asked for.
"""

from __future__ import annotations

import math
from contextlib import nullcontext
from itertools import pairwise

import torch
import triton
import triton.language as tl

PRECISIONS = ("ieee", "tf32x3", "tf32")

# One program keeps K taps of (CP, CP) and a few (CP, TILE) blocks in registers: CP · TILE up to 4096 fits without
# spills. Pipelining is off in the loops over time: it would fetch h[t] for the next step before it has been written.
_BLOCK = 4096
# More than 32 channels take half of it and a few hundred bytes of stack.
_LARGEST_CHANNELS = 64
_IN_LOOP_INPUTS = 16  # more inputs than this are projected by a product before the loop
_IN_LOOP_WEIGHTS = 16  # fewer inputs than this have their gradient summed by the weight kernel, in registers
_PROJECTED_BYTES = 2**28  # size of a piece of projected drive
_PARTIALS = 512  # programs of the weight kernel: fixed, not read from the device, so that sums keep their order


# ---- kernels -------------------------------------------------------------------------------------------------------


@triton.jit
def _activation(a, NONLINEARITY: tl.constexpr):
    if NONLINEARITY == "relu":
        a = tl.where(a <= 0, 0.0, a)  # NaN stays NaN
    if NONLINEARITY == "tanh":
        e = tl.exp(-2.0 * tl.abs(a))
        large = (1.0 - e) / (1.0 + e)
        s = a * a  # odd series below 0.1, where the quotient loses digits
        series = a * (1.0 + s * (-1 / 3 + s * (2 / 15 + s * (-17 / 315 + s * (62 / 2835)))))
        a = tl.where(tl.abs(a) < 0.1, series, tl.where(a < 0, -large, large))
    return a


@triton.jit
def _slope(h, NONLINEARITY: tl.constexpr):
    if NONLINEARITY == "relu":
        return tl.where(h > 0, 1.0, 0.0).to(h.dtype)
    if NONLINEARITY == "tanh":
        return 1.0 - h * h
    return tl.full(h.shape, 1.0, h.dtype)


@triton.jit
def _taps(U, C: tl.constexpr, K: tl.constexpr, CP: tl.constexpr, TRANSPOSED: tl.constexpr):
    """The K matrices (CP, CP) of a kernel (C, C, K), transposed for the adjoint."""
    row = tl.arange(0, CP)[:, None]
    column = tl.arange(0, CP)[None, :]
    here = (row < C) & (column < C)
    out = column if TRANSPOSED else row
    into = row if TRANSPOSED else column
    taps = ()
    for k in tl.static_range(K):
        taps = taps + (tl.load(U + (out * C + into) * K + k, mask=here, other=0.0),)  # noqa: RUF005 - a Triton tuple
    return taps


@triton.jit
def _shifted(row, c, n, offset, C: tl.constexpr, N: tl.constexpr, K: tl.constexpr, PERIODIC: tl.constexpr):
    """The block (CP, TILE) of a (C, N) row at positions n + offset, |offset| ≤ K//2: wrapped, or zero past the ends."""
    if PERIODIC:
        return tl.load(row + c * N + (n + offset + K * N) % N, mask=(c < C) & (n < N), other=0.0)
    m = n + offset
    return tl.load(row + c * N + m, mask=(c < C) & (n < N) & (m >= 0) & (m < N), other=0.0)


@triton.jit
def _convolved(
    acc, taps, row, c, n, C: tl.constexpr, N: tl.constexpr, K: tl.constexpr, SIGN: tl.constexpr,
    PERIODIC: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """acc + Σ_k taps[k] @ row shifted by SIGN·(k − K//2)."""
    for k in tl.static_range(K):
        h = _shifted(row, c, n, SIGN * (k - K // 2), C, N, K, PERIODIC)
        acc = tl.dot(taps[k], h, acc, input_precision=PRECISION, out_dtype=acc.dtype)
    return acc


@triton.jit(do_not_specialize=["T", "B", "slots", "drive_t", "drive_s"])
def forward_kernel(
    x, V, bias, U, h0, H, T, B, slots, drive_t, drive_s,
    I: tl.constexpr, C: tl.constexpr, N: tl.constexpr, K: tl.constexpr, CP: tl.constexpr, TILE: tl.constexpr,
    PROJECTED: tl.constexpr, PERIODIC: tl.constexpr, NONLINEARITY: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """h[0 … T−1] of one sample, h[t] into slot t mod `slots` of H (slots, B, C, N).

    The drive is Σ_i x[t, s, i] · V[i] + bias with V (I, C, N), or, where PROJECTED, row t·drive_t + s·drive_s of x
    (drive_s = 0 where the whole batch shares it). Zeros of x are skipped: a one-hot x is a gather.
    """
    s = tl.program_id(0).to(tl.int64)
    c = tl.arange(0, CP)[:, None]
    taps = _taps(U, C, K, CP, False)
    previous = h0 + s * C * N
    for t in range(T):
        row = H + (t % slots * B + s) * C * N
        for start in range(0, N, TILE):
            n = start + tl.arange(0, TILE)[None, :]
            here = (c < C) & (n < N)
            if PROJECTED:
                acc = tl.load(x + (t * drive_t + s * drive_s) * C * N + c * N + n, mask=here, other=0.0)
            else:
                acc = tl.load(bias + c * N + n, mask=here, other=0.0)
                for i in tl.static_range(I):
                    amount = tl.load(x + (t * B + s) * I + i)
                    wanted = tl.where(amount != 0, here, False)
                    acc += amount * tl.load(V + i * C * N + c * N + n, mask=wanted, other=0.0)
            acc = _convolved(acc, taps, previous, c, n, C, N, K, 1, PERIODIC, PRECISION)
            tl.store(row + c * N + n, _activation(acc, NONLINEARITY), mask=here)
        tl.debug_barrier()
        previous = row


@triton.jit(do_not_specialize=["T", "B"])
def adjoint_kernel(
    H, grad, grad_last, U, delta, grad_h0, T, B,
    C: tl.constexpr, N: tl.constexpr, K: tl.constexpr, CP: tl.constexpr, TILE: tl.constexpr,
    SEQUENCE: tl.constexpr, LAST: tl.constexpr,
    PERIODIC: tl.constexpr, NONLINEARITY: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """δ[T−1 … 0] of one sample and the gradient of its h0, from the gradients of the sequence and of the last state."""
    s = tl.program_id(0).to(tl.int64)
    c = tl.arange(0, CP)[:, None]
    taps = _taps(U, C, K, CP, True)
    later = delta + s * C * N
    for back in range(T + 1):  # t = T − 1, …, 0, and the turn for h0
        at = ((T - 1 - back) * B + s) * C * N
        for start in range(0, N, TILE):
            n = start + tl.arange(0, TILE)[None, :]
            here = (c < C) & (n < N)
            acc = tl.zeros((CP, TILE), H.dtype.element_ty)
            if back > 0:
                acc = _convolved(acc, taps, later, c, n, C, N, K, -1, PERIODIC, PRECISION)
            elif LAST:
                acc += tl.load(grad_last + s * C * N + c * N + n, mask=here, other=0.0)
            if back < T:
                if SEQUENCE:
                    acc += tl.load(grad + at + c * N + n, mask=here, other=0.0)
                h = tl.load(H + at + c * N + n, mask=here, other=0.0)
                tl.store(delta + at + c * N + n, acc * _slope(h, NONLINEARITY), mask=here)
            else:
                tl.store(grad_h0 + s * C * N + c * N + n, acc, mask=here)
        tl.debug_barrier()
        later = delta + at


@triton.jit(do_not_specialize=["rows", "B", "per_program"])
def weight_kernel(
    x, h0, H, delta, dU, dV, rows, B, per_program,
    I: tl.constexpr, C: tl.constexpr, N: tl.constexpr, K: tl.constexpr, CP: tl.constexpr, IP: tl.constexpr,
    TILE: tl.constexpr, INPUTS: tl.constexpr, PERIODIC: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Partial ∂U (K, C, C) and, where INPUTS, ∂V with ∂b as its last row (I + 1, C, N), over one range of rows t·B + s
    and one tile of positions. Row r of `delta` met row r − B of `H`, or row r of `h0` in the first step."""
    tile, part = tl.program_id(0), tl.program_id(1)
    c = tl.arange(0, CP)[:, None]
    n = tile * TILE + tl.arange(0, TILE)[None, :]
    here = (c < C) & (n < N)
    grads = ()
    for _ in tl.static_range(K):
        grads = grads + (tl.zeros((CP, CP), delta.dtype.element_ty),)  # noqa: RUF005 - a Triton tuple
    i = tl.arange(0, IP)
    drive = tl.zeros((IP, CP, TILE), delta.dtype.element_ty)
    first = part.to(tl.int64) * per_program
    for r in range(first, tl.minimum(first + per_program, rows)):
        at = r * C * N
        d = tl.load(delta + at + c * N + n, mask=here, other=0.0)
        before = H + at - B * C * N
        if r < B:
            before = h0 + at
        added = ()
        for k in tl.static_range(K):
            h = _shifted(before, c, n, k - K // 2, C, N, K, PERIODIC)
            grad = tl.dot(d, tl.trans(h), grads[k], input_precision=PRECISION, out_dtype=d.dtype)
            added = added + (grad,)  # noqa: RUF005 - a Triton tuple
        grads = added
        if INPUTS:
            amounts = tl.load(x + r * I + i, mask=i < I, other=0.0)
            amounts = tl.where(i == I, 1.0, amounts)  # the bias is an input that is always 1
            drive += amounts[:, None, None] * d[None, :, :]
    column = tl.arange(0, CP)[None, :]
    block = (part * tl.num_programs(0) + tile) * K
    for k in tl.static_range(K):
        into = dU + (block + k) * C * C + c * C + column
        tl.store(into, grads[k], mask=(c < C) & (column < C))
    if INPUTS:
        into = dV + (part * (I + 1) + i[:, None, None]) * C * N + c[None] * N + n[None]
        tl.store(into, drive, mask=(i[:, None, None] <= I) & here[None])


# ---- what the kernels are given ------------------------------------------------------------------------------------


def supports(*, channels: int, kernel_size: int, boundary: str, boundary_row, dtype: torch.dtype) -> str | None:
    """Return None where the kernels can run, else the reason why they cannot."""
    if dtype not in (torch.float32, torch.float64):
        return f"the Triton kernels compute in float32 and float64, not {dtype}"
    if boundary not in ("periodic", "open") or boundary_row is not None:
        return "the Triton kernels know rings and open lines without a boundary row"
    if channels > _LARGEST_CHANNELS:
        return f"the Triton kernels keep at most {_LARGEST_CHANNELS} channels in registers, not {channels}"
    if kernel_size > 7:
        return f"the Triton kernels keep at most 7 taps in registers, not {kernel_size}"
    return None


def block_shape(channels: int, size: int) -> dict[str, int]:
    """Padded channels CP, positions of a tile TILE, and warps, of the kernels with a loop over time."""
    padded = max(16, triton.next_power_of_2(channels))
    tile = max(16, min(triton.next_power_of_2(size), (_BLOCK if padded <= 32 else _BLOCK // 2) // padded))
    return {"CP": padded, "TILE": tile, "num_warps": 8 if padded * tile > _BLOCK // 2 or padded > 32 else 4}


def weight_shape(channels: int, size: int, inputs: int) -> dict[str, int]:
    """The same of the weight kernel, with IP, the padded inputs and bias, and whether it sums their gradients."""
    padded = max(16, triton.next_power_of_2(channels))
    tile = max(16, min(triton.next_power_of_2(size), 1024 // padded))
    return {
        "CP": padded,
        "TILE": tile,
        "IP": triton.next_power_of_2(inputs + 1) if inputs < _IN_LOOP_WEIGHTS else 1,
        "INPUTS": inputs < _IN_LOOP_WEIGHTS,
        "num_warps": 8,
    }


def forward(
    x, encoder, kernel, bias, h0, *, boundary="periodic", nonlinearity="relu", precision="ieee", return_sequence=True
):
    """Run the recurrence.

        h[t] = σ( u ⋆ h[t−1] + V x[t] + b )

    Parameters
    ----------
    x : tensor, shape (T, B, I)
    encoder, kernel, bias, h0 : tensors, shapes (C, N, I), (C, C, K), (C, N), (B, C, N)
    boundary : {"periodic", "open"}
    nonlinearity : {"relu", "tanh", "identity"}
    precision : {"ieee", "tf32x3", "tf32"}
    return_sequence : bool
        False keeps two states at a time instead of T.

    Returns
    -------
    tensor, shape (T, B, C, N), or (B, C, N), the last state, without the sequence
    """
    (steps, batch, inputs), (channels, size, _) = x.shape, encoder.shape
    slots = steps if return_sequence else min(2, steps)
    states = x.new_empty(slots, batch, channels, size)
    if batch == 0:
        return states if return_sequence else h0.clone()
    kernel, bias, previous = kernel.contiguous(), bias.contiguous(), h0.contiguous()
    sizes = {"I": inputs, "C": channels, "N": size, "K": kernel.shape[2], **block_shape(channels, size)}
    options = {"PERIODIC": boundary == "periodic", "NONLINEARITY": nonlinearity, "PRECISION": precision}
    by_input = encoder.permute(2, 0, 1).contiguous()  # (I, C, N)
    with _on(x.device):
        for start, piece, projected in _drives(x, by_input, bias):
            into = states[start:] if return_sequence else x.new_empty(slots, batch, channels, size)
            stride = (piece.stride(0) // (channels * size), min(piece.stride(1), 1)) if projected else (0, 0)
            _launch(
                forward_kernel, (batch,), piece, by_input, bias, kernel, previous, into,
                len(piece), batch, len(piece) if return_sequence else slots, *stride, PROJECTED=projected,
                **sizes, **options,
            )  # fmt: skip
            previous = into[(len(piece) - 1) % (len(piece) if return_sequence else slots)]
    return states if return_sequence else previous


def backward(
    grad,
    grad_last,
    states,
    x,
    encoder,
    kernel,
    h0,
    *,
    boundary="periodic",
    nonlinearity="relu",
    precision="ieee",
    needs_x=True,
):
    """Run the adjoint of `forward` and sum the gradients of its weights.

    Parameters
    ----------
    grad : tensor, shape (T, B, C, N), or None
        Gradient of the loss by the sequence of states.
    grad_last : tensor, shape (B, C, N), or None
        Gradient by the last state alone; both may be given.
    states : tensor, shape (T, B, C, N)
        What `forward` returned.
    needs_x : bool
        Whether the gradient of x is wanted.

    Returns
    -------
    tuple of tensors
        Gradients of x (or None), encoder, kernel, bias and h0, in the shapes of these.
    """
    (steps, batch, inputs), (channels, size, _), taps = x.shape, encoder.shape, kernel.shape[2]
    if batch == 0:
        return tuple(torch.zeros_like(a) for a in (x, encoder, kernel, encoder.sum(2), h0))
    x, kernel, h0, states = x.contiguous(), kernel.contiguous(), h0.contiguous(), states.contiguous()
    delta, grad_h0 = torch.empty_like(states), torch.empty_like(h0)
    options = {"PERIODIC": boundary == "periodic", "PRECISION": precision}
    shape = {"C": channels, "N": size, "K": taps}
    with _on(x.device):
        _launch(
            adjoint_kernel, (batch,), states,
            states if grad is None else grad.contiguous(), h0 if grad_last is None else grad_last.contiguous(),
            kernel, delta, grad_h0, steps, batch,
            SEQUENCE=grad is not None, LAST=grad_last is not None, NONLINEARITY=nonlinearity,
            **shape, **block_shape(channels, size), **options,
        )  # fmt: skip
        blocks = weight_shape(channels, size, inputs)
        rows, tiles = steps * batch, math.ceil(size / blocks["TILE"])
        per_program = math.ceil(rows / min(rows, max(1, _PARTIALS // tiles)))
        parts = math.ceil(rows / per_program)
        partial = x.new_empty(parts * tiles, taps, channels, channels)
        by_input = x.new_empty(parts if blocks["INPUTS"] else 0, inputs + 1, channels, size)
        _launch(
            weight_kernel, (tiles, parts), x, h0, states, delta, partial, by_input, rows, batch, per_program,
            I=inputs, **shape, **blocks, **options,
        )  # fmt: skip
    flat = delta.view(rows, channels * size)
    by_input = by_input.sum(0) if blocks["INPUTS"] else _input_products(x, delta)
    grad_x = (flat @ encoder.reshape(channels * size, inputs)).view_as(x) if needs_x else None
    grad_encoder = by_input[:-1].permute(1, 2, 0).contiguous()
    return grad_x, grad_encoder, partial.sum(0).permute(1, 2, 0).contiguous(), by_input[-1].contiguous(), grad_h0


def _drives(x, by_input, bias):
    """Yield (first step, tensor, projected): x itself for few inputs, else pieces of the drive V x + b, (t, B, C, N).

    A stretch of x that is the same for the whole batch (noise padding, a shared clock) is projected once.
    """
    batch, inputs, shape = x.shape[1], x.shape[2], by_input.shape[1:]
    if inputs <= _IN_LOOP_INPUTS:
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
    """Split the steps of x into runs that differ between samples and runs that do not: [(start, stop, shared)]."""
    shared = (x == x[:, :1]).flatten(1).all(1).tolist() if x.shape[1] > 1 else [False] * len(x)
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


def _launch(kernel, grid, *arguments, num_warps, **constants):
    # Contracting a·b + c to one rounding is asked for by name, as Triton is about to change its default.
    kernel[grid](*arguments, num_warps=num_warps, num_stages=1, enable_fp_fusion=True, **constants)


def _on(device):
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()
