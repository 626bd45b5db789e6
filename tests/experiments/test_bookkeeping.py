"""What a run notes of losses and scores known beforehand: means, the best, when it was solved, when it ends."""

import math
from itertools import count
from typing import get_args

import pytest
import torch

import experiments.run as loop
from experiments.config import load_config
from experiments.runs.folder import RunFolder
from experiments.tasks.problems import AddingProblem, Task
from experiments.tasks.segmentation import Segmentation

LOSSES = [0.9, 0.04, 0.3, 0.2, 0.06, 0.05, 0.01, 0.5, 0.2, 0.6, 0.1, 0.7]  # of the steps, from the first on


@pytest.fixture
def told(monkeypatch):
    """`told(scores, *settings)`: a run whose held-out scores are these; at step n its parameters all are n."""

    def run(folder, scores, *settings):
        seen, scores = [], iter(scores)

        def train(optimizer, loss, *, clip):
            parameters = [p for group in optimizer.param_groups for p in group["params"]]
            step = 1 + sum(kind == "step" for kind, *_ in seen)
            for parameter in parameters:
                parameter.data.fill_(step)
            seen.append(("step", optimizer.param_groups[0]["lr"], models[0].training))
            return LOSSES[step - 1], 1.0

        def evaluate(problem, model):
            seen.append(("evaluation", None, model.training))
            models.append(model)
            return {"loss": next(scores)}

        models = []
        monkeypatch.setattr(loop, "training_step", train)
        monkeypatch.setattr(AddingProblem, "evaluate", evaluate)
        monkeypatch.setattr(
            AddingProblem, "test", lambda problem, model: {"loss": next(model.parameters()).flatten()[0].item()}
        )
        tiny = ["length=4", "held_out=4", "batch_size=2", "hidden_size=4", "channels=1", *settings]
        summary = loop.start(load_config("adding-wrnn", tiny), folder, device="cpu")
        return summary, RunFolder(folder).rows(), seen

    return run


def test_the_training_loss_is_the_mean_since_the_evaluation_before(told, tmp_path):
    _, rows, seen = told(tmp_path / "run", [9.0] * 5, "steps=12", "evaluate_every=3")
    assert [row["step"] for row in rows] == [0, 3, 6, 9, 12]
    assert math.isnan(rows[0]["training_loss"])
    means = [sum(LOSSES[k : k + 3]) / 3 for k in (0, 3, 6, 9)]
    assert [row["training_loss"] for row in rows[1:]] == pytest.approx(means, rel=1e-12)
    assert all(training == (kind == "step") for kind, _, training in seen)  # noise and the like in training only
    assert [kind for kind, *_ in seen] == ["evaluation", *(["step"] * 3 + ["evaluation"]) * 4]


def test_the_best_model_and_the_last_are_tested_each_by_itself(told, tmp_path):
    summary, _, _ = told(tmp_path / "run", [9.0, 5.0, 2.0, 2.0, 3.0], "steps=8", "evaluate_every=2")
    assert (summary["best"], summary["best_step"]) == (2.0, 4)  # the first of two that are alike
    assert summary["test"]["loss"] == 8
    assert summary["best_test"]["loss"] == 4


def test_a_loss_is_better_where_it_is_lower_and_an_accuracy_where_it_is_higher():
    kinds = [kind.problem for kind in (*get_args(Task)[:-1], *get_args(Segmentation))]
    assert len(kinds) >= 8
    for problem in kinds:
        assert problem.higher_is_better == (problem.score == "accuracy")
        assert loop._better(problem)(0.9, 0.1) == (problem.score == "accuracy")
        assert loop._better(problem)(0.1, 0.9) == (problem.score == "loss")
        assert not loop._better(problem)(0.5, 0.5)


def test_time_goes_on_where_a_paused_run_had_stopped(told, tmp_path, monkeypatch):
    clock = count(1000.0)
    monkeypatch.setattr(loop, "monotonic", lambda: next(clock))
    told(tmp_path / "run", [9.0] * 3, "steps=6", "evaluate_every=3")
    before = RunFolder(tmp_path / "run").rows()[-1]["seconds"]
    assert before > 5
    monkeypatch.setattr(AddingProblem, "evaluate", lambda problem, model: {"loss": 9.0})
    loop.resume(tmp_path / "run", ["steps=9"], device="cpu")
    assert RunFolder(tmp_path / "run").rows()[-1]["seconds"] > before + 2


@pytest.mark.parametrize(("patience", "end"), [(1, 6), (2, 8), (3, 10), (0, 12)])
def test_patience_counts_evaluations_without_a_better_score(told, tmp_path, patience, end):
    scores = [9.0, 5.0, 2.0, 2.0, 3.0, 4.0, 5.0]  # best at step 4
    summary, rows, _ = told(tmp_path / "run", scores, "steps=12", "evaluate_every=2", f"patience={patience}")
    assert summary["step"] == rows[-1]["step"] == end
    assert summary["status"] == ("no improvement" if patience else "finished")
    assert summary["best_step"] == 4


@pytest.mark.parametrize(("stop", "end"), [("false", 12), ("true", 6)])
def test_solved_is_when_it_first_was_and_by_both_definitions(told, tmp_path, stop, end):
    """Of training batches only those of an evaluation's step count, as in the published code."""
    scores = [0.01, 0.04, 0.3, 0.05, 0.01, 0.2, 0.01]  # solved at step 2; step 0 is before training
    losses = [LOSSES[step - 1] for step in (2, 4, 6)]
    assert losses == [0.04, 0.2, 0.05]
    summary, _, _ = told(tmp_path / "run", scores, "steps=12", "evaluate_every=2", f"stop_when_solved={stop}")
    assert (summary["solved_at"], summary["reference_solved_at"]) == (2, 2)
    assert summary["step"] == (12 if stop == "false" else 2)
    scores = [9.0, 0.2, 0.3, 0.05, 0.01, 0.2, 0.01]
    summary, _, _ = told(tmp_path / "later", scores, "steps=12", "evaluate_every=2", f"stop_when_solved={stop}")
    assert (summary["solved_at"], summary["reference_solved_at"]) == (6, 2)
    assert (summary["step"], summary["status"]) == (end, "finished" if stop == "false" else "solved")
    scores = [9.0, 0.01, 0.3, 0.05, 0.01]
    summary, _, _ = told(tmp_path / "neither", scores, "steps=12", "evaluate_every=3", f"stop_when_solved={stop}")
    assert (summary["solved_at"], summary["reference_solved_at"]) == (3, 6)  # though the loss of step 2 was 0.04


def test_the_rate_of_a_data_set_falls_by_epochs(tmp_path):
    config = load_config("digits-wrnn", ["batch_size=400", "drop_every=2", "drop_factor=4", "learning_rate=0.016"])
    session = loop._prepare(config, RunFolder(tmp_path / "run"), loop.Options(device="cpu"))
    assert session.problem.steps_per_epoch == 4
    rates = []
    for step in (0, 7, 8, 15, 16):
        session.progress.step = step
        loop._set_rate(session)
        rates.append(session.optimizer.param_groups[0]["lr"])
    assert rates == pytest.approx([0.016, 0.016, 0.004, 0.004, 0.001])
    assert session.steps == config.training.epochs * 4


def test_what_is_recorded_are_the_first_four_held_out_sequences(monkeypatch, tmp_path):
    asked = []
    config = load_config("adding-wrnn", ["length=4", "held_out=6", "hidden_size=4", "channels=1"])
    session = loop._prepare(config, RunFolder(tmp_path / "run"), loop.Options(device="cpu"))
    monkeypatch.setattr(loop, "record", lambda model, sample, **options: asked.append(sample) or _Closed())
    loop._record(session, tmp_path / "states.nc")
    x, target = asked[0]
    assert torch.equal(x, session.problem.validation.x[:, :4])
    assert torch.equal(target, session.problem.validation.target[:4])


class _Closed:
    def close(self):
        pass
