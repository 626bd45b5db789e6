"""Velocity: how fast a wave travels, by four estimators.

In comes a recording, out comes a Dataset of signed speeds with intervals and a status (`result`). Begin with
`estimators`; `radon`, `delays`, `phase_gradient` and `ridge` are the four. The first two share the search for a plane
wave of `coarse_scan` and `stacking`, the first three the `intervals`; `ridge_centroid` is what the last measures.
"""
