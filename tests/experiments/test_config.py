"""Configs: every one that comes along is whole, the paper's choices are found, and what is wrong is named."""

import re

import pytest
import torch

from experiments.config import CONFIGS, ConfigError, load_config, read_source, resolve, to_toml
from experiments.reports.tables import load_table, same_experiment, table_names
from wavefield_torch import count_parameters

NAMES = sorted(path.stem for path in CONFIGS.glob("*.toml"))
INPUTS = {
    "copy": (10, 10),
    "adding": (2, 1),
    "mnist": (1, 10),
    "ns-cifar10": (96, 10),
    "digits": (1, 10),
    "history": (8, 8),
    "continuation": (8, 8),
}


def parameters(config, **options):
    inputs, outputs = INPUTS[config.task.kind]
    every_step = config.task.kind in ("copy", "history", "continuation")
    model = config.model.build(inputs, outputs, every_step=every_step, generator=torch.Generator().manual_seed(0))
    return count_parameters(model, **options)


@pytest.mark.parametrize("name", NAMES)
def test_every_config_loads_and_survives_being_written(name, tmp_path):
    config = load_config(name)
    path = tmp_path / f"{name}.toml"
    path.write_text(to_toml(config))
    assert load_config(path) == config


@pytest.mark.parametrize(
    ("name", "settings", "count"),
    [
        ("copy-wrnn", [], 12_108),
        ("copy-irnn", [], 12_000),
        ("copy-irnn", ["hidden_size=625"], 403_125),
        ("adding-wrnn", [], 10_287),
        ("adding-irnn", [], 10_300),
        ("smnist-wrnn", [], 45_824),
        ("smnist-irnn", [], 68_352),
        ("psmnist-wrnn", [], 45_824),
        ("nscifar10-wrnn", [], 434_944),
        ("nscifar10-irnn", [], 335_915),
        ("history-elman", ["hidden_size=32"], 1_536),
        ("history-elman", ["hidden_size=64"], 5_120),
        ("history-elman", [], 18_432),
        ("history-line", [], 704 + 2 * 8 * 64),  # recurrence, encoder and readout
    ],
)
def test_models_have_the_papers_number_of_parameters(name, settings, count):
    assert parameters(load_config(name, settings), biases=False) == count


def test_the_mlp_readout_has_the_printed_number_with_biases():
    assert parameters(load_config("psmnist-wrnn", ["readout=mlp"])) == 419_686


@pytest.mark.parametrize("task", ["copy", "adding", "smnist", "psmnist", "nscifar10"])
@pytest.mark.parametrize("kind", ["lstm", "gru"])
def test_gated_baselines_match_the_wave_network_in_parameters(task, kind):
    wave = parameters(load_config(f"{task}-wrnn"), biases=False)
    assert parameters(load_config(f"{task}-{kind}"), biases=False) == pytest.approx(wave, rel=0.02)


@pytest.mark.parametrize(  # Tables 5 and 6 of the paper: learning rate, clip
    ("name", "setting", "rate", "clip"),
    [
        ("copy-wrnn", "delay=0", 1e-3, 1),
        ("copy-wrnn", "delay=10", 1e-3, 0),
        ("copy-wrnn", "delay=30", 1e-3, 0),
        ("copy-wrnn", "delay=80", 1e-3, 1),
        ("copy-wrnn", "delay=480", 1e-4, 1),
        ("copy-irnn", "delay=0", 1e-3, 10),
        ("copy-irnn", "delay=10", 1e-3, 1),
        ("copy-irnn", "delay=30", 1e-4, 1),
        ("copy-irnn", "delay=80", 1e-4, 1),
        ("copy-irnn", "delay=480", 1e-4, 10),
        ("adding-wrnn", "length=100", 1e-3, 100),
        ("adding-wrnn", "length=200", 1e-4, 100),
        ("adding-wrnn", "length=400", 1e-4, 1),
        ("adding-wrnn", "length=700", 1e-4, 100),
        ("adding-wrnn", "length=1000", 1e-4, 10),
        ("adding-irnn", "length=100", 1e-3, 1000),
        ("adding-irnn", "length=200", 1e-3, 100),
        ("adding-irnn", "length=400", 1e-3, 10),
        ("adding-irnn", "length=700", 1e-4, 100),
        ("adding-irnn", "length=1000", 1e-3, 1),
    ],
)
def test_the_papers_choices_follow_the_task(name, setting, rate, clip):
    training = load_config(name, [setting]).training
    assert (training.learning_rate, training.clip, training.steps) == (rate, clip, 60_000)


def test_what_is_asked_for_stands_above_the_papers_choice():
    assert load_config("copy-wrnn", ["delay=0", "clip=7"]).training.clip == 7
    assert load_config("copy-irnn", ["delay=0"]).model.start == "uniform"
    assert load_config("copy-irnn", ["delay=0", "start=shift"]).model.start == "shift"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["delays=3"], "unknown key 'delays': known are .*delay"),
        (["delay"], "key=value"),
        (["kind=lstm"], "kind is a key of .*task.*model"),
        (["delay=-1"], "task.delay: .*greater than or equal to 0.*-1"),
        (["delay=1.5"], "task.delay: .*integer.*1.5"),
        (["clip=often"], "training.clip: .*number.*'often'"),
        (["learning_rate=0"], "training.learning_rate: .*greater than 0"),
        (["learning_rate=nan"], "training.learning_rate: .*"),
        (["start=sideways"], "model.start: .*'shift', 'identity' or 'uniform'.*'sideways'"),
        (["epochs=3"], "either steps or epochs"),
        (["record_at=[-1]"], "record_at"),
        (["model.kind=transformer"], "model: .*'wrnn'"),
        (
            ["model.kind=lstm"],
            "model.channels: unexpected key, it belongs to model wrnn, .* and the model here is lstm",
        ),
        (
            ["task.kind=adding"],
            "task.delay: unexpected key, it belongs to task copy, and the task here is adding.*length",
        ),
        (["kind=adding"], "write task.kind or model.kind"),
        (["task.steps=3"], "task.steps: unexpected key, no task or model has it"),
        (["clip=" + "x" * 500], r"training.clip: .*, got 'x{79}…$"),
    ],
)
def test_a_setting_that_cannot_be_is_named(settings, message):
    with pytest.raises(ConfigError, match=re.compile(message, re.DOTALL)):
        load_config("copy-wrnn", settings)


def test_a_history_is_read_by_a_linear_map_for_its_waves_to_be_found():
    with pytest.raises(ConfigError, match=r"\n  Value error, model.readout must be linear on history tasks, got 'mlp'"):
        load_config("history-lstm", ["readout=mlp"])


def test_the_mark_at_the_beginning_of_a_windows_file_does_no_harm(tmp_path):
    text = (CONFIGS / "copy-wrnn.toml").read_bytes()
    (tmp_path / "copy-wrnn.toml").write_bytes(b"\xef\xbb\xbf" + text.replace(b"\n", b"\r\n"))
    assert load_config(tmp_path / "copy-wrnn.toml") == load_config("copy-wrnn")


def test_files_that_are_no_configs_are_named(tmp_path):
    with pytest.raises(ConfigError, match=r"no config 'copy-wrn'.*copy-wrnn"):
        load_config("copy-wrn")
    with pytest.raises(ConfigError, match="no config file"):
        load_config(tmp_path / "missing.toml")
    bad = tmp_path / "bad.toml"
    bad.write_text("[task\nkind=")
    with pytest.raises(ConfigError, match="is not a TOML file"):
        load_config(bad)
    bad.write_text('[task]\nkind = "copy"\ndelay = 3\n')
    with pytest.raises(ConfigError, match=r"model: .*required"):
        load_config(bad)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("task = 3", r"task must be a table \[task\], got 3"),
        ("[training]\nsteps = 9", "task: kind must be given, one of copy, adding, "),
        ("search = 3", r"search must be a table \[search\], got 3"),
        ("[search]\nclip = 1.0", "search.clip must list the values to try, got 1.0"),
        ("[[selected]]\nset = { clip = 1.0 }", r"every \[\[selected\]\] must hold .*, got {'set'"),
        ("selected = 3", r"every \[\[selected\]\] must hold .*, got 3"),
    ],
)
def test_a_file_of_another_shape_is_named(text, message, tmp_path):
    (tmp_path / "bad.toml").write_text(text + "\n")
    with pytest.raises(ConfigError, match=message):
        load_config(tmp_path / "bad.toml", ["task.delay=3"])


def test_a_config_is_read_as_utf8_whatever_the_locale(tmp_path, monkeypatch):
    path = tmp_path / "commented.toml"
    path.write_text((CONFIGS / "copy-wrnn.toml").read_text(encoding="utf-8") + "# π × ½\n", encoding="utf-8")
    monkeypatch.setattr("io.text_encoding", lambda encoding, level=2: encoding or "ascii")  # what pathlib asks
    assert load_config(path).name == "commented"


@pytest.mark.parametrize("name", [n for n in NAMES if "search" in read_source(n)])
def test_every_point_of_a_search_is_acceptable(name):
    source = read_source(name)
    for key, values in source["search"].items():
        for value in values:
            resolve(source, [f'{key}="{value}"' if isinstance(value, str) else f"{key}={value}"])


@pytest.mark.parametrize("name", table_names())
def test_every_cell_of_a_table_is_an_experiment_of_its_own(name):
    table = load_table(name)
    resolved = [(cell, cell.resolve()) for cell in table.cells]
    for cell in table.cells:
        run = cell.resolve(["seed=3", "evaluate_every=7"])
        assert [other for other, wanted in resolved if same_experiment(run, wanted, other.settings)] == [cell]
    assert {cell.row for cell in table.cells} == set(table.rows)


def test_a_run_belongs_to_its_cell_whatever_its_seed_and_length():
    table = load_table("copy")
    cell = next(cell for cell in table.cells if (cell.row, cell.column) == ("wRNN", "delay 30"))
    run = load_config("copy-wrnn", ["delay=30", "seed=5", "steps=100", "evaluate_every=10"])
    assert same_experiment(run, cell.resolve(), cell.settings)
    assert not same_experiment(load_config("copy-wrnn", ["delay=30", "clip=1"]), cell.resolve(), cell.settings)
    first = load_table("mnist-first-epoch").cells[0]
    assert not same_experiment(load_config("smnist-wrnn", ["epochs=2"]), first.resolve(), first.settings)
    with pytest.raises(ConfigError, match="no table 'tables'"):
        load_table("tables")
