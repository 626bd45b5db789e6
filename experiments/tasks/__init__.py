"""Tasks: what is learned, from which data, and how it is scored.

Begin with `problems`, one class per task; `history` holds the history-dependent systems.
"""
