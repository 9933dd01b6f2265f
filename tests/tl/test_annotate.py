"""A handful of labels for all cells of an image."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

import kronos_sc as ks


@pytest.fixture
def cells() -> AnnData:
    """Two images, three types, of which the second image has two; five cells per type and image are labelled."""
    rng = np.random.default_rng(0)
    kind = np.concatenate([rng.permutation(np.repeat(["B", "T", "M"], 40)), rng.permutation(np.repeat(["B", "T"], 50))])
    obs = pd.DataFrame(
        {"kind": kind, "image": np.repeat(["one", "two"], [120, 100])}, index=[f"c{i}" for i in range(220)]
    )
    obs["mine"] = pd.Categorical(
        obs["kind"].where(obs.groupby(["image", "kind"]).cumcount() < 5), categories=["B", "T", "M"]
    )
    centre = rng.normal(size=(3, 30))
    shift = np.where(np.arange(220)[:, None] < 120, 0, 8 * rng.normal(size=30))
    values = centre[[["B", "T", "M"].index(k) for k in kind]] + shift + 0.4 * rng.normal(size=(220, 30))
    return AnnData(obs=obs, obsm={"X_kronos": values.astype(np.float32)})


def test_every_cell_gets_its_type_image_by_image(cells: AnnData) -> None:
    ks.tl.annotate(cells, "mine", groupby="image")
    assert (cells.obs["mine_annotated"].astype(str) == cells.obs["kind"]).mean() > 0.98
    assert list(cells.obs["mine_annotated"].cat.categories) == ["B", "T", "M"]
    proba = cells.obsm["mine_annotated_proba"]
    np.testing.assert_allclose(proba.sum(axis=1), 1, atol=1e-5)
    assert (proba.loc[cells.obs["image"] == "two", "M"] == 0).all()  # nobody labelled an M there
    np.testing.assert_allclose(cells.obs["mine_annotated_confidence"], proba.max(axis=1))
    groups = ks.get.result(cells, "mine_annotated")
    assert list(groups) == ["group", "n_units", "n_labelled", "n_annotated", "n_abstained"]
    assert groups.to_numpy().tolist() == [["one", 120, 15, 105, 0], ["two", 100, 10, 90, 0]]
    counts = ks.get.result(cells, "mine_annotated", table="counts")
    assert counts["n_labelled"].tolist() == [5, 5, 5, 5, 5, 0]
    assert counts.groupby("group")["n_annotated"].sum().tolist() == [105, 90]


@pytest.mark.parametrize("n_types", [2, 3])
def test_it_is_the_logistic_regression_of_scikit_learn(cells: AnnData, n_types: int) -> None:
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    cells = cells[cells.obs["image"] == ("one" if n_types == 3 else "two")].copy()
    cells.obs.loc[cells.obs["mine"].eq("B").cumsum() > 3, "mine"] = None  # unequal numbers: classes are balanced
    ks.tl.annotate(cells, "mine", C=0.1)
    x = StandardScaler().fit_transform(cells.obsm["X_kronos"].astype(float))
    known = cells.obs["mine"].notna().to_numpy()
    model = LogisticRegression(C=0.1, class_weight="balanced", tol=1e-9, max_iter=1000).fit(
        x[known], cells.obs["mine"][known].astype(str)
    )
    proba = cells.obsm["mine_annotated_proba"][list(model.classes_)]
    np.testing.assert_allclose(proba, model.predict_proba(x), atol=2e-3)


def test_labelled_cells_keep_their_label(cells: AnnData) -> None:
    odd = cells.obs_names[(cells.obs["kind"] == "B") & cells.obs["mine"].isna()][0]
    cells.obs.loc[odd, "mine"] = "T"
    ks.tl.annotate(cells, "mine", groupby="image", C=1e-4, threshold=0.99)
    assert cells.obs.loc[odd, "mine_annotated"] == "T"
    assert cells.obs.loc[odd, "mine_annotated_confidence"] == cells.obsm["mine_annotated_proba"].loc[odd, "T"]
    labelled = cells.obs["mine"].notna()
    assert (cells.obs["mine_annotated"][labelled] == cells.obs["mine"][labelled]).all()


def test_a_threshold_leaves_doubtful_cells_open(cells: AnnData) -> None:
    ks.tl.annotate(cells, "mine", groupby="image", C=1e-3, threshold=0.5)
    open_ = cells.obs["mine_annotated"].isna()
    confidence = cells.obs["mine_annotated_confidence"]
    assert 0 < open_.sum() < 195
    assert (confidence[open_] < 0.5).all()
    assert (confidence[~open_ & cells.obs["mine"].isna()] >= 0.5).all()
    groups = ks.get.result(cells, "mine_annotated")
    assert groups["n_abstained"].sum() == open_.sum()
    assert groups["n_annotated"].sum() == 195 - open_.sum()


def test_one_model_serves_images_without_labels(cells: AnnData) -> None:
    cells.obsm["X_kronos"][120:] = cells.obsm["X_kronos"][:100]
    cells.obs.loc[cells.obs["image"] == "two", "mine"] = None
    ks.tl.annotate(cells, "mine")
    assert ks.get.result(cells, "mine_annotated")["group"].tolist() == ["all"]
    assert cells.obs["mine_annotated"].notna().all()


def test_groups_with_too_few_labels_are_named_and_left(cells: AnnData) -> None:
    cells.obs.loc[(cells.obs["image"] == "two") & (cells.obs["mine"] == "T"), "mine"] = None
    with pytest.warns(
        UserWarning, match="1 of 2 groups have labels of fewer than two classes and stay as they are: 'two'"
    ):
        ks.tl.annotate(cells, "mine", groupby="image")
    two = cells.obs[cells.obs["image"] == "two"]
    assert two["mine_annotated"].notna().sum() == 5  # the labels themselves
    assert two["mine_annotated_confidence"].isna().all()
    assert cells.obsm["mine_annotated_proba"].loc[two.index].isna().all().all()
    assert cells.obs["mine_annotated"][:120].notna().all()


def test_cells_without_group_or_features_stay_open(cells: AnnData) -> None:
    cells.obs["image"] = cells.obs["image"].where(np.arange(220) != 3)
    cells.obsm["X_kronos"][7] = np.nan
    cells.obs.loc[cells.obs_names[[3, 7]], "mine"] = None
    ks.tl.annotate(cells, "mine", groupby="image")
    assert np.flatnonzero(cells.obs["mine_annotated"].isna()).tolist() == [3, 7]


def test_lazy_arrays_and_order_of_cells_change_nothing(cells: AnnData) -> None:
    lazy, turned = cells.copy(), cells[np.random.default_rng(0).permutation(220)].copy()
    lazy.obsm["X_kronos"] = da.from_array(lazy.obsm["X_kronos"], chunks=(64, 30))
    for adata in (cells, lazy, turned):
        ks.tl.annotate(adata, "mine", groupby="image")
    proba = cells.obsm["mine_annotated_proba"]
    np.testing.assert_allclose(lazy.obsm["mine_annotated_proba"], proba, atol=1e-5)
    np.testing.assert_allclose(turned.obsm["mine_annotated_proba"].loc[cells.obs_names], proba, atol=1e-3)


def test_blocks_change_nothing(cells: AnnData, monkeypatch) -> None:
    ks.tl.annotate(cells, "mine", groupby="image")
    monkeypatch.setattr(ks.settings, "block_memory", 4 * 30 * 17)
    ks.tl.annotate(cells, "mine", groupby="image", key_added="again")
    np.testing.assert_allclose(cells.obsm["again_proba"], cells.obsm["mine_annotated_proba"], atol=1e-5)


def test_shuffled_labels_tell_nothing(cells: AnnData) -> None:
    known = cells.obs["mine"].notna().to_numpy()
    right = []
    for seed in range(15):
        cells.obs["mine"] = cells.obs["kind"].where(known)
        cells.obs.loc[known, "mine"] = cells.obs.groupby("image")["mine"].transform(
            lambda k, seed=seed: pd.Series(
                np.random.default_rng(seed).permutation(k.dropna()), k.dropna().index
            ).reindex(k.index)
        )
        ks.tl.annotate(cells, "mine", groupby="image")
        test = (cells.obs["image"] == "two") & ~known
        right.append((cells.obs["mine_annotated"].astype(str) == cells.obs["kind"])[test].mean())
    assert np.mean(right) == pytest.approx(0.5, abs=0.15)


def test_most_per_class_draws(cells: AnnData) -> None:
    ks.tl.annotate(cells, "mine", max_per_class=2, rng=0)
    ks.tl.annotate(cells, "mine", max_per_class=2, rng=0, key_added="same")
    ks.tl.annotate(cells, "mine", max_per_class=2, rng=1, key_added="other")
    one, same, other = (cells.obsm[f"{key}_proba"] for key in ("mine_annotated", "same", "other"))
    assert one.equals(same)
    assert not one.equals(other)


def test_copy_and_files(cells: AnnData, tmp_path) -> None:
    import anndata

    new = ks.tl.annotate(cells, "mine", groupby="image", threshold=0.9, copy=True)
    assert list(cells.obs) == ["kind", "image", "mine"]
    new.write_h5ad(tmp_path / "a.h5ad")
    back = anndata.read_h5ad(tmp_path / "a.h5ad")
    pd.testing.assert_frame_equal(
        ks.get.result(new, "mine_annotated", table="counts"), ks.get.result(back, "mine_annotated", table="counts")
    )
    assert back.obs["mine_annotated"].equals(new.obs["mine_annotated"])


@pytest.mark.parametrize(
    ("change", "how", "error", "match"),
    [
        ({"mine": "B"}, {}, ValueError, "Every unit has a 'mine' already"),
        (
            {"mine": np.where(np.arange(220) < 9, "B", None)},
            {},
            ValueError,
            "the table does not have units of two classes",
        ),
        (
            {"mine": np.where(np.arange(220) < 9, "B", None)},
            {"groupby": "image"},
            ValueError,
            "no group of 'image' .* leave groupby out",
        ),
        ({}, {"threshold": 1.5}, ValueError, "is not a probability"),
        ({}, {"C": -1}, ValueError, "C must be a positive number"),
        ({}, {"max_per_class": 0}, ValueError, "max_per_class must be a whole number"),
        ({}, {"groupby": "img"}, KeyError, "groupby="),
        ({}, {"use_rep": "X_uni"}, KeyError, "no representation in obsm 'X_uni'"),
    ],
)
def test_errors_change_nothing(cells: AnnData, change, how, error, match: str) -> None:
    for name, value in change.items():
        cells.obs[name] = value
    before = cells.obs.copy()
    with pytest.raises(error, match=match):
        ks.tl.annotate(cells, "mine", **how)
    assert cells.obs.equals(before)
    assert not cells.uns
