"""Where labels lie: sums over chunks against scikit-image."""

import dask.array as da
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.measure import regionprops_table

from kronos_sc.patches import _labels, label_table


def test_by_hand():
    labels = np.zeros((6, 8), np.uint8)
    labels[1:3, 2:4] = 9
    labels[5, 7] = 4
    table = label_table(labels)
    assert table.to_dict("list") == {"label": [4, 9], "y": [5.5, 2.0], "x": [7.5, 3.0], "area": [1, 4]}
    assert label_table(np.zeros((4, 4), np.uint8)).shape == (0, 4)


@settings(max_examples=30)
@given(
    shape=st.tuples(st.integers(1, 60), st.integers(1, 60)),
    chunk=st.tuples(st.integers(3, 40), st.integers(3, 40)),
    top=st.sampled_from([3, 250, 2**24 + 3, 2**40]),
    strip=st.sampled_from([1, 50, 2**22]),
    seed=st.integers(0, 99),
)
def test_does_not_depend_on_chunks_or_strips(shape, chunk, top, strip, seed):
    rng = np.random.default_rng(seed)
    ids = np.concatenate([[0, 0, 0], rng.integers(1, top, 6, endpoint=True)])
    labels = ids[rng.integers(0, len(ids), shape)]
    expected = regionprops_table(np.searchsorted(np.unique(ids), labels), properties=("label", "area", "centroid"))
    before, _labels._STRIP = _labels._STRIP, strip
    try:
        table, copy = _labels.scan(da.from_array(labels, chunks=chunk))
    finally:
        _labels._STRIP = before
    np.testing.assert_array_equal(table["label"], np.unique(ids)[expected["label"]])
    np.testing.assert_array_equal(table["area"], expected["area"])
    np.testing.assert_allclose(
        table[["y", "x"]], np.stack([expected["centroid-0"], expected["centroid-1"]], 1) + 0.5, rtol=1e-12
    )
    np.testing.assert_array_equal(copy.read(-3, shape[0] + 2, -1, shape[1] + 4), np.pad(labels, ((3, 2), (1, 4))))


def test_ids_far_apart_do_not_take_memory():
    import tracemalloc

    labels = np.zeros((64, 64), np.int64)
    labels[0, 0] = 1
    labels[9, 9] = 60_000_000
    tracemalloc.start()
    assert list(label_table(labels)["label"]) == [1, 60_000_000]
    assert tracemalloc.get_traced_memory()[1] < 20 * 2**20
    tracemalloc.stop()


def test_large_chunks_are_measured_in_strips():
    import tracemalloc

    labels = np.ones((6000, 6000), np.uint8)
    labels[3000:] = 2
    tracemalloc.start()
    table, _ = _labels.scan(labels)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert table["area"].tolist() == [18_000_000, 18_000_000]
    assert peak < 300 * 2**20, f"{peak / 2**20:.0f} MiB"


def test_negative_labels():
    with pytest.raises(
        ValueError, match=r"Labels hold the negative value -3; labels must be 0 \(background\) or positive\. Relabel"
    ):
        label_table(np.array([[0, -3]]))
