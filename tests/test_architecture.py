"""The picture in ARCHITECTURE.md holds: imports run downwards, between packages and rooms, and rooms stay small."""

import ast
import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# From the ground up: a room may import from what stands before it, never from what stands after it. What a package
# keeps beside its rooms is named like a room; "top" is all the rest of it.
FLOORS = {
    "wavefield": (
        "files progress checks values operators loops recordings simulation decoding drums capacity history "
        "plot_sheets plot top"
    ),
    "analysis": (
        "fields synthetic preprocess similarity plot spectra direction velocity phase events comparison working_memory "
        "readers top"
    ),
    "wavefield_torch": "recurrence models training inspection tasks top",
    "experiments": "sources tasks models segmenters config runs run benches reports top",
}
FLOORS = {package: floors.split() for package, floors in FLOORS.items()}
BELOW = {
    "wavefield": set(),
    "analysis": {"wavefield"},
    "wavefield_torch": {"wavefield"},
    "experiments": {"wavefield", "wavefield_torch", "analysis"},
}
MOST_MODULES = 12  # on one level of a package, its `__init__` not counted


def modules(package):
    return {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
        for path in sorted((ROOT / package).rglob("*.py"))
    }


def imported(path, known):
    """Modules that a file imports, wherever in it the import stands; what only types need does not count."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in known else node.module


def room(module):
    package, _, rest = module.partition(".")
    first = rest.partition(".")[0]
    return first if first in FLOORS[package] else "top"


KNOWN = {name: path for package in FLOORS for name, path in modules(package).items()}
ARROWS = [(module, other) for module, path in KNOWN.items() for other in imported(path, KNOWN) if other in KNOWN]


def test_packages_import_only_what_lies_below_them():
    assert len(ARROWS) > 300  # the walk found the project
    for module, other in ARROWS:
        source, target = module.partition(".")[0], other.partition(".")[0]
        assert source == target or target in BELOW[source], f"{module} imports {other}"


@pytest.mark.parametrize("package", FLOORS)
def test_rooms_import_only_what_lies_below_them(package):
    floor = {name: height for height, name in enumerate(FLOORS[package])}
    for module, other in ARROWS:
        if f"{module}.".startswith(f"{package}.") and other.startswith(f"{package}."):
            assert floor[room(other)] <= floor[room(module)], f"{module} imports {other}, which stands above it"


def test_no_circle_within_a_room():
    below = {module: {other for one, other in ARROWS if one == module and other != module} for module in KNOWN}
    packages = {module for module, path in KNOWN.items() if path.name == "__init__.py"}  # tables of contents
    left = {module: others - packages for module, others in below.items() if module not in packages}
    while free := [module for module, others in left.items() if not others & set(left)]:
        for module in free:
            del left[module]
    assert not left, f"these modules import each other: {sorted(left)}"


@pytest.mark.parametrize("package", FLOORS)
def test_no_folder_is_a_drawer(package):
    for folder in [ROOT / package, *(ROOT / package).rglob("*/")]:
        found = [path for path in folder.glob("*.py") if path.name != "__init__.py"]
        assert len(found) <= MOST_MODULES, f"{folder}: {len(found)} modules"


@pytest.mark.parametrize("package", FLOORS)
def test_every_room_says_what_it_is_for(package):
    for module, path in modules(package).items():
        assert ast.get_docstring(ast.parse(path.read_text())), f"{module} has no docstring"


@pytest.mark.parametrize(
    "package", ["wavefield", "wavefield.history", "wavefield_torch", "wavefield_torch.tasks", "analysis"]
)
def test_every_public_name_is_there_and_documented(package):
    found = importlib.import_module(package)
    assert sorted(set(found.__all__)) == sorted(found.__all__)
    for name in set(found.__all__) - {"__version__"}:
        assert getattr(found, name).__doc__, f"{package}.{name} has no docstring"


def test_the_page_names_every_room():
    page = (ROOT / "ARCHITECTURE.md").read_text()
    for package in FLOORS:
        rooms = {path.parent.name for path in (ROOT / package).rglob("__init__.py") if path.parent != ROOT / package}
        for name in rooms:
            assert re.search(rf"`{name}/`", page), f"ARCHITECTURE.md does not name {package}/{name}/"
