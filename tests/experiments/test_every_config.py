"""Every config and variant of a table trains, is scored and is recorded, on tiny files of the published formats."""

import numpy as np
import pytest

from experiments.config import CONFIGS, load_config
from experiments.run import start
from wavefield import open_recording

NAMES = sorted(path.stem for path in CONFIGS.glob("*.toml"))
TINY = {
    "copy": ["delay=0"],
    "adding": ["length=10", "held_out=5"],
    "mnist": ["held_out=4"],
    "ns-cifar10": ["held_out=4"],
    "digits": ["held_out=1430"],
    "history": ["held_out=3"],
}


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
]


@pytest.mark.parametrize(("name", "settings"), [*((n, ()) for n in NAMES), *((v[0], v[1:]) for v in VARIANTS)], ids=str)
def test_it_trains_is_scored_and_recorded(name, settings, data, tmp_path):
    config = load_config(name)
    length = "epochs=1" if config.training.epochs else "steps=2"
    config = load_config(name, [*settings, *TINY[config.task.kind], length, "batch_size=4", "evaluate_every=1"])
    summary = start(config, tmp_path / "run", data=data, device="cpu")
    assert summary["status"] == "finished"
    assert summary["step"] >= 1
    assert np.isfinite(summary["test"]["loss"])
    with open_recording(tmp_path / "run" / "hidden.nc") as recording:
        assert recording.activity.sizes["time"] >= 10
