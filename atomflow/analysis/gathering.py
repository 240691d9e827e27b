"""Notices of many species and frames gathered, so that each thing is said once."""

from __future__ import annotations

import re
from collections.abc import Iterable

from atomflow.model import Notice

#: ``Li: ...`` or ``Li:O (4 blocks), Li:F (7 blocks): ...``: who it is about, and what.
_SUBJECT = r"[^\s(),]+(?: \([^()]*\))?"
_ABOUT = re.compile(rf"({_SUBJECT}(?:, {_SUBJECT})*): (.+)", re.DOTALL)


def gathered(notices: Iterable[Notice]) -> tuple[Notice, ...]:
    """Each notice once, and those that say the same of several species or pairs in one sentence that names them.

    A text that begins with its subject and a colon, ``Li (0.58): ...``, is joined with others of the same code that
    go on with the same words; the order is that of the first of them. Gathering twice changes nothing.
    """
    about: dict[tuple[str, str], dict[str, None]] = {}
    for notice in notices:
        match = _ABOUT.fullmatch(notice.text)
        subjects = re.findall(_SUBJECT, match[1]) if match else []
        about.setdefault((notice.code, match[2] if match else notice.text), {}).update(dict.fromkeys(subjects))
    return tuple(
        Notice(code, f"{', '.join(subjects)}: {words}" if subjects else words)
        for (code, words), subjects in about.items()
    )
