"""One step of training, and losses below the resolution of float32."""

import pytest
import torch
from torch.nn.functional import cross_entropy

from wavefield_torch import (
    LSTM,
    NotFiniteError,
    SequenceModel,
    WaveRNN,
    linear_readout,
    precise_logits,
    symbol_cross_entropy,
    training_step,
)


def test_clipping_scales_the_whole_gradient_to_the_norm():
    weights = [torch.nn.Parameter(torch.tensor([30.0])), torch.nn.Parameter(torch.tensor([40.0]))]
    optimizer = torch.optim.SGD(weights, lr=1.0)
    _, norm = training_step(optimizer, sum(w.square().sum() for w in weights) / 2, clip=5.0)
    assert norm == 50.0
    assert [w.item() for w in weights] == [27.0, 36.0]
    training_step(optimizer, sum(w.square().sum() for w in weights) / 2, clip=0.0)
    assert [w.item() for w in weights] == [0.0, 0.0]


@pytest.mark.parametrize(("slope", "offset", "moved"), [(8.0, -8.0, 2.0), (1.5, 50.0, 1.5), (2.0, 0.0, 2.0)])
def test_what_is_clipped_is_decided_by_the_gradient_and_not_by_the_loss(slope, offset, moved):
    weight = torch.nn.Parameter(torch.tensor([1.0]))
    loss, norm = training_step(torch.optim.SGD([weight], lr=1.0), slope * weight.sum() + offset, clip=2.0)
    assert (loss, norm) == (slope + offset, slope)
    assert weight.item() == pytest.approx(1.0 - moved)


def test_a_finite_gradient_is_clipped_even_if_its_squares_overflow():
    weight = torch.nn.Parameter(torch.tensor([1.0, 1.0]))
    _, norm = training_step(torch.optim.SGD([weight], lr=1.0), (weight * torch.tensor([3e25, 4e25])).sum(), clip=0.5)
    assert norm == pytest.approx(5e25)
    assert weight.tolist() == pytest.approx([0.7, 0.6])


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_changes_nothing(value):
    weight = torch.nn.Parameter(torch.tensor([2.0]))
    optimizer = torch.optim.Adam([weight])
    with pytest.raises(NotFiniteError, match="loss is"):
        training_step(optimizer, weight.sum() * value)
    assert weight.item() == 2.0
    assert not optimizer.state


@pytest.mark.parametrize("recurrence", [WaveRNN(3, 8, channels=2), LSTM(3, 16)], ids=["wave", "lstm"])
@pytest.mark.parametrize("every_step", [True, False])
def test_precise_logits_are_those_of_the_model(recurrence, every_step):
    model = SequenceModel(recurrence, linear_readout(16, 5), every_step=every_step)
    x = torch.rand(6, 4, 3)
    logits = precise_logits(model, x)
    assert logits.dtype == torch.float64
    torch.testing.assert_close(logits.float(), model(x), rtol=1e-4, atol=1e-5)


def test_precise_logits_resolve_what_float32_rounds_to_zero():
    model = SequenceModel(WaveRNN(2, 4, bias=False), torch.nn.Linear(4, 2, bias=False))
    with torch.no_grad():
        model.readout.weight.copy_(torch.tensor([[30.0] * 4, [0.0] * 4]))
    x, target = torch.tensor([[[1.0, 0.0]]]), torch.tensor([0])  # one step: the first unit holds 1
    assert symbol_cross_entropy(model(x), target).item() == 0.0
    expected = torch.log1p(torch.exp(torch.tensor(-30.0, dtype=torch.float64)))
    assert symbol_cross_entropy(precise_logits(model, x), target).item() == pytest.approx(expected.item(), rel=1e-2)


def test_the_cross_entropy_of_symbols_is_the_mean_over_steps_and_samples():
    logits, target = torch.randn(7, 3, 5), torch.randint(5, (7, 3))
    expected = cross_entropy(logits.flatten(0, 1), target.flatten())
    torch.testing.assert_close(symbol_cross_entropy(logits, target), expected)
