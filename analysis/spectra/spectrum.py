"""Wavenumber–frequency spectrum: how much power travels at which wavenumber, frequency and in which direction.

The transform is ``U(k, f) = Σ u(x, t) exp(−2πi(f t − k x))``, folded to f ≥ 0. **+k travels to +x**, and a plane wave
``cos(2π(f₀t − k₀x))`` has its peak at (k₀, f₀), moving at the signed speed f₀/k₀ (the convention of Hayashi and of
Wheeler and Kiladis; a plain ``fft2`` puts the same wave at k·f < 0).
"""

import math
import uuid
from collections.abc import Iterator
from dataclasses import dataclass

import dask.array as da
import numpy as np
import xarray as xr
from scipy import fft, signal
from tqdm.dask import TqdmCallback

from analysis.fields.axes import Axis, activity, check_finite, inverse_units, netcdf_attrs, space_axes, time_axis
from analysis.fields.dead import dead_positions, fill, fill_weights

BLOCK_BYTES = 32 * 2**20  # of input, per task
TILE_SAMPLES = 2**17  # transformed at once: with its temporaries it stays in the cache
SCALINGS = ("density", "spectrum")
DETRENDS = ("linear", "constant", "plane", None)


def wavenumber_frequency_spectrum(
    rec,
    *,
    window="hann",
    space_window=None,
    detrend="linear",
    segment=None,
    overlap=0.5,
    scaling="density",
    average=(),
    mask=None,
) -> xr.Dataset:
    r"""Power over wavenumber and frequency, signed so that +k travels to +x.

    .. math:: P(k, f) = \frac{2\,\Delta t\,\Delta x}{\sum w^2}\,
              \Big|\sum_{x,t} w(x, t)\, u(x, t)\, e^{-2\pi i (f t - k x)}\Big|^2

    (no factor 2 at f = 0 and at the Nyquist frequency), so that ``P.sum() · Δk · Δf`` is the mean square of u, each
    sample weighted by w². With ``scaling="spectrum"`` the sum is divided by (Σw)² instead: a plane wave of amplitude
    A has a peak of A²/2.

    Parameters
    ----------
    rec : xarray.Dataset or xarray.DataArray
        A recording on a ring, a line or a grid: dims ``(trial,) time, (channel,) position`` or ``y, x``, evenly
        sampled, in NumPy or dask.
    window : str, tuple or float
        Window over time, as `scipy.signal.get_window` takes it; ``"boxcar"`` for none.
    space_window : str, tuple, float or None
        Window over space. None (the default) means none along a ring, which has no ends, and `window` along an open
        axis.
    detrend : {"linear", "constant", "plane", None}
        Removed before windowing, from every segment: a straight line in time, or the mean, from every position; or
        one plane a + b t + c·x from all positions together, which leaves what stands still at each position.
    segment, overlap : int or None, float
        Welch's method: average over segments of so many samples, overlapping by this share.
    scaling : {"density", "spectrum"}
        Per unit of k and f, or per bin.
    average : str or sequence of str
        Dims to average over, such as ``"trial"``: needed where one spectrum per trial and channel would not fit in
        memory.
    mask : None, "nan" or boolean array
        Dead positions, to be filled from their neighbours: those with NaN, or those where the array is True.

    Returns
    -------
    xarray.Dataset
        ``power``, dims ``(trial, channel,) frequency, wavenumber`` (on grids ``wavenumber_y, wavenumber_x``), in the
        dtype of the activity, lazy if the activity is a dask array; units, window, scaling, … in attributes.

    Raises
    ------
    ValueError
        Uneven sampling, fewer than three samples along an axis, NaN without a mask, an irregular array, an unknown
        option, a segment longer than the recording.
    TypeError
        Complex or non-numeric data.

    References
    ----------
    Wheeler and Kiladis (1999), J. Atmos. Sci. 56, 374; Hayashi (1971), J. Meteorol. Soc. Jpn. 49, 125.

    Examples
    --------
    >>> from analysis import synthetic
    >>> rec = synthetic.plane(synthetic.ring(64), 256, wavenumber=5 / 64, frequency=12 / 256)
    >>> power = wavenumber_frequency_spectrum(rec, scaling="spectrum").power
    >>> peak = power.where(power == power.max(), drop=True)
    >>> peak.frequency.item() / peak.wavenumber.item()
    0.6
    """
    array = activity(rec)
    plan = plan_transform(
        array,
        rec,
        window=window,
        space_window=space_window,
        detrend=detrend,
        segment=segment,
        overlap=overlap,
        mask=mask,
    )
    factor = _scale(plan, scaling)
    power = (mapped_power(array, plan, average=average) * array.dtype.type(factor)).rename("power")
    units = "1" if scaling == "spectrum" else _inverse(plan)
    power.attrs = {"units": _times(array.attrs.get("units", "1"), units), "long_name": f"power {scaling}"}
    attrs = netcdf_attrs(
        method="wavenumber-frequency spectrum, +k travels to +x",
        window=window,
        space_window=space_window,
        detrend=detrend,
        segment=plan.segment,
        overlap=overlap,
        segments=len(plan.starts),
        scaling=scaling,
        average=_names(average) or None,
        boundary="periodic" if all(axis.periodic for axis in plan.space) else "open",
    )
    return power.to_dataset().assign_attrs(attrs)


# The plan: everything a transform needs to know, checked once ---------------------------------------------------------


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
        units = inverse_units(self.time.units)
        coords = {
            "frequency": (
                "frequency",
                self.frequency,
                {"units": units, "long_name": "frequency", "nyquist": self.time.nyquist},
            )
        }
        for dim, axis, k in zip(self.k_dims, self.space, self.wavenumbers, strict=True):
            name = "wavenumber, positive towards +" + ("x" if axis.dim == "position" else axis.dim)
            coords[dim] = (dim, k, {"units": inverse_units(axis.units), "long_name": name})
        return coords


def plan_transform(array, rec, *, window, space_window, detrend, segment, overlap, mask) -> Transform:
    """Check the options against the activity of `rec` and lay down what every block will go through."""
    time, space = time_axis(array, minimum=3), space_axes(array, minimum=3)
    if detrend not in DETRENDS:
        raise ValueError(f"detrend is {detrend!r}: one of {DETRENDS} is needed")
    length = time.size if segment is None else segment
    if int(length) != length or not 3 <= length <= time.size:
        raise ValueError(f"segment is {segment}: a whole number of samples from 3 to {time.size} (all) is needed")
    if not 0 <= overlap < 1:
        raise ValueError(f"overlap is {overlap}: a share from 0 up to, but not, 1 is needed")
    length = int(length)
    hop = max(1, length - int(overlap * length))
    starts = tuple(range(0, time.size - length + 1, hop))
    space_taper = np.ones(())
    for axis in space:
        along = ("boxcar" if axis.periodic else window) if space_window is None else space_window
        space_taper = np.multiply.outer(space_taper, _taper(along, axis.size, "space_window"))
    taper = _taper(window, length, "window")
    dead = dead_positions(array, mask, rec)
    return Transform(time, space, taper, space_taper, detrend, length, starts, dead)


def _taper(window, size, name):
    try:
        return signal.get_window(window, size)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{name} is {window!r}: scipy.signal.get_window does not know it ({error})") from error


def _scale(plan, scaling):
    """Factor from |U|² (two-sided) to the one-sided density or spectrum."""
    if scaling not in SCALINGS:
        raise ValueError(f"scaling is {scaling!r}: one of {SCALINGS} is needed")
    if scaling == "spectrum":
        return 2.0 / (plan.time_taper.sum() * plan.space_taper.sum()) ** 2
    cell = plan.time.step * math.prod(axis.step for axis in plan.space)
    return 2.0 * cell / (np.sum(plan.time_taper**2) * np.sum(plan.space_taper**2))


def _inverse(plan):
    """Units of one over (wavenumber · frequency), such as ``mm s``, ``mm2 s``, ``1``."""
    units = [axis.units for axis in (*plan.space, plan.time) if axis.units != "1"]
    powers = {unit: units.count(unit) for unit in units}
    return " ".join(unit if power == 1 else f"{unit}{power}" for unit, power in powers.items()) or "1"


def _times(amplitude, density):
    squared = "1" if amplitude == "1" else f"{amplitude}2" if amplitude.isalpha() else f"({amplitude})2"
    return " ".join(part for part in (squared, density) if part != "1") or "1"


# Blocks: what is computed, and how much of it at once ----------------------------------------------------------------


def mapped_power(array, plan, *, average=(), order=None) -> xr.DataArray:
    """Mean over segments of |U|² for f ≥ 0 and signed k, halved at f = 0 and Nyquist, on labelled dims.

    Large arrays go block by block along trial, channel and groups of segments; a dask array stays lazy, a NumPy array
    is computed here, with a progress bar. `order` = (time, space) permutes detrended samples (the shuffled
    background).
    """
    names = _names(average)
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
    with TqdmCallback(desc="spectrum", disable=None, delay=2):
        return result.compute()


def _names(average) -> list[str]:
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


def block_chunks(piece, core_dims) -> dict:
    """Chunks with whole core dims; other dims are cut, from the left, until a block is small, and never merged."""
    chunks = {dim: -1 for dim in core_dims}
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


def tapered_segments(values, plan, tools, starts, order=None) -> Iterator[np.ndarray]:
    """Each segment of (…, time, *space), dead positions filled, detrended and tapered, as a fresh array."""
    if plan.dead is not None:
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


@dataclass(frozen=True)
class _Tools:
    """The arrays of a `Transform`, in the dtype of the data, made once per block."""

    taper: np.ndarray  # (time, positions)
    space_taper: np.ndarray  # (positions,)
    trend: np.ndarray  # (≤ 2, time), orthonormal
    tapered_trend: np.ndarray
    slopes: tuple[np.ndarray, ...]  # over time, then over positions along each space axis: mean 0, norm 1
    fill_weights: np.ndarray | None


def tools_of(plan, dtype) -> _Tools:
    trend, space_taper = _trend(plan.segment, plan.detrend), plan.space_taper.ravel()
    weights = None
    if plan.dead is not None:
        weights = fill_weights(plan.dead, tuple(axis.periodic for axis in plan.space))
    return _Tools(
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


def unfold(half, steps, sizes):
    """Power on f ≥ 0 and rising k, (…, f, *k), from that of a plain `rfftn`, (…, f signed, qy, q ≥ 0), where q = −k.

    |U| is the same at (f, −q) and (−f, q): left-going waves (k < 0) are read at (f, q = −k), right-going ones at
    (−f, q = k). Rows f = 0 and Nyquist, which have no partner at −f, are halved.
    """
    rows, left = steps // 2 + 1, sizes[-1] // 2
    leftwards, rightwards = half, half
    if len(sizes) == 2:
        ky = np.arange(sizes[0]) - sizes[0] // 2
        leftwards, rightwards = half[..., -ky % sizes[0], :], half[..., ky % sizes[0], :]
    space = (slice(None),) * (len(sizes) - 1)
    power = np.empty((*half.shape[: half.ndim - 1 - len(sizes)], rows, *sizes), half.dtype)
    power[..., :left] = leftwards[(..., slice(rows), *space, slice(left, 0, -1))]
    right = sizes[-1] - left
    power[(..., 0, *space, slice(left, None))] = rightwards[(..., 0, *space, slice(right))]
    backwards = slice(None, steps - rows, -1)  # −1, −2, …
    power[(..., slice(1, None), *space, slice(left, None))] = rightwards[(..., backwards, *space, slice(right))]
    power[(..., 0, *space, slice(None))] *= 0.5
    if steps % 2 == 0:
        power[(..., -1, *space, slice(None))] *= 0.5
    return power
