"""Attention per unit and marker: slots, invariances, drawn units, maps, summaries, errors."""

from __future__ import annotations

import warnings

import anndata
import numpy as np
import pytest
import spatialdata
import torch
from numpy.testing import assert_allclose

import kronos_sc as ks
from kronos_sc._core.record import is_embedding
from kronos_sc._core.representation import representations
from kronos_sc.models.views.attention import AttentionView

KEY = "kronos_attention"


@pytest.fixture(scope="module")
def sdata(make):
    data = make(shape=(150, 190))
    data["table"].obs["kind"] = np.resize(["a", "b/c", "b/c"], data["table"].n_obs)
    return data


@pytest.fixture(scope="module")
def plain(sdata, tiny):
    return ks.tl.attention(sdata, model=tiny, precision="float32", inplace=False)


def attention(sdata, tiny, **kwargs):
    table = ks.tl.attention(sdata, model=tiny, inplace=False, **({"precision": "float32"} | kwargs))
    return table.obsm[kwargs.get("key_added", KEY)]


def class_rows(net, pixels, ids):
    """Return what the class token attends to in the last block that runs (b, h, t), by a matrix made in full."""
    x, _ = net.embed(pixels, ids)
    for index in net.running[:-1]:
        x = net.block(index)(x)
    last = net.block(net.running[-1])
    q, k, _ = last.attn.split(last.norm1(x))
    return torch.softmax(q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5, -1)[:, :, 0]


def test_equals_the_network_asked_unit_by_unit(sdata, tiny, plain):
    names = list(plain.obs_names[[3, 11]])
    windows = ks.get.patches(sdata, names)
    panel = ks.get.result(plain, KEY)
    record = ks.tl.embed(sdata, model=tiny, inplace=False).uns["kronos"]["panel"]
    x = (windows.to_numpy() / 65535 - record["mean"][:, None, None]) / record["std"][:, None, None]
    x = np.where(windows.coords["mask"].to_numpy()[:, None], x, 0).astype(np.float32)
    rows = class_rows(tiny.net, torch.from_numpy(x), torch.as_tensor(record["id"])[None].expand(2, -1))
    expected = rows[:, 0, 5:].unflatten(1, (5, 16)).sum(2)
    assert_allclose(plain.obsm[KEY].loc[names], expected, atol=1e-5)
    assert list(panel["marker"]) == list(plain.obsm[KEY].columns) == ["DAPI", "CD3", "CD8", "CD20", "CYTOKERATIN"]


def test_z_scores_are_taken_marker_by_marker(plain):
    raw, z = (plain.obsm[name].to_numpy() for name in (KEY, f"{KEY}_z"))
    assert raw.dtype == z.dtype == np.float32
    assert_allclose(z, (raw - raw.mean(0)) / raw.std(0), atol=2e-3)
    panel = ks.get.result(plain, KEY)
    assert_allclose(panel["mean"], raw.mean(0), rtol=1e-5)
    assert_allclose(panel["sd"], raw.std(0), rtol=1e-3)


def test_batches_and_blocks_do_not_matter(sdata, tiny, plain, monkeypatch):
    monkeypatch.setattr(ks.settings, "block_memory", 60_000)
    for size in (1, 7):
        assert_allclose(attention(sdata, tiny, batch_size=size), plain.obsm[KEY], atol=1e-6)


@pytest.mark.parametrize("method", ["cls", "rollout"])
def test_order_of_channels_only_permutes_columns(sdata, tiny, method):
    one = attention(sdata, tiny, method=method)
    other = attention(sdata, tiny, method=method, channels=["CD8", "DAPI", "CYTOKERATIN", "CD20", "CD3"])
    assert_allclose(one[other.columns], other, atol=1e-5)


def test_bfloat16_is_near(sdata, tiny, plain):
    rough = attention(sdata, tiny, precision="bfloat16").to_numpy()
    assert np.linalg.norm(rough - plain.obsm[KEY]) < 0.05 * np.linalg.norm(rough)


def test_units_named_are_those_of_all(sdata, tiny, plain):
    ids = [plain.obs_names[i] for i in (20, 2, 9)]
    some = ks.tl.attention(sdata, model=tiny, ids=ids, precision="float32", inplace=False)
    assert_allclose(some.obsm[KEY].loc[ids], plain.obsm[KEY].loc[ids], atol=1e-6)
    assert int(some.obsm[KEY].isna().all(axis=1).sum()) == some.n_obs - 3
    assert_allclose(some.obsm[f"{KEY}_z"].loc[ids].mean(), 0, atol=1e-5)


def test_fewer_units_under_the_same_key_are_a_warning(sdata, tiny, plain):
    from spatialdata import SpatialData

    data = SpatialData(images=dict(sdata.images), labels=dict(sdata.labels), tables={"table": plain.copy()})
    some = {"model": tiny, "ids": list(plain.obs_names[:2])}
    ks.tl.attention(data, key_added="attention_maps", **some)
    ks.tl.attention(data, inplace=False, **some)
    assert not data["table"].obsm[KEY].isna().any(axis=None)
    with pytest.warns(UserWarning, match=rf"{plain.n_obs} units, and is replaced by that of 2; .*key_added="):
        ks.tl.attention(data, **some)


def test_units_on_excluded_pixels_are_left_out(make, tiny):
    from spatialdata.models import Labels2DModel

    sdata = make(shape=(150, 190))
    bad = np.zeros((150, 190), np.uint8)
    bad[:, :95] = 1
    sdata.labels["bad"] = Labels2DModel.parse(bad, dims=("y", "x"))
    table = ks.tl.attention(sdata, model=tiny, exclude="bad", inplace=False)
    on_bad_pixels = table.obsm["spatial"][:, 0] < 95
    assert table.obsm[KEY].isna().all(axis=1).to_numpy()[on_bad_pixels].mean() > 0.9
    assert not table.obsm[KEY].isna().any(axis=1).to_numpy()[~on_bad_pixels].any()


def test_inside_counts_less_and_maps_show_all(sdata, tiny, plain):
    ids = list(plain.obs_names[:3])
    some = ks.tl.attention(sdata, model=tiny, ids=ids, maps=True, inside=True, precision="float32", inplace=False)
    entry = some.uns[KEY]
    assert entry["maps"].shape == (3, 5, 4, 4)
    assert list(entry["units"]) == ids
    assert_allclose(entry["maps"].sum((2, 3)), plain.obsm[KEY].loc[ids], atol=1e-6)
    cover = ks.get.patches(sdata, ids).coords["mask"].to_numpy().reshape(3, 4, 16, 4, 16).mean((2, 4))
    assert_allclose((entry["maps"] * cover[:, None]).sum((2, 3)), some.obsm[KEY].loc[ids], atol=1e-6)


def test_it_is_no_embedding(plain, sdata, tiny):
    assert not is_embedding(plain.uns[KEY])
    table = plain.copy()
    with pytest.raises(KeyError, match="no embedding on record"):
        representations(table, None)
    embedded = ks.tl.embed(sdata, model=tiny, inplace=False)
    for slot in (KEY, f"{KEY}_z"):
        embedded.obsm[slot] = table.obsm[slot]
    embedded.uns[KEY] = table.uns[KEY]
    assert [rep.name for rep in representations(embedded, None)] == ["X_kronos"]


def test_the_record_says_what_ran(plain):
    entry = plain.uns[KEY]
    assert {name: entry["params"][name] for name in ("method", "layer", "block", "inside")} == {
        "method": "cls",
        "layer": 3,
        "block": 3,
        "inside": False,
    }
    assert entry["record"]["model"]["name"] == "tiny"
    assert list(entry["record"]["params"]["window"]) == [64]


@pytest.mark.parametrize("kind", ["h5ad", "zarr"])
def test_files_keep_it(sdata, tiny, kind, tmp_path):
    from spatialdata import SpatialData

    table = ks.tl.attention(sdata, model=tiny, ids=list(sdata["table"].obs_names[:4]), maps=True, inplace=False)
    for slot in (KEY, f"{KEY}_z"):
        table.obsm[slot] = table.obsm[slot].rename(columns={"CD8": "CD8|a"})
    if kind == "h5ad":
        table.write_h5ad(tmp_path / "t.h5ad")
        back = anndata.read_h5ad(tmp_path / "t.h5ad")
    else:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*autosharding.*")
            SpatialData(images=dict(sdata.images), labels=dict(sdata.labels), tables={"table": table}).write(
                tmp_path / "s.zarr"
            )
        back = spatialdata.read_zarr(tmp_path / "s.zarr")["table"]
    np.testing.assert_array_equal(back.obsm[KEY], table.obsm[KEY])
    assert ks.get.result(back, KEY).equals(ks.get.result(table, KEY))
    np.testing.assert_array_equal(back.uns[KEY]["maps"], table.uns[KEY]["maps"])


def test_names_with_a_slash_can_be_written(sdata, tiny, tmp_path):
    table = ks.tl.attention(
        sdata, model=tiny, channels={"CD3": "HLA-DR/DP", "CD8": None} | {"CD3": "unseen"}, inplace=False
    )
    table.write_h5ad(tmp_path / "t.h5ad")
    assert len(table.obsm[KEY].columns) == 4


def test_summary_by_hand(plain):
    table = plain.copy()
    raw = np.zeros((table.n_obs, 5), np.float32)
    raw[:, 0] = np.where(table.obs["kind"] == "a", 1.0, 3.0)
    table.obsm[KEY].iloc[:, :] = raw
    ks.tl.attention_summary(table, "kind", n_per_group=4, key_added="s")
    summary = ks.get.result(table, "s").set_index(["group", "marker"])
    assert list(summary.loc[("a", "DAPI"), ["n", "median", "mean", "sd", "q25", "attention"]]) == [4, -1, -1, 0, -1, 1]
    assert list(summary.loc[("b/c", "DAPI"), ["n", "median", "attention"]]) == [4, 1, 3]
    assert (summary.xs("CD8", level="marker")["median"] == 0).all()


def test_summary_draws_by_seed_and_from_those_computed(sdata, tiny):
    names = sdata["table"].obs_names
    table = ks.tl.attention(sdata, model=tiny, ids=list(names[:30]), inplace=False)
    frames = [
        ks.get.result(ks.tl.attention_summary(table, "kind", n_per_group=5, rng=seed, copy=True), "kind_attention")
        for seed in (0, 0, 1)
    ]
    assert frames[0].equals(frames[1])
    assert not frames[0].equals(frames[2])
    ks.tl.attention_summary(table, "kind", n_per_group=None)
    assert dict(ks.get.result(table, "kind_attention").groupby("group")["n"].first()) == {"a": 10, "b/c": 20}


def test_groups_without_attention_are_named(sdata, tiny):
    names = sdata["table"].obs_names
    table = ks.tl.attention(sdata, model=tiny, ids=list(names[:6]), inplace=False)
    table.obs["third"] = [*"ababab", *["c"] * (table.n_obs - 6)]
    with pytest.warns(UserWarning, match="No unit of c has attention"):
        ks.tl.attention_summary(table, "third")
    assert set(ks.get.result(table, "third_attention")["group"]) == {"a", "b"}


@pytest.mark.parametrize(
    ("kwargs", "error", "message"),
    [
        ({"patchsize": 32}, TypeError, "Did you mean 'patch_size'"),
        ({"ids": ["none"]}, KeyError, "No units 'none' are read in 'cells' on 'image'"),
        ({"ids": []}, ValueError, "ids is empty"),
        ({"model": "mean-marker"}, ValueError, "no token that attends to the tokens of all markers"),
        ({"key_added": "a/b"}, ValueError, "no name that can be stored"),
        ({"patch_size": 40}, ValueError, "multiples of 16"),
        ({"device": "tpu9"}, ValueError, "Leave device out"),
        ({"image_key": "no"}, KeyError, "There is no image 'no'"),
    ],
)
def test_errors(sdata, tiny, kwargs, error, message, state, unchanged):
    before = state(sdata)
    with pytest.raises(error, match=message):
        ks.tl.attention(sdata, **({"model": tiny} | kwargs))
    unchanged(before, state(sdata))


def test_maps_of_too_much_are_refused(sdata, tiny, monkeypatch):
    from kronos_sc.tl import _attention

    monkeypatch.setattr(_attention, "_MOST_MAPS", 1000)
    with pytest.raises(ValueError, match=r"Name the units to draw with ids="):
        ks.tl.attention(sdata, model=tiny, maps=True)


def test_an_embedding_is_not_overwritten(sdata, tiny):
    table = ks.tl.embed(sdata, model=tiny, inplace=False)
    other = spatialdata.SpatialData(images=dict(sdata.images), labels=dict(sdata.labels), tables={"table": table})
    with pytest.raises(ValueError, match="is the record of an embedding"):
        ks.tl.attention(other, model=tiny, key_added="kronos")


@pytest.mark.parametrize(
    ("kwargs", "error", "message"),
    [
        ({"groupby": "no"}, KeyError, "There is no column in obs 'no'"),
        ({"groupby": "kind", "key": "spatial"}, KeyError, "There is no result in uns 'spatial'"),
        ({"groupby": "one"}, ValueError, "at least 2 are needed"),
    ],
)
def test_errors_of_the_summary(plain, kwargs, error, message):
    table = plain.copy()
    table.obs["one"] = "x"
    with pytest.raises(error, match=message):
        ks.tl.attention_summary(table, **kwargs)


def test_the_view_is_the_model_to_everyone_else(tiny):
    view = AttentionView(tiny)
    assert view.facts == tiny.facts
    assert view.tokens(64, 5) == tiny.tokens(64, 5)
    assert view.at(torch.device("cpu"), torch.bfloat16).net.cls_token.dtype == torch.bfloat16
    assert view.width("attention", 7) == 7
