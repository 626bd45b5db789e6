"""Hidden states as recordings: the numbers, the labels, what a file says of the network that made it."""

from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

import analysis
import wavefield as wf
from wavefield.recordings.recording import open_recording, validate_recording
from wavefield_torch.inspection.record import record
from wavefield_torch.models.baselines import GRU, LSTM, IdentityRNN, LocallyConnectedRNN, Tape
from wavefield_torch.models.readout import SequenceModel, linear_readout
from wavefield_torch.models.wave_rnn import WaveRNN as AnyWaveRNN

WaveRNN = partial(AnyWaveRNN, backend="reference")  # nothing here depends on the backend, and this needs no compilation


def normal(*shape, seed=1):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


NETS = {
    "wave": (lambda **o: WaveRNN(2, 8, channels=3, operator="uniform", **o), (3, 8), "ring"),
    "identity": (lambda **o: IdentityRNN(2, 8, **o), (1, 8), "none"),
    "shifted": (lambda **o: IdentityRNN(2, 8, recurrence="shift", **o), (1, 8), "ring"),
    "lstm": (lambda **o: LSTM(2, 8, **o), (1, 8), "none"),
    "gru": (lambda **o: GRU(2, 8, **o), (1, 8), "none"),
    "local": (lambda **o: LocallyConnectedRNN(2, 8, channels=2, operator="uniform", **o), (2, 8), "ring"),
    "tape": (lambda **o: Tape(2, 5, **o), (2, 5), "line"),
    "nn.RNN": (lambda **o: nn.RNN(2, 8, **o), (1, 8), "none"),
}


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("kind", NETS)
def test_activity_is_the_output_whatever_the_network_and_the_segments(kind, batch_first, streamed, tmp_path):
    make, ring, order = NETS[kind]
    net = make(batch_first=batch_first)
    x, labels = normal(11, 4, 2), torch.tensor([3, 1, 4, 1])
    given = x.transpose(0, 1) if batch_first else x
    rec = record(net, (given, labels), path=tmp_path / "r.nc" if streamed else None, steps_at_once=3)
    with rec:
        output = net(given)[0].detach()
        output = output if batch_first else output.transpose(0, 1)  # (B, T, C·N)
        assert rec.activity.dims == ("trial", "time", "channel", "position")
        assert rec.activity.dtype == np.float32
        np.testing.assert_allclose(rec.activity, output.unflatten(-1, ring), rtol=1e-6, atol=1e-6)
        np.testing.assert_array_equal(rec.drive, x.transpose(0, 1))
        np.testing.assert_array_equal(rec.label, labels)
        assert rec.attrs["position_order"] == order
        assert rec.attrs.get("boundary") == {"ring": "periodic", "line": "open", "none": None}[order]
        assert rec.time.values.tolist() == list(range(1, 12))


@pytest.mark.parametrize("streamed", [False, True])
def test_labels_of_every_step_go_along_trial_and_time(streamed, tmp_path):
    x, labels = normal(7, 3, 2), torch.arange(21).view(7, 3)
    path = tmp_path / "r.nc" if streamed else None
    with record(WaveRNN(2, 6), (x, labels), path=path, steps_at_once=2) as rec:
        assert rec.label.dims == ("trial", "time")
        np.testing.assert_array_equal(rec.label, labels.T)
    first = WaveRNN(2, 6, batch_first=True)
    turned = record(first, (x.transpose(0, 1), labels.T))
    np.testing.assert_array_equal(turned.label, labels.T)


def test_a_single_sequence_has_no_trials():
    rec = record(WaveRNN(2, 6, channels=2), (normal(5, 2), 7))
    assert rec.activity.dims == ("time", "channel", "position")
    assert rec.label.item() == 7
    assert record(WaveRNN(2, 6), (normal(5, 2), np.arange(5))).label.dims == ("time",)


def test_recording_of_a_sequence_model_is_that_of_its_recurrence():
    net = WaveRNN(2, 6, channels=2)
    x = normal(5, 3, 2)
    by_model = record(SequenceModel(net, linear_readout(12, 4)), x)
    np.testing.assert_array_equal(by_model.activity, record(net, x).activity)


def test_file_alone_holds_the_operator_of_the_network():
    """The states of a linear network are those of the kernel, encoder and bias in the file."""
    net = WaveRNN(2, 8, channels=2, operator="uniform", encoder="uniform", nonlinearity="identity", bias="reference")
    rec = record(net, normal(9, 1, 2).double().float(), dt=0.5, dx=2.0)
    op = wf.WaveOperator(
        rec.kernel.values, rec.attrs["boundary"], rec.attrs["dx"], rec.attrs["dt"], levels=rec.attrs["levels"]
    )
    matrix, encoder = op.matrix(8), rec.encoder.values.reshape(16, 2)
    h = np.zeros(16)
    for t in range(9):
        h = matrix @ h + encoder @ rec.drive.values[0, t] + rec.bias.values.ravel()
        np.testing.assert_allclose(rec.activity.values[0, t].ravel(), h, rtol=1e-4, atol=1e-5)
    assert rec.attrs["nonlinearity"] == "identity"
    assert rec.time.values.tolist() == [0.5 * (t + 1) for t in range(9)]
    assert rec.position.values.tolist() == [2.0 * n for n in range(8)]


def test_recording_of_a_linear_network_can_be_decoded():
    """Input, onset and strength of three events, read from the last hidden state of the network."""
    net = AnyWaveRNN.from_operator(wf.transport(1.0), 64, 2, backend="reference", dtype=torch.float64)
    events = [[(3, 1.0), (9, 2.5)], [(6, 0.5)]]
    drive = wf.spikes(events, steps=20)
    rec = record(net, torch.tensor(np.asarray(drive)))
    found = wf.decode(rec)
    rows = zip(found.onset.values.tolist(), found.input.values.tolist(), found.amplitude.values.tolist(), strict=True)
    expected = [(3, 0, 1.0), (6, 1, 0.5), (9, 0, 2.5)]
    np.testing.assert_allclose(list(rows), expected, atol=1e-9)


@pytest.mark.parametrize("op", [wf.transport(0.6), wf.wave(0.5)], ids=repr)
def test_simulation_can_continue_where_the_network_stopped(op):
    net = AnyWaveRNN.from_operator(op, 16, 1, backend="reference", dtype=torch.float64)
    rec = record(net, normal(5, 1, 1).double())
    further = wf.simulate(wf.WaveOperator(rec.kernel.values), initial=rec, steps=7, encoder=rec.encoder.values)
    output, _ = net(
        torch.zeros(7, 1, 1, dtype=torch.float64), torch.tensor(rec.activity.values[:, -1].reshape(1, 1, -1))
    )
    expected = output.detach().numpy().reshape(further.activity.shape)
    np.testing.assert_allclose(further.activity, expected, atol=1e-12)


def test_streamed_file_is_a_valid_recording_like_the_one_in_memory(tmp_path):
    net, batch = WaveRNN(2, 6, channels=2), (normal(8, 3, 2), torch.arange(3))
    record(net, batch, path=tmp_path / "r.nc", steps_at_once=3, config={"seed": 5}).close()
    with open_recording(tmp_path / "r.nc") as rec:
        validate_recording(rec)
        in_memory = record(net, batch, config={"seed": 5})
        for name in in_memory.variables:
            np.testing.assert_array_equal(rec[name], in_memory[name])
        assert set(rec.attrs) == set(in_memory.attrs)
    assert not (tmp_path / "r.partial.nc").exists()


def test_units_are_those_of_the_operator_that_the_network_began_as():
    op = wf.wave(0.5, dx=2.0, dt=0.25)
    net = AnyWaveRNN.from_operator(op, size=16, input_size=1)
    rec = record(net, normal(5, 1))
    assert (rec.attrs["dx"], rec.attrs["dt"]) == (2.0, 0.25)
    np.testing.assert_allclose(rec.time, 0.25 * np.arange(1, 6))
    assert wf.operator_of(rec).dx == net.to_operator().dx == 2.0
    assert record(net, normal(5, 1), dx=1.0).attrs["dx"] == 1.0


def test_part_of_a_ring_of_units_is_known_to_be_a_part():
    rec = record(WaveRNN(1, 32, operator=wf.transport(1.0), nonlinearity="identity"), normal(40, 1))
    assert rec.attrs["size"] == 32
    with pytest.raises(ValueError, match="20 of its 32 positions"):
        wf.decode(rec.isel(position=slice(20)))
    with pytest.warns(UserWarning, match="ring"):
        analysis.ridge_velocity(rec.isel(position=slice(20)))


def test_drive_can_be_left_out():
    assert "drive" not in record(WaveRNN(2, 6), normal(4, 2, 2), keep_drive=False)


def test_model_is_left_as_it_was():
    model = SequenceModel(WaveRNN(2, 6), linear_readout(6, 2))
    for mode in (True, False):
        model.train(mode)
        record(model, normal(4, 2, 2))
        assert model.training == model.recurrence.training == mode
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize(
    ("batch", "error", "text"),
    [
        (torch.full((4, 2, 2), torch.nan), ValueError, "batch must be finite"),
        (torch.zeros(0, 2, 2), ValueError, "at least one time step"),
        (np.zeros((4, 2, 2)), TypeError, "Tensor"),
        (torch.zeros(4), TypeError, r"\(T, B, I\)"),
        ((torch.zeros(4, 2, 2), torch.zeros(3)), ValueError, r"labels must have shape \(2,\) or \(4, 2\), got \(3,\)"),
        ((torch.zeros(4, 2, 2), [0.0, np.inf]), ValueError, "labels must be finite"),
        (torch.zeros(4, 2, 3), ValueError, "input_size=2"),
    ],
)
def test_batches_that_do_not_fit_are_named(batch, error, text):
    with pytest.raises(error, match=text):
        record(WaveRNN(2, 6), batch)


def test_two_directions_are_refused():
    with pytest.raises(ValueError, match="bidirectional"):
        record(nn.RNN(2, 6, bidirectional=True), torch.zeros(4, 2, 2))


def test_growth_to_infinity_stops_with_its_step_and_keeps_what_was_streamed(tmp_path):
    net = WaveRNN(1, 4, operator=wf.transport(-1.0, gain=1e10), nonlinearity="identity")
    pulse = torch.zeros(9, 1, 1)
    pulse[0] = 1.0  # 1, 1e10, 1e20, 1e30, and 1e40 is no float32
    with pytest.raises(FloatingPointError, match="step 4"):
        record(net, pulse)
    with pytest.raises(FloatingPointError, match="step 4"):
        record(net, pulse, path=tmp_path / "r.nc", steps_at_once=2)
    with open_recording(tmp_path / "r.partial.nc") as rec:
        assert rec.sizes["time"] == 4
        np.testing.assert_allclose(rec.activity.max(("trial", "channel", "position")), [1, 1e10, 1e20, 1e30], rtol=1e-6)
