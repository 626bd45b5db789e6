"""The recurrence on the CPU: Numba kernels, fused over time, several threads over groups of samples.

The functions of a backend (see `scan`), for the recurrence alone and with a readout of every state. `arguments`
prepares what the kernels are given, `kernels` are the compiled loops, `reverse` drives the backward pass through the
segments of a sequence.
"""

import torch

from wavefield_torch.recurrence.cpu.arguments import (
    drive_for,
    group_for,
    in_rows,
    placed,
    plan_for,
    readout_for,
    slope,
    workers,
)
from wavefield_torch.recurrence.cpu.kernels import forward as forward_kernels
from wavefield_torch.recurrence.cpu.kernels.simd import TERMS
from wavefield_torch.recurrence.cpu.lanes import multiple
from wavefield_torch.recurrence.cpu.memory_pool import address, allocate
from wavefield_torch.recurrence.cpu.reverse import Given, Problem, States, gradients
from wavefield_torch.recurrence.cpu.threads import parallel_map


def saved_shape(x, encoder, kernel, checkpoint_every):
    """Shape of the states that `forward` keeps for `backward`."""
    if checkpoint_every == 0:
        return (0,)
    plan = plan_for(x, encoder, kernel)
    return (plan.groups * plan.stored(x.shape[0], checkpoint_every),)


def forward(inputs, lengths, resets, nonlinearity, return_sequence, batch_first, checkpoint_every):
    """States (T, B, C, N), (B, T, C, N) if `batch_first`, or empty; the last (B, C, N); the kept in lane layout."""
    x, h0 = inputs[0], inputs[4]
    steps, batch = x.shape[:2]
    states = empty(((batch, steps) if batch_first else (steps, batch)) + h0.shape[1:] if return_sequence else (0,), x)
    if return_sequence and lengths is not None:
        ended = torch.arange(steps) >= lengths[:, None]
        states[ended if batch_first else ended.T] = 0
    last = x.new_empty(h0.shape)
    where = placed(states, not batch_first)
    saved = _run(inputs, lengths, resets, nonlinearity, checkpoint_every, states=where, last=placed(last))
    return states, last, saved


def forward_readout(inputs, weight, nonlinearity, checkpoint_every):
    """Readout W h[t] of every state (T, B, O), and the kept states in lane layout."""
    x = inputs[0]
    values = x.new_zeros(*x.shape[:2], len(weight))
    return values, _run(inputs, None, None, nonlinearity, checkpoint_every, weight=weight, values=values)


def empty(shape, like):
    """A tensor whose memory comes from the pool, and returns to it when the tensor and its views are gone."""
    return torch.from_numpy(allocate(tuple(shape), str(like.dtype).removeprefix("torch.")))


def _run(inputs, lengths, resets, nonlinearity, every, *, states=None, last=None, weight=None, values=None):
    """All states; returns those that are kept."""
    x, encoder, kernel, bias, h0 = (t.detach() for t in inputs)
    if x.shape[1] == 0:
        return x.new_empty(0)
    outputs = 0 if weight is None else len(weight)
    plan = plan_for(x, encoder, kernel)
    entering = drive_for(plan, x, encoder, bias, lengths, resets)
    readout, _held = readout_for(plan, weight, None if values is None else values.numpy())
    floor, curved = slope(nonlinearity)
    nowhere = placed(None)
    packed, start = plan.packed(kernel.numpy()), in_rows(h0)
    stored = allocate((plan.groups, plan.stored(len(x), every)), plan.dtype)
    stored[:, stored.shape[1] - plan.slack :] = 0

    def work(index, worker):
        group = group_for(plan, worker, index, len(x), lengths)
        forward_kernels.forward(
            plan.block, plan.geometry, floor, curved, address(packed), entering.drive, readout, group,
            placed(start), address(stored, index), every, states or nowhere, last or nowhere,
        )  # fmt: skip

    parallel_map(work, plan.groups, workers(plan, max(x.shape[2], multiple(outputs, TERMS))))
    return torch.from_numpy(stored.reshape(-1))


def backward(grad_states, grad_last, saved, inputs, lengths, resets, nonlinearity, batch_first, every, needs):
    """Gradients of x, encoder, kernel, bias and h0; None where not needed."""
    problem = Problem(*inputs, lengths, resets, nonlinearity, needs)
    return gradients(problem, States(every, saved), Given(states=grad_states, last=grad_last, batch_first=batch_first))


def backward_readout(grad, saved, inputs, weight, nonlinearity, every, needs):
    """Gradients of x, encoder, kernel, bias, h0 and weight; None where not needed."""
    problem = Problem(*inputs, None, None, nonlinearity, needs)
    return gradients(problem, States(every, saved), Given(weight=weight, values=grad))
