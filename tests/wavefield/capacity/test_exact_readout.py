"""The phase diagram of exact read-out: few events in little noise are read, many or faint ones are not."""

import matplotlib.pyplot as plt
import numpy as np
import pytest

import wavefield as wf
from wavefield import plot
from wavefield.capacity import exact_readout as readout
from wavefield.decoding.anywhere.places import Places
from wavefield.decoding.anywhere.responses import responses_of


def test_few_events_in_little_noise_are_read_and_faint_ones_are_not():
    limits = wf.exact_readout(wf.wave(0.7, dims=2), (20, 20), 15, events=[0, 3], noise=[0.01, 1.0], draws=4)
    assert limits.exact.dims == ("events", "noise")
    assert limits.exact.sel(noise=0.01).values.tolist() == [1.0, 1.0]
    assert limits.exact.sel(noise=1.0, events=3) == 0.0
    assert limits.missed.sel(noise=1.0, events=3) > 0.5
    assert limits["false"].sel(events=0).sum() <= 1
    again = wf.exact_readout(wf.wave(0.7, dims=2), (20, 20), 15, events=[0, 3], noise=[0.01, 1.0], draws=4)
    assert limits.identical(again)


@pytest.mark.parametrize(("source", "previous"), [("pulse", True), ("force", False)])
def test_what_is_read_are_events_anywhere_on_the_sheet_in_noise_on_the_sheet(monkeypatch, source, previous):
    """In one step an event has just arrived: the snapshot is its amplitude, at its place."""
    seen, mask = [], np.zeros((6, 7), bool)
    mask[1:5, 2:6] = True

    class Blind(readout.AnywhereReader):
        def read(self, snapshot, given):
            seen.append(snapshot)
            return Places.none({})

    def responses(*arguments, both, pulse):
        assert (both, pulse) == (previous, source == "pulse")
        return responses_of(*arguments, both=both, pulse=pulse)

    monkeypatch.setattr(readout, "AnywhereReader", Blind)
    monkeypatch.setattr(readout, "responses_of", responses)
    op, options = wf.wave(2**-0.5, dims=2, mask=mask), {"source": source, "previous": previous, "draws": 400}

    def snapshots(**more):
        seen.clear()
        found = wf.exact_readout(op, mask.shape, 1, amplitudes=(0.5, 1.5), **options, **more)
        return np.array(seen)[:, 0], found

    clear, found = snapshots(events=[1], noise=[0.0], seed=3)
    assert clear.shape[1:] == (1 + previous, *mask.shape)
    heights, where = clear[:, 0].max(axis=(1, 2)), (clear[:, 0] > 0).any(axis=0)
    np.testing.assert_array_equal(where, mask)  # 400 draws of 16 cells leave none out
    assert heights.min() >= 0.5
    assert heights.max() <= 1.5
    assert (heights.mean(), heights.std()) == pytest.approx((1.0, 12**-0.5), abs=0.05)
    assert (found.exact.item(), found.missed.item(), found["false"].item()) == pytest.approx((0, 1, 0))
    assert not np.array_equal(snapshots(events=[1], noise=[0.0], seed=4)[0], clear)
    noisy, _ = snapshots(events=[0], noise=[0.2])
    assert not noisy[:, :, ~mask].any()
    assert noisy[:, :, mask].std() == pytest.approx(0.2, rel=0.05)


def test_what_is_no_surer_than_even_counts_as_not_read(monkeypatch):
    class Unsure(readout.AnywhereReader):
        def read(self, snapshot, given):
            three = np.zeros(3)
            sure, first = np.array([0.45, 0.5, 0.55]), np.zeros(3, int)
            return Places(first, first, np.arange(3), three, three, sure, first)

    monkeypatch.setattr(readout, "AnywhereReader", Unsure)
    found = wf.exact_readout(wf.wave(0.5, dims=2), (5, 5), 2, events=[0], noise=[0.1], draws=2)
    assert found["false"].item() == 1


@pytest.mark.validate
@pytest.mark.parametrize("noise", [0.01, 0.1, 0.2])
def test_how_many_events_a_sheet_holds(noise, draws, measured):
    """32 by 32 cells, both levels, 40 onsets: 2048 values, 40,960 places and onsets, R/(2 log n) = 96."""
    counts = draws([8], [8, 24, 48, 96, 160, 240])
    limits = wf.exact_readout(
        wf.wave(0.7, dims=2), (32, 32), 40, events=counts, noise=[noise], draws=draws(1, 20), seed=60
    )
    for count, exact, missed in zip(counts, limits.exact.values[:, 0], limits.missed.values[:, 0], strict=True):
        measured(f"share exact of {count} events in noise {noise}", float(exact), "a measurement")
        measured(f"share missed of {count} events in noise {noise}", float(missed), "a measurement")
    assert limits.missed.values[0, 0] <= {0.01: 0.0, 0.1: 0.05, 0.2: 0.3}[noise]


def test_the_diagram_is_drawn_on_logarithmic_axes():
    limits = wf.exact_readout(wf.wave(0.7, dims=2), (9, 9), 4, events=[1, 2], noise=[0.01, 0.5], draws=1)
    limits["exact"] = (("events", "noise"), np.array([[1.0, 0.2], [0.9, 0.0]]))
    ax = plot.exact_readout(limits)
    assert ax.get_xscale() == ax.get_yscale() == "log"
    assert ax.get_ylabel() == "number of events"
    plt.close(ax.figure)


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"events": [-1]}, "events must be at least 0"),
        ({"amplitudes": (1.0, 0.5)}, "least ≤ largest"),
        ({"source": "push"}, "source must be"),
        ({"operator": wf.transport(1.0), "size": 9}, "two-way fields"),
        ({"draws": 0}, "draws must be at least 1"),
    ],
)
def test_bad_arguments_are_named(given, text):
    arguments = {"operator": wf.wave(0.5, dims=2), "size": (9, 9), "steps": 4} | given
    with pytest.raises(ValueError, match=text):
        wf.exact_readout(arguments.pop("operator"), arguments.pop("size"), arguments.pop("steps"), **arguments)


def test_tables_of_a_sheets_memory_go_on_where_they_broke_off(tmp_path, monkeypatch):
    from wavefield import figures
    from wavefield.capacity import sheets

    monkeypatch.setattr(sheets, "READOUT_SIZE", 12)
    monkeypatch.setattr(sheets, "READOUT_STEPS", 6)
    few = {
        name: tuple(value // 2 if name == "size" else value for value in values[:2])
        for name, values in sheets.VARIED.items()
    }
    base = sheets.BASE | {"size": 6, "noise": 0.01, "damping": 0.0}
    for module in (sheets, figures):
        monkeypatch.setattr(module, "VARIED", few)
        monkeypatch.setattr(module, "BASE", base)
    seeds, drawn = [], sheets.exact_readout

    def draw(*arguments, seed, **options):
        seeds.append(seed)
        return drawn(*arguments, seed=seed, **options)

    monkeypatch.setattr(sheets, "exact_readout", draw)
    first = sheets.tabulate(tmp_path, 2, events=[1], noises=[0.01, 2.0])
    before = (tmp_path / "memory.csv").read_bytes()
    tables = sheets.tabulate(tmp_path, 2, events=[1, 2], noises=[0.01, 2.0])
    assert (tmp_path / "memory.csv").read_bytes() == before
    assert tables["readout"][:2] == first["readout"]
    assert [float(row["exact"]) for row in tables["readout"]] == [1, 0, 1, 0]
    assert seeds == [1, 1, 2, 2]
    at_5 = [{name: float(value) for name, value in row.items()} for row in tables["memory"] if row["lag"] == "5"]
    assert len(at_5) == 4
    for row in at_5:
        size, place = (int(row["size"]),) * 2, (int(row["size"]) // 3, int(row["size"]) // 4)
        sheet = wf.wave(0.7, row["damping"], dims=2, boundary="fixed")
        held = wf.memory_capacity(
            sheet, size, max_lag=150, noise=row["noise"], encoder=wf.encoder_at([place], size)
        ).capacity[0, 5]
        assert row["capacity"] == pytest.approx(float(held), rel=1e-5)
    figure = figures.memory_of_sheets(tables)
    assert len(figure.axes) == 5
    plt.close(figure)
