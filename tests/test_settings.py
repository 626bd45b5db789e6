"""A second list of the choices that are no numbers: `tests/settings.csv`.

Numbers stand in `tests/thresholds.csv`; here are the words and truth values that fields of a config and arguments of
networks, readouts and tools have by default, and which configs, settings and formats a table of the paper asks for.
What changes one by accident has to change two files; what each *does* is held by the tests of its room.
"""

import ast
import csv
import json
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
FIELDS = ("experiments/config.py", "experiments/models.py", "experiments/segmenters.py", "experiments/tasks")
ARGUMENTS = ("models", "inspection", "recurrence/scan.py", "recurrence/sheet/scan.py")


def constant(node):
    """A default that is a word, a truth value or several of a kind, as such or in a ``Field``; None of any other."""
    if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Field":
        node = next((word.value for word in node.keywords if word.arg == "default"), None)
    try:
        found = None if node is None else ast.literal_eval(node)
    except ValueError:
        return None
    return None if type(found) in (int, float) else found


def settings():
    """Yield (file, key, value) of all of them."""
    for path in sorted((ROOT / "experiments" / "tables").glob("*.toml")):
        table = tomllib.loads(path.read_text(encoding="utf-8"))
        yield f"tables/{path.name}", f"{table['column']}", table["values"]
        for row in table["row"]:
            yield f"tables/{path.name}", row["label"], [row["config"], *row.get("settings", ())]
        for figure in table["figure"]:
            yield f"tables/{path.name}", figure["key"], figure["format"]
    folders = [ROOT / name for name in FIELDS] + [ROOT / "wavefield_torch" / name for name in ARGUMENTS]
    for path in (p for f in folders for p in (sorted(f.rglob("*.py")) if f.is_dir() else [f])):
        file = path.relative_to(ROOT).as_posix()
        for top in ast.parse(path.read_text(encoding="utf-8")).body:
            for node in [top, *getattr(top, "body", ())] if isinstance(top, ast.ClassDef) else [top]:
                where = getattr(top, "name", "") if node is top else f"{top.name}.{getattr(node, 'name', '')}"
                if isinstance(node, ast.AnnAssign) and (value := constant(node.value)) is not None:
                    yield file, f"{where}{ast.unparse(node.target)}", value
                if isinstance(node, ast.FunctionDef):
                    given = node.args.posonlyargs + node.args.args
                    pairs = list(zip(given[len(given) - len(node.args.defaults) :], node.args.defaults, strict=True))
                    pairs += zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True)
                    for argument, default in pairs:
                        if (value := constant(default)) is not None:
                            yield file, f"{where}({argument.arg})", value


def test_settings_are_those_of_the_second_list():
    with open(Path(__file__).with_name("settings.csv"), newline="", encoding="utf-8") as file:
        listed = {(row["file"], row["key"]): row["value"] for row in csv.DictReader(file)}
    every = [((file, key), json.dumps(value, ensure_ascii=False)) for file, key, value in settings()]
    found = dict(every)
    assert len(found) == len(every)  # no two of one name
    changed = {" ".join(key): f"{listed[key]} here, {value} there" for key, value in found.items()
               if key in listed and listed[key] != value}  # fmt: skip
    assert not changed
    assert not listed.keys() - found.keys(), "no longer there: take the line out"
    assert not found.keys() - listed.keys(), "settings that are not in the second list"
