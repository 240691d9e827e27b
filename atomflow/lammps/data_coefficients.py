"""Coefficients that a LAMMPS data file holds, as the commands that say the same."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from atomflow.errors import BadFileError

#: Section -> command that says its rows one by one.
_COMMANDS = {
    "Pair Coeffs": "pair",
    "PairIJ Coeffs": "pair",
    "Bond Coeffs": "bond",
    "Angle Coeffs": "angle",
    "Dihedral Coeffs": "dihedral",
    "Improper Coeffs": "improper",
}
_TITLE = re.compile(r"[A-Z][A-Za-z]*( [A-Z][A-Za-z]*)*")


def data_coefficients(path: Path, kinds: Mapping[str, object] | set[str]) -> dict[str, tuple[str, ...]]:
    """For each of the kinds (``"pair"``, ``"bond"``, ...) its rows as ``pair_coeff``, ``bond_coeff``, ...

    Raises
    ------
    BadFileError
        The file cannot be read, or holds class 2 cross terms, which one command cannot say.
    """
    found: dict[str, list[str]] = {kind: [] for kind in kinds}
    section = ""
    try:
        with path.open(encoding="utf-8", errors="replace") as handle:
            for number, line in enumerate(handle):
                if number == 0:
                    continue  # a title, whatever it says
                text = " ".join(line.partition("#")[0].split())
                if _TITLE.fullmatch(text):
                    section = text
                    other = section.removesuffix(" Coeffs")
                    if (
                        other != section
                        and section not in _COMMANDS
                        and found.keys() & {"angle", "dihedral", "improper"}
                    ):
                        raise BadFileError(
                            path, f"section {section} with hybrid styles; write them into the input script"
                        )
                elif text and (kind := _COMMANDS.get(section)) in found:
                    words = text.split(" ")
                    if section == "Pair Coeffs":
                        words.insert(1, words[0])
                    found[str(kind)].append(f"{kind}_coeff {' '.join(words)}")
    except OSError as error:
        raise BadFileError(path, f"cannot be read ({error.strerror})") from error
    return {kind: tuple(rows) for kind, rows in found.items()}
