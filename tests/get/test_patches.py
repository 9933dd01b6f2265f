"""Pixels of chosen units: against a plain loop and against spatialdata's own tile dataset."""

import warnings

import numpy as np
import pandas as pd
import pytest

import kronos_sc as ks


def inside(sdata, size=32):
    """Return names of units whose window lies on the image, and their pixel centres (row, column)."""
    table = sdata["table"]
    x, y = np.floor(table.obsm["spatial"]).astype(int).T
    height, width = sdata["image"].shape[1:]
    half = size // 2
    keep = (y >= half) & (x >= half) & (y + half <= height) & (x + half <= width)
    return list(table.obs_names[keep]), y[keep], x[keep]


def test_equals_a_plain_loop(make):
    sdata = make()
    names, y, x = inside(sdata)
    patches = ks.get.patches(sdata, names, patch_size=32)
    image = np.asarray(sdata["image"].data)
    labels = np.asarray(sdata["cells"].data)
    assert patches.dims == ("unit", "c", "y", "x")
    assert patches.dtype == np.uint16
    assert list(patches.c.values) == list(sdata["image"].c.values)
    assert list(patches.unit.values) == names
    for i, (r, c) in enumerate(zip(y, x, strict=True)):
        np.testing.assert_array_equal(patches[i], image[:, r - 16 : r + 16, c - 16 : c + 16])
        np.testing.assert_array_equal(patches.mask[i], labels[r - 16 : r + 16, c - 16 : c + 16] == int(names[i]))
        assert (int(patches.top[i]), int(patches.left[i])) == (r - 16, c - 16)


def test_equals_spatialdatas_tiles(make):
    """Boxes of whole pixels, the same pixels.

    Spatialdata's dataset cuts tiles of a given width around the box centre.
    """
    from spatialdata.dataloader.datasets import ImageTilesDataset

    sdata = make()
    ks.pp.tile(sdata, size=32, stride=24)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tiles = ImageTilesDataset(
            sdata,
            regions_to_images={"patches": "image"},
            regions_to_coordinate_systems={"patches": "global"},
            table_name="patches_table",
            tile_dim_in_units=32,
            transform=lambda one: one,
        )
        theirs = [tiles[i] for i in range(len(tiles))]
    ours = ks.get.patches(sdata, sdata["patches_table"].obs_names, shapes_key="patches")
    assert len(theirs) == len(ours) == 35
    for one, other in zip(theirs, ours, strict=True):
        np.testing.assert_array_equal(np.asarray(one["image"].data), other)


def test_cells_equal_spatialdatas_tiles(make):
    """Around a circle at the middle of the centroid's pixel spatialdata cuts the window of that cell."""
    import geopandas
    import shapely
    from spatialdata.dataloader.datasets import ImageTilesDataset
    from spatialdata.models import ShapesModel, TableModel

    sdata = make()
    names, y, x = inside(sdata)
    circles = geopandas.GeoDataFrame({"radius": np.full(len(y), 16.0)}, geometry=shapely.points(x, y))
    sdata.shapes["circles"] = ShapesModel.parse(circles)
    table = sdata["table"][names].copy()
    table.obs = table.obs.assign(region="circles", cell_id=np.arange(len(y))).astype({"region": "category"})
    del table.uns["spatialdata_attrs"]
    sdata.tables["other"] = TableModel.parse(table, region="circles", region_key="region", instance_key="cell_id")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tiles = ImageTilesDataset(
            sdata,
            regions_to_images={"circles": "image"},
            regions_to_coordinate_systems={"circles": "global"},
            table_name="other",
            transform=lambda one: one,
        )
        theirs = np.stack([np.asarray(tiles[i]["image"].data) for i in range(len(tiles))])
    np.testing.assert_array_equal(ks.get.patches(sdata, names, labels_key="cells", patch_size=32), theirs)
    np.testing.assert_array_equal(ks.get.patches(sdata, names, shapes_key="circles"), theirs)


def test_order_repeats_and_channels(make):
    sdata = make()
    names = [str(name) for name in sdata["table"].obs_names[[9, 2, 30, 2]]]
    patches = ks.get.patches(sdata, names, channels=["CD20", "DAPI"], patch_size=16)
    assert list(patches.unit.values) == names
    assert list(patches.c.values) == ["CD20", "DAPI"]
    one = ks.get.patches(sdata, names[0], patch_size=16)
    np.testing.assert_array_equal(patches[0], one[0, [3, 0]])
    np.testing.assert_array_equal(patches[1], patches[3])
    np.testing.assert_array_equal(
        ks.get.patches(sdata, [int(name) for name in names], patch_size=16)[2, [3, 0]], patches[2]
    )


def test_border_is_zero(make):
    sdata = make((40, 50), image=np.full((1, 40, 50), 9, np.uint8), channels=("DAPI",))
    patches = ks.get.patches(sdata, sdata["table"].obs_names)
    assert patches.shape[1:] == (1, 64, 64)
    for patch in patches:
        rows = np.arange(64) + int(patch.top)
        columns = np.arange(64) + int(patch.left)
        np.testing.assert_array_equal(
            patch[0] == 9, ((rows >= 0) & (rows < 40))[:, None] & ((columns >= 0) & (columns < 50))
        )
        assert not patch.mask.values[patch[0].values == 0].any()


def test_units_of_two_regions(make):
    import anndata
    import pandas as pd
    from spatialdata import SpatialData
    from spatialdata.models import TableModel

    parts = [make(seed=i) for i in range(2)]
    tables = []
    for i, part in enumerate(parts):
        table = part["table"].copy()
        table.obs["region"] = pd.Categorical([f"cells_{i}"] * table.n_obs)
        table.obs_names = [f"{i}_{name}" for name in table.obs_names]
        tables.append(table)
    sdata = SpatialData(
        images={f"image_{i}": part["image"] for i, part in enumerate(parts)},
        labels={f"cells_{i}": part["cells"] for i, part in enumerate(parts)},
        tables={
            "table": TableModel.parse(
                anndata.concat(tables), region=["cells_0", "cells_1"], region_key="region", instance_key="cell_id"
            )
        },
    )
    first, second = (str(part["table"].obs_names[20]) for part in parts)
    both = ks.get.patches(sdata, [f"1_{second}", f"0_{first}"])
    for got, part, name in zip(both, (parts[1], parts[0]), (second, first), strict=True):
        (expected,) = ks.get.patches(part, [name])
        np.testing.assert_array_equal(got, expected)
        np.testing.assert_array_equal(got.mask, expected.mask)
        assert (int(got.top), int(got.left)) == (int(expected.top), int(expected.left))


def test_errors(make):
    sdata = make()
    with pytest.raises(KeyError, match=r"Table 'table' has no units 'x', 'y'; its names look like '\d+'"):
        ks.get.patches(sdata, ["x", "y"])
    with pytest.raises(ValueError, match=r"No unit was named\. Pass obs_names of the table"):
        ks.get.patches(sdata, [])
    with pytest.raises(KeyError, match=r"There is no channel 'CD33'; there are: 'DAPI'"):
        ks.get.patches(sdata, [sdata["table"].obs_names[0]], channels=["CD33"])
    with pytest.raises(ValueError, match="nan='skip' is not a choice"):
        ks.get.patches(sdata, [sdata["table"].obs_names[0]], nan="skip")
    with pytest.raises(TypeError, match="Expected a SpatialData"):
        ks.get.patches(sdata["table"], ["1"])
    sdata["table"].obs_names = ["a"] * sdata["table"].n_obs
    with pytest.raises(
        ValueError, match=r"Table 'table' has repeated obs_names\. Make them unique with table\.obs_names_make_unique"
    ):
        ks.get.patches(sdata, ["a"])


def test_units_of_other_regions_are_refused(make):
    sdata = make()
    table = sdata["table"]
    sdata.labels["more"] = sdata["cells"].copy()
    region = np.where(np.arange(table.n_obs) % 2, "more", "cells")
    table.obs["region"] = pd.Categorical(region)
    table.uns["spatialdata_attrs"]["region"] = ["cells", "more"]
    with pytest.raises(KeyError, match=r"belong to other regions than 'cells'. Name theirs with labels_key="):
        ks.get.patches(sdata, list(table.obs_names[:2]), labels_key="cells")
    both = ks.get.patches(sdata, list(table.obs_names[:2]))
    assert (both.coords["mask"].sum(("y", "x")) > 0).all()
