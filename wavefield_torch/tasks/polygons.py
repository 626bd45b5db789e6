"""Filled polygons and circles, each pixel to be given the kind of its shape: can one hear the shape of a drum?

A generator of our own. Polygons are a task of Jacobs et al. 2025 too, but their generator could not be read, and no
number of theirs is to be compared with these scenes.
"""

from __future__ import annotations

import math

import torch

from wavefield.checks import positive_int
from wavefield_torch.tasks.scenes import Scenes, drawn_scenes, free_place, random_numbers

SHAPES = ("background", "triangle", "square", "pentagon", "hexagon", "circle")
MOST = 2  # shapes of a scene
_SIDES = (3, 4, 5, 6, 0)  # of the kinds; 0: a circle
_SMALLEST, _LARGEST = 0.04, 0.09  # area, as a share of the image's


def polygons(
    count: int, *, size: int = 64, generator: torch.Generator, device: torch.device | str | None = None
) -> Scenes:
    """Draw scenes of one or two regular polygons or circles, white on black, turned by any angle.

    The area of a shape is drawn uniformly, from 4 to 9 % of the image, whatever its kind: neither its brightness nor
    its size says what it is. The circles through the corners of two shapes do not meet, nor do they meet the edge.

    Parameters
    ----------
    count : int
    size : int
        Pixels along each side of an image.
    generator : torch.Generator
        On the CPU.
    device : optional
        Where the scenes are painted and lie.

    Returns
    -------
    Scenes
        Images of one channel; the layout (count, 2, 5) holds kind (−1: no shape), the radius through the corners, the
        angle of one corner, row and column of the centre.

    Examples
    --------
    >>> scenes = polygons(3, size=32, generator=torch.Generator().manual_seed(0))
    >>> scenes.images.shape, scenes.classes[-1]
    (torch.Size([3, 1, 32, 32]), 'circle')
    """
    size = positive_int(size, "size")
    if size < 16:
        raise ValueError(f"size must be at least 16, so that shapes differ, got {size}")

    def draw(number, generator):
        drawn = random_numbers(number, 1 + 4 * MOST, generator=generator, device=device)
        there = torch.arange(MOST, device=drawn.device) < 1 + (drawn[:, :1] * MOST).long()
        rest = drawn[:, 1:].unflatten(1, (MOST, 4))
        kind = (rest[..., 0] * len(_SIDES)).long()
        area = size**2 * (_SMALLEST + (_LARGEST - _SMALLEST) * rest[..., 1])
        radius = (area / _unit_areas(drawn.device)[kind]).sqrt()
        angle, nothing = 2 * math.pi * rest[..., 2], torch.zeros_like(area)
        layout = torch.stack([torch.where(there, kind, -1).double(), radius, angle, nothing, nothing], 2)
        complete = torch.ones(number, dtype=torch.bool, device=drawn.device)
        for k in range(MOST):
            found, layout[:, k, 3], layout[:, k, 4] = free_place(
                _free(layout[:, :k], radius[:, k], size), rest[:, k, 3]
            )
            complete &= found | ~there[:, k]
        return layout, complete

    return drawn_scenes(count, draw, lambda layout: _paint(layout, size), SHAPES, generator)


def _unit_areas(device):
    """Areas of the shapes whose corners lie on a circle of radius 1."""
    areas = [math.pi if sides == 0 else sides / 2 * math.sin(2 * math.pi / sides) for sides in _SIDES]
    return torch.tensor(areas, dtype=torch.float64, device=device)


def _free(earlier, radius, size):
    """Centres (n, size, size) at which a shape of this radius (n,) meets neither the edge nor an earlier shape."""
    at = torch.arange(size, device=radius.device)
    inside = (at >= radius[:, None]) & (at <= size - 1 - radius[:, None])
    free = inside[:, :, None] & inside[:, None, :]
    for shape in earlier.unbind(1):
        rows, columns = (at - shape[:, axis, None] for axis in (3, 4))
        distance = torch.hypot(rows[:, :, None], columns[:, None, :])
        free &= (distance > (radius + shape[:, 1])[:, None, None] + 1) | (shape[:, 0] < 0)[:, None, None]
    return free


def _paint(layout, size):
    """Images (n, 1, size, size) and masks (n, size, size) of layouts."""
    at = torch.arange(size, device=layout.device)
    mask = torch.zeros(len(layout), size, size, dtype=torch.uint8, device=layout.device)
    all_sides = torch.tensor(_SIDES, device=layout.device)
    for shape in layout.unbind(1):
        rows, columns = ((at - shape[:, axis, None]).expand(-1, size) for axis in (3, 4))
        rows, columns = rows[:, :, None], columns[:, None, :]
        kind = shape[:, 0].long()
        sides = all_sides[kind.clamp(min=0)][:, None, None]
        half = math.pi / sides.clamp(min=3)  # half the angle of a side, seen from the centre
        angle = torch.atan2(rows, columns) - shape[:, 2, None, None]
        beside = torch.remainder(angle, 2 * half) - half  # of the middle of the side that lies there
        edge = torch.where(sides > 0, half.cos() / beside.cos(), 1.0) * shape[:, 1, None, None]
        covered = (torch.hypot(rows, columns) <= edge) & (kind >= 0)[:, None, None]
        mask = torch.where(covered, (kind + 1).to(torch.uint8)[:, None, None], mask)
    return torch.where(mask > 0, 255, 0).to(torch.uint8)[:, None], mask
