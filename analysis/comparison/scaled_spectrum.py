"""Wavenumber–frequency spectra of any layout on common axes, stretch by stretch.

    P(κ, φ) = Σ_κy | Σ_{t,i} w(t) u_i(t) exp(−2πi(f t − k·x_i)) |²,    k = κ / length, f = φ / time,

a Fourier sum over the places of the sensors, which need no grid; +κ travels to +x. Every stretch is normalised to 1.
"""

from __future__ import annotations

import numpy as np
from scipy import fft

from analysis.fields.field import Field
from analysis.fields.trend import without_trend

MOST = 8  # wavelengths per array length
FREQUENCIES = np.arange(0.25, 3.01, 0.25)  # edges, in spectral peaks


def wavenumbers(*recordings: tuple[Field, float]) -> np.ndarray:
    """κ that all of the recordings' arrays resolve, pairs of (field, length)."""
    finest = MOST
    for field, length in recordings:
        spacing = field.space.everywhere.sensors().spacing.max()
        finest = min(finest, int(0.5 * length / spacing + 1e-6))
    return np.arange(-max(finest, 1), max(finest, 1) + 1)


def stretch_spectra(
    cut: Field, kappa: np.ndarray, *, length: float, peaks: np.ndarray, turn: float = 0.0
) -> np.ndarray:
    """Normalised power (stretch, φ, κ) of what `analysis.comparison.segments.stretches` returned.

    Parameters
    ----------
    kappa : array
        Wavenumbers, in units of 1/length.
    length : float
        In units of the recording's space.
    peaks : array, (stretch,)
        Frequency that is φ = 1, in units of the recording's.
    turn : float
        Angle by which the +x of the common axis lies counter-clockwise from the array's.
    """
    time, where = cut.time, cut.space.sensors()
    x = where.position - where.position.mean(axis=0)
    if where.dimension == 1:
        vectors = kappa[:, None, None] / length  # (κ, 1, 1)
    else:
        along, across = np.array([np.cos(turn), np.sin(turn)]), np.array([-np.sin(turn), np.cos(turn)])
        vectors = (kappa[:, None, None] * along + kappa[None, :, None] * across) / length  # (κ, κ_y, 2)
    waves = np.exp(2j * np.pi * (vectors @ x.T)).reshape(-1, where.count)
    window = np.hanning(time.size + 2)[1:-1, None]
    frequency = fft.rfftfreq(time.size, time.step)
    spectra = np.zeros((len(peaks), len(FREQUENCIES) - 1, len(kappa)))
    for number, (_, values) in enumerate(cut.traces()):
        if not np.isfinite(peaks[number]):
            continue
        bins = np.digitize(frequency / peaks[number], FREQUENCIES) - 1
        inside = (bins >= 0) & (bins < spectra.shape[1]) & (frequency > 0) & (frequency < time.nyquist)
        u = fft.rfft(without_trend(values) * window, axis=0)[inside]
        power = np.abs(u @ waves.T).reshape(len(u), len(kappa), -1) ** 2
        np.add.at(spectra[number], bins[inside], power.sum(axis=-1))
        spectra[number] /= max(spectra[number].sum(), np.finfo(float).tiny)
    return spectra
