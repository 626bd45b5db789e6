"""Spike times into rates: a recording of how often units fire, smooth enough in time for the diagnostics of waves."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from analysis.readers.nwb import NWB_POSITION_UNITS, table_positions
from analysis.readers.optional import need
from analysis.readers.series import Choices, Series, to_recording
from wavefield.recordings.external import refuse_external

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
        Places of the units. Units that share one, as those of one electrode, are added up.
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

    Examples
    --------
    >>> rec = spike_rates([[0.5], [0.6], [0.7]], rate=100, width=0.02, positions=[[0.0], [0.4], [0.8]], start=0, stop=1)
    >>> rec.activity.dims, [round(float(rec.time[i]), 2) for i in rec.activity.argmax("time").values]
    (('time', 'position'), [0.5, 0.6, 0.7])
    """
    units = [np.sort(np.asarray(times, dtype=float).ravel()) for times in spikes]
    places = np.asarray(positions, dtype=float)
    places = places[:, None] if places.ndim == 1 else places
    if len(units) != len(places):
        raise ValueError(f"spikes has {len(units)} units, but positions has shape {places.shape}: a place for each")
    if not all(np.isfinite(times).all() for times in units):
        raise ValueError("spikes holds NaN or infinite times: leave those out")
    if not rate > 0:
        raise ValueError(f"rate is {rate}: a positive number of samples per second is needed")
    if not width * rate >= 1:
        raise ValueError(f"width is {width} s: at least one sampling interval, {1 / rate:.6g} s, is needed")
    every = np.concatenate(units) if units else np.zeros(0)
    if not every.size:
        raise ValueError("spikes holds no spike")
    start = float(every.min()) if start is None else float(start)
    stop = float(every.max()) + 1 / rate if stop is None else float(stop)
    samples = int(np.ceil((stop - start) * rate - 1e-6))
    if samples < 1:
        raise ValueError(f"start={start}, stop={stop} leaves no sample at {rate} Hz")
    there, which = np.unique(places, axis=0, return_inverse=True)
    joined = [np.concatenate([units[u] for u in np.flatnonzero(which.ravel() == n)]) for n in range(len(there))]

    def read(first, last):
        return np.stack([_rate(times, start + np.arange(first, last) / rate, width, rate) for times in joined], axis=1)

    series = Series(
        Path("spikes"), "spike times", read, samples, len(there), np.dtype(np.float64), start, 1 / float(rate),
        units="Hz", attrs={"kernel_width": float(width), "kernel_shape": "gaussian"},
    )  # fmt: skip
    choices = Choices(units="Hz", positions=there, position_units=position_units, grid=grid, spacing=spacing)
    rec = to_recording(series, choices)
    rec["activity"].attrs["long_name"] = "firing rate"
    return rec


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
    if not allow_external:
        refuse_external(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of schema versions cached in the file
        with pynwb.NWBHDF5IO(str(path), "r") as io:
            table = io.read().units
            if table is None or "spike_times" not in table.colnames:
                raise ValueError(f"{path} has no table of units with spike times")
            spikes = [np.asarray(table["spike_times"][unit], dtype=float) for unit in range(len(table))]
            if options.get("positions") is None:
                options |= {"positions": _places(path, table), "position_units": NWB_POSITION_UNITS}
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
    path, places = Path(path), np.asarray(positions, dtype=float)
    if not path.is_file():
        raise FileNotFoundError(2, "no such file", str(path))
    if not tick > 0:
        raise ValueError(f"tick is {tick}: the positive number of seconds for each unit of the times is needed")
    if not h5py.is_hdf5(path):
        raise ValueError(f"{path} is not an HDF5 file")
    if not allow_external:
        refuse_external(path)
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
            if channels is None or not _is_times(found):
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


def _is_times(item) -> bool:
    return isinstance(item, h5py.Dataset) and item.dtype.kind in "iuf" and max(item.shape, default=0) == item.size


def _number(name: str) -> tuple[int, str]:
    digits = "".join(ch for ch in name if ch.isdigit())
    return (int(digits) if digits else -1), name


def _places(path, table):
    """Where the first electrode of each unit is."""
    if "electrodes" not in table.colnames:
        raise ValueError(f"{path}: its units name no electrodes; give their places with positions=…")
    rows = np.array([int(np.asarray(table["electrodes"][unit].index)[0]) for unit in range(len(table))])
    places = table_positions(table["electrodes"].target.table, rows)
    if places is None:
        raise ValueError(f"{path} says nothing of where its electrodes are; give the places of units with positions=…")
    return places
