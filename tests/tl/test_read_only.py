"""Arrays that may not be written to, as pandas 3 and memory maps hand them out.

The same answer, no warning, nothing changed.
"""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

import kronos_sc as ks

CALLS = {
    "pca": lambda cells: ks.tl.pca(cells, use_rep="X_rep", n_comps=3, rng=0),
    "cluster": lambda cells: ks.tl.cluster(cells, use_rep="X_rep", rng=0),
    "retrieve": lambda cells: ks.tl.retrieve(cells, "c3", use_rep="X_rep"),
    "linear_probe": lambda cells: ks.tl.linear_probe(cells, "kind", use_rep="X_rep", fold_key="fold", C=1.0),
    "knn_probe": lambda cells: ks.tl.knn_probe(cells, "kind", use_rep="X_rep", fold_key="fold"),
    "annotate": lambda cells: ks.tl.annotate(cells, "some", use_rep="X_rep", C=1.0),
    "stratify": lambda cells: ks.tl.stratify(cells, "group", case_key="case", use_rep="X_rep", n_splits=2, rng=0),
    "batch_silhouette": lambda cells: ks.tl.batch_silhouette(cells, "fold", use_rep="X_rep", rng=0),
}


def cells(*, frozen: bool) -> AnnData:
    rng = np.random.default_rng(0)
    kind = np.repeat(["a", "b"], 48)
    values = rng.normal(size=(96, 6)).astype(np.float32)
    values[:48] += 1
    obs = {
        "kind": pd.Categorical(kind),
        "fold": pd.Categorical(np.tile(["1", "2", "3"], 32)),
        "some": pd.Categorical([name if i % 4 == 0 else None for i, name in enumerate(kind)]),
        "case": pd.Categorical([f"p{i // 6}" for i in range(96)]),
        "group": pd.Categorical(np.repeat(["x", "y"], 48)),
    }
    made = AnnData(
        values,
        obs=pd.DataFrame(obs, index=[f"c{i}" for i in range(96)]),
        obsm={"X_rep": values.copy(), "spatial": rng.random((96, 2))},
    )
    if frozen:
        for array in (made.X, *made.obsm.values()):
            array.flags.writeable = False
    return made


def found(table: AnnData) -> list[np.ndarray]:
    """All numbers and texts that a call wrote."""
    arrays = [table.obsm[key] for key in sorted(table.obsm)] + [
        np.array([str(value) for value in table.obs[key]]) for key in sorted(table.obs)
    ]
    for entry in table.uns.values():
        frames = (
            [value for value in entry.values() if isinstance(value, pd.DataFrame)] if isinstance(entry, dict) else []
        )
        arrays += [frame.select_dtypes("number").to_numpy() for frame in frames]
    return arrays


@pytest.mark.parametrize("call", CALLS)
def test_features_that_may_not_be_written_to(call):
    usual, frozen = cells(frozen=False), cells(frozen=True)
    before = frozen.obsm["X_rep"].copy()
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*not writable.*")
        CALLS[call](usual)
        CALLS[call](frozen)
    np.testing.assert_array_equal(frozen.obsm["X_rep"], before)
    for one, other in zip(found(usual), found(frozen), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("patch_size", [32, 48], ids=["compiled", "resampled"])
def test_pixels_that_may_not_be_written_to(make, tiny, patch_size):
    image = np.random.default_rng(0).integers(0, 40_000, (5, 96, 96)).astype(np.uint16)
    usual = make(image=image.copy(), chunks=None)
    image.flags.writeable = False
    labels = np.array(usual["cells"].data)
    labels.flags.writeable = False
    frozen = make(image=image, labels=labels, chunks=None)
    for sdata in (usual, frozen):
        ks.tl.embed(sdata, model=tiny, patch_size=patch_size)
    np.testing.assert_array_equal(usual["table"].obsm["X_kronos"], frozen["table"].obsm["X_kronos"])
