"""The text of a LAMMPS input script as commands: continued lines joined, comments gone, words split as LAMMPS splits them.

Rules of https://docs.lammps.org/Commands_parse.html. Nothing is carried out or evaluated: variables stay as they are
written, but for those whose value is plain text in the script itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from atomflow.errors import BadFileError

_LARGEST_BYTES = 20 * 1024 * 1024
_BLANK = " \t\n\r\f\v"
#: What may stand for a variable: ${name}, $x, or a formula in parentheses.
_SUBSTITUTION = re.compile(r"\$(?:\{(\w+)\}|(\w)|(?=\())")
_QUOTED = re.compile(r'"""[\s\S]*?"""|"[^"]*"|\'[^\']*\'')
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0e-\x1f\x7f]")


@dataclass(frozen=True)
class Command:
    """One command of a script.

    Attributes
    ----------
    words : tuple of str
        Without their quotes; the first is the command's name.
    text : str
        As it was written, on one line (but for breaks within triple quotes), without comment.
    path : Path
        File that holds it: the script, or one that it includes.
    line : int
        From 1; where it begins.
    spans : tuple of (int, int)
        Where each word lies in the text, with its quotes.
    """

    words: tuple[str, ...]
    text: str
    path: Path
    line: int
    spans: tuple[tuple[int, int], ...]

    @property
    def name(self) -> str:
        """The first word."""
        return self.words[0]

    def with_word(self, index: int, word: str) -> str:
        """The text with another word in the place of one."""
        start, end = self.spans[index]
        return self.text[:start] + word + self.text[end:]

    def refused(self, why: str) -> BadFileError:
        """The error that says where this command stands."""
        return BadFileError(self.path, f"line {self.line}: {why}")


def read_commands(path: Path) -> list[Command]:
    """Commands of a script in order; ``include`` is not followed.

    Raises
    ------
    BadFileError
        It cannot be read, is no text, or a quote in it has no end.
    """
    try:
        with path.open("rb") as handle:
            raw = handle.read(_LARGEST_BYTES + 1)
    except (OSError, ValueError) as error:  # a name with a null character is a ValueError
        raise BadFileError(path, f"cannot be read ({getattr(error, 'strerror', None) or error})") from error
    if len(raw) > _LARGEST_BYTES:
        raise BadFileError(path, f"too much for an input script, at most {_LARGEST_BYTES} bytes")
    text = raw.decode("utf-8", errors="replace")
    if _UNPRINTABLE.search(text):
        raise BadFileError(path, "holds characters that no input script has; give the script, not a binary file")
    found = []
    for number, joined in _joined(path, text):
        try:
            bare = _without_comment(joined).strip(_BLANK)
            words = list(_words(bare))
        except ValueError as error:
            raise BadFileError(path, f"line {number}: {error}") from None
        if words:
            spans = tuple((start, end) for _word, start, end in words)
            found.append(Command(tuple(word for word, _start, _end in words), bare, path, number, spans))
    return found


def quoted(word: str) -> str:
    """A word as a script must have it: in quotes when it holds blanks or what a script takes for something else."""
    if word and not set(word) & set(_BLANK + "\"'#$&"):
        return word
    quote = next((mark for mark in ('"', "'") if mark not in word), '"""')
    return f"{quote}{word}{quote}"


def substitutions(text: str) -> tuple[set[str], list[str]]:
    """What LAMMPS puts into a line before it reads it: names of variables, and formulas of ``$(...)``; not in quotes."""
    names: set[str] = set()
    formulas: list[str] = []
    text = _QUOTED.sub(" ", text)
    for match in _SUBSTITUTION.finditer(text):
        if name := match[1] or match[2]:
            names.add(name)
        else:
            formulas.append(_parenthesis(text, match.end()))
    return names, formulas


def substituted(text: str, values: dict[str, str]) -> str | None:
    """The text with plain variables put in; None when one of them is not plain."""
    lacking = False

    def value(match: re.Match[str]) -> str:
        nonlocal lacking
        name = match[1] or match[2]
        lacking = lacking or name not in values
        return values.get(name, "")

    done = _SUBSTITUTION.sub(value, text)
    return None if lacking else done


def _parenthesis(text: str, start: int) -> str:
    depth = 0
    for place in range(start, len(text)):
        depth += {"(": 1, ")": -1}.get(text[place], 0)
        if depth == 0:
            return text[start + 1 : place]
    return text[start + 1 :]


def _joined(path: Path, text: str) -> Iterator[tuple[int, str]]:
    """Lines with what continues them: after an ampersand at the end, even of a comment, and within triple quotes."""
    parts: list[str] = []
    began, quoted = 0, False
    for number, line in enumerate(text.split("\n"), start=1):
        began = began or number
        stripped = line.rstrip(_BLANK)
        if '"""' in line:
            # Inside the quotes there are no comments, so that all count; outside a comment may hold some.
            quoted ^= bool((line if quoted else _without_comment(line)).count('"""') % 2)
        if stripped.endswith("&") and not quoted:
            parts.append(stripped[:-1])
        elif quoted:
            parts.append(line.rstrip("\r") + "\n")
        else:
            parts.append(line.rstrip("\r"))
            yield began, "".join(parts)
            parts, began = [], 0
    if quoted:
        raise BadFileError(path, f"line {began}: triple quotes without an end")
    if parts:
        yield began, "".join(parts)


def _without_comment(line: str) -> str:
    if '"' not in line and "'" not in line:
        return line.partition("#")[0]
    quote, place = "", 0
    while place < len(line):
        if quote:
            if line.startswith(quote, place):
                place += len(quote)
                quote = ""
                continue
        elif line[place] in "\"'":
            quote = '"""' if line.startswith('"""', place) else line[place]
            place += len(quote)
            continue
        elif line[place] == "#":
            return line[:place]
        place += 1
    return line


def _words(text: str) -> Iterator[tuple[str, int, int]]:
    """Each word without its quotes, and where it begins and ends with them."""
    place = 0
    while True:
        while place < len(text) and text[place] in _BLANK:
            place += 1
        if place == len(text):
            return
        if text[place] in "\"'":
            quote = '"""' if text.startswith('"""', place) else text[place]
            end = text.find(quote, place + len(quote))
            if end < 0:
                raise ValueError("a quote without an end")
            start, place = place, end + len(quote)
            yield text[start + len(quote) : end], start, place
            if place < len(text) and text[place] not in _BLANK:
                raise ValueError("a closing quote must be followed by a space")
            continue
        start = place
        while place < len(text) and text[place] not in _BLANK:
            # A formula in parentheses may hold blanks.
            place = place + 2 + len(_parenthesis(text, place + 1)) if text.startswith("$(", place) else place
            place += 1
        place = min(place, len(text))
        yield text[start:place], start, place
