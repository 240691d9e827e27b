"""``atomflow analyze``: diffusivities, radial distributions, shells and conductivity of any trajectory."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from atomflow.cli.quantities import frame_window, named, numbers_by_name, pair_with_cutoff, picoseconds
from atomflow.cli.trajectory_options import opened, trajectory_options
from atomflow.errors import BadOptionError, UnknownNameError

if TYPE_CHECKING:
    from atomflow.analysis import Wanted
    from atomflow.trajectory import Trajectory


@click.command(short_help="Diffusivity, RDF, shells, conductivity.", context_settings={"max_content_width": 100})
@click.argument("trajectories", metavar="TRAJ...", nargs=-1, required=True, type=click.Path(path_type=Path))
@trajectory_options
@click.option(
    "--species",
    multiple=True,
    metavar="NAME=SELECTION",
    help="Name atoms by an MDAnalysis selection: Li='type 5'. Repeat it. 'auto' finds molecules and their donor atoms "
    "by the bonds and the species library; names that you give come on top  [auto, when none is given].",
)
@click.option("--rdf", multiple=True, metavar="A:B", help="Radial distribution of B around A. Repeat it.")
@click.option(
    "--cn",
    multiple=True,
    metavar="A:B[@R]",
    help="Coordination number of A by B within R A [the first minimum of g(r)]. Repeat it.",
)
@click.option(
    "--shell",
    multiple=True,
    metavar="A:B,C[@R]",
    help="What the first shell of A is made of: molecules of B and C. Repeat it.",
)
@click.option("--msd", multiple=True, metavar="A", help="Mean square displacement and diffusivity of A. Repeat it.")
@click.option("--chains", multiple=True, metavar="A", help="Size and relaxation of the polymer chains A. Repeat it.")
@click.option("--charge", multiple=True, metavar="A=E", help="Charge of A in e, for conductivities: Li=1. Repeat it.")
@click.option("--molecules", is_flag=True, help="Follow centres of mass of whole molecules, not atoms; 'auto' does so.")
@click.option("--temperature", type=float, default=298.15, show_default=True, help="For conductivities, K.")
@click.option("--viscosity", type=float, help="mPa s; gives diffusivities corrected for the size of the box.")
@click.option(
    "--unwrap",
    type=click.Choice(["auto", "none", "image-flags", "fractional", "toroidal"]),
    default="auto",
    show_default=True,
    help="How paths are followed across the box's faces.",
)
@click.option(
    "--drift",
    default="auto",
    show_default=True,
    metavar="auto|none|barycentre|framework|NAME",
    help="Whose motion is taken out of all others'.",
)
@click.option("--fit", metavar="FROM:TO", help="Lags to fit, such as 100ps:1ns [chosen from the data].")
@click.option("--r-max", type=float, help="Where g(r) ends, A [10, or half of the box].")
@click.option("--bin", "bin_A", type=float, default=0.02, show_default=True, help="Bins of g(r), A.")
@click.option("--intermolecular", is_flag=True, help="Leave pairs within one molecule out of g(r).")
@click.option(
    "--frames",
    metavar="A:B:C",
    help="Frames start:stop:step, as in Python, numbered as in the file; those that repeat a time are left out [all].",
)
@click.option("--workers", type=click.IntRange(1), default=1, show_default=True, help="Local processes.")
@click.option("-o", "--out", type=click.Path(path_type=Path), help="Folder for the results [analysis].")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON on standard output.")
@click.option("-q", "--quiet", is_flag=True, help="No progress, no table.")
def analyze(
    trajectories: tuple[Path, ...],
    topology: Path | None,
    dt: str | None,
    timestep: str | None,
    units: str | None,
    type_map: tuple[str, ...],
    frames: str | None,
    workers: int,
    out: Path | None,
    as_json: bool,
    quiet: bool,
    **asked: Any,
) -> None:
    """Analyse trajectories: MSD, diffusivity, RDF, coordination, shells, conductivity, polymer chains; with errors.

    With no options but the files everything is found out: which molecules there are, what moves, what could hold a
    cation. What was assumed is printed and stands in the report. Several trajectories are replicas of one system; their
    results are combined.

    \b
    Examples:
      atomflow analyze dump.lammpstrj --top system.data
      atomflow analyze traj.dcd --top system.data --dt 10ps --species "Li=type 5" --species "O_TFSI=type 2" \\
          --rdf Li:O_TFSI --cn Li:O_TFSI@2.8 --msd Li --out li
      atomflow analyze run1.xtc run2.xtc run3.xtc --top box.gro --molecules --frames 100:
    """
    from atomflow.analysis import analyse
    from atomflow.cli.session import about_run, output_folder, show, study_folder
    from atomflow.report import write_outcome
    from atomflow.report.analysis_report import analysis_outcome

    began = time.perf_counter()
    folder = study_folder(out, "analysis")
    inputs: dict[str, Any] = {
        "trajectories": [str(path) for path in trajectories],
        "top": None if topology is None else str(topology),
    }
    inputs |= {"dt": dt, "timestep": timestep, "units": units, "type_map": type_map, "frames": frames, **asked}
    replicas = [opened(path, topology, dt, timestep, units, type_map) for path in trajectories]
    wanted = _wanted(replicas[0], **asked)
    asked_frames = frame_window(frames)
    with output_folder(folder), _nothing_when_stopped(folder):
        with _bar(quiet) as told:
            found = analyse(replicas, wanted, *asked_frames, workers=workers, progress=told)
        outcome = analysis_outcome(found)
        result = write_outcome(outcome, folder, about_run("analyze", inputs, began))[-1]
    show(outcome, result, as_json, quiet)


def _wanted(
    trajectory: Trajectory,
    *,
    species: tuple[str, ...],
    rdf: tuple[str, ...],
    cn: tuple[str, ...],
    shell: tuple[str, ...],
    msd: tuple[str, ...],
    chains: tuple[str, ...],
    charge: tuple[str, ...],
    fit: str | None,
    temperature: float,
    viscosity: float | None,
    r_max: float | None,
    intermolecular: bool,
    **same: Any,
) -> Wanted:
    """What was asked for; what was left open is found out from the trajectory."""
    from atomflow.analysis import Wanted, everything

    own = named("--species", tuple(text for text in species if text != "auto"), "Li=type 5")
    for name in own:
        if set(name) & set(":,@"):
            raise BadOptionError(
                f"--species {name!r}: a name has none of ':', ',' and '@', which divide pairs and cutoffs"
            )
    cutoffs: dict[str, float | None] = {}
    for pair, cutoff in (pair_with_cutoff("--cn", text) for text in cn):
        if cutoffs.setdefault(pair, cutoff) != cutoff:
            raise BadOptionError(f"--cn: {pair} is there with two cutoffs; give one")
    shells, shell_cutoffs = _shells(shell)
    asked_for: dict[str, Any] = {
        "rdf": tuple(_pair("--rdf", text) for text in rdf),
        "coordination": cutoffs,
        "shells": shells,
        "msd": tuple(name for text in msd for name in _names(text)),
        "chains": tuple(name for text in chains for name in _names(text)),
    }
    settings: dict[str, Any] = {
        **same,
        "charges_e": numbers_by_name("--charge", charge, "Li=1"),
        "shell_cutoffs_A": shell_cutoffs,
        "temperature_K": temperature,
        "viscosity_mPa_s": viscosity,
        "r_max_A": r_max,
        "exclude_molecules": intermolecular,
        "fit_ps": _fit(fit),
    }
    if own and "auto" not in species:
        if not any(asked_for.values()):
            asked_for["msd"] = tuple(own)
        return _with_known_names(Wanted(species=own, **asked_for, **settings))
    found = everything(trajectory)
    if any(asked_for.values()):
        found = replace(found, **asked_for)
    settings["charges_e"] = settings["charges_e"] or found.charges_e
    settings["molecules"] = settings["molecules"] or found.molecules
    return _with_known_names(replace(found, species={**found.species, **own}, **settings))


def _with_known_names(wanted: Wanted) -> Wanted:
    """The same, once every name that was asked for is a species.

    Raises
    ------
    UnknownNameError
        With the option that would name it.
    """
    shells = [f"{centre}:{ligand}" for centre, ligands in wanted.shells.items() for ligand in ligands]
    pairs = [pair.split(":") for pair in (*wanted.rdf, *wanted.coordination, *shells)]
    # What is no pair is told as such later on.
    names = [label.strip() for pair in pairs if len(pair) == 2 for label in pair if label.strip()]
    for name in (*names, *wanted.msd, *wanted.chains):
        if name not in wanted.species:
            mend = f'name it with --species "{name}=type 5"; there are {", ".join(wanted.species) or "none"}'
            raise UnknownNameError("species", name, wanted.species, mend)
    return wanted


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _pair(option: str, text: str) -> str:
    pair, cutoff = pair_with_cutoff(option, text)
    if cutoff is not None:
        raise BadOptionError(f"{option} {text!r}: a cutoff is for --cn and --shell; g(r) ends at --r-max")
    return pair


def _shells(texts: tuple[str, ...]) -> tuple[dict[str, tuple[str, ...]], dict[str, float]]:
    """``A:B,C[@R]`` as ligands by centre, and cutoffs by ``A:B``; those of one centre make one shell."""
    shells: dict[str, tuple[str, ...]] = {}
    cutoffs: dict[str, float] = {}
    for text in texts:
        pair, cutoff = pair_with_cutoff("--shell", text)
        centre, _, ligands = pair.partition(":")
        named_here = _names(ligands)
        if twice := set(named_here) & set(shells.get(centre, ())):
            raise BadOptionError(f"--shell {text!r}: {centre}:{min(twice)} is there twice")
        shells[centre] = (*shells.get(centre, ()), *named_here)
        if cutoff is not None:
            cutoffs |= {f"{centre}:{name}": cutoff for name in named_here}
    return shells, cutoffs


def _fit(text: str | None) -> tuple[float | None, float | None]:
    """``FROM:TO``, times with their units; one may be left out."""
    if text is None:
        return None, None
    parts = [part.strip() for part in text.split(":")]
    if len(parts) != 2:
        raise BadOptionError(f"--fit {text!r}: give the first and the last lag, such as 100ps:1ns")
    first, last = (picoseconds("--fit", part) if part else None for part in parts)
    if first is not None and last is not None and last <= first:
        raise BadOptionError(f"--fit {text!r}: the last lag comes before the first")
    return first, last


@contextmanager
def _nothing_when_stopped(folder: Path) -> Iterator[None]:
    """Ctrl-C takes away the folder that was made for this run: unlike steps of a study, half an analysis is of no use."""
    before = set(folder.iterdir())
    try:
        yield
    except KeyboardInterrupt:
        if not before:
            shutil.rmtree(folder, ignore_errors=True)
        click.echo("stopped; " + ("nothing was written" if not before else f"{folder} may be incomplete"), err=True)
        sys.exit(130)


@contextmanager
def _bar(quiet: bool) -> Iterator[Callable[[str, int, int], None]]:
    """A progress bar for each stage, on standard error."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    tasks: dict[str, TaskID] = {}
    with Progress(*columns, console=Console(stderr=True, quiet=quiet), disable=quiet, transient=True) as bar:

        def told(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bar.add_task(stage, total=total)
            bar.update(tasks[stage], completed=done, total=total)

        yield told
