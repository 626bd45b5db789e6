"""Layers on top of each other and directions of time, as `torch.nn.RNN` composes them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional

#: x (T, B, I), state (B, H) or None, lengths (B,) or None, return_sequence, batch_first
#:     → sequence (T, B, H), or (B, T, H), or None; last state (B, H)
Layer = Callable[[Tensor, Tensor | None, Tensor | None, bool, bool], tuple[Tensor | None, Tensor]]


def run_layers(
    layers: Sequence[Layer],
    x: Tensor,
    state: Tensor | None,
    lengths: Tensor | None,
    *,
    return_sequence: bool,
    batch_first: bool,
    bidirectional: bool = False,
    dropout: float = 0.0,
) -> tuple[Tensor | None, Tensor]:
    """Run layers from the lowest to the highest, with two directions in turn where there are two.

    Returns the sequence of the highest layer, or None, and the last states (L, B, H) of all. With two directions there
    always is a sequence, of one step if none is wanted: the output at the last step is not made of last states.
    """
    if len(layers) == 1:
        sequence, last = layers[0](x, None if state is None else state[0], lengths, return_sequence, batch_first)
        return sequence, last.unsqueeze(0)
    directions = 2 if bidirectional else 1
    ends = []
    for first in range(0, len(layers), directions):
        top = first + directions == len(layers)
        wanted, turned = return_sequence or not top or bidirectional, batch_first and top
        outputs: list[Tensor] = []
        for direction, layer in enumerate(layers[first : first + directions]):
            before = None if state is None else state[first + direction]
            given = in_reverse(x, lengths) if direction else x
            sequence, last = layer(given, before, lengths, wanted, turned)
            ends.append(last)
            if sequence is None:  # of the highest layer, where it is not wanted
                return None, torch.stack(ends)
            outputs.append(in_reverse(sequence, lengths, batch_first=turned) if direction else sequence)
        x = torch.cat(outputs, -1) if bidirectional else outputs[0]
        if dropout and not top:
            x = functional.dropout(x, dropout)
    if bidirectional and not return_sequence:
        x = last_steps(x, lengths, batch_first=batch_first)
    return x, torch.stack(ends)


def in_reverse(sequence: Tensor, lengths: Tensor | None, *, batch_first: bool = False) -> Tensor:
    """Return a sequence (T, B, …), or (B, T, …), backwards in time, each sample within its own length."""
    if lengths is None:
        return sequence.flip(1 if batch_first else 0)
    if batch_first:
        return in_reverse(sequence.transpose(0, 1), lengths).transpose(0, 1)
    step = torch.arange(len(sequence), device=sequence.device)[:, None]
    source = torch.where(step < lengths, lengths - 1 - step, step)
    return sequence[source, torch.arange(sequence.shape[1], device=sequence.device)]


def last_steps(sequence: Tensor, lengths: Tensor | None, *, batch_first: bool = False) -> Tensor:
    """Return the last step of each sample of (T, B, …), or (B, T, …), as a sequence of one step."""
    if batch_first:
        return last_steps(sequence.transpose(0, 1), lengths).transpose(0, 1)
    if lengths is None:
        return sequence[-1:].clone()
    return sequence[lengths - 1, torch.arange(sequence.shape[1], device=sequence.device)][None]
