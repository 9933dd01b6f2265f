"""Results replace results, and nothing else."""

from __future__ import annotations

import anndata
import numpy as np
import pandas as pd
import pytest

import kronos_sc as ks
from kronos_sc._core.free_key import free_key


@pytest.fixture
def table() -> anndata.AnnData:
    obs = pd.DataFrame({"element": "cells", "cell_id": [1, 2], "cluster": "0"}, index=list("ab"))
    adata = anndata.AnnData(np.zeros((2, 1), np.float32), obs=obs)
    adata.uns["spatialdata_attrs"] = {"region": "cells", "region_key": "element", "instance_key": "cell_id"}
    adata.uns["kronos"] = {"model": {}, "panel": {}, "params": {}}
    adata.uns["old"] = {"kind": "cluster", "params": {}, "main": ""}
    adata.uns["neighbors"] = {"connectivities_key": "connectivities"}
    return adata


@pytest.mark.parametrize("key", ["new", "old", "cluster"])
def test_free(table, key: str) -> None:
    assert free_key(table, key, "cell_type", None) == key


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("element", "ties the table"),
        ("cell_id", "ties the table"),
        ("cell_type", "is what this call reads.*'cell_type_result'"),
        ("kronos", "record of an embedding.*'kronos_result'"),
        ("neighbors", "no analysis of this package made"),
    ],
)
def test_taken(table, key: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        free_key(table, key, "cell_type", None)


def test_every_analysis_asks(table) -> None:
    """Before anything else: the name is checked even where all other arguments are wrong."""
    calls = {
        ks.tl.cluster: {"use_rep": "X", "n_clusters": 2},
        ks.tl.few_shot: {"target": "cluster"},
        ks.tl.linear_probe: {"target": "cluster"},
        ks.tl.knn_probe: {"target": "cluster"},
        ks.tl.annotate: {"target": "cluster"},
        ks.tl.ari: {"target": "cluster"},
        ks.tl.guided_benchmark: {"target": "cluster"},
        ks.tl.transfer: {"reference": table, "target": "cluster"},
        ks.tl.retrieve: {"use_rep": "X"},
        ks.tl.retrieval_scores: {"target": "cluster"},
        ks.tl.case_retrieval: {"target": "cluster", "case_key": "element"},
        ks.tl.batch_silhouette: {"batch_key": "cluster"},
        ks.tl.batch_metrics: {"batch_key": "cluster"},
        ks.tl.stratify: {"target": "cluster", "case_key": "element"},
        ks.tl.enrichment: {"cluster_key": "cluster", "group_key": "element", "case_key": "cell_id"},
        ks.pp.nested_subsets: {"target": "cluster"},
        ks.pp.spatial_folds: {},
    }
    for call, arguments in calls.items():
        with pytest.raises(ValueError, match="record of an embedding"):
            call(table, **arguments, key_added="kronos")


@pytest.mark.parametrize("call", [ks.tl.linear_probe, ks.tl.knn_probe, ks.tl.annotate, ks.pp.nested_subsets])
def test_labels_are_not_replaced_by_predictions(table, call) -> None:
    with pytest.raises(ValueError, match="is what this call reads"):
        call(table, "cluster", key_added="cluster")
    assert table.obs["cluster"].tolist() == ["0", "0"]
