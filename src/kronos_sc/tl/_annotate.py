"""From a handful of labelled cells to all of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from kronos_sc._analysis.driver import AnalysisRun
from kronos_sc._analysis.groups import groups_of
from kronos_sc._core.checks import listed, positive_integer, positive_number
from kronos_sc._core.keys import storable
from kronos_sc._core.log import info
from kronos_sc._core.progress import track
from kronos_sc._core.representation import representation
from kronos_sc._core.rng import seed, start
from kronos_sc._core.target import ClassColumn, classes_of, column
from kronos_sc._core.warn import warn
from kronos_sc.models.inference.placement import fit_device

if TYPE_CHECKING:
    from anndata import AnnData

    from kronos_sc._core.representation import Representation


def annotate(
    adata: AnnData,
    target: str,
    *,
    use_rep: str = "X_kronos",
    groupby: str | None = None,
    threshold: float | None = None,
    max_per_class: int | None = 1000,
    C: float = 1.0,
    device: str | None = None,
    rng: int | np.random.Generator | None = 0,
    key_added: str | None = None,
    copy: bool = False,
) -> AnnData | None:
    """Label all cells from the few that you labelled, image by image :cite:p:`Shaban2025`.

    Write the names of some cells into a column of `obs` and leave the others missing: five to twenty per class and
    image are enough to look at the outcome, label where it is wrong, and run it again. A logistic regression with
    balanced classes is trained on the labelled cells (human-guided phenotyping of the paper); :func:`guided_benchmark`
    measures how well that does on cells whose type is known.

    Features are standardised over all units of the group, since those of unlabelled cells are there as well. A cell can
    only get a class that someone labelled in its group.

    Parameters
    ----------
    adata
        Table of cells or patches.
    target
        Column of `obs` with the labels, missing for units to be labelled.
    use_rep
        Entry of `obsm`, or `"X"`.
    groupby
        Column of `obs` that names the image of each unit: one model per image, as in the paper, which no difference
        between images disturbs. One model for the whole table if left out, for which labels from one image serve all
        others.
    threshold
        Leave a unit unlabelled if its largest probability is below this (0 to 1). Larger values leave more units out
        and more of the others right; with a handful of labels probabilities rank cells well, but are no error rates. No
        unit is left out by default.
    max_per_class
        Most units to train on, per class and group; drawn if there are more. None for all.
    C
        Inverse strength of the penalty, as in scikit-learn; 1 in the paper. Smaller values smooth: labels count less
        one by one.
    device
        Where to fit, `"cpu"` or `"cuda"`; CUDA if there is one.
    rng
        Seed or generator; used where there are more labelled units than `max_per_class`.
    key_added
        Name that all slots are derived from; `{target}_annotated` if left out.
    copy
        Return a new table instead of changing this one.

    Returns
    -------
    `None`, or a new `AnnData` if `copy=True`. Sets:

    `obs['{target}_annotated' | key_added]`
        Class of every unit (categorical). Labelled units keep their own; missing where no model was sure enough, and
        where none could be trained.
    `obs['{target}_annotated_confidence' | key_added + '_confidence']`
        Largest probability (float32); of labelled units, the probability of their own label.
    `obsm['{target}_annotated_proba' | key_added + '_proba']`
        Probabilities (units × classes, float32); 0 for classes without a label in the group, NaN without a model.
    `uns['{target}_annotated' | key_added]`
        Frames for :func:`kronos_sc.get.result`. `groups`: `n_units`, `n_labelled`, `n_annotated` and `n_abstained` by
        `group`. `counts`: `n_labelled` and `n_annotated` by `group` and `class`. `params`.

    Raises
    ------
    KeyError
        Unknown target, group column or representation.
    ValueError
        No group has labels of two classes, every unit is labelled already, or a threshold outside 0 to 1.

    Warns
    -----
    UserWarning
        Some groups have labels of fewer than two classes: their units stay unlabelled.

    Examples
    --------
    >>> import kronos_sc as ks
    >>> cells = ks.datasets.tissue(shape=(200, 200))["table"]
    >>> cells.obs["mine"] = cells.obs["region"].where(cells.obs.groupby("region", observed=True).cumcount() < 5)
    >>> ks.tl.annotate(cells, "mine", use_rep="X")
    >>> bool(cells.obs["mine_annotated"].notna().all())
    True
    """
    run = AnalysisRun(adata, "annotate", key_added or f"{target}_annotated", target, groupby, copy=copy)
    labels = _labels(adata, target)
    groups = groups_of(adata, groupby)
    rep = representation(adata, use_rep)
    _check(threshold, C)
    most = None if max_per_class is None else positive_integer(max_per_class, name="max_per_class")
    fitted_on = fit_device(device)
    usable = rep.finite
    if lost := int((~usable).sum()):
        info(f"{lost:,} of {adata.n_obs:,} units have no finite features in {rep.name!r} and are left out")
    tasks = _tasks(labels, groups, usable, groupby)
    children = start(rng).spawn(len(groups.classes))

    run.announce(
        f"annotating {sum(len(t.rows) for t in tasks):,} units from {int(labels.labelled.sum()):,} labels of "
        f"{target!r} with {rep.label}"
    )
    proba = np.full((adata.n_obs, len(labels.classes)), np.nan, np.float32)
    for task in track(tasks, description="annotate", unit="group"):
        _fill(proba, rep, labels, task, most=most, C=C, device=fitted_on, rng=children[task.number])
    codes, confidence = _decide(proba, labels, threshold)

    params = {
        "target": target,
        "representation": rep.label,
        "groupby": groupby,
        "threshold": threshold,
        "max_per_class": most,
        "C": float(C),
        "classes": list(labels.classes),
        "rng": seed(rng),
    }
    tables = _tables(labels, groups, codes, proba)
    annotated = pd.Categorical.from_codes(codes, categories=list(labels.classes))
    shares = pd.DataFrame(proba, index=adata.obs_names, columns=storable(labels.classes))
    run.store(
        params=params,
        tables=tables,
        obs={run.key: annotated, f"{run.key}_confidence": confidence},
        obsm={f"{run.key}_proba": shares},
    )
    return run.finish(f"{_added(tables['groups'], run.key)} ({run.elapsed})")


@dataclass(frozen=True)
class _Task:
    """One model: number of its group, its units, and those of them that teach."""

    number: int
    rows: np.ndarray
    taught: np.ndarray


def _labels(adata: AnnData, name: str) -> ClassColumn:
    labels = classes_of(column(adata, name, argument="target"), name=name)
    if labels.labelled.all():
        msg = (
            f"Every unit has a {name!r} already: there is nothing to annotate. Leave the units to be labelled missing "
            f"(adata.obs[{name!r}].where(known)); to test how far few labels go, call tl.guided_benchmark(adata, "
            f"{name!r})."
        )
        raise ValueError(msg)
    return labels


def _check(threshold: float | None, C: float) -> None:
    positive_number(C, name="C")
    if threshold is not None and not 0 <= threshold <= 1:
        msg = f"threshold={threshold!r} is not a probability. Choose a number from 0 to 1, or None to label every unit."
        raise ValueError(msg)


def _tasks(labels: ClassColumn, groups: ClassColumn, usable: np.ndarray, groupby: str | None) -> list[_Task]:
    """Return a task per group with labels of two classes.

    The others are named in a warning, or in an error if there is no such group.
    """
    tasks = []
    poor = []
    for number, name in enumerate(groups.classes):
        rows = np.flatnonzero((groups.codes == number) & usable)
        taught = rows[labels.codes[rows] >= 0]
        if len(np.unique(labels.codes[taught])) > 1:
            tasks.append(_Task(number, rows, taught))
        elif len(rows):
            poor.append(name)
    if not tasks:
        place = f"no group of {groupby!r} ({listed(groups.classes)}) has" if groupby else "the table does not have"
        msg = (
            f"Two classes are needed to tell apart, and {place} units of two classes of {labels.name!r} with features "
            f"(labelled: {listed(labels.classes)}). "
            "Label a few units of every class"
            + (", or leave groupby out for one model of all images." if groupby else ".")
        )
        raise ValueError(msg)
    if poor:
        warn(
            f"{len(poor)} of {len(groups.classes)} groups have labels of fewer than two classes and stay as they are: "
            f"{listed(poor)}. "
            "Label some units there, or leave groupby out for one model of all images."
        )
    return tasks


def _fill(
    proba: np.ndarray,
    rep: Representation,
    labels: ClassColumn,
    task: _Task,
    *,
    most: int | None,
    C: float,
    device: str,
    rng: np.random.Generator,
) -> None:
    """Train on the labelled units of a group and write the probabilities of all its units."""
    from kronos_sc._methods.logistic import Problem, balanced_weight
    from kronos_sc._methods.scaling import scaler_of_blocks
    from kronos_sc._methods.splits import first_of_each

    rows = np.sort(first_of_each(rng.permutation(task.taught), labels.codes, most))
    scaler = scaler_of_blocks(values for _, values in rep.blocks(task.rows))
    present, y = np.unique(labels.codes[rows], return_inverse=True)
    weight = balanced_weight(y, len(present))
    problem = Problem(scaler.apply(rep.rows(rows)), y, len(present), weight=weight, device=device)
    linear = problem.fit(C)
    proba[task.rows] = 0
    for part, values in rep.blocks(task.rows):
        proba[np.ix_(part, present)] = linear.proba(scaler.apply(values))


def _decide(proba: np.ndarray, labels: ClassColumn, threshold: float | None) -> tuple[np.ndarray, np.ndarray]:
    """Return the class of each unit (-1: none) and the probability of it."""
    modelled = ~np.isnan(proba[:, 0])
    codes = np.full(len(proba), -1, np.int64)
    confidence = np.full(len(proba), np.nan, np.float32)
    codes[modelled] = proba[modelled].argmax(axis=1)
    confidence[modelled] = proba[modelled].max(axis=1)
    if threshold is not None:
        codes[modelled & (confidence < threshold)] = -1
    # units that someone labelled keep their label, whatever the model says
    own = labels.labelled
    codes[own] = labels.codes[own]
    confidence[own] = proba[own, labels.codes[own]]
    return codes, confidence


def _tables(labels: ClassColumn, groups: ClassColumn, codes: np.ndarray, proba: np.ndarray) -> dict[str, pd.DataFrame]:
    """Return what was labelled and annotated, by group and by group and class."""
    by_group = []
    counts = []
    for number, name in enumerate(groups.classes):
        members = groups.codes == number
        known = labels.codes[members]
        predicted = codes[members]
        unsure = (predicted < 0) & ~np.isnan(proba[members, 0])
        annotated = (known < 0) & (predicted >= 0)
        facts = {
            "n_units": int(members.sum()),
            "n_labelled": int((known >= 0).sum()),
            "n_annotated": int(annotated.sum()),
            "n_abstained": int(unsure.sum()),
        }
        by_group.append({"group": name, **facts})
        for c, label in enumerate(labels.classes):
            counts.append(
                {
                    "group": name,
                    "class": label,
                    "n_labelled": int((known == c).sum()),
                    "n_annotated": int((annotated & (predicted == c)).sum()),
                }
            )
    return {"groups": pd.DataFrame(by_group), "counts": pd.DataFrame(counts)}


def _added(groups: pd.DataFrame, key: str) -> str:
    total = groups[["n_labelled", "n_annotated", "n_abstained"]].sum()
    return (
        f"added obs[{key!r}], obs['{key}_confidence'], obsm['{key}_proba'] and uns[{key!r}]: {total['n_annotated']:,} "
        f"units annotated from {total['n_labelled']:,} labels, {total['n_abstained']:,} left open"
    )
