"""What takes long is drawn on a terminal, told of in lines in a log, and silent where a library is called."""

import io
import re
import time

import numpy as np
import pytest

import wavefield as wf
from analysis import __main__ as analysis_command
from wavefield import __main__ as command
from wavefield import progress
from wavefield.progress import Progress, in_lines


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture(autouse=True)
def often(monkeypatch):
    monkeypatch.setattr(progress, "SECONDS", 0.02)


def slow(count, seconds=0.05):
    for number in range(count):
        time.sleep(seconds)
        yield number


def test_a_log_tells_what_is_done_how_far_it_is_how_fast_it_goes_and_how_long_it_takes(capsys):
    with in_lines("decode"):
        assert list(Progress(slow(6), "places", total=6, unit="cell")) == list(range(6))
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) > 3
    form = r"places: [0-6] of 6 cells, [\d.]+ (cells/s|s/cell), \d+ s so far(, \d+ s left)?"
    assert re.fullmatch(form, lines[-1])
    assert "\r" not in "".join(lines)


def test_bars_within_bars_stand_in_one_line_and_end_with_an_error(capsys):
    def broken():
        for _ in Progress(range(2), "outer"):
            for number in Progress(slow(2), "inner", total=2):
                1 / (1 - number)

    with pytest.raises(ZeroDivisionError), in_lines("compare"):
        broken()
    first, *_ = capsys.readouterr().err.splitlines()
    assert re.fullmatch(r"outer: 0 of 2, 0 s so far; inner: 0 of 2, 0 s so far", first)
    with in_lines("compare"):
        time.sleep(0.05)
    assert capsys.readouterr().err.splitlines()[0] == "compare: 0 s so far"


def test_a_call_of_the_library_is_silent_and_a_terminal_has_bars(capsys, monkeypatch):
    list(Progress(slow(2), "places", delay=0))
    assert capsys.readouterr().err == ""
    shown = Terminal()
    monkeypatch.setattr("sys.stderr", shown)
    with in_lines("decode"):
        list(Progress(slow(2), "places", total=2, delay=0))
    assert "places: 100%" in shown.getvalue()
    assert "so far" not in shown.getvalue()


def test_every_command_that_may_take_long_tells_of_it(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(progress, "SECONDS", 0.001)
    monkeypatch.chdir(tmp_path)
    drive = np.random.default_rng(0).standard_normal((120, 1))
    wf.save_recording(wf.simulate(wf.transport(1.0), drive, size=8), "a.nc")
    np.savez("lfp.npz", lfp=np.ones((20_000, 4)), places=np.arange(4.0)[:, None])
    simulate = ["simulate", "wave", "--speed", ".5", "--size", "12,12", "--steps", "20", "--spike", "0:1", "-o", "s.nc"]
    arrays = ["--rate", "500", "--positions", "places", "--position-units", "mm", "--units", "uV", "--series", "lfp"]
    told = {
        "simulate": (command.main, simulate),
        "decode": (command.main, ["decode", "s.nc", "--anywhere"]),
        "import": (analysis_command.main, ["import", "lfp.npz", *arrays, "-o", "lfp.nc"]),
        "diagnose": (analysis_command.main, ["diagnose", "a.nc", "--draws", "9"]),
        "compare": (analysis_command.main, ["compare", "a.nc", "a.nc", "--draws", "9"]),
    }
    for name, (main, arguments) in told.items():
        assert main(arguments) == 0
        lines = capsys.readouterr().err.splitlines()
        assert any(re.match(rf"{name}\b.*so far", line) for line in lines), (name, lines[-3:])
    assert command.main([*simulate, "--overwrite", "--quiet"]) == 0
    assert capsys.readouterr().err == ""
