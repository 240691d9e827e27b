"""Running a protocol and production with LAMMPS, so that it can be stopped at any moment and goes on.

Each stage has a folder with a restart file every so many steps. Whatever ends a process, the same call looks for the
newest whole restart file that the frames on the disk reach up to, cuts the trajectory back to it, and goes on from there:
no frame is lost or doubled, and no time behind that file is done twice.
"""

from __future__ import annotations

import contextlib
import fcntl
import math
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from atomflow.dynamics.diagnosing import diagnosed, explained, moved_wildly, worst_atoms
from atomflow.dynamics.engine_input import EngineInput, engine_input
from atomflow.dynamics.protocols import Protocol, Stage, find_protocol
from atomflow.dynamics.records import (
    FINAL,
    MD_JSON,
    RUN_JSON,
    TOPOLOGY,
    MDResult,
    RunSettings,
    StageRecord,
    attempt_logs,
    read_settings,
    read_stage,
    stage_folder,
    write_settings,
    write_stage,
)
from atomflow.dynamics.restarts import Restart, drop_older, newest, start_of
from atomflow.dynamics.reviewing import equilibrated, review, run_warnings
from atomflow.dynamics.stages import FRAMES, MINIMISED_STEP, STOP, StagePlan, stage_script
from atomflow.dynamics.watching import Limits, Watch
from atomflow.errors import BadOptionError, BusyError, DynamicsError, LammpsError, OutputError
from atomflow.lammps import GrowingTrajectory, LammpsProgram, find_lammps, run_lammps
from atomflow.model import System, write_atomically

#: Packages of LAMMPS that our own inputs need.
_PACKAGES = ("KSPACE", "MOLECULE", "EXTRA-MOLECULE", "RIGID")
#: Spacings of frames to choose from, ps, and how many frames a run should have at least.
_SPACINGS_PS = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0)
_FRAMES = 500
#: Atom steps between two restart files for each rank, about half a minute's work, and limits of the steps.
_PIECE_ATOM_STEPS, _PIECE_LIMITS = 7_500_000, (500, 50_000)
#: Spacing of the table's rows, ps.
TABLE_PS = 0.2
#: Equilibration at constant pressure is set up anew so often, ps: PPPM and the ranks are laid out for the size that the
#: box has at the start of a piece, and LAMMPS stops when it has shrunk by much.
_SHRINKING_PS = 1.0
#: Shorter pieces tried when that happens all the same, each by this factor, down to so many steps.
_SHORTER, _SHORTEST_PIECE = 5, 20
#: How long LAMMPS may take to stop after it was asked to, s.
_PATIENCE_S = 60.0
#: Between the NPT stages and production at constant volume the box is brought to its mean size in this time.
_SETTLE = Stage("mean-volume", "bring the box from its momentary to its mean volume", "nvt", time_ps=2.0)
_FS_PER_PS = 1000.0


@dataclass(frozen=True)
class Progress:
    """How far a run is.

    Attributes
    ----------
    stage : str
    number, of : int
        Of the stage, from 1.
    done_ps, time_ps : float
        Of the stage.
    ns_per_day : float
    left_s : float or None
        Until the end of all stages, at this speed; None while that is not known.
    temperature_K, density_g_cm3, pressure_atm : float
    """

    stage: str
    number: int
    of: int
    done_ps: float
    time_ps: float
    ns_per_day: float
    left_s: float | None
    temperature_K: float
    density_g_cm3: float
    pressure_atm: float


Teller = Callable[[Progress], None]


def run_md(
    model: System | EngineInput,
    protocol: str | Protocol,
    out: str | Path,
    *,
    time_ps: float,
    temperature_K: float = 298.15,
    pressure_atm: float = 1.0,
    ensemble: str = "nvt",
    ranks: int = 1,
    seed: int = 0,
    timestep_fs: float | None = None,
    shake: bool | None = None,
    frame_spacing_ps: float | None = None,
    table_spacing_ps: float = TABLE_PS,
    restart_spacing_ps: float | None = None,
    cutoff_A: float = 12.0,
    kspace_accuracy: float = 1e-4,
    program: LammpsProgram | str | Path | None = None,
    launcher: Sequence[str] | None = None,
    suffix: str | None = "opt",
    flags: Sequence[str] = (),
    stop_at: float | None = None,
    stop_after: str | None = None,
    tell: Teller | None = None,
    limits: Limits | None = None,
) -> MDResult:
    """Equilibrate and run; called again with the same ``out`` it goes on.

    Parameters
    ----------
    model : System or EngineInput
        Pushed off already, as ``atomflow build box`` leaves it.
    protocol : str or Protocol
        Equilibration: a name for :func:`find_protocol`, or ``"auto"``: ``"polymer"`` when there are chains, else
        ``"liquid"``.
    out : str or Path
        Folder of the run.
    time_ps : float
        Of production; in a later call more of it extends the run.
    temperature_K, pressure_atm : float
    ensemble : {"nvt", "npt", "nve"}
        Of production; with the first two at constant volume the mean volume of the last NPT stage.
    ranks : int
        MPI processes; may differ from call to call.
    seed : int
    timestep_fs : float, optional
        By default 2 where SHAKE holds bonds to hydrogen, else 1.
    shake : bool, optional
        By default there is SHAKE for steps above 1 fs, where there are hydrogens that it can hold.
    frame_spacing_ps : float, optional
        By default such that there are about 500 frames or more.
    table_spacing_ps : float
        Between rows of the table.
    restart_spacing_ps : float, optional
        How much time a killed run may lose; by default about half a minute's work.
    cutoff_A, kspace_accuracy : float
        As :func:`engine_input` takes them; for a System only.
    program, launcher, suffix, flags
        As :func:`atomflow.lammps.run_lammps` takes them; ``opt`` only where LAMMPS has the package.
    stop_at : float, optional
        Time (``time.time()``) at which to save and return.
    stop_after : str, optional
        Name of the stage behind which to return.
    tell : callable, optional
        Given a :class:`Progress` at every new row of the table.
    limits : Limits, optional
        Of the watch.

    Returns
    -------
    MDResult
        Also written to ``OUT/md.json``, which ``atomflow analyze OUT`` reads.

    Raises
    ------
    DynamicsError
        LAMMPS failed or the run ran away; with the likely cause and the atoms.
    OutputError
        The folder cannot be written, or the disk is full.
    BadOptionError
        Options that make no sense, or differ from those the folder was begun with.
    BusyError
        Another process works in the folder.

    Notes
    -----
    Ctrl-C and SIGTERM, in the main thread, let LAMMPS write a restart file first; then they do what they always do.
    """
    out = Path(out)
    ready = (
        model
        if isinstance(model, EngineInput)
        else engine_input(model, cutoff_A=cutoff_A, kspace_accuracy=kspace_accuracy)
    )
    if shake is False or (shake is None and timestep_fs is not None and timestep_fs <= 1.0):
        ready = replace(ready, stiff_hydrogens=False)
    settings = _settings(
        ready, protocol, time_ps, temperature_K, pressure_atm, ensemble, ranks, seed, timestep_fs, frame_spacing_ps,
        table_spacing_ps, restart_spacing_ps,
    )  # fmt: skip
    if (out / RUN_JSON).is_file():
        settings = _compared(out, ready, settings, frame_spacing_ps)
    launch = _Launch(ranks, _found(program, ready), launcher, suffix, tuple(flags))
    return _run(out, ready, settings, launch, _Wishes(stop_at, stop_after, tell, limits or Limits()))


def resume_md(
    out: str | Path,
    *,
    time_ps: float | None = None,
    ranks: int = 1,
    program: LammpsProgram | str | Path | None = None,
    launcher: Sequence[str] | None = None,
    suffix: str | None = "opt",
    flags: Sequence[str] = (),
    stop_at: float | None = None,
    tell: Teller | None = None,
    limits: Limits | None = None,
) -> MDResult:
    """Go on in the folder of a run with nothing but what is in it.

    Parameters
    ----------
    out : str or Path
    time_ps : float, optional
        More production than was asked for.
    ranks, program, launcher, suffix, flags, stop_at, tell, limits
        As in :func:`run_md`.

    Raises
    ------
    BadFileError
        There is no run in the folder.
    """
    out = Path(out)
    model, settings = read_settings(out)
    if time_ps is not None:
        settings = replace(settings, time_ps=_above_zero("time_ps", time_ps))
    launch = _Launch(ranks, _found(program, model), launcher, suffix, tuple(flags))
    return _run(out, model, settings, launch, _Wishes(stop_at, None, tell, limits or Limits()))


def _above_zero(name: str, value: float) -> float:
    if not 0 < value < float("inf"):
        raise BadOptionError(f"{name} must be above zero, not {value!r}")
    return float(value)


def _settings(
    model: EngineInput,
    protocol: str | Protocol,
    time_ps: float,
    temperature_K: float,
    pressure_atm: float,
    ensemble: str,
    ranks: int,
    seed: int,
    timestep_fs: float | None,
    frame_spacing_ps: float | None,
    table_spacing_ps: float,
    restart_spacing_ps: float | None,
) -> RunSettings:
    """The options with their defaults in."""
    _above_zero("temperature_K", temperature_K)
    _above_zero("time_ps", time_ps)
    if not math.isfinite(pressure_atm):
        raise BadOptionError(f"pressure_atm must be a number, not {pressure_atm!r}")
    if ensemble not in ("nvt", "npt", "nve"):
        raise BadOptionError(f"ensemble {ensemble!r}: it may be nvt, npt or nve")
    if not isinstance(seed, int) or seed < 0:
        raise BadOptionError(f"seed must be a whole number from 0, not {seed!r}")
    step = _above_zero("timestep_fs", timestep_fs or model.timestep_fs or (2.0 if model.stiff_hydrogens else 1.0))
    if isinstance(protocol, str):
        name = ("polymer" if model.chains else "liquid") if protocol == "auto" else protocol
        protocol = find_protocol(name, temperature_K=temperature_K, pressure_atm=pressure_atm)
    return RunSettings(
        protocol="none" if model.own_motion else protocol.name,
        cannot=("the input's own fixes move the atoms; nothing was equilibrated",)
        if model.own_motion
        else protocol.cannot,
        stages=() if model.own_motion else protocol.stages,
        ensemble="own" if model.own_motion else ensemble,
        time_ps=time_ps,
        temperature_K=temperature_K,
        pressure_atm=pressure_atm,
        timestep_fs=step,
        frame_spacing_ps=_spacing(frame_spacing_ps, time_ps, step),
        table_spacing_ps=_above_zero("table_spacing_ps", table_spacing_ps),
        piece=_piece(restart_spacing_ps, step, ranks, model.atoms),
        seed=seed,
    )


def _piece(wanted_ps: float | None, timestep_fs: float, ranks: int, atoms: int) -> int:
    """Steps between two restart files."""
    if wanted_ps is not None:
        return max(round(_above_zero("restart_spacing_ps", wanted_ps) * _FS_PER_PS / timestep_fs), 1)
    low, high = _PIECE_LIMITS
    return min(max(_PIECE_ATOM_STEPS * max(ranks, 1) // atoms // 100 * 100, low), high)


def _spacing(wanted_ps: float | None, time_ps: float, timestep_fs: float) -> float:
    if wanted_ps is None:
        fitting = [one for one in _SPACINGS_PS if _whole(one, timestep_fs) and time_ps / one >= _FRAMES]
        first = next((one for one in _SPACINGS_PS if _whole(one, timestep_fs)), timestep_fs / _FS_PER_PS * 100)
        return max(fitting, default=first)
    _above_zero("frame_spacing_ps", wanted_ps)
    if not _whole(wanted_ps, timestep_fs):
        raise BadOptionError(f"frames every {wanted_ps:g} ps: that is no whole number of steps of {timestep_fs:g} fs")
    return wanted_ps


def _whole(spacing_ps: float, timestep_fs: float) -> bool:
    steps = spacing_ps * _FS_PER_PS / timestep_fs
    return steps >= 0.5 and abs(steps - round(steps)) < 1e-6


def _compared(out: Path, model: EngineInput, wanted: RunSettings, spacing_ps: float | None) -> RunSettings:
    """The settings the folder was begun with, with the new length of production.

    Raises
    ------
    BadOptionError
        They differ in something else.
    """
    old_model, old = read_settings(out)
    if spacing_ps is None:
        wanted = replace(wanted, frame_spacing_ps=old.frame_spacing_ps)
    wanted = replace(wanted, piece=old.piece, trajectory=old.trajectory)
    mend = "give the same options, or another --out"
    for name in (
        "protocol",
        "stages",
        "ensemble",
        "temperature_K",
        "pressure_atm",
        "timestep_fs",
        "frame_spacing_ps",
        "seed",
    ):
        was, now = getattr(old, name), getattr(wanted, name)
        if was != now:
            told = "other stages" if name == "stages" else f"{name} {was}, not {now}"
            raise BadOptionError(f"{out} holds a run with {told}; {mend}")
    if (old_model.data, old_model.first) != (model.data, model.first):
        raise BadOptionError(f"{out} holds a run of another box ({old_model.name}) or force field; {mend}")
    return wanted


@dataclass(frozen=True)
class _Launch:
    """How LAMMPS is started."""

    ranks: int
    program: LammpsProgram
    launcher: Sequence[str] | None
    suffix: str | None
    flags: tuple[str, ...]

    def words(self) -> dict[str, Any]:
        """For :func:`run_lammps`; styles of a package that this LAMMPS has not are not asked for."""
        suffix = None if self.suffix == "opt" and "OPT" not in self.program.packages else self.suffix
        return {
            "ranks": self.ranks,
            "program": self.program,
            "launcher": self.launcher,
            "suffix": suffix,
            "flags": self.flags,
        }


@dataclass(frozen=True)
class _Wishes:
    """What the caller of one call wants besides the run."""

    stop_at: float | None
    stop_after: str | None
    tell: Teller | None
    limits: Limits


def _found(program: LammpsProgram | str | Path | None, model: EngineInput) -> LammpsProgram:
    lmp = program if isinstance(program, LammpsProgram) else find_lammps(program)
    if not model.own_motion:
        lmp.need(*_PACKAGES)
    return lmp


def _run(out: Path, model: EngineInput, settings: RunSettings, launch: _Launch, wishes: _Wishes) -> MDResult:
    if "EXTRA-DUMP" not in launch.program.packages:
        settings = replace(settings, trajectory="production.lammpstrj")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(out, error.strerror or str(error)) from error
    with _alone(out) as lock, _asked_to_stop() as asked:
        write_settings(out, model, settings)
        return _Run(out, model, settings, launch, wishes, lock, asked).go()


@contextlib.contextmanager
def _alone(out: Path, patience_s: float = 10.0) -> Iterator[int]:
    """The folder's lock; LAMMPS inherits it, so that it lasts as long as anything works in the folder."""
    until = time.monotonic() + patience_s
    try:
        descriptor = os.open(out / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise OutputError(out, error.strerror or str(error)) from error
    try:
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError as error:
                # The LAMMPS of a driver that was killed needs a moment to end.
                if time.monotonic() > until:
                    raise BusyError(f"another process is running MD in {out}; wait for it, or end it first") from error
                time.sleep(0.2)
        yield descriptor
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _asked_to_stop() -> Iterator[Callable[[], int]]:
    """Within the block Ctrl-C and SIGTERM are only noted; at its end they do what they would have done.

    A second one of them does it at once.
    """
    came: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield lambda: 0
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def note(number: int, _frame: Any) -> None:
        if came:
            raise KeyboardInterrupt
        came.append(number)

    for number, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, note)
    try:
        yield lambda: came[0] if came else 0
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if came:
            os.kill(os.getpid(), came[0])


class _StopError(Exception):
    """LAMMPS did not stop in good time."""


@dataclass
class _Run:
    """One call: the folder, what is run in it and with what."""

    out: Path
    model: EngineInput
    settings: RunSettings
    launch: _Launch
    wishes: _Wishes
    lock: int
    asked: Callable[[], int]

    def __post_init__(self) -> None:
        self.frames = GrowingTrajectory(self.out / self.settings.trajectory)

    def go(self) -> MDResult:
        """All stages in order."""
        done: list[StageRecord] = []
        plans = self.plans()
        self.write(done)
        for number, plan in enumerate(plans, start=1):
            folder = stage_folder(self.out, number, plan.stage.name)
            record = read_stage(folder)
            if record is None or record.steps < plan.steps or self.frames_lack(plan):
                if self.must_stop() or not self.stage(number, plan, plans):
                    break
                record = review(folder, plan, self.model, self.launch.ranks)
                write_stage(folder, record)
                drop_older(folder, keep=1)
            done.append(record)
            self.write(done)
            if plan.stage.name == self.wishes.stop_after:
                break
        return self.write(done)

    def frames_lack(self, plan: StagePlan) -> bool:
        """Whether a finished stage has lost frames since."""
        return bool(plan.frames) and (self.frames.last_step or 0) < plan.steps // plan.frames * plan.frames

    def plans(self) -> list[StagePlan]:
        """The stages in steps."""
        asked = self.settings
        stages = list(asked.stages)
        heat, pressure = asked.temperature_K, asked.pressure_atm
        now: dict[str, Any] = {
            "temperature_K": heat,
            "end_temperature_K": heat,
            "pressure_atm": pressure,
            "end_pressure_atm": pressure,
        }
        if asked.ensemble in ("nvt", "nve") and any(one.ensemble == "npt" for one in stages):
            stages.append(replace(_SETTLE, **now))
        stages.append(
            Stage("production", "the trajectory", asked.ensemble, time_ps=asked.time_ps, production=True,
                  check="density" if asked.ensemble == "npt" else "energy", **now)
        )  # fmt: skip
        return [self.plan(number, stage) for number, stage in enumerate(stages, start=1)]

    def plan(self, number: int, stage: Stage) -> StagePlan:
        asked = self.settings
        step = stage.timestep_fs or asked.timestep_fs
        steps = max(round(stage.time_ps * _FS_PER_PS / step), 1)
        frames = round(asked.frame_spacing_ps * _FS_PER_PS / step) if stage.production else 0
        if stage.ensemble == "minimise":
            return StagePlan(stage, step, MINIMISED_STEP, asked.piece, 10, seed=asked.seed * 1000 + number)
        piece = asked.piece
        if stage.name == _SETTLE.name:
            piece = steps  # a change of the box is begun anew when it is interrupted
        elif stage.ensemble == "npt" and not stage.production:
            piece = min(piece, max(round(_SHRINKING_PS * _FS_PER_PS / step), 1))
        return StagePlan(
            stage,
            step,
            steps,
            piece,
            max(round(asked.table_spacing_ps * _FS_PER_PS / step), 1),
            frames,
            Path(asked.trajectory).suffix,
            seed=asked.seed * 1000 + number,
        )

    def must_stop(self) -> bool:
        return bool(self.asked()) or (self.wishes.stop_at is not None and time.time() >= self.wishes.stop_at)

    def stage(self, number: int, plan: StagePlan, plans: list[StagePlan]) -> bool:
        """Run a stage from where it stands; False when it was stopped before its end."""
        folder = stage_folder(self.out, number, plan.stage.name)
        folder.mkdir(parents=True, exist_ok=True)
        begin = self.begin(number, plan, plans)
        if begin.own and begin.step >= plan.steps:
            return True
        if plan.frames:
            self.frames.cut_behind(begin.step if begin.own else -1)
        (folder / STOP).unlink(missing_ok=True)
        attempt = len(attempt_logs(folder)) + 1
        name = f"attempt-{attempt:03d}"
        script = stage_script(
            self.model, plan, begin, cold=not begin.own and all(one.minimises for one in plans[: number - 1]),
            scale=self.scale(number, plan), final=f"../../{FINAL}" if plan.stage.production else "",
        )  # fmt: skip
        watch = Watch(
            folder / f"{name}.log", self.model, plan, ranks=self.launch.ranks, limits=self.wishes.limits,
            room_bytes=_room(self.model.atoms), tell=self.teller(number, plan, plans),
        )  # fmt: skip
        stopping = _Stopping(folder / STOP, self.must_stop)

        def look() -> None:
            watch()
            stopping()
            drop_older(folder, keep=3)
            # The newest is still being written.
            self.join(folder, leave=1)

        try:
            run_lammps(script, folder, name=name, watch=look, hold=(self.lock,), **self.launch.words())
            watch()
        except LammpsError as error:
            if plan.stage.ensemble == "npt" and "Out of range atoms" in error.reason and plan.piece > _SHORTEST_PIECE:
                return self.stage(number, replace(plan, piece=max(plan.piece // _SHORTER, _SHORTEST_PIECE)), plans)
            worst = self.worst(folder, begin) if moved_wildly(explained(error.reason)[0]) else ()
            raise diagnosed(error, self.model, plan.stage.name, self.kept(folder, plan), worst) from error
        except DynamicsError as error:
            atoms = self.worst(folder, begin) if moved_wildly(error.cause) else ()
            told = f"{error}{'; look at ' + ', '.join(atoms) if atoms else ''}. {self.kept(folder, plan)}; the log is "
            raise DynamicsError(f"{told}{error.log_path}", error.cause, error.stage, error.log_path) from error
        except _StopError:
            pass
        end = self.begin(number, plan, plans)
        return end.own and end.step >= plan.steps

    def begin(self, number: int, plan: StagePlan, plans: list[StagePlan]) -> Restart:
        """Where a stage stands: its newest whole restart file that the frames reach, else the end of the stage before."""
        folder = stage_folder(self.out, number, plan.stage.name)
        if plan.frames:
            self.join(folder, leave=0)
        found = newest(folder, every=plan.frames, reached=self.frames.last_step)
        if found is not None:
            return found
        if number == 1:
            return Restart(f"../../{TOPOLOGY}", 0, own=False, data=True)
        before = stage_folder(self.out, number - 1, plans[number - 2].stage.name)
        return start_of(before, folder)

    def join(self, folder: Path, leave: int) -> None:
        """Join the files of frames to the trajectory, but for the newest few."""
        pieces = sorted(folder.glob(f"{FRAMES}.*"), key=lambda path: int(path.name.split(".")[1]))
        for piece in pieces[: len(pieces) - leave]:
            self.frames.add(piece)

    def scale(self, number: int, plan: StagePlan) -> float:
        """Factor on the edges that leads from the last to the mean volume of the stage before; 1 elsewhere."""
        if plan.stage.name != _SETTLE.name or number < 2:
            return 1.0
        before = read_stage(stage_folder(self.out, number - 1, self.plans()[number - 2].stage.name))
        return 1.0 if before is None or not before.volume_ratio else before.volume_ratio ** (1 / 3)

    def teller(self, number: int, plan: StagePlan, plans: list[StagePlan]) -> Callable[[dict[str, float], float], None]:
        """Turns rows of the table into :class:`Progress`."""
        later_ps = sum(one.steps * one.timestep_fs for one in plans[number:] if not one.minimises) / _FS_PER_PS

        def told(row: dict[str, float], ns_per_day: float) -> None:
            if self.wishes.tell is None:
                return
            whole = 0.0 if plan.minimises else plan.steps * plan.timestep_fs / _FS_PER_PS
            done = 0.0 if plan.minimises else row["step"] * plan.timestep_fs / _FS_PER_PS
            left = (whole - done + later_ps) / 1000 / ns_per_day * 86_400 if ns_per_day > 0 else None
            self.wishes.tell(
                Progress(plan.stage.name, number, len(plans), done, whole, ns_per_day, left, row["temperature_K"],
                         row["density_g_cm3"], row["pressure_atm"])
            )  # fmt: skip

        return told

    def kept(self, folder: Path, plan: StagePlan) -> str:
        found = newest(folder)
        time_ps = 0.0 if found is None else found.step * plan.timestep_fs / _FS_PER_PS
        if plan.minimises or found is None:
            return "The stages before are kept"
        return f"{time_ps:g} ps of this stage and the stages before are kept"

    def worst(self, folder: Path, begin: Restart) -> tuple[str, ...]:
        found = newest(folder) or begin
        return worst_atoms(self.model, folder, found, program=self.launch.program)

    def write(self, done: list[StageRecord]) -> MDResult:
        """``md.json`` as things stand."""
        asked = self.settings
        # Frames that are there already, of a production not yet at its end.
        last = self.frames.last_step
        finished = bool(done) and done[-1].name == "production"
        reached = done[-1].time_ps if finished else (last or 0) * asked.timestep_fs / _FS_PER_PS
        result = MDResult(
            name=self.model.name,
            out=str(self.out),
            finished=finished,
            production_ps=reached,
            protocol=asked.protocol,
            cannot=asked.cannot,
            temperature_K=asked.temperature_K,
            pressure_atm=asked.pressure_atm,
            timestep_fs=asked.timestep_fs,
            timestep_ps=asked.timestep_fs / _FS_PER_PS,
            frame_spacing_ps=asked.frame_spacing_ps,
            topology=TOPOLOGY,
            trajectory=asked.trajectory,
            density_g_cm3=done[-1].density_g_cm3 if done else None,
            equilibrated=equilibrated(done),
            stages=tuple(done),
            warnings=(*self.model.warnings, *run_warnings(asked, done)),
        )
        write_atomically(self.out / MD_JSON, result.to_json() + "\n")
        return result


class _Stopping:
    """Asks LAMMPS to stop once somebody wishes it, and gives it time to."""

    def __init__(self, flag: Path, wished: Callable[[], bool]) -> None:
        self._flag, self._wished = flag, wished
        self._since: float | None = None

    def __call__(self) -> None:
        if self._since is None:
            if self._wished():
                self._since = time.monotonic()
                with contextlib.suppress(OSError):
                    self._flag.touch()
        elif time.monotonic() - self._since > _PATIENCE_S:
            raise _StopError


def _room(atoms: int) -> int:
    """Bytes that must stay free: some restart files (about 400 bytes an atom with its bonds) and logs."""
    return 4 * 400 * atoms + 1_000_000
