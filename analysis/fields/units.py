"""Units and attributes of results: derived units are spelled the UDUNITS way (``mm-1``, ``mm s-1``)."""

import numpy as np


def inverse_units(units: str) -> str:
    """Units of one cycle per `units`: ``s`` → ``Hz``, ``mm`` → ``mm-1``, ``1`` → ``1``."""
    return {"s": "Hz", "ms": "kHz", "1": "1"}.get(units, f"{units}-1")


def speed_units(space: str, time: str) -> str:
    """Units of `space` per `time`: ``mm``, ``s`` → ``mm s-1``; the dimensionless ``1`` is left out."""
    parts = [space if space != "1" else "", f"{time}-1" if time != "1" else ""]
    return " ".join(part for part in parts if part) or "1"


def labelled(units: str, text: str) -> dict[str, str]:
    """Attributes of a variable: its units, and what it is in words."""
    return {"units": units, "long_name": text}


def netcdf_attrs(**parameters) -> dict:
    """Parameters as netCDF holds them: None is ``"none"``, True ``"true"``, a callable its name, mixed lists text."""
    return {name: _plain(value) for name, value in parameters.items()}


def _plain(value):
    if value is None:
        return "none"
    if isinstance(value, bool | np.bool_):
        return str(bool(value)).lower()
    if isinstance(value, int | float | str):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, tuple | list | np.ndarray):
        items = [_plain(item) for item in value]
        alike = all(isinstance(item, str) for item in items) or not any(isinstance(item, str | list) for item in items)
        return items if alike else str(value)
    return getattr(value, "__name__", str(value))
