"""HDF5 files that reach beyond themselves: links to other files, data that lie in them, sizes that no file holds.

Whoever opens such a file reads whatever file of this machine it names, or fills the memory with what was never written.
The first is refused unless the file is trusted, the second always.
"""

from __future__ import annotations

import os

import h5py

LARGE = 2**30  # bytes, below which a declared size is believed
MOST_PACKED = 1032  # bytes that one byte of a deflated chunk can become


def refuse_external(path: str | os.PathLike) -> None:
    """Check that an HDF5 file holds all that it shows.

    Raises
    ------
    ValueError
        Naming the object and the file that it lies in, for a link to another file and for data kept in another file
        (external storage, virtual datasets).
    OSError
        If it cannot be read as HDF5.
    """
    with h5py.File(path, "r") as file:
        # the first that is found, returned and not raised: HDF5 calls back through C
        found = file.visititems_links(lambda name, link: _elsewhere(file, name, link))
    if found is not None:
        name, how, other = found
        raise ValueError(
            f"{path}: {name} {how} another file, {other}, which would be read: trust the file with allow_external=True "
            "(--allow-external), or have its data in one file"
        )


def refuse_oversized(path: str | os.PathLike, *, partial: bool = False) -> None:
    """Check that the large arrays of an HDF5 file are as large as they say.

    Of a `partial` file, of which much is still unwritten, only coordinates are checked, which are read whole.

    Raises
    ------
    ValueError
        Naming the array, and how much of it the file holds.
    OSError
        If it cannot be read as HDF5.
    """
    with h5py.File(path, "r") as file:
        found = file.visititems(lambda name, item: _oversized(name, item, partial))
    if found is not None:
        name, size, stored = found
        raise ValueError(f"{path}: {name} is damaged: {stored} bytes cannot hold an array of {size} bytes")


def _oversized(name, item, partial):
    """(name, bytes declared, bytes stored) of an array whose file cannot hold it; None of any other."""
    if not isinstance(item, h5py.Dataset) or item.shape is None or (partial and item.ndim > 1):
        return None
    size, stored = item.size * item.dtype.itemsize, item.id.get_storage_size()
    elsewhere = item.is_virtual or item.external
    return None if size <= max(LARGE, MOST_PACKED * stored) or elsewhere else (name, size, stored)


def _elsewhere(file, name, link):
    """(name, how, other file) of a link that leads out of the file; None of any other."""
    if isinstance(link, h5py.ExternalLink):
        return name, "is a link into", link.filename
    found = file.get(name) if isinstance(link, h5py.HardLink) else None
    if isinstance(found, h5py.Dataset):
        if found.external:
            return name, "is kept in", found.external[0][0]
        for source in found.virtual_sources() if found.is_virtual else ():
            if source.file_name != ".":
                return name, "is kept in", source.file_name
    return None
