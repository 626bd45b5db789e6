"""Evenly sampled axes, read off the coordinates of a recording."""

from dataclasses import dataclass

import numpy as np

EVENNESS = 1e-3  # steps may differ by this share of the mean step: float32 coordinates do


@dataclass(frozen=True)
class Axis:
    """One evenly sampled axis: coordinate ``start + step * arange(size)`` in `units`, step > 0."""

    dim: str
    start: float
    step: float
    size: int
    units: str
    periodic: bool = False

    @property
    def nyquist(self) -> float:
        """Highest frequency or wavenumber that the sampling resolves, cycles per unit."""
        return 0.5 / self.step

    @property
    def length(self) -> float:
        """What the samples cover: the circumference of a ring, the time of a record (size * step)."""
        return self.size * self.step

    @property
    def values(self) -> np.ndarray:
        return self.start + self.step * np.arange(self.size)


def space_dims(array) -> tuple[str, ...]:
    """The space dims of a recording: ``("position",)``, ``("y", "x")`` or ``("electrode",)``."""
    for dims in (("position",), ("y", "x"), ("electrode",)):
        if all(dim in array.dims for dim in dims):
            return dims
    raise ValueError(
        f"rec has dims {array.dims}: space must be 'position', 'y' and 'x', or 'electrode'; "
        "rename yours with rec.rename(old='position')"
    )


def even_axis(labels, dim: str, *, minimum: int = 2) -> Axis:
    """The evenly sampled axis `dim` of labels (coordinates and the attribute ``boundary``) as `activity` leaves them.

    Raises
    ------
    ValueError
        Fewer than `minimum` samples, a coordinate that repeats or decreases, or steps that differ by more than a
        thousandth of their mean.
    """
    coord = labels.coords[dim]
    values = coord.values.astype(float)
    check_size(dim, values.size, minimum)
    if values.size == 1:
        return Axis(dim, float(values[0]), 1.0, 1, coord.attrs["units"], is_periodic(labels, dim))
    steps = np.diff(values)
    step = (values[-1] - values[0]) / (values.size - 1)
    if steps.min() <= 0:
        raise ValueError(
            f"coordinate '{dim}' must increase: it repeats or runs backwards; sort it with rec.sortby('{dim}')"
        )
    if np.abs(steps - step).max() > EVENNESS * step:
        even = "rec.interp" if dim == "time" else "regridding with rec.interp"
        raise ValueError(
            f"'{dim}' is not evenly sampled: steps run from {steps.min():.6g} to {steps.max():.6g}; "
            f"resample first, for example {even}({dim}=np.linspace({values[0]:.6g}, {values[-1]:.6g}, {values.size}))"
        )
    return Axis(dim, float(values[0]), float(step), values.size, coord.attrs["units"], is_periodic(labels, dim))


def check_size(dim: str, size: int, minimum: int) -> None:
    """Raise ValueError where an axis has too few samples for a method."""
    if size < minimum:
        raise ValueError(f"'{dim}' has {size} sample(s): at least {minimum} are needed to measure a wave along it")


def common_units(labels, names) -> str:
    """The units that the space coordinates share; different ones are refused: distances would mix them."""
    units = sorted({labels.coords[name].attrs.get("units", "1") for name in names})
    if len(units) > 1:
        raise ValueError(f"y and x have different units {units}: convert one of them")
    return units[0]


def is_periodic(labels, dim) -> bool:
    """Whether `dim` closes on itself: the coordinate's own attribute ``boundary``, else the recording's."""
    if dim == "time":
        return False
    boundary = labels.coords[dim].attrs.get("boundary", labels.attrs.get("boundary", "open"))
    return boundary == "periodic"
