"""One call for the whole picture: what the field does, which way, how fast, and whether chance explains it."""

from __future__ import annotations

import warnings

import numpy as np
import xarray as xr

from analysis.direction.index import direction_index, directional_filter, travelling_index
from analysis.direction.significance import FEW_BLOCKS, direction_test
from analysis.fields.axes import activity, netcdf_attrs, space_dims
from analysis.fields.dead import dead_positions
from analysis.spectra.spectrum import wavenumber_frequency_spectrum
from analysis.velocity.dispersion import ridge_velocity
from analysis.velocity.estimators import delay_velocity, phase_gradient_velocity, radon_velocity

VERDICTS = ("none", "static", "standing", "travelling to +x", "travelling to -x", "travelling both ways")
ESTIMATORS = {
    "ridge": ridge_velocity,
    "radon": radon_velocity,
    "delay": delay_velocity,
    "phase gradient": phase_gradient_velocity,
}
SLOWEST_CYCLES = 2  # what turns more slowly than twice in the record counts as standing still
CERTAIN = 6.0  # standard deviations of the noise by which a pattern must stand out
COHERENT = 0.3  # share of one direction's power that must travel as one wave
TOGETHER = 0.79  # overlap of the amplitudes of both directions: π/4 if independent, 1 in a standing wave


def diagnose(rec, *, seed=0, band=None, mask=None, draws=999, alpha=0.05, confidence=0.95) -> xr.Dataset:
    """Diagnose the waves of a recording on a ring, a line or a grid, channel by channel, trials taken together.

    The verdict of a channel is

    - ``none``: nothing stands out of noise, or what does follows no plane wave;
    - ``static``: what stands out hardly changes (fewer than two cycles in the record);
    - ``travelling to +x`` or ``-x``: the direction-symmetry test rejects at `alpha`;
    - ``standing``: both directions carry coherent waves of the same amplitude at the same time and place;
    - ``travelling both ways``: both carry coherent waves that are apart.

    Parameters
    ----------
    rec : xarray.Dataset or xarray.DataArray
        A recording (see `wavefield.recording`), evenly sampled.
    seed : int or numpy.random.Generator
        Of the surrogates.
    band : (float, float), optional
        Only frequencies from the first to the second.
    mask : None, "nan" or boolean array
        Dead positions.
    draws : int
        Surrogates of the direction test.
    alpha : float
        Level at which a direction is claimed.
    confidence : float
        Of the intervals.

    Returns
    -------
    xarray.Dataset
        ``verdict`` and ``verdict_code`` (a count in `VERDICTS`), ``p_value`` and ``q_value`` (false discovery rate
        over channels) of the direction index ``index``, ``null_index``, ``travelling_index``, ``static_share``,
        ``coherence`` of either side, ``overlap``; ``speed``, ``speed_low``, ``speed_high`` and ``status`` over
        ``estimator`` (and trial); ``power`` over wavenumber and frequency. In the attributes the parameters and
        ``warnings``, one text.

    Examples
    --------
    >>> from analysis import synthetic
    >>> rec = synthetic.moving_pattern(synthetic.ring(64), 256, speed=1.0, seed=0)
    >>> result = diagnose(rec)
    >>> str(result.verdict.values), round(float(result.speed.sel(estimator="radon")), 2)
    ('travelling to +x', 1.0)
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        array = activity(rec)
        mask = dead_positions(array, mask, rec)
        options = {"band": band, "mask": mask}
        result = xr.Dataset()
        spectrum = wavenumber_frequency_spectrum(array, mask=mask, average=_trial(array)).compute()
        result["power"] = spectrum["power"]
        result = result.merge(direction_index(spectrum, band=band)[["index", "right", "left"]])
        tested = _direction(array, seed, draws, options)
        result = result.assign({name: tested[name] for name in ("p_value", "q_value", "null_index")})
        travelling = travelling_index(array, **options)["mean_index"]
        result["travelling_index"] = travelling.mean(_trial(array)).assign_attrs(travelling.attrs)
        result = result.merge(_velocities(array, options, confidence))
        result = result.assign(_pattern(array, mask) | _both_sides(array, options))
    result["verdict_code"] = _verdict(result, alpha)
    result["verdict"] = xr.apply_ufunc(lambda code: np.array(VERDICTS)[code], result["verdict_code"])
    result["verdict"].attrs = {"units": "1", "long_name": "what the field does"}
    texts = list(dict.fromkeys(str(w.message) for w in caught if issubclass(w.category, UserWarning)))
    parameters = {"band": band, "draws": draws, "alpha": alpha, "confidence": confidence, "seed": seed}
    result.attrs = {**netcdf_attrs(method="diagnose", **parameters), "warnings": "\n".join(texts)}
    return result


def _trial(array):
    return [dim for dim in array.dims if dim == "trial"]


def _direction(array, seed, draws, options):
    """The swap test, or where the power sits in too few blocks for it, the Gaussian one."""
    tested = direction_test(array, seed=seed, draws=draws, **options)
    if (tested["effective_blocks"] >= FEW_BLOCKS).all():
        return tested
    gaussian = direction_test(array, seed=seed, draws=draws, null="gaussian", **options)
    enough = tested["effective_blocks"] >= FEW_BLOCKS
    return xr.Dataset({name: tested[name].where(enough, gaussian[name]) for name in tested if name in gaussian})


def _velocities(array, options, confidence):
    """Every estimator's answer, along the new dim ``estimator``."""
    found = [estimate(array, confidence=confidence, **options) for estimate in ESTIMATORS.values()]
    kept = ("speed", "speed_low", "speed_high", "status", "direction", "direction_low", "direction_high")
    found = [one[[name for name in kept if name in one]] for one in found]
    names = xr.DataArray(list(ESTIMATORS), dims="estimator", attrs={"units": "1", "long_name": "velocity estimator"})
    return xr.concat(found, names, combine_attrs="drop_conflicts", join="exact")


def _pattern(array, mask):
    """How much of what stands out of the noise hardly changes, and by how many standard deviations either stands out.

    The noise is the median of the periodogram over its logarithm's law (an exponential one: mean = median / ln 2).
    """
    spectrum = wavenumber_frequency_spectrum(
        array, window="boxcar", detrend=None, scaling="spectrum", average=_trial(array), mask=mask
    )["power"].compute()
    space = [dim for dim in spectrum.dims if dim.startswith("wavenumber")]
    core = ["frequency", *space]
    varying = xr.zeros_like(spectrum[space[0]], dtype=bool)
    for dim in space:
        varying = varying | (spectrum[dim] != 0)
    spectrum = spectrum.where(varying)
    slow = spectrum["frequency"] < SLOWEST_CYCLES * float(spectrum["frequency"][1]) * (1 - 1e-9)
    trials = max(1, array.sizes.get("trial", 1))
    floor = spectrum.where(~slow).median(core) / (np.log(2) if trials == 1 else 1)
    result = {}
    for name, part in (("still", spectrum.where(slow)), ("moving", spectrum.where(~slow))):
        excess = part.sum(core) - floor * part.notnull().sum(core)
        scatter = floor * np.sqrt(part.notnull().sum(core) / trials)
        result[name] = excess
        result[f"{name}_score"] = (excess / scatter.where(scatter > 0, np.inf)).where(
            scatter > 0, np.inf * (excess > 0)
        )
    still, moving = result["still"].clip(min=0), result["moving"].clip(min=0)
    share = (still / (still + moving).where(still + moving > 0)).fillna(0.0)
    share.attrs = {"units": "1", "long_name": "share of the structured power that hardly changes"}
    scores = {f"{name}_score": result[f"{name}_score"].fillna(0.0) for name in ("still", "moving")}
    for name, score in scores.items():
        score.attrs = {"units": "1", "long_name": f"{name} power above the noise, in standard deviations"}
    return {"static_share": share, **scores}


def _both_sides(array, options):
    """Whether what travels to +x and to −x is one wave each, and whether the two are in the same place at a time."""
    from scipy.signal import hilbert

    parts = directional_filter(array, detrend="linear", **options).compute()
    axis, dims = array.get_axis_num("time"), ["time", *space_dims(array)]
    coherence, amplitude = [], {}
    for side in ("right", "left"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = radon_velocity(parts[side].assign_attrs(boundary=array.attrs.get("boundary", "open")))
        explained = found["explained"].where(found["status"] == 0, 0.0).fillna(0.0)
        coherence.append(explained.mean(_trial(explained)))
        amplitude[side] = parts[side].copy(data=np.abs(hilbert(parts[side].values, axis=axis)))
    both = (amplitude["right"] * amplitude["left"]).sum(dims)
    norm = np.sqrt((amplitude["right"] ** 2).sum(dims) * (amplitude["left"] ** 2).sum(dims))
    overlap = (both / norm.where(norm > 0)).fillna(0.0).mean(_trial(array))
    coherence = xr.concat(coherence, xr.DataArray(["right", "left"], dims="side"))
    coherence.attrs = {"units": "1", "long_name": "share of that side's power that travels as one wave"}
    overlap.attrs = {"units": "1", "long_name": "overlap of the amplitudes of both directions"}
    return {"coherence": coherence, "overlap": overlap}


def _verdict(result, alpha):
    seen = (result["moving_score"] > CERTAIN) | (result["still_score"] > CERTAIN)
    static = result["static_share"] > 0.5
    coherent = (result["coherence"] > COHERENT).all("side")
    code = xr.where(result["overlap"] > TOGETHER, VERDICTS.index("standing"), VERDICTS.index("travelling both ways"))
    code = xr.where(coherent, code, VERDICTS.index("none"))
    one_way = xr.where(result["index"] > 0, VERDICTS.index("travelling to +x"), VERDICTS.index("travelling to -x"))
    code = xr.where(result["p_value"] < alpha, one_way, code)
    code = xr.where(static, VERDICTS.index("static"), code)
    code = xr.where(seen, code, VERDICTS.index("none")).astype(np.int8)
    flags = {
        "flag_values": list(range(len(VERDICTS))),
        "flag_meanings": " ".join(v.replace(" ", "_") for v in VERDICTS),
    }
    return code.assign_attrs(units="1", long_name="what the field does", **flags)
