"""The sheet as Triton kernels: a launch per step, one program per sample, block of channels and tile of cells.

Layout. States are (B, C, H, W), contiguous. Cells beyond an edge are looked up, never stored: of another side, none, or
the mirror image. A program holds an accumulator (CP, TILE), CP output channels and TILE cells of the sheet read row by
row; for each input channel and tap it loads the shifted cells (from the cache: each is read K² times) and CP weights.

    advance     z' = κ z + g (σ(W ⋆ y) − ω y + x),  y' = y + dt z';  or its inverse, z from z' and a y that is known
    reverse     the pointwise part of a step back, cell by cell
    convolve    adds Wᵀ ⋆ δ to the gradient of y

Cells depend on those of other programs one step before, so that a step is a launch: nothing waits inside a kernel, and
all launches of a pass can be captured as one CUDA graph. Numbers of the equation are compile-time constants, since
Triton would round a float argument to float32.
"""

import triton
import triton.language as tl

from wavefield_torch.recurrence.triton.kernels import _activation, _slope


@triton.jit
def _cell(place, SIZE: tl.constexpr, K: tl.constexpr, BOUNDARY: tl.constexpr):
    """Along one axis, the cell that stands at a place, which may lie beyond the edge; outside the sheet for none."""
    if BOUNDARY == "periodic":
        place = (place + K * SIZE) % SIZE
    if BOUNDARY == "free":
        turn: tl.constexpr = 2 * (SIZE - 1) if SIZE > 1 else 1
        place = SIZE - 1 - tl.abs((place + K * turn) % turn - (SIZE - 1))
    return place


@triton.jit
def _convolved(
    acc, source, kernel, o, row, column, C: tl.constexpr, H: tl.constexpr, W: tl.constexpr, K: tl.constexpr,
    BOUNDARY: tl.constexpr,
):  # fmt: skip
    """acc + Σ_{i,j,k} kernel[o, i, j, k] source[i, row + j − K//2, column + k − K//2]."""
    for j in tl.static_range(K):
        y = _cell(row + (j - K // 2), H, K, BOUNDARY)
        for k in tl.static_range(K):
            x = _cell(column + (k - K // 2), W, K, BOUNDARY)
            inside = (y >= 0) & (y < H) & (x >= 0) & (x < W)
            values = source + y * W + x
            weights = kernel + o * (C * K * K) + (j * K + k)
            for i in range(C):
                value = tl.load(values + i * (H * W), mask=inside, other=0.0)
                acc += tl.load(weights + i * (K * K), mask=o < C, other=0.0) * value
    return acc


@triton.jit(do_not_specialize=["t"])
def advance_kernel(
    y, z, kernel, stiffness, kept, force, later_y, later_z, bent, best, when, t,
    C: tl.constexpr, H: tl.constexpr, W: tl.constexpr, K: tl.constexpr, CP: tl.constexpr, TILE: tl.constexpr,
    DT: tl.constexpr, GAIN: tl.constexpr, GAIN_KEPT: tl.constexpr, BOUNDARY: tl.constexpr,
    NONLINEARITY: tl.constexpr, FORCED: tl.constexpr, BENT: tl.constexpr, LARGEST: tl.constexpr,
    INVERSE: tl.constexpr,
):  # fmt: skip
    """One step, g = GAIN + GAIN_KEPT · κ. INVERSE: `z` holds z' and `later_z` is where z goes. BENT: σ is kept.
    LARGEST: `best` and `when` follow the largest y' and its step t."""
    n = tl.program_id(0) * TILE + tl.arange(0, TILE)[None, :]
    sample = tl.program_id(1).to(tl.int64) * C * H * W
    o = tl.program_id(2) * CP + tl.arange(0, CP)[:, None]
    here, at = (o < C) & (n < H * W), sample + o * H * W + n
    pull = tl.zeros((CP, TILE), y.dtype.element_ty)
    pull = _convolved(pull, y + sample, kernel, o, n // W, n % W, C, H, W, K, BOUNDARY)
    f = _activation(pull, NONLINEARITY)
    if BENT:
        tl.store(bent + at, f, mask=here)
    now = tl.load(y + at, mask=here, other=0.0)
    total = f - tl.load(stiffness + at, mask=here, other=0.0) * now
    if FORCED:
        total += tl.load(force + at, mask=here, other=0.0)
    keep = tl.load(kept + at, mask=here, other=1.0)
    velocity = tl.load(z + at, mask=here, other=0.0)
    gained = (GAIN + GAIN_KEPT * keep) * total
    if INVERSE:
        tl.store(later_z + at, (velocity - gained) / keep, mask=here)
    else:
        velocity = keep * velocity + gained
        after = now + DT * velocity
        tl.store(later_z + at, velocity, mask=here)
        tl.store(later_y + at, after, mask=here)
        if LARGEST:
            before = tl.load(best + at, mask=here, other=0.0)
            larger = (after > before) | (after != after)  # not-a-number is the largest
            tl.store(best + at, tl.where(larger, after, before), mask=here)
            tl.store(when + at, tl.where(larger, t, tl.load(when + at, mask=here, other=0.0)), mask=here)


@triton.jit(do_not_specialize=["count"])
def reverse_kernel(
    grad_y, grad_z, given, bent, y, z, later_z, stiffness, kept, delta, grad_stiffness, grad_damping, grad_force,
    count, TILE: tl.constexpr, DT: tl.constexpr, GAIN: tl.constexpr, GAIN_KEPT: tl.constexpr, SCHEME: tl.constexpr,
    NONLINEARITY: tl.constexpr, GIVEN: tl.constexpr, STIFFNESS: tl.constexpr, DAMPING: tl.constexpr,
    FORCE: tl.constexpr,
):  # fmt: skip
    """Of all cells, with p = ∂L/∂z' + dt ∂L/∂y' and q = g p: δ = q σ', ∂L/∂y' −= ω q, ∂L/∂z = κ p, ∂ω −= q y,
    ∂α −= q v, ∂x = q, where v is z, z' or their mean, as SCHEME has it; `given` is added to ∂L/∂y' first."""
    at = tl.program_id(0).to(tl.int64) * TILE + tl.arange(0, TILE)
    here = at < count
    position = tl.load(grad_y + at, mask=here, other=0.0)
    if GIVEN:
        position += tl.load(given + at, mask=here, other=0.0)
    p = tl.load(grad_z + at, mask=here, other=0.0) + DT * position
    keep = tl.load(kept + at, mask=here, other=0.0)
    q = (GAIN + GAIN_KEPT * keep) * p
    tl.store(delta + at, q * _slope(tl.load(bent + at, mask=here, other=0.0), NONLINEARITY), mask=here)
    tl.store(grad_y + at, position - tl.load(stiffness + at, mask=here, other=0.0) * q, mask=here)
    tl.store(grad_z + at, keep * p, mask=here)
    if STIFFNESS:
        found = tl.load(grad_stiffness + at, mask=here, other=0.0)
        tl.store(grad_stiffness + at, found - q * tl.load(y + at, mask=here, other=0.0), mask=here)
    if DAMPING:
        before, after = tl.load(z + at, mask=here, other=0.0), tl.load(later_z + at, mask=here, other=0.0)
        velocity = before if SCHEME == "semi-implicit" else after
        if SCHEME == "centred":
            velocity = 0.5 * (before + after)
        found = tl.load(grad_damping + at, mask=here, other=0.0)
        tl.store(grad_damping + at, found - q * velocity, mask=here)
    if FORCE:
        tl.store(grad_force + at, q, mask=here)


@triton.jit
def convolve_kernel(
    source, kernel, target, C: tl.constexpr, H: tl.constexpr, W: tl.constexpr, K: tl.constexpr, CP: tl.constexpr,
    TILE: tl.constexpr, BEYOND: tl.constexpr, BOUNDARY: tl.constexpr,
):  # fmt: skip
    """target[o, n] += Σ kernel[o, i] source[i] shifted, for the places of a sheet with BEYOND cells around it."""
    width: tl.constexpr = W + 2 * BEYOND
    area: tl.constexpr = (H + 2 * BEYOND) * width
    n = tl.program_id(0) * TILE + tl.arange(0, TILE)[None, :]
    sample = tl.program_id(1).to(tl.int64) * C
    o = tl.program_id(2) * CP + tl.arange(0, CP)[:, None]
    here, at = (o < C) & (n < area), (sample + o) * area + n
    acc = tl.load(target + at, mask=here, other=0.0)
    row, column = n // width - BEYOND, n % width - BEYOND
    acc = _convolved(acc, source + sample * H * W, kernel, o, row, column, C, H, W, K, BOUNDARY)
    tl.store(target + at, acc, mask=here)
