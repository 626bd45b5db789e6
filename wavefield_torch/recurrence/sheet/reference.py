"""The sheet in plain PyTorch: any device, differentiable any number of times; the definition of correct.

    z[t+1] = z[t] + dt ( σ(W ⋆ y[t]) − ω ⊙ y[t] − α ⊙ z[t] + x[t] )          semi-implicit
    z[t+1] = ( z[t] + dt ( σ(W ⋆ y[t]) − ω ⊙ y[t] + x[t] ) ) / (1 + dt α)    damping-implicit
    z[t+1] = z[t] + dt ( σ(W ⋆ y[t]) − ω ⊙ y[t] − α ⊙ (z[t] + z[t+1])/2 + x[t] )    centred
    y[t+1] = y[t] + dt z[t+1]

In all of them z[t+1] = κ z[t] + g (σ(W ⋆ y[t]) − ω ⊙ y[t] + x[t]) with κ and g of `kept_and_gain`.

Every other backend is tested against this one.
"""

import torch
from torch.nn import functional

from wavefield_torch.recurrence.reference import NONLINEARITIES

_PADDING = {"periodic": "circular", "fixed": "constant", "free": "reflect"}


def extended(y, reach, boundary):
    """The sheet (…, H, W) with `reach` cells beyond each edge: those of the other side, zeros, or its mirror image."""
    if not reach:
        return y
    within = {"periodic": reach <= min(y.shape[-2:]), "fixed": True, "free": reach < min(y.shape[-2:])}
    if within[boundary]:
        return functional.pad(y, (reach,) * 4, mode=_PADDING[boundary])
    for axis in (-2, -1):  # a kernel may reach around a small sheet more than once
        y = y.index_select(axis, _cells(y.shape[axis], reach, boundary, y.device))
    return y


def _cells(size, reach, boundary, device):
    place = torch.arange(-reach, size + reach, device=device)
    if boundary == "periodic":
        return place % size
    turn = max(2 * (size - 1), 1)
    return (size - 1 - (place % turn - (size - 1)).abs()) % size


def kept_and_gain(damping, dt, scheme):
    """κ, what a step keeps of the velocity, and g, with which forces enter it."""
    fading = dt * damping
    if scheme == "damping-implicit":
        kept = 1 / (1 + fading)
        return kept, dt * kept
    if scheme == "centred":
        return (1 - fading / 2) / (1 + fading / 2), dt / (1 + fading / 2)
    return 1 - fading, dt + 0 * fading


def step(y, z, kernel, stiffness, damping, force, dt, boundary, nonlinearity, scheme):
    """(y, z) one step later; `force` is the input of this step or None."""
    moved = functional.conv2d(extended(y, kernel.shape[-1] // 2, boundary), kernel)
    pull = NONLINEARITIES[nonlinearity](moved) - stiffness * y
    if force is not None:
        pull = pull + force
    if scheme == "semi-implicit":
        z = z + dt * (pull - damping * z)
    elif scheme == "damping-implicit":
        z = (z + dt * pull) / (1 + dt * damping)
    else:
        half = dt * damping / 2
        z = ((1 - half) * z + dt * pull) / (1 + half)
    return y + dt * z, z


def scan(y, z, kernel, stiffness, damping, drive, steps, dt, boundary, nonlinearity, scheme, readout, return_sequence):
    """(output, y, z) after all steps; see `sheet_scan`."""
    keep = return_sequence or isinstance(readout, torch.Tensor) or readout in ("mean", "max")
    states = []
    for t in range(steps):
        force = None if drive is None else drive[t]
        y, z = step(y, z, kernel, stiffness, damping, force, dt, boundary, nonlinearity, scheme)
        if keep:
            states.append(y)
    if isinstance(readout, torch.Tensor):
        output = torch.tensordot(readout, torch.stack(states), 1)  # (F, B, C, H, W)
    elif readout == "max":
        output = torch.stack(states).max(0).values
    elif readout == "mean":
        output = torch.stack(states).mean(0)
    elif readout == "last":
        output = y.clone()
    else:
        output = torch.stack(states) if return_sequence else None
    return output, y, z
