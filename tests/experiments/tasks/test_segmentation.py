"""Scenes in experiments: what is drawn, held out and scored, what a config may say, and that runs resume."""

import numpy as np
import pytest
import torch
from torch import nn

from experiments.config import ConfigError, load_config
from experiments.reports.figures import run_figure
from experiments.run import build_model, resume, start
from experiments.runs.folder import RunFolder
from experiments.tasks.problem import load_problem
from wavefield_torch import load_checkpoint

SMALL = ["size=32", "images=12", "held_out=6", "tested=5", "batch_size=5"]
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """MNIST files of disks whose radius is their digit's, 60 to train on and 20 to test."""
    folder = tmp_path_factory.mktemp("mnist")
    distance = np.hypot(*(np.mgrid[:28, :28] - 13.5))
    for part, count in (("train", 60), ("t10k", 20)):
        labels = (np.arange(count) % 10).astype(np.uint8)
        images = np.where(distance < 3 + labels[:, None, None], 200 + (part == "t10k"), 0).astype(np.uint8)
        images[:, 0, 0] = np.arange(count)  # so that all differ
        for name, values in (("images-idx3", images), ("labels-idx1", labels)):
            header = b"\0\0\x08" + bytes([values.ndim]) + np.array(values.shape, ">u4").tobytes()
            (folder / f"{part}-{name}-ubyte").write_bytes(header + values.tobytes())
    return folder


def problem(name, *settings, data=None):
    return load_problem(load_config(name, settings), CPU, data)


def test_scenes_are_those_of_the_data_seed_whatever_the_seed_of_the_run():
    one, run, data = (problem("tetrominoes-nwm", *SMALL, *more) for more in ([], ["seed=1"], ["data_seed=1"]))
    assert one.data == run.data
    assert not set(one.data.values()) & set(data.data.values())
    assert len(set(one.data.values())) == 6  # training, held-out and test scenes all differ
    assert not torch.equal(one.batch(0)[0], run.batch(0)[0])  # the order is the run's
    assert torch.equal(one.batch(7)[0], problem("tetrominoes-nwm", *SMALL).batch(7)[0])
    assert set(one.fixed) == {"training layout", "held-out layout", "test layout"}


def test_an_epoch_goes_once_over_the_scenes():
    task = problem("polygons-nwm", *SMALL)
    assert task.steps_per_epoch == 3
    for epoch in (0, 4):
        seen = torch.cat([task.batch(3 * epoch + k)[1] for k in range(3)])
        assert {x.numpy().tobytes() for x in seen} == {
            x.long().numpy().tobytes() for x in task.scenes["training"].masks
        }


def places(part):
    """Numbers by which the digits of a part are known, from the corners of their frames."""
    return set(part.layout[..., 0].flatten().tolist()) - {-1}


def test_disjoint_pools_share_no_digit_and_published_ones_do(digits):
    settings = ["size=64", "digit_size=28", "images=30", "held_out=30", "tested=30"]
    shared = problem("multimnist-nwm", *settings, data=digits).scenes
    assert all(max(places(part)) > 50 for part in shared.values())  # all are of the sixty to train on
    own = problem("multimnist-nwm", *settings, "pools=disjoint", data=digits).scenes
    assert places(own["training"]) <= set(range(50))
    assert places(own["held-out"]) <= set(range(10))  # of the last ten of the sixty
    assert places(own["test"]) <= set(range(20))


def test_mnist_is_split_and_cut_as_asked(digits):
    task = problem("mnistseg-nwm", "size=28", "images=40", "held_out=15", "tested=8", data=digits)
    assert [len(task.scenes[part]) for part in ("training", "held-out", "test")] == [40, 15, 8]
    corner = {part: set(scenes.images[:, 0, 0, 0].tolist()) for part, scenes in task.scenes.items()}
    assert not corner["training"] & corner["held-out"]
    assert (task.inputs, task.outputs) == (1, 11)
    full = load_config("mnistseg-nwm")
    assert (full.task.size, full.task.held_out, full.task.images, full.task.tested) == (56, 9000, None, None)


class Answer(nn.Module):
    """Gives every pixel the class that it is told."""

    def __init__(self, answer):
        super().__init__()
        self.answer = answer

    def forward(self, x):
        return 20.0 * nn.functional.one_hot(self.answer(x), 6).movedim(-1, 1).float()


def test_a_model_of_the_background_has_collapsed_and_a_perfect_one_has_not():
    task = problem("tetrominoes-nwm", *SMALL)
    nothing = task.evaluate(Answer(lambda x: torch.zeros(len(x), 32, 32, dtype=torch.long)))
    assert nothing["collapsed"] == 1
    assert nothing["foreground_accuracy"] == nothing["background_false_positives"] == 0
    assert 0.6 < nothing["accuracy"] < 0.95
    known = {
        x.numpy().tobytes(): mask
        for part in task.scenes.values()
        for x, mask in zip(part.images, part.masks, strict=True)
    }
    perfect = Answer(
        lambda x: torch.stack([known[(i * 255).round().to(torch.uint8).numpy().tobytes()] for i in x]).long()
    )
    for scores in (task.evaluate(perfect), task.test(perfect)):
        assert all(scores[name] == 1 for name in ("accuracy", "foreground_accuracy", "iou", "iou_without_background"))
        assert scores["collapsed"] == scores["background_false_positives"] == 0
        assert scores["loss"] < 1e-6
    task.scenes["held-out"].masks[0] = 0  # a scene of nothing but background has no share of its foreground
    scores = task.evaluate(perfect)
    assert all(scores[name] == 1 for name in ("accuracy", "foreground_accuracy", "iou", "iou_without_background"))


class Dim(nn.Module):
    """Gives every pixel logits that follow from its brightness, and remembers every image that it is shown."""

    def __init__(self, classes):
        super().__init__()
        self.classes, self.shown = classes, []

    def forward(self, x):
        self.shown += list(x)
        return x.mean(1, keepdim=True) * torch.linspace(-2, 2, self.classes)[:, None, None]


@pytest.mark.parametrize("name", ["tetrominoes-nwm", "mnistseg-nwm", "multimnist-nwm"])
def test_scenes_are_scored_on_those_of_their_part_each_as_much_as_any_other(name, digits, monkeypatch):
    monkeypatch.setattr(
        "experiments.tasks.segmentation.EVALUATION_PIXELS", 4 * 32**2
    )  # pieces of 4 and of what is left
    more = {"multimnist-nwm": ["digit_size=14"]}.get(name, [])
    task = problem(name, *SMALL, *more, data=digits)
    trained = {x.numpy().tobytes() for step in range(task.steps_per_epoch) for x in task.batch(step)[0]}
    for part, score in (("held-out", task.evaluate), ("test", task.test)):
        model, scenes = Dim(task.outputs), task.scenes[part]
        found, shown = score(model), torch.stack(model.shown)
        assert torch.equal(shown, scenes.images.float() / 255)
        assert not {x.numpy().tobytes() for x in shown} & trained
        logits, target = Dim(task.outputs)(shown), scenes.masks.long()
        assert found["loss"] == pytest.approx(nn.functional.cross_entropy(logits, target).item(), rel=1e-5)
        assert found["accuracy"] == pytest.approx((logits.argmax(1) == target).double().mean().item(), rel=1e-9)


def test_the_full_configs_are_those_published():
    for name, images, seed in (("tetrominoes-nwm", 10_000, 42), ("multimnist-nwm", 10_000, 50)):
        config = load_config(name)
        assert (config.task.images, config.task.held_out, config.task.tested) == (images, 1000, 1000)
        assert config.task.data_seed == seed
    for name in ("tetrominoes-cnn", "mnistseg-convlstm", "multimnist-unet", "tetrominoes-nwm"):
        training = load_config(name).training
        assert (training.epochs, training.batch_size, training.learning_rate) == (300, 64, 1e-3)
        assert (training.weight_decay, training.clip, training.drop_every) == (0, 0, 0)
    machine, gated = load_config("tetrominoes-nwm").model, load_config("tetrominoes-convlstm").model
    assert (machine.channels, machine.encoder_width, machine.time_steps, machine.dt) == (2, 16, 100, 0.1)
    assert (gated.channels, gated.encoder_width, gated.time_steps) == (2, 16, 20)
    assert load_config("multimnist-nwm").model.hidden == (32,) * 5
    reduced = load_config("tetrominoes-nwm", ["size=32"])
    assert (reduced.task.cell, reduced.task.images, reduced.model.hidden) == (3, 2000, (64, 64))


@pytest.mark.parametrize(
    ("name", "setting", "found"),
    [
        ("tetrominoes-nwm", "channels=3", lambda m: m.recurrence.kernel.shape == (3, 3, 3, 3)),
        ("tetrominoes-nwm", "encoder_width=5", lambda m: m.recurrence.stiffness[0].out_channels == 5),
        ("tetrominoes-nwm", "time_steps=7", lambda m: m.recurrence.steps == m.readout.steps == 7),
        ("tetrominoes-nwm", "dt=0.3", lambda m: m.recurrence.dt == 0.3),
        ("tetrominoes-nwm", "readout=max", lambda m: m.readout.kind == "max"),
        ("tetrominoes-nwm", "features=9", lambda m: m.readout.weight.shape == (9, 100)),
        ("tetrominoes-nwm", "hidden=[7]", lambda m: [x.out_features for x in m.mlp.layers] == [7, 6]),
        ("tetrominoes-nwm", "coupled=false", lambda m: not m.recurrence.kernel.any()),
        ("tetrominoes-convlstm", "time_steps=3", lambda m: m.recurrence.steps == 3),
        ("tetrominoes-cnn", "layers=3", lambda m: sum(isinstance(x, nn.Conv2d) for x in m.stack) == 3),
        ("tetrominoes-cnn", "width=5", lambda m: m.stack[0].out_channels == 5),
        ("tetrominoes-encoders", "channels=4", lambda m: m.mlp.layers[0].in_features == 12),
    ],
)  # fmt: skip
def test_settings_reach_the_model(name, setting, found):
    config = load_config(name, [setting, *SMALL])
    assert found(build_model(config, load_problem(config, CPU, None)))


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("tetrominoes-nwm", ["model.kind=wrnn"], "model"),
        ("copy-wrnn", ["model.kind=unet", "width=3"], "width"),
        ("tetrominoes-nwm", ["readout=median"], "readout"),
        ("tetrominoes-nwm", ["hidden=[0]"], "hidden must hold units of at least 1"),
        ("multimnist-nwm", ["pools=own"], "pools"),
    ],
)
def test_what_does_not_fit_is_refused(name, settings, message):
    with pytest.raises(ConfigError, match=message):
        load_config(name, settings)


def test_models_of_sequences_and_of_images_are_kept_apart(tmp_path):
    for task, model, message in (
        ('kind = "tetrominoes"', 'kind = "gru"\nhidden_size = 8', "must be one of nwm, linear-wave, conv-lstm"),
        ('kind = "copy"\ndelay = 0', 'kind = "unet"', "must be one of wrnn"),
    ):
        length = "epochs = 1" if "tetro" in task else "steps = 1"
        training = f"{length}\nbatch_size = 2\nlearning_rate = 0.1\nevaluate_every = 1"
        (tmp_path / "own.toml").write_text(f"[task]\n{task}\n[model]\n{model}\n[training]\n{training}\n")
        with pytest.raises(ConfigError, match=message):
            load_config(tmp_path / "own.toml")


@pytest.mark.parametrize(
    ("name", "settings"),
    [("tetrominoes-nwm", ["time_steps=12", "hidden=[8]"]), ("multimnist-unet", ["width=2", "digit_size=14"])],
)
def test_a_run_resumes_to_the_same_numbers_and_draws_its_figure(name, settings, tmp_path, digits):
    config = load_config(name, [*settings, *SMALL, "epochs=2", "evaluate_every=2"])
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    start(config, whole, device="cpu", data=digits)
    half = load_config(name, [*settings, *SMALL, "epochs=1", "evaluate_every=2"])
    start(half, parts, device="cpu", data=digits)
    resume(parts, ["epochs=2"], device="cpu", data=digits)
    states = []
    for path in (whole, parts):
        model = build_model(config, load_problem(config, CPU, digits))
        load_checkpoint(RunFolder(path).checkpoints()[0], model)
        states.append(model.state_dict())
    assert all(torch.equal(value, states[1][key]) for key, value in states[0].items())
    if name == "tetrominoes-nwm":
        assert run_figure(whole).stat().st_size > 10_000
