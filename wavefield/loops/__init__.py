"""The time loops on plain arrays: each advances a state (B, C, N) by any number of steps in one call.

In come NumPy arrays that have been checked already, out come new arrays. `leapfrog` moves two-way fields,
`convolve.transport` rings that do not act on each other, `convolve.convolve` everything else that is a convolution.
They share the drive (`tiles.Injection`), saving (`every`, `out`) and the way long rows are cut and shared among
threads. Begin with `choose`, which picks the loop for an operator; then `convolve`, then `tiles` and `stencil`.
`compilation` and `denormals` say how all of them are compiled and how they treat the smallest numbers.
"""
