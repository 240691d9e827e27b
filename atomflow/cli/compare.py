"""``atomflow collect`` and ``atomflow diff``: results of several runs side by side."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import click

from atomflow.errors import BadOptionError
from atomflow.model import write_atomically
from atomflow.report.content import Column, Table


@click.command()
@click.argument("where", type=click.Path(path_type=Path))
@click.option("-o", "--out", type=click.Path(path_type=Path), help="Write a .csv or .json file instead of a table.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, one object a result.")
def collect(where: Path, out: Path | None, as_json: bool) -> None:
    """Results of all runs in a folder and below it, as one table.

    \b
    Examples:
      atomflow collect runs
      atomflow collect runs -o all.csv
      atomflow collect runs --json
    """
    from atomflow.report.collect import collect as collect_runs

    if out is not None and out.suffix not in (".csv", ".json"):
        raise BadOptionError(f"--out {out}: write to a name that ends in .csv or .json")
    frame, passed_over = collect_runs(where)
    for line in passed_over:
        click.echo(f"passed over: {' '.join(line.split())}", err=True)
    text = frame.to_json(orient="records", indent=1, force_ascii=False) + "\n"
    if out is not None:
        click.echo(write_atomically(out, text if out.suffix == ".json" else frame.to_csv(index=False)))
    elif as_json:
        click.echo(text, nl=False)
    else:
        shown = [name for name in frame if name in _SHOWN or name.endswith(("_energy_eV", "counterpoise_eV"))]
        rows = frame[shown].astype(object).where(frame[shown].notna(), None).to_dict("records")
        columns = tuple(Column(str(name), _SHOWN.get(str(name), str(name)), "", 3) for name in shown)
        click.echo(Table(f"{len(frame)} results in {where}", columns, tuple(rows)).to_text())


_SHOWN = {
    "run": "Run",
    "ion": "Ion",
    "ligands": "Ligands",
    "complex": "Complex",
    "beside": "Beside",
    "uncertainty_eV": "± (eV)",
    "method": "Method",
}


@click.command()
@click.argument("first", type=click.Path(path_type=Path))
@click.argument("second", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def diff(first: Path, second: Path, as_json: bool) -> None:
    """Why the numbers of two runs differ: inputs, versions, method, then the numbers.

    FIRST and SECOND are folders of finished studies.

    \b
    Examples:
      atomflow diff runs/alkali runs/cation-anchor
      atomflow diff runs/old runs/new --json
    """
    from atomflow.report.collect import compare, read_run

    found = compare(read_run(first), read_run(second))
    if as_json:
        click.echo(json.dumps(dataclasses.asdict(found), indent=1, ensure_ascii=False))
        return
    if found.made:
        made: list[dict[str, Any]] = [{"what": w, "first": _short(a), "second": _short(b)} for w, a, b in found.made]
        made_columns = (Column("what", "Made with"), Column("first", str(first)), Column("second", str(second)))
        click.echo(Table("What they were made with differs", made_columns, tuple(made)).to_text())
    else:
        click.echo("made with the same study, versions and inputs")
    for settings in dict.fromkeys(tuple(row["settings"]) for row in found.found if row["settings"]):
        click.echo(f"of the results: {'; '.join(settings)}")
    changed = [row for row in found.found if row["difference"]]
    if changed:
        columns = (
            Column("subject", "Result"),
            Column("field", "Number"),
            Column("first", str(first), "", 4),
            Column("second", str(second), "", 4),
            Column("difference", "Difference", "", 4),
        )
        click.echo(Table("Numbers", columns, tuple(changed)).to_text())
    click.echo(f"{len(found.found) - len(changed)} of {len(found.found)} numbers are the same to the last digit")
    for label, place, names in (("only in", first, found.only_first), ("only in", second, found.only_second)):
        if names:
            click.echo(f"{label} {place}: {', '.join(names)}")


def _short(value: Any) -> str:
    text = (
        "-"
        if value is None
        else json.dumps(value, ensure_ascii=False)
        if isinstance(value, (dict, list))
        else str(value)
    )
    return text if len(text) < 80 else text[:77] + "..."
