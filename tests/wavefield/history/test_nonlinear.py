import numpy as np
import pytest

import wavefield as wf

history = wf.history


def newest(system, initial, steps):
    return history.simulate(system, initial, steps=steps).activity.isel(position=-1).transpose(..., "time", "channel")


@pytest.mark.parametrize(
    ("lags", "modulus", "symbols", "length"),
    [((1, 3), 2, 2, None), ((2, 5), 5, 1, None), ((1, 2, 4), 3, 3, None), ((1, 2), 5, 1, 4)],
)
def test_modular_sums_are_those_of_whole_numbers(lags, modulus, symbols, length):
    system = history.modular(lags, modulus, symbols=symbols, length=length)
    sequence = np.random.default_rng(0).integers(modulus, size=(system.length, symbols))
    onehot = np.eye(modulus)[sequence].reshape(system.length, -1)
    found = newest(system, onehot, 300).values.reshape(300, symbols, modulus)
    whole = list(sequence)
    for _ in range(300):
        whole.append(sum(whole[-lag] for lag in lags) % modulus)
    np.testing.assert_array_equal(found.argmax(-1), whole[system.length :])
    np.testing.assert_array_equal(np.sort(found, -1)[..., -1], 1)
    np.testing.assert_array_equal(found.sum(-1), 1)


def test_two_symbols_in_the_bipolar_code_are_those_in_the_onehot_code():
    bits = np.random.default_rng(1).integers(2, size=(7, 8, 4))
    bipolar = newest(history.modular((3, 8), 2, symbols=4, code="bipolar"), 1 - 2.0 * bits, 200)
    onehot = newest(history.modular((3, 8), 2, symbols=4), np.eye(2)[bits].reshape(7, 8, 8), 200)
    np.testing.assert_array_equal(bipolar.values < 0, onehot.values.reshape(7, 200, 4, 2).argmax(-1) == 1)


def test_a_register_of_a_primitive_polynomial_has_the_longest_period():
    # x⁷ + x + 1 is primitive over Z_2: all 127 histories but zero follow each other
    start = -np.ones((7, 1))
    x = newest(history.modular((6, 7), 2, code="bipolar"), start, 3 * 127).values.ravel()
    np.testing.assert_array_equal(x[127:], x[:-127])
    windows = {tuple(x[t : t + 7]) for t in range(127)}
    assert len(windows) == 127


def test_the_delayed_logistic_map_leaves_its_state_of_rest_above_the_bifurcation():
    for length in (2, 4, 8):
        edge = 1 + 2 * np.sin(np.pi / (4 * length - 2))
        for rate, stays in ((edge - 0.02, True), (edge + 0.02, False)):
            rest = 1 - 1 / rate
            x = newest(history.delayed_logistic(length, rate), np.full((length, 1), rest + 1e-3), 6000).values
            far = np.abs(x[-500:] - rest).max()
            assert (far < 1e-4) if stays else (far > 1e-2)
            assert (x > 0).all()
            assert (x < 1).all()


def test_the_generalised_henon_map_at_two_slots_is_a_henon_map():
    # with y = x / a the recurrence is y_t = 1 − a y²_{t−1} − (b) y_{t−2}, Hénon's with b of the other sign
    a, b = 1.4, 0.3
    x = newest(history.generalised_henon(2, a, b), [[0.1], [0.2]], 40).values.ravel()
    y = [0.1 / a, 0.2 / a]
    for _ in range(40):
        y.append(1 - a * y[-1] ** 2 - b * y[-2])
    np.testing.assert_allclose(x, a * np.array(y[2:]), atol=1e-6)


@pytest.mark.parametrize("length", [2, 3, 4, 8])
def test_the_generalised_henon_map_is_bounded_and_chaotic(length):
    system, generator = history.generalised_henon(length), np.random.default_rng(2)
    initial = generator.uniform(-1, 1, (500, length, 1))
    x = newest(system, initial, 2000).values
    assert np.abs(x).max() < 2
    apart = newest(system, initial + 1e-9 * generator.normal(size=initial.shape), 600).values - x[:, :600]
    assert np.median(np.abs(apart[:, -1])) > 1e-2


def test_mackey_glass_converges_to_the_solution_of_the_equation_and_keeps_its_bound():
    # constant history: until t = τ the production is a constant, and x relaxes exponentially
    production, decay, start = 0.2, 0.1, 0.8
    constant = production * start / (1 + start**10)
    errors = []
    for per_unit in (4, 8, 16):
        system = history.mackey_glass(17 * per_unit, step=1 / per_unit)
        x = newest(system, np.full((system.length, 1), start), 17 * per_unit).values.ravel()
        time = np.arange(1, 17 * per_unit + 1) / per_unit
        exact = constant / decay + (start - constant / decay) * np.exp(-decay * time)
        errors.append(np.abs(x - exact).max())
    np.testing.assert_allclose(np.array(errors[:-1]) / errors[1:], 2, rtol=0.05)  # first order
    x = newest(history.mackey_glass(), np.random.default_rng(3).uniform(0.1, 1.5, (50, 17, 1)), 3000).values
    u = np.linspace(0, 3, 30001)
    assert (x > 0).all()
    assert x.max() <= max(1.5, production / decay * (u / (1 + u**10)).max())
    odd = history.mackey_glass(2, exponent=9.65)  # what is negative is no less bounded
    np.testing.assert_array_equal(odd.next([[-2.0], [-0.5]]), -odd.next([[2.0], [0.5]]))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: history.modular([], 2), "lags must be different integers"),
        (lambda: history.modular([2, 2], 2), "lags must be different integers"),
        (lambda: history.modular([0, 2], 2), "lags must be at least 1"),
        (lambda: history.modular([1, 2], 1), "modulus must be at least 2"),
        (lambda: history.modular([1, 2], 3, code="bipolar"), "code must be onehot for a modulus of 3"),
        (lambda: history.modular([1, 2], 2, code="gray"), "code must be onehot or bipolar"),
        (lambda: history.modular([1, 5], 2, length=4), "length must be at least 5"),
        (lambda: history.delayed_logistic(2, -1.0), "rate must be a finite positive number"),
        (lambda: history.generalised_henon(1), "length must be at least 2"),
        (lambda: history.mackey_glass(17, step=10.0), "step must be below 1 / decay = 10"),
    ],
)
def test_bad_arguments_are_named(make, message):
    with pytest.raises((ValueError, TypeError), match=message):
        make()
