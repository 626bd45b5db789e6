"""Speed and damping as parameters of an operator: what they are, how far they may go, and the operator of others.

transport:  h[t+1] = e^{−γdt}·( ν h_{n∓1} + (1 − ν) h_n ),   ν = |c|·dt/dx
wave:       (1 + γdt/2)·h[t+1] = 2h[t] + (c·dt/dx)²·L h[t] − (1 − γdt/2)·h[t−1]
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from wavefield.operators.equations import courant_limit, transport, wave
from wavefield.operators.operator import WaveOperator

NAMES = ("speed", "damping")
_AROUND = 1.25  # factor on the speed up to which it is searched for
_CLOSE = 1e-4  # relative difference of speeds, difference of dampings per step, between which a slope is taken
_SAME = 1e-12  # relative difference of kernels that are the same
_TOO_LONG = 10.0  # times the damping lasts at most for the time looked back


@dataclass(frozen=True)
class Family:
    """All operators that differ from one in speed and damping only.

    Attributes
    ----------
    operator : WaveOperator
        The one that is known.
    speed, damping : float
        Its own: c, with the sign of its direction, in dx per dt; γ per unit of time, for a one-way field −log(gain)/dt.
    """

    operator: WaveOperator
    speed: float
    damping: float

    @classmethod
    def of(cls, op: WaveOperator) -> Family | None:
        """Return the family of an operator; None if it is none of `transport` or `wave`, or its rings differ."""
        if not isinstance(op, WaveOperator) or op.dims != 1 or not op.diagonal or op.boundary_row is not None:
            return None
        if op.levels == 2:
            speed, damping = op.courant * op.dx / op.dt, 2 * op.halved_damping / op.dt
        else:
            gain = op.taps.sum(axis=1)
            if (gain <= 0).any():
                return None
            speed, damping = op.courant * op.dx / op.dt, -np.log(gain) / op.dt
        family = cls(op, float(speed[0]), float(damping[0]))
        if abs(family.speed) > family.fastest:  # by rounding
            family = replace(family, speed=float(np.copysign(family.fastest, family.speed)))
        if not np.isfinite(family.speed) or family.speed == 0 or abs(family.damping) * op.dt >= 2:
            return None
        try:
            kernel = family._kernel(family.speed, family.damping)
        except ValueError:
            return None
        like = kernel.shape == op.kernel.shape and np.abs(kernel - op.kernel).max() <= _SAME * np.abs(kernel).max()
        return family if like else None

    def value(self, name: str) -> float:
        """Return what the operator itself has."""
        return {"speed": self.speed, "damping": self.damping}[name]

    def at(self, **values: float) -> WaveOperator:
        """Return the operator of another speed, damping or both."""
        values = {"speed": self.speed, "damping": self.damping} | values
        return replace(self.operator, kernel=self._kernel(values["speed"], values["damping"]))

    def bounds(self, name: str, steps: int) -> tuple[float, float]:
        """Return how far a parameter may reasonably differ, for a field that was at rest so many steps ago."""
        if name == "speed":
            largest = min(_AROUND * abs(self.speed), self.fastest)
            smallest = min(abs(self.speed), largest) / _AROUND
            return (smallest, largest) if self.speed > 0 else (-largest, -smallest)
        dt = self.operator.dt
        return min(0.0, self.damping), min(max(4 * self.damping, _TOO_LONG / (steps * dt)), 1.0 / dt)

    def around(self, name: str) -> tuple[float, float]:
        """Return two values of a parameter close to its own, between which to take a slope."""
        if name == "speed":
            largest = min(abs(self.speed) * (1 + _CLOSE), self.fastest)
            pair = abs(self.speed) * (1 - _CLOSE), largest
            return pair if self.speed > 0 else (-pair[1], -pair[0])
        close = _CLOSE / self.operator.dt
        return (max(self.damping - close, 0.0), self.damping + close)

    @property
    def fastest(self) -> float:
        """Largest speed for which the scheme is stable."""
        op = self.operator
        limit = courant_limit(op.kernel.shape[2] - 1) if op.levels == 2 else 1.0
        largest = limit * op.spacings[0] / op.dt / (1.0 if op.profile is None else np.abs(op.profile).max())
        # what is stable where the density varies depends on how it does: no more than is known to be
        return largest if op.density is None else min(largest, abs(self.speed))

    def _kernel(self, speed, damping):
        op = self.operator
        units = {"dx": op.dx, "dt": op.dt}
        if op.levels == 2:
            one = wave(speed, damping, order=op.kernel.shape[2] - 1, **units)
        else:
            one = transport(speed, gain=np.exp(-damping * op.dt), **units)
        return one.with_rings(op.rings).kernel
