"""Velocity: how fast a wave travels, by five estimators.

In comes a recording, out comes a Dataset of signed speeds with intervals and a status (`result`). Begin with
`estimators`; `radon`, `delays`, `phase_gradient`, `flow` and `ridge` are the five. The first two share the search for a
plane wave of `coarse_scan` and `stacking`; `ridge_centroid` is what the last measures.
"""
