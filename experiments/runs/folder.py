"""The folder of a run: its config, metrics, checkpoints, recordings, and what it ran on."""

from __future__ import annotations

import csv
import json
import math
import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import filelock
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from experiments.config import Config, load_config, to_toml
from wavefield.files import whole_or_nothing
from wavefield_torch import CheckpointError, load_checkpoint, save_checkpoint

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
        self.path.mkdir(parents=True, exist_ok=True)
        try:
            lock = filelock.FileLock(self / ".lock", timeout=0).acquire()
        except filelock.Timeout:
            raise RunInUseError(f"{self.path} is being trained by another process") from None
        with lock:
            yield

    # ------------------------------------------------------------------------------------ config and environment

    def create(self, config: Config, fixed: Mapping[str, torch.Tensor] | None = None) -> None:
        """Create the folder and write the config and what its task draws once, such as a permutation of pixels.

        Raises
        ------
        FileExistsError
            If there is a run already.
        """
        if (self / "config.toml").exists():
            raise FileExistsError(f"{self.path} holds a run already: resume it, or name another folder")
        self.path.mkdir(parents=True, exist_ok=True)
        if fixed:
            with whole_or_nothing(self / "fixed.safetensors") as scratch:
                save_file(dict(fixed), scratch)
        write_text(self / "config.toml", to_toml(config))

    def config(self) -> Config:
        """Return the config of the run.

        Raises
        ------
        FileNotFoundError
            If the folder holds no run.
        """
        if not (self / "config.toml").is_file():
            raise FileNotFoundError(f"{self.path} holds no run: there is no config.toml in it")
        return load_config(self / "config.toml")

    def note_environment(self, device: torch.device, step: int) -> None:
        """Note the environment of the run from `step` on, and under "earlier" those before that."""
        path, now = self / "environment.json", environment(device)
        pieces, earlier, begun = [], [], 0
        if path.exists():
            last = json.loads(path.read_text(encoding="utf-8"))
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
            return json.loads(self.summary.read_text(encoding="utf-8"))
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
        complete = self.metrics.read_text(encoding="utf-8").rpartition("\n")[0]
        return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(complete.splitlines())]

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
        save_checkpoint(self / f"checkpoints/step-{step:08d}.safetensors", model, optimizer, progress=progress)
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
            If there are checkpoints, but all are damaged or of another model.
        """
        found = self.checkpoints()
        for path in found:
            try:
                return load_checkpoint(path, model, optimizer)
            except CheckpointError as error:
                if path == found[-1]:
                    raise CheckpointError(
                        f"{error}; there is none before it: start the run anew in another folder"
                    ) from None
                print(f"{error}; the one before it is used", file=sys.stderr)
        return None


def write_text(path: Path, text: str) -> None:
    """Write a small file completely or not at all."""
    with whole_or_nothing(path) as scratch:
        scratch.write_text(text, encoding="utf-8")


def write_csv(path: str | os.PathLike, records: list[dict]) -> None:
    """Write records of the same keys as a table, completely or not at all."""
    with whole_or_nothing(path) as scratch, open(scratch, "w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, records[0])
        table.writeheader()
        table.writerows(records)


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
    """Return the commit of the code, with "+" where it was changed since; "unknown" outside a repository."""
    here = Path(__file__).parent
    git = ["git", "-C", str(here), "describe", "--always", "--abbrev=12", "--dirty=+", "--exclude=*"]
    try:
        return subprocess.run(git, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


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
