"""How work is carried out. Knows nothing of chemistry; used by workflows and the command line only."""

from atomflow.flow.driver import Flow
from atomflow.flow.futures import Call, StepFuture, call
from atomflow.flow.local import LocalExecutor, available_cores
from atomflow.flow.store import Entry, Store
from atomflow.flow.studies import Bench, Study, find_study, setting, study_names, summary
from atomflow.model import Resources, Unfinished, Work, step

__all__ = [
    "Bench",
    "Call",
    "Entry",
    "Flow",
    "LocalExecutor",
    "Resources",
    "StepFuture",
    "Store",
    "Study",
    "Unfinished",
    "Work",
    "available_cores",
    "call",
    "find_study",
    "setting",
    "step",
    "study_names",
    "summary",
]
