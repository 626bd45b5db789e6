import numpy as np
import pytest
import torch
from torch import nn

import analysis
import wavefield as wf
from wavefield_torch import (
    GRU,
    LSTM,
    IdentityRNN,
    NotLinearisableError,
    SequenceModel,
    WaveRNN,
    elman,
    from_theory,
    input_jacobian,
    jacobian,
    linear_readout,
    linearised,
)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(("moved", "rests"), [(0.9e-3, True), (1.1e-3, False)])
def test_a_state_of_rest_moves_by_less_than_a_thousandth(moved, rests):
    net = IdentityRNN(2, 4, nonlinearity="tanh", dtype=torch.double)
    with torch.no_grad():
        net.bias_ih_l0[1] = moved  # the first step from zero is tanh of it
    model = SequenceModel(net, linear_readout(4, 2).double(), every_step=True)
    if rests:
        np.testing.assert_allclose(linearised(model).weight_hh, np.eye(4), atol=1e-6)
    else:
        with pytest.raises(NotLinearisableError, match=r"moves on from it by 0\.0011"):
            linearised(model)


def test_of_a_tanh_network_the_jacobian_is_its_gain_times_its_weights():
    net = IdentityRNN(
        3, 6, recurrence="uniform", nonlinearity="tanh", bias=False, generator=seeded(), dtype=torch.double
    )
    state, x = (torch.randn(5, n, generator=seeded(n), dtype=torch.double) for n in (6, 3))
    after = torch.tanh(state @ net.weight_hh_l0.T + x @ net.weight_ih_l0.T)
    gain = 1 - after[:, :, None] ** 2
    torch.testing.assert_close(jacobian(net, state, x), gain * net.weight_hh_l0)
    torch.testing.assert_close(input_jacobian(net, state, x), gain * net.weight_ih_l0)
    torch.testing.assert_close(jacobian(net), net.weight_hh_l0.detach())


def test_of_an_lstm_the_jacobian_at_the_origin_is_that_of_the_formulas():
    # at h = c = 0 without biases: i = f = o = 1/2, g = 0; c' = f c + i g, h' = o tanh c'
    net = LSTM(2, 5, bias=False, generator=seeded(), dtype=torch.double)
    to_g = net.weight_hh_l0.detach()[10:15]
    dc_dh, dc_dc = to_g / 2, torch.eye(5, dtype=torch.double) / 2
    expected = torch.cat([torch.cat([dc_dh / 2, dc_dc / 2], 1), torch.cat([dc_dh, dc_dc], 1)])
    torch.testing.assert_close(jacobian(net), expected)


def test_of_a_gru_the_jacobian_at_the_origin_is_that_of_the_formulas():
    # at h = 0 without biases: r = z = 1/2, n = tanh(r · W_n h); h' = (1 − z) n + z h
    net = GRU(2, 5, bias=False, generator=seeded(), dtype=torch.double)
    to_n = net.weight_hh_l0.detach()[10:]
    torch.testing.assert_close(jacobian(net), to_n / 4 + torch.eye(5, dtype=torch.double) / 2)


@pytest.mark.parametrize("make", [LSTM, GRU])
@pytest.mark.parametrize("batch_first", [False, True])
def test_jacobians_are_what_small_displacements_do(make, batch_first):
    net = make(2, 4, batch_first=batch_first, generator=seeded(1), dtype=torch.double)
    size = 8 if make is LSTM else 4
    state, x = torch.randn(size, generator=seeded(2), dtype=torch.double), torch.ones(2, dtype=torch.double)

    def after(state, x):
        parts = tuple(part[None, None] for part in state.split(4))
        _, last = net(x[None, None], parts if make is LSTM else parts[0])
        return torch.cat([part.flatten() for part in last]) if make is LSTM else last.flatten()

    with torch.no_grad():
        for found, at in ((jacobian(net, state, x), 0), (input_jacobian(net, state, x), 1)):
            for j in range(found.shape[1]):
                ends = []
                for sign in (1, -1):
                    point = [state.clone(), x.clone()]
                    point[at][j] += sign * 1e-6
                    ends.append(after(*point))
                torch.testing.assert_close(found[:, j], (ends[0] - ends[1]) / 2e-6, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("boundary", ["periodic", "open"])
def test_of_a_linear_wave_network_the_jacobian_is_the_matrix_of_its_operator(boundary):
    row = np.random.default_rng(0).normal(size=(2, 2, 7)) if boundary == "open" else None
    op = wf.WaveOperator(np.random.default_rng(1).normal(size=(2, 2, 3)), boundary, boundary_row=row)
    net = WaveRNN.from_operator(op, 7, 2, dtype=torch.double)
    np.testing.assert_allclose(jacobian(net), op.matrix(7).toarray(), atol=1e-12)


def test_linearised_networks_go_straight_into_wave_recovery():
    basis = np.linalg.qr(np.random.default_rng(0).normal(size=(70, 64)))[0]
    model = from_theory(wf.history.task("T3"), basis, dtype=torch.double)
    found = analysis.recover_waves(*linearised(model), length=8)
    assert found.attrs["rank"] == 36
    assert float(analysis.compare_spectra(found, wf.history.task("T3")).largest_angle_error) < 1e-6
    assert float(analysis.compare_spectra(jacobian(model.recurrence), wf.history.task("T3")).mean_angle_error) < 1e-6


def test_of_an_lstm_the_readout_sees_h_alone():
    model = SequenceModel(LSTM(3, 5, bias=False), linear_readout(5, 2), every_step=True)
    net = linearised(model)
    assert [matrix.shape for matrix in net] == [(10, 10), (10, 3), (2, 10)]
    np.testing.assert_allclose(net.weight_out[:, :5], model.readout.weight.detach())
    assert not net.weight_out[:, 5:].any()
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_network_with_biases_is_linearised_where_it_rests_and_nowhere_else():
    model = SequenceModel(GRU(2, 4, generator=seeded(), dtype=torch.double), nn.Linear(4, 2).double(), every_step=True)
    with pytest.raises(NotLinearisableError, match="moves on from it by"):
        linearised(model)
    with torch.no_grad():
        rest = model.recurrence(torch.zeros(500, 1, 2, dtype=torch.double))[1][0, 0]
    torch.testing.assert_close(torch.from_numpy(linearised(model, rest).weight_hh), jacobian(model.recurrence, rest))


@pytest.mark.parametrize("net", [WaveRNN(2, 8, bias=False), IdentityRNN(2, 8, bias=False)])
def test_relu_units_at_zero_are_refused_as_flat(net):
    with pytest.raises(NotLinearisableError, match="flat"):
        linearised(SequenceModel(net, nn.Linear(net.output_size, 2), every_step=True))


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: jacobian(nn.RNN(2, 3), torch.zeros(4)), ValueError, r"state must have shape \(3,\)"),
        (lambda: jacobian(nn.RNN(2, 3), None, torch.zeros(2, 2, 2)), ValueError, "input must have shape"),
        (lambda: jacobian(nn.RNN(2, 3), torch.zeros(4, 3), torch.zeros(5, 2)), ValueError, "one batch size"),
        (lambda: jacobian(nn.RNN(2, 3, num_layers=2)), ValueError, "one layer"),
        (lambda: jacobian(nn.LSTM(2, 3, proj_size=1)), ValueError, "proj_size"),
        (lambda: linearised(nn.RNN(2, 3)), TypeError, "SequenceModel"),
        (lambda: jacobian(elman(2, 4)), TypeError, "called as torch.nn.RNN is, got SequenceModel"),
        (lambda: elman(2, 4, output_size=0), ValueError, "output_size"),
        (lambda: linearised(elman(2, 4), torch.zeros(3, 4)), ValueError, r"state must be one.*\(3, 4\)"),
        (lambda: linearised(SequenceModel(elman(2, 4).recurrence, nn.Sequential())), TypeError, "Linear"),
    ],
)
def test_bad_input_is_refused_by_name(call, error, text):
    with pytest.raises(error, match=text):
        call()
