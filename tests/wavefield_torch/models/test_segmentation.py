"""The Neural Wave Machine and its baselines: published sizes, initial values, and what each can and cannot see."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from wavefield_torch import (
    ConvLSTM,
    EncoderReadout,
    LinearWaveMachine,
    LocalCNN,
    NeuralWaveMachine,
    Segmenter,
    TimeReadout,
    UNet,
    count_parameters,
    sheet_scan,
)

RNG = torch.Generator().manual_seed(0)
READOUTS = ("linear", "fft", "last", "mean", "max")
# By colours and classes: MNIST, Tetrominoes. Counted from the published code; of readouts without it the layer over
# time that the published code builds and does not use is left out.
WAVES = {"linear": (176_545, 176_124), "fft": (171_445, 171_024), "last": (145_845, 145_424)}
GATED = {"linear": (151_467, 151_046), "fft": (151_247, 150_826), "last": (146_127, 145_706)}
LOCAL = {2: (160_499, 159_502), 4: (165_139, 164_142), 8: (174_419, 173_422), 16: (192_979, 191_982)}
LOCAL |= {32: (230_099, 229_102)}
SHARP = {2: 30_745, 3: 68_834, 4: 122_071, 5: 190_456}
TASKS = [(1, 11), (3, 6)]


def sheet(*sizes, **options):
    """A Neural Wave Machine on the reference backend, which needs no compilation; the others are tested against it."""
    return NeuralWaveMachine(*sizes, backend="reference", **options)


@pytest.mark.parametrize("readout", READOUTS)
@pytest.mark.parametrize("task", [0, 1])
def test_recurrent_models_have_the_published_size(task, readout):
    colours, classes = TASKS[task]
    kind = readout if readout in WAVES else "last"
    waves = Segmenter(sheet(in_channels=colours), classes, readout=readout)
    gated = Segmenter(ConvLSTM(in_channels=colours), classes, readout=readout)
    assert count_parameters(waves) == WAVES[kind][task]
    assert count_parameters(gated) == GATED[kind][task]


@pytest.mark.parametrize("layers", LOCAL)
def test_local_networks_have_the_published_size(layers):
    for (colours, classes), published in zip(TASKS, LOCAL[layers], strict=True):
        assert count_parameters(LocalCNN(colours, classes, layers)) == published


def test_models_of_multi_mnist_have_the_published_size():
    machine = sheet(in_channels=1, channels=16)
    encoders = sum(count_parameters(part) for part in (machine.stiffness, machine.damping, machine.initial))
    assert encoders == 16_720
    assert machine.kernel.numel() == 2304
    assert count_parameters(Segmenter(machine, 11, hidden=(32,) * 5)) == 54_855
    assert {width: count_parameters(UNet(1, 11, width)) for width in SHARP} == SHARP
    with torch.device("meta"):
        assert count_parameters(UNet(3, 1, 64)) == 31_037_633  # the number by which that implementation is known


def test_parts_have_the_published_size():
    model = Segmenter(sheet(in_channels=1), 11)
    machine = model.recurrence
    encoders = sum(count_parameters(part) for part in (machine.stiffness, machine.damping, machine.initial))
    sizes = (encoders, machine.kernel.numel(), count_parameters(model.readout), count_parameters(model.mlp))
    assert sizes == (10_630, 36, 5100, 160_779)
    cell = ConvLSTM(in_channels=1)
    assert count_parameters(cell.gates) + count_parameters(cell.output) == 318


# ------------------------------------------------------------------------------------------------ initial values


def layers_of(net, kind):
    return [layer for layer in net.modules() if isinstance(layer, kind)]


def test_encoders_are_those_of_the_paper():
    machine = sheet(in_channels=3, channels=2, encoder_width=16)

    def described(net):
        return [(m.in_channels, m.out_channels) if isinstance(m, nn.Conv2d) else type(m).__name__ for m in net]

    three = [(3, 16), "ReLU", (16, 16), "ReLU", (16, 2), "ReLU"]
    assert described(machine.stiffness) == described(machine.damping) == three
    assert described(machine.initial) == [(3, 16), "ReLU", (16, 16), "ReLU", (16, 16), "ReLU", (16, 2), "Tanh"]
    for layer in layers_of(machine, nn.Conv2d):
        assert (layer.kernel_size, layer.stride, layer.padding, layer.padding_mode) == ((3, 3), (1, 1), (1, 1), "zeros")
    y0, stiffness, damping = machine.encode(torch.randn(2, 3, 12, 10, generator=RNG))
    assert y0.abs().max() < 1
    assert stiffness.min() >= 0
    assert damping.min() >= 0


@pytest.mark.parametrize("build", [lambda g: sheet(generator=g), lambda g: UNet(3, 6, 4, generator=g)])
def test_weights_are_drawn_as_pytorch_draws_them_and_follow_the_generator(build):
    one, same, other = (build(torch.Generator().manual_seed(seed)) for seed in (0, 0, 1))
    for name, value in one.state_dict().items():
        assert torch.equal(value, same.state_dict()[name])
    for layer in layers_of(one, (nn.Conv2d, nn.ConvTranspose2d)):
        default = type(layer)(layer.in_channels, layer.out_channels, layer.kernel_size)
        bound = default.weight.detach().abs().max() * 1.2 + 1e-9  # of as many uniform numbers
        assert layer.weight.detach().abs().max() <= bound or layer.weight.numel() < 100
        spread = layer.weight.detach().std() / default.weight.detach().std()
        assert 0.8 < spread < 1.25 or layer.weight.numel() < 100
    weights = [p for p in one.parameters() if p.dim() == 4 and p.shape[0] > 2]
    others = [p for p in other.parameters() if p.dim() == 4 and p.shape[0] > 2]
    assert not any(torch.equal(a, b) for a, b in zip(weights, others, strict=True))


def test_the_kernel_is_the_laplacian_of_each_channel():
    kernel = sheet(channels=3).kernel.detach()
    for k in range(3):
        assert kernel[k, k].tolist() == [[0, 1, 0], [1, -4, 1], [0, 1, 0]]
    assert kernel.abs().sum() == 3 * 8
    assert sheet().kernel.requires_grad


# ----------------------------------------------------------------------------------------------- what is computed


def reference_states(machine, image):
    """The published loop, step by step."""
    y0, stiffness, damping = machine.encode(image)
    y, z, states = y0, torch.zeros_like(y0), []
    for _ in range(machine.steps):
        force = torch.tanh(nn.functional.conv2d(nn.functional.pad(y, (1, 1, 1, 1), mode="circular"), machine.kernel))
        z = z + machine.dt * (force - stiffness * y - damping * z)
        y = y + machine.dt * z
        states.append(y)
    return torch.stack(states)


def test_states_are_those_of_the_published_loop():
    machine = sheet(channels=2, steps=30, dt=0.1).double()
    nn.init.normal_(machine.kernel, std=0.7)
    image = torch.rand(2, 3, 9, 12, generator=RNG, dtype=torch.float64)
    assert torch.allclose(machine(image), reference_states(machine, image), rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", READOUTS)
@pytest.mark.parametrize("steps", [1, 7, 20])
def test_a_readout_inside_the_recurrence_is_that_of_its_states(kind, steps):
    machine, readout = sheet(channels=2, steps=steps), TimeReadout(kind, steps)
    image = torch.rand(2, 3, 8, 9, generator=RNG)
    states = machine(image)
    inside, after = readout(machine(image, readout.over_time())), readout(readout.read(states))
    assert inside.shape == (2, readout.features_of(2), 8, 9)
    assert torch.allclose(inside, after, atol=1e-5)
    y = states.detach().numpy()
    expected = {
        "last": lambda: y[-1],
        "mean": lambda: y.mean(0),
        "max": lambda: y.max(0),
        "fft": lambda: np.abs(np.fft.rfft(y, axis=0)),
        "linear": lambda: np.tensordot(readout.weight.detach().numpy(), y, 1),
    }[kind]()
    expected = expected if expected.ndim == 4 else np.moveaxis(expected, 1, 0).reshape(2, -1, 8, 9)
    np.testing.assert_allclose(inside.detach().numpy(), expected, atol=2e-5)


def test_a_fourier_readout_is_as_precise_as_the_model():
    y = torch.rand(20, 1, 1, 4, 4, generator=RNG, dtype=torch.float64)
    readout = TimeReadout("fft", 20).double()
    found = readout(readout.read(y))[0, :, 0, 0]
    np.testing.assert_allclose(found, np.abs(np.fft.rfft(y[:, 0, 0, 0, 0])), rtol=0, atol=1e-13)


def test_a_fourier_readout_of_nothing_has_a_gradient():
    states = torch.zeros(8, 1, 1, 4, 4, requires_grad=True)
    readout = TimeReadout("fft", 8)
    read = readout(readout.read(states))
    assert not read.any()
    read.sum().backward()
    assert torch.equal(states.grad, torch.zeros_like(states))


def seen_from(model, size, kind=torch.float64):
    """How far a pixel of the image reaches in the output: the largest distance on a torus."""
    model = model.to(kind).eval()
    image = torch.rand(1, 1, size, size, generator=RNG, dtype=kind)
    changed = image.clone()
    changed[..., size // 2, size // 2] += 0.5
    with torch.no_grad():
        reached = (model(changed) - model(image)).abs().flatten(0, -3).sum(0) > 0
    rows, columns = (reached.any(axis).nonzero().squeeze(1) - size // 2 for axis in (1, 0))
    return int(max(rows.abs().max(), columns.abs().max()))


@pytest.mark.parametrize("steps", [1, 5])
def test_the_light_cone_is_one_pixel_per_step_beyond_the_encoders(steps):
    torch.manual_seed(1)
    machine = sheet(in_channels=1, steps=steps)
    machine.dt = 0.5
    for layer in layers_of(machine, nn.Conv2d):
        nn.init.uniform_(layer.weight, 0, 0.02)  # nothing is cut off by a ReLU, nor lost in the bend of a tanh
    assert seen_from(machine, 32) == 4 + steps  # the window of the first positions is 9 × 9


def test_without_coupling_nothing_travels_and_the_kernel_is_not_trained():
    torch.manual_seed(1)
    machine = sheet(in_channels=1, steps=10, coupled=False)
    for layer in layers_of(machine, nn.Conv2d):
        nn.init.uniform_(layer.weight, 0, 0.02)
    assert seen_from(machine, 32) == 4
    assert "kernel" not in dict(machine.named_parameters())
    y0, stiffness, damping = (
        torch.full((1, 2, 4, 4), value, dtype=torch.float64, requires_grad=False) for value in (0.5, 4.0, 0.0)
    )
    machine.dt, machine.steps, machine.encode = 0.001, 1000, lambda image: (y0, stiffness, damping)
    assert machine.double()(torch.zeros(1))[-1, 0, 0, 0, 0].item() == pytest.approx(0.5 * math.cos(2.0), abs=2e-3)


@pytest.mark.parametrize("kind", ["linear", "last"])
def test_a_linear_machine_equals_its_steps(kind):
    torch.manual_seed(0)
    machine, readout = LinearWaveMachine(1, 2, steps=40).double(), TimeReadout(kind, 40).double()
    image = torch.rand(2, 1, 12, 10, generator=RNG, dtype=torch.float64)
    inside = machine(image, readout.over_time())
    start, still = machine.initial(image), machine.sheet.symmetric_kernel()
    options = {"steps": 40, "dt": 0.1, "nonlinearity": "identity", "backend": "reference"}
    stepped, _ = sheet_scan(start, machine.velocity(image), still, 0.0, 0.0, readout=readout.over_time(), **options)
    torch.testing.assert_close(inside, stepped, rtol=0, atol=1e-8)
    model = Segmenter(machine, 3, readout=kind).double()
    assert model(image).shape == (2, 3, 12, 10)


def test_local_networks_see_as_far_as_their_layers():
    torch.manual_seed(0)
    for layers in (2, 8):
        net = LocalCNN(1, 3, layers)
        for layer in layers_of(net.stack, nn.Conv2d):
            nn.init.uniform_(layer.weight, 0, 0.2)
        assert seen_from(net, 32) == layers
    assert seen_from(EncoderReadout(1, 3), 32) <= 4


@pytest.mark.parametrize("size", [(16, 16), (33, 47)])
def test_a_u_net_takes_images_of_any_size(size):
    assert UNet(1, 5, 2)(torch.rand(2, 1, *size, generator=RNG)).shape == (2, 5, *size)
    with pytest.raises(ValueError, match="at least 16 rows"):
        UNet(1, 5, 2)(torch.rand(2, 1, 15, 16))


def test_a_gated_recurrence_is_the_published_loop():
    net = ConvLSTM(in_channels=1, channels=2, steps=4)
    image = torch.rand(2, 1, 8, 9, generator=RNG)
    hy, hz, hc = net.initial(image), net.initial_hidden(image), net.initial_cell(image)
    for state in net(image):
        padded = nn.functional.pad(torch.cat([hy, hz], 1), (1, 1, 1, 1), mode="circular")
        i, f, g, o = nn.functional.conv2d(padded, net.gates.weight, net.gates.bias).split(2, 1)
        hc = torch.sigmoid(f) * hc + torch.sigmoid(i) * torch.tanh(g)
        hz = torch.sigmoid(o) * torch.tanh(hc)
        hy = net.output(hz)
        assert torch.allclose(state, hy, atol=1e-6)


def test_the_readout_of_a_gated_recurrence_is_a_perceptron_of_each_pixel():
    net = ConvLSTM(in_channels=1, channels=2, steps=1)
    hidden = torch.randn(2, 2, 3, 4, generator=RNG)
    below, _, above = net.output
    inner = torch.einsum("oc,bchw->bohw", below.weight[..., 0, 0], hidden) + below.bias[:, None, None]
    expected = torch.einsum("oc,bchw->bohw", above.weight[..., 0, 0], inner.clamp(min=0)) + above.bias[:, None, None]
    torch.testing.assert_close(net.output(hidden), expected)


def perceptron(mlp, x):
    """Layers of a `PixelMLP` as 1 × 1 convolutions with ReLU between them."""
    for number, layer in enumerate(mlp.layers):
        x = nn.functional.conv2d(x.relu() if number else x, layer.weight[..., None, None], layer.bias)
    return x


def test_networks_without_a_recurrence_are_what_their_docstrings_say():
    image = torch.rand(2, 3, 10, 12, generator=RNG)
    net, x = LocalCNN(3, 6, 4, width=5, features=9, hidden=(8, 7)), image
    for layer in layers_of(net.stack, nn.Conv2d):
        x = nn.functional.conv2d(x, layer.weight, layer.bias, padding=1).relu()
    assert x.shape[1] == 2
    x = nn.functional.conv2d(x, net.widen.weight, net.widen.bias)
    torch.testing.assert_close(net(image), perceptron(net.mlp, x))
    net = EncoderReadout(3, 6, hidden=(8,))
    read = []
    for layers, last in ((net.initial, torch.tanh), (net.stiffness, torch.relu), (net.damping, torch.relu)):
        x, convolutions = image, layers_of(layers, nn.Conv2d)
        for layer in convolutions:
            x = nn.functional.conv2d(x, layer.weight, layer.bias, padding=1)
            x = last(x) if layer is convolutions[-1] else x.relu()
        read.append(x)
    torch.testing.assert_close(net(image), perceptron(net.mlp, torch.cat(read, 1)))


def test_a_u_net_is_four_halvings_and_four_doublings_with_the_image_handed_across():
    net, image = UNet(2, 5, 2).eval(), torch.rand(1, 2, 18, 35, generator=RNG)
    for norm in layers_of(net, nn.BatchNorm2d):  # as after training
        nn.init.uniform_(norm.running_mean, -0.2, 0.2)
        nn.init.uniform_(norm.running_var, 0.5, 2.0)

    def twice(block, x):
        for layer, norm in zip(layers_of(block, nn.Conv2d), layers_of(block, nn.BatchNorm2d), strict=True):
            x = nn.functional.conv2d(x, layer.weight, padding=1)
            mean, scale = norm.running_mean[:, None, None], (norm.running_var + 1e-5).sqrt()[:, None, None]
            x = ((x - mean) / scale * norm.weight[:, None, None] + norm.bias[:, None, None]).relu()
        return x

    levels = [twice(net.first, image)]
    for block in net.down:
        levels.append(twice(block, nn.functional.max_pool2d(levels[-1], 2)))
    x = levels[-1]
    for across, up, block in zip(levels[-2::-1], net.up, net.joined, strict=True):
        grown = nn.functional.conv_transpose2d(x, up.weight, up.bias, stride=2)
        x = torch.zeros_like(across)
        top, left = ((across.shape[axis] - grown.shape[axis]) // 2 for axis in (2, 3))
        x[:, :, top : top + grown.shape[2], left : left + grown.shape[3]] = grown
        x = twice(block, torch.cat([across, x], 1))
    expected = nn.functional.conv2d(x, net.last.weight, net.last.bias)
    torch.testing.assert_close(net(image), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("readout", READOUTS)
def test_every_parameter_has_a_gradient(readout):
    torch.manual_seed(0)
    for recurrence in (sheet(1, steps=6), ConvLSTM(1, steps=6)):
        model = Segmenter(recurrence, 3, readout=readout, hidden=(8, 8))
        image = torch.rand(3, 1, 12, 12, generator=RNG)
        nn.functional.cross_entropy(model(image), torch.randint(3, (3, 12, 12), generator=RNG)).backward()
        for name, parameter in model.named_parameters():
            assert parameter.grad is not None, name
            assert torch.isfinite(parameter.grad).all(), name
            assert parameter.grad.abs().sum() > 0 or "damping" in name or "stiffness" in name, name


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: TimeReadout("median", 5), "readout must be one of fft, linear"),
        (lambda: sheet(steps=0), "steps"),
        (lambda: sheet(3)(torch.zeros(2, 1, 8, 8)), r"image must have shape \(B, 3, H, W\)"),
        (lambda: LocalCNN(3, 2, 0), "layers"),
        (lambda: Segmenter(sheet(), 0), "classes"),
    ],
)
def test_mistakes_are_named(call, message):
    with pytest.raises((ValueError, TypeError), match=message):
        call()
