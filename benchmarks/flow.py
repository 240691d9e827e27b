"""What a step costs, beside the engines of the field, in one run on the same trivial steps.

    python benchmarks/flow.py --out benchmarks/flow.json

Needs ``pip install jobflow parsl 'atomflow[slurm]'``. Every system runs the same function on the same numbers and keeps
its results on disk in its own way; what "kept" means differs and is said in the result. Wall times: run it on an idle
machine. A second part makes 10,000 finished steps and times a run that finds them all, and ``atomflow status``.
"""

import argparse
import contextlib
import json
import logging
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
from atomflow.flow import Flow, LocalExecutor, Store, step


@step(version="1")
def add_one(x: float) -> dict:
    return {"value": x + 1.0}


def plain(x):
    return {"value": x + 1.0}


def ours(numbers, folder, jobs):
    with Flow(Store(folder / "store"), LocalExecutor(jobs) if jobs > 1 else None) as flow:
        flow.run(add_one, [(-1.0 - k,) for k in range(jobs)])  # brings the processes up; nobody's are counted
        began = time.perf_counter()
        results = flow.run(add_one, [(x,) for x in numbers])
        return time.perf_counter() - began, [row["value"] for row in results]


def jobflow(numbers, folder):
    from jobflow import Flow as TheirFlow
    from jobflow import JobStore, job, run_locally
    from maggma.stores import JSONStore

    store = JobStore(JSONStore(str(folder / "jobflow.json"), read_only=False))
    jobs = [job(plain)(x) for x in numbers]
    began = time.perf_counter()
    done = run_locally(TheirFlow(jobs), store=store, log=False)
    results = [done[each.uuid][1].output["value"] for each in jobs]
    return time.perf_counter() - began, results


def executorlib(numbers, folder):
    from executorlib import SingleNodeExecutor

    with SingleNodeExecutor(max_workers=2, cache_directory=str(folder / "cache"), block_allocation=True) as pool:
        [pool.submit(plain, -1.0 - k).result() for k in range(2)]
        began = time.perf_counter()
        futures = [pool.submit(plain, x) for x in numbers]
        results = [future.result()["value"] for future in futures]
        return time.perf_counter() - began, results


def parsl(numbers, folder):
    import parsl as library
    from parsl.concurrent import ParslPoolExecutor
    from parsl.config import Config
    from parsl.dataflow.memoization import BasicMemoizer
    from parsl.executors import HighThroughputExecutor
    from parsl.providers import LocalProvider

    os.environ["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    workers = HighThroughputExecutor(
        max_workers_per_node=2,
        address="127.0.0.1",
        encrypted=False,
        provider=LocalProvider(init_blocks=1, max_blocks=1),
    )
    config = Config(
        executors=[workers],
        memoizer=BasicMemoizer(checkpoint_mode="task_exit"),
        run_dir=str(folder / "runinfo"),
        usage_tracking=0,
    )
    with ParslPoolExecutor(config=config) as pool:
        [pool.submit(plain, -1.0 - k).result() for k in range(2)]
        began = time.perf_counter()
        futures = [pool.submit(plain, x) for x in numbers]
        results = [future.result()["value"] for future in futures]
        seconds = time.perf_counter() - began
    library.clear()
    return seconds, results


SYSTEMS = {
    "atomflow in process": (lambda n, f: ours(n, f, 1), "inputs, result and checksums, on the disk (fsync)"),
    "atomflow, 2 processes": (lambda n, f: ours(n, f, 2), "inputs, result and checksums, on the disk (fsync)"),
    "jobflow run_locally": (jobflow, "one JSON file, rewritten"),
    "executorlib, 2 processes": (executorlib, "cloudpickle in HDF5, no fsync"),
    "parsl, 2 processes": (parsl, "checkpoint of pickles, no fsync"),
}


def new_steps(count, repeat):
    rows = {}
    for name, (run, kept) in SYSTEMS.items():
        seconds = []
        for _ in range(repeat):
            with tempfile.TemporaryDirectory(dir=".") as folder, contextlib.chdir(folder):
                numbers = [float(n) for n in range(count)]
                try:
                    took, results = run(numbers, Path(folder).resolve() if Path(folder).is_absolute() else Path.cwd())
                except ImportError as error:
                    seconds = str(error)
                    break
                assert results == [x + 1.0 for x in numbers], name
                seconds.append(1000 * took / count)
        told = seconds if isinstance(seconds, str) else {"median_ms": statistics.median(seconds), "all_ms": seconds}
        rows[name] = {"kept": kept, "ms_per_step": told}
        print(f"{name:26} {told if isinstance(told, str) else round(told['median_ms'], 2)} ms a step; {kept}")
    return rows


def many_finished(count):
    with tempfile.TemporaryDirectory(dir=".") as folder:
        store = Store(Path(folder) / "store")
        numbers = [(float(n),) for n in range(count)]
        times = {}
        for name in ("made", "found"):
            began = time.perf_counter()
            with Flow(store) as flow:
                results = flow.run(add_one, numbers)
            times[f"{name}_s"] = time.perf_counter() - began
            assert results[-1]["value"] == count
        for name, words in (("status_s", ["status"]), ("version_s", ["--version"])):
            began = time.perf_counter()
            command = [sys.executable, "-m", "atomflow", *words]
            command += ["--store", str(store.folder)] if words == ["status"] else []
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            times[name] = time.perf_counter() - began
    print(f"{count} finished steps:", {name: round(value, 2) for name, value in times.items()})
    return {"steps": count, **times}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--finished", type=int, default=10_000)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    logging.disable(logging.INFO)
    load = os.getloadavg()
    result = {
        "load_before": load,
        "cores": os.cpu_count(),
        "new_steps": new_steps(options.steps, options.repeat),
        "finished_steps": many_finished(options.finished),
    }
    if options.out:
        options.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
