"""Which states are kept, and how the segments between them are computed again, at the boundaries that decide it."""

from types import SimpleNamespace

import pytest
import torch

from wavefield_torch.recurrence import scan
from wavefield_torch.recurrence.sheet.scan import _kept_every
from wavefield_torch.recurrence.sheet.segments import gains, invertible


def sizes(steps, numbers, dtype):
    """Input and state of so many numbers, which take no memory."""
    return torch.empty(1, 1, 1, dtype=dtype).expand(steps, 1, 1), torch.empty(1, dtype=dtype).expand(numbers)


@pytest.mark.parametrize(("dtype", "size"), [(torch.float32, 4), (torch.float64, 8)])
def test_every_state_is_kept_up_to_two_gigabytes_and_every_root_of_the_steps_beyond(dtype, size):
    steps = 1000  # and the state before the first
    most = int(2e9 / size / (steps + 1))
    assert scan.by_budget(-1, *sizes(steps, most, dtype)) == 1
    assert scan.by_budget(-1, *sizes(steps, most + 1, dtype)) == 32  # ⌈√1000⌉
    assert scan.by_budget(-1, *sizes(1024, most, dtype)) == 32
    assert scan.by_budget(-1, *sizes(1025, most, dtype)) == 33
    assert scan.by_budget(7, *sizes(steps, 10 * most, dtype)) == 7
    assert scan.MEMORY_BUDGET == {"cpu": 2e9, "cuda": 8e9}


@pytest.mark.parametrize(("steps", "every"), [(1, 1), (3, 2), (4, 4), (100, 20), (120, 20), (121, 22)])
def test_of_a_sheet_twice_the_root_of_its_steps_make_a_segment(steps, every):
    assert _kept_every(-1, steps) == every
    assert _kept_every(5, steps) == min(5, steps)


KEPT = {"semi-implicit": 1 - 0.05, "damping-implicit": 1 / 1.05, "centred": 0.975 / 1.025}  # of α dt = 0.05


@pytest.mark.parametrize(("dtype", "growth"), [(torch.float32, 40.0), (torch.float64, 1e4)])
@pytest.mark.parametrize("scheme", KEPT)
def test_segments_are_computed_from_their_ends_while_rounding_grows_little(scheme, dtype, growth):
    def may(every, *, damping=0.5, steps=1000):
        values = torch.tensor([0.0, damping])
        return invertible(
            SimpleNamespace(y0=torch.zeros(1, dtype=dtype), damping=values, dt=0.1, scheme=scheme, steps=steps), every
        )

    longest = next(n for n in range(1000) if KEPT[scheme] ** -(n + 1) > growth)
    assert may(longest)
    assert not may(longest + 1)
    assert may(10 * longest, steps=longest)  # no segment is longer than all
    assert may(10 * longest, damping=0.0)
    assert not may(1, damping=-0.1)  # what grows forwards is not what this is for
    assert not may(1, damping=30.0) or scheme == "damping-implicit"  # a step that turns the velocity round


def test_forces_enter_as_the_scheme_says():
    """g = a + b κ, with κ of the scheme: dt, dt/(1 + α dt), dt/(1 + α dt/2)."""
    gain = {"semi-implicit": 0.1, "damping-implicit": 0.1 / 1.05, "centred": 0.1 / 1.025}
    for scheme, kept in KEPT.items():
        a, b = gains(0.1, scheme)
        assert a + b * kept == pytest.approx(gain[scheme], rel=1e-12)
