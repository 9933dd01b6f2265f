"""Columns of two tables that mean the same: by marker, by name, by position."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

from kronos_sc._analysis.alignment import align, record_of
from kronos_sc._core.record import freeze

IDS = {"DAPI": 4, "CD3": 222, "CD8": 270, "CD20": 206, "FOXP3": 314}


def _table(
    markers, *, block=3, n=4, key="kronos", features=("marker",), model=None, patch_size=64, width=None, ids=IDS
) -> AnnData:
    """A table as `tl.embed` leaves it; each feature is 1000 · id of its marker + its place in the block."""
    values = (
        np.array([1000 * ids[m] + j for m in markers for j in range(block)], np.float32)
        if width is None
        else np.ones(width, np.float32)
    )
    panel = pd.DataFrame(
        {
            "channel": markers,
            "marker": markers,
            "id": [ids[m] for m in markers],
            "mean": 0.0,
            "std": 1.0,
            "how": "exact",
        }
    )
    entry = {
        "model": {"name": "kronos", "sha256": "abc", "source": "hub", "blocks_run": [0, 1]} | (model or {}),
        "panel": panel,
        "params": {"features": list(features), "patch_size": [patch_size]},
    }
    adata = AnnData(np.zeros((n, len(markers)), np.float32), var=pd.DataFrame(index=markers), uns={key: freeze(entry)})
    adata.obsm[f"X_{key}"] = np.tile(values, (n, 1))
    return adata


def test_blocks_of_the_common_markers_in_the_order_of_the_first() -> None:
    left, right = _table(["DAPI", "CD3", "CD8", "CD20"]), _table(["CD20", "FOXP3", "CD3", "DAPI"])
    found = align(left, right, "X_kronos")
    assert found.markers == ("DAPI", "CD3", "CD20")
    assert found.width == 9
    np.testing.assert_array_equal(found.left, [0, 1, 2, 3, 4, 5, 9, 10, 11])
    np.testing.assert_array_equal(found.right, [9, 10, 11, 6, 7, 8, 0, 1, 2])
    np.testing.assert_array_equal(found.take_left(left.obsm["X_kronos"]), found.take_right(right.obsm["X_kronos"]))


def test_representations_with_the_common_columns_only() -> None:
    left, right = _table(["DAPI", "CD3", "CD8", "CD20"]), _table(["CD20", "FOXP3", "CD3", "DAPI"])
    right.obsm["X_kronos"][1, 3] = np.nan  # of FOXP3, which the other panel has not
    a, b = align(left, right, "X_kronos").representations(left, right, "X_kronos")
    assert (a.width, b.width, a.label) == (9, 9, "kronos")
    np.testing.assert_array_equal(a.rows(), b.rows())
    np.testing.assert_array_equal(a.rows(np.array([2, 0])), b.rows(slice(0, 2)))
    assert b.finite.all()


def test_the_same_panel_takes_all_columns_and_copies_nothing() -> None:
    left, right = _table(["DAPI", "CD3"]), _table(["DAPI", "CD3"])
    found = align(left, right, "X_kronos")
    assert found.left is None
    assert found.right is None
    assert found.take_right(right.obsm["X_kronos"]) is right.obsm["X_kronos"]


def test_a_subset_in_order_leaves_one_side_as_it_is() -> None:
    found = align(_table(["DAPI", "CD3", "CD8"]), _table(["DAPI", "CD3"]), "X_kronos")
    assert found.right is None
    assert found.left.tolist() == [0, 1, 2, 3, 4, 5]


def test_one_feature_per_marker() -> None:
    left, right = (
        _table(["DAPI", "CD3"], block=1, key="mean_marker"),
        _table(["CD3", "DAPI"], block=1, key="mean_marker"),
    )
    assert align(left, right, "X_mean_marker").right.tolist() == [1, 0]


def test_x_and_frames_go_by_name() -> None:
    left, right = _table(["DAPI", "CD3"]), _table(["CD20", "CD3", "DAPI"])
    assert align(left, right, "X").right.tolist() == [2, 1]
    left.obsm["share"] = pd.DataFrame({"B": [1.0], "T": [2.0]}, index=left.obs_names[:1]).reindex(left.obs_names)
    right.obsm["share"] = pd.DataFrame({"T": [1.0], "M": [2.0], "B": [0.0]}, index=right.obs_names[:1]).reindex(
        right.obs_names
    )
    found = align(left, right, "share")
    assert found.markers == ("B", "T")
    assert found.right.tolist() == [2, 0]


def test_a_name_with_another_id_is_another_marker() -> None:
    """The id is what the network was told: a free id for a marker it has not seen may differ between panels."""
    found = align(_table(["DAPI", "CD3"]), _table(["DAPI", "CD3"], ids=IDS | {"CD3": 5}), "X_kronos")
    assert found.markers == ("DAPI",)


def test_class_features_need_the_same_width() -> None:
    left, right = _table(["DAPI", "CD3"], features=("cls",), width=8), _table(["DAPI"], features=("cls",), width=8)
    found = align(left, right, "X_kronos")
    assert (found.markers, found.width, found.left) == ((), 8, None)
    with pytest.raises(ValueError, match="8 features in the first table and 6 in the second"):
        align(left, _table(["DAPI"], features=("cls",), width=6), "X_kronos")


def test_record_of_class_features_beside_marker_features() -> None:
    adata = _table(["DAPI", "CD3"], features=("marker", "cls"))
    adata.obsm["X_kronos_cls"] = np.ones((4, 8), np.float32)
    assert record_of(adata, "X_kronos")[1] == "marker"
    assert record_of(adata, "X_kronos_cls")[1] == "cls"
    assert record_of(adata, "X") is None


def test_without_record_by_position_with_a_warning() -> None:
    left, right = _table(["DAPI"]), _table(["CD3"])
    for adata in (left, right):
        adata.obsm["X_pca"] = np.ones((4, 5), np.float32)
    with pytest.warns(UserWarning, match="compared by position"):
        assert align(left, right, "X_pca").width == 5
    right.obsm["X_pca"] = np.ones((4, 6), np.float32)
    with pytest.raises(ValueError, match="no record says which belong together"):
        align(left, right, "X_pca")


@pytest.mark.parametrize(
    ("other", "match"),
    [
        ({"model": {"sha256": "def"}}, "features of two models cannot be compared"),
        ({"model": {"sha256": "", "name": "kronos-untrained"}}, "differ in name"),
        ({"model": {"blocks_run": [0]}}, "differ in blocks_run"),
        ({"features": ("cls",)}, "Embed both with the same features="),
        ({"block": 4}, "3 features per marker in the first table and 4"),
    ],
)
def test_what_cannot_be_compared(other, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        align(_table(["DAPI", "CD3"]), _table(["DAPI", "CD3"], **other), "X_kronos")


def test_the_same_weights_under_another_name() -> None:
    assert align(_table(["DAPI"]), _table(["DAPI"], model={"name": "mine"}), "X_kronos").left is None


def test_no_marker_in_common() -> None:
    with pytest.raises(ValueError, match=r"no marker in common\. First: 'CD3'; second: 'CD20'"):
        align(_table(["CD3"]), _table(["CD20"]), "X_kronos")


def test_other_windows_warn() -> None:
    with pytest.warns(UserWarning, match="windows of 64 and 32 pixels"):
        align(_table(["DAPI"]), _table(["DAPI"], patch_size=32), "X_kronos")


def test_repeated_column_names() -> None:
    left = _table(["DAPI", "CD3"])
    left.var_names = ["CD3", "CD3"]
    with pytest.raises(ValueError, match="occur more than once: 'CD3'"):
        align(left, _table(["CD3"]), "X")


def test_a_record_read_from_file(tmp_path) -> None:
    import anndata

    left, right = _table(["DAPI", "CD3"]), _table(["CD3", "CD20", "DAPI"])
    left.write_h5ad(tmp_path / "left.h5ad")
    right.write_zarr(tmp_path / "right.zarr")
    found = align(anndata.read_h5ad(tmp_path / "left.h5ad"), anndata.read_zarr(tmp_path / "right.zarr"), "X_kronos")
    assert found.right.tolist() == [6, 7, 8, 0, 1, 2]
