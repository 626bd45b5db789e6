"""Runs of a table are carried out in processes of their own, whatever becomes of these."""

import argparse
import subprocess
import sys
import time

import psutil
import pytest

from experiments import reproduce as module
from experiments.__main__ import main
from experiments.config import load_config
from experiments.reports.tables import load_table
from experiments.reproduce import _one
from experiments.run import start
from experiments.runs.folder import RunFolder

SETTINGS = ["evaluate_every=50", "steps=50000", "batch_size=8", "held_out=8"]
CHOSEN = ["copy", "--row", "iRNN", "--column", "delay 0", *(word for s in SETTINGS for word in ("--set", s))]
OPTIONS = argparse.Namespace(jobs=1, quiet=True, verbose=False, json=False, device=None, data=None, checkpoint=60.0)
NAME = "copy-irnn-delay0-evaluate_every50-steps50000-batch_size8-held_out8-seed0"


def reproduction(folder):
    """A reproduction, and the process of its run once that trains."""
    command = [sys.executable, "-m", "experiments", "reproduce", *CHOSEN, "--runs", str(folder)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while not (folder / NAME / "metrics.csv").exists() and process.poll() is None:
        time.sleep(0.05)
    assert process.poll() is None, process.communicate()
    children = psutil.Process(process.pid).children()
    return process, next(child for child in children if "spawn_main" in " ".join(child.cmdline()))


def test_a_run_that_is_killed_is_said_so_and_one_that_lives_on_is_left_to_itself(tmp_path, capfd):
    process, run = reproduction(tmp_path)
    run.suspend()
    try:
        before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
        settings = ["delay=0", *SETTINGS, "seed=0"]
        with pytest.raises(SystemExit, match="1"):
            _one("copy-irnn", settings, tmp_path / NAME, 60.0, OPTIONS)  # as another reproduction would
        assert f"{NAME} failed: {tmp_path / NAME} is being trained by another process" in capfd.readouterr().err
        assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before
    finally:
        run.kill()
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert f"{NAME}: was killed by signal 9 (Killed)" in errors


def test_a_run_ends_with_its_reproduction_and_is_saved(tmp_path):
    process, run = reproduction(tmp_path)
    process.kill()
    process.communicate()
    assert psutil.wait_procs([run], timeout=60)[0]
    assert RunFolder(tmp_path / NAME).read_summary()["status"] == "interrupted"


def test_first_seeds_come_first_and_the_budget_is_that_of_all_runs_together(tmp_path, monkeypatch):
    tables = [load_table("copy")]
    chosen = {"seeds": [3, 5], "row": ["wRNN", "iRNN"], "column": ["delay 10", "delay 30"], "set": ["steps=7"]}
    options = argparse.Namespace(**chosen, runs=tmp_path, **vars(OPTIONS))
    plan = module._plan(tables, options)
    wanted = [
        (config, f"delay={d}", f"seed={s}") for s in (3, 5) for config in ("copy-wrnn", "copy-irnn") for d in (10, 30)
    ]
    assert [(config, settings[0], settings[-1]) for config, settings, _ in plan] == wanted
    assert all("steps=7" in settings for _, settings, _ in plan)
    assert len({folder for *_, folder in plan}) == 8
    begun, clock = [], [1000.0]

    class Process:  # each run takes 25 seconds
        exitcode, sentinel = 0, 7

        def __init__(self, target, args):
            begun.append((args[2], args[3]))

        def start(self):
            clock[0] += 25.0

        def join(self):
            pass

    monkeypatch.setattr(module, "SPAWN", argparse.Namespace(Process=Process))
    monkeypatch.setattr(module, "wait", list)
    monkeypatch.setattr(module.time, "monotonic", lambda: clock[0])
    assert module._carry_out(plan, 1060.0, options) == []
    assert begun == [(plan[k][2], budget) for k, budget in enumerate((60.0, 35.0, 10.0))]


def test_without_budget_a_run_that_was_begun_is_not_called_unbegun(tmp_path, capsys):
    config = load_config("copy-irnn", ["delay=0", *SETTINGS, "seed=0"])
    start(config, tmp_path / NAME, budget=0.0)
    assert main(["reproduce", *CHOSEN, "--runs", str(tmp_path), "--budget", "0s"]) == 0
    assert f"{NAME}: not resumed, the budget is spent" in capsys.readouterr().out


@pytest.mark.parametrize(("jobs", "threads"), [(1, 8), (3, 2), (20, 1)])
def test_runs_side_by_side_share_the_cores_and_what_is_left_of_the_budget(jobs, threads, tmp_path, monkeypatch):
    noted = []
    monkeypatch.setattr(module.os, "cpu_count", lambda: 8)
    monkeypatch.setattr(module, "end_with_parent", lambda: None)
    monkeypatch.setattr(module.torch, "set_num_threads", noted.append)
    monkeypatch.setattr(module, "run_or_resume", lambda config, folder, *, budget, **_: noted.append(budget))
    _one("copy-irnn", [], tmp_path / NAME, 7.5, argparse.Namespace(**vars(OPTIONS) | {"jobs": jobs}))
    assert noted == [threads, 7.5]
