"""The numbers of the README and of the results page are those of the result files."""

import csv
import re
import tomllib
from math import log
from pathlib import Path
from statistics import mean

import pytest

from experiments.reports.tables import load_table

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "experiments" / "results"
PAGES = {name: " ".join((ROOT / name).read_text().split()) for name in ("README.md", "docs/results.md")}
LIMITATIONS = " ".join((ROOT / "docs" / "limitations.md").read_text().split())


def rows(table, **wanted):
    """Rows of a result file whose columns have these values."""
    with open(RESULTS / f"{table}.csv", newline="") as file:
        found = [row for row in csv.DictReader(file) if all(row[key] == value for key, value in wanted.items())]
    assert found, f"{table}.csv has no row {wanted}"
    return found


def numbers(found, key):
    return [float(row[key]) for row in found if row[key] not in ("", "not reached", "never")]


def power(value):
    """1e-10 for 1.0e-10."""
    return re.sub(r"e-0", "e-", f"{value:.0e}")


def lines(page):
    """Rows of the Markdown tables of a page, as lists of cells."""
    table = [line for line in (ROOT / page).read_text().splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("| ").split("|")] for line in table]


def cells(page, first):
    """Those whose first cells are these."""
    return [line for line in lines(page) if line[: len(first)] == first]


@pytest.mark.parametrize("delay", ["0", "10", "30", "80"])
def test_copy(delay):
    expected = [delay]
    for model, seeds in (("wRNN", 3), ("iRNN", 1)):
        found = rows("copy", row=model, column=f"delay {delay}")
        assert len(found) == seeds
        assert {row["step"] for row in found} == {"20000"}
        expected += [power(mean(numbers(found, "final.reference_loss")))]
        expected += [power(float(found[0]["published final.reference_loss"]))]
    assert cells("docs/results.md", [delay])[0] == expected


PARTS = ("− V-init", "− u-shift", "− V − u-shift", "iRNN + Σ", "iRNN + Σ + V-init")


def copied(row, delay):
    """The losses of a row of the copy task: its runs, and what was published."""
    (cell,) = (c for c in load_table("copy").cells if (c.row, c.column) == (row, f"delay {delay}"))
    found = [run for run in rows("copy", column=f"delay {delay}") if run["row"] == row]
    return found, numbers(found, "final.reference_loss"), cell.published["final.reference_loss"]


@pytest.mark.parametrize("row", PARTS)
def test_what_the_parts_of_the_wave_rnn_contribute(row):
    expected = [row]
    for delay in (0, 10, 30, 80):
        found, losses, published = copied(row, delay)
        assert {(run["step"], run["seed"]) for run in found} <= {("20000", "0")}
        expected.append(f"{power(mean(losses)) if losses else '–'} ({power(published)})")
    assert cells("docs/results.md", [row]) == [expected]


def test_what_is_said_of_those_parts():
    for delay in (10, 30, 80):
        for row in ("− u-shift", "− V − u-shift"):
            assert min(copied(row, delay)[1], default=1) > 1e-3
    for delay in (0, 10, 30):
        assert copied("iRNN + Σ", delay)[1][0] < 100 * mean(copied("wRNN", delay)[1])
    for delay, rate, clip in ((0, 1e-3, 10.0), (10, 1e-3, 1.0), (30, 1e-4, 1.0), (80, 1e-4, 1.0)):
        for run in copied("iRNN + Σ", delay)[0]:
            training = tomllib.loads((RESULTS / "runs" / run["run"] / "config.toml").read_text())["training"]
            assert (training["learning_rate"], training["clip"]) == (rate, clip)
    assert (
        "at a rate of 1e-3, from a delay of 30 on of 1e-4, with gradients clipped at 1 (10 at no delay)"
        in (PAGES["docs/results.md"])
    )


def test_orders_between_wave_and_identity_networks():
    from math import log10

    orders = []
    for delay in (0, 10, 30, 80):
        ours, theirs = (
            mean(numbers(rows("copy", row=model, column=f"delay {delay}"), "final.reference_loss"))
            for model in ("wRNN", "iRNN")
        )
        orders.append(log10(theirs / ours))
    assert f"{min(orders):.1f} to {max(orders):.1f} orders" in PAGES["docs/results.md"]


@pytest.mark.parametrize("length", ["100", "200", "400", "700", "1000"])
def test_adding(length):
    expected = []
    for row in ("wRNN", "iRNN"):
        (cell,) = (c for c in load_table("adding").cells if (c.row, c.column) == (row, f"length {length}"))
        published = cell.published["reference_solved_at"]
        made = [run for run in rows("adding", column=f"length {length}") if run["row"] == row]
        solved = [run["reference_solved_at"] for run in made]
        if not made:
            ours = "–"
        elif "not reached" in solved:
            ours = f"not in {max(int(run['step']) for run in made):,}"
        else:
            ours = f"{mean(map(float, solved)):,.0f}"
        expected += [ours, str(len(made) or "–"), published if published == "never" else f"{published:,.0f}"]
    assert cells("docs/results.md", [length])[0][1:] == expected


def test_gated_networks_add():
    gru, lstm = (
        rows("adding", row=f"{name}, same parameters", column="length 100", reference_solved_at=solved)
        for name, solved in (("GRU", "900"), ("LSTM", "3000"))
    )
    assert (len(gru), len(lstm)) == (1, 1)
    assert "a GRU solves length 100 after 900 steps and an LSTM after 3,000 (one seed each" in PAGES["docs/results.md"]


@pytest.mark.parametrize("page", PAGES)
def test_mnist(page):
    (run,) = rows("mnist", row="wRNN", column="psMNIST")
    epochs = int(run["step"]) * 120 // int(run["steps"])
    assert f"{epochs} of 120 epochs" in PAGES[page]
    for key in ("best_test.accuracy", "published best_test.accuracy"):
        assert f"{100 * float(run[key]):.1f} %" in PAGES[page]


def memory(task, decay, suffix=""):
    return rows("working-memory", row=f"RNN, N = 128, L2 = {decay}{suffix}", column=f"system {task}")


@pytest.mark.parametrize("decay", ["0", "0.001"])
@pytest.mark.parametrize("task", ["T1", "T2", "T3", "T4"])
def test_working_memory(task, decay):
    found = memory(task, decay)
    assert len(found) == 5
    angles = numbers(found, "test.greedy_angle_error")
    published = found[0]["published test.greedy_angle_error"] or "none"
    expected = [
        f"{mean(numbers(found, 'test.accuracy')):.3f}",
        f"{float(found[0]['published test.accuracy']):.2f}",
        f"{mean(angles):.4f} ({len(angles)} of 5)" if angles else "none of 5",
        published if published == "none" else f"{float(published):.4f}",
    ]
    assert cells("docs/results.md", [task, decay])[0][2:] == expected


def test_the_lower_threshold():
    page, best = PAGES["docs/results.md"], {"T1": "0", "T2": "0.001", "T3": "0.001", "T4": "0.001"}
    shares, smaller, by = [], 0, []
    for task, decay in best.items():
        pairs = list(zip(memory(task, decay), memory(task, decay, ", horizons grow at 0.9"), strict=True))
        shares.append(mean(float(low["test.accuracy"]) for _, low in pairs))
        for high, low in pairs:
            assert high["seed"] == low["seed"]
            assert float(low["test.accuracy"]) <= float(high["test.accuracy"])  # raised in none
            both = numbers([high, low], "test.greedy_angle_error")
            if len(both) == 2 and both[1] < both[0]:
                smaller += 1
                by.append(both[0] - both[1])
    assert "none of the 20 networks ({:.3f}, {:.3f}, {:.3f} and {:.3f} on average)".format(*shares) in page
    assert f"smaller in {smaller} of them, by at most {max(by):.4f}" in page
    assert all(float(row["test.accuracy"]) == 1 for row in memory("T2", "0", ", horizons grow at 0.9"))


def test_networks_of_64_units():
    short = []
    for decay in ("0", "0.001"):
        for task in ("T1", "T2", "T3", "T4"):
            (run,) = rows("working-memory", row=f"RNN, N = 64, L2 = {decay}", column=f"system {task}")
            share = float(run["test.accuracy"]) < float(run["published test.accuracy"]) - 0.005
            published = numbers([run], "published test.greedy_angle_error")
            ours = numbers([run], "test.greedy_angle_error")
            if share or (published and not (ours and ours[0] <= published[0])):
                short.append((task, decay, share))
    assert short == [("T3", "0", False), ("T4", "0", False), ("T1", "0.001", True), ("T3", "0.001", True)]
    assert "(0.70 and 0.89 for 0.88 and 0.97)" in PAGES["docs/results.md"]
    for task, ours, published in (("T1", "0.70", "0.88"), ("T3", "0.89", "0.97")):
        (run,) = rows("working-memory", row="RNN, N = 64, L2 = 0.001", column=f"system {task}")
        assert [f"{float(run[key]):.2f}" for key in ("test.accuracy", "published test.accuracy")] == [ours, published]


def test_an_open_line_learns_t1():
    runs = rows("working-memory", row="wave network, open line")
    assert [float(run["test.accuracy"]) for run in runs] == [1, 1, 1]
    assert {run["step"] for run in runs} == {"6000"}


ENDS = (
    "linear end",
    "attention end",
    "attention end, hidden layer",
    "MLP end",
    "RNN, N = 128",
    "LSTM, N = 64",
    "wave network, open line",
)


@pytest.mark.parametrize(
    "system", ["T1", "T2", "T3", "T4", "parity", "modular", "logistic", "henon", "mackey-glass", "random-linear"]
)
def test_driven_ends(system):
    with open(RESULTS / "travelling-memory.csv", newline="") as file:
        found = [row for row in csv.DictReader(file) if row["column"] == f"system {system}"]
    expected = []
    for end in ENDS:
        shares = [float(row["test.accuracy"]) for row in found if row["row"] == end]
        expected.append(
            f"{mean(shares):.3f}" + (f" ({len(shares)} seeds)" if len(shares) > 1 else "") if shares else "–"
        )
    assert cells("docs/results.md", [system])[-1][1:] == expected


def test_what_is_said_of_driven_ends():
    def share(system, row):
        (found,) = rows("travelling-memory", column=f"system {system}", row=row)
        return float(found["test.accuracy"])

    for system in ("parity", "modular", "logistic"):
        assert share(system, "attention end, hidden layer") > 0.95
        assert share(system, "linear end") < 0.51
    delayed = {
        run["row"]: float(run["test.accuracy"]) for run in rows("travelling-memory", column="system mackey-glass")
    }
    longest = sorted(delayed, key=lambda row: delayed[row])[-2:]
    assert set(longest) == {"attention end, hidden layer", "LSTM, N = 64"}
    assert {f"{delayed[row]:.2f}" for row in longest} == {"0.93"}
    assert max(float(run["test.accuracy"]) for run in rows("travelling-memory", column="system henon")) * 200 < 22
    for row in ("RNN, N = 128", "LSTM, N = 64"):
        assert share("parity", row) < 0.51
        assert share("modular", row) < 0.21
        assert share("logistic", row) > 0.9
    assert share("T1", "LSTM, N = 64") < 0.55
    ends = [run for end in ENDS if end.endswith(("end", "layer")) for run in rows("travelling-memory", row=end)]
    longest = max(float(run["seconds"]) for run in ends) / 60
    assert f"at most {int(longest) + 1} minutes each" in " ".join(PAGES["docs/results.md"].split())


@pytest.mark.parametrize("row", ["wRNN", "iRNN", "neurons on a string"])
def test_digits(row):
    name = {"wRNN": "wave RNN", "iRNN": "identity RNN"}.get(row, row)
    found = [rows("digits", row=row, column=column) for column in ("in order", "permuted")]
    expected = [f"{100 * float(run['test.accuracy']):.1f} %" for (run,) in found]
    assert [name, *expected] in lines("docs/results.md")


def test_all_steps_at_once_and_one_by_one():
    at_once, one, cached = (
        1000 * float(rows("bench/memory", way=way)[0]["step_s"])
        for way in ("all steps at once", "step by step", "steps with a cache")
    )
    page = PAGES["docs/results.md"]
    assert f"attention end take {at_once:.0f} ms" in page
    assert f"step by step {one:.0f} ms, and {cached:.0f} with keys" in page


@pytest.mark.parametrize("kernel", ["shift", "fading", "two speeds", "mixing", "mixing both ways"])
def test_kernels_of_travel(kernel):
    name = {"mixing": "slots that mix", "mixing both ways": "both ways", "shift": "exact shift"}.get(kernel, kernel)
    study = f"test_a_trained_end_remembers_what_the_capacity_says[{kernel}]"
    (line,) = [cells for cells in lines("docs/results.md") if cells[0].startswith(f"{name}, [")]
    expected = [
        (float(row["value"]), float(row["target"].split(",")[0])) for row in rows("validation/travel", study=study)
    ]
    assert line[1:] == [f"{trained:.2f} ({exact:.2f})" for trained, exact in expected]


def test_the_wave_in_trained_weights():
    page = PAGES["docs/results.md"]
    t4 = "history-elman-systemT4-hidden_size128-weight_decay0.001-seed0"
    t1 = "history-elman-systemT1-hidden_size128-weight_decay0.0-seed0"
    null = "null: random input and output weights"

    def of(run, recovery, key, quantile=""):
        (row,) = rows("memory/recoveries", run=run, recovery=recovery, quantile=quantile)
        return float(row[key])

    def spread(run, key):
        """From the 5th to the 95th percentile of the null."""
        return of(run, null, key, "0.05"), of(run, null, key, "0.95")

    assert f"{100 * of(t4, 'unaided', 'recurrence_share'):.0f} % of the recurrence's squared norm" in page
    assert f"cosine of {of(t4, 'unaided', 'boundary_agreement'):.4f}" in page
    assert "the cosine is {:.2f} to {:.2f}".format(*spread(t4, "boundary_agreement")) in page
    assert {row["draws"] for row in rows("memory/recoveries", recovery=null)} == {"200"}
    assert f"On T1 they hold {100 * of(t1, 'unaided', 'recurrence_share'):.0f} % of all" in page
    entries = 100 * of(t1, "unaided", "entry_share"), *(100 * share for share in spread(t1, "entry_share"))
    assert (
        "{:.0f} % of the encoder is in the newest slot, {:.0f} to {:.0f} % from random weights".format(*entries) in page
    )


def test_intervals_of_an_estimated_law():
    held = [round(100 * float(row["value"])) for row in rows("validation/estimate")]
    assert len(held) == 5
    assert f"of three fields, {min(held)} to {max(held)} held the speed or the damping" in LIMITATIONS


@pytest.mark.parametrize("page", PAGES)
def test_diagnostics(page):
    rates = [float(row["value"]) for row in rows("validation/significance") if "false positives" in row["quantity"]]
    coverage = [float(row["value"]) for row in rows("validation/velocity")]
    assert f"between {min(rates):.2f} and {max(rates):.2f}" in PAGES[page]
    assert len(rates) == 24
    assert f"{100 * min(coverage):.0f} to {100 * max(coverage):.0f} %" in PAGES[page]


def test_diagnosis_in_a_plane():
    page = PAGES["docs/results.md"]
    shapes = rows("validation/shapes_in_full", quantity="verdict right")
    wrong = {row["case"]: round(int(row["draws"]) * float(row["value"])) for row in shapes if row["value"] != "1"}
    assert {row["draws"] for row in shapes} == {"50"}
    assert list(wrong) == ["30 electrodes, rotating"]
    assert f"among 30 scattered electrodes in {wrong['30 electrodes, rotating']} of those that rotate" in page

    def directions(quantity):
        return {row["case"]: float(row["value"]) for row in rows("validation/directions_in_full", quantity=quantity)}

    travelling = directions("travelling")
    hard = travelling.pop("20 electrodes, SNR 0.5")
    assert f"in at least {100 * min(travelling.values()):.0f} % of 120 draws" in page
    assert f"among 20 electrodes at 0.5 in {100 * hard:.0f} %" in page
    assert f"at most {max(directions('error of the angle in degrees').values()):.1f}°" in page
    held = directions("interval of the angle holds it").values()
    assert f"intervals hold it in {100 * min(held):.0f} to {100 * max(held):.0f} %." in page

    def coverage(estimator):
        found = rows("validation/coverage_in_full", quantity=f"{estimator} holds the speed")
        values = [float(row["value"]) for row in found]
        return f"{100 * min(values):.0f} to {100 * max(values):.0f} %"

    for estimator in ("radon", "delay", "phase gradient"):
        name = estimator.capitalize() if estimator == "radon" else estimator
        assert f"{coverage(estimator)} ({name})" in page
    assert f"in {coverage('optical flow')}. The ridge" in page
    assert f"less reliable ({coverage('ridge')})" in page
    answers = rows("validation/coverage_in_full", quantity="ridge answers")
    assert f"in {100 * max(float(row['value']) for row in answers):.0f} % of these draws at most" in page


def test_what_does_not_travel_in_a_plane():
    moves, speeds = (
        rows("validation/nulls_in_full", quantity=quantity)
        for quantity in ("said to move", "has a speed by any estimator")
    )
    assert len(moves) == len(speeds) == 2 * 14
    assert {row["draws"] for row in moves} == {"2000"}
    page = PAGES["docs/results.md"]
    assert f"at most {100 * max(float(row['value']) for row in moves):.1f} % of 2,000 draws" in page
    assert f"at most {max(float(row['value']) * int(row['draws']) for row in speeds):.0f} of 100 have a speed" in page


def test_how_many_events_a_sheet_holds():
    def quietest(events):
        """The largest noise up to which all draws are read exactly."""
        read = {float(row["noise"]): float(row["exact"]) == 1 for row in rows("sheets/readout", events=events)}
        assert len(read) == 7
        return max((noise for noise in read if all(read[lower] for lower in read if lower <= noise)), default=None)

    page = PAGES["docs/results.md"]
    assert f"64 in every draw up to a noise of {quietest('64'):g}, 128 up to {quietest('128'):g}, 256 in none" in page
    assert quietest("256") is None
    assert f"R/(2 log n) = {2 * 32**2 / (2 * log(40 * 32**2)):.0f} events" in page


def test_headlines_of_the_readme_are_on_the_results_page():
    page = PAGES["README.md"]
    copy = [cells("docs/results.md", ["30"])[0][i] for i in (1, 3, 2, 4)]
    assert "| {} and {} | {} and {} |".format(*copy) in page
    adding = [cells("docs/results.md", [length])[0] for length in ("100", "200", "400")]
    assert "| {}, {}, {} | {}, {}, {} |".format(*(line[1] for line in adding), *(line[3] for line in adding)) in page
    best = [
        cells("docs/results.md", key)[0] for key in (["T1", "0"], ["T2", "0.001"], ["T3", "0.001"], ["T4", "0.001"])
    ]
    assert "| {}, {}, {}, {} | {}, {}, {}, {} |".format(*(c[2] for c in best), *(c[3] for c in best)) in page


SEGMENTERS = [
    "NWM, linear", "NWM, fft", "NWM, last", "NWM without coupling, linear", "linear wave machine, no loop",
    "Conv-LSTM, linear", "CNN, 8 layers",
]  # fmt: skip


@pytest.mark.parametrize("row", SEGMENTERS)
def test_segmentation(row):
    runs = [run for run in rows("tetrominoes", row=row, column="reduced") if run["status"] == "finished"]
    told = cells("docs/results.md", [row])[0]
    assert told[1].split(", ") == [f"{float(run['best_test.foreground_accuracy']):.3f}" for run in runs]
    assert told[2].split(", ") == [f"{float(run['best_test.background_false_positives']):.0e}" for run in runs]
    assert {run["step"] for run in runs} == {"2500"}
    if row == "NWM, linear":
        right = numbers(runs, "best_test.foreground_accuracy")
        assert len(runs) == 5
        assert f"| {min(right):.2f} to {max(right):.2f} | 0.99 |" in PAGES["README.md"]


def test_what_is_said_of_segmenters():
    right = {
        row: numbers(rows("tetrominoes", row=row, column="reduced", status="finished"), "best_test.foreground_accuracy")
        for row in SEGMENTERS
    }
    assert mean(right["NWM, linear"]) > mean(right["NWM, fft"]) > mean(right["NWM, last"])
    assert {len(right[row]) for row in ("NWM, fft", "NWM, last")} == {3}
    assert [row for row in SEGMENTERS if 0.0 in right[row]] == ["CNN, 8 layers"]
    assert right["CNN, 8 layers"].count(0.0) == 2
    assert min(right["linear wave machine, no loop"]) > mean(right["NWM, linear"])
    page = PAGES["docs/results.md"]
    assert f"same machine reaches {right['NWM without coupling, linear'][0]:.2f}" in page
    (wave,) = rows("mnist-segmentation", row="NWM, linear", column="reduced", status="finished")
    (local,) = rows("mnist-segmentation", row="CNN, 8 layers", column="reduced", status="finished")
    assert f"gets {float(wave['best_test.foreground_accuracy']):.2f} of the foreground right" in page
    assert float(local["best_test.foreground_accuracy"]) == 0


def test_waves_of_trained_sheets():
    with open(RESULTS / "tetrominoes-waves.csv", newline="") as file:
        found = list(csv.DictReader(file))
    assert len(found) == 10
    assert {row["verdict"] for row in found} == {"static"}
    p, still = ([float(row[name]) for row in found] for name in ("p_value", "static_share"))
    page = PAGES["docs/results.md"]
    assert f"p from {min(p):.2f} to {max(p):.2f}" in page
    assert f"{100 * min(still):.0f} to {100 * max(still):.0f} % of the power" in page


def test_speed_of_sheets():
    with open(RESULTS / "bench" / "wavefield.csv", newline="") as file:
        found = list(csv.DictReader(file))
    page = PAGES["docs/results.md"]
    for against, told in (
        ("Devito", "{:.1f} to {:.1f} times the rate of Devito"),
        ("NumPy", "{:.0f} to {:.0f} times that of"),
    ):
        ratio = [float(row["ratio"]) for row in found if row["case"].startswith("sheet") and against in row["against"]]
        assert told.format(min(ratio), max(ratio)) in page
