"""Built crystals, slabs and particles as a report: what they are, how they were found, how they look."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from atomflow.report.content import BarChart, Column, Reference, Report, Table, View
from atomflow.report.outcome import Outcome
from atomflow.report.pictures import picture

if TYPE_CHECKING:
    from atomflow.build import CrystalModel, CrystalModels, Silica

_TITLES = {"bulk": "Ordered cells of {}", "slab": "Slabs of {}", "particle": "Particles of {}"}
_REFERENCES = {
    "ewald": Reference("Ewald sum as in pymatgen (S. P. Ong et al., Comput. Mater. Sci. 68, 314 (2013))", ""),
    "slab": Reference(
        "Dipole term of slabs: I.-C. Yeh and M. L. Berkowitz, J. Chem. Phys. 111, 3155 (1999)", "10.1063/1.479595"
    ),
    "replicas": Reference(
        "Replica exchange: K. Hukushima and K. Nemoto, J. Phys. Soc. Jpn. 65, 1604 (1996)", "10.1143/JPSJ.65.1604"
    ),
}


def summary(models: CrystalModels) -> str:
    """One line: what was built and how sure it is."""
    best = models.models[0]
    parts = [f"{best.name}: {best.formula}, {best.atom_count} atoms, charge {best.charge_e:+.0f}"]
    if best.dipole_eA is not None:
        size = sum(x * x for x in best.dipole_eA) ** 0.5
        parts.append(f"dipole {size:.2f} e A")
    if best.area_A2 is not None and best.thickness_A is not None:
        parts.append(f"{best.area_A2:.1f} A2 x {best.thickness_A:.1f} A")
    if best.radius_A is not None:
        parts.append(f"radius {best.radius_A:.1f} A")
    searches = len(models.lowest_by_seed_meV_per_atom)
    parts.append(
        f"lowest of {searches} centres"
        if models.kind == "particle"
        else f"lowest found by {models.hits} of {searches} searches"
    )
    return ", ".join(parts) + f"  [{models.grade}]"


def crystal_outcome(models: CrystalModels, with_pictures: bool = True) -> Outcome:
    """Everything that ``atomflow build`` leaves in a folder."""
    from atomflow.build import model_text

    files: dict[str, bytes | str] = {}
    for model in models.models:
        suffixes = (".cif", ".extxyz", ".data") if model.kind == "bulk" else (".extxyz", ".data", ".pdb")
        for suffix in suffixes:
            files[f"models/{model.name}{suffix}"] = model_text(model.atoms, suffix)
        if with_pictures:
            files[f"models/{model.name}.png"] = picture(model.atoms, f"{model.name}  {model.formula}")
    report = Report(
        title=_TITLES[models.kind].format(models.crystal),
        question=f"Which {'orderings' if models.kind == 'bulk' else models.kind + 's'} of {models.target} are lowest in "
        "electrostatic energy?",
        answer=summary(models),
        tables=tuple(table for table in (_models_table(models), _cells_table(models)) if table is not None),
        charts=(_chart(models),),
        views=tuple(View(model.name, model.atoms, _detail(model)) for model in models.models),
        method=(models.method, f"Crystal: {models.source}"),
        references=tuple(
            reference for key, reference in _REFERENCES.items() if key in ("ewald", "replicas") or models.kind == key
        ),
        warnings=models.warnings,
    )
    return Outcome(results={"models": (models,)}, report=report, attachments=files)


def _detail(model: CrystalModel) -> str:
    parts = [model.formula, f"{model.above_lowest_meV_per_atom:.1f} meV/atom above the lowest"]
    if model.degeneracy is not None:
        parts.append(f"{model.degeneracy} images by symmetry")
    return ", ".join(parts)


def _models_table(models: CrystalModels) -> Table:
    rows: list[dict[str, Any]] = []
    for model in models.models:
        row: dict[str, Any] = {
            "name": model.name,
            "formula": model.formula,
            "atoms": model.atom_count,
            "above_lowest_meV_per_atom": model.above_lowest_meV_per_atom,
            "electrostatic_eV": model.electrostatic_eV,
            "rescored_eV": model.rescored_eV,
            "degeneracy": model.degeneracy,
            "found_by": model.found_by,
            "shortest": ", ".join(
                f"{pair} {value:.2f}" for pair, value in sorted(model.shortest_A.items(), key=lambda x: x[1])[:3]
            ),
            "dipole_eA": None if model.dipole_eA is None else sum(x * x for x in model.dipole_eA) ** 0.5,
            "area_A2": model.area_A2,
            "thickness_A": model.thickness_A,
            "radius_A": model.radius_A,
            "surface": _coordination(model.surface_coordination),
        }
        rows.append(row)
    columns = (
        Column("name", "Model"),
        Column("formula", "Formula"),
        Column("atoms", "Atoms"),
        Column("above_lowest_meV_per_atom", "Above the lowest", "meV/atom", 2),
        Column("electrostatic_eV", "Electrostatic energy", "eV", 3),
        Column("rescored_eV", "Ranked again", "eV", 3),
        Column("degeneracy", "Images by symmetry"),
        Column("found_by", "Found by searches"),
        Column("shortest", "Shortest distances", "Å"),
        Column("dipole_eA", "Dipole", "e Å", 3),
        Column("area_A2", "Area", "Å²", 1),
        Column("thickness_A", "Thickness", "Å", 1),
        Column("radius_A", "Radius", "Å", 1),
        Column("surface", "Surface coordination"),
    )
    present = tuple(column for column in columns if any(row[column.key] not in (None, "") for row in rows))
    return Table(_TITLES[models.kind].format(models.crystal), present, tuple(rows))


def _coordination(counts: Any) -> str:
    if not counts:
        return ""
    return "; ".join(
        f"{pair} " + " ".join(f"{number}:{many}" for number, many in shells.items()) for pair, shells in counts.items()
    )


def _cells_table(models: CrystalModels) -> Table | None:
    if len(models.cells) < 2:
        return None
    columns = (
        Column("primitive_cells", "Primitive cells"),
        Column("formula_units", "Formula units"),
        Column("atoms", "Atoms"),
        Column("formula", "Nearest neutral formula"),
        Column("exact", "Exact"),
    )
    return Table(f"Cells for {models.target}", columns, tuple(models.cells))


def _chart(models: CrystalModels) -> BarChart:
    values = models.lowest_by_seed_meV_per_atom
    return BarChart(
        name="searches",
        title="What each independent search found",
        ylabel="Above the lowest (meV/atom)",
        categories=tuple(str(n) for n in range(len(values))),
        series={"search": list(values)},
        caption="Zero: the search ended in the lowest model of all. Slabs: searches of all cuts; particles: each its own centre.",
    )


def silica_summary(built: Silica) -> str:
    """One line: what was built."""
    parts = [f"silica {built.kind}: {built.formula}, {len(built.atoms)} atoms, charge {built.charge_e:+.0f}"]
    if built.thickness_A is not None and built.area_A2 is not None:
        parts.append(f"{built.area_A2:.0f} A2 in two faces x {built.thickness_A:.1f} A")
    if built.radius_A is not None:
        parts.append(f"radius {built.radius_A:.1f} A")
    if built.silanols_per_nm2 is not None:
        parts.append(f"{built.silanols_per_nm2:.2f} Si-OH and {built.grafts_per_nm2:.2f} grafts per nm2")
    return ", ".join(parts) + f"  [{built.grade}]"


def silica_outcome(built: Silica) -> Outcome:
    """Everything that ``atomflow build silica`` leaves in a folder."""
    from atomflow.build import model_text

    name = f"silica-{built.kind}"
    suffixes = (".cif", ".extxyz", ".data") if built.kind == "bulk" else (".extxyz", ".data", ".pdb")
    files: dict[str, bytes | str] = {f"models/{name}{end}": model_text(built.atoms, end) for end in suffixes}
    files[f"models/{name}.png"] = picture(built.atoms, f"{name}  {built.formula}")
    columns = (
        Column("formula", "Formula"),
        Column("density_g_cm3", "Density", "g/cm³", 3),
        Column("area_A2", "Area", "Å²", 1),
        Column("thickness_A", "Thickness", "Å", 2),
        Column("radius_A", "Radius", "Å", 2),
        Column("silanols_per_nm2", "Si-OH", "nm⁻²", 2),
        Column("grafts_per_nm2", "Grafts", "nm⁻²", 2),
        Column("sites", "Silicon sites"),
        Column("dipole_z_eA", "Dipole along z", "e Å", 3),
    )
    row: dict[str, Any] = {column.key: getattr(built, column.key, None) for column in columns}
    row["sites"] = ", ".join(f"{site} {count}" for site, count in built.silicon_sites.items())
    row["dipole_z_eA"] = float(built.dipole_eA[2]) if built.kind == "slab" else None
    present = tuple(column for column in columns if row[column.key] not in (None, ""))
    report = Report(
        title=f"Amorphous silica: {built.kind}",
        question="What does this model of silica hold?",
        answer=silica_summary(built),
        tables=(Table("Silica", present, (row,)),),
        views=(View(name, built.atoms, built.formula),),
        method=(built.method,),
        warnings=built.warnings,
    )
    return Outcome(results={"silica": (built,)}, report=report, attachments=files)
