"""Names that may repeat because they are never embedded, made distinct."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kronos_sc._core.checks import listed, repeated
from kronos_sc._core.log import info
from kronos_sc.markers._concepts import STAIN, find

if TYPE_CHECKING:
    from collections.abc import Sequence


def numbered(names: Sequence[str], source: str, *, cyclic: bool = False) -> list[str]:
    """Return names in which those that repeat and mean no marker have a number each.

    They are the likes of Blank, Empty, Autofluorescence, or a metal.

    Markers that repeat stay as they are: which of them is meant, only the user knows.

    Parameters
    ----------
    names
        Of the channels of an image.
    source
        Where they come from, for the log line.
    cyclic
        Whether each of several cycles has its own nuclear stain; these are numbered, too.
    """
    twice = [name for name in repeated(names) if _may_repeat(name, cyclic=cyclic)]
    taken = set(names)
    counts = dict.fromkeys(twice, 0)
    new = []
    for name in names:
        if name not in counts:
            new.append(name)
            continue
        # until the name is free, and one that no marker could have
        candidate = ""
        while not candidate or candidate in taken or not _may_repeat(candidate, cyclic=cyclic, unknown=True):
            counts[name] += 1
            candidate = f"{name}_{counts[name]}"
        taken.add(candidate)
        new.append(candidate)
    if twice:
        info(f"{source}: names that repeat and are no marker to embed are numbered: {listed(twice)} → {twice[0]}_1 …")
    return new


def _may_repeat(name: str, *, cyclic: bool, unknown: bool = False) -> bool:
    """Whether a name means no marker, or the nuclear stain of one of several cycles."""
    concept = find(name)
    if concept is None:
        return unknown
    return concept.kind == "nothing" or (cyclic and concept.name == STAIN)
