"""Continue any history-dependent system, linear or not: trained on known states where the model can be, else by itself.

A `TravellingMemory` is trained on all steps at once, its driven end held to the true states (teacher forcing), which
may be disturbed by noise; every other network runs alone from the end of the input phase, as at T1 to T4. All are
scored alike: 200 steps alone.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor

from experiments.tasks.curriculum import Curriculum
from experiments.tasks.generators import TRAINING, VALIDATION, generator_for
from experiments.tasks.problem import Problem
from experiments.tasks.strict import STRICT
from wavefield_torch import SequenceModel, TravellingMemory
from wavefield_torch.tasks.continuation import continuation, continuation_batch, right_share
from wavefield_torch.tasks.history import HORIZONS, TEST_HORIZON, HistoryBatch, history_loss


class ContinuationProblem(Curriculum):
    """Batches of the curriculum; scores at horizon 200."""

    def __init__(self, settings, batch_size, seed, device):
        super().__init__(settings.threshold)
        self.settings, self.batch_size, self.seed, self.device = settings, batch_size, seed, device
        self.inputs = self.outputs = continuation(settings.system).system.dimension
        self.validation = self._draw(settings.held_out, TEST_HORIZON, generator_for(seed, VALIDATION))

    def batch(self, step: int):
        """The input, and with the batch the states to which a driven end is held: the true ones, disturbed."""
        generator = generator_for(self.seed, TRAINING, step)
        drawn = self._draw(self.batch_size, HORIZONS[self.stage], generator)
        noise = torch.randn(drawn.target.shape, generator=generator).to(self.device)
        return drawn.x, (drawn, drawn.target + self.settings.noise * noise)

    def _draw(self, size, horizon, generator):
        return continuation_batch(size, self.settings.system, horizon, generator=generator, device=self.device)

    def right(self, output: Tensor, batch: HistoryBatch) -> Tensor:
        """How much is right, by the measure of the system."""
        return right_share(output, batch, self.settings.system)

    def loss(self, model: SequenceModel, x: Tensor, target: tuple[HistoryBatch, Tensor]) -> Tensor:
        batch, known = target
        net = model.recurrence if isinstance(model, SequenceModel) else None
        output = net.parallel(known) if isinstance(net, TravellingMemory) else model(x)
        self.advance(output, batch)
        return history_loss(output, batch)

    def test(self, model: SequenceModel) -> dict[str, float]:
        """The same of sequences drawn apart from those on which the best model is chosen."""
        held_out = self.validation
        try:
            self.validation = self._draw(self.settings.held_out, TEST_HORIZON, generator_for(self.seed, VALIDATION, 1))
            return self.evaluate(model)
        finally:
            self.validation = held_out


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Continuing:
    """Continue a named history-dependent system; the horizon grows whenever a batch passes `threshold`."""

    kind: Literal["continuation"]
    system: Literal[
        "T1", "T2", "T3", "T4", "random-linear", "parity", "modular", "logistic", "henon", "mackey-glass"
    ]  # fmt: skip
    threshold: float = Field(default=0.98, gt=0, lt=1)
    noise: float = Field(default=0.0, ge=0)  # standard deviation of what disturbs the states a driven end is held to
    held_out: int = Field(default=256, gt=0)
    problem: ClassVar[type[Problem]] = ContinuationProblem

    def load(self, batch_size: int, seed: int, device: torch.device, data: str | Path | None) -> ContinuationProblem:
        """Return the problem, its data on `device`."""
        return ContinuationProblem(self, batch_size, seed, device)
