"""Memory capacity: how much of its past a snapshot holds.

In come an operator and a number of positions (or measured states and inputs), out come Datasets of capacity by lag,
rank and conditioning. Begin with `memory_capacity`; `covariance` computes the covariance of states with all its digits,
`conditioning` the singular values of the map from inputs to a snapshot.
"""
