"""``atomflow build crystal | slab | particle | silica``: ordered cells, surfaces, particles, and glass."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from atomflow.cli.engines import Engine, engine_options
from atomflow.cli.session import Session, finish, session, show, store_option
from atomflow.errors import BadOptionError

_F = TypeVar("_F", bound=Callable[..., Any])


def _common(command: _F) -> _F:
    """What crystals, slabs and particles share."""
    command = engine_options(command)
    for option in reversed(
        (
            click.option(
                "-o",
                "--out",
                type=click.Path(path_type=Path),
                help="A file (.cif .extxyz .pdb .data .vasp, POSCAR) for the lowest model, with its picture beside it; "
                "or a folder for all models, pictures and the report [folder NAME-KIND].",
            ),
            click.option("--composition", help="Formula to reach instead of the crystal's own."),
            click.option(
                "--dope",
                multiple=True,
                metavar="EL=AMOUNT@SITE",
                help="Put a dopant on a site: Al=0.25@24d. Repeat it.",
            ),
            click.option(
                "--oxidation", multiple=True, metavar="EL=STATE", help="Oxidation state for a file: Fe=2. Repeat it."
            ),
            click.option("--formula", help="Formula of a file whose occupancies do not give a neutral one."),
            click.option(
                "--seed", type=click.IntRange(0), default=0, show_default=True, help="First seed of the searches."
            ),
            click.option("--sweeps", type=click.IntRange(1), default=None, help="Budget of each search."),
            click.option(
                "--rerank",
                metavar="CALCULATOR",
                help="Rank the models again by this calculator, e.g. a plug-in's name.",
            ),
            click.option("--picture/--no-picture", default=True, help="A PNG of each model."),
            store_option,
            click.option("--json", "as_json", is_flag=True, help="Print the result as JSON on standard output."),
            click.option("-q", "--quiet", is_flag=True, help="No progress, no table."),
        )
    ):
        command = option(command)
    return command


@click.command(
    name="crystal",
    short_help="Ordered cells of a crystal with partly filled sites.",
    context_settings={"max_content_width": 100},
)
@click.argument("what", metavar="NAME|FILE")
@click.option("--seeds", type=click.IntRange(1), default=4, show_default=True, help="Independent searches.")
@click.option("--keep", type=click.IntRange(1), default=5, show_default=True, help="Distinct orderings to keep.")
@click.option(
    "--cell",
    help="primitive, conventional, a number of primitive cells, or a,b,c conventional ones [the smallest exact cell].",
)
@click.option("--max-atoms", type=click.IntRange(1), default=600, show_default=True, help="Largest exact cell to make.")
@_common
def build_crystal(what: str, cell: str | None, max_atoms: int, keep: int, seeds: int, **common: Any) -> None:
    """Order a crystal: exact composition, several distinct orderings, by electrostatic energy.

    NAME is one of `atomflow list crystals`; FILE a CIF or POSCAR, partial occupancies welcome.

    \b
    Examples:
      atomflow build crystal LALZO --seeds 10 -o lalzo.cif
      atomflow build crystal LLZO --cell conventional -o llzo
      atomflow build crystal LLZO --dope Al=0.2@24d --cell 1 -o al-llzo
      atomflow build crystal mine.cif --oxidation Fe=2 -o POSCAR
    """
    from atomflow.build import order

    def make(crystal: Any, run: Any, **options: Any) -> Any:
        return order(crystal, cell=_cell(cell), most_atoms=max_atoms, keep=keep, seeds=seeds, run=run, **options)

    _build(what, "crystal", make, {"cell": cell, "max_atoms": max_atoms, "keep": keep, "seeds": seeds}, **common)


@click.command(
    name="slab", short_help="Neutral, unpolar slabs with whole polyhedra.", context_settings={"max_content_width": 100}
)
@click.argument("what", metavar="NAME|FILE")
@click.option("--miller", default="0,0,1", show_default=True, metavar="H,K,L", help="Of the conventional cell.")
@click.option("--thickness", type=float, default=12.0, show_default=True, help="At least so thick, in whole layers, A.")
@click.option("--layers", type=click.IntRange(1), default=None, help="Layers instead of a thickness.")
@click.option("--repeat", default="1,1", show_default=True, metavar="A,B", help="Copies of the surface cell.")
@click.option("--vacuum", type=float, default=20.0, show_default=True, help="Between two images, A.")
@click.option("--seeds", type=click.IntRange(1), default=4, show_default=True, help="Searches for every distinct cut.")
@click.option("--keep", type=click.IntRange(1), default=3, show_default=True, help="Models to keep.")
@_common
def build_slab(
    what: str,
    miller: str,
    thickness: float,
    layers: int | None,
    repeat: str,
    vacuum: float,
    seeds: int,
    keep: int,
    **common: Any,
) -> None:
    """Cut a slab: neutral, stoichiometric, without a dipole across it, polyhedra whole.

    \b
    Examples:
      atomflow build slab LLZO --miller 0,0,1 --layers 3 -o llzo-001
      atomflow build slab Li2O --miller 1,1,1 --thickness 15 -o li2o.extxyz
      atomflow build slab LiF --miller 1,1,1 --repeat 2,1 -o lif-111
    """
    from atomflow.build import slab

    indices = _numbers("--miller", miller, 3, "0,0,1")
    copies = _numbers("--repeat", repeat, 2, "2,1")

    def make(crystal: Any, run: Any, **options: Any) -> Any:
        return slab(
            crystal,
            indices,
            thickness_A=thickness,
            layers=layers,
            repeat=(copies[0], copies[1]),
            vacuum_A=vacuum,
            seeds=seeds,
            keep=keep,
            run=run,
            **options,
        )

    inputs = {"miller": indices, "thickness": thickness, "layers": layers, "repeat": copies, "vacuum": vacuum}
    _build(what, "slab", make, {**inputs, "seeds": seeds, "keep": keep}, **common)


@click.command(
    name="particle", short_help="Neutral particles with whole polyhedra.", context_settings={"max_content_width": 100}
)
@click.argument("what", metavar="NAME|FILE")
@click.option("--radius", type=float, default=None, help="Of a ball of the crystal's density, A.")
@click.option("--atoms", type=int, default=None, help="Number of atoms, to whole formula units.")
@click.option("--seeds", type=click.IntRange(1), default=8, show_default=True, help="Searches, each with its centre.")
@click.option("--keep", type=click.IntRange(1), default=1, show_default=True, help="Models to keep.")
@_common
def build_particle(what: str, radius: float | None, atoms: int | None, seeds: int, keep: int, **common: Any) -> None:
    """Round a particle: neutral, stoichiometric, polyhedra whole, with little dipole.

    \b
    Examples:
      atomflow build particle LALZO --atoms 300 -o lalzo-300.extxyz
      atomflow build particle LLZO --radius 9 --seeds 16 -o llzo-ball
    """
    from atomflow.build import particle

    def make(crystal: Any, run: Any, **options: Any) -> Any:
        return particle(crystal, radius_A=radius, atoms=atoms, seeds=seeds, keep=keep, run=run, **options)

    _build(what, "particle", make, {"radius": radius, "atoms": atoms, "seeds": seeds, "keep": keep}, **common)


@click.command(
    name="silica",
    short_help="Amorphous silica: bulk, slab or particle, with grafts.",
    context_settings={"max_content_width": 100},
)
@click.argument("kind", type=click.Choice(["bulk", "slab", "particle"]))
@click.option("--silicon", type=int, default=216, show_default=True, help="Silicon atoms of a bulk cell.")
@click.option("--thickness", type=float, default=12.0, show_default=True, help="Of a slab, A.")
@click.option("--size", type=float, default=20.0, show_default=True, help="Edge of a slab's cell, A.")
@click.option("--radius", type=float, default=10.0, show_default=True, help="Of a particle, A.")
@click.option("--silanols", type=float, default=None, help="Si-OH per nm2 before grafting [4.6].")
@click.option("--grafts", type=float, default=0.0, show_default=True, help="-(CH2)3-SO3Li per nm2.")
@click.option(
    "--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the network, the sites and the conformers."
)
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    help="A file (.extxyz .pdb .data .vasp .cif), with its picture beside it; or a folder with the report [silica-KIND].",
)
@store_option
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON on standard output.")
@click.option("-q", "--quiet", is_flag=True, help="No progress, no table.")
@engine_options
def build_silica(
    kind: str,
    silicon: int,
    thickness: float,
    size: float,
    radius: float,
    silanols: float | None,
    grafts: float,
    seed: int,
    out: Path | None,
    store: Path,
    engine: Engine,
    as_json: bool,
    quiet: bool,
) -> None:
    """Amorphous silica: a random network, or a slab or particle of it with silanols and lithium sulfonate grafts.

    \b
    Examples:
      atomflow build silica bulk --silicon 216 -o glass.cif
      atomflow build silica slab --thickness 12 --size 20 --grafts 1.0 -o grafted.extxyz
      atomflow build silica particle --radius 10 --silanols 4.6 -o ball
    """
    from atomflow.build import amorphous_silica, model_format, silica_particle, silica_slab
    from atomflow.report.crystal_report import silica_outcome, silica_summary

    path = out or Path(f"silica-{kind}")
    single = out is not None and _is_file(out)
    if single:
        model_format(path, periodic=kind != "particle")
    surface: dict[str, Any] = {"silanols_per_nm2": silanols, "grafts_per_nm2": grafts, "seed": seed}
    calls: dict[str, tuple[Callable[..., Any], dict[str, Any]]] = {
        "bulk": (amorphous_silica, {"silicon": silicon, "seed": seed}),
        "slab": (silica_slab, {"thickness_A": thickness, "size_A": size, **surface}),
        "particle": (silica_particle, {"radius_A": radius, **surface}),
    }
    function, inputs = calls[kind]
    with session(path.parent if single else path, store, engine, quiet) as current:
        built = current.bench.flow.submit(function, **inputs).result()
        if single:
            _write_one(path, built.atoms, f"silica {kind}", True)
        else:
            outcome = silica_outcome(built)
            result = finish(current, outcome, f"build-silica-{kind}", inputs)
    if not single:
        show(outcome, result, as_json, quiet)
    elif as_json:
        click.echo(json.dumps({**built.to_dict(), "file": str(path)}, indent=2, ensure_ascii=False))
    elif not quiet:
        click.echo(f"{silica_summary(built)} -> {path}")
        for notice in built.warnings:
            click.echo(f"warning [{notice.code}]: {notice.text}", err=True)


def _build(
    what: str,
    kind: str,
    make: Callable[..., Any],
    own_inputs: dict[str, Any],
    *,
    out: Path | None,
    composition: str | None,
    dope: tuple[str, ...],
    oxidation: tuple[str, ...],
    formula: str | None,
    seed: int,
    sweeps: int | None,
    rerank: str | None,
    picture: bool,
    store: Path,
    engine: Engine,
    as_json: bool,
    quiet: bool,
) -> None:
    from atomflow.build import model_format, rescore
    from atomflow.calculators import build_calculator, parse_spec
    from atomflow.energetics import single_point
    from atomflow.report.crystal_report import crystal_outcome

    crystal = _crystal(what, oxidation, formula)
    path = out or Path(f"{crystal.name}-{kind}")
    single = out is not None and _is_file(out)
    if single:
        model_format(path, periodic=kind != "particle")  # a suffix without a writer is told before the work
    again = None if rerank is None else parse_spec(rerank)
    if again is not None:
        build_calculator(again)  # an unknown one is told before the search
    options: dict[str, Any] = {"composition": composition, "dope": dope, "seed": seed}
    if sweeps is not None:
        options["sweeps"] = sweeps
    with session(path.parent if single else path, store, engine, quiet) as current:
        models = make(crystal, current.bench.run, **options)
        if again is not None:
            energies = current.bench.run(single_point, [(model.atoms, again) for model in models.models])
            models = rescore(models, energies, str(again))
        if single:
            _write_one(path, models.models[0].atoms, models.models[0].name, picture)
        else:
            outcome = crystal_outcome(models, picture)
            inputs = {"what": what, **own_inputs, **options, "dope": list(dope), "oxidation": list(oxidation)}
            result = finish(current, outcome, f"build-{kind}", {**inputs, "formula": formula, "rerank": rerank})
    if single:
        _say_one(path, models, current, as_json, quiet)
    else:
        show(outcome, result, as_json, quiet)


def _crystal(what: str, oxidation: tuple[str, ...], formula: str | None) -> Any:
    from atomflow.build import find_crystal, load_crystal

    states: dict[str, float] = {}
    for text in oxidation:
        element, equals, value = text.partition("=")
        try:
            states[element.strip()] = float(value)
        except ValueError:
            equals = ""
        if not equals:
            raise BadOptionError(f"--oxidation {text!r}: write it like Fe=2")
    if Path(what).is_file():
        return load_crystal(what, states or None, formula)
    if states or formula:
        raise BadOptionError("--oxidation and --formula are for files; a crystal of the library brings its own")
    if Path(what).suffix and ("/" in what or Path(what).suffix.lower() in (".cif", ".vasp", ".poscar")):
        raise BadOptionError(f"{what}: no such file")
    return find_crystal(what)


def _cell(text: str | None) -> Any:
    if text is None or text in ("primitive", "conventional"):
        return text
    if "," in text:
        return _numbers("--cell", text, 3, "2,1,1")
    try:
        return int(text)
    except ValueError as error:
        raise BadOptionError(
            f"--cell {text}: give primitive, conventional, a number of primitive cells, or a,b,c"
        ) from error


def _is_file(out: Path) -> bool:
    return bool(out.suffix) or out.name.upper() == "POSCAR"


def _numbers(option: str, text: str, many: int, example: str) -> list[int]:
    parts = text.replace(",", " ").split()
    if len(parts) == 1 and len(text) == many and text.isdigit():  # 001, as on paper
        parts = list(text)
    try:
        numbers = [int(part) for part in parts]
    except ValueError:
        numbers = []
    if len(numbers) != many:
        raise BadOptionError(f"{option} {text!r}: give {many} whole numbers, such as {example}")
    return numbers


def _write_one(path: Path, atoms: Any, title: str, with_picture: bool) -> None:
    from atomflow.build import model_format, model_text
    from atomflow.model import write_atomically
    from atomflow.report.pictures import picture

    write_atomically(path, model_text(atoms, model_format(path, periodic=bool(atoms.pbc.any()))))
    if with_picture:
        beside = path.with_suffix(".png") if path.suffix else path.with_name(path.name + ".png")
        write_atomically(beside, picture(atoms, title))


def _say_one(path: Path, models: Any, current: Session, as_json: bool, quiet: bool) -> None:
    from atomflow.report.crystal_report import summary

    if as_json:
        click.echo(json.dumps({**models.to_dict(), "file": str(path)}, indent=2, ensure_ascii=False))
        return
    if quiet:
        return
    click.echo(f"{summary(models)} -> {path}")
    for notice in models.warnings:
        click.echo(f"warning [{notice.code}]: {notice.text}", err=True)
    if len(models.models) > 1:
        click.echo(
            f"{len(models.models)} distinct models were found; this is the lowest by electrostatics alone. "
            f"-o {path.stem} (a folder) keeps all, with a report."
        )
