"""Blocks of the spectrum that are swapped between +k and −k, and the null distribution this gives.

Where the field is direction-symmetric, power at (k, f) and at (−k, f) may be exchanged without changing its law. Bins
are not independent, though: a taper correlates neighbours, and a narrow line leaks into them. Exchanging bin by bin
then makes the null too narrow (a Hann window alone: 15–20 % of white noise rejected at 5 %). So blocks of bins
are exchanged, and

- their edges lie where the total power R + L is low (a quantity that no exchange alters),
- they are as large as leaves `ENOUGH` effective blocks: few are needed for a fine test, and larger ones keep more of
  the correlation inside,
- what correlation the taper carries across edges widens the null by a factor computed from the taper.
"""

import itertools
import math

import numpy as np

ENOUGH = 16  # effective blocks: a sign test over 16 loses little against one over many
GROWTH = 1.4  # ratio of block widths from one candidate to the next


def taper_correlation(taper: np.ndarray) -> np.ndarray:
    """Correlation of the power at bins 0, 1, 2, … apart that `taper` gives white noise, up to where it vanishes."""
    squared = np.abs(np.fft.fft(taper.astype(float) ** 2)) ** 2
    correlation = squared[: max(1, taper.size // 2)] / squared[0]
    last = np.flatnonzero(correlation > 1e-3)[-1]
    return correlation[: last + 1]


def partition(power: np.ndarray, narrowest: tuple[int, ...], *, enough: float = ENOUGH) -> tuple[np.ndarray, ...]:
    """First indices of the blocks along each axis of `power` (f, *k), R + L of one channel.

    The coarsest grid of blocks with `enough` effective blocks, or the finest allowed (at least `narrowest` bins wide
    each) where none has as many. An axis whose narrowest block is a single bin has exactly independent bins (k on a
    ring) and is never merged.
    """
    margins = [power.sum(axis=tuple(set(range(power.ndim)) - {axis})) for axis in range(power.ndim)]
    widest = max(
        (margin.size / width for margin, width in zip(margins, narrowest, strict=True) if width > 1), default=1
    )
    for step in reversed(range(math.ceil(math.log(max(widest, 1), GROWTH)) + 1)):
        edges = tuple(
            np.arange(margin.size) if width == 1 else valley_edges(margin, int(width * GROWTH**step))
            for margin, width in zip(margins, narrowest, strict=True)
        )
        if effective_blocks(power, edges) >= enough:
            break
    return edges


def valley_edges(power: np.ndarray, width: int) -> np.ndarray:
    """First indices of blocks at least `width` wide along one axis, cut at the lowest `power` first."""
    free = np.zeros(power.size, dtype=bool)  # at least `width` from both ends and from every cut
    free[width : power.size - width + 1] = True
    cuts = [0]
    for cut in np.argsort(power[1:], kind="stable") + 1:
        if free[cut]:
            cuts.append(int(cut))
            free[max(0, cut - width + 1) : cut + width] = False
    return np.array(sorted(cuts))


def block_sums(values: np.ndarray, edges: tuple[np.ndarray, ...]) -> np.ndarray:
    """Sums of `values` over the blocks, one axis per axis of `values`."""
    for axis, first in enumerate(edges):
        values = np.add.reduceat(values, first, axis=axis)
    return values


def effective_blocks(power: np.ndarray, edges: tuple[np.ndarray, ...]) -> float:
    """(Σ S)²/Σ S² over the blocks: how many carry the power."""
    sums = block_sums(power, edges)
    return float(sums.sum() ** 2 / max(np.sum(sums**2), np.finfo(float).tiny))


def widening(power: np.ndarray, edges: tuple[np.ndarray, ...], correlations: tuple[np.ndarray, ...]) -> float:
    """√(variance of R − L / the part of it that lies within blocks), for bins correlated as the taper says.

    The covariance of two bins is taken as ρ · S S′, with S their total power.
    """
    labels = np.meshgrid(
        *[np.repeat(np.arange(e.size), np.diff([*e, n])) for e, n in zip(edges, power.shape, strict=True)],
        indexing="ij",
        sparse=True,
    )
    total, within = 0.0, 0.0
    lags = [range(1 - len(correlation), len(correlation)) for correlation in correlations]
    for lag in itertools.product(*lags):
        rho = math.prod(correlation[abs(l)] for correlation, l in zip(correlations, lag, strict=True))
        if rho < 1e-3:
            continue
        here = tuple(slice(max(0, l), n + min(0, l)) for l, n in zip(lag, power.shape, strict=True))
        there = tuple(slice(max(0, -l), n + min(0, -l)) for l, n in zip(lag, power.shape, strict=True))
        products = power[here] * power[there]
        same = math.prod(  # one factor per axis, broadcast
            np.take(label, range(h.start, h.stop), axis) == np.take(label, range(t.start, t.stop), axis)
            for axis, (label, h, t) in enumerate(zip(labels, here, there, strict=True))
        )
        total += rho * products.sum()
        within += rho * np.sum(products, where=np.broadcast_to(same.astype(bool), products.shape))
    return math.sqrt(total / within) if within > 0 else 1.0


def swapped_differences(difference: np.ndarray, draws: int, rng: np.random.Generator) -> np.ndarray:
    """`draws` values of Σ ±d over the blocks d of R − L, signs drawn at random."""
    blocks = difference.ravel()
    signs = rng.integers(0, 2, size=(draws, blocks.size), dtype=np.int8)
    drawn = np.empty(draws)
    for some in _some(draws, blocks.size):
        drawn[some] = (2.0 * signs[some] - 1.0) @ blocks
    return drawn


def _some(draws, blocks, most=2**21):
    """Slices of the draws that together hold at most so many numbers, or a single one."""
    step = max(1, most // max(blocks, 1))
    return [slice(start, start + step) for start in range(0, draws, step)]


def redistributed_differences(
    power: np.ndarray, edges: tuple[np.ndarray, ...], lags: tuple[int, ...], draws: int, rng: np.random.Generator
) -> np.ndarray:
    """`draws` values of R − L when each block's power S falls to the right in a share that is Beta(ν, ν).

    That is its law for a Gaussian direction-symmetric field with ν degrees of freedom in the block. Bins within `lags`
    of each other count as one and the same (a line, smeared by the taper), so ν = (Σ S)²/Σ S S′ over such pairs: 1 for
    a line, never too large.
    """
    smeared = power
    for axis, lag in enumerate(lags):
        padded = np.pad(smeared, [(lag, lag) if axis == a else (0, 0) for a in range(power.ndim)])
        smeared = np.lib.stride_tricks.sliding_window_view(padded, 2 * lag + 1, axis).sum(axis=-1)
    sums = block_sums(power, edges).ravel()
    pairs = block_sums(power * smeared, edges).ravel()
    freedom = np.maximum(1.0, sums**2 / np.maximum(pairs, np.finfo(float).tiny))
    drawn = np.empty(draws)
    for some in _some(draws, freedom.size):
        shape = (len(drawn[some]), freedom.size)
        drawn[some] = (2.0 * rng.beta(freedom, freedom, size=shape) - 1.0) @ sums
    return drawn
