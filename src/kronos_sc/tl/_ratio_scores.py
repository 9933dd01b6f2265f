"""Scores of patches by how clean their labels are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from kronos_sc._analysis.driver import AnalysisRun
from kronos_sc._core import results
from kronos_sc._core.checks import known, listed
from kronos_sc._core.keys import storable
from kronos_sc._core.positions import positions
from kronos_sc._core.target import column
from kronos_sc._methods import metrics

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData

_ROUNDING = 1e-6  # ratios are stored in float32: 0.7 must reach 0.7


def ratio_scores(
    adata: AnnData,
    key: str = "majority_probe",
    *,
    ratio_key: str = "majority_ratio",
    thresholds: Sequence[float] = (0.2, 0.4, 0.6, 0.8, 1.0),
    key_added: str | None = None,
    copy: bool = False,
) -> AnnData | None:
    """Score predictions of patches again, by how much of each its majority fills :cite:p:`Shaban2025`.

    Each threshold leaves the patches whose majority fills at least that share of them. A patch that is a quarter B cell
    is labelled B cell, and a classifier that says otherwise may be right. With larger thresholds labels get cleaner,
    and patches and classes fewer: types whose cells never fill a patch go first, and what is left is easier for that
    reason, too. Read `n_test` and `n_classes` beside the scores. Nothing is trained again: training saw patches of all
    ratios.

    Parameters
    ----------
    adata
        Table of the patches, after `pp.majority_labels` and `tl.linear_probe(adata, "majority")`.
    key
        Result of :func:`kronos_sc.tl.linear_probe` whose predictions are scored.
    ratio_key
        Column of `obs`: share of the label in the pixels of each patch, 0 to 1.
    thresholds
        Least ratios, each giving a test set; 0 repeats the scores of the probe.
    key_added
        Name of the record; `"{key}_ratio"` if left out.
    copy
        Return a new `AnnData` instead of changing `adata`.

    Returns
    -------
    `None`, or a new `AnnData` if `copy=True`. Sets:

    `uns['majority_probe_ratio' | key_added]`
        Frames for :func:`kronos_sc.get.result`. `scores`: one row per representation, threshold and fold with `n_test`,
        `n_classes` and the scores of the probe, averaged over the classes that are left; NaN where no patch is.
        `summary`: mean and sd over folds. `sets`: patches and classes per threshold, all folds together. `params`.

    Raises
    ------
    KeyError
        There is no such result or column.
    ValueError
        The result is no probe's, its predictions or folds are gone, ratios or thresholds are no shares, or no patch
        reaches any threshold.

    Examples
    --------
    >>> import kronos_sc as ks
    >>> sdata = ks.datasets.tissue(shape=(160, 160), channels=["DAPI", "CD8", "CYTOKERATIN"])
    >>> ks.pp.tile(sdata, size=32, stride=16)
    >>> ks.pp.majority_labels(sdata, "region")
    >>> ks.tl.embed(sdata, model="mean-marker", shapes_key="patches")
    >>> patches = sdata["patches_table"]
    >>> ks.pp.spatial_folds(patches, n_folds=2, block_size=40, stratify="majority")
    >>> ks.tl.linear_probe(patches, "majority", C=1.0)
    >>> ks.tl.ratio_scores(patches, thresholds=(0.2, 0.6))
    >>> ks.get.result(patches, "majority_probe_ratio")["threshold"].unique().tolist()
    [0.2, 0.6]
    """
    run = AnalysisRun(adata, "ratio_scores", key_added or f"{key}_ratio", copy=copy)
    probe = results.params(adata, key, kind="linear_probe")
    labels = [str(label) for label in probe["representations"]]
    truth = _codes(adata, probe["target"], argument="key", categories=[str(name) for name in probe["classes"]])
    names = sorted(set(results.frame(adata, key, "scores", kind="linear_probe")["fold"]))
    fold = _codes(adata, probe["fold_key"], argument="key", categories=names)
    ratio = _shares(column(adata, ratio_key, argument="ratio_key").to_numpy(float), what=f"obs[{ratio_key!r}]")
    least = np.unique(_shares(np.atleast_1d(np.asarray(thresholds, float)), what="thresholds", missing=False))
    probas = {
        label: _proba(adata, name, probe["classes"])
        for label, name in zip(labels, results.keys_of(key, labels), strict=True)
    }
    if not (tested := (truth >= 0) & (fold >= 0) & (ratio >= least[0] - _ROUNDING)).any():
        best = ratio[(truth >= 0) & (fold >= 0)]
        msg = (
            f"No patch with a label and a fold has {ratio_key!r} of at least {least[0]:g} (the largest is "
            f"{np.nanmax(best, initial=0):.2f}). "
            "Lower thresholds=, or choose smaller patches."
        )
        raise ValueError(msg)

    # the predictions of the probe, scored again on fewer and cleaner patches; nothing is fitted
    rows = []
    for label, proba in probas.items():
        known_rows = tested & np.isfinite(proba).all(axis=1)
        for threshold in least:
            for number, name in enumerate(names):
                chosen = known_rows & (fold == number) & (ratio >= threshold - _ROUNDING)
                rows.append(
                    {
                        "representation": label,
                        "threshold": threshold,
                        "fold": name,
                        **_scores(truth[chosen], proba[chosen]),
                    }
                )
    scores = pd.DataFrame(rows)
    summary = results.summary(scores, by=["representation", "threshold"], metrics=list(metrics.SCORES))
    sets = pd.DataFrame([_set(threshold, truth[tested & (ratio >= threshold - _ROUNDING)]) for threshold in least])
    params = {
        "key": key,
        "ratio_key": ratio_key,
        "thresholds": least,
        "target": probe["target"],
        "fold_key": probe["fold_key"],
    }
    run.store(params=params, tables={"scores": scores, "summary": summary, "sets": sets})
    counts = "; ".join(
        f"at {row.threshold:g} {row.n_test:,} patches of {row.n_classes} classes" for row in sets.itertuples()
    )
    return run.finish(f"added uns[{run.key!r}]: scores of {listed(labels)} by least {ratio_key!r}: {counts}")


def _codes(adata: AnnData, name: str, *, argument: str, categories: list[str]) -> np.ndarray:
    """Return a column of `obs` as positions in `categories`; -1 for anything else."""
    values = column(adata, str(name), argument=argument)
    return positions(values.astype(object).where(values.notna(), None).map(str, na_action="ignore"), categories)


def _shares(values: np.ndarray, *, what: str, missing: bool = True) -> np.ndarray:
    """Return values that are shares (0 to 1) or, where allowed, missing; as -1 then, below every threshold."""
    fine = (values >= 0) & (values <= 1 + _ROUNDING)
    wrong = ~(fine | np.isnan(values)) if missing else ~fine
    if wrong.any() or not values.size:
        examples = f"; found {listed(values[wrong][:3])}" if wrong.any() else ", and there are none"
        msg = f"{what} must be shares from 0 to 1{examples}. Percent are divided by 100."
        raise ValueError(msg)
    return np.where(np.isnan(values), -1.0, values)


def _proba(adata: AnnData, name: str, classes: Sequence[str]) -> np.ndarray:
    """Return the probabilities that a probe left, in the order of its classes (units × classes)."""
    slot = f"{name}_proba"
    known(slot, list(adata.obsm), what="entry of obsm", fix="Run tl.linear_probe again; it writes it.")
    frame = adata.obsm[slot]
    if list(map(str, getattr(frame, "columns", ()))) != storable(classes):
        msg = (
            f"obsm[{slot!r}] does not hold the classes {listed(classes)} of the probe. Run tl.linear_probe again; it "
            "writes it."
        )
        raise ValueError(msg)
    return frame.to_numpy(np.float32)


def _scores(truth: np.ndarray, proba: np.ndarray) -> dict[str, float]:
    counts = {"n_test": len(truth), "n_classes": len(np.unique(truth))}
    if not len(truth):
        return counts | dict.fromkeys(metrics.SCORES, np.nan)
    return counts | metrics.scores(truth, proba)


def _set(threshold: float, truth: np.ndarray) -> dict[str, float]:
    return {"threshold": threshold, "n_test": len(truth), "n_classes": len(np.unique(truth))}
