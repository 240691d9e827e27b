"""``atomflow analyze`` and ``atomflow check``, as people use them: files in, folder out, one line for a mistake."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import solvation_analysis

from atomflow.cli import main

ELECTROLYTE = Path(solvation_analysis.__file__).parent / "tests" / "data" / "bn_fec_data"
EDGE_A = 20.0
STEP_A = 0.25  # standard deviation of one step along one axis
SPACING_PS = 2.0
D_CM2_PER_S = STEP_A**2 / (2 * SPACING_PS) * 1e-4


@pytest.fixture(autouse=True)
def in_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def run(capsys, *words):
    try:
        main([str(word) for word in words])
        code = 0
    except SystemExit as stop:
        code = stop.code
    return code, *capsys.readouterr()


def write_walk(path, n_frames=300, seed=0, coordinates="x y z", cell=True, first=0):
    """Brownian ions, 20 positive (type 1) and 20 negative (type 2), wrapped into a cube, as a LAMMPS dump."""
    rng = np.random.default_rng(seed)
    steps = rng.normal(0.0, STEP_A, (n_frames, 40, 3))
    steps[0] = rng.random((40, 3)) * EDGE_A
    positions = np.cumsum(steps, axis=0)
    if "u" not in coordinates:
        positions %= EDGE_A
    text = []
    for number, frame in enumerate(positions):
        text.append(f"ITEM: TIMESTEP\n{first + number * 1000}\nITEM: NUMBER OF ATOMS\n40\nITEM: BOX BOUNDS pp pp pp\n")
        text.append(f"0 {EDGE_A}\n" * 3 + f"ITEM: ATOMS id type {coordinates}\n")
        text += [f"{i + 1} {1 + i // 20} {x:.6f} {y:.6f} {z:.6f}\n" for i, (x, y, z) in enumerate(frame)]
    Path(path).write_text("".join(text))


def result(folder="analysis"):
    return json.loads(Path(folder, "result.json").read_text())


def test_a_newcomer_gives_the_files_only(capsys):
    """LiPF6 in butyronitrile and FEC: species, pairs, molecules and charges are found, and what was assumed is said."""
    for name in ("bn_fec.data", "bn_fec_short_wrap.dcd"):
        shutil.copy(ELECTROLYTE / name, name)
    code, out, _ = run(capsys, "analyze", "bn_fec_short_wrap.dcd")
    assert code == 0
    body = result()
    assert body["schema"] == "atomflow.analysis/1"
    found = body["results"]
    assert set(found) == {"msd", "rdf", "coordination", "shells", "conductivity", "chains"}
    assert set(found["msd"]) == {"Li", "PF6", "FEC", "C4H7N"}
    assert found["msd"]["Li"]["n_particles"] == found["msd"]["PF6"]["n_particles"] == 49
    assert set(found["rdf"]) == {"Li:N_C4H7N", "Li:O_FEC", "Li:F_PF6"}
    # The shell of nitriles as solvation-analysis' own tests have it.
    assert found["rdf"]["Li:N_C4H7N"]["first_peak_A"] == pytest.approx(2.1, abs=0.05)
    assert found["coordination"]["Li:N_C4H7N"]["mean"] == pytest.approx(4.4, abs=0.2)
    assert sum(found["coordination"]["Li:N_C4H7N"]["distribution"].values()) == pytest.approx(1)
    assert sum(share["fraction"] for share in found["shells"]["Li"]["ion_pairing"].values()) == pytest.approx(1)
    codes = {notice["code"] for notice in body["warnings"]}
    assert {"topology-found", "not-diffusive"} <= codes
    assert "Li: 49 x Li+, charge +1 (library)" in out
    assert "bn_fec.data" in out
    assert all(found["msd"][name]["diffusivity_cm2_per_s"] is None for name in found["msd"])
    for name in ("report.html", "table.csv", "figures/msd.svg", "figures/rdf-Li.png"):
        assert Path("analysis", name).stat().st_size > 0


def test_diffusivity_and_conductivity_of_a_known_walk(capsys):
    write_walk("walk.lammpstrj", n_frames=1500)
    code, _, err = run(
        capsys, "analyze", "walk.lammpstrj", "--dt", "2ps", "--species", "Li=type 1", "--species", "Cl=type 2",
        "--msd", "Li", "--msd", "Cl", "--charge", "Li=1", "--charge", "Cl=-1", "--temperature", "300",
        "--rdf", "Li:Cl", "--out", "walk",
    )  # fmt: skip
    assert code == 0, err
    found = result("walk")["results"]
    for name in ("Li", "Cl"):
        one = found["msd"][name]
        low, high = one["diffusivity_ci95_cm2_per_s"]
        assert one["diffusive"] is True
        assert low < one["diffusivity_cm2_per_s"] < high
        assert one["diffusivity_cm2_per_s"] == pytest.approx(D_CM2_PER_S, rel=0.1)
        assert one["lag_ps"][1] == pytest.approx(SPACING_PS)
        assert len(one["lag_ps"]) == len(one["msd_A2"]) == 1500
    # e^2 n D / kT with n both kinds in the box, by hand.
    expected = 1.602176634e-19**2 * 40 / (EDGE_A * 1e-10) ** 3 * D_CM2_PER_S * 1e-4 / (1.380649e-23 * 300) / 100
    assert found["conductivity"]["nernst_einstein_S_per_cm"] == pytest.approx(expected, rel=0.1)
    low, high = found["conductivity"]["einstein_helfand_ci95_S_per_cm"]
    assert low < expected < high
    assert np.mean(found["rdf"]["Li:Cl"]["g"][200:]) == pytest.approx(1, abs=0.05)


def test_without_a_clock_there_is_no_diffusivity(capsys):
    write_walk("walk.lammpstrj")
    code, _, err = run(capsys, "analyze", "walk.lammpstrj", "--species", "Li=type 1")
    assert code == 0
    one = result()["results"]["msd"]["Li"]
    assert one["lag_ps"] is None
    assert one["diffusivity_cm2_per_s"] is None
    assert one["lag_frames"][:3] == [0, 1, 2]
    assert "no-clock" in err
    assert "--dt" in err


def test_the_step_of_the_engine_gives_the_times(capsys):
    write_walk("walk.lammpstrj")
    code, _, _ = run(capsys, "analyze", "walk.lammpstrj", "--timestep", "2fs", "--species", "Li=type 1", "--quiet")
    assert code == 0
    assert result()["results"]["msd"]["Li"]["lag_ps"][1] == pytest.approx(2.0)


def test_replicas_narrow_the_interval(capsys):
    names = []
    for seed in range(4):
        names.append(f"run{seed}.lammpstrj")
        write_walk(names[-1], seed=seed)
    words = ("--dt", "2ps", "--species", "Li=type 1", "--rdf", "Li:Li", "--msd", "Li", "--quiet")
    run(capsys, "analyze", names[0], *words, "--out", "one")
    code, _, err = run(capsys, "analyze", *names, *words, "--out", "four")
    assert code == 0, err
    widths = {}
    for folder in ("one", "four"):
        one = result(folder)["results"]["msd"]["Li"]
        low, high = one["diffusivity_ci95_cm2_per_s"]
        widths[folder] = high - low
        assert low < D_CM2_PER_S < high
    assert widths["four"] < 0.7 * widths["one"]
    counts = {folder: sum(result(folder)["results"]["rdf"]["Li:Li"]["counts"]) for folder in ("one", "four")}
    assert counts["four"] == pytest.approx(4 * counts["one"], rel=0.05)


@pytest.mark.slow
def test_two_workers_give_what_one_gives(capsys):
    write_walk("walk.lammpstrj")
    words = ("analyze", "walk.lammpstrj", "--dt", "2ps", "--species", "Li=type 1", "--species", "Cl=type 2", "--rdf",
             "Li:Cl", "--cn", "Li:Cl@4", "--msd", "Li", "--quiet")  # fmt: skip
    for workers in (1, 2):
        code, _, err = run(capsys, *words, "--workers", workers, "--out", f"with-{workers}")
        assert code == 0, err
    one, two = (result(f"with-{workers}")["results"] for workers in (1, 2))
    assert one["rdf"]["Li:Cl"]["counts"] == two["rdf"]["Li:Cl"]["counts"]
    assert one["coordination"] == two["coordination"]
    assert one["msd"]["Li"]["msd_A2"] == pytest.approx(two["msd"]["Li"]["msd_A2"], rel=1e-9, abs=1e-9)


def test_json_goes_to_standard_output(capsys):
    write_walk("walk.lammpstrj", n_frames=20)
    code, out, _ = run(capsys, "analyze", "walk.lammpstrj", "--dt", "2ps", "--species", "Li=type 1", "--json", "-q")
    assert code == 0
    assert json.loads(out)["results"]["msd"]["Li"]["n_particles"] == 20


def test_check_says_what_a_file_is(capsys):
    write_walk("walk.lammpstrj", n_frames=50)
    code, out, _ = run(capsys, "check", "walk.lammpstrj", "--dt", "2ps")
    assert code == 0
    assert "50 whole frames of 40 atoms" in out
    assert "2 ps apart" in out
    assert "wrapped" in out


def test_check_fails_on_a_broken_file(capsys):
    write_walk("walk.lammpstrj", n_frames=20)
    text = Path("walk.lammpstrj").read_text().splitlines()
    words = text[-5].split()
    text[-5] = " ".join([*words[:2], "nan", *words[3:]])
    Path("walk.lammpstrj").write_text("\n".join(text) + "\n")
    code, out, _ = run(capsys, "check", "walk.lammpstrj", "--dt", "2ps")
    assert code == 1
    assert "error" in out
    code, _, err = run(capsys, "analyze", "walk.lammpstrj", "--dt", "2ps", "--species", "Li=type 1", "--rdf", "Li:Li")
    assert code == 2
    assert "not a number" in err or "not finite" in err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["gone.lammpstrj"], "gone.lammpstrj"),
        (["walk.lammpstrj", "--species", "Li=typo 1"], "typo"),
        (["walk.lammpstrj", "--species", "Li=type 9"], "type 9"),
        (["walk.lammpstrj", "--species", "Li"], "Li=type 5"),
        (["walk.lammpstrj", "--species", "Li=type 1", "--rdf", "Li:O"], "'O'"),
        (["walk.lammpstrj", "--species", "Li=type 1", "--msd", "Na"], "Na"),
        (["walk.lammpstrj", "--species", "Li=type 1", "--cn", "Li:Li@far"], "Li:O_TFSI@2.8"),
        (["walk.lammpstrj", "--species", "Li=type 1", "--dt", "10"], "10ps"),
        (["walk.lammpstrj", "--species", "Li=type 1", "--dt", "0ps"], "more than zero"),
        (["walk.lammpstrj", "--species", "Li=type 1", "--frames", "1000:"], "none of the"),
        (["walk.lammpstrj", "--species", "Li=type 1", "--frames", "a"], "start:stop"),
        (["walk.lammpstrj", "--species", "Li=type 1", "--rdf", "Li:Li", "--r-max", "50"], "half"),
        (["walk.lammpstrj", "--species", "Li=type 1", "--drift", "Zn"], "Zn"),
        (["walk.lammpstrj", "--species", "Li=type 1", "--dt", "1ps", "--charge", "Li=x"], "not a number"),
        (["walk.lammpstrj", "--species", "Li=type 1", "--fit", "5ps"], "100ps:1ns"),
        (["walk.lammpstrj", "other.lammpstrj", "--species", "Li=type 1"], "atoms"),
        (["walk.lammpstrj", "--species", "Li=type 1", "--out", "r.json"], "folder"),
    ],
)
def test_a_mistake_is_one_line(capsys, words, told):
    write_walk("walk.lammpstrj", n_frames=5)
    lines = Path("walk.lammpstrj").read_text().splitlines()
    fewer = [line.replace("40", "39") if line == "40" else line for line in lines]
    Path("other.lammpstrj").write_text("\n".join(line for line in fewer if not line.startswith("40 ")) + "\n")
    code, _, err = run(capsys, "analyze", *words, "--quiet")
    assert code == 2, err
    assert err.count("\n") == 1
    assert err.startswith("error: ")
    assert "Traceback" not in err
    assert told in err
    assert not Path("analysis").exists()
