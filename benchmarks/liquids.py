"""Density and self-diffusion by the force field as published, beside experiment; energy drift at the production setting.

Run: python benchmarks/liquids.py --runs runs/liquids --out benchmarks/liquids.json       (three hours of one core)

Every row is one `atomflow md` command, listed in COMMANDS, in a folder of its own under
--runs. A run that was stopped goes on, one that is finished is only read; --only NAME takes one row. Experimental values come from structures/reference/liquids.yaml.
Densities are means of the last stage at constant pressure, with the error that the run's own judgement gives. The
self-diffusion is that of centres of mass in production, as `atomflow analyze --msd` gives it, without and with the
correction for the size of the box, which takes the viscosity of experiment, not the model's own.
"""

import argparse
import json
import shlex
import subprocess
import sys
from pathlib import Path

import yaml

SETTINGS = "--ranks 1 --seed 1"
#: Folder of the run to its command and the experimental system that it is held against.
COMMANDS = {
    "dmf": (f"md DMF --atoms 1200 --time 150ps --frames-every 0.2ps {SETTINGS}", "DMF"),
    "dmf-1996": (
        f"md DMF --atoms 1200 --forcefield opls-clp+dmf-1996 --time 150ps --frames-every 0.2ps {SETTINGS}",
        "DMF",
    ),
    "litfsi-dmf": (f"md litfsi-dmf --atoms 1200 --quick --ensemble npt --time 50ps {SETTINGS}", None),
    "pvdf": (f"md PVDF --atoms 1000 --equilibration 250ps --time 5ps {SETTINGS}", "PVDF, amorphous"),
    "dmf-nve": (f"md DMF --atoms 600 --quick --ensemble nve --time 50ps {SETTINGS}", None),
}
#: Runs whose production is long enough for a self-diffusion, and of which molecule.
MOBILE = {"dmf": "DMF", "dmf-1996": "DMF"}
KELVIN = 298.15
CM2_PER_M2 = 1e4
VALUES = yaml.safe_load(
    (Path(__file__).parents[1] / "structures" / "reference" / "liquids.yaml").read_text(encoding="utf-8")
)["values"]


def measured(system, quantity):
    """What experiment says, the lowest and the highest when several do."""
    found = [
        row["value"]
        for row in VALUES
        if (row["system"], row["quantity"], row["temperature_K"]) == (system, quantity, KELVIN)
    ]
    return (min(found), max(found)) if found else None


def atomflow(words, folder):
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "atomflow", *shlex.split(words)], cwd=folder, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    if done.returncode:
        sys.exit(f"atomflow {words}: {done.stderr.strip() or done.stdout.strip()}")
    return json.loads(done.stdout)


def density(about):
    """The judged density of the last stage at constant pressure."""
    for stage in reversed(about["stages"]):
        for one in stage["judgements"]:
            if one["quantity"] == "density":
                return {
                    "density_g_cm3": round(one["mean"], 4),
                    "standard_error_g_cm3": round(one["standard_error"], 4),
                    "verdict": one["verdict"],
                    "judged_ps": round(one["end_ps"] - one["start_ps"], 1),
                }
    return {}


def diffusion(folder, molecule):
    """Self-diffusion of the molecules' centres of mass, beside experiment."""
    viscosity = measured(molecule, "viscosity")[0]
    words = f"analyze production.xtc --top topology.data --species auto --msd {molecule} --molecules --viscosity {viscosity}"
    found = atomflow(f"{words} --out analysis --json --quiet", folder)["results"]["msd"][molecule]
    kept = ("diffusivity_cm2_per_s", "diffusivity_ci95_cm2_per_s", "corrected_diffusivity_cm2_per_s", "fit_window_ps",
            "n_particles", "diffusive", "why_not")  # fmt: skip
    known = measured(molecule, "self-diffusion")
    return {key: found[key] for key in kept} | {
        "viscosity_of_experiment_mPa_s": viscosity,
        "experiment_cm2_per_s": known[0] * CM2_PER_M2 if known else None,
    }


def row_of(name, runs):
    command, system = COMMANDS[name]
    about = atomflow(f"{command} --out {name} --json --quiet", runs)
    last = about["stages"][-1]
    row = {
        "run": name,
        "command": f"atomflow {command}",
        "equilibrated": about["equilibrated"],
        **density(about),
        "core_minutes": round(sum(one["cpu_s"] for one in about["stages"]) / 60, 1),
        "warnings": [one["code"] for one in about["warnings"]],
    }
    if last["energy_drift_kcal_per_mol_atom_ns"] is not None:
        row["energy_drift_kcal_per_mol_atom_ns"] = round(last["energy_drift_kcal_per_mol_atom_ns"], 4)
    if known := measured(system, "density"):
        row["experiment_g_cm3"] = known[0]
        row["off_percent"] = round(100 * (row["density_g_cm3"] / known[0] - 1), 2)
    if name in MOBILE:
        row["self_diffusion"] = diffusion(runs / name, MOBILE[name])
    return row


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=Path, required=True, help="folder of the runs, which may be there already")
    parser.add_argument("--only", action="append", choices=list(COMMANDS))
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    given.runs.mkdir(parents=True, exist_ok=True)
    rows = []
    for name in given.only or COMMANDS:
        rows.append(row_of(name, given.runs))
        print(json.dumps(rows[-1]), flush=True)
    if given.out:
        given.out.write_text(json.dumps({"temperature_K": KELVIN, "rows": rows}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
