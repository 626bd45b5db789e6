"""The equations of the field as wave operators: one-way transport, the two-way wave, and no wave at all."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from wavefield.checks import finite_vector, plain_array, positive, positive_int, real_array
from wavefield.operators.operator import WaveOperator, speed_profile
from wavefield.operators.step_matrix import conductance


def transport(
    speed: ArrayLike = 1.0,
    *,
    gain: ArrayLike = 1.0,
    direction: float | ArrayLike | None = None,
    boundary: str | tuple[str, str] = "periodic",
    dx: float | tuple[float, float] = 1.0,
    dt: float = 1.0,
    profile: ArrayLike | None = None,
) -> WaveOperator:
    """One-way wave, ∂h/∂t = −speed·∂h/∂x, by first order upwind differences; exact where |speed|·dt/dx = 1.

        h_n[t+1] = gain·( ν h_{n∓1} + (1 − ν) h_n ),     ν = |speed|·dt/dx,     upper sign for speed > 0

    With a direction it is the wave of a sheet, ∂h/∂t = −v·∇h: the step along y after that along x (corner transport
    upwind; Colella, J. Comput. Phys. 87, 171, 1990), exact where both Courant numbers are −1, 0 or 1, so along the axes
    at speed dx/dt and along the diagonals at √2·dx/dt.

    Parameters
    ----------
    speed : float or array_like, shape (rings,)
        Signed; a positive speed travels to +x. The u-shift of Keller et al. (ICLR 2024) is ``transport(-1)``.
    gain : float
        Factor on the kernel: below 1 the ring fades.
    direction : float or pair of floats, optional
        Of a sheet: where it travels, in radians counter-clockwise from +x with y up, or as a vector (y, x) of any
        length.
    boundary : {"periodic", "fixed", "absorbing", "open"}
        Of a sheet one for both axes or a pair (y, x), without "open".
    dx, dt : float
        Of a sheet dx may be a pair (dy, dx).
    profile : array_like, shape (N,), optional
        Speed at each position relative to `speed`.

    Returns
    -------
    WaveOperator

    Raises
    ------
    ValueError
        If a Courant number |speed|·dt/dx exceeds 1; the text gives the largest stable step.

    Examples
    --------
    >>> transport(-1.0).kernel.tolist()
    [[[0.0, 0.0, 1.0]]]
    >>> transport(0.9).courant.tolist()
    [0.9]
    >>> transport(2**0.5, direction=np.pi / 4).kernel[0, 0].tolist()
    [[1.0, 0.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]
    """
    speed, gain = finite_vector(speed, "speed"), finite_vector(gain, "gain")
    speed, gain = _broadcast(speed=speed, gain=gain)
    if direction is not None:
        return _transport_on_sheet(speed, gain, direction, boundary, dx, dt, profile)
    dx, dt = positive(dx, "dx"), positive(dt, "dt")
    profile = None if profile is None else speed_profile(profile, 1)
    nu = speed * dt / dx
    _check_courant(nu, speed, 1.0, dx, profile)
    return WaveOperator(_on_diagonal(gain[:, None] * _upwind(nu)), boundary, dx, dt, profile=profile)


def _transport_on_sheet(speed, gain, direction, boundary, dx, dt, profile):
    if profile is not None:
        raise ValueError("profile of a sheet needs a two-way wave")
    unit = _unit_vector(direction)
    spacings, dt = np.broadcast_to(_spacings(dx), 2), positive(dt, "dt")
    nu = speed[:, None] * dt * unit / spacings  # (rings, 2)
    whole = np.rint(nu)
    nu = np.where(np.abs(nu - whole) < 1e-15 * 4, whole, nu)  # √2 and cosines round, what they stand for is exact
    if (np.abs(nu) > 1).any():
        largest = dt / np.abs(nu).max()
        raise ValueError(
            f"the Courant numbers |speed|·dt/dx along (y, x) are {np.abs(nu).max(axis=0).tolist()}, above the limit 1: "
            f"the scheme would grow without bound. The largest stable dt is {largest:g}"
        )
    along_y, along_x = _upwind(nu[:, 0]), _upwind(nu[:, 1])
    taps = gain[:, None, None] * along_y[:, :, None] * along_x[:, None, :]
    return WaveOperator(_on_diagonal(taps), boundary, dx, dt)


def _upwind(nu):
    """Taps of the upwind step of each ring, (rings, 3)."""
    return np.stack([np.maximum(nu, 0), 1 - np.abs(nu), np.maximum(-nu, 0)], axis=1)


def _unit_vector(direction):
    """Unit vector (y, x) of a direction given as an angle or a vector."""
    given = real_array(direction, "direction")
    if given.shape not in ((), (2,)) or (given.shape == (2,) and not given.any()):
        raise ValueError(f"direction must be an angle in radians or a vector (y, x), got {direction!r}")
    return np.array([np.sin(given), np.cos(given)]) if given.ndim == 0 else given / np.hypot(*given)


def _spacings(dx):
    """dx as a number or a pair, checked."""
    if np.ndim(dx) == 0:
        return positive(dx, "dx")
    if np.shape(dx) != (2,):
        raise ValueError(f"dx of a sheet must be a number or a pair (dy, dx), got {dx!r}")
    return tuple(positive(d, "dx") for d in dx)


def wave(
    speed: ArrayLike = 1.0,
    damping: ArrayLike = 0.0,
    *,
    restoring: ArrayLike = 0.0,
    dims: int = 1,
    order: int = 2,
    isotropic: bool = False,
    boundary: str | tuple[str, str] = "periodic",
    dx: float | tuple[float, float] = 1.0,
    dt: float = 1.0,
    profile: ArrayLike | None = None,
    damping_profile: ArrayLike | None = None,
    restoring_profile: ArrayLike | None = None,
    density: ArrayLike | None = None,
    mask: ArrayLike | None = None,
    edge: str = "fixed",
    rim: int = 20,
) -> WaveOperator:
    """Two-way wave, ∂²h/∂t² = c²∇²h − ω²h − γ∂h/∂t, by leapfrog; exact on a line where c·dt/dx = 1, γ = ω = 0, order 2.

        (1 + γdt/2)·h[t+1] = 2h[t] + r²·L h[t] − (ωdt)²·h[t] − (1 − γdt/2)·h[t−1],      r = c·dt/dx

    with L the centred second difference of the given order, on a sheet along both axes, or the nine-point stencil whose
    leading error does not depend on the direction. No Courant number is exact in all directions of a sheet; the
    five-point stencil at r = 1/√2 is along the diagonals.

    Parameters
    ----------
    speed : float or array_like, shape (rings,)
        c > 0.
    damping : float or array_like, shape (rings,)
        γ ≥ 0, per unit of time.
    restoring : float or array_like, shape (rings,)
        ω² ≥ 0, per unit of time squared: no wave is slower than ω/2π (Klein–Gordon).
    dims : {1, 2}
        1 for a ring or line, 2 for a sheet.
    order : {2, 4, 6, 8}
        Order of the stencil in space. The error in time stays of second order.
    isotropic : bool
        Whether a sheet of order 2 takes the nine-point stencil, weights (1/6, 4/6, −20/6).
    boundary : {"periodic", "fixed", "free", "absorbing"}
        Of a sheet one for both axes or a pair (y, x).
    dx, dt : float
        Of a sheet dx may be a pair (dy, dx).
    profile : array_like, shape (N,) or (Ny, Nx), optional
        Speed at each position relative to `speed`; the equation is then in conservative form (order 2).
    damping_profile, restoring_profile : array_like, shape (N,), optional
        Damping at each position, per unit of time, beside `damping`, and restoring force ω², per unit of time squared
        (order 2); `absorbing_layer` makes both.
    density : array_like, shape (N,), optional
        ρ at each position, in any unit (order 2). The equation is then ρ ∂²h/∂t² = ∂/∂x(ρc² ∂h/∂x) − ργ ∂h/∂t, of a
        string of tension ρc²; where the impedance ρc changes a part (Z₁ − Z₂)/(Z₁ + Z₂) of a wave is sent back.
    mask : array_like of bool, shape (Ny, Nx), optional
        Where the sheet is: a drum of any shape.
    edge : {"fixed", "free"}
        What the edge of the mask does.
    rim : int
        Cells of the layers in which waves fade at each absorbing end of a sheet.

    Returns
    -------
    WaveOperator
        Of two levels: its channels are (h[t], h[t−1]) of each ring.

    Raises
    ------
    ValueError
        If a Courant number exceeds the limit of the stencil, 2/√(Σ|a_k|): 1, 0.8660, 0.8135, 0.7844; on a sheet that
        divided by √2, and 0.8660 with the nine-point stencil. A restoring force lowers it: r²·(2/limit)² + (ωdt)² ≤ 4.

    Notes
    -----
    Absorbing ends are of first order in γ over the angular frequency ω: they send back (γ/4ω)² of a wave, measured at
    Courant 1 and 20 cells a wavelength 0.0002, 0.0008 and 0.009 for γ·dt = 0.01, 0.03 and 0.1, beside what the stencil
    sends back without damping (nothing at Courant 1; for 10, 20 and 40 cells 0.01, 0.002 and 0.0006 at 0.8, and of
    order 8 at 0.7 0.04, 0.005 and 0.0007). What varies more slowly than γ does not travel but spreads, and is not
    absorbed: of a hump at rest, exp(−(n/8)²), 200 cells from the end, 0.2 %, 2 % and 19 % of the height that arrives
    come back for γ·dt = 0.003, 0.01 and 0.03. That is no matter of this end: a layer narrower than the spread
    sends it back as well. Below Courant 1 `absorbing_layer` lets less of a wave back, at the cost of positions.

    Examples
    --------
    >>> wave(1.0).kernel.tolist()
    [[[1.0, 0.0, 1.0], [0.0, -1.0, 0.0]], [[0.0, 1.0, 0.0], [0.0, 0.0, 0.0]]]
    """
    speed, damping = finite_vector(speed, "speed"), finite_vector(damping, "damping")
    restoring = finite_vector(restoring, "restoring")
    dx, dt = _spacings(dx), positive(dt, "dt")
    speed, damping, restoring = _broadcast(speed=speed, damping=damping, restoring=restoring)
    if dims not in (1, 2):
        raise ValueError(f"dims must be 1 or 2, got {dims!r}")
    if (speed <= 0).any():
        raise ValueError(f"speed of a two-way wave must be positive, got {speed.min():g}; it travels both ways")
    if (damping < 0).any():
        raise ValueError(f"damping must not be negative, got {damping.min():g}")
    if (restoring < 0).any():
        raise ValueError(f"restoring must not be negative, got {restoring.min():g}: the field would run away")
    if (damping * dt >= 2).any():
        raise ValueError(f"damping·dt must be below 2, or the field flips at every step, got {(damping * dt).max():g}")
    if boundary == "open":
        raise ValueError("boundary='open' belongs to one-way fields; let a two-way wave leave through 'absorbing'")
    profile = None if profile is None else speed_profile(profile, dims)
    medium: dict[str, Any] = {
        "damping_profile": damping_profile,
        "restoring_profile": restoring_profile,
        "density": density,
    }
    if order != 2 and any(part is not None for part in (profile, *medium.values())):
        raise ValueError(
            f"order must be 2 with a speed profile, or one of damping, restoring force or density, got {order}"
        )
    stencil = _laplacian(dims, order, isotropic, dx)  # in units of 1/dx² of the x axis
    spacing = dx if np.ndim(dx) == 0 else dx[1]
    r = speed * dt / spacing
    _check_courant(r, speed, _limit(stencil), spacing, profile, restoring * dt**2)
    half = damping * dt / 2
    centre = np.zeros(stencil.shape)
    centre[tuple(width // 2 for width in stencil.shape)] = 1
    over = (slice(None), *(None,) * dims)
    taps = (2 * centre + (r**2)[over] * stencil - (restoring * dt**2)[over] * centre) / (1 + half)[over]
    kernel = np.zeros((2 * speed.size, 2 * speed.size, *stencil.shape))
    now, before = np.arange(0, 2 * speed.size, 2), np.arange(1, 2 * speed.size, 2)
    kernel[now, now] = taps
    kernel[(now, before, *(width // 2 for width in stencil.shape))] = -(1 - half) / (1 + half)
    kernel[before, now] = centre
    absorbs = dims == 2 and "absorbing" in (boundary if isinstance(boundary, (tuple, list)) else (boundary,))
    operator = WaveOperator(
        kernel,
        boundary,
        dx,
        dt,
        levels=2,
        profile=profile,
        **medium,
        mask=None if mask is None else plain_array(mask, "mask"),
        edge=edge,
        rim=rim if absorbs else 0,
    )
    if density is not None:
        _check_contrast(operator)
    return operator


def absorbing_layer(
    size: int,
    cells: int = 20,
    *,
    speed: float = 1.0,
    damping: float = 0.0,
    dx: float = 1.0,
    reflection: float = 1e-3,
) -> dict[str, np.ndarray]:
    """Layers at both ends of a line in which an outgoing wave fades without being reflected.

        ∂²h/∂t² = c²∂²h/∂x² − (γ + 2σ) ∂h/∂t − (σ² + γσ − cσ′)h,      σ(d) = 3c/(2D)·ln(1/R)·(d/D)²

    with d the depth in the layer of thickness D. A wave on its way out, h = f(x − ct)·F with F = e^{−∫σ/c dx}, solves
    it exactly whatever its wavelength where γ = 0, and to first order in γ over its frequency: the layer is matched.
    What comes back from its end has faded by R. The force is
    taken as c²·(F_{i+1} − 2F_i + F_{i−1})/(F_i dx²), so that a field at rest, F, is one of the scheme too. The layers
    are for absorbing ends, or fixed ones; where a layer begins the force drives the field away from zero, and between
    free ends a mode would grow.

    Parameters
    ----------
    size : int
        Positions N of the line, the layers among them.
    cells : int
        Positions of each layer.
    speed, damping, dx : float
        As of the `wave` that it is meant for.
    reflection : float
        R, between 0 and 1.

    Returns
    -------
    dict
        `damping_profile` and `restoring_profile`, each (N,), to be given to `wave` as they are.

    Notes
    -----
    Measured with wave packets at Courant numbers 0.5 to 1: twenty cells and R = 10⁻³ before an absorbing end send back
    at most 0.0006 of waves of 8 to 20 cells and 0.0013 of waves of 30 to 80. Damping alone, without the matching force,
    sends back more than a tenth of waves of 40.

    What varies more slowly than γ spreads like heat instead of travelling, and a layer takes it up only as far as it is
    as wide as the spread. Of a hump at rest, exp(−(n/8)²), 200 cells from the end, 0.2 %, 1.6 % and 15 % of the height
    that arrives come back from 20 cells for γ·dt = 0.003, 0.01 and 0.03, and 0.2 %, 1.4 % and 9 % from 60.

    Examples
    --------
    >>> op = wave(0.9, boundary="absorbing", **absorbing_layer(200, 20, speed=0.9))
    >>> op.damping_profile[[0, 19, 20]].round(4).tolist()
    [0.9325, 0.0023, 0.0]
    """
    size, cells = positive_int(size, "size"), positive_int(cells, "cells")
    speed, dx, reflection = positive(speed, "speed"), positive(dx, "dx"), positive(reflection, "reflection")
    if not (np.isfinite(damping) and damping >= 0):
        raise ValueError(f"damping must be a finite number, not negative, got {damping!r}")
    if 2 * cells > size:
        raise ValueError(f"cells must be at most half the size, got two layers of {cells} on {size} positions")
    if reflection >= 1:
        raise ValueError(f"reflection must lie below 1, got {reflection:g}")
    position = np.arange(-1, size + 1)
    depth = np.maximum(cells - np.minimum(position, size - 1 - position), 0) / cells  # d/D
    strength = np.log(1 / reflection) / 2
    sigma = 3 * strength * speed / (cells * dx) * depth[1:-1] ** 2
    outgoing = strength * depth**3  # F = e^{−outgoing}
    force = np.expm1(outgoing[1:-1] - outgoing[2:]) + np.expm1(outgoing[1:-1] - outgoing[:-2])
    return {"damping_profile": 2 * sigma, "restoring_profile": (speed / dx) ** 2 * force + damping * sigma}


def static(
    *,
    dims: int = 1,
    boundary: str | tuple[str, str] = "periodic",
    dx: float | tuple[float, float] = 1.0,
    dt: float = 1.0,
) -> WaveOperator:
    """No wave: the identity, under which every input stays where it entered (the static bump, a control)."""
    if dims not in (1, 2):
        raise ValueError(f"dims must be 1 or 2, got {dims!r}")
    kernel = np.zeros((3,) * dims)
    kernel[(1,) * dims] = 1.0
    return WaveOperator(kernel, boundary, dx, dt)


def second_difference(order: int) -> np.ndarray:
    """Centred second difference of the given order on order + 1 points (unit spacing).

        a_k = 2(−1)^{k+1} (M!)² / (k² (M−k)! (M+k)!),   k = 1…M = order/2,   a_0 = −2 Σ a_k

    Examples
    --------
    >>> second_difference(2).tolist()
    [1.0, -2.0, 1.0]
    """
    if order not in (2, 4, 6, 8):
        raise ValueError(f"order must be 2, 4, 6 or 8, got {order!r}")
    half = order // 2
    ratio, side = 1.0, []
    for k in range(1, half + 1):
        ratio *= (half - k + 1) / (half + k)  # (M!)² / ((M−k)! (M+k)!)
        side.append(2 * (-1) ** (k + 1) * ratio / k**2)
    return np.array([*side[::-1], -2 * sum(side), *side])


def courant_limit(order: int = 2, *, dims: int = 1, isotropic: bool = False) -> float:
    """Largest stable Courant number of leapfrog with the stencil of that order: 2/√Λ, Λ the largest symbol of −L.

    Examples
    --------
    >>> [round(courant_limit(order, dims=2), 3) for order in (2, 4, 6, 8)]
    [0.707, 0.612, 0.575, 0.555]
    """
    if dims not in (1, 2):
        raise ValueError(f"dims must be 1 or 2, got {dims!r}")
    return _limit(_laplacian(dims, order, isotropic, 1.0))


def _laplacian(dims, order, isotropic, dx):
    """Stencil of ∇² times the squared spacing of the x axis, (K,) or (Ky, Kx)."""
    along = second_difference(order)
    if isotropic and (dims == 1 or order != 2 or np.ndim(dx)):
        raise ValueError("isotropic needs a sheet (dims=2) of order 2 with one dx for both axes")
    if dims == 1:
        if np.ndim(dx):
            raise ValueError(f"dx of a line must be a number, got {dx!r}")
        return along
    if isotropic:
        return np.array([[1.0, 4.0, 1.0], [4.0, -20.0, 4.0], [1.0, 4.0, 1.0]]) / 6
    stencil = np.zeros((order + 1, order + 1))
    stencil[order // 2] += along
    stencil[:, order // 2] += along * (1.0 if np.ndim(dx) == 0 else (dx[1] / dx[0]) ** 2)
    return stencil


def _limit(stencil):
    """2/√Λ; Λ is taken where every neighbour but the corners of the nine-point stencil is in antiphase."""
    if stencil.ndim == 1 or not stencil[::2, ::2][0, 0]:
        return float(2 / np.sqrt(np.abs(stencil).sum()))
    y, x = np.indices(stencil.shape)
    return float(2 / np.sqrt(-(stencil * (-1.0) ** (y + x)).sum()))


def _check_courant(courant, speed, limit, dx, profile, restoring=0.0):
    """Refuse a Courant number above the limit; rounding of dt·speed/dx in the last place is let pass.

    A restoring force w = (ωdt)² takes its part of the room: r²Λ + w ≤ 4, Λ = (2/limit)².
    """
    local = np.abs(courant) * (1.0 if profile is None else np.max(np.abs(profile), initial=0.0))
    room = np.hypot(local / limit, np.sqrt(restoring) / 2)
    if (room > 1 + 4 * np.finfo(float).eps).any():
        worst = int(np.argmax(room))
        largest = limit * dx / (np.abs(speed[worst]) * local[worst] / np.abs(courant[worst]))
        force = ""
        if np.any(restoring):
            largest /= room[worst] * limit / local[worst]
            force = f" with a restoring force of (ω·dt)² = {np.broadcast_to(restoring, room.shape)[worst]:g}"
        raise ValueError(
            f"the Courant number |speed|·dt/dx is {local[worst]:g}, above the limit {limit:g} of this stencil{force}: "
            f"the scheme would grow without bound. The largest stable dt is {largest:g}"
        )


def _check_contrast(operator):
    """Refuse a density that changes so fast that the scheme could grow, by Gershgorin's bound on its stiffness."""
    size = operator.density.size
    g, root = conductance(operator, size), np.sqrt(operator.density)
    left, right = g[:, :-1] / root, g[:, 1:] / root
    bound = ((left + right) / root + left / np.roll(root, 1) + right / np.roll(root, -1)).max()
    if bound > 4 * (1 + 8 * np.finfo(float).eps):
        raise ValueError(
            f"density changes so fast that the scheme may grow without bound at this Courant number. With dt at most "
            f"{operator.dt * 2 / np.sqrt(bound):g} it does not"
        )


def _broadcast(**vectors):
    sizes = {v.size for v in vectors.values()} - {1}
    if len(sizes) > 1:
        given = ", ".join(f"{name} {v.size}" for name, v in vectors.items())
        raise ValueError(f"{' and '.join(vectors)} must agree in their number of rings, got {given}")
    return np.broadcast_arrays(*vectors.values())


def _on_diagonal(taps):
    kernel = np.zeros((len(taps), *taps.shape))
    kernel[np.arange(len(taps)), np.arange(len(taps))] = taps
    return kernel
