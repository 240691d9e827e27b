"""A headless Chromium for reports, and the checks that every report must pass in it."""

from __future__ import annotations

import base64
import io
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

_FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1200,1000",
)
_SOFTWARE_WEBGL = ("--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader")
_NO_WEBGL = ("--disable-3d-apis", "--disable-software-rasterizer")


def start_chromium(profile: Path, webgl: bool = True) -> Any:
    """Selenium driver of a fresh headless Chromium; skips the test when there is none, but never in CI."""
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not (chromium and driver):
        reason = "no Chromium here; install it with: apt-get install chromium chromium-driver"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in (*_FLAGS, *(_SOFTWARE_WEBGL if webgl else _NO_WEBGL), f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    browser = webdriver.Chrome(options=options, service=Service(driver))
    browser.set_page_load_timeout(60)
    browser.set_script_timeout(60)
    return browser


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """One Chromium with software WebGL for the whole run."""
    driver = start_chromium(tmp_path_factory.mktemp("chromium"))
    yield driver
    driver.quit()


@pytest.fixture
def check_report(browser: Any) -> Callable[..., dict[str, Any]]:
    """Function that opens a ``report.html`` and asserts what every report owes its reader; see :func:`inspect_report`."""
    return lambda path, **options: inspect_report(browser, path, **options)


def inspect_report(browser: Any, path: str | Path, *, structures: bool = True) -> dict[str, Any]:
    """Open a report and assert a table, a plot, a viewer that draws every structure, no network, a clean console.

    ``structures=False`` is for reports that show none.

    Returns
    -------
    dict
        ``title``, ``answer``, ``tables`` (list of lists of rows of cell texts), ``plots`` (texts of each figure),
        ``views`` (label and atom count of each), ``warnings`` (texts).
    """
    browser.get_log("browser")  # forget what earlier pages said
    browser.get(Path(path).resolve().as_uri())
    seen: dict[str, Any] = browser.execute_script(_READ_PAGE)
    assert seen["title"] and seen["answer"]
    assert seen["tables"] and all(seen["tables"]), "a table without rows"
    assert seen["plots"], "no figure"
    for plot in seen["plots"]:
        assert plot["width"] > 200 and plot["height"] > 100, "a figure that takes no room"
        assert any(character.isdigit() for text in plot["texts"] for character in text), "a figure without numbers"
    seen["plots"] = [plot["texts"] for plot in seen["plots"]]

    seen["views"] = []
    pictures = []
    for index, expected in enumerate(seen.pop("scenes")):
        browser.execute_script(f"document.querySelector('button.view[data-view=\"{index}\"]').click()")
        state = browser.execute_script(_READ_VIEWER)
        assert state["canvas"] == 1, "no canvas in the viewer"
        assert state["pressed"] == [str(index)]
        assert state["atoms"] == expected["atoms"] > 0, f"view {index} shows {state['atoms']} atoms"
        assert _colours(state["png"]) > 20, f"view {index} is blank"
        pictures.append(state["png"])
        seen["views"].append({"label": expected["label"], "atoms": state["atoms"]})
    assert bool(seen["views"]) == structures, f"{len(seen['views'])} structures"
    assert len(set(pictures)) > 1 or len(pictures) < 2, "switching views changes nothing"

    assert browser.execute_script("return performance.getEntriesByType('resource').map(e => e.name)") == []
    # Software rendering warns of its own slowness when a test reads pixels back; that is no fault of the page.
    said = [
        entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE" or entry["source"] != "rendering"
    ]
    assert said == [], said
    return seen


def _colours(data_uri: str) -> int:
    from PIL import Image

    image = Image.open(io.BytesIO(base64.b64decode(data_uri.partition(",")[2]))).convert("RGB")
    return len(np.unique(np.asarray(image).reshape(-1, 3), axis=0))


_READ_PAGE = """
const texts = (root, query) => Array.from(root.querySelectorAll(query), e => e.textContent.trim());
return {
  title: document.querySelector("h1").textContent.trim(),
  answer: document.querySelector(".answer").textContent.trim(),
  warnings: texts(document, ".warnings li"),
  tables: Array.from(document.querySelectorAll("table.data"), t => Array.from(t.tBodies[0].rows, r => texts(r, "td"))),
  plots: Array.from(document.querySelectorAll("figure.chart svg"), svg => {
    const box = svg.getBoundingClientRect();
    return {width: box.width, height: box.height, texts: texts(svg, "text")};
  }),
  scenes: JSON.parse(document.getElementById("scenes").textContent).map(
    s => ({label: s.label, atoms: parseInt(s.xyz.split("\\n")[0])})),
};
"""

_READ_VIEWER = """
const viewer = window.atomflow.viewer;
return {
  canvas: document.querySelectorAll("#canvas canvas").length,
  pressed: Array.from(document.querySelectorAll("button.view[aria-pressed=true]"), b => b.dataset.view),
  atoms: viewer.getModel().selectedAtoms({}).length,
  png: viewer.pngURI(),
};
"""
