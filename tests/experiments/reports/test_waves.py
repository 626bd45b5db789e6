"""The waves in trained states: a page and a row per channel."""

import csv

import numpy as np
import pytest
import torch
from matplotlib import pyplot

from experiments.__main__ import main
from experiments.reports.media import medium_figure, medium_of
from experiments.reports.waves import diagnosed
from wavefield import recording, save_recording
from wavefield_torch import NeuralWaveMachine, record


def test_a_run_has_a_page_and_a_row_for_each_channel(tmp_path, capsys):
    time, channel, _, x = np.ogrid[:32, :2, :8, :8]
    noise = np.random.default_rng(0).normal(size=(32, 2, 8, 8))
    moving = (channel == 0) * np.cos(2 * np.pi * (time / 8 - x / 4)) + 0.5 * noise  # the second channel is noise
    states = recording(moving[None], dims=("trial", "time", "channel", "y", "x"), position_order="sheet")
    (tmp_path / "run").mkdir()
    save_recording(states, tmp_path / "run" / "hidden.nc")
    assert main(["waves", str(tmp_path / "run"), "-o", str(tmp_path / "out"), "--draws", "199"]) == 0
    with (tmp_path / "out" / "waves.csv").open() as file:
        moving, still = csv.DictReader(file)
    assert (moving["run"], moving["channel"], moving["verdict"]) == ("run", "0", "travelling")
    assert float(moving["p_value"]) <= 0.01 < float(still["p_value"])
    assert (tmp_path / "out" / "run-channel1.png").stat().st_size > 10_000
    assert "channel 0: travelling" in capsys.readouterr().out


def test_states_without_space_or_time_hold_no_wave_to_look_for(tmp_path):
    for place, (states, order) in enumerate([(np.zeros((1, 1, 8, 8)), "sheet"), (np.zeros((9, 1, 8, 8)), "none")]):
        (tmp_path / f"run{place}").mkdir()
        rec = recording(states, dims=("time", "channel", "y", "x"), position_order=order)
        save_recording(rec, tmp_path / f"run{place}" / "hidden.nc")
        with pytest.raises(ValueError, match="without states in space and time"):
            diagnosed(tmp_path / f"run{place}")
    with pytest.raises(FileNotFoundError, match=r"holds no hidden\.nc"):
        diagnosed(tmp_path)


def test_the_medium_of_a_recorded_image_is_the_model_s_and_its_waves_lie_on_its_branches():
    generator = torch.Generator().manual_seed(0)
    model = NeuralWaveMachine(1, 2, generator=generator)
    image = torch.rand(1, 1, 16, 16, generator=generator)
    scene = record(model, image).isel(trial=0)
    for ours, theirs in zip(medium_of(scene).parameters(), model.medium(image[0]).parameters(), strict=True):
        assert torch.equal(ours, theirs)
    page = medium_figure(scene, channel=1)
    measured, *_ = [ax for ax in page.axes if ax.get_xlabel() == "wavenumber along x"]
    power = measured.collections[0].get_array()  # (frequency, wavenumber) in dB
    branches = np.nanmax([line.get_ydata() for line in measured.lines], axis=0)  # at the wavenumbers of the mesh
    step = 1 / (100 * 0.1)
    loudest = power.argmax(axis=0) * step
    middle = np.abs(np.arange(16) - 8) > 2  # the longest waves have not gone once round in this time
    assert np.abs(loudest - branches)[middle].max() <= 2 * step
    assert measured.get_ylim() == pytest.approx((0, 3 * branches.max()), rel=0.05)  # all of them, with room above
    pyplot.close(page)
