"""Segmentation without a recurrence: local CNNs, U-Nets, and the encoders of the Neural Wave Machine alone."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from wavefield.checks import positive_int
from wavefield_torch.models.segmentation.layers import PixelMLP, checked_image, convolution, encoder, upsampling


class LocalCNN(nn.Module):
    """A stack of 3 × 3 convolutions that sees 2 L + 1 pixels each way, and the MLP of a pixel.

        L convolutions of `width` channels, the last of two, ReLU after each;  two channels → `features`;  MLP

    Parameters
    ----------
    in_channels, classes : int
    layers : int
        L; 2, 4, 8, 16 and 32 were published.
    width, bottleneck, features : int
        Channels of the layers, of the last one, and what the MLP reads.
    hidden : sequence of int
        Hidden layers of the MLP.
    generator : torch.Generator, optional

    Shapes
    ------
    image (B, I, H, W) → logits (B, classes, H, W)

    Notes
    -----
    Baseline of Jacobs et al. 2025 as in their published code. Deep ones often collapse to the background: two ReLU
    channels after a stack without normalisation can all be zero.

    Examples
    --------
    >>> LocalCNN(1, 11, layers=4)(torch.rand(2, 1, 16, 16)).shape
    torch.Size([2, 11, 16, 16])
    """

    def __init__(
        self,
        in_channels: int,
        classes: int,
        layers: int = 8,
        *,
        width: int = 16,
        bottleneck: int = 2,
        features: int = 98,
        hidden: Sequence[int] = (256, 256, 256),
        generator: torch.Generator | None = None,
    ):
        super().__init__()
        self.in_channels = positive_int(in_channels, "in_channels")
        depth = positive_int(layers, "layers")
        self.stack = encoder(in_channels, width, bottleneck, layers=depth, last=nn.ReLU, generator=generator)
        self.widen = convolution(bottleneck, features, 1, generator=generator)
        self.mlp = PixelMLP(features, classes, hidden=hidden, generator=generator)

    def forward(self, image: Tensor) -> Tensor:
        """Return the logits of every pixel."""
        return self.mlp(self.widen(self.stack(checked_image(image, self.in_channels))))


class EncoderReadout(nn.Module):
    """The control without a recurrence: the MLP of a pixel reads the encoders of a Neural Wave Machine directly.

        logits = MLP( y₀, ω, α )

    Parameters
    ----------
    in_channels, classes, channels, encoder_width : int
        As of `NeuralWaveMachine`.
    hidden : sequence of int
        Hidden layers of the MLP.
    generator : torch.Generator, optional

    Shapes
    ------
    image (B, I, H, W) → logits (B, classes, H, W)

    Examples
    --------
    >>> EncoderReadout(1, 11)(torch.rand(2, 1, 16, 16)).shape
    torch.Size([2, 11, 16, 16])
    """

    def __init__(
        self,
        in_channels: int,
        classes: int,
        channels: int = 2,
        encoder_width: int = 16,
        *,
        hidden: Sequence[int] = (256, 256, 256),
        generator: torch.Generator | None = None,
    ):
        super().__init__()
        self.in_channels = positive_int(in_channels, "in_channels")
        sizes = (in_channels, positive_int(encoder_width, "encoder_width"), positive_int(channels, "channels"))
        self.stiffness = encoder(*sizes, layers=3, last=nn.ReLU, generator=generator)
        self.damping = encoder(*sizes, layers=3, last=nn.ReLU, generator=generator)
        self.initial = encoder(*sizes, layers=4, last=nn.Tanh, generator=generator)
        self.mlp = PixelMLP(3 * channels, classes, hidden=hidden, generator=generator)

    def forward(self, image: Tensor) -> Tensor:
        """Return the logits of every pixel."""
        image = checked_image(image, self.in_channels)
        return self.mlp(torch.cat([self.initial(image), self.stiffness(image), self.damping(image)], 1))


class UNet(nn.Module):
    """The U-Net: four halvings, four doublings, and the image at each size handed across.

    Parameters
    ----------
    in_channels, classes : int
    width : int
        m, channels at full size; m, 2 m, 4 m, 8 m, 16 m from the top down. 2 to 5 were published.
    generator : torch.Generator, optional

    Shapes
    ------
    image (B, I, H, W), H and W at least 16 → logits (B, classes, H, W)

    Notes
    -----
    Ronneberger, Fischer and Brox 2015, with batch normalisation and padding, as in the published code of Jacobs et al.
    2025; it is not local: at the bottom a pixel sees everything.

    Examples
    --------
    >>> UNet(1, 11, width=2)(torch.rand(2, 1, 32, 32)).shape
    torch.Size([2, 11, 32, 32])
    """

    def __init__(self, in_channels: int, classes: int, width: int = 4, *, generator: torch.Generator | None = None):
        super().__init__()
        self.in_channels, m = positive_int(in_channels, "in_channels"), positive_int(width, "width")
        widths = [m * 2**level for level in range(5)]
        steps = list(pairwise(widths))
        self.first = _double(in_channels, m, generator)
        self.down = nn.ModuleList(_double(upper, lower, generator) for upper, lower in steps)
        self.up, self.joined = nn.ModuleList(), nn.ModuleList()
        for upper, lower in reversed(steps):
            self.up.append(upsampling(lower, upper, generator=generator))
            self.joined.append(_double(lower, upper, generator))
        self.last = convolution(m, classes, 1, generator=generator)

    def forward(self, image: Tensor) -> Tensor:
        """Return the logits of every pixel."""
        image = checked_image(image, self.in_channels)
        if min(image.shape[2:]) < 16:
            raise ValueError(f"image must have at least 16 rows and columns to be halved, got {tuple(image.shape)}")
        levels = [self.first(image)]
        for down in self.down:
            levels.append(down(functional.max_pool2d(levels[-1], 2)))
        x = levels.pop()
        for up, joined in zip(self.up, self.joined, strict=True):
            across, x = levels.pop(), up(x)
            rows, columns = (across.shape[axis] - x.shape[axis] for axis in (2, 3))  # odd sizes lose one when halved
            x = functional.pad(x, (columns // 2, columns - columns // 2, rows // 2, rows - rows // 2))
            x = joined(torch.cat([across, x], 1))
        return self.last(x)


def _double(inputs, outputs, generator):
    """Two 3 × 3 convolutions without bias, each followed by batch normalisation and ReLU."""
    return nn.Sequential(
        convolution(inputs, outputs, bias=False, generator=generator),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
        convolution(outputs, outputs, bias=False, generator=generator),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    )
