"""What a reviewer broke once: inputs that change, races of two drivers, stops at the wrong moment."""

import json
import os
import re
import shutil
import threading
import time
from concurrent.futures import CancelledError, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.lj import LennardJones

from atomflow.errors import BadOptionError, StoreError
from atomflow.flow import Flow, LocalExecutor, Resources, Store, parts, step
from atomflow.flow.batch import Cluster
from atomflow.flow.slurm import form_jobs
from atomflow.flow.store import Store as StoreClass
from atomflow.flow.work import Task, carry_out
from atomflow.model import dumps


def count(folder):
    return len(list(folder.iterdir()))


def test_a_step_cannot_spoil_what_others_are_given(tmp_path, steps, seen):
    for _ in range(2):
        with Flow(Store(tmp_path / "store")) as flow:
            values = flow.submit(steps.numbers, str(seen), 3)
            assert flow.submit(steps.spoils, str(seen), values).result() == 102.0
            assert values.result() == [0, 1, 2]
            values.result().append(1000)
            assert flow.submit(steps.adds, str(seen), values).result() == 3
    assert count(seen) == 3


def test_inputs_are_what_they_were_when_they_were_handed_over(tmp_path, steps, seen):
    values, sums = [0.0], []
    with ThreadPoolExecutor(1) as pool, Flow(Store(tmp_path / "store"), pool) as flow:
        slow = flow.submit(steps.waits, str(seen), 0.3, 0.5)
        for number in range(3):
            values[0] = float(number)
            sums.append(flow.submit(steps.adds, str(seen), values, slow))
        assert [f.result() for f in sums] == [0.5, 1.5, 2.5]


def test_an_entry_that_appears_while_it_is_looked_for_is_not_put_aside(tmp_path, monkeypatch):
    store, key = Store(tmp_path / "store"), "1" * 64
    read = Path.read_text

    def late(path, *args, **kwargs):
        if path.name == "entry.json" and not path.exists():
            monkeypatch.setattr(Path, "read_text", read)
            Store(store.folder).add("a.b", key, [], {"value": 1}, 0.0, "1")
            raise FileNotFoundError(path)
        return read(path, *args, **kwargs)

    monkeypatch.setattr(Path, "read_text", late)
    assert store.get("a.b", key)[1] == {"value": 1} and not store.quarantined


def test_what_this_process_does_not_know_is_left_alone(tmp_path):
    store, key = Store(tmp_path / "store"), "1" * 64
    entry = store.add("a.b", key, [], {"value": 1}, 0.0, "1")
    body = b'{"$type": "atomflow.of-the-future/9", "x": 1}\n'
    (entry.folder / "result.json").write_bytes(body)
    about = json.loads((entry.folder / "entry.json").read_text())
    import hashlib

    about["files"]["result.json"] = {"bytes": len(body), "sha256": hashlib.sha256(body).hexdigest()}
    (entry.folder / "entry.json").write_text(json.dumps(about))
    assert store.get("a.b", key) is None and not store.quarantined and entry.folder.exists()


def test_a_file_that_cannot_be_read_now_is_not_damage(tmp_path, monkeypatch):
    store, key = Store(tmp_path / "store"), "1" * 64
    store.add("a.b", key, [], {"value": 1}, 0.0, "1")
    monkeypatch.setattr(Path, "read_bytes", lambda path: (_ for _ in ()).throw(OSError(24, "Too many open files")))
    with pytest.raises(StoreError, match="Too many open files"):
        store.get("a.b", key)
    monkeypatch.undo()
    assert store.get("a.b", key)[1] == {"value": 1}


def test_a_worker_knows_the_types_of_what_it_finds(tmp_path, steps, seen):
    """In a process that has imported nothing but what carries tasks out."""
    import subprocess
    import sys

    store = Store(tmp_path / "store")
    with Flow(store) as flow:
        done = flow.submit(steps.square, str(seen), 3.0)
    task = Task(done.step, done.key, "1", "steps_for_tests:square", "{}", "{}", str(store.folder))
    script = (
        "import sys, pickle\nfrom atomflow.flow.work import Task, carry_out\n"
        f"print(carry_out(Task({', '.join(map(repr, (task.step, task.key, '1', task.function, '{}', '{}', task.store)))})).state)"
    )
    environment = {**os.environ, "PYTHONPATH": f"{Path(__file__).parent}:{Path(__file__).parents[2]}"}
    said = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True)
    assert said.stdout == "found\n", said.stderr
    assert carry_out(task).state == "found" and not store.put_aside() and count(seen) == 1


def test_a_stopped_step_of_steps_keeps_nothing(tmp_path, steps, seen):
    store = Store(tmp_path / "store")
    flow = Flow(store, LocalExecutor(2))
    future = flow.submit(steps.robust, str(seen))
    while not count(seen):
        time.sleep(0.05)
    flow.stop()
    flow.close()
    with pytest.raises(CancelledError):
        future.result(timeout=10)
    assert not list(store.entries()) and not store.failures()


def test_clean_leaves_what_somebody_works_in(tmp_path, monkeypatch, capsys):
    from atomflow.cli import main

    store = Store(tmp_path / "store")
    alive, dead = (store.begin("a.b", digit * 64, goes_on=True) for digit in "12")
    dead.rest()
    old = time.time() - 7200
    for part in (alive, dead):
        for path in (part.folder, *part.folder.rglob("*")):
            os.utime(path, (old, old))
    alive._beat(7)
    main(["clean", "--unfinished", "--yes", "--store", str(store.folder)])
    assert alive.folder.exists() and not dead.folder.exists()
    alive.discard()


def test_the_latest_checkpoint_is_taken_up_wherever_it_was_left(tmp_path, monkeypatch):
    monkeypatch.setattr(parts, "DEAD_S", 1.0)
    place = tmp_path / "step" / ("1" * 64)
    first, second = parts.take_part(place), parts.take_part(place)
    assert first.folder != second.folder, "one worker, one folder"
    (second.files / "far").write_text("90")
    second.rest()
    (first.files / "near").write_text("10")
    os.utime(first.files / "near", (1, 1))
    first.rest()
    for path in (first.folder, first.files, first.folder / "owner.json"):
        os.utime(path, (1, 1))
    third = parts.take_part(place)
    assert (third.files / "far").read_text() == "90"
    # Its node is gone: no heartbeat any more, from a host that is not this one.
    about = json.loads((third.folder / "owner.json").read_text())
    third._over.set()
    (third.folder / "owner.json").write_text(json.dumps({**about, "host": "elsewhere"}))
    fourth = parts.take_part(place)
    assert (fourth.files / "far").read_text() == "90" and not third.folder.exists()
    # Its node is alive: it keeps counting.
    fourth._over.set()
    (fourth.folder / "owner.json").write_text(json.dumps({**about, "host": "elsewhere", "beat": 1}))
    counting = threading.Timer(
        0.3, lambda: (fourth.folder / "owner.json").write_text(json.dumps({**about, "host": "elsewhere", "beat": 2}))
    )
    counting.start()
    fifth = parts.take_part(place)
    assert not (fifth.files / "far").exists() and (fourth.files / "far").exists()
    fifth.discard()


def test_a_full_disk_at_the_end_costs_no_checkpoint(tmp_path, steps, seen, monkeypatch):
    store = Store(tmp_path / "store")
    sync = StoreClass.add.__globals__["_sync"]

    def full(path):
        if ".part" in str(path.parent):
            raise OSError(28, "No space left on device")
        sync(path)

    monkeypatch.setitem(StoreClass.add.__globals__, "_sync", full)
    with Flow(store) as flow, pytest.raises(StoreError, match="No space left"):
        flow.submit(steps.counts, str(seen), 8).result()
    assert len(store.unfinished()) == 1
    monkeypatch.setitem(StoreClass.add.__globals__, "_sync", sync)
    with Flow(store) as flow:
        assert flow.submit(steps.counts, str(seen), 8).result() == {"done": 8}
    assert len(list(seen.glob("counted-*"))) == 8, "nothing was counted again"


def test_losses_are_counted_apart_from_returns(tmp_path, steps, seen):
    """A long step has come back three times; then its worker is lost, and it still goes on."""
    store = Store(tmp_path / "store")

    class Loses(ThreadPoolExecutor):
        calls = 0

        def submit(self, function, *args):
            Loses.calls += 1
            if Loses.calls == 4:
                function, args = _lost, ()
            return super().submit(function, *args)

    with Loses(1) as pool, Flow(store, pool) as flow:
        assert flow.submit(steps.counts, str(seen), 45).result() == {"done": 45}
    assert Loses.calls == 6


def _lost():
    raise RuntimeError("the node is gone")


def test_what_cannot_be_told_apart_is_not_kept(tmp_path):
    @step(version="1")
    def energy(atoms: Atoms) -> float:
        return float(atoms.get_potential_energy())

    def factory(factor):
        @step(version="1")
        def times(x: float) -> float:
            return factor * x

        return times

    with Flow(Store(tmp_path / "store")) as flow:
        found = []
        for epsilon in (1.0, 5.0):
            pair = Atoms("Ar2", [[0, 0, 0], [0, 0, 1.2]])
            pair.calc = LennardJones(epsilon=epsilon)
            found.append(flow.submit(energy, pair).result())
        assert found[1] == pytest.approx(5 * found[0])
        assert [flow.submit(factory(f), 1.0).result() for f in (2.0, 3.0)] == [2.0, 3.0]
    assert not list(Store(tmp_path / "store").entries())
    with pytest.raises(TypeError, match="mask"):
        dumps(np.ma.masked_array([1, 2], [0, 1]))


def test_a_script_of_any_name_has_a_step_name_that_a_store_takes():
    from atomflow.flow import keys

    def f(x: int) -> int:
        return x

    f.__module__ = "01-my script"
    assert re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", keys.step_name(f))


def test_shared_jobs_get_what_their_steps_ask_for():
    cluster = Cluster("c", cores=16, memory_GB=32, walltime="00:20:00")
    needs = Resources(memory_GB=8, walltime_s=86400.0, estimate_s=5.0)
    tasks = [Task("a.b", f"{n:064x}", "1", "m:f", "{}", "{}", None, needs) for n in range(16)]
    ((group, asked),) = form_jobs(tasks, cluster)
    assert len(group) == 16 and (asked.cores, asked.memory_GB, asked.walltime_s) == (4, 32, 86400.0)
    ((_, asked),) = form_jobs([Task(**{**vars(t), "resources": Resources(estimate_s=5.0)}) for t in tasks], cluster)
    assert (asked.cores, asked.memory_GB, asked.walltime_s) == (16, 32, 1200)


def test_a_step_of_steps_remembers_what_it_is_made_of(tmp_path, steps, seen):
    store = Store(tmp_path / "store")
    for _ in range(2):
        with Flow(store) as flow:
            future = flow.submit(steps.picks, str(seen))
            assert future.result().read_text() == "hello"
            assert len(flow.used) == 2
    assert len(store.find(future.step, future.key).made_of) == 1 and count(seen) == 1


def test_a_result_cannot_name_files_elsewhere(tmp_path, steps, seen):
    store = Store(tmp_path / "store")
    with Flow(store) as flow:
        made = flow.submit(steps.writes, folder=str(seen), text="x")
    entry = store.find(made.step, made.key)
    import hashlib

    for node in (
        {"$type": "file", "name": "../../../../etc/passwd"},
        {"$type": "kept-file", "place": f"a.b/{'1' * 64}/files/../../../../etc/passwd"},
        {"$type": "kept-file", "place": "/etc/passwd"},
    ):
        body = json.dumps(node).encode()
        (entry.folder / "result.json").write_bytes(body)
        about = json.loads((entry.folder / "entry.json").read_text())
        about["files"]["result.json"] = {"bytes": len(body), "sha256": hashlib.sha256(body).hexdigest()}
        (entry.folder / "entry.json").write_text(json.dumps(about))
        assert store.get(made.step, made.key) is None


def test_relative_files_reach_processes_that_work_elsewhere(tmp_path, steps, seen, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("input.txt").write_text("hello")
    with Flow(Store("store"), ThreadPoolExecutor(1, initializer=os.chdir, initargs=("/",))) as flow:
        future = flow.submit(steps.reads, str(seen), Path("input.txt"))
        assert future.result() == "hello"


def test_the_end_waits_for_steps_without_keys(steps, seen):
    with Flow(None, LocalExecutor(2)) as flow:
        first = flow.submit(steps.adds, str(seen), [LennardJones()], 1.0)
        second = flow.submit(steps.adds, str(seen), [first])
    assert first.done() and second.done() and not second.key


def test_a_user_s_error_does_not_wait_for_other_branches(tmp_path, steps, seen):
    def mistake():
        raise BadOptionError("no")

    began = time.monotonic()
    flow = Flow(Store(tmp_path / "store"), LocalExecutor(2))
    with pytest.raises(BadOptionError), flow:
        flow.together([lambda: flow.run(steps.waits, [(str(seen), 60.0)]), mistake])
    assert time.monotonic() - began < 30
    shutil.rmtree(tmp_path / "store", ignore_errors=True)
