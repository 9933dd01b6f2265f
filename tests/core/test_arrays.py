"""The gate before torch: an array may be shared, or it is copied."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest

from kronos_sc._core.arrays import writable


def frozen(array: np.ndarray) -> np.ndarray:
    array.flags.writeable = False
    return array


def test_nothing_is_copied_without_need():
    array = np.arange(6.0).reshape(2, 3)
    assert writable(array) is array
    assert writable(array, np.float64) is array


@pytest.mark.parametrize(
    "values",
    [
        frozen(np.arange(3, dtype=np.int64)),
        pd.Series([0, 1, 2]).to_numpy(),
        pd.DataFrame({"a": [0, 1, 2], "b": [3, 4, 5]})["a"].to_numpy(),
        np.broadcast_to(np.int64(0), 3),
        np.arange(6)[::2],
        [0, 1, 2],
    ],
    ids=["frozen", "series", "column", "broadcast", "steps", "list"],
)
def test_torch_takes_it_without_a_warning(values):
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tensor = torch.from_numpy(writable(values))
    np.testing.assert_array_equal(tensor.numpy(), np.asarray(values))


def test_writing_leaves_a_frozen_array_alone():
    array = frozen(np.zeros(3))
    writable(array)[:] = 1
    assert (array == 0).all()


def test_a_memory_map_is_read(tmp_path):
    np.save(tmp_path / "x.npy", np.arange(3))
    assert writable(np.load(tmp_path / "x.npy", mmap_mode="r")).flags.writeable
    assert writable(np.load(tmp_path / "x.npy", mmap_mode="r"), np.float32).tolist() == [0, 1, 2]
