"""Study: does Li+ prefer ether or carbonyl oxygen (row P2.a)?"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from atomflow.build import molecule
from atomflow.energetics import BindingEnergy, Ladder, binding_energy, ladder, quick
from atomflow.flow import Bench, setting
from atomflow.model import Molecule
from atomflow.report import BarChart, Outcome, Report
from atomflow.report.wording import binding_table, method_text, references_of, row_values


@dataclass(frozen=True)
class EtherOrCarbonyl:
    """Does Li+ bind ether oxygen more strongly than carbonyl oxygen?

    Compares hosts with one oxygen of each kind (per site) and hosts that can chelate, and says how many oxygens hold
    the ion in each: the published order is a statement about chelation.

    Examples: atomflow run ether-or-carbonyl --calculator xtb
              atomflow run ether-or-carbonyl --calculator dft --ethers DME --carbonyls EC
    """

    ion: str = setting("Li+", "Cation.")
    ethers: tuple[str, ...] = setting(("dimethyl-ether", "DME"), "Hosts with ether oxygen (repeat the option).")
    carbonyls: tuple[str, ...] = setting(("methyl-acrylate", "EC"), "Hosts with carbonyl oxygen (repeat the option).")
    calculator: str = setting("xtb", "Calculator of the energies.")
    starts: int = setting(12, "Random starts per host.")
    seed: int = setting(0, "Seed of all random choices.")

    def run(self, bench: Bench) -> Outcome:
        """Bind the ion to every host."""
        ion = molecule(self.ion, seed=self.seed)
        chosen = ladder(self.calculator)
        chosen = quick(chosen) if chosen.screen is not None else chosen
        hosts = [molecule(name, seed=self.seed) for name in (*self.ethers, *self.carbonyls)]
        results = bench.together([partial(self._bind, bench, chosen, ion, host) for host in hosts])
        ethers, carbonyls = results[: len(self.ethers)], results[len(self.ethers) :]
        return self._outcome(ethers, carbonyls, chosen)

    def _bind(self, bench: Bench, chosen: Ladder, ion: Molecule, host: Molecule) -> BindingEnergy:
        return binding_energy(ion, [host], chosen, starts=self.starts, keep=2, seed=self.seed, run=bench.run)

    def _outcome(self, ethers: list[BindingEnergy], carbonyls: list[BindingEnergy], chosen: Ladder) -> Outcome:
        per_site = min(_single(ethers), default=0.0) < min(_single(carbonyls), default=0.0)
        chelate = min(r.binding_energy_eV for r in ethers) < min(r.binding_energy_eV for r in carbonyls)
        statement = (
            f"per site, {'ether' if per_site else 'carbonyl'} oxygen binds {self.ion} more strongly; "
            f"with chelation allowed, {'an ether' if chelate else 'a carbonyl'} host does"
        )
        both = (*ethers, *carbonyls)
        chart = BarChart(
            name="ether-or-carbonyl",
            title=f"{self.ion} on ether and carbonyl oxygen",
            ylabel="Binding energy (eV)",
            categories=tuple(r.ligands[0] for r in both),
            series={chosen.energy.name: [r.binding_energy_eV for r in both]},
            caption="; ".join(f"{r.ligands[0]}: held by {sum(r.coordination.values())} donor atoms" for r in both),
        )
        defaults = {"dimethyl-ether", "DME"} <= set(self.ethers) and {"methyl-acrylate", "EC"} <= set(self.carbonyls)
        row = {
            "grade": "default",
            "values": row_values(both),
            "statement": statement,
            "agrees": chelate,
            "explanation": "The published order (ether stronger) holds when a host can chelate with two ether oxygens; oxygen by oxygen "
            "the carbonyl is the stronger donor."
            if chelate and not per_site
            else statement,
        }
        return Outcome(
            results={"binding": both},
            report=Report(
                title="Ether or carbonyl?",
                question=f"Does {self.ion} bind ether oxygen more strongly than carbonyl oxygen?",
                answer=statement[0].upper() + statement[1:] + ".",
                tables=(binding_table(ethers, "Ether hosts"), binding_table(carbonyls, "Carbonyl hosts")),
                charts=(chart,),
                method=method_text(chosen, self.seed),
                references=references_of(chosen),
            ),
            rows={"P2.a": row} if defaults and self.ion == "Li+" else {},
        )


def _single(results: list[BindingEnergy]) -> list[float]:
    """Energies of the hosts that hold the ion by one donor atom."""
    return [r.binding_energy_eV for r in results if sum(r.coordination.values()) == 1]


STUDY = EtherOrCarbonyl
