"""Search the settings of a config: ``python -m experiments sweep psmnist-wrnn --trials 40``.

The study is an Optuna one in an SQLite file; trials run on the workers of a Dask cluster, on this machine unless an
address is given, each in a run folder of its own. Nothing is lost when a worker or the sweep itself is killed: another
worker takes up the trial of a lost one from its last checkpoint, and a sweep that is started again goes on with its
study. A trial that fails on its own is noted as failed, and the others go on. One sweep at a time may use a folder.
"""

from __future__ import annotations

import argparse
import itertools
import json
import logging
import math
import os
import sys
import time
from collections import Counter
from contextlib import contextmanager, suppress
from pathlib import Path

import optuna
from dask.distributed import Client, KilledWorker, LocalCluster, wait
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import RDBStorage
from optuna.trial import TrialState
from tqdm import tqdm

from experiments.config import ConfigError, read_source, resolve, to_toml
from experiments.runs.folder import RunInUseError, write_text
from experiments.runs.run import NOT_FINITE, run_or_resume

POLL_SECONDS = 2.0
GIVEN_UP = 5  # times that a task is begun again after Dask gave it up, each for a few workers it lost
SLURM = """
On a SLURM cluster start workers with dask-jobqueue, of one thread each, since every thread of a worker runs a trial:
cluster = SLURMCluster(cores=1, processes=1, job_cpu=8, memory="32GB", walltime="08:00:00",
job_script_prologue=["export OMP_NUM_THREADS=8 NUMBA_NUM_THREADS=8"]); cluster.scale(jobs=10). Let that Python run on,
and give cluster.scheduler_address as --scheduler. All workers need this package and must see the folder of the sweep
and that of the data under the same paths, on a file system that keeps locks. When a worker runs out of time, another
one goes on with its trial.
"""


def main(argv=None) -> int:
    """Run trials until there are as many as asked for; then write the table of trials and the best config."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments sweep",
        description=__doc__.splitlines()[0],
        epilog=SLURM,
    )
    parser.add_argument("config", help="as in `run`; its table [search] names the settings and the values to try")
    parser.add_argument("settings", nargs="*", metavar="key=value", help="settings that all trials share")
    parser.add_argument("--trials", type=int, help="in all, with those of earlier calls (default: 40, or the grid)")
    parser.add_argument("--grid", action="store_true", help="the paper's grid, each point once, instead of TPE")
    parser.add_argument("--scheduler", help="address of a Dask scheduler; by default workers on this machine")
    parser.add_argument("--workers", type=int, default=2, help="on this machine (default: 2)")
    parser.add_argument("--seed", type=int, default=0, help="of the search (default: 0); training has its own")
    parser.add_argument("-o", "--output", type=Path, help="folder of the sweep (default: runs/sweep-CONFIG)")
    parser.add_argument("--data", help="folder of the data sets (default: WAVEFIELD_DATA)")
    parser.add_argument("--device", help="default: a GPU if there is one")
    options = parser.parse_intermixed_args(argv)
    for name, value in (("--trials", options.trials), ("--workers", options.workers)):
        if value is not None and value < 1:
            raise ConfigError(f"{name} must be at least 1, got {value}")
    logging.getLogger("distributed").setLevel(logging.ERROR)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    source = read_source(options.config)
    folder = (options.output or Path("runs") / f"sweep-{source['name']}").resolve()
    folder.mkdir(parents=True, exist_ok=True)
    work = {
        "folder": str(folder),
        "source": source,
        "settings": list(options.settings),
        "search": _search(source, options.settings),
        "grid": options.grid,
        "seed": options.seed,
        "data": options.data and str(Path(options.data).resolve()),
        "device": options.device,
    }
    study = _study(work)
    _claim(study, work)
    _take_up(study, lambda trial: True)  # left behind when a sweep was killed
    wanted = _wanted(options.trials, study, work)
    with _client(options) as client:
        _drive(client, study, work, wanted)
    _conclude(study, work, folder)
    return 0


def _search(source, settings):
    """Values to try by setting, each checked before any trial starts; those that were fixed are left out."""
    fixed = {setting.partition("=")[0].rpartition(".")[2] for setting in settings}
    search = {key: values for key, values in source.get("search", {}).items() if key not in fixed}
    if not search:
        raise ConfigError(f"config {source['name']!r} has no table [search] with settings to try")
    for key, values in search.items():
        for value in values:
            resolve(source, [*settings, _setting(key, value)])
    return search


def _claim(study, work):
    """Note in the study what it searches; a sweep of anything else may not go on with it."""
    searched = {key: work[key] for key in ("source", "settings", "search", "grid")}
    before = study.user_attrs.get("searched")
    if before is None:
        study.set_user_attr("searched", searched)
        return
    changed = [key for key in searched if searched[key] != before[key]]
    if changed:
        what = ", ".join(f"{key} {before[key]}" for key in changed if key != "source") or "another config"
        raise ConfigError(f"{work['folder']} holds another search, of {what}: go on with that, or name another folder")


def _wanted(trials, study, work):
    """How many trials there are to be: of a grid at most its points."""
    if not work["grid"]:
        return 40 if trials is None else trials
    points = _enqueue_grid(study, work["search"])
    return points if trials is None else min(trials, points)


def _enqueue_grid(study, search):
    """Put every point that is not in the study yet into its queue; returns how many points there are."""
    points = [dict(zip(search, values, strict=True)) for values in itertools.product(*search.values())]
    for point in points:
        study.enqueue_trial(point, skip_if_exists=True)
    return len(points)


def _setting(key, value):
    return f"{key}={json.dumps(value)}"  # which TOML reads alike


@contextmanager
def _client(options):
    if options.scheduler:
        with Client(options.scheduler) as client:
            yield client
        return
    threads = max(1, (os.cpu_count() or 1) // options.workers)
    for name in ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ.setdefault(name, str(threads))  # read by the workers when they start
    workers = {"n_workers": options.workers, "threads_per_worker": 1, "dashboard_address": None}
    with LocalCluster(**workers) as cluster, Client(cluster) as client:
        yield client


def _drive(client, study, work, wanted):
    """Keep as many trials on the way as are missing, until none is."""
    pending, given_up, number = {}, Counter(), len(study.get_trials(deepcopy=False))
    with tqdm(total=wanted, initial=min(_ended(study), wanted), desc="sweep", unit="trial", disable=None) as bar:
        while _ended(study) < wanted or pending:
            missing = wanted - _ended(study) - len(pending)
            for _ in range(missing):
                pending[client.submit(run_trial, work, number, pure=False)] = number
                number += 1
            with suppress(TimeoutError):
                wait(list(pending), timeout=POLL_SECONDS, return_when="FIRST_COMPLETED")
            for future in [future for future in pending if future.done()]:
                task, failure = pending.pop(future), None
                if future.status == "error" and isinstance(future.exception(), KilledWorker):
                    given_up[task] += 1
                    if given_up[task] <= GIVEN_UP:
                        pending[client.submit(run_trial, work, task, pure=False)] = task
                    else:
                        failure = _fail_lost(study, task)
                elif future.status in ("error", "finished"):
                    failure = future.result()  # what no trial can mend, such as a full disk, is raised here
                if failure:
                    bar.write(failure, file=sys.stderr)
            bar.n = min(_ended(study), wanted)
            bar.refresh()


def _ended(study):
    """Trials that came to an end of their own, not those whose worker was lost."""
    trials = study.get_trials(deepcopy=False)
    ended = (TrialState.COMPLETE, TrialState.PRUNED)
    return sum(t.state in ended or (t.state == TrialState.FAIL and "reason" in t.user_attrs) for t in trials)


# ---------------------------------------------------------------------------------------------- on the workers


def run_trial(work: dict, number: int) -> str | None:
    """Run the next trial of the study; `number` is that of the task, and seeds what the sampler draws.

    Dask gives the task of a lost worker to another one: what the lost one had begun is then taken up first. Returns
    what to say of a trial that failed, None of any other.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = _study(work, number)
    _take_up(study, lambda trial: trial.user_attrs.get("task") == number)
    trial = study.ask()
    if "folder" not in trial.user_attrs:
        trial.set_user_attr("folder", f"trial-{trial.number:04d}")
    trial.set_user_attr("task", number)
    try:
        summary = _train(trial, work)
    except optuna.TrialPruned:
        study.tell(trial, state=TrialState.PRUNED)
        return None
    except UpdateFinishedTrialError:  # it was taken for lost: another task goes on with it
        return None
    except (ValueError, RuntimeError, ArithmeticError, MemoryError) as error:
        return _fail(study, trial, f"{type(error).__name__}: {error}")
    if summary["status"].startswith(NOT_FINITE) or summary["best"] is None:
        return _fail(study, trial, summary["status"])
    study.tell(trial, summary["best"], skip_if_finished=True)
    return None


def _fail(study, trial, reason):
    """Note that a trial failed, of which the sampler learns nothing; return what to say of it."""
    trial.set_user_attr("reason", reason)
    study.tell(trial, state=TrialState.FAIL)
    return f"{trial.user_attrs['folder']} failed: {reason}"


def _fail_lost(study, number):
    """Note that the trial of a task failed whose workers were lost over and over; return what to say of it."""
    for begun in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        if begun.user_attrs.get("task") == number:
            return _fail(study, optuna.Trial(study, begun._trial_id), "its workers were lost over and over")
    raise ChildProcessError("workers are lost over and over before they begin a trial: see their logs")


def _take_up(study, lost):
    """Close the trials that were broken off and put them in the queue again, to go on in their folders.

    One whose worker is alive after all, out of reach, stops when it next tells its score.
    """
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        if lost(trial):
            study.tell(trial.number, state=TrialState.FAIL)
            kept = {"folder": trial.user_attrs["folder"]} if "folder" in trial.user_attrs else {}
            study.enqueue_trial(trial.params, user_attrs=kept)


def _train(trial, work):
    """Train the settings of a trial in its folder; what it scores on held-out data decides whether it goes on."""
    chosen = {key: _suggest(trial, key, values, work["grid"]) for key, values in work["search"].items()}
    settings = [*work["settings"], *(_setting(key, value) for key, value in chosen.items())]

    def report(step, score):
        if step == 0 or not math.isfinite(score):  # before training a score says nothing of the settings
            return
        trial.report(score, step)
        if not work["grid"] and trial.should_prune():
            raise optuna.TrialPruned

    folder = Path(work["folder"]) / trial.user_attrs["folder"]
    config = resolve(work["source"], settings)
    while True:
        try:
            return run_or_resume(config, folder, device=work["device"], data=work["data"], report=report)
        except RunInUseError:  # by one that was taken for lost, until it tells its score
            time.sleep(POLL_SECONDS)


def _suggest(trial, key, values, grid):
    """One of the values of a grid; between the ends, on a logarithmic scale, where numbers are searched freely."""
    free = not grid and len(values) > 1 and all(isinstance(v, float) and v > 0 for v in values)
    if free:
        return trial.suggest_float(key, min(values), max(values), log=True)
    return trial.suggest_categorical(key, values)


def _study(work, number=0):
    storage = RDBStorage(f"sqlite:///{work['folder']}/study.db", engine_kwargs={"connect_args": {"timeout": 60}})
    problem = resolve(work["source"], work["settings"]).task.problem
    return optuna.create_study(
        study_name="sweep",
        storage=storage,
        sampler=optuna.samplers.TPESampler(seed=work["seed"] + number),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=0),
        direction="maximize" if problem.higher_is_better else "minimize",
        load_if_exists=True,
    )


def _conclude(study, work, folder):
    study.trials_dataframe().to_csv(folder / "trials.csv", index=False)
    try:
        best = study.best_trial
    except ValueError:
        print(f"no trial of {folder} came to an end; see {folder / 'trials.csv'}")
        return
    settings = [*work["settings"], *(_setting(key, value) for key, value in best.params.items())]
    write_text(folder / "best.toml", to_toml(resolve(work["source"], settings)))
    print(f"best of {_ended(study)} trials: {best.value:.6g} with {best.params}; wrote {folder / 'best.toml'}")
