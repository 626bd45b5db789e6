"""A recording as its owner has it, brought into the one form that every diagnostic takes.

That form is real floating point with the dims ``(trial,) time, (channel,) position | y, x | electrode`` and a numeric
coordinate with units along every axis, increasing in space.
"""

import warnings

import numpy as np
import xarray as xr

from analysis.fields.axes import EVENNESS, space_dims

Recording = xr.Dataset | xr.DataArray  # what public functions take
LARGEST = 0.4  # power of the largest number that samples may reach: their squares are summed
CLOSING = ("boundary", "size", "dx")  # attributes that say whether space closes on itself, and how far round it is


def activity(rec: Recording, name: str = "activity") -> xr.DataArray:
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
        a part of a ring of ``size`` positions ``dx`` apart, where these attributes are given, becomes a line, with
        a warning. Lazy arrays stay lazy: NaN are searched for where the data are computed.

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
    unnamed = "time" not in array.coords and not {*space} & {*array.coords}
    if unnamed and space == ("position",) and array.sizes["time"] < array.sizes["position"]:
        warnings.warn(
            f"rec has {array.sizes['time']} steps and {array.sizes['position']} positions, and no coordinates: if its "
            "axes are the other way round, name them so, dims=('position', 'time')",
            stacklevel=4,
        )
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


def _increasing(array, dim):
    """`array` with a numeric, increasing coordinate with units along `dim`."""
    if dim not in array.coords:
        warnings.warn(f"no coordinate '{dim}': samples are counted 0, 1, 2, … in units '1'", stacklevel=5)
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
            stacklevel=5,
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
    """The attributes of `rec` that say whether space closes on itself, for what is made from it."""
    return {name: rec.attrs[name] for name in CLOSING if name in rec.attrs}


def _opened_where_cut(array):
    """`array`, as a line where it is no longer the complete ring of `size` positions `dx` apart that was recorded."""
    given = closing(array)
    if "position" not in array.dims or len(given) < len(CLOSING) or given["boundary"] != "periodic":
        return array
    x, around = array.coords["position"].values, given["size"] * given["dx"]
    step = np.ptp(x) / max(x.size - 1, 1)
    if x.size == given["size"] or abs(x.size * step - around) <= EVENNESS * step:  # complete, or evenly thinned
        return array
    warnings.warn(
        f"{x.size} positions {step:.6g} apart are part of a ring of {given['size']}, {given['dx']:.6g} apart: read as "
        "a line with open ends; if they are all of it, correct rec.attrs['size'] and rec.attrs['dx']",
        stacklevel=5,
    )
    return array.assign_attrs(boundary="open")


def check_finite(values: np.ndarray) -> None:
    """Raise ValueError for NaN or infinite samples, with the remedy. Called on blocks as they are computed."""
    if not values.size:
        return
    low, high = float(values.min()), float(values.max())  # NaN goes through both
    if not (np.isfinite(low) and np.isfinite(high)):
        raise ValueError(
            "activity holds NaN or infinite samples: name dead positions with mask='nan' (or a boolean array, "
            "True = dead), or cut or interpolate the bad samples"
        )
    if max(high, -low) > np.finfo(values.dtype).max ** LARGEST:
        raise ValueError(
            f"activity reaches {max(high, -low):.3g}, whose powers leave the range of {values.dtype}: give it in other "
            "units"
        )
