"""The phase-gradient estimate: wavenumber from neighbours, frequency from neighbouring samples, speed f/k.

From the analytic signals z_i of a band, neighbours i, j at displacement d_ij give

    k = argmax_k Σ_ij Re( C_ij e^{2πi k·d_ij} ),   C_ij = Σ_t z_j(t) z̄_i(t),
    2π f dt = arg Σ_ij Σ_t z_j(t + dt) z̄_i(t) e^{2πi k·d_ij}   (every pair both ways, so that k drops out),

weighted means of the phase gradient and of the instantaneous frequency. Products of one sensor with itself do not
occur: noise that is independent between sensors does not bias either. The record is tapered before it is filtered and
made analytic, so that its ends reach every sensor alike.
"""

import numpy as np
from scipy.fft import fft, fftfreq, ifft
from scipy.signal.windows import hann

from analysis.fields.sensors import Sites
from analysis.fields.trend import without_trend
from analysis.velocity.result import Estimate, long_run_covariance

NARROW = (1.5, 0.6)  # within a factor 1.5 of the peak frequency must lie this share of the power
SIGNIFICANT = 3.0  # standard errors by which neighbours must be coherent
NYQUIST_SHARE = 0.9  # of the highest wavenumber that neighbours resolve
CANDIDATES = 33  # wavenumbers tried along each axis
ROUNDS = 8


def gradient(values: np.ndarray, dt: float, where: Sites, *, band=None) -> Estimate:
    """Slowness of the plane wave in `values` (time, site) from phases in `band`."""
    broad, narrow = analytic_pair(values, dt, band)
    frequencies, power = power_spectrum(narrow, dt)
    if not is_narrow(frequencies, power):
        return Estimate("broadband")
    products = 0.5 * (
        broad[:, where.second] * narrow[:, where.first].conj() + narrow[:, where.second] * broad[:, where.first].conj()
    )  # (time, pair); one factor unfiltered: the same sum over time, a flatter spectrum
    wavenumber = mean_wavenumber(products.sum(axis=0), where)
    turned = products * np.exp(2j * np.pi * where.displacement @ wavenumber)
    coherence = np.abs(turned.sum()) / (np.sum(power) / len(narrow) * len(where.first) / where.count)
    chance = np.sqrt(np.sum(power**2) / np.sum(power) ** 2 / len(where.first))
    if coherence < SIGNIFICANT * chance:
        return Estimate("no_wave", explained=coherence)
    frequency, of_frequency = mean_frequency(np.roll(broad, -1, 0), narrow, wavenumber, where, dt)
    _, mirrored = mean_frequency(np.roll(narrow, -1, 0), broad, wavenumber, where, dt)
    of_frequency = (of_frequency + mirrored) / 2
    if np.any(np.abs(wavenumber) * where.spacing > NYQUIST_SHARE * 0.5):
        return Estimate("aliased", frequency=frequency)
    of_wavenumber = _influence(turned, where.displacement)
    slowness = wavenumber / frequency
    influence = of_wavenumber / frequency - slowness * of_frequency[:, None] / frequency
    return Estimate(
        "ok", slowness, long_run_covariance(influence, hann(len(values), sym=False) ** 4), frequency, float(coherence)
    )


def analytic_pair(values, dt, band):
    """Analytic signals (time, site) of the tapered record, of all frequencies and of `band` alone."""
    spectrum = fft(hann(len(values), sym=False)[:, None] * without_trend(values), axis=0)
    frequency = fftfreq(len(values), dt)[:, None]
    spectrum = np.where(frequency > 0, 2 * spectrum, 0.0)
    lowest, highest = band if band is not None else (0.0, np.inf)
    inside = (frequency >= lowest) & (frequency <= highest)
    return ifft(spectrum, axis=0), ifft(np.where(inside, spectrum, 0.0), axis=0)


def power_spectrum(narrow, dt):
    """Power at each frequency, summed over sensors."""
    return fftfreq(len(narrow), dt), np.sum(np.abs(fft(narrow, axis=0)) ** 2, axis=1)


def is_narrow(frequency, power):
    """Whether most of the power lies about its strongest frequency, so that there is a phase to speak of."""
    factor, share = NARROW
    peak = frequency[np.argmax(power)]
    near = (frequency >= peak / factor) & (frequency <= peak * factor)
    return power[near].sum() >= share * power.sum()


def mean_wavenumber(products, where):
    """argmax_k Σ Re(C e^{2πi k·d}) by trying a grid, then Newton's method; `products` (pair,)."""
    steps, which = np.unique(np.round(where.displacement, 12), axis=0, return_inverse=True)
    joined = np.zeros(len(steps), dtype=complex)
    np.add.at(joined, which.ravel(), products)
    axes = [np.linspace(-0.5, 0.5, CANDIDATES) / h for h in where.spacing]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, where.dimension)
    height = (joined @ np.exp(2j * np.pi * steps @ grid.T)).real
    k = grid[np.argmax(height)]
    for _ in range(ROUNDS):
        turned = joined * np.exp(2j * np.pi * steps @ k)
        curvature = (steps.T * turned.real) @ steps
        if np.linalg.eigvalsh(curvature).min() <= 0:
            break
        k = k - np.linalg.solve(curvature, steps.T @ turned.imag) / (2 * np.pi)
    return k


def _influence(turned, displacement):
    """Influence (time, D) of each sample on the wavenumber."""
    curvature = (displacement.T * turned.sum(axis=0).real) @ displacement
    return -(turned.imag @ displacement) @ np.linalg.pinv(curvature) / (2 * np.pi)


def mean_frequency(later, now, wavenumber, where, dt, pairs=None):
    """Mean frequency of what neighbours share, from z(t + dt) and z(t), and the influence (time,) of each sample on it.

    `pairs` (time, pair) chooses which to count.
    """
    turn = np.exp(2j * np.pi * where.displacement @ wavenumber)
    chosen = 1.0 if pairs is None else pairs
    products = (later[:, where.second] * now[:, where.first].conj() * chosen) @ turn
    products += (later[:, where.first] * now[:, where.second].conj() * chosen) @ turn.conj()
    total = products.sum()
    influence = (products * np.conj(total)).imag / np.abs(total) ** 2
    return float(np.angle(total) / (2 * np.pi * dt)), influence / (2 * np.pi * dt)
