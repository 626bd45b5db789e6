"""Events: bursts of waves are found where and when they are, and noise gives as many as it is said to."""

import numpy as np
import pytest
import xarray as xr

from analysis import synthetic
from analysis.events.clusters import places, vectors
from analysis.events.detection import _core, _describe, _local_wavenumber, wave_events
from analysis.fields.field import Field
from analysis.fields.sensors import neighbour_sums

GRID = synthetic.sheet((6, 6), dx=0.4, units="mm")
ONSETS, DURATION = (0.6, 1.8, 3.0), 0.5


def bursts(where=GRID, *, wavenumber=(0.15, 0.1), frequency=10.0, snr=1.0, seed=0):
    """Three bursts of a plane wave of half a second in four seconds of white noise at 500 Hz."""
    steps, dt = 2000, 2e-3
    wave = synthetic.plane(where, steps, wavenumber=wavenumber, frequency=frequency, dt=dt, time_units="s")
    on = sum(((wave.time >= onset) & (wave.time < onset + DURATION)) for onset in ONSETS)
    noise = synthetic.white_noise(where, steps, seed=seed, dt=dt).activity.values
    return wave.assign(activity=np.sqrt(2) * snr * wave.activity * on + noise)


@pytest.fixture(scope="module")
def found():
    return wave_events(bursts(), band=(6, 14), seed=1)


def test_bursts_are_found_with_onset_duration_speed_and_direction(found):
    assert found.sizes["event"] == 3
    np.testing.assert_allclose(found.onset, ONSETS, atol=0.08)
    np.testing.assert_allclose(found.end, np.array(ONSETS) + DURATION, atol=0.08)
    np.testing.assert_allclose(found.duration, DURATION, atol=0.12)
    frame = (found.duration - (found.end - found.onset)).values  # both ends count
    assert (frame > 0).all()
    np.testing.assert_allclose((found.end - found.onset) / frame, np.rint((found.end - found.onset) / frame))
    assert ((found.mass > 0) & (found.mass < 36 * found.duration)).all()  # directionality is at most 1 at each place
    np.testing.assert_allclose(found.speed, 10 / np.hypot(0.15, 0.1), rtol=0.05)
    np.testing.assert_allclose(found.direction, np.arctan2(0.1, 0.15), atol=0.06)
    np.testing.assert_allclose(found.frequency, 10, rtol=0.03)
    np.testing.assert_allclose(found.wavelength, 1 / np.hypot(0.15, 0.1), rtol=0.05)
    assert (found.sites == 36).all()
    assert found.attrs["shortest"] == pytest.approx(0.1)  # one period of the band's centre
    assert (found.expected_false < 0.05).all()
    assert (found.expected_false >= 1 / 201 - 1e-12).all()  # (1 + #{as massive})/(1 + surrogates), never 0
    assert (found.participation.mean(["y", "x"]) > 0.5).all()


def test_units_are_those_of_the_recording(found):
    assert found.onset.attrs["units"] == "s"
    assert found.speed.attrs["units"] == "mm s-1"
    assert found.centre_x.attrs["units"] == "mm"
    assert found.direction.attrs["units"] == "rad"


def test_every_event_has_a_map_of_its_speed_and_of_its_path(found):
    speed, angle = 10 / np.hypot(0.15, 0.1), np.arctan2(0.1, 0.15)
    assert found.speed_map.dims == found.direction_map.dims == ("event", "y", "x")
    np.testing.assert_allclose(found.speed_map.median(["y", "x"]), speed, rtol=0.2)
    np.testing.assert_allclose(found.direction_map.median(["y", "x"]), angle, atol=0.2)
    assert found.speed_map.attrs["units"] == "mm s-1"


def test_a_map_is_blank_where_a_sensor_or_one_of_its_neighbours_takes_no_part():
    where = Field.of(synthetic.white_noise(synthetic.line(6), 8, seed=0)).space.sensors()
    assert where.second.tolist() == (where.first + 1).tolist()
    products = np.full((4, where.first.size), np.exp(-2j * np.pi * 0.1))  # each a tenth of a turn behind its left one
    pairs = np.broadcast_to(where.first != 3, products.shape)  # 3 and 4 are never seen together
    taking_part = np.arange(6) != 0
    k = _local_wavenumber(products * pairs, pairs, where, taking_part)
    np.testing.assert_allclose(k[:, 0], [np.nan, 0.1, 0.1, np.nan, np.nan, 0.1], rtol=1e-12)


def test_the_same_seed_gives_the_same_events(found):
    xr.testing.assert_identical(wave_events(bursts(), band=(6, 14), seed=1), found)


@pytest.mark.parametrize("where", [synthetic.line(24, dx=0.4, units="mm"), synthetic.ring(24, dx=0.4, units="mm")])
def test_speed_is_signed_in_one_dimension(where):
    events = wave_events(bursts(where, wavenumber=-2 / 9.6), band=(6, 14), seed=1)
    assert events.sizes["event"] == 3
    np.testing.assert_allclose(events.speed, -48.0, rtol=0.1)
    np.testing.assert_allclose(events.speed_map.median("position"), -48.0, rtol=0.2)
    assert "direction" not in events


def test_scattered_electrodes():
    where = synthetic.electrodes(*np.random.default_rng(0).random((2, 36)) * 2.4, units="mm")
    events = wave_events(bursts(where), band=(6, 14), seed=1)
    np.testing.assert_allclose(events.onset, ONSETS, atol=0.1)
    np.testing.assert_allclose(events.direction, np.arctan2(0.1, 0.15), atol=0.15)


def test_local_waves_are_found_where_they_are():
    where = synthetic.sheet((8, 16), dx=0.4, units="mm")
    rec = bursts(where, wavenumber=(0.3, 0.0))
    noise = synthetic.white_noise(where, 2000, seed=9, dt=2e-3).activity.values
    rec = rec.assign(activity=rec.activity.where(rec.x < 2.4, noise))
    events = wave_events(rec, band=(6, 14), seed=1, radius=0.6)
    strong = events.isel(event=np.argsort(-events.mass.values)[:3]).sortby("onset")
    np.testing.assert_allclose(strong.onset, ONSETS, atol=0.15)
    assert (strong.centre_x < 2.4).all()
    np.testing.assert_allclose(np.cos(strong.direction), 1, atol=0.05)
    left = strong.participation.sel(x=slice(0, 2.3)).mean(["y", "x"])
    assert (left > 0.5).all()
    assert (strong.sites < 128).all()


@pytest.mark.parametrize("centre", [0, 16, 44])
def test_the_centre_of_a_local_wave_is_where_it_is_on_a_ring(centre):
    rec = synthetic.plane(synthetic.ring(48), 400, wavenumber=0.1, frequency=0.1)
    away = (rec.position - centre + 24) % 48 - 24
    size = np.exp(-((away / 7) ** 2) - ((rec.time - 200) / 30) ** 2)
    noise = synthetic.white_noise(synthetic.ring(48), 400, seed=0).activity
    rec["activity"] = (size * np.cos(2 * np.pi * (0.1 * rec.time - away / 10)) + 0.3 * noise).transpose(*noise.dims)
    events = wave_events(rec, band=(0.06, 0.14), seed=0, surrogates=40, radius=4)
    strongest = events.centre_x.values[np.argmax(events.mass.values)]
    assert 0 <= strongest < 48
    assert abs((strongest - centre + 24) % 48 - 24) < 2


def test_local_waves_are_found_on_a_sheet_that_closes_one_way():
    where = synthetic.sheet((6, 16), dx=0.4, units="mm")
    rec = bursts(where, wavenumber=(0.3125, 0.0))
    rec.x.attrs["boundary"] = "periodic"
    events = wave_events(rec, band=(6, 14), seed=1, radius=0.6, surrogates=40)
    strong = events.isel(event=np.argsort(-events.mass.values)[:3]).sortby("onset")
    np.testing.assert_allclose(strong.onset, ONSETS, atol=0.15)
    np.testing.assert_allclose(np.cos(strong.direction), 1, atol=0.05)


def test_a_standing_oscillation_is_no_event():
    rec = bursts(wavenumber=(0.0, 0.0), snr=2.0)
    assert wave_events(rec, band=(6, 14), seed=1).sizes["event"] == 0


def test_trials_and_channels_are_searched_one_by_one():
    wave = synthetic.plane(synthetic.line(10), 400, wavenumber=0.1, frequency=0.1)
    noise = synthetic.white_noise(synthetic.line(10), 400, seed=0)
    waves = noise.assign(activity=noise.activity + 2 * wave.activity * ((wave.time >= 150) & (wave.time < 230)))
    still = xr.concat([noise, noise], "trial")
    rec = xr.concat([xr.concat([noise, waves], "trial"), still, still], "channel")
    rec = rec.assign_coords(trial=("trial", [10, 20]), channel=("channel", [5, 6, 7]))
    events = wave_events(rec, band=(0.06, 0.14), seed=1, surrogates=20)
    assert events.trial.values.tolist() == [20]
    assert events.channel.values.tolist() == [5]


def test_no_events_still_make_a_dataset():
    events = wave_events(0.0 * bursts(), band=(6, 14), seed=1)
    assert events.sizes["event"] == 0
    assert events.participation.shape == (0, 6, 6)
    assert events.attrs["seed"] == 1


def test_events_go_through_netcdf(found, tmp_path):
    found.to_netcdf(tmp_path / "events.nc", engine="h5netcdf")
    back = xr.load_dataset(tmp_path / "events.nc", engine="h5netcdf")
    xr.testing.assert_allclose(back, found)
    assert all("units" in variable.attrs and "long_name" in variable.attrs for variable in back.data_vars.values())


NOISES = {
    "white": lambda seed: synthetic.white_noise(synthetic.line(16), 600, seed=seed),
    "autoregressive": lambda seed: synthetic.autoregressive_noise(synthetic.sheet((5, 5)), 600, seed=seed),
    "narrowband": lambda seed: synthetic.narrowband_noise(
        synthetic.line(16), 600, seed=seed, frequency=0.1, bandwidth=0.01
    ),
    "smooth": lambda seed: synthetic.smooth_noise(synthetic.line(24), 600, seed=seed, wavelength=12.0, period=4.0),
}


@pytest.mark.validate
@pytest.mark.parametrize("noise", list(NOISES))
def test_noise_gives_events_at_the_stated_rate(noise, draws, measured):
    recordings = draws(6, 300)
    counts = [
        wave_events(NOISES[noise](seed), band=(0.05, 0.15), seed=seed, false_events=0.2, surrogates=60).sizes["event"]
        for seed in range(recordings)
    ]
    rate, error = np.mean(counts), np.sqrt(0.2 / recordings)
    measured(f"events a recording in {noise} noise", float(rate), f"0.2 ± {3 * error:.2f}")
    assert rate < 0.2 + 3 * error
    assert rate > draws(-1.0, 0.2 - 3 * error)


def test_permuted_sensors_take_smooth_noise_for_waves():
    rec = NOISES["smooth"](5)
    options = {"band": (0.05, 0.15), "seed": 0, "surrogates": 60}
    assert wave_events(rec, null="permuted", **options).sizes["event"] > wave_events(rec, **options).sizes["event"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"null": "shuffle"}, "null is 'shuffle'"),
        ({"band": (10, 400)}, "half the sampling rate"),
        ({"false_events": 0.0}, "false_events is 0"),
        ({"surrogates": 5}, "at least 1/false_events = 20"),
        ({"band": (10, 10.2)}, "fewer than four periods"),
        ({"radius": -1.0}, "radius is -1"),
        ({"shortest": -1.0}, "shortest is -1"),
    ],
)
def test_bad_options_are_refused_with_what_is_accepted(options, message):
    with pytest.raises(ValueError, match=message):
        wave_events(bursts(), **{"band": (6, 14), "seed": 0, **options})


def test_a_record_needs_four_periods_between_its_trimmed_ends():
    """Band 6 to 14 Hz at 500 Hz: 63 samples are trimmed at either end, and four periods are 32 times 6 samples."""
    enough = bursts(synthetic.line(4), wavenumber=0.1).isel(time=slice(0, 2 * 63 + 4 * 8 * 6))
    assert wave_events(enough, band=(6, 14), seed=0, surrogates=20).sizes["event"] == 0
    with pytest.raises(ValueError, match="fewer than four periods"):
        wave_events(enough.isel(time=slice(1, None)), band=(6, 14), seed=0, surrogates=20)


def test_an_event_lasts_while_its_mass_is_above_half_its_greatest():
    profile = np.array([0.0, 1.0, 3.0, 6.0, 4.0, 3.0, 2.0, 0.0])
    cells = (profile > 0)[:, None]
    core = _core(0.5 + profile[:, None], cells, 0.5)
    assert np.flatnonzero(core[:, 0]).tolist() == [2, 3, 4, 5]


def test_an_event_is_described_by_its_own_cells():
    where = Field.of(synthetic.white_noise(synthetic.line(6), 8, seed=0)).space.sensors()
    times = 2.0 + 0.1 * np.arange(8)
    z = np.exp(2j * np.pi * (0.5 * times[:, None] - 0.1 * np.arange(6)))
    statistic = np.linspace(0.3, 1.0, 8)[:, None]
    cells = ((np.arange(8) >= 2) & (np.arange(8) < 6))[:, None]
    g = vectors(z, where, neighbour_sums(where))
    found = _describe(z, g, statistic, cells, times, where, places(where, None))
    assert found["directionality"] == pytest.approx(statistic[2:6].mean())
    assert (found["onset"], found["end"], found["duration"]) == pytest.approx((2.2, 2.5, 0.4))
    assert (found["sites"], found["frequency"]) == pytest.approx((6, 0.5))
    np.testing.assert_allclose(found["wavenumber"], [0.1], rtol=1e-9)
    np.testing.assert_allclose(found["centre"], [2.5], rtol=1e-9)


def test_dead_sensors_must_be_named():
    rec = bursts()
    rec.activity[:, 2, 2] = np.nan
    with pytest.raises(ValueError, match="mask='nan'"):
        wave_events(rec, band=(6, 14), seed=1)
    events = wave_events(rec, band=(6, 14), seed=1, mask="nan")
    assert events.sizes["event"] == 3
    assert np.isnan(events.participation[:, 2, 2]).all()
