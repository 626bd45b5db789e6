"""A second list of every number that decides: `tests/thresholds.csv` says what each is, and for what.

A threshold, a number of cosines, a prior, the default of a public argument: what changes one by accident has to change
two files. What each *does* is held by the tests of its room.
"""

import ast
import csv
import re
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[1]
LISTED = ("analysis", "wavefield", "wavefield_torch/tasks", "wavefield_torch/training", "experiments")
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


def decisive():
    """Yield (name, value) of all constants and defaults that are numbers."""
    for path in sorted(path for folder in LISTED for path in (ROOT / folder).rglob("*.py")):
        name = str(path.relative_to(ROOT).with_suffix("")).replace("/", ".")
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                found = numbers(node.value)
                if node.targets[0].id.isupper() and found and not BESIDE.search(f"/{path}:{node.targets[0].id}"):
                    yield f"{name}.{node.targets[0].id}", found
            elif isinstance(node, ast.FunctionDef) and not node.name.startswith("_") and not BESIDE.search(f"/{path}"):
                arguments = node.args.posonlyargs + node.args.args
                given = list(
                    zip(arguments[len(arguments) - len(node.args.defaults) :], node.args.defaults, strict=True)
                )
                given += [pair for pair in zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True) if pair[1]]
                for argument, default in given:
                    if found := numbers(default):
                        yield f"{name}.{node.name}({argument.arg})", found


def test_numbers_that_decide_are_those_of_the_second_list():
    with open(Path(__file__).with_name("thresholds.csv"), newline="") as file:
        listed = {row["name"]: row["value"] for row in csv.DictReader(file)}
    found = dict(decisive())
    changed = {name: f"{value} here, {found[name]} in the code" for name, value in listed.items()
               if name in found and found[name] != value}  # fmt: skip
    assert not changed
    assert not listed.keys() - found.keys(), "no longer there: take the line out"
    assert not found.keys() - listed.keys(), [f"{name},{found[name]},…" for name in found.keys() - listed.keys()]
