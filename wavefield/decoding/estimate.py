"""Speed and damping estimated together with the events.

Given the onsets S of the events, amplitudes and noise integrate out as they do where the law is known, and leave

    p(θ, S | y) ∝ p(y | S, θ) p(S) p(θ),      θ = (speed, damping) or one of them, uniform between its bounds.

In θ this is smooth while S stays the same, and S changes by jumps: an event that came earlier in a slower medium leaves
nearly the same trace. So the speeds between the bounds are tried one after the other, the best supports are kept, θ is
improved for each of them by turns with S (Nelder and Mead's method, `scipy.optimize.minimize`), and the posterior is
the sum over the supports found, each on a grid of θ about its best and under the mean and spread of its own amplitudes:
under those of the best, supports of more and weaker events would count for too little. An interval is the span of the
values of highest posterior density that hold 95 % of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product

import numpy as np
from scipy.optimize import minimize

from wavefield.decoding.inverse.columns import Columns
from wavefield.decoding.inverse.problem import flattened
from wavefield.decoding.parameters import NAMES, Family
from wavefield.decoding.request import Request
from wavefield.decoding.sparse.posterior import Beside, Explanation, Posterior
from wavefield.decoding.sparse.reader import FLOOR, SparseReader, forward_map, prior_of

COVERED = 0.95  # of the posterior, by an interval
_MOST_TRIED = 41  # speeds tried
_DAMPINGS = np.array([0.05, 0.15, 0.4])  # dampings tried, from the lowest to the highest bound
_TRIALS_TRIED = 4  # snapshots they are tried on, those of largest norm
_KEPT = 4  # speeds for which dampings are tried
_FOLLOWED = 12  # supports that are followed up
_TURNS = 4  # of θ and S
_FAR = 15.0  # logarithms by which a support falls short that is not followed further
_NODES = {1: 41, 2: 13}  # of the grid along each parameter, by the number of parameters
_REACH = 4.5  # standard deviations that the grid reaches
_NEGLIGIBLE = 1e-3  # weight of a support that is left out
_FINE = 401  # points at which a marginal density is looked at


@dataclass(frozen=True, eq=False)
class Estimate:
    """Parameters by name: values, intervals and bounds; and the operators that come into question, by probability."""

    values: dict
    intervals: dict
    bounds: dict
    operators: list  # of (probability, operator), the most probable first

    @property
    def warnings(self) -> list[str]:
        """What is to be said about parameters that the snapshot leaves open."""
        remarks = []
        for name, (low, high) in self.bounds.items():
            lower, upper = self.intervals[name]
            if upper - lower > 0.8 * (high - low):
                remarks.append(f"the snapshot does not determine the {name} between {low:.3g} and {high:.3g}")
        if self.operators[0][0] < COVERED:
            remarks.append(
                "other onsets together with another speed or damping explain the snapshot about as well, which the "
                "intervals and confidences take into account"
            )
        return remarks


def asked_for(estimate, request: Request, method: str) -> tuple[Family, dict]:
    """Return the family of the operator and bounds by name of what is to be estimated; refuse what cannot be."""
    if isinstance(estimate, str):
        estimate = (estimate,)
    if not isinstance(estimate, (Mapping, Sequence)) or not estimate:
        raise TypeError(f"estimate must be names out of {', '.join(NAMES)}, or bounds by name, got {estimate!r}")
    if unknown := [name for name in estimate if name not in NAMES]:
        raise ValueError(f"estimate must be names out of {', '.join(NAMES)}, got {', '.join(map(repr, unknown))}")
    if method not in ("auto", "sparse"):
        raise ValueError(f"estimate needs few events, method 'auto' or 'sparse', got {method!r}")
    family = Family.of(request.operator)
    if family is None:
        raise ValueError(
            "estimate: a speed and a damping have operators that `transport` or `wave` makes, of one speed for all "
            f"rings; this one has neither: {request.operator!r}"
        )
    bounds = {}
    for name in estimate:
        low, high = family.bounds(name, request.horizon)
        given = estimate[name] if isinstance(estimate, Mapping) else None
        if given is not None:
            low, high = _checked_bounds(name, given, family)
        bounds[name] = (float(low), float(high))
    return family, bounds


def estimated(request: Request, family: Family, bounds: dict, progress: Callable) -> Estimate:
    """Estimate the parameters between their bounds, from all snapshots of a request together."""
    fit = _Fit(request, family, bounds)
    found: dict = {}  # by supports: them, θ and the score
    for theta, supports in progress(fit.starts(progress), "supports"):
        fit.follow(theta, supports, found)
    fit.follow_speeds(found)
    # each under the amplitudes that it has itself: those of the best would speak against all supports unlike it
    weighed_alike = [(fit.with_own_priors(supports, theta), theta) for supports, theta, _ in found.values()]
    scores = [fit.score(theta, supports) for supports, theta in weighed_alike]
    modes = [
        _Mode.of(fit, supports, theta)
        for (supports, theta), score in zip(weighed_alike, scores, strict=True)
        if score > max(scores) - _FAR
    ]
    modes = [mode for mode in modes if np.isfinite(mode.log_mass)]
    mass = np.exp([mode.log_mass - max(m.log_mass for m in modes) for mode in modes])
    weighed = sorted(zip(mass / mass.sum(), modes, strict=True), key=lambda pair: -pair[0])
    weighed = [pair for pair in weighed if pair[0] > _NEGLIGIBLE]
    names, first = list(bounds), weighed[0][1]
    return Estimate(
        {name: float(first.theta[k]) for k, name in enumerate(names)},
        {name: _interval(weighed, k) for k, name in enumerate(names)},
        bounds,
        [(weight, family.at(**dict(zip(names, mode.theta, strict=True)))) for weight, mode in weighed],
    )


def _score(mode):
    return mode[2]


def _checked_bounds(name, given, family):
    try:
        low, high = (float(value) for value in given)
    except (TypeError, ValueError):
        raise TypeError(f"estimate: bounds of {name} must be a pair (lowest, highest), got {given!r}") from None
    if name == "speed":
        least, most = (0.0, family.fastest) if family.speed > 0 else (-family.fastest, 0.0)
    else:
        least, most = 0.0, 1.999 / family.operator.dt
    if not least <= low < high <= most * (1 + 1e-12) or low == high:
        raise ValueError(
            f"estimate: bounds of {name} must increase and lie between {least:g} and {most:g}, got ({low:g}, {high:g})"
        )
    if name == "speed" and 0 in (low, high):
        raise ValueError(f"estimate: bounds of speed must leave out 0, got ({low:g}, {high:g})")
    return low, min(high, most)


# ---- supports and their scores ------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Supports:
    """For each snapshot the onsets and inputs of its events, and the prior under which they were found."""

    places: tuple  # of (onsets, inputs)
    priors: tuple

    @property
    def key(self):
        return tuple(frozenset(zip(o.tolist(), i.tolist(), strict=True)) for o, i in self.places)

    @property
    def first(self) -> int:
        return min((int(onset.min()) for onset, _ in self.places if onset.size), default=0)

    def with_priors(self, priors) -> _Supports:
        return replace(self, priors=priors)


@dataclass(frozen=True, eq=False)
class _Fit:
    """What θ and S are judged by: the snapshots of a request, and the operators in question."""

    request: Request
    family: Family
    bounds: dict

    @cached_property
    def snapshots(self) -> list:
        """Snapshots (R,) that are not zero."""
        flat = [flattened(now, before) for now, before in self.request.snapshots]
        flat = [snapshot for snapshot in flat if snapshot.any()]
        if not flat:
            raise ValueError("estimate: the snapshot is zero, it says nothing about the speed or the damping")
        return flat

    def operator(self, theta):
        return self.family.at(**dict(zip(self.bounds, theta, strict=True)))

    def solved(self, theta, snapshots) -> _Supports:
        """Supports of the snapshots under one operator."""
        reader = SparseReader.of(replace(self.request, operator=self.operator(theta)))
        solutions = [reader.solve(snapshot, self.request.noise) for snapshot in snapshots]
        return _Supports(tuple(s.explained()[:2] for s in solutions), tuple(s.prior() for s in solutions))

    def score(self, theta, supports, snapshots=None) -> float:
        """log p(y | S, θ) p(S), up to a constant."""
        snapshots = self.snapshots if snapshots is None else snapshots
        request, first = self.request, supports.first
        inputs = request.encoder.shape[2]
        forward = forward_map(request, self.operator(theta), request.steps - first)
        numbers = [(onset - first) * inputs + which for onset, which in supports.places]
        every, at = np.unique(np.concatenate(numbers), return_inverse=True)
        columns = forward.columns(every) if every.size else np.zeros((snapshots[0].size, 0))
        total, candidates = 0.0, request.horizon * inputs
        cuts = np.cumsum([n.size for n in numbers])[:-1]
        for snapshot, own, prior in zip(snapshots, np.split(at, cuts), supports.priors, strict=True):
            beside = None if request.noise is not None else Beside(snapshot.size, 0.0, 1e-12 * (snapshot @ snapshot))
            posterior = Posterior(Columns(columns[:, own]), snapshot, prior, candidates=candidates, beside=beside)
            if own.size:
                total += Explanation(posterior, range(own.size)).score
            else:
                total += posterior.evidence(snapshot @ snapshot) + posterior.size_prior(0)
        return float(total)

    def with_own_priors(self, supports, theta) -> _Supports:
        """The supports with the mean and spread of their own amplitudes and the noise that they leave."""
        inputs, forward = self.request.encoder.shape[2], None
        priors = []
        for snapshot, (onset, which), prior in zip(self.snapshots, supports.places, supports.priors, strict=True):
            if not onset.size:
                priors.append(prior)
                continue
            if forward is None:
                forward = forward_map(self.request, self.operator(theta), self.request.steps - supports.first)
            columns = forward.columns((onset - supports.first) * inputs + which)
            found = np.linalg.lstsq(columns, snapshot, rcond=None)[0]
            if prior.positive:
                found = np.maximum(found, 0)
            noise = prior.noise
            if self.request.noise is None:
                left = np.linalg.norm(snapshot - columns @ found) / np.sqrt(max(snapshot.size - onset.size, 1))
                noise = max(float(left), FLOOR * float(np.linalg.norm(snapshot)))
            priors.append(prior_of(found, noise, prior.positive) if found.any() else prior)
        return supports.with_priors(tuple(priors))

    def starts(self, progress) -> list:
        """Where to begin, pairs of θ and supports, best first: speeds are tried, for the best of them dampings."""
        snapshots = sorted(self.snapshots, key=np.linalg.norm)[-_TRIALS_TRIED:]
        tried = [np.array([np.clip(self.family.value(name), *self.bounds[name]) for name in self.bounds])]
        if "speed" in self.bounds:
            low, high = self.bounds["speed"]
            cells = min(self.request.horizon, self.request.encoder.shape[1])
            count = min(_MOST_TRIED, int(np.ceil(2 * abs(np.log(high / low)) * cells)) + 2)
            tried += self._varied(tried[0], "speed", np.geomspace(low, high, count))
        scored = [self._tried(theta, snapshots) for theta in progress(tried, "speeds")]
        if "damping" in self.bounds:
            low, high = self.bounds["damping"]
            best = sorted(scored, key=lambda entry: -entry[0])[:_KEPT]
            more = [v for _, _, theta in best for v in self._varied(theta, "damping", low + (high - low) * _DAMPINGS)]
            scored += [self._tried(theta, snapshots) for theta in progress(more, "dampings")]
        scored.sort(key=lambda entry: -entry[0])
        kept: dict = {}
        for _, key, theta in scored:
            kept.setdefault(key, theta)
        return [(theta, self.solved(theta, self.snapshots)) for theta in list(kept.values())[:_FOLLOWED]]

    def _varied(self, theta, name, values):
        """θ with other values of one parameter."""
        places = np.array(list(self.bounds)) == name
        return [np.where(places, value, theta) for value in values]

    def _tried(self, theta, snapshots):
        """Score, supports and θ."""
        supports = self.solved(theta, snapshots)
        return self.score(theta, supports, snapshots), supports.key, theta

    def follow(self, theta, supports, found: dict) -> None:
        """Improve θ and the supports by turns, and add to those found all that come up on the way."""
        for _ in range(_TURNS):
            if supports.key in found:
                break
            theta, score = self._climbed(theta, supports)
            found[supports.key] = supports, theta, score
            if score < max(map(_score, found.values())) - _FAR:
                break
            supports = self.solved(theta, self.snapshots)

    def follow_speeds(self, found: dict) -> None:
        """Add to the supports found those of the best of them at other speeds, its events as much older or younger."""
        if "speed" not in self.bounds:
            return
        supports, theta, score = max(found.values(), key=_score)
        place, last = list(self.bounds).index("speed"), self.request.steps - 1
        low, high = self.bounds["speed"]
        for speed in np.geomspace(low, high, _MOST_TRIED):
            ages = [(last - onset) * theta[place] / speed for onset, _ in supports.places]
            for rounded in (np.rint, np.floor, np.ceil):
                onsets = [last - rounded(age).astype(np.int64) for age in ages]
                if min((onset.min() for onset in onsets if onset.size), default=0) < last + 1 - self.request.horizon:
                    continue
                places = tuple((onset, which) for onset, (_, which) in zip(onsets, supports.places, strict=True))
                other = replace(supports, places=places)
                there = np.where(np.arange(len(theta)) == place, speed, theta)
                distinct = all(len(key) == onset.size for key, onset in zip(other.key, onsets, strict=True))
                if distinct and other.key not in found and self.score(there, other) > score - _FAR:
                    found[other.key] = other, *self._climbed(there, other)

    def _climbed(self, theta, supports):
        """θ of the largest score with the supports as they are, and the score."""
        low, high = np.transpose(list(self.bounds.values()))
        age = max(self.request.steps - supports.first, 2)
        step = {"speed": 0.25 * abs(self.family.speed) / age, "damping": 0.2 / (age * self.family.operator.dt)}
        simplex = np.repeat([theta], len(theta) + 1, axis=0)
        for k, name in enumerate(self.bounds):
            away = 1 if theta[k] + step[name] <= high[k] else -1
            simplex[k + 1, k] = np.clip(theta[k] + away * step[name], low[k], high[k])
        best = minimize(
            lambda at: -self.score(np.clip(at, low, high), supports),
            theta,
            method="Nelder-Mead",
            options={"initial_simplex": simplex, "xatol": 1e-3 * min(step.values()), "fatol": 1e-2, "maxfev": 100},
        )
        return np.clip(best.x, low, high), -float(best.fun)


# ---- the posterior around each support ----------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Mode:
    """The posterior of θ for one set of supports: its mass, and the density of each parameter on a grid."""

    theta: np.ndarray
    log_mass: float
    axes: list
    marginals: list  # densities whose integral is 1

    @classmethod
    def of(cls, fit: _Fit, supports: _Supports, theta) -> _Mode:
        nodes, best = _NODES[len(theta)], fit.score(theta, supports)
        low, high = np.transpose(list(fit.bounds.values()))
        deviation = _deviations(lambda at: best - fit.score(at, supports), theta, low, high)
        axes = [
            np.linspace(max(centre - _REACH * width, a), min(centre + _REACH * width, b), nodes)
            for centre, width, a, b in zip(theta, deviation, low, high, strict=True)
        ]
        scores = np.array([fit.score(np.array(at), supports) for at in product(*axes)]).reshape([nodes] * len(axes))
        density = np.exp(scores - scores.max())
        widths = [np.gradient(axis) for axis in axes]
        for width in widths:
            width[[0, -1]] /= 2
        mass = density * (widths[0] if len(axes) == 1 else np.multiply.outer(*widths))
        marginals = []
        for k, width in enumerate(widths):
            along = mass.sum(axis=tuple(set(range(len(axes))) - {k}))
            marginals.append(along / width / along.sum())
        return cls(np.asarray(theta), float(scores.max() + np.log(mass.sum())), axes, marginals)


def _deviations(loss, theta, low, high):
    """Standard deviation of each parameter, from how fast the log posterior falls; at most the width of the bounds."""
    count, range_ = len(theta), high - low
    sides = np.where(high - theta >= theta - low, 1.0, -1.0)  # towards the side with more room
    steps = np.empty(count)
    for k in range(count):
        step = 1e-6 * range_[k]
        while step < range_[k] / 2 and loss(_moved(theta, {k: sides[k] * step})) < 0.5:
            step *= 2
        steps[k] = step
    curvature = np.empty((count, count))
    for k in range(count):  # parabola through the best and two points on one side of it
        half, full = (loss(_moved(theta, {k: sides[k] * steps[k] * part})) for part in (0.5, 1.0))
        curvature[k, k] = max(4 * (full - 2 * half), 0.2 * full, 1e-3) / steps[k] ** 2
    if count == 2:
        both = loss(_moved(theta, {0: sides[0] * steps[0], 1: sides[1] * steps[1]}))
        alone = [loss(_moved(theta, {k: sides[k] * steps[k]})) for k in range(2)]
        mixed = sides.prod() * (both - sum(alone)) / steps.prod()
        most = 0.97 * np.sqrt(curvature[0, 0] * curvature[1, 1])
        curvature[0, 1] = curvature[1, 0] = np.clip(mixed, -most, most)
    return np.minimum(np.sqrt(np.diag(np.linalg.inv(curvature))), range_)


def _moved(theta, by):
    moved = np.array(theta, dtype=float)
    for k, step in by.items():
        moved[k] += step
    return moved


def _interval(weighed, k):
    """Span of the values of parameter k of highest density that hold `COVERED` of the posterior."""
    points = np.unique(np.concatenate([np.linspace(m.axes[k][0], m.axes[k][-1], _FINE) for _, m in weighed]))
    density = sum(w * np.interp(points, m.axes[k], m.marginals[k], left=0.0, right=0.0) for w, m in weighed)
    mass = density * np.gradient(points)
    order = np.argsort(-density)
    held = np.cumsum(mass[order])
    kept = order[: int(np.searchsorted(held, COVERED * held[-1])) + 1]
    return float(points[kept].min()), float(points[kept].max())
