"""What every command that computes shares: options, progress, provenance, and where a failed SCF's log goes."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TypeVar

import click
from rich.console import Console

from atomflow import __version__
from atomflow.cli.engines import Engine, engine_options
from atomflow.cli.progress import StepsDisplay
from atomflow.errors import AtomflowError, BadOptionError, BranchesFailedError, CalculationError, OutputError, SCFError
from atomflow.flow import Bench, Store
from atomflow.model import Notice, write_atomically
from atomflow.report import Outcome, write_outcome

_F = TypeVar("_F", bound=Callable[..., Any])
_PACKAGES = (
    "ase",
    "numpy",
    "rdkit",
    "tblite",
    "pyscf",
    "geometric",
    "dftd3",
    "dftd4",
    "pymatgen",
    "MDAnalysis",
    "numba",
)


#: Where finished steps are kept, the same for every command that computes or looks.
store_option = click.option(
    "--store",
    type=click.Path(path_type=Path),
    envvar="ATOMFLOW_STORE",
    default=Path(".atomflow"),
    help="Folder of finished steps; what is in it is not computed again [$ATOMFLOW_STORE, else ./.atomflow].",
)


def common_options(command: _F) -> _F:
    """``-o/--out``, ``--store``, ``--engine`` and its like, ``--json``, ``--quiet``: the same everywhere."""
    command = engine_options(command)
    for option in reversed(
        (
            click.option(
                "-o",
                "--out",
                type=click.Path(path_type=Path),
                help="Folder for the results.",
            ),
            store_option,
            click.option("--json", "as_json", is_flag=True, help="Print the result as JSON on standard output."),
            click.option("-q", "--quiet", is_flag=True, help="No progress, no table."),
        )
    ):
        command = option(command)
    return command


@dataclass
class Session:
    """A bench with a clock."""

    bench: Bench
    out: Path
    began: float = field(default_factory=time.perf_counter)


def check_out(out: Path) -> None:
    """Find out now, not after the calculation, that the folder cannot be written."""
    if out.exists() and not out.is_dir():
        raise OutputError(out, "a file of that name is in the way")
    try:
        out.mkdir(parents=True, exist_ok=True)
        probe = out / f".probe-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise OutputError(out, error.strerror or str(error)) from error


@contextmanager
def output_folder(out: Path) -> Iterator[None]:
    """Make a folder for results, and take it away again when nothing came of it."""
    made = not out.exists()
    check_out(out)
    try:
        yield
    except AtomflowError:
        if made and not any(out.iterdir()):
            out.rmdir()
        raise


@contextmanager
def session(out: Path, store: Path, engine: Engine, quiet: bool) -> Iterator[Session]:
    """Run tasks, keep them in the store, with a progress bar on standard error."""
    engine.check()
    console = Console(stderr=True, quiet=quiet)
    display = StepsDisplay(console, quiet)
    with output_folder(out), display.progress as bar:
        kept = Store(store)

        def say(text: str) -> None:
            if not quiet:
                bar.console.print(text, markup=False, highlight=False, soft_wrap=True)

        try:
            with engine.flow(kept, display.change, say) as flow:
                yield Session(Bench(flow, say), out)
                for name in flow.unmatched:
                    known = ", ".join(sorted({step.rsplit(".", 1)[-1] for step in display.steps}))
                    say(f"--resources {name}: no step of that name ran; those that did, or were found: {known}")
            for step, key, reason in kept.quarantined:
                say(f"put aside in {store}: {step} {key[:12]}, {reason}; it was computed again")
        except SCFError as error:
            raise _with_log(error, out) from error
        except BranchesFailedError as error:
            errors = [_with_log(e, out, n) if isinstance(e, SCFError) else e for n, e in enumerate(error.errors)]
            raise BranchesFailedError(errors, error.total) from error


def _with_log(error: SCFError, out: Path, number: int = 0) -> SCFError:
    """The same error, with what the backend said kept in a file."""
    name = f"scf-failure-{number + 1}.log" if number else "scf-failure.log"
    path = write_atomically(out / name, error.log or "the backend said nothing\n")
    return SCFError(error.method, error.system, error.log, path)


def finish(current: Session, outcome: Outcome, study: str, inputs: Mapping[str, Any]) -> Path:
    """Write everything; returns the path of ``result.json``."""
    about = about_run(study, inputs, current.began, task_time_s=round(current.bench.flow.task_seconds, 1))
    # Which steps this rests on, for atomflow export.
    steps = [{"step": step, "key": key} for step, key in current.bench.flow.used]
    write_atomically(
        current.out / "steps.json", json.dumps({"schema": "atomflow.steps/1", "steps": steps}, indent=1) + "\n"
    )
    return write_outcome(without_failed(outcome, current.bench.failures), current.out, about)[-1]


def about_run(study: str, inputs: Mapping[str, Any], began: float, **more: Any) -> dict[str, Any]:
    """What ``result.json`` says of how it was made; ``began`` by :func:`time.perf_counter`."""
    return {
        "study": study,
        "atomflow_version": __version__,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": shlex.join(["atomflow", *sys.argv[1:]]),
        "wall_time_s": round(time.perf_counter() - began, 1),
        **more,
        "inputs": dict(inputs),
        "packages": _versions(),
        "commit": _commit(),
    }


def without_failed(outcome: Outcome, failures: Sequence[CalculationError]) -> Outcome:
    """An outcome that says which branches it lacks; what lacks some recomputes no published row."""
    if not failures:
        return outcome
    notices = tuple(Notice("branch-failed", str(error)) for error in failures)
    report = replace(outcome.report, warnings=(*outcome.report.warnings, *notices))
    return replace(outcome, report=report, rows={})


def show(outcome: Outcome, result: Path, as_json: bool, quiet: bool) -> None:
    """Table, warnings and where the files are; or the JSON."""
    if as_json:
        click.echo(result.read_text(encoding="utf-8"), nl=False)
        return
    if quiet:
        return
    for table in outcome.report.tables:
        click.echo(table.to_text())
    click.echo(outcome.report.answer)
    for notice in outcome.warnings:
        click.echo(f"warning [{notice.code}]: {notice.text}", err=True)
    click.echo(f"\nreport: {result.parent / 'report.html'}\nresult: {result}")


def study_folder(out: Path | None, name: str) -> Path:
    """Where a study writes without ``--out``: a folder of its name here."""
    if out is not None and out.suffix in (".json", ".csv", ".html", ".xyz"):
        raise BadOptionError(f"--out {out} looks like a file; a study writes a folder, give its name")
    return out or Path(name)


def _versions() -> dict[str, str]:
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _commit() -> str | None:
    """Commit of the checkout the package runs from, marked ``-dirty`` when it has changes; None for a wheel."""
    home = Path(__file__).resolve().parents[2]
    if not (home / ".git").exists():
        return None
    try:
        done = subprocess.run(  # noqa: S603 - fixed words, no shell
            ["git", "-C", str(home), "describe", "--always", "--dirty", "--abbrev=12"],  # noqa: S607
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None
