"""pymatgen structures as plain data and back.

Not by pymatgen's own ``as_dict``: what reads that imports whatever class a file names.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pymatgen.core import Structure


def structure_to_data(structure: Structure) -> dict[str, Any]:
    """Lattice (angstrom), fractional coordinates, occupancies, site properties, total charge.

    Raises
    ------
    TypeError
        For dummy species, and for species with properties other than spin.
    """
    from pymatgen.core import Structure

    if type(structure) is not Structure:
        raise TypeError(f"cannot write a {type(structure).__name__} to JSON; make it a Structure")
    return {
        "lattice": structure.lattice.matrix.tolist(),
        "pbc": list(structure.lattice.pbc),
        "sites": [
            # Sorted, because which comes first on a mixed site is nobody's choice and would enter the key of a step.
            sorted(([*_species_to_data(kind), float(share)] for kind, share in site.species.items()), key=str)
            for site in structure
        ],
        "fractional": structure.frac_coords.tolist(),
        "labels": [site.label for site in structure],
        "site_properties": {name: list(values) for name, values in structure.site_properties.items()},
        "charge": structure._charge,
        "properties": dict(structure.properties),
    }


def _species_to_data(species: Any) -> tuple[str, float | None, float | None]:
    from pymatgen.core import Element, Species

    if isinstance(species, Element):
        return str(species), None, None
    if type(species) is not Species:
        raise TypeError(f"cannot write the species {species!s} to JSON")
    # 3 and 3.0 are one species to pymatgen, which keeps whichever it met first.
    state = species.oxi_state
    return str(species.element), None if state is None else float(state), species.spin


def structure_from_data(data: dict[str, Any]) -> Structure:
    """The reverse of :func:`structure_to_data`.

    Raises
    ------
    ValueError
        When the numbers do not fit together.
    """
    from pymatgen.core import Composition, Element, Lattice, Species, Structure

    def species(symbol: str, oxidation: float | None, spin: float | None) -> Element | Species:
        return Element(symbol) if oxidation is None and spin is None else Species(symbol, oxidation, spin=spin)

    if len(data["sites"]) != len(data["fractional"]):
        raise ValueError("as many sites as coordinates are needed")
    charge = data["charge"]
    if charge is not None and not isinstance(charge, (int, float)):
        raise ValueError("the charge is not a number")
    return Structure(
        Lattice(data["lattice"], pbc=tuple(data["pbc"])),
        [Composition({species(*kind): occupancy for *kind, occupancy in site}) for site in data["sites"]],
        data["fractional"],
        charge=charge,
        site_properties=data["site_properties"] or None,
        labels=data["labels"],
        properties=data["properties"],
    )
