"""A series of samples as a file holds it, and the two things made of it: a lazy recording, or a recording on disk.

Readers know formats; what follows is the same for all of them and happens here: cutting out a segment, arranging
columns in space, masking dead electrodes, naming units, and streaming to disk in blocks.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import dask.array as da
import numpy as np
import xarray as xr

from analysis.readers.positions import Arrangement, arranged, load_positions
from analysis.readers.units import activity_units, length_factor
from wavefield.progress import Progress
from wavefield.recordings.recording import RecordingWriter, recording, with_history

JITTER = 0.01  # of the sampling interval, by which time stamps may differ from even ones
SMALLEST, LARGEST = 0.01, 1000.0  # extents of arrays that are believed, mm
QUIETEST, LOUDEST = 1e-4, 1e8  # median deviation of potentials that is believed, uV
BAD = "BAD"  # how marks of what is not to be used begin, in capitals, in MNE as in BrainVision
LOOKED_AT = 512  # samples at the beginning that are looked at for it
BLOCK_BYTES = 32 * 2**20  # of samples as the recording holds them, read at a time


@dataclass(frozen=True)
class Series:
    """Samples (time, column) that are read when they are asked for."""

    path: Path
    name: str  # of the object in the file
    read: Callable[[int, int], np.ndarray]  # rows from … to, in `units`, floating point
    samples: int
    columns: int
    dtype: np.dtype
    first: float  # time of the first sample, s
    interval: float  # s
    stamps: np.ndarray | None = None  # time of each sample, in place of these two
    units: str | None = None
    positions: np.ndarray | None = None  # (column, 1 to 3)
    position_units: str | None = None
    names: tuple[str, ...] | None = None  # of the columns
    dead: np.ndarray | None = None  # (column,)
    bad: tuple[tuple[float, float], ...] = ()  # spans of time that the file marks as bad, s
    events: tuple[tuple[float, float, str], ...] = ()  # onset and duration, s, and what it was
    trial: int | None = None  # which of several, of a file that has them
    chunk: int = 1  # rows that the file stores together
    attrs: dict = field(default_factory=dict)
    close: Callable[[], None] = lambda: None

    @property
    def where(self) -> str:
        return f"{self.path}: {self.name}"


@dataclass(frozen=True)
class Choices:
    """What the caller wants, the same for every format; see `analysis.readers.import_recording`."""

    units: str | None = None
    positions: object = None
    position_units: str | None = None
    dead: tuple = ()
    grid: bool = False
    spacing: float | None = None
    start: float | None = None
    stop: float | None = None


def is_bad(text: str) -> bool:
    """Whether what a file calls by this name is not to be used."""
    return text.strip().upper().startswith(BAD)


def even_interval(times: np.ndarray, where: str) -> float:
    """The sampling interval of time stamps, which must be even."""
    if times.size < 2 or not np.isfinite(times).all():
        raise ValueError(
            f"{where}: {times.size} time stamps, or NaN among them: the sampling rate cannot be read from them"
        )
    steps = np.diff(times)
    usual = float(np.median(steps))
    uneven = np.flatnonzero(np.abs(steps - usual) > JITTER * usual)
    if usual <= 0 or uneven.size:
        place = times[uneven[0]] if uneven.size else times[0]
        raise ValueError(
            f"{where}: its time stamps are not even: {uneven.size} steps differ from the usual {usual:.6g} s, first "
            f"after {place:.6g} s; import the segments between gaps with start=…, stop=… (--start, --stop)"
        )
    return float((times[-1] - times[0]) / (times.size - 1))


def prepared(series: Series, choices: Choices) -> tuple[Series, Arrangement]:
    """The segment that is wanted, in the units of recordings, and the space its columns make up."""
    if series.samples == 0 or series.columns == 0:
        raise ValueError(
            f"{series.where} is empty, {series.samples} samples of {series.columns} electrodes: choose another series"
        )
    series = _cut(series, choices.start, choices.stop)
    factor, units = activity_units(series.units, choices.units, series.where)
    read = series.read
    if factor != 1:
        scale = series.dtype.type(factor)
        series = replace(series, read=lambda start, stop: read(start, stop) * scale)
    series = replace(series, units=units, read=_without_bad(series))
    space = _arrangement(series, choices)
    _warn_of_values(series)
    return series, space


def _without_bad(series):
    """A reader that puts NaN where the file marks time as bad."""
    if not series.bad:
        return series.read
    read = series.read
    spans = [span for span in series.bad if not np.isnan(span[0])]
    rows = np.ceil((np.reshape(spans, (-1, 2)) - series.first) / series.interval - 1e-6)  # at or after either end
    rows[:, 1] = np.maximum(rows[:, 1], rows[:, 0] + 1)  # a moment is one sample
    rows = np.where(np.isnan(rows), series.samples, rows).clip(0, series.samples).astype(int)  # no end: to the last

    def marked(start, stop):
        values = read(start, stop)
        for first, last in rows.tolist():
            if first < stop and last > start:
                values = np.array(values)
                values[max(first - start, 0) : last - start] = np.nan
        return values

    return marked


def _bad_text(series) -> str:
    """For the history: which spans are NaN."""
    last = series.first + series.samples * series.interval
    inside = [span for span in series.bad if span[0] < last and not span[1] <= series.first]
    spans = ", ".join(f"{start:.6g} to {stop:.6g} s" for start, stop in inside)
    return f", {len(inside)} spans marked as bad set to NaN: {spans}" if inside else ""


def _cut(series, start, stop):
    if series.stamps is not None:
        return _cut_stamps(series, start, stop)
    times = (series.first, series.first + series.samples * series.interval)
    first = 0 if start is None else int(np.ceil((start - times[0]) / series.interval - 1e-6))
    last = series.samples if stop is None else int(np.ceil((stop - times[0]) / series.interval - 1e-6))
    first, last = max(first, 0), min(last, series.samples)
    if last - first < 1:
        raise ValueError(
            f"{series.where}: start={start}, stop={stop} leaves nothing of {times[0]:.6g} to {times[1]:.6g} s"
        )
    read = series.read
    return replace(
        series,
        read=lambda a, b: read(first + a, first + b),
        samples=last - first,
        first=series.first + first * series.interval,
    )


def _cut_stamps(series, start, stop):
    """As `_cut`, for samples with a time each; in the segment that is left they must be even."""
    stamps = series.stamps
    first = 0 if start is None else int(np.searchsorted(stamps, start, "left"))
    last = stamps.size if stop is None else int(np.searchsorted(stamps, stop, "left"))
    if last - first < 2:
        raise ValueError(f"{series.where}: start={start}, stop={stop} leaves {max(last - first, 0)} of its time stamps")
    interval, read = even_interval(stamps[first:last], series.where), series.read
    return replace(
        series,
        read=lambda a, b: read(first + a, first + b),
        samples=last - first,
        first=float(stamps[first]),
        interval=interval,
        stamps=None,
    )


def _arrangement(series, choices):
    positions, units = series.positions, series.position_units
    matched = ""
    if choices.positions is not None:
        positions, matched = load_positions(choices.positions, series.where, (series.columns,), series.names)
        montage = isinstance(choices.positions, str) and not Path(choices.positions).suffix  # in metres
        units = choices.position_units or ("m" if montage else None)
    if positions is None or not np.isfinite(positions).all(axis=-1).any():
        raise ValueError(
            f"{series.where} says nothing of where its electrodes are; give their places with positions=… "
            "(--positions FILE.csv with the columns x, y) and position_units='mm'"
        )
    if len(positions) != series.columns:
        raise ValueError(f"{series.where} has {series.columns} electrodes, but {len(positions)} positions were given")
    factor = length_factor(choices.position_units or units or "", series.where)
    dead = np.zeros(series.columns, dtype=bool) if series.dead is None else np.array(series.dead, dtype=bool)
    for number in choices.dead:
        integer = isinstance(number, int | np.integer) and not isinstance(number, bool)
        if not integer or not 0 <= number < series.columns:
            raise ValueError(
                f"{series.where}: dead={number}: numbers of electrodes are needed, from 0 to {series.columns - 1}"
            )
        dead[number] = True
    positions = positions * factor
    _warn_of_places(positions, series)
    space = arranged(positions, dead, grid=choices.grid, spacing=choices.spacing, where=series.where)  # spacing in mm
    left = [_called(series, number) for number in np.flatnonzero(~np.isfinite(positions).all(axis=1))]
    notes = [matched] * bool(matched) + [f"left out without a place: {', '.join(left)}"] * bool(left)
    return replace(space, text="; ".join([space.text, *notes]))


def _called(series, number):
    return series.names[number] if series.names is not None else f"number {number}"


def _warn_of_places(positions, series):
    """Say which electrodes have no place and are left out, and when the places cannot be in the units they are in."""
    known = np.isfinite(positions).all(axis=1)
    if 2 <= known.sum() < known.size:
        left = [_called(series, number) for number in np.flatnonzero(~known)]
        warnings.warn(
            f"{series.where}: {len(left)} of {known.size} electrodes have no place and are left out: {', '.join(left)}",
            stacklevel=6,
        )
    if known.sum() >= 2:
        extent = float(np.linalg.norm(np.ptp(positions[known], axis=0)))
        if not SMALLEST <= extent <= LARGEST:
            warnings.warn(
                f"{series.where}: the electrodes span {extent:.3g} mm, which no array does: correct the units of their "
                "places with position_units='um', 'mm', 'cm' or 'm' (--position-units)",
                stacklevel=6,
            )


def _warn_of_values(series):
    """Say when potentials cannot be in the units they are in."""
    if series.units != "uV":
        return
    values = series.read(0, min(series.samples, LOOKED_AT))
    values = values[:, np.isfinite(values).all(axis=0)]
    if not values.size:
        return
    deviation = float(np.median(np.abs(values - np.median(values, axis=0))))
    if deviation and not QUIETEST <= deviation <= LOUDEST:
        warnings.warn(
            f"{series.where}: its values deviate by {deviation:.3g} uV, which no electrode sees: correct their units "
            "with units='V', 'mV', 'uV' or 'nV' (--units), or units='1' where they have none",
            stacklevel=5,
        )


def joined(trials: list[xr.Dataset]) -> xr.Dataset:
    """Recordings of the same sensors, one per trial, as one with the dim ``trial``."""
    first = trials[0]
    fixed = [name for name in first.data_vars if name != "activity"]
    rec = xr.concat([one[["activity"]] for one in trials], "trial", combine_attrs="override", join="override")
    rec = rec.assign({name: first[name] for name in fixed})
    rec = rec.assign_coords(trial=("trial", np.arange(len(trials)), {"units": "1", "long_name": "trial"}))
    return rec.assign_attrs(first.attrs)


def to_recording(series: Series, choices: Choices) -> xr.Dataset:
    """A lazy recording: samples are read when they are used. Close it, or use it in a ``with`` statement."""
    series, space = prepared(series, choices)
    rows = _rows(series, space)
    source = _Rows(series, space)
    values = da.from_array(source, chunks=(rows, *space.shape), lock=True, name=False, meta=np.empty(0, series.dtype))
    times = series.first + series.interval * np.arange(series.samples)
    rec = _labelled(series, space, values, times)
    rec.set_close(series.close)
    return rec


def to_disk(series: Series, choices: Choices, path, *, overwrite: bool = False) -> Path:
    """Write the recording block by block, in memory of a few blocks whatever its length."""
    try:
        series, space = prepared(series, choices)
        rows = _rows(series, space)
        series.read(0, 1)  # what cannot be read is found before the disk is asked for room
        empty = _labelled(series, space, np.empty((0, *space.shape), series.dtype), np.empty(0))
        with (
            RecordingWriter(path, empty, steps=series.samples, overwrite=overwrite) as writer,
            Progress(what=series.name, total=series.samples, unit="sample") as bar,
        ):
            for start in range(0, series.samples, rows):
                stop = min(start + rows, series.samples)
                times = series.first + series.interval * np.arange(start, stop)
                writer.append(space.arrange(series.read(start, stop)), time=times)
                bar.update(stop - start)
    finally:
        series.close()
    return writer.path


def _rows(series, space):
    """Rows per block: complete chunks of the file, as many as fit `BLOCK_BYTES`, and at least one."""
    row = max(int(np.prod(space.shape)), series.columns) * series.dtype.itemsize
    chunks = max(1, BLOCK_BYTES // (row * series.chunk))
    return min(series.samples, chunks * series.chunk)


def _labelled(series, space, values, times):
    dead = {}
    if space.dead is not None:
        flags = {"units": "1", "long_name": "1 where the electrode is dead", "flag_values": [0, 1]}
        dead["dead"] = xr.DataArray(space.dead.astype(np.int8), dims=space.dims, attrs=flags)
    dead |= _events(series)
    lengths = {name: "mm" for name in ("x", "y", "position") if name in space.coords}
    rec = recording(
        values,
        dims=("time", *space.dims),
        coords={
            "time": times,
            **{name: xr.DataArray(value, dims=dims) for name, (dims, value) in space.coords.items()},
        },
        units={"time": "s", "activity": series.units, **lengths},
        dt=series.interval,
        source=f"{series.path.name}: {series.name}",
        source_kind="recorded",
        boundary="open",
        **dead,
        **series.attrs,
    )
    rec["activity"].attrs["long_name"] = "potential" if series.units == "uV" else "activity"
    masked = "" if space.dead is None or not space.dead.any() else f", {space.dead.sum()} dead electrodes set to NaN"
    return with_history(rec, f"imported {series.name} from {series.path.name}: {space.text}{masked}{_bad_text(series)}")


def _events(series: Series) -> dict[str, xr.DataArray]:
    """Events of the file within the recording, over the dim ``event``; see `analysis.drive_events`."""
    last = series.first + series.samples * series.interval
    inside = sorted(event for event in series.events if series.first <= event[0] < last)
    if not inside:
        return {}
    kinds = sorted({text for *_, text in inside})
    meanings = " ".join("_".join(text.split()) or "unnamed" for text in kinds)
    flags = {"flag_values": list(range(len(kinds))), "flag_meanings": meanings}
    codes = np.array([kinds.index(text) for *_, text in inside], dtype=np.int32)

    def variable(values, units, text, **attrs):
        return xr.DataArray(values, dims="event", attrs={"units": units, "long_name": text, **attrs})

    return {
        "event_onset": variable([onset for onset, *_ in inside], "s", "onset of the event"),
        "event_duration": variable([duration for _, duration, _ in inside], "s", "duration of the event"),
        "event_kind": variable(codes, "1", "kind of the event", **flags),
    }


class _Rows:
    """What dask needs to see of a series: a shape, a dtype and slices."""

    def __init__(self, series: Series, space: Arrangement):
        self.shape, self.dtype, self.ndim = (series.samples, *space.shape), series.dtype, 1 + len(space.shape)
        self._read, self._arrange = series.read, space.arrange

    def __getitem__(self, index):
        rows, *rest = index
        if isinstance(rows, slice):
            wanted = range(self.shape[0])[rows]
            first, last = min(wanted, default=0), max(wanted, default=-1)
            rows = slice(None) if wanted.step == 1 else np.array(wanted) - first
        else:
            first, last = int(np.min(rows)), int(np.max(rows))
            rows = np.asarray(rows) - first
        values = self._arrange(self._read(first, last + 1))[rows]
        return values[(..., *rest)]
