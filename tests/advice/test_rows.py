"""Every row of docs/reference/bad-input.md that answers with an error or a warning is followed by a test.

Or it is listed here, with the reason.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "reference" / "bad-input.md"
NOT_FOLLOWED: dict[str, tuple[str, ...]] = {
    "the warning says what was done; there is nothing to do": (
        "names that a spreadsheet made dates of (OCT4 as 4-Oct)",
        "GeoJSON in a zip or gzip, UTF-16, with a byte order mark",
        "`io.write_geojson` of outlines that are empty, flat or not finite",
        "the names that the image itself stores, in another order",
        "an OME-TIFF of several fields of view, one plane each",
        "a fold without a class",
        "features with NaN",
        "a class with fewer units than shots",
        "`tl.transfer`: classes that the reference has not",
        "a region smaller than a token",
        "regions that hold a token of the model and none of raw intensities",
        "regions of different classes that overlap",
        "units without a condition, or with NaN in a representation",
        "a representation in which all units are alike",
        "less room on the disk than the features take uncompressed",
        "features on disk that exceed `settings.memory`",
        "a table made anew after a kill between two renames (NFS)",
        "images without a single patch",
        "blanks that repeat, in a file, a list or an image",
        "`keep`, `use`, `remove` columns",
    ),
    "asks for an account, a network, or weights that are not here": (
        "a hub name without network, login or access",
        "gated weights of a backbone without access, no connection",
        "`timm:` with a name or weights that timm does not know",
        "`weights=` a file of another network",
        "`weights=` a web page, a truncated file, objects other than tensors",
        "`ca-mae` with a file of another network, of several encoders, or without its table of positions",
        "a truncated or a foreign checkpoint",
        "a web page or a pointer saved in place of a checkpoint",
        "a checkpoint with a pickle payload",
    ),
    "asks to install a package": (
        "`timm:` without timm, or with a torchvision that does not fit torch",
        "scib-metrics is not installed",
        "numcodecs not installed",
    ),
    "asks for a copy of what is damaged, or for other pixels": (
        "a mask of floats with labels beyond 2⁶³ − 1, or too large to tell apart",
        "a damaged archive; an object whose geometry, coordinates or properties are broken",
        "an archive of a few megabytes that unpacks to gigabytes",
        "cycles × channels, depth, time, one image per cycle",
        "channels on the last axis",
        "a mask as a colour picture",
        "a corrupt Zarr chunk of an image",
        "a corrupt Zarr chunk of labels",
        "a chunk of the image that cannot be decoded",
        "training images of different pixel sizes; a map of an image of another pixel size",
        "truncated or damaged source image",
        "NaN or infinite pixels",
        "pixels, planes, origins that contradict `corpus.json`",
        "a short `.npy`, one with objects, one that is not (planes, h, w)",
    ),
    "asks for room, a permission, another machine or another process to end": (
        "the disk fills up, or may no longer be written",
        "a store on a read-only disk",
        "two processes and one store",
        "a read-only store",
        "the disk fills up",
        "two processes",
        "disk full while building",
        "disk full while a checkpoint is written",
        "disk full, or exchange fails, while exporting",
        "too little shared memory",
        "checkpoints that only some machines of a run see",
        "a run folder that is a file, or cannot be written to",
        "a worker that dies",
        "Zarr 2; a table with symbolic links",
    ),
    # tests/pretrain/corpus_build does so for other lines
    "asks for a line of the manifest and a corpus built again": (
        "a truncated shard, a flipped byte, a missing shard",
        "a Zarr array of another layout (chunks, codecs, fill value, version)",
        "a folder without `corpus.json`, another format, an incomplete record",
        "a marker whose standard deviation is zero or unknown",
        "images without nuclear stain or with fewer than two other markers",
        "NaN in a float image of a corpus",
        "negative pixels, or whole numbers beyond 32 bits",
    ),
    "asks for what another row is followed to: the same message, about another thing": (
        "names that do not tell which image is meant (words alone, two images of one number)",
        "ids beyond 2⁶³ (uint64), also as text or in another order",
        "a positive class that no region has, or one of more than two classes",
        "a probe with a key, or a table without one, in a plot of results",
        "`pl.spatial`: rows without a shape; none has one",
        "`pl.spatial`: two rows for one label",
        '`pl.spatial`, "name[feature]": a feature that there is not',
        "a store that was begun with another exclusion, or whose labels changed",
        "a violin of an unknown marker or group; maps that were not kept",
        "no such config, or not TOML",
        "a batch that processes or micro-batches do not divide",
        "weights of another shape than the settings; markers without id or statistics",
        "no model at `run.start`, or one without a network",
        "`watch.read` of a folder without a log",
        "labelled patches of one class, with a class missing in a part, not square or no multiple of 16, NaN, other "
        "lengths, repeated markers",
        "labelled patches none of whose markers the model knows; some unknown",
    ),
    "asks to look at a run of hours": (
        "loss or gradient that is not finite, on any process",
        "float16 gradients that overflow",
    ),
}
"""Reason → rows, by their first cell.

A new row: mark a test that does what the message says with `@pytest.mark.row("first cell")`, or add it.
"""


def rows() -> list[str]:
    """First cells of the rows whose answer is an error or a warning."""
    cells = [re.split(r"(?<!\\)\|", line)[1:3] for line in PAGE.read_text().splitlines() if line.startswith("| ")]
    return [first.strip() for first, answer in cells if re.search(r"Error|error|warning|refused", answer)]


def followed() -> set[str]:
    """First cells that marks of tests name, in decorators and in the tables that these spread."""
    cells: set[str] = set()
    for path in (ROOT / "tests").rglob("test_*.py"):
        text = path.read_text()
        if "pytest.mark.row(" not in text:
            continue
        tree = ast.parse(text)
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.mark.row":
                # a mark names cells itself, or spreads a table of the same file whose rows begin with them
                tables = {name.id for name in ast.walk(node) if isinstance(name, ast.Name)}
                cells |= {leaf.value for leaf in ast.walk(node) if isinstance(leaf, ast.Constant)}
                cells |= {
                    row.elts[0].value
                    for table in tree.body
                    if isinstance(table, ast.Assign) and ast.unparse(table.targets[0]) in tables
                    for row in table.value.elts
                }
    return cells


def test_every_row_is_followed_or_listed():
    listed = [row for several in NOT_FOLLOWED.values() for row in several]
    marked = followed()
    missing = [row for row in rows() if row not in marked and row not in listed]
    assert not missing, "neither followed by a test nor listed:\n" + "\n".join(missing)
    assert not [row for row in listed if row in marked], "listed, and followed as well"
    assert len(listed) == len(set(listed))
    assert not (gone := (marked | set(listed)) - set(rows())), f"no such row on the page: {gone}"
