"""Outlines from and to QuPath."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import geopandas
import numpy as np
import pandas as pd
import pytest
import shapely
from spatialdata.models import ShapesModel, TableModel
from spatialdata.transformations import Scale, Translation, get_transformation
from spatialdata.transformations import Sequence as Chain

import kronos_sc as ks
from kronos_sc.io._label_outlines import label_outlines

BOX = {"type": "Polygon", "coordinates": [[[10, 20], [30, 20], [30, 60], [10, 60], [10, 20]]]}


def feature(geometry: dict | None, **properties: object) -> dict:
    return {"type": "Feature", "id": "x", "geometry": geometry, "properties": properties}


@pytest.fixture
def put(tmp_path):
    """Return a function that writes JSON and gives its path."""

    def write(content: object, name: str = "drawn.geojson") -> Path:
        raw = (content if isinstance(content, str) else json.dumps(content)).encode()
        path = tmp_path / name
        path.write_bytes(gzip.compress(raw) if name.endswith(".gz") else raw)
        return path

    return write


@pytest.fixture
def tissue(make):
    return make((150, 190), table=True)


def test_all_that_qupath_says_is_read(tissue, put) -> None:
    """Classes of both spellings, colours of both ages, names, kinds; a hole stays a hole; z is dropped."""
    hole = {
        "type": "Polygon",
        "coordinates": [
            [[0, 0, 0], [9, 0, 0], [9, 9, 0], [0, 9, 0], [0, 0, 0]],
            [[2, 2, 0], [4, 2, 0], [4, 4, 0], [2, 2, 0]],
        ],
    }
    two = {"type": "MultiPolygon", "coordinates": [BOX["coordinates"], [[[50, 50], [60, 50], [60, 60], [50, 50]]]]}
    found = [
        feature(BOX, objectType="annotation", name="A1", classification={"name": "Tumor", "color": [200, 0, 16]}),
        feature(hole, objectType="detection", classification={"names": ["Stroma", "Positive"], "color": [0, 255, 1]}),
        feature(two, object_type="annotation", classification={"name": "Tumor", "colorRGB": -3670016}),
        feature(BOX, objectType="cell", color=[1, 2, 3]),
    ]
    ks.io.read_geojson(tissue, put({"type": "FeatureCollection", "features": found}))
    shapes = tissue.shapes["annotations"]
    assert shapes["class"].astype(object).where(shapes["class"].notna(), None).tolist() == [
        "Tumor",
        "Stroma: Positive",
        "Tumor",
        None,
    ]
    assert shapes["class"].cat.categories.tolist() == ["Tumor", "Stroma: Positive"]
    assert shapes["color"].tolist() == ["#c80010", "#00ff01", "#c80000", "#010203"]
    assert shapes["name"].tolist()[0] == "A1"
    assert shapes["object_type"].tolist() == ["annotation", "detection", "annotation", "cell"]
    assert shapes.geometry.area.tolist() == [800, 81 - 2, 800 + 50, 800]
    assert not shapes.geometry.has_z.any()


@pytest.mark.parametrize(
    "wrap", [lambda one: one, lambda one: [one], lambda one: {"type": "FeatureCollection", "features": [one]}]
)
@pytest.mark.parametrize("name", ["drawn.geojson", "drawn.geojson.gz"])
def test_every_form_of_file(tissue, put, wrap, name) -> None:
    ks.io.read_geojson(tissue, put(wrap(feature(BOX)), name))
    assert tissue.shapes["annotations"].geometry.iloc[0].equals(shapely.box(10, 20, 30, 60))


def test_shapes_lie_where_the_image_lies(make, put) -> None:
    ways = {"global": Translation([100, 200], axes=("y", "x")), "um": Scale([0.5, 0.5], axes=("y", "x"))}
    sdata = make((80, 90), image_transformations=ways, table=False)
    ks.io.read_geojson(sdata, put(feature(BOX)))
    assert get_transformation(sdata.shapes["annotations"], get_all=True) == ways


def test_what_is_no_area_is_named_and_left_out(tissue, put, caplog) -> None:
    bow = {"type": "Polygon", "coordinates": [[[0, 0], [10, 10], [10, 0], [0, 10], [0, 0]]]}
    flat = {"type": "Polygon", "coordinates": [[[0, 0], [10, 10], [20, 20], [0, 0]]]}
    found = [
        feature({"type": "Point", "coordinates": [1, 2]}),
        feature(None),
        feature(bow),
        feature(flat),
        feature({"type": "Polygon", "coordinates": []}),
    ]
    with caplog.at_level("INFO", logger="kronos_sc"):
        ks.io.read_geojson(tissue, put(found))
    shapes = tissue.shapes["annotations"]
    assert shapes.geometry.area.tolist() == [50]
    assert shapes.geometry.is_valid.all()
    said = caplog.text
    assert "1 Point, 1 no geometry left out" in said
    assert "mended: 2, 3" in said
    assert "2 empty outlines dropped" in said


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{not json", "is no GeoJSON"),
        ({"type": "Polygon", "coordinates": []}, "holds 'Polygon'; a FeatureCollection"),
        ({"type": "FeatureCollection", "features": []}, r"holds no area \(no object\)"),
        (feature({"type": "Point", "coordinates": [1, 2]}), r"holds no area \(1 Point\)"),
        (
            feature({"type": "Polygon", "coordinates": [[[0, 0], [1, 1]]]}),
            "Object 0 of 'drawn.geojson' has an outline that cannot be read",
        ),
        (
            feature({"type": "Polygon", "coordinates": [[[1e6, 0], [1e6 + 5, 0], [1e6, 5], [1e6, 0]]]}),
            "No area of 'drawn.geojson' lies on the image",
        ),
    ],
)
def test_files_that_cannot_be_used(tissue, put, state, unchanged, content, words) -> None:
    before = state(tissue)
    with pytest.raises(ValueError, match=words):
        ks.io.read_geojson(tissue, put(content))
    unchanged(before, state(tissue))


def test_names_and_places_that_are_taken(tissue, put) -> None:
    path = put(feature(BOX))
    ks.io.read_geojson(tissue, path)
    with pytest.raises(ValueError, match="The name 'annotations' is taken"):
        ks.io.read_geojson(tissue, path)
    ks.io.read_geojson(tissue, path, overwrite=True)
    with pytest.raises(ValueError, match="class_key='color' is the name of another column"):
        ks.io.read_geojson(tissue, path, key_added="more", class_key="color")
    with pytest.raises(FileNotFoundError, match=r"There is no 'drown.geojson'.*close names there: 'drawn.geojson'"):
        ks.io.read_geojson(tissue, path.with_name("drown.geojson"), key_added="more")
    far = {"type": "Polygon", "coordinates": [[[500, 500], [510, 500], [510, 510], [500, 500]]]}
    with pytest.warns(UserWarning, match="1 of 2 areas of 'far.geojson' lie outside"):
        ks.io.read_geojson(tissue, put([feature(BOX), feature(far)], "far.geojson"), key_added="far")


def regions(image, *, index=None) -> geopandas.GeoDataFrame:
    ring = shapely.box(60, 60, 90.25, 80).difference(shapely.box(65, 65, 70, 70.125))
    parts = shapely.MultiPolygon([shapely.box(100, 0, 110, 5), shapely.box(120, 0, 121.5, 5)])
    data = {"class": pd.Categorical(["tumour", None, "stroma"], categories=["stroma", "tumour"])}
    frame = geopandas.GeoDataFrame(data, geometry=[ring, shapely.box(0, 0, 10, 10 / 3), parts], index=index)
    return ShapesModel.parse(frame, transformations=get_transformation(image, get_all=True))


@pytest.mark.parametrize("name", ["out.geojson", "out.geojson.gz"])
def test_what_is_written_is_read_back(tissue, tmp_path, name) -> None:
    tissue.shapes["regions"] = regions(tissue["image"])
    ks.io.write_geojson(tissue, tmp_path / name, element="regions")
    ks.io.read_geojson(tissue, tmp_path / name)
    mine, back = tissue.shapes["regions"], tissue.shapes["annotations"]
    assert shapely.equals_exact(
        shapely.normalize(mine.geometry.to_numpy()), shapely.normalize(back.geometry.to_numpy()), 1e-6
    ).all()
    assert back["class"].isna().tolist() == mine["class"].isna().tolist() == [False, True, False]
    assert back["class"].dropna().tolist() == mine["class"].dropna().tolist() == ["tumour", "stroma"]
    assert back["color"].tolist() == ["#e69f00", None, "#0072b2"]
    assert back["object_type"].tolist() == ["annotation"] * 3


def test_the_same_call_gives_the_same_bytes_and_every_id_once(tissue, tmp_path) -> None:
    files = [tmp_path / name for name in ("a.geojson.gz", "b.geojson.gz")]
    for file in files:
        ks.io.write_geojson(tissue, file, element="cells")
    assert files[0].read_bytes() == files[1].read_bytes()
    found = json.loads(gzip.decompress(files[0].read_bytes()))["features"]
    assert len({one["id"] for one in found}) == len(found) == tissue["table"].n_obs
    assert {one["properties"]["objectType"] for one in found} == {"detection"}
    assert not list(tmp_path.glob(".*"))


def test_cells_carry_the_class_and_colour_of_their_row(tissue, tmp_path) -> None:
    """Each outline covers exactly the pixels of its cell; cells without a row are left out."""
    table = tissue["table"]
    table.obs["kind"] = pd.Categorical(np.where(np.arange(table.n_obs) % 2, "odd", "even"))
    table.uns["kind_colors"] = np.array(["red", "#00ff00"], dtype=object)
    tissue["table"] = table[3:].copy()
    ks.io.write_geojson(tissue, tmp_path / "c.geojson", element="cells", class_key="kind", object_type="cell")
    found = json.loads((tmp_path / "c.geojson").read_text())["features"]
    obs = tissue["table"].obs
    labels = np.asarray(tissue["cells"])
    pixels = {}
    for one in found:
        outline = shapely.geometry.shape(one["geometry"])
        y, x = (int(v) for v in (outline.representative_point().y, outline.representative_point().x))
        pixels[labels[y, x]] = (outline.area, one["properties"]["classification"])
    assert {label: area for label, (area, _) in pixels.items()} == dict(zip(obs["cell_id"], obs["area"], strict=True))
    said = {"even": {"name": "even", "color": [255, 0, 0]}, "odd": {"name": "odd", "color": [0, 255, 0]}}
    assert all(pixels[label][1] == said[kind] for label, kind in zip(obs["cell_id"], obs["kind"], strict=True))


def test_a_map_of_tokens_comes_out_in_pixels_of_the_image(make, tmp_path) -> None:
    """A map at an eighth of the resolution, shifted; parts that do not touch are annotations of their own."""
    from spatialdata.models import Labels2DModel

    sdata = make((80, 80), table=False)
    codes = np.zeros((9, 9), np.uint8)
    codes[1:3, 1:4], codes[5:7, 5:7], codes[4, 0] = 1, 1, 2
    way = Chain([Scale([8, 8], axes=("y", "x")), Translation([4, 2], axes=("y", "x"))])
    sdata.labels["map_class"] = Labels2DModel.parse(codes, dims=("y", "x"), transformations={"global": way})
    from anndata import AnnData

    obs = pd.DataFrame(
        {"region": pd.Categorical(["map_class"] * 2), "code": [1, 2], "class": pd.Categorical(["tumour", "stroma"])},
        index=["1", "2"],
    )
    sdata.tables["map_table"] = TableModel.parse(
        AnnData(obs=obs), region="map_class", region_key="region", instance_key="code"
    )
    ks.io.write_geojson(sdata, tmp_path / "m.geojson", element="map_class", object_type="annotation")
    found = json.loads((tmp_path / "m.geojson").read_text())["features"]
    bounds = sorted(
        (one["properties"]["classification"]["name"], shapely.geometry.shape(one["geometry"]).bounds) for one in found
    )
    assert bounds == [("stroma", (2, 36, 10, 44)), ("tumour", (10, 12, 34, 28)), ("tumour", (42, 44, 58, 60))]


def test_cells_cut_by_chunks_are_whole() -> None:
    import dask.array as da
    from scipy import ndimage

    blobs = ndimage.gaussian_filter(np.random.default_rng(1).standard_normal((70, 90)), 2) > 0.05
    labels = ndimage.label(blobs)[0].astype(np.uint32) * 7
    labels[0, 0], labels[69, 89] = 2**31 + 5, 2**31 + 5  # one label in two far corners
    whole = dict(label_outlines(da.from_array(labels, chunks=-1), name="cells"))
    cut = dict(label_outlines(da.from_array(labels, chunks=(13, 17)), name="cells"))
    assert sorted(whole) == sorted(cut) == np.unique(labels)[1:].tolist()
    assert all(shapely.equals(whole[label], cut[label]) for label in whole)
    assert {label: int(shape.area) for label, shape in cut.items()} == dict(
        zip(*(v.tolist() for v in np.unique(labels[labels > 0], return_counts=True)), strict=True)
    )
    # a seam leaves no corner behind
    assert sum(map(shapely.get_num_coordinates, cut.values())) == sum(map(shapely.get_num_coordinates, whole.values()))


def test_files_that_are_not_written(tissue, tmp_path) -> None:
    where = tmp_path / "x.geojson"
    with pytest.raises(KeyError, match="There is no shapes or labels 'cell'"):
        ks.io.write_geojson(tissue, where, element="cell")
    with pytest.raises(KeyError, match="There is no column in obs of table 'table' 'kind'"):
        ks.io.write_geojson(tissue, where, element="cells", class_key="kind")
    with pytest.raises(FileNotFoundError, match="Make the folder first"):
        ks.io.write_geojson(tissue, tmp_path / "no" / "x.geojson", element="cells")
    where.write_text("mine")
    with pytest.raises(FileExistsError, match="overwrite=True"):
        ks.io.write_geojson(tissue, where, element="cells")
    assert where.read_text() == "mine"


def test_a_file_that_was_not_finished_does_not_stay(tissue, tmp_path, monkeypatch) -> None:
    from kronos_sc.io import _write_geojson

    monkeypatch.setattr(_write_geojson, "uuid5", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        ks.io.write_geojson(tissue, tmp_path / "x.geojson", element="cells")
    assert not list(tmp_path.iterdir())
