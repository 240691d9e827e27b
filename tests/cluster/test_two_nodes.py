"""Two nodes: a step's ranks on both, and steps spread over both."""

import subprocess
from pathlib import Path

import pytest

from atomflow.flow import Flow, Store
from atomflow.flow.batch import Cluster
from atomflow.flow.slurm import SlurmExecutor

pytestmark = pytest.mark.slow
STEPS = Path(__file__).parents[1] / "flow"


@pytest.fixture
def steps(slurm_of_two, tmp_path, monkeypatch):
    monkeypatch.setenv("SLURM_CONF", slurm_of_two["SLURM_CONF"])
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("PYTHONPATH", f"{STEPS}:{Path(__file__).parents[2]}")
    monkeypatch.syspath_prepend(str(STEPS))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "seen").mkdir()
    import steps_for_tests

    return steps_for_tests


def test_ranks_on_two_nodes(tmp_path, steps):
    cluster = Cluster("two", partition="debug", launcher=("srun", "-N", "{nodes}", "-n", "{ranks}"))
    store = Store(tmp_path / "store")
    with Flow(store, SlurmExecutor(cluster, store), launcher=cluster.launcher) as flow:
        said = flow.submit(steps.on_two_nodes, folder=str(tmp_path / "seen")).result(timeout=120)
    assert sorted(said.splitlines()) == ["rank 0 of 2 on n1", "rank 1 of 2 on n2"]


def test_steps_on_two_nodes(tmp_path, steps):
    cluster = Cluster("two", partition="debug")
    store = Store(tmp_path / "store")
    used = set()
    with Flow(store, SlurmExecutor(cluster, store), resources={"waits": {"cores": 4}}) as flow:
        futures = flow.map(steps.waits, [str(tmp_path / "seen")] * 2, [4.0, 4.1])
        while not all(f.done() for f in futures):
            done = subprocess.run(["squeue", "-h", "-t", "R", "-o", "%N"], capture_output=True, text=True, check=True)
            used |= set(done.stdout.split())
        assert [f.result() for f in futures] == [0.0, 0.0]
    assert used == {"n1", "n2"}
