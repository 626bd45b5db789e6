"""Modes of drums: against closed forms, published eigenvalues, the spectrum of a simulation, and each other."""

import numpy as np
import pytest

import wavefield as wf
from wavefield.operators.design import design

# T. A. Driscoll, SIAM Rev. 39, 1 (1997): eigenvalues of −Δ on the isospectral drums with legs of length 2
DRISCOLL = np.array([
    2.53794399980, 3.65550971352, 5.17555935622, 6.53755744376, 7.24807786256, 9.20929499840, 10.5969856913,
    11.5413953956, 12.3370055014,
])  # fmt: skip
L_SHAPE = np.array([9.639723844021946, 15.197251926454308, 2 * np.pi**2])  # of three unit squares


def drum(mask, cells, **more):
    """A drum whose unit of length is so many cells."""
    return wf.modes(wf.wave(0.7, dims=2, dx=1 / cells, dt=1 / cells, boundary="fixed"), mask, **more)


def test_a_square_has_the_frequencies_of_its_closed_form():
    size, courant = 12, 0.6
    found = wf.modes(wf.wave(courant, 0.1, dims=2, boundary="fixed"), (size, size), count=8)
    m, n = np.meshgrid(np.arange(1, size + 1), np.arange(1, size + 1))
    stiffness = 4 * courant**2 * (np.sin(m * np.pi / 26) ** 2 + np.sin(n * np.pi / 26) ** 2)
    # with damping (1 + g)h' − 2h + (1 − g)h⁻ = −stiffness·h, so cos θ = (1 − stiffness/2)/√(1 − g²)
    angle = np.sort(np.arccos(np.clip((1 - stiffness / 2) / np.sqrt(1 - 0.05**2), -1, 1)).ravel())[:8]
    np.testing.assert_allclose(found.frequency, angle / (2 * np.pi), rtol=1e-11)
    assert found.attrs["decay"] == pytest.approx(-np.log(0.95 / 1.05) / 2)
    np.testing.assert_allclose((found["shape"] ** 2).sum(["y", "x"]), 1)


@pytest.mark.parametrize("cells", [4, 16])
def test_two_drums_of_different_shape_have_one_spectrum(cells):
    first, second = wf.isospectral_drums(cells)
    assert first.sum() == second.sum()
    assert (first != second).any()
    count = 39 if cells == 4 else 14
    one, other = (drum(mask, cells / 2, count=count).frequency for mask in (first, second))
    np.testing.assert_allclose(one, other, rtol=1e-12)


def test_the_isospectral_drums_have_the_published_eigenvalues(measured):
    lattices = (16, 32, 48, 64)
    found = np.array([drum(wf.isospectral_drums(m)[0], m / 2, count=9).eigenvalue.values for m in lattices])
    error = np.abs(found[-1] / DRISCOLL - 1).max()
    measured("largest relative error of 9 eigenvalues, 64 cells a leg", error, "1e-3")
    assert error <= 1e-3
    # the corners of 270° limit the order to 4/3: what h^{4/3}, h² and h^{8/3} leave is taken out
    terms = (1 / np.array(lattices))[:, None] ** np.array([0, 4 / 3, 2, 8 / 3])
    error = np.abs(np.linalg.solve(terms, found)[0] / DRISCOLL - 1).max()
    measured("the same, extrapolated from 16, 32, 48 and 64 cells a leg", error, "1e-5")
    assert error <= 1e-5
    ninth = 64**2 * (np.sin(np.pi / 128) ** 2 + np.sin(np.pi / 64) ** 2)  # 5π²/4 on the lattice
    np.testing.assert_allclose(found[-1, 8], ninth, rtol=1e-9)


def test_an_l_shape_has_the_published_eigenvalues():
    cells = 40
    mask = np.ones((2 * cells - 1, 2 * cells - 1), bool)
    mask[cells - 1 :, cells - 1 :] = False
    np.testing.assert_allclose(drum(mask, cells, count=3).eigenvalue, L_SHAPE, rtol=3e-3)


def test_modes_are_the_peaks_of_a_simulation():
    mask = np.zeros((20, 20), bool)
    mask[2:17, 3:10] = mask[9:17, 3:18] = True
    op, steps = wf.wave(0.6, dims=2, boundary="fixed", mask=mask), 6000
    field = wf.simulate(op, initial=np.random.default_rng(0).standard_normal((20, 20)) * mask, steps=steps)
    window = np.hanning(steps)[:, None]
    power = (np.abs(np.fft.rfft(field.activity.values[:, 0, mask] * window, axis=0)) ** 2).sum(axis=1)
    peaks = 1 + np.flatnonzero((power[1:-1] > power[:-2]) & (power[1:-1] > power[2:]))
    found = wf.modes(op, count=4).frequency.values * steps
    assert np.abs(np.subtract.outer(found, peaks)).min(axis=1).max() <= 1


@pytest.mark.parametrize("edge", ["fixed", "free"])
def test_each_mode_of_a_medium_swings_alone(edge):
    rng, shape = np.random.default_rng(0), (30, 24)  # too large to be solved densely
    mask = np.hypot(*(np.indices(shape) - 12.0)) < 12
    profiles = {"profile": rng.uniform(0.5, 1, shape), "restoring_profile": rng.uniform(0, 0.1, shape)}
    op = wf.wave(0.6, dims=2, boundary=("free", "fixed"), mask=mask, edge=edge, **profiles)
    found = wf.modes(op, count=3)
    for shape_of, frequency in zip(found["shape"].values, found.frequency.values, strict=True):
        rec = wf.simulate(op, initial=shape_of, steps=100)
        swing = np.cos(2 * np.pi * frequency * np.arange(1, 101))
        np.testing.assert_allclose(rec.activity[:, 0], swing[:, None, None] * shape_of, atol=1e-9)


def test_a_free_drum_and_a_ring_have_a_mode_at_rest():
    for boundary in ("free", "periodic"):
        found = wf.modes(wf.wave(0.5, dims=2, boundary=boundary), (40, 20), count=2)
        assert found.frequency[0].item() == pytest.approx(0, abs=1e-6)
        np.testing.assert_allclose(found["shape"][0], found["shape"][0, 0, 0], rtol=1e-5)
    ring = wf.modes(wf.wave(0.5), 24, count=3).frequency.values
    np.testing.assert_allclose(ring[1:], np.arcsin(0.5 * np.sin(np.pi / 24)) / np.pi)


def test_the_area_of_a_square_is_read_from_the_fundamental_of_a_simulation():
    for side in (8, 16, 32):
        op = wf.wave(0.7, dims=2, boundary="fixed")
        shape = np.outer(*[np.sin(np.pi * np.arange(1, side + 1) / (side + 1))] * 2)
        trace = wf.simulate(op, initial=shape, steps=600).activity.values[:, 0, side // 2, side // 2]
        crossings = np.flatnonzero(np.diff(np.signbit(trace)))
        exact = crossings + trace[crossings] / (trace[crossings] - trace[crossings + 1])
        frequency = (exact.size - 1) / (2 * (exact[-1] - exact[0]))
        assert wf.square_from_fundamental(frequency, 0.7) == pytest.approx((side + 1) ** 2, rel=0.01)


def test_area_and_perimeter_are_read_from_a_spectrum():
    for size, cells in (((30, 60), 100), ((40, 40), 60)):
        found = wf.modes(wf.wave(0.5, dims=2, boundary="fixed"), size, count=cells).eigenvalue
        area, perimeter = wf.extent_from_spectrum(found, dx=1.0)
        assert area == pytest.approx((size[0] + 1) * (size[1] + 1), rel=0.01)
        assert perimeter == pytest.approx(2 * (sum(size) + 2), rel=0.05)
    mask = wf.isospectral_drums(24)[0]
    area, perimeter = wf.extent_from_spectrum(drum(mask, 24, count=100).eigenvalue, dx=1 / 24)
    assert area == pytest.approx(3.5, rel=0.01)
    assert perimeter == pytest.approx(6 + 3 * 2**0.5, rel=0.05)


def unexplained(seen, op, encoder):
    """Root mean square of what no input at a place, of any strength at any time, can have left."""
    columns = design(op, op.mask.shape, 25, encoder=encoder).columns()
    left = seen - columns @ np.linalg.lstsq(columns, seen, rcond=None)[0]
    return np.sqrt(np.mean(left**2))


def test_a_snapshot_tells_which_drum_it_was_where_the_spectrum_cannot():
    drums = wf.isospectral_drums(6)
    ops = [wf.wave(0.6, dims=2, boundary="fixed", mask=mask) for mask in drums]
    both = np.argwhere(drums[0] & drums[1])
    encoder = wf.encoder_at(both[len(both) // 2][None], drums[0].shape)
    events = wf.spikes([[(4, 1.0), (11, 0.8)]], steps=25)
    rng = np.random.default_rng(0)
    for number, op in enumerate(ops):
        seen = wf.simulate(op, events, encoder=encoder).activity.values[-1]
        seen = seen + rng.normal(0, 0.01, seen.shape) * op.mask
        left = [unexplained(seen.ravel(), other, encoder) for other in ops]
        assert left[1 - number] > 5 * left[number]
        found = wf.decode(seen, op, steps=25, encoder=encoder, noise=0.01)
        assert found.onset.values.tolist() == [4, 11]


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: wf.modes(wf.transport(1.0), 8), "two-way"),
        (lambda: wf.modes(wf.wave(0.5, dims=2)), "domain must be given"),
        (lambda: wf.modes(wf.wave(0.5, boundary="absorbing"), 9), "absorbing"),
        (lambda: wf.modes(wf.wave(0.5, damping_profile=np.linspace(0, 0.1, 9))), "depends on position"),
        (lambda: wf.modes(wf.wave(0.5, dims=2), (8, 8), count=0), "count must be at least 1"),
        (lambda: wf.isospectral_drums(1), "cells must be at least 2"),
        (lambda: wf.extent_from_spectrum([1.0, 2.0]), "at least 10"),
        (lambda: wf.square_from_fundamental(-1.0), "frequency must be a finite positive"),
    ],
)
def test_bad_arguments_are_named(call, match):
    with pytest.raises(ValueError, match=match):
        call()


@pytest.mark.parametrize("damping", [0.0, 0.2])
def test_eigenvalues_of_a_sheet_of_two_spacings_are_those_of_the_laplacian_alone(damping):
    """λ = Σ 4 sin²(πk/2(N+1))/dx², whatever pulls or damps: the frequency has ω² = c²λ + ω₀², fading at γ/2."""
    (ny, nx), (dy, dx), dt = (6, 8), (0.5, 1.0), 0.3
    op = wf.wave(0.6, damping, restoring=0.1, dims=2, dx=(dy, dx), dt=dt, boundary="fixed")
    found = wf.modes(op, (ny, nx), count=10)
    along = [4 * np.sin(np.pi * np.arange(1, n + 1) / (2 * n + 2)) ** 2 / d**2 for n, d in ((ny, dy), (nx, dx))]
    expected = np.sort(np.add.outer(*along).ravel())[:10]
    np.testing.assert_allclose(found.eigenvalue, expected, rtol=1e-9)
    q = (1 - damping * dt / 2) / (1 + damping * dt / 2)
    cosine = (2 - dt**2 * (0.36 * expected + 0.1)) / (1 + damping * dt / 2) / (2 * np.sqrt(q))
    np.testing.assert_allclose(found.frequency, np.arccos(cosine) / (2 * np.pi * dt), rtol=1e-9)
    assert found.attrs["decay"] == pytest.approx(-np.log(q) / (2 * dt))
    power = (found["shape"] ** 2).sum(("y", "x")) * dy * dx
    np.testing.assert_allclose(power, 1, rtol=1e-9)
