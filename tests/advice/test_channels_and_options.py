"""Advice of tl.embed about windows, boxes, channels, pixels and options, followed to the letter."""

from __future__ import annotations

import warnings

import geopandas
import numpy as np
import pandas as pd
import pytest
import shapely
import spatialdata
from spatialdata.models import ShapesModel, TableModel

from kronos_sc import io, pp, tl

from .elements import embed, run


@pytest.mark.row("a cell larger than the window", "`mean-marker+`: cells that the window cuts")
@pytest.mark.parametrize("model", ["mean-marker", "mean-marker+"])
def test_a_larger_window(make, model):
    labels = np.zeros((200, 200), np.int32)
    labels[20:180, 60:140] = 1
    sdata = make(image=np.full((1, 200, 200), 9_000, np.uint16), labels=labels, channels=("DAPI",))
    with pytest.warns(UserWarning, match=r"Choose a larger patch_size, or a coarser mpp"):
        tl.embed(sdata, model=model)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        tl.embed(sdata, model=model, patch_size=170)
        io.set_pixel_size(sdata, 0.5)
        tl.embed(sdata, model=model, mpp=1.5)


@pytest.mark.row(
    "cells that vanish at a coarse pyramid level", "`spatial_key=` that does not hold pixels (micrometres, say)"
)
def test_neither_scale_nor_spatial_key(make):
    labels = np.zeros((128, 128), np.int32)
    labels[64:80, 64:80] = 1
    labels[32, 32] = 2
    sdata = make(image=np.full((1, 128, 128), 9_000, np.uint16), labels=labels, channels=("DAPI",), scale_factors=[2])
    sdata["table"].obsm["um"] = sdata["table"].obsm["spatial"] * 0.3
    for how in ({"scale": "scale1"}, {"spatial_key": "um"}):
        with pytest.warns(
            UserWarning, match=r"have no pixel of theirs in their window.*coarse scale=, or spatial_key="
        ):
            tl.embed(sdata, model="mean-marker", patch_size=32, **how)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        tl.embed(sdata, model="mean-marker", patch_size=32)


@pytest.fixture
def on_boxes(make):
    """Build an image with shapes of your own and a table that is linked to them."""

    def build(geometry, index=None, ids=None):
        import anndata

        frame = geopandas.GeoDataFrame(geometry=geometry, index=index)
        ids = list(frame.index) if ids is None else ids
        obs = pd.DataFrame(
            {"region": pd.Categorical(["boxes"] * len(ids)), "number": ids}, index=[f"b{i}" for i in range(len(ids))]
        )
        table = TableModel.parse(anndata.AnnData(obs=obs), region="boxes", region_key="region", instance_key="number")
        sdata = make(table=False)
        sdata["boxes"] = ShapesModel.parse(frame)
        sdata["table"] = table
        return sdata

    return build


@pytest.mark.row("boxes of different size, empty shapes, repeated shape index")
def test_boxes_that_differ_are_empty_or_share_an_index(on_boxes, advice):
    sdata = on_boxes(shapely.box([10, 60], [10, 60], [42, 80], [42, 80]))
    assert "with patch_size=" in advice.of(lambda: embed(sdata))
    embed(sdata, patch_size=32)

    sdata = on_boxes([shapely.box(10, 10, 42, 42), shapely.Polygon()])
    assert "Drop them and their rows" in advice.of(lambda: embed(sdata))
    sdata["boxes"] = sdata["boxes"].iloc[:1]
    sdata.tables["table"] = sdata["table"][:1].copy()
    embed(sdata)

    sdata = on_boxes(shapely.box([10, 60], [10, 60], [42, 92], [42, 92]), index=[0, 0], ids=[0, 1])
    run(
        "sdata['boxes'] = " + advice.code(advice.of(lambda: embed(sdata)), "shapes.reset_index("),
        sdata,
        shapes=sdata["boxes"],
    )
    embed(sdata)


@pytest.mark.row("two channels of one name")
def test_channels_get_names_of_their_own(fails, advice):
    sdata, how, message = fails("repeated_channels")
    run(
        advice.code(message, "sdata.set_channel_names(").replace("[...]", "['DAPI', 'CD3', 'CD8', 'CD4', 'CD20']"),
        sdata,
    )
    embed(sdata, **how)


@pytest.mark.row("unknown channel or marker in `channels=`")
def test_channels_and_markers_that_exist(fails, advice):
    for name in ("unknown_channel", "unknown_channel_in_list"):
        sdata, how, message = fails(name)
        if isinstance(how["channels"], list):
            how = {"channels": [channel if channel != "CD 3" else "CD3" for channel in how["channels"]]}
        else:
            how = advice.corrected(message, how)
        embed(sdata, **how)
    sdata, how, message = fails("unknown_marker")
    for choice in ("channels={'CD8': 'unseen'}", "channels={'CD8': None}"):
        embed(sdata, channels=advice.keyword(advice.code(message, choice), "channels"))


@pytest.mark.row("a name that means several markers", "two channels that are one marker")
def test_channels_that_are_pasted(fails, advice):
    for name in ("ambiguous", "one_marker_twice"):
        sdata, how, message = fails(name)
        embed(sdata, channels=advice.keyword(message, "channels"), **how)


@pytest.mark.row("a name that means several markers", "two channels that are one marker")
def test_a_second_paste_keeps_what_the_first_one_said(make, advice):
    """A mapping replaces the one before it, so each message repeats what was said already."""
    sdata = make(channels=("DAPI", "HLA", "CD4-FITC", "CD4 Cy7", "AR"))
    message = advice.of(lambda: embed(sdata, channels={"AR": "unseen"}))
    assert "several markers" in message
    channels = advice.keyword(message, "channels")
    message = advice.of(lambda: embed(sdata, channels=channels))
    assert "match one marker" in message
    channels = advice.keyword(message, "channels")
    assert channels == {"AR": "unseen", "HLA": "HLA-1", "CD4 Cy7": None}
    embed(sdata, channels=channels)


@pytest.mark.row("a channel listed in `channels=[…]` that has no marker")
def test_a_list_that_is_pasted(fails, advice):
    sdata, _, message = fails("listed_without_marker")
    embed(sdata, channels=advice.keyword(message, "channels"))


@pytest.mark.row(
    "named channels that match nothing although a marker is near, or fewer than half that match",
    "two channels of one marker, one of them of its very name (`CD4`, `CD4 Cy7`)",
)
def test_a_warning_keeps_what_was_said_and_is_silent_when_pasted(make, advice):
    sdata = make(channels=("DAPI", "ck CD8 x", "CD4", "CD4 Cy7", "AR"))
    with pytest.warns(UserWarning, match="channel") as caught:
        tl.embed(sdata, model="mean-marker", channels={"AR": "unseen"})
    said = [str(one.message) for one in caught]
    assert len(said) == 2
    for message in said:
        assert advice.keyword(message, "channels")["AR"] == "unseen"
    channels = {name: marker for message in said for name, marker in advice.keyword(message, "channels").items()}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tl.embed(sdata, model="mean-marker", channels=channels)


@pytest.mark.row("no channel matches", "no nuclear stain")
def test_what_was_stained_is_said(fails, advice):
    sdata, how, message = fails("no_marker")
    assert advice.keyword(message, "channels") == {"channel": "CD3"}
    message = advice.of(lambda: embed(sdata, channels={"channel_1": "CD3"}, **how))
    assert "nuclear stain" in message  # one more to say
    assert advice.keyword(message, "channels") == {"channel": "DAPI"}
    embed(sdata, channels={"channel_1": "CD3", "channel_0": "DAPI"}, **how)
    sdata, how, message = fails("no_nuclear_stain")
    assert "require_nuclear=False" in message
    embed(sdata, require_nuclear=False, **how)


@pytest.mark.row("an unseen marker in a constant channel")
def test_a_constant_channel_is_dropped(make, advice):
    image = np.random.default_rng(0).integers(0, 9_000, (2, 60, 70)).astype(np.uint16)
    other = make(image=image.copy(), channels=("DAPI", "AR"))
    image[1] = 5
    sdata = make(image=image, channels=("DAPI", "AR"))
    message = advice.of(lambda: embed(sdata, channels={"AR": "unseen"}, model="kronos-untrained"))
    assert "drop the channel" in message
    embed(sdata, channels={"AR": None})
    stats = pp.marker_stats(other)  # "on an image in which the channel is not constant"
    panel = pp.match_markers(sdata, channels={"AR": "unseen"}, stats=stats)
    embed(sdata, channels=panel)


@pytest.mark.row("a model without statistics")
def test_statistics_are_measured(make, bad, advice):
    sdata, how = bad["no_statistics"](lambda: make((40, 40)))
    message = advice.of(lambda: embed(sdata, **how))
    text = advice.code(message, "channels=pp.match_markers(").removeprefix("channels=")
    embed(sdata, channels=eval(text, {"pp": pp, "sdata": sdata, "model": how["model"]}), **how)


@pytest.mark.row("a panel that was made for another model")
def test_a_panel_is_made_again(make, tiny, advice):
    sdata = make((40, 40))
    panel = pp.match_markers(sdata, channels={"CD8": "unseen"}).assign(how="given")
    message = advice.of(lambda: embed(sdata, channels=panel))
    text = advice.code(message, "pp.match_markers(")
    embed(sdata, channels=eval(text, {"pp": pp, "sdata": sdata, "model": tiny}))


@pytest.mark.row("floats outside [0, 1] without a scale", "negative integers; dtypes without a full scale (uint32 …)")
@pytest.mark.parametrize(
    ("name", "value"), [("float_beyond_one", 50), ("negative_float", 0.5), ("strange_dtype", 4095)]
)
def test_full_scale_is_said(fails, name, value):
    sdata, how, message = fails(name)
    assert "max_value=" in message
    embed(sdata, max_value=value, **how)


@pytest.mark.row("negative integers; dtypes without a full scale (uint32 …)")
def test_an_offset_is_subtracted(fails, make):
    sdata, how, message = fails("negative_integer")
    assert "Subtract the offset and store it as uint16" in message
    image = np.asarray(sdata["image"].data)
    embed(make(image=(image - image.min()).astype("uint16")), **how)


@pytest.mark.row("NaN or infinite pixels in a window")
@pytest.mark.parametrize("name", ["pixels_nan", "pixels_inf", "unseen_with_nan"])
def test_pixels_without_a_value_are_zero(fails, advice, name):
    sdata, how, message = fails(name)
    embed(sdata, nan=advice.keyword(message, "nan"), **how)


@pytest.mark.row("counts in a 16-bit container")
def test_counts_get_a_scale(make):
    sdata = make(image=np.random.default_rng(0).poisson(3, (5, 80, 90)).astype(np.uint16))
    with pytest.warns(UserWarning, match=r"almost empty on its scale.*max_value="):
        tl.embed(sdata, model="mean-marker")
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        tl.embed(sdata, model="mean-marker", max_value=15)


@pytest.mark.row("a missing Zarr chunk of an image under a unit")
def test_chunks_that_were_never_stored_are_zero(stored, tmp_path, advice):
    stored(tmp_path / "a.zarr")
    chunk = next(
        path
        for path in sorted((tmp_path / "a.zarr" / "images").rglob("*"))
        if path.is_file() and path.name == "1" and "/c/" in str(path)
    )
    chunk.unlink()
    sdata = spatialdata.read_zarr(tmp_path / "a.zarr")
    embed(sdata, nan=advice.keyword(advice.of(lambda: embed(sdata)), "nan"))


@pytest.mark.row(
    "`features='token'`, an unknown `mask_fill`, `nan`, `precision` or `dtype`",
    "class features of a model that has none",
)
@pytest.mark.parametrize(
    "wrong",
    [
        {"features": "token"},
        {"features": []},
        {"mask_fill": "median"},
        {"nan": "ignore"},
        {"precision": "float64"},
        {"dtype": "int8"},
    ],
)
def test_a_choice_that_is_offered(make, advice, wrong):
    sdata = make((40, 40))
    embed(sdata, **advice.corrected(advice.of(lambda: embed(sdata, **wrong)), wrong))
    assert "it gives: marker" in advice.of(lambda: embed(sdata, features="cls"))
    embed(sdata, features="marker")


@pytest.mark.row("`patch_size=50`")
@pytest.mark.parametrize("wrong", [{"patch_size": 50}, {"patch_size": 0}, {"batch_size": 0}])
def test_a_number_that_fits(make, tiny, advice, wrong):
    sdata = make((40, 40))
    message = advice.of(lambda: embed(sdata, model=tiny, **wrong))
    nearest = message.partition("Nearest: ")[2]
    wrong = {"patch_size": int(nearest.split(" ")[0])} if nearest else advice.corrected(message, wrong)
    embed(sdata, model=tiny if wrong.get("patch_size") != 1 else "mean-marker", **wrong)


@pytest.mark.row("a device that is not there", "`scale=` of an image of one scale, or an unknown one")
def test_an_option_is_left_out(make, advice):
    sdata = make((64, 64), scale_factors=[2])
    message = advice.of(lambda: embed(sdata, device="gpu"))
    embed(sdata, **advice.corrected(message, {"device": "gpu"}))
    embed(sdata, device=message.split("Available: ")[1].split(".")[0].split(",")[0])
    message = advice.of(lambda: embed(sdata, scale="scale7"))
    assert "Choose one with scale=" in message
    embed(sdata, scale=message.split("there are: ")[1].split(" ")[0])
    sdata = make((64, 64))
    embed(sdata, **advice.corrected(advice.of(lambda: embed(sdata, scale="scale1")), {"scale": "scale1"}))


@pytest.mark.row("`mpp=` without a recorded pixel size, or not positive")
def test_a_pixel_size_is_recorded(fails, advice):
    sdata, how, message = fails("mpp_0.5")
    run(advice.code(message, "io.set_pixel_size(").replace("µm per pixel", "0.5"), sdata)
    embed(sdata, **how)
    assert "mpp must be a positive number of micrometres" in advice.of(lambda: embed(sdata, mpp=0))
    embed(sdata, mpp=1)


@pytest.mark.row("`key_added=` with characters that no store takes (`my/slot`)", "a name that is taken")
def test_another_name(make, advice):
    sdata = make((64, 64))
    assert "letters, digits" in advice.of(lambda: embed(sdata, key_added="my/slot"))
    embed(sdata, key_added="my_slot")
    pp.tile(sdata, size=32)
    message = advice.of(lambda: pp.tile(sdata, size=16))
    assert "Choose another with key_added=" in message
    pp.tile(sdata, size=16, overwrite=advice.keyword(message.replace("True", "1"), "overwrite") == 1)
    pp.tile(sdata, size=16, key_added="other")
    assert "Choose another with key_added=" in advice.of(lambda: pp.label_table(sdata))
    pp.label_table(sdata, key_added="again")
    assert "Choose a smaller size" in advice.of(lambda: pp.tile(sdata, size=100, key_added="big"))
