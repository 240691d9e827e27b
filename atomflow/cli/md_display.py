"""A run of MD for the person waiting: a line with stage, speed, time left and state; a table at the end."""

from __future__ import annotations

import math
import time
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

if TYPE_CHECKING:
    from atomflow.dynamics import Estimate, MDResult
    from atomflow.dynamics import Progress as RunProgress

#: Where the bar cannot move (a log file) there is a line so often, s, and one for each new stage.
_EVERY_S = 300.0


class RunDisplay:
    """Shows how far a run is, on standard error.

    Parameters
    ----------
    quiet : bool
    """

    def __init__(self, quiet: bool) -> None:
        self._console = Console(stderr=True, quiet=quiet)
        self._moves = self._console.is_terminal and not quiet
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            TextColumn("{task.fields[state]}"),
            TimeElapsedColumn(),
            console=self._console,
            disable=not self._moves,
        )
        self._task: TaskID | None = None
        self._stage = ""
        self._told = 0.0

    def __enter__(self) -> RunDisplay:
        self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._bar.stop()

    def say(self, text: str) -> None:
        """What is done before the run."""
        if not self._moves:
            return
        if self._task is not None:
            self._bar.stop_task(self._task)
        self._task = self._bar.add_task(text, total=None, state="")

    def tell(self, now: RunProgress) -> None:
        """A new row of the table."""
        state = state_text(now)
        if not self._moves:
            if now.stage != self._stage or time.monotonic() - self._told > _EVERY_S:
                self._told = time.monotonic()
                self._console.print(f"{title_text(now)}: {state}", markup=False, highlight=False, soft_wrap=True)
        elif now.stage != self._stage or self._task is None:
            if self._task is not None:
                self._bar.stop_task(self._task)
            total = now.time_ps if now.time_ps > 0 else None
            self._task = self._bar.add_task(title_text(now), total=total, state=state)
            self._bar.update(self._task, completed=now.done_ps)
        else:
            self._bar.update(self._task, completed=now.done_ps, state=state)
        self._stage = now.stage


def title_text(now: RunProgress) -> str:
    """Which stage."""
    return f"stage {now.number} of {now.of}, {now.stage}"


def state_text(now: RunProgress) -> str:
    """How far, how fast, how long still, how warm and dense."""
    parts = [f"{now.done_ps:.4g} of {now.time_ps:.4g} ps"] if now.time_ps > 0 else []
    parts += [f"{now.ns_per_day:.3g} ns/day"] if now.ns_per_day > 0 else []
    parts += [f"{duration_text(now.left_s)} left"] if now.left_s is not None and math.isfinite(now.left_s) else []
    parts += [f"{now.temperature_K:.0f} K"] if now.time_ps > 0 else []
    return ", ".join([*parts, f"{now.density_g_cm3:.3f} g/cm3"])


def duration_text(seconds: float) -> str:
    """Seconds for people: ``1 h 05 min``."""
    minutes, whole = divmod(round(seconds), 60)
    if minutes == 0:
        return f"{whole} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {whole:02d} s"


def result_text(result: MDResult) -> str:
    """The stages of a run as a table, and what came of it."""
    rows = [("Stage", "Time, ps", "T, K", "p, atm", "Density, g/cm3", "ns/day")]
    rows += [
        (one.name, f"{one.time_ps:g}", f"{one.temperature_K:.0f}", f"{one.pressure_atm:.0f}",
         f"{one.density_g_cm3:.4f}", f"{one.ns_per_day:.3g}" if one.ns_per_day else "")
        for one in result.stages
    ]  # fmt: skip
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "  ".join(
            [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        )
        for row in rows
    ]
    done = f"{result.name}: {result.production_ps:g} ps of production, {result.frame_spacing_ps:g} ps between frames"
    lines += [done + ("" if result.finished else "; not finished"), f"equilibrated: {_settled(result)}"]
    return "\n".join(lines)


def _settled(result: MDResult) -> str:
    """What the last stage that was judged by its density says."""
    if result.equilibrated is None:
        return "not judged"
    if result.equilibrated:
        return "density and energy stand still"
    judged = (one.judgements for one in reversed(result.stages) if any(j.quantity == "density" for j in one.judgements))
    if any(one.verdict == "drifting" for one in next(judged, ())):
        return "density or energy still drift"
    return "too short to tell"


def estimate_text(name: str, atoms: int, carrier: str, protocol: str, found: Estimate) -> str:
    """What a run will cost, for people."""
    days = f"about {duration_text(found.wall_s)}, {found.core_hours:.3g} core hours, at {found.ns_per_day:.3g} ns/day"
    lines = [
        f"{name}: {atoms} atoms, equilibration {protocol}",
        f"time: {days}",
        f"disk: {found.disk_MB:.3g} MB, {found.frames} frames",
    ]
    if carrier:
        known = "none" if found.relative_precision_D is None else f"{100 * found.relative_precision_D:.2g} %"
        lines.append(f"standard error of the diffusivity of {carrier}: {known}")
    lines += [f"assumed: {text}" for text in found.assumptions]
    return "\n".join([*lines, "nothing was run"])
