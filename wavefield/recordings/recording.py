"""Recordings: one labelled form for simulated fields, hidden states of networks and neural data, in memory and on disk.

A recording is an `xarray.Dataset` whose variable ``activity`` has the dims of one of `LAYOUTS`, in this order:

    trial, time, channel, position     rings and lines (models, linear probes); trial and channel may be absent
    trial, time, channel, y, x         sheets (2-D models, regular electrode grids); likewise
    trial, time, electrode             irregular arrays, with the coordinates x(electrode) and y(electrode)

``activity[t]`` is the state after step t has been taken: its time is (t + 1)·dt, or (t + 1)·save_every·dt where only
every save_every-th state is kept. Beside it stand, where they apply,

    drive            the input x[t]. It always has a dim of its own, ``step``, whose coordinate t·dt is the time at
                     which step t begins: inputs arrive at every step, also where states are not kept, and selecting
                     in time (the last snapshot, say) must not cut away the input that led there.
    previous         the level before the last stored state, without which a two-way field cannot be continued
    earlier_drive    the two inputs before the first, which a pulse still needs where a run is continued
    kernel, encoder, bias, profile, damping_profile, restoring_profile, density, boundary_row
                     what moved the field (dims in `DIMS`)
    label, loss      what a network should have answered, and its error

Every variable and coordinate has ``units`` and ``long_name``; attributes are str, int, float or lists of those, which
is what netCDF takes (a list of one item comes back as the item). On disk a recording is a plain netCDF 4 file, which
any netCDF reader opens. `RecordingWriter` writes recordings larger than memory.
"""

from __future__ import annotations

import errno
import json
import os
import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import h5netcdf
import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from wavefield.checks import positive, positive_int
from wavefield.files import whole_or_nothing
from wavefield.recordings.external import refuse_external, refuse_oversized
from wavefield.recordings.partial_file import (
    cut_to_written,
    is_partial,
    partial_path,
    size_on_disk,
    target_path,
    without_torn_previous,
)
from wavefield.recordings.schema import (
    CONVENTIONS,
    DIMS,
    LAYOUTS,
    SCHEMA,
    dims_of,
    regular_times,
    validate_recording,
)
from wavefield.recordings.writer import RecordingWriter

__all__ = [
    "CONVENTIONS",
    "DIMS",
    "LAYOUTS",
    "SCHEMA",
    "RecordingWriter",
    "open_recording",
    "recording",
    "save_recording",
    "validate_recording",
    "with_history",
]

LONG_NAMES = {
    "step": "time at which the step begins",
    "drive": "input to the field",
    "previous": "activity one step before the last stored state",
    "kernel": "recurrent kernel",
    "encoder": "weight with which an input enters",
    "profile": "speed at a position",
    "damping_profile": "damping at a position",
    "restoring_profile": "restoring force at a position",
    "density": "density at a position",
    "boundary_row": "weight with which the field drives its end",
    "mask": "where the sheet is",
    "earlier_drive": "the two inputs before the first",
}


def recording(
    activity: ArrayLike | xr.DataArray,
    *,
    dims: Sequence[str] | None = None,
    coords: Mapping | None = None,
    units: Mapping[str, str] | None = None,
    dt: float | None = None,
    dx: float | Sequence[float] | None = None,
    save_every: int = 1,
    source: str | None = None,
    drive: ArrayLike | xr.DataArray | None = None,
    earlier_drive: ArrayLike | xr.DataArray | None = None,
    previous: ArrayLike | xr.DataArray | None = None,
    kernel: ArrayLike | xr.DataArray | None = None,
    encoder: ArrayLike | xr.DataArray | None = None,
    bias: ArrayLike | xr.DataArray | None = None,
    profile: ArrayLike | xr.DataArray | None = None,
    damping_profile: ArrayLike | xr.DataArray | None = None,
    restoring_profile: ArrayLike | xr.DataArray | None = None,
    density: ArrayLike | xr.DataArray | None = None,
    boundary_row: ArrayLike | xr.DataArray | None = None,
    mask: ArrayLike | xr.DataArray | None = None,
    label: ArrayLike | xr.DataArray | None = None,
    loss: ArrayLike | xr.DataArray | None = None,
    config: Mapping | str | None = None,
    **more: Any,
) -> xr.Dataset:
    """Build a valid recording from an array: a simulated field, hidden states of a network, or neural data.

    Parameters
    ----------
    activity : array or DataArray
        Real numbers. A DataArray keeps its dims, coordinates and attributes, and stays lazy if it is.
    dims : sequence of str, optional
        One of `LAYOUTS`, without those that are absent. By default those of the DataArray; else, by the number of
        axes, (time, position), (time, channel, position) or all four; (time, electrode) or (trial, time, electrode)
        where `coords` gives x and y. Sheets must be named.
    coords : mapping of str to array or DataArray, optional
        Coordinates that are not the regular ones: ``time``, ``position``, ``x``, ``y``, ``trial``, ``input``, …
    units : mapping of str to str, optional
        Units by variable or coordinate, e.g. ``{"time": "s", "position": "mm", "activity": "uV"}``; ``1`` where not
        given (steps, cells, dimensionless activity). ``step`` takes those of ``time``.
    dt, dx : float, optional
        Time step and distance of positions, kept as attributes. They make the regular coordinates
        time = (t + 1)·save_every·dt, step = t·dt and position (or x, y) = n·dx, and are 1 unless given or made
        needless by `coords`. Of a sheet dx may be a pair (dy, dx). Times that count steps (dt an integer, units ``1``)
        are integers.
    save_every : int
        Steps from one stored state to the next.
    source : str, optional
        What produced the activity: a model, an instrument. By default the name and version of this package.
    drive, earlier_drive, kernel, encoder, bias, profile : array or DataArray, optional
    damping_profile, restoring_profile, density, boundary_row, mask : array or DataArray, optional
        Arrays with the dims of `DIMS` (the drives may have ``trial`` before them; on a sheet y and x stand for
        position, and a kernel has the dims channel_out, channel_in, tap_y, tap_x), or DataArrays with others.
    previous : array, optional
        The level before the last stored state: the dims of `activity` without ``time``.
    label, loss : optional
        One value, one per trial (per time where there are no trials), or one per trial and time.
    config : mapping or str, optional
        Settings of the run, kept as JSON text.
    **more
        A DataArray becomes a further variable; str, int, float and lists of those become global attributes
        (``boundary``, ``nonlinearity``, ``source_kind``, ``seed``, …); None is left out.

    Returns
    -------
    xarray.Dataset
        A recording that `validate_recording` accepts.

    Raises
    ------
    TypeError, ValueError
        Naming what does not fit, what was given and what is accepted.

    Examples
    --------
    >>> import numpy as np
    >>> rec = recording(np.zeros((3, 2, 8)), dt=0.5, units={"time": "s"}, boundary="periodic")
    >>> rec.activity.dims, rec.time.values.tolist(), rec.attrs["boundary"]
    (('time', 'channel', 'position'), [0.5, 1.0, 1.5], 'periodic')
    """
    coords, units = _mapping("coords", coords), _mapping("units", units)
    field = _array("activity", activity)
    arrays = {"activity": _labelled("activity", field, _activity_dims(field, dims, coords))}
    field_dims = arrays["activity"].dims
    per_sample = tuple(dim for dim in ("trial", "time") if dim in field_dims)
    given: dict[str, Any] = dict(drive=drive, earlier_drive=earlier_drive, previous=previous, label=label, loss=loss)
    given |= dict(kernel=kernel, encoder=encoder, bias=bias, boundary_row=boundary_row)
    given |= dict(profile=profile, damping_profile=damping_profile, restoring_profile=restoring_profile)
    given |= dict(density=density, mask=mask)
    dimensions = 2 if {"y", "x"} <= set(field_dims) else 1
    companions = {name: _array(name, value) for name, value in given.items() if value is not None}
    for name, array in companions.items():
        names = {
            "drive": ("trial", *DIMS["drive"])[-max(array.ndim, 2) :],
            "earlier_drive": ("trial", *DIMS["earlier_drive"])[-max(array.ndim, 2) :],
            "previous": tuple(dim for dim in field_dims if dim != "time"),
            "label": per_sample[: array.ndim],
            "loss": per_sample[: array.ndim],
        }
        arrays[name] = _labelled(name, array, names[name] if name in names else dims_of(name, dimensions))
    arrays |= {name: value for name, value in more.items() if isinstance(value, xr.DataArray)}
    sizes = _common_sizes(arrays)

    known = _known_coords(arrays, coords, sizes)
    save_every = positive_int(save_every, "save_every")
    dt = _spacing("dt", dt, needed="time" not in known)
    dx = _distances(dx, needed=not known.keys() & {"position", "x", "y"})
    regular = _regular_coords(sizes, known, dt, dx, save_every, units.get("time", "1"))

    attributes = {
        "Conventions": CONVENTIONS,
        "wavefield_schema": SCHEMA,
        "source": source or _package(),
        "history": _history_line("recording made"),
        "software_versions": _software_versions(),
        "dt": dt,
        "dx": dx,
        "save_every": save_every if save_every > 1 else None,
        "config": _json(config),
        **{name: value for name, value in more.items() if not isinstance(value, xr.DataArray)},
    }
    dataset = xr.Dataset(
        {name: array.variable for name, array in arrays.items()},
        {**regular, **known},
        {name: value for name, value in attributes.items() if value is not None},
    )
    dataset = _described(dataset, units)
    validate_recording(dataset)
    return dataset


def with_history(dataset: xr.Dataset, text: str) -> xr.Dataset:
    """Return the dataset with one line more, the date and `text`, at the top of its ``history``, as CF asks."""
    lines = [_history_line(text), *dataset.attrs.get("history", "").splitlines()]
    return dataset.assign_attrs(history="\n".join(lines))


def save_recording(dataset: xr.Dataset, path: str | os.PathLike) -> Path:
    """Write a recording to a netCDF 4 file, which appears under its name only when it is complete.

    Values keep their dtype, bit for bit. An older file of that name is replaced at the end, not before. Lazy (dask)
    recordings are computed piece by piece. `open_recording` reads it back.

    Parameters
    ----------
    dataset : xarray.Dataset
        A recording with at least one time.
    path : path
        Ending in ``.nc``.

    Returns
    -------
    pathlib.Path
        The file written.

    Raises
    ------
    TypeError, ValueError
        If the dataset is not a valid recording or the name does not end in ``.nc``.
    OSError
        Naming the path; before anything is computed if it cannot be written, later if the disk fills up. Neither
        leaves a file behind.
    """
    path = target_path(path)
    validate_recording(dataset)
    if dataset.sizes["time"] == 0:
        raise ValueError(f"the recording for {path} holds no times: there is nothing to save")
    plain = dataset.drop_encoding()  # the packing or chunks of a file it came from would change values or layout
    floats = {name: {"_FillValue": None} for name, variable in plain.variables.items() if variable.dtype.kind == "f"}
    with whole_or_nothing(path, size=size_on_disk(plain, {})) as scratch:
        plain.to_netcdf(scratch, engine="h5netcdf", encoding=floats)
    return path


def open_recording(path: str | os.PathLike, *, chunks: Any = None, allow_external: bool = False) -> xr.Dataset:
    """Open a recording lazily: values are read when they are used.

    ``NAME.partial.nc``, left by an interrupted `RecordingWriter`, is opened up to what had been written.

    Parameters
    ----------
    path : path
    chunks : optional
        As in `xarray.open_dataset`; where given, variables are dask arrays, e.g. ``chunks={"time": 1000}``.
    allow_external : bool
        Whether the file may link to other files or keep its data in them; only for files that you trust.

    Returns
    -------
    xarray.Dataset
        To be closed, or used in a ``with`` statement; ``.load()`` reads all of it.

    Raises
    ------
    FileNotFoundError, IsADirectoryError
        If there is no such file; it says so where a partial one is there instead. If the path is a folder.
    ValueError
        Naming the path, if the file is of another format, damaged or cut off, if it is a netCDF file but not a
        recording (then it says what is missing), or if it reaches into other files.
    """
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, "is a folder, not a recording", str(path))
    if not path.is_file():
        hint = f"; an interrupted recording is at {partial_path(path)}" if partial_path(path).is_file() else ""
        raise FileNotFoundError(errno.ENOENT, f"no such file{hint}", str(path))
    try:
        if not allow_external:
            refuse_external(path)
        refuse_oversized(path, partial=is_partial(path))
        # absolute, so that no name of a folder is taken for an address
        dataset = xr.open_dataset(path.absolute(), engine="h5netcdf", decode_times=False, chunks=chunks)
    except PermissionError:
        raise
    except (OSError, RuntimeError, ValueError, TypeError, LookupError, AttributeError) as error:
        if str(error).startswith(f"{path}: "):
            raise
        raise ValueError(f"{path} is not a netCDF 4 file, or is damaged or cut off: {error}") from error
    try:
        holders: list[xr.Dataset | xr.Variable] = [dataset, *dataset.variables.values()]
        for holder in holders:
            holder.attrs = {name: _builtin(value) for name, value in holder.attrs.items()}
        dataset = cut_to_written(dataset)
        dataset = without_torn_previous(dataset) if is_partial(path) else dataset
        validate_recording(dataset)
    except ValueError as error:
        dataset.close()
        raise ValueError(f"{path} is {error}") from error
    return dataset


def _mapping(name, value):
    if value is not None and not isinstance(value, Mapping):
        raise TypeError(f"{name} must be a mapping from names, such as {{'time': …}}, got {value!r}")
    return dict(value or {})


def _array(name, value):
    """The value as an array of numbers or text; arrays of NumPy, dask and xarray stay what they are."""
    if not hasattr(value, "__array_function__") and not isinstance(value, xr.DataArray):
        try:
            value = np.asarray(value)
        except (ValueError, TypeError, OverflowError) as error:
            raise ValueError(f"{name} is not an array: {error}") from error
    if value.dtype.kind not in "iufUO":
        raise ValueError(f"{name} has dtype {value.dtype}; accepted are real numbers, for labels and names text too")
    return value


def _activity_dims(activity, dims, coords):
    if dims is not None:
        if not isinstance(dims, (list, tuple)) or not all(isinstance(dim, str) for dim in dims):
            raise TypeError(f"dims must be a sequence of names such as ('time', 'position'), got {dims!r}")
        if len(set(dims)) < len(dims):
            raise ValueError(f"dims must be different names, got {dims!r}")
        return tuple(dims)
    if isinstance(activity, xr.DataArray):
        return activity.dims
    if {"x", "y"} <= coords.keys():
        layouts = {2: LAYOUTS[2][1:], 3: LAYOUTS[2]}
    else:
        layouts = {2: ("time", "position"), 3: LAYOUTS[0][1:], 4: LAYOUTS[0]}
    if activity.ndim not in layouts:
        accepted = list(layouts.values())
        raise ValueError(f"activity has shape {activity.shape}; accepted are {accepted}, others with dims=…")
    return layouts[activity.ndim]


def _labelled(name, array, dims):
    """The array as a DataArray with these dims; a DataArray keeps its own."""
    if isinstance(array, xr.DataArray):
        if name == "activity" and array.dims != dims:
            raise ValueError(f"activity has the dims {array.dims}, but dims={dims}: rename or transpose it")
        return array
    if array.ndim != len(dims):
        raise ValueError(f"{name} has shape {array.shape}; accepted is {dims}")
    return xr.DataArray(array, dims=dims)


def _common_sizes(arrays):
    first = {}
    for name, array in arrays.items():
        for dim, size in array.sizes.items():
            owner, expected = first.setdefault(dim, (name, size))
            if size != expected:
                raise ValueError(f"{name} has {size} along {dim!r} (shape {array.shape}), but {owner} has {expected}")
    return {dim: size for dim, (_, size) in first.items()}


def _known_coords(arrays, coords, sizes):
    """The coordinates that are given by name or carried by a DataArray: ``{name: Variable}``."""
    known = {}
    for owner, array in arrays.items():
        for name, coord in array.coords.items():
            if name != "step" and (owner == "activity" or coord.ndim):
                known.setdefault(name, coord.variable)
    for name, value in coords.items():
        dim = "electrode" if name in ("x", "y") and name not in sizes else name
        coord = _labelled(f"coordinate {name}", _array(f"coordinate {name}", value), (dim,)).variable
        if wrong := [dim for dim in coord.dims if sizes.get(dim) != coord.sizes[dim]]:
            raise ValueError(f"coordinate {name} has {dict(coord.sizes)}, but the arrays have {sizes}: see {wrong}")
        known[name] = coord
    return known


def _spacing(name, value, *, needed):
    if value is None:
        return 1.0 if needed else None
    return positive(value, name)


def _distances(dx, *, needed):
    """dx as a number, or of a sheet as a list [dy, dx]."""
    if dx is None or np.ndim(dx) == 0:
        return _spacing("dx", dx, needed=needed)
    if np.shape(dx) != (2,):
        raise ValueError(f"dx must be a positive number, or of a sheet a pair (dy, dx), got {dx!r}")
    return [positive(distance, "dx") for distance in dx]


def _regular_coords(sizes, known, dt, dx, save_every, time_units):
    regular = {}
    if "time" in sizes and "time" not in known:
        regular["time"] = regular_times(np.arange(1, sizes["time"] + 1), save_every * dt, time_units)
    if "step" in sizes and "step" not in known:
        if dt is None:
            raise ValueError("dt must be given beside a drive where coords gives time: the steps begin at t·dt")
        regular["step"] = regular_times(np.arange(sizes["step"]), dt, time_units)
    for dim in ("position", "x", "y"):
        if dim in sizes and dim not in known:
            if dx is None:
                raise ValueError(f"the coordinate {dim} is missing: give it in coords, or give dx")
            regular[dim] = np.arange(sizes[dim]) * (dx if np.ndim(dx) == 0 else dx[0 if dim == "y" else 1])
    return {name: (name, values) for name, values in regular.items()}


def _described(dataset, units):
    """A copy with units and long_name on every variable."""
    if unknown := units.keys() - dataset.variables.keys():
        raise ValueError(f"units names {sorted(unknown)}; there are only {sorted(map(str, dataset.variables))}")
    dataset = dataset.copy()
    for name, variable in dataset.variables.items():
        usual = {"units": "1", "long_name": LONG_NAMES.get(name, str(name).replace("_", " "))}
        if name == "step":
            usual["units"] = units.get("time", dataset["time"].attrs.get("units", "1"))
        given = {"units": units[name]} if name in units else {}
        variable.attrs = usual | variable.attrs | given
    return dataset


def _history_line(text: str) -> str:
    return f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} {_package()}: {text}"


@cache
def _package() -> str:
    try:
        return f"wavefield {version('wavefield')}"
    except PackageNotFoundError:  # run from a source tree
        return "wavefield"


def _software_versions() -> list[str]:
    libraries = [f"{library.__name__} {library.__version__}" for library in (np, xr, h5netcdf)]
    return [_package(), f"python {platform.python_version()}", *libraries]


def _json(config):
    if not isinstance(config, Mapping):
        return config
    try:
        return json.dumps(config)
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"config must be of what JSON knows (text, numbers, bool, None, lists, dicts): {error}"
        ) from error


def _builtin(value):
    return value.tolist() if isinstance(value, (np.ndarray, np.generic)) else value
