"""Vector arithmetic of the sheet, through Numba intrinsics; `recurrence.cpu.kernels.simd` says why and how.

All arguments are addresses, distances in bytes and counts. Lanes are neighbouring cells.
"""

from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from wavefield_torch.recurrence.cpu.kernels.simd_block import addresses, emitter
from wavefield_torch.recurrence.cpu.kernels.simd_math import tanh

CURVES = ("identity", "relu", "tanh")  # numbered as the arguments `curve` below


@intrinsic
def convolve(typing, block, source, plane, line, kernel, partners, taps, target, target_row, adding):
    """One block of a convolution, outputs × columns:

        target[o, m] = Σ_{i,j,k} kernel[i, j, k, o] source[i, m + j·line + k]        (+ target[o, m] if `adding`)

    With one tap it is a product of matrices.
    """

    def codegen(context, builder, signature, args):
        _, source, plane, line, kernel, partners, taps, target, target_row, adding = args
        e = emitter(builder, signature)
        cells = e.accumulators(e.outputs, e.columns)
        with cgutils.if_likely(builder, cgutils.is_not_null(builder, adding)):
            for (o, m), slot in cells.items():
                builder.store(e.load(e.at(target, (target_row, o), (e.bytes, m))), slot)

        def tap(state, weights):
            loaded = [e.load(e.at(state, (e.bytes, m))) for m in range(e.columns)]
            for o in range(e.outputs):
                weight = e.load_spread(e.at(weights, (e.item, o)))
                for m in range(e.columns):
                    e.add_product(cells[o, m], weight, loaded[m])

        width = e.outputs * e.item  # of the weights of a tap
        area = builder.mul(taps, taps)
        with e.loop(partners) as partner:
            state = e.at(source, (plane, partner.index))
            weights = e.at(kernel, (builder.mul(area, e.index(width)), partner.index))
            if e.taps:
                for j in range(e.taps):
                    for k in range(e.taps):
                        tap(e.at(state, (line, j), (e.item, k)), e.at(weights, (width, j * e.taps + k)))
            else:
                with e.loop(area) as place:
                    j, k = builder.udiv(place.index, taps), builder.urem(place.index, taps)
                    tap(e.at(state, (line, j), (e.item, k)), e.at(weights, (width, place.index)))
        for (o, m), slot in cells.items():
            e.store(builder.load(slot), e.at(target, (target_row, o), (e.bytes, m)))
        return context.get_dummy_value()

    return addresses(block, 9), codegen


def _constants(e, *numbers):
    """Arguments of type float64 as vectors."""
    return [e.spread(n if e.item == 8 else e.builder.fptrunc(n, e.scalar)) for n in numbers]


def _in_curve(e, curve, count, body):
    """Loop over vectors with body(offset, index of σ), one loop for each σ so that none is chosen inside."""
    for number in range(len(CURVES)):
        chosen = e.builder.icmp_signed("==", curve, e.index(number))
        with e.builder.if_then(chosen), e.loop(count) as column:
            body(e.builder.mul(column.index, e.index(e.bytes)), CURVES[number])


def _bent(e, u, curve):
    if curve == "relu":  # unordered: not-a-number stays
        zero = e.constant(0.0)
        return e.builder.select(e.builder.fcmp_unordered(">", u, zero), u, zero)
    return tanh(e, u) if curve == "tanh" else u


def _slope(e, bent, curve):
    """σ' from σ."""
    if curve == "relu":
        return e.builder.select(e.builder.fcmp_unordered(">", bent, e.constant(0.0)), e.constant(1.0), e.constant(0.0))
    return e.fma(e.builder.fneg(bent), bent, e.constant(1.0)) if curve == "tanh" else e.constant(1.0)


def _optional(e, address, offset):
    """The vector there, or zero without an address."""
    slot = cgutils.alloca_once(e.builder, e.vector)
    e.builder.store(e.constant(0.0), slot)
    with e.builder.if_then(cgutils.is_not_null(e.builder, address)):
        e.builder.store(e.load(e.builder.add(address, offset)), slot)
    return e.builder.load(slot)


def _signature(block, numbers, count):
    return addresses(block, count, *[types.float64] * numbers)


@intrinsic
def advance(
    typing, block, dt, gain, gain_kept, curve, count, pull, y, z, stiffness, kept, force, later_y, later_z, bent
):
    """F = σ(pull), z' = kept z + g (F − ω y + force), y' = y + dt z' with g = gain + gain_kept · kept; F is put into
    `bent` if there, force may be absent."""

    def codegen(context, builder, signature, args):
        _, dt, gain, gain_kept, curve, count, pull, y, z, stiffness, kept, force, later_y, later_z, bent = args
        e = emitter(builder, signature)
        dt, gain, gain_kept = _constants(e, dt, gain, gain_kept)

        def body(here, curve):
            load = lambda address: e.load(builder.add(address, here))  # noqa: E731
            f, now = _bent(e, load(pull), curve), load(y)
            with builder.if_then(cgutils.is_not_null(builder, bent)):
                e.store(f, builder.add(bent, here))
            total = e.fma(builder.fneg(load(stiffness)), now, builder.fadd(f, _optional(e, force, here)))
            keep = load(kept)
            velocity = e.fma(e.fma(gain_kept, keep, gain), total, builder.fmul(keep, load(z)))
            e.store(velocity, builder.add(later_z, here))
            e.store(e.fma(dt, velocity, now), builder.add(later_y, here))

        _in_curve(e, curve, count, body)
        return context.get_dummy_value()

    return _signature(block, 3, 11), codegen


@intrinsic
def revert(typing, block, gain, gain_kept, curve, count, pull, y, later_z, stiffness, kept, force, z, bent):
    """The inverse of `advance` for a y that is known: F = σ(pull), z = (z' − g (F − ω y + force)) / kept."""

    def codegen(context, builder, signature, args):
        _, gain, gain_kept, curve, count, pull, y, later_z, stiffness, kept, force, z, bent = args
        e = emitter(builder, signature)
        gain, gain_kept = _constants(e, gain, gain_kept)

        def body(here, curve):
            load = lambda address: e.load(builder.add(address, here))  # noqa: E731
            f = _bent(e, load(pull), curve)
            e.store(f, builder.add(bent, here))
            total = e.fma(builder.fneg(load(stiffness)), load(y), builder.fadd(f, _optional(e, force, here)))
            keep = load(kept)
            before = e.fma(builder.fneg(e.fma(gain_kept, keep, gain)), total, load(later_z))
            inside = builder.fcmp_unordered("!=", keep, e.constant(0.0))  # it is zero beyond the edges
            e.store(builder.select(inside, builder.fdiv(before, keep), e.constant(0.0)), builder.add(z, here))

        _in_curve(e, curve, count, body)
        return context.get_dummy_value()

    return _signature(block, 2, 10), codegen


@intrinsic
def reverse(
    typing, block, dt, gain, gain_kept, curve, count, grad_y, grad_z, given, bent, y, z, other_z, stiffness, kept,
    delta, grad_stiffness, grad_damping, grad_force,
):  # fmt: skip
    """Pointwise part of a step back. With p = ∂L/∂z' + dt ∂L/∂y' and q = g p:

        delta = q σ',   ∂L/∂y = ∂L/∂y' − ω q,   ∂L/∂z = kept p,   ∂ω −= q y,   ∂α −= q z,   ∂force = q

    where ∂L/∂y' has `given` added to it first, if there, and z is its mean with `other_z`, if there. The last three are
    left out where absent.
    """

    def codegen(context, builder, signature, args):
        (_, dt, gain, gain_kept, curve, count, grad_y, grad_z, given, bent, y, z, other_z, stiffness, kept, delta,
         grad_stiffness, grad_damping, grad_force) = args  # fmt: skip
        e = emitter(builder, signature)
        dt, gain, gain_kept = _constants(e, dt, gain, gain_kept)

        def body(here, curve):
            load = lambda address: e.load(builder.add(address, here))  # noqa: E731
            position = builder.fadd(load(grad_y), _optional(e, given, here))
            p, keep = e.fma(dt, position, load(grad_z)), load(kept)
            q = builder.fmul(e.fma(gain_kept, keep, gain), p)
            e.store(builder.fmul(q, _slope(e, load(bent), curve)), builder.add(delta, here))
            e.store(e.fma(builder.fneg(load(stiffness)), q, position), builder.add(grad_y, here))
            e.store(builder.fmul(keep, p), builder.add(grad_z, here))
            less = builder.fneg(q)
            with builder.if_then(cgutils.is_not_null(builder, grad_stiffness)):
                place = builder.add(grad_stiffness, here)
                e.store(e.fma(less, load(y), e.load(place)), place)
            with builder.if_then(cgutils.is_not_null(builder, grad_damping)):
                place, velocity = builder.add(grad_damping, here), cgutils.alloca_once_value(builder, load(z))
                with builder.if_then(cgutils.is_not_null(builder, other_z)):
                    total = builder.fadd(builder.load(velocity), load(other_z))
                    builder.store(builder.fmul(e.constant(0.5), total), velocity)
                e.store(e.fma(less, builder.load(velocity), e.load(place)), place)
            with builder.if_then(cgutils.is_not_null(builder, grad_force)):
                e.store(q, builder.add(grad_force, here))

        _in_curve(e, curve, count, body)
        return context.get_dummy_value()

    return _signature(block, 3, 15), codegen


@intrinsic
def follow(typing, block, number, count, y, best, when):
    """Where y > best, best = y and when = number."""

    def codegen(context, builder, signature, args):
        _, number, count, y, best, when = args
        e = emitter(builder, signature)
        (number,) = _constants(e, number)
        with e.loop(count) as column:
            here = builder.mul(column.index, e.index(e.bytes))
            value, place, time = e.load(builder.add(y, here)), builder.add(best, here), builder.add(when, here)
            before = e.load(place)
            unknown = builder.fcmp_unordered("uno", value, value)  # not-a-number is the largest
            larger = builder.or_(builder.fcmp_ordered(">", value, before), unknown)
            e.store(builder.select(larger, value, before), place)
            e.store(builder.select(larger, number, e.load(time)), time)
        return context.get_dummy_value()

    return _signature(block, 1, 4), codegen


@intrinsic
def at_its_time(typing, block, number, count, gradient, when, target):
    """Add to the target: the gradient where when = number."""

    def codegen(context, builder, signature, args):
        _, number, count, gradient, when, target = args
        e = emitter(builder, signature)
        (number,) = _constants(e, number)
        with e.loop(count) as column:
            here = builder.mul(column.index, e.index(e.bytes))
            chosen = builder.fcmp_ordered("==", e.load(builder.add(when, here)), number)
            given = builder.select(chosen, e.load(builder.add(gradient, here)), e.constant(0.0))
            place = builder.add(target, here)
            e.store(builder.fadd(e.load(place), given), place)
        return context.get_dummy_value()

    return _signature(block, 1, 4), codegen


@intrinsic
def go_back(typing, block, dt, count, later_y, later_z, y):
    """y = y' − dt z'."""

    def codegen(context, builder, signature, args):
        _, dt, count, later_y, later_z, y = args
        e = emitter(builder, signature)
        (dt,) = _constants(e, dt)
        with e.loop(count) as column:
            here = builder.mul(column.index, e.index(e.bytes))
            moved = e.fma(builder.fneg(dt), e.load(builder.add(later_z, here)), e.load(builder.add(later_y, here)))
            e.store(moved, builder.add(y, here))
        return context.get_dummy_value()

    return _signature(block, 1, 4), codegen
