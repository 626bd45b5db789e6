"""Decoding: from one snapshot of a field to the inputs that came before it.

In comes a snapshot or a recording, out comes a Dataset of events with onsets, amplitudes and confidences. Begin with
`decode`, which reads as the description of the method; `request` is the validated request. Three readers answer it,
each with a method `read`: `exact` where the field only shifts (`shifts`, with `noise` to distinguish events from noise
in single cells), the room `sparse` for few events, `dense` for a drive at every step. The last two solve the problem
that the room `inverse` prepares. `events` is what the readers return.
"""
