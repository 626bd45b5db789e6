"""Networks draw their first weights from the law that is stated: what `test_initial_values` does not look at."""

import pytest
import torch
from torch import nn

from wavefield_torch import (
    ConvLSTM,
    IdentityRNN,
    LinearWaveMachine,
    LocallyConnectedRNN,
    NeuralWaveMachine,
    WaveRNN,
    mlp_readout,
)
from wavefield_torch.models.segmentation.layers import convolution, upsampling
from wavefield_torch.models.segmentation.time_readout import TimeReadout


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def uniform(values, fan_in):
    """Whether thousands of values fill ±1/√(fan-in) evenly: both ends are reached, mean and spread are the law's."""
    values, bound = values.detach().flatten().double(), fan_in**-0.5
    assert len(values) >= 500
    few = 12 / len(values)  # in this share of the range at each end there are six, or none once in e⁶ = 400 cases
    assert bound * (1 - few) < values.max() <= bound * (1 + 1e-6)
    assert -bound * (1 + 1e-6) <= values.min() < -bound * (1 - few)
    assert abs(values.mean()) < 4 * bound / (3 * len(values)) ** 0.5
    assert values.std() == pytest.approx(bound / 3**0.5, rel=2 / len(values) ** 0.5)
    return True


UNIFORM = {  # what is drawn, and the number of its inputs
    "wave RNN, encoder": lambda: (WaveRNN(5, 200, encoder="uniform", generator=seeded()).encoder, 5),
    "wave RNN, bias": lambda: (
        WaveRNN(5, 900, encoder="gaussian", bias="reference", generator=seeded()).encoder_bias,
        5,
    ),
    "local, encoder": lambda: (LocallyConnectedRNN(5, 200, encoder="uniform", generator=seeded()).encoder, 5),
    "identity RNN, encoder": lambda: (IdentityRNN(5, 200, generator=seeded()).weight_ih_l0, 5),
    "identity RNN, second bias": lambda: (
        IdentityRNN(2, 800, recurrence="uniform", bias="reference", generator=seeded()).bias_hh_l0,
        800,
    ),
    "identity RNN, layer above": lambda: (
        IdentityRNN(2, 40, 2, encoder="sparse", generator=seeded()).weight_ih_l1,
        40,
    ),
    "MLP readout, below": lambda: (mlp_readout(30, 10, generator=seeded())[0].weight, 30),
    "MLP readout, above": lambda: (mlp_readout(30, 10, generator=seeded())[2].weight, 100),
    "convolution": lambda: (convolution(16, 16, generator=seeded()).weight, 144),
    "upsampling": lambda: (upsampling(16, 16, generator=seeded()).weight, 64),
    "readout over time": lambda: (TimeReadout("linear", 100, generator=seeded()).weight, 100),
}


@pytest.mark.parametrize("name", UNIFORM)
def test_uniform_weights_fill_their_range(name):
    assert uniform(*UNIFORM[name]())


def test_gaussian_encoders_have_a_standard_deviation_of_a_thousandth():
    for encoder in (
        WaveRNN(3, 900, encoder="gaussian", generator=seeded()).encoder,
        IdentityRNN(3, 900, encoder="gaussian", generator=seeded()).weight_ih_l0,
    ):
        encoder = encoder.detach()
        assert encoder.std().item() == pytest.approx(1e-3, rel=0.06)
        assert abs(encoder.mean()) < 1e-4
        assert encoder.abs().max() > 2.5e-3  # beyond a uniform law of that spread


def test_what_is_not_drawn_is_what_is_stated():
    for net in (WaveRNN(3, 7, channels=2), LocallyConnectedRNN(3, 7, channels=2)):
        assert (net.encoder[:, 0] == 1).all()
        assert net.encoder.sum() == 2 * 3
        assert not net.bias.any()
    assert not WaveRNN(3, 7, bias="reference").encoder_bias.any()  # beside a sparse encoder
    assert not IdentityRNN(3, 7, encoder="sparse", bias="reference").bias_ih_l0.any()
    laplacian = torch.tensor([[0.0, 1, 0], [1, -4, 1], [0, 1, 0]])
    kernel = NeuralWaveMachine(1, 2, steps=2).kernel
    assert torch.equal(kernel[0, 0], laplacian)
    assert torch.equal(kernel[1, 1], laplacian)
    assert not kernel[0, 1].any()


def test_encoders_of_images_end_as_is_stated():
    def shape(layers):
        return [type(layer) for layer in layers]

    three, four = [nn.Conv2d, nn.ReLU] * 2 + [nn.Conv2d], [nn.Conv2d, nn.ReLU] * 3 + [nn.Conv2d]
    machine, linear, gated = NeuralWaveMachine(steps=2), LinearWaveMachine(steps=2), ConvLSTM(steps=2)
    assert shape(machine.stiffness) == shape(machine.damping) == [*three, nn.ReLU]
    assert shape(machine.initial) == shape(linear.initial) == shape(linear.velocity) == [*four, nn.Tanh]
    assert shape(gated.initial) == [*four, nn.Tanh]
    assert shape(gated.initial_hidden) == shape(gated.initial_cell) == three
