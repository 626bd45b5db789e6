"""Distinguishing events from noise in cells of which each is the trace of one possible event.

    y_j = w_j x_j + σ ε_j,      x_j = 0 with probability 1 − π, else drawn from a law of amplitudes of scale a

None of π, a, the law and, where it is not given, σ is fitted: the probability of an event is its mean over their
posterior on a grid,

    P(event j | y) = Σ_θ p(θ | y) · π r_j / (1 − π + π r_j),      r_j = p(y_j | event, θ) / N(y_j; 0, σ²),

    p(θ | y) ∝ p(θ) Π_j N(y_j; 0, σ²) (1 − π + π r_j),            θ = (π, a, law, σ).

π has a Beta prior with most of its weight on few events, so that "every cell an event, no noise" does not weigh as
much as "no event, all noise", which explains a silent field equally well. a and σ have log-uniform priors.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import log_ndtr

RATE_PRIOR = (0.5, 16.0)  # Beta prior of the rate of events
_WIDTHS = (0.2, 0.5)  # laws N(a, (width·a)²) of the amplitude
_MISFIT = 0.02  # prior probability that amplitudes are negative although they are said not to be
_GRID = (10, 14)  # nodes of π and of a
_COARSE = (5, 6)  # the same, for a first estimate of σ
_FAINT = 2.0  # least scale of amplitudes that is considered, in standard deviations of the noise
_NEGLIGIBLE = -7.0  # nodes e⁻⁷ as probable as the best are left out
_ENOUGH = 8  # cells of nothing but noise from which it is first estimated
_MOST_NUMBERS = 2**21  # in one array, 16 MiB
_BINS = 15  # values are collected in bins of a width of 1/15 of them
UNDETERMINED = "the noise cannot be distinguished from events in this field; give `noise`"
_FREE = 0.5  # standard deviation of log σ from which noise counts as undetermined


@dataclass(frozen=True)
class Cells:
    """Values of the cells that events can reach, and of those that none can."""

    values: np.ndarray  # (n,)
    weights: np.ndarray  # (n,), trace of a unit event
    ways: np.ndarray  # (n,), number of inputs and onsets whose trace the cell may be
    beside: np.ndarray  # (m,), cells of nothing but noise


@dataclass(frozen=True)
class Judgement:
    """Probability of an event in each cell; the noise and its standard deviation, infinite if it is undetermined."""

    probability: np.ndarray
    noise: float
    noise_error: float


def judge(cells: Cells, noise: float | None, positive: bool) -> Judgement:
    """Return the probability that each cell holds an event, and the noise, which is estimated if it is None."""
    laws = _laws(positive)
    if noise is not None:
        nodes = _posterior(cells, np.array([noise]), laws, _GRID)
        return Judgement(_events(cells, nodes, laws), noise, 0.0)
    everything = np.concatenate([cells.values, cells.beside])
    least = np.log(_resolution(everything) + 1e-300)
    if cells.beside.size >= _ENOUGH:
        mean, spread = max(np.log(np.median(np.abs(cells.beside)) / 0.6745 + 1e-300), least), 0.0
    else:
        span = np.linspace(-8, 0.3, 15)  # of log σ, about that of the rms
        wide = np.maximum(span + 0.5 * np.log(np.mean(everything**2)), least)
        mean, spread = _noise_of(_posterior(cells, np.exp(wide), laws, _COARSE))
    span = max(2.5 * spread, 0.7) * np.linspace(-1, 1, 11)  # then ever closer about its mean
    mean, spread = _noise_of(_posterior(cells, np.exp(np.maximum(mean + span, least)), laws, _COARSE))
    span = max(2.2 * spread, 1.6 / np.sqrt(everything.size)) * np.linspace(-1, 1, 5)
    nodes = _posterior(cells, np.exp(np.maximum(mean + span, least)), laws, _GRID)
    mean, spread = _noise_of(nodes)
    level = float(np.exp(mean))
    return Judgement(_events(cells, nodes, laws), level, level * spread if spread < _FREE else float("inf"))


def _resolution(values):
    """Half the step of values that are multiples of one, of either sign, as those of a converter; else 0.

    Of such values many are zero: they must not be taken for cells without noise among events.
    """
    size = np.abs(values[values != 0])
    distinct = np.unique(size)
    if 2 * distinct.size > size.size:
        return 0.0
    either_sign = (values == distinct[0]).any() and (values == -distinct[0]).any()
    return distinct[0] / 2 if either_sign else 0.0


# ---- the posterior of θ on a grid ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Nodes:
    """Nodes (σ, law, a) of the grid, and the posterior probability of each with each π, (nodes, rates)."""

    noise: np.ndarray
    law: np.ndarray  # its number
    scale: np.ndarray
    rate: np.ndarray
    probability: np.ndarray


def _laws(positive):
    """Laws of the amplitude and their prior probabilities, each a function (y, w, a, σ) → log p(y | event)."""
    narrow, wide = (_one_sided(width) for width in _WIDTHS)
    if positive:
        kept = 1 - _MISFIT
        return [(narrow, 0.45 * kept), (wide, 0.4 * kept), (_half_normal, 0.15 * kept), (_normal, _MISFIT)]
    one_sided = [(law, 0.1) for law in (narrow, _mirrored(narrow), wide, _mirrored(wide))]
    return [*one_sided, (_two_sided, 0.45), (_normal, 0.15)]


def _posterior(cells: Cells, noises, laws, grid) -> _Nodes:
    """Work out the posterior on a grid of σ × law × a × π."""
    rates, scales = grid
    y, w, ways, count = _binned(cells)
    rate, prior = _rate_nodes(rates, cells.values.size)
    odds = np.expm1(-np.log1p(-rate)[:, None] * ways)  # of an event in a bin, (rates, bins)
    empty = np.log1p(-rate) * (ways @ count)
    energy = np.sum(cells.values**2) + np.sum(cells.beside**2)
    size = cells.values.size + cells.beside.size
    silent = -size * np.log(noises) - 0.5 * energy / noises**2
    largest, typical = np.abs(y / w).max(), np.median(np.abs(cells.weights))
    low = np.log(np.minimum(_FAINT * noises / typical, 0.7 * largest))
    scale = np.exp(low[:, None] + (np.log(1.2 * largest) - low)[:, None] * np.linspace(0, 1, scales))
    log_p = np.empty((noises.size, len(laws), scales, rates))
    at_once = max(1, _MOST_NUMBERS // (scales * rates * y.size))
    for k in range(0, noises.size, at_once):
        part = slice(k, k + at_once)
        noise, a = noises[part, None, None], scale[part, :, None]
        background = -0.5 * (y / noise) ** 2 - np.log(noise)
        for l, (law, weight) in enumerate(laws):
            ratio = law(y, w, a, noise) - background  # log r, (σ, scales, bins)
            beyond = np.maximum(ratio - 600, 0)  # where r would overflow, log(1 + odds·r) is log r as well
            events = np.log1p(odds * np.exp(ratio - beyond)[:, :, None]) @ count + (beyond @ count)[:, :, None]
            log_p[part, l] = silent[part, None, None] + events + (np.log(weight) + empty + prior)
    log_p -= log_p.max()
    k, l, s = np.nonzero(log_p.max(axis=3) > _NEGLIGIBLE)
    probability = np.exp(log_p[k, l, s])
    return _Nodes(noises[k], l, scale[k, s], rate, probability / probability.sum())


def _rate_nodes(count, candidates):
    """Nodes of π, evenly spaced in its logit, and their log prior."""
    logit = np.linspace(np.log(0.2 / (candidates + 1)), 4.0, count)
    rate = 1 / (1 + np.exp(-logit))
    log_prior = RATE_PRIOR[0] * np.log(rate) + RATE_PRIOR[1] * np.log1p(-rate)  # the density of the logit
    return rate, log_prior - np.logaddexp.reduce(log_prior)


def _binned(cells: Cells):
    """Values, weights, ways and counts of cells, those of nearly the same value and weight collected in bins."""
    y, w, ways = cells.values, cells.weights, cells.ways
    near_zero = 0.5 * np.median(np.abs(y)) + 1e-300
    parts = [np.arcsinh(y / near_zero) * _BINS, np.log(np.abs(w)) * _BINS, np.sign(w), ways]
    key = np.zeros(y.size, np.int64)
    for part in parts:
        number = np.rint(part).astype(np.int64)
        key = key * (np.ptp(number) + 1) + number - number.min()
    _, at, count = np.unique(key, return_inverse=True, return_counts=True)
    return *(np.bincount(at, of) / count for of in (y, w, ways)), count.astype(float)


def _noise_of(nodes: _Nodes):
    """Mean and standard deviation of log σ."""
    log_noise, probability = np.log(nodes.noise), nodes.probability.sum(axis=1)
    mean = probability @ log_noise
    return mean, float(np.sqrt(probability @ (log_noise - mean) ** 2))


def _events(cells: Cells, nodes: _Nodes, laws):
    """Posterior probability that each cell holds an event."""
    probability = np.zeros(cells.values.size)
    large = np.flatnonzero(np.abs(cells.values) > nodes.noise.min())  # a smaller value is no sign of an event
    at_once = max(1, _MOST_NUMBERS // nodes.probability.size)
    for cell in (large[k : k + at_once] for k in range(0, large.size, at_once)):
        y, w = cells.values[cell], cells.weights[cell]
        odds = np.expm1(-np.log1p(-nodes.rate)[:, None] * cells.ways[cell])  # (rates, cells)
        for l, (law, _) in enumerate(laws):
            of_law = nodes.law == l
            noise, a = nodes.noise[of_law, None], nodes.scale[of_law, None]
            ratio = law(y, w, a, noise) + 0.5 * (y / noise) ** 2 + np.log(noise)  # log r, (nodes, cells)
            likely = 1 / (1 + np.exp(-np.clip(ratio, -600, 600))[:, None] / odds)  # (nodes, rates, cells)
            probability[cell] += np.einsum("kr,krj->j", nodes.probability[of_law], likely)
    return probability


# ---- laws of the amplitude ----------------------------------------------------------------------------------------


def _one_sided(width):
    """N(a, (width·a)²)."""

    def law(y, w, a, noise):
        return _log_normal(y - w * a, noise**2 + (w * width * a) ** 2)

    return law


def _two_sided(y, w, a, noise):
    """N(±a, (0.35·a)²), either sign equally likely."""
    variance = noise**2 + (0.35 * w * a) ** 2
    return np.logaddexp(_log_normal(y - w * a, variance), _log_normal(y + w * a, variance)) - np.log(2)


def _mirrored(law):
    """The law of the negative amplitude."""

    def mirrored(y, w, a, noise):
        return law(-y, w, a, noise)

    return mirrored


def _normal(y, w, a, noise):
    """N(0, a²)."""
    return _log_normal(y, noise**2 + (w * a) ** 2)


def _half_normal(y, w, a, noise):
    """N(0, a²) given that the amplitude is positive."""
    variance = noise**2 + (w * a) ** 2
    return np.log(2) + _log_normal(y, variance) + log_ndtr(y * w * a / (noise * np.sqrt(variance)))


def _log_normal(deviation, variance):
    """Log density of N(0, variance), less ½ log 2π."""
    return -0.5 * (deviation**2 / variance + np.log(variance))
