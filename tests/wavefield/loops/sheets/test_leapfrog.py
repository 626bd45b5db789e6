"""The two-way loop of sheets against plain NumPy, and every faster form of it against the plain one, bit for bit."""

from itertools import product

import numpy as np
import pytest

from wavefield.loops.sheets.leapfrog import sheet_leapfrog

DTYPES = (np.float64, np.float32)
BOUNDARIES = ("periodic", "fixed", "free", "absorbing")
FIVE = np.array([[0, 1, 0], [1, -4, 1], [0, 1, 0]])
NINE = np.array([[1, 4, 1], [4, -20, 4], [1, 4, 1]]) / 6


# ---- the definition, by padding and summing -------------------------------------------------------------------------


def beyond(field, reach, boundary, axis):
    """The field with `reach` cells more at both ends of an axis."""
    sides = [(0, 0)] * field.ndim
    sides[axis] = (reach, reach)
    if reach and boundary == "fixed":  # odd about the zeros one cell beyond the ends
        sides[axis] = (1, 1)
        walls = np.pad(field, sides)
        sides[axis] = (reach - 1, reach - 1)
        return np.pad(walls, sides, mode="reflect", reflect_type="odd") if reach > 1 else walls
    return np.pad(field, sides, mode={"periodic": "wrap", "free": "reflect"}.get(boundary, "constant"))


def correlated(field, kernel, boundary):
    """Σ kernel[j, k]·field[y + j − Ky//2, x + k − Kx//2] of fields (..., Ny, Nx), kernel (..., Ky, Kx)."""
    (ky, kx), (ny, nx) = kernel.shape[-2:], field.shape[-2:]
    cells = beyond(beyond(field, ky // 2, boundary[0], -2), kx // 2, boundary[1], -1)
    return sum(
        kernel[..., j, k, None, None] * cells[..., j : j + ny, k : k + nx] for j, k in product(range(ky), range(kx))
    )


def two_way(now, before, *, taps, q, boundary, mask=None, drive=None, encoder=None, steps):
    """All levels, (steps, B, C, Ny, Nx), in float64; taps (C, Ky, Kx), q (C,)."""
    now, before, levels = now.astype(float), before.astype(float), []
    for t in range(steps):
        new = correlated(now, taps, boundary) - q[:, None, None] * before
        if drive is not None:
            new = new + np.einsum("cyxi,bi->bcyx", encoder, drive[:, t])
        now, before = new if mask is None else np.where(mask, new, 0), now
        levels.append(now)
    return np.array(levels)


def in_medium(now, before, *, faces, q, scale, middle, boundary, steps):
    """The same where the medium varies; q, scale and middle broadcast against (C, Ny, Nx)."""
    now, before, levels = now.astype(float), before.astype(float), []
    for _ in range(steps):
        flow = 0
        for axis, face in zip((-2, -1), faces, strict=True):
            size = now.shape[axis]
            steep = face * np.diff(beyond(now, 1, boundary[axis], axis), axis=axis)
            flow = flow + np.diff(steep, axis=axis)
            assert flow.shape[axis] == size
        now, before = scale * (middle * now + flow) - q * before, now
        levels.append(now)
    return np.array(levels)


def agree(found, expected, dtype, eps=64):
    """Assert equality to `eps` roundings of the largest value, and the dtype."""
    assert found.dtype == dtype
    np.testing.assert_allclose(
        found, expected, rtol=0, atol=eps * np.finfo(dtype).eps * np.abs(expected).max(initial=1.0)
    )


def random_field(rng, shape, dtype, inputs=3, steps=12):
    """Two levels, a drive and a sparse encoder."""
    now, before = rng.standard_normal((2, *shape)).astype(dtype)
    encoder = rng.standard_normal((*shape[1:], inputs)) * (rng.random((*shape[1:], inputs)) < 0.2)
    drive = rng.standard_normal((shape[0], steps, inputs)) * (rng.random((shape[0], steps, 1)) < 0.5)
    return now, before, drive.astype(dtype), encoder.astype(dtype)


def stable_taps(rng, channels, kernel, cross=False):
    """Symmetric taps of a damped field that does not grow, (C, Ky, Kx), and its q (C,)."""
    taps = rng.uniform(-1, 1, (channels, *kernel))
    taps = taps + taps[..., ::-1]
    taps = taps + taps[..., ::-1, :]
    if cross:
        rows, columns = np.indices(kernel)
        taps *= (rows == kernel[0] // 2) | (columns == kernel[1] // 2)
    taps /= np.abs(taps).sum(axis=(1, 2), keepdims=True)
    damping = rng.uniform(0, 0.3, channels)
    return taps / (1 + damping[:, None, None]), (1 - damping) / (1 + damping)


# ---- against the definition -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kernel", [(3, 3), (5, 5), (9, 9), (3, 7), (7, 1), (1, 5), (1, 1)], ids=str)
@pytest.mark.parametrize("boundary", [*product(BOUNDARIES, BOUNDARIES)], ids="-".join)
def test_a_step_is_the_recurrence_on_the_padded_field(boundary, kernel):
    rng = np.random.default_rng(kernel)
    for dtype, cross, shape in product(DTYPES, (True, False), ((2, 2, 11, 37), (1, 1, 29, 4))):
        taps, q = stable_taps(rng, shape[1], kernel, cross)
        now, before, drive, encoder = random_field(rng, shape, dtype)
        given = {"q": q, "taps": taps, "boundary": boundary, "drive": drive, "encoder": encoder, "steps": 12}
        expected = two_way(now, before, **given)
        out = np.empty((6, *shape), dtype)
        ended = sheet_leapfrog(now, before, **given, every=2, out=out)
        agree(ended[0], expected[-1], dtype)
        agree(ended[1], expected[-2], dtype)
        agree(out, expected[1::2], dtype)


@pytest.mark.parametrize("shape", [(1, 1), (1, 17), (17, 1), (2, 3), (3, 2), (40, 5), (5, 64)], ids=str)
@pytest.mark.parametrize("boundary", [*product(BOUNDARIES, BOUNDARIES)], ids="-".join)
def test_sheets_narrower_than_the_stencil_continue_as_often_as_is_needed(boundary, shape):
    rng = np.random.default_rng(shape)
    for kernel in ((3, 3), (9, 9), (5, 3)):
        taps, q = stable_taps(rng, 1, kernel)
        now, before = rng.standard_normal((2, 2, 1, *shape))
        expected = two_way(now, before, taps=taps, q=q, boundary=boundary, steps=7)
        agree(sheet_leapfrog(now, before, taps=taps, q=q, boundary=boundary, steps=7)[0], expected[-1], float)
