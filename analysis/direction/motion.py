"""Does anything move across a plane, as what shape, and can chance or something other than a wave explain it?

The test behind the verdict of `analysis.diagnose` in two dimensions: the shape of `analysis.direction.shapes`, its
test of direction as in `analysis.direction.plane`, and the doubts of `analysis.direction.doubts`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr
from scipy.stats import false_discovery_control

from analysis.direction.doubts import explained, place_p_value
from analysis.direction.pairs import effective_number, fitting_null, spectra, vector_null
from analysis.direction.plane import channels, main_axis
from analysis.direction.shapes import SHAPES, choose_shape
from analysis.fields.band import Band
from analysis.fields.field import Field
from analysis.fields.sensors import Sites
from analysis.fields.units import labelled

PLACE_DRAWS = 199  # permutations of the sensors


@dataclass(frozen=True)
class Motion:
    """What `motion_test` says of one channel; the texts there explain its numbers."""

    shape: str
    index: float
    sign: float
    angle: float
    centre_x: float
    centre_y: float
    p_direction: float
    p_place: float
    p_value: float
    effective_blocks: float
    wave_share: float
    modules_share: float
    axis: np.ndarray  # (2,)
    null_index: np.ndarray  # (draw,)

    @property
    def is_wave(self) -> bool:
        """Whether waves explain its lags better than two modules do."""
        return self.wave_share > self.modules_share


def moved(
    values: np.ndarray, dt: float, where: Sites, rng, *, draws: int, band, alpha: float, place_draws: int = PLACE_DRAWS
) -> Motion:
    """The test of one channel, values (trial, time, site)."""
    frequency, spectrum = spectra(values, dt, band)
    shape, modes = choose_shape(spectrum, frequency, values.shape[1], where, rng)
    vector, pairs = shape.vector, shape.pairs
    index = float(np.linalg.norm(vector))
    null_index = np.linalg.norm(vector_null(pairs, fitting_null(pairs), draws, rng), axis=1)
    p_direction, p_place = 1.0, np.nan
    if pairs.power.sum() > 0:
        p_direction = float((1 + np.sum(null_index >= index * (1 - 1e-9))) / (1 + draws))
    if p_direction < alpha:
        p_place = place_p_value(modes, where, place_draws, rng, enough=alpha)
    wave, modules = explained(modes, shape, where)
    return Motion(
        shape=shape.name,
        index=index,
        sign=float(np.sign(vector[0])) if shape.curved else np.nan,
        angle=np.nan if shape.curved else float(np.arctan2(vector[1], vector[0])),
        centre_x=float(shape.centre[0]),
        centre_y=float(shape.centre[1]),
        p_direction=p_direction,
        p_place=p_place,
        p_value=float(np.nanmax([p_direction, p_place])),
        effective_blocks=effective_number(np.abs(pairs.difference)),
        wave_share=wave,
        modules_share=modules,
        axis=main_axis(shape.plane),
        null_index=null_index,
    )


def motion_test(
    field: Field,
    *,
    seed: int | np.random.Generator = 0,
    draws: int = 999,
    band: Band | None = None,
    alpha: float = 0.05,
) -> xr.Dataset:
    """The shape of what moves, the size and sign of its direction index, and the p-values of what doubts it.

    ``p_value`` is the larger of ``p_direction`` (surrogates in which no direction is preferred) and ``p_place``
    (sensors that have changed places; NaN where the first has decided already), so that it holds its level under
    either null. ``wave_share`` and ``modules_share`` say how much of the strongest patterns a wave of this shape
    explains, and two modules that are active one after the other.
    """
    field.check_steps(4)
    rng, where = np.random.default_rng(seed), field.space.sensors(minimum=3)
    channel = [dim for dim in field.ordered.dims if dim == "channel"]
    shape_of = tuple(field.values.sizes[dim] for dim in channel)
    names = ("index", "sign", "angle", "centre_x", "centre_y", "p_direction", "p_place", "p_value", "effective_blocks")
    found = {name: np.full(shape_of, np.nan) for name in (*names, "wave_share", "modules_share")}
    code, axis = np.zeros(shape_of, dtype=np.int8), np.full((*shape_of, 2), np.nan)
    nulls = np.full((*shape_of, draws), np.nan)
    place_draws = max(draws, PLACE_DRAWS)
    for at, values in channels(field):
        one = moved(values, field.time.step, where, rng, draws=draws, band=band, alpha=alpha, place_draws=place_draws)
        for name in found:
            found[name][at] = getattr(one, name)
        code[at], axis[at], nulls[at] = SHAPES.index(one.shape), one.axis, one.null_index
    texts = {
        "index": "size of the direction index: how much more goes one way than the other",
        "sign": "of a curved wave: 1 outwards or counter-clockwise, -1 inwards or clockwise",
        "angle": "direction of a plane wave, counter-clockwise from +x, y up",
        "centre_x": "x of the centre of a curved wave",
        "centre_y": "y of the centre of a curved wave",
        "p_direction": "p-value against surrogates in which no direction is preferred",
        "p_place": "p-value against sensors that have changed places",
        "p_value": "p-value, the larger of both",
        "effective_blocks": "independent blocks that carry the difference of directions",
        "wave_share": "share of the strongest patterns that waves of this shape explain",
        "modules_share": "share of the strongest patterns that two modules, one after the other, explain",
    }
    units = {"angle": "rad", "centre_x": where.units, "centre_y": where.units}
    result = xr.Dataset(
        {name: (tuple(channel), found[name], labelled(units.get(name, "1"), text)) for name, text in texts.items()}
    )
    q = false_discovery_control(found["p_value"]) if channel else found["p_value"]
    result["q_value"] = (
        tuple(channel),
        q,
        labelled("1", "p-value adjusted for the false discovery rate over channels"),
    )
    flags = {"flag_values": list(range(len(SHAPES))), "flag_meanings": " ".join(SHAPES)}
    result["shape"] = (tuple(channel), code, labelled("1", "shape of the fronts") | flags)
    result["null_index"] = ((*channel, "draw"), nulls, labelled("1", "size of the direction index under the null"))
    result["axis"] = ((*channel, "component"), axis, labelled("1", "unit vector along the main axis of plane pairs"))
    if channel and "channel" in field.values.coords:
        result = result.assign_coords(channel=field.values.coords["channel"])
    return result
