"""The wave RNN: a recurrent network whose recurrence is a wave operator, called like `torch.nn.RNN`."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from wavefield import WaveOperator
from wavefield.checks import positive_int
from wavefield.operators.encoder import resolve_encoder
from wavefield_torch.models import initialization
from wavefield_torch.models.call_convention import RecurrentModule, freeze, refuse_layers
from wavefield_torch.recurrence.scan import BOUNDARIES, wave_scan

NONLINEARITIES = ("relu", "tanh", "identity")


class WaveRNN(RecurrentModule):
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
    channels : int, optional
        C, rings; by default 1, or those of `operator`.
    kernel_size : int, optional
        K, odd; by default 3, or that of `operator`.
    nonlinearity : {"relu", "tanh", "identity"}
        σ.
    bias : bool or {"clean", "reference", "none"}
        True or ``clean``: one bias per unit, zero at first. ``reference``: the two of the published code, one per unit
        beside V (zero beside the sparse encoder, else U(±1/√I)) and one per channel beside the kernel
        (U(±1/√(C·K))); choose it to replicate published runs. False or ``none``: no bias.
    batch_first : bool
        Input and output are (B, T, …) instead of (T, B, …).
    operator : {"shift", "identity", "uniform"} or WaveOperator
        Kernel to start from: the paper's u-shift (a wave of one unit per step towards lower positions), no wave, at
        random, or physics, periodic or open (a boundary row is trained too). See `initialization.initial_kernel`.
    encoder : {"sparse", "gaussian", "uniform"} or array, shape (C, N, I)
        V to start from; see `initialization.initial_encoder`.
    freeze_encoder, freeze_recurrence : bool
        Keep V (with its bias), or the kernel (with its bias and the boundary row), as they are.
    backend, checkpoint_every
        As in `wave_scan`.
    generator : torch.Generator, optional
        Source of the random initial values.
    device, dtype
        As in any module.
    num_layers, dropout, bidirectional
        Refused unless left alone; compose modules instead.

    Inputs
    ------
    input : (T, B, I), (T, I) or a PackedSequence; (B, T, I) with `batch_first`
    h0 : (1, B, C·N), or (1, C·N) unbatched; zero unless given
    return_sequence : bool
        False keeps the last state only, in far less memory: `output` then holds one step.

    Outputs
    -------
    output : (T, B, C·N), the states, channel-major; (T, C·N), packed or (B, T, C·N) as the input was
    h_n : (1, B, C·N), or (1, C·N) unbatched: the last state

    Attributes
    ----------
    kernel : Parameter (C, C, K)
    encoder : Parameter (C, N, I)
    bias : Parameter (C, N) or None; with ``bias="reference"`` in its place encoder_bias (C, N) and kernel_bias (C,)
    boundary_row : Parameter (C, C, N) or None

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
        *,
        channels: int | None = None,
        kernel_size: int | None = None,
        nonlinearity: str = "relu",
        bias: bool | str = True,
        batch_first: bool = False,
        operator: str | WaveOperator = "shift",
        encoder="sparse",
        backend: str = "auto",
        checkpoint_every: int | None = None,
        freeze_encoder: bool = False,
        freeze_recurrence: bool = False,
        generator: torch.Generator | None = None,
        device=None,
        dtype=None,
        num_layers: int = 1,
        dropout: float = 0.0,
        bidirectional: bool = False,
    ):
        super().__init__()
        refuse_layers(num_layers, dropout, bidirectional)
        if nonlinearity not in NONLINEARITIES:
            raise ValueError(f"nonlinearity must be one of {', '.join(NONLINEARITIES)}, got {nonlinearity!r}")
        self.input_size = positive_int(input_size, "input_size", least=0)
        self.hidden_size = positive_int(hidden_size, "hidden_size")
        if isinstance(operator, WaveOperator):
            operator = _trainable(operator, self.hidden_size, channels)
            channels, narrowest = operator.channels, operator.kernel.shape[2]
        else:
            channels, narrowest = positive_int(1 if channels is None else channels, "channels"), 1
        self.channels = channels
        self.kernel_size = positive_int(max(3, narrowest) if kernel_size is None else kernel_size, "kernel_size")
        if self.kernel_size % 2 == 0 or self.kernel_size < narrowest:
            raise ValueError(f"kernel_size must be odd and at least {narrowest}, got {self.kernel_size}")
        self.nonlinearity = nonlinearity
        self.bias_kind = initialization.bias_kind(bias)
        self.batch_first = batch_first
        self.backend = backend
        self.checkpoint_every = checkpoint_every
        self.boundary = operator.boundary if isinstance(operator, WaveOperator) else "periodic"
        self.initial_operator, self.initial_encoder = operator, encoder

        def empty(*shape):
            return nn.Parameter(torch.empty(shape, device=device, dtype=dtype))

        unit, kind = (channels, self.hidden_size), self.bias_kind
        self.encoder = empty(*unit, self.input_size)
        self.kernel = empty(channels, channels, self.kernel_size)
        self.register_parameter("bias", empty(*unit) if kind == "clean" else None)
        self.register_parameter("encoder_bias", empty(*unit) if kind == "reference" else None)
        self.register_parameter("kernel_bias", empty(channels) if kind == "reference" else None)
        driven = getattr(operator, "boundary_row", None) is not None
        self.register_parameter("boundary_row", empty(channels, *unit) if driven else None)
        self.reset_parameters(generator)
        freeze(freeze_encoder, self.encoder, self.bias, self.encoder_bias)
        freeze(freeze_recurrence, self.kernel, self.kernel_bias, self.boundary_row)

    @torch.no_grad()
    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Put every parameter back to its initial value, random ones drawn anew from `generator`."""
        channels, size, inputs = self.encoder.shape
        named = isinstance(self.initial_encoder, str)
        if named:
            encoder = initialization.initial_encoder(self.initial_encoder, channels, size, inputs, generator=generator)
        else:
            encoder = _as_encoder(self.initial_encoder, (channels, size, inputs))
        self.encoder.copy_(encoder)
        self.kernel.copy_(self._first_kernel(generator))
        if self.bias is not None:
            self.bias.zero_()
        if self.encoder_bias is not None:
            kind = self.initial_encoder if named else "sparse"
            drawn = initialization.reference_encoder_bias(kind, (channels, size), inputs, generator=generator)
            self.encoder_bias.copy_(drawn)
            self.kernel_bias.copy_(
                initialization.reference_kernel_bias(channels, self.kernel_size, generator=generator)
            )
        if self.boundary_row is not None:
            self.boundary_row.copy_(torch.tensor(self.initial_operator.boundary_row))

    def _first_kernel(self, generator):
        if not isinstance(self.initial_operator, WaveOperator):
            return initialization.initial_kernel(
                self.initial_operator, self.channels, self.kernel_size, generator=generator
            )
        kernel = torch.tensor(self.initial_operator.kernel)
        margin = (self.kernel_size - kernel.shape[2]) // 2
        return nn.functional.pad(kernel, (margin, margin))

    @classmethod
    def from_operator(
        cls, op: WaveOperator, size: int, input_size: int, *, encoder="own", nonlinearity: str = "identity", **options
    ) -> WaveRNN:
        """Return the network that does what `op` does to a field of `size` positions, ready to be trained.

        Parameters
        ----------
        op : WaveOperator
            Periodic, or open (with or without a boundary row at its last position); without a speed profile.
        size, input_size : int
            N and the number of inputs.
        encoder : {"own", "first"} or array, shape (rings, N, inputs)
            As in `wavefield.simulate`: by default each input has a ring of its own. A two-way field takes inputs as
            ``source="force"`` does; give it x[t] − x[t−2] for the pulse source.
        nonlinearity : {"identity", "relu", "tanh"}
        **options
            As of `WaveRNN`.

        Raises
        ------
        ValueError
            For another boundary or a speed profile: such operators are not convolutions.

        Examples
        --------
        >>> import wavefield as wf
        >>> net = WaveRNN.from_operator(wf.wave(0.5), size=256, input_size=1)
        >>> net.kernel[0, 0].tolist(), net.output_size
        ([0.25, 1.5, 0.25], 512)
        """
        _require_convolution(op)
        weights, op = resolve_encoder(
            encoder, op, positive_int(size, "size"), positive_int(input_size, "input_size", least=0)
        )
        entering = np.zeros((op.channels, *weights.shape[1:]))
        entering[:: op.levels] = weights
        return cls(input_size, size, operator=op, encoder=entering, nonlinearity=nonlinearity, **options)

    def to_operator(self, *, dx: float | None = None, dt: float | None = None) -> WaveOperator:
        """Return the recurrence as a wave operator: for its dispersion relation, stability and growth.

        Encoder, bias and nonlinearity are left out; for a ReLU network the operator is that of the active units. The
        units are those of the operator that the network was made from unless given.

        Raises
        ------
        ValueError
            If the kernel (or the boundary row) holds NaN or infinity.

        Examples
        --------
        >>> WaveRNN(1, 16).to_operator().courant.tolist()
        [-1.0]
        """
        origin = self.initial_operator if isinstance(self.initial_operator, WaveOperator) else None
        described = {
            "kernel": _finite(self.kernel, "kernel"),
            "boundary": self.boundary,
            "dx": dx if dx is not None else getattr(origin, "dx", 1.0),
            "dt": dt if dt is not None else getattr(origin, "dt", 1.0),
            "boundary_row": None if self.boundary_row is None else _finite(self.boundary_row, "boundary_row"),
        }
        return WaveOperator(**described, levels=_levels_left(origin, described["kernel"]))

    @property
    def position_order(self) -> str:
        """Whether positions are those of a "ring" or of a "line"."""
        return "ring" if self.boundary == "periodic" else "line"

    def total_bias(self) -> Tensor | None:
        """Return b of the recurrence, (C, N), the sum of the two where there are two; None without."""
        if self.bias_kind == "reference":
            return self.encoder_bias + self.kernel_bias[:, None]
        return self.bias

    def _run(self, x, state, return_sequence):
        if x.dtype != self.encoder.dtype and not torch.is_autocast_enabled(x.device.type):
            raise ValueError(f"input must be {self.encoder.dtype} like the parameters, got {x.dtype}")
        states = wave_scan(
            x,
            self.encoder,
            self.kernel,
            self.total_bias(),
            None if state is None else state.unflatten(1, (self.channels, self.hidden_size)),
            boundary=self.boundary,
            boundary_row=self.boundary_row,
            nonlinearity=self.nonlinearity,
            return_sequence=return_sequence,
            checkpoint_every=self.checkpoint_every,
            backend=self.backend,
        )  # (T, B, C, N) or (B, C, N)
        if return_sequence:
            return states.flatten(2), states[-1].flatten(1)
        return None, states.flatten(1)

    def extra_repr(self) -> str:
        shown = {
            "channels": self.channels,
            "kernel_size": self.kernel_size,
            "nonlinearity": self.nonlinearity,
            "bias": self.bias_kind,
        }
        shown |= {"boundary": self.boundary} if self.boundary != "periodic" else {}
        shown |= {"batch_first": True} if self.batch_first else {}
        shown |= {"backend": self.backend} if self.backend != "auto" else {}
        return ", ".join([f"{self.input_size}, {self.hidden_size}", *(f"{k}={v}" for k, v in shown.items())])


def _require_convolution(op):
    if not isinstance(op, WaveOperator):
        raise TypeError(f"operator must be a WaveOperator, got {type(op).__name__}")
    if op.boundary not in BOUNDARIES:
        raise ValueError(
            f"operator must be {' or '.join(BOUNDARIES)} to be trained as a convolution, got boundary={op.boundary!r}"
        )
    if op.profile is not None:
        raise ValueError(
            "operator must not have a speed profile: with a speed that depends on position it is not a convolution"
        )
    if op.boundary_row is not None and op.driven_end != -1:
        raise ValueError("operator must be driven at its last position (driven_end=-1); count positions the other way")


def _trainable(op, size, channels):
    """The operator with as many channels as requested, checked against the size of the network."""
    _require_convolution(op)
    if channels is not None:
        if positive_int(channels, "channels") % op.levels:
            raise ValueError(f"channels must be a multiple of the operator's {op.levels} levels, got {channels}")
        op = op.with_rings(channels // op.levels)
    op.check_size(size)
    return op


def _as_encoder(encoder, shape):
    encoder = torch.as_tensor(encoder)
    if tuple(encoder.shape) != shape:
        raise ValueError(f"encoder must have shape (C, N, I) = {shape}, got {tuple(encoder.shape)}")
    if not torch.isfinite(encoder).all():
        raise ValueError("encoder must be finite, it holds NaN or infinity")
    return encoder


def _finite(parameter, name):
    values = parameter.detach().double().cpu().numpy()
    if not np.isfinite(values).all():
        raise ValueError(f"{name} must be finite to be an operator, it holds NaN or infinity")
    return values


def _levels_left(origin, kernel):
    """2 where the network was made from a two-way wave and its kernel still is one, else 1."""
    if origin is None or origin.levels == 1:
        return 1
    try:
        return WaveOperator(kernel, levels=origin.levels).levels
    except ValueError:
        return 1
