"""Every error atomflow raises on purpose.

Two branches: a :class:`UserError` is something the caller can mend (exit code 2 on the command line); a
:class:`CalculationError` is a calculation that failed on sound input (exit code 1). Leaves also inherit the built-in
a caller would naturally catch, and carry their data as attributes. The message says what, where, and the mend.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path
from typing import Any


class AtomflowError(Exception):
    """Base of the tree."""

    exit_code = 1

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel between processes whole, whatever the leaf's constructor takes."""
        return (_rebuild, (type(self), self.args, self.__dict__))


def _rebuild(cls: type[AtomflowError], args: tuple[Any, ...], state: dict[str, Any]) -> AtomflowError:
    # OSError has a layout of its own, and the first __new__ that a leaf of it inherits is ValueError's.
    error = OSError.__new__(cls) if issubclass(cls, OSError) else cls.__new__(cls)
    error.args = args
    error.__dict__.update(state)
    return error


class UserError(AtomflowError, ValueError):
    """The input cannot be used as it stands; the message says how to mend it."""

    exit_code = 2


class CalculationError(AtomflowError, RuntimeError):
    """A calculation failed although its input was sound."""


class UnknownNameError(UserError, LookupError):
    """A name that is in no library; carries the nearest known ones."""

    def __init__(self, kind: str, name: str, known: Iterable[str], mend: str = "") -> None:
        self.kind = kind
        self.name = name
        known = sorted(set(known))
        folded = {k.lower(): k for k in known}
        self.near = [folded[m] for m in difflib.get_close_matches(name.lower(), folded, n=4, cutoff=0.5)]
        hint = f"did you mean {', '.join(self.near)}?" if self.near else ""
        advice = "; ".join(part for part in (hint, mend) if part)
        super().__init__(f"unknown {kind} {name!r}" + (f": {advice}" if advice else ""))


class BadOptionError(UserError):
    """An option has a value that makes no sense."""


class BadFileError(UserError):
    """A file that cannot be read as what it claims to be."""

    def __init__(self, path: str | Path, reason: str) -> None:
        self.path = Path(path)
        super().__init__(f"{path}: {reason}")


class BadStructureError(UserError):
    """Coordinates that cannot be a molecule: not finite, overlapping, empty."""


class ChargeError(UserError):
    """Charge and multiplicity do not fit the number of electrons."""

    def __init__(self, what: str, charge: int, multiplicity: int, electrons: int) -> None:
        self.charge, self.multiplicity, self.electrons = charge, multiplicity, electrons
        if electrons < 0:
            why = f"charge {charge:+d} asks for {electrons} electrons"
        else:
            why = (
                f"charge {charge:+d} leaves {electrons} electrons, which cannot have multiplicity {multiplicity} "
                f"(an {'even' if electrons % 2 == 0 else 'odd'} number needs "
                f"{'an odd' if electrons % 2 == 0 else 'an even'} multiplicity)"
            )
        super().__init__(f"{what}: {why}; correct the charge or the multiplicity")


class MissingBackendError(UserError, ImportError):
    """A calculator whose program or package is not installed."""

    def __init__(self, backend: str, needs: str, install: str) -> None:
        self.backend, self.needs, self.install = backend, needs, install
        super().__init__(f"calculator {backend!r} needs {needs}, which is not here; install it with: {install}")


class UnsupportedSystemError(UserError):
    """A calculator that must not be used for this system, and what to use instead."""

    def __init__(self, backend: str, reason: str, instead: str) -> None:
        self.backend, self.reason, self.instead = backend, reason, instead
        super().__init__(f"{backend}: {reason}; use {instead}")


class OutputError(UserError, OSError):
    """An output file or folder that cannot be written."""

    def __init__(self, path: str | Path, reason: str) -> None:
        self.path = Path(path)
        super().__init__(f"cannot write {path}: {reason}; choose another place with --out")


class StoreError(UserError, OSError):
    """A store of finished steps that cannot be used as it stands."""

    def __init__(self, path: str | Path, reason: str) -> None:
        self.path = Path(path)
        super().__init__(f"store {path} {reason}; or choose another with --store")


class SubmissionError(UserError):
    """A batch system that is not here, or refuses a job."""


class SCFError(CalculationError):
    """The self-consistent field did not converge; ``log`` holds what the backend said."""

    def __init__(self, method: str, system: str, log: str = "", log_path: str | Path | None = None) -> None:
        self.method, self.system, self.log = method, system, log
        self.log_path = Path(log_path) if log_path else None
        kept = f"; its log is kept in {log_path}" if log_path else ""
        super().__init__(f"{method}: the SCF of {system} did not converge{kept}")


class RelaxationError(CalculationError):
    """A geometry optimisation that did not reach a minimum."""


class WorkerLostError(CalculationError):
    """The process, job or node that carried out a step is gone.

    ``again`` says whether starting the step once more may help.
    """

    def __init__(self, step: str, reason: str, again: bool = True) -> None:
        self.step, self.reason, self.again = step, reason, again
        super().__init__(
            f"{step}: a worker process died ({reason}), perhaps for want of memory; the same command goes on from what "
            "is finished, try fewer --jobs"
        )


class SkippedError(CalculationError):
    """A step that was not started because one it waits for failed."""

    def __init__(self, step: str, awaited: str, cause: BaseException) -> None:
        self.step, self.awaited, self.cause = step, awaited, cause
        super().__init__(f"{step} was skipped, since {awaited} failed: {cause}")


class BranchesFailedError(CalculationError):
    """Some branches of a study failed; the others are finished and kept."""

    def __init__(self, errors: list[CalculationError], total: int | None = None) -> None:
        self.errors, self.total = errors, total
        told = "; ".join(dict.fromkeys(str(error) for error in errors))
        many = (
            f"{len(errors)} of {total} branches"
            if total
            else f"{len(errors)} {'branch' if len(errors) == 1 else 'branches'}"
        )
        super().__init__(f"{many} failed, the others are finished and kept: {told}")


class GrowthError(CalculationError):
    """A polymer chain that finds no way on without overlaps or pierced rings."""


class DamagedRecordError(CalculationError):
    """A stored result whose content does not match its checksum."""


class CompositionError(UserError):
    """A composition that no cell holds, that is not neutral, or whose species have no oxidation state.

    ``nearest`` is the formula that the sites would hold instead, where there is one.
    """

    def __init__(self, message: str, nearest: str = "") -> None:
        self.nearest = nearest
        super().__init__(f"{message}; the nearest is {nearest}" if nearest else message)


class CutError(UserError):
    """A surface or a particle that cannot be cut neutral, stoichiometric and unpolar as asked."""


class SelectionError(UserError):
    """A selection of atoms that cannot be read, or finds nothing."""


class TrajectoryError(UserError):
    """A trajectory that lacks what an analysis needs: a cell, a clock, whole frames."""


class MissingParameterError(UserError, LookupError):
    """No force-field number for these atoms; ``term`` is what is missing, ``path`` the file to add it to."""

    def __init__(self, term: str, where: str, path: str | Path, others: int = 0) -> None:
        self.term, self.where, self.path, self.others = term, where, Path(path), others
        more = f" ({others} more {'is' if others == 1 else 'are'} missing, too)" if others else ""
        super().__init__(f"no {term} ({where}); add it to {path} or to a file in a folder of yours{more}")


class AmbiguousParameterError(UserError):
    """Several force-field numbers fit the same atoms equally well."""


class UngradedParameterError(UserError):
    """Numbers that are only assumed, and nobody has allowed them."""


class UnbalancedChargeError(UserError):
    """Partial charges of a molecule that do not add up to its charge; ``off_e`` says by how much."""

    def __init__(self, what: str, total_e: float, formal_e: int, where: str) -> None:
        self.what, self.total_e, self.formal_e = what, total_e, formal_e
        self.off_e = total_e - formal_e
        super().__init__(
            f"{what}: the partial charges add up to {total_e:+.6f} e instead of {formal_e:+d}, off by {self.off_e:+.6f} "
            f"({where}); mend the charges of these types, or add bond_charges that carry the rest"
        )


class MissingProgramError(UserError, ImportError):
    """A program or package that is not installed, and how to get it."""

    def __init__(self, program: str, install: str) -> None:
        self.program, self.install = program, install
        super().__init__(f"{program} is not here; install it with: {install}")


class PackingError(UserError):
    """Molecules that cannot be packed as asked."""


class LammpsError(CalculationError):
    """LAMMPS stopped; carries its own words and where its log is."""

    def __init__(self, reason: str, log_path: str | Path, line: str = "") -> None:
        self.reason, self.line, self.log_path = reason, line, Path(log_path)
        told = f"{reason} (input line: {line})" if line else reason
        super().__init__(f"LAMMPS: {told}; its log is kept in {log_path}")


class PushOffError(CalculationError):
    """Overlaps that would not go; ``nearest_A`` says how near two atoms still are."""

    def __init__(self, message: str, nearest_A: float = float("nan")) -> None:
        self.nearest_A = nearest_A
        super().__init__(message)


class DynamicsError(CalculationError):
    """MD that had to be stopped.

    Attributes
    ----------
    cause : str
        A stable word: ``"lost-atoms"``, ``"not-finite"``, ``"too-hot"``, ``"pressure"``, ``"density"``, ``"stalled"``,
        ``"shake"``, ``"force-field"``, ``"launcher"``, ``"lammps"``.
    stage : str
    log_path : Path
    """

    def __init__(self, message: str, cause: str, stage: str, log_path: str | Path) -> None:
        self.cause, self.stage, self.log_path = cause, stage, Path(log_path)
        super().__init__(message)


class BusyError(UserError):
    """Another process works in the folder."""
