"""The table of proteins: which spellings mean the same one, which names are no marker, and which may be several.

`concepts.csv` is curated by hand. One row is one concept: its canonical `name`; its `kind`; its `aliases` parted by "|"
(antibody spellings, gene symbols, full names, names cut off by an instrument, typing errors of published panels);
`near`, the concepts worth offering when it is not in a vocabulary; and a `comment` where a decision was taken. The
kinds:

- `nuclear` and `other`: a marker; nuclear ones show nuclei whatever the state of the cell
- `nothing`: elements, totals, blanks, compartments and dyes, which are no marker
- `ambiguous`: a name of several proteins, those of `near`; never resolved silently
"""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from kronos_sc.markers._affixes import HOSTS
from kronos_sc.markers._spelling import RABBIT_OR_RB, fold, isotope, shorten, spellings

MARKERS = ("nuclear", "other")
STAIN = "DAPI"  # the one concept whose cycles are numbered: DAPI-01, HOECHST1, DNA_6
_BLANK = re.compile(
    r"(BG|BKG|BLANK|EMPTY|BACKGROUND|AF|AUTOFLUORESCENCE|AUTO|CH|CHANNEL|C|CYCLE|CYC|EL|ELUTION|BCKG|QUENCH"
    r"|BLEACH|SECONDARY|ISOTYPE)\d{1,3}(DI)?"
    r"|\d+(BCKG|BKG|BG)?"
)
# What stands behind the stain of one round: a number, or that it is the round of autofluorescence, the first or the
# last.
_ROUND = re.compile(r"(?:\.?\d{1,3}|AF|INIT|FINAL|BG|REF)+$")
# Antibodies that bind to no marker: "goat anti-rabbit", "Secondary rb", "rat IgG2a", "ms isotype control".
_CONTROL = re.compile(
    r"2nd|2ndary|secondary|secondaries|isotype|control|ctrl|neg|negative|only|no|primary|igg\d?[abc]?|igy", re.I
)
_HOST = re.compile(HOSTS, re.I)
_BESIDE = re.compile(r"anti|antibody|ab|hl|h|l|fab2?|f|hrp|polymer|ig|human|hu", re.I)
_MIXED = re.compile(r"\s*[/+&,]\s*")


@dataclass(frozen=True)
class Concept:
    """A protein, or a name that means none or several.

    Parameters
    ----------
    name
        Canonical name.
    kind
        `"nuclear"`, `"other"`, `"nothing"` or `"ambiguous"`.
    aliases
        Other spellings.
    near
        Canonical names of the concepts to offer instead.
    """

    name: str
    kind: str
    aliases: tuple[str, ...] = ()
    near: tuple[str, ...] = ()

    @property
    def is_marker(self) -> bool:
        """Whether the concept is one protein or stain."""
        return self.kind in MARKERS


@cache
def concepts() -> dict[str, Concept]:
    """Return every concept by its canonical name, in the order of the table."""
    text = files("kronos_sc.markers").joinpath("concepts.csv").read_text(encoding="utf-8")
    return {
        row["name"]: Concept(row["name"], row["kind"], _split(row["aliases"], "|"), _split(row["near"], ","))
        for row in csv.DictReader(text.splitlines())
    }


def lookup(text: str) -> Concept | None:
    """Return the concept of a name that carries neither cycle, metal, dye nor clone.

    `None` if the table does not know it.
    """
    folded = fold(text)
    in_table = _index().get(folded) or _index().get(shorten(folded))
    return in_table or _numbered_stain(folded) or _control(text) or _nothing(text, folded) or _mixture(text)


def find(name: str) -> Concept | None:
    """Return the concept of a channel name, whatever the instrument added to it."""
    return next((concept for text in spellings(name) if (concept := lookup(text))), None)


def recognise(name: str) -> str | None:
    """Return the canonical name of the protein or stain that a channel name means.

    Use it to ask whether two spellings are one protein, whatever a model knows. What a given model makes of a panel is
    the business of :func:`match`.

    Parameters
    ----------
    name
        A channel name, with or without cycle, metal, dye, clone or remark.

    Returns
    -------
    The canonical name, or `None` for elements and totals, names of several proteins, and names that the table does not
    hold.

    Examples
    --------
    >>> from kronos_sc.markers import recognise
    >>> recognise("CD20 - B cells:Cyc_8_ch_3"), recognise("MS4A1"), recognise("totalIon")
    ('CD20', 'CD20', None)
    """
    concept = find(name)
    return concept.name if concept and concept.is_marker else None


@cache
def _index() -> dict[str, Concept]:
    """Every spelling, folded, of every concept.

    Names before aliases, aliases before their Greek letters written short.
    """
    index: dict[str, Concept] = {}
    for concept in concepts().values():
        index.setdefault(fold(concept.name), concept)
    for concept in concepts().values():
        for alias in concept.aliases:
            index.setdefault(fold(alias), concept)
    for concept in concepts().values():
        for alias in (concept.name, *concept.aliases):
            index.setdefault(shorten(fold(alias)), concept)
    return index


def _numbered_stain(folded: str) -> Concept | None:
    concept = _index().get(folded.removesuffix("DI")) or _index().get(_ROUND.sub("", folded))
    if concept and concept.name == STAIN:
        return concept
    return None


def _nothing(text: str, folded: str) -> Concept | None:
    if not folded or isotope(text) or _BLANK.fullmatch(folded):
        return Concept("", "nothing")
    # Mask_2, Brightfield1; short ones are elements, and P53 is none
    word = folded.rstrip("0123456789")
    concept = _index().get(word)
    if len(word) > 3 and concept and concept.kind == "nothing":
        return concept
    return None


def _control(text: str) -> Concept | None:
    """Return what a name of hosts and controls alone means: nothing, unless "Rb" or "RB" may be the protein."""
    words = [word for word in re.split(r"[\W_]+", text) if word]
    beside = [word for word in words if _BESIDE.fullmatch(word)]
    hosts = [word for word in words if _HOST.fullmatch(word) and word not in beside]
    controls = [word for word in words if _CONTROL.fullmatch(word)]
    # "IgG" is a protein, too
    only_a_class = not hosts and {word.lower() for word in controls} <= {"igg"}
    if only_a_class or len(hosts + controls + beside) < len(words):
        return None
    if controls or not any(word.lower() == "rb" for word in hosts):
        return Concept("", "nothing")

    # what is left has an "rb" in it: the rabbit, the protein, or nobody knows
    protein = [word for word in hosts if word in ("Rb", "RB")]
    animals = [word for word in hosts if word.lower() != "rb"]
    if protein and not animals:  # "anti-RB", "rb RB": nobody stains rabbits with rabbit
        return concepts()["RB"]
    if animals and not protein:
        return Concept("", "nothing")
    return concepts()[RABBIT_OR_RB]


def _mixture(text: str) -> Concept | None:
    """Return the concept of several names in one.

    CD271/NGFR and MUC1 EMA are one protein twice; CD3/CD20 are several, hence ambiguous.
    """
    parts = [part for part in _MIXED.split(text) if part]
    if len(parts) < 2:
        by_word = [_index().get(fold(word)) for word in text.split()]
        if len(set(by_word)) == 1 and by_word[0] and by_word[0].is_marker:
            return by_word[0]
        return None
    proteins = [_index().get(fold(part)) for part in parts]
    if not all(concept and concept.is_marker for concept in proteins):
        return None
    names = tuple(dict.fromkeys(concept.name for concept in proteins if concept))
    if len(names) == 1:
        return concepts()[names[0]]
    return Concept(text, "ambiguous", near=names)


def _split(cell: str, mark: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in cell.split(mark) if part.strip())
