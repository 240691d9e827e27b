"""``atomflow build box``: a membrane, a liquid or a melt, typed, pushed off and written for LAMMPS and GROMACS."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from atomflow.cli.session import about_run, output_folder
from atomflow.errors import BadOptionError

if TYPE_CHECKING:
    from atomflow.build.recipes import Recipe
    from atomflow.model import System

#: The whole model in a box's folder, exactly, for atomflow itself.
MODEL_JSON = "model.json"
#: Below so many atoms a second MPI process gains little.
_PARALLEL_FROM = 4000


@click.command(
    name="box",
    short_help="A membrane, liquid or melt, ready for LAMMPS.",
    context_settings={"max_content_width": 100},
)
@click.argument("name")
@click.option("--atoms", type=click.IntRange(1), default=3000, show_default=True, help="About so many atoms.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of chains, particles and packing.")
@click.option("-o", "--out", type=click.Path(path_type=Path), help="Folder for the files [NAME-box].")
@click.option("--filler-wt", type=click.FloatRange(0), help="Weight percent of filler in the whole box.")
@click.option("--dmf-wt", type=click.FloatRange(0), help="Weight percent of solvent left in the whole box.")
@click.option(
    "--salt", metavar="AMOUNT", help="Of the first salt: 0.8M (mol per litre), 20% of the weight, or 50parts."
)
@click.option(
    "--set",
    "changes",
    multiple=True,
    metavar="NAME=AMOUNT",
    help="Any component: 'Zn(TFSI)2=3%', Pebax=40parts. Repeat it.",
)
@click.option("--units", type=click.IntRange(1), help="Length of every chain [the recipe's, shorter in a small box].")
@click.option(
    "--filler-radius", type=float, help="Radius of a particle, A [one particle that holds all of the filler]."
)
@click.option("--pack-density", type=float, help="Of the loose box before the push-off, g/cm3 [0.4 of the wanted one].")
@click.option("--packer", default="atomflow", show_default=True, help="atomflow, or packmol.")
@click.option(
    "--pack-timeout", type=click.FloatRange(0, min_open=True), default=300.0, show_default=True, help="For packmol, s."
)
@click.option("--replicate", metavar="A,B,C", help="Pack a cell of ATOMS/(A B C) and repeat it.")
@click.option(
    "--folder", "folders", multiple=True, type=click.Path(path_type=Path), help="Search this folder of membranes first."
)
@click.option("--forcefield", default="opls-clp", show_default=True, help="Name, and variants after a plus sign.")
@click.option(
    "--ff-folder",
    "ff_folders",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Your own force-field files, read over ours.",
)
@click.option("--charge-scale", type=float, default=1.0, show_default=True, help="Factor on the charges of ions.")
@click.option("--allow-assumed", is_flag=True, help="Let force-field numbers of grade 'assumed' pass.")
@click.option(
    "--ranks", type=click.IntRange(1), help="MPI processes of the push-off [the cores here; 1 below 4,000 atoms]."
)
@click.option(
    "--particle", type=click.Choice(["rigid", "tethered"]), default="rigid", show_default=True,
    help="How the filler moves in system.in: as a body, or each atom on a spring.",
)  # fmt: skip
@click.option("--picture/--no-picture", default=True, help="A PNG of the box.")
@click.option("--json", "as_json", is_flag=True, help="Print what was built as JSON.")
@click.option("-q", "--quiet", is_flag=True, help="No progress, no table.")
def build_box(name: str, out: Path | None, quiet: bool, as_json: bool, **options: Any) -> None:
    """Build the box NAME, one of `atomflow list membranes`: composed, packed, typed, pushed off, written.

    The folder gets system.data and system.in (plain `lmp -in system.in` runs them), system.pdb, a GROMACS top and gro,
    system.json, system.png and report.html. Density is that of the packing: `atomflow md FOLDER` equilibrates it.

    \b
    Examples:
      atomflow build box PPLA --atoms 5000 --seed 1 --out ppla
      atomflow build box PL --salt 0.8M --dmf-wt 5 --out pl
      atomflow build box PLL --filler-wt 20 --charge-scale 0.8 --out pll
      atomflow build box litfsi-dmf --atoms 10000 --replicate 2,2,2 --out liquid
    """
    from atomflow.build import find_recipe

    recipe = find_recipe(name, options["folders"])
    path = out or Path(f"{recipe.name}-box")
    if path.suffix in (".data", ".pdb", ".json", ".in", ".top"):
        raise BadOptionError(f"--out {path} looks like a file; a box is a folder of files, give its name")
    if not 0 < options["charge_scale"] <= 1:
        raise BadOptionError(
            f"--charge-scale {options['charge_scale']:g}: give a factor above 0 and at most 1, such as 0.8"
        )
    _check_ranks(options["ranks"])
    amounts = _amounts(options)
    copies = _copies(options["replicate"])
    with output_folder(path), telling(quiet) as say:
        about, table, _system = _make(recipe, path, amounts, copies, options, say)
    if as_json:
        click.echo(json.dumps(about, indent=2, ensure_ascii=False))
    elif not quiet:
        click.echo(table)
        click.echo(about["summary"])
        for notice in about["warnings"]:
            click.echo(f"warning [{notice['code']}]: {notice['text']}", err=True)
        click.echo(f"\nLAMMPS: {path / 'system.data'}, {path / 'system.in'}\nreport: {path / 'report.html'}")


def make_box(recipe: Recipe, path: Path, say: Callable[[str], None], **options: Any) -> System:
    """The box of a recipe with its files in a folder, as ``atomflow build box`` leaves it.

    Parameters
    ----------
    recipe : Recipe
    path : Path
        Of the folder.
    say : callable
        Told what is being done.
    **options
        Of the command, by the names of its parameters; the others have their defaults.
    """
    chosen = build_box.make_context("box", ["--", recipe.name]).params
    chosen = {key: value for key, value in chosen.items() if key not in ("name", "out", "quiet", "as_json")}
    chosen |= options
    return _make(recipe, path, _amounts(chosen), _copies(chosen["replicate"]), chosen, say)[2]


def _make(
    recipe: Recipe, path: Path, amounts: dict[str, str], copies: tuple[int, int, int], options: dict[str, Any],
    say: Callable[[str], None],
) -> tuple[dict[str, Any], str, System]:  # fmt: skip
    from atomflow import build
    from atomflow.dynamics import NEAREST_A, push_off
    from atomflow.forcefield import audit, parametrise, write_gromacs, write_lammps, write_pdb
    from atomflow.model import content_key, dumps, write_atomically
    from atomflow.report import write_report
    from atomflow.report.box_report import box_notices, box_picture, box_report, box_summary, composition_table

    began = last = time.perf_counter()
    seconds: dict[str, float] = {}

    def done(what: str) -> None:
        nonlocal last
        now = time.perf_counter()
        seconds[what] = round(now - last, 2)
        last = now

    built = build.build_box(
        recipe,
        atoms=options["atoms"],
        seed=options["seed"],
        changes=amounts,
        units=options["units"],
        filler_radius_A=options["filler_radius"],
        pack_density_g_cm3=options["pack_density"],
        packer=options["packer"],
        timeout_s=options["pack_timeout"],
        replicate=copies,
        say=say,
    )
    done("build")
    say("typing")
    system = parametrise(
        built.box,
        forcefield=options["forcefield"],
        folders=options["ff_folders"],
        allow_assumed=options["allow_assumed"],
        charge_scale=options["charge_scale"],
    )
    build.check_terms(system)
    done("types")
    say("pushing off by LAMMPS")
    system = push_off(system, seed=options["seed"], ranks=options["ranks"] or _ranks(len(system)))
    checks = build.check_box(system.box, built.composition, shortest_A=NEAREST_A)
    done("push-off")
    say("writing")
    write_lammps(system, path, seed=options["seed"] + 1, particle=options["particle"])
    write_gromacs(system, path)
    write_pdb(system, path / "system.pdb")
    done("files")
    if options["picture"]:
        write_atomically(path / "system.png", box_picture(system, f"{recipe.name}, {len(system)} atoms"))
        done("picture")
    inputs = {key: value for key, value in options.items() if value not in (None, (), False)}
    inputs = {key: [str(one) for one in value] if isinstance(value, tuple) else value for key, value in inputs.items()}
    run = about_run("build-box", {"name": recipe.name, **inputs}, began, seconds=seconds)
    about: dict[str, Any] = {
        **built.composition.to_dict(),
        "name": recipe.name,
        "title": recipe.title,
        "published": recipe.published,
        "figures": [
            {"what": what, "value": figure.value, "grade": figure.grade, "source": figure.source}
            for what, figure in built.recipe.figures()
        ],
        "molecules": system.box.count(),
        "residues": dict(Counter(system.box.residues[1])),
        "charge_e": round(system.charge_e, 6),
        "packed_density_g_cm3": system.box.density_g_cm3,
        "cell_A": system.box.cell_A.tolist(),
        "forcefield": system.forcefield,
        "parameters_sha256": content_key(audit(system)),
        "charge_scale": system.charge_scale,
        "types": [one.name for one in system.types],
        "terms": {kind: len(getattr(system, kind)) for kind in ("bonds", "angles", "torsions", "impropers")},
        "grades": system.grades(),
        "worst_grade": system.worst_grade,
        "checks": {
            "shortest_contact_A": checks.shortest_A,
            "off_molecules": {key: round(value, 3) for key, value in checks.off_molecules.items()},
            "pierced_rings": checks.pierced,
        },
        "summary": box_summary(built, system),
        "warnings": [{"code": notice.code, "text": notice.text} for notice in box_notices(built, system)],
        "run": run,
    }
    write_report(box_report(built, system), path)
    write_atomically(path / MODEL_JSON, dumps(system) + "\n")
    # Last: where it exists, everything else does.
    write_atomically(path / "system.json", json.dumps(about, indent=1, ensure_ascii=False) + "\n")
    return about, composition_table(built).to_text(), system


def _check_ranks(ranks: int | None) -> None:
    """Before anything is built."""
    from atomflow.flow import available_cores

    if ranks is not None and ranks > available_cores():
        raise BadOptionError(f"--ranks {ranks}: there are {available_cores()} cores here; take fewer")


def _ranks(atoms: int) -> int:
    from atomflow.flow import available_cores
    from atomflow.lammps import find_lammps

    return available_cores() if atoms >= _PARALLEL_FROM and find_lammps().mpirun else 1


def _amounts(options: dict[str, Any]) -> dict[str, str]:
    amounts = {}
    for role, value in (("filler", options["filler_wt"]), ("solvent", options["dmf_wt"])):
        if value is not None:
            amounts[role] = f"{value:.10g}%"
    if options["salt"] is not None:
        amounts["salt"] = options["salt"]
    for text in options["changes"]:
        name, equals, amount = text.rpartition("=")
        if not equals or not name.strip():
            raise BadOptionError(f"--set {text[:40]!r}: write it like Pebax=40parts")
        amounts[name.strip()] = amount
    return amounts


def _copies(text: str | None) -> tuple[int, int, int]:
    if text is None:
        return (1, 1, 1)
    try:
        numbers = [int(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) != 3 or min(numbers) < 1:
        raise BadOptionError(f"--replicate {text[:40]!r}: give three whole numbers from 1, such as 2,2,2")
    return (numbers[0], numbers[1], numbers[2])


class telling:  # noqa: N801 - used as a function
    """A line on the terminal that says what is being done, and for how long."""

    def __init__(self, quiet: bool) -> None:
        from rich.console import Console
        from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

        console = Console(stderr=True, quiet=quiet)
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            TimeElapsedColumn(),
            console=console,
            disable=quiet or not console.is_terminal,
        )

    def __enter__(self) -> Callable[[str], None]:
        self._progress.start()
        self._running: Any = None
        return self._say

    def _say(self, text: str) -> None:
        if self._running is not None:
            self._progress.stop_task(self._running)
        self._running = self._progress.add_task(text, total=None)

    def __exit__(self, *_error: object) -> None:
        self._progress.stop()
