"""Neural data into recordings, and back: NWB, vendors' formats (Neo), EEG and MEG files (MNE), plain arrays."""

from analysis.readers.arrays import read_arrays
from analysis.readers.importing import import_recording
from analysis.readers.mne_raw import read_mne
from analysis.readers.nwb import read_nwb, write_nwb
from analysis.readers.spikes import read_hdf5_spikes, read_nwb_units, spike_rates
from analysis.readers.vendor import read_neo

__all__ = [
    "import_recording",
    "read_arrays",
    "read_hdf5_spikes",
    "read_mne",
    "read_neo",
    "read_nwb",
    "read_nwb_units",
    "spike_rates",
    "write_nwb",
]
