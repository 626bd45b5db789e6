"""One call for the complete picture: what the field does, which way, how fast, and whether chance explains it."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator

import numpy as np
import xarray as xr
from scipy.fft import fft, fftn, rfft, rfftfreq
from scipy.signal import hilbert

from analysis.direction.in_turn import in_turn
from analysis.direction.index import power_balance, split_directions, travelling_modes
from analysis.direction.motion import motion_test
from analysis.direction.shapes import SHAPES
from analysis.direction.significance import FEW_BLOCKS, symmetry_test
from analysis.direction.standing import ONE_MODE, ONE_PHASE, ONE_WAVE, standing_wave
from analysis.fields.band import Band, check_band
from analysis.fields.dead import Mask
from analysis.fields.field import LONG, Field
from analysis.fields.read import Recording
from analysis.fields.units import labelled, netcdf_attrs
from analysis.spectra.spectrum import spectrum
from analysis.spectra.transform import Spectral, spectral_dims
from analysis.velocity.estimators import ANY_LAYOUT, check_flow, every_speed, radon_speed
from analysis.velocity.result import STATUS, DoubtfulEstimate
from wavefield.progress import Progress

VERDICTS = (
    "none", "static", "standing", "travelling to +x", "travelling to -x", "travelling both ways", "travelling",
    "rotating", "expanding", "converging", "several in turn",
)  # fmt: skip
SLOWEST_CYCLES = 2  # what turns more slowly than twice in the record counts as standing still
MOTION = (
    "index",
    "angle",
    "shape",
    "sign",
    "centre_x",
    "centre_y",
    "p_direction",
    "p_place",
    "wave_share",
    "modules_share",
)
NEARLY = 3.0  # levels of the test up to which a wave may have been missed
CERTAIN = 6.0  # standard deviations of the noise by which a pattern must stand out
COHERENT = 0.3  # share of one direction's power that must travel as one wave
# Overlap of the amplitudes a and b of the two directions, Σab/√(Σa²Σb²), from which they are one standing wave. It is 1
# where a and b are proportional, as in a standing wave, and π/4 = 0.785 where they are independent and both Rayleigh
# distributed, as those of Gaussian noise: then Σab/√(Σa²Σb²) = ⟨a⟩²/⟨a²⟩.
TOGETHER = 0.79
SOME_WAVE = 0.6  # share of the strongest mode's pattern that one pair of opposite waves must explain then


def diagnose(
    rec: Recording,
    *,
    seed: int | np.random.Generator = 0,
    band: Band | None = None,
    mask: Mask = None,
    draws: int = 999,
    alpha: float = 0.05,
    confidence: float = 0.95,
    flow: bool = False,
) -> xr.Dataset:
    """Diagnose the waves of a recording on any layout, channel by channel, trials taken together.

    The verdict of a channel is

    - ``none``: nothing stands out of noise, or what does follows no plane wave;
    - ``static``: what stands out hardly changes (fewer than two cycles in the record);
    - ``travelling to +x`` or ``-x``, on a ring or line: the direction-symmetry test rejects at `alpha`;
    - ``travelling``, on a sheet or scattered electrodes: the fronts are straight and the test over all directions
      rejects at `alpha` (as `plane_direction_test`); ``angle`` says which way;
    - ``rotating``, ``expanding`` or ``converging``, there too: arms that turn about a point inside the array, or rings
      that leave it or run into it, explain more than straight fronts, and the same test rejects; ``centre_x`` and
      ``centre_y`` say about which point, ``sign`` whether counter-clockwise (1) or clockwise (−1);
    - ``several in turn``, there too: stretches of the record have different ones of these, see ``in_turn``;
    - ``standing``: one mode, of one phase up to its sign, that a pair of opposite plane waves explains; or both
      directions carry coherent waves of the same amplitude at the same time and place;
    - ``travelling both ways``: both carry coherent waves that are apart (not on scattered electrodes).

    A recording of more than 2²⁴ samples (100 sensors for 3 minutes at 1 kHz) is cut into stretches of at most 2²² for
    the spectrum, the coherence of either side and the speeds, which are means over them: memory stays below three times
    that of the recording. What decides whether a plane wave travels, turns, stands or stays is asked of the whole.

    In two dimensions nothing is said to move where its lags are as large when the sensors change places (fixed random
    phases, latencies that know no place), nor where two modules, one active after the other, explain them as well as a
    wave does: ``p_place``, ``wave_share`` and ``modules_share``. No speed is given there either.

    Parameters
    ----------
    rec : xarray.Dataset or xarray.DataArray
        A recording (see `wavefield.recording`), evenly sampled.
    seed : int or numpy.random.Generator
        Of the surrogates.
    band : (float, float), optional
        Only frequencies from the first to the second.
    mask : None, "nan" or boolean array
        Dead positions. Sensors that never change, as electrodes that are cut off do, are taken as dead too, with a
        warning that names them, where they are fewer than half; not in a simulated field.
    draws : int
        Surrogates of the direction test.
    alpha : float
        Level at which a direction is claimed.
    confidence : float
        Of the intervals.
    flow : bool
        Ask optical flow for the speed, too (grids only; see `optical_flow_velocity`).

    Returns
    -------
    xarray.Dataset
        ``verdict`` and ``verdict_code`` (a count in `VERDICTS`), ``p_value`` and ``q_value`` (false discovery rate
        over channels) of the direction index ``index``, ``null_index``, ``travelling_index``, ``static_share``,
        ``coherence`` of either side, ``overlap``; ``mode_share``, ``mode_index`` and ``mode_fit`` of the strongest
        mode; ``speed``, ``speed_low``, ``speed_high`` and ``status`` over ``estimator`` (and trial). On rings, lines
        and grids ``power`` over wavenumber and frequency, and the power ``right`` and ``left`` along x. In two
        dimensions ``angle`` with ``angle_low`` and ``angle_high`` (rad, counter-clockwise from +x, y up): the
        direction by the first of the estimators radon, delay and phase gradient that stands, or where none does, that
        of the test, without an interval; ``index`` is then the size of the direction vector, which has no sign.
        With a `band`, ``verdict_without_band``, ``p_value_without_band``, ``index_without_band`` (and ``angle``) over
        all frequencies beside them: a narrow band makes waves of noise.
        In the attributes the parameters and ``warnings``, one text.

    Examples
    --------
    >>> from analysis import synthetic
    >>> rec = synthetic.moving_pattern(synthetic.ring(64), 256, speed=1.0, seed=0)
    >>> result = diagnose(rec)
    >>> str(result.verdict.values), round(float(result.speed.sel(estimator="radon")), 2)
    ('travelling to +x', 1.0)
    """
    _check_options(draws, alpha, seed)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        field = Field.of(rec, mask, living=True)
        band = None if band is None else check_band(band, field.time)
        _warn_of_flat(field)
        if flow:
            check_flow(field)
        with Progress(what="diagnose", total=2 + (band is not None), unit="part", leave=False) as progress:
            progress.set_postfix_str("direction", refresh=False)
            result = _judged(field, seed=seed, draws=draws, band=band, alpha=alpha)
            progress.update()
            progress.set_postfix_str("speeds", refresh=False)
            result = result.merge(_velocities(field, band, confidence, flow))
            progress.update()
            if "shape" in result:
                result = _in_two_dimensions(field, result, alpha)
            if band is not None:
                progress.set_postfix_str("all frequencies", refresh=False)
                result = result.assign(_without_the_band(field, seed=seed, draws=draws, alpha=alpha))
    for name in [name for name in result if str(name).startswith("verdict_code")]:
        words = xr.apply_ufunc(lambda code: np.array(VERDICTS)[code], result[name])
        text = "what the field does" + (", all frequencies taken" if "without" in str(name) else "")
        result[str(name).replace("_code", "")] = words.assign_attrs(labelled("1", text))
    texts = list(dict.fromkeys(str(w.message) for w in caught if issubclass(w.category, UserWarning)))
    parameters = {"band": band, "draws": draws, "alpha": alpha, "confidence": confidence, "seed": seed}
    result.attrs = {**netcdf_attrs(method="diagnose", **parameters), "warnings": "\n".join(texts)}
    return result


def _check_options(draws, alpha, seed) -> None:
    if isinstance(draws, bool) or not isinstance(draws, int | np.integer) or draws < 1:
        raise ValueError(f"draws is {draws!r}: a positive whole number is needed")
    if not 0 < alpha < 1:
        raise ValueError(f"alpha is {alpha!r}: a level between 0 and 1 is needed, such as 0.05")
    try:
        np.random.default_rng(seed)
    except (TypeError, ValueError) as error:
        raise type(error)(f"seed is {seed!r}: a whole number from 0 on or a numpy Generator is needed") from error


def _warn_of_flat(field: Field) -> None:
    """Say which few sensors keep one value other than 0 all the time, as those do that are cut off."""
    if field.values.chunks is not None:
        return
    over = [dim for dim in field.values.dims if dim not in field.space.dims]
    low, high = (getattr(field.values, end)(over).transpose(*field.space.dims).values for end in ("min", "max"))
    flat = (low == high) & (low != 0)
    if 0 < flat.sum() < flat.size / 2:
        numbers = ", ".join(map(str, np.flatnonzero(flat)[:8]))
        warnings.warn(
            f"{flat.sum()} of {flat.size} sensors never change (number {numbers}), which counts as a static pattern: "
            "if they are cut off, name them in mask=… (True = dead)",
            stacklevel=3,
        )


def _judged(field: Field, *, seed, draws: int, band: Band | None, alpha: float) -> xr.Dataset:
    """What the verdict rests on, and the verdict."""
    planar = len(field.space.dims) == 2 or field.space.dims == ("electrode",)
    gridded = field.space.dims != ("electrode",)
    stretches = field.in_stretches()
    if planar:
        tested = motion_test(field, seed=seed, draws=draws, band=band, alpha=alpha)
    else:
        tested = _direction(stretches, seed=seed, draws=draws, band=band)
    result = xr.Dataset()
    if gridded:
        power = _mean_power(stretches)
        result = xr.Dataset({"power": power["power"]})
        result = result.merge(power_balance(power, band=band)[["index", "right", "left"]])
    if planar:
        result = result.assign({name: tested[name] for name in MOTION})
    travelling = travelling_modes(stretches, band=band)["mean_index"]
    result = result.assign({name: tested[name] for name in ("p_value", "q_value", "null_index")})
    result["travelling_index"] = travelling.mean(stretches.trial).assign_attrs(travelling.attrs)
    result = result.assign(_pattern(field) if gridded else _pattern_of_electrodes(field))
    result = result.assign(standing_wave(field, band))
    if gridded:
        along_y = abs(tested["axis"][..., 1]) > abs(tested["axis"][..., 0]) if planar else None
        result = result.assign(_both_sides(stretches, band, along_y))
    code = _verdict(result, alpha)
    if planar:
        turns = in_turn(field, seed=seed, draws=draws, band=band, alpha=alpha)
        several = turns["changes"] & (code != VERDICTS.index("static"))
        code = xr.where(several, VERDICTS.index("several in turn"), code).astype(np.int8).assign_attrs(code.attrs)
        result = result.assign(turns.drop_vars("changes"))
    result["verdict_code"] = code
    return result


def _is_taken_apart(field: Field) -> bool:
    """Whether stretches are worked on one after the other: what is made of all at once would outgrow the recording."""
    return field.values.nbytes > 8 * LONG and bool(field.trial)


def _mean_power(field: Field) -> xr.Dataset:
    """The power of waves, on average over the trials."""
    if not _is_taken_apart(field):
        return spectrum(field, Spectral(), average=field.trial).compute()
    count = field.values.sizes["trial"]
    mean = spectrum(field.trial_at(0), Spectral()).compute()
    for number in range(1, count):
        mean["power"] += spectrum(field.trial_at(number), Spectral())["power"].values
    mean["power"] /= count
    return mean


def _without_the_band(field: Field, *, seed, draws: int, alpha: float) -> dict[str, xr.DataArray]:
    """The verdict over all frequencies, to stand beside that of a band: a narrow band makes waves of noise."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # said already of the band
        found = _judged(field, seed=seed, draws=draws, band=None, alpha=alpha)
    names = [name for name in ("verdict_code", "p_value", "index", "angle") if name in found]
    texts = {name: f"{found[name].attrs['long_name']}, all frequencies taken" for name in names}
    return {f"{name}_without_band": found[name].assign_attrs(long_name=texts[name]) for name in names}


def _direction(field: Field, **options):
    """The swap test, or where the power sits in too few blocks for it, the Gaussian one."""
    tested = symmetry_test(field, Spectral(), **options)
    if (tested["effective_blocks"] >= FEW_BLOCKS).all():
        return tested
    gaussian = symmetry_test(field, Spectral(), null="gaussian", **options)
    enough = tested["effective_blocks"] >= FEW_BLOCKS
    return xr.Dataset({name: tested[name].where(enough, gaussian[name]) for name in tested if name in gaussian})


def _velocities(field: Field, band, confidence, flow: bool):
    """Every estimator's answer, along the new dim ``estimator``."""
    names = list(ANY_LAYOUT) if field.space.dims == ("electrode",) else ["ridge", *ANY_LAYOUT]
    if flow:
        names.append("optical flow")
    found = every_speed(field, names, band=band, confidence=confidence)
    kept = ("speed", "speed_low", "speed_high", "status", "direction", "direction_low", "direction_high")
    found = [one[[name for name in kept if name in one]] for one in found]
    labels = xr.DataArray(list(names), dims="estimator", attrs=labelled("1", "velocity estimator"))
    return xr.concat(found, labels, combine_attrs="drop_conflicts", join="exact")


def _angle(field: Field, result: xr.Dataset, by_test: xr.DataArray) -> dict[str, xr.DataArray]:
    """Direction of travel with its interval: the first estimator's that stands, over trials their mean direction."""
    angle, low, high = by_test, xr.full_like(by_test, np.nan), xr.full_like(by_test, np.nan)
    for name in reversed(ANY_LAYOUT):
        one = result[["status", "direction", "direction_low", "direction_high"]].sel(estimator=name, drop=True)
        stands = (one["status"] == 0).all(field.trial)
        mean = np.arctan2(*(xr.apply_ufunc(part, one["direction"]).mean(field.trial) for part in (np.sin, np.cos)))
        half = (one["direction_high"] - one["direction_low"]) / 2
        half = np.sqrt((half**2).mean(field.trial) / (field.values.sizes["trial"] if field.trial else 1))
        angle, low, high = (
            xr.where(stands, *both) for both in ((mean, angle), (mean - half, low), (mean + half, high))
        )
    text = "direction of travel, counter-clockwise from +x, y up"
    return {
        "angle": angle.assign_attrs(labelled("rad", text)),
        "angle_low": low.assign_attrs(labelled("rad", f"{text}, clockwise end of the interval")),
        "angle_high": high.assign_attrs(labelled("rad", f"{text}, other end of the interval")),
    }


def _pattern_of_electrodes(field: Field) -> dict[str, xr.DataArray]:
    """As `_pattern`, from the periodogram of each electrode less the mean of all."""
    alive = field.space.sensors().alive

    def series(values: np.ndarray) -> Iterator[np.ndarray]:
        mean = values[:, alive].mean(axis=1)
        return (values[:, site] - mean for site in np.flatnonzero(alive))

    return _stands_out(_periodograms(field, series, alive.sum()), ["frequency", "series"], field)


def _pattern(field: Field) -> dict[str, xr.DataArray]:
    """How much of what stands out of the noise hardly changes, and by how many standard deviations either stands out.

    The noise is the median of the periodogram over its logarithm's law (an exponential one: mean = median / ln 2).
    """
    if field.is_long and field.dead is None:
        shape = field.space.shape
        waves = fftn(np.eye(int(np.prod(shape))).reshape(-1, *shape), axes=range(1, 1 + len(shape)))
        waves = waves.reshape(len(waves), -1)[:, 1:]  # (site, wavenumber), 0 left out

        def series(values: np.ndarray) -> Iterator[np.ndarray]:
            real, imaginary = waves.real.astype(values.dtype), waves.imag.astype(values.dtype)
            return (values @ real[:, k] + 1j * (values @ imaginary[:, k]) for k in range(waves.shape[1]))

        return _stands_out(_periodograms(field, series, waves.shape[1]), ["frequency", "series"], field)
    plain = Spectral(window="boxcar", detrend=None)
    power = spectrum(field, plain, scaling="spectrum", average=field.trial)["power"].compute()
    core = spectral_dims(power)
    space = [dim for dim in core if dim != "frequency"]
    return _stands_out(power.where(~_uniform(power, space)), core, field)


def _periodograms(field: Field, series: Callable[[np.ndarray], Iterator[np.ndarray]], count: int) -> xr.DataArray:
    """|U|² at f ≥ 0 of the `count` series that are made one by one of values (time, sensor), the mean over trials.

    Little more is held than the result. At f = 0 it is halved, as the one-sided spectrum on a grid is.
    """
    array, steps, trials = field.ordered, field.time.size, field.values.sizes.get("trial", 1)
    dims = [dim for dim in array.dims if dim == "channel"]
    shape = tuple(array.sizes[dim] for dim in dims)
    power = np.zeros((*shape, steps // 2 + 1, count))
    for at in np.ndindex(*shape, trials):
        one = array.isel(dict(zip([*dims, *field.trial], at, strict=False))).values.reshape(steps, -1)
        for number, values in enumerate(series(one)):
            transformed = rfft(values) if np.isrealobj(values) else fft(values)[: steps // 2 + 1]
            power[(*at[:-1], slice(None), number)] += np.abs(transformed) ** 2 / trials
    power[..., 0, :] /= 2
    coords = {"frequency": rfftfreq(steps, field.time.step)} | {d: array.coords[d] for d in dims if d in array.coords}
    return xr.DataArray(power, dims=[*dims, "frequency", "series"], coords=coords)


def _stands_out(power: xr.DataArray, core: list[str], field: Field) -> dict[str, xr.DataArray]:
    slow = power["frequency"].values < SLOWEST_CYCLES * float(power["frequency"][1]) * (1 - 1e-9)
    power_slow, power = power.isel(frequency=slow), power.isel(frequency=~slow)
    trials = max(1, field.values.sizes.get("trial", 1))
    floor = power.median(core) / (np.log(2) if trials == 1 else 1)
    still, still_score = _above(floor, power_slow, core, trials)
    moving, moving_score = _above(floor, power, core, trials)
    still, moving = still.clip(min=0), moving.clip(min=0)
    share = (still / (still + moving).where(still + moving > 0)).fillna(0.0)
    above = "power above the noise, in standard deviations"
    return {
        "static_share": share.assign_attrs(labelled("1", "share of the structured power that hardly changes")),
        "still_score": still_score.assign_attrs(labelled("1", f"still {above}")),
        "moving_score": moving_score.assign_attrs(labelled("1", f"moving {above}")),
    }


def _uniform(power, space):
    """The bins whose wavenumber is 0 along every axis of space."""
    uniform = xr.ones_like(power[space[0]], dtype=bool)
    for dim in space:
        uniform = uniform & (power[dim] == 0)
    return uniform


def _above(floor, part, core, trials):
    """Power of the bins in `part` above the noise at `floor` in each of them, and over its standard deviation."""
    excess = part.sum(core) - floor * part.notnull().sum(core)
    scatter = floor * np.sqrt(part.notnull().sum(core) / trials)
    score = (excess / scatter.where(scatter > 0, np.inf)).where(scatter > 0, np.inf * (excess > 0))
    return excess, score.fillna(0.0)


def _both_sides(field: Field, band, along_y: xr.DataArray | None = None) -> dict[str, xr.DataArray]:
    """Whether what travels either way is one wave each, and whether the two are in the same place at a time.

    Along x, or in a plane along y where `along_y` says that the waves lie nearer to it.
    """
    if along_y is not None and bool(along_y.any()):
        x, y = _sides_along(field, band, "x"), _sides_along(field, band, "y")
        return {name: xr.where(along_y, y[name], x[name]).assign_attrs(x[name].attrs) for name in x}
    return _sides_along(field, band, "x")


def _sides_along(field: Field, band, axis_name: str) -> dict[str, xr.DataArray]:
    if _is_taken_apart(field):
        each = [_sides_along(field.trial_at(n), band, axis_name) for n in range(field.values.sizes["trial"])]
        return {
            name: xr.concat([one[name] for one in each], "trial", coords="minimal", compat="override")
            .mean("trial")
            .assign_attrs(value.attrs)
            for name, value in each[0].items()
        }
    parts = split_directions(field, axis=axis_name, band=band, detrend="linear").compute()
    axis, dims = field.values.get_axis_num("time"), ["time", *field.space.dims]
    coherence = xr.concat(_coherences(field, parts), xr.DataArray(["right", "left"], dims="side"))
    right, left = (parts[side].copy(data=np.abs(hilbert(parts[side].values, axis=axis))) for side in ("right", "left"))
    norm = ((right**2).sum(dims) * (left**2).sum(dims)) ** 0.5
    overlap = ((right * left).sum(dims) / norm.where(norm > 0)).fillna(0.0).mean(field.trial)
    return {
        "coherence": coherence.assign_attrs(labelled("1", "share of that side's power that travels as one wave")),
        "overlap": overlap.assign_attrs(labelled("1", "overlap of the amplitudes of both directions")),
    }


def _coherences(field: Field, parts: xr.Dataset) -> Iterator[xr.DataArray]:
    """The share of either side's power that travels as one wave; 0 where no wave was found."""
    for side in ("right", "left"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DoubtfulEstimate)  # a side without a wave is not a defect of the recording
            found = radon_speed(field.with_values(parts[side], dead=None))
        explained = found["explained"].where(found["status"] == 0, 0.0).fillna(0.0)
        yield explained.mean([dim for dim in explained.dims if dim == "trial"])


def _verdict(result, alpha):
    seen = (result["moving_score"] > CERTAIN) | (result["still_score"] > CERTAIN)
    static = result["static_share"] > 0.5
    code = xr.full_like(result["p_value"], VERDICTS.index("none"))
    if "coherence" in result:
        coherent = (result["coherence"] > COHERENT).all("side")
        together = result["overlap"] > TOGETHER  # so are local oscillators, whose pattern is not a wave
        code = xr.where(coherent & ~together, VERDICTS.index("travelling both ways"), code)
        one_wave = (result["mode_share"] > ONE_MODE) & (result["mode_fit"] > SOME_WAVE)
        code = xr.where(coherent & together & one_wave, VERDICTS.index("standing"), code)
    one_mode = (result["mode_share"] > ONE_MODE) & (result["mode_index"] < ONE_PHASE) & (result["mode_fit"] > ONE_WAVE)
    code = xr.where(one_mode, VERDICTS.index("standing"), code)
    one_way = xr.where(result["index"] > 0, VERDICTS.index("travelling to +x"), VERDICTS.index("travelling to -x"))
    moves = result["p_value"] < alpha
    if "shape" in result:
        one_way, moves = _moving(result), moves & (result["wave_share"] > result["modules_share"])
    code = xr.where(moves, one_way, code)
    code = xr.where(static, VERDICTS.index("static"), code)
    code = xr.where(seen, code, VERDICTS.index("none")).astype(np.int8)
    flags = {
        "flag_values": list(range(len(VERDICTS))),
        "flag_meanings": " ".join(v.replace(" ", "_") for v in VERDICTS),
    }
    return code.assign_attrs(labelled("1", "what the field does") | flags)


def _moving(tested: xr.Dataset) -> xr.DataArray:
    """What moves in two dimensions, as a count in `VERDICTS`, by its shape and the sign of its direction."""
    rings = xr.where(tested["sign"] > 0, VERDICTS.index("expanding"), VERDICTS.index("converging"))
    code = xr.where(tested["shape"] == SHAPES.index("rings"), rings, VERDICTS.index("travelling"))
    return xr.where(tested["shape"] == SHAPES.index("arms"), VERDICTS.index("rotating"), code)


def _in_two_dimensions(field: Field, result: xr.Dataset, alpha: float) -> xr.Dataset:
    """The direction with its interval, and no speed or angle of a plane wave where there is none."""
    code = result["verdict_code"]
    still = code.isin([VERDICTS.index(word) for word in ("none", "static", "standing")])
    # a single line leaves the test little power: near its level the estimators decide for themselves
    undecided = (result["p_value"] <= NEARLY * alpha) & (result["wave_share"] > result["modules_share"])
    refused = still & ~((code == VERDICTS.index("none")) & undecided) & (result["status"] == 0)
    status = xr.where(refused, STATUS.index("chance"), result["status"]).transpose(*result["status"].dims)
    result["status"] = status.astype(np.int8).assign_attrs(result["status"].attrs)
    for name in ("speed", "speed_low", "speed_high", "direction", "direction_low", "direction_high"):
        result[name] = result[name].where(~refused).transpose(*result[name].dims).assign_attrs(result[name].attrs)
    result = result.assign(_angle(field, result, result["angle"]))
    straight = ~code.isin([VERDICTS.index(word) for word in ("rotating", "expanding", "converging")])
    for name in ("angle", "angle_low", "angle_high"):
        result[name] = result[name].where(straight).assign_attrs(result[name].attrs)
    return result
