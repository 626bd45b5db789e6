"""
Waves on a sheet
================

Cortex is a sheet. Here a wave gets its second dimension: sources in the middle of a sheet, edges that let it out, a
snapshot in which places and times are read that nobody told, a drum whose shape cannot be heard, and a recording that
the diagnostics take as they take a grid of electrodes.
"""

import numpy as np

import analysis
import wavefield as wf
from wavefield import plot_sheets

# %%
# Two dimensions are the same operator
# ------------------------------------
# ``dims=2`` is all that changes. A size is now a pair (rows, columns), an input enters at a cell (y, x).

sheet = wf.wave(0.6, dims=2)
size = (96, 96)
drive = wf.spikes([[(3, 1.0)], [(20, 0.5)]], steps=60)
rec = wf.simulate(sheet, drive, encoder=wf.encoder_at([(30, 30), (66, 54)], size))
plot_sheets.frames(rec.activity, 4)

# %%
# On a line a pulse passes and is gone. In two dimensions a wake stays behind the front: there is no Huygens principle.
# And no Courant number is exact in all directions. The five-point stencil is exact along the diagonals at 1/√2, its
# limit, and slow along the axes; the nine-point stencil treats all directions alike.

for name, operator in (("five-point", wf.wave(0.6, dims=2)), ("nine-point", wf.wave(0.6, dims=2, isotropic=True))):
    speeds = wf.phase_speeds(operator, 8.0)  # waves of eight cells
    print(f"{name}: speed between {float(speeds.min()):.4f} and {float(speeds.max()):.4f}")

# %%
# Places and onsets from one snapshot
# -----------------------------------
# Places and times differ on a sheet, so that one snapshot holds both. Nobody needs to say where inputs enter, nor how
# many there were. The onsets are steps, the places cells.

noisy = rec.assign(activity=rec.activity + 0.01 * np.random.default_rng(0).standard_normal(rec.activity.shape))
events = wf.decode(noisy, sites="anywhere", previous=False)
events.to_dataframe()[["onset", "y", "x", "amplitude", "confidence"]].round(3)

# %%
plot_sheets.snapshots(noisy.activity.isel(time=-1), events)

# %%
# Edges
# -----
# Each axis has its own: a ring, a clamped or a free edge. An *absorbing* edge is a layer of cells, the rim, in which
# waves fade without being thrown back, corners included. Here is the largest value of the field after the wave from
# the middle should have left.

source = wf.ricker(0.05, 60)
for boundary in ("fixed", "free", "absorbing"):
    operator = wf.wave(0.6, dims=2, boundary=boundary)
    run = wf.simulate(operator, source, encoder=wf.encoder_at([(48, 48)], size), source="force")
    quiet = wf.simulate(operator, initial=run, steps=200, save_every=None)
    print(f"{boundary:>9}: {float(abs(quiet.activity).max()):.5f}")

# %%
# Drums
# -----
# A mask makes a sheet of any shape. These two drums differ in shape and have one spectrum, to rounding: one cannot hear
# which of them is struck. A snapshot of the field tells them apart.

masks = wf.isospectral_drums(16)
found = [wf.modes(wf.wave(0.6, dims=2, boundary="fixed", mask=mask), count=8) for mask in masks]
difference = np.abs(found[0].frequency / found[1].frequency - 1).max()
print(f"the frequencies differ by {float(difference):.0e} of themselves")
plot_sheets.mode_gallery(found[0], 4)
plot_sheets.mode_gallery(found[1], 4)

# %%
# In millimetres and milliseconds
# -------------------------------
# The damped wave equation of neural fields takes its coefficients from biology: the conduction speed of axons and
# their range. :func:`wavefield.cortical_sheet` makes the operator.

cortex = wf.cortical_sheet(0.3, 2.0, gain=0.95, dx=0.5, dt=0.5)
stimulus = np.exp(-0.5 * ((np.arange(80) * 0.5 - 8) / 2) ** 2)[:, None]
patch = np.zeros((1, 60, 60, 1))
patch[0, 28:32, 28:32] = 1 / 16
evoked = wf.simulate(cortex, stimulus, encoder=patch, source="force", units={"time": "ms", "position": "mm"})
plot_sheets.frames(evoked.activity, 4)

# %%
# Measured as a brain is
# ----------------------
# A recording of a sheet is what an array of electrodes gives, and goes through the same diagnostics. A plane wave of
# twelve cells that travels towards 30° is found where it was sent.

angle, length = np.radians(30), 12.0
y, x = np.indices((48, 48))
operator = wf.wave(0.6, dims=2)
k = 2 * np.pi / length * np.array([np.sin(angle), np.cos(angle)])
turn = 2 * np.arcsin(0.6 * np.sqrt((np.sin(k / 2) ** 2).sum()))  # of the scheme, per step
time = np.arange(120)[:, None, None]
wave = np.cos(k[0] * y + k[1] * x - turn * time)
grid = wf.recording(wave, dims=("time", "y", "x"), source="a plane wave")
measured = analysis.phase_gradient_velocity(grid)
speed = turn / np.hypot(*k)  # cells per step, as the stencil moves a wave of this length in this direction
print(
    f"sent at {speed:.4f} towards 30°, found {float(measured.speed):.4f} towards {np.degrees(measured.direction):.1f}°"
)
