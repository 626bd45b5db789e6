"""The recurrence on the CPU: Numba kernels, fused over time, several threads over groups of samples.

The backend's three functions, for the recurrence alone and with a readout of every state. `arguments` prepares what the
kernels are given, `forward` and `backward` hold the loops, `_simd*` the arithmetic, `reverse` the way
back through the segments of a sequence.
"""

import torch

from wavefield_torch.recurrence.cpu import forward as _cpu_kernels
from wavefield_torch.recurrence.cpu.arguments import drive_for, group_for, plan_for, readout_for, slope, workers
from wavefield_torch.recurrence.cpu.lanes import whole
from wavefield_torch.recurrence.cpu.memory_pool import address, take
from wavefield_torch.recurrence.cpu.reverse import Given, Problem, States, gradients
from wavefield_torch.recurrence.cpu.simd import TERMS
from wavefield_torch.recurrence.cpu.threads import share_out


def saved_shape(x, encoder, kernel, return_sequence, checkpoint_every):
    """Shape of the states that `forward` keeps for `backward`."""
    if checkpoint_every == 0 or return_sequence:
        return (0,)
    plan = plan_for(x, encoder, kernel)
    return (plan.groups * plan.stored(x.shape[0], checkpoint_every),)


def forward(x, encoder, kernel, bias, h0, nonlinearity, return_sequence, checkpoint_every):
    """States (T, B, C, N) or the last (B, C, N), and the kept states in lane layout."""
    h = x.new_empty((x.shape[0], *h0.shape) if return_sequence else h0.shape)
    every = 0 if return_sequence else checkpoint_every
    return h, _run(x, encoder, kernel, bias, h0, nonlinearity, every, **{"sequence" if return_sequence else "last": h})


def forward_readout(x, encoder, kernel, bias, h0, weight, nonlinearity, checkpoint_every):
    """Readout W h[t] of every state (T, B, O), and the kept states in lane layout."""
    values = x.new_zeros(*x.shape[:2], len(weight))
    return values, _run(x, encoder, kernel, bias, h0, nonlinearity, checkpoint_every, weight=weight, values=values)


def _run(x, encoder, kernel, bias, h0, nonlinearity, every, *, sequence=None, last=None, weight=None, values=None):
    """All states; returns those that are kept."""
    x, encoder, kernel, bias, h0 = (t.detach() for t in (x, encoder, kernel, bias, h0))
    if x.shape[1] == 0:
        return x.new_empty(0)
    outputs = 0 if weight is None else len(weight)
    plan = plan_for(x, encoder, kernel)
    entering = drive_for(plan, x, encoder, bias)
    readout, _held = readout_for(plan, weight, None if values is None else values.numpy())
    floor, curved = slope(nonlinearity)
    packed, start = plan.packed(kernel.numpy()), h0.contiguous()
    stored = take((plan.groups, plan.stored(len(x), every)), plan.dtype)
    stored[:, stored.shape[1] - plan.slack :] = 0

    def work(index, worker):
        group = group_for(plan, worker, index)
        _cpu_kernels.forward(
            plan.block, plan.geometry, floor, curved, address(packed), entering.drive, readout, group,
            address(start), address(stored, index), every, address(sequence), address(last),
        )  # fmt: skip

    share_out(work, plan.groups, workers(plan, max(x.shape[2], whole(outputs, TERMS))))
    return torch.from_numpy(stored.reshape(-1))


def backward(grad, h, saved, x, encoder, kernel, bias, h0, nonlinearity, return_sequence, checkpoint_every, needs):
    """Gradients of x, encoder, kernel, bias and h0; None where not needed."""
    problem = Problem(x, encoder, kernel, bias, h0, nonlinearity, needs)
    if return_sequence:
        return gradients(problem, States(1, sequence=h), Given(sequence=grad))
    return gradients(problem, States(checkpoint_every, stored=saved), Given(last=grad))


def backward_readout(grad, saved, x, encoder, kernel, bias, h0, weight, nonlinearity, checkpoint_every, needs):
    """Gradients of x, encoder, kernel, bias, h0 and weight; None where not needed."""
    problem = Problem(x, encoder, kernel, bias, h0, nonlinearity, needs)
    return gradients(problem, States(checkpoint_every, stored=saved), Given(weight=weight, values=grad))
