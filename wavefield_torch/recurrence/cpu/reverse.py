"""The backward pass on the CPU: segments of time from last to first, in each all groups of samples, then their sums.

The states of a segment were all stored in lane layout, or are computed again from a checkpoint.
"""

from typing import NamedTuple

import numpy as np
import torch

from wavefield_torch.recurrence.cpu.arguments import (
    GATHERED_INPUTS,
    Worker,
    drive_for,
    group_for,
    in_rows,
    placed,
    plan_for,
    readout_for,
    slope,
    workers,
)
from wavefield_torch.recurrence.cpu.kernels import backward as backward_kernels
from wavefield_torch.recurrence.cpu.kernels.backward import Gradients, Outer, Totals
from wavefield_torch.recurrence.cpu.kernels.forward import Placed
from wavefield_torch.recurrence.cpu.kernels.simd import TERMS
from wavefield_torch.recurrence.cpu.lanes import multiple
from wavefield_torch.recurrence.cpu.memory_pool import address, allocate
from wavefield_torch.recurrence.cpu.threads import parallel_map

_LANE_SUMS = 4  # up to so many inputs or outputs have their gradient summed lane by lane
_SEGMENT = 64  # steps, at least, between two reductions of the gradients


class Problem(NamedTuple):
    """What was computed, and which gradients of (x, encoder, kernel, bias, h0, weight) are wanted."""

    x: torch.Tensor
    encoder: torch.Tensor
    kernel: torch.Tensor
    bias: torch.Tensor
    h0: torch.Tensor
    lengths: torch.Tensor | None
    resets: torch.Tensor | None
    nonlinearity: str
    needs: list

    @property
    def tensors(self):
        """x, encoder, kernel, bias, h0."""
        return self[:5]


class States(NamedTuple):
    """What was kept of the states, in lane layout: every k-th."""

    every: int
    stored: torch.Tensor


class Given(NamedTuple):
    """What is known of the loss: its gradient at all states, at the last ones, or at the values of a readout."""

    states: torch.Tensor | None = None
    last: torch.Tensor | None = None
    batch_first: bool = False
    weight: torch.Tensor | None = None
    values: torch.Tensor | None = None


def gradients(problem, states, given):
    """Gradients of x, encoder, kernel, bias, h0 and, with a readout, its weight; None where not needed."""
    if problem.x.shape[1] == 0:
        tensors = [*problem.tensors, given.weight][: len(problem.needs)]
        return [torch.zeros_like(t) if need else None for t, need in zip(tensors, problem.needs, strict=True)]
    return _Reverse(problem, states, given).run()[: len(problem.needs)]


class _MapSums:
    """Gradient of a linear map between J numbers and all units, one running sum for each group."""

    def __init__(self, plan, count, wanted):
        self.plan, self.count = plan, count if wanted else 0
        by_lane = self.count if self.count <= _LANE_SUMS or plan.together == 1 else 0
        padded = multiple(self.count - by_lane, plan.block.lanes)
        numbers = plan.numbers
        self.total = allocate((plan.groups, by_lane, numbers), plan.dtype, clear=True)
        self.rows = allocate((plan.groups, numbers if padded else 0, padded), plan.dtype, clear=True)

    @property
    def lane_terms(self):
        return self.total.shape[1]

    def outer(self, index, lanes):
        """The part of one group, for the kernels."""
        return Outer(
            address(lanes), address(self.total, index), self.lane_terms, address(self.rows, index), self.rows.shape[2]
        )

    def summed(self):
        """(J, numbers) float64 over all groups, in their order."""
        if self.rows.size:
            return self.rows.sum(0, dtype=np.float64).T[: self.count]
        return self.total.sum(0, dtype=np.float64)


def _reduced(segments):
    """After which segments, going back, lanes are summed: the last, and whenever `_SEGMENT` steps have accumulated."""
    result, steps = [], 0
    for start, stop in segments:
        steps += stop - start
        result.append(start == segments[-1][0] or steps >= _SEGMENT)
        if result[-1]:
            steps = 0
    return result


class _Scratch(NamedTuple):
    """Memory of one thread; see `backward.Totals`."""

    worker: Worker
    states: np.ndarray
    kernel: np.ndarray
    kernel_sums: np.ndarray
    lanes: np.ndarray  # (1 + terms of the encoder + terms of the readout, sums)
    numbers: np.ndarray


class _Reverse:
    """One backward pass: what its segments share, and the running sums."""

    def __init__(self, problem, states, given):
        self.problem = problem = Problem(*(t.detach() for t in problem.tensors), *problem[5:])
        self.states = states
        self.given_states, self.given_last = (None if t is None else in_rows(t.detach()) for t in given[:2])
        inputs = problem.x.shape[2]
        self.gathered = inputs > GATHERED_INPUTS
        self.needs = needs = [*problem.needs, False][:6]
        plan = plan_for(problem.x, problem.encoder, problem.kernel)
        g, dtype = plan.geometry, plan.dtype
        self.plan = plan
        self.entering = drive_for(plan, problem.x, problem.encoder, problem.bias, problem.lengths, problem.resets)
        values = None if given.values is None else given.values.detach().contiguous().numpy()
        weight = None if given.weight is None else given.weight.detach()
        self.readout, self.readout_matrix = readout_for(plan, weight, values)
        self.batch_first = given.batch_first
        self.slope = slope(problem.nonlinearity)
        self.kernel = plan.packed(problem.kernel.numpy())
        self.adjoint = plan.packed(problem.kernel.transpose(0, 1).flip(2).numpy())
        self.stored = states.stored.numpy().reshape(plan.groups, -1)
        self.deltas = allocate((plan.groups, 2 * plan.slot), dtype, clear=True)

        outputs = 0 if values is None else values.shape[2]
        cells = g.rows * g.partners * g.taps if needs[2] else 0
        self.kernel_sum = np.zeros((plan.groups, cells))
        self.encoder_sum = _MapSums(plan, inputs, needs[1] and not self.gathered)
        self.readout_sum = _MapSums(plan, outputs, needs[5])
        self.bias_sum = np.zeros(plan.numbers)
        self.shared_sum = np.zeros((inputs, plan.numbers))  # what stretches add to the encoder's
        self.product_sum = torch.zeros(inputs, g.channels * g.size, dtype=problem.x.dtype) if self.gathered else None
        uneven = problem.lengths is not None
        self.grad_x = allocate(problem.x.shape if needs[0] else (0, 0, 0), dtype, clear=uneven)
        self.grad_h0 = problem.h0.new_empty(problem.h0.shape) if needs[4] else None

        self.length = self._segment_length()
        again = states.every > 1
        self.scratch = [
            _Scratch(
                worker,
                allocate(((self.length + 1) * plan.slot + plan.slack if again else 0,), dtype, clear=True),
                allocate((multiple(cells, plan.block.lanes) * plan.block.lanes,), dtype, clear=True),
                allocate((multiple(cells, plan.block.lanes),), dtype, clear=True),
                allocate((1 + self.encoder_sum.lane_terms + self.readout_sum.lane_terms, plan.sums), dtype, clear=True),
                allocate((plan.block.lanes * multiple(max(inputs, outputs), plan.block.lanes),), dtype, clear=True),
            )
            for worker in workers(plan, max(inputs, outputs, multiple(inputs, TERMS)))
        ]

    def run(self):
        steps = len(self.problem.x)
        segments = [(t, min(t + self.length, steps)) for t in reversed(range(0, steps, self.length))]
        apart = self.gathered or self.entering.drive.row.any()  # sums over all groups behind every segment
        together = 1 if apart else len(segments)
        for first in range(0, len(segments), together):
            self._run_segments(segments[first : first + together])
        return self._collect()

    def _segment_length(self):
        """Steps of a segment: what one checkpoint covers, or a fixed number."""
        return self.states.every if self.states.every > 1 else _SEGMENT

    def _run_segments(self, segments):
        """δ through segments (start, stop) from last to first, all groups, and what is summed over them at once."""
        plan, needs, batch = self.plan, self.needs, self.problem.x.shape[1]
        start, stop = segments[-1][0], segments[0][1]
        reduced = _reduced(segments)
        here = self.entering.drive.row[start:stop]
        first = here[here > 0].min(initial=len(self.problem.x) + 1)
        stretches = 1 + max(here.max() - first + 1, 0) if needs[1] or needs[3] else 0
        stretch = allocate((plan.groups, stretches, plan.numbers), plan.dtype, clear=True)
        kept, steps = np.full(len(self.problem.x), -1), np.zeros(0, np.int64)
        if self.gathered and (needs[0] or needs[1]):
            steps = start + np.flatnonzero((here == 0) | needs[0])
            kept[steps] = np.arange(len(steps))
        units = plan.geometry.channels * plan.geometry.size
        deltas = allocate((len(steps), batch, units), plan.dtype, clear=self.problem.lengths is not None)
        row = units * plan.block.item
        arrays = Gradients(
            sequence=placed(self.given_states, not self.batch_first),
            last=placed(self.given_last),
            x=self.grad_x[:0] if self.gathered else self.grad_x,
            h0=placed(self.grad_h0),
            deltas=Placed(address(deltas), batch * row, row),
            kept=kept,
        )

        def work(index, own):
            group = group_for(plan, own.worker, index, len(self.problem.x), self.problem.lengths)
            first_readout = 1 + self.encoder_sum.lane_terms
            totals = Totals(
                kernel_lanes=own.kernel,
                kernel_sums=own.kernel_sums,
                kernel=self.kernel_sum[index],
                stretch_lanes=address(own.lanes) if stretches else 0,
                stretch=address(stretch, index),
                encoder=self.encoder_sum.outer(index, own.lanes[1:first_readout]),
                readout=self.readout_sum.outer(index, own.lanes[first_readout:]),
                numbers=own.numbers,
            )
            for segment, last in zip(segments, reduced, strict=True):
                states = self._states(group, own.states, index, *segment)
                backward_kernels.backward(
                    plan.block, plan.geometry, *self.slope, address(self.adjoint), self.entering.drive, self.readout,
                    group, states, *segment, address(self.deltas, index), first, last, arrays, totals,
                )  # fmt: skip

        parallel_map(work, plan.groups, self.scratch)
        self._add_stretches(stretch, first)
        if len(steps):
            self._add_products(torch.from_numpy(deltas), steps)

    def _states(self, group, memory, index, start, stop):
        """Address of h[start..stop] of a group."""
        plan, every = self.plan, self.states.every
        states = address(memory)
        if every == 1:
            states = address(self.stored, index) + start * plan.slot * plan.block.item
        else:
            memory[: plan.slot] = self.stored[index, start // every * plan.slot :][: plan.slot]
            drive = self.entering.drive
            backward_kernels.replay(
                plan.block, plan.geometry, *self.slope, address(self.kernel), drive, group, start, stop, states
            )
        return states

    def _add_stretches(self, stretch, first):
        """Gradients of b and V from δ summed over stretches, for V times the input that all samples share there."""
        total = stretch.sum(0, dtype=np.float64)  # (stretches, numbers)
        self.bias_sum += total.sum(0)
        if self.needs[1] and len(total) > 1:
            inputs = self.entering.stretches[first - 1 :][: len(total) - 1]
            self.shared_sum += inputs.T.astype(np.float64) @ total[1:]

    def _add_products(self, deltas, steps):
        """Gradients of V and x from δ (steps, B, C·N) where there are many inputs."""
        drive, inputs = self.entering.drive, self.problem.x.shape[2]
        if self.needs[0]:
            matrix = self.problem.encoder.reshape(-1, inputs)
            self.grad_x[steps] = (deltas.flatten(0, 1) @ matrix).view(*deltas.shape[:2], inputs).numpy()
        apart = drive.row[steps] == 0
        if self.needs[1] and apart.any():
            deltas = deltas[torch.from_numpy(apart)].flatten(0, 1)
            if drive.choice.size:
                self.product_sum.index_add_(0, torch.from_numpy(drive.choice[steps[apart]]).flatten(), deltas)
            else:
                self.product_sum.addmm_(torch.from_numpy(drive.x[steps[apart]]).flatten(0, 1).T, deltas)

    def _collect(self):
        """The gradients, in the shapes of the tensors."""
        plan, needs, dtype = self.plan, self.needs, self.problem.x.dtype
        g = plan.geometry
        found = [None] * 6
        if needs[0]:
            found[0] = torch.from_numpy(self.grad_x)
        if needs[1]:
            numbers = self.shared_sum if self.gathered else self.shared_sum + self.encoder_sum.summed()
            gradient = torch.from_numpy(plan.unpadded(numbers).astype(plan.dtype))
            if self.gathered:
                gradient += self.product_sum.view(gradient.shape)
            found[1] = gradient.permute(1, 2, 0).contiguous()
        if needs[2]:
            kernel = self.kernel_sum.sum(0).reshape(g.rows, g.partners, g.taps)[: g.channels, : g.channels]
            found[2] = torch.from_numpy(kernel.copy()).to(dtype)
        if needs[3]:
            found[3] = torch.from_numpy(plan.unpadded(self.bias_sum[None])[0].astype(plan.dtype))
        found[4] = self.grad_h0
        if needs[5]:
            found[5] = torch.from_numpy(plan.unpadded(self.readout_sum.summed()).astype(plan.dtype))
        return found
