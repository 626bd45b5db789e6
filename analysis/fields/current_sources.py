"""Current source density: the second spatial derivative of a potential, where current enters and leaves the tissue."""

import xarray as xr

from analysis.fields.dead import Mask
from analysis.fields.field import Field
from analysis.fields.read import Recording, check_finite
from analysis.fields.units import labelled, netcdf_attrs


def current_source_density(rec: Recording, *, conductivity: float | None = None, mask: Mask = None) -> xr.Dataset:
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
    field = Field.of(rec, mask)
    array, axes = field.values, field.space.axes(minimum=3)
    if field.dead is not None:
        array = array.where(xr.DataArray(~field.dead, dims=field.space.dims))
    else:
        array = xr.apply_ufunc(_finite, array, dask="parallelized", output_dtypes=[array.dtype], keep_attrs=True)
    total = xr.zeros_like(array)
    for axis in axes:
        ahead, behind = (array.roll({axis.dim: step}, roll_coords=False) for step in (-1, 1))
        total = total - (ahead - 2 * array + behind) / axis.step**2
    total = total.isel({axis.dim: slice(1, -1) for axis in axes if not axis.periodic}) * (conductivity or 1.0)
    units = " ".join(unit for unit in (field.units, f"{axes[0].units}-2") if unit not in ("1", "1-2")) or "1"
    attrs = {"method": "second difference", **netcdf_attrs(conductivity=conductivity)}
    return xr.Dataset({"csd": total.assign_attrs(labelled(units, "current source density"))}, attrs=attrs)


def _finite(values):
    check_finite(values)
    return values
