"""Sheets in `simulate`: images, movies, velocities, rims, files and continuations; and reading known sites."""

import numpy as np
import pytest
import xarray as xr

import wavefield as wf

SHEET = wf.wave(0.5, 0.01, dims=2)
SIZE = (11, 14)


def stepped_by_numpy(movie, start=None, velocity=None):
    """Leapfrog with np.roll alone; a movie is added as a force."""
    zero = np.zeros(SIZE)
    c2, g = 0.25, 0.005

    def moved(h):
        return 2 * h + c2 * (sum(np.roll(h, s, a) for s in (1, -1) for a in (0, 1)) - 4 * h)

    now = zero if start is None else start
    before = (moved(now) - 2 * (zero if velocity is None else velocity) * (1 + g)) / 2  # h[1] − h[−1] = 2v
    states = []
    for frame in movie:
        now, before = (moved(now) - (1 - g) * before) / (1 + g) + frame, now
        states.append(now)
    return np.array(states)


def test_an_image_a_velocity_and_a_movie_move_a_sheet():
    rng = np.random.default_rng(0)
    movie, start, velocity = rng.standard_normal((20, *SIZE)), *rng.standard_normal((2, *SIZE))
    # damping acts on the start: (a ⋆ h₀ − 2v)/(1 + q), with q = (1 − g)/(1 + g)
    rec = wf.simulate(SHEET, movie, initial=start, velocity=velocity, encoder="everywhere", source="force")
    np.testing.assert_allclose(rec.activity[:, 0], stepped_by_numpy(movie, start, velocity), atol=1e-12)


def test_a_movie_as_a_pulse_is_taken_back_two_steps_later():
    movie = np.random.default_rng(0).standard_normal((20, *SIZE))
    forced = movie.copy()
    forced[2:] -= movie[:-2]
    rec = wf.simulate(SHEET, movie, encoder="everywhere")
    np.testing.assert_allclose(rec.activity[:, 0], stepped_by_numpy(forced), atol=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int16])
def test_a_movie_mapped_from_a_file_is_continued_from_a_file(tmp_path, dtype):
    np.save(tmp_path / "movie.npy", (9 * np.random.default_rng(0).standard_normal((20, *SIZE))).astype(dtype))
    movie = np.load(tmp_path / "movie.npy", mmap_mode="r")
    whole = wf.simulate(SHEET, movie, encoder="everywhere")
    assert np.shares_memory(whole.drive.values, movie)  # still in its file
    np.testing.assert_array_equal(whole.activity, wf.simulate(SHEET, np.array(movie), encoder="everywhere").activity)
    with wf.simulate(SHEET, movie[:9], encoder="everywhere", path=tmp_path / "first.nc") as first:
        rest = wf.simulate(SHEET, movie[9:], initial=first)
    np.testing.assert_array_equal(rest.activity, whole.activity[9:])
    with pytest.raises(ValueError, match="sites='anywhere'"):
        wf.decode(whole)


@pytest.mark.parametrize("chunks", [None, {"time": 3}])
def test_a_movie_in_a_netcdf_file_is_read_frame_by_frame(tmp_path, monkeypatch, chunks):
    frames = np.random.default_rng(0).integers(0, 255, (20, *SIZE)).astype(np.uint8)
    xr.Dataset({"light": (("time", "y", "x"), frames)}).to_netcdf(tmp_path / "movie.nc", engine="h5netcdf")
    expected = wf.simulate(SHEET, frames.astype(float), encoder="everywhere")
    monkeypatch.setattr("wavefield.simulation.run._BLOCK_BYTES", 5 * 8 * frames[0].size)
    with xr.open_dataset(tmp_path / "movie.nc", engine="h5netcdf", chunks=chunks) as file:
        in_memory = wf.simulate(SHEET, file.light, encoder="everywhere")
        assert in_memory.drive.chunks is not None  # still in its file
        with wf.simulate(SHEET, file.light, encoder="everywhere", path=tmp_path / "run.nc") as rec:
            for found in (in_memory, rec):
                np.testing.assert_array_equal(found.activity, expected.activity)
                np.testing.assert_array_equal(found.drive, expected.drive)


@pytest.mark.parametrize("block", [64_000_000, 8 * 5 * SIZE[0] * SIZE[1]])
def test_a_frame_of_a_file_that_is_not_finite_is_named(tmp_path, monkeypatch, block):
    monkeypatch.setattr("wavefield.simulation.run._BLOCK_BYTES", block)
    frames = np.ones((20, *SIZE))
    frames[12, 3, 4] = np.nan
    xr.Dataset({"light": (("time", "y", "x"), frames)}).to_netcdf(tmp_path / "movie.nc", engine="h5netcdf")
    with (
        xr.open_dataset(tmp_path / "movie.nc", engine="h5netcdf") as file,
        pytest.raises(ValueError, match="drive must be finite, it holds NaN or infinity at step 12"),
    ):
        wf.simulate(SHEET, file.light, encoder="everywhere")


def test_an_input_of_a_drum_without_a_middle_enters_where_it_is_deepest():
    mask = np.zeros((9, 9), bool)
    mask[:, :3] = True  # three columns at the edge of the sheet, beyond which there is nothing either
    rec = wf.simulate(wf.wave(0.5, dims=2, mask=mask), [1.0], size=mask.shape)
    (y,), (x,) = np.nonzero(rec.activity[-1, 0].values)
    assert x == 1
    assert 1 <= y <= 7


def test_what_is_given_outside_of_a_drum_is_nothing():
    mask = np.random.default_rng(0).random(SIZE) < 0.5
    op, ones = wf.wave(0.5, dims=2, mask=mask), np.ones((1, *SIZE))
    rec = wf.simulate(op, initial=ones, previous=ones, steps=1, save_initial=True)
    np.testing.assert_array_equal(rec.activity[0, 0], mask)
    assert not rec.activity.values[1, 0][~mask].any()


def test_both_axes_of_a_sheet_have_the_unit_of_position():
    rec = wf.simulate(SHEET, steps=1, size=SIZE, units={"position": "mm"})
    assert (rec.y.attrs["units"], rec.x.attrs["units"]) == ("mm", "mm")


@pytest.mark.parametrize("fixed", [0, 1])
def test_a_sheet_at_rest_between_a_rim_and_fixed_ends_was_a_step_ago_where_it_will_be(fixed):
    """A standing wave cos(θt) sin(π(n+1)k/(N+1)), sin(θ/2) = r sin(πk/2(N+1)), alike along the other axis."""
    size, k, r = (13, 11), 3, 0.6
    boundary = ("fixed", "absorbing") if fixed == 0 else ("absorbing", "fixed")
    along = np.sin(np.pi * k * np.arange(1, size[fixed] + 1) / (size[fixed] + 1))
    start = np.broadcast_to(along[:, None] if fixed == 0 else along, size)
    rec = wf.simulate(wf.wave(r, dims=2, boundary=boundary, rim=3), initial=start, steps=0)
    turn = 2 * np.arcsin(r * np.sin(np.pi * k / (2 * (size[fixed] + 1))))
    np.testing.assert_allclose(rec.previous[0], np.cos(turn) * start, atol=1e-14)


@pytest.mark.parametrize("trials", [False, True])
def test_a_sheet_with_an_absorbing_rim_goes_on_as_if_never_cut(tmp_path, trials):
    op = wf.wave(0.6, dims=2, boundary=("absorbing", "free"), rim=4)
    drive = np.random.default_rng(0).standard_normal((3, 60, 1) if trials else (60, 1))
    whole = wf.simulate(op, drive, size=(13, 11))
    first = wf.simulate(op, drive[..., :35, :], size=(13, 11), path=tmp_path / "first.nc")
    rest = wf.simulate(op, drive[..., 35:, :], initial=first)
    np.testing.assert_array_equal(rest.activity, whole.activity.isel(time=slice(35, None)))
    np.testing.assert_array_equal(rest.rim_fields, whole.rim_fields)
    with pytest.raises(ValueError, match="fields of its absorbing rim"):
        wf.simulate(op, steps=3, initial=first.isel(time=slice(0, 20)))
    first.close()


def test_waves_leave_through_the_rim_as_from_a_larger_sheet():
    op, far = wf.wave(0.6, dims=2, boundary="absorbing", rim=20), wf.wave(0.6, dims=2, boundary="fixed")
    source = wf.ricker(0.05, 150)  # twelve cells a wavelength

    def trace(operator, size):
        middle = (size // 2, size // 2)
        rec = wf.simulate(operator, source, encoder=wf.encoder_at([middle], (size, size)), source="force")
        inner = slice(size // 2 - 9, size // 2 + 10)
        return rec.activity[:, 0, inner, inner].values

    near, free = trace(op, 61), trace(far, 151)
    assert np.abs(near - free).max() < 2e-3 * np.abs(free).max()


def test_a_recording_of_a_sheet_holds_its_operator(tmp_path):
    mask = np.ones(SIZE, bool)
    mask[:4, :5] = False
    rng = np.random.default_rng(0)
    operators = [
        wf.wave(0.5, 0.01, dims=2, restoring=0.02, isotropic=True, boundary=("fixed", "periodic")),
        wf.wave(0.3, dims=2, dx=(1.0, 0.5), dt=0.5, mask=mask, edge="free", profile=rng.uniform(0.5, 1, SIZE)),
        wf.wave(0.5, dims=2, boundary="absorbing", rim=3),
        wf.transport(1.0, direction=0.3, boundary=("periodic", "absorbing")),
        wf.WaveOperator(rng.normal(size=(2, 2, 3, 5)) / 20),
    ]
    for op in operators:
        rec = wf.simulate(op, wf.spikes([[(2, 1.0)]] * op.rings, steps=5), size=SIZE, path=tmp_path / "a.nc")
        assert wf.operator_of(rec) == op.with_rings(op.rings)
        if isinstance(op.dx, tuple):
            assert rec.x.values[1] == 0.5
            assert rec.y.values[1] == 1.0
        rec.close()


@pytest.mark.parametrize(
    "operator",
    [
        wf.wave(0.6, dims=2, boundary=("fixed", "periodic")),
        wf.wave(0.5, 0.01, dims=2, isotropic=True, restoring=0.01),
        wf.transport(1.0, direction=(0, 1), boundary=("absorbing", "periodic")),
        wf.wave(0.6, dims=2, boundary="fixed", mask=np.hypot(*(np.indices((16, 18)) - 8.0)) < 8, edge="free"),
    ],
    ids=["two-way", "damped", "one-way", "drum"],
)
def test_inputs_at_known_sites_are_read_from_a_noisy_snapshot(operator):
    encoder = wf.encoder_at([(4, 9), (11, 5)], (16, 18))
    rec = wf.simulate(operator, wf.spikes([[(3, 1.0)], [(6, 0.5), (11, 0.8)]], steps=14), encoder=encoder)
    noise = np.random.default_rng(0).normal(0, 0.01, rec.activity.shape)
    seen = rec.assign(activity=rec.activity + (noise if operator.mask is None else noise * operator.mask))
    found = wf.decode(seen, previous=False)
    assert list(zip(found.input.values, found.onset.values, strict=True)) == [(0, 3), (1, 6), (1, 11)]
    np.testing.assert_allclose(found.amplitude, [1.0, 0.5, 0.8], atol=0.1)
    assert (found.confidence > 0.9).all()
    assert found.attrs["misfit"] > 1e-3


@pytest.mark.parametrize("nonlinearity", ["relu", "tanh"])
def test_a_kernel_of_ones_own_moves_coupled_sheets(nonlinearity):
    rng = np.random.default_rng(0)
    kernel, bias = rng.normal(size=(2, 2, 3, 5)) / 5, np.array([0.1, -0.1])
    rec = wf.simulate(
        wf.WaveOperator(kernel),
        rng.normal(size=(9, 2)),
        size=SIZE,
        nonlinearity=nonlinearity,
        bias=bias,
        dtype="float64",
    )
    state, bend = np.zeros((2, *SIZE)), {"relu": lambda h: np.maximum(h, 0), "tanh": np.tanh}[nonlinearity]
    for step in range(9):
        moved = rec.encoder.values @ rec.drive.values[step] + bias[:, None, None]
        for j, i in np.ndindex(3, 5):  # cross-correlation: tap (j, i) reads what lies j − 1 rows down
            moved += np.einsum("oc,cyx->oyx", kernel[:, :, j, i], np.roll(state, (1 - j, 2 - i), (1, 2)))
        state = bend(moved)
    np.testing.assert_allclose(rec.activity[-1], state, atol=1e-14)


def test_the_memory_of_a_sheet_counts_the_shapes_that_one_point_can_leave():
    """On a square ring of 12 the five-point stencil has 21 frequencies of waves that are even about the input."""
    a = np.cos(2 * np.pi * np.arange(7) / 12)
    frequencies = np.unique(np.round(np.add.outer(a, a), 9)).size
    held = wf.memory_capacity(wf.wave(0.6, dims=2), (12, 12), max_lag=60)
    assert held.total.item() == pytest.approx(frequencies, abs=1e-6)


BEYOND = {  # what NumPy puts beyond an edge; fixed ones are odd about a zero one cell out
    "periodic": lambda h, reach, axis: np.take(h, np.arange(-reach, h.shape[axis] + reach) % h.shape[axis], axis),
    "free": lambda h, reach, axis: np.pad(h, [(reach, reach) if a == axis else (0, 0) for a in (0, 1)], "reflect"),
    "fixed": lambda h, reach, axis: odd(h, reach, axis),
}


def odd(h, reach, axis):
    """Continued beyond both edges by its negative mirror about the zeros at −1 and N."""
    zero = np.zeros_like(np.take(h, [0], axis))
    turn = np.concatenate([h, zero, -np.flip(h, axis), zero], axis)
    return np.take(turn, np.arange(-reach, h.shape[axis] + reach) % turn.shape[axis], axis)


@pytest.mark.parametrize("size", [(1, 1), (1, 6), (2, 2), (3, 1), (2, 4)], ids=str)
@pytest.mark.parametrize("boundary", [("periodic", "periodic"), ("fixed", "periodic"), ("free", "fixed")], ids=str)
def test_a_sheet_smaller_than_its_kernel_is_read_around_and_beyond_its_edges(boundary, size):
    rng, second = np.random.default_rng(1), np.array([-1 / 12, 4 / 3, -5 / 2, 4 / 3, -1 / 12])
    start, before = rng.standard_normal((2, *size))
    rec = wf.simulate(
        wf.wave(0.5, dims=2, order=4, boundary=boundary), initial=start[None], previous=before[None], steps=9
    )
    now = start
    for _ in range(9):
        bend = np.zeros(size)
        for axis in (0, 1):
            around = BEYOND[boundary[axis]](now, 2, axis)
            bend += sum(w * np.take(around, np.arange(k, k + size[axis]), axis) for k, w in enumerate(second))
        now, before = 2 * now - before + 0.25 * bend, now
    np.testing.assert_allclose(rec.activity[-1, 0], now, atol=1e-12)
