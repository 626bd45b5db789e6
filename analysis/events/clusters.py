"""Clusters of travelling activity in space and time, and surrogates in which nothing travels.

The statistic is the phase-gradient directionality over one period and a neighbourhood M of each place,

    G_m(t) = |Σ_{i∈M, τ} g_i(τ)| / Σ_{i∈M, τ} |g_i(τ)|,    g_i = −Σ_n d_n |z_i z_n| (φ_n − φ_i),

n its neighbours at d_n: the phase gradient weighted by amplitude. A cluster is a connected set of (time, place) where
it exceeds a level. The mass of a cluster is what exceeds it.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.fft import fft, ifft
from scipy.sparse import coo_array, csr_array
from scipy.sparse.csgraph import connected_components

from analysis.fields.sensors import Sites

PER_PERIOD = 8  # samples that are looked at in each period
SMOOTHING = 3  # frequency bins over which the spectrum of surrogates is averaged: more would make chance shorter
CORRECTING = 8  # surrogates from which a bias of their covariance is known


@dataclass(frozen=True)
class Places:
    """Where clusters live: neighbourhoods of sites, and which of them are neighbours."""

    member: csr_array  # (place, site), 0 or 1
    first: np.ndarray  # (pair of places,)
    second: np.ndarray


def places(where: Sites, radius: float | None) -> Places:
    """The complete array as one place (no radius), or one place per site with all sites within `radius`."""
    if radius is None:
        none = np.zeros(0, dtype=int)
        return Places(csr_array(np.ones((1, where.count))), none, none)
    step = where.shortest(where.position[:, None] - where.position[None])
    near = np.linalg.norm(step, axis=-1) <= radius * (1 + 1e-9)
    return Places(csr_array(near.astype(float)), where.first, where.second)


def vectors(z: np.ndarray, where: Sites, operators) -> np.ndarray:
    """Gradient vectors g (time, site, D), pointing where the wave goes, of analytic signals z (time, site)."""
    product = z[:, where.second] * np.conj(z[:, where.first])
    weighted = (-np.abs(product) * np.angle(product)).T  # (pair, time)
    return np.stack([(operator @ weighted).T for operator in operators], axis=-1)


def directionality(g: np.ndarray, around: Places) -> np.ndarray:
    """G (time, place), over one period about each sample."""
    sums = np.stack([(around.member @ component.T).T for component in np.moveaxis(g, -1, 0)], axis=-1)
    sizes = (around.member @ np.linalg.norm(g, axis=-1).T).T
    sums, sizes = _over_period(sums), _over_period(sizes)
    return np.divide(np.linalg.norm(sums, axis=-1), sizes, out=np.zeros_like(sizes), where=sizes > 0)


def _over_period(values):
    """Moving sum over one period, shorter at the ends."""
    total = np.concatenate([np.zeros_like(values[:1]), np.cumsum(values, axis=0)])
    half = PER_PERIOD // 2
    at = np.arange(len(values))
    return total[np.minimum(at + half, len(values))] - total[np.maximum(at - half, 0)]


def clusters(statistic: np.ndarray, level: float, around: Places, shortest: int):
    """Masses and labels of the clusters of `statistic` (time, place) above `level` that last `shortest` samples.

    Labels (time, place) count from 1; 0 is not a cluster.
    """
    above = statistic > level
    label = np.zeros(above.shape, dtype=int)
    if not above.any():
        return np.zeros(0), label
    number = np.cumsum(above.ravel()).reshape(above.shape) - 1  # of each cell above the level
    in_time = above[1:] & above[:-1]
    in_space = above[:, around.first] & above[:, around.second]
    starts = np.concatenate([number[:-1][in_time], number[:, around.first][in_space]])
    ends = np.concatenate([number[1:][in_time], number[:, around.second][in_space]])
    size = int(above.sum())
    _, found = connected_components(
        coo_array((np.ones(len(starts)), (starts, ends)), shape=(size, size)), directed=False
    )
    times = np.nonzero(above)[0]
    onset, end = np.full(found.max() + 1, len(above)), np.zeros(found.max() + 1, dtype=int)
    np.minimum.at(onset, found, times)
    np.maximum.at(end, found, times)
    long = end - onset + 1 >= shortest
    mass = np.bincount(found, weights=statistic[above] - level)
    renumber = np.where(long, np.cumsum(long), 0)
    label[above] = renumber[found]
    return mass[long], label


def symmetric_surrogate(z: np.ndarray, directed: Callable, rng: np.random.Generator):
    """A function that draws Gaussian analytic signals like z (time, site) in which no direction is preferred.

    They have the mean spectrum of z, smoothed over `SMOOTHING` bins, and the real part of its covariance C between
    sites in the half of the record where the statistic, `directed` (z) → (time, place), is lowest: as smooth and as
    synchronous as what is between the waves, but systematic phase lags, the imaginary part, are gone.

    In noise too that half is the more synchronous one. What the choice adds is seen in surrogates of C, whose lowest
    halves have the mean covariance C′, and is taken out: 2C − C′ (the bootstrap's correction of a bias).
    """
    power = np.mean(np.abs(fft(z, axis=0)) ** 2, axis=1)
    window = np.hanning(SMOOTHING + 2)[1:-1] / np.hanning(SMOOTHING + 2).sum()
    half = SMOOTHING // 2
    smooth = np.convolve(np.concatenate([power[-half:], power, power[:half]]), window, "valid")
    colour = np.sqrt(smooth / smooth.mean())[:, None]

    def drawn(covariance):
        values, modes = np.linalg.eigh(covariance)
        kept = values > 1e-10 * values[-1]
        mixing = modes[:, kept] * np.sqrt(values[kept])  # (site, mode)

        def draw():
            white = rng.standard_normal((2, len(z), mixing.shape[1]))
            return ifft(colour * fft((white[0] + 1j * white[1]) / np.sqrt(2), axis=0), axis=0) @ mixing.T

        return draw

    covariance = _quiet(z, directed(z))
    draw = drawn(covariance)
    again = [draw() for _ in range(CORRECTING)]
    return drawn(2 * covariance - np.mean([_quiet(one, directed(one)) for one in again], axis=0))


def _quiet(z, statistic):
    """Real part of the covariance (site, site), of trace 1, where `statistic` (time, place) is lowest on average."""
    everywhere = statistic.mean(axis=1)
    quiet = z[everywhere <= np.median(everywhere)]
    covariance = (quiet.conj().T @ quiet).real
    return covariance / np.trace(covariance)


def permuted_surrogate(z: np.ndarray, directed: Callable, rng: np.random.Generator):
    """A function that gives z (time, site) with the sites in random order, the same at all times."""
    return lambda: z[:, rng.permutation(z.shape[1])]
