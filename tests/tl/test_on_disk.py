"""Features that lie on disk: a dask array in obsm gives what the same numbers in memory give, whatever its chunks."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import anndata
import dask.array as da
import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from sklearn.neighbors import kneighbors_graph

import kronos_sc as ks
from kronos_sc._core.representation import Representation

N, MARKERS, EACH = 240, ("DAPI", "CD3", "CD8", "CD20"), 6
REP = {"use_rep": "X_kronos"}

Call = Callable[[anndata.AnnData], Any]


def reference(table: anndata.AnnData) -> anndata.AnnData:
    """Another cohort, with its markers in another order."""
    other = table[::-1].copy()
    other.uns["kronos"]["panel"] = {name: values[::-1] for name, values in table.uns["kronos"]["panel"].items()}
    return other


# One row per function that takes a representation: how it is called. A new function needs one, or a line below.
CALLS: dict[str, Call] = {
    "tl.aggregate": lambda t: ks.tl.aggregate(t, "donor", how="moments"),
    "tl.annotate": lambda t: ks.tl.annotate(t, "mine", groupby="batch"),
    "tl.ari": lambda t: ks.tl.ari(t, "type", method="kmeans", max_units=100, **REP),
    "tl.batch_metrics": lambda t: ks.tl.batch_metrics(t, "batch", metrics=["pcr"], max_units=100, **REP),
    "tl.batch_silhouette": lambda t: ks.tl.batch_silhouette(t, "batch", max_per_batch=50, **REP),
    "tl.case_retrieval": lambda t: ks.tl.case_retrieval(
        t, "group", case_key="donor", n_reference=1, n_repeats=3, **REP
    ),
    "tl.cluster": lambda t: ks.tl.cluster(t, n_clusters=4, method="minibatch", groupby="batch", scale=True),
    "tl.few_shot": lambda t: ks.tl.few_shot(t, "type", shots=(2, 5), C=1.0, **REP),
    "tl.guided_benchmark": lambda t: ks.tl.guided_benchmark(
        t, "type", groupby="batch", shots=(1, 3), n_repeats=2, min_per_class=5, **REP
    ),
    "tl.knn_probe": lambda t: ks.tl.knn_probe(t, "type", k=(1, 5), max_per_class=20, **REP),
    "tl.linear_probe": lambda t: ks.tl.linear_probe(t, "type", C=1.0, max_per_class=20, **REP),
    "tl.nhood_aggregate": lambda t: ks.tl.nhood_aggregate(t),
    "tl.niches": lambda t: ks.tl.niches(t, use_rep="X_kronos", n_pcs=5, n_niches=3),
    "tl.pca": lambda t: ks.tl.pca(t, n_comps=5, scale=True),
    "tl.retrieval_scores": lambda t: ks.tl.retrieval_scores(t, "type", scale=True, max_per_class=20, **REP),
    "tl.retrieve": lambda t: ks.tl.retrieve(t, reference=reference(t), k=3),
    "tl.stratify": lambda t: ks.tl.stratify(t, "group", case_key="donor", train_size=2, n_splits=2, **REP),
    "tl.transfer": lambda t: ks.tl.transfer(t, reference(t), target="type", C=1.0, max_per_class=20, **REP),
    "get.embedding": lambda t: ks.get.embedding(t, markers=["CD8", "DAPI"]).compute(),
    "get.feature_names": lambda t: ks.get.feature_names(t),
    "pl.cases": lambda t: offsets(ks.pl.cases(t, "X_kronos[3]", basis="X_kronos", components=(2, 5))),
    "pl.spatial": lambda t: offsets(ks.pl.spatial(t, "X_kronos[3]").ravel()[0]),
}
MORE: dict[str, Call] = {
    "every row as a query": lambda t: ks.tl.retrieve(t, k=2, groupby="donor", within="other"),
    "queries by name, out of order": lambda t: ks.tl.retrieve(t, t.obs_names[[200, 31, 32, 7]], k=2),
    "k-means of all rows": lambda t: ks.tl.cluster(t, n_clusters=4, method="kmeans"),
    "neighbourhoods of components": lambda t: ks.tl.nhood_aggregate(t, n_pcs=3),
    "bags of units": lambda t: ks.tl.stratify(
        t, "group", case_key="donor", method=ks.tl.Composition(n_clusters=3), train_size=2, n_splits=2, **REP
    ),
}
# Nothing of an embedding is read by these.
NO_REPRESENTATION = {
    "tl": {
        *("AttentionMIL", "Composition", "DenseOptions", "DenseProbe", "Logistic", "MeanMLP"),
        *("embed", "enrichment", "motif_query", "ratio_scores"),
        # these read pixels, or what was read off them
        *("artifact_map", "attention", "attention_summary", "dense_probe", "marker_ablation", "predict_map"),
    },
    "get": {"patches", "record", "result"},
    "pl": {
        *(
            "attention",
            "attention_map",
            "batch_matrix",
            "batch_pairs",
            "class_scores",
            "confusion",
            "curve",
            "enrichment",
            "image",
            "importance",
            "map",
            "markers",
            "roc",
            "scores",
        ),
        *("patches", "retrieval"),  # colours and titles come through the same door as those of pl.spatial
    },
}


def offsets(ax) -> np.ndarray:
    """Where points were drawn, and their values."""
    drawn = ax.collections[0]
    values = drawn.get_array()
    return np.c_[drawn.get_offsets(), values if values is not None else np.zeros(len(drawn.get_offsets()))]


@pytest.fixture(scope="module", autouse=True)
def _no_screen():
    mpl.use("agg")
    yield
    plt.close("all")


def features(dtype: str) -> np.ndarray:
    """Four types, three batches, and two regions that were not embedded."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(4, EACH * len(MARKERS)))
    x = (
        centres[np.arange(N) % 4]
        + 0.3 * rng.normal(size=(N, EACH * len(MARKERS)))
        + 0.2 * (np.arange(N) % 3)[:, None]
        + 2
    )
    x[60:75] = x[-5:] = np.nan
    return x.astype(dtype)


def table(x: Any) -> anndata.AnnData:
    """All that the calls above ask for."""
    number = np.arange(N)
    obs = pd.DataFrame(index=[f"c{i}" for i in number])
    for name, codes in {
        "type": number % 4,
        "batch": number % 3,
        "donor": number // 30,
        "group": number // 30 % 2,
        "fold": number // 10 % 2,
    }.items():
        obs[name] = pd.Categorical([f"{name}{code}" for code in codes])
    obs["fold"] = obs["fold"].cat.rename_categories(["0", "1"])
    obs["mine"] = obs["type"].where(number % 6 < 2)
    adata = anndata.AnnData(obs=obs, obsm={"spatial": np.random.default_rng(1).uniform(0, 100, (N, 2)), "X_kronos": x})
    panel = {"channel": np.array(MARKERS, object), "marker": np.array(MARKERS, object), "id": np.arange(len(MARKERS))}
    adata.uns["kronos"] = {
        "model": {"name": "tiny", "sha256": "1"},
        "panel": panel,
        "params": {"features": np.array(["marker"], object), "patch_size": np.array([32])},
    }
    adata.obsp["spatial_connectivities"] = kneighbors_graph(adata.obsm["spatial"], 5)
    return adata


def held_in_memory(value: Any) -> Any:
    """A result as nested dicts of arrays, without the features themselves and without timings."""
    if isinstance(value, anndata.AnnData):
        slots = {f"obsm {k}": v for k, v in value.obsm.items() if k != "X_kronos"} | {
            f"uns {k}": v for k, v in value.uns.items()
        }
        return (
            {"X": value.X}
            | {k: held_in_memory(v) for k, v in slots.items()}
            | {f"obs {k}": value.obs[k] for k in value.obs}
        )
    return {k: held_in_memory(v) for k, v in value.items()} if isinstance(value, dict) else value


def same(one: Any, two: Any, where: str = "") -> None:
    if isinstance(one, dict):
        assert one.keys() == two.keys(), where
        for key in one:
            same(one[key], two[key], f"{where}/{key}")
    elif isinstance(one, pd.DataFrame):
        pd.testing.assert_frame_equal(one, two, obj=where)
    elif isinstance(one, pd.Series):
        pd.testing.assert_series_equal(one, two, obj=where)
    elif one is not None and np.asarray(one).dtype.kind == "f":
        np.testing.assert_array_equal(np.asarray(one), np.asarray(two), err_msg=where)
    else:
        assert np.array_equal(one, two), where


LAYOUTS = {
    "odd": lambda x: da.from_array(x, chunks=((1, 100, 3, 136), (7, 17))),
    "shuffled": lambda x: da.from_array(x[::-1], chunks=(50, 24))[::-1].rechunk((61, 5)),
}


@pytest.fixture(params=[("odd", "float16"), ("shuffled", "float32")], ids="-".join, scope="module")
def both(request) -> tuple[Callable[[], anndata.AnnData], Callable[[], anndata.AnnData]]:
    """The same table with features in memory and as dask array."""
    layout, dtype = request.param
    x = features(dtype)
    return lambda: table(x.copy()), lambda: table(LAYOUTS[layout](x))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", [*CALLS, *MORE])
def test_a_dask_array_gives_what_memory_gives(both, name, monkeypatch) -> None:
    if name == "tl.batch_metrics":
        pytest.importorskip("scib_metrics")
    monkeypatch.setattr(ks.settings, "block_memory", 4 * 24 * 30)  # many blocks, which end within chunks
    found = []
    for made in both:
        adata = made()
        out = (CALLS | MORE)[name](adata)
        found.append({"table": held_in_memory(adata), "out": held_in_memory(out)})
        assert type(adata.obsm["X_kronos"]) is type(made().obsm["X_kronos"]), "the features were replaced"
    same(*found)


def test_every_function_has_its_row() -> None:
    public = {f"{room}.{name}" for room in ("tl", "pl", "get") for name in getattr(ks, room).__all__}
    without = {f"{room}.{name}" for room, names in NO_REPRESENTATION.items() for name in names}
    assert public == CALLS.keys() | without
    assert not CALLS.keys() & without
    named = {
        f"{room}.{name}"
        for room in NO_REPRESENTATION
        for name in getattr(ks, room).__all__
        if _takes_use_rep(getattr(getattr(ks, room), name))
    }
    assert named <= CALLS.keys()


def _takes_use_rep(function: Any) -> bool:
    return inspect.isfunction(function) and "use_rep" in inspect.signature(function).parameters


# What reads block by block: never more than a few blocks at a time.
STREAMED: dict[str, Call] = {
    name: CALLS[name]
    for name in ("tl.aggregate", "tl.cluster", "tl.niches", "tl.pca", "tl.retrieve", "tl.annotate", "tl.transfer")
} | {"tl.case_retrieval": CALLS["tl.case_retrieval"], "tl.retrieve all": MORE["every row as a query"]}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", STREAMED)
def test_what_streams_never_reads_more_than_a_block(name, monkeypatch) -> None:
    monkeypatch.setattr(ks.settings, "block_memory", 4 * 24 * 30)
    for name_of in (
        "_methods.clustering.VALUES_HELD",
        "_analysis.reduce.VALUES_HELD",
        "_analysis.reduce._SAMPLE_VALUES",
    ):
        monkeypatch.setattr(f"kronos_sc.{name_of}", 24 * 30)
    asked: list[int] = []
    whole = Representation.rows

    def rows(self, index=None):
        out = whole(self, index)
        if not self.in_memory:  # components of a sample are
            asked.append(len(out))
        return out

    monkeypatch.setattr(Representation, "rows", rows)
    STREAMED[name](table(da.from_array(features("float32"), chunks=(30, -1))))
    assert max(asked) <= N // 2  # four blocks of queries, or the training units of a few classes
    assert sum(asked) >= N
