"""The commands and their arguments; nothing that a command needs is loaded before it is run."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from experiments.sources import CONFIGS, FREE, TABLES
from wavefield.cli import add_output_options

NEEDS = "It needs the extra experiments: pip install 'wavefield[experiments]'."
SLURM = """\
On a SLURM cluster start workers with dask-jobqueue, of one thread each, since every thread of a worker runs a trial:
cluster = SLURMCluster(cores=1, processes=1, job_cpu=8, memory="32GB", walltime="08:00:00",
job_script_prologue=["export OMP_NUM_THREADS=8 NUMBA_NUM_THREADS=8"]); cluster.scale(jobs=10). Keep that Python process
running, and give cluster.scheduler_address as --scheduler. All workers need this package and must see the folder of the
sweep and that of the data under the same paths, on a file system with locks. When a worker runs out of time, another
one resumes its trial. Whoever can reach the address of a scheduler can run code on its workers: protect it with TLS
(the documentation of Dask says how) or by the network."""


@dataclass(frozen=True)
class Command:
    """A command: the function that runs it, its arguments, and examples of its use."""

    module: str
    function: str
    about: str
    arguments: Callable[[argparse.ArgumentParser], None]
    examples: str


def parser_of(name: str, program: str) -> argparse.ArgumentParser:
    """Return the parser of a command's arguments."""
    command = COMMANDS[name]
    examples = "\n".join(f"  {program} {line}" for line in command.examples.splitlines())
    parser = argparse.ArgumentParser(
        prog=f"{program} {name}",
        description=f"{command.about[0].upper()}{command.about[1:]}. {NEEDS}",
        epilog=f"examples:\n{examples}" + (f"\n\n{SLURM}" if name == "sweep" else ""),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.arguments(parser)
    return parser


def seconds(text: str) -> float:
    """Return a duration such as 90s, 30m or 6h in seconds."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", text)
    if not found:
        raise argparse.ArgumentTypeError(f"a duration is written like 90s, 30m or 6h, got {text!r}")
    return float(found[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[found[2]]


def folder(text: str) -> Path:
    """Return the path of a folder; an empty text, as of a variable that is not set, is none."""
    if not text.strip():
        raise argparse.ArgumentTypeError("the name of a folder is empty")
    return Path(text)


def _names(place):
    return ", ".join(sorted(path.stem for path in place.glob("*.toml")))


def _run(parser):
    parser.add_argument("config", help=f"a .toml file or one of {_names(CONFIGS)}")
    parser.add_argument("settings", nargs="*", metavar="key=value", help="settings to change, such as delay=30")
    parser.add_argument("-o", "--output", type=folder, help="folder of the run (default: runs/NAME-SETTINGS-SEED)")
    _training(parser)


def _resume(parser):
    parser.add_argument("folder", type=folder, help="folder of the run")
    parser.add_argument("settings", nargs="*", metavar="key=value", help=f"what may change: {', '.join(FREE)}")
    _training(parser)


def _sweep(parser):
    parser.add_argument("config", help="as in `run`; its table [search] names the settings and the values to try")
    parser.add_argument("settings", nargs="*", metavar="key=value", help="settings that all trials share")
    parser.add_argument("--trials", type=int, help="in all, with those of earlier calls (default: 40, or the grid)")
    parser.add_argument("--grid", action="store_true", help="the paper's grid, each point once, instead of TPE")
    parser.add_argument("--scheduler", help="address of a Dask scheduler; by default processes of this machine")
    parser.add_argument("--workers", type=int, default=2, help="trials at a time on this machine (default: 2)")
    parser.add_argument("--seed", type=int, default=0, help="of the search (default: 0); training has its own")
    parser.add_argument("-o", "--output", type=folder, help="folder of the sweep (default: runs/sweep-CONFIG)")
    _where(parser)
    _output(parser)


def _reproduce(parser):
    parser.add_argument("table", nargs="+", help=_names(TABLES))
    parser.add_argument("--budget", type=seconds, default=float("inf"), help="90s, 30m, 6h; without end by default")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="default: 0")
    parser.add_argument("--row", action="append", help="a row by its label; may be repeated; all by default")
    parser.add_argument("--column", action="append", help="a column by its label; may be repeated; all by default")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="[TABLE.]KEY=VALUE",
        help="of every run, or of every run of a table, as in `run`; may be repeated",
    )
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time, which share the cores (default: 1)")
    parser.add_argument("--runs", type=folder, default=Path("runs"), help="folder of the runs (default: runs)")
    _where(parser)
    _output(parser)


def _report(parser):
    parser.add_argument("folders", nargs="*", type=folder, metavar="folder", help="runs, or folders that hold some")
    parser.add_argument("--runs", type=folder, default=Path("runs"), help="folder of the runs (default: runs)")
    parser.add_argument("-o", "--output", type=folder, default=Path("report"), help="folder to write (default: report)")
    parser.add_argument("--collect", action="store_true", help="copy the small files of the runs into OUTPUT/runs too")
    _output(parser)


def _export(parser):
    parser.add_argument("folders", nargs="*", type=folder, metavar="folder", help="runs, or folders that hold some")
    parser.add_argument("--runs", type=folder, default=Path("runs"), help="folder of the runs (default: runs)")
    parser.add_argument("-o", "--output", type=folder, default=Path("events"), help="folder to write (default: events)")
    _output(parser)


def _memory(parser):
    parser.add_argument("folder", type=folder, nargs="+", help="folders of runs on a history task")
    parser.add_argument("-o", "--output", type=folder, default=Path("memory"), help="folder to write (default: memory)")
    _output(parser)


def _waves(parser):
    parser.add_argument("folder", type=folder, nargs="+", help="folders of runs")
    parser.add_argument("-o", "--output", type=folder, default=Path("waves"), help="folder to write (default: waves)")
    parser.add_argument("--draws", type=int, default=999, help="surrogates of the test of direction (default: 999)")
    _output(parser)


def _demo(parser):
    parser.add_argument("-o", "--out", "--output", default="demo", help="folder to write (default: demo)")
    parser.add_argument("--seed", type=int, default=0)
    _output(parser)


def _bench(parser):
    parser.add_argument("--case", action="append", help="a setting of the papers; may be repeated; all by default")
    parser.add_argument("--way", action="append", help="an implementation; may be repeated; all by default")
    parser.add_argument("--idioms", action="store_true", help="ways of reading out: h, out[-1], packed, one step, …")
    parser.add_argument("--repeats", type=int, default=5, help="timings of each, of which the best counts")
    parser.add_argument("--device", help="default: a GPU if there is one")
    parser.add_argument("-o", "--output", help="CSV to write")
    parser.add_argument("--memory", nargs=2, metavar=("CASE", "WAY"), help="print the peak memory of one step and stop")
    _output(parser)


def _where(parser):
    parser.add_argument("--data", help="folder of the data sets (default: WAVEFIELD_DATA)")
    parser.add_argument("--device", help="cpu, cuda, cuda:1 (default: a GPU if there is one)")
    parser.add_argument("--checkpoint", type=seconds, default=60.0, help="time between checkpoints (default: 60s)")


def _training(parser):
    _where(parser)
    parser.add_argument("--budget", type=seconds, default=float("inf"), help="pause after 90s, 30m, 6h")
    _output(parser)


def _output(parser):
    add_output_options(parser, "a line for every evaluation, also on a terminal")


COMMANDS = {
    "run": Command(
        "experiments.training",
        "run",
        "train one config",
        _run,
        "run digits-wrnn\nrun copy-wrnn delay=30 learning_rate=.001 -o runs/first\nrun my.toml --budget 30m > log 2>&1",
    ),
    "resume": Command(
        "experiments.training",
        "resume",
        "resume a run that was interrupted, or train one that has ended for longer",
        _resume,
        "resume runs/first\nresume runs/first steps=40000",
    ),
    "sweep": Command(
        "experiments.sweep",
        "main",
        "search the settings of a config",
        _sweep,
        "sweep digits-wrnn --trials 40\nsweep copy-wrnn delay=30 --grid --workers 4",
    ),
    "reproduce": Command(
        "experiments.reproduce",
        "main",
        "fill a table of the paper within a budget",
        _reproduce,
        "reproduce adding --budget 30m\nreproduce copy --row wRNN --seeds 0 1 2 --set steps=20000 --jobs 2",
    ),
    "report": Command(
        "experiments.reports.report",
        "main",
        "tables and figures of all runs and sweeps",
        _report,
        "report\nreport runs/first runs/sweep-digits-wrnn -o compared",
    ),
    "export": Command(
        "experiments.reports.events",
        "main",
        "write the metrics of runs for TensorBoard (extra tensorboard)",
        _export,
        "export\nexport runs/first runs/second -o events",
    ),
    "memory": Command(
        "experiments.reports.memory",
        "main",
        "the waves in networks trained on history tasks",
        _memory,
        "memory runs/history-elman-systemT1-seed0 -o memory",
    ),
    "waves": Command(
        "experiments.reports.waves",
        "main",
        "the waves in the states of trained networks, with their significance",
        _waves,
        "waves runs/tetrominoes-nwm-size32-seed0 -o waves",
    ),
    "demo": Command("experiments.demo", "main", "the main job end to end", _demo, "demo --out demo"),
    "bench": Command(
        "experiments.benches.bench",
        "main",
        "speed and memory of a training step at the papers' settings",
        _bench,
        "bench -o training.csv\nbench --idioms -o idioms.csv\nbench --case sMNIST --way fused",
    ),
}
