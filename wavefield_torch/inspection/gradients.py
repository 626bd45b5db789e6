"""How the gradient of a loss at one step fades with the lag to the input that it depends on, and the bounds on it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from wavefield.progress import Progress
from wavefield_torch.inspection.linearise import input_jacobian, jacobian, state_size, step
from wavefield_torch.models.readout import SequenceModel


def squared_error(output: Tensor, target: Tensor) -> Tensor:
    """Mean squared error of every sample, (B, O) → (B,)."""
    return ((output - target) ** 2).mean(dim=1)


def gradient_against_lag(
    model: SequenceModel,
    x: Tensor,
    target: Tensor,
    *,
    loss: Callable[[Tensor, Tensor], Tensor] = squared_error,
    waves: xr.Dataset | None = None,
) -> xr.Dataset:
    """Return ‖∂C/∂x(1)‖ where C is the loss at one step alone, for every lag of that step after the first input.

        ∂C/∂x(1) = ∂C/∂h(τ+1) · J(τ) ⋯ J(1) · ∂h(1)/∂x(1),      J(t) = ∂h(t+1)/∂h(t)

    computed as this product, of the Jacobians along the trajectory; it equals what back-propagation gives. Beside it
    stand the two bounds of the paper, with μ = max ‖J(t)‖ over steps and samples and ‖·‖ the spectral norm:

    - a network without waves: ‖∂C/∂h(τ+1)‖ · μ^τ · ‖∂h(1)/∂x(1)‖, which falls (or rises) exponentially;
    - with waves ψ, as long as the lag fits on the line, τ ≤ s: x(1) is a component of the state, in slot s − τ + 1 a
      step before, h(τ) = ε + ψ x(1) + …, so that ‖∂C/∂h(τ+1)‖ · μ · (‖ψ‖ + ‖∂ε/∂x(1)‖): no power of τ.
      It holds for any ψ, and says something only if little of x(1) is left to ε.

    Parameters
    ----------
    model : SequenceModel
        A recurrence of one layer, read out at every step.
    x : Tensor, shape (T, B, I)
        A few samples suffice: the cost is T · B Jacobians.
    target : Tensor, shape (T, B, …)
        What the loss compares the readout of each step with.
    loss : callable
        Loss of every sample at one step, (output (B, O), target (B, …)) → (B,).
    waves : Dataset, optional
        From `analysis.recover_waves` of this model's weights, a line for every input, for the second bound.

    Returns
    -------
    xarray.Dataset
        Over ``trial`` and ``lag`` (0 … T−1): ``gradient_norm``, ``bound_product``, ``state_gradient_norm``
        (‖∂C/∂h(τ+1)‖) and, with `waves`, ``bound_wave`` (NaN at lag 0 and beyond s); and ``mu``.

    Raises
    ------
    ValueError, TypeError
        If a shape does not fit, or the inputs are not finite.

    References
    ----------
    Karuvally, Sejnowski and Siegelmann, ICML 2024; after Bengio, Simard and Frasconi (1994).

    Examples
    --------
    >>> from wavefield_torch import IdentityRNN, linear_readout
    >>> model = SequenceModel(IdentityRNN(2, 8), linear_readout(8, 2), every_step=True)
    >>> found = gradient_against_lag(model, torch.rand(5, 3, 2), torch.rand(5, 3, 2))
    >>> dict(found.gradient_norm.sizes), bool((found.gradient_norm <= found.bound_product * 1.001).all())
    ({'trial': 3, 'lag': 5}, True)
    """
    _check(model, x, target)
    recurrence = model.recurrence
    units, size = state_size(recurrence)
    psi = None if waves is None else _by_age(waves, size, recurrence.input_size).to(x)
    state = x.new_zeros(x.shape[1], size)
    sensitivity, before, mu = None, None, 0.0
    columns: dict[str, list[Tensor]] = {"gradient_norm": [], "state_gradient_norm": [], "entry": [], "wave": []}
    for t in Progress(range(len(x)), "gradients", unit="step"):
        if sensitivity is None:
            sensitivity = input_jacobian(recurrence, state, x[0])  # (B, S, I)
            entry = _spectral(sensitivity)
        else:
            moved = jacobian(recurrence, state, x[t])  # (B, S, S)
            mu = max(mu, float(_spectral(moved).max()))
            before, sensitivity = sensitivity, moved @ sensitivity
        with torch.no_grad():
            state = step(recurrence, state, x[t])
        pull = _loss_gradient(model, loss, state[:, :units], target[t], size)  # (B, S)
        columns["gradient_norm"].append(torch.linalg.vector_norm(torch.einsum("bs,bsi->bi", pull, sensitivity), dim=1))
        columns["state_gradient_norm"].append(torch.linalg.vector_norm(pull, dim=1))
        columns["entry"].append(entry)
        if psi is not None:
            fits = 1 <= t <= len(psi)
            held = _spectral(psi[t - 1]) + _spectral(before - psi[t - 1]) if fits else torch.full_like(entry, torch.nan)
            columns["wave"].append(held)
    found = {name: torch.stack(rows, 1).double().numpy(force=True) for name, rows in columns.items() if rows}
    lag = np.arange(len(x))
    arrays = {
        "gradient_norm": (found["gradient_norm"], "norm of the gradient of the loss by the first input"),
        "state_gradient_norm": (found["state_gradient_norm"], "norm of the gradient of the loss by the state"),
        "bound_product": (
            found["state_gradient_norm"] * found["entry"] * mu**lag,
            "bound of a network without waves",
        ),
    }
    if psi is not None:
        arrays["bound_wave"] = (found["state_gradient_norm"] * mu * found["wave"], "bound of a network with waves")

    def described(text):
        return {"units": "1", "long_name": text}

    return xr.Dataset(
        {name: (("trial", "lag"), array, described(text)) for name, (array, text) in arrays.items()}
        | {"mu": ((), mu, described("largest spectral norm of a step"))},
        {"lag": ("lag", lag, described("steps since the first input"))},
        {"method": "product of the Jacobians along the trajectory", "source": type(recurrence).__name__},
    )


def _loss_gradient(model, loss, hidden, target, size):
    """∂C/∂s of every sample, (B, S); what is not read (an LSTM's c) has none."""
    hidden = hidden.detach().requires_grad_(True)
    with torch.enable_grad():
        losses = loss(model.readout(hidden), target)
        if losses.shape != (len(hidden),):
            raise ValueError(f"loss must return one number a sample, shape ({len(hidden)},), got {tuple(losses.shape)}")
        pull = torch.autograd.grad(losses.sum(), hidden)[0]
    return torch.nn.functional.pad(pull, (0, size - pull.shape[1]))


def _by_age(waves, size, inputs):
    """Where an input is after 0, 1, … steps: (s, S, lines), zero where a line has no such slot."""
    if waves.sizes["unit"] != size:
        raise ValueError(f"waves must be of this model, with {size} units, got {waves.sizes['unit']}")
    length, lines = int(waves.attrs["length"]), int(waves.attrs["lines"])
    if lines != inputs:
        raise ValueError(f"waves must have a line for each of the {inputs} inputs, got {lines} lines")
    by_age = np.zeros((length, size, lines))
    by_age[length - waves["slot"].values, :, waves["line"].values] = waves["basis"].values.T
    return torch.from_numpy(by_age)


def _spectral(matrices):
    return torch.linalg.matrix_norm(matrices, ord=2)


def _check(model, x, target):
    if not isinstance(model, SequenceModel):
        raise TypeError(f"model must be a SequenceModel, got {type(model).__name__}")
    if x.dim() != 3 or 0 in x.shape or x.shape[2] != model.recurrence.input_size:
        raise ValueError(f"x must have shape (T, B, {model.recurrence.input_size}), T and B ≥ 1, got {tuple(x.shape)}")
    if target.shape[:2] != x.shape[:2]:
        raise ValueError(f"target must have shape (T, B, …) = {tuple(x.shape[:2])}, got {tuple(target.shape)}")
    if not (torch.isfinite(x).all() and torch.isfinite(target).all()):
        raise ValueError("x and target must be finite, they hold NaN or infinity")
