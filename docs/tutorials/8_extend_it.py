"""
Extend it
=========

Three things that people bring: a kernel of their own, a file format of their own, and a task of their own. None of them
needs a registry or a subclass. A kernel is an array, a reader is a function that returns a recording, and a task is a
function that returns tensors.
"""

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch

import analysis
import wavefield as wf
from wavefield import plot
from wavefield_torch import SequenceModel, WaveRNN, linear_readout, record, training_step

# %%
# A kernel of your own
# --------------------
# :class:`wavefield.WaveOperator` takes any kernel ``(C, C, K)``, or ``(K,)`` for one ring. What does this one do, which
# copies most of a neighbour's activity and some of the neighbour after that?

kernel = np.array([0.25, 0.7, 0.0, 0.05, 0.0])  # weights of the neighbours n − 2 … n + 2
operator = wf.WaveOperator(kernel)
operator

# %%
# Its Fourier symbol says everything: by how much each wave grows in a step, and how fast it travels.

relation = operator.dispersion_relation(np.linspace(0.005, 0.495, 99))
figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3.2), layout="constrained")
left.plot(relation.wavenumber, relation.phase_velocity.isel(branch=0), color=plot.colour_of(0), label="phase")
left.plot(relation.wavenumber, relation.group_velocity.isel(branch=0), "--", color=plot.colour_of(1), label="group")
left.set(xlabel="wavenumber (cycles per position)", ylabel="velocity (positions per step)")
left.legend(frameon=False)
right.plot(relation.wavenumber, relation.growth.isel(branch=0), color=plot.colour_of(0))
right.set(xlabel="wavenumber (cycles per position)", ylabel="growth per step", ylim=(0, 1.05))
print(operator.stability(128))

# %%
# Long waves travel and last; short ones fade. It is decoded like every other linear field, and its capacity is computed
# from the same description:

drive = wf.spikes([[(5, 1.0), (30, 0.6)]], steps=50)
rec = wf.simulate(operator, drive, size=128)
print(wf.decode(rec).to_dataframe()[["onset", "amplitude", "confidence"]])

# %%
# Two rings that act on each other are a kernel ``(2, 2, K)``. Here ring 0 moves to the right, ring 1 to the left, and
# each passes a little on to the other:

coupled = np.zeros((2, 2, 3))  # to ring, from ring, neighbour n − 1, n, n + 1
coupled[0, 0] = [0.9, 0, 0]
coupled[1, 1] = [0, 0, 0.9]
coupled[0, 1] = coupled[1, 0] = [0, 0.1, 0]
pair = wf.WaveOperator(coupled)
rec = wf.simulate(pair, wf.spikes([[(2, 1.0)], []], steps=60), size=96)
figure = plot.space_times(rec.activity)
figure.set_size_inches(7, 4.2)
print(pair.stability(96))

# %%
# A reader of your own
# --------------------
# The readers know NWB, the formats of Neo and MNE, and arrays. Suppose your rig writes text files with one column per
# electrode, and a second file with the places.

folder = Path(tempfile.mkdtemp())
times = np.arange(0, 2, 0.004)  # s
places = np.arange(16) * 0.5  # mm
voltage = np.cos(2 * np.pi * (9 * times[:, None] - 9 / 30 * places)) + 0.3 * np.random.default_rng(0).normal(
    size=(500, 16)
)
np.savetxt(folder / "session.txt", voltage, fmt="%.4f")
np.savetxt(folder / "places.txt", places, fmt="%.2f")


def read_rig(session, places, rate):
    """Return a recording from the text files of our rig: volts in mV, places in mm, `rate` in samples per second."""
    voltage = np.loadtxt(session)  # (time, electrode)
    return wf.recording(
        voltage,
        coords={"time": np.arange(len(voltage)) / rate, "position": np.loadtxt(places)},
        units={"activity": "mV", "time": "s", "position": "mm"},
        source="our rig",
    )


rec = read_rig(folder / "session.txt", folder / "places.txt", rate=250)
result = analysis.diagnose(rec, band=(5, 15))
print(analysis.plot.describe(result))

# %%
# The truth was 9 Hz at 30 mm/s to +x. A reader only has to return what :func:`wavefield.validate_recording` accepts,
# and that error says what is missing. For recordings larger than memory give a dask array to
# :func:`wavefield.recording`, or write block by block with :class:`wavefield.RecordingWriter`.
#
# A task of your own
# ------------------
# A task is a function: a generator comes in, tensors go out, time first. Here the network sees two streams of pulses
# and has to say at the end whether the last pulse of stream 0 came before that of stream 1.


def order_batch(batch, steps, *, generator):
    """Draw sequences (T, B, 2) with one pulse in each stream, and labels (B,): 1 where stream 0 was first."""
    onsets = torch.stack([torch.randperm(steps - 5, generator=generator)[:2] for _ in range(batch)])  # (B, 2)
    x = torch.zeros(steps, batch, 2)
    x[onsets[:, 0], torch.arange(batch), 0] = 1.0
    x[onsets[:, 1], torch.arange(batch), 1] = 1.0
    return x, (onsets[:, 0] < onsets[:, 1]).long()


network = WaveRNN(2, 48, channels=2, generator=torch.Generator().manual_seed(0))
model = SequenceModel(network, linear_readout(network.output_size, 2, generator=torch.Generator().manual_seed(1)))
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
generator = torch.Generator().manual_seed(0)
accuracy = []
for _ in range(300):
    x, label = order_batch(64, 40, generator=generator)
    logits = model(x)  # (B, 2), read out at the last step
    training_step(optimizer, torch.nn.functional.cross_entropy(logits, label), clip=1.0)
    accuracy.append(float((logits.argmax(-1) == label).float().mean()))

figure, ax = plt.subplots(figsize=(7, 3), layout="constrained")
ax.plot(accuracy, lw=0.8, color=plot.colour_of(0))
ax.axhline(0.5, color="0.5", ls=":", label="chance")
ax.set(xlabel="training step", ylabel="accuracy of a fresh batch", ylim=(0.3, 1.02))
ax.legend(frameon=False, loc="lower right")

# %%
# Its hidden states are a recording, and everything else follows.

rec = record(model, order_batch(4, 40, generator=generator))
figure, axes = plt.subplots(2, 1, figsize=(7, 4), sharex=True, layout="constrained")
for ring, ax in enumerate(axes):
    plot.space_time(rec.activity.isel(trial=0, channel=ring), ax=ax)
    ax.set_title(f"ring {ring}, after training", loc="left", fontsize="medium")
axes[0].set_xlabel("")
