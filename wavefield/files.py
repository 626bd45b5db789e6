"""Files that appear under their name only when they are complete."""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def whole_or_nothing(path: str | os.PathLike, *, size: int = 0) -> Iterator[Path]:
    """Yield a scratch path beside `path`, which takes that name when the block ends without an error.

    Otherwise it is deleted. The scratch file is created at once, and `size` bytes are reserved if possible, so that a
    place that cannot be written and a disk too full are found before anything is computed.

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
        os.replace(scratch, path)
    except BaseException as error:
        scratch.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename != str(path):
            raise OSError(error.errno or errno.EIO, f"could not be written: {error}", str(path)) from error
        raise


def reserve(file: BinaryIO, size: int) -> None:
    """Reserve `size` bytes of the disk for an open file; raise an OSError where they are not free."""
    if size and hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(file.fileno(), 0, size)
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):  # file systems that reserve nothing
                raise
