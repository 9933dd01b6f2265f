"""Which marker of a vocabulary each channel of an image is."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import astuple
from typing import TYPE_CHECKING

import pandas as pd

from kronos_sc._core.checks import known, listed, near, repeated
from kronos_sc.markers._concepts import MARKERS, Concept, find, lookup
from kronos_sc.markers._marker import Marker
from kronos_sc.markers._one_each import one_each
from kronos_sc.markers._row import BY_YOU, COLUMNS, NO_ID, NOT_A_MARKER, UNKNOWN, Row
from kronos_sc.markers._spelling import spellings
from kronos_sc.markers._vocabulary import Vocabulary

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

UNSEEN = "unseen"
_COPY = re.compile(r"[ _.-]\d{1,2}$")  # CD3-1: the second channel of that name
_CD = re.compile(r"CD[ -]?\d+\w?", re.I)  # a CD number is never a slip of the pen for another one
_WORD = re.compile(r"CD\d+[A-Za-z]?|[^\W_]+")
_FORM = re.compile(r"phos|^p[A-Z]|[STY]\d{2,}", re.I)  # STAT3 (phospho Y705) is not STAT3


def match(
    channels: Iterable[str],
    vocabulary: Vocabulary,
    *,
    given: Mapping[str, str | None] | None = None,
    single: bool = True,
) -> pd.DataFrame:
    """Find the marker of each channel, and never guess.

    Tried in this order, and for each until one is found: the name as it stands, then without cycle, metal and dye, then
    without vendor and host species, lone numbers, remark and clone. A spelling is looked for among the names of the
    vocabulary (whatever the case, then in letters and digits alone) and in the table of proteins. A protein that the
    table knows and the vocabulary does not hold is never matched to a similar name.

    Parameters
    ----------
    channels
        Channel names, in the order of the image. They must differ.
    vocabulary
        The markers of the model.
    given
        What you know better, by channel name: the name of a marker (any spelling of it), `"unseen"` for a marker that
        the model has not seen (it gets a free id of its role, in the order of their names, and no statistics), or
        `None` to drop the channel.
    single
        Whether of several channels that are one marker only one has it, where that is clear: what you said, the first
        nuclear stain (every cycle has one), the channel of the marker's very name. The others are dropped; `near` holds
        their marker, and `note` says why.

    Returns
    -------
    One row per channel, in order: `channel`, `marker` ("" if none), `how` ("exact", "alias", "given", "unseen",
    "dropped" or "ambiguous"), `note` (why it has no marker), `near` (markers to consider, comma-separated), `id`
    (int64, -1 if none), `role` ("nuclear", "other" or ""), `mean` and `std` (float64, NaN if unknown). Nothing is
    raised for a panel that cannot be embedded: see :func:`check`.

    Raises
    ------
    KeyError
        A key of `given` is no channel, or a marker of `given` does not exist.
    ValueError
        Channel names are repeated, or no id is left for an unseen marker.

    Examples
    --------
    >>> from kronos_sc.markers import match, paper_vocabulary
    >>> panel = match(["DAPI-01", "CD8 - cytotoxic T cells:Cyc_3_ch_2", "Au"], paper_vocabulary())
    >>> panel["marker"].tolist(), panel["how"].tolist()
    (['DAPI', 'CD8', ''], ['alias', 'alias', 'dropped'])
    """
    names = _validated(channels)
    given = _validated_given(given, names)
    free = {role: iter(vocabulary.free_ids(role)) for role in MARKERS}
    # by name, not by order: two images with one set of unseen markers agree on the ids
    unseen_names = sorted((name for name in names if given.get(name) == UNSEEN), key=_concept_name)
    unseen = {name: _unseen(name, free) for name in unseen_names}

    rows = []
    for name in names:
        if name not in given:
            rows.append(_row(name, vocabulary))
            continue
        choice = given[name]
        if choice is None:
            rows.append(Row(name, note=BY_YOU))
        elif choice == UNSEEN:
            rows.append(unseen[name])
        else:
            rows.append(_filled(name, _given_marker(choice, name, vocabulary), "given"))
    frame = pd.DataFrame([astuple(row) for row in rows], columns=list(COLUMNS))
    frame = frame.astype({"id": "int64", "mean": "float64", "std": "float64"})
    return one_each(frame) if single else frame


def _row(channel: str, vocabulary: Vocabulary) -> Row:
    marker, concept = _resolve(channel, vocabulary)
    if marker is not None:
        is_exact = marker.name.upper() == channel.upper()
        return _filled(channel, marker, "exact" if is_exact else "alias")
    note, offers = _why_not(channel, concept, vocabulary)
    is_ambiguous = concept is not None and concept.kind == "ambiguous" and bool(offers)
    return Row(channel, how="ambiguous" if is_ambiguous else "dropped", near=", ".join(offers), note=note)


def _why_not(name: str, concept: Concept | None, vocabulary: Vocabulary) -> tuple[str, list[str]]:
    """Return why a name has no marker, and which markers to offer.

    Never is a protein offered for another one that is only spelt like it.
    """
    if concept is None:
        return UNKNOWN, _similar(spellings(name)[-1], vocabulary)
    if concept.kind == "nothing":
        return NOT_A_MARKER, []
    markers = [marker for name in concept.near if (marker := vocabulary.of_concept(name))]
    offers = list(dict.fromkeys(marker.name for marker in markers))
    if concept.is_marker:
        return f"known protein {concept.name}, not in this vocabulary", offers
    if offers:
        return "name of several proteins", offers
    return f"name of several proteins ({', '.join(concept.near)}), none of them in this vocabulary", offers


def _similar(bare: str, vocabulary: Vocabulary) -> list[str]:
    """Return markers that an unknown name may mean: those it holds as a word, else those that are spelt like it."""
    # "CD3-1" is a second CD3; but of CD numbers and forms, the one spelt like it is another protein
    if copy_of := vocabulary.spelt(_COPY.sub("", bare)):
        return [copy_of.name]
    if _CD.fullmatch(bare) or _FORM.search(bare):
        return []
    words = [word for word in _WORD.findall(bare) if len(word) > 1]
    held = [marker.name for word in words if (marker := _resolve(word, vocabulary)[0])]
    return list(dict.fromkeys(held)) or near(bare, vocabulary.names)


def _resolve(channel: str, vocabulary: Vocabulary) -> tuple[Marker | None, Concept | None]:
    """Return the marker of the first spelling that means anything, and the concept of that spelling."""
    for text in spellings(channel):
        concept = lookup(text)
        marker = vocabulary.spelt(text)
        if marker is None and concept is not None:
            marker = vocabulary.of_concept(concept.name)
        if marker or concept:
            return marker, concept
    return None, None


def _filled(channel: str, marker: Marker, how: str) -> Row:
    marker_id = NO_ID if marker.id is None else marker.id
    return Row(channel, marker.name, how, id=marker_id, role=marker.role, mean=marker.mean, std=marker.std)


def _concept_name(channel: str) -> tuple[str, str]:
    concept = find(channel)
    name = concept.name if concept and concept.is_marker else channel
    return name, channel


def _unseen(channel: str, free: Mapping[str, Iterator[int]]) -> Row:
    concept = find(channel)
    name = channel
    role = "other"
    if concept and concept.is_marker:
        name = concept.name
        role = concept.kind
    marker_id = next(free[role], None)
    if marker_id is None:
        msg = (
            f"No id is left for the unseen marker {channel!r}: every {role} id is taken. Drop channels with "
            f"channels={{{channel!r}: None}}."
        )
        raise ValueError(msg)
    return Row(channel, name, UNSEEN, id=marker_id, role=role)


def _given_marker(name: str, channel: str, vocabulary: Vocabulary) -> Marker:
    marker, concept = _resolve(name, vocabulary)
    if marker is None:
        why, offers = _why_not(name, concept, vocabulary)
        msg = (
            f"Channel {channel!r} cannot be {name!r}: {vocabulary.name!r} has no such marker ({why}). "
            f"Close: {listed(offers)}. "
            f"For a marker that the model has not seen: channels={{{channel!r}: {UNSEEN!r}}}; to drop it: "
            f"channels={{{channel!r}: None}}."
        )
        raise KeyError(msg)
    return marker


def _validated(channels: Iterable[str]) -> list[str]:
    if isinstance(channels, str):
        msg = f"channels must be a list of names, got the single name {channels!r}. Pass [{channels!r}]."
        raise TypeError(msg)
    names = [str(channel) for channel in channels]
    if twice := repeated(names):
        msg = (
            f"The channels {listed(twice)} occur more than once among {len(names)}; names must differ. Rename them in "
            "the image."
        )
        raise ValueError(msg)
    return names


def _validated_given(given: Mapping[str, str | None] | None, names: list[str]) -> Mapping[str, str | None]:
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        msg = (
            f"channels must map channel names to markers, got {type(given).__name__}. Pass channels={{'channel': "
            "'CD3'}."
        )
        raise TypeError(msg)
    for channel, marker in given.items():
        known(channel, names, what="channel", fix="Use a channel name of the image as the key of channels=.")
        if marker is not None and not isinstance(marker, str):
            msg = (
                f"channels={{{channel!r}: {marker!r}}} is no marker; it can be a marker's name, {UNSEEN!r} or None. "
                "Pass one of these."
            )
            raise TypeError(msg)
    return given
