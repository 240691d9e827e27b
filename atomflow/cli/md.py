"""``atomflow md``: a box equilibrated and run by LAMMPS, stopped at any moment, gone on with by the same command."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import signal
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from atomflow.cli.md_options import Asked, asked_of, check_frames, given_of
from atomflow.errors import BadOptionError

if TYPE_CHECKING:
    from atomflow.cli.md_model import Size, Target
    from atomflow.cli.md_precision import Precision
    from atomflow.dynamics import MDResult, Protocol
    from atomflow.lammps import LammpsProgram

#: A rank has at least about so many atoms by default: with fewer it mostly waits for the others.
_ATOMS_PER_RANK = 500
#: How late a signal may be that this process sends itself, s.
_LATE_S = 5.0
#: Frames that a run has at least unless said otherwise; the spacing is a round number, see ``run_md``.
_FRAMES = 500
#: The file of a run that says which atoms there are.
TOPOLOGY = "topology.data"


def _heats(_context: click.Context, _option: click.Parameter, text: str) -> tuple[float, ...]:
    """Temperatures, each once, in the order given."""
    try:
        heats = tuple(dict.fromkeys(float(part) for part in text.split(",")))
    except ValueError:
        raise BadOptionError(
            f"--temperature {text[:40]!r}: give K, such as 298, or several, such as 298,323,348"
        ) from None
    return heats


@click.command(short_help="MD that can be stopped and goes on.", context_settings={"max_content_width": 100})
@click.argument("box", metavar="BOX|DIR|DATA")
@click.option("--in", "script", type=click.Path(path_type=Path), help="Your own LAMMPS input, for a data file DATA.")
@click.option("--time", "length", metavar="TIME", help="Of production, such as 300ps or 10ns.")
@click.option("-o", "--out", type=click.Path(path_type=Path), help="Folder of the run [NAME-md].")
@click.option(
    "--temperature", metavar="K[,K...]", default="298.15", show_default=True, callback=_heats,
    help="Of several, such as 298,323,348, each gets a run in a folder of --out.",
)  # fmt: skip
@click.option(
    "--pressure", type=float, default=1.0, show_default=True, help="Of equilibration and --ensemble npt, atm."
)
@click.option(
    "--ensemble", type=click.Choice(["nvt", "npt", "nve"]), default="nvt", show_default=True, help="Of production."
)
@click.option(
    "--protocol", default="auto", show_default=True, help="Of equilibration, see `atomflow list protocols`; auto: polymer "
    "where there are chains, else liquid.",
)  # fmt: skip
@click.option("--quick", is_flag=True, help="The protocol quick; what it cannot guarantee is in the result.")
@click.option("--equilibration", metavar="TIME", help="At most so long; all its stages get shorter.")
@click.option("--timestep", metavar="TIME", help="[2fs with bonds to hydrogen held, else 1fs]")
@click.option("--frames-every", metavar="TIME", help="Between frames [at least 500 frames].")
@click.option("--cutoff", type=float, default=12.0, show_default=True, help="Of the pair forces, A.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the box and of velocities.")
@click.option("--atoms", type=click.IntRange(1), default=3000, show_default=True, help="Of a BOX, about.")
@click.option("--salt", metavar="AMOUNT", help="Of a BOX, as for build box: 0.8M, 20% or 50parts.")
@click.option("--dmf-wt", type=click.FloatRange(0), help="Of a BOX: weight percent of solvent.")
@click.option("--filler-wt", type=click.FloatRange(0), help="Of a BOX: weight percent of filler.")
@click.option("--forcefield", default="opls-clp", show_default=True, help="Of a BOX.")
@click.option("--charge-scale", type=float, default=1.0, show_default=True, help="Of a BOX: factor on ionic charges.")
@click.option("--allow-assumed", is_flag=True, help="Of a BOX: let force-field numbers of grade 'assumed' pass.")
@click.option(
    "--folder", "folders", multiple=True, type=click.Path(path_type=Path), help="Of membranes, searched first."
)
@click.option("--ranks", type=click.IntRange(1), help="MPI processes [the cores here, at least 500 atoms each].")
@click.option(
    "--lmp", metavar="PATH", help="LAMMPS to use [$ATOMFLOW_LMP, else lmp beside this Python or on the path]."
)
@click.option("--launcher", metavar="WORDS", help="Before lmp for several ranks, such as 'srun -n {ranks}'.")
@click.option("--cluster", help="Launcher, LAMMPS and its flags of this profile of clusters.yaml.")
@click.option("--suffix", default="opt", show_default=True, help="Accelerated styles: opt, omp, gpu, kk; none.")
@click.option("--budget", metavar="TIME", help="Save and stop after so much time, such as 24h or 01:30:00.")
@click.option(
    "--target-precision", metavar="NAME=SHARE", help="Go on until half of the 95 % interval of NAME's diffusivity is this "
    "share of it, such as Li=20%; needs --budget.",
)  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Say what it would take, and run nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@click.option("-q", "--quiet", is_flag=True, help="No progress, no table.")
@click.pass_context
def md(
    context: click.Context, box: str, out: Path | None, dry_run: bool, as_json: bool, quiet: bool, **options: Any
) -> None:
    """Equilibrate and run a box by LAMMPS.

    BOX is one of `atomflow list membranes`, built on the way; DIR a folder of `atomflow build box`, or of a run that is
    to go on; DATA your own LAMMPS data file with its --in. Ctrl-C, SIGTERM and --budget save and stop. The same command,
    or just `atomflow md DIR`, goes on: no frame is lost or doubled. A longer --time makes a finished run longer.
    `atomflow analyze DIR` reads what it leaves.

    \b
    Examples:
      atomflow md litfsi-dmf --atoms 1200 --time 20ps --quick
      atomflow md ppla/ --time 300ps --temperature 298 --ranks 2 --out ppla-298
      atomflow md ppla-298 --time 1ns                      three times as long
      atomflow md pl/ --time 10ns --temperature 298,323,348 --out series
      atomflow md my.data --in my.in --time 1ns            your own model
      atomflow md PPLA --atoms 5000 --time 10ns --dry-run  what it will cost
      atomflow md pl/ --time 5ns --target-precision Li=20% --budget 24h
    """
    from atomflow.cli.md_model import find_target

    began = time.time()
    target = find_target(box, options["script"], out, options["folders"])
    heats = options.pop("temperature")
    several = len(heats) > 1
    plans = [
        (replace(target, out=target.out / f"{heat:g}K") if several else target, {**options, "temperature": heat})
        for heat in heats
    ]
    told = [asked_of(context, place, each, began) for place, each in plans]
    if several and target.kind == "run":
        raise BadOptionError(f"{target.out} is a run at one temperature; a series begins with a box")
    if dry_run:
        if several:
            click.echo(f"for each of {len(heats)} temperatures:", err=True)
        _estimate(target, told[0], plans[0][1], as_json)
        return
    made = []
    for (place, each), asked in zip(plans, told, strict=True):
        with _ended_in_words(place.out):
            result, precision = _run(place, asked, each, quiet)
        made.append(result.to_dict() | ({"precision": precision.to_dict()} if precision else {}))
        if not as_json:
            _show(result, precision, quiet, asked)
        if not result.finished:
            break
    if as_json:
        about = {"schema": "atomflow.md-series/1", "runs": made} if several else made[0]
        click.echo(json.dumps(about, indent=2, ensure_ascii=False))


def checked_md(words: list[str]) -> tuple[Target, set[str]]:
    """What a command line of ``atomflow md`` would run, and the options that it gives, before it is sent elsewhere.

    Raises
    ------
    click.ClickException, BadOptionError, BadFileError, UnknownNameError
        Any mistake that is found before a run begins.
    """
    from atomflow.cli.md_model import find_target

    context = md.make_context("md", list(words))
    options = dict(context.params)
    options["temperature"] = options["temperature"][0]
    target = find_target(options.pop("box"), options["script"], options.pop("out"), options["folders"])
    asked = asked_of(context, target, options, time.time())
    if target.kind != "run":
        _protocol(asked, options, chains=False)
        _check_frames(target, asked)
    return target, given_of(context)


def _check_frames(target: Target, asked: Asked) -> None:
    """As far as the time step is known without building or reading anything."""
    from atomflow.cli.md_model import STEP_FS

    if asked.timestep_fs is not None or target.kind == "recipe":
        check_frames(asked, asked.timestep_fs or STEP_FS)


def _ranks(asked: Asked, atoms: int, lmp: LammpsProgram | None) -> int:
    from atomflow.flow import available_cores

    if asked.engine.ranks is not None:
        return asked.engine.ranks
    if lmp is not None and lmp.mpirun is None:
        return 1
    return max(1, min(available_cores(), atoms // _ATOMS_PER_RANK))


def _protocol(asked: Asked, options: dict[str, Any], chains: bool) -> Protocol:
    from atomflow.dynamics import find_protocol

    name = "quick" if options["quick"] else options["protocol"]
    if name == "auto":
        name = "polymer" if chains else "liquid"
    return find_protocol(
        name, temperature_K=options["temperature"], pressure_atm=options["pressure"], longest_ps=asked.equilibration_ps
    )


def _run(target: Target, asked: Asked, options: dict[str, Any], quiet: bool) -> tuple[MDResult, Precision | None]:
    from atomflow.cli.md_display import RunDisplay
    from atomflow.cli.md_model import load_model
    from atomflow.cli.md_precision import check_species, longer_ps, precision_of
    from atomflow.cli.session import output_folder
    from atomflow.dynamics import resume_md, run_md
    from atomflow.lammps import find_lammps

    lmp = find_lammps(asked.engine.lmp)
    if target.kind != "run":
        # Before the box is built, which takes its time.
        _protocol(asked, options, chains=False)
        _check_frames(target, asked)
    same: dict[str, Any] = {
        "program": lmp, "launcher": asked.engine.launcher, "suffix": asked.engine.suffix, "flags": asked.engine.flags,
        "stop_at": asked.stop_at,
    }  # fmt: skip
    with output_folder(target.out), RunDisplay(quiet) as display:
        same["tell"] = display.tell
        if target.kind == "run":
            if asked.species and (target.out / TOPOLOGY).is_file():
                check_species(target.out / TOPOLOGY, asked.species)
            same["ranks"] = _ranks(asked, _atoms_of(target.out), lmp)
            result = resume_md(target.out, time_ps=asked.time_ps, **same)
        else:
            model = load_model(target, options, display.say)
            if asked.species:
                with tempfile.TemporaryDirectory() as place:
                    (Path(place) / TOPOLOGY).write_text(model.data, encoding="utf-8")
                    check_species(Path(place) / TOPOLOGY, asked.species)
            same["ranks"] = _ranks(asked, model.atoms, lmp)
            assert asked.time_ps is not None
            result = run_md(
                model,
                _protocol(asked, options, model.chains),
                target.out,
                time_ps=_not_shorter(target.out, asked),
                temperature_K=options["temperature"],
                pressure_atm=options["pressure"],
                ensemble=options["ensemble"],
                seed=options["seed"],
                timestep_fs=asked.timestep_fs,
                frame_spacing_ps=asked.frames_ps,
                **same,
            )
        if not asked.species:
            return result, None
        precision = None
        while result.finished:
            spacing = result.frame_spacing_ps
            precision = precision_of(
                target.out, result.topology, result.trajectory, spacing, asked.species, asked.wanted
            )
            if precision.enough or (asked.stop_at is not None and time.time() >= asked.stop_at):
                break
            result = resume_md(target.out, time_ps=longer_ps(precision, spacing), **same)
        return result, precision


def _not_shorter(out: Path, asked: Asked) -> float:
    """Length of production: a run that was made longer for its precision is not cut back by the command that began it."""
    assert asked.time_ps is not None
    if not asked.species:
        return asked.time_ps
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        return max(asked.time_ps, float(json.loads((out / "run.json").read_text())["settings"]["time_ps"]))
    return asked.time_ps


def _atoms_of(out: Path) -> int:
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        return int(json.loads((out / "run.json").read_text())["model"]["atoms"])
    return 0


def _estimate(target: Target, asked: Asked, options: dict[str, Any], as_json: bool) -> None:
    """What the run will take."""
    from atomflow.cli.md_display import estimate_text
    from atomflow.cli.md_model import size_of
    from atomflow.dynamics import estimate_md

    if target.kind == "run":
        raise BadOptionError(
            f"--dry-run: {target.out} is begun already; its {target.out / 'md.json'} says how fast it is"
        )
    assert asked.time_ps is not None
    size: Size = size_of(target, options)
    protocol = _protocol(asked, options, size.chains)
    if target.own is not None and target.own.own_integrator:
        but = " but the input's own minimisation" if target.own.minimizes else ""
        protocol = replace(protocol, name=f"none{but} (the input's own fixes move the atoms)", stages=())
    step = asked.timestep_fs or size.timestep_fs
    check_frames(asked, step)
    spacing = asked.frames_ps or max(asked.time_ps / _FRAMES, step / 1000)
    found = estimate_md(
        size.atoms,
        protocol,
        time_ps=asked.time_ps,
        timestep_fs=step,
        frame_spacing_ps=spacing,
        ranks=_ranks(asked, size.atoms, None),
        carriers=size.carriers,
        cutoff_A=options["cutoff"],
    )
    if as_json:
        about = {"schema": "atomflow.md-estimate/1", "name": size.name, "atoms": size.atoms, "carrier": size.carrier,
                 "carriers": size.carriers, "protocol": protocol.name, **asdict(found)}  # fmt: skip
        click.echo(json.dumps(about, indent=2, ensure_ascii=False))
    else:
        click.echo(estimate_text(size.name, size.atoms, size.carrier, protocol.name, found))


class _TerminatedError(BaseException):
    """SIGTERM came; like KeyboardInterrupt nothing that only minds errors may catch it."""


@contextlib.contextmanager
def _ended_in_words(out: Path) -> Iterator[None]:
    """Ctrl-C and SIGTERM say what is kept and how to go on; then this process ends as one that was stopped so."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGUSR1, signal.SIGTERM)}
    came = 0

    def passed_on(_number: int, frame: Any) -> None:
        # atomflow.cli.interrupt turns Ctrl-C into SIGUSR1. Who runs LAMMPS listens for SIGINT, to let it save first.
        nonlocal came
        came += 1
        handler = signal.getsignal(signal.SIGINT)
        if callable(handler):
            handler(signal.SIGINT, frame)

    def terminated(*_: Any) -> None:
        raise _TerminatedError

    signal.signal(signal.SIGUSR1, passed_on)
    if before[signal.SIGTERM] is not signal.SIG_IGN:
        signal.signal(signal.SIGTERM, terminated)
    try:
        yield
        if came:
            # LAMMPS has saved, and the signal was sent once more; it comes by way of another thread.
            time.sleep(_LATE_S)
            raise KeyboardInterrupt
    except KeyboardInterrupt:
        click.echo(_kept(out), err=True)
        raise SystemExit(130) from None
    except _TerminatedError:
        click.echo(_kept(out), err=True)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTERM)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _kept(out: Path) -> str:
    """What a stopped run leaves."""
    try:
        about = json.loads((out / "md.json").read_text(encoding="utf-8"))
        done, stages = float(about["production_ps"]), [one["name"] for one in about["stages"]]
    except (OSError, ValueError, KeyError, TypeError):
        return "stopped before the run began; the same command begins it"
    kept = f"{done:g} ps of production" if done else f"{len(stages)} finished stages and what was saved of the next"
    return f"stopped; kept: {kept}; go on with: {shlex.join(['atomflow', 'md', str(out)])}"


def _show(result: MDResult, precision: Precision | None, quiet: bool, asked: Asked) -> None:
    from atomflow.cli.md_display import result_text

    if quiet:
        return
    click.echo(result_text(result))
    for notice in result.warnings:
        click.echo(f"warning [{notice.code}]: {notice.text}", err=True)
    if precision is not None:
        click.echo(precision.to_text())
    again = shlex.join(["atomflow", "md", result.out])
    if not result.finished:
        click.echo(f"\nthe budget is over; go on with: {again}" if asked.stop_at else f"\ngo on with: {again}")
    else:
        click.echo(f"\nanalyse it with: {shlex.join(['atomflow', 'analyze', result.out])}")
