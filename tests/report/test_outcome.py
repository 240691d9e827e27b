"""What a study leaves in its folder."""

import json
from dataclasses import replace

import numpy as np
from ase.io import read

from atomflow.build import molecule
from atomflow.energetics import binding_energy, ladder
from atomflow.report import Column, Outcome, Report, Table, write_outcome


def outcome(**results):
    table = Table("t", (Column("x", "X"),), ({"x": 1},))
    return Outcome(results=results, report=Report("t", "q", "a", (table,)))


def test_each_result_names_the_file_that_holds_its_own_geometry(tmp_path):
    """Two methods that share a geometry share a file; two geometries of one name never do."""
    found = binding_energy(molecule("Li+"), [molecule("water")], ladder("xtb"), starts=2)
    best = found.minima[0]
    stretched = best.atoms.copy()
    stretched.positions[0] += 0.3
    results = (
        found,
        replace(found, method="another energy"),
        replace(found, minima=(replace(best, atoms=stretched),)),
        replace(found, method="a third energy"),
    )
    write_outcome(outcome(binding=results), tmp_path, {})
    rows = json.loads((tmp_path / "result.json").read_text())["results"]["binding"]
    assert [row["structure"] for row in rows] == [f"minima/Li+_+_water{tail}.xyz" for tail in ("", "", "-2", "")]
    for row, result in zip(rows, results, strict=True):
        assert np.allclose(read(tmp_path / row["structure"]).positions, result.minima[0].atoms.positions, atol=1e-6)


def test_an_empty_group_is_no_error(tmp_path):
    found = binding_energy(molecule("Li+"), [molecule("water")], ladder("xtb"), starts=2)
    write_outcome(outcome(ternary=(), binding=(found,)), tmp_path, {})
    body = json.loads((tmp_path / "result.json").read_text())
    assert body["schema"] == "atomflow.binding/1" and body["results"]["ternary"] == []
