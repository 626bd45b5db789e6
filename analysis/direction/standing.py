"""Is it one standing wave? The strongest mode of the record, freed from noise, held against cos(2πk·x + φ).

The spectra of all sensors (frequency × sensor) are split into complex modes by a singular value decomposition. What
noise alone would give, white and as strong as the median of the periodogram says, is at most about
(√rows + √sensors)² σ² and is subtracted from the squared singular values. A standing wave is then

- one mode: it holds most of the power above the noise (two oscillators of different frequencies make two modes),
- of one phase up to its sign: the singular values s₁ ≥ s₂ of [Re φ, Im φ] have a small ratio,
- and a wave: one pair ±k with at least one wavelength on the array explains its pattern.
"""

from __future__ import annotations

import numpy as np
import xarray as xr
from scipy.optimize import minimize

from analysis.direction.pairs import BLOCK, pair_basis, spectra, wavenumbers
from analysis.direction.plane import channels
from analysis.fields.band import Band
from analysis.fields.field import Field
from analysis.fields.sensors import Sites
from analysis.fields.units import labelled

ONE_MODE = 0.8  # share of the power above the noise that the strongest mode must hold
ONE_PHASE = 0.3  # largest s₂/s₁; amplitudes 1 and 0.54 of the two directions
ONE_WAVE = 0.85  # share of the mode's pattern that one pair must explain; a step up has 0.81
MARGIN = 1.5  # by which the strongest mode must exceed the most that noise gives


def standing_wave(field: Field, band: Band | None = None) -> dict[str, xr.DataArray]:
    """How much of each channel is one standing wave: ``mode_share``, ``mode_index`` (s₂/s₁) and ``mode_fit``."""
    field.check_steps(4)
    where = field.space.sensors()
    dims = [dim for dim in field.ordered.dims if dim == "channel"]
    found = np.zeros((3, *[field.values.sizes[dim] for dim in dims]))
    for at, values in channels(field):
        spectrum = spectra(values, field.time.step, band)[1]
        found[(slice(None), *at)] = strongest_mode(spectrum.reshape(-1, where.count), where)
    texts = {
        "mode_share": "share of the power above the noise that the strongest mode holds",
        "mode_index": "travelling index of the strongest mode (0 standing, 1 travelling)",
        "mode_fit": "share of its pattern that one pair of opposite plane waves explains",
    }
    return {
        name: xr.DataArray(values, dims=dims, attrs=labelled("1", text))
        for (name, text), values in zip(texts.items(), found, strict=True)
    }


def strongest_mode(rows: np.ndarray, where: Sites) -> tuple[float, float, float]:
    """Share, s₂/s₁ and fit of the strongest mode of spectra (row, site); zero share where noise would give it."""
    if rows.shape[0] > rows.shape[1]:  # piece by piece: rows of a long record are as large as it
        gram = sum(part.conj().T @ part for part in np.array_split(rows, 1 + rows.size // BLOCK))
    else:
        gram = rows @ rows.conj().T
    power, vectors = np.linalg.eigh(gram)
    pattern = vectors[:, -1].conj() if rows.shape[0] > rows.shape[1] else rows.T @ vectors[:, -1].conj()
    size = rows.real**2
    size += rows.imag**2
    noise = np.median(size, overwrite_input=True) / np.log(2)
    del size  # half as large as the spectra
    edge = noise * (np.sqrt(rows.shape[0]) + np.sqrt(rows.shape[1])) ** 2
    if not power[-1] > max(MARGIN * edge, 1e-300):
        return 0.0, 0.0, 0.0
    above = np.maximum(power - edge, 0.0)
    pattern = pattern / np.linalg.norm(pattern)
    swelling, quadrature = np.linalg.svd(np.column_stack([pattern.real, pattern.imag]), compute_uv=False)
    lost = noise * sum(rows.shape) / power[-1]  # share of the pattern that is noise
    return float(above[-1] / above.sum()), float(quadrature / swelling), pair_fit(pattern, where) / max(1 - lost, 0.5)


def pair_fit(pattern: np.ndarray, where: Sites) -> float:
    """Largest share of a pattern (site,) in one pair ±k of at least one wavelength on the array."""
    extent = np.where(where.closed, where.period, np.ptp(where.position, axis=0) + where.spacing)
    extent = np.where(np.isfinite(extent), extent, 0.0)
    tried = wavenumbers(where)
    tried = tried[np.linalg.norm(tried * extent, axis=1) >= 1 - 1e-9]
    best, share = None, 0.0
    for some in np.array_split(tried, max(1, len(tried) * where.count // 2**20)):
        k, shares = _shares(some, pattern, where)
        if shares.max(initial=0.0) > share:
            best, share = k[np.argmax(shares)], shares.max()
    if best is None:
        return 0.0
    step = 0.125 / np.maximum(extent, where.spacing)  # half of that between the wavenumbers tried
    start = best + np.vstack([np.zeros_like(step), np.diag(step)])

    def unexplained(k):
        long = np.linalg.norm(k * extent) < 1 - 1e-9
        return 1.0 if long else 1 - _shares(k[None], pattern, where)[1].max(initial=0.0)

    found = minimize(
        unexplained,
        best,
        method="Nelder-Mead",
        options={"initial_simplex": start, "xatol": 0.01 * step.min(), "fatol": 1e-3},
    )
    return float(max(share, 1 - found.fun))


def _shares(k: np.ndarray, pattern: np.ndarray, where: Sites) -> tuple[np.ndarray, np.ndarray]:
    """Those of the wavenumbers whose cos and sin the sensors distinguish, and the share of the pattern in each pair."""
    k, basis, _ = pair_basis(k, where.centred)
    return k, np.sum(np.abs(np.einsum("n,knc->kc", pattern, basis)) ** 2, axis=1)
