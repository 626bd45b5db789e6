"""Centroid of the ridge of a wavenumber–frequency spectrum, and how far noise can have moved it.

If the field moves rigidly, u(x, t) = g(x − v t), then whatever g and whatever the window, ∂u/∂t = −v ∂u/∂x makes

    v = Σ P(k, f) f / Σ P(k, f) k

exact: the sums run over one direction's half of the spectrum, where they are the mean frequency and wavenumber of its
analytic signal. The position of single peaks has no such property (two waves within one bin pull it aside). The sums
are cut to the bins that stand above the noise, and to the width of the window around them.

Noise n adds 2 Re(U* n) to the power. Σ P · (k − s f), which is zero at the true slowness s = 1/v, then has the
variance 2 Σ_{x,t} w² σ² |y|², where y is the transform back of (k − s f) U: so the window correlates the bins.
"""

from dataclasses import dataclass, replace

import numpy as np
from scipy import fft, ndimage

from analysis.fields.band import in_band

FALSE_BINS = 0.001  # bins of pure noise, on average, that are taken for the ridge
WEAKEST = 1e-2  # of the strongest bin: below lie side lobes, and the skirts of waves that decay
REACH = 2  # bins to either side over which a tapered line spreads
BOTH_WAYS = 0.5  # of the stronger direction's power: from here on the weaker one is a wave, too
NOISE_SPAN = 17  # frequency bins from which the noise floor is taken
QUIET = 6.0  # times the noise: one bin of noise in 400 is stronger
BROAD = 0.1  # of Nyquist: a ridge that spreads so far in k shows whether it starts at the origin
STILL = 1.5  # cycles per record: below lies what a window leaves of a field that stands still
CYCLES = 2  # in the record, below which the line of a wavenumber reaches past f = 0
COARSE = 0.4  # of Nyquist: five positions per wavelength


@dataclass(frozen=True)
class Ridge:
    """Slowness s = k/f with its covariance, centroids, share of the power; D is the number of space axes."""

    status: str
    slowness: np.ndarray  # (D,)
    covariance: np.ndarray  # (D, D)
    frequency: float
    wavenumber: np.ndarray  # (D,)
    explained: float
    coarse: bool = False  # a narrow ridge at a wavelength of less than five positions: aliasing cannot be excluded

    @classmethod
    def refused(cls, status, dims):
        unknown = np.full(dims, np.nan)
        return cls(status, unknown, np.full((dims, dims), np.nan), np.nan, unknown, np.nan)


def ridge_centroid(tapered, taper, time, space, *, side, band) -> Ridge:
    """Centroid of one direction's ridge in the spectrum of `tapered` (time, *space), which is detrended and · `taper`.

    `side` is +1 or −1 for waves to +x or −x, 0 for the stronger of the two.
    """
    spectrum = _transform(tapered)  # (f ≥ 0, *k)
    f = fft.rfftfreq(time.size, time.step)
    k = [fft.fftfreq(axis.size, axis.step) for axis in space]
    grid = np.meshgrid(f, *k, indexing="ij", sparse=True)
    inside = _inside(grid, time, space, band)
    power = np.abs(spectrum) ** 2
    if not np.any(power[inside] > 0):
        return Ridge.refused("silent", len(space))
    noise = _noise_floor(power, inside, grid[-1])
    threshold = np.maximum(noise * np.log(inside.sum() / FALSE_BINS), WEAKEST * power[inside].max())
    strong = inside & (power > threshold)
    if not strong.any():
        return Ridge.refused("no_wave", len(space))
    excess = power - noise
    ahead, behind = _halves(excess, strong, grid[1:], side)
    if not ahead.any():
        return Ridge.refused("no_wave", len(space))
    if not side and excess[behind].sum() > BOTH_WAYS * excess[ahead].sum():
        return Ridge.refused("ambiguous", len(space))
    seen = (spectrum, excess, noise, taper, grid, time, space, power[inside].sum())
    found = _centroid(ahead, *seen)
    lasting = ahead & _turns_often(found, grid, time)
    return _centroid(lasting, *seen) if lasting.any() and not lasting[ahead].all() else found


def _turns_often(found, grid, time):
    """Bins whose wavenumber, at the speed found, goes through `CYCLES` in the record: slower ones reach past f = 0."""
    size = np.linalg.norm(found.wavenumber)
    along = sum(component * mean / size for component, mean in zip(grid[1:], found.wavenumber, strict=True))
    return along * found.frequency / size * time.length >= CYCLES


def _centroid(ahead, spectrum, excess, noise, taper, grid, time, space, inside_power):
    weight = np.where(_widened(ahead, space) & (grid[0] > 0), excess, 0.0)
    total = weight.sum()
    k = grid[1:]
    if len(space) == 1:  # the widened ridge may reach past Nyquist
        sign = np.sign((weight * k[0]).sum())
        k = [np.where(sign * k[0] < -0.5 * space[0].nyquist, k[0] + 2 * sign * space[0].nyquist, k[0])]
    frequency = float((weight * grid[0]).sum() / total)
    wavenumber = np.array([float((weight * component).sum() / total) for component in k])
    slowness = wavenumber / frequency
    seen = (weight != 0) * np.sqrt(noise) * spectrum
    pulls = [_back(seen * (ki - si * grid[0]), taper.shape[0]) for ki, si in zip(k, slowness, strict=True)]
    squared = taper**2 / np.sum(taper**2)
    covariance = np.array([[2 * np.sum(squared * (a.conj() * b).real) for b in pulls] for a in pulls])
    found = Ridge(
        "ok", slowness, covariance / (total * frequency) ** 2, frequency, wavenumber, float(total / inside_power)
    )
    size = float(np.linalg.norm(wavenumber))
    wavelengths = [size * axis.length for axis in space if not axis.periodic]
    if (wavelengths and max(wavelengths) < 1) or frequency * time.length < 1:
        return replace(found, status="too_short")
    if len(space) > 1:
        shares = [abs(ki) / axis.nyquist for ki, axis in zip(wavenumber, space, strict=True)]
        return replace(found, coarse=max(shares) > COARSE)
    return _against_aliasing(found, weight, k[0], grid[0], time, space[0])


def _against_aliasing(found, weight, k, f, time, space):
    """Does the line of the ridge start at the origin, or at a neighbour of it that sampling cannot distinguish?"""
    k_mean, f_mean, total = found.wavenumber[0], found.frequency, weight.sum()
    lobe = 0.0 if space.periodic else 1 / (3 * space.length**2)  # variance of a Hann window's line
    spread = float((weight * (k - k_mean) ** 2).sum() / total) - lobe
    if spread < (BROAD * space.nyquist) ** 2:
        return replace(found, coarse=abs(k_mean) > COARSE * space.nyquist)
    slope = float((weight * (k - k_mean) * (f - f_mean)).sum() / total) / spread
    offset = abs(f_mean - slope * k_mean)
    neighbour = min(2 * abs(slope) * space.nyquist, 2 * time.nyquist)
    return replace(found, status="aliased") if offset > neighbour / 2 else found


def _transform(values):
    """U = Σ u exp(−2πi(f t − k x)) on f ≥ 0 and k as `fftfreq` orders it."""
    space = tuple(range(1, values.ndim))
    return fft.ifftn(fft.rfft(values, axis=0), axes=space, norm="forward")


def _back(spectrum, steps):
    """Σ of `spectrum` · exp(2πi(f t − k x)) over k and f ≥ 0, at every sample."""
    space = tuple(range(1, spectrum.ndim))
    return fft.fftn(fft.ifft(spectrum, n=steps, axis=0, norm="forward"), axes=space)


def _inside(grid, time, space, band):
    """Bins that belong to a direction: k not 0, f and k not Nyquist, f within `band` and not still."""
    f = grid[0]
    inside = (f > STILL / time.length) & (f < time.nyquist * (1 - 1e-9)) & in_band(f, band)
    for component, axis in zip(grid[1:], space, strict=True):
        inside = inside & (np.abs(component) < axis.nyquist * (1 - 1e-9))
    return inside & (sum(component**2 for component in grid[1:]) > 0)


def _noise_floor(power, inside, kx):
    """Mean noise power at each frequency: over neighbouring frequencies, in the quieter half of the wavenumbers.

    A first guess from medians says which bins are noise (below `QUIET` times it); their mean is then taken.
    """
    steps = min(NOISE_SPAN, power.shape[0])
    across = tuple(range(1, power.ndim))
    floors = []
    for side in (kx > 0, kx < 0):
        half = inside & side
        medians = np.median(power[:, half.any(axis=0)], axis=1) / np.log(2)  # of an exponential law
        rough = ndimage.median_filter(medians, size=steps, mode="nearest").reshape(-1, *[1] * len(across))
        quiet = half & (power < QUIET * rough)
        total = ndimage.uniform_filter1d(np.sum(power, axis=across, where=quiet), steps, mode="constant")
        count = ndimage.uniform_filter1d(quiet.sum(axis=across).astype(float), steps, mode="constant")
        floors.append(np.where(count > 0, total / np.maximum(count, 1e-9), np.inf))
    floor = np.minimum(*floors) / (1 - QUIET / np.expm1(QUIET))  # mean of an exponential law below QUIET
    floor[~np.isfinite(floor)] = 0.0
    return np.maximum(floor, np.finfo(float).eps ** 2 * power.max()).reshape(-1, *[1] * len(across))


def _halves(excess, strong, k, side):
    """Strong bins ahead and behind: by the sign of k_x, or of k along the strongest bin's where `side` is 0."""
    if side:
        along = side * k[-1]
    else:
        peak = np.unravel_index(np.argmax(np.where(strong, excess, -np.inf)), excess.shape)
        along = sum(component * component.ravel()[i] for component, i in zip(k, peak[1:], strict=True))
    return strong & (along > 0), strong & (along < 0)


def _widened(mask, space):
    """`mask` grown by the reach of a window: over frequency, and around along open axes."""
    grown = mask.copy()
    for lag in range(1, REACH + 1):
        grown[lag:] |= mask[:-lag]
        grown[:-lag] |= mask[lag:]
    for number, axis in enumerate(space, start=1):
        if axis.periodic:
            continue
        mask = grown.copy()
        for lag in range(1, min(REACH, (axis.size - 1) // 4) + 1):
            grown |= np.roll(mask, lag, number) | np.roll(mask, -lag, number)
    return grown
