"""Decoding: which input arrived when, and how strongly, from a single snapshot of the field."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import xarray as xr

from wavefield.decoding.anywhere.anywhere import decode_anywhere
from wavefield.decoding.dense import DenseReader
from wavefield.decoding.estimate import Estimate, asked_for, estimated
from wavefield.decoding.events import Events, joined, silent_inputs
from wavefield.decoding.exact import exact_reader
from wavefield.decoding.request import Request
from wavefield.decoding.sparse.reader import SparseReader
from wavefield.operators.operator import WaveOperator
from wavefield.progress import Progress
from wavefield.recordings.schema import regular_times

METHODS = ("auto", "exact", "sparse", "tikhonov")


def decode(
    snapshot,
    operator: WaveOperator | None = None,
    *,
    steps: int | None = None,
    encoder=None,
    source: str | None = None,
    previous=None,
    horizon: int | None = None,
    nonnegative: bool = True,
    noise: float | None = None,
    method: str = "auto",
    estimate: str | Sequence[str] | Mapping[str, tuple[float, float]] | None = None,
    sites: str | None = None,
) -> xr.Dataset:
    """Read past inputs from one snapshot of a linear field that was at rest `steps` steps ago.

        y = F x + σ ε,      F x = Σ_t M^{T−1−t} V e[t],      e[t] = x[t],  or x[t] − x[t−2] for a pulse

    Where the field only shifts (one-way at Courant number ±1; two-way on a ring at Courant number 1 without damping,
    both levels seen) every input stands in a cell of its own and is looked up there. Everywhere else an inverse
    problem is solved: non-negative least squares, then the fewest events that explain the snapshot as well, under
    the posterior over supports (see `wavefield.operators.design` for F). No number of events needs to be given.

    What a snapshot cannot tell is said and not guessed. On an undamped ring onsets return after a turn: they are then
    known modulo `period` only, and the amplitude is that of all events of the class together (on a ring that
    fades, the amplitude that an event at the given onset would have). Inputs that leave the same trace are listed
    as alternatives, with one number in `ambiguous` and the probability shared among them.

    Parameters
    ----------
    snapshot : recording or array_like, shape (rings, N), (N,) or (trial, rings, N)
        A recording is decoded from its last state and needs nothing else. Of a sheet N stands for (Ny, Nx), here and
        below.
    operator : WaveOperator
        What moved the field. Needed with an array, as are `steps`.
    steps : int
        T, the steps since the field was at rest. Onsets are counted from there, 0…T−1.
    encoder : {"own", "first"} or array_like, shape (rings, N, inputs), optional
        As in `simulate`; ``"own"`` by default.
    source : {"pulse", "force"}, optional
        How a two-way field took its inputs; ``"pulse"`` by default.
    previous : array_like, False, optional
        The level before the snapshot, for a two-way field. That of a recording is used unless this is False.
    horizon : int, optional
        Look back over so many steps only; older events are not listed. By default all steps that leave distinguishable
        traces.
    nonnegative : bool
        Whether amplitudes are known not to be negative, which an inverse problem needs for its best answers.
    noise : float, optional
        Standard deviation σ of the noise on the snapshot; by default it is estimated from what is left unexplained.
    method : {"auto", "exact", "sparse", "tikhonov"}
        ``"exact"`` looks up cells and refuses where there is no such thing. ``"sparse"`` solves for few events.
        ``"tikhonov"`` is for a dense drive of either sign: least squares with a Gaussian prior on every amplitude,
        its strength fitted; amplitudes that stand out by two standard deviations are listed, with the
        probability that their sign is right.
    estimate : str, sequence of str, or mapping of str to (float, float), optional
        What of the operator is not known and is estimated together with the events, by all snapshots together:
        ``"speed"``, ``"damping"`` or both, of an operator made by `transport` or `wave`. A mapping gives the bounds
        between which each is searched, as in `scipy.optimize`; by default the speed of the operator over and times
        1.25, as far as its scheme is stable, and dampings from 0. The damping of a one-way field is −log(gain)/dt.
    sites : {None, "anywhere"}
        ``"anywhere"``: nobody says where inputs enter, nor how many. Every place and onset of a two-way field is
        considered and `encoder` is not used; what comes back has places instead of inputs, see below.

    Returns
    -------
    xarray.Dataset
        One row for each event, dim `event`, by onset:

        - `onset` (steps), `input`, `amplitude`, `amplitude_error` (standard deviation);
        - `time`, onset·dt, the time at which that step began, in the units of the recording's times;
        - `confidence`: probability that there was such an event, with this input and this onset (modulo `period`);
        - `period`: 0 if the onset is known, else the steps modulo which it is; the latest is given;
        - `ambiguous`: 0, or a number that marks rows which are alternatives or stand and fall together: classes,
          collisions, events of confidence below 0.9, events that a singular design leaves mostly undetermined;
        - `trial`, where there are trials;
        - with `estimate`, `speed` and `speed_interval` (dim `bound`), `damping` and `damping_interval`: the most
          probable value and the values of highest density with 95 % of the posterior. The events are those of this
          operator, their confidences the mean over all that come into question.

        Attributes: `method`, `steps`, `horizon`; `noise` and its standard deviation `noise_error` (0 if it was given,
        infinite if the field does not determine it, in which case confidences are low and `noise` should be given);
        `residual` (root mean square) and `misfit`, the probability that white noise is as correlated as the residual
        is, or as like what a wrong speed or damping leaves (small for a wrong operator, NaN where not worked out);
        `rank` and `columns` of the design, its `conditioning` (NaN where not worked out), and `warnings`.

        With ``sites="anywhere"`` a row has, instead of `input` and `period`, the `channel` (number of the ring or
        sheet), the cell `y`, `x` of the event (of a ring `x`), the same in units of length, `y_position` and
        `x_position`, and its `time` in units of dt. `confidence` is the probability of an event at this place and
        onset. An event that is not certain comes with the places and onsets that may stand for it, marked by the same
        number in `ambiguous` and each with its probability. The attribute `visible` is the number of steps back for
        which an event of typical amplitude stands out from the noise.

    Raises
    ------
    ValueError, TypeError
        If an argument does not fit, or the field is one that cannot be decoded (nonlinear, growing).

    Examples
    --------
    >>> import numpy as np, wavefield as wf
    >>> events = decode(np.array([[0.0, 0.0, 2.0, 0.0]]), wf.transport(1.0), steps=4)
    >>> int(events.onset[0]), int(events.input[0]), float(events.amplitude[0])
    (1, 0, 2.0)

    A speed that is known by about, read from the same snapshot as the events:

    >>> rec = wf.simulate(wf.wave(0.9), wf.spikes([[(5, 1.0), (20, 1.0)]], steps=40), size=64)
    >>> rec["activity"] += 0.01 * np.random.default_rng(0).standard_normal(rec.activity.shape)
    >>> found = decode(rec, wf.wave(0.88), estimate="speed")
    >>> found.onset.values.tolist(), round(float(found.speed), 2)
    ([5, 20], 0.9)

    Two events on a sheet, of which nobody says where they entered:

    >>> encoder = wf.encoder_at([(4, 9), (12, 3)], size=(16, 16))
    >>> rec = wf.simulate(wf.wave(0.6, dims=2), wf.spikes([[(3, 1.0)], [(14, 0.5)]], 20), encoder=encoder)
    >>> found = decode(rec, sites="anywhere")
    >>> list(zip(found.onset.values.tolist(), found.y.values.tolist(), found.x.values.tolist()))
    [(3, 4, 9), (14, 12, 3)]
    """
    if method not in METHODS:
        raise ValueError(f"method must be one of {', '.join(METHODS)}, got {method!r}")
    if sites not in (None, "anywhere"):
        raise ValueError(f"sites must be None (the encoder says where inputs enter) or 'anywhere', got {sites!r}")
    if sites and encoder is not None:
        raise ValueError("sites='anywhere' looks everywhere: leave out `encoder`, or `sites` to use it")
    if sites and method not in ("auto", "sparse"):
        raise ValueError(f"sites='anywhere' solves for few events, method must be 'auto' or 'sparse', got {method!r}")
    request = Request.of(
        snapshot,
        operator,
        steps=steps,
        encoder=encoder,
        source=source,
        previous=previous,
        horizon=horizon,
        nonnegative=nonnegative,
        noise=noise,
        anywhere=sites == "anywhere",
    )
    if sites:
        if estimate is not None:
            raise ValueError("estimate needs inputs whose places are known; sites='anywhere' looks for the places")
        return decode_anywhere(request, horizon is not None)
    if estimate is None:
        return as_dataset(request, _read(request, method))
    family, bounds = asked_for(estimate, request, method)
    found = estimated(request, family, bounds, _progress)
    return as_dataset(request, _read_all(request, method, found)).assign(_described(found, request.units))


def _read(request, method) -> list[Events]:
    """Read every snapshot of a request."""
    reader = Reader(request, method)
    snapshots = Progress(request.snapshots, "decode", unit="trial")
    return [_scaled(reader, request.noise, *levels).sorted() for levels in snapshots]


def _read_all(request, method, found: Estimate) -> list[Events]:
    """Read the snapshots under the most probable operator, confidences being means over all operators found."""
    readings = [(weight, _read(replace(request, operator=operator), method)) for weight, operator in found.operators]
    trials = []
    for parts in zip(*(events for _, events in readings), strict=True):
        first, confidence = parts[0], np.zeros(len(parts[0]))
        for (weight, _), events in zip(readings, parts, strict=True):
            there = dict(zip(zip(events.onset, events.input, strict=True), events.confidence, strict=True))
            confidence += weight * np.array([there.get(row, 0.0) for row in zip(first.onset, first.input, strict=True)])
        trials.append(replace(first, confidence=confidence, warnings=first.warnings + found.warnings))
    return trials


def _described(found: Estimate, units) -> dict:
    """Variables of what was estimated."""
    variables: dict = {}
    per_time = "1" if units["time"] == "1" else f"{units['time']}-1"
    by_name = {"speed": " ".join(u for u in (units["position"], per_time) if u != "1") or "1", "damping": per_time}
    for name, value in found.values.items():
        about = {"units": by_name[name], "long_name": name}
        variables[name] = ((), value, about)
        interval = about | {"long_name": f"{name}, interval that holds 95 %"}
        variables[f"{name}_interval"] = ("bound", np.array(found.intervals[name]), interval)
    return variables


# ---- readers ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Reader:
    """Reads exactly where that is possible and requested, and else solves the inverse problem."""

    request: Request
    method: str

    @cached_property
    def _exact(self):
        return exact_reader(self.request) if self.method in ("auto", "exact") else None

    @cached_property
    def _inverse(self):
        """The reader by inversion, whose design is worked out only when a snapshot needs it."""
        return (DenseReader if self.method == "tikhonov" else SparseReader).of(self.request, _progress)

    def read(self, now, before, noise) -> Events:
        """Return the events of one snapshot, levels (rings, N), and what their periods mean."""
        if not self.request.encoder.any():
            return self._none(now, noise)
        events = None if self._exact is None else self._exact.read(now, before, noise)
        if events is None and self.method == "exact":
            raise ValueError(
                "method='exact' needs a field that only shifts, inputs that enter one cell each, and traces that do "
                "not hide each other (without noise for a two-way field); use 'auto' or 'sparse'"
            )
        if events is None:
            events = self._inverse.read(now, before, noise)
        return replace(events, warnings=events.warnings + _remarks_on_periods(events.period))

    def _none(self, now, noise):
        """Where no input enters there is no event."""
        residual = float(np.sqrt(np.mean(np.square(now))))
        facts = {
            "method": self.method,
            "noise": float(noise or 0),
            "noise_error": float("inf") if noise is None else 0.0,
        }
        facts |= {"residual": residual, "horizon": self.request.horizon, "columns": 0}
        return joined([], facts, silent_inputs(np.zeros(0), self.request.encoder.shape[2]))


def _progress(items, text):
    """Show a bar over what takes longer than two seconds."""
    return Progress(items, f"decode: {text}", leave=False)


def _remarks_on_periods(period):
    remarks = []
    if (period == 1).any():
        remarks.append("onsets are lost: inputs stay where they entered, an amplitude is the sum of all of its input")
    if (period > 1).any():
        remarks.append("more steps have passed than the field holds: onsets are known modulo `period` only")
    return remarks


def _scaled(reader, noise, now, before):
    """Read a snapshot, brought near 1 by a power of two where its squares would leave the range of the numbers."""
    largest = max(np.abs(now).max(), 0.0 if before is None else np.abs(before).max())
    if largest == 0 or 1e-100 < largest < 1e100:
        return reader.read(now, before, noise)
    unit = 2.0 ** np.floor(np.log2(largest))
    events = reader.read(now / unit, None if before is None else before / unit, None if noise is None else noise / unit)
    facts = events.facts | {name: events.facts[name] * unit for name in ("noise", "noise_error", "residual")}
    return replace(events, amplitude=events.amplitude * unit, error=events.error * unit, facts=facts)


# ---- result -------------------------------------------------------------------------------------------------------


def as_dataset(request: Request, trials: list[Events]) -> xr.Dataset:
    """Return the events of all trials as the Dataset that `decode` describes."""
    described = {
        "onset": ("onset", "step of the event, counted from rest"),
        "input": ("input", "number of the input"),
        "amplitude": ("amplitude", "amplitude of the event"),
        "amplitude_error": ("error", "standard deviation of the amplitude"),
        "confidence": ("confidence", "probability that input and onset are right"),
        "period": ("period", "steps modulo which the onset is known, 0 if it is known"),
        "ambiguous": ("ambiguous", "0, or the group of rows that cannot be distinguished"),
    }
    table = {
        name: ("event", np.concatenate([getattr(t, field) for t in trials]), {"units": "1", "long_name": text})
        for name, (field, text) in described.items()
    }
    for name in ("amplitude", "amplitude_error"):
        table[name][2]["units"] = request.units["drive"]
    dt, units = request.operator.dt, request.units["time"]
    about = {"units": units, "long_name": "time of the event, counted from rest"}
    table["time"] = ("event", regular_times(table["onset"][1], dt, units), about)
    if request.trials:
        which = np.repeat(np.arange(len(trials)), [len(t) for t in trials])
        table["trial"] = ("event", which, {"units": "1", "long_name": "number of the trial"})
    first, nan = trials[0].facts, float("nan")

    def of_every_trial(name):
        return [float(t.facts[name]) for t in trials] if request.trials else float(first[name])

    attrs = {
        "method": ", ".join(dict.fromkeys(t.facts["method"] for t in trials)),
        "steps": request.steps,
        "horizon": first["horizon"],
        "noise": of_every_trial("noise"),
        "noise_error": of_every_trial("noise_error"),
        "residual": of_every_trial("residual"),
        "misfit": [t.facts.get("misfit", nan) for t in trials] if request.trials else first.get("misfit", nan),
        "columns": first["columns"],
        "rank": first.get("rank", -1),
        "conditioning": first.get("conditioning", nan),
        "warnings": "; ".join(dict.fromkeys(text for t in trials for text in t.warnings)),
    }
    return xr.Dataset(table, attrs=attrs)
