"""Recordings: the one data model, and its files.

In come arrays with their coordinates; out come checked `xarray.Dataset`s and netCDF files that appear under their final
name only when they are complete. Begin with `recording`, which documents the data model; `schema` holds its rules and
checks them, `writer` appends in time, and `partial_file` is the file while it is being written.
"""
