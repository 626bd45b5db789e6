"""The sheet's Triton kernels in Triton's interpreter, against the reference. Run by `test_triton_sheet.py` in a process
of its own: ``TRITON_INTERPRET=1 python -m pytest tests/wavefield_torch/recurrence/interpreted_triton_sheet.py``. The
interpreter takes milliseconds for every tap: sheets are tiny."""

import importlib.util
from pathlib import Path

import pytest
import torch

from wavefield_torch import sheet_scan
from wavefield_torch.recurrence.sheet import scan

_SPEC = importlib.util.spec_from_file_location("of_sheets", Path(__file__).with_name("test_sheet_scan.py"))
of_sheets = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(of_sheets)
TOLERANCE, assert_close, problem, run = of_sheets.TOLERANCE, of_sheets.assert_close, of_sheets.problem, of_sheets.run

FORWARD, INVERSE = dict(damping=60.0), dict(damping=0.5)  # of dt = 0.1: how a segment's states are found again
CASES = [
    # T, B, C, H, W, K, of the problem, of the scan
    (3, 2, 2, 3, 5, 3, INVERSE, dict(checkpoint_every=2)),
    (3, 1, 1, 3, 5, 3, FORWARD, dict(checkpoint_every=2)),
    (1, 1, 1, 1, 1, 3, {}, dict(boundary="free")),
    (2, 1, 1, 2, 3, 5, {}, dict(boundary="free", scheme="damping-implicit")),
    (2, 1, 1, 1, 2, 5, {}, dict(scheme="centred", nonlinearity="relu")),
    (2, 1, 17, 2, 3, 1, dict(driven=True), dict(boundary="fixed")),
    (2, 1, 3, 4, 5, 3, dict(driven=True, features=4), dict(boundary="fixed", scheme="centred")),
    (2, 1, 1, 3, 4, 3, INVERSE, dict(readout="max", scheme="damping-implicit", nonlinearity="identity")),
    (2, 1, 1, 20, 19, 3, {}, dict(readout="mean", boundary="free")),
    (2, 1, 1, 3, 4, 3, {}, dict(readout="last", return_sequence=False, scheme="centred", checkpoint_every=9)),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: "T{}-B{}-C{}-H{}-W{}-K{}".format(*case[:6]))
def test_values_and_every_gradient_are_those_of_the_reference(case):
    *shape, of_problem, options = case
    options = dict(options, steps=shape[0])
    for dtype in TOLERANCE if shape[1] > 1 else [torch.float64]:
        tensors = problem(*shape, dtype=dtype, **of_problem)
        assert_close(run(tensors, "triton", **options), run(tensors, "reference", **options), TOLERANCE[dtype])


def test_more_steps_than_wait_for_a_readout():
    tensors = problem(26, 1, 1, 1, 2, 1, features=3)
    assert_close(run(tensors, "triton", steps=26), run(tensors, "reference", steps=26), 1e-10)


def test_only_the_gradients_that_are_wanted_are_computed():
    tensors = problem(2, 1, 1, 3, 4, 1, features=2, driven=True)
    expected = dict(zip(tensors, run(tensors, "reference", steps=2)[3:], strict=True))
    for name in ("y0", "kernel", "damping", "readout"):
        alone = {other: t if other == name else t.detach() for other, t in tensors.items()}
        output, (y, z) = sheet_scan(**alone, steps=2, dt=0.1, backend="triton")
        generator = torch.Generator().manual_seed(1)
        given = [torch.randn(t.shape, generator=generator, dtype=torch.float64) for t in (output, y, z)]
        (found,) = torch.autograd.grad((output, y, z), alone[name], given)
        torch.testing.assert_close(found, expected[name])


def test_results_share_no_memory_and_may_be_overwritten():
    tensors = problem(2, 1, 1, 2, 3, 1)
    expected = run(tensors, "triton", steps=2, seen="output")[1:]
    output, (y, z) = sheet_scan(**tensors, steps=2, dt=0.1, backend="triton")
    given = torch.randn(output.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    with torch.no_grad():
        for result in (output, y, z):
            result.fill_(float("nan"))
    assert_close(torch.autograd.grad(output, list(tensors.values()), given), expected, 1e-14)


def test_nothing_leaves_the_light_cone_and_not_a_number_is_passed_on():
    tensors = {name: t.detach() for name, t in problem(2, 1, 1, 7, 6).items()}
    touched = tensors["y0"].clone()
    touched[0, 0, 3, 3] = float("nan")
    for readout in (None, "max"):
        found, expected = (
            sheet_scan(**(tensors | {"y0": touched}), steps=2, dt=0.1, readout=readout, backend=backend)[0]
            for backend in ("triton", "reference")
        )
        assert torch.equal(found.isnan(), expected.isnan())
        assert not found.isnan().all()


def test_an_empty_batch_works():
    output, y, _, *gradients = run(problem(2, 0, 2, 3, 5, features=2), "triton", steps=2)
    assert output.shape == (2, 0, 2, 3, 5)
    assert y.shape == (0, 2, 3, 5)
    assert not gradients[2].any()


def test_the_operator_is_registered_as_pytorch_wants_it():
    tensors = problem(2, 1, 1, 2, 3, features=2, driven=True)
    options = (2, 0.1, "periodic", "tanh", "semi-implicit", False, False, -1, "triton", True)
    tests = ("test_schema", "test_autograd_registration", "test_faketensor")
    torch.library.opcheck(torch.ops.wavefield.sheet_scan, (*tensors.values(), *options), test_utils=tests)


def test_what_is_unrolled_too_far_is_refused():
    with pytest.raises(ValueError, match="at most 7 taps"):
        run(problem(1, 1, 1, 9, 9, 9), "triton", steps=1)
    assert scan._choose("auto", torch.zeros(1, 1, 9, 9), torch.zeros(1, 1, 9, 9), 9) == "cpu"
