"""Decoding few events: the support that is most probable, and the confidence in each event.

In comes the inverse problem of a request, out come events. Begin with `reader`; `problem` is one block on its way to
events: `first_guess` begins, `posterior` says how probable a support is, `search` finds the best and the confidences,
`misfit` tests what is left.
"""
