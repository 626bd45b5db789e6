"""The folder of a run: its config, metrics, checkpoints, recordings, and what it ran on."""

from __future__ import annotations

import csv
import errno
import json
import math
import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path
from typing import Any

import filelock
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from experiments.config import Config, load_config, to_toml
from experiments.sources import FREE
from wavefield.files import harmless, whole_or_nothing
from wavefield_torch import CheckpointError, load_checkpoint, save_checkpoint

FORMAT = 2  # of a run folder; the first had no run.json
CHECKPOINT_FORMAT = 1  # of the progress in a checkpoint
KEPT = 2  # checkpoints: the newest, and the one before in case it is damaged
_REPORTED = ("wavefield", "torch", "numba", "numpy", "triton", "xarray")


class RunInUseError(OSError):
    """Another process trains into the folder of a run."""


class RunFolder:
    """The files of one run, by name."""

    def __init__(self, path: str | os.PathLike):
        self.path = Path(path)

    def __truediv__(self, name: str) -> Path:
        return self.path / name

    @property
    def metrics(self) -> Path:
        """The table of evaluations."""
        return self.path / "metrics.csv"

    @property
    def summary(self) -> Path:
        """The file of the summary."""
        return self.path / "summary.json"

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Keep other processes from training into the folder, which is created if it does not exist.

        The operating system releases the lock when the process exits, for whatever reason.

        Raises
        ------
        RunInUseError
            At once, if another process trains into it.
        """
        make_folder(self.path)
        try:
            lock = filelock.FileLock(self / ".lock", timeout=0).acquire()
        except filelock.Timeout:
            raise RunInUseError(f"{self.path} is being trained by another process") from None
        with lock:
            yield

    # ------------------------------------------------------------------------------------ config and environment

    def holds_run(self) -> bool:
        """Whether there is a run in the folder."""
        return (self / "config.toml").is_file()

    def create(
        self,
        config: Config,
        fixed: Mapping[str, torch.Tensor] | None = None,
        data: Mapping[str, str] | None = None,
    ) -> None:
        """Create the folder and write the config, the hashes of its data and what its task draws once.

        Raises
        ------
        FileExistsError
            If there is a run already.
        """
        if self.holds_run():
            raise FileExistsError(f"{self.path} holds a run already: resume it, or name another folder")
        make_folder(self.path)
        if fixed:
            with whole_or_nothing(self / "fixed.safetensors") as scratch:
                save_file(dict(fixed), scratch)
        self.write_record(config, data or {})
        write_text(self / "config.toml", to_toml(config))

    def discard(self) -> None:
        """Remove what a run leaves before its first step, and the folder if nothing else is in it."""
        names = ("config.toml", "run.json", "fixed.safetensors", "metrics.csv", "environment.json", "best.safetensors")
        for name in (*names, "hidden-00000000.nc", ".lock"):
            (self / name).unlink(missing_ok=True)
        with suppress(OSError):
            self.path.rmdir()

    def config(self, settings: Sequence[str] = ()) -> Config:
        """Return the config of the run, with settings changed.

        Raises
        ------
        FileNotFoundError
            If the folder holds no run.
        ConfigError
            If config.toml or a setting is not acceptable.
        """
        if not self.holds_run():
            raise FileNotFoundError(f"{self.path} holds no run: there is no config.toml in it")
        return load_config(self / "config.toml", settings)

    # ------------------------------------------------------------------------------------- what the run is, run.json

    def write_record(self, config: Config, data: Mapping[str, str]) -> None:
        """Note in run.json the format of the folder, the config and the hashes of the data."""
        record = {"format": FORMAT, "config": config.to_dict(), "data": dict(data)}
        write_text(self / "run.json", json.dumps(record, indent=2) + "\n")

    def record(self) -> dict:
        """Return what run.json says, {} in a folder of the first format, which has none.

        Raises
        ------
        ValueError
            If it is damaged, or of a newer format.
        """
        path = self / "run.json"
        record = read_json(path) if path.exists() else {}
        check_format(self.path, record.get("format", FORMAT), FORMAT)
        config, data = record.get("config", {}), record.get("data", {})
        if not (isinstance(config, dict) and isinstance(data, dict)):
            raise ValueError(f"{path} is damaged: config and data must be objects")
        return record

    def changes(self, config: Config, allowed: Sequence[str] = FREE) -> list[str]:
        """Return the settings in which `config` differs from that of the run, as ``training.steps``.

        Raises
        ------
        ValueError
            If any of them is not among the settings of training that may change.
        """
        tables = self.record().get("config")
        found, wanted = (flat(as_json(each)) for each in (tables or self.config().to_dict(), config.to_dict()))
        keys = [key for key in found | wanted if found.get(key) != wanted.get(key)]
        if others := [key for key in keys if key not in {f"training.{name}" for name in allowed}]:
            what = ", ".join(f"{key} is {found.get(key)!r}, not {wanted.get(key)!r}" for key in others)
            remedy = f"; within a run only {', '.join(allowed)} may change" if allowed else ""
            raise ValueError(f"{self.path} holds a run of another config ({what}): name another folder{remedy}")
        return keys

    def check_data(self, data: Mapping[str, str]) -> None:
        """Check that the data are those the run began with, else raise ValueError."""
        kept = self.record().get("data", {})
        if other := [name for name in kept if name in data and kept[name] != data[name]]:
            raise ValueError(
                f"{self.path} was trained on other data ({', '.join(other)} differ): give the folder of those it began "
                "with by --data or WAVEFIELD_DATA, or start a new run"
            )

    def note_environment(self, device: torch.device, step: int) -> None:
        """Note the environment of the run from `step` on, and under "earlier" those before that."""
        path, now = self / "environment.json", environment(device)
        pieces, earlier, begun = [], [], 0
        if path.exists():
            last = read_json(path)
            pieces = [*last.pop("earlier", []), last | {"until_step": step}]
        for piece in pieces:
            if begun < step:  # else all its steps were lost, and are run again
                earlier.append(piece | {"until_step": min(piece["until_step"], step)})
            begun = piece["until_step"]
        if earlier and earlier[-1] == now | {"until_step": step}:  # which continues
            earlier.pop()
        write_text(path, json.dumps(now | {"earlier": earlier}, indent=2) + "\n")

    def check_fixed(self, fixed: Mapping[str, torch.Tensor] | None) -> None:
        """Check that what the task draws once is what it drew when the run began.

        Raises
        ------
        ValueError
            If it is not, or if what was kept is damaged.
        """
        path = self / "fixed.safetensors"
        try:
            kept = load_file(path) if fixed else {}
        except SafetensorError as error:
            raise ValueError(f"{path} is damaged: {error}") from error
        for name, drawn in (fixed or {}).items():
            if name not in kept or not torch.equal(kept[name], drawn):
                raise ValueError(f"{path} holds another {name} than is drawn now: the run cannot be resumed")

    # ------------------------------------------------------------------------------------------------- summary

    def read_summary(self) -> dict:
        """Return the summary; empty where there is none that can be read."""
        try:
            return read_json(self.summary)
        except (FileNotFoundError, ValueError):
            return {}

    def has_ended(self) -> bool:
        """Whether the run has ended, so that nothing is left to resume."""
        return self.read_summary().get("status", "paused") not in ("paused", "interrupted")

    # ------------------------------------------------------------------------------------------------- metrics

    def append(self, row: dict) -> None:
        """Add a row to metrics.csv and flush it."""
        first = not self.metrics.exists()
        with open(self.metrics, "a", newline="", encoding="utf-8") as file:
            table = csv.DictWriter(file, row.keys())
            if first:
                table.writeheader()
            table.writerow(row)
            file.flush()
            os.fsync(file.fileno())

    def rows(self) -> list[dict]:
        """Return the rows of metrics.csv as numbers; one that was cut short, by a full disk say, is left out."""
        if not self.metrics.exists():
            return []
        try:
            return list(self._rows())
        except (ValueError, TypeError, csv.Error) as error:
            raise ValueError(f"{self.metrics} is damaged: {error}") from None

    def _rows(self):
        complete = self.metrics.read_text(encoding="utf-8").rpartition("\n")[0]
        for number, row in enumerate(csv.DictReader(complete.splitlines()), start=2):
            if None in row or None in row.values() or "step" not in row:
                raise ValueError(f"line {number} does not fit its header")
            yield {key: float(value) for key, value in row.items()}

    def forget_after(self, step: int) -> None:
        """Remove the rows of steps after `step`, which are taken again."""
        rows = [row for row in self.rows() if row["step"] <= step]
        if not rows:
            self.metrics.unlink(missing_ok=True)
            return
        write_csv(self.metrics, [row | {"step": int(row["step"])} for row in rows])

    # --------------------------------------------------------------------------------------------- checkpoints

    def save(self, step: int, model: torch.nn.Module, optimizer: torch.optim.Optimizer, progress: dict) -> None:
        """Write the checkpoint of `step`, then delete all but the newest two."""
        (self / "checkpoints").mkdir(exist_ok=True)
        path = self / f"checkpoints/step-{step:08d}.safetensors"
        save_checkpoint(path, model, optimizer, progress=progress | {"format": CHECKPOINT_FORMAT})
        for old in self.checkpoints()[KEPT:]:
            old.unlink()

    def checkpoints(self) -> list[Path]:
        """Return the checkpoints, newest first."""
        return sorted((self / "checkpoints").glob("step-*.safetensors"), reverse=True)

    def restore(self, model: torch.nn.Module, optimizer: torch.optim.Optimizer | None) -> dict | None:
        """Restore the newest intact checkpoint and return its progress; None if there is no checkpoint at all.

        Raises
        ------
        CheckpointError
            If there are checkpoints, but all are damaged or of another model; if there were some, but they are gone.
        ValueError
            If a checkpoint is of a newer format.
        """
        found = self.checkpoints()
        if not found and ((self / "checkpoints").exists() or self.read_summary().get("step")):
            raise CheckpointError(
                f"{self.path} holds no checkpoint any more, though there was one: put it back into "
                f"{self / 'checkpoints'}, or start the run anew in another folder"
            )
        for path in found:
            try:
                progress = load_checkpoint(path)
                check_format(path, progress.pop("format", 1), CHECKPOINT_FORMAT)
                load_checkpoint(path, model, optimizer)
                return progress
            except CheckpointError as error:
                if path == found[-1]:
                    raise CheckpointError(
                        f"{error}; there is none before it: start the run anew in another folder"
                    ) from None
                print(f"{error}; the one before it is used", file=sys.stderr)
        return None


def make_folder(path: Path) -> None:
    """Create a folder, and those above it, unless it is there.

    Raises
    ------
    NotADirectoryError
        If a file is in the way.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise NotADirectoryError(
            errno.ENOTDIR, "is a file, or lies below one, and cannot be a folder", str(path)
        ) from None


def as_json(value):
    """Return a value as JSON gives it back: lists in place of tuples."""
    return json.loads(json.dumps(value))


def flat(tables: Mapping) -> dict:
    """Return the settings of a config by their keys, each with its table, as in `key=value`."""
    found: dict[str, Any] = {}
    for table, value in tables.items():
        found |= (
            {f"{table}.{key}": inner for key, inner in value.items()} if isinstance(value, dict) else {table: value}
        )
    return found


def check_format(path: Path, found: int, known: int) -> None:
    """Check that a file or folder is not of a newer format than is known here, else raise ValueError."""
    if isinstance(found, bool) or not isinstance(found, int):
        raise ValueError(f"{path} is damaged: its format must be a number, got {found!r}")
    if found > known:
        raise ValueError(
            f"{path} was written by a newer version of wavefield: its format is {found}, this version reads up to "
            f"{known}; update wavefield"
        )


def read_json(path: Path) -> dict:
    """Return the object in a JSON file.

    Raises
    ------
    ValueError
        Naming the file, if it holds anything else.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is damaged, it is not JSON: {error}") from None
    if not isinstance(content, dict):
        raise ValueError(f"{path} is damaged: it must hold a JSON object, got {type(content).__name__}")
    return content


def write_text(path: Path, text: str) -> None:
    """Write a small file completely or not at all."""
    with whole_or_nothing(path) as scratch:
        scratch.write_text(text, encoding="utf-8")


def write_csv(path: str | os.PathLike, records: list[dict]) -> None:
    """Write records of the same keys as a table, completely or not at all.

    A text that a spreadsheet would take for a formula is written with an apostrophe before it.
    """
    with whole_or_nothing(path) as scratch, open(scratch, "w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, records[0])
        table.writeheader()
        table.writerows({key: harmless(value) for key, value in record.items()} for record in records)


def environment(device: torch.device) -> dict:
    """Return versions, device, precision, threads and the commit of the code."""
    return {
        "versions": {name: _version(name) for name in _REPORTED} | {"python": platform.python_version()},
        "device": device_name(device),
        "threads": torch.get_num_threads(),
        "float32_matmul_precision": torch.get_float32_matmul_precision(),
        "commit": commit(),
    }


def peak_memory(device: torch.device) -> float:
    """Return the peak memory in MB so far, of a GPU or of this process; NaN where the system does not tell."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    found = re.search(r"VmHWM:\s*(\d+) kB", _text("/proc/self/status"))
    if found:  # ru_maxrss starts at that of the parent process
        return 1.024e-3 * int(found[1])
    try:
        import resource
    except ImportError:  # Windows
        return math.nan
    unit = 1e-6 if sys.platform == "darwin" else 1.024e-3  # bytes there, kibibytes elsewhere
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def device_name(device: torch.device) -> str:
    """Return the name of a GPU, or of the processor and its number of cores."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    found = re.search(r"model name\s*:\s*(.+)", _text("/proc/cpuinfo"))
    return f"{found[1] if found else platform.processor() or platform.machine()} ({os.cpu_count()} cores)"


def commit() -> str:
    """Return the commit of this code, with "+" where it was changed since.

    Of an installed package it is the commit it was installed from, or its version; "unknown" for a copy of the files.
    A repository that merely contains them does not count.
    """
    root = Path(__file__).resolve().parents[2]
    return _commit_of_checkout(root) or _installed_from(root) or "unknown"


def _commit_of_checkout(root):
    """The commit of the toolkit's own repository at `root`; "" where there is none."""
    if not re.search(r'^name = "wavefield"$', _text(root / "pyproject.toml"), flags=re.MULTILINE):
        return ""
    plain = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}

    def git(*arguments):
        command = ["git", "-C", str(root), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True, env=plain).stdout.strip()

    try:
        if Path(git("rev-parse", "--show-toplevel")).resolve() != root:
            return ""
        git("ls-files", "--error-unmatch", "experiments/runs/folder.py")
        return git("describe", "--always", "--abbrev=12", "--dirty=+", "--exclude=*")
    except (OSError, subprocess.CalledProcessError):
        return ""


def _installed_from(root):
    """The commit, else the version, of the package installed at `root`; "" where it is not installed there."""
    try:
        package = distribution("wavefield")
    except PackageNotFoundError:
        return ""
    if Path(package.locate_file("experiments")).resolve() != root / "experiments":
        return ""
    origin = json.loads(package.read_text("direct_url.json") or "{}")
    return origin.get("vcs_info", {}).get("commit_id", "")[:12] or f"version {package.version}"


def _version(name):
    try:
        return version(name)
    except PackageNotFoundError:
        return "none"


def _text(path):
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError:
        return ""
