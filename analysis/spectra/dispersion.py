"""The dispersion relation as measured: the ridge, fits to it, phase and group velocity.

Wavenumber k and frequency f in cycles per unit; +k travels to +x. The phase velocity is f/k, the group velocity df/dk.
"""

import inspect
import warnings
from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np
import xarray as xr
from scipy import optimize, signal, stats

from analysis.fields.band import Band, in_band
from analysis.fields.dead import Mask
from analysis.fields.field import Field
from analysis.fields.read import Recording
from analysis.fields.units import inverse_units, labelled, netcdf_attrs, speed_units
from analysis.spectra.transform import Spectral, dim_names, mapped_power, plan_transform

MODELS = ("nondispersive", "klein-gordon")
FALSE_RIDGES = 0.001  # chance that pure noise is taken for a ridge anywhere
NOISE_BINS = 64  # to either side of the ridge, from which the noise beside it is taken
OUTLIER = 6.0  # robust standard deviations from which a point of the ridge is not fitted
LOBE = 4  # bins to either side that belong to the ridge


# The ridge, wavenumber by wavenumber ---------------------------------------------------------------------------------


def dispersion_ridge(
    rec: Recording,
    *,
    band: Band | None = None,
    window: str | tuple | float = "hann",
    space_window: str | tuple | float | None = None,
    detrend: str | None = "linear",
    segment: int | None = None,
    overlap: float = 0.5,
    average: str | Sequence[str] = "trial",
    mask: Mask = None,
) -> xr.Dataset:
    """Frequency of the strongest line at each wavenumber, to a fraction of a bin, with its standard error.

    The peak is found by a parabola through the logarithms of the three highest bins; its known bias for the window in
    use is taken out, so a pure tone is found exactly. The standard error is that of a tone in the noise beside it, to
    first order. A line that is broad because the wave decays or is driven at random scatters more: the fits allow for
    it.

    Parameters
    ----------
    rec : xarray.Dataset or xarray.DataArray
        A recording on a ring or a line. Along open ends neighbouring wavenumbers share their power.
    band : (float, float), optional
        Only frequencies from the first to the second.
    average : str or sequence of str
        Dims over which power is averaged first, ``"trial"`` where there is one.
    window, space_window, detrend, segment, overlap, mask
        As in `wavenumber_frequency_spectrum`.

    Returns
    -------
    xarray.Dataset
        Over ``wavenumber`` (signed, without 0 and Nyquist): ``frequency``, ``frequency_error``, ``power`` (over the
        noise beside it), ``phase_velocity``. NaN where no line stands above the noise.

    Examples
    --------
    >>> from analysis import synthetic
    >>> ring = synthetic.ring(64)
    >>> rec = synthetic.dispersive(ring, 1024, relation=lambda k: np.sqrt(0.03**2 + (0.5 * k) ** 2), seed=0)
    >>> ridge = dispersion_ridge(rec)
    >>> round(float(ridge.frequency.sel(wavenumber=0.125)), 4)
    0.0693
    """
    field = Field.of(rec, mask)
    array, plan = field.values, plan_transform(field, Spectral(window, space_window, detrend, segment, overlap))
    if len(plan.space) > 1:
        raise ValueError(
            f"rec has dims {array.dims}: the ridge is drawn over one wavenumber; use ridge_velocity on grids"
        )
    names = [name for name in dim_names(average) if name in array.dims]
    power = mapped_power(array, plan, average=names).compute()
    k = plan.wavenumbers[0]
    power = power.isel(wavenumber=np.flatnonzero((k != 0) & (np.abs(k) < plan.space[0].nyquist * (1 - 1e-9))))
    f = plan.frequency
    inside = (f > 0) & (f < plan.time.nyquist * (1 - 1e-9)) & in_band(f, band)
    if inside.sum() < 3:
        raise ValueError(f"band is {band}: fewer than 3 frequencies, {f[1]:.6g} apart, lie in it")
    averaged = len(plan.starts) * int(np.prod([array.sizes[name] for name in names]))
    frequency, error, ratio = xr.apply_ufunc(
        _tones,
        power,
        input_core_dims=[["frequency"]],
        output_core_dims=[[], [], []],
        kwargs={
            "inside": inside,
            "step": f[1],
            "table": _peak_table(window, plan.segment),
            "averaged": averaged,
            "false_alarm": FALSE_RIDGES / (inside.sum() * power.sizes["wavenumber"]),
        },
        vectorize=True,
    )
    result = xr.Dataset({"frequency": frequency, "frequency_error": error / np.sqrt(averaged), "power": ratio})
    result["phase_velocity"] = frequency / frequency.wavenumber
    units, per_time = plan.space[0].units, inverse_units(plan.time.units)
    texts = {
        "frequency": (per_time, "frequency of the ridge"),
        "frequency_error": (per_time, "standard error of the frequency"),
        "power": ("1", "power of the ridge over the noise beside it"),
        "phase_velocity": (speed_units(units, plan.time.units), "phase velocity f/k"),
    }
    for name, (unit, text) in texts.items():
        result[name].attrs = labelled(unit, text)
    parameters = {"window": window, "segment": plan.segment, "segments": len(plan.starts), "band": band}
    speed = {"space_units": units, "time_units": plan.time.units}
    return result.assign_attrs(netcdf_attrs(method="parabolic ridge peak", detrend=detrend, **parameters, **speed))


def _tones(power, inside, step, table, averaged, false_alarm):
    """Frequency, standard error (of a single spectrum) and height over the noise of the highest peak."""
    bins = np.flatnonzero(inside)
    peak = bins[np.argmax(power[bins])]
    if not 1 <= peak < power.size - 1 or power[peak] <= max(power[peak - 1], power[peak + 1]) * (1 - 1e-12):
        return np.nan, np.nan, np.nan
    beside = np.abs(np.arange(power.size) - peak)
    near = inside & (beside > LOBE) & (beside <= LOBE + NOISE_BINS)
    law = stats.gamma(averaged, scale=1 / averaged)  # of noise power averaged over trials and segments
    noise = np.median(power[near]) / law.median() if near.any() else 0.0
    noise = max(noise, np.finfo(float).eps * power[peak])
    if power[peak] < noise * law.isf(false_alarm):
        return np.nan, np.nan, np.nan
    below, here, above = np.log(np.maximum(power[peak - 1 : peak + 2], noise * 1e-3))
    parabola = 0.5 * (below - above) / (below - 2 * here + above)
    offset = np.interp(parabola, table[0], table[1])
    error = np.sqrt(noise / power[peak] * np.interp(parabola, table[0], table[2]))
    return (peak + offset) * step, error * step, power[peak] / noise


@lru_cache(maxsize=32)
def _peak_table(window, steps):
    """For a tone δ bins above the highest bin: where the log-parabola peaks, δ, and the variance of δ per noise/power.

    Noise n adds 2 Re(n_j/U_j) to log|U_j|², with the covariance that the taper gives neighbouring bins.
    """
    taper = signal.get_window(window, steps)
    t = np.arange(steps)
    lags = np.arange(-2, 3)
    noise = np.exp(-2j * np.pi * np.outer(lags, t) / steps) @ taper**2 / np.sum(taper**2)
    rows = []
    for offset in np.linspace(-0.5, 0.5, 41):
        tone = np.exp(-2j * np.pi * np.outer(np.arange(-1, 2) - offset, t) / steps) @ taper  # U at the three bins
        below, here, above = np.log(np.maximum(np.abs(tone) ** 2, 1e-12 * np.abs(tone[1]) ** 2))
        curve = below - 2 * here + above
        slope = np.array([0.5 / curve, 0.0, -0.5 / curve]) - 0.5 * (below - above) / curve**2 * np.array([1, -2, 1])
        covariance = np.array(
            [[2 * (noise[i - j + 2] / (tone[i] * tone[j].conj())).real for j in range(3)] for i in range(3)]
        )
        rows.append((0.5 * (below - above) / curve, offset, slope @ covariance @ slope * np.abs(tone[1]) ** 2))
    return np.array(sorted(rows)).T


# Fits ----------------------------------------------------------------------------------------------------------------


def fit_dispersion(
    ridge: xr.Dataset,
    model: str | Callable = "nondispersive",
    *,
    start: Sequence[float] | None = None,
    side: str | None = None,
    confidence: float = 0.95,
) -> xr.Dataset:
    r"""Fit a dispersion relation to the ridge, weighted by its standard errors.

    Parameters
    ----------
    ridge : xarray.Dataset
        From `dispersion_ridge`.
    model : {"nondispersive", "klein-gordon"} or callable
        ``f = c |k|``; ``f = √(f₀² + c² k²)``; or ``model(k, *parameters)``, k signed, its parameters named by its
        signature.
    start : sequence of float
        Where a callable's parameters start from.
    side : {None, "right", "left"}
        Fit k > 0 or k < 0 only; None fits both, each wavenumber by the direction that stands higher over the noise.
    confidence : float
        Of the intervals.

    Returns
    -------
    xarray.Dataset
        ``value``, ``standard_error``, ``low``, ``high`` over ``parameter``; over ``wavenumber`` the fitted
        ``frequency``, ``phase_velocity`` and ``group_velocity``; ``chi2_reduced`` and ``rms_error`` of the ridge about
        the fit. Points more than six robust standard deviations away are left out. Where the ridge scatters more than
        its standard errors say (reduced χ² above 1), those of the parameters are scaled up by √χ².

    Examples
    --------
    >>> from analysis import synthetic
    >>> rec = synthetic.moving_pattern(synthetic.ring(64), 512, speed=0.5, seed=0)
    >>> fit = fit_dispersion(dispersion_ridge(rec))
    >>> round(float(fit.value.sel(parameter="c")), 4)
    0.5
    """
    names = _model(model)[0]
    if model not in MODELS and (start is None or len(start) != len(names)):
        raise ValueError(f"start is {start}: one starting value for each of the parameters {names} is needed")
    if side not in (None, "right", "left"):
        raise ValueError(f"side is {side!r}: None, 'right' or 'left' is needed")
    missing = [name for name in ("frequency", "frequency_error", "power") if name not in ridge]
    if missing:
        raise ValueError(f"ridge lacks {missing}: give what dispersion_ridge returns")
    k = ridge["wavenumber"].values
    outputs = [["parameter"]] * 4 + [["wavenumber"]] * 3 + [[], []]
    fitted = xr.apply_ufunc(
        _fit_one,
        ridge["frequency"],
        ridge["frequency_error"],
        ridge["power"],
        input_core_dims=[["wavenumber"]] * 3,
        output_core_dims=outputs,
        kwargs={"k": k, "model": model, "start": start, "side": side, "confidence": confidence},
        vectorize=True,
    )
    space, time = ridge.attrs.get("space_units", "1"), ridge.attrs.get("time_units", "1")
    per_time, speed = inverse_units(time), speed_units(space, time)
    texts = {
        "value": ("1", "fitted parameter, in the units of the axes"),
        "standard_error": ("1", "standard error of the parameter"),
        "low": ("1", f"parameter, lower end of the {100 * confidence:g} % interval"),
        "high": ("1", f"parameter, upper end of the {100 * confidence:g} % interval"),
        "frequency": (per_time, "fitted frequency"),
        "phase_velocity": (speed, "phase velocity f/k"),
        "group_velocity": (speed, "group velocity df/dk"),
        "chi2_reduced": ("1", "reduced chi-square of the ridge about the fit"),
        "rms_error": (per_time, "root mean square of the ridge about the fit"),
    }
    result = xr.Dataset(dict(zip(texts, fitted, strict=True)))
    for name, (unit, text) in texts.items():
        result[name].attrs = labelled(unit, text)
    result = result.assign_coords(parameter=("parameter", names, {"long_name": "parameter"}))
    result = result.assign_coords(wavenumber=ridge["wavenumber"])
    return result.assign_attrs(netcdf_attrs(method="weighted least squares", model=model, side=side, start=start))


def _model(model):
    """Names of the parameters and f(k, *parameters)."""
    if model == "nondispersive":
        return ["c"], lambda k, c: c * np.abs(k)
    if model == "klein-gordon":
        return ["f0", "c"], lambda k, f0, c: np.sqrt(f0**2 + (c * k) ** 2)
    if callable(model):
        names = list(inspect.signature(model).parameters)[1:]
        if not names:
            raise ValueError("model takes no parameters after k: write it as model(k, first, second, …)")
        return names, model
    raise ValueError(f"model is {model!r}: one of {MODELS} or a function model(k, *parameters) is needed")


def _starting_values(model, k, f):
    if model == "nondispersive":
        return [np.sum(np.abs(k) * f) / np.sum(k**2)]
    slope, intercept = np.polyfit(k**2, f**2, 1) if k.size > 1 else (1.0, 0.0)
    return [np.sqrt(max(intercept, 0.0)) + f.min() * 1e-3, np.sqrt(max(slope, f.max() ** 2 * 1e-6))]


def _without_outliers(function, k, frequency, error, start, use):
    """Least squares through the points that a robust fit does not call outliers: values, covariance, points used."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", optimize.OptimizeWarning)
        curve, weights = (k[use], frequency[use], start), {"sigma": error[use], "absolute_sigma": True}
        robust, _ = optimize.curve_fit(function, *curve, **weights, method="trf", loss="soft_l1", x_scale="jac")
        score = np.abs(frequency - function(k, *robust)) / error
        kept = use & (score <= OUTLIER * max(1.0, np.median(score[use]) / 0.6745))
        use = kept if kept.sum() > len(start) else use
        value, covariance = optimize.curve_fit(
            function, k[use], frequency[use], robust, sigma=error[use], absolute_sigma=True
        )
    return value, covariance, use


def _fit_one(frequency, error, power, k, model, start, side, confidence):
    """Everything `fit_dispersion` returns, for one ridge."""
    names, function = _model(model)
    use = np.isfinite(frequency) & (k * {None: k, "right": 1.0, "left": -1.0}[side] > 0)
    if side is None:  # at each |k| the direction that stands higher
        height = np.where(use, power, -1.0)
        use &= height >= height[::-1]
    unknown, freedom = np.full(len(names), np.nan), use.sum() - len(names)
    if freedom < 1:
        warnings.warn(f"the ridge has {use.sum()} points for {len(names)} parameters: no fit", stacklevel=2)
        return (unknown,) * 4 + (np.full(k.size, np.nan),) * 3 + (np.nan, np.nan)
    first = start if start is not None else _starting_values(model, k[use], frequency[use])
    try:
        value, covariance, use = _without_outliers(function, k, frequency, error, first, use)
    except (RuntimeError, optimize.OptimizeWarning) as failure:
        warnings.warn(f"the fit did not converge from {first}: try another start ({failure})", stacklevel=2)
        return (unknown,) * 4 + (np.full(k.size, np.nan),) * 3 + (np.nan, np.nan)
    freedom = max(1, use.sum() - len(names))
    if model in MODELS:
        value = np.abs(value)
    residual = frequency[use] - function(k[use], *value)
    chi2 = float(np.sum((residual / error[use]) ** 2) / freedom)
    standard_error = np.sqrt(np.diag(covariance) * max(1.0, chi2))
    margin = standard_error * stats.t.ppf(0.5 + confidence / 2, freedom)
    step = 1e-5 * np.abs(k).max()
    group = (function(k + step, *value) - function(k - step, *value)) / (2 * step)
    curve = function(k, *value)
    fit = (value, standard_error, value - margin, value + margin)
    return (*fit, curve, curve / k, group, chi2, float(np.sqrt(np.mean(residual**2))))
