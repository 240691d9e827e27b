"""The stages of a run one after the other, each from where it stands.

Each stage has a folder with a restart file every so many steps. Whatever ends a process, the next one looks for the newest
whole restart file that the frames on the disk reach up to, cuts the trajectory back to it, and goes on from there: no frame
is lost or doubled, and no time behind that file is done twice.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from atomflow.dynamics.diagnosing import diagnosed, explained, moved_wildly, worst_atoms
from atomflow.dynamics.engine_input import EngineInput
from atomflow.dynamics.guarding import StopError, Stopping
from atomflow.dynamics.planning import SETTLE, plans_of
from atomflow.dynamics.records import (
    FINAL,
    MD_JSON,
    RECORD,
    TABLE,
    TOPOLOGY,
    MDResult,
    RunSettings,
    StageRecord,
    next_attempt,
    read_stage,
    read_table,
    stage_folder,
    write_stage,
)
from atomflow.dynamics.restarts import Restart, drop_behind, drop_older, newest, start_of
from atomflow.dynamics.reviewing import equilibrated, review, run_warnings
from atomflow.dynamics.stages import FRAMES, STOP, StagePlan, stage_script, start_lines
from atomflow.dynamics.watching import Limits, Watch
from atomflow.errors import BadFileError, DynamicsError, LammpsError, OutputError
from atomflow.lammps import GrowingTrajectory, LammpsProgram, run_lammps
from atomflow.model import Notice, write_atomically

#: Shorter pieces tried when a box shrinks too fast for one, each by this factor, down to so many steps.
_SHORTER, _SHORTEST_PIECE = 5, 20
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


@dataclass(frozen=True)
class Launch:
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
class Wishes:
    """What the caller of one call wants besides the run."""

    stop_at: float | None
    stop_after: str | None
    tell: Teller | None
    limits: Limits


@dataclass
class StageRunner:
    """One call: the folder, what is run in it and with what."""

    out: Path
    model: EngineInput
    settings: RunSettings
    launch: Launch
    wishes: Wishes
    lock: int
    asked: Callable[[], int]

    def __post_init__(self) -> None:
        self.frames = GrowingTrajectory(self.out / self.settings.trajectory)

    def go(self) -> MDResult:
        """All stages in order."""
        done: list[StageRecord] = []
        plans = plans_of(self.settings, self.model)
        self.write(done)
        for number, plan in enumerate(plans, start=1):
            folder = stage_folder(self.out, number, plan.stage.name)
            record = read_stage(folder)
            if record is None or record.steps < plan.steps or self.frames_lack(plan):
                if self.must_stop() or not self.stage(number, plan, plans):
                    break
                record = review(folder, plan, self.model, self.launch.ranks)
                write_stage(folder, record)
                # Production may be made longer: one to spare, should the newest be damaged by then.
                drop_older(folder, keep=2 if plan.stage.production else 1)
            if plan.stage.production:
                self.final_data(folder)
            done.append(record)
            self.write(done)
            if plan.stage.name == self.wishes.stop_after:
                break
        return self.write(done)

    def frames_lack(self, plan: StagePlan) -> bool:
        """Whether a finished stage has lost frames since."""
        return bool(plan.frames) and (self.frames.last_step or 0) < plan.steps // plan.frames * plan.frames

    def must_stop(self) -> bool:
        """Whether a signal came or the time is over."""
        return bool(self.asked()) or (self.wishes.stop_at is not None and time.time() >= self.wishes.stop_at)

    def stage(self, number: int, plan: StagePlan, plans: list[StagePlan]) -> bool:
        """Run a stage from where it stands; False when it was stopped before its end."""
        folder = stage_folder(self.out, number, plan.stage.name)
        folder.mkdir(parents=True, exist_ok=True)
        begin = self.begin(number, plan, plans)
        if begin.own and begin.step >= plan.steps:
            return True
        if plan.frames and not begin.own and self.frames.last_step is not None and (folder / RECORD).is_file():
            raise BadFileError(
                folder,
                f"has no whole restart file that fits {self.frames.path.name}; to make the trajectory anew, move that file away",
            )
        # What lies behind is of another past, and must never be gone on from.
        drop_behind(folder, begin.step if begin.own else -1)
        if plan.frames:
            self.frames.cut_behind(begin.step if begin.own else -1)
        (folder / STOP).unlink(missing_ok=True)
        name = next_attempt(folder)
        script = stage_script(
            self.model, plan, begin, cold=not begin.own and all(one.minimises for one in plans[: number - 1]),
            scale=self.scale(number, plan, plans),
        )  # fmt: skip
        watch = Watch(
            folder / f"{name}.log", self.model, plan, ranks=self.launch.ranks, limits=self.wishes.limits,
            room_bytes=_room(self.model.atoms), tell=self.teller(number, plan, plans),
        )  # fmt: skip
        stopping = Stopping(folder / STOP, self.must_stop)

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
        except StopError:
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

    def scale(self, number: int, plan: StagePlan, plans: list[StagePlan]) -> float:
        """Factor on the edges that leads from the last volume to the mean one of the last NPT stage; 1 elsewhere."""
        # A leaning cell would lean otherwise: LAMMPS scales its edges and leaves the tilt.
        if plan.stage.name != SETTLE.name or self.model.leaning:
            return 1.0
        folders = [stage_folder(self.out, n, one.stage.name) for n, one in enumerate(plans[: number - 1], start=1)]
        wanted = next(
            one.density_g_cm3 for one in map(read_stage, reversed(folders)) if one is not None and one.ensemble == "npt"
        )
        return float((read_table(folders[-1] / TABLE)["density_g_cm3"][-1] / wanted) ** (1 / 3))

    def final_data(self, folder: Path) -> None:
        """The last state as a data file, unless it is there."""
        last, final = newest(folder), self.out / FINAL
        if last is None or (final.is_file() and final.stat().st_mtime_ns >= (folder / last.path).stat().st_mtime_ns):
            return
        # What a data file holds of pairs by the mixing rule is not all: ours names each pair.
        pairs = " pair ij" if self.model.labels else ""
        lines = [*start_lines(self.model, last.path, data=False), f"write_data final.part.data{pairs}"]
        try:
            run_lammps("\n".join(lines) + "\n", folder, program=self.launch.program, name="final")
            (folder / "final.part.data").replace(final)
        except LammpsError as error:
            raise diagnosed(error, self.model, "production", "The run is kept") from error
        except OSError as error:
            raise OutputError(final, error.strerror or str(error)) from error

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
        """What a failed stage leaves, for people."""
        found = newest(folder)
        time_ps = 0.0 if found is None else found.step * plan.timestep_fs / _FS_PER_PS
        if plan.minimises or found is None:
            return "The stages before are kept"
        return f"{time_ps:g} ps of this stage and the stages before are kept"

    def worst(self, folder: Path, begin: Restart) -> tuple[str, ...]:
        """The atoms with the largest forces in the last state that was saved."""
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
            warnings=(*self.model.warnings, *self.leaning(), *run_warnings(asked, done)),
        )
        write_atomically(self.out / MD_JSON, result.to_json() + "\n")
        return result

    def leaning(self) -> tuple[Notice, ...]:
        """A notice that the volume of production is not the mean one."""
        if not self.model.leaning or not any(one.ensemble == "npt" for one in self.settings.stages):
            return ()
        text = "the cell is triclinic: production keeps the volume at which the last NPT stage ended, not its mean"
        return (Notice("volume-not-mean", text),)


def _room(atoms: int) -> int:
    """Bytes that must stay free: some restart files (about 400 bytes an atom with its bonds) and logs."""
    return 4 * 400 * atoms + 1_000_000
