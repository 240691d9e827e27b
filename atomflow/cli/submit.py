"""``atomflow submit``: the same command, in a job of a cluster."""

from __future__ import annotations

import dataclasses
import shlex
from pathlib import Path
from typing import Any

import click

from atomflow.cli.engines import Engine, chosen_cluster
from atomflow.cli.session import check_out, study_folder
from atomflow.errors import BadOptionError
from atomflow.flow import Entry, Store
from atomflow.flow.batch import Cluster, study_script
from atomflow.flow.batch import submit as hand_over
from atomflow.model import write_atomically


@click.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.option("--cluster", "name", help="Profile to use [the first of the file].")
@click.option("--cores", type=click.IntRange(1), help="Cores of the job, instead of the profile's.")
@click.option("--memory", "memory_GB", type=click.IntRange(1), help="Memory of the job in GB.")
@click.option("--walltime", help="HH:MM:SS.")
@click.option("--dry-run", is_flag=True, help="Print the script and what it may cost; submit nothing.")
@click.argument("words", nargs=-1, required=True, type=click.UNPROCESSED)
def submit(
    name: str | None,
    cores: int | None,
    memory_GB: int | None,
    walltime: str | None,
    dry_run: bool,
    words: tuple[str, ...],
) -> None:
    """Run `atomflow run STUDY ...` or `atomflow md BOX ...` in a job of a cluster.

    Before its walltime ends a job is told to save and stop; the same command, submitted again, goes on.

    Profiles: $ATOMFLOW_CLUSTERS, else ~/.config/atomflow/clusters.yaml; see docs/cluster.md.

    \b
    Examples:
      atomflow submit --dry-run run cation-anchor --out runs/cation-anchor
      atomflow submit --walltime 08:00:00 run cation-anchor --thorough --out runs/P4.a
      atomflow submit --cores 16 --walltime 24:00:00 md PPLA --atoms 5000 --time 100ns --out ppla
    """
    changes: dict[str, Any] = {"cores": cores, "memory_GB": memory_GB, "walltime": walltime}
    if words[0] == "md":
        _submit_md(words, name, changes, dry_run)
        return
    if words[0] != "run":
        raise BadOptionError(
            f"studies and MD are submitted: atomflow submit run STUDY ... or atomflow submit md BOX ..., not {words[0]!r}"
        )
    study, settings = _checked(words[1:])
    Engine(*(settings[option] for option in ("engine_name", "jobs", "cluster", "max_jobs", "resources")))
    if settings["engine_name"] == "slurm" and cores is None:
        changes["cores"] = 1  # the driver only: its steps are jobs of their own
    cluster = _profile(name, changes)
    out = study_folder(settings["out"], study)
    command = list(words)
    if settings["jobs"] is None and settings["engine_name"] == "local":
        command += ["--jobs", str(cluster.cores)]
    # Another node starts elsewhere and with another environment: what the options mean here is said in full.
    command += ["--out", str(out.absolute()), "--store", str(settings["store"].absolute())]
    cost = _cost(cluster, settings["store"], settings["engine_name"]) if dry_run else ""
    _hand_over(cluster, command, out, f"atomflow-{study}", words, cost)


def _submit_md(words: tuple[str, ...], name: str | None, changes: dict[str, Any], dry_run: bool) -> None:
    """A run of MD in one job: on all its cores, with the launcher and the LAMMPS of the profile."""
    from atomflow.cli.md import checked_md

    target, given = checked_md(list(words[1:]))
    cluster = _profile(name, changes)
    command = list(words)
    if not given & {"launcher", "cluster"}:
        command += ["--cluster", cluster.name]
    if "ranks" not in given:
        command += ["--ranks", str(cluster.cores)]
    if target.kind != "run":
        command += ["--out", str(target.out.absolute())]
    cost = f"1 job, {cluster.cores} cores; for time and disk: atomflow {shlex.join(words)} --dry-run" if dry_run else ""
    _hand_over(cluster, command, target.out, "atomflow-md", words, cost, ranks=cluster.cores)


def _profile(name: str | None, changes: dict[str, Any]) -> Cluster:
    return dataclasses.replace(chosen_cluster(name), **{k: v for k, v in changes.items() if v is not None})


def _hand_over(
    cluster: Cluster, command: list[str], out: Path, job: str, words: tuple[str, ...], cost: str, *, ranks: int = 1
) -> None:
    """Submit a command; with a text about its cost only print the script and the text."""
    log = out.absolute() / ("job-%j.log" if cluster.scheduler == "slurm" else "job.log")
    script = study_script(cluster, command, Path.cwd(), log, job, ranks=ranks)
    if cost:
        click.echo(script, nl=False)
        click.echo(cost, err=True)
        return
    check_out(out)
    path = write_atomically(out / "job.sh", script)
    answer = hand_over(cluster, path)
    click.echo(f"submitted {shlex.join(words)} to {cluster.name}: {answer}\nscript: {path}\nlog: {log}")


def _checked(words: tuple[str, ...]) -> tuple[str, dict[str, Any]]:
    """Read the study's options as ``atomflow run`` would: a mistake is told now, not after a night in the queue."""
    from atomflow.cli.run import run

    assert isinstance(run, click.Group)
    outer = run.make_context("atomflow run", list(words))
    # Where click keeps the subcommand's own words: its name changed with click 8.2.
    kept = vars(outer)
    held_back = kept.get("_protected_args") or kept.get("protected_args") or []
    name, command, rest = run.resolve_command(outer, [*held_back, *outer.args])
    if command is None or name is None:
        raise BadOptionError("name a study; see: atomflow list studies")
    settings = command.make_context(name, rest, parent=outer).params
    return name, settings


def _cost(cluster: Cluster, store: Path, engine: str) -> str:
    """What the job may use at most, and what steps have taken so far."""
    most = "no walltime is set" if cluster.core_hours is None else f"at most {cluster.core_hours:.1f} core hours"
    taken: dict[str, list[Entry]] = {}
    for entry in Store(store).entries():
        taken.setdefault(entry.step.rsplit(".", 1)[-1], []).append(entry)
    lines = [f"1 job, {cluster.cores} cores, {most}"]
    if engine == "slurm":
        lines.append("its steps are jobs of their own, at most --max-jobs at a time; what is finished is not submitted")
    if not taken:
        lines.append(f"{store} is empty: nothing is known of what steps take")
    for name, entries in sorted(taken.items()):
        hours, size = sum(e.seconds for e in entries) / 3600, sum(e.size_bytes for e in entries) / 1e6
        mean = 3600 * hours / len(entries)
        lines.append(f"so far {len(entries)} {name}: {hours:.2f} h in all, {mean:.1f} s each, {size:.1f} MB")
    return "\n".join(lines)
