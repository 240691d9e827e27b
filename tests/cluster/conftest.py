"""A real Slurm on this machine, of one node or of two, brought up for the tests that need one."""

import os
import shutil
import subprocess
from contextlib import contextmanager
from pathlib import Path

import pytest

HERE = Path(__file__).parent


@contextmanager
def _slurm(folder, nodes, port):
    if shutil.which("slurmctld") is None or os.geteuid() != 0:
        reason = "no Slurm here, or no right to start it; install it with: apt-get install slurm-wlm munge"
        if os.environ.get("CI") and os.geteuid() == 0:
            pytest.fail(reason)
        pytest.skip(reason)
    place = {
        "ENG": str(folder),
        "CPUS": "4",
        "PORT": str(port),
        "NODES": str(nodes),
        "SLURM_CONF": str(folder / "slurm.conf"),
    }
    environment = {**os.environ, **place}
    up = subprocess.run(["bash", HERE / "slurm_up.sh"], env=environment, capture_output=True, text=True)
    try:
        assert up.returncode == 0, up.stderr
        yield environment
    finally:
        subprocess.run(["bash", HERE / "slurm_down.sh"], env={**environment, "PURGE": "1"}, check=False)


@pytest.fixture(scope="session")
def slurm(tmp_path_factory):
    """Starts Slurm and yields its environment; skips, never in CI as root, where there is none."""
    with _slurm(tmp_path_factory.mktemp("slurm"), 1, 16917) as environment:
        yield environment


@pytest.fixture(scope="module")
def slurm_of_two(tmp_path_factory):
    """The same with two nodes."""
    with _slurm(tmp_path_factory.mktemp("slurm2"), 2, 17117) as environment:
        yield environment
