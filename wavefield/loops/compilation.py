"""Compiling the time loops, and keeping them compiled.

Numba keeps compiled functions on disk and compiles one anew when its own file has changed, but not when a function has
that it calls from another file: the loops would go on as they were. So the fingerprint of all files of this room is
made part of the name under which each is kept.
"""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from types import ModuleType

from numba import njit

from wavefield import loops


def fingerprint(*packages: ModuleType) -> str:
    """Return a digest of the sources that lie in these packages (not in packages below them)."""
    files = [path for package in packages for path in sorted(Path(package.__path__[0]).glob("*.py"))]
    return sha256(b"".join(path.read_bytes() for path in files)).hexdigest()[:16]


_FINGERPRINT = fingerprint(loops)


def compiled(function):
    """``njit`` as every time loop wants it: without the interpreter's lock, cached, dividing as NumPy does."""
    function.__qualname__ = f"{function.__qualname__}-{_FINGERPRINT}"
    return njit(nogil=True, cache=True, error_model="numpy")(function)
