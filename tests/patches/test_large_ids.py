"""Labels beyond 2⁶³, which neither int64 nor float64 can hold: the same results as with small numbers."""

from __future__ import annotations

import json

import dask.array as da
import numpy as np
import pandas as pd
import pytest
from spatialdata.models import Labels2DModel

import kronos_sc as ks
from kronos_sc.io._elements import cell_table
from kronos_sc.patches import label_table
from kronos_sc.patches._labels import find_ids, whole_ids

LARGE = 2**63  # neighbours from here on are the same number in float64


@pytest.fixture(scope="module")
def small(make):
    return make((96, 96), label_chunks=(40, 40))


@pytest.fixture(scope="module")
def large(small, make):
    labels = np.asarray(small["cells"]).astype(np.uint64)
    sdata = make((96, 96), labels=np.where(labels > 0, labels + np.uint64(LARGE), np.uint64(0)), label_chunks=(40, 40))
    assert sdata["table"].obs["cell_id"].dtype == np.uint64
    return sdata


def test_a_table_of_labels_holds_them_as_they_are(small, large) -> None:
    one, other = (label_table(da.asarray(sdata["cells"].data)) for sdata in (small, large))
    assert other["label"].tolist() == [label + LARGE for label in one["label"]]
    pd.testing.assert_frame_equal(one.drop(columns="label"), other.drop(columns="label"))
    assert large["table"].obs["cell_id"].tolist() == [label + LARGE for label in small["table"].obs["cell_id"]]
    assert large["table"].obs_names[0] == str(LARGE + int(one["label"].iloc[0]))


def test_small_and_large_labels_of_one_image_are_told_apart() -> None:
    labels = np.array([[0, 1, LARGE - 1, LARGE, LARGE + 1, 2**64 - 1]], np.uint64)
    assert label_table(labels)["label"].tolist() == [1, LARGE - 1, LARGE, LARGE + 1, 2**64 - 1]
    assert label_table(labels[:, :3])["label"].dtype == np.int64
    with pytest.raises(ValueError, match="negative value -5"):
        label_table(np.array([[-5, 1]], np.int64))


def test_features_and_pixels_do_not_depend_on_the_size_of_the_numbers(small, large) -> None:
    for sdata in (small, large):
        ks.tl.embed(sdata, model="mean-marker")
    np.testing.assert_array_equal(small["table"].obsm["X_mean_marker"], large["table"].obsm["X_mean_marker"])
    # rows in another order, as text: they are found by number
    table = large["table"][::-1].copy()
    table.obs["cell_id"] = table.obs["cell_id"].astype(str).to_numpy(object)
    large["turned"] = table
    ks.tl.embed(large, model="mean-marker", table_key="turned")
    np.testing.assert_array_equal(large["turned"].obsm["X_mean_marker"][::-1], small["table"].obsm["X_mean_marker"])
    del large.tables["turned"]
    first = [
        ks.get.patches(sdata, sdata["table"].obs_names[:3].tolist(), patch_size=16).mask for sdata in (small, large)
    ]
    np.testing.assert_array_equal(*first)


def test_outlines_exclusion_and_majorities_do_not_either(small, large, tmp_path) -> None:
    found = []
    for sdata, shift in ((small, 0), (large, LARGE)):
        table = sdata["table"]
        table.obs["kind"] = np.where(np.arange(table.n_obs) % 2, "odd", "even")
        ks.io.write_geojson(sdata, tmp_path / f"{shift}.geojson", element="cells", class_key="kind")
        sdata["spots"] = Labels2DModel.parse(sdata["cells"].data, dims=("y", "x"))
        first = int(table.obs["cell_id"].iloc[0])
        stats = ks.pp.marker_stats(sdata, exclude={"spots": [first, first + 1, 300]})
        ks.pp.tile(sdata, size=32)
        ks.pp.majority_labels(sdata, "kind", labels_key="cells", table_key="table")
        majority = sdata["patches_table"].obsm["composition"].to_numpy()
        text = (tmp_path / f"{shift}.geojson").read_text()
        found.append(([one["geometry"] for one in json.loads(text)["features"]], stats["pixels"].tolist(), majority))
    assert found[0][0] == found[1][0]
    assert found[0][1] == found[1][1]
    assert found[0][1][0] < 96 * 96
    np.testing.assert_array_equal(found[0][2], found[1][2])


def test_tables_of_several_elements_stay_exact() -> None:
    one = label_table(np.array([[0, 1, 2]], np.uint8))
    other = label_table(np.array([[0, LARGE + 1, LARGE + 2]], np.uint64))
    assert cell_table({"cells": one, "nuclei": other}).obs["cell_id"].tolist() == [1, 2, LARGE + 1, LARGE + 2]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([3, LARGE + 1], np.uint64), [3, LARGE + 1]),
        (np.array([3, 4], np.uint64), [3, 4]),
        (np.array([str(LARGE + 1), "7"], object), [LARGE + 1, 7]),
        (np.array([LARGE + 1, 7], object), [LARGE + 1, 7]),
        (np.array([2.0, 5.0]), [2, 5]),
        (np.array([2**53 - 1.0]), [2**53 - 1]),
    ],
)
def test_ids_of_every_kind(values, expected) -> None:
    assert whole_ids(values, what="obs['cell_id']").tolist() == expected


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (
            np.array([1.0, float(LARGE)]),
            r"obs\['cell_id'\] holds numbers of 9,007,199,254,740,992 and more as float64, .*9223372036854775808",
        ),
        (np.array([1.5, 2.0]), r"obs\['cell_id'\] must hold whole numbers; found '1.5'"),
        (np.array(["a", "2"], object), r"obs\['cell_id'\] must hold whole numbers; found 'a'"),
    ],
)
def test_ids_that_are_not_exact_are_refused(values, words) -> None:
    with pytest.raises(ValueError, match=words):
        whole_ids(values, what="obs['cell_id']")


def test_signed_and_unsigned_ids_are_compared_as_numbers() -> None:
    labels = np.array([1, LARGE, LARGE + 1], np.uint64)
    assert find_ids(np.array([LARGE + 1, 1, 5], np.uint64), labels).tolist() == [2, 0, -1]
    assert find_ids(np.array([1, -1, 2]), labels).tolist() == [0, -1, -1]
    assert find_ids(np.array([LARGE, 7], np.uint64), np.array([7, 9])).tolist() == [-1, 0]
