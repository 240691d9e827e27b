"""Molecules into a cell, loosely: ours by default, or packmol.

Molecules are rigid here. The large ones are put where they overlap least among many tries, then the small ones, and
those that still touch give way to each other; what stays stuck is put elsewhere. Nothing is nearer than the tolerance
in the end, images included. Density comes later, by molecular dynamics: a loose box takes seconds.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from ase import Atoms
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from atomflow.build.embedding import check_seed
from atomflow.errors import BadOptionError, MissingProgramError, PackingError
from atomflow.model import G_PER_CM3, Box, Molecule

#: Atoms of different molecules keep at least this far apart, A; what is aimed at is a little more.
TOLERANCE_A = 2.0
_AIM = 1.025
#: Tries for a body larger and smaller than :data:`_LARGE` atoms; and for one that got stuck.
_TRIES_LARGE, _TRIES_SMALL, _TRIES_STUCK, _LARGE = 300, 60, 300, 40
#: Rounds of giving way and placing again, and the steps of each.
_ROUNDS, _STEPS = 40, 100
#: A packing that has so large a part of its molecules stuck after so many rounds does not get better.
_HOPELESS, _HOPELESS_ROUNDS = 0.2, 5
#: Tries that are drawn at a time, to keep their turns out of memory.
_AT_ONCE = 2000

#: Nothing is denser: osmium has 22.6.
_DENSEST_G_CM3 = 25.0

PACKERS = ("atomflow", "packmol")
INSTALL_PACKMOL = "pip install packmol"


def pack(
    kinds: Sequence[Molecule],
    counts: Sequence[int],
    *,
    density_g_cm3: float,
    seed: int = 0,
    conformers: Sequence[Sequence[NDArray[np.float64]]] | None = None,
    packer: str = "atomflow",
    timeout_s: float = 300.0,
    name: str = "box",
) -> Box:
    """Molecules in a cube, none nearer to another than 2 A.

    Parameters
    ----------
    kinds : sequence of Molecule
        Particles (``role="particle"``) go to the middle, or, several of them, onto a lattice.
    counts : sequence of int
    density_g_cm3 : float
        Of the cube, below 25; some 0.5 packs in seconds at any size.
    seed : int
        The same seed gives the same box.
    conformers : for each kind a sequence of (atoms, 3) arrays, optional
        Geometries of its molecules, used in turn; without them that of the kind.
    packer : str
        One of :data:`PACKERS`.
    timeout_s : float
        How long packmol may take.
    name : str

    Raises
    ------
    PackingError
        When no such box was found; says what to change.
    MissingProgramError
        Without packmol, when it is asked for.
    BadOptionError
    """
    check_seed(seed)
    if packer not in PACKERS:
        raise BadOptionError(f"--packer {packer}: one of {', '.join(PACKERS)}")
    _check_numbers(density_g_cm3, counts)
    if not 0 < density_g_cm3 < _DENSEST_G_CM3:
        raise BadOptionError(
            f"density {density_g_cm3:g} g/cm3: give one above 0 and below {_DENSEST_G_CM3:g}, such as 0.5"
        )
    if len(counts) != len(kinds) or any(count < 0 for count in counts) or not sum(counts):
        raise BadOptionError("a box needs one molecule or more, and a count for each kind")
    bodies: list[NDArray[np.float64]] = []
    for number, (kind, count) in enumerate(zip(kinds, counts, strict=True)):
        shapes = conformers[number] if conformers is not None else [kind.graph.GetConformer().GetPositions()]
        bodies += [np.asarray(shapes[n % len(shapes)], dtype=np.float64) for n in range(count)]
    molecules = np.repeat(np.arange(len(kinds)), counts)
    mass = sum(kind.mass_u * count for kind, count in zip(kinds, counts, strict=True))
    edge = float((mass * G_PER_CM3 / density_g_cm3) ** (1 / 3))
    held = np.array([kinds[kind].role == "particle" for kind in molecules.tolist()])
    widest = max((float(np.ptp(bodies[n], axis=0).max()) for n in np.flatnonzero(held)), default=0.0)
    if edge < max(3 * TOLERANCE_A * _AIM, widest + TOLERANCE_A):
        raise PackingError(
            f"{name}: a cube of {edge:.1f} A at {density_g_cm3:g} g/cm3 is too small for what it should hold; take more "
            "atoms or a lower --pack-density"
        )
    middles = _lattice(int(held.sum()), edge)
    if packer == "packmol":
        positions = _by_packmol(kinds, molecules, bodies, held, middles, edge, seed, timeout_s, name)
    else:
        positions = _ours(bodies, held, middles, edge, seed, name, density_g_cm3)
    return Box(tuple(kinds), molecules, positions, np.eye(3) * edge, name)


def _check_numbers(density_g_cm3: object, counts: object) -> None:
    """The types of what :func:`pack` is given; whether the values make sense comes after."""
    if isinstance(density_g_cm3, bool) or not isinstance(density_g_cm3, (int, float, np.integer, np.floating)):
        raise BadOptionError(f"density {density_g_cm3!r}: give a number in g/cm3, such as 0.5")
    if isinstance(counts, str) or not isinstance(counts, (Sequence, np.ndarray)):
        raise BadOptionError(f"counts {counts!r}: give a whole number for each kind, such as [40, 10]")
    for count in counts:
        if isinstance(count, bool) or not isinstance(count, (int, np.integer)):
            raise BadOptionError(f"a count of {count!r}: give a whole number for each kind, such as 40")


def replicated(box: Box, copies: tuple[int, int, int]) -> Box:
    """A box of several copies side by side, molecules of one kind together.

    Raises
    ------
    BadOptionError
        For numbers below one.
    """
    if len(copies) != 3 or any(not isinstance(n, int) or n < 1 for n in copies):
        raise BadOptionError("--replicate: give three whole numbers from 1, such as 2,2,2")
    offsets = np.stack(np.meshgrid(*[np.arange(n) for n in copies], indexing="ij"), axis=-1).reshape(-1, 3) @ box.cell_A
    pieces = [box.positions_A[a:b] for a, b in zip(box.first_atoms, box.first_atoms[1:], strict=False)]
    positions = [pieces[m] + offset for m in range(len(box.molecules)) for offset in offsets]
    order = np.argsort(np.repeat(box.molecules, len(offsets)), kind="stable")
    return Box(
        box.kinds,
        np.repeat(box.molecules, len(offsets))[order],
        np.concatenate([positions[n] for n in order]),
        box.cell_A * np.array(copies)[:, None],
        box.name,
    )


def find_packmol() -> Path:
    """The ``packmol`` command: on PATH, or beside this Python.

    Raises
    ------
    MissingProgramError
    """
    beside = Path(sys.executable).with_name("packmol")
    found = shutil.which("packmol") or (str(beside) if beside.is_file() else None)
    if found is None:
        raise MissingProgramError("packmol", INSTALL_PACKMOL)
    return Path(found)


def _lattice(many: int, edge: float) -> NDArray[np.float64]:
    """Middles of the particles: the middle of the cube for one, else far apart on a cubic lattice."""
    side = int(np.ceil(round(many ** (1 / 3), 6))) if many else 1
    grid = (np.stack(np.meshgrid(*[np.arange(side)] * 3, indexing="ij"), axis=-1).reshape(-1, 3) + 0.5) * edge / side
    taken = [0]
    while len(taken) < many:
        apart = grid[:, None] - grid[taken]
        apart -= np.rint(apart / edge) * edge
        taken.append(int((apart**2).sum(axis=2).min(axis=1).argmax()))
    return np.asarray(grid[taken[:many]])


def _ours(
    bodies: list[NDArray[np.float64]],
    held: NDArray[np.bool_],
    middles: NDArray[np.float64],
    edge: float,
    seed: int,
    name: str,
    density: float,
) -> NDArray[np.float64]:
    from atomflow.build._packing_kernels import give_way, place

    rng = np.random.default_rng(seed)
    sizes = np.array([len(body) for body in bodies])
    starts = np.concatenate(([0], np.cumsum(sizes))).astype(np.int64)
    body_of = np.repeat(np.arange(len(bodies)), sizes).astype(np.int64)
    local = np.concatenate([body - body.mean(axis=0) for body in bodies])
    positions, centres = local.copy(), np.zeros((len(bodies), 3))
    placed = np.zeros(len(bodies), dtype=np.bool_)

    def put(which: NDArray[np.intp], tries: int) -> None:
        for k in which:
            positions[starts[k] : starts[k + 1]] = local[starts[k] : starts[k + 1]]
        placed[which] = False
        step = max(1, _AT_ONCE // tries)
        for some in (which[n : n + step] for n in range(0, len(which), step)):
            spots = rng.random((len(some), tries, 3)) * edge
            turns = Rotation.random(len(some) * tries, random_state=rng).as_matrix().reshape(len(some), tries, 3, 3)
            taken = place(positions, starts, placed, some.astype(np.int64), spots, turns, edge, TOLERANCE_A * _AIM)
            centres[some] = spots[np.arange(len(some)), taken]

    for k, middle in zip(np.flatnonzero(held), middles, strict=True):
        positions[starts[k] : starts[k + 1]] += middle
        centres[k], placed[k] = middle, True
    order = np.argsort(-sizes, kind="stable")
    order = order[~held[order]]
    put(order[sizes[order] > _LARGE], _TRIES_LARGE)
    put(order[sizes[order] <= _LARGE], _TRIES_SMALL)
    mobility = np.where(held, 0.0, 1.0 / np.sqrt(sizes))
    for rounds in range(1, _ROUNDS + 1):
        _steps, contacts = give_way(
            positions, body_of, starts, centres, mobility, edge, TOLERANCE_A, TOLERANCE_A * _AIM, _STEPS
        )
        if not contacts.any():
            return positions
        stuck = order[contacts[order] > 0]
        if not len(stuck) or (rounds >= _HOPELESS_ROUNDS and len(stuck) > _HOPELESS * len(bodies)):
            break
        put(stuck, _TRIES_STUCK)
    raise PackingError(
        f"{name}: {int((contacts > 0).sum())} of {len(bodies)} molecules still overlap at {density:g} g/cm3 after {rounds} "
        f"rounds; take a --pack-density below {density:.2g}, or shorter chains by --units"
    )


def _by_packmol(
    kinds: Sequence[Molecule],
    molecules: NDArray[np.intp],
    bodies: list[NDArray[np.float64]],
    held: NDArray[np.bool_],
    middles: NDArray[np.float64],
    edge: float,
    seed: int,
    timeout_s: float,
    name: str,
) -> NDArray[np.float64]:
    """Walls instead of periodicity: half the tolerance is kept free at each face."""
    command = find_packmol()
    wall = TOLERANCE_A / 2
    with tempfile.TemporaryDirectory(prefix="atomflow-packmol-") as where:
        folder = Path(where)
        lines = [f"tolerance {TOLERANCE_A}", "filetype xyz", "output out.xyz", f"seed {seed + 1}"]
        middle = iter(middles)
        for n, (kind, body) in enumerate(zip(molecules.tolist(), bodies, strict=True)):
            Atoms(numbers=kinds[kind].atoms.numbers, positions=body - body.mean(axis=0)).write(folder / f"{n}.xyz")
            if held[n]:
                x, y, z = next(middle)
                rule = f"  center\n  fixed {x:.6f} {y:.6f} {z:.6f} 0. 0. 0."
            else:
                rule = f"  inside box {wall} {wall} {wall} " + " ".join([f"{edge - wall:.6f}"] * 3)
            lines += [f"structure {n}.xyz", "  number 1", rule, "end structure"]
        # From a file: packmol reads its input twice, which a pipe does not let it.
        script = folder / "packmol.inp"
        script.write_text("\n".join(lines) + "\n", encoding="ascii")
        try:
            with script.open("rb") as words:
                done = subprocess.run(  # noqa: S603 - our own input, no shell
                    [str(command)],
                    stdin=words,
                    cwd=folder,
                    capture_output=True,
                    timeout=timeout_s,
                    check=False,
                )
        except subprocess.TimeoutExpired as error:
            raise PackingError(
                f"{name}: packmol did not converge within {timeout_s:g} s; take a lower --pack-density, or --packer atomflow"
            ) from error
        from ase.io import read

        if done.returncode or b"Success!" not in done.stdout or not (folder / "out.xyz").is_file():
            raise PackingError(
                f"{name}: packmol found no packing at this density; take a lower --pack-density, or --packer atomflow"
            )
        return np.asarray(read(folder / "out.xyz").get_positions())
