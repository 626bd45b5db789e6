"""The CPU backend: Numba kernels fused over time, with a backward pass of their own.

In come tensors that `scan` has checked, out come states and gradients. Begin with `backend`; `arguments` and `lanes`
say what the kernels are given and how samples lie in vectors, the room `kernels` holds the compiled loops, `reverse`
drives the backward pass one segment of time after another, `threads` and `memory_pool` provide threads and memory.
"""
