"""The transform behind every spectrum: the plan of what is done to each block, and its power, block by block.

A `Transform` is planned once, from a field and its `Spectral` options; `mapped_power` then runs it over trials,
channels and segments in blocks that fit in the cache, lazily where the field is lazy.
"""

import math
import uuid
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass

import dask.array as da
import numpy as np
import xarray as xr
from scipy import fft, signal
from tqdm.dask import TqdmCallback

from analysis.fields.axes import Axis
from analysis.fields.dead import fill, fill_weights
from analysis.fields.field import Field
from analysis.fields.read import check_finite
from analysis.fields.units import inverse_units, labelled
from wavefield.progress import Progress

BLOCK_BYTES = 32 * 2**20  # of input, per task
TILE_SAMPLES = 2**17  # transformed at once: with its temporaries it stays in the cache
DETRENDS = ("linear", "constant", "plane", None)


@dataclass(frozen=True)
class Spectral:
    """The options of a spectrum, as `analysis.wavenumber_frequency_spectrum` describes them."""

    window: str | tuple | float = "hann"
    space_window: str | tuple | float | None = None
    detrend: str | None = "linear"
    segment: int | None = None
    overlap: float = 0.5


@dataclass(frozen=True)
class Transform:
    """What is done to each block: axes, taper, detrending, segments, dead positions."""

    time: Axis
    space: tuple[Axis, ...]
    time_taper: np.ndarray  # (segment,)
    space_taper: np.ndarray  # (*space)
    detrend: str | None
    segment: int
    starts: tuple[int, ...]
    dead: np.ndarray | None

    @property
    def core_dims(self) -> list[str]:
        return ["time", *(axis.dim for axis in self.space)]

    @property
    def k_dims(self) -> list[str]:
        return ["wavenumber"] if len(self.space) == 1 else [f"wavenumber_{axis.dim}" for axis in self.space]

    @property
    def frequency(self) -> np.ndarray:
        """f ≥ 0, cycles per unit of time."""
        return fft.rfftfreq(self.segment, self.time.step)

    @property
    def wavenumbers(self) -> list[np.ndarray]:
        """k along each space axis, rising from −Nyquist, cycles per unit."""
        return [fft.fftshift(fft.fftfreq(axis.size, axis.step)) for axis in self.space]

    def coords(self) -> dict:
        """Coordinates of a spectrum, as xarray takes them."""
        text = labelled(inverse_units(self.time.units), "frequency") | {"nyquist": self.time.nyquist}
        coords: dict[str, tuple] = {"frequency": ("frequency", self.frequency, text)}
        for dim, axis, k in zip(self.k_dims, self.space, self.wavenumbers, strict=True):
            name = "wavenumber, positive towards +" + ("x" if axis.dim == "position" else axis.dim)
            coords[dim] = (dim, k, labelled(inverse_units(axis.units), name))
        return coords


def spectral_dims(power: xr.DataArray) -> list[str]:
    """The dims of a spectrum that are frequency and wavenumbers."""
    return [str(dim) for dim in power.dims if str(dim).startswith(("frequency", "wavenumber"))]


def plan_transform(field: Field, options: Spectral) -> Transform:
    """Check the options against the field and lay down what every block will go through."""
    field.check_steps(3)
    time, space = field.time, field.space.axes(minimum=3)
    if options.detrend not in DETRENDS:
        raise ValueError(f"detrend is {options.detrend!r}: one of {DETRENDS} is needed")
    length = time.size if options.segment is None else options.segment
    if int(length) != length or not 3 <= length <= time.size:
        raise ValueError(
            f"segment is {options.segment}: a whole number of samples from 3 to {time.size} (all) is needed"
        )
    if not 0 <= options.overlap < 1:
        raise ValueError(f"overlap is {options.overlap}: a share from 0 up to, but not, 1 is needed")
    length = int(length)
    hop = max(1, length - int(options.overlap * length))
    starts = tuple(range(0, time.size - length + 1, hop))
    space_taper = np.ones(())
    for axis in space:
        along = options.space_window
        if along is None:
            along = "boxcar" if axis.periodic else options.window
        space_taper = np.multiply.outer(space_taper, _taper(along, axis.size, "space_window"))
    taper = _taper(options.window, length, "window")
    return Transform(time, space, taper, space_taper, options.detrend, length, starts, field.dead)


def _taper(window, size, name):
    try:
        return signal.get_window(window, size)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{name} is {window!r}: scipy.signal.get_window does not know it ({error})") from error


# Blocks: what is computed, and how much of it at once ----------------------------------------------------------------


def mapped_power(
    array: xr.DataArray, plan: Transform, *, average: str | Sequence[str] = (), order=None
) -> xr.DataArray:
    """Mean over segments of |U|² for f ≥ 0 and signed k, halved at f = 0 and Nyquist, on labelled dims.

    Large arrays go block by block along trial, channel and groups of segments; a dask array stays lazy, a NumPy array
    is computed here, with a progress bar. `order` = (time, space) permutes detrended samples (the shuffled
    background).
    """
    names = dim_names(average)
    for name in names:
        if name not in array.dims or name in plan.core_dims:
            raise ValueError(f"average names {name!r}: dims of the recording other than {plan.core_dims} are needed")
    lazy = array.chunks is not None
    if not lazy and array.nbytes <= BLOCK_BYTES:
        power = _power_of(array, plan, plan.starts, order)
        return (power.mean(names) if names else power).assign_coords(plan.coords())
    parts = []  # groups of segments, each of them a block in time
    for starts in _groups(array, plan):
        piece = array.isel(time=slice(starts[0], starts[-1] + plan.segment))
        # a token of its own: dask would hash gigabytes for a name
        piece = piece.chunk(block_chunks(piece, plan.core_dims), token=None if lazy else uuid.uuid4().hex)
        relative = tuple(start - starts[0] for start in starts)
        parts.append(_power_of(piece, plan, relative, order) * (len(starts) / len(plan.starts)))
    result = _summed(parts, names).assign_coords(plan.coords())
    if lazy:
        return result
    with TqdmCallback(tqdm_class=Progress, what="spectrum", unit="task"):
        return result.compute()


def dim_names(average: str | Sequence[str]) -> list[str]:
    """One name or several, as a list."""
    return [average] if isinstance(average, str) else list(average)


def _groups(array, plan) -> Iterator[tuple[int, ...]]:
    """Runs of segments whose samples, over the trials and channels that lie in one chunk, fill about one block."""
    together = math.prod(max(sizes) for dim, sizes in array.chunksizes.items() if dim not in plan.core_dims)
    bytes_per_sample = array.dtype.itemsize * together * math.prod(axis.size for axis in plan.space)
    samples = max(plan.segment, BLOCK_BYTES // bytes_per_sample)
    hop = plan.starts[1] - plan.starts[0] if len(plan.starts) > 1 else plan.segment
    count = 1 + (samples - plan.segment) // hop
    for first in range(0, len(plan.starts), count):
        yield plan.starts[first : first + count]


def block_chunks(piece: xr.DataArray, core_dims: Sequence[str]) -> dict:
    """Chunks with undivided core dims; other dims are cut, from the left, until a block is small, and never merged."""
    chunks: dict[Hashable, int] = {dim: -1 for dim in core_dims}
    room = max(1, BLOCK_BYTES // (piece.dtype.itemsize * math.prod(piece.sizes[dim] for dim in core_dims)))
    for dim in reversed([dim for dim in piece.dims if dim not in core_dims]):
        present = max(piece.chunksizes.get(dim, [piece.sizes[dim]]))
        if present > room or not piece.chunksizes:
            chunks[dim] = min(room, present)
        room = max(1, room // present)
    return chunks


def _power_of(array, plan, starts, order):
    sizes = {"frequency": plan.frequency.size} | {
        dim: axis.size for dim, axis in zip(plan.k_dims, plan.space, strict=True)
    }
    return xr.apply_ufunc(
        _power_block,
        array,
        input_core_dims=[plan.core_dims],
        output_core_dims=[["frequency", *plan.k_dims]],
        kwargs={"plan": plan, "starts": starts, "order": order},
        dask="parallelized",
        output_dtypes=[array.dtype],
        dask_gufunc_kwargs={"output_sizes": sizes},
    )


def _summed(parts, names) -> xr.DataArray:
    """Sum of lazy arrays, averaged over `names`. Blocks are added in place as they come, few of them at a time."""
    first = parts[0]
    if len(parts) == 1 and not names:
        return first
    stacked = da.stack([part.data for part in parts])
    axes = (0, *[1 + first.get_axis_num(name) for name in names])
    options = {"axis": axes, "dtype": first.dtype, "concatenate": False, "split_every": 8}
    total = da.reduction(stacked, _block_sum, _sum_of_blocks, combine=_add_blocks, **options)
    count = math.prod(first.sizes[name] for name in names)
    return first.isel(dict.fromkeys(names, 0), drop=True).copy(data=total / first.dtype.type(count))


def _block_sum(block, axis, keepdims):
    return block if all(block.shape[a] == 1 for a in axis) else block.sum(axis=axis, keepdims=keepdims)


def _add_blocks(blocks, axis, keepdims):
    """Sum of a nested list of equal blocks."""
    while isinstance(blocks, list) and blocks and isinstance(blocks[0], list):
        blocks = [block for inner in blocks for block in inner]
    if not isinstance(blocks, list):
        return blocks
    total = blocks[0].copy()
    for block in blocks[1:]:
        total += block
    return total


def _sum_of_blocks(blocks, axis, keepdims):
    return _add_blocks(blocks, axis, keepdims).sum(axis=axis, keepdims=keepdims)


def _power_block(values, plan, starts, order=None):
    """Mean over the segments at `starts` of the power of one block: (…, time, *space) → (…, f ≥ 0, *k)."""
    sizes = tuple(axis.size for axis in plan.space)
    batch = values.shape[: values.ndim - 1 - len(sizes)]
    out = np.empty((*batch, plan.segment // 2 + 1, *sizes), values.dtype)
    tools = tools_of(plan, values.dtype)
    for index in _tiles(batch, math.prod(values.shape[len(batch) :])):
        total = 0.0
        for tapered in tapered_segments(values[index], plan, tools, starts, order):
            half = fft.rfftn(tapered, axes=range(-1 - len(sizes), 0), overwrite_x=True)
            power = half.real**2
            power += half.imag**2
            total = power + total if len(starts) > 1 else power  # (…, f signed, [qy,] q ≥ 0)
        out[index] = unfold(total, plan.segment, sizes)
    out *= values.dtype.type(1 / len(starts))
    if not np.isfinite(out[(..., 0, *[0] * len(sizes))]).all():  # one bad sample spoils every bin
        check_finite(values)
    return out


def _tiles(batch, samples) -> Iterator[tuple]:
    """Indices that cut the batch dims into pieces that stay in the processor's cache."""
    if not batch:
        yield ()
        return
    count = max(1, TILE_SAMPLES // samples)
    for outer in np.ndindex(batch[:-1]):
        for first in range(0, batch[-1], count):
            yield (*outer, slice(first, first + count))


@dataclass(frozen=True)
class Tools:
    """The arrays of a `Transform`, in the dtype of the data, made once per block."""

    taper: np.ndarray  # (time, positions)
    space_taper: np.ndarray  # (positions,)
    trend: np.ndarray  # (≤ 2, time), orthonormal
    tapered_trend: np.ndarray
    slopes: tuple[np.ndarray, ...]  # over time, then over positions along each space axis: mean 0, norm 1
    fill_weights: np.ndarray | None


def tapered_segments(values: np.ndarray, plan: Transform, tools: Tools, starts, order=None) -> Iterator[np.ndarray]:
    """Each segment of (…, time, *space), dead positions filled, detrended and tapered, as a fresh array."""
    if plan.dead is not None and tools.fill_weights is not None:
        values = fill(values, plan.dead, tools.fill_weights)
    space = values.shape[values.ndim - len(plan.space) :]
    flat = values.reshape(*values.shape[: values.ndim - len(space)], -1)
    for start in starts:
        piece = flat[..., start : start + plan.segment, :]
        if plan.detrend == "plane":
            piece = piece - _plane(piece, tools)
        if order is not None:  # shuffle what is left of the samples without their trend
            piece = (piece - tools.trend.T @ (tools.trend @ piece))[..., order[0], :][..., order[1]]
        tapered = piece * tools.taper
        if order is None and tools.trend.size:  # w·(u − trend) = w·u − (w_t·trend)(w_x·coefficients)
            tapered -= tools.tapered_trend.T @ (tools.trend @ piece * tools.space_taper)
        yield tapered.reshape(*tapered.shape[:-1], *space)


def tools_of(plan: Transform, dtype) -> Tools:
    trend, space_taper = _trend(plan.segment, plan.detrend), plan.space_taper.ravel()
    weights = None
    if plan.dead is not None:
        weights = fill_weights(plan.dead, tuple(axis.periodic for axis in plan.space))
    return Tools(
        np.multiply.outer(plan.time_taper, space_taper).astype(dtype),
        space_taper.astype(dtype),
        trend.astype(dtype),
        (trend * plan.time_taper).astype(dtype),
        tuple(slope.astype(dtype) for slope in _slopes(plan)),
        weights,
    )


def _trend(steps, detrend):
    """Orthonormal rows that span what each position loses: nothing, a constant, a constant and a slope."""
    if detrend in (None, "plane"):
        return np.zeros((0, steps))
    constant = np.full(steps, 1 / math.sqrt(steps))
    return np.array([constant] if detrend == "constant" else [constant, _slope(steps)])


def _slope(size):
    ramp = np.arange(size) - (size - 1) / 2
    return ramp / np.linalg.norm(ramp)


def _slopes(plan):
    yield _slope(plan.segment)
    sizes = tuple(axis.size for axis in plan.space)
    for number, size in enumerate(sizes):
        ramp = np.moveaxis(np.broadcast_to(_slope(size), (*sizes[:number], *sizes[number + 1 :], size)), -1, number)
        yield ramp.ravel() / np.linalg.norm(ramp)


def _plane(piece, tools):
    """Least-squares plane over time and space of (…, time, positions); its terms are orthogonal on the grid."""
    in_time, in_space = piece.mean(axis=-1), piece.mean(axis=-2)
    plane = (in_time @ tools.slopes[0])[..., None, None] * tools.slopes[0][:, None] + in_time.mean(axis=-1)[
        ..., None, None
    ]
    for slope in tools.slopes[1:]:
        plane = plane + (in_space @ slope)[..., None, None] * slope
    return plane


def unfold(half: np.ndarray, steps: int, sizes: tuple[int, ...]) -> np.ndarray:
    """Power on f ≥ 0 and rising k, (…, f, *k), from that of a plain `rfftn`, (…, f signed, qy, q ≥ 0), where q = −k.

    |U| is the same at (f, −q) and (−f, q): left-going waves (k < 0) are read at (f, q = −k), right-going ones at
    (−f, q = k). Rows f = 0 and Nyquist, which have no partner at −f, are halved.
    """
    rows, left = steps // 2 + 1, sizes[-1] // 2
    leftwards, rightwards = half, half
    if len(sizes) == 2:
        ky = np.arange(sizes[0]) - sizes[0] // 2
        leftwards, rightwards = half[..., -ky % sizes[0], :], half[..., ky % sizes[0], :]
    power = np.empty((*half.shape[: half.ndim - 1 - len(sizes)], rows, *sizes), half.dtype)
    leftwards, rightwards, to = (np.moveaxis(a, -1 - len(sizes), -2) for a in (leftwards, rightwards, power))
    right = sizes[-1] - left
    to[..., :left] = leftwards[..., :rows, left:0:-1]  # (…, ky, f, k), views with f next to the last axis
    to[..., 0, left:] = rightwards[..., 0, :right]
    to[..., 1:, left:] = rightwards[..., : steps - rows : -1, :right]  # f = −1, −2, …
    to[..., 0, :] *= 0.5
    if steps % 2 == 0:
        to[..., -1, :] *= 0.5
    return power
