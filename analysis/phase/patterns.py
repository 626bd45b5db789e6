"""Patterns that are not plane waves: sources, rotations, phase singularities, and how well they describe a phase map.

Everything starts from what `analysis.phase.signal` returns: the phases (`analytic_signal`, `generalized_phase`) or
their gradient (`phase_gradient`). Angles are counter-clockwise with y up; coordinate values decide, not the row index.
"""

import numpy as np
import xarray as xr
from scipy.spatial import Delaunay
from scipy.stats import chi2

from analysis.fields.dead import dead_positions
from analysis.fields.field import Space
from analysis.fields.read import activity
from analysis.fields.sensors import Sites, electrode_positions, site_gradient
from analysis.fields.units import labelled, netcdf_attrs


def phase_distance_correlation(phase: xr.Dataset, centre: float | tuple[float, float]) -> xr.Dataset:
    """Circular–linear correlation of phase with distance from `centre`: is this a wave out of, or into, that point?

    .. math:: ρ^2 = \\frac{r_{cx}^2 + r_{sx}^2 - 2 r_{cx} r_{sx} r_{cs}}{1 - r_{cs}^2}, \\qquad
              p = 1 - χ^2_2(n ρ^2)

    with r the linear correlations between cos φ, sin φ and the distance x over the n living sensors.

    Parameters
    ----------
    phase : xarray.Dataset
        What `analytic_signal` or `generalized_phase` returned.
    centre : (float, float) or float
        (x, y), or the position on a line or ring, in the units of the coordinates. Where space closes, distances go
        the shorter way round.

    Returns
    -------
    xarray.Dataset
        ``rho`` from 0 to 1 and ``p_value`` at each time. The p-value takes the sensors as independent: for smooth
        fields compare ``rho`` with that of surrogates (`analysis.surrogate`).

    References
    ----------
    Zar 1999, Biostatistical Analysis, equation 27.47; Muller et al. 2018, Nat. Rev. Neurosci. 19.
    """
    angles, space = _phase_map(phase)
    where = space.sensors(4)
    distance = np.linalg.norm(where.shortest(where.position - _point(centre, where)), axis=1)
    rho, p_value = _over_sites(lambda values: _circular_linear(values, distance), angles, where, outputs=2)
    return _correlation(rho, p_value, "circular–linear correlation of phase and distance", "phase–distance", centre)


def rotation_correlation(phase: xr.Dataset, centre: tuple[float, float]) -> xr.Dataset:
    """Circular–circular correlation of phase with the angle about `centre`: does the wave turn round that point?

    .. math:: ρ = \\frac{\\sum_{i<j} \\sin(φ_j - φ_i)\\sin(θ_i - θ_j)}
                        {\\sqrt{\\sum_{i<j} \\sin^2(φ_i - φ_j) \\sum_{i<j} \\sin^2(θ_i - θ_j)}}

    θ the polar angle of a sensor about the centre. Phase falls along the direction of travel, so ρ → 1 for one arm
    that turns counter-clockwise, −1 for clockwise.

    Parameters
    ----------
    phase : xarray.Dataset
        What `analytic_signal` or `generalized_phase` returned, in two dimensions.
    centre : (float, float)
        (x, y) in the units of the coordinates.

    Returns
    -------
    xarray.Dataset
        ``rho`` from −1 to 1 and ``p_value`` = exp(−n|ρ|) at each time, for independent uniform phases.

    References
    ----------
    Fisher and Lee 1983, Biometrika 70 (the T-linear association, which needs no mean direction).
    """
    angles, space = _phase_map(phase, two_dimensional="rotation_correlation")
    where = space.sensors(4)
    offset = where.shortest(where.position - _point(centre, where))
    polar = np.arctan2(offset[:, 1], offset[:, 0])
    rho, p_value = _over_sites(lambda values: _circular_circular(-values, polar), angles, where, outputs=2)
    return _correlation(rho, p_value, "circular correlation of phase and polar angle", "rotation", centre)


def divergence_and_curl(gradient: xr.Dataset) -> xr.Dataset:
    """Divergence and curl of the wavenumber vector: where waves begin, and about what they turn.

    .. math:: ∇·k = ∂_x k_x + ∂_y k_y, \\qquad (∇×k)_z = ∂_x k_y - ∂_y k_x

    by least squares over the neighbours of each site. The strongest divergence is the source of a target wave (the
    most negative its sink); positive curl turns counter-clockwise.

    On a sheet the phase goes round a core in one loop of four neighbours, and these four share its curl: what is
    strongest in several sensors side by side lies in their middle, the core to half a spacing.

    Parameters
    ----------
    gradient : xarray.Dataset
        What `phase_gradient` returned, in two dimensions.

    Returns
    -------
    xarray.Dataset
        ``divergence`` and ``curl``, cycles per unit squared, over time and space, and where they are strongest:
        ``source_x``, ``source_y``, ``centre_x``, ``centre_y`` at each time; one of them where several are as strong.
    """
    if "wavenumber_y" not in gradient:
        raise ValueError("gradient has no wavenumber_y: divergence and curl need two dimensions of space")
    kx, ky = (activity(gradient, name) for name in ("wavenumber_x", "wavenumber_y"))
    where = Space.of(kx, dead_positions(kx, "nan")).sensors()
    operators = site_gradient(where)
    dims = where.dims

    def fields(kx, ky):
        (kx_x, kx_y), (ky_x, ky_y) = (_slopes(component, where, operators) for component in (kx, ky))
        divergence, curl = kx_x + ky_y, ky_x - kx_y  # (…, site)
        source, centre = (_strongest(field, where) for field in (divergence, np.abs(curl)))
        return (
            where.spread(divergence),
            where.spread(curl),
            source[..., 0],
            source[..., 1],
            centre[..., 0],
            centre[..., 1],
        )

    found = xr.apply_ufunc(
        fields,
        _one_chunk(kx, dims),
        _one_chunk(ky, dims),
        input_core_dims=[dims, dims],
        output_core_dims=[dims, dims, [], [], [], []],
        dask="parallelized",
        output_dtypes=[float] * 6,
    )
    per_area = f"{where.units}-2" if where.units != "1" else "1"
    described = {
        "divergence": (per_area, "divergence of the wavenumber vector"),
        "curl": (per_area, "curl of the wavenumber vector, counter-clockwise"),
        "source_x": (where.units, "x of the strongest divergence"),
        "source_y": (where.units, "y of the strongest divergence"),
        "centre_x": (where.units, "x of the strongest curl"),
        "centre_y": (where.units, "y of the strongest curl"),
    }
    data = {
        name: field.assign_attrs(labelled(units, long_name))
        for (name, (units, long_name)), field in zip(described.items(), found, strict=True)
    }
    return xr.Dataset(data, attrs={**gradient.attrs, "method": "divergence and curl"}).transpose(*kx.dims)


def singularities(phase: xr.Dataset) -> xr.Dataset:
    """Phase singularities by winding number: the centres of rotating and spiral waves.

    .. math:: w = \\frac{1}{2π} \\sum_{loop} \\arg e^{i(φ_{n+1} - φ_n)} \\in \\{-1, 0, 1\\}

    around every loop of four neighbours of a sheet (three of an electrode array), counter-clockwise. Phase falls in
    the direction of travel, so the sign is turned round: +1 is a wave that turns counter-clockwise. On a sheet that
    closes on itself the winding numbers of each instant add up to zero exactly.

    Parameters
    ----------
    phase : xarray.Dataset
        What `analytic_signal` or `generalized_phase` returned, in two dimensions. Loops with a dead sensor have 0.

    Returns
    -------
    xarray.Dataset
        ``winding`` over time and ``y_cell``, ``x_cell`` (centres of the loops), or ``triangle`` with coordinates
        ``x`` and ``y``.

    References
    ----------
    Winfree 1987, When Time Breaks Down; Iyer and Gray 2001, Ann. Biomed. Eng. 29.

    Examples
    --------
    >>> from analysis import synthetic
    >>> from analysis.phase.signal import analytic_signal
    >>> rec = synthetic.rotating(synthetic.sheet((6, 6)), 100, frequency=0.1, centre=(2.5, 2.5))
    >>> winding = singularities(analytic_signal(rec, trim=0)).winding
    >>> int(winding.sum("x_cell").sum("y_cell")[0]), int(winding.sel(x_cell=2.5, y_cell=2.5)[0])
    (1, 1)
    """
    angles, space = _phase_map(phase, two_dimensional="singularities")
    where = space.sensors(4)
    loops, coords, cell_dims, cell_shape = _loops(space, where)

    def count(values):
        around = np.concatenate([values[..., loops], values[..., loops[:, :1]]], axis=-1)  # (…, cell, corner)
        steps = np.diff(around, axis=-1)
        turns = -np.sum(np.angle(np.exp(1j * steps)), axis=-1) / (2 * np.pi)
        return np.rint(np.nan_to_num(turns)).astype(np.int8).reshape(*values.shape[:-1], *cell_shape)

    winding = xr.apply_ufunc(
        lambda values: count(values.reshape(*values.shape[: -len(where.dims)], -1)),
        _one_chunk(angles, where.dims),
        input_core_dims=[where.dims],
        output_core_dims=[cell_dims],
        dask="parallelized",
        output_dtypes=[np.int8],
        dask_gufunc_kwargs={"output_sizes": dict(zip(cell_dims, cell_shape, strict=True))},
    )
    attrs = labelled("1", "winding number, counter-clockwise")
    return xr.Dataset({"winding": winding.assign_attrs(attrs)}, attrs={"method": "winding number"}).assign_coords(
        coords
    )


# Phase maps and what is fitted to them -----------------------------------------------------------------------------


def _phase_map(phase, *, two_dimensional: str = ""):
    """The phases of a phase Dataset, and where they were taken."""
    if not isinstance(phase, xr.Dataset) or "phase" not in phase:
        raise TypeError("phase must be the Dataset that analytic_signal or generalized_phase returns")
    angles = activity(phase, "phase")  # axes increase
    space = Space.of(angles, dead_positions(angles, "nan"))
    if two_dimensional and space.dims == ("position",):
        raise ValueError(f"{two_dimensional} needs two dimensions of space; this recording has {space.dims}")
    return angles, space


def _point(centre, where: Sites):
    point = np.atleast_1d(np.asarray(centre, dtype=float))
    if point.shape != (where.dimension,) or not np.isfinite(point).all():
        raise ValueError(f"centre is {centre}: {where.dimension} finite coordinate(s) are needed here")
    return point


def _one_chunk(array, dims):
    return array.chunk({dim: -1 for dim in dims}) if array.chunks else array


def _over_sites(kernel, array, where: Sites, *, outputs: int):
    """Apply a kernel to values (…, living site), giving `outputs` numbers for each time."""

    def flat(values):
        return kernel(values.reshape(*values.shape[: -len(where.dims)], -1)[..., where.alive])

    return xr.apply_ufunc(
        flat,
        _one_chunk(array, where.dims),
        input_core_dims=[where.dims],
        output_core_dims=[[]] * outputs,
        dask="parallelized",
        output_dtypes=[float] * outputs,
    )


def _circular_linear(phase, x):
    """ρ and p of phases (…, site) against x (site,)."""
    cosine, sine = np.cos(phase), np.sin(phase)
    cx, sx, cs = _pearson(cosine, x), _pearson(sine, x), _pearson(cosine, sine)
    squared = (cx**2 + sx**2 - 2 * cx * sx * cs) / (1 - cs**2)
    rho = np.sqrt(np.clip(squared, 0.0, 1.0))
    return rho, chi2.sf(phase.shape[-1] * rho**2, 2)


def _pearson(a, b):
    a, b = a - a.mean(axis=-1, keepdims=True), b - b.mean(axis=-1, keepdims=True)
    return np.sum(a * b, axis=-1) / np.sqrt(np.sum(a**2, axis=-1) * np.sum(b**2, axis=-1))


def _circular_circular(a, b):
    """ρ and p of angles a (…, site) against b (site,), by the closed form of the double sums."""
    n = a.shape[-1]

    def total(values):
        return np.sum(values, axis=-1)

    product = total(np.cos(a) * np.cos(b)) * total(np.sin(a) * np.sin(b))
    product = product - total(np.cos(a) * np.sin(b)) * total(np.sin(a) * np.cos(b))
    spread = [n**2 - total(np.cos(2 * v)) ** 2 - total(np.sin(2 * v)) ** 2 for v in (a, b)]
    rho = 4 * product / np.sqrt(spread[0] * spread[1])
    return rho, np.exp(-n * np.abs(rho))


def _correlation(rho, p_value, long_name, method, centre):
    data = {
        "rho": rho.assign_attrs(labelled("1", long_name)),
        "p_value": p_value.assign_attrs(labelled("1", "p-value for independent sensors")),
    }
    return xr.Dataset(data, attrs={"method": f"{method} correlation", **netcdf_attrs(centre=centre)})


def _slopes(component, where, operators):
    """Derivatives along x and y, each (…, site), of a component (…, *space)."""
    flat = component.reshape(-1, where.alive.size)[:, where.alive]
    difference = (flat[:, where.second] - flat[:, where.first]).T
    lead = component.shape[: -len(where.dims)]
    return [(operator @ difference).T.reshape(*lead, where.count) for operator in operators]


def _strongest(field, where: Sites):
    """Place (…, D) where `field` (…, site) is greatest: the middle of the adjoining sensors that share the greatest."""
    greatest = np.nanmax(field, axis=-1, keepdims=True)
    shared = field >= greatest - 1e-9 * np.abs(greatest)
    first = where.position[shared.argmax(axis=-1)]
    step = where.shortest(where.position - first[..., None, :])  # (…, site, D)
    shared &= (np.abs(step) <= where.spacing * (1 + 1e-9)).all(axis=-1)
    return where.within(first + np.sum(step * shared[..., None], axis=-2) / shared.sum(axis=-1)[..., None])


def _loops(space: Space, where: Sites):
    """Corners of every loop counter-clockwise, (cell, corner) in C order of the space dims, and their coordinates."""
    if where.dims == ("electrode",):
        position, _ = electrode_positions(space.labels, space.dims)
        living = np.flatnonzero(where.alive)
        corners = living[Delaunay(position[living], qhull_options="QJ Pp").simplices]
        (a, b, c) = np.moveaxis(position[corners], 1, 0)
        clockwise = np.linalg.det(np.stack([b - a, c - a], axis=-1)) < 0
        corners[clockwise] = corners[clockwise][:, ::-1]
        centres = position[corners].mean(axis=1)
        coords = {name: ("triangle", centres[:, d], {"units": where.units}) for d, name in enumerate("xy")}
        return corners, coords, ("triangle",), (len(corners),)
    closed = [space.axis(dim).periodic for dim in ("y", "x")]
    index = np.arange(np.prod(where.shape)).reshape(where.shape)
    rows, columns = (size if wraps else size - 1 for size, wraps in zip(where.shape, closed, strict=True))
    up, right = np.roll(index, -1, 0), np.roll(index, -1, 1)
    corners = np.stack([index, right, np.roll(right, -1, 0), up], axis=-1)[:rows, :columns].reshape(-1, 4)
    coords = {}
    for dim, count in (("y", rows), ("x", columns)):
        axis = space.axis(dim)
        coords[f"{dim}_cell"] = (f"{dim}_cell", axis.values[:count] + axis.step / 2, {"units": axis.units})
    return corners, coords, ("y_cell", "x_cell"), (rows, columns)
