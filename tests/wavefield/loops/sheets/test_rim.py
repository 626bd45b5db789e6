"""What a rim throws back, by width and by angle, and that it holds still."""

import numpy as np
import pytest

import wavefield as wf
from wavefield.loops.sheets.leapfrog import sheet_leapfrog
from wavefield.operators.rim import make_rim, rim_of, rim_profile, step_with_rim

EIGHTH = np.array([-1 / 560, 8 / 315, -1 / 5, 8 / 5, -205 / 72, 8 / 5, -1 / 5, 8 / 315, -1 / 560])
CROSS_8 = np.zeros((9, 9))
CROSS_8[4] += EIGHTH
CROSS_8[:, 4] += EIGHTH
STENCILS = {
    "five-point": (np.array([[0, 1, 0], [1, -4, 1], [0, 1, 0]]), 0.7),
    "nine-point": (np.array([[1, 4, 1], [4, -20, 4], [1, 4, 1]]) / 6, 0.86),
    "order 8": (CROSS_8, 0.55),
}


def taps_of(stencil):
    laplacian, courant = STENCILS[stencil]
    taps = courant**2 * laplacian
    taps[taps.shape[0] // 2, taps.shape[1] // 2] += 2
    return taps, courant


def reflection(width, wavelength, angle, courant):
    """|R| of a plane wave on the layer at the end of a line, from the discrete equations in the frequency domain.

    With h = z^t e^{−i k_x x} v(y) the five-point scheme is a recursion for v from cell to cell, and each stretched
    derivative is divided by s = 1/(1 + a/(1 − b/z)): v is followed from the zero beyond the layer to its inner edge.
    """
    k_y, k_x = 2 * np.pi / wavelength * np.array([np.cos(angle), np.sin(angle)])
    share = 4 * np.sin(k_y / 2) ** 2  # of the discrete Laplacian along y
    omega = 2 * np.arcsin(courant * np.sqrt(np.sin(k_y / 2) ** 2 + np.sin(k_x / 2) ** 2))
    profile = rim_profile(2 * width + 1, width, courant)
    cell, face = (
        1 + a / (1 - b * np.exp(-1j * omega))
        for a, b in ((profile.cell_a, profile.cell_b), (profile.face_a, profile.face_b))
    )
    ratio = 0.0  # v of a cell over v of the next one inside
    for i in range(width):
        ratio = cell[i] * face[i + 1] / (cell[i] * (face[i] * (1 - ratio) + face[i + 1]) - share)
    phase = np.exp(-1j * k_y)
    return abs((phase - ratio) / (ratio - 1 / phase))


def test_layers_have_the_profile_of_a_convolutional_one():
    """b = e^{−(σ+α)}, a = σ/(σ+α)·(b − 1), σ = 2.5 c d⁴, α = 0.05 c (1 − d) at the depth d; faces half a cell out."""
    width, size, c = 4, 12, 0.3
    found = rim_profile(size, width, c)
    for place, a, b in (
        (np.arange(size), found.cell_a, found.cell_b),
        (np.arange(size + 1) - 0.5, found.face_a, found.face_b),
    ):
        depth = np.clip(np.maximum(width - place, place - (size - 1 - width)) / width, 0, None)
        sigma, alpha = 2.5 * c * depth**4, 0.05 * c * np.clip(1 - depth, 0, None)
        np.testing.assert_allclose(b, np.exp(-(sigma + alpha)), rtol=1e-13)
        np.testing.assert_allclose(a, sigma / (sigma + alpha) * (np.exp(-(sigma + alpha)) - 1), rtol=1e-13)


def test_layers_along_each_axis_are_those_of_the_fastest_waves_along_it():
    profile = np.random.default_rng(0).uniform(0.3, 1, (14, 15))
    op = wf.wave(0.5, dims=2, dx=(0.8, 2.0), profile=profile, boundary="absorbing", rim=4)
    found = rim_of(op, (14, 15))
    for along, size, spacing in ((found.y, 14, 0.8), (found.x, 15, 2.0)):
        expected = rim_profile(size, 4, 0.5 * profile.max() / spacing)
        for name in ("cell_a", "cell_b", "face_a", "face_b"):
            np.testing.assert_allclose(getattr(along, name), getattr(expected, name), rtol=1e-12)


def test_reflection_by_width_and_angle(measured):
    """By width, angle and cells per wave, the larger of those at Courant numbers 0.3 and 0.7."""
    for width, target in ((8, 1e-3), (10, 2e-4), (20, 1e-5), (40, 1e-6)):
        for degrees in (0, 15, 30, 45, 60, 75):
            for wavelength in (10, 12, 16, 24, 40):
                found = max(reflection(width, wavelength, np.radians(degrees), c) for c in (0.3, 0.7))
                goal = f"at most {target}" if degrees <= 60 else ""
                measured(f"reflection, {width} cells, {degrees}°, {wavelength} cells a wave", float(found), goal)
                assert degrees > 60 or found <= target
    assert reflection(20, 20, np.radians(75), 0.5) <= 1e-3


@pytest.mark.parametrize("stencil", STENCILS)
def test_a_source_in_a_corner_radiates_as_on_a_sheet_without_edges(stencil, measured):
    taps, courant = taps_of(stencil)
    inner, width, more, wavelength = 36, 20, 70, 16
    steps = int(100 / courant)
    t = np.arange(steps)
    pulse = (np.pi * courant / wavelength * (t - 1.2 * wavelength / courant)) ** 2
    pulse = (1 - 2 * pulse) * np.exp(-pulse)

    def run(around, **edges):
        size = inner + 2 * around
        y, x = np.indices((size, size)) - around
        spot = np.exp(-((y - 5) ** 2 + (x - 24) ** 2) / 8)
        rest, out = np.zeros((1, 1, size, size)), np.empty((steps // 4, 1, 1, size, size))
        sheet_leapfrog(
            rest, rest, q=1.0, taps=taps, steps=steps, drive=pulse[None, :steps, None],
            encoder=spot[None, :, :, None], every=4, out=out, **edges,
        )  # fmt: skip
        return out[..., around:-around, around:-around]

    size = inner + 2 * width
    rim = make_rim((size, size), (width, width), (courant, courant))
    found = run(width, boundary=("absorbing",) * 2, rim=rim)
    expected = run(more, boundary=("fixed",) * 2)
    error = np.abs(found - expected).max() / np.abs(expected).max()
    measured("largest error beside a larger sheet, rim of 20 cells, corners included", float(error), "at most 1e-5")
    assert error <= 1e-5


@pytest.mark.parametrize("stencil", STENCILS)
def test_what_has_left_does_not_come_back(stencil, draws, measured):
    taps, courant = taps_of(stencil)
    steps = draws(3_000, 100_000)
    rim = make_rim((28, 30), (10, 12), (courant, courant))
    y, x = np.indices((28, 30))
    pulse = np.exp(-((y - 13) ** 2 + (x - 16) ** 2) / 18)[None, None]
    levels, fields, largest = (pulse, pulse), None, []
    for _ in range(10):
        *levels, fields = sheet_leapfrog(
            *levels, q=1.0, taps=taps, boundary=("absorbing",) * 2, rim=rim, rim_fields=fields, steps=steps // 10
        )
        largest.append(max(np.abs(levels[0]).max(), np.abs(fields).max()))
    measured(f"largest of the second half of {steps} steps, over a pulse of 1", float(max(largest[5:])), "no growth")
    assert largest[0] < 0.01
    assert max(largest[5:]) < largest[0] / 2


def test_a_medium_without_variation_has_the_rim_of_its_taps():
    taps, courant = taps_of("five-point")
    rng = np.random.default_rng(3)
    now, before = rng.standard_normal((2, 2, 2, 25, 26))
    rim = make_rim((25, 26), (6, 7), (courant, courant))
    given = {"boundary": ("absorbing",) * 2, "rim": rim, "steps": 30, "q": 1.0}
    by_taps = sheet_leapfrog(now, before, taps=taps, **given)
    faces = [np.full((1, *size), courant**2) for size in ((26, 26), (25, 27))]
    scale = np.ones((2, 25, 26))
    scale[:, 12, 12] = 1 + 1e-15
    for medium in ({"faces": faces}, {"faces": faces, "scale": scale}):
        *levels, fields = sheet_leapfrog(now, before, **medium, **given)
        levels.append(courant**2 * fields)  # in a medium the gain is taken last
        for one, two in zip(levels, by_taps, strict=True):
            np.testing.assert_allclose(one, two, atol=1e-10)


def test_layers_that_meet_are_refused():
    with pytest.raises(ValueError, match="narrower than half"):
        rim_profile(10, 5, 0.5)
    field, rim = np.zeros((1, 1, 20, 20)), make_rim((20, 20), (3, 3), (0.5, 0.5))
    given = {"taps": np.ones((5, 5)), "boundary": ("absorbing",) * 2, "rim": rim, "steps": 1}
    with pytest.raises(ValueError, match="cross or 3 × 3"):
        sheet_leapfrog(field, field, q=1, **given)


RIMMED = {
    "five-point, damped, two": wf.wave([0.6, 0.4], 0.03, dims=2, boundary=("absorbing", "free"), rim=4),
    "nine-point": wf.wave(0.6, dims=2, isotropic=True, boundary="absorbing", rim=3),
    "order 4": wf.wave(0.5, dims=2, order=4, boundary=("periodic", "absorbing"), rim=3),
    "medium": wf.wave(0.6, 0.1, dims=2, boundary="absorbing", rim=3, profile=np.linspace(0.6, 1, 156).reshape(13, 12)),
    "mask": wf.wave(0.6, dims=2, boundary="absorbing", rim=3, mask=np.indices((13, 12)).sum(axis=0) != 9),
}


@pytest.mark.parametrize("name", RIMMED)
def test_the_step_with_a_rim_as_a_matrix_is_what_the_loop_makes(name):
    op, size = RIMMED[name], (13, 12)
    start = np.random.default_rng(0).standard_normal((op.rings, 2, *size)) * (1 if op.mask is None else op.mask)
    step = step_with_rim(op, size)
    state = np.zeros(step.shape[0])
    levels = state[: start.size].reshape(start.shape)
    levels[:] = start
    rec = wf.simulate(op, initial=start[:, 0], previous=start[:, 1], steps=25, method="step")
    for found in rec.activity.values:
        state = step @ state
        np.testing.assert_allclose(found, state[: start.size].reshape(start.shape)[:, 0], atol=1e-11)


@pytest.mark.parametrize("noise", [0.0, 0.01])
def test_what_entered_a_sheet_with_a_rim_is_read_back(noise):
    op, size, places = wf.wave(0.6, dims=2, boundary="absorbing", rim=5), (24, 26), [(9, 9), (14, 17)]
    drive = wf.spikes([[(3, 1.0), (12, 0.6)], [(7, 0.8)]], steps=20)  # the first has passed the rim
    rec = wf.simulate(op, drive, encoder=wf.encoder_at(places, size))
    rec["activity"] = rec.activity + noise * np.random.default_rng(1).normal(size=rec.activity.shape)
    found = wf.decode(rec, previous=False)
    assert list(zip(found.onset.values, found.input.values, strict=True)) == [(3, 0), (7, 1), (12, 0)]
    np.testing.assert_allclose(found.amplitude, [1.0, 0.8, 0.6], atol=10 * noise + 1e-6)
    anywhere = wf.decode(rec, sites="anywhere", previous=False)
    sure = anywhere.isel(event=anywhere.confidence.values > 0.9)
    read = list(zip(sure.onset.values, sure.y.values, sure.x.values, strict=True))
    assert read == [(3, 9, 9), (7, 14, 17), (12, 9, 9)]
