"""Why LAMMPS stopped, in a user's words: its own error, what that mostly means, and which atoms it is about."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from atomflow.dynamics.engine_input import EngineInput
from atomflow.dynamics.restarts import Restart
from atomflow.dynamics.stages import start_lines
from atomflow.errors import AtomflowError, DynamicsError, LammpsError
from atomflow.lammps import LammpsProgram, run_lammps
from atomflow.model import write_atomically

_CLASH = (
    "two atoms overlap or the time step is too long: push the box off (atomflow build box), or take a shorter --timestep, "
    "such as 1fs"
)
#: What LAMMPS says (https://docs.lammps.org/Errors_messages.html), our word for it, and the likely cause with the mend.
_CAUSES = (
    (r"Lost atoms", "lost-atoms", f"atoms left the box; {_CLASH}"),
    (r"(Bond|Angle|Dihedral|Improper) atoms? [\d ]+missing|atoms missing", "lost-atoms",
     f"bonded atoms flew apart; {_CLASH}"),
    (r"Out of range atoms", "lost-atoms", f"atoms flew farther than their neighbours reach; {_CLASH}"),
    (r"Non-numeric|NaN|[Nn]ot a number|simulation unstable", "not-finite", _CLASH),
    (r"Shake|SHAKE", "shake", f"bonds to hydrogen could not be held; {_CLASH}"),
    (r"Rigid|rigid bod", "rigid", f"a rigid particle lost atoms; {_CLASH}"),
    (r"[Cc]oeffs? (are|is) not set|not all .*coeffs|Incorrect args for|Not all per-type masses|No .*style .*defined|"
     r"[Uu]nknown (atom|bond|angle|dihedral|improper) type", "force-field",
     "a number of the force field is missing: give every type of the data file its coefficients"),
    (r"(Unrecognized|Unknown) (\w+) style|is part of the [\w-]+ package", "package",
     "this LAMMPS was built without a style that is needed: see atomflow doctor, or name another with --lmp"),
    (r"MPI did not start", "launcher",
     "mpirun and LAMMPS belong to different MPI libraries: use the mpirun that came with this LAMMPS"),
    (r"No space left|[Cc]annot (write|open|create)|Disk quota", "disk", "the disk is full or the folder cannot be written"),
    (r"out of memory|Failed to (re)?allocate", "memory", "take fewer ranks or a smaller box"),
)  # fmt: skip
_WORST = 3


def diagnosed(
    error: LammpsError, model: EngineInput, stage: str, kept: str, worst: Sequence[str] = ()
) -> DynamicsError:
    """The error in one line: the stage, LAMMPS' words, the likely cause, the atoms, and what is kept.

    Parameters
    ----------
    error : LammpsError
    model : EngineInput
    stage : str
    kept : str
        What stays of the run, such as ``"120 ps are kept"``.
    worst : sequence of str
        Atoms on which the force was largest in the last good state, as :func:`worst_atoms` gives them.
    """
    cause, meaning = explained(error.reason)
    ids = [int(word) for word in re.findall(r"\d+", _atoms_part(error.reason))]
    atoms = [model.label(one) for one in ids if 0 < one <= model.atoms] or list(worst)
    told = f"{model.name}, stage {stage}: LAMMPS says {error.reason!r}"
    if error.line:
        told += f" at {error.line!r}"
    if meaning:
        told += f": {meaning}"
    if atoms:
        told += f"; look at {', '.join(atoms[:4])}"
    return DynamicsError(f"{told}. {kept}; the log is {error.log_path}", cause, stage, error.log_path)


def explained(reason: str) -> tuple[str, str]:
    """Our word for an error of LAMMPS, and what it mostly means; ``("lammps", "")`` when it is not known."""
    for pattern, cause, meaning in _CAUSES:
        if re.search(pattern, reason):
            return cause, meaning
    return "lammps", ""


def moved_wildly(cause: str) -> bool:
    """Whether it is about atoms that moved too far, so that the largest forces say where."""
    return cause in ("lost-atoms", "not-finite", "too-hot", "pressure", "density", "shake", "rigid")


def _atoms_part(reason: str) -> str:
    """The numbers behind "atoms", before those of ranks and steps."""
    found = re.search(r"[Aa]toms? (\d[\d ]*)", reason)
    return found[1] if found else ""


def worst_atoms(
    model: EngineInput, folder: Path, start: Restart, *, program: LammpsProgram, timeout_s: float = 120.0
) -> tuple[str, ...]:
    """The atoms with the largest forces in the last good state, each with its nearest partner; empty if that fails too.

    Parameters
    ----------
    model : EngineInput
    folder : Path
        Of the stage; a folder ``diagnosis`` is made in it.
    start : Restart
        That state.
    program : LammpsProgram
    timeout_s : float
    """
    lines = start_lines(model, f"../{start.path}", start.data)
    lines += ["run 0", "write_dump all custom forces.dump id x y z fx fy fz modify sort id format float %.10g"]
    place = folder / "diagnosis"
    try:
        write_atomically(place / "diagnosis.in", "\n".join(lines) + "\n")
        run_lammps(place / "diagnosis.in", place, program=program, timeout_s=timeout_s, name="diagnosis")
        rows = np.loadtxt(place / "forces.dump", skiprows=9, ndmin=2)
    except (AtomflowError, OSError, ValueError):
        return ()
    if rows.shape[0] < 2 or rows.shape[1] != 7:
        return ()
    force = np.nan_to_num(np.linalg.norm(rows[:, 4:], axis=1), nan=np.inf)
    told = []
    for index in np.argsort(-force)[:_WORST]:
        apart = np.linalg.norm(rows[:, 1:4] - rows[index, 1:4], axis=1)
        apart[index] = np.inf
        near = int(np.argmin(apart))
        told.append(
            f"{model.label(int(rows[index, 0]))} {apart[near]:.2f} A from {model.label(int(rows[near, 0]))} "
            f"with a force of {force[index]:.3g} kcal/mol/A"
        )
    return tuple(told)
