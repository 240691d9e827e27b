"""A system as files that plain LAMMPS runs: ``system.data`` with everything in it, ``system.in`` that uses it.

Formats: https://docs.lammps.org/read_data.html and the pages of the styles named in the input. Units are ``real``.
Numbers are written so that reading gives the same doubles.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from atomflow.errors import BadOptionError, BadStructureError
from atomflow.forcefield.pairing import lower_cell, pair_tables
from atomflow.model import CosineTerm, Notice, System, write_atomically

#: Beyond this a box is not neutral; LAMMPS warns at the same figure.
NEUTRAL_E = 1e-5

#: How a particle may move, the first by default.
PARTICLES = ("rigid", "tethered")
#: Spring of a tethered atom, energy k/2 r^2: it moves by 0.2 A at 300 K. Assumed.
TETHER_KCAL_PER_MOL_A2 = 50.0


@dataclass(frozen=True)
class LammpsFiles:
    """What was written.

    Attributes
    ----------
    data, input : Path
    warnings : tuple of Notice
        Those of the system, and ``not-neutral``.
    """

    data: Path
    input: Path
    warnings: tuple[Notice, ...] = ()


def write_lammps(
    system: System,
    folder: str | Path,
    *,
    cutoff_A: float = 12.0,
    kspace_accuracy: float = 1e-4,
    tail: bool = True,
    temperature_K: float = 300.0,
    seed: int = 1,
    particle: str = "rigid",
) -> LammpsFiles:
    """Write ``system.data`` and ``system.in``; ``lmp -in system.in`` minimises and runs 1,000 steps.

    Parameters
    ----------
    system : System
    folder : str or Path
        Made when it is not there.
    cutoff_A : float
        Of Lennard-Jones and of the direct part of Coulomb.
    kspace_accuracy : float
        Relative error of the forces of PPPM.
    tail : bool
        Add to energy and pressure what Lennard-Jones loses beyond the cutoff.
    temperature_K : float
        Of the short run.
    seed : int
        Of its velocities and thermostat.
    particle : str
        ``rigid``: held molecules move as bodies; ``tethered``: each of their atoms hangs on a spring of
        :data:`TETHER_KCAL_PER_MOL_A2` where it stands, so that the particle shakes but stays in its place.

    Raises
    ------
    BadOptionError
        For another kind of ``particle``, or a number that makes no sense.
    OutputError
        The folder cannot be written.
    """
    _check(cutoff_A=cutoff_A, kspace_accuracy=kspace_accuracy, temperature_K=temperature_K)
    if particle not in PARTICLES:
        raise BadOptionError(f"particle {particle[:40]!r}: it may be {' or '.join(PARTICLES)}")
    folder = Path(folder)
    data = write_atomically(folder / "system.data", data_text(system))
    settings = lammps_settings(system, data.name, cutoff_A=cutoff_A, kspace_accuracy=kspace_accuracy, tail=tail)
    lines = [*heading(system), *settings, *_short_run(system, temperature_K, seed, particle)]
    script = write_atomically(folder / "system.in", "\n".join(lines) + "\n")
    return LammpsFiles(data, script, (*system.warnings, *neutrality(system)))


def neutrality(system: System) -> tuple[Notice, ...]:
    """A notice when a periodic Coulomb energy of the system would hold a neutralising background."""
    if abs(system.charge_e) <= NEUTRAL_E:
        return ()
    return (
        Notice(
            "not-neutral",
            f"{system.box.name}: net charge {system.charge_e:+.4f} e; PPPM adds a uniform background, "
            "so that energies and pressures depend on the size of the box",
        ),
    )


def heading(system: System) -> list[str]:
    """Comment lines that say what the file is and how far to trust its numbers."""
    counts = ", ".join(f"{many} {name}" for name, many in system.box.count().items())
    grades = ", ".join(f"{many} {grade}" for grade, many in system.grades().items())
    lines = [
        f"# {_plain(system.box.name)}: {_plain(counts)}; {len(system)} atoms, net charge {system.charge_e:+.6f} e",
        f"# force field {_plain(system.forcefield)}, charges of ions x {system.charge_scale:g}",
        f"# worst grade of a number: {system.worst_grade} ({grades})",
    ]
    return lines + [f"# warning {_plain(notice.code)}: {_plain(notice.text)}" for notice in system.warnings]


def data_text(system: System) -> str:
    """The data file: atom style full, triclinic only when the cell is; molecules are whole, image flags zero."""
    box, rotation = lower_cell(system.box.cell_A)
    positions = system.box.positions_A @ rotation
    impropers = list(_single_impropers(system))
    improper_terms, improper_type = _distinct(part for part, _atoms in impropers)
    lines = [
        f"LAMMPS data file made by atomflow, units = real; force field {_plain(system.forcefield)}, charges of ions "
        f"x {system.charge_scale:g}, worst grade {system.worst_grade}",
        "",
    ]
    sizes = [("atom", len(system), len(system.types))]
    sizes += [
        ("bond", len(system.bonds), len(system.bonds.terms)),
        ("angle", len(system.angles), len(system.angles.terms)),
        ("dihedral", len(system.torsions), len(system.torsions.terms)),
        ("improper", len(impropers), len(improper_terms)),
    ]
    lines += [f"{many} {what}s" for what, many, _kinds in sizes]
    lines += [f"{kinds if many else 0} {what} types" for what, many, kinds in sizes]
    lines += ["", *(f"0.0 {_n(box[k, k])} {'xyz'[k]}lo {'xyz'[k]}hi" for k in range(3))]
    if box[1, 0] or box[2, 0] or box[2, 1]:
        lines.append(f"{_n(box[1, 0])} {_n(box[2, 0])} {_n(box[2, 1])} xy xz yz")
    lines += _section("Masses", (f"{_n(t.mass_u)} # {_word(t.name)} {t.element}" for t in system.types))
    lines += _section(
        "Pair Coeffs",
        (f"{_n(t.epsilon_kcal_per_mol)} {_n(t.sigma_A)} # {_word(t.name)} {_origin(t)}" for t in system.types),
    )
    if len(system.bonds):
        lines += _section(
            "Bond Coeffs # harmonic",
            (f"{_n(t.k_kcal_per_mol_A2)} {_n(t.r0_A)} # {_classes(t)} {_origin(t)}" for t in system.bonds.terms),
        )
    if len(system.angles):
        lines += _section(
            "Angle Coeffs # harmonic",
            (
                f"{_n(t.k_kcal_per_mol_rad2)} {_n(t.theta0_deg)} # {_classes(t)} {_origin(t)}"
                for t in system.angles.terms
            ),
        )
    if len(system.torsions):
        lines += _section(
            "Dihedral Coeffs # fourier",
            (f"{_fourier(t)} # {_classes(t)} {_origin(t)}" for t in system.torsions.terms),
        )
    if impropers:
        lines += _section(
            "Improper Coeffs # cvff",
            (f"{_cvff(part)} # {_classes(t)} {_origin(t)}" for t, part in improper_terms),
        )
    molecule = (system.box.molecule_of_atom + 1).tolist()
    kinds = (np.asarray(system.type_of_atom) + 1).tolist()
    charges = np.asarray(system.charges_e, dtype=np.float64).tolist()
    lines += _section(
        "Atoms # full",
        (
            f"{m} {kind} {q!r} {x!r} {y!r} {z!r} 0 0 0"
            for m, kind, q, (x, y, z) in zip(molecule, kinds, charges, positions.tolist(), strict=True)
        ),
    )
    for title, bonded in (("Bonds", system.bonds), ("Angles", system.angles), ("Dihedrals", system.torsions)):
        if len(bonded):
            rows = zip((bonded.term + 1).tolist(), (bonded.atoms + 1).tolist(), strict=True)
            lines += _section(title, (f"{term} {' '.join(map(str, atoms))}" for term, atoms in rows))
    if impropers:
        rows = zip(improper_type, (atoms for _part, atoms in impropers), strict=True)
        lines += _section("Impropers", (f"{term + 1} {' '.join(str(a + 1) for a in atoms)}" for term, atoms in rows))
    return "\n".join(lines) + "\n"


def lammps_settings(
    system: System,
    data_file: str,
    *,
    cutoff_A: float,
    kspace_accuracy: float | None,
    tail: bool = False,
    kspace: str = "pppm",
) -> list[str]:
    """Commands from ``units`` to the last coefficient; without ``kspace_accuracy``, a box without periodicity."""
    periodic = kspace_accuracy is not None
    charged = bool(np.any(system.charges_e))
    if not charged:
        pair = f"pair_style lj/cut {_n(cutoff_A)}"
    else:
        pair = f"pair_style lj/cut/coul/{'long' if periodic else 'cut'} {_n(cutoff_A)}"
    styles = [("bond", len(system.bonds), "harmonic"), ("angle", len(system.angles), "harmonic")]
    styles += [("dihedral", len(system.torsions), "fourier"), ("improper", _many_parts(system), "cvff")]
    lj, coulomb = system.lj_14, system.coulomb_14
    lines = ["units real", "atom_style full", f"boundary {'p p p' if periodic else 'f f f'}", pair]
    lines += [f"{what}_style {style}" for what, many, style in styles if many]
    lines += [
        f"special_bonds lj 0.0 0.0 {_n(lj)} coul 0.0 0.0 {_n(coulomb)}",
        f"pair_modify mix geometric tail {'yes' if tail and periodic else 'no'}",
    ]
    lines.append(f"read_data {data_file}")
    if kspace_accuracy is not None and charged:
        # Behind the data file: LAMMPS wants it after the box has become triclinic.
        lines.append(f"kspace_style {kspace} {_n(kspace_accuracy)}")
    return lines + pair_exceptions(system) + held_settings(system)


def pair_exceptions(system: System) -> list[str]:
    """``pair_coeff`` for each two types that do not follow the mixing rule."""
    epsilons, sigmas = pair_tables(system)
    place = {one.name: index for index, one in enumerate(system.types)}
    notes: dict[tuple[int, int], str] = {}
    for pair in system.pairs:
        if set(pair.types) <= place.keys():
            i, j = sorted(place[name] for name in pair.types)
            notes[i, j] = f" # {'-'.join(map(_word, pair.types))} {_origin(pair)}"
            if i == j:
                # LAMMPS would mix this type's new numbers into all its other pairs.
                for k in range(len(system.types)):
                    notes.setdefault((min(i, k), max(i, k)), "")
    return [
        f"pair_coeff {i + 1} {j + 1} {_n(epsilons[i, j])} {_n(sigmas[i, j])}{note}"
        for (i, j), note in sorted(notes.items())
    ]


def bodies(system: System) -> list[int]:
    """Held molecules of more than one atom, which is no body."""
    sizes = np.bincount(system.box.molecule_of_atom, minlength=len(system.box.molecules))
    return [molecule for molecule in sorted(set(system.held)) if sizes[molecule] > 1]


def held_settings(system: System) -> list[str]:
    """Groups ``held`` and ``free``; atoms of one held molecule do not see each other."""
    held = bodies(system)
    if not held:
        return []
    return [
        "# Particles are rigid: their own atoms do not see each other (but for a constant of the Ewald sum).",
        f"group held molecule {' '.join(_ranges([molecule + 1 for molecule in held]))}",
        "group free subtract all held",
        "neigh_modify exclude molecule/intra held",
        "# Lists that leave pairs out take LAMMPS more than twice as long: a wider skin makes them less often.",
        "neighbor 3.0 bin",
    ]


def _short_run(system: System, temperature_K: float, seed: int, particle: str) -> list[str]:
    held = bodies(system)
    tethered = bool(held) and particle == "tethered"
    free = "free" if held and not tethered else "all"
    only_held = len(held) == len(system.box.molecules) and not tethered
    lines = [
        "variable steps index 1000  # change it with: lmp -var steps 5000 -in system.in",
        "thermo 100",
        "thermo_style custom step temp press density pe ebond eangle edihed eimp evdwl ecoul elong",
        "min_style cg",
    ]
    lines += ["fix still held setforce 0.0 0.0 0.0"] if held else []
    lines += ["minimize 1.0e-5 1.0e-5 300 3000"]
    lines += ["unfix still"] if held else []
    lines += ["reset_timestep 0", "timestep 1.0  # fs", f"velocity {free} create {_n(temperature_K)} {seed}"]
    if only_held:
        lines.pop()
    heat = f"{_n(temperature_K)} {_n(temperature_K)} 100.0"
    if tethered:
        lines += [f"fix tether held spring/self {_n(TETHER_KCAL_PER_MOL_A2)}"]
    elif held:
        lines += [f"fix body held rigid molecule langevin {heat} {seed + 1}"]
    if not only_held:
        lines += [f"fix bath {free} langevin {heat} {seed + 2}", f"fix move {free} nve"]
    # With "pair ij" the file keeps the pairs that do not follow the mixing rule.
    return [*lines, "run ${steps}", "write_data final.data" + (" pair ij" if pair_exceptions(system) else "")]


def _single_impropers(system: System) -> Iterator[tuple[tuple[CosineTerm, tuple[float, int, float]], list[int]]]:
    """Impropers with one cosine each, which is all that cvff takes."""
    for atoms, term in zip(system.impropers.atoms.tolist(), system.impropers.term.tolist(), strict=True):
        for part in system.impropers.terms[term].parts:
            yield (system.impropers.terms[term], part), atoms


def _many_parts(system: System) -> int:
    return sum(len(system.impropers.terms[term].parts) for term in system.impropers.term)


def _distinct(
    items: Iterable[tuple[CosineTerm, tuple[float, int, float]]],
) -> tuple[list[tuple[CosineTerm, tuple[float, int, float]]], list[int]]:
    places: dict[tuple[CosineTerm, tuple[float, int, float]], int] = {}
    index = [places.setdefault(item, len(places)) for item in items]
    return list(places), index


def _section(title: str, rows: Iterable[str]) -> list[str]:
    return ["", title, "", *(f"{number} {row}" for number, row in enumerate(rows, start=1))]


def _fourier(term: CosineTerm) -> str:
    # The style wants at least one part; of a torsion known to be zero it is one of no height.
    parts = term.parts or ((0.0, 1, 0.0),)
    return " ".join([str(len(parts)), *(f"{_n(k)} {n} {_n(d)}" for k, n, d in parts)])


def _cvff(part: tuple[float, int, float]) -> str:
    k, n, shift = part
    if shift % 360 not in (0.0, 180.0):
        raise BadStructureError(f"an improper shifted by {shift} degrees; LAMMPS' cvff takes 0 and 180 only")
    return f"{_n(k)} {1 if shift % 360 == 0 else -1} {n}"


def _n(value: float) -> str:
    """The shortest text that reads as the same double; also for NumPy's floats."""
    return repr(float(value))


def _classes(term: object) -> str:
    return "-".join(map(_word, term.classes))  # type: ignore[attr-defined]


def _origin(term: object) -> str:
    origin = term.origin  # type: ignore[attr-defined]
    return f"[{origin.grade}: {_plain(origin.source)}]"


def _plain(text: str) -> str:
    """Text in one line of printable ASCII, without what LAMMPS would take for a variable, a quote or a continuation."""
    kept = (letter if 32 <= ord(letter) < 127 and letter not in "$&\"'#" else "?" for letter in " ".join(text.split()))
    return "".join(kept)


def _word(text: str) -> str:
    return _plain(text).replace(" ", "_") or "?"


def _ranges(numbers: list[int]) -> list[str]:
    """Sorted numbers with runs as ``a:b``."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return [str(low) if low == high else f"{low}:{high}" for low, high in runs]


def _check(**above_zero: float) -> None:
    for name, value in above_zero.items():
        if not 0 < value < float("inf"):
            raise BadOptionError(f"{name} must be above zero, not {value!r}")
