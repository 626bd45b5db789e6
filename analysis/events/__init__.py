"""Events: the segments of time in which a wave is there.

In comes a recording, out comes a table of events that are more massive than chance allows. Begin with `detection`;
`clusters` forms the clusters of times and places, and draws those of chance.
"""
