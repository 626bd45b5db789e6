"""Convolutions with PyTorch's initial values drawn from a generator, the encoders made of them, the MLP of a pixel."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import skip_init

from wavefield.checks import positive_int
from wavefield_torch.models.readout import linear_readout


def convolution(inputs: int, outputs: int, size: int = 3, *, bias: bool = True, generator=None, **options) -> nn.Conv2d:
    """Return a `size` × `size` convolution that keeps height and width, its weights U(±1/√(inputs·size²))."""
    layer = skip_init(nn.Conv2d, inputs, outputs, size, padding=size // 2, bias=bias, **options)
    _draw(layer, inputs * size**2, generator)
    return layer


def upsampling(inputs: int, outputs: int, *, generator=None) -> nn.ConvTranspose2d:
    """Return a 2 × 2 transposed convolution that doubles height and width, its weights U(±1/√(4·outputs))."""
    layer = skip_init(nn.ConvTranspose2d, inputs, outputs, 2, stride=2)
    _draw(layer, outputs * 4, generator)  # PyTorch takes the second axis of a weight for its inputs
    return layer


def _draw(layer, fan_in, generator):
    for parameter in layer.parameters():
        nn.init.uniform_(parameter, -1 / math.sqrt(fan_in), 1 / math.sqrt(fan_in), generator=generator)


def encoder(
    inputs: int, width: int, outputs: int, *, layers: int, last: type[nn.Module] | None, generator=None
) -> nn.Sequential:
    """Return `layers` 3 × 3 convolutions of `width` channels with ReLU between them, and `last` after the last."""
    found: list[nn.Module] = []
    for number in range(layers):
        into = inputs if number == 0 else width
        out = outputs if number == layers - 1 else width
        found += [convolution(into, out, generator=generator), nn.ReLU()]
    return nn.Sequential(*found[:-1], *(() if last is None else (last(),)))


def checked_image(image: Tensor, channels: int) -> Tensor:
    """Return an image (B, channels, H, W) after its shape has been checked."""
    if not isinstance(image, Tensor):
        raise TypeError(f"image must be a tensor, got {type(image).__name__}")
    if image.dim() != 4 or image.shape[1] != channels or 0 in image.shape[2:]:
        raise ValueError(f"image must have shape (B, {channels}, H, W), got {tuple(image.shape)}")
    return image


class PixelMLP(nn.Module):
    """The same small network at every pixel: linear layers with ReLU between them.

    Parameters
    ----------
    features, outputs : int
    hidden : sequence of int
        Units of the hidden layers.
    generator : torch.Generator, optional
        From which the weights are drawn.

    Shapes
    ------
    (B, features, H, W) → (B, outputs, H, W)

    Examples
    --------
    >>> PixelMLP(6, 3, hidden=(16,))(torch.zeros(2, 6, 8, 9)).shape
    torch.Size([2, 3, 8, 9])
    """

    def __init__(self, features: int, outputs: int, *, hidden: Sequence[int] = (256, 256, 256), generator=None):
        super().__init__()
        sizes = [positive_int(features, "features"), *hidden, positive_int(outputs, "outputs")]
        self.layers = nn.ModuleList(linear_readout(into, out, generator=generator) for into, out in pairwise(sizes))

    def forward(self, x: Tensor) -> Tensor:
        """Return the outputs of every pixel."""
        batch, _, height, width = x.shape
        x = x.transpose(0, 1).flatten(1)  # (features, B·H·W): one product for all pixels, whose result lies as it needs
        for number, layer in enumerate(self.layers):
            x = functional.relu_(x) if number else x
            x = torch.addmm(layer.get_parameter("bias")[:, None], layer.get_parameter("weight"), x)
        return x.unflatten(1, (batch, height, width)).transpose(0, 1)
