"""Which calculator does what: one screens geometries, one relaxes, one gives the energy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ase.calculators.calculator import Calculator

from atomflow.calculators import CalculatorSpec, as_spec, build_calculator
from atomflow.model import Molecule, record


@record("atomflow.ladder/1")
@dataclass(frozen=True)
class Ladder:
    """The calculators of one study, the same for every species of a reaction.

    Parameters
    ----------
    energy : CalculatorSpec
        Gives the energies that are reported.
    geometry : CalculatorSpec
        Relaxes the structures that survive screening; often cheaper than ``energy``.
    screen : CalculatorSpec or None
        Relaxes every start; only the order of geometries of one composition is taken from it. Without one, every
        start is relaxed by ``geometry``.
    hessian : CalculatorSpec or None
        Gives second derivatives, hence zero-point energies; they are taken on structures relaxed by the same
        calculator (``geometry`` or ``screen``). None: no vibrations.
    force_tolerance_eV_per_A : float
        Where relaxations stop (largest force component norm on an atom).
    """

    energy: CalculatorSpec
    geometry: CalculatorSpec
    screen: CalculatorSpec | None = None
    hessian: CalculatorSpec | None = None
    force_tolerance_eV_per_A: float = 0.01

    @property
    def first(self) -> CalculatorSpec:
        """The calculator that relaxes the starts."""
        return self.screen or self.geometry

    @property
    def dication_screen(self) -> CalculatorSpec | None:
        """What screens complexes of bare dications.

        GFN2-xTB bends and stretches their bonds (Zn-O of Zn-DMF 2.02 A; Hartree-Fock 1.78 A, GFN1-xTB 1.86 A), which
        doubles the steps of the refinement. Beside alkali ions it is GFN1-xTB that starts further away.
        """
        return build_spec("xtb:method=gfn1") if self.screen == build_spec("xtb") else self.screen

    def suited_to(self, parts: Sequence[Molecule]) -> Ladder:
        """The same ladder with the screening that suits these molecules."""
        has_dication = any(len(part) == 1 and part.charge >= 2 for part in parts)
        return replace(self, screen=self.dication_screen) if has_dication else self

    @property
    def method(self) -> str:
        """The usual notation: energy // geometry (screened with ...)."""
        parts = [method_label(self.energy)]
        if self.geometry != self.energy:
            parts.append(f"// {method_label(self.geometry)}")
        if self.screen is not None and self.screen != self.geometry:
            parts.append(f"(screened with {method_label(self.screen)})")
        return " ".join(parts)

    @property
    def references(self) -> tuple[tuple[str, str], ...]:
        """What to cite for the calculators, (text, doi), without repeats."""
        rows: list[tuple[str, str]] = []
        for spec in (self.energy, self.geometry, self.screen, self.hessian):
            if spec is not None:
                rows += getattr(build_calculator(spec), "references", ())
        return tuple(dict.fromkeys(rows))

    def fallbacks(self) -> list[tuple[Ladder, str]]:
        """The same ladder with other SCF settings for *every* species, with the warning each of them deserves."""
        own = getattr(build_calculator(self.energy), "fallbacks", None)
        rows = []
        for spec, warning in own() if own else []:
            swap = {
                name: spec
                for name in ("energy", "geometry", "screen", "hessian")
                if getattr(self, name) is not None and getattr(self, name) == self.energy
            }
            rows.append((replace(self, **swap), warning))
        return rows


def method_label(spec: CalculatorSpec) -> str:
    """How a method is called in tables."""
    return str(getattr(build_calculator(spec), "method_label", None) or spec)


#: Geometries of the ``dft`` ladder: Hartree-Fock with dispersion in a small basis. It is the cheapest method of the
#: backend that gives sound structures of these complexes, and it cannot move an electron from a solvent to a bare
#: dication, as functionals without exact exchange do. The energy that is reported is computed afterwards with DFT.
CHEAP_GEOMETRY = CalculatorSpec("dft", {"functional": "hf", "basis": "def2-svp", "dispersion": "d3bj"})


def ladder(
    given: str | CalculatorSpec | Calculator,
    *,
    geometry: str | CalculatorSpec | Calculator | None = None,
    screen: str | CalculatorSpec | Calculator | None = None,
    hessian: bool = False,
) -> Ladder:
    """The usual ladder for a calculator.

    ``dft`` is screened with xTB (beside dications :attr:`Ladder.dication_screen`) and relaxed with HF-D3(BJ)/def2-SVP; anything else relaxes and gives the energy
    itself. ``screen="none"`` relaxes every start with the geometry calculator.

    Examples
    --------
    >>> ladder("xtb").method
    'GFN2-xTB'
    """
    energy = build_spec(given)
    is_dft = energy.name == "dft"
    relaxing = build_spec(geometry) if geometry is not None else build_spec(CHEAP_GEOMETRY) if is_dft else energy
    screening: CalculatorSpec | None
    if screen is None:
        screening = build_spec("xtb") if is_dft else None
    else:
        screening = None if screen == "none" else build_spec(screen)
    if screening == relaxing:
        screening = None
    return Ladder(energy, relaxing, screening, relaxing if hessian else None)


def quick(given: Ladder) -> Ladder:
    """The same ladder for an answer within minutes: looser relaxations, and DFT energies on a coarser grid.

    Both together move a binding energy by about 0.01 eV; the grid alone moves the energy of Li-DMF by 0.0002 eV.
    """
    coarse = (
        given.energy.with_options(grid=1)
        if given.energy.name == "dft" and given.energy.instance is None
        else given.energy
    )
    return replace(given, energy=coarse, force_tolerance_eV_per_A=0.05)


def build_spec(given: str | CalculatorSpec | Calculator) -> CalculatorSpec:
    """The complete spec of a calculator, defaults included, so that equal methods compare equal.

    Building it here also finds a missing backend or a wrong option before any work is done.
    """
    spec = as_spec(given)
    if spec.instance is not None:
        return spec
    complete: CalculatorSpec = build_calculator(spec).spec
    return complete
