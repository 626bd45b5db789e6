"""Comparison: do two recordings hold the same waves?

In come two recordings (of a model and of a brain, say), out comes a Dataset of features, distances and intervals. Begin
with `compare`; `segments` cuts a recording into the segments of time that results count along the dim ``stretch``,
`features` measures each of them, `common_axes` brings both sides to the same units, `contrast` and `distances` compare
them, property by property, `scaled_spectrum` compares all frequencies at once, `evoked` compares responses to inputs.
`analysis.similarity` (CKA, RSA, DSA) stands beside them, and `analysis.report` puts the result into words, tables and
figures, from the form that `result` fixes.
"""
