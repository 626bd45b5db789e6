"""The command line: help without extras, progress in logs, results as JSON, settings as people write them."""

import argparse
import json
import os
import re
import resource
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import analysis
import experiments
import wavefield
import wavefield_torch
from analysis.__main__ import main as analysis_main
from experiments import run as run_module
from experiments.__main__ import main
from experiments.commands import COMMANDS
from experiments.config import ConfigError, Training, load_config
from experiments.sources import FREE
from wavefield import cli

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def no_figures(monkeypatch):
    """Drawing takes longer than the runs; `test_run` draws."""
    monkeypatch.setattr("experiments.training.run_figure", lambda folder: folder / "figure.png")


TINY = ["delay=0", "hidden_size=12", "channels=2", "batch_size=8", "evaluate_every=5", "steps=10"]


def python(code, *arguments, cwd=None):
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=environment)


def without(package, *arguments):
    """Run the command line as if a package were not installed."""
    code = f"import sys; sys.modules[{package!r}] = None; from experiments.__main__ import main; sys.exit(main())"
    return python(code, *arguments)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_needs_no_extra_and_names_the_one_that_the_command_needs(command, capsys):
    with pytest.raises(SystemExit) as ended:
        main([command, "-h"])
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    assert "pip install 'wavefield[experiments]'" in shown
    assert re.search(rf"examples:\n  python -m experiments {command}", shown)


@pytest.mark.parametrize(("package", "extra"), [("pydantic", "experiments"), ("torch", "torch")])
def test_a_missing_extra_is_named_in_one_line(package, extra):
    assert without(package, "run", "-h").returncode == 0
    done = without(package, "run", "digits-wrnn")
    assert done.returncode == 2
    assert done.stderr == f"error: {package} is not installed: pip install 'wavefield[{extra}]'\n"


@pytest.mark.parametrize(("package", "extra"), cli.EXTRAS.items())
def test_every_package_that_may_be_missing_belongs_to_an_extra(package, extra, capsys):
    def command(options):
        raise ModuleNotFoundError(f"No module named {package!r}", name=f"{package}.inner")

    assert cli.carry_out(command, argparse.Namespace(quiet=True, verbose=False), memory="") == 2
    assert f"pip install 'wavefield[{extra}]'" in capsys.readouterr().err
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert extra in extras


def test_there_is_one_version():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert project["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "wavefield.version.__version__"}
    assert {package.__version__ for package in (wavefield, wavefield_torch, analysis, experiments)} == {
        wavefield.version.__version__
    }


@pytest.mark.parametrize("package", ["wavefield", "analysis", "experiments"])
def test_a_script_tells_the_version_though_a_folder_here_has_the_name_of_a_package(package, tmp_path):
    for name in ("analysis", "experiments", "wavefield"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('not the toolkit')\n")
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    name = package if package == "wavefield" else f"wavefield-{package}"
    module, function = scripts[name].split(":")
    script = tmp_path / "bin" / name  # as an installer writes it
    script.parent.mkdir()
    script.write_text(f"import sys\nfrom {module} import {function}\nsys.exit({function}())\n")
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(script), "--version"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert done.stdout == f"wavefield {wavefield.__version__}\n"


def test_a_log_has_a_line_for_every_evaluation(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["run", "copy-wrnn", *TINY, "-o", "r"]) == 0
    told = capsys.readouterr()
    lines = told.err.splitlines()
    assert lines[0].startswith("r: step 0 of 10, on ")
    assert [line.partition(",")[0] for line in lines[1:-1]] == ["step 0", "step 5", "step 10"]
    assert all("held-out loss" in line for line in lines[1:-1])
    assert lines[-1] == "r: finished at step 10"
    assert "wrote r, figure r/figure.png" in told.out


def test_a_log_grows_while_a_run_goes_on(tmp_path, monkeypatch):
    evaluate, counts = run_module._evaluate, []

    def evaluate_and_look(session):
        counts.append((tmp_path / "log").read_text().count("\n"))
        return evaluate(session)

    monkeypatch.setattr(run_module, "_evaluate", evaluate_and_look)
    with open(tmp_path / "log", "w") as log:
        monkeypatch.setattr(sys, "stderr", log)
        assert main(["run", "copy-wrnn", *TINY, "-o", str(tmp_path / "r")]) == 0
    assert counts == [1, 2, 3]


def test_quiet_is_silent_and_json_is_json(tmp_path, capsys):
    assert main(["run", "copy-wrnn", *TINY, "-o", str(tmp_path / "quiet"), "--quiet"]) == 0
    assert capsys.readouterr() == ("", "")
    assert main(["run", "copy-wrnn", *TINY, "-o", str(tmp_path / "json"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["status"] == "finished"
    assert main(["resume", str(tmp_path / "json"), "--json", "-q"]) == 0
    told = capsys.readouterr()
    assert json.loads(told.out)["step"] == 10
    assert told.err == ""


@pytest.mark.parametrize(
    ("setting", "key", "value"),
    [
        ("learning_rate=.001", "learning_rate", 0.001),
        ("learning_rate=1.e-3", "learning_rate", 0.001),
        ("clip=1.", "clip", 1.0),
        ("steps=2e4", "steps", 20_000),
        ("steps=20_000", "steps", 20_000),
        ("stop_when_solved=True", "stop_when_solved", True),
        ("stop_when_solved=FALSE", "stop_when_solved", False),
    ],
)
def test_settings_are_read_as_people_write_them(setting, key, value):
    found = getattr(load_config("copy-wrnn", [setting]).training, key)
    assert (found, type(found)) == (value, type(value))


def test_a_setting_of_another_task_or_model_is_explained():
    with pytest.raises(
        ConfigError,
        match="unknown key 'length', it belongs to task adding, model open-line, model travelling-memory: known are",
    ):
        load_config("copy-wrnn", ["length=100"])
    with pytest.raises(ConfigError, match="unknown key 'channels', it belongs to model wrnn, model local: known are"):
        load_config("copy-lstm", ["channels=3"])


def test_what_may_change_within_a_run_are_settings_of_training():
    assert set(FREE) <= set(Training.__dataclass_fields__)


@pytest.mark.parametrize("setting", ["batch_size=1000000000000", "hidden_size=1000000000000"])
def test_a_lack_of_memory_is_said_in_one_line_and_leaves_nothing(setting, tmp_path, capsys):
    limits = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (1 << 42, limits[1]))  # also where the system grants any request
    try:
        assert main(["run", "copy-wrnn", "-q", setting, "-o", str(tmp_path / "run")]) == 2
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)
    error = capsys.readouterr().err
    assert re.fullmatch(r"error: out of memory: .*; take a smaller batch_size, hidden_size or channels\n", error)
    assert not (tmp_path / "run").exists()


# where the stack is at its end, a weak reference that is cleared then cannot be heard
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_values_nested_too_deeply_are_refused_in_one_line(tmp_path, capsys):
    (tmp_path / "deep.toml").write_text("x = " + "[" * 20_000 + "]" * 20_000)
    assert main(["run", str(tmp_path / "deep.toml")]) == 2
    assert "deep.toml is not a config: its values are nested too deeply" in capsys.readouterr().err
    assert main(["run", "copy-wrnn", "delay=" + "[" * 20_000]) == 2
    assert "task.delay" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "text"), [("environment.json", "[]"), ("run.json", "{"), ("metrics.csv", "step\n1,2\n")]
)
def test_a_damaged_file_of_a_run_is_named_when_it_is_resumed(name, text, tmp_path, capsys):
    assert main(["run", "copy-wrnn", *TINY, "-o", str(tmp_path / "run"), "--budget", "0s", "-q"]) == 0
    (tmp_path / "run" / name).write_text(text)
    capsys.readouterr()
    assert main(["resume", str(tmp_path / "run"), "-q"]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {tmp_path / 'run' / name} is damaged")
    assert error.count("\n") == 1


def test_a_log_grows_between_evaluations_too(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(run_module, "LOG_SECONDS", 0.0)
    assert main(["run", "copy-wrnn", *TINY, "-o", str(tmp_path / "r")]) == 0
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition(",")[0] for line in lines[1:-1]] == [f"step {step}" for step in range(11)]
    pattern = r"step 3, training loss [\d.]+, [\d.e+]+ (steps/s|s/step), \d+ s so far, \d+ s left"
    assert re.fullmatch(pattern, lines[4])


@pytest.mark.parametrize(
    ("package", "command"),
    [("wavefield", "simulate"), ("analysis", "compare"), ("experiments", "sweep"), ("experiments", "export")],
)
def test_help_of_every_package_loads_nothing_heavy(package, command):
    code = (
        f"import sys; from {package}.__main__ import main\n"
        f"try: main(['{command}', '-h'])\n"
        "except SystemExit: pass\n"
        "heavy = {'numpy', 'numba', 'scipy', 'torch', 'pydantic', 'xarray', 'matplotlib', 'distributed', 'optuna'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = python(code)
    assert done.stdout.splitlines()[-1] == "[]"
    assert "--json" in done.stdout
    assert "--quiet" in done.stdout
    assert "--verbose" in done.stdout
    assert "examples:" in done.stdout


def test_the_choices_of_a_command_are_those_of_the_function_behind_it():
    from analysis import __main__ as command
    from analysis.comparison.common_axes import AXES
    from analysis.readers.endings import READERS

    assert (command.AXES, command.READERS) == (AXES, READERS)


@pytest.mark.parametrize(
    ("package", "extra", "file"), [("pynwb", "nwb", "x.nwb"), ("neo", "neo", "x.plx"), ("mne", "mne", "x.fif")]
)
def test_a_reader_names_the_extra_it_needs(package, extra, file, tmp_path, monkeypatch, capsys):
    (tmp_path / file).write_bytes(b"x")
    for name in [name for name in sys.modules if name.partition(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    assert analysis_main(["import", str(tmp_path / file), "-o", str(tmp_path / "x.nc")]) == 2
    error = capsys.readouterr().err
    assert f"pip install 'wavefield[{extra}]'" in error
    assert error.count("\n") == 1


def test_a_pipe_that_ends_early_is_no_error():
    code = (
        "import argparse, sys; from wavefield import cli\n"
        "options = argparse.Namespace(quiet=False, verbose=False, json=False)\n"
        "sys.exit(cli.carry_out(lambda options: print('told', flush=True), options, memory=''))"
    )
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-c", code]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True, env=environment)
    os.close(write)
    assert (done.returncode, done.stderr) == (141, "")


# where the stack is at its end, a weak reference that is cleared then cannot be heard
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_keys_nested_too_deeply_are_refused_in_one_line(tmp_path, capsys):
    for depth in (300, 3000):
        (tmp_path / "deep.toml").write_text("x" + ".y" * depth + " = 1\n")
        assert main(["run", str(tmp_path / "deep.toml"), "-o", str(tmp_path / "r")]) == 2
        assert "config 'deep' is not acceptable" in capsys.readouterr().err


@pytest.mark.parametrize("command", [["run", "copy-wrnn", "-o"], ["resume"], ["sweep", "copy-wrnn", "-o"], ["report"]])
def test_an_empty_name_is_no_folder(command, capsys):
    with pytest.raises(SystemExit):  # of a variable of the shell that is not set: never the working folder
        main([*command, ""])
    assert "the name of a folder is empty" in capsys.readouterr().err


def test_an_option_given_as_a_setting_is_explained():
    with pytest.raises(ConfigError, match=r"unknown key 'device', it is an option of the command: --device VALUE"):
        load_config("copy-wrnn", ["device=cuda"])


def test_evaluations_that_were_deleted_are_said(tmp_path, capsys):
    assert main(["run", "copy-wrnn", *TINY, "-o", str(tmp_path / "run"), "-q"]) == 0
    metrics = tmp_path / "run" / "metrics.csv"
    metrics.write_text(metrics.read_text().replace("held_out_loss", "lost"))
    assert main(["resume", str(tmp_path / "run"), "steps=15", "-q"]) != 0
    assert "metrics.csv is damaged: it has no column held_out_loss" in capsys.readouterr().err
    metrics.unlink()
    assert main(["resume", str(tmp_path / "run"), "steps=15", "-q"]) == 0
    assert "metrics.csv is gone: evaluations up to step 10 are lost" in capsys.readouterr().err


@pytest.mark.parametrize("loudness", ["--quiet", "--json"])
def test_a_reproduction_without_budget_prints_nothing_but_what_is_asked_for(loudness, tmp_path, capsys):
    command = ["reproduce", "adding", "--row", "wRNN", "--budget", "0s", "--runs", str(tmp_path)]
    assert main([*command, loudness]) == 0
    told = capsys.readouterr().out
    assert told == "" if loudness == "--quiet" else json.loads(told) == []
    assert main([*command, "--seeds", "-1", loudness]) == 2
    assert capsys.readouterr().err == "error: --seeds must be 0 or more, got -1\n"


def test_a_file_in_the_way_is_named_plainly(tmp_path, capsys):
    (tmp_path / "file").touch()
    assert main(["run", "copy-wrnn", *TINY, "-o", str(tmp_path / "file"), "-q"]) == 2
    error = capsys.readouterr().err
    assert error == f"error: {tmp_path / 'file'}: is a file, or lies below one, and cannot be a folder\n"
