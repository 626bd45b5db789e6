"""The recurrence: one operator with several backends.

In come tensors x, encoder, kernel, bias and h0; out come the states, or what a readout makes of them. Begin with
`reference`, plain PyTorch and the definition of correct; `scan` is the public operator `wave_scan` with its checks,
`readout_scan` the same with a readout of the last states fused, `parallel` the associative scan of linear networks. The
rooms `cpu` (Numba) and `triton` (GPU) are the fused backends and are imported when first used.
"""
