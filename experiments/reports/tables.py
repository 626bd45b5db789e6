"""The paper's tables: which runs fill them, and what was published."""

from __future__ import annotations

import html
import re
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from experiments.config import Config, ConfigError, load_config
from experiments.sources import FREE, TABLES

NOT_TESTED, NOT_REACHED = "not tested", "not reached"  # why a run has no figure


def is_number(value: object) -> bool:
    """Whether what a file says is a number, and one that fits a float."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return isinstance(value, float) or abs(value) < 2**63


@dataclass(frozen=True)
class Figure:
    """A number of a run that a table shows: where it stands in the summary, its name, how it is printed."""

    key: str
    label: str
    format: str

    @property
    def spread(self) -> str:
        """Under which a table holds the published standard deviation."""
        return f"{self.key} SD"

    def of(self, summary: dict):
        """Return the figure from the summary of a run; why there is none where it is missing or null."""
        value = summary
        for part in self.key.split("."):
            if not isinstance(value, dict) or part not in value:
                return NOT_TESTED
            value = value[part]
        if value is None:
            return NOT_REACHED
        return value if is_number(value) else NOT_TESTED


@dataclass(frozen=True)
class Cell:
    """One place of a table: a config with settings, and what was published for it."""

    row: str
    column: str
    config: str
    settings: tuple[str, ...]
    published: dict[str, float | str]

    def resolve(self, more: Sequence[str] = ()) -> Config:
        """Return the config of the cell."""
        return load_config(self.config, [*self.settings, *more])


@dataclass(frozen=True)
class Table:
    """A table of the paper, row by row."""

    name: str
    title: str
    heading: str  # of the columns, as a word
    columns: tuple[str, ...]
    rows: tuple[str, ...]
    figures: tuple[Figure, ...]
    cells: tuple[Cell, ...]


def table_names() -> list[str]:
    """Return the names of all tables."""
    return sorted(path.stem for path in TABLES.glob("*.toml"))


def load_table(name: str) -> Table:
    """Return the table of that name.

    Raises
    ------
    ConfigError
        If there is none.
    """
    if name not in table_names():
        raise ConfigError(f"no table {name!r}: known are {', '.join(table_names())}")
    content = tomllib.loads((TABLES / f"{name}.toml").read_text(encoding="utf-8"))
    key, values = content["column"], content["values"]
    columns = tuple(content.get("column_labels", [f"{key} {value}" for value in values]))
    figures = tuple(Figure(**figure) for figure in content["figure"])
    tasks = content.get("configs", [""] * len(values))
    cells = [
        Cell(
            row=row["label"],
            column=columns[place],
            config=row["config"].format(tasks[place]),
            settings=(f"{key}={_written(value)}", *row.get("settings", ())),
            published={key: row[key][place] for f in figures for key in (f.key, f.spread) if key in row},
        )
        for row in content["row"]
        for place, value in enumerate(values)
    ]
    if content.get("order") == "columns":  # the runs of one column before those of the next
        cells.sort(key=lambda cell: columns.index(cell.column))
    rows = tuple(row["label"] for row in content["row"])
    heading = "task" if "column_labels" in content else key
    return Table(name, content["title"], heading, columns, rows, figures, tuple(cells))


def same_experiment(run: Config, wanted: Config, settings: Iterable[str]) -> bool:
    """Whether a run belongs to a cell: the same but for its seed, its length and its evaluations.

    A length that the cell itself sets has to be the same.
    """
    return _compared(run, settings) == _compared(wanted, settings)


def plain_text(text: str) -> str:
    """Return a text that came from a file, without any meaning in Markdown or HTML."""
    text = html.escape(" ".join(text.split()), quote=False)
    return re.sub(r"([\\`*_\[\]|~:])", r"\\\1", text)


def table_line(cells: Sequence[str]) -> str:
    """Return cells as a line of a table in Markdown."""
    return "| " + " | ".join(cells) + " |"


def _compared(config, settings):
    fixed = {setting.partition("=")[0].rpartition(".")[2] for setting in settings}
    content = config.to_dict()
    training = {k: v for k, v in content["training"].items() if k not in ("seed", *FREE) or k in fixed}
    return content["task"], content["model"], training


def _written(value):
    return str(value).lower() if isinstance(value, bool) else value
