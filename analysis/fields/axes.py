"""Even axes, units and checks, read out of a recording once so that every diagnostic agrees on them.

A recording's ``activity`` has the dims ``(trial,) time, (channel,) position | y, x | electrode``. `activity` brings a
Dataset or DataArray into that form (real floating point, evenly sampled, every axis increasing), `time_axis` and
`space_axes` describe the axes, and the unit helpers spell derived units the UDUNITS way (``mm-1``, ``mm s-1``).
"""

import warnings
from dataclasses import dataclass

import numpy as np
import xarray as xr

SPACE_DIMS = ("position", "y", "x")
EVENNESS = 1e-3  # steps may differ by this share of the mean step: float32 coordinates do
CLOSING = ("boundary", "size", "dx")  # attributes that say whether space closes on itself, and how far round it is


@dataclass(frozen=True)
class Axis:
    """One evenly sampled axis: coordinate ``start + step * arange(size)`` in `units`, step > 0."""

    dim: str
    start: float
    step: float
    size: int
    units: str
    periodic: bool = False

    @property
    def nyquist(self) -> float:
        """Highest frequency or wavenumber that the sampling resolves, cycles per unit."""
        return 0.5 / self.step

    @property
    def length(self) -> float:
        """What the samples cover: the circumference of a ring, the time of a record (size * step)."""
        return self.size * self.step

    @property
    def values(self) -> np.ndarray:
        return self.start + self.step * np.arange(self.size)


def activity(rec, name: str = "activity") -> xr.DataArray:
    """The activity of a recording as a real, floating-point DataArray whose axes all increase.

    Parameters
    ----------
    rec : xarray.Dataset or xarray.DataArray
        A recording (its variable `name` is taken) or the activity itself.

    Returns
    -------
    xarray.DataArray
        Dims in the order of `rec`; integers become float64, float32 stays; a space axis whose coordinate runs
        downwards is reversed (coordinate values decide, not the row index). Missing coordinates are counted, missing
        units become ``1``, both with a warning. ``attrs["boundary"]`` is kept or copied from the Dataset; what is only
        a part of a ring of ``size`` positions ``dx`` apart, where these are told, becomes a line, with a warning. Lazy
        arrays stay lazy: NaN are looked for where the data are computed.

    Raises
    ------
    TypeError
        Not an xarray object, or complex or non-numeric data.
    ValueError
        No variable `name`, no time axis, no space axis, an empty axis.
    """
    array = _variable(rec, name)
    if "time" not in array.dims:
        raise ValueError(
            f"rec has dims {array.dims}: a recording needs 'time'; rename yours with rec.rename(old='time')"
        )
    space = space_dims(array)
    if 0 in array.shape:
        raise ValueError(f"rec is empty: {dict(array.sizes)}")
    array = _real(array)
    for dim in ("time", *space):
        if dim != "electrode":
            array = _increasing(array, dim)
    return _opened_where_cut(array)


def _variable(rec, name):
    if isinstance(rec, xr.Dataset):
        if name not in rec:
            raise ValueError(f"rec has the variables {list(rec.data_vars)}: a recording's data is named '{name}'")
        return rec[name].assign_attrs({**closing(rec), **rec[name].attrs})
    if isinstance(rec, xr.DataArray):
        return rec
    raise TypeError(
        f"rec is a {type(rec).__name__}: give an xarray.Dataset with 'activity' or a DataArray, for example "
        "xr.DataArray(values, dims=('time', 'position'), coords=...)"
    )


def _real(array):
    if np.issubdtype(array.dtype, np.complexfloating):
        raise TypeError(f"activity is complex ({array.dtype}): give its real part (array.real), or amplitude and phase")
    if array.dtype == bool or np.issubdtype(array.dtype, np.integer):
        return array.astype(np.float64)
    if array.dtype == np.float16:
        return array.astype(np.float32)
    if not np.issubdtype(array.dtype, np.floating):
        raise TypeError(f"activity has dtype {array.dtype}: real numbers (float32 or float64) are needed")
    return array


def space_dims(array) -> tuple[str, ...]:
    """The space dims of a recording: ``("position",)``, ``("y", "x")`` or ``("electrode",)``."""
    for dims in (("position",), ("y", "x"), ("electrode",)):
        if all(dim in array.dims for dim in dims):
            return dims
    raise ValueError(
        f"rec has dims {array.dims}: space must be 'position', 'y' and 'x', or 'electrode'; "
        "rename yours with rec.rename(old='position')"
    )


def _increasing(array, dim):
    """`array` with a numeric, increasing coordinate with units along `dim`."""
    if dim not in array.coords:
        warnings.warn(f"no coordinate '{dim}': samples are counted 0, 1, 2, … in units '1'", stacklevel=4)
        return array.assign_coords({dim: (dim, np.arange(array.sizes[dim], dtype=float), {"units": "1"})})
    coord = array.coords[dim]
    if coord.dtype.kind in "mM":  # as some readers decode seconds; dates count from the first sample
        since = coord.values if coord.dtype.kind == "m" else coord.values - coord.values[0]
        array = array.assign_coords({dim: (dim, since / np.timedelta64(1, "s"), {"units": "s"})})
    elif coord.dtype.kind not in "fiu":
        raise TypeError(f"coordinate '{dim}' has dtype {coord.dtype}: numbers are needed")
    elif not coord.attrs.get("units"):
        warnings.warn(
            f"coordinate '{dim}' has no units: taken as '1'; set rec['{dim}'].attrs['units'] = 'mm', 's', …",
            stacklevel=4,
        )
        array = array.assign_coords({dim: (dim, coord.values, {**coord.attrs, "units": "1"})})
    values = array.coords[dim].values
    if not np.isfinite(values).all():
        raise ValueError(
            f"coordinate '{dim}' holds NaN or infinite values: drop those samples or repair the coordinate"
        )
    if dim != "time" and values.size > 1 and values[-1] < values[0]:
        array = array.isel({dim: slice(None, None, -1)})
    return array


def closing(rec) -> dict:
    """The attributes that say whether space closes on itself, for what is made from `rec`."""
    return {name: rec.attrs[name] for name in CLOSING if name in rec.attrs}


def _opened_where_cut(array):
    """`array`, as a line where it is no longer all of the ring of `size` positions `dx` apart that was recorded."""
    told = closing(array)
    if "position" not in array.dims or len(told) < len(CLOSING) or told["boundary"] != "periodic":
        return array
    x, around = array.coords["position"].values, told["size"] * told["dx"]
    step = np.ptp(x) / max(x.size - 1, 1)
    if x.size == told["size"] or abs(x.size * step - around) <= EVENNESS * step:  # whole, or evenly thinned
        return array
    warnings.warn(
        f"{x.size} positions {step:.6g} apart are part of a ring of {told['size']}, {told['dx']:.6g} apart: read as a "
        "line with open ends; if they are all of it, correct rec.attrs['size'] and rec.attrs['dx']",
        stacklevel=4,
    )
    return array.assign_attrs(boundary="open")


def even_axis(array, dim, *, minimum: int = 2) -> Axis:
    """The evenly sampled axis `dim` of what `activity` returned.

    Raises
    ------
    ValueError
        Fewer than `minimum` samples, a coordinate that repeats or decreases, or steps that differ by more than a
        thousandth of their mean.
    """
    coord = array.coords[dim]
    values = coord.values.astype(float)
    if values.size < minimum:
        raise ValueError(
            f"'{dim}' has {values.size} sample(s): at least {minimum} are needed to measure a wave along it"
        )
    if values.size == 1:
        return Axis(dim, float(values[0]), 1.0, 1, coord.attrs["units"], is_periodic(array, dim))
    steps = np.diff(values)
    step = (values[-1] - values[0]) / (values.size - 1)
    if steps.min() <= 0:
        raise ValueError(
            f"coordinate '{dim}' must increase: it repeats or runs backwards; sort it with rec.sortby('{dim}')"
        )
    if np.abs(steps - step).max() > EVENNESS * step:
        even = "rec.interp" if dim == "time" else "regridding with rec.interp"
        raise ValueError(
            f"'{dim}' is not evenly sampled: steps run from {steps.min():.6g} to {steps.max():.6g}; "
            f"resample first, for example {even}({dim}=np.linspace({values[0]:.6g}, {values[-1]:.6g}, {values.size}))"
        )
    return Axis(dim, float(values[0]), float(step), values.size, coord.attrs["units"], is_periodic(array, dim))


def time_axis(array, *, minimum: int = 2) -> Axis:
    """The time axis of what `activity` returned."""
    return even_axis(array, "time", minimum=minimum)


def space_axes(array, *, minimum: int = 2) -> tuple[Axis, ...]:
    """The space axes of a ring, line, probe or grid: ``(position,)`` or ``(y, x)``.

    Raises
    ------
    ValueError
        An irregular electrode array, axes in different units, or one that `even_axis` refuses.
    """
    dims = space_dims(array)
    if dims == ("electrode",):
        raise ValueError(
            "an irregular electrode array has no wavenumber axis: use the delay plane fit or the phase gradient, "
            "or interpolate the electrodes onto a regular grid (dims 'y', 'x') first"
        )
    _common_units(array, dims)
    return tuple(even_axis(array, dim, minimum=minimum) for dim in dims)


def _common_units(array, names) -> str:
    """The units that the space coordinates share; different ones are refused: distances would mix them."""
    units = sorted({array.coords[name].attrs.get("units", "1") for name in names})
    if len(units) > 1:
        raise ValueError(f"y and x have different units {units}: convert one of them")
    return units[0]


def is_periodic(array, dim) -> bool:
    """Whether `dim` closes on itself: the coordinate's own attribute ``boundary``, else the recording's."""
    if dim == "time":
        return False
    boundary = array.coords[dim].attrs.get("boundary", array.attrs.get("boundary", "open"))
    return boundary == "periodic"


def electrode_positions(array) -> tuple[np.ndarray, str]:
    """Positions of the sensors, shape (sensors, 2) as (x, y), and their units; for grids in C order of (y, x)."""
    dims = space_dims(array)
    if dims == ("position",):
        x = array.coords["position"]
        return np.column_stack([x.values, np.zeros(x.size)]).astype(float), x.attrs["units"]
    if dims == ("y", "x"):
        y, x = np.meshgrid(array.coords["y"].values, array.coords["x"].values, indexing="ij")
        return np.column_stack([x.ravel(), y.ravel()]).astype(float), _common_units(array, dims)
    missing = [name for name in ("x", "y") if name not in array.coords]
    if missing:
        raise ValueError(
            f"an electrode array needs coordinates x(electrode) and y(electrode): {missing} missing; "
            "add them with rec.assign_coords(x=('electrode', …), y=('electrode', …))"
        )
    x, y = array.coords["x"], array.coords["y"]
    return np.column_stack([x.values, y.values]).astype(float), _common_units(array, ("x", "y"))


def check_finite(values: np.ndarray) -> None:
    """Raise ValueError for NaN or infinite samples, with the remedy. Called on blocks as they are computed."""
    if not np.isfinite(values).all():
        raise ValueError(
            "activity holds NaN or infinite samples: name dead positions with mask='nan' (or a boolean array, "
            "True = dead), or cut or interpolate the bad samples"
        )


def inverse_units(units: str) -> str:
    """Units of one cycle per `units`: ``s`` → ``Hz``, ``mm`` → ``mm-1``, ``1`` → ``1``."""
    return {"s": "Hz", "ms": "kHz", "1": "1"}.get(units, f"{units}-1")


def speed_units(space: str, time: str) -> str:
    """Units of `space` per `time`: ``mm``, ``s`` → ``mm s-1``; the dimensionless ``1`` is left out."""
    parts = [space if space != "1" else "", f"{time}-1" if time != "1" else ""]
    return " ".join(part for part in parts if part) or "1"


def netcdf_attrs(**parameters) -> dict:
    """Parameters as netCDF holds them: None is ``"none"``, True ``"true"``, a callable its name, mixed lists text."""
    return {name: _plain(value) for name, value in parameters.items()}


def _plain(value):
    if value is None:
        return "none"
    if isinstance(value, bool | np.bool_):
        return str(bool(value)).lower()
    if isinstance(value, int | float | str):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, tuple | list | np.ndarray):
        items = [_plain(item) for item in value]
        alike = all(isinstance(item, str) for item in items) or not any(isinstance(item, str | list) for item in items)
        return items if alike else str(value)
    return getattr(value, "__name__", str(value))
