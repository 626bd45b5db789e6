"""The time loops against plain NumPy, and every faster form of them against the plain loop."""

from concurrent.futures import ThreadPoolExecutor

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from wavefield.loops import tiles as _windows
from wavefield.loops.convolve import convolve, transport
from wavefield.loops.leapfrog import leapfrog
from wavefield.loops.stencil import FUSED, WIDEST, fused_steps, one_step, stepped
from wavefield.loops.tiles import Injection, injection

DTYPES = (np.float64, np.float32)
SIZES = (1, 2, 3, 5, 17, 64, 131)
ACTIVATION = {"identity": lambda h: h, "relu": lambda h: np.where(h < 0, 0, h), "tanh": np.tanh}


# ---- the definitions, by padding and summing ----------------------------------------------------------------------


def beyond(field, reach, boundary):
    """Field (..., N) with `reach` cells more on either side."""
    sides = [(0, 0)] * (field.ndim - 1)
    if boundary == "periodic":
        return np.pad(field, [*sides, (reach, reach)], mode="wrap")
    if boundary == "free":
        return np.pad(field, [*sides, (reach, reach)], mode="reflect")
    if boundary == "fixed":  # odd about the zeros one cell beyond the ends
        walls = np.pad(field, [*sides, (1, 1)])
        return np.pad(walls, [*sides, (reach - 1, reach - 1)], mode="reflect", reflect_type="odd") if reach else field
    return np.pad(field, [*sides, (reach, reach)])


def two_way(now, before, *, taps, q, boundary, drive=None, encoder=None, mur=None, near=None, steps):
    """All levels of leapfrog, (steps, B, C, N), in float64; taps (C, K), q (C,), mur (C, 2), near (C, 3)."""
    now, before, levels = now.astype(float), before.astype(float), []
    size, reach = now.shape[-1], taps.shape[1] // 2
    for t in range(steps):
        cells = beyond(now, reach, boundary)
        new = sum(taps[:, k, None] * cells[..., k : k + size] for k in range(taps.shape[1]))
        if boundary == "absorbing":
            narrow = sum(near[:, k, None] * np.roll(now, 1 - k, axis=-1) for k in range(3))
            close = np.minimum(np.arange(size), np.arange(size)[::-1]) < reach
            new = np.where(close & (reach > 1), narrow, new)
        new = new - q[:, None] * before
        if boundary == "absorbing":
            new[..., 0] = now[..., 1] + mur[:, 0] * (new[..., 1] - now[..., 0])
            new[..., -1] = now[..., -2] + mur[:, 1] * (new[..., -2] - now[..., -1])
        if drive is not None:
            new = new + np.einsum("cni,bi->bcn", encoder, drive[:, t])
        now, before = new, now
        levels.append(now)
    return np.array(levels)


def one_level(
    now, *, kernel, boundary, nonlinearity="identity", bias=0.0, drive=None, encoder=None, row=None, end=0, steps
):
    """All levels of σ(u ⋆ h + V x + b), (steps, B, C, N), in float64."""
    now, levels = now.astype(float), []
    for t in range(steps):
        windows = np.lib.stride_tricks.sliding_window_view(
            beyond(now, kernel.shape[2] // 2, boundary), kernel.shape[2], axis=-1
        )
        new = np.einsum("oik,bink->bon", kernel, windows)
        if row is not None:
            new[..., end] = np.einsum("oin,bin->bo", row, now)
        if drive is not None:
            new = new + np.einsum("cni,bi->bcn", encoder, drive[:, t])
        now = ACTIVATION[nonlinearity](new + bias)
        levels.append(now)
    return np.array(levels)


def agree(found, expected, dtype, eps=64):
    """Assert equality to `eps` roundings of the largest value, and the dtype."""
    assert found.dtype == dtype
    np.testing.assert_allclose(
        found, expected, rtol=0, atol=eps * np.finfo(dtype).eps * np.abs(expected).max(initial=1.0)
    )


def random_field(rng, shape, dtype, inputs, steps):
    """Two levels, a drive and a sparse encoder."""
    batch, rings, size = shape
    encoder = rng.standard_normal((rings, size, inputs)) * (rng.random((rings, size, inputs)) < 0.3)
    drive = rng.standard_normal((batch, steps, inputs)).astype(dtype)
    now, before = rng.standard_normal((2, *shape)).astype(dtype)
    return now, before, drive, encoder.astype(dtype)


def stable_taps(rng, rings, reach):
    """Symmetric taps of a damped field that does not grow, (rings, K), and its q (rings,)."""
    side = rng.uniform(-1, 1, (rings, reach))
    side /= np.abs(side).sum(axis=1, keepdims=True) * 2.5
    damping = rng.uniform(0, 0.3, rings)
    centre = 2 * rng.uniform(-0.1, 0.1, (rings, 1))
    taps = np.concatenate([side[:, ::-1], centre, side], axis=1)
    return taps / (1 + damping[:, None]), (1 - damping) / (1 + damping)


# ---- against the definitions --------------------------------------------------------------------------------------


@pytest.mark.parametrize("driven", ["silent", "seldom", "always"])
@pytest.mark.parametrize("reach", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("boundary", ["periodic", "fixed", "free", "absorbing"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_leapfrog_is_the_recurrence_on_the_padded_field(dtype, boundary, reach, driven):
    rng = np.random.default_rng(reach)
    steps, every, rings = 37, 3, 3
    for size in SIZES:
        if boundary == "absorbing" and size < 3:
            continue
        taps, q = stable_taps(rng, rings, reach)
        near, _ = stable_taps(rng, rings, 1)
        mur = rng.uniform(-0.5, 0, (rings, 2))
        now, before, drive, encoder = random_field(rng, (2, rings, size), dtype, 2, steps)
        if driven == "seldom":
            drive[0, [t for t in range(steps) if t not in (4, 5, 20)]] = 0
            drive[1, :-1] = 0
        levels = two_way(
            now, before, taps=taps, q=q, boundary=boundary, mur=mur, near=near, steps=steps,
            drive=None if driven == "silent" else drive, encoder=encoder,
        )  # fmt: skip
        out = np.empty((steps // every, *now.shape), dtype)
        ended = leapfrog(
            now, before, taps=taps, q=q, boundary=boundary, mur=mur, near=near, steps=steps,
            drive=None if driven == "silent" else drive, injection=injection(encoder, dtype), every=every, out=out,
        )  # fmt: skip
        agree(ended[0], levels[-1], dtype)
        agree(ended[1], levels[-2], dtype)
        agree(out, levels[every - 1 :: every], dtype)


@pytest.mark.parametrize("boundary", ["periodic", "fixed", "free", "absorbing"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_leapfrog_in_a_medium_is_the_recurrence_in_conservative_form(dtype, boundary):
    rng = np.random.default_rng(3)
    steps, rings, gamma = 29, 2, np.array([0.0, 0.2])
    for size in SIZES[2:]:
        g = rng.uniform(0.2, 0.9, (rings, size + 1))
        g[:, -1] = g[:, 0]
        mur = rng.uniform(-0.5, 0, (rings, 2))
        now, before, drive, encoder = random_field(rng, (2, rings, size), dtype, 2, steps)
        h, old, levels = now.astype(float), before.astype(float), []
        for t in range(steps):
            cells = beyond(h, 1, boundary)
            flow = g * np.diff(cells)
            new = (2 * h + np.diff(flow) - (1 - gamma[:, None]) * old) / (1 + gamma[:, None])
            if boundary == "absorbing":
                new[..., 0] = h[..., 1] + mur[:, 0] * (new[..., 1] - h[..., 0])
                new[..., -1] = h[..., -2] + mur[:, 1] * (new[..., -2] - h[..., -1])
            h, old = new + np.einsum("cni,bi->bcn", encoder, drive[:, t]), h
            levels.append(h)
        out = np.empty((steps, *now.shape), dtype)
        ended = leapfrog(
            now, before, conductance=g, q=(1 - gamma) / (1 + gamma), boundary=boundary, mur=mur, steps=steps,
            drive=drive, injection=injection(encoder, dtype), every=1, out=out,
        )  # fmt: skip
        agree(ended[0], levels[-1], dtype)
        agree(ended[1], levels[-2], dtype)
        agree(out, np.array(levels), dtype)


@pytest.mark.parametrize("nonlinearity", list(ACTIVATION))
@pytest.mark.parametrize("boundary", ["periodic", "fixed", "free", "absorbing", "open"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_convolution_is_the_recurrence_on_the_padded_field(dtype, boundary, nonlinearity):
    rng = np.random.default_rng(5)
    steps, every, channels = 13, 2, 4
    for size in SIZES:
        for width in (1, 3, 7):
            kernel = rng.standard_normal((channels, channels, width)) / (channels * width) ** 0.5
            kernel *= rng.random(kernel.shape) < 0.6
            bias = rng.standard_normal((channels, size)) / 4
            now, _, drive, encoder = random_field(rng, (3, channels, size), dtype, 2, steps)
            levels = one_level(
                now, kernel=kernel, boundary=boundary, nonlinearity=nonlinearity, bias=bias, drive=drive,
                encoder=encoder, steps=steps,
            )  # fmt: skip
            out = np.empty((steps // every, *now.shape), dtype)
            ended = convolve(
                now, kernel=kernel, boundary=boundary, nonlinearity=nonlinearity, bias=bias, steps=steps, drive=drive,
                injection=injection(encoder, dtype), every=every, out=out,
            )  # fmt: skip
            agree(ended, levels[-1], dtype)
            agree(out, levels[every - 1 :: every], dtype)


@pytest.mark.parametrize("driven_end", [0, -1])
@pytest.mark.parametrize("dtype", DTYPES)
def test_boundary_row_lets_the_whole_field_drive_one_end(dtype, driven_end):
    rng = np.random.default_rng(6)
    for size in SIZES:
        kernel = rng.standard_normal((2, 2, 3)) / 3
        row = rng.standard_normal((2, 2, size)) / (2 * size)
        now, _, drive, encoder = random_field(rng, (2, 2, size), dtype, 1, 11)
        expected = one_level(
            now, kernel=kernel, boundary="open", row=row, end=driven_end, nonlinearity="tanh", drive=drive,
            encoder=encoder, steps=11,
        )  # fmt: skip
        found = convolve(
            now, kernel=kernel, boundary="open", boundary_row=row, driven_end=driven_end, nonlinearity="tanh", steps=11,
            drive=drive, injection=injection(encoder, dtype),
        )  # fmt: skip
        agree(found, expected[-1], dtype)


@pytest.mark.parametrize("boundary", ["periodic", "fixed", "free", "open"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_transport_is_a_convolution_without_coupling(dtype, boundary):
    rng = np.random.default_rng(7)
    for size in SIZES:
        taps = rng.standard_normal((3, 5)) / 5
        kernel = np.zeros((3, 3, 5))
        kernel[range(3), range(3)] = taps
        bias = rng.standard_normal((3, size)) / 4
        now, _, drive, encoder = random_field(rng, (2, 3, size), dtype, 2, 11)
        expected = one_level(
            now,
            kernel=kernel,
            boundary=boundary,
            nonlinearity="relu",
            bias=bias,
            drive=drive,
            encoder=encoder,
            steps=11,
        )
        given = {"boundary": boundary, "nonlinearity": "relu", "bias": bias, "steps": 11, "drive": drive}
        found = transport(now, taps=taps, injection=injection(encoder, dtype), **given)
        agree(found, expected[-1], dtype)


@pytest.mark.parametrize("boundary", ["periodic", "open"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_transport_takes_its_weights_at_each_position(dtype, boundary):
    rng = np.random.default_rng(8)
    for size in SIZES:
        taps = rng.uniform(-0.5, 0.5, (2, 3, size))
        now = rng.standard_normal((2, 2, size)).astype(dtype)
        expected = now.astype(float)
        for _ in range(9):
            cells = beyond(expected, 1, boundary)
            expected = sum(taps[:, k] * cells[..., k : k + size] for k in range(3))
        agree(transport(now, taps=taps, boundary=boundary, steps=9), expected, dtype)


# ---- exactness ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 2, 5, 17, 1000, 100_003])
@pytest.mark.parametrize("dtype", DTYPES)
def test_shift_by_one_cell_is_numpy_roll_bit_for_bit(dtype, size):
    field = np.random.default_rng(1).standard_normal((2, 2, size)).astype(dtype)
    for taps, shift in (([1, 0, 0], 1), ([0, 0, 1], -1)):
        for steps in (1, 7, 300):
            moved = transport(field, taps=taps, steps=steps)
            assert np.array_equal(moved, np.roll(field, shift * steps, axis=-1))


def test_impulse_spreads_as_the_wrapped_binomial_distribution():
    size, steps, nu = 40, 100, 0.3
    impulse = np.zeros((1, 1, size))
    impulse[..., 0] = 1
    expected = np.zeros(size)
    np.add.at(expected, np.arange(steps + 1) % size, binom.pmf(np.arange(steps + 1), steps, nu))
    moved = transport(impulse, taps=[nu, 1 - nu, 0], steps=steps)
    np.testing.assert_allclose(moved[0, 0], expected, rtol=0, atol=1e-14)


@pytest.mark.parametrize("boundary", ["periodic", "fixed", "free"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_whole_numbers_follow_dalembert_bit_for_bit_at_courant_one(dtype, boundary):
    """h(x, t) = f(x − t) + g(x + t); at a fixed end the wave returns upside down, at a free one upright."""
    size, start = 97, 3
    rng = np.random.default_rng(2)
    period, x = {
        "periodic": (size, np.arange(size)),
        "fixed": (2 * (size + 1), np.arange(1, size + 1)),
        "free": (2 * (size - 1), np.arange(size)),
    }[boundary]
    f = rng.integers(-9, 10, (1, 2, period)).astype(dtype)
    g = {"periodic": rng.integers(-9, 10, f.shape), "fixed": -f[..., ::-1], "free": f[..., ::-1]}[boundary]

    def wave(t):  # g[::-1][x + t] is f(−x − t − 1): one cell more makes the reflection about x = 0
        return (f[..., (x - t) % period] + g[..., (x + t - 1) % period]).astype(dtype)

    for steps in (1, 50, 20 * period + 7):
        ended = leapfrog(wave(start), wave(start - 1), taps=[1, 0, 1], q=1, boundary=boundary, steps=steps)
        assert np.array_equal(ended[0], wave(start + steps))
        assert np.array_equal(ended[1], wave(start + steps - 1))


@pytest.mark.parametrize("boundary", ["periodic", "fixed", "free"])
def test_energy_is_conserved_in_a_medium_of_varying_speed(boundary):
    """E = ½ Σ w (h[t+1] − h[t])² + ½ Σ g (D h[t+1])(D h[t]); where the line is mirrored its end cells count half."""
    rng = np.random.default_rng(4)
    size = 120
    g = rng.uniform(0.2, 0.9, size + 1)
    g[-1] = g[0]
    faces, weight = slice(None), np.ones(size)
    if boundary == "periodic":
        faces = slice(0, size)
    if boundary == "free":
        g[0], g[-1] = g[1], g[-2]
        faces, weight[[0, -1]] = slice(1, size), 0.5

    def energy(now, before):
        slopes = [np.diff(beyond(level, 1, boundary))[..., faces] for level in (now, before)]
        return 0.5 * (weight * (now - before) ** 2).sum() + 0.5 * (g[faces] * slopes[0] * slopes[1]).sum()

    before = rng.standard_normal((1, 1, size))
    now = before + rng.standard_normal((1, 1, size)) / 10
    now -= (now - before).mean()
    ended = leapfrog(now, before, conductance=g, q=1, boundary=boundary, steps=10_000)
    assert energy(*ended) == pytest.approx(energy(now, before), rel=1e-11)


# ---- every faster form against the plain loop ---------------------------------------------------------------------


@pytest.fixture
def in_small_windows(monkeypatch):
    """Cut even short rows into tiles, and share them out to three threads."""
    monkeypatch.setattr(_windows, "_WINDOW_BYTES", 1500)
    monkeypatch.setattr(_windows, "_DEPTH", 24)
    monkeypatch.setattr(_windows, "_WORTH_THREADS", 0)
    monkeypatch.setattr(numba.config, "NUMBA_NUM_THREADS", 3)


def leapfrog_cases():
    """Boundary, coefficients and drive of two rings of 1003 positions, 101 steps."""
    rng = np.random.default_rng(11)
    for boundary in ("periodic", "fixed", "free", "absorbing"):
        for reach in (1, 2, 4, 5, None):
            for driven in (False, True):
                taps, q = stable_taps(rng, 2, reach or 1)
                if reach is None:
                    g = rng.uniform(0.2, 0.9, (2, 1004))
                    g[:, -1] = g[:, 0]
                    physics = {"conductance": g, "q": q}
                else:
                    physics = {"taps": taps, "q": q, "near": stable_taps(rng, 2, 1)[0]}
                yield physics | {"boundary": boundary, "mur": -0.1, "steps": 101}, driven


def whole_and_cut(monkeypatch, loop):
    """Results of `loop` on whole rows by one thread, and cut into tiles (which the second run must really be)."""
    with monkeypatch.context() as patch:
        patch.setattr(numba.config, "NUMBA_NUM_THREADS", 1)
        patch.setattr(_windows, "_WINDOW_BYTES", 1 << 30)
        whole = loop()
    counts, cut = [], _windows.cut
    monkeypatch.setattr(_windows, "cut", lambda *given: counts.append(cut(*given)) or counts[-1])
    pieces = loop()
    assert all(tiles.count > 3 for tiles in counts)
    return whole, pieces


@pytest.mark.parametrize("dtype", DTYPES)
def test_windows_and_threads_change_no_bit_of_leapfrog(dtype, in_small_windows, monkeypatch):
    rng = np.random.default_rng(12)
    now, before, drive, encoder = random_field(rng, (2, 2, 1003), dtype, 2, 101)
    for case, driven in leapfrog_cases():
        if driven:
            case |= {"drive": drive, "injection": injection(encoder, dtype)}

        def loop(case=case):
            out = np.empty((101 // 7, *now.shape), dtype)
            return *leapfrog(now, before, **case, every=7, out=out), out, *leapfrog(now, before, **case)

        whole, pieces = whole_and_cut(monkeypatch, loop)
        assert all(map(np.array_equal, whole, pieces))


@pytest.mark.parametrize("dtype", DTYPES)
def test_windows_and_threads_change_no_bit_of_the_one_level_loops(dtype, in_small_windows, monkeypatch):
    rng = np.random.default_rng(13)
    now, _, drive, encoder = random_field(rng, (2, 2, 1003), dtype, 2, 57)
    kernel = rng.standard_normal((2, 2, 5)) / 10
    profile = rng.uniform(-0.3, 0.3, (2, 3, 1003))
    bias = rng.standard_normal((2, 1003)) / 4
    case = {"steps": 57, "drive": drive, "injection": injection(encoder, dtype), "bias": bias, "nonlinearity": "tanh"}
    for boundary in ("periodic", "fixed", "free", "open"):
        for loop in (
            lambda **k: convolve(now, kernel=kernel, **case, **k),
            lambda **k: transport(now, taps=kernel[0], **case, **k),
            lambda **k: transport(now, taps=profile, **case, **k),
        ):

            def run(loop=loop, boundary=boundary):
                out = np.empty((57 // 4, *now.shape), dtype)
                return loop(boundary=boundary, every=4, out=out), out

            whole, pieces = whole_and_cut(monkeypatch, run)
            assert all(map(np.array_equal, whole, pieces))


@pytest.mark.parametrize("reach", range(1, WIDEST + 1))
@pytest.mark.parametrize("dtype", DTYPES)
def test_vectors_give_the_bits_of_the_plain_loop(dtype, reach):
    rng = np.random.default_rng(reach)
    margin, halo, cells = _windows.MARGIN_BYTES // np.dtype(dtype).itemsize, 64, 203
    for steps, q in ((1, 0.9), (FUSED, 0.9), (FUSED, 1)) if reach == 1 else ((1, 0.9),):
        now, before = rng.standard_normal((2, 2 * (margin + halo) + cells)).astype(dtype)
        taps, q = rng.standard_normal(reach + 1).astype(dtype), dtype(q)
        plain, vectors = [now.copy(), before.copy()], [now.copy(), before.copy()]
        for step in range(steps):
            stepped(*plain, margin + step + reach, now.size - margin - step - reach, taps, q)
            plain.reverse()
        (one_step if steps == 1 else fused_steps)(*vectors, margin, cells + 2 * halo, taps, q)
        vectors = vectors[::-1] if steps == 1 else vectors
        known = slice(margin + steps * reach, margin + cells + 2 * halo - steps * reach)
        assert np.array_equal(plain[0][known], vectors[0][known])
        assert np.array_equal(plain[1][known], vectors[1][known])


@pytest.mark.parametrize("boundary", ["periodic", "fixed", "free"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_steps_taken_together_give_the_bits_of_single_steps(dtype, boundary):
    """Undriven steps run several in a pass, driven ones singly; a drive with weights of zero must change nothing."""
    rng = np.random.default_rng(21)
    for size in (*SIZES, 3000):
        now, before = rng.standard_normal((2, 1, 2, size)).astype(dtype)
        case = {"taps": [0.3, 1.4, 0.3], "q": 0.99, "boundary": boundary, "steps": 103}
        entries = injection(np.ones((2, size, 1)), dtype)
        nothing = {"drive": np.ones((1, 103, 1), dtype), "injection": entries._replace(weight=0 * entries.weight)}
        assert all(map(np.array_equal, leapfrog(now, before, **case), leapfrog(now, before, **case, **nothing)))


def test_loops_may_be_called_from_several_threads_at_once(in_small_windows):
    rng = np.random.default_rng(31)
    fields = rng.standard_normal((6, 1, 1, 2003))
    call = lambda field: leapfrog(field, field, taps=[0.5, 1, 0.5], q=1, steps=200)[0]  # noqa: E731
    alone = [call(field) for field in fields]
    with ThreadPoolExecutor(6) as pool:
        together = list(pool.map(call, fields))
    assert all(map(np.array_equal, alone, together))


# ---- manners ------------------------------------------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 3), st.integers(1, 30), st.integers(1, 4), st.integers(0, 2**32 - 1))
def test_entries_enter_where_the_encoder_says_in_any_order(rings, size, inputs, seed):
    rng = np.random.default_rng(seed)
    encoder = rng.integers(-3, 4, (rings, size, inputs)).astype(float)
    drive = rng.integers(-3, 4, (2, 1, inputs)).astype(float)
    entries = injection(encoder, np.float64)
    shuffled = [rng.permutation(np.arange(a, b)) for a, b in zip(entries.start[:-1], entries.start[1:], strict=True)]
    order = np.concatenate(shuffled).astype(int)
    entries = Injection(entries.start, *(part[order] for part in entries[1:]))
    field = transport(np.zeros((2, rings, size)), taps=[0, 1, 0], steps=1, drive=drive, injection=entries)
    assert np.array_equal(field, np.einsum("cni,bi->bcn", encoder, drive[:, 0]))


def test_weights_that_are_zero_are_left_out():
    """Zero times NaN would be NaN: it must not reach a ring or a position that no weight joins to it."""
    field = np.ones((1, 2, 9))
    field[0, 1] = np.nan
    kernel = np.zeros((2, 2, 3))
    kernel[[0, 1], [0, 1]] = [0.5, 0.5, 0]
    moved = convolve(field, kernel=kernel, steps=5)
    assert np.array_equal(moved[0, 0], np.ones(9))
    assert np.isnan(moved[0, 1]).all()


def test_nan_is_not_hidden_by_the_rectifier():
    field = np.array([[[1.0, np.nan, -2.0]]])
    moved = transport(field, taps=[0, 1, 0], nonlinearity="relu", steps=1)
    np.testing.assert_array_equal(moved, [[[1.0, np.nan, 0.0]]])


@pytest.mark.parametrize("dtype", DTYPES)
def test_denormal_numbers_are_zero_inside_a_loop_and_whole_again_after_it(dtype):
    tiny = np.finfo(dtype).tiny
    field = np.full((1, 1, 8), tiny, dtype)
    assert not transport(field, taps=[0, 0.5, 0], steps=1).any()
    assert not leapfrog(field, np.zeros_like(field), taps=[0, 0.5, 0], q=1, steps=1)[0].any()
    assert (field * dtype(0.5)).all()


def test_arguments_are_left_as_they_were():
    rng = np.random.default_rng(41)
    now, before = rng.standard_normal((2, 1, 2, 30))
    kept = now.copy(), before.copy()
    for steps in (0, 1, 5):
        moved = [
            *leapfrog(now, before, taps=[0.5, 1, 0.5], q=1, steps=steps),
            transport(now, taps=[1, 0, 0], steps=steps),
        ]
        assert not any(np.shares_memory(a, b) for a in moved for b in (now, before))
        assert np.array_equal(now, kept[0])
        assert np.array_equal(before, kept[1])
        assert steps or np.array_equal(moved[0], now)


FIELD = np.zeros((2, 3, 8))


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: leapfrog(FIELD, FIELD, taps=[1, 0, 0.5], q=1, steps=1), "taps must be symmetric"),
        (lambda: leapfrog(FIELD, FIELD, taps=[1, 1], q=1, steps=1), "taps must be symmetric"),
        (lambda: leapfrog(FIELD, FIELD, q=1, steps=1), "either taps or conductance"),
        (lambda: leapfrog(FIELD, FIELD, taps=[1, 0, 1], q=[1, 1], steps=1), "one for each of 3"),
        (lambda: leapfrog(FIELD, FIELD, taps=[1, 0, 1], q=1, boundary="open", steps=1), "boundary must be"),
        (lambda: leapfrog(FIELD, FIELD[:1], taps=[1, 0, 1], q=1, steps=1), "of one shape"),
        (
            lambda: leapfrog(FIELD.astype(int), FIELD.astype(int), taps=[1, 0, 1], q=1, steps=1),
            "float32 or float64",
        ),
        (
            lambda: leapfrog(FIELD[..., :2], FIELD[..., :2], taps=[1, 0, 1], q=1, boundary="absorbing", steps=1),
            "at least 3 positions, got 2",
        ),
        (lambda: leapfrog(FIELD[..., :0], FIELD[..., :0], taps=[1, 0, 1], q=1, steps=1), "positions, got 0"),
        (lambda: transport(FIELD, taps=np.ones((2, 3)), steps=1), "taps must have shape"),
        (lambda: transport(FIELD, taps=[1, 0], steps=1), "taps must have shape"),
        (lambda: transport(FIELD, taps=[1, 0, 0], nonlinearity="sine", steps=1), "nonlinearity must be"),
        (lambda: transport(FIELD, taps=[1, 0, 0], boundary="loose", steps=1), "boundary must be"),
        (lambda: transport(FIELD, taps=[1, 0, 0], bias=np.zeros(8), steps=1), "bias must have shape"),
        (lambda: convolve(FIELD, kernel=np.ones((2, 2, 3)), steps=1), "kernel must have shape"),
        (lambda: convolve(FIELD, kernel=np.ones((3, 3, 3)), boundary_row=np.ones((3, 8)), steps=1), "boundary_row"),
        (
            lambda: transport(FIELD, taps=[1, 0, 0], steps=2, every=1, out=np.zeros((1, 2, 3, 8))),
            r"out must be .* \(2, 2, 3, 8\)",
        ),
        (
            lambda: transport(
                FIELD, taps=[1, 0, 0], steps=2, drive=np.ones((2, 3, 1)), injection=injection(np.ones((3, 8, 1)), float)
            ),
            "drive must have shape",
        ),
        (
            lambda: transport(
                FIELD, taps=[1, 0, 0], steps=2, drive=np.ones((2, 2, 1)), injection=injection(np.ones((3, 9, 1)), float)
            ),
            "injection.position",
        ),
        (
            lambda: transport(
                FIELD, taps=[1, 0, 0], steps=2, drive=np.ones((2, 2, 1)), injection=injection(np.ones((3, 8, 2)), float)
            ),
            "injection.input",
        ),
    ],
)
def test_arguments_that_do_not_fit_are_refused_by_name(call, named):
    with pytest.raises(ValueError, match=named):
        call()
