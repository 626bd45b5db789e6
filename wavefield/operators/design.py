"""The forward map of decoding: from inputs and their onsets to the one snapshot that they leave.

A drive x[t, i] over the last `steps` steps leaves, in a linear field that was at rest before, the snapshot

    y = F x = S Σ_t M^{T−1−t} V e[t],      e[t] = x[t]  or, as a pulse,  e[t] = x[t] − x[t−2]

with M one step of the operator, V the encoder and S what of the state the snapshot shows: the displacement of every
ring, or that and the level before it. The adjoint steps backwards with Mᵀ and reads where the inputs enter, with Vᵀ.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from wavefield.checks import grid_shape, positive_int
from wavefield.operators.encoder import resolve_encoder
from wavefield.operators.operator import WaveOperator
from wavefield.operators.rim import step_with_rim


@dataclass(frozen=True, eq=False)
class Design:
    """Linear map F from a drive (steps, inputs) to a snapshot (R,), by stepping.

    Column ``t · inputs + i`` is what one unit of input i at onset t has become at the end. A snapshot is flat: every
    ring's displacement, then, where it is seen, every ring's level before.

    Attributes
    ----------
    step : sparse array, shape (S, S)
        One step of the state.
    entry : ndarray, shape (S, inputs)
        Where each input enters the state.
    seen : ndarray of int, shape (R,)
        What of the state the snapshot shows.
    steps : int
        T, the steps looked back.
    pulse : bool
        Whether an input is taken back two steps later.
    """

    step: sparse.csr_array = field(repr=False)
    entry: np.ndarray = field(repr=False)
    seen: np.ndarray = field(repr=False)
    steps: int
    pulse: bool = False

    @property
    def inputs(self) -> int:
        """I, the number of inputs."""
        return self.entry.shape[1]

    @property
    def shape(self) -> tuple[int, int]:
        """(R, steps · inputs), the shape of the matrix of F."""
        return self.seen.size, self.steps * self.inputs

    def forward(self, drive: ArrayLike) -> np.ndarray:
        """Return F x, the snapshot (R,) that a drive (steps, inputs) leaves."""
        drive = _shaped(drive, "drive", (self.steps, self.inputs))
        entering = drive.copy()
        if self.pulse:
            entering[2:] -= drive[:-2]
        state = np.zeros(self.entry.shape[0])
        for arriving in entering:
            state = self.step @ state + self.entry @ arriving
        return state[self.seen]

    def adjoint(self, snapshot: ArrayLike) -> np.ndarray:
        """Return Fᵀ y, shape (steps, inputs), of a snapshot (R,)."""
        state = np.zeros(self.entry.shape[0])
        state[self.seen] = _shaped(snapshot, "snapshot", self.seen.shape)
        product = np.empty((self.steps, self.inputs))
        backwards, read = self._transposed
        for t in range(self.steps - 1, -1, -1):
            product[t] = read @ state
            state = backwards @ state
        if self.pulse:
            product[:-2] -= product[2:]
        return product

    def columns(self, chosen: ArrayLike | None = None) -> np.ndarray:
        """Return the matrix of F, (R, steps · inputs), or the chosen columns of it."""
        chosen = np.arange(self.shape[1]) if chosen is None else np.asarray(chosen)
        matrix = np.zeros((chosen.size, self.seen.size))
        order = np.argsort(-(chosen // self.inputs), kind="stable")  # the latest onsets first, as they are made
        first = 0
        for t, state in self.responses():
            seen, last = state[self.seen], first
            while last < order.size and chosen[order[last]] // self.inputs == t:
                last += 1
            matrix[order[first:last]] = seen[:, chosen[order[first:last]] % self.inputs].T
            first = last
            if first == order.size:
                break
        return matrix.T

    def norms(self) -> np.ndarray:
        """Return the norm of every column, shape (steps, inputs), zero where nothing is left of an input."""
        norms = np.zeros((self.steps, self.inputs))
        for t, state in self.responses():
            norms[t] = np.linalg.norm(state[self.seen], axis=0)
        return norms

    def responses(self) -> Iterator[tuple[int, np.ndarray]]:
        """Yield (t, state (S, inputs)): what one unit of each input at onset t has become, the latest onset first."""
        response = self.entry.astype(float)
        ago: list[np.ndarray] = []
        for t in range(self.steps - 1, -1, -1):
            taken_back = ago.pop(0) if len(ago) == 2 else 0.0
            yield t, response - taken_back
            if self.pulse:
                ago.append(response)
            response = self.step @ response

    def parts(self) -> list[tuple[Design, np.ndarray, np.ndarray]]:
        """Split F into blocks that share nothing: [(design, rows of the snapshot, inputs), …].

        Rings that neither act on each other nor share an input are separate inverse problems.
        """
        states = self.entry.shape[0]
        touched = sparse.csr_array(self.entry != 0)
        linked = sparse.block_array([[self.step != 0, touched], [touched.T, None]])
        _, label = connected_components(linked, directed=False)
        # states first by part, then parts without inputs (rings that nothing enters) left out
        by_state, by_input = label[:states], label[states:]
        blocks = []
        for part in np.unique(by_input):
            block, members = np.flatnonzero(by_state == part), np.flatnonzero(by_input == part)
            if block.size == 0:
                continue
            place = np.full(states, -1)
            place[block] = np.arange(block.size)
            rows = np.flatnonzero(place[self.seen] >= 0)
            step, entry = self.step[block][:, block], self.entry[np.ix_(block, members)]
            blocks.append((replace(self, step=step, entry=entry, seen=place[self.seen[rows]]), rows, members))
        return blocks

    def fingerprint(self) -> bytes:
        """Bytes that are equal for equal maps, so that equal parts need be worked out only once."""
        step = sparse.csr_array(self.step)
        step.sort_indices()
        arrays = (step.indptr, step.indices, step.data, self.entry, self.seen)
        return (
            b"".join(np.ascontiguousarray(a).tobytes() for a in arrays) + bytes([self.pulse]) + str(self.steps).encode()
        )

    @cached_property
    def _transposed(self):
        return sparse.csr_array(self.step.T), sparse.csr_array(self.entry.T)


def design(
    operator: WaveOperator,
    size: int | tuple[int, ...],
    steps: int,
    *,
    encoder: str | ArrayLike = "own",
    inputs: int | None = None,
    source: str = "pulse",
    previous: bool = False,
) -> Design:
    """Return the forward map F of `operator` from `steps` steps of inputs to a snapshot.

    Parameters
    ----------
    operator : WaveOperator
    size : int or pair of ints
        Positions N of each ring, (Ny, Nx) of a sheet, which are then taken row by row.
    steps : int
        T, the steps looked back.
    encoder : {"own", "first"} or array_like, shape (rings, N, inputs)
        As in `simulate`.
    inputs : int, optional
        Their number, where the encoder is not an array; one a ring by default.
    source : {"pulse", "force"}
        How a two-way field takes an input, as in `simulate`.
    previous : bool
        Whether the snapshot of a two-way field shows the level before, too.

    Returns
    -------
    Design

    Raises
    ------
    ValueError, TypeError
        Naming the argument that is not as above.

    Examples
    --------
    >>> import wavefield as wf
    >>> F = design(wf.transport(1.0), size=4, steps=3)
    >>> F.forward([[5.0], [0.0], [7.0]]).tolist()
    [7.0, 0.0, 5.0, 0.0]
    """
    if not isinstance(operator, WaveOperator):
        raise TypeError(f"operator must be a WaveOperator, got {type(operator).__name__}")
    shape, steps = grid_shape(size, "size", operator.dims), positive_int(steps, "steps")
    if source not in ("pulse", "force"):
        raise ValueError(f"source must be 'pulse' or 'force', got {source!r}")
    if previous and operator.levels == 1:
        raise ValueError("previous: the field of this operator has one level, there is none before it")
    if inputs is None:
        inputs = operator.rings if isinstance(encoder, str) else np.shape(encoder)[-1]
    weights, operator = resolve_encoder(encoder, operator, shape, positive_int(inputs, "inputs"))
    size = int(np.prod(shape))
    now = (operator.levels * np.arange(operator.rings)[:, None] * size + np.arange(size)).ravel()
    step = step_with_rim(operator, shape) if operator.rim else operator.matrix(shape)
    entry = np.zeros((step.shape[0], inputs))
    entry[now] = weights.reshape(-1, inputs)
    return Design(
        step, entry, np.concatenate([now, now + size]) if previous else now, steps,
        pulse=source == "pulse" and operator.levels == 2,
    )  # fmt: skip


def _shaped(values, name, shape):
    values = np.asarray(values, dtype=float)
    if values.shape != shape:
        raise ValueError(f"{name} must have shape {shape}, got {values.shape}")
    return values
