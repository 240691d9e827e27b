"""Charts as PNG and SVG, drawn with matplotlib's object interface: no pyplot, no display, no user settings."""

from __future__ import annotations

import io
import math
import re
import textwrap
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.text import Text

from atomflow.report.content import BarChart, Curve, LineChart

#: Okabe and Ito's palette, which survives the common colour-vision deficiencies (doi 10.1038/nmeth.1618), ordered so
#: that neighbours differ in lightness too.
PALETTE = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442")
#: Colours the HTML page replaces by its own, so that an inline figure follows light and dark mode.
INK, FAINT, PAPER = "#1f2933", "#d3dae1", "#fffffe"
_MARKERS = "DosvP^"
_SETTINGS: dict[str, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 10.0,
    "svg.fonttype": "none",  # text stays text: searchable, readable aloud, and half the size
    "axes.unicode_minus": True,
    "path.simplify": False,
}


def file_stem(name: str) -> str:
    """Name that is safe in any folder: letters, digits, dot, dash, underscore; never hidden or empty."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.")[:80] or "figure"


def render(chart: BarChart | LineChart) -> tuple[bytes, bytes]:
    """PNG and SVG bytes of a chart; the same chart gives the same SVG, byte by byte."""
    png, svg = io.BytesIO(), io.BytesIO()
    with _own_settings(chart.name):
        figure = draw(chart)
        figure.savefig(png, format="png", dpi=200, metadata={"Software": None})
        figure.savefig(svg, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    return png.getvalue(), svg.getvalue()


def draw(chart: BarChart | LineChart) -> Figure:
    """Matplotlib figure of a chart."""
    return _draw_line_chart(chart) if isinstance(chart, LineChart) else _draw_bar_chart(chart)


def _draw_bar_chart(chart: BarChart) -> Figure:
    count, groups = len(chart.categories), max(len(chart.series), 1)
    width = min(max(5.2, 1.6 + 0.42 * count * groups, 1.6 + 0.75 * count), 14.0)
    figure = Figure(figsize=(width, 3.9), layout="constrained", facecolor=PAPER)
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    handles = _draw_bars(axes, chart)
    legend_rows = _draw_legend(axes, handles, room=int(13 * width)) if len(handles) > 1 else 0
    _dress(axes, chart, title_pad=10 + 16 * legend_rows, title_width=int(11 * width))
    return figure


def _draw_line_chart(chart: LineChart) -> Figure:
    width = 6.4
    figure = Figure(figsize=(width, 4.1), layout="constrained", facecolor=PAPER)
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    if chart.log_x:
        axes.set_xscale("log")
    if chart.log_y:
        axes.set_yscale("log")
    right = axes.twinx() if any(curve.right for curve in chart.curves) else None
    handles: list[tuple[Artist, str]] = []
    rank = -1
    for curve in chart.curves:
        if not (curve.dashed or curve.right) or rank < 0:
            rank += 1
        own = right if curve.right and right is not None else axes
        line = _draw_curve(own, curve, PALETTE[rank % len(PALETTE)], chart)
        if curve.label:
            handles.append((line, curve.label))
    legend_rows = _draw_legend(axes, handles, room=int(13 * width)) if handles else 0
    axes.set_facecolor(PAPER)
    title = "\n".join(textwrap.wrap(_text(chart.title, 200), int(11 * width)))
    _literal(axes.set_title(title, loc="left", fontsize=11.5, fontweight="bold", color=INK, pad=10 + 16 * legend_rows))
    _literal(axes.set_xlabel(_text(chart.xlabel, 60), color=INK))
    _literal(axes.set_ylabel(_text(chart.ylabel, 60), color=INK))
    axes.grid(color=FAINT, linewidth=0.7, zorder=0)
    if right is not None:
        _literal(right.set_ylabel(_text(chart.right_label, 60), color=INK))
    for each in (axes, right):
        if each is not None:
            each.tick_params(colors=INK, which="both", length=3, width=0.6)
            for side in each.spines.values():
                side.set_visible(False)
    if not handles and not chart.curves:
        axes.text(0.5, 0.5, "no values", transform=axes.transAxes, ha="center", va="center", color=INK)
    return figure


def _draw_curve(axes: Axes, curve: Curve, colour: str, chart: LineChart) -> Artist:
    x, y = np.asarray(curve.x, float), np.asarray(curve.y, float)
    seen = np.isfinite(x) & np.isfinite(y)
    if chart.log_x:
        seen &= x > 0
    if chart.log_y and not curve.right:
        seen &= y > 0
    x, y = np.where(seen, x, np.nan), np.where(seen, y, np.nan)
    if curve.low is not None and curve.high is not None:
        low, high = np.asarray(curve.low, float), np.asarray(curve.high, float)
        if chart.log_y and not curve.right:
            low = np.maximum(low, np.nanmin(y) * 1e-2) if seen.any() else low
        axes.fill_between(x, low, high, color=colour, alpha=0.18, linewidth=0, zorder=1)
    dashes = "--" if curve.dashed else ":" if curve.right else "-"
    (line,) = axes.plot(x, y, linestyle=dashes, color=colour, linewidth=1.1 if curve.dashed else 1.6, zorder=3)
    return line


@contextmanager
def _own_settings(salt: str) -> Iterator[None]:
    # A user's matplotlibrc must not change a report; the salt makes the SVG's ids reproducible.
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_SETTINGS)  # type: ignore[arg-type]
        matplotlib.rcParams["svg.hashsalt"] = f"atomflow:{salt}"
        yield


def _draw_bars(axes: Axes, chart: BarChart) -> list[tuple[Artist, str]]:
    handles: list[tuple[Artist, str]] = []
    width = 0.8 / len(chart.series) if len(chart.series) > 1 else 0.56
    small = len(chart.categories) * len(chart.series) > 24
    offsets = {name: (rank - (len(chart.series) - 1) / 2) * width for rank, name in enumerate(chart.series)}
    for rank, (name, values) in enumerate(chart.series.items()):
        points = _points(values, offsets[name])
        halves = {x: abs(half) for x, half in _points((chart.errors or {}).get(name, ()), offsets[name]) if half}
        patch = Patch(color=PALETTE[rank % len(PALETTE)])
        axes.bar(
            [x for x, _ in points], [y for _, y in points], width * 0.92, color=PALETTE[rank % len(PALETTE)], zorder=2
        )
        for x, y in points:
            if x in halves:
                axes.errorbar([x], [y], yerr=[halves[x]], fmt="none", ecolor=INK, elinewidth=1.1, capsize=3, zorder=4)
            _label_value(axes, x, y, halves.get(x, 0.0), small)
        handles.append((patch, name))
    for rank, (name, values) in enumerate((chart.reference or {}).items()):
        points = _points(values, offsets.get(name, 0.0))
        style = {
            "marker": _MARKERS[rank % len(_MARKERS)],
            "markersize": 7,
            "markerfacecolor": PAPER,
            "markeredgecolor": INK,
            "markeredgewidth": 1.4,
        }
        (markers,) = axes.plot([x for x, _ in points], [y for _, y in points], linestyle="none", zorder=5, **style)  # type: ignore[arg-type]
        handles.append((markers, f"{name} (reference)" if name in chart.series else name))
    return handles


def _draw_legend(axes: Axes, handles: list[tuple[Artist, str]], room: int) -> int:
    # Above the bars, whose ends the legend must not hide; returns its rows. Six characters go to a marker and its gap.
    names = [_text(name, 60) for _, name in handles]
    widths = [len(name) + 6 for name in names]
    columns = len(names) if sum(widths) <= room else max(1, room // max(widths))
    legend = axes.legend(
        [handle for handle, _ in handles], names, loc="lower left", bbox_to_anchor=(0, 1.01), ncols=columns, frameon=False,
        fontsize=9, borderaxespad=0, borderpad=0.2, handlelength=1.4, labelcolor=INK, columnspacing=1.6,
    )  # fmt: skip
    for text in legend.get_texts():
        _literal(text)
    return math.ceil(len(names) / columns)


def _label_value(axes: Axes, x: float, value: float, half: float, small: bool) -> None:
    # Beyond the error bar, on the side away from zero.
    upward = value >= 0
    text = axes.annotate(
        shown_value(value), (x, value + (half if upward else -half)), xytext=(0, 3 if upward else -3), textcoords="offset points",
        ha="center", va="bottom" if upward else "top", fontsize=7 if small else 8.5, color=INK, zorder=6, annotation_clip=False,
    )  # fmt: skip
    text.set_bbox({"facecolor": PAPER, "edgecolor": "none", "alpha": 0.75, "pad": 0.6})


def _dress(axes: Axes, chart: BarChart, title_pad: float, title_width: int) -> None:
    axes.set_facecolor(PAPER)
    title = "\n".join(textwrap.wrap(_text(chart.title, 3 * title_width), title_width))
    _literal(axes.set_title(title, loc="left", fontsize=11.5, fontweight="bold", color=INK, pad=title_pad))
    _literal(axes.set_ylabel(_text(chart.ylabel, 48), color=INK))
    names = [_text(name, 32) for name in chart.categories]
    slanted = max(map(len, names), default=0) * len(names) > 90
    axes.set_xticks(range(len(names)), names)
    for label in axes.get_xticklabels():
        _literal(label)
        label.set(
            color=INK,
            rotation=35 if slanted else 0,
            ha="right" if slanted else "center",
            rotation_mode="anchor" if slanted else "default",
        )
    axes.tick_params(axis="x", length=0, pad=6)
    axes.tick_params(axis="y", colors=INK, length=0)
    axes.grid(axis="y", color=FAINT, linewidth=0.8, zorder=0)
    axes.axhline(0.0, color=INK, linewidth=1.0, zorder=3)
    axes.set_xlim(-0.6, max(len(chart.categories), 1) - 0.4)
    axes.margins(y=0.14)
    for side in axes.spines.values():
        side.set_visible(False)
    if not any(_points(values, 0.0) for values in chart.series.values()):
        axes.text(0.5, 0.5, "no values", transform=axes.transAxes, ha="center", va="center", color=INK)


def shown_value(value: float) -> str:
    """Write a number as it stands at its bar: two decimals, or three significant figures where two decimals would lose it."""
    text = f"{value:.2f}" if value == 0 or 0.1 <= abs(value) < 1e4 else f"{value:.3g}"
    return text.replace("-", "\N{MINUS SIGN}")


def summary(chart: BarChart | LineChart) -> str:
    """One sentence that says what the figure shows, for those who cannot see it."""
    if isinstance(chart, LineChart):
        names = ", ".join(curve.label for curve in chart.curves if curve.label)
        return f"Line chart. {chart.title}; {chart.ylabel} against {chart.xlabel}. {names}."
    parts = []
    for name, values in [*chart.series.items(), *(chart.reference or {}).items()]:
        shown = {int(x): shown_value(y) for x, y in _points(values, 0.0)}
        parts.append(
            f"{name}: "
            + ", ".join(f"{category} {shown.get(i, 'missing')}" for i, category in enumerate(chart.categories))
        )
    return f"Bar chart. {chart.title}; {chart.ylabel}. " + "; ".join(parts) + "."


def inline(svg: bytes, stem: str) -> str:
    """SVG element for use inside a page: no prolog, ids of its own, colours that follow the page's theme."""
    text = svg.decode("utf-8")
    text = text[text.index("<svg") :]
    text = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{stem}-", text)
    text = re.sub(r'^<svg([^>]*?) width="[^"]*"', r"<svg\1", text, count=1)
    text = re.sub(r'^<svg([^>]*?) height="[^"]*"', r"<svg\1", text, count=1)
    themed = {INK: "var(--ink)", FAINT: "var(--line)", PAPER: "var(--paper)"}

    def recolour(tag: re.Match[str]) -> str:
        return re.sub("|".join(themed), lambda colour: themed[colour[0]], tag[0])

    # Only inside tags: what users wrote is text between them, where "<" is always escaped.
    return re.sub(r"<[^>]*>", recolour, text)


def _points(values: Sequence[float | None], offset: float) -> list[tuple[float, float]]:
    # Positions and heights of what can be drawn: present and finite.
    return [(i + offset, float(value)) for i, value in enumerate(values) if value is not None and math.isfinite(value)]


def _text(text: str, longest: int) -> str:
    # Control characters and lone surrogates would make the SVG unreadable as XML; a novel would leave no room for bars.
    clean = "".join(" " if unicodedata.category(char) in ("Cc", "Cs") else char for char in text)
    return clean if len(clean) <= longest else clean[: longest - 1] + "…"


def _literal(text: Text) -> None:
    text.set_parse_math(False)  # a "$" in a user's label is a "$"
