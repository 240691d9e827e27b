"""Molecular dynamics that can be stopped at any moment and goes on: a protocol, then production."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from atomflow.dynamics.engine_input import EngineInput, engine_input
from atomflow.dynamics.guarding import alone, asked_to_stop
from atomflow.dynamics.planning import TABLE_PS, above_zero, check_length, compared, settings_of
from atomflow.dynamics.protocols import Protocol
from atomflow.dynamics.records import RUN_JSON, MDResult, RunSettings, read_settings, write_settings
from atomflow.dynamics.stage_runner import Launch, StageRunner, Teller, Wishes
from atomflow.dynamics.watching import Limits
from atomflow.errors import OutputError
from atomflow.lammps import LammpsProgram, find_lammps
from atomflow.model import System

#: Packages of LAMMPS that our own inputs need.
_PACKAGES = ("KSPACE", "MOLECULE", "EXTRA-MOLECULE", "RIGID")


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
    settings = settings_of(
        ready, protocol, time_ps, temperature_K, pressure_atm, ensemble, ranks, seed, timestep_fs, frame_spacing_ps,
        table_spacing_ps, restart_spacing_ps,
    )  # fmt: skip
    if (out / RUN_JSON).is_file():
        settings = compared(out, ready, settings, frame_spacing_ps)
    launch = Launch(ranks, _found(program, ready), launcher, suffix, tuple(flags))
    return _run(out, ready, settings, launch, Wishes(stop_at, stop_after, tell, limits or Limits()))


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
        longer = replace(settings, time_ps=above_zero("time_ps", time_ps))
        check_length(model, settings, longer)
        settings = longer
    launch = Launch(ranks, _found(program, model), launcher, suffix, tuple(flags))
    return _run(out, model, settings, launch, Wishes(stop_at, None, tell, limits or Limits()))


def _found(program: LammpsProgram | str | Path | None, model: EngineInput) -> LammpsProgram:
    lmp = program if isinstance(program, LammpsProgram) else find_lammps(program)
    if not model.own_motion:
        lmp.need(*_PACKAGES)
    return lmp


def _run(out: Path, model: EngineInput, settings: RunSettings, launch: Launch, wishes: Wishes) -> MDResult:
    if settings.trajectory.endswith(".xtc") and "EXTRA-DUMP" not in launch.program.packages:
        if (out / RUN_JSON).is_file():
            launch.program.need("EXTRA-DUMP")
        settings = replace(settings, trajectory="production.lammpstrj")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(out, error.strerror or str(error)) from error
    with alone(out) as lock, asked_to_stop() as asked:
        write_settings(out, model, settings)
        return StageRunner(out, model, settings, launch, wishes, lock, asked).go()
