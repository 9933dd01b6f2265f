import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

from kronos_sc import pl
from kronos_sc._core import results


@pytest.fixture
def table():
    weights = {
        "tumour": {"CD20": 0.0, "CD3": 0.1, "PANCK": 0.7, "KI67": 0.2},
        "B": {"CD20": 0.8, "CD3": 0.1, "PANCK": 0.1, "KI67": 0.0},
    }
    weights["T"] = {"CD20": 0.2, "CD3": 0.8, "PANCK": 0.0, "KI67": 0.0}
    rows = [
        {"representation": "kronos", "class": c, "marker": m, "weight": w}
        for c, own in weights.items()
        for m, w in own.items()
    ]
    rows += [{"representation": "X", "class": c, "marker": m, "weight": 0.25} for c in weights for m in weights["B"]]
    adata = AnnData(np.zeros((2, 1)))
    results.store(adata, "probe", kind="linear_probe", params={}, tables={"importance": pd.DataFrame(rows)})
    results.store(adata, "bare", kind="linear_probe", params={}, tables={"scores": pd.DataFrame(rows)})
    return adata


def test_markers_stand_below_the_class_that_reads_them(table, ax):
    pl.importance(table, "probe", ax=ax)
    assert [text.get_text() for text in ax.get_yticklabels()] == ["tumour", "B", "T"]
    assert [text.get_text() for text in ax.get_xticklabels()] == ["PANCK", "KI67", "CD20", "CD3"]
    np.testing.assert_allclose(ax.images[0].get_array()[:, 0], [0.7, 0.1, 0])


def test_another_representation(table, ax):
    pl.importance(table, "probe", representation="X", ax=ax)
    assert np.unique(ax.images[0].get_array()).tolist() == [0.25]
    assert ax.get_title() == "X"


def test_a_result_without_weights_is_named(table):
    with pytest.raises(KeyError, match=r"made by tl\.linear_probe, has no table 'importance'"):
        pl.importance(table, "bare")
