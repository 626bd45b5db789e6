"""Working memory on a wave: see a segment of a history, then continue it alone (Karuvally et al., 2024)."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal

import torch
import xarray as xr
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor

import analysis
from experiments.tasks.curriculum import Curriculum
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


class HistoryProblem(Curriculum):
    """Batches of the curriculum; scores at horizon 200; the trained recurrence in the basis of waves."""

    inputs, outputs = 8, 8

    def __init__(self, settings, batch_size, seed, device):
        super().__init__(settings.threshold)
        self.settings, self.batch_size, self.seed, self.device = settings, batch_size, seed, device
        self.system = task(settings.system)
        self.validation = self._draw(settings.held_out, TEST_HORIZON, VALIDATION, 0)

    def batch(self, step: int):
        drawn = self._draw(self.batch_size, HORIZONS[self.stage], TRAINING, step)
        return drawn.x, drawn

    def _draw(self, size, horizon, purpose, step):
        return history_batch(size, self.system, horizon, generator=generator_for(self.seed, purpose, step, self.device))

    def right(self, output: Tensor, batch: HistoryBatch) -> Tensor:
        """The share of right signs."""
        return sign_accuracy(output, batch)

    def loss(self, model: SequenceModel, x: Tensor, batch: HistoryBatch) -> Tensor:
        output = model(x)
        self.advance(output, batch)
        return history_loss(output, batch)

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
