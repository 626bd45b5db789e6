"""A run can be broken off anywhere and gives the same numbers; whatever goes wrong, what was computed is kept."""

import json
import math
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from experiments.__main__ import main
from experiments.config import load_config, to_toml
from experiments.run import resume, run_name, run_or_resume, start
from experiments.runs.folder import RunFolder, peak_memory, write_text
from wavefield import open_recording
from wavefield_torch import CheckpointError, load_checkpoint

TINY = ["delay=0", "hidden_size=12", "channels=2", "batch_size=8", "evaluate_every=5"]
IMAGES = ["hidden_size=8", "channels=2", "batch_size=128", "epochs=2", "evaluate_every=3"]


@pytest.fixture(autouse=True)
def heed_ctrl_c():
    """Whoever runs the tests in the background of a shell script ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def tiny(*settings):
    return load_config("copy-wrnn", [*TINY, "steps=40", "learning_rate=3e-3", *settings])


def figures(folder):
    """All metrics but the time they took."""
    return [{k: v for k, v in row.items() if k != "seconds"} for row in RunFolder(folder).rows()]


def assert_same(one, other):
    assert len(one) == len(other) > 1
    for a, b in zip(one, other, strict=True):
        np.testing.assert_equal(a, b)  # NaN equals NaN here


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "whole"
    return folder, start(tiny("record_at=[0,18]"), folder)


def test_a_run_leaves_everything_needed_to_read_it(whole):
    folder, summary = whole
    names = {path.name for path in folder.iterdir()}
    assert names >= {"config.toml", "metrics.csv", "checkpoints", "best.safetensors", "environment.json", "hidden.nc"}
    assert [row["step"] for row in figures(folder)] == list(range(0, 41, 5))
    assert summary["status"] == "finished"
    assert summary == json.loads((folder / "summary.json").read_text())
    assert summary["final"]["reference_loss"] == pytest.approx(summary["final"]["loss"] / 50)
    about = json.loads((folder / "environment.json").read_text())
    assert about["versions"]["torch"].split("+")[0] == torch.__version__.split("+")[0]
    assert about["earlier"] == []
    assert summary["peak_memory_mb"] > 50
    with open_recording(folder / "hidden-00000018.nc") as recording:  # between two evaluations
        assert dict(recording.activity.sizes) == {"trial": 4, "time": 20, "channel": 2, "position": 12}
        assert json.loads(recording.attrs["config"])["task"]["delay"] == 0


def test_training_lowers_the_loss_that_it_reports(whole):
    folder, _ = whole
    rows = figures(folder)
    assert rows[-1]["held_out_loss"] < rows[0]["held_out_loss"] - 0.5
    assert rows[-1]["training_loss"] < rows[1]["training_loss"]


def test_the_final_figure_is_the_median_of_the_last_ten_evaluations(tmp_path):
    summary = start(tiny("evaluate_every=3"), tmp_path / "run")
    losses = [row["held_out_loss"] for row in figures(tmp_path / "run")]
    assert len(losses) == 15
    assert summary["final"]["loss"] == pytest.approx(np.median(losses[-10:]), rel=1e-12)
    assert summary["final"]["loss"] != pytest.approx(np.median(losses), rel=1e-3)


PIECES = {
    "copy-wrnn": [*TINY, "steps=40"],
    "adding-irnn": ["length=6", "hidden_size=12", "batch_size=8", "evaluate_every=5", "held_out=20", "steps=40"],
    "digits-wrnn": IMAGES,
    "history-elman": ["hidden_size=12", "batch_size=8", "evaluate_every=5", "steps=40", "held_out=9", "threshold=0.52"],
}


@pytest.mark.parametrize("name", PIECES)
def test_a_run_in_pieces_is_the_run_in_one(name, tmp_path):
    config = load_config(name, PIECES[name])
    summary = start(config, tmp_path / "whole")
    stops = iter([0, 7, 20, 5, 1000])
    done = {"status": "paused"}
    while done["status"] == "paused":  # a budget in steps: time stops when they are done
        done = _some_steps(config, tmp_path / "pieces", next(stops))
    assert_same(figures(tmp_path / "whole"), figures(tmp_path / "pieces"))
    assert done["test"] == summary["test"]
    assert done["best_step"] == summary["best_step"]
    if name == "history-elman":  # a curriculum that goes on where it was
        assert done["test"]["horizon"] == 100
    last = [load_file(RunFolder(tmp_path / part).checkpoints()[0]) for part in ("whole", "pieces")]
    assert all(torch.equal(value, last[1][name]) for name, value in last[0].items())


def test_a_spent_budget_tests_what_was_reached(tmp_path):
    settings = PIECES["adding-irnn"]
    paused = _some_steps(load_config("adding-irnn", settings), tmp_path / "paused", 24)
    assert paused["step"] == 10  # where it is evaluated anyway
    ended = start(load_config("adding-irnn", [*settings, f"steps={paused['step']}"]), tmp_path / "ended")
    assert paused["status"] == "paused"
    assert ended["status"] == "finished"
    assert (paused["test"], paused["best_test"]) == (ended["test"], ended["best_test"])


def _some_steps(config, folder, count):
    """Start or resume a run for a budget of so many readings of the clock, about two a step."""
    clock = iter([0.0] * (count + 1) + [1e9] * 100_000)
    patch = pytest.MonkeyPatch()
    patch.setattr("experiments.run.monotonic", lambda: next(clock))
    try:
        return run_or_resume(config, folder, budget=1e6)
    finally:
        patch.undo()


CHILD = """
import sys
from experiments.config import load_config
from experiments.run import run_or_resume
run_or_resume(load_config("copy-wrnn", sys.argv[2:]), sys.argv[1], checkpoint_seconds=0.05)
"""


def child(folder, *settings):
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, str(folder), *TINY, *settings], stderr=subprocess.PIPE, text=True
    )


def wait_for_checkpoint(folder, process, count=1):
    found = folder / "checkpoints"
    while process.poll() is None and len(list(found.glob("step-*.safetensors"))) < count:
        time.sleep(0.01)
    assert process.poll() is None, process.stderr.read()


def test_a_killed_run_goes_on_to_the_same_numbers(tmp_path):
    settings = ("steps=300", "evaluate_every=20")
    process = child(tmp_path / "killed", *settings)
    wait_for_checkpoint(tmp_path / "killed", process)
    time.sleep(np.random.default_rng().uniform(0, 0.2))  # any moment will do
    process.kill()
    process.communicate()
    assert not (tmp_path / "killed" / "summary.json").exists()
    resume(tmp_path / "killed")
    start(load_config("copy-wrnn", [*TINY, *settings]), tmp_path / "whole")
    assert_same(figures(tmp_path / "whole"), figures(tmp_path / "killed"))


def test_a_folder_has_one_writer_at_a_time(tmp_path, capsys):
    folder = tmp_path / "run"
    _some_steps(tiny(), folder, 12)
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    with RunFolder(folder).in_use():
        for command in (["run", "copy-wrnn", *TINY, "-o", str(folder)], ["resume", str(folder)]):
            assert main(command) == 2
            assert f"error: {folder} is being trained by another process" in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before
    assert resume(folder)["status"] == "finished"


def at(step, number):
    """What sends a signal to this process when a run is evaluated at a step."""
    return lambda now, score: os.kill(os.getpid(), number) if now == step else None


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
def test_a_run_that_is_asked_to_stop_saves_and_says_how_to_go_on(number, tmp_path, capsys):
    heeded = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # also where the tests run without a terminal
    try:
        with pytest.raises(KeyboardInterrupt):
            start(tiny(), tmp_path / "run", report=at(10, number))
    finally:
        signal.signal(signal.SIGHUP, heeded)
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert (summary["status"], summary["step"]) == ("interrupted", 10)
    told = f"stopped at step 10; resume it with: python -m experiments resume {tmp_path / 'run'}\n"
    assert capsys.readouterr().err.endswith(told)
    newest = RunFolder(tmp_path / "run").checkpoints()[0]
    assert load_checkpoint(newest)["step"] == 10


def test_ctrl_c_on_the_command_line_ends_cleanly(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("experiments.training.run_options", lambda options: {"bar": False, "report": interrupt})
    assert main(["run", "-q", "copy-wrnn", *TINY, "-o", str(tmp_path)]) == 130
    printed, errors = capsys.readouterr()
    assert printed == ""
    assert errors == f"stopped at step 0; resume it with: python -m experiments resume {tmp_path}\n"


def interrupt(step, score):
    os.kill(os.getpid(), signal.SIGINT)


def test_who_interrupts_a_run_that_was_paused_keeps_the_scores_of_the_pause(tmp_path, capsys, whole):
    with pytest.raises(KeyboardInterrupt):
        start(tiny(), tmp_path / "run", report=interrupt)
    assert "test" not in json.loads((tmp_path / "run" / "summary.json").read_text())
    paused = _some_steps(tiny(), tmp_path / "run", 12)
    with pytest.raises(KeyboardInterrupt):
        resume(tmp_path / "run", report=interrupt)
    assert json.loads((tmp_path / "run" / "summary.json").read_text()) == paused
    reached = load_checkpoint(RunFolder(tmp_path / "run").checkpoints()[0])["step"]
    assert reached > paused["step"]
    assert f"stopped at step {reached}; resume it with: python -m experiments resume" in capsys.readouterr().err
    assert resume(tmp_path / "run")["test"] == whole[1]["test"]


def test_what_each_piece_of_a_run_ran_on_is_kept(tmp_path, monkeypatch):
    folder = tmp_path / "run"

    def pieces():
        about = json.loads((folder / "environment.json").read_text())
        return [(piece["commit"], piece["until_step"]) for piece in about["earlier"]] + [about["commit"]]

    def some_steps(commit, count):
        monkeypatch.setattr("experiments.runs.folder.commit", lambda: commit)
        return _some_steps(tiny("steps=1000"), folder, count)["step"]

    some_steps("one", 0)
    first = some_steps("two", 9)
    assert pieces() == ["two"]  # no step of the first is left
    second = some_steps("two", 9)
    assert pieces() == ["two"]
    some_steps("three", 0)
    assert pieces() == ["two"]  # not a step was taken
    third = some_steps("three", 9)
    assert pieces() == [("two", second), "three"]
    some_steps("two", 9)
    assert pieces() == [("two", second), ("three", third), "two"]
    RunFolder(folder).note_environment(torch.device("cpu"), first)  # as if from an older checkpoint
    assert pieces() == ["two"]
    about = json.loads((folder / "environment.json").read_text())
    about.pop("earlier")  # as it was written before
    write_text(folder / "environment.json", json.dumps(about | {"commit": "zero"}))
    RunFolder(folder).note_environment(torch.device("cpu"), 7)
    assert pieces() == [("zero", 7), "two"]


@pytest.mark.parametrize("damage", ["cut", "flipped"])
def test_a_damaged_checkpoint_is_passed_over(damage, tmp_path, capsys, whole):
    config = tiny("record_at=[0,18]")
    for count in (12, 9):
        _some_steps(config, tmp_path / "run", count)
    newest, _ = RunFolder(tmp_path / "run").checkpoints()
    raw = bytearray(newest.read_bytes())
    if damage == "flipped":
        raw[-9] ^= 4
    newest.write_bytes(raw[: -200 if damage == "cut" else None])
    resume(tmp_path / "run")
    assert f"{newest.name} is damaged" in capsys.readouterr().err
    assert_same(figures(whole[0]), figures(tmp_path / "run"))


def test_nothing_is_trained_anew_in_silence_where_all_checkpoints_are_damaged(tmp_path, capsys):
    _some_steps(tiny(), tmp_path / "run", 12)
    _some_steps(tiny(), tmp_path / "run", 12)
    newest, oldest = RunFolder(tmp_path / "run").checkpoints()
    for path in (newest, oldest):
        path.write_bytes(b"")
    with pytest.raises(CheckpointError, match=rf"{oldest.name} is damaged.*; there is none before it: start the run"):
        resume(tmp_path / "run")
    errors = capsys.readouterr().err
    assert f"{newest.name} is damaged" in errors
    assert errors.count("the one before it is used") == 1


def test_checkpoints_of_another_model_are_not_called_damaged(tmp_path):
    _some_steps(tiny(), tmp_path / "run", 12)
    write_text(tmp_path / "run" / "config.toml", to_toml(tiny("hidden_size=14")))
    RunFolder(tmp_path / "run").write_record(tiny("hidden_size=14"), {})
    with pytest.raises(CheckpointError) as caught:
        resume(tmp_path / "run")
    assert "belongs to another model" in str(caught.value)
    assert "damaged" not in str(caught.value)


def test_a_loss_that_is_not_finite_ends_the_run_and_keeps_the_last_good_state(tmp_path):
    summary = start(tiny("learning_rate=1e18"), tmp_path / "run")
    assert summary["status"].startswith("not finite at step ")
    assert 0 < summary["step"] < 40
    model = tiny().model.build(10, 10, every_step=True, generator=torch.Generator())
    assert load_checkpoint(RunFolder(tmp_path / "run").checkpoints()[0], model)["step"] == summary["step"]
    assert all(torch.isfinite(p).all() for p in model.parameters())
    assert math.isfinite(summary["best_test"]["loss"])
    assert resume(tmp_path / "run") == summary


def test_a_run_that_has_ended_is_left_alone_and_asks_for_neither_data_nor_device(whole, tmp_path):
    folder, summary = tmp_path / "ended", whole[1]
    shutil.copytree(whole[0], folder)
    write_text(folder / "config.toml", to_toml(load_config("smnist-wrnn")))
    RunFolder(folder).write_record(load_config("smnist-wrnn"), {})
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    assert resume(folder, data=tmp_path / "nowhere", device="abacus") == summary
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_a_run_that_was_killed_before_its_summary_was_whole_writes_it(whole, tmp_path):
    for number, text in enumerate([None, '{"status": "fini', '{"status": "paused"}']):
        folder = tmp_path / str(number)
        shutil.copytree(whole[0], folder)
        (folder / "summary.json").unlink()
        if text is not None:
            (folder / "summary.json").write_text(text)
        assert resume(folder)["test"] == whole[1]["test"]
        assert json.loads((folder / "summary.json").read_text())["status"] == "finished"


def test_weights_that_blow_up_at_the_last_step_leave_scores_and_no_recording(tmp_path, capsys):
    summary = start(tiny("learning_rate=1e30", "clip=0.0", "steps=1", "record_at=[1]"), tmp_path / "run")
    assert summary["status"] == "finished"
    assert summary["test"]["loss"] is None  # NaN
    assert math.isfinite(summary["best_test"]["loss"])
    assert not list((tmp_path / "run").glob("hidden*[0-9n].nc"))
    errors = capsys.readouterr().err
    assert "hidden-00000001.nc is not complete" in errors
    assert "hidden.nc is not complete" in errors


def test_a_damaged_best_model_costs_its_scores_only(tmp_path, capsys, whole):
    _some_steps(tiny(), tmp_path / "run", 12)
    best = tmp_path / "run" / "best.safetensors"
    best.write_bytes(best.read_bytes()[:-200])
    _some_steps(tiny(), tmp_path / "run", 0)
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert (summary["best_test"], summary["status"]) == (None, "paused")
    assert "the best model is not tested" in capsys.readouterr().err
    assert resume(tmp_path / "run")["test"] == whole[1]["test"]


def test_a_full_disk_leaves_the_checkpoint_before(tmp_path, whole):
    _some_steps(tiny("record_at=[0,18]"), tmp_path / "run", 12)
    before = RunFolder(tmp_path / "run").checkpoints()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (5000, limits[1]))  # of any one file; a checkpoint is larger
        with pytest.raises(OSError, match=r"could not be written.*step-0000.*\.safetensors"):
            _some_steps(tiny("record_at=[0,18]"), tmp_path / "run", 7)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert RunFolder(tmp_path / "run").checkpoints() == before
    resume(tmp_path / "run")
    assert_same(figures(whole[0]), figures(tmp_path / "run"))


def test_training_stops_early_when_solved_or_when_nothing_improves(tmp_path):
    solved = start(load_config("adding-wrnn", _small_adding("stop_when_solved=true")), tmp_path / "solved")
    assert solved["status"] == "solved"
    assert max(solved["solved_at"], solved["reference_solved_at"]) == solved["step"] < 3000
    assert solved["test"]["loss"] <= 0.05
    stuck = start(tiny("learning_rate=1e-30", "patience=3"), tmp_path / "stuck")
    assert (stuck["status"], stuck["step"]) == ("no improvement", 15)


def _small_adding(*more):
    return ["length=6", "hidden_size=12", "channels=4", "steps=3000", "learning_rate=1e-2", "held_out=200", *more]


def test_a_run_stops_when_the_task_is_solved_by_the_published_definition_too(tmp_path, monkeypatch):
    batches = iter([False, False, True])
    monkeypatch.setattr("experiments.tasks.problems.AddingProblem.solved", lambda self, scores: True)
    monkeypatch.setattr("experiments.tasks.problems.AddingProblem.reference_solved", lambda self, loss: next(batches))
    summary = start(load_config("adding-wrnn", _small_adding("evaluate_every=5", "stop_when_solved=true")), tmp_path)
    assert summary["status"] == "solved"
    assert (summary["solved_at"], summary["reference_solved_at"], summary["step"]) == (5, 15, 15)


def test_the_permutation_is_kept_with_the_run(tmp_path):
    for name, settings in (("one", []), ("other", ["permutation_seed=1"]), ("none", ["permuted=false"])):
        start(load_config("digits-wrnn", [*IMAGES, "epochs=1", "permuted=true", *settings]), tmp_path / name)
    one, other = (load_file(tmp_path / name / "fixed.safetensors")["permutation"] for name in ("one", "other"))
    assert sorted(one.tolist()) == sorted(other.tolist()) == list(range(64))
    assert not torch.equal(one, other)
    assert not (tmp_path / "none" / "fixed.safetensors").exists()


def test_a_run_does_not_go_on_with_another_permutation(tmp_path):
    config = load_config("digits-wrnn", [*IMAGES, "permuted=true"])
    _some_steps(config, tmp_path / "run", 2)
    kept = tmp_path / "run" / "fixed.safetensors"
    before = kept.read_bytes()
    save_file({"permutation": load_file(kept)["permutation"].flip(0)}, kept)
    with pytest.raises(ValueError, match="holds another permutation than is drawn now"):
        resume(tmp_path / "run")
    kept.write_bytes(before[:-9])
    with pytest.raises(ValueError, match=r"fixed.safetensors is damaged"):
        resume(tmp_path / "run")
    kept.write_bytes(before)
    assert resume(tmp_path / "run")["status"] == "finished"


def test_a_row_that_a_full_disk_cut_short_is_run_again(tmp_path, whole):
    _some_steps(tiny("record_at=[0,18]"), tmp_path / "run", 12)
    with open(RunFolder(tmp_path / "run").metrics, "a") as file:
        file.write("10,0.5,0.3,1.2,1.3,1.2e-")
    assert [row["step"] for row in RunFolder(tmp_path / "run").rows()] == [0, 5]
    resume(tmp_path / "run")
    assert_same(figures(whole[0]), figures(tmp_path / "run"))


def test_the_learning_rate_drops_as_configured(tmp_path):
    settings = [*IMAGES, "drop_factor=10.0", "drop_every=1", "learning_rate=1e-3"]
    start(load_config("digits-wrnn", settings), tmp_path / "run")
    paths = RunFolder(tmp_path / "run").checkpoints()
    model = load_config("digits-wrnn", settings).model.build(1, 10, every_step=False, generator=torch.Generator())
    optimizer = torch.optim.Adam(model.parameters())
    load_checkpoint(paths[0], model, optimizer)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(1e-4)


@pytest.mark.skipif(sys.platform == "darwin", reason="counts bytes there")
def test_a_kilobyte_of_the_system_is_of_1024_bytes(monkeypatch):
    monkeypatch.setattr(
        "experiments.runs.folder._text", lambda path: "VmPeak:\t9000 kB\nVmHWM:\t  5000 kB\nVmRSS:\t1 kB\n"
    )
    assert peak_memory(torch.device("cpu")) == pytest.approx(5.12)
    monkeypatch.setattr("experiments.runs.folder._text", lambda path: "")  # a system without that file
    monkeypatch.setattr(resource, "getrusage", lambda who: SimpleNamespace(ru_maxrss=5000))
    assert peak_memory(torch.device("cpu")) == pytest.approx(5.12)


def test_different_seeds_differ_and_the_same_seed_does_not(tmp_path, whole):
    start(tiny("seed=1"), tmp_path / "other")
    start(tiny(), tmp_path / "same")
    assert_same(figures(whole[0]), figures(tmp_path / "same"))
    assert figures(tmp_path / "other")[-1]["held_out_loss"] != figures(whole[0])[-1]["held_out_loss"]


def test_a_run_is_never_written_over(whole):
    with pytest.raises(FileExistsError, match="holds a run already"):
        start(tiny(), whole[0])


def test_a_run_is_never_gone_on_with_under_another_config(whole):
    before = {path: path.stat().st_mtime_ns for path in whole[0].rglob("*")}
    with pytest.raises(ValueError, match=r"another config \(model.channels is 2, not 4, training.seed is 0, not 1\)"):
        run_or_resume(tiny("record_at=[0,18]", "channels=4", "seed=1"), whole[0])
    assert {path: path.stat().st_mtime_ns for path in whole[0].rglob("*")} == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "copy-wrnn", "delays=3"], "unknown key 'delays'"),
        (["resume", "nowhere"], "nowhere holds no run"),
        (["run", "smnist-wrnn", "--data", "nowhere"], "data folder nowhere does not exist"),
        (["run", "smnist-wrnn", "--data", "."], "no train-images-idx3-ubyte"),
        (["run", "nscifar10-wrnn", "--data", "."], "no cifar-10-batches-bin"),
        (["run", "copy-wrnn", "steps=9", "record_at=[0,9,10]"], "training.record_at must hold steps of this run, 0…9,"),
        (["run", "copy-wrnn", "epochs=3"], "either steps or epochs"),
        (["run", "copy-wrnn", "--device", "abacus"], "device must be cpu, cuda or cuda:N, got 'abacus'"),
        (["run", "copy-wrnn", "--device", "meta"], "device must be cpu, cuda or cuda:N, got 'meta'"),
        (["reproduce", "adding", "--row", "transformer"], "--row must be one of wRNN"),
        (["reproduce", "adding", "--set", "copy.steps=9"], "copy.steps=9 is meant for a table that was not requested"),
    ],
)
def test_the_command_line_names_what_is_wrong_in_one_line(arguments, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    assert message in capsys.readouterr().err
    assert not os.listdir(tmp_path)


def test_the_command_line_trains_and_draws(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings = [*TINY, "steps=10"]
    assert main(["run", "copy-wrnn", *settings]) == 0
    folder = tmp_path / "runs" / run_name(load_config("copy-wrnn", settings), settings)
    assert (folder / "figure.png").stat().st_size > 10_000
    assert main(["resume", str(folder)]) == 0
    assert '"status": "finished"' in capsys.readouterr().out


def test_a_gpu_beyond_those_there_are_is_named(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    assert main(["run", "copy-wrnn", "--device", "cuda:7", "-o", str(tmp_path / "run")]) == 2
    assert "device must be one of cuda:0…1 here, got 'cuda:7'" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_gpu_that_is_not_there_is_said_so(capsys, tmp_path):
    assert main(["run", "copy-wrnn", "--device", "cuda", "-o", str(tmp_path / "run")]) == 2
    assert "finds no GPU here" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
