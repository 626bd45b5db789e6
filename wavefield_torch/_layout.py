"""How states and parameters of the CPU kernels lie in memory, and which register block computes them."""

import functools
from dataclasses import dataclass

import numpy as np

from wavefield_torch import _simd
from wavefield_torch._cpu_kernels import Geometry
from wavefield_torch._workspace import take

_SAMPLE_ALONE = 1.15  # vectors over positions must be so many times fewer to be preferred


@dataclass(frozen=True)
class Layout:
    """How states of C rings of N lie in memory for a batch of B; `_cpu_kernels` explains the fields."""

    block: _simd.Block
    geometry: Geometry
    dtype: str

    @property
    def together(self):
        """Samples of a group."""
        return self.block.lanes if self.block.together else 1

    @property
    def groups(self):
        return -(-self.geometry.batch // self.together)

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
        """Parameters (J, C, N) as (J padded to whole `TERMS`, numbers), zero where there is no unit."""
        count = len(parameters)
        result = take((whole(count, _simd.TERMS), self.numbers), self.dtype, clear=True)
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


@functools.lru_cache(maxsize=256)
def layout(channels, size, taps, batch, dtype, width):
    """The layout for these shapes on vectors of `width` bytes."""
    item = np.dtype(dtype).itemsize
    lanes = width // item
    across_ring = -(-size // lanes)  # vectors of a row if they run over positions
    alone = -(-batch // lanes) * size > _SAMPLE_ALONE * batch * across_ring
    step, filled = (1, across_ring) if alone else (lanes, size)
    outputs, across, partners = _register_block(channels, filled, item, _simd.vector_registers(width))
    rows, vectors = whole(channels, outputs), whole(filled, across)
    reach, column = taps // 2, lanes * item
    origin = whole(reach * step, lanes)
    row = whole(origin + vectors * lanes + reach * step, lanes)
    row += lanes if row // lanes % 2 == 0 else 0  # rows an even number of lines apart crowd few sets of the cache
    parameter = column if alone else item
    numbers = whole(rows * vectors * parameter, column)
    geometry = Geometry(
        channels=channels,
        size=size,
        batch=batch,
        taps=taps,
        reach=reach,
        rows=rows,
        partners=whole(channels, partners),
        vectors=vectors,
        filled=filled,
        column=column,
        row=row * item,
        origin=origin * item,
        first_tap=(origin - reach * step) * item,
        slot=rows * row * item,
        parameter=parameter,
        parameter_row=vectors * parameter,
        numbers=numbers,
        sums=vectors * column,
        all_sums=numbers if alone else numbers * lanes,
    )
    block = _simd.Block(item, lanes, step, outputs, across, partners, taps if taps == 3 else 0)
    return Layout(block, geometry, dtype)


def whole(count, block):
    return -(-count // block) * block


# outputs × columns of a block and the partners of its weight gradient, for 32 and for 16 vector registers, chosen so
# that sums, the window of the state and one weight stay in registers; few, because each is compiled when first used
_BLOCKS = {
    32: ((1, 8, 1), (2, 8, 2), (3, 6, 2), (4, 5, 2)),
    16: ((1, 6, 1), (2, 4, 1), (3, 3, 1), (4, 2, 1)),
}
_DOUBLE_BLOCKS = {32: ((2, 8, 2),), 16: ((2, 4, 1),)}


def _register_block(channels, vectors, item, registers):
    """The block that wastes least on channels and positions that are not there: (outputs, columns, partners)."""
    blocks = (_DOUBLE_BLOCKS if item == 8 else _BLOCKS)[registers]

    def work(block):
        outputs, columns, _ = block
        loads = (columns + 2) / (3 * outputs * columns) + 1 / columns
        return whole(channels, outputs) * whole(vectors, columns) * (1 + loads / 4)

    return min(blocks, key=work)
