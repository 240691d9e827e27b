"""Which unit follows which: random, blocky, alternating, by blocks, or as written; and how long chains are.

Numbers of units are those of the fractions asked for, rounded, in every chain: a chain's composition does not fluctuate,
only the order does. All orders that the rules allow are equally likely.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import product

import numpy as np
from numpy.typing import NDArray

from atomflow.build.polymers import SEQUENCES, Block, Polymer, check_fraction
from atomflow.errors import BadOptionError, UnknownNameError

#: More units make no chain that a box could hold.
MOST_UNITS = 20_000
_TURNED = "-"


def draw_sequence(
    polymer: Polymer, units: int, rng: np.random.Generator, masses_u: Mapping[str, float] | None = None
) -> tuple[str, ...]:
    """Residue names from head to tail; a minus sign before a name stands for a unit that is turned round.

    Parameters
    ----------
    polymer : Polymer
    units : int
        Number of repeat units, end groups apart; an explicit sequence has its own.
    rng : numpy Generator
    masses_u : mapping
        Mass of each residue, which block copolymers need for their weight fractions.

    Raises
    ------
    BadOptionError
        When the units cannot be set as the rules ask.
    """
    check_units(units)
    if polymer.sequence not in SEQUENCES:
        return parse_sequence(polymer.sequence)
    if polymer.blocks:
        return _blocks(polymer, units, masses_u or {}, rng)
    if polymer.sequence == "blocks":
        raise BadOptionError(f"{polymer.name} has no blocks; use the sequence random, blocky or alternating")
    if polymer.sequence == "alternating":
        names = [share.residue for share in polymer.units]
        row = [names[k % len(names)] for k in range(units)]
    else:
        row = _statistical(polymer, units, rng)
    row = _substituted(polymer, row, rng)
    return tuple(_turned(polymer, row, rng))


def parse_sequence(text: str) -> tuple[str, ...]:
    """Residues of a text such as ``"VDF*3 HFP -VDF"``.

    Raises
    ------
    BadOptionError
        When a repeat is not a number from 1, or there are too many units.
    """
    row: list[str] = []
    for word in re.split(r"[\s,]+", text.strip()):
        name, star, many = word.rpartition("*") if re.search(r"\*\d*$", word) and "[" not in word else (word, "", "1")
        if star and (not many.isdigit() or int(many) < 1):
            raise BadOptionError(f"sequence: {word!r} repeats nothing; write VDF*3 for three units")
        if not name.lstrip(_TURNED):
            raise BadOptionError("sequence: it is empty or names no residue; write for example 'VDF*3 HFP VDF'")
        check_units(len(row) + int(many))
        row += [name] * int(many)
    return tuple(row)


def with_fractions(polymer: Polymer, fractions: Mapping[str, float]) -> Polymer:
    """The polymer with other fractions: mole fractions of units, weight fractions of blocks, parts substituted.

    Raises
    ------
    UnknownNameError
        When it has no such unit or block.
    BadOptionError
        When a fraction is outside 0..1.
    """
    known = [share.residue for share in polymer.units[1:]] + [block.name for block in polymer.blocks]
    known += [block.residue for block in polymer.blocks] + [s.residue for s in polymer.substitutions]
    folded = {name.casefold(): name for name in known}
    for given, value in fractions.items():
        check_fraction(f"fraction of {given}", value)
        name = folded.get(given.casefold())
        if name is None:
            mend = f"{polymer.name} has " + (", ".join(known) if known else "one unit only, without a fraction")
            raise UnknownNameError("unit", given, known, mend=mend)
        units = tuple(replace(s, fraction=value) if s.residue == name else s for s in polymer.units)
        swaps = tuple(replace(s, fraction=value) if s.residue == name else s for s in polymer.substitutions)
        blocks = polymer.blocks
        if any(name in (b.name, b.residue) for b in blocks):
            # With two blocks the other one takes the rest.
            blocks = tuple(
                replace(
                    b,
                    weight_fraction=value
                    if name in (b.name, b.residue)
                    else None
                    if len(blocks) == 2
                    else b.weight_fraction,
                )
                for b in blocks
            )
        polymer = replace(polymer, units=units, substitutions=swaps, blocks=blocks)
    return polymer


def check_units(units: int) -> int:
    """The number of units, if a chain can have it."""
    if isinstance(units, bool) or not isinstance(units, (int, np.integer)) or not 1 <= units <= MOST_UNITS:
        raise BadOptionError(f"units is {units}: a chain has a whole number of units from 1 to {MOST_UNITS}")
    return int(units)


def chain_lengths(
    chains: int, *, mn_g_mol: float, dispersity: float, unit_mass_g_mol: float, seed: int = 0
) -> NDArray[np.int64]:
    """Numbers of units of chains whose molar masses follow the Schulz-Zimm distribution.

    The number distribution is a gamma distribution of mean ``mn_g_mol`` and shape 1 / (dispersity - 1) (G. V. Schulz,
    Z. Phys. Chem. B 43 (1939) 25; B. H. Zimm, J. Chem. Phys. 16 (1948) 1099; the form is standard, the papers were not
    read). Dispersity 2 is Flory's most probable distribution, 1 gives equal chains. No chain has less than one unit.

    Raises
    ------
    BadOptionError
        When a mass is not positive, the average below one unit, or the dispersity below 1.
    """
    if not (np.isfinite(mn_g_mol) and mn_g_mol > 0 and unit_mass_g_mol > 0):
        raise BadOptionError(f"number-average molar mass {mn_g_mol}: give a positive number in g/mol")
    if mn_g_mol < unit_mass_g_mol:
        least = math.ceil(10 * unit_mass_g_mol) / 10
        raise BadOptionError(
            f"number-average molar mass {mn_g_mol:g}: below that of one unit; give at least {least:.1f} g/mol"
        )
    if not 1 <= dispersity <= 20:
        raise BadOptionError(f"dispersity {dispersity}: Mw/Mn is between 1 (equal chains) and 20")
    rng = np.random.default_rng(seed)
    shape = 1 / (dispersity - 1) if dispersity > 1 else np.inf
    masses = rng.gamma(shape, mn_g_mol / shape, chains) if np.isfinite(shape) else np.full(chains, float(mn_g_mol))
    lengths = np.maximum(np.rint(masses / unit_mass_g_mol), 1).astype(np.int64)
    check_units(int(lengths.max(initial=1)))
    return lengths


def _statistical(polymer: Polymer, units: int, rng: np.random.Generator) -> list[str]:
    """Random and blocky sequences of exact composition."""
    main, others = polymer.units[0].residue, polymer.units[1:]
    counts = [int(np.floor((share.fraction or 0.0) * units + 0.5)) for share in others]
    rest = units - sum(counts)
    if rest < 0:
        raise BadOptionError(f"{polymer.name}: the fractions of its units add up to more than 1; lower one")
    # A unit that stands apart carries the main unit behind it, and the chain begins with one more.
    pieces = [([s.residue, main] if s.apart else [s.residue], n) for s, n in zip(others, counts, strict=True)]
    apart = sum(n for (piece, n) in pieces if len(piece) == 2)
    first = 1 if apart else 0
    rest -= apart + first
    if rest < 0:
        most = (units - 1) // 2
        raise BadOptionError(
            f"{polymer.name}: {apart} units that must stand between {main} units do not fit into {units}; "
            f"at most {most} do, a fraction of {most / units:.3g}"
        )
    if polymer.sequence == "blocky":
        groups = []
        for piece, many in pieces:
            per_block = max(1, polymer.block_length // len(piece))
            sizes = [per_block] * (many // per_block) + ([many % per_block] if many % per_block else [])
            groups += [piece * size for size in sizes]
    else:
        groups = [piece for piece, many in pieces for _ in range(many)]
    groups += [[main]] * rest
    order = rng.permutation(len(groups))
    return [main] * first + [name for k in order for name in groups[k]]


def _substituted(polymer: Polymer, row: list[str], rng: np.random.Generator) -> list[str]:
    row = list(row)
    for swap in polymer.substitutions:
        # The last unit carries the end group.
        sites = [k for k in range(1, len(row) - 1) if row[k] == swap.replaces and row[k - 1] == swap.after]
        many = int(np.floor(swap.fraction * len(sites) + 0.5))
        for k in rng.choice(sites, many, replace=False) if many else ():
            row[k] = swap.residue
    return row


def _turned(polymer: Polymer, row: list[str], rng: np.random.Generator) -> list[str]:
    """Turn some units of the first kind round; the ends stay, so that the end groups stay what they are."""
    main = polymer.units[0].residue
    wanted = int(np.floor(polymer.head_head_fraction * row.count(main) + 0.5))
    sites = [k for k in range(1, len(row) - 1) if row[k] == main]
    special = {share.residue for share in polymer.units[1:]} | {swap.residue for swap in polymer.substitutions}
    # Beside another kind of unit a defect would make a junction that the polymer's file does not speak of.
    free = [k for k in sites if not {row[k - 1], row[k + 1]} & special]
    if wanted > len(free):
        raise BadOptionError(
            f"{polymer.name}: {wanted} of {len(row)} units turned round, but only {len(free)} have equal neighbours "
            "and are no ends; lower the head-head fraction"
        )
    for k in rng.choice(free, wanted, replace=False) if wanted else ():
        row[k] = _TURNED + row[k]
    return row


def _blocks(polymer: Polymer, units: int, masses_u: Mapping[str, float], rng: np.random.Generator) -> tuple[str, ...]:
    """Blocks in turn; their lengths as near to the weight fractions as whole units allow."""
    blocks = polymer.blocks
    given = [block.weight_fraction for block in blocks]
    left = 1 - sum(value for value in given if value is not None)
    missing = sum(value is None for value in given)
    if left < -1e-9 or (not missing and abs(left) > 1e-6):
        raise BadOptionError(f"{polymer.name}: the weight fractions of its blocks do not add up to 1")
    weights = [left / missing if value is None else value for value in given]
    fixed_mass = [sum(masses_u[name] for name in (*b.start, *b.finish)) for b in blocks]
    fixed_units = [len(b.start) + len(b.finish) for b in blocks]
    each = [masses_u[b.residue] for b in blocks]
    anchor = next(k for k, block in enumerate(blocks) if block.block_length)
    if not weights[anchor] > 0:
        raise BadOptionError(f"{polymer.name}: the weight fraction of {blocks[anchor].name} must be above 0")
    # Mass of one round of blocks from the block whose length is given.
    mass = (fixed_mass[anchor] + (blocks[anchor].block_length or 0) * each[anchor]) / weights[anchor]
    ideal = [max(weights[k] * mass - fixed_mass[k], 0.0) / each[k] for k in range(len(blocks))]
    rounds = max(1, round(units / (sum(ideal) + sum(fixed_units))))
    free = units - rounds * sum(fixed_units)
    if free < rounds * len(blocks):
        raise BadOptionError(
            f"{polymer.name}: {units} units are too few for one round of its blocks; give at least "
            f"{sum(fixed_units) + len(blocks)}"
        )
    totals = _nearest_split(free, rounds, weights, fixed_mass, each)
    per_round = [_shared(total, rounds, rng) for total in totals]
    row: list[str] = []
    for turn, k in product(range(rounds), range(len(blocks))):
        block: Block = blocks[k]
        row += [*block.start, *[block.residue] * per_round[k][turn], *block.finish]
    return tuple(row)


def _nearest_split(
    free: int, rounds: int, weights: Sequence[float], fixed_mass: Sequence[float], each: Sequence[float]
) -> list[int]:
    """Units of each block, ``free`` together and at least one each round, nearest to the weight fractions."""
    counts = [rounds] * len(weights)
    for _ in range(free - sum(counts)):
        masses = [rounds * fixed_mass[k] + counts[k] * each[k] for k in range(len(counts))]
        total = sum(masses)
        # The block that lacks most gets the next unit.
        lacks = [weights[k] * total - masses[k] for k in range(len(counts))]
        counts[int(np.argmax(lacks))] += 1
    return counts


def _shared(total: int, parts: int, rng: np.random.Generator) -> list[int]:
    sizes = [total // parts] * parts
    for k in rng.permutation(parts)[: total % parts]:
        sizes[k] += 1
    return sizes
