"""Tetrominoes: one to five coloured pieces of four cells, each pixel of a piece to be given its kind.

Jacobs et al. 2025, from their published code: 64 × 64 pixels, cells of 7 × 7, kinds I, O, T, S or Z, J or L.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from wavefield.checks import positive_int
from wavefield_torch.tasks.scenes import Scenes, drawn_scenes, free_place, random_numbers

KINDS = ("background", "I", "O", "T", "S or Z", "J or L")
MOST = 5  # pieces
_SHAPES = ("####", "##/##", "###/.#.", ".##/##.", "#../###")
_MIRRORED = (3, 4)  # kinds with two mirror images, counted from 0


def tetrominoes(
    count: int, *, size: int = 64, cell: int = 7, generator: torch.Generator, device: torch.device | str | None = None
) -> Scenes:
    """Draw scenes of one to five tetrominoes.

    The number of pieces, the quarter turn and the colour of each are uniform; of up to four pieces no two are of one
    kind, of five no three. S and J are mirrored into Z and L in half of the cases. The bounding box of a piece is free
    of earlier pieces, all such places are equally likely. The edge of each cell, one pixel wide, is half as bright
    again, modulo 256, as it is published.

    Parameters
    ----------
    count : int
    size : int
        Pixels along each side of an image.
    cell : int
        Pixels along each side of a cell; 7 of 64, 3 of 32.
    generator : torch.Generator
        On the CPU.
    device : optional
        Where the scenes are painted and lie; they are the same on every device.

    Returns
    -------
    Scenes
        Its layout (count, 5, 8) holds kind (−1: no piece), mirrored, quarter turns, row, column, red, green, blue.

    Examples
    --------
    >>> scenes = tetrominoes(3, size=32, cell=3, generator=torch.Generator().manual_seed(0))
    >>> scenes.images.shape, int((scenes.masks[0] > 0).sum()) % (4 * 3**2)
    (torch.Size([3, 3, 32, 32]), 0)
    """
    size, cell = positive_int(size, "size"), positive_int(cell, "cell")
    if size < 9 * cell:
        raise ValueError(f"size must be at least 9 cells, so that five pieces find room, got {size} with cell={cell}")

    def draw(number, generator):
        return _draw(number, size, cell, generator, device)

    return drawn_scenes(count, draw, lambda layout: _paint(layout, size, cell), KINDS, generator)


def _draw(number, size, cell, generator, device):
    """Layouts (number, 5, 8), and whether each piece of a layout found a place."""
    drawn = random_numbers(number, 11 + 6 * MOST, generator=generator, device=device)
    pieces = 1 + (drawn[:, 0] * MOST).long()
    once, twice = drawn[:, 1:6].argsort(1), drawn[:, 1:11].argsort(1) % 5  # the latter: each kind may come twice
    kind = torch.where((pieces < MOST)[:, None], once, twice[:, :MOST])
    rest = drawn[:, 11:].unflatten(1, (MOST, 6))
    mirrored = (rest[..., 0] < 0.5) & torch.isin(kind, torch.tensor(_MIRRORED, device=kind.device))
    turns, colours = (rest[..., 1] * 4).long(), (rest[..., 2:5] * 256).long()
    there = torch.arange(MOST, device=kind.device) < pieces[:, None]
    empty = torch.zeros_like(kind)
    head = torch.stack([torch.where(there, kind, -1), mirrored.long(), turns, empty, empty], 2)
    layout = torch.cat([head, colours], 2)
    taken = torch.zeros(number, size, size, dtype=torch.bool, device=kind.device)
    complete = torch.ones(number, dtype=torch.bool, device=kind.device)
    for piece in range(MOST):
        free = _free_boxes(taken, _extent(layout[:, piece], cell))
        found, layout[:, piece, 3], layout[:, piece, 4] = free_place(free, rest[:, piece, 5])
        complete &= found | ~there[:, piece]
        taken |= _cells(layout[:, piece], size, cell) > 0
    return layout, complete


def _paint(layout, size, cell):
    """Images (n, 3, size, size) and masks (n, size, size) of layouts."""
    image = torch.zeros(len(layout), 3, size, size, dtype=torch.long, device=layout.device)
    mask = torch.zeros(len(layout), size, size, dtype=torch.uint8, device=layout.device)
    for piece in layout.unbind(1):
        part = _cells(piece, size, cell)
        colour = piece[:, 5:, None, None]
        edge = (colour + colour // 2) % 256
        image = torch.where((part == 1)[:, None], colour, torch.where((part == 2)[:, None], edge, image))
        mask = torch.where(part > 0, (piece[:, 0] + 1).to(torch.uint8)[:, None, None], mask)
    return image.to(torch.uint8), mask


def _extent(piece, cell):
    """Height and width (n, 2) of pieces (n, 8), in pixels."""
    boxes = _templates(cell)[1].to(piece.device)
    return boxes[piece[:, 0].clamp(min=0), piece[:, 1], piece[:, 2]]


def _cells(piece, size, cell):
    """What pieces (n, 8) cover (n, size, size): 1 inside a cell, 2 at its edge, 0 elsewhere."""
    pictures = _templates(cell)[0].to(piece.device)
    side = pictures.shape[-1]
    rows, columns = (torch.arange(size, device=piece.device) - piece[:, axis, None] for axis in (3, 4))  # (n, size)
    within = [(at >= 0) & (at < side) for at in (rows, columns)]
    rows, columns = rows.clamp(0, side - 1), columns.clamp(0, side - 1)
    which = piece[:, 0].clamp(min=0), piece[:, 1], piece[:, 2]
    covered = pictures[(*(w[:, None, None] for w in which), rows[:, :, None], columns[:, None, :])]
    seen = within[0][:, :, None] & within[1][:, None, :] & (piece[:, 0] >= 0)[:, None, None]
    return torch.where(seen, covered, 0)


def _free_boxes(taken, extent):
    """Places (n, size, size) at which a box (n, 2) has its upper left corner and nothing taken inside."""
    number, size, _ = taken.shape
    total = torch.nn.functional.pad(taken.long().cumsum(1).cumsum(2), (1, 0, 1, 0))  # of all above and to the left
    first = torch.arange(size, device=taken.device)
    lower, right = (first + extent[:, axis, None] for axis in (0, 1))  # (n, size), one beyond the box
    fits = (lower <= size)[:, :, None] & (right <= size)[:, None, :]
    sample = torch.arange(number, device=taken.device)[:, None, None]
    lower, right = lower.clamp(max=size)[:, :, None], right.clamp(max=size)[:, None, :]
    upper, left = first[None, :, None], first[None, None, :]
    inside = total[sample, lower, right] - total[sample, upper, right] - total[sample, lower, left]
    return fits & (inside + total[sample, upper, left] == 0)


@cache
def _templates(cell) -> tuple[Tensor, Tensor]:
    """Pictures (5, 2, 4, side, side) and boxes (5, 2, 4, 2) by kind, mirrored and quarter turns."""
    side = 4 * cell
    pictures = torch.zeros(5, 2, 4, side, side, dtype=torch.uint8)
    boxes = torch.zeros(5, 2, 4, 2, dtype=torch.long)
    block = torch.full((cell, cell), 2, dtype=torch.uint8)
    block[1:-1, 1:-1] = 1
    for kind, rows in enumerate(_SHAPES):
        shape = torch.tensor([[letter == "#" for letter in row] for row in rows.split("/")], dtype=torch.uint8)
        for mirrored in range(2):
            for turns in range(4):
                turned = torch.rot90(shape.flip(1) if mirrored else shape, turns)
                picture = turned.repeat_interleave(cell, 0).repeat_interleave(cell, 1) * block.repeat(*turned.shape)
                pictures[kind, mirrored, turns, : picture.shape[0], : picture.shape[1]] = picture
                boxes[kind, mirrored, turns] = torch.tensor(picture.shape)
    return pictures, boxes
