"""``atomflow build polymer``: one chain into a file."""

from __future__ import annotations

import json
from pathlib import Path

import click

from atomflow.errors import BadOptionError


@click.command(
    name="polymer", short_help="A polymer chain from residue templates.", context_settings={"max_content_width": 100}
)
@click.argument("what", metavar="NAME|SMILES")
@click.option("--units", type=int, default=None, help="Repeat units [the polymer's own length].")
@click.option("--seed", type=int, default=0, show_default=True, help="Of sequence, tacticity and torsions.")
@click.option("--hfp-fraction", type=float, default=None, help="Mole fraction of HFP units: 0.1.")
@click.option(
    "--fraction",
    "fractions",
    multiple=True,
    metavar="UNIT=VALUE",
    help="Mole fraction of a unit, or weight fraction of a block: polyamide=0.5. Repeat it.",
)
@click.option(
    "--sequence", default=None, help="random, blocky, alternating, blocks, or the units: 'VDF*3 HFP -VDF VDF'."
)
@click.option("--block-length", type=int, default=None, help="Units in a block of a blocky sequence.")
@click.option("--head-head", type=float, default=None, help="Fraction of units turned round.")
@click.option("--tacticity", default=None, help="isotactic, syndiotactic, atactic, or the probability of a meso dyad.")
@click.option("--head", default=None, metavar="SMILES", help="End group at the head, e.g. '[*]C'.")
@click.option("--tail", default=None, metavar="SMILES", help="End group at the tail.")
@click.option("--mn", type=float, default=None, help="Draw the length: number-average molar mass, g/mol.")
@click.option("--dispersity", type=float, default=None, help="Mw/Mn of that distribution [2].")
@click.option(
    "--folder",
    "folders",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Search this folder of polymers (and residues/ in it) first.",
)
@click.option(
    "-o",
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File to write: .pdb .sdf .xyz [NAME.pdb].",
)
@click.option("--json", "as_json", is_flag=True, help="Print what was built as JSON.")
@click.option("-q", "--quiet", is_flag=True, help="Print nothing.")
def build_polymer(
    what: str,
    units: int | None,
    seed: int,
    hfp_fraction: float | None,
    fractions: tuple[str, ...],
    sequence: str | None,
    block_length: int | None,
    head_head: float | None,
    tacticity: str | None,
    head: str | None,
    tail: str | None,
    mn: float | None,
    dispersity: float | None,
    folders: tuple[Path, ...],
    out: Path | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Grow one chain: a name from `atomflow list polymers`, or a SMILES with two attachment points.

    Your own polymers and residues: --folder DIR, or the variable ATOMFLOW_POLYMERS_PATH.

    \b
    Examples:
      atomflow build polymer PVDF-HFP --units 100 --hfp-fraction 0.1 --seed 3 -o chain.pdb
      atomflow build polymer Pebax --fraction polyamide=0.5 -o pebax.sdf
      atomflow build polymer PVDF --units 50 --head-head 0.05 -o pvdf.pdb
      atomflow build polymer PEO --mn 2000 --dispersity 1.1 -o peo.xyz
      atomflow build polymer "[*:1]CC(C)[*:2]" --units 30 --tacticity isotactic -o pp.pdb
    """
    from atomflow.build import chain_text, polymer_chain
    from atomflow.model import write_atomically

    name = "".join(c if c.isalnum() or c in "+-" else "_" for c in what)
    path = out or Path(f"{name}.pdb")
    if path.suffix.lower() not in (".pdb", ".sdf", ".xyz", ".extxyz"):
        # Said before the chain is grown, and again by the writer.
        raise BadOptionError(f"--out {path}: no writer for {path.suffix or 'it'}; use .pdb, .sdf or .xyz")
    chain = polymer_chain(
        what,
        units=units,
        seed=seed,
        fractions=_fractions(fractions),
        hfp_fraction=hfp_fraction,
        sequence=sequence,
        block_length=block_length,
        head_head_fraction=head_head,
        tacticity=tacticity,
        head=head,
        tail=tail,
        mn_g_mol=mn,
        dispersity=dispersity,
        folders=folders,
    )
    write_atomically(path, chain_text(chain.molecule, path))
    if as_json:
        about = {**chain.to_dict(), "formula": chain.molecule.formula, "atoms": len(chain.molecule), "file": str(path)}
        click.echo(json.dumps(about, indent=2, ensure_ascii=False))
        return
    if quiet:
        return
    click.echo(
        f"{chain.polymer}: {len(chain.sequence)} units, {len(chain.molecule)} atoms, {chain.molar_mass_g_mol:.0f} g/mol, "
        f"charge {chain.molecule.charge:+d} -> {path}  [{chain.grade}; torsions {chain.torsions_grade}]"
    )
    parts = [
        f"{code} {100 * mole:.1f} mol% {100 * chain.weight_fractions[code]:.1f} wt%"
        for code, mole in chain.mole_fractions.items()
    ]
    click.echo("  units: " + ", ".join(parts))
    for code, dyads in chain.dyads.items():
        click.echo(f"  tacticity of {code}: {dyads['meso']} meso, {dyads['racemo']} racemo dyads")
    if chain.turned_units:
        click.echo(f"  turned round: {chain.turned_units} units")
    click.echo(
        f"  end to end {chain.end_to_end_A:.1f} A (ideal chain {chain.ideal_end_to_end_A:.1f}), "
        f"radius of gyration {chain.gyration_radius_A:.1f} A (ideal chain {chain.ideal_gyration_radius_A:.1f})"
    )
    for notice in chain.warnings:
        click.echo(f"warning [{notice.code}]: {notice.text}", err=True)


def _fractions(texts: tuple[str, ...]) -> dict[str, float]:
    found = {}
    for text in texts:
        name, _, value = text.partition("=")
        try:
            found[name.strip()] = float(value)
        except ValueError:
            raise BadOptionError(f"--fraction {text!r}: write it as UNIT=VALUE, for example HFP=0.1") from None
    return found
