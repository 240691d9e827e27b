"""Steps that workers, jobs and other executors import by name."""

import json
import os
import resource
import signal
import subprocess
import sys
import time
import uuid
from dataclasses import dataclass
from pathlib import Path

from atomflow.errors import SCFError
from atomflow.flow import Resources, Unfinished, Work, call, step
from atomflow.model import record


def trace(folder):
    """Leave a mark: tests count how often a step has run."""
    Path(folder, uuid.uuid4().hex).touch()


@record("atomflow-tests.square/1")
@dataclass(frozen=True)
class Square:
    value: float


@step(version="1", resources=Resources(estimate_s=1))
def square(folder: str, x: float) -> Square:
    trace(folder)
    return Square(x * x)


@step(version="1")
def total(folder: str, squares: list) -> float:
    trace(folder)
    return sum(s.value for s in squares)


@step(version="1")
def fails(folder: str, x: float) -> Square:
    trace(folder)
    raise SCFError("HF", f"system {x}", "what the backend said")


@step(version="1")
def many(folder: str, n: int) -> float:
    """A step made of steps: it looks at the first results before it asks for more."""
    first = yield call(square, folder, float(n))
    rest = yield [call(square, folder, float(i)) for i in range(int(first.value) % 7)]
    return (yield call(total, folder, [first, *rest]))


@step(version="1")
def hopes(folder: str) -> str:
    try:
        yield call(fails, folder, 1.0)
    except SCFError as error:
        fallback = yield call(square, folder, 2.0)
        return f"{error.system}: {fallback.value}"


@step(version="1")
def writes(work: Work, folder: str, text: str) -> dict:
    trace(folder)
    (work.folder / "deep").mkdir()
    (work.folder / "deep" / "kept.txt").write_text(text)
    (work.folder / "scratch.tmp").write_text("not kept")
    return {"file": work.folder / "deep" / "kept.txt", "cores": work.resources.cores}


@step(version="1")
def reads(folder: str, file: Path) -> str:
    trace(folder)
    return file.read_text()


@step(version="1")
def strays(work: Work) -> Path:
    return Path("/etc/hostname")


@step(version="1", checkpoints=True)
def counts(folder: str, until: int, work: Work, wait_s: float = 0.0, at_a_time: int = 10) -> dict:
    """A long step: its checkpoint is how far it has counted."""
    trace(folder)
    place = work.folder / "checkpoint.json"
    done = json.loads(place.read_text())["done"] if place.exists() else 0
    began_at = done
    while done < until:
        if work.must_stop() or (work.stop_at is None and done - began_at >= at_a_time):
            return Unfinished(done / until)
        done += 1
        Path(folder, f"counted-{done}-{uuid.uuid4().hex}").touch()
        part = place.with_suffix(".part")
        part.write_text(json.dumps({"done": done}))
        part.replace(place)
        time.sleep(wait_s)
    return {"done": done}


@step(version="1", checkpoints=True)
def gets_nowhere(folder: str, work: Work) -> dict:
    trace(folder)
    return Unfinished(0.5)


@step(version="1")
def waits(folder: str, seconds: float, x: float = 0.0) -> float:
    trace(folder)
    time.sleep(seconds)
    return x


@step(version="1")
def dies_once(folder: str) -> str:
    trace(folder)
    if len(list(Path(folder).iterdir())) == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return "alive"


@step(version="1", resources=Resources(memory_GB=0.5))
def hungry(folder: str, work: Work) -> str:
    """Takes 600 MB within the memory it is given."""
    trace(folder)
    limit = int(work.resources.memory_GB * 2**30)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + limit, before[1]))
    try:
        block = bytearray(600 * 2**20)
        return f"{len(block) >> 20} MB"
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


@step(version="1", resources=lambda folder, ranks, work=None: Resources(ranks=ranks))
def two_ranks(folder: str, ranks: int, work: Work) -> dict:
    """Runs LAMMPS on its ranks; what it says of them is in its own log."""
    trace(folder)
    script = work.folder / "in.lj"
    script.write_text(
        "units lj\nlattice fcc 0.8442\nregion b block 0 4 0 4 0 4\ncreate_box 1 b\ncreate_atoms 1 box\nmass 1 1.0\n"
        "velocity all create 1.44 87287\npair_style lj/cut 2.5\npair_coeff 1 1 1.0 1.0 2.5\nfix 1 all nve\nrun 20\n"
    )
    lmp = Path(sys.executable).with_name("lmp")
    command = work.launch(str(lmp), "-in", script.name, "-log", "log.lammps", "-screen", "none")
    done = subprocess.run(command, cwd=work.folder, capture_output=True, text=True, timeout=120)
    if done.returncode:
        raise RuntimeError(f"{command}: {done.stdout} {done.stderr}")
    return {"log": work.folder / "log.lammps", "command": command}


@step(version="1", resources=Resources(ranks=2, nodes=2))
def on_two_nodes(folder: str, work: Work) -> str:
    trace(folder)
    script = 'echo "rank $SLURM_PROCID of $SLURM_NTASKS on $SLURMD_NODENAME"'
    done = subprocess.run(work.launch("bash", "-c", script), capture_output=True, text=True, timeout=120, check=True)
    return done.stdout


@step(version="1")
def numbers(folder: str, n: int) -> list:
    trace(folder)
    return list(range(n))


@step(version="1")
def spoils(folder: str, values: list) -> float:
    trace(folder)
    values.append(99.0)
    return sum(values)


@step(version="1")
def adds(folder: str, values: list, more: float = 0.0) -> float:
    trace(folder)
    return sum(values) + more


@step(version="1")
def robust(folder: str) -> str:
    """Goes on without what fails."""
    try:
        yield call(waits, folder, 5.0)
    except Exception:
        return "without"
    return "with"


@step(version="1")
def picks(folder: str) -> Path:
    """Returns a file of a step it is made of."""
    made = yield call(writes, folder=folder, text="hello")
    return made["file"]
