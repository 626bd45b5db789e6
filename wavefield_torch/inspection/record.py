"""Hidden states of a network as a recording, the form in which simulated fields and neural data come too."""

from __future__ import annotations

import os
from collections.abc import Mapping

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn

from wavefield.checks import positive_int
from wavefield.progress import Progress
from wavefield.recordings.recording import open_recording, recording
from wavefield.recordings.writer import RecordingWriter
from wavefield_torch.inspection.record_sheet import is_of_images, record_sheet
from wavefield_torch.models.call_convention import traits
from wavefield_torch.models.readout import SequenceModel
from wavefield_torch.models.wave_rnn import WaveRNN

_SEGMENT_BYTES = 64_000_000  # of hidden states computed, and with a path kept, at a time


def record(
    model: nn.Module,
    batch,
    *,
    path: str | os.PathLike | None = None,
    dt: float | None = None,
    dx: float | None = None,
    keep_drive: bool = True,
    steps_at_once: int | None = None,
    config: Mapping | str | None = None,
    overwrite: bool = False,
) -> xr.Dataset:
    """Run a network over a batch and record its hidden states, with the input and the labels.

    Parameters
    ----------
    model : nn.Module
        `SequenceModel`, `WaveRNN`, any of the baselines, or a module with the interface of `torch.nn.RNN` (see
        `call_convention.Recurrence`). It is run without gradients and in evaluation mode, and left as it was. Or a
        model of images: `NeuralWaveMachine`, `ConvLSTM`, a `Segmenter` of these, `LocalCNN`, `EncoderReadout`, `UNet`.
    batch : Tensor or pair (Tensor, labels)
        Input as the model takes it, (T, B, I), (B, T, I) if it is batch-first, or (T, I) for a single sequence; and
        labels, one per sequence (B,), or one per step, (T, B) or (B, T) likewise. For a model of images (B, I, H, W),
        and the classes of its pixels (B, H, W).
    path : path, optional
        Stream to this netCDF file, a segment of steps at a time, for sequences whose states exceed memory.
    dt, dx : float, optional
        Duration of a step and distance of two units; by default those of the operator that a `WaveRNN` began as, or 1.
    keep_drive : bool
        Whether the input is kept as `drive`.
    steps_at_once : int, optional
        Steps of a segment; by default what fits in 64 MB. The state is carried from segment to segment.
    config : mapping or str, optional
        Settings of the run, kept as JSON.
    overwrite : bool
        Whether an interrupted recording at `path` may be replaced.

    Returns
    -------
    xarray.Dataset
        `activity` (trial, time, channel, position), `label`, `drive`, and of a `WaveRNN` the kernel, encoder and bias,
        from which `wavefield` can decode, continue or analyse it. The attribute ``position_order`` says whether
        positions are those of a "ring", of a "line", or, as of an LSTM, "none": units without a spatial order, in
        which no wave can be seen.

        Of a model of images `activity` is (trial, time, channel, y, x), y the row, counted from the top. Beside it
        stand `image`, `target` if given, `prediction` of a model that has one, and of a Neural Wave Machine `initial`,
        `stiffness`, `damping` and `coupling`. A model without a recurrence has one time, and the probability of each
        class as its activity.

    Raises
    ------
    ValueError, TypeError
        For an input or labels that do not fit, or that are not finite.
    FloatingPointError
        If a hidden state stops being finite; it names the step. What was streamed until then stays in the partial file.

    Examples
    --------
    >>> rec = record(WaveRNN(1, 32, channels=2), (torch.rand(5, 3, 1), torch.tensor([1, 0, 1])))
    >>> dict(rec.activity.sizes), rec.label.values.tolist()
    ({'trial': 3, 'time': 5, 'channel': 2, 'position': 32}, [1, 0, 1])
    """
    if is_of_images(model):
        return record_sheet(model, batch, path=path, dt=dt, dx=dx, config=config)
    net = model.recurrence if isinstance(model, SequenceModel) else model
    about_net = traits(net)
    if about_net.bidirectional:
        raise ValueError("model must not be bidirectional: its states have no single direction of time")
    x, labels = batch if isinstance(batch, (tuple, list)) else (batch, None)
    x = _checked_input(net, x)
    labels = _checked_labels(net, labels, x)
    channels, units = about_net.channels, about_net.output_size
    trials = () if x.dim() == 2 else (x.shape[1],)
    dims = ("trial",) * len(trials) + ("time", "channel", "position")
    per_step = labels is not None and labels.ndim == len(dims) - 2
    began = net.initial_operator if isinstance(net, WaveRNN) else None
    dt, dx = (getattr(began, name, 1.0) if given is None else given for name, given in (("dt", dt), ("dx", dx)))
    about = {"dims": dims, "dt": dt, "dx": dx, "config": config, "size": units // channels}
    about |= _described(net, len(x))
    about["drive"] = _trials_first(x).numpy(force=True) if keep_drive else None

    def recorded(activity, steps):
        return recording(activity, label=labels[..., :steps] if per_step else labels, **about)

    def shape(steps):
        return *trials, steps, channels, units // channels

    length = max(1, _SEGMENT_BYTES // (x[0].numel() // max(1, x.shape[-1]) * units * x.element_size() + 1))
    blocks = _states(net, x, positive_int(steps_at_once or length, "steps_at_once"), channels)
    if path is None:
        activity = np.empty(shape(len(x)), _numpy_dtype(x))
        for start, block in blocks:
            activity[..., start : start + block.shape[-3], :, :] = block
        return recorded(activity, len(x))
    template = recorded(np.empty(shape(0), _numpy_dtype(x)), 0)
    with RecordingWriter(path, template, steps=len(x), overwrite=overwrite) as writer:
        for start, block in blocks:
            rows = {"label": labels[..., start : start + block.shape[-3]]} if per_step else {}
            writer.append(block, **rows)
    return open_recording(path)


def _states(net, x, length, channels):
    """Yield (first step, states (trial, time, channel, position)) of segments of `length` steps."""
    training, state = net.training, None
    net.eval()
    try:
        with torch.no_grad():
            for start in Progress(range(0, len(x), length), "recording", unit="segment"):
                piece = x[start : start + length]
                swap = traits(net).batch_first and x.dim() == 3
                output, state = net(piece.transpose(0, 1) if swap else piece, state)
                output = output.transpose(0, 1) if swap else output  # (T, B, C·N)
                finite = torch.isfinite(output).flatten(1).all(1)
                if not finite.all():
                    step = start + int(torch.argmin(finite.int()))
                    raise FloatingPointError(f"the hidden state stopped being finite at step {step}")
                yield start, _trials_first(output).unflatten(-1, (channels, -1)).numpy(force=True)
    finally:
        net.train(training)


def _checked_input(net, x):
    """The input, time first, on the device of the network."""
    if not isinstance(x, Tensor) or x.dim() not in (2, 3):
        got = tuple(x.shape) if isinstance(x, Tensor) else type(x).__name__
        raise TypeError(f"batch must hold a Tensor (T, B, I) or (T, I), padded where lengths differ, got {got}")
    x = x.transpose(0, 1) if traits(net).batch_first and x.dim() == 3 else x
    if len(x) == 0:
        raise ValueError("batch must have at least one time step, got an empty sequence")
    if not torch.isfinite(x).all():
        raise ValueError("batch must be finite, it holds NaN or infinity")
    parameter = next(net.parameters(), x)
    return x.to(parameter.device)


def _checked_labels(net, labels, x):
    """Labels of the time-first input x as an array, one per trial or (trial, time)."""
    if labels is None:
        return None
    labels = labels.numpy(force=True) if isinstance(labels, Tensor) else np.asarray(labels)
    trials, batch_first = tuple(x.shape[1:-1]), traits(net).batch_first
    per_step = (*trials, len(x)) if batch_first else (len(x), *trials)
    if labels.shape not in (trials, per_step):
        raise ValueError(f"labels must have shape {trials} or {per_step}, got {labels.shape}")
    if not np.isfinite(labels).all():
        raise ValueError("labels must be finite, they hold NaN or infinity")
    return labels if batch_first else labels.T


def _trials_first(x):
    return x.transpose(0, 1) if x.dim() == 3 else x


def _numpy_dtype(x):
    return x[:0].numpy(force=True).dtype


def _described(net, steps):
    """Attributes of the network in a recording; of a wave RNN everything that determined the activity."""
    order = traits(net).position_order
    about = {
        "source": repr(net) if not list(net.children()) else type(net).__name__,
        "position_order": order,
        "boundary": {"ring": "periodic", "line": "open"}.get(order),
        "nonlinearity": traits(net).nonlinearity,
    }
    if not isinstance(net, WaveRNN) or net.num_layers != 1:
        return about
    net.to_operator()  # refuses weights that are not finite
    if net.leak != 1 or net.initial_state is not None:  # these a recording cannot say, and nothing continues without
        return about
    row = None if net.boundary_row is None else xr.DataArray(
        net.boundary_row.numpy(force=True),
        dims=("channel_out", "channel_in", "position"),
        attrs={"units": "1", "long_name": "weight with which the field drives its end"},
    )  # fmt: skip
    bias = net.total_bias()
    return about | {
        "kernel": net.kernel.numpy(force=True),
        "encoder": net.encoder.numpy(force=True),
        "bias": bias.numpy(force=True) if bias is not None and bias.any() else None,
        "boundary_row": row,
        "levels": 1,  # the two of a two-way field are channels here, each with its own activity
        "source_kind": "direct",
        "driven_end": -1,
        "steps": steps,
        "first_step": 0,
    }
