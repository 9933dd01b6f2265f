"""How few labels a classifier needs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from kronos_sc._analysis import cv_plan
from kronos_sc._analysis import probe as _probe
from kronos_sc._analysis.driver import AnalysisRun
from kronos_sc._core import results
from kronos_sc._core.checks import positive_integer
from kronos_sc._core.progress import bar
from kronos_sc._core.rng import seed, start
from kronos_sc._core.warn import warn
from kronos_sc._methods.metrics import SCORES
from kronos_sc.models.inference.placement import fit_device

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData


def few_shot(
    adata: AnnData,
    target: str,
    *,
    use_rep: str | Sequence[str] | None = None,
    shots: Sequence[int] = (100, 200, 500, 1000),
    order_key: str | None = None,
    fold_key: str = "fold",
    C: float | Sequence[float] | None = None,
    n_trials: int = 25,
    device: str | None = None,
    rng: int | np.random.Generator | None = 0,
    key_added: str | None = None,
    copy: bool = False,
) -> AnnData | None:
    """Repeat the linear probe with fewer and fewer labelled units per class :cite:p:`Shaban2025`.

    The paper's few-shot phenotyping. Everything is as in :func:`kronos_sc.tl.linear_probe`, once per number of shots:
    scaling and fit on each training set, the whole fold as the test. Training sets are nested: the 100 units of a class
    are among its 200. C is chosen on the full validation fifth of the other folds (`n_validation` in the scores), whose
    labels are more than the shots; give `C` where labels are truly few.

    Parameters
    ----------
    adata
        Table of cells or patches.
    target
        Column of `obs` to predict; units without a value take no part.
    use_rep
        Entries of `obsm`, or `"X"`; all embeddings on record if left out. Mean marker expression is added.
    shots
        Training units per class. A class that has fewer in the other folds trains with all it has, and a warning says
        so.
    order_key
        Column of `obs` with the order in which units of a class are drawn, numbers from 0 up
        (:func:`kronos_sc.pp.nested_subsets`); drawn here if left out.
    fold_key
        Column of `obs` with the folds.
    C
        Inverse strength of the penalty: a value, a grid, or None for Bayesian optimisation on the validation units.
    n_trials
        Fits of the optimisation.
    device
        Where to fit, `"cpu"` or `"cuda"`; CUDA if there is one.
    rng
        Seed or generator.
    key_added
        Name of the result; `{target}_few_shot` if left out.
    copy
        Return a new table instead of changing this one.

    Returns
    -------
    `None`, or a new `AnnData` if `copy=True`. Sets:

    `uns['{target}_few_shot' | key_added]`
        Frames for :func:`kronos_sc.get.result`. `scores`: one row per representation, fold and number of shots.
        `summary`: mean and sd over folds. `per_class`. `params`.

    Raises
    ------
    KeyError
        Unknown target, folds, order or representation.
    ValueError
        Fewer than two classes or folds, a class that the other folds do not hold twice, or an order that is not one.

    Examples
    --------
    >>> import kronos_sc as ks
    >>> cells = ks.datasets.tissue(shape=(200, 200))["table"]
    >>> cells.obs["follicle"] = (cells.obs["region"] == "follicle").astype(str)
    >>> ks.pp.spatial_folds(cells, n_folds=2, block_size=50)
    >>> ks.tl.few_shot(cells, "follicle", use_rep="X", shots=(2, 5), C=1)
    >>> sorted(ks.get.result(cells, "follicle_few_shot")["shots"].unique().tolist())
    [2, 5]
    """
    run = AnalysisRun(adata, "few_shot", key_added or f"{target}_few_shot", copy=copy)
    sizes = sorted({positive_integer(n, name="shots") for n in shots})
    search = _probe.CSearch(C, n_trials)
    fitted_on = fit_device(device)
    generator = start(rng)
    plan = cv_plan.plan(adata, target, use_rep, fold_key, generator, order_key)
    _warn_if_short(plan, sizes)
    # a seed per fold: all representations and all numbers of shots meet the same search
    seeds = generator.integers(2**63, size=len(plan.splits))

    run.announce(cv_plan.described(f"few-shot probe ({', '.join(map(str, sizes))} per class)", plan, target))
    scores = []
    per_class = []
    n_fits = len(plan.reps) * len(plan.splits) * len(sizes) * search.fits
    with bar(total=n_fits, description="few-shot", unit="fit") as shown:
        for rep in plan.reps:
            probes, probas = _probe.cross_validate(
                plan, rep, sizes=sizes, search=search, seeds=seeds, device=fitted_on, tell=shown.update
            )
            for split, fitted in zip(plan.splits, probes, strict=True):
                for size, probe, proba in zip(sizes, fitted, probas, strict=True):
                    labels = {"representation": rep.label, "fold": split.name, "shots": size}
                    row, classes = _probe.evaluate(
                        plan.target.codes[split.test], proba[split.test], plan.target.classes, labels
                    )
                    scores.append(row | {"n_train": probe.n_train, "n_validation": len(split.validation), "C": probe.C})
                    per_class.append(classes)

    frame = pd.DataFrame(scores)
    summary = results.summary(frame, by=["representation", "shots"], metrics=list(SCORES))
    params = {
        "target": target,
        "fold_key": fold_key,
        "order_key": order_key,
        "shots": sizes,
        "C": C,
        "n_trials": n_trials,
        "representations": [rep.label for rep in plan.reps],
        "rng": seed(rng),
    }
    tables = {"scores": frame, "summary": summary, "per_class": pd.concat(per_class)}
    run.store(params=params, tables=tables)
    return run.finish(f"added uns[{run.key!r}] ({run.elapsed})")


def _warn_if_short(plan: cv_plan.CVPlan, sizes: Sequence[int]) -> None:
    """Warn about classes with fewer training units in some fold than asked for."""
    counts = np.array(
        [np.bincount(plan.target.codes[split.train], minlength=len(plan.target.classes)) for split in plan.splits]
    )
    least = np.where(counts.max(axis=0) > 0, counts.min(axis=0), np.inf)
    if short := [f"{name} ({least[c]:.0f})" for c, name in enumerate(plan.target.classes) if least[c] < max(sizes)]:
        warn(
            f"{len(short)} classes have fewer than {max(sizes)} training units in some fold and train with what they "
            f"have: {', '.join(short[:10])}."
        )
