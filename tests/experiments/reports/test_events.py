"""Metrics as TensorBoard reads them."""

import pytest

from experiments.__main__ import main
from experiments.config import load_config
from experiments.run import start
from experiments.runs.folder import RunFolder

TINY = ["delay=0", "hidden_size=12", "channels=2", "batch_size=8", "evaluate_every=5", "steps=10"]


def test_tensorboard_reads_what_metrics_csv_holds(tmp_path, capsys):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    start(load_config("copy-wrnn", TINY), tmp_path / "runs" / "first", bar=False)
    for _ in range(2):  # the second replaces the first
        assert main(["export", str(tmp_path / "runs"), "-o", str(tmp_path / "events")]) == 0
    assert "1 runs; see them with: tensorboard --logdir" in capsys.readouterr().out
    read = accumulator.EventAccumulator(str(tmp_path / "events" / "first")).Reload()
    rows = RunFolder(tmp_path / "runs" / "first").rows()
    for tag, name in (("held_out/loss", "held_out_loss"), ("held_out/accuracy", "held_out_accuracy")):
        found = [(event.step, event.value) for event in read.Scalars(tag)]
        assert found == [(row["step"], pytest.approx(row[name], rel=1e-6)) for row in rows]
    assert [event.step for event in read.Scalars("training/loss")] == [5, 10]  # none before the first step
    assert len(read.Scalars("test/loss")) == 1
