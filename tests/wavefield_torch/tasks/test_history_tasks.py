import numpy as np
import pytest
import torch

import wavefield as wf
from wavefield_torch import tasks
from wavefield_torch.tasks.history import HORIZONS, TEST_HORIZON

TASKS = ("T1", "T2", "T3", "T4")


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("name", TASKS)
def test_the_target_is_what_the_system_does_alone(name):
    x, target, scored = tasks.history_batch(5, name, TEST_HORIZON, generator=seeded())
    assert x.shape == target.shape == (208, 5, 8)
    assert scored.tolist() == [False] * 8 + [True] * 200
    assert set(x[:8].unique().tolist()) == {-1.0, 1.0}
    assert not x[8:].any()
    initial = x[:8].transpose(0, 1).numpy()
    alone = wf.history.simulate(wf.history.task(name), initial, steps=200).activity.isel(position=-1)
    np.testing.assert_array_equal(target[8:].transpose(0, 1), alone)


@pytest.mark.parametrize(
    "system",
    [
        wf.history.fibonacci(2, 3),
        wf.history.random_linear(3, 5, 9, generator=np.random.default_rng(0)),
        wf.history.signed_permutation([1, 3], [1, 0], [-1, 1]),
    ],
)
def test_any_linear_system_makes_a_task(system):
    x, target, scored = tasks.history_batch(4, system, 12, generator=seeded(), dtype=torch.float64)
    initial = x[: system.length].transpose(0, 1).numpy()
    alone = wf.history.simulate(system, initial, steps=12).activity.isel(position=-1).values
    np.testing.assert_allclose(target[scored].transpose(0, 1), alone, rtol=1e-12, atol=1e-12)


def test_states_are_independent_and_even():
    x = tasks.history_batch(4000, "T1", 1, generator=seeded()).x[:8].flatten(0).reshape(8, 4000, 8)
    flat = x.transpose(1, 2).reshape(64, 4000)  # every entry over the samples
    assert flat.mean(1).abs().max() < 5 / 4000**0.5
    correlation = flat @ flat.T / 4000 - torch.eye(64)
    assert correlation.abs().max() < 5.5 / 4000**0.5


def test_the_same_seed_draws_the_same_batch():
    for a, b in zip(*(tasks.history_batch(3, "T2", 10, generator=seeded(1)) for _ in range(2)), strict=True):
        assert torch.equal(a, b)
    different = tasks.history_batch(3, "T2", 10, generator=seeded(2))
    assert not torch.equal(different.x, tasks.history_batch(3, "T2", 10, generator=seeded(1)).x)


def test_accuracy_and_loss_look_at_the_output_phase_alone():
    batch = tasks.history_batch(64, "T4", 50, generator=seeded())
    right = batch.target.clone()
    right[~batch.scored] = 1e6
    assert tasks.history_loss(right, batch) == 0
    assert tasks.sign_accuracy(right, batch) == 1
    assert tasks.sign_accuracy(torch.zeros_like(right), batch) == 0.5
    assert tasks.history_loss(torch.zeros_like(right), batch) == 1  # of ±1
    guess = torch.randint(0, 2, right.shape, generator=seeded()).float() * 2 - 1
    assert abs(tasks.sign_accuracy(guess, batch) - 0.5) < 0.02
    assert HORIZONS[-1] < TEST_HORIZON


def test_states_of_zero_have_no_sign_to_be_right_or_wrong():
    batch = tasks.history_batch(64, wf.history.fibonacci(1, 2), 6, generator=seeded())  # half of 1 ± 1 is 0
    assert (batch.target[batch.scored] == 0).any()
    assert tasks.sign_accuracy(batch.target, batch) == 1
    assert tasks.sign_accuracy(-batch.target, batch) == 0


def test_a_linear_network_made_from_theory_solves_repeat_copy_at_once():
    # inputs written into slot s on top of what the boundary drives: nothing, while the line fills
    batch = tasks.history_batch(16, "T1", 40, generator=seeded(), dtype=torch.float64)
    basis = np.linalg.qr(np.random.default_rng(0).normal(size=(80, 64)))[0]
    w_hh, w_ih, readout = (torch.tensor(w) for w in wf.history.rnn_weights(wf.history.task("T1"), basis))
    state, outputs = torch.zeros(16, 80, dtype=torch.float64), []
    for u in batch.x:
        state = state @ w_hh.T + u @ w_ih.T
        outputs.append(state @ readout.T)
    torch.testing.assert_close(torch.stack(outputs)[batch.scored], batch.target[batch.scored], rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"system": "T7"}, ValueError, "T1, T2, T3, T4"),
        ({"system": 3}, TypeError, "HistorySystem"),
        ({"system": wf.history.HistorySystem(1, 2, np.sin)}, ValueError, "not linear"),
        ({"system": wf.history.fibonacci(1, 8), "horizon": 150}, ValueError, "it grows"),
        ({"horizon": 0}, ValueError, "horizon"),
        ({"horizon": 2.5}, TypeError, "horizon"),
        ({"batch": 0}, ValueError, "batch"),
        ({"generator": None}, TypeError, "generator must be a torch.Generator, got NoneType"),
    ],
)
def test_bad_input_is_refused_by_name(options, error, text):
    given = {"batch": 2, "system": "T1", "horizon": 3, "generator": seeded()} | options
    with pytest.raises(error, match=text):
        tasks.history_batch(given["batch"], given["system"], given["horizon"], generator=given["generator"])
