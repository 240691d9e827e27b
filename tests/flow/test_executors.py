"""Other people's executors are engines as they are."""

import os
import sys
from pathlib import Path

import pytest

from atomflow.flow import Flow, Store

HERE = Path(__file__).parent
pytestmark = pytest.mark.slow


def check(flow, steps, seen, tmp_path):
    squares = flow.map(steps.square, [str(seen)] * 3, [1.0, 2.0, 3.0])
    total = flow.submit(steps.total, str(seen), squares)
    long = flow.submit(steps.counts, str(seen), 25)
    assert total.result(timeout=120) == 14.0
    assert long.result(timeout=120) == {"done": 25}
    with pytest.raises(Exception, match="system"):
        flow.submit(steps.fails, str(seen), 1.0).result(timeout=120)
    store = Store(tmp_path / "store")
    assert len(list(store.entries())) == 5 and len(store.failures()) == 1


def test_dask(tmp_path, steps, seen, monkeypatch):
    distributed = pytest.importorskip("distributed")
    monkeypatch.setenv("PYTHONPATH", str(HERE))
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        distributed.Client(cluster) as client,
        Flow(Store(tmp_path / "store"), client.get_executor()) as flow,
    ):
        check(flow, steps, seen, tmp_path)


def test_parsl(tmp_path, steps, seen, monkeypatch):
    pytest.importorskip("parsl")
    from parsl.concurrent import ParslPoolExecutor
    from parsl.config import Config
    from parsl.executors import HighThroughputExecutor
    from parsl.providers import LocalProvider

    monkeypatch.chdir(tmp_path)
    programs = Path(sys.executable).parent  # parsl looks its own up in PATH
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    workers = HighThroughputExecutor(
        label="two",
        max_workers_per_node=2,
        address="127.0.0.1",
        encrypted=False,
        provider=LocalProvider(worker_init=f"export PYTHONPATH={HERE}", init_blocks=1, max_blocks=1),
    )
    config = Config(executors=[workers], run_dir=str(tmp_path / "runinfo"), usage_tracking=0)
    with Flow(Store(tmp_path / "store"), ParslPoolExecutor(config=config)) as flow:
        check(flow, steps, seen, tmp_path)
