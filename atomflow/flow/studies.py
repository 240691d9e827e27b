"""Studies: what they look like, and where they are found.

A study is a frozen dataclass in a file of ``workflows/``, bound to the name ``STUDY``: its fields are its settings, its
``run(bench)`` does the work and returns what is to be written. ``workflows/cation_anchor.py`` is found as
``cation-anchor``.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Protocol, TypeVar

from atomflow.errors import AtomflowError, BadFileError, BranchesFailedError, CalculationError, UnknownNameError
from atomflow.flow.driver import Flow
from atomflow.library import library_folder

_T = TypeVar("_T")
GROUP = "atomflow.workflows"


class Study(Protocol):
    """What ``STUDY`` in a workflow file must be: a dataclass with a docstring and a ``run``."""

    def run(self, bench: Bench) -> Any:
        """Do the work; the result is handed to the writer of reports."""


@dataclass(frozen=True)
class Bench:
    """What a running study works with.

    Attributes
    ----------
    flow : Flow
    say : callable
        Shows a line or an early table to the person waiting.
    """

    flow: Flow
    say: Callable[[str], None]
    #: What went wrong in branches without which the study goes on.
    failures: list[CalculationError] = dataclasses.field(default_factory=list)

    def run(self, function: Callable[..., Any], arguments: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Results of a step for each tuple of inputs, found or computed."""
        return self.flow.run(function, arguments)

    def together(self, calls: Sequence[Callable[[], _T]]) -> list[_T]:
        """Results of several calls, side by side when there is an engine."""
        return self.flow.together(calls)

    def survivors(self, calls: Sequence[Callable[[], _T]]) -> list[_T]:
        """Results of the calls that succeed; the study goes on without the others, and says so at its end.

        Raises
        ------
        CalculationError
            When none succeeds.
        """
        results, errors = self.flow.survivors(calls)
        if errors and not results:
            raise errors[0] if len(errors) == 1 else BranchesFailedError(errors, len(calls))
        self.failures.extend(errors)
        return results


def setting(default: Any, help: str) -> Any:
    """A field of a study, with the help text the command line shows for it."""
    return dataclasses.field(default=default, metadata={"help": help})


def study_names() -> list[str]:
    """Names of all studies that ``atomflow run`` knows."""
    return sorted({*_files(), *(point.name for point in entry_points(group=GROUP))})


def find_study(name: str, path: Path | None = None) -> type[Any]:
    """The study class called ``name``, or the one in the file ``path``.

    Looked for in this order: the given file; the ``workflows`` folder of a checkout or, without one, of the package;
    entry points of the group ``atomflow.workflows``.

    Raises
    ------
    UnknownNameError, BadFileError
    """
    if path is not None:
        return _load(path)
    files = _files()
    if name in files:
        return _load(files[name])
    for point in entry_points(group=GROUP):
        if point.name == name:
            found: type[Any] = point.load()
            return found
    raise UnknownNameError("study", name, study_names(), mend="see: atomflow list studies")


def _files() -> dict[str, Path]:
    folder = library_folder("workflows")
    return {path.stem.replace("_", "-"): path for path in sorted(folder.glob("*.py")) if not path.stem.startswith("_")}


def _load(path: Path) -> type[Any]:
    if not path.is_file():
        raise BadFileError(path, "no such workflow file")
    name = f"atomflow_workflow_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise BadFileError(path, "not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up while the class is made
    try:
        spec.loader.exec_module(module)
    except AtomflowError:
        raise
    except Exception as error:  # a user's file may raise anything while it is read
        raise BadFileError(path, f"the workflow file does not load ({type(error).__name__}: {error})") from error
    study = getattr(module, "STUDY", None)
    if not (isinstance(study, type) and dataclasses.is_dataclass(study) and callable(getattr(study, "run", None))):
        raise BadFileError(path, "a workflow file must bind STUDY to a dataclass with a run method")
    return study


def summary(study: type[Any]) -> str:
    """First line of a study's description."""
    return (study.__doc__ or "").strip().splitlines()[0] if study.__doc__ else ""
