"""GeoJSON as other programs, archives and accidents leave it."""

from __future__ import annotations

import gzip
import io
import json
import zipfile
from pathlib import Path

import geopandas
import numpy as np
import pytest
import shapely
from spatialdata.models import ShapesModel

import kronos_sc as ks
from kronos_sc.io import _packed

BOX = '{"type":"Polygon","coordinates":[[[8,8],[40,8],[40,30],[8,30],[8,8]]]}'


def feature(geometry: str = BOX, properties: str = "{}", *, key: str = "x") -> bytes:
    return f'{{"type":"Feature","id":"{key}","geometry":{geometry},"properties":{properties}}}'.encode()


def zipped(**entries: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            archive.writestr(name.replace("_dot_", ".").replace("_in_", "/"), content)
    return out.getvalue()


@pytest.fixture
def tissue(make):
    return make((64, 64), table=False)


@pytest.fixture
def put(tmp_path):
    def write(content: bytes, name: str = "a.geojson") -> Path:
        (tmp_path / name).write_bytes(content)
        return tmp_path / name

    return write


@pytest.mark.parametrize(
    "content",
    [
        zipped(slide_dot_geojson=feature()),
        zipped(
            folder_in_slide_dot_GeoJSON=feature(),
            readme_dot_txt=b"no",
            notes_dot_json=b"[1]",
            __MACOSX_in_slide_dot_geojson=b"\0",
        ),
        zipped(slide_dot_json=feature()),
        zipped(slide_dot_geojson_dot_gz=gzip.compress(feature())),
        gzip.compress(feature()),
        feature().decode().encode("utf-16"),
        b"\xef\xbb\xbf" + feature(),
    ],
)
def test_archives_and_encodings_are_told_by_their_first_bytes(tissue, put, content) -> None:
    ks.io.read_geojson(tissue, put(content, "sent"))
    assert tissue["annotations"].geometry.iloc[0].equals(shapely.box(8, 8, 40, 30))


DAMAGED_GZIP = bytearray(gzip.compress(feature()))
DAMAGED_GZIP[12] ^= 0x55
DAMAGED_ZIP = bytearray(zipped(a_dot_geojson=feature() * 30))
DAMAGED_ZIP[60] ^= 0x55


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (bytes(DAMAGED_GZIP), "it is packed, and cannot be unpacked"),
        (bytes(DAMAGED_ZIP), "it is packed, and cannot be unpacked"),
        (zipped(a_dot_geojson=feature())[:-30], "it is packed, and cannot be unpacked"),
        (
            zipped(a_dot_geojson=feature(), b_dot_geojson=feature()),
            r"a zip of 2 files of the kind '.geojson': 'a.geojson', 'b.geojson'. Unpack it",
        ),
        (zipped(a_dot_csv=b"1"), r"a zip without a file of the kind '.geojson' or '.json'; it holds 'a.csv'"),
        (zipped(), "a zip without a file"),
        (b"[" * 100_000, "nested too deep"),
        (
            feature(properties="[1]"),
            "Object 0 of 'a.geojson' has properties that cannot be read: its properties are of the kind list",
        ),
        (
            feature(properties='{"classification":{"names":5}}'),
            "Object 0 of 'a.geojson' has properties that cannot be read: its class is 5",
        ),
        (feature("[1,2]"), "Object 0 of 'a.geojson' has an outline that cannot be read: it is of the kind list"),
        (feature('{"type":"Polygon"}'), "Object 0 of 'a.geojson' has an outline"),
        (feature('{"type":"Polygon","coordinates":{"a":1}}'), "Object 0 of 'a.geojson' has an outline"),
        (
            feature('{"type":"Polygon","coordinates":[[["a",8],[40,8],[40,30],[8,8]]]}'),
            "Object 0 of 'a.geojson' has an outline",
        ),
        (
            feature('{"type":"Polygon","coordinates":[[[%s,8],[40,8],[40,30],[8,8]]]}' % ("9" * 400)),
            "Object 0 of 'a.geojson' has an outline",
        ),
        (
            feature(f'{{"type":"MultiPolygon","coordinates":{"[" * 800}1{"]" * 800}}}'),
            "Object 0 of 'a.geojson' has an outline",
        ),
        (
            feature('{"type":"Polygon","coordinates":[[[8,8],[40,NaN],[40,30],[8,8]]]}'),
            "Object 0 of 'a.geojson' has corners that are not finite",
        ),
    ],
)
def test_what_is_broken_is_named(tissue, put, state, unchanged, content, words) -> None:
    before = state(tissue)
    with pytest.raises(ValueError, match=words) as error:
        ks.io.read_geojson(tissue, put(content))
    assert "a.geojson" in str(error.value)
    unchanged(before, state(tissue))


@pytest.mark.parametrize("pack", [gzip.compress, lambda content: zipped(a_dot_geojson=content)])
def test_what_unpacks_to_more_than_text_can_is_not_unpacked(tissue, put, monkeypatch, pack) -> None:
    monkeypatch.setattr(_packed, "_ALWAYS_ALLOWED", 2**16)
    with pytest.raises(ValueError, match=r"'a.geojson' unpacks to more than .* unpack it yourself"):
        ks.io.read_geojson(tissue, put(pack(b" " * 2**22 + feature())))
    ks.io.read_geojson(tissue, put(pack(feature())))


TUMOUR = '{"name": "Tumor", "color": [200, 0, 16]}'


@pytest.mark.parametrize(
    ("classification", "label", "color"),
    [
        (TUMOUR, "Tumor", "#c80010"),
        ('"Tumor"', "Tumor", None),
        (json.dumps(TUMOUR), "Tumor", "#c80010"),  # as geopandas and GDAL write nested objects
        (
            json.dumps("{'name': 'Tumor', 'color': [np.int32(200), np.int64(0), 16]}"),
            "Tumor",
            "#c80010",
        ),  # as pandas shows them
        ('{"names": ["Tumor", "Positive"], "color": "#C80010"}', "Tumor: Positive", "#c80010"),
        ('["Tumor", "Positive"]', "Tumor: Positive", None),
        ('{"names": "Tumor"}', "Tumor", None),
        ('{"name": "Tumor", "colorRGB": -3670000}', "Tumor", "#c80010"),
        ('{"name": "Tumor", "colorRGB": "-3670000"}', "Tumor", "#c80010"),
        ('{"name": "Tumor", "color": "[200.0, 0, 16]"}', "Tumor", "#c80010"),
        ('{"name": "Tumor", "color": [300, 0, 16]}', "Tumor", None),
        ('"{odd name}"', "{odd name}", None),
        ('"nan"', None, None),
        ('""', None, None),
        ("null", None, None),
        ('{"name": null}', None, None),
    ],
)
def test_spellings_of_a_class(tissue, put, classification, label, color) -> None:
    ks.io.read_geojson(tissue, put(feature(properties=f'{{"classification": {classification}}}')))
    shapes = tissue["annotations"]
    assert shapes["class"].astype(object).where(shapes["class"].notna(), None).tolist() == [label]
    assert shapes["color"].tolist() == [color]


@pytest.mark.parametrize(
    ("key", "kind"), [("PathDetectionObject", "detection"), ("PathCellObject", "cell"), ("x", "annotation")]
)
def test_old_files_say_the_kind_in_the_id(tissue, put, key, kind) -> None:
    ks.io.read_geojson(tissue, put(feature(key=key)))
    assert tissue["annotations"]["object_type"].tolist() == [kind]


def test_areas_of_collections_and_parts_without_points(tissue, put) -> None:
    """A collection gives its areas; an empty part of a multipolygon is no part."""
    two = '{"type":"MultiPolygon","coordinates":[[[[0,0],[4,0],[4,4],[0,0]]],[[]],[]]}'
    mixed = f'{{"type":"GeometryCollection","geometries":[{{"type":"Point","coordinates":[1,1]}},{BOX}]}}'
    ks.io.read_geojson(tissue, put(b"[" + feature(two) + b"," + feature(mixed) + b"]"))
    assert tissue["annotations"].geometry.geom_type.tolist() == ["Polygon", "Polygon"]
    assert tissue["annotations"].geometry.area.tolist() == [8, 32 * 22]


def test_what_is_written_opens_everywhere(tissue, tmp_path, caplog) -> None:
    """Valid, finite, closed; a part alone is a polygon.

    What covers nothing is named; holes stay; classes are names that QuPath takes.
    """
    bow = shapely.Polygon([(0, 0), (50, 50), (50, 0), (0, 50)])
    ring = shapely.box(0, 0, 20, 20).difference(shapely.box(5, 5, 10, 10))
    flat = shapely.Polygon([(0, 0), (10, 10), (20, 20)])
    far = shapely.Polygon([(0, 0), (np.inf, 1), (2, 2)])
    alone = shapely.MultiPolygon([shapely.box(10, 60, 20, 80)])
    halves = shapely.MultiPolygon([shapely.box(0, 0, 10, 10), shapely.box(10, 0, 20, 10)])  # share an edge: not valid
    geometry = [bow, ring, flat, far, alone, halves, shapely.Polygon()]
    names = ["a", "two\nlines", "c", "d", " ", "nan", "f"]
    frame = geopandas.GeoDataFrame({"class": names}, geometry=geometry, index=list("qrstuvw"))
    tissue.shapes["drawn"] = ShapesModel.parse(frame)
    with caplog.at_level("INFO", logger="kronos_sc"), pytest.warns(UserWarning, match="cover nothing") as warned:
        ks.io.write_geojson(tissue, tmp_path / "out.geojson", element="drawn")
    said = [str(one.message) for one in warned]
    assert any("3 outlines of 'drawn' cover nothing" in one and one.endswith("s, t, w.") for one in said)
    assert any("1 of 7 rows of sdata.shapes['drawn']['class'] hold the text 'nan'" in one for one in said)
    assert "drawn: 2 outlines crossed or touched themselves and were mended: q, v" in caplog.text
    assert "wrote 4 outlines" in caplog.text
    found = json.loads((tmp_path / "out.geojson").read_text())["features"]
    written = [shapely.geometry.shape(one["geometry"]) for one in found]
    assert all(one.is_valid and not one.is_empty for one in written)
    assert [one.geom_type for one in written] == ["MultiPolygon", "Polygon", "Polygon", "Polygon"]
    assert [one.area for one in written] == [1250, 375, 200, 200]
    assert [one["properties"].get("classification", {}).get("name") for one in found] == ["a", "two lines", None, None]
