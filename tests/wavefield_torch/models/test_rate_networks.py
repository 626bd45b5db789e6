"""What trainers of firing rates expect: a leak, noise of the state, and an initial state that is trained."""

import pytest
import torch
from torch import nn
from torch.nn import functional

import wavefield as wf
from wavefield_torch import (
    GRU,
    LSTM,
    IdentityRNN,
    LocallyConnectedRNN,
    SequenceModel,
    WaveRNN,
    WaveRNNCell,
    linear_readout,
    record,
    wave_scan,
)
from wavefield_torch.models.published import to_reference

LEAKY = [WaveRNN, LocallyConnectedRNN]


def normal(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("nonlinearity", ["relu", "tanh"])
@pytest.mark.parametrize("kind", LEAKY)
def test_a_leak_keeps_a_share_of_the_state(kind, nonlinearity):
    """h[t+1] = (1 − α) h[t] + α σ(…), the Euler step of τ dh/dt = −h + σ(…) at α = dt/τ."""
    alpha, x, state = 0.3, normal(6, 3, 2), normal(1, 3, 16)
    net = kind(2, 8, channels=2, leak=alpha, nonlinearity=nonlinearity, encoder="uniform")
    kernel = net.kernel if net.kernel.dim() == 3 else net.kernel[..., 0]
    h = state.view(3, 2, 8)
    for t, found in enumerate(net(x, state)[0]):
        moved = functional.conv1d(functional.pad(h, (1, 1), mode="circular"), kernel)
        drive = (x[t] @ net.encoder.flatten(0, 1).T).view(h.shape) + net.bias
        h = (1 - alpha) * h + alpha * getattr(torch, nonlinearity)(moved + drive)
        torch.testing.assert_close(found.view(h.shape), h)


@pytest.mark.parametrize("kind", LEAKY)
def test_noise_of_a_leaky_unit_has_the_variance_of_the_ornstein_uhlenbeck_process(kind):
    """Of h' = (1 − α) h + α s ξ: s² α/(2 − α)."""
    alpha, deviation = 0.5, 0.8
    net = kind(1, 200, leak=alpha, noise=deviation, nonlinearity="identity")
    nn.init.zeros_(net.kernel)
    torch.manual_seed(0)
    with torch.no_grad():
        states = net(torch.zeros(200, 10, 1))[0][20:]
    assert states.var() == pytest.approx(deviation**2 * alpha / (2 - alpha), rel=0.02)
    near = torch.corrcoef(torch.stack([states[1:].flatten(), states[:-1].flatten()]))[0, 1]
    assert near == pytest.approx(1 - alpha, abs=0.01)


@pytest.mark.parametrize("make", [*LEAKY, WaveRNNCell])
def test_noise_is_drawn_from_the_seed_of_torch_and_in_training_only(make):
    net, x = make(2, 8, noise=0.5), normal(3, 2) if make is WaveRNNCell else normal(4, 3, 2)

    def run(seed):
        torch.manual_seed(seed)
        result = net(x)
        return result if isinstance(result, torch.Tensor) else result[0]

    assert torch.equal(run(1), run(1))
    assert not torch.equal(run(1), run(2))
    net.eval()
    assert torch.equal(run(1), run(2))
    quiet = make(2, 8)
    quiet.load_state_dict(net.state_dict())
    expected = quiet(x)
    assert torch.equal(run(1), expected if make is WaveRNNCell else expected[0])


def test_noise_of_the_operator_is_an_argument_like_any_other():
    x, encoder, kernel, noise = normal(5, 3, 2), normal(2, 8, 2), normal(2, 2, 3) / 3, normal(5, 3, 2, 8)
    noise.requires_grad_()
    lengths = torch.tensor([5, 2, 3])
    h = wave_scan(x, encoder, kernel, None, noise=noise, nonlinearity="tanh", lengths=lengths)
    (gradient,) = torch.autograd.grad(h.sum(), noise)
    assert not gradient[2:, 1].any()
    assert gradient[:2, 1].any()
    with pytest.raises(ValueError, match=r"noise must be torch.float32 of shape \(5, 3, 2, 8\)"):
        wave_scan(x, encoder, kernel, None, noise=noise[1:])


@pytest.mark.parametrize("kind", [WaveRNN, LocallyConnectedRNN, IdentityRNN, LSTM, GRU])
def test_the_initial_state_is_trained_where_none_is_given(kind):
    net, x = kind(2, 5, trainable_initial_state=True), normal(4, 3, 2)
    assert net.initial_state.shape[-1] == 5
    assert not net.initial_state.any()
    plain = kind(2, 5)
    plain.load_state_dict({name: value for name, value in net.state_dict().items() if name != "initial_state"})
    torch.testing.assert_close(net(x)[0], plain(x)[0])
    nn.init.normal_(net.initial_state)
    before = net.initial_state.view(-1, 1, 5).expand(-1, 3, 5).contiguous()
    given = tuple(before.split(1)) if kind is LSTM else before
    torch.testing.assert_close(net(x)[0], plain(x, given)[0])
    torch.testing.assert_close(net(x, given)[0], plain(x, given)[0])
    assert net(x[:, 0])[0].shape == (4, 5)
    packed, _ = net(nn.utils.rnn.pack_sequence([x[:, 0], x[:2, 1]]))
    torch.testing.assert_close(packed.data[0], net(x)[0][0, 0])
    net(x)[0].square().sum().backward()
    assert net.initial_state.grad.any()


def test_layers_and_directions_have_initial_states_of_their_own():
    net = WaveRNN(2, 5, num_layers=2, bidirectional=True, batch_first=True, trainable_initial_state=True)
    found = [value for name, value in net.named_parameters() if name.endswith("initial_state")]
    for parameter in found:
        nn.init.normal_(parameter)
    assert len(found) == 4
    x = normal(3, 4, 2)
    given = torch.stack([value.view(1, 5).expand(3, 5) for value in found])
    torch.testing.assert_close(net(x)[0], net(x, given)[0])
    net.reset_parameters()
    assert not any(value.any() for value in found)


def test_what_reads_out_inside_the_recurrence_knows_leak_noise_and_start():
    for options in ({"leak": 0.4}, {"noise": 0.3}, {"trainable_initial_state": True}):
        net = WaveRNN(2, 8, **options)
        model, x = SequenceModel(net, linear_readout(8, 3), every_step=True), normal(6, 3, 2)
        if net.initial_state is not None:
            nn.init.normal_(net.initial_state)
        torch.manual_seed(0)
        found = model(x)
        torch.manual_seed(0)
        torch.testing.assert_close(found, model.readout(net(x)[0]))


def test_the_operator_of_a_leaky_network_keeps_what_leaks_and_its_wave_slows_down():
    op = WaveRNN(1, 64, leak=0.25).to_operator()
    assert op.kernel.tolist() == [[[0.0, 0.75, 0.25]]]
    assert op.courant.tolist() == [-0.25]


def test_a_leaky_line_with_a_driven_end_is_the_line_of_its_operator():
    row = torch.tensor([[[0.5, 0.0, 1.0, 0.2, 0.1]]]).numpy()
    op = wf.WaveOperator(wf.transport(-1).kernel, boundary="open", boundary_row=row)
    net, state = WaveRNN.from_operator(op, 5, 1), normal(1, 2, 5)
    net.leak = 0.3
    again = WaveRNN.from_operator(net.to_operator(), 5, 1)
    torch.testing.assert_close(again(torch.zeros(4, 2, 1), state)[0], net(torch.zeros(4, 2, 1), state)[0])


def test_what_cannot_say_a_leak_or_a_start_refuses_it_or_leaves_it_out():
    net = WaveRNN(1, 8, leak=0.5)
    with pytest.raises(TypeError, match="no layout"):
        to_reference(SequenceModel(net, linear_readout(8, 2)))
    assert "kernel" not in record(net, normal(4, 2, 1))
    assert "kernel" in record(WaveRNN(1, 8), normal(4, 2, 1))
    with pytest.raises(ValueError, match="leak must be 1"):
        WaveRNN.from_operator(wf.transport(1), 8, 1, leak=0.5)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"leak": 0}, "leak must be above 0 and at most 1, got 0"),
        ({"leak": 1.5}, "leak must be above 0 and at most 1"),
        ({"noise": -1}, "noise must be a standard deviation, 0 or more, got -1"),
        ({"noise": float("nan")}, "noise must be a standard deviation"),
    ],
)
def test_impossible_options_are_named(options, text):
    for kind in (*LEAKY, WaveRNNCell):
        with pytest.raises(ValueError, match=text):
            kind(2, 8, **options)


def test_a_fused_backend_asked_for_by_name_refuses_them():
    for options in ({"leak": 0.5}, {"noise": 0.5}):
        with pytest.raises(ValueError, match="backend 'cpu' has neither leak nor noise"):
            WaveRNN(2, 8, backend="cpu", **options)(normal(5, 3, 2))


def test_rate_networks_compile_without_a_graph_break():
    net = WaveRNN(2, 8, leak=0.5, noise=0.1, trainable_initial_state=True)
    compiled, x = torch.compile(net, backend="eager", fullgraph=True), normal(5, 3, 2)
    torch.manual_seed(0)
    expected = net(x)[0]
    torch.manual_seed(0)
    torch.testing.assert_close(compiled(x)[0], expected)
