"""Drives: the inputs of a field, as spike trains or as a series read from a file.

A drive is an `xarray.DataArray` with the dims ``step, input``: the value ``x[t, i]`` of input i during step t, which
has arrived when state t is stored. The same array stands in a recording as its variable ``drive``.
"""

from __future__ import annotations

import csv
import errno
import math
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from tokenize import TokenError

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from wavefield.checks import positive, positive_int
from wavefield.recordings.schema import regular_times

ROW_NAMES = ("step", "time", "")  # a first CSV column called so numbers the rows: it is not an input


def spikes(
    trains: Sequence[Sequence[tuple[float, float]]], steps: int, *, dt: float | None = None, units: str = "1"
) -> xr.DataArray:
    """Spike trains as a drive: x[onset, i] = amplitude for each event of input i, 0 elsewhere.

    Parameters
    ----------
    trains : sequence of sequences of (onset, amplitude)
        One train per input, empty if it is silent. Onsets are integer steps, 0 ≤ onset < steps, increasing within a
        train; amplitudes are finite numbers of either sign.
    steps : int
        Length of the drive.
    dt : float, optional
        Duration of a step. Where it is given onsets are times, multiples of dt, and so is the coordinate ``step``.
    units : str
        Of the times, such as ``"ms"``.

    Returns
    -------
    xarray.DataArray
        float64, dims ``(step, input)``.

    Raises
    ------
    TypeError, ValueError
        Naming the input and the event that do not fit.

    Examples
    --------
    >>> drive = spikes([[(0, 1.0), (3, 0.5)], [(2, -1.0)]], steps=4)
    >>> drive.values.T.tolist()
    [[1.0, 0.0, 0.0, 0.5], [0.0, 0.0, -1.0, 0.0]]
    >>> spikes([[(1.5, 1.0)]], steps=5, dt=0.5, units="ms").step.values.tolist()
    [0.0, 0.5, 1.0, 1.5, 2.0]
    """
    steps = positive_int(steps, "steps")
    if dt is None and units != "1":
        raise ValueError(f"units={units!r} needs dt, the duration of a step in them")
    dt = None if dt is None else positive(dt, "dt")
    trains = _list_of(trains, "trains must be a sequence with one train, [(onset, amplitude), …], per input")
    if not trains:
        raise ValueError("trains holds no inputs; give one train per input, [] for a silent one")
    values = np.zeros((steps, len(trains)))
    for number, train in enumerate(trains):
        before = -1
        for event, pair in enumerate(_list_of(train, f"input {number}: a train must be [(onset, amplitude), …]")):
            where = f"input {number}, event {event}"
            onset, amplitude = _event(pair, where, dt)
            if not 0 <= onset < steps:
                raise ValueError(f"{where}: onset {onset} is outside 0 ≤ onset < steps={steps}")
            if onset <= before:
                wrong = "is given twice" if onset == before else f"comes after {before}"
                raise ValueError(f"{where}: onset {onset} {wrong}; onsets must increase within a train")
            values[onset, number] = amplitude
            before = onset
    drive = as_drive(values)
    if dt is None:
        return drive
    about = {"units": units, "long_name": "time at which the step begins"}
    return drive.assign_coords(step=("step", regular_times(np.arange(steps), dt, units), about))


def spike_trains(drive: ArrayLike | xr.DataArray) -> list[list[tuple[int, float]]]:
    """The events of a drive, one list of (onset, amplitude) per input: the inverse of `spikes`.

    Parameters
    ----------
    drive : DataArray or array
        Dims ``(step, input)``. Every value other than 0 is an event.

    Returns
    -------
    list of list of (int, float)

    Raises
    ------
    ValueError
        If the drive has not two axes or holds NaN or infinity.

    Examples
    --------
    >>> spike_trains(spikes([[(0, 1.0), (3, 0.5)], []], steps=4))
    [[(0, 1.0), (3, 0.5)], []]
    """
    if isinstance(drive, xr.DataArray) and set(drive.dims) == {"step", "input"}:
        drive = drive.transpose("step", "input")
    values = _checked(np.asarray(drive), "drive")
    return [[(int(t), float(values[t, i])) for t in np.flatnonzero(values[:, i])] for i in range(values.shape[1])]


def load_drive(path: str | os.PathLike, *, variable: str | None = None) -> xr.DataArray:
    """Read a drive, one row per step and one column per input, from a CSV, NPY or netCDF file.

    Parameters
    ----------
    path : path
        ``.csv``: numbers between commas, with or without a first line of names; a first column called ``step`` or
        ``time`` (or not called anything, as pandas writes its index) numbers the rows and is left out.
        ``.npy``: an array (steps, inputs), or (steps,) for one input.
        ``.nc``: netCDF 4, a variable of one or two dims, the first of them time unless the second is called ``step``
        or ``time``.
    variable : str, optional
        Which variable of a netCDF file; by default ``drive``, or the only one there is.

    Returns
    -------
    xarray.DataArray
        float32 if the file holds that, else float64; dims ``(step, input)``; names of inputs as the coordinate
        ``input``, where the file gives them.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        Naming the file, what is wrong in it (line, shape, dtype, NaN) and what is accepted.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp(), "drive.csv")
    >>> _ = path.write_text("left,right\\n0,1\\n0.5,0\\n")
    >>> spike_trains(load_drive(path))
    [[(1, 0.5)], [(0, 1.0)]]
    """
    path = Path(path)
    if path.suffix.lower() not in (".csv", ".npy", ".nc"):
        raise ValueError(f"{path}: a drive is read from .csv, .npy or .nc files, got {path.suffix or 'no ending'!r}")
    if variable is not None and path.suffix.lower() != ".nc":
        raise ValueError(f"variable={variable!r} was given, but {path} is not a netCDF (.nc) file with named variables")
    if not path.is_file():
        raise FileNotFoundError(errno.ENOENT, "no such file", str(path))
    names = None
    if path.suffix.lower() == ".csv":
        values, names = _read_csv(path)
    elif path.suffix.lower() == ".npy":
        values = _read_npy(path)
    else:
        values, names = _read_netcdf(path, variable)
    return as_drive(_checked(values[:, np.newaxis] if values.ndim == 1 else values, str(path)), names)


def as_drive(values: np.ndarray, names=None) -> xr.DataArray:
    """Label an array (steps, inputs) as a drive, with names of its inputs where there are any."""
    coords = {"step": ("step", np.arange(len(values)), {"units": "1", "long_name": "step"})}
    if names is not None:
        coords["input"] = ("input", names, {"units": "1", "long_name": "input"})
    attributes = {"units": "1", "long_name": "input to the field"}
    return xr.DataArray(values, coords, ("step", "input"), name="drive", attrs=attributes)


def _checked(values, owner):
    """The values as floats (step, input), all of them finite."""
    if values.ndim != 2 or 0 in values.shape:
        raise ValueError(f"{owner} has shape {values.shape}; accepted is (steps, inputs), at least one of each")
    if values.dtype.kind not in "biuf":
        raise ValueError(f"{owner} has dtype {values.dtype}; accepted are real numbers")
    values = values.astype(np.float32 if values.dtype == np.float32 else np.float64)
    if not np.isfinite(values).all():
        step, number = np.argwhere(~np.isfinite(values))[0]
        raise ValueError(f"{owner} holds {values[step, number]} at step {step}, input {number}; it must be finite")
    return values


def _list_of(value, message):
    if isinstance(value, (str, bytes, dict)) or not isinstance(value, Iterable):
        raise TypeError(f"{message}, got {value!r}")
    return list(value)


def _event(pair, where, dt):
    pair = _list_of(pair, f"{where}: an event must be a pair (onset, amplitude)")
    if len(pair) != 2:
        raise ValueError(f"{where}: an event must be a pair (onset, amplitude), got {pair!r}")
    onset, amplitude = pair
    if dt is not None:
        onset = _step_of(onset, where, dt)
    if isinstance(onset, (bool, np.bool_)) or not isinstance(onset, (int, np.integer)):
        raise TypeError(f"{where}: the onset must be an integer step, got {onset!r}")
    if isinstance(amplitude, (bool, np.bool_)) or not isinstance(amplitude, (int, float, np.integer, np.floating)):
        raise TypeError(f"{where}: the amplitude must be a number, got {amplitude!r}")
    if not math.isfinite(amplitude):
        raise ValueError(f"{where}: the amplitude must be finite, got {amplitude!r}")
    return int(onset), float(amplitude)


def _step_of(time, where, dt):
    """Return the step that begins at a time."""
    if isinstance(time, (bool, np.bool_)) or not isinstance(time, (int, float, np.integer, np.floating)):
        raise TypeError(f"{where}: the onset must be a time, got {time!r}")
    if not math.isfinite(time) or abs(time / dt - round(time / dt)) > 1e-6 * max(1.0, abs(time / dt)):
        raise ValueError(f"{where}: the onset must be a multiple of dt = {dt:g}, when a step begins, got {time!r}")
    return round(time / dt)


def _read_csv(path):
    """Numbers of a CSV file (rows, columns) and the names of its columns, or None."""
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            lines = list(csv.reader(file))
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path} is not a CSV text file: {error}") from error
    while lines and not "".join(lines[-1]).strip():
        lines.pop()
    first = [cell.strip("# ") for cell in lines[0]] if lines else []
    numbered = first[:1] and first[0].lower() in ROW_NAMES
    header = bool(numbered or all(_number(cell) is None for cell in first))
    rows = [_numbers(path, line, cells, len(first)) for line, cells in enumerate(lines[header:], start=1 + header)]
    if not rows:
        raise ValueError(f"{path} holds no rows of numbers; accepted is one row per step, one column per input")
    values = np.array(rows)
    if numbered:
        _check_even(values[:, 0], path)
        return values[:, 1:], first[1:]
    return values, first if header else None


def _numbers(path, line, cells, width):
    if len(cells) != width:
        raise ValueError(f"{path}, line {line}: {len(cells)} values, but {width} in line 1")
    numbers = [_number(cell) for cell in cells]
    if None in numbers:
        wrong = cells[numbers.index(None)]
        raise ValueError(f"{path}, line {line}: {wrong!r} is not a number; accepted are numbers between commas")
    return numbers


def _number(cell):
    try:
        return float(cell)
    except ValueError:
        return None


def _check_even(times, path):
    gaps = np.diff(times)
    if gaps.size and not (gaps[0] > 0 and np.allclose(gaps, gaps[0], rtol=1e-3, atol=0)):
        raise ValueError(f"{path}: its first column numbers the rows, but not in even steps: each row is one step")


def _read_npy(path):
    try:
        return np.array(np.load(path, mmap_mode="r", allow_pickle=False))  # mapped: a false header cannot claim memory
    except (ValueError, TypeError, SyntaxError, TokenError, OverflowError, EOFError, OSError) as error:
        raise ValueError(f"{path} is not an NPY file of numbers: {error}") from error


def _read_netcdf(path, variable):
    try:
        dataset = xr.open_dataset(path, engine="h5netcdf", decode_times=False)
    except (OSError, RuntimeError, ValueError, TypeError, LookupError, AttributeError) as error:
        raise ValueError(f"{path} is not a netCDF 4 file, or is damaged or cut off: {error}") from error
    with dataset:
        names = [str(name) for name in dataset.data_vars]
        if variable is None:
            variable = "drive" if "drive" in names or len(names) != 1 else names[0]
        if variable not in names:
            raise ValueError(f"{path} has no variable {variable!r}; give variable=…, one of {names}")
        array = dataset[variable]
        if array.ndim == 2 and array.dims[1] in ("step", "time"):
            array = array.T
        names = array[array.dims[1]].values if array.ndim == 2 and array.dims[1] in array.coords else None
        return array.values, names
