"""`sheet_scan`: a sheet of coupled oscillators through time as one differentiable operator."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from wavefield_torch.recurrence.reference import NONLINEARITIES
from wavefield_torch.recurrence.scan import checkpoints, in_full_precision, without_autocast
from wavefield_torch.recurrence.sheet import reference

BOUNDARIES = ("periodic", "fixed", "free")
SCHEMES = ("semi-implicit", "damping-implicit")
READOUTS = ("last", "mean", "max")
BACKENDS = ("auto", "reference")


def sheet_scan(
    y0: Tensor,
    z0: Tensor | None,
    kernel: Tensor,
    stiffness: Tensor | float,
    damping: Tensor | float,
    input: Tensor | None = None,
    *,
    steps: int,
    dt: float,
    boundary: str = "periodic",
    nonlinearity: str = "tanh",
    scheme: str = "semi-implicit",
    readout: Tensor | str | None = None,
    return_sequence: bool = True,
    backend: str = "auto",
    checkpoint_every: int | None = None,
) -> tuple[Tensor | None, tuple[Tensor, Tensor]]:
    """Run the wave equation y'' = σ(W ⋆ y) − ω ⊙ y − α ⊙ y' + x on a sheet of neurons.

    With the velocity z = y' a step is

        z[t+1] = z[t] + dt ( σ(W ⋆ y[t]) − ω ⊙ y[t] − α ⊙ z[t] + x[t] )          semi-implicit
        z[t+1] = ( z[t] + dt ( σ(W ⋆ y[t]) − ω ⊙ y[t] + x[t] ) ) / (1 + dt α)    damping-implicit
        y[t+1] = y[t] + dt z[t+1],

    where ⋆ is cross-correlation, as in ``torch.nn.Conv2d``.

    Parameters
    ----------
    y0, z0 : Tensor (B, C, H, W)
        Position and velocity at first; a z0 of None is zero.
    kernel : Tensor (C, C, K, K)
        W, K odd.
    stiffness, damping : Tensor or float
        ω and α: a number, one per channel (C,), or anything that broadcasts to (B, C, H, W).
    input : Tensor (T, B, C, H, W), optional
        x, a force at each step.
    steps : int
        T.
    dt : float
        Length of a step.
    boundary : {"periodic", "fixed", "free"}
        Beyond an edge lie the cells of the other side, zeros, or the sheet mirrored about its outermost cells.
    nonlinearity : {"tanh", "relu", "identity"}
        σ.
    scheme : {"semi-implicit", "damping-implicit"}
        Without σ the first is stable for 0 ≤ α ≤ 2/dt and 0 ≤ A ≤ (4 − 2 dt α)/dt², the second for 0 ≤ α and
        0 ≤ A ≤ (4 + 2 dt α)/dt², where A is ω less the eigenvalue of W of a mode.
    readout : Tensor (F, T) or {"last", "mean", "max"}, optional
        What is returned in place of the sequence: F weighted sums over time, shared by all cells, or y[T], the mean or
        the largest of y[1..T].
    return_sequence : bool
        Without a readout: whether all states are returned.
    backend : {"auto", "reference"}
    checkpoint_every : int, optional
        Keep every k-th state for the backward pass and compute the others again.

    Returns
    -------
    output : Tensor or None
        y[1..T] (T, B, C, H, W); with a readout (F, B, C, H, W) or (B, C, H, W); None without either.
    (y, z) : Tensors (B, C, H, W)
        The state after the last step.

    Raises
    ------
    ValueError
        For a shape, dtype or option that does not fit; the message names the argument and what it takes.
    TypeError
        For an argument that is not a tensor.

    Notes
    -----
    Model: Jacobs, Budzinski, Muller, Ba and Keller, "Traveling Waves Integrate Spatial Information Through Time",
    2025 (arXiv 2502.06034), whose step is the semi-implicit one. Under autocast everything is computed in float32.

    Examples
    --------
    >>> import torch
    >>> from wavefield_torch import sheet_scan
    >>> laplacian = torch.tensor([[[[0.0, 1.0, 0.0], [1.0, -4.0, 1.0], [0.0, 1.0, 0.0]]]])
    >>> y0 = torch.zeros(1, 1, 9, 9)
    >>> y0[..., 4, 4] = 1.0
    >>> states, (y, z) = sheet_scan(y0, None, laplacian, 0.0, 0.0, steps=3, dt=0.1)
    >>> states.shape
    torch.Size([3, 1, 1, 9, 9])
    >>> [int((state != 0).sum()) for state in states]  # a front moves one cell per step at most
    [5, 13, 25]
    """
    tensors = in_full_precision(y0, z0, kernel, stiffness, damping, input, readout)
    y0, z0, kernel, stiffness, damping, input, readout = tensors
    _check_options(steps, dt, boundary, nonlinearity, scheme, backend)
    inputs = _checked(y0, z0, kernel, stiffness, damping, input, steps)
    weights = _checked_readout(readout, inputs[0], steps)
    checkpoints((*inputs[:5], *(t for t in (input, weights) if t is not None)), checkpoint_every)
    with without_autocast(y0):
        output, y, z = reference.scan(
            *inputs, steps, dt, boundary, nonlinearity, scheme, readout, return_sequence and readout is None
        )
    return output, (y, z)


# ---------------------------------------------------------------------------------------------- arguments


def _check_options(steps, dt, boundary, nonlinearity, scheme, backend):
    if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
        raise ValueError(f"steps must be a positive integer, got {steps!r}")
    if isinstance(dt, torch.Tensor) or not (isinstance(dt, (int, float)) and math.isfinite(dt) and dt > 0):
        raise ValueError(f"dt must be a positive number, got {dt!r}")
    for name, value, accepted in (
        ("boundary", boundary, BOUNDARIES),
        ("nonlinearity", nonlinearity, NONLINEARITIES),
        ("scheme", scheme, SCHEMES),
        ("backend", backend, BACKENDS),
    ):
        if value not in accepted:
            raise ValueError(f"{name} must be one of {list(accepted)}, got {value!r}")


def _checked(y0, z0, kernel, stiffness, damping, drive, steps):
    """(y0, z0, kernel, ω, α, x), all in full shape, after each has been checked against the others."""
    for name, tensor in (("y0", y0), ("kernel", kernel)):
        if not isinstance(tensor, torch.Tensor):
            raise TypeError(f"{name} must be a tensor, got {type(tensor).__name__}")
        if tensor.dim() != 4:
            raise ValueError(f"{name} must have 4 dimensions, got shape {tuple(tensor.shape)}")
    if y0.dtype not in (torch.float32, torch.float64):
        raise ValueError(f"y0 must be float32 or float64, got {y0.dtype}")
    channels, height, width = y0.shape[1:]
    if 0 in (channels, height, width):
        raise ValueError(f"y0 must have channels, rows and columns, got shape {tuple(y0.shape)}")
    taps = kernel.shape[-1]
    if kernel.shape != (channels, channels, taps, taps) or taps % 2 == 0:
        raise ValueError(f"kernel must be ({channels}, {channels}, K, K) with K odd, got shape {tuple(kernel.shape)}")
    z0 = torch.zeros_like(y0) if z0 is None else z0
    stiffness = _over_sheet("stiffness", stiffness, y0)
    damping = _over_sheet("damping", damping, y0)
    for name, tensor, shape in (
        ("z0", z0, y0.shape),
        ("kernel", kernel, kernel.shape),
        ("stiffness", stiffness, y0.shape),
        ("damping", damping, y0.shape),
        ("input", drive, (steps, *y0.shape)),
    ):
        if tensor is None:
            continue
        if not isinstance(tensor, torch.Tensor):
            raise TypeError(f"{name} must be a tensor, got {type(tensor).__name__}")
        if tensor.shape != shape:
            raise ValueError(f"{name} must have shape {tuple(shape)}, got {tuple(tensor.shape)}")
        _check_like(name, tensor, y0)
    return y0, z0, kernel, stiffness, damping, drive


def _over_sheet(name, value, y0):
    """ω or α as (B, C, H, W): one number per channel is spread over its sheet."""
    if isinstance(value, (int, float)):
        return y0.new_full((), value).expand(y0.shape)
    if not isinstance(value, torch.Tensor):
        raise TypeError(f"{name} must be a number or a tensor, got {type(value).__name__}")
    if value.dim() == 1 and value.shape[0] == y0.shape[1]:
        value = value[:, None, None]
    elif value.dim() == 1 and value.shape[0] != 1:
        raise ValueError(f"{name} of one dimension must be ({y0.shape[1]},), got {tuple(value.shape)}")
    try:
        return value.expand(y0.shape)
    except RuntimeError:
        wanted = f"a number, ({y0.shape[1]},), or broadcast to {tuple(y0.shape)}"
        raise ValueError(f"{name} must be {wanted}, got shape {tuple(value.shape)}") from None


def _checked_readout(readout, y0, steps):
    """The matrix of a linear readout, or None."""
    if readout is None or (isinstance(readout, str) and readout in READOUTS):
        return None
    if not isinstance(readout, torch.Tensor):
        raise ValueError(f"readout must be a matrix (F, {steps}) or one of {list(READOUTS)}, got {readout!r}")
    if readout.dim() != 2 or readout.shape[1] != steps:
        raise ValueError(f"readout must be (F, {steps}) to weigh {steps} steps, got shape {tuple(readout.shape)}")
    _check_like("readout", readout, y0)
    return readout


def _check_like(name, tensor, y0):
    if tensor.dtype != y0.dtype or tensor.device != y0.device:
        raise ValueError(f"{name} must be {y0.dtype} on {y0.device} like y0, got {tensor.dtype} on {tensor.device}")
