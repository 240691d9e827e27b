"""A LAMMPS data file comes back as a force-field file with the same numbers, whatever the order of its atoms."""

import numpy as np
import pytest
import yaml
from rdkit import Chem

from atomflow import forcefield
from atomflow.build import molecule
from atomflow.errors import BadFileError
from atomflow.model import Box, Molecule

TERMS = ("bond", "angle", "torsion", "lennard_jones", "coulomb")


def box_of(one):
    return Box((one,), np.array([0]), one.atoms.positions, np.eye(3) * 60)


def shuffled(one, seed):
    order = np.random.default_rng(seed).permutation(len(one)).tolist()
    return Molecule(one.name, Chem.RenumberAtoms(one.graph, order), charge=one.charge)


@pytest.mark.parametrize("program", ["lammps", "gromacs"])
@pytest.mark.parametrize("name", ["DMF", "TFSI-", "PVDF-HFP-3", "PEO-3", "N-methylacetamide"])
def test_a_file_comes_back_with_the_same_energies(name, program, tmp_path):
    one = molecule(name)
    system = forcefield.parametrise(box_of(one))
    if program == "lammps":
        forcefield.write_lammps(system, tmp_path / "run")
        text = forcefield.import_lammps(tmp_path / "run" / "system.data", shuffled(one, 3), source="this test")
    else:
        forcefield.write_gromacs(system, tmp_path / "run")
        top = next((tmp_path / "run").glob("*.top"))
        text = forcefield.import_gromacs(top, shuffled(one, 3), source="this test")
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "own.yaml").write_text(text, encoding="utf-8")
    again = forcefield.parametrise(box_of(one), folders=[mine])
    assert all(row["source"] == "this test" for row in forcefield.audit(again))
    assert np.allclose(again.charges_e, system.charges_e)
    before, after = forcefield.openmm_energies(system), forcefield.openmm_energies(again)
    for term in TERMS:
        assert getattr(after, term) == pytest.approx(getattr(before, term), abs=1e-6), term
    # The angle of an improper depends on the order of its neighbours, which is that of our classes.
    assert len(again.impropers) == len(system.impropers)
    assert sorted(t.parts for t in again.impropers.terms) == sorted(t.parts for t in system.impropers.terms)


#: Methanol as LigParGen lays a data file out: opls dihedrals, no word on styles. The numbers are those of ethers.yaml.
METHANOL = """LAMMPS data file

6 atoms
5 bonds

6 atom types

0.0 50.0 xlo xhi

Masses

1 12.011
2 15.999
3 1.008
4 1.008

Pair Coeffs

1 0.066 3.5
2 0.170 3.12
3 0.030 2.5
4 0.0 0.0

Bond Coeffs

1 320.0 1.41
2 340.0 1.09
3 553.0 0.945

Angle Coeffs

1 35.0 109.5
2 33.0 107.8
3 55.0 108.5

Dihedral Coeffs

1 0.0 0.0 0.352 0.0

Atoms

1 1 2 -0.683 0 0 0
2 1 1 0.145 1 0 0
3 1 3 0.04 2 0 0
4 1 3 0.04 2 1 0
5 1 3 0.04 2 0 1
6 1 4 0.418 0 1 0

Bonds

1 1 1 2
2 2 2 3
3 2 2 4
4 2 2 5
5 3 1 6

Angles

1 1 1 2 3
2 1 1 2 4
3 1 1 2 5
4 2 3 2 4
5 2 3 2 5
6 2 4 2 5
7 3 6 1 2

Dihedrals

1 1 6 1 2 3
2 1 6 1 2 4
3 1 6 1 2 5
"""


@pytest.fixture
def methanol(tmp_path):
    def written(*changes):
        text = METHANOL
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        path = tmp_path / "methanol.lmp"
        path.write_text(text, encoding="utf-8")
        return path

    return written


def test_a_ligpargen_like_file_is_read(methanol, tmp_path):
    one = molecule("CO")
    data = yaml.safe_load(forcefield.import_lammps(methanol(), one, source="by hand", grade="analogue"))
    assert len(data["types"]) == 4
    assert data["torsions"][0]["opls"] == [0.0, 0.0, 0.352, 0.0]
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "methanol.yaml").write_text(yaml.safe_dump(data), encoding="utf-8")
    system = forcefield.parametrise(box_of(one), folders=[folder])
    assert system.charge_e == pytest.approx(0, abs=1e-9)
    assert system.grades() == {"analogue": 4 + 1 + 3 + 3 + 1}


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ([("Pair Coeffs", "Pear Coeffs")], "no section Pair Coeffs|does not begin"),
        ([("1 1 2 -0.683", "1 1 2 much")], "charge of atom 1"),
        ([("3 1 3 0.04", "3 1 3 0.09")], "equivalent atoms"),
        ([("5 3 1 6", "5 3 2 6")], "does not hold"),
        ([("1 35.0 109.5", "1 35.0")], "Angle Coeffs: 2 numbers"),
        ([("7 3 6 1 2\n", "")], "has no angle for"),
        ([("Dihedral Coeffs", "Dihedral Coeffs # class2")], "style 'class2'"),
        ([("3 1 6 1 2 5", "3 9 6 1 2 5")], "dihedral type 9 has no coefficients"),
        ([("3 1 6 1 2 5", "3 1 6 1 2 x")], "5 whole numbers"),
        ([("4 1.008", "4 14.0")], "does not hold"),
        ([("LAMMPS data file", "LAMMPS data file via write_data, timestep = 0, units = metal")], "in units metal;"),
        ([("LAMMPS data file", "made by hand, UNITS lj")], "in units lj;"),
        ([("LAMMPS data file\n", "LAMMPS data file\n# units: metal\n")], "in units metal;"),
        ([("Pair Coeffs", "Pair Coeffs # lj/charmm/coul/long")], "Pair Coeffs of style 'lj/charmm/coul/long'"),
        ([("Pair Coeffs", "Pair Coeffs # buck")], "Pair Coeffs of style 'buck'"),
        ([("Dihedral Coeffs", "Dihedral Coeffs # charmm")], "Dihedral Coeffs of style 'charmm'"),
        ([("Atoms", "Atoms # molecular")], "Atoms of style 'molecular'"),
        (
            [("Dihedral Coeffs", "Dihedral Coeffs # fourier"), ("1 0.0 0.0 0.352 0.0", "1 -1 0.176 3 0.0")],
            "Dihedral Coeffs: 1 whole numbers are expected, not '-1",
        ),
        (
            [("Dihedral Coeffs", "Dihedral Coeffs # fourier"), ("1 0.0 0.0 0.352 0.0", "1 0")],
            "fourier needs one part or more, not 0",
        ),
    ],
)
def test_a_file_that_does_not_fit_is_told_in_one_line(methanol, changes, told):
    with pytest.raises(BadFileError, match=told) as caught:
        forcefield.import_lammps(methanol(*changes), molecule("CO"), source="by hand")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("first", "style"),
    [
        ("LAMMPS data file via write_data, units = real", " # lj/cut/coul/long"),
        ("six units of water, less five", " # lj/cut"),
        ("Units: Real", " # lj/cut/coul/long/opt"),
    ],
)
def test_the_units_and_styles_that_are_known_are_read(methanol, first, style):
    path = methanol(("LAMMPS data file", first), ("Pair Coeffs", f"Pair Coeffs{style}"), ("Atoms", "Atoms # full"))
    assert forcefield.import_lammps(path, molecule("CO"), source="by hand")


def test_bromine_is_known_by_its_standard_weight(tmp_path):
    """It is a mixture of two isotopes, so that none of them has it."""
    text = (
        "ions\n\nMasses\n\n1 {}\n2 79.904\n\nPair Coeffs\n\n1 0.1 3.0\n2 0.5 3.5\n\n"
        "Bond Coeffs\n\n1 300.0 1.41\n\nAtoms\n\n1 1 1 0.2 0 0 0\n2 1 2 -0.2 0 0 1.4\n\nBonds\n\n1 1 1 2\n"
    )
    (tmp_path / "hbr.lmp").write_text(text.format("1.008"), encoding="utf-8")
    data = yaml.safe_load(forcefield.import_lammps(tmp_path / "hbr.lmp", molecule("Br"), source="by hand"))
    assert [entry["charge"] for entry in data["types"]] == [0.2, -0.2]


def test_files_that_are_not_there_or_too_bad(tmp_path):
    with pytest.raises(BadFileError, match="cannot be read"):
        forcefield.import_lammps(tmp_path / "none.lmp", molecule("CO"), source="")
    (tmp_path / "bad.lmp").write_bytes(bytes(range(256)) * 20)
    with pytest.raises(BadFileError):
        forcefield.import_lammps(tmp_path / "bad.lmp", molecule("CO"), source="x")


#: Methanol as LigParGen writes an .itp: its own atom types, numbers in kJ/mol and nm, Ryckaert-Bellemans dihedrals.
ITP = """[ atomtypes ]
  opls_800 C800 12.0110 0.000 A 3.50000E-01 2.76144E-01
  opls_801 O801 15.9990 0.000 A 3.12000E-01 7.11280E-01
  opls_802 H802  1.0080 0.000 A 2.50000E-01 1.25520E-01
  opls_803 H803  1.0080 0.000 A 0.00000E+00 0.00000E+00

[ moleculetype ]
; Name nrexcl
MOH 3

[ atoms ]
1 opls_801 1 MOH O00 1 -0.683 15.9990
2 opls_800 1 MOH C01 1  0.145 12.0110
3 opls_802 1 MOH H02 1  0.04   1.0080
4 opls_802 1 MOH H03 1  0.04   1.0080
5 opls_802 1 MOH H04 1  0.04   1.0080
6 opls_803 1 MOH H05 1  0.418  1.0080

[ bonds ]
1 2 1 0.141 267776.0
2 3 1 0.109 284512.0
2 4 1 0.109 284512.0
2 5 1 0.109 284512.0
1 6 1 0.0945 462750.4

[ angles ]
1 2 3 1 109.5 292.88
1 2 4 1 109.5 292.88
1 2 5 1 109.5 292.88
3 2 4 1 107.8 276.144
3 2 5 1 107.8 276.144
4 2 5 1 107.8 276.144
2 1 6 1 108.5 460.24

[ dihedrals ]
6 1 2 3 3 0.736384 2.209152 0.0 -2.945536 0.0 0.0
6 1 2 4 3 0.736384 2.209152 0.0 -2.945536 0.0 0.0
6 1 2 5 3 0.736384 2.209152 0.0 -2.945536 0.0 0.0
"""


def test_a_ligpargen_itp_says_the_same_as_its_data_file(methanol, tmp_path):
    one = molecule("CO")
    (tmp_path / "m.itp").write_text(ITP, encoding="utf-8")
    texts = {
        "gromacs": forcefield.import_gromacs(tmp_path / "m.itp", one, source="by hand"),
        "lammps": forcefield.import_lammps(methanol(), one, source="by hand"),
    }
    energies = {}
    for program, text in texts.items():
        (tmp_path / program).mkdir()
        (tmp_path / program / "own.yaml").write_text(text, encoding="utf-8")
        system = forcefield.parametrise(box_of(one), folders=[tmp_path / program])
        energies[program] = forcefield.openmm_energies(system)
    for term in TERMS:
        one_, other = (getattr(energies[program], term) for program in texts)
        assert one_ == pytest.approx(other, abs=1e-5), term


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("2 1 6 1 108.5 460.24", "2 1", r"line 33 \('2 1', section angles\)"),
        ("1 6 1 0.0945 462750.4", "1 x", r"line 24 \('1 x', section bonds\)"),
        ("-0.683 15.9", "much 15.9", r"line 12 \('1 opls_801 1 MOH O00 1 much 15.9990', section atoms\)"),
        ("2 opls_800", "2 opls_850", "it names 'opls_850', which is not there"),
        ("[ angles ]", '#include "none.itp"\n[ angles ]', "Could not find none.itp"),
    ],
)
def test_a_topology_that_is_none_is_told_with_the_place(tmp_path, old, new, told):
    assert old in ITP
    (tmp_path / "m.itp").write_text(ITP.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(BadFileError, match=f"cannot be read as a GROMACS topology: {told}") as caught:
        forcefield.import_gromacs(tmp_path / "m.itp", molecule("CO"), source="by hand")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("[ moleculetype ]", "[ molecule ]", "moleculetype"),
        ("[ atomtypes ]", "[ defaults ]\n1 2 yes 0.5 0.8333\n\n[ atomtypes ]", "combination rule 2|cannot be read"),
        ("2 1 6 1 108.5 460.24", "2 1 6 1", "no numbers|cannot be read"),
        ("1 6 1 0.0945 462750.4\n", "", "cannot be read|does not hold|does not follow"),
        ("0.04   1.0080\n4", "0.09   1.0080\n4", "equivalent atoms"),
    ],
)
def test_a_topology_that_does_not_fit_is_told_in_one_line(tmp_path, old, new, told):
    assert old in ITP
    (tmp_path / "m.itp").write_text(ITP.replace(old, new), encoding="utf-8")
    with pytest.raises(BadFileError, match=told) as caught:
        forcefield.import_gromacs(tmp_path / "m.itp", molecule("CO"), source="by hand")
    assert "\n" not in str(caught.value)
