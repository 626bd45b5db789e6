"""The GPU backend of rings, one Triton program per sample, fused over time; and that of sheets, a launch per step.

Begin with `kernels`; `backend` calls them with the right shapes and accumulates gradients. `sheet_kernels` and
`sheet_backend` are the same for `sheet_scan`.
"""
