"""A model compared with a recording, wave for wave: which properties agree, by how much, and how sure that is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import xarray as xr

from analysis.comparison.common_axes import AXES, Scales, fitted_scales, normalised, scaled
from analysis.comparison.contrast import MARGINS, Criteria, Side, contrast
from analysis.comparison.features import FeatureOptions, features
from analysis.comparison.result import comparison_dataset
from analysis.comparison.scaled_spectrum import stretch_spectra, wavenumbers
from analysis.comparison.segments import Peak, spectral_peak, stretches
from analysis.direction.surrogates import scrambled
from analysis.fields.band import Band
from analysis.fields.dead import Mask
from analysis.fields.field import Field
from analysis.fields.read import Recording
from analysis.fields.units import netcdf_attrs
from analysis.similarity import WARNING
from wavefield.progress import Progress

TRIALS = 6  # from as many on, trials are the units that are exchanged, else stretches
PER_CYCLE, ROWS = 16, 1024  # samples for CKA, RSA and DSA


def compare(
    model: Recording,
    recording: Recording,
    *,
    nulls: Mapping | None = None,
    axes: str = "normalised",
    space_scale: float | None = None,
    time_scale: float | None = None,
    turn: str | float = "auto",
    align: float | None = None,
    cycles: float | None = None,
    frequencies: Band | None = None,
    model_frequencies: Band | None = None,
    mask: Mask = "nan",
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

    Both are cut into segments of time, called stretches, and measured (see `wave_features`); each property then has two
    distributions. Their energy coefficient (0 the same, 1 apart) has a p-value by permutation, their centres a ratio,
    difference or angle with a bootstrap interval; trials are what is exchanged and drawn, or stretches where there are
    few trials. A property

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
        main axis of travel. ``auto``: that where the other is one-dimensional, else 0.
    align : float, optional
        Between a line and a plane: the angle (rad, counter-clockwise) in the plane along which the +x of the line lies.
        Then the sense of travel along that axis is compared. Without it, or a `turn` that is an angle, direction is not
        measured: which end of a line has the number 0 is a convention, and decides nothing.
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
        Whether to give CKA, RSA and DSA too; they cannot see direction.
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
    rng, by = np.random.default_rng(seed), Criteria(margins, alpha, confidence, draws, seed)
    of_recording = FeatureOptions(frequencies, estimator, events, seed)
    of_model = replace(of_recording, frequencies=model_frequencies)
    ours, theirs = Field.of(model, living=True), Field.of(recording, mask, living=True)
    our_peak, their_peak = spectral_peak(ours, model_frequencies), spectral_peak(theirs, frequencies)
    cycles = min(our_peak.cycles, their_peak.cycles) if cycles is None else float(cycles)
    segment = cycles / our_peak.frequency
    nulls = nulls or {}
    if taken := [name for name in nulls if name in ("model", "shuffled model", "recording", "recording halves")]:
        raise ValueError(f"nulls holds {taken[0]!r}, which is taken: choose another name")
    with Progress(what="compare: features", total=3 + len(nulls), unit="recording", leave=False) as progress:
        measured = _measured(theirs, of_recording, cycles / their_peak.frequency, their_peak)
        progress.update()
        sources = {"model": _measured(ours, of_model, segment, our_peak)}
        progress.update()
        sources["shuffled model"] = _measured(_shuffled(ours, rng), of_model, segment)
        progress.update()
        for name, rec in nulls.items():
            sources[name] = _measured(Field.of(rec, living=True), of_model, segment)
            progress.update()
    scales = _scales(axes, sources["model"], measured, space_scale, time_scale, by, rng)
    one_sense = sources["model"].dimension != measured.dimension
    turn = _aligned(turn, align, one_sense)
    unaligned = one_sense and isinstance(turn, str)
    lengths = [(item.field, _unit_length(item, measured, scales, axes)) for item in sources.values()]
    kappa = wavenumbers((theirs, measured.array_length), *lengths)
    common = _Common(axes, scales, kappa, one_sense, unaligned, measured)
    turns = _turns(turn, sources["model"], measured)
    sides = {name: _side(name, item, common, turns[0]) for name, item in sources.items()}
    target = _side("recording", measured, replace(common, scales=Scales()), turns[1])
    rows = {}
    for name, side in Progress(sides.items(), "compare: contrasts", unit="recording", leave=False):
        rows[name] = contrast(side, target, by, rng, similarity=similarity)
    even, odd = _halves(target)
    rows["recording halves"] = contrast(even, odd, by, rng, similarity=False)
    result = comparison_dataset(rows, {**sides, "recording": target}, kappa, axes, measured.features)
    known = _described(sources["model"], measured, common, turns[1] if measured.dimension == 2 else turns[0])
    known |= {"cycles": cycles, "model_source": _source(model), "recording_source": _source(recording)}
    known |= {"estimator": estimator, "frequencies": frequencies, "model_frequencies": model_frequencies}
    known |= {"draws": draws, "alpha": alpha, "confidence": confidence, "seed": seed}
    known |= {f"margin_{name}": value for name, value in margins.items()}
    return result.assign_attrs(netcdf_attrs(**known, similarity_warning=WARNING))


@dataclass(frozen=True, eq=False)
class _Measured:
    """A recording, its features, and how its stretches group into units."""

    field: Field
    features: xr.Dataset
    cut: Field  # its stretches
    unit: np.ndarray  # (stretch,)
    unit_name: str

    @property
    def length(self) -> float:
        """Of a stretch."""
        return self.features.attrs["segment"]

    @property
    def peak(self) -> float:
        return self.features.attrs["peak"]

    @property
    def array_length(self) -> float:
        return self.features.attrs["array_length"]

    @property
    def dimension(self) -> int:
        return self.features.attrs["dimension"]

    @property
    def directions(self) -> np.ndarray:
        """Unit vectors (stretch, 2)."""
        return np.column_stack([self.features["direction_x"].values, self.features["direction_y"].values])


def _measured(field: Field, options: FeatureOptions, segment: float, peak: Peak | None = None) -> _Measured:
    found = features(field, options, segment=segment, peak=peak)
    cut = stretches(field, round(found.attrs["segment"] / field.time.step))
    if field.values.sizes.get("trial", 1) >= TRIALS:
        return _Measured(field, found, cut, found["trial"].values, "trial")
    stretch = np.arange(found.sizes["stretch"]) // cut.values.sizes.get("channel", 1)
    return _Measured(field, found, cut, stretch, "stretch")


def _shuffled(model: Field, rng) -> Field:
    """The model with its positions in random order, another one in each trial and channel."""
    return model.with_values(scrambled(model, "position", rng))


@dataclass(frozen=True, eq=False)
class _Common:
    """The axes on which sides are compared."""

    axes: str
    scales: Scales
    kappa: np.ndarray
    one_sense: bool  # only the sense of travel along the axis is compared, …
    unaligned: bool  # … and not even that: nobody said how the line lies in the plane
    recording: _Measured


def _scales(axes, model, recording, space_scale, time_scale, by: Criteria, rng):
    if axes == "fitted":
        drawn = {"draws": by.draws, "confidence": by.confidence, "rng": rng}
        return fitted_scales(model.features, recording.features, (model.unit, recording.unit), **drawn)
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


def _aligned(turn, align, one_sense):
    """`turn`, or in its place the `align` of a line and a plane."""
    if align is None:
        return turn
    if not one_sense:
        raise ValueError(f"align is {align}: it belongs to a line compared with a plane; use turn=… between two planes")
    if isinstance(align, bool | str) or not np.isfinite(align):
        raise ValueError(f"align is {align!r}: an angle in radians is needed")
    if turn != "auto":
        raise ValueError(f"align is {align} and turn is {turn!r}: give one of them")
    return float(align)


def _turns(turn, model, recording):
    """Angles of the common +x in the model's and in the recording's plane."""
    if isinstance(turn, str) and turn not in ("auto", "axis"):
        raise ValueError(f"turn is {turn!r}: 'auto', 'axis' or an angle in radians is needed")
    flat = [item.dimension == 1 for item in (model, recording)]
    if turn == "auto":
        turn = "axis" if flat[0] != flat[1] else 0.0
    if turn != "axis":
        return (0.0, float(turn)) if not flat[1] else (0.0 if flat[0] else float(turn), 0.0)
    return tuple(0.0 if item.dimension == 1 else _main_axis(item.directions) for item in (model, recording))


def _main_axis(directions):
    """The axis, in (−π/2, π/2], along which most stretches travel, either way."""
    doubled = np.nansum((directions[:, 0] + 1j * directions[:, 1]) ** 2)
    return float(np.angle(doubled) / 2)


def _unit_length(item: _Measured, recording: _Measured, scales: Scales, axes: str) -> float:
    """The length over which spectra count wavelengths, in units of the item's space."""
    return item.array_length if axes == "normalised" else recording.array_length / scales.space


def _side(name, item: _Measured, common: _Common, turn) -> Side:
    """Everything on the common axes."""
    if common.axes == "normalised":
        values, peaks = normalised(item.features), item.features["peak_frequency"].values
    else:
        values = scaled(item.features, common.scales)
        peaks = np.full(len(item.unit), common.recording.peak * common.scales.time)
    x, y = item.directions.T
    along, across = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
    if common.one_sense:
        along, across = np.sign(along), np.zeros_like(along)
    if not common.unaligned:
        values["direction"] = np.column_stack([along, across])
    length = _unit_length(item, common.recording, common.scales, common.axes)
    spectra = stretch_spectra(item.cut, common.kappa, length=length, peaks=peaks, turn=turn)
    if common.unaligned:  # κ and −κ are one wave, whose ends nobody named
        spectra = (spectra + spectra[..., ::-1]) / 2
    return Side(name, values, item.unit, spectra, _rows(item))


def _rows(item: _Measured):
    """The first trial, PER_CYCLE samples in each cycle of the spectral peak: (time, sensor)."""
    array, dims = item.field.values, item.field.space.dims
    array = array.isel(trial=0) if "trial" in array.dims else array
    values = array.transpose("time", ..., *dims).values
    values = values.reshape(array.sizes["time"], -1, int(np.prod(item.field.space.shape)))
    values = values if item.field.dead is None else values[..., ~item.field.dead.ravel()]
    values = values.reshape(len(values), -1)
    time = array.time.values.astype(float) - float(array.time[0])
    wanted = np.arange(0, time[-1], 1 / (PER_CYCLE * item.peak))[:ROWS]
    place = np.interp(wanted, time, np.arange(time.size))
    low = np.minimum(place.astype(int), time.size - 2)
    share = (place - low)[:, None]
    return values[low] * (1 - share) + values[low + 1] * share


def _halves(side: Side) -> tuple[Side, Side]:
    """Every second unit of the recording, and the others: what chance alone leaves between two such recordings."""
    _, number = np.unique(side.unit, return_inverse=True)

    def part(kept):
        values = {name: array[kept] for name, array in side.values.items()}
        return replace(side, values=values, unit=side.unit[kept], spectra=side.spectra[kept])

    return part(number % 2 == 0), part(number % 2 == 1)


def _described(model: _Measured, recording: _Measured, common: _Common, turn) -> dict:
    """The axes and what they rest on, for the attributes."""
    scales = common.scales
    sides = {"model": model, "recording": recording}
    return {
        "method": "comparison of waves",
        "axes": common.axes,
        "turn": turn,
        "aligned": "no" if common.unaligned else "yes",
        "space_scale": scales.space,
        "space_scale_interval": list(scales.space_interval),
        "time_scale": scales.time,
        "time_scale_interval": list(scales.time_interval),
        **{f"{name}_unit": side.unit_name for name, side in sides.items()},
        **{f"{name}_peak": side.peak for name, side in sides.items()},
        **{f"{name}_array_length": side.array_length for name, side in sides.items()},
        **{f"{name}_segment": side.length for name, side in sides.items()},
    }


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
