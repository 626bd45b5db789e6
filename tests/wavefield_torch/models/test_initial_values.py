"""Every weight is drawn from the distribution that is published, or is PyTorch's, to a few per cent of its width."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from wavefield_torch import (
    GRU,
    LSTM,
    ConvLSTM,
    IdentityRNN,
    LinearWaveMachine,
    LocallyConnectedRNN,
    MediumRNN,
    NeuralWaveMachine,
    WaveRNN,
    elman,
    linear_readout,
    mlp_readout,
)
from wavefield_torch.models import initialization
from wavefield_torch.models.segmentation.layers import convolution, upsampling
from wavefield_torch.models.segmentation.time_readout import TimeReadout
from wavefield_torch.models.travelling_memory import AttentionEnd, LinearEnd, MLPEnd


def seeded():
    return torch.Generator().manual_seed(5)


def assert_uniform(values, bound):
    """U(±bound): nothing beyond, mean 0, and the second and fourth moments bound²/3 and bound⁴/5."""
    values = values.detach().double().flatten() / bound
    count = values.numel()
    assert values.abs().max() <= 1 + 1e-6
    assert abs(values.mean().item()) < 5 / math.sqrt(3 * count)
    assert (values**2).mean().item() == pytest.approx(1 / 3, abs=5 * math.sqrt(4 / 45 / count))
    assert (values**4).mean().item() == pytest.approx(1 / 5, abs=5 * math.sqrt(16 / 225 / count))


@pytest.mark.parametrize(("channels", "width"), [(16, 3), (12, 5)])
def test_a_random_kernel_is_uniform_by_the_units_it_reads_from(channels, width):
    bound = 1 / math.sqrt(channels * width)
    assert_uniform(initialization.initial_kernel("uniform", channels, width, generator=seeded()), bound)
    assert_uniform(WaveRNN(2, 20, channels=channels, kernel_size=width, operator="uniform", encoder="sparse",
                           generator=seeded()).kernel, bound)  # fmt: skip
    assert_uniform(initialization.reference_kernel_bias(1000 * channels, width, generator=seeded()),
                   1 / math.sqrt(1000 * channels * width))  # fmt: skip


def test_dense_weights_are_uniform_by_the_units_they_read_from():
    assert_uniform(initialization.initial_recurrence("uniform", 60, generator=seeded()), 1 / math.sqrt(60))
    assert_uniform(IdentityRNN(3, 50, recurrence="uniform", generator=seeded()).weight_hh_l0, 1 / math.sqrt(50))
    readout = linear_readout(40, 300, generator=seeded())
    assert_uniform(readout.weight, 1 / math.sqrt(40))
    assert_uniform(readout.bias, 1 / math.sqrt(40))


@pytest.mark.parametrize("inputs", [3, 10])
def test_encoders_are_drawn_as_published(inputs):
    gaussian = initialization.initial_encoder("gaussian", 4, 200, inputs, generator=seeded()).double()
    assert gaussian.std().item() == pytest.approx(0.001, rel=5 / math.sqrt(2 * gaussian.numel()))
    assert (gaussian**4).mean().item() == pytest.approx(3e-12, rel=5 * math.sqrt(32 / 3 / gaussian.numel()))
    assert abs(gaussian.mean().item()) < 5e-3 / math.sqrt(gaussian.numel())
    uniform = initialization.initial_encoder("uniform", 4, 200, inputs, generator=seeded())
    assert_uniform(uniform, 1 / math.sqrt(inputs))
    bias = initialization.reference_encoder_bias("gaussian", (4, 200), inputs, generator=seeded())
    assert_uniform(bias, 1 / math.sqrt(inputs))
    assert not initialization.reference_encoder_bias("sparse", (4, 200), inputs, generator=seeded()).any()


@pytest.mark.parametrize("make", [LSTM, GRU])
def test_gated_networks_are_drawn_as_pytorch_draws_them(make):
    for parameter in make(6, 36, generator=seeded()).parameters():
        assert_uniform(parameter, 1 / 6)


@pytest.mark.parametrize("units", [25, 100])
def test_the_elman_network_is_uniform_in_every_weight(units):
    for parameter in elman(8, units, generator=seeded()).parameters():
        assert_uniform(parameter, 1 / math.sqrt(units))


def test_a_local_network_draws_each_of_its_kernels():
    net = LocallyConnectedRNN(2, 30, channels=4, kernel_size=3, operator="uniform", generator=seeded())
    (kernel,) = (p for name, p in net.named_parameters() if "kernel" in name)
    assert kernel.shape.count(30) == 1
    assert_uniform(kernel, 1 / math.sqrt(12))


def test_a_medium_starts_with_weak_coupling_that_pulls_back():
    net = MediumRNN(5, 40, generator=seeded())
    assert_uniform(net.encoder, 1 / math.sqrt(5))
    assert not net.bias.any()
    assert torch.equal(net.coupling, torch.full((40,), 0.1))
    assert torch.equal(net.sign, -torch.ones(40))


def test_a_medium_is_stepped_as_its_equation_says():
    """ψ'' by second differences with fixed ends, driven by β h; h = tanh(V x + b + σ β ψ)."""
    net = MediumRNN(2, 9, courant=0.7, generator=seeded()).double()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.uniform_(-0.4, 0.4, generator=seeded())
    x = torch.randn(6, 3, 2, generator=seeded(), dtype=torch.float64)
    found = net(x)[0][:, 0].detach().numpy().reshape(6, 3, 9)
    encoder, bias, coupling, sign = (
        getattr(net, name).detach().numpy() for name in ("encoder", "bias", "coupling", "sign")
    )
    h, now, before = np.zeros(9), np.zeros(9), np.zeros(9)
    for t in range(6):
        after = np.empty(9)
        for n in range(9):
            left, right = (now[n - 1] if n else 0.0), (now[n + 1] if n < 8 else 0.0)
            after[n] = 2 * now[n] - before[n] + 0.49 * (left - 2 * now[n] + right) + coupling[n] * h[n]
        h = np.tanh(encoder[0] @ x[t, 0].numpy() + bias[0] + sign * coupling * after)
        now, before = after, now
        np.testing.assert_allclose(found[t], [h, now, before], atol=1e-12)


@pytest.mark.parametrize("width", [3, 5, 7])
@pytest.mark.parametrize(("kind", "tap"), [("shift", 1), ("identity", 0)])
def test_kernels_that_shift_or_stay_read_one_cell_of_their_own_channel(kind, tap, width):
    expected = torch.zeros(4, 4, width)
    for channel in range(4):
        expected[channel, channel, (width - 1) // 2 + tap] = 1.0
    assert torch.equal(initialization.initial_kernel(kind, 4, width), expected)
    assert initialization.initial_kernel(kind, 4).shape == (4, 4, 3)


def test_a_kernel_of_one_cell_stays_and_cannot_shift():
    assert initialization.initial_kernel("identity", 2, 1).tolist() == [[[1.0], [0.0]], [[0.0], [1.0]]]
    with pytest.raises(ValueError, match="identity or uniform where kernel_size is 1"):
        initialization.initial_kernel("shift", 2, 1)


@pytest.mark.parametrize(("kind", "ahead"), [("identity", 0), ("shift", 1)])
def test_units_of_an_identity_network_read_themselves_or_the_next(kind, ahead):
    expected = torch.zeros(5, 5)
    for unit in range(5):
        expected[unit, (unit + ahead) % 5] = 1.0
    assert torch.equal(initialization.initial_recurrence(kind, 5), expected)


def test_the_sparse_encoder_is_one_into_the_first_unit_of_every_ring():
    expected = torch.zeros(3, 6, 2)
    for ring in range(3):
        for number in range(2):
            expected[ring, 0, number] = 1.0
    assert torch.equal(initialization.initial_encoder("sparse", 3, 6, 2), expected)


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
    "linear end": lambda: (LinearEnd(8, 64, generator=seeded()).weight, 512),
    "MLP end, below": lambda: (MLPEnd(8, 16, hidden=64, generator=seeded()).layers[0].weight, 128),
    "MLP end, above": lambda: (MLPEnd(8, 16, hidden=64, generator=seeded()).layers[2].weight, 64),
    "attention end, query": lambda: (AttentionEnd(40, 16, generator=seeded()).query.weight, 40),
    "attention end, output": lambda: (AttentionEnd(40, 16, heads=4, head_size=8, generator=seeded()).output.weight, 32),
    "readout over time": lambda: (TimeReadout("linear", 100, generator=seeded()).weight, 100),
}


@pytest.mark.parametrize("name", UNIFORM)
def test_other_weights_are_uniform_by_the_number_of_their_inputs(name):
    values, inputs = UNIFORM[name]()
    assert_uniform(values, 1 / math.sqrt(inputs))


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
