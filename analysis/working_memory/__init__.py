"""Working memory: the wave in the weights of a recurrent network.

In come the weights of a network, linear or linearised; out come the basis in which it is a shift with a driven end
(`recovery`) and its eigenvalues beside those of the theory (`eigenvalues`). `analysis.plot_memory` draws both.
"""
