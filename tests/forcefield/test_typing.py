"""Every species and polymer that we ship is typed whole, neutral, and in any order of its atoms."""

from itertools import product

import networkx as nx
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rdkit import Chem

from atomflow import forcefield
from atomflow.build import molecule
from atomflow.build.chains import polymer
from atomflow.errors import (
    BadOptionError,
    MissingParameterError,
    UngradedParameterError,
    UnknownNameError,
)
from atomflow.forcefield.assigning import KINDS, perceived
from atomflow.model import Box, Molecule

SPECIES = [
    "DMF", "TFSI-", "FSI-", "BF4-", "Li+", "Na+", "K+", "Mg2+", "Ca2+", "Zn2+", "PEO-4", "PTMO-2", "P-DOL-4", "PA6-2",
    "PA12-2", "PVDF-6", "PVDF-HFP-3", "DME", "DOL", "dimethyl-ether", "N-methylacetamide",
]  # fmt: skip
POLYMERS = ["PVDF", "PVDF-HFP", "PEO", "PTMO", "PA6", "PA12", "Pebax", "Pebax-PA12-PTMO", "P-DOL"]


def box_of(*molecules, counts=None):
    kinds = [k for k, many in enumerate(counts or [1] * len(molecules)) for _one in range(many)]
    positions = np.concatenate([molecules[kind].atoms.positions for kind in kinds])
    return Box(tuple(molecules), np.array(kinds), positions, np.eye(3) * 100)


def particle(ions):
    """A little oxide: ions without bonds, each with its formal charge."""
    graph = Chem.RWMol()
    for symbol, charge in ions:
        atom = Chem.Atom(symbol)
        atom.SetFormalCharge(charge)
        atom.SetNoImplicit(True)
        graph.AddAtom(atom)
    conformer = Chem.Conformer(len(ions))
    for index in range(len(ions)):
        conformer.SetAtomPosition(index, (2.2 * index, 0.0, 0.0))
    graph.AddConformer(conformer)
    return Molecule("grain", graph.GetMol(), charge=sum(q for _s, q in ions), role="particle", rigid=True)


GRAIN = [("La", 3), ("La", 3), ("La", 3), ("Zr", 4), ("Zr", 4), ("Al", 3), *[("Li", 1)] * 4, *[("O", -2)] * 12]


@pytest.mark.parametrize("name", SPECIES)
def test_species_are_typed_and_have_their_charge(name):
    one = molecule(name)
    system = forcefield.parametrise(box_of(one))
    assert system.charge_e == pytest.approx(one.charge, abs=1e-9)
    assert system.worst_grade in ("secondary", "analogue", "fitted")


@pytest.mark.parametrize("name", POLYMERS)
def test_polymers_are_typed_and_neutral(name):
    chain = polymer(name, units=12, seed=1)
    system = forcefield.parametrise(box_of(chain))
    assert system.charge_e == pytest.approx(0, abs=1e-9)
    assert system.box.charge_e == 0
    bonds, angles, torsions = (len(getattr(system, kind)) for kind in ("bonds", "angles", "torsions"))
    degree = np.bincount(chain_bonds(chain).ravel(), minlength=len(chain))
    assert bonds == chain.graph.GetNumBonds()
    assert angles == (degree * (degree - 1) // 2).sum()
    i, j = chain_bonds(chain).T
    assert torsions == ((degree[i] - 1) * (degree[j] - 1)).sum()
    assert len(system.impropers) == (degree == 3).sum()


def chain_bonds(one):
    return np.array([(b.GetBeginAtomIdx(), b.GetEndAtomIdx()) for b in one.graph.GetBonds()])


UNITS = {"VDF": "CC(F)(F)", "-VDF": "C(F)(F)C", "HFP": "C(F)(F)C(F)(C(F)(F)F)", "-HFP": "C(F)(C(F)(F)F)C(F)(F)"}


def drawn(smiles):
    """A molecule whose atoms stand on a grid; typing asks for no geometry."""
    graph = Chem.AddHs(Chem.MolFromSmiles(smiles))
    conformer = Chem.Conformer(graph.GetNumAtoms())
    for index in range(graph.GetNumAtoms()):
        conformer.SetAtomPosition(index, (3.0 * (index % 10), 3.0 * (index // 10), 0.0))
    graph.AddConformer(conformer)
    return Molecule(smiles, graph, charge=Chem.GetFormalCharge(graph))


@pytest.mark.parametrize("first", UNITS)
def test_any_sequence_of_vdf_and_hfp_is_known_and_neutral(first):
    for others in product(UNITS, repeat=2):
        chain = drawn("".join(UNITS[unit] for unit in ("VDF", first, *others, "VDF")) + "F")
        assert forcefield.missing_terms(chain) == [], others
        assert forcefield.parametrise(box_of(chain)).charge_e == pytest.approx(0, abs=1e-9)


def test_dehydrofluorinated_chains_need_assumed_numbers():
    one = molecule("d-PVDF-HFP-3")
    with pytest.raises(UngradedParameterError, match=r"d-PVDF-HFP-3.*--allow-assumed"):
        forcefield.parametrise(box_of(one))
    system = forcefield.parametrise(box_of(one), allow_assumed=True)
    assert system.worst_grade == "assumed"
    assert system.charge_e == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("name", ["DMF", "DOL", "PVDF-HFP-3", "TFSI-"])
def test_terms_are_those_that_networkx_finds(name):
    one = molecule(name)
    graph = nx.Graph(chain_bonds(one).tolist())
    found = perceived(one.graph, ["C"] * len(one))
    paths = {length: set() for length in (2, 3)}
    for start in graph:
        for end in graph:
            if start < end:
                for path in nx.all_simple_paths(graph, start, end, cutoff=3):
                    if len(path) > 2:
                        paths[len(path) - 1].add(min(tuple(path), tuple(path[::-1])))
    ours = {
        kind: {min(tuple(row), tuple(row[::-1])) for row in found[kind].tolist()} for kind in ("angles", "torsions")
    }
    assert ours == {"angles": paths[2], "torsions": paths[3]}
    assert all(len(rows) == len(ours[kind]) for kind, rows in found.items() if kind in ours)
    assert len(found["impropers"]) == sum(degree == 3 for _node, degree in graph.degree)


def permuted(one, order):
    """The molecule with atom ``order[i]`` in place ``i``."""
    return Molecule(one.name, Chem.RenumberAtoms(one.graph, [int(i) for i in order]), charge=one.charge)


@pytest.mark.parametrize("name", ["DMF", "TFSI-", "PVDF-HFP-3", "PA6-2"])
@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_order_of_atoms_permutes_the_parameters(name, data):
    one = molecule(name)
    order = np.array(data.draw(st.permutations(range(len(one)))))
    before = forcefield.parametrise(box_of(one))
    after = forcefield.parametrise(box_of(permuted(one, order)))
    assert np.allclose(after.charges_e, before.charges_e[order])
    names = [before.types[t].name for t in before.type_of_atom]
    assert [after.types[t].name for t in after.type_of_atom] == [names[i] for i in order]
    for kind in KINDS:
        assert terms_of(after, kind, order) == terms_of(before, kind, np.arange(len(one)))


def terms_of(system, kind, names):
    """Terms with the atoms' own names; an improper by its centre and the other three."""
    bonded = getattr(system, kind)
    rows = []
    for row, term in zip(names[bonded.atoms].tolist(), bonded.term.tolist(), strict=True):
        key = (row[2], *sorted(row[:2] + row[3:])) if kind == "impropers" else min(tuple(row), tuple(row[::-1]))
        rows.append((key, str(bonded.terms[term])))
    return sorted(rows)


def test_many_copies_are_one_copy_many_times():
    parts = [molecule("DMF"), molecule("TFSI-"), molecule("Li+")]
    one = forcefield.parametrise(box_of(*parts))
    many = forcefield.parametrise(box_of(*parts, counts=[3, 2, 2]))
    assert len(many) == 3 * 12 + 2 * 15 + 2
    for index, (kind, first) in enumerate(zip(many.box.molecules, many.box.first_atoms, strict=False)):
        size, start = len(parts[kind]), one.box.first_atoms[kind]
        assert np.array_equal(many.charges_e[first : first + size], one.charges_e[start : start + size])
        for name in KINDS:
            whole, single = getattr(many, name), getattr(one, name)
            mine = many.box.molecule_of_atom[whole.atoms[:, 0]] == index
            its = one.box.molecule_of_atom[single.atoms[:, 0]] == kind
            assert np.array_equal(whole.atoms[mine] - first, single.atoms[its] - start)
            assert [whole.terms[t] for t in whole.term[mine]] == [single.terms[t] for t in single.term[its]]


def test_scaled_charges_are_those_of_ions_only_and_are_told():
    box = box_of(molecule("DMF"), molecule("TFSI-"), molecule("Li+"), particle(GRAIN))
    full = forcefield.parametrise(box)
    scaled = forcefield.parametrise(box, charge_scale=0.75)
    ratio = scaled.charges_e[full.charges_e != 0] / full.charges_e[full.charges_e != 0]
    kind = box.molecule_of_atom[full.charges_e != 0]
    assert np.allclose(ratio[(kind == 1) | (kind == 2)], 0.75)
    assert np.allclose(ratio[(kind == 0) | (kind == 3)], 1.0)
    assert scaled.charge_scale == 0.75
    assert [notice.code for notice in scaled.warnings] == ["scaled-charges"] and not full.warnings
    for wrong in (0.0, -1.0, 1.5, float("nan")):
        with pytest.raises(BadOptionError):
            forcefield.parametrise(box, charge_scale=wrong)


def test_particles_carry_formal_charges_and_are_held():
    box = box_of(particle(GRAIN), molecule("Li+"), molecule("TFSI-"))
    one = forcefield.parametrise(box)
    other = forcefield.parametrise(box, forcefield="opls-clp+oxides-b")
    assert one.held == other.held == (0,)
    assert one.charges_e[:6].tolist() == [3, 3, 3, 4, 4, 3]
    names = [one.types[t].name for t in one.type_of_atom]
    assert names[6] == "oxide_Li" and names[22] == "Li+"
    sigma = {t.name: t.sigma_A for t in one.types}
    assert sigma["oxide_Al"] < 2.5
    assert sigma["oxide_La"] != {t.name: t.sigma_A for t in other.types}["oxide_La"]
    assert other.forcefield == "opls-clp+oxides-b"


def test_variants_change_what_they_say_and_nothing_else():
    box = box_of(molecule("DMF"), molecule("TFSI-"))
    plain = forcefield.parametrise(box)
    old = forcefield.parametrise(box, forcefield="opls-clp+dmf-1996")
    new = forcefield.parametrise(box, forcefield="opls-clp+tfsi-2025")
    assert not np.allclose(plain.charges_e[:12], old.charges_e[:12])
    assert np.array_equal(plain.charges_e[12:], old.charges_e[12:])
    assert np.array_equal(plain.charges_e, new.charges_e)
    assert dipole_D(plain, 0) == pytest.approx(4.5, abs=0.3)
    assert dipole_D(old, 0) == pytest.approx(3.5, abs=0.3)
    with pytest.raises(UnknownNameError, match="dmf-1996"):
        forcefield.parametrise(box, forcefield="opls-clp+dmf-1997")
    with pytest.raises(UnknownNameError, match="opls-clp"):
        forcefield.parametrise(box, forcefield="opls-cl")
    assert set(forcefield.variants_of()) >= {"dmf-1996", "tfsi-2025", "oxides-b"}


def dipole_D(system, index):
    mine = system.box.molecule_of_atom == index
    return np.linalg.norm(system.charges_e[mine] @ system.box.positions_A[mine]) / 0.20819434


def test_a_type_that_no_file_has_names_the_atom():
    with pytest.raises(MissingParameterError, match=r"atom type for .*water, atom .*opls-clp"):
        forcefield.parametrise(box_of(molecule("water")))


def test_audit_and_summary_tell_every_term():
    system = forcefield.parametrise(box_of(molecule("DMF"), molecule("Li+"), counts=[2, 2]))
    rows = forcefield.audit(system)
    assert len(rows) == sum(1 for _one in system.origins())
    assert all(row["source"] and row["grade"] for row in rows)
    assert {row["what"]: row["uses"] for row in rows if row["kind"] == "bond"}["CT-NM"] == 4
    told = forcefield.summary(system)
    assert told["worst_grade"] == system.worst_grade and told["grades"] == system.grades()
    assert told["torsions"] == len(system.torsions)
