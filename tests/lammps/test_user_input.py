"""A user's own input: taken apart, started and gone on with by real LAMMPS as if it had never been stopped."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from atomflow.build import build_box, find_recipe
from atomflow.dynamics import push_off
from atomflow.errors import AtomflowError, BadFileError
from atomflow.forcefield import parametrise, write_lammps
from atomflow.lammps import find_lammps, read_user_input, run_lammps
from atomflow.lammps.script_lines import read_commands

STYLES = """units real
atom_style full
pair_style lj/cut/coul/long 8.0
bond_style harmonic
angle_style harmonic
dihedral_style fourier
improper_style cvff
special_bonds lj 0.0 0.0 0.5 coul 0.0 0.0 0.5
pair_modify mix geometric tail yes
"""
REST = "kspace_style pppm 1e-4\nneighbor 2.0 bin\nneigh_modify every 1 delay 0 check yes\n"
MODEL = STYLES + "read_data system.data\n" + REST
NVE = "fix move all nve\n"


@pytest.fixture(scope="module")
def box(tmp_path_factory):
    """A box of about 100 atoms of DMF with one LiTFSI; its data file, and one without coefficients."""
    folder = tmp_path_factory.mktemp("box")
    system = push_off(parametrise(build_box(find_recipe("litfsi-dmf"), atoms=120, seed=2).box), seed=2)
    write_lammps(system, folder)
    (folder / "system.in").unlink()
    rows, bare = sections((folder / "system.data").read_text())
    (folder / "bare.data").write_text(bare)
    pairs = [(float(row[1]), float(row[2])) for row in rows["Pair"]]
    lines = [
        f"pair_coeff {i + 1} {j + 1} lj/cut {(pairs[i][0] * pairs[j][0]) ** 0.5!r} {(pairs[i][1] * pairs[j][1]) ** 0.5!r}"
        for i in range(len(pairs))
        for j in range(i, len(pairs))
    ]
    (folder / "pairs.coeff").write_text("\n".join(lines) + "\npair_coeff * * coul/long\n")
    for kind in ("Bond", "Angle", "Dihedral", "Improper"):
        text = "".join(f"{kind.lower()}_coeff {' '.join(row)}\n" for row in rows[kind])
        (folder / f"{kind.lower()}.coeff").write_text(text)
    (folder / "coefficients").mkdir()
    include = "".join(f"include {kind}.coeff\n" for kind in ("angle", "dihedral", "improper"))
    (folder / "coefficients" / "bonded.in").write_text(include)
    hybrid = (folder / "system.data").read_text().splitlines()
    inside = False
    for number, line in enumerate(hybrid):
        if line.endswith(" Coeffs") or " Coeffs #" in line:
            inside = line.startswith(("Pair", "Bond"))
            style = "lj/cut/coul/long" if line.startswith("Pair") else "harmonic"
        elif inside and line[:1].isdigit():
            words = line.split(" ", 1)
            hybrid[number] = f"{words[0]} {style} {words[1]}"
    (folder / "hybrid.data").write_text("\n".join(hybrid).replace("Bond Coeffs # harmonic", "Bond Coeffs") + "\n")
    r = np.linspace(0.5, 2.5, 400)
    k, r0 = float(rows["Bond"][0][1]), float(rows["Bond"][0][2])
    table = "".join(
        f"{n + 1} {x:.12g} {e:.12g} {f:.12g}\n"
        for n, (x, e, f) in enumerate(zip(r, k * (r - r0) ** 2, -2 * k * (r - r0), strict=True))
    )
    (folder / "bond.table").write_text(f"STRETCH\nN 400\n\n{table}")
    return folder


def sections(text):
    """Rows of the coefficients, and the file without them."""
    rows, kept, current = {}, [], None
    for line in text.splitlines():
        word = line.partition(" Coeffs")[0]
        if " Coeffs" in line:
            current = rows.setdefault(word, [])
        elif current is None or (line.strip() and not line[:1].isdigit()):
            current = None
            kept.append(line)
        elif line.strip():
            current.append(line.partition("#")[0].split())
    return rows, "\n".join(kept) + "\n"


def written(folder, text, name="my.in"):
    path = folder / name
    path.write_text(text)
    return path


def both_ways(
    box, tmp_path, text, data="system.data", ranks=1, velocities=True, velocity="velocity all create 300 4711"
):
    """Final atoms of an uninterrupted run, and of one that went on in a new process from a restart file."""
    home = shutil.copytree(box, tmp_path / "home")
    own = read_user_input(written(home, text), home / data)
    work = tmp_path / "work"
    work.mkdir()
    own.copy_files(work / "input")
    chunks = "thermo 5\n" + "".join(f"run 10 start 0 stop 30\nwrite_restart state.{step}.r\n" for step in (10, 20, 30))
    end = "write_dump all custom {} id x y z vx vy vz ix iy iz modify sort id format float %.17g\n"
    start = [*own.first(f"../home/{data}", folder="input"), velocity]
    step = f"timestep {own.timestep}\n" if own.timestep else ""
    whole = run_lammps("\n".join(start) + "\n" + step + chunks + end.format("whole"), work, ranks=ranks, name="first",
                       suffix="opt")  # fmt: skip
    assert not [line for line in whole.log.warnings if "restart" in line.lower()]
    rest = chunks.partition("state.10.r\n")[2]
    again = "\n".join(own.again("state.10.r", folder="input")) + "\n" + step + "thermo 5\n" + rest
    run_lammps(again + end.format("gone-on"), work, ranks=ranks, name="again", suffix="opt")
    return own, (work / "whole").read_text(), (work / "gone-on").read_text(), work


CASES = {
    "plain": MODEL + NVE,
    "kspace and neighbours before the data": STYLES + REST + "read_data system.data\n" + NVE,
    "exceptions": MODEL + "pair_coeff 1 2 0.02 3.0 6.5\nspecial_bonds lj 0.0 0.0 0.4 coul 0.0 0.0 0.5\n" + NVE,
    "other charges": MODEL + "set type 1 charge 0.8\nset type 2 charge -0.46\ndielectric 1.5\n" + NVE,
    "excluded": MODEL + "group ions type 1:2\nneigh_modify exclude group ions ions\n" + NVE,
    "nvt": MODEL + "fix move all nvt temp 300 320 50\n",
    "npt after shake": MODEL
    + "fix stiff all shake 1e-5 50 0 m 1.008\nfix move all npt temp 300 300 50 iso 1 500 500\n",
    "a group by region and one that is dynamic": MODEL
    + "region half block 0 6 INF INF INF INF\ngroup left region half\ngroup now dynamic all region half every 5\n"
    + "fix push left addforce 0.3 0.0 0.0\nfix pull now addforce -0.1 0.0 0.0\n"
    + NVE,
    "springs and a replaced fix": MODEL + NVE + "fix hold all spring/self 5.0\nfix hold all spring/self 9.0\n",
    "removed before the run": MODEL + "fix still all setforce 0 0 0\nminimize 1e-4 1e-4 10 10\nunfix still\n" + NVE,
    "several steps": MODEL + "run_style respa 2 2 bond 1 pair 2\nkspace_modify order 4\n" + NVE,
    "variables": "variable rc index 8.0\nvariable my string system\n"
    + MODEL.replace("8.0", "${rc}").replace("system.data", "${my}.data")
    + "variable pull equal 0.001*step\nvariable w equal 2*${rc}\nfix pull all addforce v_pull 0.0 $(v_w/100)\n"
    + NVE,
    "a changed box": MODEL + "replicate 2 1 1\nchange_box all x scale 1.02 remap\n" + NVE,
    "own properties": STYLES
    + "fix own all property/atom d_w\nread_data system.data\nvariable w atom 0.001*id\nset group all d_w v_w\n"
    + "compute w all property/atom d_w\nvariable push atom c_w\nfix push all addforce v_push 0.0 0.0\n"
    + REST
    + NVE,
    "csvr": MODEL + NVE + "fix bath all temp/csvr 300 300 50 77\n",
    "soft spheres first": MODEL.replace("kspace_style pppm 1e-4\n", "")
    + "pair_style soft 2.0\npair_coeff * * 10.0\nminimize 1e-4 1e-4 10 10\npair_style lj/cut 7.0\npair_modify mix arithmetic\n"
    + "pair_coeff * * 0.1 3.0\npair_coeff 1 2 0.2 2.5\n"
    + NVE,
}


@pytest.mark.parametrize("case", CASES)
def test_gone_on_with_to_the_last_bit(box, tmp_path, case):
    own, whole, gone_on, _work = both_ways(box, tmp_path, CASES[case])
    assert own.own_integrator and whole == gone_on
    assert len(whole.splitlines()) > 100


def test_on_two_ranks(box, tmp_path):
    _own, whole, gone_on, _work = both_ways(box, tmp_path, CASES["npt after shake"], ranks=2)
    assert whole == gone_on


def test_a_group_by_region_is_not_taken_again(box, tmp_path):
    """Were it, atoms that have come into the region would be in it, too."""
    text = (
        MODEL + "region half block 0 6 INF INF INF INF\ngroup left region half\nfix push left addforce 3.0 0 0\n" + NVE
    )
    own, whole, gone_on, _work = both_ways(box, tmp_path, text)
    assert whole == gone_on
    assert "group left region half" in own.first() and "group left region half" not in own.again()


@pytest.mark.parametrize(
    ("bonds", "more"),
    [("hybrid harmonic table linear 300", "bond_coeff 1 table bond.table STRETCH"), ("harmonic", "")],
)
def test_hybrid_styles_and_tables_in_included_files(box, tmp_path, bonds, more):
    text = (
        STYLES.replace("lj/cut/coul/long 8.0", "hybrid/overlay lj/cut 8.0 coul/long 8.0")
        .replace("pair_modify mix geometric tail yes\n", "")
        .replace("bond_style harmonic", f"bond_style {bonds}")
        + "read_data bare.data\ninclude pairs.coeff\n"
        + ("include bond.coeff\n" if bonds == "harmonic" else "")
        + "include coefficients/bonded.in\npair_modify pair lj/cut special lj 0.0 0.0 0.4\n"
        + REST
        + NVE
    )
    if bonds != "harmonic":
        rows = (box / "bond.coeff").read_text().splitlines()
        text = text.replace(REST, "".join(f"{r.replace(r.split()[1], r.split()[1] + ' harmonic', 1)}\n" for r in rows)
                            + more + "\n" + REST)  # fmt: skip
    own, whole, gone_on, work = both_ways(box, tmp_path, text, data="bare.data")
    assert whole == gone_on
    assert own.files == (("bond.table",) if more else ())
    assert not more or (work / "input" / "bond.table").is_file()


def test_hybrid_styles_take_their_numbers_from_the_data_file(box, tmp_path):
    """LAMMPS wants them said again, although the restart file has them."""
    text = (
        MODEL.replace("pair_style lj", "pair_style hybrid lj")
        .replace("bond_style harmonic", "bond_style hybrid harmonic")
        .replace("system.data", "hybrid.data")
        + NVE
    )
    own, whole, gone_on, _work = both_ways(box, tmp_path, text, data="hybrid.data")
    assert whole == gone_on
    assert any(line.startswith("pair_coeff 1 1 lj/cut/coul/long") for line in own.again())


def test_a_pair_style_that_no_restart_file_holds(tmp_path):
    """EAM copper in units metal; the potential beside the script, in a folder whose name has a blank."""
    home, work = tmp_path / "my home", tmp_path / "work"
    home.mkdir()
    potentials = find_lammps().path.resolve().parent / "share/lammps/potentials"
    for folder in (potentials, *(p / "lammps/share/lammps/potentials" for p in map(Path, __import__("sys").path))):
        if (folder / "Cu_u3.eam").is_file():
            shutil.copy(folder / "Cu_u3.eam", home)
    if not (home / "Cu_u3.eam").is_file():
        pytest.skip("this LAMMPS brings no potentials")
    make = """units metal
lattice fcc 3.615
region b block 0 3 0 3 0 3
create_box 1 b
create_atoms 1 box
mass 1 63.546
write_data copper.data
"""
    run_lammps(make, home)
    text = """units metal
atom_style atomic
read_data "copper.data"  # a comment & all
pair_style eam
pair_coeff 1 1 &
   Cu_u3.eam
fix move all nve
timestep 0.002
"""
    own = read_user_input(written(home, text), home / "copper.data")
    assert own.units == "metal" and own.timestep_fs == pytest.approx(2.0) and own.files == ("Cu_u3.eam",)
    own.copy_files(work)
    end = "write_dump all custom {} id x y z vx vy vz modify sort id format float %.17g\n"
    run = "timestep 0.002\nrun 10\nwrite_restart a.r\nrun 10\n"
    first = [*own.first(str(home / "copper.data")), "velocity all create 600 1"]
    run_lammps("\n".join(first) + "\n" + run + end.format("whole"), work, name="first")
    again = run_lammps(
        "\n".join(own.again("a.r")) + "\ntimestep 0.002\nrun 10\n" + end.format("on"), work, name="again"
    )
    assert (work / "whole").read_text() == (work / "on").read_text()
    assert "\npair_style eam" in again.log_path.read_text()


def test_the_pair_style_is_not_said_where_the_restart_file_has_it(box, tmp_path):
    """It would set all cutoffs back."""
    _own, _whole, _on, work = both_ways(box, tmp_path, CASES["exceptions"])
    said = (work / "again.log").read_text()
    assert "\npair_style" not in said and "restoring pair style lj/cut/coul/long" in said


def test_what_averages_wrote_stays(box, tmp_path):
    text = MODEL + NVE + 'compute msd all msd\nfix out all ave/time 1 5 5 c_msd[4] file "my msd.txt"\n'
    text += 'fix say all print 5 "temp and file $(temp)" file said.txt screen no\n'
    _own, whole, on, work = both_ways(box, tmp_path, text)
    assert whole == on
    before = (work / "my msd.txt").read_text().splitlines()
    after = (work / "my_msd.txt.from-10").read_text().splitlines()
    assert before[0].startswith("#") and len(before) > len(after) and before[-3:] == after[-3:]
    assert (work / "said.txt.from-10").is_file()


def test_without_the_scripts_own_motion(box):
    text = MODEL + "fix stiff all shake 1e-5 50 0 m 1.008\nfix bath all langevin 300 300 100 5\n" + NVE
    text += "compute mobile all temp\nfix_modify bath temp mobile\ntimestep 2.0\n"
    own = read_user_input(written(box, text, "motion.in"), box / "system.data")
    assert (own.integrators, own.thermostats, own.barostats) == (("nve",), ("langevin",), ())
    assert own.constraints == ("shake",) and own.timestep_fs == 2.0 and own.own_integrator
    assert own.motion == ("fix bath all langevin 300 300 100 5", "fix move all nve", "fix_modify bath temp mobile")
    left = own.first("x.data", motion=False)
    assert [line for line in left if line.startswith("fix")] == ["fix stiff all shake 1e-5 50 0 m 1.008"]
    assert set(own.first("x.data")) - set(left) == set(own.motion)
    assert "read_data x.data" in left and own.read_data == "read_data {data}"
    assert "fix move all nve" in own.fixes and "kspace_style pppm 1e-4" in own.settings
    none = read_user_input(written(box, MODEL, "still.in"), box / "system.data")
    assert not none.own_integrator and none.timestep_fs is None and none.fixes == ()


@pytest.mark.parametrize(
    ("fix", "temperature", "ramps"),
    [
        ("nve", None, False),
        ("nvt temp 300 300 100", 300.0, False),
        ("npt temp 300 400 100 iso 1 1 1000", 400.0, True),
        ("npt temp 300 300 100 x 1 5 1000", 300.0, True),
        ("nph iso 1 1 1000", None, False),
        ("langevin 100 300.0 100 5", 300.0, True),
        ("temp/csvr 300 300 100 5", 300.0, False),
        ("temp/rescale 10 200 300 5 1", 300.0, True),
        ("langevin v_t 300 100 5", 300.0, False),
        ("nvt temp ${from} ${to} 100", 350.0, True),
        ("deform 1 x scale 1.1", None, True),
    ],
)
def test_to_where_its_own_motion_leads(box, fix, temperature, ramps):
    text = MODEL + f"variable from equal 300\nvariable to index 350\nminimize 0 0 1 1\nfix a all {fix}\nrun 1\n"
    own = read_user_input(written(box, text, "leads.in"), box / "system.data")
    assert (own.temperature_K, own.ramps, own.minimizes) == (temperature, ramps, True)
    assert not read_user_input(written(box, MODEL + NVE, "none.in"), box / "system.data").minimizes


def test_what_the_runner_says_itself_is_left_out(box):
    text = (
        "log my.log\necho both\n"
        + MODEL
        + "thermo 10\nthermo_style custom step temp\nthermo_modify flush yes\ndump d all atom 10 d.lammpstrj\n"
        + "dump_modify d sort id\nrestart 100 a b\nmin_style cg\nminimize 1e-4 1e-4 100 100\nreset_timestep 0\n"
        + "velocity all create 300 1 mom yes rot yes\nvelocity all zero linear\nrun 100\nrun 200\nundump d\n"
        + "write_data end.data\nprint done\n"
    )
    own = read_user_input(written(box, text, "all.in"), box / "system.data")
    assert list(own.first("system.data")) == MODEL.splitlines()
    assert own.velocities == ("velocity all create 300 1 mom yes rot yes", "velocity all zero linear")
    assert own.run_steps == 300 and own.warnings == ()


def test_the_line_of_the_data_keeps_its_words(box):
    text = MODEL.replace("read_data system.data", "read_data 'older one.data' extra/bond/per/atom 2 nocoeff")
    own = read_user_input(written(box, text, "extra.in"), box / "system.data")
    assert own.read_data == "read_data {data} extra/bond/per/atom 2 nocoeff"
    assert 'read_data "a b.data" extra/bond/per/atom 2 nocoeff' in own.first("a b.data")
    assert [notice.code for notice in own.warnings] == ["another-data"]


@pytest.mark.parametrize(
    ("more", "line", "says"),
    [
        ("shell rm -rf x", 14, "shell runs other programs"),
        ("python f input 1 return v_x", 14, "runs Python"),
        ("plugin load x.so", 14, "loads code"),
        ("label top", 14, "target of jumps"),
        ("jump SELF top", 14, "jumps about"),
        ("next i", 14, "loop"),
        ('if "1 == 1" then "run 10"', 14, "decides"),
        ("variable i loop 10", 14, "loop"),
        ("variable p python f", 14, "runs Python"),
        ("variable p equal py_f(3)", 14, "Python"),
        ("clear", 14, "another model"),
        ("read_data system.data", 14, "second read_data"),
        ("include ../secret.in", 14, "outside the folder"),
        ("include /etc/passwd", 14, "outside the folder"),
        ("include nothing.in", None, "cannot be read"),
        ("include ${where}", 14, "give one file by its name"),
        ("pair_coeff 1 1 /etc/hostname", 14, "outside the folder"),
        ("group", None, None),
        ("fix h all halt 10 v_x > 3", 14, "ends runs early"),
        ("fix h all gcmc 10 1 1 1 1 300 -1 0.1", 14, "number of atoms"),
        ("fix h all bond/create 10 1 1 3.0 1", 14, "changes bonds"),
        ("fix h all ave/time 1 1 1 c_x file ../../out.txt", 14, "beside the run"),
        ("fix h", 14, "a name, a group and a style"),
        ("unfix h", 14, "none of that name"),
        ("fix_modify h temp x", 14, "no fix of that name"),
        ("timestep fast", 14, "a number above zero"),
        ("timestep -1", 14, "a number above zero"),
        ("timestep ${dt}", 14, "must stand there as it is"),
        ("variable l equal lx\nfix d all deform 1 x final 0 ${l}", 15, "another value"),
        ("variable l equal $(lx)\nvariable m equal v_l+1\nfix d all addforce v_m 0 0", 16, "another value"),
        ("fix d all deform 1 x final 0 $(lx*2)", 14, "another value"),
        ("run 10\nfix a all nve\nrun 10", 16, "another one than that of line 14, by line 15"),
        ("run 10\nvelocity all scale 300\nrun 10", 16, "by line 15"),
        ('run 100 every 10 "print hi"', 14, "every so many steps"),
        ("frobnicate 3", 14, "'frobnicate' is no command that is known"),
        ("print 'no end", 14, "a quote without an end"),
        ('print """no end', 14, "triple quotes without an end"),
        ("balance 1.1 shift x 5 1.1 out /tmp/x", 14, "outside the folder"),
        ("fix b all balance 10 1.1 shift x 5 1.1 out ../../x", 14, "outside the folder"),
        ("labelmap write ../x", 14, "outside the folder"),
        ("processors * * * file ~/x", 14, "outside the folder"),
        ("fix t all tmd 0.1 ref.data 10 /tmp/x", 14, "outside the folder"),
        ("fix s all reaxff/species 1 1 1 '../../$(1).gz'", 14, "outside the folder"),
        ("variable s string ..\nfix s all reaxff/species 1 1 1 ${s}/x", 14, "outside the folder"),
        ("variable d string .\nfix s all reaxff/species 1 1 1 ${d}${d}/x", 15, "outside the folder"),
        ("fix s all reaxff/species 1 1 1 ${s}", 14, "no value that is known"),
        ("variable h getenv HOME", 14, "where it runs"),
        ("variable s string python\nvariable p ${s} f", 15, "runs Python"),
        ("variable p string python\npair_style hybrid/overlay lj/cut 7.0 ${p} 7.0", 15, "runs Python"),
        ("variable g string 'all python/invoke 5 end_of_step f'\nfix 1 ${g} nve", 15, "not one word"),
        ("variable e string ''\nfix 1 ${e} all python/invoke 5 end_of_step f", 15, "not one word"),
    ],
)
def test_refused_with_its_line(box, tmp_path, more, line, says):
    path = written(box, f"{MODEL}{more}\n", "refused.in")
    if says is None:
        read_user_input(path, box / "system.data")
        return
    with pytest.raises(BadFileError) as caught:
        read_user_input(path, box / "system.data")
    message = str(caught.value)
    assert says in message and "\n" not in message
    assert line is None or f"refused.in: line {line}: " in message, message


def test_refused_units_and_scripts_without_a_model(box, tmp_path):
    for text, says in (
        ("units lj\nread_data system.data\n", "line 1: units lj"),
        ("atom_style full\nread_data system.data\n", "no units, which means lj"),
        ("units real\n", "no read_data"),
        ("units real\nrun 10\n", "run before read_data"),
        ("units real\nregion b block 0 1 0 1 0 1\ncreate_box 1 b\n", "line 3: create_box"),
        ("include loop.in\n", "include each other"),
        ("", "no units"),
    ):
        written(box, "include loop.in\n", "loop.in")
        with pytest.raises(BadFileError, match=says):
            read_user_input(written(box, text, "short.in"), box / "system.data")
    with pytest.raises(BadFileError, match="cannot be read"):
        read_user_input(tmp_path / "none.in", box / "system.data")
    with pytest.raises(BadFileError, match="no such data file"):
        read_user_input(box / "short.in", tmp_path / "none.data")
    (box / "binary.in").write_bytes(b"units real\n\x00\x01\x02")
    with pytest.raises(BadFileError, match="binary"):
        read_user_input(box / "binary.in", box / "system.data")


def test_a_link_out_of_the_folder_is_not_followed(box, tmp_path):
    (tmp_path / "secret.in").write_text("units real\n")
    (box / "link.in").unlink(missing_ok=True)
    (box / "link.in").symlink_to(tmp_path / "secret.in")
    with pytest.raises(BadFileError, match="outside the folder"):
        read_user_input(written(box, "include link.in\n", "linked.in"), box / "system.data")


def test_runs_of_one_kind_are_one(box):
    text = MODEL + NVE + "run 100\nthermo 5\nreset_timestep 0\nrun 100\nunfix move\nwrite_data x.data\n"
    own = read_user_input(written(box, text, "runs.in"), box / "system.data")
    assert own.run_steps == 200 and own.fixes == ("fix move all nve",)


#: What LAMMPS makes of a line, told by print; the words are ours to find.
LINES = [
    'print "a # b" # c',
    "print 'a & b' &\n  screen &\n yes",
    'print """two\nlines with "quotes" """',
    "print one # comment & \n two",
    "   print    tabs\tscreen\tyes",
    'print "" screen yes',
]


def test_lines_as_lammps_reads_them(tmp_path):
    """Each joined and cut the same way: LAMMPS takes our text for the same commands."""
    script = written(tmp_path, "\n".join(LINES) + "\nprint last\n")
    commands = read_commands(script)
    ours = written(tmp_path, "\n".join(command.text for command in commands) + "\n", "ours.in")
    said = []
    for path in (script, ours):
        done = subprocess.run(
            [str(find_lammps().path), "-in", path.name, "-log", "none", "-nocite", "-echo", "none"],
            cwd=tmp_path, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout[-500:]
        said.append([line for line in done.stdout.splitlines() if "wall time" not in line])
    assert said[0] == said[1] and len(said[0]) > 6
    assert [command.words for command in commands[:3]] == [
        ("print", "a # b"),
        ("print", "a & b", "screen", "yes"),
        ("print", 'two\nlines with "quotes" '),
    ]
    assert [command.line for command in commands][:4] == [1, 2, 5, 7]


WORDS = [
    "units", "real", "read_data", "system.data", "fix", "unfix", "all", "nve", "npt", "variable", "x", "index", "equal",
    "string", "1.0", "lx", "v_x", "${x}", "$x", "$(step)", "$(", "${", "&", "#", '"', "'", '"""', "run", "include", "my.in",
    "..", "/", "group", "dynamic", "pair_style", "hybrid", "pair_coeff", "*", "timestep", "velocity", "fix_modify", "file",
    "ave/time", "compute", "print", "bond_style", "hybrid/overlay", "minimize", "every", "NULL", "region", "bond_coeff",
    "\\", "\t", "é", "{data}", "none", "delete",
]  # fmt: skip


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.lists(st.lists(st.sampled_from(WORDS) | st.text(max_size=4), max_size=6).map(" ".join), max_size=14))
@pytest.mark.parametrize("before", ["", MODEL])
def test_anything_gives_a_result_or_an_error_of_ours(tmp_path, before, text):
    data = tmp_path / "system.data"
    data.write_text("title\n\n1 atoms\n\nPair Coeffs\n\n1 lj/cut 0.1 3.0\n")
    path = tmp_path / "my.in"
    path.write_text(before + "\n".join(text), encoding="utf-8", errors="surrogateescape")
    try:
        own = read_user_input(path, data)
    except AtomflowError as error:
        assert "\n" not in str(error)
        return
    first, again = own.first("my.data"), own.again("my.restart")
    assert sum(line.startswith("read_data") for line in first) == 1
    assert sum(line.startswith("read_restart") for line in again) == 1
    assert not any(line.split()[0] in ("shell", "python", "include", "run", "velocity") for line in first + again)
    # Our text read again is the same.
    path.write_text("\n".join(first) + "\n", encoding="utf-8")
    (tmp_path / "my.data").write_bytes(data.read_bytes())
    assert read_user_input(path, tmp_path / "my.data").first("my.data") == first


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(raw=st.binary(max_size=300))
def test_any_bytes(tmp_path, raw):
    (tmp_path / "system.data").write_text("title\n")
    (tmp_path / "my.in").write_bytes(raw)
    with pytest.raises(AtomflowError):
        read_user_input(tmp_path / "my.in", tmp_path / "system.data")
