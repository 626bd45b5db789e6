"""Working memory on a wave: see a segment of a history, then continue it alone (Karuvally et al., 2024)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Literal

import torch
import xarray as xr
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor

import analysis
from experiments.tasks.generators import TRAINING, VALIDATION, generator_for
from experiments.tasks.problem import Problem
from experiments.tasks.strict import STRICT
from wavefield.history import HistorySystem, task
from wavefield_torch import NotLinearisableError, SequenceModel, linearised
from wavefield_torch.tasks.history import (
    HORIZONS,
    TEST_HORIZON,
    HistoryBatch,
    history_batch,
    history_loss,
    sign_accuracy,
)

SPECTRAL = ("mean_angle_error", "greedy_angle_error", "unmatched_theory", "unmatched_learned")
SHARES = (
    "shift_share",
    "boundary_share",
    "recurrence_share",
    "variance_explained",
    "entry_share",
    "exit_share",
    "condition",
)
SOLVED = 0.97  # share of right signs over the test horizon, twice as long as any in training


class HistoryProblem:
    """Batches of the curriculum; scores at horizon 200; the trained recurrence in the basis of waves."""

    inputs, outputs, every_step = 8, 8, True
    steps_per_epoch = None
    score: ClassVar[str] = "accuracy"
    higher_is_better: ClassVar[bool] = True
    metrics = ("loss", "accuracy", "horizon")
    reference_solved = None  # the published code has no such definition
    fixed = None  # no draws that all samples share
    data: ClassVar[dict[str, str]] = {}

    def __init__(self, settings, batch_size, seed, device):
        self.settings, self.batch_size, self.seed, self.device = settings, batch_size, seed, device
        self.stage = 0
        self.system = task(settings.system)
        self.validation = self._draw(settings.held_out, TEST_HORIZON, VALIDATION, 0)

    def batch(self, step: int):
        drawn = self._draw(self.batch_size, HORIZONS[self.stage], TRAINING, step)
        return drawn.x, drawn

    def _draw(self, size, horizon, purpose, step):
        return history_batch(size, self.system, horizon, generator=generator_for(self.seed, purpose, step, self.device))

    def sample(self, count: int) -> tuple[Tensor, Tensor]:
        """The first held-out sequences."""
        return self.validation.x[:, :count], self.validation.target[:, :count, 0]

    def loss(self, model: SequenceModel, x: Tensor, batch: HistoryBatch) -> Tensor:
        output = model(x)
        if sign_accuracy(output.detach(), batch) > self.settings.threshold:
            self.stage = min(self.stage + 1, len(HORIZONS) - 1)
        return history_loss(output, batch)

    def state(self) -> dict:
        """The stage of the curriculum."""
        return {"stage": self.stage}

    def restore(self, state: dict) -> None:
        """Resume at the stage that was reached."""
        self.stage = state["stage"]

    @torch.no_grad()
    def evaluate(self, model: SequenceModel) -> dict[str, float]:
        """Squared error and share of right signs over the test horizon; the horizon that training has reached."""
        output = model(self.validation.x)
        return {
            "loss": history_loss(output, self.validation).item(),
            "accuracy": sign_accuracy(output, self.validation).item(),
            "horizon": float(HORIZONS[self.stage]),
        }

    def test(self, model: SequenceModel) -> dict[str, float]:
        """The same, and how the spectrum and the recovered waves of the recurrence compare with the theory."""
        scores = self.evaluate(model)
        try:
            net = linearised(model)
        except NotLinearisableError:
            return scores
        spectra = analysis.compare_spectra(net.weight_hh, self.system)
        scores |= {name: float(spectra[name]) for name in SPECTRAL}
        waves = find_waves(model, self.system)
        return scores if waves is None else scores | wave_figures(waves, self.system)

    def solved(self, scores: Mapping[str, float]) -> bool:
        """All horizons were passed and 97 % of the signs are right over twice the longest."""
        return scores["accuracy"] >= SOLVED and self.stage == len(HORIZONS) - 1


@dataclass(frozen=True, kw_only=True, config=STRICT)
class History:
    """Continue one of the published linear histories; the horizon grows whenever a batch passes `threshold`."""

    kind: Literal["history"]
    system: Literal["T1", "T2", "T3", "T4"]
    threshold: float = Field(default=0.98, gt=0, lt=1)
    held_out: int = Field(default=640, gt=0)
    problem: ClassVar[type[Problem]] = HistoryProblem

    def load(self, batch_size: int, seed: int, device: torch.device, data: str | Path | None) -> HistoryProblem:
        """Return the problem, its data on `device`."""
        return HistoryProblem(self, batch_size, seed, device)


def find_waves(model: SequenceModel, system: HistorySystem) -> xr.Dataset | None:
    """Return the waves in a network, on the lines of its outputs; None where nothing persists that could be one."""
    try:
        return analysis.recover_waves(*linearised(model), length=system.length, grounding="output")
    except (NotLinearisableError, analysis.NoWaveError):
        return None


def wave_figures(waves: xr.Dataset, system: HistorySystem) -> dict[str, float]:
    """Return the numeric summary of recovered waves, and how far their boundary row agrees with the theory."""
    shares = {name: float(waves[name]) for name in SHARES}
    return shares | {"boundary_agreement": analysis.boundary_agreement(waves, system)}
