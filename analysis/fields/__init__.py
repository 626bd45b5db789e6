"""Fields: a recording, read and checked.

In comes anything that users call a recording (a Dataset, an array with dims); out come its values with evenly spaced
axes and units (`axes`), the places of its sensors and their neighbours (`sensors`), and which positions are dead
(`dead`). `grid` places electrodes on a grid. Every other room stands on this one.
"""
