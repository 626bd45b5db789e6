"""The copy task: remember ten symbols over a delay and repeat them.

Keller et al. (ICLR 2024), section 2.1 of the text and appendix B of the code; after Hochreiter and Schmidhuber (1997).
"""

from __future__ import annotations

from typing import NamedTuple

import torch

from wavefield.checks import positive_int

SYMBOLS = 10  # blank 0, tokens 1…8, delimiter 9
TOKENS = 10  # to be remembered
LAYOUTS = ("code", "text")


class CopyBatch(NamedTuple):
    """One batch: one-hot inputs `x` (T, B, 10) and the symbols to answer `target` (T, B)."""

    x: torch.Tensor
    target: torch.Tensor


def sequence_length(delay: int, *, layout: str = "code") -> int:
    """Steps T of a sequence.

    The published code counts differently from the paper's text: its argument is 10, 20, 50, 100, 500 where the paper's
    label is 0, 10, 30, 80, 480 (10 at label 0, label + 20 elsewhere), and its sequences are ten steps longer than
    that argument. The text's are label + 20 long.

    Examples
    --------
    >>> [sequence_length(delay) for delay in (0, 10, 30, 80, 480)]
    [20, 40, 60, 110, 510]
    >>> sequence_length(30, layout="text")
    50
    """
    delay = positive_int(delay, "delay", least=0)
    if layout not in LAYOUTS:
        raise ValueError(f"layout must be 'code' or 'text', got {layout!r}")
    if layout == "text":
        return delay + 20
    return (delay + 20 if delay else 10) + 10


def copy_batch(
    batch: int,
    delay: int,
    *,
    generator: torch.Generator,
    layout: str = "code",
    device: torch.device | str | None = None,
    dtype: torch.dtype = torch.float32,
) -> CopyBatch:
    """Draw a batch of fresh sequences.

    Ten tokens, uniform over 1…8, then blanks, the delimiter 9 and blanks to the end; the answer is blank but for the
    last ten steps, where it is the tokens. In the layout of the code the delimiter stands eleven steps before the end,
    in that of the text ten: there the first answer is due as the delimiter arrives. At delay 0 of the code's layout
    the delimiter takes the place of the tenth token, and is what has to be answered last.

    Parameters
    ----------
    batch : int
        Sequences B.
    delay : int
        The paper's label: 0, 10, 30, 80 or 480 in its tables.
    generator : torch.Generator
        On the device on which the tokens are drawn; the batch is made there, then moved to `device` if that is
        another.

    Raises
    ------
    ValueError
        If `delay` or `layout` is none of the above.

    Examples
    --------
    >>> x, target = copy_batch(2, 0, generator=torch.Generator().manual_seed(0))
    >>> x.shape, target.shape, target[-1].tolist()
    (torch.Size([20, 2, 10]), torch.Size([20, 2]), [9, 9])
    """
    length = sequence_length(delay, layout=layout)
    where = generator.device
    symbols = torch.zeros(length, batch, dtype=torch.long, device=where)
    symbols[:TOKENS] = torch.randint(1, 9, (TOKENS, batch), generator=generator, device=where)
    symbols[length - (11 if layout == "code" else 10)] = 9
    target = torch.zeros_like(symbols)
    target[-TOKENS:] = symbols[:TOKENS]
    x = torch.nn.functional.one_hot(symbols, SYMBOLS).to(dtype)
    return CopyBatch(x.to(device or where), target.to(device or where))
