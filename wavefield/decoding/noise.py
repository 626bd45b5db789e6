"""Telling events from noise among values of which each is either nothing but noise or an event with noise.

    y_j = w_j x_j + σ ε_j,   x_j = 0 with probability 1 − π, else x_j ~ N(m, τ²)

with π, m, τ, and σ where it is not known, fitted to the values themselves (expectation–maximisation).
"""

from __future__ import annotations

import numpy as np

_ROUNDS = 100
_ENOUGH = 8192  # values from which a noise level is taken


def event_probability(values, weights, noise: float, *, beside=None) -> tuple[np.ndarray, float]:
    """Probability that each value is an event, and the noise σ.

    `noise` is taken as it is, unless values `beside` are given that are known to be nothing but noise: then it is the
    first guess, and fitted.
    """
    amplitudes, powers = values / weights, weights**2
    clear = (np.abs(values) > 4 * noise) | (np.abs(values) >= np.abs(values).max())
    probability = np.where(clear, 1.0, 0.0)
    mean, spread = amplitudes[clear].mean(), (amplitudes[clear] ** 2).mean()
    for _ in range(_ROUNDS):
        share = (probability.sum() + 1) / (values.size + 2)
        log_odds = np.log(share / (1 - share)) + _log_normal(values - weights * mean, noise**2 + powers * spread)
        log_odds -= _log_normal(values, noise**2)
        before, probability = probability, 1 / (1 + np.exp(-np.clip(log_odds, -700, 700)))
        # amplitudes given that they are events, and from them the parameters anew
        left = noise**2 / (noise**2 + powers * spread)
        expected = left * mean + (1 - left) * amplitudes
        total = max(probability.sum(), 1e-300)
        mean = probability @ expected / total
        # the square of the mean counts as one value more: a single event has a spread, too
        spread = (probability @ ((expected - mean) ** 2 + left * spread) + mean**2) / (total + 1)
        if beside is not None:
            quiet = (1 - probability) @ values**2 + (beside**2).sum()
            noise = float(np.sqrt(quiet / ((1 - probability).sum() + beside.size)))
        if np.abs(probability - before).max() < 1e-3:
            break
    return probability, noise


def separable_noise(values: np.ndarray) -> float:
    """Noise level of values of which at least half are nothing but noise and the rest stand out; 0 if they do not."""
    values = values[:: 1 + values.size // _ENOUGH]
    size = np.abs(values)
    noise = np.median(size) / 0.6745
    for _ in range(_ROUNDS):
        quiet = size < 4 * noise
        before, noise = noise, np.sqrt(np.mean(values[quiet] ** 2)) if quiet.any() else 0.0
        if abs(noise - before) <= 1e-6 * before:
            break
    loud = size >= 6 * noise
    apart = loud.any() and (size[loud] > 10 * noise).mean() > 0.5 and ((size >= 4 * noise) ^ loud).mean() < 0.02
    return float(noise) if apart and loud.mean() < 0.5 else 0.0


def _log_normal(deviation, variance):
    return -0.5 * (deviation**2 / variance + np.log(variance))
