"""Advice about exclusion, attention, models and features on disk, followed to the letter."""

from __future__ import annotations

import json
import warnings

import anndata
import numpy as np
import pandas as pd
import pytest
import spatialdata
from anndata import AnnData
from spatialdata.models import Labels2DModel, TableModel

from kronos_sc import io, models, pp, settings, tl

from .elements import quietly, run


@pytest.fixture
def excluded(make):
    """An image, and labels of two classes beside it that a table names."""
    sdata = make()
    codes = np.random.default_rng(3).integers(0, 3, (150, 190)).astype(np.uint8)
    sdata["map_class"] = Labels2DModel.parse(codes, dims=("y", "x"))
    obs = pd.DataFrame(
        {"region": pd.Categorical(["map_class"] * 2), "code": [1, 2], "class": ["artifact", "tissue"]}, index=["1", "2"]
    )
    sdata["map_class_table"] = TableModel.parse(
        AnnData(obs=obs), region="map_class", region_key="region", instance_key="code"
    )
    return sdata


@pytest.mark.row(
    "`exclude=` names labels or classes that do not exist", "classes by name, and no table names the codes"
)
def test_what_is_excluded_exists(excluded, advice):
    how = {"model": "mean-marker", "table_key": "table"}
    for wrong in ("mapclass", {"map_class": "artefact"}):
        message = advice.of(lambda w=wrong: tl.embed(excluded, exclude=w, **how))
        quietly(
            tl.embed,
            excluded,
            exclude=advice.corrected(message, {"exclude": wrong})["exclude"]
            if isinstance(wrong, str)
            else {"map_class": "artifact"},
            **how,
        )
    message = advice.of(lambda: tl.embed(excluded, exclude={"map_class": []}, **how))
    quietly(pp.tile, excluded, size=32, exclude=eval(advice.code(message, "{'map_class'")), max_excluded=1.0)
    message = advice.of(lambda: tl.embed(excluded, exclude={"cells": "artifact"}, **how))
    quietly(pp.tile, excluded, size=32, exclude=advice.keyword(message, "exclude"), key_added="b")
    obs = pd.DataFrame({"region": pd.Categorical(["cells"]), "code": [3], "class": ["artifact"]}, index=["1"])
    legend = spatialdata.models.TableModel.parse(
        AnnData(obs=obs), region="cells", region_key="region", instance_key="code"
    )
    assert "link a table with spatialdata.models.TableModel.parse" in message
    excluded["legend"] = legend
    quietly(pp.tile, excluded, size=32, exclude={"cells": "artifact"}, key_added="c")


@pytest.mark.row("several images, labels with the number of none", "every unit, box or pixel is excluded")
def test_labels_of_their_image(make, advice):
    sdata = make((64, 64), table=False)
    for number in (1, 2):
        sdata[f"image_{number}"] = sdata["image"]
        sdata[f"cells_{number}"] = sdata["cells"]
        pp.label_table(sdata, labels_key=f"cells_{number}", key_added=f"t{number}")
    sdata["all"] = Labels2DModel.parse(np.ones((64, 64), np.uint8), dims=("y", "x"))
    del sdata.images["image"]
    how = {"model": "mean-marker", "table_key": "t1"}
    message = advice.of(lambda: tl.embed(sdata, exclude="all", **how))
    assert "Exclude fewer classes" in message
    every = sdata["t1"].copy()
    del every.uns["spatialdata_attrs"]
    every.obs["region"] = pd.Categorical(["cells_2"] * every.n_obs)
    every = TableModel.parse(every, region="cells_2", region_key="region", instance_key="cell_id")
    both = anndata.concat([sdata["t1"], every])
    both.obs_names_make_unique()
    sdata["both"] = TableModel.parse(both, region=["cells_1", "cells_2"], region_key="region", instance_key="cell_id")
    sdata["dirt"] = Labels2DModel.parse(np.eye(64, dtype=np.uint8), dims=("y", "x"))
    message = advice.of(lambda: tl.embed(sdata, exclude="dirt", model="mean-marker", table_key="both"))
    assert "Name labels like their image (image_3: artifacts_3)" in message
    sdata["dirt_1"] = sdata["dirt"]
    quietly(tl.embed, sdata, exclude="dirt_1", model="mean-marker", table_key="both")
    sdata["artifacts"] = Labels2DModel.parse(np.tile(np.arange(64) % 5 == 0, (64, 1)).astype(np.uint8), dims=("y", "x"))
    quietly(tl.embed, sdata, exclude="artifacts", **how)
    assert "Raise max_excluded" in advice.of(
        lambda: pp.tile(sdata, size=32, image_key="image_1", exclude="artifacts", max_excluded=0.01)
    )
    pp.tile(sdata, size=32, image_key="image_1", exclude="artifacts", max_excluded=0.3)


BOX = {"type": "Polygon", "coordinates": [[[5, 5], [15, 5], [15, 15], [5, 15], [5, 5]]]}


@pytest.mark.row("a file that is no GeoJSON, or holds no area", "outlines beside the image")
def test_outlines_are_exported_again(make, tmp_path, advice):
    sdata = make(table=False)
    path = tmp_path / "drawn.geojson"
    good = {"type": "FeatureCollection", "features": [{"type": "Feature", "geometry": BOX, "properties": {}}]}
    for content, says in (
        ("{not", "Export it again"),
        (json.dumps(BOX | {"type": "Topology"}), "Export the objects again"),
    ):
        path.write_text(content)
        assert says in advice.of(lambda: io.read_geojson(sdata, path))
    path.write_text(json.dumps(good))
    io.read_geojson(sdata, path)
    big = make((60, 70), table=False)
    far = json.loads(json.dumps(good).replace("15", "1015").replace("5,", "1005,"))
    path.write_text(json.dumps(far))
    assert "Name the image that was drawn on with image_key=" in advice.of(lambda: io.read_geojson(big, path))
    big["large"] = spatialdata.models.Image2DModel.parse(np.zeros((1, 1100, 1100), np.uint8), c_coords=["DAPI"])
    io.read_geojson(big, path, image_key="large")


@pytest.mark.row(
    "a model without attention over markers (mean marker, DINOv2, UNI)",
    "unknown method, head or block",
    "the gradient of an earlier block; a direction of marker features, or for another method",
    "an argument that `tl.embed` does not have",
    "unknown units, none, or units of regions that are not read",
    "`key_added` of an embedding",
    "a summary without a result, or of one group",
)
def test_attention(make, tiny, advice):
    sdata = make((40, 60))

    def attend(**how):
        return quietly(tl.attention, sdata, **({"model": tiny, "precision": "float32"} | how))

    message = advice.of(lambda: attend(model="mean-marker"))
    assert "('kronos', 'ca-mae'), or see what dropping a marker changes with tl.marker_ablation" in message
    quietly(tl.marker_ablation, sdata, model="mean-marker")
    attend()
    for wrong in ({"method": "xai"}, {"head": "last"}):
        attend(**advice.corrected(advice.of(lambda w=wrong: attend(**w)), wrong))
    assert "layer can be 0 to 3, or -1" in advice.of(lambda: attend(layer=4))
    attend(layer=3)
    direction = np.ones(48, np.float32)
    message = advice.of(lambda: attend(method="gradient", layer=0, direction=direction))
    attend(method="gradient", direction=direction)  # leave layer out
    attend(method=advice.keyword(message.split("or pass ")[1], "method"), layer=0)
    message = advice.of(lambda: attend(method="cls", direction=direction))
    attend(method=advice.keyword(message.split("or pass ")[1], "method"), direction=direction)
    attend(patch_size=64, **({} if "'patch_size'" in advice.of(lambda: attend(patchsize=64)) else {"fail": 1}))
    message = advice.of(lambda: attend(ids=["none"]))
    attend(ids=[message.split("names look like '")[1].split("'")[0]], key_added="few")
    tl.embed(sdata, model="mean-marker", key_added="kronos")
    message = advice.of(lambda: attend(key_added="kronos"))
    attend(**advice.corrected(message, {"key_added": "kronos"}))
    table = sdata["table"]
    table.obs["kind"] = pd.Categorical(np.array(["a", "b"])[np.arange(table.n_obs) % 2])
    table.obs["one"] = "x"
    assert "Name another column with groupby=" in advice.of(lambda: tl.attention_summary(table, "one"))
    tl.attention_summary(table, "kind")
    message = advice.of(lambda: tl.attention_summary(table, "kind", key="spatial"))
    assert "Run tl.attention first, or name its key_added" in message


@pytest.mark.row(
    "maps of more units than fit `uns`",
    "fewer units under a key that has the attention of more (`ids=…` without `key_added=`)",
    "groups without attention",
)
def test_attention_of_a_few(make, tiny, advice, monkeypatch):
    sdata = make((40, 60))
    table = sdata["table"]
    how = {"model": tiny, "precision": "float32"}
    tl.attention(sdata, **how)
    with pytest.warns(UserWarning, match=r"Name key_added=") as caught:
        tl.attention(sdata, ids=list(table.obs_names[:2]), **how)
    name = str(caught[0].message).split("such as '")[1].split("'")[0]
    table.obs["kind"] = pd.Categorical(["a", "b", *["c"] * (table.n_obs - 2)])
    with pytest.warns(UserWarning, match=r"Compute them with tl.attention\(ids=\.\.\.\)"):
        tl.attention_summary(table, "kind")
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        tl.attention(sdata, ids=list(table.obs_names[:2]), key_added=name, **how)
        tl.attention(sdata, **how)
        tl.attention_summary(table, "kind")


@pytest.mark.row(
    "markers to drop that are not in the panel; a panel of one", "classes that the drawn units of the other folds lack"
)
def test_ablation(make, advice):
    sdata = make()
    table = sdata["table"]

    def ablate(**how):
        return quietly(tl.marker_ablation, sdata, **({"model": "mean-marker"} | how))

    for wrong in ({"markers": ["CD99"]}, {"features": "token"}):
        ablate(**advice.corrected(advice.of(lambda w=wrong: ablate(**w)), wrong))
    assert "Use more channels (channels=)" in advice.of(lambda: ablate(channels=["DAPI"]))
    ablate(channels=["DAPI", "CD3"])
    table.obs["kind"] = pd.Categorical(np.array(["a", "b"])[np.arange(table.n_obs) % 2])
    table.obs["fold"] = table.obs["kind"].astype(str)
    message = advice.of(lambda: ablate(target="kind"))
    assert "make other folds with pp.spatial_folds" in message
    pp.spatial_folds(table, key_added="folds")
    ablate(target="kind", fold_key="folds")


@pytest.mark.row(
    "an unknown model name",
    "`blocks=` or `token_overlap=` for a model without them",
    "`fit=` or `blocks=` for `ca-mae`, any option for `mean-marker+`; `weights=` a file that is not there",
)
def test_models_by_name(advice):
    message = advice.of(lambda: models.load("kronos-untraind"))
    assert message.split("Did you mean '")[1].split("'")[0] == "kronos-untrained"
    for wrong in ({"token_overlap": True}, {"weights": "x.pth"}):
        message = advice.of(lambda w=wrong: models.load("mean-marker+", **w))
        assert "eave" in message
        models.load("mean-marker+")


@pytest.mark.row(
    '`store=1`, `store=""`',
    "`store=` of a call with other parameters, pixels or units",
    "`store=` names something else: a folder, a Zarr group, a SpatialData",
    "`store=True` of a SpatialData in memory",
    "`store=` is an address (`s3://…`)",
    "`store=` of a table of which a part is left, or in another order",
    "a damaged or lost index of rows",
)
def test_features_find_a_place(make, tmp_path, monkeypatch, advice):
    monkeypatch.chdir(tmp_path)
    sdata = make((60, 70))

    def embed(**how):
        return quietly(tl.embed, sdata, **({"model": "mean-marker"} | how))

    for wrong in (1, "", True, "s3://bucket/x.zarr"):
        message = advice.of(lambda w=wrong: embed(store=w))
    message = advice.of(lambda: embed(store=1))
    embed(store=advice.keyword(message.split("; write ")[1], "store"))
    message = advice.of(lambda: embed(store="features.zarr", mask_fill="zero"))
    assert "choose another place with store=, or start again with overwrite=True" in message
    embed(store="other.zarr", mask_fill="zero")
    embed(store="features.zarr", mask_fill="zero", overwrite=True)
    message = advice.of(lambda: embed(store=True))
    assert "name a folder with store=, or keep them in memory with store=False" in message
    embed(store=False)
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "thesis.docx").write_text("x")
    assert "Choose another place with store=" in advice.of(lambda: embed(store="folder", overwrite=True))
    embed(store="third.zarr")
    sdata.tables["table"] = sdata["table"][3:].copy()
    message = advice.of(lambda: embed(store="third.zarr"))
    quietly(run, advice.code(message, "io.read_embedding("), sdata)
    index = next(path for path in (tmp_path / "third.zarr" / "row").rglob("*") if path.is_file() and "/c" in str(path))
    index.write_bytes(b"")
    message = advice.of(lambda: quietly(io.read_embedding, sdata, "third.zarr"))
    assert "tl.embed(..., overwrite=True)" in message
    embed(store="third.zarr", overwrite=True)


@pytest.mark.row(
    "`io.read_embedding(sdata)` with no store beside it, or several",
    "`store=` within the SpatialData",
    "`io.write_embedding` of a SpatialData that is in memory only",
    "no such embedding; one whose features or column are gone",
    "a store that was moved; a table that is not in it",
    "other rows, or another order, than in the store",
    'several embeddings and none named, none of them "kronos"',
)
def test_features_of_a_store(make, stored, tmp_path, advice):
    sdata = make((60, 70))
    tl.embed(sdata, model="mean-marker", key_added="one")
    path = tmp_path / "tissue.zarr"
    text = advice.code(advice.of(lambda: io.write_embedding(sdata)), "sdata.write(")
    quietly(run, text, sdata, path=path)
    sdata = spatialdata.read_zarr(path)
    message = advice.of(lambda: io.write_embedding(sdata, key="kronos"))
    io.write_embedding(sdata, **advice.corrected(message, {"key": "kronos"}))
    assert "beside it with store=True" in advice.of(
        lambda: tl.embed(sdata, model="mean-marker", store=path / "x.zarr")
    ).replace("Write beside", "beside")
    message = advice.of(lambda: io.read_embedding(sdata))
    quietly(run, advice.code(message, "tl.embed(").replace("store=True", "store=True, model='mean-marker'"), sdata)
    io.read_embedding(sdata)
    tl.embed(sdata, model="mean-marker", store=True, key_added="two")
    quietly(run, advice.code(advice.of(lambda: io.read_embedding(sdata)), "io.read_embedding("), sdata)
    del sdata["table"].obs["two_edge"]
    message = advice.of(lambda: io.write_embedding(sdata, key="two"))
    assert "tl.embed(sdata)" in message
    tl.embed(sdata, model="mean-marker", key_added="two", store=False)
    assert "Choose one with key=" in advice.of(lambda: io.write_embedding(sdata))
    io.write_embedding(sdata, key="two")
    sdata.tables["table"] = sdata["table"][2:].copy()
    message = advice.of(lambda: io.write_embedding(sdata, key="two"))
    quietly(run, advice.code(message, "sdata.delete_element_from_disk("), sdata)
    assert "then sdata.write_element('table')" in message
    absent = advice.of(lambda: io.write_embedding(sdata, key="two"))
    quietly(run, advice.code(absent, "sdata.write_element("), sdata)
    io.write_embedding(sdata, key="two")


@pytest.mark.row('`settings.read_threads = 0`, `settings.memory = "8 GB"`')
def test_settings(advice, monkeypatch):
    message = advice.of(lambda: setattr(settings, "memory", "8 GB"))
    before = settings.memory
    try:
        settings.memory = None if "or None" in message else 1
    finally:
        settings.memory = before
    assert "a whole number of at least 1" in advice.of(lambda: setattr(settings, "read_threads", 0))
    monkeypatch.setattr(settings, "read_threads", 1)
