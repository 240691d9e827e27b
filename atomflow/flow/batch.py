"""What a cluster wants to be told, and the batch scripts that tell it.

A profile file says what a cluster wants; a script comes from a template; the batch system's own program takes it.
"""

from __future__ import annotations

import dataclasses
import math
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined

from atomflow.errors import BadFileError, BadOptionError, SubmissionError, UnknownNameError
from atomflow.model import LAUNCHER, Resources

#: How each batch system takes a script.
_SUBMIT = {"slurm": ("sbatch", "--parsable"), "pbs": ("qsub",), "lsf": ("bsub",)}
#: A directive line is read by words: nothing that could end one or begin another.
_WORD = re.compile(r"[A-Za-z0-9_.:/@+=,&|*()-]{1,200}")
_WALLTIME = re.compile(r"\d{1,4}:[0-5]\d:[0-5]\d")
_SHELL = re.compile(r"[^\x00\n\r]*")


@dataclass(frozen=True)
class Cluster:
    """What a cluster wants to be told.

    Attributes
    ----------
    name : str
    scheduler : {"slurm", "pbs", "lsf"}
    cores : int
        Of a job on one node: one that runs a whole study, or several short steps.
    memory_GB : int or None
        Of such a job.
    walltime : str or None
        ``HH:MM:SS``; also of steps that do not say how long they take.
    account, partition, qos, gres, constraint : str or None
        The partition is the queue of PBS and LSF; the last three are Slurm's.
    signal : str
        Sent to a study before its walltime ends, as Slurm's ``--signal``.
    launcher : tuple of str
        Words before a program that a step runs on several ranks; ``{ranks}``, ``{cores}`` and ``{nodes}`` are filled in.
    prologue : tuple of str
        Lines of shell before the command: modules, environment.
    lmp : str or None
        The LAMMPS there, a name or a path, for ``atomflow md --cluster``.
    lmp_suffix : str or None
        Accelerated styles of that LAMMPS: opt, omp, gpu, kk.
    lmp_flags : tuple of str
        More words for it, such as ``(-k, on, g, "1")``.
    command : str or None
        How atomflow is started there; by default with the Python that submits.
    """

    name: str
    scheduler: str = "slurm"
    cores: int = 1
    memory_GB: int | None = None
    walltime: str | None = None
    account: str | None = None
    partition: str | None = None
    qos: str | None = None
    gres: str | None = None
    constraint: str | None = None
    signal: str = "B:INT@120"
    launcher: tuple[str, ...] = LAUNCHER
    prologue: tuple[str, ...] = ()
    lmp: str | None = None
    lmp_suffix: str | None = None
    lmp_flags: tuple[str, ...] = ()
    command: str | None = None

    def __post_init__(self) -> None:
        if self.scheduler not in _SUBMIT:
            raise BadOptionError(f"cluster {self.name!r}: scheduler {self.scheduler!r} is none of {', '.join(_SUBMIT)}")
        for field in ("cores", "memory_GB"):
            value = getattr(self, field)
            if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
                raise BadOptionError(f"cluster {self.name!r}: {field} {value!r} must be a whole number above zero")
        if self.walltime is not None and not (isinstance(self.walltime, str) and _WALLTIME.fullmatch(self.walltime)):
            raise BadOptionError(
                f"cluster {self.name!r}: walltime {self.walltime!r} must be HH:MM:SS, in quotes in YAML"
            )
        for field in ("account", "partition", "qos", "gres", "constraint", "signal"):
            value = getattr(self, field)
            if value is not None and not (isinstance(value, str) and _WORD.fullmatch(value)):
                raise BadOptionError(f"cluster {self.name!r}: {field} {value!r} is not one plain word")
        for word in self.launcher:
            try:
                plain = isinstance(word, str) and word.format(ranks=1, cores=1, nodes=1) != ""
            except (KeyError, IndexError, ValueError, AttributeError):
                plain = False
            if not plain:
                raise BadOptionError(
                    f"cluster {self.name!r}: launcher must be a list of words, such as [srun, -n, '{{ranks}}']"
                )
        words = [*self.lmp_flags, *(word for word in (self.lmp, self.lmp_suffix) if word is not None)]
        if not all(isinstance(word, str) and word for word in words):
            raise BadOptionError(
                f"cluster {self.name!r}: lmp and lmp_suffix must be text, lmp_flags a list of it, numbers in quotes"
            )
        lines = [*self.prologue, *([self.command] if self.command is not None else [])]
        if not all(isinstance(line, str) and _SHELL.fullmatch(line) for line in lines):
            raise BadOptionError(f"cluster {self.name!r}: prologue and command must be single lines of text")

    @property
    def core_hours(self) -> float | None:
        """The most that a job can use."""
        if self.walltime is None:
            return None
        return self.cores * seconds_of(self.walltime) / 3600


def seconds_of(walltime: str) -> int:
    """Seconds of ``HH:MM:SS``."""
    hours, minutes, seconds = (int(part) for part in walltime.split(":"))
    return 3600 * hours + 60 * minutes + seconds


def clusters_file() -> Path:
    """Where the profiles are: ``$ATOMFLOW_CLUSTERS``, else ``~/.config/atomflow/clusters.yaml``."""
    named = os.environ.get("ATOMFLOW_CLUSTERS")
    return Path(named) if named else Path("~/.config/atomflow/clusters.yaml").expanduser()


def read_clusters(path: Path) -> dict[str, Cluster]:
    """The profiles of a file, by name.

    Raises
    ------
    BadFileError, BadOptionError
    """
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise BadFileError(path, "no such file; docs/cluster.md shows one to start from") from error
    except OSError as error:
        raise BadFileError(path, error.strerror or str(error)) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise BadFileError(path, f"cannot be read as YAML ({' '.join(str(error).split())})") from error
    if not isinstance(data, dict) or not data or not all(isinstance(body, dict) for body in data.values()):
        raise BadFileError(path, "must be a mapping from names of clusters to their settings; see docs/cluster.md")
    known = [field.name for field in dataclasses.fields(Cluster) if field.name != "name"]
    found = {}
    for name, body in data.items():
        for key in body:
            if key not in known:
                raise UnknownNameError("setting", str(key), known, mend=f"in cluster {name!r} of {path}")
        prologue, launcher = body.get("prologue", []), body.get("launcher", list(Cluster.launcher))
        flags = body.get("lmp_flags", [])
        found[str(name)] = Cluster(
            **{
                **body,
                "name": str(name),
                "prologue": tuple(prologue if isinstance(prologue, list) else [prologue]),
                "lmp_flags": tuple(flags) if isinstance(flags, list) else (flags,),
                "launcher": tuple(launcher) if isinstance(launcher, list) else (launcher,),
            }
        )
    return found


def study_script(cluster: Cluster, words: Sequence[str], folder: Path, log: Path, name: str, *, ranks: int = 1) -> str:
    """The batch script that runs ``atomflow WORDS`` in a folder, on one node; its cores are shared out to ``ranks``.

    Raises
    ------
    BadOptionError
        When the job's name or its log's path cannot stand in a directive.
    """
    start = cluster.command or shlex.join([sys.executable, "-m", "atomflow"])
    walltime = None if cluster.walltime is None else seconds_of(cluster.walltime)
    cores = max(cluster.cores // ranks, 1)
    needs = Resources(cores=cores, ranks=ranks, memory_GB=cluster.memory_GB, walltime_s=walltime)
    signal = cluster.signal if walltime else ""
    return job_script(cluster, needs, f"{start} {shlex.join(words)}", folder, log, name, signal)


def job_script(
    cluster: Cluster, needs: Resources, command: str, folder: Path, log: Path, name: str, signal: str = ""
) -> str:
    """A batch script for one command, which is shell and already quoted.

    Raises
    ------
    BadOptionError
        When the job's name or its log's path cannot stand in a directive.
    """
    for text in (name, str(log)):
        if not _WORD.fullmatch(text.replace("%j", "")):
            raise BadOptionError(
                f"{text!r} cannot stand in a batch script; choose an --out of plain letters and digits"
            )
    environment = Environment(
        loader=PackageLoader("atomflow.flow", "templates"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,  # noqa: S701 - shell, not HTML: values are checked words or quoted
    )
    environment.filters["quote"] = lambda value: shlex.quote(str(value))
    about: dict[str, Any] = {
        **dataclasses.asdict(needs),
        "cluster": dataclasses.asdict(cluster),
        "memory_per_node": _memory(needs),
        "walltime": None if needs.walltime_s is None else _clock(needs.walltime_s),
        "signal": signal,
        "name": name,
        "log": log,
        "folder": folder,
        "command": command,
    }
    return environment.get_template(f"{cluster.scheduler}.sh.j2").render(about)


def _memory(needs: Resources) -> str | None:
    if needs.memory_GB is None:
        return None
    each = needs.memory_GB / needs.nodes
    return f"{int(each)}G" if each == int(each) else f"{math.ceil(1024 * each)}M"


def _clock(seconds: float) -> str:
    whole = math.ceil(seconds)
    return f"{whole // 3600:02d}:{whole // 60 % 60:02d}:{whole % 60:02d}"


def submit(cluster: Cluster, script: Path) -> str:
    """Hand a script over; returns what the batch system answers (Slurm: the job's number).

    Raises
    ------
    SubmissionError
        When its program is not here or refuses.
    """
    program = _SUBMIT[cluster.scheduler]
    takes_standard_input = cluster.scheduler == "lsf"
    try:
        done = subprocess.run(  # noqa: S603 - fixed program, a path as an argument, no shell
            [*program, *(() if takes_standard_input else (str(script),))],
            input=script.read_text(encoding="utf-8") if takes_standard_input else None,
            capture_output=True,
            text=True,
            timeout=120,
        )
    except FileNotFoundError as error:
        raise SubmissionError(f"there is no {program[0]} here; submit from a node of the cluster") from error
    except subprocess.TimeoutExpired as error:
        raise SubmissionError(f"{program[0]} did not answer within two minutes") from error
    if done.returncode:
        raise SubmissionError(f"{program[0]} refused {script}: {' '.join((done.stderr or done.stdout).split())}")
    return done.stdout.strip()
