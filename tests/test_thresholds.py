"""A second list of every number that decides: `tests/thresholds.csv` says what each is, and for what.

A threshold, a number of cosines, a prior, a factor in the middle of a function, the default of an argument or of a
setting, a rate in a config: what changes one by accident has to change two files. What each *does* is held by the tests
of its room.
"""

import ast
import csv
import re
import tomllib
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[1]
LISTED = ("analysis", "wavefield", "experiments")
LISTED += tuple(f"wavefield_torch/{room}" for room in ("tasks", "training", "models", "inspection"))
PLAIN = (0, 0.5, 1, 2)  # of numbers within a function those that say nothing by themselves, …
LEAST = 2e-6  # … and those that are only there for rounding
BESIDE = re.compile(r"/(bench\w*|loops|plot\w*|figures|report|cli|__main__|version)(/|\.py)|_(BYTES|SAMPLES|ROWS)$")


def numbers(value):
    """The numbers in a constant expression as text, None where it is another one."""
    try:
        found = eval(ast.unparse(value), {"__builtins__": {}, "np": np})
    except (NameError, TypeError, SyntaxError, AttributeError):
        return None
    flat = found.values() if isinstance(found, dict) else found if isinstance(found, tuple) else [found]
    plain = all(isinstance(one, int | float) and not isinstance(one, bool) for one in flat)
    return " ".join(f"{one:.6g}" for one in flat) if plain and len(flat) else None


def defaults(node):
    """Yield (argument, default) of a function."""
    arguments = node.args.posonlyargs + node.args.args
    yield from zip(arguments[len(arguments) - len(node.args.defaults) :], node.args.defaults, strict=True)
    yield from (pair for pair in zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True) if pair[1])


def within(node):
    """The numbers with a point in a function, as text, but for those that say nothing by themselves."""
    every = [inner.value for line in node.body for inner in ast.walk(line) if isinstance(inner, ast.Constant)]
    return " ".join(f"{n:.6g}" for n in every if isinstance(n, float) and abs(n) not in PLAIN and abs(n) > LEAST)


def in_functions(body, name):
    """Yield (name, value) of the defaults and numbers of all functions and of the fields of classes."""
    for node in body:
        if isinstance(node, ast.ClassDef):
            yield from in_functions(node.body, f"{name}.{node.name}")
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value:
            options = [word.value for word in node.value.keywords] if isinstance(node.value, ast.Call) else [node.value]
            found = [text for text in map(numbers, options) if text]
            if found:
                yield f"{name}.{node.target.id}", " ".join(found)
        elif isinstance(node, ast.FunctionDef):
            for argument, default in defaults(node):
                if found := numbers(default):
                    yield f"{name}.{node.name}({argument.arg})", found
            if found := within(node):
                yield f"{name}.{node.name}: in it", found


def decisive():
    """Yield (name, value) of all constants, defaults and numbers in functions, and of those of the configs."""
    for path in sorted(path for folder in LISTED for path in (ROOT / folder).rglob("*.py")):
        name = str(path.relative_to(ROOT).with_suffix("")).replace("/", ".")
        tree = ast.parse(path.read_text())
        for node in tree.body:
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                found = numbers(node.value)
                if node.targets[0].id.isupper() and found and not BESIDE.search(f"/{path}:{node.targets[0].id}"):
                    yield f"{name}.{node.targets[0].id}", found
        if not BESIDE.search(f"/{path}"):
            yield from in_functions(tree.body, name)
    for path in sorted((ROOT / "experiments" / "configs").glob("*.toml")):
        content = tomllib.loads(path.read_text(encoding="utf-8"))
        rooms = {room: content[room] for room in ("task", "model", "training")}
        rooms |= {f"where {chosen['when']}": chosen["set"] for chosen in content.get("selected", ())}
        for room, settings in rooms.items():
            yield from ((f"{path.name}: {room}.{key}", str(value)) for key, value in settings.items() if key != "kind")


def test_numbers_that_decide_are_those_of_the_second_list():
    with open(Path(__file__).with_name("thresholds.csv"), newline="") as file:
        listed = {row["name"]: row["value"] for row in csv.DictReader(file)}
    found = dict(decisive())
    changed = {name: f"{value} here, {found[name]} in the code" for name, value in listed.items()
               if name in found and found[name] != value}  # fmt: skip
    assert not changed
    assert not listed.keys() - found.keys(), "no longer there: take the line out"
    assert not found.keys() - listed.keys(), [f"{name},{found[name]},…" for name in found.keys() - listed.keys()]
