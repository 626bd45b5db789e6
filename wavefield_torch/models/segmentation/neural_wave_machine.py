"""The Neural Wave Machine: an image makes a medium and sets it in motion, the waves in it carry what lies far away."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from wavefield.checks import positive, positive_int
from wavefield_torch.models.segmentation.layers import checked_image, encoder
from wavefield_torch.models.sheets.wave_sheet import LAPLACIAN, WaveSheet, sheet_like
from wavefield_torch.recurrence.sheet.scan import sheet_scan


class NeuralWaveMachine(nn.Module):
    """Coupled oscillators on a sheet whose stiffness, damping and first positions are made from an image.

        y'' = tanh(W ⋆ y) − ω ⊙ y − α ⊙ y',      y[0] = y₀(image),  y'[0] = 0,  ω(image) ≥ 0,  α(image) ≥ 0

    The image enters through three encoders, once, and not again: whatever reaches a pixel from beyond their windows
    of 7 × 7 and 9 × 9 pixels was carried there by the sheet.

    Parameters
    ----------
    in_channels : int
        I, the colours of an image.
    channels : int
        C, of the sheet.
    encoder_width : int
        Channels of the hidden layers of the encoders.
    steps : int
        T.
    dt : float
        Length of a step.
    coupled : bool
        Without coupling W = 0 and is not trained: oscillators that do not know of each other, the control in which no
        wave can travel.
    boundary, nonlinearity, scheme, backend, checkpoint_every
        As of `sheet_scan`.
    generator : torch.Generator, optional
        From which the encoders are drawn.

    Attributes
    ----------
    stiffness, damping : nn.Sequential
        Three 3 × 3 convolutions with ReLU between them and after the last.
    initial : nn.Sequential
        Four 3 × 3 convolutions with ReLU between them, tanh after the last.
    kernel : Tensor (C, C, 3, 3)
        W; at first the five-point Laplacian from each channel to itself, zero between channels.

    Shapes
    ------
    image (B, I, H, W) → states y[1..T] (T, B, C, H, W); with a readout as of `sheet_scan`, what that returns.

    Notes
    -----
    Source: Jacobs, Budzinski, Muller, Ba and Keller, "Traveling Waves Integrate Spatial Information Through Time",
    2025 (arXiv 2502.06034), as in their published code: the encoders have PyTorch's initial values. At first the speed
    of waves is one pixel per unit of time, so that they come T·dt pixels far.

    Examples
    --------
    >>> model = NeuralWaveMachine(in_channels=3, channels=2, steps=10)
    >>> model(torch.rand(4, 3, 16, 16)).shape
    torch.Size([10, 4, 2, 16, 16])
    """

    kernel: Tensor

    def __init__(
        self,
        in_channels: int = 3,
        channels: int = 2,
        encoder_width: int = 16,
        steps: int = 100,
        dt: float = 0.1,
        *,
        coupled: bool = True,
        boundary: str = "periodic",
        nonlinearity: str = "tanh",
        scheme: str = "semi-implicit",
        backend: str = "auto",
        checkpoint_every: int | None = None,
        generator: torch.Generator | None = None,
    ):
        super().__init__()
        self.in_channels, self.channels = positive_int(in_channels, "in_channels"), positive_int(channels, "channels")
        self.steps, self.dt, self.coupled = positive_int(steps, "steps"), positive(dt, "dt"), coupled
        self.boundary, self.nonlinearity, self.scheme = boundary, nonlinearity, scheme
        self.backend, self.checkpoint_every = backend, checkpoint_every
        sizes = (in_channels, positive_int(encoder_width, "encoder_width"), channels)
        self.stiffness = encoder(*sizes, layers=3, last=nn.ReLU, generator=generator)
        self.damping = encoder(*sizes, layers=3, last=nn.ReLU, generator=generator)
        self.initial = encoder(*sizes, layers=4, last=nn.Tanh, generator=generator)
        kernel = torch.zeros(channels, channels, 3, 3)
        if coupled:
            kernel[range(channels), range(channels)] = torch.tensor(LAPLACIAN)
            self.kernel = nn.Parameter(kernel)
        else:
            self.register_buffer("kernel", kernel)

    def encode(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the first positions y₀, the stiffness ω and the damping α that an image makes, (B, C, H, W) each."""
        image = checked_image(image, self.in_channels)
        return self.initial(image), self.stiffness(image), self.damping(image)

    def forward(self, image: Tensor, readout: Tensor | str | None = None) -> Tensor:
        """Return the states, or what a readout over time makes of them."""
        y0, stiffness, damping = self.encode(image)
        output, _ = sheet_scan(
            y0,
            None,
            self.kernel,
            stiffness,
            damping,
            steps=self.steps,
            dt=self.dt,
            boundary=self.boundary,
            nonlinearity=self.nonlinearity,
            scheme=self.scheme,
            readout=readout,
            backend=self.backend,
            checkpoint_every=self.checkpoint_every,
        )
        assert output is not None
        return output

    @torch.no_grad()
    def medium(self, image: Tensor) -> WaveSheet:
        """Return the sheet that one image (I, H, W) makes, with the ω and α of every place.

        Its `to_operator` gives the dispersion surface of W, its `drum` the modes of what the image became.

        Examples
        --------
        >>> import wavefield as wf
        >>> model = NeuralWaveMachine(in_channels=1, channels=2)
        >>> drum = model.medium(torch.rand(1, 16, 16)).drum(channel=0)
        >>> wf.modes(drum, count=3).frequency.shape
        (3,)
        """
        if image.dim() != 3:
            raise ValueError(f"image must be one, (I, H, W), got shape {tuple(image.shape)}")
        _, stiffness, damping = (part[0] for part in self.encode(image[None]))
        sheet = sheet_like(self, (image.shape[1], image.shape[2]))
        for parameter, value in zip(sheet.parameters(), (self.kernel, stiffness, damping), strict=True):
            parameter.copy_(value)
        return sheet

    def extra_repr(self) -> str:
        """The settings of the sheet."""
        coupled = "" if self.coupled else ", coupled=False"
        return f"in_channels={self.in_channels}, channels={self.channels}, steps={self.steps}, dt={self.dt}{coupled}"
