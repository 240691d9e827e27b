"""Statistical mechanics of our runs: the integrator, the thermostat and the barostat, by physical_validation."""

import logging

import numpy as np
import pytest

from atomflow.build import build_box, find_recipe
from atomflow.dynamics import engine_input, find_protocol, push_off, run_md
from atomflow.forcefield import parametrise

pytestmark = pytest.mark.slow
pv = pytest.importorskip("physical_validation")
logging.getLogger("pymbar").setLevel(logging.ERROR)

#: Every hydrogen of the 20 molecules of DMF hangs on a bond that SHAKE holds.
ATOMS, HELD = 240, 140
UNITS = {
    "kb": 0.0019872043, "energy_conversion": 4.184, "length_conversion": 0.1, "volume_conversion": 1e-3,
    "temperature_conversion": 1.0, "pressure_conversion": 1.01325, "time_conversion": 1e-3,
}  # fmt: skip
#: Standard deviations by which an estimate may be off.
SIGMAS = 3.5


@pytest.fixture(scope="module")
def liquid():
    return push_off(parametrise(build_box(find_recipe("dmf"), atoms=ATOMS, seed=2).box), seed=2)


@pytest.fixture(scope="module")
def model(liquid):
    return engine_input(liquid, cutoff_A=7.0)


def simulation(result, ensemble, timestep_fs=2.0, **at):
    table = result.thermo("production")
    kinetic, potential = table["kinetic_kcal_per_mol"], table["potential_kcal_per_mol"]
    total, volume = kinetic + potential, table["volume_A3"]
    if ensemble != "NPT":
        at["volume"] = volume[0]
    return pv.data.SimulationData(
        units=pv.data.UnitData(**UNITS),
        dt=timestep_fs,
        system=pv.data.SystemData(natoms=ATOMS, nconstraints=HELD, ndof_reduction_tra=3, ndof_reduction_rot=0),
        ensemble=pv.data.EnsembleData(ensemble, natoms=ATOMS, **at),
        observables=pv.data.ObservableData(
            kinetic_energy=kinetic, potential_energy=potential, total_energy=total, volume=volume,
            constant_of_motion=total if ensemble == "NVE" else None,
        ),
    )  # fmt: skip


def test_energy_is_kept_the_better_the_shorter_the_step(liquid, tmp_path):
    """The fluctuation of the total energy falls as the square of the step, as it must for a symplectic integrator."""
    tight = engine_input(liquid, cutoff_A=7.0, kspace_accuracy=1e-6, shift=True)
    runs = []
    for step in (0.5, 1.0, 2.0):
        result = run_md(
            tight, find_protocol("none", temperature_K=298.15, longest_ps=1.0), tmp_path / f"{step}", time_ps=4.0,
            ensemble="nve", timestep_fs=step, shake=True, table_spacing_ps=0.01, frame_spacing_ps=1.0,
        )  # fmt: skip
        table = result.thermo("production")
        runs.append(simulation(result, "NVE", step, energy=table["total_kcal_per_mol"][0]))
        assert abs(result.stages[-1].energy_drift_kcal_per_mol_atom_ns) < 0.5
    spread = [np.std(run.observables.total_energy) for run in runs]
    assert 2.5 < spread[2] / spread[1] < 6.5
    assert 2.5 < spread[1] / spread[0] < 6.5
    assert pv.integrator.convergence(runs, verbose=False) < 0.5


@pytest.fixture(scope="module")
def states(model, tmp_path_factory):
    """Two states each at constant volume and at constant pressure."""
    place = tmp_path_factory.mktemp("states")
    start = find_protocol("quick", temperature_K=298.15)
    first = run_md(model, start, place / "nvt-298", time_ps=60.0, frame_spacing_ps=1.0)
    assert first.finished

    def beside(name, heat, pressure, ensemble):
        protocol = find_protocol("quick", temperature_K=heat, pressure_atm=pressure)
        return run_md(model, protocol, place / name, time_ps=60.0, temperature_K=heat, pressure_atm=pressure,
                      ensemble=ensemble, frame_spacing_ps=1.0)  # fmt: skip

    return {
        "npt-298": beside("npt-298", 298.15, 1.0, "npt"),
        "npt-325": beside("npt-325", 325.0, 800.0, "npt"),
        "nvt-298": first,
    }


@pytest.mark.parametrize("name", ["nvt-298", "npt-298", "npt-325"])
def test_the_kinetic_energy_is_distributed_as_it_must_be(states, name):
    heat = 325.0 if name.endswith("325") else 298.15
    at = {"temperature": heat} | ({"pressure": 1.0 if heat < 300 else 800.0} if name.startswith("npt") else {})
    run = simulation(states[name], name[:3].upper(), **at)
    mean, width = pv.kinetic_energy.distribution(run, strict=False, verbosity=0, bootstrap_seed=1)
    assert mean < SIGMAS
    assert width < SIGMAS


def test_the_barostat_gives_the_isothermal_isobaric_ensemble(states):
    """The ratio of the distributions of energy and volume at two states knows both temperatures and pressures."""
    one = simulation(states["npt-298"], "NPT", temperature=298.15, pressure=1.0)
    other = simulation(states["npt-325"], "NPT", temperature=325.0, pressure=800.0)
    off = pv.ensemble.check(one, other, verbosity=0, bootstrap_seed=1)
    assert max(off) < SIGMAS
