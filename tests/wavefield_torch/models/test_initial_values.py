"""Every weight is drawn from the distribution that is published, or is PyTorch's, to a few per cent of its width."""

import math

import numpy as np
import pytest
import torch

from wavefield_torch import GRU, LSTM, IdentityRNN, LocallyConnectedRNN, MediumRNN, WaveRNN, elman, linear_readout
from wavefield_torch.models import initialization


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


def test_the_sparse_encoder_is_one_into_the_first_unit_of_every_ring():
    expected = torch.zeros(3, 6, 2)
    for ring in range(3):
        for number in range(2):
            expected[ring, 0, number] = 1.0
    assert torch.equal(initialization.initial_encoder("sparse", 3, 6, 2), expected)
