"""What a report says of sweeps: the best trials, the importance of settings; strangers' studies do no harm."""

import csv
import shutil
import sqlite3
from dataclasses import replace

import numpy as np
import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.trial import TrialState, create_trial

from experiments.__main__ import main
from experiments.reports.sweeps import find_sweeps, sweep_figure, sweep_markdown, trial_records
from experiments.runs import study as study_module
from experiments.runs.study import NAME, storage_of

RATE = FloatDistribution(1e-4, 1e-1, log=True)


@pytest.fixture
def swept(made, tmp_path):
    return shutil.copytree(made, tmp_path / "sweep-digits")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Twelve trials whose score depends on the rate alone; one was pruned, one failed."""
    folder = tmp_path_factory.mktemp("made") / "sweep-digits"
    folder.mkdir()
    study = optuna.create_study(study_name=NAME, storage=storage_of(folder / "study.db"), direction="maximize")
    kinds = CategoricalDistribution(["=cmd()", "<b>x</b>|y"])
    for number in range(12):
        rate = 10 ** (-4 + number / 4)
        state = {4: TrialState.PRUNED, 5: TrialState.FAIL}.get(number, TrialState.COMPLETE)
        study.add_trial(
            create_trial(
                state=state,
                value=rate if state == TrialState.COMPLETE else None,
                params={"learning_rate": rate, "kind": kinds.choices[number % 2]},
                distributions={"learning_rate": RATE, "kind": kinds},
                user_attrs={"folder": f"trial-{number:04d}"} | ({"reason": "@x"} if number == 5 else {}),
                intermediate_values={10: rate / 2, 20: rate},
            )
        )
    return folder


def test_the_best_trials_come_first_and_the_setting_that_matters_has_the_largest_share(swept):
    (sweep,) = find_sweeps(swept.parent)
    assert [trial.number for trial in sweep.trials] == [11, 10, 9, 8, 7, 6, 3, 2, 1, 0, 4, 5]
    assert sweep.importance["learning_rate"] > 0.8
    assert sum(sweep.importance.values()) == pytest.approx(1)


def test_a_report_tells_of_sweeps_and_escapes_what_they_hold(swept, tmp_path, capsys):
    assert main(["report", str(swept.parent), "-o", str(tmp_path / "report")]) == 0
    told = capsys.readouterr().out
    assert "Sweep sweep-digits: 10 complete, 1 pruned, 1 failed".replace("failed", "fail") in told
    assert "1 sweeps" in told
    assert "<b>" not in told
    assert (tmp_path / "report" / "sweep-digits.png").stat().st_size > 10_000
    with open(tmp_path / "report" / "sweep-digits.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["kind"] for row in rows} == {"'=cmd()", "<b>x</b>|y"}
    assert rows[-1]["reason"] == "'@x"
    assert [float(row["score"]) for row in rows[:2]] == pytest.approx([10**-1.25, 10**-1.5])


def test_a_study_that_cannot_be_read_is_named_and_the_others_are_reported(swept, tmp_path, capsys):
    for name, content in (("empty", b""), ("text", b"no database " * 100)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "study.db").write_bytes(content)
    whole = (swept / "study.db").read_bytes()
    (tmp_path / "cut").mkdir()
    (tmp_path / "cut" / "study.db").write_bytes(whole[: len(whole) // 2])
    assert main(["report", str(tmp_path), "-o", str(tmp_path / "report")]) == 0
    told = capsys.readouterr()
    for name in ("empty", "text", "cut"):
        assert f"{tmp_path / name} is left out of the sweeps: {tmp_path / name / 'study.db'}" in told.err
    assert "Sweep sweep-digits" in told.out
    assert (tmp_path / "empty" / "study.db").stat().st_size == 0  # a report writes nothing there


def test_a_sweep_without_trials_is_said_to_have_none(tmp_path):
    optuna.create_study(study_name=NAME, storage=storage_of(tmp_path / "study.db"))
    (sweep,) = find_sweeps(tmp_path)
    assert "no trials" in sweep_markdown(sweep)


def test_a_locked_study_is_named_with_a_remedy(swept, monkeypatch, capsys):
    monkeypatch.setattr(study_module, "LOCKED_SECONDS", 0.05)
    with sqlite3.connect(swept / "study.db", isolation_level=None) as other:
        other.execute("BEGIN EXCLUSIVE")
        assert main(["sweep", "digits-irnn", "-o", str(swept)]) == 2
        assert main(["report", str(swept), "-o", str(swept / "report")]) == 0
        other.execute("ROLLBACK")
    told = capsys.readouterr()
    assert told.err.startswith(f"error: {swept / 'study.db'} is locked by another program (database is locked): close")
    assert "left out of the sweeps" in told.err


def an_ended_trial(number, score):
    between = {5: 2 * score, 40: score}  # scores of two of forty steps
    return create_trial(
        params={"rate": 0.1 * (number + 1)},
        distributions={"rate": FloatDistribution(0, 10)},
        value=score,
        intermediate_values=between,
    )


@pytest.mark.parametrize("higher", [True, False])
def test_the_best_of_many_trials_are_told_and_drawn(higher, tmp_path):
    scores = [3.0, 1.0, 4.0, 1.5, 9.0, 2.0, 6.0, 5.0, 3.5, 8.0, 7.0, 0.5]
    direction, storage = "maximize" if higher else "minimize", storage_of(tmp_path / "study.db")
    study = optuna.create_study(study_name=NAME, storage=storage, direction=direction)
    study.add_trials([an_ended_trial(number, score) for number, score in enumerate(scores)])
    (sweep,) = find_sweeps(tmp_path)
    in_order = sorted(scores, reverse=higher)
    records = trial_records(sweep)
    assert [record["score"] for record in records] == in_order
    assert {record["steps"] for record in records} == {40}
    shown = [line for line in sweep_markdown(sweep).splitlines() if line.startswith("| ")][2:]
    assert [float(line.split(" | ")[2]) for line in shown] == in_order[:10]
    figure = sweep_figure(replace(sweep, importance={"rate": 0.75}))
    assert "rate 75%" in sweep_markdown(replace(sweep, importance={"rate": 0.75}))
    curves, so_far = figure.axes[0].lines, figure.axes[1].lines[1]
    (best,) = [line for line in curves if line.get_label() == "best trial"]
    assert best.get_ydata().tolist() == [2 * in_order[0], in_order[0]]
    running = np.maximum if higher else np.minimum
    assert so_far.get_xdata().tolist() == list(range(12))
    assert so_far.get_ydata().tolist() == running.accumulate(scores).tolist()
