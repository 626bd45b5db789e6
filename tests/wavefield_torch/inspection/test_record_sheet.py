"""Models of images as recordings of sheets, which every diagnostic takes."""

import numpy as np
import pytest
import torch

import analysis
from wavefield import open_recording
from wavefield_torch import ConvLSTM, LocalCNN, NeuralWaveMachine, Segmenter, UNet, record
from wavefield_torch.tasks import tetrominoes

SCENES = tetrominoes(3, size=32, cell=3, generator=torch.Generator().manual_seed(0))
BATCH = SCENES.batch(torch.arange(3))


def test_a_segmenter_is_recorded_with_what_it_saw_built_and_answered(tmp_path):
    model = Segmenter(NeuralWaveMachine(3, 2, steps=6, dt=0.2), 6, hidden=(8,))
    with record(model, BATCH, path=tmp_path / "states.nc", config={"seed": 3}) as found:
        assert found.activity.dims == ("trial", "time", "channel", "y", "x")
        np.testing.assert_allclose(found.time, 0.2 * np.arange(1, 7))
        states = model.recurrence(BATCH[0])
        np.testing.assert_allclose(found.activity, states.transpose(0, 1).detach(), atol=1e-6)
        np.testing.assert_array_equal(found.prediction, model(BATCH[0]).argmax(1))
        np.testing.assert_array_equal(found.target, BATCH[1])
        np.testing.assert_allclose(found.image, BATCH[0])
        for name, value in zip(("initial", "stiffness", "damping"), model.recurrence.encode(BATCH[0]), strict=True):
            np.testing.assert_allclose(found[name], value.detach(), atol=1e-6)
        np.testing.assert_array_equal(found.coupling, model.recurrence.kernel.detach())
        assert found.attrs["nonlinearity"] == "tanh"
    assert model.training
    with open_recording(tmp_path / "states.nc") as again:
        assert again.attrs["position_order"] == "sheet"


def test_a_wave_across_a_sheet_is_seen_by_diagnose():
    machine = NeuralWaveMachine(1, 1, steps=60, dt=0.5)
    wave = torch.cos(2 * torch.pi * torch.arange(16) / 8).expand(1, 1, 16, 16)
    machine.encode = lambda image: (0.1 * wave, torch.zeros_like(wave), torch.zeros_like(wave))
    still = record(machine, torch.zeros(1, 1, 16, 16))  # it stands: y' is 0 at first
    verdict = analysis.diagnose(still.isel(channel=0), draws=19)
    assert str(verdict.verdict.values) != "travelling"


@pytest.mark.parametrize("model", [LocalCNN(3, 6, 2), UNet(3, 6, 2)], ids=["cnn", "u-net"])
def test_a_model_without_states_is_recorded_by_its_answer(model):
    found = record(model, BATCH)
    assert dict(found.activity.sizes) == {"trial": 3, "time": 1, "channel": 6, "y": 32, "x": 32}
    np.testing.assert_allclose(found.activity.sum("channel"), 1, rtol=1e-5)
    np.testing.assert_array_equal(found.activity.argmax("channel").isel(time=0), found.prediction)


def test_what_does_not_fit_is_named():
    net = ConvLSTM(3, steps=2)
    assert record(net, BATCH[0]).attrs["boundary"] == "periodic"
    with pytest.raises(TypeError, match=r"batch must hold images \(B, I, H, W\)"):
        record(net, BATCH[0][0])
    with pytest.raises(ValueError, match=r"labels must have shape \(3, 32, 32\)"):
        record(net, (BATCH[0], BATCH[1][:2]))
    with pytest.raises(ValueError, match="batch must be finite"):
        record(net, BATCH[0] / 0)
    with torch.no_grad():
        net.output[2].bias.fill_(torch.nan)
    with pytest.raises(FloatingPointError, match="step 0"):
        record(net, BATCH[0])
