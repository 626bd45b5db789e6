"""Which way waves travel: power to either side, the signals themselves, and travelling against standing.

Left and right are read off the signed wavenumber of `analysis.spectra`: +k travels to +x. The bins k = 0,
|k| = Nyquist, f = 0 and f = Nyquist belong to neither side and are left out of every sum.
"""

from dataclasses import replace

import numpy as np
import xarray as xr
from scipy import fft

from analysis.fields.band import Band, in_band
from analysis.fields.dead import Mask, fill
from analysis.fields.field import Field
from analysis.fields.read import Recording, check_finite, closing
from analysis.fields.units import labelled, netcdf_attrs
from analysis.spectra.spectrum import wavenumber_frequency_spectrum
from analysis.spectra.transform import (
    Spectral,
    block_chunks,
    plan_transform,
    spectral_dims,
    tapered_segments,
    tools_of,
)


def direction_index(rec: Recording, *, axis: str = "x", band: Band | None = None, **options) -> xr.Dataset:
    r"""Power that travels to +x and to −x, and their balance.

    .. math:: D = \frac{R - L}{R + L}, \qquad R = \sum_{0<f<f_N,\; 0<k<k_N} P(k, f), \quad
              L = \sum_{0<f<f_N,\; -k_N<k<0} P(k, f)

    D is 1 for a wave to +x, −1 to −x, 0 for a standing wave, and (1 − r²)/(1 + r²) for amplitudes 1 and r. On white
    noise it scatters about 0 with standard deviation 1/√(2 · bins of one side).

    Parameters
    ----------
    rec : xarray.Dataset or xarray.DataArray
        A recording, or a spectrum made by `wavenumber_frequency_spectrum` (a Dataset with ``power``).
    axis : {"x", "y"}
        On grids: which component of the wavenumber decides.
    band : (float, float), optional
        Only frequencies from the first to the second, inclusive.
    **options
        Passed to `wavenumber_frequency_spectrum` (window, segment, average, mask, …) when `rec` is a recording.

    Returns
    -------
    xarray.Dataset
        ``index`` (D), ``right`` and ``left`` (units of the spectrum's power), over trial and channel.

    Examples
    --------
    >>> from analysis import synthetic
    >>> ring = synthetic.ring(64)
    >>> rec = synthetic.mixed(ring, 256, ratio=0.5, wavenumber=5 / 64, frequency=12 / 256)
    >>> round(float(direction_index(rec, window="boxcar", detrend=None).index), 6)
    0.6
    """
    if isinstance(rec, xr.Dataset) and "power" in rec:
        if options:
            raise TypeError(f"rec is a spectrum already: {sorted(options)} belong to wavenumber_frequency_spectrum")
        return power_balance(rec, axis=axis, band=band)
    return power_balance(wavenumber_frequency_spectrum(rec, **options), axis=axis, band=band)


def power_balance(spectrum: xr.Dataset, *, axis: str = "x", band: Band | None = None) -> xr.Dataset:
    """What `direction_index` returns, of a spectrum."""
    rightwards, leftwards = sides(spectrum["power"], axis=axis, band=band)
    dims = spectral_dims(rightwards)
    right, left = rightwards.sum(dims), leftwards.sum(dims)
    both = right + left
    result = xr.Dataset({"index": (right - left) / both.where(both > 0), "right": right, "left": left})
    result["index"].attrs = labelled("1", "direction index (R − L)/(R + L)")
    for name, sign in (("right", "+"), ("left", "−")):
        units = spectrum["power"].attrs.get("units", "1")
        result[name].attrs = labelled(units, f"power travelling to {sign}{axis}, summed over bins")
    return result.assign_attrs({**spectrum.attrs, **netcdf_attrs(method="direction index", axis=axis, band=band)})


def sides(power: xr.DataArray, *, axis: str = "x", band: Band | None = None) -> tuple[xr.DataArray, xr.DataArray]:
    """The two halves of a spectrum bin by bin: power at (k, f) with k > 0 along `axis`, and that at (−k, f).

    Both have the coordinates of the first, so that their difference is what the direction is decided by. On grids
    the opposite of (kx, ky) is (−kx, −ky). DC and Nyquist of f and of k along `axis` are left out.
    """
    name = "wavenumber" if "wavenumber" in power.dims else f"wavenumber_{axis}"
    if name not in power.dims or axis not in ("x", "y") or (name == "wavenumber" and axis != "x"):
        raise ValueError(f"axis is {axis!r}, the spectrum has dims {power.dims}: one of its own axes is needed")
    f, size = power["frequency"].values, power.sizes[name]
    count, zero = (size - 1) // 2, size // 2  # k rises from −Nyquist, which even sizes have
    nyquist = power["frequency"].attrs.get("nyquist", f[-1])
    inside = (f > 0) & (f < nyquist * (1 - 1e-9)) & in_band(f, band)
    if not inside.any():
        raise ValueError(f"band is {band}: no frequency of the spectrum, 0 to {f[-1]:.6g} by {f[1]:.6g}, lies in it")
    power = power.isel(frequency=np.flatnonzero(inside))
    right = power.isel({name: zero + np.arange(1, count + 1)})
    left = power.isel({name: zero - np.arange(1, count + 1)})
    space = [dim for dim in spectral_dims(right) if dim != "frequency"]
    for other in space:
        if other != name:
            n = power.sizes[other]
            left = left.isel({other: (2 * (n // 2) - np.arange(n)) % n})
    return right, left.assign_coords({dim: right[dim] for dim in space})


def directional_filter(
    rec: Recording,
    *,
    axis: str = "x",
    speeds: tuple[float, float] | None = None,
    band: Band | None = None,
    detrend: str | None = None,
    mask: Mask = None,
) -> xr.Dataset:
    """The part of the activity that travels to +x, the part that travels to −x, and the rest; they add up to it.

    Each part is the inverse transform of its own half of the spectrum, so a plane wave on the bins is returned as it
    is. What belongs to no side (k = 0, f = 0, Nyquist, and whatever `speeds` or `band` leave out) is the rest. Time,
    and space at open ends, are taken as periodic: expect edge effects over the last cycle or so.

    Parameters
    ----------
    rec : xarray.Dataset or xarray.DataArray
        A recording on a ring, a line or a grid.
    axis : {"x", "y"}
        On grids: the axis whose two directions are separated.
    speeds : (float, float), optional
        Keep phase speeds |f|/|k| from the first to the second only.
    band : (float, float), optional
        Keep frequencies from the first to the second only.
    detrend : {"linear", "constant", None}
        Move the trend of every position to the rest first; a slow drift leaks into both sides otherwise.
    mask : None, "nan" or boolean array
        Dead positions, filled from their neighbours first.

    Returns
    -------
    xarray.Dataset
        ``right``, ``left``, ``rest``, in the dims, units and dtype of the activity; lazy if the activity is.

    Examples
    --------
    >>> from analysis import synthetic
    >>> ring = synthetic.ring(64)
    >>> standing = synthetic.standing(ring, 256, wavenumber=5 / 64, frequency=12 / 256)
    >>> plane = synthetic.plane(ring, 256, wavenumber=5 / 64, frequency=12 / 256)
    >>> bool(abs(directional_filter(standing).right - plane.activity).max() < 1e-12)
    True
    """
    return split_directions(Field.of(rec, mask), axis=axis, speeds=speeds, band=band, detrend=detrend)


def split_directions(
    field: Field, *, axis: str = "x", speeds=None, band: Band | None = None, detrend: str | None = None
) -> xr.Dataset:
    """What `directional_filter` returns, of a field."""
    array, plan = field.values, plan_transform(field, Spectral("boxcar", "boxcar", detrend, overlap=0.0))
    keep = _kept_bins(plan, axis, speeds, band)
    if array.chunks is not None:
        array = array.chunk(block_chunks(array, plan.core_dims))
    parts = xr.apply_ufunc(
        _split_block,
        array,
        input_core_dims=[plan.core_dims],
        output_core_dims=[plan.core_dims] * 3,
        kwargs={"plan": plan, "keep": keep},
        dask="parallelized",
        output_dtypes=[array.dtype] * 3,
    )
    result = xr.Dataset()
    names = {"right": f"travelling to +{axis}", "left": f"travelling to −{axis}", "rest": "travelling neither way"}
    for part, (name, text) in zip(parts, names.items(), strict=True):
        result[name] = part.transpose(*array.dims)
        result[name].attrs = labelled(field.units, f"activity {text}")
    return result.assign_attrs(
        **closing(array),
        **netcdf_attrs(method="directional filter", axis=axis, speeds=speeds, band=band, detrend=detrend),
    )


def _kept_bins(plan, axis, speeds, band):
    """+1, −1, 0: bins (f signed, [qy,] q ≥ 0), q = −k, of the half transform kept as right-, left-going, or not."""
    if axis not in ("x", "y") or (axis == "y" and len(plan.space) == 1):
        raise ValueError(f"axis is {axis!r}: 'x', or on grids 'y', is needed")
    f = fft.fftfreq(plan.segment, plan.time.step)
    q = [fft.fftfreq(a.size, a.step) for a in plan.space[:-1]]
    q.append(fft.rfftfreq(plan.space[-1].size, plan.space[-1].step))
    grid = np.meshgrid(f, *q, indexing="ij", sparse=True)
    along, its = (grid[-1], plan.space[-1]) if axis == "x" else (grid[1], plan.space[0])
    sign = -np.sign(grid[0]) * np.sign(along)
    keep = (np.abs(grid[0]) < plan.time.nyquist * (1 - 1e-9)) & (np.abs(along) < its.nyquist * (1 - 1e-9))
    keep = keep & in_band(np.abs(grid[0]), band)
    if speeds is not None:
        k = np.sqrt(sum(component**2 for component in grid[1:]))
        keep = keep & (np.abs(grid[0]) >= speeds[0] * k) & (np.abs(grid[0]) <= speeds[1] * k)
    return (sign * keep).astype(np.int8)


def _split_block(values, plan, keep):
    """Right-going, left-going and the rest of (…, time, *space)."""
    sizes = (plan.time.size, *(axis.size for axis in plan.space))
    axes = tuple(range(-len(sizes), 0))
    if plan.dead is not None:
        values = fill(values, plan.dead, tools_of(plan, values.dtype).fill_weights)
    check_finite(values)
    (tapered,) = tapered_segments(values, replace(plan, dead=None), tools_of(plan, values.dtype), (0,))
    spectrum = fft.rfftn(tapered, axes=axes)
    right, left = (fft.irfftn(spectrum * (keep == side), s=sizes, axes=axes) for side in (1, -1))
    return right, left, values - right - left


def travelling_index(rec: Recording, *, modes: int = 3, band: Band | None = None, mask: Mask = None) -> xr.Dataset:
    r"""Travelling or standing? Complex principal components and how far each of them travels.

    The analytic signal (time × position, its bins 0 < f < Nyquist) is split into complex modes by a singular value
    decomposition. Mode j has a complex pattern φ_j(x); rotating its phase over a cycle shows the mode as it oscillates.
    With s₁ ≥ s₂ the singular values of the real matrix [Re φ_j, Im φ_j],

    .. math:: \text{index}_j = s_2 / s_1,

    0 for a standing mode (one pattern that swells and fades), 1 for a pure travelling one (two patterns in
    quadrature), and (1 − r)/(1 + r) for plane waves of amplitudes 1 and r against each other. It has no sign: see
    `direction_index` for the direction. Space may be irregular.

    Parameters
    ----------
    rec : xarray.Dataset or xarray.DataArray
        Any recording, electrode arrays included.
    modes : int
        How many modes to keep, strongest first.
    band : (float, float), optional
        Only frequencies from the first to the second.
    mask : None, "nan" or boolean array
        Dead positions: left out here, their patterns are NaN.

    Returns
    -------
    xarray.Dataset
        ``index`` and ``explained`` (share of the variance) over ``mode``, ``mean_index`` (weighted by it, over all the
        modes kept), ``amplitude`` and ``phase`` (rad) of each pattern; a wave runs towards decreasing phase.

    References
    ----------
    Barnett (1983), Mon. Weather Rev. 111, 756 (complex empirical orthogonal functions); Feeny (2008), J. Sound Vib.
    310, 90 (the travelling index).

    Examples
    --------
    >>> from analysis import synthetic
    >>> rec = synthetic.mixed(synthetic.ring(64), 256, ratio=0.5, wavenumber=5 / 64, frequency=12 / 256)
    >>> round(float(travelling_index(rec).mean_index), 4)
    0.3333
    """
    return travelling_modes(Field.of(rec, mask), modes=modes, band=band)


def travelling_modes(field: Field, *, modes: int = 3, band: Band | None = None) -> xr.Dataset:
    """What `travelling_index` returns, of a field."""
    field.check_steps(4)
    array, time, space = field.values, field.time, field.space.dims
    sites = int(np.prod(field.space.shape))
    if sites < 2:
        raise ValueError(f"rec has {sites} position: at least 2 are needed to tell travelling from standing")
    if int(modes) != modes or modes < 1:
        raise ValueError(f"modes is {modes}: a positive whole number is needed")
    frequency = fft.rfftfreq(time.size, time.step)
    inside = (frequency > 0) & (frequency < time.nyquist * (1 - 1e-9)) & in_band(frequency, band)
    if not inside.any():
        raise ValueError(f"band is {band}: no frequency between 0 and {time.nyquist:.6g} lies in it")
    living = np.ones(sites, bool) if field.dead is None else ~field.dead.ravel()
    modes = int(min(modes, living.sum(), inside.sum()))
    if array.chunks is not None:
        array = array.chunk(block_chunks(array, ["time", *space]))
    index, explained, amplitude, phase = xr.apply_ufunc(
        _modes_block,
        array,
        input_core_dims=[["time", *space]],
        output_core_dims=[["mode"], ["mode"], ["mode", *space], ["mode", *space]],
        kwargs={"inside": inside, "living": living, "modes": modes, "space_ndim": len(space)},
        dask="parallelized",
        output_dtypes=[array.dtype] * 4,
        dask_gufunc_kwargs={"output_sizes": {"mode": modes}},
    )
    result = xr.Dataset({"index": index, "explained": explained, "amplitude": amplitude, "phase": phase})
    result["mean_index"] = (index * explained).sum("mode") / explained.sum("mode")
    texts = {
        "index": ("1", "travelling index s2/s1 (0 standing, 1 travelling)"),
        "explained": ("1", "share of the variance"),
        "amplitude": ("1", "amplitude of the mode's pattern (unit norm)"),
        "phase": ("rad", "phase of the mode's pattern"),
        "mean_index": ("1", "travelling index, mean over modes weighted by their variance"),
    }
    for name, (units, long_name) in texts.items():
        result[name].attrs = labelled(units, long_name)
    result = result.assign_coords(mode=("mode", np.arange(1, modes + 1), labelled("1", "mode")))
    return result.assign_attrs(netcdf_attrs(method="complex principal components", modes=modes, band=band))


def _modes_block(values, inside, living, modes, space_ndim):
    """Index, explained share, amplitude and phase of the leading modes of (…, time, *space)."""
    batch, space = values.shape[: values.ndim - 1 - space_ndim], values.shape[values.ndim - space_ndim :]
    index, explained = np.empty((*batch, modes), values.dtype), np.empty((*batch, modes), values.dtype)
    pattern = np.full((*batch, modes, living.size), np.nan, np.result_type(values.dtype, np.complex64))
    for at in np.ndindex(batch):
        samples = values[at].reshape(values.shape[len(batch)], -1)[:, living]
        check_finite(samples)
        # rows: frequencies of the analytic signal; by Parseval its modes are those of the samples in time
        _, s, vh = np.linalg.svd(fft.rfft(samples, axis=0)[inside], full_matrices=False)
        explained[at] = s[:modes] ** 2 / max(np.sum(s**2), np.finfo(values.dtype).tiny)
        pattern[at][:, living] = vh[:modes]
        for mode, phi in enumerate(vh[:modes]):
            swelling, quadrature = np.linalg.svd(np.column_stack([phi.real, phi.imag]), compute_uv=False)
            index[(*at, mode)] = quadrature / swelling
    pattern = pattern.reshape(*batch, modes, *space)
    return index, explained, np.abs(pattern), np.angle(pattern)
