"""A picture shown at a known time is read back: exactly by both levels, as far as noise allows by one."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from scipy.optimize import minimize_scalar

import wavefield as wf

SIZE = (16, 12)
PICTURE = gaussian_filter(np.random.default_rng(50).standard_normal(SIZE), 1.5)
PICTURE /= PICTURE.std()
MASK = np.ones(SIZE, bool)
MASK[:8, 6:] = False
SHEETS = {
    "periodic": wf.wave(0.6, dims=2),
    "damped": wf.wave(0.6, 0.02, dims=2),
    "fixed and free": wf.wave(0.6, dims=2, boundary=("fixed", "free")),
    "L-shaped": wf.wave(0.6, dims=2, boundary="fixed", mask=MASK),
    "medium": wf.wave(0.6, dims=2, profile=np.linspace(0.6, 1, 192).reshape(SIZE)),
}


def shown(operator, how, noise, rng, trials=None):
    """Recording of a sheet to which the picture was shown, and the step of which it was the input."""
    picture = PICTURE * (MASK if operator.mask is not None else 1)
    if how == "initial":
        rec, step = wf.simulate(operator, initial=picture[None], steps=30, save_every=None), None
    else:
        drive = np.zeros((40, 1))
        drive[9] = 1.0
        rec = wf.simulate(operator, drive, encoder=picture[None, :, :, None], source=how, save_every=None)
        step = 9
    inside = MASK if operator.mask is not None else 1
    for level in ("activity", "previous"):
        rec[level] = rec[level] + noise * rng.normal(size=rec[level].shape) * inside
    return rec, step, picture


@pytest.mark.parametrize("sheet", SHEETS)
@pytest.mark.parametrize("how", ["initial", "pulse", "force"])
def test_both_levels_without_noise_give_the_picture_to_rounding(sheet, how):
    rec, step, picture = shown(SHEETS[sheet], how, 0.0, np.random.default_rng(51))
    back = wf.read_picture(rec, step)
    np.testing.assert_allclose(back.picture[0], picture, atol=1e-10)


def test_the_picture_is_what_reversal_finds():
    rec, _, _ = shown(SHEETS["periodic"], "initial", 0.0, np.random.default_rng(52))
    np.testing.assert_allclose(wf.read_picture(rec).picture, wf.reverse(rec).activity[0], atol=1e-10)


@pytest.mark.parametrize("sheet", SHEETS)
def test_noise_and_error_are_those_of_the_picture(sheet):
    """Both levels: the noise within a tenth, the error of a cell within a half, half of it where it is estimated."""
    rec, step, picture = shown(SHEETS[sheet], "pulse", 0.05, np.random.default_rng(53))
    back = wf.read_picture(rec, step)
    assert back.attrs["noise"] == pytest.approx(0.05, rel=0.1)
    error = np.sqrt(np.mean((back.picture.values[0] - picture)[MASK | (SHEETS[sheet].mask is None)] ** 2))
    assert back.attrs["error"] == pytest.approx(error, rel=0.5)
    assert error < 0.1


@pytest.mark.parametrize("sheet", SHEETS)
def test_displacement_alone_gives_the_picture_as_far_as_noise_allows(sheet):
    """Modes that stand near zero are lost; those that do not are not amplified."""
    rec, step, picture = shown(SHEETS[sheet], "pulse", 0.05, np.random.default_rng(54))
    back = wf.read_picture(rec, step, previous=False, noise=0.05)
    assert np.std(back.picture.values[0] - picture) < 0.4
    assert 0.5 < back.attrs["resolution"] <= 1.0


def test_trials_units_and_lines():
    rng = np.random.default_rng(55)
    picture = rng.normal(size=(3, 2, 12, 10))
    operator = wf.wave([0.5, 0.6], dims=2, dx=(0.5, 2.0), dt=0.5)
    back = wf.read_picture(wf.simulate(operator, initial=picture, steps=9, save_every=None))
    assert back.picture.dims == ("trial", "channel", "y", "x")
    np.testing.assert_allclose(back.picture, picture, atol=1e-8)
    assert back.y.values[1] == 0.5
    assert back.x.values[1] == 2.0
    assert len(back.attrs["noise"]) == 3
    line = wf.simulate(wf.wave(0.8, boundary="free"), initial=picture[0, 0, :1], steps=9, save_every=None)
    np.testing.assert_allclose(wf.read_picture(line).picture[0], picture[0, 0, 0], atol=1e-8)
    assert not wf.read_picture(np.zeros((8, 8)), 2, wf.wave(0.5, dims=2), steps=5).picture.any()


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"step": 5}, "step must be one of the 5 steps"),
        ({"step": -1}, "step must be at least 0"),
        ({"operator": wf.transport(1.0), "snapshot": np.zeros(8)}, "two-way field"),
        ({"steps": None}, "steps must be given"),
        ({"noise": -1.0}, "noise must be a finite number"),
    ],
)
def test_bad_arguments_are_named(given, text):
    arguments = {"snapshot": np.zeros((8, 8)), "step": 2, "operator": wf.wave(0.5, dims=2), "steps": 5} | given
    with pytest.raises(ValueError, match=text):
        wf.read_picture(arguments.pop("snapshot"), arguments.pop("step"), arguments.pop("operator"), **arguments)


@pytest.mark.parametrize("age", [0, 1, 2, 3])
@pytest.mark.parametrize("source", ["pulse", "force"])
def test_a_picture_of_a_few_steps_ago_is_read_from_arrays(age, source):
    op, drive = SHEETS["periodic"], np.zeros((6, 1))
    drive[5 - age] = 1.0
    rec = wf.simulate(op, drive, encoder=PICTURE[None, :, :, None], source=source)
    levels = rec.activity.values[-1], rec.previous.values
    back = wf.read_picture(levels[0], 5 - age, op, steps=6, source=source, previous=levels[1])
    np.testing.assert_allclose(back.picture[0], PICTURE, atol=1e-10)


@pytest.mark.parametrize("size", [(5, 7), (4, 6), (6, 5)])
def test_the_picture_and_its_doubts_are_those_of_ridge_regression_of_largest_evidence(size):
    """y = K X + σ ε, X ~ N(0, τ²): K written out, τ where N(0, τ²KKᵀ + σ²) is most probable."""
    op, age, sigma, rng = wf.wave(0.6, 0.1, dims=2, dx=(0.5, 2.0), dt=0.7), 5, 0.5, np.random.default_rng(54)
    cells = int(np.prod(size))
    forward = np.linalg.matrix_power(op.matrix(size).toarray(), age)[:, :cells]
    y = forward @ (2 * rng.standard_normal(cells)) + sigma * rng.standard_normal(2 * cells)
    back = wf.read_picture(
        y[:cells].reshape(1, *size), 9 - age, op, steps=10, source="force", previous=y[cells:].reshape(1, *size),
        noise=sigma,
    )  # fmt: skip
    u, s, vt = np.linalg.svd(forward, full_matrices=False)
    along = u.T @ y

    def surprise(log_spread):
        variance = np.exp(log_spread) * s**2 + sigma**2
        return (along**2 / variance + np.log(variance)).sum()

    spread = np.exp(minimize_scalar(surprise, bounds=(-10, 10), method="bounded", options={"xatol": 1e-9}).x)
    ratio = sigma**2 / spread
    picture = vt.T @ (s / (s**2 + ratio) * along)
    known = (s**2 / (s**2 + ratio)).mean()
    np.testing.assert_allclose(back.picture.values.ravel(), picture, rtol=1e-3, atol=1e-3)
    assert back.attrs["resolution"] == pytest.approx(known, rel=1e-3)
    assert back.attrs["error"] == pytest.approx(np.sqrt(spread * (1 - known)), rel=1e-3)
    assert back.attrs["residual"] == pytest.approx(np.sqrt(np.mean((y - forward @ picture) ** 2)), rel=1e-3)
    assert (back.y.values[1], back.x.values[1]) == (0.5, 2.0)


def test_what_is_left_of_a_drum_is_that_of_its_cells():
    rec, step, _ = shown(SHEETS["L-shaped"], "force", 0.05, np.random.default_rng(55))
    back = wf.read_picture(rec, step)
    again, _, _ = shown(SHEETS["L-shaped"], "force", 0.0, np.random.default_rng(55))
    drive = again.drive.values
    of_found = wf.simulate(
        SHEETS["L-shaped"], drive, encoder=back.picture.values[..., None], source="force", save_every=None
    )
    left = [(rec[name] - of_found[name]).values.reshape(SIZE)[MASK] for name in ("activity", "previous")]
    assert back.attrs["residual"] == pytest.approx(np.sqrt(np.mean(np.square(left))), rel=1e-3)
