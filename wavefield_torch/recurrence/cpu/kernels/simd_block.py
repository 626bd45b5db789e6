"""What register blocks are made of: their shape as a Numba type, and LLVM vectors.

A `Block` says how many numbers are held in registers: Numba sees them as part of its type, and compiles (and caches)
one version for each. All addresses are integers, all distances bytes.
"""

import platform
from dataclasses import dataclass, fields

import llvmlite.binding
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import NativeValue, models, overload_attribute, register_model, typeof_impl, unbox


@dataclass(frozen=True)
class Block:
    """What is known when a register block is compiled."""

    item: int  # bytes of an element: 4 (float32) or 8 (float64)
    lanes: int  # L, elements of a vector
    step: int  # elements from one tap to the next: L if the lanes are samples, 1 if they are positions
    outputs: int  # convolution: output channels held in registers,
    columns: int  # and vectors of each of them
    deltas: int  # gradient of the kernel: channels of δ held in registers,
    partners: int  # and channels of the state beside them
    taps: int  # K, kernel width, if it is written out (3); 0 for a loop over any number

    @property
    def together(self):
        """Whether the lanes are samples."""
        return self.step == self.lanes


class _BlockType(types.Type):
    def __init__(self, block):
        self.block = block
        super().__init__(name=repr(block))


@typeof_impl.register(Block)
def _typeof_block(block, context):
    return _BlockType(block)


register_model(_BlockType)(models.OpaqueModel)


@unbox(_BlockType)
def _unbox_block(kind, obj, context):
    return NativeValue(context.context.get_dummy_value())


def _constant(name):
    @overload_attribute(_BlockType, name)
    def attribute(block):
        number = getattr(block.block, name)
        return lambda block: number


for _name in (*(f.name for f in fields(Block)), "together"):
    _constant(_name)


def vector_bytes():
    """Width of the machine's vectors: 64 (AVX-512), 32 (AVX) or 16 (SSE, NEON)."""
    features = llvmlite.binding.get_host_cpu_features()
    if features.get("avx512f"):
        return 64
    return 32 if features.get("avx") else 16


def vector_registers(width):
    """How many of them there are."""
    return 32 if width == 64 or platform.machine().lower() in ("arm64", "aarch64") else 16


class _Emitter:
    """Vector instructions for one block, emitted at the builder's place."""

    def __init__(self, builder, block):
        self.builder = builder
        for field in fields(block):
            setattr(self, field.name, getattr(block, field.name))
        self.together = block.together
        self.scalar = ir.DoubleType() if self.item == 8 else ir.FloatType()
        self.vector = ir.VectorType(self.scalar, self.lanes)
        self.bytes = self.item * self.lanes
        self.suffix = f"v{self.lanes}f{8 * self.item}"

    def index(self, n):
        return ir.IntType(64)(n)

    def at(self, base, *moves):
        """base + Σ distance · count, for pairs whose parts may be numbers or values."""
        for distance, count in moves:
            if isinstance(distance, int) and isinstance(count, int):
                base = self.builder.add(base, self.index(distance * count))
                continue
            distance, count = (self.index(v) if isinstance(v, int) else v for v in (distance, count))
            base = self.builder.add(base, self.builder.mul(distance, count))
        return base

    def load(self, address):
        pointer = self.builder.inttoptr(address, self.vector.as_pointer())
        return self.builder.load(pointer, align=self.item)

    def store(self, value, address):
        self.builder.store(value, self.builder.inttoptr(address, self.vector.as_pointer()), align=self.item)

    def prefetch(self, address, *, near=False, write=False):
        i32 = ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [ir.IntType(8).as_pointer(), i32, i32, i32])
        function = cgutils.get_or_insert_function(self.builder.module, kind, "llvm.prefetch.p0")
        pointer = self.builder.inttoptr(address, ir.IntType(8).as_pointer())
        self.builder.call(function, [pointer, i32(int(write)), i32(3 if near else 2), i32(1)])

    def spread(self, scalar):
        undefined = ir.Constant(self.vector, ir.Undefined)
        one = self.builder.insert_element(undefined, scalar, ir.IntType(32)(0))
        first = ir.Constant(ir.VectorType(ir.IntType(32), self.lanes), [0] * self.lanes)
        return self.builder.shuffle_vector(one, undefined, first)

    def load_spread(self, address):
        return self.spread(self.builder.load(self.builder.inttoptr(address, self.scalar.as_pointer())))

    def constant(self, value):
        return ir.Constant(self.vector, [value] * self.lanes)

    def fma(self, a, b, c):
        kind = ir.FunctionType(self.vector, [self.vector] * 3)
        function = cgutils.get_or_insert_function(self.builder.module, kind, f"llvm.fmuladd.{self.suffix}")
        return self.builder.call(function, [a, b, c])

    def accumulators(self, *shape):
        cells = {cell: cgutils.alloca_once(self.builder, self.vector) for cell in np.ndindex(*shape)}
        for slot in cells.values():
            self.builder.store(self.constant(0.0), slot)
        return cells

    def add_product(self, slot, a, b):
        self.builder.store(self.fma(a, b, self.builder.load(slot)), slot)

    def present(self, address):
        return cgutils.if_likely(self.builder, cgutils.is_not_null(self.builder, address))

    def loop(self, count):
        return cgutils.for_range(self.builder, count)


def emitter(builder, signature):
    """For the block that is the first argument of an intrinsic."""
    return _Emitter(builder, signature.args[0].block)


def addresses(block, count, *others):
    """Signature of an intrinsic that takes a block, others, and so many addresses or distances."""
    return types.void(block, *others, *[types.intp] * count)
