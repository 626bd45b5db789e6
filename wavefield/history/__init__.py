"""Travelling-wave working memory: any history-dependent dynamical system as a wave with a driven end.

A system x_t = f(x_{t−1}, …, x_{t−s}) of dimension d runs on d lines of s positions. The states travel along the lines
without acting on each other, and leave at the open end; the other end is driven by f of all of the field:

    h_i(t+1) = h_{i+1}(t),  1 ≤ i < s;      h_s(t+1) = f(h_s(t), …, h_1(t))

Slot s holds the newest state and slot 1 the oldest. With the s first states on the lines the field reproduces the
sequence exactly (theorem 3.1 of the paper). Where f is linear, the step is a matrix Φ, a shift and a boundary row:
a `WaveOperator` with an open boundary, and in any basis Ψ an equivalent linear recurrent network.

Vectors of a complete history are slot-major, h = (h_1, …, h_s), as in the paper; recordings, wave operators and
`WaveRNN` are channel-major, one line per dimension, slot i at position i − 1. `to_channel_major` and `to_slot_major`
convert.

References
----------
Karuvally, Sejnowski and Siegelmann, "Hidden traveling waves bind working memory variables in recurrent neural
networks", ICML 2024 (PMLR 235), arXiv 2402.10163.

A driven end that is trained, linear, self-attention or any module, is `wavefield_torch.TravellingMemory`.

Begin with `system`; `maps` and `nonlinear` are the named systems, `run` moves any of them along its lines.
"""

from wavefield.history.maps import (
    attention,
    fibonacci,
    linear,
    random_linear,
    repeat_copy,
    signed_permutation,
    task,
)
from wavefield.history.nonlinear import delayed_logistic, generalised_henon, mackey_glass, modular
from wavefield.history.run import RNNWeights, rnn_weights, simulate
from wavefield.history.system import HistorySystem, to_channel_major, to_slot_major

__all__ = [
    "HistorySystem",
    "RNNWeights",
    "attention",
    "delayed_logistic",
    "fibonacci",
    "generalised_henon",
    "linear",
    "mackey_glass",
    "modular",
    "random_linear",
    "repeat_copy",
    "rnn_weights",
    "signed_permutation",
    "simulate",
    "task",
    "to_channel_major",
    "to_slot_major",
]
