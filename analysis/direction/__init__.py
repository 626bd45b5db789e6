"""Direction: how much travels each way, and whether chance explains it.

In comes a recording, out come direction and travelling indices (`index`) and their tests (`significance`), whose nulls
are made by `surrogates` and, for spectra, by `swap_null`. Begin with `index`.
"""
