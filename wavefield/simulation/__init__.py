"""Simulation: from an operator and a drive to a recording.

In come a `WaveOperator` and a drive (arrays, spikes, wavelets, files), and optionally a recording to continue; out
comes a recording, in memory or streamed to a file. Begin with `simulate`, the public contract. `law` is what moves a
field, as one value; `continuation` says what a run starts from, `inputs` reads the drive in blocks, and `run` carries
law, start and inputs out. `drive` and `wavelets` make inputs.
"""
