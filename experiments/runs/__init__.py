"""Runs: one folder each, from its config to its last metrics.

Begin with `folder`, what lies on disk and who may write to it; `options` are those of a command line, `child` a run in
a process of its own. The training loop is `experiments.run`.
"""
