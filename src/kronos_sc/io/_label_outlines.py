"""Outlines of all labels of an image, piece by piece: memory does not grow with the image."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from kronos_sc._core.outlines import outlines
from kronos_sc.patches import label_table
from kronos_sc.patches._labels import strips

if TYPE_CHECKING:
    from collections.abc import Iterator

    import dask.array as da


def label_outlines(labels: da.Array, *, name: str) -> Iterator[tuple[int, Any]]:
    """Yield each label and its outline, in pixels of the labels.

    An outline is a polygon, or a multipolygon of parts that do not touch.

    A label is complete when its pixels have all been seen; until then its pieces wait. The order is that of the pieces
    of the image in which labels are completed.

    Parameters
    ----------
    labels
        Whole numbers (rows, columns), 0 for background.
    name
        Of the element, for errors.
    """
    import shapely

    table = label_table(labels, name=name)
    missing = dict(zip(table["label"].tolist(), table["area"].tolist(), strict=True))
    waiting: dict[int, list[Any]] = {}
    for y0, x0, pixels in strips(labels, name):
        pieces = outlines(pixels.astype(np.int64, copy=False))
        moved = shapely.transform(np.array([piece for _, piece in pieces], object), lambda xy, by=(x0, y0): xy + by)
        for (code, _), piece in zip(pieces, moved, strict=True):
            label = code % 2**64  # of int64 back to what the bits of uint64 say
            waiting.setdefault(label, []).append(piece)
            missing[label] -= round(piece.area)
            if not missing[label]:
                yield label, joined(waiting.pop(label))


def joined(pieces: list[Any]) -> Any:
    """Return pieces that share edges as one; corners on a straight edge, left by a seam, go."""
    import shapely

    if len(pieces) == 1:
        return pieces[0]
    return shapely.simplify(shapely.union_all(pieces), 0)
