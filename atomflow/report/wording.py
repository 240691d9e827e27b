"""Tables, method text and references shared by the studies of energies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from atomflow.energetics import BindingEnergy, DissociationEnergy, Ladder, method_label
from atomflow.report.content import Column, Reference, Table

EV_TO_KJ_PER_MOL = 96.48533212331002  # Avogadro's number times the elementary charge over 1000: exact in the 2019 SI


def binding_table(results: Sequence[BindingEnergy], title: str) -> Table:
    """One row an ion and its ligands, strongest first."""
    rows = [
        {
            "ion": r.ion,
            "ligands": " + ".join(r.ligands),
            "binding_energy_eV": r.binding_energy_eV,
            "uncertainty_eV": r.uncertainty_eV,
            "counterpoise_eV": r.counterpoise_eV,
            "gibbs_eV": r.gibbs_eV,
            "deformation_eV": r.deformation_eV,
            "distances": contacts_text(r),
            "hits": f"{r.hit_rate * r.starts:.0f}/{r.starts}",
            "true_minimum": r.true_minimum,
        }
        for r in sorted(results, key=lambda r: r.binding_energy_eV)
    ]
    columns = (
        Column("ion", "Ion"),
        Column("ligands", "Ligands"),
        Column("binding_energy_eV", "Binding energy", "eV", 3),
        Column("uncertainty_eV", "±", "eV", 3),
        Column("counterpoise_eV", "Counterpoise-corrected", "eV", 3),
        Column("gibbs_eV", "ΔG", "eV", 3),
        Column("deformation_eV", "Deformation", "eV", 3),
        Column("distances", "Contacts", "Å"),
        Column("hits", "Starts that found it"),
        Column("true_minimum", "True minimum"),
    )
    return Table(title, _filled(columns, rows), tuple(rows), note="; ".join(dict.fromkeys(r.method for r in results)))


def dissociation_table(results: Sequence[DissociationEnergy], title: str) -> Table:
    """One row a reaction, in the order given."""
    rows = [
        {
            "complex": r.complex,
            "products": " | ".join(r.products),
            "dissociation_energy_eV": r.dissociation_energy_eV,
            "uncertainty_eV": r.uncertainty_eV,
            "counterpoise_eV": r.counterpoise_eV,
            "gibbs_eV": r.gibbs_eV,
            "distances": contacts_text(r),
            "hits": f"{r.hit_rate * r.starts:.0f}/{r.starts}",
            "true_minimum": r.true_minimum,
            "method": r.method,
        }
        for r in results
    ]
    columns = (
        Column("complex", "Complex"),
        Column("products", "Products"),
        Column("dissociation_energy_eV", "Dissociation energy", "eV", 3),
        Column("uncertainty_eV", "±", "eV", 3),
        Column("counterpoise_eV", "Counterpoise-corrected", "eV", 3),
        Column("gibbs_eV", "ΔG", "eV", 3),
        Column("distances", "Contacts", "Å"),
        Column("hits", "Starts that found it"),
        Column("true_minimum", "True minimum"),
        Column("method", "Method"),
    )
    return Table(title, _filled(columns, rows), tuple(rows))


def _filled(columns: tuple[Column, ...], rows: Sequence[dict[str, Any]]) -> tuple[Column, ...]:
    """Only the columns that hold something: what was not computed should not look like a gap."""
    return tuple(c for c in columns if any(row.get(c.key) is not None for row in rows))


def contacts_text(result: BindingEnergy | DissociationEnergy) -> str:
    """Shortest contacts and how many donors each ligand gives, for example ``Li-O 1.69 (DMF x1)``."""
    nearest = ", ".join(f"{label} {distance:.2f}" for label, distance in result.distances_A.items())
    donors = ", ".join(f"{name} ×{count}" for name, count in result.coordination.items() if count > 1)
    return f"{nearest} ({donors})" if donors else nearest


def method_text(ladder: Ladder, seed: int) -> tuple[str, ...]:
    """The method in words, for any study built on :mod:`atomflow.energetics`."""
    first = method_label(ladder.first)
    other = ladder.dication_screen
    exception = f" (beside bare dications with {method_label(other)})" if other and other != ladder.screen else ""
    text = [
        "Every complex was started from random geometries: uniformly random orientations, donor atoms at bonding distance "
        f"from the cation, no clashes (seed {seed}). Each start was relaxed with {first}{exception}; geometries that are the same up to "
        "rotation, reflection and exchange of equal atoms were merged, and how many starts found the lowest one is reported."
    ]
    if ladder.geometry != ladder.first:
        text.append(
            f"The lowest minima were relaxed again with {method_label(ladder.geometry)} in internal coordinates, down to forces of "
            f"{ladder.force_tolerance_eV_per_A} eV/Å."
        )
    if ladder.energy != ladder.geometry:
        text.append(f"Energies are single points with {method_label(ladder.energy)} on those geometries.")
    text.append(
        "All species of a reaction were treated with the same method, basis set and settings. Energies are electronic energies in "
        "vacuum at 0 K without zero-point motion unless a column says otherwise. The uncertainty is the spread between starts and, "
        "where computed, the whole basis-set superposition error; it does not contain the error of the method."
    )
    if ladder.hessian is not None:
        text.append(
            f"Vibrations are harmonic, with {method_label(ladder.hessian)}; free energies are for an ideal gas of rigid rotors and "
            "harmonic oscillators at 298.15 K and 1 bar, with modes under 50 cm-1 counted as 50 cm-1."
        )
    text.append(
        "The references below are those that the packages which did the work ask to be cited; they were not read for this."
    )
    return tuple(text)


def references_of(ladder: Ladder) -> tuple[Reference, ...]:
    """What a reader should cite for the calculators of a ladder."""
    rows = [Reference(text, doi) for text, doi in ladder.references]
    rows.append(Reference("Larsen et al., ASE, J. Phys. Condens. Matter 2017", "10.1088/1361-648X/aa680e"))
    if ladder.geometry.name == "dft":
        rows.append(Reference("Wang, Song, geomeTRIC, J. Chem. Phys. 2016", "10.1063/1.4952956"))
    return tuple(rows)


def row_values(results: Sequence[BindingEnergy | DissociationEnergy]) -> list[dict[str, Any]]:
    """Values as the scoreboard records them: the counterpoise-corrected energy where there is one."""
    rows: list[dict[str, Any]] = []
    for r in results:
        if isinstance(r, BindingEnergy):
            label, energy = " - ".join([r.ion, *r.ligands]), r.binding_energy_eV
        else:
            label, energy = f"{r.complex} -> {' | '.join(r.products)}", r.dissociation_energy_eV
        corrected = r.counterpoise_eV is not None
        rows.append(
            {
                "label": label,
                "value": r.counterpoise_eV if corrected else energy,
                "unit": "eV",
                "uncertainty": r.uncertainty_eV,
                "method": r.method + (", counterpoise" if corrected else ""),
            }
        )
    # One reaction by several methods: the label must still name one value, by as much of the method as that takes.
    bare = [str(row["label"]) for row in rows]
    for part in (lambda method: method.split(" //")[0], lambda method: method.split(" (screened")[0]):
        labels = [row["label"] for row in rows]
        for row, label in zip(rows, bare, strict=True):
            if labels.count(row["label"]) > 1:
                row["label"] = f"{label} [{part(row['method'])}]"
    return rows
