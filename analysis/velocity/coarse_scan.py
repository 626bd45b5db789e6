"""Where to look: a coarse scan over slowness, by slices through the wavenumber–frequency plane.

A plane wave of slowness p puts all its power on the line k = f p, whatever its frequencies. The scan adds the power
along such lines (pairs of different sensors only),

    P(p) = Σ_f W(f) ( |U(f p, f)|² − Σ_i |U_i(f)|² ),    U(k, f) = Σ_i U_i(f) e^{2πi k·x_i},

with frequencies weighted by how coherent neighbours are. Its highest peak starts the estimators; a second peak nearly
as high means that two velocities explain the data alike.
"""

from dataclasses import dataclass

import numpy as np
from scipy.fft import rfft, rfftfreq
from scipy.ndimage import label, maximum
from scipy.signal.windows import hann

from analysis.fields.band import in_band
from analysis.fields.sensors import Sites
from analysis.fields.trend import without_trend
from analysis.velocity.stacking import smoothing_window

OVERSAMPLING = 4  # points per resolvable wavenumber and slowness
MOST_BINS = 96  # frequencies used, the most coherent ones, …
MOST_POWER = 0.995  # … or as many as carry this share of the weighted power
RIVAL = 0.75  # a second peak of this share of the highest makes the answer ambiguous, …
VALLEY = 0.5  # … where the power between them falls to this share
LARGEST = {1: 4096, 2: 301}  # points per axis of the scan
SIGNIFICANT = 3.0  # standard errors by which neighbours must be coherent for a frequency to count


@dataclass(frozen=True)
class Coarse:
    """Outcome of the scan; `frequency` is the mean of what is coherent."""

    status: str
    slowness: np.ndarray
    frequency: float
    trials: int  # slownesses that are distinguishable


def scan(values: np.ndarray, dt: float, where: Sites, *, band=None, slowest: float | None = None) -> Coarse:
    """Find the slowness that explains most of `values` (time, site).

    Only frequencies in `band` count. `slowest` is the least speed to look for; by default waves as short as two
    spacings at their mean frequency.
    """
    frequency, spectrum, weight = _coherent_bins(values, dt, where, band)
    if not weight.any():
        return Coarse("no_wave", np.zeros(where.dimension), np.nan, 1)
    power = np.sum(np.abs(spectrum) ** 2, axis=1)
    mean = float(np.sum(weight * power * frequency) / np.sum(weight * power))
    most = np.full(where.dimension, 1 / slowest) if slowest else 0.5 / where.spacing / mean
    axes = _slownesses(most, frequency.max(), where)
    slices = _slices(spectrum, frequency, weight, axes, where)
    slices -= np.sum(weight * power)
    best = np.unravel_index(np.argmax(slices), slices.shape)
    slowness = np.array([axis[i] for axis, i in zip(axes, best, strict=True)])
    status = "ok"
    if any(i in (0, len(axis) - 1) for axis, i in zip(axes, best, strict=True)):
        status = "aliased"
    elif _rivals(slices):
        status = "ambiguous"
    return Coarse(status, slowness, mean, max(2, slices.size // OVERSAMPLING**where.dimension))


def _coherent_bins(values, dt, where, band):
    """Frequencies at which neighbours are coherent: f, spectra (f, site) and weights."""
    steps = len(values)
    spectrum = rfft(hann(steps, sym=False)[:, None] * without_trend(values), axis=0)
    frequency = rfftfreq(steps, dt)
    window = smoothing_window(len(frequency))
    total = np.mean(np.abs(spectrum) ** 2, axis=1)
    pairs = np.mean(spectrum[:, where.second] * np.conj(spectrum[:, where.first]), axis=1)
    smooth = np.convolve(total, window, "same")
    coherence = np.abs(np.convolve(pairs, window, "same")) / np.maximum(smooth, 1e-300)
    chance = SIGNIFICANT * np.sqrt(np.sum(window**2) / len(where.first))
    weight = np.where(coherence > min(chance, 0.9), coherence**2, 0.0) / (smooth + 1e-2 * smooth.max())
    weight[0] = 0.0
    weight[~in_band(frequency, band)] = 0.0
    order = np.argsort(weight * total)[::-1]
    share = np.cumsum((weight * total)[order])
    kept = np.sort(order[: min(MOST_BINS, 1 + np.searchsorted(share, MOST_POWER * share[-1]))])
    kept = kept[weight[kept] > 0]
    return frequency[kept], spectrum[kept], weight[kept]


def _slownesses(most, highest, where):
    """One symmetric axis of slownesses per dimension."""
    axes = []
    for extent, edge in zip(np.ptp(where.position, axis=0), most, strict=True):
        half = min(int(np.ceil(edge * OVERSAMPLING * highest * extent)), LARGEST[where.dimension] // 2)
        axes.append(np.linspace(-edge, edge, 2 * half + 1))
    return axes


def _slices(spectrum, frequency, weight, axes, where):
    """Σ_f W |U(f p, f)|² on the grid of slownesses, from the wavenumber spectrum of each frequency."""
    highest = max(np.abs(axis).max() for axis in axes) * frequency.max()
    wavenumbers = []
    for extent in np.ptp(where.position, axis=0):
        half = int(np.ceil(highest * OVERSAMPLING * extent))
        wavenumbers.append(np.linspace(-highest, highest, 2 * half + 1))
    steering = [
        np.exp(2j * np.pi * np.outer(x, k)) for x, k in zip(where.centred.T, wavenumbers, strict=True)
    ]  # (site, k) each
    if len(axes) == 1:
        power = np.abs(spectrum @ steering[0]) ** 2  # (f, k)
        slices = [np.interp(f * axes[0], wavenumbers[0], row) for f, row in zip(frequency, power, strict=True)]
        return weight @ np.array(slices)
    out = np.zeros([len(axis) for axis in axes])
    for f, row, w in zip(frequency, spectrum, weight, strict=True):
        (across, back_x), (along, back_y) = (_nearest(f * p, k) for p, k in zip(axes, wavenumbers, strict=True))
        amplitude = (row[:, None] * steering[0][:, across]).T @ steering[1][:, along]
        out += w * (np.abs(amplitude) ** 2)[np.ix_(back_x, back_y)]
    return out


def _nearest(wanted, grid):
    """Indices into the even `grid` nearest to `wanted`: those needed, and which of them each one takes."""
    index = np.clip(np.rint((wanted - grid[0]) / (grid[1] - grid[0])).astype(int), 0, len(grid) - 1)
    return np.unique(index, return_inverse=True)


def _rivals(slices: np.ndarray) -> int:
    """How many other peaks reach `RIVAL` of the highest, apart from it by a valley below `VALLEY`."""
    peaks, count = label(slices > VALLEY * slices.max(), structure=np.ones((3,) * slices.ndim))
    return int(np.sum(maximum(slices, peaks, range(1, count + 1)) > RIVAL * slices.max())) - 1
