"""One call for every format: a file in, a recording on disk out, block by block."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from analysis.readers.arrays import array_trials
from analysis.readers.endings import BY_ENDING, READERS
from analysis.readers.mne_raw import mne_trials
from analysis.readers.nwb import nwb_series
from analysis.readers.series import Choices, joined, to_disk, to_recording
from analysis.readers.vendor import neo_series
from wavefield.recordings.recording import save_recording


def import_recording(
    path: str | os.PathLike,
    output: str | os.PathLike,
    *,
    series: str | None = None,
    reader: str | None = None,
    rate: float | str | None = None,
    segment: int | None = None,
    units: str | None = None,
    positions=None,
    position_units: str | None = None,
    dead: Sequence[int] = (),
    grid: bool = False,
    spacing: float | None = None,
    start: float | None = None,
    stop: float | None = None,
    overwrite: bool = False,
    allow_external: bool = False,
) -> Path:
    """Import neural data as a recording on disk, in memory of a few blocks whatever the length.

    Parameters
    ----------
    path : path
        NWB; FIF, EDF, BrainVision (MNE); ``.mat``, ``.npz``, ``.npy``; everything else goes to Neo. Files of epochs
        (``-epo.fif``) and arrays of three axes become recordings with the dim ``trial``.
    output : path
        Recording to write, ending in ``.nc``.
    series : str, optional
        What to import: an electrical series (NWB), a stream (Neo), a kind of channel (MNE), a variable (arrays).
    reader : {"nwb", "neo", "mne", "arrays"}, optional
        By default by the ending of the name.
    rate : float or str, optional
        Of arrays: samples per second, or the variable that says it.
    segment : int, optional
        Of Neo: which segment.
    units : str, optional
        Of the values, where the file does not say or is wrong. Voltages become uV, all others stay as they are.
    positions : array, path or str, optional
        Places of the electrodes, in the order of the columns: (electrode, 1 to 3), a ``.csv`` or ``.tsv`` (columns x,
        y, z) or ``.npy`` file, a variable of an array file, or the name of a standard montage that MNE knows
        (``"standard_1020"``) for channels with names as Fp1, Cz, O2. By default those of the file. A table with a
        column ``name`` (as ``electrodes.tsv`` of BIDS) is matched by it to channels that have names; electrodes
        without a place are left out, with a warning and in the history.
    position_units : str, optional
        m, cm, mm or um; what a file says is believed otherwise. Recordings have mm.
    dead : sequence of int
        Numbers of dead electrodes, beside those that the file marks.
    grid : bool
        Put the electrodes on a regular grid (see `analysis.grid_electrodes`), which spectra need. Electrodes on a line
        stay where they are.
    spacing : float, optional
        Of the grid, mm.
    start, stop : float, optional
        Segment to import, in seconds of the file.
    overwrite : bool
        Whether the partial file of an interrupted import may be replaced.
    allow_external : bool
        Whether an NWB or ``.mat`` file may link to other files or keep data in them; only for files that you trust.

    Returns
    -------
    pathlib.Path
        The file written.

    Raises
    ------
    FileNotFoundError, ValueError
        Naming the file, the object in it and the remedy: damaged files, no positions, mixed sampling rates, unknown
        units, empty series.
    ImportError
        Naming what to install.
    """
    path = Path(path)
    reader = reader or BY_ENDING.get(path.suffix.lower(), "neo")
    if reader not in READERS:
        raise ValueError(f"reader is {reader!r}: one of {READERS} is needed")
    for name, value, whose in (("segment", segment, "neo"), ("rate", rate, "arrays")):
        if value is not None and reader != whose:
            raise ValueError(f"{name} is {value!r}: it belongs to the reader {whose}, and {path} is read by {reader}")
    choices = Choices(units, positions, position_units, tuple(dead), grid, spacing, start, stop)
    if reader == "arrays":
        found, choices = array_trials(path, series, rate=rate, choices=choices, allow_external=allow_external)
    elif reader == "nwb":
        found = [nwb_series(path, series, allow_external=allow_external)]
    elif reader == "mne":
        found = mne_trials(path, series)
    else:
        found = [neo_series(path, series, segment)]
    if found[0].trial is None:
        return to_disk(found[0], choices, output, overwrite=overwrite)
    rec = joined([to_recording(one, choices) for one in found])  # epochs are short
    try:
        save_recording(rec, output)
    finally:
        found[0].close()
    return Path(output)
