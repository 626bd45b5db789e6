import numpy as np
import pytest
import torch

import analysis
import wavefield as wf
from wavefield_torch import count_parameters, elman, from_theory, linearised, open_line, record, tasks


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def trained(model, system, updates, *, horizon, rate=3e-3):
    optimiser, generator = torch.optim.Adam(model.parameters(), lr=rate), seeded(1)
    for _ in range(updates):
        batch = tasks.history_batch(64, system, horizon, generator=generator)
        optimiser.zero_grad()
        tasks.history_loss(model(batch.x), batch).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
    return model


@pytest.mark.parametrize(("units", "published"), [(32, 1536), (64, 5120), (128, 18432)])
def test_the_plain_network_has_the_published_numbers_of_parameters_and_no_bias(units, published):
    model = elman(8, units, generator=seeded())
    assert count_parameters(model) == published
    assert not any("bias" in name for name, _ in model.named_parameters())
    bound = units**-0.5
    for parameter in model.parameters():  # PyTorch's default, all of its range used
        assert 0.95 * bound < parameter.abs().max() <= bound
    assert not model(torch.zeros(5, 2, 8)).any()  # the origin is a fixed point


def test_the_same_seed_gives_the_same_network():
    one, other = (elman(3, 9, generator=seeded(3)).state_dict() for _ in range(2))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_the_open_line_has_a_kernel_and_a_boundary_row_for_recurrence():
    net = open_line(8, 8).recurrence
    assert net.kernel.numel() + net.boundary_row.numel() == 8 * 8 * (3 + 8)
    assert elman(8, 128).recurrence.weight_hh_l0.numel() == 16384


def test_the_open_line_starts_as_a_tape_and_with_the_row_of_theory_is_the_system():
    model, system = open_line(8, 8, nonlinearity="identity").double(), wf.history.task("T1")
    batch = tasks.history_batch(4, system, 30, generator=seeded(), dtype=torch.double)
    states = model.recurrence(batch.x)[0].unflatten(-1, (8, 8))  # (T, B, line, position)
    torch.testing.assert_close(states[7], batch.x[:8].permute(1, 2, 0))
    assert not states[16:].any()
    torch.testing.assert_close(model(batch.x)[:8], batch.x[:8])
    with torch.no_grad():
        model.recurrence.boundary_row.copy_(torch.tensor(system.operator().boundary_row))
    newest = model.recurrence(batch.x)[0].unflatten(-1, (8, 8))[..., -1]
    torch.testing.assert_close(newest[batch.scored], batch.target[batch.scored])


def test_a_network_made_from_theory_moves_as_the_system_while_tanh_is_straight():
    system, basis = wf.history.task("T4"), np.random.default_rng(0).normal(size=(70, 64)) / 8
    model = from_theory(system, basis, dtype=torch.double)
    initial = 1e-6 * np.random.default_rng(1).normal(size=(8, 8))
    state = torch.tensor(basis @ initial.ravel())[None, None]
    output = model(torch.zeros(50, 1, 8, dtype=torch.double), state)[:, 0]
    alone = wf.history.simulate(system, initial, steps=50).activity.isel(position=-1)
    np.testing.assert_allclose(output.detach(), alone, atol=1e-11)


@pytest.mark.parametrize(
    ("system", "slots"),
    [
        (wf.history.repeat_copy(4, 4), [4, 4, 4, 4]),
        (wf.history.signed_permutation([2, 4, 1, 3], [1, 0, 2, 3], [1, -1, -1, 1]), [4, 2, 1, 3]),
    ],
)
def test_training_hides_a_wave_in_the_weights_and_recovery_finds_it(system, slots):
    model = trained(elman(4, 32, generator=seeded()), system, 700, horizon=12)
    test = tasks.history_batch(200, system, 40, generator=seeded(2))
    assert tasks.sign_accuracy(model(test.x), test) > 0.99
    found = analysis.recover_waves(*linearised(model), length=4)
    assert np.bincount(found.line, minlength=4).tolist() == slots
    assert float(found.entry_share) > 0.9  # nothing in the grounding by output says where inputs enter
    by_output = analysis.recover_waves(*linearised(model), length=4, grounding="output")
    assert float(by_output.shift_share + by_output.boundary_share) > 0.9
    assert float(by_output.entry_share) > 0.9
    assert min(analysis.boundary_agreement(waves, system) for waves in (found, by_output)) > 0.95
    assert float(analysis.compare_spectra(found, system).mean_angle_error) < 0.03
    # the inputs stand on the lines in their order when the input phase ends
    waves = analysis.wave_states(found, record(model, test.x)).activity.isel(time=3)
    seen = test.x[:4].permute(1, 2, 0).numpy()
    held = np.isfinite(waves.values)
    assert (waves.values[held] * seen[held] > 0).mean() > 0.99


def test_before_training_there_is_no_wave_to_be_found():
    with pytest.raises(ValueError, match="no eigenvalue of weight_hh persists"):
        analysis.recover_waves(*linearised(elman(8, 128, generator=seeded())), length=8)


def test_the_open_line_learns_to_repeat_with_a_few_recurrent_weights():
    system = wf.history.repeat_copy(3, 4)
    model = trained(open_line(3, 4), system, 300, horizon=10, rate=1e-2)
    test = tasks.history_batch(200, system, 40, generator=seeded(2))
    assert tasks.sign_accuracy(model(test.x), test) > 0.99
    op = model.recurrence.to_operator()
    result = analysis.compare_spectra(op.matrix(4).toarray(), system)
    assert int(result.unmatched_theory) == 0
    assert float(result.mean_angle_error) < 0.05
