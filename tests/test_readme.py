"""Every command and every Python example of the README does what it says."""

import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

import pytest
import solvation_analysis
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

HOME = Path(__file__).parents[1]
ELECTROLYTE = Path(solvation_analysis.__file__).parent / "tests" / "data" / "bn_fec_data"
TEXT = (HOME / "README.md").read_text(encoding="utf-8")
# The section about clusters is followed on a real Slurm, by tests/cluster/test_readme_hpc.py.
_BEFORE, _, _REST = TEXT.partition("\n## On a cluster\n")
OURS = _BEFORE + "\n## " + _REST.partition("\n## ")[2]
COMMANDS = [
    line.strip()
    for block in re.findall(r"^```bash\n(.*?)^```", OURS, re.M | re.S)
    for line in block.splitlines()
    if line.strip() and not line.lstrip().startswith("#")
]
MAKE = [line for line in COMMANDS if line.startswith("make ")]
HEAVY = {
    "atomflow bind Zn2+ DMF --calculator dft --counterpoise": "DFT in triple zeta, several minutes",
    "atomflow run cation-anchor --out runs/cation-anchor": "five ions by DFT, several minutes on two cores",
    "atomflow run cation-anchor --thorough --out runs/P4.a": "DFT with vibrations and ternaries, hours",
}


def _tier(command):
    """Marks by cost: what only looks is quick, what computes is slow, DFT is long."""
    if command in HEAVY:
        return pytest.param(command, marks=pytest.mark.long, id=f"{command} ({HEAVY[command]})")
    words = shlex.split(command)
    runs_md = (words[1] == "md" and "--dry-run" not in words) or "liquid" in words
    if (
        runs_md
        or words[1] in ("bind", "run", "collect", "diff", "export")
        or words[1:3]
        in (
            ["build", "silica"],
            ["build", "box"],
        )
    ):
        return pytest.param(command, marks=pytest.mark.slow, id=command)
    return pytest.param(command, id=command)


def _profile(folder):
    """The profile that docs/cluster.md starts with."""
    path = folder / "clusters.yaml"
    path.write_text((HOME / "docs" / "cluster.md").read_text().split("```yaml\n")[1].split("```")[0])
    return path


def _trajectory(folder):
    """A real run for the commands that analyse one: LiPF6 in butyronitrile and FEC, from solvation-analysis."""
    for name, ours in (("bn_fec.data", "system.data"), ("bn_fec_short_wrap.dcd", "traj.dcd")):
        shutil.copy(ELECTROLYTE / name, folder / ours)


def _atomflow(command, folder):
    program, *arguments = shlex.split(command)
    assert program == "atomflow"
    if "traj.dcd" in arguments:
        _trajectory(folder)
    return subprocess.run(
        [sys.executable, "-m", "atomflow", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(HOME), "COLUMNS": "200", "ATOMFLOW_CLUSTERS": str(_profile(folder))},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )


def _make(folder, *arguments):
    """Run make as a person would: these tests may themselves run under `make test`."""
    env = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")}
    return subprocess.run(["make", *arguments], cwd=folder, env=env, capture_output=True, text=True)


def test_the_two_commands_come_first():
    assert COMMANDS[:2] == ["make demo", "make test"]


def test_heavy_commands_are_in_the_readme():
    assert set(HEAVY) <= set(COMMANDS)


def _earlier(command):
    """Lines of the README that make what this one reads."""
    lines = {word: c for c in COMMANDS for option in ("-o ", "--out ") if option in c for word in [c.split(option)[1]]}
    if "collect" in command:
        return [*_earlier(lines["li-on-mine"]), lines["li-on-mine"]]
    found = [lines[word] for word in command.split() if word in lines and lines[word] != command]
    return [line for maker in found for line in (*_earlier(maker), maker)]


@pytest.mark.parametrize("command", [_tier(c) for c in COMMANDS if c not in MAKE])
def test_command_works(command, tmp_path):
    for earlier in _earlier(command):
        assert _atomflow(earlier, tmp_path).returncode == 0
    done = _atomflow(command, tmp_path)
    assert done.returncode == 0, done.stderr
    words = shlex.split(command)
    if words[1] == "build":
        assert (tmp_path / words[words.index("-o") + 1]).stat().st_size > 0
    elif words[1] in ("run", "bind", "analyze") and "--out" in words:
        assert (tmp_path / words[words.index("--out") + 1] / "result.json").is_file()
    else:
        assert done.stdout.strip()


@pytest.mark.parametrize(
    ("command", "last"),
    [
        ("make demo", "atomflow run cation-anchor --out runs/cation-anchor"),
        ("make test", 'pytest -m "not long" tests/cluster'),
    ],
)
def test_make_would_do_what_the_readme_says(command, last, tmp_path):
    """In a folder without .venv, the set-up comes first and the promised command last."""
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        (tmp_path / name).write_bytes((HOME / name).read_bytes())
    assert command in MAKE
    done = _make(tmp_path, *command.split()[1:], "-n")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[-1].endswith(last)
    assert any("-m venv .venv" in line for line in lines[:-1])
    assert any("--constraint constraints.txt" in line for line in lines[:-1])


def test_make_refuses_an_old_python(tmp_path):
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        (tmp_path / name).write_bytes((HOME / name).read_bytes())
    old = tmp_path / "old-python"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    done = _make(tmp_path, "demo", f"PYTHON={old}")
    assert done.returncode != 0
    assert "needs Python 3.11" in done.stdout + done.stderr
    assert not (tmp_path / ".venv").exists()


@pytest.mark.slow
@pytest.mark.parametrize("source", re.findall(r"^```python\n(.*?)^```", TEXT, re.M | re.S))
def test_python_example(source, tmp_path):
    (tmp_path / "script.py").write_text(source)
    done = subprocess.run(
        [sys.executable, "script.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(HOME)},
        capture_output=True,
        text=True,
        check=True,
    )
    expected = r"0\.\d\d g/cm3, \[.*not-equilibrated.*\n-?\d+\.\d\d eV|-2\.9\d eV, \{'Li-O': 1\.6|14\.0\n|Li26La12Zr6Ta2O48 0\.0 meV/atom|1\.5e-05 \[|secondary \{'bond': \d.*'coulomb': -"
    assert re.match(expected, done.stdout)


def test_links_lead_somewhere():
    for target in re.findall(r"\]\(([^)#]+)\)", TEXT):
        assert (HOME / target).exists(), target


def test_make_installs_the_development_tools_of_pyproject():
    """Said twice, since the pip that comes with Python 3.11 cannot read dependency groups."""
    project = tomllib.loads((HOME / "pyproject.toml").read_text(encoding="utf-8"))
    makefile = (HOME / "Makefile").read_text(encoding="utf-8").replace("\\\n", " ")
    listed = re.search(r"^DEV := (.*)$", makefile, re.M)[1].split()
    assert listed == [re.match(r"[\w-]+(\[\w+\])?", entry)[0] for entry in project["dependency-groups"]["dev"]]


def _pins():
    lines = (HOME / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return dict(line.split("==") for line in lines if line and not line.startswith("#"))


def test_every_package_that_make_installs_is_pinned():
    """Follow what the installed packages say they need, from pyproject's lists down."""
    project = tomllib.loads((HOME / "pyproject.toml").read_text(encoding="utf-8"))
    extras = project["project"]["optional-dependencies"]
    todo = [
        *project["project"]["dependencies"],
        *(r for e in ("xtb", "dft", "slurm", "export", "files", "md", "openmm") for r in extras[e]),
        *project["dependency-groups"]["dev"],
    ]
    pins, seen = _pins(), set()
    while todo:
        wanted = Requirement(todo.pop())
        name = canonicalize_name(wanted.name)
        if (name, *sorted(wanted.extras)) in seen:
            continue
        seen.add((name, *sorted(wanted.extras)))
        assert name in pins, f"{name} is not in constraints.txt"
        assert wanted.specifier.contains(pins[name], prereleases=True), f"{wanted} against {pins[name]}"
        try:
            below = [Requirement(text) for text in requires(name) or ()]
        except PackageNotFoundError:
            continue
        chosen = [{"extra": extra} for extra in (wanted.extras or {""})]
        todo += [
            f"{r.name}{'[' + ','.join(r.extras) + ']' if r.extras else ''}{r.specifier}"
            for r in below
            if r.marker is None or any(r.marker.evaluate(extra) for extra in chosen)
        ]
