"""Every slot name that the package writes, in one place."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

UNS_SPATIALDATA = "spatialdata_attrs"
MICROMETRE = "um"
"""Coordinate system in which one unit is one micrometre; it is how a pixel size is recorded."""


@dataclass(frozen=True)
class EmbedKeys:
    """Slots of one call of `tl.embed`.

    Parameters
    ----------
    name
        `key_added` of the call; every slot is derived from it.
    """

    name: str = "kronos"

    def __post_init__(self) -> None:
        # what SpatialData accepts in names; anything else would fail when the table is written
        name: object = self.name  # users pass what they like
        if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9_.-]+", name):
            msg = (
                f"key_added={name!r} is no name that can be stored; letters, digits, '_', '-' and '.' can be. "
                "Choose such a name."
            )
            raise ValueError(msg)

    @property
    def uns(self) -> str:
        """Provenance of the embedding."""
        return self.name

    @property
    def edge(self) -> str:
        """Flag of units whose window reaches beyond the image."""
        return f"{self.name}_edge"

    @property
    def excluded(self) -> str:
        """Flag of units that were left out because they lie on excluded pixels; only where the call excluded some."""
        return f"{self.name}_excluded"

    def obsm(self, kind: str, *, alone: bool) -> str:
        """Features of one kind: the plain name for marker features or a single kind, the kind appended otherwise."""
        return f"X_{self.name}" if alone or kind == "marker" else f"X_{self.name}_{kind}"


def storable(names: Iterable[object]) -> list[str]:
    """Return names as columns of a stored frame can have them: Zarr and HDF5 take "/" for a folder, so it becomes "|".

    Unique in any case.
    """
    unique: list[str] = []
    for name in names:
        plain = str(name).replace("/", "|")
        while plain in unique:
            plain += "_"
        unique.append(plain)
    return unique
