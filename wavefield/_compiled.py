"""Compiling the time loops, and keeping them compiled.

Numba keeps compiled functions on disk and compiles one anew when its own file has changed, but not when a function has
that it calls from another file: the loops would go on as they were. So the fingerprint of all their files is made part
of the name under which each is kept.
"""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

from numba import njit

_FILES = ("_compiled.py", "_denormals.py", "_stencil.py", "_windows.py", "_leapfrog.py", "_convolve.py")
_FINGERPRINT = sha256(b"".join(Path(__file__).with_name(name).read_bytes() for name in _FILES)).hexdigest()[:12]


def compiled(function):
    """``njit`` as every time loop wants it: without the interpreter's lock, cached, dividing as NumPy does."""
    function.__qualname__ = f"{function.__qualname__}-{_FINGERPRINT}"
    return njit(nogil=True, cache=True, error_model="numpy")(function)
