"""The wave recurrence as Triton kernels: one program per sample, the loop over time inside.

Layout. Activities and their gradients are (T, B, C, N), contiguous: program s owns rows t·B + s, each a (C, N) block.
Blocks are padded in registers, never in memory: C to CP, a power of two of at least 16 (`tl.dot` needs it), N to tiles
of TILE positions.

    forward     h[t] = σ( Σ_k U[:, :, k] @ h[t−1] shifted by k − K//2  +  V x[t] + b )
                per step: K shifted reads of h[t−1], one write of h[t], a barrier. h[t] is written to its output slot
                (the backward needs it there) and read back from the cache: a register has no neighbours to shift from.
    adjoint     δ[t] = ( ∂h[t] + Σ_k U[:, :, k]ᵀ @ δ[t+1] shifted back ) · σ'(h[t]),  the same loop run backwards;
                one more turn, without the slope, leaves the gradient of h0.
    weights     ∂U, ∂V, ∂b follow from δ and h after the loop, as large products over (t, s, n): no accumulator has to
                survive the loop over time (they are what spilled), and every program sums its own rows in order.

σ' is read off the activity: h > 0 (relu), 1 − h² (tanh), 1 (identity). PRECISION is that of `tl.dot`. The loops over
time must not be pipelined (num_stages=1): that would fetch h[t] for the next step before it has been written.
"""

# ruff: noqa: RUF005 - tuples of blocks grow by + inside a Triton function

import triton
import triton.language as tl


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
        taps = taps + (tl.load(U + (out * C + into) * K + k, mask=here, other=0.0),)
    return taps


@triton.jit
def _shifted(row, c, n, offset, C: tl.constexpr, N: tl.constexpr, K: tl.constexpr):
    """The block (CP, TILE) of a (C, N) row at positions n + offset of the ring, |offset| ≤ K//2."""
    return tl.load(row + c * N + (n + offset + K * N) % N, mask=(c < C) & (n < N), other=0.0)


@triton.jit
def _convolved(
    acc, taps, row, c, n, C: tl.constexpr, N: tl.constexpr, K: tl.constexpr, SIGN: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    """acc + Σ_k taps[k] @ row shifted by SIGN·(k − K//2)."""
    for k in tl.static_range(K):
        h = _shifted(row, c, n, SIGN * (k - K // 2), C, N, K)
        acc = tl.dot(taps[k], h, acc, input_precision=PRECISION, out_dtype=acc.dtype)
    return acc


@triton.jit(do_not_specialize=["T", "B", "slots", "drive_t", "drive_s"])
def forward_kernel(
    x, V, bias, U, h0, H, T, B, slots, drive_t, drive_s,
    I: tl.constexpr, C: tl.constexpr, N: tl.constexpr, K: tl.constexpr, CP: tl.constexpr, TILE: tl.constexpr,
    PROJECTED: tl.constexpr, NONLINEARITY: tl.constexpr, PRECISION: tl.constexpr,
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
            acc = _convolved(acc, taps, previous, c, n, C, N, K, 1, PRECISION)
            tl.store(row + c * N + n, _activation(acc, NONLINEARITY), mask=here)
        tl.debug_barrier()
        previous = row


@triton.jit(do_not_specialize=["T", "B"])
def adjoint_kernel(
    H, grad, grad_last, U, delta, grad_h0, T, B,
    C: tl.constexpr, N: tl.constexpr, K: tl.constexpr, CP: tl.constexpr, TILE: tl.constexpr,
    SEQUENCE: tl.constexpr, LAST: tl.constexpr, NONLINEARITY: tl.constexpr, PRECISION: tl.constexpr,
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
                acc = _convolved(acc, taps, later, c, n, C, N, K, -1, PRECISION)
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
    TILE: tl.constexpr, INPUTS: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Partial ∂U (K, C, C) and, where INPUTS, ∂V with ∂b as its last row (I + 1, C, N), over one range of rows t·B + s
    and one tile of positions. Row r of `delta` met row r − B of `H`, or row r of `h0` in the first step."""
    tile, part = tl.program_id(0), tl.program_id(1)
    c = tl.arange(0, CP)[:, None]
    n = tile * TILE + tl.arange(0, TILE)[None, :]
    here = (c < C) & (n < N)
    grads = ()
    for _ in tl.static_range(K):
        grads = grads + (tl.zeros((CP, CP), delta.dtype.element_ty),)
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
            h = _shifted(before, c, n, k - K // 2, C, N, K)
            grad = tl.dot(d, tl.trans(h), grads[k], input_precision=PRECISION, out_dtype=d.dtype)
            added = added + (grad,)
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
