"""A recurrence in the place of torch.nn.RNN: its arguments, names, shapes, memory, and what PyTorch does around it."""

import io
import logging

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pack_sequence, pad_packed_sequence

from wavefield_torch import (
    GRU,
    LSTM,
    IdentityRNN,
    LocallyConnectedRNN,
    SequenceModel,
    Tape,
    WaveRNN,
    WaveRNNCell,
    linear_readout,
    record,
)
from wavefield_torch.recurrence import registration

KINDS = {
    "identity": lambda **o: IdentityRNN(2, 6, **o),
    "lstm": lambda **o: LSTM(2, 6, **o),
    "gru": lambda **o: GRU(2, 6, **o),
    "local": lambda **o: LocallyConnectedRNN(2, 6, operator="uniform", **o),
    "tape": lambda **o: Tape(2, 6, **o),
    "wave": lambda **o: WaveRNN(2, 6, operator="uniform", **o),
    "wave, reference": lambda **o: WaveRNN(2, 6, operator="uniform", backend="reference", **o),
}
LAYERED = ("identity", "lstm", "gru", "wave", "wave, reference")


def hidden(last):
    return last[0] if isinstance(last, tuple) else last


def normal(*shape, seed=1):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


# ---- results belong to the caller ---------------------------------------------------------------------------------


@pytest.mark.parametrize("return_sequence", [True, False])
@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_output_and_last_state_share_no_memory_and_hold_their_own_bytes(kind, batch_first, return_sequence):
    net = KINDS[kind](batch_first=batch_first)
    with torch.no_grad():
        output, last = net(normal(50, 4, 2), return_sequence=return_sequence)
        last, before = hidden(last), output.clone()
        assert last.untyped_storage().data_ptr() != output.untyped_storage().data_ptr()
        assert last.untyped_storage().nbytes() == last.numel() * last.element_size()
        last.zero_()
        assert torch.equal(output, before)
    file = io.BytesIO()
    torch.save(last, file)
    assert len(file.getvalue()) < 4 * 50 * 6 * 4


@pytest.mark.parametrize("kind", ["local", "tape", "wave", "wave, reference"])  # PyTorch's own refuse that by an error
def test_results_may_be_changed_in_place_before_the_backward_pass(kind):
    net, x = KINDS[kind](), normal(7, 20, 2).requires_grad_()
    gradients = []
    for in_place in (False, True):
        output, last = net(x)
        last = hidden(last)
        if in_place:
            output, last = output.mul_(2), last.mul_(3)
        else:
            output, last = output * 2, last * 3
        gradients.append(torch.autograd.grad(output.square().sum() + last.sum(), [x, *net.parameters()]))
    for a, b in zip(*gradients, strict=True):
        assert torch.equal(a, b)


def test_dropout_in_place_leaves_the_gradient_that_it_has_out_of_place():
    net, x = WaveRNN(2, 6, channels=3, operator="uniform"), normal(9, 20, 2)
    found = []
    for in_place in (False, True):
        torch.manual_seed(5)
        output, _ = net(x)
        kept = nn.functional.dropout(output, 0.5, inplace=in_place)
        found.append(torch.autograd.grad(kept.square().sum(), net.kernel)[0])
    assert torch.equal(*found)


# ---- its surface --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_the_state_may_be_given_as_hx_or_as_h0(kind):
    net, x = KINDS[kind](), normal(5, 3, 2)
    state = net(x)[1]
    expected = net(x, state)[0]
    assert torch.equal(net(x, hx=state)[0], expected)
    assert torch.equal(net(x, h0=state)[0], expected)
    with pytest.raises(TypeError, match="names of the same argument"):
        net(x, state, h0=state)


@pytest.mark.parametrize("kind", KINDS)
def test_names_that_trainers_use_are_there(kind):
    net = KINDS[kind]()
    net.flatten_parameters()
    assert (net.num_layers, net.bidirectional, net.dropout, net.proj_size) == (1, False, 0.0, 0)


@pytest.mark.parametrize("kind", [WaveRNN, IdentityRNN])
def test_positional_arguments_come_in_the_order_of_nn_rnn(kind):
    net, theirs = (make(3, 8, 2, "tanh", False, True, 0.5, True) for make in (kind, nn.RNN))
    for name in ("input_size", "hidden_size", "num_layers", "nonlinearity", "batch_first", "dropout", "bidirectional"):
        assert getattr(net, name) == getattr(theirs, name), name
    assert not [name for name, _ in net.named_parameters() if "bias" in name]
    assert WaveRNN(3, 8, 1, "relu", True, False, 0.0, False, "cpu", torch.float64).kernel.dtype == torch.float64


@pytest.mark.parametrize("kind", LAYERED)
@pytest.mark.parametrize("given", ["batch", "batch first", "single", "packed"])
@pytest.mark.parametrize(("num_layers", "bidirectional"), [(1, True), (2, False), (3, True)])
def test_shapes_of_layers_and_directions_are_those_of_nn_rnn(kind, given, num_layers, bidirectional):
    options = {"num_layers": num_layers, "bidirectional": bidirectional, "batch_first": given == "batch first"}
    ours, theirs = KINDS[kind](**options), nn.RNN(2, 6, **options)
    x = {"single": normal(5, 2), "packed": pack_sequence([normal(5, 2), normal(3, 2), normal(2, 2)])}
    x = x.get(given, normal(4, 5, 2))
    (output, last), (expected, expected_last) = ours(x), theirs(x)
    if given == "packed":
        output, expected = output.data, expected.data
    assert output.shape == expected.shape
    assert hidden(last).shape == expected_last.shape
    again, _ = ours(x, last)
    assert (again.data if given == "packed" else again).shape == expected.shape
    short, _ = ours(x, return_sequence=False)
    if given == "packed":
        full, lengths = pad_packed_sequence(ours(x)[0])
        torch.testing.assert_close(short.data, full[lengths - 1, torch.arange(3)])
    else:
        at = (slice(None), slice(-1, None)) if given == "batch first" else slice(-1, None)
        torch.testing.assert_close(short, output[at])
    assert ours.output_size == output.shape[-1]


def test_layers_and_directions_are_the_composition_by_hand():
    net = WaveRNN(2, 6, 2, "tanh", bidirectional=True, channels=2, operator="uniform", encoder="uniform").double()
    layers = []
    for part in [net, *net.more_layers]:
        one = WaveRNN(part.input_size, 6, 1, "tanh", channels=2, dtype=torch.float64)
        one.load_state_dict({k: v for k, v in part.state_dict().items() if "." not in k})
        layers.append(one)
    x, hx = normal(7, 3, 2).double(), normal(4, 3, 12).double()
    output, h_n = net(x, hx)
    below, ends = x, []
    for forward, backward, states in ((layers[0], layers[1], hx[:2]), (layers[2], layers[3], hx[2:])):
        there, end = forward(below, states[:1])
        back, start = backward(below.flip(0), states[1:])
        below = torch.cat([there, back.flip(0)], -1)
        ends += [end, start]
    torch.testing.assert_close(output, below)
    torch.testing.assert_close(h_n, torch.cat(ends))
    lengths = torch.tensor([7, 5, 2])
    packed, last = net(pack_padded_sequence(x, lengths), hx)
    padded, _ = pad_packed_sequence(packed)
    for i, length in enumerate(lengths):
        alone, end = net(x[:length, i], hx[:, i])
        torch.testing.assert_close(padded[:length, i], alone)
        torch.testing.assert_close(last[:, i], end)


def test_dropout_is_between_layers_and_in_training_only():
    net = WaveRNN(2, 6, num_layers=2, dropout=1.0)
    x = normal(5, 3, 2)
    assert not net(x)[0].any()  # the bias of the upper layer is zero
    below = net(x)[1][0]
    assert below.any()
    net.eval()
    assert net(x)[0].any()
    assert torch.equal(net(x)[1][0], below)


@pytest.mark.parametrize("kind", LAYERED)
def test_the_highest_layer_is_read_out_and_recorded(kind):
    net = KINDS[kind](num_layers=2)
    model, x = SequenceModel(net, linear_readout(6, 3)), normal(5, 4, 2)
    torch.testing.assert_close(model(x), model.readout(net(x)[0][-1]))
    rec = record(net, x)
    torch.testing.assert_close(torch.from_numpy(rec.activity.values[:, :, 0]), net(x)[0].detach().transpose(0, 1))
    both = KINDS[kind](num_layers=2, bidirectional=True)
    model = SequenceModel(both, linear_readout(both.output_size, 3))
    assert model(x).shape == (4, 3)
    assert SequenceModel(both, linear_readout(12, 3), every_step=True)(x).shape == (5, 4, 3)


def test_all_parameters_of_all_layers_return_to_their_start():
    net = WaveRNN(2, 6, num_layers=2, bidirectional=True, generator=torch.Generator().manual_seed(3))
    start = {name: value.clone() for name, value in net.state_dict().items()}
    assert len(start) == 12
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(1)
    net.reset_parameters(torch.Generator().manual_seed(3))
    assert all(torch.equal(start[name], value) for name, value in net.state_dict().items())


@pytest.mark.parametrize("nonlinearity", ["relu", "tanh"])
def test_a_cell_is_one_step_of_the_network(nonlinearity):
    net = WaveRNN(2, 6, nonlinearity=nonlinearity, channels=2, operator="uniform")
    cell = WaveRNNCell(2, 6, nonlinearity=nonlinearity, channels=2)
    cell.load_state_dict(net.state_dict())
    x, state = normal(5, 3, 2), None
    for t, expected in enumerate(net(x)[0]):
        state = cell(x[t], state)
        torch.testing.assert_close(state, expected)
    torch.testing.assert_close(cell(x[0, 1], state[1]), cell(x[0], state)[1])
    assert cell(x[0, 1]).shape == nn.RNNCell(2, 12)(x[0, 1]).shape
    assert list(WaveRNNCell(2, 6, False, "tanh").state_dict()) == ["encoder", "kernel"]
    with pytest.raises(ValueError, match=r"hx must have shape \(3, 12\)"):
        cell(x[0], torch.zeros(3, 6))
    with pytest.raises(ValueError, match="input_size=2"):
        cell(torch.zeros(3, 3))


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("nonlinearity", ["relu", "tanh", "identity"])
def test_one_step_gives_the_numbers_and_gradients_of_the_fused_kernels(nonlinearity, batch_first):
    options = {"channels": 2, "kernel_size": 5, "operator": "uniform", "dtype": torch.float64, "bias": "reference"}
    net, fused = (
        WaveRNN(2, 6, nonlinearity=nonlinearity, batch_first=batch_first, backend=backend, **options)
        for backend in ("auto", "cpu")
    )
    fused.load_state_dict(net.state_dict())
    x, state = normal(1, 3, 2).double(), normal(1, 3, 12).double()
    for given in (None, state):
        both = [f(x.transpose(0, 1) if batch_first else x, given) for f in (net, fused)]
        torch.testing.assert_close(*both)
        assert both[0][0].is_contiguous()
        losses = [(output.square().sum() + last.sum()) for output, last in both]
        found, expected = (
            torch.autograd.grad(loss, list(f.parameters())) for loss, f in zip(losses, (net, fused), strict=True)
        )
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("nonlinearity", ["relu", "tanh", "identity"])
def test_the_state_after_one_step_may_be_changed_in_place(nonlinearity):
    cell, x, state = WaveRNNCell(2, 6, nonlinearity=nonlinearity), normal(3, 2), normal(3, 6)
    kept = state.clone()
    found = torch.autograd.grad(cell(x, state).mul_(3).sum(), list(cell.parameters()))
    torch.testing.assert_close(found, torch.autograd.grad(3 * cell(x, state).sum(), list(cell.parameters())))
    with torch.no_grad():
        cell(x, state).zero_()
    assert torch.equal(state, kept)


def test_one_step_with_an_encoder_of_other_strides():
    net = WaveRNN(2, 6, channels=3, encoder="uniform")
    x, expected = normal(1, 3, 2), net(normal(1, 3, 2))[0]
    net.encoder.data = net.encoder.data.permute(2, 1, 0).contiguous().permute(2, 1, 0)
    torch.testing.assert_close(net(x)[0], expected)


def test_shapes_are_found_on_the_meta_device():
    net = WaveRNN(3, 8, channels=2, device="meta")
    output, h_n = net(torch.zeros(1000, 4, 3, device="meta"))
    assert (output.device.type, output.shape, h_n.shape) == ("meta", (1000, 4, 16), (1, 4, 16))
    assert WaveRNN(3, 8, device="meta")(torch.zeros(5, 3, device="meta"))[0].shape == (5, 8)


# ---- what PyTorch does around it ----------------------------------------------------------------------------------


@pytest.fixture
def said(caplog):
    registration.say_once.cache_clear()
    caplog.set_level(logging.WARNING)
    yield lambda: [entry.getMessage() for entry in caplog.records]
    registration.say_once.cache_clear()


def pair(**options):
    """A network with fused kernels, and the reference with the same weights."""
    nets = [WaveRNN(2, 8, channels=2, nonlinearity="tanh", operator="uniform", **options) for _ in range(2)]
    nets[1].load_state_dict(nets[0].state_dict())
    nets[1].backend = "reference"
    return nets


def test_jacobians_may_be_computed_for_all_rows_at_once():
    x, h, rows = normal(5, 1, 2), normal(1, 1, 16).requires_grad_(), torch.eye(16)
    nets = pair()
    found = [torch.autograd.grad(net(x, h)[1].flatten(), h, rows, is_grads_batched=True)[0] for net in nets]
    assert found[0].shape == (16, 1, 1, 16)
    torch.testing.assert_close(*found)
    found = [torch.autograd.functional.jacobian(lambda h, f=net: f(x, h)[0], h, vectorize=True) for net in nets]
    torch.testing.assert_close(*found)


def test_a_fused_backend_computes_many_gradients_under_vmap():
    net, x, h, rows = pair(backend="cpu")[0], normal(5, 1, 2), normal(1, 1, 16).requires_grad_(), torch.eye(16)
    after = net(x, h)[1].flatten()

    def gradient(row):
        return torch.autograd.grad(after, h, row, retain_graph=True)[0]

    assert torch.equal(torch.vmap(gradient)(rows), torch.stack([gradient(row) for row in rows]))
    with pytest.raises(RuntimeError, match="backend='reference' takes many"):
        torch.autograd.grad(after, h, rows, is_grads_batched=True)


@pytest.mark.parametrize("read", [False, True])
def test_second_derivatives_run_the_reference_which_is_said_once(read, said):
    x, found = normal(5, 3, 2).double(), []
    for net in pair():
        net.double()
        torch.manual_seed(3)
        model = SequenceModel(net, linear_readout(16, 2).double(), every_step=True) if read else net
        for _ in range(2):
            given = x.clone().requires_grad_()
            output = model(given) if read else model(given)[0]
            (gradient,) = torch.autograd.grad(output.square().sum(), given, create_graph=True)
            second = torch.autograd.grad(gradient.square().sum(), [net.kernel, net.encoder, net.bias])
        found.append([gradient.detach(), *second])
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b)
    assert [text for text in said() if "second derivatives" in text] == [
        "wave_scan: second derivatives run the reference backend"
    ]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_parameters_run_the_reference_which_is_said_once(dtype, said):
    net = WaveRNN(2, 8, channels=2).to(dtype)
    x = normal(5, 3, 2).to(dtype)
    for _ in range(2):
        output, h_n = net(x)
        output.sum().backward()
    assert output.dtype == h_n.dtype == net.kernel.grad.dtype == dtype
    torch.testing.assert_close(output.float(), WaveRNN(2, 8, channels=2)(x.float())[0], rtol=0.1, atol=0.1)
    (text,) = said()
    assert str(dtype) in text
    net.backend = "cpu"
    with pytest.raises(ValueError, match=r"computes in float32 and float64.*backend='reference'"):
        net(x)


@pytest.mark.parametrize("every_step", [False, True])
def test_one_compilation_serves_all_lengths_and_batches(every_step):
    torch.compiler.reset()
    graphs = []

    def count(graph, _):
        graphs.append(graph)
        return graph.forward

    model = SequenceModel(WaveRNN(3, 8, channels=2), linear_readout(16, 2), every_step=every_step)
    compiled = torch.compile(model, backend=count, dynamic=True, fullgraph=True)
    for steps, batch in ((5, 20), (6, 20), (9, 33), (20, 64), (784, 128)):
        x = normal(steps, batch, 3)
        torch.testing.assert_close(compiled(x), model(x))
    assert len(graphs) == 1


@pytest.mark.parametrize("dynamic", [True, None])
@pytest.mark.parametrize("every_step", [False, True])
def test_compiled_models_train_on_sequences_of_any_length(every_step, dynamic):
    torch.compiler.reset()
    model = SequenceModel(WaveRNN(3, 8, channels=2), linear_readout(16, 2), every_step=every_step)
    compiled = torch.compile(model, backend="aot_eager", dynamic=dynamic)
    for steps, batch in ((5, 4), (6, 4), (7, 4), (12, 4), (20, 7), (30, 40)):
        x = normal(steps, batch, 3)
        torch.testing.assert_close(compiled(x), model(x))
        found = [torch.autograd.grad(f(x).square().sum(), model.recurrence.kernel)[0] for f in (compiled, model)]
        torch.testing.assert_close(*found)
