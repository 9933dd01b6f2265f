"""Labels of one cohort for another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from kronos_sc._analysis import probe as _probe
from kronos_sc._analysis.alignment import align
from kronos_sc._analysis.cv_plan import folds_of
from kronos_sc._analysis.driver import AnalysisRun
from kronos_sc._analysis.groups import usable_in
from kronos_sc._core import results
from kronos_sc._core.checks import listed, positive_integer
from kronos_sc._core.log import info
from kronos_sc._core.progress import bar
from kronos_sc._core.representation import BASELINE, representations
from kronos_sc._core.rng import seed, start
from kronos_sc._core.target import ClassColumn, require_anndata
from kronos_sc._core.target import target as target_of
from kronos_sc._core.warn import warn
from kronos_sc._methods import metrics
from kronos_sc._methods.splits import Split, cross_validation
from kronos_sc.models.inference.placement import fit_device

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from anndata import AnnData

    from kronos_sc._core.representation import Representation

WHOLE = "all"
"""Name in the column `fold` where one model is trained on the whole reference."""


def transfer(
    adata: AnnData,
    reference: AnnData,
    *,
    target: str,
    use_rep: str | Sequence[str] | None = None,
    fold_key: str | None = None,
    max_per_class: int | None = 1000,
    C: float | Sequence[float] | None = None,
    n_trials: int = 25,
    device: str | None = None,
    rng: int | np.random.Generator | None = 0,
    key_added: str | None = None,
    copy: bool = False,
) -> AnnData | None:
    """Train a linear classifier on one cohort and predict another :cite:p:`Shaban2025`.

    The paper's cross-dataset transfer. The panels may differ: features of the markers in common are used, block by
    block, in one order. Standardisation, search and fit are those of :func:`linear_probe` and see the reference only.
    Where `adata` has the target as well, predictions are scored against it; call it again with the tables exchanged for
    the way back.

    Parameters
    ----------
    adata
        Table to predict.
    reference
        Table with labels, embedded by the same model.
    target
        Column of `obs` of the reference; if `adata` has a column of this name it is compared with, never trained on.
    use_rep
        Entries of `obsm`, or `"X"`, of both tables; all embeddings on record in both if left out. Mean marker
        expression is added where both have it.
    fold_key
        Column of `obs` of the reference with folds: one model per fold, trained on the others as in the paper, so that
        scores have a spread; predictions are of their mean probabilities. One model, trained on the whole reference, if
        left out.
    max_per_class
        Most training units per class. None for all.
    C
        Inverse strength of the penalty: a value, a grid to choose from, or None for Bayesian optimisation over 1e-10 to
        1e5, judged on a fifth of the reference.
    n_trials
        Fits of the optimisation. Irrelevant if `C` is given.
    device
        Where to fit, `"cpu"` or `"cuda"`; CUDA if there is one.
    rng
        Seed or generator of splits and search.
    key_added
        Name that all slots are derived from; `{target}_transfer` if left out.
    copy
        Return a new table instead of changing this one. The reference is never changed.

    Returns
    -------
    `None`, or a new `AnnData` if `copy=True`. Sets, in `adata`:

    `obs['{target}_transfer' | key_added]`
        Predicted class (first representation; others have their name appended).
    `obs['{target}_transfer_confidence' | key_added + '_confidence']`
        Its probability (float32).
    `obsm['{target}_transfer_proba' | key_added + '_proba']`
        Probabilities (units × classes of the reference, float32); NaN for units without features.
    `uns['{target}_transfer' | key_added]`
        Frames for :func:`kronos_sc.get.result`. `scores`: one row per representation and fold; balanced accuracy, macro
        F1, macro average precision (AP) and AUROC if `adata` has the target. Then also `summary`, `per_class` and
        `confusion` (of the mean probabilities), as of :func:`linear_probe`. `markers`: those in common. `trials`: the
        search. `params`.

    Raises
    ------
    KeyError
        Unknown target, folds or representation.
    ValueError
        No marker in common, features of two models or of different kinds, fewer than two classes.

    Warns
    -----
    UserWarning
        Units to be scored have classes that the reference has not: they are counted and left out of the scores.

    Examples
    --------
    >>> import kronos_sc as ks
    >>> one, two = (ks.datasets.tissue(shape=(160, 160), rng=i)["table"] for i in range(2))
    >>> labelled = ks.tl.transfer(two[:, 5:], one, target="region", use_rep="X", C=1.0, copy=True)
    >>> labelled.obs["region_transfer"].notna().all()
    np.True_
    """
    run = AnalysisRun(adata, "transfer", key_added or f"{target}_transfer", target, copy=copy)
    require_anndata(reference)
    most = None if max_per_class is None else positive_integer(max_per_class, name="max_per_class")
    search = _probe.CSearch(C, n_trials)
    fitted_on = fit_device(device)
    generator = start(rng)
    labels = target_of(reference, target)
    pairs = _pairs(adata, reference, use_rep)
    labels = labels.keep(usable_in([pair.reference for pair in pairs], labels))
    splits = _splits(reference, labels, fold_key, generator)
    usable = np.logical_and.reduce([pair.adata.finite for pair in pairs])
    truth = _truth(adata, target, labels.classes, usable)
    seeds = generator.integers(2**63, size=len(splits))

    run.announce(_described(pairs, labels, splits, int(usable.sum())))
    parts = []
    probas = []
    with bar(total=len(pairs) * len(splits) * search.fits, description="transfer", unit="fit") as shown:
        for pair in pairs:
            probes = []
            for split, split_seed in zip(splits, seeds, strict=True):
                probes += _probe.train(
                    pair.reference,
                    labels,
                    split,
                    sizes=[most],
                    search=search,
                    seed=split_seed,
                    device=fitted_on,
                    tell=shown.update,
                )
            # of every model, because the scores have a spread; the predictions are of their mean
            proba = _proba(pair.adata, np.flatnonzero(usable), probes, len(labels.classes))
            probas.append(proba.mean(axis=0))
            parts.append(_tables(pair, splits, probes, proba, truth, labels.classes))

    tables = {name: pd.concat([part[name] for part in parts]) for name in parts[0]}
    if truth is not None:
        tables["summary"] = results.summary(tables["scores"], by="representation", metrics=list(metrics.SCORES))
    params = {
        "target": target,
        "fold_key": fold_key,
        "max_per_class": most,
        "C": C,
        "n_trials": n_trials,
        "rng": seed(rng),
        "representations": [pair.adata.label for pair in pairs],
        "classes": list(labels.classes),
        "n_reference": reference.n_obs,
    }
    obs: dict[str, Any] = {}
    obsm: dict[str, Any] = {}
    for name, proba in zip(results.keys_of(run.key, params["representations"]), probas, strict=True):
        obs[name] = _probe.predicted_classes(proba, labels.classes)
        obs[f"{name}_confidence"] = proba.max(axis=1)
        obsm[f"{name}_proba"] = _probe.proba_frame(proba, labels.classes, adata.obs_names)
    run.store(params=params, tables=tables, obs=obs, obsm=obsm)
    return run.finish(f"{_added(tables['scores'], run.key, int(usable.sum()))} ({run.elapsed})")


@dataclass(frozen=True)
class _Pair:
    """A representation of both tables, its columns aligned."""

    adata: Representation
    reference: Representation
    markers: tuple[str, ...]


def _names(
    adata: AnnData, reference: AnnData, use_rep: str | Sequence[str] | None, asked: Collection[str]
) -> list[str]:
    """Return the representations of `adata` to compare.

    Mean marker expression is `X` where the reference has no other, unless asked for by name.
    """
    names = [rep.name for rep in representations(adata, use_rep)]
    if BASELINE not in (*asked, *reference.obsm) and adata.n_vars and reference.n_vars:
        names = list(dict.fromkeys("X" if name == BASELINE else name for name in names))
    return names


def _pairs(adata: AnnData, reference: AnnData, use_rep: str | Sequence[str] | None) -> list[_Pair]:
    """Return the representations of both tables.

    What was asked for must line up; a baseline that was not asked for is left out where it does not.
    """
    asked = [use_rep] if isinstance(use_rep, str) else list(use_rep or ())
    names = _names(adata, reference, use_rep, asked)
    spare = {BASELINE, "X"} - set(asked)
    lacking = [name for name in names if name not in ("X", *reference.obsm)] if use_rep is None else []
    for name in lacking:
        info(f"{name} is left out: the reference has no obsm[{name!r}]")
    pairs = []
    reason: Exception | None = None
    for name in names:
        if name in lacking:
            continue
        try:
            pairs.append(_pair(adata, reference, name))
        except (KeyError, ValueError) as error:
            if name not in spare:
                raise
            reason = error
            info(f"{name} is left out: {error.args[0]}")
    if not pairs:
        msg = (
            f"The two tables have no representation in common: adata has {listed(names)}, obsm of the reference "
            f"{listed(reference.obsm)}. "
            "Embed both with tl.embed(sdata) and the same model."
        )
        raise ValueError(msg) from reason
    return pairs


def _pair(adata: AnnData, reference: AnnData, name: str) -> _Pair:
    common = align(reference, adata, name)
    theirs, ours = common.representations(reference, adata, name)
    return _Pair(ours, theirs, common.markers)


def _proba(rep: Representation, rows: np.ndarray, probes: list[_probe.Probe], n_classes: int) -> np.ndarray:
    """Return probabilities (probes × units × classes) of some rows; NaN for the others."""
    proba = np.full((len(probes), rep.n_units, n_classes), np.nan)
    for part, values in rep.blocks(rows):
        for i, probe in enumerate(probes):
            proba[i, part] = probe.proba(values)
    return proba


def _splits(reference: AnnData, labels: ClassColumn, fold_key: str | None, rng: np.random.Generator) -> list[Split]:
    """Return training and validation units of the reference, per fold or once."""
    order = rng.permutation(reference.n_obs)
    if fold_key is not None:
        folds = folds_of(reference, fold_key)
        splits = cross_validation(labels.codes, folds.codes, folds.classes, order)
    else:
        # no unit is in fold 0: all of them train
        splits = cross_validation(labels.codes, np.ones(reference.n_obs, np.int64), np.array([WHOLE]), order)
    for split in splits:
        if len(np.unique(labels.codes[split.validation])) < 2:
            part = "The reference" if fold_key is None else f"The reference without fold {split.name!r}"
            msg = (
                f"{part} has fewer than two classes of {labels.name!r} with two units each. Choose another target=, "
                "or other folds."
            )
            raise ValueError(msg)
    return splits


def _truth(adata: AnnData, name: str, classes: np.ndarray, usable: np.ndarray) -> np.ndarray | None:
    """Return the class of each unit in terms of the reference (-1: none, or unknown to it).

    None if there is nothing to score.
    """
    if name not in adata.obs:
        info(f"adata has no obs[{name!r}]: predictions are written, not scored")
        return None
    own = target_of(adata, name, least=0)
    number = {label: i for i, label in enumerate(classes)}
    codes = np.array([number.get(label, -1) for label in own.classes] + [-1])[own.codes]
    codes[~usable] = -1
    if unseen := [label for label in own.classes if label not in number]:
        lost = int(np.isin(own.codes, np.flatnonzero(np.isin(own.classes, unseen))).sum())
        warn(
            f"{lost:,} units have classes that the reference has not ({listed(unseen)}); they are left out of the "
            f"scores. The reference has {listed(classes)}."
        )
    if not (codes >= 0).any():
        info(f"no unit of adata has a class of the reference in obs[{name!r}]: predictions are written, not scored")
        return None
    return codes


def _tables(
    pair: _Pair,
    splits: list[Split],
    probes: list[_probe.Probe],
    proba: np.ndarray,
    truth: np.ndarray | None,
    classes: np.ndarray,
) -> dict[str, pd.DataFrame]:
    """Return what there is to say about one representation."""
    label = pair.adata.label
    scores = []
    per_class = []
    trials = []
    known = truth is not None and truth >= 0
    for split, probe, shares in zip(splits, probes, proba, strict=True):
        row: dict[str, Any] = {"representation": label, "fold": split.name}
        trials.append(probe.trials.assign(**row))
        if truth is not None:
            row, by_class = _probe.evaluate(truth[known], shares[known], classes, row)
            per_class.append(by_class)
        scores.append(row | {"n_train": probe.n_train, "n_validation": len(split.validation), "C": probe.C})
    markers = pd.DataFrame({"representation": label, "marker": pd.Series(pair.markers, dtype=object)})
    tables = {"scores": pd.DataFrame(scores), "markers": markers, "trials": pd.concat(trials)}
    if truth is None:
        return tables
    confusion = _probe.confusion(truth[known], proba.mean(axis=0)[known], classes, label)
    return tables | {"per_class": pd.concat(per_class), "confusion": confusion}


def _described(pairs: list[_Pair], labels: ClassColumn, splits: list[Split], n_units: int) -> str:
    names = ", ".join(
        f"{pair.adata.label} ({pair.adata.width:,} features, {len(pair.markers) or 'no'} markers)" for pair in pairs
    )
    units = f"{labels.labelled.sum():,} reference units, {len(labels.classes)} classes, {len(splits)} models"
    return f"transfer of {labels.name!r} from {units} to {n_units:,} units; {names}"


def _added(scores: pd.DataFrame, key: str, n_units: int) -> str:
    done = (
        f"added obs[{key!r}], obs['{key}_confidence'], obsm['{key}_proba'] and uns[{key!r}]: {n_units:,} units "
        "predicted"
    )
    if "balanced_accuracy" in scores:
        done += f", balanced accuracy {results.in_words(scores, 'balanced_accuracy')}"
    return done
