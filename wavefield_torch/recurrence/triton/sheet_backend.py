"""The sheet on a GPU: a backend of `sheet_scan` made of the kernels in `sheet_kernels`.

The functions of a backend (see `sheet.scan`). A step is one launch forward and three back; readouts over time, and the
gradients of the weights, are products over all states of a segment, PyTorch's own. They follow
``torch.backends.cuda.matmul.allow_tf32``, which is off unless a user sets it; convolutions are not done in TF32 here.
"""

from __future__ import annotations

import math

import torch
import triton
from torch.nn.grad import conv2d_weight

from wavefield_torch.recurrence.sheet.reference import extended, kept_and_gain
from wavefield_torch.recurrence.sheet.segments import gains, invertible
from wavefield_torch.recurrence.triton.backend import launch
from wavefield_torch.recurrence.triton.sheet_kernels import advance_kernel, convolve_kernel, reverse_kernel

_READ_TOGETHER = 25  # states that wait for the readout in the forward pass
_BLOCK = 2048  # numbers of an accumulator
_CHANNELS = 16  # of a program at most
_LARGEST_KERNEL = 7
_CELLS = 1024  # of a program of the pointwise kernel


def refusal(device: str, taps: int) -> str | None:
    """Say why the kernels cannot run with so many taps on such a device, or None where they can."""
    if device != "cuda" and not triton.knobs.runtime.interpret:
        return f"Triton runs on GPUs; y0 is on {device}"
    if taps > _LARGEST_KERNEL:
        return f"the kernels are unrolled over at most {_LARGEST_KERNEL} taps, got {taps}"
    return None


def forward(problem, return_sequence, every):
    """(sequence, features or largest values, or empty; y; z; what is kept)."""
    run = _Steps(problem.detached())
    y, z, steps, weights = run.y0, run.z0, problem.steps, run.weights
    saved = y.new_empty(2 * -(-steps // every) + problem.largest if every else 0, *y.shape)
    output = y.new_empty(0)
    if return_sequence:
        output = y.new_empty(steps, *y.shape)
    elif weights is not None:
        output = y.new_zeros(len(weights), *y.shape)
    best, when = (None, None) if not problem.largest else (torch.full_like(y, -math.inf), torch.zeros_like(y))
    slots = max(2, min(steps, _READ_TOGETHER))
    states = output if return_sequence else y.new_empty(slots, *y.shape)
    velocities = y.new_empty(2, *y.shape)
    for t in range(steps):
        later_y, later_z = states[t if return_sequence else t % slots], velocities[t % 2]
        run.advance(y, z, t, later_y, later_z, best=best, when=when)
        y, z = later_y, later_z
        if weights is not None and ((t + 1) % slots == 0 or t + 1 == steps):
            count = t % slots + 1
            output.flatten(1).addmm_(weights[:, t + 1 - count : t + 1], states[:count].flatten(1))
        if every and ((t + 1) % every == 0 or t + 1 == steps):
            saved[t // every * 2] = y
            saved[t // every * 2 + 1] = z
    if problem.largest:
        output = best
        if every:
            saved[-1] = when
    return output, y.clone(), z.clone(), saved


def backward(grad_output, grad_y, grad_z, saved, problem, return_sequence, every, needs):
    """Gradients of y0, z0, kernel, ω, α, the input and the weights of the readout; None where not in `needs`."""
    problem = problem.detached()
    run, inverse = _Steps(problem), invertible(problem, every)
    steps, shape, weights = problem.steps, run.y0.shape, run.weights
    empty = run.y0.new_zeros
    grad_y, grad_z = (empty(shape) if g is None else g.detach().clone(memory_format=torch.contiguous_format)
                      for g in (grad_y, grad_z))  # fmt: skip
    grad_output = None if grad_output is None else grad_output.detach().contiguous()
    sums = {"kernel": empty(problem.kernel.shape) if needs[2] else None}
    sums |= {name: empty(shape) if need else None for name, need in zip(("rates", "damped"), needs[3:5], strict=True)}
    force = empty(steps, *shape) if needs[5] else None
    readout = None if not needs[6] else torch.zeros_like(weights)
    length = min(every, steps)
    ys, zs = (run.y0.new_empty(length + 1, *shape) for _ in range(2))
    bent, deltas = (run.y0.new_empty(length, *shape) for _ in range(2))
    for segment in reversed(range(-(-steps // every))):
        start = segment * every
        count = min(every, steps - start)
        if inverse:
            ys[count], zs[count] = saved[2 * segment], saved[2 * segment + 1]
            for i in reversed(range(count)):
                torch.sub(ys[i + 1], zs[i + 1], alpha=problem.dt, out=ys[i])
                run.advance(ys[i], zs[i + 1], start + i, None, zs[i], bent=bent[i])
        else:
            ys[0], zs[0] = saved[2 * segment - 2 : 2 * segment] if segment else (run.y0, run.z0)
            for i in range(count):
                run.advance(ys[i], zs[i], start + i, ys[i + 1], zs[i + 1], bent=bent[i])
        given = None
        if grad_output is not None and return_sequence:
            given = grad_output[start : start + count]
        elif grad_output is not None and weights is not None:
            given = (weights[:, start : start + count].T @ grad_output.flatten(1)).view(count, *shape)
        for i in reversed(range(count)):
            entering = None if given is None else given[i]
            if grad_output is not None and problem.largest:
                entering = torch.where(saved[-1] == start + i, grad_output, 0)
            into = None if force is None else force[start + i]
            run.back(grad_y, grad_z, entering, bent[i], ys[i], zs[i], zs[i + 1], deltas[i], into, **sums)
        if needs[2] and run.y0.numel():
            sums["kernel"] += _products(ys[:count], deltas[:count], problem)
        if readout is not None and grad_output is not None:
            readout[:, start : start + count] = grad_output.flatten(1) @ ys[1 : count + 1].flatten(1).T
    return grad_y, grad_z, sums["kernel"], sums["rates"], sums["damped"], force, readout


class _Steps:
    """The launches of one scan, and its tensors as the kernels read them."""

    def __init__(self, problem):
        self.problem = problem
        kept, _ = kept_and_gain(problem.damping, problem.dt, problem.scheme)
        tensors = (problem.y0, problem.z0, problem.kernel, problem.stiffness, kept)
        self.y0, self.z0, self.kernel, self.stiffness, self.kept = (t.contiguous() for t in tensors)
        self.adjoint = problem.kernel.transpose(0, 1).flip(2, 3).contiguous()
        self.drive = None if problem.drive is None else problem.drive.contiguous()
        self.weights = problem.weights
        self.batch, channels, self.height, self.width = self.y0.shape
        self.taps = problem.kernel.shape[-1]
        gain, gain_kept = gains(problem.dt, problem.scheme)
        self.equation = {"DT": problem.dt, "GAIN": gain, "GAIN_KEPT": gain_kept, "NONLINEARITY": problem.nonlinearity}
        self.sizes = {"C": channels, "H": self.height, "W": self.width, "K": self.taps}

    def _blocks(self, beyond=0):
        cells = (self.height + 2 * beyond) * (self.width + 2 * beyond)
        blocks = blocks_of(self.sizes["C"], cells)
        grid = (-(-cells // blocks["TILE"]), self.batch, -(-self.sizes["C"] // blocks["CP"]))
        return grid, blocks

    def advance(self, y, z, t, later_y, later_z, *, bent=None, best=None, when=None):
        """A step forward, or its inverse if there is no `later_y`."""
        if not y.numel():
            return
        grid, blocks = self._blocks()
        force = None if self.drive is None else self.drive[t]
        pointers = (t if t is not None else y for t in (force, later_y, later_z, bent, best, when))
        launch(
            advance_kernel, grid, y, z, self.kernel, self.stiffness, self.kept, *pointers, t,
            BOUNDARY=self.problem.boundary, FORCED=force is not None, BENT=bent is not None, LARGEST=best is not None,
            INVERSE=later_y is None, **self.equation, **self.sizes, **blocks,
        )  # fmt: skip

    def back(self, grad_y, grad_z, given, bent, y, z, later_z, delta, force, *, kernel, rates, damped):
        """A step back: gradients of y and z in place, δ and the gradient of the force anew, those of ω and α added."""
        if not y.numel():
            return
        count = y.numel()
        given, rates, damped, force = ((t, t is not None) for t in (given, rates, damped, force))
        pointers = [y if t is None else t for t, _ in (rates, damped, force)]
        launch(
            reverse_kernel, (-(-count // _CELLS),), grad_y, grad_z, y if given[0] is None else given[0], bent, y, z,
            later_z, self.stiffness, self.kept, delta, *pointers, count, TILE=_CELLS, SCHEME=self.problem.scheme,
            GIVEN=given[1], STIFFNESS=rates[1], DAMPING=damped[1], FORCE=force[1], num_warps=4, **self.equation,
        )  # fmt: skip
        boundary, beyond = self.problem.boundary, 0
        target = grad_y
        if boundary == "free":  # what cells beyond the edge receive belongs to those that they mirror
            boundary, beyond = "fixed", self.taps // 2
            target = y.new_zeros(*y.shape[:2], self.height + 2 * beyond, self.width + 2 * beyond)
        grid, blocks = self._blocks(beyond)
        launch(
            convolve_kernel, grid, delta, self.adjoint, target, BEYOND=beyond, BOUNDARY=boundary, **self.sizes, **blocks
        )  # fmt: skip
        if beyond:
            rows, columns = (_folding(size, beyond, y) for size in y.shape[-2:])
            grad_y += rows @ target @ columns.T


def blocks_of(channels: int, cells: int) -> dict[str, int]:
    """Channels CP and cells TILE of a program, and its warps."""
    padded = min(triton.next_power_of_2(channels), _CHANNELS)
    return {"CP": padded, "TILE": min(max(16, triton.next_power_of_2(cells)), _BLOCK // padded, 256), "num_warps": 4}


def _folding(size, beyond, like):
    """Matrix (size, size + 2·beyond) of zeros and ones: which cells stand where along an axis that is mirrored."""
    place = torch.arange(-beyond, size + beyond, device=like.device)
    turn = max(2 * (size - 1), 1)
    cell = (size - 1 - (place % turn - (size - 1)).abs()) % size
    return (cell == torch.arange(size, device=like.device)[:, None]).to(like.dtype)


def _products(states, deltas, problem):
    """The gradient of the kernel over the steps of a segment."""
    around = extended(states.flatten(0, 1), problem.kernel.shape[-1] // 2, problem.boundary)
    with torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False):
        return conv2d_weight(around, problem.kernel.shape, deltas.flatten(0, 1))
