"""The wave recurrence with a linear readout of every state, without returning the states themselves.

For a task that is read out at every step (the copy task) the readout done afterwards, on (T, B, C, N) states, costs
several times the recurrence; here it is computed while a state is still in the cache, forward and back.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from wavefield_torch.recurrence import reference, scan
from wavefield_torch.recurrence.registration import register


def wave_scan_readout(
    x: Tensor,
    encoder: Tensor,
    kernel: Tensor,
    bias: Tensor | None,
    h0: Tensor | None,
    weight: Tensor,
    readout_bias: Tensor | None,
    *,
    nonlinearity: str = "relu",
    checkpoint_every: int | None = None,
    backend: str = "auto",
) -> Tensor:
    """Read out every state of the wave recurrence: y[t] = W h[t] + c.

    Equal to ``torch.nn.functional.linear(wave_scan(x, encoder, kernel, bias, h0).flatten(2), weight, readout_bias)``.

    Parameters
    ----------
    x, encoder, kernel, bias, h0, nonlinearity, checkpoint_every, backend
        As in `wave_scan`; rings only. Fused on the `cpu` backend; the others run `wave_scan` and a linear map.
    weight : Tensor (O, C·N)
        W, in the layout of `torch.nn.Linear`, channel-major.
    readout_bias : Tensor (O,) or None
        c.

    Returns
    -------
    Tensor (T, B, O)

    Raises
    ------
    ValueError, TypeError
        As `wave_scan`, and for a weight or a readout bias that does not fit the states.
    """
    x, encoder, kernel, bias, h0, weight, readout_bias = scan.in_full_precision(
        x, encoder, kernel, bias, h0, weight, readout_bias
    )
    bias, h0 = scan.checked(x, encoder, kernel, bias, h0, "periodic", None, nonlinearity)
    _check_readout(weight, readout_bias, encoder)
    requested, backend = backend, scan.choose(backend, x, encoder, kernel, "periodic")
    inputs = (x, encoder, kernel, bias, h0)
    with scan.without_autocast(x):
        if backend != "cpu" or scan.to_onnx():
            h = scan.wave_scan(*inputs, nonlinearity=nonlinearity, backend=requested)
            return functional.linear(h.flatten(2), weight, readout_bias)
        every = scan.checkpoints((*inputs, weight), checkpoint_every)
        units = weight.unflatten(1, encoder.shape[:2])
        values = torch.ops.wavefield.scan_readout(*inputs, units, nonlinearity, every, requested == "auto")[0]
        return values if readout_bias is None else values + readout_bias


def wave_scan_cross_entropy(
    x: Tensor,
    encoder: Tensor,
    kernel: Tensor,
    bias: Tensor | None,
    h0: Tensor | None,
    weight: Tensor,
    readout_bias: Tensor | None,
    target: Tensor,
    *,
    nonlinearity: str = "relu",
    checkpoint_every: int | None = None,
    backend: str = "auto",
    return_logits: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    """Mean cross-entropy per symbol of a classification that is read out at every step.

        L = −1/(TB) Σ_{t,b} log softmax(W h[t] + c)[target[t, b]]

    Parameters
    ----------
    x, encoder, kernel, bias, h0, weight, readout_bias, nonlinearity, checkpoint_every, backend
        As in `wave_scan_readout`.
    target : Tensor (T, B) of int64
        Classes, 0 to O − 1.
    return_logits : bool
        Also return the logits (T, B, O).

    Returns
    -------
    Tensor (), or (Tensor (), Tensor (T, B, O))

    Raises
    ------
    ValueError, TypeError
        As `wave_scan_readout`, and for a target of another shape or dtype.

    Examples
    --------
    >>> import torch
    >>> from wavefield_torch.recurrence.readout_scan import wave_scan_cross_entropy
    >>> shift = torch.tensor([[[0.0, 0.0, 1.0]]])
    >>> x, encoder, weight = torch.zeros(4, 2, 3), torch.zeros(1, 8, 3), torch.zeros(5, 8)
    >>> target = torch.zeros(4, 2, dtype=torch.long)
    >>> wave_scan_cross_entropy(x, encoder, shift, None, None, weight, None, target)  # ln 5
    tensor(1.6094)
    """
    if not isinstance(target, torch.Tensor):
        raise TypeError(f"target must be a tensor, got {type(target).__name__}")
    if target.dtype != torch.int64 or target.shape != x.shape[:2]:
        raise ValueError(
            f"target must be int64 of shape {tuple(x.shape[:2])}, got {target.dtype} of {tuple(target.shape)}"
        )
    logits = wave_scan_readout(
        x,
        encoder,
        kernel,
        bias,
        h0,
        weight,
        readout_bias,
        nonlinearity=nonlinearity,
        checkpoint_every=checkpoint_every,
        backend=backend,
    )
    loss = functional.cross_entropy(logits.transpose(1, 2), target)  # ten times as fast as with classes last
    return (loss, logits) if return_logits else loss


def _check_readout(weight, bias, encoder):
    channels, size = encoder.shape[:2]
    if not isinstance(weight, torch.Tensor):
        raise TypeError(f"weight must be a tensor, got {type(weight).__name__}")
    if weight.dim() != 2 or weight.shape[1] != channels * size:
        raise ValueError(f"weight must be (O, {channels * size}) to read C·N units, got shape {tuple(weight.shape)}")
    if bias is not None and bias.shape != weight.shape[:1]:
        raise ValueError(f"readout_bias must be ({len(weight)},) like weight, got shape {tuple(bias.shape)}")
    for name, tensor in (("weight", weight), ("readout_bias", bias)):
        if tensor is not None and (tensor.dtype != encoder.dtype or tensor.device != encoder.device):
            wanted = f"{encoder.dtype} on {encoder.device} like encoder"
            raise ValueError(f"{name} must be {wanted}, got {tensor.dtype} on {tensor.device}")


# ---------------------------------------------------------------------------------------------- the operator


def _fused():
    """The CPU backend, imported when it is first used: it brings Numba."""
    from wavefield_torch.recurrence.cpu import backend

    return backend


def _forward(x, encoder, kernel, bias, h0, weight, nonlinearity, checkpoint_every, fallback):
    """(W h[t] for all t, states that are kept); weight is (O, C, N)."""
    every = scan.by_budget(checkpoint_every, x, h0)
    return _fused().forward_readout((x, encoder, kernel, bias, h0), weight, nonlinearity, every)


def _shapes(x, encoder, kernel, bias, h0, weight, nonlinearity, checkpoint_every, fallback):
    every = scan.by_budget(checkpoint_every, x, h0)
    saved = scan.shape_of_saved(lambda: _fused().saved_shape(x, encoder, kernel, every), x, (encoder, kernel))
    return x.new_empty(*x.shape[:2], weight.shape[0]), x.new_empty(saved)


def _backward(grads, saved, x, encoder, kernel, bias, h0, weight, nonlinearity, checkpoint_every, fallback, needs):
    """Gradients of x, encoder, kernel, bias, h0, weight; None where not needed."""
    inputs, cpu = (x, encoder, kernel, bias, h0), _fused()
    every = scan.as_kept(checkpoint_every, saved, lambda k: cpu.saved_shape(x, encoder, kernel, k), x)
    if checkpoint_every == 0:
        _, saved = cpu.forward_readout(inputs, weight, nonlinearity, every)
    return cpu.backward_readout(*grads, saved, inputs, weight, nonlinearity, every, needs)


def _plain(x, encoder, kernel, bias, h0, weight, nonlinearity, checkpoint_every, fallback):
    """The readout of the reference."""
    states, _ = reference.scan(x, encoder, kernel, bias, h0, nonlinearity, True)
    return (functional.linear(states.flatten(2), weight.flatten(1)),)


register(
    "scan_readout",
    "Tensor x, Tensor encoder, Tensor kernel, Tensor bias, Tensor h0, Tensor weight",
    "str nonlinearity, int checkpoint_every, bool fallback",
    1,
    devices=("cpu",),
    forward=_forward,
    shapes=_shapes,
    backward=_backward,
    plain=_plain,
)
