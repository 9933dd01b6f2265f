"""What `uns` may hold."""

import anndata
import numpy as np
import pandas as pd
import pytest

from kronos_sc._core.record import freeze, is_embedding, thaw

PANEL = {
    "channel": ["D", "C"],
    "marker": ["DAPI", "CD3"],
    "id": [4, 9],
    "mean": [0.1, np.nan],
    "how": ["exact", "alias"],
}
FULL = {
    "none": None, "text": "αSMA", "yes": True, "no": False, "whole": 3, "number": 0.25, "numpy": np.float32(2),
    "empty": [], "names": ["a", "b"], "pair": (1, 2), "floats": [0.5, 1.0], "flags": [True, False],
    "deep": {"deeper": {"x": 1}}, "nothing": {}, "frame": pd.DataFrame(PANEL),
}  # fmt: skip


def same(one, two):
    assert type(one) is type(two)
    if isinstance(one, dict):
        assert one.keys() == two.keys()
        for key in one:
            same(one[key], two[key])
    elif isinstance(one, pd.DataFrame):
        pd.testing.assert_frame_equal(one, two)
    elif isinstance(one, np.ndarray):
        assert one.dtype == two.dtype
        np.testing.assert_array_equal(one, two)
    else:
        assert one == two


@pytest.mark.parametrize("kind", ["h5ad", "zarr"])
def test_round_trip(tmp_path, kind):
    adata = anndata.AnnData(np.zeros((2, 2)), uns={"it": freeze(FULL)})
    path = tmp_path / f"a.{kind}"
    getattr(adata, f"write_{kind}")(path)
    back = getattr(anndata, f"read_{kind}")(path)
    same(thaw(adata.uns["it"]), thaw(back.uns["it"]))
    frame = thaw(back.uns["it"])["frame"]
    assert list(frame.columns) == ["channel", "marker", "id", "mean", "how"]
    assert list(frame["marker"]) == ["DAPI", "CD3"]


def test_an_embedding_is_told_from_other_entries():
    assert is_embedding(freeze({"model": {"name": "a"}, "panel": FULL["frame"], "params": {}, "seconds": 1.0}))
    for other in (
        None,
        "model panel params",
        {},
        {"model": "a", "panel": "b"},
        {"kind": "ari", "params": {}, "main": "scores"},
    ):
        assert not is_embedding(other)


def test_what_no_file_can_hold():
    from pathlib import Path

    with pytest.raises(TypeError, match=r"A record cannot hold PosixPath; use text, numbers, arrays or dicts of them"):
        freeze({"path": Path("/tmp")})
    with pytest.raises(TypeError, match="A record cannot hold list"):
        freeze({"rows": [{"a": 1}]})


def test_names_with_slashes_do_not_become_folders():
    assert freeze({"CD4/CD8": 1, "CD4|CD8": 2}) == {"CD4|CD8": 1, "CD4|CD8_": 2}


def test_ranges_and_series_are_sequences():
    assert freeze(range(3)).tolist() == freeze(pd.Series([0, 1, 2])).tolist() == [0, 1, 2]
