"""Tasks: done once, remembered whole or not at all, the same with any number of processes."""

import importlib
import json
import os
import sys
import time

import pytest

from atomflow.errors import BadOptionError, CalculationError, SCFError
from atomflow.flow import TaskFolder

#: Workers import functions by name, so the tasks live in a module of their own.
TASKS = '''
"""Tasks that leave a trace of having run."""
import os, signal, threading, uuid
from pathlib import Path
from atomflow.energetics import Relaxed
from atomflow.errors import BadOptionError, SCFError
from ase import Atoms

def trace(folder):
    Path(folder, uuid.uuid4().hex).touch()

def square(folder, x):
    trace(folder)
    return {"value": x * x, "pair": (x, 1.0 / 3.0)}

def fail(folder, x):
    trace(folder)
    raise SCFError("method", f"system {x}", "the log")

def mistake(folder):
    raise BadOptionError("no such thing")

def unconverged(folder):
    trace(folder)
    return Relaxed(Atoms("H"), 0.0, False, 0, failure="SCF")

def die(folder):
    os.kill(os.getpid(), signal.SIGKILL)

def identity(folder):
    return os.getpid()

def threads(folder):
    from threadpoolctl import threadpool_info
    import numpy
    return sorted({row["num_threads"] for row in threadpool_info()})
'''


@pytest.fixture
def tasks(tmp_path, monkeypatch):
    home = tmp_path / "modules"
    home.mkdir()
    (home / "atomflow_test_tasks.py").write_text(TASKS)
    monkeypatch.syspath_prepend(str(home))
    sys.modules.pop("atomflow_test_tasks", None)
    yield importlib.import_module("atomflow_test_tasks")
    sys.modules.pop("atomflow_test_tasks", None)


@pytest.fixture
def seen(tmp_path):
    folder = tmp_path / "seen"
    folder.mkdir()
    return folder


def count(folder):
    return len(list(folder.iterdir()))


def test_a_second_run_computes_nothing(tmp_path, tasks, seen):
    arguments = [(str(seen), x) for x in range(4)]
    with TaskFolder(tmp_path / "work") as folder:
        first = folder.run(tasks.square, arguments)
    assert count(seen) == 4
    assert [r["value"] for r in first] == [0, 1, 4, 9]
    with TaskFolder(tmp_path / "work") as folder:
        assert folder.run(tasks.square, arguments) == first
    assert count(seen) == 4


def test_other_arguments_and_other_functions_are_other_tasks(tmp_path, tasks, seen):
    with TaskFolder(tmp_path / "work") as folder:
        folder.run(tasks.square, [(str(seen), 1)])
        folder.run(tasks.square, [(str(seen), 1.0)])
        folder.run(tasks.square, [(str(seen), True)])
        with pytest.raises(SCFError):
            folder.run(tasks.fail, [(str(seen), 1)])
    assert count(seen) == 4


def test_the_same_task_twice_in_one_batch_is_done_once(tasks, seen):
    with TaskFolder(None) as folder:
        first, second = folder.run(tasks.square, [(str(seen), 3), (str(seen), 3)])
    assert first == second
    assert count(seen) == 1


def test_without_a_folder_nothing_is_kept(tasks, seen, tmp_path):
    for _ in range(2):
        with TaskFolder(None) as folder:
            folder.run(tasks.square, [(str(seen), 3)])
    assert count(seen) == 2


@pytest.mark.parametrize("damage", ["cut", "changed", "empty", "binary", "of another task", "head only"])
def test_a_damaged_record_is_computed_again(tmp_path, tasks, seen, damage):
    work = tmp_path / "work"
    with TaskFolder(work) as folder:
        expected = folder.run(tasks.square, [(str(seen), 3)])
    (record,) = work.iterdir()
    whole = record.read_text()
    record.write_bytes(
        {
            "cut": whole[:-9].encode(),
            "changed": whole.replace('"value": 9', '"value": 8').encode(),
            "empty": b"",
            "binary": b"\xff\xfe\x80",
            "of another task": whole.replace(json.loads(whole.split("\n")[0])["key"], "0" * 64).encode(),
            "head only": whole.split("\n")[0].encode(),
        }[damage]
    )
    assert record.read_bytes() != whole.encode()
    with TaskFolder(work) as folder:
        assert folder.run(tasks.square, [(str(seen), 3)]) == expected
    assert count(seen) == 2
    assert json.loads(record.read_text().split("\n")[1]) == json.loads(whole.split("\n")[1])


def test_failures_are_tried_again(tmp_path, tasks, seen):
    for _ in range(2):
        with TaskFolder(tmp_path / "work") as folder:
            assert folder.run(tasks.unconverged, [(str(seen),)])[0].failure
            with pytest.raises(SCFError):
                folder.run(tasks.fail, [(str(seen), 1)])
    assert count(seen) == 4
    assert not (tmp_path / "work").exists()


def test_an_error_does_not_lose_what_was_finished(tmp_path, tasks, seen):
    with TaskFolder(tmp_path / "work") as folder:
        folder.run(tasks.square, [(str(seen), 1)])
        with pytest.raises(SCFError):
            folder.run(tasks.fail, [(str(seen), 1)])
    with TaskFolder(tmp_path / "work") as folder:
        folder.run(tasks.square, [(str(seen), 1)])
    assert count(seen) == 2


@pytest.mark.parametrize("jobs", [1, 2])
def test_errors_come_back_with_their_data(tasks, seen, jobs):
    with TaskFolder(None, jobs=jobs) as folder:
        with pytest.raises(SCFError, match="system 7") as failure:
            folder.run(tasks.fail, [(str(seen), 7)])
        with pytest.raises(BadOptionError, match="no such thing"):
            folder.run(tasks.mistake, [(str(seen),)])
    assert failure.value.log == "the log"


def test_two_processes_give_what_one_gives(tmp_path, tasks, seen):
    arguments = [(str(seen), x) for x in range(6)]
    with TaskFolder(tmp_path / "one", jobs=1) as folder:
        one = folder.run(tasks.square, arguments)
    with TaskFolder(tmp_path / "two", jobs=2) as folder:
        assert folder.run(tasks.square, arguments) == one
        assert folder.run(tasks.identity, [(str(seen),)]) != [os.getpid()]
    assert {p.name for p in (tmp_path / "one").iterdir()} <= {p.name for p in (tmp_path / "two").iterdir()}
    with TaskFolder(tmp_path / "two", jobs=1) as folder:
        assert folder.run(tasks.square, arguments) == one
    assert count(seen) == 12


def test_a_killed_worker_is_a_failed_calculation(tmp_path, tasks, seen):
    with TaskFolder(tmp_path / "work", jobs=2) as folder:
        done = folder.run(tasks.square, [(str(seen), 2)])
        with pytest.raises(CalculationError, match="worker process died"):
            folder.run(tasks.die, [(str(seen),)])
    with TaskFolder(tmp_path / "work") as folder:
        assert folder.run(tasks.square, [(str(seen), 2)]) == done
    assert count(seen) == 1


@pytest.mark.parametrize("jobs", [1, 2])
def test_together_keeps_the_order_and_shares_the_memory(tmp_path, tasks, seen, jobs):
    with TaskFolder(tmp_path / "work", jobs=jobs) as folder:
        calls = [lambda x=x: folder.run(tasks.square, [(str(seen), x), (str(seen), 0)])[0]["value"] for x in range(4)]
        assert folder.together(calls) == [0, 1, 4, 9]
    assert count(seen) == 4


@pytest.mark.parametrize("jobs", [1, 2])
def test_together_raises_the_error_of_a_call(tasks, seen, jobs):
    with TaskFolder(None, jobs=jobs) as folder:
        calls = [lambda: 1, lambda: folder.run(tasks.fail, [(str(seen), 1)])]
        with pytest.raises(SCFError):
            folder.together(calls)


def test_progress_counts_every_task_and_ends_full(tmp_path, tasks, seen):
    said = []
    for _ in range(2):
        with TaskFolder(tmp_path / "work", on_progress=lambda *row: said.append(row)) as folder:
            folder.run(tasks.square, [(str(seen), x) for x in (1, 2, 1)])
        assert said[-1] == (3, 3, "square")
    assert all(done <= known for done, known, _ in said)


def test_time_of_finished_tasks_is_carried_over(tmp_path, tasks, seen):
    with TaskFolder(tmp_path / "work") as folder:
        folder.run(tasks.square, [(str(seen), 1)])
    (record,) = (tmp_path / "work").iterdir()
    head, body = record.read_text().split("\n")[:2]
    record.write_text(json.dumps({**json.loads(head), "seconds": 12.5}) + "\n" + body + "\n")
    with TaskFolder(tmp_path / "work") as folder:
        folder.run(tasks.square, [(str(seen), 1)])
        assert folder.task_seconds == 12.5


def test_jobs_share_the_cores(tasks, seen, monkeypatch):
    from atomflow.flow import tasks as room

    monkeypatch.setattr(room, "available_cores", lambda: 2)
    with TaskFolder(None, jobs=2) as folder:
        assert folder.run(tasks.threads, [(str(seen),)]) == [[1]]
    assert all(os.environ.get(name) != "1" or name in BEFORE for name in room._THREAD_VARIABLES)


BEFORE = dict(os.environ)


def test_no_process_is_left_behind(tasks, seen):
    with TaskFolder(None, jobs=2) as folder:
        (pid,) = folder.run(tasks.identity, [(str(seen),)])
    deadline = time.monotonic() + 10
    while os.path.exists(f"/proc/{pid}") and time.monotonic() < deadline:  # noqa: PTH110
        time.sleep(0.05)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
