"""Models as published (Keller et al., ICLR 2024): parameter counts, and weights in the layout of the published code.

    cell.Wx.weight (C·N, I), cell.Wx.bias (C·N,)         encoder V, channel-major
    cell.Wy.weight (C, C, K), cell.Wy.bias (C,)          circular convolution: the wave RNN
    cell.Wy.weight (N, N), cell.Wy.bias (N,)             dense matrix: the identity RNN
    readout.weight (O, H), readout.bias (O,)             linear; ``readout.0``, ``readout.2`` for the MLP

Published files are pickles, and no pickle is loaded here: the caller reads the state dict and passes it on.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from wavefield_torch.models.baselines import IdentityRNN
from wavefield_torch.models.readout import SequenceModel, linear_readout, mlp_readout
from wavefield_torch.models.wave_rnn import WaveRNN

_CELL = ("cell.Wx.weight", "cell.Wx.bias", "cell.Wy.weight", "cell.Wy.bias")
_LINEAR = ("readout.weight", "readout.bias")
_MLP = ("readout.0.weight", "readout.0.bias", "readout.2.weight", "readout.2.bias")


def from_reference(
    state_dict: Mapping[str, Tensor], *, nonlinearity: str = "relu", every_step: bool = False, **options
) -> SequenceModel:
    """Return the model whose weights a state dict of the published code holds.

    Parameters
    ----------
    state_dict : mapping of str to Tensor
        In the layout above; sizes, and which of the two models it is, are read off the shapes.
    nonlinearity : {"relu", "tanh", "identity"}
        Not kept in a state dict. The identity RNN has relu or tanh.
    every_step : bool
        Read out at every step, as the published copy task does, instead of at the end.
    **options
        As of `WaveRNN` or `IdentityRNN` (``batch_first``, ``backend``, ``freeze_encoder``, …).

    Returns
    -------
    SequenceModel
        With ``recurrence`` a `WaveRNN` or an `IdentityRNN`, its two biases as published.

    Raises
    ------
    ValueError
        Naming keys that are missing or unknown, or a shape that does not fit the others.
    """
    _check_keys(state_dict)
    encoder, encoder_bias, kernel, kernel_bias = (state_dict[key] for key in _CELL)
    _check_shapes(encoder, encoder_bias, kernel, kernel_bias)
    (units, inputs), dtype = encoder.shape, encoder.dtype
    if kernel.dim() == 3:
        channels, _, width = kernel.shape
        recurrence = WaveRNN(
            inputs, units // channels, channels=channels, kernel_size=width, nonlinearity=nonlinearity,
            bias="reference", dtype=dtype, **options,
        )  # fmt: skip
        new = {
            "encoder": encoder.reshape(channels, -1, inputs),
            "encoder_bias": encoder_bias.reshape(channels, -1),
            "kernel": kernel,
            "kernel_bias": kernel_bias,
        }
    else:
        recurrence = IdentityRNN(inputs, units, nonlinearity=nonlinearity, bias="reference", dtype=dtype, **options)
        names = ("weight_ih_l0", "bias_ih_l0", "weight_hh_l0", "bias_hh_l0")
        new = dict(zip(names, (encoder, encoder_bias, kernel, kernel_bias), strict=True))
    recurrence.load_state_dict(new)
    model = SequenceModel(recurrence, _readout(state_dict, units).to(dtype), every_step=every_step)
    return model.to(encoder.device)


def to_reference(model: SequenceModel) -> dict[str, Tensor]:
    """Return the weights of a model in the layout of the published code.

    A model with one bias, or none, gets zeros for what it lacks: the published cell always has two.

    Raises
    ------
    TypeError
        If the recurrence is neither a `WaveRNN` on rings, without a leak, nor an `IdentityRNN`, or if its initial state
        is trained, or the readout is neither linear nor
        the MLP.
    """
    net = model.recurrence
    if isinstance(net, WaveRNN) and net.boundary == "periodic" and net.leak == 1 and net.initial_state is None:
        bias = net.bias if net.bias_kind == "clean" else net.encoder_bias
        weights = (net.encoder.flatten(0, 1), bias, net.kernel, net.kernel_bias)
        shapes = ((net.output_size,), (net.channels,))
    elif isinstance(net, IdentityRNN) and net.initial_state is None:
        biases = (net.bias_ih_l0, net.bias_hh_l0) if net.bias else (None, None)
        weights = (net.weight_ih_l0, biases[0], net.weight_hh_l0, biases[1])
        shapes = ((net.hidden_size,),) * 2
    else:
        raise TypeError(f"the published code has no layout for {net!r}; it knows WaveRNN on rings and IdentityRNN")
    encoder, encoder_bias, kernel, kernel_bias = weights
    encoder_bias, kernel_bias = (
        encoder.new_zeros(shape) if b is None else b.flatten()
        for b, shape in zip((encoder_bias, kernel_bias), shapes, strict=True)
    )
    state = dict(zip(_CELL, (encoder, encoder_bias, kernel, kernel_bias), strict=True))
    readout = {f"readout.{name}": value for name, value in model.readout.state_dict().items()}
    if tuple(readout) not in (_LINEAR, _MLP):
        raise TypeError(f"the published code has no layout for the readout {model.readout!r}: linear, or MLP")
    return {name: value.detach().clone() for name, value in (state | readout).items()}


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


def _check_keys(state_dict):
    readout = _MLP if any(key.startswith("readout.0") for key in state_dict) else _LINEAR
    expected, given = {*_CELL, *readout}, set(state_dict)
    if expected != given:
        parts = {"missing": expected - given, "unknown": given - expected}
        told = "; ".join(f"{what} {', '.join(sorted(keys))}" for what, keys in parts.items() if keys)
        raise ValueError(f"state_dict is not in the published layout: {told}")


def _check_shapes(encoder, encoder_bias, kernel, kernel_bias):
    if encoder.dim() != 2 or tuple(encoder_bias.shape) != (len(encoder),):
        raise ValueError(
            f"cell.Wx must have a weight (C·N, I) and a bias (C·N,), got {_of(encoder)} and {_of(encoder_bias)}"
        )
    convolution = kernel.dim() == 3 and kernel.shape[0] == kernel.shape[1] and kernel.shape[2] % 2 == 1
    dense = kernel.dim() == 2 and tuple(kernel.shape) == (len(encoder),) * 2
    if not (dense or (convolution and len(encoder) % len(kernel) == 0)):
        raise ValueError(
            f"cell.Wy.weight must be (C, C, K) with K odd, or (H, H), with C dividing H = {len(encoder)}, the rows of "
            f"cell.Wx.weight, got {_of(kernel)}"
        )
    if tuple(kernel_bias.shape) != (len(kernel),):
        raise ValueError(f"cell.Wy.bias must have shape ({len(kernel)},), got {_of(kernel_bias)}")


def _of(tensor):
    return tuple(tensor.shape)


def _readout(state_dict, units) -> nn.Module:
    weights = {name.removeprefix("readout."): value for name, value in state_dict.items() if "readout." in name}
    first = weights["weight"] if "weight" in weights else weights["0.weight"]
    if first.dim() != 2 or first.shape[1] != units:
        raise ValueError(f"the readout must take {units} units, got a weight of shape {_of(first)}")
    if "weight" in weights:
        module = linear_readout(units, len(first))
    else:
        module = mlp_readout(units, len(weights["2.weight"]), hidden=len(first))
    with torch.no_grad():
        module.load_state_dict(weights)
    return module
