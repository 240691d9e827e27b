"""Studies are found by name, or in a file of one's own."""

import sys

import pytest

from atomflow.cli import main
from atomflow.errors import BadFileError, UnknownNameError
from atomflow.flow import Bench, Flow, find_study, study_names, summary

MINE = '''
from dataclasses import dataclass
from atomflow.build import molecule
from atomflow.energetics import binding_energy, ladder
from atomflow.flow import setting
from atomflow.report import Outcome, Report


@dataclass(frozen=True)
class Mine:
    """How many is twice N?

    More words.
    """

    n: int = setting(1, "The number.")
    names: tuple[str, ...] = setting(("a",), "Names.")
    maybe: float | None = setting(None, "Perhaps.")
    flag: bool = setting(False, "Yes or no.")

    def run(self, bench):
        bench.say("working on it")
        found = bench.together([lambda: self.n, lambda: self.n])
        water = binding_energy(molecule("Li+"), [molecule("water")], ladder("xtb"), starts=1, run=bench.run)
        return Outcome({"binding": (water,)}, Report("Mine", "?", f"twice {self.n} is {sum(found)}; {self.names} {self.maybe} {self.flag}", (), method="m"))


STUDY = Mine
'''


def test_shipped_studies_are_found_and_say_what_they_ask():
    assert {"cation-anchor", "litfsi-dissociation", "ether-or-carbonyl", "lithium-affinity"} <= set(study_names())
    for name in study_names():
        assert summary(find_study(name)).endswith("?") or len(summary(find_study(name))) > 10


def test_unknown_study_names_its_neighbours():
    with pytest.raises(UnknownNameError, match="cation-anchor"):
        find_study("cation-ancor")


def test_a_study_of_one_s_own(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(MINE)
    main(
        [
            "run",
            "--workflow",
            "mine.py",
            "mine",
            "--n",
            "4",
            "--names",
            "x",
            "--names",
            "y",
            "--maybe",
            "1.5",
            "--flag",
            "--out",
            "here",
            "--jobs",
            "1",
        ]
    )
    assert "twice 4 is 8; ('x', 'y') 1.5 True" in capsys.readouterr().out
    assert (tmp_path / "here" / "result.json").is_file()
    assert (tmp_path / "here" / "report.html").is_file()


def test_help_of_a_study_shows_its_settings(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(MINE)
    main(["run", "--workflow", "mine.py", "mine", "--help"])
    shown = capsys.readouterr().out
    for word in ("How many is twice N?", "--n", "The number.", "--names", "--maybe", "--flag"):
        assert word in shown


@pytest.mark.parametrize(
    "text",
    [
        "",
        "STUDY = 3",
        "class S:\n    def run(self, bench): ...\nSTUDY = S",
        "def (",
        "import nowhere_to_be_found",
        "1/0",
    ],
)
def test_a_file_that_is_no_study_is_told(tmp_path, text):
    path = tmp_path / "bad.py"
    path.write_text(text)
    with pytest.raises(BadFileError, match=r"bad\.py"):
        find_study("bad", path)


def test_a_missing_file_is_told(tmp_path):
    with pytest.raises(BadFileError, match="no such workflow file"):
        find_study("x", tmp_path / "none.py")
    folder = tmp_path / "folder.py"
    folder.mkdir()
    with pytest.raises(BadFileError):
        find_study("x", folder)
    text = tmp_path / "notes.txt"
    text.write_text(MINE)
    with pytest.raises(BadFileError, match="not a Python file"):
        find_study("x", text)


@pytest.mark.slow
def test_the_table_of_methods_is_about_one_minimum(monkeypatch):
    """``litfsi-dissociation --thorough`` with cheap methods: each row rests on the lowest minimum of the first."""
    pytest.importorskip("tblite")
    study = find_study("litfsi-dissociation")
    monkeypatch.setattr(sys.modules[study.__module__], "METHODS", ("xtb:method=gfn1",))
    with Flow() as tasks:
        outcome = study(calculator="xtb", thorough=True, starts=6).run(Bench(tasks, lambda _: None))
    first, gfn1, again = outcome.results["dissociation"]
    assert "GFN1-xTB // GFN2-xTB" in gfn1.method
    assert gfn1.minima[0].atoms == first.minima[0].atoms
    assert again.dissociation_energy_eV == pytest.approx(first.dissociation_energy_eV, abs=2e-3), "relaxed once more"
    assert abs(gfn1.dissociation_energy_eV - first.dissociation_energy_eV) > 0.1
    assert len(first.minima) > len(gfn1.minima) == len(again.minima) == 1
    total = sum(m.energy_eV for m in gfn1.product_minima) - gfn1.minima[0].energy_eV
    assert gfn1.dissociation_energy_eV == total and gfn1.counterpoise_eV is None
    assert "P3.a" not in outcome.rows, "xTB energies are no answer to that row"
