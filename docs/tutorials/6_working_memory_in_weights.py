"""
Working memory in trained weights
=================================

A network that repeats what it was told has to hold it somewhere. Karuvally, Sejnowski and Siegelmann (ICML 2024) show
that a wave is always *one* description of such a memory: states travel along a line, one slot a step, and a boundary
writes the next state at the driven end. In the units of a trained network that wave is hidden, because the network is
free to use any basis. Here we build such a wave, hide it, find it again, and then look for one in a network that was
trained and never told of waves.
"""

import matplotlib.pyplot as plt
import numpy as np
import torch

import analysis
from analysis import plot_memory
from wavefield import history
from wavefield_torch import elman, linearised, tasks, training_step

# %%
# A history-dependent system is a wave
# ------------------------------------
# The system x_t = x_{t−s} repeats for ever what it was given. With three numbers in a state and a history of four
# states it is a wave on three lines of four slots.

system = history.repeat_copy(dimension=3, length=4)
first = np.array([[1.0, -1.0, 1.0], [1.0, 1.0, -1.0], [-1.0, 1.0, 1.0], [-1.0, -1.0, 1.0]])  # (slot, dimension)
wave = history.simulate(system, first, steps=12, save_initial=True)
figure = plot_memory.travelling_columns(wave, times=range(12))

# %%
# Each image is one step. New columns enter at the right and move one slot to the left in each step; the column that
# leaves at the left is what the boundary writes anew. One step of the whole history is a matrix Φ, whose eigenvalues
# lie on the unit circle: nothing grows, nothing fades.

eigenvalues = system.spectrum()
print(eigenvalues.size, "eigenvalues, moduli", np.unique(np.abs(eigenvalues).round(6)))

# %%
# Hide it
# -------
# In any basis Ψ the same system is a recurrent network, h(t+1) = W h(t) + V u(t), with W = ΨΦΨ⁺. With thirty units and
# a random basis nothing in W looks like a wave.

basis = np.random.default_rng(0).normal(size=(30, 12))
network = history.rnn_weights(system, basis)
found = analysis.recover_waves(*network, length=4)

figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3.8), layout="constrained")
limit = np.abs(network.weight_hh).max()
image = left.imshow(network.weight_hh, cmap="RdBu_r", vmin=-limit, vmax=limit)
left.set(title="recurrent weights", xlabel="from unit", ylabel="to unit")
figure.colorbar(image, ax=left, shrink=0.8)
plot_memory.transformed_recurrence(found, ax=right)
right.set_title("in the basis that was found")

# %%
# :func:`analysis.recover_waves` needs the weights and the number of slots, *not* the system. It finds the basis of the
# wave: a shift (the diagonal beside the main one) and a boundary row (below). Here the answer is known:

print("largest error of the basis:", f"{np.abs(found.basis.values - basis).max():.1e}")
comparison = analysis.compare_spectra(found, system)
print(f"mean angle between eigenvalues of theory and network: {float(comparison.mean_angle_error):.1e} rad")

# %%
# A trained network
# -----------------
# Now a network that nobody built: 32 tanh units, random weights, trained to see four states of three signs and to go on
# repeating them. The number of steps that it has to go on for grows once it is right.

model = elman(3, 32, generator=torch.Generator().manual_seed(0))
optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
generator = torch.Generator().manual_seed(0)

horizon, curve = 4, []
for step in range(1500):
    batch = tasks.history_batch(64, system, horizon, generator=generator)
    output = model(batch.x)
    loss, _ = training_step(optimizer, tasks.history_loss(output, batch), clip=1.0)
    accuracy = float(tasks.sign_accuracy(output.detach(), batch))
    curve.append((loss, accuracy, horizon))
    if step % 50 == 49 and accuracy > 0.98 and horizon < 20:
        horizon += 4

figure, (top, bottom) = plt.subplots(2, 1, figsize=(7, 4.5), sharex=True, layout="constrained")
losses, accuracies, horizons = np.array(curve).T
top.plot(accuracies, lw=0.6, color="0.3")
top.set(ylabel="share of right signs")
bottom.plot(horizons, color="0.3")
bottom.set(xlabel="training step", ylabel="steps to repeat for")

# %%
# It never had to repeat for more than twenty steps. Does it for two hundred?

batch = tasks.history_batch(256, system, 200, generator=generator)
with torch.no_grad():
    print(f"right signs over 200 steps: {float(tasks.sign_accuracy(model(batch.x), batch)):.3f}")

# %%
# The wave in its weights
# -----------------------
# :func:`wavefield_torch.linearised` gives the weights about rest, where a tanh network without biases is linear.

weights = linearised(model)
trained = analysis.recover_waves(*weights, length=4)
print(plot_memory.describe(trained))

# %%
# Twelve directions persist, as many as the history has numbers, and their eigenvalues lie at the fourth roots of one:

figure, (left, right) = plt.subplots(1, 2, figsize=(9, 4.2), layout="constrained")
plot_memory.unit_circle(trained, system, ax=left)
plot_memory.transformed_recurrence(trained, ax=right)

# %%
# What is the evidence?
# ---------------------
# Not the shift and the boundary row: with this way of grounding the basis they come out of *any* recurrence, and the
# description above says so. The evidence is what nothing enforced: inputs enter the newest slot, and no other. For
# scale, the same network before it was trained (its eigenvalues are smaller, so the threshold for what persists is
# lowered):

untrained = linearised(elman(3, 32, generator=torch.Generator().manual_seed(0)))
before = analysis.recover_waves(*untrained, length=4, persistent=0.3)
for name, one in (("before training", before), ("after training", trained)):
    print(f"{name}: {100 * float(one.entry_share):.1f} % of the encoder is in the newest slot")

# %%
# The memory in use
# -----------------
# Hidden states in the basis of the wave are the history itself, travelling along its lines.

batch = tasks.history_batch(1, system, 12, generator=generator)
with torch.no_grad():
    states = model.recurrence(batch.x)[0].transpose(0, 1).numpy()  # (B, T, N)
waves = analysis.wave_states(trained, states)
figure = plot_memory.travelling_columns(waves, times=range(16))

# %%
# From step 4 on the network sees zeros, and the columns go round: what leaves at the left comes back at the right.
#
# The networks of the paper, with 128 units and eight states of eight numbers, are trained by
# ``python -m experiments run history-elman``; what was found in them is in ``experiments/results/memory``.
#
# **Where to go on.** :doc:`../explanations/memory`; :func:`wavefield_torch.gradient_against_lag` for gradients that do
# not vanish along a wave.
