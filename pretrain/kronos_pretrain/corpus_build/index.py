"""The two tables of a corpus: `corpus.json`, which the trainer reads, and `quality.csv`, for people."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Mapping
from io import StringIO
from typing import TYPE_CHECKING, Any

from kronos_pretrain.corpus_build.ids import EARLIER, earlier_ids, ids_of
from kronos_pretrain.corpus_build.panel import vocabulary_of
from kronos_pretrain.data.corpus import FORMAT
from kronos_sc._core.moments import Moments

if TYPE_CHECKING:
    from pathlib import Path

    from kronos_pretrain.corpus_build.manifest import Manifest
    from kronos_sc.markers import Vocabulary

INDEX = "corpus.json"
QUALITY = "quality.csv"
NUMBERS = ("low", "median", "high", "saturated", "zero", "signal", "focus")

Records = Mapping[str, Mapping[str, Any]]


def statistics(records: Records) -> dict[str, tuple[str, Moments]]:
    """Return role, and moments of the scaled pixels over all images, of every marker.

    In the order of names, so that sums do not depend on it.
    """
    by_marker: dict[str, tuple[str, Moments]] = {}
    for record in (records[name] for name in sorted(records)):
        for marker in record["markers"]:
            if marker["plane"] is not None:
                _, moments = by_marker.setdefault(marker["marker"], (marker["role"], Moments()))
                moments.merge(Moments(**marker["moments"]), scale=record["scale"])
    return dict(sorted(by_marker.items()))


def write_index(out: Path, manifest: Manifest, records: Records, folders: Mapping[str, str]) -> Vocabulary:
    """Write `corpus.json`, the last thing that is written, and return the vocabulary in it.

    Markers that were there keep their ids.
    """
    # a marker keeps its id over builds: what was trained on the corpus knows it by nothing else
    markers = {name: (role, moments.mean, moments.std) for name, (role, moments) in statistics(records).items()}
    vocabulary = vocabulary_of(manifest.settings.name, markers, given=ids_of(manifest.given), earlier=earlier_ids(out))
    index = {
        "format": FORMAT,
        "patch": manifest.settings.patch,
        "stride": manifest.settings.stride,
        "vocabulary": vocabulary.to_dict(),
        "images": [_image(record, folders[name], vocabulary) for name, record in records.items()],
    }
    replace(out / INDEX, json.dumps(index, ensure_ascii=False, indent=1))
    (out / EARLIER).unlink(missing_ok=True)
    return vocabulary


def set_aside(out: Path) -> None:
    """Take the index away while images that it names are being replaced; the ids in it are still needed."""
    if (out / INDEX).exists():
        (out / INDEX).replace(out / EARLIER)


def write_quality(out: Path, records: Records) -> None:
    """Write one row per marker and image."""
    text = StringIO(newline="")
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["image", "subset", "channel", "marker", "verdict", "used", "reason", *NUMBERS])
    for name, record in records.items():
        for marker in record["markers"]:
            quality = marker["quality"]
            used = "no" if marker["plane"] is None else "yes"
            what = [name, record["subset"], marker["channel"], marker["marker"]]
            numbers = ["" if quality[key] is None else f"{quality[key]:.6g}" for key in NUMBERS]
            table.writerow([*what, quality["verdict"], used, quality["reason"], *numbers])
        for channel, reason in record["excluded"].items():
            table.writerow([name, record["subset"], channel, "", "excluded", "no", reason, *[""] * len(NUMBERS)])
    replace(out / QUALITY, text.getvalue())


def replace(path: Path, text: str) -> None:
    """Write a file whole or not at all; one that says the same already stays as it is."""
    if path.is_file() and path.read_text(encoding="utf-8") == text:
        return
    part = path.with_name(f".{path.name}.part")
    try:
        with part.open("w", encoding="utf-8", newline="") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _image(record: Mapping[str, Any], folder: str, vocabulary: Vocabulary) -> dict[str, Any]:
    used = [marker for marker in record["markers"] if marker["plane"] is not None]
    used.sort(key=lambda marker: marker["plane"])
    return {
        "name": record["name"],
        "subset": record["subset"],
        "folder": f"images/{folder}",
        **{key: record[key] for key in ("pixels", "shape", "dtype", "scale")},
        "markers": [
            {
                "channel": marker["channel"],
                "marker": marker["marker"],
                "id": vocabulary[marker["marker"]].id,
                "plane": marker["plane"],
            }
            for marker in used
        ],
        "origins": record["origins"],
    }
