"""Can chance explain it? Permutation tests for direction and for structure.

===============  ====================================================================================================
null             what a small p-value says
===============  ====================================================================================================
``swap``         (the default) power prefers one direction more than in a field whose law is the same both ways.
                 Power at +k and −k is exchanged at random in blocks of the spectrum wide enough to be independent.
``trial``        the same, exchanging the directions of complete trials: exact whatever the spectrum, needs ≥ 6 trials.
``gaussian``     the same for a Gaussian field with narrow lines: the share of either direction in a block of power is
                 drawn from its Beta law. Decides where the power sits in so few blocks that no exchange could (one
                 sine wave); trusts that the field is Gaussian.
``position``     there is order over positions, or
``time``         … over time, or
``both``         … over both, or
``shift``        … between positions' series, or
``phase``        … between positions' series. **These five do not test whether anything travels**: they reject smooth
                 fields that stand or flicker (see `analysis.direction.surrogates`).
===============  ====================================================================================================

p = (1 + #{surrogates as extreme as observed}) / (1 + n), never 0. Over channels, `q_value` controls the false discovery
rate (Benjamini and Hochberg).
"""

import warnings
from dataclasses import replace

import numpy as np
import xarray as xr
from scipy.stats import false_discovery_control
from tqdm.dask import TqdmCallback

from analysis.direction.index import sides
from analysis.direction.surrogates import SURROGATES, scrambled
from analysis.direction.swap_null import (
    block_sums,
    effective_blocks,
    partition,
    redistributed_differences,
    swapped_differences,
    taper_correlation,
    widening,
)
from analysis.fields.band import Band
from analysis.fields.dead import Mask, filled
from analysis.fields.field import Field
from analysis.fields.read import Recording
from analysis.fields.units import labelled, netcdf_attrs
from analysis.spectra.transform import Spectral, Transform, mapped_power, plan_transform, spectral_dims
from wavefield.progress import Progress

SYMMETRY_NULLS = ("swap", "trial", "gaussian")
ROUNDING = 100.0  # machine epsilons: a direction index as small as that is none
FEW_BLOCKS = 6.0  # 2^(1 − 6) is above 0.03: with fewer, no exchange reaches p = 0.05 safely


def direction_test(
    rec: Recording,
    *,
    seed: int | np.random.Generator,
    null: str = "swap",
    draws: int = 999,
    axis: str = "x",
    band: Band | None = None,
    window: str | tuple | float = "hann",
    space_window: str | tuple | float | None = None,
    detrend: str | None = "linear",
    segment: int | None = None,
    overlap: float = 0.5,
    mask: Mask = None,
) -> xr.Dataset:
    r"""Does the field prefer a direction? Two-sided test of the direction index D = (R − L)/(R + L).

    Parameters
    ----------
    rec : xarray.Dataset or xarray.DataArray
        A recording on a ring, a line or a grid. Trials are averaged into one spectrum per channel and exchanged
        jointly, so they need not be independent of each other; so are Welch segments.
    seed : int or numpy.random.Generator
    null : {"swap", "trial", "gaussian", "position", "time", "both", "shift", "phase"}
        See the table of this module.
    draws : int
        Surrogates n; the smallest p is 1/(1 + n).
    axis : {"x", "y"}
        On grids: the axis whose two directions are compared (its k, with the other component along).
    band : (float, float), optional
        Only frequencies from the first to the second.
    window, space_window, detrend, segment, overlap, mask
        As in `wavenumber_frequency_spectrum`.

    Returns
    -------
    xarray.Dataset
        ``index``, ``p_value``, ``q_value`` (over channels), ``null_index`` (draw), and, for the symmetry nulls,
        ``effective_blocks``: over how many independent exchanges the power spreads. With fewer than about six the
        test cannot reject; it then warns and names ``null="gaussian"``. A silent channel has index NaN and p = 1.

    Examples
    --------
    >>> from analysis import synthetic
    >>> ring = synthetic.ring(64)
    >>> direction_test(synthetic.moving_pattern(ring, 256, speed=1.0, seed=0), seed=1).p_value.item() < 0.01
    True
    >>> direction_test(synthetic.smooth_noise(ring, 256, seed=0), seed=1).p_value.item() > 0.05
    True
    """
    options = Spectral(window, space_window, detrend, segment, overlap)
    return symmetry_test(Field.of(rec, mask), options, seed=seed, null=null, draws=draws, axis=axis, band=band)


def symmetry_test(
    field: Field,
    options: Spectral,
    *,
    seed: int | np.random.Generator,
    null: str = "swap",
    draws: int = 999,
    axis: str = "x",
    band: Band | None = None,
) -> xr.Dataset:
    """What `direction_test` returns, of a field."""
    _check_draws(draws)
    rng, plan = np.random.default_rng(seed), plan_transform(field, options)
    if null in SURROGATES:
        index, null_index = _surrogate_indices(*_without_dead(field, plan), null, draws, rng, axis, band)
        blocks = None
    elif null in SYMMETRY_NULLS:
        index, null_index, blocks = _symmetry_indices(field, plan, null, draws, rng, axis, band)
    else:
        raise ValueError(f"null is {null!r}: one of {(*SYMMETRY_NULLS, *SURROGATES)} is needed")
    observed = abs(index)
    result = _tested(observed, abs(null_index), ROUNDING * np.finfo(field.values.dtype).eps)
    result["index"] = index.assign_attrs(labelled("1", "direction index (R − L)/(R + L)"))
    result["null_index"] = null_index.assign_attrs(labelled("1", f"direction index under null '{null}'"))
    if blocks is not None:
        result["effective_blocks"] = blocks.assign_attrs(labelled("1", "independent blocks that carry the power"))
        _warn_of_few(blocks, null)
    parameters = {"segment": plan.segment, "segments": len(plan.starts), "axis": axis, "band": band, "draws": draws}
    parameters |= {"null": null, "seed": seed, "window": options.window}
    parameters |= {"space_window": options.space_window, "detrend": options.detrend}
    return result.assign_attrs(netcdf_attrs(method="direction-symmetry test of D", **parameters))


def structure_test(
    rec: Recording,
    *,
    seed: int | np.random.Generator,
    null: str = "both",
    draws: int = 99,
    band: Band | None = None,
    window: str | tuple | float = "hann",
    space_window: str | tuple | float | None = None,
    detrend: str | None = "linear",
    segment: int | None = None,
    overlap: float = 0.5,
    mask: Mask = None,
) -> xr.Dataset:
    """Is there any order in space and time? Tests the largest peak of the spectrum over its mean.

    A small p-value does **not** say that anything travels: a smooth standing or flickering field is rejected always.

    Parameters
    ----------
    rec, seed, draws, band, window, space_window, detrend, segment, overlap, mask
        As in `direction_test`.
    null : {"position", "time", "both", "shift", "phase"}
        See `analysis.direction.surrogates`.

    Returns
    -------
    xarray.Dataset
        ``peak`` (over the mean, f and k at 0 and Nyquist left out), ``p_value``, ``q_value``, ``null_peak``.
    """
    _check_draws(draws)
    if null not in SURROGATES:
        raise ValueError(f"null is {null!r}: one of {SURROGATES} is needed")
    rng = np.random.default_rng(seed)
    field = Field.of(rec, mask)
    field, plan = _without_dead(field, plan_transform(field, Spectral(window, space_window, detrend, segment, overlap)))

    def peak(values):
        right, left = sides(_computed(mapped_power(values, plan, average=field.trial)), band=band)
        dims = spectral_dims(right)
        mean = (right.mean(dims) + left.mean(dims)) / 2
        return np.maximum(right.max(dims), left.max(dims)) / mean.where(mean > 0)

    observed = peak(field.values)
    null_peak = _drawn(lambda: peak(scrambled(field, null, rng)), draws)
    result = _tested(observed, null_peak)
    result["peak"] = observed.assign_attrs(labelled("1", "largest spectral peak over the mean power"))
    result["null_peak"] = null_peak.assign_attrs(labelled("1", f"largest peak under null '{null}'"))
    parameters = {"null": null, "draws": draws, "band": band, "window": window, "segment": plan.segment, "seed": seed}
    return result.assign_attrs(netcdf_attrs(method="peak over mean power", **parameters))


# Indices, observed and under a null ----------------------------------------------------------------------------------


def _symmetry_indices(field: Field, plan: Transform, null, draws, rng, axis, band):
    """D, D under the null, and effective blocks, for each channel (and whatever else is not averaged)."""
    if null == "gaussian" and len(plan.starts) > 1:
        raise ValueError("null='gaussian' needs the spectrum of the complete record: leave segment at None")
    if null == "trial":
        trials = field.values.sizes.get("trial", 1)
        if trials < FEW_BLOCKS:
            raise ValueError(f"null='trial' needs at least 6 trials: the recording has {trials}")
    average = [] if null == "trial" else field.trial
    right, left = sides(_computed(mapped_power(field.values, plan, average=average)), axis=axis, band=band)
    core = spectral_dims(right)
    if null == "trial":
        total, per_trial = (right + left).sum(core), (right - left).sum(core)
        right, left, core = (total + per_trial) / 2, (total - per_trial) / 2, ["trial"]
        correlations = (None,)
    else:
        correlations = _correlations(plan, core)
    return xr.apply_ufunc(
        _symmetry_null,
        right.astype(float),
        left.astype(float),
        input_core_dims=[core, core],
        output_core_dims=[[], ["draw"], []],
        kwargs={"null": null, "correlations": correlations, "draws": draws, "rng": rng},
        keep_attrs=False,
    )


def _computed(power):
    """A lazy spectrum computed block by block, with a progress bar."""
    if power.chunks is None:
        return power
    with TqdmCallback(tqdm_class=Progress, what="spectrum", unit="task"):
        return power.compute()


def _correlations(plan, core):
    """Correlation of neighbouring bins along each of `core`, from the tapers; None: independent, as k on a ring."""
    tapers = {"frequency": plan.time_taper}
    for number, (dim, its) in enumerate(zip(plan.k_dims, plan.space, strict=True)):
        along = np.moveaxis(plan.space_taper, number, 0).reshape(its.size, -1)
        tapers[dim] = along[:, along.shape[1] // 2]
    independent = {dim for dim, its in zip(plan.k_dims, plan.space, strict=True) if its.periodic}
    correlations = tuple(taper_correlation(tapers[dim]) for dim in core)
    return tuple(
        rho if dim not in independent or rho.size > 1 else None for dim, rho in zip(core, correlations, strict=True)
    )


def _symmetry_null(right, left, null, correlations, draws, rng):
    """For every channel: D, its null distribution, effective blocks. Core axes last."""
    core = len(correlations)
    batch = right.shape[: right.ndim - core]
    index, blocks = np.full(batch, np.nan), np.zeros(batch)
    null_index = np.full((*batch, draws), np.nan)
    rho = tuple(np.ones(1) if correlation is None else correlation for correlation in correlations)
    narrowest = [1 if correlation is None else max(2, correlation.size) for correlation in correlations]
    if null != "trial":  # lines stand in frequency: do not cut them
        narrowest[0] = max(2, 2 * rho[0].size - 2)
    for at in np.ndindex(batch):
        power, difference = right[at] + left[at], right[at] - left[at]
        total = power.sum()
        if not total > 0:
            continue
        index[at] = difference.sum() / total
        if null == "gaussian":
            edges = partition(power, narrowest, enough=np.inf)
            drawn = redistributed_differences(power, edges, tuple(r.size for r in rho), draws, rng)
        else:
            edges = partition(power, narrowest)
            drawn = swapped_differences(block_sums(difference, edges), draws, rng) * widening(power, edges, rho)
        blocks[at] = effective_blocks(power, edges)
        null_index[at] = drawn / total
    return index, null_index, blocks


def _surrogate_indices(field: Field, plan: Transform, null, draws, rng, axis, band):
    def index(values):
        right, left = sides(_computed(mapped_power(values, plan, average=field.trial)), axis=axis, band=band)
        dims = spectral_dims(right)
        right, left = right.sum(dims), left.sum(dims)
        both = right + left
        return (right - left) / both.where(both > 0)

    return index(field.values), _drawn(lambda: index(scrambled(field, null, rng)), draws)


def _without_dead(field: Field, plan: Transform) -> tuple[Field, Transform]:
    """Dead positions filled beforehand, so that a shuffle meets no NaN."""
    if plan.dead is None:
        return field, plan
    return field.with_values(filled(field.values, plan.dead, plan.space), dead=None), replace(plan, dead=None)


def _drawn(draw, draws):
    return xr.concat([draw() for _ in Progress(range(draws), "surrogates", unit="draw")], "draw")


def _tested(observed, null, rounding=0.0):
    """p and q of `observed` against the draws of `null`: large values are extreme, ties count against."""
    draws = null.sizes["draw"]
    extreme = (null >= observed * (1 - 1e-9) - rounding).sum("draw")
    p = xr.where(np.isnan(observed), 1.0, (1 + extreme) / (1 + draws))
    q = p
    if "channel" in p.dims:
        q = p.copy(data=false_discovery_control(p.values, axis=p.get_axis_num("channel")))
    return xr.Dataset(
        {
            "p_value": p.assign_attrs(units="1", long_name="p-value, (1 + #extreme)/(1 + draws)"),
            "q_value": q.assign_attrs(
                units="1", long_name="p-value adjusted for the false discovery rate over channels"
            ),
        }
    )


def _warn_of_few(blocks, null):
    few = (blocks > 0) & (blocks < FEW_BLOCKS)
    if null != "gaussian" and few.any():
        warnings.warn(
            f"{int(few.sum())} of {blocks.size} spectra have their power in fewer than {FEW_BLOCKS:g} independent "
            f"blocks (least: {float(blocks.where(few).min()):.2g}): exchanging directions can hardly reject there; "
            "record longer or more trials, or use null='gaussian'",
            stacklevel=3,
        )


def _check_draws(draws):
    if int(draws) != draws or draws < 1:
        raise ValueError(f"draws is {draws}: a positive whole number is needed")
