"""A recurrence with its readout is the one called after the other, whatever the two have been made into."""

import warnings

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, prune

from wavefield_torch import SequenceModel, WaveRNN, linear_readout


class Scaled(nn.Linear):
    def forward(self, input):
        return 10 * super().forward(input)


class Halved(WaveRNN):
    def forward(self, *args, **options):
        output, last = super().forward(*args, **options)
        return output / 2, last


def normed(readout, norm):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # the norms that are made of hooks are PyTorch's older ones
        return norm(readout)


READOUTS = {
    "plain": lambda features: linear_readout(features, 5),
    "of another class": lambda features: Scaled(features, 5),
    "weight norm of hooks": lambda features: normed(linear_readout(features, 5), nn.utils.weight_norm),
    "weight norm": lambda features: parametrizations.weight_norm(linear_readout(features, 5)),
    "pruned": lambda features: prune.l1_unstructured(linear_readout(features, 5), "weight", amount=0.5),
}


@pytest.mark.parametrize("network", [WaveRNN, Halved])
@pytest.mark.parametrize("kind", READOUTS)
def test_every_step_is_read_by_the_readout_as_it_is(kind, network):
    generator = torch.Generator().manual_seed(0)
    net = network(3, 16, channels=2, generator=generator).double()
    model = SequenceModel(net, READOUTS[kind](32).double(), every_step=True)
    x = torch.randn(6, 4, 3, generator=generator, dtype=torch.double)
    for _ in range(2):  # with changed parameters too
        torch.testing.assert_close(model(x), model.readout(net(x)[0]), rtol=0, atol=1e-12)
        model(x).sum().backward()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter *= 1.5


@pytest.mark.parametrize("part", ["recurrence", "readout"])
@pytest.mark.parametrize(
    "register", ["register_forward_hook", "register_forward_pre_hook", "register_full_backward_hook"]
)
def test_hooks_on_either_part_are_called(part, register):
    model = SequenceModel(WaveRNN(3, 16), linear_readout(16, 5), every_step=True)
    calls = []
    handle = getattr(getattr(model, part), register)(lambda *given: calls.append(part))
    x = torch.ones(4, 2, 3, requires_grad=True)
    watched = model(x)
    watched.sum().backward()
    assert calls
    handle.remove()
    calls.clear()
    torch.testing.assert_close(model(x), watched)
    assert not calls
