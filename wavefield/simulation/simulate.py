"""Simulation of a wave field: drive in, recording out."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, DTypeLike

from wavefield.checks import grid_shape, plain_array, positive_int, real_array
from wavefield.loops.choose import NONLINEARITIES
from wavefield.operators.encoder import EVERYWHERE, resolve_encoder
from wavefield.operators.operator import WaveOperator
from wavefield.recordings.recording import open_recording, save_recording
from wavefield.simulation.continuation import Past, beginning, first_levels, past_of, space_of
from wavefield.simulation.inputs import flattened_movie, read_inputs
from wavefield.simulation.law import Law, operator_of
from wavefield.simulation.run import DivergenceError, Run, jump, jumped, jumps, run_in_memory, run_to_file
from wavefield.simulation.units import resolve_units

SOURCES = ("pulse", "force")
METHODS = ("auto", "step", "jump")

__all__ = ["DivergenceError", "operator_of", "reverse", "simulate"]


def simulate(
    operator: WaveOperator,
    drive: ArrayLike | xr.DataArray | Callable[[int], ArrayLike] | None = None,
    size: int | tuple[int, ...] | None = None,
    *,
    initial: ArrayLike | xr.Dataset | None = None,
    previous: ArrayLike | None = None,
    velocity: ArrayLike | None = None,
    steps: int | None = None,
    encoder: str | ArrayLike | None = None,
    source: str = "pulse",
    nonlinearity: str = "identity",
    bias: ArrayLike | None = None,
    dtype: DTypeLike = "float64",
    save_every: int | None = 1,
    save_initial: bool = False,
    method: str = "auto",
    path: str | os.PathLike | None = None,
    overwrite: bool = False,
    allow_growth: bool = False,
    units: Mapping[str, str] | None = None,
) -> xr.Dataset:
    """Move a wave field under a drive and record it.

        h[t+1] = σ( u ⋆ h[t] + V x[t] + b ),      h[0] = 0 unless given

    T inputs give T states; ``activity[t]`` is the state after ``x[t]`` has arrived, at time (t + 1)·dt.

    Of a two-way field σ bends the level that is new, once; the level before is carried on as it is,

        h[t+1] = σ( u₀₀ ⋆ h[t] + u₀₁ h[t−1] + V e[t] + b ).

    (A `WaveRNN` bends all its channels at every step. Made from a two-way operator it moves the same field where σ
    leaves what it has bent alone: the identity, or a ReLU.)

    A two-way field takes an input e in one of two ways. ``source="pulse"`` adds x[t] − x[t−2], the derivative of
    a push: each input leaves two travelling pulses and nothing else. ``source="force"`` adds x[t], the push itself:
    it leaves a plateau that spreads behind the wave front, and on a ring the mean of the field drifts for ever. A
    one-way field takes x[t] as it is.

    Parameters
    ----------
    operator : WaveOperator
        With one ring, or with as many as the encoder asks for.
    drive : array_like, DataArray, Series or callable, optional
        Inputs ``(steps, inputs)``, ``(steps,)`` for a single one, or ``(trial, steps, inputs)`` for a batch; `spikes`,
        `ricker` and the like, and `load_drive` make one.
        A callable is called with each step index, before the run, and returns the inputs of that step, ``(inputs,)``.
    size : int or pair of ints
        Positions N of each ring or line, (Ny, Nx) of a sheet. Known from `initial`, an encoder array, a mask or a speed
        profile if one is given. Wherever N stands below, it is (Ny, Nx) on a sheet.
    initial : array_like or recording, optional
        State to start from, ``(rings, N)`` or ``(trial, rings, N)``; an image. A recording is continued from its last
        state.
    previous : array_like, optional
        The level before `initial`, for a two-way field; without it the field starts at rest (v₀ = 0, to second
        order), or with the velocity given.
    velocity : array_like, shape as `initial`, optional
        ∂h/∂t of a two-way field at time 0, per unit of time.
    steps : int, optional
        Steps to make where there is no drive, or a callable one.
    encoder : {"own", "first"} or array_like, shape (rings, N, inputs)
        ``"own"``: every input has a ring of its own, entered at position 0 (on a line: at the upstream end; on a sheet:
        in its middle).
        ``"first"``: every input enters unit 0 of every ring. ``"everywhere"``: the drive is a movie of a sheet, (steps,
        Ny, Nx) or (trial, steps, Ny, Nx), in which every cell is an input of its own; an array that is mapped
        from a file (``np.load(…, mmap_mode="r")``), and a variable (time, y, x) that xarray has opened from a netCDF
        file or holds in chunks, is read as it is needed, and never whole. By default ``"own"``, or where a
        recording is continued, as it was there.
    source : {"pulse", "force"}
    nonlinearity : {"identity", "relu", "tanh"}
    bias : array_like, shape (rings,) or (rings, N), optional
    dtype : {"float64", "float32"}
    save_every : int or None
        Store every so many steps; None stores the last state only. Steps beyond the last stored state are not made.
    save_initial : bool
        Store the initial state, at time 0, too.
    method : {"auto", "step", "jump"}
        ``"jump"`` computes the last state without stepping (linear fields; needs ``save_every=None``);
        ``"auto"`` does so where it is faster, except at Courant 1, where stepping is exact and stays so.
    path : path, optional
        Stream to this netCDF file, for results larger than memory, and return it opened lazily. Until it is complete it
        is ``NAME.partial.nc``, readable up to the last block.
    overwrite : bool
        Whether the partial file of an interrupted run may be replaced.
    allow_growth : bool
        Run a linear operator although it grows without bound.
    units : mapping of str to str, optional
        Units of ``time`` (those of the operator's dt) and ``position`` (dx), of ``activity`` and ``drive``, such as
        ``{"time": "ms", "position": "mm"}``; speeds are then in mm/ms. By default those of the recording that is
        continued, or of the times of the drive, else ``1``.

    Returns
    -------
    xarray.Dataset
        A recording: `activity` (trial, time, channel, position), `drive`, `encoder`, `kernel`, and for a two-way
        field `previous`, the level before the last stored one.

    Raises
    ------
    ValueError, TypeError
        If an argument is not as above.
    DivergenceError
        If the field grows beyond the range of its dtype; it carries what was computed before.

    Examples
    --------
    >>> import wavefield as wf
    >>> rec = wf.simulate(wf.transport(1.0), wf.spikes([[(0, 2.0)]], steps=4), size=8)
    >>> rec.activity[-1, 0].values.tolist()
    [0.0, 0.0, 0.0, 2.0, 0.0, 0.0, 0.0, 0.0]

    A wave of 0.2 mm/ms on a ring of 8 mm, with an input at 2.5 ms:

    >>> op = wf.wave(0.2, dx=0.1, dt=0.5)
    >>> drive = wf.spikes([[(2.5, 1.0)]], steps=40, dt=0.5, units="ms")
    >>> rec = wf.simulate(op, drive, size=80, units={"position": "mm"})
    >>> rec.time.attrs["units"], float(rec.time[-1]), wf.decode(rec).time.values.tolist()
    ('ms', 20.0, [2.5])
    """
    if not isinstance(operator, WaveOperator):
        raise TypeError(f"operator must be a WaveOperator, got {type(operator).__name__}")
    _one_of(source=(source, SOURCES), nonlinearity=(nonlinearity, NONLINEARITIES), method=(method, METHODS))
    dtype = _float_dtype(dtype)
    if save_every is not None:
        positive_int(save_every, "save_every")
    if isinstance(initial, xr.Dataset):
        past, then = _continued(initial, operator)
    else:
        initial = None if initial is None else _checked_initial(initial, operator.dims)
        past, then = beginning(initial, previous), None
    if encoder is None:
        encoder = "own" if then is None or then.encoder is None else then.encoder
    frame = None
    if isinstance(encoder, str) and encoder == EVERYWHERE:
        drive, frame = flattened_movie(drive, operator)
    elif not isinstance(encoder, str):
        encoder = plain_array(encoder, "encoder")
        if encoder.ndim != 2 + operator.dims:
            axes = "N" if operator.dims == 1 else "Ny, Nx"
            raise ValueError(f"encoder must have shape (rings, {axes}, inputs), got {encoder.shape}")
    inputs = read_inputs(drive, steps, past.last_inputs)
    units = resolve_units(units, initial, drive, operator.dt)
    trials = inputs.trials if past.now is None or np.ndim(past.now) < 2 + operator.dims else np.shape(past.now)[0]
    if inputs.trials not in (None, 1, trials):
        raise ValueError(f"drive and initial must have as many trials, got {inputs.trials} and {trials}")
    size = _common_shape(size, frame, past.now, encoder, operator)
    weights, operator = _encode(encoder, operator, size, inputs.count, past.now)
    if nonlinearity == "identity" and not allow_growth:
        _refuse_growth(operator)
    law = Law(
        operator,
        weights,
        source="direct" if operator.levels == 1 else source,
        nonlinearity=nonlinearity,
        bias=_checked_bias(bias, operator, size),
    )
    start = first_levels(operator, size, trials, past, velocity, dtype)
    # what came in under another law cannot be told from a state that was there from the beginning
    at_rest = past.from_rest and law.continues(then) if then else not any(level.any() for level in start)
    run = Run(law, inputs, start, save_every, save_initial, past.steps, from_rest=at_rest, trials=trials, units=units)
    levels = jump(run) if jumps(run, method) else None
    if levels is None or not all(np.isfinite(level).all() for level in levels):  # stepping finds where it diverged
        return run_in_memory(run) if path is None else run_to_file(run, path, overwrite)
    result = jumped(run, levels)
    if path is None:
        return result
    save_recording(result, path)
    return open_recording(path)


def reverse(rec: xr.Dataset) -> xr.Dataset:
    """Run an undamped two-way field back from its last state to its beginning, taking out inputs and bias on the way.

        h[t−1] = a ⋆ h[t] − h[t+1] + V x[t] + b,

    the leapfrog scheme with its levels exchanged: it is its own inverse.

    Parameters
    ----------
    rec : recording
        Made by `simulate` with a linear, undamped two-way operator whose ends absorb nothing.

    Returns
    -------
    xarray.Dataset
        A recording of one state, at the time at which `rec` began, that can be continued; `previous` is the level
        before it.
    """
    law = Law.of(rec)
    op = law.operator
    size = tuple(rec.sizes[dim] for dim in space_of(rec))
    damped = op.levels == 2 and (op.local_halved_damping(size) != 0).any()
    if op.levels != 2 or damped or "absorbing" in op.boundaries or not law.linear:
        raise ValueError(f"rec must be of a linear, undamped two-way field with ends that absorb nothing, got {op!r}")
    past = past_of(rec)
    if past.now is None or past.before is None:
        raise ValueError("rec does not hold the level before its last state, without which it cannot be run back")
    drive = None
    if past.drive is not None and past.own_steps:
        inputs = past.inputs(past.own_steps + 2)
        drive = (inputs[:, 2:] - inputs[:, :-2] * law.pulse)[:, ::-1]
        drive = drive if "trial" in rec["activity"].dims else drive[0]
    back = simulate(
        op,
        drive,
        initial=past.before,
        previous=past.now,
        steps=past.own_steps,
        encoder=None if drive is None else law.encoder,
        source="force",
        bias=law.bias,
        dtype=past.now.dtype,
        save_every=None,
        method="step",
    )
    now, before = back["activity"], back["previous"]  # their levels are exchanged
    began = np.array([op.dt * int(rec.attrs["first_step"])], rec["time"].dtype)
    levels = {
        "activity": (now.dims, before.values.reshape(now.shape), now.attrs),
        "previous": (before.dims, now.values.reshape(before.shape), before.attrs),
    }
    start = rec.drop_dims(["time", "step"], errors="ignore").assign_attrs(steps=0).assign(levels)
    return start.assign_coords(time=("time", began, rec["time"].attrs))


# ---- checks -------------------------------------------------------------------------------------------------------


def _one_of(**options):
    for name, (given, accepted) in options.items():
        if given not in accepted:
            raise ValueError(f"{name} must be one of {', '.join(map(repr, accepted))}, got {given!r}")


def _float_dtype(dtype):
    try:
        dtype = np.dtype(dtype)
    except TypeError:
        raise TypeError(f"dtype must be 'float64' or 'float32', got {dtype!r}") from None
    if dtype not in (np.float32, np.float64):
        raise ValueError(f"dtype must be 'float64' or 'float32', got {dtype}")
    return dtype


def _checked_initial(initial, dims):
    initial = real_array(initial, "initial")
    if initial.ndim not in (dims, dims + 1, dims + 2) or 0 in initial.shape:
        n = "N" if dims == 1 else "Ny, Nx"
        raise ValueError(f"initial must have shape (rings, {n}) or (trial, rings, {n}), got {initial.shape}")
    return initial


def _common_shape(size, frame, initial, encoder, operator):
    """Return the positions along each axis, which everything that has positions must agree on."""
    dims = operator.dims
    arrays = {
        "drive": frame,
        "initial": None if initial is None else np.shape(initial)[-dims:],
        "encoder": np.shape(encoder)[1:-1] if not isinstance(encoder, str) and np.ndim(encoder) == 2 + dims else None,
        "profile": None if operator.profile is None else operator.profile.shape,
        "mask": None if operator.mask is None else operator.mask.shape,
        "boundary_row": None if operator.boundary_row is None else operator.boundary_row.shape[2:],
    }
    known = {} if size is None else {"size": grid_shape(size, "size", dims)}
    known |= {name: value for name, value in arrays.items() if value is not None}
    if not known:
        what = "the number of positions" if dims == 1 else "the positions (Ny, Nx)"
        raise ValueError(f"size, {what}, must be given")
    if len(set(known.values())) > 1:
        given = ", ".join(f"{name} {'×'.join(map(str, shape))}" for name, shape in known.items())
        raise ValueError(f"the number of positions must agree, got {given}")
    shape = next(iter(known.values()))
    operator.check_size(shape)
    return shape


def _encode(encoder, operator, size, inputs, initial):
    """Return the encoder as an array, None where there are no inputs, and the operator with as many rings."""
    if isinstance(encoder, str) and encoder == EVERYWHERE:
        if inputs not in (0, operator.rings * int(np.prod(size))):
            raise ValueError(
                f"drive: a movie must show all {'×'.join(map(str, size))} cells, got {inputs} values a step"
            )
        return encoder, operator
    if inputs:
        return resolve_encoder(encoder, operator, size, inputs)
    rings = np.shape(initial)[-1 - operator.dims] if np.ndim(initial) > operator.dims else operator.rings
    return None, operator.with_rings(rings)


def _checked_bias(bias, operator, size):
    if bias is None:
        return None
    bias = real_array(bias, "bias")
    everywhere = (operator.rings, *size)
    if bias.shape not in ((operator.rings,), everywhere):
        raise ValueError(f"bias must have shape ({operator.rings},) or {everywhere}, got {bias.shape}")
    return np.broadcast_to(bias.reshape(-1, *(1,) * len(size)) if bias.ndim == 1 else bias, everywhere).copy()


def _refuse_growth(operator):
    if operator.boundary != "periodic" or not operator.alike:
        return
    stability = operator.stability(256 if operator.dims == 1 else 32)
    if stability.kind == "growing":
        where = ", ".join(f"{k:g}" for k in np.atleast_1d(stability.wavenumber))
        raise ValueError(
            f"operator grows by a factor {stability.growth:g} per step at wavenumber {where}: the "
            "linear field has no bound. Pass allow_growth=True to run it all the same"
        )


def _continued(rec: xr.Dataset, operator: WaveOperator) -> tuple[Past, Law]:
    """Return the past of a recording that is to be continued, and the law that moved it; refuse what does not fit."""
    then = Law.of(rec)
    for name in ("dims", "dx", "dt", "levels"):
        made, given = getattr(then.operator, name), getattr(operator, name)
        if made != given:
            raise ValueError(
                f"initial: the recording was made with {name} = {made}, and cannot be continued with {name} = {given}"
            )
    past = past_of(rec)
    if operator.levels == 2 and past.before is None:
        raise ValueError(
            "initial: the recording does not hold the level before its last state, which a two-way field needs"
        )
    if operator.rim and past.rim is None:
        raise ValueError("initial: the recording does not hold the fields of its absorbing rim at its last state")
    return past, then
