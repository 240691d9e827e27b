"""Options of every command that opens a trajectory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from atomflow.cli.quantities import named, picoseconds

if TYPE_CHECKING:
    from atomflow.trajectory import Trajectory

_F = TypeVar("_F", bound=Callable[..., Any])


def trajectory_options(command: _F) -> _F:
    """``--top``, ``--dt``, ``--timestep``, ``--units``, ``--type-map``."""
    for option in reversed(
        (
            click.option(
                "--top",
                "topology",
                type=click.Path(path_type=Path),
                help="What the atoms are: LAMMPS data, PSF, TPR, GRO, PDB, ... [the file itself, or the one beside it "
                "that fits].",
            ),
            click.option("--dt", metavar="TIME", help="Spacing of the frames, such as 10ps [from the file]."),
            click.option(
                "--timestep",
                metavar="TIME",
                help="MD step, such as 2fs: times are the dump's TIMESTEPs times it [from an input or log beside it].",
            ),
            click.option("--units", help="LAMMPS units of the files [found beside them, else real]."),
            click.option(
                "--type-map",
                multiple=True,
                metavar="TYPE=EL",
                help="Element of a LAMMPS type, such as 5=Li. Repeat it.",
            ),
        )
    ):
        command = option(command)
    return command


def opened(
    path: Path,
    topology: Path | None,
    dt: str | None,
    timestep: str | None,
    units: str | None,
    type_map: tuple[str, ...],
) -> Trajectory:
    """The trajectory that these options mean."""
    from atomflow.trajectory import open_trajectory

    return open_trajectory(
        path,
        topology,
        dt_ps=None if dt is None else picoseconds("--dt", dt),
        timestep_ps=None if timestep is None else picoseconds("--timestep", timestep),
        units=units,
        type_map=named("--type-map", type_map, "5=Li") or None,
    )
