"""A run is a config: task, model and training, each checked before anything starts.

A config is a TOML file of three tables, `[task]`, `[model]` and `[training]`. Two more are optional: `[[selected]]`,
what the paper chose where its choice depends on the task (`when` names the settings, `set` what follows from them), and
`[search]`, the values that a sweep tries.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Sequence
from dataclasses import asdict, fields
from functools import cache
from pathlib import Path
from typing import Annotated, get_args, get_type_hints

import pydantic
from pydantic import Field
from pydantic.dataclasses import dataclass

from experiments.models import Model
from experiments.segmenters import Segmenting
from experiments.sources import CONFIGS
from experiments.tasks.problems import Task
from experiments.tasks.segmentation import Segmentation
from experiments.tasks.strict import STRICT

OPTIONS = ("data", "device", "checkpoint", "budget", "output")  # of commands, which are no settings of a run


class ConfigError(ValueError):
    """A config, or a setting given with it, is not acceptable."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Training:
    """How a model is trained: Adam, clipping, the schedule of the learning rate, and when to evaluate."""

    steps: int | None = Field(default=None, gt=0)  # of tasks without end
    epochs: int | None = Field(default=None, gt=0)  # of data sets
    batch_size: int = Field(gt=0)
    learning_rate: float = Field(gt=0)
    weight_decay: float = Field(default=0.0, ge=0)  # L2, in the gradient
    drop_factor: float = Field(default=1.0, ge=1)  # the learning rate is divided by it …
    drop_every: int = Field(default=0, ge=0)  # … every so many epochs (steps where there are none); 0: never
    clip: float = Field(default=0.0, ge=0)  # norm of the gradient; 0: none
    evaluate_every: int = Field(gt=0)  # steps
    patience: int = Field(default=0, ge=0)  # evaluations without a better score before stopping; 0: no early stop
    stop_when_solved: bool = False  # by our definition and, where there is one, the published code's
    record_at: tuple[int, ...] = ()  # steps at which hidden states are recorded
    seed: int = Field(default=0, ge=0)

    def __post_init__(self):
        if (self.steps is None) == (self.epochs is None):
            raise ValueError("either steps or epochs must be given: steps of tasks without end, epochs of data sets")
        if any(step < 0 for step in self.record_at):
            raise ValueError(f"record_at must hold steps of at least 0, got {list(self.record_at)}")


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Config:
    """All settings of one run."""

    name: str = Field(pattern=r"^[\w.-]+$")
    task: Annotated[Task, Field(discriminator="kind")]
    model: Annotated[Model | Segmenting, Field(discriminator="kind")]
    training: Training

    def __post_init__(self):
        if self.task.kind == "history" and getattr(self.model, "readout", "linear") != "linear":
            raise ValueError(f"model.readout must be linear on history tasks, got {self.model.readout!r}")
        if not isinstance(self.model, _models_of(self.task.kind)):
            known = ", ".join(kind for cls in _models_of(self.task.kind) for kind in _kinds(cls))
            raise ValueError(f"model.kind must be one of {known} on {self.task.kind}, got {self.model.kind!r}")

    def to_dict(self) -> dict:
        """Return it as nested plain values, without what is None."""
        return {
            key: {k: v for k, v in value.items() if v is not None} if isinstance(value, dict) else value
            for key, value in asdict(self).items()
        }


_CHECKED = pydantic.TypeAdapter(Config)


def load_config(source: str | Path, settings: Sequence[str] = ()) -> Config:
    """Return the config of a file, or of that name among those that come with the package, with settings changed.

    Parameters
    ----------
    source : str or path
        ``copy-wrnn``, or a TOML file.
    settings : sequence of str
        ``key=value``, the key as in the file (``delay=30``), with its table where that is needed
        (``model.kind=irnn``).

    Raises
    ------
    ConfigError
        For an unknown file, key, type or value, naming it and what is accepted.
    """
    return resolve(read_source(source), settings)


def read_source(source: str | Path) -> dict:
    """Return the tables of a config file, with its name."""
    path = Path(source)
    if path.suffix != ".toml":
        path = CONFIGS / f"{source}.toml"
        if not path.is_file():
            known = ", ".join(sorted(p.stem for p in CONFIGS.glob("*.toml")))
            raise ConfigError(f"no config {str(source)!r}: give a .toml file or one of {known}")
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8-sig"))  # with the mark of Windows, or without
    except FileNotFoundError:
        raise ConfigError(f"no config file {path}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not a TOML file: {error}") from None
    except RecursionError:
        raise ConfigError(f"{path} is not a config: its values are nested too deeply") from None
    source = {"name": path.stem} | tables
    _check_shape(source)
    return source


def _check_shape(source):
    """Check that tables are where tables belong; their contents are checked when a config is made of them."""
    for key in ("task", "model", "training", "search"):
        if not isinstance(source.get(key, {}), dict):
            raise ConfigError(f"config {source['name']!r}: {key} must be a table [{key}], got {source[key]!r}")
    for key, values in source.get("search", {}).items():
        if not (isinstance(values, list) and values):
            raise ConfigError(f"config {source['name']!r}: search.{key} must list the values to try, got {values!r}")
    choices = source.get("selected", [])
    for choice in choices if isinstance(choices, list) else [choices]:
        found = {key: type(value) for key, value in choice.items()} if isinstance(choice, dict) else None
        if found != {"when": dict, "set": dict}:
            wanted = "every [[selected]] must hold the tables when and set, and nothing else"
            raise ConfigError(f"config {source['name']!r}: {wanted}, got {choice!r}")


def resolve(source: dict, settings: Sequence[str] = ()) -> Config:
    """Return the config of tables read from a file, the requested settings applied first.

    Then follow the choices of the paper that belong to them, where the settings do not say otherwise.
    """
    tables = {key: dict(value) if isinstance(value, dict) else value for key, value in source.items()}
    selected = tables.pop("selected", [])
    tables.pop("search", None)
    requested = [_place(tables, setting) for setting in settings]
    for table, key, value in requested:
        tables.setdefault(table, {})[key] = value
    given = {key for _, key, _ in requested}
    for choice in selected:
        if all(_lookup(tables, key) == value for key, value in choice["when"].items()):
            for key, value in choice["set"].items():
                if key not in given:
                    table, key = _find(tables, key)
                    tables.setdefault(table, {})[key] = value
    try:  # as JSON, in which tables and lists are what they are in TOML
        return _CHECKED.validate_json(json.dumps(tables, default=str))
    except pydantic.ValidationError as error:
        raise ConfigError(_explain(error, tables)) from None
    except RecursionError:
        raise ConfigError(f"config {source['name']!r} is not acceptable: its values are nested too deeply") from None


def to_toml(config: Config) -> str:
    """Return a config as the text of a file that `load_config` reads back to the same config."""
    lines = []
    for key, value in config.to_dict().items():
        if isinstance(value, dict):
            lines += ["", f"[{key}]", *(f"{k} = {json.dumps(v)}" for k, v in value.items())]
        else:
            lines.append(f"{key} = {json.dumps(value)}")
    return "\n".join(lines) + "\n"


# ------------------------------------------------------------------------------------------------ settings by key


def _place(tables, setting):
    """(table, key, value) of ``key=value``."""
    key, equals, text = setting.partition("=")
    if not equals or not key or not text:
        raise ConfigError(f"a setting is written key=value, got {setting!r}")
    table, key = _find(tables, key.strip())
    value = _value(text.strip())
    if isinstance(value, float) and value.is_integer() and key in _fields(tables, int).get(table, ()):
        value = int(value)  # 2e4 steps
    return table, key, value


def _find(tables, key):
    """(table, key) of a key with or without its table."""
    table, dot, rest = key.partition(".")
    if dot and table in ("task", "model", "training"):
        return table, rest
    fields = _fields(tables)
    homes = [table for table, names in fields.items() if key in names]
    if len(homes) == 1:
        return homes[0], key
    if homes:
        written = " or ".join(f"{home}.{key}" for home in homes)
        raise ConfigError(f"{key} is a key of {' and '.join(homes)}: write {written}")
    known = ", ".join(sorted({name for names in fields.values() for name in names}))
    elsewhere = f", it belongs to {others}" if (others := _owners(key, _kind_of_task(tables))) else ""
    if key in OPTIONS:
        elsewhere = f", it is an option of the command: --{key} VALUE"
    raise ConfigError(f"unknown key {key!r}{elsewhere}: known are {known}")


def _owners(key, task=None):
    """The tasks and models that have a setting, as text; of models those that the kind of task takes, if any do."""
    owners = [(table, cls) for table, cls in _classes() if key in _names(cls)]
    if task is not None:
        fitting = [(table, cls) for table, cls in owners if table == "task" or cls in _models_of(task)]
        owners = fitting or owners
    return ", ".join(f"{table} {kind}" for table, cls in owners for kind in _kinds(cls))


def _fields(tables, kind=None):
    """Names of the keys that each table can have, given the kinds of task and model; with `kind` those of that type."""
    found = {"training": _names(Training, kind)}
    for table, cls in _classes():
        if tables.get(table, {}).get("kind") in _kinds(cls):
            found[table] = _names(cls, kind)
    return found


def _classes():
    """(table, class of its settings) of all tasks and models."""
    return [(table, cls) for table, kinds in (("task", Task), ("model", Model | Segmenting)) for cls in get_args(kinds)]


def _kind_of_task(tables):
    task = tables.get("task")
    return task.get("kind") if isinstance(task, dict) else None


def _models_of(task):
    """Classes of the models that a kind of task takes: of images where every pixel has a class, else of sequences."""
    segments = any(task in _kinds(cls) for cls in get_args(Segmentation))
    return get_args(Segmenting if segments else Model)


@cache  # types are written as text, which takes long to understand
def _names(cls, kind=None):
    types = get_type_hints(cls)
    return frozenset(f.name for f in fields(cls) if kind is None or types[f.name] in (kind, kind | None))


@cache
def _kinds(cls):
    return get_args(get_type_hints(cls)["kind"])


def _lookup(tables, key):
    """The value of a key; None of a key of another task or model."""
    if "." not in key and _owners(key) and not any(key in names for names in _fields(tables).values()):
        return None
    table, key = _find(tables, key)
    return tables.get(table, {}).get(key)


def _value(text):
    """A value as TOML has it, or as people write it: True, .001, 1."""
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    if re.fullmatch(r"[+-]?(\.\d+|\d+\.)([eE][+-]?\d+)?", text):
        return float(text)
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except (tomllib.TOMLDecodeError, RecursionError):
        return text


def _foreign(path, table, tables):
    """Why a key of a table is not accepted: whose it is, and what is accepted."""
    if len(path) == 1:
        return "unexpected table, a config has name, [task], [model], [training], [[selected]] and [search]"
    kind = table.get("kind") if isinstance(table, dict) else None
    known = ", ".join(sorted(_fields(tables).get(path[0], ())))
    owners = _owners(path[-1], _kind_of_task(tables))
    belongs = f"it belongs to {owners}" if owners else "no task or model has it"
    whose = f", and the {path[0]} here is {kind}" if kind else ""
    return f"unexpected key, {belongs}{whose}: take it out of the config; known are {known}"


def _short(problem, most=80):
    """The value that was given, if it is not long."""
    text = repr(problem["input"])
    return text if len(text) <= most else f"{text[:most]}…"


def _explain(error, tables):
    lines = []
    for problem in error.errors():
        path = [str(part) for part in problem["loc"]]
        table = tables.get(path[0]) if path else None
        path = [part for part in path if not (isinstance(table, dict) and part == table.get("kind"))]
        if problem["type"] == "union_tag_not_found":
            classes = get_args({"task": Task, "model": Model | Segmenting}[path[0]])
            problem["msg"] = f"kind must be given, one of {', '.join(kind for cls in classes for kind in _kinds(cls))}"
        if problem["type"] == "unexpected_keyword_argument":
            problem["msg"] = _foreign(path, table, tables)
        given = "" if problem["type"] in ("missing", "unexpected_keyword_argument") else f", got {_short(problem)}"
        if isinstance(problem["input"], dict):
            given = ""
        lines.append(": ".join(filter(None, [".".join(path), f"{problem['msg']}{given}"])))
    return f"config {tables.get('name')!r} is not acceptable:\n  " + "\n  ".join(lines)
