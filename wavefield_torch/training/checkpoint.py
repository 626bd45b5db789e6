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
    settings = []
    if optimizer is not None:
        state = optimizer.state_dict()
        settings = state["param_groups"]
        for index, entries in state["state"].items():
            tensors |= {f"optimizer.{index}.{name}": torch.as_tensor(value) for name, value in entries.items()}
    tensors = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    about = {"progress": json.dumps(dict(progress or {})), "optimizer": json.dumps(settings)}
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
    groups = json.loads(about["optimizer"])
    state = {name.removeprefix("model."): t for name, t in tensors.items() if name.startswith("model.")}
    if model is not None:
        _check_fit(path, state, model)
    if optimizer is not None:
        _check_groups(path, groups, optimizer)
    if model is not None:
        model.load_state_dict(state)
    if optimizer is not None:
        entries: dict[int, dict[str, Tensor]] = {}
        for name, value in tensors.items():
            if name.startswith("optimizer."):
                _, index, entry = name.split(".", 2)
                entries.setdefault(int(index), {})[entry] = value
        optimizer.load_state_dict({"state": entries, "param_groups": groups})
    return json.loads(about["progress"])


def _read(path):
    if not path.is_file():
        raise FileNotFoundError(f"no checkpoint {path}")
    try:
        with safe_open(path, framework="pt") as file:
            about = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
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
