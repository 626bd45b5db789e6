"""What was found, one row for each event or for each of the alternatives for one, and the table that a user sees."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import xarray as xr

from wavefield.decoding.request import Request


@dataclass(frozen=True, eq=False)
class Places:
    """Rows of events with their places, and what is to be said about all of them."""

    ring: np.ndarray
    age: np.ndarray  # steps before the last
    place: np.ndarray  # flat
    amplitude: np.ndarray
    error: np.ndarray  # standard deviation of the amplitude
    confidence: np.ndarray
    ambiguous: np.ndarray  # 0: no; else the group whose rows are alternatives
    facts: dict = field(default_factory=dict)
    warnings: list = field(default_factory=list)

    @classmethod
    def none(cls, facts: dict) -> Places:
        """No event."""
        whole, number = np.zeros(0, np.int64), np.zeros(0)
        return cls(whole, whole, whole, number, number, number, whole, facts)

    def __len__(self):
        return self.age.size


def as_dataset(request: Request, trials: list[Places], facts: dict, warnings: list) -> xr.Dataset:
    """Return the events of all trials as the Dataset that `decode` describes for `sites="anywhere"`."""
    operator, axes = request.operator, ("y", "x")[-len(request.shape) :]
    orders = [np.lexsort((t.place, t.ring, -t.age)) for t in trials]

    def joined(name):
        return np.concatenate([getattr(t, name)[order] for t, order in zip(trials, orders, strict=True)])

    onset = request.steps - 1 - joined("age")
    cells = np.unravel_index(joined("place"), request.shape)
    table = {
        "onset": (onset, "step of the event, counted from rest"),
        "time": (onset * operator.dt, "time of the event, on the scale of its drive"),
        "channel": (joined("ring"), "number of the field that it entered"),
    }
    for axis, cell, spacing in zip(axes, cells, operator.spacings, strict=True):
        table[axis] = (cell, f"cell of the event along {axis}")
        table[f"{axis}_position"] = (cell * spacing, f"position of the event along {axis}")
    table |= {
        "amplitude": (joined("amplitude"), "amplitude of the event"),
        "amplitude_error": (joined("error"), "standard deviation of the amplitude"),
        "confidence": (joined("confidence"), "probability that place and onset are right"),
        "ambiguous": (joined("ambiguous"), "0, or the group of rows that cannot be distinguished"),
    }
    if request.trials:
        table["trial"] = (np.repeat(np.arange(len(trials)), [len(t) for t in trials]), "number of the trial")
    attrs = {"method": "sparse", "sites": "anywhere", "steps": request.steps} | facts
    for name in ("noise", "noise_error", "residual", "misfit", "visible"):
        of_trials = [t.facts.get(name, float("nan")) for t in trials]
        attrs[name] = of_trials if request.trials else of_trials[0]
    attrs["warnings"] = "; ".join(dict.fromkeys([*warnings, *(text for t in trials for text in t.warnings)]))
    rows = {name: ("event", values, {"units": "1", "long_name": text}) for name, (values, text) in table.items()}
    return xr.Dataset(rows, attrs=attrs)
