"""Study: which cation holds residual solvent (row P4.a)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

from atomflow.build import molecule
from atomflow.energetics import BindingEnergy, Ladder, binding_energy, ladder, quick
from atomflow.flow import Bench, setting
from atomflow.model import Molecule
from atomflow.report import BarChart, Outcome, Report
from atomflow.report.wording import binding_table, method_text, references_of, row_values


@dataclass(frozen=True)
class CationAnchor:
    """Which cation anchors the residual solvent of a membrane?

    Binds each ion to each ligand and ranks them. xTB gives the singly charged ions within seconds; DFT gives all.
    With --thorough: triple zeta with counterpoise, several starts, vibrations (true minima, free energies), and the
    ternary complexes TFSI- - M - ligand.

    Examples: atomflow run cation-anchor
              atomflow run cation-anchor --calculator xtb --ions Li+ --ions Na+
              atomflow run cation-anchor --ligands DMF --ligands NMP --thorough --out runs/anchors
    """

    ions: tuple[str, ...] = setting(("Li+", "Na+", "K+", "Mg2+", "Zn2+"), "Cations to compare (repeat the option).")
    ligands: tuple[str, ...] = setting(("DMF",), "Solvents: names, SMILES or files (repeat the option).")
    calculator: str = setting("dft", "Calculator of the final energies: xtb, dft, dft:functional=pbe0, a plug-in.")
    geometry: str | None = setting(None, "Calculator that relaxes the structures; by default it follows --calculator.")
    starts: int | None = setting(None, "Random starts per complex [4; 8 with --thorough; 40 for ternaries].")
    thorough: bool = setting(False, "Counterpoise, vibrations, tight relaxations, ternaries with TFSI-.")
    ternaries: bool | None = setting(None, "TFSI- - M - ligand complexes, screened geometries [with --thorough].")
    seed: int = setting(0, "Seed of all random choices.")

    def run(self, bench: Bench) -> Outcome:
        """Bind every ion to every ligand."""
        ions = [molecule(name, seed=self.seed) for name in self.ions]
        ligands = [molecule(name, seed=self.seed) for name in self.ligands]
        final = ladder(self.calculator, geometry=self.geometry, hessian=self.thorough)
        if final.screen is not None:
            final = replace(final, force_tolerance_eV_per_A=0.02) if self.thorough else quick(final)
        pairs = [(ion, ligand) for ligand in ligands for ion in ions]
        if final.screen is not None:
            single = [(ion, ligand) for ion, ligand in pairs if ion.charge == 1]
            first = bench.survivors(
                [partial(self._bind, bench, ladder("xtb"), ion, (ligand,)) for ion, ligand in single]
            )
            if first:
                bench.say(binding_table(first, "First answer, singly charged ions only").to_text())
        # The dications take longest: they go first, so that no core waits at the end.
        pairs.sort(key=lambda pair: -pair[0].charge)
        bound = bench.survivors([partial(self._bind, bench, final, ion, (ligand,)) for ion, ligand in pairs])
        ternary: list[BindingEnergy] = []
        if self.ternaries if self.ternaries is not None else self.thorough:
            bench.say(binding_table(bound, "Ion with one ligand").to_text())
            tfsi = molecule("TFSI-", seed=self.seed)
            screened = self._screened(final)
            ternary = bench.survivors(
                [partial(self._bind, bench, screened, ion, (tfsi, ligand)) for ion, ligand in pairs]
            )
        return self._outcome(bound, ternary, final)

    def _screened(self, final: Ladder) -> Ladder:
        """Ternaries keep the screened geometry: relaxing 28 atoms by DFT takes half an hour each on one core."""
        if final.screen is None:
            return final
        return replace(
            final, geometry=final.screen, screen=None, hessian=None, energy=ladder("dft:basis=def2-svpd,grid=2").energy
        )

    def _bind(self, bench: Bench, rung: Ladder, ion: Molecule, ligands: tuple[Molecule, ...]) -> BindingEnergy:
        is_ternary = len(ligands) > 1
        return binding_energy(
            ion,
            ligands,
            rung,
            starts=self.starts or (40 if is_ternary else 8 if self.thorough else 4),
            seed=self.seed,
            with_counterpoise=self.thorough and not is_ternary and rung.energy.name == "dft",
            run=bench.run,
        )

    def _outcome(self, bound: list[BindingEnergy], ternary: list[BindingEnergy], final: Ladder) -> Outcome:
        best = min(bound, key=lambda r: r.binding_energy_eV)
        answer = (
            f"{best.ion} binds {best.ligands[0]} most strongly, by {-best.binding_energy_eV:.2f} eV ({best.method})."
        )
        statement = f"{best.ion} strongest with {best.ligands[0]}"
        agrees: bool | None = None  # the published row is about both series
        if ternary:
            top = min(ternary, key=lambda r: r.binding_energy_eV)
            statement += f"; {top.ion} strongest in TFSI- - M - {top.ligands[-1]}"
            agrees = best.ion == top.ion == "Zn2+"
        else:
            statement += "; the series TFSI- - M - ligand was not computed"
        tables = [binding_table(bound, "Binding energy of one ion with one ligand")]
        if ternary:
            tables.append(binding_table(ternary, "Binding energy of an ion with TFSI- and a ligand together"))
        ligands = list(dict.fromkeys(r.ligands[0] for r in bound))
        chart = BarChart(
            name="binding",
            title="Binding energy by ion",
            ylabel="Binding energy (eV)",
            categories=tuple(dict.fromkeys(r.ion for r in bound)),
            series={name: [r.binding_energy_eV for r in bound if r.ligands[0] == name] for name in ligands},
            errors={name: [r.uncertainty_eV for r in bound if r.ligands[0] == name] for name in ligands},
            caption="More negative binds more strongly. Error bars: what the calculation knows of its own error.",
        )
        is_default = {"Li+", "Na+", "K+", "Mg2+", "Zn2+"} <= {r.ion for r in bound} and "DMF" in ligands
        row = {
            "grade": "thorough" if self.thorough else "default",
            "values": row_values([*bound, *ternary]),
            "statement": statement,
            "agrees": agrees,
            "explanation": "Energies of isolated complexes in vacuum; the published row states an order, no numbers.",
        }
        return Outcome(
            results={"binding": (*bound, *ternary)},
            report=Report(
                title="Which cation anchors the residual solvent?",
                question=f"Which of {', '.join(self.ions)} holds {', '.join(self.ligands)}?",
                answer=answer,
                tables=tuple(tables),
                charts=(chart,),
                method=method_text(final, self.seed),
                references=references_of(final),
            ),
            rows={"P4.a": row} if is_default and final.energy.name == "dft" else {},
        )


STUDY = CationAnchor
