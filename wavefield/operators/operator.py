"""The wave operator: what moves a wave field by one step, and what its Fourier symbol says about it.

A wave field is an activity ``h[channel, position]``; one step is

    h[t+1] = σ( u ⋆ h[t] + V x[t] + b ),      (u ⋆ h)[o, n] = Σ_{i,k} u[o, i, k] · h[i, n + k − K//2]

with a kernel ``u[C_out, C_in, K]``, K odd, and a boundary that says what stands beyond the ends:

- ``periodic``   the ring: positions count modulo N;
- ``fixed``      the field is zero one cell beyond each end (odd reflection there; its modes are those of DST-I);
- ``free``       the line is mirrored about its end cells (its modes are those of DCT-I);
- ``absorbing``  what reaches an end leaves: nothing enters a one-way field, and a two-way field ends in the one-way
  wave equation ∂h/∂t + γ/2·h = ±c·∂h/∂x, centred between the last two cells (Mur's first-order condition, damped):
  (1+r+g/2)·h₀[t+1] = (1+r−g/2)·h₁[t] + (r−1−g/2)·h₁[t+1] + (1−r−g/2)·h₀[t] with g = γdt/2; see `wave` for what it
  lets back;
- ``open``       zero beyond the ends and, where a boundary row is given, one end driven by it:
  h[t+1, o, end] = Σ_{i,n} row[o, i, n] · h[t, i, n].

The two-way equation is second order in time. It is written as a *two-level* operator on the pair
(h[t], h[t−1]), so that it is a convolution like any other: channel 2c holds ring c now, channel 2c + 1 the step before.

On a sheet the same holds with two axes: a kernel ``u[C_out, C_in, Ky, Kx]`` moves a field ``h[channel, y, x]``, the
boundary and dx may be given for y and x, and a mask says where the sheet is. What is called a ring here is then a
sheet, and N the pair (Ny, Nx). Absorbing ends of a two-way sheet are layers of `rim` cells in which waves fade.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike
from scipy import sparse

from wavefield.checks import grid_shape, positive, positive_int, real_array
from wavefield.operators.dispersion import dispersion_relation
from wavefield.operators.power import Jump
from wavefield.operators.step_matrix import one_step_matrix
from wavefield.values import digest, read_only, rebuild, same, set_fields

BOUNDARIES = ("periodic", "fixed", "free", "absorbing", "open")
EDGES = ("fixed", "free")  # of a mask
_AXES = {1: "(N,)", 2: "(Ny, Nx)"}
_MEDIUM = ("damping_profile", "restoring_profile", "density")  # of a two-way wave, beside its speed profile


@dataclass(frozen=True, eq=False, repr=False)
class WaveOperator:
    """One step of a wave field: a kernel, a boundary and the units of space and time.

    Usually made by `transport`, `wave` or `static`; made directly from any kernel, a trained one for instance.

    Parameters
    ----------
    kernel : array_like, shape (C, C, K) or (C, C, Ky, Kx)
        Weights from channel (second axis) to channel (first axis) over K neighbours, K odd; with two axes of
        neighbours it moves a sheet. A 1-D kernel of K weights stands for one channel of a line, a 2-D one for a sheet.
    boundary : {"periodic", "fixed", "free", "absorbing", "open"} or pair of them
        Of a sheet a pair (y, x), or one for both axes.
    dx, dt : float
        Distance between positions and duration of a step; they set the units of wavenumber, frequency and speed. Of a
        sheet dx may be a pair (dy, dx).
    levels : {1, 2}
        2 for an equation of second order in time: the channels then come in pairs (h[t], h[t−1]), one pair a ring.
    profile : array_like, shape (N,) or (Ny, Nx), optional
        Local speed relative to that of the kernel, for a speed ν(x) that depends on position. The operator is then
        not a convolution: it can be simulated but has no symbol.
    boundary_row : array_like, shape (C, C, N), optional
        Weights with which all of the field drives one end of an open line.
    driven_end : {-1, 0}
        Which end the boundary row drives: the last position (from where ``transport(-1)`` runs to lower
        positions) or the first.
    damping_profile, restoring_profile : array_like, shape (N,), optional
        Damping γ(x) of a two-way wave, per unit of time, beside that of the kernel, and restoring force ω²(x), per
        unit of time squared. They come with a speed profile, of ones where none is given.
    density : array_like, shape (N,), optional
        Density ρ(x) > 0 of the medium of a two-way wave, ρ ∂²h/∂t² = ∂/∂x(ρc² ∂h/∂x) − …, in any unit; 1 if not given.
        It too comes with a speed profile. Of lines only.
    mask : array_like of bool, shape (Ny, Nx), optional
        Where the sheet is: a drum of any shape. The field is zero elsewhere.
    edge : {"fixed", "free"}
        What the mask's edge does: the field is held at zero one cell beyond it, or nothing pulls there.
    rim : int
        Width in cells of the layers in which waves fade, at each absorbing end of a two-way sheet.

    Raises
    ------
    ValueError, TypeError
        If a shape, a value or a combination is not one of the above; the text names it.

    Examples
    --------
    >>> op = WaveOperator([1.0, 0.0, 0.0])
    >>> op.matrix(4).toarray()[1].tolist()
    [1.0, 0.0, 0.0, 0.0]
    """

    kernel: np.ndarray
    boundary: str | tuple[str, ...] = "periodic"
    dx: float | tuple[float, ...] = 1.0
    dt: float = 1.0
    levels: int = 1
    profile: np.ndarray | None = None
    boundary_row: np.ndarray | None = None
    driven_end: int = -1
    damping_profile: np.ndarray | None = None
    restoring_profile: np.ndarray | None = None
    density: np.ndarray | None = None
    mask: np.ndarray | None = None  # any array_like of 0 and 1 is taken
    edge: str = "fixed"
    rim: int = 0

    def __post_init__(self):
        set_fields(self, kernel=_checked_kernel(self.kernel), dt=positive(self.dt, "dt"))
        set_fields(self, boundary=_checked_boundary(self), dx=_checked_spacing(self))
        if self.levels not in (1, 2):
            raise ValueError(f"levels must be 1 or 2, got {self.levels!r}")
        if self.levels == 2:
            _check_pairs(self.kernel)
        if self.mask is not None:
            set_fields(self, mask=_checked_mask(self))
        set_fields(self, **_by_position(self))
        if self.profile is None:  # whatever needs positions that are all alike asks for a profile
            free = self.mask if self.edge == "free" else None
            needs = [part for part in (*(getattr(self, name) for name in _MEDIUM), free) if part is not None]
            set_fields(self, profile=np.ones(needs[0].shape) if needs else None)
        if self.profile is not None:
            set_fields(self, profile=_checked_profile(self))
            _check_medium(self)
        _check_rim(self)
        if self.boundary_row is not None:
            set_fields(self, boundary_row=_checked_row(self))
        if self.driven_end not in (0, -1):
            raise ValueError(f"driven_end must be 0 or -1, got {self.driven_end!r}")
        if "free" in self.boundaries and self.levels == 1 and not self.symmetric:
            raise ValueError(
                "boundary='free' mirrors the field at its ends, which a kernel that is not symmetric cannot do: "
                "a one-way wave has nothing to reflect. Use 'absorbing' (what arrives leaves) or 'periodic'"
            )

    def __eq__(self, other) -> bool:
        """Whether the other is an operator of the same kernel, boundary and units."""
        return same(self, other) if isinstance(other, WaveOperator) else NotImplemented

    def __hash__(self) -> int:
        return digest(self)

    def __reduce__(self):
        return rebuild(self)

    # ---- what it is -------------------------------------------------------------------------------------------

    @property
    def channels(self) -> int:
        """C, the channels of the kernel (for a two-level operator two a ring)."""
        return self.kernel.shape[0]

    @property
    def rings(self) -> int:
        """Fields that the operator moves: channels / levels."""
        return self.channels // self.levels

    @property
    def dims(self) -> int:
        """Dimensions of space: 1 for rings and lines, 2 for sheets."""
        return self.kernel.ndim - 2

    @property
    def boundaries(self) -> tuple[str, ...]:
        """The boundary along each axis."""
        return (self.boundary,) * self.dims if isinstance(self.boundary, str) else self.boundary

    @property
    def spacings(self) -> tuple[float, ...]:
        """Distance between positions along each axis."""
        return self.dx if isinstance(self.dx, tuple) else (self.dx,) * self.dims

    @property
    def centre(self) -> tuple[int, ...]:
        """Index of the tap that reads the position itself, along each axis of the kernel."""
        return tuple(width // 2 for width in self.kernel.shape[2:])

    @property
    def symmetric(self) -> bool:
        """Whether the kernel is the same seen from both sides of every axis."""
        return all(np.array_equal(self.kernel, np.flip(self.kernel, axis)) for axis in range(2, self.kernel.ndim))

    @property
    def alike(self) -> bool:
        """Whether all positions are alike but for the ends: no profile, no mask."""
        return self.profile is None and self.mask is None

    @property
    def diagonal(self) -> bool:
        """Whether no ring acts on another."""
        rings = np.arange(self.channels) // self.levels
        return not self.kernel[rings[:, None] != rings[None, :]].any()

    @property
    def halved_damping(self) -> np.ndarray:
        """γ·dt/2 of each ring of a two-level operator, shape (rings,)."""
        q = self.previous_weight
        return (1 - q) / (1 + q)

    @property
    def previous_weight(self) -> np.ndarray:
        """q, the weight with which h[t−1] is subtracted in each ring of a two-level operator, shape (rings,)."""
        now, before = np.arange(0, self.channels, 2), np.arange(1, self.channels, 2)
        return -self.kernel[(now, before, *self.centre)]

    @property
    def taps(self) -> np.ndarray:
        """Kernel of each ring on itself, now to now, shape (rings, K) or (rings, Ky, Kx)."""
        now = np.arange(0, self.channels, self.levels)
        return self.kernel[now, now]

    @property
    def restoring(self) -> np.ndarray:
        """ω² of the restoring force that each ring of a two-level operator has everywhere, shape (rings,)."""
        missing = 2 - (1 + self.halved_damping) * self.taps.reshape(self.rings, -1).sum(axis=1)
        return np.where(np.abs(missing) < 1e-12, 0.0, missing) / self.dt**2

    @property
    def courant(self) -> np.ndarray:
        """Courant number c·dt/dx of each ring: cells travelled in a step by long waves, shape (rings,).

        Of a sheet it is that along y and along x, shape (rings, 2). Signed for a one-way operator (first moment of the
        kernel); positive for a two-way one (second moment).
        """
        along = [self._courant_along(axis) for axis in range(self.dims)]
        return along[0] if self.dims == 1 else np.stack(along, axis=1)

    def _courant_along(self, axis):
        width = self.kernel.shape[2 + axis]
        offsets = np.arange(width) - width // 2
        taps = self.taps if self.dims == 1 else self.taps.sum(axis=2 - axis)
        if self.levels == 2:
            return np.sqrt(np.maximum((1 + self.halved_damping) * (taps @ offsets**2) / 2, 0.0))
        total = taps.sum(axis=1)
        return (taps @ -offsets) / np.where(total == 0, 1.0, total)

    def __repr__(self):
        shape = "×".join(map(str, self.kernel.shape))
        courant = ["×".join(f"{c:g}" for c in np.atleast_1d(ring)) for ring in self.courant[:4]]
        numbers = ", ".join(courant) + (", …" if self.rings > 4 else "")
        boundary, dx = (
            "×".join(dict.fromkeys(self.boundaries)),
            "×".join(f"{d:g}" for d in dict.fromkeys(self.spacings)),
        )
        kind = "two-way" if self.levels == 2 else "one-level"
        extra = "".join(f", {name}" for name in self._profiles)
        return (
            f"WaveOperator({kind}, kernel {shape}, {boundary}, rings={self.rings}, Courant {numbers}, "
            f"dx={dx}, dt={self.dt:g}{extra})"
        )

    def with_rings(self, rings: int) -> WaveOperator:
        """Return the same operator on `rings` independent rings (a one-ring operator is repeated)."""
        if rings == self.rings:
            return self
        if self.rings != 1 or self.boundary_row is not None:
            raise ValueError(f"rings: the operator has {self.rings} rings of its own and cannot be made {rings}")
        width = self.kernel.shape[2:]
        kernel = np.zeros((rings, self.levels, rings, self.levels, *width))
        kernel[np.arange(rings), :, np.arange(rings)] = self.kernel
        return replace(self, kernel=kernel.reshape(rings * self.levels, rings * self.levels, *width))

    # ---- Fourier ----------------------------------------------------------------------------------------------

    def symbol(self, wavenumber: ArrayLike) -> np.ndarray:
        """Fourier symbol A(k) of the operator on modes e^{2πi(ft − kx)}, which travel to +x for k, f > 0.

            A(k) = Σ_j u[:, :, j] · e^{−2πi k (j − K//2) dx},      h[t+1] = A(k) h[t]

        Parameters
        ----------
        wavenumber : array_like, shape (...), of a sheet (..., 2)
            Cycles per unit of length, of a sheet (k_y, k_x).

        Returns
        -------
        ndarray of complex128, shape (..., C, C)

        Raises
        ------
        ValueError
            If the operator is not a convolution of a ring (another boundary than periodic, or a speed profile).
        """
        self._require_convolution("symbol")
        wavenumber = np.asarray(wavenumber, dtype=float)
        if self.dims == 2 and (wavenumber.ndim == 0 or wavenumber.shape[-1] != 2):
            raise ValueError(f"wavenumber of a sheet must be pairs (k_y, k_x), got shape {wavenumber.shape}")
        return self.symbol_per_cell(wavenumber * (self.dx if self.dims == 1 else np.array(self.spacings)))

    def symbol_per_cell(self, cycles_per_cell: ArrayLike) -> np.ndarray:
        """`symbol` of the kernel at a wavenumber in cycles per cell, whatever the boundary."""
        return _symbol(self.kernel, cycles_per_cell, self.dims)

    def dispersion_relation(self, wavenumber: ArrayLike | tuple | None = None) -> xr.Dataset:
        """Frequency, velocities and growth of every branch, from the eigenvalues λ(k) of the symbol.

            f = arg λ / (2π dt),   growth per step |λ|,   phase velocity f/k,   group velocity df/dk

        The group velocity comes from the eigenvectors (first-order perturbation), not from differences; where the
        symbol is defective (k = 0 of the undamped two-way equation) it is NaN, as is the phase velocity at k = 0.

        Parameters
        ----------
        wavenumber : array_like, shape (k,), of a sheet a pair of them, optional
            Cycles per unit of length; by default 257 values from −1/(2dx) to 1/(2dx), of a sheet 65 along each axis.

        Returns
        -------
        xarray.Dataset
            `frequency`, `growth`, `phase_velocity`, `group_velocity`, each (branch, wavenumber). Of a sheet each is
            (branch, wavenumber_y, wavenumber_x); `phase_velocity` is f/|k|, along k, and the group velocity has two
            components, `group_velocity_y` and `group_velocity_x`.
        """
        self._require_convolution("dispersion_relation")
        return dispersion_relation(self, wavenumber)

    def stability(self, size: int | None = None) -> Stability:
        """Growth per step of the fastest growing mode of a ring of `size` positions, and its kind.

        By default a ring of 2048 positions, or a sheet of 64 by 64.

        `decaying` if every mode fades, `marginal` if the largest neither grows nor fades, `polynomial` if it is
        marginal but its symbol is defective, so that the field may grow as a power of the steps (a two-way field
        drifts at k = 0), `growing` if some mode grows exponentially.
        """
        self._require_convolution("stability")
        size = positive_int((2048 if self.dims == 1 else 64) if size is None else size, "size")
        cycles = np.arange(size // 2 + 1) / size
        if self.dims == 2:
            cycles = np.stack(np.meshgrid(np.fft.fftfreq(size), cycles, indexing="ij"), axis=-1).reshape(-1, 2)
        kernels = self._uncoupled_kernels()  # (parts, c, c, K)
        symbol = _symbol(kernels, cycles, self.dims).reshape(-1, *kernels.shape[1:3])  # (wavenumbers · parts, c, c)
        cycles = np.repeat(cycles, len(kernels), axis=0)
        wavenumbers = cycles / (self.dx if self.dims == 1 else np.array(self.spacings))
        values = np.linalg.eigvals(symbol)
        size_of = np.abs(values)
        worst = np.unravel_index(np.argmax(size_of), size_of.shape)
        growth, wavenumber = float(size_of[worst]), _plain(wavenumbers[worst[0]])
        # rounding splits the two eigenvalues of a defective block by about the square root of eps
        if growth > 1 + 1e-7:
            return Stability("growing", growth, wavenumber)
        if growth < 1 - 1e-12:
            return Stability("decaying", growth, wavenumber)
        for which, mode in zip(*np.nonzero(size_of > 1 - 1e-7), strict=True):
            value = values[which, mode]
            alike = np.abs(values[which] - value) < 1e-6
            defect = symbol[which] - values[which][alike].mean() * np.eye(alike.size)
            if alike.sum() > alike.size - np.linalg.matrix_rank(defect, tol=1e-6):
                return Stability("polynomial", 1.0, _plain(wavenumbers[which]))
        return Stability("marginal", growth, wavenumber)

    def _uncoupled_kernels(self):
        """Kernels of the parts that do not act on each other, equal ones once, shape (parts, c, c, K)."""
        if not self.diagonal:
            return self.kernel[None]
        blocks = self.kernel.reshape(self.rings, self.levels, self.rings, self.levels, *self.kernel.shape[2:])
        ring = np.arange(self.rings)
        return np.unique(blocks[ring, :, ring], axis=0)

    def power(self, steps: int) -> Jump:
        """`steps` steps at once, O(N log N) whatever their number: a function of the state ``(..., C, N)``.

        Of a sheet the state is ``(..., C, Ny, Nx)``. Rings by FFT, fixed and free ends by DST-I and DCT-I; the closed
        form of the power of a one-way or two-way symbol, repeated squaring for any other kernel. The error grows as
        steps · eps.

        Examples
        --------
        >>> from wavefield import transport
        >>> jump = transport(1.0).power(3)
        >>> int(jump(np.eye(1, 8)).argmax())
        3
        """
        return Jump(self, steps)

    def _require_convolution(self, what):
        if self.boundary != "periodic" or not self.alike:
            kind = " and ".join(f"a {name}" for name in self._profiles) or f"boundary={self.boundary!r}"
            raise ValueError(f"{what} is defined for periodic operators without a profile, this one has {kind}")

    @property
    def _profiles(self):
        """Names of what depends on the position."""
        given = {"speed": self.profile, "damping": self.damping_profile, "restoring": self.restoring_profile}
        given["density"] = self.density
        profiles = [f"{name} profile" for name, profile in given.items() if profile is not None]
        return profiles + ["mask"] * (self.mask is not None)

    # ---- matrix -----------------------------------------------------------------------------------------------

    def matrix(self, size: int | tuple[int, ...]) -> sparse.csr_array:
        """One step on `size` positions as a sparse matrix (C·size, C·size), channel-major: its definition in full.

        The positions of a sheet (Ny, Nx) are taken row by row. Every fast path of the package is tested against it; it
        serves wherever linear algebra is wanted.
        """
        shape = grid_shape(size, "size", self.dims)
        self.check_size(size)
        return one_step_matrix(self, shape)

    def check_size(self, size: int | tuple[int, ...]) -> None:
        """Refuse a size other than that of a profile, a mask or the boundary row, or too small for its ends.

        A kernel may be wider than a ring, around which it then reaches several times, and than a line, whose ends say
        what it reads beyond them; so along each axis of a sheet.
        """
        shape, width = grid_shape(size, "size", self.dims), self.kernel.shape[2:]
        size = shape[0] if self.dims == 1 else shape
        least = max(3, width[0])  # absorbing ends step with the next cell, which has a neighbour
        if self.dims == 1 and self.boundary == "absorbing" and self.levels == 2 and shape[0] < least:
            raise ValueError(f"size must be at least {least} between absorbing ends of a two-way field, got {size}")
        known = (("speed profile", self.profile), ("mask", self.mask))
        for name, given in (*known, ("boundary row", self.boundary_row)):
            if given is not None and given.shape[-self.dims :] != shape:
                length = given.shape[-1] if self.dims == 1 else given.shape
                raise ValueError(f"size must be {length}, the length of the {name}, got {size}")
        for n, boundary in zip(shape, self.boundaries, strict=True):
            if self.rim and boundary == "absorbing" and n <= 2 * self.rim:
                raise ValueError(f"size must be more than the two rims of {self.rim} cells along each axis, got {size}")

    def local_courant(self, size: int | tuple[int, ...]) -> np.ndarray:
        """Courant number at every position, shape (rings, size), of a sheet (rings, 2, Ny, Nx)."""
        shape = grid_shape(size, "size", self.dims)
        return self._by_position(self.courant, shape) * (np.ones(shape) if self.profile is None else self.profile)

    def local_halved_damping(self, size: int | tuple[int, ...]) -> np.ndarray:
        """g = γ·dt/2 of a two-level operator at every position, shape (rings, size)."""
        shape = grid_shape(size, "size", self.dims)
        more = np.zeros(shape) if self.damping_profile is None else self.damping_profile * self.dt / 2
        return self._by_position(self.halved_damping, shape) + more

    def local_gain(self, size: int | tuple[int, ...]) -> np.ndarray:
        """s = 1/(1 + g + w/2), what damping and a restoring force leave of a new level, shape (rings, size).

        w = (ω·dt)² where it is positive: such a force is taken as the mean of the new level and the one before, so
        that it needs no smaller step. Where ω² is negative the force is that of the level between, `local_middle`,
        for the same reason.
        """
        return 1 / (1 + self.local_halved_damping(size) + self._half_restoring(size))

    def local_previous_weight(self, size: int | tuple[int, ...]) -> np.ndarray:
        """q = (1 − g + w/2)/(1 + g + w/2), `previous_weight` at every position, shape (rings, size)."""
        if self.damping_profile is None and self.restoring_profile is None:
            shape = grid_shape(size, "size", self.dims)
            return np.broadcast_to(self._by_position(self.previous_weight, shape), (self.rings, *shape)).copy()
        g, w = self.local_halved_damping(size), self._half_restoring(size)
        return (1 - g + w) / (1 + g + w)

    def local_middle(self, size: int | tuple[int, ...]) -> np.ndarray:
        """m = 2 − w₀ − min(ω², 0)·dt², the weight of h[t] that does not come from differences, shape (rings, size).

        w₀ = (ω·dt)² of the restoring force that the kernel has everywhere.
        """
        shape = grid_shape(size, "size", self.dims)
        force = np.zeros(shape) if self.restoring_profile is None else self.restoring_profile
        everywhere = self._by_position(self.restoring, shape) * self.dt**2
        return 2 - everywhere - np.minimum(force, 0) * self.dt**2

    def local_density(self, size: int | tuple[int, ...]) -> np.ndarray:
        """ρ at every position, shape (size,)."""
        return np.ones(grid_shape(size, "size", self.dims)) if self.density is None else self.density

    def _half_restoring(self, size):
        shape = grid_shape(size, "size", self.dims)
        force = np.zeros(shape) if self.restoring_profile is None else self.restoring_profile
        return np.maximum(force, 0) * self.dt**2 / 2

    @staticmethod
    def _by_position(values, shape):
        """Values (rings, …) with an axis more for each of the positions."""
        return values.reshape(*values.shape, *(1,) * len(shape))


@dataclass(frozen=True)
class Stability:
    """Verdict on an operator's growth: `kind`, the largest `growth` per step and the `wavenumber` where it occurs."""

    kind: str
    growth: float
    wavenumber: float | tuple[float, float]


def _symbol(kernels, cycles_per_cell, dims):
    """Σ_j u[..., o, i, j] e^{−2πi k·(j − K//2)}, shape (wavenumbers, ..., C, C)."""
    if dims == 1:
        taps = kernels.shape[-1]
        phases = np.exp(-2j * np.pi * np.multiply.outer(cycles_per_cell, np.arange(taps) - taps // 2))
        return np.tensordot(phases, kernels, axes=(-1, -1))
    cycles = np.asarray(cycles_per_cell)
    y, x = (np.arange(taps) - taps // 2 for taps in kernels.shape[-2:])
    turns = np.multiply.outer(cycles[..., 0], y)[..., :, None] + np.multiply.outer(cycles[..., 1], x)[..., None, :]
    return np.tensordot(np.exp(-2j * np.pi * turns), kernels, axes=((-2, -1), (-2, -1)))


def _plain(value):
    """A number, or a pair of them, as Python has it."""
    return tuple(value.tolist()) if np.ndim(value) and np.size(value) > 1 else float(np.squeeze(value))


# ---- checks -------------------------------------------------------------------------------------------------------


def _checked_kernel(kernel):
    try:
        kernel = np.array(kernel, dtype=float)
    except (TypeError, ValueError):
        raise TypeError(f"kernel must be an array of numbers of shape (C, C, K), got {type(kernel).__name__}") from None
    if kernel.ndim in (1, 2):
        kernel = kernel[None, None]
    if kernel.ndim not in (3, 4) or kernel.shape[0] != kernel.shape[1] or 0 in kernel.shape:
        raise ValueError(
            "kernel must have shape (C, C, K), of a sheet (C, C, Ky, Kx), or (K,) or (Ky, Kx) for one channel, "
            f"got {kernel.shape}"
        )
    if any(taps % 2 == 0 for taps in kernel.shape[2:]):
        taps = "×".join(map(str, kernel.shape[2:]))
        raise ValueError(f"kernel must have an odd number of taps K (it needs a centre), got K = {taps}")
    if not np.isfinite(kernel).all():
        raise ValueError("kernel must be finite, it holds NaN or infinity")
    return read_only(kernel)


def _checked_boundary(op):
    """One name, or where the axes of a sheet differ a pair (y, x)."""
    given = (op.boundary,) if isinstance(op.boundary, str) else op.boundary
    accepted = BOUNDARIES if op.dims == 1 else BOUNDARIES[:-1]
    pair = " or a pair (y, x) of them" if op.dims == 2 else ""
    if not isinstance(given, (tuple, list)) or len(given) not in {1, op.dims} or not set(given) <= set(accepted):
        raise ValueError(f"boundary must be one of {', '.join(accepted)}{pair}, got {op.boundary!r}")
    return given[0] if len(set(given)) == 1 else tuple(given)


def _checked_spacing(op):
    """One distance, or where the axes of a sheet differ a pair (dy, dx)."""
    if op.dims == 1 or np.ndim(op.dx) == 0:
        return positive(op.dx, "dx")
    if np.shape(op.dx) != (2,):
        raise ValueError(f"dx of a sheet must be a number or a pair (dy, dx), got {op.dx!r}")
    pair = tuple(positive(d, "dx") for d in op.dx)
    return pair[0] if pair[0] == pair[1] else pair


def _check_pairs(kernel):
    channels, centre = kernel.shape[0], tuple(width // 2 for width in kernel.shape[2:])
    if channels % 2:
        raise ValueError(f"levels=2 needs channels in pairs (h[t], h[t−1]), got {channels}")
    now, before = np.arange(0, channels, 2), np.arange(1, channels, 2)
    expected = np.zeros_like(kernel)
    expected[now, now] = kernel[now, now]
    expected[(now, before, *centre)] = kernel[(now, before, *centre)]
    expected[(before, now, *centre)] = 1.0
    q = -kernel[(now, before, *centre)]
    taps = kernel[now, now]
    mirrored = all(np.array_equal(taps, np.flip(taps, axis)) for axis in range(1, taps.ndim))
    if not (np.array_equal(expected, kernel) and mirrored and (q > 0).all()):
        raise ValueError(
            "levels=2 needs the kernel of a two-way wave: h[t+1] = a ⋆ h[t] − q·h[t−1] in each ring, with a symmetric; "
            "use levels=1 for any other kernel"
        )


def speed_profile(value: ArrayLike, dims: int) -> np.ndarray:
    """Return the relative speeds at the positions of a line or sheet, which are checked."""
    wanted = f"a {dims}-D array of finite relative speeds"
    return _one_for_each(real_array(value, "profile", wanted), f"profile must be {wanted}", dims)


def _one_for_each(array, wanted, dims):
    if array.ndim != dims or not array.size:
        raise ValueError(f"{wanted}, one for each position {_AXES[dims]}, got shape {array.shape}")
    return read_only(array)


def _by_position(op):
    """What is given for every position, by name: of one shape, that of the mask if there is one."""
    arrays = {} if op.profile is None else {"profile": speed_profile(op.profile, op.dims)}
    for name in _MEDIUM:
        if (given := getattr(op, name)) is not None:
            wanted = f"{name} must be a {op.dims}-D array of finite numbers"
            arrays[name] = _one_for_each(real_array(given, name), wanted, op.dims)
    shapes = ({} if op.mask is None else {"mask": op.mask.shape}) | {
        name: array.shape for name, array in arrays.items()
    }
    for name, shape in shapes.items():
        owner, first = next(iter(shapes.items()))
        if shape != first:
            raise ValueError(f"{name} must be of shape {first}, as the {owner}, got {shape}")
    return arrays


def _checked_profile(op):
    profile = op.profile
    if op.dims == 2 and op.levels == 1:
        raise ValueError("profile of a sheet needs a two-way wave")
    if op.dims == 2 and (op.kernel.shape[2:] != (3, 3) or not op.diagonal or op.taps[:, ::2, ::2].any()):
        raise ValueError("profile, or a mask with free edges, needs the five-point kernel of wave()")
    if op.dims == 1 and (op.kernel.shape[2] != 3 or not op.diagonal):
        raise ValueError("profile needs the kernel of transport() or of wave() of order 2")
    if op.levels == 1 and (np.minimum(op.taps[:, 0], op.taps[:, 2]) != 0).any():
        raise ValueError("profile needs an upwind kernel, as transport() makes it")
    if op.levels == 2 and (profile <= 0).any():
        raise ValueError(f"profile of a two-way wave must be positive, got {profile.min():g}")
    return read_only(profile)


def _checked_mask(op):
    if op.dims != 2:
        raise ValueError("mask needs a sheet; the ends of a line are its boundary")
    try:
        mask = np.array(op.mask)
    except ValueError:  # a ragged list
        raise TypeError(f"mask must be a 2-D array of bool, got {type(op.mask).__name__} of unequal rows") from None
    if mask.dtype.kind not in "biu" or mask.ndim != 2 or not np.isin(mask, (0, 1)).all():
        raise ValueError(f"mask must be a 2-D array of bool, got {mask.dtype} of shape {mask.shape}")
    if not mask.any():
        raise ValueError("mask must be true somewhere: there is no sheet at all")
    if op.edge not in EDGES:
        raise ValueError(f"edge must be one of {', '.join(EDGES)}, got {op.edge!r}")
    return read_only(mask.astype(bool))


def _check_rim(op):
    absorbs = op.dims == 2 and op.levels == 2 and "absorbing" in op.boundaries
    set_fields(op, rim=positive_int(op.rim, "rim", 0))
    if absorbs and not op.rim:
        raise ValueError("rim, the width in cells of the absorbing layers of a two-way sheet, must be given")
    if op.rim and not absorbs:
        raise ValueError(f"rim={op.rim} needs absorbing ends of a two-way sheet, got boundary={op.boundary!r}")


def _check_medium(op):
    """Check the profiles beside that of the speed, which has been checked."""
    for name in _MEDIUM:
        given = getattr(op, name)
        if given is None:
            continue
        if op.levels != 2:
            raise ValueError(f"{name} needs a two-way wave; a one-way field has a gain and a speed profile")
    if op.density is not None and op.dims == 2:
        raise ValueError("density needs a line; a sheet has a speed, a damping and a restoring profile")
    if op.density is not None and (op.density <= 0).any():
        raise ValueError(f"density must be positive, got {op.density.min():g}")
    if op.damping_profile is not None and (op.damping_profile < 0).any():
        raise ValueError(f"damping_profile must not be negative, got {op.damping_profile.min():g}")
    shape = op.profile.shape
    if op.levels == 2 and not (op.local_previous_weight(shape) > 0).all():
        largest = 2 * op.local_halved_damping(shape).max()
        raise ValueError(f"damping·dt must be below 2, or the field flips at every step, got {largest:g}")


def _checked_row(op):
    row = np.array(op.boundary_row, dtype=float)
    if op.boundary != "open":
        raise ValueError(f"boundary_row needs boundary='open', got boundary={op.boundary!r}")
    if row.ndim != 3 or row.shape[:2] != op.kernel.shape[:2] or not np.isfinite(row).all():
        raise ValueError(
            f"boundary_row must be finite of shape (C, C, N) with C = {op.channels}, got shape {row.shape}"
        )
    return read_only(row)
