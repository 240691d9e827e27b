"""An analysed trajectory as a report: what moves and how fast, what stands around what, and how far to trust it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from atomflow.report.content import BarChart, Column, Curve, LineChart, Reference, Report, Table
from atomflow.report.outcome import Outcome

if TYPE_CHECKING:
    from atomflow.analysis import Findings

#: Points of a curve in a figure; result.json has all.
_MOST_POINTS = 400
_MOST_CURVES = 7
_MOST_SHELLS = 12

_REFERENCES = {
    "msd": Reference("Fast mean square displacement: V. Calandrini et al., Collection SFN 12, 201 (2011)", "10.1051/sfn/201112010"),
    "fit": Reference(
        "Covariance of mean square displacements: J. T. Bullerjahn, S. von Bülow, G. Hummer, J. Chem. Phys. 153, 024116 (2020)",
        "10.1063/5.0008312",
    ),
    "unwrap": Reference("Unwrapping: S. von Bülow, J. T. Bullerjahn, G. Hummer, J. Chem. Phys. 153, 021101 (2020)", "10.1063/5.0008316"),
    "pairs": Reference("Pairs and aggregates: T. Hou et al., Chem. Sci. 12, 14740 (2021)", "10.1039/D1SC04265C"),
}  # fmt: skip


def analysis_outcome(found: Findings) -> Outcome:
    """Everything that ``atomflow analyze`` leaves in a folder."""
    body = found.to_dict()
    report = Report(
        title=f"Analysis of {found.name}",
        question="What moves, how fast, and what stands around it?",
        answer=lead(found),
        tables=tuple(table for table in _tables(found) if table.rows),
        charts=tuple(_charts(found)),
        method=tuple(found.method),
        references=tuple(_references(found)),
        warnings=found.warnings,
    )
    return Outcome(results=body["results"], report=report, schema=found.schema)


def lead(found: Findings) -> str:
    """One sentence with the main numbers."""
    parts = []
    if found.msd is not None:
        for name, one in found.msd.species.items():
            if one.diffusivity_cm2_per_s is not None:
                parts.append(
                    f"D({name}) = {_with_interval(one.diffusivity_cm2_per_s, one.diffusivity_ci95_cm2_per_s)} cm²/s"
                )
            elif one.loglog_slope is not None and not one.diffusive:
                parts.append(f"{name} is not diffusive yet (slope {one.loglog_slope:.2f})")
    if found.coordination is not None:
        parts += [
            f"{pair} {one.mean:.2f} within {one.cutoff_A:.2f} Å" for pair, one in found.coordination.pairs.items()
        ]
    if found.chains is not None:
        for name, chain in found.chains.kinds.items():
            known = "" if chain.correlation_at_end is None else ", relaxed" if chain.relaxed else ", not relaxed"
            parts.append(f"chains of {name} have a radius of gyration of {chain.radius_of_gyration_A:.3g} Å{known}")
    return "; ".join(parts[:6]) + "." if parts else "Nothing could be said; the warnings say why."


def _with_interval(value: float, interval: Sequence[float] | None) -> str:
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    power = math.floor(math.log10(abs(value)))
    text = f"{value / 10**power:.2f}"
    if interval is not None:
        low, high = (limit / 10**power for limit in interval)
        text = f"{text} [{low:.2f}, {high:.2f}]"
    return f"{text}e{power:d}"


def _tables(found: Findings) -> Iterable[Table]:
    if found.msd is not None:
        yield _dynamics(found.msd.species)
    if found.conductivity is not None:
        yield _conductivity(found)
    if found.rdf is not None:
        yield _structure(found)
    for centre, shells in found.shells.items():
        yield _shells(centre, shells)
    if found.chains is not None:
        yield _chains(found.chains.kinds)
    yield _made_of(found)


def _dynamics(species: Mapping[str, Any]) -> Table:
    rows = []
    for name, one in species.items():
        low, high = one.diffusivity_ci95_cm2_per_s or (None, None)
        scaled = [_millionths(value) for value in (one.diffusivity_cm2_per_s, low, high)]
        rows.append(
            {
                "species": name,
                "diffusivity_1e-6_cm2_per_s": scaled[0],
                "ci95_low_1e-6_cm2_per_s": scaled[1],
                "ci95_high_1e-6_cm2_per_s": scaled[2],
                "corrected_1e-6_cm2_per_s": _millionths(one.corrected_diffusivity_cm2_per_s),
                "slope_A2_per_ps": one.slope_A2_per_ps,
                "loglog_slope": one.loglog_slope,
                "diffusive": one.diffusive,
            }
        )
    corrected = Column("corrected_1e-6_cm2_per_s", "Corrected for the box", "1e-6 cm²/s", 4)
    columns = (
        Column("species", "Species"),
        Column("diffusivity_1e-6_cm2_per_s", "Diffusivity", "1e-6 cm²/s", 4),
        Column("ci95_low_1e-6_cm2_per_s", "95 % from", "1e-6 cm²/s", 4),
        Column("ci95_high_1e-6_cm2_per_s", "to", "1e-6 cm²/s", 4),
        *([corrected] if any(row[corrected.key] is not None for row in rows) else []),
        Column("slope_A2_per_ps", "Slope of the MSD", "Å²/ps", 5),
        Column("loglog_slope", "Log-log slope", "", 2),
        Column("diffusive", "Diffusive"),
    )
    note = "A diffusivity is given only where the log-log slope is that of diffusion; without a clock there is none."
    return Table("Diffusion", columns, tuple(rows), note)


def _millionths(value: float | None) -> float | None:
    """In 1e-6; what is not finite is not known."""
    return value * 1e6 if value is not None and math.isfinite(value) else None


def _conductivity(found: Findings) -> Table:
    one = found.conductivity
    assert one is not None
    rows = []
    for label, value, interval in (
        ("Nernst-Einstein: as if ions moved independently", one.nernst_einstein_S_per_cm, one.nernst_einstein_ci95_S_per_cm),
        ("Einstein-Helfand: with their correlations", one.einstein_helfand_S_per_cm, one.einstein_helfand_ci95_S_per_cm),
    ):  # fmt: skip
        low, high = (None if limit is None or not math.isfinite(limit) else limit for limit in interval or (None, None))
        rows.append(
            {"what": label, "conductivity_S_per_cm": value, "ci95_low_S_per_cm": low, "ci95_high_S_per_cm": high}
        )
    low, high = one.haven_ratio_ci95 or (None, None)
    columns = (
        Column("what", "Conductivity"),
        Column("conductivity_S_per_cm", "Value", "S/cm", 6),
        Column("ci95_low_S_per_cm", "95 % from", "S/cm", 6),
        Column("ci95_high_S_per_cm", "to", "S/cm", 6),
    )
    haven = "undetermined" if one.haven_ratio is None else f"{one.haven_ratio:.2f} [{low:.2f}, {high:.2f}]"
    return Table("Ionic conductivity", columns, tuple(rows), f"Haven ratio: {haven}.")


def _structure(found: Findings) -> Table:
    rows = []
    means = found.coordination.pairs if found.coordination is not None else {}
    for pair in dict.fromkeys([*(found.rdf.pairs if found.rdf else ()), *means]):
        rdf = found.rdf.pairs.get(pair) if found.rdf else None
        one = means.get(pair)
        rows.append(
            {
                "pair": pair,
                "first_peak_A": rdf and rdf.first_peak_A,
                "first_peak_g": rdf and rdf.first_peak_g,
                "first_minimum_A": rdf and rdf.first_minimum_A,
                "cutoff_A": one and one.cutoff_A,
                "coordination": one and one.mean,
                "coordination_error": one and one.mean_error,
            }
        )
    columns = (
        Column("pair", "Pair"),
        Column("first_peak_A", "First peak", "Å", 2),
        Column("first_peak_g", "g there", "", 2),
        Column("first_minimum_A", "First minimum", "Å", 2),
        Column("cutoff_A", "Cutoff", "Å", 2),
        Column("coordination", "Coordination number", "", 2),
        Column("coordination_error", "± (standard error)", "", 2),
    )
    return Table("Structure", columns, tuple(rows))


def _shells(centre: str, shells: Any) -> Table:
    rows = []
    for one in shells.compositions[:_MOST_SHELLS]:
        words = ", ".join(f"{count} {name}" for name, count in one.molecules.items() if count) or "bare"
        percent = 100 * one.fraction
        error = None if one.fraction_error is None else 100 * one.fraction_error
        rows.append({"shell": words, "percent": percent, "error_percent": error})
    columns = (
        Column("shell", "Molecules in the shell"),
        Column("percent", "Of all", "%", 1),
        Column("error_percent", "± (standard error)", "%", 1),
    )
    note = ""
    if shells.ion_pairing is not None:
        shares = (
            f"{name.replace('_', '-')} {100 * share.fraction:.1f} %" for name, share in shells.ion_pairing.items()
        )
        note = "Ion pairing: " + ", ".join(shares) + "."
    return Table(f"First shell of {centre}", columns, tuple(rows), note)


def _chains(kinds: Mapping[str, Any]) -> Table:
    columns = (
        Column("kind", "Chains"),
        Column("n_chains", "Number"),
        Column("radius_of_gyration_A", "Radius of gyration", "Å", 2),
        Column("radius_of_gyration_error_A", "± (standard error)", "Å", 2),
        Column("end_to_end_A", "End to end", "Å", 2),
        Column("end_to_end_error_A", "± (standard error)", "Å", 2),
        Column("relaxation_time_ps", "Relaxation time", "ps", 4),
        Column("relaxation_time_error_ps", "± (standard error)", "ps", 4),
        Column("correlation_at_end", "Correlation at the longest lag", "", 2),
        Column("relaxed", "Relaxed"),
    )
    keys = [column.key for column in columns[1:]]
    rows = tuple({"kind": name, **{key: getattr(one, key) for key in keys}} for name, one in kinds.items())
    note = "Roots of mean squares. Relaxed: the run is at least three relaxation times long. "
    return Table("Polymer chains", columns, rows, note + "; ".join(one.text for one in kinds.values()) + ".")


def _made_of(found: Findings) -> Table:
    rows = tuple({"line": line} for line in found.assumed)
    return Table("What it is made of, and what was assumed", (Column("line", "As read from the files"),), rows)


def _charts(found: Findings) -> Iterable[LineChart | BarChart]:
    if found.msd is not None:
        yield _msd_chart(found)
    if found.rdf is not None:
        yield from _rdf_charts(found)
    if found.chains is not None and any(one.correlation_at_end is not None for one in found.chains.kinds.values()):
        yield _chains_chart(found.chains.kinds)


def _chains_chart(kinds: Mapping[str, Any]) -> LineChart:
    curves, timed = [], True
    for name, one in list(kinds.items())[:_MOST_CURVES]:
        timed = one.lag_ps is not None
        lag, value = np.asarray(one.lag_ps if timed else one.lag_frames, float), np.asarray(one.correlation, float)
        places = np.unique(np.linspace(0, len(lag) - 1, _MOST_POINTS).astype(int))
        error = np.zeros(len(value)) if one.correlation_error is None else np.asarray(one.correlation_error, float)
        curves.append(Curve(name, lag[places], value[places], (value - error)[places], (value + error)[places]))
    return LineChart(
        name="chains",
        title="Correlation of the vector between chain ends",
        xlabel="Lag (ps)" if timed else "Lag (frames)",
        ylabel="C",
        curves=tuple(curves),
        caption="1 is the chain as it was, 0 is forgotten. Long lags are averages over few windows.",
    )


def _msd_chart(found: Findings) -> LineChart:
    assert found.msd is not None
    curves, timed = [], True
    for name, one in list(found.msd.species.items())[:_MOST_CURVES]:
        timed = one.lag_ps is not None
        lag = np.asarray(one.lag_ps if timed else one.lag_frames, float)
        value = np.asarray(one.msd_A2, float)
        places = _spread(lag)
        curves.append(Curve(name, lag[places], value[places]))
        fit = _fitted(one, lag)
        if fit is not None:
            curves.append(Curve("", *fit, dashed=True))
    return LineChart(
        name="msd",
        title="Mean square displacement",
        xlabel="Lag (ps)" if timed else "Lag (frames)",
        ylabel="MSD (Å²)",
        curves=tuple(curves),
        log_x=True,
        log_y=True,
        caption=_fitted_over(found.msd.species) + "Long lags are averages over few windows.",
    )


def _fitted_over(species: Mapping[str, Any]) -> str:
    """Where lines were fitted: they lie so close to the curves that dashes alone do not show it."""
    windows = [
        f"{name} {one.fit_window_ps[0]:.4g} to {one.fit_window_ps[1]:.4g} ps"
        for name, one in list(species.items())[:_MOST_CURVES]
        if one.fit_window_ps is not None
    ]
    return f"Dashed: lines fitted over lags ({', '.join(windows)}). " if windows else ""


def _fitted(one: Any, lag: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    window = one.fit_window_ps
    if window is None or one.slope_A2_per_ps is None or one.lag_ps is None:
        return None
    inside = lag[(lag >= window[0]) & (lag <= window[1])]
    if len(inside) < 2:
        return None
    ends = np.geomspace(inside[0], inside[-1], 40)
    return ends, one.offset_A2 + one.slope_A2_per_ps * ends


def _spread(x: np.ndarray) -> np.ndarray:
    """Places of at most so many points, evenly along a logarithmic axis."""
    if len(x) <= _MOST_POINTS:
        return np.arange(len(x))
    return np.unique(np.round(np.geomspace(1, len(x) - 1, _MOST_POINTS)).astype(int))


def _rdf_charts(found: Findings) -> Iterable[LineChart]:
    assert found.rdf is not None
    by_centre: dict[str, list[str]] = {}
    for pair in found.rdf.pairs:
        by_centre.setdefault(pair.partition(":")[0], []).append(pair)
    for centre, pairs in by_centre.items():
        curves = []
        for pair in pairs[:_MOST_CURVES]:
            rdf = found.rdf.pairs[pair]
            curves.append(Curve(pair, rdf.r_A, rdf.g, rdf.g - rdf.g_error, rdf.g + rdf.g_error))
            curves.append(Curve("", rdf.edge_A, rdf.number_around_first, right=True))
        yield LineChart(
            name=f"rdf-{centre}",
            title=f"Radial distribution around {centre}",
            xlabel="r (Å)",
            ylabel="g(r)",
            curves=tuple(curves),
            right_label="Atoms within r (dotted)",
        )


def _references(found: Findings) -> Iterable[Reference]:
    if found.msd is not None:
        yield _REFERENCES["msd"]
        yield _REFERENCES["fit"]
        yield _REFERENCES["unwrap"]
    if any(shells.ion_pairing is not None for shells in found.shells.values()):
        yield _REFERENCES["pairs"]
