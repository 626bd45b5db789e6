"""Electrodes onto a regular grid, which spectra need: on its nodes where they lie there already, else interpolated."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr
from scipy.sparse import csr_array
from scipy.spatial import Delaunay, cKDTree

from analysis.fields.axes import space_dims
from analysis.fields.dead import Mask, dead_positions
from analysis.fields.read import activity
from analysis.fields.sensors import electrode_positions
from analysis.fields.units import labelled
from wavefield.recordings.recording import with_history

ON_NODE = 0.02  # of the spacing: as far as an electrode may lie from its node


@dataclass(frozen=True)
class Grid:
    """A regular grid and the weights with which electrodes make up its nodes."""

    x: np.ndarray
    y: np.ndarray
    weights: csr_array  # (node, electrode), nodes in C order of (y, x)
    filled: np.ndarray  # (node,) bool: nodes that have a value
    text: str  # what was done

    def apply(self, values: np.ndarray) -> np.ndarray:
        """Values (…, electrode) on the grid, (…, y, x); NaN on nodes without a value or with one made from a NaN."""
        flat = values.reshape(-1, values.shape[-1])
        nodes = (self.weights.astype(values.dtype) @ flat.T).T  # dead electrodes have no weights: their NaN stay out
        nodes[:, ~self.filled] = np.nan
        return nodes.reshape(*values.shape[:-1], self.y.size, self.x.size)


def grid_electrodes(rec: xr.Dataset, *, spacing: float | None = None, mask: Mask = "nan") -> xr.Dataset:
    """A recording from scattered electrodes on a regular grid (dims ``y, x``).

    Electrodes that lie on the nodes of a grid are put there as they are. Otherwise nodes inside the array get the
    linear interpolation within the Delaunay triangle of electrodes around them, :math:`u = \\sum_{i=1}^3 w_i u_i` with
    the barycentric coordinates w. Nodes outside, and those of dead electrodes, are NaN: pass ``mask="nan"`` on.
    Interpolation smooths: wavelengths below about four spacings are damped.

    Parameters
    ----------
    rec : xarray.Dataset
        A recording with the dim ``electrode`` and the coordinates x and y.
    spacing : float, optional
        Distance of nodes; by default the median distance of an electrode to its nearest neighbour.
    mask : None, "nan" or boolean array
        Dead electrodes.

    Returns
    -------
    xarray.Dataset
        The recording, with what was done in its ``history``.

    Raises
    ------
    ValueError
        Where there is no dim ``electrode``, or all usable electrodes lie on one line or share their positions.

    Examples
    --------
    >>> from analysis import synthetic
    >>> where = synthetic.electrodes([0, 1, 2, 0, 1], [0, 0, 0, 1, 1], units="mm")
    >>> gridded = grid_electrodes(synthetic.plane(where, 10, wavenumber=(0.1, 0), frequency=0.1))
    >>> gridded.activity.dims, int(gridded.activity[0].isnull().sum())
    (('time', 'y', 'x'), 1)
    """
    array = activity(rec)
    if "electrode" not in array.dims:
        raise ValueError(f"rec has the dims {array.dims}: only recordings from electrodes are put on a grid")
    position, units = electrode_positions(array, space_dims(array))
    dead = dead_positions(array, mask)
    grid = grid_of(position, alive=np.ones(len(position), bool) if dead is None else ~dead, spacing=spacing)
    values = xr.apply_ufunc(
        grid.apply,
        array.chunk({"electrode": -1}) if array.chunks else array,
        input_core_dims=[["electrode"]],
        output_core_dims=[["y", "x"]],
        dask="parallelized",
        output_dtypes=[array.dtype],
        dask_gufunc_kwargs={"output_sizes": {"y": grid.y.size, "x": grid.x.size}},
        keep_attrs=True,
    ).rename("activity")
    values = values.drop_vars(["x", "y", "electrode"], errors="ignore")
    coords = {name: (name, points, labelled(units, name)) for name, points in (("y", grid.y), ("x", grid.x))}
    kept = rec.drop_dims("electrode")
    return with_history(kept.assign(activity=values.assign_coords(coords)), grid.text)


def grid_of(position: np.ndarray, *, alive: np.ndarray, spacing: float | None = None) -> Grid:
    """The grid for electrodes at `position` (electrode, 2); see `grid_electrodes`."""
    _check_plane(position)
    if spacing is not None and not 0 < spacing < np.inf:
        raise ValueError(f"spacing is {spacing}: a positive distance is needed")
    step = float(np.median(cKDTree(position).query(position, k=2)[0][:, 1])) if spacing is None else spacing
    if step == 0:
        raise ValueError(
            "electrodes share their places: leave all but one of each out, or give the spacing of the grid"
        )
    low, high = position.min(axis=0), position.max(axis=0)
    counts = np.rint((high - low) / step).astype(int) + 1
    x, y = (low[d] + step * np.arange(counts[d]) for d in range(2))
    node = np.rint((position - low) / step).astype(int)
    off = np.abs(low + step * node - position).max() / step
    flat = np.ravel_multi_index((node[:, 1], node[:, 0]), (y.size, x.size), mode="clip")
    if off <= ON_NODE and len(np.unique(flat)) == len(flat):
        return _placed(x, y, flat, alive, step)
    return _interpolated(x, y, position, alive, step)


def _check_plane(position):
    spans = np.linalg.svd(position - position.mean(axis=0), compute_uv=False) if len(position) > 2 else (1.0, 0.0)
    if spans[-1] < 1e-6 * spans[0]:
        raise ValueError(
            f"{len(position)} usable electrodes on one line make no grid: three that span a plane are needed"
        )


def _placed(x, y, flat, alive, step):
    living = np.flatnonzero(alive)
    weights = csr_array((np.ones(living.size), (flat[living], living)), shape=(x.size * y.size, alive.size))
    filled = np.zeros(x.size * y.size, dtype=bool)
    filled[flat[living]] = True
    text = f"electrodes put on the {living.size} of {filled.size} nodes of a grid of spacing {step:.6g} they lie on"
    return Grid(x, y, weights, filled, text)


def _interpolated(x, y, position, alive, step):
    living = np.flatnonzero(alive)
    _check_plane(position[living])
    nodes = np.column_stack([axis.ravel() for axis in np.meshgrid(x, y)])  # C order of (y, x)
    triangles = Delaunay(position[living])
    found = triangles.find_simplex(nodes, tol=1e-9)
    filled = found >= 0
    transform = triangles.transform[found[filled]]  # (node, 3, 2)
    two = np.einsum("nij,nj->ni", transform[:, :2], nodes[filled] - transform[:, 2])
    shares = np.column_stack([two, 1 - two.sum(axis=1)])
    corners = living[triangles.simplices[found[filled]]]
    rows = np.repeat(np.flatnonzero(filled), 3)
    weights = csr_array((shares.ravel(), (rows, corners.ravel())), shape=(len(nodes), len(position)))
    text = f"electrodes interpolated linearly (Delaunay triangles) onto a grid of spacing {step:.6g}"
    return Grid(x, y, weights, filled, text)
