"""The options of ``atomflow md`` as numbers, with every mistake found that can be found before anything is made."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from atomflow.cli.quantities import duration_s, named, picoseconds, share
from atomflow.errors import BadOptionError

if TYPE_CHECKING:
    from atomflow.cli.md_model import Target

#: Options that are settled when a run is begun; going on by ``atomflow md DIR`` takes them from the folder.
_SETTLED = (
    "temperature", "pressure", "ensemble", "protocol", "quick", "equilibration", "timestep", "frames_every", "cutoff",
    "seed", "atoms", "salt", "dmf_wt", "filler_wt", "forcefield", "charge_scale", "allow_assumed", "script",
)  # fmt: skip


@dataclass(frozen=True)
class Asked:
    """The options as numbers; None for what was not said."""

    time_ps: float | None
    timestep_fs: float | None
    frames_ps: float | None
    equilibration_ps: float | None
    stop_at: float | None
    species: str
    wanted: float
    engine: Engine


@dataclass(frozen=True)
class Engine:
    """Which LAMMPS, and how it is started."""

    lmp: str | None
    suffix: str | None
    launcher: tuple[str, ...] | None = None
    ranks: int | None = None
    flags: tuple[str, ...] = ()


def given_of(context: click.Context) -> set[str]:
    """Names of the options that the command line has."""
    line = click.core.ParameterSource.COMMANDLINE
    return {name for name in context.params if context.get_parameter_source(name) == line}


def asked_of(context: click.Context, target: Target, options: dict[str, Any], began: float) -> Asked:
    """Every mistake that can be found before anything is made."""
    given = given_of(context)
    if target.kind == "run" and (settled := [name for name in _SETTLED if name in given]):
        raise BadOptionError(
            f"--{settled[0].replace('_', '-').replace('script', 'in')}: settled when {target.out} was begun; leave it away, or begin another run"
        )
    if target.kind == "data" and "cutoff" in given:
        raise BadOptionError(f"--cutoff: {options['script']} has its own")
    if options["length"] is None and target.kind != "run":
        raise BadOptionError("how long? give --time, such as --time 300ps")
    if options["quick"] and options["protocol"] not in ("auto", "quick"):
        raise BadOptionError(f"--quick is the protocol quick, and --protocol {options['protocol']} another; give one")
    times = {
        name: None if options[name] is None else picoseconds(f"--{name.replace('_', '-')}", options[name])
        for name in ("timestep", "frames_every", "equilibration")
    }
    budget = options["budget"]
    seconds = None if budget is None else duration_s(budget)
    if budget is not None and not seconds:
        raise BadOptionError(f"--budget {budget!r}: give a time such as 90s, 30m, 24h or 01:30:00")
    species, wanted = "", 0.0
    if options["target_precision"] is not None:
        ((species, words),) = named("--target-precision", (options["target_precision"],), "Li=20%").items()
        wanted = share("--target-precision", words)
        if seconds is None:
            raise BadOptionError("--target-precision goes on for as long as it takes; give a --budget, such as 24h")
    return Asked(
        time_ps=None if options["length"] is None else picoseconds("--time", options["length"]),
        timestep_fs=None if times["timestep"] is None else times["timestep"] * 1000,
        frames_ps=times["frames_every"],
        equilibration_ps=times["equilibration"],
        stop_at=None if seconds is None else began + seconds,
        species=species,
        wanted=wanted,
        engine=_engine(options, given),
    )


def check_frames(asked: Asked, timestep_fs: float) -> None:
    """BadOptionError when frames are no whole number of steps apart."""
    if asked.frames_ps is None:
        return
    steps = asked.frames_ps * 1000 / timestep_fs
    if round(steps) < 1 or abs(steps - round(steps)) > 1e-6 * steps:
        raise BadOptionError(
            f"--frames-every {asked.frames_ps:g}ps is no whole number of steps of {timestep_fs:g} fs; give another, or a "
            "--timestep that fits"
        )


def _engine(options: dict[str, Any], given: set[str]) -> Engine:
    """LAMMPS as the options, or else the profile of a cluster, name it."""
    suffix = None if options["suffix"] == "none" else options["suffix"]
    if options["launcher"] is not None and options["cluster"] is not None:
        raise BadOptionError("--launcher and --cluster were both given: one of them decides; leave the other out")
    if options["cluster"] is not None:
        from atomflow.cli.engines import chosen_cluster
        from atomflow.model import LAUNCHER

        cluster = chosen_cluster(options["cluster"])
        # The plain mpirun is better taken from where LAMMPS lies.
        filled = tuple(word.format(ranks="{ranks}", cores="1", nodes="1") for word in cluster.launcher)
        return Engine(
            lmp=options["lmp"] or cluster.lmp,
            suffix=suffix if "suffix" in given else cluster.lmp_suffix or suffix,
            launcher=None if cluster.launcher == LAUNCHER else filled,
            ranks=options["ranks"] or cluster.cores,
            flags=cluster.lmp_flags,
        )
    launcher = None
    if options["launcher"] is not None:
        try:
            launcher = tuple(shlex.split(options["launcher"]))
            filled = tuple(word.format(ranks=1) for word in launcher)
        except (ValueError, KeyError, IndexError, AttributeError):
            filled = ()
        if not filled or not all(filled):
            raise BadOptionError(f"--launcher {options['launcher']!r}: give words such as 'srun -n {{ranks}}'")
    return Engine(options["lmp"], suffix, launcher, options["ranks"])
