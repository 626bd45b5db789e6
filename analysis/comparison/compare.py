"""A model held against a recording, wave for wave: which properties agree, by how much, and how sure that is."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import xarray as xr

from analysis.comparison import similarity as whole
from analysis.comparison.common_axes import AXES, Scales, fitted_scales, normalised, scaled
from analysis.comparison.contrast import MARGINS, Side, contrast
from analysis.comparison.features import spectral_peak, stretches, wave_features
from analysis.comparison.result import comparison_dataset
from analysis.comparison.scaled_spectrum import stretch_spectra, wavenumbers
from analysis.direction.surrogates import surrogate
from analysis.fields.axes import activity, netcdf_attrs, space_dims, time_axis
from analysis.fields.dead import dead_positions, silenced

TRIALS = 6  # from as many on, trials are the units that are exchanged, else stretches
PER_CYCLE, ROWS = 16, 1024  # samples for CKA, RSA and DSA


def compare(
    model,
    recording,
    *,
    nulls: Mapping | None = None,
    axes: str = "normalised",
    space_scale: float | None = None,
    time_scale: float | None = None,
    turn="auto",
    cycles: float | None = None,
    frequencies=None,
    model_frequencies=None,
    mask="nan",
    estimator: str = "radon",
    events: bool = True,
    similarity: bool = True,
    margins: Mapping | None = None,
    alpha: float = 0.05,
    confidence: float = 0.95,
    draws: int = 999,
    seed: int = 0,
) -> xr.Dataset:
    """Compare the waves of a model with those of a recording, and either with nulls that give the numbers a scale.

    Both are cut into stretches and measured (see `wave_features`); each property then has two distributions. Their
    energy coefficient (0 the same, 1 apart) has a p-value by permutation, their centres a ratio, difference or angle
    with a bootstrap interval; trials are what is exchanged and drawn, or stretches where there are few trials. A
    property

    - ``agrees`` where the interval lies within the margin,
    - ``differs`` where it does not and q < alpha (false discovery rate over properties),
    - is ``undecided`` otherwise: the data allow for both.

    Parameters
    ----------
    model, recording : xarray.Dataset
        Recordings on any layout. What the arrays hold is compared, so filter drifts out of a recording first.
    nulls : mapping of str to xarray.Dataset, optional
        Further recordings to compare with `recording`: an untrained model, an iRNN. The model with its positions
        shuffled, and the two halves of `recording` with each other, are always among them.
    axes : {"normalised", "fitted", "given", "same"}
        How the axes are made common (see `analysis.comparison.common_axes`). ``given`` takes `space_scale` and
        `time_scale`.
    space_scale, time_scale : float, optional
        The recording's units of length and of time per unit of the model.
    turn : "auto", "axis" or float
        Angle (rad, counter-clockwise) in a two-dimensional array that is compared with +x of the other. ``axis``: the
        main axis of travel. ``auto``: that where the other is one-dimensional, else 0. Between a line and a plane only
        the sense of travel along the axis is compared.
    cycles : float, optional
        Length of a stretch, in periods of the spectral peak, the same for both sides; nulls are cut as the model is. By
        default as in `wave_features`, for the shorter of the two.
    frequencies, model_frequencies : (float, float), optional
        Where to look for waves, each in its own units.
    mask : None, "nan" or boolean array
        Dead sensors of `recording`.
    estimator, events
        As in `wave_features`.
    similarity : bool
        Whether CKA, RSA and DSA stand beside it; they cannot see direction.
    margins : mapping, optional
        What counts as agreement: ``ratio`` (1.1: within a tenth), ``difference`` (0.1), ``angle`` (π/6).
    alpha, confidence, draws, seed
        Level, of the intervals, of permutations and bootstrap, of every random draw.

    Returns
    -------
    xarray.Dataset
        Over ``comparison`` (``model``, ``shuffled model``, the nulls, ``recording halves``) and ``feature``:
        ``energy`` with ``energy_low`` and ``_high``, ``p_value``, ``q_value``, ``effect`` with its interval (model
        over, or minus, recording; ``effect_kind`` says which), ``wasserstein`` (in the units of the common axes),
        ``median`` and ``recording_median``, ``stretches``, ``verdict``. Over ``comparison``: ``spectrum_distance``
        (|p − q|²/(|p|² + |q|²) of the mean normalised spectra: 0 the same, 1 no power in common) with interval and
        p-value, ``cka``, ``rsa``, ``dsa``. The distributions themselves (``samples``) and mean spectra over ``source``.
        In the attributes axes, scales with their intervals, units of permutation, and every parameter. Intervals of
        distances that begin at 0 say how large a difference the recordings do not exclude.

    Raises
    ------
    ValueError, TypeError
        Naming what does not fit.

    Examples
    --------
    >>> from analysis import synthetic
    >>> ring = synthetic.ring(32)
    >>> right, left = (synthetic.plane(ring, 800, wavenumber=k / 32, frequency=0.05) for k in (2, -2))
    >>> right, left = synthetic.with_noise(right, 2, seed=0), synthetic.with_noise(left, 2, seed=1)
    >>> result = compare(right, left, events=False, similarity=False, draws=199)
    >>> verdict = result.sel(comparison="model").verdict
    >>> verdict.sel(feature="direction").item(), verdict.sel(feature="speed").item()
    ('differs', 'agrees')
    """
    margins = MARGINS | dict(margins or {})
    _check(axes, space_scale, time_scale, cycles, margins, alpha, draws)
    rng = np.random.default_rng(seed)
    settings = {"estimator": estimator, "events": events, "seed": seed}
    ours = _segmented(model, {"frequencies": model_frequencies, "mask": None, **settings})
    theirs = _segmented(recording, {"frequencies": frequencies, "mask": mask, **settings})
    cycles = min(ours.pop("cycles"), theirs.pop("cycles")) if cycles is None else float(cycles)
    for options in (ours, theirs):
        options.pop("cycles", None)
        options["segment"] = cycles / options.pop("peak")
    theirs = _Measured(recording, theirs)
    sources = {"model": _Measured(model, ours), "shuffled model": _Measured(_shuffled(model, rng), ours)}
    for name, rec in (nulls or {}).items():
        if name in (*sources, "recording", "recording halves"):
            raise ValueError(f"nulls holds {name!r}, which is taken: choose another name")
        sources[name] = _Measured(rec, ours)
    scales = _scales(axes, sources["model"], theirs, space_scale, time_scale, draws, confidence, rng)
    turns = _turns(turn, sources["model"], theirs)
    one_sense = sources["model"].dimension != theirs.dimension
    kappa = wavenumbers(
        (theirs.array, theirs.array_length),
        *((item.array, _unit_length(item, theirs, scales, axes)) for item in sources.values()),
    )
    common = {"axes": axes, "kappa": kappa, "one_sense": one_sense}
    sides = {name: _side(name, item, theirs, scales, turns[0], **common) for name, item in sources.items()}
    target = _side("recording", theirs, theirs, Scales(), turns[1], **common)
    options = {"margins": margins, "alpha": alpha, "confidence": confidence, "draws": draws}
    rows = {name: contrast(side, target, rng, similarity, seed, **options) for name, side in sides.items()}
    rows["recording halves"] = contrast(*_halves(target), rng, False, seed, **options)
    result = comparison_dataset(rows, {**sides, "recording": target}, kappa, axes, theirs)
    parameters = {"estimator": estimator, "frequencies": frequencies, "model_frequencies": model_frequencies}
    parameters |= {"draws": draws, "alpha": alpha, "confidence": confidence, "seed": seed}
    parameters |= {f"margin_{name}": value for name, value in margins.items()}
    return result.assign_attrs(
        netcdf_attrs(
            method="comparison of waves", axes=axes, turn=turns[1] if theirs.dimension == 2 else turns[0],
            space_scale=scales.space, space_scale_interval=list(scales.space_interval),
            time_scale=scales.time, time_scale_interval=list(scales.time_interval),
            model_unit=sources["model"].unit_name, recording_unit=theirs.unit_name,
            model_peak=sources["model"].peak, recording_peak=theirs.peak,
            model_array_length=sources["model"].array_length, recording_array_length=theirs.array_length,
            cycles=cycles, model_segment=sources["model"].length, recording_segment=theirs.length,
            model_source=_source(model), recording_source=_source(recording),
            similarity_warning=whole.WARNING, **parameters,
        )
    )  # fmt: skip


def _segmented(rec, options):
    """The options with the spectral peak of a recording and the periods of it that a stretch would have."""
    mask = dead_positions(activity(rec), options["mask"], rec)
    peak, _, cycles = spectral_peak(rec, frequencies=options["frequencies"], mask=mask)
    return options | {"peak": peak, "cycles": cycles}


class _Measured:
    """A recording, its features, and how its stretches group into units."""

    def __init__(self, rec, options):
        array = activity(rec)
        self.mask = dead_positions(array, options["mask"], rec)
        self.array = silenced(array, self.mask)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of stretches that are refused: they are counted
            self.features = wave_features(self.array, **(options | {"mask": self.mask}))
        attrs = self.features.attrs
        self.length, self.peak, self.array_length = attrs["segment"], attrs["peak"], attrs["array_length"]
        self.dimension = attrs["dimension"]
        self.cut = stretches(self.array, round(self.length / time_axis(array).step))
        by_trial = array.sizes.get("trial", 1) >= TRIALS
        self.unit_name = "trial" if by_trial else "stretch"
        channels = self.cut.sizes.get("channel", 1)
        stretch = np.arange(self.features.sizes["stretch"]) // channels
        self.unit = self.features["trial"].values if by_trial else stretch

    def directions(self):
        return np.column_stack([self.features["direction_x"].values, self.features["direction_y"].values])


def _shuffled(model, rng):
    """The model with its positions in random order, another one in each trial and channel."""
    return surrogate(model, "position", seed=rng)


def _scales(axes, model, recording, space_scale, time_scale, draws, confidence, rng):
    if axes == "fitted":
        units = (model.unit, recording.unit)
        return fitted_scales(model.features, recording.features, units, draws=draws, confidence=confidence, rng=rng)
    if axes == "given":
        return Scales(space_scale, time_scale, (space_scale,) * 2, (time_scale,) * 2)
    if axes == "same":
        for kind in ("space_units", "time_units"):
            one, other = model.features.attrs[kind], recording.features.attrs[kind]
            if one != other:
                raise ValueError(
                    f"axes='same', but the model has {one!r} and the recording {other!r} ({kind}): use "
                    "axes='normalised', 'fitted', or 'given' with space_scale=… and time_scale=…"
                )
    return Scales()


def _turns(turn, model, recording):
    """Angles of the common +x in the model's and in the recording's plane."""
    if isinstance(turn, str) and turn not in ("auto", "axis"):
        raise ValueError(f"turn is {turn!r}: 'auto', 'axis' or an angle in radians is needed")
    flat = [item.dimension == 1 for item in (model, recording)]
    if turn == "auto":
        turn = "axis" if flat[0] != flat[1] else 0.0
    if turn != "axis":
        return (0.0, float(turn)) if not flat[1] else (0.0 if flat[0] else float(turn), 0.0)
    return tuple(0.0 if item.dimension == 1 else _main_axis(item.directions()) for item in (model, recording))


def _main_axis(directions):
    """The axis, in (−π/2, π/2], along which most stretches travel, either way."""
    doubled = np.nansum((directions[:, 0] + 1j * directions[:, 1]) ** 2)
    return float(np.angle(doubled) / 2)


def _unit_length(item, recording, scales, axes):
    """The length over which spectra count wavelengths, in units of the item's space."""
    return item.array_length if axes == "normalised" else recording.array_length / scales.space


def _side(name, item, recording, scales, turn, *, axes, kappa, one_sense):
    """Everything on the common axes."""
    if axes == "normalised":
        values, peaks = normalised(item.features), item.features["peak_frequency"].values
    else:
        values, peaks = scaled(item.features, scales), np.full(len(item.unit), recording.peak * scales.time)
    x, y = item.directions().T
    along, across = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
    if one_sense:
        along, across = np.sign(along), np.zeros_like(along)
    values["direction"] = np.column_stack([along, across])
    length = _unit_length(item, recording, scales, axes)
    spectra = stretch_spectra(item.cut, kappa, length=length, peaks=peaks, mask=item.mask, turn=turn)
    return Side(name, values, item.unit, spectra, _rows(item))


def _rows(item):
    """The first trial, PER_CYCLE samples in each cycle of the spectral peak: (time, sensor)."""
    array = item.array.isel(trial=0) if "trial" in item.array.dims else item.array
    dims = space_dims(array)
    places = int(np.prod([array.sizes[dim] for dim in dims]))
    values = array.transpose("time", ..., *dims).values.reshape(array.sizes["time"], -1, places)
    values = values if item.mask is None else values[..., ~item.mask.ravel()]
    values = values.reshape(len(values), -1)
    time = array.time.values.astype(float) - float(array.time[0])
    wanted = np.arange(0, time[-1], 1 / (PER_CYCLE * item.peak))[:ROWS]
    place = np.interp(wanted, time, np.arange(time.size))
    low = np.minimum(place.astype(int), time.size - 2)
    share = (place - low)[:, None]
    return values[low] * (1 - share) + values[low + 1] * share


def _halves(side):
    """Every second unit of the recording against the others: what chance alone leaves between two such recordings."""
    _, number = np.unique(side.unit, return_inverse=True)
    parts = []
    for odd in (0, 1):
        kept = number % 2 == odd
        values = {name: array[kept] for name, array in side.values.items()}
        parts.append(replace(side, values=values, unit=side.unit[kept], spectra=side.spectra[kept]))
    return parts


def _source(rec):
    return str(rec.attrs.get("source", "not known"))


def _check(axes, space_scale, time_scale, cycles, margins, alpha, draws):
    if axes not in AXES:
        raise ValueError(f"axes is {axes!r}: one of {AXES} is needed")
    given = [scale is not None for scale in (space_scale, time_scale)]
    if (axes == "given") != all(given) or any(given) != all(given):
        raise ValueError(
            f"axes={axes!r} with space_scale={space_scale}, time_scale={time_scale}: both belong to axes='given', and "
            "it needs both"
        )
    if all(given) and not (space_scale > 0 and time_scale > 0):
        raise ValueError(f"space_scale={space_scale}, time_scale={time_scale}: positive numbers are needed")
    if cycles is not None and not cycles >= 1:
        raise ValueError(f"cycles is {cycles}: at least one period of the spectral peak is needed")
    if unknown := margins.keys() - MARGINS.keys():
        raise ValueError(f"margins names {sorted(unknown)}: only {sorted(MARGINS)} are known")
    if not 0 < alpha < 1 or int(draws) != draws or draws < 1:
        raise ValueError(f"alpha={alpha}, draws={draws}: a level between 0 and 1 and a positive number are needed")
