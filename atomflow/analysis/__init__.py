"""Numbers from trajectories: dynamics and structure, each with its error and its warnings."""

from atomflow.analysis.base import Analysis, FrameAnalysis, sweep
from atomflow.analysis.chain_relaxation import ChainKind, ChainRelaxation, ChainResult
from atomflow.analysis.conductivity import Conductivity, ConductivityResult
from atomflow.analysis.coordination import Coordination, CoordinationResult, PairCoordination
from atomflow.analysis.findings import Findings, analyse
from atomflow.analysis.finite_size import size_correction_cm2_per_s
from atomflow.analysis.msd import MSD, MSDResults, SpeciesMSD
from atomflow.analysis.rdf import RDF, PairRDF, RDFResult
from atomflow.analysis.shells import Shells, ShellsResult
from atomflow.analysis.wanted import Wanted, everything

__all__ = [
    "MSD",
    "RDF",
    "Analysis",
    "ChainKind",
    "ChainRelaxation",
    "ChainResult",
    "Conductivity",
    "ConductivityResult",
    "Coordination",
    "CoordinationResult",
    "Findings",
    "FrameAnalysis",
    "MSDResults",
    "PairCoordination",
    "PairRDF",
    "RDFResult",
    "Shells",
    "ShellsResult",
    "SpeciesMSD",
    "Wanted",
    "analyse",
    "everything",
    "size_correction_cm2_per_s",
    "sweep",
]
