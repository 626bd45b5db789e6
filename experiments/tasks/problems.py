"""The tasks a config can name: where batches come from, what is minimised, and when a task counts as solved."""

from __future__ import annotations

import hashlib
import math
from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor
from torch.nn.functional import mse_loss

from experiments.tasks.continuation import Continuing
from experiments.tasks.generators import FIXED, ORDER, TRAINING, VALIDATION, generator_for
from experiments.tasks.history import History
from experiments.tasks.problem import Problem, Stateless
from experiments.tasks.segmentation import Segmentation
from experiments.tasks.strict import STRICT
from wavefield_torch import SequenceModel, precise_logits, symbol_cross_entropy
from wavefield_torch.tasks import (
    adding_batch,
    cifar_noise,
    copy_batch,
    data_folder,
    mnist,
    ns_cifar10,
    pixel_permutation,
    small_digits,
    split,
)
from wavefield_torch.tasks.adding import SOLVED as ADDING_SOLVED
from wavefield_torch.tasks.copying import SYMBOLS, TOKENS

EVALUATION_BATCH = 500


# --------------------------------------------------------------------------------- fresh sequences without end


class _Endless(Stateless):
    """Fresh batches without end, and a held-out one that stays the same."""

    fixed = None  # no draws that all samples share
    data: ClassVar[dict[str, str]] = {}

    def __init__(self, settings, batch_size, seed, device):
        self.settings, self.batch_size, self.seed, self.device = settings, batch_size, seed, device
        self.validation = self._draw(settings.held_out, generator_for(seed, VALIDATION, 0, device))

    @abstractmethod
    def _draw(self, size: int, generator: torch.Generator) -> Any:
        """Return a batch of `size` sequences: its input `x` and `target`."""

    @abstractmethod
    def evaluate(self, model: SequenceModel) -> dict[str, float]:
        """Return the scores of the held-out batch."""

    def batch(self, step: int):
        return self._draw(self.batch_size, generator_for(self.seed, TRAINING, step, self.device))

    def test(self, model: SequenceModel) -> dict[str, float]:
        """The scores of the held-out batch; the best model is chosen by them, so that its own are biased."""
        return self.evaluate(model)


class CopyProblem(_Endless):
    """Batches and scores of the copy task."""

    inputs, outputs, every_step = SYMBOLS, SYMBOLS, True
    steps_per_epoch = None
    score: ClassVar[str] = "loss"
    higher_is_better: ClassVar[bool] = False
    metrics = ("loss", "reference_loss", "accuracy")
    reference_solved = None  # the published code defines it for the adding task only

    def _draw(self, size, generator):
        return copy_batch(size, self.settings.delay, layout=self.settings.layout, generator=generator)

    def sample(self, count: int) -> tuple[Tensor, Tensor]:
        """The first held-out sequences."""
        return self.validation.x[:, :count], self.validation.target[:, :count]

    def loss(self, model: SequenceModel, x: Tensor, target: Tensor) -> Tensor:
        return symbol_cross_entropy(model(x), target)

    def evaluate(self, model: SequenceModel) -> dict[str, float]:
        """Mean cross-entropy per symbol, the same divided by the batch size (as published), share recalled."""
        x, target = self.validation
        logits = precise_logits(model, x)
        loss = symbol_cross_entropy(logits, target).item()
        recalled = (logits[-TOKENS:].argmax(-1) == target[-TOKENS:]).double().mean().item()
        return {"loss": loss, "reference_loss": loss / target.shape[1], "accuracy": recalled}

    def solved(self, scores: Mapping[str, float]) -> bool:
        """All symbols of the held-out sequences are recalled."""
        return scores["accuracy"] == 1.0


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Copy:
    """Remember ten symbols over `delay` steps and repeat them."""

    kind: Literal["copy"]
    delay: int = Field(ge=0)
    layout: Literal["code", "text"] = "code"
    held_out: int = Field(default=50, gt=0)  # sequences to evaluate on, as published
    problem: ClassVar[type[Problem]] = CopyProblem

    def load(self, batch_size: int, seed: int, device: torch.device, data: str | Path | None) -> CopyProblem:
        """Return the problem, its data on `device`."""
        return CopyProblem(self, batch_size, seed, device)


class AddingProblem(_Endless):
    """Batches and scores of the adding task."""

    inputs, outputs, every_step = 2, 1, False
    steps_per_epoch = None
    score: ClassVar[str] = "loss"
    higher_is_better: ClassVar[bool] = False
    metrics = ("loss",)

    def _draw(self, size, generator):
        return adding_batch(size, self.settings.length, generator=generator)

    def sample(self, count: int) -> tuple[Tensor, Tensor]:
        """The first held-out sequences."""
        return self.validation.x[:, :count], self.validation.target[:count]

    def loss(self, model: SequenceModel, x: Tensor, target: Tensor) -> Tensor:
        return mse_loss(model(x).squeeze(-1), target)

    @torch.no_grad()
    def evaluate(self, model: SequenceModel) -> dict[str, float]:
        """Mean squared error of held-out sequences."""
        x, target = self.validation
        pieces = zip(x.split(EVALUATION_BATCH, 1), target.split(EVALUATION_BATCH), strict=True)
        total = sum(mse_loss(model(a).squeeze(-1), b, reduction="sum").item() for a, b in pieces)
        return {"loss": total / len(target)}

    def solved(self, scores: Mapping[str, float]) -> bool:
        """Mean squared error at most 0.05 on held-out sequences."""
        return scores["loss"] <= ADDING_SOLVED

    def reference_solved(self, training_loss: float) -> bool:
        """The same of a training batch, as the published code has it."""
        return training_loss <= ADDING_SOLVED


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Adding:
    """Sum the two marked values of a sequence of `length` steps."""

    kind: Literal["adding"]
    length: int = Field(ge=2)
    held_out: int = Field(default=1000, gt=0)
    problem: ClassVar[type[Problem]] = AddingProblem

    def load(self, batch_size: int, seed: int, device: torch.device, data: str | Path | None) -> AddingProblem:
        """Return the problem, its data on `device`."""
        return AddingProblem(self, batch_size, seed, device)


# ------------------------------------------------------------------------------------------ classes of images


class ImageProblem(Stateless):
    """Batches and scores of a classification of images; an epoch goes once over those not held out."""

    outputs, every_step = 10, False
    score: ClassVar[str] = "accuracy"
    higher_is_better: ClassVar[bool] = True
    metrics = ("loss", "accuracy")
    reference_solved = None

    def __init__(self, training, testing, held_out, batch_size, seed, device, fixed):
        self.training, self.testing, self.fixed = training, testing, fixed
        self.data = {
            f"{part} {name}": value
            for part, images in (("training", training), ("test", testing))
            for name, value in _digests(images).items()
        }
        self.batch_size, self.seed, self.device = batch_size, seed, device
        self.members, self.held_out = (
            index.to(device) for index in split(len(training), held_out, generator=generator_for(seed, FIXED))
        )
        self.inputs = training.pixels.shape[-1]
        self.steps_per_epoch = math.ceil(len(self.members) / batch_size)
        self._order = (-1, None)

    def batch(self, step: int):
        epoch, place = divmod(step, self.steps_per_epoch)
        if self._order[0] != epoch:
            order = torch.randperm(len(self.members), generator=generator_for(self.seed, ORDER, epoch))
            self._order = (epoch, self.members[order.to(self.device)])
        return self.training.batch(self._order[1][place * self.batch_size : (place + 1) * self.batch_size])

    def sample(self, count: int) -> tuple[Tensor, Tensor]:
        """The first held-out samples."""
        return self.training.batch(self.held_out[:count])

    def loss(self, model: SequenceModel, x: Tensor, target: Tensor) -> Tensor:
        return symbol_cross_entropy(model(x), target)

    def evaluate(self, model: SequenceModel) -> dict[str, float]:
        """Mean cross-entropy and share of right answers among the held-out samples."""
        return self._scores(model, self.training, self.held_out)

    def test(self, model: SequenceModel) -> dict[str, float]:
        """The same of the test set."""
        return self._scores(model, self.testing, torch.arange(len(self.testing), device=self.device))

    @torch.no_grad()
    def _scores(self, model, images, index):
        loss = right = 0.0
        for piece in index.split(EVALUATION_BATCH):
            x, target = images.batch(piece)
            logits = model(x)
            loss += symbol_cross_entropy(logits, target).item() * len(piece)
            right += (logits.argmax(-1) == target).sum().item()
        return {"loss": loss / len(index), "accuracy": right / len(index)}

    def solved(self, scores: Mapping[str, float]) -> bool:
        """Classification has no such threshold."""
        return False


def _digests(images):
    """SHA-256 of pixels and labels: of what a file holds, however it was packed."""
    found = {}
    for name, values in (("images", images.pixels), ("labels", images.labels)):
        header = f"{tuple(values.shape)} {values.dtype}".encode()
        found[name] = hashlib.sha256(header + values.numpy(force=True).tobytes()).hexdigest()
    return found


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Mnist:
    """MNIST pixel by pixel; psMNIST with one fixed permutation of the pixels, drawn from `permutation_seed`."""

    kind: Literal["mnist"]
    permuted: bool = False
    permutation_seed: int = Field(default=0, ge=0)
    held_out: int = Field(default=3000, gt=0)
    problem: ClassVar[type[Problem]] = ImageProblem

    def load(self, batch_size: int, seed: int, device: torch.device, data: str | Path | None) -> ImageProblem:
        """Return the problem, its data on `device`."""
        order = pixel_permutation(784, generator=generator_for(self.permutation_seed, FIXED))
        permutation, folder = order if self.permuted else None, data_folder(data)
        training, testing = (mnist(folder, part, permutation=permutation, device=device) for part in ("train", "test"))
        fixed = {"permutation": order} if self.permuted else None
        return ImageProblem(training, testing, self.held_out, batch_size, seed, device, fixed)


@dataclass(frozen=True, kw_only=True, config=STRICT)
class NoisyCifar:
    """nsCIFAR10: 32 rows of an image, then 968 steps of noise, one draw from `noise_seed` for all samples."""

    kind: Literal["ns-cifar10"]
    noise_seed: int = Field(default=0, ge=0)
    held_out: int = Field(default=3000, gt=0)
    problem: ClassVar[type[Problem]] = ImageProblem

    def load(self, batch_size: int, seed: int, device: torch.device, data: str | Path | None) -> ImageProblem:
        """Return the problem, its data on `device`."""
        noise = cifar_noise(generator=generator_for(self.noise_seed, FIXED))
        folder = data_folder(data)
        training, testing = (ns_cifar10(folder, part, noise=noise, device=device) for part in ("train", "test"))
        return ImageProblem(training, testing, self.held_out, batch_size, seed, device, {"noise": noise})


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Digits:
    """The 8 × 8 digits that come with scikit-learn, pixel by pixel: real data without a file, in minutes."""

    kind: Literal["digits"]
    permuted: bool = False
    permutation_seed: int = Field(default=0, ge=0)
    held_out: int = Field(default=200, gt=0)
    problem: ClassVar[type[Problem]] = ImageProblem

    def load(self, batch_size: int, seed: int, device: torch.device, data: str | Path | None) -> ImageProblem:
        """Return the problem, its data on `device`."""
        order = pixel_permutation(64, generator=generator_for(self.permutation_seed, FIXED))
        permutation = order if self.permuted else None
        training, testing = (small_digits(part, permutation=permutation, device=device) for part in ("train", "test"))
        fixed = {"permutation": order} if self.permuted else None
        return ImageProblem(training, testing, self.held_out, batch_size, seed, device, fixed)


Task = Copy | Adding | Mnist | NoisyCifar | Digits | History | Continuing | Segmentation
