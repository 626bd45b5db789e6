"""Encoders: where, and how strongly, each input enters the field."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy.ndimage import distance_transform_edt

from wavefield.checks import grid_shape, plain_array, positive_int, real_array
from wavefield.operators.operator import WaveOperator
from wavefield.operators.step_matrix import local_taps

EVERYWHERE = "everywhere"  # the encoder of a movie: every cell of a sheet is an input of its own


def encoder_at(positions: ArrayLike, size: int | tuple[int, ...]) -> np.ndarray:
    """Encoder of inputs that share one ring or sheet, input i entering at ``positions[i]`` with weight 1.

    Parameters
    ----------
    positions : array_like of int, shape (inputs,), of a sheet (inputs, 2)
        Cells, of a sheet (y, x).
    size : int or pair of ints
        N, of a sheet (Ny, Nx).

    Returns
    -------
    ndarray, shape (1, size, inputs), of a sheet (1, Ny, Nx, inputs)

    Examples
    --------
    >>> encoder_at([0, 3], size=4)[0, :, 1].tolist()
    [0.0, 0.0, 0.0, 1.0]
    >>> encoder_at([(0, 1)], size=(2, 3))[0, :, :, 0].tolist()
    [[0.0, 1.0, 0.0], [0.0, 0.0, 0.0]]
    """
    dims = 1 if np.ndim(size) == 0 else 2
    shape = grid_shape(size, "size", dims)
    positions = np.atleast_1d(positions) if dims == 1 else np.asarray(positions)
    if dims == 2 and positions.shape == (2,):
        positions = positions[None]
    if not np.issubdtype(positions.dtype, np.integer) or positions.shape[1:] != (() if dims == 1 else (2,)):
        what = "integers" if dims == 1 else "pairs (y, x) of integers"
        raise TypeError(f"positions must be a sequence of {what}, got {positions.dtype} of shape {positions.shape}")
    cells = positions.reshape(len(positions), dims)
    if (cells < 0).any() or (cells >= shape).any():
        last = tuple(n - 1 for n in shape)
        accepted = f"0…{last[0]}" if dims == 1 else f"(0, 0)…{last}"
        raise ValueError(f"positions must lie in {accepted}, got {positions.tolist()}")
    encoder = np.zeros((1, *shape, len(cells)))
    encoder[(0, *cells.T, np.arange(len(cells)))] = 1.0
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
    if operator.dims != 1 or operator.levels != 2 or operator.boundary not in ("fixed", "free"):
        raise ValueError(f"operator must be a two-way wave of a line between fixed or free ends, got {operator!r}")
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
    encoder: str | ArrayLike, operator: WaveOperator, size: int | tuple[int, ...], inputs: int
) -> tuple[np.ndarray, WaveOperator]:
    """Return the encoder as an array (rings, size, inputs) and the operator with as many rings.

    ``"own"`` gives every input a ring (or line, or sheet) of its own, entering at position 0 of a ring, at the upstream
    end of a line, in the middle of a sheet; ``"first"`` adds every input to unit 0 of every ring (Keller et al., ICLR
    2024); an array is taken as it is.
    """
    shape = grid_shape(size, "size", operator.dims)
    if isinstance(encoder, str):
        if encoder == EVERYWHERE:
            raise ValueError("encoder='everywhere' has no array: every cell of the sheet is an input of its own")
        if encoder == "own":
            return _own(operator, shape, inputs)
        if encoder == "first":
            matrix = np.zeros((operator.rings, *shape, inputs))
            matrix.reshape(operator.rings, -1, inputs)[:, 0] = 1.0
            return matrix, operator
        raise ValueError(f"encoder must be 'own', 'first' or an array (rings, size, inputs), got {encoder!r}")
    matrix = plain_array(encoder, "encoder")
    if matrix.ndim != 2 + operator.dims or matrix.shape[1:] != (*shape, inputs) or not len(matrix):
        raise ValueError(f"encoder must have shape (rings, size={size}, inputs={inputs}), got {matrix.shape}")
    matrix = real_array(matrix.astype(float) if matrix.dtype == bool else matrix, "encoder")
    return matrix, operator.with_rings(matrix.shape[0])


def _own(operator, shape, inputs):
    if inputs not in (0, operator.rings) and operator.rings != 1:
        raise ValueError(
            f"encoder='own' gives each input a ring, but there are {inputs} inputs and {operator.rings} rings; "
            "give an encoder of shape (rings, size, inputs)"
        )
    operator = operator.with_rings(inputs or operator.rings)
    matrix = np.zeros((operator.rings, *shape, inputs))
    if inputs:
        each = np.arange(inputs)
        matrix[(each, *_entry(operator, shape), each)] = 1.0
    return matrix, operator


def _entry(operator, shape):
    """Where an input enters the field of its own: along each axis an index, or one for each ring."""
    if operator.dims == 1:
        return (np.where((operator.boundary != "periodic") & (operator.courant < 0), shape[0] - 1, 0),)
    middle = tuple(n // 2 for n in shape)
    if operator.mask is None or operator.mask[middle]:
        return middle
    depth = distance_transform_edt(np.pad(operator.mask, 1))[1:-1, 1:-1]
    return np.unravel_index(int(depth.argmax()), shape)
