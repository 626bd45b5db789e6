"""Runs: one folder each, from its config to its last metrics.

Begin with `run`, whose loop reads as prose; `folder` is what a run leaves on disk and who may write to it, `sweep`
makes many runs from one config.
"""
