"""Units drawn as what they are: boxes, polygons, circles and cells; lines around categories."""

import geopandas
import numpy as np
import pandas as pd
import pytest
import shapely
from anndata import AnnData
from matplotlib.collections import EllipseCollection, LineCollection, PathCollection
from matplotlib.colors import to_hex, to_rgba
from matplotlib.path import Path
from spatialdata import SpatialData
from spatialdata.models import Image2DModel, Labels2DModel, ShapesModel, TableModel
from spatialdata.transformations import Identity, Scale, Sequence, Translation

from kronos_sc import pl, pp
from kronos_sc.pl._palette import MISSING, default_colors

UM = {"global": Identity(), "um": Scale([0.5, 0.5], axes=("x", "y"))}


def units(ax):
    (found,) = [artist for artist in (*ax.collections, *ax.images) if artist.get_label() == "units"]
    return found


def lines(ax, name):
    """Return the lines around a category as one geometry."""
    (found,) = [a for a in ax.collections if isinstance(a, LineCollection) and a.get_label() == f"outline of {name}"]
    return shapely.polygonize([shapely.LineString(path.vertices) for path in found.get_paths()])


def table_of(region, instances, **columns):
    obs = pd.DataFrame(
        {"region": pd.Categorical([region] * len(instances)), "id": instances}, index=[f"u{i}" for i in instances]
    )
    return TableModel.parse(AnnData(obs=obs.assign(**columns)), region=region, region_key="region", instance_key="id")


def of_shapes(geometry, *, columns=None, **obs):
    frame = geopandas.GeoDataFrame(columns or {}, geometry=list(geometry))
    shapes = ShapesModel.parse(frame, transformations=UM)
    return SpatialData(shapes={"drawn": shapes}, tables={"table": table_of("drawn", np.arange(len(frame)), **obs)})


@pytest.fixture
def grid(sdata):
    """Boxes of 32 pixels, five rows and six columns, of two clusters: a block of 2 × 2 in the middle is "1"."""
    pp.tile(sdata, size=32)
    obs = sdata["patches_table"].obs
    obs["cluster"] = pd.Categorical(np.where(obs["row"].isin([1, 2]) & obs["column"].isin([2, 3]), "1", "0"))
    return sdata


def test_boxes_have_their_corners_and_colours(grid, ax):
    pl.spatial(grid, "cluster", table_key="patches_table", ax=ax)
    boxes = units(ax)
    assert isinstance(boxes, PathCollection)
    expected = grid["patches"].bounds.to_numpy() / 2  # half a micrometre per pixel
    np.testing.assert_allclose([path.get_extents().extents for path in boxes.get_paths()], expected)
    colors = dict(zip("01", default_colors(2), strict=True))
    assert [to_hex(c) for c in boxes.get_facecolors()] == [colors[c] for c in grid["patches_table"].obs["cluster"]]
    assert ax.get_xlabel() == "x (µm)"
    assert ax.get_xlim()[0] < 0 < 96 < ax.get_xlim()[1] < 100
    assert [handle.get_marker() for handle in ax.get_legend().legend_handles] == ["s", "s"]


def test_numbers_in_boxes_have_a_colour_bar(grid, ax):
    pl.spatial(grid, "row", table_key="patches_table", ax=ax)
    np.testing.assert_array_equal(units(ax).get_array(), grid["patches_table"].obs["row"])
    assert units(ax).colorbar is not None


def test_missing_boxes_are_grey_and_first(grid, ax):
    table = grid["patches_table"]
    table.obs.loc[table.obs_names[9], "cluster"] = None
    pl.spatial(grid, "cluster", table_key="patches_table", ax=ax)
    assert to_hex(units(ax).get_facecolors()[0]) == MISSING
    np.testing.assert_allclose(units(ax).get_paths()[0].get_extents().extents, grid["patches"].bounds.to_numpy()[9] / 2)


def test_a_part_of_the_table_in_another_order(grid, ax):
    grid.tables["patches_table"] = grid["patches_table"][[7, 3, 20]].copy()
    pl.spatial(grid, "row", table_key="patches_table", ax=ax)
    expected = grid["patches"].bounds.to_numpy()[[7, 3, 20]] / 2
    np.testing.assert_allclose([path.get_extents().extents for path in units(ax).get_paths()], expected)


def test_overlapping_boxes_are_drawn_as_their_middle(sdata, ax):
    pp.tile(sdata, size=32, overlap=0.5)
    pl.spatial(sdata, "row", table_key="patches_table", ax=ax)
    drawn = shapely.box(*np.array([path.get_extents().extents for path in units(ax).get_paths()]).T)
    np.testing.assert_allclose(shapely.area(drawn), 64)  # 8 × 8 µm of 16 × 16
    np.testing.assert_allclose(
        shapely.get_coordinates(shapely.centroid(drawn)), sdata["patches_table"].obsm["spatial"] / 2
    )
    assert shapely.area(shapely.union_all(drawn)) == pytest.approx(64 * len(drawn))


def test_boxes_of_annotators_stay_as_they_are(ax):
    low = np.random.default_rng(0).integers(0, 500, (40, 2))
    pl.spatial(of_shapes(shapely.box(*low.T, *(low + 100).T)), ax=ax)
    np.testing.assert_allclose(
        [path.get_extents().extents for path in units(ax).get_paths()], np.hstack([low, low + 100]) / 2
    )


def test_the_outline_of_a_cluster(grid, ax):
    pl.spatial(grid, "cluster", table_key="patches_table", outline="1", ax=ax)
    assert lines(ax, "1").normalize().equals(shapely.GeometryCollection([shapely.box(32, 16, 64, 48)]).normalize())
    assert "outline: 1" in ax.get_title()
    assert len(units(ax).get_paths()) == 30


def test_a_cluster_with_a_hole_and_its_inside(grid, ax):
    pl.spatial(grid, "cluster", table_key="patches_table", outline=["0", 1], ax=ax)
    (ring, hole) = sorted(shapely.get_parts(lines(ax, "0")), key=lambda part: -shapely.area(part))
    assert shapely.get_num_interior_rings(ring) == 1
    assert shapely.area(hole) == shapely.area(lines(ax, "1")) == 32 * 32


def test_on_an_image_only_the_outline(grid, ax):
    color = default_colors(2)[1]
    pl.spatial(grid, "cluster", table_key="patches_table", channels=["DAPI"], outline="1", ax=ax)
    assert not [a for a in ax.collections if a.get_label() == "units"]
    (line,) = [a for a in ax.collections if a.get_label() == "outline of 1"]
    assert to_hex(line.get_colors()[0]) == color
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["1"]
    assert ax.get_xlim() == (0, 96)


def test_on_an_image_fills_are_a_veil(grid):
    shown = pl.spatial(grid, "cluster", table_key="patches_table", channels=["DAPI"])[0, 0]
    assert 0 < units(shown).get_alpha() < 1
    shown = pl.spatial(grid, table_key="patches_table", channels=["DAPI"])[0, 0]
    assert len(units(shown).get_facecolors()) == 0  # a grid that the tissue is seen through
    assert to_hex(units(shown).get_edgecolors()[0]) == "#ffffff"


def test_a_size_makes_discs_of_boxes(grid, ax):
    pl.spatial(grid, "row", table_key="patches_table", size=4, ax=ax)
    assert isinstance(units(ax), EllipseCollection)


def test_polygons_with_holes_and_parts(ax):
    ring = shapely.box(0, 0, 100, 100).difference(shapely.box(40, 40, 60, 60))
    pair = shapely.MultiPolygon([shapely.box(200, 0, 220, 20), shapely.Polygon([(300, 0), (340, 0), (320, 30)])])
    pl.spatial(of_shapes([ring, pair], kind=pd.Categorical(["a", "b"])), "kind", ax=ax)
    first, second = units(ax).get_paths()
    assert (first.codes == Path.MOVETO).sum() == (second.codes == Path.MOVETO).sum() == 2
    shell, hole = np.split(first.vertices, [5])  # a renderer leaves out what runs against its shell
    assert shapely.is_ccw(shapely.linearrings([shell, hole])).tolist() == [True, False]
    np.testing.assert_allclose([hole.min(), hole.max()], [20, 30])
    np.testing.assert_allclose(second.get_extents().extents, [100, 0, 170, 15])


def test_circles_have_their_own_size(ax):
    centres = shapely.points([[20, 20], [60, 20], [60, 70]])
    data = of_shapes(centres, columns={"radius": [10.0, 4.0, 8.0]}, kind=pd.Categorical(["a", "b", "a"]))
    pl.spatial(data, "kind", outline="b", ax=ax)
    circles = units(ax)
    np.testing.assert_allclose(circles.get_widths(), [10, 4, 8])  # diameters in micrometres
    np.testing.assert_allclose(circles.get_offsets(), [[10, 10], [30, 10], [30, 35]])
    assert shapely.area(lines(ax, "b")) == pytest.approx(np.pi * 2**2, rel=0.01)


@pytest.fixture
def cells():
    """Two cells that touch, one alone and one without a row, on labels of half the size of the image."""
    labels = np.zeros((40, 60), np.uint16)
    labels[4:20, 4:20] = 7
    labels[4:20, 20:36] = 3
    labels[24:36, 40:56] = 900
    labels[24:36, 4:16] = 11
    image = Image2DModel.parse(np.full((1, 80, 120), 9, np.uint8), dims=("c", "y", "x"), c_coords=["DAPI"])
    element = Labels2DModel.parse(labels, dims=("y", "x"), transformations={"global": Scale([2, 2], axes=("x", "y"))})
    kind = pd.Categorical(["a", "b", None], categories=["a", "b"])
    table = table_of("cells", [900, 3, 7], kind=kind, level=[1.0, 2.0, np.nan])
    return SpatialData(images={"image": image}, labels={"cells": element}, tables={"table": table})


def color_at(ax, x, y):
    """Return the colour of what lies at a place on the page; None where nothing does."""
    rgba = np.asarray(units(ax).get_array())
    left, right, bottom, top = units(ax).get_extent()
    found = rgba[int((y - top) / (bottom - top) * len(rgba)), int((x - left) / (right - left) * rgba.shape[1])]
    return to_hex(found / 255) if found[3] else None


def test_cells_are_filled_where_they_lie(cells, ax):
    pl.spatial(cells, "kind", labels=True, ax=ax)  # no coordinates are needed
    a, b = default_colors(2)
    assert [color_at(ax, *at) for at in ((96, 60), (56, 24), (24, 24))] == [a, b, MISSING]
    assert color_at(ax, 20, 60) is None  # no row names this cell
    assert color_at(ax, 76, 44) is None
    assert color_at(ax, 39, 24) not in (b, MISSING)  # a border tells neighbours apart
    assert ax.get_xlim()[0] == pytest.approx(8, abs=2)
    assert ax.get_xlim()[1] == pytest.approx(112, abs=2)


def test_numbers_of_cells_have_a_colour_bar(cells, ax):
    pl.spatial(cells, "level", labels=True, ax=ax)
    assert color_at(ax, 24, 24) == MISSING
    assert color_at(ax, 96, 60) != color_at(ax, 56, 24)
    assert [inset.get_ylim() for inset in ax.child_axes] == [(1.0, 2.0)]


def test_the_outline_of_cells_runs_along_their_pixels(cells, ax):
    cells["table"].obs["kind"] = ["b", "a", "a"]
    pl.spatial(cells, "kind", labels=True, outline=["a", "b"], ax=ax)
    assert lines(ax, "a").normalize().equals(shapely.GeometryCollection([shapely.box(8, 8, 72, 40)]).normalize())
    assert lines(ax, "b").normalize().equals(shapely.GeometryCollection([shapely.box(80, 48, 112, 72)]).normalize())


def test_cells_on_an_image(cells):
    filled = pl.spatial(cells, "kind", labels=True, channels=["DAPI"])[0, 0]
    alpha = np.unique(np.asarray(units(filled).get_array())[..., 3])
    assert len(alpha) == 3  # nothing, veil, border
    bare = pl.spatial(cells, labels=True, channels=["DAPI"])[0, 0]
    rgba = np.asarray(units(bare).get_array())
    assert set(map(tuple, rgba.reshape(-1, 4).tolist())) == {(0, 0, 0, 0), (255, 255, 255, 255)}


def test_other_labels_of_the_same_ids(cells, ax):
    nuclei = np.zeros((80, 120), np.uint16)
    nuclei[10:20, 10:20] = 900
    cells.labels["nuclei"] = Labels2DModel.parse(nuclei, dims=("y", "x"))
    pl.spatial(cells, "kind", labels="nuclei", ax=ax)
    a, _ = default_colors(2)
    assert ((np.asarray(units(ax).get_array()) == np.round(np.array(to_rgba(a)) * 255)).all(-1)).any()


@pytest.mark.parametrize("mpp", [None, 0.25])
def test_other_labels_lie_where_their_own_transformation_says(cells, ax, mpp):
    """Labels of a quarter of the size of the table's own, moved by 8: the page is that of the table's."""
    nuclei = np.zeros((10, 15), np.uint16)
    nuclei[3:5, 5:7] = 900
    placed = Sequence([Scale([8, 8], axes=("x", "y")), Translation([8, 16], axes=("x", "y"))])
    cells.labels["nuclei"] = Labels2DModel.parse(nuclei, dims=("y", "x"), transformations={"global": placed})
    pl.spatial(cells, "kind", labels="nuclei", mpp=mpp, ax=ax)
    page = 1 if mpp is None else mpp / 2  # a pixel of the table's own labels is two units of "global"
    a, _ = default_colors(2)
    assert [color_at(ax, x * page, y * page) for x, y in ((49, 41), (63, 55))] == [a, a]
    assert [color_at(ax, x * page, y * page) for x, y in ((47, 41), (65, 55))] == [None, None]


def test_one_labels_element_for_several_regions_is_asked_about(ax):
    labels = {
        f"{kind}_{number}": Labels2DModel.parse(np.eye(4, dtype=np.uint8), dims=("y", "x"))
        for kind in ("cells", "nuclei")
        for number in "12"
    }
    obs = pd.DataFrame({"region": pd.Categorical(["cells_1", "cells_2"]), "id": [1, 1]}, index=["a", "b"])
    table = TableModel.parse(AnnData(obs=obs), region=["cells_1", "cells_2"], region_key="region", instance_key="id")
    data = SpatialData(labels=labels, tables={"table": table})
    with pytest.raises(
        ValueError,
        match=r"labels='nuclei_1' is one element, and 2 regions .*'cells_1', 'cells_2'.*region=, or .* labels=True",
    ):
        pl.spatial(data, labels="nuclei_1")
    pl.spatial(data, labels="nuclei_1", region="cells_1", ax=ax)
    assert pl.spatial(data, labels=True).shape == (2, 1)


def test_pyramids_and_large_labels_are_thinned(ax, monkeypatch):
    monkeypatch.setattr("kronos_sc.pl._cells.MOST_PIXELS", 40)
    labels = np.kron(np.arange(1, 17).reshape(4, 4), np.ones((64, 64), int)).astype(np.int32)
    element = Labels2DModel.parse(labels, dims=("y", "x"), scale_factors=[2])
    data = SpatialData(
        labels={"cells": element}, tables={"table": table_of("cells", np.arange(1, 17), level=np.arange(16.0))}
    )
    pl.spatial(data, "level", labels=True, ax=ax)
    assert max(np.asarray(units(ax).get_array()).shape) <= 40
    assert units(ax).get_extent()[1] == pytest.approx(256, rel=0.03)
    assert len({color_at(ax, x, y) for x in range(32, 256, 64) for y in range(32, 256, 64)}) == 16


def test_discs_are_surrounded_by_their_ground(ax):
    xy = np.stack(np.meshgrid(np.arange(12.0), np.arange(10.0)), -1).reshape(-1, 2) * 10
    inside = (xy[:, 0] < 55) & (xy[:, 1] < 45)
    table = AnnData(
        obs=pd.DataFrame({"cluster": np.where(inside, "3", "0")}, index=[str(i) for i in range(120)]),
        obsm={"spatial": xy},
    )
    pl.spatial(table, "cluster", outline="3", ax=ax)
    ground = lines(ax, "3")
    assert shapely.contains_xy(ground, *xy.T).tolist() == inside.tolist()
    assert shapely.area(ground) == pytest.approx(60 * 50, rel=0.25)


def test_many_small_cells_are_surrounded_together(ax):
    xy = np.stack(np.meshgrid(np.arange(70.0), np.arange(70.0)), -1).reshape(-1, 2) * 10
    inside = (xy < 300).all(axis=1)
    cells = shapely.buffer(shapely.points(xy), 4, quad_segs=2)
    pl.spatial(of_shapes(cells, cluster=np.where(inside, "3", "0")), "cluster", outline="3", ax=ax)
    assert len(shapely.get_parts(lines(ax, "3"))) == 1
    assert units(ax).get_rasterized() is False or len(xy) > 5000


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"outline": "2", "color": "cluster"}, KeyError, "no category of 'cluster' '2'; there are: '0', '1'.*outline="),
        ({"outline": "1"}, ValueError, r"color has none with categories \(none\).*color='leiden'"),
        ({"outline": "1", "color": "row"}, ValueError, r"color has none with categories \('row'\).*astype\(str\)"),
        (
            {"labels": True},
            ValueError,
            "region 'patches' is shapes, which are drawn as they are; labels: 'cells'.*table_key=",
        ),
        ({"labels": "cell"}, KeyError, "no labels 'cell'; there are: 'cells'.*labels=True"),
        ({"labels": "cells"}, ValueError, "No row of the table names a label of 'cells'|Several rows"),
    ],
)
def test_wrong_arguments_say_so(grid, arguments, error, message):
    grid["patches_table"].obs["patch_id"] += 5_000 if arguments.get("labels") == "cells" else 0
    with pytest.raises(error, match=message):
        pl.spatial(grid, table_key="patches_table", **arguments)


def test_labels_need_pixels(sdata):
    with pytest.raises(ValueError, match=r"labels needs pixels, and a table has none\. Pass the SpatialData"):
        pl.spatial(sdata["table"], labels=True)
    del sdata["table"].uns["spatialdata_attrs"]
    with pytest.raises(ValueError, match=r"no region metadata.*Link it with spatialdata\.models\.TableModel\.parse"):
        pl.spatial(sdata, labels=True)


def test_rows_without_a_shape(grid, ax):
    table = grid["patches_table"]
    grid.shapes["patches"] = grid["patches"].drop(index=[4, 5])
    with pytest.warns(UserWarning, match="2 of 30 rows name no shape of 'patches' and are not drawn: 4, 5"):
        pl.spatial(grid, "row", table_key="patches_table", ax=ax)
    assert len(units(ax).get_paths()) == 28
    table.obs["patch_id"] += 100
    with pytest.raises(
        ValueError, match=r"No row of the table names a shape of 'patches': the rows have '100'.*or pass size="
    ):
        pl.spatial(grid, "row", table_key="patches_table")
    assert len(units(pl.spatial(grid, table_key="patches_table", size=9)[0, 0]).get_offsets()) == 30  # the advice helps


def test_rows_that_name_one_label_twice(cells):
    cells["table"].obs["id"] = [7, 7, 3]
    with pytest.raises(ValueError, match="Several rows name the same label of 'cells': 7"):
        pl.spatial(cells, labels=True)
