"""Digits whose pixels are to be given their number: one digit that fills the image, or several of which none overlap.

Jacobs et al. 2025, from their published code. The digits are those of MNIST (`mnist_images`).
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from wavefield.checks import positive_int
from wavefield_torch.tasks.scenes import AT_ONCE, Scenes, drawn_scenes, free_place, random_numbers

DIGITS = ("background", *(str(digit) for digit in range(10)))
MOST = 4  # digits of a scene
THRESHOLD = 50  # grey levels, above which a pixel of a resized digit belongs to it


def digit_segmentation(
    images: np.ndarray, labels: np.ndarray, *, size: int = 56, device: torch.device | str | None = None
) -> Scenes:
    """Return images of one digit each, enlarged by bilinear interpolation; what is brighter than half is the digit.

    Parameters
    ----------
    images, labels : array (samples, 28, 28) and (samples,), uint8
    size : int
        Pixels along each side; 28 leaves the images as they are.
    device : optional

    Returns
    -------
    Scenes
        Images of one channel, in whole grey levels; masks from the interpolated values before they are rounded.

    Examples
    --------
    >>> scenes = digit_segmentation(np.full((2, 28, 28), 200, np.uint8), np.array([3, 7]))
    >>> scenes.images.shape, scenes.masks[:, 5, 5].tolist()
    (torch.Size([2, 1, 56, 56]), [4, 8])
    """
    parts = []
    for start in range(0, len(images), AT_ONCE):
        grey = _resized(torch.as_tensor(images[start : start + AT_ONCE]).to(device), positive_int(size, "size"))
        digit = torch.as_tensor(labels[start : start + AT_ONCE].astype(np.uint8)).to(device)[:, None, None] + 1
        parts.append((grey.round().to(torch.uint8)[:, None], torch.where(grey > 127.5, digit, 0).to(torch.uint8)))
    pictures, masks = (torch.cat(pieces) for pieces in zip(*parts, strict=True))
    return Scenes(pictures, masks, DIGITS)


def multi_digits(
    images: np.ndarray,
    labels: np.ndarray,
    count: int,
    *,
    size: int = 128,
    digit_size: int = 42,
    generator: torch.Generator,
    device: torch.device | str | None = None,
) -> Scenes:
    """Draw scenes of one to four digits: Multi-MNIST.

    Digits are drawn from `images` with replacement, enlarged to `digit_size`, made black and white at 50 grey levels
    and placed where none of their pixels meets one of another digit, all such places equally likely.

    Parameters
    ----------
    images, labels : array (samples, 28, 28) and (samples,), uint8
        The pool of digits. In the published data the pools of training, validation and test are one: the same digit may
        occur in all three.
    count : int
    size, digit_size : int
        Pixels along each side of a scene and of a digit's frame.
    generator : torch.Generator
        On the CPU.
    device : optional
        Where the scenes are painted and lie.

    Returns
    -------
    Scenes
        Its layout (count, 4, 3) holds the digit's place in the pool (−1: no digit), row and column of its frame.

    Examples
    --------
    >>> pool = np.full((5, 28, 28), 255, np.uint8), np.arange(5)
    >>> scenes = multi_digits(*pool, 3, generator=torch.Generator().manual_seed(0))
    >>> scenes.images.shape, int((scenes.masks > 0).sum()) % 42**2
    (torch.Size([3, 1, 128, 128]), 0)
    """
    size, digit_size = positive_int(size, "size"), positive_int(digit_size, "digit_size")
    if size < 2 * digit_size:
        raise ValueError(f"size must be at least twice digit_size, so that four digits find room, got {size}")
    pool = torch.as_tensor(images).to(device)
    numbers = torch.as_tensor(np.asarray(labels).astype(np.uint8)).to(device)

    def digits(layout):  # (n, 4, digit_size, digit_size) of bool
        grey = _resized(pool[layout[..., 0].clamp(min=0).flatten()], digit_size)
        there = (layout[..., 0] >= 0).flatten()[:, None, None]
        return ((grey > THRESHOLD) & there).unflatten(0, layout.shape[:2])

    def draw(number, generator):
        drawn = random_numbers(number, 1 + 2 * MOST, generator=generator, device=device)
        there = torch.arange(MOST, device=drawn.device) < 1 + (drawn[:, :1] * MOST).long()
        which = torch.where(there, (drawn[:, 1 : 1 + MOST] * len(pool)).long(), -1)
        layout = torch.stack([which, torch.zeros_like(which), torch.zeros_like(which)], 2)
        complete = torch.ones(number, dtype=torch.bool, device=drawn.device)
        taken = torch.zeros(number, size, size, dtype=torch.bool, device=drawn.device)
        shapes = digits(layout)
        for k in range(MOST):
            found, layout[:, k, 1], layout[:, k, 2] = free_place(_free(taken, shapes[:, k]), drawn[:, 1 + MOST + k])
            complete &= found | ~there[:, k]
            taken |= _shifted(shapes[:, k], layout[:, k], size)
        return layout, complete

    def paint(layout):
        mask = torch.zeros(len(layout), size, size, dtype=torch.uint8, device=layout.device)
        shapes = digits(layout)
        for k in range(MOST):
            number = numbers[layout[:, k, 0].clamp(min=0)][:, None, None] + 1
            mask = torch.where(_shifted(shapes[:, k], layout[:, k], size), number, mask)
        return torch.where(mask > 0, 255, 0).to(torch.uint8)[:, None], mask

    return drawn_scenes(count, draw, paint, DIGITS, generator)


def _resized(images: Tensor, size: int) -> Tensor:
    """Images (n, 28, 28) as (n, size, size), of float64: the same on every device but for the last bits."""
    if images.shape[-1] == size:
        return images.double()
    return functional.interpolate(images[:, None].double(), (size, size), mode="bilinear", align_corners=False)[:, 0]


def _shifted(shape: Tensor, place: Tensor, size: int) -> Tensor:
    """Shapes (n, d, d) with their frame at row and column of `place` (n, 3), on sheets (n, size, size)."""
    side = shape.shape[-1]
    rows, columns = (torch.arange(size, device=shape.device) - place[:, axis, None] for axis in (1, 2))
    within = [(at >= 0) & (at < side) for at in (rows, columns)]
    sample = torch.arange(len(shape), device=shape.device)[:, None, None]
    covered = shape[sample, rows.clamp(0, side - 1)[:, :, None], columns.clamp(0, side - 1)[:, None, :]]
    return covered & within[0][:, :, None] & within[1][:, None, :]


def _free(taken: Tensor, shape: Tensor) -> Tensor:
    """Places (n, size, size) at which no pixel of a shape (n, d, d) would meet one that is taken."""
    size, side = taken.shape[-1], shape.shape[-1]
    sheets, shapes = (torch.fft.rfft2(x.double(), s=(size, size)) for x in (taken, shape))
    met = torch.fft.irfft2(sheets * shapes.conj(), s=(size, size))  # numbers of pixels, whole but for rounding
    free = met < 0.5
    free[:, size - side + 1 :] = False
    free[:, :, size - side + 1 :] = False
    return free
