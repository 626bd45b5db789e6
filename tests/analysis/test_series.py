"""What is the same for every reader: cutting, marks of bad time, events, blocks. The samples are numbers in memory."""

import warnings
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from analysis.readers import series as room
from analysis.readers.series import Choices, Series, to_disk, to_recording

FIRST, INTERVAL, SAMPLES = 1.0, 0.1, 20


def series(values=None, *, places=(0.0, 0.4, 0.8), **more):
    """Twenty samples of three electrodes from 1 s on, ten a second: each holds its own number, unless others do."""
    if values is None:
        values = np.tile(np.arange(float(SAMPLES))[:, None], 3)
    places = np.column_stack([places, np.zeros(len(places))])
    known = {"units": "uV", "positions": places, "position_units": "mm", "first": FIRST, "interval": INTERVAL}
    return Series(
        Path("made.bin"), "LFP", lambda start, stop: values[start:stop], len(values), 3, np.dtype(float), **known | more
    )


def kept(rec):
    """The numbers of the samples that are left, which have to be at their times."""
    numbers = rec.activity.values[:, 0]
    np.testing.assert_allclose(rec.time, FIRST + INTERVAL * numbers, atol=1e-12)
    return numbers.astype(int).tolist()


@pytest.mark.parametrize(
    ("start", "stop", "first", "last"),
    [
        (None, None, 0, 20),
        (1.3, 1.7, 3, 7),  # on samples: the first is in, the last is not
        (1.25, 1.75, 3, 8),  # between them
        (1.3, 1.4, 3, 4),
        (0.0, 99.0, 0, 20),
        (2.9, None, 19, 20),
        (None, 1.1, 0, 1),
    ],
)
def test_a_segment_begins_at_its_start_and_ends_before_its_stop(start, stop, first, last):
    assert kept(to_recording(series(), Choices(start=start, stop=stop))) == list(range(first, last))


@pytest.mark.parametrize(("start", "stop"), [(3.0, None), (None, 1.0), (1.5, 1.5), (2.0, 1.5)])
def test_a_segment_of_nothing_is_refused(start, stop):
    with pytest.raises(ValueError, match=f"start={start}, stop={stop} leaves nothing of 1 to 3 s"):
        to_recording(series(), Choices(start=start, stop=stop))


STAMPS = np.array([0.0, 0.1, 0.2, 0.3, 5.0, 5.1, 5.2])


@pytest.mark.parametrize(
    ("start", "stop", "numbers"),
    [(5.0, None, [4, 5, 6]), (None, 0.3, [0, 1, 2]), (0.1, 0.3, [1, 2]), (0.05, 4.0, [1, 2, 3])],
)
def test_stamps_are_cut_at_their_times(start, stop, numbers):
    values = np.tile(np.arange(7.0)[:, None], 3)
    rec = to_recording(series(values, stamps=STAMPS), Choices(start=start, stop=stop))
    assert rec.activity.values[:, 0].astype(int).tolist() == numbers
    np.testing.assert_allclose(rec.time, STAMPS[numbers], atol=1e-12)


def test_stamps_with_a_gap_say_where_it_is():
    made = series(np.zeros((7, 3)), stamps=STAMPS)
    with pytest.raises(ValueError, match=r"1 steps differ from the usual 0.1 s, first after 0.3 s"):
        to_recording(made, Choices())
    with pytest.raises(ValueError, match="leaves 0 of its time stamps"):
        to_recording(made, Choices(start=6.0))
    with pytest.raises(ValueError, match="leaves 1 of its time stamps"):
        to_recording(made, Choices(start=5.2))


@pytest.mark.parametrize(
    ("span", "numbers"),
    [
        ((1.3, 1.6), [3, 4, 5]),
        ((1.25, 1.55), [3, 4, 5]),
        ((1.3, 1.3), [3]),  # a moment is one sample
        ((1.31, 1.32), [4]),
        ((0.0, 1.15), [0, 1]),
        ((2.85, np.nan), [19]),  # without an end: to the last
        ((np.nan, 2.0), []),
        ((0.2, 1.0), []),
        ((3.0, 4.0), []),
    ],
)
def test_time_marked_as_bad_is_nan_however_it_is_read(span, numbers):
    rec = to_recording(series(bad=(span,)), Choices())
    bad = np.isin(np.arange(SAMPLES), numbers)
    assert (np.isnan(rec.activity.values) == bad[:, None]).all()
    for start in range(SAMPLES):
        for stop in range(start + 1, SAMPLES + 1, 3):
            part = rec.activity[start:stop].values[:, 0]
            assert (np.isnan(part) == bad[start:stop]).all()
            assert (part[~bad[start:stop]] == np.arange(start, stop)[~bad[start:stop]]).all()
    history = "1 spans marked as bad set to NaN" if numbers else ""
    assert history in rec.attrs["history"]
    assert bool(numbers) == ("spans marked as bad" in rec.attrs["history"])


def test_events_are_those_from_the_first_sample_to_the_last():
    told = ((3.0, 0.0, "late"), (2.95, 0.2, "b"), (1.0, 0.5, "at first"), (0.999, 0.1, "early"), (2.0, 0.0, ""))
    rec = to_recording(series(events=told), Choices())
    np.testing.assert_allclose(rec.event_onset, [1.0, 2.0, 2.95])
    np.testing.assert_allclose(rec.event_duration, [0.5, 0.0, 0.2])
    names = rec.event_kind.attrs["flag_meanings"].split()
    assert [names[code] for code in rec.event_kind.values] == ["at_first", "unnamed", "b"]


@pytest.mark.parametrize("rows", [[7, 3, 3], [5], slice(4, 15, 3), slice(12, 2, -4), 6])
def test_any_rows_may_be_read(rows):
    rec = to_recording(series(), Choices(start=1.2))
    np.testing.assert_array_equal(rec.activity[rows].values[..., 0], np.arange(2.0, 20.0)[rows])


def test_units_are_those_of_recordings():
    rec = to_recording(series(units="mV"), Choices())
    np.testing.assert_allclose(rec.activity.values[:, 1], 1000.0 * np.arange(SAMPLES))
    assert rec.activity.attrs["units"] == "uV"


@pytest.mark.parametrize(("room_for", "rows"), [(2 * 4 * 24 + 5, 8), (1, 4), (10**6, 20)])
def test_blocks_are_complete_chunks_of_the_file(room_for, rows, monkeypatch):
    """A row has 24 bytes, and the file keeps 4 rows together."""
    monkeypatch.setattr(room, "BLOCK_BYTES", room_for)
    assert max(to_recording(series(chunk=4), Choices()).activity.chunks[0]) == rows


def test_what_goes_to_disk_in_blocks_is_what_is_read_lazily(tmp_path, monkeypatch):
    monkeypatch.setattr(room, "BLOCK_BYTES", 5 * 24)
    options = Choices(start=1.3)
    path = to_disk(series(bad=((1.6, 1.9),)), options, tmp_path / "made.nc")
    with xr.open_dataset(path) as written:
        xr.testing.assert_allclose(written.activity, to_recording(series(bad=((1.6, 1.9),)), options).activity)
        np.testing.assert_allclose(written.time, FIRST + INTERVAL * np.arange(3, 20), atol=1e-12)


def said(made):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        to_recording(made, Choices())
    return " ".join(str(one.message) for one in caught)


@pytest.mark.parametrize(("extent", "doubted"), [(0.009, True), (0.011, False), (999.0, False), (1001.0, True)])
def test_an_array_is_neither_ten_micrometres_nor_a_metre_wide(extent, doubted):
    assert ("which no array does" in said(series(places=(0.0, extent / 2, extent)))) == doubted


def test_two_electrodes_with_a_place_are_enough():
    assert "1 of 3 electrodes have no place and are left out: number 1" in said(series(places=(0.0, np.nan, 0.8)))


@pytest.mark.parametrize(
    ("size", "doubted"), [(0.9e-4, True), (1.1e-4, False), (0.9e8, False), (1.1e8, True)]
)  # of values that are ± size
def test_potentials_that_no_electrode_sees_are_doubted_by_their_median(size, doubted):
    values = np.where(np.arange(SAMPLES) % 2, size, -size)[:, None] * np.ones(3)
    assert ("which no electrode sees" in said(series(values))) == doubted
    values[3] = 1e15  # a single artefact changes nothing
    assert ("which no electrode sees" in said(series(values))) == doubted
