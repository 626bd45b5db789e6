"""The forward map of decoding: a linear map with the adjoint it claims, made of the very field that is simulated."""

import numpy as np
import pytest
from scipy.sparse.linalg import LinearOperator, lsqr
from scipy.stats import binom

import wavefield as wf
from wavefield.operators.design import design

OPERATORS = {
    "transport, Courant 1": (wf.transport(1.0), {}),
    "transport, Courant 0.9 to lower positions": (wf.transport(-0.9), {}),
    "fading ring": (wf.transport(0.8, gain=0.97), {}),
    "line with outflow": (wf.transport(0.9, boundary="absorbing"), {}),
    "speed profile": (wf.transport(0.9, profile=np.linspace(0.2, 1, 24)), {}),
    "static": (wf.static(), {}),
    "two-way, both levels": (wf.wave(0.8), {"previous": True}),
    "two-way, displacement": (wf.wave(1.0), {}),
    "two-way, force": (wf.wave(0.9), {"source": "force", "previous": True}),
    "two-way, damped": (wf.wave(0.9, 0.1), {"previous": True}),
    "two-way, fixed ends": (wf.wave(1.0, boundary="fixed"), {"previous": True}),
    "two-way, free ends": (wf.wave(0.7, boundary="free"), {}),
    "two-way, absorbing ends": (wf.wave(0.9, boundary="absorbing"), {"previous": True}),
    "two-way, order 4": (wf.wave(0.8, order=4), {}),
}


@pytest.fixture(params=OPERATORS, name="field")
def _field(request):
    return OPERATORS[request.param]


def test_adjoint_passes_the_dot_test(field):
    """⟨F x, y⟩ = ⟨x, Fᵀ y⟩."""
    operator, options = field
    F = design(operator, 24, 40, inputs=3, **options)
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(40, 3)), rng.normal(size=F.shape[0])
    left, right = F.forward(x) @ y, np.vdot(x, F.adjoint(y))
    assert abs(left - right) <= 1e-13 * np.linalg.norm(F.forward(x)) * np.linalg.norm(y)


def test_forward_is_the_last_snapshot_of_the_simulation(field):
    operator, options = field
    x = np.random.default_rng(1).normal(size=(40, 3))
    source = {"source": options["source"]} if "source" in options else {}
    rec = wf.simulate(operator, x, size=24, **source)
    expected = [rec["activity"].values[-1]]
    if options.get("previous"):
        expected.append(rec["previous"].values)
    F = design(operator, 24, 40, inputs=3, **options)
    np.testing.assert_allclose(F.forward(x), np.ravel(expected), rtol=0, atol=1e-12 * np.abs(expected).max())


def test_columns_are_what_single_inputs_leave(field):
    operator, options = field
    F = design(operator, 24, 9, inputs=2, **options)
    whole = F.columns()
    for column in range(F.shape[1]):
        unit = np.zeros(F.shape[1])
        unit[column] = 1.0
        np.testing.assert_allclose(whole[:, column], F.forward(unit.reshape(9, 2)), rtol=0, atol=1e-15)
    chosen = np.random.default_rng(2).permutation(F.shape[1])[:7]
    np.testing.assert_array_equal(F.columns(chosen), whole[:, chosen])
    np.testing.assert_allclose(F.norms().ravel(), np.linalg.norm(whole, axis=0), rtol=1e-14)


def test_column_of_a_one_way_field_is_the_wrapped_binomial_distribution():
    nu, size, steps = 0.7, 16, 60
    F = design(wf.transport(nu), size, steps)
    oldest = np.zeros(size)
    np.add.at(oldest, np.arange(steps) % size, binom.pmf(np.arange(steps), steps - 1, nu))
    np.testing.assert_allclose(F.columns([0])[:, 0], oldest, rtol=0, atol=1e-14)


def test_rank_of_displacement_alone_is_half_the_ring_and_one():
    """One source: the field is mirrored about it. Both levels see the direction and resolve the rest."""
    alone, both = (design(wf.wave(1.0), 64, 64, previous=seen).columns() for seen in (False, True))
    assert np.linalg.matrix_rank(alone) == 33
    assert np.linalg.matrix_rank(both) == 64


@pytest.mark.parametrize(
    ("speed", "inputs", "previous", "condition"),
    [(1.0, 1, False, 1.4), (1.0, 1, True, 2.0), (0.9, 1, True, 8.6e6), (0.9, 4, False, 240), (0.9, 4, True, 49)],
)
def test_conditioning_of_32_samples_on_a_ring_of_64(speed, inputs, previous, condition):
    encoder = wf.encoder_at(64 // inputs * np.arange(inputs), 64)
    F = design(wf.wave(speed), 64, 32 // inputs, encoder=encoder, previous=previous)
    assert np.linalg.cond(F.columns()) == pytest.approx(condition, rel=0.05)


def test_parts_put_together_are_the_whole():
    encoder = np.zeros((3, 20, 4))
    encoder[0, 0, 0] = encoder[1, 3, 1] = encoder[2, 5, 2] = 1.0
    encoder[2, 7, 1] = 0.5  # input 1 ties rings 1 and 2 together; input 3 enters nowhere
    F = design(wf.wave(0.9).with_rings(3), 20, 15, encoder=encoder, previous=True)
    parts = F.parts()
    assert [inputs.tolist() for _, _, inputs in parts] == [[0], [1, 2]]
    x = np.random.default_rng(3).normal(size=(15, 4))
    together = np.zeros(F.shape[0])
    for part, rows, inputs in parts:
        together[rows] += part.forward(x[:, inputs])
    np.testing.assert_allclose(together, F.forward(x), rtol=0, atol=1e-14)


def test_parts_that_are_equal_have_equal_fingerprints():
    encoder = np.zeros((3, 20, 3))
    encoder[0, 0, 0] = encoder[1, 0, 1] = encoder[2, 1, 2] = 1.0
    prints = [part.fingerprint() for part, _, _ in design(wf.transport(0.9), 20, 15, encoder=encoder).parts()]
    assert prints[0] == prints[1] != prints[2]


def test_forward_and_adjoint_are_all_that_an_iterative_solver_needs():
    F = design(wf.wave(0.9), 32, 10, inputs=2)
    matrix = LinearOperator(F.shape, lambda x: F.forward(x.reshape(10, 2)), lambda y: F.adjoint(y).ravel())
    x = np.random.default_rng(4).normal(size=20)
    np.testing.assert_allclose(lsqr(matrix, F.columns() @ x, atol=1e-14, btol=1e-14)[0], x, atol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "options", "named"),
    [
        ((np.eye(3), 8, 4), {}, "operator must be a WaveOperator, got ndarray"),
        ((wf.transport(1.0), 0, 4), {}, "size must be at least 1, got 0"),
        ((wf.transport(1.0), 8, 2.5), {}, "steps must be an integer"),
        ((wf.transport(1.0), 8, 4), {"source": "plucked"}, "source must be 'pulse' or 'force', got 'plucked'"),
        ((wf.transport(1.0), 8, 4), {"previous": True}, "previous: the field of this operator has one level"),
        ((wf.transport(1.0), 8, 4), {"encoder": np.zeros((1, 7, 2))}, "encoder must have shape"),
    ],
)
def test_bad_arguments_are_named(arguments, options, named):
    with pytest.raises((TypeError, ValueError), match=named):
        design(*arguments, **options)


def test_bad_vectors_are_named():
    F = design(wf.transport(1.0), 8, 4)
    with pytest.raises(ValueError, match=r"drive must have shape \(4, 1\), got \(3, 1\)"):
        F.forward(np.zeros((3, 1)))
    with pytest.raises(ValueError, match=r"snapshot must have shape \(8,\), got \(9,\)"):
        F.adjoint(np.zeros(9))
