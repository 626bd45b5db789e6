"""What a pixel's states over time are turned into before a class is read from them."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from wavefield.checks import positive_int

READOUTS = ("fft", "linear", "last", "mean", "max")


class TimeReadout(nn.Module):
    """Features of the states y[1..T] of each pixel and channel.

        linear   K weighted sums over time, the weights (K, T) trained and shared by all pixels and channels
        fft      the modulus of the K Fourier coefficients of frequencies 0 … K − 1 cycles per T steps
        last     y[T]
        mean     the mean over time
        max      the largest value over time, with its sign

    Parameters
    ----------
    kind : {"linear", "fft", "last", "mean", "max"}
    steps : int
        T.
    features : int, optional
        K; by default T // 2 + 1, as published: all frequencies of the Fourier transform.
    generator : torch.Generator, optional
        From which the weights are drawn, U(±1/√T).

    Notes
    -----
    `over_time` is what `sheet_scan` takes as its readout, so that no state has to be stored for it: a matrix (F, T) or
    a word; the Fourier transform is a matrix too, of cosines and sines. Source: Jacobs et al. 2025.

    Examples
    --------
    >>> readout = TimeReadout("fft", 100)
    >>> readout.features_of(channels=2), readout.over_time().shape
    (102, torch.Size([102, 100]))
    """

    def __init__(self, kind: str, steps: int, *, features: int | None = None, generator=None):
        super().__init__()
        if kind not in READOUTS:
            raise ValueError(f"readout must be one of {', '.join(READOUTS)}, got {kind!r}")
        self.kind, self.steps = kind, positive_int(steps, "steps")
        self.features = positive_int(steps // 2 + 1 if features is None else features, "features")
        self.weight: nn.Parameter | None = None
        self.like: Tensor
        self.register_buffer("like", torch.empty(0), persistent=False)  # has the dtype and device of the module
        if kind == "linear":
            self.weight = nn.Parameter(torch.empty(self.features, steps))
            nn.init.uniform_(self.weight, -1 / math.sqrt(steps), 1 / math.sqrt(steps), generator=generator)

    def over_time(self) -> Tensor | str:
        """Return the readout as `sheet_scan` takes it: a matrix (F, T), or a word."""
        if self.weight is not None:
            return self.weight
        return _waves(self.features, self.steps, self.like) if self.kind == "fft" else self.kind

    def features_of(self, channels: int) -> int:
        """Return the number of features of a pixel with so many channels."""
        return channels * (self.features if self.kind in ("linear", "fft") else 1)

    def read(self, states: Tensor) -> Tensor:
        """Return from a stored sequence (T, B, C, H, W) what a scan with this readout returns."""
        if self.kind == "last":
            return states[-1]
        if self.kind == "mean":
            return states.mean(0)
        if self.kind == "max":
            return states.max(0).values
        return torch.tensordot(self.over_time(), states, 1)

    def forward(self, read: Tensor) -> Tensor:
        """Return the features (B, C·K, H, W) from what a scan with this readout returned."""
        if self.kind not in ("linear", "fft"):
            return read  # (B, C, H, W)
        if self.kind == "fft":
            read = _modulus(*read.unflatten(0, (2, self.features)).unbind())
        return read.transpose(1, 2).flatten(0, 1).transpose(0, 1)  # in memory features first, as the MLP reads them

    def extra_repr(self) -> str:
        """The settings."""
        return f"{self.kind!r}, steps={self.steps}, features={self.features}"


def _waves(features, steps, like):
    """Cosines, then sines, (2K, T): real and imaginary part, but for a sign, of the discrete Fourier transform."""
    frequency, time = (torch.arange(n, device=like.device) for n in (features, steps))
    phase = frequency[:, None] * time % steps  # whole, so that no angle is rounded twice
    angle = 2 * math.pi / steps * phase.double()
    return torch.cat([angle.cos(), angle.sin()]).to(like.dtype)


def _modulus(real: Tensor, imaginary: Tensor) -> Tensor:
    """√(real² + imaginary²), with gradient 0 at 0; `linalg.vector_norm` over two values is eight times as slow."""
    nothing = (real == 0) & (imaginary == 0)
    return torch.hypot(real, imaginary.masked_fill(nothing, 1.0)).masked_fill(nothing, 0.0)
