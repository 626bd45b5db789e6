"""Images in which every pixel has a class, and how objects are placed in them without overlap, many images at a time.

Random numbers are drawn on the CPU and everything else is computed where the images are to lie, in whole numbers: the
same seed gives the same scenes on every device.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

AT_ONCE = 500  # scenes painted together


@dataclass(frozen=True)
class Scenes:
    """Images and the class of each of their pixels, all of them on one device.

    `images` (samples, I, H, W) and `masks` (samples, H, W) are uint8, class 0 is the background; `classes` names all
    classes. `layout` (samples, objects, numbers), on the CPU, says what was drawn where: a few numbers from which the
    images follow; None where they come from files as they are.
    """

    images: Tensor
    masks: Tensor
    classes: tuple[str, ...]
    layout: Tensor | None = None

    def __len__(self) -> int:
        return len(self.masks)

    def batch(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Images (B, I, H, W) in [0, 1] and classes (B, H, W) of the samples `index` (B,)."""
        return self.images[index].float() / 255, self.masks[index].long()


def drawn_scenes(
    count: int,
    draw: Callable[[int, torch.Generator], tuple[Tensor, Tensor]],
    paint: Callable[[Tensor], tuple[Tensor, Tensor]],
    classes: tuple[str, ...],
    generator: torch.Generator,
) -> Scenes:
    """Return scenes by a function that draws layouts and says which are complete, and one that paints them.

    A layout in which an object found no place is drawn anew as a whole.
    """
    if count < 1:
        raise ValueError(f"count must be at least 1, got {count}")
    parts = []
    for start in range(0, count, AT_ONCE):
        layout, complete = draw(min(AT_ONCE, count - start), generator)
        while not complete.all():
            missing = (~complete).nonzero().squeeze(1)
            layout[missing], complete[missing] = draw(len(missing), generator)
        parts.append((*paint(layout), layout.cpu()))
    images, masks, layouts = (torch.cat(pieces) for pieces in zip(*parts, strict=True))
    return Scenes(images, masks, classes, layouts)


def free_place(free: Tensor, uniform: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Choose one of the free places of each sheet, all equally likely.

    Parameters
    ----------
    free : Tensor (B, H, W) of bool
    uniform : Tensor (B,)
        Random numbers in [0, 1), of float64.

    Returns
    -------
    found (B,) of bool, y (B,), x (B,)
        Row and column; 0 where nothing is free.
    """
    up_to = free.flatten(1).cumsum(1)
    count = up_to[:, -1]
    chosen = (uniform.to(up_to.device) * count).long().minimum(count - 1)
    place = torch.searchsorted(up_to, (chosen + 1)[:, None]).squeeze(1)
    found = count > 0
    place = torch.where(found, place, 0)
    return found, place // free.shape[2], place % free.shape[2]


def random_numbers(*shape: int, generator: torch.Generator, device) -> Tensor:
    """Uniform random numbers in [0, 1), of float64, drawn on the CPU whatever the device."""
    return torch.rand(*shape, dtype=torch.float64, generator=generator).to(device)
