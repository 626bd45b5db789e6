"""Operators of sheets: the equations they discretise, their limits, exactness, energy and jumps, against physics."""

import itertools

import numpy as np
import pytest
from scipy.special import j0

import wavefield as wf

TAU = 2 * np.pi
STENCILS = {
    "five": ({}, lambda a, b: 4 * np.sin(a / 2) ** 2 + 4 * np.sin(b / 2) ** 2),
    "nine": ({"isotropic": True}, lambda a, b: (20 - 8 * (np.cos(a) + np.cos(b)) - 4 * np.cos(a) * np.cos(b)) / 6),
    "order 4": ({"order": 4}, lambda a, b: sum(5 / 2 - 8 / 3 * np.cos(k) + np.cos(2 * k) / 6 for k in (a, b))),
}
LIMITS = [({}, 0.70711), ({"order": 4}, 0.61237), ({"order": 6}, 0.57522), ({"order": 8}, 0.55466)]
LIMITS += [({"isotropic": True}, 0.86603)]


def stepped(op, levels, steps):
    """Levels after so many steps of the loop."""
    rec = wf.simulate(op, initial=levels[0], previous=levels[1], steps=steps, save_every=None, method="step")
    return rec.activity.isel(time=-1).values, rec.previous.values


def plane_wave(op, cycles, size, turn):
    """The levels at steps 0 and −1 of cos(k·r − turn·t), cycles (y, x) over the sheet."""
    y, x = np.indices(size)
    phase = TAU * (cycles[0] * y / size[0] + cycles[1] * x / size[1])
    return np.cos(phase)[None], np.cos(phase + turn)[None], phase


@pytest.mark.parametrize(("stencil", "limit"), LIMITS)
def test_the_courant_limit_is_where_the_scheme_begins_to_grow(stencil, limit):
    assert wf.courant_limit(dims=2, **stencil) == pytest.approx(limit, abs=5e-5)
    stable = wf.wave(0.999 * limit, dims=2, **stencil)
    assert stable.stability(64).kind != "growing"
    with pytest.raises(ValueError, match=r"largest stable dt is 0\.99"):
        wf.wave(1.001 * limit, dims=2, **stencil)
    taps = stable.kernel.copy()  # of the Courant number just above: 2 + r²L
    centre = tuple(width // 2 for width in taps.shape[2:])
    taps[(0, 0, *centre)] -= 2
    taps[0, 0] *= (1.001 / 0.999) ** 2
    taps[(0, 0, *centre)] += 2
    assert wf.WaveOperator(taps, levels=2).stability(64).kind == "growing"


def test_the_courant_limit_holds_with_two_spacings_and_a_restoring_force():
    dy, dx, speed = 0.5, 2.0, 1.0
    largest = 1 / (speed * np.sqrt(1 / dy**2 + 1 / dx**2))
    wf.wave(speed, dims=2, dx=(dy, dx), dt=0.9999 * largest)
    with pytest.raises(ValueError, match="largest stable dt"):
        wf.wave(speed, dims=2, dx=(dy, dx), dt=1.0001 * largest)
    # r²Λ + (ω dt)² ≤ 4
    assert wf.wave(0.7, restoring=4 - 0.49 * 8 - 1e-9, dims=2).stability(32).kind != "growing"
    with pytest.raises(ValueError, match="restoring force"):
        wf.wave(0.7, restoring=4 - 0.49 * 8 + 1e-3, dims=2)
    with pytest.raises(ValueError, match="restoring force") as refused:
        wf.wave(1.0, restoring=1.5, dt=2.0)
    offered = float(str(refused.value).rsplit(" ", 1)[1])
    assert offered**2 * (4 + 1.5) == pytest.approx(4, rel=1e-4)


@pytest.mark.parametrize("name", STENCILS)
def test_the_dispersion_relation_is_followed_in_every_direction(name):
    stencil, laplacian = STENCILS[name]
    courant, force, size = 0.55, 0.02, (40, 48)
    op = wf.wave(courant, restoring=force, dims=2, **stencil)
    angles = np.arange(12) * np.pi / 6
    cycles = np.rint(np.stack([6 * np.sin(angles), 6 * np.cos(angles)], axis=1))
    turns = 2 * np.arcsin(np.sqrt(courant**2 * laplacian(*(TAU * cycles / size).T) + force) / 2)
    waves = [plane_wave(op, c, size, t) for c, t in zip(cycles, turns, strict=True)]
    now, before, phases = (np.array(part) for part in zip(*waves, strict=True))
    after, _ = stepped(op, (now, before), 2000)
    np.testing.assert_allclose(after[:, 0], np.cos(phases - 2000 * turns[:, None, None]), atol=1e-11)
    for (y, x), turn in zip(cycles / size, turns, strict=True):
        assert op.dispersion_relation(([y], [x])).frequency.max().item() * TAU == pytest.approx(turn, abs=1e-12)


@pytest.mark.parametrize("order", [2, 4])
def test_the_error_of_the_phase_speed_falls_with_the_order(order):
    # dt falls with dx², so that the error of space alone is seen
    errors = [1 - float(wf.phase_speeds(wf.wave(0.01, dims=2, order=order), n, [0.3])[0]) / 0.01 for n in (10, 20)]
    assert np.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.1)


def test_the_nine_point_stencil_has_no_preferred_direction():
    five, nine = (
        wf.phase_speeds(wf.wave(0.5, dims=2, isotropic=iso), 8.0).attrs["anisotropy"] for iso in (False, True)
    )
    assert nine <= 0.1 * five


def test_phase_speeds_of_a_sheet_of_two_spacings_are_those_of_leapfrog():
    (dy, dx), dt, speed, cells = (0.5, 2.0), 0.4, 0.7, 8.0
    np.testing.assert_allclose(wf.wave(speed, 0.1, dims=2, dx=(dy, dx), dt=dt).courant, [[0.56, 0.14]], rtol=1e-12)
    angles = np.array([0.0, 0.4, np.pi / 2, 4.0])
    k = 1 / (cells * dx)  # cells are those of the x axis
    along = [np.sin(np.pi * k * of * d) / d for of, d in ((np.sin(angles), dy), (np.cos(angles), dx))]
    expected = 2 * np.arcsin(speed * dt * np.hypot(*along)) / (TAU * k * dt)
    found = wf.phase_speeds(wf.wave(speed, dims=2, dx=(dy, dx), dt=dt), cells, angles)
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    shift = wf.transport(1.0, direction=0.0)  # seen from behind it moves backwards
    np.testing.assert_allclose(wf.phase_speeds(shift, cells, [0.0, 2.0]), np.cos([0.0, 2.0]), rtol=1e-12)


def test_at_one_over_root_two_waves_along_a_diagonal_are_exact():
    op, size = wf.wave(2**-0.5, dims=2), (32, 32)
    assert op.kernel[0, 0, 1, 1] == pytest.approx(0, abs=1e-15)
    cycles = (5, 5)
    turn = TAU * np.hypot(5 / 32, 5 / 32) * 2**-0.5  # c·k, not the scheme's
    now, before, phase = plane_wave(op, cycles, size, turn)
    after, _ = stepped(op, (now, before), 1000)
    np.testing.assert_allclose(after[0], np.cos(phase - 1000 * turn), atol=1e-12)


def test_transport_along_axes_and_diagonals_shifts():
    field = np.random.default_rng(0).standard_normal((1, 9, 12))
    for dy, dx in itertools.product((-1, 0, 1), repeat=2):
        if dy == dx == 0:
            continue
        for direction in ((dy, dx), np.arctan2(dy, dx)):
            op = wf.transport(np.hypot(dy, dx), direction=direction)
            moved = wf.simulate(op, initial=field, steps=5, save_every=None, method="step").activity.values[-1, 0]
            np.testing.assert_array_equal(moved, np.roll(field[0], (5 * dy, 5 * dx), (0, 1)))


def test_transport_in_any_direction_moves_the_centre_of_a_cloud():
    op = wf.transport(0.8, direction=0.4, dx=(1.0, 2.0))
    rec = wf.simulate(op, initial=wf.encoder_at([(10, 10)], (64, 64))[..., 0], steps=30, save_every=None)
    cloud = rec.activity.values[-1, 0]
    y, x = np.indices(cloud.shape)
    assert (cloud * (y - 10)).sum() == pytest.approx(30 * 0.8 * np.sin(0.4))
    assert (cloud * (x - 10)).sum() * 2.0 == pytest.approx(30 * 0.8 * np.cos(0.4))


def rolled(field, dy, dx):
    return np.roll(field, (dy, dx), (-2, -1))


@pytest.mark.parametrize("boundary", [b for b in itertools.product(("periodic", "fixed", "free"), repeat=2)])
def test_boundaries_of_each_axis_are_those_of_a_larger_ring(boundary):
    """A fixed axis is half of an odd ring, a free one half of an even one: stepped there with np.roll alone."""
    rng, size = np.random.default_rng(1), (5, 7)
    field, before = rng.standard_normal((2, *size))

    def unfold(level):
        for axis, kind in enumerate(boundary):
            level = np.moveaxis(level, axis, 0)
            zero = np.zeros((1, *level.shape[1:]))
            if kind == "fixed":
                level = np.concatenate([level, zero, -level[::-1], zero])
            elif kind == "free":
                level = np.concatenate([level, level[-2:0:-1]])
            level = np.moveaxis(level, 0, axis)
        return level

    now, then, c2, w, g = unfold(field), unfold(before), 0.2, 0.03, 0.05
    for _ in range(9):
        neighbours = sum(rolled(now, *shift) for shift in ((1, 0), (-1, 0), (0, 1), (0, -1)))
        now, then = ((2 - 4 * c2 - w) * now + c2 * neighbours - (1 - g) * then) / (1 + g), now
    op = wf.wave(c2**0.5, 2 * g, restoring=w, dims=2, boundary=boundary)
    after, last = stepped(op, (field[None], before[None]), 9)
    np.testing.assert_allclose(after[0], now[:5, :7], atol=1e-13)
    np.testing.assert_allclose(last[0], then[:5, :7], atol=1e-13)
    jumped = op.power(9)(np.stack([field, before]))
    np.testing.assert_allclose(jumped, [now[:5, :7], then[:5, :7]], atol=1e-13)


def medium(shape=(12, 15), **more):
    rng = np.random.default_rng(5)
    mask = np.ones(shape, bool)
    mask[3:6, 4:9] = False
    given = {"profile": rng.uniform(0.4, 1, shape), "restoring_profile": rng.uniform(0, 0.1, shape), "mask": mask}
    return wf.wave(0.7, dims=2, **given | more)


@pytest.mark.parametrize("edge", ["fixed", "free"])
@pytest.mark.parametrize("boundary", ["periodic", ("fixed", "free")])
def test_energy_is_kept_in_any_medium_under_any_mask(edge, boundary):
    op = medium(edge=edge, boundary=boundary)
    start = np.random.default_rng(0).standard_normal((1, 12, 15))
    early = wf.simulate(op, initial=start, steps=2)
    late = wf.simulate(op, initial=start, steps=10000, save_every=None, method="step")
    first = wf.energy(op, early.activity[1].values, early.activity[0].values)
    last = wf.energy(op, late.activity[-1].values, late.previous.values)
    np.testing.assert_allclose(last, first, rtol=1e-11)
    assert not late.activity.values[..., ~op.mask].any()


@pytest.mark.parametrize("boundary", list(itertools.product(("periodic", "fixed", "free"), repeat=2)))
def test_free_edges_of_a_mask_join_each_cell_to_those_beside_it_on_the_sheet(boundary):
    """h[t+1] + h[t−1] − 2h = r² Σ (h_beside − h) over the cells beside it on the sheet, twice from a mirrored end."""
    size, r = (5, 6), 0.6
    mask = np.random.default_rng(3).random(size) < 0.7
    mask[[0, -1], 1:5] = mask[1:4, [0, -1]] = True  # cells beside each other across every end
    op = wf.wave(r, dims=2, mask=mask, edge="free", boundary=boundary)
    expected = np.zeros((*size, *size))
    for y, x in zip(*np.nonzero(mask), strict=True):
        expected[y, x, y, x] += 2
        for axis, by in itertools.product((0, 1), (-1, 1)):
            there = [y, x]
            there[axis] += by
            outside = not 0 <= there[axis] < size[axis]
            if outside and boundary[axis] == "free":
                there[axis] -= 2 * by
            elif outside and boundary[axis] == "fixed":
                expected[y, x, y, x] -= r**2
                continue
            there[axis] %= size[axis]
            if mask[tuple(there)]:
                expected[(y, x, *there)] += r**2
                expected[y, x, y, x] -= r**2
    cells = mask.size
    np.testing.assert_allclose(op.matrix(size).toarray()[:cells, :cells], expected.reshape(cells, cells), atol=1e-14)


def test_energy_falls_by_what_the_damping_takes():
    damping = np.random.default_rng(2).uniform(0, 0.2, (12, 15))
    op = medium(damping_profile=damping, boundary="fixed", edge="free", dx=(1.0, 1.5))
    levels = wf.simulate(op, initial=np.random.default_rng(0).standard_normal((1, 12, 15)), steps=30).activity.values
    energy = wf.energy(op, levels[1:], levels[:-1])[:, 0]
    lost = 1.5 * (damping * ((levels[2:] - levels[:-2]) / 2) ** 2)[:, 0].sum(axis=(1, 2))
    np.testing.assert_allclose(np.diff(energy), -lost, rtol=1e-9)


def test_a_field_runs_back_to_its_beginning():
    op = medium(boundary="fixed")
    start = np.random.default_rng(0).standard_normal((1, 12, 15)) * op.mask
    back = wf.reverse(wf.simulate(op, initial=start, steps=10000, save_every=None, method="step"))
    np.testing.assert_allclose(back.activity.values[-1], start, atol=1e-9)


def test_a_jump_equals_ten_thousand_steps():
    op = wf.wave(0.6, 1e-4, restoring=0.01, dims=2, isotropic=True, boundary=("periodic", "fixed"))
    start = np.random.default_rng(0).standard_normal((1, 16, 11))
    by_step, by_jump = (
        wf.simulate(op, initial=start, steps=10000, save_every=None, method=method) for method in ("step", "jump")
    )
    np.testing.assert_allclose(by_jump.activity, by_step.activity, atol=1e-10)
    np.testing.assert_allclose(by_jump.previous, by_step.previous, atol=1e-10)


def wake(time, radius, width=6.0, speed=1.0):
    """h(0) = 0, ∂h/∂t(0) a Gaussian: the Hankel transform of its modes, ∫ sin(ckt)/c·e^{−k²s²/2} J₀(kr) dk/2π."""
    k = np.linspace(0, 1.5, 4000)
    spectrum = np.sin(speed * k * time) / speed * np.exp(-((k * width) ** 2) / 2) / TAU
    return np.array([np.trapezoid(spectrum * j0(k * r), k) for r in radius])


@pytest.mark.parametrize(
    ("order", "stencil"),
    [(2, {}), (2, {"isotropic": True}), (4, {"order": 4})],
    ids=["five-point", "nine-point", "order 4"],
)
def test_the_wake_of_a_smoothed_impulse_is_that_of_two_dimensions_to_the_order_of_the_scheme(order, stencil, measured):
    time, half = 54.0, 76
    radius = np.arange(0.0, 61.0, 4.0)  # nothing has come back there from the edges
    expected = wake(time, radius)
    assert expected[0] > 0.1 * expected.max()  # no Huygens principle in two dimensions: a wake is left
    errors = []
    for dx, dt in ((2.0, 0.9), (1.0, 0.9 / 2 ** (order / 2))):  # errors of time fall as those of space
        middle = round(half / dx)
        y, x = (np.indices((2 * middle + 1,) * 2) - middle) * dx
        velocity = np.exp(-((np.hypot(y, x) / 6.0) ** 2) / 2) / (TAU * 6.0**2)
        op = wf.wave(1.0, dims=2, dx=dx, dt=dt, boundary="fixed", **stencil)
        rec = wf.simulate(op, initial=0 * velocity[None], velocity=velocity, steps=round(time / dt), save_every=None)
        found = rec.activity.values[-1, 0, middle, middle + np.rint(radius / dx).astype(int)]
        errors.append(np.sqrt(np.mean((found - expected) ** 2)))
    measured("order at which the error beside the Hankel integral falls", float(np.log2(errors[0] / errors[1])), order)
    assert np.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.1)
    assert errors[1] < 0.01 * expected.max()


def test_the_group_velocity_of_a_sheet_is_the_slope_of_its_frequency():
    op, step = wf.wave(0.5, restoring=0.02, dims=2, dx=(1.0, 2.0), dt=0.8), 1e-5
    ky, kx = 0.07, 0.05

    def fastest(y, x):
        return op.dispersion_relation(([y], [x])).frequency.max().item()

    found = op.dispersion_relation(([ky], [kx])).isel(branch=-1)
    slope_y = (fastest(ky + step, kx) - fastest(ky - step, kx)) / (2 * step)
    slope_x = (fastest(ky, kx + step) - fastest(ky, kx - step)) / (2 * step)
    assert found.group_velocity_y.item() == pytest.approx(slope_y, rel=1e-6)
    assert found.group_velocity_x.item() == pytest.approx(slope_x, rel=1e-6)
    assert found.phase_velocity.item() == pytest.approx(fastest(ky, kx) / np.hypot(ky, kx))


def test_a_restoring_force_gives_a_line_the_dispersion_of_klein_and_gordon():
    op = wf.wave(0.6, restoring=0.04, dt=0.5)
    k = np.array([0.0, 0.02, 0.1])
    expected = 2 * np.arcsin(0.5 * np.sqrt((2 * 0.6 * np.sin(np.pi * k)) ** 2 + 0.04) / 2) / (TAU * 0.5)
    np.testing.assert_allclose(op.dispersion_relation(k).frequency.isel(branch=-1), expected, atol=1e-12)
    assert op.restoring.tolist() == pytest.approx([0.04])


def test_cortex_has_the_dispersion_relation_of_neural_fields():
    speed, length, gain = 0.3, 2.0, 0.95
    op = wf.cortical_sheet(speed, length, gain=gain, dx=0.1, dt=0.01)
    rate = speed / length
    for k in (0.05, 0.3):
        # (1 − iω/Γ)² + k²r² = G in radians per ms and mm
        omega = 1j * rate * (-1 + np.emath.sqrt(gain - (TAU * k * length) ** 2))
        found = op.symbol([[0.0, k]])[0]
        values = np.linalg.eigvals(found)
        fastest = values[np.argmax(np.angle(values))] if omega.real else values[np.argmax(np.abs(values))]
        assert np.log(np.abs(fastest)) / op.dt == pytest.approx(omega.imag, rel=2e-3)
        assert np.abs(np.angle(fastest)) / op.dt == pytest.approx(abs(omega.real), rel=2e-3, abs=1e-9)


@pytest.mark.parametrize(
    "sheet", [{"dx": (0.1, 0.3)}, {"dx": (0.3, 0.1)}, {"dx": 0.1, "isotropic": True}, {"dx": 0.1, "dims": 1}]
)
def test_cortex_takes_nine_tenths_of_the_largest_step_by_default(sheet):
    op = wf.cortical_sheet(0.3, 2.0, gain=0.5, **sheet)
    medium = {"damping": 0.3, "restoring": 0.5 * 0.15**2, "dims": 2} | sheet
    wf.wave(0.3, dt=op.dt / 0.9 * (1 - 1e-6), **medium)
    with pytest.raises(ValueError, match="largest stable dt"):
        wf.wave(0.3, dt=op.dt / 0.9 * (1 + 1e-6), **medium)


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: wf.wave(0.5, dims=3), "dims must be 1 or 2"),
        (lambda: wf.wave(0.5, isotropic=True), "isotropic needs a sheet"),
        (lambda: wf.wave(0.5, dims=2, isotropic=True, dx=(1, 2)), "isotropic needs a sheet"),
        (lambda: wf.wave(0.5, dx=(1, 2)), "dx of a line must be a number"),
        (lambda: wf.wave(0.5, dims=2, dx=(1, 2, 3)), r"pair \(dy, dx\)"),
        (lambda: wf.wave(0.5, dims=2, boundary=("fixed",) * 3), r"pair \(y, x\)"),
        (lambda: wf.wave(0.5, dims=2, boundary="open"), "open"),
        (lambda: wf.wave(0.5, restoring=-0.1), "restoring must not be negative"),
        (lambda: wf.wave(0.5, mask=np.ones((3, 3), bool)), "mask needs a sheet"),
        (lambda: wf.wave(0.5, dims=2, mask=np.zeros((3, 3), bool)), "true somewhere"),
        (lambda: wf.wave(0.5, dims=2, mask=np.full((3, 3), 0.5)), "array of bool"),
        (lambda: wf.wave(0.5, dims=2, mask=np.ones((3, 3), bool), edge="soft"), "edge must be one of"),
        (lambda: wf.wave(0.5, dims=2, isotropic=True, mask=np.ones((3, 3), bool), edge="free"), "five-point"),
        (lambda: wf.wave(0.5, dims=2, boundary="absorbing", rim=0), "rim"),
        (lambda: wf.wave(0.5, dims=2, density=np.ones((4, 4))), "density needs a line"),
        (lambda: wf.transport(1.0, direction=(0, 0)), "direction must be an angle"),
        (lambda: wf.transport(1.5, direction=(0, 1), dt=2.0), "largest stable dt is 0.66"),
        (lambda: wf.transport(1.0, direction=0.0, profile=np.ones((4, 4))), "two-way"),
        (lambda: wf.simulate(wf.wave(0.5, dims=2), steps=3, size=8), r"pair \(Ny, Nx\)"),
        (lambda: wf.simulate(wf.wave(0.5, dims=2), steps=3), "Ny, Nx"),
        (lambda: wf.simulate(wf.wave(0.5, dims=2, boundary="absorbing"), steps=3, size=(40, 99)), "two rims of 20"),
        (lambda: wf.wave(0.5, dims=2).symbol(0.1), "pairs"),
        (lambda: wf.wave(0.5, dims=2, boundary="fixed").symbol([0.1, 0.2]), "periodic"),
        (lambda: wf.encoder_at([(1, 9)], (4, 4)), "must lie in"),
        (lambda: wf.driven_ends(wf.wave(0.5, dims=2, boundary="fixed"), (5, 5)), "line"),
        (lambda: wf.cortical_sheet(gain=1.2), "gain must lie between 0 and 1"),
        (lambda: wf.simulate(wf.wave(0.5, dims=2), np.ones((4, 5, 5)), (5, 6), encoder="everywhere"), "must agree"),
        (lambda: wf.simulate(wf.transport(1.0), steps=2, initial=np.ones((1, 4)), velocity=np.ones((1, 4))), "two-way"),
    ],
)
def test_what_a_sheet_cannot_be_is_said(make, match):
    with pytest.raises((ValueError, TypeError), match=match):
        make()
