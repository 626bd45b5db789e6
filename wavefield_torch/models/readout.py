"""Readouts of the hidden state, a linear map or an MLP, and a recurrence with its readout as one model."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.modules import module as _modules
from torch.nn.utils import skip_init
from torch.nn.utils.rnn import PackedSequence

from wavefield_torch.models.call_convention import one_state, traits
from wavefield_torch.models.wave_rnn import WaveRNN
from wavefield_torch.recurrence.readout_scan import wave_scan_readout


def linear_readout(features: int, outputs: int, *, generator=None) -> nn.Linear:
    """Return y = W h + b from `features` units, with PyTorch's initial values, U(±1/√features)."""
    layer = skip_init(nn.Linear, features, outputs)
    bound = 1 / math.sqrt(features)
    nn.init.uniform_(layer.weight, -bound, bound, generator=generator)
    nn.init.uniform_(layer.bias, -bound, bound, generator=generator)
    return layer


def mlp_readout(features: int, outputs: int, *, hidden: int = 100, generator=None) -> nn.Sequential:
    """Return a readout with one hidden layer of ReLU units, 100 of them in the paper ("wRNN + MLP")."""
    return nn.Sequential(
        linear_readout(features, hidden, generator=generator),
        nn.ReLU(),
        linear_readout(hidden, outputs, generator=generator),
    )


def top_state(net: nn.Module, last) -> Tensor:
    """Return the state of the highest layer, (B, D·H) or (D·H,), D directions one after the other, from h_n."""
    hidden = last if isinstance(last, Tensor) else last[0]  # an LSTM's (h, c)
    if traits(net).bidirectional:
        return torch.cat([hidden[-2], hidden[-1]], -1)
    return hidden[-1]


def is_plain(module: nn.Module, kind: type) -> bool:
    """Whether calling a module does just what the forward of `kind` does: no subclass, no hooks, no other forward.

    Code that computes the same in another way must ask this first. A weight norm made of hooks is a hook, and adapters
    replace `forward` on the object.
    """
    if type(module) is not kind or "forward" in vars(module):
        return False
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    for_all = ("_global_forward_hooks", "_global_forward_pre_hooks", "_global_backward_hooks")
    return not any(getattr(module, name) for name in hooks) and not any(getattr(_modules, name) for name in for_all)


class SequenceModel(nn.Module):
    """A recurrence and the readout of its hidden state, at every step or of the last state alone.

        h[t] = recurrence(x[t], h[t−1]),        y = readout(h[T])  or  y[t] = readout(h[t])

    Parameters
    ----------
    recurrence : nn.Module
        `WaveRNN` or any of the baselines: called as ``recurrence(input, hx, return_sequence=…)``. Of several layers the
        highest is read out.
    readout : nn.Module
        From ``recurrence.output_size`` features, e.g. `linear_readout` or `mlp_readout`.
    every_step : bool
        Read out at every step (the copy task) instead of at the end.

    Shapes
    ------
    input (T, B, I) → (B, O), or (T, B, O) with `every_step`; unbatched, batch-first and packed input as the
    recurrence takes it.

    Notes
    -----
    A linear readout at every step of a wave RNN on rings is computed inside its recurrence (`wave_scan_readout`): done
    afterwards it costs several times as much.

    Examples
    --------
    >>> import torch
    >>> net = WaveRNN(1, 64, channels=2)
    >>> model = SequenceModel(net, linear_readout(net.output_size, 10))
    >>> model(torch.zeros(7, 3, 1)).shape
    torch.Size([3, 10])
    """

    def __init__(self, recurrence: nn.Module, readout: nn.Module, *, every_step: bool = False):
        super().__init__()
        self.recurrence = recurrence
        self.readout = readout
        self.every_step = every_step

    def forward(self, input, hx=None, *, h0=None):
        hx = one_state(hx, h0)
        if self.every_step and hx is None and isinstance(input, Tensor) and input.dim() == 3 and self._fuses():
            return self._read_inside(input)
        output, last = self.recurrence(input, hx, return_sequence=self.every_step)
        if not self.every_step:
            return self.readout(top_state(self.recurrence, last))
        if isinstance(output, PackedSequence):
            return output._replace(data=self.readout(output.data))
        return self.readout(output)

    def _fuses(self):
        if not (is_plain(self.recurrence, WaveRNN) and is_plain(self.readout, nn.Linear)):
            return False
        net = self.recurrence
        if net.leak != 1 or net.noise:
            return False
        return net.boundary == "periodic" and net.num_layers == 1 and not net.bidirectional

    def _read_inside(self, input):
        net = self.recurrence
        x = input.transpose(0, 1) if net.batch_first else input
        start = None if net.initial_state is None else net.initial_state.expand(x.shape[1], -1, -1)
        values = wave_scan_readout(
            x,
            net.encoder,
            net.kernel,
            net.total_bias(),
            start,
            self.readout.weight,
            self.readout.bias,
            nonlinearity=net.nonlinearity,
            checkpoint_every=net.checkpoint_every,
            backend=net.backend,
        )
        return values.transpose(0, 1) if net.batch_first else values
