"""A flow that is cut off anywhere: the next one ends the same way and repeats only what had not finished."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from atomflow.errors import StoreError
from atomflow.flow import Flow, LocalExecutor, Store

STEPS = Path(__file__).parents[1] / "flow"


@pytest.fixture
def steps(monkeypatch):
    monkeypatch.syspath_prepend(str(STEPS))
    import steps_for_tests

    return steps_for_tests


def count(folder):
    return len(list(folder.iterdir()))


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_full_disk(small_disk, steps, seen, jobs):
    store = Store(small_disk / "store")
    with Flow(store, LocalExecutor(2) if jobs == 2 else None) as flow:
        futures = flow.map(steps.square, [str(seen)] * 200, [float(x) for x in range(200)])
        errors = [f.exception() for f in futures]
    failed = [e for e in errors if e is not None]
    assert failed and all(isinstance(e, StoreError) and "No space left" in str(e) for e in failed)
    kept = len(list(store.entries()))
    assert 2 < kept < 200 and not store.unfinished() and not store.quarantined
    assert count(seen) == 200
    subprocess.run(["mount", "-o", "remount,size=20m", small_disk], check=True)
    with Flow(store) as flow:
        futures = flow.map(steps.square, [str(seen)] * 200, [float(x) for x in range(200)])
        assert [f.result().value for f in futures] == [float(x * x) for x in range(200)]
    assert count(seen) == 200 + 200 - kept


CUT = """
import os, sys
from pathlib import Path
from atomflow.flow import Flow, Store
import steps_for_tests as steps
rename, renamed = Path.rename, []
def cut(self, target):
    if self.name.endswith(".part") and "square" in str(self):
        renamed.append(target)
        if len(renamed) == 3:
            os._exit(9)  # the power goes between the write and the rename
    return rename(self, target)
Path.rename = cut
with Flow(Store("store")) as flow:
    print([f.result().value for f in flow.map(steps.square, [sys.argv[1]] * 5, [1.0, 2.0, 3.0, 4.0, 5.0])])
"""


def test_a_power_cut_between_the_write_and_the_rename(tmp_path, steps, seen):
    done = subprocess.run(
        [sys.executable, "-c", CUT, str(seen)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": f"{STEPS}:{Path(__file__).parents[2]}"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 9, done.stderr
    store = Store(tmp_path / "store")
    assert len(list(store.entries())) == 2 and len(store.unfinished()) == 1 and count(seen) == 3
    with Flow(store) as flow:
        futures = flow.map(steps.square, [str(seen)] * 5, [1.0, 2.0, 3.0, 4.0, 5.0])
        assert [f.result().value for f in futures] == [1.0, 4.0, 9.0, 16.0, 25.0]
    assert count(seen) == 3 + 3


def test_a_killed_long_step_goes_on_from_its_checkpoint(tmp_path, steps, seen):
    """SIGKILL of a local driver and with it of its workers, in the middle of a checkpointing step."""
    program = tmp_path / "driver.py"
    program.write_text(
        "import sys\nfrom atomflow.flow import Flow, LocalExecutor, Store\nimport steps_for_tests as steps\n"
        "if __name__ == '__main__':\n"
        "    with Flow(Store('store'), LocalExecutor(2)) as flow:\n"
        "        print(flow.submit(steps.counts, sys.argv[1], 40, wait_s=0.05, at_a_time=100).result())\n"
    )
    environment = {**os.environ, "PYTHONPATH": f"{STEPS}:{Path(__file__).parents[2]}"}
    words = [sys.executable, str(program), str(seen)]
    running = subprocess.Popen(words, cwd=tmp_path, env=environment, start_new_session=True)
    while len(list(seen.glob("counted-*"))) < 10:
        assert running.poll() is None
    os.killpg(running.pid, 9)
    running.wait()
    done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.stdout == "{'done': 40}\n", done.stderr
    assert len(list(seen.glob("counted-*"))) <= 41
    assert not Store(tmp_path / "store").unfinished()


WORKFLOW = '''
from dataclasses import dataclass
from functools import partial
from atomflow.build import molecule
from atomflow.energetics import binding_energy, ladder
from atomflow.errors import SCFError
from atomflow.flow import setting
from atomflow.report import Outcome, Report
from atomflow.report.wording import binding_table

@dataclass(frozen=True)
class Three:
    """Three branches, one of which fails."""

    fail: int = setting(1, "How many fail.")

    def run(self, bench):
        bound = bench.survivors([partial(self.bind, bench, n) for n in range(3)])
        return Outcome({"binding": tuple(bound)}, Report("t", "q", "a", tables=(binding_table(bound, "b"),)), {"P4.a": {}})

    def bind(self, bench, n):
        if n < self.fail:
            raise SCFError("HF", f"branch {n}", f"what branch {n} said")
        return binding_energy(molecule("Li+"), [molecule("water")], ladder("xtb"), starts=1, seed=n, run=bench.run)

STUDY = Three
'''


@pytest.mark.parametrize(("fail", "code"), [(0, 0), (1, 1), (3, 1)])
def test_a_failing_branch_of_a_study(tmp_path, monkeypatch, capsys, fail, code):
    pytest.importorskip("tblite")
    from atomflow.cli import main

    monkeypatch.chdir(tmp_path)
    Path("three.py").write_text(WORKFLOW)
    words = ["run", "--workflow", "three.py", "three", "--fail", str(fail), "--jobs", "1", "--out", "out"]
    if code == 0:
        main(words)
    else:
        with pytest.raises(SystemExit) as end:
            main(words)
        assert end.value.code == code
        error = capsys.readouterr().err
        last = error.strip().splitlines()[-1]
        assert last.startswith(f"failed: {fail}") and "branch 0" in last and "scf-failure.log" in last
        assert Path("out/scf-failure.log").read_text() == "what branch 0 said"
    if fail < 3:
        report = Path("out/report.html").read_text()
        result = Path("out/result.json").read_text()
        assert result.count('"ion": "Li+"') == 3 - fail
        assert ("branch-failed" in result) == ("branch 0" in report) == bool(fail)
        assert ('"P4.a"' in result) == (not fail), "what lacks a branch recomputes no published row"
    else:
        assert not Path("out/result.json").exists()
