"""The published columns of the tables, against a second list that was typed from the papers by itself, in their units.

A number mistyped by a digit or a power of ten in either list makes them differ.
"""

import math

import pytest

from experiments.reports.tables import load_table, table_names

NEVER = "never"

# Keller, Muller, Sejnowski and Welling, ICLR 2024. Table 4: loss at the labels T = 0, 10, 30, 80.
COPY = {
    "wRNN": "9e-12 1e-10 8e-11 1e-11",
    "− V-init": "1e-11 2e-11 4e-10 4e-11",
    "− u-shift": "5e-11 3e-10 7e-4 6e-4",
    "− V − u-shift": "8e-10 1e-4 3e-4 7e-4",
    "iRNN": "1e-4 3e-3 2e-3 1e-3",
    "iRNN + Σ": "1e-8 1e-7 2e-7 2e-5",
    "iRNN + Σ + V-init": "1e-7 1e-7 1e-6 8e-6",
}
# Table 7: thousands of steps until solved, and 10⁻⁵ of squared error, at T = 100, 200, 400, 700, 1000: mean and SD.
ADDING_SOLVED = {
    "wRNN": [(0.23333, 0.05774), (1, 0), (1.33333, 0.57735), (3, 0), (1.66667, 0.57735)],
    "iRNN": [(11.5, 2.91033), (21, 4.58258), (30, None), (NEVER, None), (NEVER, None)],
}
ADDING_ERROR = {
    "wRNN": [(6.12, 7.95), (8.54, 7.91), (15.9, 10.7), (5.29, 3.19), (4.36, 1.91)],
    "iRNN": [(1.40, 0.421), (5.13, 1.66), (7700, 8490), (16300, 208), (16000, None)],
}
# Table 7: per cent right, mean and SD of three seeds. Theirs is the last model on sMNIST, the best on psMNIST.
MNIST = {"wRNN": [(97.30, 0.34), (96.60, 0.10)], "iRNN": [(98.20, 0.32), (90.85, 1.47)], "wRNN + MLP": [97.5, 97.6]}
NOISY_CIFAR = {"wRNN": (54.70, 0.42), "iRNN": (51.80, 0.54)}
FIRST_EPOCH = {"wRNN": [90, 93], "iRNN": [39, 34]}  # Figure 6
CONTROLS = {  # Figures 10, 11 and 14
    "wRNN, frozen encoder and recurrence": 89.0,
    "iRNN, frozen encoder and recurrence": 44.3,
    "linear map of the tape": 92.4,
    "wRNN, random kernel": 96.5,
    "wRNN, identity kernel": 94.8,
}
# Karuvally, Sejnowski and Siegelmann, public notebook: 10⁻⁴ rad and per cent of signs, for T1, T2, T3, T4.
MEMORY = {
    (64, "0"): ([None, 75, 26, 112], [97, 100, 100, 94]),
    (64, "0.001"): ([None, None, 10, 11], [88, 85, 97, 100]),
    (64, "0.1"): ([None] * 4, [50] * 4),
    (128, "0"): ([5, 55, 31, 22], [100, 98, 98, 100]),
    (128, "0.001"): ([None, 31, 5, 6], [93, 98, 100, 100]),
    (128, "0.1"): ([None] * 4, [50] * 4),
}


def published(name):
    """(row, place in the row, key) → number, of every published number of a table."""
    found, places = {}, {}
    for cell in load_table(name).cells:
        place = places[cell.row] = places.get(cell.row, -1) + 1
        for key, value in cell.published.items():
            if value != "":
                found[cell.row, place, key] = value
    return found


def same(name, expected):
    ours = published(name)
    assert set(ours) == set(expected)
    for key, value in expected.items():
        if isinstance(value, str):
            assert ours[key] == value, key
        else:
            assert math.isclose(ours[key], value, rel_tol=1e-9), (key, ours[key], value)


def with_spread(row, place, key, pair, unit):
    value, spread = pair if isinstance(pair, tuple) else (pair, None)
    one = {(row, place, key): value if value == NEVER else value * unit}
    return one if spread is None else one | {(row, place, f"{key} SD"): spread * unit}


def test_copy():
    key = "final.reference_loss"
    same("copy", {(r, i, key): float(v) for r, line in COPY.items() for i, v in enumerate(line.split())})


def test_copy_at_the_other_rate():
    rows = {row: line for row, line in COPY.items() if row != "iRNN"}
    same("copy-rate", {(row, 0, "final.reference_loss"): float(line.split()[0]) for row, line in rows.items()})


def test_adding():
    expected = {}
    for row in ("wRNN", "iRNN"):
        for place, (solved, error) in enumerate(zip(ADDING_SOLVED[row], ADDING_ERROR[row], strict=True)):
            expected |= with_spread(row, place, "reference_solved_at", solved, 1e3)
            expected |= with_spread(row, place, "test.loss", error, 1e-5)
    same("adding", expected)


def test_mnist():
    expected = {}
    for row, (in_order, permuted) in MNIST.items():
        expected |= with_spread(row, 0, "test.accuracy", in_order, 1e-2)
        expected |= with_spread(row, 1, "best_test.accuracy", permuted, 1e-2)
    same("mnist", expected)


def test_noisy_cifar():
    expected = {}
    for row, pair in NOISY_CIFAR.items():
        expected |= with_spread(row, 0, "best_test.accuracy", pair, 1e-2)
    same("nscifar10", expected)


def test_first_epoch():
    same(
        "mnist-first-epoch",
        {(r, i, "test.accuracy"): v / 100 for r, row in FIRST_EPOCH.items() for i, v in enumerate(row)},
    )


def test_controls():
    same("controls", {(row, 0, "test.accuracy"): value / 100 for row, value in CONTROLS.items()})


def test_working_memory():
    expected = {}
    for (units, decay), (angles, shares) in MEMORY.items():
        row = f"RNN, N = {units}, L2 = {decay}"
        for place, (angle, share) in enumerate(zip(angles, shares, strict=True)):
            expected[row, place, "test.accuracy"] = share / 100
            if angle is not None:
                expected[row, place, "test.greedy_angle_error"] = angle * 1e-4
    same("working-memory", expected)


@pytest.mark.parametrize("name", table_names())
def test_no_table_is_left_out(name):
    tested = {"copy", "copy-rate", "adding", "mnist", "nscifar10", "mnist-first-epoch", "controls", "working-memory"}
    assert name in tested or not published(name)
