"""Few labels per image, tested on the rest of the image."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

import kronos_sc as ks


@pytest.fixture
def cells() -> AnnData:
    """Three images with shifts of their own; the third has one large class.

    Mean marker expression says less than the embedding.
    """
    rng = np.random.default_rng(0)
    kind = np.concatenate(
        [rng.permutation(np.repeat(["B", "T", "M"], [40, 60, 30])) for _ in range(2)]
        + [np.repeat(["B", "T"], [60, 10])]
    )
    image = np.repeat(["one", "two", "three"], [130, 130, 70])
    centre = {"B": 0, "T": 1, "M": 2}
    signal = np.eye(3)[[centre[k] for k in kind]]
    adata = AnnData(
        (signal + rng.normal(0, 1.2, (330, 3))).astype(np.float32),
        obs=pd.DataFrame({"kind": kind, "image": image}, index=[str(i) for i in range(330)]),
    )
    shift = 10 * np.repeat(rng.normal(size=(3, 20)), [130, 130, 70], axis=0)
    adata.obsm["X_kronos"] = (3 * signal @ rng.normal(size=(3, 20)) + shift + rng.normal(size=(330, 20))).astype(
        np.float32
    )
    return adata


HOW = {"use_rep": "X_kronos", "groupby": "image", "shots": (5, 1), "n_repeats": 8, "min_per_class": 30}


def _run(cells: AnnData, **how) -> pd.DataFrame:
    with pytest.warns(
        UserWarning,
        match=r"1 of 3 images have fewer than two classes with at least \d+ units and are left out: 'three'",
    ):
        ks.tl.guided_benchmark(cells, "kind", **HOW | how)
    return ks.get.result(cells, how.get("key_added", "kind_guided"))


def test_one_row_per_representation_image_repeat_and_shots(cells: AnnData) -> None:
    scores = _run(cells)
    assert list(scores) == ["representation", "group", "repeat", "shots", "n_train", "n_test", "balanced_accuracy"]
    assert len(scores) == 2 * 2 * 8 * 2
    assert set(scores["representation"]) == {"kronos", "X"}
    assert set(scores["shots"]) == {1, 5}
    assert (scores["n_train"] == 3 * scores["shots"]).all()
    assert (scores["n_test"] == 130 - 15).all()
    groups = ks.get.result(cells, "kind_guided", table="groups")
    assert groups["group"].tolist() == ["one", "two"]
    assert groups["classes"].tolist() == ["B; M; T"] * 2


def test_summary_is_over_images_of_their_mean(cells: AnnData) -> None:
    scores, summary = _run(cells), ks.get.result(cells, "kind_guided", table="summary")
    each = (
        scores[(scores["representation"] == "X") & (scores["shots"] == 5)].groupby("group")["balanced_accuracy"].mean()
    )
    row = summary[(summary["representation"] == "X") & (summary["shots"] == 5)].iloc[0]
    assert row["n"] == 2
    assert row["mean"] == pytest.approx(each.mean())
    assert row["sd"] == pytest.approx(each.std(ddof=1))
    means = summary.set_index(["representation", "shots"])["mean"]
    assert means["kronos", 5] > means["X", 5] > 1 / 3
    assert means["kronos", 5] > 0.95


def test_rare_classes_are_named(cells: AnnData) -> None:
    with pytest.warns(UserWarning, match="1 of 3 images"):
        ks.tl.guided_benchmark(cells, "kind", **HOW | {"min_per_class": 35})
    assert ks.get.result(cells, "kind_guided", table="groups")["too_rare"].tolist() == ["M", "M"]
    assert (ks.get.result(cells, "kind_guided")["n_test"] == 100 - 10).all()


def test_lazy_arrays_and_other_images_change_nothing(cells: AnnData) -> None:
    once = _run(cells)
    other = cells.copy()
    other.obsm["X_kronos"] = da.from_array(other.obsm["X_kronos"], chunks=(50, 20))
    pd.testing.assert_frame_equal(once, _run(other))
    mixed = _run(
        cells[np.argsort(np.arange(330) % 2, kind="stable")].copy()
    )  # an order of rows in which images alternate
    np.testing.assert_allclose(
        once.groupby("group")["balanced_accuracy"].mean(), mixed.groupby("group")["balanced_accuracy"].mean(), atol=0.05
    )


def test_seeds(cells: AnnData) -> None:
    one, same, other = _run(cells), _run(cells, key_added="b"), _run(cells, rng=1, key_added="c")
    pd.testing.assert_frame_equal(one, same)
    assert not one.equals(other)


def test_shuffled_labels_give_chance(cells: AnnData) -> None:
    cells.obs["kind"] = cells.obs.groupby("image")["kind"].transform(lambda k: np.random.default_rng(0).permutation(k))
    assert _run(cells, n_repeats=40)["balanced_accuracy"].mean() == pytest.approx(1 / 3, abs=0.03)


def test_units_without_class_only_scale(cells: AnnData) -> None:
    cells.obs["kind"] = cells.obs["kind"].where(np.arange(330) % 13 != 0)
    scores = _run(cells, min_per_class=20)
    assert (scores["n_test"] == 120 - 15).all()
    assert (ks.get.result(cells, "kind_guided", table="groups")["n_units"] == 130).all()


def test_units_without_features_are_left_out(cells: AnnData) -> None:
    cells.obsm["X_kronos"][:2] = np.nan
    with pytest.warns(UserWarning, match="2 units have no finite features"):
        _run(cells, min_per_class=20)
    assert ks.get.result(cells, "kind_guided", table="groups")["n_units"].tolist() == [128, 130]


def test_whole_table_as_one_image(cells: AnnData) -> None:
    ks.tl.guided_benchmark(cells, "kind", use_rep="X_kronos", shots=3, n_repeats=2, min_per_class=20)
    assert set(ks.get.result(cells, "kind_guided")["group"]) == {"all"}


def test_images_of_a_spatialdata_are_told_apart(cells: AnnData, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "kronos_sc")
    named = _run(cells)
    cells.obs["image"] = cells.obs["image"].astype("category")
    cells.uns["spatialdata_attrs"] = {"region": ["one", "two", "three"], "region_key": "image", "instance_key": "id"}
    found = _run(cells, groupby=None)
    assert "images are told apart by obs['image']" in caplog.text
    assert ks.get.result(cells, "kind_guided", table="groups")["group"].tolist() == ["one", "two"]
    np.testing.assert_allclose(
        found.groupby("representation")["balanced_accuracy"].mean(),
        named.groupby("representation")["balanced_accuracy"].mean(),
        atol=0.05,
    )
    assert cells.uns["kind_guided"]["params"]["groupby"] == "image"
    one = cells[cells.obs["image"] == "one"].copy()  # a table of one image needs no column
    ks.tl.guided_benchmark(one, "kind", use_rep="X_kronos", shots=3, n_repeats=2, min_per_class=20)
    assert set(ks.get.result(one, "kind_guided")["group"]) == {"all"}


def test_copy_and_files(cells: AnnData, tmp_path) -> None:
    import anndata

    with pytest.warns(UserWarning, match="are left out: 'three'"):
        new = ks.tl.guided_benchmark(cells, "kind", **HOW, copy=True)
    assert "kind_guided" not in cells.uns
    new.write_h5ad(tmp_path / "a.h5ad")
    pd.testing.assert_frame_equal(
        ks.get.result(new, "kind_guided"), ks.get.result(anndata.read_h5ad(tmp_path / "a.h5ad"), "kind_guided")
    )


@pytest.mark.parametrize(
    ("how", "error", "match"),
    [
        ({"min_per_class": 5}, ValueError, "min_per_class=5 leaves no unit to test where 5 of a class are drawn"),
        ({"min_per_class": 200}, ValueError, "No image .* has two classes of 'kind' with at least 200 units"),
        ({"groupby": "core"}, KeyError, "There is no column in obs 'core'"),
        ({"shots": ()}, ValueError, "shots names no number of cells"),
        ({"shots": (0,)}, ValueError, "shots must be a whole number"),
        ({"C": 0}, ValueError, "C must be a positive number"),
        ({"use_rep": "X_kronso"}, KeyError, "Did you mean 'X_kronos'"),
    ],
)
def test_errors_change_nothing(cells: AnnData, how, error, match: str) -> None:
    with pytest.raises(error, match=match):
        ks.tl.guided_benchmark(cells, "kind", **HOW | how)
    assert not cells.uns
