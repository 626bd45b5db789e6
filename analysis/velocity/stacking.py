"""Stacking: shift every sensor by the delay of a plane wave and add.

With slowness p (time per distance, pointing where the wave goes) the aligned trace of a sensor at x is

    v_i(t) = u_i(t + p·(x_i − x̄)),

the same for every sensor if the wave is plane. The stack power counts pairs of different sensors only, so that noise
without correlation between sensors adds nothing on average:

    J(p) = Σ_f W(f) ( |Σ_i V_i(f)|² − Σ_i |V_i(f)|² ).

Sensors far apart see the wave at times that the record does not share. The array is therefore cut into *apertures*
that the wave crosses within half the record, each with its own centre, and their powers are added. Because positions
are counted from those centres, J is stationary at the true slowness exactly, whatever W and wherever the record ends.
"""

from dataclasses import dataclass

import numpy as np
from scipy.fft import irfft, rfft, rfftfreq
from scipy.ndimage import spline_filter1d
from scipy.signal.windows import hann
from scipy.special import betainccinv

from analysis.fields.band import in_band
from analysis.fields.trend import without_trend

SMOOTHING = 15  # frequency bins over which the coherent spectrum is averaged
FALSE_ALARM = 0.001  # chance that noise between independent sensors is taken for coherent anywhere
TAPERED = {0: 1.0, 1: 2 * 4 / 9, 2: 2 / 36}  # by lag: twice the correlation of powers so many bins apart
FLOOR = 1e-3  # least noise, as a share of the strongest frequency's power
SPLINE = 5  # degree; at 4 samples per period its error is 0.3 %
FEWEST = 32  # samples that must be left when every sensor is shifted
MARGIN = 8  # samples left at both ends for the spline and for the search


@dataclass(frozen=True)
class Apertures:
    """How an array is cut up, and the samples over which its aligned traces are compared."""

    position: np.ndarray  # (site, D), from the centre of the aperture
    member: np.ndarray  # (site, aperture), one-hot
    coefficients: np.ndarray  # (samples + padding, site), of the interpolating spline
    dt: float
    first: int
    samples: int

    @property
    def sensors(self) -> np.ndarray:
        """Number of sensors in each aperture."""
        return self.member.sum(axis=0)

    @property
    def others(self) -> np.ndarray:
        """How many other sensors share each sensor's aperture, shape (site,)."""
        return self.member @ (self.sensors - 1)

    def aligned(self, delay: np.ndarray) -> np.ndarray:
        """Traces u_i(t + delay_i), shape (samples, site); `delay` in units of time."""
        shift = delay / self.dt
        samples = np.floor(shift).astype(int)
        taps = np.arange(-2, 4)
        weight = _spline(shift - samples - taps[:, None])  # (6, site)
        out = np.zeros((self.samples, len(shift)))
        for site, start in enumerate(self.first + samples):
            segment = self.coefficients[start : start + self.samples + 5, site]
            out[:, site] = np.correlate(segment, weight[:, site], "valid")
        return out

    def stack(self, values: np.ndarray) -> np.ndarray:
        """Sum over the sensors of each aperture, shape (…, aperture)."""
        return values @ self.member


def cut_apertures(values: np.ndarray, position: np.ndarray, dt: float, slowness: np.ndarray, reach: float):
    """Apertures for waves about `slowness`; `reach` is how far delays may move during the search (time).

    Returns None where not even two sensors see the wave within half the record.
    """
    steps = len(values)
    allowed = 0.5 * (steps - 2 * MARGIN) * dt - 2 * reach
    delay = position @ slowness
    span = np.ptp(delay)
    tiles = np.zeros(len(position), dtype=int)
    if span > allowed > 0:
        size = allowed / np.linalg.norm(slowness) / np.sqrt(position.shape[1])
        corner = np.floor((position - position.min(axis=0)) / np.maximum(size, 1e-300) * (1 - 1e-9)).astype(int)
        tiles = np.unique(corner, axis=0, return_inverse=True)[1].ravel()
    member = np.eye(tiles.max() + 1)[tiles]
    member = member * (member.sum(axis=0) > 1)  # a single sensor has none to be compared with
    member = member[:, member.any(axis=0)]
    if allowed <= 0 or member.size == 0:
        return None
    centre = member @ (member.T @ position / member.sum(axis=0)[:, None])
    local = np.where(member.any(axis=1)[:, None], position - centre, 0.0)
    longest = np.abs(local @ slowness).max() + reach
    first = int(np.ceil(longest / dt)) + 1
    if steps - 2 * first - 1 < FEWEST:
        return None
    coefficients = np.pad(spline_filter1d(values, SPLINE, axis=0, mode="mirror"), ((2, 3), (0, 0)), mode="reflect")
    return Apertures(local, member, coefficients, dt, first, steps - 2 * first - 1)


def _spline(u):
    """The quintic B-spline basis function."""
    a = np.abs(u)
    return sum(c * np.maximum(0, k - a) ** 5 for c, k in ((1, 3), (-6, 2), (15, 1))) / 120


@dataclass(frozen=True)
class Coherence:
    """What the aligned traces share: power per sensor at each frequency, smoothed, zero where chance would do it."""

    coherent: np.ndarray  # (frequency,)
    total: np.ndarray  # (frequency,)
    frequency: float  # mean frequency of the coherent power
    explained: float  # its share of all power

    def weights(self, sensors: float) -> np.ndarray:
        """Maximum-likelihood weights of a Gaussian wave S(f) in sensor noise Q(f): W = S / (Q (Q + n S))."""
        scale = self.total.max()
        noise = np.maximum(self.total - self.coherent, 0.0) + FLOOR * scale
        return self.coherent * scale / (noise * (noise + sensors * self.coherent))


def coherence(apertures: Apertures, traces: np.ndarray, *, band=None, trials: int = 1) -> Coherence | None:
    """Compare the stack power of aligned traces (time, site) with their own; None where nothing that moves is.

    Of noise that is independent between n sensors the stack has the share of one of n equal gamma variables, a beta
    variable; what it would reach by chance, at any frequency and any of `trials` slownesses, does not count, nor does
    anything outside `band`.
    """
    sensors = apertures.sensors
    pairs = np.sum(sensors * (sensors - 1))
    spectrum = rfft(hann(len(traces), sym=False)[:, None] * without_trend(traces), axis=0)
    own = apertures.stack(np.abs(spectrum) ** 2)  # (f, aperture)
    shared = np.sum(np.abs(apertures.stack(spectrum)) ** 2 - own, axis=1) / pairs
    power = own.sum(axis=1) / sensors.sum()
    window = smoothing_window(len(own))
    total, coherent = np.convolve(power, window, "same"), np.convolve(shared, window, "same")
    width = _correlated(window)  # 1/width independent values are averaged
    chance = FALSE_ALARM / (trials * len(own))
    others, independent = pairs / sensors.sum(), sensors.size / width
    stacked = betainccinv(independent, independent * others, chance)  # the stack's share of all power
    counts = coherent > total * ((1 + others) * stacked - 1) / others
    frequency = rfftfreq(len(traces), apertures.dt)
    counts &= in_band(frequency, band)
    found = np.maximum(shared * counts, 0.0)
    if not found[1:].any():  # what hardly changes within the recording is at frequency 0, and travels nowhere
        return None
    return Coherence(
        coherent * counts, total, float(found @ frequency / found.sum()), float(np.sum(shared * counts) / power.sum())
    )


def smoothing_window(bins: int) -> np.ndarray:
    """Weights over neighbouring frequencies, sum 1."""
    window = np.hanning(max(3, min(SMOOTHING, bins // 2)) + 2)[1:-1]
    return window / window.sum()


def _correlated(window: np.ndarray) -> float:
    """Variance of a smoothed periodogram over that of one bin: powers of a Hann taper are correlated, 4/9 and 1/36."""
    return float(sum(share * np.sum(window[lag:] * window[: window.size - lag]) for lag, share in TAPERED.items()))


def filtered(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """`values` (time, …) less their linear trend, each frequency multiplied by its weight, less the trend again.

    Trends are removed here, from the aligned traces, and not from the recording: a pulse that passes the sensors one
    after the other has a different trend at each of them.
    """
    spectrum = rfft(without_trend(values), axis=0)
    spectrum *= weights.reshape(-1, *[1] * (values.ndim - 1))
    return without_trend(irfft(spectrum, n=len(values), axis=0))
