"""Pictures show each thing at the step at which it was."""

import matplotlib.pyplot as plt
import numpy as np
import pytest

import wavefield as wf
from wavefield import plot


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
