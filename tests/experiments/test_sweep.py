"""Sweeps: two workers on this machine, one of them killed, and a sweep that is killed itself."""

import csv
import os
import signal
import subprocess
import sys
import time

import optuna
import psutil
import pytest
import torch
from optuna.study import StudyDirection
from optuna.trial import TrialState

from experiments.__main__ import main
from experiments.config import load_config, read_source
from experiments.sweep import _claim, _study, _wanted, run_trial

SMALL = ["epochs=2", "hidden_size=8", "batch_size=32", "evaluate_every=10"]


def sweep(folder, *options):
    command = [sys.executable, "-m", "experiments", "sweep", "digits-irnn", "-o", str(folder), *SMALL, *options]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def training(process, folder):
    """The workers, once one of them trains."""
    since = time.time()
    while process.poll() is None and not any(p.stat().st_mtime > since for p in folder.glob("trial-*/metrics.csv")):
        time.sleep(0.05)
    assert process.poll() is None, process.communicate()[0]
    children = psutil.Process(process.pid).children(recursive=True)
    return [child for child in children if "spawn_main" in " ".join(child.cmdline())]


def trials(folder):
    with open(folder / "trials.csv", newline="") as file:
        return list(csv.DictReader(file))


def test_a_sweep_survives_the_kill_of_a_worker_and_of_itself(tmp_path):
    folder = tmp_path / "sweep"
    process = sweep(folder, "--trials", "3", "--workers", "2")
    for worker in training(process, folder):
        worker.kill()  # all of them: whatever was under way is lost
    time.sleep(1.0)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    study = optuna.load_study(study_name="sweep", storage=f"sqlite:///{folder}/study.db")
    assert any(t.state == TrialState.RUNNING for t in study.trials)
    process = sweep(folder, "--trials", "3", "--workers", "2")
    training(process, folder)[0].kill()
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    states = [row["state"] for row in trials(folder)]
    assert states.count("COMPLETE") + states.count("PRUNED") == 3
    best = max(float(row["value"]) for row in trials(folder) if row["state"] == "COMPLETE")
    assert f"{best:.6g}" in output
    assert load_config(folder / "best.toml").model.hidden_size == 8


def test_the_grid_is_gone_through_once(tmp_path):
    process = sweep(tmp_path / "sweep", "--grid", "--workers", "1", "epochs=1", "clip=1.0")
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    found = sorted(float(row["params_learning_rate"]) for row in trials(tmp_path / "sweep"))
    assert found == [3e-4, 1e-3, 3e-3]  # the values of the config


def test_no_trial_is_judged_before_it_was_trained(tmp_path):
    work = {"folder": str(tmp_path), "source": read_source("digits-irnn"), "settings": ["epochs=1", *SMALL[1:]]}
    work |= {"search": {"learning_rate": [1e-6, 1e-2]}, "grid": False, "seed": 0, "data": None, "device": "cpu"}
    for number in range(8):  # from the sixth on, trials are held against the median of those before
        run_trial(work, number)
    study = optuna.load_study(study_name="sweep", storage=f"sqlite:///{tmp_path}/study.db")
    assert len(study.trials) == 8
    assert all(min(trial.intermediate_values) == 10 for trial in study.trials)


def study_of(config, folder, *settings, grid=False):
    work = {"folder": str(folder), "source": read_source(config), "settings": list(settings), "grid": grid, "seed": 0}
    work |= {"search": work["source"]["search"]}
    return _study(work), work


@pytest.mark.parametrize("name", ["copy-wrnn", "adding-wrnn", "digits-wrnn", "history-elman"])
def test_what_is_better_in_a_run_is_what_its_study_looks_for(name, tmp_path):
    study, _ = study_of(name, tmp_path)
    problem = load_config(name).task.load(8, 0, torch.device("cpu"), None)
    assert study.direction == (StudyDirection.MAXIMIZE if problem.higher_is_better else StudyDirection.MINIMIZE)


def test_a_grid_is_gone_through_whole_unless_fewer_trials_are_asked_for(tmp_path):
    study, work = study_of("psmnist-wrnn", tmp_path, grid=True)
    assert _wanted(None, study, work) == 3 * 2 * 2 * 5
    assert _wanted(7, study, work) == 7
    assert _wanted(None, study, work | {"grid": False}) == 40


def test_a_folder_holds_one_search(tmp_path, capsys):
    study, work = study_of("digits-irnn", tmp_path, "epochs=2")
    _claim(study, work)
    _claim(study, work)  # the same one goes on
    assert main(["sweep", "digits-irnn", "epochs=20", "-o", str(tmp_path)]) == 2
    assert "holds another search, of settings ['epochs=2']" in capsys.readouterr().err
    assert main(["sweep", "digits-wrnn", "epochs=2", "-o", str(tmp_path)]) == 2
    assert "holds another search, of another config" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["digits-irnn", "learning_rate=1.0", "clip=1.0"], "has no table [search] with settings to try"),
        (["digits-irnn", "training.learning_rate=1.0", "clip=1.0"], "has no table [search] with settings to try"),
        (["digits-irnn", "--trials", "0"], "--trials must be at least 1, got 0"),
        (["digits-irnn", "--workers", "0"], "--workers must be at least 1, got 0"),
        (["digits-irn"], "no config 'digits-irn'"),
    ],
)
def test_a_sweep_that_cannot_be_is_refused_before_anything_starts(arguments, message, capsys, tmp_path):
    assert main(["sweep", *arguments, "-o", str(tmp_path / "sweep")]) == 2
    assert message in capsys.readouterr().err
