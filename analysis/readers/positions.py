"""Electrode positions: read from a file, projected onto a plane, and ordered along a line, in an array or on a grid."""

from __future__ import annotations

import csv
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from analysis.fields.grid import Grid, grid_of
from analysis.readers.optional import need

NAME_COLUMNS = ("name", "channel", "channel_name", "electrode", "label", "ch_name")  # any of them names electrodes
NOT_KNOWN = ("n/a", "nan", "na", "")  # BIDS writes the first
STRAIGHT = 1e-3  # share of the extent by which electrodes on a line may lie beside it


@dataclass(frozen=True)
class Arrangement:
    """How the columns of a file become the space of a recording."""

    dims: tuple[str, ...]
    coords: dict  # name: (dims, values)
    arrange: Callable[[np.ndarray], np.ndarray]  # (time, column) → (time, *space)
    shape: tuple[int, ...]
    dead: np.ndarray | None  # bool over dims, where columns are places
    text: str  # for the history


def load_positions(
    positions, where: str, electrodes: tuple[int, ...], names: tuple[str, ...] | None = None
) -> tuple[np.ndarray, str]:
    """Positions (electrode, 1 to 3) and what was done with names, "" where nothing was.

    From an array, from a ``.csv``, ``.tsv`` or ``.npy`` file, or the name of a standard montage of MNE (in metres, as
    ``standard_1020``). A table that names its electrodes is matched to the
    channels by name where the recording has `names`; channels it does not name get NaN. Else its rows are taken in
    order. Rows and columns are exchanged where only that makes the number of positions one of `electrodes`.
    """
    labels = None
    if isinstance(positions, str) and not Path(positions).suffix:
        if names is None:
            raise ValueError(
                f"{where}: positions={positions!r} is neither a file .csv, .tsv or .npy nor a variable of the file; a "
                "standard montage needs the names of the channels, which this file does not have"
            )
        positions, labels = _montage(positions, where)
    elif isinstance(positions, str | Path):
        positions, labels = _read_positions(Path(positions))
    try:
        array = np.asarray(positions, dtype=float)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{where}: positions hold something that is not a number: {error}") from error
    array = array[:, None] if array.ndim == 1 else array
    if labels is None and array.ndim == 2 and array.shape[0] not in electrodes and array.shape[1] in electrodes:
        array = array.T
    if array.ndim != 2 or not 1 <= array.shape[1] <= 3:
        raise ValueError(f"{where}: positions have shape {array.shape}; (electrodes, 1 to 3 coordinates) is needed")
    if labels is None or names is None:
        return array, ""
    return _by_name(array, labels, names, where)


def _montage(name: str, where: str) -> tuple[np.ndarray, list[str]]:
    """Places (electrode, 3) in metres, and names, of one of the standard montages that MNE knows."""
    mne = need("mne", "mne", f"the standard montage {name!r}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of names that newer versions spell otherwise
            places = mne.channels.make_standard_montage(name).get_positions()["ch_pos"]
    except ValueError as error:
        raise ValueError(
            f"{where}: positions={name!r} is neither a file .csv, .tsv or .npy nor a standard montage, one of "
            f"{', '.join(mne.channels.get_builtin_montages())}"
        ) from error
    return np.array(list(places.values())), list(places)


def _by_name(array, labels, names, where):
    """Rows of `array`, called `labels`, in the order of the channels' `names`."""
    repeated = sorted({label for label in labels if labels.count(label) > 1})
    if repeated:
        raise ValueError(
            f"{where}: the table of positions names {repeated} more than once: each electrode has one place"
        )
    known = {label: row for label, row in zip(labels, array, strict=True)}
    if not known.keys() & set(names):
        raise ValueError(
            f"{where}: none of the names in the table of positions, {_some(labels)}, is one of a channel, "
            f"{_some(names)}: correct the names, or leave the column out to have the rows taken in order"
        )
    empty = np.full(array.shape[1], np.nan)
    return np.array([known.get(name, empty) for name in names]), "positions matched by name"


def _some(names, most: int = 8):
    """The first few of many names."""
    return ", ".join(map(str, names[:most])) + (f" and {len(names) - most} more" if len(names) > most else "")


def _read_positions(path: Path) -> tuple[np.ndarray, list[str] | None]:
    """Positions, and the names of the electrodes where the table has them."""
    try:
        if path.suffix.lower() == ".npy":
            return np.load(path, allow_pickle=False), None
        with open(path, newline="", encoding="utf-8-sig") as file:  # spreadsheets begin it with a byte order mark
            delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
            rows = [row for row in csv.reader(file, delimiter=delimiter) if row]
        labels = None
        if not _is_number(rows[0][0]):  # a header
            columns = [name.strip().lower() for name in rows[0]]
            wanted = [columns.index(name) for name in ("x", "y", "z") if name in columns]
            if not wanted:
                raise ValueError(f"its columns are {columns}")
            named = [columns.index(name) for name in NAME_COLUMNS if name in columns]
            labels = [row[named[0]].strip() for row in rows[1:]] if named else None
            rows = [[row[column] for column in wanted] for row in rows[1:]]
        rows = [["nan" if text.strip().lower() in NOT_KNOWN else text for text in row] for row in rows]
        table = np.array(rows, dtype=float)
        return table[:, np.isfinite(table).any(axis=0)] if np.isfinite(table).any() else table, labels
    except (ValueError, IndexError, EOFError, csv.Error) as error:
        raise ValueError(f"{path} does not hold a table of numbers with the columns x, y: {error}") from error


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def planar(positions: np.ndarray) -> tuple[np.ndarray, str]:
    """Positions (n, 2) in a plane, and how they came there; (n, 1) where they lie on a line.

    Three coordinates are projected onto the plane that fits them best; its axes are turned so that they lie as near as
    possible to the first two of the file's that the plane shows. Electrodes on a line keep their distance along it,
    rising with the coordinate that changes most.
    """
    centre = positions.mean(axis=0)
    _, spans, axes = np.linalg.svd(positions - centre, full_matrices=False)
    if spans.size == 1 or (spans[1:] <= STRAIGHT * spans[0]).all():
        along = axes[0] * np.sign(axes[0][np.argmax(np.abs(axes[0]))])
        return (positions @ along)[:, None], "electrodes on a line"
    if positions.shape[1] == 2:
        return positions, "electrodes in a plane"
    level = positions.max(axis=0) - positions.min(axis=0) <= STRAIGHT * spans[0]
    if level.any():
        return positions[:, ~level], "electrodes in a plane of the file's axes"
    plane = axes[:2]  # (2, 3)
    shown = np.argsort(-np.linalg.norm(plane, axis=0))[:2]  # the file's axes that lie most in the plane
    u, _, vt = np.linalg.svd(plane[:, np.sort(shown)])
    return (positions - centre) @ (plane.T @ (u @ vt)), "electrodes projected onto the plane that fits them best"


def arranged(positions: np.ndarray, dead: np.ndarray, *, grid: bool, spacing: float | None, where: str) -> Arrangement:
    """The space of a recording from positions (column, 1 to 3), in mm, NaN for columns that have none.

    Columns without a position are left out. On a line they become ``position``, else ``electrode`` with x and y, or on
    request a grid with ``y`` and ``x``.
    """
    placed = np.isfinite(positions).all(axis=1)
    if placed.sum() < 2:
        raise ValueError(
            f"{where}: {placed.sum()} of {placed.size} electrodes have a position: at least two are needed; give them "
            "all with positions=… (--positions FILE.csv with the columns x, y)"
        )
    if not (placed & ~dead).any():
        raise ValueError(f"{where}: every electrode is marked as bad; name the dead ones yourself with dead=[…]")
    places, text = planar(positions[placed])
    columns, dead = np.flatnonzero(placed), dead[placed]
    if grid and places.shape[1] == 2:
        return _on_grid(grid_of(places, alive=~dead, spacing=spacing), columns)
    if places.shape[1] == 1:
        order = np.argsort(places[:, 0], kind="stable")
        columns, dead = columns[order], dead[order]
        coords = {"position": (("position",), places[order, 0])}
        if len(np.unique(places)) < len(places):
            raise ValueError(f"{where}: two electrodes share a position along the line; leave one out or correct it")
        return _columns("position", coords, columns, dead, text)
    _, first, counts = np.unique(places, axis=0, return_index=True, return_counts=True)
    if (counts > 1).any():
        same = [np.flatnonzero((places == places[at]).all(axis=1)) for at in first[counts > 1]]
        text_of = "; ".join(" and ".join(map(str, columns[group])) for group in same[:4])
        warnings.warn(
            f"{where}: electrodes share a position (number {text_of}): nothing can be measured between them; correct "
            "the table of positions, or leave one out",
            stacklevel=4,
        )
    coords = {"x": (("electrode",), places[:, 0]), "y": (("electrode",), places[:, 1])}
    return _columns("electrode", coords, columns, dead, text)


def _columns(dim, coords, columns, dead, text):
    def arrange(values):
        taken = values[:, columns]
        taken[:, dead] = np.nan
        return taken

    coords["electrode_number"] = ((dim,), columns)
    return Arrangement((dim,), coords, arrange, (len(columns),), dead, text)


def _on_grid(grid: Grid, columns):
    coords = {"y": (("y",), grid.y), "x": (("x",), grid.x)}
    return Arrangement(
        ("y", "x"), coords, lambda values: grid.apply(values[:, columns]), (grid.y.size, grid.x.size), None, grid.text
    )
