"""
Is there a wave in my recording?
================================

A recording from a multi-electrode array shows patches of activity that seem to move. Do they? Which way, how fast, and
could chance have done it? This tutorial makes a recording whose answer we know, with the faults that real ones have,
and takes it from raw voltages to a verdict. Then it shows what a verdict means, and what it does not mean.
"""

import warnings

import matplotlib.pyplot as plt
import numpy as np

import analysis
import wavefield as wf
from analysis import preprocess, synthetic
from wavefield import plot

warnings.simplefilter("ignore", UserWarning)  # they stand in the results too, where we print them

# %%
# A recording with known truth
# ----------------------------
# A hundred electrodes, 0.4 mm apart, 500 samples per second. A beta rhythm (12 to 24 Hz, not a pure tone) travels over
# them at 60 mm/s towards 30°, in bursts. On top there are noise and mains hum; one electrode is dead and one is loose.

rng = np.random.default_rng(0)
rate, seconds, speed, angle = 500, 12, 60.0, np.radians(30)
column, row = np.meshgrid(np.arange(10), np.arange(10))
x, y = 0.4 * column.ravel(), 0.4 * row.ravel()  # mm
time = np.arange(rate * seconds) / rate

frequencies = rng.uniform(12, 24, 60)
phases = rng.uniform(0, 2 * np.pi, 60)
delay = (x * np.cos(angle) + y * np.sin(angle)) / speed  # s, at each electrode
rhythm = sum(np.cos(2 * np.pi * f * (time[:, None] - delay) + p) for f, p in zip(frequencies, phases, strict=True))
burst = np.clip(1.5 * np.sin(2 * np.pi * time / 4) + 0.2, 0, 1)[:, None]

volts = 6 * burst * rhythm + 25 * rng.standard_normal((time.size, x.size)) + 40 * np.sin(2 * np.pi * 50 * time)[:, None]
volts[:, 10] = 0.0
volts[:, 37] *= 8

# %%
# :func:`wavefield.recording` makes a recording of any array. Give the places of the electrodes and the units; files are
# read with ``analysis.readers`` (:doc:`../api/analysis.modules`) or ``python -m analysis import``.

raw = wf.recording(
    volts,
    coords={"time": time, "x": x, "y": y},
    units={"activity": "uV", "time": "s", "x": "mm", "y": "mm"},
)
raw

# %%
# Clean it
# --------
# Which electrodes are bad? They are masked, not repaired: every diagnostic takes ``mask="nan"`` and leaves them out.

bad = preprocess.bad_channels(preprocess.bandpass(raw, (5, 200)))
for number in np.flatnonzero(bad.bad):
    print(f"electrode {number}: {bad.reason.values[number]}")

clean = preprocess.mask_channels(raw, bad.bad)
clean = preprocess.notch(clean, 50)
beta = preprocess.bandpass(clean, (8, 30))

# %%
# Filters run forwards and backwards: they shift no phases, and so no wave. What was done stands in the recording.

print(beta.attrs["history"])

# %%
# Look at it
# ----------
# The electrodes along one row, sorted by place. Slanted stripes are what a wave looks like.

row_three = np.flatnonzero(np.isclose(y, 1.2))
row_three = row_three[~np.isnan(beta.activity.values[0, row_three])]
shown = slice(1.0, 1.6)
piece = beta.activity.isel(electrode=row_three).sel(time=shown)
figure, ax = plt.subplots(figsize=(7, 3.2), layout="constrained")
image = ax.pcolormesh(
    piece.time, piece.x, piece.T, cmap="RdBu_r", vmin=-80, vmax=80, shading="nearest", rasterized=True
)
ax.set(xlabel="time (s)", ylabel="place along the row (mm)")
figure.colorbar(image, ax=ax, label="voltage (µV)")

# %%
# The verdict
# -----------
# Spectra over wavenumbers need a regular grid. :func:`analysis.grid_electrodes` puts the electrodes on one, and
# :func:`analysis.diagnose` does the rest.

grid = analysis.grid_electrodes(beta)
result = analysis.diagnose(grid, band=(10, 28), mask="nan", seed=0)
print(analysis.plot.describe(result))

# %%
# Read it line by line. The *verdict* says that more power travels one way than the other way, along whatever axis, by
# more than :func:`analysis.plane_direction_test` attributes to chance; the angle says which way.
# Four estimators of the speed are given, each with an interval. An estimator that cannot know refuses; why, stands
# among the warnings, which belong to the result:

print(result.attrs["warnings"] or "no warnings")

# %%
# The truth is 60 mm/s towards 30°:

velocity = analysis.radon_velocity(beta, band=(10, 28), mask="nan")  # needs no grid
print(
    f"speed {float(velocity.speed):.1f} mm/s, 95 % interval {float(velocity.speed_low):.1f} to "
    f"{float(velocity.speed_high):.1f}; direction {np.degrees(float(velocity.direction)):.1f}°"
)

# %%
# When did it travel?
# -------------------
# A verdict is on the whole recording. :func:`analysis.wave_events` finds the single waves, with the number of events as
# massive as this one that chance would give in a recording (``expected_false``).

events = analysis.wave_events(beta, band=(12, 24), seed=0, mask="nan")
events[["onset", "end", "speed", "direction", "wavelength", "expected_false"]].to_dataframe()

# %%
# They should lie where the bursts are, and agree about the direction.

figure, (top, bottom) = plt.subplots(
    2, 1, figsize=(7, 4.5), sharex=True, layout="constrained", gridspec_kw={"height_ratios": [1, 1.4]}
)
top.plot(time, beta.activity.isel(electrode=45), lw=0.5, color="0.4")
top.plot(time, 60 * burst[:, 0], color=plot.colour_of(1), label="true strength of the rhythm (scaled)")
top.set_ylabel("electrode 45 (µV)")
top.legend(frameon=False, fontsize="small", loc="lower right")
for onset, end, direction in zip(events.onset.values, events.end.values, events.direction.values, strict=True):
    bottom.plot([onset, end], [np.degrees(direction)] * 2, color=plot.colour_of(0), lw=4, solid_capstyle="butt")
bottom.axhline(30, color="0.5", ls=":", label="true direction")
bottom.set(xlabel="time (s)", ylabel="direction of the event (°)", ylim=(-180, 180), yticks=[-180, -90, 0, 90, 180])
bottom.legend(frameon=False, fontsize="small")

# %%
# What a test says depends on its null
# ------------------------------------
# Many papers compare a recording with copies whose electrodes or samples were shuffled. Shuffling destroys *all* order
# in space and time. A field that is smooth but does not travel loses its order too, and is then called a wave. We draw
# forty such fields, correlated in space and time and symmetric in direction, and test each in two ways.

ring = synthetic.ring(32)
rejected = {"position": 0, "swap": 0}
for draw in range(40):
    field = synthetic.smooth_noise(ring, 128, seed=draw)
    for null in rejected:
        test = analysis.direction_test(field, null=null, draws=99, seed=draw)
        rejected[null] += float(test.p_value) < 0.05
for null, count in rejected.items():
    print(f"null {null!r:10}: {count} of 40 fields in which nothing travels are called directed")

# %%
# About 2 of 40 are to be expected from a test at the level 0.05. The shuffle calls many more: it asks "is there any
# order over positions?", and there is. The default, ``swap``, asks what we want to know: it exchanges the two
# directions of travel at random, and keeps everything else.
#
# The same in one picture: the direction index of one such field, under both nulls.

field = synthetic.smooth_noise(ring, 128, seed=3)
figure, axes = plt.subplots(1, 2, figsize=(8, 3.2), sharex=True, layout="constrained")
for null, ax in zip(rejected, axes, strict=True):
    test = analysis.direction_test(field, null=null, draws=499, seed=0)
    ax.hist(test.null_index, bins=np.linspace(-0.4, 0.4, 41), color="0.75")
    ax.axvline(float(test.index), color=plot.colour_of(1), lw=2)
    ax.set(xlabel="direction index", title=f"null: {null}, p = {float(test.p_value):.3f}")
axes[0].set_ylabel("surrogates")

# %%
# What a verdict does not say
# ---------------------------
# - ``none`` does not say that there is no wave. It says that nothing stands out of the noise, or that what does follows
#   no plane wave: a target or a spiral wave has no single direction. See :func:`analysis.singularities` and
#   :func:`analysis.phase_distance_correlation` for these.
# - *Travelling* does not say that activity propagates through the tissue. Delays that a common source sends out look
#   alike, and so does anything that a reference or volume conduction spreads over the array.
# - ``standing`` needs more than one wavelength on the array; otherwise standing and opposite waves look alike, and the
#   warnings say so.
# - A small p-value for *structure* (:func:`analysis.structure_test`) says nothing about travel at all.
#
# **Where to go on.** :doc:`5_model_against_brain`; :doc:`../explanations/significance`; :doc:`../choosing`.
