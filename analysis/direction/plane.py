"""Does anything travel across a plane, in whatever direction? The test of `analysis.direction.pairs`, with its p-value.

On a line the two directions are given; in a plane they are not, and a test along one chosen axis is blind along the
other. Here the statistic is the size of the direction vector D, in the data and in every surrogate alike, so that no
axis is chosen at all, on sheets and on scattered electrodes.
"""

from __future__ import annotations

import numpy as np
import xarray as xr
from scipy.stats import false_discovery_control

from analysis.direction.pairs import Pairs, effective_number, fitting_null, spectra, strongest_pairs, vector_null
from analysis.fields.band import Band
from analysis.fields.dead import Mask
from analysis.fields.field import Field
from analysis.fields.read import Recording, check_finite
from analysis.fields.units import labelled, netcdf_attrs

NULLS = ("auto", "swap", "gaussian")


def plane_direction_test(
    rec: Recording,
    *,
    seed: int | np.random.Generator,
    null: str = "auto",
    draws: int = 999,
    band: Band | None = None,
    mask: Mask = None,
) -> xr.Dataset:
    r"""Does a field in two dimensions prefer any direction? On sheets and on electrodes without a grid.

    At each frequency one pair of opposite plane waves ±k is fitted, with whatever k explains most. With p the power of
    a pair and σ the share of it that travels to +k less the share that travels to −k,

    .. math:: D = \frac{\sum_f p\,σ\,\hat k}{\sum_f p}

    is a vector that points where most of the power goes: of size 1 for a plane wave in any direction, 0 for standing
    waves. Its size is compared with that of surrogates in which nothing prefers a direction.

    Parameters
    ----------
    rec : xarray.Dataset or xarray.DataArray
        A recording on a sheet or on scattered electrodes. Trials are taken together.
    seed : int or numpy.random.Generator
    null : {"auto", "swap", "gaussian"}
        ``swap`` exchanges the directions of independent blocks of frequencies; ``gaussian`` draws the share of either
        direction from its law in a Gaussian field. ``auto`` takes the second where the difference of the directions
        sits in so few blocks that no exchange could decide (one sine wave).
    draws : int
        Surrogates n; the smallest p is 1/(1 + n).
    band : (float, float), optional
        Only frequencies from the first to the second.
    mask : None, "nan" or boolean array
        Dead sensors, left out.

    Returns
    -------
    xarray.Dataset
        ``index`` (the size of D), ``angle`` (of D, rad counter-clockwise from +x), ``p_value``, ``q_value`` (over
        channels), ``null_index`` (draw), ``effective_blocks``.

    Examples
    --------
    >>> from analysis import synthetic
    >>> sheet = synthetic.sheet((8, 8))
    >>> rec = synthetic.plane(sheet, 256, wavenumber=(0.0, 0.15), frequency=0.05)
    >>> result = plane_direction_test(synthetic.with_noise(rec, 1.0, seed=0), seed=0)
    >>> result.p_value.item() <= 0.05, round(float(np.degrees(result.angle)) / 10)
    (True, 9)
    """
    return plane_symmetry_test(Field.of(rec, mask, living=True), seed=seed, null=null, draws=draws, band=band)


def plane_symmetry_test(
    field: Field,
    *,
    seed: int | np.random.Generator,
    null: str = "auto",
    draws: int = 999,
    band: Band | None = None,
) -> xr.Dataset:
    """What `plane_direction_test` returns, of a field."""
    if null not in NULLS:
        raise ValueError(f"null is {null!r}: one of {NULLS} is needed")
    if int(draws) != draws or draws < 1:
        raise ValueError(f"draws is {draws}: a positive whole number is needed")
    field.check_steps(4)
    rng, where = np.random.default_rng(seed), field.space.sensors(minimum=3)
    if where.dimension != 2:
        raise ValueError(f"rec has the space dims {where.dims}: on a line use direction_test")
    steps, channel = field.time.size, [dim for dim in field.ordered.dims if dim == "channel"]
    shape = tuple(field.values.sizes[dim] for dim in channel)
    index, angle, p, blocks = (np.full(shape, np.nan) for _ in range(4))
    axis, nulls = np.full((*shape, 2), np.nan), np.full((*shape, draws), np.nan)
    for at, values in channels(field):
        _, spectrum = spectra(values, field.time.step, band)
        pairs = strongest_pairs(spectrum, steps, where, rng)
        vector = pairs.difference @ pairs.axis / max(pairs.power.sum(), np.finfo(float).tiny)
        blocks[at] = effective_number(np.abs(pairs.difference))
        chosen = fitting_null(pairs) if null == "auto" else null
        nulls[at] = np.linalg.norm(vector_null(pairs, chosen, draws, rng), axis=1)
        index[at], angle[at], axis[at] = np.linalg.norm(vector), np.arctan2(vector[1], vector[0]), main_axis(pairs)
        p[at] = (1 + np.sum(nulls[at] >= index[at] * (1 - 1e-9))) / (1 + draws) if pairs.power.sum() > 0 else 1.0
    q = false_discovery_control(p) if channel else p
    texts = {
        "index": (index, labelled("1", "size of the direction vector D")),
        "angle": (angle, labelled("rad", "direction of D, counter-clockwise from +x, y up")),
        "p_value": (p, labelled("1", "p-value, (1 + #extreme)/(1 + draws)")),
        "q_value": (q, labelled("1", "p-value adjusted for the false discovery rate over channels")),
        "effective_blocks": (blocks, labelled("1", "independent blocks that carry the difference of directions")),
    }
    result = xr.Dataset({name: (tuple(channel), values, attrs) for name, (values, attrs) in texts.items()})
    result["null_index"] = ((*channel, "draw"), nulls, labelled("1", "size of D under the null"))
    result["axis"] = ((*channel, "component"), axis, labelled("1", "unit vector along the main axis of the pairs"))
    if channel and "channel" in field.values.coords:
        result = result.assign_coords(channel=field.values.coords["channel"])
    parameters = {"null": null, "seed": seed, "draws": draws, "band": band}
    return result.assign_attrs(netcdf_attrs(method="direction test of pairs of plane waves", **parameters))


def channels(field: Field):
    """Yield ``(index, values)`` for each channel, values (trial, time, living sensor) finite and float64."""
    array, alive = field.ordered, field.space.sensors().alive
    for at in np.ndindex(*[field.values.sizes[dim] for dim in field.ordered.dims if dim == "channel"]):
        one = array.isel(channel=at[0]) if at else array
        values = one.values.reshape(-1, field.time.size, alive.size)
        values = (values if alive.all() else values[..., alive]).astype(np.float64, copy=False)
        check_finite(values)
        yield at, values


def main_axis(pairs: Pairs) -> np.ndarray:
    """The unit vector along which most pairs of plane waves lie."""
    outer = np.einsum("b,bd,be->de", pairs.power, pairs.axis, pairs.axis)
    return np.linalg.eigh(outer)[1][:, -1]
