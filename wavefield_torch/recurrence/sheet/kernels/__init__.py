"""The compiled part of the sheet's CPU backend: what is here, and nothing else of the room, makes Numba compile anew.

`steps` holds the loops over time for one sample, forward and back, and says how a sheet lies in memory; `blocks` is the
vector arithmetic. In come addresses and small named tuples of numbers, made in `sheet.cpu`.
"""
