"""The trainable sheet without a nonlinearity, which needs no loop over time."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from wavefield.checks import positive_int
from wavefield_torch.recurrence.scan import HALF_PRECISION, without_autocast
from wavefield_torch.recurrence.sheet import linear
from wavefield_torch.recurrence.sheet.scan import SCHEMES, check_readout, check_sheets

_INSIDE = 1 - 1e-6  # of the stable region: on its edge a mode that changes its sign at every step would grow


class LinearSheet(nn.Module):
    """A sheet of coupled linear oscillators, y'' = W ⋆ y − ω y − α y' + x, for any number of steps at once.

    The steps are those of `sheet_scan` with the identity nonlinearity, periodic edges, and one ω and one α for each
    channel. Mode by mode they are powers of a small matrix, so that the state after T steps, or a linear readout of all
    T states, is a convolution of the whole sheet: its cost hardly depends on T. With an input per step an associative
    scan over time takes the place of the loop.

    At every call the parameters are projected into the region in which no mode grows: W is made symmetric,
    W(x) ← (W(x) + W(−x)ᵀ)/2, so that A(k) = ω − Ŵ(k) is Hermitian; then

        0 ≤ α ≤ 2/dt,    0 ≤ A(k) ≤ (4 − 2 dt α)/dt²      semi-implicit
        0 ≤ α,           0 ≤ A(k) ≤ (4 + 2 dt α)/dt²      damping-implicit
        0 ≤ α,           0 ≤ A(k) ≤ 4/dt²                 centred,

    as matrices where channels mix: what of a mode lies outside is moved to the edge of the region.

    Parameters
    ----------
    channels : int
        C.
    kernel_size : int
        K, odd.
    dt : float
        Length of a step.
    coupled : bool
        Whether channels mix. Without it a mode is one oscillator for each channel, which is cheaper.
    scheme : {"semi-implicit", "damping-implicit", "centred"}
        As in `sheet_scan`.
    device, dtype
        Of the parameters.

    Attributes
    ----------
    kernel : nn.Parameter (C, C, K, K), or (C, K, K) if not `coupled`
        W, at first the five-point Laplacian in each channel (zero if K is 1).
    stiffness, damping : nn.Parameter (C,)
        ω and α, zero at first.

    Notes
    -----
    Regions of stability: Rusch and Rus, "Oscillatory State-Space Models", ICLR 2025, for one oscillator. For matrices
    they follow from the energy ½ δᵀ(1 ∓ dt α/2 − dt² A/4)δ + ½ mᵀ(dt² A)m of the difference δ and the mean m of two
    neighbouring states, which never grows in them (centred: without the term of α).

    Examples
    --------
    >>> import torch
    >>> from wavefield_torch import LinearSheet
    >>> sheet = LinearSheet(2)
    >>> features, (y, z) = sheet(torch.randn(4, 2, 16, 16), steps=1000, readout=torch.randn(5, 1000))
    >>> features.shape
    torch.Size([5, 4, 2, 16, 16])
    """

    def __init__(
        self,
        channels: int,
        *,
        kernel_size: int = 3,
        dt: float = 0.1,
        coupled: bool = False,
        scheme: str = "semi-implicit",
        device=None,
        dtype=None,
    ):
        super().__init__()
        self.channels = positive_int(channels, "channels")
        if positive_int(kernel_size, "kernel_size") % 2 == 0:
            raise ValueError(f"kernel_size must be odd, got {kernel_size}")
        if not (isinstance(dt, (int, float)) and math.isfinite(dt) and dt > 0):
            raise ValueError(f"dt must be a positive number, got {dt!r}")
        if scheme not in SCHEMES:
            raise ValueError(f"scheme must be one of {list(SCHEMES)}, got {scheme!r}")
        self.kernel_size, self.dt, self.coupled, self.scheme = kernel_size, dt, coupled, scheme
        options = dict(device=device, dtype=dtype)
        shape = (channels, channels) if coupled else (channels,)
        self.kernel = nn.Parameter(torch.empty(*shape, kernel_size, kernel_size, **options))
        self.stiffness = nn.Parameter(torch.empty(channels, **options))
        self.damping = nn.Parameter(torch.empty(channels, **options))
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Set the initial values."""
        for parameter in self.parameters():
            parameter.zero_()
        if self.kernel_size > 1:
            own = self.kernel.diagonal().permute(2, 0, 1) if self.coupled else self.kernel  # (C, K, K), a view
            middle = self.kernel_size // 2
            for y, x, weight in ((0, 0, -4), (1, 0, 1), (-1, 0, 1), (0, 1, 1), (0, -1, 1)):
                own[:, middle + y, middle + x] = weight

    def extra_repr(self) -> str:
        """Describe the sheet."""
        return f"{self.channels}, kernel_size={self.kernel_size}, dt={self.dt}, coupled={self.coupled}, {self.scheme!r}"

    def symmetric_kernel(self) -> Tensor:
        """Return W (C, C, K, K) as it is used, (W(x) + W(−x)ᵀ)/2, for `sheet_scan`."""
        turned = self.kernel.flip(-1, -2)
        if self.coupled:
            return (self.kernel + turned.transpose(0, 1)) / 2
        return torch.diag_embed(((self.kernel + turned) / 2).permute(1, 2, 0)).permute(2, 3, 0, 1)

    def stable(self, height: int, width: int) -> tuple[Tensor, Tensor]:
        """Return A (height, width//2 + 1, C, C), or (…, C) if not `coupled`, and α (C,), projected, in float64."""
        dt = self.dt
        damping = self.damping.double().clamp(0, 2 * _INSIDE / dt if self.scheme == "semi-implicit" else None)
        slope = {"semi-implicit": -2, "damping-implicit": 2, "centred": 0}[self.scheme]
        limit = (4 + slope * dt * damping) * _INSIDE / dt**2  # (C,)
        stiffness = self.stiffness.double()
        if not self.coupled:
            kernel = (self.kernel + self.kernel.flip(-1, -2)) / 2
            pull = stiffness - linear.symbol(kernel.double(), height, width).real
            return torch.minimum(pull.clamp(min=0), limit), damping
        pull = torch.diag(stiffness) - linear.symbol(self.symmetric_kernel().double(), height, width)
        scale = limit.sqrt()
        scale = scale[:, None] * scale
        return _Clipped.apply(pull / scale) * scale, damping

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
        """Run `steps` steps; arguments and results are those of `sheet_scan`.

        Raises
        ------
        ValueError, TypeError
            As `sheet_scan`.
        """
        if self.stiffness.dtype == torch.float32:
            y0, z0, input, readout = _in_float32(y0), _in_float32(z0), _in_float32(input), _in_float32(readout)
        check_sheets(y0, z0, input, steps, self.channels)
        check_readout(readout, y0, steps)
        with without_autocast(y0):
            pull, damping = self.stable(*y0.shape[2:])
            if not self.coupled:
                pull, damping = pull[..., None, None], damping[:, None]
            matrix, entry = linear.step_of(pull, damping, self.dt, self.scheme)
            output, y, z = linear.scan(y0, z0, matrix, entry, input, steps, readout, return_sequence, self.dt)
        return output, (y, z)


def _in_float32(value: Any) -> Any:
    """Tensors of half precision, as autocast makes them, in float32."""
    return value.float() if isinstance(value, torch.Tensor) and value.dtype in HALF_PRECISION else value


class _Clipped(torch.autograd.Function):
    """Hermitian matrices with their eigenvalues moved into [0, 1].

    The gradient is that of Daleckii and Krein, which eigenvalues that coincide do not disturb, unlike that of `eigh`.
    """

    @staticmethod
    def forward(ctx, matrix):
        values, vectors = torch.linalg.eigh(matrix)
        clipped = values.clamp(0, 1)
        ctx.save_for_backward(values, clipped, vectors)
        return (vectors * clipped[..., None, :]) @ vectors.mH

    @staticmethod
    def backward(ctx, grad):
        values, clipped, vectors = ctx.saved_tensors
        distance = values[..., :, None] - values[..., None, :]
        inside = (values == clipped).to(values.dtype)
        slope = (inside[..., :, None] + inside[..., None, :]) / 2
        near = distance.abs() < 1e-9
        ratio = (clipped[..., :, None] - clipped[..., None, :]) / distance.masked_fill(near, 1)
        weights = torch.where(near, slope, ratio)
        return vectors @ (weights * (vectors.mH @ grad @ vectors)) @ vectors.mH
