"""Colours of categories and numbers: `palette` → `uns["{key}_colors"]` → default."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from kronos_sc._core.checks import listed
from kronos_sc._core.colors import EIGHT, MORE, stored_colors

if TYPE_CHECKING:
    from anndata import AnnData

MISSING = "#b8b8b8"
NUMBERS = "viridis"

Palette = str | Sequence[Any] | Mapping[Any, Any] | None


def category_colors(table: AnnData, key: str, categories: Sequence[Any], palette: Palette) -> dict[Any, Any]:
    """Return the colour of each category of a column of `obs`."""
    if isinstance(palette, Mapping):
        if without_color := [c for c in categories if c not in palette and str(c) not in palette]:
            msg = (
                f"palette has no colour for {listed(without_color)} of {key!r}; it has {listed(palette)}. Add them, or "
                "leave palette out."
            )
            raise KeyError(msg)
        return {c: palette[c] if c in palette else palette[str(c)] for c in categories}
    if palette is None:
        stored = stored_colors(table, key, categories)
        return stored or dict(zip(categories, default_colors(len(categories)), strict=False))
    colors = _from_map(palette, len(categories)) if isinstance(palette, str) else list(palette)
    if len(colors) < len(categories):
        msg = (
            f"palette has {len(colors)} colours, and {key!r} has {len(categories)} categories: {listed(categories)}. "
            "Add colours, or name a colormap."
        )
        raise ValueError(msg)
    return dict(zip(categories, colors, strict=False))


def default_colors(count: int) -> list[str]:
    """Return colours for `count` categories."""
    colors = [*EIGHT, *MORE]
    return colors[:count] if count <= len(colors) else _from_map("turbo", count)


def _from_map(name: str, count: int) -> list[Any]:
    """Return the colours of a qualitative map as listed, or those of a continuous one at even distances."""
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    # a qualitative map is a list whose neighbours differ most; a continuous one is sampled from end to end
    colormap = number_map(name)
    if getattr(colormaps[name], "N", 256) <= 20:
        return [to_hex(colormap(i)) for i in range(colormap.N)]
    return [to_hex(colormap(i / max(count - 1, 1))) for i in range(count)]


def number_map(palette: Palette) -> Any:
    """Return the colormap of a continuous value."""
    from matplotlib import colormaps

    name = palette if isinstance(palette, str) else NUMBERS
    if name not in colormaps:
        msg = (
            f"palette={name!r} is no colormap of matplotlib. Choose 'viridis', 'magma' or 'coolwarm', say; for "
            "categories also a list of colours."
        )
        raise ValueError(msg)
    return colormaps[name].with_extremes(bad=MISSING)
