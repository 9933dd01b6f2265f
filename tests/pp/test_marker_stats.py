"""Streaming mean and standard deviation against numpy over the whole image."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import kronos_sc as ks
from kronos_sc._core.moments import Moments

FULL = {"uint8": 255, "uint16": 65535, "float32": 1.0}


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("chunks", [(1, 64, 64), (5, 33, 190), (2, (1, 149), 50), -1])
def test_equals_numpy(make, dtype, chunks):
    sdata = make(dtype=dtype, chunks=chunks, table=False)
    stats = ks.pp.marker_stats(sdata)
    scaled = np.asarray(sdata["image"].data).astype(np.float64) / FULL[dtype]
    assert list(stats.index) == list(sdata["image"].c.values)
    np.testing.assert_allclose(stats["mean"], scaled.mean((1, 2)), rtol=1e-12)
    np.testing.assert_allclose(stats["std"], scaled.std((1, 2)), rtol=1e-12 if dtype != "float32" else 1e-9)
    assert set(stats["pixels"]) == {150 * 190}
    assert stats["mean"].dtype == stats["std"].dtype == np.float64
    assert stats["pixels"].dtype == stats["images"].dtype == np.int64


@settings(max_examples=50)
@given(
    parts=st.lists(st.lists(st.integers(0, 65535), max_size=30), min_size=1, max_size=8),
    kind=st.sampled_from(["uint16", "uint32", "float64"]),
    offset=st.sampled_from([0, 2**16]),
)
def test_moments_of_any_split(parts, kind, offset):
    offset = 0 if kind == "uint16" else offset
    moments = Moments()
    for part in parts:
        moments.add(np.array(part, dtype=kind) + np.array(offset, dtype=kind))
    whole = np.concatenate([np.array(part, np.float64) for part in parts]) + offset
    assert moments.count == len(whole)
    if len(whole):
        assert moments.mean == pytest.approx(whole.mean(), rel=1e-12, abs=1e-9)
        assert moments.squares / len(whole) == pytest.approx(whole.var(), rel=1e-9, abs=1e-6)


def test_bright_images_with_little_contrast():
    """Where the sum of squares would lose every digit of the variance."""
    values = (60_000 + np.random.default_rng(0).integers(0, 2, 4_000_000)).astype(np.uint16)
    moments = Moments()
    for part in np.split(values, 40):
        moments.add(part)
    assert np.sqrt(moments.squares / moments.count) == pytest.approx(values.astype(np.float64).std(), rel=1e-10)


def test_several_images_count_by_their_pixels(make):
    one = make((150, 190), channels=("DAPI", "CD3"))
    two = make((40, 50), channels=("CD3", "DAPI", "CD8"), seed=1, dtype="uint8")
    stats = ks.pp.marker_stats([one, two])
    for name, images in (("DAPI", 2), ("CD3", 2), ("CD8", 1)):
        pixels = [
            np.asarray(s["image"].sel(c=name).data).astype(np.float64).ravel() / FULL[str(s["image"].dtype)]
            for s in (one, two)
            if name in s["image"].c.values
        ]
        whole = np.concatenate(pixels)
        assert stats.loc[name, "mean"] == pytest.approx(whole.mean(), rel=1e-12)
        assert stats.loc[name, "std"] == pytest.approx(whole.std(), rel=1e-12)
        assert stats.loc[name, "pixels"] == whole.size
        assert stats.loc[name, "images"] == images
    one.images["second"] = two["image"]
    np.testing.assert_allclose(ks.pp.marker_stats(one)["mean"], stats["mean"], rtol=1e-12)
    assert ks.pp.marker_stats(one, image_key="image").loc["CD3", "images"] == 1
    assert ks.pp.marker_stats(one, image_key=["image", "second"]).loc["CD3", "images"] == 2


def test_channels_scale_and_values_that_are_missing(make):
    image = np.random.default_rng(0).random((2, 60, 70)).astype(np.float32) * 400
    image[1, 5, 5] = np.nan
    image[1, 6, 6] = np.inf
    sdata = make(image=image, channels=("DAPI", "CD3"))
    stats = ks.pp.marker_stats(sdata, channels="DAPI", max_value=400)
    assert stats.loc["DAPI", "mean"] == pytest.approx(image[0].mean(dtype=np.float64) / 400)
    with pytest.raises(ValueError, match=r"Image 'image' holds floats from .* to .*max_value="):
        ks.pp.marker_stats(sdata, channels=["DAPI"])
    with pytest.raises(ValueError, match=r"Channel 'CD3' of image 'image' has NaN or infinite pixels.*nan='zero'"):
        ks.pp.marker_stats(sdata, max_value=400)
    zero = ks.pp.marker_stats(sdata, max_value=400, nan="zero")
    expected = np.nan_to_num(image[1], nan=0, posinf=0).astype(np.float64) / 400
    assert zero.loc["CD3", "mean"] == pytest.approx(expected.mean())
    with pytest.raises(KeyError, match=r"No image has the channels 'CD9'; there are: 'DAPI', 'CD3'"):
        ks.pp.marker_stats(sdata, channels=["CD9"])
    sdata.images.clear()
    with pytest.raises(ValueError, match="There is no image in this SpatialData"):
        ks.pp.marker_stats(sdata)


def test_each_chunk_is_read_once(make):
    from collections import Counter

    import dask.array as da

    seen = Counter()

    def chunk(block_info=None):
        seen[block_info[None]["chunk-location"]] += 1
        return np.ones(block_info[None]["chunk-shape"], np.uint16)

    lazy = da.map_blocks(
        chunk, chunks=((1,) * 3, (40, 20), (70,)), dtype=np.uint16, meta=np.zeros((0, 0, 0), np.uint16)
    )
    sdata = make((60, 70), channels=("DAPI", "CD3", "CD8"), table=False)
    sdata.images["image"] = sdata["image"].copy(data=lazy)
    ks.pp.marker_stats(sdata, channels=["DAPI", "CD8"])
    assert seen == Counter({(c, y, 0): 1 for c in (0, 2) for y in (0, 1)})


def test_corrupt_chunk_is_named(stored, tmp_path):
    sdata = stored(tmp_path / "a.zarr")
    (path,) = (p for p in (tmp_path / "a.zarr").glob("images/*/*/c/2/1/1") if p.parts[-5] in ("0", "s0"))
    path.write_bytes(b"\x00" * 7)
    with pytest.raises(
        OSError,
        match=r"Image 'image' could not be decoded at channel 'CD8', chunk at row 64, column 64: .*Restore that chunk",
    ):
        ks.pp.marker_stats(sdata)
    ks.pp.marker_stats(sdata, channels=["CD3"])
