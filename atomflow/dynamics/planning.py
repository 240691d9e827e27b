"""What was asked of a run, with its defaults, and the stages in steps."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

from atomflow.dynamics.engine_input import EngineInput
from atomflow.dynamics.protocols import Protocol, Stage, find_protocol
from atomflow.dynamics.records import FINAL, RunSettings, read_settings
from atomflow.dynamics.stages import MINIMISED_STEP, StagePlan
from atomflow.errors import BadOptionError

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
#: Between the NPT stages and production at constant volume the box is brought to its mean size in this time.
SETTLE = Stage("mean-volume", "bring the box from its momentary to its mean volume", "nvt", time_ps=2.0)
#: Before a user's own fixes move the atoms, where the input minimises, too.
_MINIMISE = Stage("minimise", "as the input does before it runs", "minimise")
_FS_PER_PS = 1000.0


def plans_of(asked: RunSettings, model: EngineInput) -> list[StagePlan]:
    """All stages in steps, production last."""
    stages = list(asked.stages)
    heat, pressure = asked.temperature_K, asked.pressure_atm
    breathes = asked.ensemble == "npt" or model.own_barostat
    now: dict[str, Any] = {
        "temperature_K": heat,
        "end_temperature_K": heat,
        "pressure_atm": pressure,
        "end_pressure_atm": pressure,
    }
    if asked.ensemble in ("nvt", "nve") and any(one.ensemble == "npt" for one in stages):
        stages.append(replace(SETTLE, **now))
    stages.append(
        Stage("production", "the trajectory", asked.ensemble, time_ps=asked.time_ps, production=True,
              check="density" if breathes else "energy", **now)
    )  # fmt: skip
    return [_plan(asked, number, stage) for number, stage in enumerate(stages, start=1)]


def _plan(asked: RunSettings, number: int, stage: Stage) -> StagePlan:
    step = stage.timestep_fs or asked.timestep_fs
    steps = max(round(stage.time_ps * _FS_PER_PS / step), 1)
    frames = round(asked.frame_spacing_ps * _FS_PER_PS / step) if stage.production else 0
    if stage.ensemble == "minimise":
        return StagePlan(stage, step, MINIMISED_STEP, asked.piece, 10, seed=asked.seed * 1000 + number)
    piece = asked.piece
    if stage.name == SETTLE.name:
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


def settings_of(
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
    above_zero("temperature_K", temperature_K)
    above_zero("time_ps", time_ps)
    if not math.isfinite(pressure_atm):
        raise BadOptionError(f"pressure_atm must be a number, not {pressure_atm!r}")
    if ensemble not in ("nvt", "npt", "nve"):
        raise BadOptionError(f"ensemble {ensemble!r}: it may be nvt, npt or nve")
    if not isinstance(seed, int) or seed < 0:
        raise BadOptionError(f"seed must be a whole number from 0, not {seed!r}")
    step = above_zero("timestep_fs", timestep_fs or model.timestep_fs or (2.0 if model.stiff_hydrogens else 1.0))
    if isinstance(protocol, str):
        name = ("polymer" if model.chains else "liquid") if protocol == "auto" else protocol
        protocol = find_protocol(name, temperature_K=temperature_K, pressure_atm=pressure_atm)
    return RunSettings(
        protocol="none" if model.own_motion else protocol.name,
        cannot=("the input's own fixes move the atoms; nothing was equilibrated",)
        if model.own_motion
        else protocol.cannot,
        stages=protocol.stages if not model.own_motion else (_MINIMISE,) if model.minimise_first else (),
        ensemble="own" if model.own_motion else ensemble,
        time_ps=time_ps,
        temperature_K=model.own_temperature_K or temperature_K,
        pressure_atm=pressure_atm,
        timestep_fs=step,
        frame_spacing_ps=_spacing(frame_spacing_ps, time_ps, step),
        table_spacing_ps=above_zero("table_spacing_ps", table_spacing_ps),
        piece=_piece(restart_spacing_ps, step, ranks, model.atoms),
        seed=seed,
    )


def _piece(wanted_ps: float | None, timestep_fs: float, ranks: int, atoms: int) -> int:
    """Steps between two restart files."""
    if wanted_ps is not None:
        return max(round(above_zero("restart_spacing_ps", wanted_ps) * _FS_PER_PS / timestep_fs), 1)
    low, high = _PIECE_LIMITS
    return min(max(_PIECE_ATOM_STEPS * max(ranks, 1) // atoms // 100 * 100, low), high)


def _spacing(wanted_ps: float | None, time_ps: float, timestep_fs: float) -> float:
    if wanted_ps is None:
        fitting = [one for one in _SPACINGS_PS if _whole(one, timestep_fs) and time_ps / one >= _FRAMES]
        first = next((one for one in _SPACINGS_PS if _whole(one, timestep_fs)), timestep_fs / _FS_PER_PS * 100)
        return max(fitting, default=first)
    above_zero("frame_spacing_ps", wanted_ps)
    if not _whole(wanted_ps, timestep_fs):
        raise BadOptionError(f"frames every {wanted_ps:g} ps: that is no whole number of steps of {timestep_fs:g} fs")
    return wanted_ps


def _whole(spacing_ps: float, timestep_fs: float) -> bool:
    steps = spacing_ps * _FS_PER_PS / timestep_fs
    return steps >= 0.5 and abs(steps - round(steps)) < 1e-6


def compared(out: Path, model: EngineInput, wanted: RunSettings, spacing_ps: float | None) -> RunSettings:
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
        "table_spacing_ps",
    ):
        was, now = getattr(old, name), getattr(wanted, name)
        if was != now:
            told = "other stages" if name == "stages" else f"{name} {was}, not {now}"
            raise BadOptionError(f"{out} holds a run with {told}; {mend}")
    if (old_model.data, old_model.first) != (model.data, model.first):
        raise BadOptionError(f"{out} holds a run of another box ({old_model.name}) or force field; {mend}")
    for name in ("again", "own_motion", "own_velocities", "keep_velocities", "stiff_hydrogens"):
        if getattr(old_model, name) != getattr(model, name):
            raise BadOptionError(f"{out} holds a run in which the atoms move otherwise ({name}); {mend}")
    check_length(model, old, wanted)
    return wanted


def check_length(model: EngineInput, old: RunSettings, wanted: RunSettings) -> None:
    """Refuse another length of a run whose own fixes ramp: the ramp would jump.

    Raises
    ------
    BadOptionError
    """
    if model.own_ramp and old.time_ps != wanted.time_ps:
        raise BadOptionError(
            f"the input's own fixes change something over {old.time_ps:g} ps; another --time would make it jump: go on from "
            f"{FINAL} with an input of its own"
        )


def above_zero(name: str, value: float) -> float:
    """The number itself.

    Raises
    ------
    BadOptionError
        It is not above zero, or not finite.
    """
    if not 0 < value < float("inf"):
        raise BadOptionError(f"{name} must be above zero, not {value!r}")
    return float(value)
