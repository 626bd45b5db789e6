"""Every backend against plain PyTorch: values, every gradient, the light cone, repetition."""

import pytest
import torch

from wavefield_torch import wave_scan, wave_scan_cross_entropy, wave_scan_readout

NAMES = ("x", "encoder", "kernel", "bias", "h0")
# T, B, I, C, N, K: sizes that fill no vector, no block, no group of samples
SHAPES = [
    (1, 1, 1, 1, 5, 3),
    (2, 3, 10, 6, 23, 3),
    (7, 17, 2, 27, 33, 3),
    (5, 128, 96, 16, 40, 3),
    (12, 5, 3, 3, 17, 5),
]


def tensors(T, B, I, C, N, K, dtype=torch.float64, one_hot=False):
    generator = torch.Generator().manual_seed(T + B + C)
    draw = lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64)  # noqa: E731
    x = draw(T, B, I)
    if one_hot:
        x = torch.nn.functional.one_hot(x.argmax(-1), I).double()
    kernel = draw(C, C, K) / (C * K) ** 0.5
    values = (x, 0.5 * draw(C, N, I), kernel, 0.1 * draw(C, N), draw(B, C, N))
    return [value.to(dtype).requires_grad_() for value in values]


def gradients(output, inputs):
    generator = torch.Generator().manual_seed(0)
    cotangent = torch.randn(output.shape, generator=generator, dtype=torch.float64).to(output.dtype)
    return torch.autograd.grad(output, inputs, cotangent)


def assert_close(name, got, expected, tolerance):
    scale = expected.abs().max().clamp_min(1e-30)
    assert ((got - expected).abs().max() / scale).item() <= tolerance, name


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-4)])
@pytest.mark.parametrize("what", ["sequence", "last", "last, recomputed"])
def test_the_fused_loop_gives_the_values_and_gradients_of_the_plain_one(shape, dtype, tolerance, what):
    options = {"return_sequence": what == "sequence", "checkpoint_every": 2 if what == "last, recomputed" else None}
    results = {}
    for backend in ("reference", "cpu"):
        inputs = tensors(*shape, dtype=dtype)
        output = wave_scan(*inputs, backend=backend, **options)
        results[backend] = (output, *gradients(output, inputs))
    for name, got, expected in zip(("h", *NAMES), results["cpu"], results["reference"], strict=True):
        assert_close(name, got, expected, tolerance)


@pytest.mark.parametrize("nonlinearity", ["tanh", "identity"])
def test_other_nonlinearities_too(nonlinearity):
    results = {}
    for backend in ("reference", "cpu"):
        inputs = tensors(6, 19, 3, 5, 22, 3)
        output = wave_scan(*inputs, backend=backend, nonlinearity=nonlinearity)
        results[backend] = (output, *gradients(output, inputs))
    for name, got, expected in zip(("h", *NAMES), results["cpu"], results["reference"], strict=True):
        assert_close(name, got, expected, 1e-10)


@pytest.mark.parametrize("drive", ["one-hot", "shared by the batch", "partly shared"])
def test_special_drives_take_no_other_result(drive):
    results = {}
    for backend in ("reference", "cpu"):
        inputs = tensors(8, 20, 10, 4, 26, 3, one_hot=drive == "one-hot")
        with torch.no_grad():
            if drive == "shared by the batch":
                inputs[0].copy_(inputs[0][:, :1].expand_as(inputs[0]).clone())
            if drive == "partly shared":
                inputs[0][3:] = inputs[0][3:, :1].clone()
        output = wave_scan(*inputs, backend=backend)
        results[backend] = (output, *gradients(output, inputs))
    for name, got, expected in zip(("h", *NAMES), results["cpu"], results["reference"], strict=True):
        assert_close(name, got, expected, 1e-10)


def test_a_long_sequence_agrees_when_its_states_are_recomputed():
    results = {}
    for backend, every in (("reference", None), ("cpu", None), ("cpu", 28)):
        inputs = tensors(784, 3, 1, 6, 20, 3)
        with torch.no_grad():  # the u-shift, which neither grows nor fades
            inputs[2].zero_()
            inputs[2][range(6), range(6), 2] = 1.0
        output = wave_scan(*inputs, backend=backend, return_sequence=False, checkpoint_every=every)
        results[backend, every] = (output, *gradients(output, inputs))
    for way in (("cpu", None), ("cpu", 28)):
        for name, got, expected in zip(("h", *NAMES), results[way], results["reference", None], strict=True):
            assert_close(name, got, expected, 1e-10)


@pytest.mark.parametrize("backend", ["reference", "cpu"])
def test_nothing_leaves_the_light_cone(backend):
    x, encoder, kernel, bias, h0 = (t.detach() for t in tensors(9, 2, 1, 3, 40, 3, dtype=torch.float32))
    disturbed = h0.clone()
    disturbed[0, 1, 0] += 1.0
    difference = wave_scan(x, encoder, kernel, bias, disturbed, backend=backend) != wave_scan(
        x, encoder, kernel, bias, h0, backend=backend
    )
    for k in range(9):
        reached = set(difference[k, 0].any(0).nonzero().flatten().tolist())
        assert reached <= {n % 40 for n in range(-(k + 1), k + 2)}
    assert not difference[:, 1].any()


@pytest.mark.parametrize("backend", ["reference", "cpu"])
def test_gradients_come_from_within_the_mirrored_light_cone(backend):
    inputs = tensors(6, 1, 1, 2, 40, 3, dtype=torch.float32)
    output = wave_scan(*inputs, backend=backend, nonlinearity="tanh")
    (grad,) = torch.autograd.grad(output[5, 0, 0, 3], [inputs[4]])
    reached = set(grad[0].any(0).nonzero().flatten().tolist())
    assert reached
    assert reached <= {(3 + n) % 40 for n in range(-6, 7)}


def test_the_same_inputs_give_the_same_bits():
    runs = []
    for _ in range(2):
        inputs = tensors(10, 40, 2, 6, 30, 3, dtype=torch.float32)
        output = wave_scan(*inputs, backend="cpu")
        runs.append((output, *gradients(output, inputs)))
    assert all(torch.equal(a, b) for a, b in zip(*runs, strict=True))


def test_gradients_pass_gradcheck():
    inputs = tensors(3, 2, 2, 2, 5, 3)
    for backend in ("reference", "cpu"):
        assert torch.autograd.gradcheck(lambda *t: wave_scan(*t, nonlinearity="tanh", backend=backend), inputs)  # noqa: B023
    assert torch.autograd.gradgradcheck(lambda *t: wave_scan(*t, nonlinearity="tanh", backend="reference"), inputs)


def test_the_registered_operator_passes_opcheck():
    x, encoder, kernel, bias, h0 = tensors(3, 2, 2, 2, 5, 3, dtype=torch.float32)
    call = torch.ops.wavefield.scan.default
    torch.library.opcheck(call, (x, encoder, kernel, bias, h0, "relu", True, 1, "cpu"))


@pytest.mark.parametrize("steps", [4, 9])
def test_it_compiles_without_a_break_and_exports(steps):
    inputs = tensors(steps, 2, 2, 2, 8, 3, dtype=torch.float32)
    compiled = torch.compile(wave_scan, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(*inputs), wave_scan(*inputs))

    class Scan(torch.nn.Module):
        def forward(self, x, encoder, kernel, bias, h0):
            return wave_scan(x, encoder, kernel, bias, h0)

    exported = torch.export.export(Scan(), tuple(t.detach() for t in inputs)).module()
    torch.testing.assert_close(exported(*[t.detach() for t in inputs]), wave_scan(*inputs))


def test_autocast_keeps_the_state_in_float32():
    inputs = tensors(4, 2, 2, 2, 8, 3, dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = wave_scan(*inputs)
    assert output.dtype == torch.float32
    assert torch.equal(output, wave_scan(*inputs))


@pytest.mark.parametrize(("T", "C"), [(1, 1), (2, 3), (37, 2)])
def test_a_linear_network_in_parallel_over_time_equals_the_loop(T, C):
    inputs = tensors(T, 3, 2, C, 12, 3)
    loop = wave_scan(*inputs, nonlinearity="identity", backend="reference")
    scan = wave_scan(*inputs, nonlinearity="identity", parallel=True)
    assert_close("h", scan, loop, 1e-10)
    for name, got, expected in zip(NAMES, gradients(scan, inputs), gradients(loop, inputs), strict=True):
        assert_close(name, got, expected, 1e-9)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-4)])
@pytest.mark.parametrize("shape", [(5, 17, 10, 6, 25, 3), (3, 2, 4, 3, 16, 3)], ids=str)
def test_the_fused_readout_is_a_linear_map_of_every_state(shape, dtype, tolerance):
    T, B, _, C, N, _ = shape
    generator = torch.Generator().manual_seed(1)
    target = torch.randint(10, (T, B), generator=generator)
    results = []
    for fused in (False, True):
        inputs = tensors(*shape, dtype=dtype)
        weight = torch.randn(10, C * N, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
        readout = [(0.1 * weight).to(dtype).requires_grad_(), torch.linspace(-1, 1, 10, dtype=dtype).requires_grad_()]
        if fused:
            loss = wave_scan_cross_entropy(*inputs, *readout, target)
            logits = wave_scan_readout(*inputs, *readout)
        else:
            h = wave_scan(*inputs, backend="reference").flatten(2)
            logits = torch.nn.functional.linear(h, *readout)
            loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), target.flatten())
        results.append((loss, logits, *torch.autograd.grad(loss, [*inputs, *readout])))
    for name, expected, got in zip(("loss", "logits", *NAMES, "weight", "bias"), *results, strict=True):
        assert_close(name, got, expected, tolerance)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (dict(x=torch.zeros(3, 2)), "x"),
        (dict(x=torch.zeros(0, 2, 2)), "x"),
        (dict(x=torch.zeros(3, 2, 5)), "encoder"),
        (dict(kernel=torch.zeros(2, 2, 4)), "kernel"),
        (dict(kernel=torch.zeros(3, 3, 3)), "kernel"),
        (dict(bias=torch.zeros(2, 9)), "bias"),
        (dict(h0=torch.zeros(5, 2, 8)), "h0"),
        (dict(nonlinearity="gelu"), "nonlinearity"),
        (dict(backend="quantum"), "backend"),
        (dict(boundary="free"), "boundary"),
        (dict(x=torch.zeros(3, 2, 2, dtype=torch.float16)), "float16"),
    ],
    ids=lambda value: value if isinstance(value, str) else "-".join(value),
)
def test_what_does_not_fit_is_named(change, word):
    given = {
        "x": torch.zeros(3, 2, 2),
        "encoder": torch.zeros(2, 8, 2),
        "kernel": torch.zeros(2, 2, 3),
        "bias": torch.zeros(2, 8),
        "h0": torch.zeros(2, 2, 8),
    }
    with pytest.raises(ValueError, match=word):
        wave_scan(**(given | change))


def test_an_empty_batch_is_an_empty_answer():
    output = wave_scan(torch.zeros(3, 0, 2), torch.zeros(2, 8, 2), torch.zeros(2, 2, 3), torch.zeros(2, 8))
    assert output.shape == (3, 0, 2, 8)
