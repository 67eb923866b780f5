"""What can go wrong; every message is one sentence that says where, and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class RunError(Exception):
    """A run's folder cannot be read as one."""


class UnknownName(KeyError):
    """There is no map, stage, layer or sequence of that name."""

    def __init__(self, kind: str, name: object, known: Iterable[str]) -> None:
        known = list(known)
        sentence = f"there is no {kind} {name!r}"
        near = difflib.get_close_matches(str(name), known, n=1)
        if near:
            sentence += f"; the nearest is {near[0]!r}"
        elif not known:
            sentence += f"; this run holds no {kind} at all"
        elif len(known) <= 12:
            sentence += f"; there are {', '.join(known)}"
        super().__init__(sentence)

    def __str__(self) -> str:
        # KeyError would show the sentence in quotation marks.
        return self.args[0]
