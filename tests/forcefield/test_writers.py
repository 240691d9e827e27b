"""The files of a system, as the programs they are for read them."""

import dataclasses
import subprocess

import numpy as np
import pytest

from atomflow.errors import BadOptionError, BadStructureError, OutputError
from atomflow.forcefield.energies import lammps_energies, openmm_energies
from atomflow.forcefield.gromacs_files import write_gromacs
from atomflow.forcefield.lammps_files import write_lammps
from atomflow.forcefield.structure_files import write_extxyz, write_gro, write_pdb
from atomflow.lammps import find_lammps, read_log, run_lammps
from atomflow.model import CosineTerm, Notice, PairTerm
from atomflow.trajectory.datafile import read_data_file


@pytest.fixture(scope="module")
def boxes(by_hand):
    """A box at a third of its density, and the same with a particle in a skew cell."""
    return {"plain": by_hand.liquid(spacing=8.0), "skew": by_hand.liquid(spacing=8.0, skew=True, with_ball=True)}


@pytest.mark.parametrize("which", ["plain", "skew"])
def test_plain_lammps_runs_what_was_written(boxes, tmp_path, which):
    system = boxes[which]
    files = write_lammps(system, tmp_path, cutoff_A=9.0, seed=3)
    command = [str(find_lammps().path), "-in", "system.in", "-var", "steps", "200"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout[-1000:]
    # With a particle LAMMPS says what test_energies measures: the constant that stays in the reciprocal sum.
    told = [
        line for line in done.stdout.splitlines() if "WARNING" in line and "exclusions used with KSpace" not in line
    ]
    assert not told
    assert files.warnings == () and (tmp_path / "final.data").is_file()
    minimised, moved = read_log(tmp_path / "log.lammps").tables
    assert minimised["PotEng"][-1] < minimised["PotEng"][0] and moved.finished
    assert moved["Step"][-1] == 200 and 100 < moved["Temp"][-1] < 500
    final = read_data_file(tmp_path / "final.data")
    where = final.positions + final.images @ final.cell
    start = read_data_file(files.data).positions
    for molecule in system.held:
        atoms = system.box.molecule_of_atom == molecule
        assert np.linalg.norm(where[atoms] - start[atoms], axis=1).max() > 1e-3  # it moves,
        assert np.allclose(distances(where[atoms]), distances(start[atoms]), atol=1e-6)  # as one body


def test_a_tethered_particle_shakes_and_stays(boxes, tmp_path):
    system = boxes["skew"]
    files = write_lammps(system, tmp_path, cutoff_A=9.0, seed=3, particle="tethered")
    command = [str(find_lammps().path), "-in", "system.in", "-var", "steps", "200"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout[-1000:]
    final = read_data_file(tmp_path / "final.data")
    where, start = final.positions + final.images @ final.cell, read_data_file(files.data).positions
    atoms = np.isin(system.box.molecule_of_atom, system.held)
    assert 1e-3 < np.linalg.norm(where[atoms] - start[atoms], axis=1).max() < 1.0
    assert not np.allclose(distances(where[atoms]), distances(start[atoms]), atol=1e-3)


def test_another_kind_of_particle_is_refused(boxes, tmp_path):
    with pytest.raises(BadOptionError, match="rigid or tethered"):
        write_lammps(boxes["skew"], tmp_path, particle="loose")


def distances(positions):
    return np.linalg.norm(positions[:, None] - positions[None], axis=2)


@pytest.mark.parametrize("which", ["plain", "skew"])
def test_data_file_read_back(boxes, tmp_path, which):
    system = boxes[which]
    data = read_data_file(write_lammps(system, tmp_path).data)
    assert data.units == "real" and data.style == "full"
    # To the last digit where the cell is not turned.
    assert np.array_equal(data.positions, system.box.positions_A)
    assert np.array_equal(data.charges, system.charges_e)
    assert np.array_equal(data.molecules - 1, system.box.molecule_of_atom)
    assert np.array_equal(data.bonds, system.bonds.atoms)
    assert [data.labels[t] for t in data.types] == [system.types[t].name for t in system.type_of_atom]
    assert np.linalg.det(data.cell) == pytest.approx(system.box.volume_A3)


def test_header_says_what_it_is(by_hand, tmp_path):
    system = dataclasses.replace(
        by_hand.alone(by_hand.dmf()), charge_scale=0.8, warnings=(Notice("odd", "one\nthing $x & more"),)
    )
    files = write_lammps(system, tmp_path)
    head = files.input.read_text().splitlines()[:4]
    assert "1 DMF" in head[0] and "charges of ions x 0.8" in head[1] and "worst grade of a number: secondary" in head[2]
    assert head[3] == "# warning odd: one thing ?x ? more"
    title = files.data.read_text().splitlines()[0]
    assert "made by atomflow" in title and "x 0.8" in title and "worst grade secondary" in title
    text = files.data.read_text()
    assert "# OD-CD-ND-CM [secondary: test table]" in text
    # A torsion known to be zero is written as such.
    assert "1 0.0 1 0.0 # CM-ND-CM-HM" in text or "1 0.0 1 0.0 # HM-CM-ND-CM" in text
    assert files.warnings == system.warnings


def test_a_box_that_is_not_neutral_says_so(by_hand, tmp_path):
    system = by_hand.alone(by_hand.tfsi())
    files = write_lammps(system, tmp_path)
    assert [notice.code for notice in files.warnings] == ["not-neutral"]
    assert "-1.0000 e" in files.warnings[0].text
    run = run_lammps(files.input, tmp_path, variables={"steps": 10})
    assert any("not charge neutral" in warning for warning in run.log.warnings)


def test_without_charges_there_is_no_ewald_sum(by_hand, tmp_path):
    system = by_hand.alone(by_hand.propane(), by_hand.propane(), apart_A=2.0)
    system = dataclasses.replace(system, charges_e=np.zeros(len(system)))
    files = write_lammps(system, tmp_path)
    assert "kspace" not in files.input.read_text()
    assert run_lammps(files.input, tmp_path, variables={"steps": 10}).log.finished
    assert lammps_energies(system, cutoff_A=12.0).coulomb == 0


def test_only_particles(by_hand, tmp_path):
    files = write_lammps(by_hand.alone(by_hand.ball(), by_hand.ball(), apart_A=4.0), tmp_path)
    assert run_lammps(files.input, tmp_path, variables={"steps": 20}).log.finished


def test_impropers_of_several_cosines(by_hand):
    """Each becomes an improper of its own in LAMMPS."""
    system = by_hand.alone(by_hand.dmf())
    many = tuple(
        CosineTerm(term.classes, ((1.1, 2, 180.0), (0.3, 3, 180.0)), term.origin) for term in system.impropers.terms
    )
    system = dataclasses.replace(system, impropers=dataclasses.replace(system.impropers, terms=many))
    lammps = lammps_energies(system)
    assert lammps.improper == pytest.approx(openmm_energies(system).improper, abs=1e-9) and lammps.improper > 0.3


def test_an_improper_cvff_cannot_hold(by_hand, tmp_path):
    system = by_hand.alone(by_hand.dmf())
    odd = tuple(CosineTerm(term.classes, ((1.0, 2, 90.0),), term.origin) for term in system.impropers.terms)
    system = dataclasses.replace(system, impropers=dataclasses.replace(system.impropers, terms=odd))
    with pytest.raises(BadStructureError, match="0 and 180 only"):
        write_lammps(system, tmp_path)


def gromacs_energy(top, positions_A):
    """Total as OpenMM's own reader of GROMACS topologies has it, kcal/mol."""
    openmm = pytest.importorskip("openmm")
    from openmm import app, unit

    model = app.GromacsTopFile(str(top)).createSystem(nonbondedMethod=app.NoCutoff, removeCMMotion=False)
    return energy_of(openmm, unit, model, positions_A)


def parmed_energy(top, positions_A):
    """Total as ParmEd has it, kcal/mol."""
    openmm = pytest.importorskip("openmm")
    parmed = pytest.importorskip("parmed")
    from openmm import app, unit

    model = parmed.load_file(str(top)).createSystem(nonbondedMethod=app.NoCutoff, removeCMMotion=False)
    return energy_of(openmm, unit, model, positions_A)


def energy_of(openmm, unit, model, positions_A):
    context = openmm.Context(model, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName("Reference"))
    context.setPositions(positions_A / 10 * unit.nanometer)
    return context.getState(getEnergy=True).getPotentialEnergy().value_in_unit(unit.kilocalorie_per_mole)


@pytest.mark.parametrize("which", ["DMF", "Li-TFSI", "Zn-DMF", "exceptions", "particle", "box"])
def test_gromacs_topology(by_hand, tmp_path, which):
    h = by_hand
    system = {
        "DMF": lambda: h.alone(h.dmf()),
        "Li-TFSI": lambda: h.alone(h.ion("Li+", 1.0), h.tfsi(), apart_A=1.5),
        "Zn-DMF": lambda: h.alone(h.ion("Zn2+", 2.0), h.dmf(), apart_A=1.5),
        "exceptions": lambda: h.alone(
            h.ion("Li+", 1.0), h.dmf(), apart_A=1.5,
            pairs=(PairTerm(("Li", "OD"), 0.05, 2.4, h.TABLE), PairTerm(("HM", "OD"), 0.05, 2.4, h.TABLE)),
        ),
        "particle": lambda: h.alone(h.ball(), h.dmf(), apart_A=2.0),
        "box": lambda: h.liquid(),
    }[which]()  # fmt: skip
    files = write_gromacs(system, tmp_path)
    whole = openmm_energies(system).total
    assert gromacs_energy(files.top, system.box.positions_A) == pytest.approx(whole, abs=1e-8)
    if which not in ("exceptions", "particle"):  # ParmEd 4.3 loses exclusions and mixes exceptions arithmetically
        assert parmed_energy(files.top, system.box.positions_A) == pytest.approx(whole, abs=1e-8)


def test_gro_read_back(boxes, tmp_path):
    mda = pytest.importorskip("MDAnalysis")
    system = boxes["skew"]
    files = write_gromacs(system, tmp_path)
    app = pytest.importorskip("openmm.app")
    from openmm import unit

    gro = app.GromacsGroFile(str(files.gro))
    assert np.allclose(gro.getPositions(asNumpy=True).value_in_unit(unit.angstrom), system.box.positions_A, atol=1e-8)
    universe = mda.Universe(str(files.gro))
    assert universe.dimensions == pytest.approx(system.universe.dimensions, abs=1e-3)
    assert list(universe.residues.resnames) == [name[:5] for name in system.box.residues[1]]


def test_a_kind_whose_molecules_differ_has_no_gromacs_topology(by_hand, tmp_path):
    system = by_hand.liquid()
    charges = system.charges_e.copy()
    charges[0] += 0.1
    with pytest.raises(BadStructureError, match=r"molecules of DMF differ .* make them different kinds") as caught:
        write_gromacs(dataclasses.replace(system, charges_e=charges), tmp_path)
    assert "\n" not in str(caught.value)


def test_pdb_has_bonds_residues_and_cell(boxes, tmp_path):
    mda = pytest.importorskip("MDAnalysis")
    system = boxes["skew"]
    universe = mda.Universe(str(write_pdb(system, tmp_path / "box.pdb")))
    assert np.array_equal(np.sort(universe.bonds.indices), np.sort(system.bonds.atoms)) or {
        frozenset(bond) for bond in universe.bonds.indices.tolist()
    } == {frozenset(bond) for bond in system.bonds.atoms.tolist()}
    assert universe.dimensions == pytest.approx(system.universe.dimensions, abs=0.01)
    assert np.allclose(universe.atoms.positions, system.box.positions_A, atol=6e-4)
    assert list(universe.residues.resnames) == [name[:4] for name in system.box.residues[1]]


def test_extxyz_keeps_charges_and_molecules(boxes, tmp_path):
    from ase.io import read

    system = boxes["skew"]
    atoms = read(write_extxyz(system, tmp_path / "box.xyz"), format="extxyz")
    assert np.allclose(atoms.get_initial_charges(), system.charges_e)
    assert np.array_equal(atoms.arrays["molecule"], system.box.molecule_of_atom)
    assert np.allclose(atoms.cell, system.box.cell_A) and atoms.info["forcefield"] == "opls-clp"
    assert (
        write_extxyz(system.box, tmp_path / "bare.xyz").is_file()
        and write_gro(system.box, tmp_path / "b.gro").is_file()
    )


def test_a_place_that_cannot_be_written(by_hand, tmp_path):
    (tmp_path / "taken").write_text("a file")
    system = by_hand.alone(by_hand.dmf())
    for write in (write_lammps, write_gromacs):
        with pytest.raises(OutputError, match="choose another place"):
            write(system, tmp_path / "taken" / "here")


@pytest.mark.parametrize("option", [{"cutoff_A": 0.0}, {"kspace_accuracy": float("nan")}, {"temperature_K": -1.0}])
def test_options_without_sense(by_hand, tmp_path, option):
    with pytest.raises(BadOptionError, match="must be above zero"):
        write_lammps(by_hand.alone(by_hand.dmf()), tmp_path, **option)
