"""The report as a reader meets it: in a browser, from disk, without a network."""

import importlib.util
import time
from pathlib import Path

import pytest
from ase import Atoms
from ase.build import bulk, molecule

from atomflow.model import Notice
from atomflow.report import BarChart, Column, Reference, Report, Table, View, write_report

pytestmark = [pytest.mark.browser, pytest.mark.slow]

HOSTILE = "</script><script>window.hacked = 1</script><img src=x onerror='window.hacked = 2'> $x_{"


def small_study() -> Report:
    water = molecule("H2O")
    columns = (Column("ion", "Ion"), Column("energy_eV", "Binding energy", "eV", 2), Column("starts", "Starts", "", 0))
    rows = ({"ion": "Li+", "energy_eV": -1.52, "starts": 4}, {"ion": "K+", "energy_eV": None, "starts": 4}, {"ion": "Zn2+", "energy_eV": -10.1, "starts": 2}, {"ion": HOSTILE, "energy_eV": -1.04, "starts": 3})  # fmt: skip
    return Report(
        "Ions and water",
        "Which ion?",
        "Zn2+ is held most strongly.",
        tables=(Table("Binding", columns, rows),),
        charts=(
            BarChart(
                "binding", "Binding to water", "Energy (eV)", ("Li+", "Zn2+"), {"DFT": [-1.52, -10.1]}, caption=HOSTILE
            ),
        ),
        views=(
            View("Li+ in water", water + Atoms("Li", [water.positions[0] + [0, 0, 1.85]]), "Li-O 1.85 A"),
            View(HOSTILE, water + Atoms("Zn", [[0, 0, 2.0]]), HOSTILE),
            View("LiF", bulk("LiF", "rocksalt", a=4.03, cubic=True)),
        ),
        method=("Made up.",),
        references=(Reference("Somebody", "10.1093/bioinformatics/btu829"),),
        warnings=(Notice("made_up", "These numbers are made up."),),
        provenance={"Seed": "7"},
    )


@pytest.fixture
def page(tmp_path):
    return write_report(small_study(), tmp_path)[0]


def column_of(browser, index):
    return browser.execute_script(
        f"return Array.from(document.querySelector('table.data').tBodies[0].rows, r => r.cells[{index}].textContent)"
    )


def test_report_opens_whole(check_report, browser, page):
    seen = check_report(page)
    assert [row[:2] for row in seen["tables"][0]] == [
        ["Li+", "-1.52"],
        ["K+", "–"],
        ["Zn2+", "-10.10"],
        [HOSTILE, "-1.04"],
    ]
    assert {"−1.52", "−10.10", "Energy (eV)", "Zn2+"} <= set(seen["plots"][0])
    assert seen["views"] == [
        {"label": "Li+ in water", "atoms": 4},
        {"label": HOSTILE, "atoms": 4},
        {"label": "LiF", "atoms": 8},
    ]
    assert "These numbers are made up." in seen["warnings"][0]
    assert browser.execute_script("return window.hacked === undefined")


def test_tables_sort_by_value_with_missing_values_last(browser, page):
    browser.get(page.as_uri())
    header = browser.find_elements("css selector", "table.data th button")[1]
    header.click()
    assert column_of(browser, 1) == ["-10.10", "-1.52", "-1.04", "–"]
    header.click()
    assert column_of(browser, 1) == ["-1.04", "-1.52", "-10.10", "–"]
    assert browser.find_elements("css selector", "table.data th")[1].get_attribute("aria-sort") == "descending"


def test_infinite_values_sort_to_the_ends(browser, tmp_path):
    rows = tuple({"e": value} for value in (1.0, float("inf"), None, float("-inf"), -1e-9))
    path = write_report(Report("T", "Q", "A", tables=(Table("t", (Column("e", "E", "eV", 1),), rows),)), tmp_path)[0]
    browser.get(path.as_uri())
    browser.find_element("css selector", "table.data th button").click()
    assert column_of(browser, 0) == ["-inf", "0.0", "1.0", "inf", "–"]


def test_sticks_and_dashed_contacts_are_drawn(browser, page):
    browser.get(page.as_uri())
    bonds = browser.execute_script(
        "return window.atomflow.viewer.getModel().selectedAtoms({}).map(a => a.bonds.length)"
    )
    assert bonds == [2, 1, 1, 0]
    with_contact = browser.execute_script("return window.atomflow.viewer.pngURI()")
    without = browser.execute_script(
        "const v = window.atomflow.viewer; v.removeAllShapes(); v.render(); return v.pngURI()"
    )
    assert with_contact != without


def test_atom_labels_toggle_and_mouse_turns_the_molecule(browser, page):
    from selenium.webdriver import ActionChains

    browser.get(page.as_uri())
    view = "return JSON.stringify(window.atomflow.viewer.getView())"
    before = browser.execute_script(view)
    canvas = browser.find_element("css selector", "#canvas canvas")
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", canvas)
    ActionChains(browser).move_to_element(canvas).click_and_hold().move_by_offset(80, 30).release().perform()
    turned = browser.execute_script(view)
    assert turned != before
    plain = browser.execute_script("return window.atomflow.viewer.pngURI()")
    button = browser.find_element("id", "labels")
    button.click()
    assert button.get_attribute("aria-pressed") == "true"
    assert browser.execute_script("return window.atomflow.viewer.pngURI()") != plain
    assert browser.execute_script(view) == turned, "labels must not turn the molecule back"


def test_download_gives_the_xyz_on_show(browser, page, tmp_path):
    import ase.io

    target = tmp_path / "downloads"
    target.mkdir()
    browser.execute_cdp_cmd("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(target)})
    browser.get(page.as_uri())
    browser.find_elements("css selector", "button.view")[2].click()
    browser.find_element("id", "download").click()
    deadline = time.monotonic() + 20
    while not (target / "LiF.xyz").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    atoms = ase.io.read(target / "LiF.xyz", format="extxyz")
    assert len(atoms) == 8 and atoms.pbc.all()


def test_narrow_screens_do_not_scroll_sideways(browser, page):
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {"width": 380, "height": 800, "deviceScaleFactor": 1, "mobile": True}
    )
    try:
        browser.get(page.as_uri())
        assert browser.execute_script("return document.documentElement.scrollWidth") <= 380
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_without_webgl_the_page_says_so(page, tmp_path):
    # conftest.py is no module under importlib mode; its function is loaded from the file.
    spec = importlib.util.spec_from_file_location("report_conftest", Path(__file__).with_name("conftest.py"))
    conftest = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(conftest)
    browser = conftest.start_chromium(tmp_path / "profile", webgl=False)
    try:
        browser.get(page.as_uri())
        assert browser.find_element("id", "no-webgl").is_displayed()
        assert not browser.find_element("id", "labels").is_displayed()
        assert browser.find_element("id", "download").is_displayed()
        assert [entry for entry in browser.get_log("browser") if entry["source"] != "rendering"] == []
    finally:
        browser.quit()
