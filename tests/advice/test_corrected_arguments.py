"""Arguments that a message corrects: the name that is meant, a choice it lists, a number it allows."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from kronos_sc import tl

from .tables import MOTIF, PROBE, REP, SILHOUETTE, STRATIFY, call, units

# row of the page, verb, arguments that work, what is wrong with them; the message corrects it, in several steps where
# several things are wrong
CORRECTED = [
    (
        "fewer than two classes or folds; unknown target, folds or representation",
        tl.linear_probe,
        PROBE,
        {"target": "knid"},
    ),
    (
        "fewer than two classes or folds; unknown target, folds or representation",
        tl.linear_probe,
        PROBE,
        {"use_rep": "X_krnos"},
    ),
    (
        "`key_added` that names what the call reads, what ties a table to its elements, or the record of an embedding",
        tl.linear_probe,
        PROBE,
        {"key_added": "kind"},
    ),
    ("`tl.annotate`: `threshold` outside 0 to 1, `C` not positive", tl.annotate, {"target": "some"}, {"C": -1}),
    (
        "unknown representation, column of groups, method; no number of clusters; more clusters than units of a group",
        tl.cluster,
        {"n_clusters": 2} | REP,
        {"use_rep": "X_kronus", "groupby": "imgae", "method": "spectral"},
    ),
    (
        "unknown target, folds or clusters to score; fewer units in a fold than clusters; a target with one class",
        tl.ari,
        {"target": "kind"} | REP,
        {"target": "knid", "fold_key": "folds", "max_units": 0},
    ),
    ("unknown `batch_key` or `label_key`", tl.batch_silhouette, SILHOUETTE, {"batch_key": "gruop"}),
    (
        "`keep` names a condition that does not exist, or is no list of pairs",
        tl.batch_silhouette,
        SILHOUETTE,
        {"n_clusters": 0},
    ),
    ("options out of range (`dropout=1`, `n_clusters=0`)", tl.stratify, STRATIFY, {"n_splits": 0, "method": "forest"}),
    (
        "a method that is no name and no object with options; options that cannot be recorded",
        tl.stratify,
        STRATIFY,
        {"method": "forest"},
    ),
    (
        "a query that is no unit, or a column that is not true and false, or true for none",
        tl.retrieve,
        {"query": "u3"},
        {"query": "u900"},
    ),
    ("`groupby` without `within`, or the reverse", tl.retrieve, {"groupby": "image"}, {"within": "both"}),
    ("a cell type that does not occur in a motif query", tl.motif_query, MOTIF, {"types": ["A", "b"]}),
    (
        "no unit, or one, has features to find components of",
        tl.pca,
        {"n_comps": 2},
        {"use_rep": "X_other", "n_comps": 0},
    ),
    ("`tl.pca` whose `key_added` is the representation itself", tl.pca, {"n_comps": 2}, {"key_added": "kronos"}),
    (
        "enrichment of more than two groups, none named",
        tl.enrichment,
        {"cluster_key": "kind", "group_key": "group", "case_key": "donor"},
        {"group_key": "gruop"},
    ),
]


@pytest.mark.row(*(row for row, *_ in CORRECTED))
@pytest.mark.parametrize(
    ("row", "verb", "right", "wrong"),
    CORRECTED,
    ids=[f"{verb.__name__}-{'-'.join(wrong)}" for _, verb, _, wrong in CORRECTED],
)
def test_what_is_wrong_is_corrected(advice, row, verb, right, wrong):
    adata = units(
        some=pd.Categorical(np.where(np.arange(120) % 4 == 0, np.array(["A", "B", "C"])[np.arange(120) % 3], None))
    )
    arguments = right | wrong
    messages = []
    for _ in range(len(wrong)):
        messages.append(advice.of(lambda asked=arguments: call(verb, adata, **asked)))
        arguments = advice.corrected(messages[-1], arguments)
    assert len(set(messages)) == len(wrong)
    call(verb, adata, **arguments)
