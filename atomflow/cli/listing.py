"""``atomflow list``: what there is to name."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from atomflow.report.content import Column, Table


@click.group(name="list")
def listing() -> None:
    """List species, crystals, polymers, protocols, calculators or studies."""


def _print(title: str, rows: list[dict[str, Any]], columns: tuple[Column, ...], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(rows, indent=2, ensure_ascii=False))
    else:
        click.echo(Table(title, columns, tuple(rows)).to_text())


def _folders(of: str) -> Callable[[Any], Any]:
    return click.option(
        "--folder",
        "folders",
        multiple=True,
        type=click.Path(path_type=Path),
        help=f"Search this folder of {of} first.",
    )


_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@listing.command(name="species")
@_folders("species files")
@_JSON
def list_the_species(folders: tuple[Path, ...], as_json: bool) -> None:
    """Named molecules, ions and polymer fragments, with the grade of their data.

    Your own folders: --folder DIR, or the variable ATOMFLOW_SPECIES_PATH.
    """
    from atomflow.build import list_species

    rows = [
        {
            "name": s.name,
            "aliases": ", ".join(s.aliases),
            "charge": s.charge,
            "role": s.role,
            "grade": s.grade,
            "source": s.source,
        }
        for s in list_species(folders)
    ]
    columns = (
        Column("name", "Name"),
        Column("aliases", "Also called"),
        Column("charge", "Charge", "e"),
        Column("role", "Role"),
        Column("grade", "Grade"),
    )
    _print("Species", rows, columns, as_json)


@listing.command(name="crystals")
@_folders("crystal files")
@_JSON
def list_the_crystals(folders: tuple[Path, ...], as_json: bool) -> None:
    """Named crystals, what was read of their source, and the grade of their data.

    Your own folders: --folder DIR, or the variable ATOMFLOW_CRYSTALS_PATH.
    """
    from atomflow.build import list_crystals

    rows = [
        {
            "name": c.name,
            "aliases": ", ".join(c.aliases),
            "formula": c.formula,
            "space_group": c.space_group,
            "read": c.read,
            "grade": c.grade,
            "source": c.citation,
            "where": c.where,
        }
        for c in list_crystals(folders)
    ]
    columns = (
        Column("name", "Name"),
        Column("formula", "Formula"),
        Column("space_group", "Space group"),
        Column("aliases", "Also called"),
        Column("read", "Source read"),
        Column("grade", "Grade"),
    )
    _print("Crystals", rows, columns, as_json)


@listing.command(name="membranes")
@_folders("membrane files")
@_JSON
def list_the_membranes(folders: tuple[Path, ...], as_json: bool) -> None:
    """Membranes, liquids and melts that `atomflow build box` knows, with the grade of their figures.

    Your own folders: --folder DIR, or the variable ATOMFLOW_MEMBRANES_PATH.
    """
    from atomflow.build import list_recipes

    rows = [
        {
            "name": r.name,
            "family": r.family,
            "title": r.title,
            "composition": ", ".join(f"{one.name} {one.amount}" for one in r.components),
            "grade": r.worst_grade,
            "published": r.published,
        }
        for r in list_recipes(folders)
    ]
    columns = (
        Column("name", "Name"),
        Column("family", "Kind"),
        Column("title", "What it is"),
        Column("composition", "Composition"),
        Column("grade", "Worst grade"),
    )
    _print("Membranes, liquids and melts", rows, columns, as_json)


@listing.command(name="polymers")
@_folders("polymers (and residues/ in it)")
@click.option("--residues", is_flag=True, help="The repeat units instead.")
@_JSON
def list_the_polymers(folders: tuple[Path, ...], residues: bool, as_json: bool) -> None:
    """Polymers that `atomflow build polymer` knows, and with --residues the units they are made of.

    Your own folders: --folder DIR, or the variable ATOMFLOW_POLYMERS_PATH.
    """
    from atomflow.build import list_polymers, list_residues

    if residues:
        rows: list[dict[str, Any]] = [
            {
                "code": r.code,
                "name": r.name,
                "smiles": r.smiles,
                "grade": r.grade,
                "torsions_grade": r.torsions_grade,
                "source": r.source,
                "torsions_source": r.torsions_source,
            }
            for r in list_residues(folders)
        ]
        of_residues = (
            Column("code", "Code"),
            Column("name", "Name"),
            Column("smiles", "SMILES"),
            Column("grade", "Grade"),
            Column("torsions_grade", "Torsions"),
        )
        _print("Residues", rows, of_residues, as_json)
        return
    rows = [
        {
            "name": p.name,
            "aliases": ", ".join(p.aliases),
            "residues": ", ".join(p.residues),
            "sequence": p.sequence,
            "units": p.length,
            "grade": p.grade,
            "source": p.source,
        }
        for p in list_polymers(folders)
    ]
    columns = (
        Column("name", "Name"),
        Column("residues", "Residues"),
        Column("sequence", "Sequence"),
        Column("units", "Units"),
        Column("aliases", "Also called"),
        Column("grade", "Grade"),
    )
    _print("Polymers", rows, columns, as_json)


@listing.command(name="protocols")
@_folders("protocol files")
@_JSON
def list_the_protocols(folders: tuple[Path, ...], as_json: bool) -> None:
    """Protocols of equilibration: their stages, their time, and the grade of their source.

    Your own folders: --folder DIR, or the variable ATOMFLOW_PROTOCOLS_PATH.
    """
    from atomflow.dynamics import find_protocol, protocol_names

    # Stages and times are the same at any temperature.
    protocols = [find_protocol(name, temperature_K=298.15, folders=folders) for name in protocol_names(folders)]
    rows = [
        {
            "name": p.name,
            "title": p.title,
            "stages": len(p.stages),
            "time_ps": round(p.time_ps, 3),
            "grade": p.grade,
            "source": p.source,
            "cannot": "; ".join(p.cannot),
        }
        for p in protocols
    ]
    columns = (
        Column("name", "Name"),
        Column("title", "What it does"),
        Column("stages", "Stages"),
        Column("time_ps", "Time", "ps"),
        Column("grade", "Grade"),
    )
    _print("Protocols", rows, columns, as_json)


@listing.command(name="calculators")
@_JSON
def list_calculators(as_json: bool) -> None:
    """Calculators: ours, plug-ins, and whether each can run here. ASE's own are usable by their names, too."""
    from atomflow.calculators import backend_status

    rows = [
        {"name": s.name, "here": s.available, "detail": s.detail, "install": "" if s.available else s.install}
        for s in backend_status()
    ]
    _print(
        "Calculators",
        rows,
        (Column("name", "Name"), Column("here", "Here"), Column("detail", "What"), Column("install", "Install")),
        as_json,
    )


@listing.command(name="studies")
@_JSON
def list_studies(as_json: bool) -> None:
    """Studies that `atomflow run` knows."""
    from atomflow.flow import find_study, study_names, summary

    rows = [{"name": name, "question": summary(find_study(name))} for name in study_names()]
    _print("Studies", rows, (Column("name", "Name"), Column("question", "Question")), as_json)
