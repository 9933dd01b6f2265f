"""Which of two elements is turned against the coordinate system they share, and how to straighten it."""

from __future__ import annotations

from typing import Any

import numpy as np


def turned(matrix_yx: np.ndarray) -> bool:
    """Return whether an affine matrix (y, x, 1) holds more than a positive scale and a shift.

    That is a rotation, shear, flip or swap of axes.
    """
    off_diagonal = np.abs([matrix_yx[0, 1], matrix_yx[1, 0]]).max()
    return bool(off_diagonal > 1e-9 * np.abs(matrix_yx[:2]).max() or matrix_yx[0, 0] <= 0 or matrix_yx[1, 1] <= 0)


def how_to_straighten(elements: dict[str, Any], matrices: dict[str, np.ndarray], system: str) -> str:
    """Return what is turned in the shared system, and the calls that straighten it.

    Parameters
    ----------
    elements
        Name → element, of the two that do not fit together.
    matrices
        Name → matrix (y, x, 1) from the element to `system`.
    system
        The coordinate system through which the two are related.
    """
    # two that are turned alike fit together, so where they do not at least one of them is turned
    bent = [name for name in elements if turned(matrices[name])]
    kinds = {name: _kind(elements[name]) for name in bent}
    subject = " and ".join(f"{kinds[name]} {name!r}" for name in bent)
    others = "both have" if len(bent) > 1 else "has"
    target, first = _target(elements, matrices, bent, system)
    calls = "; ".join(
        f"sdata['{name}_moved'] = spatialdata.transform(sdata[{name!r}], to_coordinate_system={target!r})"
        for name in bent
    )
    names = ", and ".join(_in_its_place(kinds[name], f"{name}_moved") for name in bent)
    return (
        f"In coordinate system {system!r} {subject} {others} such a transformation. {first}Apply it with {calls}. Then "
        f"{names}."
    )


def _kind(element: Any) -> str:
    """Return what an element is called: image, labels or shapes."""
    if hasattr(element, "geometry"):
        return "shapes"
    return "image" if "c" in element.dims else "labels"


def _in_its_place(kind: str, name: str) -> str:
    """Return how a call is told to take the new element."""
    if kind == "image":
        return f"pass image_key={name!r}"
    if kind == "labels":
        table = f"{name}_table"
        return (
            f"name {name!r} in place of the labels; cells need a table that is linked to it: "
            f"pp.label_table(sdata, labels_key={name!r}, key_added={table!r}), then labels_key={name!r}, "
            f"table_key={table!r}"
        )
    return (
        f"name {name!r} in place of the shapes; a table of theirs, here 'table', is linked to it with "
        f"sdata['table'].obs['region'] = {name!r}; sdata.set_table_annotates_spatialelement('table', region={name!r}, "
        "region_key='region')"
    )


def _target(elements: dict[str, Any], matrices: dict[str, np.ndarray], bent: list[str], system: str) -> tuple[str, str]:
    """Return the system to transform to, and the lines that make it.

    Transformed rasters have pixels of one unit of that system, whatever theirs were.
    """
    rasters = [name for name in bent if _kind(elements[name]) != "shapes"]
    if not rasters:
        return system, ""
    edge = float(np.sqrt(np.abs(np.linalg.det(matrices[rasters[0]][:2, :2]))))
    if abs(edge - 1) < 0.01:
        return system, ""
    names = ", ".join(repr(name) for name in elements)
    factor = float(f"{1 / edge:.12g}")
    lines = (
        f"A pixel of {rasters[0]!r} is {edge:.4g} units of {system!r} wide, and transformed images have pixels of one "
        "unit. To keep its own, make a system in its pixels first (import spatialdata.transformations as t): for name "
        f"in ({names}): t.set_transformation(sdata[name], t.Sequence([t.get_transformation(sdata[name], {system!r}), "
        f"t.Scale([{factor!r}, {factor!r}], axes=('y', 'x'))]), 'pixels'). "
    )
    return "pixels", lines
