"""Eigenvalues of a trained recurrence compared with those of the system that it learned.

Eigenvalues do not depend on the basis: if the network is a wave with the boundary Φ, its persisting eigenvalues are
those of Φ. With |λ| > 1 a tanh network saturates into a limit cycle, so that the published comparison looks at angles
alone; moduli are reported here beside them.
"""

from __future__ import annotations

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike
from scipy.optimize import linear_sum_assignment

from analysis.fields.units import labelled
from analysis.working_memory.recovery import Theory, check_found


def compare_spectra(found: xr.Dataset | ArrayLike, system: Theory, *, threshold: float = 0.9) -> xr.Dataset:
    """Pair the persisting eigenvalues of a recurrence with those of a linear system, and say how far apart they are.

    The pairing is the best of all: it minimises Σ |ln λ − ln μ|, whose imaginary part is the angle between the two and
    whose real part the ratio of their moduli. Where the numbers differ, what is left over is counted.

    Parameters
    ----------
    found : Dataset of `recover_waves`, or array_like
        An array is a recurrent matrix (N, N), such as weight_hh or a Jacobian, or a vector of eigenvalues.
    system : linear system of `wavefield.history`, or array_like
        Φ (M, M) or its eigenvalues likewise.
    threshold : float
        Eigenvalues of a larger modulus persist; 0 or more. Those of a Dataset are the ones it found to persist; where
        these fade, so may those of theory, which then need `threshold` times the modulus of the weakest of them.

    Returns
    -------
    xarray.Dataset
        Along ``pair``: ``theory_angle``, ``theory_modulus``, ``learned_angle``, ``learned_modulus``, and of learned −
        theory, signed, ``angle_error`` (radians) and ``modulus_error``. Numbers: ``mean_angle_error`` and
        ``mean_modulus_error`` (of absolute values; NaN without pairs), ``largest_angle_error``, ``unmatched_theory``,
        ``unmatched_learned``, and ``greedy_angle_error``, the published figure: each eigenvalue of theory in turn takes
        the nearest left in angle, above 0.9 on both sides, NaN where their numbers differ.

    Raises
    ------
    ValueError, TypeError
        If an argument is none of these.

    References
    ----------
    The published figure: Karuvally, Sejnowski and Siegelmann, code of the ICML 2024 paper's predecessor, emt-tools.

    Examples
    --------
    >>> import wavefield as wf
    >>> turned = np.exp(2j * np.pi * np.array([0.01, 0.26, 0.51, 0.76]))  # a little off the fourth roots of unity
    >>> result = compare_spectra(turned, wf.history.repeat_copy(1, 4))
    >>> round(float(result.mean_angle_error / (2 * np.pi)), 6), int(result.unmatched_theory)
    (0.01, 0)
    """
    if not threshold >= 0:
        raise ValueError(f"threshold must be a modulus, 0 or more, got {threshold!r}")
    if isinstance(found, xr.Dataset):
        check_found(found)
        everything = found["modulus"].values * np.exp(1j * found["angle"].values)
        learned = everything[found["persists"].values == 1]
        threshold *= min(1.0, np.abs(learned).min())
    else:
        everything = eigenvalues_of(found, "found")
        learned = everything[np.abs(everything) > threshold]
    values = eigenvalues_of(system, "system")
    theory = values[np.abs(values) > threshold]
    rows, columns = linear_sum_assignment(np.abs(_apart(theory[:, None], learned)))
    theory_paired, learned_paired = theory[rows], learned[columns]
    apart = _apart(theory_paired, learned_paired)
    pairs = {
        "theory_angle": (np.angle(theory_paired), "angle of the eigenvalue of theory", "rad"),
        "theory_modulus": (np.abs(theory_paired), "modulus of the eigenvalue of theory", "1"),
        "learned_angle": (np.angle(learned_paired), "angle of the learned eigenvalue", "rad"),
        "learned_modulus": (np.abs(learned_paired), "modulus of the learned eigenvalue", "1"),
        "angle_error": (apart.imag, "angle from theory to the learned eigenvalue", "rad"),
        "modulus_error": (np.abs(learned_paired) - np.abs(theory_paired), "difference of the moduli", "1"),
    }
    angles, moduli = np.abs(pairs["angle_error"][0]), np.abs(pairs["modulus_error"][0])
    numbers = {
        "mean_angle_error": (_mean(angles), "mean angle between paired eigenvalues", "rad"),
        "largest_angle_error": (angles.max() if angles.size else np.nan, "largest angle of a pair", "rad"),
        "mean_modulus_error": (_mean(moduli), "mean difference of paired moduli", "1"),
        "greedy_angle_error": (_greedy(values, everything), "mean angle of the published greedy pairing", "rad"),
        "unmatched_theory": (theory.size - rows.size, "eigenvalues of theory without a partner", "1"),
        "unmatched_learned": (learned.size - rows.size, "learned eigenvalues without a partner", "1"),
    }
    return xr.Dataset(
        {name: ("pair", array, labelled(units, text)) for name, (array, text, units) in pairs.items()}
        | {name: ((), value, labelled(units, text)) for name, (value, text, units) in numbers.items()},
        attrs={"method": "assignment of least total |ln λ − ln μ|", "threshold": float(threshold)},
    )


def _greedy(theory, learned):
    """Mean angle as published: unit vectors, each of theory in turn matched to the nearest one left."""
    theory, learned = theory[np.abs(theory) > 0.9], learned[np.abs(learned) > 0.9]
    if theory.size != learned.size or theory.size == 0:
        return np.nan
    units = (np.stack([values.real, values.imag], axis=-1) / np.abs(values)[:, None] for values in (theory, learned))
    theory_units, learned_units = units
    apart = np.arccos(np.clip(theory_units @ learned_units.T, -1, 1))
    left, total = np.ones(learned.size, bool), 0.0
    for row in apart:
        nearest = np.flatnonzero(left)[np.argmin(row[left])]
        left[nearest] = False
        total += row[nearest]
    return total / theory.size


def _apart(theory, learned):
    """ln learned − ln theory, the angle in (−π, π]."""
    ratio = learned / theory
    return np.log(np.abs(ratio)) + 1j * np.angle(ratio)


def _mean(values):
    return values.mean() if values.size else np.nan


def eigenvalues_of(given: Theory, name: str) -> np.ndarray:
    """Return the eigenvalues of a linear system of `wavefield.history` or of a matrix, or those that are given.

    Raises
    ------
    ValueError, TypeError
        Naming the argument, if it is none of these.
    """
    if hasattr(given, "spectrum"):
        return given.spectrum()
    try:
        array = np.asarray(given)
    except (RuntimeError, TypeError, ValueError) as error:  # a tensor that requires grad, a ragged list
        raise TypeError(f"{name} must be a matrix or eigenvalues (a tensor detached): {error}") from None
    if array.dtype.kind not in "iufc":
        raise TypeError(f"{name} must be a matrix or eigenvalues, got {type(given).__name__}")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} must be finite, it holds NaN or infinity")
    if array.ndim == 1 and array.size:
        return array.astype(complex)
    if array.ndim != 2 or array.shape[0] != array.shape[1] or array.size == 0:
        raise ValueError(f"{name} must be a square matrix or a vector of eigenvalues, got shape {array.shape}")
    return np.linalg.eigvals(array)
