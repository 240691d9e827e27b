"""Polymers: the shipped library, sequences, tacticity, end groups, and mistakes told in one line."""

import json
import re
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from rdkit import Chem
from rdkit.Chem import Descriptors

from atomflow.build import (
    Block,
    Polymer,
    Share,
    chain_lengths,
    find_polymer,
    find_residue,
    list_polymers,
    list_residues,
    molecule,
    polymer,
    polymer_chain,
)
from atomflow.build.residues import PATH_VARIABLE, unit_of
from atomflow.build.sequences import draw_sequence, parse_sequence
from atomflow.errors import BadFileError, BadOptionError, BadStructureError, UnknownNameError
from atomflow.model import dumps, loads, residues_of


@pytest.fixture(autouse=True)
def no_path_variable(monkeypatch):
    monkeypatch.delenv(PATH_VARIABLE, raising=False)


def one_line(error):
    text = str(error.value)
    assert "\n" not in text and len(text) < 500
    return text


def test_the_library_has_what_the_membranes_need():
    names = {entry.name for entry in list_polymers()}
    assert {"PVDF", "PVDF-HFP", "d-PVDF-HFP", "Pebax", "PEO", "PTMO", "PA6", "PA12", "P-DOL"} <= names
    codes = {residue.code for residue in list_residues()}
    for entry in list_polymers():
        assert set(entry.residues) <= codes
        assert entry.source and entry.grade != "published"  # nothing was read in a paper itself


@pytest.mark.parametrize("name", [entry.name for entry in list_polymers()])
def test_every_polymer_builds(name):
    chain = polymer_chain(name, units=12, seed=2)
    graph = Chem.Mol(chain.molecule.graph)
    Chem.SanitizeMol(graph)
    assert len(Chem.GetMolFrags(graph)) == 1
    assert not any(atom.GetNumRadicalElectrons() or atom.GetNumImplicitHs() for atom in graph.GetAtoms())
    assert chain.molecule.charge == 0
    numbers, names = residues_of(chain.molecule)
    assert names == tuple(code.removeprefix("-") for code in chain.sequence) and len(names) == 12
    assert (np.diff(numbers) >= 0).all()
    assert chain.molar_mass_g_mol == pytest.approx(Descriptors.MolWt(graph), rel=1e-6)
    labels = [(n, a.GetPDBResidueInfo().GetName()) for n, a in zip(numbers, graph.GetAtoms(), strict=True)]
    assert len(set(labels)) == len(labels)  # atom names are unique in a residue


@pytest.mark.parametrize(
    ("name", "species"),
    [("PEO", "COCCOCCOCCOC"), ("P-DOL", "COCCOCOCCOCOCCOCOC"), ("PVDF", "CC(F)(F)CC(F)(F)CC(F)(F)F")],
)
def test_constitution_is_that_of_a_drawn_oligomer(name, species):
    graph = Chem.RemoveHs(polymer(name, units=3).graph)
    assert Chem.MolToSmiles(graph, isomericSmiles=False) == Chem.CanonSmiles(species)


def test_pebax_blocks_are_joined_by_esters():
    graph = polymer("Pebax", units=90).graph
    esters = graph.GetSubstructMatches(Chem.MolFromSmarts("[CX3](=O)[OX2][CH2]"), maxMatches=10_000)
    anhydrides = graph.GetSubstructMatches(Chem.MolFromSmarts("C(=O)OC=O"))
    assert len(esters) == 3 and not anhydrides  # two rounds: amide-ether, ether-amide, amide-ether
    assert not graph.HasSubstructMatch(Chem.MolFromSmarts("OO")) and not graph.HasSubstructMatch(
        Chem.MolFromSmarts("NO")
    )


def test_pvdf_ends_are_ch3_and_cf3():
    graph = polymer("PVDF", units=5).graph
    assert len(graph.GetSubstructMatches(Chem.MolFromSmarts("[CX4;H3]"))) == 1
    assert len(graph.GetSubstructMatches(Chem.MolFromSmarts("[CX4](F)(F)F"))) == 1


def test_same_seed_same_chain_and_other_seed_another():
    first, again, other = (polymer_chain("PVDF-HFP", units=40, hfp_fraction=0.2, seed=s) for s in (5, 5, 6))
    assert first.sequence == again.sequence != other.sequence
    assert np.array_equal(first.molecule.atoms.positions, again.molecule.atoms.positions)


def test_residues_survive_the_codec():
    first = polymer("PVDF-HFP", units=12, hfp_fraction=0.1)
    back = loads(dumps(first))
    assert residues_of(back)[1] == residues_of(first)[1]
    assert np.array_equal(residues_of(back)[0], residues_of(first)[0])
    for ours, theirs in zip(first.graph.GetAtoms(), back.graph.GetAtoms(), strict=True):
        a, b = ours.GetPDBResidueInfo(), theirs.GetPDBResidueInfo()
        assert (a.GetName(), a.GetChainId(), a.GetIsHeteroAtom(), a.GetOccupancy()) == (
            b.GetName(),
            b.GetChainId(),
            b.GetIsHeteroAtom(),
            b.GetOccupancy(),
        )
    assert json.loads(dumps(back))["residues"] == json.loads(dumps(first))["residues"]


def test_molecules_without_residues_are_written_and_read_as_before():
    plain = molecule("DMF")
    data = json.loads(dumps(plain))
    assert "residues" not in data  # the text, and so the key in a store, has not changed
    chain = json.loads(dumps(polymer("PEO", units=2)))
    del chain["residues"]
    assert residues_of(loads(json.dumps(chain)))[1] == ("PEO",)  # as an older file would hold it


@given(st.integers(3, 300), st.floats(0, 0.5), st.integers(0, 2**32 - 1))
def test_composition_is_exact_and_hfp_stands_apart(units, fraction, seed):
    spec = Polymer("x", units=(Share("A"), Share("B", fraction, apart=True)))
    wanted = int(np.floor(fraction * units + 0.5))
    if wanted > (units - 1) // 2:
        with pytest.raises(BadOptionError, match="do not fit"):
            draw_sequence(spec, units, np.random.default_rng(seed))
        return
    row = draw_sequence(spec, units, np.random.default_rng(seed))
    assert len(row) == units and row.count("B") == wanted
    assert "B B" not in " ".join(row)
    assert not wanted or (row[0] == row[-1] == "A")


def test_random_places_are_uniform():
    spec = Polymer("x", units=(Share("A"), Share("B", 0.25, apart=True)))
    rows = [draw_sequence(spec, 4, np.random.default_rng(seed)) for seed in range(600)]
    seen = Counter(row.index("B") for row in rows)
    assert set(seen) == {1, 2}
    assert abs(seen[1] - 300) < 5 * np.sqrt(150)


def test_blocky_gathers_and_alternating_alternates():
    spec = find_polymer("PVDF-HFP")
    rng = np.random.default_rng(0)
    blocky = draw_sequence(Polymer("x", units=(Share("VDF"), Share("HFP", 0.1, True)), sequence="blocky"), 100, rng)
    gaps = np.diff([k for k, name in enumerate(blocky) if name == "HFP"])
    assert (gaps == 2).sum() >= 6  # four blocks of at most three
    ab = Polymer("x", units=(Share("A"), Share("B", 0.5)), sequence="alternating")
    assert draw_sequence(ab, 5, rng) == ("A", "B", "A", "B", "A")
    assert spec.sequence == "random"


def test_head_head_defects():
    chain = polymer_chain("PVDF", units=60, head_head_fraction=0.05, seed=3)
    assert chain.turned_units == 3
    heads = chain.molecule.graph.GetSubstructMatches(Chem.MolFromSmarts("[CX4](F)(F)[CX4;H0](F)F"))
    tails = chain.molecule.graph.GetSubstructMatches(Chem.MolFromSmarts("[CX4;H2][CX4;H2]"))
    assert 1 <= len(tails) == len(heads) <= 3


def test_dehydrofluorinated_units_follow_hfp_and_are_trans():
    chain = polymer_chain("d-PVDF-HFP", units=60, hfp_fraction=0.1, fractions={"DVF": 1.0}, seed=1)
    row = chain.sequence
    after = [row[k + 1] for k in range(len(row) - 2) if row[k] == "HFP"]
    assert after and set(after) == {"DVF"}
    graph = Chem.Mol(chain.molecule.graph)
    Chem.AssignStereochemistryFrom3D(graph)
    doubles = [b for b in graph.GetBonds() if b.GetBondTypeAsDouble() == 2]
    # F outranks the chain on one side: the chain trans across the bond is the letter Z.
    assert len(doubles) == row.count("DVF")
    assert {b.GetStereo() for b in doubles} == {Chem.BondStereo.STEREOZ}


@given(st.integers(20, 400), st.floats(0.15, 0.85), st.integers(0, 99))
@settings(max_examples=60)
def test_blocks_keep_weight_fractions(units, weight, seed):
    spec = Polymer("x", blocks=(Block("hard", "H", ("S",), (), weight), Block("soft", "E", (), ("F",), None, 20)))
    masses = {"H": 113.0, "S": 112.0, "E": 44.0, "F": 60.0}
    row = draw_sequence(spec, units, np.random.default_rng(seed), masses)
    assert len(row) == units and row[0] == "S" and row[-1] == "F"
    hard = sum(masses[n] for n in row if n in "HS")
    total = sum(masses[n] for n in row)
    rounds = row.count("S")
    slack = 113 if row.count("H") > rounds and row.count("E") > rounds else total  # nothing left to give or take
    assert abs(hard - weight * total) <= slack


@pytest.mark.parametrize(("tacticity", "meso"), [("isotactic", 29), ("syndiotactic", 0)])
@pytest.mark.parametrize("smiles", ["[*:1]CC(C)[*:2]", "[*:1]CC(c1ccccc1)[*:2]"])
def test_tacticity_by_our_signs(smiles, tacticity, meso):
    chain = polymer_chain(smiles, units=30, tacticity=tacticity, seed=4)
    assert chain.dyads["UNK"] == {"meso": meso, "racemo": 29 - meso}


def test_tacticity_by_rdkit_labels():
    # Both ends of a short chain of propylene oxide: the oxygen gives each centre the same ranking, so equal letters
    # are equal hands.
    for tacticity in ("isotactic", "syndiotactic"):
        graph = Chem.Mol(
            polymer("[*:1]OCC(C)[*:2]", units=8, tacticity=tacticity, seed=1, head="[*]C", tail="[*]OC").graph
        )
        Chem.AssignStereochemistryFrom3D(graph)
        letters = [code for _, code in Chem.FindMolChiralCenters(graph)]
        assert len(letters) == 8
        changes = sum(a != b for a, b in pairwise(letters))
        # The last centre stands between two oxygen atoms and is ranked on its own.
        assert changes in ((0, 1) if tacticity == "isotactic" else (6, 7))


def test_atactic_is_half_meso():
    meso = racemo = 0
    for seed in range(4):
        dyads = polymer_chain("[*:1]CC(C)[*:2]", units=100, seed=seed).dyads["UNK"]
        meso, racemo = meso + dyads["meso"], racemo + dyads["racemo"]
    assert meso + racemo == 396 and abs(meso - 198) < 5 * np.sqrt(99)


@pytest.mark.parametrize(("smiles", "letter"), [("[*:1]O[C@@H](C)C(=O)[*:2]", "S"), ("[*:1]O[C@H](C)C(=O)[*:2]", "R")])
@pytest.mark.parametrize("turned", [False, True])
def test_stated_chirality_is_kept(smiles, letter, turned):
    monomer = Chem.MolFromSmiles(smiles.replace("[*:1]", "C").replace("[*:2]", "OC"))
    letter = Chem.FindMolChiralCenters(monomer)[0][1]
    word = f"-{smiles}" if turned else smiles
    spec = Polymer(
        "lactic",
        units=(Share(smiles),),
        sequence=" ".join([word] * 4),
        head="[*]C" if not turned else "[*]OC",
        tail="[*]OC" if not turned else "[*]C",
    )
    graph = Chem.Mol(polymer(spec).graph)
    Chem.AssignStereochemistryFrom3D(graph)
    assert [code for _, code in Chem.FindMolChiralCenters(graph)] == [letter] * 4


@pytest.mark.parametrize("dispersity", [1.0, 1.2, 2.0])
def test_chain_lengths_follow_schulz_zimm(dispersity):
    lengths = chain_lengths(40_000, mn_g_mol=20_000, dispersity=dispersity, unit_mass_g_mol=50.0, seed=1)
    mean, weight = lengths.mean(), (lengths**2).sum() / lengths.sum()
    assert mean == pytest.approx(400, rel=0.02)
    assert weight / mean == pytest.approx(dispersity, rel=0.03)


def test_length_is_drawn_from_molar_mass():
    masses = [polymer_chain("PEO", mn_g_mol=1000, dispersity=1.05, seed=s).molar_mass_g_mol for s in range(6)]
    assert len(set(masses)) > 1 and 600 < np.mean(masses) < 1400


def test_a_tacticity_that_decides_nothing_is_told():
    for what, why in (("PEO", "its backbone has none"), ("[*:1]O[C@@H](C)C(=O)[*:2]", "states them all")):
        (notice,) = polymer_chain(what, units=4, tacticity="isotactic").warnings
        assert notice.code == "no-stereocentres" and why in notice.text
    assert not polymer_chain("PEO", units=4).warnings
    assert not polymer_chain("[*:1]CC(C)[*:2]", units=4, tacticity="isotactic").warnings


def test_own_residues_and_polymers_in_a_folder(tmp_path):
    (tmp_path / "residues").mkdir()
    residue = {"name": "propylene unit", "code": "PP", "smiles": "[*:1]CC(C)[*:2]", "source": "me", "grade": "assumed"}
    (tmp_path / "residues" / "pp.yaml").write_text(yaml.safe_dump(residue))
    own = {
        "name": "EPR",
        "units": [{"residue": "PP"}, {"residue": "EO", "fraction": 0.5}],
        "ends": {"head": "[*]C", "tail": "[*]C"},
        "length": 10,
        "source": "me",
        "grade": "assumed",
    }
    (tmp_path / "epr.yaml").write_text(yaml.safe_dump(own))
    chain = polymer_chain("epr", folders=[tmp_path], seed=1)
    assert Counter(chain.sequence) == {"PP": 5, "EO": 5}
    residue["smiles"] = "[*:1]CCC"
    (tmp_path / "residues" / "pp.yaml").write_text(yaml.safe_dump(residue))
    with pytest.raises(BadFileError, match=r"pp\.yaml.*1 attachment points, needs 2"):
        polymer("EPR", folders=[tmp_path])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: polymer("PVDF-HPF"), "did you mean PVDF-HFP"),
        (lambda: polymer("PVDF", units=0), "units is 0"),
        (lambda: polymer("PVDF", units=2.5), "units is 2.5"),
        (lambda: polymer("PVDF-HFP", hfp_fraction=1.5), "between 0 and 1"),
        (lambda: polymer("PVDF-HFP", hfp_fraction=float("nan")), "between 0 and 1"),
        (lambda: polymer("PVDF-HFP", units=20, hfp_fraction=0.7), "at most 9"),
        (lambda: polymer("PVDF", hfp_fraction=0.1), "one unit only"),
        (lambda: polymer("PVDF-HFP", fractions={"HPF": 0.1}), "did you mean HFP"),
        (lambda: polymer("PVDF", sequence="VDF VFD"), "did you mean .*VDF"),
        (lambda: polymer("PVDF", sequence="VDF*0"), "repeats nothing"),
        (lambda: polymer("PVDF", sequence=""), "is empty"),
        (lambda: polymer("PVDF", tacticity="tactic"), "isotactic, syndiotactic"),
        (lambda: polymer("PVDF", head="CC"), "needs 1"),
        (lambda: polymer("PVDF", mn_g_mol=-1), "positive"),
        (lambda: polymer("PVDF", mn_g_mol=1000, units=4), "one of them"),
        (lambda: polymer("PVDF", mn_g_mol=1000, dispersity=0.5), "dispersity"),
        (lambda: polymer("PVDF", units=4, dispersity=1.5), r"--mn"),
        (lambda: polymer("PEO", mn_g_mol=20), r"below that of one unit; give at least 44\.1 g/mol"),
        (lambda: polymer("PVDF", units=6, head_head_fraction=0.9), "lower the head-head"),
        (lambda: polymer("Pebax", units=3), "too few"),
        (lambda: polymer("PVDF", sequence="blocks"), "has no blocks"),
        (lambda: polymer("[*:1]CC"), "1 attachment points, needs 2"),
        (lambda: polymer("[*:1]C[*:2]C[*:3]"), "cannot read|attachment points"),
        (lambda: polymer("[*:1]CC[*:1]"), r"need the numbers 1 \(head\) and 2 \(tail\), not 1 and 1"),
        (lambda: polymer("[*:2]CC[*]"), "not none and 2"),
        (lambda: polymer("[*:1]=CC[*:2]"), "single bond"),
        (lambda: polymer("[*:1]CC#CC[*:2]", units=3), "straight"),
        (lambda: polymer("[*:1]C(X[*:2]"), "cannot read"),
        (lambda: polymer("[*:1][*:2]"), "attachment points are bonded|single bond|no atoms"),
        (lambda: polymer("[*:1]CC(O[C@H](C)CC)[*:2]"), "off the backbone"),
        (lambda: find_residue("VDX"), "did you mean VDF"),
        (lambda: Polymer("x"), "either units or blocks"),
        (lambda: parse_sequence("VDF*999999"), "from 1 to"),
    ],
)
def test_mistakes_are_told_in_one_line(call, message):
    with pytest.raises((UnknownNameError, BadOptionError, BadStructureError)) as error:
        call()
    assert re.search(message, one_line(error)), one_line(error)


@given(st.text(max_size=40))
@settings(max_examples=80, deadline=None)
def test_any_smiles_is_a_unit_or_a_user_error(text):
    try:
        unit = unit_of(text)
    except BadOptionError as error:
        assert len(str(error).splitlines()) == 1
    else:
        assert unit.backbone


@given(
    st.recursive(
        st.none() | st.integers() | st.text(max_size=5),
        lambda x: (
            st.lists(x)
            | st.dictionaries(
                st.sampled_from(
                    [
                        "name",
                        "code",
                        "smiles",
                        "torsions",
                        "units",
                        "blocks",
                        "residue",
                        "ends",
                        "length",
                        "source",
                        "grade",
                        "angles_deg",
                    ]
                ),
                x,
            )
        ),
        max_leaves=12,
    )
)
@settings(max_examples=60, deadline=None)
def test_any_file_is_read_or_told(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("own")
    (folder / "residues").mkdir()
    for path in (folder / "a.yaml", folder / "residues" / "b.yaml"):
        path.write_text(yaml.safe_dump(data))
    for call in (list_polymers, list_residues):
        with pytest.raises(BadFileError):
            call([folder])
