"""Every road to a molecule, its geometry, its conformers and its donors."""

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.data import covalent_radii
from ase.io import write
from hypothesis import given, settings
from hypothesis import strategies as st
from rdkit import Chem
from rdkit.Chem import rdDepictor, rdMolAlign, rdMolTransforms

from atomflow.build import conformers, donor_atoms, list_species, molecule
from atomflow.build.embedding import SAME_CONFORMER_RMSD_A
from atomflow.errors import (
    BadFileError,
    BadOptionError,
    BadStructureError,
    ChargeError,
    UnknownNameError,
    UserError,
)
from atomflow.model import Molecule, dumps, loads

SPECIES = list_species()


def bond_ratios(mol: Molecule) -> list[float]:
    """Bond lengths over the sum of covalent radii."""
    positions = mol.graph.GetConformer().GetPositions()
    ends = [(bond.GetBeginAtom(), bond.GetEndAtom()) for bond in mol.graph.GetBonds()]
    return [
        float(np.linalg.norm(positions[a.GetIdx()] - positions[b.GetIdx()]))
        / (covalent_radii[a.GetAtomicNum()] + covalent_radii[b.GetAtomicNum()])
        for a, b in ends
    ]


def angles(mol: Molecule, centre: str) -> np.ndarray:
    atoms = mol.atoms
    at = atoms.get_chemical_symbols().index(centre)
    arms = np.delete(atoms.positions, at, axis=0) - atoms.positions[at]
    arms /= np.linalg.norm(arms, axis=1)[:, None]
    return np.degrees(np.arccos(np.clip((arms @ arms.T)[np.triu_indices(len(arms), 1)], -1, 1)))


@pytest.mark.parametrize("species", SPECIES, ids=lambda s: s.name)
def test_every_species_builds(species):
    mol = molecule(species.name)
    assert (mol.name, mol.formula, mol.charge) == (species.name, species.formula, species.charge)
    assert (mol.role, mol.grade, mol.aliases) == (species.role, species.grade, species.aliases)
    assert (mol.atoms.numbers.sum() - mol.charge) % 2 == (species.multiplicity - 1) % 2
    assert len(Chem.GetMolFrags(mol.graph)) == 1 and not mol.rigid
    assert all(0.75 < ratio < 1.1 for ratio in bond_ratios(mol))
    # Nothing that is not bonded comes nearer than 1.5 A: no hydrogen sits on a neighbour's hydrogen.
    distances = mol.atoms.get_all_distances() + 9 * np.eye(len(mol))
    for bond in mol.graph.GetBonds():
        i, j = bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()
        distances[i, j] = distances[j, i] = 9
    assert distances.min() > 1.4


def test_default_fragments_are_small_enough_for_dft():
    assert all(len(molecule(name)) <= 35 for name in ("PVDF", "PVDF-HFP", "d-PVDF-HFP", "P-DOL"))


@pytest.mark.parametrize(
    ("name", "centre", "length", "expected"),
    [
        # Crystal-structure bond lengths of the textbook, wide enough for a force field.
        ("PF6-", "P", 1.60, (90, 180)),
        ("BF4-", "B", 1.40, (109.47,)),
        ("ClO4-", "Cl", 1.44, (109.47,)),
    ],
)
def test_symmetric_anions(name, centre, length, expected):
    mol = molecule(name)
    positions = mol.atoms.positions
    at = mol.atoms.get_chemical_symbols().index(centre)
    arms = np.delete(np.linalg.norm(positions - positions[at], axis=1), at)
    assert arms == pytest.approx(length, abs=0.07) and np.ptp(arms) < 0.01
    found = angles(mol, centre)
    assert all(min(abs(angle - ideal) for ideal in expected) < 1.0 for angle in found)
    assert {min(expected, key=lambda ideal: abs(angle - ideal)) for angle in found} == set(expected)


def test_five_ligands_make_a_trigonal_bipyramid():
    found = np.sort(angles(molecule("FP(F)(F)(F)F"), "P"))
    assert found == pytest.approx([90] * 6 + [120] * 3 + [180])


def test_bare_ion_is_one_atom_at_the_origin():
    mol = molecule("zinc")
    assert len(mol) == 1 and not mol.atoms.positions.any()
    assert mol.atoms.info == {"charge": 2, "spin": 1, "name": "Zn2+"}


def test_fragments_have_the_drawn_configuration():
    alkene = molecule("d-PVDF-HFP").graph
    match = alkene.GetSubstructMatch(Chem.MolFromSmarts("[CH3]C(F)=[CH]C(F)(C(F)(F)F)"))
    torsion = rdMolTransforms.GetDihedralDeg(alkene.GetConformer(), match[0], match[1], match[3], match[4])
    assert abs(torsion) > 150  # the chain is trans across the double bond
    amide = molecule("N-methylformamide").graph
    match = amide.GetSubstructMatch(Chem.MolFromSmarts("O=CN[CH3]"))
    assert abs(rdMolTransforms.GetDihedralDeg(amide.GetConformer(), *match)) < 30


def test_same_seed_same_geometry():
    first, again, other = (molecule("DME", seed=seed).atoms.positions for seed in (3, 3, 4))
    assert np.array_equal(first, again)
    assert not np.allclose(first, other)


def test_molecule_returns_molecules_and_overrides_charge():
    dmf = molecule("DMF")
    assert molecule(dmf) is dmf
    cation = molecule(dmf, charge=1, multiplicity=2)
    assert (cation.charge, cation.multiplicity, dmf.charge) == (1, 2, 0)
    with pytest.raises(ChargeError):
        molecule("DMF", charge=1)  # open shells are never guessed
    assert molecule("DMF", charge=1, multiplicity=2).atoms.info["spin"] == 2


@pytest.mark.parametrize(
    ("smiles", "formula", "charge", "spin"),
    [
        ("C", "CH4", 0, 1),
        ("N", "H3N", 0, 1),
        ("CN", "CH5N", 0, 1),
        ("[NH4+]", "H4N", 1, 1),
        ("C/C=C/C", "C4H8", 0, 1),
        ("[CH3]", "CH3", 0, 2),
        ("[O][O]", "O2", 0, 3),
        ("[Zn+2]", "Zn", 2, 1),
        ("[Cl-]", "Cl", -1, 1),
        ("[H][H]", "H2", 0, 1),
    ],
)
def test_smiles(smiles, formula, charge, spin):
    mol = molecule(smiles)
    assert (mol.name, mol.formula, mol.charge, mol.multiplicity) == (smiles, formula, charge, spin)


@pytest.mark.parametrize(
    ("what", "error", "text"),
    [
        ("DMFF", UnknownNameError, "did you mean DMF"),
        ("C black", UnknownNameError, "unknown species 'C black'"),
        ("C1CC", UnknownNameError, "SMILES"),
        ("", BadOptionError, "needs a name"),
        ("C" * 5000, BadOptionError, "5000 characters"),
        ("C" * 400, BadStructureError, "too much to embed"),
        ("[Li+].CN(C)C=O", BadStructureError, "2 separate molecules"),
        ("C*", BadStructureError, "placeholder"),
        ("nowhere.xyz", BadFileError, "no such file"),
        ("nowhere.sdf@-1", BadFileError, "nowhere.sdf: no such file"),
        ("folder/thing", BadFileError, "no such file"),
        (Path("nowhere"), BadFileError, "no such file"),
        (3.5, BadOptionError, "a float is no molecule"),
        (Atoms(), BadStructureError, "no atoms"),
        (Atoms("HX", [(0, 0, 0), (0, 0, 1)]), BadStructureError, "no element"),
        (Atoms("H2", [(0, 0, 0), (0, 0, 0.1)]), BadStructureError, "0.10 A apart"),
        (Atoms("H2", [(0, 0, 0), (0, 0, np.nan)]), BadStructureError, "not a finite number"),
        (Atoms("H2", [(0, 0, 0), (0, 0, 0.74)], cell=[5, 5, 5], pbc=True), BadStructureError, "periodic"),
        (Atoms("Li", info={"charge": "one"}), BadStructureError, "charge 'one'"),
        (Atoms("Li"), ChargeError, "odd"),
    ],
)
def test_bad_input_is_a_user_error(what, error, text):
    with pytest.raises(error, match=text) as caught:
        molecule(what)
    assert isinstance(caught.value, UserError) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "options", [{"seed": -1}, {"seed": 2**31}, {"seed": 1.0}, {"charge": 0.5}, {"multiplicity": 0}]
)
def test_bad_options(options):
    with pytest.raises(BadOptionError):
        molecule("water", **options)


def test_silent_on_the_terminal(capfd):
    with pytest.raises(UnknownNameError):
        molecule("C1CC(")
    molecule("PF6-"), molecule("BF4-")
    molecule(Atoms("LiF", [(0, 0, 0), (0, 0, 1.6)]))
    assert capfd.readouterr() == ("", "")


@settings(max_examples=80, deadline=None)
@given(text=st.text("CNOFPS[]()=#+-@/\\.123 DMKli*", max_size=10))
def test_any_text_is_a_molecule_or_a_user_error(text):
    try:
        mol = molecule(text)
    except UserError as error:
        assert "\n" not in str(error)
    else:
        assert np.isfinite(mol.atoms.positions).all()


# ---- files


def test_xyz_keeps_coordinates_and_finds_bonds(tmp_path):
    made = molecule("N,N-dimethylacetamide")
    path = tmp_path / "amide.xyz"
    write(path, made.atoms, plain=True)
    read = molecule(str(path))
    assert read.rigid and read.name == "amide" and read.charge == 0
    assert read.atoms.positions == pytest.approx(made.atoms.positions, abs=1e-6)
    assert read.graph.GetNumBonds() == made.graph.GetNumBonds()
    assert read.graph.GetSubstructMatch(Chem.MolFromSmarts("C(=O)N"))
    assert molecule(path).formula == read.formula


def test_xyz_charge_by_suffix_option_or_info(tmp_path):
    atoms = molecule("TFSI-").atoms
    plain, told = tmp_path / "plain.xyz", tmp_path / "told.extxyz"
    write(plain, atoms, plain=True)
    write(told, atoms)
    assert molecule(f"{plain}@-1").charge == molecule(plain, charge=-1).charge == molecule(told).charge == -1
    assert molecule(Path(f"{plain}@-1")).charge == -1
    with pytest.raises(ChargeError, match="plain: charge \\+0"):
        molecule(plain)
    with pytest.raises(BadOptionError, match="give one of them"):
        molecule(f"{plain}@-1", charge=1)
    odd = tmp_path / "odd.xyz@-1"  # a real file of that name is that file
    odd.write_bytes(plain.read_bytes())
    with pytest.raises(BadFileError):
        molecule(str(odd))


def test_an_existing_file_wins_over_the_library(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write("DMF.xyz", molecule("water").atoms)
    Path("DMF").write_text("not looked at: no suffix, no separator")
    assert molecule("DMF.xyz").formula == "H2O"
    assert molecule("DMF").formula == "C3H7NO"


def test_last_frame_of_a_relaxation(tmp_path):
    frames = [molecule("DME", seed=seed).atoms for seed in (0, 1)]
    write(tmp_path / "relax.traj", frames)
    assert molecule(tmp_path / "relax.traj").atoms.positions == pytest.approx(frames[1].positions)


def test_metal_complex_falls_back_to_single_bonds():
    dmf = molecule("DMF").atoms
    oxygen = dmf.positions[4]
    away = (oxygen - dmf.positions[3]) / np.linalg.norm(oxygen - dmf.positions[3])
    pair = dmf + Atoms("Li", [oxygen + 1.7 * away])
    mol = molecule(pair, charge=1)
    assert mol.graph.GetNumBonds() >= 11 and mol.rigid
    assert loads(dumps(mol)).formula == "C3H7LiNO"


@pytest.mark.parametrize("name", ["DMF", "TFSI-", "PF6-"])
def test_sdf(tmp_path, name):
    made = molecule(name)
    for suffix, tail in ((".sdf", "$$$$\n"), (".mol", "")):
        path = tmp_path / f"thing{suffix}"
        path.write_text(Chem.MolToMolBlock(made.graph) + tail)
        read = molecule(path)
        assert read.rigid and read.charge == made.charge and read.formula == made.formula
        assert read.atoms.positions == pytest.approx(made.atoms.positions, abs=1e-4)


def test_flat_drawing_is_embedded_with_its_hydrogens(tmp_path):
    drawing = Chem.MolFromSmiles("CC(=O)OC")
    rdDepictor.Compute2DCoords(drawing)
    path = tmp_path / "drawn.sdf"
    path.write_text(Chem.MolToMolBlock(drawing))
    read = molecule(path)
    assert read.formula == "C3H6O2" and not read.rigid
    assert np.ptp(read.atoms.positions[:, 2]) > 0.5


def test_flat_geometry_is_kept(tmp_path):
    block = Chem.MolToMolBlock(molecule(Atoms("OH2", [(0, 0, 0), (0.96, 0, 0), (-0.24, 0.93, 0)])).graph)
    for mark in ("3D", "  "):
        path = tmp_path / "water.mol"
        path.write_text(block.replace("3D", mark))
        assert molecule(path).rigid


def test_sdf_without_hydrogens_or_with_two_molecules(tmp_path):
    path = tmp_path / "thing.sdf"
    block = Chem.MolToMolBlock(molecule("DMF").graph)
    path.write_text(Chem.MolToMolBlock(Chem.RemoveHs(molecule("DME").graph)))
    with pytest.raises(BadFileError, match="10 hydrogens have no coordinates"):
        molecule(path)
    path.write_text(f"{block}$$$$\n{block}$$$$\n")
    with pytest.raises(BadFileError, match="holds 2 molecules"):
        molecule(path)
    path.write_text(block[: len(block) // 2])
    with pytest.raises(BadFileError, match="RDKit cannot read it"):
        molecule(path)


def mol2_text(mol: Molecule, types: dict[str, str]) -> str:
    lines = ["@<TRIPOS>MOLECULE", "thing", f"{len(mol)} {mol.graph.GetNumBonds()} 1", "SMALL", "NO_CHARGES"]
    lines.append("@<TRIPOS>ATOM")
    for i, atom in enumerate(mol.atoms, 1):
        x, y, z = atom.position
        lines.append(f"{i} {atom.symbol}{i} {x:.6f} {y:.6f} {z:.6f} {types[atom.symbol]} 1 LIG 0.0")
    lines.append("@<TRIPOS>BOND")
    for i, bond in enumerate(mol.graph.GetBonds(), 1):
        order = int(bond.GetBondTypeAsDouble())
        lines.append(f"{i} {bond.GetBeginAtomIdx() + 1} {bond.GetEndAtomIdx() + 1} {order}")
    return "\n".join(lines) + "\n"


def test_mol2(tmp_path):
    path = tmp_path / "thing.mol2"
    dme, anion = molecule("DME"), molecule("TFSI-")
    path.write_text(mol2_text(dme, {"C": "C.3", "O": "O.3", "H": "H"}))
    read = molecule(path)
    assert read.rigid and read.formula == dme.formula
    assert read.atoms.positions == pytest.approx(dme.atoms.positions, abs=1e-5)
    path.write_text(mol2_text(anion, {"C": "C.3", "O": "O.2", "S": "S.O2", "N": "N.3", "F": "F"}))
    for text in (f"{path}", f"{path}@-1"):
        read = molecule(text)
        assert (read.charge, read.formula) == (-1, anion.formula)
        assert donor_atoms(read) == donor_atoms(anion)
    path.write_text("\n".join([mol2_text(dme, {"C": "C.3", "O": "O.3", "H": "H"})] * 2))
    with pytest.raises(BadFileError, match="holds 2 molecules"):
        molecule(path)
    skeleton = Molecule("skeleton", Chem.RemoveHs(dme.graph))
    path.write_text(mol2_text(skeleton, {"C": "C.3", "O": "O.3"}))
    with pytest.raises(BadFileError, match="10 hydrogens have no coordinates"):
        molecule(path)


def test_sdf_that_lost_its_charge_line(tmp_path):
    anion = molecule("TFSI-")
    path = tmp_path / "thing.sdf"
    lines = [line for line in Chem.MolToMolBlock(anion.graph).splitlines() if not line.startswith("M  CHG")]
    path.write_text("\n".join(lines))
    with pytest.raises(BadFileError, match="give the charge"):  # the nitrogen looks like an NH
        molecule(path)
    read = molecule(f"{path}@-1")
    assert read.formula == anion.formula and donor_atoms(read) == donor_atoms(anion)
    assert loads(dumps(read)).charge == -1


@pytest.mark.parametrize("name", ["empty.xyz", "folder", "noise.xyz", "noise.mol2", "noise.pdb", "noise.unheard"])
def test_files_that_are_no_structure(tmp_path, name):
    path = tmp_path / name
    if name == "folder":
        path.mkdir()
    else:
        path.write_bytes(b"" if name.startswith("empty") else b"3\n\x00\xffnoise\nH 0 0 zero\n")
    with pytest.raises(BadFileError) as caught:
        molecule(path)
    assert "\n" not in str(caught.value)


def test_broken_coordinates_name_the_file(tmp_path):
    path = tmp_path / "broken.xyz"
    path.write_text("2\n\nH 0 0 0\nH 0 0 nan\n")
    with pytest.raises(BadFileError, match=r"broken\.xyz: .*not a finite number"):
        molecule(path)


def test_rdkit_molecules():
    bare = Chem.MolFromSmiles("CCO")
    made = molecule(bare)
    assert made.formula == "C2H6O" and not made.rigid and bare.GetNumAtoms() == 3
    kept = molecule(made.graph)
    assert kept.rigid and np.array_equal(kept.atoms.positions, made.atoms.positions)


# ---- conformers


def rmsd(mol: Molecule, a: Atoms, b: Atoms) -> float:
    pair = Chem.Mol(mol.graph)
    pair.RemoveAllConformers()
    for atoms in (a, b):
        conformer = Chem.Conformer(len(atoms))
        conformer.SetPositions(np.ascontiguousarray(atoms.positions))
        pair.AddConformer(conformer, assignId=True)
    heavy = Chem.RemoveHs(pair)
    return float(rdMolAlign.GetBestRMS(Chem.Mol(heavy), heavy, 0, 1))


@pytest.mark.parametrize("name", ["DME", "TFSI-", "P-DOL-2"])
def test_conformers_are_distinct_and_start_with_the_own_one(name):
    mol = molecule(name)
    found = conformers(mol, 4, seed=1)
    assert len(found) == 4
    assert np.array_equal(found[0].positions, mol.atoms.positions)
    for i, a in enumerate(found):
        assert a.info == mol.atoms.info and list(a.numbers) == list(mol.atoms.numbers)
        assert all(rmsd(mol, a, b) >= SAME_CONFORMER_RMSD_A - 1e-6 for b in found[:i])
    again = conformers(mol, 4, seed=1)
    assert all(np.array_equal(a.positions, b.positions) for a, b in zip(found, again, strict=True))


@pytest.mark.parametrize("name", ["Li+", "water", "PF6-", "DMF", "EC"])
def test_stiff_molecules_have_one_conformer(name):
    assert len(conformers(molecule(name), 5, seed=0)) == 1


def test_rigid_molecule_keeps_its_only_geometry():
    given_atoms = molecule("DME").atoms
    (only,) = conformers(molecule(given_atoms), 5, seed=0)
    assert np.array_equal(only.positions, given_atoms.positions)


def test_conformers_keep_the_configuration():
    mol = molecule("P(VEC-PEGDA)")
    drawn = Chem.MolToSmiles(Chem.MolFromSmiles(mol.smiles))
    for atoms in conformers(mol, 3, seed=0):
        graph = Chem.Mol(mol.graph)
        graph.GetConformer().SetPositions(np.ascontiguousarray(atoms.positions))
        Chem.AssignStereochemistryFrom3D(graph)
        assert Chem.MolToSmiles(Chem.RemoveHs(graph)) == drawn


def test_conformers_of_a_stored_molecule():
    mol = molecule("DME")
    stored = loads(dumps(mol))
    for a, b in zip(conformers(mol, 3, 0), conformers(stored, 3, 0), strict=True):
        assert a.positions == pytest.approx(b.positions, abs=1e-3)


@pytest.mark.parametrize("n", [0, -1, 1.5, True])
def test_impossible_number_of_conformers(n):
    with pytest.raises(BadOptionError):
        conformers(molecule("DME"), n, seed=0)


# ---- donors


def by_element(name) -> dict[str, list[float]]:
    mol = molecule(name)
    out: dict[str, list[float]] = {}
    for index, weight in donor_atoms(mol).items():
        out.setdefault(mol.atoms[index].symbol, []).append(weight)
    return out


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("DMF", {"N": [0.15], "O": [1.0]}),
        ("EC", {"O": [1.0] * 3}),
        ("TFSI-", {"O": [1.0] * 4, "N": [0.5], "F": [0.25] * 6}),
        ("PF6-", {"F": [1.0] * 6}),
        ("BF4-", {"F": [1.0] * 4}),
        ("ClO4-", {"O": [1.0] * 4}),
        ("DMSO", {"O": [1.0]}),
        ("acetonitrile", {"N": [0.5]}),
        ("PVDF", {"F": [0.25] * 6}),
        ("N", {"N": [0.5]}),
        ("[NH4+]", {}),
        ("C[N+](=O)[O-]", {"O": [1.0] * 2}),
        ("CS(=O)(=O)N(C)C", {"O": [1.0] * 2, "N": [0.15]}),
        ("CSC", {"S": [0.25]}),
        ("CCl", {"Cl": [0.25]}),
        ("[Cl-]", {"Cl": [1.0]}),
        ("[OH3+]", {}),
        ("Li+", {}),
        ("C", {}),
    ],
)
def test_donors(name, expected):
    assert by_element(name) == expected


@settings(max_examples=30, deadline=None)
@given(data=st.data(), name=st.sampled_from(["DMF", "TFSI-", "PF6-", "N-methylacetamide", "FEC"]))
def test_donors_follow_a_permutation_and_need_no_bond_orders(data, name):
    mol = molecule(name)
    order = data.draw(st.permutations(range(len(mol))))
    shuffled = molecule(mol.atoms[list(order)])
    assert {order[i]: weight for i, weight in donor_atoms(shuffled).items()} == donor_atoms(mol)
    assert donor_atoms(loads(dumps(shuffled))) == donor_atoms(shuffled)


def test_symmetric_atoms_weigh_the_same():
    for species in SPECIES:
        mol = molecule(species.name)
        ranks = Chem.CanonicalRankAtoms(mol.graph, breakTies=False)
        weights = donor_atoms(mol)
        for i, rank in enumerate(ranks):
            assert len({weights.get(j, 0.0) for j, other in enumerate(ranks) if other == rank}) == 1, (species.name, i)
