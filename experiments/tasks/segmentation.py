"""Give every pixel of an image its class: Tetrominoes, MNIST, Multi-MNIST, polygons (Jacobs et al., 2025).

The scenes are drawn once, from `data_seed`, the same for all runs of a task: seeds of runs draw weights and orders.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Literal

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from experiments.tasks.generators import FIXED, ORDER, generator_for
from experiments.tasks.problem import Problem, Stateless
from experiments.tasks.strict import STRICT
from wavefield_torch.tasks import (
    Scenes,
    data_folder,
    digit_segmentation,
    mnist_images,
    multi_digits,
    polygons,
    segmentation_scores,
    split,
    tetrominoes,
)

EVALUATION_PIXELS = 2**18  # evaluated together
SMALL = 2**14  # pixels of an image, up to which as many are recorded as are asked for
PARTS = ("training", "held-out", "test")
SCORES = (
    "accuracy",
    "foreground_accuracy",
    "iou",
    "iou_without_background",
    "published_iou_foreground",
    "background_false_positives",
)


class SegmentationProblem(Stateless):
    """Batches and scores of scenes; an epoch goes once over those to train on.

    Scores are means over images, of those that have such pixels. A model is said to have collapsed where no pixel of
    any foreground is right.
    """

    every_step = False
    score: ClassVar[str] = "loss"
    higher_is_better: ClassVar[bool] = False
    metrics = ("loss", *SCORES, "collapsed")
    reference_solved = None

    def __init__(self, scenes: dict[str, Scenes], batch_size, seed, device):
        self.scenes, self.batch_size, self.seed, self.device = scenes, batch_size, seed, device
        self.inputs = scenes["training"].images.shape[1]
        self.outputs = len(scenes["training"].classes)
        self.data = {f"{part} {name}": _digest(x) for part, s in scenes.items() for name, x in _tensors(s).items()}
        layouts = {f"{part} layout": s.layout for part, s in scenes.items() if s.layout is not None}
        self.fixed = layouts or None  # from which all scenes can be painted again
        self.steps_per_epoch = math.ceil(len(scenes["training"]) / batch_size)
        self._order = (-1, torch.empty(0))  # of an epoch

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        """Images (B, I, H, W) and the classes of their pixels (B, H, W)."""
        epoch, place = divmod(step, self.steps_per_epoch)
        training = self.scenes["training"]
        if self._order[0] != epoch:
            order = torch.randperm(len(training), generator=generator_for(self.seed, ORDER, epoch))
            self._order = (epoch, order.to(self.device))
        return training.batch(self._order[1][place * self.batch_size : (place + 1) * self.batch_size])

    def sample(self, count: int) -> tuple[Tensor, Tensor]:
        """The first held-out scenes; only one of large ones, whose states would fill a disk."""
        held_out = self.scenes["held-out"]
        count = count if held_out.masks[0].numel() < SMALL else 1
        return held_out.batch(torch.arange(min(count, len(held_out)), device=self.device))

    def loss(self, model: nn.Module, x: Tensor, target: Tensor) -> Tensor:
        """Cross-entropy of all pixels, the background's too, no class weighted."""
        return cross_entropy(model(x), target)

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        """The scores of the held-out scenes."""
        return self._scores(model, self.scenes["held-out"])

    def test(self, model: nn.Module) -> dict[str, float]:
        """The same of the test scenes."""
        return self._scores(model, self.scenes["test"])

    @torch.no_grad()
    def _scores(self, model, scenes):
        loss, found = 0.0, []
        at_once = max(1, EVALUATION_PIXELS // scenes.masks[0].numel())
        for piece in torch.arange(len(scenes), device=self.device).split(at_once):
            x, target = scenes.batch(piece)
            logits = model(x)
            loss += cross_entropy(logits, target).item() * len(piece)
            found.append(segmentation_scores(logits.argmax(1), target))
        scores = {name: torch.cat([part[name] for part in found]).nanmean().item() for name in SCORES}
        return {"loss": loss / len(scenes), **scores, "collapsed": float(scores["foreground_accuracy"] == 0)}

    def solved(self, scores: Mapping[str, float]) -> bool:
        """Segmentation has no such threshold."""
        return False


def _tensors(scenes):
    return {"images": scenes.images, "masks": scenes.masks}


def _digest(values):
    header = f"{tuple(values.shape)} {values.dtype}".encode()
    return hashlib.sha256(header + values.numpy(force=True).tobytes()).hexdigest()


@dataclass(frozen=True, kw_only=True, config=STRICT)
class _Drawn:
    """What tasks share whose scenes are drawn."""

    images: int = Field(default=10_000, gt=0)  # to train on
    held_out: int = Field(default=1000, gt=0)
    tested: int = Field(default=1000, gt=0)

    def _parts(self, draw, data_seed):
        """Scenes of the three parts by a function of count, generator and part."""
        counts = (self.images, self.held_out, self.tested)
        return {
            part: draw(count, generator_for(data_seed, FIXED, number), part)
            for number, (part, count) in enumerate(zip(PARTS, counts, strict=True))
        }


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Tetrominoes(_Drawn):
    """One to five tetrominoes on `size` × `size` pixels, of cells of `cell` × `cell`."""

    kind: Literal["tetrominoes"]
    size: int = Field(default=64, gt=0)
    cell: int = Field(default=7, gt=0)
    data_seed: int = Field(default=42, ge=0)
    problem: ClassVar[type[Problem]] = SegmentationProblem

    def load(self, batch_size: int, seed: int, device: torch.device, data: str | Path | None) -> SegmentationProblem:
        """Return the problem, its data on `device`."""

        def draw(count, generator, part):
            return tetrominoes(count, size=self.size, cell=self.cell, generator=generator, device=device)

        return SegmentationProblem(self._parts(draw, self.data_seed), batch_size, seed, device)


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Polygons(_Drawn):
    """One or two polygons or circles, of a generator of our own."""

    kind: Literal["polygons"]
    size: int = Field(default=64, gt=0)
    data_seed: int = Field(default=42, ge=0)
    problem: ClassVar[type[Problem]] = SegmentationProblem

    def load(self, batch_size: int, seed: int, device: torch.device, data: str | Path | None) -> SegmentationProblem:
        """Return the problem, its data on `device`."""

        def draw(count, generator, part):
            return polygons(count, size=self.size, generator=generator, device=device)

        return SegmentationProblem(self._parts(draw, self.data_seed), batch_size, seed, device)


@dataclass(frozen=True, kw_only=True, config=STRICT)
class MultiMnist(_Drawn):
    """One to four digits on `size` × `size` pixels.

    The published digits of all parts come from the training images of MNIST, so that one digit may be trained on and
    tested. With pools "disjoint" those held out are the last 10,000 of the training images, those tested the test
    images.
    """

    kind: Literal["multi-mnist"]
    size: int = Field(default=128, gt=0)
    digit_size: int = Field(default=42, gt=0)
    pools: Literal["published", "disjoint"] = "published"
    data_seed: int = Field(default=50, ge=0)
    problem: ClassVar[type[Problem]] = SegmentationProblem

    def load(self, batch_size: int, seed: int, device: torch.device, data: str | Path | None) -> SegmentationProblem:
        """Return the problem, its data on `device`."""
        folder = data_folder(data)
        digits = mnist_images(folder, "train")
        pools = dict.fromkeys(PARTS, digits)
        if self.pools == "disjoint":
            first = len(digits[0]) * 5 // 6
            pools = {
                "training": tuple(x[:first] for x in digits),
                "held-out": tuple(x[first:] for x in digits),
                "test": mnist_images(folder, "test"),
            }

        def draw(count, generator, part):
            sizes = {"size": self.size, "digit_size": self.digit_size}
            return multi_digits(*pools[part], count, **sizes, generator=generator, device=device)

        return SegmentationProblem(self._parts(draw, self.data_seed), batch_size, seed, device)


@dataclass(frozen=True, kw_only=True, config=STRICT)
class DigitSegmentation:
    """MNIST: a digit's pixels are to be given its number. `images` and `tested` take the first so many of a part."""

    kind: Literal["mnist-segmentation"]
    size: int = Field(default=56, gt=0)
    images: int | None = Field(default=None, gt=0)
    held_out: int = Field(default=9000, gt=0)
    tested: int | None = Field(default=None, gt=0)
    data_seed: int = Field(default=42, ge=0)
    problem: ClassVar[type[Problem]] = SegmentationProblem

    def load(self, batch_size: int, seed: int, device: torch.device, data: str | Path | None) -> SegmentationProblem:
        """Return the problem, its data on `device`."""
        folder = data_folder(data)
        images, labels = mnist_images(folder, "train")
        chosen = split(len(images), self.held_out, generator=generator_for(self.data_seed, FIXED))
        members, held_out = (index.numpy() for index in chosen)
        members = members[: self.images]
        parts = {
            "training": (images[members], labels[members]),
            "held-out": (images[held_out], labels[held_out]),
            "test": tuple(x[: self.tested] for x in mnist_images(folder, "test")),
        }
        scenes = {part: digit_segmentation(*of, size=self.size, device=device) for part, of in parts.items()}
        return SegmentationProblem(scenes, batch_size, seed, device)


Segmentation = Tetrominoes | Polygons | MultiMnist | DigitSegmentation
