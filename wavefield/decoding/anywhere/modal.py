"""Responses of sheets that have fast transforms: periodic, fixed and free axes, in any combination.

In the modes of the boundaries one step of a two-way field is a multiplication by a, its symbol, so that what a unit
event of age α has left is, mode by mode,

    R_0 = 1,   R_1 = a,   R_2 = a R_1 − q R_0 [− 1],   R_α = a R_{α−1} − q R_{α−2},

where −1 is the pulse taken back. A response is B R_α B⁻¹ δ_p, with B the inverse transform (FFT, DST-I, DCT-I along
each axis), and the scalar products of a snapshot with the responses of one age at *all* places are one transform,

    c_α = (B R_α B⁻¹)ᵀ y = w B R̄_α B⁻¹ (y / w),

w being 1/2 at the end cells of a free axis, which make the step symmetric there, and 1 elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from wavefield.operators.power import from_modes, mode_angles, to_modes

_AT_ONCE = 2**21  # numbers of one batch of transforms, 16 MiB


@dataclass(frozen=True, eq=False)
class ModalResponses:
    """What a unit event leaves at every place and age, by fast transforms.

    Attributes
    ----------
    shape : tuple of int
        Positions along each axis.
    boundary : tuple of str
        "periodic", "fixed" or "free" for each axis.
    modes : ndarray, shape (rings, ages, *modes)
        R of every age, from the youngest, 0, on; every ring has its own.
    both : bool
        Whether the level before is seen, where an event of age α has left R_{α−1}.
    """

    shape: tuple
    boundary: tuple
    modes: np.ndarray
    both: bool

    @property
    def rings(self) -> int:
        """Fields, which do not act on each other."""
        return self.modes.shape[0]

    @property
    def ages(self) -> int:
        """Ages, 0 and up."""
        return self.modes.shape[1]

    @property
    def levels(self) -> int:
        """Levels that are seen."""
        return 2 if self.both else 1

    def correlate(self, snapshots: np.ndarray, ages: slice | None = None) -> np.ndarray:
        """Scalar products of snapshots (B, rings, levels, *shape) with all responses, (B, rings, ages, *shape).

        Worked out in the precision of the snapshots.
        """
        ages = slice(0, self.ages) if ages is None else ages
        snapshots = np.asarray(snapshots)
        single = snapshots.dtype == np.float32
        modes, weight = (self._modes32 if single else self.modes), self._weight.astype(snapshots.dtype)
        seen = to_modes(snapshots / weight, self.boundary)  # (B, rings, levels, *modes)
        out = np.empty((*snapshots.shape[:2], ages.stop - ages.start, *self.shape), snapshots.dtype)
        batch = max(1, _AT_ONCE // int(np.prod(snapshots.shape[:2] + self.shape)))
        for first in range(ages.start, ages.stop, batch):
            last = min(first + batch, ages.stop)
            product = modes[:, first:last].conj() * seen[:, :, 0, None]
            if self.both:
                young = int(first == 0)  # events of age 0 have left nothing on the level before
                product[:, :, young:] += modes[:, first + young - 1 : last - 1].conj() * seen[:, :, 1, None]
            part = from_modes(product, self.boundary, self.shape)
            np.multiply(part, weight, out=out[:, :, first - ages.start : last - ages.start])
        return out

    @cached_property
    def norms(self) -> np.ndarray:
        """Norm of every response, (rings, ages, *shape); an axis of length 1 where all places are alike."""
        squares = self._squares()
        if self.both:
            squares[:, 1:] += squares[:, :-1]
        return np.sqrt(np.maximum(squares, 0))

    def columns(self, ring: np.ndarray, age: np.ndarray, place: np.ndarray) -> np.ndarray:
        """Responses (n, rings · levels · positions) of events at flat places."""
        positions = int(np.prod(self.shape))
        out = np.zeros((len(place), self.rings, self.levels, *self.shape))
        batch = max(1, _AT_ONCE // positions)
        for first in range(0, len(place), batch):
            part = slice(first, first + batch)
            impulse = np.zeros((len(place[part]), positions))
            impulse[np.arange(len(impulse)), place[part]] = 1.0
            entering = to_modes(impulse.reshape(-1, *self.shape), self.boundary)
            rows = np.arange(len(place))[part]
            out[rows, ring[part], 0] = from_modes(
                entering * self.modes[ring[part], age[part]], self.boundary, self.shape
            )
            if self.both:
                earlier = self.modes[ring[part], np.maximum(age[part] - 1, 0)]
                old = (age[part] > 0).reshape(-1, *(1,) * len(self.shape))
                out[rows, ring[part], 1] = from_modes(entering * np.where(old, earlier, 0), self.boundary, self.shape)
        return out.reshape(len(place), self.rings * self.levels * positions)

    @cached_property
    def _modes32(self):
        return self.modes.astype(np.complex64 if np.iscomplexobj(self.modes) else np.float32)

    @cached_property
    def _weight(self):
        """w, (*shape)."""
        weight = np.ones(self.shape)
        for axis, boundary in enumerate(self.boundary):
            if boundary == "free" and self.shape[axis] > 1:
                np.moveaxis(weight, axis, 0)[[0, -1]] *= 0.5
        return weight

    def _squares(self):
        """Squared norms on one level.

        With modes φ that are orthonormal under w, the response is Σ_k R_k φ_k(x) φ_k(p) w(p). A sum over the cells of
        a free axis is the sum under w and half of what stands at both ends, where modes do not become a delta.
        """
        total: np.ndarray | float = 0.0
        ends = [
            [None, 0, -1] if b == "free" and n > 1 else [None] for b, n in zip(self.boundary, self.shape, strict=True)
        ]
        halved = [axis + 1 == len(self.shape) for axis in range(len(self.shape))]
        basis = [_basis(*of) for of in zip(self.boundary, self.shape, halved, strict=True)]
        for chosen in np.stack(np.meshgrid(*[np.arange(len(e)) for e in ends], indexing="ij"), -1).reshape(
            -1, len(ends)
        ):
            at = [e[c] for e, c in zip(ends, chosen, strict=True)]
            part = self.modes
            for axis, end in enumerate(at):  # the sums over modes that are linear come first
                if end is not None:
                    part = _along(part, basis[axis][end] * basis[axis], axis)
            part = np.abs(part) ** 2
            for axis, end in enumerate(at):
                if end is None:
                    alike = self.boundary[axis] == "periodic"
                    part = _along(part, (basis[axis] ** 2)[:1] if alike else basis[axis] ** 2, axis)
            total = total + 0.5 ** sum(end is not None for end in at) * part
        return total * self._weight**2 if "free" in self.boundary else total


def modal_responses(taps, previous_weight, shape, boundary, ages, *, both, pulse) -> ModalResponses:
    """Return the responses of two-way rings.

    `taps` (rings, *K) is the kernel of each ring on itself, now to now, and `previous_weight` (rings,) q. Kernels must
    be symmetric along axes that are not periodic.
    """
    symbol = np.stack([_symbol(kernel, shape, boundary) for kernel in taps])  # (rings, *modes)
    q = np.reshape(previous_weight, (-1, *(1,) * len(shape)))
    modes = np.empty((len(symbol), ages, *symbol.shape[1:]), symbol.dtype)
    modes[:, 0] = 1.0
    if ages > 1:
        modes[:, 1] = symbol
    for age in range(2, ages):
        modes[:, age] = symbol * modes[:, age - 1] - q * modes[:, age - 2]
        if age == 2 and pulse:
            modes[:, age] -= 1.0
    return ModalResponses(tuple(shape), tuple(boundary), modes, both)


def _symbol(kernel, shape, boundary):
    """Factor by which one step multiplies every mode, real where the kernel is symmetric."""
    centre = np.array(kernel.shape) // 2
    symbol: np.ndarray | float = 0.0
    for tap in np.argwhere(kernel != 0):
        factor = kernel[tuple(tap)]
        for axis, (kind, size, offset) in enumerate(zip(boundary, shape, tap - centre, strict=True)):
            turn = 2 * offset * mode_angles(kind, size, all_modes=axis + 1 < len(shape))[0]
            turn = turn.reshape([-1 if a == axis else 1 for a in range(len(shape))])
            factor = factor * (np.exp(1j * turn) if kind == "periodic" else np.cos(turn))
        symbol = symbol + factor
    symbol = np.asarray(symbol)
    symmetric = np.array_equal(kernel, kernel[tuple([slice(None, None, -1)] * kernel.ndim)])
    return symbol.real if symmetric else symbol


def _basis(boundary, size, halved):
    """Modes φ_k(p), (size, modes), orthonormal under w; of a periodic axis their modulus."""
    place = np.arange(size)[:, None]
    if boundary == "periodic":
        count = size // 2 + 1 if halved else size
        twice = np.full(count, np.sqrt(2.0) if halved else 1.0)
        if halved:
            twice[0] = 1.0
            if size % 2 == 0:
                twice[-1] = 1.0
        return np.ones((size, 1)) * twice / np.sqrt(size)
    if boundary == "fixed":
        mode = np.arange(1, size + 1)
        return np.sqrt(2 / (size + 1)) * np.sin(np.pi * (place + 1) * mode / (size + 1))
    mode = np.arange(size)
    scale = np.full(size, np.sqrt(2 / max(size - 1, 1)))
    scale[[0, -1]] = np.sqrt(1 / max(size - 1, 1))
    return scale * np.cos(np.pi * place * mode / max(size - 1, 1))


def _along(modes, matrix, axis):
    """Multiply the modes (rings, ages, *modes) along one of their axes by a matrix (places, modes)."""
    return np.moveaxis(np.tensordot(modes, matrix, axes=(axis + 2, 1)), -1, axis + 2)
