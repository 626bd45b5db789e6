"""
A wave remembers
================

A field of activity in which waves travel holds its own past: an input that arrived ten steps ago has travelled ten
steps since, and stands ten steps from where it entered. One snapshot of such a field says *what* came, *when* and *how
strong*. This tutorial makes such a field, reads its inputs back from the last snapshot, and shows when that fails.

You need NumPy's way of thinking about arrays and nothing else.
"""

import matplotlib.pyplot as plt
import numpy as np

import wavefield as wf
from wavefield import plot

# %%
# Three inputs
# ------------
# Inputs are called the *drive*: numbers over steps and inputs. :func:`wavefield.spikes` makes one from lists of
# (onset, amplitude), one list for each input.

drive = wf.spikes([[(12, 1.0), (40, 1.0)], [(25, 1.0)], [(31, 0.5)]], steps=100)
drive

# %%
# A field that moves
# ------------------
# :func:`wavefield.transport` is the one-way wave, ∂h/∂t = −c·∂h/∂x. At speed 1 the field moves by one position in each
# step. Every input has a *ring* of its own, 128 positions that close on themselves, and enters at position 0.
#
# The result is an ``xarray.Dataset`` that we call a *recording*: ``activity`` over time, channel (the ring) and
# position, and everything else that is needed to understand the file later.

wave = wf.transport(speed=1.0)
rec = wf.simulate(wave, drive, size=128)
rec

# %%
# The space–time diagrams of the three rings. Each input draws a line, whose slope is the speed.

figure = plot.space_times(rec.activity)
figure.set_size_inches(7, 5.5)

# %%
# Read the inputs back
# --------------------
# From here on only the *last* snapshot is used: 3 × 128 numbers. :func:`wavefield.decode` takes it from the recording,
# together with the operator that moved the field.

events = wf.decode(rec)
events.to_dataframe()[["input", "onset", "amplitude", "confidence"]]

# %%
# The four events come back exactly. Drawn over the inputs:

figure, (top, bottom) = plt.subplots(2, 1, figsize=(7, 5), layout="constrained")
plot.snapshot(rec.activity.isel(time=-1), ax=top)
top.set_title("the snapshot that is decoded", loc="left", fontsize="medium")
plot.drive_raster(drive, ax=bottom, events=events)
bottom.set_title("inputs (coloured) and what was read back (open circles)", loc="left", fontsize="medium")

# %%
# The control: a field without waves
# ----------------------------------
# Does the *wave* hold the past, or would any field do? Under :func:`wavefield.static` every input stays where it
# entered. The same number of units, the same inputs:

bump = wf.simulate(wf.static(), drive, size=128)
lost = wf.decode(bump)
lost.to_dataframe()[["input", "onset", "amplitude", "period", "ambiguous"]]

# %%
# The two events of input 0 have become one, of their summed amplitude, and the column ``period`` says 1: the onset is
# known *modulo one step*, that is, not at all. What a snapshot cannot tell is said, not guessed.

# %%
# A wave that is not exact
# ------------------------
# At speed 1 the scheme only moves numbers from cell to cell. At another speed, here 0.9 positions in a step, the
# discrete wave spreads a little as it travels, and every cell holds a mixture. Decoding then is an inverse problem,
# which is solved with the events as sparse as the snapshot allows. We add noise to the snapshot as well.

rng = np.random.default_rng(0)
spread = wf.simulate(wf.transport(0.9), drive, size=128, save_every=None)  # the last state only
noisy = spread.copy()
noisy["activity"] = spread.activity + 0.01 * rng.standard_normal(spread.activity.shape)
found = wf.decode(noisy, noise=0.01)
found.to_dataframe()[["input", "onset", "amplitude", "amplitude_error", "confidence"]]

# %%
# Amplitudes now have standard errors, and every event a probability that it happened.

figure, axes = plt.subplots(3, 1, figsize=(7, 5.5), sharex=True, layout="constrained")
for ring, ax in enumerate(axes):
    ax.plot(noisy.position, noisy.activity.isel(time=0, channel=ring), color=plot.colour_of(ring))
    ax.set(ylabel=f"ring {ring}\nactivity")
axes[0].set_title("snapshot at Courant number 0.9 with noise 0.01", loc="left", fontsize="medium")
axes[-1].set_xlabel("position")

# %%
# How far back?
# -------------
# On a line from which the wave runs out at the far end, the field of 50 positions holds the last 50 steps and nothing
# older. :func:`wavefield.memory_capacity` computes that exactly: for each lag, the share of the variance of the input
# that a linear readout of the snapshot recovers. Where the wave spreads and the readout is noisy, less is held in all,
# although faint traces of older inputs remain.

figure, ax = plt.subplots(figsize=(7, 3.5), layout="constrained")
for number, (speed, noise) in enumerate([(1.0, 0.0), (0.9, 0.01), (0.7, 0.01)]):
    line = wf.transport(speed, boundary="absorbing")
    capacity = wf.memory_capacity(line, 50, max_lag=100, noise=noise)
    name = f"speed {speed:g}, noise {noise:g}: {float(capacity.total):.1f} steps in all"
    plot.memory_curve(capacity.capacity.isel(input=0), ax=ax, label=name, color=plot.colour_of(number))
ax.set_xlim(-2, 130)
ax.set_title("a line of 50 positions with outflow", loc="left", fontsize="medium")

# %%
# Keep it
# -------
# A recording is a netCDF file that any tool for such files reads. It carries the operator, so that it can be decoded or
# continued years later.

import tempfile
from pathlib import Path

folder = Path(tempfile.mkdtemp())
wf.save_recording(rec, folder / "field.nc")
with wf.open_recording(folder / "field.nc") as stored:
    longer = wf.simulate(wf.operator_of(stored), steps=20, initial=stored)
    print(stored.sizes["time"], "steps stored; continued to time", float(longer.time[-1]))

# %%
# **Where to go on.** :doc:`2_a_strip_of_cortex` brings millimetres and milliseconds;
# :doc:`../explanations/memory` says what a snapshot can and cannot hold.
