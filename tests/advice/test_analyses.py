"""Advice of the analyses of a table, followed to the letter."""

from __future__ import annotations

import re
import warnings

import anndata
import numpy as np
import pandas as pd
import pytest

import kronos_sc as ks
from kronos_sc import pl, pp, tl

from .tables import PROBE, REP, SILHOUETTE, call, run, units


@pytest.mark.row(
    "fewer than two classes or folds; unknown target, folds or representation", "no unit with a class is in a fold"
)
@pytest.mark.parametrize("fold", [None, "same"])
def test_folds_are_made(advice, fold):
    adata = units(fold=[fold] * 120)
    message = advice.of(lambda: call(tl.linear_probe, adata, **PROBE))
    run(advice.code(message, "pp.spatial_folds("), adata)
    call(tl.linear_probe, adata, **PROBE)


@pytest.mark.row("a class with one member, or one that the other folds do not hold twice")
def test_rare_classes_are_shared_out_or_set_to_missing(advice):
    kind = np.array(["A", "B", "C"], object)[np.arange(120) % 3]
    kind[np.arange(120) % 24 < 3] = "Rare"  # all of them in one fold
    adata = units(kind=pd.Categorical(kind))
    message = advice.of(lambda: call(tl.linear_probe, adata, **PROBE))
    dealt = adata.copy()
    run(advice.code(message, "pp.spatial_folds(").replace("...", "60"), dealt)
    call(tl.linear_probe, dealt, **PROBE)
    assert "set obs['kind'] to missing there" in message
    adata.obs["kind"] = adata.obs["kind"].cat.remove_categories("Rare")
    call(tl.linear_probe, adata, **PROBE)


@pytest.mark.row("`tl.few_shot`: an order that is text or lacks ranks")
def test_an_order_is_made(advice):
    adata = units()
    how = PROBE | {"shots": (2, 4)}
    for key in ("image", "ranks"):
        adata.obs["ranks"] = [np.nan, *range(119)]
        wrong = how | {"order_key": key}
        message = advice.of(lambda wrong=wrong: call(tl.few_shot, adata, **wrong))
        run(advice.code(message, "pp.nested_subsets("), adata)
        call(tl.few_shot, adata, order_key=advice.keyword(message, "order_key"), **how)


@pytest.mark.row("`tl.annotate`: every unit is labelled already")
def test_some_labels_are_taken_away(advice):
    adata = units()
    message = advice.of(lambda: call(tl.annotate, adata, target="kind"))
    text = advice.code(message, "tl.guided_benchmark(")
    run(text.replace(")", ", shots=(1,), n_repeats=1, min_per_class=10, use_rep='X_kronos', groupby='image')"), adata)
    adata.obs["kind"] = eval(
        advice.code(message, "adata.obs['kind'].where("), {"adata": adata, "known": np.arange(120) % 5 == 0}
    )
    call(tl.annotate, adata, target="kind")
    assert adata.obs["kind"].isna().any()


@pytest.mark.row(
    "`tl.annotate`: some groups have labels of fewer than two classes",
    "`tl.guided_benchmark`: images without two classes large enough",
)
def test_groups_are_joined(recwarn):
    adata = units(some=[["A", "B"][i % 3] if i % 3 < 2 and i // 3 % 2 == 0 else None for i in range(120)])
    with pytest.warns(UserWarning, match=r"Label some units there, or leave groupby out"):
        tl.annotate(adata, "some", groupby="image")
    recwarn.clear()
    tl.annotate(adata, "some", key_added="again")
    assert not recwarn.list


@pytest.mark.row("quadrant without a unit", "NaN among coordinates, units without an image")
def test_positions_of_all_units(advice):
    adata = units()
    adata.obsm["spatial"] = np.repeat(np.linspace(0, 100, 120)[:, None], 2, axis=1)  # on a diagonal
    message = advice.of(lambda: call(pp.spatial_folds, adata))
    assert "block_size= or groupby=" in message
    call(pp.spatial_folds, adata, groupby="donor")
    adata = units()
    adata.obsm["spatial"][3] = np.nan
    assert "Drop them first, or use groupby=" in advice.of(lambda: call(pp.spatial_folds, adata))
    call(pp.spatial_folds, adata[np.isfinite(adata.obsm["spatial"]).all(axis=1)].copy())
    call(pp.spatial_folds, adata, groupby="donor")
    adata = units(image=pd.Categorical([None, *["left"] * 119]))
    assert "Name it, or drop them" in advice.of(lambda: call(pp.spatial_folds, adata, library_key="image"))
    call(pp.spatial_folds, adata[1:].copy(), library_key="image")


@pytest.mark.row("a value of `stratify` that some fold cannot get")
def test_fewer_folds():
    adata = units(rare=["rare" if i // 3 % 12 < 2 else "common" for i in range(120)])
    with pytest.warns(UserWarning, match=r"Lower n_folds"):
        pp.spatial_folds(adata, n_folds=4, groupby="donor", stratify="rare")
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        pp.spatial_folds(adata, n_folds=2, groupby="donor", stratify="rare")


@pytest.mark.row(
    "a SpatialData where a table is needed", "`key_added` that names the column tying a table to its elements"
)
def test_the_table_is_passed(make, advice):
    sdata = make((64, 64))
    tl.embed(sdata, model="mean-marker", key_added="kronos")
    message = advice.of(lambda: tl.cluster(sdata, n_clusters=2))
    adata = eval(advice.code(message, "sdata["), {"sdata": sdata})
    message = advice.of(lambda: call(tl.cluster, adata, n_clusters=2, key_added="cell_id"))
    call(tl.cluster, adata, **advice.corrected(message, {"n_clusters": 2, "key_added": "cell_id"}))


@pytest.mark.row(
    "no graph, or one of another name",
    "graph without edges",
    "graph over several images as if they lay on top of each other",
)
def test_a_graph_is_built(advice):
    adata = units()
    message = advice.of(lambda: tl.nhood_aggregate(adata))
    run(advice.code(message, "squidpy.gr.spatial_neighbors_knn("), adata)
    tl.nhood_aggregate(adata)
    message = advice.of(lambda: tl.nhood_aggregate(adata, connectivity_key="connectivities"))
    tl.nhood_aggregate(adata, **advice.corrected(message, {"connectivity_key": "connectivities"}))
    adata.obsp["spatial_connectivities"] = adata.obsp["spatial_connectivities"] * 0
    message = advice.of(lambda: tl.nhood_aggregate(adata))
    run(advice.code(message, "squidpy.gr.spatial_neighbors_knn("), adata)
    tl.nhood_aggregate(adata)


@pytest.mark.row("graph over several images as if they lay on top of each other")
def test_a_graph_per_image(advice):
    sdata = ks.datasets.tissue(shape=(96, 96), n_images=2)
    adata = sdata["table"]
    adata.obsm["X_kronos"] = np.random.default_rng(0).normal(size=(adata.n_obs, 4)).astype(np.float32)
    run("squidpy.gr.spatial_neighbors_knn(adata, n_neighs=4)", adata)
    with pytest.warns(UserWarning, match=r"Build the graph again with library_key='element'") as caught:
        tl.nhood_aggregate(adata)
    said = " ".join(str(hit.message) for hit in caught)
    run(
        f"squidpy.gr.spatial_neighbors_knn(adata, n_neighs=4, library_key={advice.keyword(said, 'library_key')!r})",
        adata,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        tl.nhood_aggregate(adata)


@pytest.mark.row("plot of a result that does not exist, of another function, or with several lines per score")
def test_the_plot_that_fits(advice):
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    adata = units()
    call(tl.linear_probe, adata, key_added="probe", **PROBE)
    call(tl.few_shot, adata, key_added="few", **(PROBE | {"shots": (2, 4)}))
    call(tl.cluster, adata, n_clusters=2, key_added="clusters")
    pl.scores(adata, **advice.corrected(advice.of(lambda: pl.scores(adata, "prob")), {"key": "prob"}))
    run(advice.code(advice.of(lambda: pl.curve(adata, "probe")), "pl.scores("), adata)
    message = advice.of(lambda: pl.scores(adata, "few"))
    run(advice.code(message, "pl.curve("), adata)
    pl.scores(adata, "few", at=advice.keyword(message, "at"))
    assert "Draw a result of tl.ari, tl.linear_probe" in advice.of(lambda: pl.scores(adata, "clusters"))
    for wrong in ({"metrics": ["accuracy"]}, {"representation": ["kronus"]}, {"error": "sem"}):
        pl.scores(adata, "probe", **advice.corrected(advice.of(lambda w=wrong: pl.scores(adata, "probe", **w)), wrong))
    plt.close("all")


@pytest.mark.row("fewer than two conditions, or a condition with too few units")
def test_a_small_condition_is_left_out(advice):
    adata = units(rare=["lone", *np.array(["a", "b"])[np.arange(119) % 2]])
    message = advice.of(lambda: call(tl.batch_silhouette, adata, **(SILHOUETTE | {"batch_key": "rare"})))
    rest = eval(advice.code(message, "adata[~").replace("...", "'lone'"), {"adata": adata}).copy()
    call(tl.batch_silhouette, rest, **(SILHOUETTE | {"batch_key": "rare"}))


@pytest.mark.row(
    "`pl.batch_pairs` for a pair whose coordinates were not kept", "`ax` for several pairs or representations"
)
def test_pairs_are_kept(advice):
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    adata = units(batch=np.array(["a", "b", "c"])[np.arange(120) % 3])
    adata.obsm["X_two"] = adata.obsm["X_kronos"][:, ::-1].copy()
    how = {"batch_key": "batch", "n_init": 1, "use_rep": ["X_kronos", "X_two"], "key_added": "s"}
    call(tl.batch_silhouette, adata, keep=[("a", "b")], **how)
    message = advice.of(lambda: pl.batch_pairs(adata, "s", pairs=[("a", "c")]))
    call(tl.batch_silhouette, adata, keep=advice.keyword(message, "keep"), **how)
    pl.batch_pairs(adata, "s", pairs=[("a", "c")])
    ax = plt.figure().add_subplot()
    message = advice.of(lambda: pl.batch_pairs(adata, "s", ax=ax))
    assert "Choose one of each with pairs= and representation=, or leave ax out" in message
    pl.batch_pairs(
        adata, "s", pairs=[("a", "c")], representation=adata.uns["s"]["scores"]["representation"].iloc[0], ax=ax
    )
    plt.close("all")


@pytest.mark.row(
    "scIB metrics within labels without `label_key`, or no label in two batches", "unknown `batch_key` or `label_key`"
)
def test_metrics_that_need_no_labels(advice):
    adata = units(apart=np.array(["x", "y"])[np.arange(120) // 3 % 2])
    how = {"batch_key": "group", "metrics": ["bras", "pcr"]} | REP
    message = advice.of(lambda: call(tl.batch_metrics, adata, **how))
    assert "with label_key=, or leave them out of metrics" in message
    call(tl.batch_metrics, adata, **(how | {"metrics": ["pcr"]}))
    call(tl.batch_metrics, adata, label_key="kind", **how)
    wrong = how | {"label_key": "apart"}
    assert "Leave label_key out" in advice.of(lambda: call(tl.batch_metrics, adata, **wrong))
    assert "leave them out of metrics" in advice.of(
        lambda: call(tl.batch_metrics, adata, **advice.corrected("Leave label_key out", wrong))
    )
    message = advice.of(lambda: call(tl.batch_metrics, adata, **(how | {"label_key": "knid"})))
    call(tl.batch_metrics, adata, **advice.corrected(message, how | {"label_key": "knid"}))


@pytest.mark.row(
    "a query that is no unit, or a column that is not true and false, or true for none",
    "repeated `obs_names`",
    "a named query with NaN in the embedding",
)
def test_queries_by_name(advice):
    adata = units(nobody=[False] * 120)
    message = advice.of(lambda: tl.retrieve(adata, "image"))
    tl.retrieve(adata, eval(advice.code(message, "adata.obs_names[").replace("...", "'left'"), {"adata": adata}))
    assert "Choose another column, or names of units" in advice.of(lambda: tl.retrieve(adata, "nobody"))
    adata.obsm["X_kronos"][4] = np.nan
    assert "Embed them, or choose others" in advice.of(lambda: tl.retrieve(adata, ["u4"]))
    call(tl.retrieve, adata, query=["u5"])
    adata.obs_names = ["u", "u", *adata.obs_names[2:]]
    run(advice.code(advice.of(lambda: tl.retrieve(adata, ["u"])), "adata.obs_names_make_unique("), adata)
    call(tl.retrieve, adata, query=["u"])


@pytest.mark.row("groups with fewer than k others", "a motif that no unit holds")
def test_a_smaller_question():
    adata = units(pair=["few"] * 2 + ["many"] * 118)
    with pytest.warns(UserWarning, match=r"Lower k, or see groupby="):
        tl.retrieve(adata, k=3, groupby="pair", within="same")
    with pytest.warns(UserWarning, match=r"Enlarge radius, or ask for fewer types"):
        tl.motif_query(adata, ["A", "B", "C"], target="kind", radius=0.01)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        tl.retrieve(adata, k=1, groupby="pair", within="same")
        tl.motif_query(adata, ["A", "B", "C"], target="kind", radius=200)


@pytest.mark.row("neither target nor compositions to score by; counts instead of shares")
def test_counts_become_shares(advice):
    adata = units()
    counts = np.random.default_rng(0).integers(1, 9, (120, 3)).astype(float)
    adata.obsm["counts"] = pd.DataFrame(counts, index=adata.obs_names, columns=list("ABC"))
    how = {"composition_key": "counts", "max_per_class": None} | REP
    assert "Divide counts by their sum" in advice.of(lambda: call(tl.retrieval_scores, adata, **how))
    adata.obsm["counts"] = adata.obsm["counts"].div(adata.obsm["counts"].sum(axis=1), axis=0)
    call(tl.retrieval_scores, adata, **how)
    message = advice.of(lambda: call(tl.retrieval_scores, adata, max_per_class=None, **REP))
    call(tl.retrieval_scores, adata, composition_key="counts", max_per_class=None, **REP)
    assert advice.keyword(message, "composition_key") == "composition"


@pytest.mark.row("units with NaN; cases with nothing else")
def test_units_without_numbers_are_left_out_beforehand():
    adata = units()
    adata.obsm["X_kronos"][:3] = np.nan
    with pytest.warns(UserWarning, match=r"embed them, or subset the table"):
        tl.aggregate(adata, "donor")
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        tl.aggregate(adata[np.isfinite(adata.obsm["X_kronos"]).all(axis=1)].copy(), "donor")


@pytest.mark.row("enrichment of so few cases that no p can be below 0.05")
def test_the_effect_is_read():
    adata = units()
    few = adata[adata.obs["donor"].isin([f"d{i:02}" for i in range(6)])].copy()
    with pytest.warns(UserWarning, match=r"Read effect, not p_value"):
        tl.enrichment(few, "kind", group_key="group", case_key="donor", key_added="e")
    assert any("effect" in getattr(entry, "columns", ()) for entry in few.uns["e"].values())


@pytest.mark.row("a principal component that was not computed")
def test_more_components(advice):
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    adata = units()
    cases = call(tl.aggregate, adata, case_key="donor")
    message = advice.of(lambda: pl.cases(cases, components=(1, 4)))
    pl.cases(
        call(tl.aggregate, adata, case_key="donor", n_components=advice.keyword(message, "n_components")),
        components=(1, 4),
    )
    plt.close("all")


@pytest.mark.row('`tl.pca(use_rep="X")` where `X_pca` is scanpy\'s')
def test_components_of_scanpy_stay_or_go(advice):
    adata = units()
    adata = anndata.AnnData(adata.obsm["X_kronos"], obs=adata.obs, obsm={"X_pca": np.ones((120, 2))})
    message = advice.of(lambda: tl.pca(adata, use_rep="X", n_comps=2))
    tl.pca(adata, use_rep="X", n_comps=2, key_added=advice.keyword(message, "key_added"))
    run(advice.code(message, "del adata"), adata)
    tl.pca(adata, use_rep="X", n_comps=2)


@pytest.mark.row(
    "two tables, features of different models or kinds",
    "two tables, no marker in common",
    "two tables, windows of other sizes",
    "two tables, features without a record of `tl.embed`",
    "`tl.transfer`: fewer than two classes with two units in the reference",
    "`tl.transfer`: mean marker expression that does not line up, or an embedding of one table only",
)
def test_two_tables_that_fit_together(make, advice):
    def transfer():
        return call(tl.transfer, first["table"], reference=second["table"], target="kind", use_rep="X_rep", C=1.0)

    first = make((64, 90))
    second = make((64, 90), seed=1)
    for sdata in (first, second):
        n = sdata["table"].n_obs
        sdata["table"].obs["kind"] = pd.Categorical(np.array(["A", "B"])[np.arange(n) % 2])
        tl.embed(sdata, model="mean-marker", key_added="rep")
    tl.embed(second, model="mean-marker+", key_added="rep")
    assert "Embed both tables with one model" in advice.of(transfer)
    tl.embed(second, model="mean-marker", key_added="rep", patch_size=32)
    with pytest.warns(UserWarning, match=r"Embed both with one patch_size="):
        tl.transfer(first["table"], reference=second["table"], target="kind", use_rep="X_rep", C=1.0)
    tl.embed(second, model="mean-marker", key_added="rep", channels=["DAPI", "CD3"])
    tl.embed(first, model="mean-marker", key_added="rep", channels=["CD8", "CD20"], require_nuclear=False)
    message = advice.of(transfer)
    assert "tl.embed(sdata, channels={...})" in message
    tl.embed(first, model="mean-marker", key_added="rep", channels={"CD8": "CD3", "CD3": "CD8"})
    transfer()
    for table in (first["table"], second["table"]):
        del table.uns["rep"]
    message = advice.of(transfer)
    assert re.search(r"Embed both with tl\.embed\(sdata\)", message)
    tl.embed(first, model="mean-marker", key_added="rep")
    tl.embed(second, model="mean-marker", key_added="rep")
    transfer()
    reference = second["table"]
    reference.obs["sort"] = reference.obs["kind"]
    first["table"].obs["sort"] = first["table"].obs["kind"]
    reference.obs["kind"] = pd.Categorical(["B", *["A"] * (reference.n_obs - 1)])
    assert "Choose another target=" in advice.of(transfer)
    call(tl.transfer, first["table"], reference=reference, target="sort", use_rep="X_rep", C=1.0)
