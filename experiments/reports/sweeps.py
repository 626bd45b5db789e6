"""What sweeps found: the best trials, which settings mattered, and how the trials went."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from matplotlib.figure import Figure as Picture
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from experiments.reports.figures import COLOURS, panels
from experiments.reports.tables import plain_text, table_line
from experiments.runs.study import read_study

BEST = 10  # trials that a report shows
OVER = (TrialState.COMPLETE, TrialState.PRUNED)


@dataclass(frozen=True)
class Sweep:
    """The trials of a sweep, the best first, and the share of each setting in the variance of their scores."""

    name: str  # of its folder
    trials: list[FrozenTrial]
    higher_is_better: bool
    importance: Mapping[str, float]  # empty where too few trials ended to tell


def find_sweeps(folder: Path) -> list[Sweep]:
    """Return the sweeps at or below a folder; one that cannot be read is named on stderr."""
    found = []
    for path in sorted(Path(folder).rglob("study.db")):
        name = path.parent.relative_to(folder).as_posix() if path.parent != Path(folder) else path.parent.name
        try:
            found.append(_load(name, path))
        except (OSError, ValueError, TypeError, LookupError, RuntimeError) as error:
            print(f"{path.parent} is left out of the sweeps: {error}", file=sys.stderr)
    return found


def _load(name, path):
    study = read_study(path)
    higher = study.direction == StudyDirection.MAXIMIZE
    trials = sorted(study.get_trials(deepcopy=False), key=lambda trial: _rank(trial, higher))
    return Sweep(name, trials, higher, _importance(study))


def _rank(trial, higher):
    """Ended trials by their score, then those pruned, then all others."""
    if trial.state == TrialState.COMPLETE and trial.value is not None:
        return 0, -trial.value if higher else trial.value
    return (1 if trial.state == TrialState.PRUNED else 2), trial.number


def _importance(study):
    """Of each setting, by functional ANOVA."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
            return optuna.importance.get_param_importances(study, evaluator=evaluator)
    except (ValueError, RuntimeError, ImportError):  # fewer than two trials, or all alike
        return {}


def trial_records(sweep: Sweep) -> list[dict[str, Any]]:
    """Return one record per trial, the best first: its folder, state, score, settings, and why it failed."""
    settings = list(dict.fromkeys(name for trial in sweep.trials for name in trial.params))
    return [
        {
            "trial": trial.number,
            "folder": trial.user_attrs.get("folder", ""),
            "state": trial.state.name.lower(),
            "score": trial.value,
            **{name: trial.params.get(name) for name in settings},
            "steps": max(trial.intermediate_values, default=0),
            "reason": trial.user_attrs.get("reason", ""),
        }
        for trial in sweep.trials
    ]


def sweep_markdown(sweep: Sweep) -> str:
    """Return the best trials and the importance of settings as Markdown."""
    records = trial_records(sweep)
    states = [record["state"] for record in records]
    counts = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
    lines = [f"Sweep {plain_text(sweep.name)}: {counts or 'no trials'}.", ""]
    if ended := [record for record in records if record["state"] == "complete"]:
        shown = [key for key in records[0] if key not in ("state", "reason")]
        lines += [table_line([plain_text(key) for key in shown]), table_line(["---"] * len(shown))]
        lines += [table_line([_cell(record[key]) for key in shown]) for record in ended[:BEST]]
        lines.append("")
    if sweep.importance:
        shares = ", ".join(f"{plain_text(name)} {share:.0%}" for name, share in sweep.importance.items())
        lines += [f"Share of each setting in the variance of the scores (functional ANOVA): {shares}.", ""]
    return "\n".join(lines)


def _cell(value):
    if value is None:
        return ""
    return f"{value:.6g}" if isinstance(value, float) else plain_text(str(value))


def sweep_figure(sweep: Sweep) -> Picture:
    """Draw the scores of all trials while they trained, the best so far, and the importance of settings."""
    figure, axes = panels(3 if sweep.importance else 2, (14 if sweep.importance else 9.5, 4))
    ended = sorted((t for t in sweep.trials if t.state == TrialState.COMPLETE), key=lambda trial: trial.number)
    for trial in reversed([trial for trial in sweep.trials if trial.intermediate_values]):  # the best on top
        steps = sorted(trial.intermediate_values)
        best = bool(ended) and trial is sweep.trials[0]
        axes[0].plot(
            steps,
            [trial.intermediate_values[step] for step in steps],
            color=COLOURS[0] if best else "0.7",
            lw=1.6 if best else 0.8,
            ls="-" if trial.state == TrialState.COMPLETE else ":",
            label="best trial" if best else None,
        )
    axes[0].set(xlabel="step", ylabel="held-out score", title="all trials (dotted: pruned or failed)")
    if ended:
        axes[0].legend(frameon=False)
        values = np.array([trial.value for trial in ended])
        so_far = (np.maximum if sweep.higher_is_better else np.minimum).accumulate(values)
        numbers = [trial.number for trial in ended]
        axes[1].plot(numbers, values, "o", color="0.6", ms=4)
        axes[1].step(numbers, so_far, where="post", color=COLOURS[0])
    axes[1].set(xlabel="trial", ylabel="best held-out score", title="best so far")
    if sweep.importance:
        names, shares = list(sweep.importance)[::-1], list(sweep.importance.values())[::-1]
        axes[2].barh(names, shares, color=COLOURS[0])
        axes[2].set(xlabel="share of the variance of the scores", xlim=(0, 1), title="importance of settings")
    return figure
