"""How states and parameters of the CPU kernels lie in memory, and which register block computes them."""

import functools
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from wavefield_torch.recurrence.cpu.kernels.forward import Geometry
from wavefield_torch.recurrence.cpu.kernels.simd import TERMS
from wavefield_torch.recurrence.cpu.kernels.simd_block import Block, vector_registers
from wavefield_torch.recurrence.cpu.memory_pool import allocate

_SAMPLE_ALONE = 1.15  # vectors over positions must be so many times fewer to be preferred


@dataclass(frozen=True)
class Layout:
    """How states of C rings of N lie in memory for a batch of B; `kernels.forward` explains the geometry."""

    block: Block
    geometry: Geometry
    dtype: str
    batch: int

    @property
    def together(self):
        """Samples of a group."""
        return self.block.lanes if self.block.together else 1

    @property
    def groups(self):
        """Groups that the batch is divided into."""
        return -(-self.batch // self.together)

    @property
    def slot(self):
        """Elements of a state."""
        return self.geometry.slot // self.block.item

    @property
    def slack(self):
        """Elements behind the last state: blocks of the weight gradient may reach so far."""
        return max(self.geometry.partners - self.geometry.rows, 0) * self.geometry.row // self.block.item

    @property
    def numbers(self):
        """Elements of a set of parameters."""
        return self.geometry.numbers // self.block.item

    @property
    def sums(self):
        """Elements of such a set summed lane by lane."""
        return self.geometry.all_sums // self.block.item

    def stored(self, steps, every):
        """Elements of one group's stored states."""
        slots = {0: 0, 1: steps + 1}.get(every, -(-steps // max(every, 1)))
        return slots * self.slot + self.slack if slots else 0

    def padded(self, parameters):
        """Parameters (J, C, N) as (J padded to a multiple of `TERMS`, numbers), zero where there is no unit."""
        count = len(parameters)
        result = allocate((multiple(count, TERMS), self.numbers), self.dtype, clear=True)
        self.unpadded(result)[:count] = parameters
        return result

    def unpadded(self, numbers):
        """The units' part of (J, numbers), as a view (J, C, N)."""
        g = self.geometry
        columns = g.parameter_row // self.block.item
        cells = numbers[:, : g.rows * columns].reshape(len(numbers), g.rows, columns)
        return cells[:, : g.channels, : g.size]

    def packed(self, kernel):
        """Kernel (C, C, K) as (blocks, C, K, outputs of a block)."""
        g, outputs = self.geometry, self.block.outputs
        rows = np.zeros((g.rows, *kernel.shape[1:]), self.dtype)
        rows[: g.channels] = kernel
        return np.ascontiguousarray(rows.reshape(-1, outputs, *kernel.shape[1:]).transpose(0, 2, 3, 1))


def layout(channels, size, taps, batch, dtype, width):
    """The layout for these shapes on vectors of `width` bytes."""
    lanes = width // np.dtype(dtype).itemsize
    together, alone = _vectors(channels, size, dtype, width)
    positions = bool(-(-batch // lanes) * together > _SAMPLE_ALONE * batch * alone)  # vectors run over these
    return Layout(*_block_and_geometry(channels, size, taps, positions, dtype, width), dtype, batch)


@functools.lru_cache(maxsize=256)
def _vectors(channels, size, dtype, width):
    """Vectors of a row, padded to whole blocks, if they run over samples and if they run over positions."""
    item = np.dtype(dtype).itemsize
    counts = size, -(-size // (width // item))
    return [multiple(n, _shape(channels, n, item, vector_registers(width)).columns) for n in counts]


@functools.lru_cache(maxsize=256)
def _block_and_geometry(channels, size, taps, alone, dtype, width):
    """The register block and the numbers of a layout, with one sample to a group or as many as a vector has lanes."""
    item = np.dtype(dtype).itemsize
    lanes = width // item
    across_ring = -(-size // lanes)
    step, filled = (1, across_ring) if alone else (lanes, size)
    shape = _shape(channels, filled, item, vector_registers(width))
    rows = multiple(channels, max(shape.outputs, shape.deltas))
    vectors = multiple(filled, shape.columns)
    reach, column = taps // 2, lanes * item
    origin = multiple(reach * step, lanes)
    row = multiple(origin + vectors * lanes + reach * step, lanes)
    row += lanes if row // lanes % 2 == 0 else 0  # rows an even number of lines apart crowd few sets of the cache
    parameter = column if alone else item
    spaced = vectors | 1  # for the same reason
    numbers = multiple(rows * spaced * parameter, column)
    geometry = Geometry(
        channels=channels,
        size=size,
        taps=taps,
        reach=reach,
        rows=rows,
        partners=multiple(channels, shape.partners),
        vectors=vectors,
        filled=filled,
        column=column,
        row=row * item,
        origin=origin * item,
        first_tap=(origin - reach * step) * item,
        slot=rows * row * item,
        parameter=parameter,
        parameter_row=spaced * parameter,
        numbers=numbers,
        sums=spaced * column,
        all_sums=numbers if alone else numbers * lanes,
    )
    return Block(item, lanes, step, *shape, taps if taps == 3 else 0), geometry


def multiple(count, block):
    """Round up to a multiple of `block`."""
    return -(-count // block) * block


class _Shape(NamedTuple):
    outputs: int
    columns: int
    deltas: int
    partners: int

    def work(self, channels, vectors):
        """Time for this many channels and vectors of positions, those that pad a block included."""
        rows = multiple(channels, max(self.outputs, self.deltas))
        # a vector that is loaded costs a quarter of a turn of the two multipliers, a number that is spread an eighth
        loads = (self.columns + 2 + self.outputs * 1.5) / (6 * self.outputs * self.columns)
        moves = (self.deltas + self.partners * 2) / (6 * self.deltas * self.partners)
        few = max(1, 8 / (3 * self.deltas * self.partners))  # two multipliers, four turns each: eight sums under way
        convolution = multiple(vectors, self.columns) * channels * (1 + loads)
        return rows * (2 * convolution + vectors * multiple(channels, self.partners) * (few + moves))


# What is held in registers, for 32 and for 16 of them, so that sums, the window of the state and one weight fit; few
# shapes, because each is compiled when it is first used.
_SHAPES = {
    32: (_Shape(1, 8, 1, 1), _Shape(2, 8, 2, 2), _Shape(3, 6, 3, 2), _Shape(2, 8, 4, 2)),
    16: (_Shape(1, 6, 1, 1), _Shape(2, 4, 2, 1), _Shape(3, 3, 3, 1), _Shape(4, 2, 4, 1)),
}
_DOUBLE_SHAPES = {registers: shapes[1:2] for registers, shapes in _SHAPES.items()}


def _shape(channels, vectors, item, registers):
    """The shape that wastes least on channels and positions that are not there."""
    shapes = (_DOUBLE_SHAPES if item == 8 else _SHAPES)[registers]
    return min(shapes, key=lambda shape: shape.work(channels, vectors))
