"""The models a config can name: their settings, and how they are built.

The setting `start` says what the recurrence is before training: a shift, the identity or random weights. It is the
argument `operator` of `WaveRNN` and `LocallyConnectedRNN`, and `recurrence` of `IdentityRNN`.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Literal

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import nn

from experiments.tasks.strict import STRICT
from wavefield_torch import (
    GRU,
    LSTM,
    AttentionEnd,
    IdentityRNN,
    LinearEnd,
    LocallyConnectedRNN,
    MediumRNN,
    MLPEnd,
    SequenceModel,
    Tape,
    TravellingMemory,
    WaveRNN,
    elman,
    linear_readout,
    mlp_readout,
    open_line,
)

Size = Field(gt=0)
Start = Literal["shift", "identity", "uniform"]  # the recurrence before training
Encoder = Literal["sparse", "gaussian", "uniform"]
Bias = Literal["clean", "reference", "none"]
Recurrence = WaveRNN | LocallyConnectedRNN | IdentityRNN | LSTM | GRU | Tape | MediumRNN


@dataclass(frozen=True, kw_only=True, config=STRICT)
class _Model:
    """What most models share: the number of units, and the readout."""

    hidden_size: int = Size
    readout: Literal["linear", "mlp"] = "linear"
    readout_hidden: int = Field(default=100, gt=0)

    @abstractmethod
    def recurrence(self, inputs: int, generator: torch.Generator) -> Recurrence:
        """Return the recurrence with its first weights drawn from `generator`."""

    def build(self, inputs: int, outputs: int, *, every_step: bool, generator: torch.Generator) -> SequenceModel:
        """Return the model with its first weights drawn from `generator`, recurrence first."""
        recurrence = self.recurrence(inputs, generator)
        features = recurrence.output_size
        readout: nn.Module
        if self.readout == "mlp":
            readout = mlp_readout(features, outputs, hidden=self.readout_hidden, generator=generator)
        else:
            readout = linear_readout(features, outputs, generator=generator)
        return SequenceModel(recurrence, readout, every_step=every_step)


@dataclass(frozen=True, kw_only=True, config=STRICT)
class _Rings(_Model):
    """What networks on rings share."""

    channels: int = Size
    kernel_size: int = Field(default=3, gt=0)
    start: Start = "shift"
    encoder: Encoder = "sparse"
    frozen: bool = False  # encoder and recurrence: only the readout is trained
    leak: float = Field(default=1.0, gt=0, le=1)  # share of a step that is new
    noise: float = Field(default=0.0, ge=0)  # of the state, in training: standard deviation before the nonlinearity

    def _options(self, generator):
        return {
            "channels": self.channels,
            "kernel_size": self.kernel_size,
            "operator": self.start,
            "encoder": self.encoder,
            "freeze_encoder": self.frozen,
            "freeze_recurrence": self.frozen,
            "leak": self.leak,
            "noise": self.noise,
            "generator": generator,
        }


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Wave(_Rings):
    """`WaveRNN`: rings of units moved by one shared kernel."""

    kind: Literal["wrnn"]
    nonlinearity: Literal["relu", "tanh", "identity"] = "relu"
    bias: Bias = "reference"

    def recurrence(self, inputs: int, generator: torch.Generator) -> Recurrence:
        options = self._options(generator)
        return WaveRNN(inputs, self.hidden_size, nonlinearity=self.nonlinearity, bias=self.bias, **options)


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Local(_Rings):
    """`LocallyConnectedRNN`: a wave network whose kernel is not shared along the ring."""

    kind: Literal["local"]

    def recurrence(self, inputs: int, generator: torch.Generator) -> Recurrence:
        return LocallyConnectedRNN(inputs, self.hidden_size, **self._options(generator))


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Identity(_Model):
    """`IdentityRNN`: a dense ReLU network started at the identity, at a shift, or at random."""

    kind: Literal["irnn"]
    start: Start = "identity"
    encoder: Encoder = "gaussian"
    nonlinearity: Literal["relu", "tanh"] = "relu"
    bias: Bias = "reference"
    frozen: bool = False

    def recurrence(self, inputs: int, generator: torch.Generator) -> Recurrence:
        return IdentityRNN(
            inputs,
            self.hidden_size,
            recurrence=self.start,
            encoder=self.encoder,
            nonlinearity=self.nonlinearity,
            bias=self.bias,
            freeze_encoder=self.frozen,
            freeze_recurrence=self.frozen,
            generator=generator,
        )


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Gated(_Model):
    """`LSTM` or `GRU`, as PyTorch has them."""

    kind: Literal["lstm", "gru"]
    bias: bool = True

    def recurrence(self, inputs: int, generator: torch.Generator) -> Recurrence:
        cell: type[LSTM] | type[GRU] = LSTM if self.kind == "lstm" else GRU
        return cell(inputs, self.hidden_size, bias=self.bias, generator=generator)


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Buffer(_Model):
    """`Tape`: the last `hidden_size` inputs as they are; only the readout is trained."""

    kind: Literal["tape"]

    def recurrence(self, inputs: int, generator: torch.Generator) -> Recurrence:
        return Tape(inputs, self.hidden_size)


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Medium(_Model):
    """`MediumRNN`: neurons that write to a string and read from it."""

    kind: Literal["medium"]
    courant: float = Field(default=0.9, gt=0, le=1)

    def recurrence(self, inputs: int, generator: torch.Generator) -> Recurrence:
        return MediumRNN(inputs, self.hidden_size, courant=self.courant, generator=generator)


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Elman:
    """`elman`: the tanh network without biases of Karuvally et al., read out at every step."""

    kind: Literal["elman"]
    hidden_size: int = Size

    def build(self, inputs: int, outputs: int, *, every_step: bool, generator: torch.Generator) -> SequenceModel:
        """Return the model with its first weights drawn from `generator`."""
        return elman(inputs, self.hidden_size, output_size=outputs, generator=generator)


@dataclass(frozen=True, kw_only=True, config=STRICT)
class OpenLine:
    """`open_line`: a line of `length` units for each input, and the boundary row that drives its end."""

    kind: Literal["open-line"]
    length: int = Size
    nonlinearity: Literal["tanh", "identity"] = "tanh"

    def build(self, inputs: int, outputs: int, *, every_step: bool, generator: torch.Generator) -> SequenceModel:
        """Return the model; nothing in it is drawn at random."""
        return open_line(inputs, self.length, nonlinearity=self.nonlinearity)


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Memory:
    """`TravellingMemory`: a line of `length` slots for each input, whose driven end computes the next state."""

    kind: Literal["travelling-memory"]
    length: int = Size
    end: Literal["linear", "attention", "mlp"]
    heads: int = Field(default=8, gt=0)
    head_size: int = Field(default=8, gt=0)
    positions: Literal["learned", "fixed", "none"] = "learned"
    hidden: int = Field(default=64, ge=0)  # units of the end's hidden layer; 0, of attention: none

    def build(self, inputs: int, outputs: int, *, every_step: bool, generator: torch.Generator) -> SequenceModel:
        """Return the model with its first weights drawn from `generator`; the newest state is what it answers."""
        end: nn.Module
        if self.end == "attention":
            end = AttentionEnd(
                inputs,
                self.length,
                heads=self.heads,
                head_size=self.head_size,
                positions=self.positions,
                hidden=self.hidden,
                generator=generator,
            )
        elif self.end == "mlp":
            end = MLPEnd(inputs, self.length, hidden=self.hidden, generator=generator)
        else:
            end = LinearEnd(inputs, self.length, generator=generator)
        net = TravellingMemory(inputs, self.length, boundary=end, entry="replace")
        net.encoder.requires_grad_(False)  # the states are those of the system, and the readout is their own
        return SequenceModel(net, net.reader(), every_step=every_step)


Model = Wave | Identity | Gated | Local | Buffer | Medium | Elman | OpenLine | Memory
