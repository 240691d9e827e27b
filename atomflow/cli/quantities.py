"""Words of the command line into numbers: ``10ps``, ``0:1000:10``, ``Li=type 5``, ``Li:O@2.8``."""

from __future__ import annotations

import math
import re

from atomflow.errors import BadOptionError

_PICOSECONDS = {"fs": 1e-3, "ps": 1.0, "ns": 1e3, "us": 1e6}
_SECONDS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}


def picoseconds(option: str, text: str) -> float:
    """Time with its unit, in ps.

    Raises
    ------
    BadOptionError
        Not a positive time, or no unit: 2 could mean fs or ps.
    """
    match = re.fullmatch(r"\s*([0-9.eE+-]+)\s*([a-zA-Z]+)\s*", text)
    unit = match[2].lower() if match else ""
    value = _number(match[1]) if match else None
    if value is None or unit not in _PICOSECONDS:
        raise BadOptionError(f"{option} {text!r}: give a time with its unit, such as 10ps or 2fs")
    if not value > 0:
        raise BadOptionError(f"{option} {text!r}: a time is more than zero")
    return value * _PICOSECONDS[unit]


def duration_s(text: str) -> float | None:
    """Seconds of ``90s``, ``30m``, ``24h``, ``2d`` or ``HH:MM:SS``; None for other words."""
    if clock := re.fullmatch(r"(\d+):([0-5]\d):([0-5]\d)", text):
        return 3600 * int(clock[1]) + 60 * int(clock[2]) + int(clock[3])
    number = re.fullmatch(r"([\d.]+)(s|m|min|h|d)", text)
    value = _number(number[1]) if number else None
    return value * _SECONDS[number[2]] if number and value is not None else None


def share(option: str, text: str) -> float:
    """``20%`` or ``0.2``, as a fraction of one.

    Raises
    ------
    BadOptionError
        Not between zero and one.
    """
    words = text.strip()
    value = _number(words.removesuffix("%"))
    value = value / 100 if value is not None and words.endswith("%") else value
    if value is None or not 0 < value < 1:
        raise BadOptionError(f"{option} {text!r}: give a share such as 20%")
    return value


def frame_window(text: str | None) -> tuple[int | None, int | None, int | None]:
    """``start:stop:step`` as in Python; each part may be left out.

    Raises
    ------
    BadOptionError
        Other words.
    """
    if text is None:
        return None, None, None
    parts = text.split(":")
    try:
        numbers = [int(part) if part.strip() else None for part in parts]
    except ValueError:
        numbers = []
    if not 2 <= len(numbers) <= 3:
        raise BadOptionError(f"--frames {text!r}: give start:stop or start:stop:step, such as 1000::10")
    start, stop, step = [*numbers, None][:3]
    return start, stop, step


def named(option: str, texts: tuple[str, ...], example: str) -> dict[str, str]:
    """``NAME=WORDS`` of a repeated option, in order.

    Raises
    ------
    BadOptionError
        Without a name, or a name twice.
    """
    found: dict[str, str] = {}
    for text in texts:
        name, equals, words = text.partition("=")
        name, words = name.strip(), words.strip()
        if not (equals and name and words):
            raise BadOptionError(f"{option} {text!r}: write it like {example!r}")
        if name in found:
            raise BadOptionError(f"{option}: {name} is there twice")
        found[name] = words
    return found


def numbers_by_name(option: str, texts: tuple[str, ...], example: str) -> dict[str, float]:
    """``NAME=NUMBER`` of a repeated option.

    Raises
    ------
    BadOptionError
        A value that is not a number.
    """
    found: dict[str, float] = {}
    for name, words in named(option, texts, example).items():
        value = _number(words)
        if value is None:
            raise BadOptionError(f"{option} {name}={words}: {words!r} is not a number; write it like {example!r}")
        found[name] = value
    return found


def pair_with_cutoff(option: str, text: str) -> tuple[str, float | None]:
    """``A:B`` or ``A:B@2.8``: a pair and a cutoff in A.

    Raises
    ------
    BadOptionError
        Other words.
    """
    pair, at, words = text.partition("@")
    cutoff = _number(words) if at else None
    first, colon, second = (part.strip() for part in pair.partition(":"))
    if not (first and colon and second) or (at and (cutoff is None or cutoff <= 0)):
        raise BadOptionError(
            f"{option} {text!r}: give a pair of species, with a cutoff in A if you like: Li:O_TFSI@2.8"
        )
    return f"{first}:{second}", cutoff


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
