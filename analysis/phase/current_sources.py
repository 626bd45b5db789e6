"""Current source density: the second spatial derivative of a potential, where current enters and leaves the tissue."""

import xarray as xr

from analysis.fields.axes import activity, check_finite, netcdf_attrs, space_axes, space_dims
from analysis.fields.dead import dead_positions


def current_source_density(rec, *, conductivity=None, mask=None) -> xr.Dataset:
    """Current source density by second differences along a probe, or along both axes of a sheet.

    .. math:: C(x) = -σ \\frac{u(x + h) - 2u(x) + u(x - h)}{h^2}

    On a ring the differences go across the seam; on open axes the two ends are left out. A pattern of wavenumber q
    comes out smaller than the derivative by exactly sinc²(qh) (0.95 at eight sensors per period).

    Parameters
    ----------
    rec : xarray.Dataset or xarray.DataArray
        A recording on a regular axis or grid.
    conductivity : float, optional
        σ, in units of your own; without it C has the units of u per length squared.
    mask : None, "nan" or boolean array
        Dead sensors: they and the neighbours that would need them become NaN.

    Returns
    -------
    xarray.Dataset
        ``csd``, sources positive, with the dims of the activity.

    Raises
    ------
    ValueError
        An irregular array, fewer than three positions, NaN without a mask.

    References
    ----------
    Nicholson and Freeman 1975, J. Neurophysiol. 38.

    Examples
    --------
    >>> from analysis import synthetic
    >>> rec = synthetic.standing(synthetic.line(32, dx=0.1, units="mm"), 4, wavenumber=1.25, frequency=0.1)
    >>> current_source_density(rec).csd.sizes["position"]
    30
    """
    if conductivity is not None and not conductivity > 0:
        raise ValueError(f"conductivity is {conductivity}: a positive number is needed")
    array = activity(rec)
    axes = space_axes(array, minimum=3)
    dead = dead_positions(array, mask, rec)
    if dead is not None:
        array = array.where(~xr.DataArray(dead, dims=space_dims(array)))
    else:
        array = xr.apply_ufunc(_finite, array, dask="parallelized", output_dtypes=[array.dtype], keep_attrs=True)
    total = 0.0
    for axis in axes:
        ahead, behind = (array.roll({axis.dim: step}, roll_coords=False) for step in (-1, 1))
        total = total - (ahead - 2 * array + behind) / axis.step**2
    total = total.isel({axis.dim: slice(1, -1) for axis in axes if not axis.periodic}) * (conductivity or 1.0)
    units = (array.attrs.get("units", "1"), f"{axes[0].units}-2")
    units = " ".join(unit for unit in units if unit not in ("1", "1-2")) or "1"
    attrs = {"method": "second difference", **netcdf_attrs(conductivity=conductivity)}
    return xr.Dataset({"csd": total.assign_attrs(units=units, long_name="current source density")}, attrs=attrs)


def _finite(values):
    check_finite(values)
    return values
