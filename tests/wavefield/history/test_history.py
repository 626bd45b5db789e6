import numpy as np
import pytest
import torch
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

import wavefield as wf

TASKS = ("T1", "T2", "T3", "T4")

#: the printed maps: (sign, lag, source) of every entry of x_t, sources counted from 1
PRINTED = {
    "T1": [(1, 8, j) for j in range(1, 9)],
    "T2": [(1, 9 - j, j) for j in range(1, 9)],
    "T3": [(-1, 4, 5), (1, 5, 4), (-1, 6, 3), (-1, 8, 1), (-1, 7, 2), (-1, 3, 6), (1, 1, 8), (-1, 2, 7)],
    "T4": [(-1, 3, 6), (1, 2, 7), (1, 8, 1), (1, 7, 2), (-1, 6, 3), (1, 5, 4), (1, 4, 5), (-1, 1, 8)],
}


def random_f(generator, d, s):
    """A nonlinear f of all of the history."""
    first = generator.normal(size=(5, s * d)) / np.sqrt(s * d)
    second = generator.normal(size=(d, 5))
    return lambda history: np.sin(second @ np.tanh(first @ np.ravel(history)))


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 6), st.integers(1, 7), st.integers(0, 25), st.integers(0, 2**32 - 1))
def test_the_substrate_reproduces_any_history_dependent_sequence_exactly(d, s, steps, seed):
    # theorem 3.1: with the s first states on the lines and f at the driven end, bit for bit
    generator = np.random.default_rng(seed)
    f, initial = random_f(generator, d, s), generator.normal(size=(s, d))
    sequence = list(initial)
    for _ in range(steps):
        sequence.append(f(np.array(sequence[-s:])))
    rec = wf.history.simulate(wf.history.HistorySystem(d, s, f), initial, steps=steps, save_initial=True)
    assert dict(rec.activity.sizes) == {"time": steps + 1, "channel": d, "position": s}
    for t in range(steps + 1):
        np.testing.assert_array_equal(rec.activity[t].values.T, sequence[t : t + s])


def test_states_travel_along_the_lines_to_lower_positions_one_a_step():
    initial = np.random.default_rng(0).normal(size=(8, 3))
    rec = wf.history.simulate(wf.history.random_linear(3, 8, 10, generator=np.random.default_rng(1)), initial, steps=20)
    field = rec.activity.values  # (time, channel, position)
    np.testing.assert_array_equal(field[1:, :, :-1], field[:-1, :, 1:])
    assert rec.time.values.tolist() == list(range(1, 21))


@pytest.mark.parametrize("name", TASKS)
def test_tasks_are_the_printed_maps(name):
    system, history = wf.history.task(name), np.random.default_rng(2).normal(size=(8, 8))
    expected = [sign * history[8 - lag, source - 1] for sign, lag, source in PRINTED[name]]
    np.testing.assert_array_equal(system.next(history), expected)


@pytest.mark.parametrize(("name", "modes", "period"), [("T1", 64, 8), ("T2", 36, 840), ("T3", 36, 48), ("T4", 36, 70)])
def test_spectra_and_periods_of_the_tasks_are_the_published_ones(name, modes, period):
    phi = wf.history.task(name).matrix()
    size = np.abs(wf.history.task(name).spectrum())
    assert (np.abs(size - 1) < 1e-10).sum() == modes
    assert (size < 0.05).sum() == 64 - modes  # Jordan blocks of 0, spread by rounding to eps^(1/order)
    settled = np.linalg.matrix_power(phi, 64)
    power, found = settled @ phi, 1
    while not np.array_equal(power, settled):
        power, found = power @ phi, found + 1
    assert found == period


@pytest.mark.parametrize("name", TASKS)
def test_the_last_states_come_round_after_a_period(name):
    period = {"T1": 8, "T2": 840, "T3": 48, "T4": 70}[name]
    initial = np.random.default_rng(3).choice([-1.0, 1.0], size=(8, 8))
    x = wf.history.simulate(wf.history.task(name), initial, steps=period + 60).activity.isel(position=-1).values
    np.testing.assert_array_equal(x[period:], x[:-period])


def test_fibonacci_gives_the_fibonacci_numbers():
    rec = wf.history.simulate(wf.history.fibonacci(), [[0.0], [1.0]], steps=75)
    numbers = [0, 1]  # whole numbers below 2^53
    while len(numbers) < 77:
        numbers.append(numbers[-1] + numbers[-2])
    np.testing.assert_array_equal(rec.activity.isel(channel=0, position=-1), numbers[2:])
    golden = (1 + 5**0.5) / 2
    assert wf.history.fibonacci().spectrum()[0] == pytest.approx(golden, rel=1e-12)


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 5), st.integers(1, 6), st.floats(0, 1), st.integers(0, 2**32 - 1))
def test_a_random_linear_system_has_as_many_live_directions_as_asked_for(d, s, share, seed):
    rank = round(share * s * d)
    system = wf.history.random_linear(d, s, rank, generator=np.random.default_rng(seed))
    size = np.abs(system.spectrum())
    np.testing.assert_allclose(size[:rank], 1, atol=1e-6)
    assert (size[rank:] < 0.1).all()
    assert np.linalg.matrix_rank(np.linalg.matrix_power(system.matrix(), s * d), tol=1e-6) == rank


@pytest.mark.parametrize(("order", "radius"), [(1, 1.0), (7, 0.9), (64, 1.0), (129, 1.0), (130, 0.98)])
def test_a_random_recurrence_of_any_order_has_all_its_eigenvalues_on_the_circle(order, radius):
    system = wf.history.random_linear(1, order, order, generator=np.random.default_rng(3), radius=radius)
    np.testing.assert_allclose(np.abs(system.spectrum()), radius, rtol=0, atol=1e-12)
    angles, pairs = np.angle(system.spectrum()), order // 2
    upper = np.sort(angles[(angles > 1e-9) & (angles < np.pi - 1e-9)])
    assert (upper // (np.pi / max(pairs, 1))).tolist() == list(range(pairs))  # one in each part of the half circle


def test_orders_and_roots_of_a_random_system_are_drawn():
    """Of a cubic z³ + … − w₀ with roots e^{±iφ} and ±1 the product is w₀ = ±1; φ is drawn as its law says."""
    draws = [wf.history.random_linear(1, 3, 3, generator=np.random.default_rng(seed)) for seed in range(200)]
    product = np.array([system.weights[0, 0, 0] for system in draws])
    np.testing.assert_allclose(np.abs(product), 1, rtol=1e-12)
    assert np.mean(product > 0) == pytest.approx(0.5, abs=0.15)
    angles = [np.sort(np.abs(np.angle(system.spectrum())))[1] for system in draws]
    assert np.std(angles) == pytest.approx(np.pi * 0.5 / 12**0.5, rel=0.1)
    # three of six places in two recurrences: all three in one with the probability 2 · (1/2)(2/5)(1/4)
    pairs = [wf.history.random_linear(2, 3, 3, generator=np.random.default_rng(seed)) for seed in range(200)]
    assert np.mean([np.abs(system.weights[0]).max() > 1e-9 for system in pairs]) == pytest.approx(0.1, abs=0.06)


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 4), st.integers(3, 6), st.integers(0, 2**32 - 1))
def test_a_linear_system_is_a_wave_operator_an_open_line_with_a_boundary_row(d, s, seed):
    generator = np.random.default_rng(seed)
    system = wf.history.linear(generator.normal(size=(s, d, d)) / (s * d))
    slot_major = system.matrix()
    channel_major = system.operator().matrix(s).toarray()
    once = wf.history.to_channel_major(slot_major, d, axis=0)
    np.testing.assert_array_equal(wf.history.to_channel_major(once, d, axis=1), channel_major)
    initial = generator.normal(size=(2, s, d))
    ours = wf.history.simulate(system, initial, steps=40)
    by_operator = wf.simulate(system.operator(), initial=initial.swapaxes(1, 2), steps=40)
    rounding = 1e-13 * np.abs(by_operator.activity.values).max()
    np.testing.assert_allclose(ours.activity, by_operator.activity, rtol=0, atol=rounding)
    continued = wf.simulate(wf.operator_of(ours), initial=ours, steps=5)
    longer = wf.history.simulate(system, initial, steps=45)
    np.testing.assert_array_equal(continued.time, longer.time[-5:])
    np.testing.assert_allclose(continued.activity, longer.activity[:, -5:], rtol=0, atol=2 * rounding)


@pytest.mark.parametrize("trials", [(), (2,)])
def test_a_recording_of_any_history_is_continued_from_its_last_field(trials):
    attention = wf.history.attention(*np.random.default_rng(2).normal(size=(3, 4, 4)), length=4)
    for system in (wf.history.task("T3"), attention, wf.history.HistorySystem(2, 2, lambda h: np.sin(h[0] + h[1]))):
        initial = np.random.default_rng(4).normal(size=(*trials, system.length, system.dimension))
        whole = wf.history.simulate(system, initial, steps=25)
        first = wf.history.simulate(system, initial, steps=16)
        second = wf.history.simulate(system, first, steps=9)
        xr.testing.assert_equal(second.activity, whole.activity.isel(time=slice(16, None)))
        again = wf.history.simulate(system, wf.history.simulate(system, second, steps=0), steps=3, save_initial=True)
        assert again.time.values.tolist() == [25, 26, 27, 28]
        assert (again.attrs["first_step"], again.attrs["steps"]) == (25, 3)
        xr.testing.assert_equal(again.activity.isel(time=0), whole.activity.isel(time=-1))


def test_a_history_goes_on_from_what_the_wave_operator_made_of_it():
    system, initial = wf.history.task("T3"), np.random.default_rng(4).normal(size=(8, 8))
    by_operator = wf.simulate(system.operator(), initial=wf.history.simulate(system, initial, steps=3), steps=2)
    onward = wf.history.simulate(system, by_operator, steps=4)
    xr.testing.assert_equal(onward.activity, wf.history.simulate(system, initial, steps=9).activity[5:])
    shortest = wf.history.repeat_copy(2, 3)
    assert wf.operator_of(wf.history.simulate(shortest, np.ones((3, 2)), steps=1)) == shortest.operator()


@given(st.integers(1, 5), st.integers(1, 5), st.integers(0, 1))
def test_the_two_orders_of_a_history_convert_into_each_other(d, s, axis):
    array = np.arange(s * d * 6).reshape(-1, 6) if axis == 0 else np.arange(s * d * 6).reshape(6, -1)
    there = wf.history.to_channel_major(array, d, axis=axis)
    np.testing.assert_array_equal(wf.history.to_slot_major(there, d, axis=axis), array)
    history = np.arange(s * d).reshape(s, d)
    np.testing.assert_array_equal(wf.history.to_channel_major(history.ravel(), d), history.T.ravel())


# ---- the boundary as a recurrent network ----------------------------------------------------------------------------


def marginal_systems():
    generator = np.random.default_rng(4)
    return {
        **{name: wf.history.task(name) for name in TASKS},
        "random, full rank": wf.history.random_linear(4, 6, 24, generator=generator),
        "random, low rank": wf.history.random_linear(4, 6, 9, generator=generator),
        "random, fading": wf.history.random_linear(3, 5, 11, generator=generator, radius=0.99),
    }


def worst_difference(system, basis, steps=1000):
    """Largest distance, relative to the largest state, of the network's state from Ψ h over the steps."""
    initial = np.random.default_rng(5).normal(size=(system.length, system.dimension))
    rec = wf.history.simulate(system, initial, steps=steps)
    history = wf.history.to_slot_major(rec.activity.values.reshape(steps, -1), system.dimension)
    weights = wf.history.rnn_weights(system, basis)
    state, states, outputs = basis @ initial.ravel(), [], []
    for _ in range(steps):
        state = weights.weight_hh @ state
        states.append(state)
        outputs.append(weights.readout @ state)
    expected = history @ basis.T
    apart = np.linalg.norm(np.array(states) - expected, axis=1).max() / np.linalg.norm(expected, axis=1).max()
    read = np.abs(np.array(outputs) - history[:, -system.dimension :]).max()
    return apart, read


@pytest.mark.parametrize("name", marginal_systems())
@pytest.mark.parametrize("extra", [0, 30])
def test_the_wave_is_the_network_in_orthogonal_bases_over_a_thousand_steps(name, extra):
    system = marginal_systems()[name]
    rank = system.length * system.dimension
    basis = np.linalg.qr(np.random.default_rng(6).normal(size=(rank + extra, rank)))[0]
    apart, read = worst_difference(system, basis)
    assert apart < 1e-12
    assert read < 1e-11  # of states as large as the field grows


@pytest.mark.parametrize("name", marginal_systems())
@pytest.mark.parametrize("condition", [10.0, 1e3, 1e5])
def test_the_wave_is_the_network_in_any_basis_as_far_as_its_condition_allows(name, condition):
    system, generator = marginal_systems()[name], np.random.default_rng(7)
    rank = system.length * system.dimension
    left = np.linalg.qr(generator.normal(size=(rank + 10, rank)))[0]
    right = np.linalg.qr(generator.normal(size=(rank, rank)))[0]
    basis = left @ np.diag(np.geomspace(1, 1 / condition, rank)) @ right
    assert worst_difference(system, basis)[0] < 1e-14 * condition * 1000


def test_an_input_is_written_into_the_newest_slot_and_read_there():
    system, generator = wf.history.task("T1"), np.random.default_rng(8)
    basis = generator.normal(size=(80, 64))
    weights = wf.history.rnn_weights(system, basis)
    inputs = generator.choice([-1.0, 1.0], size=(8, 8))
    by_wave = wf.simulate(system.operator(), np.concatenate([inputs, np.zeros((30, 8))]))
    state, outputs = np.zeros(80), []
    for u in [*inputs, *np.zeros((30, 8))]:
        state = weights.weight_hh @ state + weights.weight_ih @ u
        outputs.append(weights.readout @ state)
    np.testing.assert_allclose(outputs, by_wave.activity.isel(position=-1), atol=1e-10)
    np.testing.assert_allclose(outputs[8:], [*inputs, *inputs, *inputs, *inputs[:6]], atol=1e-10)


# ---- attention ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("d", "m", "s", "scale"), [(4, 4, 8, 1.0), (6, 3, 5, 3**-0.5), (1, 2, 1, 1.0)])
def test_the_attention_boundary_is_the_autoregressive_loop_of_one_head(d, m, s, scale):
    generator = np.random.default_rng(9)
    key, query = generator.normal(size=(2, m, d))
    value = np.linalg.qr(generator.normal(size=(d, d)))[0]
    initial = generator.normal(size=(3, s, d))
    rec = wf.history.simulate(wf.history.attention(key, query, value, length=s, scale=scale), initial, steps=200)

    tokens = torch.tensor(initial)
    key, query, value = (torch.tensor(matrix) for matrix in (key, query, value))
    for _ in range(200):
        context = tokens[:, -s:]
        new = torch.nn.functional.scaled_dot_product_attention(
            context[:, -1:] @ query.T, context @ key.T, context @ value.T, scale=scale
        )
        tokens = torch.cat([tokens, new], dim=1)
    np.testing.assert_allclose(rec.activity.isel(position=-1), tokens[:, s:], rtol=0, atol=1e-12)


def test_a_function_may_use_its_array_again_and_cannot_write_to_the_field():
    out = np.empty(1)
    counting = wf.history.HistorySystem(1, 2, lambda h: np.add(h[-1], 1, out=out))
    rec = wf.history.simulate(counting, [[[0.0], [1.0]], [[0.0], [20.0]]], steps=3)
    np.testing.assert_array_equal(rec.activity[:, :, 0, -1], [[2, 3, 4], [21, 22, 23]])

    def damping(history):
        history *= 0.5
        return history[-1]

    for batched in (False, True):
        with pytest.raises(ValueError, match="read-only"):
            wf.history.simulate(wf.history.HistorySystem(1, 2, damping, batched=batched), np.ones((2, 1)), steps=1)


# ---- at the door ----------------------------------------------------------------------------------------------------


def test_growth_beyond_the_numbers_stops_with_what_was_computed():
    with pytest.raises(wf.DivergenceError) as caught:
        wf.history.simulate(wf.history.linear([[[1e100]]]), [[1.0]], steps=9)
    assert caught.value.step == 4
    np.testing.assert_allclose(caught.value.recording.activity.values.ravel(), [1e100, 1e200, 1e300])
    begun = wf.history.simulate(wf.history.linear([[[1e100]]]), [[1.0]], steps=2)
    with pytest.raises(wf.DivergenceError, match="at step 4"):
        wf.history.simulate(wf.history.linear([[[1e100]]]), begun, steps=9)


def test_a_recording_of_a_nonlinear_system_claims_no_operator(tmp_path):
    rec = wf.history.simulate(wf.history.HistorySystem(1, 4, lambda h: np.sin(h[0])), [[1.0]] * 4, steps=6)
    wf.save_recording(rec, tmp_path / "sine.nc")
    with wf.open_recording(tmp_path / "sine.nc") as stored, pytest.raises(ValueError, match="no kernel"):
        wf.operator_of(stored)


ONE, SQUARE = wf.history.fibonacci(2, 3), wf.history.repeat_copy(3, 3)


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: wf.history.simulate("T1", np.ones((8, 8)), steps=1), TypeError, "HistorySystem"),
        (lambda: wf.history.simulate(ONE, np.ones((2, 3)), steps=1), ValueError, r"initial must have shape \(3, 2\)"),
        (lambda: wf.history.simulate(ONE, np.full((3, 2), np.nan), steps=1), ValueError, "finite"),
        (lambda: wf.history.simulate(ONE, np.ones((3, 2)), steps=-1), ValueError, "steps"),
        (lambda: wf.history.simulate(ONE, np.ones((3, 2)), steps=1.5), TypeError, "steps"),
        (lambda: wf.history.HistorySystem(1, 2), ValueError, "one of function and weights"),
        (lambda: wf.history.HistorySystem(0, 2, np.sin), ValueError, "dimension"),
        (lambda: wf.history.HistorySystem(1, 2, "sin"), TypeError, "callable"),
        (lambda: wf.history.HistorySystem(2, 1, lambda h: h).next(np.ones((1, 2))), ValueError, "must return a state"),
        (lambda: wf.history.HistorySystem(1, 2, np.sin).matrix(), ValueError, "not linear"),
        (lambda: wf.history.fibonacci(1, 2).operator(), ValueError, "at least 3"),
        (lambda: wf.history.linear(np.ones((2, 3))), ValueError, "one matrix a slot"),
        (lambda: wf.history.linear(np.full((2, 1, 1), np.inf)), ValueError, "finite"),
        (lambda: wf.history.task("T5"), ValueError, "T1, T2, T3, T4"),
        (lambda: wf.history.repeat_copy(2, 0), ValueError, "length"),
        (lambda: wf.history.signed_permutation([1, 0]), ValueError, "lags must lie"),
        (lambda: wf.history.signed_permutation([1.5]), ValueError, "integers"),
        (lambda: wf.history.signed_permutation([1, 2], [0, 0]), ValueError, "permutation"),
        (lambda: wf.history.signed_permutation([1, 2], signs=[1, 2]), ValueError, "signs"),
        (lambda: wf.history.random_linear(2, 3, 7, generator=np.random.default_rng()), ValueError, "at most"),
        (lambda: wf.history.random_linear(2, 3, 4, generator=0), TypeError, "Generator"),
        (lambda: wf.history.attention(np.ones((2, 3)), np.ones((3, 2)), np.eye(3), length=2), ValueError, "one shape"),
        (lambda: wf.history.attention(np.ones((2, 3)), np.ones((2, 3)), np.eye(2), length=2), ValueError, "value"),
        (lambda: wf.history.rnn_weights(ONE, np.ones((6, 5))), ValueError, "shape"),
        (lambda: wf.history.rnn_weights("T1"), TypeError, "HistorySystem"),
        (lambda: wf.history.rnn_weights(ONE, np.eye(6) * 1j), TypeError, "basis must be an array of real numbers"),
        (lambda: wf.history.simulate(ONE, np.ones((3, 2)) * 1j, steps=1), TypeError, "initial .* dtype complex"),
        (
            lambda: wf.history.simulate(SQUARE, wf.history.simulate(SQUARE, np.eye(3), steps=1).activity[-1], steps=1),
            TypeError,
            "complete recording, got a DataArray",
        ),
        (lambda: wf.history.simulate(ONE, xr.Dataset(), steps=1), ValueError, "activity"),
        (
            lambda: wf.history.simulate(ONE, wf.history.simulate(SQUARE, np.eye(3), steps=1), steps=1),
            ValueError,
            r"initial must have shape \(3, 2\)",
        ),
        (lambda: ONE.next(np.ones((3, 2)) * 1j), TypeError, "history must be real, got dtype complex128"),
        (
            lambda: wf.history.HistorySystem(1, 2, lambda h: np.exp(1j * h[-1])).next(np.ones((2, 1))),
            TypeError,
            "function must return real numbers, got dtype complex128",
        ),
        (lambda: wf.history.simulate(ONE, [[1.0, 2.0], [1.0]], steps=1), TypeError, "initial must be an array"),
        (lambda: wf.history.linear([[[1.0]], [[2.0, 3.0]]]), TypeError, "weights must be an array"),
        (lambda: wf.history.attention("key", np.eye(3), np.eye(3), length=2), TypeError, "key must be an array"),
        (lambda: wf.history.rnn_weights(ONE, np.ones((6, 6))), ValueError, "independent"),
        (lambda: wf.history.to_slot_major(np.ones(7), 2), ValueError, "not a multiple of 2"),
        (lambda: wf.history.to_slot_major(np.ones(6), 2, axis=1), ValueError, "axis"),
    ],
)
def test_bad_input_is_refused_by_name(call, error, text):
    with pytest.raises(error, match=text):
        call()
