"""Graphs of steps: keys before anything runs, fan-out and fan-in, steps of steps, files, failures."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from atomflow.errors import BadFileError, BadOptionError, CalculationError, SCFError, SkippedError, WorkerLostError
from atomflow.flow import Flow, LocalExecutor, Resources, Store, Unfinished, step
from atomflow.model import step_info


def flow_of(store=None, jobs=1, **kwargs):
    return Flow(store, LocalExecutor(jobs) if jobs > 1 else None, **kwargs)


def count(folder):
    return len([p for p in folder.iterdir() if not p.name.startswith("counted")])


@pytest.mark.parametrize("jobs", [1, 2])
def test_fan_out_and_fan_in(tmp_path, steps, seen, jobs):
    with flow_of(Store(tmp_path / "store"), jobs) as flow:
        squares = [flow.submit(steps.square, str(seen), float(x)) for x in range(4)]
        answer = flow.submit(steps.total, str(seen), squares)
        assert answer.result() == 14.0
    assert count(seen) == 5
    with flow_of(Store(tmp_path / "store"), jobs) as flow:
        again = flow.submit(steps.total, str(seen), flow.map(steps.square, [str(seen)] * 4, [0.0, 1.0, 2.0, 3.0]))
        assert (again.key, again.result()) == (answer.key, 14.0)
    assert count(seen) == 5


def test_a_graph_has_keys_before_it_runs(tmp_path, steps, seen):
    """The key of a step whose inputs are not there yet is the one it has when they are."""
    store = Store(tmp_path / "store")
    with ThreadPoolExecutor(1) as pool, Flow(store, pool) as flow:
        slow = flow.submit(steps.waits, str(seen), 0.3, 4.0)
        after = flow.submit(steps.waits, str(seen), 0.0, slow)
        assert not after.done()
        before = after.key
        assert after.result() == 4.0
    with Flow(store) as flow:
        slow = flow.submit(steps.waits, str(seen), 0.3, 4.0)
        assert slow.done() and flow.submit(steps.waits, str(seen), 0.0, slow).key == before
    assert count(seen) == 2


def test_called_this_way_or_that_it_is_the_same_step(steps, seen):
    with Flow() as flow:
        one = flow.submit(steps.waits, str(seen), 0.0)
        two = flow.submit(steps.waits, folder=str(seen), x=0.0, seconds=0.0)
        other = flow.submit(steps.waits, str(seen), 0.0, 1.0)
    assert one.key == two.key != other.key and count(seen) == 2


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_step_made_of_steps(tmp_path, steps, seen, jobs):
    for _ in range(2):
        with flow_of(Store(tmp_path / "store"), jobs) as flow:
            assert flow.submit(steps.many, str(seen), 3).result() == 9.0 + 1.0
    assert count(seen) == 4  # 9, then 0 and 1, then their sum; the second time nothing


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_step_made_of_steps_may_catch_a_failure(tmp_path, steps, seen, jobs):
    with flow_of(Store(tmp_path / "store"), jobs) as flow:
        assert flow.submit(steps.hopes, str(seen)).result() == "system 1.0: 4.0"


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_failing_branch_stops_what_needs_it_and_nothing_else(tmp_path, steps, seen, jobs):
    with flow_of(Store(tmp_path / "store"), jobs) as flow:
        bad = flow.submit(steps.fails, str(seen), 1.0)
        needs_bad = flow.submit(steps.total, str(seen), [bad])
        needs_that = flow.submit(steps.waits, str(seen), 0.0, needs_bad)
        good = flow.submit(steps.total, str(seen), flow.map(steps.square, [str(seen)] * 3, [1.0, 2.0, 3.0]))
        assert good.result() == 14.0
        with pytest.raises(SCFError, match=r"system 1\.0"):
            bad.result()
        for later in (needs_bad, needs_that):
            with pytest.raises(SkippedError, match=r"system 1\.0") as skipped:
                later.result()
            assert isinstance(skipped.value.cause, SCFError)
    store = Store(tmp_path / "store")
    assert len(list(store.entries())) == 4
    (failure,) = store.failures()
    assert failure["step"].endswith("fails") and "what the backend said" in failure["log"]


@pytest.mark.parametrize("jobs", [1, 2])
def test_branches_that_fail_do_not_cost_the_others(tmp_path, steps, seen, jobs):
    def branch(x):
        return lambda: flow.run(steps.fails if x % 2 else steps.square, [(str(seen), float(x))])[0]

    with flow_of(Store(tmp_path / "store"), jobs) as flow:
        done, errors = flow.survivors([branch(x) for x in range(5)])
        assert [s.value for s in done] == [0.0, 4.0, 16.0]
        assert [type(e) for e in errors] == [SCFError, SCFError]
        with pytest.raises(CalculationError, match="2 of 5 branches failed"):
            flow.together([branch(x) for x in range(5)])


def test_files_of_a_step_are_kept_once_and_found_by_content(tmp_path, steps, seen):
    store = Store(tmp_path / "store")
    with Flow(store) as flow:
        made = flow.submit(steps.writes, folder=str(seen), text="hello")
        assert flow.submit(steps.reads, str(seen), made.result()["file"]).result() == "hello"
        entry = store.find(made.step, made.key)
        assert made.result()["file"] == entry.folder.absolute() / "files/deep/kept.txt"
        assert {p.name for p in entry.folder.rglob("*") if p.is_file()} == {
            "entry.json",
            "inputs.json",
            "result.json",
            "kept.txt",
        }
    elsewhere = tmp_path / "copy.txt"
    elsewhere.write_text("hello")
    with Flow(store) as flow:
        assert flow.submit(steps.reads, str(seen), elsewhere).result() == "hello"
        assert count(seen) == 2, "the same content is the same input, wherever it lies"
        elsewhere.write_text("other")
        assert flow.submit(steps.reads, str(seen), elsewhere).result() == "other"
        assert flow.submit(steps.writes, folder=str(seen), text="hello").result()["file"].read_text() == "hello"
    assert count(seen) == 3
    # A bit of the file turns: it is seen, put aside and made again.
    path = made.result()["file"]
    path.write_text("hellp")
    with Flow(store) as flow:
        assert flow.submit(steps.writes, folder=str(seen), text="hello").result()["file"].read_text() == "hello"
    assert store.quarantined and "checksum" in store.quarantined[0][2] and count(seen) == 4


def test_results_name_files_of_the_step_only(tmp_path, steps):
    with Flow(Store(tmp_path / "store")) as flow, pytest.raises(TypeError, match="not in the step's own folder"):
        flow.submit(steps.strays).result()
    assert not list((tmp_path / "store").glob("*/*.part"))


def test_a_step_that_works_in_a_folder_needs_a_store(steps, seen):
    with Flow() as flow, pytest.raises(BadOptionError, match="give the flow a store"):
        flow.submit(steps.writes, folder=str(seen), text="x").result()


def test_a_missing_input_file_is_the_user_s_error(tmp_path, steps, seen):
    with Flow(Store(tmp_path / "store")) as flow, pytest.raises(BadFileError, match="nothing-here"):
        flow.submit(steps.reads, str(seen), tmp_path / "nothing-here")


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_long_step_goes_on_until_it_is_done(tmp_path, steps, seen, jobs):
    with flow_of(Store(tmp_path / "store"), jobs) as flow:
        assert flow.submit(steps.counts, str(seen), 25).result() == {"done": 25}
    assert count(seen) == 3 and len(list(seen.glob("counted-*"))) == 25
    assert not list((tmp_path / "store").glob("*/*.part"))


def test_a_long_step_that_gets_nowhere_fails(tmp_path, steps, seen):
    with Flow(Store(tmp_path / "store")) as flow, pytest.raises(CalculationError, match="without any progress"):
        flow.submit(steps.gets_nowhere, str(seen)).result()
    assert count(seen) == 3


def test_a_worker_that_died_is_replaced_and_its_step_done(tmp_path, steps, seen):
    with flow_of(Store(tmp_path / "store"), 2) as flow:
        others = flow.map(steps.waits, [str(seen / "..")] * 3, [0.1, 0.2, 0.3])
        assert flow.submit(steps.dies_once, str(seen)).result() == "alive"
        assert [f.result() for f in others] == [0.0] * 3
    assert count(seen) == 2


def test_a_worker_that_always_dies_is_given_up(tmp_path, steps, seen, monkeypatch):
    (tmp_path / "fatal_step.py").write_text(
        "import os, signal\nfrom atomflow.flow import step\n"
        "@step(version='1')\ndef die(n: int) -> int:\n    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    import fatal_step

    states = []
    flow = flow_of(Store(tmp_path / "store"), 2, on_change=lambda *row: states.append(row[2]))
    with flow, pytest.raises(WorkerLostError, match=r"-9|Abnormal"):
        flow.submit(fatal_step.die, 1).result()
    assert states.count("running") == 3 and states[-1] == "failed"


def test_out_of_memory_is_tried_once_with_more(tmp_path, steps, seen):
    with flow_of(Store(tmp_path / "store"), 2) as flow:
        assert flow.submit(steps.hungry, str(seen)).result() == "600 MB"
        assert count(seen) == 2
    flow = flow_of(Store(tmp_path / "other"), 2, resources={"hungry": {"memory_GB": 0.1}})
    with flow, pytest.raises(CalculationError, match="ran out of memory twice"):
        flow.submit(steps.hungry, str(seen)).result()


def test_a_failed_science_is_not_tried_again_in_the_same_run(tmp_path, steps, seen):
    with flow_of(Store(tmp_path / "store"), 2) as flow, pytest.raises(SCFError):
        flow.submit(steps.fails, str(seen), 3.0).result()
    assert count(seen) == 1


def test_resources_come_from_the_step_then_from_the_user():
    seen = []

    @step(version="1", resources=lambda n: Resources(cores=n))
    def needs(n: int) -> int:
        return n

    class Spy(ThreadPoolExecutor):
        def submit(self, function, task):
            seen.append(task.resources)
            raise BadOptionError("enough")

    needs.__qualname__ = "needs"
    for changes in ({}, {"needs": {"ranks": 16, "walltime_s": 3600.0}}):
        with Spy(1) as pool, Flow(None, pool, resources=changes) as flow, pytest.raises(BadOptionError):
            flow.submit(needs, 3).result()
    assert (seen[0].cores, seen[0].ranks) == (3, 1)
    assert (seen[1].cores, seen[1].ranks, seen[1].walltime_s) == (3, 16, 3600.0)


def test_a_step_says_what_it_is():
    with pytest.raises(TypeError, match="no type"):

        @step(version="1")
        def untyped(x):
            return x

    with pytest.raises(TypeError, match="needs a parameter 'work'"):

        @step(version="1", checkpoints=True)
        def long(x: int) -> int:
            return x

    with pytest.raises(TypeError, match="cannot be an input"):

        @step(version="1")
        def loose(*x: int) -> int:
            return 1

    @step(version="7")
    def fine(x: int) -> int:
        return x + 1

    assert fine(1) == 2 and step_info(fine).version == "7"
    with Flow() as flow:
        with pytest.raises(TypeError, match="not a step"):
            flow.submit(len, [1])
        with pytest.raises(TypeError, match="missing a required argument"):
            flow.submit(fine)


def test_another_version_is_another_step(tmp_path):
    def made(version):
        @step(version=version)
        def f(x: int) -> str:
            return version

        return f

    with Flow(Store(tmp_path / "store")) as flow:
        assert [flow.submit(made(v), 1).result() for v in ("1", "2")] == ["1", "2"]


def test_a_step_inside_a_function_cannot_go_to_a_process(tmp_path):
    @step(version="1")
    def inside(x: int) -> int:
        return x

    with flow_of(None, 2) as flow, pytest.raises(BadOptionError, match="top of a module"):
        flow.submit(inside, 1).result()


def test_an_unfinished_step_is_plain_data():
    assert Unfinished(0.5).progress == 0.5


def test_the_example_of_the_docstring():
    import doctest

    from atomflow.flow import driver
    from atomflow.model import steps as room

    for module in (driver, room):
        assert doctest.testmod(module).failed == 0 and doctest.testmod(module).attempted >= 2


def test_a_thread_pool_is_an_engine(tmp_path, steps, seen):
    with ThreadPoolExecutor(2) as pool, Flow(Store(tmp_path / "store"), pool) as flow:
        assert flow.submit(steps.many, str(seen), 3).result() == 10.0
    assert Path(seen).is_dir()
