"""The equations of the field as wave operators: one-way transport, the two-way wave, and no wave at all."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from wavefield.checks import finite_vector, positive, positive_int, real_array
from wavefield.operators.operator import WaveOperator
from wavefield.operators.step_matrix import conductance


def transport(
    speed: ArrayLike = 1.0,
    *,
    gain: ArrayLike = 1.0,
    boundary: str = "periodic",
    dx: float = 1.0,
    dt: float = 1.0,
    profile: ArrayLike | None = None,
) -> WaveOperator:
    """One-way wave, ∂h/∂t = −speed·∂h/∂x, by first order upwind differences; exact where |speed|·dt/dx = 1.

        h_n[t+1] = gain·( ν h_{n∓1} + (1 − ν) h_n ),     ν = |speed|·dt/dx,     upper sign for speed > 0

    Parameters
    ----------
    speed : float or array_like, shape (rings,)
        Signed; a positive speed travels to +x. The u-shift of Keller et al. (ICLR 2024) is ``transport(-1)``.
    gain : float
        Factor on the kernel: below 1 the ring fades.
    boundary : {"periodic", "fixed", "absorbing", "open"}
    dx, dt : float
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
    """
    speed, gain = finite_vector(speed, "speed"), finite_vector(gain, "gain")
    dx, dt = positive(dx, "dx"), positive(dt, "dt")
    speed, gain = _broadcast(speed=speed, gain=gain)
    profile = None if profile is None else np.asarray(profile)
    nu = speed * dt / dx
    _check_courant(nu, speed, 1.0, dx, profile)
    taps = gain[:, None] * np.stack([np.maximum(nu, 0), 1 - np.abs(nu), np.maximum(-nu, 0)], axis=1)
    return WaveOperator(_on_diagonal(taps), boundary, dx, dt, profile=profile)


def wave(
    speed: ArrayLike = 1.0,
    damping: ArrayLike = 0.0,
    *,
    order: int = 2,
    boundary: str = "periodic",
    dx: float = 1.0,
    dt: float = 1.0,
    profile: ArrayLike | None = None,
    damping_profile: ArrayLike | None = None,
    restoring_profile: ArrayLike | None = None,
    density: ArrayLike | None = None,
) -> WaveOperator:
    """Two-way wave, ∂²h/∂t² = c²∂²h/∂x² − γ∂h/∂t, by leapfrog; exact where c·dt/dx = 1, order = 2 and γ = 0.

        (1 + γdt/2)·h[t+1] = 2h[t] + r²·L h[t] − (1 − γdt/2)·h[t−1],      r = c·dt/dx

    with L the centred second difference of the given order.

    Parameters
    ----------
    speed : float or array_like, shape (rings,)
        c > 0.
    damping : float or array_like, shape (rings,)
        γ ≥ 0, per unit of time.
    order : {2, 4, 6, 8}
        Order of the stencil in space. The error in time stays of second order.
    boundary : {"periodic", "fixed", "free", "absorbing"}
    dx, dt : float
    profile : array_like, shape (N,), optional
        Speed at each position relative to `speed`; the equation is then in conservative form (order 2).
    damping_profile, restoring_profile : array_like, shape (N,), optional
        Damping at each position, per unit of time, beside `damping`, and restoring force ω², per unit of time squared
        (order 2); `absorbing_layer` makes both.
    density : array_like, shape (N,), optional
        ρ at each position, in any unit (order 2). The equation is then ρ ∂²h/∂t² = ∂/∂x(ρc² ∂h/∂x) − ργ ∂h/∂t, of a
        string of tension ρc²; where the impedance ρc changes a part (Z₁ − Z₂)/(Z₁ + Z₂) of a wave is sent back.

    Returns
    -------
    WaveOperator
        Of two levels: its channels are (h[t], h[t−1]) of each ring.

    Raises
    ------
    ValueError
        If a Courant number exceeds the limit of the stencil, 2/√(Σ|a_k|): 1, 0.8660, 0.8135, 0.7844.

    Notes
    -----
    Absorbing ends are of first order in γ over the angular frequency ω: they send back (γ/4ω)² of a wave, measured at
    Courant 1 and 20 cells a wavelength 0.0002, 0.0008 and 0.009 for γ·dt = 0.01, 0.03 and 0.1, beside what the stencil
    sends back without damping (nothing at Courant 1; for 10, 20 and 40 cells 0.01, 0.002 and 0.0006 at 0.8, and of
    order 8 at 0.7 0.04, 0.005 and 0.0007). What varies more slowly than γ does not travel but spreads, and is not
    absorbed: of a hump at rest, exp(−(n/8)²), that spreads over 200 cells, 0.2 %, 2 % and 19 % of the height that
    arrives come back for γ·dt = 0.003, 0.01 and 0.03. `absorbing_layer` absorbs more, at the cost of
    positions.

    Examples
    --------
    >>> wave(1.0).kernel.tolist()
    [[[1.0, 0.0, 1.0], [0.0, -1.0, 0.0]], [[0.0, 1.0, 0.0], [0.0, 0.0, 0.0]]]
    """
    speed, damping = finite_vector(speed, "speed"), finite_vector(damping, "damping")
    dx, dt = positive(dx, "dx"), positive(dt, "dt")
    speed, damping = _broadcast(speed=speed, damping=damping)
    if (speed <= 0).any():
        raise ValueError(f"speed of a two-way wave must be positive, got {speed.min():g}; it travels both ways")
    if (damping < 0).any():
        raise ValueError(f"damping must not be negative, got {damping.min():g}")
    if (damping * dt >= 2).any():
        raise ValueError(f"damping·dt must be below 2, or the field flips at every step, got {(damping * dt).max():g}")
    if boundary == "open":
        raise ValueError("boundary='open' belongs to one-way fields; let a two-way wave leave through 'absorbing'")
    profile = None if profile is None else np.asarray(profile)
    given = {"damping_profile": damping_profile, "restoring_profile": restoring_profile, "density": density}
    medium = {name: real_array(part, name) for name, part in given.items() if part is not None}
    if order != 2 and (profile is not None or medium):
        raise ValueError(
            f"order must be 2 with a speed profile, or one of damping, restoring force or density, got {order}"
        )
    stencil = second_difference(order)
    r = speed * dt / dx
    _check_courant(r, speed, courant_limit(order), dx, profile)
    half = damping[:, None] * dt / 2
    centre = np.eye(1, order + 1, order // 2)
    taps = (2 * centre + r[:, None] ** 2 * stencil) / (1 + half)
    kernel = np.zeros((2 * speed.size, 2 * speed.size, order + 1))
    now, before = np.arange(0, 2 * speed.size, 2), np.arange(1, 2 * speed.size, 2)
    kernel[now, now] = taps
    kernel[now, before, order // 2] = -((1 - half) / (1 + half))[:, 0]
    kernel[before, now] = centre
    operator = WaveOperator(
        kernel,
        boundary,
        dx,
        dt,
        levels=2,
        profile=profile,
        damping_profile=medium.get("damping_profile"),
        restoring_profile=medium.get("restoring_profile"),
        density=medium.get("density"),
    )
    if density is not None:
        _check_contrast(operator)
    return operator


def absorbing_layer(
    size: int, cells: int = 20, *, speed: float = 1.0, dx: float = 1.0, reflection: float = 1e-3
) -> dict[str, np.ndarray]:
    """Layers at both ends of a line in which an outgoing wave fades without being reflected.

        ∂²h/∂t² = c²∂²h/∂x² − 2σ ∂h/∂t − (σ² − cσ′)h,      σ(d) = 3c/(2D)·ln(1/R)·(d/D)²

    with d the depth in the layer of thickness D. A wave on its way out, h = f(x − ct)·F with F = e^{−∫σ/c dx}, solves
    it exactly whatever its wavelength: the layer is matched. What comes back from its end has faded by R. The force is
    taken as c²·(F_{i+1} − 2F_i + F_{i−1})/(F_i dx²), so that a field at rest, F, is one of the scheme too. The layers
    are for absorbing ends, or fixed ones; where a layer begins the force drives the field away from zero, and between
    free ends a mode would grow.

    Parameters
    ----------
    size : int
        Positions N of the line, the layers among them.
    cells : int
        Positions of each layer.
    speed, dx : float
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

    Examples
    --------
    >>> op = wave(0.9, boundary="absorbing", **absorbing_layer(200, 20, speed=0.9))
    >>> op.damping_profile[[0, 19, 20]].round(4).tolist()
    [0.9325, 0.0023, 0.0]
    """
    size, cells = positive_int(size, "size"), positive_int(cells, "cells")
    speed, dx, reflection = positive(speed, "speed"), positive(dx, "dx"), positive(reflection, "reflection")
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
    return {"damping_profile": 2 * sigma, "restoring_profile": (speed / dx) ** 2 * force}


def static(*, boundary: str = "periodic", dx: float = 1.0, dt: float = 1.0) -> WaveOperator:
    """No wave: the identity, under which every input stays where it entered (the static bump, a control)."""
    return WaveOperator(np.array([0.0, 1.0, 0.0]), boundary, dx, dt)


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


def courant_limit(order: int) -> float:
    """Largest stable Courant number of leapfrog with the stencil of that order, 2/√(Σ|a_k|)."""
    return float(2 / np.sqrt(np.abs(second_difference(order)).sum()))


def _check_courant(courant, speed, limit, dx, profile):
    """Refuse a Courant number above the limit; rounding of dt·speed/dx in the last place is let pass."""
    local = np.abs(courant) * (1.0 if profile is None else np.max(np.abs(profile), initial=0.0))
    if (local > limit * (1 + 4 * np.finfo(float).eps)).any():
        worst = int(np.argmax(local))
        largest = limit * dx / (np.abs(speed[worst]) * local[worst] / np.abs(courant[worst]))
        raise ValueError(
            f"the Courant number |speed|·dt/dx is {local[worst]:g}, above the limit {limit:g} of this stencil: "
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
