"""The one-page summary of a diagnosis."""

import numpy as np
import pytest

from analysis import diagnose, plot, synthetic
from analysis.velocity.estimators import ESTIMATORS

pytest.importorskip("matplotlib").use("Agg")


def test_every_estimator_has_a_colour_of_its_own():
    assert set(plot.ESTIMATOR_COLOURS) == set(ESTIMATORS)
    assert len(set(plot.ESTIMATOR_COLOURS.values())) == len(ESTIMATORS)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_an_offset_and_a_wild_electrode_hide_no_other():
    layout = synthetic.electrodes(*np.random.default_rng(0).uniform(0, 9, (2, 12)))
    rec = synthetic.plane(layout, 256, wavenumber=(0.1, 0.05), frequency=0.05)
    rec.activity[:, 3] += 1e6
    rec.activity[:, 5] *= 1e6
    axes = plot.summary(rec.activity.squeeze(drop=True), diagnose(rec, draws=19)).axes[0]
    low, high = axes.get_ylim()
    heights = np.array([np.ptp(line.get_ydata()) for line in axes.lines])
    middles = np.array([np.median(line.get_ydata()) for line in axes.lines])
    assert len(heights) == 12
    assert np.sort(heights)[-2] > (high - low) / 12 / 3
    assert np.all((middles >= low) & (middles <= high))


@pytest.mark.filterwarnings("error:All-NaN", "error:Mean of empty", "ignore::UserWarning")
def test_a_dead_electrode_leaves_its_place_empty():
    layout = synthetic.electrodes(*np.random.default_rng(0).uniform(0, 9, (2, 12)))
    rec = synthetic.plane(layout, 256, wavenumber=(0.1, 0.05), frequency=0.05)
    rec.activity[:, 3] = np.nan
    axes = plot.summary(rec.activity.squeeze(drop=True), diagnose(rec, draws=19, mask="nan")).axes[0]
    assert sum(np.isnan(line.get_ydata()).all() for line in axes.lines) == 1
    assert np.isfinite(axes.get_ylim()).all()
