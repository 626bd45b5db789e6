"""
Reproduce a table, resume, sweep on a cluster
=============================================

A training run should be a thing that can be repeated, interrupted and looked up later. ``python -m experiments`` makes
every run a folder: its configuration, its metrics, checkpoints, hidden states, a figure, and the machine it ran on.
This tutorial does so with a network that is far too small, so that it takes seconds; the commands are those of a real
run.
"""

import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd

from wavefield import plot

folder = Path(tempfile.mkdtemp())
environment = os.environ | {"OMP_NUM_THREADS": "1"}


def command(text):
    """Start a command as a shell would, in a folder of its own."""
    words = [sys.executable, *shlex.split(text)[1:]]
    return subprocess.Popen(
        words, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def shell(text, show=slice(-1, None)):
    """Run a command to its end and print some lines of what it says, by default the last."""
    output = command(text).communicate()[0].strip().splitlines()
    print(f"$ {text}", *output[show], sep="\n")


# %%
# A row of a table
# ----------------
# ``reproduce`` fills a table of a paper with the runs that are missing, within a budget of time. Here one cell: the
# wave RNN on the copy task without delay. Everything behind ``--set`` makes it small; leave that out for the real
# thing.

small = "steps=300 hidden_size=40 channels=2 batch_size=32 evaluate_every=20"
settings = " ".join(f"--set copy.{setting}" for setting in small.split())
shell(f"python -m experiments reproduce copy --row wRNN --column 'delay 0' {settings} --runs runs", show=slice(0, 1))

# %%
# What is in the folder of the run?

(run,) = (folder / "runs").iterdir()
print(run.name)
for path in sorted(run.rglob("*")):
    if path.is_file() and not path.name.startswith("."):
        print("   ", path.relative_to(run))

# %%
# The configuration is complete: with it alone the run can be repeated.

print((run / "config.toml").read_text())

# %%

straight = pd.read_csv(run / "metrics.csv", index_col="step")
straight.tail(3)

# %%
# The table that ``reproduce`` prints leaves the cell empty: a run counts only if network, task and training are those
# of the table, up to the seed and the number of steps. ``python -m experiments report`` collects all runs that count.
# The tables of this project are in ``experiments/results``.
#
# Interrupt it
# ------------
# The same run again, by its configuration, and interrupted twice. First by a budget: it pauses and writes a checkpoint.

shell(f"python -m experiments run copy-wrnn delay=0 {small} --output broken --budget 2s")
print("steps so far:", pd.read_csv(folder / "broken" / "metrics.csv").step.max())

# %%
# Then it is resumed, and killed by SIGKILL, which no program can answer, as soon as it has gone on a little.

seen = (folder / "broken" / "metrics.csv").stat().st_size
process = command("python -m experiments resume broken")
while process.poll() is None and (folder / "broken" / "metrics.csv").stat().st_size < seen + 50:
    time.sleep(0.01)
process.send_signal(signal.SIGKILL)
process.communicate()
print("exit status", process.returncode)

# %%
# And resumed again, to the end. A run is resumed from its last complete checkpoint; while it runs there is one a
# minute.

shell("python -m experiments resume broken")
broken = pd.read_csv(folder / "broken" / "metrics.csv", index_col="step")
losses = ["training_loss", "held_out_loss"]
print("the same numbers to the last bit:", broken[losses].equals(straight[losses]))

# %%
# Random numbers, the order of the data and the state of the optimiser all come from the checkpoint. On a CPU, with as
# many threads, the numbers are the same bit for bit.

figure, ax = plt.subplots(figsize=(7, 3.2), layout="constrained")
ax.plot(straight.held_out_loss, color=plot.colour_of(0), lw=4, alpha=0.4, label="in one go")
ax.plot(broken.held_out_loss, color=plot.colour_of(1), lw=1, label="interrupted twice")
ax.set(xlabel="training step", ylabel="held-out cross-entropy\n(nats per symbol)")
ax.legend(frameon=False)

# %%
# Search
# ------
# ``sweep`` tries the values that the table ``[search]`` of a config names, with Optuna, in parallel with Dask. The
# study is a file: a sweep that is started again goes on with it. Three trials of a tiny network on the digits of
# scikit-learn:

shell(
    "python -m experiments sweep digits-wrnn epochs=1 hidden_size=16 channels=2 --trials 3 --workers 1 --output sweep"
)
trials = pd.read_csv(folder / "sweep" / "trials.csv")
trials[["number", "value", "params_learning_rate", "params_clip", "state"]]

# %%
# On a cluster
# ------------
# By default the workers run on this machine. With ``--scheduler`` they are those of any Dask scheduler. On SLURM,
# dask-jobqueue starts one; let this run in a session of its own:
#
# .. code-block:: python
#
#    from dask_jobqueue import SLURMCluster
#
#    cluster = SLURMCluster(
#        cores=1, processes=1, job_cpu=8, memory="32GB", walltime="08:00:00",
#        job_script_prologue=["export OMP_NUM_THREADS=8 NUMBA_NUM_THREADS=8"],
#    )
#    cluster.scale(jobs=10)
#    print(cluster.scheduler_address)
#
# and give its address to the sweep::
#
#     python -m experiments sweep psmnist-wrnn --trials 40 --data /shared/data --scheduler tcp://10.0.0.1:8786
#
# Workers have one thread each, because every thread of a worker runs a trial. All of them need this package and must
# see the folder of the sweep and that of the data under the same paths, on a file system that keeps locks. When a
# worker runs out of time, another one resumes its trial from its last checkpoint.
#
# **Where to go on.** :doc:`../commands` lists every option; :doc:`8_extend_it` brings a task of your own.
