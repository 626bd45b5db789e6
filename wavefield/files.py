"""Files that appear under their name only when they are whole."""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole_or_nothing(path: str | os.PathLike, *, size: int = 0) -> Iterator[Path]:
    """Yield a scratch path beside `path`: it takes that name when the block ends well and vanishes when it does not.

    The scratch file is created at once, and `size` bytes are tried for, so that a place that cannot be written and a
    disk too full are found before anything is computed.

    Raises
    ------
    OSError
        Naming `path`, of the subclass that fits (``FileNotFoundError``, ``PermissionError``, …), when the scratch file
        cannot be created or written (missing folder, no permission, less than `size` bytes free).
    """
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, "is a folder, not a file to write", str(path))
    scratch = path.with_name(
        f".{path.stem}.{secrets.token_hex(4)}.tmp{path.suffix}"
    )  # what writes it may go by the ending
    try:
        with open(scratch, "xb") as file:
            mode = os.fstat(file.fileno()).st_mode  # as the umask has it
            reserve(file, size)
            file.truncate(0)
    except OSError as error:
        if scratch.exists():
            scratch.unlink()
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


def reserve(file, size: int) -> None:
    """Take `size` bytes of the disk for an open file now; an OSError says that they are not there."""
    if size and hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(file.fileno(), 0, size)
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):  # file systems that reserve nothing
                raise
