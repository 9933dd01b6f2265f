"""Whether two corpora are the same to a run: the same samples by the same numbers, and markers that mean the same."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np

from kronos_sc._core.checks import listed
from kronos_sc._core.log import info

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kronos_pretrain.data.corpus import Corpus, Image


def fingerprint(corpus: Corpus) -> dict[str, Any]:
    """Return what a checkpoint remembers of its corpus; where it lies is not part of it.

    Returns
    -------
    `patch`, `markers` (name → id, mean, std) and `images` (position and name → digest of subset, shape, scale, markers
    and origins).
    """
    return {
        "patch": corpus.patch,
        "markers": {marker.name: [marker.id, marker.mean, marker.std] for marker in corpus.vocabulary},
        "images": {f"{position} {image.name}": _digest(image) for position, image in enumerate(corpus.images)},
    }


def _digest(image: Image) -> str:
    digest = hashlib.sha256(repr((image.subset, tuple(image.shape), float(image.scale))).encode())
    for numbers in (image.markers, image.nuclear, image.origins):
        digest.update(np.ascontiguousarray(numbers, dtype="<i8").tobytes())
    return digest.hexdigest()[:16]


def require_same_corpus(then: Mapping[str, Any], now: Mapping[str, Any], *, override: bool) -> None:
    """Refuse to go on with another corpus than that of the checkpoint, unless told to.

    Markers whose id changed are always refused.

    Parameters
    ----------
    then, now
        What :func:`fingerprint` returned when the checkpoint was written, and what it returns now.
    override
        Accept other images and statistics.

    Raises
    ------
    ValueError
        With the markers or images that differ.
    """
    moved = [
        f"{name} (id {then['markers'][name][0]}, now {row[0]})"
        for name, row in now["markers"].items()
        if _moved(then, name, row)
    ]
    # a new name under an old id is as bad: the network would take one protein for another
    taken = {row[0]: name for name, row in then["markers"].items()}
    moved += [
        f"{name} (id {row[0]}, which was {taken[row[0]]})"
        for name, row in now["markers"].items()
        if name not in then["markers"] and row[0] in taken
    ]
    if moved:
        msg = (
            f"The corpus gives other ids to markers than it did when this run began: {listed(moved, most=5)}. A "
            "network knows a marker by its id alone. Build the corpus again with the ids it had (`vocabulary` in the "
            "manifest), or start a new run.folder."
        )
        raise ValueError(msg)
    changes = _changes(then, now)
    if changes and not override:
        msg = (
            f"The corpus is not the one that this run began with: {'; '.join(changes)}. The rest of the run would see "
            "other samples. Give back the corpus, choose another run.folder, or pass --override to go on with this one."
        )
        raise ValueError(msg)
    if changes:
        info(f"going on with another corpus, as asked: {'; '.join(changes)}")


def _moved(then: Mapping[str, Any], name: str, row: list[float]) -> bool:
    return name in then["markers"] and then["markers"][name][0] != row[0]


def _changes(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return in words what differs apart from ids."""
    changes = []
    if then["patch"] != now["patch"]:
        changes.append(f"patches of {now['patch']} px, before {then['patch']}")
    for what in ("markers", "images"):
        old, new = then[what], now[what]
        kinds = {
            "new": [name for name in new if name not in old],
            "gone": [name for name in old if name not in new],
            "changed": [name for name in new if name in old and old[name] != new[name]],
        }
        changes += [f"{what} {kind}: {listed(names, most=5)}" for kind, names in kinds.items() if names]
    return changes
