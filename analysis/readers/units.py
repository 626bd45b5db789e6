"""Units as files spell them, turned into those of recordings: uV, mm, s."""

from __future__ import annotations

VOLTS = {
    "v": 1e6, "volt": 1e6, "volts": 1e6,
    "mv": 1e3, "millivolt": 1e3, "millivolts": 1e3,
    "uv": 1.0, "microvolt": 1.0, "microvolts": 1.0,
    "nv": 1e-3, "nanovolt": 1e-3, "nanovolts": 1e-3,
}  # fmt: skip
METRES = {
    "m": 1e3, "meter": 1e3, "meters": 1e3, "metre": 1e3, "metres": 1e3,
    "cm": 10.0, "centimeter": 10.0, "centimeters": 10.0,
    "mm": 1.0, "millimeter": 1.0, "millimeters": 1.0, "millimetre": 1.0, "millimetres": 1.0,
    "um": 1e-3, "micrometer": 1e-3, "micrometers": 1e-3, "micron": 1e-3, "microns": 1e-3,
}  # fmt: skip
KEPT = ("T", "T m-1")  # of the files' own units, those that are not voltages and are complete


def activity_units(found: str | None, given: str | None, where: str) -> tuple[float, str]:
    """Factor and units of the values: voltages become uV, magnetic fields and whatever the caller names stay.

    Parameters
    ----------
    found : str or None
        What the file says.
    given : str or None
        What the caller says, which counts more.
    where : str
        File and object, for the error.
    """
    text = given if given is not None else (found or "")
    factor = voltage_factor(text)
    if factor is not None:
        return factor, "uV"
    if given or text in KEPT:
        return 1.0, text
    raise ValueError(
        f"{where}: the units of the values are {found!r}, which is not a unit of voltage; name them with "
        "units='uV' (--units uV), or units='1' where they have none"
    )


def voltage_factor(units: str) -> float | None:
    """Factor from `units` of voltage to uV, None for others."""
    return VOLTS.get(_spelled(units))


def length_factor(units: str, where: str) -> float:
    """Factor from `units` of length to mm."""
    factor = METRES.get(_spelled(units))
    if factor is None:
        raise ValueError(
            f"{where}: positions in {units!r}: units of length are needed, one of m, cm, mm, um; name them with "
            "position_units='mm' (--position-units mm)"
        )
    return factor


def _spelled(text: str) -> str:
    return text.strip().replace("µ", "u").replace("μ", "u").lower()
