"""The parameters of a wave recurrence, and its bridge to and from wave operators; `WaveRNN` and its cell share them."""

from __future__ import annotations

from typing import Self

import numpy as np
import torch
from torch import Tensor, nn

from wavefield import WaveOperator
from wavefield.checks import positive_int
from wavefield.operators.encoder import resolve_encoder
from wavefield_torch.models import initialization
from wavefield_torch.models.call_convention import freeze, leak_and_noise
from wavefield_torch.recurrence.scan import BOUNDARIES, autocast_enabled, one_step, run

NONLINEARITIES = ("relu", "tanh", "identity")


class WaveLayer(nn.Module):
    """One layer, in one direction, of a wave recurrence: its parameters and the scan with them.

        h[t+1] = (1 − α) h[t] + α σ( u ⋆ h[t] + V x[t] + b + s ξ[t] )

    The arguments are those of `WaveRNN`; α = 1 and s = 0 by default.
    """

    encoder: nn.Parameter  # V (C, N, I)
    kernel: nn.Parameter  # u (C, C, K)
    bias: nn.Parameter | None  # b (C, N), where there is one
    encoder_bias: nn.Parameter | None  # (C, N) and (C,), where there are two
    kernel_bias: nn.Parameter | None
    boundary_row: nn.Parameter | None  # (C, C, N), of a line with a driven end
    initial_state: nn.Parameter | None  # (C, N), where it is trained

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        nonlinearity: str = "relu",
        bias: bool | str = True,
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
        device=None,
        dtype=None,
    ):
        super().__init__()
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
        self.leak, self.noise = leak_and_noise(leak, noise)
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
        self.register_parameter("initial_state", empty(*unit) if trainable_initial_state else None)
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
        if self.encoder_bias is not None and self.kernel_bias is not None:
            kind = self.initial_encoder if named else "sparse"
            drawn = initialization.reference_encoder_bias(kind, (channels, size), inputs, generator=generator)
            self.encoder_bias.copy_(drawn)
            self.kernel_bias.copy_(
                initialization.reference_kernel_bias(channels, self.kernel_size, generator=generator)
            )
        if self.boundary_row is not None and isinstance(self.initial_operator, WaveOperator):
            self.boundary_row.copy_(torch.tensor(self.initial_operator.boundary_row))
        if self.initial_state is not None:
            self.initial_state.zero_()

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
    ) -> Self:
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
            For another boundary or a speed profile: such operators are not convolutions. For a leak: the network would
            not do what `op` does.

        Examples
        --------
        >>> import wavefield as wf
        >>> from wavefield_torch import WaveRNN
        >>> net = WaveRNN.from_operator(wf.wave(0.5), size=256, input_size=1)
        >>> net.kernel[0, 0].tolist(), net.output_size
        ([0.25, 1.5, 0.25], 512)
        """
        _require_convolution(op)
        if options.get("leak", 1) != 1:
            raise ValueError(f"leak must be 1 for the network to do what op does, got {options['leak']!r}")
        weights, op = resolve_encoder(
            encoder, op, positive_int(size, "size"), positive_int(input_size, "input_size", least=0)
        )
        entering = np.zeros((op.channels, *weights.shape[1:]))
        entering[:: op.levels] = weights
        return cls(input_size, size, operator=op, encoder=entering, nonlinearity=nonlinearity, **options)

    def to_operator(self, *, dx: float | None = None, dt: float | None = None) -> WaveOperator:
        """Return the recurrence as a wave operator: for its dispersion relation, stability and growth.

        With a leak α it is (1 − α) + α u. Encoder, bias, noise and nonlinearity are left out; for a ReLU network the
        operator is that of the active units. The units are those of the operator that the network was made from unless
        given. Of several layers it is the first.

        Raises
        ------
        ValueError
            If the kernel (or the boundary row) holds NaN or infinity.

        Examples
        --------
        >>> from wavefield_torch import WaveRNN
        >>> WaveRNN(1, 16).to_operator().courant.tolist()
        [-1.0]
        """
        origin = self.initial_operator if isinstance(self.initial_operator, WaveOperator) else None
        kernel = _finite(self.kernel, "kernel")
        row = None if self.boundary_row is None else _finite(self.boundary_row, "boundary_row")
        described = {
            "kernel": self._leaky(kernel, self.kernel_size // 2),
            "boundary": self.boundary,
            "dx": dx if dx is not None else getattr(origin, "dx", 1.0),
            "dt": dt if dt is not None else getattr(origin, "dt", 1.0),
            "boundary_row": None if row is None else self._leaky(row, -1),
        }
        return WaveOperator(**described, levels=_levels_left(origin, described["kernel"]))

    def _leaky(self, weights, own):
        """(1 − α) + α times weights (C, C, …), `own` of which is that of the unit itself."""
        if self.leak == 1:
            return weights
        kept = np.zeros_like(weights)
        kept[:, :, own] = (1 - self.leak) * np.eye(self.channels)
        return kept + self.leak * weights

    @property
    def position_order(self) -> str:
        """Whether positions are those of a "ring" or of a "line"."""
        return "ring" if self.boundary == "periodic" else "line"

    def total_bias(self) -> Tensor | None:
        """Return b of the recurrence, (C, N), the sum of the two where there are two; None without."""
        if self.bias_kind == "reference" and self.encoder_bias is not None and self.kernel_bias is not None:
            return self.encoder_bias + self.kernel_bias[:, None]
        return self.bias

    def _scan(self, x, state, lengths, return_sequence, batch_first):
        """States (T, B, C·N) if wanted, (B, T, C·N) if `batch_first`, and the last (B, C·N), of x (T, B, I)."""
        if x.dtype != self.encoder.dtype and not autocast_enabled(x):
            raise ValueError(f"input must be {self.encoder.dtype} like the parameters, got {x.dtype}")
        shape = (x.shape[1], self.channels, self.hidden_size)  # (B, C, N)
        if state is not None:
            state = state.reshape(shape)
        elif self.initial_state is not None:
            state = self.initial_state.expand(shape)
        noisy = self.noise and self.training
        states, last = run(
            x,
            self.encoder,
            self.kernel,
            self.total_bias(),
            state,
            lengths=lengths,
            boundary=self.boundary,
            boundary_row=self.boundary_row,
            nonlinearity=self.nonlinearity,
            return_sequence=return_sequence,
            batch_first=batch_first,
            checkpoint_every=self.checkpoint_every,
            backend=self.backend,
            leak=self.leak,
            noise=self.noise * torch.randn_like(self.encoder[..., 0].expand(x.shape[0], *shape)) if noisy else None,
        )  # (T, B, C, N) or None, (B, C, N)
        return states.flatten(2) if return_sequence else None, last.flatten(1)

    def _one_step(self, x, state):
        """The state (B, C, N) after one step of little work from x (B, I), without the checks of `run`, or None."""
        if self.boundary != "periodic" or self.leak != 1 or self.noise:
            return None
        shape = (x.shape[0], self.channels, self.hidden_size)
        if state is not None:
            state = state.reshape(shape)
        elif self.initial_state is not None:
            state = self.initial_state.expand(shape)
        return one_step(x, self.encoder, self.kernel, self.total_bias(), state, self.nonlinearity, self.backend)

    def extra_repr(self) -> str:
        shown = {
            "channels": self.channels,
            "kernel_size": self.kernel_size,
            "nonlinearity": self.nonlinearity,
            "bias": self.bias_kind,
        }
        shown |= {"boundary": self.boundary} if self.boundary != "periodic" else {}
        shown |= {"leak": self.leak} if self.leak != 1 else {}
        shown |= {"noise": self.noise} if self.noise else {}
        shown |= {"trainable_initial_state": True} if self.initial_state is not None else {}
        shown |= self._also_shown()
        shown |= {"backend": self.backend} if self.backend != "auto" else {}
        return ", ".join([f"{self.input_size}, {self.hidden_size}", *(f"{k}={v}" for k, v in shown.items())])

    def _also_shown(self) -> dict:
        return {}


def _require_convolution(op):
    if not isinstance(op, WaveOperator):
        raise TypeError(f"operator must be a WaveOperator, got {type(op).__name__}")
    if op.dims != 1:
        raise ValueError(f"operator must be of a ring or line, got one of a sheet, which `sheet_scan` moves: {op!r}")
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
    if size < op.kernel.shape[2]:
        raise ValueError(f"size must be at least {op.kernel.shape[2]}, the width of the kernel, got {size}")
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
