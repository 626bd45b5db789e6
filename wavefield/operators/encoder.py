"""Encoders: where, and how strongly, each input enters the field."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from wavefield.checks import positive_int
from wavefield.operators.operator import WaveOperator
from wavefield.operators.step_matrix import local_taps


def encoder_at(positions: ArrayLike, size: int) -> np.ndarray:
    """Encoder of inputs that share one ring, input i entering at ``positions[i]`` with weight 1.

    Returns
    -------
    ndarray, shape (1, size, inputs)

    Examples
    --------
    >>> encoder_at([0, 3], size=4)[0, :, 1].tolist()
    [0.0, 0.0, 0.0, 1.0]
    """
    size = positive_int(size, "size")
    positions = np.atleast_1d(positions)
    if positions.ndim != 1 or not np.issubdtype(positions.dtype, np.integer):
        raise TypeError(f"positions must be a sequence of integers, got {positions.dtype} of shape {positions.shape}")
    if ((positions < 0) | (positions >= size)).any():
        raise ValueError(f"positions must lie in 0…{size - 1}, got {positions.tolist()}")
    encoder = np.zeros((1, size, positions.size))
    encoder[0, positions, np.arange(positions.size)] = 1.0
    return encoder


def driven_ends(operator: WaveOperator, size: int, ends: Sequence[str] = ("left", "right")) -> np.ndarray:
    """Encoder through which inputs move the ends of a two-way field: the displacement of fixed ends, the slope of free.

        h[−1] = x[t]  (fixed: one cell beyond the left end, where it is zero otherwise),      ∂h/∂x = x[t]  (free)

    and likewise at the right end. The stencil is continued about the moved end, oddly or evenly, so that what it reads
    there is linear in x: an input, to be taken as ``source="force"``.

    Parameters
    ----------
    operator : WaveOperator
        Two-way, with fixed or free ends.
    size : int
    ends : sequence of {"left", "right"}
        Which ends are driven. Input ``ring · len(ends) + i`` drives end i of a ring.

    Returns
    -------
    ndarray, shape (rings, size, rings · len(ends))

    Raises
    ------
    ValueError
        If the operator has no end that could be moved so.

    Examples
    --------
    A string at Courant 1 whose left end is held up for one step:

    >>> import wavefield as wf
    >>> string = wf.wave(1.0, boundary="fixed")
    >>> encoder = driven_ends(string, 6, ["left"])
    >>> wf.simulate(string, [1.0, 0, 0, 0], encoder=encoder, source="force").activity[-1, 0].values.tolist()
    [0.0, 0.0, 0.0, 1.0, 0.0, 0.0]
    """
    if operator.levels != 2 or operator.boundary not in ("fixed", "free"):
        raise ValueError(f"operator must be a two-way wave between fixed or free ends, got {operator!r}")
    ends = list(ends)
    if not ends or len(set(ends)) < len(ends) or not set(ends) <= {"left", "right"}:
        raise ValueError(f"ends must hold 'left', 'right' or both, got {ends!r}")
    size = positive_int(size, "size")
    operator.check_size(size)
    taps = local_taps(operator, size)  # (rings, K, N)
    half = taps.shape[1] // 2
    encoder = np.zeros((operator.rings, size, operator.rings, len(ends)))
    rings = np.arange(operator.rings)
    for i, end in enumerate(ends):
        inward = taps if end == "left" else taps[:, ::-1, ::-1]
        entry = np.zeros((operator.rings, size))
        for n in range(min(half, size)):
            for beyond in range(1, half - n + 1):  # what cell n reads at position −beyond
                if operator.boundary == "fixed":
                    unit = 1.0 if beyond == 1 else 2.0
                else:
                    unit = 2 * beyond * operator.dx * (-1 if end == "left" else 1)
                entry[:, n] += unit * inward[:, half - n - beyond, n]
        encoder[rings, :, rings, i] = entry if end == "left" else entry[:, ::-1]
    return encoder.reshape(operator.rings, size, -1)


def resolve_encoder(
    encoder: str | ArrayLike, operator: WaveOperator, size: int, inputs: int
) -> tuple[np.ndarray, WaveOperator]:
    """Return the encoder as an array (rings, size, inputs) and the operator with as many rings.

    ``"own"`` gives every input a ring (or line) of its own, entering at position 0 of a ring and at the upstream end
    of a line; ``"first"`` adds every input to unit 0 of every ring (Keller et al., ICLR 2024); an array is taken as
    it is.
    """
    if isinstance(encoder, str):
        if encoder == "own":
            return _own(operator, size, inputs)
        if encoder == "first":
            matrix = np.zeros((operator.rings, size, inputs))
            matrix[:, 0] = 1.0
            return matrix, operator
        raise ValueError(f"encoder must be 'own', 'first' or an array (rings, size, inputs), got {encoder!r}")
    matrix = np.asarray(encoder, dtype=float)
    if matrix.ndim != 3 or matrix.shape[1:] != (size, inputs):
        raise ValueError(f"encoder must have shape (rings, size={size}, inputs={inputs}), got {matrix.shape}")
    if not np.isfinite(matrix).all():
        raise ValueError("encoder must be finite, it holds NaN or infinity")
    return matrix, operator.with_rings(matrix.shape[0])


def _own(operator, size, inputs):
    if inputs not in (0, operator.rings) and operator.rings != 1:
        raise ValueError(
            f"encoder='own' gives each input a ring, but there are {inputs} inputs and {operator.rings} rings; "
            "give an encoder of shape (rings, size, inputs)"
        )
    operator = operator.with_rings(inputs or operator.rings)
    matrix = np.zeros((operator.rings, size, inputs))
    if inputs:
        entry = np.where((operator.boundary != "periodic") & (operator.courant < 0), size - 1, 0)
        matrix[np.arange(inputs), entry, np.arange(inputs)] = 1.0
    return matrix, operator
