"""Libraries that are imported where they are used."""

from __future__ import annotations

import importlib
from types import ModuleType


def need(module: str, extra: str, what: str) -> ModuleType:
    """Import an optional library, or say how to install it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        library = module.partition(".")[0]
        raise ImportError(f"{what} needs {library}: pip install 'wavefield[{extra}]' ({error})") from error
