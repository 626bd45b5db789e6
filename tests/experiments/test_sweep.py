"""Sweeps: workers that are killed, a sweep that is killed itself, two sweeps in one folder."""

import csv
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from types import SimpleNamespace

import dask
import optuna
import psutil
import pytest
import torch
from dask.distributed import Client, KilledWorker
from optuna.study import StudyDirection
from optuna.trial import TrialState

from experiments import sweep as module
from experiments.__main__ import main
from experiments.config import load_config, read_source
from experiments.run import run_or_resume
from experiments.runs.folder import RunFolder
from experiments.sweep import GIVEN_UP, _claim, _drive, _ended, _fail_lost, _requeue, _study, _wanted, run_trial

SMALL = ["epochs=2", "hidden_size=8", "batch_size=32", "evaluate_every=10"]


def sweep(folder, *options):
    command = [sys.executable, "-m", "experiments", "sweep", "digits-irnn", "-o", str(folder), *SMALL, *options]
    command += ["--checkpoint", "0s"]  # every step is one
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),  # also where the tests run without a terminal
    )


def training(process, folder):
    """The workers, once one of them has trained for twenty steps or more."""
    since = time.time()
    while process.poll() is None and not any(
        run.metrics.stat().st_mtime > since and run.rows() and run.rows()[-1]["step"] >= 20 for run in begun(folder)
    ):
        time.sleep(0.02)
    assert process.poll() is None, process.communicate()[0]
    return workers(process)


def workers(process):
    found = []
    for child in psutil.Process(process.pid).children(recursive=True):
        with suppress(psutil.NoSuchProcess):  # it has ended meanwhile
            if child.status() != psutil.STATUS_ZOMBIE and "spawn_main" in " ".join(child.cmdline()):
                found.append(child)
    return found


def listening(*processes):
    found = [connection for each in processes for connection in each.net_connections(kind="inet")]
    return [connection for connection in found if connection.status == psutil.CONN_LISTEN]


def begun(folder):
    return [RunFolder(path.parent) for path in folder.glob("trial-*/metrics.csv")]


def kept(folder):
    """The step and time of every evaluation that a checkpoint comes after, by the folder of its trial."""
    found = {}
    for run in begun(folder):
        newest = max((int(path.stem.removeprefix("step-")) for path in run.checkpoints()), default=0)
        found[run.path] = [(row["step"], row["seconds"]) for row in run.rows() if row["step"] <= newest]
    return found


def trials(folder):
    with open(folder / "trials.csv", newline="") as file:
        return list(csv.DictReader(file))


def test_a_sweep_survives_the_kill_of_a_worker_and_of_itself(tmp_path, capsys, monkeypatch):
    folder, asked = tmp_path / "sweep", ["epochs=5", "--trials", "2", "--workers", "1"]
    process = sweep(folder, *asked)
    (worker,) = training(process, folder)
    assert listening(psutil.Process(process.pid), worker) == []  # no port that others could use
    worker.kill()
    while {child.pid for child in workers(process)} <= {worker.pid}:
        time.sleep(0.02)  # until another one takes its trial
    living = training(process, folder)
    process.kill()
    process.communicate()
    assert not psutil.wait_procs(living, timeout=60)[1]  # they end with their sweep, and save
    assert "interrupted" in [run.read_summary().get("status") for run in begun(folder)]
    before = kept(folder)
    assert any(len(evaluations) > 1 for evaluations in before.values())
    study = optuna.load_study(study_name="sweep", storage=f"sqlite:///{folder}/study.db")
    assert any(t.state == TrialState.RUNNING for t in study.trials)
    monkeypatch.setattr(module, "_workers", lambda options: ThreadPoolExecutor(1))
    assert main(["sweep", "digits-irnn", "-o", str(folder), *SMALL, *asked, "--checkpoint", "0s"]) == 0
    states = [row["state"] for row in trials(folder)]
    assert states.count("COMPLETE") + states.count("PRUNED") == 2
    assert len(states) > 2  # those that were lost are there too
    assert {row["user_attrs_folder"] for row in trials(folder)} == {run.path.name for run in begun(folder)}
    assert len(begun(folder)) == 2  # and went on in their folders
    after = kept(folder)
    assert all(after[path][: len(evaluations)] == evaluations for path, evaluations in before.items())
    best = max(float(row["value"]) for row in trials(folder) if row["state"] == "COMPLETE")
    assert f"{best:.6g}" in capsys.readouterr().out
    assert load_config(folder / "best.toml").model.hidden_size == 8


@pytest.fixture
def work(tmp_path):
    settings = ["epochs=1", *SMALL[1:]]
    work = {"folder": str(tmp_path), "source": read_source("digits-irnn"), "settings": settings, "grid": False}
    return work | {
        "search": {"learning_rate": [1e-4, 1e-2]},
        "seed": 0,
        "data": None,
        "device": "cpu",
        "checkpoint_seconds": 60,
    }


@pytest.fixture
def client():
    """Dask within this process."""
    with Client(processes=False, n_workers=1, threads_per_worker=1, dashboard_address=":0") as client:
        yield client.get_executor(pure=False)


LOST = KilledWorker("run_trial", SimpleNamespace(address="tcp://lost"), 3)  # as Dask has it
FULL = torch.OutOfMemoryError("CUDA out of memory")


@pytest.mark.parametrize("error", [FULL, FloatingPointError("overflow"), ValueError("no such ring")], ids=repr)
def test_a_trial_that_fails_is_noted_and_the_others_go_on(error, work, client, monkeypatch, capsys):
    def train(config, folder, **options):
        if folder.name == "trial-0001":
            raise error
        return {"status": "finished", "best": 0.5}

    monkeypatch.setattr(module, "run_or_resume", train)
    study = _study(work)
    _drive(client, study, work, 3)
    assert [trial.state for trial in study.trials] == [TrialState.COMPLETE, TrialState.FAIL, TrialState.COMPLETE]
    assert f"trial-0001 failed: {type(error).__name__}: {error}" in capsys.readouterr().err
    _requeue(study, work, (), others=True)  # as a sweep that is started again does
    assert (len(study.trials), _ended(study)) == (3, 3)


def test_the_sampler_of_each_task_has_a_seed_of_its_own(work, monkeypatch):
    seeds, sampler = [], module.optuna.samplers.TPESampler
    monkeypatch.setattr(module.optuna.samplers, "TPESampler", lambda seed: seeds.append(seed) or sampler(seed=seed))
    for seed, number in ((5, 0), (5, 3)):
        _study(work | {"seed": seed}, number)
    assert seeds == [5, 8]


def test_what_no_trial_can_mend_ends_the_sweep(work, client, monkeypatch):
    def train(config, folder, **options):
        raise FileNotFoundError("no train-images-idx3-ubyte")

    monkeypatch.setattr(module, "run_or_resume", train)
    with pytest.raises(FileNotFoundError, match="train-images"):
        _drive(client, _study(work), work, 3)


def test_a_trial_whose_workers_are_lost_over_and_over_fails_in_the_end(work, client, monkeypatch, capsys):
    def lose(work, number):
        study = _study(work, number)
        _requeue(study, work, [number])
        trial = study.ask()
        trial.set_user_attr("folder", "trial-0000")
        trial.set_user_attr("task", number)
        raise LOST

    monkeypatch.setattr(module, "run_trial", lose)
    study = _study(work)
    _drive(client, study, work, 1)
    assert [trial.state for trial in study.trials] == [TrialState.FAIL] * (GIVEN_UP + 1)
    assert _ended(study) == 1  # the others were put into the queue again
    assert "trial-0000 failed: its workers were lost again and again" in capsys.readouterr().err


def test_workers_that_die_before_a_trial_begins_end_the_sweep(work, client, monkeypatch):
    def die(work, number):
        raise LOST

    monkeypatch.setattr(module, "run_trial", die)
    with pytest.raises(ChildProcessError, match="before they begin a trial"):
        _drive(client, _study(work), work, 1)


def test_a_trial_waits_for_a_folder_that_is_in_use(work, tmp_path, monkeypatch):
    run = RunFolder(tmp_path / "trial-0000")
    other = run.in_use()
    other.__enter__()
    waited = []

    def sleep(seconds):
        waited.append(seconds)
        other.__exit__(None, None, None)

    monkeypatch.setattr(module.time, "sleep", sleep)
    assert run_trial(work, 0) is None
    assert len(waited) == 1
    assert [trial.state for trial in _study(work).trials] == [TrialState.COMPLETE]


def test_a_trial_that_lives_is_never_closed_though_its_sweep_is_gone(work, tmp_path, monkeypatch):
    alive = []

    def train(config, folder, *, report, **options):
        def report_and_be_sought(step, score):
            report(step, score)
            alive.append(_requeue(_study(work), work, (), others=True))  # by a sweep that was started again

        return run_or_resume(config, folder, report=report_and_be_sought, **options)

    monkeypatch.setattr(module, "run_or_resume", train)
    assert run_trial(work, 0) is None
    assert alive == [1] * len(RunFolder(tmp_path / "trial-0000").rows())
    assert [trial.state for trial in _study(work).trials] == [TrialState.COMPLETE]


def test_a_lost_trial_is_resumed_where_its_checkpoint_is(work, tmp_path, monkeypatch):
    class Lost(BaseException):
        """As if the process had been killed."""

    def train(config, folder, *, report, **options):
        def report_and_die(step, score):
            report(step, score)
            if step == 20:
                raise Lost

        run_or_resume(config, folder, report=report_and_die, **options)

    work |= {"checkpoint_seconds": 0}
    monkeypatch.setattr(module, "run_or_resume", train)
    with pytest.raises(Lost):
        run_trial(work, 0)
    run = RunFolder(tmp_path / "trial-0000")
    before = [(row["step"], row["seconds"]) for row in run.rows()]
    assert [step for step, _ in before] == [0, 10, 20]
    monkeypatch.setattr(module, "run_or_resume", run_or_resume)
    assert run_trial(work, 0) is None
    assert [(row["step"], row["seconds"]) for row in run.rows()][:2] == before[:2]
    study = _study(work)
    assert [trial.state for trial in study.trials] == [TrialState.FAIL, TrialState.COMPLETE]
    assert [path.name for path in tmp_path.glob("trial-*")] == ["trial-0000"]
    assert _ended(study) == 1
    assert run_trial(work, 0) is None  # its worker was lost after the trial had ended
    assert len(study.trials) == 2


def test_a_trial_is_queued_once_though_the_sweep_is_killed_meanwhile(work):
    study = _study(work)
    begun = study.ask()
    begun.set_user_attr("task", 0)
    study.tell(begun, state=TrialState.FAIL)  # without a reason: it was lost; the sweep was killed at this point
    for _ in range(2):
        _requeue(study, work, (), others=True)
        assert [trial.state for trial in study.trials] == [TrialState.FAIL, TrialState.WAITING]


@pytest.mark.parametrize(
    "close", [lambda *at: _requeue(*at, [0]), lambda *at: _fail_lost(*at, 0)], ids=["queue", "fail"]
)
def test_a_trial_that_ends_while_it_is_taken_for_lost_has_ended(close, work, monkeypatch):
    study = _study(work)
    begun = study.ask()
    begun.set_user_attr("task", 0)
    begun.set_user_attr("folder", "trial-0000")

    def end(trial, work):
        study.tell(begun, 0.5)
        return False

    monkeypatch.setattr(module, "_is_alive", end)
    assert not close(study, work)
    assert [(trial.state, trial.value) for trial in study.trials] == [(TrialState.COMPLETE, 0.5)]


ENDS = [
    {"status": "finished", "best": 0.5},
    {"status": "finished", "best": None},
    ValueError("no such ring"),
    optuna.TrialPruned(),
]


@pytest.mark.parametrize("end", ENDS, ids=repr)
def test_the_end_of_a_trial_that_was_taken_for_lost_is_left_to_the_one_that_resumes_it(end, work, monkeypatch):
    def train(config, folder, **options):
        _requeue(
            _study(work), work, (), others=True
        )  # by a sweep that was started again; here nothing locks the folder
        if isinstance(end, Exception):
            raise end
        return end

    monkeypatch.setattr(module, "run_or_resume", train)
    assert run_trial(work, 0) is None
    assert [trial.state for trial in _study(work).trials] == [TrialState.FAIL, TrialState.WAITING]


def test_two_sweeps_in_one_folder_make_each_point_once(tmp_path, monkeypatch, capsys):
    grid = ["sweep", "digits-irnn", *SMALL, "--grid", "epochs=1", "clip=1.0", "-o", str(tmp_path / "sweep")]
    refused = []

    def train(config, folder, **options):
        refused.append(main(grid))  # the second sweep, while a trial of the first is under way
        return {"status": "finished", "best": 0.5}

    monkeypatch.setattr(module, "_workers", lambda options: ThreadPoolExecutor(1))
    monkeypatch.setattr(module, "run_or_resume", train)
    assert main(grid) == 0
    assert refused == [2, 2, 2]
    assert "is in use by another sweep: wait for its end, or name another folder" in capsys.readouterr().err
    found = sorted(float(row["params_learning_rate"]) for row in trials(tmp_path / "sweep"))
    assert found == [3e-4, 1e-3, 3e-3]  # the values of the config, gone through once


def test_a_sweep_that_is_interrupted_saves_its_trials_and_says_how_to_continue(tmp_path):
    process = sweep(tmp_path / "a sweep", "epochs=200", "--trials", "2", "--workers", "1")
    children = training(process, tmp_path / "a sweep")
    process.send_signal(signal.SIGHUP)  # SIGINT and SIGTERM: `make kills`
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "stopped after 0 of 2 trials; continue with: python -m experiments sweep digits-irnn -o" in output
    assert "'" in output.rpartition("continue with:")[2]  # a name with a blank is quoted
    assert not any(child.is_running() for child in children)
    assert [run.read_summary()["status"] for run in begun(tmp_path / "a sweep")] == ["interrupted"]


def test_a_sweep_without_a_trial_that_ended_fails(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(module, "_drive", lambda workers, study, work, wanted, **shown: run_trial(work, 0))
    source = tmp_path / "bad.toml"
    source.write_text("[task]\nkind='digits'\n[model]\nkind='irnn'\nhidden_size=8\n[training]\nepochs=1\n"
                      "batch_size=8\nlearning_rate=1e-3\nevaluate_every=9\n[search]\nclip=[0.0, 1.0]\n")  # fmt: skip
    assert main(["sweep", str(source), "held_out=100000", "-o", str(tmp_path / "sweep")]) == 1
    error = capsys.readouterr().err
    assert "no trial of" in error
    assert "came to an end (ValueError: held_out must lie between" in error


@pytest.mark.parametrize("name", ["what?mode=ro&x=1#2", "file::memory:", "50%20more", "host@db:5432"])
def test_a_folder_may_have_any_name(name, work, tmp_path):
    folder = tmp_path / name
    folder.mkdir()
    study = _study(work | {"folder": str(folder)})
    study.tell(study.ask(), 1.0)
    assert (folder / "study.db").is_file()
    assert len(_study(work | {"folder": str(folder)}).trials) == 1


def test_a_damaged_study_is_named_with_a_remedy(tmp_path, capsys):
    (tmp_path / "study.db").write_text("not a database at all, " * 100)
    assert main(["sweep", "digits-irnn", *SMALL, "-o", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert f"{tmp_path / 'study.db'} cannot be read as a study (" in error
    assert "move it away to begin the search anew" in error


def test_a_scheduler_that_does_not_answer_is_named(tmp_path, capsys):
    with dask.config.set({"distributed.comm.timeouts.connect": "1s"}):
        arguments = ["digits-irnn", *SMALL, "-o", str(tmp_path), "--scheduler", "tcp://127.0.0.1:9"]
        assert main(["sweep", *arguments]) == 2
    assert "no Dask scheduler answers at tcp://127.0.0.1:9" in capsys.readouterr().err


def test_no_trial_is_judged_before_it_was_trained(work, tmp_path):
    work |= {"search": {"learning_rate": [1e-6, 1e-2]}}
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


def test_positive_numbers_are_searched_on_a_logarithmic_scale_and_all_else_is_chosen():
    asked = []
    trial = SimpleNamespace(
        suggest_float=lambda *given, **more: asked.append((*given, more)),
        suggest_categorical=lambda *given: asked.append(given),
    )
    rates = [1e-3, 1e-5, 1e-4]
    module._suggest(trial, "learning_rate", rates, False)
    for name, values, grid in (
        ("learning_rate", rates, True),
        ("clip", [0.0, 1.0], False),
        ("drop_every", [40, 100], False),
        ("clip", [1.0], False),
        ("start", ["identity", "uniform"], False),
    ):
        module._suggest(trial, name, values, grid)
        assert asked.pop() == (name, values)
    assert asked == [("learning_rate", 1e-5, 1e-3, {"log": True})]


def test_a_task_draws_by_its_number_and_is_held_against_the_median_of_five(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "storage_of", lambda path: optuna.storages.InMemoryStorage())
    drawn = {}
    for seed, number in ((0, 0), (0, 1), (1, 0)):
        study = _study(study_of("digits-irnn", tmp_path)[1] | {"seed": seed}, number)
        drawn[seed, number] = study.ask().suggest_float("x", 0, 1)
    assert drawn[0, 1] == drawn[1, 0] != drawn[0, 0]
    study, _ = study_of("digits-irnn", tmp_path)
    for number, pruned in enumerate([False] * 5 + [True]):
        for score in (0.4, 0.6):
            trial = study.ask()
            trial.report(score, 10)
            assert trial.should_prune() == (pruned and score == 0.4)
            study.tell(trial, state=TrialState.FAIL)
        score = [0.1, 0.5, 0.9, 0.5, 0.5, 0.5][number]
        ended = optuna.trial.create_trial(value=score, intermediate_values={10: score})
        study.add_trial(ended)


def test_a_folder_holds_one_search(tmp_path, capsys):
    study, work = study_of("digits-irnn", tmp_path, "epochs=2")
    _claim(study, work)
    _claim(study, work)  # the same one goes on
    assert main(["sweep", "digits-irnn", "epochs=6", "-o", str(tmp_path)]) == 2
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
