"""What is going on, for the person waiting: a line for every kind of step."""

from __future__ import annotations

import threading
from collections import Counter

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

_OVER = ("done", "found", "failed", "skipped")
_TOLD = ("running", "waiting", "found", "failed", "skipped")


class StepsDisplay:
    """A progress bar for each kind of step, with how many run, wait, were found or failed.

    Parameters
    ----------
    console : rich.console.Console
        On a terminal the bars move; elsewhere nothing is shown.
    quiet : bool
    """

    def __init__(self, console: Console, quiet: bool) -> None:
        self.progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("[dim]{task.fields[states]}"),
            console=console,
            disable=quiet or not console.is_terminal,
        )
        self._lines: dict[str, TaskID] = {}
        self._states: dict[str, dict[str, str]] = {}
        self._lock = threading.Lock()

    def change(self, step: str, key: str, state: str) -> None:
        """A step is now in another state."""
        with self._lock:
            states = self._states.setdefault(step, {})
            states[key] = "waiting" if state == "again" else state
            counts = Counter(states.values())
            if step not in self._lines:
                name = step.rsplit(".", 1)[-1].replace("_", " ")
                self._lines[step] = self.progress.add_task(name, total=None, states="")
            self.progress.update(
                self._lines[step],
                completed=sum(counts[state] for state in _OVER),
                total=len(states),
                states=", ".join(f"{counts[state]} {state}" for state in _TOLD if counts[state]),
            )

    @property
    def steps(self) -> list[str]:
        """Names of the steps seen so far."""
        return list(self._states)
