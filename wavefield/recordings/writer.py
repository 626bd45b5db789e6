"""Recordings written block by block, for simulations and training runs larger than memory."""

from __future__ import annotations

import errno
import os
from typing import Any, BinaryIO

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from wavefield.checks import positive_int
from wavefield.files import whole_or_nothing
from wavefield.recordings.partial_file import lay_out, partial_path, size_on_disk, target_path, unwritten
from wavefield.recordings.schema import LAST, regular_times, validate_recording

FIRST_ROOM = 64  # times; doubled whenever they are used up, where their number is not known beforehand


class RecordingWriter:
    """Write a recording along time, block by block, to a file that appears under its name only when it is complete.

    Until then it is ``NAME.partial.nc``, which `open_recording` reads at any moment up to the last block appended, also
    after the process was killed. As a context manager the writer completes the file when the block ends; an exception
    leaves the partial file with all that was appended.

    Parameters
    ----------
    path : path
        Ending in ``.nc``. A file of that name is replaced when the new one is complete.
    template : xarray.Dataset
        A recording that says the dims, dtypes, coordinates and attributes of the file and holds its variables without
        time (kernel, encoder, drive, …). Its own values along time are not written: it may have no times, as
        ``recording(np.empty((0, channels, size)), …)`` has, or be the first block, then to be appended too. If it has
        no steps (a drive of shape (0, inputs)) the drive is appended as well.
    steps : int, optional
        How many times there will be. Their space is reserved, so that a disk too small is found before anything is
        computed. Without it the room doubles, the file being copied, whenever it is used up. Where fewer are appended,
        the file is copied once more to its true length.
    overwrite : bool
        Whether the partial file of an interrupted run may be replaced.

    Attributes
    ----------
    path, partial : pathlib.Path
        The file, and where it is kept until it is complete.
    written : int
        Number of times appended.

    Raises
    ------
    FileExistsError
        If an interrupted recording is there and `overwrite` is not set.
    OSError
        Naming the path, if it cannot be written or there is too little space.
    TypeError, ValueError
        If the template is not a recording, the name does not end in ``.nc`` or `steps` is not a positive integer.

    Examples
    --------
    >>> import numpy as np, tempfile
    >>> from wavefield.recordings.recording import open_recording, recording
    >>> path = tempfile.mkdtemp() + "/long.nc"
    >>> with RecordingWriter(path, recording(np.empty((0, 1, 8)), dt=0.5), steps=300) as writer:
    ...     for block in range(3):
    ...         writer.append(np.full((100, 1, 8), float(block)))
    >>> with open_recording(path) as rec:
    ...     rec.sizes["time"], float(rec.time[-1])
    (300, 150.0)
    """

    def __init__(
        self, path: str | os.PathLike, template: xr.Dataset, *, steps: int | None = None, overwrite: bool = False
    ):
        self.path = target_path(path)
        self.partial = partial_path(self.path)
        validate_recording(template)
        self._room_is_known = steps is not None
        steps = FIRST_ROOM if steps is None else positive_int(steps, "steps")
        if self.partial.exists() and not overwrite:
            advice = "an interrupted recording is there: move it away, delete it or pass overwrite=True"
            raise FileExistsError(errno.EEXIST, advice, str(self.partial))
        self._template = template
        self._written = {"time": 0} | ({"step": 0} if template.sizes.get("step") == 0 else {})
        self._last: dict[str, Any] = {}  # the last time written along each dim that grows
        _check_growing(template, self._written)
        self._file: BinaryIO | None = None
        room = {"time": steps, "step": steps * template.attrs.get("save_every", 1)}
        self._move_to({dim: room[dim] for dim in self._written})

    @property
    def written(self) -> int:
        return self._written["time"]

    def append(self, block: ArrayLike | xr.Dataset, *, time: ArrayLike | None = None, **variables: ArrayLike) -> None:
        """Write the next times. When this returns they are in the partial file, even if the process is killed.

        Parameters
        ----------
        block : array or Dataset
            The next rows of `activity`, with the dims of the template; or a Dataset that holds them and whatever else
            is along time. Dtypes must fit those of the template without loss.
        time : array, optional
            Their times, if not those that follow from ``dt`` and ``save_every`` of the template.
        **variables
            Rows of the other variables along time (``loss=…``) and of an appended drive; and ``previous``, if the
            template has it, in place of that of the block before.

        Raises
        ------
        ValueError
            Naming the variable that is missing, unknown or does not fit, or if there is no more room. Nothing of the
            block is then written.
        OSError
            If the disk fills up; the partial file holds the blocks before.
        """
        if self._file is None:
            raise ValueError(f"{self.path} is closed: nothing can be appended")
        if time is not None:
            variables["time"] = time
        rows = self._checked(self._collected(block, variables))
        end = {dim: count + rows[dim].size for dim, count in self._written.items()}
        self._ensure_room(end)
        last = [name for name in LAST if name in rows]
        for name in last:  # of neither block until the times are written
            self._write(name, np.full_like(rows[name], unwritten(rows[name].dtype)))
        for name in rows.keys() - {"step", "time", *last}:
            self._write(name, rows[name])
        for name in ("step", "time", *last):
            if name in rows:
                self._write(name, rows[name])
        self._last = {dim: rows[dim][-1] for dim in self._written}
        self._written = end

    def flush(self) -> None:
        """Have the disk itself hold all that was appended, so that it survives a loss of power too."""
        if self._file is None:
            raise ValueError(f"{self.path} is closed: there is nothing to flush")
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Complete the file: it takes its final name. The end of a ``with`` block does this.

        Raises
        ------
        ValueError
            If nothing was appended; no file is left.
        OSError
            If the file cannot be completed; the partial file is left.
        """
        if self._file is None:
            return
        try:
            if not self.written:
                raise ValueError(f"nothing was appended to {self.path}: no file is written")
            if any(self._places[dim].room > count for dim, count in self._written.items()):
                self._move_to(self._written)
            self.flush()
            if not os.path.samestat(os.fstat(self._file.fileno()), os.stat(self.partial)):
                raise FileExistsError(errno.EEXIST, "another writer has put its own file here", str(self.partial))
            os.replace(self.partial, self.path)
        finally:
            self._release()

    def __enter__(self) -> RecordingWriter:
        return self

    def __exit__(self, kind, error, trace) -> None:
        if kind is None:
            self.close()
        elif self._file is not None:
            self._release()

    def _release(self):
        self._file.close()
        self._file = None
        if not self.written:  # an empty file is useless
            self.partial.unlink(missing_ok=True)

    def _write(self, name, rows):
        place = self._places[name]
        try:
            place.write(self._file, self._written.get(place.dim, 0), rows)
        except OSError as error:  # a full disk, where the file system could not reserve
            raise OSError(error.errno, f"could not be written: {error.strerror}", str(self.partial)) from error

    def _collected(self, block, variables):
        """The rows to write, by name: of the block, of the keywords, and the times and steps that follow."""
        rows = {"activity": block}
        if isinstance(block, xr.Dataset):
            rows = {name: block[name] for name in self._places if name in block.variables}
        rows |= variables
        if unknown := rows.keys() - self._places.keys():
            raise ValueError(f"{sorted(unknown)} cannot be appended; the template takes {sorted(self._places)}")
        if missing := self._places.keys() - rows.keys() - self._written.keys():
            raise ValueError(f"{sorted(missing)} must be appended too: the template has them")
        for name, value in rows.items():
            dims = self._template[name].dims
            if isinstance(value, xr.DataArray) and value.dims != dims:
                raise ValueError(f"{name} has the dims {value.dims}; accepted are those of the template, {dims}")
        rows = {name: np.asarray(value) for name, value in rows.items()}
        rows |= {name: rows[name][np.newaxis] for name in LAST if name in rows}
        for dim in self._written.keys() - rows.keys():
            rows[dim] = self._following(dim, rows)
        return rows

    def _following(self, dim, rows):
        """The next regular values of ``time`` or ``step``, as many as the rows given along it."""
        attributes, coord = self._template.attrs, self._template[dim]
        if "dt" not in attributes:
            raise ValueError(f"{dim} must be given: the template has no dt from which it would follow")
        interval, first = attributes["dt"], 0
        if dim == "time":
            interval, first = interval * attributes.get("save_every", 1), 1
        name, place = next((name, place) for name, place in self._places.items() if place.dim == dim != name)
        count = rows[name].shape[place.axis] if rows[name].ndim == len(place.shape) else 0
        times = regular_times(first + self._written[dim] + np.arange(count), interval, coord.attrs["units"])
        if coord.size:  # the template need not begin at the first step
            times = times + (coord.values[0] - regular_times(first, interval, coord.attrs["units"]))
        return times

    def _checked(self, rows):
        """The rows as contiguous arrays of the file's dtypes."""
        checked = {}
        for name, place in self._places.items():
            array = rows[name]
            count = rows[place.dim].size if place.dim in self._written else 1
            if array.shape != place.shape_of(count):
                of = f"for {count} along {place.dim}" if place.dim in self._written else "as in the template"
                raise ValueError(f"{name} has shape {array.shape}; accepted is {place.shape_of(count)}, {of}")
            if not np.can_cast(array.dtype, place.dtype, "safe"):
                raise ValueError(
                    f"{name} is {array.dtype}, which {place.dtype} in the file cannot hold exactly: convert it"
                )
            checked[name] = np.ascontiguousarray(array, dtype=place.dtype)
        for dim in self._written:
            values = np.append(self._last[dim], checked[dim]) if self._last else checked[dim]
            if not checked[dim].size:
                raise ValueError(f"{dim}: no rows along it were given")
            if not (np.isfinite(values).all() and (values[1:] > values[:-1]).all()):
                raise ValueError(f"{dim} must be finite and increase from each row to the next, got {values}")
        return checked

    def _ensure_room(self, end):
        room = {dim: self._places[dim].room for dim in end}
        if self._room_is_known and end["time"] > room["time"]:
            raise ValueError(
                f"{self.path} has room for steps={room['time']} times, with this block it is {end['time']}"
            )
        if any(end[dim] > room[dim] for dim in end):
            self._move_to({dim: room[dim] if end[dim] <= room[dim] else max(end[dim], 2 * room[dim]) for dim in end})

    def _move_to(self, room):
        """Make the partial file anew with this much room, and carry over what is written."""
        with whole_or_nothing(self.partial, size=size_on_disk(self._template, room)) as scratch:
            places = lay_out(scratch, self._template, room)
            file = open(scratch, "r+b", buffering=0)  # noqa: SIM115 (lives as long as the writer)
            try:
                for name, place in places.items() if self._file else ():
                    self._places[name].copy(self._file, place, file, self._written.get(place.dim, 1))
            except BaseException:
                file.close()
                raise
        if self._file:
            self._file.close()
        self._file, self._places = file, places


def _check_growing(template, dims):
    for name, variable in template.variables.items():
        along = [dim for dim in dims if dim in variable.dims]
        if len(along) > 1 or (along and variable.dtype.kind not in "iuf"):
            raise ValueError(
                f"{name} ({variable.dtype}, dims {variable.dims}) cannot be appended: accepted are numbers along one "
                f"of {list(dims)}"
            )
    for name in LAST:
        if name in template and template[name].dtype.kind != "f":
            raise ValueError(f"{name} has dtype {template[name].dtype}; accepted are float32 and float64")
