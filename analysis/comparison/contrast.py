"""Two sides on common axes, property by property: distance, p-value, effect with its interval, and what they say."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import false_discovery_control, wasserstein_distance

from analysis.comparison.common_axes import POWERS
from analysis.comparison.distances import Pair, quantiles, weighted_median
from analysis.similarity import cka, dsa, rsa

FEATURES = (
    "speed",
    "wavelength",
    "frequency",
    "direction",
    "travelling_index",
    "directionality",
    "wave_present",
    "event_rate",
    "event_duration",
)
VERDICTS = ("agrees", "differs", "undecided", "not measured")
MARGINS = {"ratio": 1.1, "difference": 0.1, "angle": np.pi / 6}
ROWS = 64  # times that CKA, RSA and DSA need at least
FEWEST = 4  # values of a property on either side


@dataclass(frozen=True)
class Criteria:
    """By what two sides are judged: margins of agreement by kind of effect, level, confidence, random draws."""

    margins: dict[str, float]
    alpha: float = 0.05
    confidence: float = 0.95
    draws: int = 999
    seed: int = 0  # of the starts of DSA


@dataclass(frozen=True)
class Side:
    """What is known of one recording on the common axes, stretch by stretch."""

    name: str
    values: dict  # property: (stretch,), direction: (stretch, 2)
    unit: np.ndarray  # (stretch,)
    spectra: np.ndarray  # (stretch, φ, κ)
    rows: np.ndarray  # (time, sensor), PER_CYCLE samples per cycle


def contrast(side: Side, target: Side, by: Criteria, rng: np.random.Generator, *, similarity: bool) -> dict:
    """Everything between two sides: arrays over the properties, and single numbers."""
    rows = [_feature(name, side, target, rng, by) for name in FEATURES]
    columns = {key: np.array([row[key] for row in rows]) for key in rows[0]}
    known = np.isfinite(columns["p_value"])
    q = np.full(len(rows), np.nan)
    if known.any():
        q[known] = false_discovery_control(columns["p_value"][known])
    columns["q_value"] = q
    columns["verdict_code"] = _verdicts(columns, by)
    distance = dict.fromkeys(("spectrum_distance", "spectrum_low", "spectrum_high", "spectrum_p_value"), np.nan)
    kept, others = (part.spectra.sum(axis=(1, 2)) > 0 for part in (side, target))
    if min(len(np.unique(side.unit[kept])), len(np.unique(target.unit[others]))) >= 2:
        pair = Pair(side.spectra[kept], target.spectra[others], side.unit[kept], target.unit[others], overlap=True)
        low, high = pair.interval(pair.weights(by.draws, rng), by.confidence)
        distance = dict(zip(distance, (pair.distance(), low, high, pair.p_value(by.draws, rng)), strict=True))
    alike = dict.fromkeys(("cka", "rsa", "dsa"), np.nan)
    count = min(len(side.rows), len(target.rows))
    if similarity and count >= ROWS:
        one, other = side.rows[:count], target.rows[:count]
        alike = {"cka": cka(one, other), "rsa": rsa(one, other), "dsa": dsa(one, other, seed=by.seed)}
    return {**columns, **distance, **alike}


def _feature(name, side, target, rng, by: Criteria):
    """Distance, p-value and effect of one property."""
    kind = _kind(name)
    row = dict.fromkeys(
        ("energy", "energy_low", "energy_high", "p_value", "effect", "effect_low", "effect_high", "wasserstein"), np.nan
    )
    row |= {"median": np.nan, "recording_median": np.nan, "stretches": 0, "recording_stretches": 0, "kind": kind}
    if name not in side.values or name not in target.values:
        return row
    x, y = side.values[name], target.values[name]
    keep_x, keep_y = (np.isfinite(values).all(axis=tuple(range(1, values.ndim))) for values in (x, y))
    x, y = x[keep_x], y[keep_y]
    row |= {"stretches": len(x), "recording_stretches": len(y)}
    if x.ndim == 1:
        row |= {key: np.median(v) if len(v) else np.nan for key, v in (("median", x), ("recording_median", y))}
    if min(len(x), len(y)) < FEWEST:
        return row
    logarithmic = name in POWERS and name != "event_rate"
    compared = (np.log(x), np.log(y)) if logarithmic else (x, y)
    pair = Pair(*compared, side.unit[keep_x], target.unit[keep_y])
    if min(pair.units) < 2:
        return row
    weights = pair.weights(by.draws, rng)
    low, high = pair.interval(weights, by.confidence)
    row |= {"energy": pair.distance(), "energy_low": low, "energy_high": high, "p_value": pair.p_value(by.draws, rng)}
    row |= _effect(name, x, y, pair, weights, by.confidence)
    if x.ndim == 1:
        row["wasserstein"] = wasserstein_distance(x, y)
    return row


def _kind(name):
    return "angle" if name == "direction" else "ratio" if name in POWERS else "difference"


def _effect(name, x, y, pair, weights, confidence):
    """Centre of x over, or minus, that of y, or the angle between them, with its bootstrap interval."""
    once = (np.ones((1, pair.units[0])), np.ones((1, pair.units[1])))
    centres = []
    for drawn in (once, weights):
        rows = drawn[0][:, pair.unit_x], drawn[1][:, pair.unit_y]
        centres.append([_centre(name, values, w) for values, w in zip((x, y), rows, strict=True)])
    (estimate,), drawn = _contrast(name, *centres[0]), _contrast(name, *centres[1])
    drawn = drawn[np.isfinite(drawn)]
    if not np.isfinite(estimate) or not drawn.size:
        return {}
    low, high = quantiles(drawn, confidence)
    return {"effect": float(estimate), "effect_low": low, "effect_high": high}


def _centre(name, values, weights):
    """Median of each bootstrap sample; the mean of vectors, shares and counts."""
    if name in ("direction", "wave_present", "event_rate"):
        return (weights @ values) / (weights.sum(axis=1) if values.ndim == 1 else weights.sum(axis=1)[:, None])
    return weighted_median(values, weights)


def _contrast(name, one, other):
    kind = _kind(name)
    if kind == "ratio":
        return np.divide(one, other, out=np.full_like(one, np.nan), where=other != 0)
    if kind == "difference":
        return one - other
    cross, along = one[:, 0] * other[:, 1] - one[:, 1] * other[:, 0], np.sum(one * other, axis=1)
    angle = np.abs(np.arctan2(cross, along))
    return np.where((cross == 0) & (along == 0), np.nan, angle)  # as many this way as that: no direction to compare


def _verdicts(columns, by: Criteria):
    low, high = columns["effect_low"], columns["effect_high"]
    bound = np.array([by.margins[kind] for kind in columns["kind"]])
    lowest = np.where(columns["kind"] == "ratio", 1 / bound, -bound)
    inside = (low >= lowest) & (high <= bound)
    code = np.where(columns["q_value"] < by.alpha, VERDICTS.index("differs"), VERDICTS.index("undecided"))
    code = np.where(inside, VERDICTS.index("agrees"), code)
    return np.where(np.isfinite(columns["p_value"]), code, VERDICTS.index("not measured"))
