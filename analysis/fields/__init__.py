"""Fields: a recording, read and checked once.

In comes anything that users call a recording (a Dataset, an array with dims); out comes a `field.Field`: its values
(`read`), evenly spaced axes (`axes`), the places of its sensors and their neighbours (`sensors`), and which positions
are dead (`dead`). Begin with `field`. `band` checks bands of frequencies, `units` spells units and attributes, `grid`
places electrodes on a grid and `current_sources` turns potentials into the currents behind them. Every other room
stands on this one.
"""
