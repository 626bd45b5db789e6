"""The inverse problem of a decoding request: its forward map in independent blocks of distinguishable columns.

In comes a request, out come blocks of columns with the snapshot's values that they have to explain. Begin with
`problem`; `classes` joins columns of equal traces, `columns` holds a block's columns and their scalar products,
`spectral` does the same mode by mode for rings too long to be written out.
"""
