"""Spike times into rates: a recording of how often units fire, smooth enough in time for the diagnostics of waves."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import h5py
import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from analysis.readers.nwb import NWB_POSITION_UNITS, damage, table_positions
from analysis.readers.optional import need
from analysis.readers.positions import load_positions
from analysis.readers.series import Choices, Series, to_recording
from wavefield.checks import positive
from wavefield.recordings.external import refuse_external, refuse_oversized

MOST_SAMPLES = 2**31  # of a result: 24 days at 1 kHz, and not times in microseconds
REACH = 5.0  # widths of the kernel, beyond which it is taken as 0


def spike_rates(
    spikes: Sequence[ArrayLike],
    *,
    rate: float,
    width: float,
    positions,
    position_units: str = "mm",
    start: float | None = None,
    stop: float | None = None,
    grid: bool = False,
    spacing: float | None = None,
) -> xr.Dataset:
    r"""Rates of units from the times of their spikes, with a Gaussian kernel.

    .. math:: r_u(t) = \sum_s \frac{1}{w \sqrt{2π}} e^{-(t - t_{us})^2 / 2w^2}

    so that the rate of a unit, summed over time, counts its spikes. The kernel is symmetric: it delays nothing, and
    passes waves of frequency f by the factor :math:`e^{-2 (π f w)^2}`, the same at every unit.

    Parameters
    ----------
    spikes : sequence of arrays
        Spike times of each unit, s.
    rate : float
        Samples per second of the result.
    width : float
        Standard deviation w of the kernel, s; at least one sampling interval.
    positions : array (unit, 1 to 3)
        Places of the units. Units that share one, as those of one electrode, are added up; those without one (NaN) are
        left out, with a warning.
    position_units : str
        m, cm, mm or um.
    start, stop : float, optional
        First sample and end, s; by default from the first spike to the last.
    grid, spacing
        As in `analysis.readers.import_recording`.

    Returns
    -------
    xarray.Dataset
        ``activity`` in Hz, positions in mm.

    Raises
    ------
    ValueError, TypeError
        Spikes that are not one sequence of finite times for each unit, or of which none lies between `start` and
        `stop`; another number of places than of units; a rate or width that is not positive; a narrower kernel than one
        sampling interval.

    Examples
    --------
    >>> rec = spike_rates([[0.5], [0.6], [0.7]], rate=100, width=0.02, positions=[[0.0], [0.4], [0.8]], start=0, stop=1)
    >>> rec.activity.dims, [round(float(rec.time[i]), 2) for i in rec.activity.argmax("time").values]
    (('time', 'position'), [0.5, 0.6, 0.7])
    """
    rate, width = positive(rate, "rate"), positive(width, "width")
    if not width * rate >= 1:
        raise ValueError(f"width is {width} s: at least one sampling interval, {1 / rate:.6g} s, is needed")
    units = _spike_times(spikes)
    places, _ = load_positions(positions, "spikes", (len(units),))
    if len(units) != len(places):
        raise ValueError(f"spikes has {len(units)} units, but positions has shape {places.shape}: a place for each")
    start, stop, samples = _window(units, rate, start, stop)
    there, first, which = np.unique(places, axis=0, return_index=True, return_inverse=True)
    joined = [np.concatenate([units[u] for u in np.flatnonzero(which.ravel() == n)]) for n in range(len(there))]

    def read(begin, end):
        return np.stack([_rate(times, start + np.arange(begin, end) / rate, width, rate) for times in joined], axis=1)

    series = Series(
        Path("spikes"), "spike times", read, samples, len(there), np.dtype(np.float64), start, 1 / rate,
        units="Hz", names=tuple(f"unit {unit}" for unit in first),
        attrs={"kernel_width": width, "kernel_shape": "gaussian"},
    )  # fmt: skip
    choices = Choices(units="Hz", positions=there, position_units=position_units, grid=grid, spacing=spacing)
    rec = to_recording(series, choices)
    rec["activity"].attrs["long_name"] = "firing rate"
    return rec


def _spike_times(spikes) -> list[np.ndarray]:
    """The sorted spike times of each unit, s."""
    needed = "a sequence with the spike times of each unit, in s, is needed: [[0.5, 0.61], [0.7], …]"
    try:
        if isinstance(spikes, str | bytes | Mapping):
            raise TypeError("no sequence of units")
        given = list(spikes)
    except TypeError as error:
        raise TypeError(f"spikes is {spikes!r:.60} ({type(spikes).__name__}): {needed}") from error
    found = []
    for unit, times in enumerate(given):
        try:
            array = np.asarray(times)
        except (TypeError, ValueError):  # ragged
            array = np.array(times, dtype=object)
        one_axis = array.ndim > 0 and max(array.shape) == array.size
        if array.size and not (one_axis and array.dtype.kind in "iuf"):
            raise TypeError(f"spikes[{unit}] is {times!r:.60} ({type(times).__name__}): {needed}")
        if not np.isfinite(array.astype(float)).all():
            raise ValueError(f"spikes[{unit}] holds NaN or infinite times: leave those out")
        found.append(np.sort(array.astype(float), axis=None))
    if not any(times.size for times in found):
        raise ValueError(f"spikes holds no spike, in {len(found)} units: {needed}")
    return found


def _window(units, rate, start, stop) -> tuple[float, float, int]:
    """First sample and end, s, and how many samples lie between them."""
    every = np.concatenate(units)
    for name, value in (("start", start), ("stop", stop)):
        number = isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
        if value is not None and not (number and np.isfinite(value)):
            raise ValueError(f"{name} is {value!r}: a time in s is needed, or None for that of the spikes")
    first = float(every.min()) if start is None else float(start)
    last = float(every.max()) + 1 / rate if stop is None else float(stop)
    samples = int(np.ceil((last - first) * rate - 1e-6))
    spikes = f"the spikes lie from {every.min():.6g} to {every.max():.6g} s"
    if samples < 1:
        raise ValueError(f"start={start}, stop={stop} leaves no sample at {rate:g} Hz; {spikes}")
    if not ((every >= first) & (every < last)).any():
        raise ValueError(f"start={start}, stop={stop} leaves no spike; {spikes}: are both in seconds?")
    if samples > MOST_SAMPLES:
        raise ValueError(
            f"{samples} samples at {rate:g} Hz are more than {MOST_SAMPLES}; {spikes}: are they in seconds? Else give "
            "start=… and stop=…"
        )
    return first, last, samples


def _rate(times, samples, width, rate):
    """Σ of Gaussians about the spike `times` at even `samples`."""
    reach = int(np.ceil(REACH * width * rate))
    near = times[(times > samples[0] - (reach + 1) / rate) & (times < samples[-1] + (reach + 1) / rate)]
    nearest = np.rint((near - samples[0]) * rate).astype(int)
    at = nearest[:, None] + np.arange(-reach, reach + 1)  # (spike, sample)
    height = np.exp(-0.5 * ((samples[0] + at / rate - near[:, None]) / width) ** 2) / (width * np.sqrt(2 * np.pi))
    inside = (at >= 0) & (at < samples.size)
    return np.bincount(at[inside], weights=height[inside], minlength=samples.size)


def read_nwb_units(
    path: str | os.PathLike, *, rate: float, width: float, allow_external: bool = False, **options
) -> xr.Dataset:
    """Rates of the units of an NWB file, from the spike times of its table ``units``.

    Parameters
    ----------
    path : path
    rate, width
        As in `spike_rates`.
    allow_external : bool
        As in `read_nwb`.
    **options
        ``positions``, ``position_units``, ``start``, ``stop``, ``grid`` and ``spacing`` of `spike_rates`. By default
        a unit is where the first of its electrodes is (the column ``electrodes``).

    Returns
    -------
    xarray.Dataset
        As of `spike_rates`.

    Raises
    ------
    FileNotFoundError, ValueError
        Naming the file and what it lacks.
    """
    pynwb = need("pynwb", "nwb", "reading NWB files")
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(2, "no such file", str(path))
    _check_hdf5(path, allow_external)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of schema versions cached in the file
        try:
            with pynwb.NWBHDF5IO(str(path), "r") as io:
                table = io.read().units
                if table is None or "spike_times" not in table.colnames:
                    raise ValueError(f"{path} has no table of units with spike times")
                spikes = [np.asarray(table["spike_times"][unit], dtype=float) for unit in range(len(table))]
                if options.get("positions") is None:
                    options |= {"positions": _places(path, table), "position_units": NWB_POSITION_UNITS}
        except damage() as error:
            if isinstance(error, ValueError) and str(path) in str(error):
                raise
            raise ValueError(f"{path} is not an NWB file, or is damaged or cut off: {error}") from error
    rec = spike_rates(spikes, rate=rate, width=width, **options)
    return rec.assign_attrs(source=f"{path.name}: units")


def read_hdf5_spikes(
    path: str | os.PathLike,
    *,
    times: str,
    channels: str | None = None,
    tick: float = 1.0,
    rate: float,
    width: float,
    positions,
    allow_external: bool = False,
    **options,
) -> xr.Dataset:
    """Rates of the channels of a microelectrode array, from the spike times in an HDF5 file of any maker.

    Makers agree on no layout, but on one of two forms:

    - one dataset with the time of every spike and another with its channel, as in files of 3Brain:
      ``times="3BResults/3BChEvents/SpikeTimes", channels="3BResults/3BChEvents/SpikeChIDs", tick=1 / sampling_rate``;
    - a group with one dataset of times for each channel, in the order of their numbers, as the time stamps of Multi
      Channel Systems: ``times="Data/Recording_0/TimeStampStream/Stream_0", tick=1e-6``. Other datasets there, such as
      tables, are passed over.

    Parameters
    ----------
    path : path
    times : str
        Name of the dataset of times, or of the group that holds one for each channel.
    channels : str, optional
        Name of the dataset with the channel of every spike, numbers that count the rows of `positions` from 0.
    tick : float
        Seconds for each unit of the times: 1 / sampling rate for samples, 1e-6 for microseconds.
    rate, width
        As in `spike_rates`.
    positions : array (channel, 1 to 3)
        Places of all channels, also of those without a spike.
    allow_external : bool
        Whether the file may link to other files; only for files that you trust.
    **options
        ``position_units``, ``start``, ``stop``, ``grid`` and ``spacing`` of `spike_rates`.

    Returns
    -------
    xarray.Dataset
        As of `spike_rates`.

    Raises
    ------
    FileNotFoundError, ValueError
        Naming the file, the object in it and what is needed.
    """
    path, tick = Path(path), positive(tick, "tick")
    places, _ = load_positions(positions, "positions of channels", ())
    if not path.is_file():
        raise FileNotFoundError(2, "no such file", str(path))
    _check_hdf5(path, allow_external)
    with h5py.File(path, "r") as file:
        for name in filter(None, (times, channels)):
            if name not in file:
                raise ValueError(f"{path} has no {name!r}; at its top it has {', '.join(file)}")
        found = file[times]
        if isinstance(found, h5py.Group):
            numbered = sorted((name for name in found if _is_times(found[name])), key=_number)
            spikes = [np.asarray(found[name], dtype=float).ravel() * tick for name in numbered]
            if len(spikes) != len(places):
                raise ValueError(
                    f"{path}: {times} has {len(spikes)} datasets of times, positions has {len(places)} rows"
                )
        else:
            if channels is None or not (_is_times(found) and _is_times(file[channels])):
                raise ValueError(
                    f"{path}: {times} is one dataset: channels=… must name that of the channel of every spike"
                )
            every, of = np.asarray(found, dtype=float).ravel() * tick, np.asarray(file[channels]).ravel()
            if every.size != of.size or of.dtype.kind not in "iu":
                raise ValueError(
                    f"{path}: {every.size} times and {of.size} channels ({of.dtype}): a whole number for each"
                )
            if of.size and not 0 <= of.min() <= of.max() < len(places):
                raise ValueError(
                    f"{path}: channels from {of.min()} to {of.max()}, but positions has {len(places)} rows, "
                    "counted from 0"
                )
            spikes = [every[of == number] for number in range(len(places))]
    rec = spike_rates(spikes, rate=rate, width=width, positions=places, **options)
    return rec.assign_attrs(source=f"{path.name}: {times}")


def _check_hdf5(path, allow_external) -> None:
    """Raise ValueError for a file that is not of HDF5, is cut off, or reaches into others without being allowed to."""
    try:
        if not h5py.is_hdf5(path):
            raise ValueError(f"{path} is not an HDF5 file, or is damaged or cut off")
        if not allow_external:
            refuse_external(path)
        refuse_oversized(path)
    except (OSError, RuntimeError) as error:
        raise ValueError(f"{path} is damaged or cut off: {error}") from error


def _is_times(item) -> bool:
    return isinstance(item, h5py.Dataset) and item.dtype.kind in "iuf" and max(item.shape, default=0) == item.size


def _number(name: str) -> tuple[int, str]:
    digits = "".join(ch for ch in name if ch.isdigit())
    return (int(digits) if digits else -1), name


def _places(path, table):
    """Where the first electrode of each unit is."""
    if "electrodes" not in table.colnames:
        raise ValueError(f"{path}: its units name no electrodes; give their places with positions=…")
    of = [np.asarray(table["electrodes"][unit].index).ravel() for unit in range(len(table))]
    if none := [unit for unit, rows in enumerate(of) if not rows.size]:
        raise ValueError(f"{path}: its units {none} name no electrode; give the places of units with positions=…")
    rows = np.array([int(rows[0]) for rows in of], dtype=int)
    places = table_positions(table["electrodes"].target.table, rows)
    if places is None:
        raise ValueError(f"{path} says nothing of where its electrodes are; give the places of units with positions=…")
    return places
