"""Grown chains: template geometry, no overlaps, ideal-chain sizes, planar amides, and files that others read."""

import time

import MDAnalysis as mda
import numpy as np
import pytest
from rdkit import Chem
from rdkit.Chem import rdMolTransforms
from scipy.spatial import cKDTree

from atomflow.build import chain_text, pierced_rings, polymer_chain
from atomflow.build.chain_graph import Link, assemble
from atomflow.build.growth import grow, ideal_sizes, reference_positions, van_der_waals_radii
from atomflow.build.local_geometry import local_geometry
from atomflow.build.residues import find_residue
from atomflow.errors import BadOptionError, GrowthError
from atomflow.model import bonds_of

NAMES = ["PVDF", "PVDF-HFP", "d-PVDF-HFP", "Pebax", "Pebax-PA12-PTMO", "PEO", "PA6", "P-DOL", "PVEC"]


def parts(code, units):
    chain = assemble([Link(find_residue(code))] * units, "[*][H]", "[*]C")
    return chain, local_geometry(chain, np.ones(len(chain.centres), int))


@pytest.mark.parametrize("name", NAMES)
def test_no_two_atoms_overlap_and_no_ring_is_pierced(name):
    chain = polymer_chain(name, units=40, seed=7)
    graph, positions = chain.molecule.graph, chain.molecule.atoms.positions
    radii = van_der_waals_radii(graph)
    steps = Chem.GetDistanceMatrix(graph)
    assert chain.contact_scale >= 0.65
    for i, j in cKDTree(positions).query_pairs(2 * radii.max()):
        apart = np.linalg.norm(positions[i] - positions[j])
        if steps[i, j] > 3:
            assert apart > chain.contact_scale * (radii[i] + radii[j]) - 1e-6
        elif steps[i, j] == 3:
            assert apart > 1.4
    assert pierced_rings(bonds_of(chain.molecule), positions) == []


@pytest.mark.parametrize("name", NAMES)
def test_bonds_and_angles_are_chemical(name):
    molecule = polymer_chain(name, units=30, seed=3).molecule
    conformer, graph = molecule.graph.GetConformer(), molecule.graph
    # What MMFF94 gives for these pairs, with room for the few strained ones.
    usual = {("C", "C"): (1.32, 1.60), ("C", "F"): (1.30, 1.42), ("C", "H"): (1.07, 1.12), ("C", "O"): (1.19, 1.46)}
    usual |= {("C", "N"): (1.33, 1.50), ("H", "N"): (0.99, 1.04), ("H", "O"): (0.95, 1.0)}
    for bond in graph.GetBonds():
        a, b = bond.GetBeginAtom(), bond.GetEndAtom()
        low, high = usual[tuple(sorted((a.GetSymbol(), b.GetSymbol())))]
        length = rdMolTransforms.GetBondLength(conformer, a.GetIdx(), b.GetIdx())
        assert low < length < high, (a.GetSymbol(), b.GetSymbol(), length)
    for atom in graph.GetAtoms():
        near = [n.GetIdx() for n in atom.GetNeighbors()]
        for k, i in enumerate(near):
            for j in near[k + 1 :]:
                angle = rdMolTransforms.GetAngleDeg(conformer, i, atom.GetIdx(), j)
                small_ring = graph.GetRingInfo().AreAtomsInSameRing(i, j)
                assert (98 if not small_ring else 88) < angle < 135, (atom.GetSymbol(), angle)


def test_the_kernel_and_its_plain_twin_agree():
    chain, geometry = parts("VDF", 20)
    positions, torsions, _ = grow(chain, geometry, seed=3)
    assert np.abs(reference_positions(chain, geometry, torsions) - positions).max() < 1e-8


def test_amides_and_esters_are_planar_and_trans():
    molecule = polymer_chain("Pebax", units=45, seed=2).molecule
    conformer = molecule.graph.GetConformer()
    pattern = Chem.MolFromSmarts("[#6][CX3](=O)[NX3,OX2][#6]")
    found = molecule.graph.GetSubstructMatches(pattern, maxMatches=10_000)
    assert len(found) >= 8
    for a, b, _, c, d in found:
        assert abs(rdMolTransforms.GetDihedralDeg(conformer, a, b, c, d)) > 179


def test_a_cis_double_bond_stays_cis():
    graph = Chem.Mol(polymer_chain("[*:1]C/C=C\\C[*:2]", units=8, seed=2).molecule.graph)
    Chem.AssignStereochemistryFrom3D(graph)
    doubles = [bond.GetStereo() for bond in graph.GetBonds() if bond.GetBondTypeAsDouble() == 2]
    assert doubles == [Chem.BondStereo.STEREOZ] * 8


def test_rings_in_the_backbone_stay_closed():
    molecule = polymer_chain("[*:1]C1CCC(CO[*:2])CC1", units=8, seed=2).molecule
    for bond in molecule.graph.GetBonds():
        if bond.IsInRing():
            ends = bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()
            assert 1.48 < rdMolTransforms.GetBondLength(molecule.graph.GetConformer(), *ends) < 1.60


@pytest.mark.parametrize("code", ["VDF", "EO", "TMO"])
def test_ideal_sizes_are_those_of_sampled_chains(code):
    chain, geometry = parts(code, 20)
    expected = ideal_sizes(chain, geometry)
    ends, radii = [], []
    for seed in range(144):
        spine = grow(chain, geometry, seed=seed, overlaps=False)[0][chain.backbone]
        ends.append(((spine[-1] - spine[0]) ** 2).sum())
        radii.append(((spine - spine.mean(axis=0)) ** 2).sum(axis=1).mean())
    for values, ideal in ((ends, expected[0]), (radii, expected[1])):
        assert abs(np.mean(values) - ideal**2) < 4.5 * np.std(values) / 12


def test_chains_are_neither_globules_nor_rods():
    chains = [polymer_chain("PVDF", units=60, seed=seed) for seed in range(12)]
    gyration = np.sqrt(np.mean([c.gyration_radius_A**2 for c in chains]))
    ideal = chains[0].ideal_gyration_radius_A
    assert 0.9 * ideal < gyration < 2.0 * ideal  # excluded volume widens
    rod = len(chains[0].backbone) * 1.28 / np.sqrt(12)  # all trans, 1.28 A along the axis for each bond
    assert gyration < 0.75 * rod


def test_a_hundred_units_in_two_seconds():
    polymer_chain("PVDF-HFP", units=5)
    for name in ("PVDF", "PVDF-HFP", "Pebax", "PEO"):
        began = time.perf_counter()
        polymer_chain(name, units=100, seed=11)
        assert time.perf_counter() - began < 2


def test_a_chain_that_cannot_be_says_so():
    with pytest.raises(GrowthError, match="try another --seed"):
        polymer_chain("[*:1]C(C(C)(C)C)(C(C)(C)C)[*:2]", units=5)


@pytest.mark.parametrize("name", ["PVDF-HFP", "PA12"])
def test_pdb_is_read_by_mdanalysis_with_residues_and_bonds(name, tmp_path):
    chain = polymer_chain(name, units=9, seed=1)
    path = tmp_path / "chain.pdb"
    path.write_text(chain_text(chain.molecule, path))
    universe = mda.Universe(str(path))
    assert len(universe.atoms) == len(chain.molecule)
    assert universe.residues.resnames.tolist() == list(chain.sequence)
    assert universe.residues.resids.tolist() == list(range(1, 10))
    assert np.abs(universe.atoms.positions - chain.molecule.atoms.positions).max() < 1.1e-3
    ours = {tuple(sorted(pair)) for pair in bonds_of(chain.molecule).tolist()}
    assert {tuple(sorted(pair)) for pair in universe.bonds.indices.tolist()} == ours
    assert universe.atoms.elements.tolist() == chain.molecule.atoms.get_chemical_symbols()


def test_sdf_keeps_the_graph_and_xyz_the_atoms(tmp_path):
    from ase.io import read

    molecule = polymer_chain("d-PVDF-HFP", units=20, hfp_fraction=0.2).molecule
    back = Chem.MolFromMolBlock(chain_text(molecule, "a.sdf"), removeHs=False)
    assert Chem.MolToSmiles(back, isomericSmiles=False) == Chem.MolToSmiles(molecule.graph, isomericSmiles=False)
    (tmp_path / "a.xyz").write_text(chain_text(molecule, "a.xyz"))
    assert np.abs(read(tmp_path / "a.xyz").positions - molecule.atoms.positions).max() < 1e-7
    with pytest.raises(BadOptionError, match=r"\.pdb"):
        chain_text(molecule, "a.mol2")
