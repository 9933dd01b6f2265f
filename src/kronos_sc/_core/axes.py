"""Elements of more axes than are used: what there is, and the line that selects a plane."""

from __future__ import annotations

from typing import Any

_PARSER = {"images": "Image2DModel", "labels": "Labels2DModel"}


def select_a_plane(element: Any, name: str, *, kind: str) -> str:
    """Return the advice to choose a plane, with the line to paste where there is an axis to choose from.

    Parameters
    ----------
    element
        As the SpatialData holds it: a DataArray, or a tree of them by scale.
    name
        Of the element.
    kind
        `"images"` or `"labels"`.
    """
    levels = getattr(element, "children", None)
    array = element
    if levels:
        array = next(iter(element[next(iter(levels))].values()))
    if "z" not in array.dims:
        return "Select a plane first."

    full = f"sdata.{kind}[{name!r}]"
    if levels:
        full += f"[{next(iter(levels))!r}].image"
    names = f", c_coords={full}.c.values.tolist()" if kind == "images" else ""
    return (
        f"Select a plane first: sdata.{kind}[{name!r}] = spatialdata.models.{_PARSER[kind]}.parse({full}.isel(z=0, "
        f"drop=True){names}) takes the first of {array.sizes['z']}."
    )


def require_two_axes(element: Any, array: Any, name: str) -> None:
    """Raise a ValueError unless labels have rows and columns and nothing else.

    Parameters
    ----------
    element
        As the SpatialData holds it.
    array
        Its full resolution.
    name
        Of the element.
    """
    if tuple(array.dims) != ("y", "x"):
        msg = (
            f"Labels {name!r} have axes {tuple(array.dims)}; two-dimensional labels with axes ('y', 'x') are used. "
            f"{select_a_plane(element, name, kind='labels')}"
        )
        raise ValueError(msg)
