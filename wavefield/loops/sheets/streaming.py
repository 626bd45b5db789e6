"""Copying a row to where it is saved, past the caches where there is much of it.

A store to memory first fetches the cache line that it changes, and what is stored drives out what the next step needs.
Where so much is saved that no cache holds it until somebody reads it, a row is written with the processor's
non-temporal stores, which do neither. They want complete vectors on a vector's address; the few cells before the first
and after the last are stored as usual.

Rows are given as an array and the number of their first element: a view of an array counts a reference to it, and
threads that count references to one array by turns wait for each other at every row.
"""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from wavefield.loops.sheets.compilation import compiled
from wavefield.loops.stencil import VECTOR_BYTES, _address

_INDEX, _BYTE = ir.IntType(64), ir.IntType(8)


@compiled
def copy(target, into, source, begin, cells, streams):
    """Copy elements begin… of one contiguous array to into… of another, as many as `cells`."""
    if streams:
        lanes = VECTOR_BYTES // target.itemsize
        head = min(-(_place(target) + into) % lanes, cells)
        whole = (cells - head) // lanes * lanes
        _elements(target, into, source, begin, head)
        _vectors(target, into + head, source, begin + head, whole // lanes)
        _elements(target, into + head + whole, source, begin + head + whole, cells - head - whole)
    else:
        _elements(target, into, source, begin, cells)


@intrinsic
def _place(typing, array):
    """Address of the first element, in elements."""

    def codegen(context, builder, signature, args):
        size = _size(context, signature.args[0])
        return builder.udiv(_address(context, builder, signature.args[0], args[0]), _INDEX(size))

    return types.intp(array), codegen


@intrinsic
def _elements(typing, target, into, source, begin, count):
    """Copy elements."""

    def codegen(context, builder, signature, args):
        there, here, size = _places(context, builder, signature, args)
        pointers = (builder.inttoptr(place, _BYTE.as_pointer()) for place in (there, here))
        cgutils.raw_memcpy(builder, *pointers, args[4], size)
        return context.get_dummy_value()

    return types.void(target, types.intp, source, types.intp, types.intp), codegen


@intrinsic
def _vectors(typing, target, into, source, begin, count):
    """Copy complete vectors, which are on a vector's address in the target."""

    def codegen(context, builder, signature, args):
        there, here, size = _places(context, builder, signature, args)
        vector = ir.VectorType(context.get_value_type(signature.args[0].dtype), VECTOR_BYTES // size)
        past_caches = builder.module.add_metadata([ir.IntType(32)(1)])
        with cgutils.for_range(builder, args[4]) as loop:
            offset = builder.mul(loop.index, _INDEX(VECTOR_BYTES))
            to, of = (builder.inttoptr(builder.add(place, offset), vector.as_pointer()) for place in (there, here))
            stored = builder.store(builder.load(of, align=size), to, align=VECTOR_BYTES)
            stored.set_metadata("nontemporal", past_caches)
        return context.get_dummy_value()

    return types.void(target, types.intp, source, types.intp, types.intp), codegen


def _places(context, builder, signature, args):
    """Addresses of the first elements in the target and in the source, and bytes of an element."""
    kinds, size = signature.args, _size(context, signature.args[0])
    there, here = (
        builder.add(_address(context, builder, kinds[k], args[k]), builder.mul(args[k + 1], _INDEX(size)))
        for k in (0, 2)
    )
    return there, here, size


def _size(context, kind):
    return context.get_abi_sizeof(context.get_value_type(kind.dtype))
