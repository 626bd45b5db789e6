"""Which reader takes which ending of a file's name."""

from pathlib import Path

BY_ENDING = {
    ".nwb": "nwb",
    ".mat": "arrays", ".npz": "arrays", ".npy": "arrays",
    ".fif": "mne", ".edf": "mne", ".bdf": "mne", ".gdf": "mne", ".vhdr": "mne", ".set": "mne",
}  # fmt: skip
READERS = ("nwb", "neo", "mne", "arrays")
FUNCTIONS = {"nwb": "read_nwb", "neo": "read_neo", "mne": "read_mne", "arrays": "read_arrays"}


def advice(path: Path, tried: str) -> str:
    """For an error: the reader that takes files of this name, where it is not the one that was tried; else ""."""
    ending = "".join(path.suffixes[-2:]).lower() if path.suffix.lower() == ".gz" else path.suffix.lower()
    reader = "mne" if ending == ".fif.gz" else BY_ENDING.get(ending)
    if reader is not None and reader != tried:
        return f"; {ending} is taken by {FUNCTIONS[reader]} (--reader {reader})"
    if reader is None and tried == "neo":
        known = ", ".join(BY_ENDING)
        return f"; the other readers take {known}: convert the file, or load it yourself and call wavefield.recording"
    return ""
