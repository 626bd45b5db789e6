"""`sheet_scan`: every backend is the reference, which is the equation; the operator behaves as PyTorch's own do."""

import logging
import math

import pytest
import torch

from wavefield_torch import sheet_scan

TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-4}
NAMES = ("y0", "z0", "kernel", "stiffness", "damping", "input", "readout")
SEED = 0


def normal(*shape, generator, dtype=torch.float64):
    return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)


def problem(T, B, C, H, W, K=3, *, features=0, driven=False, dtype=torch.float64, damping=1.0):
    """Tensors of a scan by their names, all with a gradient."""
    generator = torch.Generator().manual_seed(SEED)
    tensors = {
        "y0": normal(B, C, H, W, generator=generator),
        "z0": normal(B, C, H, W, generator=generator),
        "kernel": normal(C, C, K, K, generator=generator) / K / C**0.5,
        "stiffness": torch.rand(B, C, H, W, generator=generator, dtype=torch.float64),
        "damping": damping * torch.rand(B, C, H, W, generator=generator, dtype=torch.float64),
    }
    if driven:
        tensors["input"] = normal(T, B, C, H, W, generator=generator)
    if features:
        tensors["readout"] = normal(features, T, generator=generator) / T**0.5
    return {name: t.to(dtype).requires_grad_() for name, t in tensors.items()}


def run(tensors, backend="auto", seen="all", **options):
    """Output, y, z and all gradients of a loss with random weights that sees all of them, or the output alone."""
    tensors = dict(tensors)
    readout = tensors.pop("readout", options.pop("readout", None))
    options = dict(dt=0.1, backend=backend) | options
    output, (y, z) = sheet_scan(**tensors, readout=readout, **options)
    results = [t for t in (output, y, z)[: 3 if seen == "all" else 1] if t is not None]
    generator = torch.Generator().manual_seed(1)
    given = [normal(*t.shape, generator=generator, dtype=t.dtype) for t in results]
    leaves = [*tensors.values(), *([readout] if isinstance(readout, torch.Tensor) else [])]
    found = torch.autograd.grad(results, leaves, given, allow_unused=True)
    return [*(t.detach() for t in results), *found]


def assert_close(found, expected, tolerance):
    for number, (a, b) in enumerate(zip(found, expected, strict=True)):
        if b is None or not b.any():
            assert a is None or not a.any()
            continue
        error = (a - b).abs().max() / b.abs().max()
        assert error < tolerance, f"{number}: {error:.1e}"


# Shapes that fill no block and no vector, every boundary, scheme, σ and readout; few kinds of kernel among them, since
# each takes seconds to compile when it is not yet in Numba's cache.
AGREEMENT = [
    # T, B, C, H, W, of the problem, of the scan
    (9, 3, 2, 5, 17, {}, {}),
    (1, 1, 1, 1, 1, {}, {}),
    (2, 17, 3, 4, 3, dict(driven=True), dict(checkpoint_every=1)),
    (100, 1, 1, 7, 5, dict(features=51), {}),
    (20, 3, 16, 6, 9, dict(features=5), dict(boundary="fixed", checkpoint_every=7)),
    (12, 2, 3, 7, 19, dict(driven=True), dict(scheme="damping-implicit", boundary="free")),
    (12, 2, 2, 2, 1, {}, dict(nonlinearity="relu", boundary="free", checkpoint_every=5)),
    (12, 2, 2, 33, 4, dict(damping=9.0), dict(nonlinearity="identity", readout="max")),
    (12, 2, 2, 3, 4, dict(damping=3.0), dict(readout="mean", scheme="damping-implicit", checkpoint_every=4)),
    (12, 2, 2, 3, 4, {}, dict(readout="last", boundary="fixed")),
    (12, 2, 2, 3, 4, dict(damping=9.0, driven=True, features=3), dict(scheme="centred", checkpoint_every=5)),
    (12, 2, 2, 3, 4, dict(damping=99.0), dict(scheme="centred", boundary="free")),
    (6, 2, 2, 3, 4, {}, dict(return_sequence=False, checkpoint_every=100)),
]


@pytest.mark.parametrize("dtype", TOLERANCE, ids=["float64", "float32"])
@pytest.mark.parametrize("case", AGREEMENT, ids=lambda case: "T{}-B{}-C{}-H{}-W{}".format(*case[:5]))
def test_the_cpu_backend_is_the_reference_forward_and_in_every_gradient(case, dtype):
    *shape, of_problem, options = case
    tensors = problem(*shape, dtype=dtype, **of_problem)
    options = dict(options, steps=shape[0])
    assert_close(run(tensors, "cpu", **options), run(tensors, "reference", **options), TOLERANCE[dtype])


@pytest.mark.parametrize("boundary", ["periodic", "fixed", "free"])
@pytest.mark.parametrize(("K", "H", "W"), [(1, 3, 4), (5, 6, 7), (5, 1, 2)])
def test_kernels_of_any_width_also_wider_than_the_sheet(K, H, W, boundary):
    tensors = problem(5, 2, 2, H, W, K)
    assert_close(
        run(tensors, "cpu", steps=5, boundary=boundary), run(tensors, "reference", steps=5, boundary=boundary), 1e-10
    )


def test_the_reference_is_the_published_recurrence():
    tensors = {name: t.detach() for name, t in problem(4, 2, 2, 5, 6).items()}
    y, z = tensors["y0"], torch.zeros_like(tensors["y0"])
    convolution = torch.nn.Conv2d(2, 2, 3, padding=1, padding_mode="circular", bias=False, dtype=torch.float64)
    convolution.weight.data = tensors["kernel"]
    states = []
    for _ in range(4):
        z = z + 0.1 * (torch.tanh(convolution(y)) - tensors["stiffness"] * y - tensors["damping"] * z)
        y = y + 0.1 * z
        states.append(y)
    found, last = sheet_scan(**(tensors | {"z0": None}), steps=4, dt=0.1)
    torch.testing.assert_close(found, torch.stack(states).detach())
    torch.testing.assert_close(last, (y.detach(), z.detach()))


@pytest.mark.parametrize("backend", ["reference", "cpu"])
@pytest.mark.parametrize("scheme", ["semi-implicit", "damping-implicit", "centred"])
def test_a_mode_of_the_torus_oscillates_as_its_two_by_two_matrix_says(backend, scheme):
    """y'' = (λ − ω) y − α y' for an eigenvector of W: the one-step matrices of the literature, powers of them."""
    kernel = torch.tensor([[0.0, 1.0, 0.0], [1.0, -4.0, 1.0], [0.0, 1.0, 0.0]], dtype=torch.float64)[None, None]
    y, x = torch.arange(8, dtype=torch.float64)[:, None], torch.arange(12, dtype=torch.float64)
    mode = torch.cos(2 * math.pi * (2 * y / 8 + 3 * x / 12))[None, None]
    h, G = 0.2, 0.3
    A = 0.5 + 4 * (math.sin(math.pi * 2 / 8) ** 2 + math.sin(math.pi * 3 / 12) ** 2)
    step = torch.tensor([[1 - h * G, -h * A], [h * (1 - h * G), 1 - h * h * A]], dtype=torch.float64)
    if scheme == "damping-implicit":
        step = torch.tensor([[1, -h * A], [h, 1 + h * G - h * h * A]], dtype=torch.float64) / (1 + h * G)
    if scheme == "centred":  # of (z, y), where z is half a step behind: a = hG/2
        a = h * G / 2
        step = torch.tensor([[1 - a, -h * A], [h * (1 - a), 1 + a - h * h * A]], dtype=torch.float64) / (1 + a)
    z, y = torch.linalg.matrix_power(step, 50) @ torch.tensor([0.0, 1.0], dtype=torch.float64)
    options = dict(steps=50, dt=h, nonlinearity="identity", scheme=scheme, backend=backend)
    _, (last_y, last_z) = sheet_scan(mode, None, kernel, 0.5, 0.3, return_sequence=False, **options)
    torch.testing.assert_close(last_y, y * mode, atol=1e-13, rtol=0)
    torch.testing.assert_close(last_z, z * mode, atol=1e-13, rtol=0)


@pytest.mark.parametrize("backend", ["reference", "cpu"])
def test_nothing_leaves_the_light_cone(backend):
    tensors = {name: t.detach() for name, t in problem(6, 2, 2, 17, 19).items()}
    touched = tensors["y0"].clone()
    touched[1, 0, 8, 9] += 1
    one, _ = sheet_scan(**tensors, steps=6, dt=0.1, backend=backend)
    other, _ = sheet_scan(**(tensors | {"y0": touched}), steps=6, dt=0.1, backend=backend)
    y, x = torch.meshgrid(torch.arange(17), torch.arange(19), indexing="ij")
    distance = torch.maximum((y - 8).abs(), (x - 9).abs())
    for t in range(6):
        changed = (one[t] != other[t]).any(1)  # (B, H, W)
        assert not changed[0].any()
        assert not changed[1][distance > t + 1].any()
        assert changed[1][distance == t + 1].any()


def test_gradients_by_finite_differences():
    tensors = problem(3, 2, 2, 2, 3, features=2, driven=True)

    def scan(*values, backend):
        given = dict(zip(tensors, values, strict=True))
        output, last = sheet_scan(**given, steps=3, dt=0.3, backend=backend)
        return output, *last

    assert torch.autograd.gradcheck(lambda *values: scan(*values, backend="cpu"), tuple(tensors.values()))
    plain = problem(2, 1, 1, 2, 2)
    assert torch.autograd.gradgradcheck(
        lambda *v: sheet_scan(*v, steps=2, dt=0.3, backend="reference")[0], tuple(plain.values()), fast_mode=True
    )


def test_second_derivatives_run_the_reference_or_are_refused():
    tensors = problem(6, 2, 2, 4, 5)

    def penalty(backend):
        loss = sheet_scan(**tensors, steps=6, dt=0.1, backend=backend)[0].square().sum()
        (gradient,) = torch.autograd.grad(loss, tensors["kernel"], create_graph=True)
        return torch.autograd.grad(gradient.square().sum(), tensors["kernel"])[0]

    torch.testing.assert_close(penalty("auto"), penalty("reference"))
    with pytest.raises(RuntimeError, match="differentiable once"):
        penalty("cpu")


@pytest.mark.parametrize("scheme", ["semi-implicit", "damping-implicit", "centred"])
def test_segments_found_by_the_inverse_of_the_step_are_those_computed_forward(scheme, caplog):
    tensors = problem(100, 2, 2, 16, 16, features=3, dtype=torch.float32, damping=3.0)
    with caplog.at_level(logging.DEBUG, "wavefield_torch"):
        stored = run(tensors, "cpu", steps=100, scheme=scheme, checkpoint_every=1)
        inverted = run(tensors, "cpu", steps=100, scheme=scheme, checkpoint_every=10)
        again = run(tensors, "cpu", steps=100, scheme=scheme, checkpoint_every=50)
    messages = [record.getMessage() for record in caplog.records if "damping" in record.getMessage()]
    assert [("inverse" in message) for message in messages] == [True, True, False]
    assert_close(inverted, stored, 1e-5)
    assert_close(again, stored, 1e-5)


def test_the_same_numbers_give_the_same_bits_on_any_number_of_threads():
    tensors = problem(9, 5, 2, 8, 9, features=4, dtype=torch.float32)
    threads = torch.get_num_threads()
    first = run(tensors, "cpu", steps=9)
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            again = run(tensors, "cpu", steps=9)
            assert all(torch.equal(a, b) for a, b in zip(again, first, strict=True))
    finally:
        torch.set_num_threads(threads)


def test_only_the_gradients_that_are_wanted_are_computed_and_they_do_not_depend_on_the_others():
    tensors = problem(7, 2, 2, 4, 5, features=2, driven=True)
    expected = dict(zip(tensors, run(tensors, "cpu", steps=7)[3:], strict=True))
    for name in tensors:
        alone = {other: t if other == name else t.detach() for other, t in tensors.items()}
        output, (y, z) = sheet_scan(**alone, steps=7, dt=0.1, backend="cpu")
        generator = torch.Generator().manual_seed(1)
        given = [normal(*t.shape, generator=generator) for t in (output, y, z)]
        (found,) = torch.autograd.grad((output, y, z), alone[name], given)
        torch.testing.assert_close(found, expected[name])


def test_stiffness_and_damping_of_every_shape_that_broadcasts():
    tensors = problem(6, 3, 2, 4, 5)
    y0, z0, kernel = (tensors[name] for name in ("y0", "z0", "kernel"))
    per_channel = torch.tensor([0.3, 0.7], dtype=torch.float64, requires_grad=True)
    full = per_channel[:, None, None].expand(3, 2, 4, 5)
    expected = sheet_scan(y0, z0, kernel, full, full, steps=6, dt=0.1)[0]
    for given in (per_channel, per_channel[:, None, None], per_channel[None, :, None, None]):
        found = sheet_scan(y0, z0, kernel, given, given, steps=6, dt=0.1)[0]
        assert torch.equal(found, expected)
    (gradient,) = torch.autograd.grad(found.sum(), per_channel)
    assert gradient.shape == (2,)
    number = sheet_scan(y0, z0, kernel, 0.5, torch.tensor(0.5, dtype=torch.float64), steps=6, dt=0.1)[0]
    half = torch.full_like(y0, 0.5)
    assert torch.equal(number, sheet_scan(y0, z0, kernel, half, half, steps=6, dt=0.1)[0])


@pytest.mark.parametrize("readout", [None, "last", "max"])
def test_overwritten_results_leave_the_gradient_as_it_is(readout):
    tensors = problem(6, 2, 2, 4, 5)
    expected = run(tensors, "cpu", steps=6, readout=readout, seen="output")[1:]
    output, (y, z) = sheet_scan(**tensors, steps=6, dt=0.1, readout=readout, backend="cpu")
    given = normal(*output.shape, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        for result in (output, y, z):
            result.fill_(math.nan)
    found = torch.autograd.grad(output, list(tensors.values()), given)
    assert_close(found, expected, 1e-14)


def test_not_a_number_is_passed_on():
    tensors = {name: t.detach().clone() for name, t in problem(6, 2, 2, 9, 9).items()}
    tensors["y0"][1, 0, 4, 4] = math.nan
    for readout in (None, "max"):
        output, _ = sheet_scan(**tensors, steps=6, dt=0.1, readout=readout, backend="cpu")
        expected, _ = sheet_scan(**tensors, steps=6, dt=0.1, readout=readout, backend="reference")
        assert torch.equal(output.isnan(), expected.isnan())


@pytest.mark.parametrize("backend", ["reference", "cpu"])
def test_an_empty_batch_works(backend):
    tensors = problem(4, 0, 2, 3, 5, features=2)
    output, y, z, *gradients = run(tensors, backend, steps=4)
    assert output.shape == (2, 0, 2, 3, 5)
    assert y.shape == z.shape == (0, 2, 3, 5)
    assert not gradients[2].any()


@pytest.mark.parametrize("kept", [-1, 0, 2])
def test_the_operator_is_registered_as_pytorch_wants_it(kept):
    tensors = problem(4, 2, 2, 3, 4, features=2, driven=True)
    options = (4, 0.1, "periodic", "tanh", "semi-implicit", False, False, kept, "cpu", True)
    operator = torch.ops.wavefield.sheet_scan
    inputs = list(tensors.values())
    tests = ("test_schema", "test_autograd_registration", "test_faketensor")
    torch.library.opcheck(operator, (*inputs, *options), test_utils=tests)
    output, y, z, saved = operator(*(detached := [t.detach() for t in inputs]), *options)
    back = (output, y, z, saved, *detached, *options, [True] * 7)
    torch.library.opcheck(torch.ops.wavefield.sheet_scan_backward, back, test_utils=tests)


def test_compiles_without_a_graph_break():
    tensors = problem(6, 2, 2, 3, 4, features=2)

    def loss(*values):
        return sheet_scan(*values[:-1], steps=6, dt=0.1, readout=values[-1])[0].square().mean()

    values = tuple(tensors.values())
    compiled = torch.compile(loss, backend="aot_eager", fullgraph=True)
    expected = torch.autograd.grad(loss(*values), values)
    for a, b in zip(torch.autograd.grad(compiled(*values), values), expected, strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("backend", ["reference", "cpu"])
def test_autocast_keeps_the_state_in_float32(backend):
    tensors = {name: t.detach() for name, t in problem(6, 2, 2, 3, 4, dtype=torch.float32).items()}
    expected, _ = sheet_scan(**tensors, steps=6, dt=0.1, backend=backend)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found, _ = sheet_scan(**tensors, steps=6, dt=0.1, backend=backend)
    assert found.dtype == torch.float32
    assert torch.equal(found, expected)


def test_function_transforms_run_the_reference():
    tensors = {name: t.detach() for name, t in problem(6, 2, 2, 3, 4).items()}

    def loss(kernel):
        return sheet_scan(**(tensors | {"kernel": kernel}), steps=6, dt=0.1)[0].square().sum()

    leaf = tensors["kernel"].clone().requires_grad_()
    (expected,) = torch.autograd.grad(loss(leaf), leaf)
    torch.testing.assert_close(torch.func.grad(loss)(tensors["kernel"]), expected)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(y0=torch.zeros(2, 3, 4)), "y0 must have 4 dimensions"),
        (dict(kernel=torch.zeros(2, 2, 2, 2)), "K odd"),
        (dict(kernel=torch.zeros(1, 1, 3, 3)), r"kernel must be \(2, 2, K, K\)"),
        (dict(z0=torch.zeros(1, 2, 3, 4)), "z0 must have shape"),
        (dict(stiffness=torch.zeros(3)), "stiffness of one dimension must be"),
        (dict(damping=torch.zeros(5, 2, 3, 4)), "damping must be a number"),
        (dict(input=torch.zeros(5, 2, 2, 3, 4)), "input must have shape"),
        (dict(input=torch.zeros(6, 2, 2, 3, 4, dtype=torch.float64)), "input must be torch.float32"),
        (dict(readout=torch.zeros(2, 5)), r"readout must be \(F, 6\)"),
        (dict(readout="fft"), "readout must be a matrix"),
        (dict(steps=0), "steps must be a positive integer"),
        (dict(dt=-0.1), "dt must be a positive number"),
        (dict(boundary="open"), "boundary must be one of"),
        (dict(nonlinearity="sine"), "nonlinearity must be one of"),
        (dict(scheme="explicit"), "scheme must be one of"),
        (dict(backend="numpy"), "backend must be one of"),
        (dict(checkpoint_every=0), "checkpoint_every must be a positive integer"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_bad_input_is_named(change, message):
    tensors = {name: t.detach() for name, t in problem(6, 2, 2, 3, 4, dtype=torch.float32).items()}
    with pytest.raises(ValueError, match=message):
        sheet_scan(**(tensors | dict(steps=6, dt=0.1) | change))


def test_what_is_no_tensor_is_a_type_error():
    tensors = {name: t.detach() for name, t in problem(6, 2, 2, 3, 4).items()}
    for name in ("y0", "kernel", "stiffness", "input"):
        with pytest.raises(TypeError, match=f"{name} must be a"):
            sheet_scan(**(tensors | {name: [1.0]}), steps=6, dt=0.1)
