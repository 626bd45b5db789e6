"""Encoders: where, and how strongly, each input enters the field."""

from __future__ import annotations

import numpy as np

from wavefield.checks import positive_int


def encoder_at(positions, size: int) -> np.ndarray:
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


def resolve_encoder(encoder, operator, size: int, inputs: int):
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
