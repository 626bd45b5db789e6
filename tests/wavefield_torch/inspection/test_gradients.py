import numpy as np
import pytest
import torch

import analysis
import wavefield as wf
from wavefield_torch import (
    GRU,
    LSTM,
    SequenceModel,
    elman,
    from_theory,
    gradient_against_lag,
    linear_readout,
    linearised,
    open_line,
    tasks,
)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def models():
    line = open_line(3, 5)
    torch.nn.init.normal_(line.recurrence.boundary_row, std=0.5, generator=seeded())
    reader = lambda units: linear_readout(units, 3, generator=seeded(units))  # noqa: E731
    return {
        "tanh": elman(3, 12, generator=seeded()),
        "lstm": SequenceModel(LSTM(3, 7, generator=seeded()), reader(7), every_step=True),
        "gru": SequenceModel(GRU(3, 7, generator=seeded()), reader(7), every_step=True),
        "open line": line,
    }


def test_the_bound_takes_the_largest_step_of_all_samples():
    """Of tanh units J(t) = diag(1 − h(t+1)²) W, in NumPy; the first step, from zero, is that of the entry."""
    model = elman(3, 12, generator=seeded())
    x, target = (torch.randn(6, 4, 3, generator=seeded(n)) for n in (1, 2))
    found = gradient_against_lag(model, x, target)
    weight, entry = (getattr(model.recurrence, f"weight_{part}_l0").detach().numpy() for part in ("hh", "ih"))
    states, sizes = np.zeros((4, 12)), []
    for t, x_t in enumerate(x.numpy()):
        states = np.tanh(states @ weight.T + x_t @ entry.T)
        gain = (1 - states**2)[:, :, None]
        sizes.append(np.linalg.norm(gain * (weight if t else entry), ord=2, axis=(1, 2)))
    assert float(found.mu) == pytest.approx(np.max(sizes[1:]), rel=1e-5)
    bound = found.state_gradient_norm.values * sizes[0][:, None] * np.max(sizes[1:]) ** np.arange(6)
    np.testing.assert_allclose(found.bound_product, bound, rtol=1e-4)


@pytest.mark.parametrize("name", models())
def test_the_product_of_jacobians_is_what_backpropagation_gives(name):
    model = models()[name].double()
    x, target = (torch.randn(6, 4, 3, generator=seeded(n), dtype=torch.double) for n in (1, 2))
    found = gradient_against_lag(model, x, target)
    x.requires_grad_(True)
    output = model(x)
    for lag in range(6):
        loss = ((output[lag] - target[lag]) ** 2).mean(1).sum()
        expected = torch.autograd.grad(loss, x, retain_graph=True)[0][0].norm(dim=1)
        np.testing.assert_allclose(found.gradient_norm.sel(lag=lag), expected, rtol=1e-9)


@pytest.mark.parametrize("name", models())
def test_no_gradient_exceeds_the_bound_of_a_product(name):
    x, target = (torch.randn(12, 4, 3, generator=seeded(n)) for n in (3, 4))
    found = gradient_against_lag(models()[name], x, target)
    assert (found.gradient_norm <= found.bound_product * (1 + 1e-5)).all()
    assert float(found.mu) > 0


@pytest.mark.parametrize("weight", [0.7, 1.3])
def test_the_bound_of_a_product_is_reached_by_a_single_linear_unit(weight):
    # h(t+1) = w h(t) + v x(t), y = r h: dC/dx(1) = 2 (y − target) r w^lag v
    model, entry, reading = elman(1, 1, generator=seeded()).double(), 0.5, 0.8
    for parameter, value in zip(model.parameters(), (entry, weight, reading), strict=True):
        torch.nn.init.constant_(parameter, value)
    x = torch.zeros(7, 2, 1, dtype=torch.double)  # at rest, where tanh is linear
    found = gradient_against_lag(model, x, torch.full_like(x, 3.0))
    expected = 2 * 3.0 * reading * entry * weight ** np.arange(7)
    np.testing.assert_allclose(found.gradient_norm, [expected] * 2, rtol=1e-12)
    np.testing.assert_allclose(found.bound_product, [expected] * 2, rtol=1e-12)
    np.testing.assert_allclose(found.state_gradient_norm, 2 * 3.0 * reading, rtol=1e-12)
    assert float(found.mu) == pytest.approx(weight)


def test_without_waves_the_gradient_fades_exponentially():
    model = elman(8, 64, generator=seeded())  # U(±1/√N): spectral radius about 1/√3, norm about 2/√3
    batch = tasks.history_batch(8, "T1", 24, generator=seeded())
    found = gradient_against_lag(model, batch.x, batch.target)
    relative = (found.gradient_norm / found.state_gradient_norm).median("trial")
    slope = np.polyfit(found.lag[4:], np.log(relative[4:]), 1)[0]
    assert slope < np.log(1 / 3**0.5) + 0.1
    assert float(relative[-1] / relative[0]) < 1e-5


@pytest.mark.parametrize("orthogonal", [True, False])
def test_on_a_wave_the_gradient_comes_round_undiminished_and_stays_below_its_bound(orthogonal):
    generator = np.random.default_rng(0)
    basis = generator.normal(size=(80, 64)) / 9
    basis = np.linalg.qr(basis)[0] if orthogonal else basis
    model = from_theory(wf.history.task("T1"), basis, dtype=torch.double)
    waves = analysis.recover_waves(*linearised(model), length=8)
    x = torch.zeros(17, 3, 8, dtype=torch.double)
    x[:8] = 1e-4 * torch.randn(8, 3, 8, generator=seeded(), dtype=torch.double)  # tanh is linear at this size
    target = torch.ones_like(x)
    found = gradient_against_lag(model, x, target, waves=waves)
    gradient = found.gradient_norm.values
    # the output reads slot s: the first input is there at lags 0, 8 and 16, and invisible on its way
    np.testing.assert_allclose(gradient[:, [8, 16]], gradient[:, [0, 0]], rtol=1e-3)
    assert gradient[:, 1:8].max() < 1e-6 * gradient[:, 0].max()
    within = found.sel(lag=slice(1, 8))
    assert (within.gradient_norm <= within.bound_wave * (1 + 1e-6)).all()
    ratio = (within.bound_wave / (within.state_gradient_norm * found.mu)).values
    columns = [np.linalg.norm(basis[:, 8 * slot : 8 * slot + 8], 2) for slot in reversed(range(8))]
    np.testing.assert_allclose(ratio, np.tile(columns, (3, 1)), rtol=1e-3)  # ψ holds all of the input: nothing in ε
    assert np.isnan(found.bound_wave.sel(lag=[0, 9, 16])).all()
    if orthogonal:  # unit columns: the bound does not grow with the lag, nor does that of a product (norm 1)
        assert float(found.mu) == pytest.approx(1, abs=1e-6)
    else:
        assert (within.bound_wave < within.bound_product).sel(lag=8).all()  # no power of the lag


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        ({"model": torch.nn.RNN(3, 4)}, TypeError, "SequenceModel"),
        ({"x": torch.zeros(5, 2, 4)}, ValueError, "x must have shape"),
        ({"x": torch.zeros(0, 2, 3)}, ValueError, "x must have shape"),
        ({"x": torch.zeros(5, 0, 3), "target": torch.zeros(5, 0, 3)}, ValueError, "x must have shape"),
        ({"target": torch.zeros(4, 2, 3)}, ValueError, "target must have shape"),
        ({"loss": torch.nn.functional.mse_loss}, ValueError, r"loss must return one number a sample, shape \(2,\)"),
        ({"target": torch.full((5, 2, 3), torch.nan)}, ValueError, "finite"),
        ({"waves": analysis.recover_waves(*wf.history.rnn_weights(wf.history.repeat_copy(3, 3)), length=3)}, ValueError,
         "12 units, got 9"),
        ({"waves": analysis.recover_waves(*wf.history.rnn_weights(wf.history.repeat_copy(4, 3)), length=3)}, ValueError,
         "each of the 3 inputs, got 4 lines"),
    ],
)  # fmt: skip
def test_bad_input_is_refused_by_name(change, error, text):
    given = {"model": models()["tanh"], "x": torch.zeros(5, 2, 3), "target": torch.zeros(5, 2, 3)} | change
    with pytest.raises(error, match=text):
        gradient_against_lag(given.pop("model"), given.pop("x"), given.pop("target"), **given)
