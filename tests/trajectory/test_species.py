"""Boxes made of known molecules, in any order of the atoms: the species come back, with their sites and charges."""

import contextlib
import time
import warnings

import numpy as np
import pytest
from ase.data import atomic_masses, chemical_symbols
from rdkit import Chem

from atomflow.build import molecule
from atomflow.build.species import find_species as library_species
from atomflow.build.species import list_species
from atomflow.errors import TrajectoryError
from atomflow.trajectory import open_trajectory
from atomflow.trajectory.species import find_species
from atomflow.trajectory.topology import Topology


def graph(text):
    """Numbers and bonds of a library species or a SMILES."""
    with contextlib.suppress(LookupError):
        text = library_species(text).smiles
    mol = Chem.AddHs(Chem.MolFromSmiles(text))
    numbers = np.array([atom.GetAtomicNum() for atom in mol.GetAtoms()])
    bonds = np.array([(b.GetBeginAtomIdx(), b.GetEndAtomIdx()) for b in mol.GetBonds()], dtype=int).reshape(-1, 2)
    return numbers, bonds


def box(content, seed=0, shuffle=True):
    """Numbers, bonds, molecule of every atom and name of every molecule."""
    numbers, bonds, owner, names, total = [], [], [], [], 0
    for name, count in content:
        one, links = graph(name)
        for _ in range(count):
            numbers.append(one)
            bonds.append(links + total)
            owner.append(np.full(len(one), len(names)))
            names.append(name)
            total += len(one)
    numbers, bonds, owner = np.concatenate(numbers), np.concatenate(bonds), np.concatenate(owner)
    if shuffle:
        order = np.random.default_rng(seed).permutation(total)
        place = np.argsort(order)
        numbers, owner, bonds = numbers[order], owner[order], place[bonds]
    return numbers, bonds, owner, names


def topology_of(numbers, bonds=None, by_masses=False, **more):
    symbols = np.array([chemical_symbols[z] for z in numbers])
    given = {"masses_u": atomic_masses[numbers].round(3)} if by_masses else {"elements": symbols}
    return Topology(n_atoms=len(numbers), bonds=bonds, **given, **more)


def codes(found):
    return [notice.code for notice in found.notices]


ELECTROLYTE = [("Li+", 8), ("TFSI-", 8), ("DMF", 20)]


@pytest.mark.parametrize("by_masses", [False, True])
def test_salt_in_a_solvent(by_masses):
    numbers, bonds, owner, names = box(ELECTROLYTE)
    found = find_species(topology_of(numbers, bonds, by_masses))
    assert [(kind.name, kind.species, kind.n_molecules, kind.charge_e) for kind in found.kinds] == [
        ("Li", "Li+", 8, 1),
        ("DMF", "DMF", 20, 0),
        ("TFSI", "TFSI-", 8, -1),
    ]
    assert found["TFSI"].formula == "C2F6NO4S2"
    assert found.charges_e == {"Li": 1, "TFSI": -1}
    assert set(found.sites) == {"Li", "O_TFSI", "N_TFSI", "O_DMF"}
    assert set(found.pairs) == {"Li:O_TFSI", "Li:N_TFSI", "Li:O_DMF"}
    assert not found.notices
    belongs = np.array(names)[owner]
    for label, name, element in (("O_TFSI", "TFSI-", 8), ("N_TFSI", "TFSI-", 7), ("O_DMF", "DMF", 8)):
        np.testing.assert_array_equal(found.sites[label], np.flatnonzero((belongs == name) & (numbers == element)))
    for kind in found.kinds:
        for atoms in kind.molecules:
            assert len(set(owner[atoms])) == 1 and belongs[atoms[0]] == kind.species
    assert sum(len(kind.atoms) for kind in found.kinds) == len(numbers)


def test_the_order_of_the_atoms_does_not_matter():
    """Another order: the same kinds; and the columns of a molecule hold alike atoms."""
    for seed in range(5):
        numbers, bonds, _, _ = box([("TFSI-", 6), ("EC", 6)], seed)
        for kind in find_species(topology_of(numbers, bonds)).kinds:
            rows = np.array(kind.molecules)
            assert (numbers[rows] == numbers[rows[0]]).all()
            degree = np.bincount(bonds.ravel(), minlength=len(numbers))
            assert (degree[rows] == degree[rows[0]]).all()


@pytest.mark.parametrize("species", list_species(), ids=lambda s: s.name)
def test_every_species_of_the_library_is_recognised(species):
    numbers, bonds, _, _ = box([(species.name, 2)], seed=3)
    (kind,) = find_species(topology_of(numbers, bonds)).kinds
    assert (kind.species, kind.charge_e, kind.n_molecules) == (species.name, species.charge, 2)
    assert not set(kind.name) & set(":=, @")


def test_isomers_are_told_apart():
    """One formula, several graphs: acetamide and N-methylformamide; dioxolane and methyl acetate."""
    numbers, bonds, _, _ = box([("acetamide", 3), ("N-methylformamide", 2), ("DOL", 2), ("CC(=O)OC", 5)])
    found = find_species(topology_of(numbers, bonds))
    assert {kind.name: kind.n_molecules for kind in found.kinds} == {
        "acetamide": 3,
        "N-methylformamide": 2,
        "DOL": 2,
        "C3H6O2": 5,
    }
    assert found["C3H6O2"].species is None and found["C3H6O2"].charge_e is None


def test_two_unknown_isomers_get_two_names():
    numbers, bonds, _, _ = box([("CC(=O)OC", 2), ("O=COCC", 3), ("Na+", 1)])
    found = find_species(topology_of(numbers, bonds))
    assert {kind.name for kind in found.kinds} == {"Na", "C3H6O2", "C3H6O2-2"}
    assert set(found.pairs) == {"Na:O_C3H6O2", "Na:O_C3H6O2-2"}


def test_charges_that_the_force_field_scaled():
    """Ions of 0.8 e: formal charges are used, an unknown anion is read on the same scale, and it is said."""
    triflate = "[O-]S(=O)(=O)C(F)(F)F"
    numbers, bonds, owner, names = box([("Li+", 6), ("TFSI-", 4), (triflate, 2), ("COC(=O)OC", 10)])
    of_molecule = np.array([{"Li+": 0.8, "TFSI-": -0.8, triflate: -0.8}.get(name, 0.0) for name in names])
    charges = (of_molecule / np.bincount(owner))[owner]
    found = find_species(topology_of(numbers, bonds, charges_e=charges))
    assert found.charges_e == {"Li": 1, "TFSI": -1, "CF3O3S": -1}
    assert found["CF3O3S"].charge_source == "topology" and found["TFSI"].charge_source == "library"
    assert found["C3H6O3"].charge_e == 0
    assert codes(found) == ["scaled-charges"]
    assert "0.80" in found.notices[0].text


def test_a_charge_that_fits_nothing_is_told():
    numbers, bonds, owner, names = box([("Li+", 3), ("Na+", 3), ("COC(=O)OC", 3)], shuffle=False)
    of_molecule = np.array([{"Li+": 1.0, "Na+": 0.5}.get(name, 0.4) for name in names])
    found = find_species(topology_of(numbers, bonds, charges_e=(of_molecule / np.bincount(owner))[owner]))
    assert sorted(codes(found)) == ["charge-not-whole", "odd-charge"]
    assert found["Na"].charge_e == 1 and found["C3H6O3"].charge_e == pytest.approx(0.4)


def test_hexafluorophosphate_in_carbonates():
    """PF6- has only fluorine to offer; ethyl methyl carbonate is in no library; halides are ions by themselves."""
    numbers, bonds, _, _ = box([("Na+", 5), ("PF6-", 4), ("EC", 10), ("CCOC(=O)OC", 12), ("[Cl-]", 1)])
    found = find_species(topology_of(numbers, bonds))
    assert found.sites.keys() >= {"F_PF6", "O_EC", "O_C4H8O3", "Cl"}
    assert found.charges_e == {"Na": 1, "PF6": -1, "Cl": -1}
    assert found["Cl"].charge_source == "element"
    assert "Na:Cl" in found.pairs


def test_a_residue_name_names_what_the_library_lacks():
    numbers, bonds, owner, names = box([("Li+", 2), ("CCOC(=O)OC", 3)])
    resnames = np.array(["LI", "EMC"])[(np.array(names)[owner] != "Li+").astype(int)]
    assert {kind.name for kind in find_species(topology_of(numbers, bonds, resnames=resnames)).kinds} == {"Li", "EMC"}
    resnames[:] = "MOL"
    assert "C4H8O3" in find_species(topology_of(numbers, bonds, resnames=resnames)).groups


def test_own_species_come_first(tmp_path):
    (tmp_path / "emc.yaml").write_text(
        'name: "EMC"\naliases: []\nsmiles: "CCOC(=O)OC"\ncharge: 0\nmultiplicity: 1\nrole: solvent\n'
        'source: "its IUPAC name"\ngrade: secondary\n'
    )
    numbers, bonds, _, _ = box([("CCOC(=O)OC", 3)])
    (kind,) = find_species(topology_of(numbers, bonds), folders=[tmp_path]).kinds
    assert kind.species == "EMC"


def chain(units, unit="C(F)(F)C", start="C", end="C"):
    return start + unit * units + end


def test_chains_of_one_polymer_are_one_kind():
    """PVDF of four lengths and PEO of two: two polymers, donors F and O."""
    peo = "COC" + "COC" * 60 + "C"
    content = [(chain(n), 1) for n in (30, 35, 40, 50)] + [(peo, 2), ("COC" + "COC" * 55 + "C", 1), ("Li+", 4)]
    numbers, bonds, _, _ = box(content)
    found = find_species(topology_of(numbers, bonds))
    polymers = [kind for kind in found.kinds if kind.role == "polymer"]
    assert [(kind.name, kind.n_molecules) for kind in polymers] == [("polymer-1", 3), ("polymer-2", 4)]
    assert polymers[0].formula.startswith("C1.00 H2.0") and "O0.5" in polymers[0].formula
    assert polymers[1].formula.startswith("C1.00 H1.0") and "F0.9" in polymers[1].formula
    assert set(found.pairs) == {"Li:O_polymer-1", "Li:F_polymer-2"}
    assert len(found.sites["F_polymer-2"]) == 2 * (30 + 35 + 40 + 50)
    assert found.mobile == ("Li",)


def garnet():
    from ase.spacegroup import crystal

    return crystal(
        ["Li", "La", "Zr", "O"],
        [(0.375, 0, 0.25), (0.125, 0, 0.25), (0, 0, 0), (0.1, 0.195, 0.28)],
        spacegroup=230,
        cellpar=[12.97] * 3 + [90] * 3,
    )


@pytest.mark.parametrize("with_positions", [False, True])
def test_a_ceramic_is_a_framework(with_positions):
    atoms = garnet()
    given = (atoms.get_positions(), np.asarray(atoms.cell)) if with_positions else ()
    found = find_species(Topology.from_ase(atoms), *given)
    assert [(kind.name, kind.role) for kind in found.kinds] == [("Li", "ion"), ("framework", "framework")]
    assert found["framework"].formula == "La3O12Zr2"
    assert found["framework"].n_molecules == 1
    assert found.pairs == ("Li:O_framework",)
    assert len(found.sites["O_framework"]) == 96


def test_a_particle_in_a_polymer_electrolyte():
    """LALZO beside LiTFSI, DMF and a polymer: aluminium belongs to the framework, zinc of the salt does not."""
    numbers, bonds, _, _ = box([("Li+", 6), ("Zn2+", 2), ("TFSI-", 10), ("DMF", 4), (chain(40), 2)])
    ceramic = np.repeat([57, 40, 8, 13, 3], [12, 8, 48, 1, 25])
    found = find_species(topology_of(np.concatenate([ceramic, numbers]), bonds + len(ceramic)))
    assert [kind.name for kind in found.kinds] == ["Li", "Zn", "TFSI", "DMF", "polymer-1", "framework"]
    assert found["Li"].n_molecules == 31
    assert found["framework"].formula == "AlLa12O48Zr8"
    assert {"Zn:O_DMF", "Zn:O_TFSI", "Li:O_framework", "Li:F_polymer-1"} <= set(found.pairs)


def test_phosphates_join_their_framework_but_not_the_salt():
    """LATP without bonds for titanium but with PO4 groups; PF6- stays a molecule."""
    phosphate, bonds = graph("[O-]P([O-])([O-])=O")
    numbers, links, _, _ = box([("Li+", 3), ("PF6-", 1), ("PC", 4)])
    ceramic = np.concatenate([phosphate] * 6 + [np.array([22] * 4)])
    bonds = np.concatenate([bonds + 5 * i for i in range(6)] + [links + len(ceramic)])
    found = find_species(topology_of(np.concatenate([ceramic, numbers]), bonds))
    assert [kind.name for kind in found.kinds] == ["Li", "PC", "PF6", "framework"]
    assert len(found.sites["O_framework"]) == 24


def test_sulfide_electrolytes():
    """Argyrodite: PS4 groups, lone sulfur and chlorine are the framework; Li3PS4 alone is an ion and an anion."""
    group, bonds = graph("[S-]P([S-])([S-])=S")
    both = np.concatenate([group] * 4 + [np.repeat([16, 17, 3], [4, 4, 24])])
    links = np.concatenate([bonds + 5 * i for i in range(4)])
    found = find_species(topology_of(both, links))
    assert [kind.name for kind in found.kinds] == ["Li", "framework"]
    assert set(found.pairs) == {"Li:S_framework", "Li:Cl_framework"}
    glass = np.concatenate([group] * 4 + [np.repeat([3], 12)])
    assert [kind.name for kind in find_species(topology_of(glass, links)).kinds] == ["Li", "PS4"]


def test_a_glass_is_a_framework_with_or_without_grafts():
    """A cubic network of Si and O (what counts is one large component), one silicon with a propyl sulfonate on it."""
    n, edge = 5, 3.2
    sites = np.array(list(np.ndindex(n, n, n))) * edge
    bridges = np.concatenate([sites + np.eye(3)[k] * edge / 2 for k in range(3)])
    numbers = np.concatenate([np.repeat([14, 8], [len(sites), len(bridges)]), [3]])
    positions = np.concatenate([sites, bridges, [[0.8, 0.8, 0.8]]])
    found = find_species(topology_of(numbers), positions, np.eye(3) * edge * n)
    assert [kind.name for kind in found.kinds] == ["Li", "framework"]
    assert found["framework"].formula == "O3Si" and found.pairs == ("Li:O_framework",)
    graft, bonds = graph("[SiH3]CCCS(=O)(=O)[O-]")
    glass = [(i, i + 1) for i in range(200)]
    numbers = np.concatenate([graft, np.tile([8, 14], 100), [3, 3]])
    bonds = np.concatenate([bonds, np.array(glass) + len(graft) - 1, [[0, len(graft)]]])
    found = find_species(topology_of(numbers, bonds[bonds.max(axis=1) < len(numbers) - 2]))
    assert [kind.name for kind in found.kinds] == ["Li", "framework"]
    assert found["framework"].formula.startswith("C3H")


def packed(seed=0, cell=None):
    """Library molecules on a grid in a (tilted) cell, wrapped into it: bonds run through all faces."""
    rng = np.random.default_rng(seed)
    names = ["TFSI-", "DMF", "EC", "Li+", "PF6-", "water", "acetonitrile", "DMSO"]
    cell = np.array([[36.0, 0, 0], [-15.0, 36.0, 0], [12.0, -14.0, 36.0]]) if cell is None else cell
    numbers, positions, bonds, owner, total = [], [], [], [], 0
    for place, corner in enumerate(np.ndindex(3, 3, 3)):
        one = molecule(names[place % len(names)]).atoms
        spun, _ = np.linalg.qr(rng.normal(size=(3, 3)))
        xyz = (one.get_positions() - one.get_positions().mean(axis=0)) @ spun
        numbers.append(one.numbers)
        positions.append(xyz + (np.array(corner) / 3) @ cell)
        bonds.append(graph(names[place % len(names)])[1] + total)
        owner.append(np.full(len(one), place))
        total += len(one)
    positions = np.concatenate(positions)
    wrapped = positions - np.floor(positions @ np.linalg.inv(cell)) @ cell
    return np.concatenate(numbers), wrapped, cell, np.concatenate(bonds), np.concatenate(owner)


@pytest.mark.parametrize("seed", range(4))
def test_bonds_guessed_through_tilted_boundaries(seed):
    """The guess finds the bonds of the library's graphs, of molecules cut by every face of the cell."""
    from atomflow.trajectory.molecule_graphs import guess_bonds

    numbers, positions, cell, bonds, _ = packed(seed)
    assert (np.linalg.norm(positions[bonds[:, 0]] - positions[bonds[:, 1]], axis=1) > 5).sum() > 20
    expected = np.unique(np.sort(bonds, axis=1), axis=0)
    np.testing.assert_array_equal(guess_bonds(numbers, positions, cell), expected)
    found = find_species(topology_of(numbers), positions, cell)
    assert codes(found) == ["bonds-guessed"]
    assert {kind.species for kind in found.kinds} == {
        "TFSI-", "DMF", "EC", "Li+", "PF6-", "water", "acetonitrile", "DMSO"
    }  # fmt: skip


def test_guessed_bonds_against_ase():
    """In a cell smaller than the reach, and without a cell: the pairs of ASE's neighbour list."""
    from ase import Atoms
    from ase.data import covalent_radii
    from ase.neighborlist import neighbor_list

    from atomflow.trajectory.molecule_graphs import guess_bonds

    rng = np.random.default_rng(2)
    for cell in (np.diag([2.9, 7.0, 9.0]), np.array([[6.0, 0, 0], [5.0, 5.0, 0], [-4.0, 3.0, 6.0]]), np.zeros((3, 3))):
        numbers = rng.choice([1, 6, 8, 9, 16, 3, 57], size=25)
        positions = rng.uniform(0, 8, size=(25, 3))
        atoms = Atoms(numbers=numbers, positions=positions, cell=cell, pbc=cell.any())
        i, j, d = neighbor_list("ijd", atoms, 4.0)
        factor = np.where((numbers[i] == 1) | (numbers[j] == 1), 1.25, 1.2)
        bonded = (d <= factor * (covalent_radii[numbers[i]] + covalent_radii[numbers[j]])) & (i < j)
        bonded &= ~np.isin(numbers[i], (3, 57)) & ~np.isin(numbers[j], (3, 57))
        expected = np.unique(np.column_stack([i, j])[bonded], axis=0)
        np.testing.assert_array_equal(guess_bonds(numbers, positions, cell), expected)


def test_a_solvent_molecule_that_is_far_from_its_image_in_the_file():
    """Unwrapped coordinates, several cells away: the same bonds."""
    from atomflow.trajectory.molecule_graphs import guess_bonds

    numbers, positions, cell, bonds, _ = packed(1)
    away = positions + np.random.default_rng(0).integers(-3, 4, size=positions.shape) @ cell
    np.testing.assert_array_equal(guess_bonds(numbers, away, cell), np.unique(np.sort(bonds, axis=1), axis=0))


def test_without_bonds_and_coordinates_the_formula_decides():
    numbers, _, owner, _ = box([*ELECTROLYTE, ("acetamide", 2), ("CCOC(=O)OC", 2)])
    found = find_species(topology_of(numbers, residues=owner + 1))
    assert {kind.name: kind.n_molecules for kind in found.kinds} == {
        "Li": 8, "TFSI": 8, "DMF": 20, "C2H5NO": 2, "C4H8O3": 2
    }  # fmt: skip
    assert codes(found) == ["species-by-formula", "ambiguous-formula", "ambiguous-formula"]
    told = " ".join(notice.text for notice in found.notices[1:])
    assert "acetamide, N-methylformamide;" in told and "was taken for DMF" in told
    assert {"O_TFSI", "N_TFSI", "O_DMF"} <= set(found.sites) and "N_DMF" not in found.sites


def test_nothing_but_elements():
    numbers, _, _, _ = box(ELECTROLYTE)
    found = find_species(topology_of(numbers))
    assert codes(found) == ["species-by-element"]
    assert set(found.pairs) == {"Li:O", "Li:N", "Li:F", "Li:S"}
    assert found["O"].n_molecules == (numbers == 8).sum()


def test_nothing_but_types():
    types = np.array(["10", "2", "2", "1"])
    found = find_species(Topology(n_atoms=4, types=types, charges_e=np.array([1.0, -0.5, -0.5, 0.0])))
    assert [kind.name for kind in found.kinds] == ["type-1", "type-2", "type-10"]
    assert [kind.charge_e for kind in found.kinds] == [0.0, -0.5, 1.0]
    assert codes(found) == ["species-by-type"] and found.pairs == ()
    np.testing.assert_array_equal(found["type-2"].atoms, [1, 2])
    beads = Topology(n_atoms=4, types=types, masses_u=np.ones(4), bonds=np.array([[0, 1], [1, 2]]))
    assert codes(find_species(beads)) == ["species-by-type"]


def test_massless_sites_are_left_out():
    """TIP4P: the fourth site has no element, no mass and all of the charge."""
    numbers, bonds, _, _ = box([("water", 5), ("Na+", 1)], shuffle=False)
    numbers = np.append(numbers, [0] * 5)
    symbols = np.array([chemical_symbols[z] if z else "" for z in numbers])
    masses = np.where(numbers == 0, 0.0, atomic_masses[numbers])
    found = find_species(Topology(n_atoms=len(numbers), elements=symbols, masses_u=masses, bonds=bonds))
    assert [(kind.name, kind.n_molecules) for kind in found.kinds] == [("Na", 1), ("water", 5)]
    assert codes(found) == ["virtual-sites"]
    assert found["water"].atoms.max() < 15
    residues = np.concatenate([np.repeat(np.arange(1, 6), 3), [6], np.arange(1, 6)])
    charges = np.concatenate([np.tile(np.where(numbers[:3] == 1, 0.52, 0.0), 5), [1.0], np.full(5, -1.04)])
    for more in ({"residues": residues}, {"bonds": np.concatenate([bonds, [[3 * i, 16 + i] for i in range(5)]])}):
        given = {"elements": symbols, "masses_u": masses, "bonds": bonds, "charges_e": charges} | more
        found = find_species(Topology(n_atoms=len(numbers), **given))
        assert found.charges_e == {"Na": 1} and codes(found) == ["virtual-sites"]


def test_bonds_listed_twice_count_once():
    numbers, bonds, _, _ = box([("DMF", 3)])
    doubled = np.concatenate([bonds, bonds[::2, ::-1], [[0, 0]]])
    assert find_species(topology_of(numbers, doubled))["DMF"].n_molecules == 3


def test_atoms_without_an_element_keep_their_type():
    numbers, bonds, _, _ = box([("Li+", 3), ("DMF", 2)], shuffle=False)
    symbols = np.array([*(chemical_symbols[z] for z in numbers), "", "", ""])
    types = np.array([*(str(z) for z in numbers), "99", "99", "98"])
    found = find_species(Topology(n_atoms=len(symbols), elements=symbols, types=types, bonds=bonds))
    assert [kind.name for kind in found.kinds] == ["Li", "type-99", "DMF", "type-98"]
    np.testing.assert_array_equal(found["type-99"].atoms, np.flatnonzero(types == "99"))
    assert codes(found) == ["unknown-elements"]


def test_collapsed_coordinates_are_refused_and_not_counted_out():
    numbers, _, _, _ = box([("DMF", 2000)])
    for cell in (np.eye(3) * 30, None):
        with pytest.raises(TrajectoryError, match="on top of each other"):
            find_species(topology_of(numbers), np.full((len(numbers), 3), 1.0), cell)
    with pytest.raises(TrajectoryError, match="smaller than a bond"):
        find_species(topology_of(numbers), np.random.default_rng(0).uniform(size=(len(numbers), 3)), np.eye(3) * 0.1)


def test_coordinates_that_are_not_numbers_bond_to_nothing():
    numbers, positions, cell, _, _ = packed()
    positions[5] = np.nan
    assert find_species(topology_of(numbers), positions, cell)["Li"].n_molecules > 0


def test_ten_thousand_molecules_in_two_seconds():
    numbers, bonds, _, _ = box([("Li+", 1000), ("TFSI-", 1000), ("DMF", 6000), ("EC", 2000)])
    topology = topology_of(numbers, bonds)
    find_species(topology_of(*box([("Li+", 1)])[:2]))  # the library is read once
    start = time.process_time()
    found = find_species(topology)
    assert time.process_time() - start < 2
    assert {kind.name: kind.n_molecules for kind in found.kinds} == {"Li": 1000, "DMF": 6000, "EC": 2000, "TFSI": 1000}


def test_graphs_that_refinement_cannot_tell_apart_get_one_key_but_no_wrong_name(tmp_path):
    """Decalin and bicyclopentyl: the exact comparison keeps the library's name from the other."""
    (tmp_path / "decalin.yaml").write_text(
        'name: "decalin"\naliases: []\nsmiles: "C1CCC2CCCCC2C1"\ncharge: 0\nmultiplicity: 1\nrole: solvent\n'
        'source: "its IUPAC name"\ngrade: secondary\n'
    )
    for smiles, species in (("C1CCC2CCCCC2C1", "decalin"), ("C1CCCC1C1CCCC1", None)):
        numbers, bonds, _, _ = box([(smiles, 2)])
        (kind,) = find_species(topology_of(numbers, bonds), folders=[tmp_path]).kinds
        assert kind.species == species


def test_one_line_for_each_kind():
    numbers, bonds, _, _ = box([*ELECTROLYTE, (chain(40), 1)])
    lines = find_species(topology_of(numbers, bonds)).describe()
    assert lines[0] == "Li: 8 x Li+, charge +1 (library)"
    assert lines[1] == "DMF: 20 x DMF, neutral (library)"
    assert lines[3] == "polymer-1: 1 x C82H86F80, charge unknown, 248 atoms"


@pytest.mark.parametrize("seed", range(60))
def test_nonsense_is_sorted_without_a_crash_and_no_atom_is_lost(seed):
    """Random elements, bonds, charges and coordinates: every atom is in one kind, sites belong to theirs."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 60))
    numbers = rng.choice([0, 1, 1, 3, 6, 6, 7, 8, 9, 13, 15, 16, 17, 40, 57], size=n)
    given = {
        "bonds": rng.integers(0, n, size=(int(rng.integers(0, 2 * n)), 2)),
        "charges_e": rng.choice([np.nan, 0.0, 0.4, -1.0, 3.0], size=n),
        "residues": rng.integers(0, 5, size=n),
        "types": rng.choice(["1", "2", "C3"], size=n),
        "resnames": rng.choice(["", "UNK", "A:B", "DMF"], size=n),
        "masses_u": rng.choice([np.nan, 0.0, 1.008, 14.027], size=n),
    }
    given = {name: values for name, values in given.items() if rng.random() < 0.6}
    symbols = np.array([chemical_symbols[z] if z else "" for z in numbers])
    topology = Topology(n_atoms=n, elements=symbols if rng.random() < 0.8 else None, **given)
    positions = rng.uniform(0, 12, size=(n, 3)) if rng.random() < 0.5 else None
    found = find_species(topology, positions, np.eye(3) * 12 if rng.random() < 0.5 else None)
    everyone = np.concatenate([kind.atoms for kind in found.kinds])
    assert len(set(everyone.tolist())) == len(everyone)
    assert len(everyone) == n or "virtual-sites" in codes(found)
    assert len({kind.name for kind in found.kinds}) == len(found.kinds) == len(found.describe())
    for kind in found.kinds:
        assert all(np.isin(atoms, kind.atoms).all() for atoms in kind.sites.values())
        assert sum(map(len, kind.molecules)) == len(kind.atoms) and len(kind.molecules) == kind.n_molecules
    for pair in found.pairs:
        assert set(pair.split(":")) <= set(found.labels), pair


def test_a_name_that_is_not_there():
    with pytest.raises(LookupError, match="did you mean Li"):
        find_species(topology_of(np.array([3])))["li"]


def universe(*files, **options):
    mda = pytest.importorskip("MDAnalysis")
    pytest.importorskip("MDAnalysisTests")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return mda.Universe(*files, **options)


def test_real_protein_in_water():
    """A GRO file: no elements, no bonds; names and distances tell a protein, water with a fourth site, and sodium."""
    from MDAnalysisTests.datafiles import GRO

    u = universe(GRO, to_guess=())
    start = time.process_time()
    found = find_species(Topology.from_universe(u), u.atoms.positions, u.trajectory.ts.triclinic_dimensions)
    assert time.process_time() - start < 5
    assert {(kind.name, kind.role, kind.n_molecules) for kind in found.kinds} == {
        ("Na", "ion", 4),
        ("water", "molecule", 11084),
        ("polymer-1", "polymer", 1),
    }
    assert len(found["polymer-1"].atoms) == 3341
    assert codes(found) == ["elements-from-names", "bonds-guessed", "virtual-sites"]
    assert "Na:O_water" in found.pairs


def test_real_protein_with_bonds():
    from MDAnalysisTests.datafiles import DCD, PSF

    found = find_species(Topology.from_universe(universe(PSF, DCD, to_guess=())))
    (kind,) = found.kinds
    assert (kind.role, kind.n_molecules, len(kind.atoms)) == ("polymer", 1, 3341)
    assert kind.charge_e == -4 and kind.charge_source == "topology"


def test_rigid_water_with_a_bond_between_its_hydrogens():
    """CHARMM and Amber keep TIP3P rigid with it; hydrogen gas keeps its own."""
    from MDAnalysisTests.datafiles import PRM7, waterPSF

    for path, kind, count in ((waterPSF, "PSF", 5), (PRM7, "PRMTOP", 1869)):
        found = find_species(Topology.from_universe(universe(path, topology_format=kind, to_guess=())))
        assert found["water"].species == "water" and found["water"].n_molecules == count
    (kind,) = find_species(topology_of(np.array([1, 1]), np.array([[0, 1]]))).kinds
    assert kind.formula == "H2"


def test_real_lammps_data():
    """Protein, salt and water of a data file, without any option."""
    from MDAnalysisTests.datafiles import LAMMPSdata, LAMMPSdata2

    found = find_species(Topology.from_data_file(LAMMPSdata2))
    assert [(kind.name, kind.n_molecules, kind.charge_e) for kind in found.kinds] == [
        ("Na", 6, 1),
        ("Cl", 6, -1),
        ("water", 3432, 0),
        ("polymer-1", 1, 0),
    ]
    assert found["polymer-1"].formula == "C670H1056N180O204S3"
    assert found.pairs[:2] == ("Na:Cl", "Na:O_water")
    # Its masses are in kg/mol: no elements can be told, and no molecules named.
    found = find_species(Topology.from_data_file(LAMMPSdata))
    assert codes(found) == ["species-by-type"] and len(found.kinds) == 10


ACETONITRILE = np.array(
    [[0, 0, 0], [1.16, 0, 0], [2.62, 0, 0], [3.0, 1.03, 0], [3.0, -0.51, 0.89], [3.0, -0.51, -0.89]]
)
HEXAFLUOROPHOSPHATE = 1.6 * np.array([[0, 0, 0], *np.eye(3), *-np.eye(3)])
WATER = np.array([[0, 0, 0], [0.957, 0, 0], [-0.24, 0.927, 0]])
ION = np.zeros((1, 3))
#: Residue, names of its atoms, their places, how many; then the kinds that there are.
NAMED = {
    "charmm": (
        [("TIP3", ["OH2", "H1", "H2"], WATER, 20), ("SOD", ["SOD"], ION, 4), ("CLA", ["CLA"], ION, 4)],
        {"water": 0.0, "Na": 1.0, "Cl": -1.0},
    ),
    "charmm, others": (
        [("LIT", ["LIT"], ION, 2), ("POT", ["POT"], ION, 2), ("CAL", ["CAL"], ION, 2), ("CLA", ["CLA"], ION, 8),
         ("TIP3", ["OH2", "H1", "H2"], WATER, 20)],
        {"water": 0.0, "Li": 1.0, "K": 1.0, "Ca": 2.0, "Cl": -1.0},
    ),
    "charmm residues": (
        [("WAT", ["O", "H1", "H2"], WATER, 20), ("SOD", ["NA"], ION, 4), ("CLA", ["CL"], ION, 4)],
        {"water": 0.0, "Na": 1.0, "Cl": -1.0},
    ),
    "residue of ions": (
        [("ACN", ["N1", "C2", "C1", "H11", "H12", "H13"], ACETONITRILE, 20), ("ION", ["NA"], ION, 4),
         ("PF6", ["P1", *(f"F1{i}" for i in range(6))], HEXAFLUOROPHOSPHATE, 4)],
        {"acetonitrile": 0.0, "Na": 1.0, "PF6": -1.0},
    ),
    "numbered": (
        [("UNL", ["N00", "C01", "C02", "H03", "H04", "H05"], ACETONITRILE, 20), ("LI", ["LI1"], ION, 4),
         ("PF6", ["P00", *(f"F0{i}" for i in range(6))], HEXAFLUOROPHOSPHATE, 4)],
        {"acetonitrile": 0.0, "Li": 1.0, "PF6": -1.0},
    ),
}  # fmt: skip


def write_named(path, molecules, style):
    """A GRO or PDB without bonds: ``one residue`` has the same number everywhere, ``some elements`` leaves most out."""
    atoms, number = [], 0
    grid = 8.0 * np.stack(np.meshgrid(*[np.arange(5)] * 3), -1).reshape(-1, 3) + 1
    for residue, names, places, count in molecules:
        for _ in range(count):
            atoms += [
                (number + 1, residue, name, *(grid[number] + place)) for name, place in zip(names, places, strict=True)
            ]
            number += 1
    if path.suffix == ".gro":
        lines = ["t", str(len(atoms))]
        for i, (residue, called, name, *xyz) in enumerate(atoms):
            counted = 1 if style == "one residue" else residue
            lines.append(f"{counted:5d}{called:<5}{name:>5}{i + 1:5d}" + "".join(f"{x / 10:8.3f}" for x in xyz))
        lines.append("   4.00000   4.00000   4.00000")
    else:
        lines = ["CRYST1   40.000   40.000   40.000  90.00  90.00  90.00 P 1           1"]
        for i, (residue, called, name, *xyz) in enumerate(atoms):
            element = name[0] if style == "some elements" and len(name) > 2 and name[0] in "HF" else ""
            place = "".join(f"{x:8.3f}" for x in xyz)
            lines.append(
                f"HETATM{i + 1:5d}  {name:<3} {called:<4} {residue:4d}    {place}  1.00  0.00          {element:>2}"
            )
        lines.append("END")
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.mark.parametrize("system", NAMED)
@pytest.mark.parametrize(
    ("suffix", "style"), [("gro", ""), ("gro", "one residue"), ("pdb", ""), ("pdb", "some elements")]
)
def test_files_without_bonds_and_elements(tmp_path, system, suffix, style):
    """Ions as CHARMM, Gromacs and Amber call them are ions, and no carbon, sulfur, nitrogen or phosphorus."""
    molecules, kinds = NAMED[system]
    trajectory = open_trajectory(write_named(tmp_path / f"t.{suffix}", molecules, style))
    frame = next(iter(trajectory.source.frames([0])))
    found = find_species(trajectory.topology, frame.positions_A, frame.cell_A)
    assert {kind.name: kind.charge_e for kind in found.kinds} == kinds
    told = {notice.code: notice.text for notice in (*trajectory.notices, *found.notices)}
    assert {"elements-guessed", "bonds-guessed"} <= set(told)
    partly = style == "some elements" and "PF6" in kinds
    assert (f"no elements for 68 of its {trajectory.n_atoms} atoms" in told["elements-guessed"]) == partly


def test_a_molecule_named_like_an_ion_is_none():
    """CLA is also chlorophyll, NA an aromatic nitrogen, CA a carbon: with other atoms in the residue they are these."""
    names = np.array(["CLA", "HA", "NA", "CA", "CB"])
    topology = Topology(
        5, names=names, resnames=np.array(["CLA", "CLA", "IMI", "ALA", "ALA"]), residues=np.array([1, 1, 2, 3, 3])
    )
    guessed, _ = topology.with_guessed_elements()
    assert guessed.elements.tolist() == ["C", "H", "N", "C", "C"]
