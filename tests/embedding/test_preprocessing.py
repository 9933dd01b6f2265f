"""Pixels → input of the network, against section 3 of the model's description written down again in numpy."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy import ndimage

import kronos_sc as ks

FULL = {"uint8": 255, "uint16": 65535, "float32": 1, "float64": 1, ">u2": 65535}


def oracle(sdata, model, *, mask_fill, channels, patch=64, max_value=None):
    """Return marker and class features, one cell after the other; nothing of the package but the network is used."""
    image = np.asarray(sdata["image"].data)
    names = [str(c) for c in sdata["image"].c.values]
    labels = np.asarray(sdata["cells"].data).astype(np.int64)
    rows = [model.vocabulary[name] for name in channels]
    mean, std = (np.array([getattr(m, what) for m in rows])[:, None, None] for what in ("mean", "std"))
    ids = torch.tensor([[m.id for m in rows]])
    marker, cls = [], []
    half = ((patch // 2, patch // 2),) * 2
    padded = np.pad(image[[names.index(n) for n in channels]], ((0, 0), *half))
    inside = np.pad(labels, half)
    full = max_value or FULL[">u2" if image.dtype == np.dtype(">u2") else image.dtype.name]
    for cell in sdata["table"].obs["cell_id"]:
        rr, cc = np.nonzero(labels == cell)
        # the pixel that holds the centroid, in coordinates where pixel i covers [i, i + 1)
        r, c = (int(np.floor(v.mean() + 0.5)) for v in (rr, cc))
        raw = padded[:, r : r + patch, c : c + patch].astype(
            float
        )  # padded by half a window: row r − half of the image is row r here
        mask = inside[r : r + patch, c : c + patch] == cell
        if mask_fill == "zero":
            raw = raw * mask
        z = (raw / full - mean) / std
        if mask_fill == "mean":
            z = z * mask
        with torch.no_grad():
            out = model.net(torch.tensor(z, dtype=torch.float32)[None], ids)
        marker.append(out.markers.numpy().reshape(-1))
        cls.append(out.cls.numpy().reshape(-1))
    return np.stack(marker), np.stack(cls)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32", "float64", ">u2"])
@pytest.mark.parametrize("mask_fill", ["mean", "zero", None])
def test_equals_the_description(make, tiny, dtype, mask_fill):
    image = None
    if dtype == ">u2":
        image = (np.random.default_rng(0).random((5, 60, 70)) * 60_000).astype(">u2")
    sdata = make((60, 70), dtype=dtype, image=image)
    channels = ["DAPI", "CD3", "CD8", "CD20", "CYTOKERATIN"]
    ks.tl.embed(sdata, model=tiny, precision="float32", device="cpu", mask_fill=mask_fill, features=["marker", "cls"])
    marker, cls = oracle(sdata, tiny, mask_fill=mask_fill, channels=channels)
    np.testing.assert_allclose(sdata["table"].obsm["X_kronos"], marker, atol=1e-5)
    np.testing.assert_allclose(sdata["table"].obsm["X_kronos_cls"], cls, atol=1e-5)
    assert np.ptp(marker, axis=0).max() > 0.1  # a comparison of constants would prove nothing


def test_scale_of_unusual_dtypes(make, tiny):
    """uint32 and int16 have no full scale of their own; max_value= gives it, for floats too."""
    plain = make((60, 70), dtype="uint16")
    image = np.asarray(plain["image"].data) // 2
    for dtype, factor in (("uint32", 1), ("int32", 1), ("int16", 1), ("float32", 0.01), ("int64", 3)):
        other = make((60, 70), image=(image * factor).astype(dtype))
        ks.tl.embed(other, model=tiny, precision="float32", max_value=30_000 * factor)
        marker, _ = oracle(
            other,
            tiny,
            mask_fill="mean",
            channels=["DAPI", "CD3", "CD8", "CD20", "CYTOKERATIN"],
            max_value=30_000 * factor,
        )
        np.testing.assert_allclose(other["table"].obsm["X_kronos"], marker, atol=1e-5, err_msg=dtype)


def test_panel_order_is_the_order_of_channels(make, tiny):
    sdata = make((60, 70), channels=("Nothing", "CD20", "DAPI", "CD3"))
    ks.tl.embed(sdata, model=tiny, precision="float32")
    marker, _ = oracle(sdata, tiny, mask_fill="mean", channels=["CD20", "DAPI", "CD3"])
    np.testing.assert_allclose(sdata["table"].obsm["X_kronos"], marker, atol=1e-5)
    assert list(ks.get.record(sdata)["panel"]["marker"]) == ["CD20", "DAPI", "CD3"]
    panel = ks.pp.match_markers(sdata, vocabulary=tiny).iloc[[3, 2]]  # a panel that the user brings sets its own order
    ks.tl.embed(sdata, model=tiny, channels=panel, precision="float32", key_added="mine")
    marker, _ = oracle(sdata, tiny, mask_fill="mean", channels=["CD3", "DAPI"])
    np.testing.assert_allclose(sdata["table"].obsm["X_mine"], marker, atol=1e-5)


def test_given_statistics_are_used(make, tiny):
    sdata = make((60, 70))
    stats = ks.pp.marker_stats(sdata)
    panel = ks.pp.match_markers(sdata, vocabulary=tiny, stats=stats)
    ks.tl.embed(sdata, model=tiny, channels=panel, precision="float32")
    np.testing.assert_allclose(ks.get.record(sdata)["panel"]["std"], stats["std"])

    rows = {
        name: SimpleNamespace(id=tiny.vocabulary[name].id, mean=row["mean"], std=row["std"])
        for name, row in stats.iterrows()
    }
    marker, _ = oracle(
        sdata, SimpleNamespace(net=tiny.net, vocabulary=rows), mask_fill="mean", channels=list(stats.index)
    )
    np.testing.assert_allclose(sdata["table"].obsm["X_kronos"], marker, atol=1e-5)


def test_mean_marker_against_scipy(make):
    for dtype in ("uint8", "uint16", "float32"):
        sdata = make((120, 130), dtype=dtype)
        ks.tl.embed(sdata, model="mean-marker", precision="float32")
        image = np.asarray(sdata["image"].data) / FULL[dtype]
        labels = np.asarray(sdata["cells"].data)
        expected = np.stack([ndimage.mean(plane, labels, sdata["table"].obs["cell_id"]) for plane in image], axis=1)
        np.testing.assert_allclose(sdata["table"].obsm["X_mean_marker"], expected, atol=1e-6)


def test_mean_marker_of_boxes_counts_only_the_image(make):
    sdata = make((100, 130), table=False)
    ks.pp.tile(sdata, size=32, stride=16)
    ks.tl.embed(
        sdata, model="mean-marker", patch_size=64, precision="float32"
    )  # wider than the boxes: some reach beyond the border
    image = np.asarray(sdata["image"].data) / 65535
    x = sdata["patches"].geometry.centroid.x.astype(int)
    y = sdata["patches"].geometry.centroid.y.astype(int)
    expected = [
        image[:, max(0, r - 32) : r + 32, max(0, c - 32) : c + 32].mean((1, 2)) for r, c in zip(y, x, strict=True)
    ]
    table = sdata["patches_table"]
    np.testing.assert_allclose(table.obsm["X_mean_marker"], expected, atol=1e-6)
    assert table.obs["mean_marker_edge"].sum() == ((y < 32) | (x < 32) | (y > 68) | (x > 98)).sum()


def test_boxes_are_not_masked(make, tiny):
    """A box of 64 is one whole input: z-scored pixels, no mask."""
    sdata = make((130, 130), table=False)
    ks.pp.tile(sdata, size=64)
    ks.tl.embed(sdata, model=tiny, precision="float32", features="cls")
    image = np.asarray(sdata["image"].data) / 65535
    tiles = torch.tensor(
        np.stack([image[:, y : y + 64, x : x + 64] for y in (0, 64) for x in (0, 64)]), dtype=torch.float32
    )
    ids = torch.tensor([[tiny.vocabulary[name].id for name in ("DAPI", "CD3", "CD8", "CD20", "CYTOKERATIN")]]).expand(
        4, -1
    )
    expected = tiny.net((tiles - 0.05) / 0.1, ids).cls.numpy()
    np.testing.assert_allclose(sdata["patches_table"].obsm["X_kronos"], expected, atol=1e-5)


def _half_covered(masks, size):
    """Return which coarse pixels a unit covers by half at least; the best covered ones where it covers none by half."""
    edge = masks.shape[-1]
    spans = [slice(i * edge // size, -(-(i + 1) * edge // size)) for i in range(size)]
    cover = np.stack(
        [np.stack([masks[:, rows, columns].mean((1, 2)) for columns in spans], axis=-1) for rows in spans], axis=-2
    )
    return (cover > 0) & (cover >= np.minimum(0.5, cover.max((1, 2), keepdims=True)) - 1e-6)


@pytest.mark.parametrize("mpp", [0.5, 1.0, 2.0, 0.6])
def test_resampling_to_the_models_resolution(make, mpp):
    """The image has 0.5 µm per pixel. Means of resampled windows, against torch's resize of each crop."""
    from spatialdata.transformations import Identity, Scale

    known = {"global": Identity(), "um": Scale([0.5, 0.5], axes=("y", "x"))}
    sdata = make((150, 190), image_transformations=known, labels_transformations=known)
    ks.tl.embed(sdata, model="mean-marker", mpp=mpp, patch_size=32, precision="float32")
    source = round(32 * mpp / 0.5)
    crops = ks.get.patches(sdata, sdata["table"].obs_names, patch_size=source)
    assert crops.shape[-1] == source
    pixels = torch.tensor(crops.values.astype(np.float32) / 65535)
    masks = crops.mask.values
    if source != 32:
        pixels = torch.nn.functional.interpolate(pixels, (32, 32), mode="bilinear", antialias=True)
        masks = _half_covered(masks, 32)
    masks = torch.tensor(masks).float()[:, None]
    expected = ((pixels * masks).sum((2, 3)) / masks.sum((2, 3)).clamp_min(1)).numpy()
    np.testing.assert_allclose(sdata["table"].obsm["X_mean_marker"], expected, atol=1e-6)


def test_resampling_against_scikit_image(make):
    """Boxes: a smooth image seen at half the resolution is the smooth image; an independent resize agrees."""
    from skimage.transform import downscale_local_mean
    from spatialdata.transformations import Identity, Scale

    yy, xx = np.mgrid[:128, :128] / 128
    smooth = (np.stack([np.sin(3 * yy + 2 * xx), np.cos(4 * xx * yy)]) * 20_000 + 30_000).astype(np.uint16)
    sdata = make(
        image=smooth,
        channels=("DAPI", "CD3"),
        image_transformations={"global": Identity(), "um": Scale([0.5, 0.5], axes=("y", "x"))},
        table=False,
    )
    ks.pp.tile(sdata, size=64)

    from kronos_sc.models.inference import preprocess

    seen = []
    plain = preprocess.Preprocessor.__call__

    def spy(self, windows, masks):
        out = plain(self, windows, masks)
        seen.append(out[0].clone())
        return out

    preprocess.Preprocessor.__call__ = spy
    try:
        ks.tl.embed(sdata, model="mean-marker", mpp=1.0, precision="float32")
    finally:
        preprocess.Preprocessor.__call__ = plain
    expected = np.stack(
        [downscale_local_mean(smooth[:, y : y + 64, x : x + 64] / 65535, (1, 2, 2)) for y in (0, 64) for x in (0, 64)]
    )
    got = torch.cat(seen).numpy()
    assert got.shape == expected.shape == (4, 2, 32, 32)
    np.testing.assert_allclose(got[:, :, 1:-1, 1:-1], expected[:, :, 1:-1, 1:-1], atol=2e-4)


def test_token_overlap(make, tiny):
    sdata = make((60, 70))
    ks.tl.embed(sdata, model=tiny, precision="float32")
    once = sdata["table"].obsm["X_kronos"].copy()
    assert ks.get.record(sdata)["model"]["token_overlap"] is False
    ks.tl.embed(sdata, model=tiny, precision="float32", token_overlap=True)
    assert ks.get.record(sdata)["model"]["token_overlap"] is True
    assert not np.allclose(once, sdata["table"].obsm["X_kronos"], atol=1e-3)
    assert tiny.net.token_overlap is False  # the caller's model is as it was
