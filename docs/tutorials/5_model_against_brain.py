"""
Model against brain
===================

You have a model with waves and a recording with waves. Are they the *same* waves? This tutorial compares three models
with one recording, property by property, each with its uncertainty, and with controls that say how far apart things are
that should be alike, and that should not.

The "brain" here is made up, so that the right answers are known.
"""

import warnings

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

import analysis
import wavefield as wf
from analysis import report, similarity, synthetic
from wavefield import plot

warnings.simplefilter("ignore", UserWarning)

# %%
# The recording
# -------------
# A linear probe of 24 electrodes, 0.4 mm apart. A rhythm about 20 Hz travels along it at 80 mm/s: waves 4 mm long.


def rhythm(times, centre, width, rng):
    """Return a random signal of variance one at `times`, with its power about one frequency."""
    waves = zip(rng.normal(centre, width, 80), rng.uniform(0, 2 * np.pi, 80), strict=True)
    return sum(np.cos(2 * np.pi * frequency * times + phase) for frequency, phase in waves) / np.sqrt(40)


rng = np.random.default_rng(1)
time = np.arange(6000) / 500  # s
place = 0.4 * np.arange(24)  # mm
signal = rhythm(time[:, None] - place / 80.0, 20.0, 3.0, rng)  # (time, electrode), each late by place / speed
volts = 30 * signal + 20 * rng.standard_normal((time.size, place.size))
brain = wf.recording(
    volts,
    coords={"time": time, "position": place},
    units={"time": "s", "position": "mm", "activity": "uV"},
)

# %%
# Three models
# ------------
# Lines of 64 units under a random rhythm of their own: a wave to +x, a wave to −x, and no wave. Their units are
# positions and steps; nothing in them was fitted to the recording.


def model(operator, seed):
    """Return 4000 steps of a driven field of 64 units, with some noise."""
    rng = np.random.default_rng(seed)
    drive = rhythm(np.arange(4200.0), 0.0375, 0.0056, rng)[:, None]
    field = wf.simulate(operator, drive, size=64).activity.isel(channel=0, drop=True)
    return synthetic.with_noise(wf.recording(field.isel(time=slice(200, None))), 2.0, seed=seed)


models = {
    "wave to +x": model(wf.transport(1.0, boundary="absorbing"), 2),
    "wave to −x": model(wf.transport(-1.0, boundary="absorbing"), 3),
    "no wave": model(wf.static(), 4),
}

figure, axes = plt.subplots(2, 2, figsize=(8, 5), layout="constrained")
shown = {"recording": brain.isel(time=slice(0, 150))} | {k: v.isel(time=slice(0, 80)) for k, v in models.items()}
for (name, rec), ax in zip(shown.items(), axes.flat, strict=True):
    field = rec.activity
    limit = float(abs(field).max())
    ax.pcolormesh(field.time, field.position, field.T, cmap="RdBu_r", vmin=-limit, vmax=limit, rasterized=True)
    ax.set(title=name, xlabel=plot.label(field.time), ylabel=plot.label(field.position))

# %%
# Compare
# -------
# :func:`analysis.compare` cuts both sides into segments of some periods, measures every segment, and compares the
# distributions. Axes are *normalised* by default: lengths of the array in space, cycles of the spectral peak in time.
# The other models enter as ``nulls``, for scale; a copy of the model with its positions shuffled, and the two halves of
# the recording, always do.

nulls = {name: rec for name, rec in models.items() if name != "wave to +x"}
result = analysis.compare(models["wave to +x"], brain, nulls=nulls, events=False, draws=199, seed=0)
print(report.describe_comparison(result))

# %%
# The verdict of every property, for every model:

table = result.verdict.sel(comparison=["model", *nulls, "shuffled model"]).to_pandas().T
table.rename(columns={"model": "wave to +x"})

# %%
# - ``agrees``: the confidence interval of the difference lies within the margin (by default a tenth for ratios).
# - ``differs``: it does not, and the permutation test rejects after correction over the properties.
# - ``undecided``: the data allow for both. It is *not* agreement.
# - ``not measured``: too few segments have a wave of which the property could be measured.
#
# On one page:

figure = report.comparison_figure(result)
figure.set_size_inches(13, 10)

# %%
# Similarity measures do not see direction
# ----------------------------------------
# CKA, RSA and DSA are the usual measures of how alike two systems are. They are computed too, but see what they say of
# a wave and the same wave running backwards:

line = synthetic.line(32)
right = synthetic.plane(line, 500, wavenumber=0.09, frequency=0.04).activity.values
left = synthetic.plane(line, 500, wavenumber=-0.09, frequency=0.04).activity.values
pd.Series(
    {
        "CKA (1: the same)": similarity.cka(right, left),
        "RSA (1: the same)": similarity.rsa(right, left),
        "DSA (0: the same)": similarity.dsa(right, left),
    }
).round(3)

# %%
# All three call the two the same, up to the ends of the record. That is by design, they ignore rotations and
# reflections of the state space; but it means that a high CKA is no evidence for a wave in the right direction.
#
# In units of the brain
# ---------------------
# With normalised axes only what is left after scaling is compared: a wave to the right of 2.4 wavelengths per array. If
# your model claims millimetres and seconds, say so, and the speed itself is tested. Suppose that a unit of the model
# stands for 0.15 mm. A step then stands for 0.0375/20 s, if the rhythm is to be 20 Hz:

claimed = analysis.compare(
    models["wave to +x"],
    brain,
    axes="given",
    space_scale=0.15,
    time_scale=0.0375 / 20,
    events=False,
    similarity=False,
    draws=199,
    seed=0,
)
speed = claimed.sel(comparison="model", feature="speed")
print(
    f"median speed of the model {float(speed['median']):.1f}, of the recording {float(speed.recording_median):.1f} mm/s"
)
print(
    f"ratio {float(speed.effect):.3f}, interval {float(speed.effect_low):.3f} to {float(speed.effect_high):.3f}: "
    f"{speed.verdict.values!s}"
)

# %%
# What such a comparison shows
# ----------------------------
# That two sets of waves share measured properties, with stated uncertainty. It does not show that the mechanism is the
# same: many mechanisms make a wave to the right. It does allow the other conclusion: a model whose waves *differ* in
# speed or direction beyond the margin is not a model of these waves. :doc:`../explanations/comparison` says more.
#
# The same from the shell::
#
#     python -m analysis compare hidden_states.nc lfp.nc --null untrained=untrained.nc --figure comparison.png
#
# **Where to go on.** :doc:`3_equation_to_network` records the hidden states of a trained network.
