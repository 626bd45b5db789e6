"""The GPU backend: one Triton program per sample, fused over time.

Begin with `kernels`; `backend` calls them with the right shapes and accumulates gradients.
"""
