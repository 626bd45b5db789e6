"""Compiling the time loops, and keeping them compiled.

Numba keeps compiled functions on disk and compiles one anew when its own file has changed, but not when a function has
that it calls from another file: changed loops would not be compiled. So the fingerprint of all files of this room is
made part of the name under which each is kept.

What is kept saves time and decides nothing: where it is damaged, or the disk is full, or no folder can be written, a
loop is compiled anew, and one sentence in the log (``wavefield``) says so.
"""

from __future__ import annotations

import logging
import pickle
from collections.abc import Callable
from functools import cache
from hashlib import sha256
from pathlib import Path
from types import ModuleType

from numba import njit
from numba.core.caching import CompileResultCacheImpl, FunctionCache, IndexDataCacheFile
from numba.core.serialize import dumps

from wavefield import loops

_LOG = logging.getLogger("wavefield")


def fingerprint(*packages: ModuleType) -> str:
    """Return a digest of the sources that lie in these packages (not in packages below them)."""
    files = [path for package in packages for path in sorted(Path(package.__path__[0]).glob("*.py"))]
    return sha256(b"".join(path.read_bytes() for path in files)).hexdigest()[:16]


_FINGERPRINT = fingerprint(loops)


def compiled(function: Callable, *, sources: str = _FINGERPRINT, **options) -> Callable:
    """``njit`` as every time loop wants it: without the interpreter's lock, cached, dividing as NumPy does.

    Parameters
    ----------
    function : callable
    sources : str
        `fingerprint` of the packages on which the compiled code depends; by default of the time loops.
    **options
        Of ``njit``.
    """
    function.__qualname__ = f"{function.__qualname__}-{sources}"
    dispatcher = njit(nogil=True, error_model="numpy", **options)(function)
    try:
        dispatcher._cache = _Cache(function)  # what ``cache=True`` does with Numba's own
    except (OSError, RuntimeError):
        _say("no folder can be written in which compiled loops could be kept; each process compiles them anew.")
    return dispatcher


class _Checked(CompileResultCacheImpl):
    """Compiled code with a digest: running damaged machine code would end the process, or worse.

    Numba keeps its cache as pickles, and trusts the folder in which it lies; the digest guards against damage alone.
    """

    def reduce(self, result):
        code = dumps(super().reduce(result))
        return sha256(code).digest(), code

    def rebuild(self, target_context, kept):
        digest, code = kept
        if sha256(code).digest() != digest:
            raise ValueError("the digest of the code is another")
        return super().rebuild(target_context, pickle.loads(code))


class _Files(IndexDataCacheFile):
    """Files of compiled code that are named after what they hold.

    Numba numbers them in the order of an index, in which two processes that compile at a time take the same number:
    one would then run the code that the other has compiled for other types.
    """

    def save(self, key, data):
        name = self._data_name(int(sha256(repr(key).encode()).hexdigest()[:15], 16))
        self._save_data(name, data)
        self._save_index(self._load_index() | {key: name})


class _Cache(FunctionCache):
    """What Numba keeps of one function; a failure of it is a function not kept."""

    _impl_class = _Checked

    def __init__(self, function):
        super().__init__(function)
        stamp = self._impl.locator.get_source_stamp()
        self._cache_file = _Files(self._cache_path, self._impl.filename_base, stamp)

    def load_overload(self, sig, target_context):
        try:
            return super().load_overload(sig, target_context)
        except Exception:  # unpickling what is damaged can raise anything
            _say("compiled loops that had been kept are damaged; they are compiled anew.")
            try:
                self.flush()
            except OSError:
                self.disable()  # it would be found damaged again
            return None

    def save_overload(self, sig, data):
        try:
            super().save_overload(sig, data)
        except Exception as error:
            reason = getattr(error, "strerror", None) or type(error).__name__  # without the name of a file: said once
            _say(f"compiled loops could not be kept ({reason}); each process compiles them anew.")


@cache
def _say(what: str) -> None:
    """Log a sentence, once in a process."""
    _LOG.warning("%s Set NUMBA_CACHE_DIR to a folder with room that can be written.", what)
