"""The forward map in independent blocks, each with its distinguishable columns: one for each class of equal traces."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from wavefield.decoding.events import Events
from wavefield.decoding.inverse.columns import Columns
from wavefield.decoding.inverse.spectral import SpectralDesign
from wavefield.operators.design import Design

LARGEST_MATRIX = 2**25  # entries of a matrix that is still written out, 256 MiB
_LARGEST_SVD = 512  # rank that is still worked out
_FADED = 1e-13  # a trace smaller than this, relative to the largest, is lost in rounding
_GROWN = 1e8  # a trace larger than this, relative to the input, belongs to an operator that grows
_LONGEST = 100_000  # steps looked back without a period
_SAME = 1e-6  # columns of norm 1 that differ by less are one


@dataclass(frozen=True, eq=False)
class Block:
    """Inputs, and the part of the snapshot that they reach; its columns are those of the design that differ.

    Attributes
    ----------
    design : Design
        Cut to the onsets that can leave different traces.
    steps : int
        Steps elapsed.
    period, first : int
        An input of age `first` or more stands where it stood `period` steps before, up to a factor; 0: it never does.
    faded : bool
        Whether inputs older than the design looks back have left no trace.
    columns : Columns or None
        One column for each class; None where the matrix is too large to be written out.
    members : list of arrays
        The columns of the design in each class: inputs and onsets that leave the same trace, up to a factor.
    factors : list of arrays
        Each member's trace as a multiple of the class's.
    """

    design: Design
    steps: int
    period: int
    first: int
    faded: bool
    columns: Columns | None
    members: list
    factors: list
    rank: int | None = None
    singular: tuple = ()  # largest and smallest singular value
    resolution: np.ndarray | None = None  # how much of each class the snapshot determines, 0…1

    @property
    def count(self) -> int:
        """Number of classes, or of columns where they are not written out."""
        return self.design.shape[1] if self.columns is None else self.columns.count

    @cached_property
    def ways(self) -> np.ndarray:
        """Number of inputs and onsets of each class."""
        return np.ones(self.count) if self.columns is None else np.array([float(m.size) for m in self.members])

    def rows(self, inputs, classes, amplitude, error, confidence, group) -> Events:
        """Return the rows of the classes found, one for each member, the probability shared among the members.

        `group` numbers the classes that are ambiguous, others have 0; a class of several members, or of onsets known
        only modulo the period, becomes a group of its own if it is in none.
        """
        members, factors = self._members(classes)
        count = np.array([m.size for m in members], dtype=np.int64)
        of = np.repeat(np.arange(count.size), count)
        column, factor = np.concatenate([np.zeros(0, np.int64), *members]), np.concatenate([np.zeros(0), *factors])
        onset, which = np.divmod(column, self.design.inputs)
        onset += self.steps - self.design.steps
        age = self.steps - 1 - onset
        again = (self.period > 0) & (age >= self.first) & (age + self.period < self.steps)
        shared = (count > 1) | (np.bincount(of, again, count.size) > 0)
        own = group.max(initial=0) + np.cumsum(shared)
        group = np.where(group > 0, group, np.where(shared, own, 0))
        return Events(
            onset=onset,
            input=inputs[which],
            amplitude=amplitude[of] / factor,
            error=error[of] / np.abs(factor),
            confidence=confidence[of] / count[of],
            period=np.where(again, self.period, 0),
            ambiguous=group[of],
        )

    def _members(self, classes):
        if self.columns is None:  # classes are columns of the design themselves
            return [np.array([j]) for j in classes], [np.ones(1) for _ in classes]
        return [self.members[j] for j in classes], [self.factors[j] for j in classes]


def prepare(
    design: Design, size: int, elapsed: int, *, signed: bool, largest_matrix: int = LARGEST_MATRIX
) -> list[tuple[Block, np.ndarray, np.ndarray]]:
    """Return the blocks of a design: [(block, rows of the snapshot, inputs), …]; equal blocks are one object.

    `size` is the number of positions.
    `elapsed` steps have passed since the field was at rest, which may be more than the design looks back. A matrix of
    more than `largest_matrix` entries is not written out.
    """
    known, blocks = {}, []
    for part, rows, inputs in design.parts():
        key = part.fingerprint()
        if key not in known:
            known[key] = _surveyed(part, size, elapsed, signed, largest_matrix)
        blocks.append((known[key], rows, inputs))
    return blocks


def _surveyed(part, size, steps, signed, largest_matrix):
    if part.shape[0] * part.shape[1] > largest_matrix:
        part = SpectralDesign.of(part, size) or part
    ages, period, first, faded = _reach(part)
    part = replace(part, steps=ages)
    if part.shape[0] * part.shape[1] > largest_matrix:
        return Block(part, steps, period, first, faded, None, [], [])
    matrix = part.columns()
    members, factors = _classes(matrix, signed)
    matrix = matrix[:, [m[0] for m in members]] if members else matrix[:, :0]
    rank, singular, resolution = _determined(matrix)
    columns = Columns(np.asfortranarray(matrix))
    return Block(part, steps, period, first, faded, columns, members, factors, rank, singular, resolution)


def _reach(part):
    """Ages worth looking at, the period of the traces, the age from which it holds, and whether traces fade."""
    first = 2 if part.pulse else 0
    start, largest = None, 0.0
    for age, (_, state) in enumerate(part.responses()):
        size = np.linalg.norm(state)
        if not np.isfinite(size) or size > _GROWN * np.linalg.norm(part.entry):
            raise ValueError(
                f"operator grows: after {age} steps inputs have grown to {size:g}, their past cannot be read"
            )
        largest = max(largest, size)
        if size <= _FADED * largest:
            return max(age, 1), 0, first, True
        if age == _LONGEST:
            raise ValueError(f"steps: {part.steps} are too many to distinguish; look back over fewer with `horizon`")
        if age == first:
            start = state
        elif age > first and _proportional(start, state):
            return age, age - first, first, False
    return part.steps, 0, first, False


def _proportional(start, state):
    factor = (np.vdot(start, state) / np.vdot(start, start)).real
    return factor > 0 and np.abs(state - factor * start).max() <= 1e-11 * np.abs(state).max()


def _classes(matrix, signed):
    """Group the columns that are multiples of each other (positive ones, unless amplitudes may have either sign).

    Columns are sorted by their product with one fixed vector, so that only neighbours need be compared.
    """
    norms = np.linalg.norm(matrix, axis=0)
    alive = np.flatnonzero(norms > _FADED * norms.max(initial=0))
    unit = matrix[:, alive] / norms[alive]
    probe = np.sin(np.arange(1, len(matrix) + 1) ** 2.0) @ unit
    sign = np.where(probe < 0, -1.0, 1.0) if signed else np.ones(alive.size)
    unit, probe = unit * sign, probe * sign
    order = np.argsort(probe, kind="stable")
    steps = np.linalg.norm(np.diff(unit[:, order], axis=1), axis=0)
    members = [np.sort(m) for m in np.split(order, 1 + np.flatnonzero(steps > _SAME))] if alive.size else []
    members.sort(key=lambda m: m[0])
    scale = sign * norms[alive]
    return [alive[m] for m in members], [scale[m] / scale[m[0]] for m in members]


def _determined(matrix):
    """Rank, largest and smallest singular value, and the diagonal of the resolution matrix V Vᵀ over the rank."""
    if min(matrix.shape) == 0 or min(matrix.shape) > _LARGEST_SVD:
        return None, (), None
    _, s, vt = np.linalg.svd(matrix, full_matrices=False)
    rank = int((s > s[0] * max(matrix.shape) * np.finfo(float).eps).sum())
    return rank, (float(s[0]), float(s[-1])), np.einsum("kn,kn->n", vt[:rank], vt[:rank])
