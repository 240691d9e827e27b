"""Distinct minima of an assembly: many starts, one screening, few refinements, counted hits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from ase import Atoms
from ase.data import covalent_radii

from atomflow.calculators import CalculatorSpec
from atomflow.energetics.ladder import Ladder, method_label
from atomflow.energetics.placement import starts as placed_starts
from atomflow.energetics.relax import Relaxed, relax, single_point
from atomflow.energetics.vibrations import Vibrations, vibrations
from atomflow.errors import RelaxationError, SCFError
from atomflow.model import Molecule, Notice, record

#: ``run(function, argument_tuples) -> results``: how a batch of independent tasks is carried out. Whoever calls may
#: pass one that uses processes and remembers finished tasks; the default is a plain loop.
TaskRunner = Callable[[Callable[..., Any], Sequence[tuple[Any, ...]]], list[Any]]


def run_serially(function: Callable[..., Any], arguments: Sequence[tuple[Any, ...]]) -> list[Any]:
    """The default task runner: one after the other, nothing remembered."""
    return [function(*args) for args in arguments]


#: Two geometries are one minimum when their energies and their sorted distance lists agree this well.
SAME_ENERGY_eV = 0.01
SAME_DISTANCE_A = 0.08
#: In units of the summed covalent radii: a bond longer than the first has broken, a non-bonded pair of one molecule
#: nearer than the second has formed a bond.
_BROKEN, _FORMED = 1.4, 1.15


@record("atomflow.minimum/1")
@dataclass(frozen=True)
class Minimum:
    """One local minimum.

    Attributes
    ----------
    atoms : ase.Atoms
        With the integer array ``"part"``.
    energy_eV : float
        By the ladder's energy calculator.
    geometry_energy_eV : float
        By the calculator that relaxed it.
    hits, starts : int
        How many of the starts ended here.
    spread_eV : float
        Range of the energies of those starts: how well the relaxations converged.
    converged : bool
        Whether the last relaxation reached its force tolerance.
    vibrations : Vibrations or None
    """

    atoms: Atoms
    energy_eV: float
    geometry_energy_eV: float
    hits: int
    starts: int
    spread_eV: float
    converged: bool
    vibrations: Vibrations | None = None

    @property
    def hit_rate(self) -> float:
        """Share of the starts that ended in this minimum."""
        return self.hits / self.starts


@dataclass(frozen=True)
class MinimaSearch:
    """Distinct minima, lowest energy first, and what happened to the starts that gave none."""

    minima: tuple[Minimum, ...]
    notices: tuple[Notice, ...] = ()

    @property
    def best(self) -> Minimum:
        """The lowest minimum."""
        return self.minima[0]


def find_minima(
    parts: Sequence[Molecule],
    ladder: Ladder,
    *,
    starts: int = 4,
    keep: int = 1,
    seed: int = 0,
    run: TaskRunner = run_serially,
) -> MinimaSearch:
    """Search the minima of one molecule or of several together.

    Parameters
    ----------
    parts : sequence of Molecule
    ladder : Ladder
        Every start is relaxed by ``ladder.first``; the ``keep`` lowest distinct minima are relaxed again by
        ``ladder.geometry`` and get their energy from ``ladder.energy``.
    starts, keep, seed : int
    run : TaskRunner

    Raises
    ------
    SCFError, RelaxationError
        When no start at all gives a minimum.
    """
    ladder = ladder.suited_to(parts)
    tolerance = ladder.force_tolerance_eV_per_A
    geometries = placed_starts(parts, starts, seed)
    relaxed = run(relax, [(atoms, ladder.first, tolerance) for atoms in geometries])
    expected = graph_bonds(parts)
    candidates = [_Candidate(r, 1, 0.0) for r in relaxed]
    found, notices = _sort_out(candidates, len(geometries), ladder.first, expected)
    kept = found[:keep]
    if ladder.geometry != ladder.first:
        refined = run(relax, [(m.atoms, ladder.geometry, tolerance, ladder.screen) for m in kept])
        candidates = [_Candidate(r, m.hits, m.spread_eV) for r, m in zip(refined, kept, strict=True)]
        kept, more = _sort_out(candidates, len(geometries), ladder.geometry, expected)
        notices += more
    if ladder.hessian is not None:
        kept = [_confirm(minimum, ladder, run) for minimum in kept]
        notices += [n for m in kept for n in _vibration_notices(m)]
    if ladder.energy != ladder.geometry:
        energies = run(single_point, [(m.atoms, ladder.energy) for m in kept])
        kept = [replace(m, energy_eV=e) for m, e in zip(kept, energies, strict=True)]
    kept.sort(key=lambda m: m.energy_eV)
    if not kept[0].converged:
        notices.append(
            Notice(
                "unconverged-geometry", f"{kept[0].atoms.info['name']}: the relaxation did not reach {tolerance} eV/A"
            )
        )
    return MinimaSearch(tuple(kept), tuple(notices))


@dataclass(frozen=True)
class _Candidate:
    """A relaxation and how many starts it stands for."""

    relaxed: Relaxed
    hits: int
    spread_eV: float


def _sort_out(
    candidates: Sequence[_Candidate], starts: int, spec: CalculatorSpec, expected: frozenset[tuple[int, int]]
) -> tuple[list[Minimum], list[Notice]]:
    """Drop failed and reacted starts, say so, and group the others."""
    name, total = str(candidates[0].relaxed.atoms.info["name"]), len(candidates)
    failed = [c.relaxed for c in candidates if c.relaxed.failure]
    intact = [c for c in candidates if not c.relaxed.failure and is_intact(c.relaxed.atoms, expected)]
    reacted = total - len(failed) - len(intact)
    label = method_label(spec)
    if not intact:
        if failed:
            raise SCFError(label, name, "\n".join(f.log or f.failure for f in failed))
        raise RelaxationError(
            f"{name}: bonds broke or formed in all {total} starts ({label}); the molecules react rather than bind"
        )
    notices = []
    if failed:
        notices.append(
            Notice("failed-starts", f"{name}: {len(failed)} of {total} starts failed ({label}: {failed[0].failure})")
        )
    if reacted:
        notices.append(
            Notice(
                "reacted-starts",
                f"{name}: in {reacted} of {total} starts bonds broke or formed ({label}); they were left out",
            )
        )
    return _group(intact, starts), notices


def graph_bonds(parts: Sequence[Molecule]) -> frozenset[tuple[int, int]]:
    """Bonds of the molecules of an assembly, by atom index in the assembly."""
    pairs, offset = set(), 0
    for part in parts:
        for bond in part.graph.GetBonds():
            i, j = sorted((bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()))
            pairs.add((offset + i, offset + j))
        offset += len(part)
    return frozenset(pairs)


def is_intact(atoms: Atoms, expected: frozenset[tuple[int, int]]) -> bool:
    """Whether every molecule of an assembly still has its own bonds and no others (contacts between parts are free)."""
    radii, part = covalent_radii[atoms.numbers], atoms.arrays["part"]
    i, j = np.triu_indices(len(atoms), 1)
    inside = part[i] == part[j]
    i, j = i[inside], j[inside]
    ratio = np.linalg.norm(atoms.positions[i] - atoms.positions[j], axis=1) / (radii[i] + radii[j])
    bonded = np.array([(int(a), int(b)) in expected for a, b in zip(i, j, strict=True)], dtype=bool)
    return bool((ratio[bonded] < _BROKEN).all() and (ratio[~bonded] > _FORMED).all())


def fingerprint(atoms: Atoms) -> np.ndarray:
    """Sorted interatomic distances, element pair by element pair, angstrom.

    Unchanged by rotation, translation, reflection and by swapping equal atoms: mirror images are one minimum, since
    their energies are equal.
    """
    i, j = np.triu_indices(len(atoms), 1)
    z = np.sort(np.column_stack([atoms.numbers[i], atoms.numbers[j]]), axis=1)
    distances = np.linalg.norm(atoms.positions[i] - atoms.positions[j], axis=1)
    return distances[np.lexsort((distances, z[:, 1], z[:, 0]))]


def _group(candidates: Sequence[_Candidate], starts: int) -> list[Minimum]:
    """Group relaxed geometries into distinct minima, lowest energy first."""
    groups: list[list[_Candidate]] = []
    for item in sorted(candidates, key=lambda c: c.relaxed.energy_eV):
        home = next((g for g in groups if same_minimum(g[0].relaxed, item.relaxed)), None)
        if home is None:
            groups.append([item])
        else:
            home.append(item)
    minima = []
    for group in groups:
        best = group[0].relaxed
        spread = max(max(c.relaxed.energy_eV - best.energy_eV, c.spread_eV) for c in group)
        hits = sum(c.hits for c in group)
        minima.append(Minimum(best.atoms, best.energy_eV, best.energy_eV, hits, starts, spread, best.converged))
    return minima


def same_minimum(first: Relaxed, second: Relaxed) -> bool:
    """Whether two relaxations ended in one minimum, whatever their orientation, handedness or atom order."""
    if abs(first.energy_eV - second.energy_eV) > SAME_ENERGY_eV:
        return False
    difference = fingerprint(first.atoms) - fingerprint(second.atoms)
    return bool(np.sqrt(np.mean(difference**2)) < SAME_DISTANCE_A)


_MEND_STEP_A = 0.25
_MEND_TRIES = 3


def _confirm(minimum: Minimum, ladder: Ladder, run: TaskRunner) -> Minimum:
    """Compute vibrations; walk down an imaginary mode and relax again, a few times if need be."""
    if ladder.hessian is None:
        return minimum
    for attempt in range(_MEND_TRIES + 1):
        found: Vibrations = run(vibrations, [(minimum.atoms, ladder.hessian)])[0]
        minimum = replace(minimum, vibrations=found)
        if found.is_minimum or attempt == _MEND_TRIES:
            return minimum
        shifted = []
        for sign in (1.0, -1.0):
            atoms = minimum.atoms.copy()
            atoms.positions += sign * _MEND_STEP_A * np.asarray(found.lowest_mode) / np.abs(found.lowest_mode).max()
            shifted.append(atoms)
        lower = [
            r
            for r in run(relax, [(a, ladder.hessian, ladder.force_tolerance_eV_per_A) for a in shifted])
            if not r.failure
        ]
        if not lower:
            return minimum
        best = min(lower, key=lambda r: r.energy_eV)
        minimum = replace(
            minimum,
            atoms=best.atoms,
            energy_eV=best.energy_eV,
            geometry_energy_eV=best.energy_eV,
            converged=best.converged,
        )
    return minimum


def _vibration_notices(minimum: Minimum) -> list[Notice]:
    found = minimum.vibrations
    if found is None or found.is_minimum:
        return []
    lowest = found.frequencies_per_cm[0]
    return [
        Notice(
            "not-a-minimum",
            f"{minimum.atoms.info['name']}: a vibration stays imaginary ({-lowest:.0f}i cm-1) after {_MEND_TRIES} mends",
        )
    ]
