"""Sheets as modules: what `sheet_scan` runs on, with parameters of its own.

Begin with `wave_sheet`, which is also the bridge to and from the sheets of `wavefield`; `linear_sheet` needs no loop
over time. Models whose sheet an image makes are in the room `segmentation`.
"""
