"""A Numba intrinsic for what is not a register block: the hyperbolic tangent."""

import numpy as np
from llvmlite import ir
from numba.extending import intrinsic

from wavefield_torch.recurrence.cpu.kernels.simd_block import addresses, emitter


@intrinsic
def apply_tanh(typing, block, target, count):
    """target[m] = tanh(target[m]) from expm1(2|x|) = 2^k (1 + expm1(r)) − 1, with |r| ≤ ln(2)/2."""

    def codegen(context, builder, signature, args):
        _, target, count = args
        e = emitter(builder, signature)
        with e.loop(count) as column:
            place = builder.add(target, builder.mul(column.index, e.index(e.bytes)))
            e.store(tanh(e, e.load(place)), place)
        return context.get_dummy_value()

    return addresses(block, 2), codegen


def tanh(e, x):
    """Emit the tangent of a vector."""
    builder = e.builder
    mantissa, exponent_bias, terms, limit = (52, 1023, 14, 40.0) if e.item == 8 else (23, 127, 8, 20.0)
    integers = ir.VectorType(ir.IntType(8 * e.item), e.lanes)

    def whole(n):
        return ir.Constant(integers, [n] * e.lanes)

    sign = builder.and_(builder.bitcast(x, integers), whole(-(2 ** (8 * e.item - 1))))
    size = builder.bitcast(builder.xor(builder.bitcast(x, integers), sign), e.vector)
    y = builder.fadd(size, size)
    y = builder.select(builder.fcmp_ordered(">", y, e.constant(limit)), e.constant(limit), y)  # 1 beyond it
    magic = e.constant(1.5 * 2.0**mantissa)  # adding it leaves the nearest integer in the low bits
    shifted = e.fma(y, e.constant(1 / np.log(2)), magic)
    k = builder.fsub(shifted, magic)
    high = float(np.float32(np.log(2)).view(np.int32) // 4096 * 4096)
    high = float(np.int32(high).view(np.float32))  # its product with k is exact
    r = e.fma(k, e.constant(-high), y)
    r = e.fma(k, e.constant(high - np.log(2)), r)
    series = e.constant(1.0)
    for n in range(terms, 1, -1):  # r (1 + r/2 (1 + r/3 (1 + …)))
        series = e.fma(builder.fmul(r, e.constant(1 / n)), series, e.constant(1.0))
    series = builder.fmul(r, series)
    power = builder.add(builder.bitcast(shifted, integers), whole(exponent_bias))
    power = builder.bitcast(builder.shl(power, whole(mantissa)), e.vector)
    e2 = e.fma(power, series, builder.fsub(power, e.constant(1.0)))
    result = builder.fdiv(e2, builder.fadd(e2, e.constant(2.0)))
    return builder.bitcast(builder.or_(builder.bitcast(result, integers), sign), e.vector)
