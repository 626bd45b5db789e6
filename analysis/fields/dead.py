"""Dead positions (NaN, named by a mask, or unchanging) and how they are filled from their living neighbours."""

import dask
import numpy as np
import xarray as xr

from analysis.fields.axes import space_dims

Mask = str | np.ndarray | xr.DataArray | None  # "nan", or True = dead over the space dims


def dead_positions(array: xr.DataArray, mask: Mask, rec=None) -> np.ndarray | None:
    """Which positions are dead, True = dead, in the order of `array`; None where nothing is masked.

    Parameters
    ----------
    array : xarray.DataArray
        What `activity` returned.
    mask : None, "nan", or boolean array
        ``"nan"`` looks for positions that hold a NaN anywhere (one pass over lazy data); an array or DataArray, in the
        shape of the space dims, names the dead positions; None masks nothing, so that a NaN is an error later.
    rec : xarray.Dataset or xarray.DataArray, optional
        What `activity` was called with: the axes that it turned round are turned in the mask too. A DataArray goes by
        coordinates of its own where it has them.

    Raises
    ------
    ValueError
        A mask of another shape, or one that leaves fewer than two positions.
    """
    if mask is None:
        return None
    dims = space_dims(array)
    shape = tuple(array.sizes[dim] for dim in dims)
    if isinstance(mask, str):
        if mask != "nan":
            raise ValueError(f"mask is {mask!r}: None, 'nan' or a boolean array (True = dead) is needed")
        dead = array.isnull().any([dim for dim in array.dims if dim not in dims]).transpose(*dims).values
    else:
        dead = mask.transpose(*dims).values if isinstance(mask, xr.DataArray) else np.asarray(mask)
        if dead.dtype != bool or dead.shape != shape:
            raise ValueError(f"mask has dtype {dead.dtype} and shape {dead.shape}: boolean and {shape} are needed")
        dead = np.flip(dead, tuple(axis for axis, dim in enumerate(dims) if runs_down(dim, mask, rec)))
    if dead.size - dead.sum() < 2:
        raise ValueError(f"mask leaves {dead.size - dead.sum()} of {dead.size} positions: at least 2 must live")
    return dead if dead.any() else None


def unchanging(array: xr.DataArray, alive: np.ndarray, zeros: bool = True) -> np.ndarray:
    """Which living sensors keep one value all the time in some trial or channel, shape of the space dims.

    So do electrodes that are cut off. Trials and channels in which half of the living sensors or more do so do not
    count: there the field itself stands still. Lazy data are read in full only where a few samples do not exclude it.

    Parameters
    ----------
    array : xarray.DataArray
        What `activity` returned.
    alive : boolean array, shape of the space dims
    zeros : bool
        Whether sensors that stay at 0 count.
    """
    dims = space_dims(array)
    array = array.transpose(..., "time", *dims)
    few = array.isel(time=sorted({0, array.sizes["time"] // 3, array.sizes["time"] - 1})).values
    few = few.reshape(-1, *few.shape[-1 - len(dims) : -len(dims)], alive.size)  # (batch, time, site)
    likely = (few == few[:, :1]).all(axis=1) & alive.ravel()  # (batch, site)
    flat = np.zeros_like(likely)
    if likely.any() and array.sizes["time"] > 1:
        low, high = _range(array, likely.any(axis=0))
        flat = likely & (low == high) & (zeros | (low != 0))
    counts = 2 * flat.sum(axis=1, keepdims=True) < alive.sum()
    return (flat & counts).any(axis=0).reshape(alive.shape)


def _range(array, wanted):
    """Least and greatest value over time (batch, site) of the sites wanted, NaN of others and where one is."""
    shape = array.shape[array.get_axis_num("time") + 1 :]
    if array.chunks is not None:
        low, high = dask.compute(array.min("time", skipna=False), array.max("time", skipna=False))
        return (end.values.reshape(-1, wanted.size) for end in (low, high))
    values = array.values.reshape(-1, array.sizes["time"], *shape)
    low = np.full((len(values), wanted.size), np.nan)
    high = low.copy()
    for site in np.flatnonzero(wanted):  # one by one: nothing is held beside the recording
        trace = values[(slice(None), slice(None), *np.unravel_index(site, shape))]
        low[:, site], high[:, site] = trace.min(axis=1), trace.max(axis=1)
    return low, high


def runs_down(dim: str, *holders) -> bool:
    """Whether the coordinate of the first that has one decreases."""
    for holder in holders:
        if dim in getattr(holder, "coords", ()):
            values = holder[dim].values
            return dim != "electrode" and values[0] > values[-1]
    return False


def fill_weights(dead: np.ndarray, periodic: tuple[bool, ...]) -> np.ndarray:
    """Weights W, shape (dead, living), so that ``u[dead] = W @ u[living]``, both in C order.

    Each dead position becomes the mean of its grid neighbours (the discrete Laplace equation): linear interpolation
    along a line or ring, a constant beyond the last living position of an open end, a harmonic surface on a sheet.
    """
    index = np.arange(dead.size).reshape(dead.shape)
    neighbours = np.zeros((dead.size, dead.size))
    for axis, wraps in enumerate(periodic):
        ahead, here = np.roll(index, -1, axis), index
        if not wraps:
            keep = [slice(None)] * dead.ndim
            keep[axis] = slice(0, -1)
            ahead, here = ahead[tuple(keep)], here[tuple(keep)]
        neighbours[here.ravel(), ahead.ravel()] = neighbours[ahead.ravel(), here.ravel()] = 1.0
    gone = dead.ravel()
    laplacian = np.diag(neighbours.sum(axis=1)) - neighbours
    return np.linalg.solve(laplacian[np.ix_(gone, gone)], neighbours[np.ix_(gone, ~gone)])


def silenced(array: xr.DataArray, dead: np.ndarray | None) -> xr.DataArray:
    """The array with zeros at the positions `dead` (None: as it is); a NaN elsewhere stays, to be refused later."""
    return array if dead is None else array.where(~xr.DataArray(dead, dims=space_dims(array)), 0.0)


def fill(values: np.ndarray, dead: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """`values` (…, *space) with the dead positions filled; the input is left as it was."""
    flat = values.reshape(*values.shape[: values.ndim - dead.ndim], dead.size).copy()
    gone = dead.ravel()
    flat[..., gone] = flat[..., ~gone] @ weights.T.astype(values.dtype)
    return flat.reshape(values.shape)


def filled(array: xr.DataArray, dead: np.ndarray, axes) -> xr.DataArray:
    """The complete `array` in memory, with the positions `dead` filled."""
    dims = [axis.dim for axis in axes]
    weights = fill_weights(dead, tuple(axis.periodic for axis in axes))
    values = array.transpose(..., *dims)
    return values.copy(data=fill(values.values, dead, weights)).transpose(*array.dims)
