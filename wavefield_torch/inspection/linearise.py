"""One step of a recurrence as a linear map: Jacobians of any network, and what wave recovery needs of one."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from wavefield_torch.models.call_convention import traits
from wavefield_torch.models.readout import SequenceModel

_REST = 1e-3  # how far a step may move a state of rest, relative to 1 + the norm of the state


class Linearised(NamedTuple):
    """A network near a state: s(t+1) ≈ weight_hh s(t) + weight_in x(t), y(t) ≈ weight_out s(t), as arrays."""

    weight_hh: np.ndarray  # (S, S)
    weight_in: np.ndarray  # (S, I)
    weight_out: np.ndarray  # (O, S)


class NotLinearisableError(ValueError):
    """Near the requested state a recurrence is not a linear map: it moves on from there, or is flat."""


def jacobian(recurrence: nn.Module, state: Tensor | None = None, input: Tensor | None = None) -> Tensor:
    """Return the Jacobian of one step, ∂s(t+1)/∂s(t), by reverse differentiation of the module as it is.

    Parameters
    ----------
    recurrence : nn.Module
        Called as `torch.nn.RNN` is, one layer: `WaveRNN`, the baselines, PyTorch's own.
    state : Tensor, shape (S,) or (B, S), optional
        Where; zero unless given. The state of an LSTM is (h, c), S = 2N.
    input : Tensor, shape (I,) or (B, I), optional
        What arrives; zero unless given.

    Returns
    -------
    Tensor, shape (S, S) or (B, S, S)
        Of a tanh network without biases at the origin this is its recurrent matrix; of ReLU units at exactly 0,
        where there is a kink, it is 0.

    Raises
    ------
    ValueError
        If a shape does not fit, or the module has several layers or directions.

    Examples
    --------
    >>> net = nn.RNN(2, 4, bias=False)
    >>> torch.equal(jacobian(net), net.weight_hh_l0)
    True
    """
    state, x, batched = _point(recurrence, state, input)
    units = state.shape[1]
    found = _derivatives(recurrence, state, x, wanted=0).view(len(state), units, units)
    return found if batched else found[0]


def input_jacobian(recurrence: nn.Module, state: Tensor | None = None, input: Tensor | None = None) -> Tensor:
    """Return ∂s(t+1)/∂x(t) of one step, shape (S, I) or (B, S, I); see `jacobian`."""
    state, x, batched = _point(recurrence, state, input)
    found = _derivatives(recurrence, state, x, wanted=1).view(len(state), state.shape[1], -1)
    return found if batched else found[0]


def linearised(model: SequenceModel, state: Tensor | None = None) -> Linearised:
    """Return the weights of a network linearised about a state of rest, as `analysis.recover_waves` takes them.

    Parameters
    ----------
    model : SequenceModel
        With a linear readout. Of an LSTM, whose readout sees h alone, weight_out is zero on c.
    state : Tensor, shape (S,), optional
        Zero unless given, where a tanh network, LSTM or GRU without biases rests.

    Raises
    ------
    NotLinearisableError
        A ValueError: without input the recurrence moves on from that state, as biases make it do at zero, or it is
        flat there, as ReLU units are at zero.
    ValueError, TypeError
        If the model is not one of these, or the shape of the state does not fit.

    Examples
    --------
    >>> from wavefield_torch import LSTM, linear_readout
    >>> net = linearised(SequenceModel(LSTM(3, 5, bias=False), linear_readout(5, 2), every_step=True))
    >>> net.weight_hh.shape, net.weight_in.shape, net.weight_out.shape
    ((10, 10), (10, 3), (2, 10))
    """
    if not isinstance(model, SequenceModel) or not isinstance(model.readout, nn.Linear):
        raise TypeError("model must be a SequenceModel whose readout is a torch.nn.Linear")
    if state is not None and state.dim() != 1:
        raise ValueError(f"state must be one, of shape (S,), got {tuple(state.shape)}")
    _check_rest(model.recurrence, state)
    inner, reading = jacobian(model.recurrence, state), model.readout.weight.detach()
    if not inner.any():
        raise NotLinearisableError("the recurrence is flat at this state, as ReLU units are at zero: give another")
    entering = input_jacobian(model.recurrence, state)
    reading = nn.functional.pad(reading, (0, len(inner) - reading.shape[1]))
    return Linearised(*(matrix.double().numpy(force=True) for matrix in (inner, entering, reading)))


def state_size(recurrence: nn.Module) -> tuple[int, int]:
    """Numbers in the hidden state h, and in the complete state s: twice as many in an LSTM."""
    if not hasattr(recurrence, "hidden_size"):
        raise TypeError(f"recurrence must be called as torch.nn.RNN is, got {type(recurrence).__name__}")
    found = traits(recurrence)
    if found.num_layers != 1 or found.bidirectional:
        raise ValueError("recurrence must have one layer and one direction")
    if found.proj_size:
        raise ValueError(f"recurrence must not project its state, got proj_size={found.proj_size}")
    units = found.output_size
    return units, units * (2 if isinstance(recurrence, nn.LSTM) else 1)


def step(recurrence: nn.Module, state: Tensor, x: Tensor) -> Tensor:
    """Return the state (B, S) after the input x (B, I)."""
    units, complete = state_size(recurrence)
    parts = tuple(part[None].contiguous() for part in state.split(units, dim=1))
    sequence = x[:, None] if traits(recurrence).batch_first else x[None]
    _, after = recurrence(sequence, parts if complete > units else parts[0])
    return torch.cat([part[0] for part in after], dim=1) if complete > units else after[0]


@torch.no_grad()
def _check_rest(recurrence, state):
    here, x, _ = _point(recurrence, state, None)
    moved = float((step(recurrence, here, x) - here).norm())
    if moved > _REST * (1 + float(here.norm())):
        raise NotLinearisableError(
            f"state must be one of rest, the recurrence moves on from it by {moved:.3g} without input: train it "
            "without biases or give a fixed point"
        )


def _derivatives(recurrence, state, x, wanted):
    """Rows ∂s_i(t+1)/∂(state or x), (B · S, …): every sample is run once for every unit, in one batch."""
    samples, units = state.shape
    arguments = [argument.repeat_interleave(units, dim=0).requires_grad_(True) for argument in (state, x)]
    with torch.enable_grad():
        after = step(recurrence, *arguments)
        each = torch.eye(units, dtype=after.dtype, device=after.device).repeat(samples, 1)
        return torch.autograd.grad(after, arguments[wanted], each)[0]


def _point(recurrence, state, x):
    """State (B, S), input (B, I) and whether they came in batches."""
    _, size = state_size(recurrence)
    like = next(recurrence.parameters(), torch.zeros(()))  # a tape has none
    batched = any(given is not None and given.dim() == 2 for given in (state, x))
    parts = []
    for name, given, width in (("state", state, size), ("input", x, recurrence.input_size)):
        given = like.new_zeros(width) if given is None else given.detach().to(like)
        if given.dim() not in (1, 2) or given.shape[-1] != width:
            raise ValueError(f"{name} must have shape ({width},) or (B, {width}), got {tuple(given.shape)}")
        parts.append(given if given.dim() == 2 else given[None])
    samples = max(len(part) for part in parts)
    if any(len(part) not in (1, samples) for part in parts):
        raise ValueError(f"state and input must have one batch size, got {len(parts[0])} and {len(parts[1])}")
    return *(part.expand(samples, -1) for part in parts), batched
