"""Advice about dense probes and maps, followed to the letter."""

from __future__ import annotations

import geopandas
import numpy as np
import pytest
import shapely
from spatialdata.models import ShapesModel

import kronos_sc as ks
from kronos_sc import tl

from .elements import quietly, run

QUICK = tl.DenseOptions(C=1.0, precision="float32", n_folds=2, baseline=False)


@pytest.fixture(scope="module")
def drawn(make):
    """Bright and dark squares of 32 pixels, a region on each, in five cores."""
    rng = np.random.default_rng(0)
    corners = [(y, x) for y in range(0, 96, 32) for x in range(0, 128, 32)]
    image = rng.integers(0, 9000, (2, 96, 128)).astype(np.uint16)
    bright = [(y // 32 + x // 32) % 2 for y, x in corners]
    for (y, x), more in zip(corners, bright, strict=True):
        image[:, y : y + 32, x : x + 32] += 20_000 * more

    def build(channels=("DAPI", "CD3")):
        sdata = make(image=image, channels=channels, table=False)
        columns = {
            "class": np.array(["dark", "bright"])[bright],
            "core": np.arange(len(corners)) % 5,
            "one": "x",
            "rare": ["y", *["x"] * 11],
        }
        frame = geopandas.GeoDataFrame(columns, geometry=[shapely.box(x, y, x + 32, y + 32) for y, x in corners])
        sdata["regions"] = ShapesModel.parse(frame)
        return sdata

    return build


@pytest.fixture(scope="module")
def train(tiny):
    def call(sdata, **more):
        return quietly(
            tl.dense_probe,
            sdata,
            **({"shapes_key": "regions", "model": tiny, "patch_size": 64, "options": QUICK} | more),
        )

    return call


@pytest.fixture(scope="module")
def probe(drawn, train):
    return train(drawn())


# row, what is wrong, what the message must say, what it makes of the arguments
DENSE = [
    (
        "unknown shapes, or shapes without the column of classes",
        {"class_key": "kind"},
        "Name the column with class_key=",
        {"class_key": "class"},
    ),
    (
        "labelled regions of one class only",
        {"class_key": "one"},
        "or name another column with class_key=",
        {"class_key": "class"},
    ),
    ("a class with one region, or in one group", {"class_key": "rare"}, "merge classes", {"class_key": "class"}),
    (
        "a class with one region, or in one group",
        {"group_key": "class"},
        "name smaller groups with group_key=",
        {"group_key": "core"},
    ),
    (
        "an image smaller than the window",
        {"patch_size": 256},
        "The largest window that fits is patch_size=96",
        {"patch_size": 96},
    ),
    ("a model without token features", {"model": "mean-marker+", "patch_size": 64}, "Take 'kronos', say", None),
    ("dense maps with `mean-marker+`", {"model": "mean-marker+"}, "Take 'kronos', say", None),
]


@pytest.mark.row(*(row for row, *_ in DENSE))
@pytest.mark.parametrize(("row", "wrong", "says", "then"), DENSE)
def test_a_probe_is_trained(drawn, train, tiny, advice, row, wrong, says, then):
    sdata = drawn()
    message = advice.of(lambda: train(sdata, **wrong))
    assert says in message
    train(sdata, **(wrong | (then or {"model": tiny})))  # the small network stands for 'kronos'


@pytest.mark.row(
    "unknown shapes, or shapes without the column of classes",
    "`options=` that is a dict",
    'preset `"artifact"` without a nuclear channel',
)
def test_what_a_probe_takes(drawn, train, advice):
    sdata = drawn()
    train(sdata, **advice.corrected(advice.of(lambda: train(sdata, shapes_key="region")), {"shapes_key": "region"}))
    text = advice.code(advice.of(lambda: train(sdata, class_key="kind")), "sdata.shapes['regions']['kind'] = ")
    quietly(run, text.replace("[...]", "list(sdata['regions']['class'])"), sdata)
    train(sdata, class_key="kind")
    message = advice.of(lambda: train(sdata, options={"C": 1.0, "n_folds": 2}))
    train(sdata, options=eval(advice.code(message, "tl.DenseOptions(").replace(")", ", baseline=False)"), {"tl": tl}))
    sdata = drawn(channels=("odd", "CD3"))
    message = advice.of(lambda: train(sdata, preset="artifact"))
    assert advice.keyword(message, "channels") == {"channel": "DAPI"}
    assert train(sdata, preset="artifact", channels={"odd": "DAPI"}).markers == ["DAPI"]


@pytest.mark.row("regions outside the image", "all regions smaller than a token")
def test_regions_that_the_image_holds(drawn, train, advice):
    sdata = drawn()
    sdata["other"] = sdata["image"]
    sdata.images["image"] = sdata["image"][:, :40, :40]
    sdata["regions"].geometry = sdata["regions"].geometry.translate(50, 50)
    assert "or name the image with image_key=" in advice.of(lambda: train(sdata, image_key="image", patch_size=32))
    train(sdata, image_key="other")
    sdata = drawn()
    whole = sdata["regions"].geometry.copy()
    sdata["regions"].geometry = [shapely.box(0, 0, 3, 3)] * len(whole)
    message = advice.of(lambda: train(sdata))
    assert "Draw larger regions" in message
    sdata["regions"].geometry = whole
    train(sdata)


@pytest.mark.row(
    "an image without a marker of the probe",
    "a name that is taken",
    "a probe of another model, of other blocks or another token overlap",
    "a probe of a model that cannot be fetched by its name",
    "`tl.artifact_map` with a probe of other channels",
)
def test_a_map_is_drawn(drawn, train, probe, tiny, advice):
    sdata = drawn()
    message = advice.of(lambda: tl.predict_map(sdata, probe))
    assert "pass it: model=models.load(folder)" in message
    tl.predict_map(sdata, probe, model=tiny)
    message = advice.of(lambda: tl.predict_map(sdata, probe, model="kronos-untrained", key_added="b"))
    assert "pass the first with model=" in message
    tl.predict_map(sdata, probe, model=tiny, key_added="b")
    message = advice.of(lambda: tl.predict_map(sdata, probe, model=tiny))
    assert "Choose another with key_added=, or pass overwrite=True" in message
    tl.predict_map(sdata, probe, model=tiny, overwrite=True)
    message = advice.of(lambda: tl.artifact_map(sdata, probe, model=tiny))
    assert "or draw this one with tl.predict_map" in message
    assert "Train it with tl.dense_probe(..., preset='artifact')" in message
    tl.artifact_map(sdata, train(sdata, preset="artifact", image_key="image"), model=tiny)
    sdata = drawn(channels=("DAPI", "odd"))
    text = advice.code(advice.of(lambda: tl.predict_map(sdata, probe, model=tiny)), "sdata.set_channel_names(")
    quietly(run, text.replace("[...]", "['DAPI', 'CD3']"), sdata)
    tl.predict_map(sdata, probe, model=tiny)


@pytest.mark.row(
    'preset `"artifact"`, another name of the nuclear stain in each image',
)
def test_several_images_of_one_kind(drawn, train, probe, tiny, advice):
    sdata = drawn()
    other = drawn(channels=("odd", "CD3"))
    sdata["image_b"] = other["image"]
    sdata["regions_b"] = other["regions"]
    how = {
        "shapes_key": ["regions", "regions_b"],
        "image_key": {"regions": "image", "regions_b": "image_b"},
        "preset": "artifact",
    }
    text = advice.code(advice.of(lambda: train(sdata, **how)), "sdata.set_channel_names(")
    quietly(run, text.replace("[...]", "['DAPI', 'CD3']"), sdata)
    train(sdata, **how)


@pytest.mark.row("a file that holds no probe")
def test_a_probe_is_saved(probe, tmp_path, advice):
    path = tmp_path / "probe.npz"
    path.write_bytes(b"something else")
    text = advice.code(advice.of(lambda: tl.DenseProbe.load(path)), "probe.save(")
    path.unlink()
    exec(text, {"probe": probe, "path": path})
    assert tl.DenseProbe.load(path).classes == probe.classes


@pytest.mark.row(
    "a map or a class of it that there is not, several images that could lie below",
    'the probability of a class of labels that have none (`"regions"`)',
)
def test_a_map_is_shown(drawn, probe, tiny, advice):
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    sdata = drawn()
    message = advice.of(lambda: ks.pl.map(sdata))
    assert "tl.predict_map(sdata, probe)" in message
    tl.predict_map(sdata, probe, model=tiny)
    for wrong in ({"key": "mapp"}, {"key": "mapp", "color": "bright"}, {"color": "brihgt"}):
        ks.pl.map(sdata, **advice.corrected(advice.of(lambda w=wrong: ks.pl.map(sdata, **w)), wrong))
    sdata["other"] = sdata["image"]
    del sdata["map_table"].uns["map"]  # which says on which image it was drawn
    assert "Choose one with image_key=" in advice.of(lambda: ks.pl.map(sdata))
    ks.pl.map(sdata, image_key="image")
    plt.close("all")
