"""Initial weights of the wave RNN and its control, as published (Keller, Muller, Sejnowski & Welling, ICLR 2024).

Every function returns a new tensor and draws from the `generator` it is given (PyTorch's default one if None). The
paper and its published code differ on the random kernel: the paper writes U(±1/√n), the code leaves the convolution at
PyTorch's default U(±1/√(C·K)); the code is followed here, as the printed results came from it.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

KERNELS = ("shift", "identity", "uniform")
ENCODERS = ("sparse", "gaussian", "uniform")
BIASES = ("clean", "reference", "none")


def initial_kernel(kind: str, channels: int, kernel_size: int = 3, *, generator=None) -> Tensor:
    """Return the recurrent kernel u of a wave RNN.

    Parameters
    ----------
    kind : {"shift", "identity", "uniform"}
        ``shift``, the paper's u-shift, [0, 0, 1] from each channel to itself: the exact wave of speed −1 cell per
        step. ``identity``, [0, 1, 0]: no wave. ``uniform``, U(±1/√(C·K)) everywhere.
    channels, kernel_size : int
        C and K, K odd.

    Returns
    -------
    Tensor, shape (C, C, K)

    Examples
    --------
    >>> initial_kernel("shift", 1, 5).tolist()
    [[[0.0, 0.0, 0.0, 1.0, 0.0]]]
    """
    if kind not in KERNELS:
        raise ValueError(f"operator must be one of {', '.join(KERNELS)} or a WaveOperator, got {kind!r}")
    if kind == "uniform":
        return _uniform((channels, channels, kernel_size), channels * kernel_size, generator)
    if kind == "shift" and kernel_size == 1:
        raise ValueError("operator must be identity or uniform where kernel_size is 1: such a kernel shifts nothing")
    kernel = torch.zeros(channels, channels, kernel_size)
    kernel[range(channels), range(channels), kernel_size // 2 + (kind == "shift")] = 1.0
    return kernel


def initial_recurrence(kind: str, size: int, *, generator=None) -> Tensor:
    """Return the dense recurrent matrix U of an identity RNN, shape (size, size).

    ``identity`` (Le, Jaitly & Hinton 2015), ``shift``, Σ, by which unit n receives from unit n + 1 on a ring, or
    ``uniform``, U(±1/√size).

    Examples
    --------
    >>> initial_recurrence("shift", 3).tolist()
    [[0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]
    """
    if kind not in KERNELS:
        raise ValueError(f"recurrence must be one of {', '.join(KERNELS)}, got {kind!r}")
    if kind == "uniform":
        return _uniform((size, size), size, generator)
    return torch.roll(torch.eye(size), int(kind == "shift"), dims=1)


def initial_encoder(kind: str, channels: int, size: int, inputs: int, *, generator=None) -> Tensor:
    """Return the encoder V, through which inputs enter.

    Parameters
    ----------
    kind : {"sparse", "gaussian", "uniform"}
        ``sparse``, the paper's identity encoder: 1 from every input into the first unit of every ring, else 0; all
        symbols of a one-hot input then drive the ring alike until training makes them distinguishable. ``gaussian``:
        N(0, σ) with σ = 0.001. ``uniform``: U(±1/√I), PyTorch's default.
    channels, size, inputs : int
        C, N and I.

    Returns
    -------
    Tensor, shape (C, N, I)

    Examples
    --------
    >>> initial_encoder("sparse", 1, 3, 2).tolist()
    [[[1.0, 1.0], [0.0, 0.0], [0.0, 0.0]]]
    """
    shape = (channels, size, inputs)
    if kind == "sparse":
        encoder = torch.zeros(shape)
        encoder[:, 0] = 1.0
        return encoder
    if kind == "gaussian":
        return torch.empty(shape).normal_(0.0, 0.001, generator=generator)
    if kind == "uniform":
        return _uniform(shape, inputs, generator)
    raise ValueError(f"encoder must be one of {', '.join(ENCODERS)} or an array (C, N, I), got {kind!r}")


def reference_encoder_bias(encoder: str, shape: tuple[int, ...], inputs: int, *, generator=None) -> Tensor:
    """Return the bias of V in the published code: zero beside the sparse encoder, else PyTorch's U(±1/√I)."""
    return torch.zeros(shape) if encoder == "sparse" else _uniform(shape, inputs, generator)


def reference_kernel_bias(channels: int, kernel_size: int, *, generator=None) -> Tensor:
    """Return the bias of the convolution in the published code, shape (C,): U(±1/√(C·K)), never zeroed there."""
    return _uniform((channels,), channels * kernel_size, generator)


def bias_kind(bias) -> str:
    """Return "clean", "reference" or "none" for a `bias` argument: one of these, or True (clean) or False (none)."""
    if isinstance(bias, bool):
        return "clean" if bias else "none"
    if bias not in BIASES:
        raise ValueError(f"bias must be True, False or one of {', '.join(BIASES)}, got {bias!r}")
    return bias


def _uniform(shape, fan_in, generator):
    bound = 1 / math.sqrt(fan_in) if fan_in else 0.0
    return torch.empty(shape).uniform_(-bound, bound, generator=generator)
