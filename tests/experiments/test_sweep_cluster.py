"""A sweep on the workers of a Dask cluster that is lost meanwhile."""

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor

import dask
import pytest
from dask.distributed import Client, Status

from experiments import sweep as module
from experiments.__main__ import main
from experiments.runs.study import read_study

SMALL = ["epochs=1", "hidden_size=8", "batch_size=200", "evaluate_every=9", "clip=1.0", "--grid", "-q"]


@pytest.fixture
def cluster():
    """Dask within this process."""
    with (
        dask.config.set({"distributed.comm.timeouts.connect": "1s", "distributed.deploy.lost-worker-timeout": "1s"}),
        Client(processes=False, n_workers=1, threads_per_worker=1, dashboard_address=":0", timeout=3) as client,
    ):
        yield client.cluster


def test_a_scheduler_that_is_lost_is_named_and_the_sweep_continues_without_it(cluster, tmp_path, monkeypatch, capsys):
    trained = []

    def train(config, folder, **options):
        trained.append(folder.name)
        if len(trained) == 2:  # the first trial has ended, the second is under way
            asyncio.run_coroutine_threadsafe(cluster.scheduler.close(), cluster.loop.asyncio_loop)
            while cluster.scheduler.status is not Status.closed:
                time.sleep(0.01)
        return {"status": "finished", "best": 0.5}

    monkeypatch.setattr(module, "run_or_resume", train)
    monkeypatch.setattr(module, "POLL_SECONDS", 0.05)
    address = ["--scheduler", cluster.scheduler_address]
    assert main(["sweep", "digits-irnn", *SMALL, "-o", str(tmp_path), *address]) == 2
    error = capsys.readouterr().err
    assert f"the Dask scheduler at {cluster.scheduler_address} was lost" in error
    assert "start it again, then the same sweep, which continues where it was" in error
    monkeypatch.setattr(module, "_workers", lambda options: ThreadPoolExecutor(1))
    assert main(["sweep", "digits-irnn", *SMALL, "-o", str(tmp_path)]) == 0
    ended = [trial for trial in read_study(tmp_path / "study.db").trials if trial.state.name == "COMPLETE"]
    assert sorted(trial.params["learning_rate"] for trial in ended) == [3e-4, 1e-3, 3e-3]
