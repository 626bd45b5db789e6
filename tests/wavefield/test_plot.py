"""Pictures show each thing at the step at which it was."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr

import wavefield as wf
from wavefield import figures, plot, plot_sheets


@pytest.mark.parametrize("dt", [1.0, 0.25])
def test_inputs_and_events_of_a_continued_recording_stand_at_their_steps_from_rest(dt):
    operator = wf.transport(1.0 / dt, dt=dt)
    first = wf.simulate(operator, wf.spikes([[(3, 1.0)]], steps=8), size=32)
    second = wf.simulate(operator, wf.spikes([[(2, 1.0)]], steps=8), initial=first)
    ax = plot.drive_raster(second.drive, events=wf.decode(second))
    bars = [segment[0, 0] for lines in ax.collections for segment in lines.get_segments()]
    circles = np.concatenate([line.get_xdata() for line in ax.lines if line.get_marker() == "o"])
    low, high = ax.get_xlim()
    plt.close(ax.figure)
    assert bars == [10]  # the third of the steps 8…15
    assert sorted(circles) == [3, 10]
    assert low < 3
    assert high > 15


def test_a_section_of_a_sheet_shows_its_waves_on_the_dispersion_relation():
    op, size = wf.wave(0.5, dims=2), (8, 32)
    x = np.arange(32) + np.zeros(size)
    turn = 2 * np.arcsin(0.5 * np.sin(np.pi * 4 / 32))
    wave = np.cos(2 * np.pi * 4 * x / 32)
    rec = wf.simulate(op, initial=wave[None], previous=np.cos(2 * np.pi * 4 * x / 32 + turn)[None], steps=128)
    ax = plot_sheets.section(rec.activity.isel(channel=0), op.dispersion_relation())
    power = ax.collections[0].get_array().reshape(65, 32)
    row, column = np.unravel_index(power.argmax(), power.shape)
    assert np.fft.fftshift(np.fft.fftfreq(32))[column] == pytest.approx(4 / 32)  # it travels to +x
    assert row / 128 == pytest.approx(turn / (2 * np.pi), abs=1 / 128)
    plt.close("all")


def test_the_flow_of_a_plane_wave_points_where_it_travels():
    size = (32, 32)
    y, x = np.indices(size)
    phase = 2 * np.pi * (2 * x - 4 * y) / 32
    now, before = (
        xr.DataArray(np.cos(phase + shift), dims=("y", "x"), coords={"y": np.arange(32.0), "x": np.arange(32.0)})
        for shift in (0, 0.3)
    )
    quiver = plot_sheets.flow(now, before).collections[-1]
    u, v = (np.ma.masked_invalid(part).sum() for part in (quiver.U, quiver.V))
    assert u > 0
    # differences of the coarser waves along y see sin(2π·4/32) for 2π·4/32, those along x less of that
    assert v / u == pytest.approx(-np.sin(np.pi / 4) / np.sin(np.pi / 8), rel=0.05)
    plt.close("all")


def test_figures_of_sheets_say_what_they_show():
    figure = figures.sheet()
    assert [text.get_text() for text in figure.axes[-1].texts] == ["4", "22", "40"]
    figure = figures.drums()
    first, second = (line.get_ydata() for line in figure.axes[0].lines)
    np.testing.assert_allclose(first, second, rtol=1e-12)
    plt.close("all")
