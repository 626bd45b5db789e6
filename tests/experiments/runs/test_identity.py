"""A run knows what it is: its config, its data, its code and its format; what differs is refused by name."""

import json
import os
import shutil
import stat
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch

from experiments import run as run_module
from experiments.__main__ import main
from experiments.config import load_config
from experiments.run import resume, run_or_resume, start
from experiments.runs import folder as folder_module
from experiments.runs.folder import RunFolder, commit, write_text
from wavefield_torch import CheckpointError, load_checkpoint, save_checkpoint

TINY = ["delay=0", "hidden_size=12", "channels=2", "batch_size=8", "evaluate_every=5", "steps=20"]
ROOT = Path(__file__).parents[3]


@pytest.fixture
def paused(tmp_path):
    start(load_config("copy-wrnn", TINY), tmp_path / "run", budget=0.0)
    return tmp_path / "run"


def edit(folder, old, new):
    text = (folder / "config.toml").read_text()
    assert old in text
    (folder / "config.toml").write_text(text.replace(old, new))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("weight_decay = 0.0", "weight_decay = 0.3", "training.weight_decay is 0.0, not 0.3"),
        ("\nseed = 0", "\nseed = 5", "training.seed is 0, not 5"),
        ("learning_rate = 0.001", "learning_rate = 0.1", "training.learning_rate is 0.001, not 0.1"),
        ("channels = 2", "channels = 4", "model.channels is 2, not 4"),
        ("delay = 0", "delay = 3", "task.delay is 0, not 3"),
    ],
)
def test_a_config_edited_since_the_start_is_refused_by_name(old, new, message, paused, capsys):
    edit(paused, old, new)
    assert main(["resume", str(paused)]) == 2
    assert message in capsys.readouterr().err
    edit(paused, new, old)
    assert resume(paused)["status"] == "finished"


def test_an_ended_run_with_an_edited_config_is_refused_too(paused):
    resume(paused)
    edit(paused, "seed = 0", "seed = 5")
    with pytest.raises(ValueError, match=r"training.seed is 0, not 5"):
        resume(paused)


def mnist(folder, labels_from):
    """Eight images of MNIST in IDX files, their labels drawn from a seed."""
    folder.mkdir()
    for part in ("train", "t10k"):
        for name, shape in (("images-idx3", (8, 28, 28)), ("labels-idx1", (8,))):
            rng = np.random.default_rng(labels_from if "labels" in name else 0)
            header = b"\0\0\x08" + bytes([len(shape)]) + np.array(shape, ">u4").tobytes()
            values = rng.integers(0, 10, shape, dtype=np.uint8)
            (folder / f"{part}-{name}-ubyte").write_bytes(header + values.tobytes())
    return folder


def test_a_run_is_not_resumed_on_other_data(tmp_path):
    one, other, copy = (mnist(tmp_path / name, seed) for name, seed in (("one", 1), ("other", 2), ("copy", 1)))
    settings = ["hidden_size=12", "channels=2", "held_out=4", "batch_size=2", "epochs=2", "evaluate_every=1"]
    start(load_config("smnist-wrnn", settings), tmp_path / "run", data=one, budget=0.0)
    assert set(json.loads((tmp_path / "run" / "run.json").read_text())["data"]) == {
        "training images",
        "training labels",
        "test images",
        "test labels",
    }
    with pytest.raises(ValueError, match=r"other data \(training labels, test labels differ\).*--data"):
        resume(tmp_path / "run", data=other)
    assert resume(tmp_path / "run", data=copy)["status"] == "finished"


def test_a_folder_of_a_newer_format_is_refused_by_name(paused):
    record = json.loads((paused / "run.json").read_text())
    write_text(paused / "run.json", json.dumps(record | {"format": 99}))
    with pytest.raises(ValueError, match=r"run was written by a newer version of wavefield: its format is 99"):
        resume(paused)


@pytest.mark.parametrize("written", ["2", 2.5, True, None])
def test_a_format_that_is_no_number_is_damage_and_not_news(written, paused):
    record = json.loads((paused / "run.json").read_text())
    write_text(paused / "run.json", json.dumps(record | {"format": written}))
    with pytest.raises(ValueError, match=r"run is damaged: its format must be a number"):
        resume(paused)


def test_a_checkpoint_of_a_newer_format_is_refused_by_name(paused):
    newest = RunFolder(paused).checkpoints()[0]
    progress = load_checkpoint(newest)
    assert progress["format"] == 1
    model = load_config("copy-wrnn", TINY).model.build(10, 10, every_step=True, generator=torch.Generator())
    save_checkpoint(newest, model, progress=progress | {"format": 2, "mood": "good"})
    with pytest.raises(ValueError, match=rf"{newest.name} was written by a newer version"):
        resume(paused)


def test_a_folder_of_the_first_format_is_resumed(paused):
    (paused / "run.json").unlink()
    assert resume(paused)["status"] == "finished"


def test_files_of_a_run_follow_the_umask(tmp_path):
    before = os.umask(0o002)
    try:
        start(load_config("digits-wrnn", ["epochs=1", "permuted=true", "evaluate_every=20"]), tmp_path / "run")
    finally:
        os.umask(before)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "run").rglob("*") if path.is_file()}
    assert set(modes.values()) == {0o664}, modes


@pytest.mark.parametrize("what", ["files", "folder"])
def test_deleted_checkpoints_are_said(what, paused):
    found = paused / "checkpoints"
    run_or_resume(load_config("copy-wrnn", TINY), paused)
    (paused / "summary.json").write_text(json.dumps({"status": "interrupted", "step": 10}))
    if what == "files":
        for path in found.glob("step-*"):
            path.unlink()
    else:
        shutil.rmtree(found)
    with pytest.raises(CheckpointError, match="holds no checkpoint any more, though there was one"):
        resume(paused)


def test_a_run_killed_before_its_first_checkpoint_says_that_it_begins_again(paused, capsys):
    shutil.rmtree(paused / "checkpoints")
    (paused / "summary.json").unlink()
    assert resume(paused)["status"] == "finished"
    assert "training begins again from step 0" in capsys.readouterr().err


def test_two_processes_may_find_a_folder_empty_at_once(tmp_path, monkeypatch):
    """The one that locks it second resumes what the first one left there."""
    config, prepare = load_config("copy-wrnn", TINY), run_module._prepare

    def slow(*arguments):
        session = prepare(*arguments)
        monkeypatch.setattr(run_module, "_prepare", prepare)
        assert run_or_resume(config, tmp_path / "run", budget=0.0)["status"] == "paused"
        return session

    monkeypatch.setattr(run_module, "_prepare", slow)
    assert run_or_resume(config, tmp_path / "run")["status"] == "finished"


def copied(where):
    """A module of the package, where an installer puts it."""
    (where / "experiments" / "runs").mkdir(parents=True)
    shutil.copy(ROOT / "experiments" / "runs" / "folder.py", where / "experiments" / "runs")


@pytest.fixture
def commit_of(monkeypatch):
    """The commit that the toolkit would name if it lay in a folder."""

    def found(where):
        monkeypatch.setattr(folder_module, "__file__", str(where / "experiments" / "runs" / "folder.py"))
        return commit()

    return found


def repository(folder):
    identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
    for command in (["init", "-q", "."], ["add", "-A"], [*identity, "commit", "-q", "--allow-empty", "-m", "mine"]):
        subprocess.run(["git", "-C", str(folder), *command], check=True)


@pytest.mark.parametrize("where", [".", ".venv/lib"])
def test_the_commit_is_not_that_of_a_repository_around_the_package(where, tmp_path, commit_of):
    copied(tmp_path / where)
    repository(tmp_path)
    assert commit_of(tmp_path / where) == "unknown"


def test_the_commit_is_that_of_the_checkout(tmp_path, commit_of):
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    copied(tmp_path)
    repository(tmp_path)
    head = ["git", "-C", str(tmp_path), "rev-parse", "--short=12", "HEAD"]
    found = subprocess.run(head, capture_output=True, text=True, check=True).stdout.strip()
    assert commit_of(tmp_path).removesuffix("+") == found


def test_an_installed_package_says_its_version_or_the_commit_it_was_installed_from(monkeypatch):
    class Package:
        version, origin = "0.1.0", None

        def locate_file(self, name):
            return ROOT / name

        def read_text(self, name):
            return self.origin

    monkeypatch.setattr(folder_module, "_commit_of_checkout", lambda root: "")
    monkeypatch.setattr(folder_module, "distribution", lambda name: Package())
    assert commit() == "version 0.1.0"
    monkeypatch.setattr(Package, "origin", json.dumps({"vcs_info": {"commit_id": "0123456789abcdef"}}))
    assert commit() == "0123456789ab"
