"""Checkpoints of a training run: one safetensors file with the model, the optimiser and, as JSON, its progress.

A file appears under its name only when it is complete, and carries a checksum of its contents: a file that was cut
short or altered is detected when it is read. Nothing in it can execute (no pickle).
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from wavefield.files import whole_or_nothing


class CheckpointError(ValueError):
    """A checkpoint is damaged, or belongs to another model."""


def save_checkpoint(
    path: str | os.PathLike,
    model: nn.Module,
    optimizer: torch.optim.Optimizer | None = None,
    *,
    progress: Mapping | None = None,
) -> None:
    """Write a model, its optimiser and `progress`, anything JSON can hold, as one file.

    Raises
    ------
    OSError
        Naming `path` where it cannot be written (a full disk, say); what stood there before is still there.
    """
    tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
    described = [] if optimizer is None else _flattened(optimizer.state_dict(), "optimizer", tensors)
    # each in memory of its own: tied parameters are one tensor under several names, which the format refuses
    tensors = {name: value.detach().to("cpu", copy=True).contiguous() for name, value in tensors.items()}
    about = {"progress": json.dumps(dict(progress or {})), "optimizer": json.dumps(described)}
    with whole_or_nothing(path) as scratch:
        try:
            save_file(tensors, scratch, metadata=about | {"sha256": _checksum(tensors, about)})
        except SafetensorError as error:  # what the file system said is in its text only
            raise OSError(f"could not be written: {error}") from error


def load_checkpoint(
    path: str | os.PathLike, model: nn.Module | None = None, optimizer: torch.optim.Optimizer | None = None
) -> dict:
    """Put a checkpoint back into a model and its optimiser, and return the `progress` that was saved with it.

    Raises
    ------
    CheckpointError
        If the file is cut short or altered, or does not fit the model or the optimiser; nothing is changed then.
    FileNotFoundError
    """
    tensors, about = _read(Path(path))
    saved = _optimizer_state(json.loads(about["optimizer"]), tensors)
    state = {name.removeprefix("model."): t for name, t in tensors.items() if name.startswith("model.")}
    if model is not None:
        _check_fit(path, state, model)
    if optimizer is not None:
        _check_groups(path, saved["param_groups"], optimizer)
    if model is not None:
        model.load_state_dict(state)
    if optimizer is not None:
        optimizer.load_state_dict(saved)
    return json.loads(about["progress"])


def _flattened(value, name, tensors):
    """A state of an optimiser as JSON can hold it; tensors go to `tensors`, in their place stands their name.

    Containers are pairs of their kind and their entries: keys may be numbers, and tuples must come back as tuples.
    """
    if isinstance(value, Tensor):
        tensors[name] = value
        return ["tensor", name]
    if isinstance(value, Mapping):
        entries = enumerate(value.items())
        return ["dict", [[key, _flattened(entry, f"{name}.{i}", tensors)] for i, (key, entry) in entries]]
    if isinstance(value, (list, tuple)):
        entries = [_flattened(entry, f"{name}.{i}", tensors) for i, entry in enumerate(value)]
        return ["tuple" if isinstance(value, tuple) else "list", entries]
    if value is None or isinstance(value, (bool, int, float, str)):
        return ["value", value]
    raise TypeError(f"optimizer must hold tensors, numbers and containers of them, got {value!r} as {name}")


def _restored(described, tensors):
    """The inverse of `_flattened`."""
    kind, content = described
    if kind == "tensor":
        return tensors[content]
    if kind == "dict":
        return {key: _restored(entry, tensors) for key, entry in content}
    if kind == "value":
        return content
    entries = [_restored(entry, tensors) for entry in content]
    return tuple(entries) if kind == "tuple" else entries


def _optimizer_state(described, tensors: dict[str, Tensor]):
    """The state of the optimiser, also from files of version 0.1, which hold its groups and name the tensors."""
    if described and described[0] == "dict":
        return _restored(described, tensors)
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        if name.startswith("optimizer."):
            _, index, entry = name.split(".", 2)
            state.setdefault(int(index), {})[entry] = value
    return {"state": state, "param_groups": described}


def _read(path):
    if not path.is_file():
        raise FileNotFoundError(f"no checkpoint {path}")
    try:
        with safe_open(path, framework="pt") as file:
            about = file.metadata() or {}
            # copied to where PyTorch puts tensors: the last bit of a sum depends on how its terms are aligned
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118 - not a mapping
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} is damaged: {error}") from error
    known = {key: about.get(key, "") for key in ("progress", "optimizer")}
    if about.get("sha256") != _checksum(tensors, known):
        raise CheckpointError(f"{path} is damaged: its contents do not match their checksum")
    return tensors, known


def _checksum(tensors, about):
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(f"{name} {tensors[name].dtype} {tuple(tensors[name].shape)}".encode())
        digest.update(tensors[name].reshape(-1).view(torch.uint8).numpy())
    for key in sorted(about):
        digest.update(f"{key} {about[key]}".encode())
    return digest.hexdigest()


def _check_fit(path, state, model):
    wanted = model.state_dict()
    for name in sorted(wanted.keys() | state.keys()):
        found = tuple(state[name].shape) if name in state else "nothing"
        expected = tuple(wanted[name].shape) if name in wanted else "nothing"
        if found != expected:
            raise CheckpointError(f"{path} belongs to another model: it holds {found} for {name}, not {expected}")


def _check_groups(path, groups, optimizer):
    found = [len(group["params"]) for group in groups]
    expected = [len(group["params"]) for group in optimizer.state_dict()["param_groups"]]
    if found != expected:
        raise CheckpointError(
            f"{path} belongs to another optimiser: it holds groups of {found or 'no'} parameters, not of {expected}"
        )
