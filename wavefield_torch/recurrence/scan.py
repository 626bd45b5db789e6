"""`wave_scan`: the wave recurrence over a sequence as one differentiable operator.

A backend is a module with functions on tensors that were checked here; `inputs` are (x, encoder, kernel, bias, h0):

    forward(inputs, lengths, resets, nonlinearity, return_sequence, batch_first, checkpoint_every)
        -> states (T, B, C, N), (B, T, C, N) if batch_first, or empty; the last states (B, C, N); saved
    backward(grad_states, grad_last, saved, inputs, lengths, resets, nonlinearity, batch_first, checkpoint_every, needs)
        -> gradients of the inputs, None where `needs` is false; either of the two given gradients may be None
    saved_shape(x, encoder, kernel, checkpoint_every) -> shape of `saved`

What is returned belongs to the caller, so that `saved`, in which a backend keeps the states its backward pass needs
(dtype of x), shares no memory with it. `checkpoint_every` is 1 to keep every state, k to keep every k-th; `forward`
alone also takes 0, to keep nothing: should a gradient be requested after all, it is run again.
"""

from __future__ import annotations

import contextlib
import logging
import math
import numbers
from functools import partial
from types import SimpleNamespace

import torch
from torch import Tensor
from torch.autograd import forward_ad

from wavefield_torch.recurrence import parallel as parallel_in_time
from wavefield_torch.recurrence import reference
from wavefield_torch.recurrence.registration import register, say_once

logger = logging.getLogger(__name__)

BOUNDARIES = ("periodic", "open")
BACKENDS = ("auto", "reference", "cpu", "triton", "triton-tf32x3", "triton-tf32")
MEMORY_BUDGET = {"cpu": 2e9, "cuda": 8e9}  # bytes of stored states above which segments are recomputed
HALF_PRECISION = (torch.float16, torch.bfloat16)
_FEW_STEPS, _FEW_PRODUCTS = 4, 100_000  # up to so many steps, of so many products each, the reference is run
_AUTO = -1  # as `checkpoint_every` of the operator: by the memory budget


def wave_scan(
    x: Tensor,
    encoder: Tensor,
    kernel: Tensor,
    bias: Tensor | None,
    h0: Tensor | None = None,
    *,
    lengths: Tensor | None = None,
    resets: Tensor | None = None,
    boundary: str = "periodic",
    boundary_row: Tensor | None = None,
    nonlinearity: str = "relu",
    return_sequence: bool = True,
    checkpoint_every: int | None = None,
    parallel: bool = False,
    backend: str = "auto",
    leak: float = 1.0,
    noise: Tensor | None = None,
) -> Tensor:
    """Run the wave recurrence h[t+1] = σ(u ⋆ h[t] + V x[t] + b) over a sequence.

    The state is C rings (channels) of N positions; on a ring ⋆ is circular correlation,

        (u ⋆ h)[o, n] = Σ_{i,k} u[o, i, k] h[i, (n + k − K//2) mod N].

    Parameters
    ----------
    x : Tensor (T, B, I)
        Input sequence. A batch axis made by `expand` is recognised and projected once.
    encoder : Tensor (C, N, I)
        V, from inputs to units.
    kernel : Tensor (C, C, K)
        u, K odd: [0, 0, 1] moves activity one unit to lower positions each step, [1, 0, 0] to higher ones.
    bias : Tensor (C, N) or (C,) or None
        b; one value per channel is spread over its ring.
    h0 : Tensor (B, C, N), optional
        State before the first input; zero unless given.
    lengths : Tensor (B,) of int64, optional
        Steps of each sample, 1 to T; what x holds after them does not matter. The states there are zero, and the last
        state of a sample is that of its own last step.
    resets : Tensor (T, B) of bool, optional
        Where a step starts from zero instead of the state before it.
    boundary : {"periodic", "open"}
        Rings, or lines with nothing beyond their ends (reference backend only).
    boundary_row : Tensor (C, C, N), optional
        With an open boundary, what drives the last unit in place of the kernel: Σ_{i,n} row[o, i, n] h[i, n].
    nonlinearity : {"relu", "tanh", "identity"}
        σ.
    return_sequence : bool
        All states, or only the last (which needs far less memory).
    checkpoint_every : int, optional
        Keep every k-th state for the backward pass and compute the others again; 1 keeps all. By default all are kept
        if they fit `MEMORY_BUDGET`, else every ⌈√T⌉-th. What is returned is not counted: it is the caller's.
    parallel : bool
        With the identity nonlinearity only: Fourier transform over positions and an associative scan over time, of
        depth O(log T).
    backend : {"auto", "reference", "cpu", "triton", "triton-tf32x3", "triton-tf32"}
        `reference` is plain PyTorch, on any device and differentiable any number of times; `cpu` and `triton` are
        fused over time and differentiable once, in reverse. `auto` takes the fused one of the device where it applies,
        and the reference inside `torch.func` transforms, for second derivatives, for half precision, and for so little
        work (one step of a small network) that preparing the fused one costs more. The products of `triton` are IEEE
        float32; those of `triton-tf32x3` are nearly (three products on tensor cores), those of `triton-tf32` have 10
        bits, with which a shift drifts over many steps.
    leak : float
        α, above 0 and at most 1: h[t+1] = (1 − α) h[t] + α σ(…). Below 1 the reference runs.
    noise : Tensor (T, B, C, N), optional
        ξ, added to what σ is applied to: σ(u ⋆ h[t] + V x[t] + b + ξ[t]). With it the reference runs.

    Returns
    -------
    Tensor (T, B, C, N), or (B, C, N) if not `return_sequence`
        h[1] to h[T]: the entry at t is the state after x[t] has arrived.

    Raises
    ------
    ValueError
        For a shape, dtype or option that does not fit; the message names the argument and what it takes.
    TypeError
        For an argument that is not a tensor.

    Notes
    -----
    Model: Keller, Muller, Sejnowski and Welling, "Traveling Waves Encode the Recent Past and Enhance Sequence
    Learning", ICLR 2024, equation 3. Under autocast everything here is computed in float32.

    Methods that are parallel in time for the other nonlinearities (Newton iterations over the whole sequence) need
    nearly as many iterations as there are steps once such a network is trained, so there are none here.

    Examples
    --------
    >>> import torch
    >>> from wavefield_torch.recurrence.scan import wave_scan
    >>> shift = torch.tensor([[[0.0, 0.0, 1.0]]])
    >>> x = torch.tensor([1.0, 0.0, 0.0]).reshape(3, 1, 1)
    >>> encoder = torch.zeros(1, 5, 1)
    >>> encoder[0, 0] = 1.0
    >>> wave_scan(x, encoder, shift, torch.zeros(1, 5))[:, 0, 0]
    tensor([[1., 0., 0., 0., 0.],
            [0., 0., 0., 0., 1.],
            [0., 0., 0., 1., 0.]])
    """
    states, last = run(
        x,
        encoder,
        kernel,
        bias,
        h0,
        lengths=lengths,
        resets=resets,
        boundary=boundary,
        boundary_row=boundary_row,
        nonlinearity=nonlinearity,
        return_sequence=return_sequence,
        checkpoint_every=checkpoint_every,
        parallel=parallel,
        backend=backend,
        leak=leak,
        noise=noise,
    )
    return last if states is None else states


def run(
    x,
    encoder,
    kernel,
    bias,
    h0=None,
    *,
    lengths=None,
    resets=None,
    boundary="periodic",
    boundary_row=None,
    nonlinearity="relu",
    return_sequence=True,
    batch_first=False,
    checkpoint_every=None,
    parallel=False,
    backend="auto",
    leak=1.0,
    noise=None,
) -> tuple[Tensor | None, Tensor]:
    """Return what `wave_scan` does and the last states too: (states or None, last (B, C, N)).

    With `batch_first` the states are (B, T, C, N); x is (T, B, I) nevertheless. No two results share memory.
    """
    x, encoder, kernel, bias, h0, boundary_row, noise = in_full_precision(
        x, encoder, kernel, bias, h0, boundary_row, noise
    )
    bias, h0 = checked(x, encoder, kernel, bias, h0, boundary, boundary_row, nonlinearity)
    _check_lengths(lengths, resets, x)
    _check_leak_and_noise(leak, noise, x, h0, parallel)
    if to_onnx() and backend in ("auto", "reference") and lengths is None and resets is None and not parallel:
        states, last = reference.scan_as_loop(
            x, encoder, kernel, bias, h0, nonlinearity, boundary, boundary_row, leak, noise
        )
        return (states.transpose(0, 1) if batch_first else states) if return_sequence else None, last
    requested, backend = backend, choose(backend, x, encoder, kernel, boundary, leak != 1 or noise is not None)
    if resets is not None and backend.startswith("triton"):
        if requested != "auto":
            raise ValueError(f"backend {requested!r} has no resets; use backend='reference'")
        say_once("wave_scan: the triton backend has no resets; running the reference instead")
        backend = "reference"
    inputs = (x, encoder, kernel, bias, h0)
    every = checkpoints(inputs, checkpoint_every)
    if parallel or backend == "reference":
        with without_autocast(x):
            if parallel:
                states, last = _run_parallel(inputs, lengths, resets, boundary, nonlinearity, return_sequence)
            else:
                if not torch.compiler.is_compiling() and not transformed():
                    check_range(lengths, len(x))
                states, last = reference.scan(
                    *inputs, nonlinearity, return_sequence, boundary, boundary_row, lengths, resets, leak, noise
                )
        return states.transpose(0, 1) if return_sequence and batch_first else states, last
    fallback = requested == "auto"
    if lengths is None or backend == "cpu":
        states, last, _ = torch.ops.wavefield.scan(
            *inputs, lengths, resets, nonlinearity, return_sequence, batch_first, every, backend, fallback
        )
        return states if return_sequence else None, last
    running = torch.arange(len(x), device=x.device)[:, None] < lengths  # (T, B)
    x = x.where(running[..., None], 0)
    states, _, _ = torch.ops.wavefield.scan(
        x, *inputs[1:], None, resets, nonlinearity, True, False, every, backend, fallback
    )
    last = states[lengths - 1, torch.arange(x.shape[1], device=x.device)]
    if not return_sequence:
        return None, last
    states = states.where(running[..., None, None], 0)
    return states.transpose(0, 1).contiguous() if batch_first else states, last


def one_step(x, encoder, kernel, bias, h0, nonlinearity, backend) -> Tensor | None:
    """The state (B, C, N) after one step on rings of little work, x (B, I); None where `run` must see to it.

    Asks no more than tells that `run` would take the reference: parameters are those of a module, in their shapes.
    """
    (batch, inputs), (channels, size, _) = x.shape, encoder.shape
    products = batch * channels * size * (channels * kernel.shape[2] + inputs)
    if (
        not 0 < products <= _FEW_PRODUCTS
        or backend not in ("auto", "reference")
        or x.dtype not in (torch.float32, torch.float64)
        or x.dtype != encoder.dtype
        or not x.is_cpu
        or torch.is_autocast_enabled("cpu")
        or torch.compiler.is_compiling()
    ):
        return None
    if h0 is None:
        h0 = x.new_zeros(batch, channels, size)
    elif h0.dtype != x.dtype or not h0.is_cpu:
        return None
    return reference.step(x, encoder, kernel, bias, h0, nonlinearity)


# ---------------------------------------------------------------------------------------------- arguments


def in_full_precision(*tensors):
    """Under autocast, everything in float32: a state rounded to half precision drifts over a thousand steps."""
    if not (isinstance(tensors[0], torch.Tensor) and autocast_enabled(tensors[0])):
        return tensors
    return tuple(t.float() if isinstance(t, torch.Tensor) and t.dtype != torch.float64 else t for t in tensors)


def autocast_enabled(x):
    """Whether autocast is on for the device of x, which must know it ("meta" does not)."""
    return torch.amp.is_autocast_available(x.device.type) and torch.is_autocast_enabled(x.device.type)


def without_autocast(x):
    """A context in which nothing is rounded to half precision; entered only where that could happen."""
    return torch.autocast(x.device.type, enabled=False) if autocast_enabled(x) else contextlib.nullcontext()


def checked(x, encoder, kernel, bias, h0, boundary, boundary_row, nonlinearity):
    """Bias and initial state in full shape, after every argument has been checked against the others."""
    for name, tensor in (("x", x), ("encoder", encoder), ("kernel", kernel)):
        if not isinstance(tensor, torch.Tensor):
            raise TypeError(f"{name} must be a tensor, got {type(tensor).__name__}")
        if tensor.dim() != 3:
            raise ValueError(f"{name} must have 3 dimensions, got shape {tuple(tensor.shape)}")
    half = x.dtype in HALF_PRECISION and x.dtype == encoder.dtype
    if x.dtype not in (torch.float32, torch.float64) and not half:
        raise ValueError(f"x must be float32 or float64, or in half precision like the parameters, got {x.dtype}")
    steps, batch, inputs = x.shape
    channels, size = encoder.shape[:2]
    if steps == 0:
        raise ValueError(f"x must hold at least one step, got shape {tuple(x.shape)}")
    if channels == 0 or size == 0:
        raise ValueError(f"encoder must have channels and positions, got shape {tuple(encoder.shape)}")
    if encoder.shape[2] != inputs:
        raise ValueError(f"encoder must be (C, N, {inputs}) to take x {tuple(x.shape)}, got {tuple(encoder.shape)}")
    if kernel.shape[:2] != (channels, channels) or kernel.shape[2] % 2 == 0:
        raise ValueError(f"kernel must be ({channels}, {channels}, odd), got shape {tuple(kernel.shape)}")
    if nonlinearity not in reference.NONLINEARITIES:
        raise ValueError(f"nonlinearity must be one of {list(reference.NONLINEARITIES)}, got {nonlinearity!r}")
    if boundary not in BOUNDARIES:
        raise ValueError(f"boundary must be one of {list(BOUNDARIES)}, got {boundary!r}")
    if boundary_row is not None and boundary != "open":
        raise ValueError("boundary_row drives the end of an open line; it needs boundary='open'")
    if bias is None:
        bias = x.new_zeros(channels, size)
    elif tuple(bias.shape) == (channels,):
        bias = bias[:, None].expand(channels, size)
    if h0 is None:
        h0 = x.new_zeros(batch, channels, size)
    for name, tensor, shape in (
        ("encoder", encoder, encoder.shape),
        ("kernel", kernel, kernel.shape),
        ("bias", bias, (channels, size)),
        ("h0", h0, (batch, channels, size)),
        ("boundary_row", boundary_row, (channels, channels, size)),
    ):
        if tensor is None:
            continue
        if tensor.shape != shape:
            raise ValueError(f"{name} must have shape {shape}, got {tuple(tensor.shape)}")
        if tensor.dtype != x.dtype or tensor.device != x.device:
            raise ValueError(f"{name} must be {x.dtype} on {x.device} like x, got {tensor.dtype} on {tensor.device}")
    return bias, h0


def _check_lengths(lengths, resets, x):
    steps, batch = x.shape[:2]
    for name, tensor, dtype, shape in (
        ("lengths", lengths, torch.int64, (batch,)),
        ("resets", resets, torch.bool, (steps, batch)),
    ):
        if tensor is None:
            continue
        if not isinstance(tensor, torch.Tensor):
            raise TypeError(f"{name} must be a tensor, got {type(tensor).__name__}")
        if tensor.dtype != dtype or tuple(tensor.shape) != shape or tensor.device != x.device:
            raise ValueError(
                f"{name} must be {dtype} of shape {shape} on {x.device} like x; "
                f"got {tensor.dtype} of {tuple(tensor.shape)} on {tensor.device}"
            )


def check_leak(leak):
    """Refuse a leak α that is no share of a step."""
    if isinstance(leak, bool) or not isinstance(leak, numbers.Real) or not 0 < leak <= 1:
        raise ValueError(f"leak must be above 0 and at most 1, got {leak!r}")


def _check_leak_and_noise(leak, noise, x, h0, parallel):
    check_leak(leak)
    if noise is not None:
        expected = (x.shape[0], *h0.shape)
        if not isinstance(noise, torch.Tensor):
            raise TypeError(f"noise must be a tensor, got {type(noise).__name__}")
        if noise.shape != expected or noise.dtype != x.dtype or noise.device != x.device:
            raise ValueError(
                f"noise must be {x.dtype} of shape {tuple(expected)} on {x.device} like x; "
                f"got {noise.dtype} of {tuple(noise.shape)} on {noise.device}"
            )
    if parallel and (leak != 1 or noise is not None):
        raise ValueError("parallel=True has neither leak nor noise")


def check_range(lengths, steps):
    """Refuse lengths that x does not have."""
    if lengths is not None and lengths.numel() and not (lengths.min() >= 1 and lengths.max() <= steps):
        raise ValueError(f"lengths must lie between 1 and {steps}, got {lengths.min()} to {lengths.max()}")


def constant(function):
    """Have `torch.compile` call the function and keep its answer, instead of tracing it."""
    # torch.compiler.assume_constant_result would import the compiler and Triton
    function._dynamo_marked_constant = True
    return function


def choose(backend, x, encoder, kernel, boundary, leaky_or_noisy=False):
    """The backend to run: the requested one if it can, or the fused one of the device."""
    if backend not in BACKENDS:
        raise ValueError(f"backend must be one of {list(BACKENDS)}, got {backend!r}")
    if backend not in ("auto", "reference") and boundary != "periodic":
        raise ValueError(f"backend {backend!r} runs rings only; use backend='reference' with boundary={boundary!r}")
    if leaky_or_noisy:
        if backend not in ("auto", "reference"):
            raise ValueError(f"backend {backend!r} has neither leak nor noise; use backend='reference'")
        return "reference"
    channels, taps = kernel.shape[1:]
    if backend == "auto":
        if boundary != "periodic" or transformed() or _is_little(x, encoder, taps):
            return "reference"
        if x.dtype in HALF_PRECISION:
            say_once(f"wave_scan: fused backends compute in float32 and float64; running the reference in {x.dtype}")
            return "reference"
        return _fused(x.device.type, int(channels), int(taps))
    if backend != "reference" and x.dtype in HALF_PRECISION:
        raise ValueError(f"backend {backend!r} computes in float32 and float64; use backend='reference' for {x.dtype}")
    if backend != "reference":
        obstacle = _obstacle(backend, x.device.type, int(channels), int(taps))
        if obstacle:
            raise ValueError(f"backend {backend!r} cannot run here: {obstacle}")
    return backend


def to_onnx():
    """Whether an ONNX program is being made, which knows no operators of ours."""
    return torch.compiler.is_compiling() and torch.onnx.is_in_onnx_export()


def _is_little(x, encoder, taps):
    """Whether running the reference costs less than preparing the CPU kernels (some 200 µs, as long as a few steps)."""
    if x.device.type != "cpu" or torch.compiler.is_compiling():  # a compiled graph must not depend on the length
        return False
    steps, batch, inputs = x.shape
    channels, size = encoder.shape[:2]
    products = batch * channels * size * (channels * taps + inputs)
    return steps <= _FEW_STEPS and products <= _FEW_PRODUCTS


@constant
def transformed():
    """Whether `torch.func` or forward-mode differentiation is at work, which the fused operator does not know."""
    return torch._C._functorch.peek_interpreter_stack() is not None or forward_ad._current_level >= 0


@constant
def _fused(device, channels, taps):
    """The fused backend of a device, or the reference where it cannot run, which is said once."""
    backend = {"cpu": "cpu", "cuda": "triton", "meta": "cpu"}.get(device, "reference")
    obstacle = backend != "reference" and _obstacle(backend, device, channels, taps)
    if obstacle:
        say_once(f"wave_scan: backend {backend} cannot run here ({obstacle}); running the reference instead")
        backend = "reference"
    logger.debug("wave_scan: backend %s for %d channels and %d taps on %s", backend, channels, taps, device)
    return backend


@constant
def _obstacle(backend, device, channels, taps):
    """Why a fused backend cannot run, or None."""
    if backend == "cpu" and device not in ("cpu", "meta"):
        return f"it takes tensors on the CPU; x is on {device}"
    if transformed():
        return "torch.func and forward-mode differentiation need the reference"
    try:
        module = _module(backend)
    except ImportError as error:
        return str(error)
    return module.refusal(device, channels, taps) if backend.startswith("triton") else None


def _module(backend):
    """The functions of a backend; "triton-tf32" is "triton" with products of that precision."""
    name, _, precision = backend.partition("-")
    module = _LOADERS[name]()
    if not precision:
        return module
    forward, backward = (partial(f, precision=precision) for f in (module.forward, module.backward))
    shape, refusal = module.saved_shape, module.refusal
    return SimpleNamespace(precision=precision, forward=forward, backward=backward, saved_shape=shape, refusal=refusal)


def _load_cpu():
    from wavefield_torch.recurrence.cpu import backend

    return backend


def _load_triton():
    import wavefield_torch.recurrence.triton.backend as backend

    return backend


# Loaded when first used: Numba's and Triton's compilers take a second to import.
_LOADERS = {"cpu": _load_cpu, "triton": _load_triton}


def checkpoints(tensors, every):
    """`checkpoint_every` of the operator: 0 where no gradient is wanted, else as requested, `_AUTO` by default."""
    if every is not None and (isinstance(every, bool) or not isinstance(every, int) or every < 1):
        raise ValueError(f"checkpoint_every must be a positive integer or None, got {every!r}")
    if not (torch.is_grad_enabled() and any(t.requires_grad for t in tensors)):
        return 0
    return _AUTO if every is None else every


def by_budget(every, x, h0):
    """How often a state is kept: as requested, or always if that fits the memory budget, else every ⌈√T⌉-th."""
    if every != _AUTO:
        return every
    stored = (x.shape[0] + 1) * h0.numel() * x.element_size()
    return 1 if stored <= MEMORY_BUDGET.get(x.device.type, math.inf) else math.isqrt(x.shape[0] - 1) + 1


def as_kept(every, saved, shape_of, x):
    """The same in the backward pass, from the shape of what was kept; every ⌈√T⌉-th if nothing was."""
    if every > 0:
        return every
    return 1 if every == _AUTO and tuple(saved.shape) == tuple(shape_of(1)) else math.isqrt(len(x) - 1) + 1


def shape_of_saved(shape, x, tensors, rest=()):
    """The shape of what is kept: `shape()`, or where an export may not depend on it any length, then `rest`.

    Layouts differ between small and large batches: `torch.compile` may depend on that, and compiles once for each.
    """
    if all(isinstance(n, int) for t in (x, *tensors) for n in t.shape):
        return shape()
    try:
        return torch.library.get_ctx().new_dynamic_size(), *rest
    except RuntimeError:  # this tracer has no sizes that depend on data
        return shape()


# ---------------------------------------------------------------------------------------------- the operator


def _forward(
    x, encoder, kernel, bias, h0, lengths, resets,
    nonlinearity, return_sequence, batch_first, checkpoint_every, backend, fallback,
):  # fmt: skip
    """(states, last, saved) of a fused backend."""
    check_range(lengths, len(x))
    inputs, every = (x, encoder, kernel, bias, h0), by_budget(checkpoint_every, x, h0)
    return _module(backend).forward(inputs, lengths, resets, nonlinearity, return_sequence, batch_first, every)


def _shapes(
    x, encoder, kernel, bias, h0, lengths, resets,
    nonlinearity, return_sequence, batch_first, checkpoint_every, backend, fallback,
):  # fmt: skip
    every, (steps, batch) = by_budget(checkpoint_every, x, h0), x.shape[:2]
    rest = () if backend == "cpu" else h0.shape
    saved = shape_of_saved(lambda: _module(backend).saved_shape(x, encoder, kernel, every), x, (encoder, kernel), rest)
    states = (*((batch, steps) if batch_first else (steps, batch)), *h0.shape[1:]) if return_sequence else (0,)
    return x.new_empty(states), x.new_empty(h0.shape), x.new_empty(saved)


def _backward(
    grads, saved, x, encoder, kernel, bias, h0, lengths, resets,
    nonlinearity, return_sequence, batch_first, checkpoint_every, backend, fallback, needs,
):  # fmt: skip
    """Gradients of x, encoder, kernel, bias, h0; None where not needed."""
    inputs, module = (x, encoder, kernel, bias, h0), _module(backend)
    every = as_kept(checkpoint_every, saved, lambda k: module.saved_shape(x, encoder, kernel, k), x)
    if checkpoint_every == 0:
        *_, saved = module.forward(inputs, lengths, resets, nonlinearity, False, False, every)
    grads = grads if return_sequence else (None, grads[1])
    return module.backward(*grads, saved, inputs, lengths, resets, nonlinearity, batch_first, every, needs)


def _plain(
    x, encoder, kernel, bias, h0, lengths, resets,
    nonlinearity, return_sequence, batch_first, checkpoint_every, backend, fallback,
):  # fmt: skip
    """(states or nothing, last) of the reference."""
    states, last = reference.scan(
        x, encoder, kernel, bias, h0, nonlinearity, return_sequence, lengths=lengths, resets=resets
    )
    return states.transpose(0, 1) if return_sequence and batch_first else states, last


register(
    "scan",
    "Tensor x, Tensor encoder, Tensor kernel, Tensor bias, Tensor h0",
    "Tensor? lengths, Tensor? resets, str nonlinearity, bool return_sequence, bool batch_first, int checkpoint_every, "
    "str backend, bool fallback",
    2,
    devices=("cpu", "cuda"),
    forward=_forward,
    shapes=_shapes,
    backward=_backward,
    plain=_plain,
)


def _run_parallel(inputs, lengths, resets, boundary, nonlinearity, return_sequence):
    if nonlinearity != "identity" or boundary != "periodic" or lengths is not None or resets is not None:
        raise ValueError(
            "parallel=True needs nonlinearity='identity' on rings (boundary='periodic'), without lengths and resets; "
            f"got {nonlinearity!r}, {boundary!r}"
        )
    h = parallel_in_time.scan(*inputs, return_sequence)
    return (h, h[-1].clone()) if return_sequence else (None, h)
