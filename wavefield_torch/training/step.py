"""One step of training, and the cross-entropy that follows a loss far below the resolution of float32."""

from __future__ import annotations

import copy
import math

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from wavefield_torch.models.readout import SequenceModel, top_state


class NotFiniteError(FloatingPointError):
    """The loss or its gradient stopped being finite; the parameters are still those before the step."""


def training_step(optimizer: torch.optim.Optimizer, loss: Tensor, *, clip: float = 0.0) -> tuple[float, float]:
    """Go one step down the gradient of `loss`, unless either is not finite.

    Parameters
    ----------
    optimizer : torch.optim.Optimizer
        Of all parameters that are trained.
    loss : Tensor ()
    clip : float
        Largest norm of the gradient of all parameters together; 0 for none.

    Returns
    -------
    tuple of float
        The loss, and the norm of the gradient before it was clipped.

    Raises
    ------
    NotFiniteError
        Before anything is changed.

    Examples
    --------
    >>> weight = torch.nn.Parameter(torch.tensor([3.0, 4.0]))
    >>> training_step(torch.optim.SGD([weight], lr=1.0), (weight**2).sum() / 2, clip=1.0)
    (12.5, 5.0)
    >>> weight.data
    tensor([2.4000, 3.2000])
    """
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    gradients = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
    # in float64: gradients that are finite may have squares that are not
    norm = torch.stack([torch.linalg.vector_norm(g, dtype=torch.float64) for g in gradients]).norm()
    value, size = loss.item(), norm.item()
    if not (math.isfinite(value) and math.isfinite(size)):
        raise NotFiniteError(f"the loss is {value} and its gradient has norm {size}")
    if clip and size > clip:
        torch._foreach_mul_(gradients, clip / size)
    optimizer.step()
    return value, size


def symbol_cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Return the mean cross-entropy per symbol of logits (T, B, O) or (B, O) and classes (T, B) or (B,)."""
    if logits.dim() == 3:  # classes before the batch: ten times as fast on a CPU as classes last
        logits = logits.transpose(1, 2)
    return cross_entropy(logits, target)


@torch.no_grad()
def precise_logits(model: SequenceModel, input: Tensor) -> Tensor:
    """Return the logits of `model` in float64, read from its states, which stay in their own precision.

    The cross-entropy of float32 logits is a multiple of 6e-8, and 0 below: too coarse for the losses of the copy task.
    """
    output, last = model.recurrence(input, return_sequence=model.every_step)
    readout = copy.deepcopy(model.readout).double()
    return readout((output if model.every_step else top_state(model.recurrence, last)).double())
