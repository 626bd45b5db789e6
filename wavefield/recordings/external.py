"""HDF5 files that reach beyond themselves: links to other files, and data that lie in them.

Whoever opens such a file reads whatever file of this machine it names. It is refused, unless it is trusted.
"""

from __future__ import annotations

import os

import h5py


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
