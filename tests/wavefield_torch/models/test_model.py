"""The wave RNN: what it computes, that it is called as torch.nn.RNN, and that it is the operator it was made from."""

import copy
import os
import subprocess
import sys
import textwrap
from contextlib import ExitStack

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn.utils import parametrize
from torch.nn.utils.rnn import pack_sequence, pad_packed_sequence

import wavefield as wf
from wavefield_torch.models.initialization import initial_encoder, initial_kernel
from wavefield_torch.models.published import count_parameters
from wavefield_torch.models.readout import SequenceModel, linear_readout, mlp_readout
from wavefield_torch.models.wave_rnn import WaveRNN

PLAIN = {"backend": "reference"}  # what is tested here does not depend on the backend, and needs no compilation
SIGMA = {"relu": torch.relu, "tanh": torch.tanh, "identity": lambda a: a}


def random_net(*args, seed=0, **options):
    """A network far from its structured start, in double precision."""
    generator = torch.Generator().manual_seed(seed)
    net = WaveRNN(*args, dtype=torch.float64, **PLAIN, **options)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.normal_(0.0, 0.3, generator=generator)
    return net


def normal(*shape, seed=1):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


# ---- the recurrence -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("nonlinearity", SIGMA)
@pytest.mark.parametrize("bias", ["clean", "reference", "none"])
@pytest.mark.parametrize(("channels", "kernel_size"), [(1, 3), (3, 3), (2, 5)])
def test_output_is_that_of_the_equation(nonlinearity, bias, channels, kernel_size):
    size, inputs = 11, 2
    net = random_net(inputs, size, channels=channels, kernel_size=kernel_size, nonlinearity=nonlinearity, bias=bias)
    x = normal(6, 4, inputs)
    output, h_n = net(x)
    h = torch.zeros(4, channels, size, dtype=torch.float64)
    for t in range(6):
        ring = nn.functional.pad(h, (kernel_size // 2,) * 2, mode="circular")
        drive = (x[t] @ net.encoder.reshape(-1, inputs).T).view_as(h)
        offset = {
            "none": 0.0,
            "clean": net.bias,
            "reference": (net.encoder_bias + net.kernel_bias[:, None]) if bias == "reference" else 0.0,
        }[bias]
        h = SIGMA[nonlinearity](nn.functional.conv1d(ring, net.kernel) + drive + offset)
        torch.testing.assert_close(output[t], h.flatten(1), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(h_n[0], output[-1], rtol=0, atol=0)


def test_the_initial_network_is_a_wave_towards_lower_positions_that_wraps():
    net = WaveRNN(1, 8, channels=2, **PLAIN)
    pulse = torch.zeros(10, 1)
    pulse[0] = 1.5
    rings = net(pulse)[0].unflatten(1, (2, 8))
    for t in range(10):
        expected = torch.zeros(2, 8)
        expected[:, -t % 8] = 1.5
        assert torch.equal(rings[t], expected)


def test_identity_start_keeps_the_pulse_where_it_entered():
    net = WaveRNN(1, 8, operator="identity", **PLAIN)
    pulse = torch.zeros(5, 1)
    pulse[0] = 2.0
    assert torch.equal(net(pulse)[0], torch.tensor([2.0] + [0.0] * 7).expand(5, 8))


@pytest.mark.parametrize("kernel_size", [3, 5])
def test_shift_kernel_is_the_u_shift_without_mixing_of_channels(kernel_size):
    kernel = initial_kernel("shift", 3, kernel_size)
    assert torch.equal(kernel[:, :, kernel_size // 2 + 1], torch.eye(3))
    assert kernel.sum() == 3


def test_a_kernel_of_width_one_shifts_nothing_and_says_so():
    with pytest.raises(ValueError, match="operator must be identity or uniform where kernel_size is 1"):
        WaveRNN(1, 16, kernel_size=1)
    assert WaveRNN(1, 16, kernel_size=1, operator="identity").kernel.item() == 1


def test_random_starts_have_the_published_widths():
    generator = torch.Generator().manual_seed(0)
    kernel = initial_kernel("uniform", 16, 3, generator=generator)
    bound = 1 / np.sqrt(48)
    assert bound * 0.98 < kernel.abs().max() <= bound
    encoder = initial_encoder("gaussian", 16, 256, 2, generator=generator)
    assert encoder.std().item() == pytest.approx(1e-3, rel=0.05)  # 8192 draws: standard error below 1 %


def test_reference_biases_start_as_published_and_the_clean_one_at_zero():
    net = WaveRNN(1, 256, channels=16, bias="reference", generator=torch.Generator().manual_seed(0))
    bound = 1 / np.sqrt(48)
    assert not net.encoder_bias.any()
    assert net.kernel_bias.abs().max() <= bound
    assert net.kernel_bias.unique().numel() == 16
    net = WaveRNN(4, 256, bias="reference", encoder="gaussian", generator=torch.Generator().manual_seed(0))
    assert 0.48 < net.encoder_bias.abs().max() <= 0.5
    assert not WaveRNN(1, 256).bias.any()


def test_a_generator_decides_the_draws_and_leaves_the_global_one_alone():
    before = torch.get_rng_state()
    nets = [
        WaveRNN(2, 8, operator="uniform", encoder="gaussian", generator=torch.Generator().manual_seed(seed))
        for seed in (0, 0, 1)
    ]
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(nets[0].kernel, nets[1].kernel)
    assert torch.equal(nets[0].encoder, nets[1].encoder)
    assert not torch.equal(nets[0].kernel, nets[2].kernel)


# ---- parameter counts of the papers' tables -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("task", "inputs", "size", "channels", "outputs", "without_biases"),
    [
        ("copy", 10, 100, 6, 10, 12_108),
        ("adding", 2, 100, 27, 1, 10_287),
        ("sMNIST", 1, 256, 16, 10, 45_824),
        ("nsCIFAR10", 96, 256, 16, 10, 434_944),
    ],
)
def test_parameter_counts_are_those_of_the_paper(task, inputs, size, channels, outputs, without_biases):
    net = WaveRNN(inputs, size, channels=channels, bias="reference")
    model = SequenceModel(net, linear_readout(net.output_size, outputs))
    assert count_parameters(model, biases=False) == without_biases
    assert count_parameters(model) == without_biases + channels * size + channels + outputs


def test_counts_with_biases_of_smnist_and_of_the_mlp_readout():
    net = WaveRNN(1, 256, channels=16, bias="reference")
    assert count_parameters(SequenceModel(net, linear_readout(4096, 10))) == 49_946
    assert count_parameters(SequenceModel(net, mlp_readout(4096, 10))) == 419_686


# ---- called as torch.nn.RNN ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("shape", [(5, 3, 2), (5, 1, 2), (5, 2), (4, 0, 2), (1, 3, 2)])
@pytest.mark.parametrize("with_state", [False, True])
def test_shapes_are_those_of_nn_rnn(batch_first, shape, with_state):
    ours = WaveRNN(2, 6, channels=2, batch_first=batch_first, **PLAIN)
    theirs = nn.RNN(2, 12, batch_first=batch_first)
    shape = (shape[1], shape[0], shape[2]) if batch_first and len(shape) == 3 else shape
    x = torch.ones(shape)
    batch = () if x.dim() == 2 else (x.shape[0] if batch_first else x.shape[1],)
    state = torch.ones(1, *batch, 12) if with_state else None
    for mine, its in zip(ours(x, state), theirs(x, state), strict=True):
        assert mine.shape == its.shape


def test_batch_first_and_unbatched_give_the_same_numbers():
    net = random_net(2, 7, channels=2)
    x = normal(5, 3, 2)
    output, h_n = net(x)
    first = copy.deepcopy(net)
    first.batch_first = True
    turned, last = first(x.transpose(0, 1))
    assert torch.equal(turned.transpose(0, 1), output)
    assert torch.equal(last, h_n)
    alone, last = net(x[:, 1])
    torch.testing.assert_close(alone, output[:, 1])
    torch.testing.assert_close(last, h_n[:, 1])


def test_a_sequence_can_be_continued_from_its_last_state():
    net = random_net(2, 7, channels=2)
    x = normal(9, 3, 2)
    whole, last = net(x)
    first, state = net(x[:4])
    second, end = net(x[4:], state)
    torch.testing.assert_close(torch.cat([first, second]), whole)
    torch.testing.assert_close(end, last)


def test_without_the_sequence_output_is_its_last_step():
    net = random_net(2, 7, channels=2)
    x = normal(5, 3, 2)
    full, last = net(x)
    short, h_n = net(x, return_sequence=False)
    assert short.shape == (1, 3, 14)
    torch.testing.assert_close(short[-1], full[-1])
    torch.testing.assert_close(h_n, last)
    assert net(x[:, 0], return_sequence=False)[0].shape == (1, 14)


@pytest.mark.parametrize("enforce_sorted", [False, True])
@pytest.mark.parametrize("return_sequence", [False, True])
def test_packed_sequences_are_run_each_to_its_own_length(enforce_sorted, return_sequence):
    net = random_net(2, 5, channels=2)
    lengths = [6, 3, 3, 1] if enforce_sorted else [3, 6, 1, 3]
    sequences = [normal(length, 2, seed=i) for i, length in enumerate(lengths)]
    h0 = normal(1, 4, 10)
    output, h_n = net(pack_sequence(sequences, enforce_sorted), h0, return_sequence=return_sequence)
    padded, kept = pad_packed_sequence(output)
    for i, sequence in enumerate(sequences):
        alone, last = net(sequence, h0[:, i])
        assert kept[i] == (lengths[i] if return_sequence else 1)
        torch.testing.assert_close(padded[: kept[i], i], alone if return_sequence else alone[-1:])
        torch.testing.assert_close(h_n[:, i], last)


def test_gradients_flow_through_packed_sequences():
    net = random_net(2, 5)
    sequences = [normal(length, 2, seed=length) for length in (2, 4)]
    output, _ = net(pack_sequence(sequences, enforce_sorted=False))
    packed = torch.autograd.grad(output.data.sum(), net.kernel)[0]
    alone = sum(torch.autograd.grad(net(s)[0].sum(), net.kernel)[0] for s in sequences)
    torch.testing.assert_close(packed, alone)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"input_size": -1}, "input_size"),
        ({"hidden_size": 0}, "hidden_size"),
        ({"channels": 0}, "channels"),
        ({"kernel_size": 4}, "kernel_size"),
        ({"num_layers": 0}, "num_layers"),
        ({"dropout": 1.5}, "dropout must be a probability"),
        ({"nonlinearity": "selu"}, "nonlinearity"),
        ({"bias": "both"}, "bias"),
        ({"operator": "wave"}, "operator"),
        ({"encoder": "dense"}, "encoder"),
        ({"encoder": np.zeros((1, 8, 3))}, r"\(1, 8, 1\)"),
        ({"encoder": np.full((1, 8, 1), np.nan)}, "finite"),
    ],
)
def test_impossible_options_are_named(options, text):
    with pytest.raises(ValueError, match=text):
        WaveRNN(**{"input_size": 1, "hidden_size": 8} | options)


@pytest.mark.parametrize(
    ("x", "h0", "text"),
    [
        (torch.zeros(4, 2, 3), None, "input_size=2"),
        (torch.zeros(0, 2, 2), None, "at least one time step"),
        (torch.zeros(4), None, r"\(T, B, I\)"),
        (torch.zeros(4, 2, 2, dtype=torch.float64), None, "float32"),
        (torch.zeros(4, 2, 2, dtype=torch.float16), None, "float16"),
        (torch.zeros(4, 2, 2), torch.zeros(1, 2, 9), r"\(1, 2, 8\)"),
        (torch.zeros(4, 2, 2), torch.zeros(2, 8), r"\(1, 2, 8\)"),
        (torch.zeros(4, 2), torch.zeros(1, 1, 8), r"\(1, 8\)"),
    ],
)
def test_inputs_that_do_not_fit_are_named(x, h0, text):
    with pytest.raises(ValueError, match=text):
        WaveRNN(2, 8)(x, h0)


def test_unknown_backend_is_refused():
    with pytest.raises(ValueError, match="backend"):
        WaveRNN(1, 8, backend="gpu")(torch.zeros(3, 1))


# ---- to and from wave operators -----------------------------------------------------------------------------------


def stepped(op, x, encoder, size):
    """The field by repeated multiplication with the operator's sparse matrix, in float64."""
    matrix, entering = op.matrix(size), encoder.reshape(-1, encoder.shape[-1])
    h, states = np.zeros(matrix.shape[0]), []
    for amount in x:
        h = matrix @ h + entering @ amount
        states.append(h)
    return np.array(states)


@pytest.mark.parametrize(
    ("op", "dtype", "tolerance"),
    [
        (wf.transport(1.0), torch.float32, 1e-5),
        (wf.transport(-0.7), torch.float32, 1e-5),
        (wf.transport([0.3, -1.0], gain=0.999), torch.float32, 1e-5),
        (wf.static(), torch.float32, 1e-5),
        (wf.wave(0.5), torch.float32, 1e-3),
        (wf.wave(1.0), torch.float32, 1e-3),
        (wf.wave([0.8, 0.3], damping=0.01), torch.float32, 1e-3),
        (wf.transport(-0.7), torch.float64, 1e-11),
        (wf.wave(0.5), torch.float64, 1e-11),
        (wf.wave(0.8, damping=0.01, order=4), torch.float64, 1e-11),
    ],
    ids=repr,
)
def test_network_of_an_operator_is_its_field_over_a_thousand_steps(op, dtype, tolerance):
    size, steps = 96, 1000
    x = np.zeros((steps, 2))
    x[:50] = np.random.default_rng(0).normal(size=(50, 2))
    if op.levels == 2:  # pulses: a force leaves a drift of the mean, which magnifies the rounding of the kernel
        x[2:] = x[2:] - x[:-2].copy()
    x = x.astype(np.float32)
    net = WaveRNN.from_operator(op, size, 2, dtype=dtype, **PLAIN)
    expected = stepped(op.with_rings(2), x, net.encoder.detach().double().numpy(), size)
    output = net(torch.tensor(x, dtype=dtype))[0].detach().numpy()
    assert np.abs(output - expected).max() <= tolerance * np.abs(expected).max()


@pytest.mark.parametrize("row", [False, True])
def test_open_lines_cross_the_bridge_too(row):
    size = 12
    boundary_row = np.random.default_rng(0).normal(size=(1, 1, size)) / 4 if row else None
    op = wf.WaveOperator([0.0, 0.0, 1.0], "open", boundary_row=boundary_row)
    net = WaveRNN.from_operator(op, size, 1, dtype=torch.float64)
    x = np.zeros((100, 1))
    x[:12] = np.random.default_rng(1).normal(size=(12, 1))
    expected = stepped(op, x, net.encoder.detach().numpy(), size)
    np.testing.assert_allclose(net(torch.tensor(x))[0].detach().numpy(), expected, rtol=0, atol=1e-12)
    assert net.boundary_row is None or net.boundary_row.requires_grad
    back = net.to_operator()
    assert back.boundary == "open"
    assert (back.boundary_row is None) or np.array_equal(back.boundary_row, boundary_row)


@pytest.mark.parametrize("op", [wf.transport(0.7, dx=0.5, dt=0.25), wf.wave([0.5, 1.0]), wf.static()], ids=repr)
def test_operator_comes_back_as_it_went(op):
    back = WaveRNN.from_operator(op, 32, op.rings, dtype=torch.float64).to_operator()
    np.testing.assert_array_equal(back.kernel, op.kernel)
    assert (back.levels, back.boundary, back.dx, back.dt) == (op.levels, op.boundary, op.dx, op.dt)


def test_trained_two_way_kernel_comes_back_as_a_plain_operator():
    net = WaveRNN.from_operator(wf.wave(0.5), 32, 1)
    with torch.no_grad():
        net.kernel[1, 1, 0] = 0.1
    assert net.to_operator().levels == 1
    assert net.to_operator().symbol(0.1).shape == (2, 2)


def test_operator_of_a_network_has_the_dispersion_relation_of_its_wave():
    relation = WaveRNN(1, 64, channels=1).to_operator(dx=0.5, dt=0.1).dispersion_relation([0.1, 0.4])
    np.testing.assert_allclose(relation.phase_velocity, [[-5.0, -5.0]], rtol=1e-12)


def test_a_wider_kernel_holds_a_narrow_operator_at_its_centre():
    net = WaveRNN(1, 16, operator=wf.transport(0.25), kernel_size=5)
    assert net.kernel[0, 0].tolist() == [0.0, 0.25, 0.75, 0.0, 0.0]
    with pytest.raises(ValueError, match="kernel_size"):
        WaveRNN(1, 16, operator=wf.wave(0.5, order=4), kernel_size=3)


def test_one_ring_operators_are_repeated_for_every_channel():
    net = WaveRNN(1, 16, operator=wf.wave(0.5), channels=6)
    assert torch.equal(net.kernel[4:, 4:], net.kernel[:2, :2])
    assert not net.kernel[:2, 2:].any()
    with pytest.raises(ValueError, match="levels"):
        WaveRNN(1, 16, operator=wf.wave(0.5), channels=5)


@pytest.mark.parametrize(
    ("op", "text"),
    [
        (wf.wave(0.5, boundary="fixed"), "fixed"),
        (wf.wave(0.5, boundary="free"), "free"),
        (wf.transport(0.5, boundary="absorbing"), "absorbing"),
        (wf.transport(0.5, profile=np.ones(16)), "speed profile"),
        (wf.WaveOperator([0, 0, 1.0], "open", boundary_row=np.ones((1, 1, 16)), driven_end=0), "driven_end"),
    ],
    ids=["fixed", "free", "absorbing", "profile", "driven start"],
)
def test_operators_that_are_no_convolution_are_refused_by_name(op, text):
    with pytest.raises(ValueError, match=text):
        WaveRNN.from_operator(op, 16, 1)


def test_weights_that_are_not_finite_make_no_operator():
    net = WaveRNN(1, 16)
    with torch.no_grad():
        net.kernel[0, 0, 0] = torch.nan
    with pytest.raises(ValueError, match="kernel must be finite"):
        net.to_operator()


# ---- as a module --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bias", ["clean", "reference"])
def test_frozen_parts_get_no_gradient(bias):
    both = WaveRNN(1, 8, bias=bias, freeze_encoder=True, freeze_recurrence=True)
    assert not any(parameter.requires_grad for parameter in both.parameters())
    kernel_only = WaveRNN(1, 8, bias=bias, freeze_encoder=True)
    free = {name for name, parameter in kernel_only.named_parameters() if parameter.requires_grad}
    assert free == ({"kernel"} if bias == "clean" else {"kernel", "kernel_bias"})
    encoder_only = WaveRNN(1, 8, bias=bias, freeze_recurrence=True)
    assert not encoder_only.kernel.requires_grad
    assert encoder_only.encoder.requires_grad


def test_state_dict_and_deepcopy_carry_everything():
    net = random_net(2, 7, channels=2, bias="reference")
    x = normal(5, 3, 2)
    other = WaveRNN(2, 7, channels=2, bias="reference", dtype=torch.float64, **PLAIN)
    other.load_state_dict(net.state_dict())
    assert torch.equal(other(x)[0], net(x)[0])
    twin = copy.deepcopy(net)
    with torch.no_grad():
        net.kernel.zero_()
    assert torch.equal(twin(x)[0], other(x)[0])


def test_parameters_can_be_put_back_to_their_start():
    net = WaveRNN(2, 8, operator=wf.transport(0.5), encoder="sparse")
    start = copy.deepcopy(net.state_dict())
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(1.0)
    net.reset_parameters()
    assert all(torch.equal(start[name], value) for name, value in net.state_dict().items())


def test_repr_says_what_it_is():
    text = repr(WaveRNN(1, 256, channels=16, bias="reference", batch_first=True))
    assert text == ("WaveRNN(1, 256, channels=16, kernel_size=3, nonlinearity=relu, bias=reference, batch_first=True)")


class _Symmetric(nn.Module):
    def forward(self, kernel):
        return (kernel + kernel.flip(-1)) / 2


def test_parametrized_kernel_is_the_one_that_is_used_and_trained():
    net = random_net(1, 9, nonlinearity="tanh")
    parametrize.register_parametrization(net, "kernel", _Symmetric())
    assert torch.equal(net.kernel, net.kernel.flip(-1))
    pulse = torch.zeros(4, 1, dtype=torch.float64)
    with torch.no_grad():
        net.encoder.zero_()[0, 4] = 1.0
        net.bias.zero_()
    pulse[0] = 1.0
    output = net(pulse)[0]
    torch.testing.assert_close(output, output.flip(1))  # what starts in the middle stays mirror symmetric
    output.sum().backward()
    gradient = net.parametrizations.kernel.original.grad
    torch.testing.assert_close(gradient, gradient.flip(-1))
    assert gradient.any()


def test_functional_call_takes_other_weights():
    net, other = random_net(1, 6, seed=0), random_net(1, 6, seed=5)
    x = normal(4, 2, 1)
    swapped = torch.func.functional_call(net, dict(other.named_parameters()), (x,))
    assert torch.equal(swapped[0], other(x)[0])


def test_autocast_leaves_the_state_in_float32():
    net = WaveRNN(2, 8, channels=2, operator="uniform", generator=torch.Generator().manual_seed(0))
    x = normal(50, 3, 2).float()
    expected = net(x)[0]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = net(x)[0]
        from_half = net(x.bfloat16())[0]
    assert output.dtype == from_half.dtype == torch.float32
    torch.testing.assert_close(output, expected)


def test_compiled_network_gives_the_same_numbers_and_gradients_without_a_graph_break():
    torch.compiler.reset()
    net = WaveRNN(2, 8, channels=2, operator="uniform", generator=torch.Generator().manual_seed(0))
    x = normal(5, 3, 2).float()
    compiled = torch.compile(net, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(x)[0], net(x)[0])
    gradients = [torch.autograd.grad(f(x)[0].square().sum(), net.kernel)[0] for f in (compiled, net)]
    torch.testing.assert_close(*gradients)


def test_compiled_graph_does_not_grow_with_the_sequence():
    net = WaveRNN(2, 8)
    sizes = []

    def count(graph, _):
        sizes.append(len(graph.graph.nodes))
        return graph.forward

    for steps in (3, 60):
        torch.compiler.reset()
        torch.compile(net, backend=count, fullgraph=True, dynamic=False)(torch.zeros(steps, 1, 2))
    assert sizes[0] == sizes[1]


def test_importing_the_package_does_not_import_triton():
    program = "import sys, wavefield_torch; print('triton' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_two_processes_get_the_gradients_of_one(tmp_path):
    """Data parallel over gloo: each process has half of the batch, the averaged gradients are those of all of it."""
    program = tmp_path / "worker.py"
    program.write_text(
        textwrap.dedent("""
        import sys
        import torch
        import torch.distributed as dist
        from safetensors.torch import save_file
        from torch.nn.parallel import DistributedDataParallel
        from wavefield_torch.models.wave_rnn import WaveRNN

        rank, folder = int(sys.argv[1]), sys.argv[2]
        torch.set_num_threads(1)
        dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
        net = WaveRNN(2, 9, channels=3, operator="uniform", dtype=torch.float64, backend="reference",
                      generator=torch.Generator().manual_seed(rank))  # the start of process 0 is broadcast
        x = torch.randn(7, 8, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
        parallel = DistributedDataParallel(net)
        parallel(x[:, 4 * rank : 4 * rank + 4])[0].square().mean().backward()
        save_file({name: p.grad for name, p in net.named_parameters()}, f"{folder}/{rank}.safetensors")
        dist.destroy_process_group()
        """)
    )
    environment = os.environ | {"GLOO_SOCKET_IFNAME": "lo"}
    with ExitStack() as stack:
        commands = [[sys.executable, str(program), str(rank), str(tmp_path)] for rank in range(2)]
        workers = [stack.enter_context(subprocess.Popen(command, env=environment)) for command in commands]
        for worker in workers:
            stack.callback(worker.kill)
        assert [worker.wait(timeout=120) for worker in workers] == [0, 0]
    first = torch.Generator().manual_seed(0)
    net = WaveRNN(2, 9, channels=3, operator="uniform", dtype=torch.float64, generator=first, **PLAIN)
    x = torch.randn(7, 8, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    net(x)[0].square().mean().backward()
    for rank in range(2):
        gradients = load_file(tmp_path / f"{rank}.safetensors")
        for name, parameter in net.named_parameters():
            torch.testing.assert_close(gradients[name], parameter.grad, rtol=1e-12, atol=1e-14)


# ---- with a readout -----------------------------------------------------------------------------------------------


def test_readout_of_the_last_state_or_of_every_step():
    net = random_net(2, 6, channels=2)
    readout = linear_readout(12, 3).double()
    x = normal(5, 4, 2)
    output, h_n = net(x)
    torch.testing.assert_close(SequenceModel(net, readout)(x), readout(h_n[0]))
    torch.testing.assert_close(SequenceModel(net, readout, every_step=True)(x), readout(output))
    packed = pack_sequence([x[:3, 0], x[:5, 1]], enforce_sorted=False)
    at_all, _ = pad_packed_sequence(SequenceModel(net, readout, every_step=True)(packed))
    torch.testing.assert_close(at_all[:3, 0], readout(output[:3, 0]))


def test_readouts_start_as_pytorch_starts_them():
    layer = linear_readout(400, 50, generator=torch.Generator().manual_seed(0))
    assert 0.049 < layer.weight.abs().max() <= 0.05
    assert 0.04 < layer.bias.abs().max() <= 0.05
