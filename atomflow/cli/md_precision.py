"""How well the diffusivity of a species is known from a run so far, and how much longer it should be."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from atomflow.errors import UnknownNameError

#: A run is made longer by at least and at most these factors at a time.
_LEAST, _MOST = 1.25, 2.0


@dataclass(frozen=True)
class Precision:
    """A diffusivity and how well it is known.

    Attributes
    ----------
    species : str
    wanted : float
        Half of the 95 % interval over the value.
    reached : float or None
        None when there is no diffusivity yet; then ``why_not`` says why.
    diffusivity_cm2_per_s : float or None
    ci95_cm2_per_s : pair of float or None
    production_ps : float
        After which.
    why_not : str
    """

    species: str
    wanted: float
    reached: float | None
    diffusivity_cm2_per_s: float | None
    ci95_cm2_per_s: tuple[float, float] | None
    production_ps: float
    why_not: str = ""

    @property
    def enough(self) -> bool:
        """Whether it is as good as wanted."""
        return self.reached is not None and self.reached <= self.wanted

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self)

    def to_text(self) -> str:
        """One sentence."""
        if self.reached is None or self.ci95_cm2_per_s is None:
            return f"D of {self.species}: none after {self.production_ps:g} ps ({self.why_not})"
        low, high = self.ci95_cm2_per_s
        return (
            f"D of {self.species}: {self.diffusivity_cm2_per_s:.3g} ({low:.3g} to {high:.3g}) cm2/s after "
            f"{self.production_ps:g} ps, known to {100 * self.reached:.2g} % ({100 * self.wanted:.2g} % were wanted)"
        )


def check_species(topology: Path, name: str) -> None:
    """Find out before the run that there is no such species.

    Raises
    ------
    UnknownNameError
    """
    from atomflow.analysis import everything
    from atomflow.trajectory import open_trajectory

    known = everything(open_trajectory(topology)).msd
    if name not in known:
        raise UnknownNameError("species", name, known, f"in --target-precision; there are {', '.join(known)}")


def precision_of(out: Path, topology: str, trajectory: str, spacing_ps: float, name: str, wanted: float) -> Precision:
    """What the trajectory says so far."""
    from atomflow.analysis import analyse, everything
    from atomflow.trajectory import open_trajectory

    opened = open_trajectory(out / trajectory, out / topology, dt_ps=spacing_ps)
    production_ps = (len(opened) - 1) * spacing_ps
    asked = replace(everything(opened), msd=(name,), rdf=(), coordination={}, shells={}, chains=(), charges_e={})
    motion = analyse([opened], asked).msd
    one = motion[name] if motion is not None else None
    if one is None or one.diffusivity_cm2_per_s is None or one.diffusivity_ci95_cm2_per_s is None:
        why = one.why_not if one is not None and one.why_not else "the run is too short"
        return Precision(name, wanted, None, None, None, production_ps, why)
    low, high = one.diffusivity_ci95_cm2_per_s
    value = one.diffusivity_cm2_per_s
    return Precision(name, wanted, (high - low) / 2 / value, value, (low, high), production_ps)


def longer_ps(now: Precision, spacing_ps: float) -> float:
    """Length of production, in whole frames, at which the precision may be reached: errors fall as one over its root."""
    factor = _MOST if now.reached is None else min(max(1.1 * (now.reached / now.wanted) ** 2, _LEAST), _MOST)
    return round(now.production_ps * factor / spacing_ps) * spacing_ps
