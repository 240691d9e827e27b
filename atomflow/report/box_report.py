"""A built box as a report: what was asked for, what it holds, how far its numbers may be trusted, how it looks."""

from __future__ import annotations

import io
import itertools
from typing import TYPE_CHECKING, Any

import numpy as np
from ase import Atoms

from atomflow.model import Notice, System
from atomflow.report.content import Column, Report, Table, View

if TYPE_CHECKING:
    from atomflow.build import BuiltBox

METHOD = (
    "Counted from the recipe's weights and moles; chains grown unit by unit; rigid molecules placed at random where they "
    "overlap least, those that touch given way to each other, at a fraction of the wanted density; typed; pushed off by "
    "LAMMPS. Not equilibrated: the density is that of the packing."
)


def composition_table(built: BuiltBox) -> Table:
    """Target and achieved composition."""
    rows: list[dict[str, Any]] = [
        {
            "name": one.name,
            "role": one.role,
            "asked": one.asked,
            "grade": one.grade,
            "count": one.count,
            "units": one.units if one.role in ("polymer", "filler") else None,
            "target_wt_percent": one.target_wt_percent,
            "achieved_wt_percent": one.achieved_wt_percent,
            "target_count": one.target_count,
        }
        for one in built.composition.portions
    ]
    columns = (
        Column("name", "Component"),
        Column("role", "Role"),
        Column("asked", "Asked for"),
        Column("grade", "Grade"),
        Column("target_wt_percent", "Target", "wt%", 2),
        Column("achieved_wt_percent", "Achieved", "wt%", 2),
        Column("target_count", "Target", "count", 2),
        Column("count", "Achieved", "count"),
        Column("units", "Units each"),
    )
    shown = tuple(column for column in columns if any(row[column.key] is not None for row in rows))
    return Table(f"Composition of {built.recipe.name}", shown, tuple(rows))


def box_notices(built: BuiltBox, system: System) -> tuple[Notice, ...]:
    """What could mislead: assumed amounts, and the warnings of the force field."""
    assumed = [what for what, figure in built.recipe.figures() if figure.grade == "assumed"]
    found = []
    if assumed:
        found.append(
            Notice("assumed-composition", f"{len(assumed)} figures of the recipe are assumed: {', '.join(assumed)}")
        )
    found.append(
        Notice(
            "not-equilibrated",
            f"density {system.box.density_g_cm3:.2f} g/cm3 is that of the packing, {built.composition.density_g_cm3:.2f} "
            "is wanted: compress and equilibrate before measuring",
        )
    )
    return (*found, *system.warnings)


def box_summary(built: BuiltBox, system: System) -> str:
    """One line: what was built and how sure it is."""
    grades = ", ".join(f"{many} {grade}" for grade, many in system.grades().items())
    return (
        f"{built.recipe.name}: {len(system)} atoms, {len(system.box.molecules)} molecules, charge {system.charge_e:+.4f} e, "
        f"{system.box.density_g_cm3:.3f} g/cm3, {len(system.types)} atom types, {system.forcefield}, ionic charges x "
        f"{system.charge_scale:g}; numbers: {grades}; worst {system.worst_grade}; recipe {built.recipe.worst_grade}"
    )


def box_picture(system: System, title: str) -> bytes:
    """PNG of the box seen along y, near atoms over far ones; one collection of dots, since a ball each takes minutes."""
    import matplotlib.pyplot as plt
    from ase.data import covalent_radii
    from ase.data.colors import jmol_colors
    from matplotlib.lines import Line2D

    atoms = _shown(system)
    order = np.argsort(-atoms.positions[:, 1], kind="stable")
    x, depth, z = atoms.positions[order].T
    numbers = atoms.numbers[order]
    wide, high = system.box.cell_A[0, 0], system.box.cell_A[2, 2]
    figure, axes = plt.subplots(figsize=(6.4, 6.0), dpi=150)
    try:
        # Points per angstrom on the page, so that a dot is as large as its atom.
        scale = 0.75 * 72 * 6.0 / max(wide, high)
        near = 0.35 + 0.65 * (1 - (depth - depth.min()) / max(np.ptp(depth), 1e-9))
        colours = 1 - near[:, None] * (1 - jmol_colors[numbers])
        sizes = np.pi / 4 * (1.2 * covalent_radii[numbers] * scale) ** 2
        axes.scatter(x, z, s=sizes, c=colours, edgecolors="#444444", linewidths=0.15)
        axes.plot([0, wide, wide, 0, 0], [0, 0, high, high, 0], color="black", linewidth=0.8)
        axes.set_aspect("equal")
        axes.set_axis_off()
        axes.set_title(title, fontsize=11)
        kinds = dict.fromkeys(zip(atoms.get_chemical_symbols(), atoms.numbers.tolist(), strict=True))
        marks = [
            Line2D([], [], marker="o", linestyle="", markeredgecolor="black", label=symbol, color=jmol_colors[number])
            for symbol, number in kinds
        ]
        axes.legend(handles=marks, loc="lower center", bbox_to_anchor=(0.5, -0.09), ncols=len(marks), frameon=False)
        text = io.BytesIO()
        figure.savefig(text, format="png", bbox_inches="tight", metadata={"Software": "atomflow"})
        return text.getvalue()
    finally:
        plt.close(figure)


def box_report(built: BuiltBox, system: System) -> Report:
    """The report page."""
    figures = tuple(
        {"what": what, "value": str(figure) if hasattr(figure, "unit") else f"{figure.value:g}", "grade": figure.grade,
         "source": figure.source}
        for what, figure in built.recipe.figures()
    )  # fmt: skip
    grades = tuple({"grade": grade, "numbers": many} for grade, many in system.grades().items())
    return Report(
        title=f"Box of {built.recipe.title}",
        question=f"What does this box of {built.recipe.name} hold, and how far may its numbers be trusted?",
        answer=box_summary(built, system),
        tables=(
            composition_table(built),
            Table(
                "Where the recipe's figures come from",
                (
                    Column("what", "Figure"),
                    Column("value", "Value"),
                    Column("grade", "Grade"),
                    Column("source", "Source"),
                ),
                figures,
            ),
            Table("Force-field numbers", (Column("grade", "Grade"), Column("numbers", "Numbers")), grades),
        ),
        views=(View(built.recipe.name, _shown(system), built.recipe.title),) if len(system) <= 12000 else (),
        method=(METHOD, f"Published: {built.recipe.published}"),
        warnings=box_notices(built, system),
    )


def _shown(system: System) -> Atoms:
    atoms = system.box.atoms
    first = system.box.first_atoms
    edges = np.diag(system.box.cell_A)
    for start, end in itertools.pairwise(first):
        middle = atoms.positions[start:end].mean(axis=0)
        atoms.positions[start:end] -= np.floor(middle / edges) * edges
    atoms.wrap()
    return atoms
