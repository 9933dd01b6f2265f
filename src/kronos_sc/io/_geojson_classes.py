"""The class and the colour of each unit of an element, from its own columns or from the table that annotates it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from kronos_sc._core.checks import known, listed
from kronos_sc._core.colors import class_colors, stored_colors
from kronos_sc._core.keys import UNS_SPATIALDATA
from kronos_sc._core.missing import class_column
from kronos_sc._core.resolve import annotation, only
from kronos_sc.io._geojson import ObjectProperties

if TYPE_CHECKING:
    from spatialdata import SpatialData

_CLASS = "class"


@dataclass(frozen=True)
class Classes:
    """What each unit is.

    Parameters
    ----------
    by_unit
        Class (None where missing) by label or index of the shapes; None where nothing annotates the element.
    colors
        #rrggbb by class.
    """

    by_unit: dict[Any, str | None] | None
    colors: dict[str, str]

    @property
    def count(self) -> int | None:
        """How many units there are, if that is known."""
        return None if self.by_unit is None else len(self.by_unit)

    def __contains__(self, unit: Any) -> bool:
        return self.by_unit is None or unit in self.by_unit

    def properties(self, unit: Any, name: str | None, kind: str) -> ObjectProperties:
        """Return what is written of a unit."""
        if self.by_unit is None or (label := self.by_unit[unit]) is None:
            return ObjectProperties(None, name, None, kind)
        return ObjectProperties(label, name, self.colors.get(label), kind)


def classes_of(sdata: SpatialData, element: str, class_key: str | None, table_key: str | None) -> Classes:
    """Return the classes of an element's units: from its own column, else from the table that annotates it."""
    shapes = sdata.shapes.get(element)
    if shapes is not None and table_key is None and (class_key or _CLASS) in shapes.columns:
        column = class_column(shapes[class_key or _CLASS], place=f"sdata.shapes[{element!r}][{class_key or _CLASS!r}]")
        own_colors = shapes["color"] if "color" in shapes.columns else None
        return Classes(_by_unit(shapes.index, column), _class_colors(column, {}, own_colors))

    tables = {key: table for key, table in sdata.tables.items() if table.uns.get(UNS_SPATIALDATA)}
    candidates = {key: table for key, table in tables.items() if element in annotation(table, name=key).regions}
    if not candidates and class_key is None and table_key is None:
        return Classes(None if shapes is None else dict.fromkeys(shapes.index), {})
    if not candidates and shapes is not None:
        known(
            class_key or _CLASS,
            list(shapes.columns),
            what=f"column of shapes {element!r}",
            fix="Name one with class_key=.",
        )
    fix = "Make one with pp.label_table(sdata) for labels, or leave class_key out to write outlines without classes."
    key = only(candidates, table_key, what=f"table of {element!r}", argument="table_key", fix=fix)
    table = candidates[key]
    annotated = annotation(table, name=key)
    rows = annotated.rows(table, element)
    units = table.obs[annotated.instance_key].iloc[rows]
    name = class_key or (_CLASS if _CLASS in table.obs else None)
    if name is None:
        return Classes(dict.fromkeys(units.tolist()), {})
    known(name, list(table.obs.columns), what=f"column in obs of table {key!r}", fix="Name one with class_key=.")
    column = class_column(table.obs[name], place=f"sdata.tables[{key!r}].obs[{name!r}]")
    names = [str(label) for label in _in_order(column)]
    return Classes(_by_unit(units, column.iloc[rows]), _class_colors(column, stored_colors(table, name, names), None))


def _by_unit(units: Any, column: pd.Series) -> dict[Any, str | None]:
    if not pd.Index(units).is_unique:
        repeated_units = pd.Index(units)[pd.Index(units).duplicated()].unique()
        msg = (
            f"Several rows name the same unit: {listed(repeated_units)}. Number the shapes with "
            "shapes.reset_index(drop=True), or keep one row per label."
        )
        raise ValueError(msg)
    return {
        unit: None if pd.isna(value) else str(value)
        for unit, value in zip(units.tolist(), column.tolist(), strict=True)
    }


def _in_order(column: pd.Series) -> list[Any]:
    """Return the classes of a column: its categories, or its values, sorted."""
    filled = column.dropna()
    if isinstance(filled.dtype, pd.CategoricalDtype):
        return list(filled.cat.categories)
    return sorted(filled.unique(), key=str)


def _class_colors(column: pd.Series, stored: dict[str, Any], own_colors: pd.Series | None) -> dict[str, str]:
    """Return the colour of each class: as stored, else as the shapes carry it, else the package's own."""
    from matplotlib.colors import to_hex

    names = [str(name) for name in _in_order(column)]
    colors = dict(zip(names, class_colors(len(names)), strict=True))
    colors |= {name: to_hex(color) for name, color in stored.items()}
    if own_colors is not None:
        # the first shape of a class that has a colour speaks for all of them
        class_and_color = pd.DataFrame({"class": column.astype(str), "color": own_colors})
        class_and_color = class_and_color[column.notna().to_numpy()].dropna().drop_duplicates("class")
        colors |= dict(zip(class_and_color["class"], class_and_color["color"], strict=True))
    return colors
