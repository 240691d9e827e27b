"""Force-field numbers fitted to the DFT reference, as files of `structures/forcefields/opls-clp`, and what they are worth.

Run: .venv/bin/python benchmarks/forcefield_fits.py            fits, writes fitted_*.yaml and benchmarks/forcefield_fits.json
     .venv/bin/python benchmarks/forcefield_fits.py --figures   and docs/figures/torsion_profiles.{png,svg}

Needs the reference in `structures/reference/forcefield` (benchmarks/forcefield_reference.py), no DFT of its own. The fits
start from the numbers of grade analogue that stand in hfp.yaml and dmf.yaml.
"""

import argparse
import json
import re
import shutil
import tempfile
from pathlib import Path

import numpy as np
from ase.units import kcal, mol
from rdkit import Chem

from atomflow.forcefield import find_parameters, parametrise
from atomflow.forcefield.fitting import Potential, dipole_D, fit_angle, fit_charges, fit_cosines
from atomflow.forcefield.fitting_profiles import alone, dihedrals_of, held_profile, measured_deg
from atomflow.model import Molecule, write_atomically

ROOT = Path(__file__).parents[1]
REFERENCE = ROOT / "structures/reference/forcefield"
SHIPPED = ROOT / "structures/forcefields/opls-clp"
COMMAND = "python benchmarks/forcefield_fits.py"

#: About the starting charges, V^2/e^2: a change of 0.1 e costs as much as 3 mV of RMS deviation.
RESTRAINT = 1e-3
#: About the starting barriers, per (kcal/mol)^2.
RIDGE = 0.01
#: Points count by exp(-E/this), kcal/mol: seldom visited ones less, but barriers still count.
BOLTZMANN_KCAL_PER_MOL = 4.0

CF3 = "[CX4](F)(F)(F)[CX4;!$([CX4](F)F)]F"
CF2 = "[CX4;D4](F)(F)([#6])[CX4;!$([CX4](F)F)](F)C(F)(F)F"
CF = "[CX4;!$([CX4](F)F)](F)C(F)(F)F"
#: What the charges may do: fluorine against its own carbon, and what a bond carries over. CF3, CF2 and CF are
#: neutral but for their bonds to VDF, so every sequence of units is neutral (a charge moved from CF3 to CF as well came out
#: as 0.001 e). A pattern's first atom gains; its second
#: loses, or, in the three of fluorine, the carbon that bears it.
FREE = {
    "fluorine of CF3": f"F[$({CF3})]",
    "fluorine of CF2": f"F[$({CF2})]",
    "fluorine of CF": f"F[$({CF})]",
    "carried from CH2 to CF": f"[$({CF})][CX4;H2]",
    "carried from CF2 of VDF to HFP": f"[$({CF}),$({CF2})][CX4;D4;!$({CF});!$({CF2});!$({CF3})](F)F",
}
#: The methyl ends of the model are not in a chain, and may take what they like: fitted, then forgotten.
ENDS = {"carried from CF2 to a methyl end": "[CH3][CX4](F)F"}

TORSIONS = {
    # Name of the profile: classes, how many barriers, which of them are free. A flat C-N bond leaves no V1.
    "hfp_cf_vdf_ch2": (("CF", "CF", "CVH", "CVF"), 4, (1, 2, 3)),
    "vdf_cf2_hfp_cf2": (("CF", "CF", "CVF", "CVH"), 4, (1, 2, 3)),
    "dmf_turn": (("HC", "C~", "NM", "CT"), 2, (2,)),
    # Byutner and Smith's own form has six.
    "pvdf": (("CVH", "CVF", "CVH", "CVF"), 6, (1, 2, 3, 4)),
}
#: Carbons of small models that stand for HFP although their surroundings do not say so: by place in the SMILES.
STANDS_FOR_HFP = {"vdf_cf2_hfp_cf2": "CC(F)(F)[13C](F)(F)[13C](F)(F)F", "cf_ch2_cf_bend": "F[13C](F)(F)CC(F)(F)F"}
ANGLES = {"cf_ch2_cf_bend": ("CVF", "CVH", "CF"), "dmf_bend": ("HC", "C~", "NM")}


def reference(name):
    return json.loads((REFERENCE / f"{name}.json").read_text())


def molecule(data, positions, smiles=""):
    graph = Chem.AddHs(Chem.MolFromSmiles(smiles or data["smiles"]))
    assert [atom.GetSymbol() for atom in graph.GetAtoms()] == data["symbols"]
    conformer = Chem.Conformer(graph.GetNumAtoms())
    for index, place in enumerate(positions):
        conformer.SetAtomPosition(index, place)
    graph.RemoveAllConformers()
    graph.AddConformer(conformer, assignId=True)
    return Molecule("model", graph)


def system(data, positions, folders, forcefield="opls-clp", smiles=""):
    given = alone(molecule(data, positions, smiles))
    if not smiles:
        return parametrise(given, forcefield=forcefield, folders=folders)
    with tempfile.TemporaryDirectory() as made:
        _labelled_types(Path(made), folders)
        return parametrise(given, forcefield=forcefield, folders=[made, *folders])


def _labelled_types(made, folders):
    """Carbon-13 and its fluorine are of HFP, with the charges that its groups have."""
    types = find_parameters(folders=folders).types
    f3, f2 = types["hfp_F"].charge_e, types.get("hfp_F_of_CF2", types["hfp_F"]).charge_e
    rows = [
        ("C3", "[13C](F)(F)F", "CF", -3 * f3, "hfp_CF3"),
        ("C2", "[13C;D4](F)(F)([#6])[#6]", "CF", -2 * f2, "hfp_CF2"),
        ("F3", "F[13C](F)F", "F", f3, "hfp_F"),
        ("F2", "F[13C;D4](F)([#6])[#6]", "F", f2, "hfp_F"),
    ]
    text = "".join(
        f'  - {{name: model_{name}, smarts: "{smarts}", class: {class_}, charge: {charge:.6f}, '
        f"epsilon: {types[like].epsilon_kcal_per_mol}, sigma: {types[like].sigma_A}, source: T, grade: fitted}}\n"
        for name, smarts, class_, charge, like in rows
    )
    (made / "labelled.yaml").write_text(f"name: labelled\nabout: model\nsources: {{T: model}}\ntypes:\n{text}")


def design(graph, free):
    """What each free number adds to each atom's charge, (atoms, free)."""
    columns = []
    for pattern in free.values():
        column = np.zeros(graph.GetNumAtoms())
        for gain, lose in {
            match[:2] for match in graph.GetSubstructMatches(Chem.MolFromSmarts(pattern), uniquify=False)
        }:
            column[[gain, lose]] += 1, -1
        columns.append(column)
    return np.stack(columns, axis=1)


def potentials(data):
    return [
        Potential(np.array(c["positions_A"]), np.array(c["points_A"]), np.array(c["potential_mV"]) / 1000)
        for c in data["conformers"]
    ]


def fitted_charges(folders):
    data = reference("hfp_esp")
    given = system(data, data["conformers"][0]["positions_A"], folders)
    graph = given.box.kinds[0].graph
    columns = design(graph, FREE | ENDS)
    assert columns.any(axis=0).all()
    fit = fit_charges(potentials(data), given.charges_e, columns, restraint=RESTRAINT)
    unbound = fit_charges(potentials(data), np.zeros(len(graph.GetAtoms())), _equivalent(graph), restraint=1e-5)
    changes = np.round(fit.changes, 4)
    return {
        "changes_e": dict(zip(FREE | ENDS, changes.tolist(), strict=True)),
        "relative_rms_before": round(fit.relative_rms_before, 4),
        "relative_rms": round(fit.relative_rms, 4),
        "rms_mV": round(1000 * fit.rms_V, 1),
        "relative_rms_of_unbound_charges": round(unbound.relative_rms, 4),
        # As in a chain, so without what the ends took.
        "charges_e": np.round(given.charges_e + design(graph, FREE) @ changes[: len(FREE)], 4).tolist(),
        "unbound_charges_e": np.round(unbound.charges_e, 4).tolist(),
    }


def _equivalent(graph):
    """One free number for each class of equivalent atoms but the last, which balances them."""
    ranks = list(Chem.CanonicalRankAtoms(graph, breakTies=False))
    members = np.array([[rank == one for one in sorted(set(ranks))] for rank in ranks], dtype=float)
    sizes = members.sum(axis=0)
    return members[:, :-1] - members[:, -1:] * sizes[:-1] / sizes[-1]


def profile(name, folders, forcefield="opls-clp"):
    """DFT and force field along a profile, kcal/mol above their lowest points, and the relaxed geometries."""
    data = reference(name)
    starts = np.array([point["positions_A"] for point in data["points"]])
    dft = np.array([point["energy_eV"] for point in data["points"]]) / (kcal / mol)
    model = system(data, starts[0], folders, forcefield, STANDS_FOR_HFP.get(name, ""))
    ours = held_profile(model, data["scanned"], starts)
    values = np.array([point["value_deg"] for point in data["points"]], dtype=float)
    return model, values, dft - dft.min(), ours


def fitted_torsion(name, folder):
    """Barriers of one term; the model relaxes with them before they are fitted again."""
    classes, order, free = TORSIONS[name]
    start = _barriers(find_parameters(folders=[folder]).terms["torsions"], classes, order)
    barriers, before = np.array(start), None
    # Fitted barriers change the relaxed geometries, and these the fit; three rounds change nothing any more.
    for _round in range(3):
        _write_term(folder, "torsions", classes, _cosines(np.round(barriers, 4)))
        model, _values, dft, ours = profile(name, [folder])
        rows = dihedrals_of(model, classes)
        angles = np.array([[measured_deg(places[row]) for row in rows] for places in ours.positions_A])
        fit = fit_cosines(
            angles,
            dft,
            ours.energies_kcal_per_mol,
            barriers,
            ridge=RIDGE,
            anchor_kcal_per_mol=start,
            orders=free,
            weights=weights(dft),
        )
        before = fit.rms_before_kcal_per_mol if before is None else before
        barriers = fit.barriers_kcal_per_mol
    return {
        "classes": "-".join(classes),
        "start": [round(float(v), 4) for v in start],
        "barriers": [round(float(v), 3) for v in barriers],
        "as_data": _cosines(np.round(barriers, 3)),
        "rms_before_kcal_per_mol": before,
        "rms_kcal_per_mol": fit.rms_kcal_per_mol,
    }


def _cosines(barriers):
    """V1 ... Vn as the files have them; the form of OPLS ends at four."""
    if len(barriers) <= 4:
        return f"opls: {[float(v) for v in barriers]}"
    return f"one_minus_cos: {[round(float((-1) ** n * v / 2), 4) for n, v in enumerate(barriers, 1)]}"


def _barriers(table, classes, order):
    rule = table.get(min(classes, classes[::-1]))
    start = [0.0] * order
    for k, n, shift in rule.numbers if rule else ():
        # k (1 + cos(n phi - d)) as V_n/2 (1 - (-1)^n cos n phi).
        start[n - 1] = 2 * k * (1 if (shift == 180) == (n % 2 == 0) else -1)
    return start


def fitted_angle(name, folder):
    classes = ANGLES[name]
    for _round in range(3):
        model, _values, dft, ours = profile(name, [folder])
        term = next(t for t in model.angles.terms if t.classes in (classes, classes[::-1]))
        atoms = reference(name)["scanned"]
        bent = np.array([measured_deg(places[atoms]) for places in ours.positions_A])
        own = term.k_kcal_per_mol_rad2 * np.radians(bent - term.theta0_deg) ** 2
        if _round == 0:
            start, before = (term.k_kcal_per_mol_rad2, term.theta0_deg), _rms(dft, ours.energies_kcal_per_mol)
        k, theta0 = fit_angle(bent, dft, ours.energies_kcal_per_mol - own)
        _write_term(folder, "angles", classes, f"k: {k:.2f}, theta0: {theta0:.2f}")
    _model, _values, dft, ours = profile(name, [folder])
    return {
        "classes": "-".join(classes),
        "start": [round(float(v), 3) for v in start],
        "k": round(k, 2),
        "theta0": round(theta0, 2),
        "rms_before_kcal_per_mol": before,
        "rms_kcal_per_mol": _rms(dft, ours.energies_kcal_per_mol),
    }


def weights(dft):
    """Boltzmann's, so that what is never visited counts less."""
    return np.exp(-dft / BOLTZMANN_KCAL_PER_MOL)


def _rms(a, b, share=None):
    """Of a difference whose constant does not matter."""
    left = np.asarray(a) - np.asarray(b)
    return float(np.sqrt(np.average((left - np.average(left, weights=share)) ** 2, weights=share)))


def _write_term(folder, kind, classes, numbers):
    text = (
        f"name: trial_{'_'.join(classes)}\nabout: trial\nsources: {{T: trial}}\n{kind}:\n"
        f"  - {{classes: {'-'.join(classes)}, {numbers}, source: T, grade: fitted}}\n"
    )
    (folder / f"trial_{'_'.join(classes)}.yaml".replace("~", "_")).write_text(text)


def charges_file(fit):
    change = fit["changes_e"]
    f3, f2, f1 = (round(-0.12 + change[f"fluorine of {group}"], 4) for group in ("CF3", "CF2", "CF"))
    carried = round(0.0794 + change["carried from CH2 to CF"], 4), round(change["carried from CF2 of VDF to HFP"], 4)
    told = "source: M, grade: secondary, charge_source: D, charge_grade: fitted"
    carbon, fluorine = (
        "class: CF, charge: {:.4f}, epsilon: 0.066, sigma: 3.5",
        "class: F, charge: {:.4f}, epsilon: 0.053, sigma: 2.95",
    )
    gains = list(FREE.values())
    rows = [
        ("hfp_CF3", CF3, "pvdf_CF3", carbon.format(-3 * f3)),
        ("hfp_CF2", CF2, "pvdf_CF2", carbon.format(-2 * f2)),
        ("hfp_CF", CF, "", carbon.format(-f1)),
        ("hfp_F", gains[0], "pvdf_F", fluorine.format(f3)),
        ("hfp_F_of_CF2", gains[1], "pvdf_F", fluorine.format(f2)),
        ("hfp_F_of_CF", gains[2], "pvdf_F", fluorine.format(f1)),
    ]
    types = [
        f'  - {{name: {name}, smarts: "{smarts}", {over}{numbers}, {told}}}'
        for name, smarts, beaten, numbers in rows
        for over in [f"over: [{beaten}], " if beaten else ""]
    ]
    return "\n".join(
        [
            "types:",
            *types,
            "bond_charges:",
            f"  - {{classes: CF-CVH, e: {carried[0]:.4f}, source: D, grade: fitted}}",
            f"  - {{classes: CF-CVF, e: {carried[1]:.4f}, source: D, grade: fitted}}",
        ]
    )


HFP_HEAD = """\
name: fitted_hfp
over: [hfp]
about: >-
  What the fits give where VDF and HFP meet: charges of the HFP unit in neutral groups, with what its bonds to VDF carry
  over, so that any sequence is neutral; and terms that are in no table. See docs/forcefield.md. Made by the command in
  the sources; do not edit by hand.
sources:
  D: >-
    python benchmarks/forcefield_fits.py, from structures/reference/forcefield. Charges: HF/6-31G* potential of
    CH3-CF2-CF2-CF(CF3)-CH2-CF2-CH3 on four shells of 1.4 to 2.0 van der Waals radii, VDF held at the Byutner-Smith-derived
    charges, restrained to OPLS-AA's. Torsions and angles: {level} at GFN2-xTB geometries with the coordinate
    held, ridge about the numbers of hfp.yaml
  M: moltemplate 2.22.5, force_fields/oplsaa2024.lt (OPLS-AA 2024 tables), as in hfp.yaml
"""
DMF_HEAD = """\
name: fitted_dmf
over: [dmf]
about: >-
  The formyl hydrogen of DMF with the classes of 2004, whose angle and torsion are in no table. See docs/forcefield.md. Made
  by the command in the source; do not edit by hand.
sources:
  D: >-
    python benchmarks/forcefield_fits.py, from structures/reference/forcefield: {level} at GFN2-xTB geometries
    with the coordinate held
"""


PVDF_HEAD = """\
name: fitted_pvdf
variant: pvdf-dft
over: [pvdf]
about: >-
  The backbone torsion of PVDF fitted to DFT with the charges, Lennard-Jones numbers and 1-4 factors that it is used with
  here, instead of Byutner and Smith's, which was fitted beside other ones; to see what hangs on it. See docs/forcefield.md.
  Made by the command in the source; do not edit by hand.
sources:
  D: >-
    python benchmarks/forcefield_fits.py, from structures/reference/forcefield: CF3-CH2-CF2-CH3, {level} at
    GFN2-xTB geometries with the torsion held, ridge about Byutner and Smith's
"""


def term_rows(kind, fits):
    if not fits:
        return ""
    rows = []
    for fit in fits:
        numbers = fit.get("as_data") or f"k: {fit['k']}, theta0: {fit['theta0']}"
        rows.append(f"  - {{classes: {fit['classes']}, {numbers}, source: D, grade: fitted}}")
    return "\n".join([f"{kind}:", *rows]) + "\n"


def available(names):
    return [name for name in names if (REFERENCE / f"{name}.json").exists()]


def fit_everything(folder):
    """All fits, in `folder` (trial files) with a copy of the force field without the fitted files in `folder/opls-clp`."""
    unfitted(folder)
    level = reference("pvdf")["energy"]["method"]
    found = {"charges": fitted_charges([folder]), "torsions": {}, "angles": {}}
    hfp, dmf = HFP_HEAD.format(level=level) + charges_file(found["charges"]) + "\n", DMF_HEAD.format(level=level)
    # The charges of HFP come before the terms that are fitted with them.
    (folder / "fitted_hfp.yaml").write_text(hfp.replace("over: [hfp]\n", ""))
    for name in available(ANGLES):
        found["angles"][name] = fitted_angle(name, folder)
    for name in available(TORSIONS):
        found["torsions"][name] = fitted_torsion(name, folder)
    heads = {"hfp": hfp, "dmf": dmf, "pvdf": PVDF_HEAD.format(level=level)}
    for part in heads:
        for kind in ("angles", "torsions"):
            heads[part] += term_rows(kind, [fit for name, fit in found[kind].items() if _part(name) == part])
    return found, {f"fitted_{part}.yaml": text for part, text in heads.items()}


def _part(name):
    return name.partition("_")[0] if name.startswith(("dmf", "pvdf")) else "hfp"


def unfitted(folder):
    base = folder / "opls-clp"
    base.mkdir(parents=True)
    for path in SHIPPED.glob("*.yaml"):
        if not path.name.startswith("fitted_"):
            shutil.copy(path, base / path.name)


def profiles(files):
    """Each profile by DFT, by the force field before the fits, and by the one with them."""
    with tempfile.TemporaryDirectory() as made:
        before = Path(made) / "before"
        unfitted(before)
        after = Path(made) / "after"
        unfitted(after)
        for name, text in files.items():
            (after / "opls-clp" / name).write_text(text)
        rows = {}
        for name in available([*TORSIONS, *ANGLES]):
            variant = "opls-clp+pvdf-dft" if name == "pvdf" else "opls-clp"
            _model, values, dft, old = profile(name, [before])
            _model, _values, _dft, new = profile(name, [after], variant)
            rows[name] = {
                "value_deg": values.tolist(),
                "dft_kcal_per_mol": np.round(dft, 3).tolist(),
                "before_kcal_per_mol": _above(old.energies_kcal_per_mol),
                "after_kcal_per_mol": _above(new.energies_kcal_per_mol),
                "rms_before_kcal_per_mol": _rms(dft, old.energies_kcal_per_mol),
                "rms_after_kcal_per_mol": _rms(dft, new.energies_kcal_per_mol),
                "weighted_rms_before_kcal_per_mol": _rms(dft, old.energies_kcal_per_mol, weights(dft)),
                "weighted_rms_after_kcal_per_mol": _rms(dft, new.energies_kcal_per_mol, weights(dft)),
            }
        return rows


def _rounded(data):
    if isinstance(data, dict):
        return {key: _rounded(value) for key, value in data.items()}
    return round(data, 4) if isinstance(data, float) else data


def _one_line_arrays(text):
    return re.sub(r"\[\s+((?:-?[\d.e+-]+,\s+)*-?[\d.e+-]+)\s+\]", lambda m: "[" + re.sub(r"\s+", " ", m[1]) + "]", text)


def _above(energies):
    """Above their own lowest point."""
    return np.round(energies - energies.min(), 3).tolist()


def dipoles():
    found = {}
    for name in available(["pvdf_dipole", "dmf_dipole"]):
        for row in reference(name)["molecules"]:
            data = {"smiles": row["smiles"], "symbols": row["symbols"]}
            positions = np.array(row["positions_A"])
            entry = found.setdefault(row["smiles"], {})
            entry[row["method"]] = round(float(np.linalg.norm(row["dipole_D"])), 3)
            for label, variant in (("force field", "opls-clp"), ("dmf-1996", "opls-clp+dmf-1996")):
                if label == "dmf-1996" and name != "dmf_dipole":
                    continue
                given = parametrise(alone(molecule(data, positions)), forcefield=variant)
                entry[label] = round(float(np.linalg.norm(dipole_D(positions, given.charges_e))), 3)
    return found


def per_unit(rows):
    """What one more all-trans unit of VDF adds to the dipole of H-(CH2-CF2)n-CH3, debye: from n to n + 1."""
    chain = [entry for smiles, entry in rows.items() if smiles != "CN(C)C=O"]
    methods = [method for method in (chain[0] if chain else {}) if sum(method in entry for entry in chain) > 1]
    values = {method: [entry[method] for entry in chain if method in entry] for method in methods}
    return {method: np.round(np.diff(each), 3).tolist() for method, each in values.items()}


def potentials_of_given_charges():
    """How well charges that were not fitted here give the same kind of potential: relative RMS."""
    found = {}
    for name, variant in (("pvdf_esp", ""), ("dmf_esp", ""), ("dmf_esp", "+dmf-1996")):
        if available([name]):
            data = reference(name)
            model = molecule(data, data["conformers"][0]["positions_A"])
            given = parametrise(alone(model), forcefield=f"opls-clp{variant}")
            nothing = np.zeros((len(given), 0))
            row = {"as_given": fit_charges(potentials(data), given.charges_e, nothing).relative_rms}
            if name == "pvdf_esp":
                ends = fit_charges(potentials(data), given.charges_e, design(model.graph, ENDS), restraint=RESTRAINT)
                row["methyl_ends_free"] = ends.relative_rms
            unbound = fit_charges(potentials(data), np.zeros(len(given)), _equivalent(model.graph), restraint=1e-5)
            row["unbound"] = unbound.relative_rms
            found[name.removesuffix("_esp") + variant] = {key: round(value, 4) for key, value in row.items()}
    return found


def figure(rows):
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from atomflow.report.figures import PALETTE

    titles = {
        "pvdf": "CF$_3$-CH$_2$-CF$_2$-CH$_3$, about CH$_2$-CF$_2$",
        "vdf_cf2_hfp_cf2": "CH$_3$-CF$_2$-CF$_2$-CF$_3$, about CF$_2$-CF$_2$",
        "hfp_cf_vdf_ch2": "(CF$_3$)$_2$CF-CH$_2$-CF$_3$, about CF-CH$_2$",
        "dmf_turn": "DMF, about C-N (H-C-N-C of one methyl)",
        "cf_ch2_cf_bend": "CF$_3$-CH$_2$-CF$_3$, angle C-C-C",
        "dmf_bend": "DMF, angle H-C-N",
    }
    shown = [name for name in titles if name in rows]
    sheet = Figure(figsize=(10.5, 3.1 * ((len(shown) + 2) // 3)), layout="constrained")
    FigureCanvasAgg(sheet)
    for number, name in enumerate(shown):
        axes = sheet.add_subplot((len(shown) + 2) // 3, 3, number + 1)
        row = rows[name]
        axes.plot(row["value_deg"], row["dft_kcal_per_mol"], "o-", color=PALETTE[0], label="DFT")
        before = "Byutner-Smith (used)" if name == "pvdf" else "tables and analogues"
        axes.plot(row["value_deg"], row["before_kcal_per_mol"], "s--", color=PALETTE[1], label=before)
        fitted = "variant pvdf-dft" if name == "pvdf" else "fitted (used)"
        axes.plot(row["value_deg"], row["after_kcal_per_mol"], "^-", color=PALETTE[2], label=fitted)
        axes.set_title(titles[name], fontsize=9)
        axes.set_xlabel("degrees")
        axes.set_ylabel("kcal/mol")
        axes.legend(fontsize=7)
    folder = ROOT / "docs/figures"
    folder.mkdir(parents=True, exist_ok=True)
    # The same numbers give the same file.
    with matplotlib.rc_context({"svg.hashsalt": "torsion profiles", "svg.fonttype": "none"}):
        for ending in ("png", "svg"):
            options = {"Date": None} if ending == "svg" else {"Software": None}
            sheet.savefig(folder / f"torsion_profiles.{ending}", dpi=130, metadata=options)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--figures", action="store_true", help="draw docs/figures/torsion_profiles.{png,svg}")
    parser.add_argument("--dry", action="store_true", help="print, write nothing")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        found, files = fit_everything(Path(made))
    found["profiles"] = profiles(files)
    if not options.dry:
        for name, text in files.items():
            write_atomically(SHIPPED / name, text)
    found["dipoles_D"] = dipoles()
    found["dipole_of_a_unit_D"] = per_unit(found["dipoles_D"])
    found["potentials_relative_rms"] = potentials_of_given_charges()
    text = _one_line_arrays(json.dumps({"command": COMMAND, **_rounded(found)}, indent=1))
    if options.dry:
        print(text)
        for content in files.values():
            print(content)
    else:
        write_atomically(ROOT / "benchmarks/forcefield_fits.json", text + "\n")
    if options.figures:
        figure(found["profiles"])


if __name__ == "__main__":
    main()
