"""Vendors' formats (Blackrock, Plexon, SpikeGLX, Open Ephys, Intan, NIX, …) through the raw readers of Neo."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import numpy as np
import xarray as xr

from analysis.readers.endings import advice
from analysis.readers.optional import need
from analysis.readers.series import Choices, Series, is_bad, to_recording


def read_neo(
    path: str | os.PathLike, *, series: str | None = None, segment: int | None = None, **choices
) -> xr.Dataset:
    """A lazy recording from a signal stream of a file or folder that `neo.rawio` knows.

    Parameters
    ----------
    path : path
    series : str, optional
        Name or id of the stream. Not needed where there is only one.
    segment : int, optional
        Which segment, where the recording was interrupted.
    **choices
        As in `analysis.readers.import_recording`. These formats rarely hold positions: give them.

    Returns
    -------
    xarray.Dataset
        ``activity`` in uV, scaled by the gain and offset of each channel. Epochs of the segment whose label or channel
        begins with ``BAD`` are NaN; its other epochs and events become ``event_onset``, ``event_duration`` and
        ``event_kind``: see `analysis.drive_events`.

    Raises
    ------
    FileNotFoundError, ValueError
        Naming the file, the object and the remedy.
    ImportError
        Without neo.
    """
    return to_recording(neo_series(path, series, segment), Choices(**choices))


def neo_series(path: str | os.PathLike, name: str | None = None, segment: int | None = None) -> Series:
    """Find a stream; see `read_neo`."""
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(2, "no such file", str(path))
    raw = _opened(path)
    streams = raw.header["signal_streams"]
    if len(streams) == 0:
        raise ValueError(f"{path} holds no signals (only events or spikes)")
    stream = _chosen(path, raw, streams, name)
    where = f"{path}: stream {streams['name'][stream]!r}"
    if raw.block_count() > 1:
        raise ValueError(f"{where} comes in {raw.block_count()} blocks: export one of them to a file of its own")
    count = raw.segment_count(0)
    if count > 1 and segment is None:
        raise ValueError(f"{where} comes in {count} segments; choose one with segment=0 (--segment 0)")
    segment = segment or 0
    if not 0 <= segment < count:
        raise ValueError(f"{where}: segment={segment}: it has {count}, numbered from 0")
    return _as_series(path, where, raw, stream, segment)


def _opened(path):
    rawio = need("neo.rawio", "neo", "reading vendors' formats")
    readers = rawio.get_rawio(path, exclusive_rawio=False)
    problems = []
    for reader in readers:
        folder = reader.rawmode in ("one-dir", "multi-file") and path.is_dir()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                raw = reader(dirname=str(path)) if folder else reader(filename=str(path))
                raw.parse_header()
            return raw
        except Exception as error:  # each reader fails in its own way on files that are another's
            problems.append(f"{reader.__name__}: {type(error).__name__} {error}")
    tried = "; ".join(problems) or f"no reader knows the ending {path.suffix!r}"
    raise ValueError(
        f"{path} is not of a format that neo reads, or is damaged or cut off ({tried}){advice(path, 'neo')}"
    )


def _chosen(path, raw, streams, name):
    def described(index):
        rate = raw.get_signal_sampling_rate(stream_index=index)
        return f"{streams['name'][index]!r} ({raw.signal_channels_count(index)} channels at {rate:g} Hz)"

    if name is None:
        fitting = list(range(len(streams)))
    else:
        fitting = [i for i, row in enumerate(streams) if name in (row["name"], row["id"])]
    if len(fitting) != 1:
        what = "no stream was named" if name is None else f"{len(fitting)} streams are called {name!r}"
        listed = ", ".join(described(i) for i in range(len(streams)))
        raise ValueError(
            f"{path}: {what}, and each has its own sampling rate; choose with series=… (--series): {listed}"
        )
    return fitting[0]


def _as_series(path, where, raw, stream, segment):
    header = raw.header["signal_channels"]
    channels = header[header["stream_id"] == raw.header["signal_streams"]["id"][stream]]
    units = set(channels["units"].tolist())
    if len(units) != 1:
        raise ValueError(f"{where} mixes the units {sorted(units)}: export the electrodes alone")
    rates = set(channels["sampling_rate"].tolist())
    if len(rates) != 1:
        raise ValueError(f"{where} mixes the sampling rates {sorted(rates)} Hz: export one of them")
    place = {"block_index": 0, "seg_index": segment, "stream_index": stream}

    def read(start, stop):
        samples = raw.get_analogsignal_chunk(**place, i_start=start, i_stop=stop)
        return raw.rescale_signal_raw_to_float(samples, dtype=np.float32, stream_index=stream)

    interval = 1 / float(raw.get_signal_sampling_rate(stream_index=stream))
    bad, events = _spans(raw, segment, interval, where)
    return Series(
        path,
        str(raw.header["signal_streams"]["name"][stream]),
        read,
        int(raw.get_signal_size(**place)),
        len(channels),
        np.dtype(np.float32),
        float(raw.get_signal_t_start(**place)),
        interval,
        units=units.pop(),
        names=tuple(map(str, channels["name"].tolist())),
        bad=bad,
        events=events,
        attrs={"format": type(raw).__name__.removesuffix("RawIO")},
    )


def _spans(raw, segment, interval, where):
    """What the segment says of its time: spans that are bad (start and end), and events (onset, duration, name), s.

    An event or epoch is called by its label, or where it has none by its channel; bad is what either calls so.
    """
    bad, events, unknown = [], [], 0
    late = interval * isinstance(raw, need("neo.rawio", "neo", "").BrainVisionRawIO)  # whose markers count from 1
    for number, channel in enumerate(raw.header["event_channels"]):
        times, durations, labels = raw.get_event_timestamps(
            block_index=0, seg_index=segment, event_channel_index=number
        )
        times = raw.rescale_event_timestamp(times, dtype=np.float64, event_channel_index=number) - late
        lengths = np.zeros(len(times)) if durations is None else np.asarray(durations)
        if durations is not None:
            lengths = raw.rescale_epoch_duration(lengths, dtype=np.float64, event_channel_index=number)
        for time, length, label in zip(times.tolist(), lengths.tolist(), map(str, labels), strict=True):
            if is_bad(label) or is_bad(str(channel["name"])):
                bad.append((time, time + max(length, interval)))
                unknown += durations is None
            else:
                events.append((time, length, label or str(channel["name"])))
    if unknown:
        warnings.warn(
            f"{where}: {unknown} events mark what is bad, and this reader does not know for how long: only the sample "
            "of each is NaN; take another reader (of BrainVision read_mne, --reader mne)",
            stacklevel=5,
        )
    return tuple(bad), tuple(events)
