"""Train one config into one folder, and resume it after a crash, a kill or a spent budget.

A checkpoint is written every minute and whenever a run ends. A run that is interrupted at any moment resumes from the
last one to the same numbers: bit for bit on a CPU with the same number of threads.
"""

from __future__ import annotations

import json
import math
import operator
import os
import shlex
import shutil
import signal
import statistics
import sys
from collections.abc import Callable, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import asdict, dataclass, field
from time import monotonic, perf_counter
from typing import Any

import torch
from tqdm import tqdm

from experiments.config import Config, Training, to_toml
from experiments.runs.folder import RunFolder, device_name, peak_memory, write_text
from experiments.tasks.generators import WEIGHTS, generator_for, seeded
from experiments.tasks.problem import Problem, load_problem
from wavefield.progress import pace
from wavefield_torch import (
    CheckpointError,
    NotFiniteError,
    count_parameters,
    load_checkpoint,
    record,
    save_checkpoint,
    training_step,
)

CHECKPOINT_SECONDS = 60.0
LOG_SECONDS = 30.0  # after which a log gets a line though nothing was evaluated
BEST, BEST_BEFORE_END = "best.safetensors", "checkpoints/best-before-end.safetensors"
LAST = 10  # evaluations, of which the median is the final figure
NOT_FINITE = "not finite"
RECORDED = 4  # sequences whose hidden states are kept


@dataclass
class Progress:
    """Where training stands; what a checkpoint holds beside model and optimiser."""

    step: int = 0
    seconds: float = 0.0
    data_seconds: float = 0.0
    loss_sum: float = 0.0  # of the training steps since the last evaluation
    loss_count: int = 0
    best: float | None = None
    best_step: int | None = None
    solved_at: int | None = None
    reference_solved_at: int | None = None
    problem: dict = field(default_factory=dict)  # the state of the problem: the stage of a curriculum
    before_end: dict | None = None  # what an evaluation at the last step changed, where it was not one of the schedule
    ended: str | None = None  # why: "finished", "solved", "no improvement", "not finite: …"


@dataclass(frozen=True)
class Options:
    """How a run is carried out, without any effect on its numbers.

    Parameters
    ----------
    device : str, optional
        By default a GPU if there is one.
    data : path, optional
        Folder of the data sets; by default that of WAVEFIELD_DATA.
    budget : float
        Seconds after which training pauses and is tested; `resume` continues it.
    checkpoint_seconds : float
        Time between checkpoints.
    report : callable (step, score), optional
        Called at every evaluation; raises to end the run (pruning).
    bar : bool
        Whether progress is shown by a bar, where stderr is a terminal.
    log : callable (line), optional
        Called with a line of text when the run begins, at every evaluation and when it ends, and in between every
        half a minute.
    """

    device: str | None = None
    data: str | os.PathLike | None = None
    budget: float = math.inf
    checkpoint_seconds: float = CHECKPOINT_SECONDS
    report: Callable[[int, float], None] | None = None
    bar: bool = True
    log: Callable[[str], None] | None = None


@dataclass
class Session:
    """The state of the training loop."""

    config: Config
    folder: RunFolder
    device: torch.device
    options: Options
    problem: Problem
    model: Any  # SequenceModel, or a model of images
    optimizer: torch.optim.Optimizer
    progress: Progress
    steps: int
    stop: list[int] = field(default_factory=list)  # signals received
    began: tuple[int, float] = (0, 0.0)  # step and time from which the pace is taken
    told_at: float = 0.0  # when the log had its last line

    @property
    def training(self) -> Training:
        return self.config.training


def start(config: Config, path: str | os.PathLike, **options: Any) -> dict:
    """Train `config` into the new folder `path`; return the summary.

    Parameters
    ----------
    config : Config
    path : path
    **options
        Those of `Options`: device, data, budget, checkpoint_seconds, report.

    Raises
    ------
    FileExistsError
        If the folder holds a run already.
    RunInUseError
        If another process trains into it.
    """
    session = _prepare(config, RunFolder(path), Options(**options))
    with session.folder.in_use():
        return _begin(session)


def resume(path: str | os.PathLike, settings: Sequence[str] = (), **options: Any) -> dict:
    """Resume the run in the folder `path` from its last intact checkpoint; return the summary.

    A run that has ended is left alone, and neither data nor device are looked for, unless its length is changed: by
    `settings` or in its config.toml. It then continues as if that length had been requested at the start, bit for bit
    on a CPU with the same number of threads; only evaluations that are past are not made again where `evaluate_every`
    changes.

    Parameters
    ----------
    path : path
    settings : sequence of str
        ``key=value`` of what may change within a run: steps, epochs, patience, evaluate_every, stop_when_solved,
        record_at.
    **options
        Those of `Options`.

    Raises
    ------
    FileNotFoundError
        If there is no run.
    CheckpointError
        If every checkpoint is damaged, or they are gone.
    RunInUseError
        If another process trains into the folder.
    ValueError
        If any other setting was changed, the data or what the task draws once are not those of its beginning, the run
        would have ended earlier with these settings, or it was written by a newer version.
    """
    folder = RunFolder(path)
    config = folder.config(settings)
    if not folder.changes(config) and folder.has_ended():
        return folder.read_summary()
    session = _prepare(config, folder, Options(**options))
    with folder.in_use():
        return _continue(session)


def run_or_resume(config: Config, path: str | os.PathLike, **options: Any) -> dict:
    """Start the run, resume it, or return the summary of one that has ended; options as in `Options`.

    Raises
    ------
    ValueError
        If the folder holds a run of another config.
    """
    folder = RunFolder(path)
    if folder.holds_run():
        folder.changes(config, allowed=())
        if folder.has_ended():
            return folder.read_summary()
    session = _prepare(config, folder, Options(**options))
    with folder.in_use():  # only now is it certain whether there is a run
        if not folder.holds_run():
            return _begin(session)
        folder.changes(config, allowed=())
        return folder.read_summary() if folder.has_ended() else _continue(session)


def _begin(session):
    """Create the folder of the run and train; a run that fails before its first step leaves none."""
    session.folder.create(session.config, session.problem.fixed, session.problem.data)
    try:
        return _train(session)
    except Exception:
        if session.progress.step == 0 and not session.folder.checkpoints():
            session.folder.discard()
        raise


def _continue(session):
    """Restore the last checkpoint and train on, with the changes that a run allows."""
    folder, config, problem = session.folder, session.config, session.problem
    changed = folder.changes(config)
    folder.check_data(problem.data)
    folder.check_fixed(problem.fixed)
    reached = folder.rows()
    lacking = [name for name in problem.metrics if reached and f"held_out_{name}" not in reached[0]]
    if lacking:
        raise ValueError(f"{folder.metrics} is damaged: it has no column held_out_{lacking[0]}")
    stored = folder.restore(session.model, session.optimizer)
    progress = session.progress = Progress(**(stored or {}))
    if stored is None and reached:
        print(
            f"{folder.path} holds no checkpoint, though it had reached step {reached[-1]['step']:.0f}: training begins "
            "again from step 0",
            file=sys.stderr,
        )
    if progress.step and not reached:
        print(f"{folder.metrics} is gone: evaluations up to step {progress.step:,} are lost", file=sys.stderr)
    problem.restore(progress.problem)
    if changed:
        _check_changes(session, changed)
        write_text(folder / "config.toml", to_toml(config))
        if stored is not None:
            _reopen(session)
        folder.write_record(config, problem.data)  # last: until then the change is found again after a kill
    if progress.ended:  # with these settings too, or it was killed before its summary was written
        return _finish(session)
    folder.forget_after(progress.step or -1)  # step 0 is evaluated again
    return _train(session)


def _check_changes(session, changed):
    """Check that the run would have come to where it is with the changed settings as well, else raise ValueError."""
    training, progress, folder = session.training, session.progress, session.folder
    step, before = progress.step, progress.before_end or {}
    if session.steps < step:
        raise ValueError(
            f"{folder.path} has taken {step} steps: training must be at least as long, got {session.steps}"
        )
    missing = [s for s in training.record_at if s < step and not _recording(folder, s).exists()]
    if "training.record_at" in changed and missing:
        raise ValueError(f"training.record_at holds steps that are past without a recording: {missing}")
    score, better = f"held_out_{session.problem.score}", _better(session.problem)
    best = None
    for row in folder.rows() if training.patience else ():
        if best is None or better(row[score], best[score]):
            best = row
        ended = (row["step"] - best["step"]) // training.evaluate_every >= training.patience
        if ended and row["step"] < step:
            raise ValueError(
                f"training.patience={training.patience} would have ended the run at step {row['step']:.0f}"
            )
    solved_at = before.get("solved_at", progress.solved_at)
    solved = solved_at is not None and _solved(progress, session.problem)
    if training.stop_when_solved and solved and (at := max(solved_at, progress.reference_solved_at or 0)) < step:
        raise ValueError(f"training.stop_when_solved=true would have ended the run at step {at}")


def _reopen(session):
    """Undo the end of a run, unless its settings still end it here."""
    progress, folder = session.progress, session.folder
    if (progress.ended or "").startswith(NOT_FINITE):
        return
    progress.ended = "finished" if progress.step == session.steps else None
    if progress.before_end and not progress.ended:
        if progress.before_end["best_step"] != progress.best_step:
            with suppress(FileNotFoundError):  # the best model was damaged then: the summary says so
                shutil.copyfile(folder / BEST_BEFORE_END, folder / BEST)
        vars(progress).update(progress.before_end, before_end=None)
        folder.forget_after(progress.step - 1)
    if progress.step in {row["step"] for row in folder.rows()}:
        _end_if_due(session)
    elif progress.ended:
        _evaluate_at_end(session)
    if progress.step in session.training.record_at and not _recording(folder, progress.step).exists():
        _record_if_asked(session)
    _save(session)
    if not progress.ended:
        summary = folder.read_summary() | {"status": "paused", "steps": session.steps}
        write_text(folder.summary, json.dumps(summary, indent=2) + "\n")


def _prepare(config, folder, options):
    device = _device(options.device)
    training = config.training
    problem = load_problem(config, device, options.data)
    if (problem.steps_per_epoch is None) != (training.epochs is None):
        wanted = "epochs" if training.epochs is None else "steps"
        raise ValueError(f"training.{wanted} is what the task {config.task.kind!r} needs")
    model = build_model(config, problem).to(device)
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(trained, lr=training.learning_rate, weight_decay=training.weight_decay)
    steps = training.steps or training.epochs * problem.steps_per_epoch
    if any(step > steps for step in training.record_at):
        raise ValueError(f"training.record_at must hold steps of this run, 0…{steps}, got {list(training.record_at)}")
    return Session(config, folder, device, options, problem, model, optimizer, Progress(), steps)


def build_model(config: Config, problem: Problem) -> Any:
    """Return the model of a run as it is before training: a `SequenceModel`, or a model of images."""
    drawn = generator_for(config.training.seed, WEIGHTS)
    return config.model.build(problem.inputs, problem.outputs, every_step=problem.every_step, generator=drawn)


def _device(name):
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda"):
        raise ValueError(f"device must be cpu, cuda or cuda:N, got {name!r}")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device {name!r} was asked for, but PyTorch finds no GPU here")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ValueError(f"device must be one of cuda:0…{torch.cuda.device_count() - 1} here, got {name!r}")
    return device


# ------------------------------------------------------------------------------------------------------- the loop


def _train(session):
    """Take steps until the end, the budget or a signal; whatever happens, the state that was reached is kept."""
    progress, began = session.progress, monotonic()
    earlier, first, saved_at = progress.seconds, progress.step, began
    session.began = first, began
    _log(
        session, f"{session.folder.path}: step {progress.step:,} of {session.steps:,}, on {device_name(session.device)}"
    )
    with _signals(session.stop), _bar(session) as bar:
        if first == 0:
            session.folder.note_environment(session.device, 0)
            _evaluate(session)
            _record_if_asked(session)
        while not (progress.ended or session.stop or monotonic() - began >= session.options.budget):
            if progress.step == first > 0:
                session.folder.note_environment(session.device, first)
            try:
                _step(session)
            except NotFiniteError as error:
                progress.ended = f"{NOT_FINITE} at step {progress.step + 1}: {error}"
                break
            now = monotonic()
            progress.seconds = earlier + now - began
            bar.update()
            if progress.step % session.training.evaluate_every == 0:
                bar.set_postfix_str(f"{session.problem.score} {_evaluate(session):.3g}", refresh=False)
            elif progress.step == session.steps:
                _evaluate_at_end(session)
            elif now - session.told_at >= LOG_SECONDS:
                _log(session, f"step {progress.step:,}, {_training_loss(progress)}{_pace(session)}")
            _record_if_asked(session)
            if now - saved_at >= session.options.checkpoint_seconds:
                _save(session)
                saved_at = now
    _save(session)
    return _finish(session)


def _step(session):
    progress, problem = session.progress, session.problem
    _set_rate(session)
    before = perf_counter()
    x, target = problem.batch(progress.step)
    progress.data_seconds += perf_counter() - before
    noisy = getattr(session.config.model, "noise", 0)
    with seeded(session.training.seed, progress.step, session.device) if noisy else nullcontext():
        loss, _ = training_step(session.optimizer, problem.loss(session.model, x, target), clip=session.training.clip)
    progress.step += 1
    progress.loss_sum += loss
    progress.loss_count += 1
    if progress.step == session.steps:
        progress.ended = "finished"
    due = problem.reference_solved is not None and progress.step % session.training.evaluate_every == 0
    if due and progress.reference_solved_at is None and problem.reference_solved(loss):
        progress.reference_solved_at = progress.step


def _set_rate(session):
    """The learning rate of the schedule, a function of the step alone."""
    training = session.training
    done = session.progress.step // (session.problem.steps_per_epoch or 1)
    drops = done // training.drop_every if training.drop_every else 0
    for group in session.optimizer.param_groups:
        group["lr"] = training.learning_rate / training.drop_factor**drops


def _evaluate(session):
    """Score the held-out data, append the scores to the table and act on them; return the score."""
    progress, problem = session.progress, session.problem
    session.model.eval()
    scores = problem.evaluate(session.model)
    session.model.train()
    mean = progress.loss_sum / progress.loss_count if progress.loss_count else math.nan
    progress.loss_sum, progress.loss_count = 0.0, 0
    row = {"step": progress.step, "seconds": round(progress.seconds, 3), "training_loss": mean}
    session.folder.append(row | {f"held_out_{name}": scores[name] for name in problem.metrics})
    score = scores[problem.score]
    if progress.best is None or _better(problem)(score, progress.best):
        progress.best, progress.best_step = score, progress.step
        save_checkpoint(session.folder / BEST, session.model, progress={"step": progress.step})
    if progress.solved_at is None and progress.step and problem.solved(scores):
        progress.solved_at = progress.step
    _end_if_due(session)
    best = f", the best so far at step {progress.best_step:,}" if progress.best_step != progress.step else ""
    _log(session, f"step {progress.step:,}, held-out {problem.score} {score:.4g}{best}{_pace(session)}")
    if session.options.report is not None:
        session.options.report(progress.step, score)
    return score


def _evaluate_at_end(session):
    """Evaluate at a last step that is not one of the schedule, so that a longer run can undo it."""
    progress, folder = session.progress, session.folder
    before = {key: getattr(progress, key) for key in ("loss_sum", "loss_count", "best", "best_step", "solved_at")}
    with suppress(CheckpointError, FileNotFoundError):  # a damaged one is told of by the summary
        if load_checkpoint(folder / BEST)["step"] == progress.best_step:  # else the kept one stands, of before a kill
            (folder / BEST_BEFORE_END).parent.mkdir(exist_ok=True)
            shutil.copyfile(folder / BEST, folder / BEST_BEFORE_END)
    score = _evaluate(session)
    progress.before_end = before
    return score


def _end_if_due(session):
    """Note the end of a run that is solved or does not improve any more."""
    progress, training = session.progress, session.training
    if training.stop_when_solved and _solved(progress, session.problem):
        progress.ended = "solved"
    waited = (progress.step - progress.best_step) // training.evaluate_every
    if training.patience and waited >= training.patience:
        progress.ended = progress.ended or "no improvement"


def _better(problem):
    """The comparison of two scores."""
    return operator.gt if problem.higher_is_better else operator.lt


def _solved(progress, problem):
    """Whether the task is solved by our definition and, where there is one, by the published code's."""
    reference = problem.reference_solved is None or progress.reference_solved_at is not None
    return progress.solved_at is not None and reference


def _record_if_asked(session):
    if session.progress.step in session.training.record_at:
        _record(session, _recording(session.folder, session.progress.step))


def _recording(folder, step):
    return folder / f"hidden-{step:08d}.nc"


def _record(session, path):
    """Hidden states of a few sequences that are the same at every step of training, if they are finite."""
    path.unlink(missing_ok=True)
    options = {"path": path, "config": session.config.to_dict(), "overwrite": True}
    try:
        record(session.model, session.problem.sample(RECORDED), **options).close()
    except FloatingPointError as error:
        print(f"{path.name} is not complete: {error}", file=sys.stderr)


def _save(session):
    session.progress.problem = session.problem.state()
    session.folder.save(session.progress.step, session.model, session.optimizer, asdict(session.progress))


@contextmanager
def _signals(received):
    """Note Ctrl-C, a request to terminate or the end of the terminal; a second Ctrl-C interrupts at once.

    The current step is finished, and its state kept.
    """

    def note(number, _):
        received.append(number)
        signal.signal(signal.SIGINT, signal.default_int_handler)

    try:
        numbers = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
        heeded = [number for number in numbers if signal.getsignal(number) is not signal.SIG_IGN]  # nohup ignores one
        before = {number: signal.signal(number, note) for number in heeded}
    except ValueError:  # not the main thread, which alone receives signals
        before = {}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _bar(session):
    progress = session.progress
    about = {"total": session.steps, "initial": progress.step, "desc": session.folder.path.name, "unit": "step"}
    return tqdm(**about, disable=None if session.options.bar else True)


def _training_loss(progress):
    return f"training loss {progress.loss_sum / progress.loss_count:.4g}" if progress.loss_count else "no loss yet"


def _pace(session):
    """How fast the run goes, and how long it goes on; nothing before its first step."""
    first, began = session.began
    steps, seconds = session.progress.step - first, max(monotonic() - began, 1e-9)  # a coarse clock may not have moved
    if not steps:
        return ""
    left, so_far = session.steps - session.progress.step, session.progress.seconds
    return ", " + ", ".join(pace(steps, left, seconds, "step", so_far))


def _log(session, line):
    session.told_at = monotonic()
    if session.options.log is not None:
        session.options.log(line)


# --------------------------------------------------------------------------------------------------- the summary


def _finish(session):
    """Write summary.json; after an interrupt no scores are computed, and those of an earlier pause are kept."""
    progress, folder = session.progress, session.folder
    interrupted = session.stop and not progress.ended
    if not (interrupted and "best_test" in folder.read_summary()):
        summary = _summary(session) | ({} if interrupted else _scores(session))
        write_text(folder.summary, json.dumps(_nan_as_null(summary), indent=2) + "\n")
    _log(session, f"{folder.path}: {folder.read_summary()['status']} at step {progress.step:,}")
    if session.stop:
        again = f"python -m experiments resume {shlex.quote(str(folder.path))}"
        told = f"stopped at step {progress.step}; resume it with: {again}"
        print(told, file=sys.stderr)
        raise KeyboardInterrupt(told)
    return folder.read_summary()


def _summary(session):
    """The progress of training and its scores on held-out data."""
    progress, problem, folder = session.progress, session.problem, session.folder
    return {
        "name": session.config.name,
        "status": progress.ended or ("interrupted" if session.stop else "paused"),
        "step": progress.step,
        "steps": session.steps,
        "seconds": round(progress.seconds, 1),
        "data_share": round(progress.data_seconds / progress.seconds, 4) if progress.seconds else 0.0,
        "parameters": count_parameters(session.model),
        "parameters_without_biases": count_parameters(session.model, biases=False),
        "solved_at": progress.solved_at,
        "reference_solved_at": progress.reference_solved_at,
        "best": progress.best,
        "best_step": progress.best_step,
        "final": _median_of_last(folder, problem),
        "peak_memory_mb": round(peak_memory(session.device), 1),
    }


def _scores(session):
    """Score the last and the best model on test data, and record the last.

    `best_test` is None where the best model is damaged: the other figures of the run hold.
    """
    problem, folder, scores = session.problem, session.folder, {}
    session.model.eval()
    if not (session.progress.ended or "").startswith(NOT_FINITE):
        scores["test"] = problem.test(session.model)
        _record(session, folder / "hidden.nc")
    try:
        load_checkpoint(folder / BEST, session.model)
    except (CheckpointError, FileNotFoundError) as error:
        print(f"the best model is not tested: {error}", file=sys.stderr)
        return scores | {"best_test": None}
    return scores | {"best_test": problem.test(session.model)}


def _nan_as_null(value):
    if isinstance(value, dict):
        return {key: _nan_as_null(inner) for key, inner in value.items()}
    return None if isinstance(value, float) and math.isnan(value) else value


def _median_of_last(folder, problem):
    rows = folder.rows()[-LAST:]
    return {name: statistics.median(row[f"held_out_{name}"] for row in rows) for name in problem.metrics}


def run_name(config: Config, settings: Sequence[str]) -> str:
    """Return the folder name of a run: config, changed settings, seed."""
    changed = [setting.replace("=", "").replace("/", "_") for setting in settings if not setting.startswith("seed=")]
    return "-".join([config.name, *changed, f"seed{config.training.seed}"]).replace(os.sep, "_")
