"""Geometry and chemistry of the models: molecules, and crystals ordered, cut and rounded."""

from atomflow.build.crystal_models import CrystalModel, CrystalModels
from atomflow.build.crystals import Crystal, find_crystal, list_crystals, load_crystal
from atomflow.build.donors import donor_atoms
from atomflow.build.embedding import conformers
from atomflow.build.modelfiles import model_format, model_text
from atomflow.build.molecules import molecule
from atomflow.build.ordering import order, rescore
from atomflow.build.particles import particle
from atomflow.build.silica import Silica, amorphous_silica, silica_particle, silica_slab
from atomflow.build.species import Species, find_species, list_species, species_names
from atomflow.build.surfaces import slab

__all__ = [
    "Crystal",
    "CrystalModel",
    "CrystalModels",
    "Silica",
    "Species",
    "amorphous_silica",
    "conformers",
    "donor_atoms",
    "find_crystal",
    "find_species",
    "list_crystals",
    "list_species",
    "load_crystal",
    "model_format",
    "model_text",
    "molecule",
    "order",
    "particle",
    "rescore",
    "silica_particle",
    "silica_slab",
    "slab",
    "species_names",
]
