"""The wave recurrence with a linear readout of every state: the states themselves are never handed out.

For a task that is read out at every step (the copy task) the readout done afterwards, on (T, B, C, N) states, costs
several times the recurrence; here it is computed while a state is still in the cache, forward and back.
"""

import torch
from torch.nn import functional

from wavefield_torch.recurrence import scan


def wave_scan_readout(
    x,
    encoder,
    kernel,
    bias,
    h0,
    weight,
    readout_bias,
    *,
    nonlinearity="relu",
    checkpoint_every=None,
    backend="auto",
):
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
    backend = scan.choose(backend, x, kernel, "periodic")
    inputs = (x, encoder, kernel, bias, h0)
    with torch.autocast(x.device.type, enabled=False):
        if backend != "cpu":
            h = scan.wave_scan(*inputs, nonlinearity=nonlinearity, backend=backend)
            return functional.linear(h.flatten(2), weight, readout_bias)
        every = scan.checkpoints((*inputs, weight), checkpoint_every)
        units = weight.unflatten(1, encoder.shape[:2])
        values = torch.ops.wavefield.scan_readout(*inputs, units, nonlinearity, every)[0]
        return values if readout_bias is None else values + readout_bias


def wave_scan_cross_entropy(
    x,
    encoder,
    kernel,
    bias,
    h0,
    weight,
    readout_bias,
    target,
    *,
    nonlinearity="relu",
    checkpoint_every=None,
    backend="auto",
    return_logits=False,
):
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
        raise TypeError(f"target must be a tensor; got {type(target).__name__}")
    if target.dtype != torch.int64 or target.shape != x.shape[:2]:
        raise ValueError(
            f"target must be int64 of shape {tuple(x.shape[:2])}; got {target.dtype} of {tuple(target.shape)}"
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
        raise TypeError(f"weight must be a tensor; got {type(weight).__name__}")
    if weight.dim() != 2 or weight.shape[1] != channels * size:
        raise ValueError(f"weight must be (O, {channels * size}) to read C·N units; got shape {tuple(weight.shape)}")
    if bias is not None and bias.shape != weight.shape[:1]:
        raise ValueError(f"readout_bias must be ({len(weight)},) like weight; got shape {tuple(bias.shape)}")
    for name, tensor in (("weight", weight), ("readout_bias", bias)):
        if tensor is not None and (tensor.dtype != encoder.dtype or tensor.device != encoder.device):
            wanted = f"{encoder.dtype} on {encoder.device} like encoder"
            raise ValueError(f"{name} must be {wanted}; got {tensor.dtype} on {tensor.device}")


# ---------------------------------------------------------------------------------------------- the operator


_INPUTS = "Tensor x, Tensor encoder, Tensor kernel, Tensor bias, Tensor h0, Tensor weight"
_OPTIONS = "str nonlinearity, int checkpoint_every"
torch.library.define("wavefield::scan_readout", f"({_INPUTS}, {_OPTIONS}) -> (Tensor, Tensor)")
torch.library.define(
    "wavefield::scan_readout_backward", f"(Tensor grad, Tensor saved, {_INPUTS}, {_OPTIONS}, bool[] needs) -> Tensor[]"
)


def _fused():
    """The CPU backend, imported when it is first used: it brings Numba."""
    from wavefield_torch.recurrence.cpu import backend as _cpu

    return _cpu


@torch.library.impl("wavefield::scan_readout", "cpu")
def _scan_readout(x, encoder, kernel, bias, h0, weight, nonlinearity, checkpoint_every):
    """(W h[t] for all t, states that are kept); weight is (O, C, N)."""
    every = scan.by_budget(checkpoint_every, x, h0)
    return _fused().forward_readout(x, encoder, kernel, bias, h0, weight, nonlinearity, every)


@torch.library.register_fake("wavefield::scan_readout")
def _scan_readout_shapes(x, encoder, kernel, bias, h0, weight, nonlinearity, checkpoint_every):
    if all(isinstance(n, int) for n in (*x.shape, *encoder.shape, *kernel.shape)):
        kept = _fused().saved_shape(x, encoder, kernel, False, scan.by_budget(checkpoint_every, x, h0))
    else:
        kept = (torch.library.get_ctx().new_dynamic_size(),)
    return x.new_empty(*x.shape[:2], weight.shape[0]), x.new_empty(kept)


@torch.library.impl("wavefield::scan_readout_backward", "cpu")
def _scan_readout_backward(
    grad, saved, x, encoder, kernel, bias, h0, weight, nonlinearity, checkpoint_every, needs
):  # fmt: skip
    """Gradients of x, encoder, kernel, bias, h0, weight; empty where not needed."""
    inputs = (x, encoder, kernel, bias, h0, weight)
    every = scan.as_kept(checkpoint_every, saved, lambda k: _fused().saved_shape(x, encoder, kernel, False, k), x)
    if checkpoint_every == 0:
        _, saved = _fused().forward_readout(*inputs, nonlinearity, every)
    gradients = _fused().backward_readout(grad, saved, *inputs, nonlinearity, every, needs)
    return [x.new_empty(0) if g is None else g for g in gradients]


@torch.library.register_fake("wavefield::scan_readout_backward")
def _scan_readout_backward_shapes(
    grad, saved, x, encoder, kernel, bias, h0, weight, nonlinearity, checkpoint_every, needs
):  # fmt: skip
    inputs = (x, encoder, kernel, bias, h0, weight)
    return [x.new_empty(t.shape if need else 0) for t, need in zip(inputs, needs, strict=True)]


def _remember(ctx, inputs, output):
    *tensors, nonlinearity, checkpoint_every = inputs
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(output[1], *tensors)
    ctx.options = nonlinearity, checkpoint_every


def _differentiate(ctx, grad, _):
    needs = list(ctx.needs_input_grad[:6])
    gradients = torch.ops.wavefield.scan_readout_backward(grad, *ctx.saved_tensors, *ctx.options, needs)
    return *(g if need else None for g, need in zip(gradients, needs, strict=True)), None, None


torch.library.register_autograd("wavefield::scan_readout", _differentiate, setup_context=_remember)
torch.library.register_autograd("wavefield::scan_readout_backward", scan.once_only)
