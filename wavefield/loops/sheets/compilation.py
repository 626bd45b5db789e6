"""Compiling the loops of sheets: kept under a name that changes with the sources of this room and the one above."""

from __future__ import annotations

from functools import partial

from wavefield import loops
from wavefield.loops import compilation, sheets

compiled = partial(compilation.compiled, sources=compilation.fingerprint(loops, sheets))
