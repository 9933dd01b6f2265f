"""Advice of tl.embed about elements, labels, shapes, channels, pixels and options, followed to the letter."""

from __future__ import annotations

import warnings

import geopandas
import numpy as np
import pandas as pd
import pytest
import shapely
import spatialdata
from spatialdata import SpatialData
from spatialdata.models import Labels2DModel, ShapesModel, TableModel
from spatialdata.transformations import Affine, Scale, Sequence, Translation, get_transformation, set_transformation

import kronos_sc as ks
from kronos_sc import io, models, pp, tl

TURN = Affine([[0.8, -0.6, 40], [0.6, 0.8, -20], [0, 0, 1]], input_axes=("y", "x"), output_axes=("y", "x"))


def run(text, sdata, **names):
    """Run lines that a message gives."""
    exec(text, {"sdata": sdata, "spatialdata": spatialdata, "pp": pp, "io": io, "tl": tl, "models": models} | names)


def embed(sdata, **how):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # what is embedded is beside the point here
        tl.embed(sdata, **({"model": "mean-marker"} | how))


@pytest.fixture
def fails(make, bad, advice):
    """Build a case, and return its SpatialData, its arguments and what tl.embed says of them."""

    def build(name, **more):
        sdata, how = bad[name](make)
        how = how | more
        return sdata, how, advice.of(lambda: embed(sdata, **how))

    return build


def without_rows(sdata, text, rows):
    """Leave rows of the table out as a message writes it."""
    found = eval(text.replace("...", ", ".join(map(repr, rows))), {"table": sdata["table"]})
    assert 0 < found.n_obs < sdata["table"].n_obs
    sdata.tables["table"] = found.copy()


@pytest.mark.row("not a SpatialData (an AnnData, a path, an array)")
def test_what_is_read_is_a_spatialdata(stored, tmp_path, advice):
    path = tmp_path / "slide.zarr"
    stored(path)
    message = advice.of(lambda: embed(path))
    read = eval(
        advice.code(message, "spatialdata.read_zarr(").replace("...", "path"),
        {"spatialdata": spatialdata, "path": path},
    )
    embed(read)
    embed(eval(advice.code(message, "datasets.tissue(").replace("()", "(shape=(64, 64))"), {"datasets": ks.datasets}))


@pytest.mark.row("no image")
def test_an_image_is_read(fails, advice, tmp_path):
    import tifffile

    sdata, how, message = fails("no_image")
    path = tmp_path / "image.tif"
    pixels = np.random.default_rng(0).integers(0, 9_000, (2, 150, 190)).astype(np.uint16)
    tifffile.imwrite(path, pixels, photometric="minisblack", metadata={"axes": "CYX"})
    read = eval(advice.code(message, "io.read_tiff("), {"io": io, "path": path})
    sdata["image"] = next(iter(read.images.values()))
    assert "None of the 2 channels" in advice.of(
        lambda: embed(sdata, **how)
    )  # a TIFF without names, which is another matter
    sdata.set_channel_names("image", ["DAPI", "CD3"])
    embed(sdata, **how)


@pytest.mark.row("several images and none named", "both labels and shapes named")
def test_one_is_named(fails):
    sdata, how, message = fails("two_images")
    assert "Choose one with image_key=" in message
    embed(sdata, image_key="other", **how)
    sdata, how, message = fails("labels_and_shapes")
    assert "Give one of them" in message
    for name, value in how.items():
        embed(sdata, **{name: value})


@pytest.mark.row("unknown image, labels, shapes or table")
@pytest.mark.parametrize("name", ["unknown_image", "unknown_labels", "table_key_tabel"])
def test_the_name_that_is_meant(fails, advice, name):
    sdata, how, message = fails(name)
    embed(sdata, **advice.corrected(message, how))


@pytest.mark.row("unknown image, labels, shapes or table")
def test_boxes_are_made(fails, advice):
    sdata, how, message = fails("unknown_shapes")
    run(advice.code(message, "pp.tile(").replace("...", "32"), sdata)
    embed(sdata, **advice.corrected(advice.of(lambda: embed(sdata, **how)), {"shapes_key": "boxes"}))
    assert "patches" in sdata.shapes


@pytest.mark.row("no table")
@pytest.mark.parametrize(("start", "value"), [("pp.label_table(", "'cells'"), ("pp.tile(", "32")])
def test_a_table_is_made(fails, advice, start, value):
    sdata, how, message = fails("no_table")
    run(advice.code(message, start).replace("...", value), sdata)
    embed(sdata, **how)


@pytest.mark.row("table without region metadata")
def test_a_table_is_linked(fails, advice):
    sdata, how, message = fails("no_metadata")
    adata = sdata["table"]
    adata.obs["region"] = pd.Categorical(["cells"] * adata.n_obs)
    adata.obs["cell_id"] = np.unique(sdata["cells"].data.compute())[1 : 1 + adata.n_obs]
    text = advice.code(message, "spatialdata.models.TableModel.parse(")
    for name in ("cells", "region", "cell_id"):
        text = text.replace("...", repr(name), 1)
    sdata["table"] = eval(text, {"spatialdata": spatialdata, "adata": adata})
    embed(sdata, **how)


@pytest.mark.row("labels that no table annotates")
def test_labels_get_a_table(fails, advice):
    """The name "table" is taken by that of the other labels."""
    sdata, how, message = fails("labels_without_table")
    run(advice.code(message, "pp.label_table("), sdata)
    embed(sdata, **how)
    assert "X_mean_marker" in sdata["nuclei_table"].obsm


@pytest.mark.row("labels that no table annotates")
def test_shapes_get_a_table(make, advice):
    sdata = make()
    sdata["boxes"] = ShapesModel.parse(
        geopandas.GeoDataFrame(geometry=shapely.box([10, 60], [10, 60], [42, 92], [42, 92]))
    )
    message = advice.of(lambda: embed(sdata, shapes_key="boxes"))
    adata = ks.datasets.tissue(shape=(64, 64))["table"][:2].copy()
    del adata.uns["spatialdata_attrs"]
    adata.obs = pd.DataFrame({"region": pd.Categorical(["boxes"] * 2), "number": [0, 1]}, index=["a", "b"])
    text = (
        advice.code(message, "spatialdata.models.TableModel.parse(")
        .replace("...", "'region'", 1)
        .replace("...", "'number'", 1)
    )
    sdata["mine"] = eval(text, {"spatialdata": spatialdata, "adata": adata})
    embed(sdata, shapes_key="boxes")


@pytest.mark.row("table of an element that does not exist, or without a row of its own regions")
@pytest.mark.parametrize(
    ("name", "start"),
    [("region_without_element", "sdata['table'].obs"), ("rows_of_another_region", "sdata['table'].obs")],
)
def test_a_table_is_linked_again(fails, advice, name, start):
    sdata, how, message = fails(name)
    run(advice.code(message, start), sdata)
    embed(sdata, **how)


@pytest.mark.row("table of an element that does not exist, or without a row of its own regions")
def test_rows_that_know_their_element(make, advice):
    """The rows name an element that exists, and what the table says of itself does not."""
    sdata = make()
    sdata.labels["nuclei"] = sdata["cells"]
    sdata["table"].obs["region"] = pd.Categorical(["nuclei"] * sdata["table"].n_obs)
    run(advice.code(advice.of(lambda: embed(sdata)), "sdata.set_table_annotates_spatialelement("), sdata)
    embed(sdata)


@pytest.mark.row("table of an element that does not exist, or without a row of its own regions")
def test_one_of_several_regions_is_linked_again(two_images, advice):
    sdata = two_images()
    sdata.labels["mask_1"] = sdata.labels.pop("cells_1")
    run(advice.code(advice.of(lambda: embed(sdata), KeyError), "sdata['table'].obs"), sdata)
    assert set(sdata["table"].obs["region"]) == {"cells_0", "mask_1"}
    embed(sdata)


@pytest.mark.row("empty table")
@pytest.mark.parametrize("start", ["pp.label_table(", "pp.tile("])
def test_an_empty_table_gives_way(fails, advice, start):
    sdata, how, message = fails("empty_table")
    run(advice.code(message, "del sdata"), sdata)
    run(advice.code(message, start).replace("pp.tile(sdata)", "pp.tile(sdata, size=32)"), sdata)
    embed(sdata, **how)


@pytest.fixture
def two_images(make):
    """Build two images with their cells, and one table of both."""

    def build(**second):
        import anndata

        parts = [make((60, 70)), make((60, 70), seed=1, **second)]
        tables = [part["table"].copy() for part in parts]
        for number, table in enumerate(tables):
            table.obs["region"] = pd.Categorical([f"cells_{number}"] * table.n_obs)
        both = anndata.concat(tables)
        both.obs_names_make_unique()
        table = TableModel.parse(both, region=["cells_0", "cells_1"], region_key="region", instance_key="cell_id")
        elements = {
            f"{name[kind]}_{n}": part[name[kind]]
            for n, part in enumerate(parts)
            for kind, name in [(0, ["image"]), (0, ["cells"])]
        }
        return SpatialData.init_from_elements(elements | {"table": table})

    return build


@pytest.mark.row("images of one call with other channels")
def test_the_common_channels_are_listed(two_images, advice):
    sdata = two_images(channels=("DAPI", "CD3", "CD8", "CD4", "CYTOKERATIN"))
    message = advice.of(lambda: embed(sdata))
    assert advice.code(message, "channels=[") == "channels=[...]"
    embed(sdata, channels=["DAPI", "CD3", "CD8", "CYTOKERATIN"])
    assert "by one with image_key=" in message
    embed(sdata, labels_key="cells_1", image_key="image_1")


@pytest.mark.row(
    "labels and image of different size, nothing relates them",
    "labels to exclude of another size, nothing relates them to the image",
)
def test_a_transformation_relates_them(fails, make, advice):
    sdata, how, message = fails("other_size")
    assert "spatialdata.transformations.set_transformation" in message
    set_transformation(sdata["cells"], Scale([1.5, 190 / 120], axes=("y", "x")), "global")
    embed(sdata, **how)
    sdata = make()
    sdata["small"] = Labels2DModel.parse(np.eye(20, dtype=np.int32), dims=("y", "x"))
    assert "spatialdata.transformations.set_transformation" in advice.of(lambda: embed(sdata, exclude="small"))
    set_transformation(sdata["small"], Translation([100, 100], axes=("y", "x")), "global")
    embed(sdata, exclude="small")


@pytest.mark.row("the same between boxes and image")
@pytest.mark.parametrize(("size", "system"), [(1, "slide"), (0.5, "global")])
@pytest.mark.parametrize("bent", [("image",), ("patches",), ("image", "patches")])
def test_what_is_turned_is_straightened(make, advice, bent, size, system):
    """Whatever the coordinate system is called, and whatever the size of its pixels; the image keeps its own pixels."""
    sdata = make()
    pp.tile(sdata, size=32)
    more = Affine([[0.6, 0.8, 0], [-0.8, 0.6, 30], [0, 0, 1]], input_axes=("y", "x"), output_axes=("y", "x"))
    for name in ("image", "patches"):
        pixels = Scale([size, size], axes=("y", "x"))
        turn = {("image", "patches"): TURN if name == "image" else more}.get(bent, TURN)
        set_transformation(sdata[name], {system: Sequence([turn, pixels]) if name in bent else pixels}, set_all=True)
    how = {"shapes_key": "patches", "table_key": "patches_table", "patch_size": 32}
    message = advice.of(lambda: embed(sdata, **how))
    if "set_transformation(" in message:
        run(advice.code(message, "for name in"), sdata, t=spatialdata.transformations)
    run(advice.code(message, f"sdata['{min(bent, key=('patches', 'image').index)}_moved'] = "), sdata)
    if "image" in bent:
        how["image_key"] = advice.keyword(message, "image_key")
        height, width = sdata["image_moved"].shape[1:]
        assert height >= 150 * 0.8 + 190 * 0.6 - 2
        assert width >= 190 * 0.8 - 2
    if "patches" in bent:
        text = advice.code(message, "sdata['table'].obs['region']")
        run(text.replace("'table'", "'patches_table'"), sdata)
        how["shapes_key"] = "patches_moved"
    try:
        embed(sdata, **how)
    except ValueError as error:  # turned apart on purpose, boxes and image may no longer meet
        assert "have their centre outside image" in str(error)  # noqa: PT017
        assert len(bent) == 1 or "image_moved" in str(error)  # noqa: PT017


@pytest.mark.row("no coordinate system in common")
def test_a_system_in_common(make, advice):
    sdata = make(labels_transformations={"slide": Scale([1.0, 1.0], axes=("y", "x"))})
    message = advice.of(lambda: embed(sdata))
    text = advice.code(message, "spatialdata.transformations.set_transformation(")
    names = {"element": sdata["cells"], "transformation": get_transformation(sdata["cells"], "slide")}
    run(text, sdata, **names)
    embed(sdata)


@pytest.mark.row("units whose centre lies outside the image")
def test_units_outside_are_left_out(make, advice):
    sdata = make(labels_transformations={"global": Translation([60, 0], axes=("y", "x"))})
    message = advice.of(lambda: embed(sdata))
    table = sdata["table"]
    outside = table.obs_names[table.obsm["spatial"][:, 1] + 60 >= 150]
    assert f"{len(outside)} units" in message
    without_rows(sdata, advice.code(message, "table[~"), outside)
    embed(sdata)


@pytest.mark.row("rows whose label has no pixels", "row for background, fractional id, two rows for one label")
@pytest.mark.parametrize(
    ("name", "rows"),
    [("rows_without_pixels", 5_000 + np.arange(12)), ("rows_of_background", [0]), ("rows_twice", [])],
)
def test_rows_are_left_out(fails, advice, name, rows):
    sdata, how, message = fails(name)
    without_rows(sdata, advice.code(message, "table[~"), [int(row) for row in rows])
    embed(sdata, **how)


@pytest.mark.row("row for background, fractional id, two rows for one label")
def test_the_instance_column_is_corrected(fails):
    sdata, how, message = fails("rows_with_fractions")
    assert "Correct the instance column" in message
    sdata["table"].obs["cell_id"] = (sdata["table"].obs["cell_id"] - 0.5).astype(int)
    embed(sdata, **how)


@pytest.mark.row("labels stored as float, or negative")
@pytest.mark.parametrize("pyramid", [False, True])
def test_labels_become_whole_numbers(fails, make, advice, pyramid):
    sdata, how, message = fails("float_labels")
    if pyramid:
        whole = np.asarray(make()["cells"].data)
        sdata["cells"] = Labels2DModel.parse(whole, dims=("y", "x"), scale_factors=[2])
        for scale in sdata["cells"].children.values():  # SpatialData 0.8 refuses to parse floats, but not to hold them
            scale["image"].variable.data = scale["image"].data.astype(np.float32)
        message = advice.of(lambda: embed(sdata, **how))
    run(advice.code(message, "sdata['cells'] = "), sdata)
    embed(sdata, **how)


@pytest.mark.row("labels stored as float, or negative")
def test_negative_labels_become_background(fails, advice):
    sdata, how, message = fails("negative_labels")
    changed = eval(advice.code(message, "labels.where("), {"labels": sdata["cells"]})
    sdata["cells"] = Labels2DModel.parse(changed)
    embed(sdata, **how)


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
