"""The study of a sweep: an Optuna one in an SQLite file, whatever the name of its folder."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import optuna
from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from sqlalchemy.exc import DatabaseError
from sqlalchemy.pool import NullPool

NAME = "sweep"
LOCKED_SECONDS = 60.0  # for which a database that another program has locked is waited for


def storage_of(path: Path, *, read_only: bool = False) -> RDBStorage:
    """Return the storage in the file `path`, which is created where there is none, unless it is only read."""

    def connect():  # by a path, since a name in an address may hold anything
        where = f"{path.absolute().as_uri()}?mode=ro" if read_only else path
        return sqlite3.connect(where, timeout=LOCKED_SECONDS, uri=read_only)

    if not read_only:
        path.touch()  # with the permissions of the umask; SQLite's own are narrower
    return RDBStorage("sqlite:///study.db", engine_kwargs={"creator": connect, "poolclass": NullPool})


def read_study(path: Path) -> optuna.Study:
    """Return the study in a file, to be read only.

    Raises
    ------
    OSError
        If it is damaged, locked, or no study.
    """
    with named(path):
        try:
            return optuna.load_study(study_name=NAME, storage=storage_of(path, read_only=True))
        except KeyError:
            raise OSError(f"{path} holds no study of a sweep") from None


@contextmanager
def named(path: Path) -> Iterator[None]:
    """Turn what goes wrong with the database of a study into an OSError that names the file and the remedy."""
    try:
        yield
    except (DatabaseError, StorageInternalError, sqlite3.Error) as error:
        found: BaseException = error
        while not isinstance(found, sqlite3.Error) and (cause := found.__cause__ or getattr(found, "orig", None)):
            found = cause
        why = str(found).splitlines()[0]
        if "locked" in why or "busy" in why:
            raise OSError(
                f"{path} is locked by another program ({why}): close that one, then start the sweep again, which "
                "continues where it was"
            ) from None
        if "full" in why:
            raise OSError(f"{path} cannot be written ({why}): make room, then start the sweep again") from None
        raise OSError(
            f"{path} cannot be read as a study ({why}): restore it, or move it away to begin the search anew"
        ) from None
