"""Tasks: done once, remembered whole or not at all, the same with any number of processes."""

import importlib
import json
import os
import sys
import time

import pytest

from atomflow.errors import BadOptionError, CalculationError, SCFError
from atomflow.flow import Flow, LocalExecutor, Store

#: Workers import functions by name, so the tasks live in a module of their own.
TASKS = '''
"""Tasks that leave a trace of having run."""
import os, signal, threading, uuid
from pathlib import Path
from atomflow.energetics import Relaxed
from atomflow.errors import BadOptionError, SCFError
from atomflow.flow import step
from ase import Atoms

def trace(folder):
    Path(folder, uuid.uuid4().hex).touch()

@step(version="1")
def square(folder: object, x: object):
    trace(folder)
    return {"value": x * x, "pair": (x, 1.0 / 3.0)}

@step(version="1")
def fail(folder: object, x: object):
    trace(folder)
    raise SCFError("method", f"system {x}", "the log")

@step(version="1")
def mistake(folder: object):
    raise BadOptionError("no such thing")

@step(version="1")
def unconverged(folder: object):
    trace(folder)
    return Relaxed(Atoms("H"), 0.0, False, 0, failure="SCF")

@step(version="1")
def die(folder: object):
    os.kill(os.getpid(), signal.SIGKILL)

@step(version="1")
def identity(folder: object):
    return os.getpid()

@step(version="1")
def threads(folder: object):
    from threadpoolctl import threadpool_info
    import numpy
    return sorted({row["num_threads"] for row in threadpool_info()})
'''


def flow_of(store=None, jobs=1, **kwargs):
    return Flow(store, LocalExecutor(jobs) if jobs > 1 else None, **kwargs)


@pytest.fixture
def tasks(tmp_path, monkeypatch):
    home = tmp_path / "modules"
    home.mkdir()
    (home / "atomflow_test_tasks.py").write_text(TASKS)
    monkeypatch.syspath_prepend(str(home))
    sys.modules.pop("atomflow_test_tasks", None)
    yield importlib.import_module("atomflow_test_tasks")
    sys.modules.pop("atomflow_test_tasks", None)


def count(folder):
    return len(list(folder.iterdir()))


def test_a_second_run_computes_nothing(tmp_path, tasks, seen):
    arguments = [(str(seen), x) for x in range(4)]
    with flow_of(Store(tmp_path / "work")) as pool:
        first = pool.run(tasks.square, arguments)
    assert count(seen) == 4
    assert [r["value"] for r in first] == [0, 1, 4, 9]
    with flow_of(Store(tmp_path / "work")) as pool:
        assert pool.run(tasks.square, arguments) == first
    assert count(seen) == 4


def test_other_arguments_and_other_functions_are_other_tasks(tmp_path, tasks, seen):
    with flow_of(Store(tmp_path / "work")) as pool:
        pool.run(tasks.square, [(str(seen), 1)])
        pool.run(tasks.square, [(str(seen), 1.0)])
        pool.run(tasks.square, [(str(seen), True)])
        with pytest.raises(SCFError):
            pool.run(tasks.fail, [(str(seen), 1)])
    assert count(seen) == 4


def test_the_same_task_twice_in_one_batch_is_done_once(tasks, seen):
    with flow_of(None) as pool:
        first, second = pool.run(tasks.square, [(str(seen), 3), (str(seen), 3)])
    assert first == second
    assert count(seen) == 1


def test_without_a_folder_nothing_is_kept(tasks, seen, tmp_path):
    for _ in range(2):
        with flow_of(None) as pool:
            pool.run(tasks.square, [(str(seen), 3)])
    assert count(seen) == 2


def test_failures_are_tried_again(tmp_path, tasks, seen):
    for _ in range(2):
        with flow_of(Store(tmp_path / "work")) as pool:
            assert pool.run(tasks.unconverged, [(str(seen),)])[0].failure
            with pytest.raises(SCFError):
                pool.run(tasks.fail, [(str(seen), 1)])
    assert count(seen) == 4
    store = Store(tmp_path / "work")
    assert list(store.entries()) == []
    (failure,) = store.failures()
    assert failure["kind"] == "SCFError" and "the log" in failure["log"] and "system 1" in failure["error"]


def test_an_error_does_not_lose_what_was_finished(tmp_path, tasks, seen):
    with flow_of(Store(tmp_path / "work")) as pool:
        pool.run(tasks.square, [(str(seen), 1)])
        with pytest.raises(SCFError):
            pool.run(tasks.fail, [(str(seen), 1)])
    with flow_of(Store(tmp_path / "work")) as pool:
        pool.run(tasks.square, [(str(seen), 1)])
    assert count(seen) == 2


@pytest.mark.parametrize("jobs", [1, 2])
def test_errors_come_back_with_their_data(tasks, seen, jobs):
    with flow_of(None, jobs=jobs) as pool:
        with pytest.raises(SCFError, match="system 7") as failure:
            pool.run(tasks.fail, [(str(seen), 7)])
        with pytest.raises(BadOptionError, match="no such thing"):
            pool.run(tasks.mistake, [(str(seen),)])
    assert failure.value.log == "the log"


def test_two_processes_give_what_one_gives(tmp_path, tasks, seen):
    arguments = [(str(seen), x) for x in range(6)]
    with flow_of(Store(tmp_path / "one"), jobs=1) as pool:
        one = pool.run(tasks.square, arguments)
    with flow_of(Store(tmp_path / "two"), jobs=2) as pool:
        assert pool.run(tasks.square, arguments) == one
        assert pool.run(tasks.identity, [(str(seen),)]) != [os.getpid()]
    one_store, two_store = Store(tmp_path / "one"), Store(tmp_path / "two")
    (step,) = one_store.steps()
    assert set(one_store.keys(step)) == set(two_store.keys(step))
    with flow_of(Store(tmp_path / "two"), jobs=1) as pool:
        assert pool.run(tasks.square, arguments) == one
    assert count(seen) == 12


def test_a_killed_worker_is_a_failed_calculation(tmp_path, tasks, seen):
    with flow_of(Store(tmp_path / "work"), jobs=2) as pool:
        done = pool.run(tasks.square, [(str(seen), 2)])
        with pytest.raises(CalculationError, match="worker process died"):
            pool.run(tasks.die, [(str(seen),)])
    with flow_of(Store(tmp_path / "work")) as pool:
        assert pool.run(tasks.square, [(str(seen), 2)]) == done
    assert count(seen) == 1


@pytest.mark.parametrize("jobs", [1, 2])
def test_together_keeps_the_order_and_shares_the_memory(tmp_path, tasks, seen, jobs):
    with flow_of(Store(tmp_path / "work"), jobs=jobs) as pool:
        calls = [lambda x=x: pool.run(tasks.square, [(str(seen), x), (str(seen), 0)])[0]["value"] for x in range(4)]
        assert pool.together(calls) == [0, 1, 4, 9]
    assert count(seen) == 4


@pytest.mark.parametrize("jobs", [1, 2])
def test_together_raises_the_error_of_a_call(tasks, seen, jobs):
    with flow_of(None, jobs=jobs) as pool:
        calls = [lambda: 1, lambda: pool.run(tasks.fail, [(str(seen), 1)])]
        with pytest.raises(SCFError):
            pool.together(calls)


def test_every_change_of_state_is_told(tmp_path, tasks, seen):
    for last in ("done", "found"):
        said = []
        with flow_of(Store(tmp_path / "work"), on_change=lambda *row, said=said: said.append(row)) as pool:
            pool.run(tasks.square, [(str(seen), x) for x in (1, 2, 1)])
        assert len({key for _, key, _ in said}) == 2
        assert [state for _, _, state in said].count(last) == 2
        assert {step for step, _, _ in said} == {"atomflow_test_tasks.square"}


def test_time_of_finished_tasks_is_carried_over(tmp_path, tasks, seen):
    with flow_of(Store(tmp_path / "work")) as pool:
        pool.run(tasks.square, [(str(seen), 1)])
    (record,) = (tmp_path / "work").glob("*/*/entry.json")
    record.write_text(json.dumps({**json.loads(record.read_text()), "seconds": 12.5}))
    with flow_of(Store(tmp_path / "work")) as pool:
        pool.run(tasks.square, [(str(seen), 1)])
        assert pool.task_seconds == 12.5


def test_jobs_share_the_cores(tasks, seen, monkeypatch):
    from atomflow.flow import local as room

    monkeypatch.setattr(room, "available_cores", lambda: 2)
    monkeypatch.setattr(room, "_users", 0)  # whatever other tests have left open
    before = {name: os.environ.get(name) for name in room._THREAD_VARIABLES}
    with flow_of(None, jobs=2) as pool:
        assert pool.run(tasks.threads, [(str(seen),)]) == [[1]]

    first, second = LocalExecutor(1), LocalExecutor(2)
    first.shutdown()
    second.shutdown()  # in whatever order they end
    assert {name: os.environ.get(name) for name in room._THREAD_VARIABLES} == before


def test_no_process_is_left_behind(tasks, seen):
    with flow_of(None, jobs=2) as pool:
        (pid,) = pool.run(tasks.identity, [(str(seen),)])
    deadline = time.monotonic() + 10
    while os.path.exists(f"/proc/{pid}") and time.monotonic() < deadline:  # noqa: PTH110
        time.sleep(0.05)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
