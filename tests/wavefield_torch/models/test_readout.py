"""A recurrence with its readout is the one called after the other, whatever the two have been made into."""

import warnings

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, prune

from wavefield_torch import IdentityRNN, SequenceModel, WaveRNN, linear_readout, linearised, precise_logits


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


def test_a_forward_replaced_on_the_object_is_called():
    x = torch.ones(6, 4, 3)
    for every_step in (True, False):
        model = SequenceModel(WaveRNN(3, 16), linear_readout(16, 5), every_step=every_step)
        original = model.recurrence.forward
        model.recurrence.forward = lambda *a, original=original, **o: tuple(0 * part for part in original(*a, **o))
        torch.testing.assert_close(model(x), model.readout.bias.expand_as(model(x)), rtol=0, atol=0)
        model = SequenceModel(WaveRNN(3, 16), linear_readout(16, 5), every_step=every_step)
        model.readout.forward = lambda h: h[..., :5]
        output, last = model.recurrence(x)
        torch.testing.assert_close(model(x), output[..., :5] if every_step else last[0, :, :5])


def test_hooks_on_all_modules_are_called():
    model, seen = SequenceModel(WaveRNN(3, 16), linear_readout(16, 5), every_step=True), []
    handle = nn.modules.module.register_module_forward_hook(lambda module, *_: seen.append(type(module)))
    try:
        model(torch.ones(6, 4, 3))
    finally:
        handle.remove()
    assert seen == [WaveRNN, nn.Linear, SequenceModel]


@pytest.mark.parametrize("change", ["forward", "hook", "class"])
def test_precise_logits_and_linearisation_read_out_as_the_model_does(change):
    readout = Scaled(8, 2) if change == "class" else linear_readout(8, 2)
    model = SequenceModel(IdentityRNN(3, 8, nonlinearity="tanh", bias=False), readout, every_step=True)
    weight = 10 * readout.weight if change == "class" else 3 * readout.weight
    if change == "forward":
        readout.forward = lambda h: 3 * nn.functional.linear(h, readout.weight.to(h.dtype), readout.bias.to(h.dtype))
    if change == "hook":
        readout.register_forward_hook(lambda module, given, result: 3 * result)
    x = torch.randn(5, 4, 3, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(precise_logits(model, x).float(), model(x))
    torch.testing.assert_close(torch.from_numpy(linearised(model).weight_out), weight.detach().double())
