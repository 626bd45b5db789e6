"""What the pages of trained working memory show, on networks whose waves are known."""

import csv
import shutil

import numpy as np
import pytest

import analysis
import wavefield as wf
from experiments.__main__ import main
from experiments.config import load_config
from experiments.reports.memory import gradients, load_memory, recoveries
from experiments.run import start
from experiments.runs.folder import RunFolder
from wavefield import plot
from wavefield_torch import linearised, save_checkpoint
from wavefield_torch.models.history_rnn import from_theory

SHORT = ("steps=2", "evaluate_every=1", "held_out=16", "batch_size=8")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A run that has ended as the theory of T1 itself, and one that learned nothing."""
    folder = tmp_path_factory.mktemp("runs")
    for name, settings in (("solved", ["hidden_size=64"]), ("nothing", ["hidden_size=16"])):
        start(load_config("history-elman", [*SHORT, *settings]), folder / name)
    last = RunFolder(folder / "solved").checkpoints()[0]
    save_checkpoint(last, from_theory(wf.history.task("T1")), progress={"step": 2})
    return folder


def test_the_waves_of_the_model_as_it_ended_are_found(runs):
    memory = load_memory(runs / "solved")
    assert memory.waves.attrs["rank"] == 64
    assert float(memory.waves.shift_share + memory.waves.boundary_share) == pytest.approx(1, abs=1e-6)
    assert load_memory(runs / "nothing").waves is None


def test_gradients_come_back_whenever_the_wave_does(runs):
    before, trained = gradients(load_memory(runs / "solved")).values()
    norm = trained.gradient_norm.median("trial").values
    returns = norm[8::8] / norm[8]
    assert (returns > 0.1).all()  # tanh takes a little of it, and a lag of 8 steps is a lag of one round
    assert (norm[9:16] < 1e-6 * norm[8]).all()
    faded = before.gradient_norm.median("trial").values
    assert faded[32] < 1e-3 * faded[8]


def test_pages_are_drawn_of_what_solved_the_task_and_of_what_did_not(runs, tmp_path, capsys, monkeypatch):
    pictures, save = {}, plot.save_figure
    monkeypatch.setattr(plot, "save_figure", lambda figure, path: save(pictures.setdefault(path.name, figure), path))
    folders = [str(runs / name) for name in ("solved", "nothing")]
    assert main(["memory", *folders, "-o", str(tmp_path / "pages")]) == 0
    sizes = {path.name: path.stat().st_size for path in (tmp_path / "pages").iterdir()}
    assert sizes.keys() == {"solved.png", "solved-columns.png", "nothing.png", "gradients.png", "recoveries.csv"}
    assert min(size for name, size in sizes.items() if name.endswith(".png")) > 10_000
    with open(tmp_path / "pages" / "recoveries.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["run"], row["recovery"], row["rank"]) for row in rows] == [
        ("solved", "unaided", "64"),
        ("solved", "published, told f", "64"),
        *[("solved", "null: random input and output weights", "64")] * 3,
    ]
    assert [(row["draws"], row["quantile"]) for row in rows[2:]] == [("200", "0.05"), ("200", "0.5"), ("200", "0.95")]
    for row in rows:
        assert float(row["shift_share"]) + float(row["boundary_share"]) == pytest.approx(1, abs=1e-5)
    # Weights drawn at random point into each of the eight slots alike.
    unaided, told, *null = (float(row["entry_share"]) for row in rows)
    assert min(unaided, told) > 1 - 1e-5
    assert null == sorted(null)
    assert 0.08 < null[1] < 0.17
    assert null[2] < 0.3
    unaided, told, *null = (float(row["exit_share"]) for row in rows)
    assert min(unaided, told) > 1 - 1e-5
    assert null[2] < 0.7
    assert float(rows[0]["boundary_agreement"]) == pytest.approx(1, abs=1e-5)
    panels = pictures["gradients.png"].axes
    assert [ax.get_title() for ax in panels] == ["RNN, T1, seed 0"] * 2
    for ax in panels:
        assert [text.get_text() for text in ax.get_legend().get_texts()] == ["before training", "trained"]
    printed = capsys.readouterr().out
    assert "64 of 64 directions persist" in printed
    assert "nothing:\nno wave" in printed


def test_the_null_draws_input_and_output_weights_anew_and_keeps_the_recurrence(runs, monkeypatch):
    memory, drawn = load_memory(runs / "solved"), []

    def none_found(*net, **options):
        drawn.append(net)
        raise analysis.NoWaveError("not looked for")

    monkeypatch.setattr(analysis, "recover_waves", none_found)
    rows = recoveries(memory)
    assert [row["recovery"] for row in rows] == ["unaided", "published, told f"]
    trained, nets = linearised(memory.after), [type(linearised(memory.after))(*net) for net in drawn]
    assert len(nets) == 200
    assert all(np.array_equal(net.weight_hh, trained.weight_hh) for net in nets)
    for name in ("weight_in", "weight_out"):
        weights = np.array([getattr(net, name) for net in nets])
        assert weights.shape[1:] == getattr(trained, name).shape
        assert len({weight.tobytes() for weight in weights}) == 200
        assert weights.mean() == pytest.approx(0, abs=0.02)
        assert weights.std() == pytest.approx(1, abs=0.02)
        apart = np.abs(weights - getattr(trained, name)).reshape(200, -1).mean(axis=1)
        assert apart.min() > 0.5


@pytest.mark.parametrize(
    ("name", "settings", "score"),
    [
        ("history-lstm", ["hidden_size=6"], "mean_angle_error"),
        ("history-lstm", ["hidden_size=6", "bias=true"], None),  # rests elsewhere
        ("history-elman", ["model.kind=irnn", "model.bias=none", "hidden_size=6"], None),  # ReLU, flat where it rests
        ("history-elman", ["model.kind=local", "model.channels=1", "hidden_size=6"], None),
        ("history-elman", ["model.kind=tape", "hidden_size=6"], "mean_angle_error"),
    ],
)
def test_a_spectrum_is_scored_only_where_there_is_a_linear_map_at_zero(name, settings, score, tmp_path):
    summary = start(load_config(name, [*SHORT, *settings]), tmp_path / "run")
    assert 0.3 < summary["test"]["accuracy"] < 0.7
    assert ("mean_angle_error" in summary["test"]) == (score is not None)
    assert load_memory(tmp_path / "run").waves is None


def test_a_run_of_which_no_checkpoint_is_left_is_refused(runs, tmp_path, capsys):
    shutil.copytree(runs / "solved", tmp_path / "collected", ignore=shutil.ignore_patterns("checkpoints"))
    assert main(["memory", str(tmp_path / "collected"), "-o", str(tmp_path / "pages")]) == 2
    assert "holds no checkpoint" in capsys.readouterr().err


def test_a_run_of_another_task_has_no_such_page(tmp_path, capsys):
    start(load_config("copy-irnn", ["steps=1", "evaluate_every=1", "delay=0"]), tmp_path / "copy")
    assert main(["memory", str(tmp_path / "copy"), "-o", str(tmp_path / "pages")]) == 2
    assert "of the task 'copy'" in capsys.readouterr().err
    assert np.size(list((tmp_path / "pages").iterdir())) == 0


def test_pages_of_folders_of_one_name_are_refused_before_one_overwrites_the_other(runs, tmp_path, capsys):
    shutil.copytree(runs / "solved", tmp_path / "other" / "solved")
    folders = [str(runs / "solved"), str(tmp_path / "other" / "solved")]
    assert main(["memory", *folders, "-o", str(tmp_path / "pages")]) == 2
    assert "different names, got solved, solved" in capsys.readouterr().err
