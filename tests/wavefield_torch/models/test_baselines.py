"""The baselines: each against its definition, its limit case, or PyTorch's own module; all with one interface."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_sequence, pad_packed_sequence

import wavefield as wf
from wavefield_torch.models.baselines import GRU, LSTM, IdentityRNN, LocallyConnectedRNN, Tape
from wavefield_torch.models.published import count_parameters
from wavefield_torch.models.readout import SequenceModel, linear_readout
from wavefield_torch.models.wave_rnn import WaveRNN


def normal(*shape, seed=1):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


# ---- one interface ------------------------------------------------------------------------------------------------

KINDS = {
    "identity": lambda **o: IdentityRNN(2, 6, **o),
    "lstm": lambda **o: LSTM(2, 6, **o),
    "gru": lambda **o: GRU(2, 6, **o),
    "local": lambda **o: LocallyConnectedRNN(2, 6, operator="uniform", **o),
    "tape": lambda **o: Tape(2, 3, **o),
    "wave": lambda **o: WaveRNN(2, 6, operator="uniform", backend="reference", **o),
}


def hidden(state):
    return state[0] if isinstance(state, tuple) else state


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("batch_first", [False, True])
def test_all_are_called_alike(kind, batch_first):
    net = KINDS[kind](batch_first=batch_first)
    x = normal(5, 3, 2).float()
    given = x.transpose(0, 1) if batch_first else x
    output, state = net(given)
    output = output.transpose(0, 1) if batch_first else output
    assert output.shape == (5, 3, net.output_size)
    assert net.output_size % net.channels == 0
    torch.testing.assert_close(hidden(state)[0], output[-1])

    short, last = net(given, return_sequence=False)
    assert (short.transpose(0, 1) if batch_first else short).shape == (1, 3, net.output_size)
    torch.testing.assert_close(hidden(last), hidden(state))

    first, middle = net(given[:, :2] if batch_first else given[:2])
    second, _ = net(given[:, 2:] if batch_first else given[2:], middle)
    torch.testing.assert_close(torch.cat([first, second], 1 if batch_first else 0), net(given)[0])

    alone, _ = net(x[:, 1])
    torch.testing.assert_close(alone, output[:, 1])
    assert net(x[:, 1], return_sequence=False)[0].shape == (1, net.output_size)


@pytest.mark.parametrize("kind", KINDS)
def test_all_take_packed_sequences(kind):
    net = KINDS[kind]()
    sequences = [normal(length, 2, seed=length).float() for length in (2, 5, 3)]
    packed = pack_sequence(sequences, enforce_sorted=False)
    padded, lengths = pad_packed_sequence(net(packed)[0])
    only_last, one = pad_packed_sequence(net(packed, return_sequence=False)[0])
    assert lengths.tolist() == [2, 5, 3]
    assert one.tolist() == [1, 1, 1]
    for i, sequence in enumerate(sequences):
        alone, state = net(sequence)
        torch.testing.assert_close(padded[: lengths[i], i], alone)
        torch.testing.assert_close(only_last[0, i], hidden(state)[0])


@pytest.mark.parametrize("kind", KINDS)
def test_all_refuse_an_empty_sequence_and_take_an_empty_batch(kind):
    with pytest.raises(ValueError, match="at least one time step"):
        KINDS[kind]()(torch.zeros(0, 3, 2))
    output, _ = KINDS[kind]()(torch.zeros(4, 0, 2))
    assert output.shape == (4, 0, 6)


@pytest.mark.parametrize("kind", ["identity", "lstm", "gru", "local", "wave"])
def test_a_generator_decides_every_draw(kind):
    more = {"encoder": "gaussian"} if kind in ("identity", "local", "wave") else {}
    nets = [KINDS[kind](generator=torch.Generator().manual_seed(seed), **more) for seed in (0, 0, 1)]
    weights = [torch.cat([p.detach().flatten() for p in net.parameters()]) for net in nets]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


@pytest.mark.parametrize("kind", [IdentityRNN, LSTM, GRU])
@pytest.mark.parametrize(
    ("options", "advice"),
    [({"num_layers": 2}, "stack modules"), ({"dropout": 0.5}, "Dropout"), ({"bidirectional": True}, "flip")],
)
def test_layers_are_refused_with_advice(kind, options, advice):
    with pytest.raises(ValueError, match=advice):
        kind(2, 6, **options)


# ---- identity RNN -------------------------------------------------------------------------------------------------


def test_identity_rnn_starts_as_a_static_bump_and_the_shifted_one_as_a_wave():
    pulse = torch.zeros(4, 1)
    pulse[0] = 1.0
    static = IdentityRNN(1, 5, encoder="sparse")(pulse)[0]
    moving = IdentityRNN(1, 5, encoder="sparse", recurrence="shift")(pulse)[0]
    for t in range(4):
        assert torch.equal(static[t], torch.eye(5)[0])
        assert torch.equal(moving[t], torch.eye(5)[-t % 5])


def test_shifted_identity_rnn_equals_a_wave_rnn_of_one_channel():
    dense = IdentityRNN(2, 9, recurrence="shift", encoder="sparse", dtype=torch.float64)
    wave = WaveRNN(2, 9, dtype=torch.float64, backend="reference")
    x = normal(20, 3, 2)
    torch.testing.assert_close(dense(x)[0], wave(x)[0])


@pytest.mark.parametrize(
    ("bias", "of_encoder", "of_recurrence"), [("clean", 0, 0), ("reference", 0.5, 0), ("none", None, None)]
)
def test_identity_rnn_has_the_biases_asked_for(bias, of_encoder, of_recurrence):
    net = IdentityRNN(4, 400, bias=bias, generator=torch.Generator().manual_seed(0))
    if bias == "none":
        assert not [name for name, _ in net.named_parameters() if "bias" in name]
        return
    assert net.bias_ih_l0.abs().max().item() == pytest.approx(of_encoder, abs=0.01)
    assert net.bias_hh_l0.abs().max().item() == of_recurrence
    assert net.bias_hh_l0.requires_grad == (bias == "reference")


def test_random_identity_rnn_has_a_random_second_bias_too():
    net = IdentityRNN(4, 400, bias="reference", recurrence="uniform", generator=torch.Generator().manual_seed(0))
    assert 0.048 < net.bias_hh_l0.abs().max() <= 0.05
    assert 0.0499 < net.weight_hh_l0.abs().max() <= 0.05


def test_frozen_identity_rnn_leaves_nothing_to_train():
    net = IdentityRNN(2, 5, bias="reference", freeze_encoder=True, freeze_recurrence=True)
    assert not any(parameter.requires_grad for parameter in net.parameters())
    net = IdentityRNN(2, 5, freeze_recurrence=True)
    assert {n for n, p in net.named_parameters() if p.requires_grad} == {"weight_ih_l0", "bias_ih_l0"}


# ---- LSTM, GRU ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("ours", "theirs"), [(LSTM, nn.LSTM), (GRU, nn.GRU)])
def test_gated_networks_are_those_of_pytorch(ours, theirs):
    net, other = ours(2, 6), theirs(2, 6)
    other.load_state_dict(net.state_dict())
    x = normal(5, 3, 2).float()
    torch.testing.assert_close(net(x)[0], other(x)[0], rtol=0, atol=0)
    bound = 1 / np.sqrt(6)
    drawn = ours(2, 6, generator=torch.Generator().manual_seed(0)).weight_hh_l0
    assert 0.9 * bound < drawn.abs().max() <= bound


# ---- locally connected --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("channels", "kernel_size"), [(1, 3), (3, 3), (2, 5)])
def test_locally_connected_network_with_equal_kernels_is_a_wave_rnn(channels, kernel_size):
    size = {"channels": channels, "kernel_size": kernel_size, "dtype": torch.float64, "nonlinearity": "tanh"}
    wave = WaveRNN(2, 9, operator="uniform", encoder="uniform", backend="reference", **size)
    local = LocallyConnectedRNN(2, 9, **size)
    with torch.no_grad():
        wave.bias.copy_(normal(channels, 9))
        local.kernel.copy_(wave.kernel[..., None])
        local.encoder.copy_(wave.encoder)
        local.bias.copy_(wave.bias)
    x, h0 = normal(6, 4, 2), normal(1, 4, 9 * channels, seed=2)
    torch.testing.assert_close(local(x, h0)[0], wave(x, h0)[0])


def test_locally_connected_kernels_belong_to_their_position():
    local = LocallyConnectedRNN(1, 9, operator="identity", dtype=torch.float64)
    x, h0 = torch.zeros(1, 1, 1, dtype=torch.float64), normal(1, 1, 9).abs()
    before = local(x, h0)[0]
    with torch.no_grad():
        local.kernel[0, 0, 2, 4] = 1.0  # unit 4 now also listens to unit 5
    after = local(x, h0)[0]
    changed = (after != before).nonzero()[:, -1].tolist()
    assert changed == [4]
    torch.testing.assert_close(after[0, 0, 4], h0[0, 0, 4] + h0[0, 0, 5])


# ---- tape ---------------------------------------------------------------------------------------------------------


def test_linear_readout_of_the_tape_is_a_linear_map_of_the_flattened_input():
    steps, inputs = 7, 3
    tape = Tape(inputs, steps)
    model = SequenceModel(tape, linear_readout(tape.output_size, 4)).double()
    x = normal(steps, 5, inputs)
    weight = model.readout.weight.view(4, inputs, steps).flip(2)  # by (input, time)
    expected = torch.einsum("tbi,oit->bo", x, weight) + model.readout.bias
    torch.testing.assert_close(model(x), expected)


def test_tape_is_the_open_line_without_a_weight():
    tape = Tape(2, 6)
    line = WaveRNN.from_operator(wf.transport(1.0, boundary="open"), 6, 2, dtype=torch.float64)
    x, h0 = normal(10, 3, 2), normal(1, 3, 12, seed=2)
    torch.testing.assert_close(tape(x, h0)[0], line(x, h0)[0], rtol=0, atol=0)
    assert not list(tape.parameters())


# ---- counts of the papers' tables ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("task", "inputs", "size", "outputs", "without_biases"),
    [
        ("copy", 10, 100, 10, 12_000),
        ("copy", 10, 625, 10, 403_125),
        ("adding", 2, 100, 1, 10_300),
        ("sMNIST", 1, 256, 10, 68_352),
        ("nsCIFAR10", 96, 529, 10, 335_915),
    ],
)
def test_identity_rnn_has_the_parameters_of_the_paper(task, inputs, size, outputs, without_biases):
    model = SequenceModel(IdentityRNN(inputs, size), linear_readout(size, outputs))
    assert count_parameters(model, biases=False) == without_biases


@pytest.mark.parametrize(
    ("kind", "inputs", "size", "thousands"),
    [(LSTM, 1, 256, 267), (GRU, 1, 256, 201), (LSTM, 96, 128, 116), (GRU, 96, 128, 88)],
)
def test_gated_networks_have_the_parameters_of_the_paper_with_one_bias_per_gate(kind, inputs, size, thousands):
    """PyTorch's modules have two biases that add; the papers count one."""
    net = kind(inputs, size)
    both = count_parameters(SequenceModel(net, linear_readout(size, 10)))
    assert round((both - net.bias_hh_l0.numel()) / 1000) == thousands


def test_published_tape_has_7850_parameters():
    tape = Tape(1, 784)
    assert count_parameters(SequenceModel(tape, linear_readout(tape.output_size, 10))) == 7850
