"""The wave hidden in a recurrent network: the basis in which what it has learned is a shift and one boundary row.

A linear (or linearised) recurrence W that keeps a history of s states of dimension d is, in the right basis Ψ,

    Ψ* W Ψ = Φ,      (Φ h)_i = h_{i+1},  i < s,      (Φ h)_s = Σ_k Φ_k h_k :

d lines on which the states travel from slot s, where the boundary drives them, to slot 1 (`wavefield.history`). A tanh
network without biases is linearised about the origin by its own weights; an LSTM or GRU by its Jacobian.

The basis is found by power iteration within the directions that persist. How many do, the rank, is read off the gap in
the spectrum of W; which slots of which lines are needed follows from the rank alone. No assumption is made about f.

References
----------
Karuvally, Sejnowski and Siegelmann, "Hidden traveling waves bind working memory variables in recurrent neural
networks", ICML 2024, and the published code (`published_recovery`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike
from scipy import linalg

from analysis.fields.units import labelled
from wavefield.checks import positive_int, real_array
from wavefield.history import HistorySystem, RNNWeights
from wavefield.recordings.recording import recording

Theory = HistorySystem | ArrayLike  # a system, its matrix, or where that is enough its eigenvalues
GROUNDINGS = ("history", "output", "input")
PUBLISHED_PERSISTENT = 0.8  # modulus above which the published code counts an eigenvalue
_LASTING = 0.95  # modulus from which an eigenvalue persists whatever the gap
_DEPENDENT = 1e-6  # relative residual below which a direction is a combination of those before it


class NoWaveError(ValueError):
    """Nothing in a recurrence persists in which waves could be grounded."""


def recover_waves(
    weight_hh: ArrayLike,
    weight_in: ArrayLike,
    weight_out: ArrayLike,
    *,
    length: int,
    grounding: str = "history",
    rank: int | None = None,
    persistent: float = 0.8,
) -> xr.Dataset:
    """Find the wave basis of a trained recurrence h(t+1) = σ(W h(t) + W_in u(t)), y(t) = W_out h(t), with σ'(0) = 1.

    1. The directions that persist: the invariant subspace of the `rank` largest eigenvalues, cut at the widest gap
       |λ_r| / |λ_{r+1}| where eigenvalues begin to fade. Everything below happens in it; what decays is projected out
       along its own directions.
    2. Power iteration, a block per slot, newest first (k = 0 … s−1):

       - ``history``: what slot s − k *reads*, Ψ*_{s−k} = W_out W^{−k}: the output of k steps ago. Shift and boundary
         row then hold for every linear f, and are not evidence; the evidence is that inputs enter slot s
         (`entry_share`), which nothing enforces, and that few, well-conditioned waves do.
       - ``output``: what slot s − k *is*, Ψ_{s−k} = W^k W_out⁺, as published. That the last block comes back into
         slot s (`boundary_share`) is evidence, unless the map repeats every state after s steps, as T1 does: then it
         does from any start, and `entry_share` is the evidence again.
       - ``input``: likewise Ψ_{s−k} = W^k W_in.
    3. Where fewer directions persist than there are slots, each line keeps its newest slots: they are added one by
       one, the newest that is still independent of the others, until their number is the rank.

    Parameters
    ----------
    weight_hh : array_like, shape (N, N)
        W, or a Jacobian.
    weight_in : array_like, shape (N, inputs)
    weight_out : array_like, shape (d, N)
    length : int
        s, slots.
    grounding : {"history", "output", "input"}
        With ``input`` the lines are those of the inputs.
    rank : int, optional
        Directions that persist, where it should not be read off the gap.
    persistent : float
        Modulus below which no eigenvalue is taken to persist, in (0, 0.95]; from 0.95 every one is, between the two the
        gap decides.

    Returns
    -------
    xarray.Dataset
        Along ``wave``, slot-major, with the coordinates `slot` (1…s) and `line`:

        ``basis`` Ψ (unit, wave), ``dual`` Ψ* (wave, unit), ``operator`` Φ (wave, wave_from), ``encoder`` Ψ*W_in (wave,
        input), ``readout`` W_outΨ (output, wave), ``residual`` (unit, direction), an orthonormal basis of what no wave
        reads, and ``residual_operator`` there; the eigenvalues of W as ``modulus``, ``angle`` and ``persists`` (mode).

        Numbers: ``shift_share``, ``boundary_share`` (squared norm of Φ in the shift, each line on itself, and in the
        boundary row); ``recurrence_share`` (both, of the squared norm of all of W in the basis of waves and residual
        directions); ``variance_explained`` (of W h for white h); ``entry_share``, ``exit_share`` (of encoder and
        readout in slot s) and ``newest_share`` (waves that are in slot s, of all: what those two would be of inputs
        and outputs spread evenly); ``gap``, ``condition`` (of Ψ).

        A squared norm is held by what is largest: look at shift and row separately. And where few
        waves persist beside the newest of each line, being in slot s says little: `newest_share` is near 1.

    Raises
    ------
    NoWaveError
        A ValueError: no eigenvalue persists, or what persists is neither written nor read.
    ValueError, TypeError
        If a shape does not fit, or weights are not finite.

    Examples
    --------
    >>> import wavefield as wf
    >>> hidden = np.random.default_rng(0).normal(size=(20, 12))
    >>> net = wf.history.rnn_weights(wf.history.repeat_copy(3, 4), hidden)
    >>> found = recover_waves(*net, length=4)
    >>> found.sizes["wave"], np.abs(found.basis.values - hidden).max() < 1e-10
    (12, np.True_)
    """
    weights = _checked(weight_hh, weight_in, weight_out)
    w, w_in, w_out = weights
    if grounding not in GROUNDINGS:
        raise ValueError(f"grounding must be one of {', '.join(GROUNDINGS)}, got {grounding!r}")
    length = positive_int(length, "length")
    values = _eigenvalues(w)
    rank, gap = _rank(np.abs(values), rank, persistent)
    right, left, core = _invariant(w, values, rank)  # (N, r), (r, N), (r, r)

    if grounding == "history":
        candidates = _powers(np.linalg.inv(core).T, (w_out @ right).T, length)
    else:
        candidates = _powers(core, np.linalg.pinv(w_out @ right) if grounding == "output" else left @ w_in, length)
    lines = candidates.shape[2]
    ages, line = _independent(candidates, rank)
    chosen = candidates[ages, :, line].T  # (r, waves)
    inside = np.linalg.pinv(chosen.T) if grounding == "history" else chosen
    basis, dual = right @ inside, np.linalg.pinv(inside) @ left
    method = f"power iteration grounded in {grounding}, within the {rank} directions that persist"
    waves = _Waves(basis, dual, length - ages, line, length, lines, values, rank, gap, grounding, method)
    return _described(weights, waves)


def published_recovery(weight_hh: ArrayLike, weight_in: ArrayLike, weight_out: ArrayLike, theory: Theory) -> xr.Dataset:
    """Find the wave basis as the published procedure does, which is told the true f.

    Ψ_k = W^{s−k} W_out⁺, columns normalised; column m is dropped if Φ without row and column m has as many eigenvalues
    above 0.8 as before; the dual basis is the pseudo-inverse. Compare it with `recover_waves`, which is not told.

    Parameters
    ----------
    weight_hh, weight_in, weight_out
        As of `recover_waves`.
    theory : system of `wavefield.history` or array_like, shape (s·d, s·d)
        The true Φ, slot-major.

    Returns
    -------
    xarray.Dataset
        As `recover_waves`.

    Raises
    ------
    NoWaveError
        A ValueError: theory needs more waves than there are units, or what is read does not reach them.
    ValueError, TypeError
        If a shape does not fit, weights are not finite, or theory forgets everything.
    """
    weights = _checked(weight_hh, weight_in, weight_out)
    w, _, w_out = weights
    lines = len(w_out)
    phi = _theory(theory, lines)
    length = len(phi) // lines
    blocks = _powers(w, np.linalg.pinv(w_out), length)  # (s, N, d), newest first
    alive = _count_persisting(phi)
    without = (np.delete(np.delete(phi, m, axis=0), m, axis=1) for m in range(len(phi)))
    kept = np.array([m for m, matrix in enumerate(without) if _count_persisting(matrix) < alive], dtype=int)
    if kept.size == 0:
        raise ValueError("theory must keep some of its history: none of its slots matters to an eigenvalue above 0.8")
    if kept.size > len(w):
        raise NoWaveError(f"weight_hh has {len(w)} units, fewer than the {kept.size} waves that theory needs")
    slots, line = kept // lines + 1, kept % lines
    basis = blocks[length - slots, :, line].T
    lengths = np.linalg.norm(basis, axis=0)
    if not lengths.all():
        raise NoWaveError(
            "weight_out must reach every slot that theory needs, weight_hh^k weight_out⁺ vanishes in some"
        )
    basis = basis / lengths
    values = _eigenvalues(w)
    gap = float(_gaps(np.abs(values))[len(kept) - 1])
    method = "published procedure: power iteration grounded in output, slots chosen by the true f"
    dual = np.linalg.pinv(basis)
    waves = _Waves(basis, dual, slots, line, length, lines, values, len(kept), gap, "output", method)
    return _described(weights, waves)


def boundary_agreement(found: xr.Dataset, theory: Theory) -> float:
    """Return how far the boundary row that was found is that of theory: the mean cosine between the two over the lines.

    1 if every line is driven by the entries that theory says, with their signs; what a tanh network compensates by
    gain (|λ| > 1) does not count. 0 for a line whose newest slot, or what drives it, was not found. For a map of
    period s (such as T1) it is not evidence: the last block of any power iteration returns into the first.

    Parameters
    ----------
    found : Dataset
        From `recover_waves` or `published_recovery`.
    theory : system of `wavefield.history` or array_like, shape (s·d, s·d)
        The true Φ, slot-major.

    Raises
    ------
    ValueError, TypeError
        If `found` is not of these functions, or theory has not as many slots and lines.
    """
    check_found(found)
    lines, length = int(found.attrs["lines"]), int(found.attrs["length"])
    phi = _theory(theory, lines, length)
    newest = found["slot"].values == length
    learned = np.zeros((lines, len(phi)))
    at = (found["slot"].values - 1) * lines + found["line"].values
    learned[found["line"].values[newest][:, None], at] = found["operator"].values[newest]
    true = phi[-lines:]
    norms = np.linalg.norm(learned, axis=1) * np.linalg.norm(true, axis=1)
    return float(np.divide((learned * true).sum(axis=1), norms, out=np.zeros(lines), where=norms > 0).mean())


def wave_states(found: xr.Dataset, states: xr.Dataset | xr.DataArray | ArrayLike) -> xr.Dataset:
    """Return hidden states in the wave basis, Ψ* h: the history that the network holds, travelling along its lines.

    Parameters
    ----------
    found : Dataset
        From `recover_waves`.
    states : recording, DataArray or array_like, shape (…, N)
        Hidden states: a recording of them (its channels and positions are the units), or an array (time, N) or
        (trial, time, N).

    Returns
    -------
    xarray.Dataset
        A recording: `activity` (trial, time, channel = line, position = slot − 1), NaN where a line has no such slot.
        The attribute ``variance_explained`` is 1 − ‖h − ΨΨ*h‖² / ‖h‖².
    """
    check_found(found)
    values, coords = _hidden(states, found.sizes["unit"])
    waves = values @ found["dual"].values.T  # (…, time, wave)
    missing = values - waves @ found["basis"].values.T
    total = float((values**2).sum())
    field = np.full((*values.shape[:-1], int(found.attrs["lines"]), int(found.attrs["length"])), np.nan)
    field[..., found["line"].values, found["slot"].values - 1] = waves
    return recording(
        field,
        dims=("trial",) * (values.ndim - 2) + ("time", "channel", "position"),
        coords=coords,
        dx=1.0,
        dt=1.0 if "time" not in coords else None,
        boundary="open",
        position_order="line",
        variance_explained=1 - float((missing**2).sum()) / total if total else float("nan"),
        wave_basis=found.attrs["method"],
    )


# ---- the directions that persist ------------------------------------------------------------------------------------


def _eigenvalues(w):
    """The eigenvalues, the largest first."""
    values = np.linalg.eigvals(w)
    return values[np.argsort(-np.abs(values), kind="stable")]


def _count_persisting(matrix):
    """How many eigenvalues persist by the published definition."""
    return int((np.abs(np.linalg.eigvals(matrix)) > PUBLISHED_PERSISTENT).sum())


def _gaps(moduli):
    """|λ_r| / |λ_{r+1}|: infinite before what is 0, and 1 between zeros."""
    with np.errstate(divide="ignore"):
        return np.divide(moduli, np.append(moduli[1:], 0.0), out=np.ones_like(moduli), where=moduli > 0)


def _rank(moduli, rank, persistent):
    """How many eigenvalues persist, those above the widest relative gap below which all fade; and that gap."""
    if not 0 < persistent <= _LASTING:
        raise ValueError(f"persistent must lie above 0 and be at most {_LASTING}, got {persistent!r}")
    gaps = _gaps(moduli)
    if rank is None:
        allowed = np.flatnonzero((moduli >= persistent) & (np.append(moduli[1:], 0.0) < _LASTING))
        if moduli[0] < persistent:
            raise NoWaveError(
                f"no eigenvalue of weight_hh persists: the largest has modulus {moduli[0]:.3g}, below "
                f"persistent={persistent:g}. Lower it, or give the rank"
            )
        rank = int(allowed[np.argmax(gaps[allowed])]) + 1
    rank = positive_int(rank, "rank")
    if rank > len(moduli):
        raise ValueError(f"rank must be at most the number of units, {len(moduli)}, got {rank}")
    if gaps[rank - 1] < 1 + 1e-9:  # would part a conjugate pair, or one of many equal eigenvalues
        raise ValueError(
            f"rank {rank} cuts between eigenvalues of equal modulus {moduli[rank - 1]:.6g}; choose a rank "
            "at a gap of the spectrum"
        )
    return rank, float(gaps[rank - 1])


def _invariant(w, values, rank):
    """R, L, A with W R = R A, L W = A L, L R = 1: the subspace of the largest eigenvalues, seen from both sides."""
    cut = np.sqrt(np.abs(values[rank - 1]) * np.abs(values[rank])) if rank < len(w) else 0.0
    triangular, vectors, found = linalg.schur(w, sort=lambda x, y=0.0: abs(complex(x, y)) > cut)
    if found != rank:
        raise NoWaveError(f"rank {rank} is not distinguishable: {found} eigenvalues lie above the gap after rounding")
    core, rest = triangular[:rank, :rank], triangular[rank:, rank:]
    if rank == len(w):
        return vectors, vectors.T, core
    mixing = linalg.solve_sylvester(core, -rest, triangular[:rank, rank:])
    left = np.hstack([np.eye(rank), mixing]) @ vectors.T
    return vectors[:, :rank], left, core


def _powers(matrix, start, count):
    """start, matrix·start, …, shape (count, rows, columns)."""
    blocks = [start]
    for _ in range(count - 1):
        blocks.append(matrix @ blocks[-1])
    return np.stack(blocks)


def _independent(candidates, rank):
    """Ages and lines, slot-major (oldest first), of up to `rank` independent candidates (age, r, line).

    A line's next older candidate is considered once its newer ones are in. Of those at least half as independent
    as the most independent one the newest is taken: what is grounded comes before what it turns into.
    """
    count, size, lines = candidates.shape
    norms = np.linalg.norm(candidates, axis=1, keepdims=True)
    unit = np.divide(candidates, norms, out=np.zeros_like(candidates), where=norms > 0)
    age, span, chosen = np.zeros(lines, int), np.zeros((size, 0)), []
    while len(chosen) < rank and (age < count).any():
        open_lines = np.flatnonzero(age < count)
        considered = unit[age[open_lines], :, open_lines].T  # (r, open lines)
        apart = considered - span @ (span.T @ considered)
        apart -= span @ (span.T @ apart)  # twice is enough
        left_over = np.linalg.norm(apart, axis=0)
        if left_over.max() < _DEPENDENT:
            break
        worthy = np.flatnonzero(left_over >= 0.5 * left_over.max())
        best = worthy[np.lexsort((-left_over[worthy], age[open_lines][worthy]))[0]]
        line = open_lines[best]
        span = np.hstack([span, apart[:, best : best + 1] / left_over[best]])
        chosen.append((age[line], line))
        age[line] += 1
    if not chosen:
        raise NoWaveError(
            "weight_in and weight_out do not touch the directions that persist: nothing to ground waves in"
        )
    ages, line = np.array(sorted(chosen, key=lambda pair: (-pair[0], pair[1]))).T
    return ages, line


# ---- what is reported -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Waves:
    """A wave basis that was found, and how."""

    basis: np.ndarray  # Ψ (unit, wave)
    dual: np.ndarray  # Ψ* (wave, unit)
    slots: np.ndarray  # (wave,), from 1
    line: np.ndarray  # (wave,)
    length: int  # slots of a line
    lines: int
    eigenvalues: np.ndarray  # of the recurrence, the largest first
    rank: int  # how many of them persist
    gap: float
    grounding: str
    method: str


def _described(weights: RNNWeights, waves: _Waves) -> xr.Dataset:
    w, w_in, w_out = weights
    basis, dual, slots, line, length = waves.basis, waves.dual, waves.slots, waves.line, waves.length
    operator, encoder, readout = dual @ w @ basis, dual @ w_in, w_out @ basis
    newest = slots == length
    shift = (slots[:, None] + 1 == slots) & (line[:, None] == line)  # (wave, wave_from)
    squares, row = operator**2, np.repeat(newest[:, None], newest.size, axis=1)
    shift_norm, row_norm = squares[shift].sum(), squares[row].sum()
    rest = linalg.null_space(dual)  # (N, directions)
    onto_rest = rest.T - (rest.T @ basis) @ dual  # what is left of a state, in those directions
    outside = [onto_rest @ w @ basis, dual @ w @ rest, onto_rest @ w @ rest]
    total = squares.sum() + sum((block**2).sum() for block in outside)
    numbers = {}
    numbers["shift_share"] = (shift_norm / squares.sum(), "share of the operator's squared norm in the shift")
    numbers["boundary_share"] = (row_norm / squares.sum(), "share of the operator's squared norm in the boundary row")
    numbers["recurrence_share"] = (
        (shift_norm + row_norm) / total,
        "share of the recurrence's squared norm in shift and boundary row, residual directions counted",
    )
    missed = w - basis @ operator @ dual
    numbers["variance_explained"] = (1 - (missed**2).sum() / (w**2).sum(), "share of the variance of W h for white h")
    numbers["entry_share"] = (_share(encoder[newest], encoder), "share of the encoder's squared norm in slot s")
    numbers["exit_share"] = (_share(readout[:, newest], readout), "share of the readout's squared norm in slot s")
    numbers["newest_share"] = (newest.mean(), "share of the waves that are in slot s")
    numbers["gap"] = (waves.gap, "modulus of the last eigenvalue that persists over that of the next")
    numbers["condition"] = (np.linalg.cond(basis), "condition number of the basis")
    persists = np.arange(waves.eigenvalues.size) < waves.rank
    arrays = {
        "basis": (("unit", "wave"), basis, "wave basis"),
        "dual": (("wave", "unit"), dual, "dual basis"),
        "operator": (("wave", "wave_from"), operator, "recurrence in the wave basis"),
        "encoder": (("wave", "input"), encoder, "where inputs enter, in the wave basis"),
        "readout": (("output", "wave"), readout, "what is read, in the wave basis"),
        "residual": (("unit", "direction"), rest, "directions that no wave reads"),
        "residual_operator": (("direction", "direction_from"), outside[2], "recurrence in the residual directions"),
        "modulus": (("mode",), np.abs(waves.eigenvalues), "modulus of the eigenvalues of the recurrence"),
        "angle": (("mode",), np.angle(waves.eigenvalues), "angle of the eigenvalues of the recurrence, radians"),
        "persists": (("mode",), persists.astype(int), "whether the mode persists"),
    }
    data = {name: (dims, array, labelled("1", text)) for name, (dims, array, text) in arrays.items()}
    data |= {name: ((), float(value), labelled("1", text)) for name, (value, text) in numbers.items()}
    coords = {
        "slot": ("wave", slots, labelled("1", "slot, the newest last")),
        "line": ("wave", line, labelled("1", "dimension of the state")),
        "slot_from": ("wave_from", slots, labelled("1", "slot")),
        "line_from": ("wave_from", line, labelled("1", "dimension of the state")),
    }
    attrs = {"method": waves.method, "length": length, "lines": int(waves.lines), "rank": int(waves.rank)}
    attrs |= {"grounding": waves.grounding}
    return xr.Dataset(data, coords, attrs)


def _share(part, everything):
    total = (everything**2).sum()
    return (part**2).sum() / total if total else np.nan


# ---- checks ---------------------------------------------------------------------------------------------------------


def _checked(weight_hh, weight_in, weight_out) -> RNNWeights:
    w, w_in, w_out = (
        real_array(value, name)
        for value, name in ((weight_hh, "weight_hh"), (weight_in, "weight_in"), (weight_out, "weight_out"))
    )
    if w.ndim != 2 or w.shape[0] != w.shape[1] or w.size == 0:
        raise ValueError(f"weight_hh must have shape (N, N), got {w.shape}")
    if w_in.ndim != 2 or len(w_in) != len(w) or w_in.size == 0:
        raise ValueError(f"weight_in must have shape (N, inputs) with N = {len(w)}, got {w_in.shape}")
    if w_out.ndim != 2 or w_out.shape[1] != len(w) or w_out.size == 0:
        raise ValueError(f"weight_out must have shape (outputs, N) with N = {len(w)}, got {w_out.shape}")
    return RNNWeights(w, w_in, w_out)


def check_found(found) -> None:
    """Raise a TypeError if `found` is not a Dataset of `recover_waves` or `published_recovery`."""
    if not isinstance(found, xr.Dataset) or not {"basis", "dual", "operator", "persists"} <= set(found.variables):
        what = f"a Dataset of {', '.join(map(str, found))}" if isinstance(found, xr.Dataset) else type(found).__name__
        raise TypeError(f"found must be a Dataset of recover_waves, got {what}")


def _theory(theory, lines, length=None):
    """Φ, of so many lines and slots; of any number of slots without `length`."""
    known = hasattr(theory, "spectrum")  # a system, which unlike its matrix says how many of each it has
    matrix = real_array(theory.matrix() if known else theory, "theory")
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or matrix.size == 0:
        raise ValueError(f"theory must be a linear system of wavefield.history or a square matrix, got {matrix.shape}")
    slots = len(matrix) / lines if length is None else length
    if len(matrix) != lines * slots or slots % 1 or (known and theory.dimension != lines):
        has = f"{theory.length} slots of {theory.dimension} lines" if known else f"{len(matrix)} rows"
        raise ValueError(f"theory must have {'' if length is None else f'{length} '}slots of {lines} lines, got {has}")
    return matrix


def _hidden(states, units):
    """Hidden states (…, time, N) and the coordinates that they bring."""
    coords = {}
    if isinstance(states, (xr.Dataset, xr.DataArray)):
        field = states["activity"] if isinstance(states, xr.Dataset) else states
        lead = [dim for dim in ("trial", "time") if dim in field.dims]
        coords = {dim: field[dim].variable for dim in lead if dim in field.coords}
        field = field.transpose(*lead, ...)
        states = field.values.reshape(*field.shape[: len(lead)], -1)
    values = real_array(states, "states")
    if values.ndim not in (2, 3) or values.shape[-1] != units:
        raise ValueError(f"states must have shape (time, {units}) or (trial, time, {units}), got {values.shape}")
    return values, coords
