import numpy as np
import pytest
import torch
from scipy.stats import norm
from torch import nn

import analysis
import wavefield as wf
from wavefield_torch import (
    AttentionEnd,
    LinearEnd,
    MLPEnd,
    SequenceModel,
    TravellingMemory,
    linearised,
    open_line,
    record,
)

D, S = 3, 7


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def rand(*shape, seed=0):
    return torch.randn(shape, generator=seeded(seed), dtype=torch.double)


class OwnEnd(nn.Module):
    """A user's end: a product of the newest and the oldest state."""

    def __init__(self):
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(0.7))

    def forward(self, history):
        return torch.sin(self.gain * history[..., 0, :] * history[..., -1, :])


def ends(length=S):
    attention = {"heads": 2, "head_size": 5, "generator": seeded(1)}
    return {
        "linear": LinearEnd(D, length, bias=True, generator=seeded(1)),
        "attention": AttentionEnd(D, length, **attention),
        "attention, fixed": AttentionEnd(D, length, positions="fixed", bias=True, **attention),
        "attention, none": AttentionEnd(D, length, positions="none", **attention),
        "block": AttentionEnd(D, length, hidden=8, **attention),
        "mlp": MLPEnd(D, length, hidden=9, generator=seeded(1)),
        "own": OwnEnd(),
    }


def memory(end, length=S, **options):
    net = TravellingMemory(D, length, boundary=end, dtype=torch.double, **options)
    with torch.no_grad():  # where positions and biases are zero at first, they would hide a wrong slot
        for i, parameter in enumerate(net.parameters()):
            parameter += 0.3 * rand(*parameter.shape, seed=i)
    return net


def held_to(net, states, x, h0):
    """What the end computes while it is held to `states`, one step after the other."""
    field, computed = h0, []
    for t in range(len(states)):
        _, after = net(x[t : t + 1], field)
        computed.append(net.newest(after[0]))
        field = after.unflatten(-1, (D, net.hidden_size)).clone()
        field[..., -1] = states[t]
        field = field.flatten(-2)
    return torch.stack(computed)


TRAVELS = {"shift": None, "mixing": [0.1, 0.25, 0.6], "fading": [0.0, 0.0, 0.9]}


@pytest.mark.parametrize("travel", TRAVELS)
@pytest.mark.parametrize("entry", ["add", "replace"])
@pytest.mark.parametrize("name", ends())
def test_all_steps_at_once_are_the_steps_one_by_one_with_their_gradients(name, entry, travel):
    net = memory(ends()[name], entry=entry, travel=TRAVELS[travel])
    states, x, h0 = rand(20, 4, D, seed=2), rand(20, 4, D, seed=3), rand(1, 4, D * S, seed=4)
    x[10:, ::2] = 0.0
    found, weight = [], rand(20, 4, D, seed=5)
    for way in (lambda s, x, h: net.parallel(s, x, h), lambda s, x, h: held_to(net, s, x, h)):
        leaves = [given.clone().requires_grad_() for given in (states, x, h0)]
        computed = way(*leaves)
        gradients = torch.autograd.grad((weight * computed).sum(), [*leaves, *net.parameters()])
        found.append([computed, *gradients])
    for at_once, by_steps in zip(*found, strict=True):
        torch.testing.assert_close(at_once, by_steps, rtol=0, atol=1e-12)


@pytest.mark.parametrize("steps", [1, 2, 63, 64, 65, 200])
@pytest.mark.parametrize("length", [1, 2, 64, 70])
def test_windowed_attention_is_the_same_at_any_length(steps, length):
    net = memory(AttentionEnd(D, length, heads=2, generator=seeded(1)), length)
    h0 = rand(1, 2, D * length, seed=4)
    output, _ = net(torch.zeros(steps, 2, D, dtype=torch.double), h0)
    alone = net.newest(output)
    torch.testing.assert_close(net.parallel(alone, h0=h0), alone, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", ends())
def test_a_run_of_its_own_is_given_back_by_all_steps_at_once(name):
    net, x = memory(ends()[name]), rand(30, 2, D)
    alone = net.newest(net(x)[0])
    torch.testing.assert_close(net.parallel(alone, x), alone, rtol=0, atol=1e-12)
    first = TravellingMemory(D, S, boundary=net.boundary, batch_first=True, dtype=torch.double)
    first.load_state_dict(net.state_dict())
    torch.testing.assert_close(first(x.transpose(0, 1))[0].transpose(0, 1), net(x)[0], rtol=0, atol=0)
    swapped = first.parallel(alone.transpose(0, 1), x.transpose(0, 1)).transpose(0, 1)
    torch.testing.assert_close(swapped, alone, rtol=0, atol=1e-12)


@pytest.mark.parametrize("travel", TRAVELS)
def test_a_linear_end_is_the_open_line(travel):
    line = open_line(D, S, nonlinearity="identity").double().recurrence
    net = memory(LinearEnd(D, S, generator=seeded(1)), travel=TRAVELS[travel])
    with torch.no_grad():
        line.kernel.copy_(net.travel)
        line.boundary_row.copy_(net.boundary.weight.permute(1, 2, 0))
        line.encoder[..., -1, :] = net.encoder
    x, h0 = rand(40, 2, D), rand(1, 2, D * S, seed=1)
    for one, other in zip(net(x, h0), line(x, h0), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("task", ["T1", "T2", "T3", "T4"])
def test_a_linear_end_with_the_weights_of_a_system_is_the_system(task):
    system = wf.history.task(task)
    net = TravellingMemory(8, 8, entry="replace", dtype=torch.double)
    with torch.no_grad():
        net.boundary.weight.copy_(torch.tensor(system.weights))
    first = rand(8, 8)
    output, _ = net(torch.cat([first, torch.zeros(50, 8, dtype=torch.double)]))
    expected = wf.history.simulate(system, first.numpy(), steps=50, save_initial=True).activity
    np.testing.assert_array_equal(output.detach().unflatten(-1, (8, 8))[7:], expected)


def test_an_attention_end_is_the_attention_system_of_the_theory():
    key, query, value = np.random.default_rng(0).normal(size=(3, 4, 4))
    system = wf.history.attention(key, query, value, length=6)
    end = AttentionEnd(4, 6, positions="none", scale=1.0)
    net = TravellingMemory(4, 6, boundary=end, dtype=torch.double)
    with torch.no_grad():
        for layer, weight in ((end.key, key), (end.query, query), (end.value, value), (end.output, np.eye(4))):
            layer.weight.copy_(torch.tensor(weight))
    initial = np.random.default_rng(1).normal(size=(2, 6, 4))
    expected = wf.history.simulate(system, initial, steps=100).activity
    h0 = torch.tensor(initial.swapaxes(1, 2).reshape(1, 2, 24))
    output, _ = net(torch.zeros(100, 2, 4, dtype=torch.double), h0)
    ours = output.detach().unflatten(-1, (4, 6)).transpose(0, 1)
    np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-12 * np.abs(expected).max())


@pytest.mark.parametrize(("positions", "hidden"), [("learned", 0), ("fixed", 0), ("fixed", 6), ("none", 6)])
def test_an_attention_end_is_the_formula_of_its_docstring(positions, hidden):
    heads, m = 2, 5
    end = AttentionEnd(D, S, heads=heads, head_size=m, positions=positions, hidden=hidden, generator=seeded(3)).double()
    if positions == "learned":
        end.position.data = rand(heads, S, seed=4)
    history = rand(1, S, D, seed=5)[0].numpy()
    weights = {key: value.detach().numpy() for key, value in end.named_parameters()}
    joined = []
    for a in range(heads):
        rows = slice(a * m, (a + 1) * m)
        query, key, value = (weights[f"{name}.weight"][rows] for name in ("query", "key", "value"))
        score = (history @ key.T) @ (query @ history[-1]) / np.sqrt(m)
        if positions == "fixed":  # ALiBi: the oldest of S slots has the age S − 1
            score = score - 2.0 ** (-8 * (a + 1) / heads) * np.arange(S - 1, -1, -1)
        elif positions == "learned":
            score = score + weights["position"][a]
        share = np.exp(score - score.max())
        joined.append(share @ (history @ value.T) / share.sum())
    joined = np.concatenate(joined)
    expected = weights["output.weight"] @ joined
    if hidden:
        inner = weights["feedforward.0.weight"] @ joined + weights["feedforward.0.bias"]
        gelu = inner * norm.cdf(inner)
        expected = expected + weights["feedforward.2.weight"] @ gelu + weights["feedforward.2.bias"]
    np.testing.assert_allclose(end(torch.tensor(history)).detach(), expected, atol=1e-12)


def test_first_weights_are_uniform_up_to_one_over_the_root_of_the_inputs():
    end = AttentionEnd(25, 4, heads=4, head_size=16, hidden=100, bias=True, generator=seeded())
    layers = {"query": 25, "key": 25, "value": 25, "output": 64, "feedforward.0": 64, "feedforward.2": 100}
    for name, inputs in layers.items():
        weight = end.get_parameter(f"{name}.weight")
        assert 0.97 / inputs**0.5 < weight.abs().max() <= 1 / inputs**0.5, name
        assert weight.std().item() == pytest.approx((3 * inputs) ** -0.5, rel=0.05), name
    assert not any(p.any() for key, p in end.named_parameters() if key.endswith("bias"))
    linear, mlp = LinearEnd(5, 20, generator=seeded()), MLPEnd(5, 20, hidden=64, generator=seeded())
    assert 0.097 < linear.weight.abs().max() <= 0.1  # of 100 inputs
    assert sorted(round(p.detach().abs().max().item(), 2) for p in mlp.parameters() if p.dim() == 2) == [0.1, 0.12]
    net = TravellingMemory(2, 3, input_size=5)
    assert net.encoder.tolist() == [[1, 0, 1, 0, 1], [0, 1, 0, 1, 0]]


def test_of_entries_that_replace_only_a_state_of_zeros_lets_the_end_continue():
    net = TravellingMemory(2, 3, boundary=LinearEnd(2, 3, generator=seeded()), entry="replace")
    h0 = torch.rand(1, 3, 6)
    x = torch.tensor([[[0.5, 0.0], [0.0, 0.0], [0.0, -2.0]]])
    after = net.newest(net(x, h0)[1][0])
    alone = net.newest(net(torch.zeros(1, 3, 2), h0)[1][0])
    assert torch.equal(after[[0, 2]], x[0, [0, 2]])
    assert torch.equal(after[1], alone[1])
    assert after[1].any()


@pytest.mark.parametrize("name", ends())
def test_an_input_reaches_slot_s_minus_k_after_k_steps_and_no_other_before(name):
    net = memory(ends()[name])
    x, h0 = rand(S + 2, 1, D), rand(1, 1, D * S, seed=1)
    other = x.clone()
    other[0] += 1.0
    change = (net(other, h0)[0] - net(x, h0)[0]).unflatten(-1, (D, S))[:, 0].detach()  # (T, d, s)
    for k in range(S):
        assert change[k, :, S - 1 - k].abs().max() > 0.1
        assert not change[k, :, : S - 1 - k].any()  # exactly: nothing is ahead of the wave
        np.testing.assert_array_equal(change[k, :, S - 1 - k], change[0, :, -1])


def test_where_an_input_replaces_the_lines_are_a_tape_of_it():
    net = TravellingMemory(D, S, boundary=OwnEnd(), entry="replace", dtype=torch.double)
    x = rand(S, 2, D)
    states = net(x)[0].unflatten(-1, (D, S))
    np.testing.assert_array_equal(states[-1].detach(), x.permute(1, 2, 0))
    x[3, 0] = 0.0  # of the first sample alone: f there, the input in the other
    after = net.newest(net(x)[0])
    np.testing.assert_array_equal(after[3, 1].detach(), x[3, 1])
    assert not after[3, 0].any()  # sin of the oldest state, which is zero still


def test_it_is_called_as_a_recurrent_network_of_pytorch_is():
    net, x = memory(ends()["block"]), rand(9, 4, D)
    output, h_n = net(x)
    assert output.shape == (9, 4, net.output_size)
    assert torch.equal(h_n[0], output[-1])
    alone, last = net(x[:, 1])
    torch.testing.assert_close(alone, output[:, 1], rtol=0, atol=1e-14)
    assert last.shape == (1, net.output_size)
    again, _ = net(x[5:], net(x[:5])[1])
    torch.testing.assert_close(again, output[5:], rtol=0, atol=1e-14)
    kept, _ = net(x, return_sequence=False)
    assert torch.equal(kept[-1], output[-1])
    packed = nn.utils.rnn.pack_padded_sequence(x, [9, 7, 7, 2])
    _, ends_of = net(packed)
    torch.testing.assert_close(ends_of[0, 3], output[1, 3], rtol=0, atol=1e-14)


def test_more_inputs_or_fewer_than_lines_enter_by_the_encoder():
    for inputs in (1, 5):
        net = TravellingMemory(D, S, input_size=inputs)
        assert net.encoder.shape == (D, inputs)
        assert net(torch.rand(4, 2, inputs))[0].shape == (4, 2, D * S)


def test_what_is_recorded_travels_to_lower_positions_one_slot_a_step():
    rec = record(memory(ends()["attention"]), rand(12, 2, D))
    assert rec.attrs["position_order"] == "line"
    field = rec.activity.values  # (trial, time, channel, position)
    np.testing.assert_array_equal(field[:, 1:, :, :-1], field[:, :-1, :, 1:])


@pytest.mark.parametrize("end", ["linear", "attention"])
def test_the_waves_are_found_in_the_weights(end):
    system = wf.history.task("T4")
    net = TravellingMemory(8, 8, boundary=end if end == "linear" else AttentionEnd(8, 8, heads=8), dtype=torch.double)
    with torch.no_grad():
        if end == "linear":
            net.boundary.weight.copy_(torch.tensor(system.weights))
        else:  # a head for each line: it looks at the slot of its lag alone and reads its source
            slot = abs(system.weights).max(axis=2).argmax(axis=0)
            source = abs(system.weights).max(axis=0).argmax(axis=1)
            ahead = net.boundary
            ahead.key.weight.zero_()
            ahead.position.fill_(-40.0)
            ahead.position[torch.arange(8), torch.tensor(slot)] = 40.0
            ahead.value.weight.zero_()
            ahead.output.weight.zero_()
            for line in range(8):
                ahead.value.weight[8 * line, source[line]] = 1.0
                ahead.output.weight[line, 8 * line] = system.weights[slot[line], line, source[line]]
    model = SequenceModel(net, net.reader(), every_step=True)
    found = analysis.recover_waves(*linearised(model), length=8)
    assert int(found.attrs["rank"]) == 36
    assert analysis.boundary_agreement(found, system) == pytest.approx(1, abs=1e-9)
    assert float(found.shift_share + found.boundary_share) == pytest.approx(1, abs=1e-9)


def test_it_is_saved_and_loaded_and_drawn_from_a_seed():
    one, other = (TravellingMemory(D, S, boundary="attention", generator=seeded(seed)).state_dict() for seed in (3, 3))
    assert all(torch.equal(one[name], other[name]) for name in one)
    net = memory(ends()["block"])
    again = memory(ends()["block"])
    again.load_state_dict(net.state_dict())
    x = rand(5, 2, D)
    assert torch.equal(net(x)[0], again(x)[0])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: TravellingMemory(0, 4), "dimension must be at least 1"),
        (lambda: TravellingMemory(2, 0), "length must be at least 1"),
        (lambda: TravellingMemory(2, 4, boundary="quadratic"), "boundary must be one of linear, attention, mlp"),
        (lambda: TravellingMemory(2, 4, boundary=3), "boundary must be one of .* got int"),
        (lambda: TravellingMemory(2, 4, boundary=AttentionEnd(2, 5)), "boundary must be made for a length of 4"),
        (lambda: TravellingMemory(2, 4, entry="both"), "entry must be add or replace"),
        (lambda: TravellingMemory(2, 4, travel=[0.5, 0.5]), r"travel must have shape .* got \(2,\)"),
        (lambda: TravellingMemory(2, 4, travel=[0.0, float("nan"), 1.0]), "travel must be finite"),
        (lambda: TravellingMemory(2, 4, input_size=0), "input_size must be at least 1"),
        (lambda: AttentionEnd(2, 4, heads=0), "heads must be at least 1"),
        (lambda: AttentionEnd(2, 4, positions="sine"), "positions must be learned, fixed or none"),
        (lambda: AttentionEnd(2, 4, scale=-1.0), "scale must be a finite positive number"),
        (lambda: MLPEnd(2, 4, hidden=0), "hidden must be at least 1"),
        (lambda: TravellingMemory(2, 4)(torch.zeros(5, 1, 3)), "input must have input_size=2"),
        (lambda: TravellingMemory(2, 4)(torch.zeros(5, 1, 2).double()), "input must be torch.float32"),
        (lambda: TravellingMemory(2, 4, boundary=nn.Flatten())(torch.zeros(5, 1, 2)), "boundary must return states"),
        (lambda: TravellingMemory(2, 4).parallel(torch.zeros(5, 2)), "states must have shape"),
        (lambda: TravellingMemory(2, 4).parallel([1.0]), "states must be a Tensor"),
        (lambda: TravellingMemory(2, 4).parallel(torch.zeros(5, 1, 2), torch.zeros(4, 1, 2)), "input must have shape"),
        (lambda: TravellingMemory(2, 4).parallel(torch.zeros(5, 1, 2), h0=torch.zeros(1, 8)), "h0 must have shape"),
    ],
)
def test_bad_arguments_are_named(make, message):
    with pytest.raises((ValueError, TypeError), match=message):
        make()
