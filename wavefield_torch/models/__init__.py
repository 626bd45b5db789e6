"""Models: modules called like `torch.nn.RNN`, and what stands around them.

In comes (T, B, I), out come (output, h_n). Begin with `wave_rnn`; `baselines` are compared with it, `call_convention`
is how all of them treat batches and packed sequences, `readout` adds a readout, `initialization` draws initial weights,
`history_rnn` builds networks from the theory of working memory, `published` converts to and from the papers' code.
"""
