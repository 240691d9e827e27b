"""``atomflow bind GUEST HOST [HOST ...]``: one binding energy."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import click

from atomflow.build import molecule
from atomflow.cli.engines import Engine
from atomflow.cli.session import common_options, finish, session, show, study_folder
from atomflow.energetics import binding_energy, ladder
from atomflow.report import Outcome, Report
from atomflow.report.wording import binding_table, method_text, references_of


@click.command(context_settings={"max_content_width": 100, "ignore_unknown_options": False})
@click.argument("guest")
@click.argument("hosts", metavar="HOST [HOST ...]", nargs=-1, required=True)
@click.option(
    "--calculator", default="xtb", show_default=True, help="xtb, dft, dft:functional=pbe0,basis=def2-tzvpd, a plug-in."
)
@click.option("--geometry", default=None, help="Calculator that relaxes the kept minima [follows --calculator].")
@click.option(
    "--screen", default=None, help="Calculator that relaxes the starts; 'none' for no screening [follows --calculator]."
)
@click.option("--starts", type=click.IntRange(1), default=None, help="Random starts [4 for one host, 40 for more].")
@click.option(
    "--keep", type=click.IntRange(1), default=1, show_default=True, help="Distinct minima refined after screening."
)
@click.option("--counterpoise", is_flag=True, help="Correct the basis-set superposition error.")
@click.option("--hessian", is_flag=True, help="Vibrations: true minimum, zero point, enthalpy and free energy.")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of all random choices.")
@common_options
def bind(
    guest: str,
    hosts: tuple[str, ...],
    calculator: str,
    geometry: str | None,
    screen: str | None,
    starts: int | None,
    keep: int,
    counterpoise: bool,
    hessian: bool,
    seed: int,
    out: Path | None,
    store: Path,
    engine: Engine,
    as_json: bool,
    quiet: bool,
) -> None:
    """Energy of GUEST + HOSTS -> complex, from many random starts.

    Names from `atomflow list species`, SMILES, or files (xyz, sdf, mol2); a file's charge as FILE@-1.

    \b
    Examples:
      atomflow bind Li+ DMF
      atomflow bind Zn2+ DMF --calculator dft --counterpoise
      atomflow bind Li+ TFSI- DMF --starts 40
      atomflow bind Li+ my.xyz --out li-on-mine
    """
    ion, ligands = molecule(guest, seed=seed), [molecule(host, seed=seed) for host in hosts]
    chosen = ladder(calculator, geometry=geometry, screen=screen, hessian=hessian)
    stem = re.sub(r"[^A-Za-z0-9+-]+", "_", "bind-" + "-".join([ion.name, *(ligand.name for ligand in ligands)]))
    with session(study_folder(out, stem), store, engine, quiet) as current:
        result = binding_energy(
            ion,
            ligands,
            chosen,
            starts=starts or (4 if len(ligands) == 1 else 40),
            keep=keep,
            seed=seed,
            with_counterpoise=counterpoise,
            run=current.bench.run,
        )
        table = binding_table([result], f"Binding of {ion.name} to {' + '.join(result.ligands)}")
        best = result.counterpoise_eV if result.counterpoise_eV is not None else result.binding_energy_eV
        report = Report(
            title=f"Binding of {ion.name} to {' + '.join(result.ligands)}",
            question=f"How strongly does {ion.name} bind to {' + '.join(result.ligands)}?",
            answer=f"By {best:.2f} ± {result.uncertainty_eV:.2f} eV ({result.method}).",
            tables=(table,),
            method=method_text(chosen, seed),
            references=references_of(chosen),
        )
        outcome = Outcome({"binding": (result,)}, report)
        inputs: dict[str, Any] = {
            "guest": guest,
            "hosts": list(hosts),
            "calculator": calculator,
            "geometry": geometry,
            "screen": screen,
        }
        inputs |= {
            "starts": result.starts,
            "keep": keep,
            "counterpoise": counterpoise,
            "hessian": hessian,
            "seed": seed,
        }
        path = finish(current, outcome, "bind", inputs)
    show(outcome, path, as_json, quiet)
