"""How work is carried out. Knows nothing of chemistry; used by workflows and the command line only."""

from atomflow.flow.store import Entry, Store
from atomflow.flow.studies import Bench, Study, find_study, setting, study_names, summary
from atomflow.flow.tasks import TaskPool, available_cores

__all__ = [
    "Bench",
    "Entry",
    "Store",
    "Study",
    "TaskPool",
    "available_cores",
    "find_study",
    "setting",
    "study_names",
    "summary",
]
