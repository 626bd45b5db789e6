"""Decoding a dense drive of either sign: least squares with a Gaussian prior on every amplitude.

    x ~ N(0, τ²),   y ~ N(F x, σ²):      E x = (FᵀF + ρ1)⁻¹ Fᵀ y,   Cov x = σ² (FᵀF + ρ1)⁻¹,   ρ = σ²/τ²

τ, and σ where it is not known, are those that make the snapshot most probable (MacKay, Neural Computation 4, 415).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import ndtr

from wavefield.decoding.events import Events, joined
from wavefield.decoding.inverse.problem import InverseProblem, flattened
from wavefield.decoding.request import Request

_STANDS_OUT = 2.0  # standard deviations from zero at which an amplitude is listed


@dataclass(frozen=True)
class DenseReader:
    """Reads the amplitudes that stand out from their uncertainty."""

    problem: InverseProblem
    positive: bool = False

    @classmethod
    def of(cls, request: Request, progress=None) -> DenseReader:
        """Work out the design; `progress` is not needed here."""
        return cls(InverseProblem.of(request, signed=not request.nonnegative), request.nonnegative)

    def read(self, now, before, noise) -> Events:
        """Return the events of one snapshot, levels (rings, N)."""
        events = decode_tikhonov(self.problem.blocks, flattened(now, before), noise)
        if self.positive:
            events = events.nonnegative()
        facts = {"method": "tikhonov"} | self.problem.facts | events.facts
        return replace(events, facts=facts, warnings=self.problem.warnings + events.warnings)


def decode_tikhonov(blocks, snapshot, noise) -> Events:
    """Return the amplitudes of a snapshot (R,) that stand out from their uncertainty."""
    if any(block.columns is None for block, _, _ in blocks):
        raise ValueError("method='tikhonov' writes the design out, which is too large here; look back less (`horizon`)")
    factored = {}
    for block, _, _ in blocks:
        if id(block) not in factored:
            factored[id(block)] = np.linalg.svd(block.columns.matrix, full_matrices=False)
    seen = [(factored[id(block)][1], factored[id(block)][0].T @ snapshot[rows]) for block, rows, _ in blocks]
    outside = sum((snapshot[rows] ** 2).sum() for _, rows, _ in blocks) - sum((u**2).sum() for _, u in seen)
    unseen = sum(rows.size for _, rows, _ in blocks) - sum(u.size for _, u in seen)
    scale = max(np.abs(snapshot).max(initial=0), 1e-300)
    variance, spread = most_probable(seen, max(outside, 0.0), unseen, noise, scale)
    tables = []
    for (block, _, inputs), (s, u) in zip(blocks, seen, strict=True):
        vt = factored[id(block)][2]
        kept = s / (s**2 + variance / spread)
        x = vt.T @ (kept * u)
        known = np.einsum("kn,k,kn->n", vt, s**2 / (s**2 + variance / spread), vt)
        error = np.sqrt(spread * np.maximum(1 - known, 0))
        tables.append(_rows(block, inputs, x, np.maximum(error, 1e-15 * np.sqrt(spread))))
    return joined(
        tables, {"noise": float(np.sqrt(variance)), "noise_error": 0.0, "residual": float(np.sqrt(variance))}, []
    )


def most_probable(seen, outside, unseen, noise, scale, spectrum=None):
    """Noise variance and variance of the amplitudes of largest evidence.

    `seen` holds the singular values and the coordinates of the snapshot along them, of every part; `outside` is the
    power of the `unseen` coordinates that no amplitude reaches; `scale` is the largest value of the snapshot. Where
    what is seen are not all singular values, `spectrum` holds values and how many of all each stands for.
    """
    s2 = np.concatenate([s**2 for s, _ in seen])
    u2 = np.concatenate([u**2 for _, u in seen])
    count = u2.size + unseen
    all2, weight = (s2, np.ones(s2.size)) if spectrum is None else (spectrum[0] ** 2, spectrum[1])

    def at(log_ratio):
        """Return the noise variance that fits best with τ² = σ²·e^{log_ratio}, and minus the log evidence."""
        growth = 1 + np.exp(log_ratio) * s2
        total = (u2 / growth).sum() + outside
        variance = noise**2 if noise else max(total / count, 1e-30 * scale**2)
        volume = weight @ np.log(1 + np.exp(log_ratio) * all2)
        return variance, 0.5 * (total / variance + volume + count * np.log(variance))

    best = minimize_scalar(lambda z: at(z)[1], bounds=(-20, 60), method="bounded")
    variance = at(best.x)[0]
    return variance, variance * np.exp(best.x)


def _rows(block, inputs, x, error):
    listed = np.flatnonzero(np.abs(x) > _STANDS_OUT * error)
    certain = ndtr(np.abs(x[listed]) / error[listed])
    return block.rows(inputs, listed, x[listed], error[listed], certain, np.zeros(listed.size, np.int64))
