"""Direction in a plane: at each frequency the strongest pair of opposite plane waves, whichever axis they follow.

At every frequency the spectrum U(x) over the sensors is fitted by one pair of opposite plane waves,

    U(x) ≈ a cos 2πk·x + b sin 2πk·x,

with the k whose pair holds the most power p, the squared length of the projection. Running time backwards conjugates U
and keeps p, so that the choice of k prefers neither direction, nor any axis. The share of the pair that travels to +k
less the share that travels to −k is

    σ = −2 Im(a* b) / (|a|² + |b|²),

1 for a plane wave to +k, −1 to −k, 0 for a standing wave. The direction index of a plane is the vector

    D = Σ_f p σ k̂ / Σ_f p,

which on a line would be (R − L)/(R + L). Its size is tested, which is the maximum over all directions, in the data as
in the null. Sensors may lie anywhere.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from scipy.fft import rfft, rfftfreq
from scipy.signal.windows import hann

from analysis.direction.swap_null import taper_correlation, valley_edges, widening
from analysis.fields.band import Band, in_band
from analysis.fields.sensors import Sites
from analysis.fields.trend import without_trend

FINENESS = 4  # wavenumbers tried per resolvable one, along each axis
MOST_WAVENUMBERS = 4096
MOST_SENSORS = 1024  # of larger arrays that many are drawn
FEW_BLOCKS = 6.0  # with the difference in fewer no exchange reaches p = 0.05 safely
BLOCK = 2**21  # numbers worked on at once
SHORTEST_AXIS = 0.05  # least share of the weaker of cos and sin in the power of a pair that is tried


@dataclass(frozen=True)
class Pairs:
    """The pair of each block of frequencies."""

    first: np.ndarray  # (block,) index of its first frequency
    wavenumber: np.ndarray  # (block, D); its sign is arbitrary
    power: np.ndarray  # (block,) p, summed over trials and frequencies
    difference: np.ndarray  # (block,) p σ
    freedom: np.ndarray  # (block,) ν, how many independent spectra it holds
    widening: float  # of the Gaussian null of independent blocks, for what the taper correlates across their edges

    @property
    def axis(self) -> np.ndarray:
        """Unit vectors k̂, (block, D)."""
        return self.wavenumber / np.maximum(np.linalg.norm(self.wavenumber, axis=1, keepdims=True), 1e-300)


def spectra(values: np.ndarray, dt: float, band: Band | None) -> tuple[np.ndarray, np.ndarray]:
    """Frequencies inside `band` (0 and Nyquist left out) and the tapered spectra of `values` (trial, time, site)."""
    steps = values.shape[1]
    frequency = rfftfreq(steps, dt)
    inside = in_band(frequency, band)
    inside[0] = False
    if steps % 2 == 0:
        inside[-1] = False
    if not inside.any():
        raise ValueError(f"band is {band}: no frequency of the record, 0 to {frequency[-1]:.6g}, lies in it")
    taper, count = hann(steps, sym=False)[:, None], values.shape[2]
    spectrum = np.empty((len(values), int(inside.sum()), count), dtype=complex)
    # a few sensors at a time: of a long recording neither the tapered copy nor the frequencies left out need be held
    for some in np.array_split(np.arange(count), min(count, 1 + values.size // BLOCK)):
        part = slice(some[0], some[-1] + 1)
        tapered = without_trend(values[..., part], axis=1)
        tapered *= taper
        spectrum[..., part] = rfft(tapered, axis=1)[:, inside]
    return frequency[inside], spectrum


def power_at(spectrum: np.ndarray, axis) -> np.ndarray:
    """|U|² summed over `axis`, as `numpy.sum` names them, without a copy as large as the spectrum."""
    kept = [a for a in range(spectrum.ndim) if a not in np.atleast_1d(axis)]
    axes = list(range(spectrum.ndim))
    return sum(np.einsum(part, axes, part, axes, kept) for part in (spectrum.real, spectrum.imag))


def strongest_pairs(spectrum: np.ndarray, steps: int, where: Sites, rng: np.random.Generator) -> Pairs:
    """Fit a pair to each block of frequencies of the spectra (trial, f, site) that `spectra` returned."""
    correlation = taper_correlation(hann(steps, sym=False))
    place = where.centred
    if where.count > MOST_SENSORS:
        chosen = np.sort(rng.choice(where.count, MOST_SENSORS, replace=False))
        place, spectrum = place[chosen], spectrum[..., chosen]
    total = power_at(spectrum, (0, 2))
    first = valley_edges(total, max(2, 2 * correlation.size - 2))  # a line stands in one of them
    tried = wavenumbers(where)
    chosen, power, difference = fit_pairs(spectrum, first, 2 * np.pi * tried @ place.T)
    wider = widening(total, (first,), (correlation,))
    return Pairs(first, tried[chosen], power, difference, independent_spectra(spectrum, first), wider)


def fit_pairs(spectrum: np.ndarray, first: np.ndarray, turns: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each block of the spectra (trial, f, site) the best of the phases `turns` (m, site): which, p and p σ."""
    best, difference = np.full(first.size, -1.0), np.zeros(first.size)
    found = np.zeros(first.size, dtype=int)
    edges = np.append(first, spectrum.shape[1])
    for some in np.array_split(np.arange(len(turns)), max(1, turns.size // 2**20)):
        good, basis, root = basis_of(turns[some])
        if not good.any():
            continue
        cosine, sine = (np.ascontiguousarray(basis[..., part].T) for part in (0, 1))  # (site, k)
        rows = BLOCK // (2 * len(spectrum) * cosine.shape[1])  # frequencies whose products with all of them fit
        for low, high in _groups(edges, rows):
            part = spectrum[:, edges[low] : edges[high]]
            parts = np.stack([part.real, part.imag])  # (2, trial, f, site): the bases are real
            alpha, beta = parts @ cosine, parts @ sine  # (2, trial, f, k)
            power = np.sum(alpha**2 + beta**2, axis=(0, 1))
            power = np.add.reduceat(power, edges[low:high] - edges[low], axis=0)  # (block, k)
            at = np.argmax(power, axis=1)
            most = power[np.arange(high - low), at]
            share = _share(alpha, beta, edges[low:high] - edges[low], at, root)
            blocks = slice(low, high)
            better = most > best[blocks]
            best[blocks] = np.where(better, most, best[blocks])
            found[blocks] = np.where(better, some[good][at], found[blocks])
            difference[blocks] = np.where(better, most * share, difference[blocks])
    return found, best, difference


def _groups(edges, rows):
    """Pairs of counts of blocks: runs of neighbouring blocks with at most so many frequencies, or a single block."""
    low = 0
    while low < len(edges) - 1:
        high = max(low + 1, int(np.searchsorted(edges, edges[low] + rows, side="right")) - 1)
        yield low, high
        low = high


def _share(alpha, beta, first, at, root):
    """σ of each block for its wavenumber `at`, from α and β (2, trial, f, k); `root` (k, 2, 2) gives a and b."""
    chosen = np.repeat(at, np.diff([*first, alpha.shape[2]]))
    columns = np.arange(alpha.shape[2])
    alpha, beta = alpha[..., columns, chosen], beta[..., columns, chosen]  # (2, trial, f)
    matrix = root[chosen]
    a = matrix[:, 0, 0] * alpha + matrix[:, 0, 1] * beta
    b = matrix[:, 1, 0] * alpha + matrix[:, 1, 1] * beta
    one_way = -2 * (a[0] * b[1] - a[1] * b[0])  # −2 Im(a* b)
    products = np.stack([one_way, np.sum(a**2 + b**2, axis=0)]).sum(axis=1)  # (2, f)
    one_way, both = np.add.reduceat(products, first, axis=1)
    return np.divide(one_way, both, out=np.zeros(first.size), where=both > 0)


def independent_spectra(spectrum: np.ndarray, first: np.ndarray) -> np.ndarray:
    """How many independent spectra each block holds: (Σ |U|²)² / Σ |U·U'*|², 1 for a line, whatever its leakage."""
    numbers = np.ones(first.size)
    for block, (start, stop) in enumerate(itertools.pairwise([*first, spectrum.shape[1]])):
        part = spectrum[:, start:stop]
        gram = np.abs(part @ part.conj().swapaxes(1, 2)) ** 2  # (trial, f, f)
        total = np.sum(np.abs(part) ** 2)
        numbers[block] = max(1.0, total**2 / max(gram.sum(), np.finfo(float).tiny))
    return numbers


def wavenumbers(where: Sites) -> np.ndarray:
    """Wavenumbers (k, D) to try: one of each pair, half a wavelength on the array or shorter, neighbours resolved."""
    extent = np.maximum(np.ptp(where.position, axis=0), where.spacing)
    extent = np.where(where.closed, where.period, extent)
    highest = 0.5 / where.spacing
    counts = np.maximum(1, np.ceil(FINENESS * extent * highest)).astype(int)
    while np.prod(2 * counts + 1) > 2 * MOST_WAVENUMBERS:
        counts = np.maximum(1, (counts * 0.9).astype(int))
    axes = [top * np.arange(-n, n + 1) / n for top, n in zip(highest, counts, strict=True)]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, where.dimension)
    half = grid[len(grid) // 2 + 1 :]  # the other half is its negative
    return half[np.linalg.norm(half * extent, axis=1) >= 0.5 * (1 - 1e-9)]


def pair_basis(k: np.ndarray, place: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Those of the wavenumbers (k, D) whose cos and sin the sensors distinguish, and as `basis_of` bases and roots."""
    good, basis, root = basis_of(2 * np.pi * k @ place.T)
    return k[good], basis, root


def basis_of(turns: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Which phases (m, site) have a cos and a sin that the sensors distinguish, and their orthonormal bases.

    Bases are (good, site, 2), the matrices that turn [cos, sin] into them (good, 2, 2).
    """
    both = np.stack([np.cos(turns), np.sin(turns)], axis=-1)  # (m, site, 2)
    strength, axes = np.linalg.eigh(np.einsum("kna,knb->kab", both, both))
    good = strength[:, 0] >= SHORTEST_AXIS * strength.sum(axis=1)
    root = np.einsum("kab,kb,kcb->kac", axes[good], strength[good] ** -0.5, axes[good])
    return good, both[good] @ root, root


def vector_null(pairs: Pairs, null: str, draws: int, rng: np.random.Generator) -> np.ndarray:
    """Draws (draw, D) of the vector D where neither direction is preferred.

    "swap" exchanges the directions of blocks; "gaussian" draws the share of a block that travels one way from the
    Beta(ν, ν) law of a Gaussian field.
    """
    part = pairs.difference if null == "swap" else pairs.widening * pairs.power
    along = part[:, None] * pairs.axis / max(pairs.power.sum(), np.finfo(float).tiny)
    drawn = np.empty((draws, along.shape[1]))
    step = max(1, BLOCK // max(part.size, 1))
    for start in range(0, draws, step):  # the draws of a long record by themselves are as large as it
        shape = (min(step, draws - start), part.size)
        if null == "swap":
            share = 2.0 * rng.integers(0, 2, size=shape) - 1.0
        else:
            share = 2.0 * rng.beta(pairs.freedom, pairs.freedom, size=shape) - 1.0
        drawn[start : start + step] = share @ along
    return drawn


def effective_number(sizes: np.ndarray) -> float:
    """(Σ s)²/Σ s²: over how many blocks something spreads."""
    return float(np.sum(sizes) ** 2 / max(np.sum(sizes**2), np.finfo(float).tiny))


def direction_p_value(pairs: Pairs, null: str, draws: int, rng: np.random.Generator) -> float:
    """(1 + #{surrogates with a D as large})/(1 + draws) under a null of `vector_null`; 1 where there is no power."""
    total = pairs.power.sum()
    if not total > 0:
        return 1.0
    size = np.linalg.norm(pairs.difference @ pairs.axis) / total
    drawn = np.linalg.norm(vector_null(pairs, null, draws, rng), axis=1)
    return float((1 + np.sum(drawn >= size * (1 - 1e-9))) / (1 + draws))


def fitting_null(pairs: Pairs) -> str:
    """Exchange, "swap", or "gaussian" where the difference sits in too few blocks for exchanges to decide."""
    return "swap" if effective_number(np.abs(pairs.difference)) >= FEW_BLOCKS else "gaussian"
