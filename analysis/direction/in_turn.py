"""Are there different waves in a plane one after the other? `analysis.direction.motion`, stretch by stretch."""

from __future__ import annotations

import numpy as np
import xarray as xr

from analysis.direction.motion import Motion, moved
from analysis.direction.plane import channels
from analysis.fields.band import Band
from analysis.fields.field import Field
from analysis.fields.units import labelled

MOVES = ("none", "travelling", "rotating", "expanding", "converging")
STRETCHES = (4, 2)  # equal ones; the first number that leaves each of them …
SHORTEST = 64  # … so many samples is taken
FINE = 50  # surrogates times alpha, at least
TURNED = np.radians(60)  # plane waves whose directions differ by less are the same


def in_turn(
    field: Field,
    *,
    seed: int | np.random.Generator = 0,
    draws: int = 999,
    band: Band | None = None,
    alpha: float = 0.05,
) -> xr.Dataset:
    """What moves in each stretch of the record, and whether stretches differ.

    Each stretch is tested at half of `alpha`, so that chance finds two different ones in 0.4 % of records at 0.05: with
    four stretches 6 (α/2)². ``in_turn`` (a count in `MOVES`) and ``in_turn_angle`` over the
    dim ``stretch`` with its ``stretch_start``; ``changes`` is True where two stretches have different waves. A record
    of fewer than twice `SHORTEST` samples is one stretch.
    """
    rng, where = np.random.default_rng(seed), field.space.sensors(minimum=3)
    steps = field.time.size
    count = next((n for n in STRETCHES if steps // n >= SHORTEST), 0)
    channel = [dim for dim in field.ordered.dims if dim == "channel"]
    shape = tuple(field.values.sizes[dim] for dim in channel)
    code, angle = np.zeros((*shape, count), dtype=np.int8), np.full((*shape, count), np.nan)
    changes = np.zeros(shape, dtype=bool)
    starts = np.arange(count) * (steps // max(count, 1))
    draws = max(draws, int(np.ceil(FINE / alpha)))  # few would leave the decision to chance
    for at, values in channels(field):
        found = [
            moved(
                values[:, start : start + steps // count], field.time.step, where, rng,
                draws=draws, band=band, alpha=alpha / 2,
            )
            for start in starts
        ]  # fmt: skip
        found = [one if one.p_value < alpha / 2 and one.is_wave else None for one in found]
        code[at] = [MOVES.index(move(one)) for one in found]
        angle[at] = [np.nan if one is None else one.angle for one in found]
        changes[at] = any(_differ(one, other) for one in found for other in found)
    text = "direction of a plane wave in this stretch, counter-clockwise from +x, y up"
    flags = {"flag_values": list(range(len(MOVES))), "flag_meanings": " ".join(MOVES)}
    start = ("stretch", field.time.values[starts], labelled(field.time.units, "first sample of the stretch"))
    return xr.Dataset(
        {
            "in_turn": ((*channel, "stretch"), code, labelled("1", "what moves in this stretch") | flags),
            "in_turn_angle": ((*channel, "stretch"), angle, labelled("rad", text)),
            "changes": (tuple(channel), changes, labelled("1", "whether stretches have different waves")),
        },
        {"stretch_start": start},
    )


def move(one: Motion | None) -> str:
    """The word of `MOVES` for what was found to move."""
    if one is None:
        return "none"
    if one.shape == "plane":
        return "travelling"
    if one.shape == "arms":
        return "rotating"
    return "expanding" if one.sign > 0 else "converging"


def _differ(one: Motion | None, other: Motion | None) -> bool:
    if one is None or other is None:
        return False
    if one.shape != other.shape:
        return True
    if one.shape == "plane":
        return bool(abs(np.angle(np.exp(1j * (one.angle - other.angle)))) > TURNED)
    return one.sign != other.sign
