"""The damped wave equation of neural fields, from the biological numbers of a cortical sheet."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from wavefield.checks import positive
from wavefield.operators.equations import wave
from wavefield.operators.operator import WaveOperator


def cortical_sheet(
    conduction_speed: float = 5.0,
    axonal_range: float = 80.0,
    *,
    gain: float = 0.0,
    dx: float | tuple[float, float] = 2.0,
    dt: float | None = None,
    dims: int = 2,
    boundary: str | tuple[str, str] = "periodic",
    isotropic: bool = False,
    mask: ArrayLike | None = None,
    edge: str = "fixed",
    rim: int = 20,
) -> WaveOperator:
    """Wave operator of a sheet of cortex, in mm and ms: activity is sent out along axons of a characteristic length.

        (1/Γ² ∂²/∂t² + 2/Γ ∂/∂t + 1 − r²∇²) φ = Q,      Γ = v/r,      Q = G·φ + input,

    so that, as `wave` has it, ∂²φ/∂t² = c²∇²φ − ω²φ − γ∂φ/∂t with

        c = v,      γ = 2Γ = 2v/r,      ω² = (1 − G)·Γ².

    Its dispersion relation is (1 − iω/Γ)² + k²r² = G, k in radians per mm. Without recurrent gain (G = 0) waves of
    every length fade at the rate Γ; towards G = 1 the longest fade ever more slowly. φ is the rate at which spikes
    arrive, Q that at which they are sent. In `simulate` an input x of ``source="force"`` is Γ²dt²·Q/(1 + Γdt).

    Parameters
    ----------
    conduction_speed : float
        v of the axons, in m/s, which is mm/ms. Myelinated cortico-cortical fibres: 5 to 10. Unmyelinated horizontal
        fibres within the grey matter: 0.1 to 0.8, the speed of most waves seen over a few millimetres of cortex.
    axonal_range : float
        r, the characteristic length of the axons, in mm. Cortico-cortical: about 80 in humans. Horizontal: 1 to 4.
    gain : float
        G, what the activity that arrives adds to what is sent, 0 ≤ G ≤ 1: with synapses that are fast beside Γ the
        slope of the sheet's rate function. At 1 it is on the verge of seizure.
    dx : float or pair of floats
        Distance between positions, mm.
    dt : float, optional
        Step, ms; 0.9 of the largest stable one by default.
    dims : {1, 2}
    boundary, isotropic, mask, edge, rim
        As of `wave`.

    Returns
    -------
    WaveOperator

    Raises
    ------
    ValueError
        Naming the argument that does not fit, or the largest stable step.

    References
    ----------
    P. A. Robinson, C. J. Rennie, J. J. Wright, Phys. Rev. E 56, 826 (1997), which gives v, r and Γ of the cortex;
    V. K. Jirsa, H. Haken, Phys. Rev. Lett. 77, 960 (1996), the same equation with ω₀ = v/σ;
    L. Muller, F. Chavane, J. Reynolds, T. J. Sejnowski, Nat. Rev. Neurosci. 19, 255 (2018), for speeds of waves seen.

    Examples
    --------
    >>> sheet = cortical_sheet(conduction_speed=0.3, axonal_range=2.0, dx=0.1)
    >>> round(sheet.dt, 3), round(float(2 * sheet.halved_damping[0] / sheet.dt), 3)  # ms, per ms
    (0.212, 0.3)
    """
    speed, length = positive(conduction_speed, "conduction_speed"), positive(axonal_range, "axonal_range")
    if not 0 <= gain <= 1:
        raise ValueError(f"gain must lie between 0 and 1, above which the sheet runs away, got {gain!r}")
    rate = speed / length  # Γ, per ms
    force = (1 - gain) * rate**2
    if dt is None:
        dt = 0.9 * _largest_step(speed, force, dx, dims, isotropic)
    return wave(
        speed, 2 * rate, restoring=force, dx=dx, dt=dt, dims=dims, boundary=boundary, isotropic=isotropic, mask=mask,
        edge=edge, rim=rim,
    )  # fmt: skip


def _largest_step(speed, force, dx, dims, isotropic):
    """dt at which (c·dt)²Λ + (ω·dt)² = 4, with Λ = 4Σ1/dx² of the cross stencil and 16/3/dx² of the nine-point one."""
    spacings = np.broadcast_to(np.asarray(dx, dtype=float), (dims,))
    stiffness = 16 / 3 / spacings[0] ** 2 if isotropic else 4 * (1 / spacings**2).sum()
    return 2 / np.sqrt(speed**2 * stiffness + force)
