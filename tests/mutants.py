"""Small errors planted one by one in the modules that hold formulas: which of them does no test notice?

`make mutants` plants, in every module of a piece, a changed number, comparison, sign, operator or function, one at a
time, and runs the tests that pass through that line. Survivors are listed in `experiments/results/mutants/`, each with
the reason why it may live, which the table keeps from run to run; it is written module by module, so that what is done
is kept. `--sample 20` plants twenty errors in each module, drawn at random, where a whole piece would take too long.
Nothing on the disk is changed: a fork of this process, which has the libraries imported, loads the module with the
error in it. (mutmut leaves numbers outside of functions alone, and here the thresholds stand there; cosmic-ray starts
Python anew for each error.)
"""

import argparse
import ast
import csv
import importlib
import json
import os
import random
import re
import signal
import sys
import tempfile
import time
from importlib.machinery import SourceFileLoader
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
TABLES = ROOT / "experiments" / "results" / "mutants"
LIBRARIES = ("h5netcdf", "matplotlib.pyplot", "numba", "numpy", "scipy.signal", "scipy.stats", "torch", "xarray")
PIECES = {  # modules, and where their tests are; each fits an hour on an idle core
    "p-values": (
        "analysis/direction/[psi]*.py analysis/direction/doubts.py analysis/direction/motion.py "
        "analysis/comparison/distances.py",
        "tests/analysis/direction tests/analysis/comparison/test_boundaries.py",
    ),
    "intervals": (
        "analysis/velocity/result.py analysis/velocity/chance.py analysis/velocity/stacking.py "
        "analysis/comparison/contrast.py analysis/comparison/common_axes.py analysis/comparison/evoked.py",
        "tests/analysis/velocity/test_intervals.py tests/analysis/velocity/test_stack.py "
        "tests/analysis/comparison/test_boundaries.py tests/analysis/comparison/test_evoked.py",
    ),
    "verdicts": ("analysis/diagnosis.py", "tests/analysis/test_verdicts.py tests/analysis/test_diagnose.py"),
    "units": (
        "analysis/fields/*.py analysis/readers/units.py wavefield/simulation/units.py",
        "tests/analysis/fields tests/wavefield/simulation/test_units.py",
    ),
    "events": ("analysis/events/*.py", "tests/analysis/events"),
    "symbols": (
        "wavefield/operators/dispersion.py wavefield/operators/equations.py wavefield/operators/energy.py",
        "tests/wavefield/operators",
    ),
    "confidence": (
        "wavefield/decoding/noise.py wavefield/decoding/dense.py wavefield/decoding/estimate.py "
        "wavefield/decoding/sparse/posterior.py wavefield/decoding/sparse/reader.py",
        "tests/wavefield/decoding/test_laws.py tests/wavefield/decoding/test_decode.py "
        "tests/wavefield/decoding/test_estimate.py",
    ),
    "phases": ("analysis/phase/*.py", "tests/analysis/phase"),
    "filters": ("analysis/preprocess.py", "tests/analysis/test_preprocess.py"),
    "ridges": (
        "analysis/spectra/dispersion.py analysis/velocity/ridge_centroid.py analysis/velocity/fronts.py",
        "tests/analysis/velocity/test_laws.py tests/analysis/velocity/test_dispersion.py",
    ),
    "first-weights": (
        "wavefield_torch/models/initialization.py wavefield_torch/models/medium_rnn.py",
        "tests/wavefield_torch/models/test_initial_values.py tests/wavefield_torch/models/test_medium_rnn.py",
    ),
    "tasks": ("wavefield_torch/tasks/[achp]*.py wavefield_torch/tasks/segmentation.py", "tests/wavefield_torch/tasks"),
}
SWAPPED = {
    "<": "<=", "<=": "<", ">": ">=", ">=": ">", "==": "!=", "!=": "==", "+": "-", "-": "+", "*": "/", "/": "*",
    "**": "*", "//": "/", "%": "*", "&": "|", "|": "&", "and": "or", "or": "and", "min": "max", "max": "min",
    "minimum": "maximum", "maximum": "minimum", "sin": "cos", "cos": "sin", "real": "imag", "imag": "real",
    "any": "all", "all": "any", "argmax": "argmin", "argmin": "argmax", "floor": "ceil", "ceil": "floor",
    "median": "mean", "mean": "median", "True": "False", "False": "True", "norm": "cauchy", "logical_or": "logical_and",
}  # fmt: skip
SPARED = (ast.Raise, ast.JoinedStr, ast.Assert)  # what is said, not what is computed
SLOWEST = 20.0  # seconds: what a test may take beyond thrice its time before it counts as caught


def mutants(source: str):
    """Yield (line, old, new, source with the error) for every error that can be planted in `source`."""
    lines = source.splitlines(keepends=True)
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line))

    def place(line, byte):
        return starts[line - 1] + len(lines[line - 1].encode()[:byte].decode())

    def planted(start, stop, new):
        line = source.count("\n", 0, start) + 1
        return line, source[start:stop], new, source[:start] + new + source[stop:]

    def between(left, right):  # the operator between two operands
        start, stop = place(left.end_lineno, left.end_col_offset), place(right.lineno, right.col_offset)
        for found in re.finditer(r"\*\*|//|<=|>=|==|!=|\band\b|\bor\b|[-+*/%&|<>]", source[start:stop]):
            if found[0] in SWAPPED:
                yield planted(start + found.start(), start + found.end(), SWAPPED[found[0]])
                return

    def visit(node):
        if isinstance(node, SPARED) or getattr(getattr(node, "func", None), "attr", "") == "warn":
            return
        start, stop = (place(node.lineno, node.col_offset), place(node.end_lineno, node.end_col_offset)) if hasattr(
            node, "lineno") else (0, 0)  # fmt: skip
        if isinstance(node, ast.Constant) and isinstance(node.value, bool):
            yield planted(start, stop, str(not node.value))
        elif isinstance(node, ast.Constant) and isinstance(node.value, int | float) and 1e-6 < abs(node.value) < 1e6:
            yield planted(start, stop, str(node.value + 1 if isinstance(node.value, int) else 1.25 * node.value))
        elif isinstance(node, ast.BinOp):
            yield from between(node.left, node.right)
        elif isinstance(node, ast.Compare):
            for left, right in zip([node.left, *node.comparators], node.comparators, strict=False):
                yield from between(left, right)
        elif isinstance(node, ast.BoolOp):
            yield from between(*node.values[:2])
        elif isinstance(node, ast.UnaryOp) and not isinstance(node.op, ast.UAdd):
            word = "not " if isinstance(node.op, ast.Not) else source[start]
            yield planted(start, start + len(word), "")
        elif isinstance(node, ast.Attribute) and node.attr in SWAPPED:
            yield planted(stop - len(node.attr), stop, SWAPPED[node.attr])
        elif isinstance(node, ast.Name) and node.id in ("min", "max"):
            yield planted(start, stop, SWAPPED[node.id])
        for name, field in ast.iter_fields(node):
            if name in ("annotation", "returns", "decorator_list", "type_params"):
                continue
            for child in field if isinstance(field, list) else [field]:
                if isinstance(child, ast.AST):
                    yield from visit(child)

    yield from visit(ast.parse(source))


class Watch:
    """A pytest plugin: which lines of some files each test passes, in what time, and which test failed first."""

    def __init__(self, paths=()):
        self.paths, self.passed, self.failed = set(paths), {}, None

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item):
        lines, start = {path: set() for path in self.paths}, time.perf_counter()

        def inside(frame, event, _):
            lines[frame.f_code.co_filename].add(frame.f_lineno)
            return inside

        if self.paths:
            sys.settrace(lambda frame, event, _: inside if frame.f_code.co_filename in self.paths else None)
        done = yield
        sys.settrace(None)
        took = time.perf_counter() - start
        self.passed[item.nodeid] = (took, {path: sorted(passed) for path, passed in lines.items()})
        return done

    def pytest_runtest_logreport(self, report):
        if report.failed and self.failed is None:
            self.failed = report.nodeid

    def pytest_collectreport(self, report):
        if report.failed and self.failed is None:
            self.failed = report.nodeid


def run(tests, path=None, source=None, *, limit=0, trace=()):
    """What a fork of this process finds when it runs `tests` with `source` in place of the file at `path`.

    The lines that the tests pass are noted of the files in `trace`.
    """
    with tempfile.NamedTemporaryFile("r") as answer:
        if (child := os.fork()) == 0:
            try:
                signal.alarm(int(limit))
                os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
                plain = SourceFileLoader.get_code

                def get_code(loader, name):
                    return compile(source, path, "exec") if source and loader.path == path else plain(loader, name)

                SourceFileLoader.get_code = get_code
                watch = Watch(trace)
                code = pytest.main([*([] if trace else ["-x"]), "-p", "no:cacheprovider", *tests], plugins=[watch])
                Path(answer.name).write_text(json.dumps([int(code), watch.failed, watch.passed]))
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        text = answer.read()
    return json.loads(text) if text else [1, "out of time", {}]


def passing(line, source, path, seen):
    """The tests, quick ones first, that pass `line`, or, outside of functions, one that reads what it defines."""
    tree, lines, inside = ast.parse(source), {line}, False
    for node in ast.walk(tree):
        if isinstance(node, ast.stmt) and node.lineno <= line <= node.end_lineno:
            last = node.body[0].lineno - 1 if getattr(node, "body", None) else node.end_lineno
            function = isinstance(node, ast.FunctionDef)
            inside |= function and line > last
            if line <= max(last, node.lineno):  # its header; the default of an argument counts wherever it is used
                lines |= set(range(node.lineno, (node.end_lineno if function else last) + 1))
    if not inside:
        top = next(node for node in tree.body if node.lineno <= line <= node.end_lineno)
        names = {node.id for node in ast.walk(top) if isinstance(node, ast.Name)} | {getattr(top, "name", "")}
        lines |= {n for n, text in enumerate(source.splitlines(), 1) if names & set(re.findall(r"\w+", text))}
    chosen = [(took, test) for test, (took, passed) in seen.items() if lines & set(passed[path])]
    return sorted(chosen) or ([] if inside else sorted((took, test) for test, (took, _) in seen.items()))


def survivors(path, seen, sample):
    """(how many errors were planted in the file at `path`, those that no test notices), with progress on stderr."""
    source, alive = path.read_text(), []
    planted = list(mutants(source))
    if sample and sample < len(planted):
        planted = random.Random(path.name).sample(planted, sample)
    for number, (line, old, new, wrong) in enumerate(planted, start=1):
        chosen = passing(line, source, str(path), seen)
        limit = SLOWEST + 5 * sum(took for took, _ in chosen)
        if not chosen or not run([test for _, test in chosen], str(path), wrong, limit=limit)[0]:
            text = source.splitlines()[line - 1].strip()
            alive.append({"line": text, "old": old, "new": new, "tests": len(chosen)})
            print(f"{path.name}:{line}: {old} -> {new}    {text}", flush=True)
        print(f"\r{path.name} {number}/{len(planted)}, {len(alive)} alive ", end="", file=sys.stderr)
    return len(planted), alive


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pieces", nargs="*", help=f"of {list(PIECES)}; all by default")
    parser.add_argument("--sample", type=int, default=0, help="errors in each module; all by default")
    options = parser.parse_args()
    os.chdir(ROOT)
    sys.path.insert(0, str(ROOT))
    for library in LIBRARIES:
        importlib.import_module(library)
    for piece in options.pieces or list(PIECES):
        modules, tests = PIECES[piece]
        paths = sorted({path for pattern in modules.split() for path in ROOT.glob(pattern)})
        code, failed, seen = run(tests.split(), trace=[str(path) for path in paths])
        if code:
            raise SystemExit(f"{failed or tests} fails without any error planted: mend it first")
        table = TABLES / f"{piece}.csv"
        rows = read(table)
        for path in paths:
            name = str(path.relative_to(ROOT))
            planted, alive = survivors(path, seen, options.sample)
            why = {tuple(row[2:5]): row[5] for row in rows if row[0] == name}
            rows = [row for row in rows if row[0] != name]
            rows.append([name, planted, f"{planted - len(alive)} caught", "", "", ""])
            for row in alive:
                key = (row["line"], row["old"], row["new"])
                rows.append([name, 1, *key, why.get(key, "NOT EXPLAINED")])
            write(table, sorted(rows, key=lambda row: row[0]))  # what is done is kept if the rest is stopped


def read(table):
    """The rows of a table of survivors, none where there is no table yet."""
    if not table.exists():
        return []
    with open(table, newline="") as file:
        return list(csv.reader(file))[1:]


def write(table, rows):
    """Write a table of survivors."""
    table.parent.mkdir(parents=True, exist_ok=True)
    with open(table, "w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([["module", "planted", "line", "old", "new", "why"], *rows])


if __name__ == "__main__":
    main()
