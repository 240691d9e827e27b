"""Geometry and chemistry of the models: molecules, and crystals ordered, cut and rounded."""

from atomflow.build.boxes import BuiltBox, box, build_box, check_box, check_terms
from atomflow.build.chainfiles import chain_text
from atomflow.build.chains import Chain, polymer, polymer_chain
from atomflow.build.composing import Composition, Portion, compose
from atomflow.build.crystal_models import CrystalModel, CrystalModels
from atomflow.build.crystals import Crystal, find_crystal, list_crystals, load_crystal
from atomflow.build.datafiles import Values, check_keys, read_yaml, search_path
from atomflow.build.donors import donor_atoms
from atomflow.build.embedding import conformers
from atomflow.build.modelfiles import model_format, model_text
from atomflow.build.molecules import molecule
from atomflow.build.ordering import order, rescore
from atomflow.build.packing import pack, replicated
from atomflow.build.particles import particle
from atomflow.build.piercing import PiercedRing, pierced_rings
from atomflow.build.polymers import Block, Polymer, Share, Substitution, find_polymer, list_polymers
from atomflow.build.recipes import Recipe, find_recipe, list_recipes
from atomflow.build.residues import Residue, find_residue, list_residues
from atomflow.build.sequences import chain_lengths
from atomflow.build.silica import Silica, amorphous_silica, silica_particle, silica_slab
from atomflow.build.species import Species, find_species, list_species, species_names
from atomflow.build.surfaces import slab

__all__ = [
    "Block",
    "BuiltBox",
    "Chain",
    "Composition",
    "Crystal",
    "CrystalModel",
    "CrystalModels",
    "PiercedRing",
    "Polymer",
    "Portion",
    "Recipe",
    "Residue",
    "Share",
    "Silica",
    "Species",
    "Substitution",
    "Values",
    "amorphous_silica",
    "box",
    "build_box",
    "chain_lengths",
    "chain_text",
    "check_box",
    "check_keys",
    "check_terms",
    "compose",
    "conformers",
    "donor_atoms",
    "find_crystal",
    "find_polymer",
    "find_recipe",
    "find_residue",
    "find_species",
    "list_crystals",
    "list_polymers",
    "list_recipes",
    "list_residues",
    "list_species",
    "load_crystal",
    "model_format",
    "model_text",
    "molecule",
    "order",
    "pack",
    "particle",
    "pierced_rings",
    "polymer",
    "polymer_chain",
    "read_yaml",
    "replicated",
    "rescore",
    "search_path",
    "silica_particle",
    "silica_slab",
    "slab",
    "species_names",
]
