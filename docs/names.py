"""The public names that the reference has to describe."""

from __future__ import annotations

import importlib
import inspect

MODULES = (
    "wavefield",
    "wavefield.history",
    "wavefield.plot",
    "wavefield.plot_sheets",
    "wavefield.figures",
    "wavefield_torch",
    "wavefield_torch.tasks",
    "analysis",
    "analysis.plot",
    "analysis.plot_memory",
    "analysis.preprocess",
    "analysis.readers",
    "analysis.report",
    "analysis.similarity",
    "analysis.synthetic",
)


def find(name: str):
    """Return the object of a dotted name: `analysis.report` is an attribute of `analysis`, and no file of that name."""
    parts = name.split(".")
    found = importlib.import_module(parts[0])
    for number, part in enumerate(parts[1:], start=2):
        if not hasattr(found, part):
            importlib.import_module(".".join(parts[:number]))
        found = getattr(found, part)
    return found


def public_names(module: str) -> list[str]:
    """Return the public names of a module that are not modules: its `__all__`, or what it defines."""
    found = find(module)
    if hasattr(found, "__all__"):
        public = [name for name in found.__all__ if name != "__version__"]
        return [name for name in public if not inspect.ismodule(getattr(found, name))]
    return [
        name
        for name, value in vars(found).items()
        if not name.startswith("_")
        and (inspect.isfunction(value) or inspect.isclass(value))
        and value.__module__ == found.__name__
    ]
