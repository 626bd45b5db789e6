"""A run that has ended goes on when its length is changed, as if that length had been requested at the start."""

import json

import pytest
import torch
from safetensors.torch import load_file

from experiments.__main__ import main
from experiments.config import load_config
from experiments.run import resume, start
from experiments.runs.folder import RunFolder

COPY = ["delay=0", "hidden_size=12", "channels=2", "batch_size=8", "evaluate_every=5"]
FAST, STUCK = [*COPY, "learning_rate=3e-3"], [*COPY, "learning_rate=1e-30"]
DIGITS = ["hidden_size=8", "channels=2", "batch_size=256", "evaluate_every=4"]
HISTORY = ["hidden_size=8", "batch_size=4", "evaluate_every=5", "held_out=9"]
TIMED = ("seconds", "data_share", "peak_memory_mb")


def assert_same_run(one, other):
    """All numbers, but for times and memory."""
    rows = [[{k: v for k, v in r.items() if k not in TIMED} for r in RunFolder(path).rows()] for path in (one, other)]
    assert len(rows[0]) > 2
    assert json.dumps(rows[0]) == json.dumps(rows[1])
    told = [{k: v for k, v in RunFolder(path).read_summary().items() if k not in TIMED} for path in (one, other)]
    assert told[0] == told[1]
    for name in ("best.safetensors", RunFolder(one).checkpoints()[0].relative_to(one)):
        first, second = (load_file(path / name) for path in (one, other))
        assert all(torch.equal(value, second[key]) for key, value in first.items())


@pytest.mark.parametrize(
    ("name", "settings", "before", "after"),
    [
        ("copy-wrnn", FAST, ["steps=20"], ["steps=40"]),
        ("copy-wrnn", FAST, ["steps=18"], ["steps=40"]),  # ends between two evaluations
        ("digits-wrnn", DIGITS, ["epochs=1"], ["epochs=3"]),
        ("history-elman", HISTORY, ["steps=12"], ["steps=20"]),
        ("copy-wrnn", [*STUCK, "steps=40"], ["patience=3"], ["patience=6"]),
        ("copy-wrnn", [*STUCK, "steps=30"], ["patience=3"], ["patience=0"]),
    ],
)
def test_a_longer_run_is_the_run_of_that_length(name, settings, before, after, tmp_path):
    short = start(load_config(name, [*settings, *before]), tmp_path / "longer")
    longer = resume(tmp_path / "longer", after)
    assert longer["step"] > short["step"]
    start(load_config(name, [*settings, *after]), tmp_path / "whole")
    assert_same_run(tmp_path / "whole", tmp_path / "longer")
    assert RunFolder(tmp_path / "longer").config() == load_config(tmp_path / "whole" / "config.toml")
    assert resume(tmp_path / "longer") == longer


def test_the_best_model_of_an_end_between_two_evaluations_is_not_that_of_the_longer_run(tmp_path):
    """The last step of the short run is the best there, but the longer run does not evaluate it."""
    short = start(load_config("copy-wrnn", [*FAST, "steps=18"]), tmp_path / "longer")
    assert short["best_step"] == 18
    resume(tmp_path / "longer", ["steps=19"])
    start(load_config("copy-wrnn", [*FAST, "steps=19"]), tmp_path / "whole")
    assert_same_run(tmp_path / "whole", tmp_path / "longer")


def test_an_edited_length_counts_as_requested(tmp_path):
    start(load_config("digits-wrnn", [*DIGITS, "epochs=2"]), tmp_path / "run")
    config = tmp_path / "run" / "config.toml"
    config.write_text(config.read_text().replace("epochs = 2", "epochs = 4"))
    assert main(["resume", str(tmp_path / "run")]) == 0
    assert RunFolder(tmp_path / "run").read_summary()["step"] == 4 * 5


def test_a_run_that_is_longer_now_is_resumed_after_a_kill(tmp_path):
    start(load_config("copy-wrnn", [*FAST, "steps=18"]), tmp_path / "longer")
    resume(tmp_path / "longer", ["steps=40"], budget=0.0)
    assert resume(tmp_path / "longer")["step"] == 40
    start(load_config("copy-wrnn", [*FAST, "steps=40"]), tmp_path / "whole")
    assert_same_run(tmp_path / "whole", tmp_path / "longer")


def test_evaluations_may_become_rarer_and_states_be_recorded_from_here_on(tmp_path):
    start(load_config("copy-wrnn", [*FAST, "steps=10"]), tmp_path / "run")
    assert main(["resume", str(tmp_path / "run"), "steps=30", "evaluate_every=10", "record_at=[10,25]"]) == 0
    assert [row["step"] for row in RunFolder(tmp_path / "run").rows()] == [0, 5, 10, 20, 30]
    assert {path.name for path in (tmp_path / "run").glob("hidden-*.nc")} == {
        "hidden-00000010.nc",
        "hidden-00000025.nc",
    }


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["learning_rate=1.0"], "training.learning_rate is 0.003, not 1.0"),
        (["seed=1", "delay=3"], "task.delay is 0, not 3, training.seed is 0, not 1"),
        (["steps=10"], "has taken 20 steps: training must be at least as long, got 10"),
        (["steps=30", "record_at=[7,25]"], r"record_at holds steps that are past without a recording: \[7\]"),
        (["epochs=3"], "either steps or epochs"),
        (["step=3"], "unknown key 'step'"),
    ],
)
def test_what_would_make_it_another_run_is_refused_by_name(settings, message, tmp_path):
    start(load_config("copy-wrnn", [*FAST, "steps=20"]), tmp_path / "run")
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file() and path.name != ".lock"}
    with pytest.raises(ValueError, match=message):
        resume(tmp_path / "run", settings)
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_an_earlier_end_cannot_be_requested_afterwards(tmp_path):
    start(load_config("copy-wrnn", [*STUCK, "steps=40"]), tmp_path / "stuck")
    with pytest.raises(ValueError, match=r"training.patience=3 would have ended the run at step 15"):
        resume(tmp_path / "stuck", ["patience=3"])
    easy = ["length=6", "hidden_size=12", "channels=4", "steps=1000", "learning_rate=1e-2", "held_out=200"]
    solved = start(load_config("adding-wrnn", [*easy, "stop_when_solved=true"]), tmp_path / "solved")
    assert solved["status"] == "solved"
    longer = resume(tmp_path / "solved", ["stop_when_solved=false"])
    assert (longer["status"], longer["step"]) == ("finished", 1000)
    with pytest.raises(ValueError, match=f"would have ended the run at step {solved['step']}"):
        resume(tmp_path / "solved", ["stop_when_solved=true"])
