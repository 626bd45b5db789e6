"""
Physics and units of a strip of cortex
======================================

Waves over the visual cortex travel a few tenths of a metre per second. Here we simulate a strip of 20 mm in millimetres
and milliseconds, and meet everything that makes a simulated wave trustworthy: the Courant number, damping, the ends of
the strip, and places where the speed changes.
"""

import matplotlib.pyplot as plt
import numpy as np

import wavefield as wf
from wavefield import plot

# %%
# Units
# -----
# Any consistent units do. With millimetres and milliseconds, speeds are in mm/ms, which are the same numbers as m/s.
# Two distances fix the grid: ``dx`` between positions and ``dt`` between steps. We want 0.2 m/s on a grid of 0.1 mm, and
# choose the step in which the wave travels exactly one position.

speed, dx = 0.2, 0.1  # mm/ms, mm
dt = dx / speed  # 0.5 ms
strip = wf.wave(speed, dx=dx, dt=dt, boundary="absorbing")
strip

# %%
# :func:`wavefield.wave` is the two-way wave, ∂²h/∂t² = c²·∂²h/∂x² − γ·∂h/∂t. *Absorbing* ends let it leave the strip, as
# if the cortex went on.
#
# The stimulus is a bump of about 20 ms, which enters in the middle of the strip.

size, steps = 201, 240
time = np.arange(steps) * dt
stimulus = np.exp(-0.5 * ((time - 15) / 4) ** 2)[:, None]  # (steps, inputs)


def simulated(operator, place=100):
    """Run the stimulus through a strip, and say in which units its axes are."""
    rec = wf.simulate(operator, stimulus, size=size, encoder=wf.encoder_at([place], size))
    rec.time.attrs["units"], rec.position.attrs["units"] = "ms", "mm"
    return rec


rec = simulated(strip)
figure, ax = plt.subplots(figsize=(7, 3.2), layout="constrained")
plot.space_time(rec.activity.isel(channel=0), ax=ax)
ax.set_title("a stimulus in the middle of a strip with absorbing ends", loc="left", fontsize="medium")

# %%
# How long does the pulse take from 11 mm to 19 mm?

row = rec.activity.isel(channel=0)
arrival = [float(row.sel(position=x, method="nearest").idxmax("time")) for x in (11.0, 19.0)]
print(f"8 mm in {arrival[1] - arrival[0]:.1f} ms: {8 / (arrival[1] - arrival[0]):.3f} mm/ms")

# %%
# The Courant number
# ------------------
# The Courant number *r* = c·dt/dx says how many positions the wave travels in a step. Above 1 the wave would outrun the
# stencil, and the numbers would explode; such an operator cannot be made.

try:
    wf.wave(speed, dx=dx, dt=0.6)
except ValueError as error:
    print(error)

# %%
# At 1 the scheme is *exact*: every wave travels at the true speed. Below 1 short waves lag behind, the more the shorter
# they are. A stencil of higher order helps; what is then left is the error in time, which makes waves a little too fast.

figure, ax = plt.subplots(figsize=(7, 3.6), layout="constrained")
k = np.linspace(0.02, 4.98, 200)  # cycles per mm
cases = [(1.0, 2, "-"), (0.8, 2, "--"), (0.5, 2, "-."), (0.5, 6, ":")]
for number, (courant, order, style) in enumerate(cases):
    operator = wf.wave(speed, dx=dx, dt=courant * dx / speed, order=order)
    velocity = operator.dispersion_relation(k).phase_velocity.max("branch")
    name = f"Courant number {courant:g}, order {order}"
    ax.plot(k, velocity, style, color=plot.colour_of(number), label=name)
ax.set(xlabel="wavenumber (mm$^{-1}$)", ylabel="phase velocity (mm/ms)", ylim=(0.1, 0.21))
ax.legend(frameon=False)

# %%
# So choose dt from dx and the speed, and keep the Courant number at 1 where you can. :doc:`../explanations/courant` says
# why 1 is exact.
#
# Damping
# -------
# A damping γ (per ms) makes travelling pulses decay as exp(−γt/2).

damping = 0.02  # per ms
faded = simulated(wf.wave(speed, damping, dx=dx, dt=dt, boundary="absorbing"))
peak = faded.activity.isel(channel=0).max("position")
free = rec.activity.isel(channel=0).max("position")

figure, ax = plt.subplots(figsize=(7, 3.2), layout="constrained")
shown = slice(25, 60)  # ms: after the stimulus, before the ends are reached
ax.plot(free.time.sel(time=shown), free.sel(time=shown), color=plot.colour_of(0), label="no damping")
ax.plot(peak.time.sel(time=shown), peak.sel(time=shown), color=plot.colour_of(1), label="damping 0.02 per ms")
late = peak.time.sel(time=shown)
start = float(peak.sel(time=25))
ax.plot(late, start * np.exp(-damping / 2 * (late - 25)), "k:", label="exp(−γt/2)")
ax.set(xlabel="time (ms)", ylabel="height of the pulse", ylim=(0, 1.1))
ax.legend(frameon=False)

# %%
# A damped wave is no longer exact at Courant number 1: very long waves are slowed down by the damping itself, which is
# physics, and the scheme has a small error of its own, which is not.
#
# The ends of the strip
# ---------------------
# What happens at an end is a choice of physics. A *fixed* end sends the wave back upside down, a *free* end as it is; on
# a *periodic* ring what runs out at one end comes in at the other.

figure, axes = plt.subplots(4, 1, figsize=(7, 8), sharex=True, layout="constrained")
for boundary, ax in zip(("absorbing", "fixed", "free", "periodic"), axes, strict=True):
    field = simulated(wf.wave(speed, dx=dx, dt=dt, boundary=boundary), place=70).activity.isel(channel=0)
    image = ax.pcolormesh(field.time, field.position, field.T, cmap="RdBu_r", vmin=-1, vmax=1, rasterized=True)
    ax.set_ylabel("position (mm)")
    ax.set_title(boundary, loc="left", fontsize="medium")
axes[-1].set_xlabel("time (ms)")
figure.colorbar(image, ax=axes, label="activity")

# %%
# A slower patch
# --------------
# The speed may depend on the place: a *profile* gives it relative to ``speed`` at every position. Here the wave meets a
# patch of half the speed. Part of it is thrown back, and what gets through is late.

profile = np.ones(size)
profile[130:160] = 0.5
patchy = simulated(wf.wave(speed, dx=dx, dt=dt, boundary="absorbing", profile=profile)).activity.isel(channel=0)

figure, ax = plt.subplots(figsize=(7, 3.2), layout="constrained")
image = ax.pcolormesh(patchy.time, patchy.position, patchy.T, cmap="RdBu_r", vmin=-1, vmax=1, rasterized=True)
ax.axhspan(13, 16, color="0.5", alpha=0.15, lw=0)
ax.set(xlabel="time (ms)", ylabel="position (mm)", title="half the speed between 13 and 16 mm")
figure.colorbar(image, ax=ax, label="activity")

# %%
# Is it right?
# ------------
# The leapfrog scheme keeps an energy to rounding, as long as nothing damps the wave and nothing leaves. That is a test
# of the whole simulation, which you can make on your own: run a ring freely from any state.

ring = wf.wave(speed, dx=dx, dt=0.8 * dt)
start = np.exp(-0.5 * ((np.arange(200) - 100) / 6) ** 2)[None]  # (rings, positions)
free_run = wf.simulate(ring, initial=start, steps=2000)
levels = free_run.activity.values  # (time, ring, position)
energy = wf.energy(ring, levels[1:], levels[:-1])[:, 0]
print(f"energy changes by {np.ptp(energy) / energy.mean():.1e} of itself over 2000 steps")

# %%
# Long runs
# ---------
# Where only a late state matters, ``operator.power(T)`` makes T steps at once, by Fourier transform. It takes the two
# levels of the field, now and one step before.

jump = strip.with_rings(1)
ring = wf.wave(speed, dx=dx, dt=dt)
now_and_before = np.stack([levels[-1, 0], levels[-2, 0]])  # (channels, positions)
later = ring.power(1_000_000)(now_and_before)
print("a million steps,", later.shape, "numbers, largest", f"{np.abs(later).max():.3f}")

# %%
# **Where to go on.** :doc:`3_equation_to_network` turns such an equation into a network that can be trained.
