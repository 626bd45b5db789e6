"""Which shape do the waves of a plane have: straight fronts, rings about a point, or arms that turn about one?

The pair of opposite waves of `analysis.direction.pairs` need not be plane. With any phase ψ(x),

    U(x) ≈ a cos ψ(x) + b sin ψ(x),    σ = −2 Im(a* b) / (|a|² + |b|²),

σ says how much more of the pair's power p goes along +∇ψ than against it. The shapes are

======================  =============================  ==========================================================
shape                   ψ                              σ > 0
======================  =============================  ==========================================================
``plane``               2πk·x                          the wave goes along k
``rings``               2πκ|x − c|                     rings leave c: the wave expands; σ < 0: it converges on c
``arms``                mθ + 2πκ|x − c|, m = 1, 2      the wave turns counter-clockwise about c; σ < 0: clockwise
======================  =============================  ==========================================================

with one centre c for all frequencies. The shape that holds most of the power is taken; about a centre outside the
array that is a plane wave, whose front may be curved (see `analysis.velocity.fronts`). Running time
backwards keeps p, so that neither the choice of the shape nor that of its centre and wavelength prefers a direction,
and the test of σ holds its level whichever shape was chosen.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from analysis.direction.pairs import (
    FINENESS,
    SHORTEST_AXIS,
    Pairs,
    fit_pairs,
    power_at,
    strongest_pairs,
    wavenumbers,
)
from analysis.fields.sensors import Sites

SHAPES = ("plane", "rings", "arms")
CENTRES = 7  # along each axis of the array, the edges included
AROUND, OUTSIDE = 12, (0.8, 1.2, 2.0)  # centres outside: angles, and distances from the middle in lengths of the array
HALVINGS = 3  # of the grid of centres about the best
GRID = np.array([(i, j) for i in (-1, 0, 1) for j in (-1, 0, 1) if i or j])
ARMS = (1, 2)
MOST_TURNS = 2.0  # wavelengths by which an arm of a spiral may run outwards over the array
MOST_SENSORS = 256  # of larger arrays that many are drawn
FEWEST_SENSORS = 9  # fewer do not tell a curved front from a straight one
NEGLIGIBLE = 0.02  # share of the strongest block's pattern below which others do not count
MOST_PATTERNS = 2**13  # of blocks; in long records of noise those that are strongest
GAIN = 0.02  # share of all power by which a curved shape must exceed the plane one


@dataclass(frozen=True)
class Modes:
    """What each block of frequencies has in common: its strongest pattern, and how far that stands out."""

    first: np.ndarray  # (block,) index of its first frequency
    frequency: np.ndarray  # (block,) mean frequency
    pattern: np.ndarray  # (block, site) complex, of length 1
    power: np.ndarray  # (block,) of the pattern
    weight: np.ndarray  # (block,) from 0 to 1: power of the strongest pattern less that of the next, over all


@dataclass(frozen=True)
class Shape:
    """The shape chosen and its pairs, and for its other properties the pairs of plane waves."""

    name: str
    pairs: Pairs
    plane: Pairs
    centre: np.ndarray  # (2,), NaN for a plane
    sites: np.ndarray  # (some,) those of the sensors it was chosen from
    turns: np.ndarray  # (block, some) phases ψ of its pairs there

    @property
    def curved(self) -> bool:
        return self.name != "plane"

    def straight(self, where: Sites) -> Shape:
        """The plane waves that hold most."""
        turns = 2 * np.pi * self.plane.wavenumber @ where.centred[self.sites].T
        return Shape("plane", self.plane, self.plane, np.full(2, np.nan), self.sites, turns)

    @property
    def vector(self) -> np.ndarray:
        """Σ p σ k̂ / Σ p: a vector (2,) for a plane, one signed number (1,) for the others."""
        return self.pairs.difference @ self.pairs.axis / max(self.pairs.power.sum(), np.finfo(float).tiny)


def block_modes(spectrum: np.ndarray, frequency: np.ndarray, first: np.ndarray) -> Modes:
    """The strongest pattern of each block of the spectra (trial, f, site)."""
    parts = np.split(spectrum, first[1:], axis=1)
    pattern = np.zeros((first.size, spectrum.shape[2]), dtype=complex)
    power, weight, mean = np.zeros(first.size), np.zeros(first.size), np.zeros(first.size)
    for block, (part, f) in enumerate(zip(parts, np.split(frequency, first[1:]), strict=True)):
        rows = part.reshape(-1, part.shape[-1])  # (trial · f, site)
        along = power_at(part, (0, 2))
        total = along.sum()
        if not total > 0:
            continue
        values, vectors = np.linalg.eigh(rows @ rows.conj().T)
        pattern[block] = rows.T @ vectors[:, -1].conj() / np.sqrt(max(values[-1], np.finfo(float).tiny))
        power[block] = values[-1]
        weight[block] = (values[-1] - (values[-2] if len(values) > 1 else 0.0)) / total
        mean[block] = along @ f / total
    return Modes(first, mean, pattern, power, weight)


def choose_shape(spectrum: np.ndarray, frequency: np.ndarray, steps: int, where: Sites, rng) -> tuple[Shape, Modes]:
    """The shape that holds most power of the strongest patterns, and its pairs over all frequencies."""
    plane = strongest_pairs(spectrum, steps, where, rng)
    modes = block_modes(spectrum, frequency, plane.first)
    sites = np.arange(where.count)
    if where.count > MOST_SENSORS:
        sites = np.sort(rng.choice(where.count, MOST_SENSORS, replace=False))
    flat = 2 * np.pi * plane.wavenumber @ where.centred[sites].T
    straight = Shape("plane", plane, plane, np.full(2, np.nan), sites, flat)
    if where.count < FEWEST_SENSORS or where.closed.any():
        return straight, modes
    rows = modes.pattern[:, sites] * np.sqrt(modes.power * modes.weight)[:, None]  # (block, site)
    size = np.sum(np.abs(rows) ** 2, axis=1)
    kept = np.flatnonzero(size > NEGLIGIBLE * size.max(initial=0.0))
    if kept.size > MOST_PATTERNS:
        kept = kept[np.argsort(size[kept])[-MOST_PATTERNS:]]
    rows = rows[kept]
    some = replace(where, position=where.position[sites])
    most = _held(rows, 2 * np.pi * wavenumbers(some) @ some.centred.T) + GAIN * size.sum()
    name, centre = "plane", straight.centre
    for curved in SHAPES[1:]:
        found, held = _best_centre(curved, rows, some)
        if held > most:
            name, centre, most = curved, found, held
    low, high = where.position.min(axis=0), where.position.max(axis=0)
    if name == "plane" or (centre < low).any() or (centre > high).any():
        return straight, modes
    phases = phases_about(name, centre, some)
    chosen, power, difference = fit_pairs(spectrum[..., sites], plane.first, phases)
    one = np.ones((plane.first.size, 1))  # towards +∇ψ
    pairs = Pairs(plane.first, one, power, difference, plane.freedom, plane.widening)
    return Shape(name, pairs, plane, centre, sites, phases[chosen]), modes


def _held(rows: np.ndarray, turns: np.ndarray) -> float:
    """Power of the patterns (row, site) in the best pair e^{±iψ} of each row among the phases `turns` (m, site).

    With A = Σ v e^{−iψ}, B = Σ v e^{iψ}, g = Σ e^{2iψ} the projection has the squared length
    (n|A|² + n|B|² − 2 Re(A* g* B)) / (n² − |g|²).
    """
    wave = np.exp(1j * turns)  # (m, site)
    against, along, g = wave @ rows.T, wave.conj() @ rows.T, np.sum(wave**2, axis=1)[:, None]  # B, A
    n = rows.shape[1]
    room = n**2 - np.abs(g) ** 2  # (1 − |g|/n)/2 is the share of the weaker of cos and sin
    power = n * (np.abs(along) ** 2 + np.abs(against) ** 2) - 2 * (along.conj() * g.conj() * against).real
    good = np.abs(g) <= (1 - 2 * SHORTEST_AXIS) * n
    return float(np.where(good, power / np.where(good, room, 1.0), 0.0).max(axis=0, initial=0.0).sum())


def _best_centre(name, rows, where: Sites) -> tuple[np.ndarray, float]:
    """The centre, wherever it is, about which this shape holds most power: a grid, then finer ones about its best."""
    low, high = where.position.min(axis=0), where.position.max(axis=0)
    inside = np.stack(np.meshgrid(*np.linspace(low, high, CENTRES).T, indexing="ij"), axis=-1).reshape(-1, 2)
    angle = 2 * np.pi * np.arange(AROUND) / AROUND
    ring = np.column_stack([np.cos(angle), np.sin(angle)])
    outside = np.concatenate([(low + high) / 2 + where.extent * far * ring for far in OUTSIDE])
    step, best, found = (high - low) / (CENTRES - 1), -1.0, inside[0]
    tried = np.concatenate([inside, outside[((outside < low) | (outside > high)).any(axis=1)]])
    for _ in range(1 + HALVINGS):
        for centre in tried:
            held = _held(rows, phases_about(name, centre, where))
            if held > best:
                best, found = held, centre
        away = np.linalg.norm(found - (low + high) / 2) / where.extent
        step = step / 2
        tried = found + max(1.0, 2 * away) * step * GRID
    return found, best


def phases_about(name: str, centre: np.ndarray, where: Sites) -> np.ndarray:
    """Phases ψ (m, site) of rings or arms about a centre, from half a wavelength on the array to Nyquist's."""
    offset = where.position - centre
    distance = np.linalg.norm(offset, axis=1)
    reach = distance.max() - distance.min()
    if name == "rings":
        highest = 0.5 / where.spacing.max()
        count = max(2, int(np.ceil(FINENESS * reach * highest)))
        kappa = np.linspace(0.5 / reach, max(highest, 1 / reach), count)
        return 2 * np.pi * kappa[:, None] * distance
    polar = np.arctan2(offset[:, 1], offset[:, 0])
    kappa = np.arange(-MOST_TURNS, MOST_TURNS + 0.1, 0.5) / reach
    return np.concatenate([m * polar + 2 * np.pi * kappa[:, None] * distance for m in ARMS])
