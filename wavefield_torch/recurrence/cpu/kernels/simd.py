"""Register blocks of the wave recurrence, through Numba intrinsics.

Numba's own vectoriser keeps these loops at a third of the machine's rate, because it does not hold a block of outputs
in registers across the loop over channels. Each intrinsic here emits one such block: accumulators as allocas, which
LLVM promotes to registers, and `llvm.fmuladd` on whole vectors, which LLVM splits where the machine's are shorter.
"""

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from wavefield_torch.recurrence.cpu.kernels.simd_block import addresses, emitter

TERMS = 5  # rows that `contract` sums at a time


@intrinsic
def convolve(
    typing, block, floor, source, row, kernel, channels, taps, base, parameter_row, terms, matrix, matrix_term, values,
    addend, column_row, gate, curved, target, ahead, sums, sum_terms, term_sums, sum_term, sum_values, earlier,
    earlier_values,
):  # fmt: skip
    """One block of a convolution with all that is added to it, done to it and made of it.

        a[o, m] = base[o, m] + Σ_j matrix[j, o, m] values[j] + addend[o, m] + Σ_{i,k} kernel[i, k, o] source[i, m + k]
        target[o, m] = max(a, floor)                                       without a gate
                     = a where gate > floor, else 0; times 1 − gate² if curved
        sums[o, m] += target[o, m] + earlier[o, m]
        term_sums[j, o, m] += target[o, m] sum_values[j] + earlier[o, m] earlier_values[j]

    base, addend, gate, sums and earlier may be absent (address 0). `source`, `gate`, `target` and `earlier` share the
    distance `row` between channels; base and matrix have `parameter_row`; addend and the sums `column_row`. Where lanes
    are samples, base and matrix hold one number per position and values one vector per term; where lanes are positions
    it is the other way round. What lies `ahead` bytes from the gate, or from the target without one, is fetched into
    the cache, a line for each channel: all at once they would keep everything else waiting.
    """

    def codegen(context, builder, signature, args):
        (_, floor, source, row, kernel, channels, taps, base, parameter_row, terms, matrix, matrix_term, values, addend,
         column_row, gate, curved, target, ahead, sums, sum_terms, term_sums, sum_term, sum_values, earlier,
         earlier_values) = args  # fmt: skip
        e = emitter(builder, signature)
        parameter = e.load_spread if e.together else e.load
        column = e.item if e.together else e.bytes  # from one column to the next among parameters
        value, next_value = (e.load, e.bytes) if e.together else (e.load_spread, e.item)
        cells = e.accumulators(e.outputs, e.columns)

        # what is needed at the end is fetched now
        with e.present(gate):
            for o, m in cells:
                e.prefetch(e.at(gate, (row, o), (e.bytes, m)), near=True)
        with e.present(sums):
            for o, m in cells:
                e.prefetch(e.at(sums, (column_row, o), (e.bytes, m)), near=True, write=True)
        with e.loop(sum_terms) as term:
            for o, m in cells:
                place = e.at(term_sums, (sum_term, term.index), (column_row, o), (e.bytes, m))
                e.prefetch(place, near=True, write=True)
        with e.present(base):
            for (o, m), slot in cells.items():
                builder.store(parameter(e.at(base, (parameter_row, o), (column, m))), slot)
        with e.loop(terms) as term:
            here = e.at(matrix, (matrix_term, term.index))
            factor = value(e.at(values, (next_value, term.index)))
            for (o, m), slot in cells.items():
                e.add_product(slot, parameter(e.at(here, (parameter_row, o), (column, m))), factor)
        with e.present(addend):
            for (o, m), slot in cells.items():
                extra = e.load(e.at(addend, (column_row, o), (e.bytes, m)))
                builder.store(builder.fadd(builder.load(slot), extra), slot)

        gated = cgutils.is_not_null(builder, gate)
        distant = builder.add(builder.select(gated, gate, target), ahead)

        def fetch(cell):
            output, m = builder.udiv(cell, e.index(e.columns)), builder.urem(cell, e.index(e.columns))
            e.prefetch(e.at(distant, (row, output), (e.bytes, m)))

        weights = builder.mul(taps, e.index(e.outputs * e.item))
        with e.loop(channels) as channel:
            last = e.index(len(cells) - 1)
            fetch(builder.select(builder.icmp_unsigned("<", channel.index, last), channel.index, last))
            state = e.at(source, (row, channel.index))
            if e.taps:
                _taps_in_registers(e, cells, state, e.at(kernel, (weights, channel.index)))
            else:
                _taps_in_turn(e, cells, state, e.at(kernel, (weights, channel.index)), taps)

        missing = builder.sub(e.index(len(cells)), channels)
        with e.loop(builder.select(builder.icmp_signed(">", missing, e.index(0)), missing, e.index(0))) as cell:
            fetch(builder.add(channels, cell.index))

        floor = e.spread(floor if e.item == 8 else builder.fptrunc(floor, e.scalar))
        with builder.if_else(gated) as (masked, clamped):
            with clamped:
                for slot in cells.values():
                    a = builder.load(slot)  # unordered: not-a-number stays
                    builder.store(builder.select(builder.fcmp_unordered(">", a, floor), a, floor), slot)
            with masked:
                for (o, m), slot in cells.items():
                    passes = builder.fcmp_unordered(">", e.load(e.at(gate, (row, o), (e.bytes, m))), floor)
                    builder.store(builder.select(passes, builder.load(slot), e.constant(0.0)), slot)
                with cgutils.if_unlikely(builder, cgutils.is_not_null(builder, curved)):
                    for (o, m), slot in cells.items():
                        h = e.load(e.at(gate, (row, o), (e.bytes, m)))
                        slope = e.fma(builder.fneg(h), h, e.constant(1.0))
                        builder.store(builder.fmul(builder.load(slot), slope), slot)
        for (o, m), slot in cells.items():
            e.store(builder.load(slot), e.at(target, (row, o), (e.bytes, m)))
        with builder.if_else(cgutils.is_null(builder, earlier)) as (one, two):
            with one:
                _add_to_sums(e, cells, row, column_row, sums, sum_terms, term_sums, sum_term, [(None, sum_values)])
            with two:
                parts = [(None, sum_values), (earlier, earlier_values)]
                _add_to_sums(e, cells, row, column_row, sums, sum_terms, term_sums, sum_term, parts)
        return context.get_dummy_value()

    return addresses(block, 25, types.float64), codegen


def _add_to_sums(e, cells, row, column_row, sums, sum_terms, term_sums, sum_term, parts):
    """What is in the cells, and at the addresses of the other parts, to their sums and to those times values."""
    value, next_value = (e.load, e.bytes) if e.together else (e.load_spread, e.item)

    def parts_of(o, m):
        for state, _ in parts:
            yield e.builder.load(cells[o, m]) if state is None else e.load(e.at(state, (row, o), (e.bytes, m)))

    with e.present(sums):
        for o, m in cells:
            place = e.at(sums, (column_row, o), (e.bytes, m))
            total = e.load(place)
            for part in parts_of(o, m):
                total = e.builder.fadd(total, part)
            e.store(total, place)
    with e.loop(sum_terms) as term:
        factors = [value(e.at(values, (next_value, term.index))) for _, values in parts]
        for o, m in cells:
            place = e.at(term_sums, (sum_term, term.index), (column_row, o), (e.bytes, m))
            total = e.load(place)
            for part, factor in zip(parts_of(o, m), factors, strict=True):
                total = e.fma(part, factor, total)
            e.store(total, place)


def _taps_in_registers(e, cells, state, weights):
    """Every vector of the state is loaded once and used by all taps that meet it."""
    reached = sorted({m * e.lanes + k * e.step for m in range(e.columns) for k in range(e.taps)})
    loaded = {x: e.load(e.at(state, (e.item, x))) for x in reached}
    for o in range(e.outputs):
        for k in range(e.taps):
            weight = e.load_spread(e.at(weights, (e.item, k * e.outputs + o)))
            for m in range(e.columns):
                e.add_product(cells[o, m], weight, loaded[m * e.lanes + k * e.step])


def _taps_in_turn(e, cells, state, weights, taps):
    with e.loop(taps) as tap:
        here = e.at(state, (e.step * e.item, tap.index))
        loaded = [e.load(e.at(here, (e.bytes, m))) for m in range(e.columns)]
        weights = e.at(weights, (e.outputs * e.item, tap.index))
        for o in range(e.outputs):
            weight = e.load_spread(e.at(weights, (e.item, o)))
            for m in range(e.columns):
                e.add_product(cells[o, m], weight, loaded[m])


@intrinsic
def correlate(typing, block, delta, state, row, count, total, total_output, total_partner, tap):
    """One block of the gradient of the kernel, `count` vectors long, lanes kept apart:

        total[o, i, k] += Σ_m delta[o, m] state[i, m + k]

    for all taps that are written out, or for `tap` alone.
    """

    def codegen(context, builder, signature, args):
        _, delta, state, row, count, total, total_output, total_partner, tap = args
        e = emitter(builder, signature)
        taps = e.taps or 1
        state = e.at(state, (e.step * e.item, tap))
        total = e.at(total, (e.bytes, tap))
        cells = e.accumulators(e.deltas, e.partners, taps)

        def place(o, i, k):
            return e.at(total, (total_output, o), (total_partner, i), (e.bytes, k))

        for cell, slot in cells.items():
            builder.store(e.load(place(*cell)), slot)
        window = e.accumulators(e.partners, taps - 1) if e.together else {}  # its taps are the next column's, but one
        for (i, k), slot in window.items():
            builder.store(e.load(e.at(state, (row, i), (e.bytes, k))), slot)
        with e.loop(count) as column:
            here = builder.mul(column.index, e.index(e.bytes))
            deltas = [e.load(e.at(delta, (row, o), (here, 1))) for o in range(e.deltas)]
            for i in range(e.partners):
                kept = [builder.load(window[i, k]) for k in range(taps - 1)] if e.together else []
                places = [e.at(state, (row, i), (here, 1), (e.step * e.item, k)) for k in range(len(kept), taps)]
                reached = kept + [e.load(place) for place in places]
                for o in range(e.deltas):
                    for k in range(taps):
                        e.add_product(cells[o, i, k], deltas[o], reached[k])
                for k in range(len(kept)):
                    builder.store(reached[k + 1], window[i, k])
        for cell, slot in cells.items():
            e.store(builder.load(slot), place(*cell))
        return context.get_dummy_value()

    return addresses(block, 8), codegen


@intrinsic
def accumulate(typing, block, total, source, values, count):
    """total[m] += source[m] · values: one vector of values for samples, one number for positions, 1 if absent."""

    def codegen(context, builder, signature, args):
        _, total, source, values, count = args
        e = emitter(builder, signature)
        factor = cgutils.alloca_once(builder, e.vector)
        builder.store(e.constant(1.0), factor)
        with e.present(values):
            builder.store(e.load(values) if e.together else e.load_spread(values), factor)
        _add_multiple(e, total, source, builder.load(factor), count)
        return context.get_dummy_value()

    return addresses(block, 4), codegen


@intrinsic
def keep_lanes(typing, block, target, source, kept, count):
    """target[m] = source[m] in the lanes where the vector `kept` is not zero, and 0 in the others."""

    def codegen(context, builder, signature, args):
        _, target, source, kept, count = args
        e = emitter(builder, signature)
        chosen = builder.fcmp_unordered("!=", e.load(kept), e.constant(0.0))
        with e.loop(count) as column:
            here = builder.mul(column.index, e.index(e.bytes))
            value = e.load(builder.add(source, here))
            e.store(builder.select(chosen, value, e.constant(0.0)), builder.add(target, here))
        return context.get_dummy_value()

    return addresses(block, 4), codegen


@intrinsic
def axpy(typing, block, total, source, number, count):
    """total[m] += source[m] · number, for one number at an address."""

    def codegen(context, builder, signature, args):
        _, total, source, number, count = args
        e = emitter(builder, signature)
        _add_multiple(e, total, source, e.load_spread(number), count)
        return context.get_dummy_value()

    return addresses(block, 4), codegen


def _add_multiple(e, total, source, factor, count):
    with e.loop(count) as column:
        here = e.builder.mul(column.index, e.index(e.bytes))
        place = e.builder.add(total, here)
        e.store(e.fma(e.load(e.builder.add(source, here)), factor, e.load(place)), place)


@intrinsic
def outer(typing, block, total, total_column, source, values, values_lane):
    """Columns of samples against rows of numbers: total[m, :] += Σ_lane source[m, lane] values[lane, :], L of them."""

    def codegen(context, builder, signature, args):
        _, total, total_column, source, values, values_lane = args
        e = emitter(builder, signature)
        cells = [cgutils.alloca_once(builder, e.vector) for _ in range(e.columns)]
        for m, slot in enumerate(cells):
            builder.store(e.load(e.at(total, (total_column, m))), slot)
        for lane in range(e.lanes):
            numbers = e.load(e.at(values, (values_lane, lane)))
            for m, slot in enumerate(cells):
                e.add_product(slot, e.load_spread(e.at(source, (e.bytes, m), (e.item, lane))), numbers)
        for m, slot in enumerate(cells):
            e.store(builder.load(slot), e.at(total, (total_column, m)))
        return context.get_dummy_value()

    return addresses(block, 5), codegen


@intrinsic
def contract(typing, block, total, source, matrix, matrix_term, count):
    """total[j] += Σ_m matrix[j, m] source[m], a vector for each of `TERMS` terms, `count` columns long."""

    def codegen(context, builder, signature, args):
        _, total, source, matrix, matrix_term, count = args
        e = emitter(builder, signature)
        parameter, column = (e.load_spread, e.item) if e.together else (e.load, e.bytes)
        cells = e.accumulators(2, TERMS)  # even and odd columns apart: more sums under way
        two = e.index(2)

        def add(parity, m):
            state = e.load(e.at(source, (e.bytes, m)))
            for j in range(TERMS):
                e.add_product(cells[parity, j], parameter(e.at(matrix, (matrix_term, j), (column, m))), state)

        with e.loop(builder.udiv(count, two)) as pair:
            first = builder.mul(pair.index, two)
            add(0, first)
            add(1, builder.add(first, e.index(1)))
        with e.loop(builder.urem(count, two)):
            add(0, builder.sub(count, e.index(1)))
        for j in range(TERMS):
            place = e.at(total, (e.bytes, j))
            both = builder.fadd(builder.load(cells[0, j]), builder.load(cells[1, j]))
            e.store(builder.fadd(e.load(place), both), place)
        return context.get_dummy_value()

    return addresses(block, 5), codegen


def _turned(e, rows):
    """An L×L tile with rows and columns exchanged: blocks of half the size, then of a quarter, and so on."""
    kind = ir.VectorType(ir.IntType(32), e.lanes)
    half = e.lanes // 2
    while half:
        first = ir.Constant(kind, [x if not x & half else x - half + e.lanes for x in range(e.lanes)])
        second = ir.Constant(kind, [x + half if not x & half else x + e.lanes for x in range(e.lanes)])
        for top in (x for x in range(e.lanes) if not x & half):
            upper, lower = rows[top], rows[top + half]
            rows[top] = e.builder.shuffle_vector(upper, lower, first)
            rows[top + half] = e.builder.shuffle_vector(upper, lower, second)
        half //= 2
    return rows


def _listed(e, addresses, lane, offset):
    pointer = e.builder.inttoptr(e.at(addresses, (8, lane)), ir.IntType(64).as_pointer())
    return e.builder.add(e.builder.load(pointer), offset)


@intrinsic
def gather_tile(typing, block, sources, offset, target):
    """L columns of samples from L rows of numbers: target[j, lane] = (number j after `offset` at sources[lane])."""

    def codegen(context, builder, signature, args):
        _, sources, offset, target = args
        e = emitter(builder, signature)
        rows = [e.load(_listed(e, sources, lane, offset)) for lane in range(e.lanes)]
        for j, value in enumerate(_turned(e, rows)):
            e.store(value, e.at(target, (e.bytes, j)))
        return context.get_dummy_value()

    return addresses(block, 3), codegen


@intrinsic
def scatter_tile(typing, block, source, targets, offset):
    """The inverse of `gather_tile`: L columns of samples to L rows of numbers."""

    def codegen(context, builder, signature, args):
        _, source, targets, offset = args
        e = emitter(builder, signature)
        columns = [e.load(e.at(source, (e.bytes, j))) for j in range(e.lanes)]
        for lane, value in enumerate(_turned(e, columns)):
            e.store(value, _listed(e, targets, lane, offset))
        return context.get_dummy_value()

    return addresses(block, 3), codegen


@intrinsic
def sum_lanes(typing, block, source, target):
    """L columns of samples summed over their lanes and added to one vector."""

    def codegen(context, builder, signature, args):
        _, source, target = args
        e = emitter(builder, signature)
        rows = _turned(e, [e.load(e.at(source, (e.bytes, j))) for j in range(e.lanes)])
        while len(rows) > 1:
            rows = [builder.fadd(rows[j], rows[j + 1]) for j in range(0, len(rows), 2)]
        e.store(builder.fadd(rows[0], e.load(target)), target)
        return context.get_dummy_value()

    return addresses(block, 2), codegen


@intrinsic
def copy(typing, block, target, source, count):
    """`count` elements from one address to another."""

    def codegen(context, builder, signature, args):
        _, target, source, count = args
        item = emitter(builder, signature).item
        there, here = (builder.inttoptr(a, ir.IntType(8).as_pointer()) for a in (target, source))
        cgutils.raw_memcpy(builder, there, here, count, item)
        return context.get_dummy_value()

    return addresses(block, 3), codegen


@intrinsic
def fetch(typing, block, address, count, write):
    """`count` elements into the cache, from where they may be changed if `write`."""

    def codegen(context, builder, signature, args):
        _, address, count, write = args
        e = emitter(builder, signature)
        lines = builder.udiv(builder.add(builder.mul(count, e.index(e.item)), e.index(63)), e.index(64))
        with builder.if_else(cgutils.is_null(builder, write)) as (reading, writing):
            with reading, e.loop(lines) as line:
                e.prefetch(e.at(address, (64, line.index)))
            with writing, e.loop(lines) as line:
                e.prefetch(e.at(address, (64, line.index)), write=True)
        return context.get_dummy_value()

    return addresses(block, 3), codegen


@intrinsic
def clear(typing, block, target, count):
    """`count` elements set to zero."""

    def codegen(context, builder, signature, args):
        _, target, count = args
        pointer = builder.inttoptr(target, ir.IntType(8).as_pointer())
        size = builder.mul(count, ir.IntType(64)(signature.args[0].block.item))
        cgutils.memset(builder, pointer, size, 0)
        return context.get_dummy_value()

    return addresses(block, 2), codegen
