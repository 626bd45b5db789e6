"""The adding task: sum the two marked values of a long sequence.

Keller et al. (ICLR 2024), section 2.2; after Hochreiter and Schmidhuber (1997).
"""

from __future__ import annotations

from typing import NamedTuple

import torch

from wavefield.checks import positive_int

SOLVED = 0.05  # mean squared error at which the paper counts the task as solved


class AddingBatch(NamedTuple):
    """One batch: inputs `x` (T, B, 2), values and markers, and the sums to answer `target` (B,)."""

    x: torch.Tensor
    target: torch.Tensor


def adding_batch(
    batch: int, length: int, *, generator: torch.Generator, device: torch.device | str | None = None
) -> AddingBatch:
    """Draw a batch of fresh sequences.

    Values are uniform over [0, 1); one marker stands in the first half of the sequence, one in the second, each
    uniform there. Answering 1 always gives a mean squared error of 1/6.

    Parameters
    ----------
    batch : int
        Sequences B.
    length : int
        Steps T of a sequence, at least 2.
    generator : torch.Generator

    Examples
    --------
    >>> x, target = adding_batch(3, 100, generator=torch.Generator().manual_seed(0))
    >>> x.shape, bool((x[..., 1].sum(0) == 2).all()), torch.equal((x[..., 0] * x[..., 1]).sum(0), target)
    (torch.Size([100, 3, 2]), True, True)
    """
    length = positive_int(length, "length", least=2)
    where, half = generator.device, length // 2
    values = torch.rand(length, batch, generator=generator, device=where)
    first = torch.randint(0, half, (1, batch), generator=generator, device=where)
    second = torch.randint(half, length, (1, batch), generator=generator, device=where)
    markers = torch.zeros_like(values).scatter_(0, torch.cat([first, second]), 1.0)
    target = values.gather(0, torch.cat([first, second])).sum(0)
    x = torch.stack([values, markers], dim=-1)
    return AddingBatch(x.to(device or where), target.to(device or where))
