"""Choosing the time loop: which kernel moves a given operator, and what it is handed.

A field is advanced in its levels: (now,) or (now, before), each (B, rings, N) or (B, rings, Ny, Nx), and for a sheet
with an absorbing rim the fields of the rim, (B, rings, cells).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import sparse

from wavefield.loops.convolve import convolve, transport
from wavefield.loops.leapfrog import leapfrog
from wavefield.loops.sheets.convolve import sheet_convolve
from wavefield.loops.sheets.leapfrog import sheet_leapfrog
from wavefield.loops.sheets.source import sheet_entries
from wavefield.loops.tiles import injection
from wavefield.operators.rim import rim_of
from wavefield.operators.step_matrix import (
    absorbing_ends,
    conductance,
    face_conductances,
    local_taps,
    near_end_taps,
)

NONLINEARITIES = ("identity", "relu", "tanh")
_ACTIVATIONS = {"relu": lambda h: np.maximum(h, 0), "tanh": np.tanh, "identity": lambda h: h}

# (levels, steps, drive (B, steps, I) or None, states (S, B, rings, N)) -> levels.
# The levels are (now,) or (now, before), each (B, rings, N); steps/S apart, states are stored.
Stepper = Callable[[tuple, int, np.ndarray | None, np.ndarray], tuple]


def stepper(op, encoder, shape: tuple[int, ...], *, nonlinearity: str, bias, dtype) -> Stepper:
    """Return the function that advances the levels of a field of positions `shape`.

    A linear two-way field runs in the leapfrog loop, uncoupled rings in the transport loop, a coupled kernel or a
    driven end as a convolution; a two-way field that is not linear is multiplied by its sparse matrix, as is one
    smaller than the kernel, for which the loops have no room. The encoder is an array, None, or on a sheet
    "everywhere".
    """
    tiny = op.dims == 1 and shape[0] < op.kernel.shape[2]
    if tiny or (op.levels == 2 and not (nonlinearity == "identity" and bias is None)):
        return _by_matrix(op, encoder, shape, nonlinearity, bias)
    if op.dims == 2:
        return _on_sheet(op, encoder, shape, nonlinearity, bias, dtype)
    (size,) = shape
    weights = np.zeros((op.rings, size, 0)) if encoder is None else encoder
    if op.levels == 2:
        loop, constants = leapfrog, _leapfrog_constants(op, size)
    elif op.diagonal and op.boundary_row is None:
        loop, constants = transport, {"taps": op.taps if op.profile is None else local_taps(op, size)}
    else:
        loop, constants = convolve, {"kernel": op.kernel, "boundary_row": op.boundary_row, "driven_end": op.driven_end}
    if op.levels == 1:
        constants |= {"nonlinearity": nonlinearity, "bias": bias}
    constants |= {"boundary": op.boundary, "injection": injection(weights, dtype)}

    def advance(levels, steps, drive, states):
        every = steps // len(states) if len(states) else 0
        moved = loop(*levels, **constants, steps=steps, drive=drive, every=every, out=states if every else None)
        return moved if op.levels == 2 else (moved,)

    return advance


def _leapfrog_constants(op, size):
    constants = {"q": op.previous_weight, "ends": absorbing_ends(op, size)}
    if op.profile is not None:
        constants["conductance"] = conductance(op, size)
        if op.damping_profile is not None or op.restoring_profile is not None or op.density is not None:
            density = op.local_density(size)  # a factor of the new level
            middle = np.broadcast_to(op.local_middle(size) * density, (op.rings, size))
            constants |= {"q": op.local_previous_weight(size), "scale": op.local_gain(size) / density, "middle": middle}
        return constants
    return constants | {"taps": op.taps, "near": near_end_taps(op)}


def _on_sheet(op, encoder, shape, nonlinearity, bias, dtype):
    loop, constants = sheet_convolve, {"kernel": op.kernel, "bias": bias, "nonlinearity": nonlinearity}
    if op.levels == 2:
        loop, constants = sheet_leapfrog, {"rim": rim_of(op, shape, dtype)} if op.rim else {}
        if op.profile is None:
            constants |= {"taps": op.taps, "q": op.previous_weight}
        else:
            q = op.local_previous_weight(shape)
            constants |= {"faces": face_conductances(op, shape), "q": q, "scale": op.local_gain(shape)}
            constants |= {"middle": np.broadcast_to(op.local_middle(shape), q.shape)}
    constants |= {"boundary": op.boundaries, "mask": op.mask}
    movie = isinstance(encoder, str)
    constants["encoder"] = None if movie or encoder is None else sheet_entries(encoder, dtype)

    def advance(levels, steps, drive, states):
        every = steps // len(states) if len(states) else 0
        if drive is not None:
            drive = drive.reshape(*drive.shape[:2], op.rings, *shape) if movie else drive
        fields = {"rim_fields": levels[2]} if op.rim else {}
        moved = loop(
            *levels[: op.levels],
            **constants,
            **fields,
            steps=steps,
            drive=drive,
            every=every,
            out=states if every else None,
        )
        return moved if op.levels == 2 else (moved,)

    return advance


def _by_matrix(op, weights, shape, nonlinearity, bias):
    rings, size = op.rings, int(np.prod(shape))
    matrix = op.matrix(shape)
    states = (np.arange(rings)[:, None] * op.levels * size + np.arange(size)).ravel()  # of the level that is new
    enters = sparse.csr_array(
        (np.ones(states.size), (states, np.arange(states.size))), (op.channels * size, states.size)
    )
    encoder = enters if isinstance(weights, str) or weights is None else enters @ weights.reshape(states.size, -1)
    constant = np.zeros((rings, op.levels, size))
    constant[:, 0] = 0 if bias is None else np.reshape(bias, (rings, size))
    activation = _ACTIVATIONS[nonlinearity]

    def advance(levels, steps, drive, states):
        every = steps // len(states) if len(states) else steps + 1
        state = np.stack(levels, axis=2).reshape(len(levels[0]), -1).T.astype(float)
        for t in range(steps):
            state = matrix @ state + constant.reshape(-1, 1)
            if drive is not None:
                state += encoder @ drive[:, t].T
            fields = state.reshape(rings, op.levels, size, -1)
            fields[:, 0] = activation(fields[:, 0])  # the level before has been bent when it was new
            if (t + 1) % every == 0:
                saved = states[(t + 1) // every - 1]
                saved[...] = np.moveaxis(fields[:, 0], -1, 0).reshape(saved.shape)
        ended = state.T.reshape(-1, rings, op.levels, *shape).astype(levels[0].dtype)
        return tuple(np.ascontiguousarray(ended[:, :, level]) for level in range(op.levels))

    return advance
