"""Continuation problems: known states for driven ends, their own continuation for all other networks."""

import pytest
import torch

from experiments.config import ConfigError, load_config
from experiments.run import build_model, start
from experiments.tasks.problem import load_problem
from wavefield.history import task
from wavefield_torch import TravellingMemory
from wavefield_torch.tasks.history import HORIZONS

CPU = torch.device("cpu")


def loaded(name, *settings):
    config = load_config(name, settings)
    problem = load_problem(config, CPU, None)
    return problem, build_model(config, problem)


def test_a_travelling_memory_is_trained_on_known_states():
    problem, model = loaded("memory-mlp", "system=parity", "noise=0.1", "threshold=0.99")
    x, (batch, known) = problem.batch(3)
    computed = model.recurrence.parallel(known)[batch.scored]
    assert problem.loss(model, x, (batch, known)).item() == pytest.approx(
        (computed - batch.target[batch.scored]).square().mean().item(), rel=1e-6
    )
    assert float((known - batch.target).std()) == pytest.approx(0.1, rel=0.1)


def test_other_networks_are_trained_on_their_own_continuation():
    problem, model = loaded("memory-elman", "system=parity")
    x, (batch, known) = problem.batch(3)
    computed = model(x)[batch.scored]
    expected = (computed - batch.target[batch.scored]).square().mean().item()
    assert problem.loss(model, x, (batch, known)).item() == pytest.approx(expected, rel=1e-6)


def test_all_are_scored_alone_over_200_steps():
    problem, model = loaded("memory-linear", "system=logistic")
    net = model.recurrence
    assert isinstance(net, TravellingMemory)
    assert len(problem.validation.x) == 4 + 200
    with torch.no_grad():  # the true system for f: it is right to the end, but for rounding
        net.boundary = Logistic()
    assert problem.evaluate(model)["accuracy"] == 1.0
    assert problem.test(model)["accuracy"] == 1.0


class Logistic(torch.nn.Module):
    """x_t = r x_{t−1} (1 − x_{t−4}) of the standardised states."""

    def forward(self, history):
        x = history.double() * 0.183 + 0.307
        return ((1.5 * x[..., -1, :] * (1 - x[..., 0, :]) - 0.307) / 0.183).float()


def test_scores_of_the_last_model_are_of_other_sequences_than_those_that_choose_the_best():
    problem, model = loaded("memory-linear")
    held_out = problem.validation
    assert problem.test(model)["loss"] != problem.evaluate(model)["loss"]
    assert problem.validation is held_out
    shown = []
    problem.test(lambda x: shown.append(x) or x)
    assert shown[0].shape == held_out.x.shape == (8 + 200, 256, 8)
    assert not torch.equal(shown[0], held_out.x)


def test_the_horizon_grows_where_the_answers_are_right_and_is_kept_in_checkpoints():
    problem, model = loaded("memory-linear", "system=T2", "noise=0.0")
    problem.loss(model, *problem.batch(0))
    assert problem.state() == {"stage": 0}
    with torch.no_grad():
        model.recurrence.boundary.weight.copy_(torch.tensor(task("T2").weights))
    for stage, horizon in enumerate(HORIZONS):
        x, target = problem.batch(stage)
        assert len(x) == 8 + horizon
        assert problem.loss(model, x, target).item() < 1e-9
    assert problem.solved({"accuracy": 0.97})
    assert not problem.solved({"accuracy": 0.969})
    other, _ = loaded("memory-linear", "system=T2", "noise=0.0")
    other.restore(problem.state())
    assert other.state() == {"stage": len(HORIZONS) - 1}
    other.restore({"stage": len(HORIZONS) - 2})
    assert not other.solved({"accuracy": 1.0})  # the longest horizon is still to come


def test_a_linear_end_learns_a_linear_system(tmp_path):
    settings = ["system=random-linear", "steps=400", "drop_every=100", "evaluate_every=200", "held_out=20"]
    summary = start(load_config("memory-linear", settings), tmp_path / "run", device="cpu")
    assert summary["test"]["accuracy"] > 0.9


@pytest.mark.parametrize(("setting", "key"), [("system=T9", "system"), ("noise=-1", "noise"), ("end=cubic", "end")])
def test_settings_are_checked(setting, key):
    with pytest.raises(ConfigError, match=key):
        load_config("memory-attention", [setting])
