"""Pixels that are left out, on the grid of an image."""

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from spatialdata.models import Labels2DModel, TableModel
from spatialdata.transformations import Scale, Sequence, Translation

from kronos_sc.patches import exclusion, exclusions, raster


def put(sdata, codes, name="map_class", way=None, table=True):
    """Add a class map and the table that names its codes."""
    sdata.labels[name] = Labels2DModel.parse(
        codes, dims=("y", "x"), transformations=None if way is None else {"global": way}
    )
    if table:
        obs = pd.DataFrame(
            {"region": pd.Categorical([name] * 2), "code": [1, 2], "class": pd.Categorical(["artifact", "tissue"])},
            index=["1", "2"],
        )
        sdata.tables[f"{name}_table"] = TableModel.parse(
            AnnData(obs=obs), region=name, region_key="region", instance_key="code"
        )


@pytest.fixture
def codes():
    return np.random.default_rng(3).integers(0, 3, (150, 190)).astype(np.uint8)


@pytest.mark.parametrize(
    ("asked", "which"),
    [
        ("map_class", [1, 2]),
        (["map_class"], [1, 2]),
        ({"map_class": None}, [1, 2]),
        ({"map_class": "artifact"}, [1]),
        ({"map_class": ["tissue"]}, [2]),
        ({"map_class": [2]}, [2]),
        ({"map_class": ["artifact", 2]}, [1, 2]),
        ({"map_class": 1, "cells": None}, None),
    ],
)
def test_what_is_asked_for(make, codes, asked, which):
    sdata = make()
    put(sdata, codes)
    excluded = exclusion(sdata, asked, raster(sdata))
    expected = np.isin(codes, which) if which else (codes == 1) | (np.asarray(sdata["cells"]) > 0)
    np.testing.assert_array_equal(excluded.mask(0, 150, 0, 190), expected)
    y, x = np.random.default_rng(0).integers((0, 0), (150, 190), (400, 2)).T
    np.testing.assert_array_equal(excluded.at(y, x), expected[y, x])
    boxes = np.array([[0, 0, 32, 32], [0, 16, 32, 48], [7, 3, 9, 180], [100, 100, 150, 190], [0, 150, 32, 190]])
    np.testing.assert_allclose(excluded.share(boxes), [expected[a:c, b:d].mean() for a, b, c, d in boxes])


def test_a_coarse_map_lies_where_its_transformation_says(make):
    """Pixel i of the map covers 8 i + 4 to 8 i + 12; what it does not cover is not left out."""
    sdata = make()
    coarse = np.random.default_rng(1).integers(0, 2, (10, 12))
    put(sdata, coarse, way=Sequence([Scale([8, 8], axes=("y", "x")), Translation([4, 2], axes=("y", "x"))]))
    excluded = exclusion(sdata, "map_class", raster(sdata))
    expected = np.zeros((150, 190), bool)
    expected[4:84, 2:98] = np.kron(coarse, np.ones((8, 8), int)) > 0
    np.testing.assert_array_equal(excluded.mask(0, 150, 0, 190), expected)
    np.testing.assert_array_equal(
        excluded.at(np.array([3, 149, 60]), np.array([5, 189, 60])), expected[[3, 149, 60], [5, 189, 60]]
    )
    np.testing.assert_array_equal(excluded.mask(-5, 20, -5, 20), np.pad(expected, 5)[:25, :25])


def test_nothing_asked_for(make):
    sdata = make()
    assert exclusion(sdata, None, raster(sdata)) is None
    assert exclusions(sdata, None, [raster(sdata)]) == {}


def test_several_images_take_the_labels_of_their_number(make, codes):
    sdata = make(table=False)
    for number in (1, 2):
        sdata.images[f"image_{number}"] = sdata["image"]
    del sdata.images["image"]
    put(sdata, codes, "art_1_class", table=False)
    put(sdata, 3 - codes, "spots_2", table=False)
    images = [raster(sdata, name) for name in sdata.images]
    found = exclusions(sdata, ["art_1_class", "spots_2"], images)
    assert {name: one.labels for name, one in found.items()} == {"image_1": ("art_1_class",), "image_2": ("spots_2",)}
    assert list(exclusions(sdata, "spots_2", images)) == ["image_2"]
    with pytest.raises(ValueError, match="exclude names labels that belong to none of them by their number: 'cells'"):
        exclusions(sdata, "cells", images)


@pytest.mark.parametrize(
    ("asked", "error", "words"),
    [
        (
            "mapclass",
            KeyError,
            "There is no labels 'mapclass'; there are: 'cells', 'map_class'.* Did you mean 'map_class'",
        ),
        (
            {"map_class": ["artefact"]},
            KeyError,
            "There is no class of labels 'map_class' 'artefact'; there are: 'artifact', 'tissue'",
        ),
        ({"cells": ["artifact"]}, KeyError, "no table says which code is which class .*Pass codes"),
        ({"map_class": []}, ValueError, "exclude names no class of 'map_class'"),
        ("small", ValueError, "differ in size and no transformation relates them"),
    ],
)
def test_what_does_not_exist(make, codes, asked, error, words):
    sdata = make()
    put(sdata, codes)
    put(sdata, codes[:20], "small", table=False)
    with pytest.raises(error, match=words):
        exclusion(sdata, asked, raster(sdata))
