"""Comparison: do two recordings hold the same waves?

In come two recordings (of a model and of a brain, say), out comes a Dataset of features, distances and intervals. Begin
with `compare`; `features` measures each stretch, `common_axes` brings both to the same units, `contrast` and
`distances` compare, `scaled_spectrum` and `similarity` (CKA, RSA, DSA) stand beside them, `evoked` compares responses
to inputs, and `report` puts the result into words, tables and figures, from the form that `result` fixes.
"""
