"""Plain arrays in ``.mat``, ``.npz`` and ``.npy`` files, with the sampling rate and positions that go with them."""

from __future__ import annotations

import math
import os
import warnings
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path

import h5py
import numpy as np
import xarray as xr
from scipy.io import loadmat, whosmat

from analysis.readers.endings import advice
from analysis.readers.positions import load_positions
from analysis.readers.series import Choices, Series, joined, to_recording
from wavefield.recordings.external import refuse_external, refuse_oversized

LARGEST = 8 * 2**30  # bytes of a variable that has to be read whole
MOST_RATES = 1_000_000  # numbers in a variable that says the sampling rate
MOST_PACKED = 1032  # bytes that one byte of a deflated file can become
MATLAB = {  # dtypes of its classes of numbers
    "double": "f8", "single": "f4", "logical": "u1", "char": "U1",
    **{f"{sign}int{bits}": f"{sign or 'i'}{bits // 8}" for sign in ("", "u") for bits in (8, 16, 32, 64)},
}  # fmt: skip


def read_arrays(
    path: str | os.PathLike,
    *,
    rate: float | str,
    series: str | None = None,
    allow_external: bool = False,
    **choices,
) -> xr.Dataset:
    """A recording from an array (time × electrode, or electrode × time) of numbers, perhaps with trials.

    Parameters
    ----------
    path : path
        ``.mat`` (all versions; those of version 7.3 are read piece by piece), ``.npz`` or ``.npy``. Of the older
        versions and of ``.npz``, variables of more than 8 GiB are refused.
    rate : float or str
        Samples per second, or the name of the variable in the file that says it.
    series : str, optional
        Name of the variable with the samples. Not needed where there is only one. Other variables are not read.
    allow_external : bool
        Whether a ``.mat`` file of version 7.3 may keep data in other files; only for files that you trust.
    **choices
        As in `analysis.readers.import_recording`; ``positions`` may also be the name of a variable in the file. The
        number of positions decides which axis is space. Of an array of three axes the first of the other two is
        ``trial``, as in (trial, time, electrode) and (trial, electrode, time), or the last where space comes first,
        as in (electrode, time, trial); time begins anew in every trial.

    Returns
    -------
    xarray.Dataset

    Raises
    ------
    FileNotFoundError, ValueError
        Naming the file, the object and the remedy.

    Examples
    --------
    >>> import tempfile
    >>> path = tempfile.mkdtemp() + "/session.npz"
    >>> np.savez(path, lfp=np.zeros((100, 3)), fs=500.0, places=[[0.0], [0.4], [0.8]])
    >>> rec = read_arrays(path, series="lfp", rate="fs", positions="places", position_units="mm", units="uV")
    >>> rec.activity.dims, float(rec.time[1])
    (('time', 'position'), 0.002)
    """
    found, chosen = array_trials(path, series, rate=rate, choices=Choices(**choices), allow_external=allow_external)
    trials = [to_recording(one, chosen) for one in found]
    return trials[0] if found[0].trial is None else joined(trials)


def array_trials(
    path: str | os.PathLike, name: str | None, *, rate, choices: Choices, allow_external: bool = False
) -> tuple[list[Series], Choices]:
    """The series, one per trial, and the choices with positions taken from the file; see `read_arrays`."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(2, "no such file", str(path))
    variables, close = _variables(path, allow_external)
    name = _data_name(path, variables, name)
    data, where = variables[name], f"{path}: {name}"
    if len(data.shape) not in (2, 3) or data.dtype.kind not in "iuf":
        raise ValueError(
            f"{where} has shape {data.shape} and dtype {data.dtype}; real (time, electrode) or (trial, time, "
            "electrode) is needed"
        )
    if isinstance(choices.positions, str) and choices.positions in variables:
        places = variables[choices.positions]
        if not (1 <= len(places.shape) <= 2 and set(places.shape) & set(data.shape)):  # before it is read
            raise ValueError(
                f"{path}: {choices.positions} has shape {places.shape}; (electrodes, 1 to 3 coordinates) is needed"
            )
        choices = replace(choices, positions=np.asarray(places))
    if choices.positions is None:
        raise ValueError(
            f"{where} says nothing of where its electrodes are; give their places with positions=… (--positions), a "
            f"file.csv or a variable of the file: {', '.join(variables)}"
        )
    positions, _ = load_positions(choices.positions, where, data.shape)
    if len(positions) not in data.shape:
        raise ValueError(f"{where} has shape {data.shape}: no axis as long as the {len(positions)} positions given")
    choices = replace(choices, positions=positions)
    interval = 1 / _rate(where, variables, rate)
    if len(data.shape) == 2 and data.shape[0] == data.shape[1]:
        warnings.warn(
            f"{where} has shape {data.shape}, of which either axis may be space: it is read as (time, electrode); if "
            "it is (electrode, time), save it transposed",
            stacklevel=3,
        )
    if len(data.shape) == 2:
        return [_one(path, name, data, len(positions), interval, close)], choices
    space = max(axis for axis in range(3) if data.shape[axis] == len(positions))
    trial = 2 if space == 0 else 0
    trials = np.moveaxis(np.asarray(data), trial, 0)
    found = [_one(path, name, one, len(positions), interval, close) for one in trials]
    return [replace(one, trial=number) for number, one in enumerate(found)], choices


def _one(path, name, data, electrodes, interval, close) -> Series:
    """The series of an array (time, electrode) or (electrode, time)."""
    turned = data.shape[1] != electrodes
    samples, columns = data.shape[::-1] if turned else data.shape
    dtype = np.dtype(np.float32 if data.dtype.itemsize <= 2 or data.dtype == np.float32 else np.float64)

    def read(start, stop):
        block = data[:, start:stop].T if turned else data[start:stop]
        return np.array(block, dtype=dtype, order="C")

    return Series(path, name, read, samples, columns, dtype, 0.0, interval, close=close)


def _variables(path: Path, allow_external: bool) -> tuple[Mapping, Callable[[], None]]:
    """Arrays by name, each read when it is used, and how to close the file."""
    ending = path.suffix.lower()
    try:
        if ending == ".npy":
            return {"data": np.load(path, mmap_mode="r", allow_pickle=False)}, lambda: None
        if ending == ".npz":
            return _members(path), lambda: None
        if ending == ".mat" and h5py.is_hdf5(path):  # version 7.3; the axes of MATLAB's arrays are turned round
            if not allow_external:
                refuse_external(path)
            refuse_oversized(path)
            file = h5py.File(path)
            found = {name: _Turned(item) for name, item in file.items() if isinstance(item, h5py.Dataset)}
            return found, file.close
        if ending == ".mat":
            return _matlab(path), lambda: None
    except Exception as error:  # damage shows in whatever way the parsers of others trip over it
        if str(error).startswith(f"{path}: "):
            raise
        raise ValueError(f"{path} is not a {ending} file, or is damaged or cut off: {error}") from error
    raise ValueError(f"{path}: .mat, .npz and .npy are read as arrays{advice(path, 'arrays')}")


@dataclass(frozen=True)
class _Packed:
    """An array that is read whole when it is first used; until then its shape and dtype are known."""

    where: str
    shape: tuple[int, ...]
    dtype: np.dtype
    stored: int  # bytes, packed
    load: Callable[[], np.ndarray]

    @cached_property
    def values(self) -> np.ndarray:
        size = math.prod(self.shape) * self.dtype.itemsize
        if size > LARGEST:
            raise ValueError(
                f"{self.where} is an array of {size / 2**30:.3g} GiB, more than {LARGEST / 2**30:.3g} GiB: save it as "
                ".npy or as .mat of version 7.3, which are read piece by piece"
            )
        if size > MOST_PACKED * self.stored + 1024:
            raise ValueError(f"{self.where} is damaged: {self.stored} bytes cannot hold an array of {size} bytes")
        try:
            return self.load()
        except Exception as error:
            raise ValueError(f"{self.where} is damaged or cut off: {error}") from error

    def __getitem__(self, index):
        return self.values[index]

    def __array__(self, dtype=None, copy=None):
        return np.asarray(self.values, dtype=dtype)


def _members(path):
    """The arrays of an .npz file by their names."""
    found = {}
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            name = info.filename.removesuffix(".npy")
            with archive.open(info) as file:
                version = np.lib.format.read_magic(file)
                header = (
                    np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
                )
                shape, _, dtype = header(file)
            found[name] = _Packed(f"{path}: {name}", shape, dtype, info.compress_size, partial(_member, path, name))
    return found


def _member(path, name):
    with np.load(path, allow_pickle=False) as file:
        return file[name]


def _matlab(path):
    """The arrays of a .mat file of version 5 or older by their names."""
    size = path.stat().st_size
    return {
        name: _Packed(
            f"{path}: {name}", tuple(shape), np.dtype(MATLAB.get(kind, "O")), size, partial(_matrix, path, name)
        )
        for name, shape, kind in whosmat(path)
    }


def _matrix(path, name):
    return loadmat(path, variable_names=[name])[name]


class _Turned:
    """A dataset of HDF5 as MATLAB sees it: the axes in reverse, read when sliced."""

    def __init__(self, dataset):
        self._dataset, self.shape, self.dtype = dataset, dataset.shape[::-1], dataset.dtype

    def __getitem__(self, index):
        index = index if isinstance(index, tuple) else (index,)
        index = (*index, *[slice(None)] * (len(self.shape) - len(index)))
        return self._dataset[index[::-1]].T

    def __array__(self, dtype=None, copy=None):
        return np.asarray(self._dataset[()].T, dtype=dtype)


def _data_name(path, variables, name):
    if name is None:
        numeric = [key for key, value in variables.items() if value.dtype.kind in "iuf" and min(value.shape, default=0)]
        wide = [key for key in numeric if len(variables[key].shape) in (2, 3) and max(variables[key].shape) > 3]
        if len(wide) == 1:
            return wide[0]
        raise ValueError(f"{path}: no variable was named; choose with series=… (--series) among {', '.join(variables)}")
    if name not in variables:
        raise ValueError(f"{path} has no variable {name!r}; it has {', '.join(variables)}")
    if 0 in variables[name].shape:
        raise ValueError(f"{path}: {name} is empty, {variables[name].shape}: choose another variable")
    return name


def _rate(where, variables, rate):
    if rate is None:
        raise ValueError(
            f"{where} says nothing of its sampling rate; give rate=… (--rate), in Hz or the name of a variable: "
            f"{', '.join(variables)}"
        )
    found = variables.get(rate) if isinstance(rate, str) else rate
    if math.prod(getattr(found, "shape", ())) > MOST_RATES:  # before it is read
        raise ValueError(f"{where}: rate={rate!r} has shape {found.shape}: one number is needed, or one per electrode")
    try:
        values = np.unique(np.asarray(float(rate) if found is None else found, dtype=float))
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"{where}: rate={rate!r} is neither a number nor a variable among {', '.join(variables)}"
        ) from error
    if values.size > 1:
        raise ValueError(f"{where} mixes the sampling rates {values.tolist()} Hz: split the array, one rate each")
    if values.size == 0:
        raise ValueError(f"{where}: rate={rate!r} is empty: a positive number is needed")
    if not 0 < values[0] < np.inf:
        raise ValueError(f"{where}: rate is {values[0]} Hz: a positive number is needed")
    return float(values[0])
