"""Which window belongs to which unit: centroids, transformations, shapes."""

import geopandas
import numpy as np
import pandas as pd
import pytest
import shapely
from anndata import AnnData
from spatialdata import SpatialData
from spatialdata.models import Image2DModel, Labels2DModel, ShapesModel, TableModel
from spatialdata.transformations import Affine, Identity, MapAxis, Scale, Sequence, Translation, set_transformation

import kronos_sc as ks
from kronos_sc import patches


def plan_units(sdata, *, size=64, **how):
    target = patches.target(
        sdata, image_key=None, labels_key=None, shapes_key=None, table=None, scale=how.pop("scale", None)
    )
    ((region, image),) = target.images.items()
    return patches.units(sdata, target.table, target.annotation, region, image, size=size, **how), image


def crops(sdata, **how):
    units, image = plan_units(sdata, **how)
    pixels = None
    masks = None
    for block in patches.read(patches.plan(image, range(len(image.channels)), units, block_memory=1)):
        if pixels is None:
            pixels = np.zeros((len(units), len(image.channels), units.size, units.size), block.pixels.dtype)
            masks = np.zeros((len(units), units.size, units.size), bool)
        pixels[block.units] = patches.crop(block)
        masks[block.units] = patches.crop_masks(block)
    return pixels, masks


def test_window_by_hand(make):
    """Rows [r − 32, r + 32) around the pixel that holds the centroid; zero beyond the border."""
    labels = np.zeros((100, 120), np.int32)
    labels[50, 60] = 1  # one pixel: centroid (50.5, 60.5), in pixel (50, 60)
    labels[0:3, 0:2] = 2  # at the corner: centroid (1.5, 1.0), in pixel (1, 1)
    labels[97:100, 110:120] = 3  # centroid (98.5, 115.0): the line between 114 and 115 belongs to 115
    image = (np.arange(100 * 120).reshape(1, 100, 120) + 1).astype(np.uint16)
    sdata = make(image=image, labels=labels, channels=("DAPI",))
    units, _ = plan_units(sdata)
    assert units.y.tolist() == [50 - 32, 1 - 32, 98 - 32]
    assert units.x.tolist() == [60 - 32, 1 - 32, 115 - 32]
    assert units.area.tolist() == [1, 6, 30]
    assert units.edge((100, 120)).tolist() == [False, True, True]
    pixels, masks = crops(sdata)
    np.testing.assert_array_equal(pixels[0, 0], image[0, 18:82, 28:92])
    # the cell's pixel is the first of the lower right quarter
    np.testing.assert_array_equal(np.argwhere(masks[0]), [[32, 32]])
    np.testing.assert_array_equal(pixels[1, 0, 31:, 31:], image[0, :33, :33])
    assert pixels[1, 0, :31].max() == pixels[1, 0, :, :31].max() == 0
    np.testing.assert_array_equal(np.argwhere(masks[1]), [[31 + i, 31 + j] for i in range(3) for j in range(2)])
    np.testing.assert_array_equal(pixels[2, 0, :34, :37], image[0, 66:, 83:])
    assert pixels[2, 0, 34:].max() == pixels[2, 0, :, 37:].max() == 0
    assert masks[2].sum() == 30


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "int32", "uint32", "int64"])
def test_every_dtype_of_labels(make, tiny, dtype):
    sdata = make((60, 70), labels=None)
    small = np.asarray(sdata["cells"].data)
    other = make((60, 70), labels=small.astype(dtype))
    ks.tl.embed(sdata, model=tiny)
    ks.tl.embed(other, model=tiny)
    np.testing.assert_array_equal(sdata["table"].obsm["X_kronos"], other["table"].obsm["X_kronos"])


@pytest.mark.parametrize("first", [1_000_000, 2**24, 2**31 - 4, 2**32 - 4, 2**53])
def test_large_ids_are_not_confused(make, first):
    """float32 cannot tell 2**24 from 2**24 + 1, float64 not 2**53 from 2**53 + 1."""
    labels = np.zeros((64, 64), np.int64)
    labels[20:30, 20:30] = first
    labels[20:30, 30:40] = first + 1
    labels[30:40, 20:30] = first + 2
    if first + 2 < 2**32:
        labels = labels.astype(np.uint32)
    sdata = make(image=np.ones((1, 64, 64), np.uint16), labels=labels, channels=("DAPI",))
    units, _ = plan_units(sdata)
    assert units.ids.tolist() == [first, first + 1, first + 2]
    _, masks = crops(sdata)
    assert masks.sum((1, 2)).tolist() == [100, 100, 100]
    table = sdata["table"]
    table.obs["cell_id"] = table.obs["cell_id"].astype(str)  # ids that came through a text file
    if first < 2**53:
        assert plan_units(sdata)[0].ids.tolist() == [first, first + 1, first + 2]


def moved(sdata, **kind):
    for name, transformation in kind.items():
        set_transformation(sdata[name], transformation, "global")
    return sdata


def test_labels_shifted_against_the_image(make):
    """Labels of a crop of the image that starts at row 30, column 41."""
    sdata = make()
    whole = np.asarray(sdata["cells"].data)
    crop = moved(make(labels=whole[30:110, 41:141]), cells=Translation([30, 41], axes=("y", "x")))
    kept = np.zeros_like(whole)
    kept[30:110, 41:141] = whole[30:110, 41:141]
    expected = crops(make(labels=kept))
    for got, want in zip(crops(crop), expected, strict=True):
        np.testing.assert_array_equal(got, want)
    # the same, said by the image: it lies 30 up and 41 to the left, both seen at 0.5 µm per pixel
    half = Scale([0.5, 0.5], axes=("y", "x"))
    other_way = moved(
        make(labels=whole[30:110, 41:141]), image=Sequence([Translation([-30, -41], axes=("y", "x")), half]), cells=half
    )
    for got, want in zip(crops(other_way), expected, strict=True):
        np.testing.assert_array_equal(got, want)


def test_labels_of_half_resolution(make):
    sdata = make((150, 190))
    coarse = np.asarray(sdata["cells"].data)[::2, ::2]
    half = moved(make((150, 190), labels=coarse), cells=Scale([2, 2], axes=("y", "x")))
    fine = make((150, 190), labels=coarse.repeat(2, 0).repeat(2, 1))
    for got, want in zip(crops(half), crops(fine), strict=True):
        np.testing.assert_array_equal(got, want)


def test_labels_of_double_resolution(make):
    """Each image pixel takes the label under its centre."""
    sdata = make((75, 95))
    labels = np.asarray(sdata["cells"].data)
    fine = moved(make((75, 95), labels=labels.repeat(2, 0).repeat(2, 1)), cells=Scale([0.5, 0.5], axes=("y", "x")))
    for got, want in zip(crops(fine), crops(sdata), strict=True):
        np.testing.assert_array_equal(got, want)


TURN = Affine([[0.8, -0.6, 0], [0.6, 0.8, 0], [0, 0, 1]], input_axes=("y", "x"), output_axes=("y", "x"))
BENT = {"rotation": TURN, "swap": MapAxis({"x": "y", "y": "x"}), "flip": Scale([-1, 1], axes=("y", "x"))}


@pytest.mark.parametrize(
    ("back", "transformation"),
    [
        (
            lambda labels: labels[::-1],
            Sequence([Scale([-1, 1], axes=("y", "x")), Translation([150, 0], axes=("y", "x"))]),
        ),
        (lambda labels: labels.T, MapAxis({"x": "y", "y": "x"})),
        (
            lambda labels: np.rot90(labels),
            Affine([[0, 1, 0], [-1, 0, 190], [0, 0, 1]], input_axes=("y", "x"), output_axes=("y", "x")),
        ),
    ],
    ids=["flip", "swap", "quarter turn"],
)
@pytest.mark.parametrize("turned", ["cells", "image"])
def test_labels_that_are_mirrored_or_turned(make, back, transformation, turned):
    """What was mirrored or turned comes back, whether the labels carry the transformation or the image its inverse."""
    sdata = make((150, 190))
    other = make((150, 190), labels=back(np.asarray(sdata["cells"].data)).copy())
    if turned == "cells":
        moved(other, cells=transformation)
    else:
        matrix = np.linalg.inv(transformation.to_affine_matrix(("y", "x"), ("y", "x")))
        moved(other, image=Affine(matrix, input_axes=("y", "x"), output_axes=("y", "x")))
    one, _ = plan_units(sdata)
    same, _ = plan_units(other)
    assert same.ids.tolist() == one.ids.tolist()
    assert same.area.tolist() == one.area.tolist()
    np.testing.assert_allclose(same.y, one.y, atol=1)  # a centroid between two pixels goes to the other one of them
    np.testing.assert_allclose(same.x, one.x, atol=1)
    np.testing.assert_array_equal(same.labels.read(-5, 160, -7, 200), one.labels.read(-5, 160, -7, 200))


def test_labels_turned_by_some_degrees(make):
    """Each image pixel takes the label under its centre: what scipy finds by the nearest pixel, whatever the blocks."""
    from scipy.ndimage import affine_transform

    angle = np.deg2rad(10)
    turn = np.array([[np.cos(angle), -np.sin(angle), 20], [np.sin(angle), np.cos(angle), -12.3], [0, 0, 1]])
    labels = np.zeros((150, 300), np.int32)
    labels[40:110, 60:240] = np.random.default_rng(0).integers(0, 90, (70, 180))
    sdata = make((150, 300), labels=labels)
    source = plan_units(moved(sdata, image=Affine(turn, input_axes=("y", "x"), output_axes=("y", "x"))))[0].labels
    corner = turn @ [0.5, 0.5, 1] - [0.5, 0.5, 0]  # scipy counts from the centres of pixels
    expected = affine_transform(labels, turn[:2, :2], corner[:2], order=0)
    np.testing.assert_array_equal(source.read(0, 150, 0, 300), expected)
    np.testing.assert_array_equal(source.read(40, 90, 250, 300), expected[40:90, 250:])


def boxes_of(sdata):
    ks.pp.tile(sdata, size=32)
    return moved(sdata, patches=Identity(), image=Identity())


@pytest.mark.parametrize("bent", BENT)
@pytest.mark.parametrize("name", ["patches", "image", "both"])
def test_boxes_do_not_follow_a_rotation_and_the_error_names_what_is_turned(make, bent, name):
    sdata = boxes_of(make())
    names = ["patches", "image"] if name == "both" else [name]
    moved(sdata, **dict.fromkeys(names, BENT[bent]))
    if name == "both":  # turned alike, they fit together
        assert len(plan_boxes(sdata)) > 0
        moved(sdata, image=Sequence([BENT[bent], TURN]))
    turned = {
        "patches": "shapes 'patches' has",
        "image": "image 'image' has",
        "both": "shapes 'patches' and image 'image' both have",
    }
    match = (
        rf"'patches' and 'image' are related by a rotation, shear or flip; .*'global' {turned[name]} such "
        r".*spatialdata\.transform\("
    )
    with pytest.raises(ValueError, match=match) as caught:
        plan_boxes(sdata)
    assert [f"spatialdata.transform(sdata['{each}']" in str(caught.value) for each in names] == [True] * len(names)
    assert str(caught.value).count("spatialdata.transform(") == len(names)


def plan_boxes(sdata):
    target = patches.target(
        sdata, image_key=None, labels_key=None, shapes_key="patches", table="patches_table", scale=None
    )
    ((region, image),) = target.images.items()
    return patches.units(sdata, target.table, target.annotation, region, image, size=None)


def test_elements_without_a_common_system(make):
    sdata = make(labels_transformations={"slide": Identity()})
    with pytest.raises(
        ValueError,
        match=r"'cells' \(coordinate systems 'slide'\) and 'image' \('global'\) share no coordinate system\. Align",
    ):
        plan_units(sdata)


def test_centre_outside_the_image(make):
    sdata = moved(make(), cells=Translation([500, 0], axes=("y", "x")))
    with pytest.raises(
        ValueError,
        match=r"units of 'cells' have their centre outside image 'image' \(150 × 190 pixels\): .*get_transformation",
    ):
        plan_units(sdata)


@pytest.mark.parametrize("shape", [(150, 190), (151, 193)])
def test_pyramid_level(make, shape):
    """On scale1 a pixel is two wide: windows are cut there, cells are found on the full labels."""
    sdata = make(shape, scale_factors=[2])
    units, image = plan_units(sdata, size=32, scale="scale1")
    level = np.asarray(sdata["image"]["scale1"]["image"].data)
    assert image.shape == level.shape[1:]
    full, _ = plan_units(sdata, size=64)
    ratio = np.array(shape) / level.shape[1:]
    table = sdata["table"].obsm["spatial"]
    np.testing.assert_array_equal(units.y + 16, np.floor(table[:, 1] / ratio[0]))
    np.testing.assert_array_equal(units.x + 16, np.floor(table[:, 0] / ratio[1]))
    assert np.abs((units.y + 16) * ratio[0] - (full.y + 32)).max() <= 2
    pixels, masks = crops(sdata, size=32, scale="scale1")
    padded = np.pad(level, ((0, 0), (32, 32), (32, 32)))
    expected = np.stack([padded[:, y + 32 : y + 64, x + 32 : x + 64] for y, x in zip(units.y, units.x, strict=True)])
    np.testing.assert_array_equal(pixels, expected)
    assert abs(masks.sum() / (units.area.sum() / 4) - 1) < 0.1


def test_spatial_key_takes_the_tables_coordinates(make):
    sdata = make()
    sdata["table"].obsm["there"] = np.array([[7.9, 3.2]] * sdata["table"].n_obs)
    units, _ = plan_units(sdata, spatial_key="there")
    assert set(units.y) == {3 - 32}
    assert set(units.x) == {7 - 32}
    centroids, _ = plan_units(sdata, spatial_key="spatial")
    np.testing.assert_array_equal(centroids.y, plan_units(sdata)[0].y)
    with pytest.raises(
        KeyError, match=r"There is no entry of obsm 'umap'; there are: 'spatial', 'there'.*Leave spatial_key out"
    ):
        plan_units(sdata, spatial_key="umap")
    sdata["table"].obsm["nan"] = np.full((sdata["table"].n_obs, 2), np.nan)
    with pytest.raises(ValueError, match=r"obsm\['nan'\] must hold finite x and y per row"):
        plan_units(sdata, spatial_key="nan")


def with_shapes(frame, transformation=None, image_transformation=None, shape=(300, 400)):
    """Return a SpatialData of one image and shapes that a table annotates."""
    image = np.random.default_rng(0).integers(1, 60_000, (2, *shape)).astype(np.uint16)
    table = AnnData(
        obs=pd.DataFrame(
            {"region": pd.Categorical(["boxes"] * len(frame)), "instance": frame.index},
            index=[f"u{i}" for i in frame.index],
        )
    )
    return SpatialData(
        images={
            "image": Image2DModel.parse(
                image,
                dims=("c", "y", "x"),
                c_coords=["DAPI", "CD3"],
                transformations={"global": image_transformation or Identity()},
            )
        },
        shapes={"boxes": ShapesModel.parse(frame, transformations={"global": transformation or Identity()})},
        tables={"table": TableModel.parse(table, region="boxes", region_key="region", instance_key="instance")},
    )


@pytest.mark.parametrize("size", [32, 33, 64])
@pytest.mark.parametrize("mpp", [None, 0.377, 0.1, 1.3])
def test_boxes_land_on_their_own_pixels(size, mpp):
    """Also when they are given in micrometres, where corners are not whole numbers."""
    y, x = (c.ravel() for c in np.meshgrid(np.arange(0, 200, 7), np.arange(0, 300, 11), indexing="ij"))
    unit = mpp or 1.0
    frame = geopandas.GeoDataFrame(geometry=shapely.box(x * unit, y * unit, (x + size) * unit, (y + size) * unit))
    sdata = with_shapes(frame, image_transformation=None if mpp is None else Scale([mpp, mpp], axes=("y", "x")))
    units, _ = plan_units(sdata, size=None)
    assert units.size == size
    np.testing.assert_array_equal(units.y, y)
    np.testing.assert_array_equal(units.x, x)


def test_boxes_far_from_the_origin_in_micrometres():
    y = np.array([0, 13_333, 29_000])
    unit = 0.377
    frame = geopandas.GeoDataFrame(geometry=shapely.box(0, y * unit, 64 * unit, (y + 64) * unit))
    sdata = with_shapes(frame, image_transformation=Scale([unit, unit], axes=("y", "x")), shape=(29_064, 64))
    np.testing.assert_array_equal(plan_units(sdata, size=None)[0].y, y)


def test_circles_polygons_and_order_of_rows():
    frame = geopandas.GeoDataFrame(
        {"radius": [8.0, 8.0, 8.0]}, geometry=shapely.points([[50.2, 60.7], [10, 20], [399, 299]]), index=[11, 7, 5]
    )
    sdata = with_shapes(frame)
    sdata.tables["table"] = sdata["table"][[2, 0, 1]].copy()
    units, _ = plan_units(sdata, size=32)
    assert (units.y + 16).tolist() == [299, 60, 20]
    assert (units.x + 16).tolist() == [399, 50, 10]
    assert plan_units(sdata, size=None)[0].size == 16  # the diameter
    polygons = geopandas.GeoDataFrame(
        geometry=[shapely.Polygon([(0, 0), (40, 0), (40, 20)]), shapely.Polygon([(100, 100), (110, 100), (105, 130)])]
    )
    sdata = with_shapes(polygons)
    units, _ = plan_units(sdata, size=32)
    assert (units.y + 16).tolist() == [10, 115]  # centre of the bounding box
    assert (units.x + 16).tolist() == [20, 105]
    message = (
        r"Shapes 'boxes' are boxes of different size \(10\.0 to 40\.0 pixels\)\. "
        r"Choose one window for all of them with patch_size="
    )
    with pytest.raises(ValueError, match=message):
        plan_units(sdata, size=None)


def test_shapes_that_rows_do_not_name():
    frame = geopandas.GeoDataFrame(geometry=shapely.box([0, 50], [0, 50], [32, 82], [32, 82]))
    sdata = with_shapes(frame)
    sdata["table"].obs["instance"] = [0, 9]
    with pytest.raises(
        ValueError, match=r"1 rows of the table name no shape of 'boxes': '9'\. The instance column must hold the index"
    ):
        plan_units(sdata, size=32)


def test_shapes_with_repeated_index():
    sdata = with_shapes(geopandas.GeoDataFrame(geometry=shapely.box([0, 50], [0, 50], [32, 82], [32, 82])))
    sdata["boxes"].index = [0, 0]
    with pytest.raises(ValueError, match=r"Shapes 'boxes' repeat the index '0'.*reset_index"):
        plan_units(sdata, size=32)


def test_shapes_without_extent():
    frame = geopandas.GeoDataFrame(geometry=[shapely.box(0, 0, 32, 32), shapely.Polygon()])
    with pytest.raises(ValueError, match=r"1 shapes of 'boxes' are empty.*: '1'"):
        plan_units(with_shapes(frame), size=32)


def test_labels_of_a_pyramid(make):
    sdata = make()
    labels = np.asarray(sdata["cells"].data)
    sdata.labels["cells"] = Labels2DModel.parse(labels, dims=("y", "x"), scale_factors=[2])
    for got, want in zip(crops(sdata), crops(make(labels=labels)), strict=True):
        np.testing.assert_array_equal(got, want)


def test_coordinates_are_pixels_of_the_annotated_element():
    """Labels at half the resolution: the centroids that label_table writes mean the same windows as the labels."""
    labels = np.zeros((64, 64), np.uint32)
    labels[10:20, 30:40] = 1
    labels[44:50, 6:12] = 2
    image = np.random.default_rng(0).integers(0, 9000, (1, 128, 128)).astype(np.uint16)
    sdata = SpatialData(
        images={"image": Image2DModel.parse(image, dims=("c", "y", "x"), c_coords=["DAPI"])},
        labels={
            "cells": Labels2DModel.parse(
                labels, dims=("y", "x"), transformations={"global": Scale([2.0, 2.0], axes=("y", "x"))}
            )
        },
    )
    ks.pp.label_table(sdata)
    found = [ks.get.patches(sdata, ["1", "2"], patch_size=16, spatial_key=key) for key in (None, "spatial")]
    assert found[0].equals(found[1])
    assert found[0].coords["top"].to_numpy().tolist() == [30 - 8, 94 - 8]


def test_boxes_on_a_level_that_divides_them_unevenly():
    image = np.random.default_rng(0).integers(0, 9000, (1, 1001, 1001)).astype(np.uint16)
    sdata = SpatialData(
        images={"image": Image2DModel.parse(image, dims=("c", "y", "x"), c_coords=["DAPI"], scale_factors=[2])}
    )
    ks.pp.tile(sdata, size=256)
    assert ks.get.patches(sdata, ["patches_0"], scale="scale1").shape[-1] == 128


def test_labels_of_another_byte_order(make):
    sdata = make()
    before = ks.get.patches(sdata, list(sdata["table"].obs_names[:3])).coords["mask"]
    swapped = np.asarray(sdata["cells"].data).astype(">u4")
    sdata.labels["cells"] = Labels2DModel.parse(swapped, dims=("y", "x"))
    ks.tl.embed(sdata, model="mean-marker")
    assert before.equals(ks.get.patches(sdata, list(sdata["table"].obs_names[:3])).coords["mask"])
