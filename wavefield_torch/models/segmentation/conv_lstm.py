"""The gated recurrence beside the Neural Wave Machine: as local, without the bias towards waves."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from wavefield.checks import positive_int
from wavefield_torch.models.segmentation.layers import checked_image, convolution, encoder


class ConvLSTM(nn.Module):
    """A convolutional LSTM on a torus that is started by an image and then left to itself.

        i, f, g, o = σ, σ, tanh, σ ( U ⋆ [y, z] + b )
        c ← f ⊙ c + i ⊙ g,      z ← o ⊙ tanh(c),      y ← MLP(z) at every pixel

    Parameters
    ----------
    in_channels, channels, encoder_width : int
        As of `NeuralWaveMachine`.
    steps : int
        T.
    generator : torch.Generator, optional
        From which the weights are drawn.

    Shapes
    ------
    image (B, I, H, W) → states y[1..T] (T, B, C, H, W)

    Notes
    -----
    Baseline of Jacobs et al. 2025 as in their published code: y begins as four convolutions and tanh of the image, z
    and c as three convolutions each; U is 3 × 3 with circular padding; the MLP has 2 C hidden units.

    Examples
    --------
    >>> ConvLSTM(in_channels=1, steps=5)(torch.rand(4, 1, 16, 16)).shape
    torch.Size([5, 4, 2, 16, 16])
    """

    def __init__(
        self,
        in_channels: int = 3,
        channels: int = 2,
        encoder_width: int = 16,
        steps: int = 20,
        *,
        generator: torch.Generator | None = None,
    ):
        super().__init__()
        self.in_channels, self.channels = positive_int(in_channels, "in_channels"), positive_int(channels, "channels")
        self.steps = positive_int(steps, "steps")
        sizes = (in_channels, positive_int(encoder_width, "encoder_width"), channels)
        self.initial = encoder(*sizes, layers=4, last=nn.Tanh, generator=generator)
        self.initial_hidden = encoder(*sizes, layers=3, last=None, generator=generator)
        self.initial_cell = encoder(*sizes, layers=3, last=None, generator=generator)
        self.gates = convolution(2 * channels, 4 * channels, generator=generator, padding_mode="circular")
        self.output = nn.Sequential(
            convolution(channels, 2 * channels, 1, generator=generator),
            nn.ReLU(),
            convolution(2 * channels, channels, 1, generator=generator),
        )

    def forward(self, image: Tensor) -> Tensor:
        """Return the states."""
        image = checked_image(image, self.in_channels)
        y, hidden, cell = self.initial(image), self.initial_hidden(image), self.initial_cell(image)
        states = []
        for _ in range(self.steps):
            entry, forget, candidate, exit = self.gates(torch.cat([y, hidden], 1)).chunk(4, 1)
            cell = forget.sigmoid() * cell + entry.sigmoid() * candidate.tanh()
            hidden = exit.sigmoid() * functional.tanh(cell)
            y = self.output(hidden)
            states.append(y)
        return torch.stack(states)

    def extra_repr(self) -> str:
        """The settings."""
        return f"in_channels={self.in_channels}, channels={self.channels}, steps={self.steps}"
