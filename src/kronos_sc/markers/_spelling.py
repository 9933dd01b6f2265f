"""Spellings of a channel name, from the name as it stands to the name without what the instrument added.

A channel is often called after more than its marker: the cycle ("CD44:Cyc_2_ch_2"), the metal
("CD3_1841((3177))Er170"), the dye ("CD8-Cy5"), the clone ("CD20 (L26)") or what it is good for ("FOXP3 - regulatory T
cells"). :func:`spellings` removes these step by step and never more than a step needs, so that the longest part of a
name that is known decides: "CD45RO" is found before "RO" could be dropped.
"""

from __future__ import annotations

import re
import unicodedata

from kronos_sc.markers._affixes import (
    CATALOGUE,
    CLONES,
    CYCLE,
    DYE,
    EDGE,
    END,
    EXPOSURE,
    HOSTS,
    INTERCALATOR,
    ION,
    METAL,
    METAL_APART,
    METAL_CALL,
    METAL_GLUED,
    VENDORS,
    WORDS,
)

# The second row is what is typed for them: the letters of phonetics, and the German sharp s for beta.
_GREEK = dict(zip("αβγδεζκλμΑΒΓΔΕΖΚΛΜ", "abgdezklmABGDEZKLM", strict=True))
_GREEK |= dict(zip("ɑßɣɛ", "abge", strict=True))
RABBIT_OR_RB = "rabbit or RB"  # "rb Cy5": a secondary antibody, or the protein
_GREEK_WORDS = re.compile("ALPHA|BETA|GAMMA|DELTA|EPSILON")
_METAL_GLUED = re.compile(METAL_GLUED)
_METAL_CALL = re.compile(METAL_CALL, re.I)
_NOISE = re.compile(f"{METAL_APART}|{ION}|{EDGE}(?:{METAL}|{CYCLE}|{EXPOSURE}|{DYE}|{WORDS}){END}", re.I)
# Two digits can be part of a name ("Cytokeratin 14"); three stand for a dilution, a wavelength or a lot, and a mass
# stands in brackets.
_NUMBER = re.compile(rf"(?:{EDGE}|(?=#))(?:{CATALOGUE}|\d{{3,}}){END}|[(\[](?:8\d|9\d)[)\]]", re.I)
_INDEX = re.compile(r"^(?:\d{1,2}[ _.\-]+)+(?=[^\W\d_])")  # 02_CD3: its place in a list

_PARTED = r"[\s_\-:.,/|]+"
# "Ab" stands for Abcam or antibody, and behind TCR for two chains.
_VENDOR = re.compile(
    rf"^(?:{VENDORS}){_PARTED}|{_PARTED}(?:{VENDORS}|(?<!TCR[ /\-])(?<!CD235[ /\-])(?<!CD79[ /\-])ab)$", re.I
)
# "ms IgG2a CD68" tells the class of the antibody; "rb IgG" and "ms IgM" are, or may be, controls and keep their host.
_CLASS = rf"(?:{_PARTED}IgG\d?[abc]?)?"
_HOST_BEFORE = re.compile(
    rf"^(?!(?:ms|mse|mo|mouse|murine|rat|rt){_PARTED}IgM)(?:{HOSTS}){_CLASS}{_PARTED}(?!IgG)"
    r"|^(?:rb|rt|rat|ms|mo|gt|hu|h|a|α)-?(?=CD\d)",
    re.I,
)
_ANTI = re.compile(rf"^[aα]{_PARTED}", re.I)  # "rb a-PD-1", but also "rb a-Tubulin"
_HOST_BEHIND = re.compile(rf"{_PARTED}(?:{HOSTS}){_CLASS}$", re.I)
_HOST_IN_BRACKETS = re.compile(rf"\s*[(\[](?:{HOSTS})[)\]]$", re.I)
# What may be a name: no number alone, and no clone such as the 4H1 of RB; 53BP1, 4-1BB and 5hmC begin with digits.
_NAME = re.compile(r"\W*(?:[^\W\d_]|\d[\d-]*[^\W\d_]{2})")
_MARKS = str.maketrans({"™": "", "®": "", "©": "", "‐": "-", "‑": "-", "\u00a0": " "})

_TAIL = re.compile(r"\s*:|\s+[-–—|]\s+")
_BRACKETS = re.compile(r"\s*[(\[{][^()\[\]{}]*[)\]}]")
_CLONE = re.compile(f"{EDGE}(?:{CLONES}){END}", re.I)
# What says which form of a protein is meant is neither clone nor remark: "STAT3 (phospho Y705)" is not STAT3.
_FORM = re.compile(
    r"phos|cleaved|acetyl|methyl|mutant|variant|isoform|\bactive\b|\b(?:alpha|beta|gamma|delta)\b|^class"
    r"|^p?[STY]\d+|^(?:ser|thr|tyr)[ -]?\d|K\d+(?:ac|me|ub)|^R[ABCO]$|^[IVX]+$|^\d{1,2}[a-z]?$|^[a-g]{1,2}$|^[αβγδ]+$",
    re.I,
)
_BETWEEN_NUMBERS = re.compile(r"(?<=[0-9])[^A-Za-z0-9]+(?=[0-9])")
_EMPTY = re.compile(r"[^A-Za-z0-9.]+|(?<![0-9])\.|\.(?![0-9])")


def fold(text: str) -> str:
    """Return `text` in upper-case letters and digits only, Greek letters as Latin ones.

    Two numbers stay apart, by a dot.

    "CD3-1" is what makes a second CD3 unique, and not CD31.
    """
    plain = "".join(_GREEK.get(letter, letter) for letter in unicodedata.normalize("NFKC", text))
    return _EMPTY.sub("", _BETWEEN_NUMBERS.sub(".", plain)).upper()


def shorten(folded: str) -> str:
    """Return a folded name with the words for Greek letters as single letters: TGFBETA as TGFB."""
    return _GREEK_WORDS.sub(lambda word: word.group()[0], folded)


def spellings(name: str) -> list[str]:
    """Return the name, then without what was added to it, one step at a time.

    The steps: cycle, exposure, metal and dye; vendor and host species; lone numbers; remark; clone; its place in a
    list. None of them is taken back: "CD45 RB" is known as it stands, and asked for before its last word could be a
    rabbit.

    Parameters
    ----------
    name
        A channel name as the image has it.

    Returns
    -------
    The distinct spellings in the order in which to try them. A name that holds nothing but a cycle, a metal or a dye
    ends in "".
    """
    texts = [name]
    source = (_without_vendor, _without_host_in_brackets, _without_host_before, _without_host_behind, _without_vendor)
    for step in (_without_noise, *source, _without_numbers, _without_remark, _without_clone, *source, _without_index):
        text = step(texts[-1])
        if text == texts[-1]:
            continue
        texts.append(RABBIT_OR_RB if text == "rb" else text)
        if step is _without_host_before and (bare := _unless_all(_ANTI, text)) != text:
            texts.append(bare)
    return texts


def isotope(text: str) -> bool:
    """Whether `text` is a metal with its mass and nothing else, such as Pr141, 107Ag or Sm(147).

    "ER (142)" is a receptor at mass 142.
    """
    return bool(re.fullmatch(METAL, _METAL_CALL.sub(r"\1\2", text).strip(" ()"), re.I))


def _without_noise(text: str) -> str:
    # Underscores part words here, and "Pr(141)" is the metal Pr141.
    called = _METAL_CALL.sub(r"\1\2", text.translate(_MARKS))
    bare = _NOISE.sub(" ", called).replace("_", " ")
    bare = _METAL_GLUED.sub("", _tidy(bare))
    if not bare and (stain := re.search(INTERCALATOR, called, re.I)):
        return stain.group()  # "191Ir_191Ir" is a metal alone, and DNA
    return bare


def _without_vendor(text: str) -> str:
    return _unless_all(_VENDOR, text)


def _without_host_before(text: str) -> str:
    return _unless_all(_HOST_BEFORE, text)


def _without_host_in_brackets(text: str) -> str:
    return _unless_all(_HOST_IN_BRACKETS, text)


def _without_host_behind(text: str) -> str:
    return _unless_all(_HOST_BEHIND, text)


def _unless_all(pattern: re.Pattern, text: str) -> str:
    """Drop a word at an end, as long as a name is left: RB beside no other word is the protein, not the rabbit."""
    rest = _tidy(pattern.sub(" ", text))
    return rest if _NAME.match(rest) and len(fold(rest)) > 1 else text


def _without_numbers(text: str) -> str:
    return _tidy(_NUMBER.sub(" ", text))


def _without_index(text: str) -> str:
    """Drop "02" of "02 CD3", but not "5" of "5 T4", which is no T4."""
    rest = _INDEX.sub("", text)
    return rest if len(fold(rest)) > 2 or text.startswith("0") else text


def _without_remark(text: str) -> str:
    cut = _TAIL.search(text)
    if not cut or _FORM.search(text[cut.end() :].strip()):
        return text
    return _tidy(text[: cut.start()])


def _without_clone(text: str) -> str:
    if _CLONE.fullmatch(text):
        return text  # SP7 alone is osterix, and the h of hCD45 a human
    text = _CLONE.sub(" ", text)
    for group in _BRACKETS.findall(text):
        if not _FORM.search(group.strip(" ()[]{}")):
            text = text.replace(group, " ")
    return _tidy(text)


def _tidy(text: str) -> str:
    """Drop what removed words leave behind: empty brackets, and punctuation at the ends."""
    while (shorter := re.sub(r"[(\[{]\s*[)\]}]", " ", text)) != text:
        text = shorter
    ends = " _-–—:.,;|/#"
    # A closing bracket stays where it has its partner.
    if "(" not in text:
        ends += ")"
    if ")" not in text:
        ends += "("
    return re.sub(r"\s+", " ", text).strip(ends)
