"""The inverse problem of a request: its forward map in independent blocks, and what that map cannot distinguish."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from wavefield.decoding.events import silent_inputs
from wavefield.decoding.inverse.classes import LARGEST_MATRIX, prepare
from wavefield.decoding.request import Request
from wavefield.operators.design import design
from wavefield.operators.operator import WaveOperator


@dataclass(frozen=True, eq=False)
class InverseProblem:
    """The blocks (block, rows of the snapshot, inputs) of a request, facts about them and warnings."""

    blocks: list
    facts: dict
    warnings: list

    @classmethod
    def of(cls, request: Request, *, signed: bool, largest_matrix: int = LARGEST_MATRIX) -> InverseProblem:
        """Work out the design of a request; `signed`: whether traces of opposite sign count as alike."""
        refuse_growth(request.operator)
        back, source = min(request.steps, request.horizon), "pulse" if request.pulse else "force"
        size = request.encoder.shape[1]
        encoder = request.encoder.reshape(len(request.encoder), *request.shape, -1)
        forward = design(request.operator, request.shape, back, encoder=encoder, source=source, previous=request.both)
        blocks = prepare(forward, size, request.steps, signed=signed, largest_matrix=largest_matrix)
        facts, warnings = _determinacy([block for block, _, _ in blocks], back, request.steps)
        entering = np.concatenate([inputs for _, _, inputs in blocks] or [np.zeros(0)])
        return cls(blocks, facts, silent_inputs(entering, forward.inputs) + warnings)


def flattened(now, before) -> np.ndarray:
    """Return the levels of a snapshot as the design orders them, (R,)."""
    return now.ravel() if before is None else np.concatenate([now.ravel(), before.ravel()])


def refuse_growth(op: WaveOperator) -> None:
    """Refuse a periodic operator that grows: what is left of its past is lost in rounding."""
    if op.boundary != "periodic" or not op.alike:
        return  # growth, if any, shows when inputs are followed
    kernels = [op.kernel]
    if op.diagonal:  # ring by ring, each kind once
        blocks = op.kernel.reshape(op.rings, op.levels, op.rings, op.levels, *op.kernel.shape[2:])
        kernels = np.unique(blocks[range(op.rings), :, range(op.rings)], axis=0)
    for kernel in kernels:
        stability = WaveOperator(kernel, levels=op.levels).stability(256 if op.dims == 1 else 32)
        if stability.kind == "growing":
            raise ValueError(f"operator grows by a factor {stability.growth:g} per step: its past cannot be read")


def _determinacy(parts, back, steps):
    """Facts and warnings about what the design determines."""
    count = sum(block.count for block in parts)
    looked = max((block.design.steps for block in parts), default=0)
    facts, warnings = {"horizon": looked, "columns": count}, []
    if parts and all(block.rank is not None for block in parts):
        facts["rank"] = sum(block.rank for block in parts)
        if facts["rank"] < count:
            facts["conditioning"] = float("inf")
            warnings.append(
                f"the design is singular, rank {facts['rank']} of {count} columns: the snapshot alone does not "
                "determine the inputs, what is given rests on events being few"
            )
        else:
            facts["conditioning"] = max(b.singular[0] for b in parts) / min(b.singular[1] for b in parts)
    faded = [block.design.steps for block in parts if block.faded]
    if faded and max(faded) < back:
        warnings.append(f"inputs older than {max(faded)} steps have left no trace")
    if looked == back < steps and not any(block.period or block.faded for block in parts):
        warnings.append(f"events older than the horizon of {back} steps, if there were any, are taken for others")
    return facts, warnings
