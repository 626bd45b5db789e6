"""Units of a simulation: given, or those of the recording that is continued or of the times of the drive."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import xarray as xr

WITH_UNITS = ("time", "position", "activity", "drive")


def resolve_units(units, initial, drive, dt: float) -> dict[str, str]:
    """Return the units by name, those of `WITH_UNITS` that are known; refuse what does not agree."""
    if units is not None and not isinstance(units, Mapping):
        raise TypeError(f"units must be a mapping, such as {{'time': 'ms', 'position': 'mm'}}, got {units!r}")
    units = dict(units or {})
    if unknown := [name for name in units if name not in WITH_UNITS]:
        raise ValueError(f"units names {', '.join(map(repr, unknown))}; accepted are {', '.join(WITH_UNITS)}")
    if wrong := [value for value in units.values() if not isinstance(value, str) or not value]:
        raise TypeError(f"units must be text, such as 'ms', got {wrong[0]!r}")
    if isinstance(initial, xr.Dataset):
        known = {name: units_of(initial, name) for name in WITH_UNITS if _variable(initial, name) in initial.variables}
        _agree(units, known, "initial: the recording that is continued")
        units = {name: unit for name, unit in known.items() if unit != "1"} | units
    known = _units_of_times(drive, dt)
    _agree(units, known, "drive: its steps")
    return known | units


def units_of(rec: xr.Dataset, name: str) -> str:
    """Return the units of a variable of a recording, ``1`` where it says nothing (on a sheet position is x)."""
    name = _variable(rec, name)
    return str(rec[name].attrs.get("units", "1")) if name in rec.variables else "1"


def _variable(rec, name):
    return "x" if name == "position" and "position" not in rec.variables else name


def _units_of_times(drive, dt):
    """Units of the times of a drive, if it has any; its steps must then be as long as the operator's."""
    if not isinstance(drive, xr.DataArray):
        return {}
    step = next((drive.coords[name] for name in ("step", "time") if name in drive.coords), None)
    unit = "1" if step is None else str(step.attrs.get("units", "1"))
    if step is None or unit in ("1", "") or step.dtype.kind not in "fiu":
        return {}
    gaps = np.diff(step.values.astype(float))
    if gaps.size and not np.allclose(gaps, dt, rtol=1e-3, atol=0):
        raise ValueError(f"drive: its steps are {gaps[0]:g} {unit} apart, those of the operator dt = {dt:g}")
    return {"time": unit}


def _agree(units, known, owner):
    for name, unit in known.items():
        if units.get(name, unit) != unit and unit != "1":
            raise ValueError(f"units of {name} are {units[name]!r}, but {owner} has {unit!r}")
