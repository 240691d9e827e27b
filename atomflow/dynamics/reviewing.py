"""What came of a stage: means, speed, and whether density and energy stood still."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from atomflow.dynamics.engine_input import EngineInput
from atomflow.dynamics.judging import judge
from atomflow.dynamics.records import RunSettings, StageRecord, gather_table, write_table
from atomflow.dynamics.stages import StagePlan
from atomflow.errors import DynamicsError
from atomflow.model import Notice

_ENERGY = ("potential_kcal_per_mol", "potential energy", "kcal/mol")
#: What each check of a protocol looks at: our columns, what they are called, and their units.
_CHECKED = {
    "temperature": (("temperature_K", "temperature", "K"),),
    "energy": (_ENERGY,),
    "density": (("density_g_cm3", "density", "g/cm3"), _ENERGY),
}
#: A mean temperature farther from the wanted one, relative, is told.
_COLD = 0.03
_PS_PER_NS = 1000.0
_DAY_S = 86_400.0


def review(folder: Path, plan: StagePlan, model: EngineInput, ranks: int) -> StageRecord:
    """The record of a finished stage; its table is written beside it.

    Parameters
    ----------
    folder : Path
    plan : StagePlan
    model : EngineInput
    ranks : int
        Of the last attempt.

    Raises
    ------
    DynamicsError
        LAMMPS left no table.
    """
    columns, rows, logs = gather_table(folder)
    if not len(rows):
        raise DynamicsError(f"{model.name}, stage {plan.stage.name}: LAMMPS left no table in {folder}", "lammps",
                            plan.stage.name, folder)  # fmt: skip
    write_table(folder, columns, rows, plan.timestep_fs)
    table = {name: rows[:, index] for index, name in enumerate(columns)}
    even = _even(table["step"], plan.thermo)
    times_ps = table["step"] * plan.timestep_fs / _PS_PER_NS
    half = slice(-1, None) if plan.minimises else slice(len(rows) // 2, None)
    seconds = sum(one[0] for log in logs for one in log.loops)
    steps = sum(one[1] for log in logs for one in log.loops)
    judgements = tuple(
        judge(times_ps[even], table[column][even], quantity=quantity, unit=unit)
        for column, quantity, unit in _CHECKED.get(plan.stage.check, ())
    )
    # The part that stands still, where there is one, else the second half.
    settled = [one.start_ps for one in judgements if one.quantity == "density" and one.verdict == "stationary"]
    kept = times_ps >= settled[0] if settled else np.arange(len(rows)) >= len(rows) // 2
    density = table["density_g_cm3"]
    mean_density = float(density[-1] if plan.minimises else density[kept].mean())
    return StageRecord(
        name=plan.stage.name,
        goal=plan.stage.goal,
        ensemble=plan.stage.ensemble,
        time_ps=0.0 if plan.minimises else plan.steps * plan.timestep_fs / _PS_PER_NS,
        steps=plan.steps,
        timestep_fs=plan.timestep_fs,
        temperature_K=float(table["temperature_K"][half].mean()),
        pressure_atm=float(table["pressure_atm"][half].mean()),
        density_g_cm3=mean_density,
        ns_per_day=0.0 if plan.minimises or not seconds else steps * plan.timestep_fs * 1e-6 / seconds * _DAY_S,
        cpu_s=seconds * ranks,
        attempts=len(logs),
        volume_ratio=float(density[-1] / mean_density) if plan.stage.ensemble == "npt" else 1.0,
        judgements=judgements,
        energy_drift_kcal_per_mol_atom_ns=_drift(times_ps, table["total_kcal_per_mol"], model.atoms)
        if plan.stage.ensemble == "nve" else None,
    )  # fmt: skip


def _even(steps: NDArray[np.float64], every: int) -> NDArray[np.bool_]:
    """Rows fit for judging: on the grid of the table, and behind the last gap, where a log was lost."""
    even = steps % every == 0
    gaps = np.flatnonzero(np.diff(steps[even]) != every)
    if len(gaps):
        even &= steps > steps[even][gaps[-1]]
    return even


def _drift(times_ps: NDArray[np.float64], total: NDArray[np.float64], atoms: int) -> float | None:
    """Slope of the total energy of an atom, kcal/mol per ns."""
    if len(times_ps) < 3:
        return None
    return float(np.polyfit(times_ps / _PS_PER_NS, total / atoms, 1)[0])


def equilibrated(done: Sequence[StageRecord]) -> bool | None:
    """Whether density and energy stood still in the last stage that was judged by its density; None when none was."""
    for one in reversed(done):
        verdicts = [each.verdict for each in one.judgements]
        if any(each.quantity == "density" for each in one.judgements):
            return all(verdict == "stationary" for verdict in verdicts)
    return None


def run_warnings(asked: RunSettings, done: Sequence[StageRecord]) -> tuple[Notice, ...]:
    """What could mislead a reader of the run."""
    notices = [Notice("protocol", f"protocol {asked.protocol}: {text}") for text in asked.cannot]
    last = next((one for one in reversed(done) if any(j.quantity == "density" for j in one.judgements)), None)
    if last is None:
        if done and done[-1].name == "production":
            notices.append(Notice("density-not-judged", "no stage let the density settle: it is that of the box given"))
    else:
        notices += [
            Notice("not-equilibrated", f"stage {last.name}: {one.text}")
            for one in last.judgements
            if one.verdict != "stationary"
        ]
    for one in done:
        if one.name == "production":
            notices += _production_warnings(asked, one)
    return tuple(notices)


def _production_warnings(asked: RunSettings, done: StageRecord) -> list[Notice]:
    notices = []
    if asked.ensemble != "own" and abs(done.temperature_K / asked.temperature_K - 1) > _COLD:
        notices.append(
            Notice(
                "temperature-off",
                f"production was at {done.temperature_K:.1f} K where {asked.temperature_K:g} K were wanted",
            )
        )
    notices += [
        Notice("production-drifts", f"production: {one.text}") for one in done.judgements if one.verdict == "drifting"
    ]
    return notices
