import numpy as np
import pytest
import xarray as xr

import wavefield as wf
from analysis import synthetic
from analysis.comparison.evoked import compare_evoked, drive_events, evoked_latency
from analysis.preprocess import downsample, epochs


def evoked(speed, seed, *, trials=30, noise=0.5, delay=0.02, source=(0.0, 0.0), width=0.01):
    """A pulse that leaves `source` at `delay` s and spreads at `speed` mm/s over an 8 × 8 array, in noise."""
    steps = 0.4 * np.arange(8)
    x, y = np.meshgrid(steps, steps)
    where = synthetic.electrodes(x.ravel(), y.ravel(), units="mm")
    time = 0.002 * np.arange(-50, 101)
    distance = np.hypot(where.xy()[0] - source[0], where.xy()[1] - source[1])
    pulse = np.exp(-0.5 * ((time[:, None] - delay - distance / speed) / width) ** 2)
    values = pulse + noise * np.random.default_rng(seed).standard_normal((trials, *pulse.shape))
    coords = {
        "time": ("time", time, {"units": "s"}),
        "x": ("electrode", where.xy()[0], {"units": "mm"}),
        "y": ("electrode", where.xy()[1], {"units": "mm"}),
    }
    return xr.Dataset({"activity": (("trial", "time", "electrode"), values, {"units": "uV"})}, coords)


def driven(speed, size=256, steps=200):
    """A ring into which pulses enter at position 0, at the steps 40, 90 and 140; none comes round again."""
    drive = np.zeros((steps, 1))
    drive[[40, 90, 140]] = 1.0
    return wf.simulate(wf.transport(speed), drive, size)


def opened(rec, size):
    """The first positions of a ring, as a line."""
    return rec.isel(position=slice(0, size)).assign_attrs(boundary="open")


@pytest.mark.validate
def test_the_speed_lies_in_its_interval(draws, measured):
    count = draws(10, 100)
    found = [evoked_latency(evoked(60.0, seed), source=(0.0, 0.0), draws=99, seed=seed) for seed in range(count)]
    inside = np.mean([bool(one.speed_low <= 60.0 <= one.speed_high) for one in found])
    measured("evoked speed in its 95 % interval", float(inside), "≥ 0.90")
    assert inside >= (0.9 if count > 50 else 0.8)
    error = np.array([one.speed.item() for one in found]) - 60
    half = np.array([one.speed_high.item() - one.speed_low.item() for one in found]) / 2
    assert np.mean(half) < 6 * np.sqrt(np.mean(error**2))  # 2 of a Normal law; any truth lies in a wide one
    assert abs(np.median(error)) / 60 < 0.02


def test_the_source_is_the_sensor_that_responds_first():
    found = evoked_latency(evoked(60.0, 0, noise=0.01, source=(1.2, 2.0)), draws=5)
    assert (found.source_x.item(), found.source_y.item()) == pytest.approx((1.2, 2.0))
    assert found.rank_correlation > 0.99
    assert found.responding == 1.0


def test_a_model_ring_is_crossed_at_its_speed():
    rec = driven(1.0)
    events = drive_events(rec)
    assert events.onset.values.tolist() == [41.0, 91.0, 141.0]
    cut = epochs(rec.isel(channel=0), events.onset, before=20, after=40)
    found = evoked_latency(opened(cut, 16), source=0.0)
    assert found.speed.item() == pytest.approx(1.0, rel=1e-9)


def test_the_time_scale_of_a_model_is_found_and_tested():
    rec = driven(1.0)
    model = epochs(rec.isel(channel=0), drive_events(rec).onset, before=20, after=40)
    model = opened(model, 32)
    # 31 steps cross 32 cells; 80 mm/s cross 3.2 mm in 40 ms: 1.25 ms per step
    brain = evoked(80.0, 1)
    fitted = compare_evoked(model, brain, model_source=0.0, source=(0.0, 0.0))
    assert fitted.time_scale_low < 0.00125 < fitted.time_scale_high
    assert fitted.time_scale.item() == pytest.approx(0.00125, rel=0.05)
    assert fitted.profile_correlation > 0.98
    assert fitted.profile_misfit < 0.2
    twice = compare_evoked(model, brain, model_source=0.0, source=(0.0, 0.0), time_scale=0.0025)
    assert twice.crossing_ratio_low > 1.5
    assert twice.crossing_ratio.item() == pytest.approx(2.0, rel=0.06)


def test_a_response_that_comes_everywhere_at_once_has_no_upper_speed():
    found = evoked_latency(evoked(1e6, 2), source=(0.0, 0.0), seed=3)
    assert found.speed_high == np.inf
    assert abs(found.rank_correlation) < 0.4


def test_noise_without_a_response_is_refused():
    quiet = evoked(60.0, 4)
    quiet["activity"] = quiet.activity * 0 + np.random.default_rng(5).standard_normal(quiet.activity.shape)
    with pytest.raises(ValueError, match="at least 4 are needed; average more trials"):
        evoked_latency(quiet)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: r.isel(time=r.time > 0), "around a stimulus at time 0"),
        (lambda r: r.expand_dims(channel=2, axis=2), "select one"),
    ],
)
def test_what_is_no_epoch_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        evoked_latency(change(evoked(60.0, 6)))


def test_a_recording_without_a_drive_has_no_events():
    with pytest.raises(ValueError, match="needs a drive"):
        drive_events(evoked(60.0, 7))


def alike(shape):
    """One trial of a pulse on a line, (time, position)."""
    coords = {"time": ("time", np.arange(-10.0, 60.0), {"units": "ms"}), "position": ("position", np.arange(16.0))}
    coords["position"] += ({"units": "mm"},)
    return xr.DataArray(shape(np.arange(-10.0, 60.0)[:, None], np.arange(16.0)), coords, ("time", "position"))


def test_one_trial_gives_a_speed_without_an_interval():
    found = evoked_latency(alike(lambda t, x: np.exp(-0.5 * ((t - 10 - x / 0.5) / 3) ** 2)))
    assert found.speed.item() == pytest.approx(0.5)
    assert np.isnan([found[name].item() for name in ("slowness_low", "slowness_high", "speed_low", "speed_high")]).all()


def test_a_response_of_all_sensors_at_once_has_no_rank_correlation():
    found = evoked_latency(alike(lambda t, x: np.exp(-0.5 * ((t - 10 - 0 * x) / 3) ** 2)))
    assert found.speed == np.inf
    assert np.isnan([found.rank_correlation.item(), found.p_value.item()]).all()


def test_nan_that_no_mask_covers_is_refused():
    rec = evoked(60.0, 8, trials=3, noise=0.01)
    rec.activity[1, 5, 7] = np.nan
    with pytest.raises(ValueError, match="mask='nan'"):
        evoked_latency(rec)
    assert np.isnan(evoked_latency(rec, mask="nan", draws=5).latency).values.nonzero()[0].tolist() == [7]


def test_inputs_arrive_when_they_did_also_after_downsampling():
    fewer = downsample(driven(1.0), 4)
    assert drive_events(fewer).onset.values.tolist() == [41.0, 91.0, 141.0]


@pytest.mark.parametrize("unit", ["s", "ms", "ns"])
def test_epochs_of_decoded_times_are_cut_on_the_clock_of_the_recording(unit):
    time = np.arange(10.0, 50.0)
    pulse = np.tile(time[:, None] == 25.0, 8).astype(float)
    coords = {"time": ("time", time, {"units": "s"}), "position": ("position", np.arange(8.0), {"units": "mm"})}
    rec = xr.Dataset({"activity": (("time", "position"), pulse, {"units": "uV"})}, coords)
    decoded = rec.assign_coords(time=(1e9 * time).astype("timedelta64[ns]").astype(f"timedelta64[{unit}]"))
    cut = epochs(decoded, [25.0], before=5, after=5)
    assert cut.event_time.values.tolist() == [25.0]
    assert cut.activity.sel(time=0).sum() == 8


def test_dates_count_from_the_first_sample():
    rec = alike(lambda t, x: np.exp(-0.5 * ((t - 10 - x / 0.5) / 3) ** 2)).to_dataset(name="activity")
    dated = rec.assign_coords(time=np.datetime64("2020-01-01", "ns") + np.arange(70) * np.timedelta64(1, "s"))
    assert epochs(dated, [20.0], before=5, after=5).event_time.values.tolist() == [20.0]
