"""Every field of a config changes what it says it changes, and nothing that scores is ever trained on."""

import hashlib
import math

import numpy as np
import pytest
import torch
from torch import nn

import experiments.run as loop
from experiments.config import load_config
from experiments.tasks.generators import VALIDATION, generator_for
from experiments.tasks.problem import load_problem
from wavefield_torch.tasks import adding_batch, copy_batch, mnist

CPU = torch.device("cpu")


def problem(name, *settings, data=None):
    return load_problem(load_config(name, settings), CPU, data)


def model(name, *settings):
    config = load_config(name, settings)
    return loop.build_model(config, load_problem(config, CPU, None)), config


@pytest.fixture(scope="module")
def tiny_mnist(tmp_path_factory):
    """MNIST of forty images that all differ, ten of them for testing, and CIFAR-10 of twelve, two for testing."""
    folder, rng = tmp_path_factory.mktemp("mnist"), np.random.default_rng(0)
    for part, count in (("train", 30), ("t10k", 10)):
        for name, shape in (("images-idx3", (count, 28, 28)), ("labels-idx1", (count,))):
            header = b"\0\0\x08" + bytes([len(shape)]) + np.array(shape, ">u4").tobytes()
            values = rng.integers(0, 10 if name.startswith("labels") else 256, shape, dtype=np.uint8)
            (folder / f"{part}-{name}-ubyte").write_bytes(header + values.tobytes())
    (folder / "cifar-10-batches-bin").mkdir()
    for name in (*(f"data_batch_{k}" for k in range(1, 6)), "test_batch"):  # 10 images and 2
        (folder / "cifar-10-batches-bin" / f"{name}.bin").write_bytes(
            rng.integers(0, 10, (2, 3073), np.uint8).tobytes()
        )
    return folder


def digest(x):
    return hashlib.sha256(x.numpy().tobytes()).digest()


# ------------------------------------------------------------------------------------------------ what is drawn


@pytest.mark.parametrize("name", ["copy-wrnn", "adding-wrnn", "history-elman"])
def test_no_batch_comes_twice_and_none_is_held_out(name):
    settings = {"copy-wrnn": ["delay=0"], "adding-wrnn": ["length=10"]}.get(name, [])
    task = problem(name, *settings, "batch_size=4")
    drawn = [task.batch(step)[0] for step in range(1100)]
    assert len({digest(x) for x in drawn}) == 1100
    held_out = {digest(sequence) for sequence in task.validation.x.unbind(1)}
    if name != "history-elman":  # whose sequences of training are shorter
        trained = {digest(sequence) for x in drawn for sequence in x.unbind(1)}
        assert not trained & held_out
    else:
        first = {digest(sequence[:8]) for sequence in task.validation.x.unbind(1)}
        assert not {digest(sequence[:8]) for x in drawn for sequence in x.unbind(1)} & first


@pytest.mark.parametrize("step", [0, 1, 7])
def test_training_is_not_drawn_as_held_out_data_are(step):
    copy, adding = problem("copy-wrnn", "delay=0"), problem("adding-wrnn", "length=10")
    for task, again in (
        (copy, lambda g: copy_batch(128, 0, generator=g).x),
        (adding, lambda g: adding_batch(128, 10, generator=g).x),
    ):
        x, _ = task.batch(step)
        assert x.shape[1] == 128
        assert not torch.equal(x, again(generator_for(task.seed, VALIDATION, step)))


def test_every_epoch_has_an_order_of_its_own():
    task = problem("digits-wrnn")
    orders = {digest(task.batch(epoch * task.steps_per_epoch)[0]) for epoch in range(12)}
    assert len(orders) == 12


class Watching(nn.Module):
    """Answers zeros and remembers every sequence that it is shown."""

    def __init__(self, outputs, every_step):
        super().__init__()
        self.outputs, self.every_step, self.shown = outputs, every_step, []

    def forward(self, x):
        self.shown += [digest(sequence) for sequence in x.unbind(1)]
        return x.new_zeros(*x.shape[: 2 if self.every_step else 1], self.outputs) if self.every_step else x.new_zeros(
            x.shape[1], self.outputs
        )  # fmt: skip


def test_images_are_scored_on_images_that_are_not_trained_on(tiny_mnist):
    for task in (problem("smnist-wrnn", "held_out=5", data=tiny_mnist), problem("digits-wrnn")):
        trained = {digest(x) for step in range(task.steps_per_epoch) for x in task.batch(step)[0].unbind(1)}
        testing = {digest(x) for x in task.testing.batch(torch.arange(len(task.testing)))[0].unbind(1)}
        tested, validated = (Watching(task.outputs, task.every_step) for _ in range(2))
        task.test(tested)
        task.evaluate(validated)
        assert set(tested.shown) == testing
        assert len(tested.shown) == len(task.testing)
        assert len(validated.shown) == len(task.held_out)
        assert not set(tested.shown) & trained
        assert not set(validated.shown) & (trained | testing)


def test_the_permutation_is_applied_to_every_image_and_is_one(tiny_mnist):
    straight, _ = mnist(tiny_mnist, "test").batch(torch.arange(10))
    for settings in ([], ["permutation_seed=1"]):
        task = problem("psmnist-wrnn", *settings, "held_out=5", data=tiny_mnist)
        order = task.fixed["permutation"]
        assert sorted(order.tolist()) == list(range(784)) != order.tolist()
        x, _ = task.testing.batch(torch.arange(10))
        assert torch.equal(x, straight[order])
        assert torch.equal(
            task.training.batch(torch.arange(5))[0], mnist(tiny_mnist, "train").batch(torch.arange(5))[0][order]
        )
    plain = problem("smnist-wrnn", "held_out=5", data=tiny_mnist)
    assert torch.equal(plain.testing.batch(torch.arange(10))[0], straight)
    assert load_config("psmnist-wrnn").task.permuted
    assert not load_config("smnist-wrnn").task.permuted


def test_small_digits_are_permuted_too():
    plain, permuted, other = (
        problem("digits-wrnn", *settings)
        for settings in ([], ["permuted=true"], ["permuted=true", "permutation_seed=1"])
    )
    assert plain.fixed is None
    few = torch.arange(8)
    for task in (permuted, other):
        order = task.fixed["permutation"]
        assert sorted(order.tolist()) == list(range(64)) != order.tolist()
        for part in ("training", "testing"):
            straight, shown = (getattr(each, part).batch(few)[0] for each in (plain, task))
            assert torch.equal(shown, straight[order])
    assert not torch.equal(permuted.fixed["permutation"], other.fixed["permutation"])


@pytest.mark.parametrize(
    ("field", "name", "drawn"),
    [("permutation_seed", "psmnist-wrnn", "permutation"), ("noise_seed", "nscifar10-wrnn", "noise")],
)
def test_fixed_draws_follow_their_own_seed_and_are_those_of_all_samples(field, name, drawn, tiny_mnist):
    def loaded(*settings):
        return problem(name, "held_out=3", *settings, data=tiny_mnist)

    one, run, other = loaded(), loaded("seed=1"), loaded(f"{field}=1")
    assert torch.equal(one.fixed[drawn], run.fixed[drawn])
    assert not torch.equal(one.fixed[drawn], other.fixed[drawn])
    assert set(one.held_out.tolist()) != set(run.held_out.tolist())
    if drawn == "noise":
        for images in (one.training, one.testing):
            x, _ = images.batch(torch.arange(2))
            assert x.shape == (1000, 2, 96)
            assert torch.equal(x[32:], one.fixed["noise"][:, None].expand(-1, 2, -1))
        noise = one.fixed["noise"]
        assert abs(noise.mean()) < 0.02
        assert noise.std().item() == pytest.approx(1, rel=0.02)  # N(0, 1)
        assert noise.min() < -4 < 4 < noise.max()


# ------------------------------------------------------------------------------------------------ what counts


def test_thresholds_of_solved():
    copy, adding, history = problem("copy-wrnn"), problem("adding-wrnn"), problem("history-elman")
    assert copy.solved({"accuracy": 1.0})
    assert not copy.solved({"accuracy": 0.9999})
    assert adding.solved({"loss": 0.05})
    assert not adding.solved({"loss": 0.0501})
    assert adding.reference_solved(0.05)
    assert not adding.reference_solved(0.0501)
    assert not history.solved({"accuracy": 1.0})  # while horizons are left
    history.restore({"stage": 4})
    assert history.solved({"accuracy": 0.97})
    assert not history.solved({"accuracy": 0.9699})


def test_histories_are_scored_over_200_steps_and_trained_over_10_to_100():
    task = problem("history-elman")
    assert task.validation.x.shape[:2] == (8 + 200, 640)
    assert int(task.validation.scored.sum()) == 200
    horizons = []
    for stage in range(5):
        task.restore({"stage": stage})
        horizons.append(int(task.batch(0)[1].scored.sum()))
    assert horizons == [10, 20, 40, 60, 100]


def answers(batch, share):
    """A model that gives the right sign in this share of the entries that count."""
    right = torch.linspace(0, 1, batch.target[batch.scored].numel()).reshape(batch.target[batch.scored].shape) < share
    output = torch.zeros_like(batch.target)
    output[batch.scored] = torch.where(right, batch.target[batch.scored], -batch.target[batch.scored])
    return lambda x: output.requires_grad_()


@pytest.mark.parametrize("threshold", [0.98, 0.9])
def test_the_horizon_grows_by_one_stage_when_a_batch_passes_the_threshold(threshold):
    task = problem("history-elman", f"threshold={threshold}")
    stages = []
    for share in (threshold - 0.01, threshold + 0.01, threshold - 0.01, 1.0, 1.0, 1.0, 1.0):
        x, batch = task.batch(len(stages))
        task.loss(answers(batch, share), x, batch)
        stages.append(task.state()["stage"])
    assert stages == [0, 1, 1, 2, 3, 4, 4]


# ------------------------------------------------------------------------------------------------ how it trains


def prepared(tmp_path, *settings):
    config = load_config("copy-wrnn", ["delay=0", "steps=4", "batch_size=4", *settings])
    return loop._prepare(config, loop.RunFolder(tmp_path / "run"), loop.Options(device="cpu"))


@pytest.mark.parametrize("decay", [0.0, 0.25])
def test_weight_decay_and_rate_reach_the_optimiser(tmp_path, decay):
    session = prepared(tmp_path, f"weight_decay={decay}", "learning_rate=0.003")
    (group,) = session.optimizer.param_groups
    assert group["weight_decay"] == decay
    assert group["lr"] == 0.003
    assert {id(p) for p in group["params"]} == {id(p) for p in session.model.parameters() if p.requires_grad}


@pytest.mark.parametrize("clip", [0.0, 0.5])
def test_gradients_are_clipped_as_asked(tmp_path, clip, monkeypatch):
    session, seen, norms = prepared(tmp_path, f"clip={clip}"), [], []
    step = session.optimizer.step

    def watched(*args, **options):
        gradients = [p.grad for p in session.model.parameters() if p.grad is not None]
        norms.append(math.sqrt(sum(g.double().square().sum().item() for g in gradients)))
        return step(*args, **options)

    monkeypatch.setattr(session.optimizer, "step", watched)
    x, target = session.problem.batch(0)
    session.problem.loss(session.model, x, target).backward()
    seen.append(math.sqrt(sum(p.grad.double().square().sum().item() for p in session.model.parameters())))
    session.model.zero_grad()
    loop._step(session)
    assert seen[0] > 0.5  # there is something to clip
    assert norms[0] == pytest.approx(min(seen[0], clip) if clip else seen[0], rel=1e-5)


def test_the_rate_falls_as_the_schedule_says(tmp_path):
    session = prepared(tmp_path, "drop_every=3", "drop_factor=10.0", "learning_rate=0.01")
    rates = []
    for step in range(7):
        session.progress.step = step
        loop._set_rate(session)
        rates.append(session.optimizer.param_groups[0]["lr"])
    assert rates == pytest.approx([1e-2] * 3 + [1e-3] * 3 + [1e-4])


# ------------------------------------------------------------------------------------------------ what is built


def kernel(*settings):
    return model("copy-wrnn", *settings)[0].recurrence.kernel.detach()


def test_the_kernel_of_a_wave_network_starts_as_asked():
    eye = torch.eye(6)
    shift, same = kernel("start=shift"), kernel("start=identity")
    for found, tap in ((shift, 2), (same, 1)):
        assert torch.equal(found[:, :, tap], eye)
        assert found.abs().sum() == 6
    drawn = kernel("start=uniform")
    assert drawn.abs().max() <= 1 / math.sqrt(6 * 3) + 1e-7
    assert (drawn != 0).all()
    assert kernel("kernel_size=5", "channels=2").shape == (2, 2, 5)


def test_the_recurrence_of_an_identity_network_starts_as_asked():
    def weight(start):
        return model("copy-irnn", f"start={start}")[0].recurrence.weight_hh_l0.detach()

    assert torch.equal(weight("identity"), torch.eye(100))
    assert torch.equal(weight("shift"), torch.eye(100).roll(1, 1))
    drawn = weight("uniform")
    assert drawn.abs().max() <= 0.1 + 1e-7
    assert (drawn != 0).all()


@pytest.mark.parametrize("name", ["copy-wrnn", "copy-irnn"])
def test_encoders_are_as_asked(name):
    sparse, dense = (
        next(
            p
            for key, p in model(name, f"encoder={kind}")[0].recurrence.named_parameters()
            if key in ("encoder", "weight_ih_l0")
        )
        for kind in ("sparse", "gaussian")
    )
    assert (sparse != 0).double().mean() < 0.05
    assert (dense != 0).all()
    assert dense.detach().std().item() == pytest.approx(0.001, rel=0.2)  # N(0, 0.001), as published


@pytest.mark.parametrize("name", ["copy-wrnn", "copy-irnn"])
def test_frozen_networks_train_only_their_readout(name):
    frozen, _ = model(name, "frozen=true")
    trained = {key.partition(".")[0] for key, p in frozen.named_parameters() if p.requires_grad and "bias" not in key}
    assert trained == {"readout"}
    assert {key.partition(".")[0] for key, p in model(name)[0].named_parameters() if p.requires_grad} == {
        "readout",
        "recurrence",
    }


def test_nonlinearity_bias_readout_and_size_are_as_asked():
    x = torch.randn(5, 3, 10, generator=torch.Generator().manual_seed(0))
    for name in ("relu", "tanh", "identity"):
        output, _ = model("copy-wrnn", f"nonlinearity={name}", "encoder=gaussian")[0].recurrence(1e4 * x)
        assert (output.min() < 0) == (name != "relu")
        assert (output.abs().max() > 1) == (name != "tanh")
    clean, drawn, none = (
        model("copy-wrnn", f"bias={kind}")[0].recurrence.total_bias() for kind in ("clean", "reference", "none")
    )
    assert none is None
    assert not clean.any()
    assert drawn.any()
    assert isinstance(model("copy-wrnn", "readout=linear")[0].readout, nn.Linear)
    mlp = model("copy-wrnn", "readout=mlp", "readout_hidden=37")[0].readout
    assert [layer.out_features for layer in mlp if isinstance(layer, nn.Linear)] == [37, 10]
    assert model("copy-wrnn", "hidden_size=20", "channels=3")[0].recurrence.output_size == 60


def attention(model):
    return model.recurrence.boundary


@pytest.mark.parametrize(
    ("name", "setting", "found"),
    [
        ("copy-irnn", "nonlinearity=tanh", lambda m: m.recurrence.nonlinearity == "tanh"),
        ("copy-irnn", "nonlinearity=relu", lambda m: m.recurrence.nonlinearity == "relu"),
        ("copy-irnn", "bias=none", lambda m: not [key for key, _ in m.recurrence.named_parameters() if "bias" in key]),
        ("copy-irnn", "bias=reference", lambda m: m.recurrence.bias_ih_l0.any() and not m.recurrence.bias_hh_l0.any()),
        ("copy-irnn", "bias=clean", lambda m: not m.recurrence.bias_ih_l0.any()),
        ("copy-irnn", "hidden_size=7", lambda m: m.recurrence.weight_hh_l0.shape == (7, 7)),
        ("copy-lstm", "bias=false", lambda m: not [key for key, _ in m.recurrence.named_parameters() if "bias" in key]),
        ("copy-lstm", "hidden_size=7", lambda m: m.recurrence.weight_hh_l0.shape == (28, 7)),
        ("copy-gru", "hidden_size=7", lambda m: m.recurrence.weight_hh_l0.shape == (21, 7)),
        ("copy-medium", "courant=0.4", lambda m: m.recurrence.courant == 0.4),
        ("copy-medium", "hidden_size=7", lambda m: m.recurrence.coupling.shape == (7,)),
        ("history-line", "nonlinearity=identity", lambda m: m.recurrence.nonlinearity == "identity"),
        ("history-line", "length=5", lambda m: m.recurrence.hidden_size == 5),
        ("history-elman", "hidden_size=7", lambda m: m.recurrence.weight_hh_l0.shape == (7, 7)),
        ("memory-attention", "heads=3", lambda m: attention(m).heads == 3),
        ("memory-attention", "head_size=5", lambda m: attention(m).head_size == 5),
        ("memory-attention", "positions=fixed", lambda m: "position" in dict(attention(m).named_buffers())),
        ("memory-attention", "positions=learned", lambda m: "position" in dict(attention(m).named_parameters())),
        ("memory-attention", "positions=none", lambda m: attention(m).position is None),
        ("memory-attention", "hidden=9", lambda m: attention(m).feedforward[0].out_features == 9),
        ("memory-attention", "length=6", lambda m: m.recurrence.hidden_size == attention(m).length == 6),
        ("memory-mlp", "hidden=9", lambda m: 9 in [p.shape[0] for p in m.recurrence.boundary.parameters()]),
        ("memory-mlp", "length=6", lambda m: m.recurrence.hidden_size == 6),
        ("memory-linear", "length=6", lambda m: m.recurrence.boundary.weight.shape == (6, 8, 8)),
        ("memory-linear", "length=6", lambda m: m.recurrence.entry == "replace"),
        ("memory-linear", "length=6", lambda m: not m.recurrence.encoder.requires_grad),
        ("digits-wrnn", "model.kind=local", lambda m: m.recurrence.kernel.shape[-1] == m.recurrence.hidden_size),
        ("digits-wrnn", "kernel_size=5", lambda m: m.recurrence.kernel.shape[-1] == 5),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_network_has_what_its_config_says(name, setting, found):
    assert found(model(name, setting)[0])


def test_a_local_network_starts_with_the_kernel_encoder_and_parts_that_are_asked_for():
    def built(*settings):
        config = load_config("smnist-local", ["hidden_size=8", "channels=2", *settings])
        return config.model.recurrence(1, torch.Generator().manual_seed(0))

    shift, same, drawn = (built(f"start={start}").kernel.detach() for start in ("shift", "identity", "uniform"))
    assert shift[0, 0, 2].all()
    assert same[0, 0, 1].all()
    assert drawn.all()
    assert built("kernel_size=5").kernel.shape == (2, 2, 5, 8)
    assert (built("encoder=gaussian").encoder != 0).all()
    assert (built("encoder=sparse").encoder != 0).sum() == 2
    assert {key for key, p in built("frozen=true").named_parameters() if p.requires_grad} <= {"bias"}


@pytest.mark.parametrize("name", ["copy-wrnn", "smnist-local"])
def test_the_leak_is_the_share_of_a_step_that_is_new(name):
    """The first step from rest is α times what it is without a leak."""
    nets = [
        load_config(name, [f"leak={leak}"]).model.recurrence(1, torch.Generator().manual_seed(0)) for leak in (1, 0.25)
    ]
    x = torch.rand(1, 2, 1, generator=torch.Generator().manual_seed(1))
    (whole, _), (part, _) = (net(x) for net in nets)
    torch.testing.assert_close(part, 0.25 * whole)
    assert whole.any()


@pytest.mark.parametrize("name", ["copy-wrnn", "smnist-local"])
def test_noise_of_the_state_is_of_the_size_asked_for_and_of_training_only(name):
    net = load_config(name, ["noise=0.5"]).model.recurrence(1, torch.Generator().manual_seed(0))
    for key, parameter in net.named_parameters():
        if "bias" in key:
            parameter.data.zero_()
    x = torch.zeros(1, 40, 1)
    (quiet, _), (drawn, _) = net.eval()(x), net.train()(x)
    # what ReLU passes of a Gaussian of σ = 0.5 has the mean σ/√(2π)
    assert (drawn - quiet).mean().item() == pytest.approx(0.5 / math.sqrt(2 * math.pi), rel=0.05)
    assert torch.equal(net.eval()(x)[0], quiet)


def test_noise_of_a_step_follows_the_step_and_disturbs_no_other_draw(tmp_path):
    session = prepared(tmp_path, "noise=0.5")

    def loss(step):
        session.progress.step, session.progress.loss_sum = step, 0.0
        for parameter in session.model.parameters():
            parameter.data.view(-1)[:] = torch.linspace(-0.3, 0.3, parameter.numel())  # whatever was learned before
        loop._step(session)
        return session.progress.loss_sum

    torch.manual_seed(7)
    first, second = loss(0), loss(1)
    drawn = torch.rand(1)
    torch.manual_seed(8)
    assert loss(1) == second != first  # as after an interruption
    torch.manual_seed(7)
    assert torch.equal(torch.rand(1), drawn)  # the caller's generator is where it was


def test_weights_follow_the_seed():
    one, same, other = (model("copy-irnn", f"seed={seed}")[0].recurrence.weight_ih_l0 for seed in (0, 0, 1))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
