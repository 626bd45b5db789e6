"""The symmetric leapfrog stencil on vector registers: the innermost loop of the two-way field.

    new_i = a₀ h_i + Σ_{k=1…p} a_k (h_{i−k} + h_{i+k}) − m·before_i

`stepped` is that line as it stands, for any p. `one_step` and `fused_steps` do the same, and to the same bits, with
the vectors written out, so that nothing hangs on what a compiler makes of a loop: a row is read once, neighbours are
shifted between registers, and for p = 1 `FUSED` steps follow each other one vector apart in a single pass over memory,

    step 1 on vector j,   step 2 on vector j − 1,   step 3 on vector j − 2, …

Levels are updated in place: the last but one lands where `before` was, the last where `now` was (after a pass of a
single step the new level lies where `before` was). Every product is added with one rounding (llvm.fma), in this
order, in both forms; with taps 1, 0, 1 whole numbers stay exact.
"""

from __future__ import annotations

from llvmlite import binding, ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from wavefield.loops.compilation import compiled

VECTOR_BYTES = 64 if binding.get_host_cpu_features().get("avx512f") else 32
WIDEST = 4  # largest p with a vector form: order 8 in space, or 4 steps of order 2 at once
FUSED = 4 if VECTOR_BYTES == 64 else 2  # steps in one pass for p = 1, as many as the registers hold
_INDEX, _LANE = ir.IntType(64), ir.IntType(32)


@intrinsic
def fma(typing, a, b, c):
    """a·b + c with one rounding."""
    if not (isinstance(a, types.Float) and a == b == c):
        return None

    def codegen(context, builder, signature, args):
        return builder.call(_fma(builder, args[0].type), args)

    return a(a, a, a), codegen


@compiled
def stepped(now, before, start, stop, taps, q):
    """Put the next level of cells start…stop−1 into `before`; taps (p + 1,) from the centre outwards."""
    old, centre = before[start:stop], now[start:stop]
    left, right = now[start - 1 : stop - 1], now[start + 1 : stop + 1]
    a0, a1 = taps[0], taps[1]
    for i in range(old.size):
        old[i] = fma(a1, left[i] + right[i], fma(a0, centre[i], -q * old[i]))
    for k in range(2, taps.size):
        left, right, a = now[start - k : stop - k], now[start + k : stop + k], taps[k]
        for i in range(old.size):
            old[i] = fma(a, left[i] + right[i], old[i])


def _make_block(p: int, steps: int, undamped: bool = False):
    """Emit `steps` steps of a stencil of half-width p on whole vectors, the first of them at cell `start`.

    Vectors first − steps + 1 … first + vectors are written (`vectors` counts the loop, of which the last step reaches
    only vectors − steps + 1), those up to first + vectors are read; cells within p·steps of either end come out
    without meaning, as their neighbours are not known. Where q is 1, an undamped block saves multiplying by it.
    """

    @intrinsic
    def block(typing, now, before, start, vectors, taps, q):
        element = q
        size = element.bitwidth // 8
        lanes = VECTOR_BYTES // size

        def codegen(context, builder, signature, args):
            now, before, start, vectors, taps, q = args
            kinds = signature.args
            now, before = (_address(context, builder, kinds[i], args[i]) for i in (0, 1))
            taps = _address(context, builder, kinds[4], taps)
            now, before = (builder.add(row, builder.mul(start, _INDEX(size))) for row in (now, before))
            scalar = context.get_value_type(element)
            vector = ir.VectorType(scalar, lanes)
            undefined, multiply_add = ir.Constant(vector, ir.Undefined), _fma(builder, vector)

            def at(address, offset, kind=vector):
                return builder.inttoptr(builder.add(address, _INDEX(offset)), kind.as_pointer())

            def load(address, offset):
                return builder.load(at(address, offset), align=size)

            def splat(value):
                one = builder.insert_element(undefined, value, _LANE(0))
                return builder.shuffle_vector(one, undefined, ir.Constant(ir.VectorType(_LANE, lanes), [0] * lanes))

            def window(low, high, first):  # lanes first… of the two vectors laid end to end
                mask = ir.Constant(ir.VectorType(_LANE, lanes), [first + i for i in range(lanes)])
                return builder.shuffle_vector(low, high, mask)

            a = [splat(builder.load(at(taps, size * k, scalar))) for k in range(p + 1)]
            minus_q = splat(builder.fneg(q))
            left = [cgutils.alloca_once_value(builder, ir.Constant(vector, [0.0] * lanes)) for _ in range(steps)]
            here = [cgutils.alloca_once_value(builder, ir.Constant(vector, [0.0] * lanes)) for _ in range(steps)]
            builder.store(load(now, -VECTOR_BYTES), left[0])
            builder.store(load(now, 0), here[0])
            with cgutils.for_range(builder, vectors) as loop:
                offset = builder.mul(loop.index, _INDEX(VECTOR_BYTES))
                now_j, before_j = builder.add(now, offset), builder.add(before, offset)
                new, old = load(now_j, VECTOR_BYTES), load(before_j, 0)
                for step in range(steps):  # `new` is the right neighbour among the values this step starts from
                    x, y, z = builder.load(left[step]), builder.load(here[step]), new
                    less = builder.fneg(old) if undamped else builder.fmul(minus_q, old)
                    new = builder.call(multiply_add, [a[0], y, less])
                    for k in range(1, p + 1):
                        pair = builder.fadd(window(x, y, lanes - k), window(y, z, k))
                        new = builder.call(multiply_add, [a[k], pair, new])
                    builder.store(y, left[step])
                    builder.store(z, here[step])
                    old = x
                    if step == steps - 2:
                        builder.store(new, at(before_j, -step * VECTOR_BYTES), align=size)
                target = before_j if steps == 1 else now_j
                builder.store(new, at(target, (1 - steps) * VECTOR_BYTES), align=size)
            return context.get_dummy_value()

        return types.void(now, before, types.intp, types.intp, taps, element), codegen

    return block


def _address(context, builder, kind, array):
    """Address of the first element of a contiguous array, without counting a reference to it."""
    return builder.ptrtoint(context.make_array(kind)(context, builder, array).data, _INDEX)


def _fma(builder, kind):
    name = f"v{kind.count}" if isinstance(kind, ir.VectorType) else ""
    scalar = kind.element if isinstance(kind, ir.VectorType) else kind
    name += "f32" if isinstance(scalar, ir.FloatType) else "f64"
    return cgutils.get_or_insert_function(builder.module, ir.FunctionType(kind, [kind] * 3), f"llvm.fma.{name}")


_fused, _fused_undamped = _make_block(1, FUSED), _make_block(1, FUSED, undamped=True)
_one, _two, _three, _four = (_make_block(p, 1) for p in range(1, WIDEST + 1))


@compiled
def one_step(now, before, start, cells, taps, q):
    """Make a step of a stencil of p ≤ `WIDEST` in place, on at least `cells` cells from `start`.

    Rows need (FUSED + 1) vectors to spare on either side; cells within p of the ends lose their meaning.
    """
    vectors = _vectors(now, cells)
    if taps.size == 2:
        _one(now, before, start, vectors, taps, q)
    elif taps.size == 3:
        _two(now, before, start, vectors, taps, q)
    elif taps.size == 4:
        _three(now, before, start, vectors, taps, q)
    else:
        _four(now, before, start, vectors, taps, q)


@compiled
def fused_steps(now, before, start, cells, taps, q):
    """The same for `FUSED` steps where p = 1; cells within `FUSED` of the ends lose their meaning."""
    vectors = _vectors(now, cells) + FUSED - 1
    if q == 1:
        _fused_undamped(now, before, start, vectors, taps, q)
    else:
        _fused(now, before, start, vectors, taps, q)


@compiled
def _vectors(row, cells):
    lanes = VECTOR_BYTES // row.itemsize
    return (cells + lanes - 1) // lanes
