"""``atomflow export``: a result with everything it came from."""

from __future__ import annotations

import json
from pathlib import Path

import click

from atomflow.cli.session import store_option
from atomflow.cli.stored import only_entry
from atomflow.errors import BadFileError
from atomflow.flow import Store
from atomflow.flow.export import export_crate, with_ancestors


@click.command()
@click.argument("what")
@click.option(
    "-o", "--out", type=click.Path(path_type=Path), required=True, help="Folder, or NAME.zip, that is not there yet."
)
@store_option
def export(what: str, out: Path, store: Path) -> None:
    """Write a result and every step it came from as an RO-Crate.

    WHAT is a study's folder, or the beginning of a step's key.

    \b
    Examples:
      atomflow export runs/alkali -o alkali.zip
      atomflow export 3fa9 -o step-3fa9
    """
    kept = Store(store)
    folder = Path(what)
    if (folder / "result.json").is_file():
        steps, title, results = _study(folder)
    else:
        entry = only_entry(kept, what, mend="and no folder of a study; see: atomflow status")
        steps, title, results = [(entry.step, entry.key)], entry.step, {}
    entries = with_ancestors(kept, steps)
    export_crate(
        kept, entries, out, title, f"{len(entries)} steps by atomflow, with their inputs and results.", results
    )
    click.echo(f"{out}: {len(entries)} steps, {len(results)} files of {what}")


def _study(folder: Path) -> tuple[list[tuple[str, str]], str, dict[str, Path]]:
    place = folder / "steps.json"
    try:
        about = json.loads((folder / "result.json").read_text(encoding="utf-8"))
        steps = [(str(row["step"]), str(row["key"])) for row in json.loads(place.read_text(encoding="utf-8"))["steps"]]
        title = str(about["study"])
    except OSError as error:
        raise BadFileError(place, "says which steps the study used, and is not there; run the study again") from error
    except (ValueError, KeyError, TypeError) as error:
        raise BadFileError(folder, f"steps.json or result.json is damaged ({error})") from error
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and not path.name.startswith(".")]
    return steps, title, {f"study/{path.relative_to(folder).as_posix()}": path for path in files}
