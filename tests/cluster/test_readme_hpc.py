"""The README's section about clusters, followed line by line on a real Slurm."""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("tblite")
pytestmark = pytest.mark.slow
README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
SECTION = README.split("\n## On a cluster\n")[1].split("\n## ")[0]


def test_the_section_about_clusters(slurm, tmp_path):
    home = tmp_path / "home"
    profiles = home / ".config/atomflow/clusters.yaml"
    assert "~/.config/atomflow/clusters.yaml" in SECTION
    profiles.parent.mkdir(parents=True)
    profiles.write_text(re.search(r"```yaml\n(.*?)```", SECTION, re.S)[1])
    environment = {name: value for name, value in slurm.items() if not name.startswith("ATOMFLOW")}
    environment |= {"HOME": str(home), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    environment |= {"OMP_NUM_THREADS": "1", "COLUMNS": "200"}
    lines = [line for block in re.findall(r"```bash\n(.*?)```", SECTION, re.S) for line in block.splitlines() if line]
    assert len(lines) >= 5
    said = {}
    for line in lines:
        done = subprocess.run(line, shell=True, cwd=home, env=environment, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, f"{line}: {done.stderr}"
        said[line] = done.stdout
        end = time.monotonic() + 240
        while subprocess.run(["squeue", "-h"], env=environment, capture_output=True, text=True).stdout.strip():
            assert time.monotonic() < end, f"{line}: the jobs took too long"
            time.sleep(0.3)
    for line in lines:
        if (out := re.search(r"--out (\S+)", line)) and "--dry-run" not in line:
            if " md " in line:
                assert json.loads((home / out[1] / "md.json").read_text())["finished"], line
                continue
            body = json.loads((home / out[1] / "result.json").read_text())
            energies = {row["ion"]: row["binding_energy_eV"] for row in body["results"]["binding"]}
            assert energies["Li+"] == pytest.approx(-2.909, abs=0.002), line
    assert any("mycluster" in text for text in said.values()), "doctor reads the profile"
    assert any("#SBATCH --account=membranes" in text for text in said.values()), "the dry run shows the script"
