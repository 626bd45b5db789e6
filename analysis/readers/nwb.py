"""Neurodata Without Borders: electrical series into recordings, and recordings into NWB files.

.. math:: u_{ti} = (d_{ti} · \\text{conversion} · \\text{channel\\_conversion}_i + \\text{offset}) · 10^6 \\; µV

(NWB schema 2.8, ElectricalSeries). Samples stay on disk until they are used.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import xarray as xr

from analysis.fields.axes import even_axis, space_dims
from analysis.fields.dead import Mask, dead_positions
from analysis.fields.read import activity
from analysis.fields.sensors import electrode_positions
from analysis.readers.endings import advice
from analysis.readers.optional import need
from analysis.readers.series import Choices, Series, is_bad, to_recording
from analysis.readers.units import length_factor, voltage_factor
from wavefield.files import whole_or_nothing
from wavefield.recordings.external import refuse_external, refuse_oversized

BAD_COLUMNS = ("bad", "is_bad", "bad_channel", "dead")  # of the electrode table, as true or false
GOOD_COLUMNS = ("good", "is_good", "good_channel")
POSITION_COLUMNS = (("rel_x", "rel_y", "rel_z"), ("x", "y", "z"))
NAME_COLUMNS = ("channel_name", "label", "electrode_name", "name")
NWB_POSITION_UNITS = "um"  # as the schema says, for both
BLOCK_ROWS = 2**16


def read_nwb(
    path: str | os.PathLike, *, series: str | None = None, allow_external: bool = False, **choices
) -> xr.Dataset:
    """A lazy recording from an electrical series of an NWB file.

    Parameters
    ----------
    path : path
    series : str, optional
        Name of the series, of the container it lies in (``LFP``), or its complete place in the file
        (``processing/ecephys/LFP/ElectricalSeries``). Not needed where there is only one.
    allow_external : bool
        Whether the file may link to other files or keep data in them; only for files that you trust.
    **choices
        As in `analysis.readers.import_recording`.

    Returns
    -------
    xarray.Dataset
        ``activity`` in uV, positions in mm (``rel_x, rel_y`` of the electrode table, or ``x, y``, which the schema has
        in um), time in s. To be closed, or used in a ``with`` statement. Electrodes that the table marks as bad (a
        column ``bad`` or ``good``), and times in the file's table ``invalid_times``, are NaN; so is what a table or
        annotation marks whose name begins with "bad". The rows of all other tables of intervals (``trials``,
        ``epochs``, …) and of events, and annotations, become events, ``event_onset``, ``event_duration`` and
        ``event_kind``: see `analysis.drive_events`.

    Raises
    ------
    FileNotFoundError, ValueError
        Naming the file, the object and the remedy.
    ImportError
        Without pynwb.
    """
    found = nwb_series(path, series, allow_external=allow_external)
    try:
        return to_recording(found, Choices(**choices))
    except BaseException:
        found.close()
        raise


def nwb_series(path: str | os.PathLike, name: str | None = None, *, allow_external: bool = False) -> Series:
    """Find a series in an NWB file; see `read_nwb`."""
    pynwb = need("pynwb", "nwb", "reading NWB files")
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(2, "no such file", str(path))
    io = None
    try:
        if not allow_external:
            refuse_external(path)
        refuse_oversized(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of schema versions cached in the file
            io = pynwb.NWBHDF5IO(str(path), "r")
            content = io.read()
            place, found = _chosen(path, _electrical(pynwb, content), name)
            return _as_series(path, place, found, content, io)
    except damage() as error:
        if io is not None:
            io.close()
        if isinstance(error, ValueError) and str(path) in str(error):
            raise
        raise ValueError(
            f"{path} is not an NWB file, or is damaged or cut off: {error}{advice(path, 'nwb')}"
        ) from error


def damage():
    """What the library raises for files that are no NWB files, or are damaged."""
    from hdmf.build.errors import BuildError, ConstructError

    return (OSError, LookupError, ValueError, TypeError, RuntimeError, AttributeError, BuildError, ConstructError)


def _electrical(pynwb, content):
    """Every electrical series of the file, by its place: ``{"acquisition/name": series}``."""
    found = {}

    def walk(container, place):
        for child in container.children if not isinstance(container, list) else container:
            here = f"{place}/{child.name}"
            if isinstance(child, pynwb.ecephys.ElectricalSeries):
                found[here] = child
            elif not isinstance(child, pynwb.TimeSeries):
                walk(child, here)

    walk(list(content.acquisition.values()), "acquisition")
    walk(list(content.processing.values()), "processing")
    return found


def _chosen(path, found, name):
    listed = ", ".join(found) or "none"
    if not found:
        raise ValueError(f"{path} holds no ElectricalSeries, in acquisition or processing; other series have no places")
    if name is None:
        places = list(found)
    else:
        places = [place for place in found if place == name] or [
            place for place in found if name in place.split("/") or place.endswith(f"/{name}")
        ]
    if len(places) != 1:
        what = "no series was named" if name is None else f"{len(places)} series are called {name!r}"
        raise ValueError(f"{path}: {what}; name one of them with series=… (--series): {listed}")
    return places[0], found[places[0]]


def _as_series(path, place, found, content, io):
    where = f"{path}: {place}"
    data = found.data
    if len(data.shape) == 1:
        raise ValueError(f"{where} has one electrode: at least two are needed to see a wave pass")
    if len(data.shape) != 2:
        raise ValueError(f"{where} has data of shape {data.shape}; (time, electrode) is needed")
    samples, columns = data.shape
    first, interval, stamps = _times(found, samples, where)
    region = found.electrodes
    rows = np.asarray(region.data[:], dtype=int)
    if rows.size != columns:
        raise ValueError(f"{where} has {columns} columns, but names {rows.size} electrodes: repair its electrodes")
    table = region.table
    conversion = np.full(columns, float(found.conversion))
    if found.channel_conversion is not None:
        conversion *= np.asarray(found.channel_conversion[:], dtype=float)
    dtype = np.dtype(np.float32 if data.dtype.itemsize <= 2 or data.dtype == np.float32 else np.float64)
    gain, shift = conversion.astype(dtype), dtype.type(found.offset)

    def read(start, stop):
        values = data[start:stop].astype(dtype)
        values *= gain
        values += shift
        return values

    session = {"nwb_identifier": content.identifier, "session_start": content.session_start_time.isoformat()}
    description, (bad, events) = content.session_description, _spans(content)
    return Series(
        path,
        place,
        read,
        samples,
        columns,
        dtype,
        first,
        interval,
        stamps,
        units=found.unit,
        positions=table_positions(table, rows),
        position_units=NWB_POSITION_UNITS,
        names=_table_names(table, rows),
        dead=_table_bad(table, rows),
        bad=tuple((start, start + length) for start, length, _ in bad),
        events=tuple((start, length if np.isfinite(length) else 0.0, name) for start, length, name in events),
        chunk=(getattr(data, "chunks", None) or (1,))[0],
        attrs={**session, **({"session_description": description} if description else {})},
        close=io.close,
    )


def _times(found, samples, where):
    """First time and interval, or the time stamps."""
    if found.rate is not None:
        if not found.rate > 0:
            raise ValueError(f"{where}: its rate is {found.rate} Hz; correct it in the file")
        return float(found.starting_time or 0.0), 1 / float(found.rate), None
    times = np.asarray(found.timestamps[:], dtype=float)
    if times.size != samples:
        raise ValueError(f"{where} has {samples} samples, but {times.size} time stamps: it was cut off or mixes rates")
    return 0.0, 1.0, times


def table_positions(table, rows):
    """Positions (electrode, 2 or 3) of the first of `POSITION_COLUMNS` that the table has, None without."""
    for names in POSITION_COLUMNS:
        if {*names[:2]} <= {*table.colnames}:
            columns = [np.asarray(table[name].data[:], dtype=float)[rows] for name in names if name in table.colnames]
            positions = np.column_stack(columns)
            positions = positions[:, np.isfinite(positions).any(axis=0)]  # a third may be empty
            if positions.shape[1] >= 2 and np.ptp(positions[np.isfinite(positions).all(axis=1)], axis=0).any():
                return positions
    return None


def _table_names(table, rows):
    """Names of the electrodes, None where the table has none."""
    for name in NAME_COLUMNS:
        if name in table.colnames:
            return tuple(str(label) for label in np.asarray(table[name].data[:])[rows])
    return None


def _spans(content) -> tuple[list, list]:
    """What the file says of its time: spans that are bad, and events, each onset and duration, s, and its name.

    Rows of every table of intervals and events, and of every series of annotations. Bad is what lies in the table
    ``invalid_times``, in one whose name begins with "bad", and what has a name that begins so.
    """
    bad: list = []
    events: list = []
    tables = [content.invalid_times, content.trials, content.epochs, *(content.intervals or {}).values()]
    tables += list((getattr(content, "events", None) or {}).values())  # newer versions of the library have them
    for table in {id(table): table for table in tables if table is not None}.values():  # some are in both places
        for start, duration, name in _rows_of(table):
            wrong = table.name == "invalid_times" or is_bad(table.name) or is_bad(name)
            (bad if wrong else events).append((start, duration, name))
    for notes in content.objects.values():
        if getattr(notes, "neurodata_type", "") == "AnnotationSeries":
            times = np.arange(len(notes.data)) / notes.rate + notes.starting_time if notes.rate else notes.timestamps[:]
            for time, text in zip(np.asarray(times, dtype=float).tolist(), notes.data[:], strict=True):
                (bad if is_bad(str(text)) else events).append((time, 0.0, str(text) or notes.name))
    return bad, [event for event in events if np.isfinite(event[0])]


def _rows_of(table) -> Iterator[tuple[float, float, str]]:
    """Onset and duration, s, of every row, and its tags, its annotation or the table's name."""
    spans = "start_time" in table.colnames
    for row in range(len(table)):
        start = float(table["start_time" if spans else "timestamp"][row])
        length = float(table["stop_time"][row]) - start if spans else 0.0
        if "duration" in table.colnames and not spans:
            length = float(table["duration"][row])
        tags = table["tags"][row] if "tags" in table.colnames else ()
        note = str(table["annotation"][row]) if "annotation" in table.colnames else ""
        name = ", ".join(map(str, [tags] if isinstance(tags, str) else tags)) or note or table.name.removesuffix("s")
        yield start, length if np.isfinite(length) or spans else 0.0, name


def _table_bad(table, rows):
    bad = np.zeros(rows.size, dtype=bool)
    for names, wrong in ((BAD_COLUMNS, True), (GOOD_COLUMNS, False)):
        for name in names:
            if name in table.colnames:
                flags = np.asarray(table[name].data[:])
                if flags.dtype.kind in "biu":
                    bad |= flags[rows].astype(bool) == wrong
    return bad


def write_nwb(
    rec: xr.Dataset,
    path: str | os.PathLike,
    *,
    series: str = "ElectricalSeries",
    session_start: datetime | None = None,
    description: str = "recording written by wavefield",
    identifier: str | None = None,
    mask: Mask = "nan",
) -> Path:
    """Write a recording to an NWB file, as an electrical series under ``processing/ecephys/LFP``.

    Parameters
    ----------
    rec : xarray.Dataset
        A recording without trials and with one channel at most, evenly sampled in time; `activity` in V, mV or uV,
        positions in units of length. Lazy recordings are written block by block.
    path : path
        Ending in ``.nwb``.
    series : str
        Name of the series.
    session_start : datetime, optional
        With a time zone. By default the beginning of 1970: it is not known.
    description, identifier : str
        Of the session; the identifier is by default the name of the file.
    mask : None, "nan" or boolean array
        Dead electrodes, written as a column ``bad`` of the electrode table.

    Returns
    -------
    pathlib.Path
        The file written.

    Raises
    ------
    ValueError
        Trials, several channels, uneven time, units that are not voltages or not lengths.
    """
    pynwb = need("pynwb", "nwb", "writing NWB files")
    path = Path(path)
    if path.suffix != ".nwb":
        raise ValueError(f"path is {str(path)!r}: a name ending in .nwb is needed")
    array = activity(rec)
    array = array.squeeze("channel", drop=True) if array.sizes.get("channel") == 1 else array
    if extra := [dim for dim in array.dims if dim in ("trial", "channel")]:
        raise ValueError(f"rec has {extra}: NWB series have none; write one at a time, rec.isel({extra[0]}=0)")
    microvolts = voltage_factor(array.attrs.get("units", ""))
    if microvolts is None:
        raise ValueError(
            f"activity has units {array.attrs.get('units')!r}: electrical series hold voltages; say which with "
            "rec.activity.attrs['units'] = 'uV'"
        )
    time = even_axis(array, "time")
    seconds = {"s": 1.0, "ms": 1e-3}.get(time.units)
    if seconds is None:
        raise ValueError(f"time has units {time.units!r}: s or ms are needed; rec.assign_coords(time=…) rescales it")
    positions, units = electrode_positions(array, space_dims(array))
    microns = positions * length_factor(units, "rec") * 1e3
    dead = dead_positions(array, mask, rec)
    bad = np.zeros(len(positions), dtype=bool) if dead is None else dead.ravel()
    session = {
        "session_description": description,
        "identifier": identifier or path.stem,
        "session_start_time": session_start or datetime(1970, 1, 1, tzinfo=UTC),
    }
    content = pynwb.NWBFile(**session)
    region = _electrode_region(content, microns, bad)
    lfp = pynwb.ecephys.LFP()
    content.create_processing_module("ecephys", "local field potentials").add(lfp)
    lfp.add_electrical_series(
        pynwb.ecephys.ElectricalSeries(
            name=series,
            data=_blocks(array, len(positions)),
            electrodes=region,
            rate=1 / (time.step * seconds),
            starting_time=time.start * seconds,
            conversion=microvolts * 1e-6,
            description=str(rec.attrs.get("history", "")) or "no history",
        )
    )
    with whole_or_nothing(path) as scratch, pynwb.NWBHDF5IO(str(scratch), "w") as io:
        io.write(content)
    return path


def _electrode_region(content, microns, bad):
    device = content.create_device(name="array", description="not known")
    group = content.create_electrode_group(name="array", description="all", location="unknown", device=device)
    content.add_electrode_column(name="bad", description="dead electrode")
    for (x, y), wrong in zip(microns, bad, strict=True):
        content.add_electrode(group=group, location="unknown", rel_x=float(x), rel_y=float(y), bad=bool(wrong))
    return content.create_electrode_table_region(list(range(len(bad))), "every electrode")


def _blocks(array, sites):
    """The activity (time, site) for hdmf, in memory block by block."""
    from hdmf.data_utils import GenericDataChunkIterator

    array = array.transpose("time", *space_dims(array))

    class Blocks(GenericDataChunkIterator):
        def _get_data(self, selection):
            rows, columns = selection
            return array.isel(time=rows).values.reshape(-1, sites)[:, columns]

        def _get_maxshape(self):
            return array.sizes["time"], sites

        def _get_dtype(self):
            return array.dtype

    rows = min(BLOCK_ROWS, array.sizes["time"])
    return Blocks(buffer_shape=(rows, sites), chunk_shape=(min(rows, 2**12), sites))
