"""The cheap rows of the scoreboard are computed again and must come out the same."""

import shlex
import subprocess
import sys

import pytest

from atomflow.report.scoreboard import compare, latest_records, load_records

CHEAP = [r for r in load_records() if "xtb" in shlex.split(r.command)]


def test_there_is_a_cheap_row_to_run():
    assert "P2.a" in {record.row for record in CHEAP}


@pytest.mark.slow
@pytest.mark.parametrize("record", CHEAP, ids=lambda record: record.row)
def test_a_rerun_gives_the_recorded_values(record, tmp_path):
    pytest.importorskip("tblite")
    words = shlex.split(record.command)[1:]
    words[words.index("--out") + 1] = str(tmp_path / "again")
    subprocess.run([sys.executable, "-m", "atomflow", *words], cwd=tmp_path, check=True, timeout=600)
    assert compare(record, tmp_path / "again" / "result.json", tolerance_eV=0.02) == []
    assert record in latest_records(load_records())
