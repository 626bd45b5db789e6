"""Baselines for the wave RNN, with the same call: module(input, hx, return_sequence=…) → (output, h_n).

- `IdentityRNN`: a dense ReLU RNN started at U = 1 (iRNN; Le, Jaitly & Hinton 2015), the "static bump", or at the
  shift Σ, which starts as a wave and need not stay one in training;
- `LSTM`, `GRU`: PyTorch's own;
- `LocallyConnectedRNN`: the wave RNN with a kernel of its own at every position (no weight sharing);
- `Tape`: no recurrence and no parameter: its state is the input of the last steps, so that a linear readout of it is a
  linear map of the flattened input.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from wavefield_torch.models import initialization
from wavefield_torch.models.call_convention import RecurrentModule, freeze, last_step, leak_and_noise, one_state


class _OfPyTorch(nn.RNNBase):
    """A recurrent module of PyTorch, with `output_size` and `return_sequence` added."""

    channels = 1
    position_order = "none"  # units are exchangeable
    initial_state: nn.Parameter | None  # (L, H), of an LSTM (2, L, H)

    @property
    def directions(self) -> int:
        """1, or 2 if bidirectional."""
        return 2 if self.bidirectional else 1

    @property
    def output_size(self) -> int:
        """Features of the output, hidden_size · directions."""
        return self.hidden_size * self.directions

    def forward(self, input, hx=None, *, h0=None, return_sequence: bool = True):
        if isinstance(input, Tensor) and input.dim() > 1 and input.shape[-2 if self.batch_first else 0] == 0:
            raise ValueError("input must have at least one time step, got an empty sequence")
        output, last = super().forward(input, self._state(input, one_state(hx, h0)))
        return output if return_sequence else last_step(output, self.batch_first), last

    def _train_initial_state(self, wanted: bool) -> None:
        """Make the state before the first step, where none is given, a parameter, zero at first."""
        shape = ((2,) if self.mode == "LSTM" else ()) + (self.num_layers * self.directions, self.hidden_size)
        weight = next(self.parameters())
        start = nn.Parameter(torch.zeros(shape, dtype=weight.dtype, device=weight.device)) if wanted else None
        self.register_parameter("initial_state", start)

    def _state(self, input, state):
        if state is not None or self.initial_state is None:
            return state
        start = self.initial_state
        if isinstance(input, PackedSequence):
            start = start[..., None, :].expand(*start.shape[:-1], int(input.batch_sizes[0]), -1)
        elif input.dim() == 3:
            start = start[..., None, :].expand(*start.shape[:-1], input.shape[0 if self.batch_first else 1], -1)
        start = start.contiguous()
        return tuple(start) if self.mode == "LSTM" else start


class IdentityRNN(_OfPyTorch, nn.RNN):
    """Dense RNN h[t+1] = σ(U h[t] + V x[t] + b) with a structured start, a `torch.nn.RNN` inside.

    Parameters
    ----------
    input_size, hidden_size : int
    num_layers, batch_first, dropout, bidirectional, device, dtype
        As of `torch.nn.RNN`. Layers above the first start with a uniform encoder where the first has a sparse one.
    recurrence : {"identity", "shift", "uniform"}
        U to start from: 1 (iRNN), Σ (a wave), or U(±1/√N); see `initialization.initial_recurrence`.
    encoder : {"uniform", "gaussian", "sparse"}
        V to start from. The published code has ``gaussian`` for copy and adding, ``uniform`` for images.
    nonlinearity : {"relu", "tanh"}
    bias : bool or {"clean", "reference", "none"}
        True or ``clean``: one bias, zero (PyTorch's second one stays at zero). ``reference``: two; that of V zero
        beside a sparse encoder, else U(±1/√I), that of U zero, or U(±1/√N) beside a uniform U. False or ``none``: none.
    trainable_initial_state
        As of `WaveRNN`.
    freeze_encoder, freeze_recurrence : bool
        Keep V, or U, with its bias as it is.
    generator : torch.Generator, optional

    Examples
    --------
    >>> net = IdentityRNN(2, 8)
    >>> output, h_n = net(torch.zeros(5, 3, 2), return_sequence=False)
    >>> output.shape, h_n.shape
    (torch.Size([1, 3, 8]), torch.Size([1, 3, 8]))
    """

    weight_ih_l0: nn.Parameter
    weight_hh_l0: nn.Parameter
    bias_ih_l0: nn.Parameter  # absent without biases
    bias_hh_l0: nn.Parameter

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "relu",
        bias: bool | str = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device=None,
        dtype=None,
        *,
        recurrence: str = "identity",
        encoder: str = "uniform",
        trainable_initial_state: bool = False,
        freeze_encoder: bool = False,
        freeze_recurrence: bool = False,
        generator: torch.Generator | None = None,
    ):
        kind = initialization.bias_kind(bias)
        super().__init__(
            input_size,
            hidden_size,
            num_layers,
            nonlinearity=nonlinearity,
            bias=kind != "none",
            batch_first=batch_first,
            dropout=dropout,
            bidirectional=bidirectional,
            device=device,
            dtype=dtype,
        )
        self.bias_kind = kind
        if recurrence == "shift":
            self.position_order = "ring"
        for layer in range(num_layers):
            start = encoder if layer == 0 or encoder != "sparse" else "uniform"
            for direction in ("", "_reverse")[: self.directions]:
                self._start(f"l{layer}{direction}", recurrence, start, generator)
        freeze(freeze_encoder, *(p for name, p in self.named_parameters() if "_ih_" in name))
        freeze(freeze_recurrence, *(p for name, p in self.named_parameters() if "_hh_" in name))
        freeze(kind == "clean", *(p for name, p in self.named_parameters() if "bias_hh_" in name))
        self._train_initial_state(trainable_initial_state)

    @torch.no_grad()
    def _start(self, name, recurrence, encoder, generator):
        """Initial values of one layer in one direction."""
        weight_hh, weight_ih = (getattr(self, f"weight_{part}_{name}") for part in ("hh", "ih"))
        size, inputs = weight_ih.shape
        weight_hh.copy_(initialization.initial_recurrence(recurrence, size, generator=generator))
        weight_ih.copy_(initialization.initial_encoder(encoder, 1, size, inputs, generator=generator)[0])
        if not self.bias:
            return
        bias_hh, bias_ih = (getattr(self, f"bias_{part}_{name}") for part in ("hh", "ih"))
        nn.init.zeros_(bias_ih)
        nn.init.zeros_(bias_hh)
        if self.bias_kind == "reference":
            bias_ih.copy_(initialization.reference_encoder_bias(encoder, (size,), inputs, generator=generator))
            if recurrence == "uniform":
                nn.init.uniform_(bias_hh, -1 / math.sqrt(size), 1 / math.sqrt(size), generator=generator)


class LSTM(_OfPyTorch, nn.LSTM):
    """`torch.nn.LSTM`; hx and h_n are pairs (h, c). Its units have no spatial order.

    Takes `generator` and `trainable_initial_state` too, as `WaveRNN` does.
    """

    def __init__(
        self,
        *arguments,
        trainable_initial_state: bool = False,
        generator: torch.Generator | None = None,
        **options,
    ):
        super().__init__(*arguments, **options)
        _redraw(self, generator)
        self._train_initial_state(trainable_initial_state)


class GRU(_OfPyTorch, nn.GRU):
    """`torch.nn.GRU`. Its units have no spatial order.

    Takes `generator` and `trainable_initial_state` too, as `WaveRNN` does.
    """

    def __init__(
        self,
        *arguments,
        trainable_initial_state: bool = False,
        generator: torch.Generator | None = None,
        **options,
    ):
        super().__init__(*arguments, **options)
        _redraw(self, generator)
        self._train_initial_state(trainable_initial_state)


class LocallyConnectedRNN(RecurrentModule):
    """Wave RNN whose kernel is not shared: local connections, each its own weight.

        h[o, n][t+1] = σ( Σ_{i,k} u[o, i, k, n] · h[i, (n + k − K//2) mod N][t] + V x[t] + b )

    Parameters
    ----------
    input_size, hidden_size, channels, kernel_size, nonlinearity, batch_first, generator
        As of `WaveRNN`.
    leak, noise, trainable_initial_state
        As of `WaveRNN`.
    operator : {"shift", "identity", "uniform"}
        Kernel that every position starts from; ``uniform`` draws each position's own.
    encoder : {"sparse", "gaussian", "uniform"}
    bias : bool
        One bias per unit, zero at first. (The published code has two of this shape, which add.)
    freeze_encoder, freeze_recurrence : bool

    Notes
    -----
    A plain PyTorch loop over time, for small experiments.

    Examples
    --------
    >>> LocallyConnectedRNN(1, 16, channels=2)(torch.zeros(4, 3, 1))[0].shape
    torch.Size([4, 3, 32])
    """

    bias: nn.Parameter | None
    initial_state: nn.Parameter | None  # (C, N), where it is trained

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        channels: int = 1,
        kernel_size: int = 3,
        nonlinearity: str = "relu",
        bias: bool = True,
        batch_first: bool = False,
        operator: str = "shift",
        encoder: str = "sparse",
        leak: float = 1.0,
        noise: float = 0.0,
        trainable_initial_state: bool = False,
        freeze_encoder: bool = False,
        freeze_recurrence: bool = False,
        generator: torch.Generator | None = None,
        device=None,
        dtype=None,
    ):
        super().__init__()
        self.leak, self.noise = leak_and_noise(leak, noise)
        if nonlinearity not in _ACTIVATIONS:
            raise ValueError(f"nonlinearity must be one of {', '.join(_ACTIVATIONS)}, got {nonlinearity!r}")
        if kernel_size % 2 == 0 or kernel_size < 1:
            raise ValueError(f"kernel_size must be odd and positive, got {kernel_size}")
        self.input_size, self.hidden_size = input_size, hidden_size
        self.channels, self.kernel_size = channels, kernel_size
        self.nonlinearity, self.batch_first = nonlinearity, batch_first
        self.position_order = "ring"
        kernels = [
            initialization.initial_kernel(operator, channels, kernel_size, generator=generator)
            for _ in range(hidden_size if operator == "uniform" else 1)
        ]
        place = {"device": device, "dtype": dtype}
        kernel = torch.stack(kernels, -1).expand(-1, -1, -1, hidden_size)
        initial_encoder = initialization.initial_encoder(
            encoder, channels, hidden_size, input_size, generator=generator
        )
        self.kernel = nn.Parameter(kernel.clone().to(**place), requires_grad=not freeze_recurrence)
        self.encoder = nn.Parameter(initial_encoder.to(**place), requires_grad=not freeze_encoder)
        units = torch.zeros(channels, hidden_size, **place)
        self.register_parameter("bias", nn.Parameter(units, requires_grad=not freeze_encoder) if bias else None)
        self.register_parameter("initial_state", nn.Parameter(units.clone()) if trainable_initial_state else None)

    def _run(
        self, x: Tensor, state: Tensor | None, lengths: Tensor | None, return_sequence: bool, batch_first: bool
    ) -> tuple[Tensor | None, Tensor]:
        batch, (channels, size) = x.shape[1], self.encoder.shape[:2]
        if state is not None:
            h = state[0].unflatten(1, (channels, size))
        elif self.initial_state is not None:
            h = self.initial_state.expand(batch, channels, size)
        else:
            h = x.new_zeros(batch, channels, size)
        h = h.permute(2, 0, 1)  # (N, B, C): a product of matrices per position
        local = self.kernel.permute(3, 2, 1, 0).flatten(1, 2)  # (N, K·C, C)
        encoder = self.encoder.permute(1, 2, 0)  # (N, I, C)
        offset = 0.0 if self.bias is None else self.bias.T[:, None]
        shifts = [self.kernel_size // 2 - k for k in range(self.kernel_size)]
        states = []
        for t, x_t in enumerate(x):
            near = torch.cat([torch.roll(h, shift, dims=0) for shift in shifts], dim=2)  # (N, B, K·C)
            total = near @ local + x_t @ encoder + offset
            if self.noise and self.training:
                total = total + self.noise * torch.randn_like(total)
            after = _ACTIVATIONS[self.nonlinearity](total)
            after = after if self.leak == 1 else torch.lerp(h, after, self.leak)
            h = after if lengths is None else after.where((t < lengths)[:, None], h)
            if return_sequence:
                states.append(h)
        last = _flat(h)[None].clone()
        if not return_sequence:
            return None, last
        states = _flat(torch.stack(states))
        return states.transpose(0, 1) if batch_first else states, last

    def extra_repr(self) -> str:
        return (
            f"{self.input_size}, {self.hidden_size}, channels={self.channels}, kernel_size={self.kernel_size}, "
            f"nonlinearity={self.nonlinearity}"
        )


class Tape(RecurrentModule):
    """The last `hidden_size` inputs as they are, newest first: the control with a memory but no dynamics.

        h[i, n][t] = x[t − n, i],       zero before the sequence began

    It is an open line per input on which the input travels one unit per step; it has no weights. A linear readout of
    its last state is the linear map of the flattened input to which the paper compares (92.4 % on MNIST).

    Parameters
    ----------
    input_size : int
        I; the inputs are the channels of the state.
    hidden_size : int
        Number of past steps kept.

    Examples
    --------
    >>> x = torch.tensor([1.0, 2.0, 3.0]).reshape(3, 1)
    >>> Tape(1, 4)(x)[1].tolist()
    [[3.0, 2.0, 1.0, 0.0]]
    """

    def __init__(self, input_size: int, hidden_size: int, *, batch_first: bool = False):
        super().__init__()
        if min(input_size, hidden_size) < 1:
            raise ValueError(f"input_size and hidden_size must be at least 1, got {input_size} and {hidden_size}")
        self.input_size, self.hidden_size, self.batch_first = input_size, hidden_size, batch_first
        self.channels = input_size
        self.position_order = "line"

    def _run(
        self, x: Tensor, state: Tensor | None, lengths: Tensor | None, return_sequence: bool, batch_first: bool
    ) -> tuple[Tensor | None, Tensor]:
        steps, batch, inputs = x.shape
        if state is None:
            before = x.new_zeros(self.hidden_size, batch, inputs)
        else:
            before = state[0].unflatten(1, (inputs, self.hidden_size)).movedim(2, 0).flip(0)  # oldest first
        tape = torch.cat([before, x])
        newest = torch.full((batch,), steps, device=x.device) if lengths is None else lengths
        rows = self.hidden_size - 1 + newest - torch.arange(self.hidden_size, device=x.device)[:, None]  # (N, B)
        last = tape[rows, torch.arange(batch, device=x.device)].permute(1, 2, 0).flatten(1)[None]
        if not return_sequence:
            return None, last
        windows = tape[1:].unfold(0, self.hidden_size, 1).flip(-1).flatten(2)  # (T, B, I·N)
        return windows.transpose(0, 1) if batch_first else windows, last

    def extra_repr(self) -> str:
        return f"{self.input_size}, {self.hidden_size}"


def _flat(h):
    """(…, N, B, C) → (…, B, C·N)."""
    return h.movedim(-3, -1).flatten(-2)


_ACTIVATIONS = {"relu": torch.relu, "tanh": torch.tanh, "identity": lambda h: h}


def _redraw(module, generator):
    """PyTorch's own initial values, U(±1/√N), from the generator."""
    if generator is not None:
        bound = 1 / math.sqrt(module.hidden_size)
        for parameter in module.parameters():
            nn.init.uniform_(parameter, -bound, bound, generator=generator)
