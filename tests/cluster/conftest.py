"""A real Slurm of one node on this machine, brought up for the tests that need one."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def slurm(tmp_path_factory):
    """Starts Slurm and yields its environment; skips, never in CI as root, where there is none."""
    if shutil.which("slurmctld") is None or os.geteuid() != 0:
        reason = "no Slurm here, or no right to start it; install it with: apt-get install slurm-wlm munge"
        if os.environ.get("CI") and os.geteuid() == 0:
            pytest.fail(reason)
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("slurm")
    environment = {**os.environ, "ENG": str(folder), "PORT": "16917", "SLURM_CONF": str(folder / "slurm.conf")}
    up = subprocess.run(["bash", HERE / "slurm_up.sh"], env=environment, capture_output=True, text=True)
    assert up.returncode == 0, up.stderr
    yield environment
    subprocess.run(["bash", HERE / "slurm_down.sh"], env={**environment, "PURGE": "1"}, check=False)
