import numpy as np
import pytest
import torch

from wavefield_torch import tasks
from wavefield_torch.tasks.continuation import CONTINUATIONS


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("name", CONTINUATIONS)
def test_a_target_is_the_sequence_of_the_system_and_the_input_its_beginning(name):
    chosen = tasks.continuation(name)
    system = chosen.system
    x, target, scored = tasks.continuation_batch(5, name, 30, generator=seeded(), dtype=torch.double)
    assert x.shape == target.shape == (system.length + 30, 5, system.dimension)
    assert torch.equal(x[: system.length], target[: system.length])
    assert not x[scored].any()
    assert scored.tolist() == [t >= system.length for t in range(len(x))]
    states = (target * chosen.spread + chosen.centre).transpose(0, 1).numpy()
    for t in range(system.length, len(x)):
        np.testing.assert_allclose(system.next(states[:, t - system.length : t]), states[:, t], atol=1e-12)
    assert (x[: system.length] != 0).any(-1).all()  # silence in the input phase would be taken for its end


def test_the_random_linear_system_lives_on_sixteen_directions_of_32():
    system = tasks.continuation("random-linear").system
    values = np.abs(np.linalg.eigvals(system.matrix()))
    assert len(values) == 32
    assert (values > 0.5).sum() == 16  # the others are 0, but for the rounding of Jordan blocks


def test_as_many_steps_as_are_stated_pass_unseen():
    settling = {name: tasks.continuation(name).settle for name in CONTINUATIONS}
    assert {name: steps for name, steps in settling.items() if steps} == {
        "random-linear": 50, "logistic": 200, "henon": 100, "mackey-glass": 300,
    }  # fmt: skip


@pytest.mark.parametrize("name", CONTINUATIONS)
def test_what_networks_see_is_bounded_and_of_unit_size(name):
    target = tasks.continuation_batch(200, name, 400, generator=seeded(1)).target
    assert target.abs().max() < 6
    if tasks.continuation(name).code == "real":
        assert abs(float(target.mean())) < 0.05
        assert float(target.std()) == pytest.approx(1, abs=0.12)


def test_sequences_are_fresh_and_follow_from_the_seed():
    one, again, other = (tasks.continuation_batch(4, "henon", 9, generator=seeded(seed)).x for seed in (0, 0, 1))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


@pytest.mark.parametrize(("name", "chance"), [("parity", 0.5), ("modular", 0.2)])
def test_an_answer_without_knowledge_is_right_by_chance(name, chance):
    batch = tasks.continuation_batch(400, name, 50, generator=seeded())
    guess = torch.randn(batch.target.shape, generator=seeded(1))
    assert tasks.right_share(guess, batch, name).item() == pytest.approx(chance, abs=0.02)
    assert tasks.right_share(batch.target, batch, name).item() == 1.0


def test_a_forecast_is_valid_until_its_first_large_error():
    batch = tasks.continuation_batch(2, "logistic", 10, generator=seeded())
    s = tasks.continuation("logistic").system.length
    output = batch.target.clone()
    output[s + 4, 0] += 0.41  # right again afterwards, but the forecast was over
    output[s + 7, 1] += 0.39
    assert tasks.right_share(output, batch, "logistic").item() == pytest.approx((0.4 + 1.0) / 2)
    output[s, 1] = torch.nan
    assert tasks.right_share(output, batch, "logistic").item() == pytest.approx(0.4 / 2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [((3, "T5", 10), "name must be one of T1"), ((0, "T1", 10), "batch"), ((3, "T1", 0), "horizon")],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        tasks.continuation_batch(*arguments, generator=seeded())
    with pytest.raises(TypeError, match=r"generator must be a torch\.Generator"):
        tasks.continuation_batch(3, "T1", 10, generator=None)


NEXT = {  # the table of `continuation`, its equations written out; states (…, s, d), the newest last
    "parity": (4, 8, lambda x: np.sign(x[-3]) * np.sign(x[-8])),
    "modular": (5, 8, lambda x: np.eye(5)[(x[-2].argmax() + x[-8].argmax()) % 5]),
    "logistic": (1, 4, lambda x: 1.5 * x[-1] * (1 - x[-4])),
    "henon": (1, 4, lambda x: 1.76 - x[-3] ** 2 - 0.1 * x[-4]),
    "mackey-glass": (1, 17, lambda x: x[-1] + 0.2 * x[-17] / (1 + x[-17] ** 10) - 0.1 * x[-1]),
}


@pytest.mark.parametrize("name", NEXT)
def test_the_systems_are_those_of_the_table(name):
    dimension, length, following = NEXT[name]
    chosen = tasks.continuation(name)
    assert (chosen.system.dimension, chosen.system.length) == (dimension, length)
    target = tasks.continuation_batch(3, name, 20, generator=seeded(2), dtype=torch.double).target
    states = (target * chosen.spread + chosen.centre).transpose(0, 1).numpy()
    for one in states:
        for t in range(length, len(one)):
            np.testing.assert_allclose(one[t], following(one[t - length : t]), atol=1e-9)


@pytest.mark.parametrize("name", ["random-linear", "logistic", "henon", "mackey-glass"])
def test_sequences_begin_where_they_have_settled(name):
    """Their first states have the spread of their last."""
    target = tasks.continuation_batch(2000, name, 300, generator=seeded(3), dtype=torch.double).target
    first, last = (part.std(0).mean().item() for part in (target[:4].flatten(0, 1), target[-4:].flatten(0, 1)))
    assert first == pytest.approx(last, rel=0.15)
    assert first == pytest.approx(1, rel=0.2)
