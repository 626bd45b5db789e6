"""The file of a recording while it is written: laid out once, then filled in place.

``NAME.partial.nc`` is a complete netCDF 4 file from its first moment, made with room for all times and closed. Its
growing variables (those along ``time`` or ``step`` that are appended, and ``previous``) are contiguous in it, so that
appending replaces bytes inside them, without the HDF5 library: no kill finds the structure of the file half changed,
and a block costs what writing its bytes costs. ``time`` and ``step`` begin as NaN (the smallest integer where they are
integers) and are written after the rows they stand for: rows that have a time are complete.

Other ways were measured. HDF5's single-writer mode leaves a file that plain readers refuse after a kill; closing the
file at every flush costs some twenty milliseconds each, and has moments in which a kill would ruin it.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5netcdf
import h5py
import numpy as np
import xarray as xr

from wavefield.files import reserve
from wavefield.recordings.schema import LAST

COPIED_AT_ONCE = 1 << 24  # bytes
METADATA = 1 << 18  # bytes that names, attributes and the structure of the file take at most, usually

_SUFFIX = ".partial.nc"


@dataclass(frozen=True)
class Place:
    """Where a growing variable lies: for each index of the axes before `axis`, its rows follow each other."""

    dim: str  # along which it grows; "previous" for what belongs to the last state alone, a single row
    axis: int
    shape: tuple[int, ...]  # with all the room there is along `axis`
    dtype: np.dtype
    offset: int  # of its first byte in the file

    @property
    def room(self) -> int:
        return self.shape[self.axis]

    def shape_of(self, count: int) -> tuple[int, ...]:
        """The shape of `count` rows."""
        return (*self.shape[: self.axis], count, *self.shape[self.axis + 1 :])

    def runs(self, first: int) -> list[int]:
        """Where row `first` begins in the file, for each index of the axes before."""
        lead = math.prod(self.shape[: self.axis])
        return [self.offset + (index * self.room + first) * self.row_bytes for index in range(lead)]

    @property
    def row_bytes(self) -> int:
        return math.prod(self.shape[self.axis + 1 :]) * self.dtype.itemsize

    def write(self, file, first: int, rows: np.ndarray) -> None:
        """Write contiguous `rows`, of shape ``shape_of(count)`` and our dtype, from row `first` on."""
        runs = self.runs(first)
        for start, run in zip(runs, rows.reshape(len(runs), -1), strict=True):
            file.seek(start)
            _write_all(file, run.data.cast("B"))

    def copy(self, file, target: Place, target_file, count: int) -> None:
        """Copy the first `count` rows to where they lie in another file."""
        for start, target_start in zip(self.runs(0), target.runs(0), strict=True):
            file.seek(start)
            target_file.seek(target_start)
            left = count * self.row_bytes
            while left:
                piece = file.read(min(left, COPIED_AT_ONCE))
                _write_all(target_file, memoryview(piece))
                left -= len(piece)


def lay_out(path: Path, template: xr.Dataset, room: dict[str, int]) -> dict[str, Place]:
    """Make a netCDF 4 file like `template` with `room` rows along the growing dims, all its space reserved.

    Returns where the growing variables lie in it.
    """
    contiguous = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    contiguous.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)  # so that it has an offset before anything is written
    contiguous.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    growing = {}
    with h5netcdf.File(path, "w") as file:
        file.dimensions = {**template.sizes, **room}
        for name, variable in template.variables.items():
            dim = next((dim for dim in room if dim in variable.dims), "previous" if name in LAST else None)
            if dim is not None:
                growing[str(name)] = dim
                target = file.create_variable(name, variable.dims, variable.dtype, dcpl=contiguous)
                if name == dim or name in LAST:
                    target[...] = unwritten(variable.dtype)
            elif variable.dtype.kind in "UO":
                target = file.create_variable(name, variable.dims, h5py.string_dtype())
                target[...] = variable.values.astype(object)
            else:
                target = file.create_variable(name, variable.dims, variable.dtype, data=variable.values)
            target.attrs.update(variable.attrs)
            if name in template.data_vars and (coordinates := _auxiliary(template, variable)):
                target.attrs["coordinates"] = coordinates
        file.attrs.update(template.attrs)
    places = {}
    with h5py.File(path, "r") as file:
        for name, dim in growing.items():
            data, axis = file[name], 0 if dim == "previous" else template[name].dims.index(dim)
            shape = (1, *data.shape) if dim == "previous" else data.shape
            places[name] = Place(dim, axis, shape, data.dtype, data.id.get_offset())
    with open(path, "r+b") as file:
        reserve(file, path.stat().st_size)
    return places


def cut_to_written(dataset: xr.Dataset) -> xr.Dataset:
    """The part of a partial file that has been written; a complete file as it is."""
    written = {}
    for dim in {"time", "step"} & dataset.indexes.keys():
        values = dataset[dim].values
        missing = np.isnan(values) if values.dtype.kind == "f" else values == unwritten(values.dtype)
        if missing.any():
            written[dim] = slice(0, int(missing.argmax()))
    return dataset.isel(written)


def without_torn_previous(dataset: xr.Dataset) -> xr.Dataset:
    """A partial file's dataset without ``previous`` if a kill came between the last times and it."""
    last = [name for name in LAST if name in dataset]
    torn = any(np.isnan(dataset[name].values.flat[0]) for name in last)
    return dataset.drop_vars(last) if torn else dataset


def unwritten(dtype: np.dtype):
    """What stands in ``time``, ``step`` and ``previous`` where nothing has been written."""
    return np.nan if dtype.kind == "f" else np.iinfo(dtype).min


def target_path(path: str | os.PathLike) -> Path:
    """Return `path` as a Path if a recording may be called so, else raise a ValueError."""
    path = Path(path)
    if path.suffix != ".nc" or path.name.endswith(_SUFFIX):
        raise ValueError(f"a recording's file name ends in .nc, and not in {_SUFFIX}, got {str(path)!r}")
    return path


def partial_path(path: str | os.PathLike) -> Path:
    """Return where the recording is kept until it is complete: ``NAME.partial.nc`` for ``NAME.nc``."""
    return Path(path).with_suffix(_SUFFIX)


def is_partial(path: Path) -> bool:
    return path.name.endswith(_SUFFIX)


def _auxiliary(template, variable):
    """The CF attribute that names a variable's coordinates other than its dims."""
    return " ".join(
        name for name, coord in template.coords.items() if name not in coord.dims and {*coord.dims} <= {*variable.dims}
    )


def size_on_disk(template: xr.Dataset, room: dict[str, int]) -> int:
    """About how many bytes the file will have."""
    sizes: dict[Any, int] = {**template.sizes, **room}
    counts = {name: math.prod(sizes[dim] for dim in variable.dims) for name, variable in template.variables.items()}
    return METADATA + sum(count * template[name].dtype.itemsize for name, count in counts.items())


def _write_all(file, data):
    while data:
        data = data[file.write(data) :]
