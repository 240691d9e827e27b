"""Backends by name, described as data, and what is said when one is missing."""

import importlib.util
import json
import os
import pickle

import pytest
from ase import Atoms
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones
from hypothesis import given
from hypothesis import strategies as st

from atomflow.calculators import (
    CalculatorSpec,
    as_spec,
    backend_status,
    build_calculator,
    calculator,
    limited_threads,
    parse_spec,
    refusal,
    registry,
)
from atomflow.energetics import build_spec, ladder
from atomflow.errors import BadOptionError, MissingBackendError, UnknownNameError
from atomflow.model import content_key, dumps, loads

names = st.from_regex(r"[a-z][a-z0-9_]{0,8}", fullmatch=True)
words = st.from_regex(r"[a-z][a-z0-9:/-]{0,10}", fullmatch=True).filter(
    lambda word: word not in {"y", "n", "yes", "no", "on", "off", "true", "false", "null"} and not word.endswith(":")
)
values = st.integers(-(10**6), 10**6) | words | st.booleans()


@given(names, st.dictionaries(names, values, max_size=5))
def test_a_spec_reads_back_what_it_prints(name, options):
    spec = CalculatorSpec(name, options)
    back = parse_spec(str(spec))
    assert back == spec
    assert [type(value) for value in back.options.values()] == [type(value) for value in options.values()]


@given(names, st.dictionaries(names, values | st.floats(allow_nan=False), max_size=5))
def test_a_spec_travels_as_json_and_between_processes(name, options):
    spec = CalculatorSpec(name, options)
    assert loads(dumps(spec)) == spec
    assert pickle.loads(pickle.dumps(spec)) == spec
    turned = CalculatorSpec(name, dict(reversed(options.items())))
    assert content_key(turned) == content_key(spec)


@given(st.text(max_size=30))
def test_any_text_is_a_spec_or_an_error_with_the_mend(text):
    try:
        spec = parse_spec(text)
    except BadOptionError as error:
        assert "write for example" in str(error)
    else:
        assert spec.name
        assert all(key.isidentifier() for key in spec.options)
        json.dumps(spec.options, default=str)


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("dft:functional=pbe,grid=1", {"functional": "pbe", "grid": 1}),
        ("xtb:solvent=alpb:dmf", {"solvent": "alpb:dmf"}),
        ("xtb:solvent=cpcm:36.7", {"solvent": "cpcm:36.7"}),
        ("dft:density_fit=false,dispersion=none", {"density_fit": False, "dispersion": "none"}),
        ("  xtb : accuracy = 0.1".replace(" : ", ":").replace(" = ", "="), {"accuracy": 0.1}),
        ("xtb", {}),
    ],
)
def test_values_are_read_as_users_mean_them(text, options):
    assert parse_spec(text).options == options


@pytest.mark.parametrize("name", ["xtb", "dft"])
def test_a_complete_spec_builds_an_equal_calculator(name):
    first = calculator(name)
    assert build_calculator(first.spec).spec == first.spec
    assert build_spec(name) == build_spec(first.spec) == build_spec(first)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("xtb", "xtb:method=GFN2"),
        ("xtb", "xtb:method=gfn2-xtb,accuracy=1"),
        ("xtb", "xtb:electronic_temperature_K=300"),
        ("dft", "dft:functional=B3LYP,basis=DEF2-TZVP,grid=3"),
        ("dft:dispersion=none", "dft:dispersion=None"),
    ],
)
def test_equal_methods_have_equal_specs(one, other):
    assert build_spec(one) == build_spec(other)
    assert content_key(build_spec(one)) == content_key(build_spec(other))


def test_any_ase_calculator_can_be_handed_over():
    lj = LennardJones(sigma=1.0, epsilon=0.3, rc=10.0)
    spec = as_spec(lj)
    assert build_calculator(spec) is lj
    assert spec.options["epsilon"] == 0.3
    assert refusal(lj, Atoms("H")) is None
    assert as_spec(calculator("xtb")).instance is None  # ours can be made anew in another process
    with pytest.raises(BadOptionError, match="ASE calculator"):
        as_spec(3)


def test_a_calculator_of_ase_by_its_name():
    atoms = Atoms("Cu2", [[0, 0, 0], [0, 0, 2.5]])
    atoms.calc = calculator("emt")
    forwarded = atoms.get_potential_energy(), atoms.get_forces()
    atoms.calc = EMT()
    assert forwarded[0] == pytest.approx(atoms.get_potential_energy(), abs=1e-10)
    assert forwarded[1] == pytest.approx(atoms.get_forces(), abs=1e-10)


def test_a_calculator_that_cannot_be_told_the_charge_refuses_ions():
    emt = calculator("emt")
    assert refusal(emt, Atoms("Cu")) is None
    assert "charge" in refusal(emt, Atoms("Cu", info={"charge": 1}))
    assert "charge" in refusal(emt, Atoms("Cu", info={"charge": 0, "spin": 2}))


@pytest.mark.parametrize("program", ["orca", "gaussian"])
def test_programs_are_told_charge_and_multiplicity(program, monkeypatch):
    """The program itself is not here: a stand-in notes what ASE's class would have been given."""
    from atomflow.calculators import ase_named

    told = []

    def stand_in(**options):
        told.append(options)
        return LennardJones()

    monkeypatch.setattr(ase_named, "get_calculator_class", lambda name: stand_in)
    atoms = Atoms("He2", [[0, 0, 0], [0, 0, 1.2]], info={"charge": 1, "spin": 2})
    atoms.calc = calculator(program, xc="PBE")
    cation = atoms.get_potential_energy()
    assert {"charge": 1, "mult": 2, "xc": "PBE"}.items() <= told[-1].items()
    atoms.info.update(charge=0, spin=1)
    assert atoms.get_potential_energy() == cation  # the stand-in knows no charge, but was asked again
    assert {"charge": 0, "mult": 1}.items() <= told[-1].items()


@pytest.mark.parametrize("program", ["orca", "gaussian"])
def test_a_program_that_is_not_configured_is_missing(program, monkeypatch, tmp_path):
    from ase.config import Config

    monkeypatch.setattr("ase.config.cfg", Config())
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv(f"ASE_{program.upper()}_COMMAND", raising=False)
    with pytest.raises(MissingBackendError, match="configuration") as failure:
        calculator(program)
    assert failure.value.backend == program


@pytest.fixture
def fake_gaussian(tmp_path, monkeypatch):
    """A "g16" that notes its input and where it ran, and computes nothing."""
    home = tmp_path / "bin"
    home.mkdir()
    program = home / "g16"
    program.write_text(f"#!/bin/sh\npwd >> {tmp_path}/places\ncat >> {tmp_path}/inputs\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{home}:{os.environ['PATH']}")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_programs_run_each_in_a_folder_of_its_own(fake_gaussian):
    atoms = Atoms("H", info={"charge": 1, "spin": 1, "name": "H+"})
    calculators = [calculator("gaussian", method="hf", basis="sto-3g") for _ in range(2)]
    for atoms.calc in calculators:
        with pytest.raises(Exception):  # noqa: B017 - the stand-in writes no output; only where it ran matters
            atoms.get_potential_energy()
    places = (fake_gaussian / "places").read_text().split()
    assert len(set(places)) == 2
    assert str(fake_gaussian) not in places
    assert "1 1" in (fake_gaussian / "inputs").read_text()  # charge and multiplicity


def test_options_that_ase_refuses_are_the_user_s_error():
    with pytest.raises(BadOptionError, match=r"turbomole.*multiplicity"):
        calculator("turbomole")


@pytest.mark.parametrize(("name", "module"), [("xtb", "tblite"), ("dft", "pyscf"), ("dft", "dftd3")])
def test_a_missing_package_comes_with_the_command_that_installs_it(name, module, monkeypatch):
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda wanted, *a: None if wanted == module else real(wanted, *a))
    with pytest.raises(MissingBackendError, match=rf"{module}.*pip install 'atomflow\[{name}\]'"):
        calculator(name)
    status = {row.name: row for row in backend_status()}[name]
    assert not status.available
    assert module in status.detail
    assert f"atomflow[{name}]" in status.install


class _Point:
    """An entry point of somebody else."""

    def __init__(self, name, thing):
        self.name, self._thing, self.value = name, thing, "elsewhere:Thing"

    def load(self):
        if isinstance(self._thing, Exception):
            raise self._thing
        return self._thing


def test_a_plug_in_that_does_not_import_is_listed_as_missing(monkeypatch):
    points = [_Point("broken", ImportError("no module named 'secret'")), _Point("sound", LennardJones)]
    monkeypatch.setattr(registry, "entry_points", lambda group: points)
    rows = {row.name: row for row in backend_status()}
    assert rows["sound"].available
    assert not rows["broken"].available
    assert "secret" in rows["broken"].detail
    with pytest.raises(MissingBackendError, match="secret"):
        calculator("broken")


def test_options_a_plug_in_cannot_read_are_the_user_s_error(monkeypatch):
    def picky(size: int):
        if size < 0:
            raise ValueError("size must be positive")
        return LennardJones(sigma=float(size))

    monkeypatch.setattr(registry, "entry_points", lambda group: [_Point("picky", picky)])
    assert calculator("picky", size=2).parameters["sigma"] == 2.0
    with pytest.raises(BadOptionError, match="size must be positive"):
        calculator("picky", size=-1)
    with pytest.raises(BadOptionError, match="colour"):
        calculator("picky", colour="red")
    with pytest.raises(BadOptionError, match="size"):
        calculator("picky")


def test_unknown_names_have_neighbours():
    with pytest.raises(UnknownNameError) as failure:
        calculator("xtbb")
    assert "xtb" in failure.value.near


def test_a_missing_backend_is_found_before_any_work(monkeypatch):
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda wanted, *a: None if wanted == "pyscf" else real(wanted, *a))
    with pytest.raises(MissingBackendError):
        ladder("dft")


def test_threads_are_limited_within_the_block_only():
    from threadpoolctl import threadpool_info, threadpool_limits

    with threadpool_limits(2):
        before = [row["num_threads"] for row in threadpool_info()]
        assert before
        with limited_threads(1):
            assert {row["num_threads"] for row in threadpool_info()} == {1}
        assert [row["num_threads"] for row in threadpool_info()] == before
