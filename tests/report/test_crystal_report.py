"""The report of built crystals: what it says is what the models are."""

import dataclasses
import io
import json

import numpy as np
import pytest
from ase import Atoms
from ase.io import read
from PIL import Image

from atomflow.build import order, particle, rescore, slab
from atomflow.report.crystal_report import crystal_outcome, summary
from atomflow.report.pictures import picture


@pytest.fixture(scope="module")
def garnet():
    return order("LLZTO", cell="primitive", seeds=2, sweeps=30, keep=2)


@pytest.fixture(scope="module")
def face():
    return slab("LiF", (1, 1, 0), seeds=2, sweeps=200, keep=2)


@pytest.fixture(scope="module")
def ball():
    return particle("LiF", atoms=64, seeds=3, sweeps=200, keep=2)


@pytest.mark.parametrize("kind", ["garnet", "face", "ball"])
def test_rows_are_the_models(kind, request):
    models = request.getfixturevalue(kind)
    outcome = crystal_outcome(models, with_pictures=False)
    table = outcome.report.tables[0]
    keys = [column.key for column in table.columns]
    assert len(table.rows) == len(models.models) == len(outcome.report.views)
    for row, model in zip(table.rows, models.models, strict=True):
        assert row["formula"] == model.formula and row["atoms"] == len(model.atoms)
        assert row["electrostatic_eV"] == model.electrostatic_eV and row["found_by"] == model.found_by
        if model.dipole_eA is not None:
            charges = model.atoms.get_initial_charges()
            dipole = charges @ model.atoms.positions
            dipole = dipole[2:] if kind == "face" else dipole
            assert row["dipole_eA"] == pytest.approx(np.linalg.norm(dipole), abs=1e-6)
    assert ("area_A2" in keys) == (kind == "face")
    assert ("radius_A" in keys) == (kind == "ball")
    assert ("degeneracy" in keys) == (kind == "garnet")
    assert "rescored_eV" not in keys
    assert outcome.results["models"][0] is models
    assert models.method in outcome.report.method
    json.dumps(models.to_dict(), allow_nan=False)


def test_the_summary_says_how_sure_it_is(garnet, face, ball):
    for models in (garnet, face, ball):
        text = summary(models)
        best = models.models[0]
        assert best.formula in text
        assert (f"lowest of {models.seeds} centres" if models is ball else f"{models.hits} of ") in text
        assert models.grade in text and "charge +0" in text
    assert "dipole" in summary(face) and "radius" in summary(ball) and "dipole" not in summary(garnet)


def test_the_neighbour_of_a_composition_is_a_warning_of_the_report(garnet):
    report = crystal_outcome(garnet, with_pictures=False).report
    assert any(notice.code == "nearest-composition" for notice in report.warnings)
    cells = report.tables[1]
    assert [row["exact"] for row in cells.rows] == [False] * 4 + [True]
    assert cells.rows[-1]["atoms"] == 468
    for row in cells.rows:
        assert row["formula_units"] == 4 * row["primitive_cells"]


def test_files_hold_the_models(face, ball, garnet):
    for models, suffix in ((garnet, ".cif"), (face, ".pdb"), (ball, ".extxyz")):
        files = crystal_outcome(models, with_pictures=False).attachments
        for model in models.models:
            name = f"models/{model.name}{suffix}"
            assert name in files
            kind = {".cif": "cif", ".pdb": "proteindatabank", ".extxyz": "extxyz"}[suffix]
            back = read(io.StringIO(files[name]), format=kind)
            assert sorted(back.symbols) == sorted(model.atoms.symbols)


def test_ranked_again_shows_its_own_column(garnet):
    again = rescore(garnet, [-float(n) for n in range(len(garnet.models))], "a test")
    assert [model.name for model in again.models] == [model.name for model in reversed(garnet.models)]
    table = crystal_outcome(again, with_pictures=False).report.tables[0]
    assert "rescored_eV" in [column.key for column in table.columns]


def test_searches_without_a_model_are_drawn(face):
    lost = dataclasses.replace(face, lowest_by_seed_meV_per_atom=(0.0, None))
    report = crystal_outcome(lost, with_pictures=False).report
    assert len(report.charts[0].categories) == 2
    assert lost.models[0].formula in summary(lost)


@pytest.mark.parametrize("pbc", [True, (True, True, False), False])
def test_pictures_of_any_model(pbc):
    atoms = Atoms("LiOZr", [[0, 0, 5], [2, 0, 6], [0, 2, 7]], cell=[[4, 0, 0], [1, 4, 0], [0, 0, 25]], pbc=pbc)
    if pbc is False:
        atoms.cell = None
    with Image.open(io.BytesIO(picture(atoms, "Li2O & <b>"))) as image:
        assert image.format == "PNG" and min(image.size) > 250 and max(image.size) < 2500
        colours = len({tuple(pixel) for pixel in np.asarray(image.convert("RGB")).reshape(-1, 3)})
    assert colours > 10
