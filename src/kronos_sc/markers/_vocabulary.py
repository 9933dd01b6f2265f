"""The markers that a model knows: names, ids and intensity statistics."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kronos_sc._core.checks import known, listed, numbers, one_of, repeated
from kronos_sc.markers import _frame
from kronos_sc.markers._concepts import MARKERS, lookup
from kronos_sc.markers._marker import IDS, LAST_ID, Marker
from kronos_sc.markers._spelling import fold

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd


@dataclass(frozen=True)
class Vocabulary:
    """The markers that a model knows, in order.

    Two rows may be the same protein in two spellings (LYVE-1 and LYVE1 in one published file): each spelling finds its
    own row, any other spelling of the protein finds the first of them.

    Parameters
    ----------
    name
        Name for messages, the model's, say.
    markers
        The markers. Names and ids must be unique, ids within 0 … 511, and standard deviations positive where known.
    """

    name: str
    markers: tuple[Marker, ...] = field(repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "markers", tuple(self.markers))
        _validate(self)

    @classmethod
    def from_csv(cls, path: str | Path, *, name: str | None = None) -> Vocabulary:
        """Read a model's `marker_metadata.csv`: columns marker_name, marker_id, marker_mean, marker_std."""
        path = Path(path)
        return cls(name or path.stem, _frame.markers_of(_frame.read(path), source=f"The marker table {str(path)!r}"))

    @classmethod
    def from_frame(cls, frame: pd.DataFrame, *, name: str) -> Vocabulary:
        """Build a vocabulary from columns marker_name, marker_id, marker_mean, marker_std, and role if there is one.

        Without a `role`, a marker is nuclear if its id is 1 … 127 (the ids that the scheme keeps for nuclear stains),
        or if its name is one of a nuclear stain or of Histone H3, whatever its id.
        """
        return cls(name, _frame.markers_of(frame, source=f"The marker table {name!r}"))

    @classmethod
    def from_dict(cls, record: dict[str, Any]) -> Vocabulary:
        """Build a vocabulary from what :meth:`to_dict` returned."""
        if missing := [key for key in ("name", "markers") if key not in record]:
            msg = (
                f"This vocabulary lacks {listed(missing)}; it has {listed(record)}. Write it with Vocabulary.to_dict()."
            )
            raise ValueError(msg)
        return cls(str(record["name"]), tuple(_frame.from_record(row) for row in record["markers"]))

    def to_frame(self) -> pd.DataFrame:
        """Return the markers as a frame that :meth:`from_frame` reads: name, id, mean, std and role."""
        return _frame.to_frame(self.markers)

    def to_dict(self) -> dict[str, object]:
        """Return plain types that JSON can hold; unknown statistics are `None`."""
        return {"name": self.name, "markers": [_frame.to_record(marker) for marker in self.markers]}

    def __len__(self) -> int:
        return len(self.markers)

    def __iter__(self) -> Iterator[Marker]:
        return iter(self.markers)

    def __contains__(self, name: object) -> bool:
        return name in self._by_name

    def __getitem__(self, name: str) -> Marker:
        known(name, self._by_name, what=f"marker in {self.name!r}", fix="See .to_frame() for all of them.")
        return self._by_name[name]

    def get_by_id(self, marker_id: int) -> Marker:
        """Return the marker of an id; a `KeyError` names the ids that exist."""
        if marker_id not in self._by_id:
            msg = (
                f"No marker of {self.name!r} has id {marker_id!r}; its ids are {numbers(self._by_id)}. See .to_frame() "
                "for all of them."
            )
            raise KeyError(msg)
        return self._by_id[marker_id]

    @property
    def names(self) -> tuple[str, ...]:
        """Names in order."""
        return tuple(marker.name for marker in self.markers)

    @property
    def has_statistics(self) -> bool:
        """Whether every marker has a mean and a standard deviation."""
        return all(marker.has_statistics for marker in self.markers)

    def free_ids(self, role: str = "other") -> list[int]:
        """Return the unused ids of a role, odd ones first: 1 … 127 for nuclear stains, 128 … 511 for others."""
        one_of(role, MARKERS, name="role")
        return sorted((i for i in IDS[role] if i not in self._by_id), key=lambda i: (i % 2 == 0, i))

    def spelt(self, text: str) -> Marker | None:
        """Return the marker that is written like `text`: in the same letters, else in the same letters and digits."""
        return self._by_name.get(text) or self._by_upper.get(text.upper()) or self._by_fold.get(fold(text))

    def of_concept(self, name: str) -> Marker | None:
        """Return the first marker that is the protein of this canonical name."""
        return self._by_concept.get(name)

    @cached_property
    def _by_name(self) -> dict[str, Marker]:
        return {marker.name: marker for marker in self.markers}

    @cached_property
    def _by_id(self) -> dict[int, Marker]:
        return {marker.id: marker for marker in self.markers if marker.id is not None}

    @cached_property
    def _by_upper(self) -> dict[str, Marker]:
        return {marker.name.upper(): marker for marker in reversed(self.markers)}

    @cached_property
    def _by_fold(self) -> dict[str, Marker]:
        by_alias = {fold(alias): marker for marker in reversed(self.markers) for alias in marker.aliases}
        return by_alias | {fold(marker.name): marker for marker in reversed(self.markers)}

    @cached_property
    def _by_concept(self) -> dict[str, Marker]:
        known_as = ((lookup(marker.name), marker) for marker in reversed(self.markers))
        return {concept.name: marker for concept, marker in known_as if concept and concept.is_marker}


def _validate(vocabulary: Vocabulary) -> None:
    markers = vocabulary.markers
    name = vocabulary.name
    fix = "Correct the table and build the vocabulary again."
    if not markers:
        msg = f"The vocabulary {name!r} holds no marker; a model needs at least one. {fix}"
        raise ValueError(msg)
    if twice := repeated(marker.name.upper() for marker in markers):
        msg = (
            f"The vocabulary {name!r} names {listed(twice)} more than once; names must be unique, whatever the case. "
            f"{fix}"
        )
        raise ValueError(msg)
    if twice := repeated(str(marker.id) for marker in markers if marker.id is not None):
        both = [marker.name for marker in markers if str(marker.id) in twice]
        msg = (
            f"The vocabulary {name!r} gives id {numbers(twice)} to several markers ({listed(both)}); ids must be "
            f"unique. {fix}"
        )
        raise ValueError(msg)
    if outside := [
        f"{marker.name}: {marker.id}" for marker in markers if marker.id is not None and not 0 <= marker.id <= LAST_ID
    ]:
        msg = (
            f"The vocabulary {name!r} has ids outside 0 … {LAST_ID} ({numbers(outside)}); the marker encoding has no "
            f"such row. {fix}"
        )
        raise ValueError(msg)
    if flat := [f"{marker.name}: {marker.std}" for marker in markers if marker.std <= 0]:
        msg = (
            f"The vocabulary {name!r} has standard deviations that are not positive ({numbers(flat)}); pixels are "
            f"divided by them. {fix}"
        )
        raise ValueError(msg)
    for marker in markers:
        one_of(marker.role, MARKERS, name="role")
