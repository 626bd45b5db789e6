"""`sheet_scan`: a sheet of coupled oscillators through time as one differentiable operator.

A backend is a module with two functions on a `Problem`, whose tensors were checked here:

    forward(problem, return_sequence, every) -> output, y, z, saved
    backward(grad_output, grad_y, grad_z, saved, problem, return_sequence, every, needs)
        -> gradients of y0, z0, kernel, ω, α, input, weights; None where `needs` is false; the given may be None

`output` is the sequence (T, B, C, H, W), what the weights (F, T) read out (F, B, C, H, W), the largest values
(B, C, H, W), or empty; `saved` (n, B, C, H, W) are the states (y, z) after every `every` steps and the last, from which
the backward pass computes the others again, and the step of the largest value if that is read out.
"""

from __future__ import annotations

import logging
import math
from typing import NamedTuple

import torch
from torch import Tensor

from wavefield_torch.recurrence.reference import NONLINEARITIES
from wavefield_torch.recurrence.registration import register, say_once
from wavefield_torch.recurrence.scan import checkpoints, constant, in_full_precision, transformed, without_autocast
from wavefield_torch.recurrence.sheet import linear, reference

logger = logging.getLogger(__name__)

BOUNDARIES = ("periodic", "fixed", "free")
SCHEMES = ("semi-implicit", "damping-implicit", "centred")
READOUTS = ("last", "mean", "max")
BACKENDS = ("auto", "reference", "cpu", "triton")
_FEW_STEPS, _FEW_PRODUCTS = 4, 100_000  # up to so many steps, of so many products each, the reference is run


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
    parallel: bool = False,
) -> tuple[Tensor | None, tuple[Tensor, Tensor]]:
    """Run the wave equation y'' = σ(W ⋆ y) − ω ⊙ y − α ⊙ y' + x on a sheet of neurons.

    With the velocity z = y' a step is

        z[t+1] = z[t] + dt ( σ(W ⋆ y[t]) − ω ⊙ y[t] − α ⊙ z[t] + x[t] )          semi-implicit
        z[t+1] = ( z[t] + dt ( σ(W ⋆ y[t]) − ω ⊙ y[t] + x[t] ) ) / (1 + dt α)    damping-implicit
        z[t+1] = z[t] + dt ( σ(W ⋆ y[t]) − ω ⊙ y[t] − α ⊙ (z[t] + z[t+1])/2 + x[t] )    centred
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
    scheme : {"semi-implicit", "damping-implicit", "centred"}
        Without σ the first is stable for 0 ≤ α ≤ 2/dt and 0 ≤ A ≤ (4 − 2 dt α)/dt², the second for 0 ≤ α and
        0 ≤ A ≤ (4 + 2 dt α)/dt², the third for 0 ≤ α and 0 ≤ A ≤ 4/dt², where A is ω less the eigenvalue of W of a
        mode. The third is the leapfrog of `wavefield.wave`, of second order in dt.
    readout : Tensor (F, T) or {"last", "mean", "max"}, optional
        What is returned in place of the sequence: F weighted sums over time, shared by all cells, or y[T], the mean or
        the largest of y[1..T].
    return_sequence : bool
        Without a readout: whether all states are returned.
    backend : {"auto", "reference", "cpu", "triton"}
        `reference` is plain PyTorch, on any device and differentiable any number of times; `cpu` is fused over time and
        `triton`, on a GPU, over the parts of a step, both differentiable once, in reverse. `auto` takes the one of the
        device where it applies, and the reference elsewhere and
        inside `torch.func` transforms, for second derivatives, and for so little work that preparing costs more.
    checkpoint_every : int, optional
        Keep every k-th state for the backward pass, by default about every 2√T-th, and compute those between again:
        from the state before them, or, where the damping is so weak that rounding does not grow (the log says which, at
        level debug), from the state after them by the inverse of the step.
    parallel : bool
        With the identity nonlinearity, periodic edges, and ω and α that are the same in all places and samples: no loop
        over time, but Fourier transforms of the sheet, on any device; see `LinearSheet`. `backend` does not matter.

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
    _check_options(dt, boundary, nonlinearity, scheme, backend)
    rates = (stiffness, damping)
    inputs = _checked(y0, z0, kernel, stiffness, damping, input, steps)
    weights = check_readout(readout, y0, steps)
    every = checkpoints((*inputs[:5], *(t for t in (input, weights) if t is not None)), checkpoint_every)
    return_sequence = bool(return_sequence) and readout is None
    if parallel:
        with without_autocast(y0):
            omega, alpha = _constant_rates(rates, y0, boundary, nonlinearity)
            output, y, z = _in_parallel(
                y0, z0, kernel, omega, alpha, input, steps, dt, scheme, readout, return_sequence
            )
        return output, (y, z)
    requested, backend = backend, _choose(backend, y0, kernel, steps)
    with without_autocast(y0):
        if backend == "reference":
            arguments = (*inputs, steps, dt, boundary, nonlinearity, scheme, readout, return_sequence)
            output, y, z = reference.scan(*arguments)
            return output, (y, z)
        if readout == "mean":
            weights = y0.new_full((1, steps), 1 / steps)
        absent = y0.new_empty(0)
        output, y, z, _ = torch.ops.wavefield.sheet_scan(
            *inputs[:5], absent if input is None else input, absent if weights is None else weights,
            steps, dt, boundary, nonlinearity, scheme, readout == "max", return_sequence, every, backend,
            requested == "auto",
        )  # fmt: skip
    if isinstance(readout, str):
        output = {"mean": lambda: output[0], "max": lambda: output, "last": y.clone}[readout]()
    return (output if return_sequence or readout is not None else None), (y, z)


# ---------------------------------------------------------------------------------------------- arguments


def _check_options(dt, boundary, nonlinearity, scheme, backend):
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
    check_sheets(y0, z0, drive, steps)
    if not isinstance(kernel, torch.Tensor):
        raise TypeError(f"kernel must be a tensor, got {type(kernel).__name__}")
    channels, taps = y0.shape[1], kernel.shape[-1] if kernel.dim() else 0
    if kernel.shape != (channels, channels, taps, taps) or taps % 2 == 0:
        raise ValueError(f"kernel must be ({channels}, {channels}, K, K) with K odd, got shape {tuple(kernel.shape)}")
    _check_like("kernel", kernel, y0)
    z0 = torch.zeros_like(y0) if z0 is None else z0
    stiffness = _over_sheet("stiffness", stiffness, y0)
    damping = _over_sheet("damping", damping, y0)
    return y0, z0, kernel, stiffness, damping, drive


def check_sheets(y0, z0, drive, steps, channels=None):
    """Refuse states and an input that do not fit each other, or so many channels."""
    if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
        raise ValueError(f"steps must be a positive integer, got {steps!r}")
    if not isinstance(y0, torch.Tensor):
        raise TypeError(f"y0 must be a tensor, got {type(y0).__name__}")
    if y0.dim() != 4:
        raise ValueError(f"y0 must have 4 dimensions, got shape {tuple(y0.shape)}")
    if y0.dtype not in (torch.float32, torch.float64):
        raise ValueError(f"y0 must be float32 or float64, got {y0.dtype}")
    if 0 in y0.shape[1:]:
        raise ValueError(f"y0 must have channels, rows and columns, got shape {tuple(y0.shape)}")
    if channels is not None and y0.shape[1] != channels:
        raise ValueError(f"y0 must be (B, {channels}, H, W), got shape {tuple(y0.shape)}")
    for name, tensor, shape in (("z0", z0, y0.shape), ("input", drive, (steps, *y0.shape))):
        if tensor is None:
            continue
        if not isinstance(tensor, torch.Tensor):
            raise TypeError(f"{name} must be a tensor, got {type(tensor).__name__}")
        if tensor.shape != shape:
            raise ValueError(f"{name} must have shape {tuple(shape)}, got {tuple(tensor.shape)}")
        _check_like(name, tensor, y0)


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
    _check_like(name, value, y0)
    try:
        return value.expand(y0.shape)
    except RuntimeError:
        wanted = f"a number, ({y0.shape[1]},), or broadcast to {tuple(y0.shape)}"
        raise ValueError(f"{name} must be {wanted}, got shape {tuple(value.shape)}") from None


def _constant_rates(rates, y0, boundary, nonlinearity):
    """ω and α (C,), which must be the same in all places."""
    if nonlinearity != "identity" or boundary != "periodic":
        raise ValueError(
            "parallel=True needs nonlinearity='identity' and boundary='periodic', "
            f"got {nonlinearity!r} and {boundary!r}"
        )
    found = []
    for name, value in zip(("stiffness", "damping"), rates, strict=True):
        rate = value if isinstance(value, torch.Tensor) else y0.new_full((), value)
        if rate.dim() > 1:
            if any(size != 1 for axis, size in enumerate(rate.shape[::-1]) if axis != 2):
                raise ValueError(
                    f"parallel=True needs a {name} that is the same in all places and samples, a number or "
                    f"({y0.shape[1]},), got shape {tuple(rate.shape)}"
                )
            rate = rate.flatten()
        found.append(rate.expand(y0.shape[1]))
    return found


def _in_parallel(y0, z0, kernel, stiffness, damping, drive, steps, dt, scheme, readout, return_sequence):
    pull = torch.diag(stiffness.double()) - linear.symbol(kernel.double(), *y0.shape[2:])
    matrix, entry = linear.step_of(pull, damping.double(), dt, scheme)
    return linear.scan(y0, z0, matrix, entry, drive, steps, readout, return_sequence)


def check_readout(readout, y0, steps):
    """Return the matrix of a linear readout, or None."""
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


def _choose(backend, y0, kernel, steps):
    """The backend to run: the requested one if it can, or the fused one of the device."""
    taps, fused = int(kernel.shape[-1]), {"cpu": "cpu", "cuda": "triton", "meta": "cpu"}.get(y0.device.type)
    if backend == "auto":
        if fused is None or transformed():
            return "reference"
        compiling = torch.compiler.is_compiling()  # a compiled graph must not depend on sizes
        if fused == "cpu" and not compiling and steps <= _FEW_STEPS and y0.numel() * kernel[0].numel() <= _FEW_PRODUCTS:
            return "reference"
    if backend == "reference":
        return backend
    chosen = fused if backend == "auto" else backend
    obstacle = _obstacle(chosen, y0.device.type, taps)
    if obstacle is None:
        return chosen
    if backend != "auto":
        raise ValueError(f"backend {backend!r} cannot run here: {obstacle}")
    say_once(f"sheet_scan: backend {chosen} cannot run here ({obstacle}); running the reference instead")
    return "reference"


@constant
def _obstacle(backend, device, taps):
    """Why a fused backend cannot run, or None."""
    if backend == "cpu" and device not in ("cpu", "meta"):
        return f"it takes tensors on the CPU; y0 is on {device}"
    if transformed():
        return "torch.func and forward-mode differentiation need the reference"
    try:
        module = _module(backend)
    except ImportError as error:
        return str(error)
    return module.refusal(device, taps) if backend == "triton" else None


def _module(backend):
    """The functions of a backend, loaded when first used: the compilers of Numba and Triton take a second to import."""
    if backend == "cpu":
        from wavefield_torch.recurrence.sheet import cpu

        return cpu
    from wavefield_torch.recurrence.triton import sheet_backend

    return sheet_backend


# ---------------------------------------------------------------------------------------------- the operator


class Problem(NamedTuple):
    """The tensors of a scan, and its options."""

    y0: Tensor
    z0: Tensor
    kernel: Tensor
    stiffness: Tensor
    damping: Tensor
    drive: Tensor | None  # (T, B, C, H, W)
    weights: Tensor | None  # (F, T)
    steps: int
    dt: float
    boundary: str
    nonlinearity: str
    scheme: str
    largest: bool  # whether the largest value is read out

    def detached(self):
        """The same without history."""
        return Problem(*(t.detach() if isinstance(t, torch.Tensor) else t for t in self))


def _problem(y0, z0, kernel, stiffness, damping, drive, weights, *options):
    return Problem(
        y0, z0, kernel, stiffness, damping, *(t if t.dim() > 1 else None for t in (drive, weights)), *options
    )


def _kept_every(every, steps):
    """How often a state is kept: as requested, or so that segments and states kept take about as much memory."""
    return min(2 * math.isqrt(steps), steps) if every < 0 else min(every, steps)


def _kept_states(every, steps, largest):
    """Number of (B, C, H, W) in `saved`."""
    every = _kept_every(every, steps)
    return 2 * -(-steps // every) + largest if every > 0 else 0


def _forward(
    y0, z0, kernel, stiffness, damping, drive, weights, steps, dt, boundary, nonlinearity, scheme, largest,
    return_sequence, checkpoint_every, backend, fallback,
):  # fmt: skip
    """(output, y, z, saved) of a fused backend."""
    problem = _problem(
        y0, z0, kernel, stiffness, damping, drive, weights, steps, dt, boundary, nonlinearity, scheme, largest
    )
    return _module(backend).forward(problem, return_sequence, _kept_every(checkpoint_every, steps))


def _shapes(
    y0, z0, kernel, stiffness, damping, drive, weights, steps, dt, boundary, nonlinearity, scheme, largest,
    return_sequence, checkpoint_every, backend, fallback,
):  # fmt: skip
    output = (0,)
    if weights.dim() > 1:
        output = (weights.shape[0], *y0.shape)
    elif return_sequence or largest:
        output = (steps, *y0.shape) if return_sequence else y0.shape
    saved = (_kept_states(checkpoint_every, steps, largest), *y0.shape)
    return tuple(y0.new_empty(shape) for shape in (output, y0.shape, y0.shape, saved))


def _backward(
    grads, saved, y0, z0, kernel, stiffness, damping, drive, weights, steps, dt, boundary, nonlinearity, scheme,
    largest, return_sequence, checkpoint_every, backend, fallback, needs,
):  # fmt: skip
    """Gradients of the tensors; None where not needed."""
    problem = _problem(
        y0, z0, kernel, stiffness, damping, drive, weights, steps, dt, boundary, nonlinearity, scheme, largest
    )
    module = _module(backend)
    every = _kept_every(checkpoint_every or -1, steps)
    if checkpoint_every == 0:
        *_, saved = module.forward(problem, False, every)
    grad_output = grads[0] if return_sequence or largest or problem.weights is not None else None
    found = module.backward(grad_output, *grads[1:], saved, problem, return_sequence, every, needs)
    return [gradient if need else None for gradient, need in zip(found, needs, strict=True)]


def _plain(
    y0, z0, kernel, stiffness, damping, drive, weights, steps, dt, boundary, nonlinearity, scheme, largest,
    return_sequence, checkpoint_every, backend, fallback,
):  # fmt: skip
    """(output, y, z) of the reference."""
    readout = weights if weights.dim() > 1 else "max" if largest else None
    output, y, z = reference.scan(
        y0, z0, kernel, stiffness, damping, drive if drive.dim() > 1 else None, steps, dt, boundary, nonlinearity,
        scheme, readout, return_sequence,
    )  # fmt: skip
    return y0.new_empty(0) if output is None else output, y, z


register(
    "sheet_scan",
    "Tensor y0, Tensor z0, Tensor kernel, Tensor stiffness, Tensor damping, Tensor drive, Tensor weights",
    "int steps, float dt, str boundary, str nonlinearity, str scheme, bool largest, bool return_sequence, "
    "int checkpoint_every, str backend, bool fallback",
    3,
    devices=("cpu", "cuda"),
    forward=_forward,
    shapes=_shapes,
    backward=_backward,
    plain=_plain,
    called="sheet_scan",
)
