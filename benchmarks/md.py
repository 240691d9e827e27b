"""Our runner beside plain ``lmp``: the same box, force field, fixes, table, frames and steps, ns/day of both.

Run: python benchmarks/md.py --out benchmarks/md.json            (half an hour on two idle cores; --sizes 1500: 4 minutes)

Ours cuts a run in pieces with a restart file behind each, joins frames and watches; plain LAMMPS does one ``run``. Both
begin with the same restart file, take turns, and are timed from the start of the process to its end: wall, and processor
time of everything that was started, which other work on the machine disturbs less. Medians of the repetitions. A run of
250 steps of each is timed, too, and taken off for the ratio of the steps alone: starting takes the same second or two
whether a run is to last a minute or a week.
"""

import argparse
import json
import os
import resource
import shutil
import statistics
import tempfile
import time
from pathlib import Path

from atomflow.build import build_box, find_recipe
from atomflow.dynamics import engine_input, find_protocol, push_off, resume_md, run_md
from atomflow.forcefield import parametrise
from atomflow.lammps import find_lammps, run_lammps

DAY_S = 86_400
STEP_PS = 0.002
#: Steps of the short run, and between frames.
FEW = 250


def clocks():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    own = time.process_time()
    return time.perf_counter(), used.ru_utime + used.ru_stime + own


def timed(work):
    wall, cpu = clocks()
    work()
    wall_after, cpu_after = clocks()
    return wall_after - wall, cpu_after - cpu


def prepared(atoms, ranks, folder):
    """A box that has been equilibrated for a moment, before its production."""
    system = push_off(parametrise(build_box(find_recipe("litfsi-dmf"), atoms=atoms, seed=1).box), seed=1, ranks=ranks)
    model = engine_input(system, cutoff_A=10.0)
    protocol = find_protocol("quick", temperature_K=298.15, longest_ps=4.0)
    run_md(model, protocol, folder, time_ps=2.0, ranks=ranks, frame_spacing_ps=0.5, stop_after="mean-volume")
    return model.atoms


def plain_script(ours, steps):
    """Our input without what makes it resumable: one run instead of pieces."""
    lines = []
    for line in ours.read_text().splitlines():
        if line.startswith(("variable asked", "fix asked")):
            continue
        if line.startswith("variable piece"):
            break
        lines.append(line)
    rest = ours.read_text().splitlines()[len(lines) :]
    dump = [
        line.replace("frames.${here}.xtc", "plain.xtc") for line in rest if line.startswith(("dump ", "dump_modify"))
    ][:2]
    return "\n".join([*lines, *dump, f"run {steps}", "write_restart plain.restart"]) + "\n"


def compared(start, atoms, ranks, pieces, repeats, place):
    """Both from the state in ``start``, in turns."""
    piece = json.loads((start / "run.json").read_text())["settings"]["piece"]
    lengths = {"start": FEW, "run": max(2 * FEW, int(piece * pieces) // FEW * FEW)}
    taken = {(who, what): [] for who in ("ours", "plain") for what in lengths}
    for number in range(repeats):
        for what, steps in lengths.items():
            mine = shutil.copytree(start, place / f"ours-{what}-{number}")
            taken["ours", what].append(
                timed(lambda mine=mine, steps=steps: resume_md(mine, time_ps=steps * STEP_PS, ranks=ranks))
            )
            production = next((mine / "stages").glob("*-production"))
            script = plain_script(production / "attempt-001.in", steps)
            other = shutil.copytree(start, place / f"plain-{what}-{number}") / "stages" / production.name
            taken["plain", what].append(
                timed(
                    lambda other=other, script=script: run_lammps(
                        script, other, ranks=ranks, suffix="opt", name="plain"
                    )
                )
            )
            shutil.rmtree(mine)
    steps = lengths["run"]
    told = {"atoms": atoms, "ranks": ranks, "steps": steps, "steps_between_restart_files": piece}
    medians = {key: [statistics.median(column) for column in zip(*times, strict=True)] for key, times in taken.items()}
    for who in ("ours", "plain"):
        wall, cpu = medians[who, "run"]
        told[who] = {
            "wall_s": round(wall, 2),
            "cpu_s": round(cpu, 2),
            "start_wall_s": round(medians[who, "start"][0], 2),
            "ns_per_day": round(steps * STEP_PS * 1e-3 / wall * DAY_S, 2),
        }
    for clock, place_of in (("wall", 0), ("cpu", 1)):
        ours, plain = (medians[who, "run"][place_of] for who in ("ours", "plain"))
        began, began_plain = (medians[who, "start"][place_of] for who in ("ours", "plain"))
        told[f"{clock}_ratio"] = round(ours / plain, 4)
        told[f"{clock}_ratio_of_steps"] = round((ours - began) / (plain - began_plain), 4)
    return told


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[1500, 5000, 15000])
    parser.add_argument("--ranks", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--pieces", type=float, default=3.0, help="length of each run in pieces between restart files")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    rows = []
    for size in given.sizes:
        with tempfile.TemporaryDirectory() as first:
            atoms = prepared(size, max(given.ranks), Path(first) / "start")
            for ranks in given.ranks:
                with tempfile.TemporaryDirectory() as place:
                    rows.append(compared(Path(first) / "start", atoms, ranks, given.pieces, given.repeat, Path(place)))
                print(json.dumps(rows[-1]), flush=True)
    about = {
        "lammps": find_lammps().version,
        "cores": len(os.sched_getaffinity(0)),
        "load_before": os.getloadavg()[0],
        "setting": "litfsi-dmf, 10 A cutoff, PPPM 1e-4, SHAKE, 2 fs, NVT, -sf opt, a frame every 0.5 ps",
        "rows": rows,
    }
    if given.out:
        given.out.write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
