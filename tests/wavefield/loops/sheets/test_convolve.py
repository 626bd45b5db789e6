"""The loop of one level on sheets against plain NumPy, and its faster forms against the plain one, bit for bit."""

from itertools import product

import numpy as np
import pytest

from wavefield.loops.sheets.convolve import sheet_convolve

ACTIVATION = {"identity": lambda h: h, "relu": lambda h: np.where(h < 0, 0, h), "tanh": np.tanh}
BOUNDARIES = ("periodic", "fixed", "free", "open")


def folded(index, size, boundary):
    """Position and sign of what stands at an index, by walking there cell by cell."""
    sign = 1
    while not 0 <= index < size:
        if boundary == "periodic":
            index += size if index < 0 else -size
        elif boundary == "free":
            index = (-index if index < 0 else 2 * (size - 1) - index) if size > 1 else 0
        elif boundary == "fixed":
            if index in (-1, size):
                return 0, 0
            index, sign = -2 - index if index < 0 else 2 * size - index, -sign
        else:
            return 0, 0
    return index, sign


def step_matrix(kernel, shape, boundary):
    """The convolution as a dense matrix on (C, Ny, Nx), entry by entry."""
    channels, _, ky, kx = kernel.shape
    matrix = np.zeros((channels, *shape, channels, *shape))
    for y, x, j, k in product(*map(range, shape), range(ky), range(kx)):
        (row, one), (column, other) = (
            folded(p + d - n // 2, size, side)
            for p, d, n, size, side in zip((y, x), (j, k), (ky, kx), shape, boundary, strict=True)
        )
        matrix[:, y, x, :, row, column] += one * other * kernel[:, :, j, k]
    return matrix.reshape(channels * shape[0] * shape[1], -1)


@pytest.mark.parametrize("nonlinearity", ACTIVATION)
@pytest.mark.parametrize("boundary", [*product(BOUNDARIES, BOUNDARIES)], ids="-".join)
def test_a_step_is_the_dense_matrix_of_the_convolution(boundary, nonlinearity):
    rng = np.random.default_rng(3)
    for dtype, (channels, shape, kernel) in product(
        (np.float64, np.float32), ((1, (7, 6), (3, 3)), (2, (3, 5), (5, 3)), (3, (1, 4), (3, 7)), (2, (6, 1), (1, 5)))
    ):
        weights = rng.standard_normal((channels, channels, *kernel)) / (2 * channels * np.sqrt(np.prod(kernel)))
        weights *= rng.random(weights.shape) < 0.8
        matrix, mask = step_matrix(weights, shape, boundary), rng.random(shape) < 0.8
        now = (rng.standard_normal((2, channels, *shape)) * mask).astype(dtype)
        drive, encoder = rng.standard_normal((2, 9, 2)), rng.standard_normal((channels, *shape, 2))
        bias, levels, field = rng.standard_normal((channels, *shape)), [], now.astype(float)
        for t in range(9):
            moved = (matrix @ field.reshape(2, -1).T).T.reshape(field.shape)
            moved += np.einsum("cyxi,bi->bcyx", encoder, drive[:, t]) + bias
            field = ACTIVATION[nonlinearity](moved) * mask
            levels.append(field)
        out = np.empty((3, *now.shape), dtype)
        ended = sheet_convolve(
            now, kernel=weights, bias=bias, nonlinearity=nonlinearity, boundary=boundary, mask=mask, steps=9,
            drive=drive, encoder=encoder, every=3, out=out,
        )  # fmt: skip
        assert ended.dtype == out.dtype == dtype
        for found, expected in ((ended, levels[-1]), (out, np.array(levels[2::3]))):
            np.testing.assert_allclose(found, expected, rtol=0, atol=200 * np.finfo(dtype).eps * np.abs(expected).max())


def test_a_single_tap_is_a_roll_bit_for_bit():
    field, kernel = np.random.default_rng(1).standard_normal((2, 1, 30, 41)), np.zeros((1, 1, 3, 3))
    kernel[0, 0, 0, 2] = 1
    np.testing.assert_array_equal(sheet_convolve(field, kernel=kernel, steps=50), np.roll(field, (50, -50), (-2, -1)))
