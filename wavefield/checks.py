"""Checks of arguments at the door: each returns the value in its usual form or raises an error that names it."""

from __future__ import annotations

from typing import Any

import numpy as np


def positive(value: Any, name: str) -> float:
    """Return `value` as a float if it is a finite positive number, else raise a ValueError that names it."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise TypeError(f"{name} must be a positive number, got {value!r}") from None
    if not (np.isfinite(number) and number > 0):
        raise ValueError(f"{name} must be a finite positive number, got {value!r}")
    return number


def positive_int(value: Any, name: str, least: int = 1) -> int:
    """Return `value` as an int if it is an integer of at least `least`, else raise an error that names it."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"{name} must be an integer of at least {least}, got {value!r}")
    if value < least:
        raise ValueError(f"{name} must be at least {least}, got {value}")
    return int(value)


def plain_array(value: Any, name: str) -> np.ndarray:
    """Return `value` as an array, else raise a TypeError that names it."""
    try:
        return np.asarray(value)
    except (RuntimeError, TypeError, ValueError) as error:  # a tensor that requires grad, a ragged list
        raise TypeError(f"{name} must be an array of real numbers (a tensor detached): {error}") from None


def real_array(value: Any, name: str, wanted: str = "finite") -> np.ndarray:
    """Return a copy of `value` as a float array if it is finite real numbers, else raise an error that names it."""
    array = plain_array(value, name)
    if array.dtype.kind not in "iuf":
        raise TypeError(f"{name} must be an array of real numbers, got dtype {array.dtype}")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} must be {wanted}, it holds NaN or infinity")
    return array.astype(float)


def finite_vector(value: Any, name: str) -> np.ndarray:
    """Return `value` as a 1-D float array of finite numbers."""
    try:
        vector = np.atleast_1d(np.asarray(value, dtype=float))
    except (TypeError, ValueError):
        raise TypeError(f"{name} must be a number or a sequence of numbers, got {value!r}") from None
    if vector.ndim != 1 or vector.size == 0:
        raise ValueError(f"{name} must be a number or one number per ring, got an array of shape {np.shape(value)}")
    if not np.isfinite(vector).all():
        raise ValueError(f"{name} must be finite, got {value!r}")
    return vector


def grid_shape(size: Any, name: str, dims: int) -> tuple[int, ...]:
    """Return the numbers of positions along each axis: (N,) of a line, (Ny, Nx) of a sheet."""
    if dims == 1:
        return (positive_int(size[0] if isinstance(size, tuple) and len(size) == 1 else size, name),)
    if not isinstance(size, (tuple, list, np.ndarray)) or len(size) != dims:
        raise TypeError(f"{name} of a sheet must be a pair (Ny, Nx), got {size!r}")
    return tuple(positive_int(n, name) for n in size)
