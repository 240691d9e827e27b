"""The ``atomflow`` command and what it does about errors."""

from __future__ import annotations

import os
import sys

import click

from atomflow import __version__
from atomflow.cli.interrupt import interruptible
from atomflow.errors import AtomflowError, CalculationError


class _Commands(click.Group):
    """Subcommands are imported when used, so that ``--help`` answers at once."""

    _home = {
        "run": ("atomflow.cli.run", "run"),
        "bind": ("atomflow.cli.bind", "bind"),
        "submit": ("atomflow.cli.submit", "submit"),
        "build": ("atomflow.cli.build", "build"),
        "check": ("atomflow.cli.check", "check"),
        "md": ("atomflow.cli.md", "md"),
        "analyze": ("atomflow.cli.analyze", "analyze"),
        "list": ("atomflow.cli.listing", "listing"),
        "status": ("atomflow.cli.stored", "status"),
        "show": ("atomflow.cli.stored", "show"),
        "collect": ("atomflow.cli.compare", "collect"),
        "diff": ("atomflow.cli.compare", "diff"),
        "export": ("atomflow.cli.export", "export"),
        "clean": ("atomflow.cli.stored", "clean"),
        "doctor": ("atomflow.cli.doctor", "doctor"),
        "published": ("atomflow.cli.published", "published"),
    }

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self._home)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in self._home:
            return None
        module, attribute = self._home[name]
        command: click.Command = getattr(__import__(module, fromlist=[attribute]), attribute)
        return command


@click.command(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="atomflow")
def atomflow() -> None:
    """Atomistic modelling of composite solid electrolytes.

    \b
    Examples:
      atomflow run cation-anchor --out runs/anchors      a study, with a report
      atomflow bind Zn2+ DMF --calculator dft            one binding energy
      atomflow build molecule DMF -o dmf.xyz             a model
      atomflow md litfsi-dmf --time 1ns --out liquid     molecular dynamics, by LAMMPS
      atomflow analyze traj.dcd --top system.data        diffusivity, RDF, shells
      atomflow list studies                              what there is
      atomflow doctor                                    what is installed
    """


def _where_to_look(error: click.ClickException) -> str:
    context = getattr(error, "ctx", None)
    return f" (see: {context.command_path} --help)" if context is not None else ""


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; exit code 2 for a user's mistake, 1 for a failed calculation, 130 when stopped."""
    try:
        with interruptible():
            atomflow(args=arguments, prog_name="atomflow", standalone_mode=False)
    except click.ClickException as error:
        if isinstance(error, getattr(click.exceptions, "NoArgsIsHelpError", ())):  # since click 8.2; not a mistake
            error.show()
        else:
            click.echo(f"error: {' '.join(error.format_message().split())}{_where_to_look(error)}", err=True)
        sys.exit(2)
    except (click.Abort, KeyboardInterrupt):
        click.echo("stopped; what is finished is kept, and the same command goes on from it", err=True)
        sys.exit(130)
    except AtomflowError as error:
        kind = "failed" if isinstance(error, CalculationError) else "error"
        click.echo(f"{kind}: {' '.join(str(error).split())}", err=True)
        if os.environ.get("ATOMFLOW_TRACEBACK"):
            raise
        sys.exit(error.exit_code)
    except BrokenPipeError:
        # The reader of our output has gone (a pager was closed); Python would complain once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
