"""Checkpoints come back bit for bit, and a damaged one is found out before anything is changed."""

import copy

import pytest
import torch

from wavefield_torch import CheckpointError, WaveRNN, load_checkpoint, save_checkpoint
from wavefield_torch.training import checkpoint


@pytest.fixture
def trained():
    torch.manual_seed(0)
    model = WaveRNN(2, 8, channels=2)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(3):
        _step(model, optimizer)
    return model, optimizer


def _step(model, optimizer):
    x = torch.linspace(-1, 1, 24).reshape(4, 3, 2)
    optimizer.zero_grad()
    model(x)[0].square().sum().backward()
    optimizer.step()


def _fresh():
    model = WaveRNN(2, 8, channels=2)
    return model, torch.optim.Adam(model.parameters(), lr=1.0)


def test_training_goes_on_from_a_checkpoint_to_the_same_bits(trained, tmp_path):
    model, optimizer = trained
    save_checkpoint(tmp_path / "a.safetensors", model, optimizer, progress={"step": 3, "loss": 0.1})
    again, other = _fresh()
    assert load_checkpoint(tmp_path / "a.safetensors", again, other) == {"step": 3, "loss": 0.1}
    assert other.param_groups[0]["lr"] == 0.01
    for _ in range(3):
        _step(model, optimizer)
        _step(again, other)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))


OPTIMIZERS = {
    "adam, learning rate a tensor": lambda p: torch.optim.Adam(p, lr=torch.tensor(0.01)),
    "adamw, capturable": lambda p: torch.optim.AdamW(p, lr=0.01, amsgrad=True, betas=(0.8, 0.9)),
    "sgd": lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.9),
    "sgd without state": lambda p: torch.optim.SGD(p, lr=0.01),
    "lbfgs": lambda p: torch.optim.LBFGS(p, lr=0.1, max_iter=3, history_size=4, line_search_fn="strong_wolfe"),
    "rmsprop": lambda p: torch.optim.RMSprop(p, lr=0.01),
    "adagrad": lambda p: torch.optim.Adagrad(p, lr=0.01),
    "adafactor": lambda p: torch.optim.Adafactor(p, lr=0.01),
    "asgd": lambda p: torch.optim.ASGD(p, lr=0.01),
    "rprop": lambda p: torch.optim.Rprop(p, lr=0.01),
}


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_any_optimiser_goes_on_to_the_same_bits(kind, tmp_path):
    torch.manual_seed(0)
    x = torch.linspace(-1, 1, 24).reshape(4, 3, 2)

    def made():
        model = WaveRNN(2, 8, channels=2, operator="uniform")
        return model, OPTIMIZERS[kind](model.parameters())

    def train(model, optimizer, steps=3):
        def loss():
            optimizer.zero_grad()
            value = (model(x)[0] - 0.1).square().sum()
            value.backward()
            return value

        for _ in range(steps):
            optimizer.step(loss)

    model, optimizer = made()
    train(model, optimizer)
    save_checkpoint(tmp_path / "a.safetensors", model, optimizer)
    again, other = made()
    load_checkpoint(tmp_path / "a.safetensors", again, other)
    before, after = optimizer.state_dict(), other.state_dict()
    assert str(before["param_groups"]) == str(after["param_groups"])
    assert before["state"].keys() == after["state"].keys()
    train(model, optimizer)
    train(again, other)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))


def test_tied_parameters_stay_tied(tmp_path):
    def made():
        model = torch.nn.ModuleDict({"inner": torch.nn.Linear(4, 4), "outer": torch.nn.Linear(4, 4)})
        model["outer"].weight = model["inner"].weight
        return model, torch.optim.Adam(model.parameters())

    model, optimizer = made()
    model["outer"](model["inner"](torch.ones(2, 4))).sum().backward()
    optimizer.step()
    save_checkpoint(tmp_path / "a.safetensors", model, optimizer)
    again, other = made()
    load_checkpoint(tmp_path / "a.safetensors", again, other)
    assert again["outer"].weight is again["inner"].weight
    assert torch.equal(again["outer"].weight, model["inner"].weight)


def test_a_checkpoint_of_version_0_1_is_still_read(trained, tmp_path, monkeypatch):
    model, optimizer = trained

    def flattened(state, name, tensors):
        for index, entries in state["state"].items():
            tensors |= {f"{name}.{index}.{entry}": value for entry, value in entries.items()}
        return state["param_groups"]

    monkeypatch.setattr(checkpoint, "_flattened", flattened)
    save_checkpoint(tmp_path / "a.safetensors", model, optimizer)
    monkeypatch.undo()
    again, other = _fresh()
    load_checkpoint(tmp_path / "a.safetensors", again, other)
    for pair in ((model, optimizer), (again, other)):
        _step(*pair)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))


@pytest.mark.parametrize("damage", ["cut", "flipped", "relabelled", "empty"])
def test_a_damaged_file_is_found_out_and_changes_nothing(trained, tmp_path, damage):
    path = tmp_path / "a.safetensors"
    save_checkpoint(path, *trained, progress={"step": 3})
    raw = bytearray(path.read_bytes())
    if damage == "cut":
        raw = raw[:-100]
    elif damage == "flipped":
        raw[-50] ^= 1
    elif damage == "relabelled":
        raw = raw.replace(b'{\\"step\\": 3}', b'{\\"step\\": 4}')
    else:
        raw = b""
    path.write_bytes(raw)
    model, optimizer = _fresh()
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(CheckpointError, match=r"a\.safetensors is damaged"):
        load_checkpoint(path, model, optimizer)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_checkpoint_of_another_model_is_refused_by_name(trained, tmp_path):
    save_checkpoint(tmp_path / "a.safetensors", *trained)
    with pytest.raises(CheckpointError, match=r"another model.*\(2, 8, 2\).*encoder"):
        load_checkpoint(tmp_path / "a.safetensors", WaveRNN(3, 8, channels=2))


@pytest.mark.parametrize("stored", ["no optimiser", "of fewer parameters"])
def test_a_checkpoint_of_another_optimiser_is_refused_before_the_model_is_changed(trained, tmp_path, stored):
    model, _ = trained
    fewer = torch.optim.Adam(list(model.parameters())[:-1])
    save_checkpoint(tmp_path / "a.safetensors", model, None if stored == "no optimiser" else fewer)
    again, optimizer = _fresh()
    before = copy.deepcopy(again.state_dict())
    with pytest.raises(CheckpointError, match="belongs to another optimiser"):
        load_checkpoint(tmp_path / "a.safetensors", again, optimizer)
    assert all(torch.equal(before[name], value) for name, value in again.state_dict().items())


def test_an_unwritable_place_is_an_os_error_that_names_it(trained, tmp_path):
    with pytest.raises(OSError, match="cannot be written"):
        save_checkpoint(tmp_path / "missing" / "a.safetensors", *trained)
    with pytest.raises(FileNotFoundError, match="no checkpoint"):
        load_checkpoint(tmp_path / "a.safetensors")
