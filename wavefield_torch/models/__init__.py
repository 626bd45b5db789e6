"""Models: modules called like `torch.nn.RNN`, their readouts and initial weights.

In comes (T, B, I), out come (output, h_n). Begin with `wave_rnn`; `baselines` are compared with it, `call_convention`
says how all of them treat batches and packed sequences, `readout` adds a readout, `initialization` draws initial
weights, `history_rnn` builds networks from the theory of working memory, `travelling_memory` is a line whose driven end
is linear, self-attention or any module, `linear_sheet` a sheet without a loop over time, `published` counts parameters
as papers do and converts to and from the published code.
"""
