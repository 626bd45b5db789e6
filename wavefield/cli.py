"""What the command lines of all packages share: how much they say, results as JSON, errors in one line, signals.

Nothing heavy is loaded here, so that the help of a command appears at once.
"""

from __future__ import annotations

import argparse
import io
import json
import logging
import math
import os
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, redirect_stderr
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import xarray as xr

PACKAGES = ("wavefield", "wavefield_torch", "analysis", "experiments")
EXTRAS = {  # by the package that is missing: what has to be installed with the toolkit
    "torch": "torch",
    "safetensors": "torch",
    "sklearn": "demo",
    "pydantic": "experiments",
    "filelock": "experiments",
    "optuna": "experiments",
    "sqlalchemy": "experiments",
    "distributed": "experiments",
    "tensorboard": "tensorboard",
    "pynwb": "nwb",
    "neo": "neo",
    "mne": "mne",
}
PICTURES = (".png", ".pdf", ".svg", ".jpg", ".jpeg", ".tif", ".tiff", ".webp", ".eps")
FAILURES = (ValueError, TypeError, OSError, ArithmeticError, ImportError, MemoryError, RuntimeError)


def program(script: str, package: str) -> str:
    """Return how the program was called: by its script, or as a module of Python."""
    return script if Path(sys.argv[0]).stem == script else f"python -m {package}"


def add_output_options(parser: argparse.ArgumentParser, verbose: str = "say more of what is done") -> None:
    """Add ``--quiet``, ``--verbose`` and ``--json`` to a command."""
    loudness = parser.add_mutually_exclusive_group()
    loudness.add_argument("-q", "--quiet", action="store_true", help="no progress, no text; errors only")
    loudness.add_argument("-v", "--verbose", action="store_true", help=f"{verbose}; of an error, where it arose")
    parser.add_argument("--json", action="store_true", help="print the result as JSON and nothing else")


def check_picture(path: str | None, flag: str, more: Sequence[str] = ()) -> None:
    """Refuse a picture that could not be written, before anything is computed for it."""
    endings = (*PICTURES, *more)
    if path is not None and Path(path).suffix.lower() not in endings:
        raise ValueError(f"{flag} must end in {', '.join(endings[:-1])} or {endings[-1]}, got {path!r}")


def examples(program: str, lines: str) -> dict[str, Any]:
    """Return what shows examples below the arguments of a command, one a line, without the program's name."""
    shown = "\n".join(f"  {program} {line}" for line in lines.splitlines())
    return {"epilog": f"examples:\n{shown}", "formatter_class": argparse.RawDescriptionHelpFormatter}


def carry_out(
    command: Callable[[argparse.Namespace], int | None], options: argparse.Namespace, *, name: str = "", memory: str
) -> int:
    """Run a command; return its exit status, 2 after an error that is told in one line, 130 after an interruption.

    A request to terminate and the end of the terminal count as Ctrl-C: what was half written is removed. `name` stands
    before an error, and `memory` says what to do where memory runs out. Unless --quiet was given, progress is told in
    lines where it cannot be drawn.
    """
    try:
        with interruptible(), _loudness(options), _lines(options, name):
            return command(options) or 0
    except KeyboardInterrupt as interruption:
        if not interruption.args:  # else it was told how to go on
            print("interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # of `… | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except FAILURES as error:
        told = _told(error, memory)
        if told is None:
            raise
        if options.verbose:
            traceback.print_exc()
        print(f"{name}error: {told}", file=sys.stderr)
        return 2


def _told(error, memory):
    """The text of an error that a user can mend; None of any other."""
    if isinstance(error, ModuleNotFoundError):
        extra = EXTRAS.get((error.name or "").partition(".")[0])
        return extra and f"{error.name} is not installed: pip install 'wavefield[{extra}]'"
    if isinstance(error, ImportError) and (error.name or "").partition(".")[0] in PACKAGES:
        return None  # a fault of the toolkit itself
    if out_of_memory(error):
        why = str(error).strip().partition("\n")[0]
        return f"out of memory: {why}; {memory}"
    if isinstance(error, RuntimeError):
        return None
    if isinstance(error, OSError) and error.filename and error.strerror:
        return f"{error.filename}: {error.strerror}"
    return str(error) or type(error).__name__


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out: Python's, or PyTorch's on a CPU or GPU."""
    text = str(error).lower()
    of_torch = isinstance(error, RuntimeError) and ("out of memory" in text or "can't allocate memory" in text)
    return isinstance(error, MemoryError) or of_torch


@contextmanager
def interruptible() -> Iterator[None]:
    """Take a request to terminate, or the end of the terminal, as Ctrl-C, unless it is ignored (nohup)."""
    numbers = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    before = {number: signal.getsignal(number) for number in numbers}
    try:
        for number in [number for number in numbers if before[number] is not signal.SIG_IGN]:
            signal.signal(number, signal.default_int_handler)
    except ValueError:  # not the main thread, which alone receives signals
        before = {}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _NoTerminal(io.TextIOBase):
    """A stream that progress bars do not take for a terminal."""

    def __init__(self, stream):
        self._stream = stream

    def write(self, text):
        return self._stream.write(text)

    def flush(self):
        self._stream.flush()


@contextmanager
def _loudness(options):
    """Warnings in one line each; with --quiet none of them and no progress, with --verbose what is logged."""
    with warnings.catch_warnings():
        warnings.showwarning = lambda text, *_, **__: print(f"warning: {text}", file=sys.stderr)
        if options.quiet:
            warnings.simplefilter("ignore")
            with redirect_stderr(_NoTerminal(sys.stderr)):
                yield
            return
        if options.verbose:
            logging.basicConfig(format="%(asctime)s %(name)s: %(message)s", stream=sys.stderr)
            for package in PACKAGES:
                logging.getLogger(package).setLevel(logging.DEBUG)
        yield


def _lines(options, name):
    """Lines of progress in a log."""
    if options.quiet:
        return nullcontext()
    from wavefield.progress import in_lines

    return in_lines(name.rstrip(": ").rpartition(" ")[2])


def tell(options: argparse.Namespace, text: str, result: Any) -> None:
    """Print the result of a command: its text, with --json the result itself, with --quiet nothing else."""
    if options.json:
        print(json.dumps(plain(result), indent=2, allow_nan=False))
    elif not options.quiet:
        print(text)


def plain(value: Any) -> Any:
    """Return a value as JSON has it: NaN and the infinities as null, arrays as lists, paths as text."""
    if isinstance(value, Mapping):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [plain(inner) for inner in value]
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if hasattr(value, "tolist"):  # of NumPy
        return plain(value.tolist())
    return value if value is None or isinstance(value, (bool, int, str)) else str(value)


def labelled(data: xr.Dataset, without: Sequence[str] = ()) -> dict:
    """Return the variables of a dataset by name, those along the dimensions `without` left out.

    Values along a dimension with names stand under these names, those along any other in a list.
    """
    return {str(name): _nested(one) for name, one in data.data_vars.items() if not set(one.dims) & set(without)}


def _nested(array):
    if not array.dims:
        return array.item()
    first = array.dims[0]
    pieces = [_nested(array[number]) for number in range(array.sizes[first])]
    if first in array.coords and array[first].dtype.kind == "U":
        return dict(zip(array[first].values.tolist(), pieces, strict=True))
    return pieces
