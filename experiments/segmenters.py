"""The models of images a config can name: their settings, and how they are built."""

from __future__ import annotations

from abc import abstractmethod
from typing import Literal

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import nn

from experiments.tasks.strict import STRICT
from wavefield_torch import ConvLSTM, EncoderReadout, LinearWaveMachine, LocalCNN, NeuralWaveMachine, Segmenter, UNet

Readout = Literal["linear", "fft", "last", "mean", "max"]


@dataclass(frozen=True, kw_only=True, config=STRICT)
class _Pixelwise:
    """What models share that end in an MLP at every pixel."""

    hidden: tuple[int, ...] = (256, 256, 256)  # units of its hidden layers

    def __post_init__(self):
        if any(units < 1 for units in self.hidden):
            raise ValueError(f"hidden must hold units of at least 1, got {list(self.hidden)}")


@dataclass(frozen=True, kw_only=True, config=STRICT)
class _Recurrent(_Pixelwise):
    """What recurrences on sheets share."""

    channels: int = Field(default=2, gt=0)
    encoder_width: int = Field(default=16, gt=0)
    readout: Readout = "linear"
    features: int | None = Field(default=None, gt=0)  # of readouts linear and fft; by default half the steps and one

    @abstractmethod
    def recurrence(self, inputs: int, generator: torch.Generator) -> NeuralWaveMachine | LinearWaveMachine | ConvLSTM:
        """Return the recurrence with its first weights drawn from `generator`."""

    def build(self, inputs: int, outputs: int, *, every_step: bool, generator: torch.Generator) -> Segmenter:
        """Return the model with its first weights drawn from `generator`, recurrence first."""
        return Segmenter(
            self.recurrence(inputs, generator),
            outputs,
            readout=self.readout,
            features=self.features,
            hidden=self.hidden,
            generator=generator,
        )


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Nwm(_Recurrent):
    """`NeuralWaveMachine`; without coupling its oscillators do not know of each other."""

    kind: Literal["nwm"]
    time_steps: int = Field(default=100, gt=0)
    dt: float = Field(default=0.1, gt=0)
    coupled: bool = True

    def recurrence(self, inputs: int, generator: torch.Generator) -> NeuralWaveMachine:
        return NeuralWaveMachine(
            inputs,
            self.channels,
            self.encoder_width,
            self.time_steps,
            self.dt,
            coupled=self.coupled,
            generator=generator,
        )


@dataclass(frozen=True, kw_only=True, config=STRICT)
class LinearWave(_Recurrent):
    """`LinearWaveMachine`: one medium for all images, no nonlinearity and no loop over time."""

    kind: Literal["linear-wave"]
    time_steps: int = Field(default=100, gt=0)
    dt: float = Field(default=0.1, gt=0)

    def recurrence(self, inputs: int, generator: torch.Generator) -> LinearWaveMachine:
        return LinearWaveMachine(
            inputs, self.channels, self.encoder_width, self.time_steps, self.dt, generator=generator
        )


@dataclass(frozen=True, kw_only=True, config=STRICT)
class GatedSheet(_Recurrent):
    """`ConvLSTM`."""

    kind: Literal["conv-lstm"]
    time_steps: int = Field(default=20, gt=0)

    def recurrence(self, inputs: int, generator: torch.Generator) -> ConvLSTM:
        return ConvLSTM(inputs, self.channels, self.encoder_width, self.time_steps, generator=generator)


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Stack(_Pixelwise):
    """`LocalCNN`."""

    kind: Literal["local-cnn"]
    layers: int = Field(default=8, gt=0)
    width: int = Field(default=16, gt=0)

    def build(self, inputs: int, outputs: int, *, every_step: bool, generator: torch.Generator) -> nn.Module:
        """Return the model with its first weights drawn from `generator`."""
        return LocalCNN(inputs, outputs, self.layers, width=self.width, hidden=self.hidden, generator=generator)


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Encoders(_Pixelwise):
    """`EncoderReadout`: the encoders of a Neural Wave Machine without its recurrence."""

    kind: Literal["encoders"]
    channels: int = Field(default=2, gt=0)
    encoder_width: int = Field(default=16, gt=0)

    def build(self, inputs: int, outputs: int, *, every_step: bool, generator: torch.Generator) -> nn.Module:
        """Return the model with its first weights drawn from `generator`."""
        return EncoderReadout(
            inputs, outputs, self.channels, self.encoder_width, hidden=self.hidden, generator=generator
        )


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Unet:
    """`UNet`."""

    kind: Literal["unet"]
    width: int = Field(default=4, gt=0)

    def build(self, inputs: int, outputs: int, *, every_step: bool, generator: torch.Generator) -> nn.Module:
        """Return the model with its first weights drawn from `generator`."""
        return UNet(inputs, outputs, self.width, generator=generator)


Segmenting = Nwm | LinearWave | GatedSheet | Stack | Encoders | Unet
