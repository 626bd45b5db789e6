"""Files that appear under their name only when they are complete."""

from __future__ import annotations

import errno
import hashlib
import os
import platform
import re
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import BinaryIO

FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")  # what begins one, or hides its beginning


@contextmanager
def whole_or_nothing(path: str | os.PathLike, *, size: int = 0) -> Iterator[Path]:
    """Yield a scratch path beside `path`, which takes that name when the block ends without an error.

    Otherwise it is deleted. The scratch file is created at once, and `size` bytes are reserved if possible, so that a
    place that cannot be written and a disk too full are found before anything is computed. Scratch files of `path`
    whose writer was killed on this machine are removed.

    Raises
    ------
    OSError
        Naming `path`, of the subclass that fits (``FileNotFoundError``, ``PermissionError``, …), when the scratch file
        cannot be created or written (missing folder, no permission, less than `size` bytes free).
    """
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, "is a folder, not a file to write", str(path))
    remove_scratch(path)
    unique = f"{_machine()}-{os.getpid()}-{secrets.token_hex(4)}"
    # what writes it may go by the ending; absolute, so that no name of a folder is taken for an address
    scratch = path.absolute().with_name(f".{path.stem}.{unique}.tmp{path.suffix}")
    try:
        with open(scratch, "xb") as file:
            mode = os.fstat(file.fileno()).st_mode  # as the umask has it
            reserve(file, size)
            file.truncate(0)
    except (OSError, OverflowError) as error:
        if scratch.exists():
            scratch.unlink()
        if isinstance(error, OverflowError):
            raise OSError(errno.EFBIG, f"cannot be written: no file has {size} bytes", str(path)) from error
        raise OSError(error.errno, f"cannot be written: {error.strerror}", str(path)) from error
    try:
        yield scratch
        with open(scratch, "rb+") as file:
            os.fsync(file.fileno())
        if scratch.stat().st_mode != mode:  # of a writer that made the file anew, for its owner alone
            scratch.chmod(stat.S_IMODE(mode))
        os.replace(scratch, path)
    except BaseException as error:
        scratch.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename != str(path):
            raise OSError(error.errno or errno.EIO, f"could not be written: {error}", str(path)) from error
        raise


def remove_scratch(path: Path) -> None:
    """Remove the scratch files of `path` whose process does not run any more; those of other machines stay."""
    form = re.compile(rf"\.{re.escape(path.stem)}\.{_machine()}-(\d+)-[0-9a-f]{{8}}\.tmp{re.escape(path.suffix)}")
    try:
        names = os.listdir(path.parent)
    except OSError:  # what writes there says it better
        return
    for name in names:
        if (found := form.fullmatch(name)) and not _runs(int(found[1])):
            with suppress(OSError):
                path.with_name(name).unlink()


@cache
def _machine():
    """A short name of this machine, or of the container with process numbers of its own."""
    try:
        numbers = os.readlink("/proc/self/ns/pid")
    except OSError:
        numbers = ""
    return hashlib.sha256(f"{platform.node()} {numbers}".encode()).hexdigest()[:6]


def _runs(process):
    if os.name == "nt":  # where signal 0 is not a question
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # of another user
        pass
    return True


def harmless(value: object) -> object:
    """Return a cell of a table; a text that a spreadsheet would take for a formula gets an apostrophe before it."""
    if not isinstance(value, str) or not value.startswith(FORMULA):
        return value
    try:
        float(value)  # a number, though it begins with a sign
    except ValueError:
        return f"'{value}"
    return value


def reserve(file: BinaryIO, size: int) -> None:
    """Reserve `size` bytes of the disk for an open file; raise an OSError where they are not free."""
    if size and hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(file.fileno(), 0, size)
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):  # file systems that reserve nothing
                raise
