"""Straight or curved fronts in a plane: the source that fits best, and the speed from the distance to it.

A plane fitted to a curved front gives the mean of its slowness, shorter than the slowness itself, and an interval that
knows nothing of that. Far from the source c, at distance R, the phase across the direction of travel is bent,

    ψ = 2πf s |x − c| ≈ 2πf ( s·x + ½ κ x⊥² ),    κ = s/R    (κ < 0: the wave runs together ahead).

κ is fitted to the phases of the strongest pattern of each block of frequencies. Where it stands out of its error, c is
fitted and the estimator runs again along the distance from c, on which the wave is a wave on a line. Where it does not,
the interval is widened by what κ may have hidden, ½ s (κ/s)² var(x⊥).

Rings about a point inside the array are read the same way; the speed then has no direction.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from analysis.direction.shapes import Modes, Shape
from analysis.fields.sensors import Sites
from analysis.velocity.result import Estimate

CURVED = 4.0  # standard errors by which the curvature must stand out
STRONG = 0.5  # share of the largest weight at which a block's pattern counts, …
WEAK = 0.05  # … and of the largest power
ROUNDS = 8
NEAREST = 0.1  # of the array's extent: a source that the fit brings nearer to the centre than that is none


def along_the_front(
    found: Estimate, again: Callable[[Sites], Estimate], shape: Shape, modes: Modes, where: Sites
) -> Estimate:
    """The estimate `found` of a plane wave, corrected where its front is curved; `again` measures on other sites."""
    if shape.name == "arms":
        return Estimate("curved", frequency=found.frequency)
    if shape.name == "rings":
        radial, (rows, frequency) = again(about(where, shape.centre)), _strong(modes)
        if radial.status == "ok" and radial.slowness is not None and radial.covariance is not None:
            size = float(np.abs(radial.slowness[0]))
            source = _source(rows, frequency, where, size, shape.centre, nearest=0.0)
            if source is not None:
                radial = again(about(where, source[0]))
                wider = source[1]
                radial = replace(radial, covariance=None if radial.covariance is None else radial.covariance * wider)
        return replace(radial, front_distance=0.0, delay=found.delay, r_squared=found.r_squared)
    if found.status != "ok" or found.slowness is None or found.covariance is None:
        return found
    rows, frequency = _strong(modes)
    if not len(rows) or where.closed.any():
        return found
    size = float(np.linalg.norm(found.slowness))
    ahead = found.slowness / size
    across = where.centred @ (-ahead[1], ahead[0])
    kappa, error = _curvature(rows, frequency, found.slowness, where.centred, across)
    if abs(kappa) > CURVED * error:
        source = _source(rows, frequency, where, size, where.position.mean(axis=0) - ahead * size / kappa)
        curved = None if source is None else _about_source(found, again, where, *source)
        if curved is not None:
            return curved
    hidden = 0.5 * kappa**2 / size * float(np.var(across))
    return replace(found, covariance=found.covariance + np.outer(ahead, ahead) * hidden**2)


def about(where: Sites, centre: np.ndarray) -> Sites:
    """The sensors on a line, their places the distances from a centre."""
    distance = np.linalg.norm(where.position - centre, axis=1)
    return replace(
        where,
        position=distance[:, None],
        displacement=(distance[where.second] - distance[where.first])[:, None],
        spacing=where.spacing[:1],
        period=np.full(1, np.inf),
    )


def _strong(modes: Modes) -> tuple[np.ndarray, np.ndarray]:
    """Patterns (row, site) of the blocks that stand out, as long as their power, and their frequencies."""
    power = modes.power * modes.weight
    strong = (modes.weight > 0) & (modes.weight >= STRONG * modes.weight.max(initial=0.0))
    strong &= power >= WEAK * power[strong].max(initial=0.0)
    return modes.pattern[strong] * np.sqrt(power[strong])[:, None], modes.frequency[strong]


def _residuals(rows, frequency, delay):
    """Phases (row, site) left by a wave that reaches the sensors after `delay`, and their weights |v|²."""
    turned = rows * np.exp(2j * np.pi * frequency[:, None] * delay)
    middle = np.sum(turned * np.abs(turned), axis=1, keepdims=True)
    return np.angle(turned * middle.conj()), np.abs(turned) ** 2


def _fit(rows, frequency, delay, slopes):
    """Changes of the parameters whose delays have these `slopes` (site, parameter), and their covariance.

    Weighted least squares of the phases left by `delay`, −2πf · slope · change, each row with a phase of its own.
    """
    rest, weight = _residuals(rows, frequency, delay)
    design = -2 * np.pi * frequency[:, None, None] * slopes  # (row, site, parameter)
    share = weight / weight.sum(axis=1, keepdims=True)
    design = design - np.einsum("rs,rsp->rp", share, design)[:, None]
    rest = rest - np.sum(share * rest, axis=1, keepdims=True)
    root = np.sqrt(weight).ravel()
    a, b = design.reshape(-1, slopes.shape[1]) * root[:, None], rest.ravel() * root
    inverse = np.linalg.pinv(a.T @ a)
    change = inverse @ a.T @ b
    freedom = max(1, b.size - len(rows) - slopes.shape[1])
    return change, inverse * float(np.sum((b - a @ change) ** 2)) / freedom


def _curvature(rows, frequency, slowness, place, across) -> tuple[float, float]:
    """κ and its standard error, the slowness free."""
    slopes = np.column_stack([place, 0.5 * across**2])
    change, covariance = _fit(rows, frequency, place @ slowness, slopes)
    return float(change[2]), float(np.sqrt(covariance[2, 2]))


def _source(rows, frequency, where: Sites, size, centre, *, nearest=NEAREST):
    """The source (2,), and by how much not knowing it widens the variance of the slowness.

    None where none fits, or only one nearer to the middle than `nearest` array lengths.
    """
    middle = where.position.mean(axis=0)
    sense = np.nan
    for _ in range(ROUNDS):
        offset = where.position - centre
        distance = np.linalg.norm(offset, axis=1)
        away = np.linalg.norm(middle - centre)
        if not np.isfinite(distance).all() or away < nearest * where.extent:
            return None
        if np.isnan(sense):
            sense = _sense(rows, frequency, distance, size)
        slopes = np.column_stack([distance, -sense * size * offset / np.maximum(distance, 1e-300)[:, None]])
        change, covariance = _fit(rows, frequency, sense * size * distance, slopes)
        size = sense * (sense * size + change[0])
        longest = 0.5 * max(away, where.spacing.max())
        step = change[1:] * min(1.0, longest / max(np.linalg.norm(change[1:]), 1e-300))
        centre = centre + step
        if size <= 0:
            return None
        if np.linalg.norm(step) < 1e-6 * where.extent:
            break
    alone = _fit(rows, frequency, sense * size * distance, slopes[:, :1])[1]
    wider = covariance[0, 0] / max(alone[0, 0], 1e-300)
    return centre, max(1.0, wider)


def _sense(rows, frequency, distance, size) -> float:
    """Whether the wave leaves a centre (1) or runs into it (−1), by what explains more."""

    def explained(sense):
        turned = rows * np.abs(rows) * np.exp(2j * np.pi * frequency[:, None] * sense * size * distance)
        return np.abs(turned.sum(axis=1)).sum()

    return 1.0 if explained(1.0) >= explained(-1.0) else -1.0


def _about_source(found, again, where, centre, wider) -> Estimate | None:
    """The estimate along the distance from a source outside, as a slowness at the middle of the array.

    None where it explains no more of the power than the plane wave `found`.
    """
    radial = again(about(where, centre))
    if radial.status != "ok" or radial.slowness is None or radial.covariance is None:
        return None
    better = radial.r_squared > found.r_squared if np.isfinite(found.r_squared) else radial.explained > found.explained
    if not better:  # where delays are fitted sensor by sensor, the share of their variance tells, not that of the power
        return None
    offset = where.position.mean(axis=0) - centre
    ahead = offset / np.linalg.norm(offset) * np.sign(radial.slowness[0])
    across = np.array([-ahead[1], ahead[0]])
    covariance = np.outer(ahead, ahead) * float(radial.covariance[0, 0]) * wider
    covariance += np.outer(across, across) * float(across @ found.covariance @ across)
    return replace(
        found,
        slowness=ahead * abs(float(radial.slowness[0])),
        covariance=covariance,
        explained=radial.explained,
        front_distance=float(np.linalg.norm(offset)),
    )
