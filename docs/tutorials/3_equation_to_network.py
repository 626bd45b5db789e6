"""
From equation to trained network and back
=========================================

A wave equation on a grid is a convolution that is applied again and again: a recurrent network whose recurrence is
local and shared. So an equation can be the *start* of a network, and a trained network can be *asked* what equation it
has become. This tutorial goes there and back on a small copy task: remember ten symbols, wait, and repeat them.

If you know PyTorch and no waves, all you need is this: one step of the field is a circular convolution with three
weights, and ``[0, 0, 1]`` shifts everything by one position.
"""

import matplotlib.pyplot as plt
import numpy as np
import torch

import wavefield as wf
from wavefield import plot
from wavefield_torch import SequenceModel, WaveRNN, linear_readout, record, symbol_cross_entropy, tasks, training_step

# %%
# An equation as a network
# ------------------------
# :meth:`wavefield_torch.WaveRNN.from_operator` makes the network that does what the operator does. It is called like
# ``torch.nn.RNN``. We take ten rings, one for each input of the task, and the one-way wave that moves by one position
# in each step.

equation = wf.transport(-1.0).with_rings(10)
network = WaveRNN.from_operator(equation, size=64, input_size=10)

x = torch.zeros(30, 1, 10)  # (T, B, I)
x[3, 0, 0] = 1.0
output, h_n = network(x)
field = wf.simulate(equation, x[:, 0].double().numpy(), size=64)
difference = np.abs(output[:, 0].detach().numpy() - field.activity.values.reshape(30, -1)).max()
print(f"network and simulation differ by {difference:.1e}")

# %%
# The task
# --------
# A sequence has ten symbols, a delay of ten blanks, a delimiter, and then the time to answer. Every batch is fresh.

x, target = tasks.copy_batch(1, 10, generator=torch.Generator().manual_seed(3))
figure, ax = plt.subplots(figsize=(7, 2.8), layout="constrained")
ax.plot(x[:, 0].argmax(-1), "s", color=plot.colour_of(0), label="input")
ax.plot(target[:, 0], "o", mfc="none", color=plot.colour_of(1), label="answer")
ax.set(xlabel="step", ylabel="symbol (0 is blank)", yticks=range(10))
ax.legend(frameon=False, loc="upper center")

# %%
# Three starts
# ------------
# The same network from three equations: the exact shift, a wave of 0.8 positions in a step (which spreads), and no wave
# at all. The nonlinearity is ReLU now, and kernel, encoder, bias and readout are all trained.


def model_from(operator):
    """Return a network that starts as `operator`, with a linear readout at every step."""
    recurrence = WaveRNN.from_operator(operator.with_rings(10), size=64, input_size=10, nonlinearity="relu")
    readout = linear_readout(recurrence.output_size, 10, generator=torch.Generator().manual_seed(1))
    return SequenceModel(recurrence, readout, every_step=True)


def trained(model, steps=400):
    """Train on fresh batches of the copy task and return the loss at every step."""
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    generator = torch.Generator().manual_seed(0)
    losses = []
    for _ in range(steps):
        x, target = tasks.copy_batch(64, 10, generator=generator)
        loss, _ = training_step(optimizer, symbol_cross_entropy(model(x), target), clip=1.0)
        losses.append(loss)
    return losses


starts = {"wave of speed −1": wf.transport(-1.0), "wave of speed −0.8": wf.transport(-0.8), "no wave": wf.static()}
models = {name: model_from(operator) for name, operator in starts.items()}
losses = {name: trained(model) for name, model in models.items()}

figure, ax = plt.subplots(figsize=(7, 3.4), layout="constrained")
for number, (name, values) in enumerate(losses.items()):
    ax.semilogy(values, color=plot.colour_of(number), label=name, lw=1)
ax.axhline(10 / 40 * np.log(8), color="0.5", ls=":", lw=1, label="blank at the right times, symbols guessed")
ax.set(xlabel="training step", ylabel="cross-entropy (nats per symbol)")
ax.legend(frameon=False, fontsize="small")

# %%
# These are a few hundred steps on a small network, one seed each: an illustration, not a result. The results of full
# training runs are in ``experiments/results``, beside the published ones.
#
# And back
# --------
# :meth:`wavefield_torch.WaveRNN.to_operator` returns the trained recurrence as a wave operator. How much of it still is
# a wave? The kernel of each ring on itself, before and after:

wave_model = models["wave of speed −1"]
operator = wave_model.recurrence.to_operator()
own = np.einsum("iik->ik", operator.kernel)  # (rings, K)
share = (own**2).sum() / (operator.kernel**2).sum()
print(f"{100 * share:.1f} % of the squared kernel acts within the rings")
print("mean kernel of a ring on itself:", own.mean(axis=0).round(3), " at the start: [0 0 1]")

# %%
# The trained operator has a dispersion relation like any other. Its ten branches lie near the line f = −k of the shift
# it began as; the colour says by which factor a mode grows in each step.

relation = operator.dispersion_relation()
figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3.6), layout="constrained", sharey=True)
for ax, which, name in ((left, equation.dispersion_relation(), "at the start"), (right, relation, "trained")):
    k = np.broadcast_to(which.wavenumber, which.frequency.shape)
    dots = ax.scatter(k, which.frequency, c=which.growth, s=3, cmap="viridis", vmin=0.95, vmax=1.15)
    ax.set(xlabel="wavenumber (cycles per position)", title=name)
left.set_ylabel("frequency (cycles per step)")
figure.colorbar(dots, ax=right, label="growth per step")
print(operator.stability(64))

# %%
# The linear part *grows*: its largest factor per step is above 1. That is no contradiction to a network that works. An
# operator knows neither the readout nor the ReLU that cuts negative activity off, and the sequences have 40 steps. It
# does mean that this network should not be run for thousands of steps.
#
# Hidden states as a recording
# ----------------------------
# :func:`wavefield_torch.record` runs the network over a batch and returns its hidden states as a recording, on which
# everything in ``analysis`` works as on a simulated field or a neural recording.

import analysis

batch = tasks.copy_batch(8, 10, generator=torch.Generator().manual_seed(5))
recordings = {name: record(model, batch.x) for name, model in models.items()}
for name, rec in recordings.items():
    index = analysis.direction_index(rec, average="trial").index
    print(f"{name:20} direction index of its ten rings: {index.values.round(2)}")

# %%
# The direction index is 1 for power that travels to +x only, −1 for −x only. One ring of each network, in one sequence:

figure, axes = plt.subplots(3, 1, figsize=(7, 6.4), sharex=True, layout="constrained")
for ax, (name, rec) in zip(axes, recordings.items(), strict=True):
    symbol = int(batch.x[:10, 0].argmax(-1)[0])  # the ring of the first symbol
    plot.space_time(rec.activity.isel(trial=0, channel=symbol), ax=ax)
    ax.set_title(name, loc="left", fontsize="medium")
for ax in axes[:-1]:
    ax.set_xlabel("")

# %%
# **Where to go on.** :doc:`6_working_memory_in_weights` finds waves in networks that were *not* built as waves;
# :doc:`7_reproduce_a_table` trains in earnest, from a config file.
