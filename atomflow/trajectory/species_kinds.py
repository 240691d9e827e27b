"""What a trajectory is made of, once it is known: kinds of molecules and ions, and their sites."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from atomflow.errors import UnknownNameError
from atomflow.model import Notice

#: ``ion``: one atom with a charge; ``framework``: a ceramic or a glass; ``type``: atoms that only have a LAMMPS type.
Role = Literal["ion", "molecule", "polymer", "framework", "type", "element"]


@dataclass(frozen=True, eq=False)
class Kind:
    """One kind of molecule, ion or network.

    Attributes
    ----------
    name : str
        Short, for labels: ``Li``, ``TFSI``, ``DMF``, ``C5H8O2``, ``polymer-1``, ``framework``.
    formula : str
        Hill formula of one molecule; of a polymer with chains of several lengths, atoms for one carbon.
    role : str
        ``ion``, ``molecule``, ``polymer``, ``framework``, ``type`` or ``element``.
    species : str or None
        Name in the species library.
    charge_e : float or None
        Of one molecule; of a framework, of all of it.
    charge_source : str
        ``library``, ``topology`` (sum of the charges there, rounded to a whole number where near one), ``element`` (lone
        halides and alkali ions) or ``unknown``.
    members, starts : int arrays
        Atom indices molecule after molecule, and where each begins. Alike atoms come in the same order.
    sites : dict of str to int array
        Label -> atoms that can hold a cation, ``O_TFSI``; for an ion the ion itself.
    """

    name: str
    formula: str
    role: Role
    species: str | None
    charge_e: float | None
    charge_source: str
    members: NDArray[np.intp] = field(repr=False)
    starts: NDArray[np.intp] = field(repr=False)
    sites: dict[str, NDArray[np.intp]] = field(default_factory=dict, repr=False)

    @property
    def n_molecules(self) -> int:
        """How many there are."""
        return len(self.starts) - 1

    @property
    def atoms(self) -> NDArray[np.intp]:
        """Indices of all atoms, sorted."""
        return np.sort(self.members)

    @property
    def molecules(self) -> tuple[NDArray[np.intp], ...]:
        """Atom indices of each molecule."""
        return tuple(np.split(self.members, self.starts[1:-1]))

    @property
    def is_cation(self) -> bool:
        """Whether this is a lone positive ion, the centre of shells."""
        return self.role == "ion" and self.charge_e is not None and self.charge_e > 0

    def __str__(self) -> str:
        what = self.species or (self.formula if self.formula != self.name else "")
        charge = "charge unknown"
        if self.charge_e is not None:
            charge = f"charge {self.charge_e:+g}" if self.charge_e else "neutral"
            charge += f" ({self.charge_source})" if self.charge_source != "unknown" else ""
        size = f", {len(self.members)} atoms" if self.role in ("polymer", "framework") else ""
        return f"{self.name}: {self.n_molecules} x {what or self.role}, {charge}{size}"


@dataclass(frozen=True, eq=False)
class FoundSpecies:
    """What :func:`find_species` found.

    Attributes
    ----------
    kinds : tuple of Kind
        Cations first, then other ions and molecules by number, polymers, framework.
    pairs : tuple of str
        Suggested pairs ``centre:donor`` of :attr:`sites`, such as ``Li:O_TFSI``.
    notices : tuple of Notice
        What was guessed or left open.
    """

    kinds: tuple[Kind, ...]
    pairs: tuple[str, ...]
    notices: tuple[Notice, ...] = ()

    def __getitem__(self, name: str) -> Kind:
        for kind in self.kinds:
            if kind.name == name:
                return kind
        raise UnknownNameError("species", name, self.groups)

    @property
    def groups(self) -> dict[str, NDArray[np.intp]]:
        """Name of each kind -> all of its atoms."""
        return {kind.name: kind.atoms for kind in self.kinds}

    @property
    def sites(self) -> dict[str, NDArray[np.intp]]:
        """Label of each site -> its atoms: ``Li``, ``O_TFSI``, ``N_TFSI``, ``O_DMF``."""
        return {label: atoms for kind in self.kinds for label, atoms in kind.sites.items()}

    @property
    def labels(self) -> dict[str, NDArray[np.intp]]:
        """Groups and sites together, for the ``species`` argument of analyses."""
        return self.groups | self.sites

    @property
    def charges_e(self) -> dict[str, float]:
        """Name -> charge of one molecule, for the kinds that carry one: what Nernst-Einstein needs."""
        return {kind.name: kind.charge_e for kind in self.kinds if kind.charge_e and kind.role in ("ion", "molecule")}

    @property
    def mobile(self) -> tuple[str, ...]:
        """Names of the ions and small molecules, whose diffusion one asks for."""
        return tuple(kind.name for kind in self.kinds if kind.role in ("ion", "molecule"))

    @property
    def polymers(self) -> tuple[str, ...]:
        """Names of the polymers, of whose chains one asks whether they have relaxed."""
        return tuple(kind.name for kind in self.kinds if kind.role == "polymer")

    def describe(self) -> tuple[str, ...]:
        """One line for each kind, for people."""
        return tuple(str(kind) for kind in self.kinds)
