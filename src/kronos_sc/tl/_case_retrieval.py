"""Search for whole cases."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from kronos_sc._analysis.cases import Cases, labelled_cases
from kronos_sc._analysis.driver import AnalysisRun
from kronos_sc._core import results
from kronos_sc._core.checks import listed, one_of, positive_integer
from kronos_sc._core.progress import track
from kronos_sc._core.representation import representations
from kronos_sc._core.rng import Seed, seed, start
from kronos_sc._methods.case_splits import draw_split
from kronos_sc._methods.cases import case_means
from kronos_sc._methods.metrics import macro_f1

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData

SCORES = ("accuracy", "macro_f1", "balanced_accuracy")


def case_retrieval(
    adata: AnnData,
    target: str,
    *,
    case_key: str,
    use_rep: str | Sequence[str] | None = None,
    n_reference: int = 3,
    n_repeats: int = 100,
    metric: str = "euclidean",
    rng: Seed = 0,
    key_added: str | None = None,
    copy: bool = False,
) -> AnnData | None:
    """Score a search for whole cases: whether the case most like another is of the same group :cite:p:`Shaban2025`.

    A case is the mean of the embeddings of its units. In every repeat a few cases of each group are drawn as the
    collection to search, and each of the others takes the group of the nearest. All representations see the same draws.
    There is nothing to fit: compare with
    :func:`stratify`, which fits a classifier.

    The interval in `summary` is that of the mean over the repeats, as in the paper: it says how far the mean depends on
    the draws, *not* how it would vary with other patients.

    Parameters
    ----------
    adata
        Table of cells or patches of all cases; patches of 256 pixels in the paper.
    target
        Column of `obs` with the group of each case; the same for all units of a case. Cases without one are left out.
    case_key
        Column of `obs` that names the case of each unit. Name the patient, not the image.
    use_rep
        Entries of `obsm`, or `"X"`; all embeddings on record if left out. Mean marker expression is added.
    n_reference
        Cases of each group in the collection. More make the task easier, and leave fewer queries.
    n_repeats
        Random draws.
    metric
        `"euclidean"` as in the paper, or `"cosine"`.
    rng
        Seed or generator of the draws.
    key_added
        Name of the result; `{target}_case_retrieval` if left out.
    copy
        Return a new AnnData instead of adding to this one.

    Returns
    -------
    `None`, or a new `AnnData` if `copy=True`. Sets:

    `uns['{target}_case_retrieval' | key_added]`
        `scores`: one row per representation and repeat with `accuracy`, `macro_f1`, `balanced_accuracy`, `n_reference`
        and `n_query` (cases). `summary`: mean, sd, and 95 % interval of the mean (`low`, `high`). `cases`: by
        representation and case, its group, how often it was a query (`n_query`) and the share of right answers
        (`accuracy`). `params`.

    Raises
    ------
    KeyError
        A column or representation does not exist.
    ValueError
        A case has two groups, or a group has not more than `n_reference` cases.

    Examples
    --------
    >>> import kronos_sc as ks
    >>> cells = ks.datasets.tissue(shape=(128, 128), n_images=6, n_donors=6)["table"]
    >>> ks.tl.case_retrieval(cells, "group", case_key="donor", use_rep="X", n_reference=1, n_repeats=10)
    >>> ks.get.result(cells, "group_case_retrieval", table="summary")["metric"].tolist()
    ['accuracy', 'macro_f1', 'balanced_accuracy']
    """
    from kronos_sc._methods.neighbours import METRICS

    run = AnalysisRun(adata, "case_retrieval", key_added or f"{target}_case_retrieval", copy=copy)
    one_of(metric, METRICS, name="metric")
    n_reference = positive_integer(n_reference, name="n_reference")
    n_repeats = positive_integer(n_repeats, name="n_repeats")
    reps = representations(adata, use_rep)
    cases = labelled_cases(adata, case_key, target, argument="target", reps=reps)
    _require_cases(cases, n_reference, target, case_key)

    run.announce(
        f"{cases.described}, {n_repeats} draws of {n_reference} per group: {listed(rep.label for rep in reps)}"
    )
    parts = []
    counts = np.full(len(cases.classes), n_reference)
    splits = [draw_split(cases.labels, counts, child) for child in start(rng).spawn(n_repeats)]
    for rep in track(reps, description="cases", unit="representation"):
        means = case_means(rep, cases.codes, len(cases.names))
        answers = _nearest_groups(means, cases.labels, splits, metric)
        tables = _tables(cases, splits, answers)
        parts.append({name: table.assign(representation=rep.label) for name, table in tables.items()})

    tables = {name: pd.concat([part[name] for part in parts]) for name in parts[0]}
    tables = {name: table[["representation", *table.columns[:-1]]] for name, table in tables.items()}
    tables |= {"summary": results.summary(tables["scores"], by="representation", metrics=list(SCORES))}
    params = {
        "target": target,
        "case_key": case_key,
        "representations": [rep.label for rep in reps],
        "n_reference": n_reference,
        "n_repeats": n_repeats,
        "metric": metric,
        "rng": seed(rng),
    }
    run.store(params=params, tables=tables)
    accuracy = results.in_words(tables["scores"], "accuracy")
    return run.finish(f"added uns[{run.key!r}]: accuracy {accuracy} ({run.elapsed})")


def _require_cases(cases: Cases, n_reference: int, target: str, case_key: str) -> None:
    """Raise a ValueError where a group has no case left to search for."""
    if len(cases.classes) < 2 or (cases.counts <= n_reference).any():
        msg = (
            f"There are {cases.described} by obs[{target!r}] and obs[{case_key!r}]. Two groups are needed, each with "
            f"more cases than n_reference={n_reference}, so that one is left to search for. Lower n_reference, or name "
            "another case_key."
        )
        raise ValueError(msg)


def _nearest_groups(
    means: np.ndarray, labels: np.ndarray, splits: Sequence[tuple[np.ndarray, np.ndarray]], metric: str
) -> list[np.ndarray]:
    """Return the group of the nearest collected case, for the queries of every split.

    Of equal distances the earlier case.
    """
    from scipy.spatial.distance import cdist

    distance = cdist(means, means, metric)
    return [labels[collected[distance[np.ix_(asked, collected)].argmin(axis=1)]] for collected, asked in splits]


def _tables(
    cases: Cases, splits: Sequence[tuple[np.ndarray, np.ndarray]], answers: Sequence[np.ndarray]
) -> dict[str, pd.DataFrame]:
    """Return scores by repeat and by case."""
    rows = []
    right = np.zeros(len(cases.names))
    asked = np.zeros(len(cases.names), np.int64)
    for number, ((collected, queries), answer) in enumerate(zip(splits, answers, strict=True)):
        true = cases.labels[queries]
        hit = answer == true
        recall = np.bincount(true, hit)[np.unique(true)] / np.bincount(true)[np.unique(true)]
        scores = {"accuracy": hit.mean(), "macro_f1": macro_f1(true, answer), "balanced_accuracy": recall.mean()}
        rows.append({"repeat": number} | scores | {"n_reference": len(collected), "n_query": len(queries)})
        right[queries] += hit
        asked[queries] += 1
    share = np.where(asked > 0, right / np.maximum(asked, 1), np.nan)
    by_case = {"case": cases.names, "group": cases.classes[cases.labels], "n_query": asked, "accuracy": share}
    return {"scores": pd.DataFrame(rows), "cases": pd.DataFrame(by_case)}
