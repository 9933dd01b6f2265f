"""Nested training sets, and the probe at its largest."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

import kronos_sc as ks


@pytest.fixture
def cells() -> AnnData:
    rng = np.random.default_rng(0)
    codes = rng.choice(3, 360)
    x = (rng.normal(size=(3, 20))[codes] * 0.5 + rng.normal(size=(360, 20))).astype(np.float32)
    obs = pd.DataFrame({"cell_type": np.array(["a", "b", "c"])[codes], "fold": rng.integers(0, 3, 360).astype(str)})
    obs.index = obs.index.astype(str)
    return AnnData(X=x, obs=obs)


def test_more_shots_score_higher(cells) -> None:
    ks.tl.few_shot(cells, "cell_type", shots=(50, 2), C=0.1)
    scores = ks.get.result(cells, "cell_type_few_shot")
    assert scores.groupby("shots")["n_train"].max().to_dict() == {2: 6, 50: 150}
    means = scores.groupby("shots")["balanced_accuracy"].mean()
    assert means[50] > means[2] + 0.05
    summary = ks.get.result(cells, "cell_type_few_shot", table="summary")
    assert set(summary.columns) >= {"representation", "shots", "metric", "mean", "sd", "n"}


def test_all_shots_are_the_linear_probe(cells) -> None:
    ks.tl.few_shot(cells, "cell_type", shots=[40], C=0.1)
    ks.tl.linear_probe(cells, "cell_type", max_per_class=40, C=0.1)
    columns = ["balanced_accuracy", "macro_f1", "macro_ap", "auroc_ovo", "n_train", "n_test"]
    few, whole = ks.get.result(cells, "cell_type_few_shot"), ks.get.result(cells, "cell_type_probe")
    pd.testing.assert_frame_equal(few[columns], whole[columns])


def test_the_order_is_the_users(cells) -> None:
    """With an order given, the seed draws nothing."""
    rng = np.random.default_rng(1)
    cells.obs["order"] = (
        cells.obs.groupby("cell_type")["fold"].transform(lambda part: rng.permutation(len(part))).astype(int)
    )
    ks.tl.few_shot(cells, "cell_type", shots=[3], order_key="order", C=0.1, rng=1)
    first = ks.get.result(cells, "cell_type_few_shot")
    ks.tl.few_shot(cells, "cell_type", shots=[3], order_key="order", C=0.1, rng=2)
    pd.testing.assert_frame_equal(first, ks.get.result(cells, "cell_type_few_shot"))


def test_the_order_must_be_ranks(cells) -> None:
    with pytest.raises(
        ValueError,
        match=r"obs\['fold'\] holds text, not ranks\. Make an order with pp\.nested_subsets\(adata, 'cell_type'\)",
    ):
        ks.tl.few_shot(cells, "cell_type", order_key="fold")
    cells.obs["order"] = np.arange(360.0)
    for lacking in (np.nan, -1):  # -1 is what pp.nested_subsets gives to units without a class
        cells.obs.loc[cells.obs_names[:2], "order"] = lacking
        with pytest.raises(
            ValueError, match=r"2 units with a 'cell_type' have no rank in obs\['order'\]\. Make an order"
        ):
            ks.tl.few_shot(cells, "cell_type", order_key="order")
    cells.obs.loc[cells.obs_names[:2], "cell_type"] = np.nan
    ks.tl.few_shot(cells, "cell_type", shots=[3], order_key="order", C=0.1)
    with pytest.raises(KeyError, match="Name another column with order_key="):
        ks.tl.few_shot(cells, "cell_type", order_key="rank")


def test_a_class_with_too_few_is_said(cells) -> None:
    with pytest.warns(UserWarning, match=r"3 classes have fewer than 500 training units.*a \(\d+\)"):
        ks.tl.few_shot(cells, "cell_type", shots=[500], C=0.1)


def test_shots_must_be_whole(cells) -> None:
    with pytest.raises(ValueError, match="shots must be a whole number"):
        ks.tl.few_shot(cells, "cell_type", shots=[0], C=0.1)
