"""The published columns of the tables, against a second list that was typed from the papers by itself, in their units.

A number mistyped by a digit or a power of ten in either list makes them differ.
"""

import math

import pytest

from experiments.reports.tables import load_table, table_names

NEVER = "never"

# Keller, Muller, Sejnowski and Welling, ICLR 2024. Table 4: loss at T = 0, 10, 30, 80 (of 480 there are only curves).
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

# Jacobs et al. 2025, results of the public code, in per cent (loss in hundredths): mean and SD over ten seeds (twelve
# on Multi-MNIST) of accuracy, of the foreground, IoU, IoU of the foreground, loss; and how many in ten collapsed.
SCORES = (
    "best_test.accuracy",
    "best_test.foreground_accuracy",
    "best_test.iou",
    "best_test.published_iou_foreground",
    "best_test.loss",
)
DIGIT_SEGMENTATION = {
    "NWM, linear": ("99±0 90±2 97±1 85±4 4±1", 0),
    "NWM, fft": ("97±1 76±5 94±1 65±7 10±2", 0),
    "NWM, last": ("93±1 50±8 88±2 39±7 18±3", 0),
    "NWM, mean": ("93±1 46±8 87±2 35±7 20±3", 0),
    "NWM, max": ("93±1 48±7 87±2 37±7 19±2", 0),
    "Conv-LSTM, linear": ("97±4 79±28 95±6 73±26 12±20", 1),
    "Conv-LSTM, fft": ("96±4 73±27 93±6 66±25 14±20", 1),
    "Conv-LSTM, last": ("91±3 32±23 83±5 24±18 35±24", 3),
    "Conv-LSTM, mean": ("92±1 42±9 86±2 31±7 21±3", 0),
    "Conv-LSTM, max": ("92±1 42±5 86±1 31±4 21±2", 0),
    "CNN, 2 layers": ("89±1 14±6 80±1 10±4 34±13", None),
    "CNN, 4 layers": ("89±1 19±11 81±2 13±7 35±18", None),
    "CNN, 8 layers": ("92±2 42±15 86±3 30±11 25±16", None),
    "CNN, 16 layers": ("94±5 57±39 90±9 50±35 27±29", None),
    "CNN, 32 layers": ("90±6 27±43 83±10 25±41 50±31", None),
}
TETROMINOES = {
    "NWM, linear": ("100±0 99±0 99±0 98±1 1±0", 0),
    "NWM, fft": ("100±0 98±1 99±0 97±1 1±0", 0),
    "NWM, last": ("99±1 94±6 98±2 90±9 3±2", 0),
    "NWM, mean": ("99±1 92±7 98±2 87±11 4±2", 0),
    "NWM, max": ("98±2 88±11 96±3 81±15 5±3", 0),
    "Conv-LSTM, linear": ("99±0 97±2 99±1 94±3 2±1", 0),
    "Conv-LSTM, fft": ("99±1 95±4 98±1 91±7 3±2", 0),
    "Conv-LSTM, last": ("94±6 59±41 89±10 52±38 24±28", 3),
    "Conv-LSTM, mean": ("95±4 64±25 90±6 53±23 15±18", 1),
    "Conv-LSTM, max": ("94±4 62±30 90±7 52±31 16±18", 1),
    "CNN, 2 layers": ("89±1 24±8 81±2 14±5 27±13", None),
    "CNN, 4 layers": ("90±2 31±16 82±4 20±11 28±19", None),
    "CNN, 8 layers": ("96±4 74±26 93±6 64±22 11±19", None),
    "CNN, 16 layers": ("91±7 40±51 85±13 40±51 39±33", None),
    "CNN, 32 layers": ("90±7 33±47 83±12 32±47 41±31", None),
}
MULTI_MNIST = {
    "NWM, 16 channels": ("100±0 96±1 100±0 93±1 1±0", None),
    "U-Net, width 2": ("98±1 66±27 97±2 60±28 6±3", None),
    "U-Net, width 3": ("100±0 90±10 99±1 87±13 3±1", None),
    "U-Net, width 4": ("100±0 97±0 100±0 96±1 1±0", None),
    "U-Net, width 5": ("100±0 98±0 100±0 97±0 1±0", None),
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


@pytest.mark.parametrize(
    ("name", "numbers", "place"),
    [("mnist-segmentation", DIGIT_SEGMENTATION, 1), ("tetrominoes", TETROMINOES, 1), ("multi-mnist", MULTI_MNIST, 0)],
)
def test_segmentation(name, numbers, place):
    expected = {}
    for row, (line, collapsed) in numbers.items():
        for key, pair in zip(SCORES, line.split(), strict=True):
            value, spread = (float(number) for number in pair.split("±"))
            expected |= with_spread(row, place, key, (value, spread), 1e-2)
        if collapsed is not None:
            expected[row, place, "best_test.collapsed"] = collapsed / 10
    same(name, expected)


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
    tested |= {"mnist-segmentation", "tetrominoes", "multi-mnist"}
    assert name in tested or not published(name)
