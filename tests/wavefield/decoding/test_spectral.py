"""The forward map mode by mode is the forward map."""

import numpy as np
import pytest

import wavefield as wf
from wavefield.decoding.inverse.spectral import SpectralDesign
from wavefield.decoding.request import Request
from wavefield.decoding.sparse.reader import SparseReader
from wavefield.operators.design import design


@pytest.mark.parametrize("source", ["pulse", "force"])
@pytest.mark.parametrize("size", [64, 65])
@pytest.mark.parametrize(
    ("operator", "previous"),
    [
        (wf.wave(0.9), True),
        (wf.wave(0.9), False),
        (wf.wave(0.8, 0.01, order=4), True),
        (wf.transport([0.9, -0.8]), False),
    ],
    ids=["two-way", "displacement", "order 4, damped", "two rings"],
)
def test_a_periodic_map_is_the_same_mode_by_mode(operator, previous, size, source):
    plain = design(operator, size, 50, previous=previous, source=source)
    spectral = SpectralDesign.of(plain, size)
    snapshot = np.random.default_rng(0).normal(size=plain.shape[0])
    np.testing.assert_allclose(spectral.columns(), plain.columns(), rtol=0, atol=1e-12)
    np.testing.assert_allclose(spectral.columns([7, 3, 7]), plain.columns([7, 3, 7]), rtol=0, atol=1e-12)
    np.testing.assert_allclose(spectral.adjoint(snapshot), plain.adjoint(snapshot), rtol=0, atol=1e-11)
    np.testing.assert_allclose(spectral.norms(), plain.norms(), rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    "operator",
    [wf.wave(0.9, boundary="fixed"), wf.transport(0.9, boundary="absorbing"), wf.transport(1.0, profile=np.ones(64))],
    ids=["fixed", "absorbing", "profile"],
)
def test_only_an_operator_that_treats_all_positions_alike_has_modes(operator):
    treats_alike = operator.profile is not None  # a profile of ones does, though it need not
    assert (SpectralDesign.of(design(operator, 64, 20), 64) is not None) == treats_alike


@pytest.mark.parametrize("operator", [wf.wave(0.9), wf.wave(0.9, boundary="fixed")], ids=["modes", "steps"])
def test_a_map_that_is_not_written_out_gives_the_same_events(operator):
    rng = np.random.default_rng(1)
    drive = np.zeros((150, 1))
    drive[rng.choice(150, 6, replace=False)] = rng.uniform(0.5, 1.5, (6, 1))
    rec = wf.simulate(operator, drive, size=256)
    rec = rec.assign({name: rec[name] + 1e-3 * rng.normal(size=rec[name].shape) for name in ("activity", "previous")})
    request = Request.of(rec)
    events = SparseReader.of(request, largest_matrix=512 * 149).read(*request.snapshots[0], None)
    assert sorted(events.onset.tolist()) == np.flatnonzero(drive[:, 0]).tolist()
    assert (events.confidence > 0.99).all()
