"""What the build adds to Sphinx: links of backticks, equations of docstrings, pictures, the help of the commands."""

from __future__ import annotations

import inspect
import os
import re
import subprocess
import sys
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed
from pathlib import Path

import pandas as pd
from docutils import nodes
from names import MODULES, find, public_names
from sphinx import addnodes

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent

OURS = ("wavefield", "wavefield_torch", "analysis", "experiments")
OTHERS = ("numpy", "scipy", "xarray", "torch", "matplotlib", "pandas", "dask", "pathlib", "functools")
AMBIGUOUS = {"recording", "spectrum", "task", "energy", "plane", "line", "ring"}  # as often a parameter or a word
COMMANDS = {
    "wavefield": ("simulate", "decode", "plot", "modes", "figure", "memory", "bench"),
    "analysis": ("import", "diagnose", "compare"),
    "experiments": ("run", "resume", "sweep", "reproduce", "report", "export", "memory", "waves", "demo", "bench"),
}


def version() -> str:
    """Return the version of the package, as it is installed."""
    try:
        return installed("wavefield")
    except PackageNotFoundError:
        return "unreleased"


def connect(app):
    """Register everything with Sphinx."""
    for module in MODULES:
        sys.modules.setdefault(module, find(module))  # for autodoc, which takes a module for a file of that name
    app.add_role("known", known)
    app.connect("builder-inited", generate)
    app.connect("autodoc-process-docstring", tidy, priority=400)  # before napoleon
    app.connect("missing-reference", plain_text_of_others, priority=900)  # after intersphinx
    return {"parallel_read_safe": True}


# Links
# -----------------------------------------------------------------------------------------------------------------

_PUBLIC: set[str] = set()


def _public():
    if not _PUBLIC:
        for module in MODULES:
            for name in public_names(module):
                _PUBLIC.add(f"{module}.{name}")
                value = getattr(find(module), name)
                if inspect.isclass(value):
                    _PUBLIC.update(f"{module}.{name}.{member}" for member in vars(value) if not member.startswith("_"))
    return _PUBLIC


def known(name, rawtext, text, lineno, inliner, options=None, content=None):
    """Turn `text` into a link if it is a public name, seen from the module that is described, and into code if not."""
    env = inliner.document.settings.env
    bare = text.removesuffix("()")
    here = env.ref_context.get("py:module")
    code = nodes.literal(rawtext, text, classes=["xref"] if bare in _public() else [])
    if bare in AMBIGUOUS:
        return [code], []
    places = [f"{module}.{bare}" for module in dict.fromkeys([here, *MODULES]) if module] + [bare]
    target = next((place for place in places if place in _public()), None)
    if target is None and not bare.startswith(tuple(f"{other}." for other in OTHERS)):
        return [code], []
    link = addnodes.pending_xref(
        rawtext, code, refdomain="py", reftype="obj", reftarget=target or bare, refexplicit=False, refwarn=True
    )
    link["refdoc"] = env.docname
    return [link], []


def plain_text_of_others(app, env, node, contnode):
    """Leave names of other projects, and the words of a type ("array_like", "shape"), as they are."""
    target = node.get("reftarget", "")
    if node.get("refdomain") != "py" or target.split(".")[0] in OURS:
        return None
    return contnode


# Docstrings
# ------------------------------------------------------------------------------------------------------------


def tidy(app, what, name, obj, options, lines):
    """Set the indented equations of a docstring as literal blocks, and escape the bars of |k| elsewhere."""
    lines[:] = escaped(with_literal_equations(lines))


def with_literal_equations(lines):
    """Return the lines, with `::` before every indented block that stands by itself under a paragraph."""
    out, before, verbatim = [], "", None
    for number, line in enumerate(lines):
        indent = len(line) - len(line.lstrip())
        if verbatim is not None and line.strip() and indent <= verbatim:
            verbatim = None
        blank_above = number > 0 and not lines[number - 1].strip()
        starts = line.strip() and blank_above and before and indent > len(before) - len(before.lstrip())
        if starts and verbatim is None and not _opens_block(before):
            out += [" " * (len(before) - len(before.lstrip())) + "::", ""]
            verbatim = len(before) - len(before.lstrip())
        if line.strip():
            if verbatim is None and _opens_block(line) and not re.match(r"\s*([-*]|\d+\.)\s", line):
                verbatim = indent
            before = line
        out.append(line)
    return out


def _opens_block(line):
    return line.rstrip().endswith("::") or bool(re.match(r"\s*(\.\. |[-*] |\d+\. |>>>|-{3,}\s*$)", line))


def escaped(lines):
    """Return the lines with `|` escaped, except in literal blocks, directives, examples and ``code``."""
    out, verbatim = [], None
    for line in lines:
        indent = len(line) - len(line.lstrip())
        if verbatim is not None and line.strip() and indent <= verbatim:
            verbatim = None
        if verbatim is None and line.strip():
            if line.rstrip().endswith("::") or line.lstrip().startswith(".. "):
                verbatim = indent
            elif not line.lstrip().startswith(">>>"):
                pieces = re.split(r"(``.*?``|`.*?`)", line)
                line = "".join(piece if piece.startswith("`") else piece.replace("|", r"\|") for piece in pieces)
        out.append(line)
    return out


# Generated files
# -------------------------------------------------------------------------------------------------------


def generate(app):
    """Draw the pictures, shorten the tables of `make validate`, and write the help of every command."""
    import pictures

    folder = DOCS / "_generated"
    (folder / "help").mkdir(parents=True, exist_ok=True)
    (folder / "pictures").mkdir(exist_ok=True)
    pictures.draw(folder / "pictures")
    validation = DOCS.parent / "experiments" / "results" / "validation"
    (folder / "validation").mkdir(exist_ok=True)
    for path in validation.glob("*.csv"):
        table = pd.read_csv(path)
        if "quantity" in table:  # comparisons with other packages have columns of their own
            table = table[["quantity", "value", "target"]]
        table.to_csv(folder / "validation" / path.name, index=False, float_format="%.3g")
    log = ROOT / "CHANGELOG.md"
    text = log.read_text(encoding="utf-8") if log.is_file() else "# Changelog\n\nThere is no release yet.\n"
    (folder / "changelog.md").write_text(text, encoding="utf-8")
    environment = os.environ | {"COLUMNS": "100", "NO_COLOR": "1", "PYTHONPATH": str(ROOT)}
    for package, commands in COMMANDS.items():
        for command in ("", *commands):
            call = [sys.executable, "-m", package, *([command] if command else []), "-h"]
            text = subprocess.run(call, capture_output=True, text=True, check=True, env=environment, cwd=ROOT).stdout
            (folder / "help" / f"{package}-{command or 'all'}.txt").write_text(text, encoding="utf-8")


def fresh_state(gallery_conf, name):
    """Give every tutorial the same defaults: plain Matplotlib with readable sizes, and no files left open."""
    import matplotlib.pyplot as plt

    plt.rcdefaults()
    plt.rcParams.update(
        {"figure.dpi": 110, "savefig.dpi": 110, "font.size": 10, "axes.spines.top": False, "axes.spines.right": False}
    )
