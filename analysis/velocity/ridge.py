"""The ridge estimate: the speed of the centroid of a spectrum's ridge, trial by trial and channel by channel."""

from collections.abc import Iterator

import numpy as np
import xarray as xr
from scipy import stats

from analysis.direction.shapes import FEWEST_SENSORS
from analysis.fields.band import Band, check_band
from analysis.fields.dead import Mask
from analysis.fields.field import Field, stretches
from analysis.fields.read import Recording, check_finite
from analysis.fields.units import inverse_units, labelled, speed_units
from analysis.spectra.transform import Spectral, Transform, block_chunks, plan_transform, tapered_segments, tools_of
from analysis.velocity.chance import Trace, knows_no_place
from analysis.velocity.result import STATUS, Estimate, check_confidence, joined, velocity_dataset
from analysis.velocity.ridge_centroid import ridge_centroid

SIDES = {None: 0, "right": 1, "left": -1}
ONE_PLANE = Spectral(detrend="plane", overlap=0.0)


def ridge_velocity(
    rec: Recording,
    *,
    side: str | None = None,
    band: Band | None = None,
    confidence: float = 0.95,
    window: str | tuple | float = "hann",
    space_window: str | tuple | float | None = None,
    detrend: str | None = "plane",
    mask: Mask = None,
) -> xr.Dataset:
    r"""Speed of the ridge of the wavenumber–frequency spectrum, with a confidence interval.

    .. math:: v = \frac{\sum P(k, f)\, f}{\sum P(k, f)\, k}

    over the bins of one direction that stand above the noise, the noise subtracted. For anything that moves rigidly
    this is exact, whatever its shape and the window; for a dispersive wave it is the mean phase speed, weighted by
    power. The interval is for white noise in time and space, as strong as the quiet bins at the same frequency say; it
    does not know of other waves or of smooth noise.

    Parameters
    ----------
    rec : xarray.Dataset or xarray.DataArray
        A recording on a ring, a line or a grid. One estimate for each trial and channel.
    side : {None, "right", "left"}
        The direction of +x or of −x; None takes the stronger one and refuses where the other has half its power.
    band : (float, float), optional
        Only frequencies from the first to the second.
    confidence : float
        Of the interval.
    window, space_window, detrend, mask
        As in `wavenumber_frequency_spectrum`. One plane is removed by default: a straight line from every position
        would bend the wave itself. What stands still is left out with the lowest frequency bin.

    Returns
    -------
    xarray.Dataset
        ``speed``, ``speed_low``, ``speed_high`` (signed on lines and rings; a magnitude with ``direction`` on grids)
        and ``status``, as every velocity estimator gives them; ``frequency`` and ``wavenumber`` of the centroid,
        ``explained`` (share of the power), and on lines and rings ``alias_speed``: the next speed that would give the
        same samples.

        Refused are: nothing above the noise (``no_wave``), waves both ways (``ambiguous``), a broad ridge whose line
        misses the origin by more than half an alias (``aliased``), less than one wavelength on an open axis or less
        than one period (``too_short``). A narrow ridge at fewer than five positions per wavelength is given with a
        warning: aliasing cannot be excluded from the samples alone.

    Examples
    --------
    >>> from analysis import synthetic
    >>> rec = synthetic.moving_pattern(synthetic.ring(256), 784, speed=1.0, seed=0)
    >>> round(float(ridge_velocity(rec).speed), 6)
    1.0
    """
    options = Spectral(window, space_window, detrend, segment=None, overlap=0.0)
    return ridge_speed(Field.of(rec, mask, living=True), options, side=side, band=band, confidence=confidence)


def ridge_speed(
    field: Field,
    options: Spectral = ONE_PLANE,
    *,
    side: str | None = None,
    band: Band | None = None,
    confidence: float = 0.95,
) -> xr.Dataset:
    """What `ridge_velocity` returns, of a field."""
    if side not in SIDES:
        raise ValueError(f"side is {side!r}: None, 'right' or 'left' is needed")
    check_confidence(confidence)
    whole, field = field, field.in_stretches()
    plan, array = plan_transform(field, options), field.values
    if array.chunks is not None or (field is whole and array.nbytes > 2**28):  # stretches are too large for threads
        array = array.chunk(block_chunks(array, plan.core_dims))
    axes = ("axis", "axis_too")  # (y, x) on grids
    parts: dict[str, tuple[str, ...]] = {"status": (), "frequency": (), "explained": (), "coarse": ()}
    parts |= {"slowness": axes[:1], "wavenumber": axes[:1], "covariance": axes}
    found = xr.apply_ufunc(
        _ridge_block,
        array,
        input_core_dims=[plan.core_dims],
        output_core_dims=list(parts.values()),
        kwargs={"plan": plan, "side": SIDES[side], "band": band},
        dask="parallelized",
        output_dtypes=[np.float64] * len(parts),
        dask_gufunc_kwargs={"output_sizes": dict.fromkeys(axes, len(plan.space))},
    )
    ridges = xr.Dataset(dict(zip(parts, found, strict=True))).compute()
    if field is not whole:
        ridges = _joined(ridges, array.sizes["trial"] // whole.values.sizes.get("trial", 1))
        ridges = ridges if whole.trial else ridges.squeeze("trial", drop=True)
    if side is None:  # else the field may go both ways, and one of them is asked for
        _doubt(ridges["status"], whole, band, 1 - confidence)
    return velocity_dataset(
        **_speeds(ridges, whole.values, plan, confidence),
        method="ridge",
        confidence=confidence,
        side=side,
        band=band,
        window=options.window,
        detrend=options.detrend,
    )


def _ridge_block(values, plan, side, band):
    """Status, frequency, explained, coarse, slowness, wavenumber and covariance of every trial and channel."""
    dims = len(plan.space)
    batch = values.shape[: values.ndim - 1 - dims]
    tools = tools_of(plan, np.float64)
    taper = tools.taper.reshape(plan.segment, *plan.space_taper.shape)
    numbers = [np.empty(batch) for _ in range(4)]
    vectors = np.empty((*batch, dims)), np.empty((*batch, dims)), np.empty((*batch, dims, dims))
    for at in np.ndindex(batch):
        (tapered,) = tapered_segments(values[at].astype(float), plan, tools, (0,))
        check_finite(tapered)
        ridge = ridge_centroid(tapered, taper, plan.time, plan.space, side=side, band=band)
        of_one = STATUS.index(ridge.status), ridge.frequency, ridge.explained, ridge.coarse
        for into, value in zip(numbers, of_one, strict=True):
            into[at] = value
        for into, value in zip(vectors, (ridge.slowness, ridge.wavenumber, ridge.covariance), strict=True):
            into[at] = value
    return *numbers, *vectors


def _doubt(status: xr.DataArray, field: Field, band, level: float) -> None:
    """Set `status` to chance where the lags of a sheet are not those of waves."""
    where = field.space.sensors()
    if where.dimension < 2 or where.count < FEWEST_SENSORS or not (status == 0).any():
        return
    band = None if band is None else check_band(band, field.time)
    codes = status.transpose(*field.batch_coords()).values  # a view
    for index, values in field.traces():
        if codes[index] == STATUS.index("ok"):
            parts = (Trace(part - part.mean(axis=0), field.time.step, where, band) for part in stretches(values))
            if all(knows_no_place(*part.shape(level)[::-1], where, level=level) for part in parts):
                codes[index] = STATUS.index("chance")


def _joined(ridges: xr.Dataset, count: int) -> xr.Dataset:
    """One ridge for every `count` neighbouring trials, which are the stretches of one."""
    ridges = ridges.transpose("trial", ...)
    result = ridges.isel(trial=slice(0, None, count)).copy(deep=True)
    for at in np.ndindex(*(result.sizes[dim] for dim in result["status"].dims)):
        some = (slice(at[0] * count, (at[0] + 1) * count), *at[1:])
        status, frequency, explained, coarse, slowness, wavenumber, covariance = (
            ridges[name].values[some]
            for name in ("status", "frequency", "explained", "coarse", "slowness", "wavenumber", "covariance")
        )
        one = joined(
            [
                Estimate(STATUS[int(code)], s, c, f, share)
                for code, s, c, f, share in zip(status, slowness, covariance, frequency, explained, strict=True)
            ]
        )
        result["status"].values[at] = STATUS.index(one.status)
        result["frequency"].values[at], result["explained"].values[at] = one.frequency, one.explained
        result["coarse"].values[at] = coarse.max()
        if one.slowness is not None:
            result["slowness"].values[at], result["covariance"].values[at] = one.slowness, one.covariance
            result["wavenumber"].values[at] = wavenumber[status == 0].mean(axis=0)
    return result


def _speeds(ridges, array, plan: Transform, confidence) -> dict:
    """Slowness and covariance turned into speeds with bounds, and what goes with them."""
    names = ridges["status"].dims
    batch = {dim: array.coords[dim] if dim in array.coords else np.arange(array.sizes[dim]) for dim in names}
    status, frequency, slowness, wavenumber, covariance = (
        ridges[name].values for name in ("status", "frequency", "slowness", "wavenumber", "covariance")
    )
    space, time = plan.space[-1].units, plan.time.units
    extra = {
        "frequency": (names, frequency, labelled(inverse_units(time), "mean frequency of the ridge")),
        "explained": (names, ridges["explained"].values, labelled("1", "share of the power in the ridge")),
    }
    per_length = labelled(inverse_units(space), "mean wavenumber of the ridge")
    width = stats.norm.ppf(0.5 + confidence / 2)
    size = np.linalg.norm(slowness, axis=-1)
    unit = slowness / size[..., None]
    error = width * np.sqrt(np.einsum("...i,...ij,...j", unit, covariance, unit))
    sure = size > error
    slow, fast = 1 / (size + error), np.where(sure, 1 / np.where(sure, size - error, 1.0), np.inf)
    if len(plan.space) == 1:
        sign = np.sign(slowness[..., 0])
        low = np.where(sure, np.where(sign > 0, slow, -fast), -np.inf)
        high = np.where(sure, np.where(sign > 0, fast, -slow), np.inf)
        alias = frequency / (wavenumber[..., 0] - 2 * sign * plan.space[0].nyquist)
        extra["wavenumber"] = (names, wavenumber[..., 0], per_length)
        text = labelled(speed_units(space, time), "nearest speed that would give the same samples")
        extra["alias_speed"] = (names, alias, text)
        speeds = {"speed": sign / size, "low": low, "high": high}
    else:  # (y, x) → (x, y)
        across = np.stack([-unit[..., 1], unit[..., 0]], axis=-1)
        turn = width * np.sqrt(np.einsum("...i,...ij,...j", across, covariance, across)) / size
        turn = np.where(sure & (turn < np.pi), turn, np.inf)
        angle = np.arctan2(slowness[..., 0], slowness[..., 1])
        extra["wavenumber"] = (names, np.linalg.norm(wavenumber, axis=-1), per_length)
        speeds = {"speed": 1 / size, "low": slow, "high": fast, "direction": angle}
        speeds |= {"direction_low": angle - turn, "direction_high": angle + turn}
    cautions = tuple(_cautions(status, ridges["coarse"].values))
    return {"batch": batch, **speeds, "status": status, "units": (space, time), "cautions": cautions, "extra": extra}


def _cautions(status, coarse) -> Iterator[str]:
    if (count := int(np.sum(coarse > 0))) > 0:
        yield (
            f"ridge: {count} of {coarse.size} waves have fewer than five positions per wavelength and a band too "
            "narrow to exclude spatial aliasing; compare alias_speed, or sample space more densely"
        )
    if (count := int(np.sum(status == STATUS.index("too_short")))) > 0:
        yield f"ridge: {count} of {status.size} waves fit less than once into the array or the record"
