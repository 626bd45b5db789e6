"""What the CPU kernels are given: layout, drive and readout as arrays, groups of samples and scratch memory."""

from typing import NamedTuple

import numpy as np
import torch

from wavefield_torch.recurrence.cpu.kernels import forward as forward_kernels
from wavefield_torch.recurrence.cpu.kernels.forward import Drive, Group, Placed, Readout
from wavefield_torch.recurrence.cpu.kernels.simd_block import vector_bytes
from wavefield_torch.recurrence.cpu.lanes import layout, multiple
from wavefield_torch.recurrence.cpu.memory_pool import address, allocate

VECTOR_BYTES = vector_bytes()
GATHERED_INPUTS = 16  # more inputs than this are looked up where they are one-hot, and their gradient is a product
_SHARING_BATCH = 4  # from this batch on inputs that are equal for all samples are looked for


def plan_for(x, encoder, kernel):
    """The layout for these tensors."""
    channels, size, taps = (int(n) for n in (*encoder.shape[:2], kernel.shape[2]))
    dtype = "float64" if x.dtype == torch.float64 else "float32"
    return layout(channels, size, taps, x.shape[1], dtype, VECTOR_BYTES)


def placed(tensor, steps_first=True):
    """Where a tensor (T, B, C, N), (B, T, C, N) or (B, C, N) has the numbers of each step and sample, or nowhere."""
    if tensor is None or not tensor.numel():
        return Placed(0, 0, 0)
    strides = [stride * tensor.element_size() for stride in tensor.stride()]
    if tensor.dim() == 3:
        return Placed(tensor.data_ptr(), 0, strides[0])
    step, sample = strides[:2] if steps_first else strides[1::-1]
    return Placed(tensor.data_ptr(), step, sample)


def in_rows(tensor):
    """The tensor itself, or a copy of it if the (C, N) numbers of a sample are not one after the other."""
    channels, size = tensor.shape[-2:]
    strides = [stride for stride, count in zip(tensor.stride()[-2:], (channels, size), strict=True) if count > 1]
    expected = [stride for stride, count in ((size, channels), (1, size)) if count > 1]
    return tensor if strides == expected else tensor.contiguous()


class Entering(NamedTuple):
    """A drive and the arrays it points into."""

    drive: Drive
    stretches: np.ndarray  # (r, I): inputs that the whole batch shares, one for each row of the table but the first
    held: tuple


def drive_for(plan, x, encoder, bias, lengths, resets):
    """Everything that enters the recurrence."""
    steps, batch, inputs = x.shape
    if lengths is not None:  # whatever the padding holds, also not-a-number
        x = x.masked_fill((torch.arange(steps)[:, None] >= lengths)[..., None], 0)
    expanded = x.stride(1) == 0 and batch >= _SHARING_BATCH
    x = (x[:, :1] if expanded else x).contiguous().numpy()
    row = np.zeros(steps, np.int64)
    if inputs and batch >= _SHARING_BATCH:
        forward_kernels.find_stretches(x, row)
    stretches = np.ascontiguousarray(x[np.flatnonzero(np.diff(row, prepend=0) > 0), 0])  # where each begins
    by_input = encoder.permute(2, 0, 1).contiguous().numpy()  # (I, C, N)
    matrix = plan.padded(by_input)
    table = plan.padded(bias.expand(1 + len(stretches), -1, -1).numpy())
    if len(stretches):
        forward_kernels.project(plan.block, plan.geometry, table.ctypes.data, address(matrix), stretches)
    choice = np.zeros((0, 0), np.int64)
    if inputs > GATHERED_INPUTS and not row.all():
        found = np.zeros(x.shape[:2], np.int64)
        if forward_kernels.find_choices(x, row, found):
            choice = found
    resets = np.zeros((0, 0), np.uint8) if resets is None else resets.to(torch.uint8).contiguous().numpy()
    drive = Drive(address(table), row, address(matrix), len(matrix), x, choice, address(by_input), resets)
    return Entering(drive, stretches, (table, matrix, by_input))


def readout_for(plan, weight, values):
    """The readout of weight (O, C, N) or None, values (T, B, O), and what it points into."""
    if weight is None:
        return Readout(0, 0, np.zeros((0, 0, 0), plan.dtype)), None
    matrix = plan.padded(weight.numpy())
    return Readout(address(matrix), len(matrix), values), matrix


def slope(nonlinearity):
    """(floor below which the slope is zero, whether the slope is that of tanh)."""
    floor = 0.0 if nonlinearity == "relu" else -np.inf
    return floor, nonlinearity == "tanh"


class Worker(NamedTuple):
    """Scratch memory of one thread: a group to be filled in, and the arrays it points into."""

    group: Group
    held: tuple


def workers(plan, terms):
    """One for each thread that has a group to work on; `terms` numbers may enter or leave at a step."""
    g, block = plan.geometry, plan.block
    held = [
        (
            allocate((2, g.rows * g.sums // block.item), plan.dtype, clear=True),
            allocate((3 * plan.slot + plan.slack,), plan.dtype),
            allocate((2, g.channels * g.size), plan.dtype, clear=True),
        )
        for _ in range(max(1, min(torch.get_num_threads(), plan.groups)))
    ]
    return [
        Worker(
            Group(
                samples=np.zeros(plan.together, np.int64),
                lengths=np.zeros(plan.together, np.int64),
                steps=0,
                shortest=0,
                real=0,
                addresses=np.zeros(plan.together, np.int64),
                values=allocate((multiple(max(terms, 1), 16) * block.lanes,), plan.dtype),
                others=allocate((2, multiple(max(terms, 1), 16) * block.lanes), plan.dtype),
                addend=address(addends, 0),
                extra=address(addends, 1),
                pair=address(states),
                masked=address(states) + 2 * g.slot,
                kept=allocate((block.lanes,), plan.dtype),
                zeros=address(spare, 0),
                waste=address(spare, 1),
            ),
            (addends, states, spare),
        )
        for addends, states, spare in held
    ]


def group_for(plan, worker, index, steps, lengths):
    """The worker's buffers, set to the samples of a group, of so many steps each or of `lengths` (B,)."""
    first = index * plan.together
    real = min(plan.together, plan.batch - first)
    group = worker.group
    group.samples[:] = first + np.minimum(np.arange(plan.together), real - 1)
    if lengths is None:
        group.lengths[:] = steps
        return group._replace(steps=steps, shortest=steps, real=real)
    group.lengths[:] = lengths.numpy()[group.samples]
    return group._replace(steps=int(group.lengths.max()), shortest=int(group.lengths.min()), real=real)
