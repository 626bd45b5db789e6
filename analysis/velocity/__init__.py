"""Velocity: how fast a wave travels, by four estimators.

In comes a recording, out comes a Dataset of signed speeds with intervals and a status (`result`). Begin with
`estimators`; `radon`, `delays`, `phase_gradient` and `dispersion` are the four, `coarse_scan` and `stacking` the search
for a plane wave that they share, `intervals` how uncertain it is.
"""
