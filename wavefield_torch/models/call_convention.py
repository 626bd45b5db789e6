"""The calling convention of `torch.nn.RNN`: batched, unbatched, batch first, packed.

`RecurrentModule` is the base of the recurrences of this package that are called so; `Recurrence` is what functions
that take any recurrent network expect of it, PyTorch's own included, and `traits` reads what such a network says of
itself.
"""

from __future__ import annotations

import math
import numbers
from abc import abstractmethod
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from wavefield.checks import positive_int
from wavefield_torch.recurrence.scan import check_leak


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


def traits(net: Recurrence | nn.Module) -> Traits:
    """Return what a network says of itself.

    Examples
    --------
    >>> found = traits(nn.GRU(2, 8, batch_first=True))
    >>> found.output_size, found.channels, found.batch_first
    (8, 1, True)
    """
    found: dict[str, Any] = {name: getattr(net, name, default) for name, default in Traits._field_defaults.items()}
    if not found["output_size"]:
        found["output_size"] = net.hidden_size
    return Traits(**found)


class RecurrentModule(nn.Module):
    """Base of modules that are called like `torch.nn.RNN` and whose state is C channels of N positions.

    A subclass sets `input_size`, `hidden_size` (N), `channels` (C) and `batch_first`, and defines `_run`; one with
    several layers or directions calls `_set_layers`.
    """

    input_size: int
    hidden_size: int
    channels: int
    batch_first: bool
    num_layers = 1
    dropout = 0.0
    bidirectional = False
    proj_size = 0

    @property
    def output_size(self) -> int:
        """Units of the state, channels · hidden_size."""
        return self.channels * self.hidden_size

    @property
    def directions(self) -> int:
        """1, or 2 if bidirectional."""
        return 2 if self.bidirectional else 1

    def flatten_parameters(self) -> None:
        """Do nothing: there is no copy of the weights to be made, as cuDNN wants one of `torch.nn.RNN`."""

    def forward(self, input, hx=None, *, h0=None, return_sequence: bool = True):
        return like_rnn(self, input, one_state(hx, h0), return_sequence)

    def _set_layers(self, num_layers: int, dropout: float, bidirectional: bool) -> None:
        self.num_layers = positive_int(num_layers, "num_layers")
        if isinstance(dropout, bool) or not isinstance(dropout, numbers.Real) or not 0 <= dropout <= 1:
            raise ValueError(f"dropout must be a probability, 0 to 1, got {dropout!r}")
        self.dropout, self.bidirectional = float(dropout), bool(bidirectional)

    @abstractmethod
    def _run(
        self, x: Tensor, state: Tensor | None, lengths: Tensor | None, return_sequence: bool, batch_first: bool
    ) -> tuple[Tensor | None, Tensor]:
        """The sequence of states if wanted, and the last states (L, B, H), L = layers · directions.

        x is (T, B, I), the state before (L, B, H) or None, lengths (B,) or None if all are T. The sequence is
        (T, B, H), or (B, T, H) if `batch_first`.
        """


def one_state(hx, h0):
    """Return the state before the first step, of which `h0` is another name."""
    if hx is not None and h0 is not None:
        raise TypeError("hx and h0 are names of the same argument: give one of them")
    return h0 if hx is None else hx


def freeze(frozen: bool, *parameters: nn.Parameter | None) -> None:
    """Exclude parameters from training if `frozen`."""
    for parameter in parameters:
        if frozen and parameter is not None:
            parameter.requires_grad_(False)


def leak_and_noise(leak: float, noise: float) -> tuple[float, float]:
    """Return both as numbers after checking them: 0 < leak ≤ 1, and a standard deviation."""
    check_leak(leak)
    if isinstance(noise, bool) or not isinstance(noise, numbers.Real) or not 0 <= noise < math.inf:
        raise ValueError(f"noise must be a standard deviation, 0 or more, got {noise!r}")
    return float(leak), float(noise)


def like_rnn(net: RecurrentModule, input, hx, return_sequence: bool):
    """Call `net._run` as `torch.nn.RNN` is called, and return (output, h_n) in its shapes.

    Without the sequence, `output` holds the last step alone, so that ``output[-1]`` is the same either way.
    """
    if isinstance(input, PackedSequence):
        return _packed(net, input, hx, return_sequence)
    if not isinstance(input, Tensor):
        raise TypeError(f"input must be a Tensor or a PackedSequence, got {type(input).__name__}")
    if input.dim() not in (2, 3):
        raise ValueError(f"input must be (T, I), or (T, B, I) with batches, got shape {tuple(input.shape)}")
    batched, batch_first = input.dim() == 3, net.batch_first and input.dim() == 3
    x = input if batched else input.unsqueeze(1)
    x = x.transpose(0, 1) if batch_first else x
    _check_input(x, net.input_size)
    state = _initial(net, hx, x.shape[1], batched)
    output, last = net._run(x, state, None, return_sequence, batch_first)
    if output is None:  # one step; a copy, since h_n belongs to the caller too
        output = last[-1].clone().unsqueeze(1 if batch_first else 0)
    return (output, last) if batched else (output.squeeze(1), last.squeeze(1))


def last_step(output, batch_first: bool):
    """Cut the output of an RNN down to its last step, in the shape that `like_rnn` gives it."""
    if isinstance(output, PackedSequence):
        sizes = output.batch_sizes
        samples = torch.arange(int(sizes[0]))
        lengths = (sizes > samples[:, None]).sum(1)
        rows = (sizes.cumsum(0) - sizes)[lengths - 1] + samples
        return _one_step(output, output.data[rows.to(output.data.device)])
    axis = 1 if batch_first and output.dim() == 3 else 0
    return output.narrow(axis, output.shape[axis] - 1, 1).clone()


def _check_input(x, input_size):
    """Refuse inputs (T, B, I) of another size, and sequences without a step."""
    if x.shape[-1] != input_size:
        raise ValueError(f"input must have input_size={input_size} features on its last axis, got {x.shape[-1]}")
    if x.shape[0] == 0:
        raise ValueError("input must have at least one time step, got an empty sequence")


def _packed(net, input, hx, return_sequence):
    """Samples in the order of their lengths, padded; the recurrence stops each at its own."""
    data, sizes = input.data, input.batch_sizes
    steps, batch = len(sizes), int(sizes[0])
    # one index for all rows costs a tenth of PyTorch's own functions, which copy step by step
    ahead = torch.arange(steps) * batch - sizes.cumsum(0) + sizes  # rows of padding before each step
    rows = torch.arange(len(data)) + torch.repeat_interleave(ahead, sizes, output_size=len(data))
    rows = rows.to(data.device)
    padded = data.new_zeros(steps * batch, *data.shape[1:]).index_copy(0, rows, data).unflatten(0, (steps, batch))
    _check_input(padded, net.input_size)
    state = _initial(net, hx, batch, batched=True)
    if state is not None and input.sorted_indices is not None:
        state = state[:, input.sorted_indices]
    lengths = None
    if len(data) < steps * batch:
        lengths = (sizes[:, None] > torch.arange(batch)).sum(0).to(data.device)
    output, last = net._run(padded, state, lengths, return_sequence, False)
    if return_sequence:
        output = input._replace(data=output.flatten(0, 1).index_select(0, rows))
    else:
        output = _one_step(input, last[-1].clone() if output is None else output[0])
    return output, last if input.unsorted_indices is None else last[:, input.unsorted_indices]


def _one_step(packed, last):
    return packed._replace(data=last, batch_sizes=torch.tensor([len(last)]))


def _initial(net, hx, batch, batched):
    """The state before the first step, (L, B, H), or None."""
    if hx is None:
        return None
    rows, units = net.num_layers * net.directions, net.output_size // net.directions
    expected = (rows, batch, units) if batched else (rows, units)
    if not isinstance(hx, Tensor):
        raise TypeError(f"hx must be a Tensor of shape {expected}, got {type(hx).__name__}")
    if tuple(hx.shape) != expected:
        raise ValueError(f"hx must have shape {expected}, got {tuple(hx.shape)}")
    return hx if batched else hx.unsqueeze(1)
