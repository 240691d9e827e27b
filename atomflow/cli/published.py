"""``atomflow published``: the scoreboard of published rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from atomflow.errors import BadOptionError

if TYPE_CHECKING:
    from atomflow.report.scoreboard import Record, Row

_FOLDER = click.Path(file_okay=False, path_type=Path)


@click.command(context_settings={"max_content_width": 100})
@click.option("--row", "row_id", metavar="ID", help="Show one row in full, with method, warnings and explanation.")
@click.option("--record", "study", metavar="DIR", type=_FOLDER, help="Take the values from the finished study in DIR.")
@click.option(
    "--into",
    metavar="FOLDER",
    type=_FOLDER,
    help="Keep and look up records in FOLDER, not in the checkout's published/.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON on standard output.")
def published(row_id: str | None, study: Path | None, into: Path | None, as_json: bool) -> None:
    """List published results beside our recomputed values.

    Each row shows what a paper published, the command that recomputes it and our value, or "not yet". Ours come
    only from --record, which takes them out of a study's result.json and keeps that file and the ones it lists.

    \b
    Examples:
      atomflow published
      atomflow published --row P4.a
      atomflow published --json
      atomflow run cation-anchor --thorough --out runs/P4.a
      atomflow published --record runs/P4.a
      atomflow published --record runs/P4.a --into my-scoreboard
    """
    from atomflow.report.scoreboard import find_row, load_records, load_rows, record_study, scoreboard_table

    if study is not None:
        if row_id is not None:
            raise BadOptionError("--record takes every row that the study states; leave --row out")
        taken = record_study(study, into)
        if as_json:
            _echo_json([item.to_dict() for item in taken])
        for item in [] if as_json else taken:
            click.echo(f"recorded {item.row} ({item.grade}, {len(item.values)} values) in {item.file_name}")
        return

    if into is not None and not into.is_dir():
        raise BadOptionError(f"--into {into}: there is no such folder; record a study into it first")
    rows = load_rows(into if into is not None and (into / "rows").is_dir() else None)
    records = load_records(into)
    if row_id is not None:
        row = find_row(rows, row_id)
        own = [item for item in records if item.row == row.id]
        if as_json:
            _echo_json(_full(row, own))
        else:
            _show_row(row, own)
    elif as_json:
        _echo_json([_full(row, [item for item in records if item.row == row.id]) for row in rows])
    else:
        _show_table(scoreboard_table(rows, records))


def _full(row: Row, records: list[Record]) -> dict[str, Any]:
    return {**row.to_dict(), "records": [item.to_dict() for item in records]}


def _echo_json(data: Any) -> None:
    click.echo(json.dumps(data, indent=2, ensure_ascii=False))


def _show_table(entries: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    # Three columns with several lines each, so that an 80-column terminal shows whole words and copyable commands.
    table = Table(show_lines=True)
    table.add_column("row", no_wrap=True)
    table.add_column("published", ratio=2)
    table.add_column("recomputed", ratio=3)
    for entry in entries:
        claim = Text(entry["quantity"], style="bold")
        for line in entry["published"]:
            claim.append(f"\n{line}", style="not bold")
        ours = Text()
        uncertainties = entry["uncertainty"] or [""] * len(entry["ours"])
        for line, uncertainty in zip(entry["ours"], uncertainties, strict=True):
            known = uncertainty and uncertainty != "not stated"
            ours.append(f"{line} ± {uncertainty}\n" if known else f"{line}\n", style="dim" if line == "not yet" else "")
        for method in entry["method"]:
            ours.append(f"{method}\n", style="dim")
        if entry["date"]:
            ours.append(f"{entry['grade']}, {entry['date']}, agrees: {entry['agrees']}\n", style="dim")
        if entry["command"] != ["not yet"]:
            ours.append("\n".join(f"$ {line}" for line in entry["command"]), style="cyan")
        ours.rstrip()
        table.add_row(entry["id"], claim, ours)
    Console().print(table)


def _show_row(row: Row, records: list[Record]) -> None:
    lines = [
        f"{row.id}  {row.quantity}",
        f"paper      {row.paper}, doi {row.doi}",
        f"published  {row.kind}; {row.provenance}",
        *(f"           {line}" for line in row.published()),
        f"note       {row.note}",
    ]
    lines += [f"command    {line}" for line in row.commands or ["not yet"]]
    if not records:
        lines.append("ours       not yet")
    for item in records:
        lines += [
            "",
            f"ours       {item.study}, {item.grade}, {item.created}, {item.task_time_s:.0f} s inside its tasks",
        ]
        for value in item.values:
            spread = "uncertainty not stated" if value.uncertainty is None else f"± {value.uncertainty:.2g}"
            lines.append(f"           {value.label}: {value.value:.4g} {value.unit} ({spread})  {value.method}")
        if item.statement:
            lines.append(f"statement  {item.statement}")
        lines.append(f"agrees     {'not judged' if item.agrees is None else 'yes' if item.agrees else 'no'}")
        lines.append(f"explained  {item.explanation or 'no explanation recorded'}")
        lines += [f"warning    {notice.code}: {notice.text}" for notice in item.warnings]
        packages = ", ".join(f"{name} {version}" for name, version in item.packages.items())
        lines.append(f"made by    {item.command}")
        lines.append(f"made with  atomflow {item.atomflow_version}, commit {item.commit or 'unknown'}; {packages}")
        lines.append(f"evidence   results/{item.evidence_name}/result.json, SHA-256 {item.result_sha256}")
    click.echo("\n".join(lines))
