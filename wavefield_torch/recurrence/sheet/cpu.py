"""The sheet on the CPU: Numba kernels, fused over time, one sample to a thread.

The functions of a backend (see `sheet.scan`). `kernels.steps` explains the layout and holds the loops.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from wavefield_torch.recurrence.cpu.arguments import VECTOR_BYTES
from wavefield_torch.recurrence.cpu.kernels.simd_block import Block, vector_registers
from wavefield_torch.recurrence.cpu.lanes import multiple
from wavefield_torch.recurrence.cpu.memory_pool import address, allocate
from wavefield_torch.recurrence.cpu.threads import parallel_map
from wavefield_torch.recurrence.sheet.kernels import steps as kernels
from wavefield_torch.recurrence.sheet.kernels.blocks import CURVES
from wavefield_torch.recurrence.sheet.kernels.steps import SCHEMES, Edges, Geometry, Memory, Mix, Sample, Step
from wavefield_torch.recurrence.sheet.reference import kept_and_gain
from wavefield_torch.recurrence.sheet.segments import gains, invertible

_READ_TOGETHER = 50  # states that wait for the readout in the forward pass


def forward(problem, return_sequence, every):
    """(sequence, features or largest values, or empty; y; z; what is kept)."""
    problem = problem.detached()
    y0, steps = problem.y0, problem.steps
    plan = _plan(problem)
    features = 0 if problem.weights is None else len(problem.weights)
    shape = (features,) if features else (steps,) if return_sequence else () if problem.largest else None
    output = _empty((0,) if shape is None else (*shape, *y0.shape), y0)
    y, z = torch.empty_like(y0, memory_format=torch.contiguous_format), y0.new_empty(y0.shape)
    kept = 2 * -(-steps // every) + problem.largest if every else 0
    saved = _empty((kept, *y0.shape), y0)
    given = _Given(plan, problem)
    mix = _mix(plan, problem)
    length = min(steps, _READ_TOGETHER)
    counts = dict(y=length + 1 if features else 2, z=1, features=mix.features, when=2 if problem.largest else 0)
    memories = [_memory(plan, **counts) for _ in range(_workers(y0))]
    results = Sample(*[0] * 14)._replace(
        **_where(output if return_sequence else None, "sequence"),
        **_where(None if return_sequence or shape is None else output, "features", bool(features)),
        **_where(saved, "saved"),
    )

    def work(index, memory):
        sample = _merged(given.sample(index), _at(results, index, y0))
        sample = sample._replace(y=_address(y, index), z=_address(z, index))
        kernels.forward(
            plan.block, plan.mix_block, plan.geometry, plan.step, plan.edges, address(given.kernel), mix, memory[0],
            sample, steps, every, length, problem.largest,
        )  # fmt: skip

    parallel_map(work, len(y0), memories)
    return output, y, z, saved


def backward(grad_output, grad_y, grad_z, saved, problem, return_sequence, every, needs):
    """Gradients of y0, z0, kernel, ω, α, the input and the weights of the readout; None where not in `needs`."""
    problem = problem.detached()
    y0, steps = problem.y0, problem.steps
    plan = _plan(problem)
    given = _Given(plan, problem)
    reversed_exactly = invertible(problem, every)
    features = problem.weights is not None and grad_output is not None
    mix = _mix(plan, problem if features else problem._replace(weights=None), every)
    kernel = problem.kernel
    adjoint = plan.packed(kernel.transpose(0, 1).flip(2, 3))
    found_y, found_z = y0.new_empty(y0.shape), y0.new_empty(y0.shape)
    rates, damped = (y0.new_empty(y0.shape) if needs[n] else None for n in (3, 4))
    force = _empty((steps, *y0.shape), y0) if needs[5] else None
    products = np.zeros((len(y0), *problem.weights.shape) if needs[6] and features else (0, 0, 0))
    weights = np.zeros((len(y0), *kernel.shape[:2], kernel.shape[2] ** 2))
    partners = multiple(every, plan.mix_block.partners) if features else every
    largest = problem.largest and grad_output is not None
    counts = dict(
        y=1 + partners,
        z=2 if reversed_exactly else every + 1,
        bent=1 if reversed_exactly else every,
        gradients=5,
        given=multiple(every, plan.mix_block.outputs) if features else 1,
        features=max(mix.features, int(largest)),
        when=int(largest),
        totals=plan.geometry.rows**2 * kernel.shape[2] ** 2,
        products=mix.features * partners,
    )
    memories = [_memory(plan, **counts) for _ in range(_workers(y0))]
    grad_output, grad_y, grad_z = (None if t is None else _in_planes(t.detach()) for t in (grad_output, grad_y, grad_z))
    results = Sample(*[0] * 14)._replace(**_where(force, "force"))
    entering = Sample(*[0] * 14)._replace(
        **_where(grad_output if return_sequence else None, "sequence"),
        **_where(None if return_sequence else grad_output, "features", features),
    )
    when = saved[-1] if largest else None
    kept = Sample(*[0] * 14)._replace(**_where(saved, "saved"))

    def work(index, memory):
        into = _at(results, index, y0)._replace(
            y0=_address(found_y, index), z0=_address(found_z, index),
            stiffness=_address(rates, index), kept=_address(damped, index),
        )  # fmt: skip
        come = Sample(*[0] * 14)._replace(
            sequence=_moved(entering.sequence, grad_output, index, return_sequence),
            sequence_step=entering.sequence_step,
            features=_moved(entering.features, grad_output, index, features),
            features_step=entering.features_step,
            y=_address(grad_y, index), z=_address(grad_z, index), kept=_address(when, index),
        )  # fmt: skip
        sample = _merged(given.sample(index), _at(kept, index, y0))
        own = mix._replace(gradient=products[index] if products.size else products.reshape(0, 0))
        kernels.backward(
            plan.block, plan.mix_block, plan.geometry, plan.step, plan.edges, address(given.kernel), address(adjoint),
            own, memory[0], come, sample, into, steps, every, reversed_exactly, (needs[3], needs[4], needs[2]),
            weights[index],
        )  # fmt: skip

    parallel_map(work, len(y0), memories)
    kernel_gradient = torch.from_numpy(weights.sum(0)).to(y0.dtype).view(kernel.shape) if needs[2] else None
    readout_gradient = None
    if needs[6]:
        readout_gradient = torch.zeros_like(problem.weights)
        if features:
            readout_gradient = torch.from_numpy(products.sum(0)).to(y0.dtype)
    return found_y, found_z, kernel_gradient, rates, damped, force, readout_gradient


# ---------------------------------------------------------------------------------------------- layout


@dataclass(frozen=True)
class _Plan:
    block: Block
    mix_block: Block
    geometry: Geometry
    step: Step
    edges: Edges
    dtype: str

    def packed(self, kernel):
        """Kernel (C, C, K, K) as (blocks, C, K·K, outputs of a block)."""
        g, outputs = self.geometry, self.block.outputs
        rows = np.zeros((g.rows, g.channels, g.taps**2), self.dtype)
        rows[: g.channels] = kernel.flatten(2).numpy()
        return np.ascontiguousarray(rows.reshape(-1, outputs, g.channels, g.taps**2).transpose(0, 2, 3, 1))


class _Shape(NamedTuple):
    outputs: int
    columns: int
    deltas: int
    partners: int


# Channels and vectors held in registers, for 32 and for 16 of them; few shapes, because each is compiled when it is
# first used. The readout has a shape of its own.
_SHAPES = {
    32: {2: _Shape(2, 8, 2, 2), 4: _Shape(4, 4, 4, 2)},
    16: {2: _Shape(2, 4, 2, 1), 4: _Shape(4, 2, 4, 1)},
}
_MIX_SHAPES = {32: _Shape(3, 6, 6, 3), 16: _Shape(3, 3, 3, 3)}


def _plan(problem):
    channels, height, width = problem.y0.shape[1:]
    double = problem.y0.dtype == torch.float64
    return _planned(
        int(channels), int(height), int(width), problem.kernel.shape[-1], "float64" if double else "float32",
        VECTOR_BYTES, float(problem.dt), problem.boundary, problem.nonlinearity, problem.scheme,
    )  # fmt: skip


@functools.lru_cache(maxsize=64)
def _planned(channels, height, width, taps, dtype, vector, dt, boundary, nonlinearity, scheme):
    item = np.dtype(dtype).itemsize
    lanes, registers = vector // item, vector_registers(vector)
    together = 4 if item == 4 and 3 * multiple(channels, 4) <= 4 * channels else 2
    shape, mix = _SHAPES[registers][together], _MIX_SHAPES[registers]
    reach = taps // 2
    line = width + 2 * reach
    edge = reach * line + reach  # from the first cell of the edge to that of the sheet
    cells = (height - 1) * line + width
    vectors = multiple(-(-cells // lanes), shape.columns)
    before = multiple(edge, lanes)
    origin = multiple(before + edge + 1, lanes)
    wide = multiple(-(-(before + cells + edge) // lanes), shape.columns)
    plane = multiple(max(origin + vectors * lanes, origin - before + wide * lanes) + edge, lanes)
    rows = multiple(channels, shape.outputs)
    geometry = Geometry(
        channels=channels,
        height=height,
        width=width,
        taps=taps,
        rows=rows,
        line=line,
        plane=plane,
        slot=multiple(rows * plane, lanes * mix.columns),
        origin=origin,
        vectors=vectors,
        wide_origin=origin - before,
        wide_vectors=wide,
        end=origin + cells + edge,
        lanes=lanes,
    )
    step = Step(dt, *gains(dt, scheme), SCHEMES.index(scheme), CURVES.index(nonlinearity))
    return _Plan(
        Block(item, lanes, 1, *shape, taps if taps == 3 else 0),
        Block(item, lanes, 1, *mix, 1),
        geometry,
        step,
        _edges(height, width, reach, line, origin, boundary),
        dtype,
    )


def _edges(height, width, reach, line, origin, boundary):
    """Cells beyond the sheet and what they are copied from."""
    y, x = np.mgrid[-reach : height + reach, -reach : width + reach]
    outside = (y < 0) | (y >= height) | (x < 0) | (x >= width)
    y, x = y[outside], x[outside]
    beyond = origin + y * line + x
    if boundary == "fixed":
        return Edges(beyond, np.zeros_like(beyond), False)
    y, x = _cell(y, height, boundary), _cell(x, width, boundary)
    return Edges(beyond, origin + y * line + x, True)


def _cell(place, size, boundary):
    if boundary == "periodic":
        return place % size
    turn = max(2 * (size - 1), 1)
    return (size - 1 - abs(place % turn - (size - 1))) % size


def _memory(plan, *, y, z, bent=0, gradients=0, given=0, features=0, when=0, totals=0, products=0):
    """A thread's memory with so many states of each kind, and the array it lies in."""
    g = plan.geometry
    sizes = dict(
        y=y * g.slot,
        z=z * g.slot,
        bent=bent * g.slot,
        pull=g.rows * plan.block.columns * g.lanes,
        stiffness=g.slot,
        kept=g.slot,
        force=g.slot,
        grad_y=g.slot if gradients else 0,
        grad_z=g.slot if gradients else 0,
        delta=g.slot if gradients else 0,
        grad_stiffness=g.slot if gradients else 0,
        grad_damping=g.slot if gradients else 0,
        given=given * g.slot,
        when=when * g.slot,
        features=features * g.slot,
        totals=totals * g.lanes,
        products=products * g.lanes,
    )
    starts, total = {}, 0
    for name, size in sizes.items():
        starts[name] = total
        total += multiple(size, g.lanes)
    numbers = allocate((total + plan.geometry.slot,), plan.dtype, clear=True)
    return Memory(numbers, **starts), numbers


def _mix(plan, problem, every=0):
    """The readout as the kernels take it; its weights turned for segments of `every` steps."""
    if problem.weights is None:
        empty = np.zeros((0, 0, 0), plan.dtype)
        return Mix(0, 0, empty, empty[None], np.zeros((0, 0)))
    weights, outputs = problem.weights.numpy(), plan.mix_block.outputs
    count, steps = weights.shape
    features = multiple(count, math.lcm(outputs, plan.mix_block.deltas))
    padded = np.zeros((features, steps), plan.dtype)
    padded[:count] = weights
    packed = np.ascontiguousarray(padded.reshape(-1, outputs, steps).transpose(0, 2, 1))
    turned = np.zeros((0, 0, 0, 0), plan.dtype)
    if every:
        segments, padded = -(-steps // every), multiple(every, outputs)
        turned = np.zeros((segments, padded, count), plan.dtype)
        for segment in range(segments):
            piece = weights[:, segment * every : (segment + 1) * every]
            turned[segment, : piece.shape[1]] = piece.T
        turned = np.ascontiguousarray(turned.reshape(segments, -1, outputs, count).transpose(0, 1, 3, 2))
    return Mix(features, count, packed, turned, np.zeros((0, 0)))


# ---------------------------------------------------------------------------------------------- tensors


class _Given:
    """Inputs in the form that kernels read, held while they do."""

    def __init__(self, plan, problem):
        kept, _ = kept_and_gain(problem.damping, problem.dt, problem.scheme)
        tensors = (problem.y0, problem.z0, problem.stiffness, kept)
        self.tensors = [t.contiguous() for t in tensors]
        self.drive = None if problem.drive is None else problem.drive.contiguous()
        self.kernel = plan.packed(problem.kernel)

    def sample(self, index):
        """Where the inputs of a sample lie."""
        addresses = (_address(t, index) for t in self.tensors)
        force, step = 0, 0
        if self.drive is not None:
            item = self.drive.element_size()
            force = self.drive.data_ptr() + index * self.drive.stride(1) * item
            step = self.drive.stride(0) * item
        return Sample(*addresses, force, step, *[0] * 8)


def _empty(shape, like):
    """A tensor whose memory comes from the pool."""
    return torch.from_numpy(allocate(tuple(shape), str(like.dtype).removeprefix("torch.")))


def _workers(y0):
    return max(1, min(torch.get_num_threads(), len(y0)))


def _address(tensor, index):
    """Of a sample in (B, C, H, W)."""
    return 0 if tensor is None else tensor.data_ptr() + index * tensor.stride(0) * tensor.element_size()


def _in_planes(tensor):
    """The tensor, or a copy of it if the numbers of a sample are not one after the other."""
    _, height, width = tensor.shape[-3:]
    wanted = (height * width, width, 1)
    fits = all(n == 1 or s == w for n, s, w in zip(tensor.shape[-3:], tensor.stride()[-3:], wanted, strict=True))
    return tensor if fits else tensor.contiguous()


def _where(tensor, name, stepping=True):
    """Fields of a `Sample` for (T, B, C, H, W) or (F, B, C, H, W), or (B, C, H, W) if not `stepping`."""
    if tensor is None or not tensor.numel():
        return {}
    fields = {name: tensor.data_ptr()}
    if stepping or name != "features":
        fields[f"{name}_step"] = tensor.stride(0) * tensor.element_size()
    return fields


def _at(sample, index, y0):
    """The same for one of the samples of arrays that are contiguous."""
    size = y0[0].numel() * y0.element_size()
    moved = {name: getattr(sample, name) for name in ("force", "sequence", "features", "saved")}
    return sample._replace(**{name: start + index * size for name, start in moved.items() if start})


def _moved(start, tensor, index, stepping):
    """The same for arrays of any strides."""
    return start + index * tensor.stride(1 if stepping else 0) * tensor.element_size() if start else 0


def _merged(one, other):
    """What either has."""
    return Sample(*(a or b for a, b in zip(one, other, strict=True)))
