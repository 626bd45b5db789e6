"""Decoding: from one snapshot of a field to the inputs that came before it.

In comes a snapshot or a recording, out comes a Dataset of events with onsets, amplitudes and confidences. Begin with
`decode`, which reads as the description of the method; `request` is what was asked, validated. Three readers answer it:
`exact` where the field only shifts, `sparse` for few events (with `classes`, `first_guess`, `posterior` and `noise` as
its parts), `dense` for a drive at every step. `events` is what they return.
"""
