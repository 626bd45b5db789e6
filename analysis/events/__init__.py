"""Events: stretches of time in which a wave is there.

In comes a recording, out comes a table of events that hold against surrogates. Begin with `detection`; `clusters` forms
and tests the clusters of times.
"""
