"""Channels of all images → markers of the corpus; what cannot be used is said before any work starts."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kronos_pretrain.corpus_build.ids import NONE, assigned
from kronos_sc._core.checks import listed, near
from kronos_sc.markers import Marker, Vocabulary, match, paper_vocabulary, recognise
from kronos_sc.markers._one_each import is_second, one_each

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import pandas as pd

    from kronos_pretrain.corpus_build.manifest import Entry, Exclusion, Manifest
    from kronos_pretrain.corpus_build.source import Source

LEAST_MARKERS = 3  # the nuclear stain and two others: paper, Methods


@dataclass(frozen=True)
class Channel:
    """A channel of an image that has a marker.

    Parameters
    ----------
    position
        In the source.
    name
        As the image has it.
    marker
        As the corpus spells it.
    role
        "nuclear" or "other".
    kept
        Whether the manifest keeps it whatever its verdict.
    """

    position: int
    name: str
    marker: str
    role: str
    kept: bool


@dataclass(frozen=True)
class CorpusPanel:
    """What the channels of an image are.

    Parameters
    ----------
    channels
        Those with a marker that are not excluded.
    excluded
        Channel → reason, of those that manual review excludes, and of those whose marker another channel stands for.
    unmatched
        Channels that are known to be a marker and not in the vocabulary, or that nobody knows.
    names
        Of all channels and markers of the image, the excluded ones too.
    """

    channels: tuple[Channel, ...]
    excluded: Mapping[str, str]
    unmatched: tuple[str, ...]
    names: frozenset[str]


def panels(manifest: Manifest, sources: Mapping[str, Source]) -> dict[str, CorpusPanel]:
    """Return the panel of every image.

    One ValueError names every image that cannot be used, and what to write.
    """
    by_image: dict[str, CorpusPanel] = {}
    problems = []
    for entry in manifest.images:
        source = sources[entry.name]
        try:
            by_image[entry.name] = _panel(entry, source, manifest)
            problems += _too_small(entry, source, manifest.settings.patch)
        except (ValueError, KeyError) as error:
            problems.append(f"{entry.name!r}: {error.args[0]}")
    problems += _idle(manifest, sources, by_image)
    refuse(problems, manifest, done="Nothing was written.")
    return by_image


def refuse(problems: list[str], manifest: Manifest, *, done: str) -> None:
    """Raise one ValueError that lists all problems, if there are any."""
    if problems:
        lines = "\n  - ".join(problems)
        msg = f"{manifest.path.name} cannot be built as it is ({len(problems)} to correct). {done}\n  - {lines}"
        raise ValueError(msg)


def lacking(entry: Entry, roles: Iterable[str]) -> list[str]:
    """Return why an image cannot be sampled from, given the roles of its markers; empty if it can."""
    roles = list(roles)
    if "nuclear" not in roles:
        return [
            f"{entry.name!r}: no marker is a nuclear stain. If it has one, name it: "
            'channels = {"CHANNEL" = "DAPI"}; else take the image out.'
        ]
    if len(roles) < LEAST_MARKERS:
        fix = (
            'Map more channels to markers with channels = {"CHANNEL" = "MARKER"} ("unseen" for new ones), or take the '
            "image out."
        )
        return [
            f"{entry.name!r}: {len(roles)} usable marker(s), the nuclear stain included; training draws it and two "
            f"others. {fix}"
        ]
    return []


def vocabulary_of(
    name: str,
    markers: Mapping[str, tuple[str, float, float]],
    *,
    given: Mapping[str, int] = NONE,
    earlier: Mapping[str, int] = NONE,
) -> Vocabulary:
    """Return the vocabulary of a corpus: the paper's markers, then others, each in the order of names.

    Parameters
    ----------
    name
        Of the vocabulary.
    markers
        Name → (role, mean, standard deviation).
    given, earlier
        As for :func:`kronos_pretrain.corpus_build.ids.assigned`.
    """
    ids = assigned({marker: role for marker, (role, _, _) in markers.items()}, given=given, earlier=earlier)
    paper = paper_vocabulary()
    rows = (Marker(marker, ids[marker], mean, std, role) for marker, (role, mean, std) in markers.items())
    return Vocabulary(name, tuple(sorted(rows, key=lambda row: (row.name not in paper, row.name))))


def _panel(entry: Entry, source: Source, manifest: Manifest) -> CorpusPanel:
    vocabulary = manifest.known
    everywhere = {name: marker for name, marker in manifest.channels.items() if name in source.channels}
    frame = match(source.channels, vocabulary, given=everywhere | dict(entry.channels), single=False)
    frame = _resolve_unseen(frame, vocabulary)
    reasons = _excluded(frame, entry, manifest.exclusions, vocabulary)
    frame = frame.assign(position=range(len(frame)))

    # a channel that is excluded neither stands for a marker nor makes one ambiguous
    candidates = one_each(frame[~frame["channel"].isin(list(reasons))])
    reasons |= dict(candidates.loc[is_second(candidates), ["channel", "note"]].itertuples(index=False))
    _require_unambiguous(candidates)
    usable = candidates[candidates["id"] >= 0]
    _require_distinct(usable)

    kept = set(_channels_of(entry.keep, frame, vocabulary, f"keep of {entry.name!r}"))
    channels = tuple(
        Channel(int(row.position), row.channel, row.marker, row.role, row.channel in kept)
        for row in usable.itertuples()
    )
    if problems := lacking(entry, [channel.role for channel in channels]):
        raise ValueError(problems[0].partition(": ")[2])
    unknown = candidates["note"].str.contains("not in this vocabulary|unknown name")
    unmatched = candidates.loc[(candidates["id"] < 0) & unknown, "channel"]
    return CorpusPanel(channels, reasons, tuple(unmatched), frozenset([*frame["channel"], *frame["marker"]]))


def _resolve_unseen(frame: pd.DataFrame, vocabulary: Vocabulary) -> pd.DataFrame:
    """Return the panel with unseen markers that the manifest's vocabulary has as those.

    One that the paper has is no unseen marker.
    """
    paper = paper_vocabulary()
    for row in frame[frame["how"] == "unseen"].itertuples():
        known = _spelling(row.marker, vocabulary)
        if known in paper:
            msg = f"channel {row.channel!r} is declared unseen, but it is {known}. Remove that line from channels."
            raise ValueError(msg)
        if known in vocabulary:
            frame.loc[row.Index, ["marker", "role"]] = [known, vocabulary[known].role]
    return frame


def _require_unambiguous(frame: pd.DataFrame) -> None:
    rows = frame[frame["how"] == "ambiguous"]
    if len(rows):
        names = "; ".join(f"{row.channel!r} may be {row.near}" for row in rows.itertuples())
        line = _manifest_line({row.channel: row.near.split(", ")[0] for row in rows.itertuples()})
        raise ValueError(
            f"the name of {len(rows)} channel(s) means several markers: {names}. Write {line}, or false to drop it."
        )


def _manifest_line(markers: Mapping[str, str | bool]) -> str:
    """Return the line of a manifest that says what channels are."""
    pairs = (
        f"{json.dumps(channel, ensure_ascii=False)} = {json.dumps(marker, ensure_ascii=False)}"
        for channel, marker in markers.items()
    )
    return f"channels = {{{', '.join(pairs)}}}"


def _require_distinct(usable: pd.DataFrame) -> None:
    again = usable["marker"].duplicated()
    if again.any():
        several = usable[usable["marker"].isin(usable.loc[again, "marker"])]
        names = "; ".join(
            f"{marker} is {listed(rows['channel'])}" for marker, rows in several.groupby("marker", sort=False)
        )
        drop = _manifest_line(dict.fromkeys(usable.loc[again, "channel"], False))
        raise ValueError(
            f"several channels are one marker: {names}. Keep the first of each with {drop}, or another one."
        )


def _excluded(
    frame: pd.DataFrame, entry: Entry, exclusions: Iterable[Exclusion], vocabulary: Vocabulary
) -> dict[str, str]:
    """Return channel → reason, for those that the manifest excludes."""
    reasons = {}
    for rule in exclusions:
        if rule.concerns(entry):
            reasons |= dict.fromkeys(_named(rule.marker, frame, vocabulary), rule.reason)
    for name, reason in entry.exclude.items():
        reasons |= dict.fromkeys(_channels_of([name], frame, vocabulary, f"exclude of {entry.name!r}"), reason)
    return {channel: reason or "excluded by the manifest" for channel, reason in reasons.items()}


def _channels_of(names: Iterable[str], frame: pd.DataFrame, vocabulary: Vocabulary, setting: str) -> list[str]:
    """Return the channels that are called, or whose marker is called, by any of these names."""
    channels = []
    for name in names:
        matches = _named(name, frame, vocabulary)
        if not matches:
            options = [*frame["channel"], *filter(None, frame["marker"])]
            msg = (
                f"{setting} names {name!r}, which is neither channel nor marker. Close: {listed(near(name, options))}. "
                "Correct the name."
            )
            raise KeyError(msg)
        channels += matches
    return channels


def _named(name: str, frame: pd.DataFrame, vocabulary: Vocabulary) -> list[str]:
    if name in set(frame["channel"]):
        return [name]
    marker = _spelling(name, vocabulary)
    return list(frame.loc[(frame["marker"] == marker) & (frame["id"] >= 0), "channel"])


def _spelling(name: str, vocabulary: Vocabulary) -> str:
    """Return a marker as the corpus spells it, from any spelling."""
    concept = recognise(name) or name
    known = vocabulary.spelt(name) or vocabulary.of_concept(concept)
    return known.name if known else concept


def _too_small(entry: Entry, source: Source, patch: int) -> list[str]:
    if min(source.shape) >= patch:
        return []
    size = " × ".join(str(edge) for edge in source.shape)
    return [
        f"{entry.name!r}: {size} pixels hold no patch of {patch} px. Take the image out, or build a corpus with a "
        "smaller patch."
    ]


def _idle(manifest: Manifest, sources: Mapping[str, Source], by_image: Mapping[str, CorpusPanel]) -> list[str]:
    """Return rules for all images that apply to none: most likely they are misspelt."""
    channels = list(dict.fromkeys(name for source in sources.values() for name in source.channels))
    idle = [
        f"[channels] names {name!r}, and no image has this channel. Close: {listed(near(name, channels))}. Correct or "
        "remove the line."
        for name in manifest.channels
        if name not in channels
    ]
    if len(by_image) < len(manifest.images):  # images whose panel failed could be the ones meant
        return idle

    for rule in manifest.exclusions:
        names = {rule.marker, _spelling(rule.marker, manifest.known)}
        if not any(names & by_image[entry.name].names for entry in manifest.images if rule.concerns(entry)):
            limits = {"subset": rule.subset, "image": rule.image}
            scope = "".join(f" with {key} = {value!r}" for key, value in limits.items() if value)
            idle.append(f"[[exclude]] names {rule.marker!r}, and no image{scope} has it. Correct or remove it.")
    return idle
