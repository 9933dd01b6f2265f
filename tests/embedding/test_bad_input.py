"""What bad input gets: the table of docs/reference/bad-input.md, row by row.

After an error the SpatialData is as it was.
"""

from __future__ import annotations

import logging
import re
import stat
import warnings

import anndata
import numpy as np
import pandas as pd
import pytest
from spatialdata import SpatialData
from spatialdata.models import Labels2DModel, TableModel

import kronos_sc as ks


def without(sdata, kind):
    getattr(sdata, kind).clear()
    return sdata


def no_image(make):
    return without(make(), "images"), {}


def two_images(make):
    sdata = make()
    sdata.images["other"] = sdata["image"]
    return sdata, {}


def unknown_image(make):
    return make(), {"image_key": "imag"}


def unknown_labels(make):
    return make(), {"labels_key": "cell"}


def unknown_shapes(make):
    return make(), {"shapes_key": "boxes"}


def labels_and_shapes(make):
    sdata = make()
    ks.pp.tile(sdata, size=64)
    return sdata, {"labels_key": "cells", "shapes_key": "patches"}


def no_table(make):
    return make(table=False), {}


def other_size(make):
    return make(labels=np.asarray(make()["cells"].data)[:100, :120]), {}


def no_metadata(make):
    sdata = make(table=False)
    sdata.tables["table"] = anndata.AnnData(np.zeros((5, 2)))
    return sdata, {}


def rows_of_another_region(make):
    sdata = make()
    sdata["table"].obs["region"] = pd.Categorical(["nuclei"] * sdata["table"].n_obs)
    return sdata, {}


def region_without_element(make):
    sdata = make()
    sdata.labels["mask"] = sdata.labels.pop("cells")
    return sdata, {}


def labels_without_table(make):
    sdata = make()
    sdata.labels["nuclei"] = sdata["cells"]
    return sdata, {"labels_key": "nuclei"}


def rows_without_pixels(make):
    sdata = make()
    table = sdata["table"]
    table.obs["cell_id"] = np.r_[table.obs["cell_id"].to_numpy()[:-12], 5_000 + np.arange(12)]
    return sdata, {}


def rows_of_background(make):
    sdata = make()
    sdata["table"].obs["cell_id"] = np.r_[0, sdata["table"].obs["cell_id"].to_numpy()[1:]]
    return sdata, {}


def rows_twice(make):
    sdata = make()
    ids = sdata["table"].obs["cell_id"].to_numpy().copy()
    ids[1] = ids[0]
    sdata["table"].obs["cell_id"] = ids
    return sdata, {}


def rows_with_fractions(make):
    sdata = make()
    sdata["table"].obs["cell_id"] = sdata["table"].obs["cell_id"] + 0.5
    return sdata, {}


def empty_table(make):
    sdata = make()
    sdata["table"]._inplace_subset_obs(np.zeros(sdata["table"].n_obs, bool))
    return sdata, {}


def repeated_channels(make):
    sdata = make()
    element = sdata["image"].assign_coords(c=["DAPI", "CD3", "CD8", "CD3", "CD20"])
    sdata.images["image"] = element
    return sdata, {}


def unknown_channel(make):
    return make(), {"channels": {"CD33": None}}


def unknown_channel_in_list(make):
    return make(), {"channels": ["DAPI", "CD 3"]}


def unknown_marker(make):
    return make(), {"channels": {"CD8": "CD8888"}}


def ambiguous(make):
    return make(channels=("DAPI", "CD45RO/RA", "CD8", "Keratin 5/6", "HLA")), {}


def one_marker_twice(make):
    return make(channels=("DAPI", "CD4-FITC", "CD4 Cy7", "CD8", "CD20")), {}


def listed_without_marker(make):
    return make(channels=("DAPI", "CD3", "AR", "xyzzy", "CD20")), {"channels": ["DAPI", "AR", "xyzzy"]}


def no_nuclear_stain(make):
    return make(channels=("CD3", "CD8", "CD20", "CD4", "CYTOKERATIN")), {}


def no_marker(make):
    return make(channels=("channel_0", "channel_1", "channel_2", "channel_3", "channel_4")), {}


def no_statistics(make):
    from kronos_sc.markers import paper_vocabulary
    from kronos_sc.models import Card, KronosModel, KronosViT, ViTConfig

    net = KronosViT(ViTConfig(dim=48, depth=4, heads=3, chunks=2, registers=4))
    return make(), {"model": KronosModel(net, Card("bare", "no statistics", "none"), paper_vocabulary())}


def float_beyond_one(make):
    return make(image=np.full((5, 150, 190), 37.5, np.float32)), {}


def negative_float(make):
    image = np.full((5, 150, 190), 0.5, np.float32)
    image[1, 70, 70] = -0.25
    return make(image=image), {}


def negative_integer(make):
    image = np.full((5, 150, 190), 5, np.int16)
    image[1, 70, 70] = -7
    return make(image=image), {"max_value": 100}


def strange_dtype(make):
    return make(image=np.ones((5, 150, 190), np.uint32)), {}


def bad_max_value(make):
    return make(), {"max_value": -1}


def with_value(value):
    def build(make):
        image = np.full((5, 150, 190), 0.5, np.float32)
        image[3, 70:72, 70] = value
        return make(image=image), {}

    build.__name__ = f"pixels_{value}"
    return build


def unseen_with_nan(make):
    image = np.random.default_rng(0).random((2, 150, 190)).astype(np.float32)
    image[1, 0, 0] = np.nan
    return make(image=image, channels=("DAPI", "AR")), {"channels": {"AR": "unseen"}}


def float_labels(make):
    sdata = make()
    sdata["cells"].data = sdata["cells"].data.astype(
        np.float32
    )  # SpatialData 0.8 refuses to parse them, but not to hold them
    return sdata, {}


def negative_labels(make):
    labels = np.asarray(make()["cells"].data).astype(np.int32)
    sdata = make()
    labels[3, 3] = -1
    sdata.labels["cells"] = Labels2DModel.parse(labels, dims=("y", "x"))
    return sdata, {}


def call(**how):
    def build(make):
        return make(), how

    build.__name__ = "_".join(f"{key}_{value}" for key, value in how.items())
    return build


CASES = [
    (no_image, ValueError, r"There is no image in this SpatialData\. Read one with io\.read_tiff"),
    (
        two_images,
        ValueError,
        r"There are 2 elements of the kind 'image' \('image', 'other'\) and none was named\. Choose one with "
        r"image_key=",
    ),
    (
        unknown_image,
        KeyError,
        r"There is no image 'imag'; there are: 'image'\. Did you mean 'image'\? Read one with io\.read_tiff",
    ),
    (unknown_labels, KeyError, r"There is no labels 'cell'; there are: 'cells'\. Did you mean 'cells'\?"),
    (unknown_shapes, KeyError, r"There is no shapes 'boxes'; there are: none\. Make a grid of boxes with pp\.tile"),
    (labels_and_shapes, ValueError, r"Both labels_key='cells' and shapes_key='patches' were given.*Give one of them"),
    (no_table, ValueError, r"There is no table in this SpatialData\. Make one with pp\.label_table\(.*pp\.tile\("),
    (call(table_key="tabel"), KeyError, r"There is no table 'tabel'; there are: 'table'\. Did you mean 'table'\?"),
    (
        other_size,
        ValueError,
        r"Labels 'cells' \(100 × 120 pixels\) and image 'image' \(150 × 190\) differ in size.*set_transformation",
    ),
    (no_metadata, ValueError, r"Table 'table' has no region metadata.*TableModel\.parse\(adata, region="),
    (
        rows_of_another_region,
        ValueError,
        r"No row of table 'table' belongs to a region that it annotates \('cells'\); obs\['region'\] holds 'nuclei'",
    ),
    (
        region_without_element,
        KeyError,
        r"The table annotates 'cells', which is neither labels \('mask'\) nor shapes "
        r"\(none\).*set_table_annotates_spatialelement\('table', region='mask'\)",
    ),
    (
        labels_without_table,
        ValueError,
        r"Table 'table' annotates 'cells', not 'nuclei'.*pp\.label_table\(sdata, labels_key='nuclei', "
        r"key_added='nuclei_table'\)",
    ),
    (
        rows_without_pixels,
        ValueError,
        r"12 rows of the table have no pixels in labels 'cells': 5000, 5001, .*5009 and 2 more\. .*Keep the "
        r"other rows only .*\['cell_id'\]\.isin",
    ),
    (
        rows_of_background,
        ValueError,
        r"need whole, positive instance ids; found '0' \(0 is background\)\. Correct the instance column",
    ),
    (rows_twice, ValueError, r"Several rows name the same label of 'cells': \d+\. Each row must be one cell"),
    (rows_with_fractions, ValueError, r"need whole, positive instance ids; found '\d+\.5', .* and \d+ more"),
    (empty_table, ValueError, r"Table 'table' has no rows.*pp\.label_table"),
    (
        repeated_channels,
        ValueError,
        r"Image 'image' has repeated channel names: 'CD3'\. Name channels uniquely with "
        r"sdata\.set_channel_names\('image'",
    ),
    (unknown_channel, KeyError, r"There is no channel 'CD33'; there are: 'DAPI', 'CD3', .*Did you mean 'CD3'\?"),
    (
        unknown_channel_in_list,
        KeyError,
        r"The image has no channel 'CD 3'; it has: 'DAPI', 'CD3'.*Name channels as the image spells them",
    ),
    (
        unknown_marker,
        KeyError,
        r"Channel 'CD8' cannot be 'CD8888'.*channels=\{'CD8': 'unseen'\}; to drop it: channels=\{'CD8': None\}",
    ),
    (ambiguous, ValueError, r"means several markers: .*Choose with channels=\{.*or drop with channels=\{"),
    (
        one_marker_twice,
        ValueError,
        r"Several channels match one marker.*CD4 is 'CD4-FITC', 'CD4 Cy7'\. Keep the first of each with "
        r"channels=\{'CD4 Cy7': None\}",
    ),
    (listed_without_marker, ValueError, r"2 of 3 channels listed .*channels=\['DAPI', 'AR=unseen', 'xyzzy=unseen'\]"),
    (no_nuclear_stain, ValueError, r"No matched channel is a nuclear stain; matched are 'CD3'.*require_nuclear=False"),
    (
        no_marker,
        ValueError,
        r"None of the 5 channels matches a marker of the model: 'channel_0'.*channels=\{'channel': 'CD3'\}",
    ),
    (
        no_statistics,
        ValueError,
        r"5 of 5 matched channels have no mean and standard deviation: 'DAPI'.*pp\.marker_stats",
    ),
    (
        float_beyond_one,
        ValueError,
        r"Image 'image' holds floats from \S+ to 37\.5; without a scale they must lie in \[0, 1\]\. .*max_value=",
    ),
    (negative_float, ValueError, r"Image 'image' holds floats from -0\.25 to 0\.5.*max_value="),
    (negative_integer, ValueError, r"Image 'image' holds the negative value -7\. Subtract the offset"),
    (strange_dtype, ValueError, r"Image 'image' has dtype uint32, whose full scale is not defined .*max_value="),
    (bad_max_value, ValueError, r"max_value must be a positive number, got -1"),
    (
        with_value(np.nan),
        ValueError,
        r"Image 'image' has NaN or infinite pixels in channels 'CD20', within rows 0–150, columns 0–190\. .*nan='zero'",
    ),
    (with_value(np.inf), ValueError, r"NaN or infinite pixels in channels 'CD20'"),
    (
        unseen_with_nan,
        ValueError,
        r"Channel 'AR' of image 'image' has NaN or infinite pixels, so it has no mean\. Mend the image, or count "
        r"them as zero with nan='zero'",
    ),
    (
        float_labels,
        ValueError,
        r"Labels 'cells' have dtype float32; labels must be whole numbers\. Convert them with \.astype\('uint32'\)",
    ),
    (
        negative_labels,
        ValueError,
        r"Labels 'cells' hold the negative value -1; labels must be 0 \(background\) or positive",
    ),
    (call(features="token"), ValueError, r"features='token' is not a choice; features can be 'marker', 'cls'"),
    (call(features=[]), ValueError, r"features='' is not a choice"),
    (
        call(features="cls", model="mean-marker"),
        ValueError,
        r"'mean-marker' gives no 'cls' features; it gives: marker\. Choose one with features=",
    ),
    (
        call(patch_size=50),
        ValueError,
        r"patch_size=50 does not fit 'tiny', which takes multiples of 16 pixels\. Nearest: 48 or 64",
    ),
    (call(patch_size=0), ValueError, r"patch_size must be a whole number of at least 1, got 0"),
    (call(patch_size=64.0), ValueError, r"patch_size must be a whole number of at least 1, got 64\.0"),
    (call(batch_size=0), ValueError, r"batch_size must be a whole number of at least 1, got 0"),
    (
        call(mask_fill="median"),
        ValueError,
        r"mask_fill='median' is not a choice; mask_fill can be 'mean', 'zero', None",
    ),
    (call(nan="ignore"), ValueError, r"nan='ignore' is not a choice; nan can be 'error', 'zero'"),
    (call(precision="float64"), ValueError, r"precision='float64' is not a choice"),
    (call(dtype="int8"), ValueError, r"dtype='int8' is not a choice; dtype can be 'float32', 'float16'"),
    (call(device="cuda:7"), ValueError, r"Device 'cuda:7' cannot be used .*Available: cpu.*Leave device out"),
    (call(device="gpu"), ValueError, r"Device 'gpu' cannot be used .*Available: cpu"),
    (
        call(scale="scale1"),
        ValueError,
        r"'image' has a single scale, so scale='scale1' does not exist\. Leave scale out",
    ),
    (
        call(mpp=0.5),
        ValueError,
        r"mpp=0\.5 was asked for, but image 'image' does not record its pixel size\. Record it with io\.set_pixel_size",
    ),
    (call(key_added="my/slot"), ValueError, r"key_added='my/slot' is no name that can be stored; letters, digits"),
    (call(max_value="full"), ValueError, r"max_value must be a positive number, got 'full'"),
    (call(spatial_key="umap"), KeyError, r"There is no entry of obsm 'umap'; there are: 'spatial'"),
    (call(model="kronos-untraind"), Exception, r"kronos-untrained"),
]


@pytest.mark.parametrize(("build", "kind", "message"), CASES, ids=[case[0].__name__ for case in CASES])
def test_error(make, tiny, state, unchanged, build, kind, message):
    sdata, how = build(make)
    before = state(sdata)
    with pytest.raises(kind, match=message):
        ks.tl.embed(sdata, **({"model": tiny} | how))
    unchanged(before, state(sdata))


def test_not_a_spatialdata(make, tiny):
    for other in (make()["table"], "slide.zarr", None, np.zeros((3, 4, 4))):
        with pytest.raises(
            TypeError,
            match=rf"Expected a SpatialData, got {type(other).__name__}; pixels are needed\. Read images with "
            r"io\.read_tiff",
        ):
            ks.tl.embed(other, model=tiny)


def test_unknown_pyramid_level(make, tiny):
    sdata = make(scale_factors=[2])
    with pytest.raises(
        ValueError,
        match=r"'image' has no scale 'scale7'; there are: scale0 \(150 × 190\), scale1 \(75 × 95\)\. Choose one "
        r"with scale=",
    ):
        ks.tl.embed(sdata, model=tiny, scale="scale7")


def test_bad_mpp(make, tiny):
    sdata = make()
    ks.io.set_pixel_size(sdata, 0.5)
    for bad in (0, -1.0, float("nan")):
        with pytest.raises(ValueError, match="mpp must be a positive number of micrometres per pixel"):
            ks.tl.embed(sdata, model=tiny, mpp=bad)


def lines(caplog, sdata, **how):
    caplog.clear()
    with caplog.at_level(logging.INFO, logger="kronos_sc"):
        ks.tl.embed(sdata, **how)
    return "\n".join(caplog.messages)


def test_labels_without_rows_are_left_out_and_counted(make, tiny, caplog):
    sdata = make()
    ks.tl.embed(sdata, model=tiny, precision="float32")
    sdata.tables["table"] = sdata["table"][5:].copy()
    whole = sdata["table"].obsm["X_kronos"].copy()
    said = lines(caplog, sdata, model=tiny, precision="float32")
    assert "5 labels of 'cells' have no row in the table and are left out" in said
    np.testing.assert_allclose(sdata["table"].obsm["X_kronos"], whole, atol=1e-5)


def test_channels_that_match_nothing_are_named(make, tiny, caplog):
    sdata = make(channels=("DAPI", "Na", "CD8", "Background", "CD3"))
    said = lines(caplog, sdata, model=tiny)
    assert "2 channels are not embedded: Na, Background" in said
    assert "tiny (untrained)" in said
    assert ks.get.record(sdata)["left_out"].tolist() == ["Na", "Background"]


def test_named_channels_that_are_lost_are_warned_of(make):
    """At the caller's line; and not where a panel was handed in, which was looked at."""
    sdata = make(channels=("DAPI", "ck CD8 x", "CD4", "CD4 Cy7", "Blank"))
    with pytest.warns(UserWarning, match="channel") as caught:
        ks.tl.embed(sdata, model="mean-marker")
    said = [str(one.message) for one in caught]
    assert {one.filename for one in caught} == {__file__}
    assert any("'CD4 Cy7' is the same marker as 'CD4', which has its very name" in one for one in said)
    assert any("1 of 4 named channels are left out" in one and "channels={'ck CD8 x': " in one for one in said)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ks.tl.embed(sdata, model="mean-marker", channels=ks.pp.match_markers(sdata))
        ks.tl.embed(sdata, model="mean-marker", channels=["DAPI", "ck CD8 x=CD8", "CD4 Cy7"])
    assert ks.get.record(sdata, key="mean_marker")["panel"]["marker"].tolist() == ["DAPI", "CD8", "CD4"]


def test_the_nuclear_stain_of_every_cycle_is_read_once(make, caplog):
    sdata = make(channels=("DNA_1", "CD8", "DNA_2", "CD3", "DNA_3"))
    said = lines(caplog, sdata, model="mean-marker")
    assert "'DNA_1' is read, and the nuclear stains of other cycles are left out: 'DNA_2', 'DNA_3'" in said
    ks.tl.embed(sdata, model="mean-marker", channels={"DNA_3": "DAPI"})
    assert ks.get.record(sdata, key="mean_marker")["panel"]["channel"].tolist() == ["CD8", "CD3", "DNA_3"]


def test_zeros_for_pixels_without_a_value(make, tiny):
    image = np.full((5, 150, 190), 0.5, np.float32)
    zeros = image.copy()
    image[3, 70:72, 70] = np.nan, -np.inf
    zeros[3, 70:72, 70] = 0
    bad = make(image=image)
    good = make(image=zeros)
    ks.tl.embed(bad, model=tiny, nan="zero")
    ks.tl.embed(good, model=tiny)
    np.testing.assert_array_equal(bad["table"].obsm["X_kronos"], good["table"].obsm["X_kronos"])


def test_zeros_also_count_for_the_statistics_of_unseen_markers(make, tiny):
    image = np.random.default_rng(0).random((2, 60, 70)).astype(np.float32)
    image[1, 0, 0] = np.nan
    sdata = make(image=image, channels=("DAPI", "AR"))
    ks.tl.embed(sdata, model=tiny, channels={"AR": "unseen"}, nan="zero")
    panel = ks.get.record(sdata)["panel"].set_index("channel")
    assert panel.loc["AR", "mean"] == pytest.approx(np.nan_to_num(image[1]).mean(dtype=np.float64))


def test_floats_with_a_scale(make, tiny):
    small = np.random.default_rng(0).random((5, 60, 70)).astype(np.float32)
    one = make(image=small)
    other = make(image=small * 500)
    ks.tl.embed(one, model=tiny, precision="float32")
    ks.tl.embed(other, model=tiny, precision="float32", max_value=500)
    np.testing.assert_allclose(one["table"].obsm["X_kronos"], other["table"].obsm["X_kronos"], atol=1e-4)


def test_values_beyond_the_scale_that_no_unit_sees_do_not_matter(make, tiny):
    """… and so the answer does not depend on the size of blocks."""
    labels = np.zeros((200, 200), np.int32)
    labels[30:36, 30:36], labels[160:166, 160:166] = 1, 2
    image = np.full((2, 200, 200), 0.5, np.float32)
    image[1, 100, 20] = 7  # between the windows
    for memory in (1, 10**9):
        before, ks.settings.block_memory = ks.settings.block_memory, memory
        try:
            ks.tl.embed(make(image=image, labels=labels, channels=("DAPI", "CD3")), model=tiny)
        finally:
            ks.settings.block_memory = before


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_counts_in_a_16_bit_container(make, tiny, dtype):
    image = np.random.default_rng(0).poisson(3, (5, 80, 90)).astype(dtype)
    if dtype == "uint8":  # sparse counts in 8 bits are no accident
        image *= 4
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)
            ks.tl.embed(make(image=image), model=tiny)
        return
    with pytest.warns(
        UserWarning,
        match=r"Image 'image' is almost empty on its scale: the 99\.9th percentile .*Counts in a uint16 "
        r"container\? .*max_value=",
    ) as caught:
        ks.tl.embed(make(image=image), model=tiny)
    assert [hit.filename for hit in caught if "almost empty" in str(hit.message)] == [__file__]


def test_window_larger_than_the_image(make, tiny):
    """Zero padded on all sides, flagged."""
    sdata = make((40, 50))
    ks.tl.embed(sdata, model=tiny, patch_size=128)
    assert sdata["table"].obs["kronos_edge"].all()
    assert np.isfinite(sdata["table"].obsm["X_kronos"]).all()
    with pytest.raises(
        ValueError,
        match=r"Image 'image' \(40 × 50 pixels\) is smaller than one box of 64 pixels\. Choose a smaller size",
    ):
        ks.pp.tile(sdata, size=64)


def test_one_pixel_cell(make, tiny):
    labels = np.zeros((80, 80), np.int32)
    labels[40, 41], labels[0, 0] = 1, 7
    sdata = make(image=np.full((2, 80, 80), 9_000, np.uint16), labels=labels, channels=("DAPI", "CD3"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ks.tl.embed(sdata, model="mean-marker", precision="float32")
        ks.tl.embed(sdata, model=tiny)
    np.testing.assert_allclose(sdata["table"].obsm["X_mean_marker"], 9_000 / 65535, rtol=1e-5)
    assert np.isfinite(sdata["table"].obsm["X_kronos"]).all()


def test_cell_larger_than_the_window(make, tiny):
    labels = np.zeros((200, 200), np.int32)
    labels[20:180, 60:140], labels[5:10, 5:10] = 1, 2
    sdata = make(image=np.full((1, 200, 200), 9_000, np.uint16), labels=labels, channels=("DAPI",))
    with pytest.warns(
        UserWarning,
        match=r"1 of 2 cells of 'cells' have more than a tenth of their pixels beyond the window of 64 pixels\. "
        r"Choose a larger patch_size",
    ):
        ks.tl.embed(sdata, model=tiny)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ks.tl.embed(sdata, model=tiny, patch_size=160)


def test_cells_that_vanish_at_a_coarse_level(make, tiny):
    labels = np.zeros((128, 128), np.int32)
    labels[64:80, 64:80], labels[32, 32] = 1, 2
    sdata = make(image=np.full((1, 128, 128), 9_000, np.uint16), labels=labels, channels=("DAPI",), scale_factors=[2])
    with pytest.warns(
        UserWarning, match=r"1 of 2 cells of 'cells' have no pixel of theirs in their window.*coarse scale="
    ) as caught:
        ks.tl.embed(sdata, model=tiny, scale="scale1")
    assert not any("beyond the window" in str(hit.message) for hit in caught)


def test_coordinates_that_are_no_pixels(make, tiny):
    """Micrometres in obsm, say: windows would show other cells."""
    sdata = make()
    sdata["table"].obsm["um"] = sdata["table"].obsm["spatial"] * 0.3
    with pytest.warns(
        UserWarning,
        match=r"cells of 'cells' have no pixel of theirs in their window.*spatial_key= does not hold x and y in pixels",
    ):
        ks.tl.embed(sdata, model=tiny, spatial_key="um")


@pytest.mark.parametrize("first", [1_000_001, 2**24, 4_000_000_000])
def test_million_high_ids(make, tiny, first):
    plain = make((60, 70))
    labels = np.asarray(plain["cells"].data).astype(np.int64)
    high = make((60, 70), labels=np.where(labels > 0, labels + first, 0).astype(np.uint32))
    ks.tl.embed(plain, model=tiny)
    ks.tl.embed(high, model=tiny)
    np.testing.assert_array_equal(high["table"].obs["cell_id"] - first, plain["table"].obs["cell_id"])
    np.testing.assert_array_equal(high["table"].obsm["X_kronos"], plain["table"].obsm["X_kronos"])


def test_read_only_store(stored, tiny, tmp_path, monkeypatch):
    """Nothing is written to the store: neither permission nor a single call of its writing methods is needed."""
    from zarr.storage import LocalStore

    sdata = stored(tmp_path / "a.zarr")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "a.zarr").rglob("*")}
    for path in before:
        path.chmod(path.stat().st_mode & ~(stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH))

    async def refused(self, *args, **kwargs):
        raise PermissionError("read only")

    for name in ("set", "delete", "set_if_not_exists"):
        monkeypatch.setattr(LocalStore, name, refused)
    try:
        ks.tl.embed(sdata, model=tiny)
    finally:
        for path in before:
            path.chmod(path.stat().st_mode | stat.S_IWUSR)
    assert "X_kronos" in sdata["table"].obsm
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "a.zarr").rglob("*")}


def test_unseen_marker_takes_the_statistics_of_the_image(make, tiny):
    sdata = make(channels=("DAPI", "AR", "CD8"))
    panel = ks.pp.match_markers(sdata, vocabulary=tiny, channels={"AR": "unseen"})
    with pytest.raises(ValueError, match="made for another vocabulary than 'paper': the ids of 'AR'"):
        ks.tl.embed(sdata, model=tiny, channels=panel.assign(how="given"))
    ks.tl.embed(sdata, model=tiny, channels={"AR": "unseen"})
    panel = ks.get.record(sdata)["panel"].set_index("channel")
    scaled = np.asarray(sdata["image"].data[1]).astype(np.float64) / 65535
    assert panel.loc["AR", "how"] == "unseen"
    assert panel.loc["AR", "mean"] == pytest.approx(scaled.mean(), rel=1e-12)
    assert panel.loc["AR", "std"] == pytest.approx(scaled.std(), rel=1e-12)
    assert panel.loc["AR", "id"] not in {marker.id for marker in tiny.vocabulary}
    assert panel.loc["CD8", "mean"] == 0.05  # the others keep the model's


def test_unseen_marker_without_contrast(make, tiny):
    image = np.random.default_rng(0).integers(0, 9_000, (2, 60, 70)).astype(np.uint16)
    image[1] = 5
    with pytest.raises(ValueError, match=r"The standard deviation of 'AR' is not positive; pixels are divided by it"):
        ks.tl.embed(make(image=image, channels=("DAPI", "AR")), model=tiny, channels={"AR": "unseen"})


def test_no_nuclear_stain_can_be_accepted(make, tiny):
    sdata = make(channels=("CD3", "CD8"), image=np.full((2, 60, 70), 900, np.uint16))
    ks.tl.embed(sdata, model=tiny, require_nuclear=False)
    assert sdata["table"].obsm["X_kronos"].shape[1] == 96


def test_images_of_one_call_need_the_same_channels(make, tiny):
    first = make()
    second = make(channels=("DAPI", "CD3", "CD8", "CD4", "CYTOKERATIN"))
    tables = [part["table"].copy() for part in (first, second)]
    for i, table in enumerate(tables):
        table.obs["region"] = pd.Categorical([f"cells_{i}"] * table.n_obs)
    both = anndata.concat(tables)
    both.obs_names_make_unique()
    sdata = SpatialData(
        images={"image_0": first["image"], "image_1": second["image"]},
        labels={"cells_0": first["cells"], "cells_1": second["cells"]},
        tables={
            "table": TableModel.parse(both, region=["cells_0", "cells_1"], region_key="region", instance_key="cell_id")
        },
    )
    with pytest.raises(
        ValueError, match=r"Image 'image_1' lacks channels of 'image_0': 'CD20'\. .*channels=\[\.\.\.\]"
    ):
        ks.tl.embed(sdata, model=tiny)
    ks.tl.embed(sdata, model=tiny, channels=["DAPI", "CD3", "CD8"])
    assert np.isfinite(sdata["table"].obsm["X_kronos"]).all()


def test_every_row_of_the_table_has_its_test():
    """docs/reference/bad-input.md names tests of this package; each exists."""
    from pathlib import Path

    root = Path(__file__).parents[2]
    page = (root / "docs" / "reference" / "bad-input.md").read_text()
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`(?: \[(\w+(?:, \w+)*)\])?", page)
    assert len(named) > 30
    for path, function, cases in named:
        text = (root / path).read_text()
        assert f"def {function}(" in text, f"{path}::{function}"
        for case in filter(None, cases.split(", ")):
            assert f"({case}, " in text or f"    {case},\n" in text, f"{path}::{function} [{case}]"
