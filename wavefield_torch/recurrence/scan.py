"""`wave_scan`: the wave recurrence over a whole sequence as one differentiable operator.

A backend is a module with three functions on tensors that were checked here:

    forward(x, encoder, kernel, bias, h0, nonlinearity, return_sequence, checkpoint_every) -> (h, saved)
    backward(grad, h, saved, x, encoder, kernel, bias, h0, nonlinearity, return_sequence, checkpoint_every, needs)
        -> gradients of (x, encoder, kernel, bias, h0), None where `needs` is false
    saved_shape(x, encoder, kernel, return_sequence, checkpoint_every) -> shape of `saved`

`saved` is whatever its backward wants to find again (dtype of x; the whole sequence of states is there as `h` when it
was returned). `checkpoint_every` is 1 to keep every state, k to keep every k-th; `forward` alone also takes 0, to keep
nothing: should a gradient be asked for after all, it is run again.
"""

import functools
import logging
import math

import torch
from torch.autograd import forward_ad

from wavefield_torch.recurrence import parallel, reference

logger = logging.getLogger(__name__)

BOUNDARIES = ("periodic", "open")
BACKENDS = ("auto", "reference", "cpu", "triton", "triton-tf32x3", "triton-tf32")
MEMORY_BUDGET = {"cpu": 2e9, "cuda": 8e9}  # bytes of stored states above which segments are recomputed
_AUTO = -1  # as `checkpoint_every` of the operator: by the memory budget


def wave_scan(
    x,
    encoder,
    kernel,
    bias,
    h0=None,
    *,
    boundary="periodic",
    boundary_row=None,
    nonlinearity="relu",
    return_sequence=True,
    checkpoint_every=None,
    parallel=False,
    backend="auto",
):
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
        if they fit `MEMORY_BUDGET`, else every ⌈√T⌉-th. Without effect where the sequence is returned: it is the store.
    parallel : bool
        With the identity nonlinearity only: Fourier transform over positions and an associative scan over time, of
        depth O(log T).
    backend : {"auto", "reference", "cpu", "triton", "triton-tf32x3", "triton-tf32"}
        `reference` is plain PyTorch, on any device and differentiable any number of times; `cpu` and `triton` are
        fused over time and differentiable once, in reverse. `auto` takes the fused one of the device where it applies,
        and the reference inside `torch.func` transforms. The products of `triton` are IEEE float32; those of
        `triton-tf32x3` are nearly (three products on tensor cores), those of `triton-tf32` have 10 bits, with which a
        shift drifts over many steps.

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
    x, encoder, kernel, bias, h0, boundary_row = in_full_precision(x, encoder, kernel, bias, h0, boundary_row)
    bias, h0 = checked(x, encoder, kernel, bias, h0, boundary, boundary_row, nonlinearity)
    if parallel:
        return _parallel_scan(x, encoder, kernel, bias, h0, boundary, nonlinearity, return_sequence)
    backend = choose(backend, x, kernel, boundary)
    if backend == "reference":
        with torch.autocast(x.device.type, enabled=False):
            return reference.scan(x, encoder, kernel, bias, h0, nonlinearity, return_sequence, boundary, boundary_row)
    inputs = (x, encoder, kernel, bias, h0)
    every = 0 if return_sequence else checkpoints(inputs, checkpoint_every)
    return torch.ops.wavefield.scan(*inputs, nonlinearity, return_sequence, every, backend)[0]


# ---------------------------------------------------------------------------------------------- arguments


def in_full_precision(*tensors):
    """Under autocast, everything in float32: a state rounded to half precision drifts over a thousand steps."""
    device = tensors[0].device.type if isinstance(tensors[0], torch.Tensor) else "cpu"
    if not torch.is_autocast_enabled(device):
        return tensors
    return tuple(t.float() if isinstance(t, torch.Tensor) and t.dtype != torch.float64 else t for t in tensors)


def checked(x, encoder, kernel, bias, h0, boundary, boundary_row, nonlinearity):
    """Bias and initial state in full shape, after every argument has been held against the others."""
    for name, tensor in (("x", x), ("encoder", encoder), ("kernel", kernel)):
        if not isinstance(tensor, torch.Tensor):
            raise TypeError(f"{name} must be a tensor; got {type(tensor).__name__}")
        if tensor.dim() != 3:
            raise ValueError(f"{name} must have 3 dimensions; got shape {tuple(tensor.shape)}")
    if x.dtype not in (torch.float32, torch.float64):
        raise ValueError(f"x must be float32 or float64 (half precision through autocast); got {x.dtype}")
    steps, batch, inputs = x.shape
    channels, size = encoder.shape[:2]
    if steps == 0:
        raise ValueError(f"x must hold at least one step; got shape {tuple(x.shape)}")
    if channels == 0 or size == 0:
        raise ValueError(f"encoder must have channels and positions; got shape {tuple(encoder.shape)}")
    if encoder.shape[2] != inputs:
        raise ValueError(f"encoder must be (C, N, {inputs}) to take x {tuple(x.shape)}; got {tuple(encoder.shape)}")
    if kernel.shape[:2] != (channels, channels) or kernel.shape[2] % 2 == 0:
        raise ValueError(f"kernel must be ({channels}, {channels}, odd); got shape {tuple(kernel.shape)}")
    if nonlinearity not in reference.NONLINEARITIES:
        raise ValueError(f"nonlinearity must be one of {list(reference.NONLINEARITIES)}; got {nonlinearity!r}")
    if boundary not in BOUNDARIES:
        raise ValueError(f"boundary must be one of {list(BOUNDARIES)}; got {boundary!r}")
    if boundary_row is not None and boundary != "open":
        raise ValueError("boundary_row drives the end of an open line; it needs boundary='open'")
    if bias is None:
        bias = x.new_zeros(channels, size)
    elif tuple(bias.shape) == (channels,):
        bias = bias[:, None].expand(channels, size)
    if h0 is None:
        h0 = x.new_zeros(batch, channels, size)
    expected = [
        ("bias", bias, (channels, size)),
        ("h0", h0, (batch, channels, size)),
        ("boundary_row", boundary_row, (channels, channels, size)),
    ]
    for name, tensor, shape in expected:
        if tensor is not None and tuple(tensor.shape) != shape:
            raise ValueError(f"{name} must have shape {shape}; got {tuple(tensor.shape)}")
    for name, tensor in (
        ("encoder", encoder),
        ("kernel", kernel),
        ("bias", bias),
        ("h0", h0),
        ("boundary_row", boundary_row),
    ):
        if tensor is not None and (tensor.dtype != x.dtype or tensor.device != x.device):
            raise ValueError(f"{name} must be {x.dtype} on {x.device} like x; got {tensor.dtype} on {tensor.device}")
    return bias, h0


def _constant(function):
    """Have `torch.compile` call the function and keep its answer, instead of tracing it."""
    function._dynamo_marked_constant = (
        True  # torch.compiler.assume_constant_result would import the compiler and Triton
    )
    return function


def choose(backend, x, kernel, boundary):
    """The backend to run: the one asked for if it can, or the fused one of the device."""
    if backend not in BACKENDS:
        raise ValueError(f"backend must be one of {list(BACKENDS)}; got {backend!r}")
    if backend not in ("auto", "reference") and boundary != "periodic":
        raise ValueError(f"backend {backend!r} runs rings only; use backend='reference' with boundary={boundary!r}")
    channels, taps = kernel.shape[1:]
    if backend == "auto":
        if boundary != "periodic" or _transformed():
            return "reference"
        return _fused(x.device.type, int(channels), int(taps))
    if backend != "reference":
        obstacle = _obstacle(backend, x.device.type, int(channels), int(taps))
        if obstacle:
            raise ValueError(f"backend {backend!r} cannot run here: {obstacle}")
    return backend


@_constant
def _transformed():
    """Whether `torch.func` or forward-mode differentiation is at work, which the fused operator does not know."""
    return torch._C._functorch.peek_interpreter_stack() is not None or forward_ad._current_level >= 0


@_constant
def _fused(device, channels, taps):
    """The fused backend of a device, or the reference where it cannot run, which is said once."""
    backend = {"cpu": "cpu", "cuda": "triton"}.get(device, "reference")
    obstacle = backend != "reference" and _obstacle(backend, device, channels, taps)
    if obstacle:
        _say_once(f"wave_scan: backend {backend} cannot run here ({obstacle}); running the reference instead")
        backend = "reference"
    logger.debug("wave_scan: backend %s for %d channels and %d taps on %s", backend, channels, taps, device)
    return backend


@_constant
def _obstacle(backend, device, channels, taps):
    """Why a fused backend cannot run, or None."""
    if backend == "cpu" and device != "cpu":
        return f"it takes tensors on the CPU; x is on {device}"
    if _transformed():
        return "torch.func and forward-mode differentiation need the reference"
    try:
        module = _module(backend)
    except ImportError as error:
        return str(error)
    return module.refusal(device, channels, taps) if backend.startswith("triton") else None


@functools.cache
def _say_once(text):
    logger.warning(text)


def _module(backend):
    """The module of a backend; "triton-tf32" is "triton" with products of that precision."""
    name, _, precision = backend.partition("-")
    module = _LOADERS[name]()
    return module.Backend(precision) if precision else module


def _load_cpu():
    from wavefield_torch.recurrence.cpu import backend

    return backend


def _load_triton():
    from wavefield_torch.recurrence.triton import backend

    return backend


# Loaded when first used: Numba's and Triton's compilers take a second to import.
_LOADERS = {"cpu": _load_cpu, "triton": _load_triton}


def checkpoints(tensors, every):
    """What the operator is told: nothing to keep where no gradient is wanted, else as asked, `_AUTO` by default."""
    if every is not None and (isinstance(every, bool) or not isinstance(every, int) or every < 1):
        raise ValueError(f"checkpoint_every must be a positive integer or None; got {every!r}")
    if not (torch.is_grad_enabled() and any(t.requires_grad for t in tensors)):
        return 0
    return _AUTO if every is None else every


def by_budget(every, x, h0):
    """How often a state is kept: as asked, or always if that fits the memory budget, else every ⌈√T⌉-th."""
    if every != _AUTO:
        return every
    stored = (len(x) + 1) * h0.numel() * x.element_size()
    return 1 if stored <= MEMORY_BUDGET[x.device.type] else math.isqrt(len(x) - 1) + 1


def as_kept(every, saved, shape_of, x):
    """The same afterwards, told from what was kept; every ⌈√T⌉-th if nothing was."""
    if every > 0:
        return every
    return 1 if every == _AUTO and tuple(saved.shape) == tuple(shape_of(1)) else math.isqrt(len(x) - 1) + 1


# ---------------------------------------------------------------------------------------------- the operator


# Defined and implemented one by one: `torch.library.custom_op` would import the compiler at the first call (150 MB).
_INPUTS = "Tensor x, Tensor encoder, Tensor kernel, Tensor bias, Tensor h0"
_OPTIONS = "str nonlinearity, bool return_sequence, int checkpoint_every"
torch.library.define("wavefield::scan", f"({_INPUTS}, {_OPTIONS}, str backend) -> (Tensor, Tensor)")
torch.library.define(
    "wavefield::scan_backward",
    f"(Tensor grad, Tensor h, Tensor saved, {_INPUTS}, {_OPTIONS}, bool[] needs, str backend) -> Tensor[]",
)


@torch.library.impl("wavefield::scan", ("cpu", "cuda"))
def _scan(x, encoder, kernel, bias, h0, nonlinearity, return_sequence, checkpoint_every, backend):
    """(h, saved) of a fused backend."""
    every = by_budget(checkpoint_every, x, h0)
    return _module(backend).forward(x, encoder, kernel, bias, h0, nonlinearity, return_sequence, every)


@torch.library.register_fake("wavefield::scan")
def _scan_shapes(x, encoder, kernel, bias, h0, nonlinearity, return_sequence, checkpoint_every, backend):
    shape = (x.shape[0], *h0.shape) if return_sequence else h0.shape
    saved = _module(backend).saved_shape
    if return_sequence or all(isinstance(n, int) for n in (*x.shape, *encoder.shape, *kernel.shape)):
        kept = saved(x, encoder, kernel, return_sequence, by_budget(checkpoint_every, x, h0))
    else:  # for symbolic shapes: as long as it turns out to be
        kept = (torch.library.get_ctx().new_dynamic_size(), *(h0.shape if backend != "cpu" else ()))
    return x.new_empty(shape), x.new_empty(kept)


@torch.library.impl("wavefield::scan_backward", ("cpu", "cuda"))
def _scan_backward(
    grad, h, saved, x, encoder, kernel, bias, h0, nonlinearity, return_sequence, checkpoint_every, needs, backend
):
    """Gradients of x, encoder, kernel, bias, h0; empty where not needed."""
    inputs = (x, encoder, kernel, bias, h0)
    module = _module(backend)
    every = as_kept(checkpoint_every, saved, lambda k: module.saved_shape(x, encoder, kernel, return_sequence, k), x)
    if checkpoint_every == 0 and not return_sequence:
        _, saved = module.forward(*inputs, nonlinearity, False, every)
    gradients = module.backward(grad, h, saved, *inputs, nonlinearity, return_sequence, every, needs)
    return [x.new_empty(0) if g is None else g for g in gradients]


@torch.library.register_fake("wavefield::scan_backward")
def _scan_backward_shapes(
    grad, h, saved, x, encoder, kernel, bias, h0, nonlinearity, return_sequence, checkpoint_every, needs, backend
):
    inputs = (x, encoder, kernel, bias, h0)
    return [x.new_empty(t.shape if need else 0) for t, need in zip(inputs, needs, strict=True)]


def _remember(ctx, inputs, output):
    *tensors, nonlinearity, return_sequence, checkpoint_every, backend = inputs
    h, saved = output
    ctx.set_materialize_grads(False)  # `saved` may be gigabytes: no zeros for a gradient that it never has
    ctx.save_for_backward(h, saved, *tensors)
    ctx.options = nonlinearity, return_sequence, checkpoint_every
    ctx.backend = backend


def _differentiate(ctx, grad, _):
    needs = list(ctx.needs_input_grad[:5])
    gradients = torch.ops.wavefield.scan_backward(grad, *ctx.saved_tensors, *ctx.options, needs, ctx.backend)
    return *(g if need else None for g, need in zip(gradients, needs, strict=True)), None, None, None, None


def once_only(ctx, *_):
    """Refuse to differentiate a fused backward pass again."""
    raise RuntimeError("wave_scan: fused backends are differentiable once; backend='reference' has second derivatives")


torch.library.register_autograd("wavefield::scan", _differentiate, setup_context=_remember)
torch.library.register_autograd("wavefield::scan_backward", once_only)


def _parallel_scan(x, encoder, kernel, bias, h0, boundary, nonlinearity, return_sequence):
    if nonlinearity != "identity" or boundary != "periodic":
        raise ValueError(
            "parallel=True needs nonlinearity='identity' on rings (boundary='periodic'); "
            f"got {nonlinearity!r}, {boundary!r}"
        )
    with torch.autocast(x.device.type, enabled=False):
        return parallel.scan(x, encoder, kernel, bias, h0, return_sequence)
