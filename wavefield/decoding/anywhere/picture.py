"""A picture that was shown to a field at a known time, read back from one snapshot.

    y = K X + σ ε,      X ~ N(0, τ²) in every cell:      X̂ = (KᵀK + ρ1)⁻¹ Kᵀ y,   ρ = σ²/τ²

K is what has become of a unit in every cell. Seen with both levels and without damping it is well-conditioned, and X̂
is what running the field back gives. Seen by its displacement alone, damped or noisy, modes that stood near zero are
left out as far as they are noise (Tikhonov); ρ, and σ where it is not known, make the snapshot most probable.

Where the boundaries have fast transforms K is a number for every mode and level. Elsewhere the problem is projected on
the Krylov space of KᵀK and Kᵀy by Golub and Kahan's bidiagonalisation (J. SIAM B 2, 205, 1965), in which it
is a small one of the same form; how many singular values of K there are about each size is estimated from another such
space, of random signs (stochastic Lanczos quadrature; Ubaru, Chen and Saad, SIAM J. Matrix Anal. 38, 1075, 2017).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr
from scipy import sparse

from wavefield.checks import positive_int
from wavefield.decoding.dense import most_probable
from wavefield.decoding.request import Request
from wavefield.operators.operator import WaveOperator
from wavefield.operators.power import advance_modes, can_jump, from_modes, to_modes
from wavefield.recordings.schema import space_dims

_KRYLOV = 200  # dimensions of the space in which a picture is sought where there are no modes
_ROUNDING = 1e-13  # noise that is taken for granted, relative to the snapshot
_QUADRATURE = 60  # and of that from which the singular values are counted


def read_picture(
    snapshot,
    step: int | None = None,
    operator: WaveOperator | None = None,
    *,
    steps: int | None = None,
    source: str | None = None,
    previous=None,
    noise: float | None = None,
) -> xr.Dataset:
    """Read back a picture that was shown to a two-way field at a known time, from one snapshot of it.

        y = K X + σ ε,      X̂ = (KᵀK + ρ1)⁻¹ Kᵀ y

    K being what the field has made of a unit in every cell since. Nothing else may have entered the field.

    Parameters
    ----------
    snapshot : recording or array_like, shape (rings, Ny, Nx), (Ny, Nx) or (trial, rings, Ny, Nx)
        Of a ring or line N stands for (Ny, Nx).
    step : int, optional
        The step whose input was the picture, every cell an input of its own. By default the picture was the initial
        displacement of a field at rest, as ``simulate(…, initial=picture)`` starts it.
    operator : WaveOperator
        What moved the field. Needed with an array, as are `steps`.
    steps : int
        Steps since time 0.
    source : {"pulse", "force"}, optional
        How the field took its input; ``"pulse"`` by default.
    previous : array_like, False, optional
        The level before the snapshot. That of a recording is used unless this is False.
    noise : float, optional
        Standard deviation σ of the noise on the snapshot, estimated by default.

    Returns
    -------
    xarray.Dataset
        `picture` (trial, channel, y, x). Attributes: `noise`, `error` (root mean square standard deviation of a cell),
        `resolution` (share of the picture that the snapshot determines, 0…1), `residual` (root mean square) and
        `method`, "modes" or "krylov"; lists where there are trials.

    Raises
    ------
    ValueError, TypeError
        If an argument does not fit, or the field is not a linear two-way field.

    Examples
    --------
    >>> import numpy as np, wavefield as wf
    >>> picture = np.zeros((16, 16))
    >>> picture[4:9, 5] = picture[8, 5:10] = 1.0
    >>> rec = wf.simulate(wf.wave(0.6, dims=2), initial=picture[None], steps=50, save_every=None)
    >>> back = wf.read_picture(rec)
    >>> bool(np.abs(back.picture[0] - picture).max() < 1e-6)
    True
    """
    request = Request.of(
        snapshot,
        operator,
        steps=steps,
        source=source,
        previous=previous,
        noise=noise,
        nonnegative=False,
        anywhere=True,
        from_rest=step is not None,
    )
    operator, shape = request.operator, request.shape
    if operator.levels != 2 or operator.rim:
        raise ValueError(f"a picture is read from a two-way field without an absorbing rim, got {operator!r}")
    if step is not None and positive_int(step, "step", 0) >= request.steps:
        raise ValueError(
            f"step must be one of the {request.steps} steps of the field, 0…{request.steps - 1}, got {step}"
        )
    shown = _Shown(
        operator, shape, request.steps if step is None else request.steps - 1 - step, step is None, request.pulse
    )
    read = _by_modes if can_jump(operator) and operator.diagonal else _by_krylov
    found = [read(shown, _levels(request, *levels), request.both, request.noise) for levels in request.snapshots]
    pictures = np.stack([picture.reshape(operator.rings, *shape) for picture, _ in found])
    space = space_dims(operator.dims)
    coords = {
        dim: (dim, np.arange(n) * spacing, {"units": "1", "long_name": dim})
        for dim, n, spacing in zip(space, shape, operator.spacings, strict=True)
    }
    attrs = {name: [facts[name] for _, facts in found] for name in found[0][1]}
    attrs = attrs if request.trials else {name: values[0] for name, values in attrs.items()}
    dims = ("trial",) * request.trials + ("channel", *space)
    about = {"units": "1", "long_name": "picture that was shown"}
    picture = xr.DataArray(pictures if request.trials else pictures[0], coords, dims, attrs=about)
    method = {"method": "modes" if read is _by_modes else "krylov", "steps": request.steps}
    return xr.Dataset({"picture": picture}, attrs=method | ({} if step is None else {"step": step}) | attrs)


@dataclass(frozen=True)
class _Shown:
    """When and how a picture was shown: so many steps ago, as a state at rest or as an input."""

    operator: WaveOperator
    shape: tuple
    age: int
    at_rest: bool
    pulse: bool

    @property
    def taken_back(self) -> bool:
        """Whether the input is taken back two steps later."""
        return not self.at_rest and self.pulse and self.age >= 2


def _levels(request, now, before):
    """Return the levels of a snapshot, (levels, rings, *positions)."""
    levels = [now] if before is None else [now, before]
    return np.stack(levels).reshape(len(levels), request.operator.rings, *request.shape)


# ---- by modes -----------------------------------------------------------------------------------------------------


def _by_modes(shown: _Shown, levels, both, noise):
    """Picture (rings, *positions) and facts, mode by mode."""
    op, shape = shown.operator, shown.shape
    seen, response = to_modes(levels, op.boundaries), _mode_responses(shown)[: len(levels)]  # (levels, rings, *modes)
    square = (np.abs(response) ** 2).sum(axis=0)
    along = (response.conj() * seen).sum(axis=0)
    # coordinates whose squares add up to the power of the snapshot: every mode weighs as much as its own norm
    total = (np.abs(seen) ** 2).sum()
    weight = np.broadcast_to(_multiplicity(op, shape), square.shape)
    unit = (levels**2).sum() / max((weight * np.abs(seen) ** 2).sum(), 1e-300) if total else 0.0
    coordinate2 = unit * np.abs(along) ** 2 / np.maximum(square, 1e-300)
    twice = weight > 1
    s = np.sqrt(np.concatenate([square.ravel(), square[twice]]))
    u = np.sqrt(np.concatenate([coordinate2.ravel(), coordinate2[twice]]))
    spectrum = s, np.ones(s.size)
    picture, facts = _regularised(s, u, spectrum, levels.size, s.size, noise, lambda r: along / (square + r), levels)
    picture = from_modes(picture, op.boundaries, shape)
    return picture, facts


def _mode_responses(shown: _Shown):
    """What a unit of every mode has become, on both levels, (2, rings, *modes)."""
    op = shown.operator
    ones = np.ones_like(to_modes(np.zeros(shown.shape), op.boundaries))
    state = np.zeros((op.rings, 2, *ones.shape), ones.dtype)
    state[:, 0] = ones
    if shown.at_rest:
        moved = advance_modes(op, state.reshape(-1, *ones.shape), 1, shown.shape).reshape(state.shape)[:, 0]
        state[:, 1] = moved / (1 + op.previous_weight.reshape(-1, *(1,) * ones.ndim))
    flat = state.reshape(-1, *ones.shape)
    response = advance_modes(op, flat, shown.age, shown.shape)
    if shown.taken_back:
        response = response - advance_modes(op, flat, shown.age - 2, shown.shape)
    return np.moveaxis(response.reshape(state.shape), 1, 0)


def _multiplicity(op, shape):
    """How often each mode counts: those of which a half spectrum holds one of two, twice."""
    modes = to_modes(np.zeros(shape), op.boundaries).shape
    weight = np.ones(modes)
    if op.boundaries[-1] == "periodic":
        weight[..., 1 : (shape[-1] + 1) // 2] = 2.0
    return weight


# ---- by stepping --------------------------------------------------------------------------------------------------


def _by_krylov(shown: _Shown, levels, both, noise):
    """Picture (rings, *positions) and facts, in the Krylov space of what is seen."""
    op, count = shown.operator, int(np.prod(shown.shape))
    step = op.matrix(shown.shape)
    back = sparse.csr_array(step.T)
    mask = np.ones(count) if op.mask is None else op.mask.ravel().astype(float)
    rest = sparse.diags_array(1 / (1 + np.ravel(op.local_previous_weight(shown.shape)))) if shown.at_rest else None

    def lifted(x):
        state = np.zeros((op.rings, 2, count))
        state[:, 0] = x.reshape(op.rings, count) * mask
        if rest is not None:
            moved = (step @ state.ravel()).reshape(state.shape)[:, 0]
            state[:, 1] = (rest @ moved.ravel()).reshape(op.rings, count)
        return state.ravel()

    def lowered(state):
        state = state.reshape(op.rings, 2, count)
        x = state[:, 0].copy()
        if rest is not None:
            moved = np.zeros_like(state)
            moved[:, 0] = (rest.T @ state[:, 1].ravel()).reshape(op.rings, count)
            x += (back @ moved.ravel()).reshape(state.shape)[:, 0]
        return (x * mask).ravel()

    def forward(x):
        state, taken = lifted(x), 0.0
        for n in range(shown.age + 1):
            if shown.taken_back and n == shown.age - 2:
                taken = state
            if n < shown.age:
                state = step @ state
        return np.moveaxis((state - taken).reshape(op.rings, 2, count), 1, 0)[: len(levels)].ravel()

    def adjoint(y):
        state = np.zeros((op.rings, 2, count))
        state[:, : len(levels)] = np.moveaxis(y.reshape(len(levels), op.rings, count), 0, 1)
        state, taken = state.ravel(), 0.0
        for n in range(shown.age + 1):
            if shown.taken_back and n == shown.age - 2:
                taken = state
            if n < shown.age:
                state = back @ state
        return lowered(state - taken)

    inside = np.tile(mask, op.rings * len(levels))
    values, cells = int(inside.sum()), int(mask.sum()) * op.rings
    basis, bidiagonal, start = _golub_kahan(forward, adjoint, levels.ravel() * inside, min(_KRYLOV, cells))
    left, s, right = np.linalg.svd(bidiagonal, full_matrices=False)
    along = start * left[0]
    signs = np.random.default_rng(0).choice([-1.0, 1.0], inside.size) * inside
    measured = np.linalg.svd(_golub_kahan(forward, adjoint, signs, min(_QUADRATURE, cells))[1], full_matrices=False)
    share = measured[0][0] ** 2
    spectrum = measured[1], cells * share / max(share.sum(), 1e-300)
    picture, facts = _regularised(
        s, along, spectrum, values, cells, noise, lambda r: (right.T * (s / (s**2 + r))) @ along, levels
    )
    return basis.T @ picture, facts


def _golub_kahan(forward, adjoint, y, most):
    """Orthonormal basis (k, cells) of pictures, the bidiagonal (k + 1, k) form of K in it, and |y|."""
    start = np.linalg.norm(y)
    if start == 0:
        return np.zeros((1, adjoint(y).size)), np.zeros((2, 1)), 0.0
    left, right, alphas, betas = [y / start], [], [], []
    for _ in range(most):
        v = adjoint(left[-1]) - (betas[-1] * right[-1] if right else 0.0)
        for _ in range(2):  # rounding would lose the orthogonality
            v -= np.transpose(right) @ (np.array(right) @ v) if right else 0.0
        if (alpha := np.linalg.norm(v)) <= 1e-12 * (alphas[0] if alphas else start):
            break
        alphas.append(alpha)
        right.append(v / alpha)
        u = forward(right[-1]) - alpha * left[-1]
        for _ in range(2):
            u -= np.transpose(left) @ (np.array(left) @ u)
        betas.append(np.linalg.norm(u))
        left.append(u / max(betas[-1], 1e-300))
        if betas[-1] <= 1e-12 * alphas[0]:
            break
    k = len(alphas)
    form = np.zeros((k + 1, k))
    form[np.arange(k), np.arange(k)], form[1 + np.arange(k), np.arange(k)] = alphas, betas[:k]
    return np.array(right), form, start


# ---- common -------------------------------------------------------------------------------------------------------


def _regularised(s, u, spectrum, values, cells, noise, solve, levels):
    """Return the picture that `solve(ρ)` gives at the most probable ρ, and facts.

    s and u are singular values and the coordinates of the snapshot along them, `spectrum` all singular values and how
    often each counts, `values` and `cells` the numbers of values seen and of cells sought.
    """
    scale = np.abs(levels).max()
    if scale == 0:
        return solve(1.0) * 0, {"noise": float(noise or 0), "error": 0.0, "resolution": 0.0, "residual": 0.0}
    noise = None if noise is None else max(noise, _ROUNDING * scale)
    outside = max((levels**2).sum() - (u**2).sum(), 0.0)
    variance, spread = most_probable([(s, u)], outside, values - s.size, noise, scale, spectrum)
    ratio = variance / spread
    known = float(spectrum[1] @ (spectrum[0] ** 2 / (spectrum[0] ** 2 + ratio))) / cells
    left = ((ratio / (s**2 + ratio) * u) ** 2).sum() + outside
    return solve(ratio), {
        "noise": float(np.sqrt(variance)),
        "error": float(np.sqrt(spread * max(1 - known, 0.0))),
        "resolution": min(known, 1.0),
        "residual": float(np.sqrt(left / values)),
    }
