"""Every config and variant of a table trains, is scored and is recorded, on tiny files of the published formats."""

import numpy as np
import pytest
import torch

from experiments.config import CONFIGS, load_config, read_source
from experiments.run import build_model, start
from experiments.tasks.problem import load_problem
from wavefield import open_recording

NAMES = sorted(path.stem for path in CONFIGS.glob("*.toml"))
TINY = {
    "copy": ["delay=0"],
    "adding": ["length=10", "held_out=5"],
    "mnist": ["held_out=4"],
    "ns-cifar10": ["held_out=4"],
    "digits": ["held_out=1430"],
    "history": ["held_out=3"],
    "continuation": ["held_out=3"],
    "tetrominoes": ["size=32", "images=4", "held_out=2", "tested=2"],
    "polygons": ["size=32", "images=4", "held_out=2", "tested=2"],
    "mnist-segmentation": ["size=28", "images=4", "held_out=2", "tested=2"],
    "multi-mnist": ["size=32", "digit_size=14", "images=4", "held_out=2", "tested=2"],
}
SMALL_MODEL = {kind: ["channels=2", "time_steps=12"] for kind in ("nwm", "linear-wave")}
WITHOUT_TIME = ("local-cnn", "encoders", "unet")


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    """MNIST of eight images in IDX files and CIFAR-10 of ten in its binary files."""
    folder, rng = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    for part in ("train", "t10k"):
        for name, shape in (("images-idx3", (8, 28, 28)), ("labels-idx1", (8,))):
            header = b"\0\0\x08" + bytes([len(shape)]) + np.array(shape, ">u4").tobytes()
            values = rng.integers(0, 10, shape, dtype=np.uint8)
            (folder / f"{part}-{name}-ubyte").write_bytes(header + values.tobytes())
    cifar = folder / "cifar-10-batches-bin"
    cifar.mkdir()
    for name in (*(f"data_batch_{k}" for k in range(1, 6)), "test_batch"):
        rows = rng.integers(0, 256, (2, 3073), dtype=np.uint8)
        rows[:, 0] = [3, 7]
        (cifar / f"{name}.bin").write_bytes(rows.tobytes())
    return folder


VARIANTS = [
    ("smnist-wrnn", "readout=mlp"),
    ("smnist-wrnn", "frozen=true"),
    ("smnist-irnn", "frozen=true"),
    ("smnist-wrnn", "start=identity"),
    ("copy-wrnn", "start=uniform", "encoder=gaussian"),
    ("copy-irnn", "start=shift", "encoder=sparse"),
    ("history-line", "nonlinearity=identity"),
    ("memory-attention", "hidden=0", "positions=fixed"),
    ("memory-attention", "system=modular"),
    ("memory-mlp", "system=mackey-glass", "noise=0.1"),
    ("memory-elman", "system=henon"),
    ("tetrominoes-nwm", "readout=fft", "coupled=false"),
    ("multimnist-nwm", "pools=disjoint", "readout=max"),
]


def assert_a_step_lowers_the_loss(config, data):
    """On its own batch, by what the gradient of all that is trained says: η|g|² = a thousandth of the loss."""
    problem = load_problem(config, torch.device("cpu"), data)
    model = build_model(config, problem)
    for number in range(20):
        x, target = problem.batch(number)
        loss = problem.loss(model, x, target)
        if loss > 1e-3:  # a network that happens to be right beyond doubt has nothing to learn from a batch
            break
    loss.backward()
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    untouched = {name for name, p in trained.items() if p.grad is None}
    assert not untouched
    assert all(torch.isfinite(p.grad).all() for p in trained.values())
    size = sum(float((p.grad**2).sum()) for p in trained.values())
    lowered = 1e-3 * loss.item()
    with torch.no_grad():
        for p in trained.values():
            p -= lowered / size * p.grad
        assert loss.item() - 3 * lowered < problem.loss(model, x, target).item() < loss.item() - 0.3 * lowered


@pytest.mark.parametrize(("name", "settings"), [*((n, ()) for n in NAMES), *((v[0], v[1:]) for v in VARIANTS)], ids=str)
def test_it_trains_is_scored_and_recorded(name, settings, data, tmp_path):
    config = load_config(name)
    length = "epochs=1" if config.training.epochs else "steps=2"
    config = load_config(
        name,
        [
            *settings,
            *TINY[config.task.kind],
            *SMALL_MODEL.get(config.model.kind, ()),
            length,
            "batch_size=4",
            "evaluate_every=1",
        ],
    )
    summary = start(config, tmp_path / "run", data=data, device="cpu")
    assert summary["status"] == "finished"
    assert summary["step"] >= 1
    assert np.isfinite(summary["test"]["loss"])
    assert_a_step_lowers_the_loss(config, data)
    with open_recording(tmp_path / "run" / "hidden.nc") as recording:
        assert recording.activity.sizes["time"] >= (1 if config.model.kind in WITHOUT_TIME else 10)


COPY = {"learning_rate": {1e-2, 1e-3, 1e-4}, "clip": {0, 1, 10}}
ADDING = {"learning_rate": {1e-2, 1e-3, 1e-4}, "clip": {0, 1, 10, 100, 1000}}
IMAGES = {"learning_rate": {1e-3, 1e-4, 1e-5}, "drop_factor": {3.33, 10}, "drop_every": {40, 100}}
GRIDS = {  # Keller et al., Appendix B, and the released sweeps
    "copy-wrnn": COPY,
    "copy-irnn": COPY | {"start": {"identity", "uniform"}, "nonlinearity": {"relu", "tanh"}},
    "adding-wrnn": ADDING,
    "adding-irnn": ADDING,
    "smnist-wrnn": IMAGES | {"clip": {0, 1, 10, 100}},
    "smnist-irnn": IMAGES,
    "smnist-tape": IMAGES | {"learning_rate": {1e-2, 1e-3, 1e-4, 1e-5}},
    "psmnist-wrnn": IMAGES | {"clip": {0, 1, 10, 100, 1000}},
    "psmnist-irnn": IMAGES | {"clip": {0, 1, 10, 100, 1000}},
    "nscifar10-wrnn": {"learning_rate": {1e-3, 1e-4, 1e-5}, "hidden_size": {144, 256}},
    "nscifar10-irnn": {"learning_rate": {1e-3, 1e-4, 1e-5}, "hidden_size": {144, 256, 529, 1024}},
}


@pytest.mark.parametrize("name", GRIDS)
def test_a_sweep_goes_through_the_published_grid(name):
    assert {key: set(values) for key, values in read_source(name)["search"].items()} == GRIDS[name]


@pytest.mark.parametrize(
    ("name", "settings", "epochs"),
    [
        ("smnist-wrnn", [], 120),
        ("smnist-irnn", [], 120),
        ("psmnist-wrnn", [], 120),
        ("psmnist-irnn", [], 250),
        ("nscifar10-wrnn", [], 250),
        ("nscifar10-irnn", [], 250),
        ("smnist-tape", [], 120),
        ("smnist-wrnn", ["frozen=true"], 250),
        ("smnist-irnn", ["frozen=true"], 250),
    ],
)
def test_a_config_trains_as_long_as_was_published(name, settings, epochs):
    assert load_config(name, settings).training.epochs == epochs
