"""Phase: analytic signals, spatial phase gradients and patterns.

In comes a recording, out come phases and their gradients (`signal`), and what those show: rotations, sources and
singularities (`patterns`). Begin with `signal`.
"""
