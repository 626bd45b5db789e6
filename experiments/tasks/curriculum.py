"""What tasks with a curriculum share: the horizon over which a model has to be right grows as it learns."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from wavefield_torch import SequenceModel
from wavefield_torch.tasks.history import HORIZONS, HistoryBatch, history_loss

SOLVED = 0.97  # of the test horizon, twice as long as any in training


class Curriculum:
    """Batches over a horizon that grows whenever a batch passes the threshold; scores over the test horizon."""

    every_step = True
    steps_per_epoch = None
    score: ClassVar[str] = "accuracy"
    higher_is_better: ClassVar[bool] = True
    metrics = ("loss", "accuracy", "horizon")
    reference_solved = None  # the published code has no such definition
    fixed = None  # no draws that all samples share
    data: ClassVar[dict[str, str]] = {}  # nothing is read from files

    def __init__(self, threshold: float):
        self.threshold, self.stage = threshold, 0
        self.validation: HistoryBatch

    @abstractmethod
    def right(self, output: Tensor, batch: HistoryBatch) -> Tensor:
        """Return the share of a batch that is right."""

    def advance(self, output: Tensor, batch: HistoryBatch) -> None:
        """Take the next horizon if a batch passes the threshold."""
        if self.right(output.detach(), batch) > self.threshold:
            self.stage = min(self.stage + 1, len(HORIZONS) - 1)

    def sample(self, count: int) -> tuple[Tensor, Tensor]:
        """The first held-out sequences."""
        return self.validation.x[:, :count], self.validation.target[:, :count, 0]

    def state(self) -> dict:
        """The stage of the curriculum."""
        return {"stage": self.stage}

    def restore(self, state: dict) -> None:
        """Resume at the stage that was reached."""
        self.stage = state["stage"]

    @torch.no_grad()
    def evaluate(self, model: SequenceModel) -> dict[str, float]:
        """Squared error and how much of the test horizon is right; the horizon that training has reached."""
        output = model(self.validation.x)
        return {
            "loss": history_loss(output, self.validation).item(),
            "accuracy": self.right(output, self.validation).item(),
            "horizon": float(HORIZONS[self.stage]),
        }

    def solved(self, scores: Mapping[str, float]) -> bool:
        """All horizons were passed and 97 % is right over twice the longest."""
        return scores["accuracy"] >= SOLVED and self.stage == len(HORIZONS) - 1
