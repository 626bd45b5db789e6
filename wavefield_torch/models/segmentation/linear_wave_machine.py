"""The Neural Wave Machine without its nonlinearity and with one medium for all images: no loop over time."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from wavefield.checks import positive_int
from wavefield_torch.models.segmentation.layers import checked_image, encoder
from wavefield_torch.models.sheets.linear_sheet import LinearSheet


class LinearWaveMachine(nn.Module):
    """A linear sheet that an image sets in motion and does not otherwise change.

        y'' = W ⋆ y − ω y − α y',      y[0] = y₀(image),  y'[0] = v₀(image)

    ω and α are one number per channel, the same for all images and pixels, so that waves do not interact and all steps
    are taken at once (`LinearSheet`): what a `NeuralWaveMachine` owes to its medium and to tanh shows against it.

    Parameters
    ----------
    in_channels, channels, encoder_width, steps, dt
        As of `NeuralWaveMachine`.
    coupled : bool
        Whether channels mix.
    generator : torch.Generator, optional
        From which the encoders are drawn.

    Attributes
    ----------
    initial, velocity : nn.Sequential
        Four 3 × 3 convolutions with ReLU between them, tanh after the last.
    sheet : LinearSheet

    Shapes
    ------
    image (B, I, H, W) → states y[1..T] (T, B, C, H, W); with a readout as of `sheet_scan`, what that returns.

    Examples
    --------
    >>> model = LinearWaveMachine(in_channels=3, channels=2, steps=1000)
    >>> model(torch.rand(4, 3, 16, 16), torch.ones(5, 1000)).shape
    torch.Size([5, 4, 2, 16, 16])
    """

    def __init__(
        self,
        in_channels: int = 3,
        channels: int = 2,
        encoder_width: int = 16,
        steps: int = 100,
        dt: float = 0.1,
        *,
        coupled: bool = True,
        generator: torch.Generator | None = None,
    ):
        super().__init__()
        self.in_channels, self.channels = positive_int(in_channels, "in_channels"), positive_int(channels, "channels")
        self.steps = positive_int(steps, "steps")
        sizes = (in_channels, positive_int(encoder_width, "encoder_width"), channels)
        self.initial = encoder(*sizes, layers=4, last=nn.Tanh, generator=generator)
        self.velocity = encoder(*sizes, layers=4, last=nn.Tanh, generator=generator)
        self.sheet = LinearSheet(channels, dt=dt, coupled=coupled)

    def forward(self, image: Tensor, readout: Tensor | str | None = None) -> Tensor:
        """Return the states, or what a readout over time makes of them."""
        image = checked_image(image, self.in_channels)
        output, _ = self.sheet(self.initial(image), self.velocity(image), steps=self.steps, readout=readout)
        return output

    def extra_repr(self) -> str:
        """The settings."""
        return f"in_channels={self.in_channels}, channels={self.channels}, steps={self.steps}"
