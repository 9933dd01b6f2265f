"""How far a handful of labels takes you within one image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from kronos_sc._analysis.driver import AnalysisRun
from kronos_sc._analysis.groups import groups_of, usable_in
from kronos_sc._core import results
from kronos_sc._core.checks import listed, numbers, positive_integer, positive_number
from kronos_sc._core.progress import bar
from kronos_sc._core.representation import representations
from kronos_sc._core.rng import seed, start
from kronos_sc._core.target import target as target_of
from kronos_sc._core.warn import warn
from kronos_sc._methods.scaling import fit_scaler
from kronos_sc.pp._images import image_key

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData

    from kronos_sc._core.representation import Representation
    from kronos_sc._core.target import ClassColumn


def guided_benchmark(
    adata: AnnData,
    target: str,
    *,
    use_rep: str | Sequence[str] | None = None,
    groupby: str | None = None,
    shots: Sequence[int] = (1, 5, 10, 20),
    n_repeats: int = 100,
    min_per_class: int = 50,
    C: float = 1.0,
    rng: int | np.random.Generator | None = 0,
    key_added: str | None = None,
    copy: bool = False,
) -> AnnData | None:
    """Measure how well a few labelled cells per class phenotype the rest of their image :cite:p:`Shaban2025`.

    The paper's human-guided protocol. In every image, classes with fewer than `min_per_class` cells are dropped; of
    each other class `max(shots)` cells are drawn, and smaller numbers of shots are subsets of that draw. A logistic
    regression trained on them is tested on all other cells of these classes in the image, the same ones for every
    number of shots. All models of an image are solved together; the table compares with "Image-wise few-shot
    performance" of the paper (Table S14). To label an image of your own, use :func:`annotate`.

    Features are standardised over all units of the image, labelled or not: the labels of the test cells are never seen.
    Models are solved to their minimum. scikit-learn's default tolerance stops before it where features are many, at a
    lower accuracy.

    Parameters
    ----------
    adata
        Table of cells.
    target
        Column of `obs` with the cell type. Units without a value are neither drawn nor tested.
    use_rep
        Entries of `obsm`, or `"X"`; all embeddings on record if left out. Mean marker expression is added.
    groupby
        Column of `obs` that names the image of each unit; one model is trained per image. If left out: the annotated
        element, in a table that annotates several; otherwise all units lie on one image.
    shots
        Labelled cells per class.
    n_repeats
        Draws per image. More draws make the mean of an image more certain, not the spread between images.
    min_per_class
        Cells that a class needs in an image to be in its benchmark; more than `max(shots)`.
    C
        Inverse strength of the penalty, as in scikit-learn; 1 in the paper.
    rng
        Seed or generator of the draws. All representations meet the same draws.
    key_added
        Name of the result; `{target}_guided` if left out.
    copy
        Return a new table instead of changing this one.

    Returns
    -------
    `None`, or a new `AnnData` if `copy=True`. Sets:

    `uns['{target}_guided' | key_added]`
        Frames for :func:`kronos_sc.get.result`. `scores`: balanced accuracy per representation, image, repeat and
        number of shots. `summary`: mean and sd over images of each image's mean over repeats. `groups`: units and
        classes of each image, and which classes were too rare. `params`.

    Raises
    ------
    KeyError
        Unknown target, image column or representation.
    ValueError
        `min_per_class` does not exceed `max(shots)`, or no image has two classes of that size.

    Examples
    --------
    >>> import kronos_sc as ks
    >>> cells = ks.datasets.tissue(shape=(200, 200))["table"]
    >>> ks.tl.guided_benchmark(cells, "region", use_rep="X", shots=(1, 5), n_repeats=10, min_per_class=10)
    >>> ks.get.result(cells, "region_guided", table="summary")[["shots", "n"]].to_numpy().tolist()
    [[1, 1], [5, 1]]
    """
    from kronos_sc._methods.guided import benchmark

    run = AnalysisRun(adata, "guided_benchmark", key_added or f"{target}_guided", copy=copy)
    labels = target_of(adata, target)
    groupby = image_key(adata, groupby)
    groups = groups_of(adata, groupby)
    reps = representations(adata, use_rep)
    shots = _shots(shots)
    repeats = positive_integer(n_repeats, name="n_repeats")
    C = positive_number(C, name="C")
    least = _least(min_per_class, shots)
    usable = usable_in(reps, labels)
    images = _images(labels.keep(usable), groups, usable, least, groupby)
    # a seed of its own for each image, whichever others qualify: every representation meets the same draws
    drawn_seeds = start(rng).integers(2**63, size=len(groups.classes))
    seeds = dict(zip(groups.classes, drawn_seeds, strict=True))

    run.announce(_described(images, reps, shots, repeats))
    parts = []
    with bar(total=len(images) * len(reps), description="guided benchmark", unit="image") as shown:
        for rep in reps:
            for image in images:
                x = rep.rows(image.rows)
                x = fit_scaler(x).apply(x)
                image_rng = np.random.default_rng(seeds[image.name])
                accuracy = benchmark(x, image.codes, shots=shots, repeats=repeats, C=C, rng=image_rng)
                parts.append(_scores(rep.label, image, shots, accuracy))
                shown.update()

    scores = pd.concat(parts, ignore_index=True)
    image_means = (
        scores.groupby(["representation", "group", "shots"], sort=False)["balanced_accuracy"].mean().reset_index()
    )
    tables = {
        "scores": scores,
        "summary": results.summary(image_means, by=["representation", "shots"], metrics=["balanced_accuracy"]),
        "groups": pd.DataFrame([image.row for image in images]),
    }
    params = {
        "target": target,
        "groupby": groupby,
        "shots": shots,
        "n_repeats": repeats,
        "min_per_class": least,
        "C": C,
        "scaled_on": "all units of the image",
        "representations": [rep.label for rep in reps],
        "rng": seed(rng),
    }
    run.store(params=params, tables=tables)
    n_models = len(images) * len(reps) * repeats * len(shots)
    best = _best(tables["summary"], shots[-1])
    return run.finish(f"added uns[{run.key!r}]: {n_models:,} models in {run.elapsed}; {best}")


@dataclass(frozen=True)
class _Image:
    """Units of one image: row numbers, and classes 0 … k − 1 among those large enough (−1 for all other units)."""

    name: str
    rows: np.ndarray
    codes: np.ndarray
    row: dict[str, object]


def _shots(shots: Sequence[int]) -> list[int]:
    values = np.atleast_1d(np.asarray(shots, object)).tolist()
    numbers_of_cells = sorted({positive_integer(value, name="shots") for value in values})
    if not numbers_of_cells:
        msg = "shots names no number of cells. Give one or several, as in shots=(1, 5, 10, 20)."
        raise ValueError(msg)
    return numbers_of_cells


def _least(least: int, shots: list[int]) -> int:
    if positive_integer(least, name="min_per_class") <= shots[-1]:
        msg = (
            f"min_per_class={least} leaves no unit to test where {shots[-1]} of a class are drawn. "
            f"Raise min_per_class above {shots[-1]}, or lower shots."
        )
        raise ValueError(msg)
    return least


def _images(
    labels: ClassColumn, groups: ClassColumn, usable: np.ndarray, least: int, groupby: str | None
) -> list[_Image]:
    """Return the images that have two classes large enough."""
    images = []
    poor = []
    for number, name in enumerate(groups.classes):
        rows = np.flatnonzero((groups.codes == number) & usable)
        counts = np.bincount(labels.codes[rows][labels.codes[rows] >= 0], minlength=len(labels.classes))
        large = counts >= least
        if large.sum() < 2:
            poor.append(name)
            continue
        renumbered = np.append(np.where(large, np.cumsum(large) - 1, -1), -1)  # the last for units without a class
        rare = labels.classes[(counts > 0) & ~large]
        facts = {
            "group": name,
            "n_units": len(rows),
            "n_classes": int(large.sum()),
            "classes": "; ".join(labels.classes[large]),
            "too_rare": "; ".join(rare),
        }
        images.append(_Image(str(name), rows, renumbered[labels.codes[rows]], facts))
    if not images:
        most = np.sort(np.bincount(labels.codes[labels.labelled], minlength=2))[::-1]
        msg = (
            f"No image ({listed(groups.classes)} of groupby={groupby!r}) has two classes of {labels.name!r} with at "
            f"least {least} units; "
            f"the largest classes of the whole table have {numbers(most)}. Lower min_per_class and shots, or group by "
            "a coarser column."
        )
        raise ValueError(msg)
    if poor:
        warn(
            f"{len(poor)} of {len(groups.classes)} images have fewer than two classes with at least {least} units and "
            f"are left out: {listed(poor)}."
        )
    return images


def _scores(label: str, image: _Image, shots: list[int], accuracy: np.ndarray) -> pd.DataFrame:
    repeats = len(accuracy)
    n_classes = int(image.row["n_classes"])
    taken = np.tile(shots, repeats)
    return pd.DataFrame(
        {
            "representation": label,
            "group": image.name,
            "repeat": np.repeat(np.arange(repeats), len(shots)),
            "shots": taken,
            "n_train": taken * n_classes,
            "n_test": int((image.codes >= 0).sum()) - shots[-1] * n_classes,
            "balanced_accuracy": accuracy.ravel(),
        }
    )


def _described(images: list[_Image], reps: list[Representation], shots: list[int], repeats: int) -> str:
    names = ", ".join(f"{rep.label} ({rep.width:,} features)" for rep in reps)
    units = sum(len(image.rows) for image in images)
    return (
        f"guided benchmark: {len(images)} images, {units:,} units, {numbers(shots)} labelled per class, {repeats} "
        f"draws; {names}"
    )


def _best(summary: pd.DataFrame, shots: int) -> str:
    last = summary[summary["shots"] == shots]
    return f"balanced accuracy with {shots} labelled per class: {results.in_words(last, 'mean')}"
