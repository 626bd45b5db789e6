"""`wave_scan`: every backend is the reference, the recurrence is local, the operator behaves as PyTorch's own do."""

import functools
import threading

import numpy as np
import pytest
import torch
from torch.nn.functional import one_hot

from wavefield_torch.recurrence import scan
from wavefield_torch.recurrence.cpu import arguments, memory_pool
from wavefield_torch.recurrence.scan import wave_scan

TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-4}


def problem(T, B, I, C, N, K=3, *, drive="dense", dtype=torch.float64, seed=0):
    """x, encoder, kernel, bias, h0 of a recurrence that neither dies nor grows."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    x = normal(T, B, I)
    if drive == "one-hot":
        x = one_hot(torch.randint(0, I, (T, B), generator=generator), I).double()
    if drive == "shared":  # after a third the same for all samples, after two thirds also in time
        x[T // 3 :] = x[T // 3 :, :1]
        x[2 * T // 3 :] = x[2 * T // 3]
    if drive == "expanded":
        x = x[:, :1]
    kernel = normal(C, C, K) * (0.5 / (C * K) ** 0.5)
    if T > 100:  # close to a shift, or nothing would be left of the beginning
        kernel = kernel * 0.02
        kernel[range(C), range(C), -1] += 0.995
    parameters = [normal(C, N, I) * 0.3, kernel, normal(C, N) * 0.1, normal(B, C, N)]
    x, *parameters = (t.to(dtype).requires_grad_() for t in (x, *parameters))
    return (x.expand(T, B, I) if drive == "expanded" else x), *parameters


def run(backend, inputs, seen="sequence", **options):
    """States and all gradients of a loss that sees the sequence, the last state, or both, with random weights."""
    h = wave_scan(*inputs, return_sequence=seen != "last", backend=backend, **options)
    generator = torch.Generator().manual_seed(1)
    weight = torch.randn(h.shape, generator=generator, dtype=torch.float64).to(h.dtype)
    loss = (h * weight).sum()
    if seen == "both":
        loss = loss + (h[-1] * torch.randn(h.shape[1:], generator=generator, dtype=torch.float64).to(h.dtype)).sum()
    return [h.detach(), *torch.autograd.grad(loss, inputs)]


def kept_of(inputs, checkpoint_every):
    """What the operator keeps of the states for its backward pass where only the last is returned."""
    return torch.ops.wavefield.scan(*inputs, None, None, "relu", False, False, checkpoint_every, "cpu", False)[2]


def assert_close(found, expected, dtype):
    for name, a, b in zip(("h", "x", "encoder", "kernel", "bias", "h0"), found, expected, strict=True):
        assert b.any(), name
        error = (a - b).abs().max() / b.abs().max()
        assert error < TOLERANCE[dtype], f"{name}: {error:.1e}"


# Shapes that fill no block and no vector, every kind of drive, every way a loss can see the states; few register blocks
# among them, since each takes seconds to compile when it is not yet in Numba's cache.
AGREEMENT = [
    # T, B, I, C, N, options
    (9, 17, 2, 6, 33, {}),
    (9, 128, 10, 6, 20, dict(drive="one-hot", seen="both")),
    (9, 20, 96, 3, 33, dict(drive="one-hot", seen="last")),
    (30, 20, 96, 3, 19, dict(drive="shared", seen="last")),
    (40, 20, 2, 6, 19, dict(drive="shared")),
    (9, 20, 10, 6, 21, dict(drive="expanded", seen="last", checkpoint_every=4)),
    (784, 16, 1, 1, 5, dict(seen="last")),
    (784, 3, 1, 6, 19, dict(seen="last", checkpoint_every=28)),
    (70, 40, 1, 16, 50, dict(seen="last", checkpoint_every=1)),
    (70, 3, 2, 16, 37, dict(seen="last", checkpoint_every=9)),
    (5, 3, 3, 27, 90, dict(seen="both")),
    (2, 128, 2, 27, 7, {}),
    (1, 1, 1, 1, 1, dict(nonlinearity="tanh")),
    (1, 17, 2, 6, 3, dict(seen="last")),
    (20, 18, 2, 6, 9, dict(nonlinearity="tanh", seen="both")),
    (20, 1, 2, 6, 90, dict(nonlinearity="tanh")),
    (20, 18, 2, 6, 9, dict(nonlinearity="identity", seen="last")),
]
OTHER_WIDTHS = [(6, 20, 2, 3, 11, 5, {}), (6, 20, 2, 3, 2, 7, {}), (6, 2, 2, 3, 40, 9, {}), (6, 20, 1, 3, 1, 1, {})]


def named(case):
    return "T{}-B{}-I{}-C{}-N{}-{}".format(*case[:5], "-".join(str(v) for v in case[-1].values()))


@pytest.mark.parametrize("dtype", TOLERANCE, ids=["float64", "float32"])
@pytest.mark.parametrize("case", AGREEMENT, ids=named)
def test_the_cpu_backend_is_the_reference_forward_and_in_every_gradient(case, dtype):
    *shape, options = case
    options = dict(options)
    inputs = problem(*shape, drive=options.pop("drive", "dense"), dtype=dtype)
    assert_close(run("cpu", inputs, **options), run("reference", inputs, **options), dtype)


@pytest.mark.parametrize("case", OTHER_WIDTHS, ids=lambda case: "T{}-B{}-I{}-C{}-N{}-K{}".format(*case[:6]))
def test_kernels_of_any_width_also_wider_than_the_ring(case):
    inputs = problem(*case[:6])
    assert_close(run("cpu", inputs), run("reference", inputs), torch.float64)


def test_machines_with_short_vectors_and_few_registers_agree(monkeypatch):
    inputs = problem(9, 18, 2, 6, 13, dtype=torch.float32)
    expected = run("reference", inputs, "last")
    monkeypatch.setattr(arguments, "VECTOR_BYTES", 16)
    assert_close(run("cpu", inputs, "last"), expected, torch.float32)


def test_recomputed_states_give_the_bits_of_stored_ones():
    inputs = problem(50, 20, 2, 6, 33, dtype=torch.float32)
    stored = run("cpu", inputs, "last", checkpoint_every=1)
    for every in (7, 49, 200):
        again = run("cpu", inputs, "last", checkpoint_every=every)
        assert all((a - b).abs().max() <= 1e-5 * b.abs().max() for a, b in zip(again, stored, strict=True))
        assert torch.equal(again[0], stored[0])
        assert torch.equal(again[5], stored[5])  # nothing of h0's gradient is summed over segments


def test_what_does_not_fit_the_budget_is_recomputed(monkeypatch):
    inputs = problem(50, 20, 2, 6, 33)
    kept = kept_of(inputs, -1).numel()
    stored = run("cpu", inputs, "last")
    monkeypatch.setitem(scan.MEMORY_BUDGET, "cpu", 1e5)
    assert kept_of(inputs, -1).numel() < kept / 5
    assert_close(run("cpu", inputs, "last"), stored, torch.float64)


def test_the_same_numbers_give_the_same_bits_on_any_number_of_threads():
    inputs = problem(70, 64, 10, 6, 33, dtype=torch.float32)
    threads = torch.get_num_threads()
    first = run("cpu", inputs)
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            assert all(torch.equal(a, b) for a, b in zip(run("cpu", inputs), first, strict=True))
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("batch", [3, 40], ids=["positions-in-lanes", "samples-in-lanes"])
def test_what_memory_held_before_leaves_no_trace(batch, monkeypatch):
    monkeypatch.setattr(memory_pool, "_SMALL", 0)
    inputs = problem(9, batch, 2, 3, 21, dtype=torch.float32)
    first = run("cpu", inputs, "last", checkpoint_every=1)
    for memory in memory_pool._pool.blocks:
        np.frombuffer(memory, np.uint8)[:] = 255  # not-a-number
    assert all(torch.equal(a, b) for a, b in zip(run("cpu", inputs, "last", checkpoint_every=1), first, strict=True))
    for memory in memory_pool._pool.blocks:
        np.frombuffer(memory, np.uint8)[:] = 255
    assert kept_of(inputs, 1).isfinite().all()


def test_shared_and_one_hot_inputs_give_the_bits_of_dense_ones():
    x, *parameters = problem(12, 20, 24, 6, 33, drive="one-hot", dtype=torch.float32)
    dense = x.detach().clone()
    dense[:, -1] = 0.5  # one sample that is neither, beside the others
    assert torch.equal(wave_scan(x, *parameters)[:, :-1], wave_scan(dense, *parameters)[:, :-1])
    shared = dense[:, -1:].expand_as(dense)
    apart = shared.clone()
    apart[:, 0] += 1
    assert torch.equal(wave_scan(shared, *parameters)[:, 1:], wave_scan(apart, *parameters)[:, 1:])


@pytest.mark.parametrize("batch", [3, 40], ids=["positions-in-lanes", "samples-in-lanes"])
@pytest.mark.parametrize("backend", ["reference", "cpu"])
def test_nothing_leaves_the_light_cone(backend, batch):
    T, C, N, n = 6, 3, 21, 19
    x, *parameters, h0 = problem(T, batch, 2, C, N, dtype=torch.float32)
    h = wave_scan(x, *parameters, h0, backend=backend)
    poked = h0.detach().clone()
    poked[:, 0, n] += 1
    moved = wave_scan(x, *parameters, poked, backend=backend) != h
    distance = torch.from_numpy(np.minimum((np.arange(N) - n) % N, (n - np.arange(N)) % N))
    for t in range(T):
        assert not moved[t][..., distance > t + 1].any()
        assert moved[t][..., distance == t + 1].any()
        (gradient,) = torch.autograd.grad(h[t, :, :, n].sum(), h0, retain_graph=True)
        assert not gradient[..., distance > t + 1].any()
        assert gradient[..., distance == t + 1].any()


def test_gradients_by_finite_differences():
    inputs = problem(3, 2, 2, 2, 4)
    assert torch.autograd.gradcheck(lambda *a: wave_scan(*a, backend="cpu"), inputs)
    plain = functools.partial(wave_scan, nonlinearity="tanh", backend="reference")
    assert torch.autograd.gradcheck(plain, inputs, fast_mode=True)
    assert torch.autograd.gradgradcheck(plain, inputs, fast_mode=True)


def test_a_second_derivative_of_the_fused_backend_is_refused():
    inputs = problem(3, 2, 2, 2, 4)
    (gradient,) = torch.autograd.grad(wave_scan(*inputs, backend="cpu").sum(), inputs[2], create_graph=True)
    with pytest.raises(RuntimeError, match="backend='reference' has second derivatives"):
        torch.autograd.grad(gradient.sum(), inputs[2])


def test_only_the_gradients_that_are_wanted_are_computed_and_they_do_not_depend_on_the_others():
    inputs = problem(9, 20, 2, 3, 11)
    everything = run("cpu", inputs)
    for i, tensor in enumerate(inputs):
        alone = [t.detach() for t in inputs]
        alone[i] = tensor
        weight = torch.randn(everything[0].shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        (gradient,) = torch.autograd.grad((wave_scan(*alone, backend="cpu") * weight).sum(), tensor)
        assert torch.equal(gradient, everything[i + 1])


def test_left_over_lanes_do_not_blow_up_on_their_own():
    x, encoder, kernel, bias, h0 = (t.detach() for t in problem(200, 17, 1, 3, 8, dtype=torch.float32))
    kernel = torch.zeros_like(kernel)
    kernel[range(3), range(3), 1] = 3.0  # what is left to itself overflows
    x, encoder, bias, h0 = -torch.ones_like(x), torch.ones_like(encoder), torch.full_like(bias, 0.5), h0 * 0
    kernel.requires_grad_()
    h = wave_scan(x, encoder, kernel, bias, h0, backend="cpu")
    h.sum().backward()
    assert torch.isfinite(kernel.grad).all()
    assert not torch.isfinite(wave_scan(x * 0, encoder, kernel, bias, h0)[-1]).any()


def test_not_a_number_is_passed_on():
    x, *parameters = problem(4, 20, 2, 3, 11)
    x = x.detach().clone()
    x[0, 5, 0] = torch.nan
    h = wave_scan(x, *parameters, backend="cpu")
    assert h[-1, 5].isnan().any()
    assert not h[:, :5].isnan().any()


def test_denormals_are_flushed_inside_only():
    inputs = problem(5, 20, 2, 3, 11, dtype=torch.float32)
    tiny = np.float32(1e-40)
    x, encoder, kernel, bias, h0 = (t.detach() for t in inputs)
    h = wave_scan(x * 0, encoder, kernel * 0 + 1e-3, bias * 0, h0.abs() * 1e-36, backend="cpu")
    assert not h[-1].any()
    assert tiny * np.float32(1) > 0


# ------------------------------------------------------------------------------- lengths and resets


def run_both(inputs, backend, **options):
    """Both results of a scan and all gradients of a loss that sees both, with random weights."""
    states, last = scan.run(*inputs, backend=backend, **options)
    generator = torch.Generator().manual_seed(1)
    loss = sum(
        (part * torch.randn(part.shape, generator=generator, dtype=torch.float64).to(part.dtype)).sum()
        for part in (states, last)
        if part is not None
    )
    return [part.detach() for part in (states, last) if part is not None], torch.autograd.grad(loss, inputs)


def lengths_and_resets(steps, batch):
    generator = torch.Generator().manual_seed(2)
    lengths = torch.randint(1, steps + 1, (batch,), generator=generator)
    return {"lengths": lengths, "resets": torch.rand(steps, batch, generator=generator) < 0.2}


@pytest.mark.parametrize("which", [("lengths",), ("resets",), ("lengths", "resets")], ids="-".join)
@pytest.mark.parametrize(
    ("case", "options"),
    [
        ((9, 20, 2, 6, 33), dict(batch_first=True)),
        ((70, 20, 2, 6, 33), dict(nonlinearity="tanh")),
        ((9, 3, 2, 6, 33), dict(return_sequence=False)),
        ((30, 20, 96, 3, 33), dict(checkpoint_every=4)),
        ((30, 3, 20, 3, 19), dict(nonlinearity="identity")),
    ],
    ids=lambda value: "-".join(map(str, value)) if isinstance(value, tuple) else str(value),
)
def test_lengths_and_resets_are_those_of_the_reference(case, options, which):
    inputs = problem(*case)
    given = {name: lengths_and_resets(*case[:2])[name] for name in which}
    found, expected = (run_both(inputs, backend, **given, **options) for backend in ("cpu", "reference"))
    for a, b in zip((*found[0], *found[1]), (*expected[0], *expected[1]), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=float(1e-10 * b.abs().max()))


@pytest.mark.parametrize("backend", ["reference", "cpu"])
def test_a_sample_ends_as_it_would_alone_whatever_follows_in_its_place(backend):
    x, *parameters, h0 = problem(12, 20, 2, 3, 11, dtype=torch.float32)
    lengths = lengths_and_resets(12, 20)["lengths"]
    x = x.detach().clone()
    for b, length in enumerate(lengths):
        x[length:, b] = torch.nan
    states, last = scan.run(x, *parameters, h0, lengths=lengths, backend=backend)
    last.sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in (*parameters, h0))
    for b, length in enumerate(lengths):
        alone = wave_scan(
            x[:length, b : b + 1].expand(-1, 20, -1), *parameters, h0[b].expand(20, -1, -1), backend="cpu"
        )
        torch.testing.assert_close(states[:length, b], alone[:, b])
        torch.testing.assert_close(last[b], alone[-1, b])
        assert not states[length:, b].any()


@pytest.mark.parametrize("backend", ["reference", "cpu"])
def test_a_reset_begins_anew(backend):
    x, *parameters, h0 = problem(12, 20, 2, 3, 11)
    resets = torch.zeros(12, 20, dtype=torch.bool)
    resets[5, 7] = True
    h = wave_scan(x, *parameters, h0, resets=resets, backend=backend)
    anew = wave_scan(x[5:], *parameters, backend=backend)
    torch.testing.assert_close(h[5:, 7], anew[:, 7])
    torch.testing.assert_close(h[:, 8], wave_scan(x, *parameters, h0, backend=backend)[:, 8])


def test_lengths_that_x_does_not_have_are_refused():
    arguments = torch.zeros(4, 3, 2), torch.zeros(3, 11, 2), torch.zeros(3, 3, 3), None
    for lengths in ([0, 1, 2], [1, 2, 5]):
        for backend in ("cpu", "reference"):
            with pytest.raises(ValueError, match="lengths must lie between 1 and 4"):
                wave_scan(*arguments, lengths=torch.tensor(lengths), backend=backend)


# ------------------------------------------------------------------------------------------- whose memory


@pytest.mark.parametrize("batch_first", [False, True])
def test_overwritten_results_leave_the_gradient_as_it_is(batch_first):
    inputs, found = problem(9, 20, 2, 3, 11), []
    for overwrite in (False, True):
        states, last = scan.run(*inputs, batch_first=batch_first, backend="cpu")
        assert states.shape == ((20, 9, 3, 11) if batch_first else (9, 20, 3, 11))
        if overwrite:
            states.detach().fill_(torch.nan)
            assert last.isfinite().all()
            last.detach().fill_(torch.nan)
        grads = torch.ones_like(states), torch.ones_like(last)
        found.append(torch.autograd.grad((states, last), inputs, grads))
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def test_batch_first_is_a_stride():
    inputs = problem(9, 20, 2, 3, 11)
    states, last = scan.run(*inputs, batch_first=True, backend="cpu")
    other, other_last = scan.run(*inputs, backend="cpu")
    assert states.is_contiguous()
    assert torch.equal(states.transpose(0, 1), other)
    assert torch.equal(last, other_last)
    weight = torch.randn(states.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    gradients = [
        torch.autograd.grad((s * w).sum(), inputs) for s, w in ((states, weight), (other, weight.transpose(0, 1)))
    ]
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))


def test_a_loss_on_the_last_state_has_the_gradient_that_it_has_through_the_sequence():
    inputs = problem(70, 20, 2, 3, 11, dtype=torch.float32)
    weight = torch.randn(20, 3, 11, generator=torch.Generator().manual_seed(0))
    states, last = scan.run(*inputs, backend="cpu")
    one, other = (torch.autograd.grad((h * weight).sum(), inputs, retain_graph=True) for h in (last, states[-1]))
    assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize(("wanted", "again"), [(12, 1), (10, 1), (7, 0), (6, 0), (4, None), (13, None)])
def test_the_smallest_block_that_is_not_half_as_large_again_serves_anew(wanted, again):
    mebibyte, pool = 1 << 20, memory_pool._Pool()
    pool.needed = 100.0 * mebibyte
    blocks = pool.blocks = [memory_pool._mapped(size * mebibyte) for size in (9, 12)]
    taken = pool.take(wanted * mebibyte)
    assert [number for number, block in enumerate(blocks) if block is taken] == ([] if again is None else [again])
    assert (pool.asked, pool.used) == (wanted * mebibyte, len(taken))


def test_memory_that_is_kept_stays_within_what_two_calls_need():
    generator, needed = torch.Generator().manual_seed(0), 0
    memory_pool.free_memory()
    for _ in range(40):
        steps, batch = (int(torch.randint(low, high, (), generator=generator)) for low, high in ((50, 500), (16, 64)))
        x, *parameters = problem(steps, batch, 2, 6, 20, dtype=torch.float32)
        needed = max(needed, 4 * (steps + 1) * (batch + 15) * 6 * 23)  # samples and positions are padded
        wave_scan(x, *parameters, return_sequence=False, backend="cpu").sum().backward()
        assert memory_pool.kept_memory() < 2.5 * needed
    for _ in range(600):
        wave_scan(
            *problem(60, 16, 2, 6, 20, dtype=torch.float32), return_sequence=False, backend="cpu"
        ).sum().backward()
    assert memory_pool.kept_memory() < 0.5 * needed
    memory_pool.free_memory()
    assert memory_pool.kept_memory() == 0


def test_steps_of_any_shape_need_little_more_memory_than_the_largest(monkeypatch):
    held, take = [], memory_pool._Pool.take

    def taken(pool, size):
        block = take(pool, size)
        held.append(pool.used + sum(map(len, pool.blocks)))
        return block

    def train(steps, batch, loss):
        states = wave_scan(*problem(steps, batch, 2, 1, 128, dtype=torch.float32), backend="cpu")
        (states[-1] if loss == "last" else states).sum().backward()

    monkeypatch.setattr(memory_pool._Pool, "take", taken)
    memory_pool.free_memory()
    for loss in ("last", "all"):
        train(100, 64, loss)
    largest = max(held)
    memory_pool.free_memory()
    held.clear()
    generator = torch.Generator().manual_seed(0)
    for i in range(100):
        steps, batch = (int(torch.randint(1, most + 1, (), generator=generator)) for most in (100, 64))
        train(steps, batch, ("last", "all")[i % 2])
    assert max(held) <= 1.6 * largest
    memory_pool.free_memory()


def test_the_limit_of_memory_that_is_kept_can_be_set():
    before = memory_pool.memory_limit()
    try:
        assert memory_pool.memory_limit(0) == 0
        wave_scan(
            *problem(100, 32, 1, 6, 36, dtype=torch.float32), return_sequence=False, backend="cpu"
        ).sum().backward()
        assert memory_pool.kept_memory() == 0
        with pytest.raises(ValueError, match="limit must be a number of bytes"):
            memory_pool.memory_limit(-1)
    finally:
        memory_pool.memory_limit(before)


def test_memory_in_use_is_not_given_away():
    inputs = [t.detach() for t in problem(100, 32, 1, 6, 36, dtype=torch.float32)]
    memory_pool.free_memory()
    first = wave_scan(*inputs, backend="cpu")
    kept, part = first.clone(), first[3]
    del first
    memory_pool.free_memory()
    wave_scan(*(t + 1 for t in inputs), backend="cpu")
    assert torch.equal(part, kept[3])


# ------------------------------------------------------------------------------------ the operator in PyTorch


@pytest.mark.parametrize("kept", [0, 1, 3, -1])
def test_the_operator_is_registered_as_pytorch_wants_it(kept):
    inputs = problem(5, 20, 2, 3, 11)
    options = (None, None, "relu", kept == 0, False, kept, "cpu", True)
    torch.library.opcheck(torch.ops.wavefield.scan, (*inputs, *options))
    detached = [t.detach() for t in inputs]
    states, last, saved = torch.ops.wavefield.scan(*detached, *options)
    grads = states if kept == 0 else None, last
    torch.library.opcheck(torch.ops.wavefield.scan_backward, (*grads, saved, *detached, *options, [True] * 5))


def test_a_gradient_is_found_also_where_nothing_was_kept_for_it():
    inputs = problem(9, 20, 2, 3, 11)
    _, h, saved = torch.ops.wavefield.scan(*inputs, None, None, "relu", False, False, 0, "cpu", False)
    assert saved.numel() == 0
    found = torch.autograd.grad(h.sum(), inputs)
    expected = torch.autograd.grad(wave_scan(*inputs, return_sequence=False, backend="reference").sum(), inputs)
    assert_close([h, *found], [h, *expected], torch.float64)


@pytest.mark.parametrize("return_sequence", [True, False])
def test_compiles_without_a_graph_break(return_sequence):
    inputs = problem(5, 20, 2, 3, 11)

    def loss(*inputs):
        return wave_scan(*inputs, return_sequence=return_sequence).square().mean()

    compiled = torch.compile(loss, backend="aot_eager", fullgraph=True)
    expected = torch.autograd.grad(loss(*inputs), inputs)
    for a, b in zip(torch.autograd.grad(compiled(*inputs), inputs), expected, strict=True):
        assert torch.equal(a, b)


class _Net(torch.nn.Module):
    def __init__(self, encoder, kernel):
        super().__init__()
        self.encoder, self.kernel = torch.nn.Parameter(encoder), torch.nn.Parameter(kernel)

    def forward(self, x):
        return wave_scan(x, self.encoder, self.kernel, None, return_sequence=False)


def test_exports_for_sequences_and_batches_of_any_length():
    x, encoder, kernel, _, _ = (t.detach() for t in problem(5, 20, 2, 3, 11))
    net = _Net(encoder, kernel)
    sizes = {0: torch.export.Dim("T", min=2, max=4096), 1: torch.export.Dim("B", min=2, max=4096)}
    exported = torch.export.export(net, (x,), dynamic_shapes={"x": sizes}).module()
    for other in (x, torch.randn(9, 3, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))):
        assert torch.equal(exported(other), net(other))


@pytest.mark.parametrize("backend", ["reference", "cpu"])
def test_autocast_keeps_the_state_in_float32(backend):
    inputs = problem(5, 20, 2, 3, 11, dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        h = wave_scan(inputs[0].bfloat16().float(), *inputs[1:], backend=backend)
        rounded = wave_scan(inputs[0].bfloat16(), *inputs[1:], backend=backend)
    assert rounded.dtype == torch.float32
    assert torch.equal(h, rounded)


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")  # PyTorch's own, when it loads its decompositions
def test_function_transforms_and_forward_mode_run_the_reference():
    x, encoder, kernel, bias, h0 = (t.detach() for t in problem(4, 3, 2, 3, 11))

    def loss(kernel):
        return wave_scan(x, encoder, kernel, bias, h0).square().sum()

    leaf = kernel.clone().requires_grad_()
    (expected,) = torch.autograd.grad(loss(leaf), leaf)
    torch.testing.assert_close(torch.func.grad(loss)(kernel), expected)
    direction = torch.randn(kernel.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(torch.func.jvp(loss, (kernel,), (direction,))[1], (expected * direction).sum())
    with pytest.raises(ValueError, match="backend 'cpu' cannot run here"):
        torch.func.grad(lambda k: wave_scan(x, encoder, k, bias, h0, backend="cpu").sum())(kernel)


@pytest.mark.parametrize("backend", ["reference", "cpu"])
def test_an_empty_batch_works(backend):
    inputs = problem(4, 0, 2, 3, 11)
    for seen in ("sequence", "last"):
        h, *gradients = run(backend, inputs, seen)
        assert h.shape == ((4, 0, 3, 11) if seen == "sequence" else (0, 3, 11))
        assert not gradients[2].any()


def test_a_bias_for_each_channel_is_spread_over_its_ring():
    x, encoder, kernel, _, h0 = problem(4, 3, 2, 3, 11)
    bias = torch.tensor([0.1, -0.2, 0.3], dtype=torch.float64)
    spread = bias[:, None].expand(3, 11)
    assert torch.equal(wave_scan(x, encoder, kernel, bias, h0), wave_scan(x, encoder, kernel, spread, h0))
    assert torch.equal(wave_scan(x, encoder, kernel, None), wave_scan(x, encoder, kernel, bias * 0, h0 * 0))


# -------------------------------------------------------------------------------- the linear network, the open line


@pytest.mark.parametrize("dtype", TOLERANCE, ids=["float64", "float32"])
@pytest.mark.parametrize("steps", [1, 2, 37])
def test_the_linear_network_in_parallel_is_the_loop(steps, dtype):
    inputs = problem(steps, 3, 2, 4, 11, dtype=dtype)
    tolerance = 1e-12 if dtype == torch.float64 else 1e-5
    for seen in ("sequence", "last"):
        found = run("auto", inputs, seen, nonlinearity="identity", parallel=True)
        expected = run("reference", inputs, seen, nonlinearity="identity")
        for a, b in zip(found, expected, strict=True):
            assert (a - b).abs().max() < tolerance * b.abs().max()


def test_a_pulse_leaves_the_open_line():
    shift = torch.tensor([[[0.0, 0.0, 1.0]]])
    h0 = torch.zeros(1, 1, 5)
    h0[0, 0, 2] = 1.0
    x, encoder = torch.zeros(4, 1, 1), torch.zeros(1, 5, 1)
    h = wave_scan(x, encoder, shift, None, h0, boundary="open")[:, 0, 0]
    assert torch.equal(h, torch.tensor([[0.0, 1, 0, 0, 0], [1, 0, 0, 0, 0], [0, 0, 0, 0, 0], [0, 0, 0, 0, 0]]))


def test_a_driven_end_continues_the_fibonacci_numbers():
    shift = torch.tensor([[[0.0, 0.0, 1.0]]])
    row = torch.zeros(1, 1, 5)
    row[0, 0, -2:] = 1.0  # the newest two states are summed into the newest place
    h0 = torch.tensor([0.0, 0.0, 0.0, 1.0, 1.0]).reshape(1, 1, 5)
    x, encoder = torch.zeros(10, 1, 1), torch.zeros(1, 5, 1)
    h = wave_scan(x, encoder, shift, None, h0, boundary="open", boundary_row=row)
    assert h[:, 0, 0, -1].tolist() == [2, 3, 5, 8, 13, 21, 34, 55, 89, 144]


# ------------------------------------------------------------------------------------------------- bad input


WRONG = [
    (dict(x=torch.zeros(0, 3, 2)), "x must hold at least one step"),
    (dict(x=torch.zeros(4, 3)), "x must have 3 dimensions"),
    (dict(x=torch.zeros(4, 3, 5)), "encoder must be .*5"),
    (dict(x=torch.zeros(4, 3, 2, dtype=torch.float16)), "x must be float32 or float64"),
    (dict(x=torch.zeros(4, 3, 2, dtype=torch.int64)), "x must be float32 or float64"),
    (dict(encoder=torch.zeros(3, 11, 2, dtype=torch.float64)), "encoder must be torch.float32"),
    (dict(encoder=torch.zeros(3, 0, 2)), "encoder must have channels and positions"),
    (dict(kernel=torch.zeros(3, 3, 4)), "kernel must be .*odd"),
    (dict(kernel=torch.zeros(3, 2, 3)), "kernel must be"),
    (dict(bias=torch.zeros(11)), "bias must have shape"),
    (dict(h0=torch.zeros(2, 3, 11)), "h0 must have shape"),
    (dict(nonlinearity="sigmoid"), "nonlinearity must be one of"),
    (dict(boundary="fixed"), "boundary must be one of"),
    (dict(boundary_row=torch.zeros(3, 3, 11)), "needs boundary='open'"),
    (dict(boundary="open", backend="cpu"), "runs rings only"),
    (dict(backend="gpu"), "backend must be one of"),
    (dict(checkpoint_every=0), "checkpoint_every must be a positive integer"),
    (dict(parallel=True), "parallel=True needs nonlinearity='identity'"),
    (dict(lengths=torch.ones(2, dtype=torch.int64)), "lengths must be torch.int64 of shape .3,."),
    (dict(lengths=torch.ones(3)), "lengths must be torch.int64"),
    (dict(resets=torch.zeros(4, 3)), "resets must be torch.bool of shape .4, 3."),
]


@pytest.mark.parametrize(("change", "message"), WRONG, ids=[message[:28] for _, message in WRONG])
def test_bad_input_is_named(change, message):
    arguments = dict(x=torch.zeros(4, 3, 2), encoder=torch.zeros(3, 11, 2), kernel=torch.zeros(3, 3, 3), bias=None)
    with pytest.raises(ValueError, match=message):
        wave_scan(**(arguments | dict(return_sequence=False) | change))


def test_what_is_no_tensor_is_a_type_error():
    with pytest.raises(TypeError, match="x must be a tensor, got ndarray"):
        wave_scan(np.zeros((4, 3, 2)), torch.zeros(3, 11, 2), torch.zeros(3, 3, 3), None)


def test_the_states_that_were_kept_return_to_the_pool():
    inputs = problem(200, 32, 1, 6, 36, dtype=torch.float32)
    memory_pool.free_memory()
    h = wave_scan(*inputs, return_sequence=False, backend="cpu")
    before = sum(map(len, memory_pool._pool.blocks))
    h.sum().backward()
    del h
    assert sum(map(len, memory_pool._pool.blocks)) - before > 200 * 32 * 6 * 36 * 4
    memory_pool.free_memory()
    assert not memory_pool._pool.blocks


def test_memory_may_return_while_the_pool_is_searched():
    # garbage in a cycle is collected at any allocation, those under the pool's lock included
    done = threading.Event()

    def return_it():
        memory = memory_pool.allocate((1 << 20,), "float32")
        with memory_pool._pool.lock:
            del memory
        done.set()

    threading.Thread(target=return_it, daemon=True).start()
    assert done.wait(10)
