"""``atomflow build``: models into files."""

from __future__ import annotations

import json
from pathlib import Path

import click

from atomflow.cli.build_box import build_box
from atomflow.cli.build_crystals import build_crystal, build_particle, build_silica, build_slab
from atomflow.cli.build_polymer import build_polymer
from atomflow.errors import BadOptionError, OutputError


@click.group()
def build() -> None:
    """Build a model and write it to a file."""


build.add_command(build_box)
build.add_command(build_crystal)
build.add_command(build_slab)
build.add_command(build_particle)
build.add_command(build_silica)
build.add_command(build_polymer)


@build.command(name="molecule", context_settings={"max_content_width": 100})
@click.argument("what")
@click.option(
    "-o",
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File to write; its suffix is the format [NAME.xyz].",
)
@click.option("--charge", type=int, default=None, help="Total charge, where the input does not tell it.")
@click.option("--multiplicity", type=click.IntRange(1), default=None, help="Spin multiplicity.")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the conformer.")
@click.option("--json", "as_json", is_flag=True, help="Print what was built as JSON.")
@click.option("-q", "--quiet", is_flag=True, help="Print nothing.")
def build_molecule(
    what: str, out: Path | None, charge: int | None, multiplicity: int | None, seed: int, as_json: bool, quiet: bool
) -> None:
    """Build the molecule WHAT: a name from `atomflow list species`, a SMILES, or a file.

    \b
    Examples:
      atomflow build molecule DMF -o dmf.xyz
      atomflow build molecule "CN(C)C=O" -o dmf.sdf
      atomflow build molecule TFSI- -o tfsi.extxyz --seed 3
    """
    from ase.io.formats import UnknownFileTypeError, filetype
    from rdkit import Chem

    from atomflow.build import molecule
    from atomflow.model import write_atomically

    built = molecule(what, charge=charge, multiplicity=multiplicity, seed=seed)
    path = out or Path("".join(c if c.isalnum() or c in "+-" else "_" for c in built.name) + ".xyz")
    if path.suffix in (".sdf", ".mol"):
        write_atomically(path, Chem.MolToMolBlock(built.graph))
    else:
        try:
            kind = filetype(str(path), read=False, guess=False) if path.suffix != ".xyz" else "extxyz"
            path.parent.mkdir(parents=True, exist_ok=True)
            built.atoms.write(path, format=kind)
        except (UnknownFileTypeError, ValueError) as error:
            raise BadOptionError(
                f"--out {path}: no writer for {path.suffix or 'a name without a suffix'}; use .xyz, .sdf, .pdb or .cif"
            ) from error
        except OSError as error:
            raise OutputError(path, error.strerror or str(error)) from error
    about = {
        "name": built.name,
        "formula": built.formula,
        "charge": built.charge,
        "multiplicity": built.multiplicity,
        "atoms": len(built),
        "source": built.source,
        "grade": built.grade,
        "file": str(path),
    }
    if as_json:
        click.echo(json.dumps(about, indent=2, ensure_ascii=False))
    elif not quiet:
        click.echo(
            f"{built.name}: {built.formula}, charge {built.charge:+d}, {len(built)} atoms -> {path}  [{built.grade}]"
        )
