"""The sensors of a recording, whatever their layout: positions, neighbours, and which of them are alive.

Phase methods need no regular grid, only to know which sensors are neighbours and how far apart. `sites_of` reads that
out of the coordinates of a line, ring, sheet or electrode array.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import xarray as xr
from scipy.sparse import csr_array
from scipy.spatial import Delaunay, QhullError, cKDTree

from analysis.fields.axes import Axis, common_units, is_periodic

SLIVER = 1.5  # Delaunay edges longer than this many median edges join no neighbours: they run along the hull


@dataclass(frozen=True)
class Sites:
    """Where the living sensors of a recording are, and which are neighbours."""

    dims: tuple[str, ...]
    shape: tuple[int, ...]
    alive: np.ndarray  # (all sensors,) bool, C order over dims
    position: np.ndarray  # (site, D): x, or x and y, of the living sensors
    units: str
    first: np.ndarray  # (pair,) site indices of neighbours …
    second: np.ndarray  # (pair,) … and
    displacement: np.ndarray  # (pair, D): from first to second, across the seam of a ring
    spacing: np.ndarray  # (D,): typical distance of neighbours along x (and y)
    period: np.ndarray  # (D,): circumference where space closes on itself, inf where it does not

    @property
    def count(self) -> int:
        return len(self.position)

    @property
    def dimension(self) -> int:
        """1 on rings, lines and probes, 2 on sheets and electrode arrays."""
        return self.position.shape[1]

    @property
    def centred(self) -> np.ndarray:
        return self.position - self.position.mean(axis=0)

    @property
    def extent(self) -> float:
        """Distance of the farthest corners of the array."""
        return float(np.linalg.norm(np.ptp(self.position, axis=0)))

    @property
    def closed(self) -> np.ndarray:
        """Which of x (and y) close on themselves."""
        return np.isfinite(self.period)

    def shortest(self, step: np.ndarray) -> np.ndarray:
        """Displacements (…, D) the shorter way round, along axes that close."""
        return step - self._turns(np.rint(step / self.period))

    def within(self, place: np.ndarray) -> np.ndarray:
        """Places (…, D) less than once round from the lowest sensor, along axes that close."""
        return place - self._turns(np.floor((place - self.position.min(axis=0)) / self.period))

    def _turns(self, count):
        return np.where(self.closed, self.period, 0.0) * count

    def spread(self, values: np.ndarray) -> np.ndarray:
        """Values (…, site) laid out over `dims` again, NaN where the sensors are dead."""
        out = np.full((*values.shape[:-1], self.alive.size), np.nan)
        out[..., self.alive] = values
        return out.reshape(*values.shape[:-1], *self.shape)


def sites_of(labels: xr.Dataset, dims, shape, dead: np.ndarray | None, axis_of: Callable[[str], Axis]) -> Sites:
    """The sites of an array with these space dims, `labels` its coordinates; `axis_of` gives the axes that close.

    Raises
    ------
    ValueError
        Sensors that share a position, NaN among the positions, electrodes that all lie on a line.
    """
    alive = np.ones(np.prod(shape), dtype=bool) if dead is None else ~dead.ravel()
    position, units = electrode_positions(labels, dims)
    if dims == ("electrode",) and not {"units"} <= labels.x.attrs.keys() & labels.y.attrs.keys():
        warnings.warn("x(electrode) or y(electrode) has no units: taken as '1'; set rec.x.attrs['units']", stacklevel=6)
    _check_positions(position, dims)
    if dims == ("electrode",):
        first, second, displacement = _electrode_pairs(position, alive)
    else:
        first, second, displacement = _grid_pairs(labels, dims, shape, axis_of)
    if dims == ("position",):
        position, displacement = position[:, :1], displacement[:, :1]
    both = alive[first] & alive[second]
    renumber = np.cumsum(alive) - 1
    if dims == ("electrode",):
        spacing = np.full(2, np.median(cKDTree(position[alive]).query(position[alive], k=2)[0][:, 1]))
        period = np.full(2, np.inf)
    else:
        spacing = np.array([np.median(along[along > 0]) if along.any() else np.inf for along in np.abs(displacement).T])
        period = np.array([axis_of(dim).length if is_periodic(labels, dim) else np.inf for dim in reversed(dims)])
    return Sites(
        dims, shape, alive, position[alive], units, renumber[first[both]], renumber[second[both]], displacement[both],
        spacing, period,
    )  # fmt: skip


def electrode_positions(labels, dims: tuple[str, ...]) -> tuple[np.ndarray, str]:
    """Positions of the sensors, shape (sensors, 2) as (x, y), and their units; for grids in C order of (y, x)."""
    if dims == ("position",):
        x = labels.coords["position"]
        return np.column_stack([x.values, np.zeros(x.size)]).astype(float), x.attrs["units"]
    if dims == ("y", "x"):
        y, x = np.meshgrid(labels.coords["y"].values, labels.coords["x"].values, indexing="ij")
        return np.column_stack([x.ravel(), y.ravel()]).astype(float), common_units(labels, dims)
    missing = [name for name in ("x", "y") if name not in labels.coords]
    if missing:
        raise ValueError(
            f"an electrode array needs coordinates x(electrode) and y(electrode): {missing} missing; "
            "add them with rec.assign_coords(x=('electrode', …), y=('electrode', …))"
        )
    x, y = labels.coords["x"], labels.coords["y"]
    return np.column_stack([x.values, y.values]).astype(float), common_units(labels, ("x", "y"))


def _check_positions(position, dims):
    if not np.isfinite(position).all():
        raise ValueError(f"positions along {dims} hold NaN or infinite values: repair the coordinates or drop those")
    if len(np.unique(position, axis=0)) < len(position):
        raise ValueError(f"two sensors along {dims} share one position: average them or drop one")


def _grid_pairs(labels, dims, shape, axis_of):
    """Neighbours along each axis of a line or sheet, the seam included where it is closed."""
    index = np.arange(np.prod(shape)).reshape(shape)
    firsts, seconds, displacements = [], [], []
    for axis, dim in enumerate(dims):
        if shape[axis] < 2:
            continue
        coordinate = labels.coords[dim].values.astype(float)
        step = np.diff(coordinate)
        first, second = np.take(index, range(shape[axis] - 1), axis), np.take(index, range(1, shape[axis]), axis)
        if is_periodic(labels, dim) and shape[axis] > 2:
            step = np.append(step, axis_of(dim).step)
            first, second = index, np.roll(index, -1, axis)
        along = np.zeros((*first.shape, 2))
        along[..., 1 if dim == "y" else 0] = np.moveaxis(
            np.broadcast_to(step, np.moveaxis(first, axis, -1).shape), -1, axis
        )
        firsts.append(first.ravel())
        seconds.append(second.ravel())
        displacements.append(along.reshape(-1, 2))
    if not firsts:
        raise ValueError(f"the recording has one position along {dims}: at least two are needed to see a wave pass")
    return np.concatenate(firsts), np.concatenate(seconds), np.concatenate(displacements)


def _electrode_pairs(position, alive):
    """Edges of the Delaunay triangulation of the living electrodes, the long ones along the hull left out."""
    living = np.flatnonzero(alive)
    if len(living) < 3:
        raise ValueError(f"{len(living)} electrodes are usable: three that span a plane are needed in two dimensions")
    try:
        corners = Delaunay(position[living], qhull_options="QJ Pp").simplices
    except QhullError:
        corners = None
    spans = np.linalg.svd(position[living] - position[living].mean(axis=0), compute_uv=False)
    if corners is None or spans[-1] < 1e-6 * spans[0]:
        raise ValueError(
            "all electrodes lie on one line, which shows no direction: give their places along it as the dim "
            "'position', for example rec.swap_dims(electrode='position') with coordinate position(electrode)"
        )
    edges = np.unique(np.sort(np.concatenate([corners[:, [0, 1]], corners[:, [1, 2]], corners[:, [0, 2]]]), 1), axis=0)
    first, second = living[edges[:, 0]], living[edges[:, 1]]
    displacement = position[second] - position[first]
    length = np.linalg.norm(displacement, axis=1)
    near = length <= SLIVER * np.median(length)
    return first[near], second[near], displacement[near]


def neighbour_sums(where: Sites) -> tuple[csr_array, ...]:
    """Operators (site, pair), one per dimension, that turn differences Δ of neighbours into Σ d Δ at each site.

    Along the gradient where neighbours lie evenly about a site, and never dominated by close or lopsided ones.
    """
    ends, pairs, arms = _arms(where)
    shape = (where.count, len(where.first))
    return tuple(csr_array((arm, (ends, pairs)), shape=shape) for arm in arms.T)


def site_gradient(where: Sites) -> tuple[csr_array, ...]:
    """Operators (site, pair), one per dimension, that turn differences of neighbours into the gradient at each site.

    The least-squares plane through the differences to all neighbours, Σ d dᵀ g = Σ d Δ: on grids the mean of the
    differences forwards and backwards. Sites whose neighbours span no plane give NaN.
    """
    ends, pairs, arms = _arms(where)
    normal = np.zeros((where.count, where.dimension, where.dimension))
    np.add.at(normal, ends, arms[:, :, None] * arms[:, None, :])
    spread = np.linalg.eigvalsh(normal)
    flat = spread[:, 0] <= 1e-9 * max(spread.max(), 1e-300)
    normal[flat] = np.eye(where.dimension)
    weights = np.einsum("nde,ne->nd", np.linalg.inv(normal)[ends], arms)
    weights[flat[ends]] = np.nan
    shape = (where.count, len(where.first))
    return tuple(csr_array((weight, (ends, pairs)), shape=shape) for weight in weights.T)


def _arms(where: Sites):
    """Each pair from either end: site, pair and displacement; displacement and difference both turn round."""
    ends = np.concatenate([where.first, where.second])
    return ends, np.tile(np.arange(len(where.first)), 2), np.tile(where.displacement, (2, 1))
