"""Geometry and chemistry of the models: species by name, molecules from anything, conformers, donor atoms."""

from atomflow.build.donors import donor_atoms
from atomflow.build.embedding import conformers
from atomflow.build.molecules import molecule
from atomflow.build.species import Species, find_species, list_species, species_names

__all__ = ["Species", "conformers", "donor_atoms", "find_species", "list_species", "molecule", "species_names"]
