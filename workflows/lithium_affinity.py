"""Study: Li+ affinities of six amides beside the literature series."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
import yaml

from atomflow.build import molecule
from atomflow.energetics import BindingEnergy, Ladder, binding_energy, build_spec, ladder, quick
from atomflow.flow import Bench, setting
from atomflow.library import library_folder
from atomflow.report import BarChart, Column, Outcome, Report, Table
from atomflow.report.wording import EV_TO_KJ_PER_MOL, method_text, references_of


@dataclass(frozen=True)
class LithiumAffinity:
    """Does a method follow the known series of Li+ affinities of amides?

    Binds Li+ to six amides, corrects for zero-point motion (GFN2 vibrations unless --calculator is xtb only), and
    compares with the literature at 0 K: a test of any method before it is trusted with unknown systems.

    Examples: atomflow run lithium-affinity --calculator xtb
              atomflow run lithium-affinity --calculator dft
    """

    calculator: str = setting("xtb", "Calculator of the energies.")
    starts: int = setting(6, "Random starts per amide.")
    seed: int = setting(0, "Seed of all random choices.")

    def run(self, bench: Bench) -> Outcome:
        """Bind Li+ to every amide, once for the energy and once for the vibrations."""
        series = _literature()
        chosen = ladder(self.calculator)
        chosen = quick(chosen) if chosen.screen is not None else chosen
        vibrating = ladder("xtb", hessian=True)
        bound = bench.together([partial(self._bind, bench, chosen, name) for name in series])
        moved = bench.together([partial(self._bind, bench, vibrating, name) for name in series])
        rows = []
        for name, result, shaking in zip(series, bound, moved, strict=True):
            assert shaking.zero_point_eV is not None
            affinity = -(result.binding_energy_eV + shaking.zero_point_eV) * EV_TO_KJ_PER_MOL
            rows.append(
                {
                    "amide": name,
                    "affinity_kJ_per_mol": affinity,
                    "literature_kJ_per_mol": series[name],
                    "deviation_kJ_per_mol": affinity - series[name],
                    "zero_point_kJ_per_mol": shaking.zero_point_eV * EV_TO_KJ_PER_MOL,
                    "true_minimum": shaking.true_minimum,
                }
            )
        return self._outcome(rows, bound, chosen)

    def _bind(self, bench: Bench, rung: Ladder, name: str) -> BindingEnergy:
        amide = molecule(name, seed=self.seed)
        return binding_energy(molecule("Li+"), [amide], rung, starts=self.starts, seed=self.seed, run=bench.run)

    def _outcome(self, rows: list[dict], bound: list[BindingEnergy], chosen: Ladder) -> Outcome:
        ours = np.array([row["affinity_kJ_per_mol"] for row in rows])
        theirs = np.array([row["literature_kJ_per_mol"] for row in rows])
        same_order = bool((np.argsort(ours) == np.argsort(theirs)).all())
        mean, mean_abs = float((ours - theirs).mean()), float(np.abs(ours - theirs).mean())
        answer = (
            f"The order of the six amides is {'that' if same_order else 'not that'} of the literature; the mean deviation is "
            f"{mean:+.1f} kJ/mol, the mean absolute deviation {mean_abs:.1f} kJ/mol (literature uncertainty 8 kJ/mol)."
        )
        columns = (
            Column("amide", "Amide"),
            Column("affinity_kJ_per_mol", "Li+ affinity at 0 K", "kJ/mol", 1),
            Column("literature_kJ_per_mol", "Literature", "kJ/mol", 1),
            Column("deviation_kJ_per_mol", "Deviation", "kJ/mol", 1),
            Column("zero_point_kJ_per_mol", "Zero-point part", "kJ/mol", 1),
            Column("true_minimum", "True minimum (GFN2)"),
        )
        chart = BarChart(
            name="lithium-affinity",
            title="Li+ affinity of amides at 0 K",
            ylabel="Affinity (kJ/mol)",
            categories=tuple(row["amide"] for row in rows),
            series={chosen.energy.name: list(ours)},
            reference={"literature": list(theirs)},
            caption="Markers: literature, uncertainty 8 kJ/mol.",
        )
        text = method_text(chosen, self.seed)
        zero_point = (
            "Zero-point energies are GFN2-xTB's, on GFN2-xTB minima." if chosen.energy != build_spec("xtb") else ""
        )
        return Outcome(
            results={"binding": tuple(bound)},
            report=Report(
                title="Li+ affinities of amides",
                question="Does the method follow the literature series?",
                answer=answer,
                tables=(Table("Li+ affinities", columns, tuple(rows), note=bound[0].method),),
                charts=(chart,),
                method=(*text, zero_point) if zero_point else text,
                references=references_of(chosen),
            ),
        )


def _literature() -> dict[str, float]:
    data = yaml.safe_load(
        (library_folder("structures") / "reference" / "lithium_affinity.yaml").read_text(encoding="utf-8")
    )
    return {row["species"]: float(row["affinity_kJ_per_mol"]) for row in data["values"]}


STUDY = LithiumAffinity
