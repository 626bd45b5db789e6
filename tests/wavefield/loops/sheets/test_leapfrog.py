"""The two-way loop of sheets against plain NumPy, and every faster form of it against the plain one, bit for bit."""

from itertools import product

import numba
import numpy as np
import pytest

from wavefield.loops import tiles
from wavefield.loops.sheets import leapfrog as loop
from wavefield.loops.sheets import order
from wavefield.loops.sheets.leapfrog import sheet_leapfrog
from wavefield.loops.sheets.order import planned
from wavefield.operators.rim import make_rim

DTYPES = (np.float64, np.float32)
BOUNDARIES = ("periodic", "fixed", "free", "absorbing")
FIVE = np.array([[0, 1, 0], [1, -4, 1], [0, 1, 0]])
NINE = np.array([[1, 4, 1], [4, -20, 4], [1, 4, 1]]) / 6
FOURTH = np.zeros((5, 5))
FOURTH[2] += np.array([-1, 16, -30, 16, -1]) / 12
FOURTH[:, 2] += np.array([-1, 16, -30, 16, -1]) / 12
MIDDLE = np.diag([0, 2.0, 0])
C2 = 0.49 * 0.6


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


@pytest.mark.parametrize("boundary", [("fixed", "fixed"), ("periodic", "free"), ("free", "periodic")], ids="-".join)
def test_cells_outside_a_mask_stay_zero_and_hold_the_field_as_clamped_edges_do(boundary):
    rng = np.random.default_rng(5)
    mask = rng.random((33, 40)) < 0.8
    mask[10:20, 5:30] = True
    for dtype, kernel in product(DTYPES, ((3, 3), (7, 5))):
        for cross in (True, False):
            taps, q = stable_taps(rng, 2, kernel, cross)
            now, before, drive, encoder = random_field(rng, (2, 2, *mask.shape), dtype)
            given = {"q": q, "taps": taps, "boundary": boundary, "mask": mask, "drive": drive, "encoder": encoder}
            expected = two_way(now * mask, before * mask, **given, steps=12)
            ended = sheet_leapfrog(now * mask, before * mask, **given, steps=12)
            agree(ended[0], expected[-1], dtype)
            assert not ended[0][..., ~mask].any()


@pytest.mark.parametrize("boundary", [*product(BOUNDARIES, BOUNDARIES)], ids="-".join)
def test_a_medium_that_varies_is_what_flows_through_its_faces(boundary):
    rng = np.random.default_rng(7)
    for dtype, shape, channels, local in product(
        DTYPES, ((1, 2, 13, 21), (2, 1, 40, 1), (1, 1, 1, 9)), (1, None), (True, False)
    ):
        count, (ny, nx) = channels or shape[1], shape[2:]
        faces = [rng.uniform(0, 0.4, (count, ny + 1, nx)), rng.uniform(0, 0.4, (count, ny, nx + 1))]
        for face, axis, side in zip(faces, (1, 2), boundary, strict=True):
            if side == "periodic":
                face.swapaxes(0, axis)[-1] = face.swapaxes(0, axis)[0]
        cell = shape[1:] if local else (shape[1], 1, 1)
        middle, q = rng.uniform(1.8, 2, cell), rng.uniform(0.7, 1, cell)
        now, before = rng.standard_normal((2, *shape)).astype(dtype)
        expected = in_medium(
            now, before, faces=faces, q=q, scale=(1 + q) / 2, middle=middle, boundary=boundary, steps=15
        )
        given = {"faces": faces, "boundary": boundary, "steps": 15, "q": q, "middle": middle}
        if not local:
            given |= {"q": q[:, 0, 0], "middle": middle[:, 0, 0]}
        ended = sheet_leapfrog(now, before, **given)
        agree(ended[0], expected[-1], dtype)
        agree(ended[1], expected[-2], dtype)


def test_a_movie_is_added_to_every_new_level():
    rng = np.random.default_rng(11)
    movie, taps = rng.standard_normal((1, 9, 2, 8, 7)), C2 * FIVE + MIDDLE
    now = before = np.zeros((1, 2, 8, 7))
    ended = sheet_leapfrog(now, before, q=1.0, taps=taps, steps=9, drive=movie)
    for t in range(9):
        now, before = correlated(now, taps, ("periodic",) * 2) - before + movie[:, t], now
    agree(ended[0], now, float)


# ---- bit for bit ----------------------------------------------------------------------------------------------------

KERNELS = {
    "five-point": {"taps": C2 * FIVE + MIDDLE, "q": 1.0},
    "five-point, damped": {"taps": C2 * FIVE + MIDDLE, "q": 0.9},
    "nine-point": {"taps": C2 * NINE + MIDDLE, "q": 0.9},
    "order 4": {"taps": C2 * FOURTH + np.pad(MIDDLE, 1), "q": 0.9},
    "medium": {"faces": (np.full((1, 97, 50), C2), np.full((1, 96, 51), C2)), "q": 0.9},
}


@pytest.mark.parametrize("case", KERNELS)
@pytest.mark.parametrize("boundary", [("periodic", "periodic"), ("fixed", "free"), ("free", "fixed")], ids="-".join)
def test_neither_fusing_nor_threads_change_a_bit(boundary, case, monkeypatch):
    rng = np.random.default_rng(13)
    mask = rng.random((96, 50)) < 0.9
    for dtype, inside in product(DTYPES, (None, mask)):
        now, before, drive, encoder = random_field(rng, (1, 2, 96, 50), dtype, inputs=2, steps=23)
        drive *= rng.random((1, 23, 1)) < 0.2
        encoder[:, 40:] = 0
        given = KERNELS[case] | {"boundary": boundary, "mask": inside, "drive": drive, "encoder": encoder, "steps": 23}
        found = []
        for depth, slabs in ((1, 1), (4, 1), (7, 1), (23, 1), (8, 2), (5, 3)):
            monkeypatch.setattr(loop, "plan", lambda sheet, *_, d=depth, n=slabs, **__: planned(sheet, d, n))
            out = np.empty((7, *now.shape), dtype)
            found.append((*sheet_leapfrog(now, before, **given, every=3, out=out), out))
        for other in found[1:]:
            for one, two in zip(found[0], other, strict=True):
                np.testing.assert_array_equal(one, two)


def test_a_run_in_threads_is_the_run_in_one(monkeypatch):
    rng = np.random.default_rng(17)
    monkeypatch.setattr(tiles, "_WORTH_THREADS", 0)
    monkeypatch.setattr(order, "_WORTH_CUTTING", 0)
    for shape, width in product(((1, 1, 150, 90), (3, 2, 41, 60)), (0, 10)):
        now, before = rng.standard_normal((2, *shape))
        given = {"taps": C2 * FIVE + MIDDLE, "q": 1.0, "steps": 100, "boundary": ("absorbing",) * 2}
        given["rim"] = make_rim(shape[2:], (width, width), (0.7, 0.7))
        found = []
        for threads in (1, 2, 4):
            monkeypatch.setattr(numba.config, "NUMBA_NUM_THREADS", threads)
            found.append(sheet_leapfrog(now, before, **given))
        for other in found[1:]:
            for one, two in zip(found[0], other, strict=True):
                np.testing.assert_array_equal(one, two)


def test_a_run_goes_on_where_another_ended():
    rng = np.random.default_rng(19)
    now, before = rng.standard_normal((2, 2, 1, 30, 34))
    given = {
        "taps": C2 * FIVE + MIDDLE,
        "q": 0.99,
        "boundary": ("absorbing",) * 2,
        "rim": make_rim((30, 34), (8, 9), (0.7, 0.7)),
    }
    whole = sheet_leapfrog(now, before, **given, steps=40)
    parts = (now, before, None)
    for steps in (0, 1, 2, 37):
        parts = sheet_leapfrog(*parts[:2], rim_fields=parts[2], **given, steps=steps)
    for one, two in zip(whole, parts, strict=True):
        np.testing.assert_array_equal(one, two)
    assert not np.shares_memory(parts[0], now)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"boundary": ("open water", "fixed")}, "boundary must be"),
        ({"taps": np.ones((3, 2))}, "odd"),
        ({"taps": np.arange(9.0).reshape(3, 3)}, "symmetric"),
        ({"taps": None}, "either taps or faces"),
        ({"mask": np.ones((3, 3), bool)}, "mask must have shape"),
        ({"drive": np.ones((1, 3, 2))}, "drive without encoder"),
        ({"drive": np.ones((1, 3, 2)), "encoder": np.ones((1, 8, 9, 1))}, "encoder must have shape"),
        ({"q": np.ones(3)}, "one value for all channels"),
        ({"every": 1, "out": np.empty((2, 1, 1, 8, 9))}, "out must be"),
        ({"rim": make_rim((8, 9), (2, 2), (0.5, 0.5))}, "absorbing edges"),
        ({"taps": None, "faces": (np.ones((1, 8, 9)), np.ones((1, 8, 10)))}, "faces along y"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_bad_input_is_named(wrong, message):
    field = np.zeros((1, 1, 8, 9))
    with pytest.raises(ValueError, match=message):
        sheet_leapfrog(field, field, **({"taps": C2 * FIVE + MIDDLE, "q": 1.0, "steps": 3} | wrong))


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("shift", [0, 1, 5])
def test_what_is_written_past_the_caches_is_what_is_written_into_them(monkeypatch, dtype, shift):
    now, before = np.random.default_rng(7).standard_normal((2, 2, 1, 9, 37)).astype(dtype)
    given = {"q": 0.9, "taps": np.array([[0, 0.2, 0], [0.2, 1.2, 0.2], [0, 0.2, 0]]), "steps": 12, "every": 2}
    into, past = (np.full(6 * now.size + shift, np.nan, dtype)[shift:].reshape(6, *now.shape) for _ in range(2))
    sheet_leapfrog(now, before, **given, out=into)
    monkeypatch.setattr("wavefield.loops.sheets.source._STREAMED", 0)
    sheet_leapfrog(now, before, **given, out=past)
    np.testing.assert_array_equal(past, into)
