"""Models that give every pixel of an image a class: the Neural Wave Machine, and what it is compared with.

In comes an image (B, I, H, W), out come logits (B, classes, H, W). Begin with `neural_wave_machine`; `segmenter` reads
a recurrence through time (`time_readout`) and asks a small network at every pixel, `conv_lstm` is the gated recurrence
beside it, `feed_forward` holds local CNNs, U-Nets and the encoders without a recurrence, `layers` the convolutions with
their initial values.
"""
