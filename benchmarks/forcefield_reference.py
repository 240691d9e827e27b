"""DFT reference for the fitted force-field terms: torsion and angle profiles, electrostatic potentials, dipoles.

Run: OMP_NUM_THREADS=1 .venv/bin/python benchmarks/forcefield_reference.py --out structures/reference/forcefield NAME ...

Each model below is a file `NAME.json` in the folder; points that a file already has are not computed again, so a killed
run goes on. Geometries: GFN2-xTB, relaxed with the named coordinates held. Energies of profiles: single points with our
`dft` calculator. Potentials: HF/6-31G* on shells around the same GFN2-xTB geometries, as the OPLS and RESP charges were
made. `atomflow.forcefield.fitting` turns the files into numbers of the force field.
"""

import os

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")

import argparse
import datetime
import json
import sys
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.constraints import FixInternals
from ase.optimize import BFGS
from ase.units import Bohr, Hartree
from rdkit import Chem
from rdkit.Chem import AllChem, rdMolTransforms

from atomflow.calculators import calculator, limited_threads
from atomflow.forcefield.fitting import shell_points

#: Energies of profiles: small, but with exchange, correlation and dispersion. A loose SCF is 0.002 kcal/mol.
LEVEL = {"functional": "b3lyp", "basis": "def2-svp", "dispersion": "d3bj", "grid": 1, "scf_tolerance_eV": 1e-4}
HELD_TO_eV_PER_A = 0.02
HALF_TURN = [0, 30, 60, 90, 120, 150, 180]

#: `scan` and `hold` are atoms by SMARTS: the first match, in the order of the pattern.
PROFILES = {
    "pvdf": {
        "about": "CF3-CH2-CF2-CH3, turned about CH2-CF2: the backbone of PVDF",
        "smiles": "FC(F)(F)CC(F)(F)C",
        "scan": "[CX4;$(C(F)(F)F)][CH2]C(F)(F)[CH3]",
        "keep": [0, 1, 2, 5],
        "values": HALF_TURN,
    },
    "pvdf_check": {
        "about": "two points of the profile pvdf in a larger basis: gauche and trans",
        "smiles": "FC(F)(F)CC(F)(F)C",
        "scan": "[CX4;$(C(F)(F)F)][CH2]C(F)(F)[CH3]",
        "keep": [0, 1, 2, 5],
        "values": [60, 180],
        "level": {"basis": "def2-tzvp"},
    },
    "vdf_cf2_hfp_cf2": {
        "about": "CH3-CF2-CF2-CF3, turned about CF2-CF2: where the CF2 of VDF meets that of HFP, whose CF is a CF3 here",
        "smiles": "CC(F)(F)C(F)(F)C(F)(F)F",
        "scan": "[CH3]C(F)(F)C(F)(F)[CX4;$(C(F)(F)F)]",
        "keep": [0, 1, 4, 7],
        "values": HALF_TURN,
    },
    "hfp_cf_vdf_ch2": {
        "about": "(CF3)2CF-CH2-CF3, turned about CF-CH2 (angle F-CF-CH2-CF3): where the CF of HFP meets the CH2 of VDF",
        "smiles": "FC(C(F)(F)F)(C(F)(F)F)CC(F)(F)F",
        "scan": "F[CX4;$(C(C)(C)C)][CH2]C(F)(F)F",
        "keep": [0, 1, 2, 3],
        "values": HALF_TURN,
    },
    "dmf_turn": {
        "about": "DMF, turned about C-N (angle H-C-N-C with one methyl group)",
        "smiles": "CN(C)C=O",
        "scan": "[H]C(=O)N(C)C",
        "keep": [0, 1, 3, 4],
        "values": HALF_TURN,
    },
    "dmf_bend": {
        "about": "DMF, angle H-C-N of the formyl group",
        "smiles": "CN(C)C=O",
        "scan": "[H]C(=O)N(C)C",
        "keep": [0, 1, 3],
        "values": [102, 107, 112, 117, 122],
    },
    "cf_ch2_cf_bend": {
        "about": "CF3-CH2-CF3, angle C-C-C: CH2 between two fluorinated carbons, one of them standing for the CF of HFP",
        "smiles": "FC(F)(F)CC(F)(F)F",
        "scan": "[CX4;$(C(F)(F)F)][CH2]C(F)(F)F",
        "keep": [0, 1, 2],
        "values": [105, 110, 115, 120, 125],
    },
}
POTENTIALS = {
    "hfp_esp": {
        "about": "CH3-CF2-CF2-CF(CF3)-CH2-CF2-CH3: one HFP unit between two of VDF, two conformers",
        "smiles": "CC(F)(F)C(F)(F)C(F)(C(F)(F)F)CC(F)(F)C",
        "conformers": 2,
    },
    "pvdf_esp": {
        "about": "CH3-CF2-CH2-CF2-CH3: two half units and one of PVDF, two conformers",
        "smiles": "CC(F)(F)CC(F)(F)C",
        "conformers": 2,
    },
    "dmf_esp": {"about": "DMF", "smiles": "CN(C)C=O", "conformers": 1},
}
#: Dipoles by the same potential method and by a functional with a larger basis, which does not overrate them.
DIPOLES = {
    "pvdf_dipole": {
        "about": "H-(CH2-CF2)n-CH3 with every backbone torsion at 180 degrees",
        "molecules": ["CC(F)(F)C", "CC(F)(F)CC(F)(F)C", "CC(F)(F)CC(F)(F)CC(F)(F)C"],
        "all_trans": True,
        "levels": {"HF/6-31G*": 3, "B3LYP/def2-SVPD": 1},
    },
    "dmf_dipole": {
        "about": "DMF",
        "molecules": ["CN(C)C=O"],
        "all_trans": False,
        "levels": {"HF/6-31G*": 1, "B3LYP/def2-SVPD": 1},
    },
}


def embedded(smiles, seed=7):
    graph = Chem.AddHs(Chem.MolFromSmiles(smiles))
    AllChem.EmbedMolecule(graph, randomSeed=seed)
    AllChem.MMFFOptimizeMolecule(graph)
    return graph


def as_atoms(graph):
    return Atoms([atom.GetSymbol() for atom in graph.GetAtoms()], graph.GetConformer().GetPositions())


def coordinate(graph, model):
    match = graph.GetSubstructMatch(Chem.MolFromSmarts(model["scan"]))
    return [int(match[place]) for place in model["keep"]]


def held_at(graph, atoms, value):
    """GFN2-xTB geometry with one angle or dihedral at `value`, degrees."""
    conformer = graph.GetConformer()
    if len(atoms) == 4:
        rdMolTransforms.SetDihedralDeg(conformer, *atoms, float(value))
        held = {"dihedrals_deg": [[float(value), atoms]]}
    else:
        rdMolTransforms.SetAngleDeg(conformer, *atoms, float(value))
        held = {"angles_deg": [[float(value), atoms]]}
    work = as_atoms(graph)
    work.calc = calculator("xtb")
    work.set_constraint(FixInternals(**held, epsilon=1e-6))
    with limited_threads(1), BFGS(work, logfile=None, maxstep=0.1) as optimizer:
        if not optimizer.run(fmax=HELD_TO_eV_PER_A, steps=500):
            print(f"  not relaxed to {HELD_TO_eV_PER_A} eV/A at {value}", file=sys.stderr)
    for index, place in enumerate(work.get_positions()):
        conformer.SetAtomPosition(index, place.tolist())
    return np.round(work.get_positions(), 5)


def load(path, fresh):
    return json.loads(path.read_text()) if path.exists() else fresh


def save(path, data, began):
    data["cpu_s"] = round(data.get("cpu_s", 0) + time.process_time() - began, 1)
    data["date"] = datetime.date.today().isoformat()
    data["versions"] = {name: version(name) for name in ("pyscf", "dftd3", "tblite", "ase", "rdkit", "numpy")}
    data["command"] = f"python benchmarks/forcefield_reference.py --out structures/reference/forcefield {path.stem}"
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(data, indent=1)
    # One line for each vector or row of numbers, not one for each number.
    for _ in range(2):
        text = _one_line_arrays(text)
    path.write_text(text + "\n")


def _one_line_arrays(text):
    import re

    return re.sub(r"\[\s+((?:-?[\d.e+-]+,\s+)*-?[\d.e+-]+)\s+\]", lambda m: "[" + re.sub(r"\s+", " ", m[1]) + "]", text)


def profile(name, folder, coarse=False):
    model, path = PROFILES[name], folder / f"{name}.json"
    graph = embedded(model["smiles"])
    atoms = coordinate(graph, model)
    level = LEVEL | model.get("level", {})
    method = calculator("dft", **level)
    data = load(
        path,
        {
            "about": model["about"],
            "smiles": model["smiles"],
            "scanned": atoms,
            "symbols": as_atoms(graph).get_chemical_symbols(),
            "energy": {"method": method.method_label, **level},
            "geometry": f"GFN2-xTB, coordinate held, forces below {HELD_TO_eV_PER_A} eV/A",
            "points": [],
        },
    )
    done = {point["value_deg"] for point in data["points"]}
    # Sixty degrees apart first: a run that is stopped early leaves the extremes.
    for value in sorted(model["values"], key=lambda value: (value % 60 != 0 and len(atoms) == 4, value)):
        began, wall = time.process_time(), time.perf_counter()
        if value in done or (coarse and len(atoms) == 4 and value % 60):
            continue
        positions = held_at(graph, atoms, value)
        work = Atoms(data["symbols"], positions, info={"charge": 0, "spin": 1}, calculator=method)
        with limited_threads(1):
            energy = work.get_potential_energy()
        data["points"].append({"value_deg": value, "energy_eV": round(energy, 6), "positions_A": positions.tolist()})
        data["points"].sort(key=lambda point: point["value_deg"])
        save(path, data, began)
        print(f"{name} {value}: {energy:.5f} eV, {time.perf_counter() - wall:.0f} s", flush=True)


def potential(name, folder, **_):
    from pyscf import df, gto, scf

    model, path = POTENTIALS[name], folder / f"{name}.json"
    data = load(
        path,
        {
            "about": model["about"],
            "smiles": model["smiles"],
            "method": "HF/6-31G*, Coulomb and exchange by density fitting, SCF to 1e-8 hartree",
            "geometry": "GFN2-xTB minima, started from the lowest MMFF conformers",
            "units": "points angstrom, potential mV (energy of a unit charge, meV), dipole debye",
            "conformers": [],
        },
    )
    for number, graph in enumerate(conformers(model["smiles"], model["conformers"])):
        if number < len(data["conformers"]):
            continue
        began = time.process_time()
        work = as_atoms(graph)
        work.calc = calculator("xtb")
        with limited_threads(1), BFGS(work, logfile=None, maxstep=0.1) as optimizer:
            optimizer.run(fmax=HELD_TO_eV_PER_A, steps=500)
        positions = np.round(work.get_positions(), 5)
        points = np.round(shell_points(work.get_chemical_symbols(), positions), 3)
        with limited_threads(1):
            mole = gto.M(atom=list(zip(work.get_chemical_symbols(), positions, strict=True)), basis="6-31g*", verbose=0)
            mean_field = scf.RHF(mole).density_fit()
            mean_field.conv_tol = 1e-8
            mean_field.kernel()
            density = mean_field.make_rdm1()
            volts = esp(mole, density, points / Bohr, df, gto) * Hartree
            dipole = mean_field.dip_moment(unit="DEBYE", verbose=0)
        data["symbols"] = work.get_chemical_symbols()
        data["conformers"].append(
            {
                "positions_A": positions.tolist(),
                "energy_eV": round(mean_field.e_tot * Hartree, 6),
                "dipole_D": np.round(dipole, 4).tolist(),
                "points_A": points.tolist(),
                "potential_mV": np.round(1000 * volts, 1).tolist(),
            }
        )
        save(path, data, began)
        print(f"{name} {number}: dipole {np.linalg.norm(dipole):.3f} D, {len(points)} points", flush=True)


def conformers(smiles, count):
    graph = Chem.AddHs(Chem.MolFromSmiles(smiles))
    AllChem.EmbedMultipleConfs(graph, 30, randomSeed=7)
    energies = [energy for _, energy in AllChem.MMFFOptimizeMoleculeConfs(graph, maxIters=2000)]
    kept = []
    for index in np.argsort(energies):
        # Methyl turns are no conformers: energies apart by 0.3 kcal/mol are.
        if all(abs(energies[index] - energies[other]) > 0.3 for other in kept):
            kept.append(int(index))
    return [Chem.Mol(graph, confId=index) for index in kept[:count]]


def esp(mole, density, points, df, gto):
    """Potential of nuclei and electrons at the points (bohr), hartree per e."""
    out = np.zeros(len(points))
    for atom in range(mole.natm):
        out += mole.atom_charge(atom) / np.linalg.norm(points - mole.atom_coord(atom), axis=1)
    for start in range(0, len(points), 200):
        part = points[start : start + 200]
        charges = gto.fakemol_for_charges(part)
        out[start : start + 200] -= np.einsum(
            "ijp,ij->p", df.incore.aux_e2(mole, charges, intor="int3c2e"), density, optimize=True
        )
    return out


def dipole(name, folder, **_):
    from pyscf import dft, gto, scf

    model, path = DIPOLES[name], folder / f"{name}.json"
    data = load(path, {"about": model["about"], "geometry": "GFN2-xTB", "units": "dipole debye", "molecules": []})
    done = {(row["smiles"], row["method"]) for row in data["molecules"]}
    for method, many in model["levels"].items():
        for smiles in model["molecules"][:many]:
            if (smiles, method) in done:
                continue
            began = time.process_time()
            work = stretched(smiles, model["all_trans"])
            positions = np.round(work.get_positions(), 5)
            functional, basis = method.lower().split("/")
            with limited_threads(1):
                atoms = list(zip(work.get_chemical_symbols(), positions, strict=True))
                mole = gto.M(atom=atoms, basis=basis, verbose=0)
                mean_field = (scf.RHF(mole) if functional == "hf" else dft.RKS(mole, xc=functional)).density_fit()
                if functional != "hf":
                    mean_field.grids.level = 2
                mean_field.conv_tol = 1e-7
                mean_field.kernel()
                found = mean_field.dip_moment(unit="DEBYE", verbose=0)
            data["molecules"].append(
                {
                    "smiles": smiles,
                    "method": method,
                    "dipole_D": np.round(found, 4).tolist(),
                    "symbols": work.get_chemical_symbols(),
                    "positions_A": positions.tolist(),
                }
            )
            save(path, data, began)
            print(f"{name} {smiles} {method}: {np.linalg.norm(found):.3f} D", flush=True)


def stretched(smiles, all_trans):
    """GFN2-xTB geometry; with ``all_trans`` every torsion among carbons is held at 180 degrees."""
    graph = embedded(smiles)
    turns = []
    if all_trans:
        carbons = [atom.GetIdx() for atom in graph.GetAtoms() if atom.GetSymbol() == "C"]
        chain = graph.GetSubstructMatch(Chem.MolFromSmarts("~".join(["[#6]"] * len(carbons))))
        turns = [list(chain[at : at + 4]) for at in range(len(chain) - 3)]
        for turn in turns:
            rdMolTransforms.SetDihedralDeg(graph.GetConformer(), *turn, 180.0)
    work = as_atoms(graph)
    work.calc = calculator("xtb")
    if turns:
        work.set_constraint(FixInternals(dihedrals_deg=[[180.0, turn] for turn in turns], epsilon=1e-6))
    with limited_threads(1), BFGS(work, logfile=None, maxstep=0.1) as optimizer:
        optimizer.run(fmax=HELD_TO_eV_PER_A, steps=500)
    return work


KINDS = {
    **dict.fromkeys(PROFILES, profile),
    **dict.fromkeys(POTENTIALS, potential),
    **dict.fromkeys(DIPOLES, dipole),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=[*KINDS])
    parser.add_argument("--out", type=Path, default=Path("structures/reference/forcefield"))
    parser.add_argument("--coarse", action="store_true", help="torsions every 60 degrees only, for a first look")
    options = parser.parse_args()
    for name in options.names:
        if name not in KINDS:
            parser.error(f"no model {name!r}; there are {', '.join(KINDS)}")
    for name in options.names:
        KINDS[name](name, options.out, coarse=options.coarse)


if __name__ == "__main__":
    main()
