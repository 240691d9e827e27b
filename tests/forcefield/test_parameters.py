"""Our numbers beside files of installed packages, read here: moltemplate's OPLS-AA 2024, OpenMM's ions, RDKit's UFF.

No installed package was found that holds TFSI- as a molecule; its Lennard-Jones numbers are those of OPLS types and are
compared as such, its charges and bonded terms by their sums and by hand-converted units only.
"""

import math
import re
from collections import defaultdict
from importlib.util import find_spec
from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml

from atomflow.forcefield import find_parameters
from atomflow.library import library_folder

FOLDER = library_folder("structures") / "forcefields" / "opls-clp"
FILES = sorted(FOLDER.glob("*.yaml"))
#: Our classes that mean one of OPLS's.
OPLS = {"F": "F~", "FM": "F~", "C~e": "C~", "O~e": "O~", "C~a": "C~", "O~a": "O~"}


@pytest.fixture(scope="module")
def moltemplate():
    """(types: number -> (class, charge, epsilon, sigma), terms: kind -> [(patterns, numbers)]) of oplsaa2024.lt."""
    package = find_spec("moltemplate")
    if package is None:
        pytest.skip("moltemplate is not here")
    path = Path(package.submodule_search_locations[0]) / "force_fields" / "oplsaa2024.lt"
    charges, pairs, terms = {}, {}, defaultdict(list)
    for line in path.read_text(encoding="utf-8").splitlines():
        if match := re.match(r"\s*set type @atom:(\d+)\s+charge\s+(\S+)", line):
            charges[int(match[1])] = float(match[2])
        elif match := re.match(r"\s*pair_coeff @atom:(\d+)_b(\S+?)_a\S+ \S+ (\S+) (\S+)", line):
            pairs[int(match[1])] = (match[2], float(match[3]), float(match[4]))
        elif match := re.match(r"\s*(bond|angle|dihedral|improper)_coeff @\w+:(\S+?)(?:__\d+)? ([-\d. ]+)", line):
            terms[match[1]].append((match[2].split("_"), [float(x) for x in match[3].split()]))
    types = {n: (pairs[n][0], charges[n], *pairs[n][1:]) for n in pairs if n in charges}
    assert len(types) > 900 and len(terms["dihedral"]) > 1000
    return types, terms


def _entries(section, source="moltemplate"):
    found = []
    for path in FILES:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
        for entry in data.get(section, []):
            if source in data["sources"][entry["source"]] and entry["grade"] == "secondary":
                found.append(pytest.param(entry, id=f"{path.stem}-{entry.get('name') or entry['classes']}"))
    return found


def _numbered():
    found = []
    for path in FILES:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
        for entry in data.get("types", []):
            if match := re.search(r"type (\d+)", entry.get("note", "")):
                found.append(pytest.param(entry, int(match[1]), id=f"{path.stem}-{entry['name']}"))
    return found


@pytest.mark.parametrize(("entry", "number"), _numbered())
def test_types_are_those_of_the_opls_table(entry, number, moltemplate):
    class_, charge, epsilon, sigma = moltemplate[0][number]
    assert entry["epsilon"] == epsilon and entry["sigma"] == sigma
    if entry.get("charge_grade") != "assumed":
        assert entry["charge"] == charge
        assert OPLS.get(entry["class"], entry["class"]) in (class_, class_.rstrip("~"))


def _fits(pattern, name):
    return pattern == "€€" or re.fullmatch(re.escape(pattern).replace("€", "."), name) is not None


def _values(terms, kind, classes):
    wanted = [OPLS.get(name, name) for name in classes]
    return [
        numbers
        for patterns, numbers in terms[kind]
        for order in (wanted, wanted[::-1])
        if all(name == "X" or _fits(pattern, name) for pattern, name in zip(patterns, order, strict=True))
    ]


@pytest.mark.parametrize("entry", [*_entries("bonds"), *_entries("angles")])
def test_bonds_and_angles_are_those_of_the_opls_table(entry, moltemplate):
    classes = entry["classes"].split("-")
    kind = "bond" if len(classes) == 2 else "angle"
    assert [entry["k"], entry.get("r0", entry.get("theta0"))] in _values(moltemplate[1], kind, classes)


@pytest.mark.parametrize("entry", _entries("torsions"))
def test_torsions_are_those_of_the_opls_table(entry, moltemplate):
    numbers = [*entry["opls"], 0.0, 0.0, 0.0, 0.0][:4]
    assert numbers in _values(moltemplate[1], "dihedral", entry["classes"].split("-"))


@pytest.mark.parametrize("entry", _entries("impropers"))
def test_impropers_are_those_of_the_opls_table(entry, moltemplate):
    centre = OPLS.get(entry["classes"].split("-")[0], entry["classes"].split("-")[0])
    found = [numbers for patterns, numbers in moltemplate[1]["improper"] if patterns[0] == centre]
    if "opls" in entry:
        assert entry["opls"] == [] and not found
    else:
        # K (1 - cos 2 phi)
        assert [entry["one_minus_cos"][1], -1.0, 2.0] in found and entry["one_minus_cos"][0] == 0


def test_lennard_jones_of_tfsi_are_those_of_opls_types(moltemplate):
    types = find_parameters().types
    of = {"tfsi_N": 238, "tfsi_O": 236, "tfsi_C": 961, "tfsi_F": 965, "tfsi_S": 493}
    for name, number in of.items():
        assert (types[name].epsilon_kcal_per_mol, types[name].sigma_A) == moltemplate[0][number][2:]


def test_lithium_and_sodium_have_the_numbers_of_the_opls_elements(moltemplate):
    """The table's generic types 3 and 11 are Aqvist's, rounded."""
    types = find_parameters().types
    for name, number in (("Li+", 3), ("Na+", 11)):
        _class, _charge, epsilon, sigma = moltemplate[0][number]
        assert types[name].sigma_A == sigma
        assert types[name].epsilon_kcal_per_mol == pytest.approx(epsilon, abs=5e-4)
    for name, number in (("Li+", 1106), ("Na+", 1107), ("K+", 1108)):
        assert types[name].epsilon_kcal_per_mol == moltemplate[0][number][2]


def test_merz_ions_are_those_of_openmm():
    package = find_spec("openmm")
    if package is None:
        pytest.skip("OpenMM is not here")
    path = Path(package.submodule_search_locations[0]) / "app" / "data" / "amber14" / "spce.xml"
    found = {
        atom.get("type").split("-")[-1]: (float(atom.get("epsilon")) / 4.184, float(atom.get("sigma")) * 10)
        for atom in ElementTree.parse(path).iterfind(".//NonbondedForce/Atom")
    }
    one, other = find_parameters().types, find_parameters("opls-clp+oxides-b").types
    for rule, ion in ((one["oxide_Al"], "Al3+"), (other["oxide_La"], "La3+"), (other["oxide_Zr"], "Zr4+")):
        assert (rule.epsilon_kcal_per_mol, rule.sigma_A) == pytest.approx(found[ion], rel=2e-4)


def test_uff_numbers_are_those_built_into_rdkit():
    package = find_spec("rdkit")
    libraries = list(Path(package.submodule_search_locations[0]).parent.glob("rdkit*/**/*RDKitForceField-*"))
    if not libraries:
        pytest.skip("RDKit keeps its UFF table elsewhere")
    table = {}
    for row in re.findall(rb"\n(O_3|Li|Zr3\+4|La3\+3|Ta3\+5|Zn3\+2)\t([^\n]+)\n", libraries[0].read_bytes()):
        numbers = [float(x) for x in row[1].split()]
        table[row[0].decode()] = (numbers[3], numbers[2] / 2 ** (1 / 6))
    zinc = table.pop("Zn3+2")
    types = find_parameters().types
    names = {"O_3": "oxide_O", "Li": "oxide_Li", "Zr3+4": "oxide_Zr", "La3+3": "oxide_La", "Ta3+5": "oxide_Ta"}
    assert set(table) == set(names)
    for key, name in names.items():
        assert (types[name].epsilon_kcal_per_mol, types[name].sigma_A) == pytest.approx(table[key], rel=1e-4)
    mixed = [math.sqrt(a * b) for a, b in zip(zinc, table["O_3"], strict=True)]
    assert find_parameters().terms["pairs"]["Zn2+", "oxide_O"].numbers == pytest.approx(mixed, rel=1e-3)


def test_clp_constants_are_half_of_those_in_kilojoules():
    """CL&P prints k/2 (x - x0)^2 in kJ/mol; the whole numbers come back."""
    terms = find_parameters().terms
    kilojoules = {
        ("bonds", ("NB", "SB")): 3137,
        ("bonds", ("OB", "SB")): 5331,
        ("bonds", ("CFB", "SB")): 1950,
        ("bonds", ("CFB", "FB")): 3698,
        ("angles", ("SB", "NB", "SB")): 671,
        ("angles", ("OB", "SB", "OB")): 969,
    }
    for (kind, classes), value in kilojoules.items():
        assert terms[kind][classes].numbers[0] * 2 * 4.184 == pytest.approx(value, rel=1e-5)


def test_pvdf_charges_are_the_published_ones():
    """Neutral groups and 0.0794 e for each bond between CH and CF make the charges of the published set."""
    parameters = find_parameters()
    moved = parameters.terms["bond_charges"][("CVF", "CVH")].numbers[0]
    charge = {name: rule.charge_e for name, rule in parameters.types.items()}
    assert charge["pvdf_CH2"] - 2 * moved == pytest.approx(-0.5202, abs=1e-9)
    assert charge["pvdf_CF2"] + 2 * moved == pytest.approx(0.6120, abs=1e-9)
    assert charge["pvdf_CH3"] - moved == pytest.approx(-0.6215, abs=1e-9)
    assert charge["pvdf_CF3"] + moved == pytest.approx(0.7592, abs=1e-9)


def test_every_number_has_a_source_and_no_class_is_unknown():
    parameters = find_parameters("opls-clp+tfsi-2025+oxides-b")
    classes_known = {rule.class_ for rule in parameters.types.values()} | {"X"}
    for kind, table in parameters.terms.items():
        known = set(parameters.types) if kind == "pairs" else classes_known
        for classes, rule in table.items():
            assert rule.origin.source
            assert set(classes) <= known, classes
