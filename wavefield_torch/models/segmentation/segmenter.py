"""A recurrence on a sheet, read through time at every pixel."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from wavefield.checks import positive_int
from wavefield_torch.models.segmentation.conv_lstm import ConvLSTM
from wavefield_torch.models.segmentation.layers import PixelMLP
from wavefield_torch.models.segmentation.linear_wave_machine import LinearWaveMachine
from wavefield_torch.models.segmentation.neural_wave_machine import NeuralWaveMachine
from wavefield_torch.models.segmentation.time_readout import TimeReadout


class Segmenter(nn.Module):
    """Class of every pixel from what a recurrence did there over time.

        logits = MLP( readout( y[1..T] ) ),      the readout and the MLP the same at every pixel

    Parameters
    ----------
    recurrence : NeuralWaveMachine, LinearWaveMachine or ConvLSTM
    classes : int
        With the background.
    readout : {"linear", "fft", "last", "mean", "max"}
        As of `TimeReadout`.
    features : int, optional
        K of the readouts linear and fft.
    hidden : sequence of int
        Hidden layers of the MLP; ``(32,) * 5`` is the small one of the published Multi-MNIST runs.
    generator : torch.Generator, optional
        From which the weights of readout and MLP are drawn.

    Shapes
    ------
    image (B, I, H, W) → logits (B, classes, H, W)

    Notes
    -----
    Of a wave machine no states are stored: the readout is accumulated inside the scan, or, of a linear one, computed
    without a scan.

    Examples
    --------
    >>> model = Segmenter(NeuralWaveMachine(in_channels=1, steps=20), 11)
    >>> model(torch.rand(4, 1, 16, 16)).shape
    torch.Size([4, 11, 16, 16])
    """

    def __init__(
        self,
        recurrence: NeuralWaveMachine | LinearWaveMachine | ConvLSTM,
        classes: int,
        *,
        readout: str = "linear",
        features: int | None = None,
        hidden: Sequence[int] = (256, 256, 256),
        generator: torch.Generator | None = None,
    ):
        super().__init__()
        self.recurrence = recurrence
        self.readout = TimeReadout(readout, recurrence.steps, features=features, generator=generator)
        pixel = self.readout.features_of(recurrence.channels)
        self.mlp = PixelMLP(pixel, positive_int(classes, "classes"), hidden=hidden, generator=generator)

    def forward(self, image: Tensor) -> Tensor:
        """Return the logits of every pixel."""
        if isinstance(self.recurrence, ConvLSTM):
            read = self.readout.read(self.recurrence(image))
        else:
            read = self.recurrence(image, self.readout.over_time())
        return self.mlp(self.readout(read))
