"""Inspection: what a trained network does.

In comes a network, out come recordings of its hidden states (`record`), its linearisation (`linearise`) and the
gradient that reaches each lag (`gradients`).
"""
