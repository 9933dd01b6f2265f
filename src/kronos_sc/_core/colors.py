"""Colours of classes, for figures and for files that others draw."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

# The first eight follow Okabe & Ito (2008), for readers with a colour vision deficiency; the others are as far from all
# before as can be.
EIGHT = ("#0072b2", "#e69f00", "#009e73", "#d55e00", "#56b4e9", "#cc79a7", "#c2b200", "#7a3e9d")
MORE = (
    "#80701a",
    "#e0186a",
    "#86e08c",
    "#f47be0",
    "#3b7d80",
    "#a8484c",
    "#4aa51c",
    "#7472ff",
    "#5fe0d8",
    "#c58f66",
    "#cba0f8",
    "#ddcaab",
)


def class_colors(count: int) -> list[str]:
    """Return colours (#rrggbb) for so many classes; beyond twenty they come round again."""
    palette = (*EIGHT, *MORE)
    return [palette[i % len(palette)] for i in range(count)]


def stored_colors(table: Any, key: str, names: Sequence[Any]) -> dict[Any, Any]:
    """Return the colours that a table has for classes of a column of `obs`; empty where it has none, or not enough.

    They stand in the order of the column's categories, of which a call may use some only.
    """
    stored = table.uns.get(f"{key}_colors")
    if stored is None:
        return {}
    categories = getattr(table.obs[key].dtype, "categories", None) if key in table.obs else None
    if categories is not None and len(stored) >= len(categories):
        by_name = dict(zip(map(str, categories), stored, strict=False))
        if all(str(name) in by_name for name in names):
            return {name: by_name[str(name)] for name in names}
    if len(stored) < len(names):
        return {}
    return dict(zip(names, stored, strict=False))
