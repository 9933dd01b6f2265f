"""Which elements belong together by their names: cells_3 and image_3, ROI003_mask and 3_image."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_CHUNK = re.compile(r"[^\W_]+")
_PART = re.compile(r"\d+|\D+")
# A number behind one of these is a version or part of an antigen's name, and says nothing of the sample:
# cellpose3_cells, CD3_mask.
_VERSIONED = {
    "cellpose",
    "cpsam",
    "sam",
    "stardist",
    "mesmer",
    "deepcell",
    "instanseg",
    "cellvit",
    "hovernet",
    "version",
    "cd",
    "ck",
}
# 3, 003, A3, 3a: a number, or a place of a plate or a tissue microarray
_PLACE = re.compile(r"([^\W\d_])?0*(\d+)([^\W\d_])?")

Marks = tuple[str, ...]


@dataclass(frozen=True)
class NameParts:
    """What a name says of which sample it is of.

    Parameters
    ----------
    marks
        Numbers, places (A3) and single letters, in their order; numbers without leading zeros.
    free
        Those that stand alone, between separators: `3` of `art2_map_3`.
    end
        The number that the name ends in after a separator; empty without one.
    words
        The rest.
    chunks
        All that stands between separators, in its order.
    """

    marks: Marks
    free: Marks
    end: str
    words: frozenset[str]
    chunks: tuple[str, ...]


def name_parts(name: str) -> NameParts:
    """Return what a name says of its sample, whatever the case and the separators."""
    marks: list[str] = []
    free: list[str] = []
    words: set[str] = set()
    chunks = _CHUNK.findall(name.lower())
    for chunk in chunks:
        place = _PLACE.fullmatch(chunk)
        if place or len(chunk) == 1:
            mark = chunk
            if place:
                mark = "".join(part or "" for part in place.groups())
            marks.append(mark)
            free.append(mark)
            continue

        # letters and numbers in one piece: roi3 is the third region, cellpose3 a program
        before = ""
        for part in _PART.findall(chunk):
            if not part.isdecimal():
                words.add(part)
            elif before in _VERSIONED:
                words.add(before + part)
            else:
                marks.append(str(int(part)))
            before = part

    end = ""
    if len(chunks) > 1 and chunks[-1].isdecimal():
        end = chunks[-1].lstrip("0") or "0"
    return NameParts(tuple(marks), tuple(free), end, frozenset(words), tuple(chunks))


def fitting(name: str, candidates: Iterable[str]) -> list[str]:
    """Return the candidates that belong to an element by their names; several where the names do not tell.

    Numbers pair elements, and words alone never do: `tumour_cells` and `tumour_he` may be chance. All marks (numbers,
    places, single letters) agree; where none agrees in all, the candidate is meant whose whole name is in the name
    (`image_1` in `image_1_cells_2`), else those that stand alone agree, or the number at the end while the marks of one
    name are among the other's. Of several that fit, the one whose own words are in the name is meant.
    """
    own = name_parts(name)
    others = {candidate: name_parts(candidate) for candidate in candidates}
    for agree in (_in_all, _in_name, _in_free, _in_end):
        if matches := {candidate: other for candidate, other in others.items() if agree(own, other)}:
            return _by_words(own, matches)
    return []


def contradict(one: str, other: str) -> bool:
    """Whether two elements bear numbers of different samples."""
    return bool(name_parts(one).end and name_parts(other).end) and not fitting(one, [other])


def _in_all(own: NameParts, other: NameParts) -> bool:
    return _has_number(own.marks) and own.marks == other.marks


def _in_name(own: NameParts, other: NameParts) -> bool:
    length = len(other.chunks)
    parts = (own.chunks[start : start + length] for start in range(len(own.chunks) - length + 1))
    alone = "".join(other.chunks).isdecimal()  # an image called "1": that number may be another one
    return not alone and _has_number(other.marks) and other.chunks in parts


def _in_free(own: NameParts, other: NameParts) -> bool:
    return _has_number(own.free) and own.free == other.free


def _in_end(own: NameParts, other: NameParts) -> bool:
    own_marks = set(own.marks)
    other_marks = set(other.marks)
    return bool(own.end) and own.end == other.end and (own_marks <= other_marks or other_marks <= own_marks)


def _has_number(marks: Marks) -> bool:
    return any(character.isdecimal() for mark in marks for character in mark)


def _by_words(own: NameParts, matches: dict[str, NameParts]) -> list[str]:
    """Return the only candidate whose words, but for those of all, are in the name.

    All of them where that is not one.
    """
    shared = frozenset.intersection(*(other.words for other in matches.values()))
    telling = []
    for candidate, other in matches.items():
        special = other.words - shared
        if special and special <= own.words:
            telling.append(candidate)
    if len(telling) == 1:
        return telling
    return list(matches)
