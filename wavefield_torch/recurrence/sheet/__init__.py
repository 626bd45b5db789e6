"""The trainable sheet: the wave equation of second order in time over (channels, height, width).

In come an initial state, a kernel, stiffness, damping and perhaps an input per step; out come the states, or what a
readout over time makes of them. Begin with `reference`, plain PyTorch and the definition of correct; `scan` is the
public operator `sheet_scan` with its checks. `cpu` is the fused backend, with its compiled loops in the room `kernels`,
and `linear` the linear sheet, which needs no loop over time.
"""
