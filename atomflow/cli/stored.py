"""``atomflow status``, ``show`` and ``clean``: what is in the store of finished steps."""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click

from atomflow.cli.session import check_out, store_option
from atomflow.errors import BadOptionError, OutputError, UnknownNameError
from atomflow.flow import Entry, Store
from atomflow.flow.parts import last_change
from atomflow.report.content import Column, Table

#: An unfinished entry younger than this may still be written by a running driver.
_YOUNG_S = 3600


@click.command()
@store_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def status(store: Path, as_json: bool) -> None:
    """What is finished, what was left unfinished, and what it took.

    \b
    Examples:
      atomflow status
      atomflow status --store /scratch/me/store --json
    """
    kept = Store(store)
    left = [part.parent.name for part in kept.unfinished()]
    failures = kept.failures()
    rows = []
    for step in kept.steps():
        entries = list(kept.entries([step]))
        rows.append(
            {
                "step": step,
                "finished": len(entries),
                "unfinished": left.count(step),
                "failed": sum(failure["step"] == step for failure in failures),
                "hours": sum(entry.seconds for entry in entries) / 3600,
                "size_MB": sum(entry.size_bytes for entry in entries) / 1e6,
                "last": max((entry.created for entry in entries), default=None),
            }
        )
    damaged = len(kept.put_aside())
    if as_json:
        click.echo(json.dumps({"store": str(store), "steps": rows, "damaged": damaged, "failures": failures}, indent=2))
        return
    if not rows:
        click.echo(f"nothing is finished in {store}")
        return
    columns = (
        Column("step", "Step"),
        Column("finished", "Finished"),
        Column("unfinished", "Unfinished"),
        Column("failed", "Failed"),
        Column("hours", "Time", "h", 3),
        Column("size_MB", "Size", "MB", 2),
        Column("last", "Last (UTC)"),
    )
    click.echo(Table(f"Store {store}", columns, tuple(rows)).to_text())
    for failure in failures[-5:]:
        told = " ".join(str(failure.get("error", "")).split())
        click.echo(f"failed {failure.get('created', '')}: {failure['step']} {failure['key'][:12]}: {told[:300]}")
    if damaged:
        click.echo(f"{damaged} damaged entries were put aside in {store / 'quarantine'}; atomflow clean --damaged")


@click.command()
@click.argument("key")
@store_option
@click.option("--json", "as_json", is_flag=True, help="Print inputs and result whole, as JSON.")
@click.option("-o", "--out", type=click.Path(path_type=Path), help="Folder to put the step's files in, as copies.")
@click.option("--link", is_flag=True, help="With --out: links to the store instead of copies.")
def show(key: str, store: Path, as_json: bool, out: Path | None, link: bool) -> None:
    """One finished step: when, where, how long, with which inputs and result.

    KEY is the beginning of a step's key, at least four characters (a folder name in the store).

    \b
    Examples:
      atomflow show 3fa9
      atomflow show 3fa9c2 --json > step.json
      atomflow show 3fa9c2 --out files --link
    """
    kept = Store(store)
    entry = only_entry(kept, key)
    if out is not None:
        _put_files(entry, out, link)
    try:
        parts = {name: json.loads(kept.read(entry, f"{name}.json")) for name in ("inputs", "result")}
    except (ValueError, KeyError) as error:
        raise BadOptionError(f"{entry.folder}: {error}; the next run that needs it computes it again") from error
    about = {k: v for k, v in asdict(entry).items() if k not in ("files", "folder")}
    if as_json:
        click.echo(json.dumps({**about, "folder": str(entry.folder), **parts}, indent=1, ensure_ascii=False))
        return
    for label, value in {**about, "folder": entry.folder}.items():
        click.echo(f"{label:17} {value}")
    for name, value in parts.items():
        click.echo(f"\n{name}\n{json.dumps(_shortened(value), indent=2, ensure_ascii=False)}")


def _put_files(entry: Entry, out: Path, link: bool) -> None:
    """Copies of a step's files, or links to them."""
    names = [name for name in entry.files if "/" in name]
    check_out(out)
    for name in names:
        target = out / name.partition("/")[2]
        if target.exists() or target.is_symlink():
            raise OutputError(target, "it is there already")
        target.parent.mkdir(parents=True, exist_ok=True)
        if link:
            target.symlink_to((entry.folder / name).absolute())
        else:
            shutil.copyfile(entry.folder / name, target)
    click.echo(f"{len(names)} files {'linked' if link else 'copied'} to {out}", err=True)


def only_entry(kept: Store, start: str, mend: str = "") -> Entry:
    """The finished step whose key begins so.

    Raises
    ------
    BadOptionError, UnknownNameError
    """
    if len(start) < 4:
        raise BadOptionError(f"key {start!r} is too short; give at least four characters of it")
    found = [(step, key) for step in kept.steps() for key in kept.keys(step) if key.startswith(start)]
    if len(found) > 1:
        raise BadOptionError(
            f"key {start!r} fits {len(found)} steps; give more of it: {', '.join(k for _, k in found[:4])}"
        )
    entry = kept.find(*found[0]) if found else None
    if entry is None:
        raise UnknownNameError("key", start, [], mend=mend or f"see the folders in {kept.folder}")
    return entry


def _shortened(value: Any) -> Any:
    """Long lists by their beginning: this is for reading, ``--json`` has everything."""
    if isinstance(value, dict):
        return {key: _shortened(item) for key, item in value.items()}
    if isinstance(value, list):
        more = [f"... {len(value) - 3} more"] if len(value) > 4 else []
        return [_shortened(item) for item in (value[:3] if more else value)] + more
    return value if not isinstance(value, str) or len(value) < 200 else value[:200] + " ..."


@click.command()
@store_option
@click.option("--step", "steps", multiple=True, help="Finished steps of this name (repeat the option).")
@click.option("--older-than", "days", type=click.FloatRange(0), help="Finished steps older than so many days.")
@click.option("--all", "everything", is_flag=True, help="All finished steps.")
@click.option(
    "--unfinished", is_flag=True, help="What a killed run left half done (over an hour old), checkpoints too."
)
@click.option("--damaged", is_flag=True, help="Damaged entries that were put aside.")
@click.option("--dry-run", is_flag=True, help="Only say what would be deleted.")
@click.option("--yes", is_flag=True, help="Delete without asking.")
def clean(
    store: Path,
    steps: tuple[str, ...],
    days: float | None,
    everything: bool,
    unfinished: bool,
    damaged: bool,
    dry_run: bool,
    yes: bool,
) -> None:
    """Delete from the store; says what it would delete and asks first.

    \b
    Examples:
      atomflow clean --unfinished --damaged
      atomflow clean --older-than 90 --dry-run
      atomflow clean --step atomflow.energetics.relax.relax
    """
    if not (steps or days is not None or everything or unfinished or damaged):
        raise BadOptionError("say what to delete: --unfinished, --damaged, --older-than DAYS, --step NAME or --all")
    kept = Store(store)
    for name in steps:
        if name not in kept.steps():
            raise UnknownNameError("step", name, kept.steps(), mend="see: atomflow status")
    doomed: list[Path] = []
    if steps or days is not None or everything:
        before = datetime.now(UTC) - timedelta(days=days or 0)
        found = kept.entries(steps or None)
        doomed += [e.folder for e in found if days is None or datetime.fromisoformat(e.created) < before]
    if unfinished:
        doomed += [part for part in kept.unfinished() if time.time() - last_change(part) > _YOUNG_S]
    if damaged:
        doomed += kept.put_aside()
    size = sum(f.stat().st_size for folder in doomed for f in folder.rglob("*") if f.is_file())
    click.echo(f"{len(doomed)} entries of {store}, {size / 1e6:.2f} MB")
    for folder in doomed[:10]:
        click.echo(f"  {folder.relative_to(store)}")
    if len(doomed) > 10:
        click.echo(f"  ... and {len(doomed) - 10} more")
    if dry_run or not doomed:
        return
    if not yes:
        click.confirm("delete them?", abort=True)
    for folder in doomed:
        shutil.rmtree(folder)
    click.echo("deleted")
