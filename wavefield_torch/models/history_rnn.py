"""Networks for the history tasks: the plain one of the paper, a wave RNN on open lines, and one built from theory."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import nn

from wavefield.checks import positive_int
from wavefield.history import HistorySystem, rnn_weights
from wavefield_torch.models.baselines import IdentityRNN
from wavefield_torch.models.readout import SequenceModel
from wavefield_torch.models.wave_rnn import WaveRNN


def elman(
    input_size: int, hidden_size: int, *, output_size: int | None = None, generator: torch.Generator | None = None
) -> SequenceModel:
    """Return the network of the paper: tanh, no biases anywhere, every weight U(±1/√N), PyTorch's default.

        h(t) = tanh(W_hh h(t−1) + W_uh u(t)),      y(t) = W_hy h(t)

    The origin is a fixed point, with W_hh its Jacobian.

    Examples
    --------
    >>> from wavefield_torch import count_parameters
    >>> [count_parameters(elman(8, size)) for size in (32, 64, 128)]
    [1536, 5120, 18432]
    """
    outputs = positive_int(input_size if output_size is None else output_size, "output_size")
    net = IdentityRNN(input_size, hidden_size, recurrence="uniform", nonlinearity="tanh", bias="none")
    model = SequenceModel(net, _reader(hidden_size, outputs, generator), every_step=True)
    bound = 1 / math.sqrt(hidden_size)
    for parameter in net.parameters():
        nn.init.uniform_(parameter, -bound, bound, generator=generator)
    return model


def open_line(dimension: int, length: int, *, nonlinearity: str = "tanh") -> SequenceModel:
    """Return the wave RNN on the substrate of the theory: `dimension` open lines of `length` units.

    It starts as a tape: each input enters the driven end of its line, is read there, and leaves at the other end;
    nothing returns, since the boundary row is zero. Kernel and boundary row, the C·C·(3 + N) recurrent parameters, are
    trained, and so are encoder and readout; there are no biases, and nothing is drawn at random.

    Examples
    --------
    >>> recurrence = open_line(8, 8).recurrence
    >>> recurrence.kernel.numel() + recurrence.boundary_row.numel()
    704
    """
    nothing_returns = HistorySystem(dimension, length, weights=np.zeros((length, dimension, dimension)))
    net = WaveRNN.from_operator(nothing_returns.operator(), length, dimension, nonlinearity=nonlinearity, bias="none")
    reader = nn.Linear(net.output_size, dimension, bias=False)
    with torch.no_grad():
        reader.weight.copy_(net.encoder.flatten(0, 1).T)
    return SequenceModel(net, reader, every_step=True)


def from_theory(system: HistorySystem, basis=None, *, dtype: torch.dtype = torch.float32) -> SequenceModel:
    """Return the linear system as a network in a basis: weights of `wavefield.history.rnn_weights`, tanh around them.

    Near the origin it is the system; with large states tanh bends it.

    Examples
    --------
    >>> from wavefield.history import task
    >>> from_theory(task("T1")).recurrence.weight_hh_l0.shape
    torch.Size([64, 64])
    """
    weights = rnn_weights(system, basis)
    units, inputs = weights.weight_ih.shape
    net = IdentityRNN(inputs, units, nonlinearity="tanh", bias="none", dtype=dtype)
    reader = nn.Linear(units, inputs, bias=False, dtype=dtype)
    with torch.no_grad():
        net.weight_hh_l0.copy_(torch.from_numpy(weights.weight_hh))
        net.weight_ih_l0.copy_(torch.from_numpy(weights.weight_ih))
        reader.weight.copy_(torch.from_numpy(weights.readout))
    return SequenceModel(net, reader, every_step=True)


def _reader(units, outputs, generator):
    reader = nn.Linear(units, outputs, bias=False)
    nn.init.uniform_(reader.weight, -1 / math.sqrt(units), 1 / math.sqrt(units), generator=generator)
    return reader
