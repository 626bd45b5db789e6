"""What training makes of a wave: the wave network travels, the identity network does not (copy task)."""

import warnings

import pytest

import analysis
from experiments.config import load_config
from experiments.run import start
from wavefield import open_recording

NEEDED = {"copy-wrnn": 5, "copy-irnn": 4}  # seeds of five


def travels(folder):
    """Whether any channel of the hidden states travels, at a false discovery rate over channels below 0.01."""
    with warnings.catch_warnings(), open_recording(folder / "hidden.nc") as recording:
        warnings.simplefilter("ignore")  # estimators of speed say what they refuse; direction is what is asked
        result = analysis.diagnose(recording.isel(trial=[0, 1]).load())
    return any(
        verdict.startswith("travelling") and q < 0.01
        for verdict, q in zip(result.verdict.values.tolist(), result.q_value.values, strict=True)
    )


@pytest.mark.validate
@pytest.mark.parametrize("name", NEEDED)
def test_a_trained_wave_network_travels_and_an_identity_network_does_not(name, draws, measured, tmp_path):
    seeds, steps, delay = draws(1, 5), draws(300, 1500), draws(10, 30)
    as_expected = 0
    for seed in range(seeds):
        folder = tmp_path / f"seed{seed}"
        summary = start(load_config(name, [f"delay={delay}", f"steps={steps}", f"seed={seed}"]), folder)
        as_expected += travels(folder) == (name == "copy-wrnn")
        if name == "copy-wrnn":
            assert summary["best_test"]["accuracy"] > 0.9  # the last may sit on one of the spikes of the loss
    verdict = "travelling" if name == "copy-wrnn" else "not travelling"
    measured(f"{name}: {verdict}, of {seeds}", as_expected, f"≥ {NEEDED[name]} of 5")
    assert as_expected >= min(seeds, NEEDED[name])
