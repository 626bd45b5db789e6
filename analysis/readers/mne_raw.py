"""EEG, MEG and ECoG files (FIF, EDF, BrainVision, …) through MNE."""

from __future__ import annotations

import os
import struct
import warnings
from functools import partial
from pathlib import Path

import numpy as np
import xarray as xr

from analysis.readers.endings import advice
from analysis.readers.optional import need
from analysis.readers.series import Choices, Series, is_bad, joined, to_recording

KINDS = ("eeg", "ecog", "seeg", "dbs", "mag", "grad")
EPOCHS = ("-epo.fif", "_epo.fif", "-epo.fif.gz", "_epo.fif.gz")  # how MNE calls files of epochs
SI = {"eeg": "V", "ecog": "V", "seeg": "V", "dbs": "V", "mag": "T", "grad": "T m-1"}  # what MNE returns


def read_mne(path: str | os.PathLike, *, series: str | None = None, **choices) -> xr.Dataset:
    """A lazy recording from a file that `mne.io.read_raw` knows.

    Parameters
    ----------
    path : path
    series : {"eeg", "ecog", "seeg", "dbs", "mag", "grad"}, optional
        Which kind of channel. Not needed where there is only one.
    **choices
        As in `analysis.readers.import_recording`. Without positions of your own those of the file are taken, which
        are three-dimensional: they are projected onto the plane that fits them best. Over a patch of cortex that keeps
        distances, over a complete head it does not.

    Returns
    -------
    xarray.Dataset
        ``activity`` in uV (T or T m-1 for magnetic sensors), positions in mm; of a file of epochs (its name ends in
        ``-epo.fif``) with the dim ``trial``, without the epochs that were dropped. What the file marks as bad is NaN:
        bad channels, and the spans of annotations that begin with ``BAD``, which the history names. The other
        annotations become events, ``event_onset``, ``event_duration`` and ``event_kind``: see `analysis.drive_events`.

    Raises
    ------
    FileNotFoundError, ValueError
        Naming the file, the object and the remedy.
    ImportError
        Without mne.
    """
    found = mne_trials(path, series)
    trials = [to_recording(one, Choices(**choices)) for one in found]
    return trials[0] if found[0].trial is None else joined(trials)


def mne_trials(path: str | os.PathLike, kind: str | None = None) -> list[Series]:
    """Find the channels of one kind, one series for each epoch of a file of epochs; see `read_mne`."""
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(2, "no such file", str(path))
    if not path.name.lower().endswith(EPOCHS):
        return [_continuous(path, _opened(path), kind)]
    epochs = _opened(path, "read_epochs")
    names, chosen = _channels(path, epochs, kind)
    values = epochs.get_data(picks=chosen["picks"], verbose="error")  # (trial, channel, time)
    common = {key: value for key, value in chosen.items() if key != "picks"}
    interval = 1 / float(epochs.info["sfreq"])
    return [
        Series(
            path,
            f"{names} channels",
            partial(_samples, one),
            values.shape[2],
            values.shape[1],
            np.dtype(np.float64),
            float(epochs.times[0]),
            interval,
            trial=number,
            **common,
        )
        for number, one in enumerate(values)
    ]


def _samples(values, start, stop):
    """Rows (time, channel) of `values` (channel, time)."""
    return np.ascontiguousarray(values[:, start:stop].T)


def _channels(path, raw, kind) -> tuple[str, dict]:
    """The kind that is chosen, and what a series needs to know of its channels."""
    types = raw.get_channel_types()
    there = [known for known in KINDS if known in types]
    if kind is None and len(there) == 1:
        kind = there[0]
    if kind not in there:
        what = f"no channels of kind {kind!r}" if kind else "no kind of channel was named"
        raise ValueError(f"{path}: {what}; choose with series=… (--series) among {there}; it has {sorted(set(types))}")
    picks = np.array([i for i, its in enumerate(types) if its == kind])
    names = [raw.ch_names[i] for i in picks]
    positions = np.array([raw.info["chs"][i]["loc"][:3] for i in picks], dtype=float)
    positions[~np.isfinite(positions).all(axis=1) | ~positions.any(axis=1)] = np.nan  # zeros: not known
    return kind, {
        "picks": picks,
        "units": SI[kind],
        "positions": positions,
        "position_units": "m",
        "names": tuple(names),
        "dead": np.isin(names, raw.info["bads"]),
        "attrs": {} if raw.info["meas_date"] is None else {"session_start": raw.info["meas_date"].isoformat()},
    }


def _continuous(path, raw, kind) -> Series:
    kind, chosen = _channels(path, raw, kind)
    picks = chosen.pop("picks")

    def read(start, stop):
        return np.ascontiguousarray(raw.get_data(picks=picks, start=start, stop=stop, verbose="error").T)

    return Series(
        path,
        f"{kind} channels",
        read,
        raw.n_times,
        len(picks),
        np.dtype(np.float64),
        float(raw.first_time),
        1 / float(raw.info["sfreq"]),
        bad=_bad_spans(raw),
        events=_events(raw),
        **chosen,
        close=raw.close,
    )


def _bad_spans(raw) -> tuple[tuple[float, float], ...]:
    """Start and end of every annotation that begins with BAD, in seconds of the recording; at least one sample."""
    found = raw.annotations  # of a file that was read, their onsets count as its times do, from `raw.first_time` on
    ends = found.onset + np.maximum(found.duration, 1 / raw.info["sfreq"])
    return tuple(
        (float(start), float(end))
        for start, end, text in zip(found.onset, ends, found.description, strict=True)
        if is_bad(str(text))
    )


def _events(raw) -> tuple[tuple[float, float, str], ...]:
    """Every other annotation: onset and duration, in seconds of the recording, and its text."""
    found = raw.annotations
    return tuple(
        (float(start), float(duration), str(text))
        for start, duration, text in zip(found.onset, found.duration, found.description, strict=True)
        if not is_bad(str(text))
    )


def _opened(path, function="read_raw"):
    mne = need("mne", "mne", "reading FIF, EDF and BrainVision files")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of names and filters, which do not matter here
            if function == "read_epochs":
                return mne.read_epochs(str(path), preload=True, verbose="error")
            return mne.io.read_raw(str(path), preload=False, verbose="error")
    except (OSError, ValueError, RuntimeError, KeyError, IndexError, TypeError, AttributeError, struct.error) as error:
        raise ValueError(
            f"{path} is not of a format that MNE reads, or is damaged or cut off: {error}{advice(path, 'mne')}"
        ) from error
