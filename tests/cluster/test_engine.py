"""Steps as jobs of a real Slurm: their own resources, the same numbers, and whatever may happen to them."""

import json
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from atomflow.errors import BadOptionError, CalculationError, SubmissionError, WorkerLostError
from atomflow.flow import Flow, Store
from atomflow.flow.batch import Cluster
from atomflow.flow.slurm import SlurmExecutor

pytestmark = pytest.mark.slow
STEPS = Path(__file__).parents[1] / "flow"
HERE = Cluster("here", account="membranes", partition="debug", cores=2, memory_GB=1, walltime="00:05:00")


@pytest.fixture
def steps(slurm, tmp_path, monkeypatch):
    """The steps, importable here and in jobs; the environment of the cluster."""
    for name in ("SLURM_CONF",):
        monkeypatch.setenv(name, slurm[name])
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("PYTHONPATH", f"{STEPS}:{Path(__file__).parents[2]}")
    monkeypatch.syspath_prepend(str(STEPS))
    monkeypatch.chdir(tmp_path)
    import steps_for_tests

    yield steps_for_tests
    subprocess.run(["scancel", "-u", "root"], check=False)
    wait(lambda: not queue())


def count(folder):
    return len([p for p in folder.iterdir() if not p.name.startswith("counted")])


def queue(form="%i|%j|%a|%C|%m|%l|%T"):
    done = subprocess.run(["squeue", "-h", "-o", form], capture_output=True, text=True, check=True)
    return [line.split("|") for line in done.stdout.split()]


def wait(condition, seconds=120):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.1)


def on_slurm(store, cluster=HERE, **kwargs):
    return Flow(store, SlurmExecutor(cluster, store, kwargs.pop("max_jobs", 50)), launcher=cluster.launcher, **kwargs)


class Watch:
    """What the queue showed while a block ran."""

    def __enter__(self):
        self.rows, self.most, self._over = set(), 0, threading.Event()
        self._thread = threading.Thread(target=self._look)
        self._thread.start()
        return self

    def _look(self):
        while not self._over.wait(0.1):
            now = queue()
            # A job that is COMPLETING has given its result: Slurm only tidies up.
            self.most = max(self.most, sum(row[6] != "COMPLETING" for row in now))
            self.rows |= {tuple(row[1:6]) for row in now}

    def __exit__(self, *_):
        self._over.set()
        self._thread.join()


def test_steps_are_jobs_with_their_own_resources(tmp_path, steps, seen):
    store = Store(tmp_path / "store")
    asked = {"waits": {"cores": 2, "memory_GB": 0.5, "walltime_s": 120.0}}
    with Watch() as watch, on_slurm(store, resources=asked) as flow:
        slow = flow.submit(steps.waits, str(seen), 1.5, 3.0)
        other = flow.submit(steps.counts, str(seen), 3, wait_s=0.3)
        after = flow.submit(steps.total, str(seen), flow.map(steps.square, [str(seen)] * 2, [1.0, slow]))
        assert after.result() == 10.0 and other.result() == {"done": 3}
    assert ("waits", "membranes", "2", "512M", "2:00") in watch.rows
    assert any(row[0] == "counts" and row[2] == "1" and row[4] == "5:00" for row in watch.rows)
    assert count(seen) == 5
    with on_slurm(store) as flow:
        assert flow.submit(steps.waits, str(seen), 1.5, 3.0).done()
    assert count(seen) == 5 and not list((tmp_path / "store/.transit").iterdir())


def test_short_steps_share_a_job(tmp_path, steps, seen):
    store = Store(tmp_path / "store")
    with Watch() as watch, on_slurm(store) as flow:
        squares = flow.map(steps.square, [str(seen)] * 12, [float(x) for x in range(12)])
        assert [s.result().value for s in squares] == [float(x * x) for x in range(12)]
    assert {row[0] for row in watch.rows} <= {"square-x12"} and count(seen) == 12


def test_no_more_jobs_than_allowed(tmp_path, steps, seen):
    store = Store(tmp_path / "store")
    with Watch() as watch, on_slurm(store, max_jobs=2) as flow:
        for future in flow.map(steps.waits, [str(seen)] * 5, [0.1, 0.2, 0.3, 0.4, 0.5]):
            future.result()
    assert 1 <= watch.most <= 2 and count(seen) == 5


def test_a_failing_step_is_data_and_not_replayed(tmp_path, steps, seen):
    store = Store(tmp_path / "store")
    for number in (1, 2):
        with on_slurm(store) as flow:
            bad = flow.submit(steps.fails, str(seen), 1.0)
            good = flow.submit(steps.square, str(seen), 2.0)
            assert good.result().value == 4.0
            with pytest.raises(CalculationError, match="system"):
                bad.result()
        assert count(seen) == 1 + number
    assert "what the backend said" in store.failures()[0]["log"]


def test_a_refused_job_says_why(tmp_path, steps, seen):
    store = Store(tmp_path / "store")
    flow = on_slurm(store, Cluster("here", partition="nowhere"))
    with flow, pytest.raises(SubmissionError, match="invalid partition"):
        flow.submit(steps.waits, str(seen), 0.1).result()
    with on_slurm(store) as flow:
        assert flow.submit(steps.waits, str(seen), 0.1).result() == 0.0


def test_two_ranks_in_their_own_job(tmp_path, steps, seen):
    store = Store(tmp_path / "store")
    cluster = Cluster("here", account="membranes", partition="debug", launcher=launcher())
    with Watch() as watch, on_slurm(store, cluster) as flow:
        result = flow.submit(steps.two_ranks, folder=str(seen), ranks=2).result()
    log = result["log"].read_text()
    assert "on 2 procs for 20 steps" in log and re.search(r"\d by \d by \d MPI processor grid", log)
    assert any(row[0] == "two_ranks" and row[2] == "2" for row in watch.rows)


def launcher():
    """MPICH of the same environment; on one node it starts its ranks itself."""
    return ("env", "HYDRA_LAUNCHER=fork", str(Path(sys.executable).with_name("mpirun")), "-n", "{ranks}")


def test_two_ranks_inside_an_allocation(tmp_path, steps, seen):
    program = tmp_path / "driver.py"
    program.write_text(
        "import sys\nfrom atomflow.flow import Flow, Store\nfrom atomflow.flow.allocation import AllocationExecutor\n"
        "import steps_for_tests as steps\n"
        "if __name__ == '__main__':\n"
        "    with Flow(Store('store'), AllocationExecutor(), launcher=tuple(sys.argv[2:])) as flow:\n"
        "        squares = flow.map(steps.square, [sys.argv[1]] * 3, [1.0, 2.0, 3.0])\n"
        "        print(flow.submit(steps.total, sys.argv[1], squares).result())\n"
        "        print(flow.submit(steps.two_ranks, folder=sys.argv[1], ranks=2).result()['log'].read_text())\n"
    )
    words = [sys.executable, str(program), str(seen), *launcher()]
    done = subprocess.run(["salloc", "-n", "2", "-Q", *words], capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("14.0\n") and "on 2 procs for 20 steps" in done.stdout
    assert count(seen) == 5


@pytest.mark.parametrize(("text", "cores"), [("2", 2), ("72(x2),36", 180), ("", 1)])
def test_cores_of_an_allocation(text, cores):
    from atomflow.flow.allocation import _cores_of

    assert _cores_of(text) == cores


def test_outside_an_allocation_its_engine_is_the_user_s_mistake(steps, monkeypatch):
    from atomflow.flow.allocation import AllocationExecutor

    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    with pytest.raises(BadOptionError, match="inside a job"):
        AllocationExecutor()


# --- killed ------------------------------------------------------------------------------------------------------------


def driver(tmp_path, body):
    program = tmp_path / "driver.py"
    program.write_text(
        "import sys\nfrom atomflow.flow import Flow, Store\nfrom atomflow.flow.batch import Cluster\n"
        "from atomflow.flow.slurm import SlurmExecutor\nimport steps_for_tests as steps\n"
        "if __name__ == '__main__':\n"
        "    store, seen = Store('store'), sys.argv[1]\n"
        "    cluster = Cluster('here', partition='debug', cores=2, walltime='00:05:00')\n"
        "    with Flow(store, SlurmExecutor(cluster, store)) as flow:\n        " + body + "\n"
    )
    return [sys.executable, str(program), str(tmp_path / "seen")]


def test_a_killed_driver_finds_its_jobs_again(tmp_path, steps, seen):
    words = driver(tmp_path, "print([f.result() for f in flow.map(steps.waits, [seen] * 3, [4.0, 4.1, 4.2])])")
    first = subprocess.Popen(words)
    wait(lambda: len(queue()) == 3 and count(seen) >= 1)
    first.kill()
    first.wait()
    jobs = {row[0] for row in queue()}
    assert len(jobs) == 3, "jobs outlive their driver"
    with Watch():
        second = subprocess.run(words, capture_output=True, text=True, timeout=120)
    assert second.stdout == "[0.0, 0.0, 0.0]\n", second.stderr
    assert count(seen) == 3, "no step was submitted twice"
    assert not list((tmp_path / "store/.transit").iterdir())


def test_a_killed_driver_of_short_steps_finds_their_job_again(tmp_path, steps, seen):
    body = "print(sum(f.result() for f in [flow.submit(steps.waits, seen, 1.0 + i / 10) for i in range(8)]))"
    words = driver(tmp_path, body)
    text = (
        Path(words[1])
        .read_text()
        .replace(
            "SlurmExecutor(cluster, store))", "SlurmExecutor(cluster, store), resources={'waits': {'estimate_s': 1.0}})"
        )
    )
    Path(words[1]).write_text(text)
    first = subprocess.Popen(words)
    wait(lambda: count(seen) >= 3)
    first.kill()
    first.wait()
    second = subprocess.run(words, capture_output=True, text=True, timeout=120)
    assert second.stdout == "0.0\n", second.stderr
    assert count(seen) == 8


def test_a_cancelled_job_is_started_again(tmp_path, steps, seen):
    store = Store(tmp_path / "store")
    with on_slurm(store) as flow:
        future = flow.submit(steps.waits, str(seen), 3.0, 5.0)
        wait(lambda: count(seen) == 1)
        subprocess.run(["scancel", queue()[0][0]], check=True)
        assert future.result(timeout=120) == 5.0
    assert count(seen) == 2


def test_a_killed_process_of_a_job_is_started_again(tmp_path, steps, seen):
    store = Store(tmp_path / "store")
    with on_slurm(store) as flow:
        assert flow.submit(steps.dies_once, str(seen)).result(timeout=180) == "alive"
    assert count(seen) == 2


def test_past_its_walltime_a_step_says_so_and_more_time_helps(tmp_path, steps, seen):
    store = Store(tmp_path / "store")
    with on_slurm(store, resources={"waits": {"walltime_s": 2.0}}) as flow:
        quick = flow.submit(steps.square, str(seen), 3.0)
        with pytest.raises(WorkerLostError, match=r"TIMEOUT; give it longer with --resources"):
            flow.submit(steps.waits, str(seen), 100.0).result(timeout=240)
        assert quick.result().value == 9.0
    with on_slurm(store, resources={"waits": {"walltime_s": 120.0}}) as flow:
        assert flow.submit(steps.square, str(seen), 3.0).done()
        assert flow.submit(steps.waits, str(seen), 0.5).result() == 0.0
    assert count(seen) == 3


def test_a_long_step_stops_before_its_walltime_and_goes_on(tmp_path, steps, seen):
    store = Store(tmp_path / "store")
    with on_slurm(store, resources={"counts": {"walltime_s": 16.0}}) as flow:
        assert flow.submit(steps.counts, str(seen), 30, wait_s=0.5).result(timeout=300) == {"done": 30}
    assert count(seen) >= 2, "it was stopped at least once"
    assert len(list(seen.glob("counted-*"))) == 30, "nothing was counted twice"


def test_a_killed_long_step_loses_only_what_came_after_its_checkpoint(tmp_path, steps, seen):
    store = Store(tmp_path / "store")
    with on_slurm(store) as flow:
        future = flow.submit(steps.counts, str(seen), 20, wait_s=0.2)
        wait(lambda: len(list(seen.glob("counted-*"))) >= 8)
        subprocess.run(["scancel", "-s", "KILL", "-b", queue()[0][0]], check=False)
        subprocess.run(["scancel", queue()[0][0]], check=False)
        assert future.result(timeout=180) == {"done": 20}
    assert len(list(seen.glob("counted-*"))) <= 21


# --- the command -------------------------------------------------------------------------------------------------------


def test_the_study_gives_the_same_numbers_as_jobs(tmp_path, steps, monkeypatch):
    pytest.importorskip("tblite")
    (tmp_path / "clusters.yaml").write_text(
        'here:\n  account: membranes\n  partition: debug\n  cores: 2\n  walltime: "00:10:00"\n'
    )
    monkeypatch.setenv("ATOMFLOW_CLUSTERS", str(tmp_path / "clusters.yaml"))
    study = ["run", "cation-anchor", "--calculator", "xtb", "--ions", "Li+", "--ions", "Na+", "--quiet"]
    found = {}
    with Watch() as watch:
        for engine in ("local", "slurm"):
            words = [sys.executable, "-m", "atomflow", *study, "--engine", engine]
            more = ["--store", f"store-{engine}", "--out", engine]
            if engine == "slurm":
                more += ["--resources", "relax:cores=2,memory=700MB,walltime=7m"]
            done = subprocess.run([*words, *more], capture_output=True, text=True, timeout=300)
            assert done.returncode == 0, done.stderr
            rows = json.loads((tmp_path / engine / "result.json").read_text())["results"]["binding"]
            found[engine] = {row["ion"]: row["binding_energy_eV"] for row in rows}
    assert found["slurm"] == pytest.approx(found["local"], abs=1e-6)
    assert found["slurm"]["Li+"] == pytest.approx(-2.909, abs=0.002)
    relax = [row for row in watch.rows if row[0].startswith("relax")]
    assert relax and all(row[1] == "membranes" and row[2] == "2" for row in relax)
    entries = [{p.parent.name for p in Path(f"store-{e}").glob("*/*/entry.json")} for e in found]
    assert entries[0] == entries[1], "the same keys, wherever it ran"


def test_two_drivers_of_one_store(tmp_path, steps, seen):
    words = driver(tmp_path, "print([f.result() for f in flow.map(steps.waits, [seen] * 2, [1.0, 1.5])])")
    both = [subprocess.Popen(words, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert [p.communicate(timeout=180)[0] for p in both] == ["[0.0, 0.0]\n"] * 2
    store = Store(tmp_path / "store")
    assert len(list(store.entries())) == 2 and not store.quarantined and not store.unfinished()


def test_a_store_with_an_odd_path_is_refused_before_anything_is_submitted(tmp_path, steps):
    with pytest.raises(BadOptionError, match="plain letters"):
        SlurmExecutor(HERE, Store(tmp_path / "my store; rm -rf"))
    with pytest.raises(BadOptionError, match="slurm only"):
        SlurmExecutor(Cluster("p", scheduler="pbs"), Store(tmp_path / "store"))


def test_a_prologue_reaches_the_job_as_it_is(tmp_path, steps, seen):
    store = Store(tmp_path / "store")
    line = f"echo '{{{{ jinja }}}} {{% raw %}} {{# no #}}' > {tmp_path}/prologue.txt"
    with on_slurm(store, Cluster("here", partition="debug", prologue=(line,))) as flow:
        flow.submit(steps.waits, str(seen), 0.1).result()
    assert (tmp_path / "prologue.txt").read_text() == "{{ jinja }} {% raw %} {# no #}\n"


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_driver_leaves_no_jobs_when_asked_to_stop(tmp_path, steps, seen, how):
    words = driver(tmp_path, "print([f.result() for f in flow.map(steps.waits, [seen] * 2, [60.0, 61.0])])")
    running = subprocess.Popen(words, stderr=subprocess.DEVNULL)
    wait(lambda: count(seen) >= 1)
    running.send_signal(how)
    running.wait(60)
    if how == signal.SIGINT:
        wait(lambda: not queue())
    else:
        assert queue(), "a driver that is killed cannot cancel anything; its jobs go on"
