"""The time loops of sheets: a state (B, C, Ny, Nx) moved by any number of steps in one call.

In come NumPy arrays that have been checked already, out come new arrays, as in the room above. `leapfrog` moves
two-way fields, `convolve` fields of one level, `rim` absorbs what leaves a sheet. Both loops walk over rows, in an
order in which a row is moved by many steps while it is in a core's cache; begin with `order`, which explains it, then
`leapfrog`. `rows` and `vectors` hold what is done to a row, `planes` the memory it lies in, `source` what enters.
"""
