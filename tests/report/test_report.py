import hashlib
import json
import os
import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path

import ase.io
import numpy as np
import pandas as pd
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from scipy.spatial.transform import Rotation

import atomflow.report
from atomflow.errors import BadOptionError, OutputError
from atomflow.model import Notice
from atomflow.model.writing import write_atomically
from atomflow.report import BarChart, Column, Reference, Report, Table, View, write_report
from atomflow.report.figures import file_stem, render
from atomflow.report.html import json_for_script
from atomflow.report.scene import scene

pytestmark = pytest.mark.filterwarnings("error::UserWarning:atomflow")  # matplotlib's way to say a layout failed

HOSTILE = """</script><script>alert(1)</script><img src=x onerror=alert(2)>" onload='x' {{ 7*7 }} $\\frac{ <!-- & ]]> \x00\u2028\ud800"""
VENDOR = Path(atomflow.report.__file__).parent / "vendor"


def hydrated(metal: str = "Li", distance: float = 1.9) -> Atoms:
    water = molecule("H2O")
    return water + Atoms(metal, [water.positions[0] + [0, 0, distance]])


def small_report(text: str = "Li+ water", **changes) -> Report:
    columns = (Column("name", text), Column("energy_eV", "Energy", "eV", 2), Column("note", "Note"))
    rows = ({"name": text, "energy_eV": -1.23456, "note": text}, {"name": "Na+", "energy_eV": None})
    fields = {
        "title": text,
        "question": text,
        "answer": text,
        "tables": (Table(text, columns, rows, text),),
        "charts": (
            BarChart(
                "binding",
                text,
                "Energy (eV)",
                (text, "Na+"),
                {text: [-1.23456, None]},
                {text: [0.05, None]},
                {"literature": [-1.3, -1.0]},
                text,
            ),
        ),
        "views": (View(text, hydrated(), text), View("second", hydrated("Zn", 2.0))),
        "method": (text,),
        "references": (Reference(text, "10.1093/bioinformatics/btu829"), Reference(text)),
        "warnings": (Notice(text, text),),
        "provenance": {text: text},
    } | changes
    return Report(**fields)


class Page(HTMLParser):
    """Tags, attributes and visible text of a page, as a browser would see them."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: dict[str, list[str]] = {}
        self._open = ""
        self.feed(source)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._open = tag

    def handle_data(self, data):
        self.text.setdefault(self._open, []).append(data)


def page_of(report: Report, folder: Path) -> str:
    return write_report(report, folder)[0].read_text(encoding="utf-8")


def test_writes_the_promised_files_and_nothing_else(tmp_path):
    paths = write_report(small_report(), tmp_path / "new" / "study")
    assert [p.relative_to(tmp_path / "new" / "study").as_posix() for p in paths] == [
        "report.html",
        "figures/binding.png",
        "figures/binding.svg",
    ]
    assert sorted(p for p in (tmp_path / "new").rglob("*") if p.is_file()) == sorted(paths)
    assert paths[1].read_bytes().startswith(b"\x89PNG")
    assert ET.parse(paths[2]).getroot().tag.endswith("svg")


def test_colleagues_may_read_what_the_umask_lets_them(tmp_path):
    before = os.umask(0o022)
    try:
        paths = write_report(small_report(), tmp_path)
    finally:
        os.umask(before)
    assert {oct(p.stat().st_mode & 0o777) for p in paths} == {"0o644"}


def test_hostile_text_stays_text(tmp_path):
    clean, hostile = Page(page_of(small_report(), tmp_path / "a")), Page(page_of(small_report(HOSTILE), tmp_path / "b"))
    # Not one element more but the lines of a wrapped title, and not one attribute of a new name.
    tags = [[tag for tag, _ in page.tags if tag not in ("g", "text")] for page in (clean, hostile)]
    assert tags[0] == tags[1]
    assert {name for _, attrs in hostile.tags for name in attrs} == {name for _, attrs in clean.tags for name in attrs}
    assert "alert(1)" in "".join(hostile.text["h1"])
    assert "{{ 7*7 }}" in "".join(hostile.text["h1"])
    ET.parse(tmp_path / "b" / "figures" / "binding.svg")


def test_json_cannot_leave_its_script():
    text = json_for_script([{"label": HOSTILE}])
    assert "<" not in text and ">" not in text
    assert json.loads(text) == [{"label": HOSTILE}]


def test_page_asks_for_nothing(tmp_path):
    source = page_of(small_report(), tmp_path)
    page = Page(source)
    for tag, attrs in page.tags:
        for name in ("src", "href", "xlink:href", "srcset", "action", "data", "poster"):
            value = attrs.get(name) or ""
            if tag == "a" and value.startswith("https://doi.org/"):
                continue
            assert re.match(r"#|data:|$", value), (tag, name, value)
    own = source.replace((VENDOR / "3Dmol-min.js").read_text(encoding="utf-8"), "")
    assert len(own) < len(source) - 500_000
    assert "@import" not in own
    assert all(target.startswith("#") for target in re.findall(r"url\(\s*['\"]?([^)'\"]*)", own))
    policy = next(attrs["content"] for _, attrs in page.tags if attrs.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'; script-src 'sha256-") and "http" not in policy
    assert ("link", {"rel": "icon", "href": "data:,"}) in page.tags


def test_doi_is_a_link_however_it_is_written():
    for doi in (
        "10.1093/bioinformatics/btu829",
        "doi:10.1093/bioinformatics/btu829",
        "https://doi.org/10.1093/bioinformatics/btu829",
        " http://dx.doi.org/10.1093/bioinformatics/btu829",
    ):
        assert Reference("x", doi).link == "https://doi.org/10.1093/bioinformatics/btu829"
    assert Reference("x", "javascript:alert(1)").link.startswith("https://doi.org/")
    assert Reference("x").link == ""


def test_viewer_is_left_out_when_there_are_no_structures(tmp_path):
    source = page_of(small_report(views=()), tmp_path)
    assert len(source) < 60_000 and 'id="canvas"' not in source


def test_bare_report(tmp_path):
    source = page_of(Report("Title", "Question?", "Answer."), tmp_path)
    assert "Answer." in source and "<figure" not in source and 'class="warnings"' not in source


def test_warnings_stand_before_the_figures(tmp_path):
    source = page_of(small_report(warnings=(Notice("unconverged", "The SCF of Zn2+ is loose."),)), tmp_path)
    assert source.index("The SCF of Zn2+ is loose.") < source.index("<figure")


def test_csv_keeps_every_digit(tmp_path):
    rng = np.random.default_rng(3)
    values = [*rng.normal(size=20), 1e-300, np.float32(0.1), np.pi * 1e17, -0.0]
    rows = tuple({"name": f'Li+, "{i}"\n', "energy_eV": v, "starts": np.int64(i)} for i, v in enumerate(values))
    table = Table("t", (Column("name", "Name"), Column("energy_eV", "E", "eV", 1), Column("starts", "Starts")), rows)
    path = table.to_csv(tmp_path / "deep" / "t.csv")
    frame = pd.read_csv(path, converters={"energy_eV": float})
    assert list(frame.columns) == ["name", "energy_eV", "starts"]
    assert frame["energy_eV"].tolist() == [float(v) for v in values]
    assert frame["starts"].tolist() == list(range(len(values)))
    assert frame["name"].tolist() == [row["name"] for row in rows]


def test_missing_values(tmp_path):
    column = Column("e_eV", "E", "eV", 2)
    rows = ({"e_eV": 1.0}, {"e_eV": None}, {}, {"e_eV": float("nan")})
    table = Table("t", (column,), rows)
    assert [column.show(row.get("e_eV")) for row in rows] == ["1.00", "–", "–", "–"]
    assert table.is_numeric(column)
    assert table.to_text().count("–") == 3
    assert table.to_csv(tmp_path / "t.csv").read_text() == 'e_eV\n1.0\n""\n""\n""\n'
    assert pd.read_csv(tmp_path / "t.csv")["e_eV"].isna().tolist() == [False, True, True, True]


@pytest.mark.parametrize(
    ("value", "digits", "shown"),
    [
        (-0.004, 2, "0.00"),
        (-2.514, 2, "-2.51"),
        (3, 1, "3.0"),
        (True, 1, "yes"),
        ("4 of 4", 1, "4 of 4"),
        (3, None, "3"),
        (np.float64(2.5), 3, "2.500"),
    ],
)
def test_cells(value, digits, shown):
    assert Column("k", "K", digits=digits).show(value) == shown


def test_table_for_the_terminal():
    table = Table(
        "Energies [bold]",
        (Column("n", "Ion [red]"), Column("e", "Energy", "eV", 2)),
        ({"n": "[/x] Li+", "e": -2.5}, {"n": "Na+", "e": 10}),
        "a note",
    )
    text = table.to_text()
    for part in ("Energies [bold]", "Ion [red]", "Energy (eV)", "[/x] Li+", "-2.50", "10.00", "a note"):
        assert part in text
    ends = [len(line) for line in text.splitlines() if line.endswith(("-2.50", "10.00"))]
    assert len(set(ends)) == 1, "numbers align right"
    assert "\x1b" not in text
    assert max(map(len, table.to_text(width=24).splitlines())) <= 24


def test_figures_are_deterministic_and_free_of_the_users_settings():
    import matplotlib

    chart = small_report().charts[0]
    first = render(chart)
    with matplotlib.rc_context({"font.size": 31, "axes.facecolor": "red", "svg.fonttype": "path", "text.usetex": True}):
        before = dict(matplotlib.rcParams)
        assert render(chart) == first
        assert dict(matplotlib.rcParams) == before
    assert b"<metadata>" not in first[1] and b"<dc:date>" not in first[1]


def test_whole_page_is_deterministic(tmp_path):
    assert page_of(small_report(), tmp_path / "a") == page_of(small_report(), tmp_path / "b")


def svg_texts(chart: BarChart) -> list[str]:
    return [element.text for element in ET.fromstring(render(chart)[1]).iter() if element.tag.endswith("}text")]


def test_chart_shows_values_names_units_and_reference():
    chart = BarChart(
        "c",
        "Binding",
        "Energy (eV)",
        ("Li+", "Na+"),
        {"DFT": [-2.514, -1.8], "xTB": [-2.91, None]},
        {"DFT": [0.03, None]},
        {"G3": [-2.28, None]},
    )
    texts = svg_texts(chart)
    for part in ("Binding", "Energy (eV)", "Li+", "Na+", "DFT", "xTB", "G3", "−2.51", "−1.80", "−2.91"):
        assert part in texts
    assert "_hidden" in svg_texts(BarChart("c", "T", "y", ("a",), {"_hidden": [1.0], "b": [2.0]})), (
        "matplotlib hides names with an underscore"
    )


def test_bars_errors_and_markers_stand_where_they_should():
    from atomflow.report.figures import draw

    axes = draw(
        BarChart(
            "c",
            "T",
            "y",
            ("a", "b"),
            {"s": [-2.0, None], "t": [1.0, 3.0]},
            {"t": [0.5, None]},
            {"t": [1.2, None], "lit": [None, 2.0]},
        )
    ).axes[0]
    assert sorted(bar.get_height() for bar in axes.patches) == [-2.0, 1.0, 3.0]
    assert [seg[:, 1].tolist() for c in axes.collections for seg in c.get_segments()] == [[0.5, 1.5]]
    marks = [line.get_xydata()[0].tolist() for line in axes.lines if line.get_marker() in "Do"]
    assert marks == [[pytest.approx(0.2), 1.2], [1.0, 2.0]]


@pytest.mark.parametrize("values", [[None, None], [float("nan"), float("inf")], [0.0, 0.0], [1e-9, 1e9], []])
def test_odd_values_still_draw(values):
    chart = BarChart(
        "c", "T", "y", tuple(f"n{i}" for i in range(len(values))), {"s": values}, {"s": values}, {"r": values}
    )
    assert render(chart)[0].startswith(b"\x89PNG")


def test_chart_with_the_wrong_number_of_values_is_refused():
    with pytest.raises(BadOptionError, match="'s' has 1 values for 2 categories"):
        BarChart("c", "T", "y", ("a", "b"), {"s": [1.0]})
    with pytest.raises(BadOptionError, match="not a series"):
        BarChart("c", "T", "y", ("a",), {"s": [1.0]}, {"t": [1.0]})


def test_figure_names_stay_in_their_folder(tmp_path):
    chart = small_report().charts[0]
    charts = tuple(
        BarChart(n, "T", "y", chart.categories, chart.series) for n in ("../../etc/x", "a b", "A b", "..", "Zn²⁺")
    )
    paths = write_report(small_report(charts=charts), tmp_path / "s")
    assert {p.parent for p in paths[1:]} == {tmp_path / "s" / "figures"}
    assert sorted({p.stem for p in paths[1:]}) == ["A-b-2", "Zn", "a-b", "etc-x", "figure"]
    assert file_stem("x" * 500) == "x" * 80


def test_inline_figures_have_ids_of_their_own(tmp_path):
    chart = small_report().charts[0]
    twin = BarChart("twin", chart.title, chart.ylabel, chart.categories, chart.series)
    source = page_of(small_report(charts=(chart, twin)), tmp_path)
    ids = re.findall(r'\bid="([^"]+)"', re.sub(r"<script.*?</script>", "", source, flags=re.S))
    assert len(ids) == len(set(ids))
    targets = re.findall(r'(?:href="#|url\(#)([^")]+)', re.sub(r"<script.*?</script>", "", source, flags=re.S))
    assert targets and set(targets) <= set(ids)


def test_scene_separates_bonds_from_contacts():
    data = scene(View("v", hydrated()))
    assert data["bonds"] == [[0, 1], [0, 2]]
    assert data["contacts"] == [[3, 0]]
    assert data["ions"] == [3]
    assert data["cell"] is None
    assert scene(View("far", hydrated(distance=2.7)))["contacts"] == []
    assert scene(View("K", hydrated("K", 2.8)))["contacts"] == [[3, 0]], "potassium reaches further"
    alone = scene(View("Li+", Atoms("Li")))
    assert (alone["bonds"], alone["contacts"], alone["ions"]) == ([], [], [0])


@pytest.mark.parametrize("seed", range(4))
def test_first_sight_hides_no_contact_however_the_complex_lies(seed):
    atoms = hydrated()
    atoms.positions = Rotation.random(rng=seed).apply(atoms.positions) + 5.0
    seen = Rotation.from_quat(scene(View("v", atoms))["turn"]).apply(atoms.positions)
    assert np.ptp(seen[:, 2]) < 1e-3, "a flat complex lies in the plane of the screen"
    assert seen[3, 0] < seen[:3, 0].min(), "the metal stands on the left"
    assert abs(seen[3, 0] - seen[0, 0]) == pytest.approx(1.9, abs=1e-3)


def test_scene_of_a_crystal_has_its_cell():
    crystal = bulk("LiF", "rocksalt", a=4.03, cubic=True)
    data = scene(View("LiF", crystal))
    assert np.allclose(data["cell"], np.eye(3) * 4.03)
    assert data["bonds"] == [] and len(data["contacts"]) > 0
    lithium = {i for i, s in enumerate(crystal.symbols) if s == "Li"}
    assert {metal for metal, _ in data["contacts"]} <= lithium


def test_xyz_reads_back(tmp_path):
    atoms = hydrated()
    atoms.info.update(charge=1, spin=1, other=object())
    (tmp_path / "v.xyz").write_text(scene(View('a "label"\nwith = lines', atoms))["xyz"])
    back = ase.io.read(tmp_path / "v.xyz", format="extxyz")
    assert back.get_chemical_symbols() == atoms.get_chemical_symbols()
    assert np.allclose(back.positions, atoms.positions, atol=1e-7)
    assert (back.info["charge"], back.info["spin"], back.info["label"]) == (1, 1, 'a "label" with = lines')


def test_vendored_viewer_is_the_one_its_readme_names():
    readme = (VENDOR / "README.md").read_text()
    digest = hashlib.sha256((VENDOR / "3Dmol-min.js").read_bytes()).hexdigest()
    assert f"| sha256 of `3Dmol-min.js` | `{digest}` |" in readme
    assert "3dmol v2.5.5" in (VENDOR / "3Dmol.LICENSE").read_text()
    script = (VENDOR / "3Dmol-min.js").read_text(encoding="utf-8")
    assert "</script" not in script and "<!--" not in script, "would end the element it is embedded in"


def test_licence_of_the_viewer_travels_with_it(tmp_path):
    assert "Copyright (c) 2014, University of Pittsburgh" in page_of(small_report(), tmp_path)


def test_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match="file"):
        write_report(small_report(), tmp_path / "file")
    with pytest.raises(OutputError):
        small_report().tables[0].to_csv(tmp_path / "file" / "t.csv")
    assert (tmp_path / "file").read_text() == "in the way"


def test_failed_write_keeps_the_old_file(tmp_path, monkeypatch):
    path = write_atomically(tmp_path / "x.txt", "old")
    monkeypatch.setattr(
        "pathlib.Path.replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device"))
    )
    with pytest.raises(OutputError, match="No space left"):
        write_atomically(path, "new")
    assert [p.name for p in tmp_path.iterdir()] == ["x.txt"] and path.read_text() == "old"
