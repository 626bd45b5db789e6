import numpy as np
import pytest
from scipy import signal

from analysis import synthetic


def signed_power(values):
    """|U(k, f)|² by its definition, U = Σ u e^{−2πi(ft − kx)}, as an explicit sum: rows k, columns f ≥ 0."""
    steps, size = values.shape
    t, x = np.arange(steps), np.arange(size)
    f, k = np.arange(steps // 2 + 1) / steps, np.fft.fftfreq(size)
    in_time = np.exp(-2j * np.pi * np.outer(f, t)) @ values  # (f, x)
    return np.abs(np.exp(2j * np.pi * np.outer(k, x)) @ in_time.T) ** 2


def index(values):
    power, size = signed_power(values), values.shape[1]
    right, left = power[1 : (size + 1) // 2, 1:-1].sum(), power[size // 2 + 1 :, 1:-1].sum()
    return (right - left) / (right + left)


def test_plane_wave_has_its_crests_where_k_and_f_say():
    rec = synthetic.plane(synthetic.line(24, dx=0.4, units="mm"), 300, wavenumber=0.2, frequency=3.3, dt=0.01)
    speed, shift = 3.3 / 0.2, 0.4
    later = rec.activity.interp(time=rec.time[:-5] + shift / speed, method="cubic").values
    np.testing.assert_allclose(
        later[10:, 1:], rec.activity.values[10:-5, :-1], atol=2e-5
    )  # cubic interpolation in time


def test_units_and_boundary_are_told():
    ring = synthetic.plane(synthetic.ring(8, dx=0.5, units="mm"), 4, wavenumber=0.25, frequency=1.0, time_units="s")
    assert ring.attrs["boundary"] == "periodic"
    assert ring.position.attrs["units"] == "mm"
    assert ring.time.attrs["units"] == "s"
    assert synthetic.white_noise(synthetic.line(8), 4, seed=0).attrs["boundary"] == "open"


def test_mixture_has_the_closed_form_direction_index():
    for ratio in (0.0, 0.25, 0.5, 1.0):
        rec = synthetic.mixed(synthetic.ring(64), 256, ratio=ratio, wavenumber=5 / 64, frequency=12 / 256)
        assert index(rec.activity.values) == pytest.approx((1 - ratio**2) / (1 + ratio**2), abs=1e-12)


def test_target_wave_is_the_same_at_equal_distance():
    rec = synthetic.target(synthetic.sheet((9, 9)), 20, wavenumber=0.1, frequency=0.05, centre=(4, 4), decay=5.0)
    u = rec.activity.values
    np.testing.assert_allclose(u, u[:, ::-1, :], atol=1e-12)
    np.testing.assert_allclose(u, u.transpose(0, 2, 1), atol=1e-12)
    outwards = rec.activity.sel(y=4.0, x=6.0).values / np.exp(-4 / 50)
    np.testing.assert_allclose(
        outwards[4:], rec.activity.sel(y=4.0, x=4.0).values[:-4], atol=1e-12
    )  # 2 away, speed 0.5


@pytest.mark.parametrize("arms", [1, -1, 2])
def test_rotating_wave_winds_as_often_as_it_has_arms(arms):
    rec = synthetic.rotating(synthetic.sheet((9, 9)), 40, frequency=0.05, centre=(4, 4), arms=arms)
    analytic = np.fft.fft(rec.activity.values, axis=0)[2]  # f = 2/40
    around = np.exp(1j * np.pi / 2 * np.arange(5))  # the four neighbours of the centre, counter-clockwise
    phase = np.angle([analytic[4 + round(z.imag), 4 + round(z.real)] for z in around])
    winding = np.angle(np.exp(1j * np.diff(phase))).sum() / (2 * np.pi)
    if abs(arms) == 1:
        assert winding == pytest.approx(-arms)  # the phase falls in the direction of travel
    else:
        np.testing.assert_allclose(np.cos(np.diff(phase)), np.cos(arms * np.pi / 2), atol=1e-9)


def test_electrodes_see_the_same_wave_as_the_sheet_under_them():
    sheet = synthetic.plane(synthetic.sheet((5, 6)), 30, wavenumber=(0.1, -0.07), frequency=0.1)
    scattered = synthetic.electrodes([3.0, 0.0], [4.0, 2.0])
    seen = synthetic.plane(scattered, 30, wavenumber=(0.1, -0.07), frequency=0.1).activity
    np.testing.assert_allclose(seen[:, 0], sheet.activity.sel(x=3.0, y=4.0), atol=1e-12)
    np.testing.assert_allclose(seen[:, 1], sheet.activity.sel(x=0.0, y=2.0), atol=1e-12)


def test_moving_pattern_moves_rigidly():
    u = synthetic.moving_pattern(synthetic.ring(64), 50, speed=-1.0, seed=3).activity.values
    np.testing.assert_allclose(u[1:], np.roll(u[:-1], -1, axis=1), atol=1e-12)
    assert u.var() == pytest.approx(1.0)
    v = synthetic.moving_pattern(synthetic.line(64), 50, speed=2.0, seed=3).activity.values
    np.testing.assert_allclose(v[1:, 2:], v[:-1, :-2], atol=1e-12)


def test_dispersive_wave_has_power_only_on_its_relation():
    def relation(k):
        return np.round(256 * np.sqrt(0.03**2 + (0.5 * k) ** 2)) / 256  # on the bins, so that nothing leaks

    u = synthetic.dispersive(synthetic.ring(64), 256, relation=relation, seed=0).activity.values
    power = signed_power(u)
    k, bins = np.arange(1, 17), np.round(256 * relation(np.arange(1, 17) / 64)).astype(int)
    assert power[k, bins].sum() == pytest.approx(power[:, :-1].sum(), rel=1e-12)


def test_autoregressive_noise_has_its_autocorrelation():
    rec = synthetic.autoregressive_noise(synthetic.line(200), 2000, seed=1, coefficient=0.8)
    u = rec.activity.values
    assert u.var() == pytest.approx(1.0, abs=0.02)
    for lag in (1, 3):
        assert np.mean(u[lag:] * u[:-lag]) == pytest.approx(0.8**lag, abs=0.02)


@pytest.mark.parametrize("exponent", [0.0, 1.0, 2.0])
def test_power_law_noise_has_its_slope(exponent):
    rec = synthetic.power_law_noise(synthetic.line(300), 1024, seed=2, exponent=exponent)
    f, power = signal.welch(rec.activity.values, nperseg=512, axis=0)
    band = (f > 0.02) & (f < 0.3)
    slope = np.polyfit(np.log(f[band]), np.log(power[band].mean(axis=1)), 1)[0]
    assert slope == pytest.approx(-exponent, abs=0.05)


def test_power_law_noise_is_flat_below_half_a_cycle_in_its_record(monkeypatch):
    noted, drawn = [], synthetic._gaussian_field
    monkeypatch.setattr(synthetic, "_gaussian_field", lambda *args: noted.append(args[3]) or drawn(*args))
    synthetic.power_law_noise(synthetic.line(3), 100, seed=0, exponent=2.0, dt=0.5)
    lowest = 1 / (2 * 100 * 0.5)
    power = noted[0](lowest * np.array([0, 0.25, 1, 2, 8]), [])
    np.testing.assert_allclose(power, [0, lowest**-2, lowest**-2, lowest**-2 / 4, lowest**-2 / 64])


def test_narrowband_noise_stays_in_its_band():
    rec = synthetic.narrowband_noise(synthetic.line(100), 1024, seed=2, frequency=0.1, bandwidth=0.01)
    f, power = signal.welch(rec.activity.values, nperseg=512, axis=0)
    power = power.mean(axis=1)
    assert np.sum(f * power) / power.sum() == pytest.approx(0.1, abs=0.002)
    assert power[(f > 0.06) & (f < 0.14)].sum() / power.sum() > 0.99


@pytest.mark.parametrize("asymmetry", [-0.6, 0.0, 0.3])
@pytest.mark.parametrize("where", [synthetic.ring(32), synthetic.line(32)], ids=["ring", "line"])
def test_smooth_noise_has_its_asymmetry_on_average(asymmetry, where):
    found = [
        index(
            synthetic.smooth_noise(where, 128, seed=s, asymmetry=asymmetry, wavelength=4.0, period=4.0).activity.values
        )
        for s in range(40)
    ]
    leak = 0.0 if where.boundary == "periodic" else 0.05  # the cut at open ends mixes the directions a little
    assert np.mean(found) == pytest.approx(asymmetry, abs=4 * np.std(found) / np.sqrt(40) + leak)


def test_trials_and_channels_are_independent_and_in_the_order_of_recordings():
    for make in (synthetic.white_noise, synthetic.autoregressive_noise, synthetic.smooth_noise):
        rec = make(synthetic.sheet((6, 7)), 50, seed=4, trials=3, channels=2)
        assert rec.activity.dims == ("trial", "time", "channel", "y", "x")
        flat = rec.activity.transpose("trial", "channel", "time", "y", "x").values.reshape(6, -1)
        correlation = np.corrcoef(flat)
        assert np.abs(correlation - np.eye(6)).max() < 0.5


def test_the_same_seed_gives_the_same_noise():
    ring = synthetic.ring(16)
    a, b, c = (synthetic.smooth_noise(ring, 20, seed=seed).activity.values for seed in (1, 1, 2))
    np.testing.assert_array_equal(a, b)
    assert not np.allclose(a, c)


def test_noise_is_added_at_the_ratio_asked_for():
    clean = synthetic.plane(synthetic.ring(64), 512, wavenumber=5 / 64, frequency=12 / 256)
    noisy = synthetic.with_noise(clean, 2.0, seed=0)
    added = (noisy.activity - clean.activity).values
    assert clean.activity.values.std() / added.std() == pytest.approx(2.0, rel=0.02)


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match=r"wavenumber is 0\.1: 2 component"):
        synthetic.plane(synthetic.sheet((4, 4)), 10, wavenumber=0.1, frequency=0.1)
    with pytest.raises(ValueError, match="steps is 0"):
        synthetic.plane(synthetic.ring(4), 0, wavenumber=0.1, frequency=0.1)
    with pytest.raises(ValueError, match="size is -3"):
        synthetic.ring(-3)
    with pytest.raises(ValueError, match="dx is 0"):
        synthetic.line(4, dx=0)
    with pytest.raises(ValueError, match="direction is 'up'"):
        synthetic.dispersive(synthetic.ring(8), 10, relation=lambda k: k, seed=0, direction="up")
    with pytest.raises(ValueError, match="asymmetry is 2"):
        synthetic.smooth_noise(synthetic.ring(8), 10, seed=0, asymmetry=2)
    with pytest.raises(ValueError, match="coefficient is 1"):
        synthetic.autoregressive_noise(synthetic.ring(8), 10, seed=0, coefficient=1.0)
    with pytest.raises(ValueError, match="ring or a line"):
        synthetic.moving_pattern(synthetic.sheet((4, 4)), 10, speed=1.0, seed=0)
    with pytest.raises(ValueError, match="scattered electrodes"):
        synthetic.smooth_noise(synthetic.electrodes([0.0], [1.0]), 10, seed=0)
    with pytest.raises(ValueError, match="equally long"):
        synthetic.electrodes([0.0], [1.0, 2.0])
    with pytest.raises(ValueError, match="snr is 0"):
        synthetic.with_noise(synthetic.white_noise(synthetic.ring(8), 10, seed=0), 0, seed=0)
