"""What this package types and writes itself has the same energy in LAMMPS, in OpenMM and through a GROMACS topology."""

import dataclasses

import numpy as np
import pytest

from atomflow import build
from atomflow.dynamics import push_off, shortest_contact
from atomflow.forcefield import (
    lammps_energies,
    openmm_energies,
    parametrise,
    write_gromacs,
    write_lammps,
)
from atomflow.forcefield.pairing import COULOMB_LAMMPS, COULOMB_OPENMM
from atomflow.lammps import run_lammps
from atomflow.model import Box

pytest.importorskip("openmm")

MODELS = {
    "DMF": lambda: [build.molecule("DMF")],
    "TFSI-": lambda: [build.molecule("TFSI-")],
    "Li-TFSI": lambda: [build.molecule("Li+"), build.molecule("TFSI-")],
    "Zn-DMF": lambda: [build.molecule("Zn2+"), build.molecule("DMF")],
    "PVDF-HFP": lambda: [build.polymer("pvdf-hfp", units=6, hfp_fraction=0.34, seed=1)],
    "Pebax": lambda: [build.polymer("pebax", units=4, seed=1)],
    "PEO": lambda: [build.polymer("peo", units=5, seed=1)],
}


def beside(molecules, apart_A=2.0):
    """Molecules in a row along x, each in its own shape."""
    positions, shift = [], 0.0
    for one in molecules:
        here = one.graph.GetConformer().GetPositions()
        positions.append(here - here.min(axis=0) + [shift, 0.0, 0.0])
        shift = positions[-1][:, 0].max() + apart_A
    return Box(tuple(molecules), np.arange(len(molecules)), np.concatenate(positions), np.eye(3) * 100.0)


@pytest.mark.parametrize("which", MODELS)
def test_three_programs_agree(which, tmp_path):
    from openmm import Context, Platform, VerletIntegrator, app, unit

    system = parametrise(beside(MODELS[which]()), allow_assumed=True)
    rng = np.random.default_rng(5)
    system = system.moved(system.box.positions_A + rng.normal(0, 0.03, (len(system), 3)))
    if which == "PVDF-HFP":
        assert "HFP" in system.box.residues[1]
    lammps, openmm = lammps_energies(system), openmm_energies(system)
    whole = openmm.total
    # The issue asks for 1e-4 kcal/mol; with the constants of Coulomb's law aside, they agree to 1e-8.
    for name, value in lammps.to_dict().items():
        assert value == pytest.approx(openmm.to_dict()[name], abs=1e-5), name
    openmm = dataclasses.replace(openmm, coulomb=openmm.coulomb * COULOMB_LAMMPS / COULOMB_OPENMM)
    assert lammps.to_dict() == pytest.approx(openmm.to_dict(), abs=1e-8)
    top = app.GromacsTopFile(str(write_gromacs(system, tmp_path).top))
    model = top.createSystem(nonbondedMethod=app.NoCutoff, removeCMMotion=False)
    context = Context(model, VerletIntegrator(0.001), Platform.getPlatformByName("Reference"))
    context.setPositions(system.box.positions_A / 10 * unit.nanometer)
    energy = context.getState(getEnergy=True).getPotentialEnergy().value_in_unit(unit.kilocalorie_per_mole)
    assert energy == pytest.approx(whole, abs=1e-8)


def scattered(kinds, counts, seed, grid, spacing):
    """Molecules at random places of a grid, turned at random."""
    from scipy.spatial.transform import Rotation

    rng = np.random.default_rng(seed)
    molecules = np.repeat(np.arange(len(kinds)), counts)
    places = rng.permutation(np.array(list(np.ndindex(grid, grid, grid))))[: len(molecules)] * spacing
    positions = []
    for kind, place in zip(molecules, places, strict=True):
        here = kinds[kind].graph.GetConformer().GetPositions()
        positions.append(Rotation.random(random_state=rng).apply(here - here.mean(axis=0)) + place)
    return Box(tuple(kinds), molecules, np.concatenate(positions), np.eye(3) * grid * spacing)


@pytest.fixture(scope="module")
def membrane():
    """A short PVDF-HFP chain, LiTFSI and DMF, pushed off; about 600 atoms."""
    kinds = [
        build.polymer("pvdf-hfp", units=8, hfp_fraction=0.2, seed=2),
        *map(build.molecule, ("DMF", "Li+", "TFSI-")),
    ]
    box = scattered(kinds, [4, 22, 6, 6], 1, 4, 7.0)
    system = parametrise(box, allow_assumed=True)
    assert shortest_contact(system)[0] < 1.0
    return push_off(system, seed=1)


def test_a_membrane_is_pushed_off(membrane):
    assert shortest_contact(membrane)[0] > 1.6
    assert not build.pierced_rings(membrane.box.bonds, membrane.box.positions_A, membrane.box.cell_A)
    assert abs(membrane.charge_e) < 1e-9


def test_a_membrane_in_its_box(membrane):
    lammps = lammps_energies(membrane, cutoff_A=10.0)
    openmm = openmm_energies(membrane, cutoff_A=10.0, ewald_tolerance=1e-6)
    for name, value in lammps.to_dict().items():
        assert value == pytest.approx(openmm.to_dict()[name], rel=1e-5), name


@pytest.mark.slow
def test_a_membrane_runs_a_picosecond(membrane, tmp_path):
    log = run_lammps(write_lammps(membrane, tmp_path, cutoff_A=10.0).input, tmp_path).log
    assert log.finished and not log.warnings
    minimised, moved = log.tables
    assert minimised["PotEng"][-1] < minimised["PotEng"][0]
    assert moved["Step"][-1] == 1000 and 250 < moved["Temp"][-3:].mean() < 350
    assert np.isfinite(moved.values).all()
