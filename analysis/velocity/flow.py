"""The optical-flow estimate: how far the pattern of a band has moved between two frames, place by place.

The analytic signal of the band, z(x, t), has one strongest pattern φ(x), its first complex principal component, which
turns at the frequency f. Frames Re(φ e^{iθ}) a tenth of a turn apart are drawn finely (cubic splines), and the TV-L1
optical flow w of scikit-image carries the one into the other. Where fronts are straight, a flow says nothing of what
moves along them (the aperture problem); what it says across them, along the gradient g of the frames, is

    V = Σ (w·g) g / Σ |g|²    over the places but the edges, and over frames all round a turn,

which is the velocity f/k of a plane wave, so that its slowness is V/|V|². On few and coarse pixels the flow is off by
one or two per cent; by how much is measured on the frames of the plane wave that was found, and taken out.

The interval is that of the jackknife: with one of five stretches of the record left out in turn, the slownesses scatter
with the four degrees of freedom of `analysis.velocity.result`. What noise in the pattern takes from the velocity is
taken out by the same means (Quenouille 1956, Biometrika 43).
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import zoom

from analysis.fields.dead import fill, fill_weights
from analysis.fields.sensors import Sites
from analysis.velocity.phase_gradient import analytic_pair, is_narrow, power_spectrum
from analysis.velocity.result import COSINES, Estimate

SMALLEST = 32  # pixels along the shorter side, between 2 and 4 for every spacing of the sensors
PART = 10  # of a turn lie between the two frames of a pair
FRAMES = 8  # pairs round a turn
ATTACHMENT = 50  # of the flow to the frames, against its smoothness; with the default 15 long waves are 10 % slow
SEEN = 3.0  # standard errors by which the velocity must differ from zero
UNSURE = 0.25  # share of the correction by which it may be wrong


def flow(values: np.ndarray, dt: float, where: Sites, *, band=None, slowest=None) -> Estimate:
    """Slowness of what moves in `values` (time, site) of a grid, by optical flow in `band`."""
    if where.dimension == 1:  # distances from a centre are no picture
        return Estimate("curved")
    _, narrow = analytic_pair(values, dt, band)
    frequencies, power = power_spectrum(narrow, dt)
    if not is_narrow(frequencies, power):
        return Estimate("broadband")
    blocks = np.array_split(np.arange(len(narrow)), COSINES + 1)
    grams = np.array([narrow[block].conj().T @ narrow[block] for block in blocks])  # (block, site, site)
    pattern, frequency, explained = _turning(narrow, grams.sum(axis=0), np.arange(len(narrow)), dt)
    found = _velocity(pattern, frequency, where)
    left_out = []
    for n, block in enumerate(blocks):
        kept = np.setdiff1d(np.arange(len(narrow)), block)
        left_out.append(_velocity(*_turning(narrow, np.delete(grams, n, axis=0).sum(axis=0), kept, dt)[:2], where))
    error = np.sqrt(np.trace(_jackknife(np.array(left_out))))
    if not np.linalg.norm(found) > SEEN * error:
        return Estimate("no_wave", frequency=frequency)
    without = np.array([one / np.sum(one**2) for one in left_out])
    covariance = _jackknife(without)
    # noise in the pattern bends its gradient and slows the flow, in inverse proportion to the length of the record
    slowness = len(blocks) * found / np.sum(found**2) - (len(blocks) - 1) * without.mean(axis=0)
    plane = np.exp(-2j * np.pi * frequency * where.position @ slowness) / np.sqrt(where.count)
    ideal = _velocity(plane, frequency, where)
    correction = slowness - ideal / max(np.sum(ideal**2), np.finfo(float).tiny)
    if np.linalg.norm(correction) > 0.5 * np.linalg.norm(slowness):  # not even a plane wave's frames give its velocity
        return Estimate("aliased", frequency=frequency)
    slowness = slowness + correction
    if slowest is not None and 1 / np.linalg.norm(slowness) < slowest:
        return Estimate("aliased", frequency=frequency)
    covariance = covariance + UNSURE**2 * np.outer(correction, correction)
    return Estimate("ok", slowness, covariance, frequency, explained)


def _jackknife(left_out: np.ndarray) -> np.ndarray:
    """Covariance (2, 2) of an estimate, from those with one of the blocks left out (block, 2)."""
    centred = left_out - left_out.mean(axis=0)
    return (len(left_out) - 1) / len(left_out) * centred.T @ centred


def _turning(narrow, gram, kept, dt) -> tuple[np.ndarray, float, float]:
    """The strongest pattern φ (site,) of z ≈ a(t) φ, the frequency at which a turns, and its share of the power."""
    values, vectors = np.linalg.eigh(gram)
    pattern = vectors[:, -1].conj()
    a = narrow @ pattern.conj()
    ahead = kept[:-1][np.diff(kept) == 1]  # samples whose next one is kept, too
    turn = np.angle(np.sum(a[ahead + 1] * a[ahead].conj()))
    return pattern, float(turn / (2 * np.pi * dt)), float(values[-1] / max(values.sum(), np.finfo(float).tiny))


def _velocity(pattern: np.ndarray, frequency: float, where: Sites) -> np.ndarray:
    """V (2,) of a pattern (site,) that turns at this frequency."""
    finer = int(np.clip(-(-SMALLEST // min(where.shape)), 2, 4))
    sums = np.zeros(3)
    for turn in 2j * np.pi * np.arange(FRAMES) / FRAMES:
        before, after = (
            _frame((pattern * np.exp(turn + later)).real, where, finer) for later in (0.0, 2j * np.pi / PART)
        )
        sums += _moved(before, after, finer)
    return where.spacing / finer * PART * frequency * sums[:2] / max(sums[2], np.finfo(float).tiny)


def _frame(values: np.ndarray, where: Sites, finer: int) -> np.ndarray:
    """One frame (y, x) of `values` (site,), of about one at its crests, dead sensors filled, drawn finely."""
    image = np.zeros(where.alive.size)
    image[where.alive] = values * np.sqrt(where.count)
    image = image.reshape(where.shape)
    if not where.alive.all():
        dead = ~where.alive.reshape(where.shape)
        image = fill(image, dead, fill_weights(dead, (bool(where.closed[1]), bool(where.closed[0]))))
    return zoom(image, [((n - 1) * finer + 1) / n for n in image.shape], order=3)


def _moved(before: np.ndarray, after: np.ndarray, finer: int) -> np.ndarray:
    """Σ (w·g) g along x and y, and Σ |g|², with w in pixels, the outermost sensors left out."""
    from skimage.registration import optical_flow_tvl1

    w = optical_flow_tvl1(before, after, attachment=ATTACHMENT, dtype=np.float64)  # (y and x, y, x)
    g = np.array(np.gradient((before + after) / 2))
    inside = (slice(None), slice(finer, -finer), slice(finer, -finer))
    w, g = w[inside], g[inside]
    across = np.sum(w * g, axis=0)
    return np.array([np.sum(across * g[1]), np.sum(across * g[0]), np.sum(g**2)])
