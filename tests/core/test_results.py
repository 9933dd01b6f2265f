"""Results in `uns`: frames as they were, from memory and from files."""

from __future__ import annotations

import anndata
import numpy as np
import pandas as pd
import pytest

import kronos_sc as ks
from kronos_sc._core import results


@pytest.fixture
def adata() -> anndata.AnnData:
    adata = anndata.AnnData(np.zeros((3, 1), np.float32))
    scores = pd.DataFrame(
        {
            "representation": ["kronos", "X"],
            "fold": pd.Categorical(["0", None]),
            "value": [0.5, np.nan],
            "ok": [True, False],
            "n": [3, 4],
        },
        index=["b", "a"],
    )
    tables = {"scores": scores, "summary": pd.DataFrame({"metric": ["value"], "mean": [0.5]})}
    results.store(
        adata, "one", kind="ari", params={"k": 3, "use_rep": ["X_a"], "none": None}, tables=tables, index=np.arange(3)
    )
    return adata


def test_the_main_table_is_the_first(adata) -> None:
    frame = ks.get.result(adata, "one")
    assert list(frame.columns) == ["representation", "fold", "value", "ok", "n"]
    assert frame["fold"].tolist() == ["0", ""]
    assert frame["ok"].dtype == bool
    assert ks.get.result(adata, "one", table="summary")["mean"].tolist() == [0.5]


def test_a_copy_is_returned(adata) -> None:
    ks.get.result(adata, "one")["value"] = 9
    assert ks.get.result(adata, "one")["value"].iloc[0] == 0.5


@pytest.mark.parametrize("suffix", ["h5ad", "zarr"])
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_files_change_nothing(adata, tmp_path, suffix: str) -> None:
    getattr(adata, f"write_{suffix}")(tmp_path / f"a.{suffix}")
    back = getattr(anndata, f"read_{suffix}")(tmp_path / f"a.{suffix}")
    pd.testing.assert_frame_equal(ks.get.result(adata, "one"), ks.get.result(back, "one"), check_dtype=False)
    assert results.params(back, "one")["k"] == 3
    np.testing.assert_array_equal(results.array(back, "one", "index"), [0, 1, 2])


def test_errors_list_what_exists(adata) -> None:
    with pytest.raises(KeyError, match="'one'"):
        ks.get.result(adata, "two")
    with pytest.raises(KeyError, match="'scores', 'summary'"):
        ks.get.result(adata, "one", table="sores")
    with pytest.raises(ValueError, match=r"made by tl\.ari, not by tl\.retrieve"):
        results.entry(adata, "one", kind="retrieve")
    with pytest.raises(KeyError, match="array of the result"):
        results.array(adata, "one", "distance")


def test_a_summary_by_hand() -> None:
    scores = pd.DataFrame({"representation": list("aab"), "f1": [0.2, 0.4, 0.9]})
    out = results.summary(scores, by="representation", metrics=["f1"])
    assert out[["representation", "metric", "n"]].to_numpy().tolist() == [["a", "f1", 2], ["b", "f1", 1]]
    np.testing.assert_allclose(out["mean"], [0.3, 0.9])
    np.testing.assert_allclose(out["sd"], [np.sqrt(0.02), np.nan])
    np.testing.assert_allclose(out["high"][0] - out["low"][0], 2 * 12.7062 * 0.1, rtol=1e-4)


def test_one_column_per_representation_and_means_in_words() -> None:
    assert results.keys_of("probe", ["kronos", "mean_marker"]) == ["probe", "probe_mean_marker"]
    scores = pd.DataFrame({"representation": ["b", "a", "b"], "ari": [0.25, 1, 0.5]})
    assert results.in_words(scores, "ari") == "b 0.375, a 1.000"
    assert results.in_words(scores, "ari", digits=".3g") == "b 0.375, a 1"
