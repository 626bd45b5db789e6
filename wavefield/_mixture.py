"""Telling events from noise among values of which each is either nothing but noise or an event with noise.

    z_j = x_j + ε_j,   ε_j ~ N(0, s_j²),   x_j = 0 with probability 1 − π, else x_j ~ N(m, τ²)

with π, m and τ fitted to the values themselves (expectation–maximisation).
"""

from __future__ import annotations

import numpy as np

_ROUNDS = 50


def event_probability(values: np.ndarray, errors: np.ndarray) -> np.ndarray:
    """Probability that each value is an event, given the standard deviations of its noise."""
    clear = np.abs(values) > 4 * errors
    if not clear.any():
        clear = np.abs(values) >= np.abs(values).max()
    share = (clear.sum() + 1) / (values.size + 2)
    mean, square = values[clear].mean(), _spread(values[clear], errors[clear], np.ones(clear.sum()))
    probability = clear.astype(float)
    for _ in range(_ROUNDS):
        log_odds = np.log(share / (1 - share)) + _log_normal(values - mean, errors**2 + square)
        log_odds -= _log_normal(values, errors**2)
        before, probability = probability, 1 / (1 + np.exp(-np.clip(log_odds, -700, 700)))
        total = probability.sum()
        share = (total + 1) / (values.size + 2)
        if total > 0.5:
            mean = (probability @ values) / total
            square = _spread(values, errors, probability)
        if np.abs(probability - before).max() < 1e-4:
            break
    return probability


def separable_noise(values: np.ndarray) -> float:
    """Noise level of values of which at least half are nothing but noise and the rest stand out; 0 if they do not."""
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


def _spread(values, errors, weights):
    """Variance of the amplitudes; with the square of their mean as one more value, so that one event has a spread."""
    mean = (weights @ values) / weights.sum()
    beyond = np.maximum((values - mean) ** 2 - errors**2, 0)
    return (weights @ beyond + mean**2) / (weights.sum() + 1) + 1e-300


def _log_normal(deviation, variance):
    return -0.5 * (deviation**2 / variance + np.log(variance))
