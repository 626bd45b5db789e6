"""Histories as waves: the simulation of a history-dependent system, and the linear network that is the same."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from wavefield.checks import positive_int, real_array
from wavefield.history.system import HistorySystem
from wavefield.progress import Progress
from wavefield.recordings.recording import recording
from wavefield.recordings.schema import validate_recording
from wavefield.simulation.continuation import past_of
from wavefield.simulation.run import DivergenceError


class RNNWeights(NamedTuple):
    """A linear recurrent network, h(t+1) = weight_hh h(t) + weight_ih u(t), y(t) = readout h(t)."""

    weight_hh: np.ndarray  # (N, N)
    weight_ih: np.ndarray  # (N, d)
    readout: np.ndarray  # (d, N)


def simulate(
    system: HistorySystem, initial: ArrayLike | xr.Dataset, *, steps: int, save_initial: bool = False
) -> xr.Dataset:
    """Run a history-dependent system as a wave, and record the field on its lines.

    Parameters
    ----------
    system : HistorySystem
    initial : array_like, shape (s, d) or (trial, s, d), or recording
        The first s states, oldest first. A recording, made by this function or by `wavefield.simulate`, is continued
        from its last field, and its time continues.
    steps : int
        States to be added.
    save_initial : bool
        Store the field of the initial states too, at the time before the first step: 0 unless a recording is continued.

    Returns
    -------
    xarray.Dataset
        A recording: `activity` (trial, time, channel = dimension, position = slot − 1). The newest state stands at the
        last position, so that ``rec.activity.isel(position=-1)`` is the sequence x_{s+1}, x_{s+2}, …. That of a linear
        system of at least three slots carries its kernel and boundary row: `wavefield.operator_of` reads them,
        `wavefield.simulate` continues it.

    Raises
    ------
    ValueError, TypeError
        If an argument is not as above, or f returns another shape.
    DivergenceError
        If the sequence grows beyond float64; it carries what was computed before.

    Examples
    --------
    >>> from wavefield.history import fibonacci
    >>> rec = simulate(fibonacci(1, 3), [[0.0], [1.0], [1.0]], steps=4)
    >>> rec.activity[:, 0].values.tolist()
    [[1.0, 1.0, 2.0], [1.0, 2.0, 4.0], [2.0, 4.0, 7.0], [4.0, 7.0, 13.0]]
    """
    _checked_system(system)
    steps = positive_int(steps, "steps", least=0)
    history, made = _first_states(system, initial)  # (s, d) or (trial, s, d); steps before
    first = int(save_initial or steps == 0)
    fields = np.empty((*history.shape[:-2], steps + first, system.dimension, system.length))
    if first:
        fields[..., 0, :, :] = history.swapaxes(-1, -2)
    for t in Progress(range(steps), "history", unit="step"):
        with np.errstate(over="ignore", invalid="ignore"):  # what overflows is reported below
            newest = system.next(history)[..., None, :]
        history = np.concatenate([history[..., 1:, :], newest], axis=-2)
        if not np.isfinite(history[..., -1, :]).all():
            raise DivergenceError(made + t + 1, _described(system, fields[..., : t + first, :, :], made, first))
        fields[..., t + first, :, :] = history.swapaxes(-1, -2)
    return _described(system, fields, made, first)


def rnn_weights(system: HistorySystem, basis: ArrayLike | None = None) -> RNNWeights:
    """Return the recurrent network that a linear system is in a basis Ψ.

        W_hh = Ψ Φ Ψ⁺,      W_uh = Ψ_s  (writes into slot s),      W_r = Ψ*_s  (reads slot s),      Ψ* = Ψ⁺

    It is exactly equivalent to the wave: a hidden state Ψ h moves as the history h does. An input adds to what the
    boundary drives into slot s.

    Parameters
    ----------
    system : HistorySystem
        Linear.
    basis : array_like, shape (N, s·d), optional
        Ψ, one linearly independent column for every entry of the history, slot-major; N ≥ s·d. By default the unit
        matrix: every unit is an entry of the history.

    Raises
    ------
    ValueError
        If the system is not linear or the columns are not independent.

    Examples
    --------
    >>> from wavefield.history import repeat_copy
    >>> rnn_weights(repeat_copy(1, 3)).weight_hh.tolist()
    [[0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]
    """
    phi, d = _checked_system(system).matrix(), system.dimension
    basis = np.eye(len(phi)) if basis is None else real_array(basis, "basis")
    if basis.ndim != 2 or basis.shape[1] != len(phi):
        raise ValueError(f"basis must have shape (N, s·d = {len(phi)}), got {basis.shape}")
    if np.linalg.matrix_rank(basis) < len(phi):
        raise ValueError(f"basis must have {len(phi)} linearly independent columns, got shape {basis.shape} and rank "
                         f"{np.linalg.matrix_rank(basis)}")  # fmt: skip
    wide = basis.astype(np.longdouble)  # rounding of W_hh itself is amplified by the condition of Ψ, step after step
    dual = np.linalg.pinv(basis).astype(np.longdouble)
    dual = 2 * dual - dual @ wide @ dual  # one Newton step
    return RNNWeights((wide @ phi @ dual).astype(float), basis[:, -d:].copy(), dual[-d:].astype(float))


def _checked_system(system):
    if not isinstance(system, HistorySystem):
        raise TypeError(f"system must be a HistorySystem, got {type(system).__name__}")
    return system


def _first_states(system, initial):
    """The history to begin with, oldest state first, and the steps that were made before it."""
    if isinstance(initial, xr.DataArray):  # of a snapshot (channel, position) the newest state would be the last line
        raise TypeError("initial must be an array, oldest state first, or a complete recording, got a DataArray")
    made = 0
    if isinstance(initial, xr.Dataset):
        validate_recording(initial)
        past = past_of(initial)
        initial, made = past.now.swapaxes(-1, -2), past.steps
    initial = real_array(initial, "initial")
    expected = (system.length, system.dimension)
    if initial.ndim not in (2, 3) or initial.shape[-2:] != expected or 0 in initial.shape:
        raise ValueError(
            f"initial must have shape {expected} or (trial, *{expected}), oldest first, got {initial.shape}"
        )
    return initial, made


def _described(system, fields, made, first):
    """The recording of fields (…, time, d, s), `first` of them before the first step, `made` steps before that."""
    moved = {}
    if system.linear and system.length >= 3:
        op = system.operator()
        moved = {"kernel": op.kernel, "boundary_row": op.boundary_row}
    return recording(
        fields,
        dims=("trial",) * (fields.ndim - 3) + ("time", "channel", "position"),
        coords={"time": made + 1 - first + np.arange(fields.shape[-3])},
        dt=1.0,
        dx=1.0,
        boundary="open",
        driven_end=-1,
        boundary_condition=repr(system),
        levels=1,
        nonlinearity="identity" if system.linear else None,
        source_kind="direct",
        size=system.length,
        steps=fields.shape[-3] - first,
        first_step=made,
        start="state",
        **moved,
    )
