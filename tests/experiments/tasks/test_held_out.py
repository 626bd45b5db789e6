"""What is trained on and what is scored come from generators, scenes and steps of their own, in every task."""

from types import SimpleNamespace

import pytest
import torch

import experiments.run as loop
import experiments.tasks.continuation
import experiments.tasks.history
import experiments.tasks.problems
import experiments.tasks.segmentation
from experiments.config import load_config
from experiments.tasks.generators import ORDER, TRAINING, VALIDATION, generator_for
from experiments.tasks.problem import load_problem
from wavefield_torch.tasks.history import HORIZONS

CPU = torch.device("cpu")
ENDLESS = {
    "copy-wrnn": (["delay=0"], experiments.tasks.problems, "copy_batch"),
    "adding-wrnn": (["length=4"], experiments.tasks.problems, "adding_batch"),
    "history-elman": ([], experiments.tasks.history, "history_batch"),
    "memory-linear": ([], experiments.tasks.continuation, "continuation_batch"),
}
SCENES = ["size=32", "images=12", "held_out=6", "tested=5", "batch_size=5", "seed=3"]


@pytest.fixture
def asked(monkeypatch):
    """What generators were asked for since, as (seed, purpose, step)."""
    found = []

    def noted(seed, purpose, step=0, device="cpu"):
        found.append((seed, purpose, step))
        return generator_for(seed, purpose, step, device)

    for name in ("problems", "history", "continuation", "segmentation"):
        monkeypatch.setattr(getattr(experiments.tasks, name), "generator_for", noted)
    return found


@pytest.mark.parametrize("name", ENDLESS)
def test_each_step_draws_from_a_generator_of_training_that_is_its_own(name, asked, monkeypatch):
    settings, module, draw = ENDLESS[name]
    task = load_problem(load_config(name, [*settings, "held_out=2", "batch_size=3", "seed=7"]), CPU, None)
    assert asked == [(7, VALIDATION, 0)]
    asked.clear()
    sizes = []

    def drawn(size, *_, **__):
        sizes.append(size)
        return SimpleNamespace(x=torch.zeros(1), target=torch.zeros(1))

    monkeypatch.setattr(module, draw, drawn)
    steps = [*range(1200), 10_000, 59_999]
    for step in steps:
        task.batch(step)
    assert asked == [(7, TRAINING, step) for step in steps]
    assert set(sizes) == {3}


class Enough(Exception):
    """What is scored is known."""


@pytest.mark.parametrize("name", ["history-elman", "memory-linear"])
def test_horizons_are_those_of_the_stage_in_training_and_200_in_every_score(name, monkeypatch):
    task = load_problem(load_config(name, ["held_out=2", "batch_size=2"]), CPU, None)
    scored = []

    def evaluate(self, model):
        scored.append(int(self.validation.scored.sum()))
        raise Enough

    monkeypatch.setattr(type(task), "evaluate", evaluate)
    for score in (task.evaluate, task.test):
        with pytest.raises(Enough):
            score(None)
    assert scored == [200, 200]
    trained = []
    for stage in range(len(HORIZONS)):
        task.restore({"stage": stage})
        target = task.batch(0)[1]
        trained.append(int((target[0] if name == "memory-linear" else target).scored.sum()))
    assert trained == [10, 20, 40, 60, 100]


@pytest.mark.parametrize("threshold", [0.98, 0.9])
def test_both_curricula_take_the_threshold_that_was_set(threshold):
    for name in ("history-elman", "memory-linear"):
        config = load_config(name, [f"threshold={threshold}", "held_out=2"])
        assert load_problem(config, CPU, None).threshold == threshold


class Watching(torch.nn.Module):
    """Answers the background everywhere and remembers every image that it is shown."""

    def __init__(self, outputs):
        super().__init__()
        self.outputs, self.shown = outputs, []

    def forward(self, x):
        self.shown += [image.numpy().tobytes() for image in x]
        return x.new_zeros(len(x), self.outputs, *x.shape[2:])


def test_scenes_are_scored_on_those_of_their_part_alone(asked):
    task = load_problem(load_config("tetrominoes-nwm", SCENES), CPU, None)
    parts = {}
    for part, scenes in task.scenes.items():
        images, _ = scenes.batch(torch.arange(len(scenes)))
        parts[part] = {image.numpy().tobytes() for image in images}
    for score, part in ((task.evaluate, "held-out"), (task.test, "test")):
        watching = Watching(task.outputs)
        score(watching)
        assert set(watching.shown) == parts[part]
        assert len(watching.shown) == len(task.scenes[part])
        assert not parts[part] & parts["training"]
    asked.clear()
    orders = [tuple(map(tuple, task.batch(3 * epoch)[1].flatten(1).tolist())) for epoch in range(8)]
    assert asked == [(3, ORDER, epoch) for epoch in range(8)]
    assert len(set(orders)) == 8


@pytest.mark.parametrize("step", [0, 1, 499, 500, 1000, 1001])
def test_the_loop_asks_for_the_batch_of_its_step(step, tmp_path, monkeypatch):
    config = load_config("copy-wrnn", ["delay=0", "steps=2000", "batch_size=2"])
    session = loop._prepare(config, loop.RunFolder(tmp_path / "run"), loop.Options(device="cpu"))
    wanted, batch = [], session.problem.batch
    monkeypatch.setattr(session.problem, "batch", lambda number: wanted.append(number) or batch(number))
    session.progress.step = step
    loop._step(session)
    assert wanted == [step]
    assert session.progress.step == step + 1
