"""One HTML file that holds everything: text, tables, figures, structures and the viewer that turns them."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

from atomflow.model.writing import write_atomically
from atomflow.report.content import BarChart, LineChart, Report
from atomflow.report.scene import scene

_HERE = files("atomflow.report")


def write_report(report: Report, folder: Path) -> list[Path]:
    """Write ``report.html`` and ``figures/<name>.png`` and ``.svg`` into a folder, each file complete or not at all.

    Parameters
    ----------
    report : Report
    folder : Path
        Made when absent; files of an earlier report with the same names are replaced.

    Returns
    -------
    list of Path
        ``report.html`` first, then the figures.

    Raises
    ------
    OutputError
        When the folder cannot be written.
    """
    from atomflow.report import figures  # matplotlib takes a third of a second to import

    folder = Path(folder)
    written: list[Path] = []
    inlined: list[dict[str, object]] = []
    for stem, chart in zip(_stems(report.charts), report.charts, strict=True):
        png, svg = figures.render(chart)
        written.append(write_atomically(folder / "figures" / f"{stem}.png", png))
        written.append(write_atomically(folder / "figures" / f"{stem}.svg", svg))
        inlined.append({"chart": chart, "svg": Markup(figures.inline(svg, stem)), "alt": figures.summary(chart)})  # noqa: S704
    # The page comes last: when it is there, its figures are.
    page = write_atomically(folder / "report.html", _page(report, inlined))
    return [page, *written]


def json_for_script(data: object) -> str:
    """JSON that may stand inside a ``<script>`` element: no ``</script>``, no ``<!--``, no bare line separators."""
    text = json.dumps(data, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _page(report: Report, inlined: list[dict[str, object]]) -> str:
    scripts = [_asset("templates/report.js")]
    if report.views:
        scripts.insert(0, _asset("vendor/3Dmol-min.js"))
    environment = Environment(
        autoescape=True,
        loader=FunctionLoader(lambda name: _asset(f"templates/{name}")),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html.j2").render(
        report=report,
        figures=inlined,
        style=Markup(_asset("templates/report.css")),  # noqa: S704
        scripts=[Markup(script) for script in scripts],  # noqa: S704
        policy=_policy(scripts),
        scenes=Markup(json_for_script([scene(view) for view in report.views])),  # noqa: S704
        viewer_licence=_asset("vendor/3Dmol.LICENSE") if report.views else "",
    )


def _policy(scripts: Sequence[str]) -> str:
    """Content security policy: no request to anywhere, and no script but the page's own."""
    hashes = " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(s.encode()).digest()).decode()}'" for s in scripts)
    return f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data: blob:; base-uri 'none'; form-action 'none'"


def _stems(charts: Sequence[BarChart | LineChart]) -> list[str]:
    from atomflow.report.figures import file_stem

    stems: list[str] = []
    for chart in charts:
        stem, number = file_stem(chart.name), 1
        # Compared without case: some file systems do not tell "Li" from "li".
        while stem.lower() in {taken.lower() for taken in stems}:
            number += 1
            stem = f"{file_stem(chart.name)}-{number}"
        stems.append(stem)
    return stems


def _asset(name: str) -> str:
    return (_HERE / name).read_text(encoding="utf-8")
