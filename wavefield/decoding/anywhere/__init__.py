"""Decoding events of which nobody says where they entered: place, onset and amplitude from one snapshot of a sheet.

In come the snapshots of a request, out come events with their places. Begin with `reader`; `responses` says what one
event leaves at every place and age (`modal` by fast transforms, `stepped` by stepping the adjoint), `pursuit` finds
the first support among all of them, and the room `sparse` judges it. `picture` reads a complete image that was shown
at a known time, `places` lists what was found.
"""
