"""A recording, read once: its values, its axes and its sensors, for everything that is measured of it.

Public functions make a `Field` of what users give them; internal functions take the `Field`. Axes and sensors are
worked out when something first needs them, so that what needs no even axis works without one, and lazy arrays stay
lazy.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import product

import numpy as np
import xarray as xr

from analysis.fields.axes import Axis, check_size, common_units, even_axis, space_dims
from analysis.fields.dead import Mask, dead_positions, runs_down, silenced, unchanging
from analysis.fields.read import Recording, activity, check_finite
from analysis.fields.sensors import Sites, sites_of
from wavefield.progress import Progress

NAMED = 32  # sensors at most that a warning names
LONG = 2**24  # samples of all sensors of a trial and channel from which a recording is measured stretch by stretch …
STRETCH = 2**22  # … of so many at most: what is worked out of one takes some twenty times its memory


def stretches(values: np.ndarray) -> list[np.ndarray]:
    """`values` (time, site) as they are, or of a long recording in equal stretches of time, at most `STRETCH` each."""
    if values.size <= LONG:
        return [values]
    steps = len(values) // -(-values.size // STRETCH)
    return [values[start : start + steps] for start in range(0, len(values) - steps + 1, steps)]


@dataclass(frozen=True, eq=False)
class Space:
    """Where a recording was taken: its space dims, and, worked out when needed, their axes and the sensors."""

    dims: tuple[str, ...]
    shape: tuple[int, ...]
    labels: xr.Dataset  # the coordinates over `dims`, and the attribute boundary
    dead: np.ndarray | None = None  # (*shape) bool, True = dead; None: none is
    _axes: dict[str, Axis] = field(default_factory=dict)  # those worked out so far

    @classmethod
    def of(cls, array: xr.DataArray, dead: np.ndarray | None = None) -> Space:
        """The space of what `analysis.fields.read.activity` returned."""
        dims = space_dims(array)
        over = [name for name, coord in array.coords.items() if coord.ndim and set(coord.dims) <= set(dims)]
        labels = xr.Dataset(coords={name: array.coords[name].variable for name in over})
        labels = labels.assign_attrs(boundary=array.attrs.get("boundary", "open"))
        return cls(dims, tuple(array.sizes[dim] for dim in dims), labels, dead)

    def axis(self, dim: str) -> Axis:
        """One of the axes, which must be even."""
        if dim not in self._axes:
            self._axes[dim] = even_axis(self.labels, dim)
        return self._axes[dim]

    def axes(self, minimum: int = 2) -> tuple[Axis, ...]:
        """The axes of a ring, line, probe or grid: ``(position,)`` or ``(y, x)``, each of at least `minimum` positions.

        Raises
        ------
        ValueError
            An irregular electrode array, axes in different units, uneven or too short ones.
        """
        if self.dims == ("electrode",):
            raise ValueError(
                "an irregular electrode array has no wavenumber axis: use the delay plane fit or the phase gradient, "
                "or interpolate the electrodes onto a regular grid (dims 'y', 'x') first"
            )
        common_units(self.labels, self.dims)
        for dim, size in zip(self.dims, self.shape, strict=True):
            check_size(dim, size, minimum)
        return tuple(self.axis(dim) for dim in self.dims)

    def sensors(self, minimum: int = 2) -> Sites:
        """The living sensors and which of them are neighbours; at least `minimum` of them.

        Raises
        ------
        ValueError
            Too few sensors, a sheet of one row, and what `analysis.fields.sensors.sites_of` refuses.
        """
        total = int(np.prod(self.shape))
        alive = total if self.dead is None else total - int(self.dead.sum())
        if alive < minimum:
            raise ValueError(
                f"{alive} of {total} sensors along {self.dims} are usable: at least {minimum} are needed to see a "
                "wave pass; loosen the mask or record more positions"
            )
        if len(self.dims) == 2 and min(self.shape) < 2:
            raise ValueError(f"the sheet has shape {self.shape}: a single row is a line; name its axis 'position'")
        return self._sites

    @cached_property
    def _sites(self) -> Sites:
        return sites_of(self.labels, self.dims, self.shape, self.dead, self.axis)

    @cached_property
    def everywhere(self) -> Space:
        """The same with its dead sensors counted among the living."""
        return self if self.dead is None else replace(self, dead=None)


@dataclass(frozen=True, eq=False)
class Field:
    """The activity of a recording in the one form that every diagnostic takes.

    Parameters
    ----------
    values : xarray.DataArray
        As `analysis.fields.read.activity` returns it: (trial?, time, channel?, *space) in the order of the recording,
        zeros at dead positions.
    space : Space
        Its space axes and sensors.
    clock : Axis, optional
        Its time axis, where that is known already.
    """

    values: xr.DataArray
    space: Space
    clock: Axis | None = None

    @classmethod
    def of(cls, rec: Recording, mask: Mask = None, *, living: bool = False) -> Field:
        """Read and check a recording.

        Parameters
        ----------
        rec : xarray.Dataset or xarray.DataArray
            A recording (see `wavefield.recording`), or its activity.
        mask : None, "nan" or boolean array
            Dead positions: none; those that hold a NaN anywhere; those that are True (shaped like the space dims).
        living : bool
            Whether sensors that never change are dead too, and named in a warning. So are electrodes that are cut off;
            one of them would decide how much of the field stands still, or hide the others in rounding. A NaN is left
            to be refused. Nothing is left out where half of the sensors or more never change, nor of a model, whose
            units may stand still.

        Raises
        ------
        TypeError, ValueError
            As `analysis.fields.read.activity` and `analysis.fields.dead.dead_positions`.
        """
        array = activity(rec)
        dead = dead_positions(array, mask, rec)
        if living and not _of_a_model(rec):
            dead = _with_unchanging(array, dead, rec)
        return cls(silenced(array, dead), Space.of(array, dead))

    @cached_property
    def time(self) -> Axis:
        """The time axis, which must be even."""
        return even_axis(self.values, "time") if self.clock is None else self.clock

    def check_steps(self, minimum: int) -> None:
        """Raise ValueError where there are fewer samples in time than a method needs."""
        check_size("time", self.values.sizes["time"], minimum)

    @property
    def dead(self) -> np.ndarray | None:
        """Which positions are dead, shaped like the space dims; None: none is."""
        return self.space.dead

    @property
    def trial(self) -> list[str]:
        """The dim of the trials, where there are any, as a list of dims to average over."""
        return ["trial"] if "trial" in self.values.dims else []

    @property
    def units(self) -> str:
        """Of the activity."""
        return self.values.attrs.get("units", "1")

    @property
    def ordered(self) -> xr.DataArray:
        """The values as (trial?, channel?, time, *space)."""
        return self.values.transpose(*self._batch, "time", *self.space.dims)

    @property
    def _batch(self) -> list[str]:
        return [str(dim) for dim in self.values.dims if dim not in ("time", *self.space.dims)]

    def with_values(self, values: xr.DataArray, *, dead="same", clock: Axis | None = None) -> Field:
        """Another activity of the same sensors, at the same times unless a `clock` is given.

        `dead` is "same", or None where the dead positions have been filled.
        """
        space = self.space if isinstance(dead, str) else self.space.everywhere
        return Field(values, space, self.time if clock is None else clock)

    @property
    def is_long(self) -> bool:
        """Whether a trial of one channel holds more than `LONG` samples, all in memory."""
        sites = int(np.prod(self.space.shape))
        return self.values.chunks is None and self.values.sizes["time"] * sites > LONG

    def in_stretches(self) -> Field:
        """A long recording with its stretches, as `stretches` cuts them, as trials; any other as it is.

        The values are a view, in the order (trial, channel?, time, *space).
        """
        if not self.is_long:
            return self
        array, sites = self.values, int(np.prod(self.space.shape))
        if "trial" not in array.dims:
            array = array.expand_dims("trial")
        array = array.transpose("trial", "time", ...)
        count = -(-array.sizes["time"] * sites // STRETCH)
        steps = array.sizes["time"] // count
        values = array.values[:, : count * steps].reshape(-1, steps, *array.shape[2:])
        kept = {n: c.variable for n, c in array.coords.items() if not {"trial", "time"} & set(c.dims)}
        clock = replace(self.time, size=steps)
        time = ("time", clock.values, array.coords["time"].attrs)
        folded = xr.DataArray(values, dims=array.dims, coords={**kept, "time": time}, attrs=array.attrs)
        return Field(folded, self.space, clock)

    def trial_at(self, number: int) -> Field:
        """One of its trials."""
        return replace(self, values=self.values.isel(trial=number, drop=True))

    def without_channel(self) -> Field:
        """The same without its dim ``channel``, of which it has one at most."""
        values = self.values.squeeze("channel", drop=True) if "channel" in self.values.dims else self.values
        return replace(self, values=values)

    def traces(self) -> Iterator[tuple[tuple[int, ...], np.ndarray]]:
        """Yield ``(index, values)`` for each trial and channel: values (time, living site), float64 and finite."""
        array, alive = self.ordered, self.space.sensors().alive
        indices = list(product(*(range(array.sizes[dim]) for dim in self._batch)))
        for index in Progress(indices, "trials and channels", unit="trace", leave=False):
            block = array.isel(dict(zip(self._batch, index, strict=True))).values
            block = block.reshape(block.shape[0], -1)
            block = (block if alive.all() else block[:, alive]).astype(np.float64, copy=False)
            check_finite(block)
            yield index, block

    def batch_coords(self) -> dict:
        """Coordinates of the dims that stay (trial, channel), counted where absent, as a Dataset takes them."""
        array = self.values
        return {
            dim: array.coords[dim] if dim in array.coords else (dim, np.arange(array.sizes[dim]), {"units": "1"})
            for dim in self._batch
        }

    def space_coords(self) -> dict:
        """Every coordinate that lies on the space dims alone."""
        dims = set(self.space.dims)
        return {name: c for name, c in self.values.coords.items() if c.ndim and set(c.dims) <= dims}


def _of_a_model(rec: Recording) -> bool:
    """Whether a recording says that it was simulated."""
    driven = isinstance(rec, xr.Dataset) and bool({"drive", "kernel"} & set(rec.data_vars))
    return driven or rec.attrs.get("source_kind", "recorded") != "recorded"


def _with_unchanging(array, dead, rec):
    """The dead sensors, and with them those that never change; None: none is."""
    alive = np.ones([array.sizes[dim] for dim in space_dims(array)], bool) if dead is None else ~dead
    flat = unchanging(array, alive, zeros=rec.attrs.get("boundary", "open") == "open")
    if not flat.any():
        return dead
    turned = tuple(axis for axis, dim in enumerate(space_dims(array)) if runs_down(dim, rec))
    _warn_of_dead(np.flip(flat, turned))
    return ~alive | flat


def _warn_of_dead(found: np.ndarray) -> None:
    """Name the sensors that are left out, in the order of the recording."""
    numbers = np.flatnonzero(found).tolist()
    named = ", ".join(map(str, numbers[:NAMED])) + (f" and {len(numbers) - NAMED} more" if len(numbers) > NAMED else "")
    rows = " row by row from 0" if found.ndim == 2 else ""
    warnings.warn(
        f"{len(numbers)} of {found.size} sensors never change (number {named}{', counted' * bool(rows)}{rows}), as "
        "those do that are cut off: taken as dead and left out",
        stacklevel=5,
    )
