"""A watch on MD while it runs: what is not a number, runs away, stands still, or fills the disk."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from atomflow.dynamics.engine_input import EngineInput
from atomflow.dynamics.stages import THERMO, StagePlan
from atomflow.errors import DynamicsError, OutputError
from atomflow.lammps import LogFollower, free_bytes


@dataclass(frozen=True)
class Limits:
    """Beyond which a run is given up. Assumed: far outside what a sound run of a liquid or a polymer shows.

    Attributes
    ----------
    heat_factor, heat_more_K : float
        The temperature may be that factor times the wanted one and so much more.
    pressure_atm : float
        Of a box of 1,000 atoms; the fluctuation falls with the root of the number.
    thinnest_g_cm3, densest_g_cm3 : float
    stalled_s : float
        Without a new line in the log, and not before 50 times the longest wait so far.
    """

    heat_factor: float = 3.0
    heat_more_K: float = 500.0
    pressure_atm: float = 3.0e5
    thinnest_g_cm3: float = 0.02
    densest_g_cm3: float = 25.0
    stalled_s: float = 300.0


#: Rows in a row that must be beyond a limit: a peak of one row can be the end of a clash.
_ROWS = 2
_PATIENCE = 50.0
#: Between two looks, which are half a second apart, so much time means that everything stood still.
_ASLEEP_S = 20.0


class Watch:
    """Looks at the log of a running stage whenever it is called, and raises when the run cannot be trusted any more.

    Parameters
    ----------
    log_path : Path
    model : EngineInput
    plan : StagePlan
    ranks : int
    limits : Limits
    room_bytes : int
        The disk must keep so much room, or the last files would be cut short.
    tell : callable, optional
        Given the newest row, by our names with units, and the nanoseconds a day.
    """

    def __init__(
        self,
        log_path: Path,
        model: EngineInput,
        plan: StagePlan,
        *,
        ranks: int,
        limits: Limits,
        room_bytes: int,
        tell: Callable[[dict[str, float], float], None] | None = None,
    ) -> None:
        self._log = LogFollower(log_path)
        self._model, self._plan, self._ranks, self._limits = model, plan, ranks, limits
        self._room, self._tell = room_bytes, tell
        self._bad: dict[str, int] = {}
        self._heard = self._looked = time.monotonic()
        self._longest = 0.0
        self._size = 0
        self._first: tuple[int, float] | None = None

    def __call__(self) -> None:
        """Look.

        Raises
        ------
        DynamicsError
            With what is wrong.
        OutputError
            The disk is nearly full.
        """
        steps = self._log.poll()
        if self._log.ranks and self._log.ranks != self._ranks:
            raise self._error(
                "launcher",
                f"LAMMPS runs on {self._log.ranks} instead of {self._ranks} ranks: the mpirun is of another MPI than this "
                "LAMMPS; use the one that came with it, or name one with --launcher",
            )
        for step in steps:
            self._check(self._row(step))
        self._listen()
        if free_bytes(self._log.path.parent) < self._room:
            raise OutputError(
                self._log.path.parent,
                f"the disk has less than {max(self._room // 1_000_000, 1)} MB left; make room, the same command goes on",
            )
        if steps and self._tell is not None:
            self._tell(self._row(steps[-1]), self._speed(steps[-1]))

    def _row(self, step: int) -> dict[str, float]:
        return dict(zip(THERMO.values(), self._log.rows[step], strict=False))

    def _speed(self, step: int) -> float:
        """Nanoseconds a day since the first row of this process."""
        now = time.monotonic()
        if self._first is None:
            self._first = (step, now)
        begin, since = self._first
        ns = (step - begin) * self._plan.timestep_fs * 1e-6
        return ns / (now - since) * 86_400 if now > since else 0.0

    def _listen(self) -> None:
        now = time.monotonic()
        if now - self._looked > _ASLEEP_S:
            # This process was asleep, too: the job was suspended.
            self._heard += now - self._looked
        self._looked = now
        if self._log.grown_bytes > self._size:
            self._size = self._log.grown_bytes
            self._longest = max(self._longest, now - self._heard)
            self._heard = now
        silent = now - self._heard
        if silent > max(self._limits.stalled_s, _PATIENCE * self._longest):
            raise self._error(
                "stalled",
                f"LAMMPS has written nothing for {silent:.0f} s and was ended; is a rank of MPI lost, or a disk hanging? "
                "The same command goes on from the last restart file",
            )

    def _check(self, row: dict[str, float]) -> None:
        for name, value in row.items():
            if not math.isfinite(value):
                raise self._error("not-finite", f"{name} is {value} at step {row['step']:.0f}; two atoms overlap, or the "
                                  "time step is too long")  # fmt: skip
        if self._plan.minimises:
            return
        stage, limits = self._plan.stage, self._limits
        hottest = max(stage.temperature_K, stage.end_temperature_K)
        heat, pressure, density = row["temperature_K"], row["pressure_atm"], row["density_g_cm3"]
        if stage.ensemble != "soft":
            known = not self._model.own_motion or self._model.own_temperature_K is not None
            self._note(
                "too-hot", known and heat > limits.heat_factor * hottest + limits.heat_more_K,
                f"{heat:.0f} K where {hottest:.0f} K are wanted",
            )  # fmt: skip
            most = limits.pressure_atm * max(1.0, (1000 / self._model.atoms) ** 0.5) + 10 * abs(stage.pressure_atm)
            self._note("pressure", abs(pressure) > most, f"a pressure of {pressure:.2g} atm")
        self._note("density", not limits.thinnest_g_cm3 < density < limits.densest_g_cm3, f"{density:.3g} g/cm3")

    def _note(self, cause: str, beyond: bool, told: str) -> None:
        self._bad[cause] = self._bad.get(cause, 0) + 1 if beyond else 0
        if self._bad[cause] >= _ROWS:
            raise self._error(cause, f"{told} in {_ROWS} rows of the table; the run has run away")

    def _error(self, cause: str, told: str) -> DynamicsError:
        stage = self._plan.stage.name
        return DynamicsError(f"{self._model.name}, stage {stage}: {told}", cause, stage, self._log.path)
