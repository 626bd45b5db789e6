"""The straight line that each trace follows over time, taken out of it."""

import numpy as np


def without_trend(values: np.ndarray, axis: int = 0) -> np.ndarray:
    r"""`values` less the straight line that fits each trace along `axis` best, by least squares.

    With t counted from the middle of the record, line and mean are orthogonal,

    .. math:: \bar u + t \frac{\sum t\, u}{\sum t^2},

    so that one new array is all that is needed, which matters where the values are as large as the memory.
    """
    moved = np.moveaxis(values, axis, 0)
    steps = len(moved)
    ramp = np.arange(steps) - (steps - 1) / 2
    norm, ramp = max(ramp @ ramp, 1e-300), ramp.astype(np.result_type(values.dtype, np.float32))
    slope = (np.tensordot(ramp, moved, axes=1) / norm).astype(ramp.dtype)
    out = np.multiply.outer(ramp, -slope)
    out += moved
    out -= moved.mean(axis=0)
    return np.moveaxis(out, 0, axis)
