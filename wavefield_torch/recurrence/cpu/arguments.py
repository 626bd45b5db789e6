"""What the CPU kernels are given: layout, drive and readout as arrays, groups of samples and scratch memory."""

from typing import NamedTuple

import numpy as np
import torch

from wavefield_torch.recurrence.cpu import forward as _cpu_kernels
from wavefield_torch.recurrence.cpu.forward import Drive, Group, Readout
from wavefield_torch.recurrence.cpu.lanes import layout, whole
from wavefield_torch.recurrence.cpu.memory_pool import address, take
from wavefield_torch.recurrence.cpu.simd_block import vector_bytes

VECTOR_BYTES = vector_bytes()
GATHERED_INPUTS = 16  # more inputs than this are looked up where they are one-hot, and their gradient is a product
_SHARING_BATCH = 4  # from this batch on inputs that are equal for all samples are looked for


def plan_for(x, encoder, kernel):
    channels, size = encoder.shape[:2]
    dtype = "float64" if x.dtype == torch.float64 else "float32"
    return layout(channels, size, kernel.shape[2], x.shape[1], dtype, VECTOR_BYTES)


class Entering(NamedTuple):
    """A drive and the arrays it points into."""

    drive: Drive
    stretches: np.ndarray  # (r, I): inputs that the whole batch shares, one for each row of the table but the first
    held: tuple


def drive_for(plan, x, encoder, bias):
    """Everything that enters the recurrence."""
    steps, batch, inputs = x.shape
    expanded = x.stride(1) == 0 and batch >= _SHARING_BATCH
    x = (x[:, :1] if expanded else x).contiguous().numpy()
    row = np.zeros(steps, np.int64)
    if inputs and batch >= _SHARING_BATCH:
        _cpu_kernels.find_stretches(x, row)
    stretches = np.ascontiguousarray(x[np.flatnonzero(np.diff(row, prepend=0) > 0), 0])  # where each begins
    by_input = encoder.permute(2, 0, 1).contiguous().numpy()  # (I, C, N)
    matrix = plan.padded(by_input)
    table = plan.padded(bias.expand(1 + len(stretches), -1, -1).numpy())
    if len(stretches):
        _cpu_kernels.project(plan.block, plan.geometry, table.ctypes.data, address(matrix), stretches)
    choice = np.zeros((0, 0), np.int64)
    if inputs > GATHERED_INPUTS and not row.all():
        found = np.zeros(x.shape[:2], np.int64)
        if _cpu_kernels.find_choices(x, row, found):
            choice = found
    drive = Drive(address(table), row, address(matrix), len(matrix), x, choice, address(by_input))
    return Entering(drive, stretches, (table, matrix, by_input))


def readout_for(plan, weight, values):
    """The readout of weight (O, C, N) or None, values (T, B, O), and what it points into."""
    if weight is None:
        return Readout(0, 0, np.zeros((0, 0, 0), plan.dtype)), None
    matrix = plan.padded(weight.numpy())
    return Readout(address(matrix), len(matrix), values), matrix


def slope(nonlinearity):
    """(floor below which a ReLU is shut, whether the slope is that of tanh)."""
    floor = 0.0 if nonlinearity == "relu" else -np.inf
    return floor, nonlinearity == "tanh"


class Worker(NamedTuple):
    """Scratch memory of one thread: a group to be filled in, and the arrays it points into."""

    group: Group
    held: tuple


def workers(plan, terms):
    """One for each thread that will be of use; `terms` numbers may enter or leave at a step."""
    g, block = plan.geometry, plan.block
    held = [
        (
            take((g.rows * g.sums // block.item,), plan.dtype, clear=True),
            take((2 * plan.slot + plan.slack,), plan.dtype),
            take((2, g.channels * g.size), plan.dtype, clear=True),
        )
        for _ in range(max(1, min(torch.get_num_threads(), plan.groups)))
    ]
    return [
        Worker(
            Group(
                samples=np.zeros(plan.together, np.int64),
                real=0,
                addresses=np.zeros(plan.together, np.int64),
                values=take((whole(max(terms, 1), 16) * block.lanes,), plan.dtype),
                others=take((2, whole(max(terms, 1), 16) * block.lanes), plan.dtype),
                addend=address(addend),
                pair=address(pair),
                zeros=address(spare, 0),
                waste=address(spare, 1),
            ),
            (addend, pair, spare),
        )
        for addend, pair, spare in held
    ]


def group_for(plan, worker, index):
    """The worker's buffers, set to the samples of a group."""
    first = index * plan.together
    real = min(plan.together, plan.geometry.batch - first)
    worker.group.samples[:] = first + np.minimum(np.arange(plan.together), real - 1)
    return worker.group._replace(real=real)
