"""The wave RNN: a recurrent network whose recurrence is a wave operator, called like `torch.nn.RNN`, and its cell."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from wavefield import WaveOperator
from wavefield_torch.models.call_convention import RecurrentModule
from wavefield_torch.models.layers import run_layers
from wavefield_torch.models.wave_layer import WaveLayer


class WaveRNN(WaveLayer, RecurrentModule):
    """Recurrent network on C rings of N units, moved by one local, shared kernel (Keller et al., ICLR 2024, eq. 3).

        h[t+1] = σ( u ⋆ h[t] + V x[t] + b ),      (u ⋆ h)[o, n] = Σ_{i,k} u[o, i, k] · h[i, (n + k − K//2) mod N]

    Called like `torch.nn.RNN`, and equivalent to the loop

        for t in range(T):
            h = σ(conv1d(circular_pad(h), kernel) + x[t] @ encoder.T + bias)

    which runs as one operator (`wave_scan`).

    Parameters
    ----------
    input_size : int
        I, features of the input.
    hidden_size : int
        N, units of each ring; the state has `output_size` = C·N of them.
    num_layers : int
        Layers, each on the output of the one below. Those above the first start with a uniform encoder where the first
        has a sparse one or an array: one unit that reads the sum of a layer would lose its positions.
    nonlinearity : {"relu", "tanh", "identity"}
        σ.
    bias : bool or {"clean", "reference", "none"}
        True or ``clean``: one bias per unit, zero at first. ``reference``: the two of the published code, one per unit
        beside V (zero beside the sparse encoder, else U(±1/√I)) and one per channel beside the kernel
        (U(±1/√(C·K))); choose it to replicate published runs. False or ``none``: no bias.
    batch_first : bool
        Input and output are (B, T, …) instead of (T, B, …).
    dropout : float
        Probability with which units of each layer but the last are dropped in training.
    bidirectional : bool
        Every layer also runs backwards in time, with parameters of its own.
    device, dtype
        As in any module.
    channels : int, optional
        C, rings; by default 1, or those of `operator`.
    kernel_size : int, optional
        K, odd; by default 3, or that of `operator`.
    operator : {"shift", "identity", "uniform"} or WaveOperator
        Kernel to start from: the paper's u-shift (a wave of one unit per step towards lower positions), no wave, at
        random, or physics, periodic or open (a boundary row is trained too). See `initialization.initial_kernel`.
    encoder : {"sparse", "gaussian", "uniform"} or array, shape (C, N, I)
        V to start from; see `initialization.initial_encoder`.
    freeze_encoder, freeze_recurrence : bool
        Keep V (with its bias), or the kernel (with its bias and the boundary row), as they are.
    backend, checkpoint_every
        As in `wave_scan`.
    leak : float
        α, above 0 and at most 1, the share of a step that is new: h[t+1] = (1 − α) h[t] + α σ(…), as trainers of firing
        rates have it with α = dt/τ.
    noise : float
        Standard deviation of Gaussian noise ξ that is added to what σ is applied to, at every unit and step, in
        training only and drawn as `torch.nn.Dropout` draws, from the generator that `torch.manual_seed` seeds. For the
        σ_rec of leaky networks of rates give √(2/α)·σ_rec. With a leak or noise the reference backend runs.
    trainable_initial_state : bool
        The state before the first step, where none is given, is a parameter of each layer, zero at first.
    generator : torch.Generator, optional
        Source of the random initial values.

    Inputs
    ------
    input : (T, B, I), (T, I) or a PackedSequence; (B, T, I) with `batch_first`
    hx : (L, B, C·N), or (L, C·N) unbatched; zero, or `initial_state`, unless given. L = layers · directions, ordered as
        `torch.nn.RNN` has them; `h0` is another name for it
    return_sequence : bool
        False keeps the last state only, in far less memory: `output` then holds one step.

    Outputs
    -------
    output : (T, B, C·N), the states of the last layer, channel-major; (T, C·N), packed or (B, T, C·N) as the input was;
        2·C·N with two directions, one after the other
    h_n : (L, B, C·N), or (L, C·N) unbatched: the last state of each layer and direction

    Both belong to the caller: they share no memory, and may be changed in place.

    Attributes
    ----------
    kernel : Parameter (C, C, K)
    encoder : Parameter (C, N, I)
    bias : Parameter (C, N) or None; with ``bias="reference"`` in its place encoder_bias (C, N) and kernel_bias (C,)
    boundary_row : Parameter (C, C, N) or None
    initial_state : Parameter (C, N) or None
    more_layers : ModuleList of further layers and directions, each with these parameters; without them absent

    Raises
    ------
    ValueError, TypeError
        Naming the argument, what was given and what is accepted.

    Examples
    --------
    >>> net = WaveRNN(input_size=1, hidden_size=64, channels=2)
    >>> output, h_n = net(torch.zeros(10, 3, 1))
    >>> output.shape, h_n.shape
    (torch.Size([10, 3, 128]), torch.Size([1, 3, 128]))
    """

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
        channels: int | None = None,
        kernel_size: int | None = None,
        operator: str | WaveOperator = "shift",
        encoder="sparse",
        backend: str = "auto",
        checkpoint_every: int | None = None,
        leak: float = 1.0,
        noise: float = 0.0,
        trainable_initial_state: bool = False,
        freeze_encoder: bool = False,
        freeze_recurrence: bool = False,
        generator: torch.Generator | None = None,
    ):
        options = {
            "nonlinearity": nonlinearity,
            "bias": bias,
            "channels": channels,
            "kernel_size": kernel_size,
            "operator": operator,
            "backend": backend,
            "checkpoint_every": checkpoint_every,
            "leak": leak,
            "noise": noise,
            "trainable_initial_state": trainable_initial_state,
            "freeze_encoder": freeze_encoder,
            "freeze_recurrence": freeze_recurrence,
            "generator": generator,
            "device": device,
            "dtype": dtype,
        }
        super().__init__(input_size, hidden_size, encoder=encoder, **options)
        self._set_layers(num_layers, dropout, bidirectional)
        self.batch_first = batch_first
        above = encoder if isinstance(encoder, str) and encoder != "sparse" else "uniform"
        inputs, encoders = (input_size, self.output_size), (encoder, above)  # of the first layer and of others
        more = [
            WaveLayer(inputs[layer > 0], hidden_size, encoder=encoders[layer > 0], **options)
            for layer in range(self.num_layers)
            for direction in range(self.directions)
            if layer or direction
        ]
        if more:
            self.more_layers = nn.ModuleList(more)

    @property
    def output_size(self) -> int:
        """Features of the output, channels · hidden_size · directions."""
        return self.channels * self.hidden_size * self.directions

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Put every parameter back to its initial value, random ones drawn anew from `generator`."""
        super().reset_parameters(generator)
        for layer in getattr(self, "more_layers", ()):
            layer.reset_parameters(generator)

    def forward(self, input, hx=None, *, h0=None, return_sequence: bool = True):
        if isinstance(input, Tensor) and input.dim() == 3 and (hx is None or h0 is None):
            stepped = self._stepped(input, h0 if hx is None else hx)
            if stepped is not None:
                return stepped
        return super().forward(input, hx, h0=h0, return_sequence=return_sequence)

    def _stepped(self, input, state):
        """(output, h_n) of a single step that is little work; None of anything else, or if something does not fit."""
        time = 1 if self.batch_first else 0
        steps, batch, inputs = input.shape if time == 0 else (input.shape[1], input.shape[0], input.shape[2])
        if steps != 1 or inputs != self.input_size or self.num_layers > 1 or self.bidirectional:
            return None
        units = self.channels * self.hidden_size
        if state is not None and (not isinstance(state, Tensor) or state.shape != (1, batch, units)):
            return None
        last = self._one_step(input.select(time, 0), state)
        if last is None:
            return None
        last = last.view(1, batch, units)
        return (last.view(batch, 1, units) if time else last).clone(), last

    def _run(
        self, x: Tensor, state: Tensor | None, lengths: Tensor | None, return_sequence: bool, batch_first: bool
    ) -> tuple[Tensor | None, Tensor]:
        scans = [self._scan, *(layer._scan for layer in getattr(self, "more_layers", ()))]
        return run_layers(
            scans,
            x,
            state,
            lengths,
            return_sequence=return_sequence,
            batch_first=batch_first,
            bidirectional=self.bidirectional,
            dropout=self.dropout if self.training else 0.0,
        )

    def _also_shown(self):
        shown = {"num_layers": self.num_layers} if self.num_layers != 1 else {}
        shown |= {"batch_first": True} if self.batch_first else {}
        shown |= {"dropout": self.dropout} if self.dropout else {}
        return shown | ({"bidirectional": True} if self.bidirectional else {})


class WaveRNNCell(WaveLayer):
    """One step of a `WaveRNN`, with the interface of `torch.nn.RNNCell`.

        h' = σ( u ⋆ h + V x + b )

    For streams, sampling and policies, where the next input is known only after the step. A cell and a `WaveRNN` of one
    layer have the same parameters under the same names.

    Parameters
    ----------
    input_size, hidden_size, bias, nonlinearity, device, dtype
        As of `WaveRNN`, in the order of `torch.nn.RNNCell`.
    **options
        The others of `WaveRNN` that concern one layer: channels, kernel_size, operator, encoder, backend, …

    Inputs
    ------
    input : (B, I) or (I,)
    hx : (B, C·N) or (C·N,); zero, or `initial_state`, unless given

    Outputs
    -------
    h' : (B, C·N) or (C·N,)

    Raises
    ------
    ValueError, TypeError
        Naming the argument, what was given and what is accepted.

    Examples
    --------
    >>> cell, state = WaveRNNCell(1, 8), None
    >>> for x in torch.tensor([[1.0], [0.0], [0.0]]):
    ...     state = cell(x, state)
    >>> state
    tensor([0., 0., 0., 0., 0., 0., 1., 0.], grad_fn=<SqueezeBackward1>)
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool | str = True,
        nonlinearity: str = "relu",
        device=None,
        dtype=None,
        **options,
    ):
        super().__init__(
            input_size, hidden_size, bias=bias, nonlinearity=nonlinearity, device=device, dtype=dtype, **options
        )

    @property
    def output_size(self) -> int:
        """Units of the state, channels · hidden_size."""
        return self.channels * self.hidden_size

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        if not isinstance(input, Tensor):
            raise TypeError(f"input must be a Tensor, got {type(input).__name__}")
        if input.dim() not in (1, 2) or input.shape[-1] != self.input_size:
            raise ValueError(
                f"input must be (B, I) or (I,) with input_size={self.input_size}, got shape {tuple(input.shape)}"
            )
        expected = (*input.shape[:-1], self.output_size)
        if hx is not None and tuple(hx.shape) != expected:
            raise ValueError(f"hx must have shape {expected}, got {tuple(hx.shape)}")
        x, state = (input, hx) if input.dim() == 2 else (input[None], None if hx is None else hx[None])
        after = self._one_step(x, state)
        if after is None:
            after = self._scan(x[None], state, None, False, False)[1]
        return after.view(expected)
