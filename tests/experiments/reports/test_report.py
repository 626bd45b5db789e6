"""Tables of runs: what was run stands beside what was published, and what was not run stays blank."""

import csv
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from experiments import reproduce
from experiments.__main__ import main
from experiments.commands import seconds
from experiments.config import load_config
from experiments.reports.figures import COLOURS, table_curves
from experiments.reports.report import find_runs, markdown, print_table, records_of
from experiments.reports.tables import load_table, table_names
from experiments.runs.folder import RunFolder


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    more = [word for setting in ("steps=4", "evaluate_every=4") for word in ("--set", setting)]
    chosen = ["--row", "iRNN", "--column", "delay 10", "--seeds", "0", "1", "--jobs", "64"]  # of one thread each

    def carry_out(plan, deadline, options):  # in this process: `test_reproduce` starts others
        for each in plan:
            reproduce._one(*each, 600.0, options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reproduce, "_carry_out", carry_out)
        assert main(["reproduce", "copy", *chosen, *more, "--runs", str(folder)]) == 0
    return folder


def written(folder, config, *settings, environment=None, **summary):
    """A run as it lies in a folder, without training."""
    run = RunFolder(folder)
    run.path.mkdir(parents=True)
    run.create(load_config(config, settings))
    run.append({"step": 0, "seconds": 0.0, "held_out_loss": 1.0})
    told = {"status": "finished", "step": 60, "steps": 60, "solved_at": None, "seconds": 90.0, "data_share": 0.01}
    told |= {"parameters": 7, "reference_solved_at": None, "final": {"loss": 0.5, "reference_loss": 0.01}}
    run.summary.write_text(json.dumps(told | summary))
    made = {"device": "a CPU", "threads": 2, "commit": "abc"}
    (run / "environment.json").write_text(json.dumps(made | (environment or {})))
    return run


def line_of(table, runs, column, row):
    """The cells of a line of the table, by the names over them."""
    lines = [line.strip("| ").split(" | ") for line in markdown(table, records_of(table, runs)).splitlines()]
    return next(line for line in lines if line[:2] == [column, row])


def test_the_cells_that_were_asked_for_were_run(runs):
    assert sorted(path.name for path in runs.iterdir()) == [
        f"copy-irnn-delay10-steps4-evaluate_every4-seed{seed}" for seed in (0, 1)
    ]


def test_what_was_run_stands_beside_what_was_published(runs):
    table = load_table("copy")
    records = records_of(table, find_runs(runs))
    assert [(r["row"], r["column"], r["seed"], r["published final.reference_loss"]) for r in records] == [
        ("iRNN", "delay 10", 0, 3e-3),
        ("iRNN", "delay 10", 1, 3e-3),
    ]
    final = json.loads((runs / records[0]["run"] / "summary.json").read_text())["final"]["reference_loss"]
    assert records[0]["final.reference_loss"] == final
    assert records[0]["final.loss"] == pytest.approx(50 * final)  # the mean over symbols, of which nothing was printed
    assert records[0]["published final.loss"] == ""
    lines = markdown(table, records).splitlines()
    ran = [line.split(" | ") for line in lines if line.startswith("| delay 10 | iRNN |")]
    assert ran[0][2] == "3e-03"
    assert " ± " in ran[0][3]
    assert (ran[0][4], ran[0][7]) == ("", "4 of 60,000")  # far too short for a ratio
    blank = next(line for line in lines if line.startswith("| delay 80 | wRNN |"))
    assert blank.split(" | ")[2:6] == ["1e-11", "", "", ""]


def test_the_report_keeps_the_small_files_and_can_be_made_again_from_them(runs, tmp_path):
    assert main(["report", "--runs", str(runs), "-o", str(tmp_path / "results"), "--collect"]) == 0
    results = tmp_path / "results"
    assert (results / "copy.png").stat().st_size > 5000
    kept = {path.name for path in (results / "runs" / "copy-irnn-delay10-steps4-evaluate_every4-seed0").iterdir()}
    assert kept == {"config.toml", "metrics.csv", "summary.json", "environment.json"}
    assert main(["report", "--runs", str(results / "runs"), "-o", str(tmp_path / "again")]) == 0
    for name in ("copy.csv", "copy.md"):
        assert (tmp_path / "again" / name).read_text() == (results / name).read_text()
    with open(results / "copy.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["commit"] != "" and row["device"] != "" for row in rows] == [True, True]
    assert all(0 < float(row["data_share"]) < 1 for row in rows)
    assert [(row["step"], row["asked"]) for row in rows] == [("4", "60000")] * 2


def test_a_second_call_finds_all_done_and_a_spent_budget_begins_nothing(runs, capsys):
    chosen = ["--row", "iRNN", "--set", "steps=4", "--set", "evaluate_every=4", "--runs", str(runs)]
    assert main(["reproduce", "copy", *chosen, "--budget", "0s"]) == 0
    printed = capsys.readouterr().out
    assert printed.count("not begun, the budget is spent") == 4
    assert "copy-irnn-delay10-steps4-evaluate_every4-seed0: finished at step 4 of 4, " in printed
    assert len(list(runs.iterdir())) == 2


def test_a_setting_may_be_meant_for_one_table_or_for_all(tmp_path, capsys):
    chosen = ["--row", "iRNN", "--column", "delay 0", "--column", "length 100", "--budget", "0s"]
    settings = ["adding.stop_when_solved=true", "copy.steps=20", "training.evaluate_every=10"]
    more = [word for setting in settings for word in ("--set", setting)]
    assert main(["reproduce", "copy", "adding", *chosen, *more, "--runs", str(tmp_path)]) == 0
    names = [line.partition(":")[0] for line in capsys.readouterr().out.splitlines() if "not begun" in line]
    assert names == [
        "copy-irnn-delay0-steps20-training.evaluate_every10-seed0",
        "adding-irnn-length100-stop_when_solvedtrue-training.evaluate_every10-seed0",
    ]


def test_no_runs_make_no_tables(tmp_path, capsys):
    assert main(["report", "--runs", str(tmp_path), "-o", str(tmp_path / "report")]) == 0
    assert "no runs in" in capsys.readouterr().out
    assert not list((tmp_path / "report").iterdir())


def test_a_damaged_run_is_named_and_left_out(tmp_path, capsys):
    runs = tmp_path / "runs"
    whole = written(runs / "whole", "copy-irnn", "delay=10")
    written(runs / "empty", "copy-irnn", "delay=10", "seed=1").summary.write_text("")
    written(runs / "told-little", "copy-irnn", "delay=10", "seed=2").summary.write_text('{"status": "finished"}')
    (written(runs / "nowhere", "copy-irnn", "delay=10", "seed=3") / "environment.json").unlink()
    written(runs / "unmeasured", "copy-irnn", "delay=10", "seed=4").metrics.unlink()
    retired = written(runs / "retired", "copy-irnn", "delay=10", "seed=5") / "config.toml"
    retired.write_text(retired.read_text() + "momentum = 0.9\n")
    assert main(["report", "--runs", str(runs), "-o", str(tmp_path / "results"), "--collect"]) == 0
    printed = capsys.readouterr()
    assert "| delay 10 | iRNN | 3e-03 | 1e-02 |" in printed.out
    assert [path.name for path in (tmp_path / "results" / "runs").iterdir()] == ["whole"]
    for name, why in {
        "empty": "summary.json is damaged, it is not JSON",
        "told-little": "summary.json does not say step, steps",
        "nowhere": "environment.json",
        "unmeasured": "metrics.csv holds no evaluation",
        "retired": "momentum",
    }.items():
        assert f"{runs / name} is left out of the tables" in printed.err
        assert why in printed.err
    print_table(load_table("copy"), runs)  # what `reproduce` ends with
    assert "| delay 10 | iRNN | 3e-03 | 1e-02 |" in capsys.readouterr().out
    assert [run.folder.path for run in find_runs(runs)] == [whole.path]


def test_a_run_trained_in_pieces_names_all_it_ran_on(tmp_path):
    earlier = [
        {"device": "a GPU", "threads": 8, "commit": "abc", "until_step": 20},
        {"device": "a CPU", "threads": 8, "commit": "def", "until_step": 40},
    ]
    written(tmp_path / "pieces", "copy-irnn", "delay=10", environment={"commit": "def", "earlier": earlier})
    written(tmp_path / "one", "copy-irnn", "delay=10", "seed=1")
    runs = find_runs(tmp_path)
    records = {record["run"]: record for record in records_of(load_table("copy"), runs)}
    assert records["pieces"] | {"device": "a GPU; a CPU", "threads": "8; 2", "commit": "abc; def"} == records["pieces"]
    assert line_of(load_table("copy"), runs, "delay 10", "iRNN")[-2:] == ["a GPU; a CPU", "abc; def"]


def test_spreads_are_sample_standard_deviations(tmp_path):
    for seed, loss in enumerate((0.01, 0.05)):
        written(
            tmp_path / str(seed), "copy-irnn", "delay=10", f"seed={seed}", final={"loss": 0.5, "reference_loss": loss}
        )
    line = line_of(load_table("copy"), find_runs(tmp_path), "delay 10", "iRNN")
    assert line[3] == "3e-02 ± 3e-02"  # √(Σ(x − x̄)² / (n − 1)) = 0.028; over n it is 0.02


def test_figures_of_seeds_are_means_and_a_tenth_of_the_steps_is_enough_to_compare(tmp_path):
    for seed, (loss, took, share) in enumerate(((0.01, 60.0, 0.01), (0.02, 60.0, 0.01), (0.06, 600.0, 0.07))):
        final = {"loss": 0.5, "reference_loss": loss}
        told = {"final": final, "seconds": took, "data_share": share, "step": 6000, "steps": 60_000}
        written(tmp_path / str(seed), "copy-irnn", "delay=10", f"seed={seed}", **told)
    line = line_of(load_table("copy"), find_runs(tmp_path), "delay 10", "iRNN")
    assert line[2:5] == ["3e-03", "3e-02 ± 3e-02", "10"]
    assert line[6:10] == ["3", "6,000 of 60,000", "4.0", "3.0%"]
    written(tmp_path / "3", "copy-irnn", "delay=10", "seed=3", **(told | {"step": 5999}))
    assert line_of(load_table("copy"), find_runs(tmp_path), "delay 10", "iRNN")[4] == ""


def test_a_run_shorter_than_its_cell_says_so_and_one_far_shorter_has_no_ratio(tmp_path):
    long = {"step": 20_000, "steps": 20_000, "data_share": 0.03}
    written(tmp_path / "copy-0", "copy-irnn", "delay=10", "steps=20000", **long)
    written(tmp_path / "copy-1", "copy-irnn", "delay=10", "steps=60000", "seed=1", step=60_000, steps=60_000)
    epoch = {"step": 446, "steps": 446, "test": {"accuracy": 0.8}, "best_test": {"accuracy": 0.8}}
    written(tmp_path / "epoch", "smnist-wrnn", "epochs=1", **epoch)
    solved = {"status": "solved", "step": 30_000, "steps": 60_000, "reference_solved_at": 300, "test": {"loss": 0.02}}
    written(tmp_path / "solved", "adding-wrnn", "length=100", "stop_when_solved=true", **solved)
    runs = find_runs(tmp_path)
    copy = line_of(load_table("copy"), runs, "delay 10", "iRNN")
    assert copy[2:5] == ["3e-03", "1e-02 ± 0e+00", "3.3"]
    assert copy[-6:-2] == ["2", "20,000 of 60,000, 60,000", "1.5", "2.0%"]
    whole = line_of(load_table("mnist"), runs, "sMNIST", "wRNN")
    assert whole[3:5] == ["80.00%", ""]
    assert "446 of 53,520" in whole
    first = line_of(load_table("mnist-first-epoch"), runs, "sMNIST", "wRNN")
    assert first[3:5] == ["80.0%", "0.89"]
    assert "446" in first
    adding = line_of(load_table("adding"), runs, "length 100", "wRNN")
    assert adding[4] == "1.3"  # a run that stopped when solved says when
    assert adding[6:9] == ["6.12e-05 ± 7.95e-05", "2.00e-02", ""]  # but not what its error would have come to
    assert "300" in adding


def test_a_run_that_was_tested_comes_before_a_longer_one_that_was_not(tmp_path):
    scored = {"test": {"accuracy": 0.9}, "best_test": {"accuracy": 0.8}}
    written(tmp_path / "finished", "smnist-wrnn", "epochs=2", step=60, **scored)
    written(tmp_path / "shorter", "smnist-wrnn", "epochs=1", step=30, **scored)
    written(tmp_path / "interrupted", "smnist-wrnn", step=90, steps=3600, status="interrupted")
    records = records_of(load_table("mnist"), find_runs(tmp_path))
    assert [record["run"] for record in records] == ["finished"]


def test_what_was_not_tested_is_told_from_what_was_not_reached(tmp_path):
    table = load_table("adding")
    written(tmp_path / "interrupted", "adding-wrnn", "length=100", status="interrupted")
    written(tmp_path / "unsolved", "adding-wrnn", "length=200", test={"loss": 0.16})
    ours = {}
    for record in records_of(table, find_runs(tmp_path)):
        line = line_of(table, find_runs(tmp_path), record["column"], record["row"])
        ours[record["run"]] = (record["reference_solved_at"], record["test.loss"], "not tested" in line)
    assert ours["interrupted"] == ("not reached", "not tested", True)
    assert ours["unsolved"] == ("not reached", 0.16, False)
    assert "not reached" in line_of(table, find_runs(tmp_path), "length 200", "wRNN")


@pytest.mark.parametrize(("text", "value"), [("90", 90), ("90s", 90), ("30m", 1800), ("1.5h", 5400)])
def test_durations(text, value):
    assert seconds(text) == value


def test_a_duration_that_is_none_is_named(capsys):
    with pytest.raises(SystemExit):
        main(["reproduce", "adding", "--budget", "soon"])
    assert "90s, 30m or 6h, got 'soon'" in capsys.readouterr().err


def test_a_stopped_reproduction_stops_its_runs_and_goes_on_later(tmp_path):
    chosen = ["--row", "iRNN", "--column", "delay 0", "--set", "evaluate_every=50", "--jobs", "2"]
    command = [sys.executable, "-m", "experiments", "reproduce", "copy", *chosen, "--runs", str(tmp_path)]
    command += ["--set", "steps=50000", "--set", "batch_size=8", "--set", "held_out=8", "--seeds", "0", "1"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    while len(list(tmp_path.glob("*/metrics.csv"))) < 2 and process.poll() is None:
        time.sleep(0.05)
    process.terminate()
    printed, _ = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "| delay 0 | iRNN |" in printed
    summaries = [json.loads(path.read_text()) for path in tmp_path.glob("*/summary.json")]
    assert [summary["status"] for summary in summaries] == ["interrupted"] * 2


def test_what_was_published_of_the_best_model_stands_beside_our_best_and_of_the_last_beside_our_last():
    lines = markdown(load_table("mnist"), []).splitlines()
    cells = {line.split(" | ")[0] + line.split(" | ")[1]: line.split(" | ") for line in lines if "| wRNN |" in line}
    assert lines[2].startswith("| task | model | accuracy, published")
    assert (cells["| sMNISTwRNN"][2], cells["| sMNISTwRNN"][5]) == ("97.30% ± 0.34%", "")
    assert (cells["| psMNISTwRNN"][2], cells["| psMNISTwRNN"][5]) == ("", "96.60% ± 0.10%")


def test_a_published_spread_is_shown_and_leaves_the_ratio_to_the_mean(tmp_path):
    solved = {"step": 60_000, "steps": 60_000, "reference_solved_at": 23_000, "test": {"loss": 1e-5}}
    written(tmp_path / "run", "adding-irnn", "length=100", **solved)
    line = line_of(load_table("adding"), find_runs(tmp_path), "length 100", "iRNN")
    assert line[2:5] == ["11,500 ± 2,910", "23,000", "2"]


def test_our_definition_of_solved_stands_beside_the_published_one(tmp_path):
    solved = {"step": 60_000, "steps": 60_000, "reference_solved_at": 900, "solved_at": 700, "test": {"loss": 1e-5}}
    written(tmp_path / "run", "adding-wrnn", "length=400", **solved)
    table, runs = load_table("adding"), find_runs(tmp_path)
    head = markdown(table, records_of(table, runs)).splitlines()[2].strip("| ").split(" | ")
    line = dict(zip(head, line_of(table, runs, "length 400", "wRNN"), strict=True))
    assert line["solved at step, published"] == "1,333 ± 577"
    assert line["solved at step, held out, ours"] == "700"  # nothing was published of it: one column


@pytest.mark.parametrize("name", table_names())
def test_every_row_of_a_table_has_a_colour_of_its_own(name):
    assert len(set(COLOURS)) >= len(load_table(name).rows)


@pytest.mark.parametrize("name", ["copy", "working-memory"])
def test_the_legend_of_a_table_lies_within_its_picture(name):
    runs = find_runs(Path(__file__).parents[3] / "experiments" / "results" / "runs")
    table = load_table(name)
    figure = table_curves(table, records_of(table, runs), {run.name: run.folder for run in runs})
    figure.canvas.draw()
    legend, page = figure.legends[0].get_window_extent(), figure.bbox
    assert 0 <= legend.x0 < legend.x1 <= page.x1
    assert 0 <= legend.y0 < legend.y1 <= page.y1


def test_what_a_strangers_run_says_has_no_meaning_in_a_report(tmp_path):
    strange = {"device": "<script>alert(1)</script> | [x](http://y) `z`", "commit": "=cmd()"}
    written(tmp_path / "runs" / "a", "copy-irnn", "delay=10", environment=strange)
    assert main(["report", "--runs", str(tmp_path / "runs"), "-o", str(tmp_path / "report")]) == 0
    text = (tmp_path / "report" / "copy.md").read_text()
    assert "<script>" not in text
    assert r"&lt;script&gt;alert(1)&lt;/script&gt; \| \[x\](http\://y) \`z\`" in text
    for name in ("copy.csv", "runs.csv"):
        with open(tmp_path / "report" / name, newline="") as file:
            assert next(csv.DictReader(file))["commit"] == "'=cmd()"


# where the stack is at its end, a weak reference that is cleared then cannot be heard
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("summary.json", '{"status": "finished", "step": 60, "steps": 60, "solved_at": null, "seconds": null}'),
        ("summary.json", "[]"),
        ("summary.json", "[" * 100_000),
        ("environment.json", '{"device": 3, "threads": 2, "commit": "a", "earlier": [4]}'),
        ("environment.json", "3"),
        ("metrics.csv", "step,seconds,held_out_loss\n0,1\n"),
        ("metrics.csv", "step,seconds,held_out_loss\n0,1,a lot\n"),
        ("metrics.csv", "\0\0\n"),
        ("config.toml", "x = " + "[" * 5000 + "]" * 5000),
    ],
)
def test_a_malformed_run_does_not_keep_the_others_out_of_a_report(file, text, tmp_path, capsys):
    written(tmp_path / "runs" / "good", "copy-irnn", "delay=10")
    (written(tmp_path / "runs" / "bad", "copy-irnn", "delay=10", "seed=1") / file).write_text(text)
    assert main(["report", "--runs", str(tmp_path / "runs"), "-o", str(tmp_path / "report")]) == 0
    error = capsys.readouterr().err
    assert f"{tmp_path / 'runs' / 'bad'} is left out of the tables" in error
    assert file in error
    with open(tmp_path / "report" / "copy.csv", newline="") as file:
        assert [row["run"] for row in csv.DictReader(file)] == ["good"]


def test_a_report_lists_runs_of_any_kind_and_place(tmp_path, capsys):
    written(tmp_path / "one", "digits-wrnn", "epochs=3")
    for number in (0, 1):
        written(tmp_path / "sweep" / f"trial-{number:04d}", "digits-irnn", f"seed={number}")
    given = [str(tmp_path / name) for name in ("one", "sweep")]
    assert main(["report", *given, "-o", str(tmp_path / "report"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [(run["run"], run["task"], run["model"]) for run in found] == [
        ("one", "digits", "wrnn"),
        ("trial-0000", "digits", "irnn"),
        ("trial-0001", "digits", "irnn"),
    ]
    assert (tmp_path / "report" / "runs.csv").is_file()
