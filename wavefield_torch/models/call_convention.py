"""The calling convention of `torch.nn.RNN`: batched, unbatched, batch first, packed.

`RecurrentModule` is the base of the recurrences of this package that are called so; `Recurrence` is what functions
that take any recurrent network expect of it, PyTorch's own included, and `traits` reads what such a network says of
itself.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

#: x (T, B, I), h0 (B, H) or None, return_sequence → sequence (T, B, H) or None, last state (B, H)
Run = Callable[[Tensor, Tensor | None, bool], tuple[Tensor | None, Tensor]]


class Recurrence(Protocol):
    """A recurrent network as `record` and `jacobian` take it: the interface of `torch.nn.RNN`.

    Beside what is declared here a network may have any of the attributes that `traits` reads.
    """

    input_size: int
    hidden_size: int

    def __call__(self, input: Tensor, hx=None, /) -> tuple[Tensor, Tensor | tuple[Tensor, Tensor]]:
        """Return (output, h_n), h_n a pair (h, c) in an LSTM."""


class Traits(NamedTuple):
    """What a recurrent network says of itself, each field an attribute of the network; defaults where it says nothing.

    output_size is that of one direction, channels · positions.
    """

    channels: int = 1
    output_size: int = 0  # that is, hidden_size
    batch_first: bool = False
    position_order: str = "none"  # "ring", "line", or units that are exchangeable
    nonlinearity: str | None = None
    num_layers: int = 1
    bidirectional: bool = False
    proj_size: int = 0


def traits(net: Recurrence) -> Traits:
    """Return what a network says of itself.

    Examples
    --------
    >>> found = traits(nn.GRU(2, 8, batch_first=True))
    >>> found.output_size, found.channels, found.batch_first
    (8, 1, True)
    """
    found = Traits(*(getattr(net, name, default) for name, default in Traits._field_defaults.items()))
    return found if found.output_size else found._replace(output_size=net.hidden_size)


class RecurrentModule(nn.Module):
    """Base of modules that are called like `torch.nn.RNN` and whose state is C channels of N positions.

    A subclass sets `input_size`, `hidden_size` (N), `channels` (C) and `batch_first`, and defines `_run`.
    """

    input_size: int
    hidden_size: int
    channels: int
    batch_first: bool

    @property
    def output_size(self) -> int:
        """Units of the state, channels · hidden_size."""
        return self.channels * self.hidden_size

    def forward(self, input, h0=None, *, return_sequence: bool = True):
        return like_rnn(
            self._run,
            input,
            h0,
            input_size=self.input_size,
            output_size=self.output_size,
            batch_first=self.batch_first,
            return_sequence=return_sequence,
        )

    @abstractmethod
    def _run(self, x: Tensor, state: Tensor | None, return_sequence: bool) -> tuple[Tensor | None, Tensor]:
        """States (T, B, H) if wanted, and the last (B, H), from x (T, B, I) and the state before (B, H) or None."""


def freeze(frozen: bool, *parameters: nn.Parameter | None) -> None:
    """Exclude parameters from training if `frozen`."""
    for parameter in parameters:
        if frozen and parameter is not None:
            parameter.requires_grad_(False)


def like_rnn(run: Run, input, h0, *, input_size: int, output_size: int, batch_first: bool, return_sequence: bool):
    """Call `run` as `torch.nn.RNN` is called, and return (output, h_n) in its shapes.

    Without the sequence, `output` holds the last step alone, so that ``output[-1]`` is the same either way.
    """
    if isinstance(input, PackedSequence):
        return _packed(run, input, h0, input_size, output_size, return_sequence)
    if not isinstance(input, Tensor):
        raise TypeError(f"input must be a Tensor or a PackedSequence, got {type(input).__name__}")
    if input.dim() not in (2, 3):
        raise ValueError(f"input must be (T, I), or (T, B, I) with batches, got shape {tuple(input.shape)}")
    batched = input.dim() == 3
    batch_axis = 0 if batch_first else 1
    x = input if batched else input.unsqueeze(batch_axis)
    x = x.transpose(0, 1) if batch_first else x
    check_input(x, input_size)
    state = _initial(h0, x.shape[1], output_size, batched)
    output, last = run(x, state, return_sequence)
    output = last.unsqueeze(0) if output is None else output
    output = output.transpose(0, 1) if batch_first else output
    if not batched:
        return output.squeeze(batch_axis), last
    return output, last.unsqueeze(0)


def refuse_layers(num_layers: int, dropout: float, bidirectional: bool) -> None:
    """Refuse what `torch.nn.RNN` has and a single recurrence has not, with what to do instead."""
    if num_layers != 1:
        raise ValueError(
            f"num_layers must be 1, got {num_layers!r}: stack modules, each on the output of the one below"
        )
    if dropout != 0:
        raise ValueError(f"dropout must be 0, got {dropout!r}: put torch.nn.Dropout between modules")
    if bidirectional:
        raise ValueError("bidirectional must be False: run a second module on input.flip(0) and join the outputs")


def last_step(output, h_n: Tensor, batch_first: bool):
    """Cut the output of an RNN down to its last step, in the shape that `like_rnn` gives it."""
    if isinstance(output, PackedSequence):
        last = h_n[-1] if output.sorted_indices is None else h_n[-1, output.sorted_indices]
        return _one_step(output, last)
    return h_n[-1:] if output.dim() == 2 else h_n[-1].unsqueeze(1 if batch_first else 0)


def check_input(x: Tensor, input_size: int) -> None:
    """Refuse inputs (T, B, I) of another size, and sequences without a step."""
    if x.shape[-1] != input_size:
        raise ValueError(f"input must have input_size={input_size} features on its last axis, got {x.shape[-1]}")
    if x.shape[0] == 0:
        raise ValueError("input must have at least one time step, got an empty sequence")


def _packed(run, input, h0, input_size, output_size, return_sequence):
    """A packed batch is a row of full batches, each of as many steps as there are samples of at least that length."""
    sizes = input.batch_sizes
    batch = int(sizes[0])
    state = _initial(h0, batch, output_size, batched=True)
    if state is not None and input.sorted_indices is not None:
        state = state[input.sorted_indices]
    outputs, finished, start, alive = [], [], 0, batch
    for size, steps in zip(*(a.tolist() for a in torch.unique_consecutive(sizes, return_counts=True)), strict=True):
        x = input.data[start : start + size * steps].view(steps, size, -1)
        check_input(x, input_size)
        if size < alive:
            finished.append(state[size:])
            state = state[:size]
        output, state = run(x, state, return_sequence)
        if return_sequence:
            outputs.append(output.flatten(0, 1))
        start, alive = start + size * steps, size
    last = torch.cat([state, *reversed(finished)])
    output = input._replace(data=torch.cat(outputs)) if return_sequence else _one_step(input, last)
    last = last if input.unsorted_indices is None else last[input.unsorted_indices]
    return output, last.unsqueeze(0)


def _one_step(packed, last):
    return packed._replace(data=last, batch_sizes=torch.tensor([len(last)]))


def _initial(h0, batch, output_size, batched):
    if h0 is None:
        return None
    expected = (1, batch, output_size) if batched else (1, output_size)
    if not isinstance(h0, Tensor):
        raise TypeError(f"h0 must be a Tensor of shape {expected}, got {type(h0).__name__}")
    if tuple(h0.shape) != expected:
        raise ValueError(f"h0 must have shape {expected}, got {tuple(h0.shape)}")
    return h0[0] if batched else h0
