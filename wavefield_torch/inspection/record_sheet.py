"""States of a model of images as a recording of a sheet, with what it saw and what it answered."""

from __future__ import annotations

import torch
import xarray as xr
from torch import Tensor, nn

from wavefield.recordings.recording import open_recording, recording, save_recording
from wavefield_torch.models.segmentation.conv_lstm import ConvLSTM
from wavefield_torch.models.segmentation.feed_forward import EncoderReadout, LocalCNN, UNet
from wavefield_torch.models.segmentation.linear_wave_machine import LinearWaveMachine
from wavefield_torch.models.segmentation.neural_wave_machine import NeuralWaveMachine
from wavefield_torch.models.segmentation.segmenter import Segmenter

_RECURRENT = (NeuralWaveMachine, LinearWaveMachine, ConvLSTM)
_FEED_FORWARD = (LocalCNN, EncoderReadout, UNet)


def is_of_images(model: nn.Module) -> bool:
    """Whether `record_sheet` is the one to record a model."""
    return isinstance(model, (Segmenter, *_RECURRENT, *_FEED_FORWARD))


def record_sheet(model: nn.Module, batch, *, path=None, dt=None, dx=None, config=None) -> xr.Dataset:
    """Run a model over images and record its states; `record` documents it."""
    image, target = batch if isinstance(batch, (tuple, list)) else (batch, None)
    if not isinstance(image, Tensor) or image.dim() != 4:
        got = tuple(image.shape) if isinstance(image, Tensor) else type(image).__name__
        raise TypeError(f"batch must hold images (B, I, H, W), got {got}")
    if not torch.isfinite(image).all():
        raise ValueError("batch must be finite, it holds NaN or infinity")
    image = image.to(next(model.parameters()))
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            states, more, about = _run(model, image)
    finally:
        model.train(training)
    finite = torch.isfinite(states).flatten(1).all(1)
    if not finite.all():
        raise FloatingPointError(f"the hidden state stopped being finite at step {int(torch.argmin(finite.int()))}")
    more["image"] = _labelled(image, ("trial", "colour", "y", "x"), "image")
    if target is not None:
        if tuple(target.shape) != (len(image), *image.shape[2:]):
            raise ValueError(f"labels must have shape {(len(image), *image.shape[2:])}, got {tuple(target.shape)}")
        more["target"] = _labelled(target, ("trial", "y", "x"), "class that each pixel has")
    found = recording(
        states.transpose(0, 1).numpy(force=True),
        dims=("trial", "time", "channel", "y", "x"),
        dx=1.0 if dx is None else dx,
        source=type(model).__name__,
        config=config,
        position_order="sheet",
        **about | ({} if dt is None else {"dt": dt}),
        **more,
    )
    if path is None:
        return found
    save_recording(found, path)
    return open_recording(path)


def _run(model, image):
    """States (T, B, C, H, W), what else is recorded, and the attributes."""
    sheet = ("trial", "channel", "y", "x")
    more = {}
    about = {"dt": 1.0}
    if isinstance(model, _FEED_FORWARD):
        logits = model(image)
        states = logits.softmax(1)[None]
    else:
        net = model.recurrence if isinstance(model, Segmenter) else model
        states = net(image)
        about |= {"boundary": getattr(net, "boundary", "periodic")}
        if isinstance(net, LinearWaveMachine):
            about |= {"dt": net.sheet.dt, "nonlinearity": "identity"}
        if isinstance(net, NeuralWaveMachine):
            about |= {"dt": net.dt, "nonlinearity": net.nonlinearity}
            names = ("initial", "stiffness", "damping")
            told = ("position of the sheet at first", "stiffness of the sheet", "damping of the sheet")
            for name, value, text in zip(names, net.encode(image), told, strict=True):
                more[name] = _labelled(value, sheet, text)
            taps = ("channel_out", "channel_in", "tap_y", "tap_x")
            more["coupling"] = _labelled(net.kernel, taps, "weight with which a cell is coupled to those around it")
        logits = None
        if isinstance(model, Segmenter):
            logits = model.mlp(model.readout(model.readout.read(states)))
    if logits is not None:
        more["prediction"] = _labelled(logits.argmax(1), ("trial", "y", "x"), "class that the model gave to each pixel")
    return states, more, about


def _labelled(value, dims, text):
    return xr.DataArray(value.numpy(force=True), dims=dims, attrs={"units": "1", "long_name": text})
