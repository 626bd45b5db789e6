"""A travelling-wave working memory that is trained: lines that carry the past, and a driven end that computes from it.

The lines only carry; all that is computed is computed at the end. A linear end makes the memory a linear recurrent
network, an attention end the autoregressive loop of a transformer whose context is the wave, and any other module is
an end as well: it is called ``end(history)`` with the slots (…, s, d), oldest first, and returns the next state
(…, d).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import conv1d, pad, scaled_dot_product_attention
from torch.nn.utils import skip_init

from wavefield.checks import positive, positive_int
from wavefield_torch.models.call_convention import RecurrentModule

_BLOCK = 16  # queries that share their keys in windowed attention over short lines


class LinearEnd(nn.Module):
    """A linear driven end, f(h) = Σ_i weight[i] h_i + b, oldest slot first: the boundary row of `wavefield.history`.

    Parameters
    ----------
    dimension, length : int
        d and s.
    bias : bool
    generator : torch.Generator, optional
        Source of the initial weights, U(±1/√(s·d)).

    Attributes
    ----------
    weight : Parameter (s, d, d), as of `wavefield.history.linear`
    bias : Parameter (d,) or None

    Examples
    --------
    >>> LinearEnd(2, 5)(torch.zeros(3, 5, 2)).shape
    torch.Size([3, 2])
    """

    bias: nn.Parameter | None

    def __init__(self, dimension: int, length: int, *, bias: bool = False, generator: torch.Generator | None = None):
        super().__init__()
        d, s = positive_int(dimension, "dimension"), positive_int(length, "length")
        self.weight = nn.Parameter(torch.empty(s, d, d))
        self.register_parameter("bias", nn.Parameter(torch.zeros(d)) if bias else None)
        _draw(self.weight, s * d, generator)

    def forward(self, history: Tensor) -> Tensor:
        row = self.weight.transpose(0, 1).flatten(1)  # (d, s·d)
        return nn.functional.linear(history.flatten(-2), row, self.bias)


class MLPEnd(nn.Module):
    """A driven end with one hidden layer, f(h) = W₂ GELU(W₁ h + b₁) + b₂ of the complete history.

    Parameters
    ----------
    dimension, length : int
        d and s.
    hidden : int
        Units of the hidden layer.
    generator : torch.Generator, optional
        Source of the initial weights, U(±1/√fan-in); biases are zero.

    Examples
    --------
    >>> MLPEnd(2, 5, hidden=16)(torch.zeros(3, 5, 2)).shape
    torch.Size([3, 2])
    """

    def __init__(self, dimension: int, length: int, *, hidden: int = 128, generator: torch.Generator | None = None):
        super().__init__()
        d, s = positive_int(dimension, "dimension"), positive_int(length, "length")
        self.layers = _mlp(s * d, positive_int(hidden, "hidden"), d, generator)

    def forward(self, history: Tensor) -> Tensor:
        return self.layers(history.flatten(-2))


class AttentionEnd(nn.Module):
    """A self-attention driven end: the newest state asks, all slots answer.

        o_a = Σ_i softmax_i( scale · (K_a h_i) · (Q_a h_s) + p_a(i) ) V_a h_i,      f(h) = W (o_1 … o_A) + g(o_1 … o_A)

    for heads a = 1 … A over the slots i = 1 … s. Slots have no other mark of time than their place on the line: p_a(i)
    is a number for each slot, learned or fixed. With one head, no positions and no biases this is
    `wavefield.history.attention`; with the hidden layer g it is the block of a transformer. In a wave of exact shifts
    keys and values travel with their states: the wave is the key–value cache, at constant memory however long the
    sequence.

    Parameters
    ----------
    dimension, length : int
        d and s.
    heads, head_size : int
        A, and the size of each head's queries, keys and values (by default d).
    positions : {"learned", "fixed", "none"}
        p: a parameter per head and slot, zero at first; −2^(−8a/A) times the age of a slot (ALiBi); none.
    hidden : int
        Units of the hidden layer of g; 0: none, attention alone.
    bias : bool
        Whether queries, keys and values have biases.
    scale : float, optional
        1/√head_size by default; 1 in `wavefield.history.attention`.
    generator : torch.Generator, optional
        Source of the initial weights, U(±1/√fan-in); biases are zero.

    Attributes
    ----------
    query, key, value : Linear, d → A · head_size
    output : Linear, A · head_size → d, without bias
    position : Parameter (A, s), or a buffer, or None
    feedforward : Sequential, or None

    References
    ----------
    Karuvally, Sejnowski and Siegelmann, ICML 2024 (the self-attention boundary condition); Vaswani et al., NeurIPS
    2017; Press, Smith and Lewis, ICLR 2022 (fixed positions).

    Examples
    --------
    >>> AttentionEnd(2, 5, heads=3)(torch.zeros(4, 5, 2)).shape
    torch.Size([4, 2])
    """

    position: Tensor | None

    def __init__(
        self,
        dimension: int,
        length: int,
        *,
        heads: int = 1,
        head_size: int | None = None,
        positions: str = "learned",
        hidden: int = 0,
        bias: bool = False,
        scale: float | None = None,
        generator: torch.Generator | None = None,
    ):
        super().__init__()
        d, s = positive_int(dimension, "dimension"), positive_int(length, "length")
        self.length, self.heads = s, positive_int(heads, "heads")
        self.head_size = positive_int(d if head_size is None else head_size, "head_size")
        self.scale = 1 / math.sqrt(self.head_size) if scale is None else positive(scale, "scale")
        if positions not in ("learned", "fixed", "none"):
            raise ValueError(f"positions must be learned, fixed or none, got {positions!r}")
        self.positions = positions
        features, hidden = self.heads * self.head_size, positive_int(hidden, "hidden", least=0)
        self.query, self.key, self.value = (_linear(d, features, bool(bias), generator) for _ in range(3))
        self.output = _linear(features, d, False, generator)
        self.feedforward = _mlp(features, hidden, d, generator) if hidden else None
        if positions == "fixed":
            slope = 2.0 ** (-8 * torch.arange(1, self.heads + 1) / self.heads)
            self.register_buffer("position", -slope[:, None] * torch.arange(s - 1.0, -1.0, -1.0))
        else:
            learned = nn.Parameter(torch.zeros(self.heads, s)) if positions == "learned" else None
            self.register_parameter("position", learned)

    def forward(self, history: Tensor) -> Tensor:
        """Return the next state (…, d) of histories (…, s, d)."""
        return self.answer(history[..., -1, :], *self.keys_and_values(history))

    def keys_and_values(self, states: Tensor) -> tuple[Tensor, Tensor]:
        """Return what states (…, T, d) are found by, and what is read of them, each (…, A, T, m)."""
        return self._by_head(self.key(states)), self._by_head(self.value(states))

    def answer(self, newest: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Return the next state (…, d) from the newest (…, d) and the keys and values of all slots (…, A, s, m)."""
        query = self._by_head(self.query(newest[..., None, :]))  # (…, A, 1, m)
        places = None if self.position is None else self.position[:, None]  # (A, 1, s)
        found = scaled_dot_product_attention(query, key, value, places, scale=self.scale)
        return self._read(found).squeeze(-2)

    def along(self, states: Tensor) -> Tensor:
        """Return f of every window of s states in sequences (B, s − 1 + T, d), shape (B, T, d).

        Blocks of queries attend to their keys together, those of other windows masked: keys and values are computed
        once per state, not once per window.
        """
        s, steps = self.length, states.shape[1] - self.length + 1
        most = max(_BLOCK, s // 4)  # of queries, which between them see most + s − 1 keys where s would do
        block = math.ceil(steps / math.ceil(steps / most))  # blocks of one size with little padding
        states = pad(states, (0, 0, 0, -steps % block))  # whole blocks; what is computed from the padding is cut off
        key, value = (
            by_head.unfold(2, block + s - 1, block).permute(0, 2, 1, 4, 3).flatten(0, 1)
            for by_head in self.keys_and_values(states)
        )  # (B · blocks, A, block + s − 1, m)
        query = self._by_head(self.query(states[:, s - 1 :])).unflatten(2, (-1, block)).transpose(1, 2).flatten(0, 1)
        found = scaled_dot_product_attention(query, key, value, self._band(block, query), scale=self.scale)
        return self._read(found).view(len(states), -1, states.shape[2])[:, :steps]

    def _band(self, block, like):
        """What scores of query t and key j get added, (1, A, block, block + s − 1): p at slot j − t, −∞ beyond."""
        keys, queries = (torch.arange(count, device=like.device) for count in (block + self.length - 1, block))
        slot = keys - queries[:, None]
        inside = (slot >= 0) & (slot < self.length)
        place = like.new_zeros(1, self.length) if self.position is None else self.position
        return torch.where(inside, place[:, slot.clamp(0, self.length - 1)], -torch.inf)[None]

    def _by_head(self, features):
        return features.unflatten(-1, (self.heads, self.head_size)).transpose(-2, -3)

    def _read(self, found):
        joined = found.transpose(-2, -3).flatten(-2)  # (…, A · m)
        answer = self.output(joined)
        return answer if self.feedforward is None else answer + self.feedforward(joined)

    def extra_repr(self) -> str:
        return f"length={self.length}, heads={self.heads}, head_size={self.head_size}, positions={self.positions}"


ENDS = {"linear": LinearEnd, "attention": AttentionEnd, "mlp": MLPEnd}


class TravellingMemory(RecurrentModule):
    """Recurrent network whose lines carry the past and whose driven end computes the next state from it.

        h_i(t+1) = h_{i+1}(t),  i < s;      h_s(t+1) = f(h_s(t), …, h_1(t)) + V x(t)

    d lines of s slots. Slot s, the last position, is the driven end and holds the newest state; the states move to
    lower positions and leave at the first. Called like `torch.nn.RNN`; states are channel-major, a line for every
    dimension. f is any module: what it computes is the theory's boundary condition.

    Parameters
    ----------
    dimension, length : int
        d and s.
    boundary : {"linear", "attention", "mlp"} or nn.Module
        f: `LinearEnd`, `AttentionEnd`, `MLPEnd` with their defaults, or a module from histories (B, s, d), oldest slot
        first, to states (B, d).
    input_size : int, optional
        I; by default d, one input for every line.
    entry : {"add", "replace"}
        ``add``: the input is added to f, as written above and as in `open_line`. ``replace``: a sample whose input is
        not all zero drives the end alone, V x(t) without f, as the prompt of a transformer fills its context; where
        all of it is zero, f continues.
    travel : array_like, shape (K,) or (d, d, K), optional
        The kernel that moves the lines, as that of `WaveRNN` on an open line: K odd, [0, 0, 1] the exact shift, which
        is the default. Other kernels mix slots, or fade; the driven end holds what it is driven to either way.
    batch_first : bool
        Input and output are (B, T, …) instead of (T, B, …).
    generator : torch.Generator, optional
        Source of the initial weights of f, where it is made here.
    device, dtype
        As in any module.

    Inputs
    ------
    input : (T, B, I), (T, I) or a PackedSequence; (B, T, I) with `batch_first`
    h0 : (1, B, d·s), or (1, d·s) unbatched; zero unless given

    Outputs
    -------
    output : (T, B, d·s), the states, channel-major; shaped as the input
    h_n : (1, B, d·s), or (1, d·s) unbatched: the last state

    Attributes
    ----------
    boundary : Module
    encoder : Parameter (d, I), V; at first input i enters line i mod d
    travel : buffer (d, d, K)

    Raises
    ------
    ValueError, TypeError
        Naming the argument, what was given and what is accepted.

    References
    ----------
    Karuvally, Sejnowski and Siegelmann, "Hidden traveling waves bind working memory variables in recurrent neural
    networks", ICML 2024.

    Examples
    --------
    >>> net = TravellingMemory(2, 16, boundary=AttentionEnd(2, 16, heads=4, hidden=32))
    >>> output, h_n = net(torch.zeros(10, 3, 2))
    >>> output.shape, h_n.shape
    (torch.Size([10, 3, 32]), torch.Size([1, 3, 32]))

    Trained on known states, all steps are computed at once:

    >>> states = torch.rand(10, 3, 2)
    >>> net.parallel(states).shape
    torch.Size([10, 3, 2])
    """

    position_order = "line"
    travel: Tensor

    def __init__(
        self,
        dimension: int,
        length: int,
        *,
        boundary: str | nn.Module = "linear",
        input_size: int | None = None,
        entry: str = "add",
        travel=None,
        batch_first: bool = False,
        generator: torch.Generator | None = None,
        device=None,
        dtype=None,
    ):
        super().__init__()
        self.channels, self.hidden_size = positive_int(dimension, "dimension"), positive_int(length, "length")
        self.input_size = positive_int(dimension if input_size is None else input_size, "input_size")
        if entry not in ("add", "replace"):
            raise ValueError(f"entry must be add or replace, got {entry!r}")
        self.entry, self.batch_first = entry, batch_first
        self.boundary = _end(boundary, self.channels, self.hidden_size, generator)
        self.encoder = nn.Parameter(torch.eye(self.channels)[:, torch.arange(self.input_size) % self.channels])
        kernel = _kernel(travel, self.channels)
        self.shifts = torch.equal(kernel, _kernel(None, self.channels))  # exactly: histories are windows of states
        self.register_buffer("travel", kernel.to(dtype or torch.get_default_dtype()), persistent=False)
        self.to(device=device, dtype=dtype)

    def parallel(self, states: Tensor, input: Tensor | None = None, h0: Tensor | None = None) -> Tensor:
        """Return what the driven end computes at every step of known states, all steps at once (teacher forcing).

        Step t has as its history the field that the states before t have driven, beginning from h0. It is the same as
        stepping with the end held to `states`, and in particular gives back the states of a run of its own. With the
        exact shift the histories are windows of the states, and attention over them is windowed causal attention. With
        another kernel of travel the fields follow each other, and f alone is computed of all at once.

        Parameters
        ----------
        states : Tensor, shape (T, B, d), or (B, T, d) with `batch_first`
            The state that the end is held to at each step, whatever f says; the last is not used.
        input : Tensor, shape (T, B, I), or (B, T, I), optional
            Enters as in `forward`; zero unless given, so that f alone is returned.
        h0 : Tensor, shape (1, B, d·s), optional
            Field before the first step; zero unless given.

        Returns
        -------
        Tensor
            f of every step, with its input, shaped as `states`.
        """
        _check_states(states, self.channels, "states")
        known = states.transpose(0, 1) if not self.batch_first else states  # (B, T, d)
        x = None
        if input is not None:
            x = input.transpose(0, 1) if not self.batch_first else input
            if x.shape != (*known.shape[:2], self.input_size):
                wanted = (*states.shape[:2], self.input_size)
                raise ValueError(f"input must have shape {wanted}, got {tuple(input.shape)}")
        if h0 is not None and tuple(h0.shape) != (1, len(known), self.output_size):
            raise ValueError(f"h0 must have shape {(1, len(known), self.output_size)}, got {tuple(h0.shape)}")
        field = self._field(None if h0 is None else h0[0], known[:, 0])
        if self.shifts:
            sequence = torch.cat([field.transpose(1, 2), known[:, :-1]], dim=1)  # (B, s − 1 + T, d)
            if isinstance(self.boundary, AttentionEnd):
                computed = self.boundary.along(sequence)
            else:
                computed = self._checked(self.boundary(sequence.unfold(1, self.hidden_size, 1).transpose(2, 3)))
        else:
            fields = [field]
            for t in range(known.shape[1] - 1):
                fields.append(self._moved(fields[-1], known[:, t]))
            computed = self._checked(self.boundary(torch.stack(fields, 1).transpose(2, 3)))  # of (B, T, s, d)
        driven = computed if x is None else self._driven(computed, x)
        return driven if self.batch_first else driven.transpose(0, 1)

    def newest(self, output: Tensor) -> Tensor:
        """Return the driven end of states (…, d·s), the newest state (…, d)."""
        return output.unflatten(-1, (self.channels, self.hidden_size))[..., -1]

    def reader(self) -> nn.Linear:
        """Return the readout of the newest state as a layer, fixed, for `SequenceModel`."""
        layer = skip_init(nn.Linear, self.output_size, self.channels, bias=False)
        with torch.no_grad():
            layer.weight.copy_(self.newest(torch.eye(self.output_size)).T)
        return layer.to(self.encoder).requires_grad_(False)

    def _run(
        self, x: Tensor, state: Tensor | None, lengths: Tensor | None, return_sequence: bool, batch_first: bool
    ) -> tuple[Tensor | None, Tensor]:
        """Step by step, each sample up to its own length."""
        if x.dtype != self.encoder.dtype and not torch.is_autocast_enabled(x.device.type):
            raise ValueError(f"input must be {self.encoder.dtype} like the parameters, got {x.dtype}")
        field = self._field(None if state is None else state[0], x[0])
        fields: list[Tensor] = []
        attention = self.boundary if self.shifts and isinstance(self.boundary, AttentionEnd) else None
        cache = attention.keys_and_values(field.transpose(1, 2)) if attention else ()
        for t, x_t in enumerate(x):
            if attention:
                computed = attention.answer(field[..., -1], *cache)
            else:
                computed = self._checked(self.boundary(field.transpose(1, 2)))
            driven = self._driven(computed, x_t)
            moved = self._moved(field, driven)
            field = moved if lengths is None else moved.where((t < lengths)[:, None, None], field)
            if attention:  # keys and values travel as the states do
                cache = [
                    torch.cat([old[..., 1:, :], new], dim=-2)
                    for old, new in zip(cache, attention.keys_and_values(driven[:, None]), strict=True)
                ]
            if return_sequence:
                fields.append(field)
        last = field.flatten(1)[None]
        if not return_sequence:
            return None, last
        states = torch.stack(fields).flatten(2)  # (T, B, d·s)
        return states.transpose(0, 1) if batch_first else states, last

    def _field(self, state, like):
        """The field (B, d, s) to begin with."""
        if state is None:
            return like.new_zeros(len(like), self.channels, self.hidden_size)
        return state.unflatten(1, (self.channels, self.hidden_size))

    def _moved(self, field, driven):
        """The field a step later, its end held to `driven` (B, d)."""
        if self.shifts:
            return torch.cat([field[..., 1:], driven[..., None]], dim=-1)
        moved = conv1d(field, self.travel, padding=self.travel.shape[-1] // 2)
        return torch.cat([moved[..., :-1], driven[..., None]], dim=-1)

    def _driven(self, computed, x):
        """What the end is driven to by f (…, d) and the input (…, I)."""
        entering = x @ self.encoder.T
        if self.entry == "add":
            return computed + entering
        silent = (x == 0).all(dim=-1, keepdim=True)
        return entering + torch.where(silent, computed, 0.0)

    def _checked(self, computed):
        if computed.shape[-1] != self.channels or computed.dim() < 2:
            raise ValueError(
                f"boundary must return states of {self.channels} on the last axis, got shape {tuple(computed.shape)}"
            )
        return computed

    def extra_repr(self) -> str:
        shown: dict[str, object] = {"entry": self.entry} if self.entry != "add" else {}
        shown |= {} if self.shifts else {"travel": f"kernel of {self.travel.shape[-1]}"}
        shown |= {"input_size": self.input_size} if self.input_size != self.channels else {}
        shown |= {"batch_first": True} if self.batch_first else {}
        return ", ".join([f"{self.channels}, {self.hidden_size}", *(f"{k}={v}" for k, v in shown.items())])


def _end(boundary, dimension, length, generator):
    if isinstance(boundary, nn.Module):
        own = getattr(boundary, "length", length) if isinstance(boundary, AttentionEnd) else length
        if own != length:
            raise ValueError(f"boundary must be made for a length of {length}, got one for {own}")
        return boundary
    if not isinstance(boundary, str):
        raise TypeError(f"boundary must be one of {', '.join(ENDS)} or a module, got {type(boundary).__name__}")
    if boundary not in ENDS:
        raise ValueError(f"boundary must be one of {', '.join(ENDS)} or a module, got {boundary!r}")
    return ENDS[boundary](dimension, length, generator=generator)


def _kernel(travel, channels):
    """The kernel of travel (d, d, K): one for every line, or one that also mixes them."""
    kernel = torch.as_tensor([0.0, 0.0, 1.0] if travel is None else travel).double()
    given = tuple(kernel.shape)
    if kernel.dim() == 1:
        kernel = torch.eye(channels, dtype=torch.double)[..., None] * kernel
    if kernel.dim() != 3 or kernel.shape[:2] != (channels, channels) or kernel.shape[2] % 2 == 0:
        wanted = f"(K,) or ({channels}, {channels}, K), K odd"
        raise ValueError(f"travel must have shape {wanted}, got {given}")
    if not torch.isfinite(kernel).all():
        raise ValueError("travel must be finite, it holds NaN or infinity")
    return kernel


def _check_states(states, dimension, name):
    if not isinstance(states, Tensor):
        raise TypeError(f"{name} must be a Tensor, got {type(states).__name__}")
    if states.dim() != 3 or states.shape[2] != dimension or 0 in states.shape:
        raise ValueError(f"{name} must have shape (T, B, {dimension}), T and B ≥ 1, got {tuple(states.shape)}")


@torch.no_grad()
def _draw(weight, fan_in, generator):
    bound = 1 / math.sqrt(fan_in)
    weight.uniform_(-bound, bound, generator=generator)


def _linear(inputs, outputs, bias, generator):
    layer = skip_init(nn.Linear, inputs, outputs, bias=bias)
    _draw(layer.weight, inputs, generator)
    if bias:
        nn.init.zeros_(layer.bias)
    return layer


def _mlp(inputs, hidden, outputs, generator):
    layers = _linear(inputs, hidden, True, generator), nn.GELU(), _linear(hidden, outputs, True, generator)
    return nn.Sequential(*layers)
