"""Names and ids of a corpus' markers, and where they are taken from: a marker that a model knows must keep its id."""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from kronos_sc._core.checks import listed
from kronos_sc.markers import Marker, Vocabulary, paper_vocabulary, recognise

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

ROLES = ("nuclear", "other")
EARLIER = ".corpus.json.earlier"  # the index of a corpus while its images are being replaced
NONE: Mapping[str, int] = MappingProxyType({})


def vocabulary_at(path: str, base: Path, setting: str) -> Vocabulary | None:
    """Return the vocabulary that a manifest starts from, or None if it names none.

    Parameters
    ----------
    path
        `vocabulary` of `[corpus]`: an export or its `model`, another corpus, a folder with `marker_metadata.csv`, or
        such a file.
    base
        Folder that it is relative to.
    setting
        What a message calls the key.
    """
    if not path:
        return None
    place = base / Path(os.path.expandvars(path)).expanduser()
    # a marker table by itself, a folder that we wrote, or one in the layout of the released model
    if place.suffix == ".csv" and place.is_file():
        return Vocabulary.from_csv(place)
    for name in ("corpus.json", "model/config.json", "config.json"):
        if (record := _record(place / name)) is not None:
            return Vocabulary.from_dict(record)
    if (place / "marker_metadata.csv").is_file():
        return Vocabulary.from_csv(place / "marker_metadata.csv")
    content = "no such folder"
    if place.is_dir():
        content = listed(sorted(each.name for each in place.iterdir()), most=6)
    msg = (
        f"{setting} is {path!r}, and there is no vocabulary in {str(place)!r} ({content}). "
        "Name a folder written by export, a corpus, or a marker_metadata.csv."
    )
    raise FileNotFoundError(msg)


def known_markers(given: Vocabulary | None) -> Vocabulary:
    """Return the markers that channels are matched with.

    Those given, and those of the paper that are not among them.
    """
    paper = paper_vocabulary()
    if given is None:
        return paper
    others = {
        marker.name: marker.role
        for marker in paper
        if not (given.spelt(marker.name) or given.of_concept(_concept(marker.name)))
    }
    roles = {marker.name: marker.role for marker in given} | others
    ids = assigned(roles, given=ids_of(given), most=True)
    aliases = {marker.name: marker.aliases for marker in given}
    rows = (
        Marker(name, ids[name], role=role, aliases=aliases.get(name, ())) for name, role in roles.items() if name in ids
    )
    return Vocabulary(given.name, tuple(rows))


def ids_of(vocabulary: Vocabulary | None) -> dict[str, int]:
    """Return name → id."""
    return {marker.name: marker.id for marker in vocabulary or () if marker.id is not None}


def earlier_ids(out: Path) -> dict[str, int]:
    """Return name → id of the corpus that a build replaces or goes on with; empty for a new one."""
    for name in ("corpus.json", EARLIER):
        if (record := _record(out / name)) is not None:
            return ids_of(Vocabulary.from_dict(record))
    return {}


def assigned(
    roles: Mapping[str, str], *, given: Mapping[str, int] = NONE, earlier: Mapping[str, int] = NONE, most: bool = False
) -> dict[str, int]:
    """Return an id for each marker: that of the vocabulary given, of the corpus that was there, of the paper.

    Else a free one, by name.

    Ids of the vocabulary given stay taken even where the corpus lacks the marker: a model trained with them knows them.

    Parameters
    ----------
    roles
        Name → role.
    given, earlier
        Name → id of the vocabulary given, and of the corpus that is built again.
    most
        Leave markers out for which no id is left, instead of a ValueError.
    """
    paper = ids_of(paper_vocabulary())
    ids = {name: given[name] for name in roles if name in given}
    taken = set(given.values())
    # the corpus that was there comes before the paper: what was trained on it knows its ids
    for source in (earlier, paper):
        for name in roles:
            if name in source and name not in ids and source[name] not in taken:
                ids[name] = source[name]
                taken.add(source[name])

    free = {role: iter(_free(role, taken)) for role in ROLES}
    for name in sorted(set(roles) - set(ids)):
        number = next(free[roles[name]], None)
        if number is not None:
            ids[name] = number
        elif not most:
            msg = (
                f"No id is left for the unseen marker {name!r}: every {roles[name]} id is taken. Drop channels with "
                f"channels = {{... = false}}."
            )
            raise ValueError(msg)
    return ids


def _free(role: str, taken: Iterable[int]) -> list[int]:
    """Return the ids of a role that nobody has.

    Those of the paper's markers come last, since these may turn up in a later image.
    """
    paper = paper_vocabulary()
    of_paper = sorted(marker.id for marker in paper if marker.role == role and marker.id is not None)
    return [number for number in [*paper.free_ids(role), *of_paper] if number not in set(taken)]


def _concept(name: str) -> str:
    return recognise(name) or name


def _record(path: Path) -> dict[str, object] | None:
    """Return the vocabulary in a JSON file, or None if it holds none."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    vocabulary = content.get("vocabulary") if isinstance(content, dict) else None
    return vocabulary if isinstance(vocabulary, dict) and vocabulary.get("markers") else None
