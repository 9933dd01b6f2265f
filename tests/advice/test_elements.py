"""Advice of tl.embed about elements, tables, coordinate systems and labels, followed to the letter."""

from __future__ import annotations

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
from kronos_sc import io, pp

from .elements import embed, run, without_rows

TURN = Affine([[0.8, -0.6, 40], [0.6, 0.8, -20], [0, 0, 1]], input_axes=("y", "x"), output_axes=("y", "x"))


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
