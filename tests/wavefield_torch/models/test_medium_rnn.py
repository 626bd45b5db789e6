"""Neurons on a string: the medium is a wave equation, and gradients through it keep their size."""

import numpy as np
import pytest
import torch
from torch.nn.utils.rnn import pack_sequence

from wavefield_torch import MediumRNN


def test_without_coupling_the_medium_is_a_string_with_fixed_ends():
    net = MediumRNN(1, 31, courant=0.8).double()
    with torch.no_grad():
        net.coupling.zero_()
    mode = torch.sin(torch.pi * 3 * torch.arange(1, 32).double() / 32)
    frequency = 2 * np.arcsin(0.8 * np.sin(np.pi * 3 / 64))  # of the discrete string
    state = torch.cat([0 * mode, mode, np.cos(frequency) * mode])[None, None]
    output, _ = net(torch.zeros(200, 1, 1).double(), state)
    times = torch.arange(1, 201).double()
    expected = torch.cos(frequency * times)[:, None] * mode
    torch.testing.assert_close(output[:, 0, 31:62], expected, rtol=0, atol=1e-11)


def test_gradients_through_the_untrained_network_keep_their_size():
    net = MediumRNN(1, 24).double()
    x = torch.zeros(1, 1, 1).double()
    step = torch.autograd.functional.jacobian(lambda s: net(x, s[None, None])[1][0, 0], torch.zeros(72).double())
    size = np.abs(np.linalg.eigvals(step))
    moving = size > 1e-6
    assert moving.sum() == 48  # the string and its velocity; neurons remember nothing by themselves
    np.testing.assert_allclose(size[moving], 1, atol=1e-10)


def test_an_input_reaches_a_neuron_after_as_many_steps_as_it_is_away():
    net = MediumRNN(1, 21)
    with torch.no_grad():
        net.encoder.zero_()
        net.encoder[0, 10, 0] = 1.0
    x = torch.zeros(9, 1, 1)
    x[0] = 1.0
    h = net(x)[0][:, 0, :21]
    for t in range(9):
        reached = h[t].nonzero().squeeze(1) - 10
        assert reached.abs().max() == max(t - 1, 0)  # a step to write, then one position per step


def test_it_is_called_like_a_recurrent_network():
    torch.manual_seed(0)
    net = MediumRNN(2, 8)
    x = torch.randn(7, 3, 2)
    output, last = net(x)
    assert torch.equal(output[-1], last[0])
    first, state = net(x[:4])
    second, _ = net(x[4:], state)
    torch.testing.assert_close(torch.cat([first, second]), output)
    torch.testing.assert_close(net(x, return_sequence=False)[1], last)
    packed, ends = net(pack_sequence([x[:, 0], x[:5, 1]]))
    torch.testing.assert_close(ends[0, 1], output[4, 1])
    assert packed.data.shape == (12, 24)
    torch.testing.assert_close(net(x[:, 0])[0], output[:, 0])
    assert (net.bias.shape, net.encoder.shape) == ((1, 8), (1, 8, 2))
    assert MediumRNN(1, 4, courant=1).courant == 1
    for courant in (0, 1.5):
        with pytest.raises(ValueError, match="courant must lie above 0"):
            MediumRNN(1, 4, courant=courant)
