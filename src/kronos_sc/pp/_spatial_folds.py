"""Folds for cross-validation in space: parts of images, or whole groups."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from kronos_sc._core import results
from kronos_sc._core.checks import known, listed, positive_integer, positive_number
from kronos_sc._core.free_key import free_key
from kronos_sc._core.log import info
from kronos_sc._core.rng import integer, seed, start
from kronos_sc._core.target import classes_of, column
from kronos_sc._core.warn import warn
from kronos_sc.pp._deal import deal, deal_by_value, deal_mixed
from kronos_sc.pp._groups import FoldGroups, column_groups, image_parts, square_blocks
from kronos_sc.pp._images import image_key

if TYPE_CHECKING:
    from anndata import AnnData

    from kronos_sc._core.target import ClassColumn


def spatial_folds(
    adata: AnnData,
    *,
    n_folds: int = 4,
    groupby: str | None = None,
    stratify: str | None = None,
    library_key: str | None = None,
    block_size: float | None = None,
    guard: float = 0.0,
    spatial_key: str = "spatial",
    rng: int | np.random.Generator | None = 0,
    key_added: str = "fold",
    copy: bool = False,
) -> AnnData | None:
    """Divide units into folds for cross-validation that keep neighbours together :cite:p:`Shaban2025`.

    Cells drawn at random for testing have their neighbours, their donor and often their own pixels in the training set,
    and scores look better than they are. There are three ways to keep them apart:

    - `groupby=None`: each image is cut into `n_folds` equal parts; 4 are the quadrants of the paper's Hodgkin protocol,
      2 are halves along the longer edge, 6 are 2 × 3, a prime number gives strips. Part i of every image is fold i.
    - `block_size=500`: each image is cut into squares of that many pixels, dealt to folds at random and evenly. For
      tissue so uneven that a quadrant lacks a class.
    - `groupby="donor"`: whole groups (donors, cores, images) go to folds, evenly in numbers of units. The honest choice
      if results are to hold for the next donor.

    Parameters
    ----------
    adata
        The table.
    n_folds
        Number of folds, at least 2.
    groupby
        Column of `obs`; units of one value stay in one fold. Units without a value are in no fold.
    stratify
        Column of `obs` whose values are to be spread over all folds; with `groupby` or `block_size`. Where each group
        has one value (the response of a donor), each fold gets as many groups of a value as the next, give or take one;
        where units of a group differ (cell types), scikit-learn's `StratifiedGroupKFold` deals.
    library_key
        Column of `obs` that names the image of each unit; images are cut one by one. If left out: the annotated
        element, in a table that annotates several; otherwise all units lie on one image.
    block_size
        Edge of the squares in pixels.
    guard
        Pixels on each side of every border between folds; units closer to the border than this are in no fold. Half the
        window that a unit was embedded with keeps windows of different folds apart; the paper's tutorials take a whole
        one.
    spatial_key
        Entry of `obsm` with x and y in pixels. The extent of an image is that of its units.
    rng
        Seed or generator.
    key_added
        Name of the column and of the record.
    copy
        Return a new `AnnData` instead of changing `adata`.

    Returns
    -------
    `None`, or a new `AnnData` if `copy=True`. Sets:

    `obs['fold' | key_added]`
        Categorical text, `"0"` to `"n − 1"`; missing for units in guard bands or without a group.
    `uns['fold' | key_added]`
        Tables `folds` (`fold`, `n_units`, `n_groups`), `groups` (`group`, `fold`, `n_units`) and, with `stratify`,
        `values` (`fold`, `value`, `n_units`); parameters with `n_guard` and `n_left_out`. A group is a value of
        `groupby`, a part or a block.

    Raises
    ------
    KeyError
        A column or the coordinates do not exist.
    ValueError
        There are fewer groups than folds, a fold is empty or vanishes in its guard band, coordinates are not numbers,
        or arguments exclude each other.

    Examples
    --------
    >>> import kronos_sc as ks
    >>> cells = ks.datasets.tissue(shape=(128, 128))["table"]
    >>> ks.pp.spatial_folds(cells, guard=8)
    >>> ks.get.result(cells, "fold")["fold"].tolist()
    ['0', '1', '2', '3']
    """
    free_key(adata, key_added, groupby, stratify, library_key)
    n_folds = _checked_folds(
        n_folds, groupby=groupby, stratify=stratify, library_key=library_key, block_size=block_size, guard=guard
    )
    values = None if stratify is None else classes_of(column(adata, stratify, argument="stratify"), name=stratify)
    if groupby is None:
        library_key = image_key(adata, library_key)
        groups = _cut(adata, spatial_key, library_key, n_folds, block_size)
    else:
        library_key = None
        groups = _named(adata, groupby)
    if groups.kind != "part" and len(groups.names) < n_folds:
        msg = (
            f"{len(groups.names)} {groups.kind}s ({listed(groups.names)}) cannot fill {n_folds} folds. Lower n_folds, "
            "or group more finely."
        )
        raise ValueError(msg)

    # groups go to folds as they are; then each border between folds loses its band
    fold_of_group = _fold_of_groups(groups, n_folds, None if values is None else values.codes, start(rng))
    guarded = groups.near_border(fold_of_group, guard) if guard > 0 else np.zeros(adata.n_obs, bool)
    fold = np.where(guarded, -1, groups.spread(fold_of_group))
    _require_full(fold, guarded, n_folds, guard)

    n_guard = int(guarded.sum())
    n_left_out = int((groups.of_unit < 0).sum())
    params = {
        "n_folds": n_folds,
        "groupby": groupby,
        "stratify": stratify,
        "library_key": library_key,
        "block_size": block_size,
        "guard": float(guard),
        "spatial_key": spatial_key,
        "rng": seed(rng),
        "n_guard": n_guard,
        "n_left_out": n_left_out,
    }
    tables = _tables(fold, fold_of_group, groups, n_folds)
    if values is not None:
        tables["values"] = _values_table(fold, values, n_folds)
        _warn_of_lacking(tables["values"], stratify)

    table = adata.copy() if copy else adata
    table.obs[key_added] = pd.Categorical.from_codes(fold, categories=[str(i) for i in range(n_folds)])
    results.store(table, key_added, kind="spatial_folds", params=params, tables=tables)
    sizes = ", ".join(f"{n:,}" for n in tables["folds"]["n_units"])
    notes = ""
    if n_left_out or guard > 0:
        notes += f"; {n_guard:,} in guard bands and {n_left_out:,} without a group are in none"
    if groupby is None and guard == 0:
        notes += "; windows at the borders reach into the next fold (guard=0)"
    info(f"added obs[{key_added!r}]: {n_folds} folds of {sizes} units{notes}")
    return table if copy else None


def _checked_folds(
    n_folds: int,
    *,
    groupby: str | None,
    stratify: str | None,
    library_key: str | None,
    block_size: float | None,
    guard: float,
) -> int:
    """Return the number of folds once the arguments fit each other."""
    n_folds = positive_integer(n_folds, name="n_folds")
    if n_folds < 2:
        msg = "n_folds=1 leaves nothing to train on. Pass n_folds=2 or more."
        raise ValueError(msg)
    # each of the three ways has arguments of its own
    cutting = {"library_key": library_key, "block_size": block_size, "guard": guard or None}
    if groupby is not None and any(value is not None for value in cutting.values()):
        unused = listed(name for name, value in cutting.items() if value is not None)
        msg = (
            f"groupby={groupby!r} keeps whole groups together and cuts no image, so {unused} does not apply. Give one "
            "or the other."
        )
        raise ValueError(msg)
    if stratify is not None and groupby is None and block_size is None:
        msg = (
            f"stratify={stratify!r} needs something to deal: equal parts of an image lie where they lie. Add groupby= "
            "or block_size=."
        )
        raise ValueError(msg)
    if block_size is not None:
        positive_number(block_size, name="block_size")
    if not (np.isfinite(guard) and guard >= 0):
        msg = f"guard must be a number of pixels from 0 up, got {guard!r}."
        raise ValueError(msg)
    if block_size is not None and 2 * guard >= block_size:
        msg = (
            f"guard={guard:g} on each side leaves nothing of blocks of {block_size:g} pixels. Choose a guard below "
            f"{block_size / 2:g} or larger blocks."
        )
        raise ValueError(msg)
    return n_folds


def _named(adata: AnnData, groupby: str) -> FoldGroups:
    """Return the values of a column as groups."""
    values = classes_of(column(adata, groupby, argument="groupby"), name=groupby)
    return column_groups(values.codes, values.classes)


def _cut(
    adata: AnnData, spatial_key: str, library_key: str | None, n_folds: int, block_size: float | None
) -> FoldGroups:
    """Return parts or blocks of each image as groups."""
    xy = _coordinates(adata, spatial_key)
    images = np.zeros(len(xy), np.int64)
    names = [""]
    if library_key is not None:
        values = classes_of(column(adata, library_key, argument="library_key"), name=library_key)
        images = values.codes
        names = list(values.classes)
    if unnamed := int((images < 0).sum()):
        msg = (
            f"{unnamed:,} units have no image in obs[{library_key!r}], so nobody knows where they lie. Name it, or "
            "drop them."
        )
        raise ValueError(msg)
    if block_size is None:
        return image_parts(xy, images, n_folds, names=names)
    return square_blocks(xy, images, block_size, names=names)


def _coordinates(adata: AnnData, spatial_key: str) -> np.ndarray:
    """Return x and y of each unit in pixels, all of them numbers."""
    known(
        spatial_key,
        list(adata.obsm),
        what="entry of obsm",
        fix="Name that of the coordinates with spatial_key=, or use groupby=.",
    )
    xy = np.asarray(adata.obsm[spatial_key], float)
    if xy.ndim != 2 or xy.shape[1] < 2 or len(xy) == 0:
        msg = (
            f"obsm[{spatial_key!r}] must hold x and y per unit, got the shape {xy.shape}. Name another entry with "
            "spatial_key=."
        )
        raise ValueError(msg)
    xy = xy[:, :2]
    if broken := int((~np.isfinite(xy).all(axis=1)).sum()):
        msg = (
            f"{broken:,} of {len(xy):,} units have no finite x and y in obsm[{spatial_key!r}]. Drop them first, or use "
            "groupby=."
        )
        raise ValueError(msg)
    return xy


def _fold_of_groups(
    groups: FoldGroups, n_folds: int, values: np.ndarray | None, rng: np.random.Generator
) -> np.ndarray:
    """Return the fold of each group."""
    if groups.kind == "part":
        return np.arange(len(groups.names)) % n_folds
    if values is None:
        return deal(groups.counts, n_folds, rng, largest_first=groups.kind == "group")
    in_group = groups.of_unit >= 0
    of_unit = groups.of_unit[in_group]
    values = values[in_group] + 1  # units without a value count as one value more: they fill folds, too
    pairs = np.unique(np.column_stack([of_unit, values]), axis=0)
    if len(pairs) == len(groups.names):
        return deal_by_value(groups.counts, pairs[:, 1], n_folds, rng)
    return deal_mixed(of_unit, values, n_folds, integer(rng))


def _require_full(fold: np.ndarray, guarded: np.ndarray, n_folds: int, guard: float) -> None:
    """Raise a ValueError if a fold is empty."""
    # a guard that is too wide and parts without tissue look the same here, and need different advice
    empty = [str(i) for i in range(n_folds) if not (fold == i).any()]
    if empty and guarded.any():
        msg = (
            f"With guard={guard:g} nothing is left of the folds {listed(empty)}. Lower guard, or cut into fewer folds "
            "with n_folds=."
        )
        raise ValueError(msg)
    if empty:
        msg = (
            f"No unit lies in the folds {listed(empty)}: these parts of the extent are empty. Choose another n_folds, "
            "or block_size= or groupby=."
        )
        raise ValueError(msg)


def _tables(fold: np.ndarray, fold_of_group: np.ndarray, groups: FoldGroups, n_folds: int) -> dict[str, pd.DataFrame]:
    """Return what is in each fold, and where each group went; units in guard bands do not count."""
    per_group = np.bincount(groups.of_unit[fold >= 0], minlength=len(groups.names))
    per_fold = np.bincount(fold[fold >= 0], minlength=n_folds)
    names = [str(i) for i in range(n_folds)]
    used = per_group > 0
    return {
        "folds": pd.DataFrame(
            {"fold": names, "n_units": per_fold, "n_groups": np.bincount(fold_of_group[used], minlength=n_folds)}
        ),
        "groups": pd.DataFrame({"group": groups.names, "fold": fold_of_group.astype(str), "n_units": per_group}),
    }


def _values_table(fold: np.ndarray, values: ClassColumn, n_folds: int) -> pd.DataFrame:
    """Return numbers of units per fold and value."""
    counted = (fold >= 0) & values.labelled
    n = len(values.classes)
    table = np.bincount(fold[counted] * n + values.codes[counted], minlength=n_folds * n)
    return pd.DataFrame(
        {
            "fold": np.repeat(np.arange(n_folds), n).astype(str),
            "value": np.tile(values.classes, n_folds),
            "n_units": table,
        }
    )


def _warn_of_lacking(table: pd.DataFrame, stratify: str) -> None:
    """Warn about values that some folds do not hold: scores of those folds leave the class out."""
    lacking = table.loc[table["n_units"] == 0]
    if len(lacking):
        pairs = listed(f"{value} in {fold}" for fold, value in zip(lacking["fold"], lacking["value"], strict=True))
        warn(f"Folds lack values of obs[{stratify!r}]: {pairs}. Lower n_folds, or deal smaller groups or blocks.")
