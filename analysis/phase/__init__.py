"""Phase: analytic signals, spatial phase gradients and patterns.

In comes a recording, out come phases and their gradients (`signal`), rotations, sources and singularities (`patterns`)
and current source densities (`current_sources`).
"""
