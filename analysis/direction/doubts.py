"""What else gives lags between sensors: phases that know no place, and modules that are active one after the other.

Two fields prefer a direction at any level of the test of `analysis.direction.plane`, and yet nothing travels in them.

- *Fixed phases*: every sensor has a lag of its own, whatever its neighbours have. The flux

      J = Σ_ij a_ij Im Σ_b w_b v_j v̄_i

  over neighbours i, j at displacement d_ij, with v the strongest pattern of each block of frequencies, is as large
  when the patterns are dealt out to the sensors at random. The flux is taken along x and y (a = d_ij), out of every
  centre of a grid and around it, and the largest of all, in the data and in each permutation, is compared.
- *Modules*: two groups of sensors, each of one phase, the second some time after the first. Their step in phase is
  compared with the gradient of a wave: with amplitudes |v| as measured, the share of the pattern that either explains,

      R = |Σ |v|² e^{i(arg v + ψ)}| / Σ |v|²   (a wave),    R = (|Σ_A v|v|| + |Σ_B v|v||) / Σ |v|²   (modules),

  A and B the two sides of a straight cut, in whatever direction and place explains most, or the inside and the
  outside of a ring about the centre of a wave that is not plane.
"""

from __future__ import annotations

import numpy as np

from analysis.direction.shapes import Modes, Shape
from analysis.fields.sensors import Sites

CENTRES = 5  # along each axis: about those the flux is taken, too
CUTS = 12  # directions of cuts, over half a turn
FAINT = 0.03  # share of the largest weight below which a pattern adds less than a thousandth to a flux
STRONG = 0.5  # share of the largest weight at which a block's pattern counts, …
WEAK = 0.05  # … and of the largest power


def place_p_value(modes: Modes, where: Sites, draws: int, rng: np.random.Generator, *, enough: float = 1.0) -> float:
    """(1 + #{as large a flux when sensors change places})/(1 + draws), or as soon as it is certain to exceed `enough`.

    Where it stops early, the number of permutations until then stands for `draws`: the p-value of a sequential test
    (Besag and Clifford 1991, Biometrika 78).
    """
    # noise gives every block some pattern, and a steep slope beside a band-pass leaves one frequency to a block
    weight = modes.weight**2 * (modes.power / max(modes.power.max(initial=0.0), np.finfo(float).tiny)) ** 0.25
    rows = (modes.pattern * weight[:, None])[weight > FAINT * weight.max(initial=0.0)]
    if not len(rows) or not len(where.first):
        return 1.0
    arms = _arms(where)  # (flux, pair)

    def largest(order):
        turn = np.sum(rows[:, order[where.second]] * rows[:, order[where.first]].conj(), axis=0).imag
        flux = arms @ turn
        return max(np.hypot(flux[0], flux[1]), np.abs(flux[2:]).max())

    observed, extreme = largest(np.arange(where.count)), 0
    for done in range(1, draws + 1):
        extreme += largest(rng.permutation(where.count)) >= observed * (1 - 1e-9)
        if 1 + extreme > enough * (1 + draws):
            return (1 + extreme) / (1 + done)
    return (1 + extreme) / (1 + draws)


def _arms(where: Sites) -> np.ndarray:
    """What each pair of neighbours adds to the flux along x, along y, and out of and around every centre, scaled.

    Scaled so that independent pairs make every flux equally uncertain; the sign is that of the phase, which falls
    along a wave, and does not matter here.
    """
    along = where.displacement / np.maximum(np.linalg.norm(where.displacement, axis=1, keepdims=True), 1e-300)
    middle = where.position[where.first] + where.displacement / 2
    rows = [along[:, 0], along[:, 1]]
    low, high = where.position.min(axis=0), where.position.max(axis=0)
    for centre in np.stack(np.meshgrid(*np.linspace(low, high, CENTRES).T, indexing="ij"), axis=-1).reshape(-1, 2):
        away = where.shortest(middle - centre)
        away = away / np.maximum(np.linalg.norm(away, axis=1, keepdims=True), 1e-300)
        rows += [np.sum(along * away, axis=1), along[:, 1] * away[:, 0] - along[:, 0] * away[:, 1]]
    arms = np.array(rows)
    return arms / np.maximum(np.linalg.norm(arms, axis=1, keepdims=True), 1e-300)


def explained(modes: Modes, shape: Shape, where: Sites) -> tuple[float, float]:
    """Shares of the patterns that stand out which waves of the chosen shape explain, and which two modules do."""
    power = modes.power * modes.weight
    strong = (modes.weight > 0) & (modes.weight >= STRONG * modes.weight.max(initial=0.0))
    strong &= power >= WEAK * power[strong].max(initial=0.0)
    if not strong.any():
        return 0.0, 0.0
    rows = modes.pattern[np.ix_(strong, shape.sites)] * np.sqrt(power[strong])[:, None]
    place = where.position[shape.sites]
    place = place - place.mean(axis=0)
    orders = [np.argsort(place @ (np.cos(a), np.sin(a)), kind="stable") for a in np.pi * np.arange(CUTS) / CUTS]
    along = place
    if shape.curved:
        distance = np.linalg.norm(where.position[shape.sites] - shape.centre, axis=1)
        orders.append(np.argsort(distance, kind="stable"))
        along = distance[:, None]
    total = max(np.sum(np.abs(rows) ** 2), np.finfo(float).tiny)
    return _by_waves(rows, shape.turns[strong], along) / total, _by_modules(rows, orders) / total


def _by_modules(rows: np.ndarray, orders: list[np.ndarray]) -> float:
    """Most of the patterns (row, site) that two modules explain, the cut, after some site of an order, being shared."""
    doubled = rows * np.abs(rows)  # v|v|
    whole, best = doubled.sum(axis=1)[:, None], 0.0
    for order in orders:
        one = np.cumsum(doubled[:, order], axis=1)  # (row, cut)
        best = max(best, float(np.sum(np.abs(one) + np.abs(whole - one), axis=0).max()))
    return best


def _by_waves(rows: np.ndarray, turns: np.ndarray, along: np.ndarray) -> float:
    """What waves of phases `turns` (row, site), either way, explain of the patterns (row, site).

    `turns` come from a grid of wavelengths; what remains of the phase along `along` (site, D) is taken out of them.
    """
    return sum(max(_aligned(v, psi, along), _aligned(v, -psi, along)) for v, psi in zip(rows, turns, strict=True))


def _aligned(v, psi, x) -> float:
    """|Σ |v|² e^{i(arg v + ψ)}| with ψ moved along x by one step of weighted least squares, where that helps."""
    turned = v * np.abs(v) * np.exp(1j * psi)
    total, weight = turned.sum(), np.abs(turned)
    if not weight.sum() > 0:
        return 0.0
    rest, design = np.angle(turned * np.conj(total)), x - weight @ x / weight.sum()
    step = np.linalg.lstsq(design * np.sqrt(weight)[:, None], rest * np.sqrt(weight), rcond=None)[0]
    return float(max(np.abs(total), np.abs(np.sum(turned * np.exp(-1j * design @ step)))))
