"""Recordings in which chance has destroyed one kind of order: the nulls of `analysis.direction.significance`.

==============  ================================================================  =====================================
null            what is done to the recording                                     what it keeps
==============  ================================================================  =====================================
``position``    positions permuted (the same for all samples of a channel)        every time series; all of time
``time``        samples permuted (the same for all positions)                     every snapshot; all of space
``both``        both of these                                                     the values only
``shift``       every position's series shifted circularly by its own random lag  every series' spectrum and waveform
``phase``       every position's series given random Fourier phases               every series' spectrum, not waveform
==============  ================================================================  =====================================

None of them keeps a field smooth in both space and time, so all of them call a smooth field that does not travel
significant (measured: 20–44 % at 5 %, for the direction index). They answer "is there order in space and time?", not
"does it travel?".
"""

import numpy as np
import xarray as xr
from scipy import fft

from analysis.fields.field import Field
from analysis.fields.read import Recording, check_finite
from analysis.fields.units import netcdf_attrs

SURROGATES = ("position", "time", "both", "shift", "phase")


def surrogate(rec: Recording, null: str, *, seed: int | np.random.Generator) -> xr.DataArray:
    """One surrogate of the activity, each trial and channel by its own random draw.

    Parameters
    ----------
    rec : xarray.Dataset or xarray.DataArray
        Any recording; loaded into memory.
    null : {"position", "time", "both", "shift", "phase"}
        See the table above.
    seed : int or numpy.random.Generator

    Returns
    -------
    xarray.DataArray
        Shaped and labelled like the activity.

    Examples
    --------
    >>> from analysis import synthetic
    >>> rec = synthetic.plane(synthetic.ring(8), 16, wavenumber=1 / 8, frequency=1 / 8)
    >>> shuffled = surrogate(rec, "position", seed=0)
    >>> bool((np.sort(shuffled, axis=1) == np.sort(rec.activity, axis=1)).all())
    True
    """
    shuffled = scrambled(Field.of(rec), null, np.random.default_rng(seed))
    return shuffled.assign_attrs(netcdf_attrs(surrogate_seed=seed))


def scrambled(field: Field, null: str, rng: np.random.Generator) -> xr.DataArray:
    """The values of a surrogate, in the order of those of `field`."""
    if null not in SURROGATES:
        raise ValueError(f"null is {null!r}: one of {SURROGATES} is needed")
    array = field.ordered
    values = array.values
    check_finite(values)
    positions = int(np.prod(field.space.shape))
    flat = values.reshape(-1, array.sizes["time"], positions)
    shuffled = np.stack([_scramble(one, null, rng) for one in flat]).reshape(values.shape)
    result = array.copy(data=shuffled.astype(values.dtype, copy=False)).transpose(*field.values.dims)
    return result.assign_attrs(netcdf_attrs(surrogate=null, surrogate_seed=rng))


def _scramble(values, null, rng):
    """A surrogate of one trial and channel, (time, positions)."""
    steps, positions = values.shape
    if null == "shift":
        lag = rng.integers(0, steps, positions)
        return values[(np.arange(steps)[:, None] - lag) % steps, np.arange(positions)]
    if null == "phase":
        spectrum = fft.rfft(values, axis=0)
        inner = slice(1, (steps + 1) // 2)  # the mean and the Nyquist bin stay real
        turns = rng.random(spectrum[inner].shape, dtype=values.dtype.type)
        spectrum[inner] *= np.exp(2j * np.pi * turns).astype(spectrum.dtype)
        return fft.irfft(spectrum, n=steps, axis=0)
    if null in ("time", "both"):
        values = values[rng.permutation(steps)]
    return values[:, rng.permutation(positions)] if null in ("position", "both") else values
