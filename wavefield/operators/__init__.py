"""Wave operators: what moves a field by one step.

In come physical parameters (speed, damping, dx, dt, boundary) or a kernel of the user's own; out comes a `WaveOperator`
with its symbol, dispersion relation, stability and power, the encoder through which inputs enter, and the linear map
from inputs to a snapshot (`design`), on which decoding and capacity rest. Begin with `operator`, whose module
docstring states the equation and the boundaries; `equations` derives the kernels, and `step_matrix` is the executable
definition of one step that every fast loop is tested against.
"""
