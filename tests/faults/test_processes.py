"""Workers and drivers that are killed, folders that cannot be written."""

import importlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from atomflow.errors import CalculationError, StoreError
from atomflow.flow import Flow, LocalExecutor, Store

HERE = Path(__file__).parent


def flow_of(store=None, jobs=1):
    return Flow(store, LocalExecutor(jobs) if jobs > 1 else None)


@pytest.fixture
def tasks(monkeypatch):
    monkeypatch.syspath_prepend(str(HERE))
    return importlib.import_module("tasks_that_die")


def test_a_task_that_kills_its_process_takes_no_other_with_it(tmp_path, tasks, seen):
    with flow_of(Store(tmp_path / "work"), jobs=2) as pool:
        for _ in range(2):
            with pytest.raises(CalculationError, match="fewer --jobs"):
                pool.run(tasks.die, [(str(seen),)])
        assert pool.run(tasks.square, [(str(seen), 3)]) == [9]


def test_a_killed_worker_among_reactions_side_by_side(tmp_path, tasks, seen):
    with flow_of(Store(tmp_path / "work"), jobs=2) as pool:
        calls = [lambda: pool.run(tasks.die, [(str(seen),)])]
        calls += [lambda x=x: [pool.run(tasks.square, [(str(seen), 10 * x + y)]) for y in range(5)] for x in range(3)]
        for order in (calls, calls[::-1]):
            with pytest.raises(CalculationError):
                pool.together(order)
    with flow_of(Store(tmp_path / "work"), jobs=2) as pool:
        assert pool.together(calls[1:])[2] == [[400], [441], [484], [529], [576]]


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_folder_that_cannot_be_written_is_the_user_s_error(tmp_path, tasks, seen, jobs):
    (tmp_path / "taken").write_text("mine")
    with pytest.raises(StoreError, match="--store"), flow_of(Store(tmp_path / "taken" / "work"), jobs=jobs) as pool:
        pool.run(tasks.square, [(str(seen), 2)])
    assert (tmp_path / "taken").read_text() == "mine"


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_for(condition, seconds=30):
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)
    return condition()


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="reads /proc")
@pytest.mark.parametrize("blow", [signal.SIGKILL, signal.SIGINT])
def test_workers_end_with_their_driver(seen, blow):
    script = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "import tasks_that_die\n"
        "from atomflow.flow import Flow, LocalExecutor\n"
        "if __name__ == '__main__':\n"
        "    with Flow(None, LocalExecutor(2)) as pool:\n"
        "        pool.run(tasks_that_die.say_who_and_wait, [(sys.argv[2],)])\n"
    )
    program = seen.parent / "driver.py"
    program.write_text(script)
    driver = subprocess.Popen(
        [sys.executable, str(program), str(HERE), str(seen)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stderr=subprocess.DEVNULL,
    )
    try:
        assert wait_for(lambda: any(seen.iterdir()))
        (worker,) = (int(path.name.removeprefix("pid-")) for path in seen.iterdir())
        assert alive(worker)
        driver.send_signal(blow)
        driver.wait(30)
        assert wait_for(lambda: not alive(worker))
    finally:
        driver.kill()
        driver.wait()
