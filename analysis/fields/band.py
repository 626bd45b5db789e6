"""Bands of frequencies: how they are checked, and which frequencies lie in one."""

import numpy as np

from analysis.fields.axes import Axis
from analysis.fields.units import inverse_units

Band = tuple[float, float]  # lowest and highest frequency, cycles per unit of time


def check_band(band: Band, time: Axis, *, name: str = "band", filtered: bool = False) -> Band:
    """The band as two floats.

    Parameters
    ----------
    band : (float, float)
        Lowest and highest frequency, cycles per unit of `time`.
    name : str
        Of the argument, for the error.
    filtered : bool
        Whether it is to be filtered to: a band-pass filter has no edge at 0 or at half the sampling rate, where a
        selection of frequencies may begin and end.

    Raises
    ------
    ValueError
        Edges that are out of order, negative, or above half the sampling rate.
    """
    try:
        lowest, highest = (float(edge) for edge in band)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} is {band!r}: two frequencies, (lowest, highest), are needed") from error
    less = "<" if filtered else "≤"
    if not 0 <= lowest < highest <= time.nyquist or (filtered and not 0 < lowest < highest < time.nyquist):
        raise ValueError(
            f"{name} is {tuple(band)}: 0 {less} lowest < highest {less} {time.nyquist:.6g} {inverse_units(time.units)} "
            "(half the sampling rate) is needed"
        )
    return lowest, highest


def in_band(frequency: np.ndarray, band: Band | None) -> np.ndarray:
    """Which of the frequencies lie in the band, its edges included; all of them where `band` is None."""
    if band is None:
        return np.ones(np.shape(frequency), dtype=bool)
    return (frequency >= band[0]) & (frequency <= band[1])
