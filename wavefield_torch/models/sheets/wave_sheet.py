"""A sheet of coupled oscillators as a module, and its bridge to and from the sheets of `wavefield`."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from wavefield import WaveOperator
from wavefield.checks import grid_shape, positive, positive_int
from wavefield_torch.recurrence.sheet.reference import kept_and_gain
from wavefield_torch.recurrence.sheet.scan import BOUNDARIES, SCHEMES, sheet_scan

LAPLACIAN = ((0.0, 1.0, 0.0), (1.0, -4.0, 1.0), (0.0, 1.0, 0.0))


class WaveSheet(nn.Module):
    """A sheet of coupled oscillators whose coupling and medium are trained: `sheet_scan` with parameters.

        y'' = σ(W ⋆ y) − ω ⊙ y − α ⊙ y' + x

    With the scheme `centred` and the identity it moves a field as the two-way sheets of `wavefield` do.

    Parameters
    ----------
    channels : int
        C.
    size : pair of ints, optional
        (H, W), for an ω and an α of every place; without it they are one number per channel, and sheets of any size
        are moved.
    kernel_size : int
        K, odd.
    dt : float
        Length of a step.
    boundary, nonlinearity, scheme, backend, checkpoint_every
        As of `sheet_scan`.
    device, dtype
        Of the parameters.

    Attributes
    ----------
    kernel : nn.Parameter (C, C, K, K)
        W, at first the five-point Laplacian from each channel to itself (zero if K is 1).
    stiffness, damping : nn.Parameter (C,) or (C, H, W)
        ω and α, zero at first.

    Examples
    --------
    A wave equation becomes a network, and the network tells what wave it is:

    >>> import torch, wavefield as wf
    >>> from wavefield_torch import WaveSheet
    >>> sheet = WaveSheet.from_operator(wf.wave(0.5, dims=2, damping=0.1))
    >>> sheet.kernel[0, 0].tolist()
    [[0.0, 0.25, 0.0], [0.25, -1.0, 0.25], [0.0, 0.25, 0.0]]
    >>> states, (y, z) = sheet(torch.randn(4, 1, 32, 32), steps=100)
    >>> sheet.to_operator().courant.tolist()
    [[0.5, 0.5]]
    """

    def __init__(
        self,
        channels: int = 1,
        size: tuple[int, int] | None = None,
        *,
        kernel_size: int = 3,
        dt: float = 0.1,
        boundary: str = "periodic",
        nonlinearity: str = "tanh",
        scheme: str = "centred",
        backend: str = "auto",
        checkpoint_every: int | None = None,
        device=None,
        dtype=None,
    ):
        super().__init__()
        self.channels, self.dt = positive_int(channels, "channels"), positive(dt, "dt")
        self.size = None if size is None else grid_shape(size, "size", 2)
        if positive_int(kernel_size, "kernel_size") % 2 == 0:
            raise ValueError(f"kernel_size must be odd, got {kernel_size}")
        for name, value, accepted in (("boundary", boundary, BOUNDARIES), ("scheme", scheme, SCHEMES)):
            if value not in accepted:
                raise ValueError(f"{name} must be one of {list(accepted)}, got {value!r}")
        self.boundary, self.nonlinearity, self.scheme = boundary, nonlinearity, scheme
        self.backend, self.checkpoint_every = backend, checkpoint_every
        self.dx: float | tuple[float, ...] = 1.0  # between cells, of the operator that it was made from
        options = dict(device=device, dtype=dtype)
        self.kernel = nn.Parameter(torch.empty(channels, channels, kernel_size, kernel_size, **options))
        self.stiffness = nn.Parameter(torch.empty(channels, *(self.size or ()), **options))
        self.damping = nn.Parameter(torch.empty(channels, *(self.size or ()), **options))
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Set the initial values."""
        for parameter in self.parameters():
            parameter.zero_()
        middle = self.kernel.shape[-1] // 2
        if middle:
            around = slice(middle - 1, middle + 2)
            own = self.kernel.diagonal().permute(2, 0, 1)  # (C, K, K), a view
            own[:, around, around] = torch.tensor(LAPLACIAN).to(own)

    def forward(
        self,
        y0: Tensor,
        z0: Tensor | None = None,
        input: Tensor | None = None,
        *,
        steps: int,
        readout: Tensor | str | None = None,
        return_sequence: bool = True,
    ) -> tuple[Tensor | None, tuple[Tensor, Tensor]]:
        """Run `steps` steps; arguments and results are those of `sheet_scan`."""
        return sheet_scan(
            y0,
            z0,
            self.kernel,
            self.stiffness,
            self.damping,
            input,
            steps=steps,
            dt=self.dt,
            boundary=self.boundary,
            nonlinearity=self.nonlinearity,
            scheme=self.scheme,
            readout=readout,
            return_sequence=return_sequence,
            backend=self.backend,
            checkpoint_every=self.checkpoint_every,
        )

    @classmethod
    def from_operator(
        cls, op: WaveOperator, size: tuple[int, int] | None = None, *, nonlinearity: str = "identity", **options
    ) -> Self:
        """Return the sheet that moves a field as `op` does, ready to be trained.

            W = c²∇²,   ω = the restoring force,   α = the damping,   y = h[t],   z = (h[t] − h[t−1])/dt

        A force x is what ``simulate(…, source="force")`` adds to a level, divided by dt² and, with damping, times
        1 + α dt/2.

        Parameters
        ----------
        op : WaveOperator
            A two-way sheet, one channel a ring, periodic, fixed or free along both axes. It may have a profile of
            damping, and one of a restoring force that is nowhere above that of the kernel: a positive one is taken
            implicitly there, so that it is no force of this sheet. Say ``wave(restoring=most, restoring_profile=force −
            most)``, which is stable for as long as (ω dt)² leaves room.
        size : pair of ints, optional
            (H, W) for an ω and α of every place, also where `op` has none.
        nonlinearity, **options
            As of `WaveSheet`; with another than the identity σ bends c²∇²h alone.

        Raises
        ------
        ValueError, TypeError
            For an operator that no such sheet is, saying why.
        """
        _require_sheet(op)
        if options.get("scheme", "centred") != "centred":
            raise ValueError(f"scheme must be 'centred' for the sheet to do what op does, got {options['scheme']!r}")
        profiled = op.profile is not None
        if profiled:
            assert op.profile is not None
            if size is not None and grid_shape(size, "size", 2) != op.profile.shape:
                raise ValueError(f"size must be {op.profile.shape}, that of the operator's profiles, got {size}")
            size = op.profile.shape
        half, taps = op.halved_damping, op.taps  # γdt/2 (C,) and (C, K, K)
        options = dict(dt=op.dt, boundary=op.boundary) | options
        sheet = cls(op.rings, size, kernel_size=taps.shape[1], nonlinearity=nonlinearity, **options)
        sheet.dx = op.dx
        pull = (1 + half)[:, None, None] * taps / op.dt**2  # W + (2/dt² − ω) at its centre
        pull[:, op.centre[0], op.centre[1]] -= 2 / op.dt**2 - op.restoring
        stiffness, damping = op.restoring[:, None, None], (2 * half / op.dt)[:, None, None]
        if op.restoring_profile is not None:
            stiffness = stiffness + op.restoring_profile
        if op.damping_profile is not None:
            damping = damping + op.damping_profile
        if sheet.size is None:
            stiffness, damping = stiffness[:, 0, 0], damping[:, 0, 0]
        ring = range(op.rings)
        with torch.no_grad():
            sheet.kernel.zero_()
            sheet.kernel[ring, ring] = torch.from_numpy(pull).to(sheet.kernel)
            for parameter, value in ((sheet.stiffness, stiffness), (sheet.damping, damping)):
                parameter.copy_(torch.from_numpy(np.broadcast_to(value, parameter.shape).copy()))
        return sheet

    def to_operator(self, channel: int | None = None) -> WaveOperator:
        """Return the sheet about its rest as a wave operator: for its dispersion surface, growth and modes.

        Its channels are (h[t], h[t−1]) of each channel. Where these do not act on each other and W is the same seen
        from both sides, it is a two-way wave of `wavefield`; else an operator of one level. An ω of every place becomes
        a restoring force, the largest ω, and a profile that takes from it.

        Parameters
        ----------
        channel : int, optional
            Of this one alone, as if it were not coupled to others. Needed where ω or α depend on the place, which only
            one field of an operator can have.

        Raises
        ------
        ValueError
            If a parameter is not finite, or no operator does what the sheet does.
        """
        kernel, stiffness, damping = (_finite(t, name) for name, t in self.named_parameters())
        if channel is not None:
            if not 0 <= channel < self.channels:
                raise ValueError(f"channel must be 0 to {self.channels - 1}, got {channel!r}")
            one = slice(channel, channel + 1)
            kernel, stiffness, damping = kernel[one, one], stiffness[one], damping[one]
        varying = [
            name
            for name, value in (("stiffness", stiffness), ("damping", damping))
            if value.ndim > 1 and (value != value[:, :1, :1]).any()
        ]
        if varying and len(kernel) > 1:
            raise ValueError(f"channel must be given, as the {' and the '.join(varying)} depend on the place")
        if "damping" in varying and self.scheme != "centred":
            raise ValueError(
                "a damping that depends on the place is that of an operator under scheme='centred' only, "
                f"this sheet has {self.scheme!r}"
            )
        stiffness, damping = (v.reshape(len(v), -1) for v in (stiffness, damping))
        most, least = stiffness.max(axis=1), damping.min(axis=1)
        kept, gain = (np.asarray(part) for part in kept_and_gain(least, self.dt, self.scheme))  # (C,)
        described: dict[str, Any] = dict(boundary=self.boundary, dx=self.dx, dt=self.dt)
        op = WaveOperator(**self._levels(kernel, most, kept, gain), **described)
        if not varying:
            return op
        if op.levels == 1:
            raise ValueError("a stiffness or damping that depends on the place needs a W that is symmetric")
        assert self.size is not None
        # in units of the operator, in which a force is multiplied by dt²/(1 + γdt/2)
        scale = float((gain / (self.dt * (1 + kept) / 2))[0])
        profiles = {}
        if "stiffness" in varying:
            profiles["restoring_profile"] = scale * (stiffness - most[:, None]).reshape(self.size)
        if "damping" in varying:
            profiles["damping_profile"] = (damping - least[:, None]).reshape(self.size)
        return WaveOperator(op.kernel, levels=2, **described, **profiles)

    @torch.no_grad()
    def averaged(self) -> WaveSheet:
        """Return the sheet whose ω and α are their means over all places, the medium as a dispersion surface has it."""
        mean = sheet_like(self)
        mean.dx = self.dx
        for parameter, value in zip(mean.parameters(), self.parameters(), strict=True):
            parameter.copy_(value if value.dim() == 4 else value.reshape(self.channels, -1).mean(1))
        return mean

    def _levels(self, kernel, stiffness, kept, gain):
        """The kernel of (h[t], h[t−1]) of every channel, and how many levels it has."""
        channels, taps = len(kernel), kernel.shape[-1]
        middle = taps // 2
        now, before = np.arange(0, 2 * channels, 2), np.arange(1, 2 * channels, 2)
        whole = np.zeros((2 * channels, 2 * channels, taps, taps))
        whole[now[:, None], now] = self.dt * gain[:, None, None, None] * kernel
        whole[now, now, middle, middle] += 1 + kept - self.dt * gain * stiffness
        whole[now, before, middle, middle] = -kept
        whole[before, now, middle, middle] = 1.0
        apart = not kernel[~np.eye(channels, dtype=bool)].any()
        mirrored = np.array_equal(kernel, kernel[:, :, ::-1]) and np.array_equal(kernel, kernel[..., ::-1])
        return {"kernel": whole, "levels": 2 if apart and mirrored and (kept > 0).all() else 1}

    def drum(self, channel: int = 0) -> WaveOperator:
        """Return the drum that a channel is to long waves, for `wavefield.modes`.

            ∂²h/∂t² = c_y² ∂²h/∂y² + c_x² ∂²h/∂x² − (ω(x) − ΣW) h − γ ∂h/∂t

        with c² the second moments of W (what its weights do to waves much longer than its width), and γ the mean of α
        over the sheet, as modes need one damping. Other channels, and what W does to one side more than to the other,
        are left out.

        Raises
        ------
        ValueError
            If a second moment is not positive, or the damping does not let waves through: then there is no wave.
        """
        if not 0 <= channel < self.channels:
            raise ValueError(f"channel must be 0 to {self.channels - 1}, got {channel!r}")
        kernel, stiffness, damping = (_finite(t, name)[channel] for name, t in self.named_parameters())
        kernel = kernel[channel]
        offsets = np.arange(len(kernel)) - len(kernel) // 2
        squared = np.array([kernel.sum(axis=1 - axis) @ offsets**2 / 2 for axis in range(2)])
        if (squared <= 0).any():
            raise ValueError(
                f"channel {channel} carries no long waves: the second moments of its W along y and x are "
                f"{squared.round(6).tolist()}, not both positive"
            )
        force = stiffness - kernel.sum()
        most, half = float(np.max(force)), self.dt * float(np.mean(damping)) / 2
        if half >= 1:
            raise ValueError(
                f"channel {channel} carries no waves: dt times its mean damping is {2 * half:g}, not below 2"
            )
        five = np.zeros((3, 3))
        five[::2, 1], five[1, ::2] = squared
        five[1, 1] = -2 * squared.sum()
        taps = self.dt**2 * five
        taps[1, 1] += 2 - self.dt**2 * most
        whole = np.zeros((2, 2, 3, 3))
        whole[0, 0], whole[0, 1, 1, 1], whole[1, 0, 1, 1] = taps / (1 + half), -(1 - half) / (1 + half), 1.0
        profile = {} if np.ndim(force) == 0 else {"restoring_profile": force - most}
        return WaveOperator(whole, self.boundary, self.dx, self.dt, levels=2, **profile)

    def extra_repr(self) -> str:
        """Describe the sheet."""
        size = "" if self.size is None else f", size={self.size}"
        shown = f"dt={self.dt}, boundary={self.boundary!r}, nonlinearity={self.nonlinearity!r}, scheme={self.scheme!r}"
        return f"{self.channels}{size}, kernel_size={self.kernel.shape[-1]}, {shown}"


def _require_sheet(op):
    if not isinstance(op, WaveOperator):
        raise TypeError(f"operator must be a WaveOperator, got {type(op).__name__}")
    if op.dims != 2 or op.levels != 2:
        raise ValueError(f"operator must be of a two-way sheet, as wave(dims=2) makes it, got {op!r}")
    if not isinstance(op.boundary, str) or op.boundary not in BOUNDARIES:
        raise ValueError(f"operator must be {', '.join(BOUNDARIES)} along both axes, got boundary={op.boundary!r}")
    if op.boundary == "fixed" and op.kernel.shape[-1] > 3:
        raise ValueError("operator with fixed ends must have a kernel of three taps: wider ones read an odd reflection")
    if op.mask is not None:
        raise ValueError("operator must not have a mask: this sheet fills its rectangle")
    if op.profile is not None and (op.profile != 1).any():
        raise ValueError("operator must not have a speed profile: with a speed that varies it is not a convolution")
    if op.restoring_profile is not None and (op.restoring_profile > 0).any():
        raise ValueError(
            "operator must have a restoring profile that is nowhere positive (a positive one is taken implicitly): "
            "say wave(restoring=most, restoring_profile=force - most)"
        )


def _finite(parameter, name):
    values = parameter.detach().double().cpu().numpy()
    if not np.isfinite(values).all():
        raise ValueError(f"{name} must be finite to be an operator, it holds NaN or infinity")
    return values


def sheet_like(model: Any, size: tuple[int, int] | None = None) -> WaveSheet:
    """Return a sheet of the channels, kernel size, step and boundary of a model of sheets, with values of its own."""
    return WaveSheet(
        model.channels,
        size,
        kernel_size=model.kernel.shape[-1],
        dt=model.dt,
        boundary=model.boundary,
        nonlinearity=model.nonlinearity,
        scheme=model.scheme,
        backend=model.backend,
        device=model.kernel.device,
        dtype=model.kernel.dtype,
    )
