import sys
from collections import Counter
from pathlib import Path

import dask.array as da
import numpy as np
import pytest
import xarray as xr

import analysis
from analysis import synthetic
from analysis.fields import axes, field
from analysis.fields.field import Field

RING = synthetic.with_noise(synthetic.moving_pattern(synthetic.ring(32), 320, speed=0.7, seed=2), 1.0, seed=3)
PROBE = synthetic.line(24, dx=0.4, units="mm")
LINE = synthetic.with_noise(
    synthetic.plane(PROBE, 400, wavenumber=0.2, frequency=3.3, dt=0.01, time_units="s"), 1.0, seed=4
)
PACKAGE = str(Path(analysis.__file__).parent)
QUICK = {"draws": 19, "events": False, "similarity": False}


@pytest.fixture
def counted(monkeypatch):
    """How often recordings are read and axes are worked out."""
    counts = Counter()

    def counting(function, name_of):
        def count(*arguments, **options):
            counts[name_of(*arguments)] += 1
            return function(*arguments, **options)

        return count

    monkeypatch.setattr(Field, "of", staticmethod(counting(Field.of, lambda *_: "read")))
    monkeypatch.setattr(field, "even_axis", counting(axes.even_axis, lambda _, dim: dim))
    return counts


def entries(call):
    """How often a recording is handed to a function of the package, and returned from one module to another."""
    counts, stack = Counter(), []

    def is_recording(value):
        return isinstance(value, xr.Dataset) and "activity" in value

    def watch(frame, event, argument):
        if not frame.f_code.co_filename.startswith(PACKAGE):
            return
        if event == "call":
            code = frame.f_code
            names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
            counts["stays"] += any(is_recording(frame.f_locals.get(name)) for name in names)
            stack.append(code.co_filename)
        elif event == "return":
            outside = frame.f_back is None or frame.f_back.f_code.co_filename != stack.pop()
            counts["returns"] += outside and is_recording(argument)

    sys.setprofile(watch)
    try:
        call()
    finally:
        sys.setprofile(None)
    return counts


def test_diagnose_reads_its_recording_once(counted):
    analysis.diagnose(RING, draws=19)
    assert counted == {"read": 1, "time": 1, "position": 1}


def test_compare_reads_each_recording_once(counted):
    analysis.compare(RING, LINE, nulls={"other": RING.copy()}, **QUICK)
    assert counted["read"] == 3
    assert counted["time"] == 3  # shuffled copies and stretches have the axes of the recording they are made of
    assert counted["position"] == 2  # of the rings; on a line that is not periodic the sensors say enough


@pytest.mark.parametrize(
    ("call", "recordings"),
    [
        (lambda: analysis.diagnose(RING, draws=19), 1),
        (lambda: analysis.compare(RING, LINE, **QUICK), 2),
    ],
)
def test_a_recording_is_handed_on_to_few_functions(call, recordings):
    found = entries(call)
    assert found["stays"] <= 20 * recordings
    assert found["returns"] <= 8 * recordings


def test_dead_positions_hold_zeros_and_their_sensors_are_left_out():
    rec = RING.copy(deep=True)
    rec.activity[:, 5] = np.nan
    read = Field.of(rec, "nan")
    assert (read.values[:, 5] == 0).all()
    assert read.space.sensors().count == 31
    assert read.space.everywhere.sensors().count == 32
    assert not any(np.isnan(values).any() for _, values in read.traces())


def test_a_field_of_other_values_has_the_same_axes():
    read = Field.of(LINE)
    derived = read.with_values(2 * read.values)
    assert derived.time is read.time
    assert derived.space.sensors() is read.space.sensors()


def test_filled_positions_are_alive():
    rec = RING.copy(deep=True)
    rec.activity[:, 5] = np.nan
    read = Field.of(rec, "nan")
    filled = read.with_values(read.values, dead=None)
    assert filled.dead is None
    assert filled.space.sensors().count == 32


def test_what_needs_no_even_axis_reads_uneven_recordings():
    uneven = LINE.assign_coords(time=("time", LINE.time.values**2, LINE.time.attrs))
    read = Field.of(uneven)
    assert read.space.sensors().count == 24
    with pytest.raises(ValueError, match="resample first"):
        _ = read.time
    assert analysis.surrogate(uneven, "position", seed=0).shape == uneven.activity.shape


def test_lazy_recordings_stay_lazy():
    def never(block):
        raise AssertionError("computed")

    values = da.zeros((320, 32), chunks=(64, 32)).map_blocks(never, dtype=float, meta=np.empty((0, 0)))
    read = Field.of(RING.assign(activity=RING.activity.copy(data=values)))
    assert read.values.chunks is not None
    assert read.time.size == 320
    assert read.space.sensors().count == 32


@pytest.mark.parametrize(("size", "pairs"), [(2, 1), (3, 3), (4, 4)])
def test_a_ring_closes_from_three_sensors_on(size, pairs):
    where = Field.of(synthetic.white_noise(synthetic.ring(size, dx=0.5), 8, seed=0)).space.sensors()
    assert len(where.first) == pairs
    np.testing.assert_array_equal(where.second, (where.first + 1) % size)
    np.testing.assert_allclose(where.displacement, 0.5)
