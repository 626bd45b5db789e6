"""Waves whose answer is known, as recordings: for trying a diagnostic, and for the tests that hold it to numbers.

A wave is made from *where* it is seen and for how many steps::

    >>> from analysis import synthetic
    >>> ring = synthetic.ring(64)
    >>> rec = synthetic.plane(ring, 256, wavenumber=5 / 64, frequency=12 / 256)
    >>> rec.activity.dims
    ('time', 'position')

Wavenumbers and frequencies are cycles per unit; +k travels to +x (on sheets a pair ``(kx, ky)``). Every random
recording takes a `seed` (an int or a `numpy.random.Generator`) and says its parameters in its attributes.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike
from scipy.signal import lfilter

from analysis.fields.units import labelled, netcdf_attrs


@dataclass(frozen=True)
class Layout:
    """Where a wave is seen: a ring, a line, a sheet or scattered electrodes. Made by the functions below."""

    dims: tuple[str, ...]
    coords: dict  # name: (dims, values)
    units: str
    boundary: str

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of positions along each of `dims`."""
        return tuple(np.size(self.coords[dim][1]) for dim in self.dims)

    @property
    def spacing(self) -> tuple[float, ...]:
        """Distance of neighbours along each of `dims` (regular layouts)."""
        return tuple(float(self.coords[dim][1][1] - self.coords[dim][1][0]) for dim in self.dims)

    def xy(self) -> tuple[np.ndarray, np.ndarray]:
        """x and y of every position, of shape `shape`; y is 0 on rings and lines."""
        if self.dims == ("position",):
            x = self.coords["position"][1]
            return x, np.zeros_like(x)
        if self.dims == ("electrode",):
            return self.coords["x"][1], self.coords["y"][1]
        y, x = np.meshgrid(self.coords["y"][1], self.coords["x"][1], indexing="ij")
        return x, y


def ring(size: int, *, dx: float = 1.0, units: str = "1") -> Layout:
    """`size` positions dx apart that close on themselves."""
    return Layout(("position",), {"position": (("position",), _grid(size, dx))}, units, "periodic")


def line(size: int, *, dx: float = 1.0, units: str = "1") -> Layout:
    """`size` positions dx apart with two open ends: a linear probe."""
    return Layout(("position",), {"position": (("position",), _grid(size, dx))}, units, "open")


def sheet(shape: tuple[int, int], *, dx: float = 1.0, units: str = "1", periodic: bool = False) -> Layout:
    """A grid of ``(rows along y, columns along x)`` positions, dx apart both ways, y pointing up."""
    rows, columns = shape
    coords = {"y": (("y",), _grid(rows, dx)), "x": (("x",), _grid(columns, dx))}
    return Layout(("y", "x"), coords, units, "periodic" if periodic else "open")


def electrodes(x: ArrayLike, y: ArrayLike, *, units: str = "1") -> Layout:
    """Sensors at the given positions, in no regular order."""
    x, y = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    if x.ndim != 1 or x.shape != y.shape:
        raise ValueError(f"x {x.shape} and y {y.shape} must be one-dimensional and equally long")
    coords = {"electrode": (("electrode",), np.arange(x.size)), "x": (("electrode",), x), "y": (("electrode",), y)}
    return Layout(("electrode",), coords, units, "open")


def _grid(size, dx):
    if size < 1 or int(size) != size:
        raise ValueError(f"size is {size}: a positive whole number is needed")
    if not dx > 0:
        raise ValueError(f"dx is {dx}: the distance of neighbours must be positive")
    return dx * np.arange(int(size))


# Waves with one frequency ------------------------------------------------------------------------------------------


def plane(
    where: Layout,
    steps: int,
    *,
    wavenumber: float | tuple[float, float],
    frequency: float,
    dt: float = 1.0,
    time_units: str = "1",
    amplitude: float = 1.0,
    phase: float = 0.0,
) -> xr.Dataset:
    """A plane wave ``u = A cos(2π(f t − k·x) + φ)``, travelling towards +k.

    Parameters
    ----------
    where : Layout
        `ring`, `line`, `sheet` or `electrodes`.
    steps : int
        Number of samples, at times 0, dt, 2 dt, …
    wavenumber : float or (float, float)
        k in cycles per unit; on a sheet or electrodes (kx, ky). Its sign is the direction.
    frequency : float
        f ≥ 0 in cycles per unit of time. The speed is f/k.
    dt, time_units, amplitude, phase
        Sampling step and its units, A and φ (rad).

    Examples
    --------
    >>> rec = plane(line(24, dx=0.4, units="mm"), 300, wavenumber=0.2, frequency=3.3, dt=0.01, time_units="s")
    >>> round(rec.attrs["frequency"] / rec.attrs["wavenumber"], 6), rec.position.attrs["units"]
    (16.5, 'mm')
    """
    u = amplitude * np.cos(_carrier(where, steps, wavenumber, frequency, dt) + phase)
    return _recording(where, u, dt, time_units, wavenumber=wavenumber, frequency=frequency, amplitude=amplitude)


def standing(
    where: Layout,
    steps: int,
    *,
    wavenumber: float | tuple[float, float],
    frequency: float,
    dt: float = 1.0,
    time_units: str = "1",
) -> xr.Dataset:
    """A standing wave ``u = 2 cos(2π f t) cos(2π k·x)``: equal plane waves both ways, so D = 0."""
    return mixed(where, steps, ratio=1.0, wavenumber=wavenumber, frequency=frequency, dt=dt, time_units=time_units)


def mixed(
    where: Layout,
    steps: int,
    *,
    ratio: float,
    wavenumber: float | tuple[float, float],
    frequency: float,
    dt: float = 1.0,
    time_units: str = "1",
) -> xr.Dataset:
    """A plane wave towards +k and one of amplitude `ratio` = r against it.

    The direction index is (1 − r²)/(1 + r²), the travelling index (1 − r)/(1 + r).
    """
    forward = np.cos(_carrier(where, steps, wavenumber, frequency, dt))
    backward = np.cos(_carrier(where, steps, -np.asarray(wavenumber), frequency, dt))
    u = forward + ratio * backward
    return _recording(where, u, dt, time_units, wavenumber=wavenumber, frequency=frequency, ratio=ratio)


def target(
    where: Layout,
    steps: int,
    *,
    wavenumber: float,
    frequency: float,
    centre: tuple[float, float],
    decay: float = np.inf,
    dt: float = 1.0,
    time_units: str = "1",
    amplitude: float = 1.0,
) -> xr.Dataset:
    """Rings that leave (k > 0) or reach (k < 0) `centre` = (x, y): ``A cos(2π(f t − k r)) exp(−r²/2 decay²)``."""
    x, y = where.xy()
    r = np.hypot(x - centre[0], y - centre[1])
    phase = 2 * np.pi * (frequency * _outer_time(where, steps, dt) - wavenumber * r)
    u = amplitude * np.cos(phase) * np.exp(-(r**2) / (2 * decay**2))
    return _recording(where, u, dt, time_units, wavenumber=wavenumber, frequency=frequency, centre=centre, decay=decay)


def rotating(
    where: Layout,
    steps: int,
    *,
    frequency: float,
    centre: tuple[float, float],
    arms: int = 1,
    wavenumber: float = 0.0,
    dt: float = 1.0,
    time_units: str = "1",
) -> xr.Dataset:
    """A wave around `centre` = (x, y): ``cos(2π f t − m θ − 2π k r)``, θ the polar angle, y up.

    `arms` = m > 0 turns counter-clockwise; a wavenumber k ≠ 0 makes it a spiral that runs outwards (k > 0).
    """
    x, y = where.xy()
    r, theta = np.hypot(x - centre[0], y - centre[1]), np.arctan2(y - centre[1], x - centre[0])
    phase = 2 * np.pi * (frequency * _outer_time(where, steps, dt) - wavenumber * r) - arms * theta
    return _recording(
        where, np.cos(phase), dt, time_units, frequency=frequency, centre=centre, arms=arms, wavenumber=wavenumber
    )


def _carrier(where, steps, wavenumber, frequency, dt):
    """The phase 2π(f t − k·x), shape (steps, *where.shape)."""
    x, y = where.xy()
    k = np.atleast_1d(np.asarray(wavenumber, dtype=float))
    needed = 1 if where.dims == ("position",) else 2
    if k.shape != (needed,):
        raise ValueError(f"wavenumber is {wavenumber}: {needed} component(s) are needed on dims {where.dims}")
    projected = k[0] * x + (k[1] * y if needed == 2 else 0.0)
    return 2 * np.pi * (frequency * _outer_time(where, steps, dt) - projected)


def _outer_time(where, steps, dt):
    """Times, shaped to broadcast against the positions: (steps, 1, …)."""
    if steps < 1 or int(steps) != steps:
        raise ValueError(f"steps is {steps}: a positive whole number is needed")
    if not dt > 0:
        raise ValueError(f"dt is {dt}: the sampling step must be positive")
    return dt * np.arange(int(steps)).reshape(-1, *[1] * len(where.dims))


# Waves with many frequencies ---------------------------------------------------------------------------------------


def moving_pattern(
    where: Layout,
    steps: int,
    *,
    speed: float,
    seed: int | np.random.Generator,
    wavelength: float = 8.0,
    dt: float = 1.0,
    time_units: str = "1",
) -> xr.Dataset:
    """A random smooth pattern that moves rigidly: ``u = g(x − speed t)``, every wavenumber at the same speed.

    g is Gaussian with the power spectrum exp(−(k·wavelength)²/2), mean 0 and variance 1. On a ring it comes round
    again; on a line fresh pattern enters at the upstream end.
    """
    _one_dimensional(where, "moving_pattern")
    rng, x = np.random.default_rng(seed), where.xy()[0]
    shift = speed * dt * np.arange(steps)
    around = where.shape[0] * where.spacing[0]
    length = around if where.boundary == "periodic" else around + abs(speed) * dt * steps + 4 * wavelength
    k = np.arange(1, max(2, int(2.5 * length / wavelength)) + 1) / length
    amplitude = np.sqrt(np.exp(-((k * wavelength) ** 2) / 2)) * _unit_complex_normal(rng, k.size)
    amplitude /= np.sqrt(np.sum(np.abs(amplitude) ** 2) / 2)
    in_time = np.exp(-2j * np.pi * np.outer(shift, k)) * amplitude  # (time, k)
    u = (in_time @ np.exp(2j * np.pi * np.outer(k, x))).real
    return _recording(where, u, dt, time_units, speed=speed, wavelength=wavelength, seed=seed)


def dispersive(
    where: Layout,
    steps: int,
    *,
    relation: Callable[[np.ndarray], np.ndarray],
    seed: int | np.random.Generator,
    wavenumbers: tuple[float, float] = (0.0, 0.25),
    direction: str = "right",
    dt: float = 1.0,
    time_units: str = "1",
) -> xr.Dataset:
    """Waves of every wavenumber in a band, each at its own frequency ``f = relation(k)``.

    Parameters
    ----------
    where, steps
        A ring or line and the number of samples. Wavenumbers are multiples of 1/length.
    relation : callable
        f(k) ≥ 0 for an array k ≥ 0, cycles per unit: ``lambda k: np.sqrt(0.03**2 + (0.5 * k) ** 2)``.
    seed : int or numpy.random.Generator
        Phases are uniform, amplitudes equal.
    wavenumbers : (float, float)
        The band, lower end excluded.
    direction : {"right", "left", "both"}
    """
    _one_dimensional(where, "dispersive")
    signs = {"right": (1,), "left": (-1,), "both": (1, -1)}
    if direction not in signs:
        raise ValueError(f"direction is {direction!r}: one of {sorted(signs)} is needed")
    rng, x = np.random.default_rng(seed), where.xy()[0]
    length = where.shape[0] * where.spacing[0]
    k = np.arange(1, where.shape[0] // 2) / length
    k = k[(k > wavenumbers[0]) & (k <= wavenumbers[1])]
    if k.size == 0:
        raise ValueError(f"wavenumbers {wavenumbers} hold no multiple of 1/length = {1 / length:.6g} below Nyquist")
    frequency = np.broadcast_to(np.asarray(relation(k), dtype=float), k.shape)
    t = dt * np.arange(steps)
    u = np.zeros((steps, x.size))
    for sign in signs[direction]:
        phases = np.exp(2j * np.pi * rng.random(k.size))
        in_time = np.exp(2j * np.pi * np.outer(t, frequency)) * phases  # (time, k)
        u += (in_time @ np.exp(-2j * np.pi * sign * np.outer(k, x))).real
    return _recording(
        where, u, dt, time_units, relation=relation, wavenumbers=wavenumbers, direction=direction, seed=seed
    )


def _one_dimensional(where, name):
    if where.dims != ("position",):
        raise ValueError(f"{name} is made on a ring or a line, not on dims {where.dims}")


# Noise: fields without a direction ----------------------------------------------------------------------------------


def white_noise(
    where: Layout,
    steps: int,
    *,
    seed: int | np.random.Generator,
    trials: int | None = None,
    channels: int | None = None,
    dt: float = 1.0,
    time_units: str = "1",
) -> xr.Dataset:
    """Independent standard normal samples."""
    rng, shape = np.random.default_rng(seed), _noise_shape(where, steps, trials, channels)
    return _noise_recording(where, rng.standard_normal(shape), trials, channels, dt, time_units, seed=seed)


def autoregressive_noise(
    where: Layout,
    steps: int,
    *,
    seed: int | np.random.Generator,
    coefficient: float = 0.9,
    trials: int | None = None,
    channels: int | None = None,
    dt: float = 1.0,
    time_units: str = "1",
) -> xr.Dataset:
    """First-order autoregressive in time, ``u[t+1] = a u[t] + ε``, |a| < 1, independent positions, variance 1."""
    if not abs(coefficient) < 1:
        raise ValueError(f"coefficient is {coefficient}: a stationary process needs |coefficient| < 1")
    rng, shape = np.random.default_rng(seed), _noise_shape(where, steps, trials, channels)
    time = 0 if trials is None else 1
    noise = np.moveaxis(rng.standard_normal(shape), time, 0)
    noise[1:] *= np.sqrt(1 - coefficient**2)  # the first sample is drawn from the stationary distribution
    values = np.moveaxis(lfilter([1.0], [1.0, -coefficient], noise, axis=0), 0, time)
    return _noise_recording(where, values, trials, channels, dt, time_units, coefficient=coefficient, seed=seed)


def power_law_noise(
    where: Layout,
    steps: int,
    *,
    seed: int | np.random.Generator,
    exponent: float = 1.0,
    trials: int | None = None,
    channels: int | None = None,
    dt: float = 1.0,
    time_units: str = "1",
) -> xr.Dataset:
    """Noise with the temporal spectrum 1/f^exponent (exponent 1: "1/f", 2: Brownian), independent positions."""

    lowest = 1 / (2 * steps * dt)  # the first frequency of the record that is cut

    def spectrum(frequency, _):
        return np.where(frequency > 0, np.maximum(frequency, lowest) ** -float(exponent), 0.0)

    rng = np.random.default_rng(seed)
    values = _gaussian_field(where, steps, rng, spectrum, dt, trials, channels)
    return _noise_recording(where, values, trials, channels, dt, time_units, exponent=exponent, seed=seed)


def narrowband_noise(
    where: Layout,
    steps: int,
    *,
    seed: int | np.random.Generator,
    frequency: float = 0.1,
    bandwidth: float = 0.02,
    trials: int | None = None,
    channels: int | None = None,
    dt: float = 1.0,
    time_units: str = "1",
) -> xr.Dataset:
    """Noise with a Gaussian spectral peak at `frequency` (standard deviation `bandwidth`), independent positions."""

    def spectrum(f, _):
        return np.exp(-((f - frequency) ** 2) / (2 * bandwidth**2))

    rng = np.random.default_rng(seed)
    values = _gaussian_field(where, steps, rng, spectrum, dt, trials, channels)
    return _noise_recording(
        where, values, trials, channels, dt, time_units, frequency=frequency, bandwidth=bandwidth, seed=seed
    )


def smooth_noise(
    where: Layout,
    steps: int,
    *,
    seed: int | np.random.Generator,
    wavelength: float = 8.0,
    period: float = 8.0,
    asymmetry: float = 0.0,
    trials: int | None = None,
    channels: int | None = None,
    dt: float = 1.0,
    time_units: str = "1",
) -> xr.Dataset:
    """A smooth random field, band-limited in space and time, with a chosen balance of the two directions.

    The power spectrum is ``exp(−(|k|·wavelength)²/2 − (f·period)²/2) · (1 + asymmetry·sign(k_x))``: with asymmetry 0
    it is direction-symmetric (correlated in space and time, yet nothing travels); the expected direction index is
    `asymmetry`. Random amplitudes make single draws scatter about it. Variance 1.
    """
    if not -1 <= asymmetry <= 1:
        raise ValueError(f"asymmetry is {asymmetry}: a number from -1 to 1 is needed")

    def spectrum(f, wavenumbers):
        k2 = sum(k**2 for k in wavenumbers)
        balance = 1 + asymmetry * np.sign(wavenumbers[-1])
        return np.exp(-k2 * wavelength**2 / 2 - (f * period) ** 2 / 2) * balance

    rng = np.random.default_rng(seed)
    values = _gaussian_field(where, steps, rng, spectrum, dt, trials, channels)
    return _noise_recording(
        where,
        values,
        trials,
        channels,
        dt,
        time_units,
        wavelength=wavelength,
        period=period,
        asymmetry=asymmetry,
        seed=seed,
    )


def with_noise(rec: xr.Dataset, snr: float, *, seed: int | np.random.Generator) -> xr.Dataset:
    """`rec` plus white noise; `snr` is the ratio of the standard deviations of signal and noise.

    >>> noisy = with_noise(plane(ring(64), 256, wavenumber=5 / 64, frequency=12 / 256), 1.0, seed=0)
    """
    if not snr > 0:
        raise ValueError(f"snr is {snr}: a positive ratio of standard deviations is needed")
    signal = rec["activity"]
    noise = np.random.default_rng(seed).standard_normal(signal.shape) * (float(signal.std()) / snr)
    noisy = signal.copy(data=(signal.values + noise).astype(signal.dtype))
    return rec.assign(activity=noisy).assign_attrs(netcdf_attrs(snr=snr, noise_seed=_seed_attr(seed)))


def _gaussian_field(where, steps, rng, spectrum, dt, trials, channels):
    """A real Gaussian field of variance 1 with the power spectrum ``spectrum(f, (k, …))``, f ≥ 0, +k towards +x.

    White noise is shaped in the frequency domain over twice the steps (and, along open ends, twice the positions) and
    cut out, so that nothing recurs where the recording does not.
    """
    if where.dims == ("electrode",):
        raise ValueError("this noise is made on rings, lines and sheets, not on scattered electrodes")
    wrapped = where.boundary == "periodic"
    padded = (2 * steps, *[n if wrapped else 2 * n for n in where.shape])
    batch = tuple(n for n in (trials, channels) if n is not None)
    axes = tuple(range(-len(padded), 0))
    # the transform over space has e^{-2πi…} as the one over time, so the sign of k is turned to make +k travel to +x
    frequency = np.fft.fftfreq(padded[0], dt)
    wavenumbers = [-np.fft.fftfreq(n, d) for n, d in zip(padded[1:], where.spacing, strict=True)]
    grid = np.meshgrid(frequency, *wavenumbers, indexing="ij", sparse=True)
    forward = np.where(grid[0] < 0, -1, 1)  # (−f, −k) is the same wave as (f, k)
    power = spectrum(np.abs(grid[0]), [forward * k for k in grid[1:]]) * np.ones(padded)
    power[(0,) * len(padded)] = 0.0  # no mean
    field = np.fft.fftn(rng.standard_normal((*batch, *padded)), axes=axes)
    field = np.fft.ifftn(field * np.sqrt(power * power.size / power.sum()), axes=axes).real
    field = field[(..., slice(steps), *[slice(n) for n in where.shape])]
    if trials is not None and channels is not None:  # (trial, channel, time, …) → (trial, time, channel, …)
        return np.moveaxis(field, 1, 2)
    return field if channels is None else np.moveaxis(field, 0, 1)


def _unit_complex_normal(rng, size):
    return (rng.standard_normal(size) + 1j * rng.standard_normal(size)) / np.sqrt(2)


def _noise_shape(where, steps, trials, channels):
    return (
        *((trials,) if trials is not None else ()),
        steps,
        *((channels,) if channels is not None else ()),
        *where.shape,
    )


# Recordings --------------------------------------------------------------------------------------------------------


def _noise_recording(where, values, trials, channels, dt, time_units, **parameters):
    dims = (
        *(("trial",) if trials is not None else ()),
        "time",
        *(("channel",) if channels is not None else ()),
        *where.dims,
    )
    return _recording(where, values, dt, time_units, dims=dims, **parameters)


def _seed_attr(seed):
    return seed if isinstance(seed, int) else "numpy.random.Generator"


def _recording(where, values, dt, time_units, *, dims=None, **parameters):
    dims = ("time", *where.dims) if dims is None else dims
    steps = values.shape[dims.index("time")]
    coords = {"time": ("time", dt * np.arange(steps), labelled(time_units, "time"))}
    for name in ("trial", "channel"):
        if name in dims:
            coords[name] = (name, np.arange(values.shape[dims.index(name)]), labelled("1", name))
    for name, (coord_dims, coord_values) in where.coords.items():
        units = "1" if name == "electrode" else where.units
        coords[name] = (coord_dims, coord_values, labelled(units, name))
    if "seed" in parameters:
        parameters["seed"] = _seed_attr(parameters["seed"])
    attrs = {"boundary": where.boundary, "source": "analysis.synthetic", **netcdf_attrs(**parameters)}
    activity = xr.DataArray(values, coords, dims, "activity", labelled("1", "activity"))
    return activity.to_dataset().assign_attrs(attrs)
