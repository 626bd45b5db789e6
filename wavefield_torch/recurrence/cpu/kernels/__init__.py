"""The compiled part of the CPU backend: what is here, and nothing else, makes Numba compile anew when it changes.

`forward` and `backward` hold the loops over time for one group of samples, `simd`, `simd_block` and `simd_math` the
vector arithmetic. In come addresses and small named tuples of numbers, made in `arguments` one room above.
"""
