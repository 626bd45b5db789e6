"""The protocol of a problem: what the training loop asks of a task once its data are loaded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor

from wavefield_torch import SequenceModel


class Problem(Protocol):
    """A loaded task: batches to train on, held-out and test data to score a model on.

    Every batch is a function of the seed and the step alone, so that a resumed run sees the same data. A problem that
    changes as training goes on (a curriculum) returns what it has to remember from `state`; it is kept in checkpoints.
    """

    score: ClassVar[str]  # of `metrics`, the one by which the best model is chosen
    higher_is_better: ClassVar[bool]  # of `score`

    @property
    def inputs(self) -> int:
        """Numbers per step of a sequence."""

    @property
    def outputs(self) -> int:
        """Numbers that the readout returns."""

    @property
    def every_step(self) -> bool:
        """Whether the readout answers at every step, or after the last."""

    @property
    def steps_per_epoch(self) -> int | None:
        """None where batches are drawn without end."""

    @property
    def metrics(self) -> tuple[str, ...]:
        """What `evaluate` returns, in the order of the columns of metrics.csv."""

    @property
    def fixed(self) -> Mapping[str, Tensor] | None:
        """What is drawn once and shared by all samples, such as a permutation of pixels."""

    @property
    def data(self) -> Mapping[str, str]:
        """SHA-256 of the data sets, by name; empty where all is drawn from the seed."""

    @property
    def reference_solved(self) -> Callable[[float], bool] | None:
        """Whether a training loss counts as solved in the published code; None where that does not say."""

    def batch(self, step: int) -> tuple[Tensor, Any]:
        """Return the input (T, B, I) and the target of a training step."""

    def sample(self, count: int) -> tuple[Tensor, Tensor]:
        """Return the first `count` held-out sequences and their labels, whose hidden states are recorded."""

    def loss(self, model: SequenceModel, x: Tensor, target: Any) -> Tensor:
        """Return the loss () that a training step minimises."""

    def evaluate(self, model: SequenceModel) -> dict[str, float]:
        """Return the scores on held-out data: all of `metrics`."""

    def test(self, model: SequenceModel) -> dict[str, float]:
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
