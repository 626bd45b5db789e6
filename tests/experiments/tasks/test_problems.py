"""Where batches come from and how answers are scored."""

import math
import os

import pytest
import torch
from torch import nn

from experiments.config import load_config
from experiments.tasks.generators import FIXED, generator_for

DATA = os.environ.get("WAVEFIELD_DATA")


def problem(name, *settings, data=None):
    config = load_config(name, settings)
    return config.task.load(config.training.batch_size, config.training.seed, torch.device("cpu"), data)


@pytest.mark.parametrize("name", ["copy-wrnn", "adding-wrnn", "digits-wrnn"])
def test_a_batch_is_a_function_of_seed_and_step(name):
    one, same, other = problem(name), problem(name), problem(name, "seed=1")
    for step in (25, 3, 400):  # in any order
        for a, b, c in zip(one.batch(step), same.batch(step), other.batch(step), strict=True):
            assert torch.equal(a, b)
            assert not torch.equal(a, c)
    assert not torch.equal(one.batch(3)[0], one.batch(4)[0])


def test_generators_of_different_purpose_or_step_are_independent():
    drawn = {
        tuple(torch.randint(2**31, (4,), generator=generator_for(seed, purpose, step)).tolist())
        for seed in range(4)
        for purpose in range(5)
        for step in range(50)
    }
    assert len(drawn) == 4 * 5 * 50


def test_an_epoch_goes_once_over_the_samples_that_are_not_held_out():
    images = problem("digits-wrnn")
    seen = [
        torch.cat([images.batch(epoch * images.steps_per_epoch + k)[0] for k in range(images.steps_per_epoch)], 1)
        for epoch in (0, 1)
    ]
    rows = [sorted(map(tuple, x[..., 0].T.tolist())) for x in seen]
    assert rows[0] == rows[1]
    assert not torch.equal(seen[0], seen[1])
    assert len(rows[0]) == 1438 - 200
    assert not set(images.held_out.tolist()) & set(images.members.tolist())
    order = torch.randperm(1438, generator=generator_for(0, FIXED))  # what is held out is drawn once, before all else
    assert torch.equal(torch.cat([images.held_out, images.members]), order)


class Answer(nn.Module):
    """Answers as told, whatever it sees; its states are its answers."""

    def __init__(self, answer, every_step):
        super().__init__()
        self.answer, self.every_step, self.readout = answer, every_step, nn.Identity()

    def forward(self, x):
        return self.answer(x)

    def recurrence(self, x, return_sequence):
        return self.answer(x), self.answer(x)[-1:]


def test_the_published_loss_of_the_copy_task_is_divided_by_its_batch():
    copy = problem("copy-wrnn")
    scores = copy.evaluate(Answer(lambda x: torch.zeros(*x.shape[:2], 10), True))
    assert scores["loss"] == pytest.approx(math.log(10))
    assert scores["reference_loss"] == pytest.approx(math.log(10) / 50)
    assert scores["accuracy"] == 0.0  # blank is never among the symbols


def test_answering_one_at_the_adding_task_is_wrong_by_a_sixth():
    adding = problem("adding-wrnn", "held_out=20000")
    scores = adding.evaluate(Answer(lambda x: torch.ones(x.shape[1], 1), False))
    assert scores["loss"] == pytest.approx(1 / 6, rel=0.03)
    assert not adding.solved(scores)
    exact = Answer(lambda x: (x[..., 0] * x[..., 1]).sum(0)[:, None] + 0.2, False)
    scores = adding.evaluate(exact)
    assert scores["loss"] == pytest.approx(0.04, rel=1e-4)
    assert adding.solved(scores)
    assert adding.reference_solved(0.05)
    assert not adding.reference_solved(0.051)


def test_images_are_scored_each_as_much_as_any_other(monkeypatch):
    monkeypatch.setattr("experiments.tasks.problems.EVALUATION_BATCH", 150)  # 359 of them: pieces of 150, 150 and 59
    digits = problem("digits-wrnn")
    model = Answer(lambda x: x.mean(0) * torch.linspace(-9, 9, 10), False)
    for score, images, index in (
        (digits.test, digits.testing, torch.arange(359)),
        (digits.evaluate, digits.training, digits.held_out),
    ):
        x, target = images.batch(index)
        logits = model(x)
        scores = score(model)
        assert scores["loss"] == pytest.approx(nn.functional.cross_entropy(logits, target).item(), rel=1e-5)
        assert scores["accuracy"] == pytest.approx((logits.argmax(1) == target).double().mean().item(), rel=1e-9)
    assert digits.steps_per_epoch == math.ceil(1238 / digits.batch_size)


def test_the_horizon_that_is_told_is_that_of_the_stage():
    task = problem("history-elman", "held_out=2")
    told = []
    for stage in range(5):
        task.restore({"stage": stage})
        told.append(task.evaluate(Answer(lambda x: torch.ones(*x.shape[:2], 8), True))["horizon"])
    assert told == [10, 20, 40, 60, 100]


@pytest.mark.skipif(not DATA, reason="WAVEFIELD_DATA names no folder with MNIST")
def test_mnist_is_split_and_permuted_as_published():
    plain, permuted = (problem(name, data=DATA) for name in ("smnist-wrnn", "psmnist-wrnn"))
    assert (len(plain.members), len(plain.held_out), len(plain.testing), plain.steps_per_epoch) == (
        57_000,
        3000,
        10_000,
        446,
    )
    assert torch.equal(plain.held_out, permuted.held_out)
    x, y = plain.batch(0)[0], permuted.batch(0)[0]
    assert torch.equal(x[permuted.fixed["permutation"]], y)
    other = problem("psmnist-wrnn", "permutation_seed=1", data=DATA)
    assert not torch.equal(other.fixed["permutation"], permuted.fixed["permutation"])
