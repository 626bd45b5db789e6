"""What makes a dataset a recording: the rules of its layout, coordinates and attributes, and the check of them.

The rules are those of the data model (see `wavefield.recordings.recording`) and of netCDF, so that whatever passes here
can be written and is read back as it was.
"""

from __future__ import annotations

import re

import numpy as np
import xarray as xr

CONVENTIONS = "CF-1.11"
SCHEMA = 1  # raised when an older reader would misunderstand a newer file
LAYOUTS = (
    ("trial", "time", "channel", "position"),
    ("trial", "time", "channel", "y", "x"),
    ("trial", "time", "electrode"),
)
DIMS = {
    "drive": ("step", "input"),
    "earlier_drive": ("lag", "input"),
    "kernel": ("channel_out", "channel_in", "tap"),
    "encoder": ("channel", "position", "input"),
    "bias": ("channel", "position"),
    "profile": ("position",),
    "damping_profile": ("position",),
    "restoring_profile": ("position",),
    "density": ("position",),
    "boundary_row": ("channel_out", "channel_in", "position"),
    "mask": ("position",),
}

LAST = ("previous", "rim_fields")  # what belongs to the last stored state alone, beside `activity`

_LAYOUT_TEXT = ", ".join("(" + ", ".join(layout) + ")" for layout in LAYOUTS) + ", trial and channel optional"
_ACCEPTED_DIMS = {
    tuple(dim for dim in layout if dim not in absent)
    for layout in LAYOUTS
    for absent in ((), ("trial",), ("channel",), ("trial", "channel"))
}
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,250}")
_RESERVED = {"coordinates", "missing_value", "scale_factor", "add_offset", "dtype"}  # CF and xarray act upon these
_RESERVED |= {"CLASS", "NAME", "DIMENSION_LIST", "REFERENCE_LIST"}  # and HDF5 upon these
_INT64 = np.iinfo(np.int64)


def validate_recording(dataset: xr.Dataset) -> None:
    """Raise an error that lists everything by which a dataset is not a recording.

    `wavefield.recordings.recording` documents the data model. Lazy data are not computed. NaN in `activity` is
    accepted (dead electrodes), no times at all too (a template).

    Raises
    ------
    TypeError
        If it is not an `xarray.Dataset`.
    ValueError
        Saying of each problem what is missing or wrong and what is accepted.

    Examples
    --------
    >>> from wavefield.recordings.recording import recording
    >>> validate_recording(recording(np.zeros((3, 8))).rename(position="place"))
    Traceback (most recent call last):
        ...
    ValueError: not a valid recording: activity has the dims ('time', 'place'); accepted are (trial, time, channel, \
position), (trial, time, channel, y, x), (trial, time, electrode), trial and channel optional
    """
    if not isinstance(dataset, xr.Dataset):
        raise TypeError(f"a recording is an xarray.Dataset, got {type(dataset).__name__}")
    problems = [*_layout_problems(dataset), *_coordinate_problems(dataset), *_metadata_problems(dataset)]
    if problems:
        raise ValueError("not a valid recording: " + "; ".join(problems))


def space_dims(dimensions: int) -> tuple[str, ...]:
    """The dims of space: of a ring or line, or of a sheet."""
    return ("position",) if dimensions == 1 else ("y", "x")


def dims_of(name: str, dimensions: int) -> tuple[str, ...]:
    """The dims of a companion of `activity` in a space of so many dimensions: `DIMS`, with y and x for position."""
    if dimensions == 1:
        return DIMS[name]
    if name == "kernel":
        return ("channel_out", "channel_in", "tap_y", "tap_x")
    return tuple(part for dim in DIMS[name] for part in (space_dims(2) if dim == "position" else (dim,)))


def regular_times(numbers: np.ndarray, interval: float, units: str) -> np.ndarray:
    """Return numbers·interval, as integers where they count steps (units ``1`` and an integer interval)."""
    times = np.asarray(numbers) * float(interval)
    exact = units == "1" and float(interval).is_integer() and np.max(times, initial=0) < 2**53
    return times.astype(np.int64) if exact else times


def _layout_problems(dataset):
    if "activity" not in dataset.data_vars:
        yield f"the variable 'activity' is missing (there are {sorted(map(str, dataset.data_vars)) or 'none'})"
        return
    activity = dataset.activity
    if activity.dims not in _ACCEPTED_DIMS:
        yield f"activity has the dims {activity.dims}; accepted are {_LAYOUT_TEXT}"
    if not _is_real(activity.dtype):
        yield f"activity has dtype {activity.dtype}; accepted are float32, float64 and integers"
    for dim, size in activity.sizes.items():
        if size == 0 and dim != "time":
            yield f"activity has shape {activity.shape}: no {dim} at all"
    without_time = tuple(dim for dim in activity.dims if dim != "time")
    if "previous" in dataset and dataset.previous.dims != without_time:
        yield f"previous has the dims {dataset.previous.dims}; accepted are those of activity, {without_time}"
    if "drive" in dataset and dataset.drive.dims not in (DIMS["drive"], ("trial", *DIMS["drive"])):
        yield f"drive has the dims {dataset.drive.dims}; accepted are {DIMS['drive']}, trial optional before them"


def _coordinate_problems(dataset):
    dims = dataset.activity.dims if "activity" in dataset.data_vars else ()
    wanted = {name: name for name in ("time", "position", "y", "x") if name in dims}
    wanted |= {"step": "step"} if "step" in dataset.dims else {}
    wanted |= {"x": "electrode", "y": "electrode"} if "electrode" in dims else {}
    for name, dim in wanted.items():
        if name not in dataset.coords:
            yield f"the coordinate {name}({dim}) is missing"
            continue
        coord = dataset.coords[name]
        if coord.dims != (dim,) or not _is_real(coord.dtype):
            yield f"the coordinate {name} is {coord.dtype} along {coord.dims}; accepted are numbers along {(dim,)}"
        elif not np.isfinite(coord.values).all():
            yield f"the coordinate {name} holds NaN or infinity"
        elif name in ("time", "step") and not _increases(coord.values):
            yield f"the coordinate {name} does not increase from each value to the next"
        elif name == dim and not (_increases(coord.values) or _increases(coord.values[::-1])):
            yield f"the coordinate {name} neither increases nor decreases from each value to the next"


def _metadata_problems(dataset):
    for name in {*dataset.dims, *dataset.variables}:
        if not _is_name(name):
            yield f"{name!r} is not accepted as a name: a letter, then letters, digits and underscores"
    for name, variable in dataset.variables.items():
        if not (_is_real(variable.dtype) or _is_text(variable)):
            yield f"{name} has dtype {variable.dtype}; accepted are float32, float64, integers and text"
        yield from _attribute_problems(f"{name}.attrs", variable.attrs, ("units", "long_name"))
        if "cycle" in str(variable.attrs.get("units", "")).lower():
            yield f"{name} has units {variable.attrs['units']!r}; cycles per mm are written 'mm-1', per second 'Hz'"
    yield from _attribute_problems("attrs", dataset.attrs, ("Conventions", "source", "history"))
    schema = dataset.attrs.get("wavefield_schema")
    if not isinstance(schema, (int, np.integer)):
        yield f"attrs has no wavefield_schema, an int, now {SCHEMA} (wavefield.recording() builds a valid recording)"
    elif schema > SCHEMA:
        yield f"its wavefield_schema is {schema}, this version knows {SCHEMA}: a newer version of wavefield reads it"


def _attribute_problems(where, attributes, required):
    for name in required:
        if not (isinstance(attributes.get(name), str) and attributes[name]):
            yield f"{where} has no {name}, a text"
    for name, value in attributes.items():
        if not _is_name(name) or name in _RESERVED:
            yield f"{where} holds {name!r}, reserved or not a name (a letter, then letters, digits, underscores)"
        elif not _is_attribute(value):
            yield (
                f"{where}[{name!r}] is {value!r}; accepted are text, int (64 bits), float and lists of text or of "
                "numbers (None, bool, dict and empty lists are not)"
            )


def _is_attribute(value) -> bool:
    if isinstance(value, np.ndarray):
        return value.ndim == 1 and _is_attribute(value.tolist())
    if isinstance(value, (list, tuple)):
        alike = all(isinstance(item, str) for item in value) or all(_is_number(item) for item in value)
        return len(value) > 0 and alike and all(_is_attribute(item) for item in value)
    if isinstance(value, str):
        return _is_plain(value)
    return _is_number(value)


def _is_number(value) -> bool:
    if isinstance(value, (int, np.integer)) and not isinstance(value, bool):
        return bool(_INT64.min <= value <= _INT64.max)
    return isinstance(value, (float, np.float32))  # np.float64 is a float


def _is_real(dtype) -> bool:
    return dtype.kind in "iu" or dtype in (np.float32, np.float64)


def _is_text(variable) -> bool:
    if variable.dtype.kind not in "UO":
        return False
    return all(isinstance(item, str) and _is_plain(item) for item in np.ravel(variable.values))


def _is_plain(text: str) -> bool:
    """Whether netCDF, whose text is UTF-8 that ends at the first NUL, gives the text back as it was."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in text


def _is_name(name) -> bool:
    return isinstance(name, str) and _NAME.fullmatch(name) is not None


def _increases(values) -> bool:
    return bool((values[1:] > values[:-1]).all())
