"""The reference lists every public name, and every public name says what it is."""

from __future__ import annotations

import importlib.util
import inspect
import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs"

_spec = importlib.util.spec_from_file_location("docs_names", DOCS / "names.py")
names = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(names)


def _listed():
    """Return the names that the pages of the reference list."""
    pages = (path.read_text(encoding="utf-8") for path in (DOCS / "api").glob("*.rst"))
    return re.findall(r"^   ~([\w.]+)$", "\n".join(pages), flags=re.MULTILINE)


@pytest.mark.parametrize("module", names.MODULES)
def test_the_reference_lists_every_public_name_once(module):
    listed = [name for name in _listed() if name.rpartition(".")[0] == module]
    assert sorted(listed) == sorted(f"{module}.{name}" for name in names.public_names(module))


def test_every_name_in_a_package_is_public_or_a_module_of_the_reference():
    for package in ("wavefield", "wavefield_torch", "analysis"):
        found = names.find(package)
        modules = {f"{package}.{name}" for name in found.__all__ if inspect.ismodule(getattr(found, name))}
        assert modules <= set(names.MODULES)


@pytest.mark.parametrize("module", names.MODULES)
def test_every_public_name_has_a_docstring_that_begins_with_a_sentence(module):
    for name in names.public_names(module):
        lines = (inspect.getdoc(getattr(names.find(module), name)) or "").splitlines()
        assert lines, f"{module}.{name} has no docstring"
        summary = " ".join(lines[: lines.index("")] if "" in lines else lines)
        assert summary.endswith((".", "?", ":")), f"{module}.{name}: {summary!r} is not a sentence"
