"""A probe drawn over whole images."""

from dataclasses import replace

import geopandas
import numpy as np
import pytest
import shapely
from numpy.testing import assert_allclose, assert_array_equal
from spatialdata.models import ShapesModel
from spatialdata.transformations import Identity, Scale, Sequence, Translation, get_transformation

import kronos_sc as ks
from kronos_sc._dense.blend import Blend
from kronos_sc._dense.windows import Tiling
from kronos_sc.models._model import TokenGrid
from kronos_sc.tl import DenseOptions, artifact_map, dense_probe, predict_map

TWO = ("DAPI", "CD3")
QUICK = DenseOptions(C=0.1, precision="float32", n_folds=2, baseline=False)
FLOAT = {"precision": "float32"}


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    """Texture that differs from place to place, 200 × 264: neither axis a whole number of tokens."""
    rng = np.random.default_rng(5)
    rough = rng.random((2, 200, 264)) ** 2
    slow = np.sin(np.arange(264) / 40)[None, None] + np.cos(np.arange(200) / 30)[None, :, None] + 2
    return (rough * slow * 9000).astype(np.uint16)


@pytest.fixture(scope="module")
def tissue(make, pixels):
    def build(part=None, **kwargs):
        return make(image=pixels if part is None else pixels[part], channels=TWO, table=False, **kwargs)

    return build


@pytest.fixture(scope="module")
def probe(tissue, tiny):
    """Trained on six boxes of three classes; the last class comes first in the alphabet of nobody."""
    sdata = tissue()
    corners = [(0, 0), (0, 128), (64, 64), (64, 192), (128, 0), (128, 128)]
    frame = geopandas.GeoDataFrame(
        {"class": ["b", "a", "c"] * 2}, geometry=[shapely.box(x, y, x + 64, y + 64) for y, x in corners]
    )
    sdata["boxes"] = ShapesModel.parse(frame)
    return dense_probe(sdata, "boxes", model=tiny, patch_size=64, options=QUICK)


def drawn(sdata, probe, tiny, **kwargs) -> np.ndarray:
    predict_map(sdata, probe, model=tiny, image_key="image", **FLOAT | kwargs)
    return np.asarray(sdata["map"].data)


def test_two_windows_blend_by_distance_to_their_borders() -> None:
    """Windows of 4 tokens that share two: sin²(π/8), sin²(3π/8) and back.

    The shared weights are swapped and add up to 1.
    """
    tiling = Tiling((64, 96), 64, TokenGrid(4, 16, 8.0), 32)
    blend = Blend(tiling, 2)
    first = np.zeros((1, 16, 2), np.float32)
    second = np.zeros((1, 16, 2), np.float32)
    first[..., 0] = 1
    second[..., 1] = 1
    blend.add(np.array([0, 0]), np.array([0, 2]), np.concatenate([first, second]).reshape(2, -1))
    low = np.sin(np.pi / 8) ** 2
    high = np.sin(3 * np.pi / 8) ** 2
    expected = [1, 1, high / (low + high), low / (low + high), 0, 0]
    proba = blend.mean()
    assert proba.shape == (2, 4, 6)
    assert_allclose(proba[0], np.tile(expected, (4, 1)), atol=1e-6)
    assert_allclose(proba.sum(axis=0), 1, atol=1e-6)
    assert_allclose(expected[2], 0.853553, atol=1e-6)


def test_a_constant_answer_makes_a_constant_map_up_to_the_border(tissue, probe, tiny) -> None:
    flat = replace(probe, coef=np.zeros_like(probe.coef), intercept=np.log([0.2, 0.5, 0.3]).astype(np.float32))
    proba = drawn(tissue(), flat, tiny)
    assert proba.shape == (3, 13, 17)  # 200 / 16 and 264 / 16, the last ones in part beyond the image
    assert_allclose(proba, np.broadcast_to(np.reshape([0.2, 0.5, 0.3], (3, 1, 1)), proba.shape), atol=1e-6)


def test_blocks_leave_no_seam(tissue, probe, tiny, monkeypatch) -> None:
    """One chunk and one block, against blocks of one small chunk each: the same windows, the same map."""
    whole = drawn(tissue(chunks=(2, 200, 264)), probe, tiny)
    assert np.ptp(whole) > 0.3  # it says something
    monkeypatch.setattr(ks.settings, "block_memory", 1)
    assert_allclose(drawn(tissue(chunks=(1, 48, 80)), probe, tiny), whole, atol=1e-4)


def test_a_map_of_a_part_is_that_part_of_the_map(tissue, probe, tiny) -> None:
    """Shifted by whole strides of the windows: equal wherever both maps have the same windows."""
    whole = drawn(tissue(), probe, tiny)
    part = drawn(tissue((slice(None), slice(32, 192), slice(64, 256))), probe, tiny)
    assert part.shape == (3, 10, 12)
    inner = (
        slice(None),
        slice(2, 7),
        slice(2, 9),
    )  # what neither a first window of the whole nor its moved last one reaches
    assert_allclose(part[inner], whole[:, 2:12, 4:16][inner], atol=1e-4)
    assert np.abs(part - whole[:, 2:12, 4:16]).max() > 1e-3  # at its border the part lacks windows that the whole has


def test_a_map_lies_where_its_image_lies(tissue, probe, tiny) -> None:
    """A pixel of the map covers 16 pixels of the image, in pixels and in micrometres."""
    um = Sequence([Scale([0.5, 0.25], axes=("y", "x")), Translation([100.0], axes=("x",))])
    sdata = tissue(image_transformations={"global": Identity(), "um": um})
    predict_map(sdata, probe, model=tiny, polygons=True, **FLOAT)
    corner = np.array([3.0, 5.0, 1.0])  # y, x of the map
    for name in ("map", "map_class"):
        systems = get_transformation(sdata[name], get_all=True)
        matrix = {key: t.to_affine_matrix(("y", "x"), ("y", "x")) for key, t in systems.items()}
        assert_allclose((matrix["global"] @ corner)[:2], [48, 80])
        assert_allclose((matrix["um"] @ corner)[:2], [24, 120])
    assert set(get_transformation(sdata["map_regions"], get_all=True)) == {"global", "um"}
    assert_allclose(sdata["map_regions"].total_bounds, [0, 0, 264, 200])  # the last tokens reach beyond


def test_tokens_at_every_half_token_are_shifted(tissue, tiny) -> None:
    """Their first centre is at 8 and the next at 16: the map begins four pixels before the image."""
    fine = ks.models.load(tiny, token_overlap=True)
    sdata = tissue((slice(None), slice(0, 96), slice(0, 96)))
    frame = geopandas.GeoDataFrame(
        {"class": ["a", "b", "b", "a"]},
        geometry=shapely.box([0, 48, 0, 48], [0, 0, 48, 48], [48, 96] * 2, [48, 48, 96, 96]),
    )
    sdata["boxes"] = ShapesModel.parse(frame)
    probe = dense_probe(sdata, "boxes", model=fine, patch_size=48, options=QUICK)
    predict_map(sdata, probe, model=fine, **FLOAT)
    matrix = get_transformation(sdata["map"]).to_affine_matrix(("y", "x"), ("y", "x"))
    assert_allclose(matrix, [[8, 0, -4], [0, 8, -4], [0, 0, 1]])
    assert sdata["map"].shape == (2, 13, 13)
    assert int(sdata["map_table"].obs["area"].sum()) == 96 * 96
    with pytest.raises(ValueError, match=r"another model \(token_overlap: False, the probe's True\)"):
        predict_map(sdata, probe, model=tiny, image_key="image", overwrite=True)


def test_classes_keep_their_order_and_names(tissue, probe, tiny) -> None:
    """Channels, codes, table and colours; shares add up, border tokens count for what lies on the image."""
    sdata = tissue()
    proba = drawn(sdata, probe, tiny, polygons=True)
    assert sdata["map"].coords["c"].to_numpy().tolist() == list(probe.classes) == ["a", "b", "c"]
    codes = np.asarray(sdata["map_class"].data)
    assert codes.dtype == np.uint8
    assert_array_equal(codes, proba.argmax(axis=0) + 1)
    table = sdata["map_table"]
    assert table.obs["label"].tolist() == [1, 2, 3]
    assert table.obs["class"].cat.categories.tolist() == ["a", "b", "c"]
    assert len(table.uns["class_colors"]) == 3
    painted = np.repeat(np.repeat(codes, 16, axis=0), 16, axis=1)[:200, :264]
    assert_array_equal(table.obs["area"], np.bincount(painted.ravel(), minlength=4)[1:])
    assert_allclose(table.obs["share"].sum(), 1)
    assert ks.get.result(table, "map")["tokens"].sum() == 13 * 17
    regions = sdata["map_regions"]
    assert set(regions["class"]) == {name for name, area in zip("abc", table.obs["area"], strict=True) if area}
    outlined = regions.geometry.area.groupby(regions["class"].astype(str).to_numpy()).sum()
    assert_allclose(outlined.reindex(list("abc"), fill_value=0), table.obs["area"])
    params = table.uns["map"]["params"]
    assert params["model"]["name"] == "tiny"
    assert params["image"] == "image"


def test_a_map_survives_the_disk(tissue, probe, tiny, tmp_path) -> None:
    import spatialdata

    sdata = tissue()
    sdata.write(tmp_path / "map.zarr")
    proba = drawn(sdata, probe, tiny, polygons=True)
    sdata.write_element(["map", "map_class", "map_table", "map_regions"])  # as its documentation says
    again = spatialdata.read_zarr(tmp_path / "map.zarr")
    assert_array_equal(np.asarray(again["map"].data), proba)
    assert again["map"].coords["c"].to_numpy().tolist() == ["a", "b", "c"]
    assert get_transformation(again["map_class"]).to_affine_matrix(("y", "x"), ("y", "x"))[0, 0] == 16
    assert again["map_table"].uns["map"]["params"]["panel"]["channel"].tolist() == list(TWO)
    assert ks.get.result(again["map_table"], "map")["class"].tolist() == ["a", "b", "c"]


def test_opening_and_closing_are_those_of_the_preset(tissue, probe, tiny) -> None:
    from kronos_sc._methods.morphology import smoothed

    sdata = tissue()
    plain = drawn(sdata, probe, tiny).argmax(axis=0) + 1
    drawn(sdata, replace(probe, preset="region"), tiny, overwrite=True)
    assert_array_equal(np.asarray(sdata["map_class"].data), smoothed(plain, opening=1, closing=1, n_classes=3))
    drawn(sdata, replace(probe, preset="region"), tiny, overwrite=True, opening=0, closing=0)
    assert_array_equal(np.asarray(sdata["map_class"].data), plain)
    with pytest.raises(ValueError, match="opening is a radius in tokens, a whole number from 0"):
        drawn(sdata, probe, tiny, overwrite=True, opening=-1)


def test_channels_are_found_by_marker_where_names_differ(make, pixels, tissue, probe, tiny) -> None:
    """Other names, another order, one channel more: the same map."""
    expected = drawn(tissue(), probe, tiny)
    image = np.stack([pixels[1], pixels[0] // 2, pixels[0]])
    sdata = make(image=image, channels=("CD3e", "CD8", "DAPI-01"), table=False)
    assert_array_equal(drawn(sdata, probe, tiny), expected)
    lacking = make(image=image[1:], channels=("CD8", "DAPI"), table=False)
    with pytest.raises(ValueError, match=r"lacks markers that the probe reads: 'CD3'. .* sdata.set_channel_names"):
        drawn(lacking, probe, tiny)


def test_a_probe_of_another_model_is_refused(tissue, probe, tiny) -> None:
    other = ks.models.load("kronos-untrained")
    with pytest.raises(
        ValueError,
        match=r"trained with 'tiny', and 'kronos-untrained' is another model .* train again with tl.dense_probe",
    ):
        predict_map(tissue(), probe, model=other)
    with pytest.raises(
        ValueError, match=r"trained with 'tiny', which is no registered model .* model=models.load\(folder\)"
    ):
        predict_map(tissue(), probe)
    with pytest.raises(TypeError, match="A map is drawn with a DenseProbe, got str"):
        predict_map(tissue(), "probe.npz")


def test_a_model_that_no_name_leads_to_is_passed(tissue, probe, tiny, monkeypatch) -> None:
    from kronos_sc._dense.source import encoder_of

    def gone(*_, **__):
        raise ConnectionError("the hub cannot be reached; bring it here by other means and pass its path as weights=")

    monkeypatch.setattr("kronos_sc.models._hub.fetch_weights", gone)
    known = next(name for name in ks.models.list_models() if name.startswith("dinov2"))
    about = {"sha256": "0", "source": "file w.pth", "fit": "crop"}
    local = replace(probe, model=about | {"name": known})
    with pytest.raises(
        ConnectionError,
        match=rf"trained with '{known}' and weights of a file w.pth. .*weights=\.\.\.\), and pass it with model=",
    ):
        predict_map(tissue(), local)
    named = replace(probe, model=about | {"name": "timm:vit_x"})
    with pytest.raises(
        ValueError,
        match=r"'timm:vit_x' and the weights of a file w.pth, which no name leads to. .* pass it with model=",
    ):
        predict_map(tissue(), named)
    asked = []
    monkeypatch.setattr(ks.models, "load", lambda name, **kwargs: asked.append((name, kwargs)) or tiny)
    with pytest.raises(ValueError, match="is another model"):
        encoder_of(replace(named, model=named.model | {"source": "hf-hub:timm/vit_x", "fit": "resize"}), None)
    assert asked == [("timm:vit_x", {"fit": "resize"})]


def test_pixels_of_another_size_are_told(tissue, probe, tiny, recwarn) -> None:
    sdata = tissue()
    ks.io.set_pixel_size(sdata, 0.5)
    for mpp in (None, 0.5, 0.46, 0.545):
        drawn(sdata, replace(probe, mpp=mpp), tiny, overwrite=True)
    assert not [w for w in recwarn if "µm per pixel" in str(w.message)]
    with pytest.warns(
        UserWarning,
        match=r"'image' has 0.5 µm per pixel, and the probe was trained at 0.25. .* Resample the image to 0.25",
    ):
        drawn(sdata, replace(probe, mpp=0.25), tiny, overwrite=True)
    assert sdata["map_table"].uns["map"]["params"]["mpp"] == 0.25


def test_outlines_of_an_earlier_map_go_with_it(tissue, probe, tiny) -> None:
    sdata = tissue()
    drawn(sdata, probe, tiny, polygons=True)
    drawn(sdata, probe, tiny, overwrite=True)
    assert "map_regions" not in sdata.shapes
    sdata["map_regions"] = ShapesModel.parse(
        geopandas.GeoDataFrame({"class": ["a"]}, geometry=[shapely.box(0, 0, 9, 9)])
    )
    drawn(sdata, probe, tiny, overwrite=True)
    assert len(sdata["map_regions"]) == 1  # drawn by hand: no map made these


def test_nothing_changes_if_it_fails(tissue, probe, tiny, state, unchanged, monkeypatch) -> None:
    sdata = tissue()
    before = state(sdata)
    monkeypatch.setattr("kronos_sc._core.outlines.outlines", lambda codes: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        drawn(sdata, probe, tiny, polygons=True)
    unchanged(before, state(sdata))
    drawn(sdata, probe, tiny)
    before = state(sdata)
    with pytest.raises(ValueError, match=r"The name 'map' is taken \(images\). .* overwrite=True"):
        drawn(sdata, probe, tiny)
    with pytest.raises(ValueError, match="key_added='a/b' is no name"):
        drawn(sdata, probe, tiny, key_added="a/b")
    with pytest.raises(
        ValueError,
        match=r"'image' \(48 × 264 pixels\) is smaller than a window of 64 pixels. The largest .* patch_size=48",
    ):
        drawn(tissue((slice(None), slice(0, 48))), probe, tiny)
    unchanged(before, state(sdata))


def test_an_artifact_map_takes_an_artifact_probe(tissue, probe) -> None:
    sdata = tissue()
    with pytest.raises(
        ValueError, match=r"nuclear stain alone, got one without a preset on DAPI, CD3. .* preset='artifact'"
    ):
        artifact_map(sdata, probe)
    with pytest.raises(TypeError, match="drawn with a DenseProbe"):
        artifact_map(sdata, None)
    frame = geopandas.GeoDataFrame(
        {"class": ["x", "y"] * 2},
        geometry=shapely.box([0, 64, 0, 64], [0, 0, 64, 64], [64, 128] * 2, [64, 64, 128, 128]),
    )
    sdata["boxes"] = ShapesModel.parse(frame)
    alone = dense_probe(sdata, "boxes", model="mean-marker", preset="artifact", patch_size=64, options=QUICK)
    artifact_map(sdata, alone)
    assert sdata["artifact_map"].shape == (2, 13, 17)
    assert {"artifact_map_class", "artifact_map_table"} <= {*sdata.labels, *sdata.tables}
