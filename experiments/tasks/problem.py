"""The protocol of a problem: what the training loop asks of a task once its data are loaded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import torch
from torch import Tensor, nn


class Problem(Protocol):
    """A loaded task: batches to train on, held-out and test data to score a model on.

    Every batch is a function of the seed and the step alone, so that a resumed run sees the same data. A problem that
    changes as training goes on (a curriculum) returns what it has to remember from `state`; it is kept in checkpoints.
    """

    inputs: int  # numbers per step of a sequence
    outputs: int  # numbers that the readout returns
    every_step: bool  # whether the readout answers at every step, or after the last
    steps_per_epoch: int | None  # None where batches are drawn without end
    score: str  # of `metrics`, the one by which the best model is chosen
    higher_is_better: bool  # of `score`
    metrics: tuple[str, ...]  # what `evaluate` returns, in the order of the columns of metrics.csv
    fixed: Mapping[str, Tensor] | None  # drawn once and shared by all samples, such as a permutation of pixels
    reference_solved: Callable[[float], bool] | None  # of a training loss: solved as the published code has it

    def batch(self, step: int) -> tuple[Tensor, Any]:
        """Return the input (T, B, I) and the target of a training step."""

    def sample(self, count: int) -> tuple[Tensor, Tensor]:
        """Return the first `count` held-out sequences and their labels, whose hidden states are recorded."""

    def loss(self, model: nn.Module, x: Tensor, target: Any) -> Tensor:
        """Return the loss () that a training step minimises."""

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        """Return the scores on held-out data: all of `metrics`."""

    def test(self, model: nn.Module) -> dict[str, float]:
        """Return the scores on test data."""

    def solved(self, scores: Mapping[str, float]) -> bool:
        """Whether these held-out scores solve the task, by our definition."""

    def state(self) -> dict:
        """Return what has to be remembered between steps, as plain values."""

    def restore(self, state: dict) -> None:
        """Continue from a `state`."""


class Stateless:
    """A problem that remembers nothing between steps."""

    def state(self) -> dict:
        """Nothing."""
        return {}

    def restore(self, state: dict) -> None:
        """Nothing to restore."""


def load_problem(config, device: torch.device, data) -> Problem:
    """Return the problem of a config, its data on `device`."""
    return config.task.load(config.training.batch_size, config.training.seed, device, data)
