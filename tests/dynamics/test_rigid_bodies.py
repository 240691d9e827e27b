"""A particle of oxide among chains, salt and solvent: held rigid, and nothing but rigid."""

import re

import MDAnalysis as mda
import numpy as np
import pytest

from atomflow.build import build_box, find_recipe
from atomflow.dynamics import find_protocol, push_off, run_md
from atomflow.forcefield import parametrise

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def membrane():
    box = build_box(find_recipe("PPLA"), atoms=1400, seed=1).box
    return push_off(parametrise(box, allow_assumed=True), seed=1)


@pytest.fixture(scope="module")
def done(membrane, tmp_path_factory):
    out = tmp_path_factory.mktemp("rigid") / "run"
    protocol = find_protocol("quick", temperature_K=298.15, longest_ps=5.0)
    run_md(membrane, protocol, out, time_ps=4.0, frame_spacing_ps=0.1, cutoff_A=8.0)
    return out


@pytest.fixture(scope="module")
def universe(done):
    return mda.Universe(str(done / "topology.data"), str(done / "production.xtc"))


def test_its_shape_is_that_of_the_crystal(membrane, universe):
    """Neither the barostat nor the way to the mean volume may dilate it."""
    held = np.isin(membrane.box.molecule_of_atom, list(membrane.held))
    body = universe.atoms[held]

    def distances(positions):
        return np.linalg.norm(positions[:, None] - positions[None], axis=2)

    built = distances(membrane.box.positions_A[held])
    for _frame in (universe.trajectory[0], universe.trajectory[-1]):
        np.testing.assert_allclose(distances(body.positions), built, atol=4e-3)


def test_it_turns_and_the_box_stays(membrane, universe):
    held = np.isin(membrane.box.molecule_of_atom, list(membrane.held))
    body = universe.atoms[held]
    paths = np.array([[body.center_of_mass(), universe.atoms.center_of_mass()] for _frame in universe.trajectory])
    body_A, box_A = np.abs(paths - paths[0]).max(axis=(0, 2))
    assert box_A < 0.02
    assert body_A > 5 * box_A
    np.testing.assert_allclose(universe.trajectory.n_frames, 41)


def test_coulombs_sum_is_split_alike_at_every_volume(done):
    """Otherwise the energy jumps with the volume, as pairs within the body are in one part of the sum only."""
    splittings = {
        found
        for log in done.glob("stages/*/attempt-*.log")
        for found in re.findall(r"G vector \(1/distance\) = ([\d.]+)", log.read_text())
    }
    assert len(splittings) == 1
