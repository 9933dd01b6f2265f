"""Labels and images with a z axis: every verb names the axes, and the line to paste works."""

from __future__ import annotations

import warnings

import matplotlib.pyplot as plt
import numpy as np
import pytest
import spatialdata
from spatialdata import SpatialData
from spatialdata.models import Image2DModel, Image3DModel, Labels3DModel

import kronos_sc as ks

CALLS = {
    "pp.label_table": lambda sdata, path: ks.pp.label_table(sdata, key_added="new"),
    "io.write_geojson": lambda sdata, path: ks.io.write_geojson(sdata, path, element="cells"),
    "pp.tile(exclude=)": lambda sdata, path: ks.pp.tile(sdata, size=32, exclude="cells"),
    "tl.embed": lambda sdata, path: ks.tl.embed(sdata, model="mean-marker", patch_size=16, max_value=255),
    "tl.embed(exclude=)": lambda sdata, path: ks.tl.embed(
        sdata, model="mean-marker", patch_size=16, max_value=255, exclude="cells"
    ),
    "get.patches": lambda sdata, path: ks.get.patches(sdata, ["1"], patch_size=16),
    "pl.map": lambda sdata, path: ks.pl.map(sdata, "cells", channels=["DAPI"]),
}


@pytest.fixture(params=[None, [2]], ids=["one scale", "pyramid"])
def deep(request):
    labels = np.zeros((2, 64, 80), np.uint32)
    labels[:, 10:22, 10:22] = 1
    image = Image2DModel.parse(np.ones((1, 64, 80), np.uint8), dims=("c", "y", "x"), c_coords=["DAPI"])
    flat = SpatialData(
        images={"image": image}, labels={"cells": spatialdata.models.Labels2DModel.parse(labels[0], dims=("y", "x"))}
    )
    ks.pp.label_table(flat)
    sdata = SpatialData(images={"image": image}, tables=dict(flat.tables))
    sdata.labels["cells"] = Labels3DModel.parse(labels, dims=("z", "y", "x"), scale_factors=request.param)
    return sdata


@pytest.mark.filterwarnings("ignore:The table is annotating")
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_labels_with_depth(deep, tmp_path, call):
    with pytest.raises(
        ValueError, match=r"Labels 'cells' have axes \('z', 'y', 'x'\); two-dimensional labels .* Select a plane first"
    ) as caught:
        call(deep, tmp_path / "o.geojson")
    line = str(caught.value).split("Select a plane first: ")[1].removesuffix(" takes the first of 2.")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exec(line, {"sdata": deep, "spatialdata": spatialdata})
        if call is not CALLS["tl.embed(exclude=)"]:  # it leaves out the only cell
            call(deep, tmp_path / "o.geojson")
    plt.close("all")


@pytest.mark.parametrize("scales", [None, [2]], ids=["one scale", "pyramid"])
@pytest.mark.parametrize(
    "call",
    [lambda sdata: ks.pp.tile(sdata, size=32), lambda sdata: ks.pl.image(sdata, channels=["DAPI"])],
    ids=["pp.tile", "pl.image"],
)
def test_images_with_depth(call, scales):
    pixels = np.ones((2, 3, 64, 64), np.uint8)
    element = Image3DModel.parse(pixels, dims=("c", "z", "y", "x"), c_coords=["DAPI", "CD3"], scale_factors=scales)
    sdata = SpatialData(images={"image": element})
    with pytest.raises(
        ValueError, match=r"Image 'image' has axes \('c', 'z', 'y', 'x'\).*Select a plane first"
    ) as caught:
        call(sdata)
    line = str(caught.value).split("Select a plane first: ")[1].removesuffix(" takes the first of 3.")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exec(line, {"sdata": sdata, "spatialdata": spatialdata})
    assert sdata.images["image"].c.values.tolist() == ["DAPI", "CD3"]
    call(sdata)
    plt.close("all")
