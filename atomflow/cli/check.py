"""``atomflow check``: what a trajectory is, and what is wrong with it, before anybody computes with it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from atomflow.cli.trajectory_options import opened, trajectory_options


@click.command(context_settings={"max_content_width": 100})
@click.argument("trajectory", type=click.Path(path_type=Path))
@trajectory_options
@click.option("--sample", type=click.IntRange(2), default=200, show_default=True, help="Frames to look at.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def check(
    trajectory: Path,
    topology: Path | None,
    dt: str | None,
    timestep: str | None,
    units: str | None,
    type_map: tuple[str, ...],
    sample: int,
    as_json: bool,
) -> None:
    """Look a trajectory over: wrapped or not, frame spacing, box, drift, broken frames; each with its mend.

    The exit code is 1 when something would make numbers wrong.

    \b
    Examples:
      atomflow check dump.lammpstrj
      atomflow check traj.dcd --top system.data --dt 10ps
    """
    from atomflow.analysis.base import strict
    from atomflow.trajectory import check_trajectory

    found = check_trajectory(opened(trajectory, topology, dt, timestep, units, type_map), sample)
    if as_json:
        click.echo(json.dumps(strict(found.to_dict()), indent=2, ensure_ascii=False, allow_nan=False))
    else:
        click.echo(found.to_text())
    if not found.sound:
        sys.exit(1)
