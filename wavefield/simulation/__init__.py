"""Simulation: from an operator and a drive to a recording.

In come a `WaveOperator` and a drive (arrays, spikes, files), and optionally a recording to continue; out comes a
recording, in memory or streamed to a file. Begin with `simulate`, the public contract; `drive` makes inputs, `inputs`
reads them in blocks, `continuation` says what a run starts from, `run` carries it out.
"""
