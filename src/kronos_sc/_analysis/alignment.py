"""Features of two tables side by side: the blocks of the markers that both panels hold, in one order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from kronos_sc._core.checks import listed
from kronos_sc._core.features import record_of, require_distinct, slot
from kronos_sc._core.log import info
from kronos_sc._core.representation import Representation, representation
from kronos_sc._core.warn import warn

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd
    from anndata import AnnData


@dataclass(frozen=True)
class Aligned:
    """Which columns of a representation of two tables mean the same.

    Parameters
    ----------
    markers
        Markers in common, in the order of the first table; empty where features do not belong to markers.
    width
        Number of features once aligned.
    left, right
        Columns of the first and second table (int64); None for all of them as they lie.
    """

    markers: tuple[str, ...]
    width: int
    left: np.ndarray | None = None
    right: np.ndarray | None = None

    def representations(self, left: AnnData, right: AnnData, name: str) -> tuple[Representation, Representation]:
        """Return the representation `name` of both tables, with the common columns only."""
        a = _with_columns(representation(left, name), self.left)
        b = _with_columns(representation(right, name), self.right)
        return a, b

    def take_left(self, rows: np.ndarray) -> np.ndarray:
        """Return rows of the first table (n × features) with the common columns only."""
        return _take(rows, self.left)

    def take_right(self, rows: np.ndarray) -> np.ndarray:
        """Return rows of the second table (n × features) with the common columns only, in the order of the first."""
        return _take(rows, self.right)


@dataclass(frozen=True)
class _Columns(Representation):
    """Some columns of a representation, in an order of their own."""

    columns: np.ndarray

    @property
    def width(self) -> int:
        return len(self.columns)

    def rows(self, index: np.ndarray | slice | None = None) -> np.ndarray:
        return np.ascontiguousarray(super().rows(index)[:, self.columns])


def _with_columns(rep: Representation, columns: np.ndarray | None) -> Representation:
    """Return a representation with some columns only; None for all of them as they lie."""
    return rep if columns is None else _Columns(rep.name, rep.values, columns)


def _take(rows: np.ndarray, columns: np.ndarray | None) -> np.ndarray:
    return rows if columns is None else np.ascontiguousarray(rows[:, columns])


@dataclass(frozen=True)
class _Origin:
    """What is known of the columns of a representation.

    Names of the blocks (None without), width of a block, model and window.
    """

    width: int
    names: tuple[Any, ...] | None
    block: int
    kind: str = ""
    model: Mapping[str, Any] | None = None
    window: tuple[int, ...] = ()


def align(left: AnnData, right: AnnData, name: str) -> Aligned:
    """Return how the representation `name` of two tables lines up.

    By marker where `tl.embed` left a record, by name in `X` and in frames of `obsm`, else by position, with a warning.

    Raises an error if nothing lines up: models that differ, features of different kinds, no marker in common, different
    widths without names.
    """
    a = _origin(left, name)
    b = _origin(right, name)
    _check_models(a, b, name)
    if a.names is None or b.names is None:
        return _by_position(a, b, name)
    if a.block != b.block:
        msg = (
            f"{slot(name)} has {a.block} features per marker in the first table and {b.block} in the second. Embed "
            "both with the same model and features=."
        )
        raise ValueError(msg)
    # the order of the first table decides, whatever that of the second
    position = {key: i for i, key in enumerate(b.names)}
    common = [(i, position[key]) for i, key in enumerate(a.names) if key in position]
    if not common:
        msg = (
            f"{slot(name)}: the two tables have no marker in common. First: {_shown(a.names)}; second: "
            f"{_shown(b.names)}. "
            "Names have to agree; tl.embed(sdata, channels={...}) and pp.match_markers(sdata) map channels to markers."
        )
        raise ValueError(msg)
    if a.names != b.names:
        info(
            f"{name}: {len(common)} markers in common, of {len(a.names)} and {len(b.names)}: "
            f"{', '.join(_text(a.names[i]) for i, _ in common)}"
        )
    left_columns = _columns([i for i, _ in common], a)
    right_columns = _columns([j for _, j in common], b)
    markers = tuple(_text(a.names[i]) for i, _ in common)
    return Aligned(markers, len(common) * a.block, left_columns, right_columns)


def _origin(adata: AnnData, name: str) -> _Origin:
    rep = representation(adata, name)
    if name == "X" or hasattr(rep.values, "columns"):
        columns = adata.var_names if name == "X" else rep.values.columns
        names = [str(column) for column in columns]
        require_distinct(names, name)
        return _Origin(rep.width, tuple(names), 1, kind="column")
    if (record := record_of(adata, name)) is None:
        return _Origin(rep.width, None, rep.width)
    entry, kind = record
    panel: pd.DataFrame = entry["panel"]
    window = tuple(sorted({int(size) for size in np.atleast_1d(entry["params"].get("patch_size", ()))}))
    if kind == "cls" or rep.width % len(panel):
        return _Origin(rep.width, None, rep.width, "cls", entry["model"], window)
    # a marker is its name and its id: the id is what the network was told
    names = tuple((str(marker), int(number)) for marker, number in zip(panel["marker"], panel["id"], strict=True))
    return _Origin(rep.width, names, rep.width // len(panel), "marker", entry["model"], window)


def _check_models(a: _Origin, b: _Origin, name: str) -> None:
    """Raise an error where features cannot be compared, and warn where they may not be."""
    if a.model is None or b.model is None:
        return
    if a.kind != b.kind:
        msg = (
            f"{slot(name)} holds {a.kind!r} features in the first table and {b.kind!r} features in the second. Embed "
            "both with the same features=."
        )
        raise ValueError(msg)
    fields = ("sha256",) if a.model.get("sha256") and b.model.get("sha256") else ("name", "source")
    for field in (*fields, "blocks_run", "token_overlap"):
        ours, theirs = (np.atleast_1d(model.get(field, "")).tolist() for model in (a.model, b.model))
        if ours != theirs:
            msg = (
                f"{slot(name)} was made by different models: {a.model['name']!r} and {b.model['name']!r} differ in "
                f"{field} ({_brief(ours)} and {_brief(theirs)}), and features of two models cannot be compared. Embed "
                "both tables with one model."
            )
            raise ValueError(msg)
    if a.window != b.window:
        sizes = " and ".join(", ".join(map(str, origin.window)) for origin in (a, b))
        warn(
            f"{slot(name)} was made from windows of {sizes} pixels; features of other windows differ. Embed both with "
            "one patch_size=."
        )


def _by_position(a: _Origin, b: _Origin, name: str) -> Aligned:
    if a.width != b.width:
        msg = (
            f"{slot(name)} has {a.width} features in the first table and {b.width} in the second, and no record says "
            "which belong together. "
            "Embed both with tl.embed(sdata), whose marker features are aligned by the markers in common."
        )
        raise ValueError(msg)
    if a.model is None or b.model is None:
        warn(
            f"{slot(name)} has no record of tl.embed in both tables; features are compared by position. Features "
            "fitted to one table (a PCA, say) cannot be."
        )
    return Aligned((), a.width)


def _columns(blocks: list[int], origin: _Origin) -> np.ndarray | None:
    """Return the columns of some blocks; None if these are all, in order."""
    if blocks == list(range(len(origin.names or ()))):
        return None
    return (np.asarray(blocks)[:, None] * origin.block + np.arange(origin.block)).ravel()


def _text(name: Any) -> str:
    return name[0] if isinstance(name, tuple) else name


def _shown(names: tuple[Any, ...]) -> str:
    return listed([_text(name) for name in names], most=60)


def _brief(values: list[Any]) -> str:
    return ", ".join(str(value)[:12] for value in values)
