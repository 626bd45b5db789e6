"""One exported program for sequences and batches of any length: PyTorch's own, and ONNX."""

import pytest
import torch
from torch import nn

from wavefield_torch import SequenceModel, WaveRNN, linear_readout
from wavefield_torch.recurrence import scan

DYNAMIC = torch.export.Dim.DYNAMIC
SHAPES = [(12, 3), (1, 1), (1, 5), (30, 7)]  # (T, B)
NETS = {
    "layers": lambda: WaveRNN(2, 8, num_layers=2, bidirectional=True, nonlinearity="tanh"),
    "every step": lambda: SequenceModel(WaveRNN(2, 8, operator="uniform"), linear_readout(8, 3), every_step=True),
    "rates": lambda: WaveRNN(2, 8, batch_first=True, leak=0.5, trainable_initial_state=True),
}


def normal(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def inputs(net):
    """Inputs of all shapes, as the network takes them."""
    first = getattr(net, "batch_first", False)
    return [normal(b, t, 2) if first else normal(t, b, 2) for t, b in SHAPES]


def parts(results):
    return results if isinstance(results, tuple) else (results,)


@pytest.mark.parametrize("name", ["layers", "every step"])
def test_one_program_serves_all_lengths_and_batches(name):
    net = NETS[name]()
    example, *others = inputs(net)
    program = torch.export.export(net, (example,), dynamic_shapes=({0: DYNAMIC, 1: DYNAMIC},)).module()
    for x in (example, *others):
        torch.testing.assert_close(parts(program(x)), parts(net(x)))


def test_for_onnx_the_recurrence_is_one_loop_of_the_program(monkeypatch):
    net = NETS["rates"]().eval()
    nn.init.normal_(net.initial_state)
    expected = [net(x) for x in inputs(net)]
    monkeypatch.setattr(scan, "to_onnx", lambda: True)
    example, *_ = inputs(net)
    program = torch.export.export(net, (example,), dynamic_shapes=({0: DYNAMIC, 1: DYNAMIC},))
    nodes = [node for node in program.graph.nodes if node.op == "call_function"]
    assert any("scan" in str(node.target) for node in nodes)
    assert not any("wavefield" in str(node.target) for node in nodes)
    assert len(nodes) < 60  # not unrolled
    for x, results in zip(inputs(net), expected, strict=True):
        torch.testing.assert_close(parts(program.module()(x)), parts(results))


@pytest.mark.filterwarnings("ignore")  # of the exporter, about packages of its own
def test_an_onnx_program_gives_the_same_numbers_at_any_length(tmp_path):
    for package in ("onnx", "onnxscript"):
        pytest.importorskip(package)
    runtime = pytest.importorskip("onnxruntime")
    net = NETS["every step"]().eval()
    example, *others = inputs(net)
    program = torch.onnx.export(net, (example,), dynamo=True, verbose=False, dynamic_shapes=({0: DYNAMIC, 1: DYNAMIC},))
    program.save(tmp_path / "net.onnx")
    session = runtime.InferenceSession(tmp_path / "net.onnx")
    (entry,) = session.get_inputs()
    for x in (example, *others):
        for found, expected in zip(session.run(None, {entry.name: x.numpy()}), parts(net(x)), strict=True):
            torch.testing.assert_close(torch.tensor(found), expected)
