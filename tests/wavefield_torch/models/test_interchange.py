"""Weights in the published layout: a cell of plain PyTorch modules and ours agree step by step."""

import pytest
import torch
from torch import nn

from wavefield_torch.models.baselines import LSTM, IdentityRNN
from wavefield_torch.models.published import from_reference, to_reference
from wavefield_torch.models.readout import SequenceModel, linear_readout, mlp_readout
from wavefield_torch.models.wave_rnn import WaveRNN


class Cell(nn.Module):
    """h' = σ(Wx x + Wy h) with Wy a circular convolution over C rings, or a dense matrix."""

    def __init__(self, inputs, size, channels, width, activation, dense):
        super().__init__()
        self.shape = (-1, size * channels) if dense else (-1, channels, size)
        self.activation = activation
        self.Wx = nn.Linear(inputs, size * channels)
        if dense:
            self.Wy = nn.Linear(size * channels, size * channels)
        else:
            self.Wy = nn.Conv1d(channels, channels, width, padding=width // 2, padding_mode="circular")

    def forward(self, x, h):
        return self.activation(self.Wx(x) + self.Wy(h.view(self.shape)).flatten(1))


class Published(nn.Module):
    def __init__(self, inputs, size, channels, outputs, *, width=3, activation=torch.relu, dense=False, mlp=False):
        super().__init__()
        units = size * channels
        self.units = units
        self.cell = Cell(inputs, size, channels, width, activation, dense)
        self.readout = nn.Linear(units, outputs)
        if mlp:
            self.readout = nn.Sequential(nn.Linear(units, 100), nn.ReLU(), nn.Linear(100, outputs))

    def forward(self, x):
        """Every state and its readout."""
        h, states = x.new_zeros(x.shape[1], self.units), []
        for x_t in x:
            h = self.cell(x_t, h)
            states.append(h)
        states = torch.stack(states)
        return states, self.readout(states)


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


@pytest.mark.parametrize("mlp", [False, True])
@pytest.mark.parametrize(
    ("channels", "width", "activation", "name", "dense"),
    [
        (1, 3, torch.relu, "relu", False),
        (6, 3, torch.relu, "relu", False),
        (3, 5, torch.tanh, "tanh", False),
        (1, 3, torch.relu, "relu", True),
        (1, 3, torch.tanh, "tanh", True),
    ],
)
def test_published_state_dict_gives_the_published_states_and_outputs(channels, width, activation, name, dense, mlp):
    published = Published(2, 10, channels, 4, width=width, activation=activation, dense=dense, mlp=mlp).double()
    plain = {} if dense else {"backend": "reference"}
    model = from_reference(published.state_dict(), nonlinearity=name, every_step=True, **plain)
    x = torch.randn(12, 3, 2, dtype=torch.float64)
    states, outputs = published(x)
    ours, _ = model.recurrence(x)
    for t in range(12):
        torch.testing.assert_close(ours[t], states[t], rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(model(x), outputs, rtol=1e-12, atol=1e-12)
    last = from_reference(published.state_dict(), nonlinearity=name, **plain)
    torch.testing.assert_close(last(x), outputs[-1], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("channels", "dense"), [(3, False), (1, True)])
def test_weights_come_back_in_the_published_layout(channels, dense):
    state = Published(2, 10, channels, 4, dense=dense, mlp=True).state_dict()
    back = to_reference(from_reference(state))
    assert list(back) == list(state)
    assert all(torch.equal(back[key], state[key]) for key in state)


@pytest.mark.parametrize("bias", [True, False, "reference"])
@pytest.mark.parametrize("kind", [WaveRNN, IdentityRNN])
def test_our_models_run_in_the_published_cell(kind, bias):
    plain = {"backend": "reference"} if kind is WaveRNN else {}
    net = kind(2, 9, bias=bias, encoder="gaussian", dtype=torch.float64, **plain)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.1)
    model = SequenceModel(net, linear_readout(9, 3).double())
    published = Published(2, 9, 1, 3, dense=kind is IdentityRNN).double()
    published.load_state_dict(to_reference(model))
    x = torch.randn(5, 4, 2, dtype=torch.float64)
    torch.testing.assert_close(published(x)[0], net(x)[0])
    torch.testing.assert_close(published(x)[1][-1], model(x))


def test_options_reach_the_recurrence():
    model = from_reference(
        Published(2, 8, 2, 4).state_dict(), batch_first=True, freeze_encoder=True, backend="reference"
    )
    assert model.recurrence.batch_first
    assert not model.recurrence.encoder.requires_grad
    assert model(torch.zeros(3, 5, 2)).shape == (3, 4)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda s: s.pop("cell.Wy.bias"), "missing cell.Wy.bias"),
        (lambda s: s.update({"cell.Wz.weight": torch.zeros(1)}), "unknown cell.Wz.weight"),
        (lambda s: s.update({"cell.Wy.weight": torch.zeros(3, 3, 4)}), "K odd"),
        (lambda s: s.update({"cell.Wy.weight": torch.zeros(7, 7, 3)}), "C dividing H"),
        (lambda s: s.update({"cell.Wx.bias": torch.zeros(7)}), "cell.Wx must have"),
        (lambda s: s.update({"cell.Wy.bias": torch.zeros(7)}), "cell.Wy.bias"),
        (lambda s: s.update({"readout.weight": torch.zeros(4, 7)}), "readout must take 30 units"),
    ],
)
def test_other_layouts_are_refused_by_name(change, text):
    state = dict(Published(2, 10, 3, 4).state_dict())
    change(state)
    with pytest.raises(ValueError, match=text):
        from_reference(state)


def test_models_without_a_published_layout_are_refused():
    with pytest.raises(TypeError, match="LSTM"):
        to_reference(SequenceModel(LSTM(2, 8), linear_readout(8, 3)))
    with pytest.raises(TypeError, match="readout"):
        to_reference(SequenceModel(WaveRNN(2, 8), nn.Sequential(mlp_readout(8, 3), nn.ReLU())))
