"""``atomflow run STUDY``: a study from ``workflows/``, its settings as options."""

from __future__ import annotations

import dataclasses
import inspect
import types
import typing
from pathlib import Path
from typing import Any

import click

from atomflow.cli.engines import Engine
from atomflow.cli.session import common_options, finish, session, show, study_folder, without_failed
from atomflow.errors import BranchesFailedError
from atomflow.flow import find_study, study_names, summary


class _Studies(click.Group):
    """One subcommand a study; its options are the fields of the study's dataclass."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return study_names()

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        path = ctx.params.get("workflow")
        return _command(name, find_study(name, path))


def _command(name: str, study: type[Any]) -> click.Command:
    hints = typing.get_type_hints(study)

    def call(out: Path | None, store: Path, engine: Engine, as_json: bool, quiet: bool, **settings: Any) -> None:
        settings = {key: tuple(v) if isinstance(v, (list, tuple)) else v for key, v in settings.items()}
        chosen = study(**settings)
        with session(study_folder(out, name), store, engine, quiet) as current:
            outcome = chosen.run(current.bench)
            result = finish(current, outcome, name, dataclasses.asdict(chosen))
            show(without_failed(outcome, current.bench.failures), result, as_json, quiet)
            if current.bench.failures:
                raise BranchesFailedError(current.bench.failures)

    options: list[click.Parameter] = [_option(field, hints[field.name]) for field in dataclasses.fields(study)]
    command = click.command(name, help=_help(study), short_help=summary(study), params=options)(call)
    return common_options(command)


def _option(field: dataclasses.Field[Any], hint: Any) -> click.Option:
    flag = "--" + field.name.replace("_", "-")
    text = field.metadata.get("help", "")
    optional = typing.get_origin(hint) in (typing.Union, types.UnionType)
    plain = next(a for a in typing.get_args(hint) if a is not type(None)) if optional else hint
    if field.default is dataclasses.MISSING:
        return click.Option([flag], type=plain, required=True, help=text)
    if typing.get_origin(plain) is tuple:
        each = typing.get_args(plain)[0]
        return click.Option(
            [flag], type=each, multiple=True, default=field.default, help=text, show_default=bool(field.default)
        )
    if plain is bool:
        names = f"{flag}/--no-{flag[2:]}" if optional else flag
        return click.Option([names], is_flag=True, default=field.default, help=text)
    return click.Option([flag], type=plain, default=field.default, help=text, show_default=field.default is not None)


def _help(study: type[Any]) -> str:
    text = inspect.cleandoc(study.__doc__ or "")
    before, _, examples = text.partition("Examples:")
    lines = "\n".join("  " + line.strip() for line in examples.strip().splitlines())
    return f"{before}\n\n\b\nExamples:\n{lines}" if examples else before


@click.command(cls=_Studies, context_settings={"max_content_width": 100})
@click.option(
    "--workflow", type=click.Path(path_type=Path), help="A workflow file of your own; NAME is then only its title."
)
def run(workflow: Path | None) -> None:
    """Run a study: models, energies, table, figures and report in one folder.

    Stopped at any moment, the same command goes on from what is finished.

    \b
    Examples:
      atomflow run cation-anchor
      atomflow run cation-anchor --calculator xtb --ions Li+ --ions K+ --out runs/alkali
      atomflow run litfsi-dissociation --beside P-DOL
      atomflow run --workflow my_study.py mine
    """
