"""The Triton kernels in Triton's interpreter, against the reference. Run by `test_triton.py` in a process of its own:
``TRITON_INTERPRET=1 python -m pytest tests/wavefield_torch/interpreted_triton.py``."""

import pytest
import torch

from wavefield_torch.recurrence import scan
from wavefield_torch.recurrence.scan import wave_scan
from wavefield_torch.recurrence.triton import backend as _triton

TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-4}
#         T, B, I, C, N, K
SHAPES = [
    (5, 3, 2, 6, 20, 3),
    (4, 2, 10, 1, 17, 5),
    (3, 2, 1, 16, 33, 3),
    (2, 1, 2, 27, 18, 3),
    (1, 17, 1, 2, 5, 3),
    (1, 3, 3, 3, 7, 3),
    (3, 2, 20, 3, 19, 3),  # inputs projected before the loop
    (2, 2, 1, 3, 300, 3),  # several tiles of positions
    (2, 1, 1, 33, 40, 3),  # more than 32 channels
    (4, 2, 1, 2, 2, 7),  # a kernel wider than the ring
    (3, 2, 0, 2, 8, 3),
]


def problem(shape, dtype, seed=0):
    steps, batch, inputs, channels, size, taps = shape
    generator = torch.Generator().manual_seed(seed)
    draw = lambda *shape: torch.randn(*shape, dtype=dtype, generator=generator)  # noqa: E731
    return [
        draw(steps, batch, inputs),
        draw(channels, size, inputs) / 2,
        draw(channels, channels, taps) / (channels * taps) ** 0.5,
        draw(channels, size) / 10,
        draw(batch, channels, size),
    ]


def values_and_gradients(tensors, backend, cotangent=None, **options):
    leaves = [tensor.clone().requires_grad_() for tensor in tensors]
    out = wave_scan(*leaves, backend=backend, **options)
    if cotangent is None:
        cotangent = torch.randn(out.shape, dtype=out.dtype, generator=torch.Generator().manual_seed(9))
    return [out, *torch.autograd.grad(out, leaves, cotangent)]


def assert_alike(tensors, **options):
    ours, theirs = (values_and_gradients(tensors, backend, **options) for backend in ("triton", "reference"))
    tolerance = TOLERANCE[tensors[0].dtype]
    for name, a, b in zip(("h", "x", "encoder", "kernel", "bias", "h0"), ours, theirs, strict=True):
        scale = b.detach().abs().max() if b.numel() else 0.0
        torch.testing.assert_close(a, b, rtol=0, atol=float(tolerance * scale), msg=lambda m, name=name: f"{name}: {m}")


@pytest.mark.parametrize(
    ("dtype", "return_sequence"), [(torch.float64, True), (torch.float32, False)], ids=["float64", "float32, last"]
)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_values_and_every_gradient_are_those_of_the_reference(shape, dtype, return_sequence):
    assert_alike(problem(shape, dtype), return_sequence=return_sequence)


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("nonlinearity", ["tanh", "identity"])
def test_other_nonlinearities_too(nonlinearity, dtype):
    assert_alike(problem((5, 2, 2, 3, 11, 3), dtype), nonlinearity=nonlinearity)


def test_tanh_keeps_its_digits_where_it_is_small():
    x = torch.tensor([1e-6, 1e-3, 0.09, 0.11, 1.0, 30.0, -0.05, -30.0]).view(8, 1, 1)
    one, none = torch.ones(1, 1, 1), torch.zeros(1, 1, 1)
    h = wave_scan(x, one, none, torch.zeros(1, 1), nonlinearity="tanh", backend="triton")
    torch.testing.assert_close(h.flatten(), torch.tanh(x.double()).float().flatten(), rtol=1e-6, atol=0)


def test_gradients_of_sequence_and_last_state_add_up():
    tensors = problem((4, 2, 1, 2, 9, 3), torch.float64)
    gradients = []
    for backend in ("triton", "reference"):
        leaves = [tensor.clone().requires_grad_() for tensor in tensors]
        h = wave_scan(*leaves, backend=backend)
        gradients.append(torch.autograd.grad(h.square().sum() + h[-1].sum(), leaves))
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("every", [1, 3, 9])
def test_segments_computed_again_give_the_same_gradients(every):
    assert_alike(problem((7, 1, 2, 2, 8, 3), torch.float64), return_sequence=False, checkpoint_every=every)


def test_a_long_sequence_is_followed():
    assert_alike(problem((60, 1, 1, 1, 16, 3), torch.float64), return_sequence=False, nonlinearity="tanh")


@pytest.mark.parametrize("inputs", [10, 20])
def test_one_hot_and_shared_inputs(inputs):
    tensors = problem((6, 3, inputs, 2, 9, 3), torch.float64)
    symbols = torch.randint(inputs, (6, 3), generator=torch.Generator().manual_seed(0))
    symbols[2:5] = symbols[2:5, :1]  # the same for the whole batch
    tensors[0] = torch.nn.functional.one_hot(symbols, inputs).double()
    assert_alike(tensors)


def test_stretches_shared_by_the_batch_are_found():
    x = torch.arange(6.0).view(6, 1, 1).expand(6, 2, 3).clone()
    x[1:3, 1] += 1
    assert _triton._stretches(x) == [(0, 1, True), (1, 3, False), (3, 6, True)]
    assert _triton._stretches(x[:, :1]) == [(0, 6, False)]


def test_expanded_and_strided_tensors_are_read_right():
    x, encoder, kernel, bias, h0 = problem((3, 3, 2, 3, 9, 3), torch.float64)
    views = [
        x[:, :1].expand(-1, 3, -1),
        encoder.transpose(1, 2).contiguous().transpose(1, 2),
        kernel.permute(2, 0, 1).contiguous().permute(1, 2, 0),
        bias[:, :1].expand(-1, 9),
        h0[:1].expand(3, -1, -1),
    ]
    results = []
    for backend in ("triton", "reference"):
        leaves = [view.detach().requires_grad_() for view in views]
        h = wave_scan(*leaves, backend=backend)
        results.append([h, *torch.autograd.grad(h.sum(), leaves)])  # an expanded cotangent
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b)


def test_nothing_spreads_faster_than_one_unit_per_step_and_tap():
    """The light cone, bit for bit, forwards and backwards."""
    x, encoder, kernel, bias, h0 = problem((4, 1, 1, 2, 15, 3), torch.float32)
    touched = h0.clone()
    touched[:, 0, 7] += 1.0
    a, b = (wave_scan(x, encoder, kernel, bias, h, nonlinearity="tanh", backend="triton") for h in (h0, touched))
    for t in range(4):
        outside = [n for n in range(15) if abs(n - 7) > t + 1]
        assert torch.equal(a[t][..., outside], b[t][..., outside])
        assert not torch.equal(a[t], b[t])
    h0.requires_grad_()
    seen = torch.zeros(1, 2, 15)
    last = wave_scan(x, encoder, kernel, bias, h0, nonlinearity="tanh", return_sequence=False, backend="triton")
    seen[:, 1, 0] = 1.0
    reached = torch.autograd.grad(last, h0, seen)[0].abs().amax((0, 1)).nonzero().flatten().tolist()
    assert reached == [0, 1, 2, 3, 4, 11, 12, 13, 14]


def test_not_a_number_is_not_hidden_by_the_relu():
    x, encoder, kernel, bias, h0 = problem((2, 1, 1, 1, 8, 3), torch.float32)
    x[0] = torch.nan
    assert wave_scan(x, encoder, kernel, bias, h0, backend="triton").isnan().all()


def test_same_numbers_give_the_same_bits():
    tensors = problem((3, 2, 2, 2, 70, 3), torch.float32)
    first, second = (values_and_gradients(tensors, "triton") for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_only_what_is_needed_is_differentiated():
    x, encoder, kernel, bias, h0 = problem((4, 2, 2, 3, 8, 3), torch.float64)
    results = []
    for backend in ("triton", "reference"):
        leaf = h0.clone().requires_grad_()
        results.append(torch.autograd.grad(wave_scan(x, encoder, kernel, bias, leaf, backend=backend).sum(), leaf)[0])
    torch.testing.assert_close(*results)


def test_an_empty_batch_runs():
    tensors = [t.requires_grad_() for t in problem((3, 0, 2, 2, 8, 3), torch.float64)]
    h = wave_scan(*tensors, backend="triton")
    assert h.shape == (3, 0, 2, 8)
    h.sum().backward()
    assert not tensors[2].grad.any()


@pytest.mark.parametrize("precision", ["tf32x3", "tf32"])
def test_precision_is_chosen_by_the_name_of_the_backend(precision):
    """The interpreter computes all precisions alike: the choice must reach the kernel and change nothing else."""
    tensors = problem((3, 2, 1, 2, 9, 3), torch.float32)
    named, plain = (values_and_gradients(tensors, name) for name in (f"triton-{precision}", "triton"))
    assert all(torch.equal(a, b) for a, b in zip(named, plain, strict=True))
    assert scan._module(f"triton-{precision}").precision == precision


@pytest.mark.parametrize(("channels", "taps", "reason"), [(65, 3, "64 channels"), (1, 9, "7 taps")])
def test_what_does_not_fit_in_registers_is_refused(channels, taps, reason):
    with pytest.raises(ValueError, match=reason):
        wave_scan(*problem((2, 1, 1, channels, 16, taps), torch.float32), backend="triton")
