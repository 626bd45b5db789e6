"""Arithmetic without denormal numbers, for the length of a time loop.

A fading wave leaves values below the smallest normal number (1e-38 in float32), on which a processor computes some
hundred times more slowly. A loop calls `flush_denormals` first and `restore_denormals` last: in between, on the
calling thread alone, such numbers are read and written as zero.
"""

from __future__ import annotations

import platform

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

_MACHINE = platform.machine().lower()
_X86, _ARM = _MACHINE in ("x86_64", "amd64"), _MACHINE in ("aarch64", "arm64")
_FLUSH = 0x8040 if _X86 else 1 << 24  # flush to zero and denormals are zero in MXCSR; FZ in FPCR


@intrinsic
def flush_denormals(typing):
    """Treat denormal numbers as zero on this thread; returns the previous state of the control register."""

    def codegen(context, builder, signature, args):
        previous = _read(builder)
        _write(builder, builder.or_(previous, ir.Constant(ir.IntType(64), _FLUSH)))
        return previous

    return types.int64(), codegen


@intrinsic
def restore_denormals(typing, previous):
    """Put the control register back into the state that `flush_denormals` returned."""

    def codegen(context, builder, signature, args):
        _write(builder, args[0])
        return context.get_dummy_value()

    return types.void(types.int64), codegen


def _read(builder):
    wide = ir.IntType(64)
    if _X86:
        place = cgutils.alloca_once(builder, ir.IntType(32))
        _mxcsr(builder, "stmxcsr", place)
        return builder.zext(builder.load(place), wide)
    if _ARM:
        return builder.asm(ir.FunctionType(wide, []), "mrs $0, fpcr", "=r", [], True)
    return ir.Constant(wide, 0)


def _write(builder, value):
    if _X86:
        place = cgutils.alloca_once(builder, ir.IntType(32))
        builder.store(builder.trunc(value, ir.IntType(32)), place)
        _mxcsr(builder, "ldmxcsr", place)
    elif _ARM:
        builder.asm(ir.FunctionType(ir.VoidType(), [ir.IntType(64)]), "msr fpcr, $0", "r", [value], True)


def _mxcsr(builder, instruction, place):
    address = ir.IntType(8).as_pointer()
    name = f"llvm.x86.sse.{instruction}"
    function = cgutils.get_or_insert_function(builder.module, ir.FunctionType(ir.VoidType(), [address]), name)
    builder.call(function, [builder.bitcast(place, address)])
