"""Progress of what takes long: a bar on a terminal, lines in a log.

A call of the library shows bars on a terminal and is silent elsewhere. The command lines open `in_lines`: into a file
they write, every few seconds, what is being done, how far it is, how fast it goes and how long it will take.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from time import monotonic
from typing import Any

from tqdm import tqdm

SECONDS = 10.0  # between two lines of a log
_logs: list[str] = []  # commands that are being told of in lines
_counting: list[Progress] = []  # bars that are not drawn but told of, the outermost first


class Progress(tqdm):
    """A bar of tqdm over `items` or of `total`, drawn on a terminal once two seconds have passed; lines in a log.

    `unit` is what is counted, in the singular; other options are those of tqdm.
    """

    def __init__(self, items: Any = None, what: str = "", *, unit: str = "", **options: Any):
        self.told = bool(_logs)
        options = {"disable": None, "delay": 2} | options
        if self.told and options["disable"] is None:
            options |= {"disable": False, "delay": 0, "miniters": 1, "gui": True}  # counts, and draws nothing itself
        super().__init__(items, what, unit=unit or "it", **options)
        if self.told and not self.disable:
            _counting.append(self)

    def display(self, *arguments: Any, **options: Any) -> Any:
        """Draw the bar, on a terminal."""
        return None if self.told else super().display(*arguments, **options)

    def clear(self, *arguments: Any, **options: Any) -> None:
        """Wipe the bar from the terminal."""
        if not self.told:
            super().clear(*arguments, **options)

    def close(self) -> None:
        """End the count."""
        if self in _counting:
            _counting.remove(self)
        super().close()

    def line(self) -> str:
        """Return what is being done, how far it is, how fast it goes and how long it will take."""
        known = self.format_dict
        done, total, unit = known["n"] - known["initial"], known["total"], "" if self.unit == "it" else self.unit
        counted = f"{known['n']:,}" + (f" of {total:,}" if total else "") + (f" {unit}s" if unit else "")
        parts = [f"{self.desc}: {counted}", *pace(done, total and total - known["n"], known["elapsed"], unit)]
        return ", ".join([*parts, known["postfix"]] if known["postfix"] else parts)


def pace(done: float, left: float | None, seconds: float, unit: str, so_far: float | None = None) -> list[str]:
    """Return in words how fast `done` units in some seconds are, how long it took, and how long those `left` take.

    Examples
    --------
    >>> pace(50, 100, 20.0, "step")
    ['2.5 steps/s', '20 s so far', '40 s left']
    >>> pace(2, 10, 100.0, "trial")
    ['50 s/trial', '100 s so far', '8 min left']
    """
    told = [f"{duration(seconds if so_far is None else so_far)} so far"]
    if not done:
        return told
    if left:
        told.append(f"{duration(left * seconds / done)} left")
    if done > seconds:
        return [f"{_short(done / seconds)}{f' {unit}s' if unit else ''}/s", *told]
    return [f"{_short(seconds / done)} s{f'/{unit}' if unit else ' each'}", *told]


def _short(number):
    return f"{number:.0f}" if number >= 100 else f"{number:.3g}"


def duration(seconds: float) -> str:
    """Return a time in seconds, minutes or hours.

    Examples
    --------
    >>> duration(90), duration(600), duration(36_000)
    ('90 s', '10 min', '10.0 h')
    """
    minutes = round(seconds / 60)
    return f"{seconds:.0f} s" if seconds < 120 else f"{minutes} min" if minutes < 120 else f"{minutes / 60:.1f} h"


@contextmanager
def in_lines(command: str = "") -> Iterator[None]:
    """Write lines of progress to stderr while the block goes on, unless that is a terminal.

    Where nothing that is counted goes on, the line says how long the `command` has taken; without a name there is none.
    """
    stream = sys.stderr
    if stream.isatty():
        yield
        return
    began, ended = monotonic(), threading.Event()

    def tell():
        while not ended.wait(SECONDS):
            lines = [bar.line() for bar in list(_counting)]
            if not lines and command:
                lines = [f"{command}: {duration(monotonic() - began)} so far"]
            with suppress(OSError, ValueError):  # a log that is closed or full ends no command
                print("; ".join(lines), file=stream, flush=True) if lines else None

    teller = threading.Thread(target=tell, daemon=True)
    _logs.append(command)
    teller.start()
    try:
        yield
    finally:
        ended.set()
        teller.join()
        _logs.remove(command)
