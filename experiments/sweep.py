"""Search the settings of a config: ``python -m experiments sweep psmnist-wrnn --trials 40``.

The study is an Optuna one in an SQLite file. Trials run in processes of this machine, which talk to the sweep through
pipes, or on the workers of a Dask cluster if its address is given; each has a run folder of its own. Nothing is lost
when a worker or the sweep itself is killed: another worker resumes the trial of a lost one from its last checkpoint,
and a sweep that is started again continues its study. A trial that fails on its own is noted as failed, and the others
continue. A folder holds one sweep at a time, and a second one is refused.
"""

from __future__ import annotations

import argparse
import itertools
import json
import logging
import math
import os
import shlex
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, CancelledError, Executor, Future, wait
from contextlib import contextmanager
from pathlib import Path

import filelock
import optuna
from dask.distributed import Client, KilledWorker
from distributed.comm.core import CommClosedError
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import TrialState
from tqdm import tqdm

from experiments.config import ConfigError, read_source, resolve, to_toml
from experiments.run import NOT_FINITE, run_or_resume
from experiments.runs.child import Processes, ProcessLostError
from experiments.runs.folder import RunFolder, RunInUseError, make_folder, write_csv, write_text
from experiments.runs.options import run_options
from experiments.runs.study import NAME, named, storage_of
from wavefield.cli import interruptible, tell

POLL_SECONDS = 2.0
GIVEN_UP = 5  # times that a task is begun again after its worker was lost


def main(options: argparse.Namespace) -> int:
    """Run trials until there are as many as requested; then write the table of trials and the best config."""
    for name, value in (("--trials", options.trials), ("--workers", options.workers)):
        if value is not None and value < 1:
            raise ConfigError(f"{name} must be at least 1, got {value}")
    logging.getLogger("distributed").setLevel(logging.ERROR)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    source = read_source(options.config)
    folder = (options.output or Path("runs") / f"sweep-{source['name']}").resolve()
    make_folder(folder)
    work = {
        "folder": str(folder),
        "source": source,
        "settings": list(options.settings),
        "search": _search(source, options.settings),
        "grid": options.grid,
        "seed": options.seed,
        "data": options.data and str(Path(options.data).resolve()),
        "device": options.device,
        "checkpoint_seconds": options.checkpoint,
    }
    with _only_sweep(folder), interruptible(), named(folder / "study.db"):
        study = _study(work)
        _claim(study, work)
        wanted = _wanted(options.trials, study, work)
        try:
            with _workers(options) as workers:
                _drive(workers, study, work, wanted, **_shown(options))
        except KeyboardInterrupt:
            told = f"stopped after {_ended(study)} of {wanted} trials; continue with: {shlex.join(options.again)}"
            print(told, file=sys.stderr)
            raise KeyboardInterrupt(told) from None
        return _conclude(study, work, folder, options)


@contextmanager
def _only_sweep(folder: Path) -> Iterator[None]:
    """Refuse a second sweep in the folder; the lock ends with the process."""
    try:
        lock = filelock.FileLock(folder / ".sweep.lock", timeout=0).acquire()
    except filelock.Timeout:
        raise RunInUseError(f"{folder} is in use by another sweep: wait for its end, or name another folder") from None
    with lock:
        yield


def _search(source, settings):
    """Values to try by setting, each checked before any trial starts; fixed ones are left out."""
    fixed = {setting.partition("=")[0].rpartition(".")[2] for setting in settings}
    search = {key: values for key, values in source.get("search", {}).items() if key not in fixed}
    if not search:
        raise ConfigError(f"config {source['name']!r} has no table [search] with settings to try")
    for key, values in search.items():
        for value in values:
            resolve(source, [*settings, _setting(key, value)])
    return search


def _claim(study, work):
    """Note in the study what it searches; a sweep of anything else may not continue it."""
    searched = {key: work[key] for key in ("source", "settings", "search", "grid")}
    before = study.user_attrs.get("searched")
    if before is None:
        study.set_user_attr("searched", searched)
        return
    changed = [key for key in searched if searched[key] != before[key]]
    if changed:
        what = ", ".join(f"{key} {before[key]}" for key in changed if key != "source") or "another config"
        raise ConfigError(
            f"{work['folder']} holds another search, of {what}: continue that one, or name another folder"
        )


def _wanted(trials, study, work):
    """The number of trials to make: of a grid at most its points."""
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
def _workers(options: argparse.Namespace) -> Iterator[Executor]:
    """The executor of the trials: the workers of a cluster, or processes of this machine."""
    if options.scheduler:
        with _cluster(options.scheduler) as workers:
            yield workers
        return
    threads = max(1, (os.cpu_count() or 1) // options.workers)
    for name in ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ.setdefault(name, str(threads))  # read by the processes when they start
    workers = Processes(options.workers)
    try:
        yield workers
    finally:
        workers.shutdown(cancel_futures=True)


@contextmanager
def _cluster(address: str) -> Iterator[Executor]:
    try:
        client = Client(address)
    except (OSError, ValueError) as error:
        raise OSError(f"no Dask scheduler answers at {address}: {error}") from None
    with client:
        try:
            yield client.get_executor(pure=False)
        except (CommClosedError, CancelledError) as error:
            raise OSError(
                f"the Dask scheduler at {address} was lost ({type(error).__name__}: {error}): start it again, then the "
                "same sweep, which continues where it was"
            ) from None


def _drive(workers: Executor, study, work, wanted, *, bar=True, log=None):
    """Keep as many trials running as are missing, until none is."""
    trials = study.get_trials(deepcopy=False)
    number = 1 + max([trial.user_attrs.get("task", -1) for trial in trials], default=-1)
    pending: dict[Future, int] = {}
    given_up: Counter[int] = Counter()  # how often the worker of a task was lost
    with tqdm(
        total=wanted, initial=min(_ended(study), wanted), desc="sweep", unit="trial", disable=None if bar else True
    ) as shown:
        while True:
            elsewhere = _requeue(study, work, pending.values(), others=True)
            for _ in range(wanted - _ended(study) - len(pending) - elsewhere):
                pending[workers.submit(run_trial, work, number)] = number
                number += 1
            if not (pending or elsewhere):
                return
            done, _ = wait(pending, timeout=POLL_SECONDS, return_when=FIRST_COMPLETED)
            if not pending:
                time.sleep(POLL_SECONDS)
            for future in done:
                task, failure = pending.pop(future), None
                try:
                    failure = future.result()  # what no trial can mend, such as a full disk, is raised here
                except (KilledWorker, ProcessLostError):
                    given_up[task] += 1
                    if given_up[task] <= GIVEN_UP:
                        pending[workers.submit(run_trial, work, task)] = task
                    else:
                        failure = _fail_lost(study, work, task)
                if failure:
                    shown.write(failure, file=sys.stderr)
            if log and done:
                log(f"{min(_ended(study), wanted)} of {wanted} trials have ended")
            shown.n = min(_ended(study), wanted)
            shown.refresh()


def _ended(study):
    """The number of trials that ended by themselves, without those whose worker was lost."""
    return sum(_is_over(trial) for trial in study.get_trials(deepcopy=False))


def _is_over(trial):
    return trial.state.is_finished() and not _was_lost(trial)


def _was_lost(trial):
    """Whether a trial was closed because its worker was gone; one that failed by itself has a reason."""
    return trial.state == TrialState.FAIL and "reason" not in trial.user_attrs


# ---------------------------------------------------------------------------------------------- on the workers


def run_trial(work: dict, number: int) -> str | None:
    """Run the next trial of the study; `number` is that of the task, and seeds what the sampler draws.

    The task of a lost worker is given to another one, which first resumes the trial that the lost one had begun.
    Returns a message about a trial that failed, None for any other.
    """
    with named(Path(work["folder"]) / "study.db"):
        return _run_trial(work, number)


def _run_trial(work, number):
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = _study(work, number)
    while _requeue(study, work, [number]):
        time.sleep(POLL_SECONDS)  # its worker was taken for lost, but still trains
    if any(trial.user_attrs.get("task") == number and _is_over(trial) for trial in study.get_trials(deepcopy=False)):
        return None  # it was lost after its trial had ended
    trial = study.ask()
    if "folder" not in trial.user_attrs:
        trial.set_user_attr("folder", f"trial-{trial.number:04d}")
    trial.set_user_attr("task", number)
    try:
        return _run_to_its_end(study, trial, work)
    except UpdateFinishedTrialError:  # it was taken for lost: another task resumes it
        return None


def _run_to_its_end(study, trial, work):
    """Train a trial and tell the study how it ended; return a message if it failed, None otherwise."""
    try:
        summary = _train(trial, work)
    except optuna.TrialPruned:
        _close(study, trial.number, TrialState.PRUNED)
        return None
    except UpdateFinishedTrialError:  # which is a RuntimeError, but no failure of the trial
        raise
    except (ValueError, RuntimeError, ArithmeticError, MemoryError) as error:
        return _fail(study, trial, f"{type(error).__name__}: {error}")
    if summary["status"].startswith(NOT_FINITE) or summary["best"] is None:
        return _fail(study, trial, summary["status"])
    _close(study, trial.number, TrialState.COMPLETE, summary["best"])
    return None


def _close(study, number, state, value=None):
    """Tell the study how a trial ended; UpdateFinishedTrialError if it knows an end of it already."""
    try:
        study.tell(number, value, state=state)
    except ValueError:
        if study.get_trials(deepcopy=False)[number].state.is_finished():
            raise UpdateFinishedTrialError(f"trial {number} has ended") from None
        raise


def _fail(study, trial, reason):
    """Note that a trial failed, of which the sampler learns nothing; return a message about it."""
    trial.set_user_attr("reason", reason)
    _close(study, trial.number, TrialState.FAIL)
    return f"{trial.user_attrs['folder']} failed: {reason}"


def _fail_lost(study, work, number):
    """Note that a trial failed whose workers were lost again and again; return a message about it."""
    for begun in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        if begun.user_attrs.get("task") == number and not _is_alive(begun, work):
            try:
                return _fail(study, optuna.Trial(study, begun._trial_id), "its workers were lost again and again")
            except UpdateFinishedTrialError:  # it has ended after all
                return None
    raise ChildProcessError("workers are lost again and again before they begin a trial: see their logs")


def _requeue(study, work, tasks, *, others=False) -> int:
    """Close the trials of tasks whose process is gone and put them into the queue, to be resumed in their folders.

    With `others` the trials of all tasks but these. Returns how many of them are alive, which are left alone: a process
    holds the lock of their folder.
    """
    alive, trials = 0, study.get_trials(deepcopy=False)
    queued = {trial.user_attrs.get("again") for trial in trials}
    for trial in (trial for trial in trials if trial.state == TrialState.RUNNING or _was_lost(trial)):
        task = trial.user_attrs.get("task")
        if trial.number in queued or (task in tasks) == others or (task is None and tasks):  # begun just now: no task
            continue
        if trial.state == TrialState.RUNNING:
            if _is_alive(trial, work):
                alive += 1
                continue
            try:
                _close(study, trial.number, TrialState.FAIL)
            except UpdateFinishedTrialError:  # it has ended since the trials were read
                continue
        kept = {"folder": trial.user_attrs["folder"]} if "folder" in trial.user_attrs else {}
        study.enqueue_trial(trial.params, user_attrs=kept | {"again": trial.number})
    return alive


def _is_alive(trial, work):
    """Whether a process trains into the folder of a trial."""
    folder = Path(work["folder"]) / trial.user_attrs.get("folder", "")
    if "folder" not in trial.user_attrs or not folder.is_dir():
        return False
    try:
        with RunFolder(folder).in_use():
            return False
    except RunInUseError:
        return True


def _train(trial, work):
    """Train the settings of a trial in its folder; its scores on held-out data decide whether it continues."""
    chosen = {key: _suggest(trial, key, values, work["grid"]) for key, values in work["search"].items()}
    settings = [*work["settings"], *(_setting(key, value) for key, value in chosen.items())]

    def report(step, score):
        if step == 0 or not math.isfinite(score):  # before training a score says nothing about the settings
            return
        trial.report(score, step)
        if not work["grid"] and trial.should_prune():
            raise optuna.TrialPruned

    folder = Path(work["folder"]) / trial.user_attrs["folder"]
    config = resolve(work["source"], settings)
    options = {key: work[key] for key in ("device", "data", "checkpoint_seconds")} | {"report": report}
    options |= {"bar": False}  # the sweep shows one
    while True:
        try:
            return run_or_resume(config, folder, **options)
        except RunInUseError:  # by one that was taken for lost, until it reports its score
            time.sleep(POLL_SECONDS)


def _suggest(trial, key, values, grid):
    """One of the values of a grid; between the ends, on a logarithmic scale, where numbers are searched freely."""
    free = not grid and len(values) > 1 and all(isinstance(v, float) and v > 0 for v in values)
    if free:
        return trial.suggest_float(key, min(values), max(values), log=True)
    return trial.suggest_categorical(key, values)


def _study(work, number=0):
    """The study in the folder of the sweep; `number` is added to the seed of its sampler."""
    path = Path(work["folder"]) / "study.db"
    problem = resolve(work["source"], work["settings"]).task.problem
    with named(path):
        return optuna.create_study(
            study_name=NAME,
            storage=storage_of(path),
            sampler=optuna.samplers.TPESampler(seed=work["seed"] + number),
            pruner=optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=0),
            direction="maximize" if problem.higher_is_better else "minimize",
            load_if_exists=True,
        )


def _shown(options):
    return {key: value for key, value in run_options(options).items() if key in ("bar", "log")}


def _conclude(study, work, folder, options):
    """Write the table of trials and the best config; return the exit status, 1 where no trial came to an end."""
    if trials := study.trials_dataframe().to_dict("records"):
        write_csv(folder / "trials.csv", trials)
    try:
        best = study.best_trial
    except ValueError:
        reasons = [t.user_attrs["reason"] for t in study.get_trials(deepcopy=False) if "reason" in t.user_attrs]
        why = f" ({reasons[-1]})" if reasons else ""
        print(f"error: no trial of {folder} came to an end{why}; see {folder / 'trials.csv'}", file=sys.stderr)
        return 1
    settings = [*work["settings"], *(_setting(key, value) for key, value in best.params.items())]
    write_text(folder / "best.toml", to_toml(resolve(work["source"], settings)))
    found = {"value": best.value, "settings": best.params, "trials": _ended(study), "config": str(folder / "best.toml")}
    told = f"best of {found['trials']} trials: {best.value:.6g} with {best.params}; wrote {found['config']}"
    tell(options, told, found)
    return 0
