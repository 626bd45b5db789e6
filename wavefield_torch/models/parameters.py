"""How many parameters a model has, as papers count them."""

from __future__ import annotations

from torch import nn


def count_parameters(module: nn.Module, *, biases: bool = True) -> int:
    """Return the number of parameters of a module, with or without its biases.

    Published tables often leave biases out, and seldom say so. A bias is what is named so: the last part of its name
    holds "bias". Frozen parameters count, as they do in the tables.

    Examples
    --------
    >>> readout = nn.Linear(100, 10)
    >>> count_parameters(readout), count_parameters(readout, biases=False)
    (1010, 1000)
    """
    return sum(p.numel() for name, p in module.named_parameters() if biases or "bias" not in name.rsplit(".", 1)[-1])
