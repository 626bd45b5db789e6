import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

import analysis
import wavefield as wf
from wavefield.recordings.recording import recording

TASKS = ("T1", "T2", "T3", "T4")
#: slots of each line that anything ever reads: the largest lag at which the map takes from that entry
NEEDED = {"T1": [8] * 8, "T2": [8, 7, 6, 5, 4, 3, 2, 1], "T3": [8, 7, 6, 5, 4, 3, 2, 1], "T4": [8, 7, 6, 5, 4, 3, 2, 1]}


def theory_on(found, system):
    """Φ of the system at the slots and lines that were found."""
    at = (found.slot.values - 1) * system.dimension + found.line.values
    return system.matrix()[np.ix_(at, at)]


def orthogonal(rows, columns, seed=0):
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(rows, columns)))[0]


def with_decaying_directions(system, units, *, noise=0.0, seed=0):
    """A network that is the system in a random basis, beside directions that decay and, if asked, noise on all weights.

    Inputs and outputs touch the decaying directions too. The noise is relative to the root mean square weight.
    """
    generator = np.random.default_rng(seed)
    waves = system.length * system.dimension
    everything = orthogonal(units, units, seed) @ np.diag(generator.uniform(0.5, 2, units))
    everything = everything @ orthogonal(units, units, seed + 1)
    basis, others = everything[:, :waves], everything[:, waves:]
    decay = generator.normal(size=(units - waves,) * 2) * 0.5 / np.sqrt(units - waves)  # |λ| ≤ about 0.5
    inverse = np.linalg.inv(everything)
    w = basis @ system.matrix() @ inverse[:waves] + others @ decay @ inverse[waves:]
    w_in = basis[:, -system.dimension :] + 0.3 * others @ generator.normal(size=(units - waves, system.dimension))
    w_out = (
        inverse[waves - system.dimension : waves]
        + 0.05 * generator.normal(size=(system.dimension, units - waves)) @ (inverse[waves:])
    )
    rough = lambda m: m + noise * np.sqrt((m**2).mean()) * generator.normal(size=m.shape)  # noqa: E731
    return rough(w), rough(w_in), rough(w_out), basis


@pytest.mark.parametrize("units", [64, 100])
@pytest.mark.parametrize("name", TASKS)
def test_the_wave_is_found_exactly_in_any_basis_without_being_told_f(name, units):
    system = wf.history.task(name)
    basis = np.random.default_rng(1).normal(size=(units, 64))
    found = analysis.recover_waves(*wf.history.rnn_weights(system, basis), length=8)
    assert found.attrs["rank"] == sum(NEEDED[name])
    assert np.bincount(found.line, minlength=8).tolist() == NEEDED[name]
    np.testing.assert_allclose(found.operator, theory_on(found, system), atol=1e-7)
    assert float(found.entry_share) > 1 - 1e-9  # which the grounding does not enforce
    if name == "T1":  # with every direction alive the basis itself is determined
        np.testing.assert_allclose(found.basis, basis, atol=1e-8)


@pytest.mark.parametrize("grounding", ["history", "output", "input"])
@pytest.mark.parametrize("name", TASKS)
def test_power_iteration_of_either_end_finds_it_in_orthogonal_bases(name, grounding):
    system = wf.history.task(name)
    found = analysis.recover_waves(*wf.history.rnn_weights(system, orthogonal(90, 64)), length=8, grounding=grounding)
    assert found.attrs["rank"] == sum(NEEDED[name])
    np.testing.assert_allclose(found.operator, theory_on(found, system), atol=1e-7)
    assert min(float(found.entry_share), float(found.exit_share)) > 1 - 1e-9
    assert np.bincount(found.line, minlength=8).tolist() == NEEDED[name]
    assert analysis.boundary_agreement(found, system) > 1 - 1e-9


@pytest.mark.parametrize("grounding", ["output", "input"])
def test_a_map_of_period_s_comes_back_from_any_start_so_that_where_inputs_enter_is_the_evidence(grounding):
    w, w_in, w_out, _ = with_decaying_directions(wf.history.task("T1"), 128)
    generator = np.random.default_rng(6)
    elsewhere = (w, generator.normal(size=w_in.shape), generator.normal(size=w_out.shape))
    here, there = (
        analysis.recover_waves(*weights, length=8, grounding=grounding) for weights in ((w, w_in, w_out), elsewhere)
    )
    for found in (here, there):
        assert float(found.shift_share + found.boundary_share) > 0.999
    assert float(here.entry_share) > 0.7 > 0.3 > float(there.exit_share if grounding == "input" else there.entry_share)


@pytest.mark.parametrize("rank", [24, 13, 5])
def test_the_boundary_row_of_any_linear_map_is_found(rank):
    system = wf.history.random_linear(4, 6, rank, generator=np.random.default_rng(rank))
    basis = np.random.default_rng(2).normal(size=(40, 24))
    found = analysis.recover_waves(*wf.history.rnn_weights(system, basis), length=6)
    assert found.attrs["rank"] == found.sizes["wave"] == rank
    # histories once what is forgotten has left: the operator takes the entries that were found to those a step later
    initial = np.random.default_rng(3).normal(size=(30, 6, 4))
    states = wf.history.simulate(system, initial, steps=12).activity.transpose("trial", "time", "position", "channel")
    entries = states.values[:, 8:, found.slot.values - 1, found.line.values]  # (trial, time, wave)
    np.testing.assert_allclose(entries[:, 1:], entries[:, :-1] @ found.operator.values.T, atol=1e-6)
    if rank == 24:
        np.testing.assert_allclose(found.operator[-4:], system.matrix()[-4:], atol=1e-6)


@pytest.mark.parametrize("noise", [0.0, 0.03, 0.1])
@pytest.mark.parametrize("name", TASKS)
def test_shift_and_boundary_row_survive_noise_and_decaying_directions(name, noise):
    system = wf.history.task(name)
    w, w_in, w_out, _ = with_decaying_directions(system, 128, noise=noise)
    found = analysis.recover_waves(w, w_in, w_out, length=8)
    assert found.attrs["rank"] == sum(NEEDED[name])
    assert np.bincount(found.line, minlength=8).tolist() == NEEDED[name]
    assert float(found.shift_share + found.boundary_share) >= 0.9
    difference = found.operator.values - theory_on(found, system)
    assert (difference**2).sum() <= 0.1 * (theory_on(found, system) ** 2).sum()  # the theory's own row, not just a row
    agreement = analysis.boundary_agreement(found, system)
    assert agreement > (0.9 if noise else 1 - 1e-9)
    opposite = wf.history.linear(-system.weights)
    assert analysis.boundary_agreement(found, opposite) == pytest.approx(-agreement)
    others = [other for other in TASKS if other != name]
    assert max(analysis.boundary_agreement(found, wf.history.task(other)) for other in others) < 0.5


@pytest.mark.parametrize("noise", [0.0, 0.02])
def test_what_enters_slot_s_is_found_to_enter_there_though_the_basis_was_grounded_in_output(noise):
    w, w_in, w_out, _ = with_decaying_directions(wf.history.task("T1"), 128, noise=noise)
    assert float(analysis.recover_waves(w, w_in, w_out, length=8).entry_share) > (0.9 if noise else 1 - 1e-9)
    elsewhere = w @ w @ w_in  # inputs that enter two slots further on
    assert float(analysis.recover_waves(w, elsewhere, w_out, length=8).entry_share) < 0.1


def test_a_recurrence_that_is_no_wave_is_told_by_the_basis_grounded_in_output():
    # 24 persisting rotations at random frequencies are no signed permutation: the last block does not return to slot s
    generator = np.random.default_rng(3)
    turn = np.zeros((24, 24))
    for k, angle in enumerate(generator.uniform(0, np.pi, 12)):
        c, s = np.cos(angle), np.sin(angle)
        turn[2 * k : 2 * k + 2, 2 * k : 2 * k + 2] = [[c, -s], [s, c]]
    q = orthogonal(24, 24, 4)
    found = analysis.recover_waves(
        q @ turn @ q.T, generator.normal(size=(24, 4)), generator.normal(size=(4, 24)), length=6, grounding="output"
    )
    assert float(found.shift_share + found.boundary_share) < 0.75


def test_inputs_that_enter_anywhere_enter_the_newest_slot_as_often_as_waves_are_in_it():
    w, _, w_out = wf.history.rnn_weights(wf.history.task("T1"), orthogonal(90, 64))
    generator, shares = np.random.default_rng(3), []
    for _ in range(20):
        found = analysis.recover_waves(w, generator.normal(size=(90, 8)), w_out, length=8, grounding="output")
        shares.append(float(found.entry_share))
    assert float(found.newest_share) == 1 / 8
    assert np.mean(shares) == pytest.approx(1 / 8, abs=0.02)
    of_lags = analysis.recover_waves(*wf.history.rnn_weights(wf.history.task("T2")), length=8)
    assert float(of_lags.newest_share) == 8 / 36


def told(w, w_out, system):
    """The published procedure once more, column by column: the operator at the slots that the true Φ needs."""
    s, d, phi = system.length, system.dimension, system.matrix()
    columns = [np.linalg.matrix_power(w, s - 1 - k) @ np.linalg.pinv(w_out)[:, j] for k in range(s) for j in range(d)]
    kept = []
    for m in range(s * d):
        others = np.delete(np.arange(s * d), m)
        lost = (abs(np.linalg.eigvals(phi[np.ix_(others, others)])) > 0.8).sum() < (abs(system.spectrum()) > 0.8).sum()
        kept += [m] if lost else []
    basis = np.stack([columns[m] / np.sqrt(sum(columns[m] ** 2)) for m in kept], axis=1)
    dual = np.linalg.solve(basis.T @ basis, basis.T)
    return basis, dual, dual @ w @ basis


@pytest.mark.parametrize("name", ["T1", "T3"])
def test_the_published_procedure_is_what_was_published(name):
    system = wf.history.task(name)
    w, w_in, w_out, _ = with_decaying_directions(system, 90, noise=0.03)
    found = analysis.published_recovery(w, w_in, w_out, system)
    for ours, independent in zip((found.basis, found.dual, found.operator), told(w, w_out, system), strict=True):
        np.testing.assert_allclose(ours, independent, rtol=1e-7, atol=1e-8)
    np.testing.assert_allclose(found.encoder, found.dual.values @ w_in)
    np.testing.assert_allclose(found.readout, w_out @ found.basis.values)


@pytest.mark.parametrize("name", TASKS)
def test_the_published_procedure_which_is_told_f_chooses_the_same_slots(name):
    system = wf.history.task(name)
    weights = wf.history.rnn_weights(system, orthogonal(90, 64))
    told = analysis.published_recovery(*weights, system)
    ours = analysis.recover_waves(*weights, length=8)
    assert set(zip(told.slot.values, told.line.values, strict=True)) == set(
        zip(ours.slot.values, ours.line.values, strict=True)
    )
    if name == "T1":
        np.testing.assert_allclose(told.operator, theory_on(told, system), atol=1e-9)


@pytest.mark.parametrize("noise", [0.0, 0.03, 0.1])
@pytest.mark.parametrize("name", TASKS)
def test_not_told_f_comes_closer_to_the_theory_than_told_it_where_other_directions_decay(name, noise):
    system = wf.history.task(name)
    w, w_in, w_out, _ = with_decaying_directions(system, 128, noise=noise)
    off = lambda found: ((found.operator.values - theory_on(found, system)) ** 2).sum()  # noqa: E731
    ours, told = analysis.recover_waves(w, w_in, w_out, length=8), analysis.published_recovery(w, w_in, w_out, system)
    assert off(ours) < off(told) / 5
    if not noise:
        assert off(ours) < 1e-12


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 2**32 - 1))
def test_the_operator_does_not_depend_on_the_basis_of_the_neurons(seed):
    w, w_in, w_out, _ = with_decaying_directions(wf.history.task("T3"), 70)
    change = orthogonal(70, 70, seed) @ np.diag(np.random.default_rng(seed).uniform(0.5, 2, 70))
    back = np.linalg.inv(change)
    here = analysis.recover_waves(w, w_in, w_out, length=8)
    there = analysis.recover_waves(change @ w @ back, change @ w_in, w_out @ back, length=8)
    np.testing.assert_allclose(there.operator, here.operator, atol=1e-6)
    np.testing.assert_allclose(there.basis, change @ here.basis.values, atol=1e-6)


def test_dual_basis_and_residual_directions_complete_the_state_space():
    w, w_in, w_out, _ = with_decaying_directions(wf.history.task("T2"), 80)
    found = analysis.recover_waves(w, w_in, w_out, length=8)
    np.testing.assert_allclose(found.dual.values @ found.basis.values, np.eye(36), atol=1e-10)
    np.testing.assert_allclose(found.dual.values @ found.residual.values, 0, atol=1e-10)
    assert found.residual.shape == (80, 44)
    whole = np.hstack([found.basis, found.residual])
    inside = np.linalg.solve(whole, w @ whole)
    np.testing.assert_allclose(inside[:36, :36], found.operator, atol=1e-9)
    np.testing.assert_allclose(inside[36:, 36:], found.residual_operator, atol=1e-9)
    np.testing.assert_allclose(inside[:36, 36:], 0, atol=1e-9)  # waves and what decays do not act on each other
    np.testing.assert_allclose(inside[36:, :36], 0, atol=1e-9)
    share = ((inside[:36, :36]) ** 2).sum() / (inside**2).sum()
    np.testing.assert_allclose(found.recurrence_share, share, rtol=1e-6)


def test_variance_explained_is_that_of_a_step_from_white_states():
    w, w_in, w_out, _ = with_decaying_directions(wf.history.task("T2"), 80)
    found = analysis.recover_waves(w, w_in, w_out, length=8)
    white = np.random.default_rng(1).normal(size=(80, 40_000))
    step, held = w @ white, found.basis.values @ found.operator.values @ found.dual.values @ white
    expected = 1 - ((step - held) ** 2).sum() / (step**2).sum()
    assert float(found.variance_explained) == pytest.approx(expected, abs=0.01)
    assert 0.1 < expected < 0.99
    alone = wf.history.rnn_weights(wf.history.task("T1"), orthogonal(90, 64))  # nothing but waves
    assert float(analysis.recover_waves(*alone, length=8).variance_explained) == pytest.approx(1, abs=1e-12)


def test_hidden_states_show_the_history_travelling_along_the_lines():
    system, generator = wf.history.task("T1"), np.random.default_rng(5)
    w, w_in, w_out, basis = with_decaying_directions(system, 100)
    initial = generator.choice([-1.0, 1.0], size=(3, 8, 8))
    theory = wf.history.simulate(system, initial, steps=30)
    hidden = np.einsum("ni,bti->btn", basis, theory.activity.values.swapaxes(-1, -2).reshape(3, 30, 64))
    found = analysis.recover_waves(w, w_in, w_out, length=8)
    rec = recording(hidden[:, :, None, :], coords={"time": np.arange(1, 31) * 0.5}, dx=1.0)
    waves = analysis.wave_states(found, rec)
    wf.validate_recording(waves)
    np.testing.assert_allclose(waves.activity, theory.activity, atol=1e-8)
    np.testing.assert_array_equal(waves.time, rec.time)
    assert waves.attrs["variance_explained"] == pytest.approx(1, abs=1e-10)
    plain = analysis.wave_states(found, hidden)
    np.testing.assert_allclose(plain.activity, waves.activity)
    noise = generator.normal(size=(2000, 100))
    assert analysis.wave_states(found, noise).attrs["variance_explained"] < 0.9


def test_slots_that_no_line_has_are_nan():
    weights = wf.history.rnn_weights(wf.history.task("T2"), orthogonal(70, 64))
    waves = analysis.wave_states(analysis.recover_waves(*weights, length=8), np.ones((5, 70)))
    assert np.isfinite(waves.activity[0]).sum("position").values.tolist() == NEEDED["T2"]


def test_the_rank_can_be_given():
    w, w_in, w_out, _ = with_decaying_directions(wf.history.repeat_copy(2, 4), 20)
    assert analysis.recover_waves(w, w_in, w_out, length=4, rank=8).attrs["rank"] == 8
    with pytest.raises(ValueError, match="equal modulus"):
        analysis.recover_waves(w, w_in, w_out, length=4, rank=5)


@pytest.mark.parametrize("name", TASKS[1:])
def test_eigenvalues_of_exactly_zero_are_below_any_gap(name):
    system = wf.history.task(name)
    found = analysis.recover_waves(*wf.history.rnn_weights(system), length=8)  # every unit an entry of the history
    assert found.attrs["rank"] == 36
    np.testing.assert_allclose(found.operator, theory_on(found, system), atol=1e-9)
    assert analysis.published_recovery(*wf.history.rnn_weights(system), system).attrs["rank"] == 36
    w = np.diag([1.0, 0.5, 0.0, 0.0])
    found = analysis.recover_waves(w, np.ones((4, 1)), np.ones((1, 4)), length=2)
    assert (found.attrs["rank"], float(found.gap)) == (1, 2.0)
    found = analysis.recover_waves(w, np.ones((4, 1)), np.ones((1, 4)), length=2, rank=2)
    assert float(found.gap) == np.inf
    for rank in (3, 4):
        with pytest.raises(ValueError, match="equal modulus 0"):
            analysis.recover_waves(w, np.ones((4, 1)), np.ones((1, 4)), length=2, rank=rank)


def test_fewer_slots_than_persist_leave_directions_unexplained():
    w, w_in, w_out, _ = with_decaying_directions(wf.history.repeat_copy(2, 8), 20)
    found = analysis.recover_waves(w, w_in, w_out, length=4)
    assert found.attrs["rank"] == 16
    assert found.sizes["wave"] == 8
    assert float(found.variance_explained) < 0.9


def test_a_recovery_is_a_dataset_that_netcdf_takes(tmp_path):
    found = analysis.recover_waves(*wf.history.rnn_weights(wf.history.repeat_copy(2, 4)), length=4)
    found.to_netcdf(tmp_path / "found.nc", engine="h5netcdf")
    with xr.open_dataset(tmp_path / "found.nc", engine="h5netcdf") as stored:
        xr.testing.assert_identical(stored.load(), found)
    assert all({"units", "long_name"} <= set(found[name].attrs) for name in found.variables)


W, IN, OUT = wf.history.rnn_weights(wf.history.repeat_copy(2, 4))
RECORDING = wf.history.simulate(wf.history.repeat_copy(2, 4), np.ones((4, 2)), steps=3)


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: analysis.recover_waves(W[:, :5], IN, OUT, length=4), ValueError, "weight_hh must have shape"),
        (lambda: analysis.recover_waves(W, IN.T, OUT, length=4), ValueError, "weight_in must have shape"),
        (lambda: analysis.recover_waves(W, IN, OUT.T, length=4), ValueError, "weight_out must have shape"),
        (lambda: analysis.recover_waves(W * np.nan, IN, OUT, length=4), ValueError, "weight_hh must be finite"),
        (lambda: analysis.recover_waves(W * 1j, IN, OUT, length=4), TypeError, "real numbers"),
        (lambda: analysis.recover_waves("weights", IN, OUT, length=4), TypeError, "weight_hh"),
        (lambda: analysis.recover_waves(W / 2, IN, OUT, length=4), analysis.NoWaveError, "no eigenvalue .* persists"),
        (lambda: analysis.recover_waves(W, IN, OUT, length=0), ValueError, "length"),
        (lambda: analysis.recover_waves(W, IN, OUT, length=2.5), TypeError, "length"),
        (lambda: analysis.recover_waves(W, IN, OUT, length=4, rank=9), ValueError, "rank must be at most"),
        (lambda: analysis.recover_waves(W, IN, OUT, length=4, grounding="both"), ValueError, "grounding"),
        (lambda: analysis.recover_waves(W, IN, 0 * OUT, length=4), analysis.NoWaveError, "nothing to ground"),
        (lambda: analysis.recover_waves(W, IN, OUT, length=4, persistent=0), ValueError, "persistent"),
        (lambda: analysis.recover_waves(W, IN, OUT, length=4, persistent=0.99), ValueError, "persistent"),
        (lambda: analysis.recover_waves(W, IN, OUT, length=4, persistent=np.nan), ValueError, "persistent"),
        (lambda: analysis.published_recovery(W, IN, 0 * OUT, W), analysis.NoWaveError, "weight_out must reach"),
        (
            lambda: analysis.published_recovery(W[:6, :6], IN[:6], OUT[:, :6], W),
            analysis.NoWaveError,
            "fewer than the 8",
        ),
        (
            lambda: analysis.boundary_agreement(analysis.recover_waves(W, IN, OUT, length=4), W[:4, :4]),
            ValueError,
            "theory must have 4 slots of 2 lines, got 4 rows",
        ),
        (lambda: analysis.published_recovery(W, IN, OUT, wf.history.repeat_copy(4, 2)), ValueError, "2 slots of 4"),
        (
            lambda: analysis.boundary_agreement(
                analysis.recover_waves(W, IN, OUT, length=4), wf.history.repeat_copy(4, 2)
            ),
            ValueError,
            "theory must have 4 slots of 2 lines, got 2 slots of 4",
        ),
        (lambda: analysis.published_recovery(W, IN, OUT, wf.transport(1.0)), TypeError, "theory must be an array"),
        (lambda: analysis.boundary_agreement(RECORDING, W), TypeError, "found must be a Dataset of recover_waves"),
        (lambda: analysis.wave_states(RECORDING, np.ones((3, 8))), TypeError, "got a Dataset of activity"),
        (lambda: analysis.wave_states(W, np.ones((3, 8))), TypeError, "recover_waves, got ndarray"),
        (lambda: analysis.published_recovery(W, IN, OUT, np.eye(7)), ValueError, "theory must have"),
        (lambda: analysis.published_recovery(W, IN, OUT, W / 2), ValueError, "none of its slots"),
        (
            lambda: analysis.wave_states(analysis.recover_waves(W, IN, OUT, length=4), np.ones((3, 9))),
            ValueError,
            r"states must have shape \(time, 8\)",
        ),
    ],
)
def test_bad_input_is_refused_by_name(call, error, text):
    with pytest.raises(error, match=text):
        call()
