"""Kill commands at random moments, run the next one, and see what is left: ``python tests/kills.py --kills 100``.

Every command is first run to its end, for its time and its result. Then it is begun in a folder of its own, killed by a
signal at a moment drawn from that time, and followed by the command that a user would give next. What must hold:
nothing half-written has a final name, the metrics of a run are those of one that was never killed, no scratch file and
no process is left. Commands are forked from one process that has loaded the packages, so that a kill takes seconds.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil

import analysis.__main__
import experiments.__main__
import wavefield as wf
import wavefield.__main__

MAIN = {
    "wavefield": wavefield.__main__.main,
    "analysis": analysis.__main__.main,
    "experiments": experiments.__main__.main,
}
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
TRIALS = 2  # of a sweep, each in a process of its own
SMALL = ["delay=0", "hidden_size=8", "channels=2", "batch_size=8", "held_out=8"]
RUN = [*SMALL, "steps=20", "evaluate_every=5", "record_at=[10]"]
ROUND = ["--set", "steps=20", "--set", "evaluate_every=5", "--set", "batch_size=8", "--set", "held_out=8"]


@dataclass(frozen=True)
class Command:
    """A command that is killed, the one that follows, and what has to hold in its folder."""

    killed: tuple[str, ...]
    after_kill: Callable[[Path], None]  # whatever has a final name is whole
    following: Callable[[Path], list[tuple[str, ...]]]
    at_end: Callable[[Path, Path], None]  # (folder, folder of the command that was not killed)


def execute(
    folder: Path, command: tuple[str, ...], *, after: float | None = None, number: int = 0
) -> tuple[int, float]:
    """Run a command in a fork, in `folder`; kill it after some seconds. Returns its status and how long it took."""
    (folder / "log.txt").touch()  # the child may be killed before it has opened it
    began = time.monotonic()
    child = os.fork()
    if child == 0:
        os.setsid()
        os.chdir(folder)
        log = os.open("log.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(log, 1)
        os.dup2(log, 2)
        status = 1
        with contextlib.suppress(BaseException):
            signal.signal(signal.SIGHUP, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.default_int_handler)
            status = MAIN[command[0]](list(command[1:]))
        sys.stdout.flush()
        os._exit(status)
    if after is not None:
        while time.monotonic() - began < after and not _ended(child):
            time.sleep(0.002)
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, number)
    _, status = os.waitpid(child, 0)
    ended = time.monotonic()
    while left := _group_of(child):  # what a command that was killed had started ends with it
        if time.monotonic() - ended > 60:
            raise AssertionError(f"{command}: processes are left, {left}")
        time.sleep(0.05)
    return os.waitstatus_to_exitcode(status), ended - began


def _ended(child):
    with open(f"/proc/{child}/stat") as file:
        return file.read().rpartition(")")[2].split()[0] == "Z"


def _group_of(leader):
    """The processes that a command began and that still run."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, ProcessLookupError):
            if os.getpgid(process.pid) == leader and process.status() != psutil.STATUS_ZOMBIE:
                found.append(" ".join(process.cmdline()))
    return found


def scratch(folder: Path) -> list[str]:
    """Scratch and partial files below a folder."""
    names = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    return [name for name in names if ".tmp" in name or ".partial." in name]


def metrics(folder: Path) -> list[dict]:
    """The evaluations of a run without their times."""
    from experiments.runs.folder import RunFolder

    return [{key: value for key, value in row.items() if key != "seconds"} for row in RunFolder(folder).rows()]


# --------------------------------------------------------------------------------------------------- what must hold


def run_is_whole(folder: Path) -> None:
    """All of a run that has a final name can be read."""
    from experiments.runs.folder import RunFolder
    from wavefield_torch import load_checkpoint

    for path in folder.rglob("*.safetensors"):
        if path.name != "fixed.safetensors":
            load_checkpoint(path)
    for path in folder.rglob("*.nc"):
        if ".tmp" not in path.name:
            wf.open_recording(path).close()
    for path in folder.rglob("config.toml"):
        RunFolder(path.parent).config()
        RunFolder(path.parent).record()


def go_on(folder: Path) -> list[tuple[str, ...]]:
    """Resume the run, or begin it where there is none yet."""
    run = folder / "r"
    return [("experiments", "resume", "r")] if (run / "config.toml").exists() else [("experiments", *BEGIN)]


def same_run(folder: Path, whole: Path) -> None:
    """The metrics are those of a run that was never killed."""
    from experiments.runs.folder import RunFolder

    assert not_nan(metrics(folder / "r")) == not_nan(metrics(whole / "r"))
    assert RunFolder(folder / "r").read_summary()["status"] == "finished"


def not_nan(rows):
    return [{key: None if value != value else value for key, value in row.items()} for row in rows]


def again(command: tuple[str, ...]) -> Callable[[Path], list[tuple[str, ...]]]:
    """The same command once more."""
    return lambda folder: [command]


def files_are_whole(folder: Path) -> None:
    """Recordings open, pictures and tables have their ends."""
    for path in folder.glob("*.nc"):
        if not path.name.startswith(".") and path.name != "c.nc":
            with wf.open_recording(path) as rec:
                rec.activity[-1].load()
    if (folder / "c.nc").exists():
        wf.recordings.recording.xr.open_dataset(folder / "c.nc", engine="h5netcdf").close()
    if (folder / "c.png").exists():
        assert (folder / "c.png").read_bytes()[-8:-4] == b"IEND"


def same_files(folder: Path, whole: Path) -> None:
    """The recording is that of a command that was not killed."""
    for path in whole.glob("k.nc"):
        with wf.open_recording(path) as one, wf.open_recording(folder / path.name) as other:
            np.testing.assert_array_equal(one.activity, other.activity)
    for name in ("c.csv", "c.png"):
        assert (folder / name).exists() == (whole / name).exists()


def sweep_is_complete(folder: Path, whole: Path) -> None:
    """Every trial was made once."""
    with open(folder / "s" / "trials.csv", newline="") as file:
        states = [row["state"] for row in csv.DictReader(file)]
    assert sum(state in ("COMPLETE", "PRUNED") for state in states) == TRIALS, states
    assert len(list((folder / "s").glob("trial-*"))) == TRIALS


def table_is_complete(folder: Path, whole: Path) -> None:
    """The run of the table has the metrics of one that was not killed."""
    (one,), (other,) = (sorted((place / "runs").glob("adding-*")) for place in (folder, whole))
    assert not_nan(metrics(one)) == not_nan(metrics(other))


BEGIN = ("run", "copy-wrnn", *RUN, "--checkpoint", "0s", "-o", "r")
RESUME = ("experiments", "resume", "r", "steps=20", "--checkpoint", "0s")
SIMULATE = ("wavefield", "simulate", "wave", "--speed", "0.5", "--size", "2000", "--steps", "4000", "--spike", "0:1")
SIMULATE = (*SIMULATE, "-o", "k.nc", "--overwrite")
IMPORT = ("analysis", "import", "lfp.npz", "--series", "lfp", "--rate", "500", "--positions", "places")
IMPORT = (*IMPORT, "--position-units", "mm", "--units", "uV", "-o", "k.nc", "--overwrite")
COMPARE = (
    "analysis",
    "compare",
    "a.nc",
    "b.nc",
    "--draws",
    "99",
    "-o",
    "c.nc",
    "--table",
    "c.csv",
    "--figure",
    "c.png",
)
SWEEP = ("experiments", "sweep", "digits-irnn", "epochs=1", "hidden_size=8", "batch_size=256", "evaluate_every=3")
SWEEP = (*SWEEP, "--trials", str(TRIALS), "--workers", "1", "--checkpoint", "0s", "-o", "s")
REPRODUCE = ("experiments", "reproduce", "adding", "--row", "wRNN", "--column", "length 100", "--set", "hidden_size=8")
REPRODUCE = (*REPRODUCE, "--set", "channels=2", *ROUND, "--checkpoint", "0s")

COMMANDS = {
    "run": Command(("experiments", *BEGIN), run_is_whole, go_on, same_run),
    "resume": Command(RESUME, run_is_whole, again(RESUME), same_run),
    "simulate": Command(SIMULATE, files_are_whole, again(SIMULATE), same_files),
    "import": Command(IMPORT, files_are_whole, again(IMPORT), same_files),
    "compare": Command(COMPARE, files_are_whole, again(COMPARE), same_files),
    "reproduce": Command(REPRODUCE, run_is_whole, again(REPRODUCE), table_is_complete),
    "sweep": Command(SWEEP, run_is_whole, again(SWEEP), sweep_is_complete),
}


def prepare(folder: Path) -> None:
    """What the commands read: recordings to compare, arrays to import."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    np.savez(folder / "lfp.npz", lfp=rng.standard_normal((200_000, 4)), places=np.arange(4.0)[:, None])
    for name, speed in (("a.nc", -1.0), ("b.nc", 1.0)):
        drive = rng.standard_normal((400, 1))
        wf.save_recording(wf.simulate(wf.transport(speed), drive, size=32), folder / name)


def main() -> int:
    """Kill commands by turns; one line for each, and a summary. Returns 1 where anything did not hold."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--command", action="append", choices=COMMANDS, help="which to kill; all by default")
    options = parser.parse_args()
    draw, failed = random.Random(options.seed), 0
    chosen = options.command or list(COMMANDS)
    if any(COMMANDS[name].killed[0] == "experiments" for name in chosen):
        from experiments import reproduce, sweep, training  # noqa: F401 - loaded before the forks
    with tempfile.TemporaryDirectory(prefix="kills-") as place:
        base, wholes, times = Path(place) / "base", {}, {}
        prepare(base)
        half = base if "resume" in chosen else None
        if half is not None:  # a run that can be trained for longer
            halved = tuple("steps=10" if word == "steps=20" else word for word in BEGIN)
            assert execute(base, ("experiments", *halved))[0] == 0, (base / "log.txt").read_text()
            (base / "r").rename(base / "half")
        for name in chosen:
            for turn in ("first", "whole"):  # the first compiles, which takes longer than all the rest
                wholes[name] = _folder(Path(place) / f"{turn}-{name}", base, name)
                status, times[name] = execute(wholes[name], COMMANDS[name].killed)
                assert status == 0, (wholes[name] / "log.txt").read_text()
        for count in range(options.kills):
            name = chosen[count % len(chosen)]
            number, moment = draw.choice(SIGNALS), draw.uniform(0, 1.1 * times[name])
            folder = _folder(Path(place) / f"kill-{count}", base, name)
            shown = f"{name} by {number.name} after {moment:.2f} s of {times[name]:.2f} s"
            try:
                _kill(COMMANDS[name], folder, wholes[name], moment, number)
                print(f"{count}: {shown}", flush=True)
            except Exception as error:
                failed += 1
                print(f"{count}: {shown}: {type(error).__name__}: {error}", flush=True)
                print((folder / "log.txt").read_text()[-2000:], flush=True)
            shutil.rmtree(folder)
    print(f"{options.kills} kills, {failed} failed")
    return 1 if failed else 0


def _folder(path, base, name):
    shutil.copytree(base, path)
    if name == "resume":
        (path / "half").rename(path / "r")
    return path


def _kill(command, folder, whole, moment, number):
    execute(folder, command.killed, after=moment, number=number)
    assert "Traceback" not in (folder / "log.txt").read_text(), "a traceback"
    command.after_kill(folder)
    for following in command.following(folder):
        status, _ = execute(folder, following)
        assert status == 0, f"{following} ended with {status}"
    if left := scratch(folder):
        raise AssertionError(f"left behind: {left}")
    command.at_end(folder, whole)


if __name__ == "__main__":
    sys.exit(main())
