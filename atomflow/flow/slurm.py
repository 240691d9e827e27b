"""Steps as jobs of Slurm: executorlib carries them, the store keeps them.

A step that says it is short shares a job with others like it. A job that is in the queue, or running, when its driver
is killed is found again by the next driver, which waits for it instead of submitting another.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from atomflow.errors import BadOptionError, SubmissionError, WorkerLostError
from atomflow.flow.allocation import executorlib
from atomflow.flow.batch import Cluster, job_script, seconds_of
from atomflow.flow.keys import resolve
from atomflow.flow.local import LocalExecutor
from atomflow.flow.store import Store
from atomflow.flow.work import Outcome, Task, carry_out
from atomflow.model import Resources, content_key, dumps, step_info, write_atomically

#: Steps that say they take less than this share jobs; a job of theirs is filled up to as much.
SHORT_S = 600.0
#: How long the driver waits for more short steps before it submits what it has.
_SETTLE_S = 0.5
_LOOK_S = 2.0
_PLAIN = re.compile(r"[A-Za-z0-9_.:/@+=,-]+")


@dataclass
class _Job:
    """One job of the batch system: a task, or several short ones."""

    tasks: list[Task]
    needs: Resources
    left: bool = False
    futures: dict[str, Future[Any]] = field(default_factory=dict)

    @property
    def key(self) -> str:
        return content_key([[task.key, task.attempt] for task in sorted(self.tasks, key=lambda t: t.key)])[:32]

    @property
    def name(self) -> str:
        step = self.tasks[0].step.rsplit(".", 1)[-1]
        return step if len(self.tasks) == 1 else f"{step}-x{len(self.tasks)}"


def carry_out_all(tasks: list[Task], jobs: int) -> list[Outcome]:
    """What a job does: its tasks, on ``jobs`` processes; each is in the store as soon as it is finished."""
    if jobs == 1 or len(tasks) == 1:
        return [carry_out(task) for task in tasks]
    with LocalExecutor(jobs) as pool:
        futures = [pool.submit(carry_out, task) for task in tasks]
        return [_outcome(future) for future in futures]


def _outcome(future: Future[Any]) -> Outcome:
    error = future.exception()
    if error is None:
        outcome: Outcome = future.result()
        return outcome
    return Outcome("failed", error=WorkerLostError("a short step", str(error)))


def form_jobs(waiting: Sequence[Task], cluster: Cluster) -> list[tuple[list[Task], Resources]]:
    """Which tasks share jobs, and what each job asks for."""
    jobs, short = [], []
    for task in waiting:
        is_short = task.resources.estimate_s is not None and task.resources.estimate_s < SHORT_S
        if is_short and task.resources.ranks == 1 and not task.resources.gpus:
            short.append(task)
        else:
            jobs.append(([task], _with_walltime(task.resources, cluster)))
    for group in _groups(short, cluster):
        first = group[0].resources
        if len(group) == 1:
            jobs.append((group, _with_walltime(first, cluster)))
            continue
        side_by_side = min(len(group), max(1, cluster.cores // first.cores))
        if first.memory_GB is not None and cluster.memory_GB is not None:
            side_by_side = max(1, min(side_by_side, int(cluster.memory_GB // first.memory_GB)))
        memory = cluster.memory_GB if first.memory_GB is None else side_by_side * first.memory_GB
        expected = sum(task.resources.estimate_s or 0 for task in group) / side_by_side
        needs = Resources(
            cores=side_by_side * first.cores,
            memory_GB=memory,
            walltime_s=first.walltime_s
            or (max(4 * expected, 600) if cluster.walltime is None else seconds_of(cluster.walltime)),
        )
        jobs.append((group, needs))
    return jobs


def _with_walltime(needs: Resources, cluster: Cluster) -> Resources:
    if needs.walltime_s is not None or cluster.walltime is None:
        return needs
    return replace(needs, walltime_s=float(seconds_of(cluster.walltime)))


def _groups(short: Sequence[Task], cluster: Cluster) -> Iterator[list[Task]]:
    """Short tasks that need the same, so many that their time on the job's cores is that of one long step."""
    kinds: dict[tuple[int, float | None, float | None], list[Task]] = {}
    for task in short:
        needs = task.resources
        kinds.setdefault((needs.cores, needs.memory_GB, needs.walltime_s), []).append(task)
    for (cores, *_), tasks in kinds.items():
        group: list[Task] = []
        room = SHORT_S * max(1, cluster.cores // cores)
        for task in tasks:
            estimate = task.resources.estimate_s or 0
            if group and estimate > room:
                yield group
                group, room = [], SHORT_S * max(1, cluster.cores // cores)
            group.append(task)
            room -= estimate
        if group:
            yield group


class SlurmExecutor(Executor):
    """Steps as jobs of Slurm.

    Parameters
    ----------
    cluster : Cluster
    store : Store
        On a file system that the nodes share.
    max_jobs : int
        In the queue at a time.

    Raises
    ------
    BadOptionError
        When the cluster is of another batch system, or the store's path cannot stand in a batch script.
    MissingBackendError, SubmissionError
    """

    threads = 1

    def __init__(self, cluster: Cluster, store: Store, max_jobs: int = 50) -> None:
        if cluster.scheduler != "slurm":
            raise BadOptionError(
                f"cluster {cluster.name!r} is {cluster.scheduler}: steps become jobs of slurm only; put the whole study "
                "into one job with atomflow submit"
            )
        if shutil.which("sbatch") is None:
            raise SubmissionError(
                "there is no sbatch here; start from a node of the cluster, or without --engine slurm"
            )
        self._cluster, self._store, self._max_jobs = cluster, store, max_jobs
        self._transit = store.folder.absolute() / ".transit"
        if not _PLAIN.fullmatch(str(self._transit)):
            raise BadOptionError(
                f"the path of the store, {store.folder.absolute()}, cannot stand in a batch script; choose one of plain "
                "letters and digits with --store"
            )
        self._library = executorlib().SlurmClusterExecutor(
            cache_directory=str(self._transit), disable_dependencies=True, refresh_rate=0.2, wait=False
        )
        self._waiting: list[tuple[Task, Future[Any]]] = []
        self._running: dict[str, _Job] = {}
        self._left: dict[str, list[Task]] = dict(self._found_in_transit())
        self._last_arrival = 0.0
        self._lock = threading.RLock()
        self._wake, self._closed = threading.Event(), threading.Event()
        self._dispatcher = threading.Thread(target=self._dispatch, daemon=True, name="atomflow-slurm")
        self._dispatcher.start()

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Hand a task over; ``fn`` is :func:`atomflow.flow.work.carry_out`."""
        task = args[0]
        if len(args) != 1 or kwargs or not isinstance(task, Task):
            raise BadOptionError(
                f"{getattr(task, 'step', 'a step')} has an input that cannot be written, so it cannot be sent to a job; "
                "give a calculator by its name"
            )
        future: Future[Any] = Future()
        with self._lock:
            self._waiting.append((task, future))
            self._last_arrival = time.monotonic()
        self._wake.set()
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Stop watching; with ``cancel_futures`` the jobs are cancelled, too."""
        if self._closed.is_set():
            return
        if wait and not cancel_futures:
            while self._waiting or self._running:
                time.sleep(0.05)
        self._closed.set()
        self._wake.set()
        self._dispatcher.join()
        self._library.shutdown(wait=False, cancel_futures=cancel_futures)
        if cancel_futures:
            for key in list(self._running):
                self._clear(key)

    # --- the dispatcher's thread -----------------------------------------------------------------------------------

    def _dispatch(self) -> None:
        looked = 0.0
        while not self._closed.is_set():
            self._wake.wait(0.2)
            self._wake.clear()
            try:
                self._take_up_left()
                with self._lock:
                    quiet = time.monotonic() - self._last_arrival > _SETTLE_S
                if quiet and self._waiting:
                    self._submit_waiting()
                if time.monotonic() - looked > _LOOK_S:
                    self._look_into_store()
                    looked = time.monotonic()
            except Exception as error:  # whatever it is, nobody must wait for ever
                self._fail_all(error)

    def _take_up_left(self) -> None:
        """Wait for the jobs of a killed driver that carry out what is asked for now."""
        with self._lock:
            for task, _ in list(self._waiting):
                tasks = self._left.get(task.key)
                if tasks is None:
                    continue
                for each in tasks:
                    self._left.pop(each.key, None)
                self._start(_Job(tasks, _with_walltime(task.resources, self._cluster), left=True))

    def _submit_waiting(self) -> None:
        with self._lock:
            taken = {task.key for job in self._running.values() for task in job.tasks}
            tasks = list({t.key: t for t, _ in self._waiting if t.key not in taken}.values())
            for group, needs in form_jobs(tasks, self._cluster):
                if len(self._running) >= self._max_jobs:
                    return
                self._start(_Job(group, needs))

    def _start(self, job: _Job) -> None:
        """Submit a job, or find it where an earlier driver submitted it."""
        mine = {task.key for task in job.tasks}
        for task, future in [row for row in self._waiting if row[0].key in mine]:
            job.futures[task.key] = future
            self._waiting.remove((task, future))
        key = job.key
        self._running[key] = job
        folder = self._transit / key
        try:
            folder.mkdir(parents=True, exist_ok=True)
            write_atomically(folder / "tasks.json", json.dumps([asdict(task) for task in job.tasks]))
            from executorlib.standalone.command import get_cache_execute_command

            command = shlex.join(get_cache_execute_command(str(self._transit / f"{key}_i.h5")))
            script = job_script(self._cluster, job.needs, command, folder, folder / "job-%j.log", job.name)
            jobs = 1 if len(job.tasks) == 1 else max(1, job.needs.cores // job.tasks[0].resources.cores)
            tasks = [replace(t, resources=replace(t.resources, walltime_s=job.needs.walltime_s)) for t in job.tasks]
            future = self._library.submit(
                carry_out_all,
                tasks,
                jobs,
                resource_dict={
                    "cores": 1,
                    "cwd": str(folder),
                    "cache_key": key,
                    "submission_template": as_template(script),
                },
            )
        except Exception as error:
            self._end(key, error)
            return
        future.add_done_callback(lambda done: self._collect(key, done))

    def _collect(self, key: str, done: Future[Any]) -> None:
        if self._closed.is_set():
            return
        error = done.exception() if not done.cancelled() else WorkerLostError("a job", "cancelled")
        job = self._running[key]
        if error is None:
            outcomes = done.result()
            self._clear(key)
            with self._lock:
                self._running.pop(key, None)
            for task, outcome in zip(job.tasks, outcomes, strict=True):
                future = job.futures.get(task.key)
                if job.left and future is not None and outcome.state in ("failed", "out-of-memory"):
                    # What failed while no driver looked is old news: it is tried again, as by any new run.
                    with self._lock:
                        self._waiting.append((task, future))
                    continue
                _settle(future, outcome)
        else:
            self._end(key, error)
        self._wake.set()

    def _end(self, key: str, error: BaseException) -> None:
        """A job that came back without outcomes."""
        job = self._running[key]
        if isinstance(error, subprocess.CalledProcessError):
            said = " ".join(str(error.output or error).split())
            error = SubmissionError(f"sbatch refused a job of {job.name}: {said}")
        elif not isinstance(error, (BadOptionError, SubmissionError)):
            error = self._why_lost(key, job, error)
        self._clear(key)
        with self._lock:
            self._running.pop(key, None)
        for future in job.futures.values():
            if not future.done():
                future.set_exception(error)

    def _why_lost(self, key: str, job: _Job, error: BaseException) -> WorkerLostError:
        reason, again = " ".join(str(error).split()), True
        if number := re.search(r"queue job (\d+)", reason):
            state = _job_state(number[1])
            reason = f"job {number[1]} ended as {state}" if state else f"job {number[1]} is gone"
            if state == "TIMEOUT":
                # With the same walltime it would end the same way, unless it goes on from a checkpoint.
                again = _checkpoints(job.tasks[0])
                if not again:
                    reason += "; give it longer with --resources STEP:walltime=..."
            log = self._transit / key / f"job-{number[1]}.log"
            if log.is_file() and (said := log.read_text(errors="replace").strip()):
                reason += f"; its log ends with: {' '.join(said.splitlines()[-3:])[-400:]}"
        return WorkerLostError(job.name, reason, again)

    def _look_into_store(self) -> None:
        """Short steps are told as they are finished, not when their whole job is."""
        with self._lock:
            shared = [job for job in self._running.values() if len(job.tasks) > 1]
        for job in shared:
            for task in job.tasks:
                future = job.futures.get(task.key)
                if future is None or future.done() or self._store.find(task.step, task.key) is None:
                    continue
                if (found := self._store.get(task.step, task.key)) is not None:
                    _settle(future, Outcome("done", dumps(found[1]), found[0].seconds))

    def _fail_all(self, error: Exception) -> None:
        with self._lock:
            futures = [future for _, future in self._waiting]
            self._waiting.clear()
        for future in futures:
            if not future.done():
                future.set_exception(error)

    def _clear(self, key: str) -> None:
        """Nothing of an ended job stays that executorlib would replay."""
        for ending in ("i", "r", "o"):
            (self._transit / f"{key}_{ending}.h5").unlink(missing_ok=True)
        shutil.rmtree(self._transit / key, ignore_errors=True)

    def _found_in_transit(self) -> Iterator[tuple[str, list[Task]]]:
        for path in self._transit.glob("*/tasks.json"):
            try:
                rows = json.loads(path.read_text(encoding="utf-8"))
                tasks = [
                    Task(**{**row, "resources": Resources(**row["resources"]), "launcher": tuple(row["launcher"])})
                    for row in rows
                ]
            except (OSError, ValueError, TypeError, KeyError):
                continue  # cut off while it was written: no job was submitted for it
            for task in tasks:
                yield task.key, tasks


def as_template(script: str) -> str:
    """A script as a jinja template that gives it back as it is, since pysqa renders what it submits.

    Raises
    ------
    BadOptionError
        When it holds the one word that cannot be quoted.
    """
    if re.search(r"\{%[-+]?\s*endraw", script):
        raise BadOptionError("the prologue of a cluster cannot contain a jinja endraw")
    return "{% raw %}" + script + "{% endraw %}"


def _settle(future: Future[Any] | None, outcome: Outcome) -> None:
    if future is None or future.done():
        return
    if isinstance(outcome.error, WorkerLostError):
        future.set_exception(outcome.error)
    else:
        future.set_result(outcome)


def _checkpoints(task: Task) -> bool:
    return step_info(resolve(task.function)).checkpoints


def _job_state(number: str) -> str:
    """What Slurm says a job ended as; empty when it has forgotten."""
    try:
        done = subprocess.run(  # noqa: S603 - fixed words and digits
            ["scontrol", "-o", "show", "job", number],  # noqa: S607
            capture_output=True,
            text=True,
            timeout=30,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    found = re.search(r"JobState=(\w+)", done.stdout)
    return found[1] if found else ""
