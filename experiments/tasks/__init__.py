"""Tasks: what is learned, from which data, and how it is scored.

Begin with `problem`, the protocol that the training loop asks for; `problems` holds one class per task, `history` the
published linear histories, `continuation` any history-dependent system, and `curriculum` what these two share;
`segmentation` holds images whose pixels have classes.
"""
