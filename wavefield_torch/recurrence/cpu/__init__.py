"""The CPU backend: Numba kernels fused over time, with a backward pass of their own.

In come contiguous tensors that `scan` has checked, out come states and gradients. Begin with `backend`; `arguments` and
`lanes` say what the kernels are given and how samples lie in vectors, `forward` and `backward` hold the loops,
`reverse` drives the backward pass one segment of time after another, `simd`, `simd_block` and `simd_math` hold the
vector arithmetic, `threads` and `memory_pool` hand out work and memory.
"""
