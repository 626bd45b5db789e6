"""Neurons on a string: they write to a wave equation and read from it, and know of each other by nothing else."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from wavefield.checks import positive_int
from wavefield_torch.models import initialization
from wavefield_torch.models.call_convention import RecurrentModule


class MediumRNN(RecurrentModule):
    """A recurrent network whose only recurrence is a medium: a string with fixed ends, one neuron at each position.

        ψ[t+1] = 2 ψ[t] − ψ[t−1] + r² Δψ[t] + β ⊙ h[t]
        h[t+1] = tanh( V x[t+1] + σ ⊙ β ⊙ ψ[t+1] + b )

    Parameters
    ----------
    input_size : int
        I.
    hidden_size : int
        N, positions of the string and neurons on it.
    courant : float
        r, the Courant number of the string, which is not trained: 0 < r ≤ 1. At first r² + 0.01/4 must stay below 1,
        so that the string does not grow; 0.9 does.
    batch_first : bool
    generator : torch.Generator, optional

    Attributes
    ----------
    encoder (1, N, I), bias (1, N), coupling β (N,), sign σ (N,)
        At first U(±1/√I), zero, 0.1 and −1: the string pulls its neurons back, and every gradient through time keeps
        its size, as of a string with a restoring force.

    Shapes
    ------
    As of `WaveRNN` with three channels: h, ψ and the ψ before it. All three are read out.

    Notes
    -----
    After the SpatialRNN of 2026, of which only third parties' digests could be read: the coupling by one number per
    neuron and the initial values are ours, and so no number is published for it. A plain PyTorch loop over time.

    Examples
    --------
    >>> MediumRNN(2, 16)(torch.zeros(5, 3, 2))[0].shape
    torch.Size([5, 3, 48])
    """

    channels = 3
    position_order = "line"
    nonlinearity = "tanh"

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        courant: float = 0.9,
        batch_first: bool = False,
        generator: torch.Generator | None = None,
    ):
        super().__init__()
        self.input_size = positive_int(input_size, "input_size")
        self.hidden_size = positive_int(hidden_size, "hidden_size")
        if not 0 < courant <= 1:
            raise ValueError(f"courant must lie above 0 and not above 1, got {courant!r}")
        self.courant, self.batch_first = float(courant), batch_first
        encoder = initialization.initial_encoder("uniform", 1, hidden_size, input_size, generator=generator)
        self.encoder = nn.Parameter(encoder)
        self.bias = nn.Parameter(torch.zeros(1, hidden_size))
        self.coupling = nn.Parameter(torch.full((hidden_size,), 0.1))
        self.sign = nn.Parameter(-torch.ones(hidden_size))

    def _run(
        self, x: Tensor, state: Tensor | None, lengths: Tensor | None, return_sequence: bool, batch_first: bool
    ) -> tuple[Tensor | None, Tensor]:
        empty = x.new_zeros(3, x.shape[1], self.hidden_size)
        h, string, before = empty if state is None else state[0].unflatten(1, (3, self.hidden_size)).unbind(1)
        square, back = self.courant**2, self.sign * self.coupling
        driven = x @ self.encoder[0].T + self.bias[0]  # (T, B, N)
        states = []
        for t, drive in enumerate(driven):
            around = functional.pad(string, (1, 1))
            bent = around[:, 2:] + around[:, :-2] - 2 * string
            after = 2 * string - before + square * bent + self.coupling * h
            new = (drive + back * after).tanh(), after, string
            if lengths is not None:
                running = (t < lengths)[:, None]
                new = tuple(a.where(running, b) for a, b in zip(new, (h, string, before), strict=True))
            h, string, before = new
            if return_sequence:
                states.append(torch.cat(new, 1))
        last = torch.cat([h, string, before], 1)[None]
        if not return_sequence:
            return None, last
        sequence = torch.stack(states)
        return sequence.transpose(0, 1) if batch_first else sequence, last

    def extra_repr(self) -> str:
        """The settings."""
        return f"{self.input_size}, {self.hidden_size}, courant={self.courant}"
