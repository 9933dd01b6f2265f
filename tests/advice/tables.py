"""A table that analyses run on, and calls of them."""

from __future__ import annotations

import warnings

import anndata
import numpy as np
import pandas as pd

from kronos_sc import pl, pp, tl

REP = {"use_rep": "X_kronos"}
PROBE = {"target": "kind", "C": 1.0} | REP
GUIDED = {"target": "kind", "groupby": "image", "shots": (1,), "n_repeats": 1, "min_per_class": 10} | REP
STRATIFY = {"target": "group", "case_key": "donor", "n_splits": 2} | REP
MOTIF = {"types": ["A", "B"], "target": "kind", "radius": 60}
SILHOUETTE = {"batch_key": "group", "n_init": 1} | REP


def units(n=120, **obs):
    """Units of three kinds in two images and twelve donors, which their features tell apart."""
    rng = np.random.default_rng(0)
    kind = np.arange(n) % 3
    columns = {
        "kind": pd.Categorical(np.array(["A", "B", "C"])[kind]),
        "fold": pd.Categorical((np.arange(n) // 3 % 2).astype(str)),
        "image": pd.Categorical(np.array(["left", "right"])[np.arange(n) // 3 % 2]),
        "donor": pd.Categorical([f"d{i:02}" for i in np.arange(n) // 3 % 12]),
        "group": pd.Categorical(np.array(["well", "sick"])[np.arange(n) // 3 % 2]),
        "one": pd.Categorical(["same"] * n),
    }
    frame = pd.DataFrame(columns | obs, index=[f"u{i}" for i in range(n)])
    adata = anndata.AnnData(obs=frame)
    adata.obsm["X_kronos"] = rng.normal(size=(n, 6)).astype(np.float32) + kind[:, None] * np.arange(6, dtype=np.float32)
    adata.obsm["spatial"] = rng.uniform(0, 400, (n, 2))
    return adata


def call(verb, adata, **arguments):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return verb(adata, **arguments)


def run(text, adata, **names):
    """Run lines that a message gives."""
    import squidpy

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exec(text, {"adata": adata, "pp": pp, "tl": tl, "pl": pl, "squidpy": squidpy} | names)
