"""The recurrence with a readout of every state is `wave_scan` followed by a linear map and a cross-entropy."""

import pytest
import torch
from torch.nn.functional import cross_entropy, linear, one_hot

from wavefield_torch.recurrence.readout_scan import wave_scan_cross_entropy, wave_scan_readout
from wavefield_torch.recurrence.scan import wave_scan


def problem(T, B, I, C, N, O, dtype):
    """x (one-hot, shared by the batch after a third), encoder, kernel, bias, h0, weight, readout bias; target."""
    generator = torch.Generator().manual_seed(0)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    x = one_hot(torch.randint(0, I, (T, B), generator=generator), I).double()
    x[T // 3 :] = x[T // 3, :1]
    parameters = [normal(C, N, I) * 0.3, normal(C, C, 3) * 0.3 / C**0.5, normal(C, N) * 0.1, normal(B, C, N)]
    tensors = [t.to(dtype).requires_grad_() for t in (x, *parameters, normal(O, C * N) * 0.1, normal(O))]
    return tensors, torch.randint(0, O, (T, B), generator=generator)


def by_hand(x, encoder, kernel, bias, h0, weight, readout_bias, target, **options):
    h = wave_scan(x, encoder, kernel, bias, h0, backend="reference", **options)
    logits = linear(h.flatten(2), weight, readout_bias)
    return cross_entropy(logits.flatten(0, 1), target.flatten()), logits


CASES = [
    (13, 17, 10, 6, 20, 10, {}),
    (13, 32, 10, 6, 20, 10, dict(checkpoint_every=4)),
    (40, 33, 3, 6, 10, 3, dict(checkpoint_every=1)),
    (5, 2, 3, 6, 33, 12, dict(nonlinearity="tanh")),
    (5, 37, 24, 3, 33, 40, {}),
]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: "T{}-B{}-I{}-C{}-N{}-O{}".format(*case[:6]))
def test_loss_logits_and_every_gradient(case, dtype):
    *shape, options = case
    tensors, target = problem(*shape, dtype)
    loss, logits = wave_scan_cross_entropy(*tensors, target, return_logits=True, backend="cpu", **options)
    expected = by_hand(*tensors, target, **{k: v for k, v in options.items() if k == "nonlinearity"})
    torch.testing.assert_close((loss, logits), expected)
    tolerance = 1e-10 if dtype == torch.float64 else 1e-4
    found = torch.autograd.grad(loss + logits.square().mean(), tensors)
    for a, b in zip(found, torch.autograd.grad(expected[0] + expected[1].square().mean(), tensors), strict=True):
        assert (a - b).abs().max() < tolerance * b.abs().max()


def test_the_reference_backend_and_a_missing_bias():
    tensors, target = problem(7, 5, 3, 2, 9, 4, torch.float64)
    expected = by_hand(*tensors[:6], None, target)[0]
    for backend in ("reference", "cpu"):
        torch.testing.assert_close(wave_scan_cross_entropy(*tensors[:6], None, target, backend=backend), expected)


def test_the_operator_is_registered_as_pytorch_wants_it():
    tensors, _ = problem(5, 20, 2, 3, 11, 4, torch.float64)
    inputs = (*tensors[:5], tensors[5].detach().unflatten(1, (3, 11)).requires_grad_())
    torch.library.opcheck(torch.ops.wavefield.scan_readout, (*inputs, "relu", -1, True))
    detached = [t.detach() for t in inputs]
    values, saved = torch.ops.wavefield.scan_readout(*detached, "relu", -1, True)
    arguments = (values, saved, *detached, "relu", -1, True, [True] * 6)
    torch.library.opcheck(torch.ops.wavefield.scan_readout_backward, arguments)


def test_compiles_without_a_graph_break():
    tensors, target = problem(5, 20, 2, 3, 11, 4, torch.float64)
    compiled = torch.compile(wave_scan_cross_entropy, backend="aot_eager", fullgraph=True)
    expected = torch.autograd.grad(wave_scan_cross_entropy(*tensors, target), tensors)
    for a, b in zip(torch.autograd.grad(compiled(*tensors, target), tensors), expected, strict=True):
        assert torch.equal(a, b)


def test_an_empty_batch_works():
    tensors, _ = problem(3, 0, 2, 3, 11, 4, torch.float64)
    values = wave_scan_readout(*tensors)
    assert values.shape == (3, 0, 4)
    assert not torch.autograd.grad(values.sum(), tensors[5])[0].any()


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (5, torch.zeros(4, 30), "weight must be .O, 33."),
        (5, torch.zeros(4, 33, dtype=torch.float64), "weight must be torch.float32"),
        (6, torch.zeros(3), "readout_bias must be .4,."),
        (7, torch.zeros(3, 5, dtype=torch.int64), "target must be int64 of shape"),
        (7, torch.zeros(3, 2), "target must be int64"),
    ],
)
def test_bad_input_is_named(place, value, message):
    x, encoder, kernel, weight = torch.zeros(3, 2, 2), torch.zeros(3, 11, 2), torch.zeros(3, 3, 3), torch.zeros(4, 33)
    arguments = [x, encoder, kernel, None, None, weight, torch.zeros(4), torch.zeros(3, 2, dtype=torch.int64)]
    arguments[place] = value
    with pytest.raises(ValueError, match=message):
        wave_scan_cross_entropy(*arguments)
