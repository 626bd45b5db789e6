"""The five-point stencil on vector registers: the innermost loop of the two-way field on a sheet.

    new = a_y (above + below) + (a_x (left + right) + (a₀ here − q·old)),      one rounding for each sum with a product

`sweep` moves `FUSED` rows in one pass over the columns, each by the step that the wavefront has for it,

    step s on row r,   step s + 1 on row r − 1,   step s + 2 on row r − 2, …

so that the new cells of one row are, still in their registers, what the next row finds below it, and what was above
one row is what the next replaces. Of six rows that a step reads or writes by itself, three are left. The arithmetic of
a cell is that of `rows.step_row`, to the bit.

In a medium that varies, with g on the faces of a cell and three factors of its own or of all,

    new = scale·(middle·here + g_right (right − here) + g_left (left − here) + g_below (below − here)
                                                                          + g_above (above − here)) − q·old

likewise: the face above one row is the one below the next, and need not be read again.

Rows are complete vectors from `origin` on; the cells beyond the last column come out without meaning and are written
over by the boundary.
"""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from wavefield.loops.sheets.compilation import compiled
from wavefield.loops.stencil import VECTOR_BYTES, _address, _fma

FUSED = 4
_INDEX, _LANE = ir.IntType(64), ir.IntType(32)


def _make_sweep(steps: int, *, undamped: bool = False, masked: bool = False, parts: int = 0):
    """Emit `steps` rows of the wavefront; an undamped sweep saves multiplying by q, a masked one keeps what is inside.

    `rows` are the rows of a plane from the one below row r to the one above row r − steps + 1; `inside` holds a mask
    of bits for every cell, laid out as a plane. `parts` says what varies: nothing (taps are a₀, a_x, a_y), the faces
    above and left of a cell (2; taps are scale and middle), or those, scale, middle and q (5).
    """

    @intrinsic
    def sweep(typing, current, previous, inside, rows, origin, vectors, taps, q, medium):
        element = q
        size = element.bitwidth // 8
        lanes = VECTOR_BYTES // size

        def codegen(context, builder, signature, args):
            current, previous, inside, rows, origin, vectors, taps, q, medium = args
            kinds = signature.args
            stride = builder.extract_value(context.make_array(kinds[0])(context, builder, current).strides, 0)
            skip = builder.mul(origin, _INDEX(size))
            levels = [
                _address(context, builder, kind, level)
                for kind, level in zip(kinds[:2], (current, previous), strict=True)
            ]
            bits = _address(context, builder, kinds[2], inside)
            rows, taps = _address(context, builder, kinds[3], rows), _address(context, builder, kinds[6], taps)
            scalar = context.get_value_type(element)
            vector, whole = ir.VectorType(scalar, lanes), ir.VectorType(ir.IntType(8 * size), lanes)
            undefined, multiply_add = ir.Constant(vector, ir.Undefined), _fma(builder, vector)

            def at(address, offset, kind=vector):
                return builder.inttoptr(builder.add(address, offset), kind.as_pointer())

            def load(address, offset, kind=vector):
                return builder.load(at(address, offset, kind), align=VECTOR_BYTES)

            def splat(value):
                one = builder.insert_element(undefined, value, _LANE(0))
                return builder.shuffle_vector(one, undefined, ir.Constant(ir.VectorType(_LANE, lanes), [0] * lanes))

            def window(low, high, first):  # lanes first… of the two vectors laid end to end
                mask = ir.Constant(ir.VectorType(_LANE, lanes), [first + i for i in range(lanes)])
                return builder.shuffle_vector(low, high, mask)

            constants = [splat(builder.load(at(taps, _INDEX(size * k), scalar))) for k in range(3)]
            minus_q = splat(builder.fneg(q))
            offsets = []  # of row r + 1 − k from the beginning of a level
            for k in range(steps + 2):
                row = builder.load(at(rows, _INDEX(8 * k), _INDEX))
                offsets.append(builder.add(builder.mul(row, stride), skip))
            here = [builder.add(levels[f % 2], offsets[f + 1]) for f in range(steps)]
            above = [builder.add(levels[f % 2], offsets[f + 2]) for f in range(steps)]
            target = [builder.add(levels[(f + 1) % 2], offsets[f + 1]) for f in range(steps)]
            within = [builder.add(bits, offsets[f + 1]) for f in range(steps)]
            below = builder.add(levels[0], offsets[0])
            part = []  # for each part of the medium, where its row r − f begins
            if parts:
                strides = context.make_array(kinds[8])(context, builder, medium).strides
                base, apart = _address(context, builder, kinds[8], medium), builder.extract_value(strides, 0)
                for k in range(parts):
                    first = builder.add(base, builder.mul(apart, _INDEX(k)))
                    part.append([builder.add(first, offsets[f + 1]) for f in range(steps)])
            left, middle, face = ([cgutils.alloca_once(builder, vector) for _ in range(steps)] for _ in range(3))
            for f in range(steps):
                builder.store(load(here[f], _INDEX(-VECTOR_BYTES)), left[f])
                builder.store(load(here[f], _INDEX(0)), middle[f])
                if parts:
                    builder.store(load(part[1][f], _INDEX(0)), face[f])
            with cgutils.for_range(builder, vectors) as loop:
                offset = builder.mul(loop.index, _INDEX(VECTOR_BYTES))
                after = builder.add(offset, _INDEX(VECTOR_BYTES))
                under, old = load(below, offset), load(target[0], offset)
                g_below = load(part[0][0], builder.add(offset, stride)) if parts else None
                for f in range(steps):
                    x, y, z = builder.load(left[f]), builder.load(middle[f]), load(here[f], after)
                    over = load(above[f], offset)
                    before, behind = window(x, y, lanes - 1), window(y, z, 1)
                    if parts == 0:
                        centre, across, along = constants
                        less = builder.fneg(old) if undamped else builder.fmul(minus_q, old)
                        new = builder.call(multiply_add, [centre, y, less])
                        new = builder.call(multiply_add, [across, builder.fadd(before, behind), new])
                        new = builder.call(multiply_add, [along, builder.fadd(over, under), new])
                    else:
                        g_left, following, g_above = (
                            builder.load(face[f]),
                            load(part[1][f], after),
                            load(part[0][f], offset),
                        )
                        g_right = window(g_left, following, 1)
                        builder.store(following, face[f])
                        if parts == 5:
                            scale, own, damp = (load(part[k][f], offset) for k in (2, 3, 4))
                            less = builder.fmul(builder.fneg(damp), old)
                        else:
                            scale, own = constants[:2]
                            less = builder.fmul(minus_q, old)
                        new = builder.fmul(own, y)
                        for g, beside in ((g_right, behind), (g_left, before), (g_below, under), (g_above, over)):
                            new = builder.call(multiply_add, [g, builder.fsub(beside, y), new])
                        new = builder.call(multiply_add, [scale, new, less])
                        g_below = g_above
                    if masked:
                        kept = builder.and_(builder.bitcast(new, whole), load(within[f], offset, whole))
                        new = builder.bitcast(kept, vector)
                    builder.store(new, at(target[f], offset), align=VECTOR_BYTES)
                    builder.store(y, left[f])
                    builder.store(z, middle[f])
                    under, old = new, over
            return context.get_dummy_value()

        signature = types.void(current, previous, inside, rows, types.intp, types.intp, taps, element, medium)
        return signature, codegen

    return sweep


_many, _many_undamped = _make_sweep(FUSED), _make_sweep(FUSED, undamped=True)
_many_masked, _single, _single_masked = _make_sweep(FUSED, masked=True), _make_sweep(1), _make_sweep(1, masked=True)


@compiled
def sweep(current, previous, inside, rows, count, taps, q, medium, origin, cells):
    """Move `FUSED` rows or one, as `count` says; taps are a₀, a_x, a_y, `inside` is empty without a mask."""
    vectors = (cells * current.itemsize + VECTOR_BYTES - 1) // VECTOR_BYTES
    if count == 1:
        if inside.size:
            _single_masked(current, previous, inside, rows, origin, vectors, taps, q, medium)
        else:
            _single(current, previous, inside, rows, origin, vectors, taps, q, medium)
    elif inside.size:
        _many_masked(current, previous, inside, rows, origin, vectors, taps, q, medium)
    elif q == 1:
        _many_undamped(current, previous, inside, rows, origin, vectors, taps, q, medium)
    else:
        _many(current, previous, inside, rows, origin, vectors, taps, q, medium)


def _make_medium_sweep(parts: int):
    many, one = _make_sweep(FUSED, parts=parts), _make_sweep(1, parts=parts)
    many_masked, one_masked = _make_sweep(FUSED, parts=parts, masked=True), _make_sweep(1, parts=parts, masked=True)

    def sweep(current, previous, inside, rows, count, taps, q, medium, origin, cells):
        vectors = (cells * current.itemsize + VECTOR_BYTES - 1) // VECTOR_BYTES
        if count == 1:
            if inside.size:
                one_masked(current, previous, inside, rows, origin, vectors, taps, q, medium)
            else:
                one(current, previous, inside, rows, origin, vectors, taps, q, medium)
        elif inside.size:
            many_masked(current, previous, inside, rows, origin, vectors, taps, q, medium)
        else:
            many(current, previous, inside, rows, origin, vectors, taps, q, medium)

    return sweep


sweep_between_faces, sweep_in_medium = _make_medium_sweep(2), _make_medium_sweep(5)
