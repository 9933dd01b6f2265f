"""Spellings of a channel name, from the name as it stands to the name without what the instrument added.

A channel is often called after more than its marker: the cycle ("CD44:Cyc_2_ch_2"), the metal ("CD3_1841((3177))Er170"), the dye
("CD8-Cy5"), the clone ("CD20 (L26)") or what it is good for ("FOXP3 - regulatory T cells"). :func:`spellings` removes these step by step
and never more than a step needs, so that the longest part of a name that is known decides: "CD45RO" is found before "RO" could be dropped.
"""

from __future__ import annotations

import re
import unicodedata

_GREEK = dict(zip("αβγδεζκλμΑΒΓΔΕΖΚΛΜ", "abgdezklmABGDEZKLM", strict=True))
_GREEK_WORDS = re.compile("ALPHA|BETA|GAMMA|DELTA|EPSILON")
_EDGE, _END = r"(?<![A-Za-z0-9])", r"(?![A-Za-z0-9])"
_METALS = "Ag|Ar|Au|Ba|Bi|Br|Ce|Dy|Er|Eu|Gd|Ho|In|Ir|La|Lu|Nd|Pb|Pd|Pr|Pt|Rh|Ru|Sm|Sn|Ta|Tb|Te|Tm|Xe|Yb"
_MASS = r"(?:7[5-9]|[89]\d|1\d\d|20\d)"
# Cadmium only as "112Cd", since "Cd112" would be the protein CD112; yttrium and iodine only with their one mass, since Y204 is a
# phosphorylated tyrosine. The digits in front of "Tm169Di" are a lot number.
_METAL = rf"(?:X?\d*(?:{_METALS}){_MASS}|\d*(?:Y89|I127)|X?{_MASS}(?:{_METALS}|Cd|ArAr)|89Y|127I)(?:Di|Dd)?"
_METAL_GLUED = re.compile(rf"(?<=[A-Za-z0-9])(?:{_METALS})1\d\d(?:Di)?$")  # CD8aDy162; in this case of letters only
_METAL_CALL = re.compile(rf"\b({_METALS}|Y|I)\((\d{{2,3}})\)", re.I)

_CYCLE = (
    r"(?:cyc(?:le)?|round|rnd|reg(?:ion)?|ch(?:an(?:nel)?)?|tile|fov|slide|scan|well|run)[ _\-.#]*\d+|R\d{1,2}C\d{1,2}|[RC]\d{1,2}|S0\d+"
)
_DYE = (
    r"(?:alexa[ _\-]*(?:fluor)?|af|a|opal|polaris|atto|dylight|dl|cf|bv|buv|bb|e?fluor|ef|qd(?:ot)?|irdye|coralite)[ _\-]*\d{3}[a-z]?"
    r"|(?:sulfo[ _\-]*)?cy[ _\-]?[2357](?:\.5)?|fitc|tritc|pe(?:[ _\-]cy[57])?|apc|percp|texas[ _\-]?red|tsa|biotin"
)
_WORDS = r"anti|human|antibody|mab|ome\.tiff?|tiff?"
_NOISE = re.compile(f"{_EDGE}(?:{_METAL}|{_CYCLE}|{_DYE}|{_WORDS}){_END}", re.I)
# Two digits can be part of a name ("Cytokeratin 14"); three stand for a dilution, a wavelength or a lot, and a mass stands in brackets.
_NUMBER = re.compile(rf"{_EDGE}\d{{3,}}{_END}|[(\[](?:8\d|9\d)[)\]]")

_TAIL = re.compile(r"\s*:|\s+[-–—|]\s+")
_BRACKETS = re.compile(r"\s*[(\[{][^()\[\]{}]*[)\]}]")
_CLONES = (
    r"clone[ _\-].*|SP\d{1,3}|EPR\d+[A-Z]?(?:\(\d\))?|[DE]\d{1,2}[A-Z]\d{1,2}[A-Z]?|MRQ-?\d+|UMAB\d+|BLR\d+[A-Z]|ab\d{4,}"
    r"|KP1|L26|UCHL1|22C3|28-8|236A/E7|C8/144B|10D6|QBEND/?10"
)
_CLONE = re.compile(f"{_EDGE}(?:{_CLONES}){_END}", re.I)
# What says which form of a protein is meant is neither clone nor remark: "STAT3 (phospho Y705)" is not STAT3.
_FORM = re.compile(
    r"phos|cleaved|acetyl|methyl|mutant|variant|isoform|\bactive\b|\b(?:alpha|beta|gamma|delta)\b|^class"
    r"|^p?[STY]\d+|^(?:ser|thr|tyr)[ -]?\d|K\d+(?:ac|me|ub)|^R[ABCO]$|^[IVX]+$|^\d{1,2}[a-z]?$|^[a-g]{1,2}$|^[αβγδ]+$",
    re.I,
)
_BETWEEN_NUMBERS = re.compile(r"(?<=[0-9])[^A-Za-z0-9]+(?=[0-9])")
_EMPTY = re.compile(r"[^A-Za-z0-9.]+|(?<![0-9])\.|\.(?![0-9])")


def fold(text: str) -> str:
    """Return `text` in upper-case letters and digits only, Greek letters as Latin ones; two numbers stay apart, by a dot.

    "CD3-1" is what makes a second CD3 unique, and not CD31.
    """
    plain = "".join(_GREEK.get(letter, letter) for letter in unicodedata.normalize("NFKC", text))
    return _EMPTY.sub("", _BETWEEN_NUMBERS.sub(".", plain)).upper()


def shorten(folded: str) -> str:
    """Return a folded name with the words for Greek letters as single letters: TGFBETA as TGFB."""
    return _GREEK_WORDS.sub(lambda word: word.group()[0], folded)


def spellings(name: str) -> list[str]:
    """Return the name, then without cycle, metal and dye, without lone numbers, without remark, and without clone.

    Parameters
    ----------
    name
        A channel name as the image has it.

    Returns
    -------
    The distinct spellings in the order in which to try them. A name that holds nothing but a cycle, a metal or a dye ends in "".
    """
    found = [name]
    for step in (_without_noise, _without_numbers, _without_remark, _without_clone):
        text = step(found[-1])
        if text != found[-1]:
            found.append(text)
    return found


def isotope(text: str) -> bool:
    """Whether `text` is a metal with its mass and nothing else, such as Pr141, 107Ag or Sm(147); "ER (142)" is a receptor at mass 142."""
    return bool(re.fullmatch(_METAL, _METAL_CALL.sub(r"\1\2", text).strip(" ()"), re.I))


def _without_noise(text: str) -> str:
    # Underscores part words here, and "Pr(141)" is the metal Pr141.
    bare = _NOISE.sub(" ", _METAL_CALL.sub(r"\1\2", text)).replace("_", " ")
    return _METAL_GLUED.sub("", _tidy(bare))


def _without_numbers(text: str) -> str:
    return _tidy(_NUMBER.sub(" ", text))


def _without_remark(text: str) -> str:
    cut = _TAIL.search(text)
    if not cut or _FORM.search(text[cut.end() :].strip()):
        return text
    return _tidy(text[: cut.start()])


def _without_clone(text: str) -> str:
    text = _CLONE.sub(" ", text)
    for group in _BRACKETS.findall(text):
        if not _FORM.search(group.strip(" ()[]{}")):
            text = text.replace(group, " ")
    return _tidy(text)


def _tidy(text: str) -> str:
    """Drop what removed words leave behind: empty brackets, and punctuation at the ends."""
    while (shorter := re.sub(r"[(\[{]\s*[)\]}]", " ", text)) != text:
        text = shorter
    # A closing bracket stays where it has its partner.
    ends = " _-–—:.,;|/#" + ("" if "(" in text else ")") + ("" if ")" in text else "(")
    return re.sub(r"\s+", " ", text).strip(ends)
