"""What a model loses with each marker."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from kronos_sc import models
from kronos_sc._analysis import ablation
from kronos_sc._analysis.cv_plan import folds_of
from kronos_sc._core import results
from kronos_sc._core.balanced import sample_per_class
from kronos_sc._core.checks import known, one_of, positive_integer
from kronos_sc._core.free_key import free_key
from kronos_sc._core.keys import EmbedKeys, storable
from kronos_sc._core.log import info
from kronos_sc._core.resolve import require_spatialdata
from kronos_sc._core.rng import seed, start
from kronos_sc._core.target import ClassColumn
from kronos_sc._core.target import target as target_of
from kronos_sc._embedding import readout
from kronos_sc._embedding.read_options import ReadKeywords, ReadOptions
from kronos_sc.models.views.ablation import AblationView

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence
    from typing import Unpack

    from anndata import AnnData
    from spatialdata import SpatialData


def marker_ablation(
    sdata: SpatialData,
    *,
    model: str | os.PathLike[str] | models.Model = "kronos",
    markers: Sequence[str] | None = None,
    features: str = "marker",
    groupby: str | None = None,
    target: str | None = None,
    fold_key: str = "fold",
    n_units: int | None = 100,
    rng: int | np.random.Generator | None = 0,
    key_added: str | None = None,
    inplace: bool = True,
    **reading: Unpack[ReadKeywords],
) -> AnnData | None:
    """Measure what dropping a marker from the panel changes.

    Two things are measured: the features of the other markers, and what a classifier makes of them. Units are drawn and
    encoded with all markers and then without each: its tokens are not in the sequence, as if it had not been stained. A
    model whose markers do not see each other (mean marker expression, DINOv2) changes nothing in the others.

    With `target`, a logistic regression learns the classes of the drawn units from the features of all markers, fold by
    fold, and judges the units of the fold it did not see: with all markers, and without each, its features then taken
    at their mean in training. The classifier is not trained again, so a marker counts even where others could stand in
    for it after training.

    The cost is that of embedding the drawn units as often as there are markers, and once more (twice with `target`).

    Parameters
    ----------
    sdata
        Holds image, labels or shapes, and a table that annotates them.
    model
        As in :func:`kronos_sc.tl.embed`.
    markers
        Markers, or channels, to drop one at a time; all of the panel if left out. Without its nuclear stain a panel is
        unlike any that KRONOS was trained with.
    features
        `"marker"`, or `"cls"`.
    groupby
        Column of `obs`: a row of the result per group; `target` if left out.
    target
        Column of `obs` with classes to learn. No classifier without it.
    fold_key
        Column of `obs` with folds (:func:`kronos_sc.pp.spatial_folds`); used with `target` only.
    n_units
        Most units drawn: per group, or in all without one. None for all.
    rng
        Seed or generator of draws.
    key_added
        Name that all slots are derived from; the model's key and `_ablation` (`"kronos_ablation"`) if left out.
    inplace
        Write into the table (default), or return a copy of it with the slots added.
    **reading
        Which units and pixels, as in :func:`kronos_sc.tl.attention`; only that `precision` is `"float32"` if left out,
        because what a marker changes can be as small as what bfloat16 rounds away.

    Returns
    -------
    `None`, or the table's copy with `inplace=False`. Sets, in `tables[table_key]`:

    `obsm['kronos_ablation' | key_added]`
        1 − cosine between the features with and without a marker, over what both have: the features of the other
        markers, or the class feature. Frame units × markers, float32; NaN for units that were not drawn.
    `obsm['kronos_ablation_p' | key_added + '_p']`
        With `target`: how much the probability of the true class falls without the marker (negative where it rises).
    `uns['kronos_ablation' | key_added]`
        Table `change` for :func:`kronos_sc.get.result`: a row per group (`"all"` first) and marker with `n`, means of
        `cosine` and `relative` (‖difference‖ / ‖features‖), and with `target` `changed` (share of units whose predicted
        class changes), `p_true` (probability of the true class with all markers) and `p_fall` (mean fall of it);
        `params`, `record`.

    Raises
    ------
    KeyError
        Unknown markers, columns or regions.
    ValueError
        A panel of one marker; classes that cannot be learnt from the units drawn; no unit to draw.

    Examples
    --------
    >>> import kronos_sc as ks
    >>> sdata = ks.datasets.tissue(shape=(96, 96), channels=["DAPI", "CD8", "CYTOKERATIN"])
    >>> model = ks.models.load("kronos-untrained", blocks="official")
    >>> ks.tl.marker_ablation(sdata, model=model, markers=["CD8"], n_units=8, patch_size=32)
    >>> list(ks.get.result(sdata["table"], "kronos_ablation")["marker"])
    ['CD8']
    """
    require_spatialdata(sdata)
    options = ReadOptions.of({"precision": "float32"} | reading)
    one_of(features, ("marker", "cls"), name="features")
    most = None if n_units is None else positive_integer(n_units, name="n_units")
    encoder = models.load(model, token_overlap=options.token_overlap)
    run = readout.prepare(sdata, AblationView(encoder, (), features), options, (features,))
    key = free_key(run.table, EmbedKeys(key_added or f"{encoder.key}_ablation").name, groupby, target)
    dropped = _positions(run.used, markers)
    generator = start(rng)
    groups = _groups(run, groupby or target, target, fold_key)
    run = run.of(sample_per_class(groups.codes, most, generator))
    n_passes = len(dropped) + 1 + (target is not None)
    info(
        f"ablation of {len(dropped)} markers: {len(run.rows):,} units ({run.target}), each encoded {n_passes} times by "
        f"{encoder.card.label!r}"
    )

    # the classifier first: what is read off later needs its weights
    began = time.perf_counter()
    probe = None
    if target is not None:
        probe = ablation.fit_probe(run, encoder, features, (target, fold_key), generator)
    changes = _changes(run, encoder, dropped, features, probe)
    seconds = time.perf_counter() - began

    table = run.table if inplace else run.table.copy()
    names = list(run.used["marker"].iloc[dropped])
    params = {
        "groupby": groupby,
        "target": target,
        "fold_key": fold_key if target else "",
        "features": features,
        "n_units": most,
        "rng": seed(rng),
    }
    _write(table, key, run.rows, names, changes)
    change = _group_means(groups, run.rows, names, changes, grouped=bool(groupby or target))
    record = run.record(encoder, seconds=seconds)
    results.store(table, key, kind="marker_ablation", params=params, tables={"change": change}, record=record)
    slots = [key] if target is None else [key, f"{key}_p"]
    added = ", ".join(f"obsm[{name!r}]" for name in slots)
    info(f"added {added} and uns[{key!r}] to table {run.target.key!r} ({seconds:.1f} s)")
    return None if inplace else table


def _changes(
    run: readout.Readout,
    encoder: models.Model,
    dropped: list[int],
    features: str,
    probe: ablation.AblationProbe | None,
) -> dict[str, np.ndarray]:
    """Return what changes without each marker, by kind: units × markers."""
    widths = {"cosine": len(dropped), "relative": len(dropped)}
    if probe is None:
        return run.compute(AblationView(encoder, dropped, features), widths)
    # the scores of all folds' classifiers are read off in the same pass as the features
    view = AblationView(encoder, dropped, features, probe.classifier)
    changes = run.compute(view, widths | {"score": probe.width(len(dropped))})
    return changes | probe.compare(changes.pop("score"))


def _positions(used: pd.DataFrame, markers: Sequence[str] | None) -> list[int]:
    """Return the positions in the panel of the markers to drop."""
    if len(used) < 2:
        msg = (
            f"The panel has one marker ({used['marker'].iloc[0]!r}), and nothing is left without it. Use more channels "
            "(channels=)."
        )
        raise ValueError(msg)
    if markers is None:
        return list(range(len(used)))
    names = [markers] if isinstance(markers, str) else list(dict.fromkeys(markers))
    if not names:
        msg = f"markers is empty; the panel has: {', '.join(used['marker'])}. Name some, or leave markers out for all."
        raise ValueError(msg)
    # a name is that of a marker first, then that of a channel
    by_name = {name: position for position, name in enumerate(used["channel"])}
    by_name |= {name: position for position, name in enumerate(used["marker"])}
    fix = "Name markers of the panel, or leave markers out."
    return [by_name[known(name, by_name, what="marker in the panel", fix=fix)] for name in names]


def _groups(run: readout.Readout, name: str | None, target: str | None, fold_key: str) -> ClassColumn:
    """Return the group of every row that can be drawn (-1 for others)."""
    table = run.table
    # with a classifier, only units that it can train on or test can be drawn
    usable = np.zeros(table.n_obs, bool)
    usable[run.rows] = True
    if target is not None:
        usable &= folds_of(table, fold_key).codes >= 0
        if name != target:
            usable &= target_of(table, target).labelled
    if name is None:
        return ClassColumn("", np.where(usable, 0, -1), np.array(["all"], object))
    least = {"least": 1, "argument": "groupby"} if name != target else {}
    groups = target_of(table, name, **least).keep(usable)
    if not groups.labelled.any():
        fold = f" and a {fold_key!r}" if target is not None else ""
        msg = (
            f"No unit that is read has a {name!r}{fold}, so none can be drawn. Look at obs[{name!r}], or name another "
            "column."
        )
        raise ValueError(msg)
    return groups


def _write(table: AnnData, key: str, rows: np.ndarray, names: list[str], changes: dict[str, np.ndarray]) -> None:
    """Write the frames of `obsm`; what an earlier call left and this one does not make goes."""
    # a call without target has no such frame, and an old one would contradict the result
    table.obsm.pop(f"{key}_p", None)
    for slot, kind in ((key, "cosine"), (f"{key}_p", "p_fall")):
        if kind in changes:
            full = np.full((table.n_obs, len(names)), np.nan, np.float32)
            full[rows] = changes[kind]
            table.obsm[slot] = pd.DataFrame(full, index=table.obs_names, columns=storable(names))


def _group_means(
    groups: ClassColumn, rows: np.ndarray, names: list[str], changes: dict[str, Any], *, grouped: bool
) -> pd.DataFrame:
    """Return means per group and marker, those of all units first."""
    codes = groups.codes[rows]
    parts = [("all", np.ones(len(rows), bool))]
    if grouped:
        parts += [(str(name), codes == code) for code, name in enumerate(groups.classes)]
    kinds = [kind for kind in ("cosine", "relative", "changed", "p_true", "p_fall") if kind in changes]
    frames = []
    for name, members in parts:
        if members.any():
            means = {kind: changes[kind][members].mean(0) for kind in kinds}
            frames.append(pd.DataFrame({"group": name, "marker": names, "n": int(members.sum())} | means))
    return pd.concat(frames, ignore_index=True)
