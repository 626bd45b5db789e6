"""Spectra against a shuffled background, and the power along a line of constant speed.

Shuffling the samples over space and time keeps their distribution and destroys every order, so the ratio of a spectrum
to that of shuffled copies shows where there is structure, whether or not it travels. The published "diagonal power" of
wave-RNN hidden states is here beside `ridge_power`, which follows a line of constant *speed*.
"""

from collections.abc import Sequence

import numpy as np
import xarray as xr
from scipy import fft

from analysis.fields.dead import Mask
from analysis.fields.field import Field
from analysis.fields.read import Recording, check_finite
from analysis.fields.units import labelled, netcdf_attrs, speed_units
from analysis.spectra.transform import Spectral, mapped_power, plan_transform

SHUFFLES = ("both", "space", "time", "either")


def background_normalised_spectrum(
    rec: Recording,
    *,
    seed: int | np.random.Generator,
    shuffle: str = "both",
    copies: int = 10,
    window: str | tuple | float = "hann",
    space_window: str | tuple | float | None = None,
    detrend: str | None = "linear",
    segment: int | None = None,
    overlap: float = 0.5,
    average: str | Sequence[str] = (),
    mask: Mask = None,
) -> xr.Dataset:
    """The wavenumber–frequency spectrum divided by the mean spectrum of shuffled copies of the recording.

    Parameters
    ----------
    rec, window, space_window, detrend, segment, overlap, average, mask
        As in `wavenumber_frequency_spectrum`.
    seed : int or numpy.random.Generator
    shuffle : {"both", "space", "time", "either"}
        What is permuted, after detrending: positions and samples (Keller's wave RNNs, as described); positions only;
        samples only (what the published code does); ``"either"`` is the mean of the spectra of space- and
        time-permuted copies (Davis 2021, whose figure is 10 log10 of this ratio, taken over amplitudes).
    copies : int
        Shuffled copies to average over. One alone leaves the background as rough as the spectrum.

    Returns
    -------
    xarray.Dataset
        ``ratio`` (1: no more than in the shuffled copies), ``power`` and ``background`` (|U|² in arbitrary units).

    References
    ----------
    Davis, Benigno, …, Muller (2021), Nat. Commun. 12, 6057; Keller et al. (2024), ICLR, appendix B.
    """
    if shuffle not in SHUFFLES:
        raise ValueError(f"shuffle is {shuffle!r}: one of {SHUFFLES} is needed")
    if int(copies) != copies or copies < 1:
        raise ValueError(f"copies is {copies}: a positive whole number is needed")
    field, rng = Field.of(rec, mask), np.random.default_rng(seed)
    plan = plan_transform(field, Spectral(window, space_window, detrend, segment, overlap))
    array = field.values
    power = mapped_power(array, plan, average=average)
    positions = int(np.prod([axis.size for axis in plan.space]))
    kinds = ("space", "time") if shuffle == "either" else (shuffle,)
    background = 0
    for _ in range(copies):
        for kind in kinds:
            order = _orders(rng, kind, plan.segment, positions)
            background = background + mapped_power(array, plan, average=average, order=order) / (copies * len(kinds))
    result = xr.Dataset({"ratio": power / background, "power": power, "background": background})
    result["ratio"].attrs = labelled("1", "power over that of shuffled copies")
    for name in ("power", "background"):
        result[name].attrs = labelled("1", f"{name}, arbitrary units")
    parameters = {"shuffle": shuffle, "copies": copies, "window": window, "segment": plan.segment, "detrend": detrend}
    return result.assign_attrs(netcdf_attrs(method="background-normalised spectrum", seed=seed, **parameters))


def _orders(rng, kind, steps, positions):
    in_time = rng.permutation(steps) if kind in ("both", "time") else np.arange(steps)
    in_space = rng.permutation(positions) if kind in ("both", "space") else np.arange(positions)
    return in_time, in_space


def ridge_power(spectrum: Recording, speed: float | Sequence[float]) -> xr.DataArray:
    """Mean of a spectrum along the line f = speed · k, over the mean of the spectrum.

    1 for a spectrum without structure, large where what travels does so at this speed. Each wavenumber (k = 0 and
    Nyquist left out) is read at the frequency speed · k, interpolated between bins; k whose line leaves the band
    0 < f < Nyquist do not count.

    Parameters
    ----------
    spectrum : xarray.Dataset or xarray.DataArray
        From `wavenumber_frequency_spectrum` (``power``) or `background_normalised_spectrum` (``ratio``), one space
        axis.
    speed : float or sequence of float
        Signed, in units of space per unit of time; several give a dim ``speed``.
    """
    power = spectrum
    if isinstance(spectrum, xr.Dataset):
        power = spectrum["ratio"] if "ratio" in spectrum else spectrum["power"]
    if "wavenumber" not in power.dims or "frequency" not in power.dims:
        raise ValueError(f"spectrum has dims {power.dims}: 'frequency' and 'wavenumber' (one space axis) are needed")
    k, f = power["wavenumber"].values, power["frequency"].values
    k = k[(k != 0) & (k > -k.max() - 1e-9 * k.max())]  # the Nyquist bin has no partner
    inner = power.sel(wavenumber=k).isel(frequency=slice(1, -1))
    mean = inner.mean(("frequency", "wavenumber"))
    along = [_along(inner, k, f, float(c)) / mean for c in np.atleast_1d(speed)]
    if np.ndim(speed) == 0:
        result = along[0]
    else:
        result = xr.concat(along, xr.Variable("speed", np.asarray(speed, dtype=float), {"units": _speed_units(power)}))
    return result.rename("ridge_power").assign_attrs(units="1", long_name="power along f = speed · k over the mean")


def _along(inner, k, f, speed):
    inside = (speed * k >= f[1]) & (speed * k <= f[-2])
    if not inside.any():
        return inner.isel(frequency=0, wavenumber=0, drop=True) * np.nan
    points = {
        "frequency": xr.DataArray(speed * k[inside], dims="ridge"),
        "wavenumber": xr.DataArray(k[inside], dims="ridge"),
    }
    at = inner.interp(frequency=points["frequency"], wavenumber=points["wavenumber"])
    return at.mean("ridge").drop_vars(["frequency", "wavenumber"], errors="ignore")


def _speed_units(power):
    space, time = (power[dim].attrs.get("units", "1") for dim in ("wavenumber", "frequency"))
    return speed_units(space.removesuffix("-1"), {"Hz": "s", "kHz": "ms"}.get(time, time.removesuffix("-1")))


def diagonal_power(rec: Recording, *, seed: int | np.random.Generator) -> xr.Dataset:
    """The published "diagonal power" of wave-RNN hidden states, beside the same with the shuffle it describes.

    ``trace( |fft2(u)| / |fft2(shuffled u)| )`` for each trial and channel, without detrending or window.

    - ``published``: as the published code computes it: samples are shuffled over time only (its spatial shuffle
      permutes an axis of size 1).
    - ``described``: positions are shuffled too, as the text says.

    Both follow equal *bin indices* (i/T, i/N): the line of speed −(N dx)/(T dt), whatever the speed of the wave, and
    both are a sum of heavy-tailed ratios with one shuffled copy. Use `ridge_power` to measure a wave.

    Parameters
    ----------
    rec : xarray.Dataset or xarray.DataArray
        A recording on a ring or line.
    seed : int or numpy.random.Generator

    Returns
    -------
    xarray.Dataset
        ``published`` and ``described``, dims ``(trial, channel)``; attribute ``diagonal_speed``.

    References
    ----------
    Keller et al. (2024), "Traveling waves encode the recent past and enhance sequence learning", and its code.
    """
    field, rng = Field.of(rec), np.random.default_rng(seed)
    array, time, (space, *more) = field.values, field.time, field.space.axes()
    if more:
        raise ValueError(f"rec has dims {array.dims}: the diagonal power is defined on one space axis")
    in_time, in_space = rng.permutation(time.size), rng.permutation(space.size)

    def trace(values, *order):  # (…, time, position)
        check_finite(values)
        shuffled = np.abs(fft.fft2(values[..., order[0], :][..., order[1]]))
        ratio = np.abs(fft.fft2(values)) / np.where(shuffled > 0, shuffled, np.nan)
        return np.trace(ratio, axis1=-2, axis2=-1)

    results = {}
    for name, order in {
        "published": (in_time, np.arange(space.size)),
        "described": (in_time, in_space),
    }.items():
        results[name] = xr.apply_ufunc(
            lambda values, order=order: trace(values, *order),
            array,
            input_core_dims=[["time", space.dim]],
            dask="parallelized",
            output_dtypes=[array.dtype],
        )
        results[name].attrs = labelled("1", f"diagonal power, {name}")
    speed = -(space.length / time.length)
    return xr.Dataset(results).assign_attrs(
        netcdf_attrs(method="diagonal power (published)", seed=seed, diagonal_speed=speed)
    )
